/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_probe.c - what bench_feed.py and bench_relief.py have to do quickly: write a database, read
 * the pond that follows it, and look at the clock.
 *
 *   feed_probe latency POND DSN COUNT RATE  COUNT transactions, RATE a second, each of which writes
 *                                           its number into one row of table item; prints, in
 *                                           microseconds, "median p99 max": from before the
 *                                           statement is sent until the row in the pond has it
 *   feed_probe maria POND SOCKET COUNT RATE the same of MariaDB's database "shop", as root
 *   feed_probe await POND N                 until the row 1 of table marker has n = N; prints the
 *                                           monotonic clock in seconds
 *   feed_probe ask DSN WORKERS SECONDS      processes that read a row of item drawn at random, from
 *   feed_probe read POND WORKERS SECONDS    the database or from the pond; prints reads a second
 *
 * The reader of `latency` looks every 50 us, which is in the figures.
 */
#include <libpq-fe.h>
#include <mysql.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sidepond/sidepond.h"

#define ITEMS   1000
#define LOOK_NS 50000

struct latency {
    const char *where; /* the database is */
    bool maria;
    long count, rate;
    double *sent, *seen; /* seconds, for each transaction */
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_ns(long ns)
{
    const struct timespec pause = {.tv_nsec = ns};
    nanosleep(&pause, NULL);
}

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "feed_probe: %s: %s\n", what, why);
    exit(2);
}

static PGconn *connect_to(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);
    if (PQstatus(conn) != CONNECTION_OK)
        die("connecting", PQerrorMessage(conn));
    return conn;
}

static struct sp_table *open_table(const char *directory, const char *name)
{
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    struct sp_pond *pond;
    struct sp_table *table;
    options.wait_ms = 60000;
    if (sp_open(directory, &options, &pond) != SP_OK || sp_table_open(pond, name, &table) != SP_OK)
        die("the pond", sp_error_detail());
    return table;
}

/* The number in a row, or -1. */
static int64_t number_of(struct sp_table *table, struct sp_row *row, int64_t id)
{
    const struct sp_value key = sp_int(id);
    struct sp_value value;
    if (sp_get_row(table, &key, 1, row) != SP_OK || sp_row_column(row, "n", &value) != SP_OK)
        return -1;
    return value.i;
}

/* --- latency -------------------------------------------------------------------------------- */

/* Waits until it is time for the transaction, and notes when it begins. */
static void keep_pace(struct latency *l, double begun, long i)
{
    while (now_s() < begun + (double)i / (double)l->rate)
        sleep_ns(20000);
    l->sent[i] = now_s();
}

static void write_postgresql(struct latency *l)
{
    PGconn *conn = connect_to(l->where);
    PQclear(PQprepare(conn, "w", "UPDATE item SET n = $1::bigint WHERE id = $2::int", 2, NULL));
    const double begun = now_s();
    for (long i = 0; i < l->count; i++) {
        char number[24], id[24];
        const char *const params[] = {number, id};
        snprintf(number, sizeof(number), "%ld", i + 1);
        snprintf(id, sizeof(id), "%ld", i % ITEMS);
        keep_pace(l, begun, i);
        PGresult *result = PQexecPrepared(conn, "w", 2, params, NULL, NULL, 0);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            die("writing", PQerrorMessage(conn));
        PQclear(result);
    }
    PQfinish(conn);
}

static void write_mariadb(struct latency *l)
{
    MYSQL *conn = mysql_init(NULL);
    if (!conn || !mysql_real_connect(conn, "localhost", "root", NULL, "shop", 0, l->where, 0))
        die("connecting", conn ? mysql_error(conn) : "no memory");
    const double begun = now_s();
    for (long i = 0; i < l->count; i++) {
        char sql[100];
        snprintf(sql, sizeof(sql), "UPDATE item SET n = %ld WHERE id = %ld", i + 1, i % ITEMS);
        keep_pace(l, begun, i);
        if (mysql_query(conn, sql) != 0)
            die("writing", mysql_error(conn));
    }
    mysql_close(conn);
}

static void *write_on(void *context)
{
    struct latency *l = context;
    if (l->maria)
        write_mariadb(l);
    else
        write_postgresql(l);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int run_latency(const char *pond, const char *where, bool maria, long count, long rate)
{
    struct latency l = {.where = where, .maria = maria, .count = count, .rate = rate};
    struct sp_table *table = open_table(pond, "item");
    struct sp_row *row = sp_row_new();
    pthread_t writer;
    l.sent = calloc((size_t)count, sizeof(double));
    l.seen = calloc((size_t)count, sizeof(double));
    if (!row || !l.sent || !l.seen || pthread_create(&writer, NULL, write_on, &l) != 0)
        die("memory", "none");
    for (long i = 0; i < count; i++) {
        while (number_of(table, row, i % ITEMS) < i + 1)
            sleep_ns(LOOK_NS);
        l.seen[i] = now_s();
    }
    pthread_join(writer, NULL);
    for (long i = 0; i < count; i++)
        l.seen[i] -= l.sent[i];
    qsort(l.seen, (size_t)count, sizeof(double), compare);
    printf("%.0f %.0f %.0f\n", l.seen[count / 2] * 1e6, l.seen[count * 99 / 100] * 1e6,
           l.seen[count - 1] * 1e6);
    return 0;
}

static int run_await(const char *pond, long n)
{
    struct sp_table *table = open_table(pond, "marker");
    struct sp_row *row = sp_row_new();
    while (number_of(table, row, 1) != n)
        sleep_ns(LOOK_NS);
    printf("%.6f\n", now_s());
    return 0;
}

/* --- busy workers --------------------------------------------------------------------------- */

static uint64_t ask_database(const char *dsn, double until, unsigned seed)
{
    PGconn *conn = connect_to(dsn);
    uint64_t done = 0;
    PQclear(PQprepare(conn, "r", "SELECT id, n, a FROM item WHERE id = $1::int", 1, NULL));
    for (; now_s() < until; done++) {
        char id[24];
        const char *const params[] = {id};
        snprintf(id, sizeof(id), "%d", rand_r(&seed) % ITEMS);
        PGresult *result = PQexecPrepared(conn, "r", 1, params, NULL, NULL, 0);
        if (PQntuples(result) != 1)
            die("asking", PQerrorMessage(conn));
        PQclear(result);
    }
    PQfinish(conn);
    return done;
}

static uint64_t read_pond(const char *pond, double until, unsigned seed)
{
    struct sp_table *table = open_table(pond, "item");
    struct sp_row *row = sp_row_new();
    uint64_t done = 0;
    for (; done % 256 != 0 || now_s() < until; done++)
        if (number_of(table, row, rand_r(&seed) % ITEMS) < 0)
            die("reading", "a row is not in the pond");
    return done;
}

static int run_workers(const char *where, bool database, long workers, double seconds)
{
    atomic_ullong *total =
        mmap(NULL, sizeof(*total), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const double until = now_s() + seconds;
    int status, failed = 0;
    if (total == MAP_FAILED)
        die("memory", "none");
    for (long i = 0; i < workers; i++)
        if (fork() == 0) {
            const unsigned seed = (unsigned)i + 1;
            atomic_fetch_add(total, database ? ask_database(where, until, seed)
                                             : read_pond(where, until, seed));
            _exit(0);
        }
    while (wait(&status) > 0)
        failed |= status;
    printf("%.0f\n", (double)atomic_load(total) / seconds);
    return failed ? 2 : 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && (strcmp(argv[1], "latency") == 0 || strcmp(argv[1], "maria") == 0))
        return run_latency(argv[2], argv[3], argv[1][0] == 'm', atol(argv[4]), atol(argv[5]));
    if (argc == 4 && strcmp(argv[1], "await") == 0)
        return run_await(argv[2], atol(argv[3]));
    if (argc == 5 && (strcmp(argv[1], "ask") == 0 || strcmp(argv[1], "read") == 0))
        return run_workers(argv[2], argv[1][0] == 'a', atol(argv[3]), atof(argv[4]));
    fprintf(stderr, "usage: see the head of feed_probe.c\n");
    return 2;
}
