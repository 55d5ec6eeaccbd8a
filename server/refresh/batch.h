/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.h - from a source's values to rows in the store, with memory bounded by one batch.
 */
#ifndef SIDEPOND_REFRESH_BATCH_H
#define SIDEPOND_REFRESH_BATCH_H

#include "alloc/row.h"
#include "server/config/config.h"
#include "server/refresh/refresh.h"

enum {
    BATCH_ROWS = 256,
    BATCH_BYTES = 256 << 10, /* grows for a larger row, up to max_row */
    BATCH_NAMED_MAX = 5,     /* bad rows that are named in the log, for each table and pass */
};

/* Room for rows on their way; empty between two tables. */
struct batch {
    unsigned char *bytes;
    size_t cap, used;
    unsigned count;
    struct store_row rows[BATCH_ROWS];
};
int batch_init(struct batch *batch); /* SP_ENOMEM */
void batch_free(struct batch *batch);

/* One table in one pass: the context of its sink. */
struct intake {
    const struct config_table *config;
    const struct schema *schema;
    struct store_table *table; /* NULL: count only */
    struct batch *batch;
    struct watermark *mark; /* raised by what is read; NULL: none */
    int mark_column;
    int64_t now_ms;                 /* wall clock, for the mark */
    bool (*stopped)(void *context); /* asked once a batch */
    void (*full)(void *context);    /* told once, when the pond has no more room */
    void *context;

    uint64_t read;
    uint64_t stored;
    uint64_t skipped[REFRESH_SKIP_COUNT];
    unsigned earlier;           /* rows of the batch that belong to what ended before; 0: none */
    struct store_counts before; /* the table's, when what ended before had been stored */
    bool refused;               /* the row that the sink was last given */
    bool follows;         /* no full pass comes: what was there of a row refused here is deleted */
    bool quiet;           /* bad rows have been named lately: only count them */
    unsigned named;       /* or would have been */
    uint64_t data_bytes;  /* keys and values */
    uint64_t units_bytes; /* the same in entries */
    int space_status;     /* SP_ENOSPC or SP_ENOSHM: did not fit, is counting since */
    int status;           /* why the stream was stopped, if we did it */
    char why[SOURCE_ERROR_BYTES];
};

/* The sink's functions for an intake. */
struct source_sink intake_sink(struct intake *intake);
/* Stores what is still in the batch. */
int intake_flush(struct intake *intake);
/* Bytes that an entry of the store takes. */
uint64_t intake_entry_bytes(size_t key_bytes, size_t value_bytes);

#endif
