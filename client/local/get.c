/* SPDX-License-Identifier: Apache-2.0
 *
 * get.c - one value, copied.
 *
 * sp_get is the library's shortest way: it makes one attempt with everything inlined, and leaves
 * whatever does not succeed at once (a miss in doubt, a change under its feet, a retired pond) to
 * get_again. It writes nothing but the caller's buffer.
 */
#include "client/local/find.h"

/* One attempt: a status, or READ_AGAIN with `*result` for find_settle. */
FIND_INLINE int try_get(struct find_path *p, uint64_t hash, const void *key, size_t key_bytes,
                        void *out, size_t cap, size_t *size, enum find *result)
{
    struct found found;
    *result = find_key(p, 0, hash, key, key_bytes, &found);
    if (LIKELY(*result == FIND_HIT)) {
        bool fits = found.value_bytes <= cap;
        if (LIKELY(fits))
            race_copy(out, found.value, found.value_bytes);
        if (UNLIKELY(!find_valid(p)))
            return READ_AGAIN;
        *size = found.value_bytes;
        return LIKELY(fits) ? SP_OK : SP_ERANGE;
    }
    return *result == FIND_MISS && find_valid(p) ? SP_ENOTFOUND : READ_AGAIN;
}

static NEVER_INLINE int get_again(struct sp_table *table, const void *key, size_t key_bytes,
                                  void *out, size_t cap, size_t *size)
{
    struct binding *binding = table_binding(table);
    uint32_t tries = 0;
    int status;
    do {
        struct find_path path;
        enum find result;
        if (!find_begin(&path, binding)) {
            status = find_no_version(table, &binding, path.version);
            continue;
        }
        uint64_t hash = hash_key(binding->hash_seed, key, key_bytes);
        status = try_get(&path, hash, key, key_bytes, out, cap, size, &result);
        if (status == READ_AGAIN)
            status = find_settle(table, &binding, &path, result, false, &tries);
    } while (status == READ_AGAIN);
    return status;
}

int sp_get(struct sp_table *table, const void *key, size_t key_bytes, void *out, size_t cap,
           size_t *size)
{
    const struct binding *binding = table_binding(table);
    struct find_path path;
    enum find result;
    if (find_is_old(binding))
        return SP_EOLD;
    if (LIKELY(find_begin(&path, binding))) {
        uint64_t hash = hash_key(binding->hash_seed, key, key_bytes);
        int status = try_get(&path, hash, key, key_bytes, out, cap, size, &result);
        if (LIKELY(status != READ_AGAIN))
            return status;
    }
    return get_again(table, key, key_bytes, out, cap, size);
}

int sp_exists(struct sp_table *table, const void *key, size_t key_bytes)
{
    size_t size;
    /* No room, so nothing is copied: what exists does not fit, unless its value is empty. */
    int status = sp_get(table, key, key_bytes, NULL, 0, &size);
    return status == SP_ERANGE ? SP_OK : status;
}
