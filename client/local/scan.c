/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.c - all rows of a table at a snapshot's version, each once.
 *
 * The walk goes through the directory in the order of hash prefixes, so that doubling it or
 * splitting a segment in the meantime moves nothing from one side of the walk to the other. Of each
 * segment the rows are collected first, bucket by bucket as homes, each validated by R8; then they
 * are handed out. What was collected is visible at the pinned version and cannot go away.
 *
 * Cost: one segment's rows (at most 1,792) are remembered, 16 bytes each. A bucket that changes
 * while it is collected is collected again; a segment that is rebuilt, the segment.
 */
#include "client/local/scan.h"

#include "client/local/any_age.h"

#include <stdlib.h>

/* Beyond which a scan is of a forged pond. The writer may make new versions while it goes on. */
#define WORK_PER_UNIT 16u

/* --- making and ending ------------------------------------------------------------------------ */

static int scan_root(struct sp_scan *scan, struct find_path *path)
{
    uint32_t tries = 0;
    int status;
    do {
        find_begin_at(path, scan->binding, sp_snapshot_version(scan->snapshot));
        enum find result = find_root(path, 0);
        status = SP_OK;
        if (result != FIND_HIT)
            status = find_settle(scan->table, &scan->binding, path, result, true, &tries);
    } while (status == READ_AGAIN);
    return status;
}

static int scan_schema(struct sp_scan *scan)
{
    int status;
    uint32_t tries = 0;
    do {
        struct find_path path;
        status = scan_root(scan, &path);
        if (status == SP_OK)
            status = schema_of(scan->table, scan->binding, &path, &scan->schema);
    } while (status == READ_AGAIN && ++tries < READ_TRIES_MAX);
    return status == READ_AGAIN ? SP_ECORRUPT : status;
}

static int scan_make(struct sp_snapshot *snapshot, struct sp_table *table, bool any_age,
                     struct sp_scan **out)
{
    *out = NULL;
    int status = snapshot_status(snapshot);
    if (status != SP_OK)
        return error_plain(status);
    struct binding *binding = snapshot_binding(snapshot, table);
    if (binding == NULL && table->pond != snapshot->pool->pond)
        return error_set(SP_EINVAL, "table \"%s\" and the snapshot are of two handles",
                         table->name);
    struct sp_scan *scan = binding != NULL ? calloc(1, sizeof *scan) : NULL;
    if (scan == NULL)
        return error_plain(SP_ENOMEM);
    if (!any_age && find_is_old(binding)) {
        status = SP_EOLD;
    } else {
        scan->snapshot = snapshot;
        scan->table = table;
        scan->binding = binding;
        status = scan_schema(scan);
    }
    if (status != SP_OK) {
        free(scan);
        return error_set(status, "table \"%s\"", table->name);
    }
    struct sp_pond *pond = table->pond;
    pthread_mutex_lock(&pond->mutex);
    scan->next = pond->scans;
    if (pond->scans != NULL)
        pond->scans->prev = scan;
    pond->scans = scan;
    pthread_mutex_unlock(&pond->mutex);
    *out = scan;
    return SP_OK;
}

int scan_new(struct sp_snapshot *snapshot, struct sp_table *table, struct sp_scan **out)
{
    return scan_make(snapshot, table, false, out);
}

int scan_begin_any_age(struct sp_snapshot *snapshot, struct sp_table *table, struct sp_scan **out)
{
    return scan_make(snapshot, table, true, out);
}

int sp_scan_begin(struct sp_snapshot *snapshot, struct sp_table *table, struct sp_scan **out)
{
    return scan_new(snapshot, table, out);
}

static void scan_free(struct sp_scan *scan)
{
    free(scan->rows);
    free(scan->posting.key);
    free(scan);
}

void sp_scan_end(struct sp_scan *scan)
{
    if (scan == NULL)
        return;
    struct sp_pond *pond = scan->table->pond;
    pthread_mutex_lock(&pond->mutex);
    if (scan->next != NULL)
        scan->next->prev = scan->prev;
    if (scan->prev != NULL)
        scan->prev->next = scan->next;
    else
        pond->scans = scan->next;
    pthread_mutex_unlock(&pond->mutex);
    scan_free(scan);
}

void scans_free(struct sp_pond *pond)
{
    while (pond->scans != NULL) {
        struct sp_scan *next = pond->scans->next;
        scan_free(pond->scans);
        pond->scans = next;
    }
}

/* --- a bucket --------------------------------------------------------------------------------- */

static int push_row(struct sp_scan *scan, const struct found *found)
{
    if (scan->row_count == scan->row_cap) {
        size_t cap = scan->row_cap == 0 ? 512 : scan->row_cap * 2;
        struct scan_row *rows = realloc(scan->rows, cap * sizeof *rows);
        if (rows == NULL)
            return SP_ENOMEM;
        scan->rows = rows;
        scan->row_cap = cap;
    }
    scan->rows[scan->row_count++] = (struct scan_row){
        .key = found->key,
        .key_bytes = (uint32_t)found->key_bytes,
        .value_bytes = (uint32_t)found->value_bytes,
    };
    return SP_OK;
}

static void fetch_entries(const struct find_path *p, const struct bucket *bucket)
{
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&bucket->slots[i], memory_order_relaxed);
        __builtin_prefetch(p->b->arena + (slot_unit(word) << FORMAT_UNIT_SHIFT));
    }
}

/* The rows of one bucket's slots whose home is bucket number `home`. FIND_HIT is "went well". */
static enum find collect_slots(struct sp_scan *scan, struct find_path *p,
                               const struct bucket *bucket, unsigned home, unsigned bucket_count,
                               int *status)
{
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&bucket->slots[i], memory_order_acquire);
        if (word == 0 || tag_bucket(slot_tag(word), bucket_count) != home)
            continue;
        struct found found;
        enum find result = find_version(p, slot_unit(word), &found);
        if (result == FIND_HIT)
            *status = push_row(scan, &found);
        else if (result != FIND_MISS)
            return result;
        if (*status != SP_OK)
            return FIND_HIT;
    }
    return FIND_HIT;
}

/* R4 to R6 for everything that has this home. */
static enum find collect_home(struct sp_scan *scan, struct find_path *p,
                              const struct bucket *buckets, unsigned home, unsigned bucket_count,
                              int *status)
{
    p->home = &buckets[home];
    p->meta = atomic_load_explicit(&p->home->meta, memory_order_acquire);
    unsigned reach = bucket_overflow(p->meta) != 0 ? bucket_reach(p->meta) : 0;
    if (reach > PROBE_MAX || reach >= bucket_count)
        return FIND_ODD_ENTRY;
    for (unsigned distance = 0; distance <= reach; distance++) {
        const struct bucket *bucket = &buckets[(home + distance) % bucket_count];
        enum find result = collect_slots(scan, p, bucket, home, bucket_count, status);
        if (result != FIND_HIT || *status != SP_OK)
            return result;
    }
    return FIND_HIT;
}

/* The same until R8 agrees. READ_AGAIN: take the segment again. */
static int collect_valid(struct sp_scan *scan, struct find_path *p, const struct bucket *buckets,
                         unsigned home, unsigned bucket_count)
{
    size_t rows_before = scan->row_count;
    struct binding *binding = scan->binding;
    for (uint32_t tries = 0; tries < READ_TRIES_MAX; tries++) {
        int status = SP_OK;
        scan->row_count = rows_before;
        p->chained = false;
        p->reclaim = atomic_load_explicit(&binding->super->reclaim_seq, memory_order_acquire);
        enum find result = collect_home(scan, p, buckets, home, bucket_count, &status);
        if (status != SP_OK)
            return status;
        bool valid = find_valid(p);
        if (valid && result == FIND_HIT)
            return SP_OK;
        if (valid && !binding_grow(binding, p->limit_bytes))
            return SP_ECORRUPT;
        p->limit_bytes = atomic_load_explicit(&binding->limit_bytes, memory_order_relaxed);
        p->chained = false; /* the segment's own words */
        if (!valid && !find_unchanged(p, FIND_ODD_SEGMENT))
            return READ_AGAIN;
    }
    return SP_ECORRUPT;
}

/* --- a segment -------------------------------------------------------------------------------- */

/* The segment that next_hash leads to, with all bounds of directory and segment. */
static enum find find_segment(struct sp_scan *scan, struct find_path *p)
{
    uint64_t limit = find_limit(p->b);
    unsigned depth = dir_depth(p->dir);
    if (depth > DIR_DEPTH_MAX || dir_unit(p->dir) == 0)
        return FIND_ODD_DIR;
    uint64_t units = ((UINT64_C(1) << depth) + 1) / 2;
    if (dir_unit(p->dir) >= limit || units > limit - dir_unit(p->dir))
        return FIND_ODD_DIR;
    p->segment_at =
        (const _Atomic uint64_t *)(p->b->arena + (dir_unit(p->dir) << FORMAT_UNIT_SHIFT)) +
        hash_dir_index(scan->next_hash, depth);
    p->segment = atomic_load_explicit(p->segment_at, memory_order_acquire);
    uint64_t unit = segment_unit(p->segment);
    uint64_t segment_units = segment_buckets(p->segment) * BUCKET_UNITS;
    if (!segment_possible(p->segment) || unit >= limit || segment_units > limit - unit ||
        segment_depth(p->segment) > depth)
        return FIND_ODD_SEGMENT;
    return FIND_HIT;
}

/* After the segment's own prefix. */
static void advance(struct sp_scan *scan, uint64_t segment)
{
    unsigned depth = segment_depth(segment);
    if (depth == 0) {
        scan->done = true;
        return;
    }
    uint64_t prefix = hash_dir_index(scan->next_hash, depth) + 1;
    scan->done = prefix >> depth != 0;
    scan->next_hash = prefix << (64 - depth);
}

static int collect_segment(struct sp_scan *scan, struct find_path *p)
{
    unsigned bucket_count = segment_buckets(p->segment);
    const struct bucket *buckets =
        (const struct bucket *)(p->b->arena + (segment_unit(p->segment) << FORMAT_UNIT_SHIFT));
    scan->row_count = 0;
    fetch_entries(p, &buckets[0]);
    for (unsigned home = 0; home < bucket_count; home++) {
        if (home + 1 < bucket_count)
            fetch_entries(p, &buckets[home + 1]);
        int status = collect_valid(scan, p, buckets, home, bucket_count);
        if (status != SP_OK)
            return status;
    }
    /* In a sound table each bucket and each version has units of its own; a forged directory can
     * lead to the same ones for ever. */
    scan->work += bucket_count + p->steps;
    return scan->work > WORK_PER_UNIT * find_limit(p->b) ? SP_ECORRUPT : SP_OK;
}

static int next_segment(struct sp_scan *scan)
{
    uint32_t tries = 0;
    int status;
    do {
        struct find_path path;
        status = scan_root(scan, &path);
        if (status != SP_OK)
            return status;
        enum find result = find_segment(scan, &path);
        if (result == FIND_HIT)
            status = collect_segment(scan, &path);
        else
            status = find_settle(scan->table, &scan->binding, &path, result, true, &tries);
        if (status == SP_OK)
            advance(scan, path.segment);
        if (status == READ_AGAIN && ++tries > READ_TRIES_MAX)
            status = SP_ECORRUPT;
    } while (status == READ_AGAIN);
    scan->row_at = 0;
    return status;
}

int sp_scan_next(struct sp_scan *scan, struct sp_view *out)
{
    int status = SP_OK;
    if (snapshot_status(scan->snapshot) == SP_EFORKED)
        return error_plain(SP_EFORKED);
    if (scan->posting.key != NULL) {
        status = posting_next(scan, out);
    } else {
        while (status == SP_OK && scan->row_at == scan->row_count && !scan->done)
            status = next_segment(scan);
        if (status == SP_OK && scan->row_at == scan->row_count)
            status = SP_ENOTFOUND;
    }
    int lost = snapshot_status(scan->snapshot);
    if (UNLIKELY(lost != SP_OK))
        return error_plain(lost);
    if (status != SP_OK || scan->posting.key != NULL)
        return status == SP_OK ? SP_OK : error_plain(status);
    const struct scan_row *row = &scan->rows[scan->row_at++];
    const struct found found = {.key = row->key,
                                .value = row->key + row->key_bytes,
                                .key_bytes = row->key_bytes,
                                .value_bytes = row->value_bytes};
    view_set(out, &found, scan->schema);
    return SP_OK;
}
