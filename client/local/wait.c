/* SPDX-License-Identifier: Apache-2.0
 *
 * wait.c - sleeping until something is committed.
 *
 * The writer raises a counter after each commit and wakes those who sleep on it: a futex, which the
 * kernel lets a reader wait on through its read-only mapping. Long waits are cut into slices,
 * because a daemon that was killed and replaced its pond wakes nobody who looks at the old one.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/local/internal.h"

#define SLICE_MS         500u
#define SLICE_RETIRED_MS 20u /* nobody wakes us when the next pond comes */

static void futex_wait(const _Atomic uint32_t *word, uint32_t seen, uint64_t ms)
{
    struct timespec timeout = {.tv_sec = (time_t)(ms / 1000),
                               .tv_nsec = (long)(ms % 1000) * 1000000};
    /* Woken, interrupted, timed out or too late: the caller looks again in any case. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

/* Whether the version wanted is there. A pond that took the place of the one the wait began with is
 * news in any case. */
static bool look(struct sp_pond *pond, const struct mapping *began, uint64_t version, uint64_t *now)
{
    const struct mapping *map = pond_mapping(pond);
    uint64_t committed = map_committed(map);
    if ((committed & VERSION_RETIRED) != 0) {
        if (pond_follow(pond) != SP_OK)
            return false;
        map = pond_mapping(pond);
        committed = map_committed(map);
    }
    *now = committed & VERSION_MASK;
    return *now > version || map != began;
}

int sp_wait(struct sp_pond *pond, uint64_t version, uint32_t timeout_ms, uint64_t *now)
{
    const struct mapping *began = pond_mapping(pond);
    uint64_t until = clock_monotonic_ms() + timeout_ms;
    uint64_t seen = 0;
    for (;;) {
        const struct mapping *map = pond_mapping(pond);
        const struct super *super = map->region.super;
        /* Before the look: a commit after it changes the word, and the wait returns at once. */
        uint32_t futex = atomic_load_explicit(&super->commit_futex, memory_order_acquire);
        bool there = look(pond, began, version, &seen);
        if (now != NULL)
            *now = seen;
        if (there)
            return SP_OK;
        uint64_t at = clock_monotonic_ms();
        if (timeout_ms != UINT32_MAX && at >= until)
            return error_plain(SP_ETIMEDOUT);
        bool retired = (map_committed(map) & VERSION_RETIRED) != 0;
        uint64_t slice = retired ? SLICE_RETIRED_MS : SLICE_MS;
        if (timeout_ms != UINT32_MAX && until - at < slice)
            slice = until - at;
        if (pond_mapping(pond) == map)
            futex_wait(&super->commit_futex, futex, slice);
        (void)pond_follow_replaced(pond);
    }
}
