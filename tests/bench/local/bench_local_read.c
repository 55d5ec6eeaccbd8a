/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_local_read.c - the time of a read from a pond, beside a private hash table and LMDB.
 *
 * Method. Data A is 1,000,000 rows of 24-byte keys and 100-byte values, B 10,000 of the same. The
 * keys to ask for are drawn before the clock starts and lie one behind the other; each value is
 * copied out. What is compared takes turns in rounds of a moment each, and the median of the rounds
 * counts. The private table has the pond's buckets, tags, entries and hash
 * (tests/bench/local/private_table.c); it lies in 4 KiB pages, as memory from malloc does, and the
 * pond in huge ones, as those of sidepondd do where the system has them. LMDB is read through one
 * long transaction, its fastest way. "Isolated": each key depends on the value before, so nothing
 * overlaps. Readers and writer of the last rows are processes of their own.
 *
 * Options: --json, --quick (small data, no judgement).
 */
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alloc/region.h"
#include "bench_data.h"
#include "common/bench.h"
#include "common/rows.h"
#include "private_table.h"
#include "server/store/store.h"

#define ROUNDS_MAX        25
#define WRITES_PER_SECOND 10000u
#define WRITE_BATCH       100u

/* --- the three stores ------------------------------------------------------------------------- */

struct side {
    struct data data;
    char pond_dir[128];
    struct sp_pond *pond;
    struct sp_table *table;
    struct private_table *private;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static void make_schema(struct schema **out)
{
    const struct row_column columns[] = {
        {.name = "id", .type = SP_TYPE_TEXT, .key_position = 0},
        {.name = "payload", .type = SP_TYPE_BYTES, .key_position = -1},
    };
    char why[256] = "";
    bench_must(schema_build(columns, 2, NULL, 0, out, why, sizeof why), why);
}

static struct store *open_store(const struct side *side)
{
    struct store_options options = {
        .directory = side->pond_dir,
        .name = side->data.name,
        .limit_bytes = ((uint64_t)side->data.row_count * (side->data.value_bytes + 100) * 2) +
                       (UINT64_C(64) << 20),
        .lease_limit_ms = 60000,
        .gid = -1,
        .huge_pages = true,
    };
    struct store *store;
    struct store_opened opened;
    char why[STORE_WHY_BYTES] = "";
    bench_must(store_open(&options, &store, &opened, why), why);
    return store;
}

/* Puts rows `rows` (NULL: the first `count`) of a generation. */
static void put_rows(const struct side *side, struct store *store, const uint32_t *rows,
                     uint32_t count, uint32_t generation)
{
    struct schema *schema;
    struct store_txn *txn;
    struct store_table *table;
    make_schema(&schema);
    bench_must(store_begin(store, &txn), "begin");
    bench_must(store_table(txn, "rows", schema, side->data.row_count, &table, NULL), "table");
    static char keys[256][BENCH_KEY_BYTES];
    static uint8_t values[256][1024];
    struct store_row batch[256];
    for (uint32_t i = 0; i < count;) {
        uint32_t size = count - i < 256 ? count - i : 256;
        for (uint32_t j = 0; j < size; j++) {
            uint32_t row = rows != NULL ? rows[i + j] : i + j;
            data_key(row, keys[j]);
            data_value(&side->data, row, generation, values[j]);
            batch[j] = (struct store_row){.key = keys[j],
                                          .key_bytes = BENCH_KEY_BYTES,
                                          .value = values[j],
                                          .value_bytes = side->data.value_bytes};
        }
        size_t done;
        bench_must(store_put(table, batch, size, &done), "put");
        i += size;
    }
    bench_must(store_commit(txn, NULL), "commit");
    schema_free(schema);
}

static void fill_lmdb(struct side *side)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s.mdb", bench_directory(), side->data.name);
    MDB_val key, value;
    char key_bytes[BENCH_KEY_BYTES];
    uint8_t value_bytes[1024];
    if (mdb_env_create(&side->env) != 0 || mdb_env_set_mapsize(side->env, UINT64_C(2) << 30) != 0 ||
        mdb_env_open(side->env, path, MDB_NOSUBDIR | MDB_NOSYNC, 0600) != 0 ||
        mdb_txn_begin(side->env, NULL, 0, &side->txn) != 0 ||
        mdb_dbi_open(side->txn, NULL, 0, &side->dbi) != 0)
        bench_die("LMDB");
    for (uint32_t i = 0; i < side->data.row_count; i++) {
        data_key(i, key_bytes);
        data_value(&side->data, i, 0, value_bytes);
        key = (MDB_val){.mv_size = BENCH_KEY_BYTES, .mv_data = key_bytes};
        value = (MDB_val){.mv_size = side->data.value_bytes, .mv_data = value_bytes};
        if (mdb_put(side->txn, side->dbi, &key, &value, MDB_APPEND) != 0)
            bench_die("LMDB put");
    }
    if (mdb_txn_commit(side->txn) != 0 ||
        mdb_txn_begin(side->env, NULL, MDB_RDONLY, &side->txn) != 0)
        bench_die("LMDB");
}

static void fill_private(struct side *side)
{
    uint64_t bytes = (uint64_t)side->data.row_count * (side->data.value_bytes + 64) + 4096;
    char key[BENCH_KEY_BYTES];
    uint8_t value[1024];
    side->private = private_new(side->data.row_count, bytes, false);
    for (uint32_t i = 0; i < side->data.row_count; i++) {
        data_key(i, key);
        data_value(&side->data, i, 0, value);
        private_put(side->private, key, sizeof key, value, side->data.value_bytes);
    }
}

static void side_open(struct side *side, const char *name, uint32_t row_count)
{
    *side = (struct side){.data = {.name = name, .row_count = row_count, .value_bytes = 100}};
    snprintf(side->pond_dir, sizeof side->pond_dir, "%s/%s", bench_directory(), name);
    struct store *store = open_store(side);
    put_rows(side, store, NULL, row_count, 0);
    store_close(store);
    const struct sp_open_options options = {sizeof options, 0, true};
    bench_must(sp_open(side->pond_dir, &options, &side->pond), "sp_open");
    bench_must(sp_table_open(side->pond, "rows", &side->table), "sp_table_open");
    fill_private(side);
    fill_lmdb(side);
}

static void side_close(struct side *side)
{
    mdb_txn_abort(side->txn);
    mdb_env_close(side->env);
    private_free(side->private);
    sp_close(side->pond);
}

/* --- loops ------------------------------------------------------------------------------------ */

/* One run over `count` keys; returns a sum that proves the values were read. */
typedef uint64_t loop_function(const struct side *side, const char *keys, uint32_t count);

static uint64_t first_word(const uint8_t *value)
{
    uint64_t word;
    memcpy(&word, value, sizeof word);
    return word;
}

/* `chained`: adds 0 to the position of the next key, but by way of the value just read. */
__attribute__((always_inline)) static inline uint64_t
gets_pond(const struct side *side, bool chained, const char *keys, uint32_t count)
{
    uint8_t out[1024];
    uint64_t sum = 0;
    size_t size;
    for (uint32_t i = 0; i < count; i++, keys += BENCH_KEY_BYTES) {
        bench_must(sp_get(side->table, keys, BENCH_KEY_BYTES, out, sizeof out, &size), "sp_get");
        sum += out[0];
        if (chained)
            keys += first_word(out) >> 63;
    }
    return sum;
}

__attribute__((always_inline)) static inline uint64_t
gets_private(const struct side *side, bool chained, const char *keys, uint32_t count)
{
    uint8_t out[1024];
    uint64_t sum = 0;
    size_t size;
    for (uint32_t i = 0; i < count; i++, keys += BENCH_KEY_BYTES) {
        bench_must(private_get(side->private, keys, BENCH_KEY_BYTES, out, sizeof out, &size),
                   "private");
        sum += out[0];
        if (chained)
            keys += first_word(out) >> 63;
    }
    return sum;
}

static uint64_t loop_pond(const struct side *side, const char *keys, uint32_t count)
{
    return gets_pond(side, false, keys, count);
}

static uint64_t loop_private(const struct side *side, const char *keys, uint32_t count)
{
    return gets_private(side, false, keys, count);
}

static uint64_t isolated_pond(const struct side *side, const char *keys, uint32_t count)
{
    return gets_pond(side, true, keys, count);
}

static uint64_t isolated_private(const struct side *side, const char *keys, uint32_t count)
{
    return gets_private(side, true, keys, count);
}

static uint64_t loop_lmdb(const struct side *side, const char *keys, uint32_t count)
{
    uint8_t out[1024];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++, keys += BENCH_KEY_BYTES) {
        MDB_val key = {.mv_size = BENCH_KEY_BYTES, .mv_data = (void *)keys}, value;
        if (mdb_get(side->txn, side->dbi, &key, &value) != 0)
            bench_die("LMDB get");
        memcpy(out, value.mv_data, value.mv_size);
        sum += out[0];
    }
    return sum;
}

static int mget_pond(void *table, struct sp_get *gets, size_t count)
{
    return sp_mget(table, gets, count);
}

static int mget_private(void *table, struct sp_get *gets, size_t count)
{
    return private_mget(table, gets, count);
}

static uint64_t batch_pond(const struct side *side, const char *keys, uint32_t count)
{
    return data_batches(side->table, mget_pond, keys, count);
}

static uint64_t batch_private(const struct side *side, const char *keys, uint32_t count)
{
    return data_batches(side->private, mget_private, keys, count);
}

/* --- measuring -------------------------------------------------------------------------------- */

static unsigned rounds(void)
{
    return bench_quick() ? 3 : ROUNDS_MAX;
}

/* Median ns per get of each of `n` loops, taking turns. The sums must agree. */
static void measure(const struct side *side, loop_function *const *loops, unsigned n,
                    const char *keys, uint32_t count, double *out)
{
    double ns[4][ROUNDS_MAX];
    uint64_t sum = 0;
    for (unsigned round = 0; round < rounds(); round++) {
        for (unsigned i = 0; i < n; i++) {
            double began = bench_thread_ns();
            uint64_t got = loops[i](side, keys, count);
            ns[i][round] = (bench_thread_ns() - began) / count;
            if (round + i > 0 && got != sum)
                bench_die("the values differ");
            sum = got;
        }
    }
    for (unsigned i = 0; i < n; i++)
        out[i] = bench_median(ns[i], rounds());
}

/* --- rows of the report ----------------------------------------------------------------------- */

/* Nanoseconds of a get, ours and the peer's; reach 0: for information. */
static void at_most(const char *what, double ours, double peer, double reach)
{
    enum bench_rule rule = reach == 0 ? BENCH_INFORMS : BENCH_AT_MOST;
    bench_note("%s: %.1f %.1f ns", what, ours, peer);
    bench_row(&(struct bench_row){what, ours, peer, "ns", rule, reach});
}

/* The same, as gets in a microsecond. */
static void times_faster(const char *what, double ours, double peer, double reach)
{
    enum bench_rule rule = reach == 0 ? BENCH_INFORMS : BENCH_AT_LEAST;
    bench_note("%s: %.1f %.1f ns", what, ours, peer);
    bench_row(&(struct bench_row){what, 1e3 / ours, 1e3 / peer, "1/us", rule, reach});
}

/* --- pages ------------------------------------------------------------------------------------ */

/* For information: before that, the pond is in 4 KiB pages as the private table is. */
static void bench_small_pages(const struct side *a, uint32_t count)
{
    char *keys = data_draw(&a->data, 0, count, 7);
    double ns[2];
    measure(a, (loop_function *[]){loop_private, loop_pond}, 2, keys, count, ns);
    at_most("A uniform, loop, pond in small pages; private table", ns[1], ns[0], 0);
    measure(a, (loop_function *[]){isolated_private, isolated_pond}, 2, keys, count, ns);
    at_most("A uniform, isolated, pond in small pages; private table", ns[1], ns[0], 0);
    free(keys);
}

/* --- one reader ------------------------------------------------------------------------------- */

static void bench_a(const struct side *a, uint32_t count)
{
    char *uniform = data_draw(&a->data, 0, count, 1);
    char *zipf = data_draw(&a->data, 0.99, count, 2);
    double ns[3];
    measure(a, (loop_function *[]){loop_private, loop_pond, loop_lmdb}, 3, uniform, count, ns);
    at_most("A uniform, loop; private table", ns[1], ns[0], 1.10);
    times_faster("A uniform, loop, times faster than LMDB", ns[1], ns[2], 8.0);
    measure(a, (loop_function *[]){loop_private, loop_pond, loop_lmdb}, 3, zipf, count, ns);
    at_most("A Zipf 0.99, loop; private table", ns[1], ns[0], 1.10);
    times_faster("A Zipf 0.99, loop, times faster than LMDB", ns[1], ns[2], 0);
    measure(a, (loop_function *[]){isolated_private, isolated_pond}, 2, uniform, count, ns);
    at_most("A uniform, isolated; private table", ns[1], ns[0], 1.08);
    measure(a, (loop_function *[]){batch_private, batch_pond}, 2, uniform, count, ns);
    at_most("A uniform, batches of 16; private table", ns[1], ns[0], 1.10);
    measure(a, (loop_function *[]){batch_private, batch_pond}, 2, zipf, count, ns);
    at_most("A Zipf 0.99, batches of 16; private table", ns[1], ns[0], 1.10);
    free(uniform);
    free(zipf);
}

static void bench_b(const struct side *b, uint32_t count)
{
    char *uniform = data_draw(&b->data, 0, count, 3);
    double ns[3];
    measure(b, (loop_function *[]){loop_private, loop_pond, loop_lmdb}, 3, uniform, count, ns);
    at_most("B uniform, loop; private table", ns[1], ns[0], 1.20);
    times_faster("B uniform, loop, times faster than LMDB", ns[1], ns[2], 12.0);
    measure(b, (loop_function *[]){isolated_private, isolated_pond}, 2, uniform, count, ns);
    at_most("B uniform, isolated; private table", ns[1], ns[0], 1.15);
    measure(b, (loop_function *[]){batch_private, batch_pond}, 2, uniform, count, ns);
    at_most("B uniform, batches of 16; private table", ns[1], ns[0], 1.10);
    free(uniform);
}

/* --- more processes --------------------------------------------------------------------------- */

/* What processes that measure together share. */
struct meeting {
    _Atomic uint32_t ready, go, stop;
    double ns[2];
};

static struct meeting *meeting_new(void)
{
    void *map = mmap(NULL, sizeof(struct meeting), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        bench_die("mmap");
    return map;
}

static pid_t child(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork");
    return pid;
}

static void await(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        bench_die("a process of the bench failed");
}

/* ns per get of each of `readers` processes that read at the same time. */
static double read_together(const struct side *side, loop_function *loop, unsigned readers,
                            const char *keys, uint32_t count)
{
    struct meeting *meeting = meeting_new();
    pid_t pids[2];
    for (unsigned i = 0; i < readers; i++) {
        pids[i] = child();
        if (pids[i] != 0)
            continue;
        loop(side, keys, count / 4);
        meeting->ready++;
        while (meeting->ready < readers)
            ;
        double began = bench_thread_ns();
        loop(side, keys, count);
        meeting->ns[i] = (bench_thread_ns() - began) / count;
        _exit(0);
    }
    double sum = 0;
    for (unsigned i = 0; i < readers; i++) {
        await(pids[i]);
        sum += meeting->ns[i];
    }
    munmap(meeting, sizeof *meeting);
    return sum / readers;
}

/* The second row says what two processes get from this machine's processors at all. */
static void bench_two_readers(const struct side *a, uint32_t count)
{
    static loop_function *const loops[2] = {loop_pond, loop_private};
    char *keys = data_draw(&a->data, 0, count, 4);
    double ns[2][2][ROUNDS_MAX];
    for (unsigned round = 0; round < rounds(); round++)
        for (unsigned i = 0; i < 2; i++)
            for (unsigned readers = 1; readers <= 2; readers++)
                ns[i][readers - 1][round] = read_together(a, loops[i], readers, keys, count);
    times_faster("A uniform, gets of 2 readers; of one", bench_median(ns[0][1], rounds()) / 2,
                 bench_median(ns[0][0], rounds()), 1.95);
    times_faster("private table, gets of 2 readers; of one", bench_median(ns[1][1], rounds()) / 2,
                 bench_median(ns[1][0], rounds()), 0);
    free(keys);
}

/* Changes 10,000 rows a second, in commits of 100, until told to stop. */
static void writer(const struct side *side, struct meeting *meeting)
{
    struct store *store = open_store(side);
    uint32_t rows[WRITE_BATCH];
    uint64_t random = 5;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    for (uint32_t generation = 1; meeting->stop == 0; generation++) {
        for (unsigned i = 0; i < WRITE_BATCH; i++)
            rows[i] = (uint32_t)(rows_random(&random) % side->data.row_count);
        if (meeting->go != 0) {
            put_rows(side, store, rows, WRITE_BATCH, generation);
            store_tick(store);
        }
        meeting->ready = 1;
        at.tv_nsec += 1000000000 / (WRITES_PER_SECOND / WRITE_BATCH);
        if (at.tv_nsec >= 1000000000) {
            at.tv_nsec -= 1000000000;
            at.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    store_close(store);
}

/* The second row says what a process that writes beside takes from the reader's processor. */
static void bench_with_writer(const struct side *a, uint32_t count)
{
    char *keys = data_draw(&a->data, 0, count, 6);
    struct meeting *meeting = meeting_new();
    pid_t pid = child();
    if (pid == 0) {
        writer(a, meeting);
        _exit(0);
    }
    while (meeting->ready == 0)
        usleep(1000);
    static loop_function *const loops[2] = {loop_pond, loop_private};
    double ns[2][2][ROUNDS_MAX];
    for (unsigned round = 0; round < rounds(); round++) {
        for (unsigned writes = 0; writes < 2; writes++) {
            meeting->go = writes;
            usleep(50000);
            for (unsigned i = 0; i < 2; i++) {
                double began = bench_thread_ns();
                loops[i](a, keys, count);
                ns[i][writes][round] = (bench_thread_ns() - began) / count;
            }
        }
    }
    meeting->stop = 1;
    await(pid);
    munmap(meeting, sizeof *meeting);
    free(keys);
    at_most("A uniform, while 10,000 rows/s change; without", bench_median(ns[0][1], rounds()),
            bench_median(ns[0][0], rounds()), 1.05);
    at_most("private table, while 10,000 rows/s change; without", bench_median(ns[1][1], rounds()),
            bench_median(ns[1][0], rounds()), 0);
}

/* -------------------------------------------------------------------------------------------------
 */

int main(int argc, char **argv)
{
    struct side a, b;
    bench_start("local-read", argc, argv);
    side_open(&a, "A", bench_quick() ? 20000 : 1000000);
    side_open(&b, "B", bench_quick() ? 2000 : 10000);
    uint32_t count = bench_quick() ? 50000 : 200000;
    bench_small_pages(&a, count);
    bench_use_huge_pages(a.pond_dir);
    bench_use_huge_pages(b.pond_dir);
    bench_a(&a, count);
    bench_b(&b, count);
    bench_two_readers(&a, count);
    bench_with_writer(&a, count);
    side_close(&a);
    side_close(&b);
    return bench_finish();
}
