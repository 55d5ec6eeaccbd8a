/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_lapse.c - Goal: what has expired soon after it was written leaves a tombstone for a
 * while, as a copy may have missed it without anybody's knowing yet; for the digest it is one of a
 * deletion, and it goes by itself, also after recovery. Method: two caches in ponds of their own,
 * and a clock that is a number of the test.
 */
#include "tests/unit/store_fixture.h"

#include "server/store/cache_ring.h"

#define NOW_MS INT64_C(1800000000000)
#define SLOTS  16u
#define KEYS   100u

struct node {
    struct fixture *f;
    struct cache *cache;
    struct ring_clock clock;
};

static void open_cache(struct node *node)
{
    const struct cache_options options = {.limit_bytes = 8 << 20, .evict = true};
    const struct cache_slots_options slots = {
        .slots = SLOTS, .tombstone_ms = 60000, .clock = &node->clock};
    assert_ok(cache_open(node->f->store, &options, &node->cache));
    assert_ok(cache_keep_slots(node->cache, &slots));
}

static void begin(struct node *node)
{
    void *pond;
    fixture_setup(&pond);
    *node = (struct node){.f = pond};
    open_cache(node);
}

static void end(struct node *node)
{
    void *pond = node->f;
    cache_close(node->cache);
    fixture_teardown(&pond);
}

static size_t make_key(unsigned number, char out[16])
{
    return (size_t)snprintf(out, 16, "key:%u", number);
}

/* `value` NULL: a deletion. */
static int apply(struct node *node, int64_t now_ms, unsigned number, uint64_t version,
                 const char *value, int64_t expiry_ms)
{
    char key[16];
    size_t key_bytes = make_key(number, key);
    uint64_t current;
    const struct cache_stamped stamped = {.hash = cache_hash(node->cache, key, key_bytes),
                                          .version = version,
                                          .key = key,
                                          .value = value,
                                          .key_bytes = key_bytes,
                                          .value_bytes = value ? strlen(value) : 0,
                                          .expiry_ms = expiry_ms};
    cache_lock(node->cache, now_ms);
    int status = cache_apply(node->cache, &stamped, NULL, &current);
    cache_unlock(node->cache);
    return status;
}

/* The version of the key's tombstone; 0: there is nothing. */
static uint64_t tombstone_of(struct node *node, int64_t now_ms, unsigned number)
{
    char key[16];
    size_t key_bytes = make_key(number, key);
    uint64_t hash = cache_hash(node->cache, key, key_bytes);
    struct cache_copy copy = {.tombstone = true};
    struct cache_entry entry;
    cache_lock(node->cache, now_ms);
    bool live = cache_find(node->cache, hash, key, key_bytes, &entry);
    bool there = cache_find_copy(node->cache, hash, key, key_bytes, &copy);
    cache_unlock(node->cache);
    assert_true(!live && copy.tombstone);
    return there ? copy.entry.version : 0;
}

static void assert_same_slots(struct node *nodes)
{
    struct cache_slot slots[2];
    for (unsigned s = 0; s < SLOTS; s++) {
        for (unsigned n = 0; n < 2; n++)
            cache_slot(nodes[n].cache, s, &slots[n]);
        assert_int_equal(slots[0].digest, slots[1].digest);
        assert_int_equal(slots[0].tombstones, slots[1].tombstones);
    }
}

static void lapses(void **state)
{
    const uint64_t version = ring_clock_of(NOW_MS) + 9;
    struct node nodes[2], *node = &nodes[0], *other = &nodes[1];
    (void)state;
    begin(node);
    begin(other);
    for (unsigned i = 0; i < KEYS; i++)
        assert_ok(apply(node, NOW_MS, i, version, "value", NOW_MS + 50));
    assert_int_equal(tombstone_of(node, NOW_MS + 60, 1), version);
    cache_tick(node->cache, NOW_MS + 1000);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_int_equal(tombstone_of(node, NOW_MS + 1000, i), version);
        assert_status(apply(node, NOW_MS + 1000, i, version - 1, "old", 0), SP_EEXISTS);
        assert_ok(apply(other, NOW_MS + 1000, i, version, NULL, 0));
    }
    assert_same_slots(nodes);
    cache_close(node->cache);
    fixture_close(node->f);
    fixture_open(node->f);
    assert_int_equal(node->f->opened.origin, STORE_RECOVERED);
    open_cache(node);
    assert_same_slots(nodes);
    int64_t later_ms = NOW_MS + CACHE_LAPSED_MS + 1000;
    cache_tick(node->cache, later_ms);
    cache_tick(other->cache, later_ms);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_int_equal(tombstone_of(node, later_ms, i), 0);
        assert_int_equal(tombstone_of(other, later_ms, i), version);
    }
    end(node);
    end(other);
}

static void count_tombstone(void *context, const struct cache_copy *copy)
{
    assert_true(copy->tombstone);
    (*(unsigned *)context)++;
}

/* A walk that finds what has expired shows the tombstones that it makes. */
static void is_shown(void **state)
{
    const uint64_t version = ring_clock_of(NOW_MS) + 9;
    const uint64_t all[RING_SLOT_WORDS] = {UINT64_MAX};
    unsigned seen = 0;
    struct node node;
    (void)state;
    begin(&node);
    for (unsigned i = 0; i < KEYS; i++)
        assert_ok(apply(&node, NOW_MS, i, version, "value", NOW_MS + 50));
    uint64_t cursor = 0;
    do {
        cache_lock(node.cache, NOW_MS + 100);
        cursor = cache_scan_slots(node.cache, cursor, 1, all, count_tombstone, &seen);
        cache_unlock(node.cache);
    } while (cursor != 0);
    assert_true(seen >= KEYS);
    end(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lapses), cmocka_unit_test(is_shown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
