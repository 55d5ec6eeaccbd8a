/* SPDX-License-Identifier: Apache-2.0
 *
 * space.c - the arena's memory.
 *
 * The buddy allocator hands out units below `usable_units`, which grows by whole chunks, each
 * backed with memory before. Chunks that have been wholly free for `cooling_ms` are given back to
 * the system (punched) and backed again when a block of theirs is handed out. Since the allocator
 * prefers low addresses, the free chunks gather at the end. What is in use is moved to huge pages,
 * if the options say so: a read has two places to look at, and with pages of 4 KiB under a large
 * pond the processor has to look up in memory where each of them is.
 */
#include "server/store/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "server/store/breakage.h"

/* A tick must not keep the processor, or the lock, from those who serve: the system takes some
 * tenths of a millisecond for a punch, and milliseconds for a huge page. */
#define PUNCHES_PER_TICK  16u
#define PUNCH_REST_NS     200000
#define COLLAPSE_PER_TICK 2u
#define LOOKS_PER_TICK    4096u

static uint64_t chunk_count(const struct store *store)
{
    return (store->region.unit_limit + CHUNK_UNITS - 1) / CHUNK_UNITS;
}

int space_init(struct store *store)
{
    store->chunk_punched = calloc(chunk_count(store), sizeof(*store->chunk_punched));
    store->chunk_free_ms = calloc(chunk_count(store), sizeof(*store->chunk_free_ms));
    store->resting = calloc(1, sizeof(*store->resting));
    return store->chunk_punched && store->chunk_free_ms && store->resting ? SP_OK : SP_ENOMEM;
}

void space_let_rest(struct store *store)
{
    buddy_use_cache(&store->buddy, store->resting);
}

void space_settle(struct store *store)
{
    buddy_settle(&store->buddy);
}

void space_destroy(struct store *store)
{
    free(store->resting);
    free(store->chunk_punched);
    free(store->chunk_free_ms);
}

static uint64_t arena_off(const struct store *store, uint64_t unit)
{
    return store->region.super->arena_off + unit * FORMAT_UNIT_BYTES;
}

/* Backs units [from, to) and the allocator's metadata for them. */
static int back_units(struct store *store, uint64_t from, uint64_t to)
{
    struct buddy_span spans[32];
    size_t count = buddy_meta_spans(store->region.unit_limit, from, to, spans, 32);
    for (size_t i = 0; i < count; i++) {
        int status = region_commit(&store->region, store->region.super->meta_off + spans[i].off,
                                   spans[i].len);
        if (status != SP_OK)
            return status;
    }
    uint64_t off = arena_off(store, from), bytes = (to - from) * FORMAT_UNIT_BYTES;
    int status = region_commit(&store->region, off, bytes);
#ifdef MADV_POPULATE_WRITE
    if (status == SP_OK) /* one call instead of a fault for each page */
        madvise(store->region.base + off, bytes, MADV_POPULATE_WRITE);
#endif
    return status;
}

/* Makes at least `count` more units usable at the end. */
static int grow(struct store *store, uint64_t count)
{
    uint64_t limit = store->region.unit_limit, from = store->usable_units;
    uint64_t step = (count + CHUNK_UNITS - 1) / CHUNK_UNITS * CHUNK_UNITS;
    uint64_t to = from + step < limit ? from + step : limit;
    if (to == from)
        return SP_ENOSPC;
    int status = back_units(store, from, to);
    if (status != SP_OK)
        return status;
    store->usable_units = to;
    atomic_store_explicit(&store->region.super->usable_units, to, memory_order_release);
    buddy_grow(&store->buddy, to);
    return SP_OK;
}

/* Backs the chunks of a block that was just taken out of the free space. */
static int back_block(struct store *store, uint64_t unit, uint64_t count)
{
    for (uint64_t c = unit / CHUNK_UNITS; c <= (unit + count - 1) / CHUNK_UNITS; c++) {
        store->chunk_free_ms[c] = 0;
        if (!store->chunk_punched[c])
            continue;
        int status = region_commit(&store->region, arena_off(store, c * CHUNK_UNITS), CHUNK_BYTES);
        if (status != SP_OK)
            return status;
        store->chunk_punched[c] = 0;
        store->punched_units -= CHUNK_UNITS;
    }
    return SP_OK;
}

int space_alloc(struct store *store, uint64_t count, uint64_t align_units, uint64_t *unit)
{
    for (;;) {
        uint64_t found = align_units > 1 ? buddy_alloc_aligned(&store->buddy, count, align_units)
                                         : buddy_alloc(&store->buddy, count);
        if (found != BUDDY_NONE) {
            int status = back_block(store, found, count);
            if (status != SP_OK)
                buddy_free(&store->buddy, found, count);
            *unit = found;
            return status;
        }
        int status = grow(store, count + align_units - 1);
        if (status != SP_OK)
            return status;
    }
}

int space_alloc_low(struct store *store, uint64_t count, uint64_t *cursor, uint64_t below,
                    uint64_t *unit)
{
    *unit = buddy_alloc_low(&store->buddy, count, cursor, below);
    if (*unit == BUDDY_NONE)
        return SP_ENOSPC;
    int status = back_block(store, *unit, count);
    if (status != SP_OK)
        buddy_free(&store->buddy, *unit, count);
    return status;
}

void space_free(struct store *store, uint64_t unit, uint64_t count)
{
    /* W7: whoever sees a byte of the block's next life sees what made it unreachable. */
    atomic_thread_fence(memory_order_release);
    if (BREAKS_SPACE && unit % 512 == 0)
        return;
    buddy_free(&store->buddy, unit, count);
}

int space_find_holes(struct store *store)
{
    uint64_t chunks = store->usable_units / CHUNK_UNITS;
    for (uint64_t c = 0; c < chunks; c++) {
        off_t start = (off_t)arena_off(store, c * CHUNK_UNITS);
        off_t data = lseek(store->region.fd, start, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return SP_ESYS;
        if (data >= 0 && data < start + (off_t)CHUNK_BYTES)
            continue;
        store->chunk_punched[c] = 1;
        store->punched_units += CHUNK_UNITS;
    }
    return SP_OK;
}

/* Of a chunk that is wholly free. True: it was given back just now. */
static bool punch_chunk(struct store *store, uint64_t chunk, uint64_t now_ms)
{
    if (store->chunk_punched[chunk])
        return false;
    if (!store->chunk_free_ms[chunk]) {
        store->chunk_free_ms[chunk] = now_ms;
        return false;
    }
    if (now_ms - store->chunk_free_ms[chunk] < store->options.cooling_ms)
        return false;
    if (region_punch(&store->region, arena_off(store, chunk * CHUNK_UNITS), CHUNK_BYTES) != SP_OK)
        return false;
    store->chunk_punched[chunk] = 1;
    store->punched_units += CHUNK_UNITS;
    return true;
}

/* Leaves the lock, and the processor, to others for a moment. */
static void rest(struct store *store)
{
    const struct timespec moment = {.tv_nsec = PUNCH_REST_NS};
    pthread_mutex_unlock(&store->lock);
    nanosleep(&moment, NULL);
    store_lock(store);
}

/* Goes on over the chunks from where the last tick stopped. */
static void punch_some(struct store *store, uint64_t now_ms)
{
    uint64_t chunks = store->usable_units / CHUNK_UNITS;
    unsigned punched = 0;
    for (unsigned i = 0; i < LOOKS_PER_TICK && i < chunks && punched < PUNCHES_PER_TICK; i++) {
        uint64_t chunk = store->punch_chunk < chunks ? store->punch_chunk : 0;
        store->punch_chunk = chunk + 1;
        if (!buddy_is_free(&store->buddy, chunk * CHUNK_UNITS, CHUNK_UNITS) ||
            !punch_chunk(store, chunk, now_ms))
            continue;
        punched++;
        rest(store);
    }
}

/* Asks for huge pages under memory that has none yet, a little at a time, since the system copies
 * it. What was given back meanwhile stays so. */
static void collapse_pages(struct store *store)
{
    uint64_t end = store->usable_units * FORMAT_UNIT_BYTES;
    for (unsigned asked = 0; store->options.huge_pages && asked < COLLAPSE_PER_TICK &&
                             store->collapse_off + FORMAT_ARENA_ALIGN <= end;
         store->collapse_off += FORMAT_ARENA_ALIGN) {
        const uint8_t *punched = store->chunk_punched + store->collapse_off / CHUNK_BYTES;
        static_assert(FORMAT_ARENA_ALIGN == 2 * CHUNK_BYTES, "a huge page is two chunks");
        if (punched[0] || punched[1])
            continue;
        asked++;
        uint64_t off = store->region.super->arena_off + store->collapse_off;
        /* Without the lock: it takes milliseconds. Only this thread gives memory back, so what is
         * in use, or free and kept, stays so. */
        pthread_mutex_unlock(&store->lock);
        bool refused = !region_collapse(&store->region, off, FORMAT_ARENA_ALIGN) && errno == EINVAL;
        store_lock(store);
        if (refused)
            store->options.huge_pages = false; /* this system has none for us */
    }
}

void space_tick(struct store *store, uint64_t now_ms)
{
    punch_some(store, now_ms);
    atomic_store_explicit(&store->region.super->punched_bytes,
                          store->punched_units * FORMAT_UNIT_BYTES, memory_order_relaxed);
    collapse_pages(store);
}
