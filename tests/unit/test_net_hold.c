/* SPDX-License-Identifier: Apache-2.0
 *
 * test_net_hold.c - Goal: output that is held back goes out with the release and not before, in its
 * order, and everything else about the connection goes on: closing, limits, a client that leaves, a
 * pause at the same time, the end of the net. Method: a handler that holds at a letter, over all
 * transports; that nothing has come is shown by what another client of the same thread has heard
 * since.
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "net_fixture.h"

enum { TRANSPORTS = 4 };

static const char *transport(unsigned i)
{
    const char *all[] = {TCP_AT, SIX_AT, f.unix_at, TLS_AT};
    return all[i];
}

static void up(struct net_output_limits output)
{
    struct net_up up = NET_UP_INIT;
    up.unix_too = up.six_too = up.tls_too = true;
    up.limits.output = output;
    net_up(&up);
}

/* 'H' holds, 'P' pauses, anything else comes back. After 'H' and 'P' the
 * rest is left. */
static size_t by_letter(struct session *session, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        struct buffer *out = net_output(session->connection);
        switch (bytes[i]) {
        case 'H':
            net_hold(session->connection);
            return i + 1;
        case 'P':
            net_pause(session->connection);
            return i + 1;
        default:
            buffer_append(out, bytes + i, 1);
        }
    }
    return size;
}

static void release(void *session)
{
    net_release(((struct session *)session)->connection);
}

static void resume(void *session)
{
    net_resume(((struct session *)session)->connection);
}

static void append_more(void *session)
{
    buffer_append(net_output(((struct session *)session)->connection), "more", 4);
}

static void append_blocks(void *session)
{
    static const char block[1 << 20];
    buffer_append(net_output(((struct session *)session)->connection), block, sizeof(block));
}

/* Whether the client has nothing to hear, though the thread has been around. */
static bool is_silent(const struct client *client, const struct client *other)
{
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    round_trip(other, "the thread goes on");
    round_trip(other, "and on");
    return poll(&poll_fd, 1, 0) == 0;
}

static void up_by_letter(void)
{
    f.input = by_letter;
    up((struct net_output_limits){0});
}

/* On a connection that has said nothing yet; its session, once that has been taken in. */
static struct session *say_anew(struct client *client, const char *letters)
{
    round_trip(client, "x");
    struct session *session = f.last;
    const uint64_t inputs = f.inputs;
    say(client, letters, strlen(letters));
    AWAIT(f.inputs > inputs);
    return session;
}

static void test_hold(void **state)
{
    (void)state;
    up_by_letter();
    struct client other = client_at(TCP_AT);
    round_trip(&other, "hello");
    for (unsigned i = 0; i < TRANSPORTS; i++) {
        char back[8];
        struct client client = client_at(transport(i));
        struct session *session = say_anew(&client, "12H34");
        assert_true(is_silent(&client, &other));
        const uint64_t inputs = f.inputs;
        say(&client, "56", 2); /* is not read meanwhile */
        on_thread_of(session, append_more);
        assert_true(is_silent(&client, &other));
        assert_int_equal(f.inputs, inputs + 2); /* of the other one */
        on_thread_of(session, release);
        hear(&client, back, 8);
        assert_memory_equal(back, "12more34", 8);
        hear(&client, back, 2);
        assert_memory_equal(back, "56", 2);
        hang_up(&client);
        AWAIT(f.closed == i + 1);
    }
    hang_up(&other);
    net_down(1000);
}

/* One does not end the other. */
static void test_hold_and_pause(void **state)
{
    char back[4];
    (void)state;
    up_by_letter();
    struct client other = client_at(TCP_AT), client = client_at(f.unix_at);
    round_trip(&other, "hello");
    round_trip(&client, "x");
    struct session *session = f.last;
    for (unsigned released_first = 0; released_first < 2; released_first++) {
        uint64_t inputs = f.inputs;
        say(&client, "1P2", 3);
        hear(&client, back, 1);
        on_thread_of(session, append_more);
        hear(&client, back, 4);
        AWAIT(f.inputs == inputs + 1);
        on_thread_of(session, resume); /* shows the 2 */
        hear(&client, back, 1);
        say(&client, "H", 1);
        AWAIT(f.inputs == inputs + 3);
        say(&client, "34", 2);
        on_thread_of(session, append_more);
        assert_true(is_silent(&client, &other));
        on_thread_of(session, released_first ? release : resume);
        if (!released_first) {
            assert_true(is_silent(&client, &other));
            on_thread_of(session, release);
        }
        hear(&client, back, 4);
        assert_memory_equal(back, "more", 4);
        hear(&client, back, 2);
        assert_memory_equal(back, "34", 2);
    }
    hang_up(&client);
    hang_up(&other);
    net_down(1000);
}

/* A client that says no more is owed what is held; one that has left is noticed at the release. */
static void test_ends(void **state)
{
    (void)state;
    up_by_letter();
    struct client other = client_at(TCP_AT);
    round_trip(&other, "hello");
    for (unsigned i = 0; i < TRANSPORTS; i++) {
        char back[4];
        struct client client = client_at(transport(i));
        struct session *session = say_anew(&client, "12H");
        on_thread_of(session, append_more);
        shutdown(client.fd, SHUT_WR);
        assert_true(is_silent(&client, &other));
        on_thread_of(session, release);
        hear(&client, back, 2);
        assert_memory_equal(back, "12", 2);
        hear(&client, back, 4);
        assert_memory_equal(back, "more", 4);
        assert_true(is_end(&client));
        hang_up(&client);
        AWAIT(f.closed == 2 * i + 1);
        client = client_at(transport(i));
        session = say_anew(&client, "1H");
        hang_up(&client);
        on_thread_of(session, release);
        AWAIT(f.closed == 2 * i + 2);
    }
    hang_up(&other);
    net_down(1000);
}

/* Who is closed after a flush is closed after the release; who is closed at once, at once. */
static void close_after_flush(void *session)
{
    net_close_after_flush(((struct session *)session)->connection);
}

static void close_now(void *session)
{
    net_close(((struct session *)session)->connection);
}

static void test_closes(void **state)
{
    (void)state;
    up_by_letter();
    struct client other = client_at(TCP_AT);
    round_trip(&other, "hello");
    for (unsigned i = 0; i < TRANSPORTS; i++) {
        char back[2];
        struct client client = client_at(transport(i));
        struct session *session = say_anew(&client, "12H");
        on_thread_of(session, i % 2 == 0 ? close_after_flush : close_now);
        if (i % 2 == 0) {
            assert_true(is_silent(&client, &other));
            on_thread_of(session, release);
            hear(&client, back, 2);
            assert_memory_equal(back, "12", 2);
        }
        assert_true(is_end(&client));
        AWAIT(f.closed == i + 1);
        hang_up(&client);
    }
    hang_up(&other);
    net_down(1000);
}

/* What is held counts as waiting output. */
static void test_limit(void **state)
{
    (void)state;
    f.input = by_letter;
    up((struct net_output_limits){.bytes_max = 2 << 20});
    struct client client = client_at(f.unix_at);
    struct session *session = say_anew(&client, "H");
    on_thread_of(session, append_blocks);
    on_thread_of(session, append_blocks);
    assert_int_equal(stats().dropped[NET_DROP_OUTPUT_HARD], 0);
    on_thread_of(session, append_blocks);
    AWAIT(stats().dropped[NET_DROP_OUTPUT_HARD] == 1);
    AWAIT(f.closed == 1);
    hang_up(&client);
    net_down(1000);
}

/* A post that comes when the threads have ended, and the net is still there, is refused. */
static void nothing(void *argument)
{
    (void)argument;
}

static void test_end_in_two_steps(void **state)
{
    (void)state;
    up_by_letter();
    struct client client = client_at(f.unix_at);
    round_trip(&client, "x");
    uint64_t inputs = f.inputs, since = now_ms();
    say(&client, "1H", 2);
    AWAIT(f.inputs > inputs);
    struct net *net = f.net;
    net_end(net, 300); /* waits as long for what is held, and then closes all the same */
    assert_true(now_ms() - since >= 290);
    assert_int_equal(f.closed, 1);
    assert_int_equal(net_post(net, 0, nothing, NULL), SP_ECANCELED);
    assert_true(is_end(&client));
    hang_up(&client);
    net_down(1000);
}

#define TEST(test) cmocka_unit_test_teardown(test, net_after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hold),   TEST(test_hold_and_pause), TEST(test_ends),
        TEST(test_closes), TEST(test_limit),          TEST(test_end_in_two_steps),
    };
    return cmocka_run_group_tests(tests, net_group_setup, net_group_teardown);
}
