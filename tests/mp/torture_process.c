/* SPDX-License-Identifier: Apache-2.0
 *
 * torture_process.c - a life of a writer or a reader as a process of its own.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/mp/torture.h"

pid_t torture_start(struct torture *t, bool writer, const char *failpoint)
{
    struct kit_random random = {kit_random(&t->random)};
    pid_t parent = getpid(), child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(3);
    t->random = random;
    if (failpoint)
        setenv("SIDEPOND_FAILPOINT", failpoint, 1);
    _exit((writer ? torture_write(t) : torture_read(t, NULL)) ? 0 : 1);
}
