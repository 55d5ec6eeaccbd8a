/* SPDX-License-Identifier: Apache-2.0
 *
 * torture_reader.c - a reader of the torture: see torture.h.
 *
 * It checks every value that it gets: whole, of its row, not older than what was acknowledged
 * before the read began, not older than what this reader saw last, and not of a transaction that
 * has not begun. Under snapshots it checks that tables belong together, and that what a view showed
 * at first it still shows later, unless the lease was taken back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/mp/torture.h"

#define BURST 16u

struct reader {
    struct torture *t;
    struct torture_shared *shared;
    struct kit_random *random;
    struct sp_pond *pond;
    struct sp_table *tables[TORTURE_TABLES]; /* NULL: not there when it was looked for */
    struct schema *schema, *noted;           /* without and with a note */
    uint64_t last[2][TORTURE_ROWS];          /* states seen, in left and right */
    uint8_t values[BURST][TORTURE_BODY_MAX + 100];
    uint64_t gets;
};

#define BAD(r, ...) torture_fail((r)->t, __VA_ARGS__)

/* --- copies --------------------------------------------------------------------------------- */

/* A value that was read of a row, `before` being what was acknowledged before that. */
static bool check_value(struct reader *r, enum torture_table side, unsigned row, const void *value,
                        size_t size, uint64_t before)
{
    struct kit_row found;
    uint64_t state, pending = atomic_load(&r->shared->pending);
    if (!kit_decode(r->schema, value, size, &found) ||
        !kit_body_state(found.body, found.body_bytes, side, row, &state))
        return BAD(r, "%s %u: a wrong byte", torture_names[side], row);
    if (state >> 16 < before >> 16 || state >> 16 < r->last[side][row] >> 16)
        return BAD(r, "%s %u: state %llx after %llx (acknowledged %llx)", torture_names[side], row,
                   (unsigned long long)state, (unsigned long long)r->last[side][row],
                   (unsigned long long)before);
    if (state >> 16 > pending >> 16 || !(state & 1))
        return BAD(r, "%s %u: state %llx of no transaction", torture_names[side], row,
                   (unsigned long long)state);
    if (found.grp != (int64_t)(state % TORTURE_GROUPS) || found.code != (int64_t)row)
        return BAD(r, "%s %u: columns of another state", torture_names[side], row);
    r->last[side][row] = state;
    r->gets++;
    return true;
}

static bool check_get(struct reader *r, enum torture_table side, unsigned row, int status,
                      const void *value, size_t size, uint64_t before)
{
    if (status == SP_OK)
        return check_value(r, side, row, value, size, before);
    if (status == SP_ENOTFOUND && row >= TORTURE_FIRM) {
        r->gets++;
        return true;
    }
    return BAD(r, "%s %u: %s", torture_names[side], row, sp_status_name(status));
}

static unsigned choose_row(struct reader *r)
{
    if (kit_below(r->random, 4) == 0)
        return 3 + 16 * (unsigned)kit_below(r->random, 3); /* large ones that change all the time */
    unsigned first = kit_below(r->random, 4) ? 0 : TORTURE_FIRM;
    return first + (unsigned)kit_below(r->random, kit_below(r->random, 2) ? 40
                                                  : first                 ? TORTURE_ROWS - first
                                                                          : TORTURE_ROWS);
}

static bool get_some(struct reader *r)
{
    for (unsigned i = 0; i < 100; i++) {
        enum torture_table side = i % 2 ? LEFT : RIGHT;
        int64_t id = choose_row(r);
        size_t size;
        uint64_t before = atomic_load(&r->shared->acked[id]);
        int status =
            sp_get(r->tables[side], &id, sizeof(id), r->values[0], sizeof(r->values[0]), &size);
        if (!check_get(r, side, (unsigned)id, status, r->values[0], size, before))
            return false;
    }
    return true;
}

static bool mget_some(struct reader *r)
{
    struct sp_get gets[BURST];
    int64_t ids[BURST];
    uint64_t before[BURST];
    enum torture_table side = kit_below(r->random, 2) ? LEFT : RIGHT;
    for (unsigned i = 0; i < BURST; i++) {
        ids[i] = (choose_row(r) / BURST * BURST + i) % TORTURE_ROWS; /* no row twice */
        before[i] = atomic_load(&r->shared->acked[ids[i]]);
        gets[i] = (struct sp_get){&ids[i], 8, r->values[i], sizeof(r->values[i]), 0, 0};
    }
    int status = sp_mget(r->tables[side], gets, BURST);
    if (status != SP_OK)
        return BAD(r, "sp_mget: %s", sp_status_name(status));
    for (unsigned i = 0; i < BURST; i++)
        if (!check_get(r, side, (unsigned)ids[i], gets[i].status, gets[i].out, gets[i].size,
                       before[i]))
            return false;
    return true;
}

/* A value of a table that changes its shape: whole, of this row, and its state. */
static bool other_state(struct reader *r, enum torture_table which, int64_t id, const void *value,
                        size_t size, uint64_t *state)
{
    struct kit_row found;
    return (kit_decode(r->schema, value, size, &found) &&
            kit_body_state(found.body, found.body_bytes, which, id, state)) ||
           (kit_decode(r->noted, value, size, &found) &&
            kit_body_state(found.body, found.body_bytes, which, id, state));
}

/* What a read may say of a row that is not there. `shape` may be dropped; and it can be opened from
 * when its first transaction begins, but has nothing to be read until that is committed. */
static bool is_absent(enum torture_table which, int status)
{
    return status == SP_ENOTFOUND ||
           (which == SHAPE && (status == SP_ENOTABLE || status == SP_ENOTREADY));
}

/* Rows of the tables whose roots and directories are replaced under the reader. All that `shape`
 * holds is of the last commit that changed it, or of one that is not acknowledged yet. */
static bool get_others(struct reader *r)
{
    for (unsigned i = 0; i < 50; i++) {
        enum torture_table which = i % 2 && r->tables[SHAPE] ? SHAPE : BULK;
        int64_t id = (int64_t)kit_below(r->random, which == SHAPE ? TORTURE_SHAPED : TORTURE_BULK);
        uint64_t before = atomic_load(&r->shared->shaped), state;
        size_t size;
        int status =
            sp_get(r->tables[which], &id, sizeof(id), r->values[0], sizeof(r->values[0]), &size);
        if (is_absent(which, status))
            continue;
        if (status != SP_OK || !other_state(r, which, id, r->values[0], size, &state))
            return BAD(r, "%s %d: %s or a wrong byte", torture_names[which], (int)id,
                       sp_status_name(status));
        if (which == SHAPE && state < before)
            return BAD(r, "shape %d: state %llx after %llx", (int)id, (unsigned long long)state,
                       (unsigned long long)before);
        if (which == BULK && state != (uint64_t)(1 + id % 3))
            return BAD(r, "bulk %d: state %llx", (int)id, (unsigned long long)state);
        r->gets++;
    }
    return true;
}

/* --- snapshots ------------------------------------------------------------------------------ */

/* SP_ESTALE is honest; everything else is not expected under a snapshot. */
static bool is_stale(struct reader *r, struct sp_snapshot *snapshot)
{
    if (sp_snapshot_check(snapshot) != SP_ESTALE)
        return false;
    atomic_fetch_add_explicit(&r->shared->stale, 1, memory_order_relaxed);
    return true;
}

/* The states of a row in both tables; 0: not there. */
static bool view_pair(struct reader *r, struct sp_snapshot *snapshot, int64_t id, uint64_t *states,
                      struct sp_view *views)
{
    for (enum torture_table side = LEFT; side <= RIGHT; side++) {
        struct kit_row row;
        int status = sp_view(snapshot, r->tables[side], &id, sizeof(id), &views[side]);
        states[side] = 0;
        if (status == SP_ENOTFOUND && id >= (int64_t)TORTURE_FIRM)
            continue;
        bool good = status == SP_OK &&
                    kit_decode(r->schema, views[side].value, views[side].value_bytes, &row) &&
                    kit_body_state(row.body, row.body_bytes, side, id, &states[side]);
        if (!good)
            return is_stale(r, snapshot)
                       ? false
                       : BAD(r, "snapshot %llu, %s %d: %s or a wrong byte",
                             (unsigned long long)sp_snapshot_version(snapshot), torture_names[side],
                             (int)id, sp_status_name(status));
    }
    if (states[LEFT] == states[RIGHT] || is_stale(r, snapshot))
        return true;
    return BAD(r, "snapshot %llu: row %d is %llx on the left and %llx on the right",
               (unsigned long long)sp_snapshot_version(snapshot), (int)id,
               (unsigned long long)states[LEFT], (unsigned long long)states[RIGHT]);
}

/* Looks at rows, waits, and looks at the same bytes again. False: bad, or stale. */
static bool hold_views(struct reader *r, struct sp_snapshot *snapshot)
{
    enum { COUNT = 40 };
    struct sp_view views[COUNT][2];
    uint64_t states[COUNT][2], again;
    int64_t ids[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        ids[i] = choose_row(r);
        if (!view_pair(r, snapshot, ids[i], states[i], views[i]))
            return false;
    }
    if (kit_below(r->random, 4) == 0)
        usleep((useconds_t)kit_below(r->random, 20000));
    for (unsigned i = 0; i < COUNT; i++) {
        for (enum torture_table side = LEFT; side <= RIGHT; side++) {
            struct kit_row row;
            if (states[i][side] == 0)
                continue;
            bool good =
                kit_decode(r->schema, views[i][side].value, views[i][side].value_bytes, &row) &&
                kit_body_state(row.body, row.body_bytes, side, ids[i], &again) &&
                again == states[i][side];
            if (!good)
                return is_stale(r, snapshot)
                           ? false
                           : BAD(r, "snapshot %llu: the view of %s %d changed",
                                 (unsigned long long)sp_snapshot_version(snapshot),
                                 torture_names[side], (int)ids[i]);
        }
    }
    atomic_fetch_add_explicit(&r->shared->rows_viewed, COUNT * 4, memory_order_relaxed);
    return true;
}

struct tally {
    uint64_t rows, firm, sum; /* sum: of the firm rows' states, mixed with their ids */
    uint64_t state;           /* of the last row; ~0: they differ */
};

/* Walks a scan; each row whole and of the table, the states summed up. */
static bool walk(struct reader *r, struct sp_snapshot *snapshot, struct sp_scan *scan,
                 enum torture_table which, const int64_t *grp, struct tally *tally)
{
    struct sp_view view;
    int status;
    *tally = (struct tally){0};
    while ((status = sp_scan_next(scan, &view)) == SP_OK) {
        struct kit_row row;
        int64_t id;
        uint64_t state;
        memcpy(&id, view.key, sizeof(id));
        bool good = kit_decode(r->schema, view.value, view.value_bytes, &row) ||
                    which >= BULK; /* of either shape */
        if (which >= BULK) {
            struct sp_value body;
            good = sp_view_column(&view, 3, &body) == SP_OK;
            row.body = body.bytes.data;
            row.body_bytes = body.bytes.size;
        }
        good = good && kit_body_state(row.body, row.body_bytes, which, id, &state) &&
               (!grp || row.grp == *grp);
        if (!good) {
            sp_scan_end(scan);
            return is_stale(r, snapshot)
                       ? false
                       : BAD(r, "scan of %s, row %d: a wrong byte", torture_names[which], (int)id);
        }
        tally->state = tally->rows == 0 || tally->state == state ? state : ~UINT64_C(0);
        tally->rows++;
        tally->firm += id < (int64_t)TORTURE_FIRM;
        tally->sum += kit_mix(state ^ (uint64_t)id << 50);
    }
    sp_scan_end(scan);
    atomic_fetch_add_explicit(&r->shared->rows_viewed, tally->rows, memory_order_relaxed);
    if (status == SP_ENOTFOUND)
        return true;
    return status == SP_ESTALE && is_stale(r, snapshot)
               ? false
               : BAD(r, "scan of %s: %s", torture_names[which], sp_status_name(status));
}

/* True, and no rows, where the table is not there. */
static bool tally_table(struct reader *r, struct sp_snapshot *snapshot, enum torture_table which,
                        struct tally *tally)
{
    struct sp_scan *scan;
    *tally = (struct tally){0};
    if (!r->tables[which])
        return true;
    int status = sp_scan_begin(snapshot, r->tables[which], &scan);
    if (status == SP_ENOTABLE)
        return true;
    if (status != SP_OK)
        return status == SP_ESTALE && is_stale(r, snapshot)
                   ? false
                   : BAD(r, "scan of %s: %s", torture_names[which], sp_status_name(status));
    return walk(r, snapshot, scan, which, NULL, tally);
}

static bool scan_both(struct reader *r, struct sp_snapshot *snapshot)
{
    struct tally left, right;
    if (!tally_table(r, snapshot, LEFT, &left) || !tally_table(r, snapshot, RIGHT, &right))
        return false;
    atomic_fetch_add_explicit(&r->shared->scans, 2, memory_order_relaxed);
    if (left.firm == TORTURE_FIRM && left.rows == right.rows && left.sum == right.sum)
        return true;
    return is_stale(r, snapshot)
               ? false
               : BAD(r, "snapshot %llu: %llu rows (%llu firm) on the left, %llu on the right",
                     (unsigned long long)sp_snapshot_version(snapshot),
                     (unsigned long long)left.rows, (unsigned long long)left.firm,
                     (unsigned long long)right.rows);
}

static bool scan_others(struct reader *r, struct sp_snapshot *snapshot)
{
    struct tally tally;
    struct sp_view view;
    struct kit_row row;
    const int64_t one = 1;
    if (!tally_table(r, snapshot, SHAPE, &tally))
        return false;
    if (tally.rows != 0 && (tally.rows != TORTURE_SHAPED || tally.state == ~UINT64_C(0)) &&
        !is_stale(r, snapshot))
        return BAD(r, "snapshot: %llu rows of `shape`, or of several states",
                   (unsigned long long)tally.rows);
    if (!tally_table(r, snapshot, BULK, &tally))
        return false;
    int status = sp_view(snapshot, r->tables[META], &one, sizeof(one), &view);
    bool good = status == SP_OK && kit_decode(r->schema, view.value, view.value_bytes, &row) &&
                row.code == (int64_t)tally.rows;
    atomic_fetch_add_explicit(&r->shared->scans, 2, memory_order_relaxed);
    return good ||
           (!is_stale(r, snapshot) && BAD(r, "snapshot: %llu rows of `bulk`, %s",
                                          (unsigned long long)tally.rows, sp_status_name(status)));
}

/* All rows by their groups are all rows. */
static bool find_all(struct reader *r, struct sp_snapshot *snapshot)
{
    struct tally left, group;
    uint64_t rows = 0, sum = 0;
    if (!tally_table(r, snapshot, LEFT, &left))
        return false;
    for (int64_t grp = 0; grp < (int64_t)TORTURE_GROUPS; grp++) {
        struct sp_scan *scan;
        int status = sp_find_begin(snapshot, r->tables[LEFT], 0, &grp, sizeof(grp), &scan);
        if (status != SP_OK)
            return status == SP_ESTALE && is_stale(r, snapshot)
                       ? false
                       : BAD(r, "find: %s", sp_status_name(status));
        if (!walk(r, snapshot, scan, LEFT, &grp, &group))
            return false;
        rows += group.rows;
        sum += group.sum;
    }
    atomic_fetch_add_explicit(&r->shared->finds, TORTURE_GROUPS, memory_order_relaxed);
    if ((rows == left.rows && sum == left.sum) || is_stale(r, snapshot))
        return true;
    return BAD(r, "snapshot: %llu rows by group, %llu by scan", (unsigned long long)rows,
               (unsigned long long)left.rows);
}

static bool use_snapshot(struct reader *r)
{
    struct sp_snapshot *snapshot;
    int status = sp_snapshot_begin(r->pond, &snapshot);
    if (status != SP_OK)
        return BAD(r, "sp_snapshot_begin: %s", sp_status_name(status));
    bool good = true;
    for (uint64_t n = 1 + kit_below(r->random, 4); good && n > 0; n--) {
        uint64_t what = kit_below(r->random, 12);
        good = what < 8    ? hold_views(r, snapshot)
               : what < 9  ? scan_both(r, snapshot)
               : what < 10 ? scan_others(r, snapshot)
                           : find_all(r, snapshot);
    }
    sp_snapshot_end(snapshot);
    atomic_fetch_add_explicit(&r->shared->snapshots, 1, memory_order_relaxed);
    return !atomic_load(&r->shared->failed);
}

/* A row found by the unique index, without a snapshot. */
static bool find_row(struct reader *r)
{
    struct sp_row *row = sp_row_new();
    bool good = row != NULL;
    for (unsigned i = 0; good && i < 10; i++) {
        unsigned id = (unsigned)kit_below(r->random, TORTURE_FIRM);
        struct sp_value key = sp_int(id);
        const void *key_bytes, *value;
        size_t key_size, size;
        uint64_t before = atomic_load(&r->shared->acked[id]);
        int status = sp_find_row(r->tables[LEFT], 1, &key, 1, row);
        if (status != SP_OK) {
            good = BAD(r, "sp_find_row %u: %s", id, sp_status_name(status));
            break;
        }
        sp_row_bytes(row, &key_bytes, &key_size, &value, &size);
        good = check_value(r, LEFT, id, value, size, before);
    }
    sp_row_free(row);
    return good;
}

/* --- a life --------------------------------------------------------------------------------- */

/* A wait that the writer has to end, unless it is dead. */
static bool wait_for_commit(struct reader *r)
{
    uint64_t now, version = sp_pond_version(r->pond);
    int status = sp_wait(r->pond, version, 20, &now);
    atomic_fetch_add_explicit(&r->shared->waits, 1, memory_order_relaxed);
    if (status == SP_ETIMEDOUT || (status == SP_OK && now > version))
        return true;
    return BAD(r, "sp_wait: %s, version %llu after %llu", sp_status_name(status),
               (unsigned long long)now, (unsigned long long)version);
}

static bool open_tables(struct reader *r)
{
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    options.wait_ms = 60000;
    int status = r->pond ? SP_OK : sp_open(r->t->directory, &options, &r->pond);
    for (unsigned i = 0; status == SP_OK && i < TORTURE_TABLES; i++) {
        status = sp_table_open(r->pond, torture_names[i], &r->tables[i]);
        if (i == SHAPE && status == SP_ENOTABLE)
            status = SP_OK;
    }
    return status == SP_OK || BAD(r, "a reader opens the pond: %s", sp_status_name(status));
}

static bool step(struct reader *r)
{
    uint64_t what = kit_below(r->random, 100);
    if (what < 55)
        return get_some(r);
    if (what < 60)
        return get_others(r);
    if (what < 70)
        return torture_cache_read(r->t, r->pond);
    if (what < 90)
        return mget_some(r);
    if (what < 93)
        return find_row(r);
    if (what == 93)
        return wait_for_commit(r);
    return use_snapshot(r);
}

bool torture_read(struct torture *t, struct sp_pond *pond)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return torture_fail(t, "out of memory");
    r->t = t;
    r->shared = t->shared;
    r->random = &t->random;
    r->pond = pond;
    r->schema = kit_schema(0);
    r->noted = kit_schema(KIT_NOTE);
    bool good = open_tables(r);
    while (good && !atomic_load(&t->shared->stop) && !atomic_load(&t->shared->failed)) {
        good = step(r);
        atomic_fetch_add_explicit(&t->shared->gets, r->gets, memory_order_relaxed);
        r->gets = 0;
    }
    if (!pond)
        sp_close(r->pond);
    schema_free(r->schema);
    schema_free(r->noted);
    free(r);
    return good;
}
