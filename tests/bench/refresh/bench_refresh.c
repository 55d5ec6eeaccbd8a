/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_refresh.c - a full refresh with nothing changed, and the way of a change to a reader.
 *
 * Method. The databases and "only reading" are those of bench_load.c. A refresh is asked for as
 * SIGHUP or the HTTP interface do, and ends when the daemon would tell of it. It is measured in
 * turns with only reading. One more refresh runs with the pond's mapping made read-only, so that
 * each page that is written is noted (page_guard.h): none may be beyond the pond's head, that is
 * the superblock and the table slots. The clock's tick that shows the daemon's life is in the
 * superblock too.
 *
 * Notified: the table has a third column `changed`, its watermark, at first the row's number. A
 * transaction changes 1,000 rows drawn at random, and commits. A process that reads one of the
 * changed rows again and again notes when it sees the new value. The time counts from right before
 * COMMIT is sent, so it holds the database's own commit too.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/format.h"
#include "common/bench.h"
#include "common/database.h"
#include "common/feeder.h"
#include "common/rows.h"
#include "page_guard.h"

#define REACH_REFRESH    2.5
#define REACH_VISIBLE_MS 50.0
#define CHANGED_ROWS     1000u

enum { CHANGES = 21 };

static uint32_t row_count;
static char sqlite_path[2][128]; /* without and with the column `changed` */

/* --- nothing changed ------------------------------------------------------------------------ */

static void yaml_full(char *yaml, size_t bytes, bool sqlite)
{
    if (sqlite)
        snprintf(yaml, bytes,
                 "memory: 1GiB\n"
                 "sources: [{name: db, type: sqlite, path: %s}]\n"
                 "tables: [{name: t, source: db, key: [k], refresh: {every: 1h}}]\n",
                 sqlite_path[0]);
    else
        snprintf(yaml, bytes,
                 "memory: 1GiB\n"
                 "sources: [{name: db, type: postgresql, dsn: \"%s\"}]\n"
                 "tables: [{name: t, source: db, key: [k], refresh: {every: 1h}}]\n",
                 postgresql_dsn());
}

static double read_once(bool sqlite)
{
    sqlite3 *db = sqlite ? sqlite_connect(sqlite_path[0]) : NULL;
    PGconn *conn = sqlite ? NULL : postgresql_connect();
    double start = bench_now_s();
    uint64_t bytes = sqlite ? sqlite_read_all(db) : postgresql_read_all(conn, "t");
    double seconds = bench_now_s() - start;
    sqlite3_close(db);
    PQfinish(conn);
    if (bytes < (uint64_t)row_count * (ROWS_KEY_BYTES + ROWS_VALUE_BYTES))
        bench_die("not all rows were read");
    return seconds;
}

static void report_pages(struct feeder *feeder, const char *name)
{
    uint64_t head, beyond;
    char what[128];
    page_guard_begin(feeder->directory);
    feeder_again(feeder);
    page_guard_end(FORMAT_HEADER_BYTES, &head, &beyond);
    bench_note("%s: pages written: %llu of the head, %llu beyond", name, (unsigned long long)head,
               (unsigned long long)beyond);
    snprintf(what, sizeof(what), "pages written beyond the head, %s", name);
    bench_row(&(struct bench_row){what, (double)beyond, 0, "pages", BENCH_AT_MOST, 0});
}

static void measure_unchanged(const char *name, bool sqlite)
{
    struct feeder feeder;
    double ours[BENCH_ROUNDS];
    double peer[BENCH_ROUNDS];
    char yaml[512];
    char what[128];
    yaml_full(yaml, sizeof(yaml), sqlite);
    feeder_open(&feeder, "full", yaml);
    feeder_first(&feeder);
    for (unsigned round = 0; round < BENCH_ROUNDS; round++) {
        double cpu = bench_cpu_s();
        peer[round] = read_once(sqlite);
        double between = bench_cpu_s();
        ours[round] = feeder_again(&feeder);
        bench_note("%s: read %.3f s (%.3f of our processor time), refresh %.3f s (%.3f)", name,
                   peer[round], between - cpu, ours[round], bench_cpu_s() - between);
    }
    if (feeder_status(&feeder).unchanged_total != (uint64_t)row_count * BENCH_ROUNDS)
        bench_die("something had changed");
    snprintf(what, sizeof(what), "full refresh of A with nothing changed, %s", name);
    bench_row(&(struct bench_row){what, bench_median(ours, BENCH_ROUNDS),
                                  bench_median(peer, BENCH_ROUNDS), "s", BENCH_AT_MOST,
                                  REACH_REFRESH});
    report_pages(&feeder, name);
    feeder_close(&feeder);
}

/* --- notified ------------------------------------------------------------------------------- */

/* Shared with the process that looks. */
struct lookout {
    _Atomic uint32_t wanted; /* the change that is waited for */
    _Atomic uint32_t seen;
    char key[ROWS_KEY_BYTES]; /* written before wanted */
    double seen_at_s;         /* written before seen */
};

static _Noreturn void look(struct lookout *lookout, const char *directory)
{
    struct sp_pond *pond;
    struct sp_table *table;
    struct sp_row *row = sp_row_new();
    struct sp_value changed;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sp_open(directory, NULL, &pond) != SP_OK || sp_table_open(pond, "t", &table) != SP_OK)
        _exit(1);
    for (uint64_t version = 0;; sp_wait(pond, version, 1000, &version)) {
        version = sp_pond_version(pond);
        uint32_t wanted = atomic_load(&lookout->wanted);
        if (wanted == atomic_load(&lookout->seen))
            continue;
        if (sp_get_row_encoded(table, lookout->key, ROWS_KEY_BYTES, row) != SP_OK ||
            sp_row_column(row, "changed", &changed) != SP_OK)
            _exit(1);
        if (changed.i == wanted) {
            lookout->seen_at_s = bench_now_s();
            atomic_store(&lookout->seen, wanted);
        }
    }
}

/* The rows of a change, as the list in SQL's IN (...). */
static char *key_list(uint32_t change, struct lookout *lookout)
{
    uint64_t state = change;
    char *list = malloc((size_t)CHANGED_ROWS * (ROWS_KEY_BYTES + 4));
    char *at = list;
    if (!list)
        bench_die("no memory");
    for (uint32_t i = 0; i < CHANGED_ROWS; i++) {
        rows_key((uint32_t)(rows_random(&state) % row_count), lookout->key);
        at += sprintf(at, "%s'%.24s'", i ? "," : "", lookout->key);
    }
    return list;
}

static void change_sqlite(sqlite3 *db, uint32_t change, const char *keys)
{
    char *sql = sqlite3_mprintf("BEGIN IMMEDIATE; UPDATE t SET changed = %u, v = randomblob(%u) "
                                "WHERE k IN (%s)",
                                change, ROWS_VALUE_BYTES, keys);
    sqlite_do(db, sql);
    sqlite3_free(sql);
}

static void change_postgresql(PGconn *conn, uint32_t change, const char *keys)
{
    char *sql;
    if (asprintf(&sql,
                 "UPDATE n SET changed = %u, v = decode(repeat(md5(k || %u), 6) || "
                 "'00000000', 'hex') WHERE k IN (%s)",
                 change, change, keys) < 0)
        bench_die("no memory");
    postgresql_do(conn, "BEGIN");
    postgresql_do(conn, sql);
    postgresql_do(conn, "NOTIFY sidepond_t");
    free(sql);
}

struct meeting {
    struct feeder *feeder;
    struct lookout *lookout;
    pid_t looker;
};

static bool was_seen(void *context)
{
    struct meeting *meeting = context;
    if (waitpid(meeting->looker, NULL, WNOHANG) != 0)
        bench_die("the reader failed");
    return atomic_load(&meeting->lookout->seen) == atomic_load(&meeting->lookout->wanted);
}

static double change_once(struct meeting *meeting, uint32_t change, sqlite3 *db, PGconn *conn,
                          double *commit_ms)
{
    char *keys = key_list(change, meeting->lookout);
    if (db)
        change_sqlite(db, change, keys);
    else
        change_postgresql(conn, change, keys);
    free(keys);
    atomic_store(&meeting->lookout->wanted, change);
    double start = bench_now_s();
    if (db)
        sqlite_do(db, "COMMIT");
    else
        postgresql_do(conn, "COMMIT");
    *commit_ms = (bench_now_s() - start) * 1000;
    feeder_drive(meeting->feeder, was_seen, meeting);
    return (meeting->lookout->seen_at_s - start) * 1000;
}

static void yaml_notified(char *yaml, size_t bytes, bool sqlite)
{
    static const char table[] =
        "key: [k], refresh: {mode: notified, watermark: changed, overlap: 0, every: 10ms, "
        "full_every: 1h}";
    if (sqlite)
        snprintf(yaml, bytes,
                 "memory: 1GiB\nsources: [{name: db, type: sqlite, path: %s}]\n"
                 "tables: [{name: t, source: db, %s}]\n",
                 sqlite_path[1], table);
    else
        snprintf(yaml, bytes,
                 "memory: 1GiB\nsources: [{name: db, type: postgresql, dsn: \"%s\"}]\n"
                 "tables: [{name: t, relation: n, source: db, %s}]\n",
                 postgresql_dsn(), table);
}

static void report_visible(const char *name, const double *ms)
{
    char what[128];
    snprintf(what, sizeof(what), "1,000 changed rows of A visible, %s, median", name);
    bench_row(&(struct bench_row){what, bench_median(ms, CHANGES), 0, "ms", BENCH_AT_MOST,
                                  REACH_VISIBLE_MS});
    snprintf(what, sizeof(what), "1,000 changed rows of A visible, %s, worst", name);
    bench_row(&(struct bench_row){what, bench_max(ms, CHANGES), 0, "ms", BENCH_INFORMS, 0});
}

static void measure_notified(const char *name, bool sqlite)
{
    struct feeder feeder;
    struct meeting meeting = {&feeder, NULL, 0};
    double ms[CHANGES];
    char yaml[768];
    yaml_notified(yaml, sizeof(yaml), sqlite);
    feeder_open(&feeder, "notified", yaml);
    feeder_first(&feeder);
    sqlite3 *db = sqlite ? sqlite_connect(sqlite_path[1]) : NULL;
    PGconn *conn = sqlite ? NULL : postgresql_connect();
    if (db)
        sqlite_do(db, "PRAGMA wal_autocheckpoint = 0");
    meeting.lookout = mmap(NULL, sizeof(*meeting.lookout), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    meeting.looker = fork();
    if (meeting.looker == 0)
        look(meeting.lookout, feeder.directory);
    for (uint32_t i = 0; i < CHANGES; i++) {
        double commit_ms;
        ms[i] = change_once(&meeting, row_count + i, db, conn, &commit_ms);
        bench_note("%s: visible after %.1f ms, COMMIT took %.1f", name, ms[i], commit_ms);
        if (db)
            sqlite_do(db, "PRAGMA wal_checkpoint");
        poll(NULL, 0, 100); /* changes come one by one */
    }
    kill(meeting.looker, SIGKILL);
    waitpid(meeting.looker, NULL, 0);
    sqlite3_close(db);
    PQfinish(conn);
    struct refresh_status status = feeder_status(&feeder);
    bench_note("%s: %llu full refreshes, %llu incremental, %llu rows updated", name,
               (unsigned long long)status.full_total, (unsigned long long)status.incremental_total,
               (unsigned long long)status.updated_total);
    report_visible(name, ms);
    feeder_close(&feeder);
    munmap(meeting.lookout, sizeof(*meeting.lookout));
}

int main(int argc, char **argv)
{
    postgresql_need(argv);
    bench_start("refresh", argc, argv);
    row_count = bench_quick() ? ROWS_A / 50 : ROWS_A;
    snprintf(sqlite_path[0], sizeof(sqlite_path[0]), "%s/a.db", bench_directory());
    snprintf(sqlite_path[1], sizeof(sqlite_path[1]), "%s/n.db", bench_directory());
    sqlite_make(sqlite_path[0], row_count, false);
    sqlite_make(sqlite_path[1], row_count, true);
    PGconn *conn = postgresql_connect();
    postgresql_make(conn, "t", row_count, false);
    postgresql_make(conn, "n", row_count, true);
    PQfinish(conn);
    measure_unchanged("SQLite", true);
    measure_unchanged("PostgreSQL", false);
    measure_notified("SQLite", true);
    measure_notified("PostgreSQL", false);
    return bench_finish();
}
