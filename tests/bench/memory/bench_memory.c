/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_memory.c - memory that a pond takes for its rows, everything counted, beside LMDB, Redis
 * and memcached with the same rows.
 *
 * Method. Data A is loaded in one transaction, as a first load does: once told how many rows will
 * come, as a database's estimate does, and once not. Then lognormal sizes (median 200 bytes,
 * sigma 1.2, at most 64 KiB): 300,000 rows are loaded, and each is replaced 20 times by one of a
 * newly drawn size: 20 times all rows, each time in another random order, in transactions of 1,000
 * rows. store_tick is called ten times a second, as the daemon does, and the peers get the same
 * writes in the same order.
 *
 * Counted are: of a pond the blocks of its files, pond and leases; of LMDB the blocks of its data
 * and lock file; of Redis and memcached the growth of the server's resident memory from empty. What
 * is loaded is divided by the bytes of the keys and values of the rows that are there at the end.
 * The pond is measured once the daemon has had time to give back what is free (15 s, the replaced
 * rows only), and also at once; the latter is a row without a figure to reach.
 *
 * LMDB takes each batch as a transaction without sync. "Sorted" is loaded in the order of the keys.
 */
#include <lmdb.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/bench.h"
#include "common/rows.h"
#include "common/servers.h"

#define TICK_S         0.1
#define SETTLE_S       15.0
#define TRANSACTION    1000u
#define LOGNORMAL_ROWS 300000u
#define REPLACEMENTS   20u
#define REACH_A        1.30
#define REACH_CHURN    1.20

/* What is written: loads of rows, in the same order to everybody. */
struct work {
    uint32_t rows;
    uint32_t generations; /* replacements */
    bool lognormal;
    uint32_t hint; /* of the pond's table */
};

static uint64_t file_bytes(const char *directory, const char *name)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (stat(path, &st) != 0)
        bench_die("%s: cannot be looked at", path);
    return (uint64_t)st.st_blocks * 512;
}

static size_t value_bytes(const struct work *work, uint32_t number, uint32_t generation)
{
    return work->lognormal ? rows_lognormal(number, generation) : ROWS_VALUE_BYTES;
}

/* Keys and values that are there after all of it. */
static double data_bytes(const struct work *work)
{
    double bytes = 0;
    for (uint32_t i = 0; i < work->rows; i++)
        bytes += ROWS_KEY_BYTES + (double)value_bytes(work, i, work->generations);
    return bytes;
}

/* --- ours ----------------------------------------------------------------------------------- */

struct pond {
    char directory[96];
    struct store *store;
    struct schema *schema;
    double ticked_s;
};

static void pond_tick(struct pond *pond)
{
    if (bench_now_s() - pond->ticked_s < TICK_S)
        return;
    store_tick(pond->store);
    pond->ticked_s = bench_now_s();
}

static double pond_bytes(const struct pond *pond)
{
    return (double)(file_bytes(pond->directory, "pond") + file_bytes(pond->directory, "leases"));
}

static void pond_replace(struct pond *pond, const struct work *work, uint32_t generation)
{
    uint32_t *order = rows_order(work->rows, generation);
    for (uint32_t done = 0; done < work->rows; done += TRANSACTION) {
        uint32_t left = work->rows - done;
        rows_write(pond->store, pond->schema,
                   &(struct rows_load){.numbers = order + done,
                                       .count = left < TRANSACTION ? left : TRANSACTION,
                                       .generation = generation,
                                       .lognormal = work->lognormal});
        pond_tick(pond);
    }
    free(order);
}

static void pond_settle(struct pond *pond)
{
    double until = bench_now_s() + (bench_quick() ? 1 : SETTLE_S);
    while (bench_now_s() < until) {
        pond_tick(pond);
        poll(NULL, 0, (int)(TICK_S * 1000));
    }
}

/* Bytes after the last write, and after a while of peace. */
static double measure_pond(const struct work *work, double *at_once)
{
    struct pond pond;
    struct store_opened opened;
    snprintf(pond.directory, sizeof(pond.directory), "%s/pond-%u-%u", bench_directory(),
             work->generations, work->hint);
    pond.store = rows_open(pond.directory, UINT64_C(4) << 30, &opened);
    pond.schema = rows_schema();
    pond.ticked_s = bench_now_s();
    rows_write(
        pond.store, pond.schema,
        &(struct rows_load){.count = work->rows, .lognormal = work->lognormal, .hint = work->hint});
    *at_once = pond_bytes(&pond);
    bench_note("pond: loaded: %.1f MiB", *at_once / 0x1p20);
    for (uint32_t g = 1; g <= work->generations; g++) {
        pond_replace(&pond, work, g);
        *at_once = pond_bytes(&pond);
        bench_note("pond: replaced %u times: %.1f MiB", g, *at_once / 0x1p20);
    }
    if (work->generations > 0)
        pond_settle(&pond);
    double bytes = pond_bytes(&pond);
    store_close(pond.store);
    schema_free(pond.schema);
    return bytes;
}

/* --- peers ---------------------------------------------------------------------------------- */

/* Somebody who takes rows; `commit` after each transaction. */
struct taker {
    void (*set)(void *context, const char *key, const void *value, size_t bytes);
    void (*commit)(void *context);
    void *context;
};

static void give_rows(const struct taker *taker, const struct work *work, const uint32_t *order,
                      uint32_t generation, uint32_t transaction)
{
    static char value[ROWS_VALUE_MAX];
    char key[ROWS_KEY_BYTES];
    for (uint32_t i = 0; i < work->rows; i++) {
        size_t bytes = value_bytes(work, order[i], generation);
        rows_key(order[i], key);
        rows_value(order[i], generation, value, bytes);
        taker->set(taker->context, key, value, bytes);
        if ((i + 1) % transaction == 0 || i + 1 == work->rows)
            taker->commit(taker->context);
    }
}

static void give_all(const struct taker *taker, const struct work *work, const uint32_t *first)
{
    give_rows(taker, work, first, 0, work->rows);
    for (uint32_t g = 1; g <= work->generations; g++) {
        uint32_t *order = rows_order(work->rows, g);
        give_rows(taker, work, order, g, TRANSACTION);
        free(order);
    }
}

static void server_taker_set(void *context, const char *key, const void *value, size_t bytes)
{
    server_set(context, key, ROWS_KEY_BYTES, value, bytes);
}

static void server_taker_commit(void *context)
{
    server_flush(context);
}

/* 0: not installed. */
static double measure_server(const struct work *work, enum server_kind kind)
{
    struct server server;
    struct taker taker = {server_taker_set, server_taker_commit, &server};
    if (!server_start(&server, kind))
        return 0;
    uint32_t *order = rows_order(work->rows, 0);
    give_all(&taker, work, order);
    free(order);
    double bytes = (double)server_memory_bytes(&server);
    server_stop(&server);
    return bytes;
}

struct lmdb {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static void lmdb_must(int status)
{
    if (status != 0)
        bench_die("LMDB: %s", mdb_strerror(status));
}

static void lmdb_set(void *context, const char *key, const void *value, size_t bytes)
{
    struct lmdb *lmdb = context;
    MDB_val k = {ROWS_KEY_BYTES, (void *)key};
    MDB_val v = {bytes, (void *)value};
    if (!lmdb->txn)
        lmdb_must(mdb_txn_begin(lmdb->env, NULL, 0, &lmdb->txn));
    lmdb_must(mdb_put(lmdb->txn, lmdb->dbi, &k, &v, 0));
}

static void lmdb_commit(void *context)
{
    struct lmdb *lmdb = context;
    lmdb_must(mdb_txn_commit(lmdb->txn));
    lmdb->txn = NULL;
}

static int by_key(const void *a, const void *b)
{
    char x[ROWS_KEY_BYTES];
    char y[ROWS_KEY_BYTES];
    rows_key(*(const uint32_t *)a, x);
    rows_key(*(const uint32_t *)b, y);
    return memcmp(x, y, ROWS_KEY_BYTES);
}

static double measure_lmdb(const struct work *work, bool sorted)
{
    struct lmdb lmdb = {0};
    struct taker taker = {lmdb_set, lmdb_commit, &lmdb};
    char path[128];
    snprintf(path, sizeof(path), "%s/lmdb-%u-%d", bench_directory(), work->generations, sorted);
    lmdb_must(mkdir(path, 0700));
    lmdb_must(mdb_env_create(&lmdb.env));
    lmdb_must(mdb_env_set_mapsize(lmdb.env, UINT64_C(4) << 30));
    lmdb_must(mdb_env_open(lmdb.env, path, MDB_NOSYNC, 0600));
    lmdb_must(mdb_txn_begin(lmdb.env, NULL, 0, &lmdb.txn));
    lmdb_must(mdb_dbi_open(lmdb.txn, NULL, 0, &lmdb.dbi));
    uint32_t *order = rows_order(work->rows, 0);
    if (sorted)
        qsort(order, work->rows, sizeof(*order), by_key);
    give_all(&taker, work, order);
    free(order);
    double bytes = (double)(file_bytes(path, "data.mdb") + file_bytes(path, "lock.mdb"));
    mdb_env_close(lmdb.env);
    return bytes;
}

/* --- results -------------------------------------------------------------------------------- */

static void peer_row(const char *data, const char *peer, double ours, double theirs)
{
    char what[128];
    if (theirs == 0) {
        bench_note("%s is not installed", peer);
        return;
    }
    snprintf(what, sizeof(what), "%s, against %s", data, peer);
    bench_row(&(struct bench_row){what, ours / 0x1p20, theirs / 0x1p20, "MiB", BENCH_INFORMS, 0});
}

/* Only the pond's row. */
static double measure_ours(const char *name, const struct work *work, double reach)
{
    double data = data_bytes(work);
    double at_once;
    char what[128];
    double ours = measure_pond(work, &at_once);
    bench_note("%s: %.3f", name, ours / data);
    snprintf(what, sizeof(what), "%s, against key + value bytes", name);
    bench_row(&(struct bench_row){what, ours / 0x1p20, data / 0x1p20, "MiB", BENCH_AT_MOST, reach});
    snprintf(what, sizeof(what), "%s, at once, against key + value bytes", name);
    if (work->generations > 0)
        bench_row(
            &(struct bench_row){what, at_once / 0x1p20, data / 0x1p20, "MiB", BENCH_INFORMS, 0});
    return ours;
}

static void measure(const char *name, const struct work *work, double reach)
{
    double ours = measure_ours(name, work, reach);
    peer_row(name, "LMDB sorted", ours, measure_lmdb(work, true));
    peer_row(name, "LMDB unsorted", ours, measure_lmdb(work, false));
    peer_row(name, "Redis", ours, measure_server(work, SERVER_REDIS));
    peer_row(name, "memcached", ours, measure_server(work, SERVER_MEMCACHED));
}

int main(int argc, char **argv)
{
    bench_start("memory", argc, argv);
    const uint32_t divisor = bench_quick() ? 20 : 1;
    const uint32_t a = ROWS_A / divisor;
    measure_ours("A, number of rows not known before", &(struct work){.rows = a}, REACH_A);
    measure("A", &(struct work){.rows = a, .hint = a}, REACH_A);
    measure("lognormal, replaced 20 times",
            &(struct work){
                .rows = LOGNORMAL_ROWS / divisor, .generations = REPLACEMENTS, .lognormal = true},
            REACH_CHURN);
    return bench_finish();
}
