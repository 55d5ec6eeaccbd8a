/* SPDX-License-Identifier: Apache-2.0
 *
 * test_hostile.c - the reader library on ponds that are damaged in each of their fields.
 *
 * Goal: whatever stands in the pond's file, a read ends with a right answer or an error; it never
 * reads outside of the mapping and never goes on for ever.
 * Method: a small pond of the store's with all that a pond can hold: old versions, a tombstone, a
 * second root, postings, a cache. Each 64-bit word of superblock, slots, roots, schemas,
 * directories, segments and entries is set in turn to 0, to all ones, to single bits changed and to
 * random values from a printed seed (SIDEPOND_SEED repeats), and all functions are called, through
 * a handle opened before and one opened after. Sanitizers look on; the test's time-out is for what
 * never ends.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "alloc/hash.h"
#include "cache_writer.h"
#include "random_numbers.h"
#include "read_everything.h"
#include "reader_fixture.h"
#include "server/store/cache_ring.h"

#define ROWS 60u

static const struct reading reading = {
    .key_prefix = "person-", .key_count = 80, .index_key = "Rome"};

static unsigned share = 1;   /* one in so many words is damaged */
static struct region region; /* read-write, of the damaged pond */
static struct sp_pond *opened_before;
static unsigned sound_rows;

/* As of a key that was deleted in a ring. */
static void bury(struct cache *cache, const void *key, size_t key_bytes)
{
    const struct cache_stamped stamped = {.hash = cache_hash(cache, key, key_bytes),
                                          .version = ring_clock_of(clock_wall_ms()),
                                          .key = key,
                                          .key_bytes = key_bytes};
    cache_lock(cache, clock_wall_ms());
    assert_ok(cache_apply(cache, &stamped, NULL, NULL));
    cache_unlock(cache);
}

/* Entries that expire, that have, and that never do; some of them too large for who asks; and
 * tombstones. */
static void build_cache(struct pond_fixture *f)
{
    struct cache_writer writer;
    static const int64_t expiries[] = {CACHE_NO_EXPIRY, 1, CACHE_EXPIRY_MAX};
    assert_ok(cache_writer_open(&writer, f->store));
    for (int i = 0; i < (int)ROWS; i++) {
        char key[32], value[80];
        memset(value, 'v', sizeof value);
        int bytes = snprintf(key, sizeof key, "%s%d", reading.key_prefix, i);
        assert_ok(cache_writer_put(&writer, key, (size_t)bytes, value, (size_t)i * 5 / 4,
                                   expiries[i % 3]));
        if (i % 6 == 0)
            bury(writer.cache, key, (size_t)bytes);
    }
    cache_writer_close(&writer);
}

/* A pond with old versions that a snapshot holds, a deleted row, and a table of two shapes. */
static void build(struct pond_fixture *f, struct sp_snapshot **held)
{
    struct store_txn *txn;
    struct store_table *table;
    struct schema *schema;
    char why[256];
    const struct row_column other[] = {
        {.name = "id", .type = SP_TYPE_TEXT, .key_position = 0},
        {.name = "name", .type = SP_TYPE_TEXT, .key_position = -1},
    };
    people_put(f, 0, ROWS, 1);
    assert_ok(store_begin(f->store, &txn));
    people_put_in(f, txn, "others", 0, 10, 1);
    assert_ok(store_commit(txn, NULL));
    people_open(f);
    assert_ok(sp_snapshot_begin(f->pond, held));
    people_put(f, 0, ROWS / 2, 2);
    people_delete(f, 5, 8);
    assert_ok(schema_build(other, 2, NULL, 0, &schema, why, sizeof why));
    assert_ok(store_begin(f->store, &txn));
    assert_ok(store_table(txn, "others", schema, 0, &table, NULL));
    size_t done;
    struct store_row row = {.key = "person-1", .key_bytes = 8, .value = "x", .value_bytes = 1};
    assert_ok(store_put(table, &row, 1, &done));
    assert_ok(store_commit(txn, NULL));
    schema_free(schema);
    build_cache(f);
}

static int setup(void **state)
{
    random_start();
    const char *slow = getenv("SIDEPOND_SLOW");
    share = slow != NULL && *slow != '\0' && getenv("SIDEPOND_LONG") == NULL ? 2 : 1;
    people_setup(state);
    struct pond_fixture *f = *state;
    people_close_store(f);
    f->options.limit_bytes = UINT64_C(2) << 20;
    people_open_store(f);
    struct sp_snapshot *held;
    build(f, &held);
    /* The store goes without cleaning up after the snapshot, so the old versions stay. */
    people_close_store(f);
    char why[REGION_WHY_BYTES] = "";
    assert_ok(region_attach_writer(f->directory, &region, why));
    assert_ok(sp_open(f->directory, NULL, &opened_before));
    sound_rows = read_everything(f->directory, &reading);
    assert_true(sound_rows > ROWS * 4);
    return 0;
}

static int teardown(void **state)
{
    sp_close(opened_before);
    region_detach(&region);
    return people_teardown(state);
}

static void try_value(struct pond_fixture *f, uint64_t *word, uint64_t value)
{
    *word = value;
    (void)read_everything(f->directory, &reading);
    (void)read_pond(opened_before, &reading);
}

/* Sets a word to hostile values in turn, and back. In a slow build only some of the words, others
 * in each run. */
static void damage(struct pond_fixture *f, void *at, unsigned random_count)
{
    uint64_t *word = at;
    if (random_next() % share != 0)
        return;
    uint64_t was = *word;
    try_value(f, word, 0);
    try_value(f, word, UINT64_MAX);
    try_value(f, word, was + 1);
    try_value(f, word, was - 1);
    for (unsigned i = 0; i < random_count; i++) {
        try_value(f, word, was ^ UINT64_C(1) << random_next() % 64);
        try_value(f, word, random_next());
        try_value(f, word, random_next() >> random_next() % 64);
    }
    *word = was;
}

static void damage_range(struct pond_fixture *f, void *from, size_t bytes, unsigned random_count)
{
    uint64_t *words = from;
    for (size_t i = 0; i < bytes / 8; i++)
        damage(f, &words[i], random_count);
}

static struct table_root *newest_root(unsigned slot)
{
    return region_at(&region, region.slots[slot].head);
}

/* The pond reads as before: damage was undone, and reading wrote nothing. */
static void still_sound(struct pond_fixture *f)
{
    assert_int_equal(read_everything(f->directory, &reading), sound_rows);
}

static void test_superblock(void **state)
{
    struct pond_fixture *f = *state;
    damage_range(f, region.super, sizeof *region.super, 4);
    /* With a checksum that fits. */
    uint64_t *words = (uint64_t *)region.super;
    for (size_t i = 0; i < offsetof(struct super, checksum) / 8; i++) {
        uint64_t was = words[i], sum = region.super->checksum;
        for (unsigned n = 0; n < 16; n++) {
            words[i] = n == 0 ? 0 : n == 1 ? UINT64_MAX : random_next() >> random_next() % 64;
            region.super->checksum = super_checksum(region.super);
            (void)read_everything(f->directory, &reading);
        }
        words[i] = was;
        region.super->checksum = sum;
    }
    still_sound(f);
}

static void test_slots(void **state)
{
    struct pond_fixture *f = *state;
    damage_range(f, region.slots, 4 * sizeof region.slots[0], 3);
    still_sound(f);
}

static void test_roots(void **state)
{
    struct pond_fixture *f = *state;
    for (unsigned slot = 0; slot < 3; slot++) {
        struct table_root *root = newest_root(slot);
        damage_range(f, root, sizeof *root + (root->index_count + 1) * 8, 6);
        damage_range(f, region_at(&region, root->schema_unit), root->schema_bytes / 8 * 8, 1);
    }
    still_sound(f);
}

/* Schemas that are damaged but signed. */
static void test_signed_roots(void **state)
{
    struct pond_fixture *f = *state;
    struct table_root *root = newest_root(0);
    uint8_t *block = region_at(&region, root->schema_unit);
    struct table_root root_was = *root;
    uint8_t *block_was = malloc(root->schema_bytes);
    memcpy(block_was, block, root->schema_bytes);
    for (unsigned n = 0; n < 300; n++) {
        block[8 + random_next() % (root_was.schema_bytes - 8)] = (uint8_t)random_next();
        uint64_t sum = hash_bytes(block + 8, root_was.schema_bytes - 8);
        memcpy(block, &sum, sizeof sum);
        if (n % 3 == 0)
            root->index_count = (uint32_t)random_next() % 5;
        if (n % 7 == 0)
            root->schema_bytes = (uint32_t)(random_next() % (2 * root_was.schema_bytes));
        root->checksum = root_checksum(root, block);
        (void)read_everything(f->directory, &reading);
        memcpy(root, &root_was, sizeof root_was);
        memcpy(block, block_was, root_was.schema_bytes);
    }
    free(block_was);
    still_sound(f);
}

/* The indexes of a root: directory, buckets, entries. `slot_words` of each bucket are damaged. */
static void damage_index(struct pond_fixture *f, uint64_t dir, unsigned random_count)
{
    uint64_t *directory = region_at(&region, dir_unit(dir));
    damage_range(f, directory, (size_t)8 << dir_depth(dir), random_count + 4);
    struct bucket *buckets = region_at(&region, segment_unit(directory[0]));
    for (unsigned i = 0; i < segment_buckets(directory[0]); i++) {
        damage(f, &buckets[i].meta, random_count);
        for (unsigned j = 0; j < BUCKET_SLOTS; j++) {
            uint64_t word = buckets[i].slots[j];
            if (word == 0 && random_next() % 16 != 0)
                continue;
            if (random_next() % 3 == 0)
                damage(f, &buckets[i].slots[j], random_count);
            if (word != 0 && random_next() % 3 == 0)
                damage_range(f, region_at(&region, slot_unit(word)), 40, random_count);
        }
    }
}

static void test_indexes(void **state)
{
    struct pond_fixture *f = *state;
    for (unsigned slot = 0; slot < 3; slot++) {
        struct table_root *root = newest_root(slot);
        for (unsigned i = 0; i <= root->index_count; i++)
            damage_index(f, root->dirs[i], 1);
    }
    still_sound(f);
}

/* Many words at once, anywhere in what is used. */
static void test_anywhere(void **state)
{
    struct pond_fixture *f = *state;
    uint64_t *words = (uint64_t *)region.arena;
    uint64_t count = region.super->used_units * 2 + 64;
    uint64_t was[8], at[8];
    for (unsigned n = 0; n < 300; n++) {
        for (unsigned i = 0; i < 8; i++) {
            at[i] = random_next() % count;
            was[i] = words[at[i]];
            words[at[i]] =
                i % 2 == 0 ? random_next() >> random_next() % 64 : words[random_next() % count];
        }
        (void)read_everything(f->directory, &reading);
        (void)read_pond(opened_before, &reading);
        for (unsigned i = 8; i-- > 0;)
            words[at[i]] = was[i];
    }
    still_sound(f);
}

/* A chain of versions that leads back to itself ends. */
static void test_cycle(void **state)
{
    struct pond_fixture *f = *state;
    struct table_root *root = newest_root(0);
    uint64_t *directory = region_at(&region, dir_unit(root->dirs[0]));
    struct bucket *buckets = region_at(&region, segment_unit(directory[0]));
    for (unsigned i = 0; i < segment_buckets(directory[0]); i++) {
        for (unsigned j = 0; j < BUCKET_SLOTS; j++) {
            uint64_t unit = slot_unit(buckets[i].slots[j]);
            if (unit == 0)
                continue;
            struct entry *entry = region_at(&region, unit);
            uint64_t was = entry->prev_word, born = entry->born_word;
            entry->prev_word = (was & ~FORMAT_UNIT_MASK) | unit;
            entry->born_word = born | VERSION_UNCOMMITTED;
            (void)read_everything(f->directory, &reading);
            entry->prev_word = was;
            entry->born_word = born;
        }
        i += 3;
    }
    uint64_t born = root->born;
    root->born = born | VERSION_UNCOMMITTED;
    root->prev = region.slots[0].head;
    (void)read_everything(f->directory, &reading);
    (void)read_pond(opened_before, &reading);
    root->born = born;
    root->prev = 0;
    still_sound(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_superblock), cmocka_unit_test(test_slots),
        cmocka_unit_test(test_roots),      cmocka_unit_test(test_signed_roots),
        cmocka_unit_test(test_indexes),    cmocka_unit_test(test_anywhere),
        cmocka_unit_test(test_cycle),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
