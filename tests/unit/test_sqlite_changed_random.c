/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: what the SQLite source calls unchanged is unchanged, whatever was done to the file; and
 * what was left alone is called so mostly, or the whole would be of no use. Method: random
 * histories of six tables (rows that overflow pages, deletes, large transactions rolled back,
 * VACUUM, incremental vacuum, checkpoints of all kinds, new columns), by a writer that takes turns
 * with the source, and by one that runs beside it. After each beginning of a snapshot every table
 * is read in it through a condition, which leaves what the source knows alone, and compared with
 * what was last read of it. The seed is printed; SIDEPOND_SEED sets it. SIDEPOND_LONG: longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "source_sqlite_fixture.h"

enum { TABLES = 6 };

static unsigned turns, steps; /* of the two histories */

static const char *const names[TABLES] = {"t0", "t1", "t2", "t3", "t4", "wide"};

struct history {
    struct fixture base;
    uint64_t random;
    atomic_uint steps;     /* of the writer beside */
    atomic_uint rounds;    /* of the reader beside it */
    uint64_t hash[TABLES]; /* of what was last read of each table */
    unsigned kept, read;
};

static uint64_t draw(struct history *h, uint64_t bound)
{
    h->random ^= h->random << 13;
    h->random ^= h->random >> 7;
    h->random ^= h->random << 17;
    return h->random % bound;
}

static void run(struct history *h, const char *format, ...)
{
    va_list list;
    char *message = NULL;
    va_start(list, format);
    char *text = sqlite3_vmprintf(format, list);
    va_end(list);
    const int rc = sqlite3_exec(h->base.admin, text, NULL, NULL, &message);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_LOCKED)
        fail_msg("%s: %s", text, sqlite3_errstr(rc));
    sqlite3_free(message);
    sqlite3_free(text);
}

/* --- the writer ----------------------------------------------------------------------------- */

static void write_rows(struct history *h, const char *table)
{
    const unsigned bytes = draw(h, 4) ? (unsigned)draw(h, 200) : (unsigned)draw(h, 20000);
    const unsigned id = (unsigned)draw(h, 2000);
    switch (draw(h, 5)) {
    case 0:
        run(h, "INSERT OR REPLACE INTO %s (id, a) VALUES (%u, randomblob(%u))", table, id, bytes);
        break;
    case 1:
        run(h, "UPDATE %s SET a = randomblob(%u) WHERE id BETWEEN %u AND %u", table, bytes, id,
            id + 3);
        break;
    case 2:
        run(h, "DELETE FROM %s WHERE id BETWEEN %u AND %u", table, id, id + (unsigned)draw(h, 300));
        break;
    case 3:
        run(h,
            "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %u)"
            " INSERT OR REPLACE INTO %s (id, a) SELECT %u + i, randomblob(%u) FROM c",
            (unsigned)draw(h, 200), table, id, bytes % 500);
        break;
    default:
        if (draw(h, 20) == 0)
            run(h, "DELETE FROM %s", table);
    }
}

/* Spills to the -wal, since the cache is small, and is taken back. */
static void roll_back(struct history *h)
{
    run(h, "BEGIN");
    for (unsigned i = 0; i < 5; i++)
        write_rows(h, names[draw(h, TABLES)]);
    run(h, draw(h, 2) ? "ROLLBACK" : "SAVEPOINT s; DELETE FROM t3; ROLLBACK TO s; COMMIT");
}

static void change_file(struct history *h)
{
    static const char *const ways[] = {"PASSIVE", "FULL", "RESTART", "TRUNCATE"};
    switch (draw(h, 12)) {
    case 0:
        run(h, "PRAGMA wal_checkpoint(%s)", ways[draw(h, 4)]);
        break;
    case 1:
        run(h, "PRAGMA incremental_vacuum(%u)", (unsigned)draw(h, 50));
        break;
    case 2:
        if (draw(h, 10) == 0)
            run(h, "VACUUM");
        break;
    case 3:
        if (draw(h, 20) == 0)
            run(h, "ALTER TABLE t4 ADD COLUMN c%u INT DEFAULT 7", (unsigned)(h->random >> 40));
        break;
    case 4:
        run(h, "CREATE TABLE other AS SELECT * FROM t1 LIMIT 50; DROP TABLE other");
        break;
    default:
        break;
    }
}

/* Mostly one or two of the tables, since all of them would prove nothing. */
static void write_some(struct history *h)
{
    if (draw(h, 8) == 0)
        roll_back(h);
    else
        write_rows(h, names[draw(h, TABLES)]);
    change_file(h);
}

static void pause_for(uint64_t ns)
{
    const struct timespec pause = {.tv_nsec = (long)ns};
    nanosleep(&pause, NULL);
}

static void await_rounds(struct history *h, unsigned count)
{
    const unsigned end = atomic_load(&h->rounds) + count;
    while (atomic_load(&h->rounds) < end)
        pause_for(100000);
}

/* Pauses now and then until the reader has begun and ended a round without it: however slow that
 * is, it finds some tables as they were. */
static void *write_on(void *context)
{
    struct history *h = context;
    for (unsigned i = 0; i < steps; i++) {
        write_some(h);
        pause_for(draw(h, 1000000));
        if (i % 16 == 15)
            await_rounds(h, 3);
        atomic_fetch_add(&h->steps, 1);
    }
    return NULL;
}

/* --- the reader ----------------------------------------------------------------------------- */

static uint64_t value_hash(const struct sp_value *value, uint64_t seed)
{
    if (value->is_null)
        return XXH3_64bits_withSeed("null", 4, seed);
    if (sp_type_width(value->type) == 0)
        return XXH3_64bits_withSeed(value->bytes.data, value->bytes.size, seed + 1);
    return XXH3_64bits_withSeed(&value->i, sizeof(value->i), seed + 2);
}

static int hash_row(void *context, const struct sp_value *values, unsigned count)
{
    uint64_t *hash = context;
    for (unsigned i = 0; i < count; i++)
        *hash = value_hash(&values[i], *hash);
    return SP_OK;
}

static int hash_bad_row(void *context, const struct sp_value *values, unsigned count,
                        unsigned column, const char *why)
{
    uint64_t *hash = context;
    *hash = XXH3_64bits_withSeed(why, strlen(why), *hash + column);
    return hash_row(context, values, count);
}

static uint64_t hash_table(struct fixture *f, const struct source_table *table)
{
    uint64_t hash = 0;
    struct source_description description;
    const struct source_sink sink = {.context = &hash, .row = hash_row, .bad_row = hash_bad_row};
    must(f, f->class->describe(f->source, table, &description, &f->error));
    must(f, f->class->stream(f->source, table, &description, NULL, &sink, &f->error));
    source_description_free(&description);
    return hash;
}

static bool changed(struct fixture *f, const struct source_table *table)
{
    bool answer;
    must(f, f->class->changed(f->source, table, &answer, &f->error));
    return answer;
}

static void check_table(struct history *h, unsigned i)
{
    struct fixture *f = &h->base;
    const char *const key[] = {"id", NULL};
    const struct source_table table = {.name = names[i], .relation = names[i], .key = key};
    struct source_table aside = table;
    aside.where = "1";
    const uint64_t now = hash_table(f, &aside);
    if (!changed(f, &table)) {
        if (now != h->hash[i])
            fail_msg("%s has changed", names[i]);
        h->kept++;
        return;
    }
    h->hash[i] = hash_table(f, &table);
    assert_true(h->hash[i] == now);
    h->read++;
}

static void check_all(struct history *h)
{
    struct fixture *f = &h->base;
    must(f, f->class->begin(f->source, &f->error));
    for (unsigned i = 0; i < TABLES; i++)
        check_table(h, i);
    must(f, f->class->end(f->source, &f->error));
}

/* --- tests ---------------------------------------------------------------------------------- */

static void test_in_turns(void **state)
{
    struct history *h = *state;
    for (unsigned i = 0; i < turns; i++) {
        for (uint64_t n = draw(h, 3); n > 0; n--)
            write_some(h);
        check_all(h);
    }
    print_message("in turns: %u kept, %u read\n", h->kept, h->read);
    assert_true(h->kept > h->read / 2);
}

static void test_at_once(void **state)
{
    struct history *h = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_on, h), 0);
    while (atomic_load(&h->steps) < steps) {
        check_all(h);
        atomic_fetch_add(&h->rounds, 1);
        pause_for(500000); /* or the writer would not get on */
    }
    pthread_join(thread, NULL);
    check_all(h);
    print_message("at once: %u kept, %u read\n", h->kept, h->read);
    assert_true(h->kept > 0);
}

/* What is never called unchanged: nothing read yet, a condition, a query, a view, another mode. */
static void test_never(void **state)
{
    struct history *h = *state;
    struct fixture *f = &h->base;
    const char *const key[] = {"id", NULL};
    const struct source_table plain = {.name = "t0", .relation = "t0", .key = key};
    struct source_table others[] = {plain, plain, plain};
    others[0].where = "id < strftime('%s', 'now')";
    others[1].relation = NULL;
    others[1].query = "SELECT * FROM t0";
    others[2].relation = "v0";
    run(h, "CREATE VIEW v0 AS SELECT * FROM t0; INSERT INTO t0 VALUES (1, 2)");
    for (unsigned pass = 0; pass < 2; pass++) {
        must(f, f->class->begin(f->source, &f->error));
        assert_int_equal(changed(f, &plain), pass == 0);
        hash_table(f, &plain);
        for (unsigned i = 0; i < 3; i++) {
            hash_table(f, &others[i]);
            assert_true(changed(f, &others[i]));
        }
        must(f, f->class->end(f->source, &f->error));
    }
    close_source(f);
    run(h, "PRAGMA journal_mode = DELETE");
    open_source(f);
    for (unsigned pass = 0; pass < 2; pass++) {
        must(f, f->class->begin(f->source, &f->error));
        assert_true(changed(f, &plain));
        hash_table(f, &plain);
        must(f, f->class->end(f->source, &f->error));
    }
}

static int setup(void **state)
{
    struct history *h = calloc(1, sizeof(*h));
    const char *seed = getenv("SIDEPOND_SEED");
    assert_non_null(h);
    sqlite_make(&h->base);
    h->random =
        seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
    print_message("SIDEPOND_SEED=%llu\n", (unsigned long long)h->random);
    h->random |= 1;
    run(h,
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA page_size = %u; PRAGMA journal_mode = WAL;"
        "PRAGMA synchronous = OFF; PRAGMA cache_size = 5; PRAGMA wal_autocheckpoint = 500",
        512U << draw(h, 4));
    for (unsigned i = 0; i < TABLES; i++)
        run(h, "CREATE TABLE %s (id INTEGER PRIMARY KEY NOT NULL, a BLOB)%s", names[i],
            i == TABLES - 1 ? " WITHOUT ROWID" : "");
    open_source(&h->base);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct history *h = *state;
    sqlite_remove(&h->base);
    free(h);
    return 0;
}

/* Nobody is beside the first history, for ThreadSanitizer to look at. */
static void set_lengths(void)
{
    const char *slow = getenv("SIDEPOND_SLOW"), *sanitizer = getenv("SIDEPOND_SANITIZE");
    const bool is_long = getenv("SIDEPOND_LONG") != NULL, is_slow = slow && *slow;
    turns = is_long ? 4000 : is_slow ? 200 : 400;
    steps = is_long ? 3000 : is_slow ? 128 : 300;
    if (sanitizer && strstr(sanitizer, "thread") && !is_long)
        turns = 50;
}

int main(void)
{
    set_lengths();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never, setup, teardown),
    };
    return cmocka_run_group_tests_name("sqlite_changed_random", tests, NULL, NULL);
}
