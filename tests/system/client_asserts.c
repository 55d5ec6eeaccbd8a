/* SPDX-License-Identifier: Apache-2.0
 *
 * client_asserts.c - see client_asserts.h.
 */
#include "tests/system/client_asserts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sidepond/sidepond.h"

void assert_status_at(int expected, int status, const char *call, const char *file, int line)
{
    if (status == expected)
        return;
    print_error("%s:%d: %s: %s (%s), not %s\n", file, line, call, sp_status_name(status),
                sp_error_detail(), sp_status_name(expected));
    _fail(file, line);
}
