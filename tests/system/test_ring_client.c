/* SPDX-License-Identifier: Apache-2.0
 *
 * test_ring_client.c - a ring of three redis-servers, as its client sees it.
 *
 * Goal: every write is on two servers; no single server that dies, hangs, or comes back empty or
 * old makes a read fail or an acknowledged write disappear; calls end in time; nothing is done
 * twice; threads and forked children may use one handle. Method: real servers, ended by kill -9 and
 * stopped by SIGSTOP in the middle of it; what lies on each of them is read past the library.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "tests/system/ring_servers.h"

#define K(text)        (text), (sizeof(text) - 1)
#define WITHIN_MS      10000u
#define AFTER_HEDGE_MS 250u /* the machine may be busy */

static void assert_value(struct sp_ring *ring, const char *key, const char *expected)
{
    struct sp_buffer value = {0};
    assert_ok(sp_ring_get(ring, key, strlen(key), &value));
    if (value.size != strlen(expected) || memcmp(value.data, expected, value.size) != 0)
        fail_msg("%s is \"%.*s\", not \"%s\"", key, (int)value.size, (char *)value.data, expected);
    sp_buffer_free(&value);
}

static int set(struct sp_ring *ring, const char *key, const char *value, enum sp_ring_need need,
               struct sp_ring_copies *copies)
{
    return sp_ring_set(ring, key, strlen(key), value, strlen(value), 0, need, copies);
}

/* Waits until no node is kept back or distrusted, or (`name`) until this one is kept back. */
static void await_nodes(struct sp_ring *ring, char kept_back)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    for (uint64_t until = clock_ms() + WITHIN_MS; clock_ms() < until;) {
        struct sp_ring_node *nodes;
        size_t count;
        bool good = true;
        assert_ok(sp_ring_nodes(ring, &nodes, &count, NULL));
        for (size_t i = 0; i < count; i++)
            good &= kept_back == 0 ? !nodes[i].kept_back && !nodes[i].distrusted
                                   : nodes[i].name[0] != kept_back || nodes[i].kept_back;
        free(nodes);
        if (good)
            return;
        nanosleep(&pause, NULL);
    }
    fail_msg("the nodes do not become what they should");
}

/* --- without faults --------------------------------------------------------------------------- */

static void test_copies(void **state)
{
    struct ring_servers *servers = *state;
    struct sp_ring_copies copies;
    struct sp_buffer value = {0};
    char there[64];
    assert_status(SP_ENOTFOUND, sp_ring_get(servers->ring, K("a"), &value));
    assert_ok(set(servers->ring, "a", "one", SP_RING_ALL, &copies));
    assert_int_equal(copies.have, 2);
    assert_int_equal(copies.want, 2);
    assert_value(servers->ring, "a", "one");
    for (unsigned copy = 0; copy < 2; copy++) {
        ring_servers_get(servers, ring_servers_of(servers, "a", copy), "a", there);
        assert_string_equal(there, "one");
    }
    assert_ok(sp_ring_delete(servers->ring, K("a"), SP_RING_ALL, &copies));
    assert_int_equal(copies.have, 2);
    assert_status(SP_ENOTFOUND, sp_ring_get(servers->ring, K("a"), &value));
    assert_ok(sp_ring_set(servers->ring, K(""), K(""), 0, SP_RING_ALL, NULL));
    assert_ok(sp_ring_get(servers->ring, K(""), &value));
    assert_int_equal(value.size, 0);
    assert_status(SP_EINVAL, sp_ring_set(servers->ring, K("a"), K("x"), -1, SP_RING_ALL, NULL));
    sp_buffer_free(&value);
}

static void test_big_and_binary(void **state)
{
    struct ring_servers *servers = *state;
    const size_t size = 5u << 20;
    char *big = malloc(size);
    struct sp_buffer value = {0};
    for (size_t i = 0; i < size; i++)
        big[i] = (char)(i * 7 + i / 255);
    assert_ok(sp_ring_set(servers->ring, "b\0\r\n", 4, big, size, 60000, SP_RING_ALL, NULL));
    assert_ok(sp_ring_get(servers->ring, "b\0\r\n", 4, &value));
    assert_int_equal(value.size, size);
    assert_memory_equal(value.data, big, size);
    sp_buffer_free(&value);
    free(big);
}

static void test_many(void **state)
{
    enum { COUNT = 1000 };
    static char keys[COUNT][16];
    static struct sp_ring_put puts[COUNT];
    static struct sp_ring_get gets[COUNT + 1];
    struct ring_servers *servers = *state;
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "m%zu", i);
        puts[i] = (struct sp_ring_put){.key = keys[i],
                                       .key_bytes = strlen(keys[i]),
                                       .value = keys[i],
                                       .value_bytes = strlen(keys[i])};
        gets[i] = (struct sp_ring_get){.key = keys[i], .key_bytes = strlen(keys[i])};
    }
    gets[COUNT] = (struct sp_ring_get){.key = "none", .key_bytes = 4};
    assert_ok(sp_ring_mput(servers->ring, puts, COUNT, SP_RING_ALL));
    assert_ok(sp_ring_mget(servers->ring, gets, COUNT + 1));
    assert_int_equal(gets[COUNT].status, SP_ENOTFOUND);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(puts[i].copies.have, 2);
        assert_int_equal(gets[i].value.size, strlen(keys[i]));
        assert_memory_equal(gets[i].value.data, keys[i], gets[i].value.size);
        puts[i].value = NULL;
    }
    assert_ok(sp_ring_mput(servers->ring, puts, COUNT, SP_RING_ALL));
    assert_ok(sp_ring_mget(servers->ring, gets, COUNT + 1));
    for (size_t i = 0; i < COUNT + 1; i++) {
        assert_int_equal(gets[i].status, SP_ENOTFOUND);
        sp_buffer_free(&gets[i].value);
    }
}

static int call(struct sp_ring *ring, struct sp_ring_call *out, size_t count,
                const char *const *arguments)
{
    *out = (struct sp_ring_call){.argument_count = count, .arguments = arguments};
    return sp_ring_call(ring, out, 1);
}
#define CALL(ring, out, ...)                                                                       \
    call((ring), (out), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                    \
         (const char *[]){__VA_ARGS__})

static void test_calls(void **state)
{
    struct sp_ring *ring = ((struct ring_servers *)*state)->ring;
    struct sp_ring_call done;
    assert_ok(CALL(ring, &done, "rpush", "list", "x", "y", "z"));
    assert_int_equal(done.reply->integer, 3);
    assert_int_equal(done.copies.have, 2);
    sp_reply_free(done.reply);
    assert_ok(CALL(ring, &done, "LRANGE", "list", "0", "-1"));
    assert_int_equal(done.reply->type, SP_REPLY_ARRAY);
    assert_int_equal(done.reply->item_count, 3);
    assert_string_equal(done.reply->items[2]->text, "z");
    sp_reply_free(done.reply);
    assert_ok(CALL(ring, &done, "GET", "list"));
    assert_int_equal(done.reply->type, SP_REPLY_ERROR);
    sp_reply_free(done.reply);
    assert_ok(CALL(ring, &done, "GET", "nothing"));
    assert_int_equal(done.reply->type, SP_REPLY_NULL);
    sp_reply_free(done.reply);
    assert_ok(
        CALL(ring, &done, "EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", "1", "e", "v"));
    sp_reply_free(done.reply);
    await_nodes(ring, 0);
    assert_ok(CALL(ring, &done, "MSET", "{t}a", "1", "{t}b", "2"));
    assert_int_equal(done.copies.have, 2);
    sp_reply_free(done.reply);
    assert_ok(CALL(ring, &done, "PING"));
    assert_string_equal(done.reply->text, "PONG");
    sp_reply_free(done.reply);
    assert_status(SP_EINVAL, CALL(ring, &done, "MGET", "a", "b", "c"));
    assert_status(SP_EINVAL, CALL(ring, &done, "SUBSCRIBE", "a"));
    assert_status(SP_EINVAL, CALL(ring, &done, "NOSUCHTHING", "a"));
    assert_null(done.reply);
}

/* Replies belong to their calls, and calls of a slot are done in order. */
static void test_pipeline(void **state)
{
    enum { COUNT = 400 };
    static struct sp_ring_call calls[COUNT];
    static const char *arguments[COUNT][2];
    static char keys[COUNT][16];
    struct sp_ring *ring = ((struct ring_servers *)*state)->ring;
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "p%zu", i / 2 % 50);
        arguments[i][0] = i % 2 == 0 ? "INCR" : "GET";
        arguments[i][1] = keys[i];
        calls[i] = (struct sp_ring_call){.argument_count = 2, .arguments = arguments[i]};
    }
    assert_ok(sp_ring_call(ring, calls, COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        int64_t expected = (int64_t)(i / 100) + 1;
        assert_int_equal(i % 2 == 0 ? calls[i].reply->integer : atoll(calls[i].reply->text),
                         expected);
        sp_reply_free(calls[i].reply);
    }
}

/* --- faults ----------------------------------------------------------------------------------- */

static void test_dead_and_empty(void **state)
{
    struct ring_servers *servers = *state;
    struct sp_ring_copies copies;
    char key[32], kept[32], there[64];
    ring_servers_key(servers, 0, 1, key);
    ring_servers_key(servers, 0, 2, kept);
    assert_ok(set(servers->ring, key, "old", SP_RING_ALL, NULL));
    assert_ok(set(servers->ring, kept, "kept", SP_RING_ALL, NULL));
    ring_servers_kill(servers, 0);
    for (unsigned i = 0; i < 100; i++)
        assert_value(servers->ring, key, "old");
    assert_ok(set(servers->ring, key, "new", SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
    assert_status(SP_EPARTIAL, set(servers->ring, key, "newer", SP_RING_ALL, &copies));
    assert_int_equal(copies.have, 1);
    assert_value(servers->ring, key, "newer");
    int64_t sum = 0;
    char number[32];
    ring_servers_key(servers, 0, 3, number);
    assert_ok(sp_ring_incr(servers->ring, number, strlen(number), 5, &sum, &copies));
    assert_int_equal(sum, 5);
    ring_servers_start(servers, 0); /* empty */
    assert_value(servers->ring, kept, "kept");
    await_nodes(servers->ring, 0);
    assert_value(servers->ring, kept, "kept");
    ring_servers_get(servers, 0, key, there);
    assert_string_equal(there, "newer");
    ring_servers_get(servers, 0, number, there);
    assert_string_equal(there, "5");
    assert_ok(sp_ring_delete(servers->ring, key, strlen(key), SP_RING_ALL, NULL));
}

/* A server that hangs costs one delay, and then none; back with old values, it is not believed. */
static void test_hung_and_old(void **state)
{
    struct ring_servers *servers = *state;
    char key[32], there[64];
    ring_servers_key(servers, 1, 1, key);
    assert_ok(set(servers->ring, key, "before", SP_RING_ALL, NULL));
    ring_servers_signal(servers, 1, SIGSTOP);
    uint64_t slowest = 0;
    for (unsigned i = 0; i < 50; i++) {
        uint64_t began = clock_us();
        assert_value(servers->ring, key, "before");
        uint64_t took = clock_us() - began;
        slowest = took > slowest ? took : slowest;
    }
    print_message("slowest read of a hung owner: %lu us\n", (unsigned long)slowest);
    assert_in_range(slowest, 0, (20 + AFTER_HEDGE_MS) * 1000);
    await_nodes(servers->ring, 'b');
    uint64_t began = clock_us();
    assert_ok(set(servers->ring, key, "meanwhile", SP_RING_ONE, NULL));
    assert_status(SP_EPARTIAL, set(servers->ring, key, "later", SP_RING_ALL, NULL));
    assert_in_range(clock_us() - began, 0, 700000); /* below the time-out, as a PING says why */
    began = clock_us();
    assert_status(SP_EPARTIAL, set(servers->ring, key, "later", SP_RING_ALL, NULL));
    assert_in_range(clock_us() - began, 0, AFTER_HEDGE_MS * 1000);
    ring_servers_signal(servers, 1, SIGCONT);
    for (unsigned i = 0; i < 500; i++)
        assert_value(servers->ring, key, "later");
    await_nodes(servers->ring, 0);
    assert_value(servers->ring, key, "later");
    ring_servers_get(servers, 1, key, there);
    assert_string_equal(there, "later");
}

/* A read of what is not there waits for a copy that hangs no longer than the delay, whichever of
 * the two it is; for one that is down, or does not answer a PING, not at all. But what a holder
 * lacks because it came back empty is asked of the other one. */
static void test_hung_and_absent(void **state)
{
    struct ring_servers *servers = *state;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring; /* that has seen no server start anew */
    struct sp_buffer value = {0};
    char key[32];
    options.nodes = servers->list;
    options.redis = true;
    options.hedge_ms = 20;
    options.probe_ms = 20;
    assert_ok(sp_ring_open(&options, &ring));
    assert_ok(set(ring, "any", "1", SP_RING_ALL, NULL));
    unsigned hung = 0;
    uint64_t slowest = 0;
    ring_servers_signal(servers, 2, SIGSTOP);
    for (unsigned i = 0; hung < 20; i++) {
        snprintf(key, sizeof key, "absent:%u", i);
        if (ring_servers_of(servers, key, 0) != 2 && ring_servers_of(servers, key, 1) != 2)
            continue;
        uint64_t began = clock_us();
        assert_status(SP_ENOTFOUND, sp_ring_get(ring, key, strlen(key), &value));
        uint64_t took = clock_us() - began;
        slowest = took > slowest ? took : slowest;
        hung++;
    }
    print_message("slowest read of what is not there: %lu us\n", (unsigned long)slowest);
    assert_in_range(slowest, 0, (20 + AFTER_HEDGE_MS) * 1000);
    ring_servers_signal(servers, 2, SIGCONT);
    await_nodes(ring, 0);
    ring_servers_key(servers, 2, 1, key);
    assert_ok(set(ring, key, "there", SP_RING_ALL, NULL));
    ring_servers_kill(servers, 2);
    ring_servers_start(servers, 2);
    for (unsigned i = 0; i < 50; i++)
        assert_value(ring, key, "there");
    await_nodes(ring, 0);
    assert_value(ring, key, "there");
    sp_ring_close(ring);
    sp_buffer_free(&value);
}

/* A server takes a write too late to be waited for, and then has the only copy, as the other one
 * was started anew. It was once removed, since the empty one was taken for the better one. */
static void test_late_and_last(void **state)
{
    struct ring_servers *servers = *state;
    struct sp_ring_copies copies;
    char key[32], there[64];
    ring_servers_key(servers, 2, 9, key);
    unsigned copy = ring_servers_of(servers, key, 1);
    assert_ok(set(servers->ring, key, "before", SP_RING_ALL, NULL));
    ring_servers_signal(servers, copy, SIGSTOP);
    assert_ok(set(servers->ring, key, "after", SP_RING_ONE, &copies));
    assert_int_equal(copies.have, 1);
    ring_servers_kill(servers, 2);
    ring_servers_signal(servers, copy, SIGCONT);
    ring_servers_start(servers, 2);
    await_nodes(servers->ring, 0);
    ring_servers_get(servers, copy, key, there);
    assert_string_equal(there, "after");
    assert_value(servers->ring, key, "after");
}

static void test_ends_in_time(void **state)
{
    struct ring_servers *servers = *state;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    struct sp_buffer value = {0};
    int64_t sum;
    options.nodes = servers->list;
    options.redis = true;
    options.timeout_ms = 150;
    assert_ok(sp_ring_open(&options, &ring));
    assert_ok(set(ring, "n", "1", SP_RING_ALL, NULL));
    assert_ok(sp_ring_incr(ring, K("n"), 1, &sum, NULL));
    for (unsigned i = 0; i < SERVERS; i++)
        ring_servers_signal(servers, i, SIGSTOP);
    uint64_t began = clock_ms();
    assert_status(SP_ETIMEDOUT, sp_ring_get(ring, K("n"), &value));
    assert_in_range(clock_ms() - began, 149, 150 + AFTER_HEDGE_MS);
    assert_status(SP_EUNKNOWN, sp_ring_incr(ring, K("n"), 1, &sum, NULL));
    assert_status(SP_EUNKNOWN, set(ring, "n", "2", SP_RING_ONE, NULL));
    for (unsigned i = 0; i < SERVERS; i++)
        ring_servers_signal(servers, i, SIGCONT);
    await_nodes(ring, 0);
    assert_ok(set(ring, "n", "3", SP_RING_ALL, NULL));
    for (unsigned i = 0; i < SERVERS; i++)
        ring_servers_kill(servers, i);
    assert_status(SP_ENONODE, sp_ring_get(ring, K("n"), &value));
    assert_status(SP_ENONODE, set(ring, "n", "2", SP_RING_ONE, NULL));
    assert_status(SP_ENONODE, sp_ring_incr(ring, K("n"), 1, &sum, NULL));
    for (unsigned i = 0; i < SERVERS; i++)
        ring_servers_start(servers, i);
    await_nodes(ring, 0);
    assert_ok(set(ring, "n", "4", SP_RING_ALL, NULL));
    assert_value(ring, "n", "4");
    sp_ring_close(ring);
    sp_buffer_free(&value);
}

/* --- processes and threads -------------------------------------------------------------------- */

static void test_fork(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* its runtime bears no thread in the child of a process that has some */
#endif
    struct ring_servers *servers = *state;
    int result;
    assert_ok(set(servers->ring, "f", "parent", SP_RING_ALL, NULL));
    pid_t child = fork();
    if (child == 0) {
        struct sp_buffer value = {0};
        bool good = sp_ring_get(servers->ring, K("f"), &value) == SP_OK && value.size == 6 &&
                    set(servers->ring, "f", "child", SP_RING_ALL, NULL) == SP_OK;
        sp_buffer_free(&value);
        sp_ring_close(servers->ring);
        _exit(good ? 0 : 1);
    }
    for (unsigned i = 0; i < 200; i++)
        assert_ok(set(servers->ring, "g", "parent", SP_RING_ALL, NULL));
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_value(servers->ring, "f", "child");
}

#define THREADS         6
#define PER_THREAD_KEYS 20u

struct worker {
    struct sp_ring *ring;
    unsigned number;
    unsigned rounds, wrong;
    char why[256];
};
static _Atomic bool working;

static void work_once(struct worker *worker, unsigned key_number, unsigned value_number)
{
    char key[32], value[32];
    struct sp_buffer read = {0};
    int size = snprintf(value, sizeof value, "%u", value_number);
    snprintf(key, sizeof key, "w:%u:%u", worker->number, key_number);
    int status = set(worker->ring, key, value, SP_RING_ONE, NULL);
    if (status == SP_OK)
        status = sp_ring_get(worker->ring, key, strlen(key), &read);
    bool right =
        status == SP_OK && read.size == (size_t)size && memcmp(read.data, value, read.size) == 0;
    if (!right && worker->wrong++ == 0)
        snprintf(worker->why, sizeof worker->why, "%s %s: %s (%s)", key, value,
                 sp_status_name(status), sp_error_detail());
    sp_buffer_free(&read);
}

static void *work(void *context)
{
    struct worker *worker = context;
    while (atomic_load(&working)) {
        for (unsigned i = 0; i < PER_THREAD_KEYS; i++)
            work_once(worker, i, worker->rounds);
        worker->rounds++;
    }
    return NULL;
}

/* Each thread reads what it wrote last, whatever happens to one server at a time. */
static void test_threads(void **state)
{
    struct ring_servers *servers = *state;
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    const struct timespec pause = {.tv_nsec = 150000000};
    atomic_store(&working, true);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.ring = servers->ring, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    nanosleep(&pause, NULL); /* of load */
    ring_servers_kill(servers, 2);
    nanosleep(&pause, NULL);
    ring_servers_start(servers, 2);
    await_nodes(servers->ring, 0);
    ring_servers_signal(servers, 0, SIGSTOP);
    nanosleep(&pause, NULL);
    ring_servers_signal(servers, 0, SIGCONT);
    await_nodes(servers->ring, 0);
    atomic_store(&working, false);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (workers[i].wrong > 0)
            fail_msg("%u wrong, the first: %s", workers[i].wrong, workers[i].why);
        assert_in_range(workers[i].rounds, 1, UINT32_MAX);
    }
}

static void test_options(void **state)
{
    struct ring_servers *servers = *state;
    struct sp_ring_options options = SP_RING_OPTIONS_INIT;
    struct sp_ring *ring;
    options.nodes = "a=127.0.0.1:1,b";
    assert_status(SP_EINVAL, sp_ring_open(&options, &ring));
    options.nodes = servers->list;
    options.slots = 1000;
    assert_status(SP_EINVAL, sp_ring_open(&options, &ring));
    options.slots = 16384;
    options.replicas = 4;
    assert_status(SP_EINVAL, sp_ring_open(&options, &ring));
    options = (struct sp_ring_options)SP_RING_OPTIONS_INIT;
    options.pond = "/nowhere/at/all";
    assert_status(SP_ENOPOND, sp_ring_open(&options, &ring));
    options = (struct sp_ring_options)SP_RING_OPTIONS_INIT;
    options.nodes = servers->list;
    options.redis = true;
    options.password = "wrong";
    struct sp_buffer value = {0};
    assert_ok(sp_ring_open(&options, &ring));
    int status = sp_ring_get(ring, K("a"), &value);
    assert_true(status == SP_EACCESS || status == SP_EREFUSED);
    sp_ring_close(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_big_and_binary), cmocka_unit_test(test_many),
        cmocka_unit_test(test_calls),          cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_fork),           cmocka_unit_test(test_dead_and_empty),
        cmocka_unit_test(test_hung_and_old),   cmocka_unit_test(test_hung_and_absent),
        cmocka_unit_test(test_late_and_last),  cmocka_unit_test(test_ends_in_time),
        cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, ring_servers_setup, ring_servers_teardown);
}
