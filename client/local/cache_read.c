/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_read.c - the lookup in the cache that repeats until it has an answer, over find.h.
 *
 * Limits: as find.c; a pond that never stands still, or an entry that is none of a cache, ends as
 * SP_ECORRUPT.
 */
#include "client/local/cache_read.h"

/* One attempt: a status, or READ_AGAIN with `*result` for find_settle. */
static int try_read(struct find_path *p, const void *key, size_t key_bytes, void *out, size_t cap,
                    struct cache_found *entry, enum find *result)
{
    struct found found;
    int64_t now_ms = 0;
    *result = find_key(p, 0, key, key_bytes, &found);
    if (*result != FIND_HIT)
        return READ_AGAIN;
    if (found.flags != ENTRY_CACHE) {
        *result = FIND_ODD_ENTRY;
        return READ_AGAIN;
    }
    entry->expiry_ms = found.expiry_ms;
    entry->value_bytes = found.value_bytes;
    bool fits = found.value_bytes <= cap;
    if (fits)
        race_copy(out, found.value, found.value_bytes);
    if (!find_valid(p))
        return READ_AGAIN;
    if (cache_is_over(entry->expiry_ms, &now_ms))
        return SP_ENOTFOUND;
    return fits ? SP_OK : SP_ERANGE;
}

NEVER_INLINE int cache_read_again(struct sp_cache *cache, const void *key, size_t key_bytes,
                                  void *out, size_t cap, struct cache_found *entry)
{
    struct binding *binding = table_binding(&cache->table);
    uint32_t tries = 0;
    int status;
    do {
        struct find_path path;
        enum find result;
        if (!find_begin(&path, binding)) {
            status = find_no_version(&cache->table, &binding, path.version);
            continue;
        }
        status = try_read(&path, key, key_bytes, out, cap, entry, &result);
        if (status == READ_AGAIN)
            status = find_settle(&cache->table, &binding, &path, result, false, &tries);
        /* Misses are as common as hits, and have passed R8 as well. */
        if (status == SP_OK || status == SP_ERANGE || status == SP_ENOTFOUND)
            binding_learn(&cache->table, binding, &path);
    } while (status == READ_AGAIN);
    cache_hints_open(cache, binding->map, false);
    return status;
}
