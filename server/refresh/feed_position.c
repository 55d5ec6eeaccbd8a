/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_position.c - the table _feeds: a row for each follower, with the position it has reached.
 *
 * It is a table of the pond like any other, so a position is committed with the rows that it
 * belongs to, is in snapshot files, and goes along when the pond is replaced. Its key is the
 * follower: the name by which a database knows one group of one daemon. The name has a hash of the
 * host (in a ring: of the node), the pond's directory, the group and its source, so that two
 * daemons with the same configuration never take each other for themselves. A host that gets
 * another name loads anew.
 *
 * A table belongs to one transaction of the store at a time: whoever writes takes feeds_lock from
 * the put to the end of its transaction.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/fnv.h"
#include "server/log/log.h"
#include "server/refresh/feed.h"

enum { HINT_ROWS = 16, ROW_BYTES = 4096 };

enum feed_column {
    COLUMN_FOLLOWER,
    COLUMN_GROUP,
    COLUMN_SOURCE,
    COLUMN_STREAM,
    COLUMN_POSITION,
    COLUMN_AT,
    COLUMN_COMPARED,
    COLUMN_SHAPE,
    COLUMN_COUNT
};

_Static_assert(FEED_POSITION_BYTES + FEED_STREAM_BYTES + 1024 < ROW_BYTES, "a row fits");

int feed_position_schema(struct schema **out)
{
    char why[128];
    struct row_column columns[COLUMN_COUNT] = {
        {.name = "follower", .type = SP_TYPE_TEXT},
        {.name = "group", .type = SP_TYPE_TEXT},
        {.name = "source", .type = SP_TYPE_TEXT},
        {.name = "stream", .type = SP_TYPE_TEXT},
        {.name = "position", .type = SP_TYPE_TEXT},
        {.name = "at", .type = SP_TYPE_TIMESTAMP, .nullable = true},
        {.name = "compared", .type = SP_TYPE_TIMESTAMP, .nullable = true},
        {.name = "shape", .type = SP_TYPE_INT64},
    };
    for (unsigned i = COLUMN_GROUP; i < COLUMN_COUNT; i++)
        columns[i].key_position = -1;
    return schema_build(columns, COLUMN_COUNT, NULL, 0, out, why, sizeof(why));
}

/* --- names and shapes ----------------------------------------------------------------------- */

/* At most `most` characters of a name, as a database takes them. */
static void plain_name(const char *name, unsigned most, char *out)
{
    unsigned size = 0;
    for (; *name && size < most; name++)
        out[size++] = isalnum((unsigned char)*name) ? (char)tolower((unsigned char)*name) : '_';
    out[size] = '\0';
}

static const char *source_of(const struct config *config, const char *group)
{
    const struct config_table *first = config_first_of_group(config, group);
    return first ? first->source_name : "";
}

void feed_position_follower(const struct config *config, const char *group,
                            char out[FEED_FOLLOWER_BYTES])
{
    char host[256] = "";
    char pond[21];
    char of[21];
    gethostname(host, sizeof(host) - 1);
    plain_name(config->pond, sizeof(pond) - 1, pond);
    plain_name(group, sizeof(of) - 1, of);
    uint64_t print = FNV_START;
    print = fnv_text(print, config->ring.enabled ? config->ring.node : host);
    print = fnv_text(print, config->directory);
    print = fnv_text(print, group);
    print = fnv_text(print, source_of(config, group));
    snprintf(out, FEED_FOLLOWER_BYTES, "sidepond_%s_%s_%08x", pond, of,
             (unsigned)(print ^ print >> 32));
}

static uint64_t print_schema(uint64_t print, const struct schema *schema)
{
    size_t size = schema_encoded_bytes(schema);
    void *block = malloc(size);
    if (!block)
        return print;
    schema_encode(schema, block);
    print = fnv_bytes(print, block, size);
    free(block);
    return print;
}

uint64_t feed_position_shape(const struct group *group)
{
    uint64_t print = FNV_START;
    print = fnv_text(print, group->source_config->publication);
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct config_table *config = group->tables[i].config;
        print = fnv_text(print, config->name);
        print = fnv_text(print, config->relation);
        print = fnv_text(print, config->where);
        print = fnv_list(print, config->columns);
        print = fnv_bytes(print, &config->max_row_bytes, sizeof(config->max_row_bytes));
        print = print_schema(print, group->tables[i].schema);
    }
    return print;
}

/* --- reading -------------------------------------------------------------------------------- */

static void copy_text(const struct sp_value *value, char *out, size_t cap)
{
    size_t size = value->bytes.size < cap ? value->bytes.size : cap - 1;
    if (size > 0)
        memcpy(out, value->bytes.data, size);
    out[size] = '\0';
}

static void row_from_values(const struct sp_value *values, struct feed_row *out)
{
    copy_text(&values[COLUMN_FOLLOWER], out->follower, sizeof(out->follower));
    copy_text(&values[COLUMN_GROUP], out->group, sizeof(out->group));
    copy_text(&values[COLUMN_SOURCE], out->source, sizeof(out->source));
    copy_text(&values[COLUMN_STREAM], out->stream, sizeof(out->stream));
    copy_text(&values[COLUMN_POSITION], out->position, sizeof(out->position));
    out->at_us = values[COLUMN_AT].is_null ? 0 : values[COLUMN_AT].i;
    out->compared_us = values[COLUMN_COMPARED].is_null ? 0 : values[COLUMN_COMPARED].i;
    out->shape = (uint64_t)values[COLUMN_SHAPE].i;
}

static bool open_positions(struct refresh *refresh, struct sp_table **table)
{
    return refresh_table_loaded(refresh_pond(refresh), FEED_TABLE, table);
}

bool feed_position_read(struct refresh *refresh, const char *follower, struct feed_row *out)
{
    struct sp_table *table;
    struct sp_value key = sp_text(follower, strlen(follower));
    struct sp_value values[COLUMN_COUNT];
    struct sp_row *row = sp_row_new();
    bool found = row && open_positions(refresh, &table) && sp_get_row(table, &key, 1, row) == SP_OK;
    for (unsigned i = 0; i < COLUMN_COUNT && found; i++)
        found = sp_row_column_at(row, i, &values[i]) == SP_OK;
    if (found)
        row_from_values(values, out);
    sp_row_free(row);
    return found;
}

static int add_view(const struct sp_view *view, struct feed_row **rows, size_t *count)
{
    struct sp_value values[COLUMN_COUNT];
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        int status = sp_view_column(view, i, &values[i]);
        if (status != SP_OK)
            return status;
    }
    struct feed_row *more = realloc(*rows, (*count + 1) * sizeof(**rows));
    if (!more)
        return SP_ENOMEM;
    row_from_values(values, &more[*count]);
    *rows = more;
    ++*count;
    return SP_OK;
}

int feed_position_all(struct refresh *refresh, struct feed_row **out, size_t *count)
{
    struct sp_table *table;
    struct sp_snapshot *snapshot = NULL;
    struct sp_scan *scan = NULL;
    struct sp_view view;
    *out = NULL;
    *count = 0;
    if (!open_positions(refresh, &table))
        return SP_OK;
    int status = sp_snapshot_begin(refresh_pond(refresh), &snapshot);
    if (status != SP_OK)
        return status;
    status = sp_scan_begin(snapshot, table, &scan);
    while (status == SP_OK && (status = sp_scan_next(scan, &view)) == SP_OK)
        status = add_view(&view, out, count);
    sp_scan_end(scan);
    sp_snapshot_end(snapshot);
    return status == SP_ENOTFOUND || status == SP_ENOTABLE ? SP_OK : status;
}

/* --- writing -------------------------------------------------------------------------------- */

static struct sp_value text_value(const char *text)
{
    return sp_text(text, strlen(text));
}

static struct sp_value time_value(int64_t us)
{
    return (struct sp_value){.type = SP_TYPE_TIMESTAMP, .is_null = us == 0, .i = us};
}

static int put_row(struct store_table *table, const struct schema *schema,
                   const struct feed_row *row)
{
    unsigned char bytes[ROW_BYTES];
    size_t key_bytes = strlen(row->follower);
    size_t value_bytes, done;
    const struct sp_value values[COLUMN_COUNT] = {
        text_value(row->follower),    text_value(row->group),      text_value(row->source),
        text_value(row->stream),      text_value(row->position),   time_value(row->at_us),
        time_value(row->compared_us), sp_int((int64_t)row->shape),
    };
    int status = row_encode(schema, values, bytes, sizeof(bytes), &value_bytes, NULL);
    if (status != SP_OK)
        return status;
    struct store_row stored = {
        .key = row->follower, .key_bytes = key_bytes, .value = bytes, .value_bytes = value_bytes};
    return store_put(table, &stored, 1, &done);
}

int feed_position_put(struct refresh *refresh, struct store_txn *txn, const struct schema *schema,
                      const struct feed_row *row)
{
    struct store_table *table;
    pthread_mutex_lock(&refresh->feeds_lock);
    int status = store_table(txn, FEED_TABLE, schema, HINT_ROWS, &table, NULL);
    return status == SP_OK ? put_row(table, schema, row) : status;
}

void feed_position_unlock(struct refresh *refresh)
{
    pthread_mutex_unlock(&refresh->feeds_lock);
}

/* One change of a row in a transaction of its own; `row` NULL: it is deleted. */
static int change_alone(struct refresh *refresh, const char *follower, const struct feed_row *row)
{
    struct schema *schema;
    struct store_txn *txn;
    struct store_table *table;
    int status = feed_position_schema(&schema);
    if (status != SP_OK)
        return status;
    pthread_mutex_lock(&refresh->feeds_lock);
    status = store_begin(refresh->options.store, &txn);
    if (status != SP_OK)
        goto unlock;
    status = store_table(txn, FEED_TABLE, schema, HINT_ROWS, &table, NULL);
    if (status == SP_OK)
        status =
            row ? put_row(table, schema, row) : store_delete(table, follower, strlen(follower));
    if (status == SP_OK)
        status = store_commit(txn, NULL);
    else
        store_abort(txn);
unlock:
    pthread_mutex_unlock(&refresh->feeds_lock);
    schema_free(schema);
    return status;
}

int feed_position_put_alone(struct refresh *refresh, const struct feed_row *row)
{
    return change_alone(refresh, row->follower, row);
}

int feed_position_delete(struct refresh *refresh, const char *follower)
{
    int status = change_alone(refresh, follower, NULL);
    return status == SP_ENOTFOUND ? SP_OK : status;
}
