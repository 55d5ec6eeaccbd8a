/* SPDX-License-Identifier: Apache-2.0
 *
 * get.c - one value, copied.
 *
 * sp_get is the library's shortest way: it makes one attempt of quick.h with everything inlined
 * (the hash too: `flatten`), and leaves whatever does not succeed at once (an older version, a
 * change under its feet, a retired pond) to get_again. It writes nothing but the caller's buffer.
 */
#include "client/local/quick.h"

__attribute__((noinline)) uint64_t quick_overflow(struct quick_arena arena,
                                                  const struct bucket *home, uint64_t segment,
                                                  uint64_t meta, uint64_t tag)
{
    uint64_t segment_off = segment_unit(segment) << FORMAT_UNIT_SHIFT;
    const struct bucket *buckets = (const struct bucket *)(arena.base + segment_off);
    unsigned bucket_count = segment_buckets(segment);
    unsigned reach = bucket_reach(meta);
    if (reach > PROBE_MAX)
        return QUICK_OFF_RARE;
    unsigned at = (unsigned)(home - buckets);
    for (unsigned distance = 1; distance <= reach; distance++) {
        at = at + 1 < bucket_count ? at + 1 : 0;
        if (segment_off + (at + 1) * sizeof(struct bucket) > arena.limit)
            return QUICK_OFF_RARE;
        unsigned match = find_match(&buckets[at], tag) & FIND_MATCH_SLOTS;
        if (match != 0)
            return slot_unit(find_matched(&buckets[at], match)) << FORMAT_UNIT_SHIFT;
    }
    return 0;
}

/* One attempt: a status, or READ_AGAIN with `*result` for find_settle. */
static int try_get(struct find_path *p, const void *key, size_t key_bytes, void *out, size_t cap,
                   size_t *size, enum find *result)
{
    struct found found;
    *result = find_key(p, 0, key, key_bytes, &found);
    if (*result != FIND_HIT)
        return READ_AGAIN;
    bool fits = found.value_bytes <= cap;
    if (fits)
        race_copy(out, found.value, found.value_bytes);
    if (!find_valid(p))
        return READ_AGAIN;
    *size = found.value_bytes;
    return fits ? SP_OK : SP_ERANGE;
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
        if (find_is_old(binding))
            return SP_EOLD;
        if (!find_begin(&path, binding)) {
            status = find_no_version(table, &binding, path.version);
            continue;
        }
        status = try_get(&path, key, key_bytes, out, cap, size, &result);
        if (status != READ_AGAIN)
            binding_learn(table, binding, &path);
        else
            status = find_settle(table, &binding, &path, result, false, &tries);
    } while (status == READ_AGAIN);
    return status;
}

__attribute__((flatten)) int sp_get(struct sp_table *table, const void *key, size_t key_bytes,
                                    void *out, size_t cap, size_t *size)
{
    const struct binding *b = table_binding(table);
    uint64_t hash = hash_key(&b->hash, key, key_bytes);
    struct quick_home home;
    uint64_t off = 0;
    size_t value_bytes = 0;
    if (quick_is_old(b))
        return SP_EOLD;
    const struct quick_arena arena = quick_arena(b);
    const size_t padded = quick_padded(cap);
    const int64_t last = quick_last(&arena, key_bytes, padded);
    uint64_t version = quick_version(b);
    if (UNLIKELY(!quick_home(b, &arena, hash, &home)))
        return get_again(table, key, key_bytes, out, cap, size);
    enum quick result = quick_slot(&arena, &home, hash, &off);
    if (LIKELY(result == QUICK_FOUND)) {
        if (quick_entry(&arena, 0, version, last, off, key, key_bytes, &value_bytes) &&
            quick_copy(&arena, out, cap, padded, off + ENTRY_HEAD_BYTES + key_bytes, value_bytes)) {
            *size = value_bytes;
            if (quick_valid(b, &home))
                return SP_OK;
        }
    } else if (result == QUICK_MISS && quick_valid_miss(b, &arena, &home, version)) {
        return SP_ENOTFOUND;
    }
    return get_again(table, key, key_bytes, out, cap, size);
}

/* No room, so nothing is copied: what exists does not fit, unless its value is empty. */
static NEVER_INLINE int exists_again(struct sp_table *table, const void *key, size_t key_bytes)
{
    size_t size;
    int status = get_again(table, key, key_bytes, NULL, 0, &size);
    return status == SP_ERANGE ? SP_OK : status;
}

__attribute__((flatten)) int sp_exists(struct sp_table *table, const void *key, size_t key_bytes)
{
    const struct binding *b = table_binding(table);
    uint64_t hash = hash_key(&b->hash, key, key_bytes);
    struct quick_home home;
    uint64_t off = 0;
    size_t value_bytes;
    if (quick_is_old(b))
        return SP_EOLD;
    const struct quick_arena arena = quick_arena(b);
    uint64_t version = quick_version(b);
    if (UNLIKELY(!quick_home(b, &arena, hash, &home)))
        return exists_again(table, key, key_bytes);
    enum quick result = quick_slot(&arena, &home, hash, &off);
    if (LIKELY(result == QUICK_FOUND)) {
        if (quick_entry(&arena, 0, version, quick_last(&arena, key_bytes, 0), off, key, key_bytes,
                        &value_bytes) &&
            quick_valid(b, &home))
            return SP_OK;
    } else if (result == QUICK_MISS && quick_valid_miss(b, &arena, &home, version)) {
        return SP_ENOTFOUND;
    }
    return exists_again(table, key, key_bytes);
}
