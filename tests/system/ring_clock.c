/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_clock.c - a library to be preloaded: the wall clock of a process is wrong by
 * RING_CLOCK_SKEW_MS milliseconds, which may be negative. Other clocks stay as they are.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define NS_OF_S 1000000000

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    static int64_t skew_ns;
    if (!real) {
        const char *skew = getenv("RING_CLOCK_SKEW_MS");
        skew_ns = skew ? strtoll(skew, NULL, 10) * 1000000 : 0;
        real = (int (*)(clockid_t, struct timespec *))(uintptr_t)dlsym(RTLD_NEXT, "clock_gettime");
    }
    int status = real(clock, now);
    if (status != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return status;
    int64_t ns = (int64_t)now->tv_sec * NS_OF_S + now->tv_nsec + skew_ns;
    now->tv_sec = ns / NS_OF_S;
    now->tv_nsec = ns % NS_OF_S;
    return 0;
}
