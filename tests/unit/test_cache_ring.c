/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_ring.c - the cache as a copy of a ring's data.
 *
 * Goal: the same writes make the same entries and digests in whatever order they come; what was
 * deleted stays deleted as long as it shall, for writers and readers, through recovery, another
 * pond and full memory; a slot's digest is always that of what is there.
 * Method: caches in ponds of their own, and a clock that is a number of the test. A model of each
 * key, which knows nothing of the code, says what counts. The digests that were kept are compared
 * with those of a walk over everything. After each test the fixture recovers each pond and checks
 * every unit of it.
 */
#include "tests/unit/store_fixture.h"

#include "alloc/clock.h"
#include "server/store/cache_ring.h"
#include "sidepond/cache.h"

#define NOW_MS       INT64_C(1800000000000)
#define TOMBSTONE_MS UINT64_C(60000)
#define SLOTS        64u
#define NODES        3u
#define LIMIT        (UINT64_C(16) << 20)

struct node {
    struct fixture *f;
    struct cache *cache;
    struct ring_clock clock;
    uint64_t limit;
    bool evict;
    uint64_t gone[2];
};

struct test {
    struct node nodes[NODES];
    int64_t now_ms;
};
static struct test test;

static void count_gone(void *context, enum cache_gone why, const void *key, size_t key_bytes)
{
    struct node *node = context;
    assert_non_null(key);
    assert_true(key_bytes > 0);
    node->gone[why]++;
}

static void node_open(struct node *node)
{
    const struct cache_options options = {
        .limit_bytes = node->limit, .evict = node->evict, .on_gone = count_gone, .context = node};
    const struct cache_slots_options slots = {SLOTS, TOMBSTONE_MS, &node->clock, NOW_MS * 2};
    node->clock = (struct ring_clock){0};
    assert_ok(cache_open(node->f->store, &options, &node->cache));
    assert_ok(cache_keep_slots(node->cache, &slots));
}

static void node_reopen(struct node *node)
{
    cache_close(node->cache);
    fixture_close(node->f);
    fixture_open(node->f);
    assert_int_equal(node->f->opened.origin, STORE_RECOVERED);
    assert_int_equal(node->f->opened.dropped_corrupt, 0);
    node_open(node);
}

/* The first `count` nodes, of which the first is returned; what the fixture ends with them is
 * closed by end. */
static struct node *begin(void **state, unsigned count, uint64_t limit, bool evict)
{
    (void)state; /* the ponds are the nodes' */
    test = (struct test){.now_ms = NOW_MS};
    for (unsigned n = 0; n < count; n++) {
        void *pond;
        fixture_setup(&pond);
        test.nodes[n] = (struct node){.f = pond, .limit = limit, .evict = evict};
        node_open(&test.nodes[n]);
    }
    return &test.nodes[0];
}

static void lock(struct node *node)
{
    cache_lock(node->cache, test.now_ms);
}

static void unlock(struct node *node)
{
    cache_unlock(node->cache);
}

/* --- digests ---------------------------------------------------------------------------------- */

static void get_slots(const struct node *node, struct cache_slot out[SLOTS])
{
    for (unsigned s = 0; s < SLOTS; s++)
        cache_slot(node->cache, s, &out[s]);
}

static void assert_same_slots(const struct cache_slot *a, const struct cache_slot *b)
{
    for (unsigned s = 0; s < SLOTS; s++) {
        assert_int_equal(a[s].digest, b[s].digest);
        assert_int_equal(a[s].entries, b[s].entries);
        assert_int_equal(a[s].tombstones, b[s].tombstones);
    }
}

/* What has been kept is what a walk over everything finds, and the totals are right. */
static void check_slots(struct node *node)
{
    const struct cache_slots_options options = {SLOTS, TOMBSTONE_MS, &node->clock, NOW_MS * 2};
    struct cache_slot kept[SLOTS], fresh[SLOTS];
    uint64_t entries = 0, tombstones = 0;
    get_slots(node, kept);
    assert_ok(cache_keep_slots(node->cache, &options));
    get_slots(node, fresh);
    assert_same_slots(kept, fresh);
    for (unsigned s = 0; s < SLOTS; s++) {
        entries += kept[s].entries;
        tombstones += kept[s].tombstones;
    }
    lock(node);
    assert_int_equal(cache_entries(node->cache), entries);
    assert_int_equal(cache_tombstones(node->cache), tombstones);
    unlock(node);
}

static void end(void)
{
    for (unsigned n = 0; n < NODES && test.nodes[n].f; n++) {
        void *state = test.nodes[n].f;
        check_slots(&test.nodes[n]);
        cache_close(test.nodes[n].cache);
        fixture_teardown(&state);
    }
}

/* --- writes ----------------------------------------------------------------------------------- */

static size_t make_key(uint64_t number, char out[64])
{
    return (size_t)snprintf(out, 64, "key:%llu%s", (unsigned long long)number,
                            number % 5 == 0 ? ":which is longer than the short ones are" : "");
}

static int apply(struct node *node, uint64_t number, uint64_t version, const void *value,
                 size_t value_bytes, int64_t expiry_ms, bool *changed, uint64_t *current)
{
    char key[64];
    size_t key_bytes = make_key(number, key);
    const struct cache_stamped stamped = {.hash = cache_hash(node->cache, key, key_bytes),
                                          .version = version,
                                          .key = key,
                                          .value = value,
                                          .key_bytes = key_bytes,
                                          .value_bytes = value_bytes,
                                          .expiry_ms = expiry_ms};
    lock(node);
    int status = cache_apply(node->cache, &stamped, changed, current);
    unlock(node);
    return status;
}

static int put(struct node *node, uint64_t number, const char *value, int64_t expiry_ms)
{
    char key[64];
    size_t key_bytes = make_key(number, key);
    lock(node);
    int status = cache_put(node->cache, cache_hash(node->cache, key, key_bytes), key, key_bytes,
                           value, strlen(value), expiry_ms);
    unlock(node);
    return status;
}

static bool erase(struct node *node, uint64_t number)
{
    char key[64];
    size_t key_bytes = make_key(number, key);
    lock(node);
    bool there = cache_delete(node->cache, cache_hash(node->cache, key, key_bytes), key, key_bytes);
    unlock(node);
    return there;
}

/* Valid as long as nothing is written. */
static bool find_copy(struct node *node, uint64_t number, struct cache_copy *out)
{
    char key[64];
    size_t key_bytes = make_key(number, key);
    lock(node);
    bool found =
        cache_find_copy(node->cache, cache_hash(node->cache, key, key_bytes), key, key_bytes, out);
    unlock(node);
    return found;
}

static bool has(struct node *node, uint64_t number)
{
    struct cache_entry entry;
    char key[64];
    size_t key_bytes = make_key(number, key);
    lock(node);
    bool found =
        cache_find(node->cache, cache_hash(node->cache, key, key_bytes), key, key_bytes, &entry);
    unlock(node);
    return found;
}

static bool has_tombstone(struct node *node, uint64_t number)
{
    struct cache_copy copy;
    bool there = find_copy(node, number, &copy) && copy.tombstone;
    assert_false(there && has(node, number));
    return there;
}

static uint64_t version_at(int64_t ms, unsigned count)
{
    return ring_clock_of(ms) + count;
}

static struct cache_info info(struct node *node)
{
    struct cache_info out;
    cache_info(node->cache, &out);
    return out;
}

/* --- any order -------------------------------------------------------------------------------- */

/* A write as a ring client stamps it; few different versions, so that many are equal. */
struct written {
    uint64_t number, version;
    bool deletion;
    int64_t expiry_ms;
    size_t value_bytes;
    uint8_t value[24];
};
#define WRITES 6000u
#define KEYS   700u

static struct written random_write(struct kit_random *random)
{
    struct written w = {.number = kit_below(random, KEYS),
                        .version = version_at(NOW_MS, (unsigned)kit_below(random, 6)),
                        .deletion = kit_below(random, 4) == 0,
                        .value_bytes = kit_below(random, 3)};
    if (kit_below(random, 3) == 0)
        w.expiry_ms = NOW_MS + 1000 + (int64_t)kit_below(random, 3);
    if (kit_below(random, 10) == 0)
        w.value_bytes = sizeof(w.value);
    memset(w.value, 'a' + (int)kit_below(random, 3), sizeof(w.value));
    if (w.deletion)
        w.expiry_ms = 0, w.value_bytes = 0;
    return w;
}

/* docs/RING.md, "Versions". */
static bool counts_more(const struct written *a, const struct written *b)
{
    if (a->version != b->version)
        return a->version > b->version;
    if (a->deletion || b->deletion)
        return a->deletion && !b->deletion;
    if (a->expiry_ms != b->expiry_ms)
        return b->expiry_ms != 0 && (a->expiry_ms == 0 || a->expiry_ms > b->expiry_ms);
    if (a->value_bytes != b->value_bytes)
        return a->value_bytes > b->value_bytes;
    return memcmp(a->value, b->value, a->value_bytes) > 0;
}

static int apply_written(struct node *node, const struct written *w, bool *changed,
                         uint64_t *current)
{
    return apply(node, w->number, w->version, w->deletion ? NULL : w->value, w->value_bytes,
                 w->expiry_ms, changed, current);
}

/* One write, beside what there was; `best` NULL: nothing. */
static void apply_beside(struct node *node, const struct written *w, const struct written *best)
{
    bool changed;
    uint64_t current = 0;
    int status = apply_written(node, w, &changed, &current);
    if (best && counts_more(best, w)) {
        assert_status(status, SP_EEXISTS);
        assert_int_equal(current, best->version);
        assert_false(changed);
        return;
    }
    assert_ok(status);
    assert_int_equal(changed, !best || counts_more(w, best));
}

static void assert_has(struct node *node, uint64_t number, const struct written *best)
{
    struct cache_copy copy;
    assert_int_equal(find_copy(node, number, &copy), best != NULL);
    if (!best)
        return;
    assert_int_equal(copy.tombstone, best->deletion);
    assert_int_equal(copy.entry.version, best->version);
    assert_int_equal(copy.entry.expiry_ms, best->expiry_ms);
    assert_int_equal(copy.entry.value_bytes, best->value_bytes);
    assert_memory_equal(copy.entry.value, best->value, best->value_bytes);
}

static void shuffle(struct kit_random *random, struct written *writes, unsigned count)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = (unsigned)kit_below(random, i);
        struct written swap = writes[i - 1];
        writes[i - 1] = writes[j];
        writes[j] = swap;
    }
}

static void order_does_not_matter(void **state)
{
    static struct written writes[WRITES], best[KEYS];
    bool seen[KEYS];
    struct kit_random random = {kit_seed("test_cache_ring")};
    struct cache_slot first[SLOTS], other[SLOTS];
    begin(state, NODES, LIMIT, true);
    for (unsigned i = 0; i < WRITES; i++) /* some of them twice */
        writes[i] = i % 10 == 9 ? writes[i - 7] : random_write(&random);
    for (unsigned n = 0; n < NODES; n++) {
        struct node *node = &test.nodes[n];
        memset(seen, 0, sizeof(seen));
        shuffle(&random, writes, WRITES);
        for (unsigned i = 0; i < WRITES; i++) {
            const struct written *w = &writes[i];
            bool first_one = !seen[w->number];
            apply_beside(node, w, first_one ? NULL : &best[w->number]);
            if (first_one || counts_more(w, &best[w->number]))
                best[w->number] = *w;
            seen[w->number] = true;
            if (i == WRITES / 2)
                node_reopen(node);
        }
        for (unsigned k = 0; k < KEYS; k++)
            assert_has(node, k, seen[k] ? &best[k] : NULL);
        get_slots(node, n == 0 ? first : other);
        if (n > 0)
            assert_same_slots(first, other);
    }
    end();
}

/* Every difference shows in the digest. */
static void digests_tell_differences(void **state)
{
    const uint64_t version = version_at(NOW_MS, 1);
    const struct written base = {1, version, false, NOW_MS + 9000, 3, "abc"};
    struct cache_slot kept[SLOTS], others[SLOTS];
    begin(state, 2, LIMIT, true);
    struct written others_write[] = {base, base, base, base, base, base};
    others_write[0].version++;
    others_write[1].expiry_ms++;
    others_write[2].value[1] = 'x';
    others_write[3].value_bytes = 2;
    others_write[4].deletion = true;
    others_write[5].number = 2;
    assert_ok(apply_written(&test.nodes[0], &base, NULL, NULL));
    get_slots(&test.nodes[0], kept);
    for (unsigned i = 0; i < 6; i++) {
        uint64_t a = 0, b = 0;
        lock(&test.nodes[1]);
        assert_ok(cache_flush(test.nodes[1].cache));
        unlock(&test.nodes[1]);
        assert_ok(apply_written(&test.nodes[1], &others_write[i], NULL, NULL));
        get_slots(&test.nodes[1], others);
        for (unsigned s = 0; s < SLOTS; s++) {
            a ^= kept[s].digest;
            b ^= others[s].digest;
        }
        assert_int_not_equal(a, b);
    }
    end();
}

/* --- tombstones ------------------------------------------------------------------------------- */

static void count_copy(void *context, const struct cache_entry *entry)
{
    assert_non_null(entry->key);
    ++*(uint64_t *)context;
}

/* Nobody who looks for values finds one. */
static void tombstones_are_absence(void **state)
{
    struct cache_entry entry;
    uint64_t visited = 0;
    struct node *node = begin(state, 1, LIMIT, true);
    assert_ok(put(node, 1, "value", test.now_ms + 5000));
    assert_ok(put(node, 2, "value", CACHE_NO_EXPIRY));
    assert_true(erase(node, 1));
    assert_true(erase(node, 2));
    assert_true(has_tombstone(node, 1));
    assert_false(erase(node, 1));
    assert_false(erase(node, 3)); /* a peer may have it */
    assert_true(has_tombstone(node, 3));
    assert_int_equal(info(node).entries, 0);
    assert_int_equal(info(node).expiring, 0);
    assert_int_equal(info(node).bytes, 0);
    assert_int_equal(info(node).deleted, 2);
    lock(node);
    assert_false(cache_random(node->cache, 1, &entry));
    assert_int_equal(cache_scan(node->cache, 0, 10000, count_copy, &visited), 0);
    assert_int_equal(visited, 0);
    unlock(node);
    cache_tick(node->cache, test.now_ms);
    assert_true(has_tombstone(node, 2));
    assert_ok(put(node, 1, "again", CACHE_NO_EXPIRY));
    assert_true(has(node, 1));
    assert_int_equal(info(node).entries, 1);
    assert_int_equal(node->gone[CACHE_EXPIRED], 0);
    end();
}

/* As the library sees it, by all of its ways. */
static void readers_find_nothing(void **state)
{
    struct sp_cache *reader;
    char key[64], value[16];
    size_t size;
    int64_t ms;
    struct node *node = begin(state, 1, LIMIT, true);
    assert_ok(sp_open(node->f->directory, NULL, &node->f->pond));
    fixture_fill(node->f, 0, 1, 1); /* something is committed */
    assert_ok(sp_cache_open(node->f->pond, &reader));
    for (uint64_t i = 0; i < 2000; i++) /* some of them in overflow buckets */
        assert_ok(put(node, i, "value", i % 2 ? CACHE_NO_EXPIRY : CACHE_EXPIRY_MAX));
    for (uint64_t i = 0; i < 2000; i += 3)
        assert_true(erase(node, i));
    for (uint64_t i = 0; i < 2000; i++) {
        size_t bytes = make_key(i, key);
        struct sp_get get = {.key = key, .key_bytes = bytes, .out = value, .cap = sizeof(value)};
        int expected = i % 3 == 0 ? SP_ENOTFOUND : SP_OK;
        assert_status(sp_cache_get(reader, key, bytes, value, sizeof(value), &size), expected);
        assert_status(sp_cache_exists(reader, key, bytes), expected);
        assert_status(sp_cache_ttl(reader, key, bytes, &ms), expected);
        assert_ok(sp_cache_mget(reader, &get, 1));
        assert_status(get.status, expected);
    }
    end();
}

static void tombstones_go_in_time(void **state)
{
    struct node *node = begin(state, 1, LIMIT, true);
    for (uint64_t i = 0; i < 3000; i++) {
        assert_ok(put(node, i, "value", i % 7 ? CACHE_NO_EXPIRY : test.now_ms + 9000000));
        if (i % 2)
            erase(node, i);
    }
    test.now_ms += TOMBSTONE_MS - 1;
    cache_tick(node->cache, test.now_ms);
    lock(node);
    assert_int_equal(cache_tombstones(node->cache), 1500);
    unlock(node);
    check_slots(node);
    node_reopen(node);
    test.now_ms += 1000;
    cache_tick(node->cache, test.now_ms);
    lock(node);
    assert_int_equal(cache_tombstones(node->cache), 0);
    unlock(node);
    assert_int_equal(info(node).entries, 1500);
    assert_int_equal(node->gone[CACHE_EXPIRED], 0);
    check_slots(node);
    /* An older write is news again, and a deletion that old leaves nothing. */
    bool changed;
    const uint64_t old = version_at(NOW_MS - 1000, 0);
    assert_ok(apply(node, 1, old, NULL, 0, 0, &changed, NULL));
    assert_false(changed);
    assert_ok(apply(node, 1, old - 1, "old", 3, 0, &changed, NULL));
    assert_true(changed);
    assert_ok(apply(node, 1, old, NULL, 0, 0, &changed, NULL));
    assert_true(changed);
    struct cache_copy copy;
    assert_false(find_copy(node, 1, &copy));
    end();
}

/* The time may be set to another one while tombstones are there. */
static void time_of_tombstones_changes(void **state)
{
    struct node *node = begin(state, 1, LIMIT, true);
    lock(node);
    cache_set_tombstone_ms(node->cache, 100000000);
    unlock(node);
    for (uint64_t i = 0; i < 3000; i++)
        erase(node, i);
    cache_tick(node->cache, test.now_ms);
    test.now_ms += 50000;
    lock(node);
    assert_int_equal(cache_tombstones(node->cache), 3000);
    cache_set_tombstone_ms(node->cache, 40000);
    unlock(node);
    cache_tick(node->cache, test.now_ms);
    lock(node);
    assert_int_equal(cache_tombstones(node->cache), 0);
    unlock(node);
    end();
}

/* --- versions --------------------------------------------------------------------------------- */

static void own_writes_come_after_all_seen(void **state)
{
    const uint64_t ahead = version_at(NOW_MS + 30000, 7);
    struct cache_copy copy;
    uint64_t current = 0;
    struct node *node = begin(state, 1, LIMIT, true);
    assert_ok(apply(node, 1, ahead, "a", 1, 0, NULL, NULL));
    assert_ok(put(node, 1, "own", CACHE_NO_EXPIRY));
    assert_true(find_copy(node, 1, &copy));
    assert_true(copy.entry.version > ahead);
    uint64_t before = copy.entry.version;
    node_reopen(node); /* the clock begins anew, and finds what is there */
    assert_true(erase(node, 1));
    assert_true(find_copy(node, 1, &copy));
    assert_true(copy.tombstone && copy.entry.version > before);
    assert_status(apply(node, 1, before, "a", 1, 0, NULL, &current), SP_EEXISTS);
    assert_int_equal(current, copy.entry.version);
    assert_false(erase(node, 1)); /* deleted anew: a peer may have had a write between */
    assert_true(find_copy(node, 1, &copy));
    assert_true(copy.entry.version > current);
    assert_ok(put(node, 1, "own", CACHE_NO_EXPIRY));
    assert_status(apply(node, 1, copy.entry.version, NULL, 0, 0, NULL, &current), SP_EEXISTS);
    end();
}

/* However many writes a millisecond has, other nodes go on taking them. */
static void clock_does_not_run_away(void **state)
{
    struct cache_copy copy;
    uint64_t last = 0;
    struct node *node = begin(state, 1, LIMIT, true);
    for (uint64_t i = 0; i < 300000; i++) {
        assert_ok(put(node, i % 100, "v", CACHE_NO_EXPIRY));
        if (i % 100 != 0)
            continue;
        assert_true(find_copy(node, 0, &copy));
        assert_true(copy.entry.version > last);
        last = copy.entry.version;
    }
    assert_true(last <= version_at(NOW_MS + 1020, 0));
    assert_true(last <= atomic_load(&node->clock.last));
    end();
}

static void expired_values_are_deletions(void **state)
{
    const uint64_t version = version_at(NOW_MS, 3);
    bool changed;
    begin(state, 2, LIMIT, true);
    struct node *node = &test.nodes[0];
    assert_ok(apply(node, 1, version, "a", 1, NOW_MS + 500, &changed, NULL));
    assert_ok(apply(node, 2, version - 1, "old", 3, 0, &changed, NULL));
    test.now_ms += 1000;
    assert_ok(apply(node, 2, version, "a", 1, NOW_MS + 500, &changed, NULL));
    assert_true(changed);
    assert_true(has_tombstone(node, 2));
    assert_ok(apply(node, 1, version, "a", 1, NOW_MS + 500, &changed, NULL));
    assert_true(changed); /* it had expired here, and was still there */
    assert_true(has_tombstone(node, 1));
    assert_ok(apply(node, 3, version, "a", 1, -5, &changed, NULL));
    assert_true(has_tombstone(node, 3));
    assert_ok(put(node, 4, "value", CACHE_NO_EXPIRY));
    assert_ok(put(node, 4, "value of some length, more than a unit has", test.now_ms));
    assert_true(has_tombstone(node, 4));
    assert_ok(put(node, 5, "value of some length, more than a unit has", -1));
    assert_true(has_tombstone(node, 5));
    /* What expires by itself leaves nothing, if it was not written just now. */
    assert_ok(put(node, 6, "value", test.now_ms + CACHE_LAPSED_MS));
    assert_ok(put(node, 7, "value", test.now_ms + CACHE_LAPSED_MS));
    test.now_ms += CACHE_LAPSED_MS + 1000;
    assert_false(has(node, 6));
    cache_tick(node->cache, test.now_ms);
    struct cache_copy copy;
    assert_false(find_copy(node, 6, &copy));
    assert_false(find_copy(node, 7, &copy));
    assert_int_equal(node->gone[CACHE_EXPIRED], 2);
    end();
}

/* Where a copy has missed writes, what has expired does not make room for what was before it. */
static void keeps_what_has_expired(void **state)
{
    uint64_t slots[RING_SLOT_WORDS] = {0}, version = version_at(NOW_MS, 9), current;
    struct cache_copy copy;
    char key[64];
    unsigned kept = ring_slot(key, make_key(1, key), SLOTS);
    struct node *node = begin(state, 1, LIMIT, true);
    slots[0] = UINT64_C(1) << kept;
    lock(node);
    cache_keep_expired(node->cache, slots);
    unlock(node);
    for (uint64_t i = 0; i < 3000; i++)
        assert_ok(apply(node, i, version, "value", 5, NOW_MS + 500, NULL, NULL));
    test.now_ms += CACHE_LAPSED_MS + 1000;
    assert_false(has(node, 1)); /* one that is looked for, the others by the sweep */
    cache_tick(node->cache, test.now_ms);
    for (uint64_t i = 0; i < 3000; i++) {
        bool expected = ring_slot(key, make_key(i, key), SLOTS) == kept;
        assert_int_equal(find_copy(node, i, &copy), expected);
        if (!expected)
            continue;
        assert_true(copy.tombstone && copy.entry.version == version);
        assert_status(apply(node, i, version - 1, "old", 3, 0, NULL, &current), SP_EEXISTS);
    }
    assert_int_equal(node->gone[CACHE_EXPIRED], 3000);
    check_slots(node);
    test.now_ms += TOMBSTONE_MS;
    cache_tick(node->cache, test.now_ms);
    assert_false(find_copy(node, 1, &copy));
    end();
}

static void refuses_what_is_no_write(void **state)
{
    char *large = calloc(1, CACHE_KEY_MAX + 1);
    struct cache_stamped stamped = {.version = 1, .key = large, .value = "v", .value_bytes = 1};
    struct node *node = begin(state, 1, LIMIT, true);
    assert_status(apply(node, 1, 0, "v", 1, 0, NULL, NULL), SP_EINVAL);
    assert_status(apply(node, 1, UINT64_C(1) << ENTRY_CLOCK_BITS, "v", 1, 0, NULL, NULL),
                  SP_EINVAL);
    lock(node);
    stamped.key_bytes = CACHE_KEY_MAX + 1;
    assert_status(cache_apply(node->cache, &stamped, NULL, NULL), SP_ETOOBIG);
    stamped.key_bytes = 1;
    stamped.value_bytes = (size_t)CACHE_VALUE_MAX + 1;
    assert_status(cache_apply(node->cache, &stamped, NULL, NULL), SP_ETOOBIG);
    stamped.value_bytes = 100 << 20;
    assert_status(cache_apply(node->cache, &stamped, NULL, NULL), SP_ENOSPC);
    unlock(node);
    assert_int_equal(info(node).entries, 0);
    free(large);
    end();
}

/* --- full memory ------------------------------------------------------------------------------ */

/* With no room for anything a key can still be deleted, and not come back. */
static void deletes_when_full(void **state)
{
    uint64_t count = 0, current;
    char value[500];
    struct node *node = begin(state, 1, 1 << 20, false);
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    while (put(node, count, value, CACHE_NO_EXPIRY) == SP_OK)
        count++;
    while (put(node, count, "", CACHE_NO_EXPIRY) == SP_OK)
        count++;
    uint64_t version = version_at(test.now_ms + 5000, 0);
    assert_status(apply(node, count + 1, version, NULL, 0, 0, NULL, NULL), SP_ENOSPC);
    assert_false(erase(node, count + 1));
    for (uint64_t i = 0; i < count; i++) {
        if (i % 2)
            assert_true(erase(node, i));
        else
            assert_ok(apply(node, i, version, NULL, 0, 0, NULL, NULL));
        assert_true(has_tombstone(node, i));
        assert_status(apply(node, i, version - 2000, "v", 1, 0, NULL, &current), SP_EEXISTS);
    }
    assert_int_equal(info(node).entries, 0);
    end();
}

/* Tombstones stay whatever comes. */
static void evicts_no_tombstones(void **state)
{
    char value[200];
    uint64_t kept = 0, refused = 0;
    struct node *node = begin(state, 1, 2 << 20, true);
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    for (uint64_t i = 0; i < 30000; i++) {
        assert_ok(put(node, i, value, CACHE_NO_EXPIRY));
        if (i % 10 == 0)
            assert_true(erase(node, i));
    }
    for (uint64_t i = 100000; i < 160000; i++) { /* in use: both hands go round */
        assert_ok(put(node, i, value, CACHE_NO_EXPIRY));
        assert_ok(put(node, i, value, CACHE_NO_EXPIRY));
    }
    for (uint64_t i = 0; i < 30000; i += 10)
        assert_true(has_tombstone(node, i));
    assert_true(node->gone[CACHE_EVICTED] > 10000);
    check_slots(node);
    /* Until there is no room for anything else. */
    for (uint64_t i = 30000; i < 100000; i++) {
        if (put(node, i, value, CACHE_NO_EXPIRY) != SP_OK)
            refused++;
        else
            assert_true(erase(node, i));
    }
    assert_true(refused > 10000);
    lock(node);
    kept = cache_tombstones(node->cache);
    unlock(node);
    assert_true(kept > 20000);
    test.now_ms += TOMBSTONE_MS + 1000;
    cache_tick(node->cache, test.now_ms);
    assert_ok(put(node, 1, value, CACHE_NO_EXPIRY));
    end();
}

/* --- other lives ------------------------------------------------------------------------------ */

/* Random work beside a model; then recovery, compaction and a pond of another size. */
static void outlives_everything(void **state)
{
    struct kit_random random = {kit_seed("test_cache_ring")};
    static struct written model[2000];
    struct cache_slot before[SLOTS], after[SLOTS];
    memset(model, 0, sizeof(model));
    begin(state, 1, LIMIT, true);
    test.now_ms = clock_wall_ms();
    struct node *node = &test.nodes[0];
    for (unsigned step = 0; step < 40000; step++) {
        struct written w = {.number = kit_below(&random, 2000),
                            .version = version_at(test.now_ms, step),
                            .deletion = kit_below(&random, 3) == 0,
                            .value_bytes = kit_below(&random, sizeof(w.value))};
        if (w.deletion)
            w.value_bytes = 0;
        assert_ok(apply_written(node, &w, NULL, NULL));
        model[w.number] = w;
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 2000; i++)
            assert_has(node, i, model[i].version ? &model[i] : NULL);
        get_slots(node, before);
        if (round == 1) {
            cache_close(node->cache);
            fixture_close(node->f);
            node->f->options.limit_bytes = UINT64_C(40) << 20;
            node->f->options.cache_bytes = LIMIT;
            fixture_open(node->f);
            assert_int_equal(node->f->opened.origin, STORE_REPLACED);
            node_open(node);
        } else {
            fixture_settle(node->f);
            node_reopen(node);
        }
        fixture_settle(node->f); /* nothing of it waits to be freed */
        get_slots(node, after);
        assert_same_slots(before, after);
    }
    end();
}

/* A cache that is no ring's any more takes its tombstones for what they are. */
static void leaves_the_ring(void **state)
{
    const struct cache_options options = {.limit_bytes = LIMIT, .evict = true};
    struct node *node = begin(state, 1, LIMIT, true);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_ok(put(node, i, "value", CACHE_NO_EXPIRY));
        if (i % 2)
            assert_true(erase(node, i));
    }
    cache_close(node->cache);
    fixture_close(node->f);
    fixture_open(node->f);
    assert_ok(cache_open(node->f->store, &options, &node->cache));
    assert_int_equal(info(node).entries, 500);
    assert_false(has(node, 1));
    assert_false(erase(node, 1));
    assert_true(erase(node, 2));
    assert_ok(put(node, 3, "value", CACHE_NO_EXPIRY));
    assert_true(has(node, 3));
    assert_int_equal(info(node).entries, 500);
    test.now_ms += INT64_C(3601000);
    cache_tick(node->cache, test.now_ms);
    lock(node);
    assert_int_equal(cache_tombstones(node->cache), 0);
    unlock(node);
    cache_close(node->cache);
    node_open(node);
    end();
}

/* --- walks ------------------------------------------------------------------------------------ */

struct visits {
    uint8_t seen[6000];
    uint64_t count, tombstones;
    const uint64_t *slots;
};

static void visit(void *context, const struct cache_copy *copy)
{
    struct visits *visits = context;
    unsigned slot = ring_slot(copy->entry.key, copy->entry.key_bytes, SLOTS);
    char text[16] = "";
    memcpy(text, copy->entry.key + 4,
           copy->entry.key_bytes - 4 < 15 ? copy->entry.key_bytes - 4 : 15);
    visits->seen[strtoul(text, NULL, 10)]++;
    visits->count++;
    visits->tombstones += copy->tombstone;
    assert_true(visits->slots[slot / 64] >> slot % 64 & 1);
}

/* The walk visits each entry of the slots once, and the other walk leaves those of the others. */
static void walks_and_drops_slots(void **state)
{
    static struct visits visits;
    uint64_t slots[RING_SLOT_WORDS] = {UINT64_C(0x0000fff0f0f0aaaa)}, cursor = 0, left = 0;
    struct cache_slot sums[SLOTS];
    struct node *node = begin(state, 1, LIMIT, true);
    visits = (struct visits){.slots = slots};
    for (uint64_t i = 0; i < 6000; i++) {
        assert_ok(put(node, i, "value", CACHE_NO_EXPIRY));
        if (i % 3 == 0)
            assert_true(erase(node, i));
    }
    do {
        lock(node);
        cursor = cache_scan_slots(node->cache, cursor, 50, slots, visit, &visits);
        unlock(node);
    } while (cursor != 0);
    for (uint64_t i = 0; i < 6000; i++) {
        char key[64];
        unsigned slot = ring_slot(key, make_key(i, key), SLOTS);
        assert_int_equal(visits.seen[i], slots[slot / 64] >> slot % 64 & 1);
    }
    assert_true(visits.tombstones > 500 && visits.tombstones < visits.count);
    do {
        lock(node);
        cursor = cache_drop_slots(node->cache, cursor, 50, slots);
        unlock(node);
    } while (cursor != 0);
    get_slots(node, sums);
    for (unsigned s = 0; s < SLOTS; s++) {
        bool dropped = slots[0] >> s & 1;
        assert_int_equal(sums[s].digest == 0, dropped);
        assert_int_equal(sums[s].entries + sums[s].tombstones == 0, dropped);
        left += sums[s].entries + sums[s].tombstones;
    }
    assert_int_equal(left + visits.count, 6000);
    assert_int_equal(node->gone[CACHE_EXPIRED] + node->gone[CACHE_EVICTED], 0);
    end();
}

static void flush_leaves_nothing(void **state)
{
    struct cache_slot sums[SLOTS];
    struct cache_copy copy;
    struct node *node = begin(state, 1, LIMIT, true);
    for (uint64_t i = 0; i < 3000; i++)
        if (i % 2)
            assert_ok(put(node, i, "value", test.now_ms + 1000));
        else
            erase(node, i);
    lock(node);
    assert_ok(cache_flush(node->cache));
    assert_int_equal(cache_tombstones(node->cache), 0);
    unlock(node);
    assert_int_equal(info(node).entries, 0);
    assert_false(find_copy(node, 2, &copy));
    get_slots(node, sums);
    for (unsigned s = 0; s < SLOTS; s++)
        assert_int_equal(sums[s].digest | sums[s].entries | sums[s].tombstones, 0);
    assert_ok(put(node, 1, "value", CACHE_NO_EXPIRY));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(digests_tell_differences),
        cmocka_unit_test(tombstones_are_absence),
        cmocka_unit_test(readers_find_nothing),
        cmocka_unit_test(tombstones_go_in_time),
        cmocka_unit_test(time_of_tombstones_changes),
        cmocka_unit_test(own_writes_come_after_all_seen),
        cmocka_unit_test(clock_does_not_run_away),
        cmocka_unit_test(expired_values_are_deletions),
        cmocka_unit_test(keeps_what_has_expired),
        cmocka_unit_test(refuses_what_is_no_write),
        cmocka_unit_test(deletes_when_full),
        cmocka_unit_test(evicts_no_tombstones),
        cmocka_unit_test(outlives_everything),
        cmocka_unit_test(leaves_the_ring),
        cmocka_unit_test(walks_and_drops_slots),
        cmocka_unit_test(flush_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
