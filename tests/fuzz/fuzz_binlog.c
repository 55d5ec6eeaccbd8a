/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: whatever a server sends as its binary log, reading it reads nothing beyond an event, and
 * what it gives out is of the types that were described, with texts that are UTF-8.
 * Method: the input is a file as the server keeps it, about the table of binlog_sample.h; each
 * event lies in a buffer of exactly its size.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz_value.h"
#include "tests/unit/binlog_sample.h"

static void check_values(const struct binlog_table *table, const struct sp_value *values)
{
    for (unsigned i = 0; i < SAMPLE_COLUMNS; i++)
        fuzz_check_value(&values[i], table->columns[i].type);
}

static int on_put(void *context, unsigned table, const struct sp_value *old_key,
                  const struct sp_value *values, const bool *absent)
{
    if (table != 0 || absent || (old_key && old_key[0].is_null) || values[0].is_null)
        abort();
    check_values(context, values);
    return SP_OK;
}

static int on_remove(void *context, unsigned table, const struct sp_value *key)
{
    (void)context;
    if (table != 0 || key[0].is_null || key[0].type != SP_TYPE_INT32)
        abort();
    return SP_OK;
}

static int on_truncate(void *context, unsigned table)
{
    (void)context;
    return table == 0 ? SP_OK : SP_EINVAL;
}

static int on_bad_row(void *context, unsigned table, const struct sp_value *values, unsigned column,
                      const char *why)
{
    if (table != 0 || column >= SAMPLE_COLUMNS || !why || !values[column].is_null)
        abort();
    check_values(context, values);
    return SP_OK;
}

static int on_reshaped(void *context, unsigned table, const char *why)
{
    (void)context;
    if (table != 0 || !why)
        abort();
    return SP_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct binlog_table table;
    struct binlog log;
    const struct gtid_state start = {0};
    const struct source_feed_sink sink = {.context = &table,
                                          .put = on_put,
                                          .remove = on_remove,
                                          .truncate = on_truncate,
                                          .bad_row = on_bad_row,
                                          .reshaped = on_reshaped};
    char position[FEED_POSITION_BYTES];
    if (sample_table(&table) && binlog_open(&log, &table, 1, &start) == SP_OK) {
        if (sample_read(&log, data, size, &sink, NULL) == SP_ESOURCE && !log.why[0])
            abort();
        gtid_print(&log.state, position);
        binlog_close(&log);
    }
    binlog_table_free(&table);
    return 0;
}
