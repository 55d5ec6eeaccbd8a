/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_count.c - hits and misses of the cache's readers: the rare part (cache_count.h).
 *
 * How often a thread looks at the clock follows from how fast it reads: the distance doubles with
 * each look, up to STEP_MAX reads, and is one read again after a look that was long ago.
 */
#include "client/local/cache_count.h"

#include "alloc/clock.h"

#define STEP_MAX 256u

_Thread_local uint32_t cache_count_offset;

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static void sum(const struct cache_count *count, uint64_t *hits, uint64_t *misses)
{
    *hits = *misses = 0;
    for (unsigned i = 1; i <= CACHE_COUNT_LINES; i++) {
        *hits += load(&count->lines[i].hits);
        *misses += load(&count->lines[i].misses);
    }
}

/* --- telling ---------------------------------------------------------------------------------- */

/* What has been added since; a sum that went back, as two threads shared a line, adds nothing. */
static void tell_one(uint64_t now, uint64_t *told, _Atomic uint64_t *word)
{
    if (now > *told && word != NULL)
        atomic_fetch_add_explicit(word, now - *told, memory_order_relaxed);
    *told = now;
}

void cache_count_tell(struct cache_count *count, struct hints *hints)
{
    uint64_t hits, misses;
    struct hints_head *head = hints != NULL ? hints->head : NULL;
    if (atomic_flag_test_and_set_explicit(&count->telling, memory_order_acquire))
        return; /* another thread is at it */
    sum(count, &hits, &misses);
    tell_one(hits, &count->hits, head != NULL ? &head->hits : NULL);
    tell_one(misses, &count->misses, head != NULL ? &head->misses : NULL);
    atomic_flag_clear_explicit(&count->telling, memory_order_release);
}

void cache_count_forked(struct cache_count *count)
{
    sum(count, &count->hits, &count->misses);
    atomic_flag_clear_explicit(&count->telling, memory_order_release);
}

/* --- counting --------------------------------------------------------------------------------- */

static void take_line(void)
{
    static _Atomic uint32_t threads;
    uint32_t number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
    cache_count_offset =
        (1 + number % CACHE_COUNT_LINES) * (uint32_t)sizeof(struct cache_count_line);
}

static void look(struct cache_count *count, struct cache_count_line *line, struct hints *hints)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint32_t step = atomic_load_explicit(&line->step, memory_order_relaxed);
    if (now_ms - load(&line->looked_ms) >= CACHE_COUNT_TELL_MS)
        step = 1;
    else if (step < STEP_MAX)
        step *= 2;
    atomic_store_explicit(&line->step, step, memory_order_relaxed);
    store(&line->looked_ms, now_ms);
    store(&line->hits_look, load(&line->hits) + step - 1);
    store(&line->misses_look, load(&line->misses) + step - 1);
    if (now_ms - load(&count->told_ms) < CACHE_COUNT_TELL_MS)
        return;
    store(&count->told_ms, now_ms);
    cache_count_tell(count, hints);
}

void cache_count_add(struct cache_count *count, struct hints *hints, uint64_t hits, uint64_t misses)
{
    if (cache_count_offset == 0)
        take_line();
    struct cache_count_line *line = cache_count_line(count);
    hits += load(&line->hits);
    misses += load(&line->misses);
    store(&line->hits, hits);
    store(&line->misses, misses);
    if (hits > load(&line->hits_look) || misses > load(&line->misses_look))
        look(count, line, hints);
}
