/* SPDX-License-Identifier: Apache-2.0
 *
 * test_net.c - Goal: what server/net promises of listeners, threads, connections and TLS holds,
 * also with clients that are slow, many, silent or gone. Method: a real server on loopback and in
 * a temporary directory, with handlers that are as simple as what they test; what the clients say
 * and hear is compared byte by byte, figures come from net_stats. After each test every session
 * must have been closed once and no descriptor be left.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net_fixture.h"

/* --- bytes in and out ------------------------------------------------------------------------- */

static const char *transport(unsigned i)
{
    const char *all[] = {TCP_AT, SIX_AT, f.unix_at, TLS_AT};
    return all[i];
}

static void everything_up(unsigned threads)
{
    struct net_up up = NET_UP_INIT;
    up.threads = threads;
    up.unix_too = up.six_too = up.tls_too = true;
    net_up(&up);
}

static void pipeline(const struct client *client)
{
    enum { SIZE = 200000 };
    uint8_t *there = malloc(SIZE), *back = malloc(SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        there[i] = (uint8_t)(i * 2654435761u >> 24);
    for (unsigned i = 0; i < SIZE; i += 20000) {
        say(client, there + i, 20000);
        hear(client, back + i, 20000);
    }
    assert_memory_equal(there, back, SIZE);
    free(there);
    free(back);
}

static void test_echo(void **state)
{
    (void)state;
    everything_up(2);
    for (unsigned i = 0; i < 4; i++) {
        struct client client = client_at(transport(i));
        round_trip(&client, "hello");
        for (const char *byte = "split"; *byte; byte++)
            round_trip(&client, (char[]){*byte, '\0'});
        pipeline(&client);
        hang_up(&client);
    }
    AWAIT(f.closed == 4);
    assert_int_equal(stats().accepted, 4);
    assert_int_equal(stats().connections, 0);
    assert_int_equal(stats().bytes_in, 4 * (200000 + 10));
    assert_int_equal(stats().bytes_out, 4 * (200000 + 10));
    net_down(1000);
}

static void test_describe(void **state)
{
    char peer[NET_ADDRESS_BYTES];
    struct sockaddr_in me;
    socklen_t size = sizeof(me);
    (void)state;
    everything_up(1);
    struct client tcp = client_at(TCP_AT);
    round_trip(&tcp, "hello");
    struct net_about it = about(f.last);
    getsockname(tcp.fd, (struct sockaddr *)&me, &size);
    snprintf(peer, sizeof(peer), "127.0.0.1:%u", ntohs(me.sin_port));
    assert_string_equal(it.peer, peer);
    snprintf(peer, sizeof(peer), "127.0.0.1:%u", net_port(f.net, TCP_AT));
    assert_string_equal(it.local, peer);
    assert_int_equal(it.id, 1);
    assert_int_equal(it.bytes_in, 5);
    assert_int_equal(it.bytes_out, 5);
    assert_int_equal(it.output_bytes + it.input_bytes + it.input_cap, 0);
    assert_false(it.is_unix || it.is_tls);
    assert_int_equal(it.pid, 0);
    struct client local = client_at(f.unix_at);
    round_trip(&local, "hello");
    it = about(f.last);
    assert_string_equal(it.peer, f.unix_path);
    assert_true(it.is_unix && it.pid == getpid() && it.uid == getuid() && it.gid == getgid());
    struct client tls = client_at(TLS_AT);
    round_trip(&tls, "hello");
    assert_true(about(f.last).is_tls);
    hang_up(&tcp);
    hang_up(&local);
    hang_up(&tls);
    net_down(1000);
}

enum { LARGE_BYTES = 20 << 20 };

static uint8_t *large; /* what is sent, LARGE_BYTES */

/* Requests are a length of four bytes and so many bytes; the reply is whether they are those of
 * `large`. */
static size_t compare_frame(struct session *session, uint8_t *bytes, size_t size)
{
    uint32_t length;
    if (size < sizeof(length))
        return 0;
    memcpy(&length, bytes, sizeof(length));
    if (size < sizeof(length) + length) {
        session->steps++;
        net_hint(session->connection, sizeof(length) + length);
        return 0;
    }
    bool same = length == LARGE_BYTES && memcmp(bytes + sizeof(length), large, length) == 0;
    buffer_append(net_output(session->connection), same ? "y" : "n", 1);
    return sizeof(length) + length;
}

/* The handler is shown the beginning, and then everything. */
static void large_request(const char *address)
{
    uint32_t length = LARGE_BYTES;
    char reply;
    struct client client = client_at(address);
    say(&client, &length, sizeof(length));
    for (uint32_t sent = 0; sent < length; sent += 1 << 20)
        say(&client, large + sent, 1 << 20);
    hear(&client, &reply, 1);
    assert_int_equal(reply, 'y');
    assert_true(f.last->steps <= 1);
    assert_int_equal(about(f.last).input_cap, 0); /* it is given back */
    hang_up(&client);
}

static void test_large_request(void **state)
{
    (void)state;
    f.input = compare_frame;
    large = malloc(LARGE_BYTES);
    assert_non_null(large);
    for (uint32_t i = 0; i < LARGE_BYTES; i++)
        large[i] = (uint8_t)(i * 2654435761u >> 24);
    everything_up(1);
    for (unsigned i = 0; i < 4; i++)
        large_request(transport(i));
    net_down(1000);
    free(large);
}

/* Who announces a gigabyte and sends nothing has not got the memory of a gigabyte. */
static void test_hint_takes_no_memory(void **state)
{
    uint32_t length = 1 << 30;
    (void)state;
    f.input = compare_frame;
    everything_up(1);
    struct client client = client_at(TCP_AT);
    say(&client, &length, sizeof(length));
    AWAIT(f.inputs == 1);
    say(&client, "some", 4);
    AWAIT(about(f.last).input_bytes == 8);
    assert_true(about(f.last).input_cap <= 8 << 20);
    assert_int_equal(f.inputs, 1);
    hang_up(&client);
    net_down(1000);
}

/* --- output that is more than its input ------------------------------------------------------- */

enum { ASK_BYTES = 1000, REPLY_BYTES = 10000 };

static _Atomic uint64_t appended_most; /* in one call */

/* Each request has ASK_BYTES; the reply is REPLY_BYTES of the request's first byte. */
static size_t multiply(struct session *session, uint8_t *bytes, size_t size)
{
    struct buffer *out = net_output(session->connection);
    size_t used = 0, before = out->size;
    char reply[REPLY_BYTES];
    while (size - used >= ASK_BYTES && !net_output_pressed(session->connection)) {
        memset(reply, bytes[used], sizeof(reply));
        buffer_append(out, reply, sizeof(reply));
        used += ASK_BYTES;
    }
    if (out->size - before > atomic_load(&appended_most))
        atomic_store(&appended_most, out->size - before);
    return used;
}

struct asking {
    const struct client *client;
    unsigned requests;
};

static void *ask(void *argument)
{
    const struct asking *asking = argument;
    char request[ASK_BYTES] = {0};
    for (unsigned i = 0; i < asking->requests; i++) {
        request[0] = (char)i;
        say(asking->client, request, sizeof(request));
    }
    return NULL;
}

static void hear_replies(const struct client *client, unsigned requests)
{
    char reply[REPLY_BYTES], expected[REPLY_BYTES];
    for (unsigned i = 0; i < requests; i++) {
        hear(client, reply, sizeof(reply));
        memset(expected, (char)i, sizeof(expected));
        assert_memory_equal(reply, expected, sizeof(reply));
    }
}

/* A handler that stops because of its output is shown the rest, and no more than that is read
 * meanwhile: the rest stays small however much the client sends ahead. */
static void test_pressed(void **state)
{
    (void)state;
    f.input = multiply;
    everything_up(1);
    for (unsigned i = 0; i < 3; i++) {
        pthread_t thread;
        struct client client = client_at((const char *[]){TCP_AT, SIX_AT, f.unix_at}[i]);
        struct asking asking = {.client = &client, .requests = 2000};
        atomic_store(&appended_most, 0);
        assert_int_equal(pthread_create(&thread, NULL, ask, &asking), 0);
        hear_replies(&client, 2000);
        pthread_join(thread, NULL);
        assert_in_range(appended_most, REPLY_BYTES, NET_PRESS_BYTES + REPLY_BYTES);
        hang_up(&client);
    }
    assert_in_range(f.largest_shown, ASK_BYTES, 3 * NET_SHARED_BYTES);
    net_down(1000);
}

static void test_pressed_tls(void **state)
{
    char request[100 * ASK_BYTES];
    (void)state;
    f.input = multiply;
    everything_up(1);
    struct client client = client_at(TLS_AT);
    for (unsigned i = 0; i < 100; i++)
        memset(request + i * ASK_BYTES, (char)i, ASK_BYTES);
    say(&client, request, sizeof(request));
    hear_replies(&client, 100);
    hang_up(&client);
    net_down(1000);
}

/* Takes a part, and asks to be shown the rest when others have had their turn. */
static size_t take_parts(struct session *session, uint8_t *bytes, size_t size)
{
    size_t part = size < 1000 ? size : 1000;
    buffer_append(net_output(session->connection), bytes, part);
    if (part < size)
        net_again(session->connection);
    return part;
}

/* Nothing more is read while there is a rest to be shown: it stays small however much comes. */
static void test_again(void **state)
{
    (void)state;
    f.input = take_parts;
    everything_up(1);
    for (unsigned i = 0; i < 3; i++) {
        pthread_t thread;
        struct client client = client_at(transport(i));
        struct asking asking = {.client = &client, .requests = 2000};
        char back[ASK_BYTES];
        assert_int_equal(pthread_create(&thread, NULL, ask, &asking), 0);
        for (unsigned n = 0; n < 2000; n++) {
            hear(&client, back, sizeof(back));
            assert_int_equal(back[0], (char)n);
        }
        pthread_join(thread, NULL);
        hang_up(&client);
    }
    assert_in_range(f.largest_shown, 1, 2 * NET_SHARED_BYTES);
    struct client tls = client_at(TLS_AT);
    pipeline(&tls);
    hang_up(&tls);
    net_down(1000);
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* 'p' waits, 'q' ends after a word, anything else comes back. */
static size_t by_letter(struct session *session, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == 'p') {
            net_pause(session->connection);
            return i + 1;
        }
        if (bytes[i] == 'q') {
            buffer_append(net_output(session->connection), "bye", 3);
            net_close_after_flush(session->connection);
            return i + 1;
        }
        buffer_append(net_output(session->connection), bytes + i, 1);
    }
    return size;
}

static void resume(void *session)
{
    net_resume(((struct session *)session)->connection);
}

/* Of test_timer; the timer is its connection's. */
static struct net_timer *timer;
static uint64_t due_ms;

static void on_due(void *session)
{
    char word[] = "due";
    bool early = now_ms() < due_ms;
    net_resume(((struct session *)session)->connection);
    buffer_append(net_output(((struct session *)session)->connection), early ? "odd" : word, 3);
}

/* A digit: waits for so many times 20 ms, twice begun anew; 'x': so that it never comes. */
static size_t by_time(struct session *session, uint8_t *bytes, size_t size)
{
    uint64_t ms = bytes[0] == 'x' ? 1 : (uint64_t)(bytes[0] - '0') * 20;
    if (!timer)
        timer = net_timer_new(session->connection, on_due, session);
    due_ms = now_ms() + ms;
    net_timer_start(timer, 3600000);
    net_timer_start(timer, ms);
    if (bytes[0] == 'x')
        net_timer_stop(timer);
    else
        net_pause(session->connection);
    buffer_append(net_output(session->connection), bytes, 1);
    return size;
}

static void free_timer(struct session *session)
{
    (void)session;
    net_timer_free(timer);
    timer = NULL;
}

static void test_timer(void **state)
{
    (void)state;
    f.input = by_time;
    everything_up(1);
    f.closing = free_timer;
    for (unsigned i = 0; i < 2; i++) {
        char back[8];
        struct client client = client_at(transport(i));
        say(&client, "x", 1);
        hear(&client, back, 1);
        for (const char *digit = "0512"; *digit; digit++) {
            say(&client, digit, 1);
            hear(&client, back, 4);
            assert_memory_equal(back + 1, "due", 3);
        }
        say(&client, "9", 1); /* closes while it runs */
        hear(&client, back, 1);
        hang_up(&client);
        AWAIT(f.closed == i + 1);
    }
    net_down(1000);
}

static void test_pause(void **state)
{
    (void)state;
    f.input = by_letter;
    everything_up(1);
    struct client other = client_at(TCP_AT);
    for (unsigned i = 0; i < 4; i++) {
        char back[8];
        struct client client = client_at(transport(i));
        say(&client, "1p23p", 5);
        hear(&client, back, 1);
        uint64_t inputs = f.inputs;
        say(&client, "45", 2);
        round_trip(&other, "the thread goes on");
        round_trip(&other, "and on");
        assert_int_equal(f.inputs, inputs + 2);
        struct session *session = f.last;
        on_thread_of(session, resume);
        hear(&client, back, 2);
        assert_memory_equal(back, "23", 2);
        on_thread_of(session, resume);
        hear(&client, back, 2);
        assert_memory_equal(back, "45", 2);
        hang_up(&client);
        AWAIT(f.closed == i + 1);
    }
    hang_up(&other);
    net_down(1000);
}

static void test_who_waits_and_leaves(void **state)
{
    (void)state;
    f.input = by_letter;
    everything_up(1);
    for (unsigned i = 0; i < 4; i++) {
        struct client client = client_at(transport(i));
        say(&client, "p", 1);
        AWAIT(f.inputs == i + 1);
        hang_up(&client);
        AWAIT(f.closed == i + 1);
    }
    net_down(1000);
}

/* --- ends ------------------------------------------------------------------------------------- */

/* Everything is said, the client's side is shut, and all that was asked for comes. */
static void test_half_closed(void **state)
{
    (void)state;
    f.input = multiply;
    everything_up(1);
    for (unsigned i = 0; i < 3; i++) {
        struct client client = client_at(transport(i));
        struct asking asking = {.client = &client, .requests = 150};
        ask(&asking);
        shutdown(client.fd, SHUT_WR);
        hear_replies(&client, 150);
        assert_true(is_end(&client));
        hang_up(&client);
        AWAIT(f.closed == i + 1);
    }
    net_down(1000);
}

/* TLS tells an end from a connection that was cut. */
static void test_close_after_flush(void **state)
{
    (void)state;
    f.input = by_letter;
    everything_up(1);
    for (unsigned i = 0; i < 4; i++) {
        char back[8];
        struct client client = client_at(transport(i));
        say(&client, "1q2", 3);
        hear(&client, back, 4);
        assert_memory_equal(back, "1bye", 4);
        if (client.ssl) {
            int got = SSL_read(client.ssl, back, 1);
            assert_int_equal(SSL_get_error(client.ssl, got), SSL_ERROR_ZERO_RETURN);
        }
        assert_true(is_end(&client));
        hang_up(&client);
    }
    net_down(1000);
}

static size_t flood_and_end(struct session *session, uint8_t *bytes, size_t size)
{
    struct buffer *out = net_output(session->connection);
    (void)bytes;
    for (unsigned i = 0; i < 64; i++) {
        char block[64 << 10] = {0};
        buffer_append(out, block, sizeof(block));
    }
    net_close_after_flush(session->connection);
    return size;
}

static uint64_t cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A client that says no more and does not read costs nothing while it is waited for. */
static void test_flushing_costs_nothing(void **state)
{
    (void)state;
    f.input = flood_and_end;
    everything_up(1);
    struct client client = client_at(f.unix_at);
    say(&client, "x", 1);
    shutdown(client.fd, SHUT_WR);
    AWAIT(stats().bytes_out > 0);
    uint64_t ticks = f.ticks, cpu = cpu_ms();
    AWAIT(f.ticks >= ticks + 4);
    assert_in_range(cpu_ms() - cpu, 0, 150);
    assert_int_equal(f.closed, 0);
    hang_up(&client);
    AWAIT(f.closed == 1);
    net_down(1000);
}

static void append_more(struct session *session)
{
    buffer_append(net_output(session->connection), "too late", 8);
    net_again(session->connection);
    net_close(session->connection);
}

/* What a handler does to a connection that is being closed is in vain, and does no harm. */
static void test_closed_appends(void **state)
{
    (void)state;
    everything_up(1);
    f.closing = append_more;
    struct client client = client_at(TCP_AT), other = client_at(TCP_AT);
    round_trip(&client, "hello");
    hang_up(&client);
    AWAIT(f.closed == 1);
    round_trip(&other, "hello");
    hang_up(&other);
    net_down(1000);
}

enum { CROWD = 40 };

static _Atomic bool is_busy, may_go_on;
static _Atomic unsigned seen_ahead;
static struct session *_Atomic victim;

/* 'w' keeps the thread busy, so that everything that is sent meanwhile is there at once; 'k' closes
 * the victim. The rest is echoed. */
static size_t by_crowd(struct session *session, uint8_t *bytes, size_t size)
{
    is_busy = bytes[0] == 'w';
    while (bytes[0] == 'w' && !may_go_on)
        turn();
    if (bytes[0] == 'k')
        net_close(victim->connection);
    return echo(session, bytes, size);
}

static void note_ahead(const struct net_input *inputs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        seen_ahead += inputs[i].session != NULL && inputs[i].size == 5 &&
                      memcmp(inputs[i].bytes + 1, "ello", 4) == 0;
}

/* Keeps the only thread busy until all have spoken, and hears the answers of all but the last. */
static void crowd_speaks(struct client *crowd, const char *first)
{
    char heard[5];
    struct client busy = client_at(TCP_AT);
    seen_ahead = 0;
    may_go_on = false;
    say(&busy, "w", 1);
    AWAIT(is_busy);
    for (unsigned i = 0; i < CROWD; i++)
        say(&crowd[i], i == 0 ? first : "hello", 5);
    may_go_on = true;
    for (unsigned i = 0; i + 1 < CROWD; i++) {
        hear(&crowd[i], heard, 5);
        assert_memory_equal(heard, i == 0 ? first : "hello", 5);
    }
    hear(&busy, heard, 1);
    hang_up(&busy);
}

/* Input that comes on many connections at once is shown ahead, then to each; also where one of them
 * is closed by another in between. */
static void test_ahead(void **state)
{
    struct client crowd[CROWD];
    char heard[5];
    (void)state;
    f.input = by_crowd;
    everything_up(1);
    f.ahead = note_ahead;
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = client_at(i % 2 ? f.unix_at : TCP_AT);
        round_trip(&crowd[i], "x");
    }
    victim = f.last;
    crowd_speaks(crowd, "hello");
    hear(&crowd[CROWD - 1], heard, 5);
    assert_in_range(seen_ahead, CROWD / 2, CROWD);
    crowd_speaks(crowd, "kello");
    AWAIT(f.closed == 3);
    for (unsigned i = 0; i < CROWD; i++)
        hang_up(&crowd[i]);
    net_down(1000);
}

/* --- main ------------------------------------------------------------------------------------- */

#define TEST(test) cmocka_unit_test_teardown(test, net_after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_echo),
        TEST(test_describe),
        TEST(test_large_request),
        TEST(test_hint_takes_no_memory),
        TEST(test_pressed),
        TEST(test_pressed_tls),
        TEST(test_again),
        TEST(test_timer),
        TEST(test_pause),
        TEST(test_who_waits_and_leaves),
        TEST(test_half_closed),
        TEST(test_close_after_flush),
        TEST(test_flushing_costs_nothing),
        TEST(test_closed_appends),
        TEST(test_ahead),
    };
    return cmocka_run_group_tests(tests, net_group_setup, net_group_teardown);
}
