/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_clock.c - a library to be preloaded: the wall clock of a process is wrong by
 * RING_CLOCK_SKEW_MS milliseconds, which may be negative, and steps two minutes back when there is
 * a file RING_CLOCK_STEPPED. If there is a file RING_CLOCK_SUSPENDED, the host seems to have been
 * suspended for ten seconds: CLOCK_BOOTTIME is so much later. Other clocks stay as they are.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS_OF_S      1000000000
#define SUSPENDED_NS (INT64_C(10) * NS_OF_S)
#define STEPPED_NS   (INT64_C(120) * NS_OF_S)

static bool is_there(const char *variable)
{
    const char *path = getenv(variable);
    return path && access(path, F_OK) == 0;
}

/* How far the clock is ahead. */
static int64_t ahead_ns(clockid_t clock)
{
    const char *skew = getenv("RING_CLOCK_SKEW_MS");
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        return (skew ? strtoll(skew, NULL, 10) * 1000000 : 0) -
               (is_there("RING_CLOCK_STEPPED") ? STEPPED_NS : 0);
    return clock == CLOCK_BOOTTIME && is_there("RING_CLOCK_SUSPENDED") ? SUSPENDED_NS : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))(uintptr_t)dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (status != 0)
        return status;
    int64_t ns = (int64_t)now->tv_sec * NS_OF_S + now->tv_nsec + ahead_ns(clock);
    now->tv_sec = ns / NS_OF_S;
    now->tv_nsec = ns % NS_OF_S;
    return 0;
}
