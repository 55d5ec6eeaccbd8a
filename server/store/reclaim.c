/* SPDX-License-Identifier: Apache-2.0
 *
 * reclaim.c - leases, and freeing the versions that no reader can see any more (W4).
 *
 * An old version E with the next newer version N is needed while a lease pins a version in
 * [E.born, N.born). Right after a commit most of what it replaced is free to go. What leases still
 * need is remembered in a set, by the newest entry of its chain, and looked at again when the
 * leases have changed. Versions in the middle of a chain go as soon as no lease is between their
 * born and the next one's, so one reader that pins an old version for long holds one version of
 * each row, and not all that came since.
 */
#include "server/store/internal.h"

#include <stdlib.h>
#include <string.h>

/* --- leases --------------------------------------------------------------------------------- */

/* The versions below the committed one that leases pin, sorted. */
struct pins {
    uint64_t versions[FORMAT_LEASES_MAX];
    size_t count;
    bool unknown; /* the leases cannot be read: any version may be pinned */
};

/* Any reader may cut the leases file off; the mapping of what is gone is SIGBUS. So we look before
 * each walk over it, and mend it. Left is the time between this look and the walk's end, some
 * microseconds: who hits that ends the daemon, which mends the file when it starts again. While it
 * cannot be mended (a full file system), everything counts as pinned. */
bool leases_readable(struct store *store)
{
    return region_leases_whole(&store->leases) ||
           region_leases_mend(&store->leases, store->region.super->id) == SP_OK;
}

static int compare_versions(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool lease_holds(uint64_t pinned)
{
    return (pinned & LEASE_BUSY) && !(pinned & LEASE_REVOKED);
}

static void pins_collect(struct store *store, struct pins *pins)
{
    uint64_t committed = store_committed(store);
    pins->count = 0;
    pins->unknown = false;
    if (BREAKS_PINS)
        return;
    pins->unknown = !leases_readable(store);
    if (pins->unknown)
        return;
    for (unsigned i = 0; i < FORMAT_LEASES_MAX; i++) {
        uint64_t pinned =
            atomic_load_explicit(&store->leases.leases[i].pinned, memory_order_seq_cst);
        if (lease_holds(pinned) && (pinned & VERSION_MASK) < committed)
            pins->versions[pins->count++] = pinned & VERSION_MASK;
    }
    if (pins->count > 1)
        qsort(pins->versions, pins->count, sizeof(pins->versions[0]), compare_versions);
}

/* Whether one lies in [from, to). */
static bool pins_between(const struct pins *pins, uint64_t from, uint64_t to)
{
    if (pins->unknown)
        return true;
    for (size_t i = 0; i < pins->count && pins->versions[i] < to; i++) {
        if (pins->versions[i] >= from)
            return true;
    }
    return false;
}

void leases_note(struct store *store, uint64_t *words)
{
    atomic_thread_fence(memory_order_seq_cst);
    store->moved.leases_unknown = !leases_readable(store);
    for (unsigned i = 0; i < FORMAT_LEASES_MAX && !store->moved.leases_unknown; i++)
        words[i] = atomic_load_explicit(&store->leases.leases[i].pinned, memory_order_seq_cst);
}

bool leases_ended(struct store *store, const uint64_t *words)
{
    if (!leases_readable(store))
        return false;
    if (store->moved.leases_unknown) { /* those of now include those of then that go on */
        leases_note(store, store->moved.leases);
        return false;
    }
    for (unsigned i = 0; i < FORMAT_LEASES_MAX; i++) {
        if (lease_holds(words[i]) &&
            atomic_load_explicit(&store->leases.leases[i].pinned, memory_order_seq_cst) == words[i])
            return false;
    }
    return true;
}

bool leases_revoke(struct store *store)
{
    if (!leases_readable(store))
        return false;
    for (unsigned i = 0; i < FORMAT_LEASES_MAX; i++) {
        _Atomic uint64_t *word = &store->leases.leases[i].pinned;
        uint64_t pinned = atomic_load_explicit(word, memory_order_seq_cst);
        while (lease_holds(pinned) &&
               !atomic_compare_exchange_weak(word, &pinned, pinned | LEASE_REVOKED))
            continue;
        store->stats.revoked += lease_holds(pinned);
    }
    return true;
}

/* Ends the leases of the dead, and revokes those that have pinned an old version for too long. The
 * time is taken here and not from the lease, which the reader could write. */
static void leases_tick(struct store *store, uint64_t now_ms)
{
    uint64_t committed = store_committed(store);
    if (!leases_readable(store))
        return;
    for (unsigned i = 0; i < FORMAT_LEASES_MAX; i++) {
        _Atomic uint64_t *word = &store->leases.leases[i].pinned;
        uint64_t pinned = atomic_load_explicit(word, memory_order_seq_cst);
        uint64_t version = pinned & VERSION_MASK;
        if (pinned && region_lease_lock(&store->leases, i) == SP_OK) {
            atomic_store_explicit(word, 0, memory_order_seq_cst);
            region_lease_unlock(&store->leases, i);
            pinned = 0;
        }
        if (!lease_holds(pinned) || version >= committed || version > store->lease_old_version[i]) {
            store->lease_old_version[i] = version;
            store->lease_old_since[i] = 0;
        }
        if (!lease_holds(pinned) || version >= committed)
            continue;
        if (!store->lease_old_since[i])
            store->lease_old_since[i] = now_ms;
        if (now_ms - store->lease_old_since[i] >= store->options.lease_limit_ms &&
            atomic_compare_exchange_strong(word, &pinned, pinned | LEASE_REVOKED))
            store->stats.revoked++;
    }
}

/* --- the set of held entries ----------------------------------------------------------------
 * Only heads of chains are in it: a new head takes the place of the one before.
 */

static size_t held_home(const struct held_set *set, uint64_t unit)
{
    return (size_t)(unit * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (set->cap - 1);
}

/* Where a unit is, or would be. */
static struct held *held_slot(const struct held_set *set, uint64_t unit)
{
    size_t i = held_home(set, unit);
    while (set->slots[i].unit && set->slots[i].unit != unit)
        i = (i + 1) & (set->cap - 1);
    return &set->slots[i];
}

static int held_grow(struct held_set *set)
{
    struct held_set bigger = {NULL, set->cap ? set->cap * 2 : 1024, set->count};
    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return SP_ENOMEM;
    for (size_t i = 0; i < set->cap; i++) {
        if (set->slots[i].unit)
            *held_slot(&bigger, set->slots[i].unit) = set->slots[i];
    }
    free(set->slots);
    *set = bigger;
    return SP_OK;
}

int reclaim_hold(struct store *store, uint64_t unit, struct index *index)
{
    struct held_set *set = &store->held;
    if (set->count * 2 >= set->cap && held_grow(set) != SP_OK)
        return SP_ENOMEM; /* a leak until the next start: recovery finds it */
    struct held *slot = held_slot(set, unit);
    set->count += slot->unit == 0;
    *slot = (struct held){unit, index};
    return SP_OK;
}

/* Removal from open addressing: closes the gap. */
void held_erase(struct store *store, uint64_t unit)
{
    struct held_set *set = &store->held;
    if (set->count == 0 || unit == 0)
        return;
    struct held *slot = held_slot(set, unit);
    if (!slot->unit)
        return;
    set->count--;
    size_t gap = (size_t)(slot - set->slots), i = gap;
    for (;;) {
        i = (i + 1) & (set->cap - 1);
        if (!set->slots[i].unit)
            break;
        size_t home = held_home(set, set->slots[i].unit);
        if (((i - home) & (set->cap - 1)) >= ((i - gap) & (set->cap - 1))) {
            set->slots[gap] = set->slots[i];
            gap = i;
        }
    }
    set->slots[gap].unit = 0;
}

/* --- chains --------------------------------------------------------------------------------- */

static void set_prev(struct entry *entry, uint64_t prev)
{
    struct entry_view view = entry_view(entry);
    atomic_store_explicit(&entry->prev_word, entry_prev_word(prev, view.value_bytes),
                          memory_order_release);
}

/* Takes the versions that no pin needs out of a chain, for free_unlinked. */
static void unlink_chain(struct store *store, const struct pins *pins, uint64_t unit,
                         struct index *index)
{
    while (unit) {
        struct entry *newer = store_entry(store, unit);
        struct entry_view n = entry_view(newer);
        if (!n.prev)
            return;
        struct entry_view e = entry_view(store_entry(store, n.prev));
        struct unlinked *out = NULL;
        if (!pins_between(pins, e.born, n.born))
            out = vector_push(&store->unlinked, sizeof(*out));
        if (out) {
            *out = (struct unlinked){n.prev, index->shape};
            set_prev(newer, e.prev);
            store->stats.reclaimed++;
        } else {
            unit = n.prev;
        }
    }
}

void reclaim_seq_raise(struct store *store)
{
    if (BREAKS_RECLAIM)
        return;
    atomic_fetch_add_explicit(&store->region.super->reclaim_seq, 1, memory_order_release);
    atomic_thread_fence(memory_order_release);
    FAILPOINT("reclaim_seq");
}

static void free_unlinked(struct store *store)
{
    const struct unlinked *unlinked = store->unlinked.items;
    for (size_t i = 0; i < store->unlinked.count; i++) {
        if (i + 8 < store->unlinked.count)
            __builtin_prefetch(store_entry(store, unlinked[i + 8].unit));
        held_erase(store, unlinked[i].unit);
        entry_free(store, unlinked[i].shape, unlinked[i].unit);
        FAILPOINT("freed");
    }
    store->unlinked.count = 0;
}

/* What is left of a chain after unlinking: a tombstone that nobody needs goes too. Returns whether
 * there is anything left to wait for. */
static bool settle_head(struct store *store, const struct pins *pins, uint64_t unit,
                        struct index *index)
{
    struct entry_view head = entry_view(store_entry(store, unit));
    if (head.prev)
        return true;
    if (!(head.flags & ENTRY_TOMBSTONE))
        return false;
    struct place place;
    uint64_t hash = hash_key(&store->region.hash, head.key, head.key_bytes);
    if (pins_between(pins, 0, head.born) || !index_find_unit(index, hash, unit, &place))
        return true; /* where a newer version stands before it, that one's chain will free it */
    index_remove(index, &place);
    held_erase(store, unit);
    entry_free(store, index->shape, unit);
    return false;
}

/* What tells one set of pins from another; never 0. */
static uint64_t pins_hash(const struct pins *pins)
{
    if (pins->unknown)
        return 2;
    return hash_bytes(pins->versions, pins->count * sizeof(pins->versions[0])) | 1;
}

/* Something is held for these pins. If they are not those that the last tick saw, the next tick
 * must look, even if it sees what that one saw: these may have come and gone in between. */
static void note_held(struct store *store, const struct pins *pins)
{
    if (pins_hash(pins) != store->held_pins_hash)
        store->held_pins_hash = 0;
}

static void reclaim_some(struct store *store, const struct pins *pins, const struct change *changes,
                         size_t count)
{
    reclaim_seq_raise(store);
    for (size_t i = 0; i < count; i++) {
        if (i + 8 < count)
            __builtin_prefetch(store_entry(store, changes[i + 8].unit), 1);
        held_erase(store, entry_view(store_entry(store, changes[i].unit)).prev);
        unlink_chain(store, pins, changes[i].unit, changes[i].index);
        FAILPOINT("unlinked");
    }
    reclaim_seq_raise(store);
    free_unlinked(store);
    note_held(store, pins);
    for (size_t i = 0; i < count; i++) {
        if (settle_head(store, pins, changes[i].unit, changes[i].index))
            reclaim_hold(store, changes[i].unit, changes[i].index);
    }
}

/* In steps, between which others may have the lock. The pins stay right: who takes a lease now pins
 * the version that has just been committed, or a newer one. */
#define RECLAIM_STEP 512u

void reclaim_changes(struct store *store, const struct change *changes, size_t count)
{
    struct pins pins;
    if (count == 0)
        return;
    pins_collect(store, &pins);
    for (size_t i = 0; i < count; i += RECLAIM_STEP) {
        reclaim_some(store, &pins, changes + i,
                     count - i < RECLAIM_STEP ? count - i : RECLAIM_STEP);
        store_breathe(store);
    }
}

/* Looks at everything that is held. The set is rebuilt, because settling changes it. */
static void reclaim_held(struct store *store, const struct pins *pins)
{
    struct held_set old = store->held;
    reclaim_seq_raise(store);
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].unit)
            unlink_chain(store, pins, old.slots[i].unit, old.slots[i].index);
    }
    reclaim_seq_raise(store);
    free_unlinked(store); /* erases the freed from the set */
    struct vector heads = {0};
    for (size_t i = 0; i < store->held.cap; i++) {
        struct held *head = store->held.slots[i].unit ? vector_push(&heads, sizeof(*head)) : NULL;
        if (head)
            *head = store->held.slots[i];
    }
    for (size_t i = 0; i < heads.count; i++) {
        struct held head = ((struct held *)heads.items)[i];
        if (!settle_head(store, pins, head.unit, head.index))
            held_erase(store, head.unit);
    }
    vector_free(&heads);
}

/* --- roots ---------------------------------------------------------------------------------- */

/* Takes a replaced shape's root out of its table's chain if no pin needs it. */
static bool unlink_root(struct store *store, const struct pins *pins, struct table *table,
                        const struct shape *old)
{
    uint64_t unit = atomic_load_explicit(&table->slot->head, memory_order_relaxed);
    for (;;) {
        struct table_root *newer = region_at(&store->region, unit);
        uint64_t prev = atomic_load_explicit(&newer->prev, memory_order_relaxed);
        if (prev != old->root_unit) {
            unit = prev;
            continue;
        }
        if (pins_between(pins, atomic_load_explicit(&old->root->born, memory_order_relaxed),
                         atomic_load_explicit(&newer->born, memory_order_relaxed)))
            return false;
        reclaim_seq_raise(store);
        atomic_store_explicit(&newer->prev,
                              atomic_load_explicit(&old->root->prev, memory_order_relaxed),
                              memory_order_release);
        FAILPOINT("root_unlinked");
        reclaim_seq_raise(store);
        return true;
    }
}

static void reclaim_roots(struct store *store, const struct pins *pins)
{
    struct held_root *roots = store->held_roots.items;
    size_t kept = 0;
    for (size_t i = 0; i < store->held_roots.count; i++) {
        struct grave *grave = vector_push(&store->graves, sizeof(*grave));
        if (grave && unlink_root(store, pins, roots[i].table, roots[i].shape)) {
            *grave = (struct grave){roots[i].shape, 0, 0};
        } else {
            store->graves.count -= grave != NULL;
            roots[kept++] = roots[i];
        }
    }
    store->held_roots.count = kept;
}

void reclaim_root(struct store *store, struct table *table, struct shape *old)
{
    struct held_root *held = vector_push(&store->held_roots, sizeof(*held));
    if (!held)
        return; /* a leak until the next start */
    *held = (struct held_root){table, old};
    struct pins pins;
    pins_collect(store, &pins);
    note_held(store, &pins);
    reclaim_roots(store, &pins);
}

/* --- the tick ------------------------------------------------------------------------------- */

#define BURY_SEGMENTS 64u

bool bury_some(struct store *store)
{
    if (store->graves.count == 0)
        return false;
    struct grave *last = (struct grave *)store->graves.items + store->graves.count - 1;
    if (shape_bury(last, BURY_SEGMENTS))
        store->graves.count--;
    return true;
}

void reclaim_tick(struct store *store, uint64_t now_ms)
{
    struct pins pins;
    leases_tick(store, now_ms);
    pins_collect(store, &pins);
    uint64_t hash = pins_hash(&pins);
    if (hash != store->held_pins_hash) {
        store->held_pins_hash = hash;
        if (store->held.count)
            reclaim_held(store, &pins);
        reclaim_roots(store, &pins);
    }
    size_t left;
    do {
        left = store->graves.count;
        bury_some(store);
    } while (store->graves.count < left);
}
