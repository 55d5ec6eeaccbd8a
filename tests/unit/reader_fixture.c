/* SPDX-License-Identifier: Apache-2.0
 *
 * reader_fixture.c - see reader_fixture.h.
 */
#include "reader_fixture.h"

#include <unistd.h>

#define ROWS_AT_ONCE 64u
#define VALUE_CAP    1024u

static const struct row_column columns[] = {
    {.name = "id", .type = SP_TYPE_TEXT, .key_position = 0},
    {.name = "name", .type = SP_TYPE_TEXT, .key_position = -1},
    {.name = "age", .type = SP_TYPE_INT64, .key_position = -1},
    {.name = "city", .type = SP_TYPE_TEXT, .nullable = true, .key_position = -1},
    {.name = "photo", .type = SP_TYPE_BYTES, .nullable = true, .key_position = -1},
};
static const struct row_index indexes[] = {
    {.name = "by_name", .unique = true, .column_count = 1, .columns = {PEOPLE_NAME}},
    {.name = "by_city", .column_count = 1, .columns = {PEOPLE_CITY}},
};

int people_setup(void **state)
{
    struct pond_fixture *f = calloc(1, sizeof *f);
    char why[256] = "";
    snprintf(f->directory, sizeof f->directory, "/dev/shm/test-reader-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    strcat(f->directory, "/pond");
    f->options = (struct store_options){.directory = f->directory,
                                        .name = "test",
                                        .limit_bytes = UINT64_C(64) << 20,
                                        .lease_limit_ms = 60000,
                                        .gid = -1};
    assert_ok(schema_build(columns, 5, indexes, 2, &f->schema, why, sizeof why));
    people_open_store(f);
    *state = f;
    return 0;
}

int people_teardown(void **state)
{
    struct pond_fixture *f = *state;
    sp_close(f->pond);
    if (f->store != NULL)
        people_close_store(f);
    schema_free(f->schema);
    *strrchr(f->directory, '/') = '\0';
    char command[256];
    snprintf(command, sizeof command, "rm -rf -- '%s'", f->directory);
    int status = system(command);
    free(f);
    return status;
}

void people_open_store(struct pond_fixture *f)
{
    struct store_opened opened;
    char why[STORE_WHY_BYTES] = "";
    int status = store_open(&f->options, &f->store, &opened, why);
    if (status != SP_OK)
        fail_msg("store_open: %s: %s", sp_status_name(status), why);
}

void people_close_store(struct pond_fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

void people_open(struct pond_fixture *f)
{
    assert_ok(sp_open(f->directory, NULL, &f->pond));
    assert_ok(sp_table_open(f->pond, "people", &f->people));
}

/* --- rows ------------------------------------------------------------------------------------- */

size_t people_key(uint32_t i, char *out)
{
    return (size_t)sprintf(out, "person-%u", i);
}

const char *people_city(uint32_t i)
{
    static const char *const cities[PEOPLE_CITIES] = {"Oslo", "Rome",  "Lima", "Cairo",
                                                      "Kyiv", "Tokyo", NULL};
    return cities[i % PEOPLE_CITIES];
}

static size_t photo_bytes(uint32_t i, uint32_t generation)
{
    return (i * 7 + generation * 13) % 200;
}

size_t people_value(const struct pond_fixture *f, uint32_t i, uint32_t generation, void *out,
                    size_t cap)
{
    char name[64];
    uint8_t photo[256];
    size_t size;
    size_t name_bytes = (size_t)snprintf(name, sizeof name, "name of %u", i);
    const char *city = people_city(i);
    memset(photo, (int)(generation & 255), sizeof photo);
    struct sp_value values[5] = {
        sp_null(SP_TYPE_TEXT),
        sp_text(name, name_bytes),
        sp_int((int64_t)i << 32 | generation),
        city != NULL ? sp_text(city, strlen(city)) : sp_null(SP_TYPE_TEXT),
        sp_bytes(SP_TYPE_BYTES, photo, photo_bytes(i, generation)),
    };
    assert_ok(row_encode(f->schema, values, out, cap, &size, NULL));
    return size;
}

int64_t people_generation(const struct pond_fixture *f, uint32_t i, const void *value,
                          size_t value_bytes)
{
    struct sp_value age;
    uint8_t expected[VALUE_CAP];
    if (row_column_get(f->schema, PEOPLE_AGE, "", 0, value, value_bytes, &age) != SP_OK)
        return -1;
    uint32_t generation = (uint32_t)age.i;
    size_t size = people_value(f, i, generation, expected, sizeof expected);
    return size == value_bytes && memcmp(expected, value, size) == 0 ? (int64_t)generation : -1;
}

void people_put_in(struct pond_fixture *f, struct store_txn *txn, const char *name, uint32_t from,
                   uint32_t to, uint32_t generation)
{
    struct store_table *table;
    static char keys[ROWS_AT_ONCE][32];
    static uint8_t values[ROWS_AT_ONCE][VALUE_CAP];
    struct store_row rows[ROWS_AT_ONCE];
    assert_ok(store_table(txn, name, f->schema, 0, &table, NULL));
    while (from < to) {
        uint32_t count = to - from < ROWS_AT_ONCE ? to - from : ROWS_AT_ONCE;
        size_t done;
        for (uint32_t j = 0; j < count; j++) {
            rows[j] = (struct store_row){.key = keys[j], .value = values[j]};
            rows[j].key_bytes = people_key(from + j, keys[j]);
            rows[j].value_bytes =
                people_value(f, from + j, generation, values[j], sizeof values[j]);
        }
        assert_ok(store_put(table, rows, count, &done));
        from += count;
    }
}

void people_put(struct pond_fixture *f, uint32_t from, uint32_t to, uint32_t generation)
{
    struct store_txn *txn;
    assert_ok(store_begin(f->store, &txn));
    people_put_in(f, txn, "people", from, to, generation);
    assert_ok(store_commit(txn, NULL));
}

void people_delete(struct pond_fixture *f, uint32_t from, uint32_t to)
{
    struct store_txn *txn;
    struct store_table *table;
    char key[32];
    assert_ok(store_begin(f->store, &txn));
    assert_ok(store_table(txn, "people", f->schema, 0, &table, NULL));
    for (; from < to; from++)
        assert_ok(store_delete(table, key, people_key(from, key)));
    assert_ok(store_commit(txn, NULL));
}

int64_t people_get(struct pond_fixture *f, uint32_t i)
{
    char key[32];
    uint8_t value[VALUE_CAP];
    size_t size;
    int status = sp_get(f->people, key, people_key(i, key), value, sizeof value, &size);
    if (status != SP_OK)
        return status;
    int64_t generation = people_generation(f, i, value, size);
    assert_true(generation >= 0);
    return generation;
}
