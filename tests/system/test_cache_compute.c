/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cache_compute.c - sp_cache_get_or_compute.
 *
 * Goal: of many processes that miss a key one computes; nobody waits for one who has died; a value
 * that is about to expire is computed by one and used by the others; nothing that happens to the
 * server is an error of the caller's.
 * Method: a real server, and processes that meet at a barrier in shared memory, count there how
 * often the value was computed, and hold the computation until the test has seen it begin.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/system/cache_server.h"

#define K(text) (text), (sizeof(text) - 1)

enum { WORKERS = 8, PATIENCE_MS = 20000 };

/* What the processes of a test share. */
struct shared {
    atomic_int computed; /* how often */
    atomic_int ready;    /* who has arrived */
    atomic_int go;
    atomic_int hold;            /* a computation lasts until this is 0 */
    atomic_int origins[4];      /* who got it from where */
    atomic_int failed, version; /* "value-VERSION" is computed */
    _Alignas(64) char torture[512];
};

struct fixture {
    struct cache_server server;
    struct shared *shared;
    struct sp_compute how;
};

static struct fixture f;

static void pause_a_moment(void)
{
    const struct timespec moment = {.tv_nsec = 500000};
    nanosleep(&moment, NULL);
}

static void await(atomic_int *number, int least)
{
    for (int i = 0; atomic_load(number) < least && i < PATIENCE_MS * 2; i++)
        pause_a_moment();
    assert_true(atomic_load(number) >= least);
}

static int put_version(void *context, struct sp_buffer *value)
{
    char text[32];
    struct shared *shared = context;
    int size = snprintf(text, sizeof text, "value-%d", atomic_load(&shared->version));
    atomic_fetch_add(&shared->computed, 1);
    while (atomic_load(&shared->hold) != 0)
        pause_a_moment();
    return sp_buffer_set(value, text, (size_t)size);
}

static int setup(void **state)
{
    (void)state;
    f.shared =
        mmap(NULL, sizeof *f.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(f.shared, 0, sizeof *f.shared);
    f.how = (struct sp_compute)SP_COMPUTE_INIT;
    f.how.compute = put_version;
    f.how.context = f.shared;
    f.how.ttl_ms = 60000;
    f.how.wait_ms = PATIENCE_MS;
    cache_server_start(&f.server, NULL);
    cache_server_open(&f.server);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cache_server_remove(&f.server);
    munmap(f.shared, sizeof *f.shared);
    return 0;
}

static void assert_detail(const char *part)
{
    if (strstr(sp_error_detail(), part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, sp_error_detail());
}

static int get(const char *key, const char *expected, enum sp_origin *origin)
{
    struct sp_buffer value = {0};
    int status = sp_cache_get_or_compute(f.server.cache, key, strlen(key), &f.how, &value, origin);
    if (status == SP_OK)
        assert_true(value.size == strlen(expected) &&
                    memcmp(value.data, expected, value.size) == 0);
    sp_buffer_free(&value);
    return status;
}

#define assert_got(key, expected, from)                                                            \
    do {                                                                                           \
        enum sp_origin origin_;                                                                    \
        assert_ok(get(key, expected, &origin_));                                                   \
        assert_int_equal(origin_, from);                                                           \
    } while (0)

/* A process that asks for the key when all are there. */
static pid_t worker(const char *key)
{
    enum sp_origin origin;
    struct sp_buffer value = {0};
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    alarm(60); /* should the test have failed */
    atomic_fetch_add(&f.shared->ready, 1);
    while (atomic_load(&f.shared->go) == 0)
        pause_a_moment();
    if (sp_cache_get_or_compute(f.server.cache, key, strlen(key), &f.how, &value, &origin) == SP_OK)
        atomic_fetch_add(&f.shared->origins[origin], 1);
    else
        atomic_fetch_add(&f.shared->failed, 1);
    _exit(0);
}

static void start_workers(const char *key, pid_t *pids, int count)
{
    atomic_store(&f.shared->ready, 0);
    for (int i = 0; i < count; i++)
        pids[i] = worker(key);
    await(&f.shared->ready, count);
    atomic_store(&f.shared->go, 1);
}

static void await_workers(const pid_t *pids, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    assert_int_equal(atomic_load(&f.shared->failed), 0);
}

/* --- one caller ------------------------------------------------------------------------------- */

static void test_alone(void **state)
{
    (void)state;
    int64_t ms;
    f.how.stale_ms = 30000;
    assert_got("k", "value-0", SP_ORIGIN_COMPUTED);
    assert_got("k", "value-0", SP_ORIGIN_CACHE);
    assert_int_equal(atomic_load(&f.shared->computed), 1);
    assert_ok(sp_cache_ttl(f.server.cache, K("k"), &ms));
    assert_in_range(ms, 80000, 90010);
    f.how.ttl_ms = 0;
    assert_got("for ever", "value-0", SP_ORIGIN_COMPUTED);
    assert_ok(sp_cache_ttl(f.server.cache, K("for ever"), &ms));
    assert_int_equal(ms, -1);
    assert_got("for ever", "value-0", SP_ORIGIN_CACHE);
    f.how.ttl_ms = -1;
    assert_status(SP_EINVAL, get("k", "", NULL));
    f.how.ttl_ms = 1;
    f.how.compute = NULL;
    assert_status(SP_EINVAL, get("k", "", NULL));
}

static int put_large(void *context, struct sp_buffer *value)
{
    const size_t size = 300000;
    (void)context;
    int status = sp_buffer_reserve(value, size);
    if (status == SP_OK)
        memset(value->data, 'x', value->size = size);
    return status;
}

static void test_large(void **state)
{
    (void)state;
    struct sp_buffer value = {0};
    f.how.compute = put_large;
    for (int i = 0; i < 3; i++) {
        enum sp_origin origin;
        assert_ok(sp_cache_get_or_compute(f.server.cache, K("k"), &f.how, &value, &origin));
        assert_int_equal(origin, i == 0 ? SP_ORIGIN_COMPUTED : SP_ORIGIN_CACHE);
        assert_int_equal(value.size, 300000);
        assert_int_equal(((char *)value.data)[299999], 'x');
        if (i == 1)
            sp_buffer_free(&value);
    }
    sp_buffer_free(&value);
}

static int give_up(void *context, struct sp_buffer *value)
{
    (void)context, (void)value;
    return -4242;
}

static void test_failure(void **state)
{
    (void)state;
    struct sp_compute good = f.how;
    f.how.compute = give_up;
    assert_int_equal(get("k", "", NULL), -4242);
    assert_status(SP_ENOTFOUND, sp_cache_exists(f.server.cache, K("k")));
    f.how = good; /* at once: the lease was given back */
    assert_got("k", "value-0", SP_ORIGIN_COMPUTED);
}

/* Uses the cache, and asks for another key in the same way. */
static int put_sum(void *context, struct sp_buffer *value)
{
    (void)context;
    if (sp_cache_incr(f.server.cache, K("inner"), 1, NULL) != SP_OK)
        return SP_ECORRUPT;
    f.how.compute = put_version;
    return sp_cache_get_or_compute(f.server.cache, K("other"), &f.how, value, NULL);
}

static void test_nested(void **state)
{
    (void)state;
    f.how.compute = put_sum;
    assert_got("outer", "value-0", SP_ORIGIN_COMPUTED);
    assert_got("other", "value-0", SP_ORIGIN_CACHE);
    assert_got("outer", "value-0", SP_ORIGIN_CACHE);
}

/* Somebody puts the key in while it is being computed. */
static int put_overtaken(void *context, struct sp_buffer *value)
{
    (void)context;
    int status = sp_cache_set(f.server.cache, K("k"), K("newer"), 0);
    return status == SP_OK ? sp_buffer_set(value, K("older")) : status;
}

static void test_overtaken(void **state)
{
    (void)state;
    f.how.compute = put_overtaken;
    assert_got("k", "older", SP_ORIGIN_UNSTORED);
    assert_detail("written or deleted");
    assert_got("k", "newer", SP_ORIGIN_CACHE);
}

/* What is computed from may have changed: so the key is deleted, though it does not exist. */
static int put_invalidated(void *context, struct sp_buffer *value)
{
    (void)context;
    assert_status(SP_ENOTFOUND, sp_cache_delete(f.server.cache, K("k")));
    return sp_buffer_set(value, K("older"));
}

static void test_invalidated(void **state)
{
    (void)state;
    f.how.compute = put_invalidated;
    assert_got("k", "older", SP_ORIGIN_UNSTORED);
    assert_detail("written or deleted");
    assert_status(SP_ENOTFOUND, sp_cache_exists(f.server.cache, K("k")));
}

/* --- many ------------------------------------------------------------------------------------- */

static void test_single_flight(void **state)
{
    (void)state;
    pid_t pids[WORKERS];
    atomic_store(&f.shared->hold, 1);
    start_workers("k", pids, WORKERS);
    await(&f.shared->computed, 1);
    atomic_store(&f.shared->hold, 0);
    await_workers(pids, WORKERS);
    assert_int_equal(atomic_load(&f.shared->computed), 1);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_COMPUTED]), 1);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_CACHE]), WORKERS - 1);
}

static void *thread_gets(void *argument)
{
    enum sp_origin origin = SP_ORIGIN_UNSTORED;
    assert_ok(get(argument, "value-0", &origin));
    atomic_fetch_add(&f.shared->origins[origin], 1);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[WORKERS];
    atomic_store(&f.shared->hold, 1);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_gets, (void *)"k"), 0);
    await(&f.shared->computed, 1);
    atomic_store(&f.shared->hold, 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&f.shared->computed), 1);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_CACHE]), WORKERS - 1);
}

static void test_stale(void **state)
{
    (void)state;
    pid_t pid;
    int64_t ms = INT64_MAX;
    f.how.ttl_ms = 1;
    f.how.stale_ms = 600000;
    assert_got("k", "value-0", SP_ORIGIN_COMPUTED);
    while (ms >= f.how.stale_ms) {
        pause_a_moment();
        assert_ok(sp_cache_ttl(f.server.cache, K("k"), &ms));
    }
    atomic_store(&f.shared->hold, 1);
    atomic_store(&f.shared->version, 1);
    start_workers("k", &pid, 1);
    await(&f.shared->computed, 2);
    for (int i = 0; i < 3; i++)
        assert_got("k", "value-0", SP_ORIGIN_STALE);
    f.how.ttl_ms = 60000;
    atomic_store(&f.shared->hold, 0);
    await_workers(&pid, 1);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_COMPUTED]), 1);
    assert_int_equal(atomic_load(&f.shared->computed), 2);
    cache_server_end(&f.server, SIGTERM);
    f.how.stale_ms = 3600000; /* what there is counts as stale now; nobody can say who computes */
    assert_got("k", "value-1", SP_ORIGIN_STALE);
}

static void test_death(void **state)
{
    (void)state;
    pid_t dies, pids[WORKERS];
    atomic_store(&f.shared->hold, 1);
    start_workers("k", &dies, 1);
    await(&f.shared->computed, 1);
    start_workers("k", pids, WORKERS);
    kill(dies, SIGKILL);
    waitpid(dies, NULL, 0);
    await(&f.shared->computed, 2);
    atomic_store(&f.shared->hold, 0);
    await_workers(pids, WORKERS);
    assert_int_equal(atomic_load(&f.shared->computed), 2);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_COMPUTED]), 1);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_CACHE]), WORKERS - 1);
}

/* Forks while it computes; the child lives on when its parent has died. */
static int put_from_parent(void *context, struct sp_buffer *value)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        while (atomic_load(&f.shared->version) < 2)
            pause_a_moment();
        _exit(0);
    }
    return put_version(context, value);
}

static void test_death_with_child(void **state)
{
    (void)state;
    pid_t pid;
    struct sp_compute plain = f.how;
    f.how.compute = put_from_parent;
    atomic_store(&f.shared->hold, 1);
    start_workers("k", &pid, 1);
    await(&f.shared->computed, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    atomic_store(&f.shared->hold, 0);
    f.how = plain;
    assert_got("k", "value-0", SP_ORIGIN_COMPUTED);
    atomic_store(&f.shared->version, 2);
}

static void test_waited_in_vain(void **state)
{
    (void)state;
    pid_t pid;
    atomic_store(&f.shared->hold, 1);
    start_workers("k", &pid, 1);
    await(&f.shared->computed, 1);
    f.how.wait_ms = 50;
    f.how.compute = put_large;
    struct sp_buffer value = {0};
    enum sp_origin origin;
    assert_ok(sp_cache_get_or_compute(f.server.cache, K("k"), &f.how, &value, &origin));
    assert_int_equal(origin, SP_ORIGIN_UNSTORED);
    assert_detail("in vain");
    sp_buffer_free(&value);
    atomic_store(&f.shared->hold, 0);
    await_workers(&pid, 1);
    assert_int_equal(atomic_load(&f.shared->origins[SP_ORIGIN_COMPUTED]), 1);
}

static bool never(void *context)
{
    (void)context;
    return false;
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void test_canceled(void **state)
{
    (void)state;
    pid_t pid;
    struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval soon = {.it_value = {.tv_usec = 50000},
                                   .it_interval = {.tv_usec = 50000}};
    const struct itimerval off = {.it_value = {.tv_usec = 0}};
    atomic_store(&f.shared->hold, 1);
    start_workers("k", &pid, 1);
    await(&f.shared->computed, 1);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    f.how.go_on = never;
    assert_status(SP_ECANCELED, get("k", "", NULL));
    setitimer(ITIMER_REAL, &off, NULL);
    atomic_store(&f.shared->hold, 0);
    await_workers(&pid, 1);
}

/* --- the server goes away --------------------------------------------------------------------- */

static void test_no_server(void **state)
{
    (void)state;
    cache_server_end(&f.server, SIGTERM);
    assert_got("k", "value-0", SP_ORIGIN_UNSTORED);
    assert_detail("cannot connect");
    assert_got("k", "value-0", SP_ORIGIN_UNSTORED);
    cache_server_start(&f.server, NULL);
    assert_got("k", "value-0", SP_ORIGIN_COMPUTED);
    assert_got("k", "value-0", SP_ORIGIN_CACHE);
}

static int put_over_restart(void *context, struct sp_buffer *value)
{
    cache_server_end(&f.server, SIGKILL);
    cache_server_start(&f.server, NULL);
    return put_version(context, value);
}

static void test_restart(void **state)
{
    (void)state;
    struct sp_compute plain = f.how;
    f.how.compute = put_over_restart;
    assert_got("k", "value-0", SP_ORIGIN_UNSTORED);
    f.how = plain;
    assert_got("k", "value-0", SP_ORIGIN_COMPUTED);
}

static void test_restart_while_waiting(void **state)
{
    (void)state;
    pid_t pids[WORKERS];
    atomic_store(&f.shared->hold, 1);
    start_workers("k", pids, WORKERS);
    await(&f.shared->computed, 1);
    cache_server_end(&f.server, SIGKILL);
    cache_server_start(&f.server, NULL);
    atomic_store(&f.shared->hold, 0);
    await_workers(pids, WORKERS); /* each has the value, stored or not */
    assert_ok(get("k", "value-0", NULL));
    assert_got("k", "value-0", SP_ORIGIN_CACHE);
}

/* --- all at once ------------------------------------------------------------------------------ */

enum { TORTURERS = 5, KEYS = 4 };

/* Who computes which key, as 1 + the number of his life. Lives are numbered by who lives them:
 * life % TORTURERS, and lives[] has the one that each is in. */
struct torture {
    atomic_int computing[KEYS];
    atomic_int lives[TORTURERS];
    atomic_int twice, wrong, calls, computed;
    int life, key;
    uint64_t random;
};

static uint64_t draw(struct torture *torture, uint64_t below)
{
    torture->random = torture->random * 6364136223846793005u + 1442695040888963407u;
    return (torture->random >> 33) % below;
}

static bool is_over(struct torture *all, int life)
{
    return atomic_load(&all->lives[life % TORTURERS]) != life;
}

static int put_tortured(void *context, struct sp_buffer *value)
{
    struct torture *own = context, *all = (struct torture *)f.shared->torture;
    atomic_int *who = &all->computing[own->key];
    char text[16];
    int mine = own->life + 1, other = atomic_exchange(who, mine);
    if (other != 0 && !is_over(all, other - 1))
        atomic_fetch_add(&all->twice, 1);
    atomic_fetch_add(&all->computed, 1);
    if (draw(own, 4) == 0)
        pause_a_moment();
    atomic_compare_exchange_strong(who, &mine, 0);
    if (draw(own, 10) == 0)
        return -1;
    int size = snprintf(text, sizeof text, "of-%d", own->key);
    return sp_buffer_set(value, text, (size_t)size);
}

static void torture_once(struct torture *own, struct torture *all, struct sp_buffer *value)
{
    char key[16], expected[16];
    own->key = (int)draw(own, KEYS);
    snprintf(key, sizeof key, "t%d", own->key);
    snprintf(expected, sizeof expected, "of-%d", own->key);
    f.how.ttl_ms = 1 + (int64_t)draw(own, 5);
    f.how.stale_ms = (int64_t)draw(own, 2) * 20;
    int status = sp_cache_get_or_compute(f.server.cache, key, strlen(key), &f.how, value, NULL);
    bool right = status == SP_OK ? value->size == strlen(expected) &&
                                       memcmp(value->data, expected, value->size) == 0
                                 : status == -1;
    if (!right)
        atomic_fetch_add(&all->wrong, 1);
    atomic_fetch_add(&all->calls, 1);
}

static pid_t torturer(int life, uint64_t seed)
{
    struct torture *all = (struct torture *)f.shared->torture;
    struct torture own = {.life = life, .random = seed};
    struct sp_buffer value = {0};
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    alarm(120);
    f.how.compute = put_tortured;
    f.how.context = &own;
    for (;;)
        torture_once(&own, all, &value);
}

/* Returns the next one's number. That this one is over is said before it is. */
static int end_life(struct torture *all, int who, pid_t pid)
{
    int next = atomic_fetch_add(&all->lives[who], TORTURERS) + TORTURERS;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return next;
}

/* Processes that ask, compute, fail and are killed. No two compute a key at one time. */
static void test_torture(void **state)
{
    (void)state;
    const char *given = getenv("SIDEPOND_SEED");
    struct torture *all = (struct torture *)f.shared->torture;
    struct torture chance = {.random = given != NULL ? strtoull(given, NULL, 10)
                                                     : (uint64_t)time(NULL) ^ (uint64_t)getpid()};
    const int kills = getenv("SIDEPOND_LONG") != NULL ? 5000 : 100;
    pid_t pids[TORTURERS];
    print_message("seed %llu\n", (unsigned long long)chance.random);
    for (int i = 0; i < TORTURERS; i++) {
        atomic_store(&all->lives[i], i);
        pids[i] = torturer(i, draw(&chance, UINT32_MAX));
    }
    for (int i = 0; i < kills; i++) {
        int who = (int)draw(&chance, TORTURERS), before = atomic_load(&all->computed);
        await(&all->computed, before + (int)draw(&chance, 30));
        pids[who] = torturer(end_life(all, who, pids[who]), draw(&chance, UINT32_MAX));
    }
    for (int i = 0; i < TORTURERS; i++)
        (void)end_life(all, i, pids[i]);
    print_message("%d calls, %d computed, %d killed\n", atomic_load(&all->calls),
                  atomic_load(&all->computed), kills);
    assert_int_equal(atomic_load(&all->twice), 0);
    assert_int_equal(atomic_load(&all->wrong), 0);
    assert_true(atomic_load(&all->computed) > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_alone),
        TEST(test_large),
        TEST(test_failure),
        TEST(test_nested),
        TEST(test_overtaken),
        TEST(test_invalidated),
        TEST(test_single_flight),
        TEST(test_threads),
        TEST(test_stale),
        TEST(test_death),
        TEST(test_death_with_child),
        TEST(test_canceled),
        TEST(test_waited_in_vain),
        TEST(test_no_server),
        TEST(test_restart),
        TEST(test_restart_while_waiting),
        TEST(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
