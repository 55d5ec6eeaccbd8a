/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_recovery.c - kill -9 of sidepondd with data A in its pond, until it serves again; and what
 * a reader notices of it.
 *
 * Method. sidepondd keeps data A, with a column that says when a row was changed, from an
 * SQLite file, reading all of it again and again, while this program changes 1,000 rows in a
 * transaction every now and then: so the kill comes in the middle of a refresh. The time counts
 * from the kill until the new process, started when the old one is gone, has told its service
 * manager that it is ready (sd_notify), which it does when the pond that it found has been checked
 * and is served. A further row tells when the first refresh after that is committed.
 *
 * All the while a process reads rows drawn at random, computes what a row of that generation must
 * be and compares. A failed or wrong read, or one that is not there, is counted.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bench.h"
#include "common/database.h"
#include "common/rows.h"

#define REACH_S        1.0
#define READY_MS       60000
#define CHANGED_ROWS   1000u
#define LATENCY_ROUNDS 64u /* reads between two looks at the clock */

/* Shared with the reading process. */
struct reading {
    _Atomic uint64_t reads, wrong;
    _Atomic uint64_t worst_ns; /* of one read, since it was last set to 0 */
    _Atomic bool stop;
};

static uint32_t row_count;
static char database[128], config_path[128], pond_directory[128], notify_path[104];
static int notify_fd = -1;

/* --- the daemon ----------------------------------------------------------------------------- */

static void write_config(void)
{
    FILE *file = fopen(config_path, "we");
    if (!file)
        bench_die("%s cannot be written", config_path);
    fprintf(file,
            "pond: bench\ndirectory: %s\nmemory: 1GiB\nlog: {level: warning}\n"
            "sources: [{name: db, type: sqlite, path: %s}]\n"
            "tables: [{name: t, source: db, key: [k], refresh: {every: 10ms}}]\n",
            pond_directory, database);
    fclose(file);
}

static void open_notify_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", notify_path);
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(notify_fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        bench_die("%s: %s", notify_path, strerror(errno));
    setenv("NOTIFY_SOCKET", notify_path, 1);
}

static void wait_ready(void)
{
    char message[4096];
    double until = bench_now_s() + READY_MS / 1000.0;
    while (bench_now_s() < until) {
        struct pollfd ready = {.fd = notify_fd, .events = POLLIN};
        if (poll(&ready, 1, READY_MS) <= 0)
            continue;
        ssize_t bytes = recv(notify_fd, message, sizeof(message) - 1, 0);
        message[bytes > 0 ? bytes : 0] = '\0';
        if (strstr(message, "READY=1"))
            return;
    }
    bench_die("sidepondd is not ready after %d s", READY_MS / 1000);
}

/* What the one before still had to say. */
static void forget_messages(void)
{
    char message[4096];
    while (recv(notify_fd, message, sizeof(message), MSG_DONTWAIT) >= 0)
        ;
}

static pid_t start_daemon(void)
{
    const char *build = getenv("SIDEPOND_BUILD_DIR");
    char program[512];
    snprintf(program, sizeof(program), "%s/bin/sidepondd", build ? build : ".");
    forget_messages();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, "sidepondd", config_path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* --- the reader ----------------------------------------------------------------------------- */

static bool is_right(struct sp_table *table, struct sp_row *row, uint32_t number)
{
    char key[ROWS_KEY_BYTES];
    unsigned char value[ROWS_VALUE_BYTES];
    struct sp_value v, changed;
    rows_key(number, key);
    if (sp_get_row_encoded(table, key, sizeof(key), row) != SP_OK ||
        sp_row_column(row, "v", &v) != SP_OK || sp_row_column(row, "changed", &changed) != SP_OK)
        return false;
    rows_value(number, changed.i < row_count ? 0 : (uint32_t)changed.i, value, sizeof(value));
    return v.bytes.size == sizeof(value) && memcmp(v.bytes.data, value, sizeof(value)) == 0;
}

static _Noreturn void read_on(struct reading *reading)
{
    struct sp_pond *pond;
    struct sp_table *table;
    struct sp_row *row = sp_row_new();
    uint64_t state = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sp_open(pond_directory, NULL, &pond) != SP_OK || sp_table_open(pond, "t", &table) != SP_OK)
        _exit(1);
    while (!atomic_load(&reading->stop)) {
        double start = bench_now_s();
        for (unsigned i = 0; i < LATENCY_ROUNDS; i++)
            if (!is_right(table, row, (uint32_t)(rows_random(&state) % row_count)))
                atomic_fetch_add(&reading->wrong, 1);
        uint64_t ns = (uint64_t)((bench_now_s() - start) * 1e9 / LATENCY_ROUNDS);
        atomic_fetch_add(&reading->reads, LATENCY_ROUNDS);
        if (ns > atomic_load(&reading->worst_ns))
            atomic_store(&reading->worst_ns, ns);
    }
    sp_close(pond);
    _exit(0);
}

static pid_t start_reader(struct reading **reading)
{
    *reading =
        mmap(NULL, sizeof(**reading), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0)
        read_on(*reading);
    return pid;
}

/* --- rounds --------------------------------------------------------------------------------- */

static void change_rows(sqlite3 *db, uint32_t generation)
{
    sqlite3_stmt *update;
    char key[ROWS_KEY_BYTES];
    unsigned char value[ROWS_VALUE_BYTES];
    uint64_t state = generation;
    sqlite_do(db, "BEGIN IMMEDIATE");
    if (sqlite3_prepare_v2(db, "UPDATE t SET v = ?1, changed = ?2 WHERE k = ?3", -1, &update,
                           NULL) != SQLITE_OK)
        bench_die("SQLite: %s", sqlite3_errmsg(db));
    for (uint32_t i = 0; i < CHANGED_ROWS; i++) {
        uint32_t number = (uint32_t)(rows_random(&state) % row_count);
        rows_key(number, key);
        rows_value(number, generation, value, sizeof(value));
        sqlite3_bind_blob(update, 1, value, sizeof(value), SQLITE_STATIC);
        sqlite3_bind_int64(update, 2, generation);
        sqlite3_bind_text(update, 3, key, sizeof(key), SQLITE_STATIC);
        sqlite3_step(update);
        sqlite3_reset(update);
    }
    sqlite3_finalize(update);
    sqlite_do(db, "COMMIT");
}

/* Waits until a change made now can be read. */
static void wait_commit(struct sp_pond *pond, sqlite3 *db, uint32_t generation)
{
    uint64_t version = sp_pond_version(pond);
    change_rows(db, generation);
    bench_must(sp_wait(pond, version, READY_MS, NULL), "waiting for a commit");
}

struct round {
    double ready_s, fresh_s, reads;
    double before_us, worst_us; /* slowest reads before the kill, and from there until ready */
};

/* `pid` is the daemon's, and the next one's at the end. */
static void run_round(struct round *round, unsigned number, pid_t *pid, struct sp_pond *pond,
                      sqlite3 *db, struct reading *reading)
{
    atomic_store(&reading->worst_ns, 0);
    wait_commit(pond, db, row_count + number * 2);
    poll(NULL, 0, 20 + (int)(number * 37 % 200)); /* another moment of a refresh each time */
    change_rows(db, row_count + number * 2 + 1);
    uint64_t reads = atomic_load(&reading->reads);
    round->before_us = (double)atomic_exchange(&reading->worst_ns, 0) / 1000;
    double start = bench_now_s();
    kill(*pid, SIGKILL);
    waitpid(*pid, NULL, 0);
    *pid = start_daemon();
    wait_ready();
    round->ready_s = bench_now_s() - start;
    round->reads = (double)(atomic_load(&reading->reads) - reads);
    round->worst_us = (double)atomic_load(&reading->worst_ns) / 1000;
    uint64_t version = sp_pond_version(pond);
    sp_wait(pond, version, READY_MS, NULL);
    round->fresh_s = bench_now_s() - start;
    bench_note("ready after %.3f s, fresh after %.3f s; %.0f reads until ready, worst %.1f us",
               round->ready_s, round->fresh_s, round->reads, round->worst_us);
}

static void report(const struct round *rounds, const struct reading *reading)
{
    double ready[BENCH_ROUNDS], fresh[BENCH_ROUNDS], before[BENCH_ROUNDS], worst[BENCH_ROUNDS];
    double reads = (double)atomic_load(&reading->reads);
    for (unsigned i = 0; i < BENCH_ROUNDS; i++) {
        ready[i] = rounds[i].ready_s;
        fresh[i] = rounds[i].fresh_s;
        before[i] = rounds[i].before_us;
        worst[i] = rounds[i].worst_us;
    }
    bench_row(&(struct bench_row){"kill -9 to serving again, A, median",
                                  bench_median(ready, BENCH_ROUNDS), 0, "s", BENCH_AT_MOST,
                                  REACH_S});
    bench_row(&(struct bench_row){"kill -9 to serving again, A, worst",
                                  bench_max(ready, BENCH_ROUNDS), 0, "s", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"kill -9 to the next commit", bench_median(fresh, BENCH_ROUNDS),
                                  0, "s", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"failed or wrong reads meanwhile",
                                  (double)atomic_load(&reading->wrong), 0, "reads", BENCH_AT_MOST,
                                  0});
    bench_row(
        &(struct bench_row){"reads, all in all", reads / 1e6, 0, "million", BENCH_INFORMS, 0});
    bench_row(&(struct bench_row){"a read, slowest 64 in a row, against before the kill",
                                  bench_median(worst, BENCH_ROUNDS),
                                  bench_median(before, BENCH_ROUNDS), "us", BENCH_INFORMS, 0});
}

int main(int argc, char **argv)
{
    struct round rounds[BENCH_ROUNDS];
    struct sp_pond *pond;
    struct reading *reading;
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    bench_start("recovery", argc, argv);
    row_count = bench_quick() ? ROWS_A / 20 : ROWS_A;
    snprintf(database, sizeof(database), "%s/a.db", bench_directory());
    snprintf(config_path, sizeof(config_path), "%s/sidepondd.yaml", bench_directory());
    snprintf(pond_directory, sizeof(pond_directory), "%s/pond", bench_directory());
    snprintf(notify_path, sizeof(notify_path), "%s/notify", bench_directory());
    sqlite_make(database, row_count, true);
    write_config();
    open_notify_socket();
    pid_t daemon = start_daemon();
    wait_ready();
    options.wait_ms = READY_MS;
    bench_must(sp_open(pond_directory, &options, &pond), "opening the pond");
    pid_t reader = start_reader(&reading);
    sqlite3 *db = sqlite_connect(database);
    for (unsigned i = 0; i < BENCH_ROUNDS; i++)
        run_round(&rounds[i], i, &daemon, pond, db, reading);
    atomic_store(&reading->stop, true);
    int ended = 1;
    waitpid(reader, &ended, 0);
    kill(daemon, SIGKILL);
    waitpid(daemon, NULL, 0);
    sqlite3_close(db);
    sp_close(pond);
    if (ended != 0)
        bench_die("the reader failed");
    report(rounds, reading);
    return bench_finish();
}
