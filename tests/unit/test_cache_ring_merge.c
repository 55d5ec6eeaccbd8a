/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_ring_merge.c - what two copies of a ring's data make of each other's entries.
 *
 * Goal: whatever came to each copy, in whatever order and before or after it had expired, an
 * exchange makes them equal, and another one changes nothing; entries of a wrong clock neither
 * move a node's clock nor keep their keys from being written; another pond has what must not be
 * lost. Method: caches in ponds of their own, and a clock that is a number of the test. After each
 * test the digests that were kept are compared with those of a walk over everything, and the
 * fixture recovers each pond and checks every unit of it.
 */
#include "tests/unit/store_fixture.h"

#include "server/store/cache_ring.h"

#define NOW_MS       INT64_C(1800000000000)
#define DAY_MS       INT64_C(86400000)
#define AHEAD_MS     INT64_C(60000)
#define TOMBSTONE_MS UINT64_C(600000)
#define SLOTS        64u
#define COPIES       3u
#define LIMIT        (UINT64_C(16) << 20)
#define KEYS         200u
#define WRITES       4000u
#define ROUNDS       6u
#define TOMBS        3000u
#define TINY         30u

struct copy {
    struct fixture *f;
    struct cache *cache;
    struct ring_clock clock;
    int64_t now_ms;
};
static struct copy copies[COPIES];

static void keep_slots(struct copy *copy)
{
    const struct cache_slots_options options = {.slots = SLOTS,
                                                .tombstone_ms = TOMBSTONE_MS,
                                                .clock = &copy->clock,
                                                .latest_ms = copy->now_ms + AHEAD_MS};
    copy->clock = (struct ring_clock){0};
    assert_ok(cache_keep_slots(copy->cache, &options));
}

static void set_ahead(struct copy *copy)
{
    cache_lock(copy->cache, copy->now_ms);
    cache_set_ahead(copy->cache, AHEAD_MS);
    cache_unlock(copy->cache);
}

static struct copy *begin(unsigned count)
{
    const struct cache_options options = {.limit_bytes = LIMIT, .evict = true};
    memset(copies, 0, sizeof(copies));
    for (unsigned i = 0; i < count; i++) {
        void *pond;
        fixture_setup(&pond);
        copies[i] = (struct copy){.f = pond, .now_ms = NOW_MS};
        assert_ok(cache_open(copies[i].f->store, &options, &copies[i].cache));
        keep_slots(&copies[i]);
    }
    return &copies[0];
}

static void get_slots(const struct copy *copy, struct cache_slot out[SLOTS])
{
    for (unsigned s = 0; s < SLOTS; s++)
        cache_slot(copy->cache, s, &out[s]);
}

static void assert_equal(const struct copy *a, const struct copy *b)
{
    struct cache_slot of_a[SLOTS], of_b[SLOTS];
    get_slots(a, of_a);
    get_slots(b, of_b);
    for (unsigned s = 0; s < SLOTS; s++) {
        assert_int_equal(of_a[s].digest, of_b[s].digest);
        assert_int_equal(of_a[s].entries, of_b[s].entries);
        assert_int_equal(of_a[s].tombstones, of_b[s].tombstones);
    }
}

static void end(void)
{
    for (unsigned i = 0; i < COPIES && copies[i].f; i++) {
        struct cache_slot kept[SLOTS], fresh[SLOTS];
        void *state = copies[i].f;
        get_slots(&copies[i], kept);
        keep_slots(&copies[i]);
        get_slots(&copies[i], fresh);
        assert_memory_equal(kept, fresh, sizeof(kept));
        cache_close(copies[i].cache);
        fixture_teardown(&state);
    }
}

/* --- writes and exchanges --------------------------------------------------------------------- */

struct written {
    uint64_t number, version;
    const char *value; /* NULL: a deletion */
    int64_t expiry_ms;
};

static size_t make_key(uint64_t number, char out[32])
{
    return (size_t)snprintf(out, 32, "key:%llu", (unsigned long long)number);
}

static int apply(struct copy *copy, const struct written *w, uint64_t *current)
{
    char key[32];
    size_t key_bytes = make_key(w->number, key);
    const struct cache_stamped stamped = {.hash = cache_hash(copy->cache, key, key_bytes),
                                          .version = w->version,
                                          .key = key,
                                          .key_bytes = key_bytes,
                                          .value = w->value,
                                          .value_bytes = w->value ? strlen(w->value) : 0,
                                          .expiry_ms = w->expiry_ms};
    cache_lock(copy->cache, copy->now_ms);
    int status = cache_apply(copy->cache, &stamped, NULL, current);
    cache_unlock(copy->cache);
    return status;
}

static uint64_t version_of(struct copy *copy, uint64_t number)
{
    struct cache_copy found = {.entry.version = 0};
    char key[32];
    size_t key_bytes = make_key(number, key);
    cache_lock(copy->cache, copy->now_ms);
    cache_find_copy(copy->cache, cache_hash(copy->cache, key, key_bytes), key, key_bytes, &found);
    cache_unlock(copy->cache);
    return found.entry.version;
}

/* As a client of Redis does; the version. */
static uint64_t put(struct copy *copy, uint64_t number, const char *value)
{
    char key[32];
    size_t key_bytes = make_key(number, key);
    cache_lock(copy->cache, copy->now_ms);
    assert_ok(cache_put(copy->cache, cache_hash(copy->cache, key, key_bytes), key, key_bytes, value,
                        strlen(value), CACHE_NO_EXPIRY));
    cache_unlock(copy->cache);
    return version_of(copy, number);
}

static void assert_value(struct copy *copy, uint64_t number, const char *value)
{
    struct cache_entry entry;
    char key[32];
    size_t key_bytes = make_key(number, key);
    cache_lock(copy->cache, copy->now_ms);
    bool found =
        cache_find(copy->cache, cache_hash(copy->cache, key, key_bytes), key, key_bytes, &entry);
    assert_int_equal(found, value != NULL);
    if (value) {
        assert_int_equal(entry.value_bytes, strlen(value));
        assert_memory_equal(entry.value, value, strlen(value));
    }
    cache_unlock(copy->cache);
}

/* Everything of one copy, as PULL gives it. */
struct page {
    struct taken {
        char key[32], value[32];
        bool tombstone;
        struct cache_entry entry;
    } taken[4 * KEYS];
    size_t count;
};

static void take(void *context, const struct cache_copy *copy)
{
    struct page *page = context;
    struct taken *taken = &page->taken[page->count++];
    assert_true(page->count <= 4 * (size_t)KEYS && copy->entry.value_bytes <= sizeof(taken->value));
    *taken = (struct taken){.tombstone = copy->tombstone, .entry = copy->entry};
    memcpy(taken->key, copy->entry.key, copy->entry.key_bytes);
    memcpy(taken->value, copy->entry.value, copy->entry.value_bytes);
}

static void pull(struct copy *to, struct copy *from)
{
    static struct page page;
    uint64_t slots[RING_SLOT_WORDS], cursor = 0;
    memset(slots, 0xff, sizeof(slots));
    page.count = 0;
    do {
        cache_lock(from->cache, from->now_ms);
        cursor = cache_scan_slots(from->cache, cursor, 50, slots, take, &page);
        cache_unlock(from->cache);
    } while (cursor != 0);
    for (size_t i = 0; i < page.count; i++) {
        const struct taken *taken = &page.taken[i];
        const struct cache_stamped stamped = {
            .hash = cache_hash(to->cache, taken->key, taken->entry.key_bytes),
            .version = taken->entry.version,
            .key = taken->key,
            .key_bytes = taken->entry.key_bytes,
            .value = taken->tombstone ? NULL : taken->value,
            .value_bytes = taken->entry.value_bytes,
            .expiry_ms = taken->entry.expiry_ms};
        cache_lock(to->cache, to->now_ms);
        int status = cache_apply(to->cache, &stamped, NULL, NULL);
        cache_unlock(to->cache);
        assert_true(status == SP_OK || status == SP_EEXISTS);
    }
}

/* --- any order, any time ---------------------------------------------------------------------- */

/* Few versions and expiries, so that many are equal; some expire while the writes come. */
static struct written random_write(struct kit_random *random)
{
    static const char *const values[] = {"a", "b", "bb", "", NULL};
    struct written w = {.number = kit_below(random, KEYS),
                        .version = ring_clock_of(NOW_MS) + kit_below(random, 4),
                        .value = values[kit_below(random, 5)]};
    if (w.value && kit_below(random, 2) == 0)
        w.expiry_ms = NOW_MS + 1000 * (int64_t)(1 + kit_below(random, 4));
    return w;
}

/* All of them, in another order, while time goes on; what has expired goes now or later. */
static void apply_all(struct copy *copy, struct written *writes, struct kit_random *random)
{
    for (unsigned i = WRITES; i > 1; i--) {
        unsigned j = (unsigned)kit_below(random, i);
        struct written swap = writes[i - 1];
        writes[i - 1] = writes[j];
        writes[j] = swap;
    }
    copy->now_ms = NOW_MS;
    for (unsigned i = 0; i < WRITES; i++) {
        int status = apply(copy, &writes[i], NULL);
        assert_true(status == SP_OK || status == SP_EEXISTS);
        if (kit_below(random, WRITES / 3) == 0)
            copy->now_ms += 500;
        if (kit_below(random, WRITES / 3) == 0)
            cache_tick(copy->cache, copy->now_ms);
    }
    copy->now_ms = NOW_MS + 2500;
}

/* Three times: what has expired at the first copy, and is still there, keeps away what is older,
 * but leaves nothing when it goes, which is at the second pull. */
static void exchange(struct copy *a, struct copy *b)
{
    pull(a, b);
    pull(b, a);
    pull(a, b);
    assert_equal(a, b);
}

static void an_exchange_makes_equal(void **state)
{
    static struct written writes[WRITES];
    struct kit_random random = {kit_seed("test_cache_ring_merge")};
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct copy *a = begin(COPIES), *b = &copies[1], *c = &copies[2];
        struct cache_slot before[SLOTS], after[SLOTS];
        for (unsigned i = 0; i < WRITES; i++)
            writes[i] = random_write(&random);
        for (unsigned i = 0; i < COPIES; i++)
            apply_all(&copies[i], writes, &random);
        exchange(a, b);
        get_slots(a, before);
        exchange(b, a); /* the other way round, and once more, changes nothing */
        get_slots(a, after);
        assert_memory_equal(before, after, sizeof(before));
        exchange(c, a);
        exchange(b, c);
        assert_equal(a, b);
        end();
    }
}

/* The same writes in any order, none of which goes by itself: no exchange is needed. */
static void order_of_the_expired(void **state)
{
    const uint64_t version = ring_clock_of(NOW_MS) + 1;
    const struct written soon = {1, version, "value", NOW_MS + 1000};
    const struct written late = {1, version, "valu", NOW_MS + 9000};
    uint64_t current = 0;
    (void)state;
    struct copy *a = begin(2), *b = &copies[1];
    assert_ok(apply(a, &soon, NULL));
    a->now_ms = b->now_ms = NOW_MS + 2000;
    assert_status(apply(a, &late, &current), SP_EEXISTS);
    assert_int_equal(current, version); /* so whoever wrote it writes again, above that */
    assert_ok(apply(b, &late, NULL));
    assert_ok(apply(b, &soon, NULL));
    assert_equal(a, b);
    assert_value(a, 1, NULL);
    assert_value(b, 1, NULL);
    end();
}

/* --- wrong clocks ----------------------------------------------------------------------------- */

/* A day ahead, and then right again: what was written meanwhile moves no clock. */
static void the_wrong_move_no_clock(void **state)
{
    (void)state;
    struct copy *a = begin(1);
    a->now_ms = NOW_MS + DAY_MS;
    uint64_t wrong = put(a, 1, "wrong");
    assert_true(wrong >= ring_clock_of(NOW_MS + DAY_MS));
    a->now_ms = NOW_MS;
    keep_slots(a);
    assert_int_equal(cache_slots_ahead(a->cache), 1);
    assert_true(put(a, 2, "right") <= ring_clock_of(NOW_MS + AHEAD_MS));
    assert_true(put(a, 1, "above") > wrong); /* as long as it may be this node's that is wrong */
    set_ahead(a);
    put(a, 1, "right");
    assert_true(version_of(a, 1) <= ring_clock_of(NOW_MS + AHEAD_MS));
    assert_true(put(a, 3, "right") <= ring_clock_of(NOW_MS + AHEAD_MS));
    assert_true(cache_restamped(a->cache) > 0);
    end();
}

/* The clock is put right while the node runs. */
static void a_clock_that_was_ahead_begins_anew(void **state)
{
    (void)state;
    struct copy *a = begin(1);
    set_ahead(a);
    a->now_ms = NOW_MS + DAY_MS;
    put(a, 1, "wrong");
    a->now_ms = NOW_MS;
    assert_true(put(a, 2, "right") <= ring_clock_of(NOW_MS + AHEAD_MS));
    assert_true(put(a, 1, "right") <= ring_clock_of(NOW_MS + AHEAD_MS));
    end();
}

/* A peer's value counts more; what no peer has stays; both come to the same by an exchange. */
static void the_wrong_give_way(void **state)
{
    const uint64_t far = ring_clock_of(NOW_MS + DAY_MS), right = ring_clock_of(NOW_MS);
    const struct written wrong[] = {{1, far, "wrong", 0},
                                    {2, far, NULL, 0},
                                    {3, far + 7, "wrong, alone", 0},
                                    {4, far + (1 << 20), "wrong, later", 0},
                                    {5, far, "wrong", NOW_MS + 5000}};
    const struct written good[] = {{1, right, "right", 0}, {2, right, "right", 0}};
    const struct written older = {4, far, "wrong, earlier", 0};
    (void)state;
    struct copy *a = begin(2), *b = &copies[1];
    for (unsigned i = 0; i < 5; i++)
        assert_ok(apply(a, &wrong[i], NULL));
    assert_ok(apply(b, &older, NULL));
    for (unsigned i = 0; i < 2; i++)
        assert_ok(apply(b, &good[i], NULL));
    set_ahead(a);
    set_ahead(b);
    exchange(a, b);
    exchange(b, a);
    for (unsigned i = 0; i < 2; i++) {
        assert_value(&copies[i], 1, "right");
        assert_value(&copies[i], 2, "right");
        assert_value(&copies[i], 3, "wrong, alone");
        assert_value(&copies[i], 4, "wrong, later");
        assert_value(&copies[i], 5, "wrong");
        assert_true(version_of(&copies[i], 3) < right);
    }
    a->now_ms += 6000;
    assert_value(a, 5, NULL); /* its expiry stays what it was */
    end();
}

/* Where all copies have it, a write with a right version goes through all the same. */
static void the_wrong_are_written_again(void **state)
{
    const struct written wrong = {1, ring_clock_of(NOW_MS + DAY_MS), "wrong", 0};
    const struct written right = {1, ring_clock_of(NOW_MS), "right", 0};
    uint64_t current;
    (void)state;
    struct copy *a = begin(1);
    assert_ok(apply(a, &wrong, NULL));
    assert_status(apply(a, &right, &current), SP_EEXISTS);
    set_ahead(a);
    assert_ok(apply(a, &right, NULL));
    assert_value(a, 1, "right");
    end();
}

/* A deletion of a wrong clock has no time at which it goes: it goes at once. */
static void tombstones_of_the_wrong_go(void **state)
{
    (void)state;
    struct copy *a = begin(1);
    for (uint64_t i = 0; i < 1000; i++) {
        const struct written wrong = {i, ring_clock_of(NOW_MS + DAY_MS) + i, NULL, 0};
        assert_ok(apply(a, &wrong, NULL));
    }
    cache_tick(a->cache, a->now_ms);
    assert_int_equal(cache_tombstones(a->cache), 1000);
    set_ahead(a);
    cache_tick(a->cache, a->now_ms);
    assert_int_equal(cache_tombstones(a->cache), 0);
    end();
}

/* --- other ponds ------------------------------------------------------------------------------ */

/* Goes over to a pond of another size. */
static void move(struct copy *copy, uint64_t pond_bytes, uint64_t cache_bytes)
{
    const struct cache_options options = {.limit_bytes = cache_bytes, .evict = true};
    cache_close(copy->cache);
    fixture_close(copy->f);
    copy->f->options.limit_bytes = pond_bytes;
    copy->f->options.cache_bytes = cache_bytes;
    fixture_open(copy->f);
    assert_int_equal(copy->f->opened.origin, STORE_REPLACED);
    assert_ok(cache_open(copy->f->store, &options, &copy->cache));
    keep_slots(copy);
}

/* In a smaller pond it is values that make room, even where what they leave is too small for a
 * tombstone. */
static void tombstones_find_room_first(void **state)
{
    struct cache_copy found;
    char key[512];
    unsigned lost = 0;
    (void)state;
    struct copy *a = begin(1);
    for (uint64_t i = 0; i < TOMBS; i++) {
        const size_t key_bytes =
            (size_t)snprintf(key, sizeof(key), "%0400llu", (unsigned long long)i);
        const uint64_t version = ring_clock_of(NOW_MS) + i;
        const struct cache_stamped stamped = {.hash = cache_hash(a->cache, key, key_bytes),
                                              .version = version,
                                              .key = key,
                                              .key_bytes = key_bytes};
        cache_lock(a->cache, a->now_ms);
        assert_ok(cache_apply(a->cache, &stamped, NULL, NULL));
        cache_unlock(a->cache);
        for (uint64_t n = 0; n < TINY; n++) {
            const struct written w = {i * TINY + n, version, "", 0};
            assert_ok(apply(a, &w, NULL));
        }
    }
    move(a, UINT64_C(3) << 20, UINT64_C(3) << 20);
    for (uint64_t i = 0; i < TOMBS; i++) {
        const size_t key_bytes =
            (size_t)snprintf(key, sizeof(key), "%0400llu", (unsigned long long)i);
        cache_lock(a->cache, a->now_ms);
        lost += !cache_find_copy(a->cache, cache_hash(a->cache, key, key_bytes), key, key_bytes,
                                 &found);
        cache_unlock(a->cache);
    }
    assert_int_equal(lost, 0);
    end();
}

/* When it was whole is remembered by the next life, and in another pond. */
static void life_goes_along(void **state)
{
    const struct cache_life life = {.whole_ms = NOW_MS, .since_ms = NOW_MS - DAY_MS};
    const struct cache_options options = {.limit_bytes = LIMIT, .evict = true};
    struct cache_life found;
    (void)state;
    struct copy *a = begin(1);
    cache_life(a->cache, &found);
    assert_true(found.whole_ms == 0 && found.since_ms == 0);
    cache_set_life(a->cache, &life);
    put(a, 1, "value");
    cache_close(a->cache);
    fixture_close(a->f);
    fixture_open(a->f);
    assert_int_equal(a->f->opened.origin, STORE_RECOVERED);
    assert_ok(cache_open(a->f->store, &options, &a->cache));
    keep_slots(a);
    cache_life(a->cache, &found);
    assert_true(found.whole_ms == life.whole_ms && found.since_ms == life.since_ms);
    move(a, UINT64_C(40) << 20, LIMIT);
    cache_life(a->cache, &found);
    assert_true(found.whole_ms == life.whole_ms && found.since_ms == life.since_ms);
    assert_value(a, 1, "value");
    end();
}

/* What is from before an absence goes in the slots that are asked for, what came since stays. */
static void drops_what_is_older(void **state)
{
    uint64_t slots[RING_SLOT_WORDS] = {0x5555555555555555}, cursor = 0, dropped = 0;
    const uint64_t last = ring_clock_of(NOW_MS) + 500;
    unsigned gone = 0;
    char key[32];
    (void)state;
    struct copy *a = begin(1);
    for (uint64_t i = 0; i < 1000; i++) {
        const struct written w = {i, ring_clock_of(NOW_MS) + i, i % 3 ? "v" : NULL, 0};
        assert_ok(apply(a, &w, NULL));
    }
    do {
        cache_lock(a->cache, a->now_ms);
        cursor = cache_drop_older(a->cache, cursor, 10, slots, last, &dropped);
        cache_unlock(a->cache);
    } while (cursor != 0);
    for (uint64_t i = 0; i < 1000; i++) {
        bool asked = slots[0] >> ring_slot(key, make_key(i, key), SLOTS) & 1;
        bool goes = asked && i <= 500;
        assert_int_equal(version_of(a, i), goes ? 0 : ring_clock_of(NOW_MS) + i);
        gone += goes;
    }
    assert_int_equal(dropped, gone);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_makes_equal),
        cmocka_unit_test(order_of_the_expired),
        cmocka_unit_test(the_wrong_move_no_clock),
        cmocka_unit_test(a_clock_that_was_ahead_begins_anew),
        cmocka_unit_test(the_wrong_give_way),
        cmocka_unit_test(the_wrong_are_written_again),
        cmocka_unit_test(tombstones_of_the_wrong_go),
        cmocka_unit_test(tombstones_find_room_first),
        cmocka_unit_test(life_goes_along),
        cmocka_unit_test(drops_what_is_older),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
