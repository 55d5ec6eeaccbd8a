/* SPDX-License-Identifier: Apache-2.0
 *
 * test_schema.c - schemas (alloc/schema.c) and the type list (alloc/value.c).
 *
 * Goal: a description that breaks a rule is refused with a sentence; a schema and its flat block
 * say the same; the block is the same for equal schemas; a block that is damaged, cut off or
 * hostile is refused.
 * Method: one broken rule at a time; every bit of a block flipped; every field of a block set to
 * wrong values with the checksum made right again, so that the checks behind it are reached.
 * Parsed blocks lie in memory of exactly their size, where sanitizers see a read past the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "alloc/row.h"

/* A table with every kind of column and two indexes. */
static const struct row_column example_columns[] = {
    {.name = "tenant", .type = SP_TYPE_TEXT, .key_position = 1},
    {.name = "id", .type = SP_TYPE_INT64, .key_position = 0},
    {.name = "name", .type = SP_TYPE_TEXT, .key_position = -1, .nullable = true},
    {.name = "price", .type = SP_TYPE_NUMERIC, .key_position = -1},
    {.name = "born", .type = SP_TYPE_DATE, .key_position = -1, .nullable = true},
    {.name = "seen", .type = SP_TYPE_TIMESTAMP, .key_position = -1},
};
#define EXAMPLE_COLUMNS 6
static const struct row_index example_indexes[] = {
    {.name = "by_name", .column_count = 1, .columns = {2}},
    {.name = "by_day", .unique = true, .column_count = 2, .columns = {4, 5}},
};
#define EXAMPLE_INDEXES 2

static struct schema *example(void)
{
    struct schema *schema = NULL;
    assert_int_equal(schema_build(example_columns, EXAMPLE_COLUMNS, example_indexes,
                                  EXAMPLE_INDEXES, &schema, NULL, 0),
                     SP_OK);
    return schema;
}

static void types_have_names_and_widths(void **state)
{
    (void)state;
    assert_string_equal(sp_type_name(SP_TYPE_INT64), "int64");
    assert_string_equal(sp_type_name(SP_TYPE_JSON), "json");
    assert_string_equal(sp_type_name((enum sp_type)0), "unknown");
    assert_string_equal(sp_type_name((enum sp_type)16), "unknown");
    assert_int_equal(sp_type_width(SP_TYPE_BOOL), 1);
    assert_int_equal(sp_type_width(SP_TYPE_DATE), 4);
    assert_int_equal(sp_type_width(SP_TYPE_UUID), 16);
    assert_int_equal(sp_type_width(SP_TYPE_TEXT), 0);
    assert_int_equal(sp_type_width((enum sp_type)99), 0);
}

static void columns_are_placed_in_order(void **state)
{
    struct schema *schema = example();
    (void)state;
    assert_int_equal(schema->key_count, 2);
    assert_int_equal(schema->key_columns[0], 1);
    assert_int_equal(schema->key_columns[1], 0);
    assert_int_equal(schema->var_count, 2);
    assert_int_equal(schema->fixed_bytes, 1 + 4 + 8);
    assert_int_equal(schema->columns[0].null_bit, -1);
    assert_int_equal(schema->columns[2].null_bit, 0);
    assert_int_equal(schema->columns[4].null_bit, 1);
    assert_int_equal(schema->columns[4].fixed_off, 1);
    assert_int_equal(schema->columns[5].fixed_off, 5);
    assert_int_equal(schema->columns[5].width, 8);
    assert_int_equal(schema->columns[2].var_index, 0);
    assert_int_equal(schema->columns[3].var_index, 1);
    assert_int_equal(schema->columns[5].var_index, -1);
    assert_int_equal(schema_column(schema, "price"), 3);
    assert_int_equal(schema_column(schema, "pric"), -1);
    assert_int_equal(schema_index(schema, "by_day"), 1);
    assert_int_equal(schema_index(schema, "by_"), -1);
    schema_free(schema);
    schema_free(NULL);
}

static void key_columns_are_not_nullable(void **state)
{
    struct row_column column = {.name = "id", .type = SP_TYPE_TEXT, .nullable = true};
    struct schema *schema;
    (void)state;
    assert_int_equal(schema_build(&column, 1, NULL, 0, &schema, NULL, 0), SP_OK);
    assert_false(schema->columns[0].nullable);
    assert_int_equal(schema->fixed_bytes, 0);
    schema_free(schema);
}

/* --- descriptions that are refused --------------------------------------------------------- */

static void refused(const struct row_column *columns, unsigned column_count,
                    const struct row_index *indexes, unsigned index_count, const char *part)
{
    struct schema *schema = NULL;
    char why[200] = "";
    assert_int_equal(
        schema_build(columns, column_count, indexes, index_count, &schema, why, sizeof(why)),
        SP_EINVAL);
    assert_null(schema);
    if (!strstr(why, part))
        fail_msg("\"%s\" does not say \"%s\"", why, part);
}

static void broken_columns_are_refused(void **state)
{
    static char long_name[ROW_NAME_BYTES_MAX + 2];
    struct row_column columns[EXAMPLE_COLUMNS];
    const struct {
        unsigned column;
        struct row_column value;
        const char *part;
    } cases[] = {
        {2, {.name = NULL, .type = SP_TYPE_TEXT, .key_position = -1}, "column 2 has no name"},
        {2, {.name = "", .type = SP_TYPE_TEXT, .key_position = -1}, "column 2 has no name"},
        {2, {.name = long_name, .type = SP_TYPE_TEXT, .key_position = -1}, "longer than 255"},
        {2, {.name = "id", .type = SP_TYPE_TEXT, .key_position = -1}, "two of column \"id\""},
        {2, {.name = "x", .type = (enum sp_type)0, .key_position = -1}, "no known type"},
        {2, {.name = "x", .type = (enum sp_type)16, .key_position = -1}, "no known type"},
        {2, {.name = "x", .type = SP_TYPE_TEXT, .key_position = 1}, "position 1"},
        {2, {.name = "x", .type = SP_TYPE_TEXT, .key_position = 3}, "no column has position 2"},
        {2, {.name = "x", .type = SP_TYPE_TEXT, .key_position = 16}, "at most 16"},
    };
    (void)state;
    memset(long_name, 'n', sizeof(long_name) - 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        memcpy(columns, example_columns, sizeof(columns));
        columns[cases[i].column] = cases[i].value;
        refused(columns, EXAMPLE_COLUMNS, NULL, 0, cases[i].part);
    }
    refused(example_columns, 0, NULL, 0, "0 columns");
    refused(example_columns + 2, 2, NULL, 0, "no column is the key");
}

static void broken_indexes_are_refused(void **state)
{
    const struct {
        struct row_index index;
        const char *part;
    } cases[] = {
        {{.name = NULL, .column_count = 1}, "index 1 has no name"},
        {{.name = "by_name", .column_count = 1}, "two of index"},
        {{.name = "x", .column_count = 0}, "0 columns"},
        {{.name = "x", .column_count = 17}, "17 columns"},
        {{.name = "x", .column_count = 1, .columns = {EXAMPLE_COLUMNS}}, "no column 6"},
        {{.name = "x", .column_count = 2, .columns = {1, 1}}, "column 1 twice"},
    };
    struct row_index indexes[ROW_INDEXES_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        indexes[0] = example_indexes[0];
        indexes[1] = cases[i].index;
        refused(example_columns, EXAMPLE_COLUMNS, indexes, 2, cases[i].part);
    }
    refused(example_columns, EXAMPLE_COLUMNS, indexes, ROW_INDEXES_MAX + 1, "at most 15");
}

/* The largest schema there is goes through its block. */
static void limits_are_reached(void **state)
{
    static char names[ROW_COLUMNS_MAX + 1][ROW_NAME_BYTES_MAX + 1];
    static struct row_column columns[ROW_COLUMNS_MAX + 1];
    struct row_index indexes[ROW_INDEXES_MAX];
    struct schema *schema, *parsed;
    (void)state;
    for (unsigned i = 0; i <= ROW_COLUMNS_MAX; i++) {
        memset(names[i], 'a', ROW_NAME_BYTES_MAX);
        names[i][i % 4] = (char)('b' + i / 4 % 8);
        names[i][4 + i / 32] = 'Z';
        columns[i] = (struct row_column){.name = names[i], .type = SP_TYPE_UUID, .nullable = true};
        columns[i].key_position = i < ROW_KEY_COLUMNS_MAX ? (int)i : -1;
    }
    for (unsigned i = 0; i < ROW_INDEXES_MAX; i++) {
        indexes[i] = (struct row_index){.name = names[i], .column_count = ROW_KEY_COLUMNS_MAX};
        for (unsigned j = 0; j < ROW_KEY_COLUMNS_MAX; j++)
            indexes[i].columns[j] = (uint16_t)(ROW_COLUMNS_MAX - 1 - j - i);
    }
    refused(columns, ROW_COLUMNS_MAX + 1, NULL, 0, "1025 columns");
    assert_int_equal(
        schema_build(columns, ROW_COLUMNS_MAX, indexes, ROW_INDEXES_MAX, &schema, NULL, 0), SP_OK);
    const size_t bytes = schema_encoded_bytes(schema);
    void *block = malloc(bytes);
    schema_encode(schema, block);
    assert_int_equal(schema_parse(block, bytes, &parsed), SP_OK);
    assert_int_equal(parsed->fixed_bytes, 126 + 16 * (ROW_COLUMNS_MAX - ROW_KEY_COLUMNS_MAX));
    schema_free(parsed);
    schema_free(schema);
    free(block);
}

/* --- the flat block ------------------------------------------------------------------------ */

static void assert_same(const struct schema *a, const struct schema *b)
{
    assert_int_equal(a->column_count, b->column_count);
    assert_int_equal(a->index_count, b->index_count);
    assert_int_equal(a->fixed_bytes, b->fixed_bytes);
    assert_int_equal(a->var_count, b->var_count);
    assert_memory_equal(a->key_columns, b->key_columns, sizeof(a->key_columns));
    for (unsigned i = 0; i < a->column_count; i++) {
        assert_string_equal(a->columns[i].name, b->columns[i].name);
        assert_int_equal(a->columns[i].type, b->columns[i].type);
        assert_int_equal(a->columns[i].nullable, b->columns[i].nullable);
        assert_int_equal(a->columns[i].key_position, b->columns[i].key_position);
    }
    for (unsigned i = 0; i < a->index_count; i++) {
        assert_string_equal(a->indexes[i].name, b->indexes[i].name);
        assert_int_equal(a->indexes[i].unique, b->indexes[i].unique);
        assert_int_equal(a->indexes[i].column_count, b->indexes[i].column_count);
        assert_memory_equal(a->indexes[i].columns, b->indexes[i].columns,
                            sizeof(a->indexes[i].columns));
    }
}

static unsigned char *encoded(size_t *bytes)
{
    struct schema *schema = example();
    *bytes = schema_encoded_bytes(schema);
    unsigned char *block = malloc(*bytes);
    memset(block, 0xAA, *bytes);
    schema_encode(schema, block);
    schema_free(schema);
    return block;
}

static void block_round_trips_and_is_deterministic(void **state)
{
    struct schema *schema = example();
    struct schema *parsed;
    size_t bytes, again_bytes;
    unsigned char *block = encoded(&bytes);
    unsigned char *again = encoded(&again_bytes);
    (void)state;
    assert_int_equal(bytes, again_bytes);
    assert_memory_equal(block, again, bytes);
    assert_int_equal(schema_parse(block, bytes, &parsed), SP_OK);
    memset(block, 0, bytes); /* not needed any more */
    assert_same(schema, parsed);
    schema_encode(parsed, block);
    assert_memory_equal(block, again, bytes);
    schema_free(parsed);
    schema_free(schema);
    free(block);
    free(again);
}

/* Rubbish in the unused part of a description must not reach the block. */
static void block_has_no_rubbish(void **state)
{
    struct row_index indexes[EXAMPLE_INDEXES];
    struct schema *schema;
    size_t bytes;
    unsigned char *block = encoded(&bytes);
    (void)state;
    memcpy(indexes, example_indexes, sizeof(indexes));
    indexes[0].columns[7] = 0xBEEF;
    struct row_column columns[EXAMPLE_COLUMNS];
    memcpy(columns, example_columns, sizeof(columns));
    columns[2].key_position = -7;
    columns[2].fixed_off = 12345;
    assert_int_equal(
        schema_build(columns, EXAMPLE_COLUMNS, indexes, EXAMPLE_INDEXES, &schema, NULL, 0), SP_OK);
    assert_int_equal(schema_encoded_bytes(schema), bytes);
    unsigned char *other = malloc(bytes);
    schema_encode(schema, other);
    assert_memory_equal(block, other, bytes);
    schema_free(schema);
    free(other);
    free(block);
}

static void assert_corrupt(const unsigned char *block, size_t bytes)
{
    struct schema *schema = NULL;
    unsigned char *exact = malloc(bytes ? bytes : 1);
    memcpy(exact, block, bytes);
    int status = schema_parse(exact, bytes, &schema);
    free(exact);
    assert_int_equal(status, SP_ECORRUPT);
    assert_null(schema);
}

static void damaged_blocks_are_refused(void **state)
{
    size_t bytes;
    unsigned char *block = encoded(&bytes);
    unsigned char *longer = calloc(1, bytes + 1);
    (void)state;
    for (size_t bit = 0; bit < bytes * 8; bit++) {
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_corrupt(block, bytes);
        block[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < bytes; cut++)
        assert_corrupt(block, cut);
    memcpy(longer, block, bytes);
    assert_corrupt(longer, bytes + 1);
    free(longer);
    free(block);
}

static void seal(unsigned char *block, size_t bytes)
{
    const uint64_t checksum = XXH3_64bits(block + 8, bytes - 8);
    memcpy(block, &checksum, sizeof(checksum));
}

#define HEAD      sizeof(struct schema_head)
#define COLUMN(i) (HEAD + (i) * sizeof(struct schema_column))
#define INDEX(i)  (COLUMN(EXAMPLE_COLUMNS) + (i) * sizeof(struct schema_index))
#define NAMES     INDEX(EXAMPLE_INDEXES)

/* Each field of the block, with a right checksum over a wrong value. */
static void hostile_fields_are_refused(void **state)
{
    static const struct {
        size_t off;
        unsigned char value;
    } cases[] = {
        {offsetof(struct schema_head, block_bytes), 0},
        {offsetof(struct schema_head, block_bytes) + 3, 1},
        {offsetof(struct schema_head, column_count), 0},
        {offsetof(struct schema_head, column_count), EXAMPLE_COLUMNS - 1},
        {offsetof(struct schema_head, column_count), EXAMPLE_COLUMNS + 1},
        {offsetof(struct schema_head, column_count) + 1, 4},
        {offsetof(struct schema_head, column_count) + 1, 255},
        {offsetof(struct schema_head, key_count), 0},
        {offsetof(struct schema_head, key_count), 1},
        {offsetof(struct schema_head, key_count), 3},
        {offsetof(struct schema_head, index_count), EXAMPLE_INDEXES - 1},
        {offsetof(struct schema_head, index_count), EXAMPLE_INDEXES + 1},
        {offsetof(struct schema_head, index_count), 255},
        {COLUMN(2) + offsetof(struct schema_column, type), 0},
        {COLUMN(2) + offsetof(struct schema_column, type), 16},
        {COLUMN(2) + offsetof(struct schema_column, flags), 2},
        {COLUMN(0) + offsetof(struct schema_column, flags), SCHEMA_COLUMN_NULLABLE},
        {COLUMN(2) + offsetof(struct schema_column, key_position), 1},
        {COLUMN(2) + offsetof(struct schema_column, key_position), 16},
        {COLUMN(0) + offsetof(struct schema_column, key_position), SCHEMA_NO_KEY},
        {COLUMN(0) + offsetof(struct schema_column, key_position), 0},
        {COLUMN(2) + offsetof(struct schema_column, name_bytes), 0},
        {COLUMN(2) + offsetof(struct schema_column, name_bytes), 3},
        {COLUMN(2) + offsetof(struct schema_column, name_bytes), 5},
        {COLUMN(2) + offsetof(struct schema_column, name_bytes), 255},
        {INDEX(0) + offsetof(struct schema_index, name_bytes), 0},
        {INDEX(0) + offsetof(struct schema_index, name_bytes), 255},
        {INDEX(0) + offsetof(struct schema_index, flags), 2},
        {INDEX(0) + offsetof(struct schema_index, column_count), 0},
        {INDEX(1) + offsetof(struct schema_index, column_count), 1},
        {INDEX(0) + offsetof(struct schema_index, column_count), 3},
        {INDEX(0) + offsetof(struct schema_index, column_count), 17},
        {INDEX(0) + offsetof(struct schema_index, column_count), 255},
        {INDEX(0) + offsetof(struct schema_index, zero), 1},
        {INDEX(0) + offsetof(struct schema_index, columns), EXAMPLE_COLUMNS},
        {INDEX(0) + offsetof(struct schema_index, columns) + 1, 255},
        {INDEX(1) + offsetof(struct schema_index, columns), 5},
        {INDEX(0) + offsetof(struct schema_index, columns) + 2, 1},
        {NAMES, 0},
        {NAMES + 6, 'x'},
    };
    size_t bytes;
    unsigned char *block = encoded(&bytes);
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const unsigned char before = block[cases[i].off];
        assert_int_not_equal(before, cases[i].value);
        block[cases[i].off] = cases[i].value;
        seal(block, bytes);
        assert_corrupt(block, bytes);
        block[cases[i].off] = before;
    }
    block[bytes - 1] = 'x'; /* the last name does not end */
    seal(block, bytes);
    assert_corrupt(block, bytes);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_widths),
        cmocka_unit_test(columns_are_placed_in_order),
        cmocka_unit_test(key_columns_are_not_nullable),
        cmocka_unit_test(broken_columns_are_refused),
        cmocka_unit_test(broken_indexes_are_refused),
        cmocka_unit_test(limits_are_reached),
        cmocka_unit_test(block_round_trips_and_is_deterministic),
        cmocka_unit_test(block_has_no_rubbish),
        cmocka_unit_test(damaged_blocks_are_refused),
        cmocka_unit_test(hostile_fields_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
