/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h - the single writer of a pond.
 *
 * Everything that changes the arena happens behind this interface: transactions over any
 * number of tables, each visible as a whole by one store, and the housekeeping that frees what
 * nobody can see any more. Readers need no cooperation; docs/CONCURRENCY.md says why.
 *
 * Threads: all functions may be called from any thread. A transaction belongs to one thread at a
 * time; several may be open at once, if no two touch the same table. The store's lock is held for
 * one batch of rows at most, except in commits.
 *
 * Errors: a status, and where there is a `why` a sentence in it (STORE_WHY_BYTES).
 */
#ifndef SIDEPOND_STORE_H
#define SIDEPOND_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/row.h"
#include "sidepond/sidepond.h"

#define STORE_WHY_BYTES 512

struct store;
struct store_txn;
struct store_table; /* a table inside one transaction */

/* --- opening ------------------------------------------------------------------------------- */

struct store_options {
    const char *directory;
    const char *name;
    uint64_t limit_bytes;
    uint64_t lease_limit_ms;
    uint64_t cooling_ms; /* how long memory must be free before the system gets it back; 0: 10 s */
    long gid;            /* group that may read; -1: the daemon's own */
    bool huge_pages;
    uint64_t cache_bytes; /* how much of a replaced pond's cache the new one takes along at most */
};

enum store_origin {
    STORE_CREATED,   /* a new, empty pond */
    STORE_RECOVERED, /* the pond that was there, checked */
    STORE_REPLACED   /* a new pond of another size or format, filled from the old one where it could
                        be read; the old one is retired */
};

struct store_opened {
    enum store_origin origin;
    uint64_t version;
    uint64_t rows;
    uint64_t dropped_uncommitted; /* entries of a transaction that never committed */
    uint64_t dropped_corrupt;     /* entries whose checksum or place was wrong */
    uint64_t lost_tables;         /* tables of a replaced pond that could not be read */
    uint64_t elapsed_us;
    char note[STORE_WHY_BYTES]; /* why something was lost, for the log; mostly empty */
};

/* Takes the writer's lock (SP_EBUSY: another daemon has it, named in why), then attaches to the
 * pond in the directory or creates one. SP_ENOSHM, SP_EACCESS, SP_ENOSPC (the old pond's data does
 * not fit into the new size), SP_EFORMAT (the file there is none of ours and stays), SP_EINVAL,
 * SP_ESYS. */
int store_open(const struct store_options *options, struct store **out, struct store_opened *opened,
               char *why);

/* Aborts what is open, marks the writer as gone and lets go. The pond stays for readers. */
void store_close(struct store *store);

/* --- transactions -------------------------------------------------------------------------- */

int store_begin(struct store *store, struct store_txn **out);

/* A table in this transaction, created if it is not there. If its schema differs from the one
 * given, a new shape is loaded beside the old one and takes its place at the commit (`*reshaped`,
 * may be NULL); then it starts empty. `row_hint` (0: unknown) sizes a new index at once. Belongs to
 * the transaction. SP_EBUSY: in use by another transaction; SP_ENOSPC: no table slot or memory. */
int store_table(struct store_txn *txn, const char *name, const struct schema *schema,
                uint64_t row_hint, struct store_table **out, bool *reshaped);

/* What a put did. */
enum store_change {
    STORE_UNCHANGED, /* the row was there with these bytes: nothing was written */
    STORE_INSERTED,
    STORE_UPDATED,
    STORE_DUPLICATE /* in a full pass: the key came before; nothing was written */
};

struct store_row {
    const void *key;
    size_t key_bytes;
    const void *value;
    size_t value_bytes;
    enum store_change change; /* out */
};

/* Writes rows, all or, on SP_ENOSPC or SP_ENOSHM, the first `*done` of them; the transaction can
 * then only be aborted. Much faster in batches of 64 to 512 than one by one. */
int store_put(struct store_table *table, struct store_row *rows, size_t count, size_t *done);

/* Deletes a row: SP_OK or SP_ENOTFOUND. */
int store_delete(struct store_table *table, const void *key, size_t key_bytes);

/* Copies the value of a row as this transaction sees it. `*value_bytes` is its size, also with
 * SP_ERANGE: more than cap. SP_ENOTFOUND. */
int store_read(struct store_table *table, const void *key, size_t key_bytes, void *value,
               size_t cap, size_t *value_bytes);

/* Deletes all rows. Not within a full pass. */
int store_truncate(struct store_table *table, uint64_t *deleted);

/* Starts a full pass over a table that exists: from now on puts remember which rows they met. */
int store_pass_begin(struct store_table *table);
/* How many rows of before the pass it has not met yet, and how many there were before it. */
void store_pass_missing(struct store_table *table, uint64_t *missing, uint64_t *before);
/* Deletes the rows that the pass has not met. */
int store_pass_sweep(struct store_table *table, uint64_t *deleted);
/* Puts no longer remember what they met. */
void store_pass_end(struct store_table *table);

struct store_counts {
    uint64_t inserted, updated, deleted, unchanged, duplicate;
    uint64_t unique_violations; /* rows that share a key of a unique secondary index */
    uint64_t bytes_written;
};
void store_table_counts(const struct store_table *table, struct store_counts *out);

/* Marks the table as dropped at the commit. SP_ENOTABLE. */
int store_drop(struct store_txn *txn, const char *name);

/* Makes everything visible at once and ends the transaction; `*version` (may be NULL) is the new
 * version, or the old one if nothing had changed (then nothing at all is written). On an error the
 * transaction is aborted. */
int store_commit(struct store_txn *txn, uint64_t *version);
/* Leaves no trace, and ends the transaction. */
void store_abort(struct store_txn *txn);

/* --- status of tables ---------------------------------------------------------------------- */

/* What readers are told about a table that exists (no-op otherwise): written into its slot only. */
struct store_status {
    enum sp_table_state state;
    bool refreshed;  /* a refresh has just succeeded: sets the times, clears failures */
    uint64_t age_ms; /* with that: how old the rows were then */
    bool failed;     /* a refresh has just failed: counts it */
    uint64_t max_stale_ms;
    bool fail_when_stale;
};
void store_table_status(struct store *store, const char *name, const struct store_status *status);
void store_table_feed(struct store *store, const char *name, enum sp_table_feed feed);

/* --- housekeeping -------------------------------------------------------------------------- */

/* Frees what no reader needs, takes back leases that are over the limit, returns free memory to the
 * system, compacts a little, shows the heartbeat. Call it about ten times a second. */
void store_tick(struct store *store);

struct store_info {
    uint64_t version;
    uint64_t limit_bytes, committed_bytes, used_bytes, free_bytes, largest_free_bytes;
    uint64_t free_blocks[48]; /* maximal aligned free blocks by order (of 16-byte units) */
    uint64_t commits, aborts, entries_reclaimed, entries_moved, leases_revoked;
    uint64_t versions_held; /* old versions kept for snapshots */
    uint64_t leases;        /* snapshots open */
};
void store_info(struct store *store, struct store_info *out);

/* --- snapshot files ------------------------------------------------------------------------ */

/* Writes all tables at one version to a file: to a temporary name beside it, synced, renamed. Holds
 * no lock while it writes. The format is docs/FORMAT.md, "Snapshot file". */
int store_save(struct store *store, const char *path, char *why);
/* Fills an empty pond from such a file, in one commit. SP_EFORMAT, SP_ECORRUPT (nothing is loaded
 * then), SP_ENOPOND (no such file), SP_ENOSPC. `*saved_ms` (may be NULL): wall clock of the save.
 */
int store_load(struct store *store, const char *path, int64_t *saved_ms, char *why);

#endif
