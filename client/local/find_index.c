/* SPDX-License-Identifier: Apache-2.0
 *
 * find_index.c - rows by a secondary key: first the postings, which list primary keys, then the
 * rows.
 *
 * Under a snapshot both are read in place at the pinned version, where they agree. Without one
 * (sp_find_row) posting and row are copied at one version that nobody has pinned. It must still be
 * the newest one afterwards: of an older one, what was visible may have been reclaimed, and the row
 * then seems to be missing, or a still older one is found that a lease keeps. Then all of it is
 * done again at a newer version.
 */
#include <stdlib.h>
#include <string.h>

#include "client/local/row_handle.h"
#include "client/local/scan.h"

#define NUMBER_BYTES sizeof(uint32_t)

/* The next primary key of a posting. SP_ENOTFOUND: no more. */
static int next_key(const uint8_t **at, const uint8_t *end, const uint8_t **key, size_t *key_bytes)
{
    uint16_t size;
    if (*at == end)
        return SP_ENOTFOUND;
    if ((size_t)(end - *at) < sizeof size)
        return SP_ECORRUPT;
    race_copy(&size, *at, sizeof size);
    *key_bytes = row_pin(size);
    if ((size_t)(end - *at) - sizeof size < *key_bytes)
        return SP_ECORRUPT;
    *key = *at + sizeof size;
    *at = *key + *key_bytes;
    return SP_OK;
}

/* Posting number 0 says first how many there are; a pond has no more postings than units. */
static int take_count(const struct binding *binding, const uint8_t **at, const uint8_t *end,
                      uint32_t *count)
{
    uint32_t told;
    if ((size_t)(end - *at) < sizeof told)
        return SP_ECORRUPT;
    race_copy(&told, *at, sizeof told);
    *count = row_pin(told);
    *at += sizeof told;
    return *count == 0 || *count > binding->map->region.unit_limit ? SP_ECORRUPT : SP_OK;
}

/* --- under a snapshot ------------------------------------------------------------------------- */

/* Goes to the posting with the walk's number. An absent one holds nothing. */
static int open_posting(struct sp_scan *scan)
{
    struct posting_walk *walk = &scan->posting;
    struct find_path path;
    struct found found;
    memcpy(walk->key, &walk->number, NUMBER_BYTES);
    walk->at = walk->end = NULL;
    int status = snapshot_find(scan->snapshot, scan->table, scan->binding, walk->index, walk->key,
                               walk->key_bytes, &path, &found);
    if (status == SP_ENOTFOUND)
        return SP_OK;
    if (status != SP_OK)
        return status;
    walk->at = found.value;
    walk->end = found.value + found.value_bytes;
    return walk->number == 0 ? take_count(scan->binding, &walk->at, walk->end, &walk->count)
                             : SP_OK;
}

int posting_next(struct sp_scan *scan, struct sp_view *out)
{
    struct posting_walk *walk = &scan->posting;
    const uint8_t *key = NULL;
    size_t key_bytes = 0;
    int status = next_key(&walk->at, walk->end, &key, &key_bytes);
    while (status == SP_ENOTFOUND && walk->number + 1 < walk->count) {
        walk->number++;
        status = open_posting(scan);
        if (status == SP_OK)
            status = next_key(&walk->at, walk->end, &key, &key_bytes);
    }
    if (status != SP_OK)
        return status;
    struct find_path path;
    struct found found;
    status =
        snapshot_find(scan->snapshot, scan->table, scan->binding, 0, key, key_bytes, &path, &found);
    if (status == SP_OK)
        view_set(out, &found, scan->schema);
    return status == SP_ENOTFOUND ? SP_ECORRUPT : status;
}

static int start_walk(struct sp_scan *scan, size_t index, const void *key, size_t key_bytes)
{
    if (index >= scan->schema->parsed->index_count)
        return SP_ENOINDEX;
    if (key_bytes > SP_KEY_BYTES_MAX - NUMBER_BYTES)
        return SP_ETOOBIG;
    struct posting_walk *walk = &scan->posting;
    walk->key = malloc(NUMBER_BYTES + key_bytes);
    if (walk->key == NULL)
        return SP_ENOMEM;
    if (key_bytes > 0)
        memcpy(walk->key + NUMBER_BYTES, key, key_bytes);
    walk->key_bytes = NUMBER_BYTES + key_bytes;
    walk->index = (unsigned)index + 1;
    return open_posting(scan);
}

int sp_find_begin(struct sp_snapshot *snapshot, struct sp_table *table, size_t index,
                  const void *key, size_t key_bytes, struct sp_scan **out)
{
    struct sp_scan *scan;
    *out = NULL;
    int status = scan_new(snapshot, table, &scan);
    if (status != SP_OK)
        return status;
    status = start_walk(scan, index, key, key_bytes);
    if (status != SP_OK) {
        sp_scan_end(scan);
        return error_set(status, "index %zu of table \"%s\"", index, table->name);
    }
    *out = scan;
    return SP_OK;
}

/* --- without one ------------------------------------------------------------------------------ */

/* The version at which everything is to be read, and the pond it is of. */
static int choose_version(struct sp_table *table, struct row_copy *copy)
{
    struct binding *binding = table_binding(table);
    struct find_path path;
    int status = SP_OK;
    while (!find_begin(&path, binding)) {
        status = find_no_version(table, &binding, path.version);
        if (status != READ_AGAIN)
            return status;
    }
    copy->version = path.version;
    copy->map = binding->map;
    return SP_OK;
}

/* Looks through the postings for a first primary key; leaves it in row->posting. `key` starts with
 * room for the number. */
static int first_key(struct sp_table *table, unsigned index, uint8_t *key, size_t key_bytes,
                     const struct row_copy *at, struct sp_row *row, const uint8_t **primary,
                     size_t *primary_bytes)
{
    uint32_t count = 1;
    for (uint32_t number = 0; number < count; number++) {
        struct row_copy posting = *at;
        posting.buffer = &row->posting;
        memcpy(key, &number, NUMBER_BYTES);
        int status = row_read(table, index, key, key_bytes, &posting);
        if (status == SP_ENOTFOUND && number > 0)
            continue;
        if (status != SP_OK)
            return status;
        const uint8_t *from = row->posting.bytes + posting.key_bytes;
        const uint8_t *end = from + posting.value_bytes;
        if (number == 0)
            status = take_count(table_binding(table), &from, end, &count);
        if (status == SP_OK)
            status = next_key(&from, end, primary, primary_bytes);
        if (status != SP_ENOTFOUND)
            return status;
    }
    return SP_ENOTFOUND;
}

/* One attempt at one version. READ_AGAIN: it is gone. */
static int find_once(struct sp_table *table, unsigned index, uint8_t *key, size_t key_bytes,
                     struct sp_row *row)
{
    struct row_copy copy = {.buffer = &row->data};
    const uint8_t *primary;
    size_t primary_bytes;
    int status = choose_version(table, &copy);
    if (status != SP_OK)
        return status;
    status = first_key(table, index, key, key_bytes, &copy, row, &primary, &primary_bytes);
    bool listed = status == SP_OK;
    if (listed)
        status = row_read(table, 0, primary, primary_bytes, &copy);
    if (status != SP_OK && status != SP_ENOTFOUND)
        return status;
    /* Nothing that the newest version sees is reclaimed; of an older one anything may be, and a
     * chain that a lease keeps the end of leads past it. The R8 of what was read came before this.
     */
    if (map_committed(copy.map) != copy.version)
        return READ_AGAIN;
    if (status != SP_OK)
        return listed ? SP_ECORRUPT : SP_ENOTFOUND;
    row->schema = copy.schema;
    row->key_bytes = copy.key_bytes;
    row->value_bytes = copy.value_bytes;
    return SP_OK;
}

/* The secondary key behind room for a number, in row->key. */
static int encode_secondary(struct sp_row *row, const struct sp_schema *schema, size_t index,
                            const struct sp_value *key, size_t key_count, size_t *key_bytes)
{
    int status = row_encode_key(row, schema, (int)index, key, key_count, key_bytes);
    if (status != SP_OK)
        return status;
    if (*key_bytes > SP_KEY_BYTES_MAX - NUMBER_BYTES)
        return SP_ETOOBIG;
    status = buffer_reserve(&row->key, *key_bytes + NUMBER_BYTES);
    if (status != SP_OK)
        return status;
    memmove(row->key.bytes + NUMBER_BYTES, row->key.bytes, *key_bytes);
    *key_bytes += NUMBER_BYTES;
    return SP_OK;
}

int sp_find_row(struct sp_table *table, size_t index, const struct sp_value *key, size_t key_count,
                struct sp_row *row)
{
    const struct sp_schema *schema, *now;
    row->schema = NULL;
    int status = sp_table_schema(table, &schema);
    if (status != SP_OK)
        return status;
    for (uint32_t tries = 0; tries < READ_TRIES_MAX; tries++) {
        size_t key_bytes;
        if (index >= schema->parsed->index_count)
            return error_set(SP_ENOINDEX, "table \"%s\" has %u secondary indexes", table->name,
                             schema->parsed->index_count);
        status = encode_secondary(row, schema, index, key, key_count, &key_bytes);
        if (status != SP_OK)
            return error_set(status, "the key given is not one of index \"%s\"",
                             schema->parsed->indexes[index].name);
        status = find_once(table, (unsigned)index + 1, row->key.bytes, key_bytes, row);
        if (status == SP_OK && row->schema == schema)
            return SP_OK;
        /* Has the table got another shape since its schema was read? */
        int again = sp_table_schema(table, &now);
        if (again != SP_OK)
            return again;
        if (status != READ_AGAIN && now == schema)
            return status == SP_OK ? SP_OK : error_plain(status);
        schema = now;
    }
    return error_plain(SP_ECORRUPT);
}
