/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c - opening and closing a pond for writing, status of tables, information, the tick.
 */
#include "server/store/internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

void *vector_push(struct vector *vector, size_t item_bytes)
{
    if (vector->count == vector->cap) {
        size_t cap = vector->cap ? vector->cap * 2 : 64;
        void *items = realloc(vector->items, cap * item_bytes);
        if (!items)
            return NULL;
        vector->items = items;
        vector->cap = cap;
    }
    return (char *)vector->items + vector->count++ * item_bytes;
}

void vector_free(struct vector *vector)
{
    free(vector->items);
    *vector = (struct vector){0};
}

/* --- opening -------------------------------------------------------------------------------- */

static void sign_in(struct store *store)
{
    struct super *super = store->region.super;
    atomic_store_explicit(&super->lease_limit_ms, store->options.lease_limit_ms,
                          memory_order_relaxed);
    atomic_store_explicit(&super->heartbeat_ms, clock_monotonic_ms(), memory_order_relaxed);
    atomic_store_explicit(&super->writer_pid, getpid(), memory_order_release);
}

/* An empty pond of the configured size, not yet in its place. */
static int create_pond(struct store *store, char *why)
{
    uint64_t units = region_units_for(store->options.limit_bytes);
    struct region_create how = {.name = store->options.name,
                                .limit_bytes = store->options.limit_bytes,
                                .meta_bytes = buddy_meta_bytes(units),
                                .gid = store->options.gid};
    uint64_t first;
    int status = region_create(store->directory, &how, &store->region, why);
    if (status != SP_OK)
        return status;
    status = space_init(store);
    if (status == SP_OK) /* where the allocator keeps its head */
        status = region_commit(&store->region, store->region.super->meta_off, 4096);
    if (status == SP_OK)
        status = buddy_format(&store->buddy, store->region.meta, store->region.unit_limit);
    if (status == SP_OK)
        space_let_rest(store);
    if (status == SP_OK) /* unit 0 is "none" */
        status = space_alloc(store, 1, 1, &first);
    if (status != SP_OK)
        snprintf(why, STORE_WHY_BYTES, "%s: %s", store->directory, sp_status_text(status));
    return status;
}

static int publish_pond(struct store *store, char *why)
{
    int status = region_publish(store->directory, &store->region, why);
    if (status == SP_OK)
        status = region_leases_attach(store->directory, store->region.super->id, &store->leases);
    return status;
}

/* Tells readers of replaced ponds to look for the new one; the memory is given back when their
 * leases are over. Also finishes what an earlier daemon has left. */
static void retire(struct store *store)
{
    for (unsigned i = 0; i < REGION_RETIRED_MAX; i++) {
        if (region_retired_open(store->directory, i, &store->retired_fds[i]) == SP_OK)
            store->retired_punch_ms =
                clock_monotonic_ms() + store->options.lease_limit_ms + store->options.cooling_ms;
    }
}

static void retired_end(struct store *store)
{
    for (unsigned i = 0; i < REGION_RETIRED_MAX; i++) {
        if (store->retired_fds[i] >= 0)
            region_retired_end(store->directory, i, store->retired_fds[i]);
        store->retired_fds[i] = -1;
    }
    store->retired_punch_ms = 0;
}

static int replace_pond(struct store *store, const struct region *old, struct store_opened *opened,
                        char *why)
{
    opened->origin = STORE_REPLACED;
    int status = create_pond(store, why);
    if (status == SP_OK) /* the copy holds a lease, so the file must be there and whole */
        status = region_leases_create(store->directory, old->super->id, store->options.gid, why);
    if (status == SP_OK)
        status = migrate(store, opened, why);
    if (status == SP_OK)
        status = cache_carry(store, old);
    if (status == SP_OK)
        status = publish_pond(store, why);
    if (status == SP_OK) /* see retire; this does not need the file's second name */
        atomic_fetch_or_explicit(&old->super->committed, VERSION_RETIRED, memory_order_seq_cst);
    else
        region_discard(&store->region);
    return status;
}

/* Nothing there, or nothing that can be read: a new one takes its place. */
static int create_anew(struct store *store, char *why)
{
    int status = create_pond(store, why);
    if (status == SP_OK)
        status = publish_pond(store, why);
    if (status != SP_OK)
        region_discard(&store->region);
    return status;
}

static int recover_pond(struct store *store, struct store_opened *opened, char *why)
{
    opened->origin = STORE_RECOVERED;
    int status = region_give_to_group(store->directory, store->options.gid, why);
    if (status != SP_OK)
        return status;
    status = region_leases_attach(store->directory, store->region.super->id, &store->leases);
    if (status != SP_OK) { /* lost or damaged: nobody can hold a lease through it */
        status = region_leases_create(store->directory, store->region.super->id, store->options.gid,
                                      why);
        if (status == SP_OK)
            status =
                region_leases_attach(store->directory, store->region.super->id, &store->leases);
    }
    if (status == SP_OK)
        status = space_init(store);
    return status == SP_OK ? recover(store, opened, why) : status;
}

static int open_pond(struct store *store, struct store_opened *opened, char *why)
{
    struct region old = {0};
    char note[REGION_WHY_BYTES];
    int status = region_attach_writer(store->directory, &old, note);
    bool retired = status == SP_OK && (atomic_load(&old.super->committed) & VERSION_RETIRED);
    if (status == SP_OK && !retired &&
        old.unit_limit == region_units_for(store->options.limit_bytes) &&
        strcmp(old.super->name, store->options.name) == 0) {
        store->region = old;
        return recover_pond(store, opened, why);
    }
    if (status == SP_OK) {
        status = replace_pond(store, &old, opened, why);
        region_detach(&old);
        return status;
    }
    if (status == SP_EACCESS || status == SP_ESYS || status == SP_ENOMEM) {
        snprintf(why, STORE_WHY_BYTES, "%s", note);
        return status;
    }
    if (region_foreign(store->directory)) {
        snprintf(why, STORE_WHY_BYTES,
                 "%s/" FORMAT_POND_FILE " was not made by Sidepond and is left as it is; remove it "
                 "or choose another directory",
                 store->directory);
        return SP_EFORMAT;
    }
    opened->origin = status == SP_ENOPOND ? STORE_CREATED : STORE_REPLACED;
    if (status != SP_ENOPOND)
        snprintf(opened->note, sizeof(opened->note), "%s", note);
    return create_anew(store, why);
}

static int validate_options(const struct store_options *options, char *why)
{
    if (strlen(options->directory) >= sizeof(((struct store *)0)->directory)) {
        snprintf(why, STORE_WHY_BYTES, "directory %s: the path is too long", options->directory);
        return SP_EINVAL;
    }
    if (options->limit_bytes < CHUNK_BYTES || options->limit_bytes > UINT64_C(1) << 40) {
        snprintf(why, STORE_WHY_BYTES, "memory: a pond has from 1 MiB to 1 TiB, not %llu bytes",
                 (unsigned long long)options->limit_bytes);
        return SP_EINVAL;
    }
    return SP_OK;
}

static void free_store(struct store *store)
{
    for (unsigned i = 0; i < FORMAT_TABLES_MAX; i++)
        shape_free_struct(store->tables[i].current);
    const struct held_root *roots = store->held_roots.items;
    for (size_t i = 0; i < store->held_roots.count; i++)
        shape_free_struct(roots[i].shape);
    const struct grave *graves = store->graves.items;
    for (size_t i = 0; i < store->graves.count; i++)
        shape_free_struct(graves[i].shape);
    vector_free(&store->held_roots);
    vector_free(&store->graves);
    vector_free(&store->unlinked);
    vector_free(&store->moved.units);
    free(store->held.slots);
    space_destroy(store);
    region_leases_detach(&store->leases);
    region_detach(&store->region);
    for (unsigned i = 0; i < REGION_RETIRED_MAX; i++) {
        if (store->retired_fds[i] >= 0)
            close(store->retired_fds[i]);
    }
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_cond_destroy(&store->commit_over);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

int store_open(const struct store_options *options, struct store **out, struct store_opened *opened,
               char *why)
{
    uint64_t start = clock_us();
    long holder = 0;
    *opened = (struct store_opened){0};
    int status = validate_options(options, why);
    if (status != SP_OK)
        return status;
    struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return SP_ENOMEM;
    store->options = *options;
    if (store->options.cooling_ms == 0)
        store->options.cooling_ms = COOLING_MS;
    strcpy(store->directory, options->directory);
    store->lock_fd = store->region.fd = store->region.dir_fd = -1;
    store->leases.fd = -1;
    for (unsigned i = 0; i < REGION_RETIRED_MAX; i++)
        store->retired_fds[i] = -1;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->commit_over, NULL);
    if (getrandom(&store->segment_serial, sizeof(store->segment_serial), 0) < 0)
        store->segment_serial = start;
    status = region_writer_lock(store->directory, &store->lock_fd, &holder, why);
    if (status == SP_OK)
        status = open_pond(store, opened, why);
    if (status != SP_OK) {
        free_store(store);
        return status;
    }
    retire(store);
    sign_in(store);
    opened->version = store_committed(store);
    opened->elapsed_us = clock_us() - start;
    *out = store;
    return SP_OK;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    while (store->txns)
        store_abort(store->txns);
    /* Nobody will remember which originals wait for leases. */
    if (store->moved.units.count == 0 || leases_revoke(store))
        moves_pending_set(store, false);
    space_settle(store);
    atomic_store_explicit(&store->region.super->writer_pid, 0, memory_order_release);
    free_store(store);
}

/* --- the lock ------------------------------------------------------------------------------- */

#define YIELDS_MOST 100u

void store_lock(struct store *store)
{
    for (unsigned i = 0; i < YIELDS_MOST; i++) {
        if (atomic_load_explicit(&store->waiting, memory_order_relaxed) == 0)
            break;
        sched_yield();
    }
    pthread_mutex_lock(&store->lock);
}

void store_breathe(struct store *store)
{
    if (atomic_load_explicit(&store->waiting, memory_order_relaxed) == 0)
        return;
    pthread_mutex_unlock(&store->lock);
    store_lock(store);
}

/* --- status --------------------------------------------------------------------------------- */

static struct table_slot *find_slot(struct store *store, const char *name)
{
    unsigned count = atomic_load_explicit(&store->region.super->table_count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(store->region.slots[i].name, name) == 0)
            return &store->region.slots[i];
    }
    return NULL;
}

void route_raise(struct table_slot *slot)
{
    if (!BREAKS_ROUTE)
        atomic_fetch_add_explicit(&slot->route, 1, memory_order_release);
}

static void set_flags(struct table_slot *slot, bool fails_when_stale)
{
    uint32_t flags = fails_when_stale ? SLOT_FAIL_WHEN_STALE : 0;
    if (atomic_load_explicit(&slot->flags, memory_order_relaxed) == flags)
        return;
    atomic_store_explicit(&slot->flags, flags, memory_order_release);
    route_raise(slot);
}

static void set_status(struct table_slot *slot, const struct store_status *status)
{
    uint64_t now = clock_monotonic_ms();
    if (status->refreshed) {
        uint64_t age = status->age_ms < now ? status->age_ms : now - 1; /* 0 is "never" */
        atomic_store_explicit(&slot->refreshed_ms, now - age, memory_order_relaxed);
        atomic_store_explicit(&slot->refreshed_at_ms, clock_wall_ms() - (int64_t)age,
                              memory_order_relaxed);
        atomic_fetch_add_explicit(&slot->refresh_count, 1, memory_order_relaxed);
        atomic_store_explicit(&slot->failure_count, 0, memory_order_relaxed);
    }
    if (status->failed)
        atomic_fetch_add_explicit(&slot->failure_count, 1, memory_order_relaxed);
    uint64_t refreshed = atomic_load_explicit(&slot->refreshed_ms, memory_order_relaxed);
    atomic_store_explicit(&slot->max_stale_ms, status->max_stale_ms, memory_order_relaxed);
    atomic_store_explicit(&slot->deadline_ms, refreshed + status->max_stale_ms,
                          memory_order_relaxed);
    set_flags(slot, status->fail_when_stale && status->max_stale_ms > 0);
    atomic_store_explicit(&slot->state, status->state, memory_order_release);
}

void store_table_status(struct store *store, const char *name, const struct store_status *status)
{
    pthread_mutex_lock(&store->lock);
    struct table_slot *slot = find_slot(store, name);
    if (slot)
        set_status(slot, status);
    pthread_mutex_unlock(&store->lock);
}

void store_table_feed(struct store *store, const char *name, enum sp_table_feed feed)
{
    pthread_mutex_lock(&store->lock);
    struct table_slot *slot = find_slot(store, name);
    if (slot)
        atomic_store_explicit(&slot->feed, feed, memory_order_relaxed);
    pthread_mutex_unlock(&store->lock);
}

void store_table_age(struct store *store, const char *name, const struct table_age *age)
{
    pthread_mutex_lock(&store->lock);
    struct table_slot *slot = find_slot(store, name);
    if (slot && age->refreshed_at_ms > 0) {
        int64_t passed = clock_wall_ms() - age->refreshed_at_ms;
        uint64_t now = clock_monotonic_ms(), ago = passed > 0 ? (uint64_t)passed : 0;
        uint64_t refreshed = ago < now ? now - ago : 1; /* 0 is "never" */
        atomic_store_explicit(&slot->refreshed_ms, refreshed, memory_order_relaxed);
        atomic_store_explicit(&slot->refreshed_at_ms, age->refreshed_at_ms, memory_order_relaxed);
        atomic_store_explicit(&slot->max_stale_ms, age->max_stale_ms, memory_order_relaxed);
        atomic_store_explicit(&slot->deadline_ms, refreshed + age->max_stale_ms,
                              memory_order_relaxed);
        set_flags(slot, age->fails_when_stale);
    }
    pthread_mutex_unlock(&store->lock);
}

/* --- information ---------------------------------------------------------------------------- */

static void fill_info(struct store *store, struct store_info *out)
{
    struct buddy_stats stats;
    space_settle(store); /* so that all that is free is counted */
    buddy_stats(&store->buddy, &stats);
    *out = (struct store_info){.version = store_committed(store),
                               .limit_bytes = store->options.limit_bytes,
                               .commits = store->stats.commits,
                               .aborts = store->stats.aborts,
                               .entries_reclaimed = store->stats.reclaimed,
                               .entries_moved = store->stats.moved,
                               .leases_revoked = store->stats.revoked,
                               .versions_held = store->held.count};
    uint64_t usable = store->usable_units * FORMAT_UNIT_BYTES;
    uint64_t free_bytes = buddy_free_units(&store->buddy) * FORMAT_UNIT_BYTES;
    uint64_t punched = store->punched_units * FORMAT_UNIT_BYTES;
    struct stat st;
    if (fstat(store->region.fd, &st) == 0)
        out->committed_bytes = (uint64_t)st.st_blocks * 512;
    out->used_bytes = usable - free_bytes;
    out->free_bytes = free_bytes - punched;
    out->largest_free_bytes = buddy_largest_run(&store->buddy) * FORMAT_UNIT_BYTES;
    for (size_t i = 0; i <= BUDDY_MAX_ORDER; i++)
        out->free_blocks[i] = stats.free_blocks[i];
    bool readable = leases_readable(store);
    for (unsigned i = 0; i < FORMAT_LEASES_MAX && readable; i++)
        out->leases += (atomic_load(&store->leases.leases[i].pinned) & LEASE_BUSY) != 0;
}

void store_info(struct store *store, struct store_info *out)
{
    pthread_mutex_lock(&store->lock);
    fill_info(store, out);
    pthread_mutex_unlock(&store->lock);
}

/* --- the tick ------------------------------------------------------------------------------- */

static void punch_retired(struct store *store, uint64_t now_ms)
{
    if (store->retired_punch_ms != 0 && now_ms >= store->retired_punch_ms)
        retired_end(store);
}

void store_tick(struct store *store)
{
    uint64_t now = clock_monotonic_ms();
    store_lock(store);
    atomic_store_explicit(&store->region.super->heartbeat_ms, now, memory_order_relaxed);
    reclaim_tick(store, now);
    store_breathe(store);
    /* What rests looks used: it would keep its chunk from the system, be in the way of moves, and
     * the books of a daemon that is killed while nothing happens are right. */
    space_settle(store);
    store_breathe(store);
    compact_tick(store);
    store_breathe(store);
    space_tick(store, now);
    punch_retired(store, now);
    pthread_mutex_unlock(&store->lock);
}
