/* SPDX-License-Identifier: Apache-2.0
 *
 * test_row.c - keys and rows (alloc/row.h, row.c, row_key.c).
 *
 * Goal: rows and keys are laid out as the format says, byte by byte; what goes in comes out; limits
 * and conversions are as promised; no bytes, whatever they are, lead out of the row.
 * Method: random schemas and rows from a printed seed (SIDEPOND_SEED repeats), encoded a second
 * time by a naive model that appends byte after byte as the format's description reads. Hostile
 * rows are damaged copies in memory of exactly their size, where sanitizers see a read past the
 * end; a row that still passes row_validate must be what row_encode writes. One thread changes a
 * row while another reads it.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/row.h"
#include "random_numbers.h"

#define COLUMNS_MAX 24
#define VALUE_CAP   (1u << 20)
#define FIXED_BYTES 16 /* of the largest type that is not variable */

/* --- random tables and rows ---------------------------------------------------------------- */

struct table {
    char names[COLUMNS_MAX][8];
    struct row_column columns[COLUMNS_MAX];
    struct schema *schema;
    struct sp_value values[COLUMNS_MAX];
    unsigned char bytes[VALUE_CAP]; /* what values point into */
};

static void random_schema(struct table *table)
{
    const unsigned count = 1 + random_below(COLUMNS_MAX);
    unsigned keys = 1 + random_below(count < 3 ? count : 3);
    unsigned shift = random_below(count);
    for (unsigned i = 0; i < count; i++) {
        snprintf(table->names[i], sizeof(table->names[i]), "c%u", i);
        table->columns[i] = (struct row_column){.name = table->names[i],
                                                .type = (enum sp_type)(1 + random_below(13)),
                                                .nullable = random_below(2),
                                                .key_position = -1};
    }
    for (unsigned i = 0; i < keys; i++)
        table->columns[(shift + i) % count].key_position = (int)(keys - 1 - i);
    assert_int_equal(schema_build(table->columns, count, NULL, 0, &table->schema, NULL, 0), SP_OK);
}

static int64_t random_int(void)
{
    static const int64_t special[] = {0, 1, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    if (random_below(4) == 0)
        return special[random_below(sizeof(special) / sizeof(*special))];
    return (int64_t)(random_next() >> random_below(64));
}

static double random_float(void)
{
    static const double special[] = {0, 1, -1.5, INFINITY, -INFINITY, 1e308, 5e-324};
    double f;
    uint64_t bits = random_next();
    if (random_below(3) == 0)
        return special[random_below(sizeof(special) / sizeof(*special))];
    memcpy(&f, &bits, sizeof(f));
    return isnan(f) ? 0.25 : f;
}

static struct sp_value random_value(struct table *table, enum sp_type type, unsigned size_max,
                                    unsigned *used)
{
    struct sp_value value = {.type = type};
    size_t size = random_below(size_max);
    switch (type) {
    case SP_TYPE_BOOL:
        value.i = random_below(2);
        return value;
    case SP_TYPE_INT32:
    case SP_TYPE_DATE:
        value.i = (int32_t)random_int();
        return value;
    case SP_TYPE_INT64:
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        value.i = random_int();
        return value;
    case SP_TYPE_FLOAT64:
        value.f = random_float();
        return value;
    case SP_TYPE_FLOAT32:
        value.f = (float)random_float() + 0.0f; /* no -0.0, which a key does not keep */
        return value;
    case SP_TYPE_UUID:
        size = 16;
        break;
    default:
        break;
    }
    for (size_t i = 0; i < size; i++)
        table->bytes[*used + i] = (unsigned char)random_next();
    value = sp_bytes(type, table->bytes + *used, size);
    *used += (unsigned)size;
    return value;
}

static void random_row(struct table *table)
{
    const unsigned size_max = random_below(30) == 0 ? 30000 : 40;
    unsigned used = 0;
    for (unsigned i = 0; i < table->schema->column_count; i++) {
        const struct row_column *column = &table->schema->columns[i];
        if (column->nullable && random_below(4) == 0)
            table->values[i] = sp_null(column->type);
        else
            table->values[i] = random_value(table, column->type, size_max, &used);
    }
}

/* --- the naive model ----------------------------------------------------------------------- */

struct model {
    unsigned char *bytes;
    size_t size;
};

static void append(struct model *model, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        model->bytes[model->size++] = ((const unsigned char *)data)[i];
}

static void append_number(struct model *model, uint64_t number, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        model->bytes[model->size++] = (unsigned char)(number >> 8 * i);
}

static bool is_variable(enum sp_type type)
{
    return sp_type_width(type) == 0;
}

static void append_fixed(struct model *model, const struct sp_value *value)
{
    uint64_t bits = 0;
    const float f32 = (float)value->f;
    const unsigned width = (unsigned)sp_type_width(value->type);
    if (value->is_null) {
        for (unsigned i = 0; i < width; i++)
            append_number(model, 0, 1);
    } else if (value->type == SP_TYPE_UUID) {
        append(model, value->bytes.data, 16);
    } else if (value->type == SP_TYPE_FLOAT64) {
        memcpy(&bits, &value->f, 8);
        append_number(model, bits, 8);
    } else if (value->type == SP_TYPE_FLOAT32) {
        memcpy(&bits, &f32, 4);
        append_number(model, bits, 4);
    } else {
        append_number(model, (uint64_t)value->i, width);
    }
}

static void model_nulls(struct model *model, const struct table *table)
{
    unsigned bit = 0;
    unsigned char byte = 0;
    for (unsigned i = 0; i < table->schema->column_count; i++) {
        if (table->columns[i].key_position >= 0 || !table->columns[i].nullable)
            continue;
        byte |= (unsigned char)(table->values[i].is_null << bit % 8);
        if (++bit % 8 == 0) {
            append(model, &byte, 1);
            byte = 0;
        }
    }
    if (bit % 8)
        append(model, &byte, 1);
}

/* The ends (all but the last) with so many bytes each, and the variable columns. */
static void model_variables(struct model *model, const struct table *table, unsigned width)
{
    uint64_t end = 0;
    unsigned left = 0;
    for (unsigned i = 0; i < table->schema->column_count; i++)
        left += table->columns[i].key_position < 0 && is_variable(table->columns[i].type);
    for (unsigned i = 0; i < table->schema->column_count; i++) {
        if (table->columns[i].key_position >= 0 || !is_variable(table->columns[i].type))
            continue;
        end += table->values[i].is_null ? 0 : table->values[i].bytes.size;
        if (--left > 0)
            append_number(model, end, width);
    }
    for (unsigned i = 0; i < table->schema->column_count; i++)
        if (table->columns[i].key_position < 0 && is_variable(table->columns[i].type) &&
            !table->values[i].is_null)
            append(model, table->values[i].bytes.data, table->values[i].bytes.size);
}

static void model_row(struct model *model, const struct table *table)
{
    model->size = 0;
    model_nulls(model, table);
    for (unsigned i = 0; i < table->schema->column_count; i++)
        if (table->columns[i].key_position < 0 && !is_variable(table->columns[i].type))
            append_fixed(model, &table->values[i]);
    const size_t fixed = model->size;
    model_variables(model, table, 2);
    if (model->size <= 65535)
        return;
    model->size = fixed;
    model_variables(model, table, 4);
}

static void model_key(struct model *model, const struct table *table)
{
    model->size = 0;
    for (unsigned k = 0; k < table->schema->key_count; k++) {
        const struct sp_value *value = &table->values[table->schema->key_columns[k]];
        if (!is_variable(value->type)) {
            append_fixed(model, value);
            continue;
        }
        if (table->schema->key_count > 1)
            append_number(model, value->bytes.size, 4);
        append(model, value->bytes.data, value->bytes.size);
    }
}

static bool same_value(const struct sp_value *a, const struct sp_value *b)
{
    if (a->type != b->type || a->is_null != b->is_null)
        return false;
    if (a->is_null)
        return true;
    if (is_variable(a->type) || a->type == SP_TYPE_UUID)
        return a->bytes.size == b->bytes.size &&
               (a->bytes.size == 0 || memcmp(a->bytes.data, b->bytes.data, a->bytes.size) == 0);
    return a->i == b->i; /* floats: their bits */
}

/* --- rows that are right ------------------------------------------------------------------- */

struct row {
    unsigned char *key, *value;
    size_t key_bytes, value_bytes;
};

static void check_columns(const struct table *table, const struct row *row)
{
    const struct schema *schema = table->schema;
    struct sp_value key_values[ROW_KEY_COLUMNS_MAX];
    for (unsigned i = 0; i < schema->column_count; i++) {
        struct sp_value found;
        assert_int_equal(row_column_get(schema, i, row->key, row->key_bytes, row->value,
                                        row->value_bytes, &found),
                         SP_OK);
        assert_true(same_value(&found, &table->values[i]));
    }
    assert_int_equal(row_key_decode(schema, schema->key_columns, schema->key_count, row->key,
                                    row->key_bytes, key_values),
                     SP_OK);
    for (unsigned k = 0; k < schema->key_count; k++)
        assert_true(same_value(&key_values[k], &table->values[schema->key_columns[k]]));
}

static void encode_key(const struct table *table, unsigned char *out, size_t cap, size_t *size,
                       int expected)
{
    const struct schema *schema = table->schema;
    struct sp_value values[ROW_KEY_COLUMNS_MAX];
    for (unsigned k = 0; k < schema->key_count; k++)
        values[k] = table->values[schema->key_columns[k]];
    assert_int_equal(row_key_encode(schema, schema->key_columns, schema->key_count, values,
                                    schema->key_count, out, cap, size),
                     expected);
}

/* Encodes into memory of exactly the size; one byte less is SP_ERANGE. */
static void encode_exact(const struct table *table, const struct model *key,
                         const struct model *value, struct row *row)
{
    row->key = malloc(key->size + 1);
    row->value = malloc(value->size + 1);
    encode_key(table, row->key, key->size, &row->key_bytes, SP_OK);
    assert_int_equal(row->key_bytes, key->size);
    assert_memory_equal(row->key, key->bytes, key->size);
    assert_int_equal(
        row_encode(table->schema, table->values, row->value, value->size, &row->value_bytes, NULL),
        SP_OK);
    assert_int_equal(row->value_bytes, value->size);
    assert_memory_equal(row->value, value->bytes, value->size);
    size_t size = 0;
    if (value->size > 0) {
        assert_int_equal(
            row_encode(table->schema, table->values, row->value, value->size - 1, &size, NULL),
            SP_ERANGE);
        assert_int_equal(size, value->size);
    }
    if (key->size > 0) {
        encode_key(table, row->key, key->size - 1, &size, SP_ERANGE);
        assert_int_equal(size, key->size);
        encode_key(table, row->key, key->size, &size, SP_OK);
    }
}

static void random_rows_equal_the_model(void **state)
{
    struct table *table = calloc(1, sizeof(*table));
    struct model key = {.bytes = malloc(VALUE_CAP)};
    struct model value = {.bytes = malloc(VALUE_CAP)};
    size_t wide = 0;
    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        struct row row;
        random_schema(table);
        random_row(table);
        model_key(&key, table);
        model_row(&value, table);
        wide += value.size > 65535;
        if (key.size <= ROW_KEY_BYTES_MAX) {
            encode_exact(table, &key, &value, &row);
            check_columns(table, &row);
            assert_int_equal(
                row_validate(table->schema, row.key, row.key_bytes, row.value, row.value_bytes),
                SP_OK);
            free(row.key);
            free(row.value);
        }
        schema_free(table->schema);
    }
    assert_true(wide > 0);
    free(key.bytes);
    free(value.bytes);
    free(table);
}

/* The switch from two-byte to four-byte ends, at its very byte. */
static void ends_widen_at_65536_bytes(void **state)
{
    static char text[70000];
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_INT32, .key_position = 0},
        {.name = "a", .type = SP_TYPE_TEXT, .key_position = -1},
        {.name = "b", .type = SP_TYPE_TEXT, .key_position = -1},
        {.name = "c", .type = SP_TYPE_TEXT, .key_position = -1},
    };
    static const unsigned char one[FIXED_BYTES] = {1};
    static unsigned char out[sizeof(text) + 100];
    struct schema *schema;
    (void)state;
    assert_int_equal(schema_build(columns, 4, NULL, 0, &schema, NULL, 0), SP_OK);
    for (size_t size = 65500; size < 65560; size++) {
        struct sp_value key = sp_int(1), found;
        const struct sp_value values[] = {key, sp_text(text, 3), sp_text(text, size),
                                          sp_text(text, 2)};
        size_t bytes;
        const size_t narrow = 4 + 3 + size + 2;
        assert_int_equal(row_encode(schema, values, out, sizeof(out), &bytes, NULL), SP_OK);
        assert_int_equal(bytes, narrow <= 65535 ? narrow : narrow + 4);
        assert_int_equal(row_validate(schema, one, 4, out, bytes), SP_OK);
        assert_int_equal(row_column_get(schema, 2, one, 4, out, bytes, &found), SP_OK);
        assert_int_equal(found.bytes.size, size);
        assert_int_equal(row_column_get(schema, 3, one, 4, out, bytes, &found), SP_OK);
        assert_int_equal(found.bytes.size, 2);
    }
    schema_free(schema);
}

/* --- rows that are refused ----------------------------------------------------------------- */

static void values_that_do_not_fit_are_refused(void **state)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_INT64, .key_position = 0},
        {.name = "i", .type = SP_TYPE_INT32, .key_position = -1},
        {.name = "b", .type = SP_TYPE_BOOL, .key_position = -1},
        {.name = "u", .type = SP_TYPE_UUID, .key_position = -1},
        {.name = "t", .type = SP_TYPE_TEXT, .key_position = -1},
    };
    const struct sp_value good[] = {sp_null(SP_TYPE_TEXT),
                                    {.type = SP_TYPE_INT32, .i = 5},
                                    sp_bool(true),
                                    sp_bytes(SP_TYPE_UUID, "0123456789abcdef", 16),
                                    sp_text("x", 1)};
    const struct {
        struct sp_value value;
        unsigned column;
        int status;
    } cases[] = {
        {sp_null(SP_TYPE_INT32), 1, SP_ENULL},
        {sp_null(SP_TYPE_TEXT), 4, SP_ENULL},
        {sp_int(5), 1, SP_ETYPE},
        {{.type = SP_TYPE_INT32, .i = INT64_C(1) << 31}, 1, SP_ETYPE},
        {{.type = SP_TYPE_BOOL, .i = 2}, 2, SP_ETYPE},
        {sp_bytes(SP_TYPE_UUID, "0123456789abcdef", 15), 3, SP_ETYPE},
        {sp_bytes(SP_TYPE_BYTES, "x", 1), 4, SP_ETYPE},
        {sp_text("x", ROW_VALUE_BYTES_MAX), 4, SP_ETOOBIG},
        {sp_text("x", SIZE_MAX), 4, SP_ETOOBIG},
    };
    struct schema *schema;
    unsigned char out[64];
    size_t size;
    (void)state;
    assert_int_equal(schema_build(columns, 5, NULL, 0, &schema, NULL, 0), SP_OK);
    assert_int_equal(row_encode(schema, good, out, sizeof(out), &size, NULL), SP_OK);
    assert_int_equal(size, 22);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct sp_value values[5];
        unsigned bad = 99;
        memcpy(values, good, sizeof(good));
        values[cases[i].column] = cases[i].value;
        assert_int_equal(row_encode(schema, values, out, sizeof(out), &size, &bad),
                         cases[i].status);
        assert_int_equal(bad, cases[i].column);
    }
    struct sp_value largest[5];
    memcpy(largest, good, sizeof(good));
    largest[4] = sp_text("x", ROW_VALUE_BYTES_MAX - 21);
    assert_int_equal(row_encode(schema, largest, out, sizeof(out), &size, NULL), SP_ERANGE);
    assert_int_equal(size, ROW_VALUE_BYTES_MAX);
    schema_free(schema);
}

/* Reads everything of a row that may be damaged. What is found must lie inside of it. */
static void read_all(const struct schema *schema, const struct row *row)
{
    char json[64];
    for (unsigned i = 0; i < schema->column_count; i++) {
        struct sp_value found = sp_bytes(SP_TYPE_BYTES, NULL, 0);
        int status = row_column_get(schema, i, row->key, row->key_bytes, row->value,
                                    row->value_bytes, &found);
        assert_true(status == SP_OK || status == SP_ECORRUPT);
        if (status != SP_OK || found.is_null ||
            (!is_variable(found.type) && found.type != SP_TYPE_UUID) || found.bytes.size == 0)
            continue;
        const unsigned char *from = found.bytes.data;
        const struct row_column *column = &schema->columns[i];
        const unsigned char *base = column->key_position >= 0 ? row->key : row->value;
        const size_t size = column->key_position >= 0 ? row->key_bytes : row->value_bytes;
        assert_true(from >= base && found.bytes.size <= size - (size_t)(from - base));
    }
    row_json(schema, row->key, row->key_bytes, row->value, row->value_bytes, json, sizeof(json));
}

static bool has_nan(const struct sp_value *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (values[i].type == SP_TYPE_FLOAT32 && !values[i].is_null && isnan(values[i].f))
            return true;
    return false;
}

/* A row that passes row_validate is what row_encode writes. */
static void check_canonical(const struct schema *schema, const struct row *row)
{
    struct sp_value values[COLUMNS_MAX];
    if (row_validate(schema, row->key, row->key_bytes, row->value, row->value_bytes) != SP_OK)
        return;
    for (unsigned i = 0; i < schema->column_count; i++)
        assert_int_equal(row_column_get(schema, i, row->key, row->key_bytes, row->value,
                                        row->value_bytes, &values[i]),
                         SP_OK);
    if (has_nan(values, schema->column_count))
        return;
    unsigned char *again = malloc(row->value_bytes + 1);
    size_t size;
    assert_int_equal(row_encode(schema, values, again, row->value_bytes, &size, NULL), SP_OK);
    assert_int_equal(size, row->value_bytes);
    assert_memory_equal(again, row->value, size);
    free(again);
}

static void damage(unsigned char **bytes, size_t *size, size_t grow)
{
    const size_t before = *size;
    if (random_below(3) == 0)
        *size = random_below((unsigned)before + (unsigned)grow);
    unsigned char *copy = calloc(1, *size ? *size : 1);
    memcpy(copy, *bytes, before < *size ? before : *size);
    for (unsigned i = random_below(4); i > 0 && *size > 0; i--)
        copy[random_below(random_below(2) && *size > 16 ? 16 : (unsigned)*size)] =
            (unsigned char)(random_below(2) ? random_next() : 0xFF * random_below(2));
    *bytes = copy;
}

static void hostile_rows_lead_nowhere(void **state)
{
    struct table *table = calloc(1, sizeof(*table));
    struct model key = {.bytes = malloc(VALUE_CAP)};
    struct model value = {.bytes = malloc(VALUE_CAP)};
    (void)state;
    for (unsigned round = 0; round < 1500; round++) {
        random_schema(table);
        random_row(table);
        model_key(&key, table);
        model_row(&value, table);
        for (unsigned i = 0; i < 10; i++) {
            struct row row = {key.bytes, value.bytes, key.size, value.size};
            damage(&row.key, &row.key_bytes, 8);
            damage(&row.value, &row.value_bytes, 8);
            read_all(table->schema, &row);
            check_canonical(table->schema, &row);
            free(row.key);
            free(row.value);
        }
        schema_free(table->schema);
    }
    free(key.bytes);
    free(value.bytes);
    free(table);
}

static void validate_sees_each_fault(void **state)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_BOOL, .key_position = 0},
        {.name = "b", .type = SP_TYPE_BOOL, .key_position = -1, .nullable = true},
        {.name = "t", .type = SP_TYPE_TEXT, .key_position = -1, .nullable = true},
        {.name = "u", .type = SP_TYPE_TEXT, .key_position = -1},
    };
    const struct {
        const char *key, *value;
        size_t key_bytes, value_bytes;
        int status;
    } cases[] = {
        {"\1", "\0\1\2\0tuv", 1, 7, SP_OK},         {"\1", "\3\0\0\0v", 1, 5, SP_OK},
        {"\2", "\0\1\2\0tuv", 1, 7, SP_ECORRUPT}, /* a boolean of 2, in the key */
        {"\1", "\0\2\2\0tuv", 1, 7, SP_ECORRUPT}, /* in the value */
        {"\1\1", "\0\1\2\0tuv", 2, 7, SP_ECORRUPT}, {"", "\0\1\2\0tuv", 0, 7, SP_ECORRUPT},
        {"\1", "\4\1\2\0tuv", 1, 7, SP_ECORRUPT}, /* a null bit of no column */
        {"\1", "\1\1\2\0tuv", 1, 7, SP_ECORRUPT}, /* a NULL that is not zero */
        {"\1", "\2\1\2\0tuv", 1, 7, SP_ECORRUPT}, /* a NULL of two bytes */
        {"\1", "\0\1\4\0tuv", 1, 7, SP_ECORRUPT}, /* an end beyond the end */
        {"\1", "\0\1\2", 1, 3, SP_ECORRUPT},        {"\1", "\0", 1, 1, SP_ECORRUPT},
    };
    struct schema *schema;
    (void)state;
    assert_int_equal(schema_build(columns, 4, NULL, 0, &schema, NULL, 0), SP_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(row_validate(schema, cases[i].key, cases[i].key_bytes, cases[i].value,
                                      cases[i].value_bytes),
                         cases[i].status);
    schema_free(schema);
    assert_int_equal(schema_build(columns, 2, NULL, 0, &schema, NULL, 0), SP_OK);
    assert_int_equal(row_validate(schema, "\1", 1, "\0\1", 2), SP_OK);
    assert_int_equal(row_validate(schema, "\1", 1, "\0\1\0", 3), SP_ECORRUPT); /* left over */
    static const unsigned char key[FIXED_BYTES] = {1}, value[FIXED_BYTES] = {0, 1};
    struct sp_value found;
    assert_int_equal(row_column_get(schema, 2, key, 1, value, 2, &found), SP_ENOCOLUMN);
    schema_free(schema);
}

/* --- rows that change while they are read --------------------------------------------------- */

struct changing {
    _Atomic bool stop;
    unsigned char value[64];
};

static void *change(void *context)
{
    struct changing *changing = context;
    for (unsigned i = 0; !atomic_load_explicit(&changing->stop, memory_order_relaxed); i++)
        __atomic_store_n(&changing->value[i % 8], (unsigned char)(i * 37 >> 3), __ATOMIC_RELAXED);
    return NULL;
}

static void changing_rows_lead_nowhere(void **state)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_TEXT, .key_position = 0},
        {.name = "a", .type = SP_TYPE_TEXT, .key_position = -1, .nullable = true},
        {.name = "b", .type = SP_TYPE_TEXT, .key_position = -1},
        {.name = "c", .type = SP_TYPE_TEXT, .key_position = -1},
    };
    const char *sanitizer = getenv("SIDEPOND_SANITIZE");
    struct changing changing = {.stop = false};
    struct row row = {(unsigned char *)"k", changing.value, 1, sizeof(changing.value)};
    struct schema *schema;
    pthread_t thread;
    (void)state;
    if (sanitizer && strstr(sanitizer, "thread"))
        skip(); /* the race is what is tested */
    assert_int_equal(schema_build(columns, 4, NULL, 0, &schema, NULL, 0), SP_OK);
    assert_int_equal(pthread_create(&thread, NULL, change, &changing), 0);
    for (unsigned i = 0; i < 200000; i++)
        read_all(schema, &row);
    atomic_store(&changing.stop, true);
    pthread_join(thread, NULL);
    schema_free(schema);
}

/* --- keys ---------------------------------------------------------------------------------- */

/* Encodes one value as the key of a table whose key is one column of a type. */
static int key_of(enum sp_type type, struct sp_value value, unsigned char *out, size_t *size)
{
    const struct row_column column = {.name = "id", .type = type, .key_position = 0};
    struct schema *schema;
    assert_int_equal(schema_build(&column, 1, NULL, 0, &schema, NULL, 0), SP_OK);
    int status = row_key_encode(schema, schema->key_columns, 1, &value, 1, out, 64, size);
    schema_free(schema);
    return status;
}

static struct sp_value number(enum sp_type type, int64_t i)
{
    struct sp_value value = {.type = type, .i = i};
    return value;
}

static struct sp_value real(enum sp_type type, double f)
{
    struct sp_value value = {.type = type, .f = f};
    return value;
}

static struct sp_value text(const char *string)
{
    return sp_text(string, strlen(string));
}

#define UUID_TEXT  "00112233-4455-6677-8899-aabbccddeeff"
#define UUID_BYTES "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"

static void keys_convert_without_loss(void **state)
{
    const struct {
        enum sp_type type;
        struct sp_value value;
        const char *key;
        size_t bytes;
    } cases[] = {
        {SP_TYPE_INT64, number(SP_TYPE_INT32, -2), "\xfe\xff\xff\xff\xff\xff\xff\xff", 8},
        {SP_TYPE_INT64, sp_bool(true), "\1\0\0\0\0\0\0\0", 8},
        {SP_TYPE_INT64, text("-9223372036854775808"), "\0\0\0\0\0\0\0\x80", 8},
        {SP_TYPE_INT64, text("007"), "\7\0\0\0\0\0\0\0", 8},
        {SP_TYPE_INT32, sp_int(INT32_MIN), "\0\0\0\x80", 4},
        {SP_TYPE_INT32, text("+42"), "*\0\0\0", 4},
        {SP_TYPE_BOOL, sp_int(1), "\1", 1},
        {SP_TYPE_BOOL, text("FALSE"), "\0", 1},
        {SP_TYPE_FLOAT64, sp_int(1), "\0\0\0\0\0\0\xf0\x3f", 8},
        {SP_TYPE_FLOAT64, real(SP_TYPE_FLOAT32, 1), "\0\0\0\0\0\0\xf0\x3f", 8},
        {SP_TYPE_FLOAT64, sp_float(-0.0), "\0\0\0\0\0\0\0\0", 8},
        {SP_TYPE_FLOAT64, sp_float(-NAN), "\0\0\0\0\0\0\xf8\x7f", 8},
        {SP_TYPE_FLOAT64, sp_int(INT64_MIN), "\0\0\0\0\0\0\xe0\xc3", 8},
        {SP_TYPE_FLOAT32, sp_float(0.5), "\0\0\0\x3f", 4},
        {SP_TYPE_FLOAT32, real(SP_TYPE_FLOAT32, -0.0), "\0\0\0\0", 4},
        {SP_TYPE_FLOAT32, sp_float(NAN), "\0\0\xc0\x7f", 4},
        {SP_TYPE_FLOAT32, sp_float(-INFINITY), "\0\0\x80\xff", 4},
        {SP_TYPE_FLOAT64, text("1"), "\0\0\0\0\0\0\xf0\x3f", 8},
        {SP_TYPE_FLOAT64, text("1.0"), "\0\0\0\0\0\0\xf0\x3f", 8},
        {SP_TYPE_FLOAT64, text("10e-1"), "\0\0\0\0\0\0\xf0\x3f", 8},
        {SP_TYPE_FLOAT64, text("-0"), "\0\0\0\0\0\0\0\0", 8},
        {SP_TYPE_FLOAT32, text("1"), "\0\0\x80\x3f", 4},
        {SP_TYPE_FLOAT32, text("0.1"), "\xcd\xcc\xcc\x3d", 4},
        {SP_TYPE_FLOAT32, text("NaN"), "\0\0\xc0\x7f", 4},
        {SP_TYPE_NUMERIC, text("-12.50"), "-12.50", 6},
        {SP_TYPE_JSON, text("[1]"), "[1]", 3},
        {SP_TYPE_BYTES, text("abc"), "abc", 3},
        {SP_TYPE_TEXT, text(""), "", 0},
        {SP_TYPE_TEXT, sp_text(NULL, 0), "", 0},
        {SP_TYPE_UUID, text(UUID_TEXT), UUID_BYTES, 16},
        {SP_TYPE_UUID, sp_bytes(SP_TYPE_BYTES, UUID_BYTES, 16), UUID_BYTES, 16},
        {SP_TYPE_DATE, text("1970-01-02"), "\1\0\0\0", 4},
        {SP_TYPE_TIMESTAMP, text("1970-01-01T01:00:00.000002+01:00"), "\2\0\0\0\0\0\0\0", 8},
        {SP_TYPE_DATETIME, text("1970-01-01 00:00:00.000003"), "\3\0\0\0\0\0\0\0", 8},
    };
    unsigned char key[64];
    size_t bytes;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(key_of(cases[i].type, cases[i].value, key, &bytes), SP_OK);
        assert_int_equal(bytes, cases[i].bytes);
        assert_memory_equal(key, cases[i].key, bytes);
    }
}

/* What JSON and the tool print of a float names the float. */
static void keys_of_floats_can_be_named_by_their_text(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        char words[64];
        unsigned char key[16], again[16];
        size_t bytes, again_bytes;
        bool narrow = i % 2;
        double f = random_float();
        struct sp_value value = narrow ? real(SP_TYPE_FLOAT32, (float)f) : sp_float(f);
        row_value_text(&value, words, sizeof(words));
        assert_int_equal(key_of(value.type, value, key, &bytes), SP_OK);
        assert_int_equal(key_of(value.type, text(words), again, &again_bytes), SP_OK);
        assert_int_equal(bytes, again_bytes);
        assert_memory_equal(key, again, bytes);
    }
}

static void keys_refuse_what_would_lose(void **state)
{
    const struct {
        struct sp_value value;
        enum sp_type type;
        int status;
    } cases[] = {
        {sp_null(SP_TYPE_INT64), SP_TYPE_INT64, SP_ENULL},
        {sp_null(SP_TYPE_TEXT), SP_TYPE_TEXT, SP_ENULL},
        {sp_int(INT64_C(1) << 31), SP_TYPE_INT32, SP_ETYPE},
        {text("2147483648"), SP_TYPE_INT32, SP_ETYPE},
        {text("9223372036854775808"), SP_TYPE_INT64, SP_ETYPE},
        {text("1.0"), SP_TYPE_INT64, SP_ETYPE},
        {text(""), SP_TYPE_INT64, SP_ETYPE},
        {text(" 1"), SP_TYPE_INT64, SP_ETYPE},
        {sp_float(1), SP_TYPE_INT64, SP_ETYPE},
        {number(SP_TYPE_TIMESTAMP, 1), SP_TYPE_INT64, SP_ETYPE},
        {sp_int(2), SP_TYPE_BOOL, SP_ETYPE},
        {text("maybe"), SP_TYPE_BOOL, SP_ETYPE},
        {sp_int((INT64_C(1) << 53) + 1), SP_TYPE_FLOAT64, SP_ETYPE},
        {sp_int(INT64_MAX), SP_TYPE_FLOAT64, SP_ETYPE},
        {text("0x1p3"), SP_TYPE_FLOAT64, SP_ETYPE},
        {text("1e400"), SP_TYPE_FLOAT64, SP_ETYPE},
        {text("1e39"), SP_TYPE_FLOAT32, SP_ETYPE},
        {text(" 1"), SP_TYPE_FLOAT64, SP_ETYPE},
        {text("1,5"), SP_TYPE_FLOAT64, SP_ETYPE},
        {text(""), SP_TYPE_FLOAT32, SP_ETYPE},
        {sp_float(0.1), SP_TYPE_FLOAT32, SP_ETYPE},
        {sp_float(1e300), SP_TYPE_FLOAT32, SP_ETYPE},
        {sp_int((1 << 24) + 1), SP_TYPE_FLOAT32, SP_ETYPE},
        {sp_int(1), SP_TYPE_NUMERIC, SP_ETYPE},
        {text("twelve"), SP_TYPE_NUMERIC, SP_ETYPE},
        {text("{"), SP_TYPE_JSON, SP_ETYPE},
        {sp_int(1), SP_TYPE_TEXT, SP_ETYPE},
        {sp_bytes(SP_TYPE_BYTES, "x", 1), SP_TYPE_TEXT, SP_ETYPE},
        {sp_bytes(SP_TYPE_BYTES, UUID_BYTES, 15), SP_TYPE_UUID, SP_ETYPE},
        {text("00112233-4455-6677-8899-aabbccddeefg"), SP_TYPE_UUID, SP_ETYPE},
        {text("1970-01-01T00:00:00"), SP_TYPE_DATE, SP_ETYPE},
        {number(SP_TYPE_DATE, INT64_MAX), SP_TYPE_DATE, SP_ETYPE},
        {sp_int(5), SP_TYPE_TIMESTAMP, SP_ETYPE},
        {text("1970-01-01T00:00:00Z"), SP_TYPE_DATETIME, SP_ETYPE},
    };
    unsigned char key[64];
    size_t bytes;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(key_of(cases[i].type, cases[i].value, key, &bytes), cases[i].status);
}

static void keys_have_a_limit(void **state)
{
    static char bytes[ROW_KEY_BYTES_MAX + 1];
    static unsigned char out[sizeof(bytes)];
    const struct row_column columns[] = {{.name = "a", .type = SP_TYPE_TEXT, .key_position = 0},
                                         {.name = "b", .type = SP_TYPE_TEXT, .key_position = 1}};
    struct sp_value values[2] = {sp_text(bytes, ROW_KEY_BYTES_MAX), sp_text(bytes, 0)};
    struct schema *one, *two;
    size_t size;
    (void)state;
    assert_int_equal(schema_build(columns, 1, NULL, 0, &one, NULL, 0), SP_OK);
    assert_int_equal(schema_build(columns, 2, NULL, 0, &two, NULL, 0), SP_OK);
    assert_int_equal(row_key_encode(one, one->key_columns, 1, values, 1, out, sizeof(out), &size),
                     SP_OK);
    assert_int_equal(row_key_encode(one, one->key_columns, 1, values, 2, out, sizeof(out), &size),
                     SP_EINVAL);
    values[0].bytes.size++;
    assert_int_equal(row_key_encode(one, one->key_columns, 1, values, 1, out, sizeof(out), &size),
                     SP_ETOOBIG);
    values[0].bytes.size = ROW_KEY_BYTES_MAX - 8;
    assert_int_equal(row_key_encode(two, two->key_columns, 2, values, 2, out, sizeof(out), &size),
                     SP_OK);
    assert_int_equal(size, ROW_KEY_BYTES_MAX);
    values[1].bytes.size = 1;
    assert_int_equal(row_key_encode(two, two->key_columns, 2, values, 2, out, sizeof(out), &size),
                     SP_ETOOBIG);
    schema_free(one);
    schema_free(two);
}

/* A secondary index names columns of its own; its keys are encoded like the table's. */
static void index_keys_take_any_columns(void **state)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_INT64, .key_position = 0},
        {.name = "city", .type = SP_TYPE_TEXT, .key_position = -1, .nullable = true},
        {.name = "age", .type = SP_TYPE_INT32, .key_position = -1},
    };
    const struct row_index index = {.name = "i", .column_count = 2, .columns = {2, 1}};
    const struct sp_value values[] = {sp_int(7), text("Rome")};
    struct sp_value found[2];
    struct schema *schema;
    unsigned char key[32];
    size_t size;
    (void)state;
    assert_int_equal(schema_build(columns, 3, &index, 1, &schema, NULL, 0), SP_OK);
    assert_int_equal(
        row_key_encode(schema, schema->indexes[0].columns, 2, values, 2, key, sizeof(key), &size),
        SP_OK);
    assert_int_equal(size, 12);
    assert_memory_equal(key, "\7\0\0\0\4\0\0\0Rome", 12);
    assert_int_equal(row_key_decode(schema, schema->indexes[0].columns, 2, key, size, found),
                     SP_OK);
    assert_int_equal(found[0].i, 7);
    assert_memory_equal(found[1].bytes.data, "Rome", 4);
    assert_int_equal(row_key_decode(schema, schema->indexes[0].columns, 2, key, size - 1, found),
                     SP_ECORRUPT);
    assert_int_equal(row_key_decode(schema, schema->indexes[0].columns, 2, key, size + 1, found),
                     SP_ECORRUPT);
    schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rows_equal_the_model),
        cmocka_unit_test(ends_widen_at_65536_bytes),
        cmocka_unit_test(values_that_do_not_fit_are_refused),
        cmocka_unit_test(hostile_rows_lead_nowhere),
        cmocka_unit_test(validate_sees_each_fault),
        cmocka_unit_test(changing_rows_lead_nowhere),
        cmocka_unit_test(keys_convert_without_loss),
        cmocka_unit_test(keys_of_floats_can_be_named_by_their_text),
        cmocka_unit_test(keys_refuse_what_would_lose),
        cmocka_unit_test(keys_have_a_limit),
        cmocka_unit_test(index_keys_take_any_columns),
    };
    return cmocka_run_group_tests(tests, random_setup, NULL);
}
