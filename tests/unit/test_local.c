/* SPDX-License-Identifier: Apache-2.0
 *
 * test_local.c - the reader library on ponds made by the store (client/local).
 *
 * Goal: every call of sidepond.h does what its comment says: reads see what was committed,
 * snapshots stay as they are, handles survive forks and new ponds, and errors are the ones named.
 * Method: a table whose rows say which they are and of which generation; store and reader in one
 * process, on different mappings of the files.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reader_fixture.h"

#define ROWS 3000u

static struct sp_value text(const char *s)
{
    return sp_text(s, strlen(s));
}

/* --- opening ---------------------------------------------------------------------------------- */

static void test_open_errors(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_pond *pond;
    assert_status(sp_open("/nowhere/at/all", NULL, &pond), SP_ENOPOND);
    assert_non_null(strstr(sp_error_detail(), "/nowhere/at/all"));
    assert_status(sp_open("not a name", NULL, &pond), SP_EINVAL);
    assert_status(sp_open("..", NULL, &pond), SP_EINVAL);
    assert_status(sp_open(f->directory, &(struct sp_open_options){0}, &pond), SP_EINVAL);
    assert_non_null(strstr(sp_error_detail(), "SP_OPEN_OPTIONS_INIT"));
    assert_status(sp_open(f->directory, NULL, &pond), SP_ENOTREADY);
    assert_null(pond);
    sp_close(NULL);
    assert_string_equal(sp_status_text(SP_ENOPOND), "no such pond");
    assert_true(sp_version()[0] >= '0' && sp_version()[0] <= '9');
}

static void test_open_by_name(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_pond *pond;
    char root[128];
    people_put(f, 0, 10, 1);
    snprintf(root, sizeof root, "%s", f->directory);
    *strrchr(root, '/') = '\0';
    setenv("SIDEPOND_ROOT", root, 1);
    assert_ok(sp_open("pond", NULL, &pond));
    sp_close(pond);
    assert_status(sp_open(NULL, NULL, &pond), SP_ENOPOND);
    setenv("SIDEPOND", "pond", 1);
    assert_ok(
        sp_open(NULL, &(struct sp_open_options){sizeof(struct sp_open_options), 0, true}, &pond));
    sp_close(pond);
    unsetenv("SIDEPOND");
    unsetenv("SIDEPOND_ROOT");
}

static void *commit_later(void *argument)
{
    struct pond_fixture *f = argument;
    usleep(50000);
    people_put(f, 0, 10, 1);
    return NULL;
}

static void test_open_waits(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    pthread_t thread;
    options.wait_ms = 20;
    assert_status(sp_open(f->directory, &options, &f->pond), SP_ENOTREADY);
    options.wait_ms = 20000;
    assert_int_equal(pthread_create(&thread, NULL, commit_later, f), 0);
    assert_ok(sp_open(f->directory, &options, &f->pond));
    pthread_join(thread, NULL);
}

/* --- copies ----------------------------------------------------------------------------------- */

static void test_get(void **state)
{
    struct pond_fixture *f = *state;
    char key[32];
    uint8_t value[1024];
    size_t size;
    people_put(f, 0, ROWS, 1);
    people_open(f);
    for (uint32_t i = 0; i < ROWS; i++)
        assert_int_equal(people_get(f, i), 1);
    for (uint32_t i = ROWS; i < 2 * ROWS; i++)
        assert_int_equal(people_get(f, i), SP_ENOTFOUND);
    size_t key_bytes = people_key(5, key);
    assert_ok(sp_get(f->people, key, key_bytes, value, sizeof value, &size));
    size_t needed = size;
    memset(value, 0xaa, sizeof value);
    assert_status(sp_get(f->people, key, key_bytes, value, needed - 1, &size), SP_ERANGE);
    assert_int_equal(size, needed);
    assert_int_equal(value[0], 0xaa);
    assert_ok(sp_get(f->people, key, key_bytes, value, needed, &size));
    assert_int_equal(value[needed], 0xaa);
    assert_ok(sp_exists(f->people, key, key_bytes));
    assert_status(sp_exists(f->people, key, key_bytes - 1), SP_ENOTFOUND);
    assert_status(sp_exists(f->people, NULL, 0), SP_ENOTFOUND);
}

/* Keys and values at the limits of size, each size below 300, and empty ones. */
static void test_sizes(void **state)
{
    struct pond_fixture *f = *state;
    static uint8_t key[70000], value[1 << 20], out[1 << 20];
    struct store_txn *txn;
    struct store_table *table;
    struct schema *schema;
    char why[256];
    const struct row_column two[] = {
        {.name = "k", .type = SP_TYPE_BYTES, .key_position = 0},
        {.name = "v", .type = SP_TYPE_BYTES, .key_position = -1},
    };
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i * 31 >> 3);
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (uint8_t)(i * 7 >> 2);
    assert_ok(schema_build(two, 2, NULL, 0, &schema, why, sizeof why));
    assert_ok(store_begin(f->store, &txn));
    assert_ok(store_table(txn, "sizes", schema, 0, &table, NULL));
    size_t sizes[310], count = 0, done, size;
    for (size_t i = 1; i < 300; i++)
        sizes[count++] = i;
    sizes[count++] = 4096;
    sizes[count++] = 65535;
    for (size_t i = 0; i < count; i++) {
        struct store_row row = {.key = key, .key_bytes = sizes[i], .value = value};
        row.value_bytes = sizes[i] < 300 ? sizes[i] - 1 : sizes[i] * 16;
        assert_ok(store_put(table, &row, 1, &done));
    }
    assert_ok(store_commit(txn, NULL));
    assert_ok(sp_open(f->directory, NULL, &f->pond));
    assert_ok(sp_table_open(f->pond, "sizes", &f->people));
    struct sp_row *row = sp_row_new();
    for (size_t i = 0; i < count; i++) {
        size_t expected = sizes[i] < 300 ? sizes[i] - 1 : sizes[i] * 16;
        memset(out, 0, expected + 1);
        assert_ok(sp_get(f->people, key, sizes[i], out, sizeof out, &size));
        assert_int_equal(size, expected);
        assert_memory_equal(out, value, size);
        struct sp_value id = sp_bytes(SP_TYPE_BYTES, key, sizes[i]), v;
        assert_ok(sp_get_row(f->people, &id, 1, row));
        assert_ok(sp_row_column(row, "v", &v));
        assert_int_equal(v.bytes.size, expected);
        assert_memory_equal(v.bytes.data, value, expected);
    }
    struct sp_value large = sp_bytes(SP_TYPE_BYTES, key, 65536);
    assert_status(sp_get_row(f->people, &large, 1, row), SP_ETOOBIG);
    sp_row_free(row);
    schema_free(schema);
}

static void test_mget(void **state)
{
    struct pond_fixture *f = *state;
    enum { COUNT = 83 };
    struct sp_get gets[COUNT];
    char keys[COUNT][32];
    static uint8_t out[COUNT][1024];
    people_put(f, 0, ROWS, 1);
    people_open(f);
    for (unsigned from = 0; from < ROWS + 100; from += COUNT) {
        for (unsigned i = 0; i < COUNT; i++)
            gets[i] = (struct sp_get){.key = keys[i],
                                      .key_bytes = people_key(from + i, keys[i]),
                                      .out = out[i],
                                      .cap = (from + i) % 11 == 0 ? 3 : sizeof out[i]};
        assert_ok(sp_mget(f->people, gets, COUNT));
        for (unsigned i = 0; i < COUNT; i++) {
            bool there = from + i < ROWS, room = (from + i) % 11 != 0;
            assert_status(gets[i].status, there ? (room ? SP_OK : SP_ERANGE) : SP_ENOTFOUND);
            if (there && room)
                assert_int_equal(people_generation(f, from + i, out[i], gets[i].size), 1);
        }
    }
    assert_ok(sp_mget(f->people, gets, 0));
}

static void test_rows(void **state)
{
    struct pond_fixture *f = *state;
    people_put(f, 0, 20, 3);
    people_open(f);
    struct sp_row *row = sp_row_new();
    struct sp_value id = text("person-8"), value;
    const void *key, *bytes;
    size_t key_bytes, value_bytes;
    char json[2048];
    assert_status(sp_row_column(row, "age", &value), SP_EINVAL);
    assert_int_equal(sp_row_json(row, json, sizeof json), 0);
    assert_ok(sp_get_row(f->people, &id, 1, row));
    assert_ok(sp_row_column(row, "age", &value));
    assert_int_equal(value.i, INT64_C(8) << 32 | 3);
    assert_ok(sp_row_column(row, "id", &value));
    assert_int_equal(value.bytes.size, 8);
    assert_memory_equal(value.bytes.data, "person-8", 8);
    assert_ok(sp_row_column_at(row, PEOPLE_CITY, &value));
    assert_memory_equal(value.bytes.data, "Rome", 4);
    assert_status(sp_row_column(row, "nothing", &value), SP_ENOCOLUMN);
    assert_status(sp_row_column_at(row, 99, &value), SP_ENOCOLUMN);
    sp_row_bytes(row, &key, &key_bytes, &bytes, &value_bytes);
    assert_int_equal(people_generation(f, 8, bytes, value_bytes), 3);
    assert_true(sp_row_json(row, json, sizeof json) > 40);
    assert_non_null(strstr(json, "\"name\""));
    assert_ok(sp_get_row_encoded(f->people, "person-6", 8, row));
    assert_ok(sp_row_column(row, "city", &value));
    assert_true(value.is_null);
    assert_int_equal(sp_schema_column_count(sp_row_schema(row)), 5);
    struct sp_value wrong = sp_null(SP_TYPE_TEXT);
    assert_status(sp_get_row(f->people, &wrong, 1, row), SP_ENULL);
    assert_status(sp_get_row(f->people, &id, 2, row), SP_EINVAL);
    id = text("person-21");
    assert_status(sp_get_row(f->people, &id, 1, row), SP_ENOTFOUND);
    sp_row_free(row);
    sp_row_free(NULL);
}

static void test_versions(void **state)
{
    struct pond_fixture *f = *state;
    people_put(f, 0, 100, 1);
    people_open(f);
    uint64_t before = sp_pond_version(f->pond);
    for (uint32_t generation = 2; generation < 40; generation++) {
        people_put(f, 0, 50, generation);
        assert_int_equal(people_get(f, 49), generation);
        assert_int_equal(people_get(f, 50), 1);
    }
    assert_int_equal(sp_pond_version(f->pond), before + 38);
    people_delete(f, 10, 20);
    assert_int_equal(people_get(f, 10), SP_ENOTFOUND);
    people_put(f, 10, 11, 77);
    assert_int_equal(people_get(f, 10), 77);
    struct store_txn *txn;
    assert_ok(store_begin(f->store, &txn));
    people_put_in(f, txn, "people", 0, 100, 1000);
    assert_int_equal(people_get(f, 50), 1);
    assert_int_equal(people_get(f, 10), 77);
    store_abort(txn);
    assert_int_equal(people_get(f, 10), 77);
}

/* The directory doubles and segments split beneath a reader that has read before. */
static void test_growth(void **state)
{
    struct pond_fixture *f = *state;
    people_put(f, 0, 1, 1);
    people_open(f);
    for (uint32_t count = 1; count < 40000; count += count / 2 + 1) {
        people_put(f, 0, count, 1);
        for (uint32_t i = 0; i < count; i += 1 + count / 500)
            assert_int_equal(people_get(f, i), 1);
        assert_int_equal(people_get(f, count), SP_ENOTFOUND);
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

static void test_tables(void **state)
{
    struct pond_fixture *f = *state;
    struct store_txn *txn;
    struct sp_table *table, *same;
    const char *names[4];
    people_put(f, 0, 10, 1);
    people_open(f);
    assert_ok(sp_table_open(f->pond, "people", &same));
    assert_ptr_equal(same, f->people);
    assert_string_equal(sp_table_name(f->people), "people");
    assert_status(sp_table_open(f->pond, "animals", &table), SP_ENOTABLE);
    assert_non_null(strstr(sp_error_detail(), "animals"));
    assert_status(sp_table_open(f->pond, "", &table), SP_ENOTABLE);
    assert_ok(store_begin(f->store, &txn));
    people_put_in(f, txn, "animals", 0, 5, 2);
    assert_ok(store_commit(txn, NULL));
    assert_ok(sp_table_open(f->pond, "animals", &table));
    assert_int_equal(sp_table_names(f->pond, names, 4), 2);
    assert_string_equal(names[0], "animals");
    assert_string_equal(names[1], "people");
    assert_ok(store_begin(f->store, &txn));
    assert_ok(store_drop(txn, "animals"));
    assert_ok(store_commit(txn, NULL));
    assert_status(sp_exists(table, "person-1", 8), SP_ENOTABLE);
    assert_status(sp_table_open(f->pond, "animals", &table), SP_ENOTABLE);
    assert_int_equal(sp_table_names(f->pond, names, 4), 1);
    assert_ok(store_begin(f->store, &txn));
    people_put_in(f, txn, "animals", 0, 5, 2);
    assert_ok(store_commit(txn, NULL));
    assert_ok(sp_table_open(f->pond, "animals", &table));
    assert_ok(sp_exists(table, "person-1", 8));
}

/* A soak once showed 16 KiB more for each table that came or went, and a schema parsed again. Names
 * and descriptions that are the same are kept once, and stay where they were handed out. */
static void test_coming_tables(void **state)
{
    struct pond_fixture *f = *state;
    const struct sp_schema *schema;
    struct sp_column_info first, column;
    const char *before[2], *names[2];
    struct store_txn *txn;
    struct sp_table *table;
    people_put(f, 0, 10, 1);
    people_open(f);
    assert_ok(sp_table_schema(f->people, &schema));
    assert_ok(sp_schema_column(schema, 0, &first));
    for (int round = 0; round < 5; round++) {
        assert_ok(store_begin(f->store, &txn));
        people_put_in(f, txn, "animals", 0, 5, 2);
        assert_ok(store_commit(txn, NULL));
        assert_int_equal(sp_table_names(f->pond, round == 0 ? before : names, 2), 2);
        assert_ok(sp_table_open(f->pond, "animals", &table));
        assert_ok(sp_table_schema(table, &schema));
        assert_ok(sp_schema_column(schema, 0, &column));
        assert_ptr_equal(column.name, first.name);
        assert_ok(store_begin(f->store, &txn));
        assert_ok(store_drop(txn, "animals"));
        assert_ok(store_commit(txn, NULL));
        assert_int_equal(sp_table_names(f->pond, names, 2), 1);
        assert_ptr_equal(names[0], before[1]);
    }
}

static void test_schema(void **state)
{
    struct pond_fixture *f = *state;
    const struct sp_schema *schema, *again;
    struct sp_column_info column;
    struct sp_index_info index;
    uint8_t key[64];
    size_t size, position;
    people_put(f, 0, 10, 1);
    people_open(f);
    assert_ok(sp_table_schema(f->people, &schema));
    people_put(f, 0, 10, 2);
    assert_ok(sp_table_schema(f->people, &again));
    assert_ptr_equal(schema, again);
    assert_int_equal(sp_schema_column_count(schema), 5);
    assert_int_equal(sp_schema_key_count(schema), 1);
    assert_int_equal(sp_schema_index_count(schema), 2);
    assert_ok(sp_schema_column(schema, 3, &column));
    assert_string_equal(column.name, "city");
    assert_true(column.nullable && column.key_position == -1 && column.type == SP_TYPE_TEXT);
    assert_status(sp_schema_column(schema, 5, &column), SP_ENOCOLUMN);
    assert_ok(sp_schema_index(schema, 1, &index));
    assert_string_equal(index.name, "by_city");
    assert_status(sp_schema_index(schema, 2, &index), SP_ENOINDEX);
    assert_ok(sp_schema_index_column(schema, 1, 0, &position));
    assert_int_equal(position, PEOPLE_CITY);
    assert_ok(sp_schema_index_column(schema, -1, 0, &position));
    assert_int_equal(position, 0);
    assert_status(sp_schema_index_column(schema, -1, 1, &position), SP_ENOCOLUMN);
    assert_status(sp_schema_index_column(schema, -2, 0, &position), SP_ENOINDEX);
    assert_int_equal(sp_schema_find_column(schema, "age"), PEOPLE_AGE);
    assert_int_equal(sp_schema_find_column(schema, "no"), -1);
    assert_int_equal(sp_schema_find_index(schema, "by_name"), 0);
    struct sp_value id = text("x"), back;
    assert_ok(sp_key_encode(schema, -1, &id, 1, key, sizeof key, &size));
    assert_int_equal(size, 1);
    assert_ok(sp_key_decode(schema, -1, key, size, &back));
    assert_int_equal(back.bytes.size, 1);
    assert_status(sp_key_encode(schema, 7, &id, 1, key, sizeof key, &size), SP_ENOINDEX);
}

/* A table gets another column: the old rows stay readable, new reads have the new shape. */
static void test_reshape(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_row *row = sp_row_new();
    struct sp_snapshot *snapshot;
    struct sp_view view;
    struct sp_value value;
    char why[256];
    people_put(f, 0, 100, 1);
    people_open(f);
    assert_int_equal(people_get(f, 3), 1);
    assert_ok(sp_get_row_encoded(f->people, "person-3", 8, row));
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    const struct row_column other[] = {
        {.name = "n", .type = SP_TYPE_INT64, .key_position = 0},
        {.name = "half", .type = SP_TYPE_FLOAT64, .key_position = -1},
    };
    struct schema *schema;
    struct store_txn *txn;
    struct store_table *table;
    assert_ok(schema_build(other, 2, NULL, 0, &schema, why, sizeof why));
    assert_ok(store_begin(f->store, &txn));
    bool reshaped = false;
    assert_ok(store_table(txn, "people", schema, 0, &table, &reshaped));
    assert_true(reshaped);
    int64_t key = 42;
    double half = 21;
    size_t done;
    struct store_row put = {
        .key = &key, .key_bytes = sizeof key, .value = &half, .value_bytes = sizeof half};
    assert_ok(store_put(table, &put, 1, &done));
    assert_int_equal(people_get(f, 3), 1);
    assert_ok(store_commit(txn, NULL));
    assert_int_equal(people_get(f, 3), SP_ENOTFOUND);
    assert_ok(sp_row_column(row, "age", &value));
    assert_int_equal(value.i, INT64_C(3) << 32 | 1);
    assert_ok(sp_view(snapshot, f->people, "person-3", 8, &view));
    assert_int_equal(people_generation(f, 3, view.value, view.value_bytes), 1);
    assert_int_equal(sp_schema_column_count(view.schema), 5);
    assert_ok(sp_snapshot_check(snapshot));
    sp_snapshot_end(snapshot);
    value = sp_int(42);
    assert_ok(sp_get_row(f->people, &value, 1, row));
    assert_ok(sp_row_column(row, "half", &value));
    assert_true(value.f == 21);
    for (unsigned i = 0; i < 20; i++)
        store_tick(f->store);
    assert_ok(sp_exists(f->people, &key, sizeof key));
    schema_free(schema);
    sp_row_free(row);
}

static void test_old_tables(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    struct sp_row *row = sp_row_new();
    struct sp_get get = {.key = "person-1", .key_bytes = 8};
    people_put(f, 0, 10, 1);
    people_open(f);
    struct store_status status = {
        .state = SP_TABLE_FRESH, .refreshed = true, .max_stale_ms = 1, .fail_when_stale = true};
    store_table_status(f->store, "people", &status);
    while (sp_exists(f->people, "person-1", 8) == SP_OK)
        usleep(1000);
    assert_status(sp_exists(f->people, "person-1", 8), SP_EOLD);
    assert_status(sp_get_row_encoded(f->people, "person-1", 8, row), SP_EOLD);
    assert_status(sp_mget(f->people, &get, 1), SP_EOLD);
    assert_status(get.status, SP_EOLD);
    assert_ok(sp_table_info(f->people, &info));
    assert_true(info.stale && info.fails_when_stale && info.rows == 10);
    status.max_stale_ms = 0;
    status.fail_when_stale = false;
    store_table_status(f->store, "people", &status);
    assert_ok(sp_exists(f->people, "person-1", 8));
    sp_row_free(row);
}

/* --- snapshots -------------------------------------------------------------------------------- */

static int64_t view_generation(struct pond_fixture *f, struct sp_snapshot *snapshot, uint32_t i)
{
    char key[32];
    struct sp_view view;
    int status = sp_view(snapshot, f->people, key, people_key(i, key), &view);
    if (status != SP_OK)
        return status;
    assert_int_equal(view.key_bytes, strlen(key));
    assert_memory_equal(view.key, key, view.key_bytes);
    return people_generation(f, i, view.value, view.value_bytes);
}

static void test_snapshot(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_snapshot *old, *new;
    people_put(f, 0, 200, 1);
    people_open(f);
    assert_ok(sp_snapshot_begin(f->pond, &old));
    assert_int_equal(sp_snapshot_version(old), sp_pond_version(f->pond));
    for (uint32_t generation = 2; generation < 30; generation++) {
        people_put(f, 0, 100, generation);
        store_tick(f->store);
    }
    people_delete(f, 50, 60);
    people_put(f, 200, 210, 9);
    assert_ok(sp_snapshot_begin(f->pond, &new));
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(view_generation(f, old, i), 1);
        assert_int_equal(view_generation(f, new, i),
                         i < 100 ? (i >= 50 && i < 60 ? SP_ENOTFOUND : 29) : 1);
    }
    assert_int_equal(view_generation(f, old, 205), SP_ENOTFOUND);
    assert_int_equal(view_generation(f, new, 205), 9);
    struct sp_reader_info readers[4];
    assert_int_equal(sp_readers(f->pond, readers, 4), 2);
    assert_int_equal(readers[0].pid, getpid());
    assert_ok(sp_snapshot_check(old));
    sp_snapshot_end(old);
    sp_snapshot_end(new);
    sp_snapshot_end(NULL);
    assert_int_equal(sp_readers(f->pond, readers, 4), 0);
}

static void test_snapshot_over_limit(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_snapshot *snapshot;
    struct sp_view view;
    struct sp_scan *scan;
    people_close_store(f);
    f->options.lease_limit_ms = 30;
    people_open_store(f);
    people_put(f, 0, 100, 1);
    people_open(f);
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_ok(sp_scan_begin(snapshot, f->people, &scan));
    assert_ok(sp_scan_next(scan, &view));
    people_put(f, 0, 100, 2);
    for (unsigned i = 0; i < 1000 && sp_snapshot_check(snapshot) == SP_OK; i++) {
        usleep(10000);
        store_tick(f->store);
    }
    assert_status(sp_snapshot_check(snapshot), SP_ESTALE);
    assert_status(sp_view(snapshot, f->people, "person-1", 8, &view), SP_ESTALE);
    assert_status(sp_scan_next(scan, &view), SP_ESTALE);
    sp_scan_end(scan);
    sp_snapshot_end(snapshot);
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_int_equal(view_generation(f, snapshot, 7), 2);
    sp_snapshot_end(snapshot);
}

static void test_all_leases(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_snapshot *snapshots[SP_LEASES_MAX], *more;
    people_put(f, 0, 10, 1);
    people_open(f);
    for (unsigned i = 0; i < SP_LEASES_MAX; i++)
        assert_ok(sp_snapshot_begin(f->pond, &snapshots[i]));
    assert_status(sp_snapshot_begin(f->pond, &more), SP_ENOLEASE);
    assert_int_equal(sp_readers(f->pond, NULL, 0), SP_LEASES_MAX);
    sp_snapshot_end(snapshots[17]);
    assert_ok(sp_snapshot_begin(f->pond, &more));
    struct sp_pond *second;
    assert_ok(sp_open(f->directory, NULL, &second));
    assert_status(sp_snapshot_begin(second, &snapshots[17]), SP_ENOLEASE);
    sp_close(f->pond); /* gives all leases back */
    f->pond = NULL;
    assert_ok(sp_snapshot_begin(second, &snapshots[17]));
    sp_close(second);
}

/* --- scans ------------------------------------------------------------------------------------ */

static void scan_once(struct pond_fixture *f, uint32_t count, bool change)
{
    struct sp_snapshot *snapshot;
    struct sp_scan *scan;
    struct sp_view view;
    uint8_t *seen = calloc(count, 1);
    uint32_t rows = 0;
    int status;
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_ok(sp_scan_begin(snapshot, f->people, &scan));
    while ((status = sp_scan_next(scan, &view)) == SP_OK) {
        char key[32] = "";
        memcpy(key, view.key, view.key_bytes);
        uint32_t i = (uint32_t)strtoul(key + strlen("person-"), NULL, 10);
        assert_true(i < count && seen[i] == 0);
        seen[i] = 1;
        assert_int_equal(people_generation(f, i, view.value, view.value_bytes), 1);
        if (change && rows % 500 == 0) {
            people_put(f, 0, count / 2, 2 + rows);
            people_put(f, count + rows * 4, count + rows * 4 + 1000, 1);
            store_tick(f->store);
        }
        rows++;
    }
    assert_status(status, SP_ENOTFOUND);
    assert_status(sp_scan_next(scan, &view), SP_ENOTFOUND);
    assert_int_equal(rows, count);
    assert_ok(sp_snapshot_check(snapshot));
    sp_scan_end(scan);
    sp_scan_end(NULL);
    sp_snapshot_end(snapshot);
    free(seen);
}

static void test_scan(void **state)
{
    struct pond_fixture *f = *state;
    people_put(f, 0, 1, 1);
    people_open(f);
    scan_once(f, 1, false);
    people_put(f, 0, ROWS, 1);
    scan_once(f, ROWS, false);
    scan_once(f, ROWS, true);
}

/* --- secondary indexes ------------------------------------------------------------------------ */

static uint32_t find_city(struct pond_fixture *f, struct sp_snapshot *snapshot, const char *city)
{
    struct sp_scan *scan;
    struct sp_view view;
    struct sp_value value;
    uint32_t rows = 0;
    assert_ok(sp_find_begin(snapshot, f->people, 1, city, strlen(city), &scan));
    while (sp_scan_next(scan, &view) == SP_OK) {
        assert_ok(sp_view_column(&view, PEOPLE_CITY, &value));
        assert_int_equal(value.bytes.size, strlen(city));
        assert_memory_equal(value.bytes.data, city, strlen(city));
        rows++;
    }
    sp_scan_end(scan);
    return rows;
}

static void test_find(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_row *row = sp_row_new();
    struct sp_snapshot *snapshot;
    struct sp_scan *scan;
    struct sp_value value, key = text("name of 123");
    people_put(f, 0, 700, 1);
    people_open(f);
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    people_delete(f, 0, 70);
    assert_int_equal(find_city(f, snapshot, "Rome"), 100);
    assert_int_equal(find_city(f, snapshot, "Paris"), 0);
    assert_status(sp_find_begin(snapshot, f->people, 2, "x", 1, &scan), SP_ENOINDEX);
    sp_snapshot_end(snapshot);
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_int_equal(find_city(f, snapshot, "Rome"), 90);
    sp_snapshot_end(snapshot);
    assert_ok(sp_find_row(f->people, 0, &key, 1, row));
    assert_ok(sp_row_column(row, "age", &value));
    assert_int_equal(value.i, INT64_C(123) << 32 | 1);
    key = text("name of 5");
    assert_status(sp_find_row(f->people, 0, &key, 1, row), SP_ENOTFOUND);
    assert_status(sp_find_row(f->people, 2, &key, 1, row), SP_ENOINDEX);
    key = text("Kyiv");
    assert_ok(sp_find_row(f->people, 1, &key, 1, row));
    sp_row_free(row);
}

/* --- information and waiting ------------------------------------------------------------------ */

static void test_info(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_pond_info pond = SP_POND_INFO_INIT;
    struct sp_table_info table = SP_TABLE_INFO_INIT;
    people_put(f, 0, 1000, 1);
    people_open(f);
    store_tick(f->store);
    assert_ok(sp_pond_info(f->pond, &pond));
    assert_string_equal(pond.name, "test");
    assert_int_equal(pond.state, SP_POND_READY);
    assert_int_equal(pond.version, sp_pond_version(f->pond));
    assert_int_equal(pond.table_count, 1);
    assert_int_equal(pond.limit_bytes, UINT64_C(64) << 20);
    assert_true(pond.used_bytes > 1000 * 64 && pond.used_bytes < pond.committed_bytes);
    assert_true(pond.writer_alive && pond.writer_pid == getpid());
    assert_true(pond.heartbeat_age_ms < 60000);
    assert_ok(sp_table_info(f->people, &table));
    assert_int_equal(table.rows, 1000);
    assert_true(table.bytes > 1000 * 30 && table.memory_bytes > table.bytes);
    people_close_store(f);
    assert_ok(sp_pond_info(f->pond, &pond));
    assert_false(pond.writer_alive);
    assert_int_equal(people_get(f, 7), 1);
    struct sp_pond_info unset = {0};
    assert_status(sp_pond_info(f->pond, &unset), SP_EINVAL);
    struct sp_pond_info small = {.struct_bytes = offsetof(struct sp_pond_info, version)};
    small.version = 12345;
    assert_ok(sp_pond_info(f->pond, &small));
    assert_int_equal(small.version, 12345);
}

static void test_wait(void **state)
{
    struct pond_fixture *f = *state;
    pthread_t thread;
    uint64_t now = 0;
    people_put(f, 0, 10, 0);
    people_open(f);
    uint64_t version = sp_pond_version(f->pond);
    assert_ok(sp_wait(f->pond, version - 1, 0, &now));
    assert_int_equal(now, version);
    assert_status(sp_wait(f->pond, version, 0, NULL), SP_ETIMEDOUT);
    assert_status(sp_wait(f->pond, version, 20, &now), SP_ETIMEDOUT);
    assert_int_equal(pthread_create(&thread, NULL, commit_later, f), 0);
    assert_ok(sp_wait(f->pond, version, UINT32_MAX, &now));
    assert_int_equal(now, version + 1);
    pthread_join(thread, NULL);
    assert_int_equal(people_get(f, 3), 1);
}

/* --- another pond ----------------------------------------------------------------------------- */

static void test_replaced(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_snapshot *snapshot;
    struct sp_pond_info info = SP_POND_INFO_INIT;
    struct sp_row *row = sp_row_new();
    people_put(f, 0, 100, 1);
    people_open(f);
    assert_int_equal(people_get(f, 5), 1);
    assert_ok(sp_pond_info(f->pond, &info));
    uint64_t id = info.id[0];
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_int_equal(view_generation(f, snapshot, 5), 1);
    people_close_store(f);
    f->options.limit_bytes *= 2;
    people_open_store(f);
    people_put(f, 0, 50, 2);
    assert_int_equal(people_get(f, 5), 2);
    assert_int_equal(people_get(f, 60), 1);
    assert_int_equal(view_generation(f, snapshot, 5), 1);
    assert_ok(sp_get_row_encoded(f->people, "person-5", 8, row));
    assert_ok(sp_pond_info(f->pond, &info));
    assert_true(info.id[0] != id);
    assert_int_equal(info.limit_bytes, UINT64_C(128) << 20);
    sp_snapshot_end(snapshot);
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_int_equal(view_generation(f, snapshot, 5), 2);
    sp_snapshot_end(snapshot);
    sp_row_free(row);
}

/* --- fork and threads ------------------------------------------------------------------------- */

static int in_child(struct pond_fixture *f, struct sp_snapshot *parents)
{
    struct sp_view view;
    struct sp_snapshot *own;
    struct sp_reader_info readers[4];
    if (people_get(f, 5) != 1)
        return 1;
    if (sp_view(parents, f->people, "person-5", 8, &view) != SP_EFORKED)
        return 2;
    if (sp_snapshot_check(parents) != SP_EFORKED)
        return 3;
    if (sp_snapshot_begin(f->pond, &own) != SP_OK)
        return 4;
    if (sp_view(own, f->people, "person-5", 8, &view) != SP_OK)
        return 5;
    if (sp_readers(f->pond, readers, 4) != 2)
        return 6;
    sp_snapshot_end(parents);
    if (sp_readers(f->pond, readers, 4) != 2)
        return 7;
    sp_close(f->pond);
    return 0;
}

static void test_fork(void **state)
{
    struct pond_fixture *f = *state;
    struct sp_snapshot *snapshot;
    people_put(f, 0, 100, 1);
    people_open(f);
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_child(f, snapshot));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(view_generation(f, snapshot, 5), 1);
    assert_ok(sp_snapshot_check(snapshot));
    assert_int_equal(sp_readers(f->pond, NULL, 0), 1);
    sp_snapshot_end(snapshot);
}

/* A child that lives on must not keep the leases of a parent that is gone. */
static void test_fork_orphan(void **state)
{
    struct pond_fixture *f = *state;
    int pipes[2];
    people_put(f, 0, 100, 1);
    assert_int_equal(pipe(pipes), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct sp_snapshot *snapshot;
        people_open(f);
        if (sp_snapshot_begin(f->pond, &snapshot) != SP_OK)
            _exit(1);
        if (fork() == 0) { /* lives until the test closes the pipe */
            char byte;
            close(pipes[1]);
            _exit(read(pipes[0], &byte, 1) < 0);
        }
        _exit(0); /* the snapshot is not ended */
    }
    int status;
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(status, 0);
    people_open(f);
    /* The child gives the lease up when it first runs, which may be after its parent's end. */
    for (unsigned i = 0; i < 10000 && sp_readers(f->pond, NULL, 0) != 0; i++)
        usleep(1000);
    assert_int_equal(sp_readers(f->pond, NULL, 0), 0);
    close(pipes[0]);
    close(pipes[1]);
}

struct race {
    struct pond_fixture *f;
    _Atomic bool stop;
    _Atomic uint32_t reads, wrong;
};

static void *reader_thread(void *argument)
{
    struct race *race = argument;
    struct sp_row *row = sp_row_new();
    uint8_t value[1024], expected[1024];
    char key[32];
    size_t size;
    for (uint32_t n = 0; !atomic_load(&race->stop); n++) {
        uint32_t i = n * 7 % 300;
        struct sp_snapshot *snapshot;
        struct sp_view view;
        size_t key_bytes = people_key(i, key);
        int status = sp_get(race->f->people, key, key_bytes, value, sizeof value, &size);
        bool right = status == SP_OK && people_generation(race->f, i, value, size) >= 0;
        right = right && sp_get_row_encoded(race->f->people, key, key_bytes, row) == SP_OK;
        if (n % 16 == 0 && sp_snapshot_begin(race->f->pond, &snapshot) == SP_OK) {
            status = sp_view(snapshot, race->f->people, key, key_bytes, &view);
            right = right && status == SP_OK && view.value_bytes < sizeof expected &&
                    people_generation(race->f, i, view.value, view.value_bytes) >= 0 &&
                    sp_snapshot_check(snapshot) == SP_OK;
            sp_snapshot_end(snapshot);
        }
        if (!right)
            race->wrong++;
        race->reads++;
    }
    sp_row_free(row);
    return NULL;
}

/* Readers beside a writer that replaces every row over and over: no wrong byte, no missing row. */
static void test_threads(void **state)
{
    struct pond_fixture *f = *state;
    struct race race = {.f = f};
    pthread_t threads[3];
    people_put(f, 0, 300, 1);
    people_open(f);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_thread, &race), 0);
    for (uint32_t generation = 2; generation < 150 || race.reads < 3000; generation++) {
        people_put(f, 0, 300, generation);
        store_tick(f->store);
    }
    race.stop = true;
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(race.wrong, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, people_setup, people_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_errors),   TEST(test_open_by_name),
        TEST(test_open_waits),    TEST(test_get),
        TEST(test_sizes),         TEST(test_mget),
        TEST(test_rows),          TEST(test_versions),
        TEST(test_growth),        TEST(test_tables),
        TEST(test_coming_tables), TEST(test_schema),
        TEST(test_reshape),       TEST(test_old_tables),
        TEST(test_snapshot),      TEST(test_snapshot_over_limit),
        TEST(test_all_leases),    TEST(test_scan),
        TEST(test_find),          TEST(test_info),
        TEST(test_wait),          TEST(test_replaced),
        TEST(test_fork),          TEST(test_fork_orphan),
        TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
