/* SPDX-License-Identifier: Apache-2.0
 *
 * torture_writer.c - the writer of the torture: see torture.h.
 *
 * It notes what it is about to commit, commits, and notes that it has. Whoever comes after it, when
 * it was killed in between, finds in the pond which of the two is true.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/store/cache.h"
#include "tests/mp/torture.h"

const char *const torture_names[TORTURE_TABLES] = {"left", "right", "meta", "bulk", "shape"};

struct writer {
    struct torture *t;
    struct torture_shared *shared;
    struct kit_random *random;
    struct store *store;
    struct cache *cache;
    struct store_txn *txn;
    struct store_table *tables[TORTURE_TABLES];
    struct schema *schemas[TORTURE_TABLES];
    uint64_t state; /* of the transaction */
    uint64_t tick_ms;
    unsigned shape, bulk; /* what of kit_schema these tables have */
    uint64_t shaped;      /* as shared->shaped, of this transaction; 0: `shape` is as it was */
    bool failed;
};

#define WANT(w, status) ((w)->failed |= !want((w)->t, (status), __LINE__), !(w)->failed)

static bool want(struct torture *t, int status, int line)
{
    return status == SP_OK || torture_fail(t, "writer, line %d: %s", line, sp_status_name(status));
}

/* --- what is there -------------------------------------------------------------------------- */

/* A row's state, as a reader sees it; 0: not there. */
static bool read_state(struct torture *t, struct sp_pond *pond, const struct schema *schema,
                       enum torture_table which, int64_t id, uint64_t *state)
{
    static uint8_t value[TORTURE_BODY_MAX + 100];
    struct sp_table *table;
    struct kit_row row;
    size_t size;
    *state = 0;
    int status = sp_table_open(pond, torture_names[which], &table);
    if (status == SP_OK)
        status = sp_get(table, &id, sizeof(id), value, sizeof(value), &size);
    if (status == SP_ENOTFOUND || status == SP_ENOTABLE || status == SP_ENOTREADY)
        return true;
    if (status != SP_OK)
        return torture_fail(t, "row %s %d: %s", torture_names[which], (int)id,
                            sp_status_name(status));
    if (!kit_decode(schema, value, size, &row) ||
        !kit_body_state(row.body, row.body_bytes, which, id, state))
        return torture_fail(t, "row %s %d: broken", torture_names[which], (int)id);
    return true;
}

static void note_committed(struct torture_shared *shared, uint64_t state)
{
    for (unsigned i = 0; state >> 16 == 1 && i < TORTURE_FIRM; i++)
        atomic_store(&shared->acked[i], state);
    for (uint32_t i = 0; i < shared->changes.count; i++)
        atomic_store(&shared->acked[shared->changes.row[i]], shared->changes.gone[i] ? 0 : state);
    atomic_store(&shared->serial, state >> 16);
}

/* Which commit was the last, and whether every row is as it left it. */
static bool compare_all(struct torture *t, struct sp_pond *pond)
{
    struct torture_shared *shared = t->shared;
    struct schema *schema = kit_schema(0);
    uint64_t last = 0, pending = atomic_load(&shared->pending), state;
    uint64_t serial = atomic_load(&shared->serial);
    bool good = !pond || read_state(t, pond, schema, META, 0, &last);
    if (good && last >> 16 != serial && last != pending)
        good = torture_fail(t, "the pond is at serial %llu; acknowledged is %llu",
                            (unsigned long long)(last >> 16), (unsigned long long)serial);
    if (good && last == pending && last >> 16 > serial)
        note_committed(shared, last);
    for (unsigned i = 0; good && pond && i < TORTURE_ROWS; i++) {
        uint64_t wanted = atomic_load(&shared->acked[i]);
        for (enum torture_table side = LEFT; good && side <= RIGHT; side++) {
            good = read_state(t, pond, schema, side, i, &state);
            if (good && state != wanted)
                good = torture_fail(t, "row %s %u is of state %llx; acknowledged is %llx",
                                    torture_names[side], i, (unsigned long long)state,
                                    (unsigned long long)wanted);
        }
    }
    schema_free(schema);
    return good;
}

static bool open_store(struct torture *t, struct store **store, struct store_opened *opened)
{
    char why[STORE_WHY_BYTES] = "";
    const struct store_options options = {.directory = t->directory,
                                          .name = "torture",
                                          .limit_bytes = TORTURE_LIMIT,
                                          .lease_limit_ms = t->lease_limit_ms,
                                          .cooling_ms = TORTURE_COOLING_MS,
                                          .gid = -1};
    int status = store_open(&options, store, opened, why);
    if (status != SP_OK)
        return torture_fail(t, "store_open: %s: %s", sp_status_name(status), why);
    if (opened->dropped_corrupt)
        return torture_fail(t, "recovery dropped %llu entries as corrupt",
                            (unsigned long long)opened->dropped_corrupt);
    return true;
}

static bool open_and_compare(struct torture *t, struct store **store)
{
    struct store_opened opened;
    struct sp_pond *pond = NULL;
    if (!open_store(t, store, &opened))
        return false;
    int status = opened.version ? sp_open(t->directory, NULL, &pond) : SP_OK;
    bool good = want(t, status, __LINE__) && compare_all(t, pond) &&
                (!pond || torture_cache_compare(t, pond));
    sp_close(pond);
    return good;
}

/* --- transactions --------------------------------------------------------------------------- */

static bool use(struct writer *w, enum torture_table which, uint64_t hint)
{
    return WANT(w, store_table(w->txn, torture_names[which], w->schemas[which], hint,
                               &w->tables[which], NULL));
}

static bool put(struct writer *w, enum torture_table which, int64_t id, uint64_t state,
                int64_t code)
{
    uint8_t body[TORTURE_BODY_MAX];
    uint64_t bits = kit_mix(state ^ (uint64_t)id << 48);
    size_t bytes = KIT_BODY_MIN + bits % (id % 16 == 3 ? TORTURE_BODY_MAX - KIT_BODY_MIN : 160);
    kit_body(body, bytes, which, id, state);
    const struct kit_row row = {id, (int64_t)(state % TORTURE_GROUPS), code, body, bytes};
    return WANT(w, kit_put(w->tables[which], w->schemas[which], &row, NULL));
}

static void tick(struct writer *w)
{
    struct store_info info;
    uint64_t now = kit_now_ms();
    if (now - w->tick_ms < 3)
        return;
    w->tick_ms = now;
    store_tick(w->store);
    if (kit_below(w->random, 50))
        return;
    store_info(w->store, &info);
    atomic_store(&w->shared->moved, info.entries_moved);
    atomic_fetch_add(&w->shared->ready, 1);
}

static bool change_rows(struct writer *w)
{
    struct torture_shared *shared = w->shared;
    uint32_t count = 1 + (uint32_t)kit_below(w->random, kit_below(w->random, 4) ? 12 : 380);
    uint32_t span = kit_below(w->random, 3) ? 40 : TORTURE_ROWS; /* hot rows */
    uint32_t first = span == 40 && kit_below(w->random, 3) == 0 ? TORTURE_FIRM : 0;
    shared->changes.count = 0;
    if (!use(w, LEFT, 0) || !use(w, RIGHT, 0))
        return false;
    if (atomic_load(&shared->serial) == 0) /* the firm ones are there from the first on */
        for (unsigned i = 0; i < TORTURE_FIRM; i++)
            if (!put(w, LEFT, i, w->state, i) || !put(w, RIGHT, i, w->state, i))
                return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = kit_below(w->random, 6) == 0 ? 3 + 16 * (uint32_t)kit_below(w->random, 3)
                                                    : first + (uint32_t)kit_below(w->random, span);
        bool gone = row >= TORTURE_FIRM && kit_below(w->random, 3) == 0;
        shared->changes.row[i] = row;
        shared->changes.gone[i] = gone;
        for (enum torture_table side = LEFT; side <= RIGHT; side++) {
            int status = gone ? kit_delete(w->tables[side], row) : SP_OK;
            if (!WANT(w, status == SP_ENOTFOUND ? SP_OK : status))
                return false;
            if (!gone && kit_below(w->random, 10) == 0 && !put(w, side, row, w->state - 1, row))
                return false; /* what the next put replaces */
            if (!gone && !put(w, side, row, w->state, row))
                return false;
        }
        shared->changes.count = i + 1;
    }
    return true;
}

/* The table `bulk` gets another size, by a pass: the index grows, splits and shrinks. Sometimes it
 * gets another shape, and the index starts from nothing. */
static bool change_bulk(struct writer *w)
{
    uint64_t count = kit_below(w->random, TORTURE_BULK), deleted;
    if (kit_below(w->random, 5) == 0) {
        w->bulk ^= KIT_NOTE;
        schema_free(w->schemas[BULK]);
        w->schemas[BULK] = kit_schema(w->bulk);
    }
    if (!use(w, BULK, 0) || !WANT(w, store_pass_begin(w->tables[BULK])))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!put(w, BULK, (int64_t)i, 1 + i % 3, (int64_t)i))
            return false;
        if (i % 500 == 0)
            tick(w);
    }
    return WANT(w, store_pass_sweep(w->tables[BULK], &deleted)) &&
           put(w, META, 1, w->state, (int64_t)count);
}

/* The table `shape` is dropped, or gets another shape; its rows are all of one state. */
static bool change_shape(struct writer *w)
{
    w->shaped = w->state;
    if (kit_below(w->random, 3) == 0) {
        w->shaped &= ~UINT64_C(1);
        int status = store_drop(w->txn, torture_names[SHAPE]);
        return WANT(w, status == SP_ENOTABLE ? SP_OK : status);
    }
    w->shape ^= kit_below(w->random, 2) ? KIT_NOTE : KIT_INDEX_GROUP;
    schema_free(w->schemas[SHAPE]);
    w->schemas[SHAPE] = kit_schema(w->shape);
    if (!use(w, SHAPE, kit_below(w->random, 1000)))
        return false;
    for (unsigned i = 0; i < TORTURE_SHAPED; i++)
        if (!put(w, SHAPE, i, w->state, i))
            return false;
    return true;
}

static bool transaction(struct writer *w)
{
    struct torture_shared *shared = w->shared;
    uint64_t serial = atomic_load(&shared->serial) + 1, version;
    w->state = serial << 16 | (atomic_fetch_add(&shared->attempt, 2) & 0xffff) | 1;
    w->shaped = 0;
    atomic_store(&shared->pending, w->state);
    if (!WANT(w, store_begin(w->store, &w->txn)) || !use(w, META, 0) || !change_rows(w))
        return false;
    bool first = serial == 1;
    if (first || kit_below(w->random, 25) == 0)
        if (!change_bulk(w))
            return false;
    if (first || kit_below(w->random, 12) == 0)
        if (!change_shape(w))
            return false;
    if (!put(w, META, 0, w->state, 0))
        return false;
    if (!first && kit_below(w->random, 8) == 0) {
        store_abort(w->txn);
        w->txn = NULL;
        atomic_fetch_add_explicit(&shared->aborts, 1, memory_order_relaxed);
        return true;
    }
    if (!WANT(w, store_commit(w->txn, &version)))
        return false;
    w->txn = NULL;
    if (w->shaped != 0)
        atomic_store(&shared->shaped, w->shaped);
    note_committed(shared, w->state);
    atomic_fetch_add_explicit(&shared->commits, 1, memory_order_relaxed);
    return true;
}

/* From the first commit on, so that no reader finds a pond without tables. */
static bool use_cache(struct writer *w)
{
    if (!w->cache && atomic_load(&w->shared->serial) > 0 &&
        !WANT(w, torture_cache_open(w->t, w->store, &w->cache)))
        return false;
    return !w->cache || torture_cache_write(w->t, w->cache);
}

static bool live(struct writer *w)
{
    w->schemas[LEFT] = kit_schema(KIT_INDEX_GROUP | KIT_INDEX_CODE);
    w->schemas[RIGHT] = kit_schema(0);
    w->schemas[META] = kit_schema(0);
    w->schemas[BULK] = kit_schema(w->bulk = KIT_INDEX_GROUP);
    w->schemas[SHAPE] = kit_schema(0);
    atomic_fetch_add(&w->shared->ready, 1);
    while (!atomic_load(&w->shared->stop) && !atomic_load(&w->shared->failed)) {
        if (!transaction(w) || !use_cache(w))
            return false;
        tick(w);
        if (kit_below(w->random, 400) == 0)
            usleep(2000);
    }
    return true;
}

bool torture_write(struct torture *t)
{
    struct writer w = {.t = t, .shared = t->shared, .random = &t->random};
    atomic_fetch_add(&t->shared->lives, 1);
    if (!open_and_compare(t, &w.store))
        return false;
    bool good = live(&w);
    struct store_info info;
    store_info(w.store, &info);
    atomic_fetch_add(&t->shared->revoked, info.leases_revoked);
    atomic_fetch_add(&t->shared->reclaimed, info.entries_reclaimed);
    if (w.cache)
        cache_close(w.cache);
    store_close(w.store);
    for (unsigned i = 0; i < TORTURE_TABLES; i++)
        schema_free(w.schemas[i]);
    return good;
}

/* --- the end -------------------------------------------------------------------------------- */

bool torture_examine(struct torture *t)
{
    struct store *store;
    struct store_info info, before;
    if (!open_and_compare(t, &store))
        return false;
    store_info(store, &info);
    for (unsigned i = 0, same = 0; i < 5000 && same < 20; i++) {
        before = info;
        store_tick(store);
        store_info(store, &info);
        same = info.used_bytes == before.used_bytes && info.versions_held == 0 ? same + 1 : 0;
    }
    bool good =
        info.versions_held == 0 || torture_fail(t, "%llu versions are held and nobody reads",
                                                (unsigned long long)info.versions_held);
    store_close(store);
    if (good && kit_check(t->directory, false, NULL) != 0)
        good = torture_fail(t, "the checker complains");
    return good;
}
