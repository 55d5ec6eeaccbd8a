/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_load.c - the first load of a pond, beside only reading the same rows from the database.
 *
 * Method. The table has 1,000,000 rows of a 24-byte text key and a 100-byte value (data A), in an
 * SQLite file, in PostgreSQL and MariaDB servers of our own, and as documents in mongo-java-server
 * (the quicker to read of the two servers that the tests of MongoDB have). "Only reading" is a loop
 * of sqlite3_step that looks at both columns; COPY in binary form read by libpq, whose buffers are
 * freed at once; a loop of mysql_fetch_row over an unbuffered result; and one of
 * mongoc_cursor_next.
 * The load is what sidepondd does for a table that is not in the pond yet: connecting, describing,
 * one snapshot, every row checked, encoded and stored, and the commit. Each round loads a new,
 * empty pond, so its memory is new too. They take turns, and the median of the rounds counts.
 */
#include <stdio.h>

#include "common/bench.h"
#include "common/database.h"
#include "common/feeder.h"
#include "common/mariadb.h"
#include "common/mongodb.h"
#include "common/rows.h"

#define YAML_BYTES       512
#define REACH_SQLITE     4.0
#define REACH_POSTGRESQL 2.5
#define REACH_MARIADB    2.5
#define REACH_MONGODB    2.5

struct times {
    double ours[BENCH_ROUNDS];
    double peer[BENCH_ROUNDS];
};

/* A clock, and the processor time of this process beside it. */
struct span {
    double wall_s, cpu_s;
};

static uint32_t row_count;

static struct span span_start(void)
{
    return (struct span){bench_now_s(), bench_cpu_s()};
}

static struct span span_end(struct span start)
{
    return (struct span){bench_now_s() - start.wall_s, bench_cpu_s() - start.cpu_s};
}

static void take(const char *name, struct times *times, unsigned round, struct span peer,
                 struct span ours)
{
    times->peer[round] = peer.wall_s;
    times->ours[round] = ours.wall_s;
    bench_note("%s: read %.3f s (%.3f of our processor time), load %.3f s (%.3f)", name,
               peer.wall_s, peer.cpu_s, ours.wall_s, ours.cpu_s);
}

static struct span load_once(const char *yaml)
{
    struct feeder feeder;
    feeder_open(&feeder, "load", yaml);
    struct span span = span_start();
    double seconds = feeder_first(&feeder);
    span = span_end(span);
    span.wall_s = seconds;
    if (feeder_status(&feeder).rows != row_count)
        bench_die("not all rows were loaded");
    feeder_close(&feeder);
    return span;
}

static void check_bytes(uint64_t bytes)
{
    if (bytes < (uint64_t)row_count * (ROWS_KEY_BYTES + ROWS_VALUE_BYTES))
        bench_die("not all rows were read");
}

static void write_yaml(char out[YAML_BYTES], const char *type, const char *option,
                       const char *where, const char *key)
{
    snprintf(out, YAML_BYTES,
             "memory: 1GiB\n"
             "sources: [{name: db, type: %s, %s: \"%s\"}]\n"
             "tables: [{name: t, source: db, key: [%s], refresh: {every: 1h}}]\n",
             type, option, where, key);
}

static void round_sqlite(const char *path, struct times *times, unsigned round)
{
    char yaml[YAML_BYTES];
    write_yaml(yaml, "sqlite", "path", path, "k");
    sqlite3 *db = sqlite_connect(path);
    struct span peer = span_start();
    check_bytes(sqlite_read_all(db));
    peer = span_end(peer);
    sqlite3_close(db);
    take("SQLite", times, round, peer, load_once(yaml));
}

static void round_postgresql(struct times *times, unsigned round)
{
    char yaml[YAML_BYTES];
    write_yaml(yaml, "postgresql", "dsn", postgresql_dsn(), "k");
    PGconn *conn = postgresql_connect();
    struct span peer = span_start();
    check_bytes(postgresql_read_all(conn, "t"));
    peer = span_end(peer);
    PQfinish(conn);
    take("PostgreSQL", times, round, peer, load_once(yaml));
}

static void round_mariadb(struct times *times, unsigned round)
{
    char yaml[YAML_BYTES];
    write_yaml(yaml, "mariadb", "dsn", mariadb_uri(), "k");
    MYSQL *conn = mariadb_connect_root();
    struct span peer = span_start();
    check_bytes(mariadb_read_all(conn, "t"));
    peer = span_end(peer);
    mysql_close(conn);
    take("MariaDB", times, round, peer, load_once(yaml));
}

static void round_mongodb(struct times *times, unsigned round)
{
    char yaml[YAML_BYTES];
    write_yaml(yaml, "mongodb", "dsn", mongodb_uri(), "_id");
    mongoc_client_t *client = mongodb_connect();
    struct span peer = span_start();
    check_bytes(mongodb_read_all(client, "t"));
    peer = span_end(peer);
    mongoc_client_destroy(client);
    take("MongoDB", times, round, peer, load_once(yaml));
}

static void report(const char *what, const struct times *times, double reach)
{
    bench_row(&(struct bench_row){what, bench_median(times->ours, BENCH_ROUNDS),
                                  bench_median(times->peer, BENCH_ROUNDS), "s", BENCH_AT_MOST,
                                  reach});
}

int main(int argc, char **argv)
{
    static struct times sqlite, postgresql, mariadb, mongodb;
    char path[128];
    postgresql_need(argv);
    mariadb_need(argv);
    mongodb_need(argv);
    bench_start("load", argc, argv);
    row_count = bench_quick() ? ROWS_A / 50 : ROWS_A;
    snprintf(path, sizeof(path), "%s/a.db", bench_directory());
    sqlite_make(path, row_count, false);
    PGconn *conn = postgresql_connect();
    postgresql_make(conn, "t", row_count, false);
    PQfinish(conn);
    MYSQL *root = mariadb_connect_root();
    mariadb_make(root, "t", row_count);
    mysql_close(root);
    mongoc_client_t *client = mongodb_connect();
    mongodb_make(client, "t", row_count);
    mongoc_client_destroy(client);
    for (unsigned round = 0; round < BENCH_ROUNDS; round++) {
        round_sqlite(path, &sqlite, round);
        round_postgresql(&postgresql, round);
        round_mariadb(&mariadb, round);
        round_mongodb(&mongodb, round);
    }
    report("first load of A from SQLite, against only reading", &sqlite, REACH_SQLITE);
    report("first load of A from PostgreSQL, against COPY binary", &postgresql, REACH_POSTGRESQL);
    report("first load of A from MariaDB, against only reading", &mariadb, REACH_MARIADB);
    report("first load of A from MongoDB, against only reading", &mongodb, REACH_MONGODB);
    return bench_finish();
}
