/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: whatever a server sends in a replication stream, reading it reads nothing beyond a message,
 * and what it gives out is of the types that were described, with texts that are UTF-8 and JSON
 * that is JSON where the server's was. Method: a table with a column of each form; the input is a
 * row of messages, each with its size (u16, big-endian) before it, which are read from buffers of
 * exactly that size.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_value.h"
#include "server/source/postgresql_feed.h"

static const struct {
    Oid type;
    bool is_array;
    enum sp_type arrives;
} forms[] = {
    {PG_INT4, false, SP_TYPE_INT32},      {PG_BOOL, false, SP_TYPE_BOOL},
    {PG_BYTEA, false, SP_TYPE_BYTES},     {PG_INT8, false, SP_TYPE_INT64},
    {PG_INT2, false, SP_TYPE_INT32},      {PG_TEXT, false, SP_TYPE_TEXT},
    {PG_FLOAT4, false, SP_TYPE_FLOAT32},  {PG_FLOAT8, false, SP_TYPE_FLOAT64},
    {PG_DATE, false, SP_TYPE_DATE},       {PG_TIMESTAMP, false, SP_TYPE_DATETIME},
    {PG_NUMERIC, false, SP_TYPE_NUMERIC}, {PG_TIMESTAMPTZ, false, SP_TYPE_TIMESTAMP},
    {PG_UUID, false, SP_TYPE_UUID},       {PG_JSONB, false, SP_TYPE_JSON},
    {PG_INET, false, SP_TYPE_TEXT},       {PG_INT4, true, SP_TYPE_JSON},
    {PG_TEXT, true, SP_TYPE_JSON},        {PG_BOOL, true, SP_TYPE_JSON},
    {PG_TIMESTAMPTZ, true, SP_TYPE_JSON}, {PG_FLOAT8, true, SP_TYPE_JSON},
};

#define COLUMN_COUNT (sizeof(forms) / sizeof(*forms))
#define RELATION     16384u

static void check_value(const struct sp_value *value, size_t i)
{
    fuzz_check_value(value, forms[i].arrives);
    if (!value->is_null && forms[i].is_array &&
        (forms[i].type == PG_TEXT || forms[i].type == PG_BOOL) &&
        !row_json_valid(value->bytes.data, value->bytes.size))
        abort();
}

static int check_put(void *context, unsigned table, const struct sp_value *old_key,
                     const struct sp_value *values, const bool *absent)
{
    (void)context;
    (void)absent;
    if (table != 0)
        abort();
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        check_value(&values[i], i);
    if (old_key)
        check_value(old_key, 0);
    return SP_OK;
}

static int check_remove(void *context, unsigned table, const struct sp_value *key)
{
    (void)context;
    check_value(key, 0);
    return table == 0 ? SP_OK : SP_EINVAL;
}

static int check_truncate(void *context, unsigned table)
{
    (void)context;
    return table == 0 ? SP_OK : SP_EINVAL;
}

static int check_bad_row(void *context, unsigned table, const struct sp_value *values,
                         unsigned column, const char *why)
{
    if (column >= COLUMN_COUNT || !why || !values[column].is_null)
        abort();
    return check_put(context, table, NULL, values, NULL);
}

static int check_reshaped(void *context, unsigned table, const char *why)
{
    (void)context;
    if (table != 0 || !why)
        abort();
    return SP_OK;
}

static bool make_table(struct pg_changes *changes)
{
    *changes = (struct pg_changes){.count = 1, .tables = calloc(1, sizeof(struct pg_followed))};
    if (!changes->tables)
        return false;
    struct pg_followed *table = changes->tables;
    table->schema = strdup("public");
    table->name = strdup("t");
    table->relation = RELATION;
    table->every_column = true;
    table->column_count = COLUMN_COUNT;
    table->key_count = 1;
    table->columns = calloc(COLUMN_COUNT, sizeof(*table->columns));
    table->key = calloc(1, sizeof(*table->key));
    if (!table->schema || !table->name || !table->columns || !table->key ||
        pg_followed_alloc(table) != SP_OK)
        return false;
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        struct pg_followed_column *column = &table->columns[i];
        snprintf(column->name, sizeof(column->name), "c%zu", i);
        column->type = forms[i].arrives;
        column->nullable = i % 4 != 0;
        column->declared = (Oid)i + 1;
        column->modifier = -1;
        column->form = (struct pg_form){forms[i].type, forms[i].is_array, ','};
    }
    return true;
}

static void run_message(struct pg_changes *changes, struct pg_output *output, const uint8_t *data,
                        size_t size)
{
    static const struct source_feed_sink sink = {
        NULL, check_put, check_remove, check_truncate, check_bad_row, check_reshaped, NULL};
    struct source_error error;
    bool any = false;
    uint8_t *message = malloc(size ? size : 1);
    if (!message)
        return;
    memcpy(message, data, size);
    if (pg_output_read(message, size, output) && output->kind >= PG_MESSAGE_RELATION)
        pg_changes_deliver(changes, output, &sink, &any, &error);
    free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pg_output output;
    struct pg_changes changes;
    if (make_table(&changes))
        while (size >= 2) {
            const size_t told = (size_t)data[0] << 8 | data[1];
            const size_t bytes = told < size - 2 ? told : size - 2;
            run_message(&changes, &output, data + 2, bytes);
            data += 2 + bytes;
            size -= 2 + bytes;
        }
    pg_changes_free(&changes);
    return 0;
}
