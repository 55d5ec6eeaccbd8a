/* SPDX-License-Identifier: Apache-2.0
 *
 * read_everything.c - see read_everything.h. Rows found by scans are limited in number, since a
 * forged index can name the same row many times.
 */
#include "read_everything.h"

#include "sidepond/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX  5000u
#define GETS      20u
#define NAMES_MAX 300u
#define JSON_MAX  4096u

static unsigned rows_read;

static void must_be_status(int status)
{
    if (strcmp(sp_status_text(status), "unknown status") == 0) {
        fprintf(stderr, "not a status: %d\n", status);
        abort();
    }
    rows_read += status == SP_OK;
}

static void read_columns(const struct sp_row *row)
{
    char json[512];
    struct sp_value value;
    const void *key, *bytes;
    size_t key_bytes, value_bytes;
    must_be_status(sp_row_column(row, "name", &value));
    for (size_t i = 0; i < 6; i++)
        if (sp_row_column_at(row, i, &value) == SP_OK)
            (void)sp_value_json(&value, json, sizeof json);
    (void)sp_row_json(row, json, sizeof json);
    sp_row_bytes(row, &key, &key_bytes, &bytes, &value_bytes);
}

static void read_view(const struct sp_view *view)
{
    char json[512];
    struct sp_value value;
    for (size_t i = 0; i < sp_schema_column_count(view->schema); i++)
        must_be_status(sp_view_column(view, i, &value));
    if (view->value_bytes <
        JSON_MAX) /* of a forged size it takes long, and row_json has its own test */
        (void)sp_view_json(view, json, sizeof json);
}

static void read_schema(struct sp_table *table)
{
    const struct sp_schema *schema;
    struct sp_column_info column;
    struct sp_index_info index;
    size_t position;
    int status = sp_table_schema(table, &schema);
    must_be_status(status);
    if (status != SP_OK)
        return;
    for (size_t i = 0; i < sp_schema_column_count(schema); i++)
        must_be_status(sp_schema_column(schema, i, &column));
    for (size_t i = 0; i < sp_schema_index_count(schema); i++) {
        must_be_status(sp_schema_index(schema, i, &index));
        must_be_status(sp_schema_index_column(schema, (int)i, 0, &position));
    }
}

static void read_copies(struct sp_table *table, const struct reading *what)
{
    static char keys[GETS][64];
    static uint8_t out[GETS][2048];
    struct sp_get gets[GETS];
    struct sp_row *row = sp_row_new();
    size_t size;
    for (unsigned from = 0; from < what->key_count; from += GETS) {
        for (unsigned i = 0; i < GETS; i++) {
            int bytes = snprintf(keys[i], sizeof keys[i], "%s%u", what->key_prefix, from + i);
            gets[i] = (struct sp_get){
                .key = keys[i], .key_bytes = (size_t)bytes, .out = out[i], .cap = sizeof out[i]};
            must_be_status(sp_get(table, keys[i], (size_t)bytes, out[i], sizeof out[i], &size));
            must_be_status(sp_exists(table, keys[i], (size_t)bytes - 1));
        }
        must_be_status(sp_mget(table, gets, GETS));
        for (unsigned i = 0; i < GETS; i++)
            must_be_status(gets[i].status);
        struct sp_value key = sp_text(keys[0], gets[0].key_bytes);
        if (sp_get_row(table, &key, 1, row) == SP_OK)
            read_columns(row);
        must_be_status(sp_get_row_encoded(table, keys[1], gets[1].key_bytes, row));
    }
    struct sp_value key = sp_text(what->index_key, strlen(what->index_key));
    for (size_t index = 0; index < 3; index++)
        must_be_status(sp_find_row(table, index, &key, 1, row));
    sp_row_free(row);
}

static void read_scan(struct sp_scan *scan)
{
    struct sp_view view;
    int status;
    unsigned rows = 0;
    while (rows++ < ROWS_MAX && (status = sp_scan_next(scan, &view)) == SP_OK)
        read_view(&view);
    sp_scan_end(scan);
}

static void read_snapshot(struct sp_pond *pond, struct sp_table *table, const struct reading *what)
{
    struct sp_snapshot *snapshot;
    struct sp_scan *scan;
    struct sp_view view;
    char key[64];
    int status = sp_snapshot_begin(pond, &snapshot);
    must_be_status(status);
    if (status != SP_OK)
        return;
    (void)sp_snapshot_version(snapshot);
    for (unsigned i = 0; i < what->key_count; i++) {
        int bytes = snprintf(key, sizeof key, "%s%u", what->key_prefix, i);
        if (sp_view(snapshot, table, key, (size_t)bytes, &view) == SP_OK)
            read_view(&view);
    }
    if (sp_scan_begin(snapshot, table, &scan) == SP_OK)
        read_scan(scan);
    for (size_t index = 0; index < 3; index++)
        if (sp_find_begin(snapshot, table, index, what->index_key, strlen(what->index_key),
                          &scan) == SP_OK)
            read_scan(scan);
    must_be_status(sp_snapshot_check(snapshot));
    sp_snapshot_end(snapshot);
}

/* Also a key that is not there, and room that is too small. */
static void read_cache(struct sp_pond *pond, const struct reading *what)
{
    struct sp_cache *cache;
    struct sp_get gets[4];
    char keys[4][64], out[4][64];
    size_t size;
    int64_t ms;
    int status = sp_cache_open(pond, &cache);
    must_be_status(status);
    if (status != SP_OK)
        return;
    for (unsigned i = 0; i < what->key_count; i++) {
        char *key = keys[i % 4];
        size_t bytes = (size_t)snprintf(key, sizeof keys[0], "%s%u", what->key_prefix, i);
        gets[i % 4] = (struct sp_get){
            .key = key, .key_bytes = bytes, .out = out[i % 4], .cap = sizeof out[0]};
        status = sp_cache_get(cache, key, bytes, out[0], i % 8 == 0 ? 1 : sizeof out[0], &size);
        must_be_status(status);
        rows_read += status == SP_OK;
        must_be_status(sp_cache_exists(cache, key, bytes));
        must_be_status(sp_cache_ttl(cache, key, bytes, &ms));
        if (i % 4 == 3)
            must_be_status(sp_cache_mget(cache, gets, 4));
    }
}

unsigned read_pond(struct sp_pond *pond, const struct reading *what)
{
    const char *names[NAMES_MAX];
    struct sp_pond_info info = SP_POND_INFO_INIT;
    rows_read = 0;
    must_be_status(sp_pond_info(pond, &info));
    must_be_status(sp_wait(pond, info.version, 0, NULL));
    (void)sp_readers(pond, NULL, 0);
    (void)sp_pond_version(pond);
    size_t count = sp_table_names(pond, names, NAMES_MAX);
    for (size_t i = 0; i < count && i < 4; i++) {
        struct sp_table *table;
        struct sp_table_info about = SP_TABLE_INFO_INIT;
        int status = sp_table_open(pond, names[i], &table);
        must_be_status(status);
        if (status != SP_OK)
            continue;
        must_be_status(sp_table_info(table, &about));
        read_schema(table);
        read_copies(table, what);
        read_snapshot(pond, table, what);
    }
    read_cache(pond, what);
    return rows_read;
}

unsigned read_everything(const char *directory, const struct reading *what)
{
    struct sp_pond *pond;
    int status = sp_open(directory, NULL, &pond);
    must_be_status(status);
    if (status != SP_OK)
        return 0;
    unsigned rows = read_pond(pond, what);
    sp_close(pond);
    return rows;
}
