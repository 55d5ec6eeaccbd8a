/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: whatever a server sends as COPY data, decoding it reads nothing beyond the message, and
 * what it gives out is of the types that were described, with texts that are UTF-8.
 * Method: one column of each type; the input is one message, in a buffer of exactly its size.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz_value.h"
#include "server/source/postgresql.h"

static const Oid types[] = {PG_BOOL,        PG_BYTEA,   PG_INT8,   PG_INT2,   PG_INT4, PG_TEXT,
                            PG_OID,         PG_JSON,    PG_FLOAT4, PG_FLOAT8, PG_DATE, PG_TIMESTAMP,
                            PG_TIMESTAMPTZ, PG_NUMERIC, PG_UUID,   PG_JSONB};

#define COLUMN_COUNT (sizeof(types) / sizeof(*types))

static int check_row(void *context, const struct sp_value *values, unsigned count)
{
    const struct source_description *description = context;
    if (count != COLUMN_COUNT)
        abort();
    for (unsigned i = 0; i < count; i++)
        fuzz_check_value(&values[i], description->columns[i].type);
    return SP_OK;
}

static int check_bad_row(void *context, const struct sp_value *values, unsigned count,
                         unsigned column, const char *why)
{
    if (column >= count || !why || !values[column].is_null)
        abort();
    return check_row(context, values, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source_column columns[COLUMN_COUNT] = {0};
    struct source_description description = {.column_count = COLUMN_COUNT, .columns = columns};
    const struct source_sink sink = {&description, check_row, check_bad_row};
    struct pg_copy copy;
    int status;
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        columns[i].nullable = i % 4 != 0;
        if (!pg_type(types[i], &columns[i].type))
            abort();
    }
    char *message = malloc(size ? size : 1);
    if (message && pg_copy_open(&copy, &description, types, &sink) == SP_OK) {
        memcpy(message, data, size);
        pg_copy_message(&copy, message, size, &status);
        pg_copy_close(&copy);
    }
    free(message);
    return 0;
}
