/* SPDX-License-Identifier: Apache-2.0
 *
 * test_store_index.c - secondary indexes, and the growth of indexes.
 *
 * Goal: what a secondary index says is what a look at every row says, whatever the transactions
 * did; few and very many rows of one key; an index grows and shrinks without losing a row.
 * Method: as in test_store.c. Each count is taken by walking the index through the client library,
 * which looks every row up by its primary key.
 */
#include "tests/unit/store_fixture.h"

static void use_indexes(struct fixture *f)
{
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_INDEX_CODE);
}

static void put_row(struct fixture *f, int64_t id, int64_t grp, int64_t code)
{
    const struct kit_row row = {id, grp, code, "b", 1};
    assert_ok(kit_put(f->table, f->schema, &row, NULL));
}

static void keys_change(void **state)
{
    struct fixture *f = *state;
    use_indexes(f);
    fixture_begin(f);
    for (int64_t id = 0; id < 900; id++)
        put_row(f, id, id % 3, id);
    fixture_commit(f);
    assert_int_equal(fixture_find(f, 0, 0), 300);
    assert_int_equal(fixture_find(f, 0, 3), 0);
    fixture_begin(f);
    for (int64_t id = 0; id < 900; id += 3) /* all of group 0 go to 7, some by way of 8 */
        put_row(f, id, id % 2 ? 8 : 7, id);
    for (int64_t id = 0; id < 900; id += 3)
        put_row(f, id, 7, id);
    for (int64_t id = 1; id < 900; id += 6)
        assert_ok(kit_delete(f->table, id));
    fixture_commit(f);
    assert_int_equal(fixture_find(f, 0, 0), 0);
    assert_int_equal(fixture_find(f, 0, 7), 300);
    assert_int_equal(fixture_find(f, 0, 8), 0);
    assert_int_equal(fixture_find(f, 0, 1), 150);
    assert_int_equal(fixture_find(f, 0, 2), 300);
}

static void nulls_are_not_in_the_index(void **state)
{
    struct fixture *f = *state;
    use_indexes(f);
    fixture_begin(f);
    put_row(f, 1, KIT_NO_GROUP, 1);
    put_row(f, 2, 5, 2);
    fixture_commit(f);
    assert_int_equal(fixture_find(f, 0, KIT_NO_GROUP), 0);
    assert_int_equal(fixture_find(f, 0, 5), 1);
    fixture_begin(f);
    put_row(f, 1, 5, 1);
    put_row(f, 2, KIT_NO_GROUP, 2);
    fixture_commit(f);
    assert_int_equal(fixture_find(f, 0, 5), 1);
    fixture_begin(f);
    put_row(f, 1, KIT_NO_GROUP, 1);
    fixture_commit(f);
    assert_int_equal(fixture_find(f, 0, 5), 0);
}

static void unique_violations_are_counted(void **state)
{
    struct fixture *f = *state;
    struct store_counts counts;
    struct sp_row *row = sp_row_new();
    struct sp_value key = sp_int(50), id;
    use_indexes(f);
    fixture_begin(f);
    for (int64_t i = 0; i < 100; i++)
        put_row(f, i, 0, i);
    put_row(f, 500, 0, 50);
    put_row(f, 501, 0, 50);
    put_row(f, 502, 0, 51);
    fixture_commit(f);
    fixture_begin(f);
    put_row(f, 503, 0, 52);
    struct store_table *table = f->table;
    struct store_txn *txn = f->txn;
    store_table_counts(table, &counts);
    assert_int_equal(counts.inserted, 1);
    f->txn = NULL;
    assert_ok(store_commit(txn, NULL));
    assert_int_equal(fixture_find(f, 1, 50), 3);
    assert_int_equal(fixture_find(f, 1, 51), 2);
    assert_ok(sp_find_row(fixture_table(f, "t"), 1, &key, 1, row));
    assert_ok(sp_row_column(row, "id", &id));
    assert_true(id.i == 50 || id.i == 500 || id.i == 501);
    key = sp_int(12345);
    assert_status(sp_find_row(fixture_table(f, "t"), 1, &key, 1, row), SP_ENOTFOUND);
    sp_row_free(row);
}

/* Deletes or moves rows [from, to) of one key in steps of `step` a transaction. */
static void take_away(struct fixture *f, int64_t from, int64_t to, int64_t step, int64_t grp)
{
    for (int64_t first = from; first < to; first += step) {
        fixture_begin(f);
        for (int64_t id = first; id < first + step && id < to; id++) {
            if (grp == KIT_NO_GROUP)
                assert_ok(kit_delete(f->table, id));
            else
                put_row(f, id, grp, id);
        }
        fixture_commit(f);
    }
}

static void very_many_rows_of_one_key(void **state)
{
    struct fixture *f = *state;
    const int64_t count = kit_slow() ? 20000 : 200000;
    fixture_use_schema(f, KIT_INDEX_GROUP);
    fixture_begin(f);
    uint64_t empty = fixture_settle(f);
    for (int64_t id = 0; id < count; id++)
        put_row(f, id, 1, id);
    fixture_commit(f);
    assert_int_equal(fixture_find(f, 0, 1), count);
    uint64_t full = fixture_info(f).used_bytes;
    take_away(f, 0, 50, 1, 2); /* few of many: rewrites only their postings */
    assert_true(fixture_info(f).used_bytes < full + (1 << 16));
    assert_int_equal(fixture_find(f, 0, 1), count - 50);
    assert_int_equal(fixture_find(f, 0, 2), 50);
    take_away(f, 50, count / 2, count / 100, 3);
    assert_int_equal(fixture_find(f, 0, 1), count / 2);
    assert_int_equal(fixture_find(f, 0, 3), count / 2 - 50);
    take_away(f, 0, 50, 7, 1);
    assert_int_equal(fixture_find(f, 0, 1), count / 2 + 50);
    take_away(f, 0, count, count / 300, KIT_NO_GROUP);
    assert_int_equal(fixture_find(f, 0, 1), 0);
    assert_int_equal(fixture_find(f, 0, 3), 0);
    assert_true(fixture_settle(f) < empty + full / 20);
}

/* The story: postings of a key that had many rows were never laid out anew when rows went one by
 * one, so an index of no rows still had thousands of empty postings to look at. */
static void postings_become_fewer_again(void **state)
{
    struct fixture *f = *state;
    fixture_use_schema(f, KIT_INDEX_GROUP);
    fixture_begin(f);
    for (int64_t id = 0; id < 4000; id++)
        put_row(f, id, 1, id);
    fixture_commit(f);
    take_away(f, 0, 4000, 1, KIT_NO_GROUP);
    fixture_settle(f);
    struct check_report report;
    fixture_close(f);
    fixture_open(f);
    fixture_settle(f);
    assert_int_equal(kit_check(f->directory, false, &report), 0);
    assert_int_equal(report.entries, 0);
}

static void index_grows_and_shrinks(void **state)
{
    struct fixture *f = *state;
    const int64_t count = kit_slow() ? 20000 : 150000;
    struct check_report report;
    uint64_t seen;
    for (int64_t id = 0; id < count; id += count / 5)
        fixture_fill(f, id, id + count / 5, 1);
    fixture_settle(f);
    assert_int_equal(kit_check(f->directory, false, &report), 0);
    assert_int_equal(report.entries, count);
    assert_true(report.segments >= (uint64_t)count / (SEGMENT_BUCKETS_MAX * BUCKET_SLOTS));
    uint64_t buckets = report.buckets;
    fixture_begin(f);
    for (int64_t id = 0; id < count; id++)
        if (id % 50)
            assert_ok(kit_delete(f->table, id));
    fixture_commit(f);
    fixture_settle(f);
    for (unsigned i = 0; i < 2000 && report.buckets > buckets / 10; i++) {
        store_tick(f->store);
        if (i % 20 == 19)
            assert_int_equal(kit_check(f->directory, true, &report), 0);
    }
    assert_true(report.buckets <= buckets / 10);
    for (int64_t id = 0; id < count; id++)
        assert_status(fixture_get(f, id, &seen), id % 50 ? SP_ENOTFOUND : SP_OK);
}

static void hint_makes_the_index_at_once(void **state)
{
    struct fixture *f = *state;
    struct check_report hinted, grown;
    struct store_table *table;
    assert_ok(store_begin(f->store, &f->txn));
    assert_ok(store_table(f->txn, "hinted", f->schema, 30000, &table, NULL));
    for (int64_t id = 0; id < 30000; id++) {
        const struct kit_row row = {id, 1, id, "b", 1};
        assert_ok(kit_put(table, f->schema, &row, NULL));
    }
    fixture_commit(f);
    fixture_settle(f);
    assert_int_equal(kit_check(f->directory, false, &hinted), 0);
    fixture_fill(f, 0, 30000, 1);
    fixture_settle(f);
    assert_int_equal(kit_check(f->directory, false, &grown), 0);
    assert_true(hinted.buckets < 30000 / 4);
    assert_true(grown.buckets - hinted.buckets < 30000 / 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(keys_change),
        TEST(nulls_are_not_in_the_index),
        TEST(unique_violations_are_counted),
        TEST(very_many_rows_of_one_key),
        TEST(postings_become_fewer_again),
        TEST(index_grows_and_shrinks),
        TEST(hint_makes_the_index_at_once),
    };
    return cmocka_run_group_tests_name("store_index", tests, NULL, NULL);
}
