/* SPDX-License-Identifier: Apache-2.0
 *
 * bind.c - mappings of ponds, and where the tables are in them.
 *
 * When the daemon replaces its pond (another size or format), it marks the old one as retired; the
 * next read of each table sees that and comes here. The new pond is attached once, all tables are
 * bound to it by name, and later reads go there. The old mapping stays, because another thread may
 * be reading through it at this moment; it costs address space, its memory is the daemon's to give
 * back.
 */
#include <stdlib.h>
#include <string.h>

#include "client/local/find.h"

#define CHECK_EVERY_MS 1000u /* how often the slow calls look at the directory */
#define RETRY_AFTER_MS 5u    /* how soon an absent pond is looked for again */
/* Bindings of a table: they are kept, and a forged pond can ask for more and more. */
#define LEARN_MAX 65536u

/* What stands for the slot of a table that the pond does not have, and for the directory of one
 * that has not been read yet. No slot's route is NO_ROUTE, so R8 never passes with them. */
static const struct table_slot no_slot;
static const _Atomic uint64_t no_directory[1];
#define NO_ROUTE UINT64_MAX

int mapping_open(const char *directory, struct mapping **out, char *why)
{
    struct mapping *map = calloc(1, sizeof *map);
    if (map == NULL)
        return SP_ENOMEM;
    int status = region_attach(directory, &map->region, why);
    if (status != SP_OK) {
        free(map);
        return status;
    }
    memcpy(map->id, map->region.super->id, sizeof map->id);
    *out = map;
    return SP_OK;
}

void mapping_free(struct mapping *map)
{
    leases_free(atomic_load_explicit(&map->leases, memory_order_relaxed));
    schemas_free(map->schemas);
    region_detach(&map->region);
    free(map);
}

const struct table_slot *mapping_slot(const struct mapping *map, const char *name)
{
    const struct super *super = map->region.super;
    uint32_t count = atomic_load_explicit(&super->table_count, memory_order_acquire);
    if (count > FORMAT_TABLES_MAX)
        count = FORMAT_TABLES_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (strncmp(map->region.slots[i].name, name, FORMAT_NAME_BYTES) == 0)
            return &map->region.slots[i];
    return NULL;
}

uint64_t mapping_usable_bytes(const struct mapping *map)
{
    const struct region *region = &map->region;
    uint64_t usable = atomic_load_explicit(&region->super->usable_units, memory_order_acquire);
    if (usable > region->unit_limit)
        usable = region->unit_limit;
    usable = usable / BUCKET_UNITS * BUCKET_UNITS;
    return (usable < FORMAT_UNITS_LEAST ? FORMAT_UNITS_LEAST : usable) << FORMAT_UNIT_SHIFT;
}

bool binding_grow(struct binding *binding, uint64_t seen_bytes)
{
    uint64_t usable = mapping_usable_bytes(binding->map);
    uint64_t limit = atomic_load_explicit(&binding->limit_bytes, memory_order_relaxed);
    while (usable > limit) {
        if (atomic_compare_exchange_weak_explicit(&binding->limit_bytes, &limit, usable,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return limit > seen_bytes;
}

/* On lines of its own, as each read loads it. */
static struct binding *binding_new(void)
{
    struct binding *binding = aligned_alloc(64, sizeof *binding);
    if (binding != NULL)
        memset(binding, 0, sizeof *binding);
    return binding;
}

/* The newest pond's binding stays in front: a snapshot of an older pond may need one as well. */
static void binding_put(struct sp_table *table, struct binding *binding)
{
    struct binding *first = atomic_load_explicit(&table->binding, memory_order_relaxed);
    if (first != NULL && binding->map != pond_mapping(table->pond)) {
        binding->older = first->older;
        first->older = binding;
    } else {
        binding->older = first;
        atomic_store_explicit(&table->binding, binding, memory_order_release);
    }
}

struct binding *binding_make(struct sp_table *table, struct mapping *map)
{
    struct binding *binding = binding_new();
    if (binding == NULL)
        return NULL;
    const struct table_slot *slot = mapping_slot(map, table->name);
    binding->super = map->region.super;
    binding->slot = slot != NULL ? slot : &no_slot;
    binding->arena = map->region.arena;
    binding->hash = map->region.hash;
    binding->directory = no_directory;
    binding->dir_words = 1;
    binding->route = NO_ROUTE;
    binding->map = map;
    atomic_init(&binding->limit_bytes, mapping_usable_bytes(map));
    binding_put(table, binding);
    return binding;
}

/* What says where the table is. The limit and the schema may change meanwhile. */
static void binding_copy(struct binding *to, const struct binding *from)
{
    to->super = from->super;
    to->slot = from->slot;
    to->arena = from->arena;
    to->hash = from->hash;
    to->map = from->map;
    atomic_init(&to->limit_bytes, atomic_load_explicit(&from->limit_bytes, memory_order_relaxed));
    atomic_init(&to->schema, atomic_load_explicit(&from->schema, memory_order_acquire));
}

/* Whether a directory lies inside the limit as a whole. */
static bool directory_fits(uint64_t dir, uint64_t limit)
{
    unsigned depth = dir_depth(dir);
    uint64_t unit = dir_unit(dir);
    if (depth > DIR_DEPTH_MAX || unit == 0 || unit >= limit)
        return false;
    return ((UINT64_C(1) << depth) + 1) / 2 <= limit - unit;
}

NEVER_INLINE void binding_learn(struct sp_table *table, struct binding *binding,
                                const struct find_path *path)
{
    uint64_t limit = find_limit(binding);
    if (path->dir_at != &path->root->dirs[0] ||
        (const uint8_t *)path->root != binding->arena + (path->head << FORMAT_UNIT_SHIFT) ||
        binding->route == path->route || !directory_fits(path->dir, limit))
        return;
    struct sp_pond *pond = table->pond;
    pthread_mutex_lock(&pond->mutex);
    struct binding *now = table_binding(table);
    struct binding *fresh = NULL;
    if (now->map == binding->map && now->route != path->route && table->learned < LEARN_MAX)
        fresh = binding_new(); /* if there is no memory, reads go on as they are */
    if (fresh != NULL) {
        table->learned++;
        binding_copy(fresh, now);
        fresh->directory =
            (const _Atomic uint64_t *)(now->arena + (dir_unit(path->dir) << FORMAT_UNIT_SHIFT));
        fresh->dir_words = UINT64_C(1) << dir_depth(path->dir);
        fresh->route = path->route;
        fresh->flags = atomic_load_explicit(&now->slot->flags, memory_order_relaxed);
        fresh->head = path->head;
        fresh->born = path->born;
        binding_put(table, fresh);
    }
    pthread_mutex_unlock(&pond->mutex);
}

struct binding *binding_for(struct sp_table *table, struct mapping *map)
{
    struct binding *binding = table_binding(table);
    for (; binding != NULL; binding = binding->older)
        if (binding->map == map)
            return binding;
    return binding_make(table, map);
}

/* --- another pond ----------------------------------------------------------------------------- */

static bool is_ready(const struct mapping *map)
{
    uint64_t committed = map_committed(map);
    return committed != 0 && (committed & VERSION_RETIRED) == 0;
}

static int bind_all(struct sp_pond *pond, struct mapping *map)
{
    map->older = pond_mapping(pond);
    atomic_store_explicit(&pond->current, map, memory_order_release);
    for (struct sp_table *table = pond->tables; table != NULL; table = table->next)
        if (binding_make(table, map) == NULL)
            return error_plain(SP_ENOMEM);
    return SP_OK;
}

/* Attaches to what the directory holds, if that is another pond and ready. */
static int attach_next(struct sp_pond *pond)
{
    struct mapping *next;
    int status = mapping_open(pond->directory, &next, error_buffer());
    if (status == SP_ENOPOND)
        return error_set(SP_ENOTREADY, "the pond in %s is retired and there is no new one yet",
                         pond->directory);
    if (status != SP_OK)
        return status;
    const struct mapping *current = pond_mapping(pond);
    if (memcmp(next->id, current->id, sizeof next->id) == 0 || !is_ready(next)) {
        mapping_free(next);
        return error_set(SP_ENOTREADY, "the pond in %s is retired and its successor is not ready",
                         pond->directory);
    }
    return bind_all(pond, next);
}

/* Some table could not be bound when memory was short. */
static int bind_rest(struct sp_pond *pond)
{
    struct mapping *map = pond_mapping(pond);
    for (struct sp_table *table = pond->tables; table != NULL; table = table->next)
        if (table_binding(table)->map != map && binding_make(table, map) == NULL)
            return error_plain(SP_ENOMEM);
    return SP_OK;
}

int pond_follow(struct sp_pond *pond)
{
    int status;
    pthread_mutex_lock(&pond->mutex);
    uint64_t now = clock_monotonic_ms();
    if (is_ready(pond_mapping(pond))) { /* another thread was faster */
        status = bind_rest(pond);
    } else if (now - pond->attach_failed_ms < RETRY_AFTER_MS) {
        status = error_set(SP_ENOTREADY, "the pond in %s is retired", pond->directory);
    } else {
        status = attach_next(pond);
        if (status != SP_OK)
            pond->attach_failed_ms = now;
    }
    pthread_mutex_unlock(&pond->mutex);
    return status;
}

int pond_follow_replaced(struct sp_pond *pond)
{
    uint64_t now = clock_monotonic_ms();
    uint64_t checked = atomic_load_explicit(&pond->checked_ms, memory_order_relaxed);
    if (now - checked < CHECK_EVERY_MS ||
        !atomic_compare_exchange_strong_explicit(&pond->checked_ms, &checked, now,
                                                 memory_order_relaxed, memory_order_relaxed))
        return SP_OK;
    pthread_mutex_lock(&pond->mutex);
    /* Not ready is no error here: the pond that we have goes on. */
    int status = SP_OK;
    if (region_replaced(pond->directory, &pond_mapping(pond)->region))
        status = attach_next(pond);
    pthread_mutex_unlock(&pond->mutex);
    return status == SP_ENOMEM ? status : SP_OK;
}
