/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_document_c.c - one field of a document in a pond, beside decoding the document with
 * libbson; the part of bench_document.py that is in C.
 *
 * Method. Documents of 50 fields (10 kinds of them, 5 of each; about 1.4 KB) lie in a pond under
 * ObjectIds. The keys to ask for and the fields, one anywhere in the document, are drawn before the
 * clock starts. What is compared takes turns in rounds, by the processor time of this thread, and
 * the median of the rounds counts. Each way gives the same number, which is checked.
 *
 *   a field            sp_get_row_encoded, sp_row_field
 *   the whole          sp_get_row_encoded, then a visit of all fields that builds what a decoder
 *                      builds: an array of names and values, each in memory of its own
 *                      (bson_iter_value, bson_value_copy), in which the field is found
 *   libbson's search   sp_get_row_encoded, bson_iter_init_find: for information
 *   in place           sp_view and sp_view_field in a snapshot: for information
 *
 * Options: --json, --quick (few documents); --pond DIRECTORY leaves the pond there for the Python
 * part, and measures nothing.
 */
#include <bson/bson.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"
#include "common/rows.h"
#include "sidepond/sidepond.h"

#define FIELDS     50u
#define DOCUMENTS  20000u
#define READS      100000u
#define ROUNDS     9u
#define REACH      5.0
#define NAME_BYTES 16u

static char names[FIELDS][NAME_BYTES];

/* --- documents ------------------------------------------------------------------------------- */

/* Five fields in ten are strings and numbers, as those of applications are. */
static void append_field(bson_t *document, unsigned field, uint64_t number)
{
    char text[64];
    bson_t inner;
    bson_oid_t id;
    const char *name = names[field];
    snprintf(text, sizeof(text), "value %" PRIu64 " of field %u", number % 100000, field);
    switch (field % 10) {
    case 0:
        bson_append_int32(document, name, -1, (int32_t)(number % 1000000));
        return;
    case 1:
        bson_append_utf8(document, name, -1, text, -1);
        return;
    case 2:
        bson_append_double(document, name, -1, (double)(number % 1000000) / 100);
        return;
    case 3:
        bson_append_date_time(document, name, -1, (int64_t)(number % 1700000000000));
        return;
    case 4:
        bson_append_bool(document, name, -1, number & 1);
        return;
    case 5:
        bson_oid_init_from_data(&id, (const uint8_t *)text);
        bson_append_oid(document, name, -1, &id);
        return;
    case 6:
        bson_append_document_begin(document, name, -1, &inner);
        bson_append_utf8(&inner, "street", -1, text, -1);
        bson_append_int32(&inner, "number", -1, (int32_t)field);
        bson_append_document_end(document, &inner);
        return;
    case 7:
        bson_append_array_begin(document, name, -1, &inner);
        bson_append_utf8(&inner, "0", -1, "red", -1);
        bson_append_utf8(&inner, "1", -1, "green", -1);
        bson_append_array_end(document, &inner);
        return;
    case 8:
        bson_append_int64(document, name, -1, (int64_t)number >> 8);
        return;
    default:
        bson_append_null(document, name, -1);
    }
}

/* The ObjectId, and the key that a row has by it. */
static void id_of(uint32_t number, uint8_t key[13])
{
    const uint64_t spread = number * UINT64_C(0x9E3779B97F4A7C15);
    memset(key, 0, 13);
    key[0] = SP_BSON_OBJECT_ID;
    memcpy(key + 1, &spread, sizeof(spread));
    memcpy(key + 9, &number, sizeof(number));
}

static bson_t *document_of(uint32_t number)
{
    uint64_t state = number;
    uint8_t key[13];
    bson_oid_t id;
    bson_t *document = bson_new();
    id_of(number, key);
    bson_oid_init_from_data(&id, key + 1);
    bson_append_oid(document, "_id", -1, &id);
    for (unsigned field = 0; field < FIELDS; field++)
        append_field(document, field, rows_random(&state));
    return document;
}

static void put_documents(struct store_table *table, const struct schema *schema, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[13];
        uint8_t value[16384];
        size_t done;
        struct sp_value values[2] = {{.type = SP_TYPE_BSON_VALUE}};
        struct store_row row = {.key = key, .key_bytes = sizeof(key), .value = value};
        bson_t *document = document_of(i);
        id_of(i, key);
        values[1] = sp_bytes(SP_TYPE_BSON, bson_get_data(document), document->len);
        bench_must(row_encode(schema, values, value, sizeof(value), &row.value_bytes, NULL), "row");
        bench_must(store_put(table, &row, 1, &done), "store_put");
        bson_destroy(document);
    }
}

static void make_pond(const char *directory, uint32_t count)
{
    const struct row_column columns[] = {
        {.name = "_id", .type = SP_TYPE_BSON_VALUE, .key_position = 0},
        {.name = "document", .type = SP_TYPE_BSON, .key_position = -1}};
    struct store_opened opened;
    struct schema *schema;
    struct store_txn *txn;
    struct store_table *table;
    struct store *store =
        rows_open(directory, (UINT64_C(64) << 20) + UINT64_C(4096) * count, &opened);
    bench_must(schema_build(columns, 2, NULL, 0, &schema, NULL, 0), "schema");
    bench_must(store_begin(store, &txn), "store_begin");
    bench_must(store_table(txn, "documents", schema, count, &table, NULL), "store_table");
    put_documents(table, schema, count);
    bench_must(store_commit(txn, NULL), "store_commit");
    store_close(store);
    schema_free(schema);
    bench_use_huge_pages(directory);
}

/* --- the ways to a field --------------------------------------------------------------------- */

struct reader {
    struct sp_table *table;
    struct sp_snapshot *snapshot;
    struct sp_row *row;
};

struct request {
    uint8_t key[13];
    uint8_t field;
};

/* What a value adds to the sum that every way must have. */
static uint64_t weight(int type, uint64_t content)
{
    return (uint64_t)type * 31 + content;
}

static uint64_t weight_of(const struct sp_value *value)
{
    const void *data;
    size_t size;
    switch (value->type) {
    case SP_TYPE_INT32:
    case SP_TYPE_INT64:
    case SP_TYPE_BOOL:
        return weight(1, (uint64_t)value->i);
    case SP_TYPE_TIMESTAMP:
        return weight(1, (uint64_t)value->i / 1000);
    case SP_TYPE_FLOAT64:
        return weight(2, (uint64_t)value->f);
    case SP_TYPE_TEXT:
        return weight(3, value->bytes.size);
    default:
        if (value->is_null || sp_bson_raw(value, &data, &size) < 0)
            return weight(4, 0);
        return weight(5, size);
    }
}

static uint64_t weight_of_bson(const bson_value_t *value)
{
    switch (value->value_type) {
    case BSON_TYPE_INT32:
        return weight(1, (uint64_t)(int64_t)value->value.v_int32);
    case BSON_TYPE_INT64:
        return weight(1, (uint64_t)value->value.v_int64);
    case BSON_TYPE_BOOL:
        return weight(1, value->value.v_bool);
    case BSON_TYPE_DATE_TIME:
        return weight(1, (uint64_t)value->value.v_datetime);
    case BSON_TYPE_DOUBLE:
        return weight(2, (uint64_t)value->value.v_double);
    case BSON_TYPE_UTF8:
        return weight(3, value->value.v_utf8.len);
    case BSON_TYPE_OID:
        return weight(5, sizeof(bson_oid_t));
    case BSON_TYPE_DOCUMENT:
    case BSON_TYPE_ARRAY:
        return weight(5, value->value.v_doc.data_len);
    default:
        return weight(4, 0);
    }
}

static void get(const struct reader *reader, const struct request *request, struct sp_value *out)
{
    bench_must(sp_get_row_encoded(reader->table, request->key, sizeof(request->key), reader->row),
               "sp_get_row_encoded");
    if (out)
        bench_must(sp_row_column_at(reader->row, 1, out), "document");
}

static uint64_t by_field(const struct reader *reader, const struct request *request)
{
    struct sp_value value;
    get(reader, request, NULL);
    bench_must(sp_row_field(reader->row, names[request->field], &value), "sp_row_field");
    return weight_of(&value);
}

static uint64_t by_view(const struct reader *reader, const struct request *request)
{
    struct sp_view view;
    struct sp_value value;
    bench_must(sp_view(reader->snapshot, reader->table, request->key, sizeof(request->key), &view),
               "sp_view");
    bench_must(sp_view_field(&view, names[request->field], &value), "sp_view_field");
    return weight_of(&value);
}

static void bson_of(const struct reader *reader, const struct request *request, bson_t *out)
{
    struct sp_value document;
    get(reader, request, &document);
    if (!bson_init_static(out, document.bytes.data, document.bytes.size))
        bench_die("no document");
}

static uint64_t by_search(const struct reader *reader, const struct request *request)
{
    bson_t document;
    bson_iter_t iter;
    bson_of(reader, request, &document);
    if (!bson_iter_init_find(&iter, &document, names[request->field]))
        bench_die("no field");
    return weight_of_bson(bson_iter_value(&iter));
}

struct decoded {
    char *name;
    bson_value_t value;
};

static uint64_t by_decoding(const struct reader *reader, const struct request *request)
{
    struct decoded fields[FIELDS + 1];
    unsigned count = 0;
    bson_t document;
    bson_iter_t iter;
    uint64_t found = 0;
    bson_of(reader, request, &document);
    bson_iter_init(&iter, &document);
    while (bson_iter_next(&iter) && count < FIELDS + 1) {
        fields[count].name = strdup(bson_iter_key(&iter));
        bson_value_copy(bson_iter_value(&iter), &fields[count++].value);
    }
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(fields[i].name, names[request->field]) == 0)
            found = weight_of_bson(&fields[i].value);
        free(fields[i].name);
        bson_value_destroy(&fields[i].value);
    }
    return found;
}

/* --- measuring ------------------------------------------------------------------------------- */

typedef uint64_t (*way)(const struct reader *reader, const struct request *request);

enum { FIELD, DECODING, SEARCH, VIEW, WAYS };
static const way ways[WAYS] = {by_field, by_decoding, by_search, by_view};

static struct request *requests_draw(uint32_t documents, uint32_t count)
{
    uint64_t state = 1;
    struct request *requests = malloc(count * sizeof(*requests));
    for (uint32_t i = 0; requests && i < count; i++) {
        id_of((uint32_t)(rows_random(&state) % documents), requests[i].key);
        requests[i].field = (uint8_t)(rows_random(&state) % FIELDS);
    }
    return requests;
}

/* Nanoseconds of one read by each way. */
static void measure(const struct reader *reader, const struct request *requests, uint32_t count,
                    double out[WAYS])
{
    double taken[WAYS][ROUNDS];
    uint64_t sums[WAYS];
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < WAYS; i++) {
            const double start = bench_thread_ns();
            sums[i] = 0;
            for (uint32_t j = 0; j < count; j++)
                sums[i] += ways[i](reader, &requests[j]);
            taken[i][round] = (bench_thread_ns() - start) / count;
            if (sums[i] != sums[0])
                bench_die("way %u has other values", i);
        }
    for (unsigned i = 0; i < WAYS; i++)
        out[i] = bench_median(taken[i], ROUNDS);
}

static void row(const char *what, double ours_ns, double peer_ns, enum bench_rule rule)
{
    const struct bench_row line = {.what = what,
                                   .ours = 1e9 / ours_ns,
                                   .peer = 1e9 / peer_ns,
                                   .unit = "reads/s",
                                   .rule = rule,
                                   .reach = REACH};
    bench_row(&line);
}

static void report(const double ns[WAYS])
{
    bench_note("field %.0f ns, decoding %.0f ns, libbson's search %.0f ns, in place %.0f ns",
               ns[FIELD], ns[DECODING], ns[SEARCH], ns[VIEW]);
    row("C: one field of 50, against decoding with libbson", ns[FIELD], ns[DECODING],
        BENCH_AT_LEAST);
    row("C: the same in place, in a snapshot", ns[VIEW], ns[DECODING], BENCH_INFORMS);
    row("C: one field, against libbson's search for it", ns[FIELD], ns[SEARCH], BENCH_INFORMS);
}

int main(int argc, char **argv)
{
    char directory[256];
    double ns[WAYS];
    struct sp_pond *pond;
    struct reader reader = {.row = sp_row_new()};
    for (unsigned i = 0; i < FIELDS; i++)
        snprintf(names[i], sizeof(names[i]), "field_%02u", i);
    if (argc == 4 && strcmp(argv[1], "--pond") == 0) {
        make_pond(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
        return 0;
    }
    bench_start("document", argc, argv);
    const uint32_t documents = bench_quick() ? DOCUMENTS / 10 : DOCUMENTS;
    const uint32_t reads = bench_quick() ? READS / 10 : READS;
    snprintf(directory, sizeof(directory), "%s/pond", bench_directory());
    make_pond(directory, documents);
    struct request *requests = requests_draw(documents, reads);
    if (!requests || !reader.row)
        bench_die("no memory");
    bench_must(sp_open(directory, NULL, &pond), "sp_open");
    bench_must(sp_table_open(pond, "documents", &reader.table), "sp_table_open");
    bench_must(sp_snapshot_begin(pond, &reader.snapshot), "sp_snapshot_begin");
    measure(&reader, requests, reads, ns);
    report(ns);
    sp_snapshot_end(reader.snapshot);
    sp_row_free(reader.row);
    sp_close(pond);
    free(requests);
    return bench_finish();
}
