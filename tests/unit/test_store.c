/* SPDX-License-Identifier: Apache-2.0
 *
 * test_store.c - the store: opening, transactions, passes, shapes.
 *
 * Goal: a commit shows all of a transaction and nothing before it; an abort leaves no trace; a
 * refresh that changes nothing writes nothing; a pond is found again as it was left.
 * Method: each test has a pond of its own (store_fixture.h), writes through the store's interface
 * and reads through the client library; bodies say of themselves what they are. After each test the
 * pond is opened again and checked as a whole, leaked units included.
 */
#include "alloc/hash.h"
#include "tests/unit/store_fixture.h"

/* Whether the pond's directory has this file. */
static bool has_file(const struct fixture *f, const char *name)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    return access(path, F_OK) == 0;
}

/* --- opening -------------------------------------------------------------------------------- */

static void pond_is_found_again(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    assert_int_equal(f->opened.origin, STORE_CREATED);
    assert_int_equal(f->opened.version, 0);
    fixture_fill(f, 0, 3000, 7);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_RECOVERED);
    assert_int_equal(f->opened.version, 1);
    assert_int_equal(f->opened.rows, 3000);
    for (int64_t id = 0; id < 3000; id++) {
        assert_ok(fixture_get(f, id, &seen));
        assert_int_equal(seen, 7);
    }
    assert_status(fixture_get(f, 3000, &seen), SP_ENOTFOUND);
}

static void pond_of_another_size_takes_the_data_along(void **state)
{
    struct fixture *f = *state;
    struct sp_table *table;
    struct sp_pond_info info = SP_POND_INFO_INIT;
    uint64_t seen;
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_INDEX_CODE);
    for (uint64_t n = 0; n < 4; n++)
        fixture_fill(f, 0, 2000, n);
    table = fixture_table(f, "t"); /* a reader from before */
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(32) << 20;
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_REPLACED);
    assert_true(f->opened.version > 4); /* who waits for a newer version gets one */
    assert_ok(fixture_get(f, 1234, &seen));
    assert_int_equal(seen, 3);
    assert_ptr_equal(table, fixture_table(f, "t"));
    assert_ok(sp_pond_info(f->pond, &info));
    assert_int_equal(info.limit_bytes, UINT64_C(32) << 20);
    assert_int_equal(info.state, SP_POND_READY);
    assert_int_equal(fixture_find(f, 0, 4), 200);
    assert_int_equal(fixture_find(f, 1, 1999), 1);
    fixture_put_alone(f, 5, 4);
    assert_ok(fixture_get(f, 5, &seen));
    assert_int_equal(seen, 4);
}

/* One table past its age must not cost the others, nor its own rows. */
static void old_table_is_taken_along(void **state)
{
    struct fixture *f = *state;
    struct store_table *table;
    char path[300];
    snprintf(path, sizeof(path), "%s.snapshot", f->directory);
    fixture_fill(f, 0, 1000, 3);
    assert_ok(store_begin(f->store, &f->txn));
    assert_ok(store_table(f->txn, "u", f->schema, 0, &table, NULL));
    fixture_commit(f);
    const struct store_status old = {
        .state = SP_TABLE_FAILING, .max_stale_ms = 1, .fail_when_stale = true};
    store_table_status(f->store, "t", &old);
    uint64_t seen;
    assert_status(fixture_get(f, 5, &seen), SP_EOLD);
    assert_ok(store_save(f->store, path, f->why));
    assert_int_equal(unlink(path), 0);
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(32) << 20;
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_REPLACED);
    assert_int_equal(f->opened.lost_tables, 0);
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    fixture_table(f, "u");
    assert_ok(sp_table_info(fixture_table(f, "t"), &info));
    assert_int_equal(info.rows, 1000);
}

static void data_that_does_not_fit_stays_where_it_is(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    fixture_fill(f, 0, 20000, 3);
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(2) << 20;
    assert_status(store_open(&f->options, &f->store, &f->opened, f->why), SP_ENOSPC);
    assert_non_null(strstr(f->why, "does not fit"));
    assert_false(has_file(f, "pond.new"));
    f->options.limit_bytes = UINT64_C(64) << 20;
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_RECOVERED);
    assert_int_equal(f->opened.rows, 20000);
    assert_ok(fixture_get(f, 19999, &seen));
}

static void write_pond_file(const struct fixture *f, long at, const void *bytes, size_t count)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/pond", f->directory);
    FILE *file = fopen(path, at < 0 ? "wbe" : "r+be");
    assert_non_null(file);
    assert_int_equal(fseek(file, at < 0 ? 0 : at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* A reader that only copies sees nothing but its mapping. */
static void readers_leave_a_damaged_pond(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;
    fixture_fill(f, 0, 100, 1);
    assert_ok(fixture_get(f, 5, &seen));
    fixture_close(f);
    write_pond_file(f, 200, "x", 1);
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_REPLACED);
    assert_non_null(strstr(f->opened.note, "checksum"));
    fixture_fill(f, 0, 100, 2);
    uint64_t end = kit_now_ms() + 5000;
    while ((fixture_get(f, 5, &seen) != SP_OK || seen != 2) && kit_now_ms() < end)
        continue;
    assert_int_equal(seen, 2);
}

static void foreign_file_is_left_alone(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    write_pond_file(f, -1, "my letters", 10);
    assert_status(store_open(&f->options, &f->store, &f->opened, f->why), SP_EFORMAT);
    assert_non_null(strstr(f->why, "not made by Sidepond"));
    assert_true(has_file(f, "pond"));
    assert_false(has_file(f, "pond.new"));
    write_pond_file(f, -1, "", 0);
    fixture_open(f);
    assert_int_equal(f->opened.origin, STORE_REPLACED);
}

/* The memory of a retired pond is the next daemon's care, if the first one stops too soon. */
static void next_daemon_finishes_a_retired_pond(void **state)
{
    struct fixture *f = *state;
    fixture_fill(f, 0, 100, 1);
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(32) << 20;
    fixture_open(f);
    assert_true(has_file(f, "pond.old"));
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(16) << 20;
    f->options.lease_limit_ms = f->options.cooling_ms = 20;
    fixture_open(f);
    assert_true(has_file(f, "pond.old"));
    assert_true(has_file(f, "pond.old1"));
    uint64_t end = kit_now_ms() + 5000;
    while (has_file(f, "pond.old") && kit_now_ms() < end)
        store_tick(f->store);
    assert_false(has_file(f, "pond.old"));
    assert_false(has_file(f, "pond.old1"));
}

static void second_writer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *second = NULL;
    struct store_opened opened;
    assert_status(store_open(&f->options, &second, &opened, f->why), SP_EBUSY);
    assert_non_null(strstr(f->why, "another daemon"));
    assert_null(second);
}

static void options_are_checked(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;
    struct store_opened opened;
    struct store_options options = f->options;
    options.limit_bytes = 1000;
    assert_status(store_open(&options, &store, &opened, f->why), SP_EINVAL);
    options.limit_bytes = UINT64_C(2) << 40;
    assert_status(store_open(&options, &store, &opened, f->why), SP_EINVAL);
    char path[600];
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    options = f->options;
    options.directory = path;
    assert_status(store_open(&options, &store, &opened, f->why), SP_EINVAL);
}

/* --- transactions --------------------------------------------------------------------------- */

static void commit_shows_all_at_once(void **state)
{
    struct fixture *f = *state;
    struct store_counts counts;
    uint64_t seen;
    fixture_fill(f, 0, 100, 1);
    fixture_begin(f);
    for (int64_t id = 0; id < 50; id++)
        assert_int_equal(fixture_put(f, id, id % 10, 2), STORE_UPDATED);
    for (int64_t id = 50; id < 60; id++)
        assert_int_equal(fixture_put(f, id, id % 10, 1), STORE_UNCHANGED);
    for (int64_t id = 60; id < 70; id++)
        assert_ok(kit_delete(f->table, id));
    assert_int_equal(fixture_put(f, 100, 0, 2), STORE_INSERTED);
    assert_status(kit_delete(f->table, 60), SP_ENOTFOUND);
    assert_status(kit_delete(f->table, 999), SP_ENOTFOUND);
    store_table_counts(f->table, &counts);
    assert_int_equal(counts.inserted, 1);
    assert_int_equal(counts.updated, 50);
    assert_int_equal(counts.deleted, 10);
    assert_int_equal(counts.unchanged, 10);
    for (int64_t id = 0; id < 100; id++) {
        assert_ok(fixture_get(f, id, &seen));
        assert_int_equal(seen, 1);
    }
    assert_status(fixture_get(f, 100, &seen), SP_ENOTFOUND);
    assert_int_equal(fixture_commit(f), 2);
    for (int64_t id = 0; id <= 100; id++) {
        bool deleted = id >= 60 && id < 70;
        assert_status(fixture_get(f, id, &seen), deleted ? SP_ENOTFOUND : SP_OK);
        if (!deleted)
            assert_int_equal(seen, id < 50 || id == 100 ? 2 : 1);
    }
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    assert_ok(sp_table_info(fixture_table(f, "t"), &info));
    assert_int_equal(info.rows, 91);
    assert_int_equal(info.version, 2);
}

static uint64_t arena_hash(const struct fixture *f)
{
    struct region region;
    assert_ok(region_attach(f->directory, &region, NULL));
    uint64_t hash =
        hash_bytes(region.base + FORMAT_SUPER_BYTES, region.file_bytes - FORMAT_SUPER_BYTES);
    region_detach(&region);
    return hash;
}

static void unchanged_rows_write_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t deleted, version;
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_INDEX_CODE);
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(16) << 20;
    fixture_open(f);
    fixture_fill(f, 0, 5000, 1);
    fixture_settle(f);
    uint64_t before = arena_hash(f);
    fixture_begin(f);
    assert_ok(store_pass_begin(f->table));
    for (int64_t id = 0; id < 5000; id++)
        assert_int_equal(fixture_put(f, id, id % 10, 1), STORE_UNCHANGED);
    assert_ok(store_pass_sweep(f->table, &deleted));
    assert_int_equal(deleted, 0);
    version = fixture_commit(f);
    assert_int_equal(version, 1);
    assert_true(arena_hash(f) == before);
    assert_int_equal(fixture_info(f).commits, 1);
}

static void abort_leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    uint64_t seen, used;
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_INDEX_CODE);
    fixture_fill(f, 0, 1000, 1);
    used = fixture_settle(f);
    for (unsigned round = 0; round < 3; round++) {
        fixture_begin(f);
        for (int64_t id = 0; id < 300; id++)
            fixture_put(f, id, round, 2 + round);
        for (int64_t id = 0; id < 300; id += 2) /* again, in the same transaction */
            fixture_put(f, id, round + 5, 10 + round);
        for (int64_t id = 1; id < 300; id += 3)
            assert_ok(kit_delete(f->table, id));
        for (int64_t id = 1; id < 300; id += 6) /* and back */
            fixture_put(f, id, 1, 3);
        for (int64_t id = 5000; id < 5010; id++)
            fixture_put(f, id, 0, 2);
        fixture_abort(f);
        assert_int_equal(fixture_settle(f), used);
        assert_int_equal(kit_check(f->directory, false, NULL), 0);
    }
    for (int64_t id = 0; id < 1000; id++) {
        assert_ok(fixture_get(f, id, &seen));
        assert_int_equal(seen, 1);
    }
    assert_status(fixture_get(f, 5000, &seen), SP_ENOTFOUND);
    assert_int_equal(fixture_find(f, 0, 3), 100);
    assert_int_equal(fixture_info(f).aborts, 3);
}

static void changes_within_a_transaction_count_once(void **state)
{
    struct fixture *f = *state;
    uint64_t seen, used;
    fixture_fill(f, 0, 10, 1);
    used = fixture_settle(f);
    fixture_begin(f);
    for (uint64_t s = 2; s < 200; s++)
        assert_int_equal(fixture_put(f, 3, 3, s), STORE_UPDATED);
    assert_int_equal(fixture_put(f, 77, 3, 5), STORE_INSERTED);
    assert_ok(kit_delete(f->table, 77));
    assert_ok(kit_delete(f->table, 4));
    assert_int_equal(fixture_put(f, 4, 4, 1), STORE_INSERTED);
    assert_int_equal(fixture_put(f, 3, 3, 1), STORE_UPDATED);
    fixture_commit(f);
    assert_ok(fixture_get(f, 3, &seen));
    assert_int_equal(seen, 1);
    assert_ok(fixture_get(f, 4, &seen));
    assert_status(fixture_get(f, 77, &seen), SP_ENOTFOUND);
    assert_int_equal(fixture_settle(f), used);
}

static void transactions_on_other_tables_go_on_side_by_side(void **state)
{
    struct fixture *f = *state;
    struct store_txn *a, *b;
    struct store_table *ta, *tb, *tc;
    const struct kit_row row = {1, 1, 1, "x", 1};
    fixture_fill(f, 0, 10, 1);
    assert_ok(store_begin(f->store, &a));
    assert_ok(store_begin(f->store, &b));
    assert_ok(store_table(a, "a", f->schema, 0, &ta, NULL));
    assert_ok(store_table(b, "b", f->schema, 0, &tb, NULL));
    assert_status(store_table(b, "a", f->schema, 0, &tc, NULL), SP_EBUSY);
    assert_status(store_drop(b, "a"), SP_ENOTABLE);
    assert_ok(kit_put(ta, f->schema, &row, NULL));
    assert_ok(kit_put(tb, f->schema, &row, NULL));
    assert_ok(store_commit(b, NULL));
    size_t size;
    char out[64];
    int64_t id = 1;
    assert_ok(sp_get(fixture_table(f, "b"), &id, 8, out, sizeof(out), &size));
    assert_int_not_equal(sp_get(fixture_table(f, "a"), &id, 8, out, sizeof(out), &size), SP_OK);
    store_abort(a);
    assert_ok(store_begin(f->store, &a));
    assert_ok(store_table(a, "a", f->schema, 0, &ta, NULL));
    store_abort(a);
}

/* --- passes --------------------------------------------------------------------------------- */

static void sweep_deletes_what_the_pass_has_not_met(void **state)
{
    struct fixture *f = *state;
    uint64_t seen, deleted, missing, before;
    struct store_counts counts;
    fixture_fill(f, 0, 4000, 1);
    fixture_begin(f);
    assert_ok(store_pass_begin(f->table));
    for (int64_t id = 0; id < 4000; id += 2)
        fixture_put(f, id, id % 10, id % 4 ? 2 : 1);
    for (int64_t id = 9000; id < 9100; id++)
        fixture_put(f, id, 0, 1);
    store_pass_missing(f->table, &missing, &before);
    assert_int_equal(missing, 2000);
    assert_int_equal(before, 4000);
    assert_ok(store_pass_sweep(f->table, &deleted));
    assert_int_equal(deleted, 2000);
    store_table_counts(f->table, &counts);
    assert_int_equal(counts.deleted, 2000);
    fixture_commit(f);
    for (int64_t id = 0; id < 4000; id++)
        assert_status(fixture_get(f, id, &seen), id % 2 ? SP_ENOTFOUND : SP_OK);
    assert_ok(fixture_get(f, 9099, &seen));
}

static void pass_tells_duplicates(void **state)
{
    struct fixture *f = *state;
    struct store_counts counts;
    uint64_t seen, deleted;
    fixture_fill(f, 0, 3, 1);
    fixture_begin(f);
    assert_ok(store_pass_begin(f->table));
    assert_int_equal(fixture_put(f, 0, 0, 1), STORE_UNCHANGED);
    assert_int_equal(fixture_put(f, 0, 0, 2), STORE_DUPLICATE);
    assert_int_equal(fixture_put(f, 1, 1, 2), STORE_UPDATED);
    assert_int_equal(fixture_put(f, 1, 1, 3), STORE_DUPLICATE);
    assert_int_equal(fixture_put(f, 8, 8, 1), STORE_INSERTED);
    assert_int_equal(fixture_put(f, 8, 8, 2), STORE_DUPLICATE);
    assert_ok(store_pass_sweep(f->table, &deleted));
    assert_int_equal(deleted, 1);
    store_table_counts(f->table, &counts);
    assert_int_equal(counts.duplicate, 3);
    fixture_commit(f);
    assert_ok(fixture_get(f, 0, &seen));
    assert_int_equal(seen, 1);
    assert_ok(fixture_get(f, 1, &seen));
    assert_int_equal(seen, 2);
    assert_ok(fixture_get(f, 8, &seen));
    assert_int_equal(seen, 1);
}

static void pass_over_a_new_table(void **state)
{
    struct fixture *f = *state;
    uint64_t deleted, missing, before;
    fixture_begin(f);
    assert_ok(store_pass_begin(f->table));
    for (int64_t id = 0; id < 100; id++)
        assert_int_equal(fixture_put(f, id, 0, 1), STORE_INSERTED);
    assert_int_equal(fixture_put(f, 5, 0, 1), STORE_DUPLICATE);
    store_pass_missing(f->table, &missing, &before);
    assert_int_equal(missing, 0);
    assert_int_equal(before, 0);
    assert_ok(store_pass_sweep(f->table, &deleted));
    assert_int_equal(deleted, 0);
    fixture_commit(f);
}

/* --- limits --------------------------------------------------------------------------------- */

static struct schema *text_schema(void)
{
    const struct row_column columns[] = {{.name = "k", .type = SP_TYPE_TEXT, .key_position = 0},
                                         {.name = "v", .type = SP_TYPE_BYTES, .key_position = -1}};
    struct schema *schema;
    assert_ok(schema_build(columns, 2, NULL, 0, &schema, NULL, 0));
    return schema;
}

/* A transaction reads what it has written itself, and puts after a truncation are none of a pass.
 */
static void transactions_read_and_truncate(void **state)
{
    struct fixture *f = *state;
    uint8_t value[4096], same[4096];
    size_t bytes, again;
    uint64_t deleted;
    int64_t key = 3;
    fixture_fill(f, 0, 50, 1);
    fixture_begin(f);
    assert_ok(store_read(f->table, &key, sizeof(key), value, sizeof(value), &bytes));
    assert_status(store_read(f->table, &key, sizeof(key), same, bytes - 1, &again), SP_ERANGE);
    assert_int_equal(again, bytes);
    fixture_put(f, 3, 0, 2);
    assert_ok(store_read(f->table, &key, sizeof(key), same, sizeof(same), &again));
    assert_true(again != bytes || memcmp(value, same, bytes) != 0);
    assert_ok(store_truncate(f->table, &deleted));
    assert_int_equal(deleted, 50);
    assert_status(store_read(f->table, &key, sizeof(key), value, sizeof(value), &bytes),
                  SP_ENOTFOUND);
    assert_int_equal(fixture_put(f, 3, 0, 4), STORE_INSERTED);
    assert_int_equal(fixture_put(f, 3, 0, 5), STORE_UPDATED);
    assert_ok(store_truncate(f->table, &deleted));
    assert_int_equal(deleted, 1);
    assert_int_equal(fixture_put(f, 7, 0, 6), STORE_INSERTED);
    fixture_commit(f);
    uint64_t found;
    assert_status(fixture_get(f, 3, &found), SP_ENOTFOUND);
    assert_ok(fixture_get(f, 7, &found));
    assert_int_equal(found, 6);
}

static void largest_keys_and_values(void **state)
{
    struct fixture *f = *state;
    struct schema *schema = text_schema();
    struct store_table *table;
    const size_t value_bytes = (size_t)20 << 20;
    char *key = malloc(70000), *value = malloc(value_bytes), *out = malloc(value_bytes);
    size_t done, size;
    memset(key, 'k', 70000);
    memset(value, 'v', value_bytes);
    assert_ok(store_begin(f->store, &f->txn));
    assert_ok(store_table(f->txn, "big", schema, 0, &table, NULL));
    struct store_row rows[] = {{key, SP_KEY_BYTES_MAX, value, value_bytes, 0},
                               {key, 65536, value, 10, 0}};
    assert_status(store_put(table, rows, 2, &done), SP_ETOOBIG);
    assert_int_equal(done, 1);
    rows[1] = (struct store_row){"small", 5, value, (size_t)SP_VALUE_BYTES_MAX + 1, 0};
    assert_status(store_put(table, rows + 1, 1, &done), SP_ETOOBIG);
    rows[1] = (struct store_row){"empty", 5, value, 0, 0}; /* the transaction can go on */
    assert_ok(store_put(table, rows + 1, 1, &done));
    fixture_commit(f);
    struct sp_table *reader = fixture_table(f, "big");
    assert_ok(sp_get(reader, key, SP_KEY_BYTES_MAX, out, value_bytes, &size));
    assert_int_equal(size, value_bytes);
    assert_memory_equal(out, value, value_bytes);
    assert_ok(sp_get(reader, "empty", 5, out, value_bytes, &size));
    assert_int_equal(size, 0);
    free(key);
    free(value);
    free(out);
    schema_free(schema);
}

static void full_pond_refuses_and_stays_as_it_was(void **state)
{
    struct fixture *f = *state;
    uint64_t seen, used;
    size_t done = 0;
    int status = SP_OK;
    fixture_close(f);
    f->options.limit_bytes = UINT64_C(2) << 20;
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_INDEX_CODE);
    fixture_open(f);
    fixture_fill(f, 0, 1000, 1);
    used = fixture_settle(f);
    for (unsigned round = 0; round < 3; round++) {
        uint8_t body[4096];
        fixture_begin(f);
        for (int64_t id = 500; status == SP_OK && id < 100000; id++) {
            kit_body(body, sizeof(body), 0, id, 2);
            const struct kit_row row = {id, round, id, body, sizeof(body)};
            status = kit_put(f->table, f->schema, &row, NULL);
        }
        assert_status(status, SP_ENOSPC);
        struct store_row none = {"12345678", 8, body, 20, 0};
        assert_status(store_put(f->table, &none, 1, &done), SP_EINVAL);
        assert_int_equal(done, 0);
        assert_status(kit_delete(f->table, 3), SP_EINVAL);
        struct store_txn *txn = f->txn;
        f->txn = NULL;
        if (round == 0)
            store_abort(txn);
        else
            assert_status(store_commit(txn, NULL), SP_EINVAL);
        status = SP_OK;
    }
    assert_true(fixture_settle(f) < used + used / 4); /* segments may have grown */
    for (int64_t id = 0; id < 1000; id++) {
        assert_ok(fixture_get(f, id, &seen));
        assert_int_equal(seen, 1);
    }
    assert_status(fixture_get(f, 1001, &seen), SP_ENOTFOUND);
    fixture_fill(f, 0, 1000, 2); /* and there is room for what fits */
    assert_ok(fixture_get(f, 999, &seen));
    assert_int_equal(seen, 2);
}

static void tables_up_to_the_limit(void **state)
{
    struct fixture *f = *state;
    struct store_table *table;
    const struct kit_row row = {1, 1, 1, "x", 1};
    char name[80];
    assert_ok(store_begin(f->store, &f->txn));
    for (unsigned i = 0; i < SP_TABLES_MAX; i++) {
        snprintf(name, sizeof(name), "table_%03u", i);
        assert_ok(store_table(f->txn, name, f->schema, 0, &table, NULL));
        assert_ok(kit_put(table, f->schema, &row, NULL));
    }
    assert_status(store_table(f->txn, "one_more", f->schema, 0, &table, NULL), SP_ENOSPC);
    fixture_commit(f);
    assert_ok(sp_open(f->directory, NULL, &f->pond));
    assert_int_equal(sp_table_names(f->pond, NULL, 0), SP_TABLES_MAX);
    char out[64];
    size_t size;
    int64_t id = 1;
    for (unsigned i = 0; i < SP_TABLES_MAX; i++) {
        snprintf(name, sizeof(name), "table_%03u", i);
        assert_ok(sp_get(fixture_table(f, name), &id, 8, out, sizeof(out), &size));
    }
    assert_ok(store_begin(f->store, &f->txn));
    memset(name, 'n', sizeof(name) - 1);
    name[64] = '\0';
    assert_status(store_table(f->txn, name, f->schema, 0, &table, NULL), SP_EINVAL);
    assert_status(store_table(f->txn, "", f->schema, 0, &table, NULL), SP_EINVAL);
}

/* --- shapes --------------------------------------------------------------------------------- */

static void new_shape_is_loaded_beside_the_old_one(void **state)
{
    struct fixture *f = *state;
    const struct sp_schema *schema;
    uint64_t seen, used;
    bool reshaped;
    fixture_fill(f, 0, 2000, 1);
    used = fixture_settle(f);
    struct sp_snapshot *snapshot;
    struct sp_table *table = fixture_table(f, "t");
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    fixture_use_schema(f, KIT_INDEX_GROUP | KIT_NOTE);
    for (unsigned round = 0; round < 2; round++) {
        assert_ok(store_begin(f->store, &f->txn));
        assert_ok(store_table(f->txn, "t", f->schema, 1000, &f->table, &reshaped));
        assert_true(reshaped);
        for (int64_t id = 1000; id < 3000; id++)
            fixture_put(f, id, id % 10, 2);
        assert_ok(sp_table_schema(table, &schema));
        assert_int_equal(sp_schema_column_count(schema), 4);
        if (round == 0) {
            fixture_abort(f);
            assert_int_equal(fixture_settle(f), used);
        } else {
            fixture_commit(f);
        }
    }
    assert_ok(sp_table_schema(table, &schema));
    assert_int_equal(sp_schema_column_count(schema), 5);
    assert_ok(fixture_get(f, 2999, &seen));
    assert_status(fixture_get(f, 5, &seen), SP_ENOTFOUND);
    assert_int_equal(fixture_find(f, 0, 5), 200);
    struct sp_view view; /* the snapshot sees the old one */
    int64_t id = 5;
    assert_ok(sp_view(snapshot, table, &id, 8, &view));
    assert_int_equal(sp_schema_column_count(view.schema), 4);
    id = 2999;
    assert_status(sp_view(snapshot, table, &id, 8, &view), SP_ENOTFOUND);
    uint64_t both = fixture_settle(f);
    sp_snapshot_end(snapshot);
    assert_true(fixture_settle(f) < both - used / 2);
}

static void drop_and_create_again(void **state)
{
    struct fixture *f = *state;
    uint64_t seen, empty = 0, used;
    for (unsigned round = 0; round < 3; round++) {
        fixture_fill(f, 0, 1500, round);
        assert_ok(fixture_get(f, 1499, &seen));
        assert_int_equal(seen, round);
        assert_ok(store_begin(f->store, &f->txn));
        assert_ok(store_drop(f->txn, "t"));
        assert_status(store_drop(f->txn, "t"), SP_EBUSY);
        assert_status(store_drop(f->txn, "nothing"), SP_ENOTABLE);
        assert_ok(fixture_get(f, 1499, &seen));
        fixture_commit(f);
        assert_status(fixture_get(f, 1499, &seen), SP_ENOTABLE);
        used = fixture_settle(f);
        assert_true(round == 0 || used == empty);
        empty = used;
        fixture_close(f);
        fixture_open(f);
        assert_int_equal(f->opened.rows, 0);
    }
    assert_ok(store_begin(f->store, &f->txn));
    assert_status(store_drop(f->txn, "t"), SP_ENOTABLE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(pond_is_found_again),
        TEST(pond_of_another_size_takes_the_data_along),
        TEST(old_table_is_taken_along),
        TEST(data_that_does_not_fit_stays_where_it_is),
        TEST(readers_leave_a_damaged_pond),
        TEST(foreign_file_is_left_alone),
        TEST(next_daemon_finishes_a_retired_pond),
        TEST(second_writer_is_refused),
        TEST(options_are_checked),
        TEST(commit_shows_all_at_once),
        TEST(unchanged_rows_write_nothing),
        TEST(abort_leaves_no_trace),
        TEST(changes_within_a_transaction_count_once),
        TEST(transactions_on_other_tables_go_on_side_by_side),
        TEST(sweep_deletes_what_the_pass_has_not_met),
        TEST(pass_tells_duplicates),
        TEST(pass_over_a_new_table),
        TEST(transactions_read_and_truncate),
        TEST(largest_keys_and_values),
        TEST(full_pond_refuses_and_stays_as_it_was),
        TEST(tables_up_to_the_limit),
        TEST(new_shape_is_loaded_beside_the_old_one),
        TEST(drop_and_create_again),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
