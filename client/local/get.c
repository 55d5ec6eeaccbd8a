/* SPDX-License-Identifier: Apache-2.0
 *
 * get.c - one value, copied.
 *
 * sp_get is the library's shortest way: it makes one attempt of quick.h with everything inlined
 * (the hash too: `flatten`), and leaves whatever does not succeed at once (an older version, a
 * change under its feet, a retired pond) to get_again. It writes nothing but the caller's buffer.
 */
#include "client/local/quick.h"

NEVER_INLINE uint64_t quick_overflow(const struct bucket *home, unsigned number, uint64_t segment,
                                     uint64_t meta, uint64_t limit, uint64_t tag)
{
    const struct bucket *buckets = home - number;
    unsigned bucket_count = segment_buckets(segment);
    unsigned reach = bucket_reach(meta);
    if (reach > PROBE_MAX)
        return QUICK_RARE;
    unsigned at = number;
    for (unsigned distance = 1; distance <= reach; distance++) {
        at = at + 1 < bucket_count ? at + 1 : 0;
        if (segment_unit(segment) + at * 4 > limit - 4)
            return QUICK_RARE;
        unsigned match = find_match(&buckets[at], tag);
        if (match == 0)
            continue;
        uint64_t word =
            atomic_load_explicit(&buckets[at].slots[__builtin_ctz(match)], memory_order_acquire);
        return slot_tag(word) == tag && slot_unit(word) != 0 ? slot_unit(word) : QUICK_RARE;
    }
    return QUICK_MISS;
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
    const struct binding *binding = table_binding(table);
    struct quick_home home;
    uint64_t version;
    if (find_is_old(binding))
        return SP_EOLD;
    uint64_t hash = hash_key(binding->hash_seed, key, key_bytes);
    if (LIKELY(quick_version(binding, &version) && quick_home(binding, hash, &home))) {
        size_t value_bytes;
        uint64_t unit = quick_find(binding, &home, version, hash, key, key_bytes, &value_bytes);
        if (LIKELY(unit != QUICK_MISS && unit != QUICK_RARE && value_bytes <= cap)) {
            race_copy(out, quick_value(binding, unit, key_bytes), value_bytes);
            if (quick_valid(binding, &home)) {
                *size = value_bytes;
                return SP_OK;
            }
        } else if (unit == QUICK_MISS && quick_valid(binding, &home)) {
            return SP_ENOTFOUND;
        }
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
