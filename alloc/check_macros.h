/* SPDX-License-Identifier: Apache-2.0
 *
 * check_macros.h - an assertion that is always on.
 *
 * SP_CHECK(cond) prints file, line and expression to stderr and aborts. It guards what only a fault
 * of the daemon itself can break (a unit freed twice, a range outside the arena), where going on
 * would destroy data that readers use. No reader path may use it: what is wrong there is reported
 * as SP_ECORRUPT.
 */
#ifndef SIDEPOND_ALLOC_CHECK_MACROS_H
#define SIDEPOND_ALLOC_CHECK_MACROS_H

#include <stdio.h>
#include <stdlib.h>

_Noreturn static inline __attribute__((cold, unused)) void
sp_check_failed(const char *file, int line, const char *expression)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, expression);
    abort();
}

#define SP_CHECK(cond)                                                                             \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            sp_check_failed(__FILE__, __LINE__, #cond);                                            \
    } while (0)

#endif
