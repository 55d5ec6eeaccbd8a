/* SPDX-License-Identifier: Apache-2.0
 *
 * failpoint.c - ends the process at a named place, in test builds only.
 */
#include "server/store/failpoint.h"

#ifdef SP_FAILPOINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void failpoint_hit(const char *name)
{
    static _Atomic long passages;
    const char *wanted = getenv("SIDEPOND_FAILPOINT");
    size_t size = strlen(name);
    if (!wanted || strncmp(wanted, name, size) != 0 || (wanted[size] && wanted[size] != ':'))
        return;
    long nth = wanted[size] == ':' ? atol(wanted + size + 1) : 1;
    if (atomic_fetch_add(&passages, 1) + 1 == nth)
        kill(getpid(), SIGKILL);
}
#else
typedef int failpoint_unused; /* a translation unit must not be empty */
#endif
