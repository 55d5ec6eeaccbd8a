/* SPDX-License-Identifier: Apache-2.0
 *
 * schema.c - schemas: made of descriptions, written to and read from their flat block.
 *
 * A schema is one piece of private memory: the struct, its columns, its indexes, all names. Both
 * ways to get one end in schema_build: schema_parse turns a block into descriptions and has them
 * checked by the same code, so a hostile block can describe nothing that a table could not be.
 *
 * Costs: O(n log n) in the columns, two allocations to parse and one to build. Looking a column up
 * by name is a scan; who reads a column often keeps its position.
 * Limits: row.h. A block is at most about 270 KiB.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "alloc/row.h"

#define SCHEMA_BLOCK_BYTES_MAX                                                                     \
    (sizeof(struct schema_head) + ROW_COLUMNS_MAX * sizeof(struct schema_column) +                 \
     ROW_INDEXES_MAX * sizeof(struct schema_index) +                                               \
     (ROW_COLUMNS_MAX + ROW_INDEXES_MAX) * (size_t)(ROW_NAME_BYTES_MAX + 1))

/* --- building ------------------------------------------------------------------------------ */

struct reason {
    char *text;
    size_t bytes;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct reason *why,
                                                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (why->text && why->bytes)
        vsnprintf(why->text, why->bytes, format, arguments);
    va_end(arguments);
    return SP_EINVAL;
}

static bool type_is_known(enum sp_type type)
{
    switch (type) {
#define SCHEMA_TYPE_CASE(NAME, number, name, width) case SP_TYPE_##NAME:
        SP_TYPE_LIST(SCHEMA_TYPE_CASE)
#undef SCHEMA_TYPE_CASE
        return true;
    default:
        return false;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const char **names, unsigned count, const char *what,
                       const struct reason *why)
{
    for (unsigned i = 0; i < count; i++) {
        if (!names[i] || !*names[i])
            return refuse(why, "%s %u has no name", what, i);
        if (strlen(names[i]) > ROW_NAME_BYTES_MAX)
            return refuse(why, "name of %s %u is longer than %u bytes", what, i,
                          ROW_NAME_BYTES_MAX);
    }
    qsort(names, count, sizeof(*names), compare_names);
    for (unsigned i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return refuse(why, "there are two of %s \"%s\"", what, names[i]);
    return SP_OK;
}

static int check_columns(const struct row_column *columns, unsigned column_count,
                         const struct reason *why)
{
    const char *names[ROW_COLUMNS_MAX];
    if (column_count == 0 || column_count > ROW_COLUMNS_MAX)
        return refuse(why, "%u columns: a table has 1 to %u", column_count, ROW_COLUMNS_MAX);
    for (unsigned i = 0; i < column_count; i++) {
        names[i] = columns[i].name;
        if (!type_is_known(columns[i].type))
            return refuse(why, "column %u has no known type (%d)", i, (int)columns[i].type);
    }
    return check_names(names, column_count, "column", why);
}

/* The key positions must be 0, 1, 2 ... each once. */
static int check_key(const struct row_column *columns, unsigned column_count,
                     const struct reason *why)
{
    unsigned key_count = 0;
    bool taken[ROW_KEY_COLUMNS_MAX] = {false};
    for (unsigned i = 0; i < column_count; i++) {
        int position = columns[i].key_position;
        if (position < 0)
            continue;
        if (position >= (int)ROW_KEY_COLUMNS_MAX)
            return refuse(why, "a key has at most %u columns", ROW_KEY_COLUMNS_MAX);
        if (taken[position])
            return refuse(why, "two columns have position %d of the key", position);
        taken[position] = true;
        key_count++;
    }
    if (key_count == 0)
        return refuse(why, "no column is the key");
    for (unsigned i = 0; i < key_count; i++)
        if (!taken[i])
            return refuse(why, "no column has position %u of the key", i);
    return SP_OK;
}

static int check_index(const struct row_index *index, unsigned column_count,
                       const struct reason *why)
{
    if (index->column_count == 0 || index->column_count > ROW_KEY_COLUMNS_MAX)
        return refuse(why, "index \"%s\": %u columns, an index has 1 to %u", index->name,
                      index->column_count, ROW_KEY_COLUMNS_MAX);
    for (unsigned i = 0; i < index->column_count; i++) {
        if (index->columns[i] >= column_count)
            return refuse(why, "index \"%s\": there is no column %u", index->name,
                          index->columns[i]);
        for (unsigned j = 0; j < i; j++)
            if (index->columns[i] == index->columns[j])
                return refuse(why, "index \"%s\": column %u twice", index->name, index->columns[i]);
    }
    return SP_OK;
}

static int check_indexes(const struct row_index *indexes, unsigned index_count,
                         unsigned column_count, const struct reason *why)
{
    const char *names[ROW_INDEXES_MAX];
    if (index_count > ROW_INDEXES_MAX)
        return refuse(why, "%u indexes: a table has at most %u", index_count, ROW_INDEXES_MAX);
    for (unsigned i = 0; i < index_count; i++)
        names[i] = indexes[i].name;
    int status = check_names(names, index_count, "index", why);
    for (unsigned i = 0; status == SP_OK && i < index_count; i++)
        status = check_index(&indexes[i], column_count, why);
    return status;
}

/* Decides where each column lies. */
static void place_columns(struct schema *schema)
{
    int null_count = 0;
    schema->document = -1;
    for (unsigned i = 0; i < schema->column_count; i++) {
        struct row_column *column = &schema->columns[i];
        if (column->type == SP_TYPE_BSON)
            schema->document = (int)i;
        column->width = (uint8_t)sp_type_width(column->type);
        column->null_bit = -1;
        column->fixed_off = 0;
        column->var_index = -1;
        if (column->key_position >= 0) {
            column->nullable = false;
            schema->key_columns[column->key_position] = (uint16_t)i;
            schema->key_count++;
        } else {
            column->key_position = -1;
            column->null_bit = column->nullable ? null_count++ : -1;
        }
    }
    schema->fixed_bytes = (uint32_t)(null_count + 7) / 8;
    for (unsigned i = 0; i < schema->column_count; i++) {
        struct row_column *column = &schema->columns[i];
        if (column->key_position >= 0)
            continue;
        column->fixed_off = schema->fixed_bytes;
        schema->fixed_bytes += column->width;
        if (column->width == 0)
            column->var_index = (int)schema->var_count++;
    }
}

static const char *copy_name(char **names, const char *name)
{
    size_t bytes = strlen(name) + 1;
    char *copy = memcpy(*names, name, bytes);
    *names += bytes;
    return copy;
}

static size_t names_bytes(const struct row_column *columns, unsigned column_count,
                          const struct row_index *indexes, unsigned index_count)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < column_count; i++)
        bytes += strlen(columns[i].name) + 1;
    for (unsigned i = 0; i < index_count; i++)
        bytes += strlen(indexes[i].name) + 1;
    return bytes;
}

/* Copies checked descriptions into one piece of memory. */
static struct schema *copy_descriptions(const struct row_column *columns, unsigned column_count,
                                        const struct row_index *indexes, unsigned index_count)
{
    size_t columns_bytes = column_count * sizeof(*columns);
    size_t indexes_bytes = index_count * sizeof(*indexes);
    struct schema *schema = calloc(1, sizeof(*schema) + columns_bytes + indexes_bytes +
                                          names_bytes(columns, column_count, indexes, index_count));
    if (!schema)
        return NULL;
    schema->column_count = column_count;
    schema->index_count = index_count;
    schema->columns = (struct row_column *)(schema + 1);
    schema->indexes = (struct row_index *)(schema->columns + column_count);
    char *names = (char *)(schema->indexes + index_count);
    memcpy(schema->columns, columns, columns_bytes);
    if (index_count)
        memcpy(schema->indexes, indexes, indexes_bytes);
    for (unsigned i = 0; i < column_count; i++)
        schema->columns[i].name = copy_name(&names, columns[i].name);
    for (unsigned i = 0; i < index_count; i++)
        schema->indexes[i].name = copy_name(&names, indexes[i].name);
    return schema;
}

int schema_build(const struct row_column *columns, unsigned column_count,
                 const struct row_index *indexes, unsigned index_count, struct schema **out,
                 char *why, size_t why_bytes)
{
    const struct reason reason = {why, why_bytes};
    int status = check_columns(columns, column_count, &reason);
    if (status == SP_OK)
        status = check_key(columns, column_count, &reason);
    if (status == SP_OK)
        status = check_indexes(indexes, index_count, column_count, &reason);
    if (status != SP_OK)
        return status;
    struct schema *schema = copy_descriptions(columns, column_count, indexes, index_count);
    if (!schema)
        return SP_ENOMEM;
    place_columns(schema);
    *out = schema;
    return SP_OK;
}

void schema_free(struct schema *schema)
{
    free(schema);
}

/* --- the flat block ------------------------------------------------------------------------ */

static size_t names_off(unsigned column_count, unsigned index_count)
{
    return sizeof(struct schema_head) + column_count * sizeof(struct schema_column) +
           index_count * sizeof(struct schema_index);
}

size_t schema_encoded_bytes(const struct schema *schema)
{
    return names_off(schema->column_count, schema->index_count) +
           names_bytes(schema->columns, schema->column_count, schema->indexes, schema->index_count);
}

static uint64_t block_checksum(const unsigned char *block, size_t block_bytes)
{
    return XXH3_64bits(block + sizeof(uint64_t), block_bytes - sizeof(uint64_t));
}

static unsigned char *put(unsigned char *at, const void *data, size_t bytes)
{
    memcpy(at, data, bytes);
    return at + bytes;
}

static unsigned char *put_column(unsigned char *at, const struct row_column *column)
{
    const struct schema_column flat = {
        .type = (uint8_t)column->type,
        .flags = column->nullable ? SCHEMA_COLUMN_NULLABLE : 0,
        .key_position = column->key_position < 0 ? SCHEMA_NO_KEY : (uint8_t)column->key_position,
        .name_bytes = (uint8_t)strlen(column->name),
    };
    return put(at, &flat, sizeof(flat));
}

static unsigned char *put_index(unsigned char *at, const struct row_index *index)
{
    struct schema_index flat = {
        .name_bytes = (uint8_t)strlen(index->name),
        .flags = index->unique ? SCHEMA_INDEX_UNIQUE : 0,
        .column_count = (uint8_t)index->column_count,
    };
    memcpy(flat.columns, index->columns, index->column_count * sizeof(*flat.columns));
    return put(at, &flat, sizeof(flat));
}

void schema_encode(const struct schema *schema, void *out)
{
    struct schema_head head = {
        .block_bytes = (uint32_t)schema_encoded_bytes(schema),
        .column_count = (uint16_t)schema->column_count,
        .key_count = (uint8_t)schema->key_count,
        .index_count = (uint8_t)schema->index_count,
    };
    unsigned char *at = put(out, &head, sizeof(head));
    for (unsigned i = 0; i < schema->column_count; i++)
        at = put_column(at, &schema->columns[i]);
    for (unsigned i = 0; i < schema->index_count; i++)
        at = put_index(at, &schema->indexes[i]);
    for (unsigned i = 0; i < schema->column_count; i++)
        at = put(at, schema->columns[i].name, strlen(schema->columns[i].name) + 1);
    for (unsigned i = 0; i < schema->index_count; i++)
        at = put(at, schema->indexes[i].name, strlen(schema->indexes[i].name) + 1);
    head.checksum = block_checksum(out, head.block_bytes);
    memcpy(out, &head.checksum, sizeof(head.checksum));
}

/* A private copy of a block while it is parsed, and what is made of it. */
struct parse {
    unsigned char *block;
    const char *names; /* what is left of them */
    size_t names_bytes;
    struct schema_head head;
    struct row_column *columns;
    struct row_index indexes[ROW_INDEXES_MAX];
};

/* The next name, of exactly name_bytes; NULL if it is not there. */
static const char *take_name(struct parse *parse, size_t name_bytes)
{
    const char *name = parse->names;
    if (name_bytes >= parse->names_bytes || strnlen(name, name_bytes + 1) != name_bytes)
        return NULL;
    parse->names += name_bytes + 1;
    parse->names_bytes -= name_bytes + 1;
    return name;
}

static int parse_head(struct parse *parse, size_t block_bytes)
{
    struct schema_head *head = &parse->head;
    memcpy(head, parse->block, sizeof(*head));
    if (head->block_bytes != block_bytes ||
        head->checksum != block_checksum(parse->block, block_bytes))
        return SP_ECORRUPT;
    if (head->column_count == 0 || head->column_count > ROW_COLUMNS_MAX ||
        head->index_count > ROW_INDEXES_MAX)
        return SP_ECORRUPT;
    size_t off = names_off(head->column_count, head->index_count);
    if (off > block_bytes)
        return SP_ECORRUPT;
    parse->names = (const char *)parse->block + off;
    parse->names_bytes = block_bytes - off;
    return SP_OK;
}

static int parse_columns(struct parse *parse)
{
    const unsigned char *at = parse->block + sizeof(struct schema_head);
    for (unsigned i = 0; i < parse->head.column_count; i++, at += sizeof(struct schema_column)) {
        struct schema_column flat;
        struct row_column *column = &parse->columns[i];
        memcpy(&flat, at, sizeof(flat));
        bool in_key = flat.key_position != SCHEMA_NO_KEY;
        if ((flat.flags & ~SCHEMA_COLUMN_NULLABLE) || (in_key && flat.flags))
            return SP_ECORRUPT;
        column->type = (enum sp_type)flat.type;
        column->nullable = flat.flags & SCHEMA_COLUMN_NULLABLE;
        column->key_position = in_key ? flat.key_position : -1;
        column->name = take_name(parse, flat.name_bytes);
        if (!column->name)
            return SP_ECORRUPT;
    }
    return SP_OK;
}

static int parse_indexes(struct parse *parse)
{
    const unsigned char *at = parse->block + sizeof(struct schema_head) +
                              parse->head.column_count * sizeof(struct schema_column);
    for (unsigned i = 0; i < parse->head.index_count; i++, at += sizeof(struct schema_index)) {
        struct schema_index flat;
        struct row_index *index = &parse->indexes[i];
        memcpy(&flat, at, sizeof(flat));
        if ((flat.flags & ~SCHEMA_INDEX_UNIQUE) || flat.zero)
            return SP_ECORRUPT;
        for (unsigned j = flat.column_count; j < ROW_KEY_COLUMNS_MAX; j++)
            if (flat.columns[j])
                return SP_ECORRUPT;
        index->unique = flat.flags & SCHEMA_INDEX_UNIQUE;
        index->column_count = flat.column_count;
        memcpy(index->columns, flat.columns, sizeof(index->columns));
        index->name = take_name(parse, flat.name_bytes);
        if (!index->name)
            return SP_ECORRUPT;
    }
    return parse->names_bytes == 0 ? SP_OK : SP_ECORRUPT;
}

static int parse_copy(struct parse *parse, size_t block_bytes, struct schema **out)
{
    int status = parse_head(parse, block_bytes);
    if (status != SP_OK)
        return status;
    parse->columns = calloc(parse->head.column_count, sizeof(*parse->columns));
    if (!parse->columns)
        return SP_ENOMEM;
    status = parse_columns(parse);
    if (status == SP_OK)
        status = parse_indexes(parse);
    if (status == SP_OK)
        status = schema_build(parse->columns, parse->head.column_count, parse->indexes,
                              parse->head.index_count, out, NULL, 0);
    free(parse->columns);
    return status == SP_EINVAL ? SP_ECORRUPT : status;
}

int schema_parse(const void *block, size_t block_bytes, struct schema **out)
{
    if (block_bytes < sizeof(struct schema_head) || block_bytes > SCHEMA_BLOCK_BYTES_MAX)
        return SP_ECORRUPT;
    struct parse parse = {.block = malloc(block_bytes)};
    if (!parse.block)
        return SP_ENOMEM;
    memcpy(parse.block, block, block_bytes);
    struct schema *schema = NULL;
    int status = parse_copy(&parse, block_bytes, &schema);
    if (status == SP_OK && schema->key_count != parse.head.key_count) {
        schema_free(schema);
        status = SP_ECORRUPT;
    }
    free(parse.block);
    if (status == SP_OK)
        *out = schema;
    return status;
}

/* --- names --------------------------------------------------------------------------------- */

int schema_column(const struct schema *schema, const char *name)
{
    for (unsigned i = 0; i < schema->column_count; i++)
        if (strcmp(schema->columns[i].name, name) == 0)
            return (int)i;
    return -1;
}

int schema_index(const struct schema *schema, const char *name)
{
    for (unsigned i = 0; i < schema->index_count; i++)
        if (strcmp(schema->indexes[i].name, name) == 0)
            return (int)i;
    return -1;
}
