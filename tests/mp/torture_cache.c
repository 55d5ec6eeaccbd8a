/* SPDX-License-Identifier: Apache-2.0
 *
 * torture_cache.c - the cache in the torture: see torture.h.
 *
 * Every write has a number, and a value that says which key and number it is of. Before a write its
 * number is pending, afterwards it is that of its key; so whoever comes after a writer that was
 * killed knows what must be there, but for the one key whose write was pending, which may have the
 * old value or the new one. Deletes are writes of even numbers.
 *
 * In half of the writer's lives the cache is one of a ring: deletions leave tombstones, which must
 * be there in all lives that follow, some writes bring a version along, and the digests of the
 * slots must be those of a walk over everything.
 */
#include "tests/mp/torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/store/cache_ring.h"
#include "sidepond/cache.h"

#define CACHE_TABLE      77u /* in the bodies */
#define WRITES_MOST      120u
#define HOT              12u
#define CACHE_BYTES      (UINT64_C(6) << 20)
#define FAR_MS           INT64_C(3600000)
#define SLOTS            32u
#define PENDING_KEY(p)   ((p)&0xffff)
#define PENDING_WRITE(p) ((p) >> 16)

static size_t key_of(unsigned number, char out[32])
{
    return (size_t)snprintf(out, 32, "cached:%u", number);
}

/* Of this life of the writer, of which a process has one at a time. */
static struct ring_clock ring_clock;
static bool in_ring;

/* Whether the digests are those of a walk over everything, which makes them. */
static bool check_slots(struct torture *t, struct cache *cache, bool compare)
{
    const struct cache_slots_options options = {.slots = SLOTS,
                                                .tombstone_ms = (uint64_t)FAR_MS,
                                                .clock = &ring_clock,
                                                .latest_ms = clock_wall_ms() + FAR_MS};
    struct cache_slot kept[SLOTS], fresh;
    for (unsigned s = 0; compare && s < SLOTS; s++)
        cache_slot(cache, s, &kept[s]);
    int status = cache_keep_slots(cache, &options);
    if (status != SP_OK)
        return torture_fail(t, "cache_keep_slots: %s", sp_status_name(status));
    for (unsigned s = 0; compare && s < SLOTS; s++) {
        cache_slot(cache, s, &fresh);
        if (fresh.digest != kept[s].digest || fresh.entries != kept[s].entries ||
            fresh.tombstones != kept[s].tombstones)
            return torture_fail(t, "slot %u of the cache has another digest than was kept", s);
    }
    return true;
}

/* What was deleted in a ring is known to be. */
static bool check_tombstones(struct torture *t, struct cache *cache)
{
    uint64_t pending = atomic_load(&t->shared->cache_pending);
    for (unsigned i = 0; i < TORTURE_CACHED; i++) {
        struct cache_copy copy;
        char key[32];
        size_t key_bytes = key_of(i, key);
        if (!atomic_load(&t->shared->buried[i]) || PENDING_KEY(pending) == i)
            continue;
        cache_lock(cache, clock_wall_ms());
        bool there =
            cache_find_copy(cache, cache_hash(cache, key, key_bytes), key, key_bytes, &copy) &&
            copy.tombstone;
        cache_unlock(cache);
        if (!there)
            return torture_fail(t, "cached %u: its tombstone is lost", i);
    }
    return true;
}

int torture_cache_open(struct torture *t, struct store *store, struct cache **out)
{
    const struct cache_options options = {.limit_bytes = CACHE_BYTES, .evict = false};
    int status = cache_open(store, &options, out);
    if (status != SP_OK)
        return status;
    ring_clock = (struct ring_clock){0};
    /* Each failpoint is reached in a ring. */
    in_ring = getenv("SIDEPOND_FAILPOINT") != NULL || kit_below(&t->random, 2);
    return check_tombstones(t, *out) && (!in_ring || check_slots(t, *out, false)) ? SP_OK
                                                                                  : SP_ECORRUPT;
}

/* --- the writer ------------------------------------------------------------------------------- */

/* As a client of the ring, which has stamped it. */
static int apply_one(struct cache *cache, uint64_t hash, const void *key, size_t key_bytes,
                     const void *value, size_t value_bytes, int64_t now_ms)
{
    const struct cache_stamped stamped = {.hash = hash,
                                          .version = ring_clock_stamp(&ring_clock, now_ms),
                                          .key = key,
                                          .value = value,
                                          .key_bytes = key_bytes,
                                          .value_bytes = value_bytes};
    return cache_apply(cache, &stamped, NULL, NULL);
}

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
    bool stamped = in_ring && kit_below(random, 2);
    cache_lock(cache, now_ms);
    if (write % 2 == 0 && stamped) {
        status = apply_one(cache, hash, key, key_bytes, NULL, 0, now_ms);
    } else if (write % 2 == 0) {
        cache_delete(cache, hash, key, key_bytes);
    } else {
        kit_body(body, bytes, CACHE_TABLE, number, write);
        int64_t expiry_ms = kit_below(random, 2) ? now_ms + FAR_MS : CACHE_NO_EXPIRY;
        status = stamped ? apply_one(cache, hash, key, key_bytes, body, bytes, now_ms)
                         : cache_put(cache, hash, key, key_bytes, body, bytes, expiry_ms);
    }
    cache_unlock(cache);
    return status;
}

/* An entry of a wrong clock, which gets another version when its key is written again. Nobody looks
 * for these keys: a writer that dies in the middle leaves nothing of one. */
static bool restamp_one(struct torture *t, struct cache *cache)
{
    char key[32];
    uint8_t body[KIT_BODY_MIN];
    const unsigned number = (unsigned)kit_below(&t->random, HOT);
    const size_t key_bytes = (size_t)snprintf(key, sizeof(key), "restamped:%u", number);
    const uint64_t hash = cache_hash(cache, key, key_bytes), restamped = cache_restamped(cache);
    const int64_t now_ms = clock_wall_ms();
    kit_body(body, sizeof(body), CACHE_TABLE, number, 1);
    cache_lock(cache, now_ms);
    const uint64_t last = atomic_load(&ring_clock.last);
    int status = apply_one(cache, hash, key, key_bytes, body, sizeof(body), now_ms + 2 * FAR_MS);
    atomic_store(&ring_clock.last, last);
    if (status == SP_OK) {
        cache_set_ahead(cache, FAR_MS);
        status = apply_one(cache, hash, key, key_bytes, body, sizeof(body), now_ms);
        cache_set_ahead(cache, CACHE_AHEAD_ANY);
        if (cache_restamped(cache) == restamped)
            status = SP_ECORRUPT;
    }
    cache_unlock(cache);
    return status == SP_OK || status == SP_ENOSPC ||
           torture_fail(t, "a restamped entry: %s", sp_status_name(status));
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
        bool was_buried = atomic_exchange(&shared->buried[number], false);
        int status = write_one(cache, &t->random, number, write);
        if (status == SP_OK)
            atomic_store(&shared->cached[number], write);
        if (write % 2 == 0 ? in_ring && status == SP_OK : was_buried && status != SP_OK)
            atomic_store(&shared->buried[number], true);
        if (status != SP_OK && status != SP_ENOSPC)
            return torture_fail(t, "a write to the cache: %s", sp_status_name(status));
    }
    if (in_ring && kit_below(&t->random, 4) == 0 && !restamp_one(t, cache))
        return false;
    if (kit_below(&t->random, 50) == 0)
        cache_tick(cache, clock_wall_ms());
    return kit_below(&t->random, 20) != 0 || !in_ring ||
           (check_tombstones(t, cache) && check_slots(t, cache, true));
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
