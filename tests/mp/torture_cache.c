/* SPDX-License-Identifier: Apache-2.0
 *
 * torture_cache.c - the cache in the torture: see torture.h.
 *
 * Every write has a number, and a value that says which key and number it is of. Before a write its
 * number is pending, afterwards it is that of its key; so whoever comes after a writer that was
 * killed knows what must be there, but for the one key whose write was pending, which may have the
 * old value or the new one. Deletes are writes of even numbers.
 */
#include "tests/mp/torture.h"

#include <stdio.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/store/cache.h"
#include "sidepond/cache.h"

#define CACHE_TABLE      77u /* in the bodies */
#define WRITES_MOST      120u
#define HOT              12u
#define CACHE_BYTES      (UINT64_C(6) << 20)
#define FAR_MS           INT64_C(3600000)
#define PENDING_KEY(p)   ((p)&0xffff)
#define PENDING_WRITE(p) ((p) >> 16)

static size_t key_of(unsigned number, char out[32])
{
    return (size_t)snprintf(out, 32, "cached:%u", number);
}

int torture_cache_open(struct store *store, struct cache **out)
{
    const struct cache_options options = {.limit_bytes = CACHE_BYTES, .evict = false};
    return cache_open(store, &options, out);
}

/* --- the writer ------------------------------------------------------------------------------- */

/* SP_ENOSPC: the tables have taken the pond; nothing has changed then. */
static int write_one(struct cache *cache, struct kit_random *random, unsigned number,
                     uint64_t write)
{
    static uint8_t body[TORTURE_BODY_MAX];
    char key[32];
    size_t key_bytes = key_of(number, key);
    /* The hot ones are large: a reader is long at them, and their memory is soon another's. */
    size_t bytes = KIT_BODY_MIN + kit_below(random, number < HOT ? sizeof(body) - 40 : 300);
    uint64_t hash = cache_hash(cache, key, key_bytes);
    int64_t now_ms = clock_wall_ms();
    int status = SP_OK;
    cache_lock(cache, now_ms);
    if (write % 2 == 0) {
        cache_delete(cache, hash, key, key_bytes);
    } else {
        kit_body(body, bytes, CACHE_TABLE, number, write);
        status = cache_put(cache, hash, key, key_bytes, body, bytes,
                           kit_below(random, 2) ? now_ms + FAR_MS : CACHE_NO_EXPIRY);
    }
    cache_unlock(cache);
    return status;
}

bool torture_cache_write(struct torture *t, struct cache *cache)
{
    struct torture_shared *shared = t->shared;
    unsigned count = (unsigned)kit_below(&t->random, WRITES_MOST);
    for (unsigned i = 0; i < count; i++) {
        unsigned number =
            (unsigned)kit_below(&t->random, kit_below(&t->random, 4) ? HOT : TORTURE_CACHED);
        uint64_t write = (atomic_load(&shared->cache_writes) + 2) & ~UINT64_C(1);
        write += kit_below(&t->random, 4) != 0;
        atomic_store(&shared->cache_writes, write);
        atomic_store(&shared->cache_pending, write << 16 | number);
        int status = write_one(cache, &t->random, number, write);
        if (status == SP_OK)
            atomic_store(&shared->cached[number], write);
        else if (status != SP_ENOSPC)
            return torture_fail(t, "a write to the cache: %s", sp_status_name(status));
    }
    if (kit_below(&t->random, 50) == 0)
        cache_tick(cache, clock_wall_ms());
    return true;
}

/* --- readers ---------------------------------------------------------------------------------- */

/* The number of the write that made a key's value; 0: it is not there. */
static bool read_one(struct torture *t, struct sp_cache *cache, unsigned number, uint64_t *write)
{
    uint8_t value[TORTURE_BODY_MAX];
    char key[32];
    size_t size;
    int status = sp_cache_get(cache, key, key_of(number, key), value, sizeof(value), &size);
    *write = 0;
    if (status == SP_ENOTFOUND)
        return true;
    if (status != SP_OK)
        return torture_fail(t, "cached %u: %s", number, sp_status_name(status));
    if (!kit_body_state(value, size, CACHE_TABLE, number, write))
        return torture_fail(t, "cached %u: a wrong byte", number);
    return true;
}

static bool check_one(struct torture *t, struct sp_cache *cache, unsigned number)
{
    struct torture_shared *shared = t->shared;
    uint64_t before = atomic_load(&shared->cached[number]), write;
    if (!read_one(t, cache, number, &write))
        return false;
    uint64_t pending = atomic_load(&shared->cache_pending);
    uint64_t after = atomic_load(&shared->cached[number]);
    if (write != 0 && write < before)
        return torture_fail(t, "cached %u: write %llu after %llu", number,
                            (unsigned long long)write, (unsigned long long)before);
    if (write > PENDING_WRITE(pending))
        return torture_fail(t, "cached %u: write %llu, which has not begun", number,
                            (unsigned long long)write);
    /* Absent, although nothing has been done to it since it was there. */
    if (write == 0 && before % 2 == 1 && after == before && PENDING_KEY(pending) != number)
        return torture_fail(t, "cached %u: write %llu is lost", number, (unsigned long long)before);
    return true;
}

bool torture_cache_read(struct torture *t, struct sp_pond *pond)
{
    struct sp_cache *cache;
    int status = sp_cache_open(pond, &cache);
    if (status == SP_ENOTABLE || status == SP_ENOTREADY)
        return true; /* the first writer has not come so far */
    if (status != SP_OK)
        return torture_fail(t, "sp_cache_open: %s", sp_status_name(status));
    for (unsigned i = 0; i < 100; i++) {
        unsigned number =
            (unsigned)kit_below(&t->random, kit_below(&t->random, 4) ? HOT : TORTURE_CACHED);
        if (!check_one(t, cache, number))
            return false;
    }
    atomic_fetch_add_explicit(&t->shared->gets, 100, memory_order_relaxed);
    return true;
}

/* --- after a writer's end --------------------------------------------------------------------- */

bool torture_cache_compare(struct torture *t, struct sp_pond *pond)
{
    struct torture_shared *shared = t->shared;
    uint64_t pending = atomic_load(&shared->cache_pending), write;
    struct sp_cache *cache;
    int status = sp_cache_open(pond, &cache);
    if (status != SP_OK)
        return pending == 0 || torture_fail(t, "the cache is lost: %s", sp_status_name(status));
    for (unsigned i = 0; i < TORTURE_CACHED; i++) {
        uint64_t acked = atomic_load(&shared->cached[i]);
        if (!read_one(t, cache, i, &write))
            return false;
        uint64_t wanted = acked % 2 == 0 ? 0 : acked;
        uint64_t other = PENDING_KEY(pending) == i ? PENDING_WRITE(pending) : acked;
        if (write != wanted && write != (other % 2 == 0 ? 0 : other))
            return torture_fail(t, "cached %u: write %llu, and %llu was acknowledged", i,
                                (unsigned long long)write, (unsigned long long)acked);
        if (write != wanted)
            atomic_store(&shared->cached[i], other);
    }
    return true;
}
