/* SPDX-License-Identifier: Apache-2.0
 *
 * model_buddy.c - the allocator of units against an array of bytes.
 *
 * Goal: whatever the order of requests, no two overlap, a request fails exactly if no place
 * exists, and bitmap, index, counters and statistics agree with the array. Method: random steps
 * (alloc, aligned alloc, free of a whole or a part, grow, shrink, rebuild over garbage, cache on
 * and off) in phases that fill and that drain; each failure is compared with a search of the array,
 * and every so often everything is. Metadata outside buddy_meta_spans() is mapped without access.
 *
 * Options: --seed N (printed at the start), --steps N.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "alloc/buddy.h"
#include "sidepond/status.h"

enum { MODEL_UNITS = 150000, ORDERS = 18 };

static uint64_t limits[] = {MODEL_UNITS, 1ULL << 22, 1ULL << 34};

static struct buddy buddy;
static struct buddy_cache cache;
static unsigned char *meta;
static uint64_t max_units;
static unsigned char is_used[MODEL_UNITS];
static uint64_t usable;
static uint64_t used_count;
static uint64_t step;
static uint64_t seed;
static uint64_t random_state;

/* ---- helpers ------------------------------------------------------------------------------ */

static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "model_buddy: seed %llu, step %llu: ", (unsigned long long)seed,
            (unsigned long long)step);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dULL >> 8;
}

/* Mostly small, sometimes around a power of two, rarely large. */
static uint64_t random_count(void)
{
    switch (random_next() % 16) {
    case 0:
        return 1 + random_next() % 20000;
    case 1:
    case 2:
        return (1ULL << random_next() % 14) + random_next() % 3;
    case 3:
    case 4:
        return 1 + random_next() % 1200;
    default:
        return 1 + random_next() % 80;
    }
}

static uint64_t run_from(uint64_t unit, unsigned char used)
{
    uint64_t end = unit;

    while (end < usable && is_used[end] == used)
        end++;
    return end - unit;
}

static void open_spans(uint64_t from, uint64_t to)
{
    struct buddy_span spans[BUDDY_MAX_SPANS];
    size_t count = buddy_meta_spans(max_units, from, to, spans, BUDDY_MAX_SPANS);

    for (size_t i = 0; i < count; i++) {
        size_t off = spans[i].off / 4096 * 4096;
        size_t end = (spans[i].off + spans[i].len + 4095) / 4096 * 4096;
        if (mprotect(meta + off, end - off, PROT_READ | PROT_WRITE) != 0)
            fail("mprotect");
    }
}

static void set_used(uint64_t first, uint64_t count, unsigned char used)
{
    for (uint64_t unit = first; unit < first + count; unit++) {
        if (unit >= usable || is_used[unit] == used)
            fail("unit %llu is %s already", (unsigned long long)unit, used ? "used" : "free");
        is_used[unit] = used;
    }
    used_count = used ? used_count + count : used_count - count;
}

/* ---- comparing everything ----------------------------------------------------------------- */

/* Aligned free blocks by brute force: free counts per block, order by order. */
static void model_blocks(uint64_t blocks[ORDERS + 1])
{
    static unsigned char whole[2][MODEL_UNITS + 1];
    unsigned now = 0;

    memset(blocks, 0, (ORDERS + 1) * sizeof *blocks);
    for (uint64_t unit = 0; unit < usable; unit++)
        whole[now][unit] = !is_used[unit];
    for (unsigned order = 0; order < ORDERS; order++) {
        uint64_t count = usable >> order;
        uint64_t above = usable >> (order + 1);
        for (uint64_t i = 0; i < above; i++)
            whole[!now][i] = whole[now][2 * i] && whole[now][2 * i + 1];
        for (uint64_t i = 0; i < count; i++)
            blocks[order] += whole[now][i] && !(i / 2 < above && whole[!now][i / 2]);
        now = !now;
    }
}

static void compare_runs(void)
{
    struct buddy_stats stats;
    uint64_t blocks[ORDERS + 1];
    uint64_t at = 0, first = 0, count = 0, runs = 0, longest = 0;

    for (; buddy_next_free_run(&buddy, at, &first, &count); at = first + count, runs++) {
        if (run_from(at, 1) != first - at || run_from(first, 0) != count)
            fail("free run %llu+%llu is not the model's", (unsigned long long)first,
                 (unsigned long long)count);
        longest = count > longest ? count : longest;
    }
    if (at < usable && run_from(at, 1) != usable - at)
        fail("free units after %llu are missing", (unsigned long long)at);
    buddy_stats(&buddy, &stats);
    model_blocks(blocks);
    if (stats.usable_units != usable || stats.free_units != usable - used_count ||
        stats.free_runs != runs || stats.largest_run != longest ||
        buddy_largest_run(&buddy) != longest || buddy_usable_units(&buddy) != usable)
        fail("statistics differ");
    if (memcmp(stats.free_blocks, blocks, sizeof blocks) != 0)
        fail("free blocks by order differ");
}

static void compare_all(void)
{
    char why[256];

    buddy_settle(&buddy);
    if (buddy_check(&buddy, why, sizeof why) != SP_OK)
        fail("%s", why);
    compare_runs();
}

/* ---- steps -------------------------------------------------------------------------------- */

static bool place_exists(uint64_t count, uint64_t align)
{
    for (uint64_t unit = 0; unit < usable;) {
        uint64_t free_count = run_from(unit, 0);
        uint64_t skip = (align - unit % align) % align;
        if (free_count >= skip + count)
            return true;
        unit += free_count;
        unit += run_from(unit, 1);
    }
    return false;
}

static void step_alloc(void)
{
    uint64_t count = random_count();
    uint64_t align = random_next() % 8 == 0 ? 1ULL << random_next() % 11 : 1;
    uint64_t first =
        align == 1 ? buddy_alloc(&buddy, count) : buddy_alloc_aligned(&buddy, count, align);

    if (first == BUDDY_NONE) {
        if (place_exists(count, align))
            fail("no %llu units at a multiple of %llu, but there are", (unsigned long long)count,
                 (unsigned long long)align);
        return;
    }
    if (first % align != 0 || first > usable || count > usable - first)
        fail("bad place %llu", (unsigned long long)first);
    set_used(first, count, 1);
}

/* Frees used units from a random place on: mostly few, so that parts of requests are freed. */
static void step_free(void)
{
    if (usable == 0)
        return;
    uint64_t first = random_next() % usable;
    first += run_from(first, 0);
    uint64_t count = run_from(first, 1);
    if (count == 0)
        return;
    uint64_t most = random_count();
    count = count < most ? count : most;
    buddy_free(&buddy, first, count);
    set_used(first, count, 0);
}

static void step_grow(void)
{
    uint64_t to = usable + random_next() % 30000;

    to = to > MODEL_UNITS ? MODEL_UNITS : to;
    open_spans(usable, to);
    buddy_grow(&buddy, to);
    memset(is_used + usable, 0, to - usable);
    usable = to;
}

static void step_shrink(void)
{
    uint64_t tail = 0;

    while (tail < usable && !is_used[usable - 1 - tail])
        tail++;
    if (tail == 0)
        return;
    usable -= random_next() % 3 == 0 ? tail : random_next() % tail;
    buddy_shrink(&buddy, usable);
}

static void spoil_metadata(void)
{
    struct buddy_span spans[BUDDY_MAX_SPANS];
    size_t count = buddy_meta_spans(max_units, 0, usable, spans, BUDDY_MAX_SPANS);

    for (size_t i = 0; i < count; i++)
        memset(meta + spans[i].off, (int)random_next() & 255, spans[i].len);
}

static void mark_run(uint64_t first, uint64_t count)
{
    while (count != 0) {
        uint64_t part = 1 + random_next() % count;
        if (buddy_rebuild_mark(&buddy, first, part) != SP_OK)
            fail("mark refused");
        if (buddy_rebuild_mark(&buddy, first + part - 1, 1) != SP_ECORRUPT)
            fail("second mark accepted");
        first += part;
        count -= part;
    }
}

/* As after a crash: the cache and the handle are gone, the metadata is anything. */
static void step_rebuild(void)
{
    bool had_cache = buddy.cache != NULL;

    spoil_metadata();
    buddy_rebuild_begin(&buddy, meta, max_units, usable);
    for (uint64_t unit = 0; unit < usable;) {
        unit += run_from(unit, 0);
        uint64_t count = run_from(unit, 1);
        mark_run(unit, count);
        unit += count;
    }
    buddy_rebuild_end(&buddy);
    if (had_cache)
        buddy_use_cache(&buddy, &cache);
}

static void step_any(unsigned alloc_percent)
{
    uint64_t dice = random_next() % 100000;

    if (dice < 20)
        step_rebuild();
    else if (dice < 200)
        step_grow();
    else if (dice < 300)
        step_shrink();
    else if (dice < 320)
        buddy_use_cache(&buddy, buddy.cache ? NULL : &cache);
    else if (random_next() % 100 < alloc_percent)
        step_alloc();
    else
        step_free();
    if (buddy_free_units(&buddy) != usable - used_count)
        fail("%llu units free, the model has %llu", (unsigned long long)buddy_free_units(&buddy),
             (unsigned long long)(usable - used_count));
}

static void run(uint64_t steps)
{
    static const unsigned phases[] = {60, 50, 35, 52, 80, 48};

    max_units = limits[random_next() % 3];
    size_t meta_bytes = buddy_meta_bytes(max_units);
    meta = mmap(NULL, meta_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (meta == MAP_FAILED || buddy_format(&buddy, meta, max_units) != SP_OK)
        fail("no metadata");
    for (step = 0; step < steps; step++) {
        step_any(phases[step / 5000 % 6]);
        if (random_next() % 256 == 0)
            compare_all();
    }
    compare_all();
    munmap(meta, meta_bytes);
}

int main(int argc, char **argv)
{
    uint64_t steps = 200000;

    seed = (uint64_t)time(NULL) * 65536 + (uint64_t)getpid();
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0)
            steps = strtoull(argv[i + 1], NULL, 10);
    }
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    random_state = seed * 0x9e3779b97f4a7c15ULL | 1;
    run(steps);
    printf("%llu steps\n", (unsigned long long)steps);
    return 0;
}
