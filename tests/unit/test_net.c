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

/* Requests are a length of four bytes and so many bytes; the reply is their sum. */
static size_t sum_frame(struct session *session, uint8_t *bytes, size_t size)
{
    uint32_t length;
    uint64_t sum = 0;
    if (size < sizeof(length))
        return 0;
    memcpy(&length, bytes, sizeof(length));
    if (size < sizeof(length) + length) {
        session->steps++;
        net_hint(session->connection, sizeof(length) + length);
        return 0;
    }
    for (size_t i = 0; i < length; i++)
        sum += bytes[sizeof(length) + i];
    buffer_append(net_output(session->connection), &sum, sizeof(sum));
    return sizeof(length) + length;
}

/* The handler is shown the beginning, and then everything. */
static void large_request(const char *address)
{
    uint32_t length = 20 << 20;
    uint64_t sum = 0, heard;
    uint8_t *bytes = malloc(length);
    for (uint32_t i = 0; i < length; i++)
        sum += bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    struct client client = client_at(address);
    say(&client, &length, sizeof(length));
    for (uint32_t sent = 0; sent < length; sent += 1 << 20)
        say(&client, bytes + sent, 1 << 20);
    hear(&client, &heard, sizeof(heard));
    assert_int_equal(heard, sum);
    assert_true(f.last->steps <= 1);
    assert_int_equal(about(f.last).input_cap, 0); /* it is given back */
    hang_up(&client);
    free(bytes);
}

static void test_large_request(void **state)
{
    (void)state;
    f.input = sum_frame;
    everything_up(1);
    for (unsigned i = 0; i < 4; i++)
        large_request(transport(i));
    net_down(1000);
}

/* Who announces a gigabyte and sends nothing has not got the memory of a gigabyte. */
static void test_hint_takes_no_memory(void **state)
{
    uint32_t length = 1 << 30;
    (void)state;
    f.input = sum_frame;
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

/* --- main ------------------------------------------------------------------------------------- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_large_request),
        cmocka_unit_test(test_hint_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, net_group_setup, net_group_teardown);
}
