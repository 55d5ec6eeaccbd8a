/* SPDX-License-Identifier: Apache-2.0
 *
 * get.c - one value, copied.
 *
 * sp_get is the library's shortest way: it makes one attempt of quick.h with everything inlined
 * (the hash too: `flatten`), and leaves whatever does not succeed at once (an older version, a
 * change under its feet, a retired pond) to get_again. It writes nothing but the caller's buffer.
 */
#include "client/local/quick.h"

__attribute__((noinline)) enum quick quick_overflow(const struct quick_home *h, uint64_t limit,
                                                    uint64_t tag, uint64_t *off)
{
    const struct bucket *buckets = h->bucket - h->number;
    unsigned bucket_count = segment_buckets(h->segment);
    unsigned reach = bucket_reach(h->meta);
    uint64_t segment_off = segment_unit(h->segment) << FORMAT_UNIT_SHIFT;
    if (reach > PROBE_MAX)
        return QUICK_RARE;
    unsigned at = h->number;
    for (unsigned distance = 1; distance <= reach; distance++) {
        at = at + 1 < bucket_count ? at + 1 : 0;
        if (segment_off + (at + 1) * sizeof(struct bucket) > limit)
            return QUICK_RARE;
        unsigned match = find_match(&buckets[at], tag);
        if (match == 0)
            continue;
        uint64_t word =
            atomic_load_explicit(&buckets[at].slots[__builtin_ctz(match)], memory_order_acquire);
        *off = slot_unit(word) << FORMAT_UNIT_SHIFT;
        return QUICK_FOUND;
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
    const struct binding *b = table_binding(table);
    struct quick_home home;
    uint64_t off = 0;
    size_t value_bytes = 0;
    if (find_is_old(b))
        return SP_EOLD;
    const struct quick_arena arena = quick_arena(b);
    uint64_t version = quick_version(b);
    uint64_t hash = hash_key(b->hash_seed, key, key_bytes);
    if (UNLIKELY(!quick_home(b, &arena, hash, &home)))
        return get_again(table, key, key_bytes, out, cap, size);
    enum quick result =
        quick_find(&arena, &home, version, hash, key, key_bytes, &off, &value_bytes);
    if (LIKELY(result == QUICK_FOUND && value_bytes <= cap)) {
        race_copy(out, quick_value(&arena, off, key_bytes), value_bytes);
        if (quick_valid(b, &arena, &home)) {
            *size = value_bytes;
            return SP_OK;
        }
    } else if (result == QUICK_MISS && quick_valid_miss(b, &arena, &home, version)) {
        return SP_ENOTFOUND;
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
