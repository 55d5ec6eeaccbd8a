/* SPDX-License-Identifier: Apache-2.0
 *
 * test_document.c - documents through the reader library: rows by their keys, fields by their paths
 * (sp_row_field, sp_view_field, sp_key_parse).
 *
 * Goal: a field is that of the row that was read, whatever the writer does meanwhile; tables
 * without a document, rows without one and keys of a wrong kind have the status that sidepond.h
 * says. Method: a pond with a table of documents made by libbson; then a writer that replaces
 * documents of changing sizes, each of which says twice which one it is, beside a reader.
 */
#include "reader_fixture.h"

#include <bson/bson.h>
#include <pthread.h>
#include <stdatomic.h>

#define UPDATES 3000u
#define KEYS    4u

static struct schema *things_schema(bool nullable)
{
    const struct row_column columns[] = {
        {.name = "_id", .type = SP_TYPE_BSON_VALUE, .key_position = 0},
        {.name = "first", .type = SP_TYPE_BSON, .key_position = -1, .nullable = true},
        {.name = "document", .type = SP_TYPE_BSON, .key_position = -1, .nullable = nullable}};
    struct schema *schema;
    assert_ok(schema_build(columns, 3, NULL, 0, &schema, NULL, 0));
    return schema;
}

/* {"number": number, "text": "...", "inner": {"number": number}}, of a size that changes. */
static bson_t *thing_of(uint32_t number)
{
    char text[512];
    bson_t inner;
    bson_t *document = bson_new();
    memset(text, 'x', sizeof(text));
    BSON_APPEND_INT32(document, "number", (int32_t)number);
    bson_append_utf8(document, "text", -1, text, (int)(number * 37 % sizeof(text)));
    BSON_APPEND_DOCUMENT_BEGIN(document, "inner", &inner);
    BSON_APPEND_INT32(&inner, "number", (int32_t)number);
    bson_append_document_end(document, &inner);
    return document;
}

static void put_thing(struct store *store, const struct schema *schema, const struct sp_value *key,
                      const struct sp_value *document)
{
    uint8_t key_bytes[64];
    uint8_t value[2048];
    struct store_row row = {.key = key_bytes, .value = value};
    const struct sp_value values[3] = {*key, sp_null(SP_TYPE_BSON), *document};
    struct store_txn *txn;
    struct store_table *table;
    size_t done;
    assert_ok(row_key_encode(schema, schema->key_columns, 1, key, 1, key_bytes, sizeof(key_bytes),
                             &row.key_bytes));
    assert_ok(row_encode(schema, values, value, sizeof(value), &row.value_bytes, NULL));
    assert_ok(store_begin(store, &txn));
    assert_ok(store_table(txn, "things", schema, 0, &table, NULL));
    assert_ok(store_put(table, &row, 1, &done));
    assert_ok(store_commit(txn, NULL));
}

static void put_number(struct store *store, const struct schema *schema, uint32_t key,
                       uint32_t number)
{
    const struct sp_value id = sp_int(key);
    bson_t *document = thing_of(number);
    const struct sp_value value = sp_bytes(SP_TYPE_BSON, bson_get_data(document), document->len);
    put_thing(store, schema, &id, &value);
    bson_destroy(document);
}

static void fields_of_rows_and_views(void **state)
{
    struct pond_fixture *f = *state;
    struct schema *schema = things_schema(true);
    struct sp_row *row = sp_row_new();
    struct sp_table *things;
    struct sp_value value;
    struct sp_snapshot *snapshot;
    struct sp_view view;
    assert_status(sp_row_field(row, "number", &value), SP_EINVAL);
    people_put(f, 0, 1, 1);
    put_number(f->store, schema, 7, 70);
    put_thing(f->store, schema, &(struct sp_value){.type = SP_TYPE_INT64, .i = 8},
              &(struct sp_value){.type = SP_TYPE_BSON, .is_null = true});
    people_open(f);
    assert_ok(sp_table_open(f->pond, "things", &things));

    const struct sp_value seven = sp_float(7);
    assert_ok(sp_get_row(things, &seven, 1, row));
    assert_ok(sp_row_field(row, "inner.number", &value));
    assert_int_equal(value.i, 70);
    assert_status(sp_row_field(row, "inner.nobody", &value), SP_ENOTFOUND);
    const struct sp_value eight = sp_int(8);
    assert_ok(sp_get_row(things, &eight, 1, row));
    assert_status(sp_row_field(row, "number", &value), SP_ENOTFOUND);

    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_ok(sp_view(snapshot, things, "\x12\7\0\0\0\0\0\0\0", 9, &view));
    assert_ok(sp_view_field(&view, "inner.number", &value));
    assert_int_equal(value.i, 70);
    assert_status(sp_view_field(&view, "x", &value), SP_ENOTFOUND);
    char key[64];
    assert_ok(sp_view(snapshot, f->people, key, people_key(0, key), &view));
    assert_status(sp_view_field(&view, "x", &value), SP_ENOCOLUMN);
    sp_snapshot_end(snapshot);
    const struct sp_value person = sp_text(key, people_key(0, key));
    assert_ok(sp_get_row(f->people, &person, 1, row));
    assert_status(sp_row_field(row, "x", &value), SP_ENOCOLUMN);
    sp_row_free(row);
    schema_free(schema);
}

static void keys_are_parsed_by_their_columns(void **state)
{
    struct pond_fixture *f = *state;
    struct schema *made = things_schema(false);
    const struct sp_schema *things, *people;
    struct sp_table *table;
    struct sp_value value;
    uint8_t scratch[16];
    people_put(f, 0, 1, 1);
    put_number(f->store, made, 7, 70);
    people_open(f);
    assert_ok(sp_table_open(f->pond, "things", &table));
    assert_ok(sp_table_schema(table, &things));
    assert_ok(sp_table_schema(f->people, &people));
    assert_ok(sp_key_parse(things, -1, 0, "507f1f77bcf86cd799439011", 24, scratch, &value));
    assert_int_equal(value.type, SP_TYPE_BSON_VALUE);
    assert_ok(sp_key_parse(things, -1, 0, "7", 1, scratch, &value));
    assert_int_equal(value.type, SP_TYPE_JSON);
    assert_ok(sp_key_parse(people, -1, 0, "507f1f77bcf86cd799439011", 24, scratch, &value));
    assert_int_equal(value.type, SP_TYPE_TEXT);
    assert_status(sp_key_parse(things, -1, 0, "{", 1, scratch, &value), SP_ETYPE);
    assert_status(sp_key_parse(things, -1, 1, "7", 1, scratch, &value), SP_EINVAL);
    assert_status(sp_key_parse(things, 0, 0, "7", 1, scratch, &value), SP_ENOINDEX);
    schema_free(made);
}

/* --- beside a writer ----------------------------------------------------------------------- */

struct reading {
    struct pond_fixture *f;
    atomic_bool over;
    unsigned long reads;
    unsigned long changes; /* times that a key had another document than before */
    const char *wrong;
};

static const char *read_one(struct sp_table *things, uint32_t key, struct sp_row *row,
                            int64_t *number)
{
    struct sp_value first, last;
    const struct sp_value id = sp_int(key);
    if (sp_get_row(things, &id, 1, row) != SP_OK)
        return "no row";
    if (sp_row_field(row, "number", &first) != SP_OK ||
        sp_row_field(row, "inner.number", &last) != SP_OK)
        return "no field";
    *number = first.i;
    return first.i == last.i && first.i % KEYS == key ? NULL : "a field of another row";
}

static void *read_all(void *context)
{
    struct reading *reading = context;
    struct sp_row *row = sp_row_new();
    struct sp_table *things;
    int64_t seen[KEYS] = {0};
    if (sp_table_open(reading->f->pond, "things", &things) != SP_OK)
        reading->wrong = "no table";
    while (!reading->wrong && !atomic_load(&reading->over)) {
        int64_t number = 0;
        const uint32_t key = (uint32_t)(reading->reads++ % KEYS);
        reading->wrong = read_one(things, key, row, &number);
        if (!reading->wrong && number < seen[key])
            reading->wrong = "an older document than before";
        reading->changes += number != seen[key];
        seen[key] = number;
    }
    sp_row_free(row);
    return NULL;
}

static void fields_are_of_one_row_beside_a_writer(void **state)
{
    struct pond_fixture *f = *state;
    struct schema *schema = things_schema(false);
    struct reading reading = {.f = f};
    pthread_t thread;
    people_put(f, 0, 1, 1);
    for (uint32_t i = 0; i < KEYS; i++)
        put_number(f->store, schema, i, i);
    people_open(f);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reading), 0);
    for (uint32_t i = KEYS; i < UPDATES; i++) {
        put_number(f->store, schema, i % KEYS, i);
        if (i % 100 == 0)
            store_tick(f->store);
    }
    atomic_store(&reading.over, true);
    pthread_join(thread, NULL);
    if (reading.wrong)
        fail_msg("%s", reading.wrong);
    print_message("%lu reads, %lu changes seen\n", reading.reads, reading.changes);
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fields_of_rows_and_views, people_setup, people_teardown),
        cmocka_unit_test_setup_teardown(keys_are_parsed_by_their_columns, people_setup,
                                        people_teardown),
        cmocka_unit_test_setup_teardown(fields_are_of_one_row_beside_a_writer, people_setup,
                                        people_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
