/* SPDX-License-Identifier: Apache-2.0
 *
 * test_net_rules.c - Goal: limits on clients, input, output and time are kept, with no harm to who
 * keeps to them; posts, listeners, certificates and the stop work while clients are connected.
 * Method: as in test_net.c. Times are bounded from below by the rule and from above generously, as
 * the machine may be busy.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net_fixture.h"
#include "server/log/log.h"

#define FULL_TEXT "-ERR there are too many\r\n"

/* --- output ----------------------------------------------------------------------------------- */

/* Each 'x' brings 64 KiB, 'l' a limit for this connection alone; anything else comes back. */
static size_t swell(struct session *session, uint8_t *bytes, size_t size)
{
    static const struct net_output_limits own = {.bytes_max = 1 << 20};
    struct buffer *out = net_output(session->connection);
    char block[64 << 10] = {0};
    for (size_t i = 0; i < size; i++) {
        if (net_output_pressed(session->connection))
            return i;
        if (bytes[i] == 'l')
            net_limit_output(session->connection, &own);
        if (bytes[i] == 'x')
            buffer_append(out, block, sizeof(block));
        else
            buffer_append(out, bytes + i, 1);
    }
    return size;
}

static void ask_for_blocks(const struct client *client, unsigned blocks)
{
    char request[1024];
    memset(request, 'x', sizeof(request));
    say(client, request, blocks);
}

static void hear_blocks(const struct client *client, unsigned blocks)
{
    char block[64 << 10];
    while (blocks-- > 0)
        hear(client, block, sizeof(block));
}

static void test_output_hard(void **state)
{
    struct net_up up = NET_UP_INIT;
    (void)state;
    f.input = swell;
    up.unix_too = true;
    up.limits.output.bytes_max = 2 << 20;
    net_up(&up);
    struct client slow = client_at(f.unix_at), other = client_at(f.unix_at);
    ask_for_blocks(&other, 20); /* 1.25 MiB */
    ask_for_blocks(&slow, 500);
    AWAIT(stats().dropped[NET_DROP_OUTPUT_HARD] == 1);
    hear_blocks(&other, 20);
    round_trip(&other, "goes on");
    assert_int_equal(stats().connections, 1);
    round_trip(&other, "l");
    ask_for_blocks(&other, 30);
    AWAIT(stats().dropped[NET_DROP_OUTPUT_HARD] == 2);
    hang_up(&slow);
    hang_up(&other);
    net_down(1000);
}

static void test_output_soft(void **state)
{
    struct net_up up = NET_UP_INIT;
    (void)state;
    f.input = swell;
    up.unix_too = true;
    up.limits.output = (struct net_output_limits){.soft_bytes = 1 << 20, .soft_ms = 400};
    net_up(&up);
    struct client slow = client_at(f.unix_at), other = client_at(f.unix_at),
                  little = client_at(f.unix_at);
    uint64_t since = now_ms();
    ask_for_blocks(&little, 12); /* waits for ever, and is below the limit */
    ask_for_blocks(&slow, 100);
    ask_for_blocks(&other, 100);
    hear_blocks(&other, 100);
    AWAIT(stats().dropped[NET_DROP_OUTPUT_SOFT] == 1);
    assert_true(now_ms() - since >= 390);
    round_trip(&other, "goes on");
    hear_blocks(&little, 12);
    round_trip(&little, "goes on");
    hang_up(&slow);
    hang_up(&other);
    hang_up(&little);
    net_down(1000);
}

/* --- input and clients ------------------------------------------------------------------------ */

static size_t consume_nothing(struct session *session, uint8_t *bytes, size_t size)
{
    (void)session;
    (void)bytes;
    (void)size;
    return 0;
}

static void test_query_max(void **state)
{
    struct net_up up = NET_UP_INIT;
    char bytes[1000] = {0};
    (void)state;
    f.input = consume_nothing;
    up.limits.query_bytes_max = 100000;
    net_up(&up);
    struct client client = client_at(TCP_AT);
    for (unsigned i = 0; i < 100; i++)
        say(&client, bytes, sizeof(bytes));
    AWAIT(stats().bytes_in == 100000);
    assert_int_equal(f.closed, 0);
    say(&client, bytes, 1);
    AWAIT(f.closed == 1);
    assert_int_equal(stats().dropped[NET_DROP_QUERY], 1);
    assert_true(is_end(&client));
    hang_up(&client);
    net_down(1000);
}

#define QUERY_TEXT "too long\r\n"

static void test_query_max_says_so(void **state)
{
    struct net_up up = NET_UP_INIT;
    char bytes[1001] = {0}, text[sizeof(QUERY_TEXT) - 1];
    (void)state;
    f.input = consume_nothing;
    up.limits.query_bytes_max = 1000;
    up.query_text = QUERY_TEXT;
    net_up(&up);
    struct client client = client_at(TCP_AT);
    say(&client, bytes, sizeof(bytes));
    hear(&client, text, sizeof(text));
    assert_memory_equal(text, QUERY_TEXT, sizeof(text));
    assert_true(is_end(&client));
    AWAIT(f.closed == 1);
    assert_int_equal(stats().dropped[NET_DROP_QUERY], 1);
    hang_up(&client);
    net_down(1000);
}

/* As many as the process may have in any case are possible, and more than a process can have not.
 */
static void test_clients_possible(void **state)
{
    struct rlimit before, after;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(net_clients_possible(10), 10);
    uint32_t most = net_clients_possible(UINT32_MAX);
    assert_true(most < UINT32_MAX);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
    assert_int_equal(after.rlim_cur, before.rlim_max);
    assert_int_equal(net_clients_possible(most), most);
    assert_int_equal(net_clients_possible(most + 1), most);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void expect_full(void)
{
    char text[sizeof(FULL_TEXT) - 1];
    struct client client = client_without_tls(TCP_AT);
    hear(&client, text, sizeof(text));
    assert_memory_equal(text, FULL_TEXT, sizeof(text));
    assert_true(is_end(&client));
    hang_up(&client);
}

static void test_clients_max(void **state)
{
    struct net_up up = NET_UP_INIT;
    struct client clients[4];
    (void)state;
    up.threads = 2;
    up.limits.clients_max = 3;
    up.full_text = FULL_TEXT;
    net_up(&up);
    for (unsigned i = 0; i < 3; i++) {
        clients[i] = client_at(TCP_AT);
        round_trip(&clients[i], "hello");
    }
    expect_full();
    expect_full();
    assert_int_equal(stats().rejected, 2);
    hang_up(&clients[0]);
    AWAIT(stats().connections == 2);
    clients[0] = client_at(TCP_AT);
    round_trip(&clients[0], "hello");
    expect_full();
    up.limits.clients_max = 4;
    net_set_limits(f.net, &up.limits);
    clients[3] = client_at(TCP_AT);
    for (unsigned i = 0; i < 4; i++) {
        round_trip(&clients[i], "hello");
        hang_up(&clients[i]);
    }
    assert_int_equal(stats().accepted, 5);
    net_down(1000);
}

/* --- time ------------------------------------------------------------------------------------- */

static size_t by_letter(struct session *session, uint8_t *bytes, size_t size)
{
    if (bytes[0] == 'p')
        net_pause(session->connection);
    if (bytes[0] == 'n')
        net_never_idle(session->connection, true);
    return bytes[0] == 'p' ? size : echo(session, bytes, size);
}

static void resume(void *session)
{
    net_resume(((struct session *)session)->connection);
}

/* Who waits is not idle; and when the waiting is over the time begins anew. */
static void test_idle(void **state)
{
    struct net_up up = NET_UP_INIT;
    (void)state;
    f.input = by_letter;
    up.limits.idle_ms = 400;
    net_up(&up);
    struct client never = client_at(TCP_AT);
    round_trip(&never, "n");
    struct client waiting = client_at(TCP_AT);
    say(&waiting, "p", 1);
    AWAIT(f.inputs == 2);
    struct session *waiter = f.last;
    struct client silent = client_at(TCP_AT), talking = client_at(TCP_AT);
    uint64_t since = now_ms();
    while (f.closed == 0 && now_ms() - since < AWAIT_MS) {
        round_trip(&talking, "x");
        turn();
    }
    assert_in_range(now_ms() - since, 400, 2000);
    assert_true(is_end(&silent));
    assert_int_equal(stats().dropped[NET_DROP_IDLE], 1);
    since = now_ms();
    on_thread_of(waiter, resume);
    while (now_ms() - since < 250) {
        round_trip(&talking, "x");
        turn();
    }
    round_trip(&waiting, "x");
    round_trip(&never, "x");
    assert_int_equal(f.closed, 1);
    hang_up(&never);
    hang_up(&waiting);
    hang_up(&silent);
    hang_up(&talking);
    net_down(1000);
}

static void test_handshake(void **state)
{
    /* a record that announces 512 bytes of a ClientHello */
    static const char begun[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    struct net_up up = NET_UP_INIT;
    (void)state;
    up.tls_too = true;
    up.limits.handshake_ms = 400;
    net_up(&up);
    struct client good = client_at(TLS_AT), garbage = client_without_tls(TLS_AT);
    say(&garbage, "PING\r\nPING\r\n", 12);
    AWAIT(stats().dropped[NET_DROP_HANDSHAKE] == 1);
    uint64_t since = now_ms();
    struct client silent = client_without_tls(TLS_AT), half = client_without_tls(TLS_AT);
    say(&half, begun, sizeof(begun) - 1);
    AWAIT(stats().dropped[NET_DROP_HANDSHAKE] == 3);
    assert_in_range(now_ms() - since, 400, 2000);
    assert_true(is_end(&silent));
    assert_true(is_end(&half));
    round_trip(&good, "hello");
    assert_int_equal(f.opened, 1);
    hang_up(&good);
    hang_up(&garbage);
    hang_up(&silent);
    hang_up(&half);
    net_down(1000);
}

/* --- many ------------------------------------------------------------------------------------- */

static atomic_bool is_storm_over;

static void *storm(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 2000; i++) {
        struct client client = client_without_tls(TCP_AT);
        hang_up(&client);
    }
    atomic_store(&is_storm_over, true);
    return NULL;
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_storm(void **state)
{
    struct net_up up = NET_UP_INIT;
    pthread_t thread;
    uint64_t worst_us = 0, total_us = 0, count = 0;
    (void)state;
    up.threads = 2;
    net_up(&up);
    struct client client = client_at(TCP_AT);
    round_trip(&client, "hello");
    is_storm_over = false;
    assert_int_equal(pthread_create(&thread, NULL, storm, NULL), 0);
    for (; !is_storm_over; count++) {
        uint64_t since = now_us();
        round_trip(&client, "x");
        uint64_t took = now_us() - since;
        worst_us = took > worst_us ? took : worst_us;
        total_us += took;
    }
    pthread_join(thread, NULL);
    AWAIT(f.closed == 2000);
    assert_int_equal(stats().accepted, 2001);
    print_message("%llu round trips during the storm: mean %llu us, worst %llu us\n",
                  (unsigned long long)count, (unsigned long long)(total_us / count),
                  (unsigned long long)worst_us);
    assert_in_range(total_us / count, 0, 1000000);
    assert_in_range(worst_us, 0, 10000000);
    hang_up(&client);
    net_down(1000);
}

static void test_balance(void **state)
{
    struct net_up up = NET_UP_INIT;
    struct client clients[300];
    (void)state;
    up.threads = 3;
    net_up(&up);
    for (unsigned i = 0; i < 300; i++)
        clients[i] = client_at(TCP_AT);
    AWAIT(f.opened == 300);
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(f.balance[i], 90, 110);
    for (unsigned i = 0; i < 300; i += 2)
        hang_up(&clients[i]);
    AWAIT(f.closed == 150);
    for (unsigned i = 0; i < 300; i += 2)
        clients[i] = client_at(TCP_AT);
    AWAIT(f.opened == 450);
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(f.balance[i], 90, 110);
    for (unsigned i = 0; i < 300; i++)
        hang_up(&clients[i]);
    net_down(1000);
}

/* --- posts ------------------------------------------------------------------------------------ */

enum { POSTERS = 4, POSTS = 5000 };

struct parcel {
    _Atomic unsigned runs;
    unsigned poster, thread, number; /* number: of this poster's to this thread */
};
static struct parcel parcels[POSTERS][POSTS];
static unsigned next_number[POSTERS][3]; /* of the thread alone */
static _Atomic unsigned out_of_order;

static void run_parcel(void *argument)
{
    struct parcel *parcel = argument;
    atomic_fetch_add(&parcel->runs, 1);
    if (next_number[parcel->poster][parcel->thread]++ != parcel->number)
        atomic_fetch_add(&out_of_order, 1);
}

static void *post_all(void *argument)
{
    struct parcel *mine = argument;
    unsigned poster = (unsigned)(mine - parcels[0]) / POSTS;
    for (unsigned i = 0; i < POSTS; i++) {
        mine[i] = (struct parcel){.poster = poster, .thread = i % 3, .number = i / 3};
        if (net_post(f.net, i % 3, run_parcel, &mine[i]) != SP_OK)
            atomic_fetch_add(&out_of_order, 1);
    }
    return NULL;
}

/* The server is stopped as soon as the last is posted: all are run. */
static void test_posts(void **state)
{
    struct net_up up = NET_UP_INIT;
    pthread_t threads[POSTERS];
    (void)state;
    up.threads = 3;
    net_up(&up);
    assert_int_equal(net_threads(f.net), 3);
    assert_int_equal(net_post(f.net, 3, run_parcel, NULL), SP_EINVAL);
    memset(next_number, 0, sizeof(next_number));
    out_of_order = 0;
    for (unsigned i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, parcels[i]), 0);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    net_down(1000);
    for (unsigned i = 0; i < POSTERS; i++) {
        for (unsigned n = 0; n < POSTS; n++)
            assert_int_equal(parcels[i][n].runs, 1);
    }
    assert_int_equal(out_of_order, 0);
}

static _Atomic uint64_t relays_posted, relays_run, relays_refused;

/* Goes from thread to thread until there is one that has ended. */
static void relay(void *argument)
{
    unsigned next = (unsigned)(uintptr_t)argument;
    atomic_fetch_add(&relays_run, 1);
    int status = net_post(f.net, next, relay, (void *)(uintptr_t)((next + 1) % 3));
    atomic_fetch_add(status == SP_OK ? &relays_posted : &relays_refused, 1);
}

/* I/O threads post to each other while they end, one before the other. */
static void test_posts_while_stopping(void **state)
{
    struct net_up up = NET_UP_INIT;
    (void)state;
    up.threads = 3;
    for (unsigned round = 0; round < 50; round++) {
        net_up(&up);
        relays_posted = relays_run = relays_refused = 0;
        for (unsigned i = 0; i < 12; i++) {
            atomic_fetch_add(&relays_posted, 1);
            assert_int_equal(net_post(f.net, i % 3, relay, (void *)(uintptr_t)((i + 1) % 3)),
                             SP_OK);
        }
        AWAIT(relays_run > 100);
        net_stop(f.net, 1000);
        assert_int_equal(relays_run, relays_posted);
        assert_int_equal(relays_refused, 12);
        f.net = NULL;
    }
}

/* --- listeners -------------------------------------------------------------------------------- */

static int add(const char *address, char *why)
{
    const struct net_listen listen_at = {.address = address};
    return net_listen_add(f.net, &listen_at, why);
}

static void test_listeners_come_and_go(void **state)
{
    struct net_up up = NET_UP_INIT;
    char why[NET_WHY_BYTES], again[NET_ADDRESS_BYTES];
    struct stat status;
    (void)state;
    net_up(&up);
    struct client first = client_at(TCP_AT);
    round_trip(&first, "hello");
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(add(f.unix_at, why), SP_OK);
        assert_int_equal(add(f.unix_at, why), SP_EEXISTS);
        struct client client = client_at(f.unix_at);
        round_trip(&client, "hello");
        assert_int_equal(net_listen_remove(f.net, f.unix_at), SP_OK);
        assert_int_equal(net_listen_remove(f.net, f.unix_at), SP_ENOTFOUND);
        assert_int_equal(stat(f.unix_path, &status), -1);
        round_trip(&client, "still there");
        round_trip(&first, "still there");
        hang_up(&client);
    }
    snprintf(again, sizeof(again), "127.0.0.1:%u", net_port(f.net, TCP_AT));
    assert_int_equal(add(again, why), SP_EBUSY);
    assert_non_null(strstr(why, again));
    assert_int_equal(net_listen_remove(f.net, TCP_AT), SP_OK);
    assert_int_equal(add(again, why), SP_OK); /* the address is free at once */
    assert_int_equal(net_port(f.net, TCP_AT), 0);
    assert_int_equal(net_port(f.net, again), strtoul(strrchr(again, ':') + 1, NULL, 10));
    round_trip(&first, "still there");
    hang_up(&first);
    net_down(1000);
}

static void *add_and_remove(void *argument)
{
    char why[NET_WHY_BYTES];
    (void)argument;
    for (unsigned i = 0; i < 300; i++) {
        add("127.0.0.3:0", why);
        net_listen_remove(f.net, "127.0.0.3:0");
    }
    return NULL;
}

/* One may remove what another is just adding: it was freed once while thread 0 was to begin it. */
static void test_listeners_by_two(void **state)
{
    struct net_up up = NET_UP_INIT;
    pthread_t threads[3];
    (void)state;
    net_up(&up);
    struct client client = client_at(TCP_AT);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_remove, NULL), 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(net_listen_remove(f.net, "127.0.0.3:0"), SP_ENOTFOUND);
    round_trip(&client, "hello");
    hang_up(&client);
    net_down(1000);
}

static void test_bad_addresses(void **state)
{
    static const char *const bad[] = {"", "127.0.0.1", ":1", "unix:", "[::1]", "127.0.0.1:x"};
    struct net_up up = NET_UP_INIT;
    char why[NET_WHY_BYTES];
    (void)state;
    net_up(&up);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(add(bad[i], why), SP_EINVAL);
    const struct net_listen tls = {.address = TLS_AT, .tls = true};
    assert_int_equal(net_listen_add(f.net, &tls, why), SP_EINVAL);
    net_down(1000);
    assert_true(net_address_is_local("127.0.0.1:1") && net_address_is_local("[::1]:1") &&
                net_address_is_local("unix:/tmp/x"));
    assert_false(net_address_is_local("0.0.0.0:1") || net_address_is_local("[::]:1") ||
                 net_address_is_local("nonsense"));
}

static void *refuse_all(void *context, struct net_connection *connection)
{
    (void)context;
    (void)connection;
    return NULL;
}

static size_t never_shown(void *session, uint8_t *bytes, size_t size)
{
    (void)session;
    (void)bytes;
    return size;
}

/* A start that fails leaves nothing: neither threads nor descriptors nor the first socket's file.
 */
static void test_start_fails(void **state)
{
    struct net_up up = NET_UP_INIT;
    struct net_handler handler = {.opened = refuse_all, .input = never_shown};
    struct net *second = NULL;
    char why[NET_WHY_BYTES], taken[NET_ADDRESS_BYTES];
    struct stat status;
    (void)state;
    net_up(&up);
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", net_port(f.net, TCP_AT));
    const struct net_listen listens[] = {{.address = f.unix_at}, {.address = taken}};
    struct net_options options = {
        .threads = 3, .limits = NET_LIMITS_INIT, .listens = listens, .listens_count = 2};
    assert_int_equal(net_start(&options, &handler, &second, why), SP_EBUSY);
    assert_non_null(strstr(why, taken));
    assert_int_equal(stat(f.unix_path, &status), -1);
    options.threads = NET_THREADS_MAX + 1;
    assert_int_equal(net_start(&options, &handler, &second, why), SP_EINVAL);
    options.threads = 1;
    options.listens_count = 1;
    struct net_tls tls = tls_of("nowhere", "key");
    options.tls = &tls;
    assert_int_equal(net_start(&options, &handler, &second, why), SP_EINVAL);
    assert_non_null(strstr(why, "/nowhere"));
    options.tls = NULL;
    assert_int_equal(net_start(&options, &handler, &second, why), SP_OK);
    struct client client = client_unix(f.unix_path);
    assert_true(is_end(&client)); /* the handler refused it */
    hang_up(&client);
    net_stop(second, 1000);
    net_stop(NULL, 1000);
    net_down(1000);
}

static void test_stale_socket(void **state)
{
    struct net_up up = NET_UP_INIT;
    char why[NET_WHY_BYTES];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    (void)state;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f.unix_path);
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(other, 1), 0);
    net_up(&up);
    assert_int_equal(add(f.unix_at, why), SP_EBUSY); /* it lives */
    struct client living = client_unix(f.unix_path);
    hang_up(&living);
    close(other);
    f.fds_before--;
    assert_int_equal(add(f.unix_at, why), SP_OK); /* it is stale */
    assert_int_equal(stat(f.unix_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    struct client client = client_at(f.unix_at);
    round_trip(&client, "hello");
    hang_up(&client);
    net_down(1000);
    assert_int_equal(stat(f.unix_path, &status), -1);
}

/* What is no socket is nobody's to remove; and a socket that another has put there is his. */
static void test_foreign_files(void **state)
{
    struct net_up up = NET_UP_INIT;
    char why[NET_WHY_BYTES];
    struct stat status;
    (void)state;
    FILE *file = fopen(f.unix_path, "w");
    assert_int_equal(fclose(file), 0);
    net_up(&up);
    assert_int_equal(add(f.unix_at, why), SP_EBUSY);
    assert_int_equal(stat(f.unix_path, &status), 0);
    assert_int_equal(unlink(f.unix_path), 0);
    assert_int_equal(add(f.unix_at, why), SP_OK);
    assert_int_equal(unlink(f.unix_path), 0);
    file = fopen(f.unix_path, "w");
    assert_int_equal(fclose(file), 0);
    net_down(1000);
    assert_int_equal(stat(f.unix_path, &status), 0);
    assert_int_equal(unlink(f.unix_path), 0);
}

/* Where there are no descriptors left a client is turned away and not left waiting; when there are
 * some again, listening goes on. */
static void test_no_descriptors(void **state)
{
    enum { MOST = 256 };
    struct net_up up = NET_UP_INIT;
    struct rlimit before, few = {.rlim_cur = MOST, .rlim_max = MOST};
    int taken[MOST], count = 0, fd;
    (void)state;
    assert_int_equal(log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_ERR), SP_OK);
    net_up(&up);
    struct client client = client_at(TCP_AT);
    round_trip(&client, "hello");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)net_port(f.net, TCP_AT)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct client refused = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < MOST && (fd = dup(client.fd)) >= 0)
        taken[count++] = fd;
    assert_int_equal(connect(refused.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_true(is_end(&refused));
    assert_int_equal(stats().accept_errors, 1);
    round_trip(&client, "goes on");
    while (count > 0)
        close(taken[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    struct client next = client_at(TCP_AT);
    round_trip(&next, "hello");
    hang_up(&client);
    hang_up(&next);
    hang_up(&refused);
    net_down(1000);
}

/* --- certificates ----------------------------------------------------------------------------- */

static void expect_certificate(const char *common_name)
{
    char name[64];
    struct client client = client_at(TLS_AT);
    client_common_name(&client, name, sizeof(name));
    assert_string_equal(name, common_name);
    round_trip(&client, "hello");
    hang_up(&client);
}

static void expect_refused(const char *cert_name, const char *key_name, const char *in_why)
{
    char why[NET_WHY_BYTES] = "";
    struct net_tls tls = tls_of(cert_name, key_name);
    assert_int_equal(net_tls_reload(f.net, &tls, why), SP_EINVAL);
    if (!strstr(why, in_why))
        fail_msg("%s: %s is not named", why, in_why);
    expect_certificate("second");
}

static void test_certificates(void **state)
{
    struct net_up up = NET_UP_INIT;
    char why[NET_WHY_BYTES], bad[128];
    (void)state;
    make_certificate("cert2", "key2", "second");
    path_of(bad, sizeof(bad), "bad");
    FILE *file = fopen(bad, "w");
    assert_true(fputs("this is no certificate\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    up.tls_too = true;
    net_up(&up);
    struct client old = client_at(TLS_AT);
    expect_certificate("first");
    struct net_tls tls = tls_of("cert2", "key2");
    assert_int_equal(net_tls_reload(f.net, &tls, why), SP_OK);
    expect_certificate("second");
    expect_refused("bad", "key", "/bad");
    expect_refused("cert", "bad", "/bad");
    expect_refused("nowhere", "key", "/nowhere");
    expect_refused("cert", "nowhere", "/nowhere");
    expect_refused("cert", "key2", "/key2");
    round_trip(&old, "goes on with what it began with");
    hang_up(&old);
    net_down(1000);
}

/* Only who has a certificate signed by the right one is served. */
static void test_clients_certificates(void **state)
{
    struct net_up up = NET_UP_INIT;
    char why[NET_WHY_BYTES], byte;
    (void)state;
    up.tls_too = true;
    net_up(&up);
    struct net_tls tls = tls_of("cert", "key");
    tls.clients = NET_TLS_CLIENTS_REQUIRED;
    assert_int_equal(net_tls_reload(f.net, &tls, why), SP_EINVAL); /* no ca_file */
    tls.ca_file = tls.cert_file;
    assert_int_equal(net_tls_reload(f.net, &tls, why), SP_OK);
    struct client client = client_without_tls(TLS_AT);
    if (client_shakes_hands(&client))
        assert_true(SSL_read(client.ssl, &byte, 1) <= 0); /* of TLS 1.3 the client hears later */
    AWAIT(stats().dropped[NET_DROP_HANDSHAKE] == 1);
    assert_int_equal(f.opened, 0);
    hang_up(&client);
    tls.clients = NET_TLS_CLIENTS_OPTIONAL;
    assert_int_equal(net_tls_reload(f.net, &tls, why), SP_OK);
    expect_certificate("first");
    net_down(1000);
}

/* --- the stop --------------------------------------------------------------------------------- */

/* Who does not read is waited for, but not longer than the grace; and nothing is left of it. */
static void test_stop_has_an_end(void **state)
{
    struct net_up up = NET_UP_INIT;
    struct client clients[20];
    (void)state;
    f.input = swell;
    up.unix_too = true;
    up.threads = 2;
    net_up(&up);
    for (unsigned i = 0; i < 20; i++) {
        clients[i] = client_at(f.unix_at);
        ask_for_blocks(&clients[i], 50);
    }
    AWAIT(stats().bytes_in == 20 * 50);
    f.fds_before += 20; /* the clients', to be compared below */
    uint64_t since = now_ms();
    net_down(300);
    assert_in_range(now_ms() - since, 250, 20000);
    for (unsigned i = 0; i < 20; i++)
        hang_up(&clients[i]);
}

static void *hear_all(void *argument)
{
    hear_blocks(argument, 50);
    assert_true(is_end(argument));
    return NULL;
}

/* Who reads gets all that was waiting, and then the stop waits no longer. */
static void test_stop_sends_what_waits(void **state)
{
    struct net_up up = NET_UP_INIT;
    pthread_t thread;
    (void)state;
    f.input = swell;
    up.unix_too = true;
    net_up(&up);
    struct client client = client_at(f.unix_at);
    ask_for_blocks(&client, 50);
    AWAIT(f.inputs >= 1 && about(f.last).output_bytes + about(f.last).bytes_out == 50 * 65536);
    assert_true(about(f.last).output_bytes > 0);
    assert_int_equal(pthread_create(&thread, NULL, hear_all, &client), 0);
    uint64_t since = now_ms();
    f.fds_before++;
    net_down(10000);
    assert_in_range(now_ms() - since, 0, 30000);
    pthread_join(thread, NULL);
    hang_up(&client);
}

static void test_stop_during_handshakes(void **state)
{
    struct net_up up = NET_UP_INIT;
    (void)state;
    up.tls_too = true;
    net_up(&up);
    struct client half = client_without_tls(TLS_AT);
    AWAIT(stats().connections == 1);
    uint64_t since = now_ms();
    f.fds_before++;
    net_down(10000);
    assert_in_range(now_ms() - since, 0, 30000);
    assert_true(is_end(&half));
    hang_up(&half);
}

/* --- main ------------------------------------------------------------------------------------- */

#define TEST(test) cmocka_unit_test_teardown(test, net_after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_hard),
        TEST(test_output_soft),
        TEST(test_query_max),
        TEST(test_query_max_says_so),
        TEST(test_clients_possible),
        TEST(test_clients_max),
        TEST(test_idle),
        TEST(test_handshake),
        TEST(test_storm),
        TEST(test_balance),
        TEST(test_posts),
        TEST(test_posts_while_stopping),
        TEST(test_listeners_come_and_go),
        TEST(test_listeners_by_two),
        TEST(test_bad_addresses),
        TEST(test_start_fails),
        TEST(test_stale_socket),
        TEST(test_foreign_files),
        TEST(test_no_descriptors),
        TEST(test_certificates),
        TEST(test_clients_certificates),
        TEST(test_stop_has_an_end),
        TEST(test_stop_sends_what_waits),
        TEST(test_stop_during_handshakes),
    };
    return cmocka_run_group_tests(tests, net_group_setup, net_group_teardown);
}
