/* SPDX-License-Identifier: Apache-2.0
 *
 * source_sqlite_fixture.c - see source_sqlite_fixture.h.
 */
#include "source_sqlite_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char file_name[] = "/app.db";

void sql(struct fixture *f, const char *statements)
{
    char *message = NULL;
    if (sqlite3_exec(f->admin, statements, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", statements, message);
}

void sqlite_connect(struct fixture *f)
{
    sqlite3 *writer;
    sqlite3_close(f->admin);
    assert_int_equal(sqlite3_open(f->path, &writer), SQLITE_OK);
    sqlite3_busy_timeout(writer, 5000);
    f->admin = writer;
}

void sqlite_make(struct fixture *f)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(f->path, sizeof(f->path), "%s/sidepond-sqlite.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->path));
    const size_t used = strlen(f->path);
    snprintf(f->path + used, sizeof(f->path) - used, "%s", file_name);
    sqlite_connect(f);
    f->class = source_find("sqlite");
    assert_non_null(f->class);
    f->options = (struct source_options){.name = "app", .type = "sqlite", .path = f->path};
}

void sqlite_remove(struct fixture *f)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".new"};
    close_source(f);
    sqlite3_close(f->admin);
    source_record_free(&f->record);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        char path[sizeof(f->path) + 16];
        snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        unlink(path);
    }
    f->path[strlen(f->path) - strlen(file_name)] = 0;
    rmdir(f->path);
}

int sqlite_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    sqlite_make(f);
    sql(f, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
    *state = f;
    return 0;
}

int sqlite_teardown(void **state)
{
    struct fixture *f = *state;
    sqlite_remove(f);
    free(f);
    return 0;
}
