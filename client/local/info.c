/* SPDX-License-Identifier: Apache-2.0
 *
 * info.c - what a pond, its tables and its readers are doing. For people and for metrics: each
 * number is read as it stands, so they need not agree with each other to the last row.
 */
#include <string.h>
#include <sys/stat.h>

#include "client/local/find.h"

#define HEARTBEAT_NEVER UINT64_MAX

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static uint64_t ms_since(uint64_t then_ms)
{
    uint64_t now = clock_monotonic_ms();
    return now > then_ms ? now - then_ms : 0;
}

/* --- names ------------------------------------------------------------------------------------ */

const char *sp_pond_state_text(enum sp_pond_state state)
{
    static const char *const names[] = {"loading", "ready", "retired"};
    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

const char *sp_table_state_text(enum sp_table_state state)
{
    static const char *const names[] = {"loading", "fresh", "failing", "held"};
    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

const char *sp_table_feed_text(enum sp_table_feed feed)
{
    static const char *const names[] = {"none", "starting", "following", "fallen back"};
    return (unsigned)feed < sizeof names / sizeof names[0] ? names[feed] : "unknown";
}

/* --- ponds ------------------------------------------------------------------------------------ */

static enum sp_pond_state state_of(uint64_t committed)
{
    if ((committed & VERSION_RETIRED) != 0)
        return SP_POND_RETIRED;
    return committed == 0 ? SP_POND_LOADING : SP_POND_READY;
}

/* Memory that the system has given to the file. */
static uint64_t file_memory(const struct region *region)
{
    struct stat about;
    return fstat(region->fd, &about) == 0 ? (uint64_t)about.st_blocks * 512 : 0;
}

static void fill_memory(const struct region *region, struct sp_pond_info *info)
{
    const struct super *super = region->super;
    uint64_t usable = load(&super->usable_units);
    uint64_t used = load(&super->used_units);
    uint64_t punched = load(&super->punched_bytes);
    usable = usable > region->unit_limit ? region->unit_limit : usable;
    used = used > usable ? usable : used;
    uint64_t free_bytes = (usable - used) << FORMAT_UNIT_SHIFT;
    info->limit_bytes = region->unit_limit << FORMAT_UNIT_SHIFT;
    info->committed_bytes = file_memory(region) + LEASES_FILE_BYTES;
    info->used_bytes = used << FORMAT_UNIT_SHIFT;
    info->free_bytes = free_bytes > punched ? free_bytes - punched : 0;
}

int sp_pond_info(struct sp_pond *pond, struct sp_pond_info *out)
{
    size_t room = out->struct_bytes;
    if (room < sizeof out->struct_bytes)
        return error_set(SP_EINVAL, "struct_bytes is not set: use SP_POND_INFO_INIT");
    (void)pond_follow_replaced(pond);
    const struct mapping *map = pond_mapping(pond);
    if ((map_committed(map) & VERSION_RETIRED) != 0 && pond_follow(pond) == SP_OK)
        map = pond_mapping(pond);
    const struct super *super = map->region.super;
    uint64_t committed = map_committed(map);
    uint64_t heartbeat = load(&super->heartbeat_ms);
    struct sp_pond_info info = {
        .struct_bytes = room,
        .state = state_of(committed),
        .version = committed & VERSION_MASK,
        .id = {map->id[0], map->id[1]},
        .table_count = sp_table_names(pond, NULL, 0),
        .writer_pid = atomic_load_explicit(&super->writer_pid, memory_order_relaxed),
        .heartbeat_age_ms = heartbeat == 0 ? HEARTBEAT_NEVER : ms_since(heartbeat),
        .writer_alive = region_writer_alive(&map->region),
    };
    memcpy(info.name, super->name, sizeof info.name);
    info.name[sizeof info.name - 1] = '\0';
    fill_memory(&map->region, &info);
    memcpy(out, &info, room < sizeof info ? room : sizeof info);
    return SP_OK;
}

uint64_t sp_pond_version(struct sp_pond *pond)
{
    uint64_t committed = map_committed(pond_mapping(pond));
    if ((committed & VERSION_RETIRED) != 0 && pond_follow(pond) == SP_OK)
        committed = map_committed(pond_mapping(pond));
    return committed & VERSION_MASK;
}

/* --- tables ----------------------------------------------------------------------------------- */

int sp_table_info(struct sp_table *table, struct sp_table_info *out)
{
    size_t room = out->struct_bytes;
    if (room < sizeof out->struct_bytes)
        return error_set(SP_EINVAL, "struct_bytes is not set: use SP_TABLE_INFO_INIT");
    const struct binding *binding = table_binding(table);
    if ((map_committed(binding->map) & VERSION_RETIRED) != 0 && pond_follow(table->pond) == SP_OK)
        binding = table_binding(table);
    const struct table_slot *slot = binding->slot;
    uint32_t flags = atomic_load_explicit(&slot->flags, memory_order_relaxed);
    uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    uint32_t feed = atomic_load_explicit(&slot->feed, memory_order_relaxed);
    uint64_t refreshed = load(&slot->refreshed_ms);
    struct sp_table_info info = {
        .struct_bytes = room,
        .state = state <= SP_TABLE_HELD ? (enum sp_table_state)state : SP_TABLE_LOADING,
        .version = load(&slot->changed_version),
        .rows = load(&slot->rows),
        .bytes = load(&slot->bytes),
        .memory_bytes = load(&slot->memory_units) << FORMAT_UNIT_SHIFT,
        .loaded_at_ms = atomic_load_explicit(&slot->refreshed_at_ms, memory_order_relaxed),
        .changed_at_ms = atomic_load_explicit(&slot->changed_at_ms, memory_order_relaxed),
        .age_ms = refreshed == 0 ? UINT64_MAX : ms_since(refreshed),
        .max_stale_ms = load(&slot->max_stale_ms),
        .fails_when_stale = (flags & SLOT_FAIL_WHEN_STALE) != 0,
        .refresh_count = load(&slot->refresh_count),
        .failure_count = load(&slot->failure_count),
        .change_count = load(&slot->changes),
        .feed = feed <= SP_FEED_FALLEN_BACK ? (enum sp_table_feed)feed : SP_FEED_NONE,
    };
    info.stale = info.max_stale_ms != 0 && info.age_ms > info.max_stale_ms;
    memcpy(out, &info, room < sizeof info ? room : sizeof info);
    return SP_OK;
}

/* --- readers ---------------------------------------------------------------------------------- */

/* The lock is asked for through an attach of our own, so that what this process holds counts too.
 */
static size_t list_readers(const struct region_leases *leases, struct sp_reader_info *out,
                           size_t max)
{
    size_t count = 0;
    for (unsigned i = 0; i < FORMAT_LEASES_MAX; i++) {
        const struct lease *lease = &leases->leases[i];
        uint64_t pinned = atomic_load_explicit(&lease->pinned, memory_order_acquire);
        if ((pinned & LEASE_BUSY) == 0 || !region_lease_held(leases, i))
            continue;
        if (count < max)
            out[count] = (struct sp_reader_info){
                .pid = atomic_load_explicit(&lease->pid, memory_order_relaxed),
                .version = pinned & VERSION_MASK,
                .held_ms = ms_since(load(&lease->since_ms)),
                .revoked = (pinned & LEASE_REVOKED) != 0,
            };
        count++;
    }
    return count;
}

size_t sp_readers(struct sp_pond *pond, struct sp_reader_info *out, size_t max)
{
    struct region_leases leases;
    if (region_leases_attach(pond->directory, pond_mapping(pond)->id, &leases) != SP_OK)
        return 0;
    size_t count = list_readers(&leases, out, max);
    region_leases_detach(&leases);
    return count;
}
