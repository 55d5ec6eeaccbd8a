/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.c - pinning a version, and reading rows in place.
 *
 * A lease is a slot of the leases file with an OFD lock on it. Taking one costs system calls, so a
 * lease that was used stays with the process, in a pool: the next snapshot finds it by one atomic
 * exchange, and pins by one store and a fence (S2). The pool's elements are the snapshots, so none
 * is allocated.
 *
 * A retired pond is not the daemon's care any more: it gives the memory back when every lease must
 * have ended by its time limit. So there a snapshot counts as lost once it is as old as the limit,
 * which is sooner than that.
 */
#include "client/local/snapshot.h"

#include <stdlib.h>
#include <unistd.h>

#define WHOLE_EVERY_MS 1000u /* how often the leases file is looked at */
#define COUNT_MASK     0xfffffu

_Atomic unsigned fork_generation;

static unsigned generation_now(void)
{
    return atomic_load_explicit(&fork_generation, memory_order_relaxed);
}

/* --- the pool --------------------------------------------------------------------------------- */

void leases_forked(struct mapping *map)
{
    struct lease_pool *pool = atomic_load_explicit(&map->leases, memory_order_relaxed);
    for (; pool != NULL; pool = pool->older)
        region_leases_detach(&pool->file);
}

void leases_free(struct lease_pool *pool)
{
    while (pool != NULL) {
        struct lease_pool *older = pool->older;
        uint32_t owned = atomic_load_explicit(&pool->owned, memory_order_acquire);
        for (uint32_t i = 0; pool->file.head != NULL && i < owned; i++)
            atomic_store_explicit(&pool->slots[i].lease->pinned, 0, memory_order_release);
        region_leases_detach(&pool->file);
        free(pool);
        pool = older;
    }
}

static bool pool_usable(const struct lease_pool *pool)
{
    return pool != NULL && pool->fork_generation == generation_now();
}

static int leases_error(const struct sp_pond *pond, int status)
{
    if (status == SP_EACCESS)
        return error_set(status,
                         "%s/" FORMAT_LEASES_FILE ": this process may not write it, so it "
                         "cannot hold snapshots",
                         pond->directory);
    if (status == SP_ENOLEASE)
        return error_set(status, "all %u leases of %s are taken", FORMAT_LEASES_MAX,
                         pond->directory);
    return error_set(status, "%s/" FORMAT_LEASES_FILE ": %s", pond->directory,
                     status == SP_ENOTREADY ? "is not there or of another pond"
                                            : sp_status_text(status));
}

/* Mutex held. */
static int pool_make(struct sp_pond *pond, struct mapping *map, struct lease_pool **out)
{
    struct lease_pool *last = atomic_load_explicit(&map->leases, memory_order_relaxed);
    if (pool_usable(last) && region_leases_whole(&last->file)) {
        *out = last;
        return SP_OK;
    }
    struct lease_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return SP_ENOMEM;
    int status = region_leases_attach(pond->directory, map->id, &pool->file);
    if (status != SP_OK) {
        free(pool);
        return status;
    }
    pool->pond = pond;
    pool->map = map;
    pool->fork_generation = generation_now();
    atomic_init(&pool->checked_ms, clock_monotonic_ms());
    pool->older = last;
    atomic_store_explicit(&map->leases, pool, memory_order_release);
    *out = pool;
    return SP_OK;
}

/* Takes one more lease of the file. Mutex held. */
static int pool_grow(struct lease_pool *pool, struct sp_snapshot **out)
{
    uint32_t owned = atomic_load_explicit(&pool->owned, memory_order_relaxed);
    unsigned start = (unsigned)getpid() * 31u;
    for (unsigned i = 0; i < FORMAT_LEASES_MAX; i++) {
        unsigned index = (start + i) % FORMAT_LEASES_MAX;
        if ((pool->taken[index / 8] >> (index % 8) & 1) != 0)
            continue;
        int status = region_lease_lock(&pool->file, index);
        if (status == SP_EBUSY)
            continue;
        if (status != SP_OK)
            return status;
        pool->taken[index / 8] |= (uint8_t)(1u << (index % 8));
        struct sp_snapshot *slot = &pool->slots[owned];
        slot->pool = pool;
        slot->lease = &pool->file.leases[index];
        /* What a process that died has left. */
        atomic_store_explicit(&slot->lease->pinned, 0, memory_order_release);
        atomic_store_explicit(&slot->lease->pid, (int64_t)getpid(), memory_order_relaxed);
        atomic_init(&slot->busy, 1);
        atomic_store_explicit(&pool->owned, owned + 1, memory_order_release);
        *out = slot;
        return SP_OK;
    }
    return SP_ENOLEASE;
}

/* A free element, or NULL. Each thread tries first what it had last. */
static struct sp_snapshot *pool_take(struct lease_pool *pool)
{
    static _Thread_local uint32_t hint;
    uint32_t owned = atomic_load_explicit(&pool->owned, memory_order_acquire);
    uint32_t at = hint < owned ? hint : 0;
    for (uint32_t i = 0; i < owned; i++) {
        struct sp_snapshot *slot = &pool->slots[at];
        if (atomic_load_explicit(&slot->busy, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&slot->busy, 1, memory_order_acquire) == 0) {
            hint = at;
            return slot;
        }
        at = at + 1 < owned ? at + 1 : 0;
    }
    return NULL;
}

/* --- begin and end ---------------------------------------------------------------------------- */

static int take_slow(struct sp_pond *pond, struct mapping *map, struct sp_snapshot **out)
{
    struct lease_pool *pool;
    pthread_mutex_lock(&pond->mutex);
    int status = pool_make(pond, map, &pool);
    if (status == SP_OK) {
        *out = pool_take(pool);
        if (*out == NULL)
            status = pool_grow(pool, out);
    }
    pthread_mutex_unlock(&pond->mutex);
    return status == SP_OK ? SP_OK : leases_error(pond, status);
}

static int take(struct sp_pond *pond, struct mapping *map, uint64_t now, struct sp_snapshot **out)
{
    struct lease_pool *pool = atomic_load_explicit(&map->leases, memory_order_acquire);
    if (pool_usable(pool) &&
        now - atomic_load_explicit(&pool->checked_ms, memory_order_relaxed) < WHOLE_EVERY_MS) {
        *out = pool_take(pool);
        if (*out != NULL)
            return SP_OK;
    }
    if (pool_usable(pool))
        atomic_store_explicit(&pool->checked_ms, now, memory_order_relaxed);
    return take_slow(pond, map, out);
}

/* S2. False: the pond was retired meanwhile. */
static bool pin(struct sp_snapshot *snapshot, const struct super *super)
{
    struct lease *lease = snapshot->lease;
    atomic_store_explicit(&lease->since_ms, snapshot->began_ms, memory_order_relaxed);
    uint64_t committed = atomic_load_explicit(&super->committed, memory_order_acquire);
    for (;;) {
        snapshot->use_count = (snapshot->use_count + 1) & COUNT_MASK;
        snapshot->pinned =
            (committed & VERSION_MASK) | (uint64_t)snapshot->use_count << VERSION_BITS | LEASE_BUSY;
        atomic_store_explicit(&lease->pinned, snapshot->pinned, memory_order_seq_cst);
        race_fence_full();
        uint64_t again = atomic_load_explicit(&super->committed, memory_order_seq_cst);
        if (again == committed)
            break;
        committed = again;
    }
    return (committed & VERSION_RETIRED) == 0;
}

int sp_snapshot_begin(struct sp_pond *pond, struct sp_snapshot **out)
{
    *out = NULL;
    int status = pond_follow_replaced(pond);
    while (status == SP_OK) {
        struct mapping *map = pond_mapping(pond);
        if ((map_committed(map) & VERSION_RETIRED) != 0) {
            status = pond_follow(pond);
            continue;
        }
        struct sp_snapshot *snapshot;
        uint64_t now = clock_monotonic_ms();
        status = take(pond, map, now, &snapshot);
        if (status != SP_OK)
            return status;
        snapshot->began_ms = now;
        if (pin(snapshot, map->region.super)) {
            *out = snapshot;
            return SP_OK;
        }
        sp_snapshot_end(snapshot);
    }
    return status;
}

void sp_snapshot_end(struct sp_snapshot *snapshot)
{
    if (snapshot == NULL || snapshot->pool->fork_generation != generation_now())
        return;
    atomic_store_explicit(&snapshot->lease->pinned, 0, memory_order_release);
    atomic_store_explicit(&snapshot->busy, 0, memory_order_release);
}

uint64_t sp_snapshot_version(const struct sp_snapshot *snapshot)
{
    return snapshot->pinned & VERSION_MASK;
}

/* Whether a snapshot of a retired pond may have outlived its memory. */
static NEVER_INLINE bool retired_too_long(const struct sp_snapshot *snapshot,
                                          const struct super *super)
{
    uint64_t limit = atomic_load_explicit(&super->lease_limit_ms, memory_order_relaxed);
    return clock_monotonic_ms() - snapshot->began_ms >= limit;
}

int snapshot_status(const struct sp_snapshot *snapshot)
{
    const struct lease_pool *pool = snapshot->pool;
    if (UNLIKELY(pool->fork_generation != generation_now()))
        return SP_EFORKED;
    const struct super *super = pool->map->region.super;
    race_fence();
    if (UNLIKELY(atomic_load_explicit(&snapshot->lease->pinned, memory_order_relaxed) !=
                 snapshot->pinned))
        return SP_ESTALE;
    uint64_t committed = atomic_load_explicit(&super->committed, memory_order_relaxed);
    if (UNLIKELY((committed & VERSION_RETIRED) != 0) && retired_too_long(snapshot, super))
        return SP_ESTALE;
    return SP_OK;
}

int sp_snapshot_check(const struct sp_snapshot *snapshot)
{
    return snapshot_status(snapshot);
}

/* --- views ------------------------------------------------------------------------------------ */

struct binding *snapshot_binding(const struct sp_snapshot *snapshot, struct sp_table *table)
{
    struct binding *binding = table_binding(table);
    if (LIKELY(binding->map == snapshot->pool->map))
        return binding;
    if (table->pond != snapshot->pool->pond)
        return NULL;
    pthread_mutex_lock(&table->pond->mutex);
    binding = binding_for(table, snapshot->pool->map);
    pthread_mutex_unlock(&table->pond->mutex);
    return binding;
}

int snapshot_find(const struct sp_snapshot *snapshot, struct sp_table *table,
                  struct binding *binding, unsigned index, const void *key, size_t key_bytes,
                  struct find_path *path, struct found *found)
{
    uint32_t tries = 0;
    int status;
    do {
        find_begin_at(path, binding, snapshot->pinned & VERSION_MASK);
        enum find result = find_key(path, index, key, key_bytes, found);
        if (LIKELY(result == FIND_HIT && find_valid(path)))
            status = SP_OK;
        else
            status = find_settle(table, &binding, path, result, true, &tries);
    } while (UNLIKELY(status == READ_AGAIN));
    int lost = snapshot_status(snapshot);
    return LIKELY(lost == SP_OK) ? status : lost;
}

void view_set(struct sp_view *out, const struct found *found, const struct sp_schema *schema)
{
    out->key = found->key;
    out->key_bytes = found->key_bytes;
    out->value = found->value;
    out->value_bytes = found->value_bytes;
    out->schema = schema;
}

int sp_view(struct sp_snapshot *snapshot, struct sp_table *table, const void *key, size_t key_bytes,
            struct sp_view *out)
{
    if (UNLIKELY(snapshot->pool->fork_generation != generation_now()))
        return SP_EFORKED;
    struct binding *binding = snapshot_binding(snapshot, table);
    if (UNLIKELY(binding == NULL))
        return table->pond == snapshot->pool->pond ? SP_ENOMEM : SP_EINVAL;
    if (find_is_old(binding))
        return SP_EOLD;
    for (uint32_t tries = 0; tries < READ_TRIES_MAX; tries++) {
        struct find_path path;
        struct found found;
        const struct sp_schema *schema;
        int status = snapshot_find(snapshot, table, binding, 0, key, key_bytes, &path, &found);
        if (status == SP_OK)
            status = schema_of(table, binding, &path, &schema);
        if (UNLIKELY(status == READ_AGAIN))
            continue;
        if (LIKELY(status == SP_OK))
            view_set(out, &found, schema);
        return status;
    }
    return SP_ECORRUPT;
}

int sp_view_column(const struct sp_view *view, size_t column, struct sp_value *out)
{
    if (column >= view->schema->parsed->column_count)
        return SP_ENOCOLUMN;
    return row_column_get(view->schema->parsed, (unsigned)column, view->key, view->key_bytes,
                          view->value, view->value_bytes, out);
}

int sp_view_field(const struct sp_view *view, const char *path, struct sp_value *out)
{
    struct sp_value document;
    const int column = view->schema->parsed->document;
    if (column < 0)
        return SP_ENOCOLUMN;
    int status = sp_view_column(view, (size_t)column, &document);
    if (status == SP_OK && document.is_null)
        return SP_ENOTFOUND;
    return status == SP_OK ? sp_bson_field(&document, path, strlen(path), out) : status;
}

size_t sp_view_json(const struct sp_view *view, char *out, size_t cap)
{
    return row_json(view->schema->parsed, view->key, view->key_bytes, view->value,
                    view->value_bytes, out, cap);
}
