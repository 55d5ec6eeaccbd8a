/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_count.c - what the readers of the shared memory count.
 *
 * Goal: each hit and each miss of sp_cache_get and sp_cache_mget is counted once, whichever thread,
 * handle or process it was of; the daemon's side says so; and where nothing can be told, reads are
 * right all the same.
 * Method: a cache of the store, readers beside it, and the sums of both sides compared.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "client/local/cache_read.h"
#include "server/store/internal.h"
#include "tests/unit/cache_fixture.h"

#define THREADS 16u
#define READS   20000u

static struct cache_fixture f;

static int setup(void **state)
{
    cache_fixture_open(&f, state);
    assert_ok(cache_writer_put(&f.writer, "here", 4, "value", 5, 0));
    assert_ok(cache_writer_put(&f.writer, "over", 4, "value", 5, 1));
    return 0;
}

static int teardown(void **state)
{
    return cache_fixture_close(&f, state);
}

static int get(struct sp_cache *cache, const char *key, size_t cap)
{
    char value[16];
    size_t size;
    return sp_cache_get(cache, key, strlen(key), value, cap, &size);
}

/* What has not been told yet is told when the pond is closed. */
static void close_pond(void)
{
    sp_close(f.pond->pond);
    f.pond->pond = NULL;
}

static void assert_counted(uint64_t hits, uint64_t misses)
{
    struct cache_info info;
    cache_info(f.writer.cache, &info);
    assert_int_equal(info.shm_hits, hits);
    assert_int_equal(info.shm_misses, misses);
}

static void test_each_answer(void **state)
{
    (void)state;
    assert_ok(get(f.cache, "here", 16));
    assert_status(get(f.cache, "here", 1), SP_ERANGE);
    assert_status(get(f.cache, "over", 16), SP_ENOTFOUND);
    assert_status(get(f.cache, "nowhere", 16), SP_ENOTFOUND);
    assert_status(get(f.cache, "not here", 16), SP_ENOTFOUND);
    close_pond();
    assert_counted(2, 3);
}

static void test_many(void **state)
{
    (void)state;
    char out[40][16];
    struct sp_get gets[40];
    for (unsigned i = 0; i < 40; i++)
        gets[i] = (struct sp_get){.key = i % 4 == 0 ? "here" : "gone",
                                  .key_bytes = 4,
                                  .out = out[i],
                                  .cap = sizeof out[i]};
    assert_ok(sp_cache_mget(f.cache, gets, 40));
    close_pond();
    assert_counted(10, 30);
}

static void *read_on(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < READS; i++) {
        get(f.cache, "here", 16);
        get(f.cache, "nowhere", 16);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    close_pond();
    assert_counted(THREADS * READS, THREADS * READS);
}

/* What the parent has counted and not told is not told by the child too. */
static void test_fork(void **state)
{
    (void)state;
    int status;
    for (unsigned i = 0; i < 100; i++)
        get(f.cache, "here", 16);
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < 10; i++)
            get(f.cache, "nowhere", 16);
        sp_close(f.pond->pond);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close_pond();
    assert_counted(100, 10);
}

/* A thread that reads now and then is seen at its next read, one that goes on reading soon. */
static void test_told_in_time(void **state)
{
    (void)state;
    struct cache_info info;
    struct timespec pause = {.tv_nsec = (CACHE_COUNT_TELL_MS + 20) * 1000000L};
    uint64_t reads = 0;
    get(f.cache, "here", 16);
    assert_counted(1, 0);
    nanosleep(&pause, NULL);
    get(f.cache, "here", 16);
    assert_counted(2, 0);
    uint64_t began_ms = clock_ms();
    do {
        get(f.cache, "here", 16);
        reads++;
    } while (clock_ms() - began_ms < 2 * CACHE_COUNT_TELL_MS);
    cache_info(f.writer.cache, &info);
    assert_in_range(info.shm_hits, 2 + reads / 8, 2 + reads);
}

/* The counts are of this opening of the cache; the file goes on, and what somebody else makes of it
 * is no harm. */
static void test_daemon_begins_anew(void **state)
{
    (void)state;
    struct hints hints;
    get(f.cache, "here", 16);
    close_pond();
    assert_counted(1, 0);
    assert_ok(hints_attach(f.pond->directory, f.pond->store->region.super->id, &hints));
    assert_ok(hints_grow(&hints, f.pond->store->region.super->id, 4096));
    assert_int_equal(atomic_load(&hints.head->hits), 1);
    cache_writer_close(&f.writer);
    assert_ok(cache_writer_open(&f.writer, f.pond->store));
    assert_counted(0, 0);
    atomic_store(&hints.head->misses, 7);
    assert_counted(0, 7);
    atomic_store(&hints.head->misses, 3);
    assert_counted(0, 7);
    atomic_store(&hints.head->misses, 4);
    assert_counted(0, 8);
    hints_detach(&hints);
}

static void test_nobody_to_tell(void **state)
{
    (void)state;
    char path[256];
    close_pond();
    snprintf(path, sizeof path, "%s/" FORMAT_HINTS_FILE, f.pond->directory);
    assert_int_equal(unlink(path), 0);
    people_open(f.pond);
    assert_ok(sp_cache_open(f.pond->pond, &f.cache));
    read_on(NULL);
    assert_ok(get(f.cache, "here", 16));
    close_pond();
    assert_counted(0, 0);
}

/* More threads than lines are counted about right, and read as ever. */
static void test_more_threads_than_lines(void **state)
{
    (void)state;
    struct cache_info info;
    pthread_t threads[2 * CACHE_COUNT_LINES];
    for (unsigned i = 0; i < 2 * CACHE_COUNT_LINES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, NULL), 0);
    for (unsigned i = 0; i < 2 * CACHE_COUNT_LINES; i++)
        pthread_join(threads[i], NULL);
    close_pond();
    cache_info(f.writer.cache, &info);
    assert_in_range(info.shm_hits, READS, 2 * CACHE_COUNT_LINES * READS * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
        cmocka_unit_test_setup_teardown(test_told_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_daemon_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_to_tell, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_threads_than_lines, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
