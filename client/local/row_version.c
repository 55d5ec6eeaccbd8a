/* SPDX-License-Identifier: Apache-2.0
 *
 * row_version.c - the born of the entry that a read would find, over find.h.
 */
#include "client/local/row_version.h"

#include "client/local/row_handle.h"

/* One attempt: SP_OK, or READ_AGAIN with `*result` for find_settle. */
static int try_version(struct find_path *p, const void *key, size_t key_bytes, uint64_t *version,
                       enum find *result)
{
    struct found found;
    *result = find_key(p, 0, key, key_bytes, &found);
    if (*result != FIND_HIT)
        return READ_AGAIN;
    const struct entry *entry = (const struct entry *)(const void *)(found.key - ENTRY_HEAD_BYTES);
    *version = entry_born(atomic_load_explicit(&entry->born_word, memory_order_relaxed));
    return find_valid(p) ? SP_OK : READ_AGAIN;
}

int row_version(struct sp_table *table, const struct sp_value *key, size_t key_count,
                struct sp_row *row, uint64_t *version)
{
    const struct sp_schema *schema;
    struct binding *binding = table_binding(table);
    size_t key_bytes;
    uint32_t tries = 0;
    int status = sp_table_schema(table, &schema);
    if (status == SP_OK)
        status = row_encode_key(row, schema, -1, key, key_count, &key_bytes);
    if (status != SP_OK)
        return status;
    do {
        struct find_path path;
        enum find result;
        if (!find_begin(&path, binding)) {
            status = find_no_version(table, &binding, path.version);
            continue;
        }
        status = try_version(&path, row->key.bytes, key_bytes, version, &result);
        if (status == READ_AGAIN)
            status = find_settle(table, &binding, &path, result, false, &tries);
    } while (status == READ_AGAIN);
    return status;
}
