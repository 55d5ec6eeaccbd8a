/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.h - a walk over rows: all of a table (scan.c) or those of a secondary key (find_index.c).
 */
#ifndef SIDEPOND_LOCAL_SCAN_H
#define SIDEPOND_LOCAL_SCAN_H

#include "client/local/snapshot.h"

/* A row that was found in the segment at hand; its value follows its key. */
struct scan_row {
    const uint8_t *key;
    uint32_t key_bytes, value_bytes;
};

/* Where a walk over postings is. */
struct posting_walk {
    uint8_t *key; /* u32 number | the secondary key */
    size_t key_bytes;
    uint32_t number, count;  /* postings begun; how many there are */
    const uint8_t *at, *end; /* in the posting at hand */
    unsigned index;          /* of the root's dirs */
};

struct sp_scan {
    struct sp_snapshot *snapshot;
    struct sp_table *table;
    struct binding *binding;
    const struct sp_schema *schema;
    struct sp_scan *next, *prev; /* of the pond */
    /* A whole table: what is left starts at next_hash. */
    uint64_t next_hash;
    bool done;
    uint64_t work; /* buckets looked at and prev links followed */
    struct scan_row *rows;
    size_t row_count, row_cap, row_at;
    /* A secondary key: posting.key is not NULL. */
    struct posting_walk posting;
};

/* Makes a scan, with the table's schema at the snapshot's version. */
int scan_new(struct sp_snapshot *snapshot, struct sp_table *table, struct sp_scan **out);

/* The next row of a secondary key. */
int posting_next(struct sp_scan *scan, struct sp_view *out);

#endif
