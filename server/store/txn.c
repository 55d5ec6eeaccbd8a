/* SPDX-License-Identifier: Apache-2.0
 *
 * txn.c - transactions: begin, the tables in one, commit, abort.
 *
 * A transaction's entries are published at once, but with a born above every committed version, so
 * nobody sees them. Commit gives them their version and then raises `committed`, by one store;
 * abort puts the replaced versions back. Both take time in proportion to what was changed.
 */
#include "server/store/internal.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct store_txn *begin_locked(struct store *store)
{
    struct store_txn *txn = calloc(1, sizeof(*txn));
    if (!txn)
        return NULL;
    txn->store = store;
    txn->born = VERSION_UNCOMMITTED | (++store->txn_serial & (VERSION_UNCOMMITTED - 1));
    txn->next = store->txns;
    if (txn->next)
        txn->next->prev = txn;
    store->txns = txn;
    return txn;
}

int store_begin(struct store *store, struct store_txn **out)
{
    pthread_mutex_lock(&store->lock);
    *out = begin_locked(store);
    pthread_mutex_unlock(&store->lock);
    return *out ? SP_OK : SP_ENOMEM;
}

/* --- tables --------------------------------------------------------------------------------- */

struct table *table_find(struct store *store, const char *name)
{
    unsigned count = atomic_load_explicit(&store->region.super->table_count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(store->region.slots[i].name, name) == 0)
            return &store->tables[i];
    }
    return NULL;
}

static int claim_slot(struct store *store, const char *name, struct table **out)
{
    unsigned count = atomic_load_explicit(&store->region.super->table_count, memory_order_relaxed);
    if (strlen(name) >= FORMAT_NAME_BYTES || !*name)
        return SP_EINVAL;
    if (count == FORMAT_TABLES_MAX)
        return SP_ENOSPC;
    strcpy(store->region.slots[count].name, name);
    store->tables[count].slot = &store->region.slots[count];
    atomic_store_explicit(&store->region.super->table_count, count + 1, memory_order_release);
    *out = &store->tables[count];
    return SP_OK;
}

static void link_table(struct store_txn *txn, struct table *table, struct store_table *use)
{
    use->txn = txn;
    use->table = table;
    use->next = txn->tables;
    txn->tables = use;
    table->owner = use;
    if (table->current) {
        use->rows_before = table->current->rows;
        use->bytes_before = table->current->bytes;
    }
}

static bool shape_dropped(const struct shape *shape)
{
    return shape->root->flags & ROOT_DROPPED;
}

static int open_table(struct store_txn *txn, const char *name, const struct schema *schema,
                      uint64_t row_hint, struct store_table **out)
{
    struct table *table = table_find(txn->store, name);
    int status = table ? SP_OK : claim_slot(txn->store, name, &table);
    if (status != SP_OK)
        return status;
    if (table->owner)
        return SP_EBUSY;
    struct store_table *use = calloc(1, sizeof(*use));
    if (!use)
        return SP_ENOMEM;
    use->shape = table->current;
    if (!use->shape || shape_dropped(use->shape) || !shape_matches(use->shape, schema)) {
        status = shape_create(txn->store, schema, 0, row_hint, &use->shape);
        use->staged = true;
    }
    if (status != SP_OK) {
        free(use);
        return status;
    }
    link_table(txn, table, use);
    *out = use;
    return SP_OK;
}

int store_table(struct store_txn *txn, const char *name, const struct schema *schema,
                uint64_t row_hint, struct store_table **out, bool *reshaped)
{
    pthread_mutex_lock(&txn->store->lock);
    int status = open_table(txn, name, schema, row_hint, out);
    pthread_mutex_unlock(&txn->store->lock);
    if (status == SP_OK && reshaped)
        *reshaped = (*out)->staged && (*out)->table->current != NULL;
    return status;
}

void store_table_counts(const struct store_table *table, struct store_counts *out)
{
    *out = table->counts;
}

/* A new, empty shape for a table, to take its place at the commit. */
static int stage_shape(struct store_txn *txn, struct table *table, const struct schema *schema,
                       uint32_t root_flags)
{
    if (table->owner)
        return SP_EBUSY;
    struct store_table *use = calloc(1, sizeof(*use));
    if (!use)
        return SP_ENOMEM;
    int status = shape_create(txn->store, schema, root_flags, 0, &use->shape);
    if (status != SP_OK) {
        free(use);
        return status;
    }
    use->staged = true;
    link_table(txn, table, use);
    return SP_OK;
}

static int drop_table(struct store_txn *txn, const char *name)
{
    struct table *table = table_find(txn->store, name);
    if (!table || !table->current || shape_dropped(table->current))
        return SP_ENOTABLE;
    return stage_shape(txn, table, table->current->schema, ROOT_DROPPED);
}

int store_drop(struct store_txn *txn, const char *name)
{
    pthread_mutex_lock(&txn->store->lock);
    int status = drop_table(txn, name);
    pthread_mutex_unlock(&txn->store->lock);
    return status;
}

/* --- ending --------------------------------------------------------------------------------- */

static void free_txn(struct store_txn *txn)
{
    struct store *store = txn->store;
    if (txn->next)
        txn->next->prev = txn->prev;
    if (txn->prev)
        txn->prev->next = txn->next;
    else
        store->txns = txn->next;
    for (struct store_table *use = txn->tables, *next; use; use = next) {
        next = use->next;
        use->table->owner = NULL;
        if (use->pass.seen)
            munmap(use->pass.seen, use->pass.seen_bytes);
        posting_free(&use->postings);
        free(use);
    }
    vector_free(&txn->changes);
    free(txn);
}

static void bury(struct store *store, struct shape *shape)
{
    struct grave *grave = vector_push(&store->graves, sizeof(*grave));
    if (grave)
        *grave = (struct grave){shape, 0, 0};
    else /* no memory to remember it: at once */
        shape_bury(&(struct grave){shape, 0, 0}, UINT_MAX);
}

#define BREATH 256u /* changes, after which others may have the lock */

/* Puts back what a change replaced. */
static void undo_change(struct store *store, const struct change *change)
{
    struct entry *entry = store_entry(store, change->unit);
    struct entry_view view = entry_view(entry);
    struct place place;
    uint64_t hash = hash_key(&store->region.hash, view.key, view.key_bytes);
    if (!(view.flags & ENTRY_DEAD) && index_find_unit(change->index, hash, change->unit, &place)) {
        if (view.prev)
            index_replace(&place, view.prev);
        else
            index_remove(change->index, &place);
    }
    FAILPOINT("undo");
    entry_free(store, change->index->shape, change->unit);
}

/* The shape of a change that abort frees as a whole need not be undone entry by entry: but dead
 * entries are not in its index, and must be freed. */
static void undo_staged(struct store *store, const struct change *change)
{
    if (entry_view(store_entry(store, change->unit)).flags & ENTRY_DEAD)
        entry_free(store, change->index->shape, change->unit);
}

static bool is_staged(const struct store_txn *txn, const struct shape *shape)
{
    for (const struct store_table *use = txn->tables; use; use = use->next) {
        if (use->shape == shape)
            return use->staged;
    }
    return false;
}

static void abort_locked(struct store_txn *txn)
{
    struct store *store = txn->store;
    const struct change *changes = txn->changes.items;
    for (size_t i = txn->changes.count; i-- > 0;) {
        if (i % BREATH == 0)
            store_breathe(store);
        if (is_staged(txn, changes[i].index->shape))
            undo_staged(store, &changes[i]);
        else
            undo_change(store, &changes[i]);
    }
    for (struct store_table *use = txn->tables; use; use = use->next) {
        if (use->staged) {
            bury(store, use->shape);
        } else {
            use->shape->rows = use->rows_before;
            use->shape->bytes = use->bytes_before;
        }
    }
    store->held_pins_hash = 0; /* tombstones that stood behind ours may go now */
    store->stats.aborts++;
    free_txn(txn);
}

void store_abort(struct store_txn *txn)
{
    struct store *store = txn->store;
    store_lock(store);
    abort_locked(txn);
    pthread_mutex_unlock(&store->lock);
}

/* --- commit --------------------------------------------------------------------------------- */

/* A commit of many changes lets go of the lock now and then, so that writes to the cache need not
 * wait for all of it; other commits do wait. Until `committed` is raised nobody sees any of it. */

/* Gives every entry its version; those replaced within the transaction are freed. Moves the changes
 * that leave something to reclaim together, and returns how many they are. */
static size_t stamp_changes(struct store_txn *txn, uint64_t version)
{
    struct store *store = txn->store;
    struct change *changes = txn->changes.items;
    size_t kept = 0;
    for (size_t i = 0; i < txn->changes.count; i++) {
        if (i % BREATH == 0)
            store_breathe(store);
        if (i + 16 < txn->changes.count)
            __builtin_prefetch(store_entry(store, changes[i + 16].unit), 1);
        struct entry *entry = store_entry(store, changes[i].unit);
        struct entry_view view = entry_view(entry);
        if (view.flags & ENTRY_DEAD) {
            entry_free(store, changes[i].index->shape, changes[i].unit);
            continue;
        }
        atomic_store_explicit(&entry->born_word,
                              entry_born_word(version, view.flags, view.key_bytes),
                              memory_order_relaxed);
        FAILPOINT("stamped");
        if (view.prev || (view.flags & ENTRY_TOMBSTONE))
            changes[kept++] = changes[i];
    }
    return kept;
}

/* Puts a new shape's root before the old one, still unseen. */
static void publish_root(struct store_table *use, uint64_t version)
{
    struct table *table = use->table;
    uint64_t old = atomic_load_explicit(&table->slot->head, memory_order_relaxed);
    atomic_store_explicit(&use->shape->root->prev, old, memory_order_relaxed);
    atomic_store_explicit(&use->shape->root->born, version, memory_order_relaxed);
    atomic_store_explicit(&table->slot->head, use->shape->root_unit, memory_order_release);
    FAILPOINT("publish_root");
    route_raise(table->slot);
}

static void publish_sizes(struct store_table *use, uint64_t version)
{
    struct table_slot *slot = use->table->slot;
    const struct shape *shape = use->shape;
    const struct store_counts *counts = &use->counts;
    uint64_t changes = atomic_load_explicit(&slot->changes, memory_order_relaxed);
    changes += counts->inserted + counts->updated + counts->deleted;
    atomic_store_explicit(&slot->changes, changes, memory_order_relaxed);
    atomic_store_explicit(&slot->rows, shape->rows, memory_order_relaxed);
    atomic_store_explicit(&slot->bytes, shape->bytes, memory_order_relaxed);
    atomic_store_explicit(&slot->memory_units, shape->units, memory_order_relaxed);
    atomic_store_explicit(&slot->changed_version, version, memory_order_relaxed);
    atomic_store_explicit(&slot->changed_at_ms, clock_wall_ms(), memory_order_relaxed);
}

static bool use_changed(const struct store_table *use)
{
    const struct store_counts *c = &use->counts;
    return use->staged || c->inserted + c->updated + c->deleted > 0;
}

/* W3: the one store that makes everything visible. */
static void publish_version(struct store *store, uint64_t version)
{
    struct super *super = store->region.super;
    FAILPOINT("commit");
    atomic_store_explicit(&super->committed, version, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
    FAILPOINT("committed");
    atomic_fetch_add_explicit(&super->commit_futex, 1, memory_order_release);
    syscall(SYS_futex, &super->commit_futex, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* After the commit: what was replaced goes, or is held for leases. */
static void settle(struct store_txn *txn, size_t change_count)
{
    struct store *store = txn->store;
    reclaim_changes(store, txn->changes.items, change_count);
    for (struct store_table *use = txn->tables; use; use = use->next) {
        if (!use->staged)
            continue;
        struct shape *old = use->table->current;
        use->table->current = use->shape;
        if (old)
            reclaim_root(store, use->table, old);
    }
    store_note_used(store);
}

static int flush_postings(struct store_txn *txn)
{
    for (struct store_table *use = txn->tables; use; use = use->next) {
        int status = posting_flush(use);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}

static int commit_locked(struct store_txn *txn, uint64_t *version)
{
    struct store *store = txn->store;
    bool changed = false;
    int status = txn->failed ? SP_EINVAL : flush_postings(txn);
    if (status != SP_OK) {
        abort_locked(txn);
        return status;
    }
    for (struct store_table *use = txn->tables; use; use = use->next)
        changed |= use_changed(use);
    while (store->committing)
        pthread_cond_wait(&store->commit_over, &store->lock);
    *version = store_committed(store);
    if (changed) {
        store->committing = true;
        *version = (*version > store->version_floor ? *version : store->version_floor) + 1;
        if (BREAKS_COMMIT)
            publish_version(store, *version);
        size_t kept = stamp_changes(txn, *version);
        for (struct store_table *use = txn->tables; use; use = use->next) {
            if (use->staged)
                publish_root(use, *version);
            if (use_changed(use))
                publish_sizes(use, *version);
        }
        if (!BREAKS_COMMIT)
            publish_version(store, *version);
        settle(txn, kept);
        store->stats.commits++;
        store->committing = false;
        pthread_cond_broadcast(&store->commit_over);
    }
    free_txn(txn);
    return SP_OK;
}

int store_commit(struct store_txn *txn, uint64_t *version)
{
    struct store *store = txn->store;
    uint64_t ignored;
    store_lock(store);
    int status = commit_locked(txn, version ? version : &ignored);
    pthread_mutex_unlock(&store->lock);
    return status;
}

int table_create(struct store *store, const char *name, const struct schema *schema,
                 uint32_t root_flags, struct table **out)
{
    struct store_txn *txn = begin_locked(store);
    uint64_t version;
    if (!txn)
        return SP_ENOMEM;
    *out = table_find(store, name);
    int status = *out ? SP_OK : claim_slot(store, name, out);
    if (status == SP_OK)
        status = stage_shape(txn, *out, schema, root_flags);
    if (status == SP_OK)
        return commit_locked(txn, &version);
    abort_locked(txn);
    return status;
}

int table_replace(struct store *store, struct table *table, uint64_t born)
{
    struct shape *old = table->current, *new;
    int status = shape_create(store, old->schema, old->root->flags, 0, &new);
    if (status != SP_OK)
        return status;
    atomic_store_explicit(&new->root->born, born, memory_order_relaxed);
    atomic_store_explicit(&table->slot->head, new->root_unit, memory_order_release);
    route_raise(table->slot);
    table->current = new;
    bury(store, old);
    return SP_OK;
}
