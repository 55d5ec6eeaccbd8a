/* SPDX-License-Identifier: Apache-2.0
 *
 * source_server_fixture.c - see source_server_fixture.h.
 */
#include "source_server_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *variable(const char *suffix)
{
    char name[64];
    snprintf(name, sizeof(name), "%s_%s", server_variables, suffix);
    return getenv(name);
}

void server(const char *verb)
{
    char command[1024];
    snprintf(command, sizeof(command), "'%s' %s '%s' >&2", variable("SERVER"), verb,
             variable("DIR"));
    assert_int_equal(system(command), 0);
}

void expect_open_error(struct fixture *f, const char *dsn, const char *password, const char *text)
{
    struct source_options options = f->options;
    struct source *source = NULL;
    options.dsn = dsn;
    options.password = password;
    assert_int_equal(f->class->open(&options, &source, &f->error), SP_ESOURCE);
    assert_null(source);
    assert_true(f->error.transient);
    if (!strstr(f->error.text, text))
        fail_msg("no \"%s\" in: %s", text, f->error.text);
}
