/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_write.c - writing the cache by libsidepond.
 *
 * Goal: what the calls say they do can be read from shared memory when they return; what goes wrong
 * is a status and a sentence; connections serve threads and forked children, survive a server that
 * is started again, and no request that counts is ever sent twice.
 * Method: a real server (resp_server), and for what no good server does a false one, which
 * counts the requests that it gets and closes, or is silent.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/system/cache_server.h"

#define K(text) (text), (sizeof(text) - 1)

static void assert_value(struct sp_cache *cache, const char *key, const char *expected)
{
    char value[256];
    size_t size;
    assert_ok(sp_cache_get(cache, key, strlen(key), value, sizeof value, &size));
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(value, expected, size);
}

static void assert_absent(struct sp_cache *cache, const char *key)
{
    assert_status(SP_ENOTFOUND, sp_cache_exists(cache, key, strlen(key)));
}

static void assert_detail(const char *part)
{
    if (strstr(sp_error_detail(), part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, sp_error_detail());
}

/* --- each call -------------------------------------------------------------------------------- */

static void test_set(void **state)
{
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    int64_t ms;
    assert_ok(sp_cache_set(cache, K("a"), K("one"), 0));
    assert_value(cache, "a", "one");
    assert_ok(sp_cache_ttl(cache, K("a"), &ms));
    assert_int_equal(ms, -1);
    assert_ok(sp_cache_set(cache, K("a"), K("two"), 60000));
    assert_value(cache, "a", "two");
    assert_ok(sp_cache_ttl(cache, K("a"), &ms));
    assert_in_range(ms, 55000, 60010);
    assert_status(SP_EEXISTS, sp_cache_add(cache, K("a"), K("three"), 0));
    assert_value(cache, "a", "two");
    assert_ok(sp_cache_replace(cache, K("a"), K("four"), 0));
    assert_value(cache, "a", "four");
    assert_ok(sp_cache_delete(cache, K("a")));
    assert_absent(cache, "a");
    assert_status(SP_ENOTFOUND, sp_cache_delete(cache, K("a")));
    assert_status(SP_ENOTFOUND, sp_cache_replace(cache, K("a"), K("five"), 0));
    assert_absent(cache, "a");
    assert_ok(sp_cache_add(cache, K("a"), K("six"), 60000));
    assert_value(cache, "a", "six");
}

static void test_expire(void **state)
{
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t ms;
    assert_ok(sp_cache_set(cache, K("e"), K("x"), 0));
    assert_ok(sp_cache_expire(cache, K("e"), 30000));
    assert_ok(sp_cache_ttl(cache, K("e"), &ms));
    assert_in_range(ms, 25000, 30010);
    assert_ok(sp_cache_expire(cache, K("e"), 0));
    assert_ok(sp_cache_expire(cache, K("e"), 0));
    assert_ok(sp_cache_ttl(cache, K("e"), &ms));
    assert_int_equal(ms, -1);
    assert_ok(sp_cache_expire(cache, K("e"), 1));
    while (sp_cache_exists(cache, K("e")) == SP_OK)
        nanosleep(&pause, NULL);
    assert_status(SP_ENOTFOUND, sp_cache_expire(cache, K("e"), 1000));
    assert_status(SP_ENOTFOUND, sp_cache_expire(cache, K("e"), 0));
    assert_status(SP_EINVAL, sp_cache_expire(cache, K("e"), -1));
    assert_status(SP_EREFUSED, sp_cache_set(cache, K("e"), K("x"), INT64_MAX));
    assert_detail("invalid expire time");
}

static void test_incr(void **state)
{
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    int64_t sum = 0;
    assert_ok(sp_cache_incr(cache, K("n"), 5, &sum));
    assert_int_equal(sum, 5);
    assert_ok(sp_cache_incr(cache, K("n"), -7, NULL));
    assert_value(cache, "n", "-2");
    assert_ok(sp_cache_set(cache, K("n"), K("9223372036854775807"), 0));
    assert_status(SP_ERANGE, sp_cache_incr(cache, K("n"), 1, &sum));
    assert_detail("overflow");
    assert_ok(sp_cache_incr(cache, K("n"), INT64_MIN, &sum));
    assert_int_equal(sum, -1);
    assert_ok(sp_cache_set(cache, K("n"), K("text"), 0));
    assert_status(SP_ETYPE, sp_cache_incr(cache, K("n"), 1, &sum));
    assert_detail("not an integer");
    assert_detail(((struct cache_server *)*state)->address);
}

static void test_any_bytes(void **state)
{
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    static char key[SP_KEY_BYTES_MAX + 1];
    const size_t size = 9u << 20;
    char *value = malloc(size), *read = malloc(size);
    size_t got;
    for (size_t i = 0; i < size; i++)
        value[i] = (char)(i * 31 >> 3);
    memset(key, '\r', sizeof key);
    key[1] = '\n', key[2] = '\0';
    assert_ok(sp_cache_set(cache, key, 3, value, size, 0));
    assert_ok(sp_cache_get(cache, key, 3, read, size, &got));
    assert_int_equal(got, size);
    assert_memory_equal(read, value, size);
    assert_ok(sp_cache_set(cache, "", 0, NULL, 0, 0));
    assert_ok(sp_cache_get(cache, "", 0, read, size, &got));
    assert_int_equal(got, 0);
    assert_ok(sp_cache_set(cache, key, SP_KEY_BYTES_MAX, K("long"), 0));
    assert_ok(sp_cache_delete(cache, key, SP_KEY_BYTES_MAX));
    assert_status(SP_ETOOBIG, sp_cache_set(cache, key, SP_KEY_BYTES_MAX + 1, K("x"), 0));
    assert_status(SP_ETOOBIG, sp_cache_set(cache, K("x"), value, SP_VALUE_BYTES_MAX + 1, 0));
    assert_status(SP_ETOOBIG, sp_cache_delete(cache, key, SP_KEY_BYTES_MAX + 1));
    free(value);
    free(read);
}

static void test_mset(void **state)
{
    enum { COUNT = 1000 };
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    static char keys[COUNT][16], bytes[30000];
    static struct sp_set sets[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        int size = snprintf(keys[i], sizeof keys[i], "m%zu", i);
        sets[i] = (struct sp_set){keys[i], (size_t)size, bytes, i * 30, i % 2 ? 60000 : 0, 1};
    }
    assert_ok(sp_cache_mset(cache, sets, COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        size_t got;
        assert_ok(sets[i].status);
        assert_ok(sp_cache_get(cache, keys[i], strlen(keys[i]), bytes, sizeof bytes, &got));
        assert_int_equal(got, i * 30);
    }
    sets[3].ttl_ms = INT64_MAX;
    sets[700].ttl_ms = -1;
    assert_status(SP_EREFUSED, sp_cache_mset(cache, sets, COUNT));
    assert_detail("invalid expire time");
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(sets[i].status, i == 3 ? SP_EREFUSED : i == 700 ? SP_EINVAL : SP_OK);
    assert_ok(sp_cache_mset(cache, sets, 0));
}

/* --- who it talks to -------------------------------------------------------------------------- */

static void test_addresses(void **state)
{
    struct cache_server *server = *state;
    static const char *const wrong[] = {
        "",
        "unix:",
        "nowhere",
        "host:",
        ":1",
        "::1:1",
        "[]:1",
        "unix:/a/path/of/more/bytes/than/the/address/of/a/unix/socket/has/room/for/which/is/about/"
        "one/hundred/and/seven/of/them"};
    struct sp_cache_options options = SP_CACHE_OPTIONS_INIT;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        options.address = wrong[i];
        assert_status(SP_EINVAL, sp_cache_connect(server->cache, &options));
    }
    options.address = NULL;
    options.timeout_ms = 0;
    assert_status(SP_EINVAL, sp_cache_connect(server->cache, &options));
    options.timeout_ms = 1000;
    options.user = "somebody";
    assert_status(SP_EINVAL, sp_cache_connect(server->cache, &options));
    assert_ok(sp_cache_set(server->cache, K("k"), K("v"), 0)); /* as before */
    options = (struct sp_cache_options)SP_CACHE_OPTIONS_INIT;
    options.address = "127.0.0.1:1";
    assert_status(SP_ENODAEMON, sp_cache_connect(server->cache, &options));
    assert_detail("127.0.0.1:1: Connection refused");
    assert_status(SP_ENODAEMON, sp_cache_set(server->cache, K("k"), K("v"), 0));
    options.address = "unix:/dev/shm/there-is-no-such-socket";
    assert_status(SP_ENODAEMON, sp_cache_connect(server->cache, &options));
    options.address = server->address;
    assert_ok(sp_cache_connect(server->cache, &options));
    assert_ok(sp_cache_set(server->cache, K("k"), K("v"), 0));
    assert_ok(sp_cache_connect(server->cache, NULL));
}

static void test_password(void **state)
{
    (void)state;
    static const char *const options[] = {"--password", "secret", NULL};
    struct cache_server server = {.directory = ""};
    struct sp_cache_options with = SP_CACHE_OPTIONS_INIT;
    cache_server_start(&server, options);
    cache_server_open(&server);
    assert_status(SP_EACCESS, sp_cache_set(server.cache, K("k"), K("v"), 0));
    assert_detail("NOAUTH");
    with.password = "wrong";
    assert_status(SP_EACCESS, sp_cache_connect(server.cache, &with));
    assert_detail("WRONGPASS");
    with.password = "secret";
    assert_ok(sp_cache_connect(server.cache, &with));
    assert_ok(sp_cache_set(server.cache, K("k"), K("v"), 0));
    with.user = "default";
    assert_ok(sp_cache_connect(server.cache, &with));
    assert_ok(sp_cache_set(server.cache, K("k"), K("v"), 0));
    cache_server_remove(&server);
}

static void test_full(void **state)
{
    (void)state;
    static const char *const options[] = {"--no-evict", "--cache", "1048576", NULL};
    static char value[2 << 20];
    struct cache_server server = {.directory = ""};
    cache_server_start(&server, options);
    cache_server_open(&server);
    assert_status(SP_ENOSPC, sp_cache_set(server.cache, K("k"), value, sizeof value, 0));
    assert_detail("OOM");
    cache_server_remove(&server);
}

static void test_restart(void **state)
{
    struct cache_server *server = *state;
    int64_t sum;
    assert_ok(sp_cache_set(server->cache, K("r"), K("0"), 0));
    for (int64_t i = 1; i <= 3; i++) {
        assert_ok(sp_cache_incr(server->cache, K("r"), 1, &sum));
        assert_int_equal(sum, 2 * i - 1);
        cache_server_end(server, i == 2 ? SIGKILL : SIGTERM);
        assert_status(SP_ENODAEMON, sp_cache_incr(server->cache, K("r"), 1, &sum));
        assert_value(server->cache, "r", i == 1 ? "1" : i == 2 ? "3" : "5");
        assert_status(SP_ENODAEMON, sp_cache_set(server->cache, K("r"), K("x"), 0));
        assert_detail(server->address);
        cache_server_start(server, NULL);
        assert_ok(sp_cache_incr(server->cache, K("r"), 1, &sum));
    }
}

/* --- false servers ---------------------------------------------------------------------------- */

struct false_server {
    struct sp_cache_options options;
    char address[128];
    int listener;
    pthread_t thread;
    const char *answer; /* sent after each request, then the connection is closed */
    atomic_int requests;
    atomic_bool stop;
};

/* Takes a connection, a request, and closes. */
static void *close_on_request(void *argument)
{
    struct false_server *server = argument;
    while (!atomic_load(&server->stop)) {
        char bytes[4096];
        struct pollfd entry = {.fd = server->listener, .events = POLLIN};
        if (poll(&entry, 1, 10) <= 0)
            continue;
        int fd = accept(server->listener, NULL, NULL);
        if (recv(fd, bytes, sizeof bytes, 0) > 0)
            atomic_fetch_add(&server->requests, 1);
        if (server->answer != NULL)
            (void)send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static void false_listen(struct false_server *server, const char *directory)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s/false", directory);
    snprintf(server->address, sizeof server->address, "unix:%s", name.sun_path);
    server->options = (struct sp_cache_options)SP_CACHE_OPTIONS_INIT;
    server->options.address = server->address;
    server->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(server->listener, 16), 0);
}

static void false_end(struct false_server *server)
{
    atomic_store(&server->stop, true);
    if (server->thread != 0)
        pthread_join(server->thread, NULL);
    close(server->listener);
    unlink(server->address + 5);
}

static void test_repetition(void **state)
{
    struct cache_server *real = *state;
    struct false_server server = {.answer = NULL};
    false_listen(&server, real->directory);
    assert_int_equal(pthread_create(&server.thread, NULL, close_on_request, &server), 0);
    assert_ok(sp_cache_connect(real->cache, &server.options));
    assert_status(SP_ENODAEMON, sp_cache_incr(real->cache, K("k"), 1, NULL));
    assert_detail("lost");
    assert_int_equal(atomic_exchange(&server.requests, 0), 1);
    assert_status(SP_ENODAEMON, sp_cache_add(real->cache, K("k"), K("v"), 0));
    assert_int_equal(atomic_exchange(&server.requests, 0), 1);
    assert_status(SP_ENODAEMON, sp_cache_set(real->cache, K("k"), K("v"), 0));
    assert_int_equal(atomic_exchange(&server.requests, 0), 2);
    assert_status(SP_ENODAEMON, sp_cache_delete(real->cache, K("k")));
    assert_int_equal(atomic_exchange(&server.requests, 0), 2);
    false_end(&server);
    assert_ok(sp_cache_connect(real->cache, NULL));
}

static void test_wrong_answers(void **state)
{
    struct cache_server *real = *state;
    static const struct {
        const char *answer;
        int status;
    } cases[] = {
        {"-ERR max number of clients reached\r\n", SP_EREFUSED},
        {":1\r\n", SP_EREFUSED},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", SP_ENODAEMON},
        {"$5\r\nab", SP_ENODAEMON},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct false_server server = {.answer = cases[i].answer};
        false_listen(&server, real->directory);
        assert_int_equal(pthread_create(&server.thread, NULL, close_on_request, &server), 0);
        assert_ok(sp_cache_connect(real->cache, &server.options));
        assert_status(cases[i].status, sp_cache_set(real->cache, K("k"), K("v"), 0));
        assert_detail(server.address);
        false_end(&server);
    }
    assert_ok(sp_cache_connect(real->cache, NULL));
}

static void test_silence(void **state)
{
    struct cache_server *real = *state;
    struct false_server server = {.answer = NULL};
    struct timespec before, after;
    static char value[4 << 20]; /* more than the socket takes */
    false_listen(&server, real->directory);
    server.options.timeout_ms = 50;
    assert_ok(sp_cache_connect(real->cache, &server.options));
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_status(SP_ETIMEDOUT, sp_cache_set(real->cache, K("k"), K("v"), 0));
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_detail("did not answer within 50 ms");
    assert_true(
        (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 49);
    assert_status(SP_ETIMEDOUT, sp_cache_set(real->cache, K("k"), value, sizeof value, 0));
    false_end(&server);
    assert_ok(sp_cache_connect(real->cache, NULL));
}

/* --- threads and forks ------------------------------------------------------------------------ */

enum { THREADS = 8, ROUNDS = 300 };

static void *count_up(void *argument)
{
    intptr_t failures = 0;
    for (int i = 0; i < ROUNDS; i++)
        if (sp_cache_incr(argument, K("sum"), 1, NULL) != SP_OK)
            failures++;
    return (void *)failures;
}

static void test_threads(void **state)
{
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    pthread_t threads[THREADS];
    int64_t sum;
    (void)sp_cache_delete(cache, K("sum"));
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, cache), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    assert_ok(sp_cache_incr(cache, K("sum"), 0, &sum));
    assert_int_equal(sum, THREADS * ROUNDS);
}

static void test_fork(void **state)
{
    struct sp_cache *cache = ((struct cache_server *)*state)->cache;
    pid_t children[THREADS];
    int64_t sum;
    (void)sp_cache_delete(cache, K("sum"));
    for (size_t i = 0; i < THREADS; i++) {
        assert_ok(sp_cache_incr(cache, K("sum"), 1, NULL));
        children[i] = fork();
        if (children[i] == 0)
            _exit(count_up(cache) != NULL);
    }
    assert_null(count_up(cache));
    for (size_t i = 0; i < THREADS; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_ok(sp_cache_incr(cache, K("sum"), 0, &sum));
    assert_int_equal(sum, THREADS + (THREADS + 1) * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),           cmocka_unit_test(test_expire),
        cmocka_unit_test(test_incr),          cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_mset),          cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_password),      cmocka_unit_test(test_full),
        cmocka_unit_test(test_restart),       cmocka_unit_test(test_repetition),
        cmocka_unit_test(test_wrong_answers), cmocka_unit_test(test_silence),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, cache_server_setup, cache_server_teardown);
}
