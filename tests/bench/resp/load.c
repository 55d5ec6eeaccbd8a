/* SPDX-License-Identifier: Apache-2.0
 *
 * load.c - the load generator.
 *
 * Requests lie one after the other on a tape, a million of them, each of the same size by kind, so
 * a client's next `depth` requests are one piece of memory and one send, and the processor fetches
 * ahead. Each client begins at another place of it. Replies have a fixed size as well: they are cut
 * by counting, and compared with the template and with the key on the tape. A client sends the
 * next piece when it has all replies to the last one, as redis-benchmark does.
 *
 * With a rate the load is open: requests are due at fixed distances, by turns on all clients, and a
 * time counts from when the request was due, also where its client was still waiting for the reply
 * to the one before. So a server that stalls is charged for all that had to wait. The loop then
 * never sleeps.
 *
 * Sockets are written blocking: what is under way on a connection is far below a socket's buffer.
 */
#include "load.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "common/bench.h"
#include "common/rows.h"

#define TAPE_REQUESTS (1u << 20)
#define TAPE_QUICK    (1u << 16)
#define IN_BYTES      (16u << 10)
#define EVENTS        64

static_assert(IN_BYTES > LOAD_DEPTH_MAX * WIRE_REPLY_MAX, "the replies to one send fit");

struct load_tape {
    enum load_mix mix;
    uint32_t count;
    char *bytes;
    size_t sizes[2], key_offsets[2]; /* of an even request, and an odd one */
    struct wire_reply replies[2];
};

struct client {
    int fd;
    uint32_t next;      /* request to send */
    uint32_t waiting;   /* the first that has no reply */
    uint64_t due, done; /* with a rate: requests so far */
    size_t have;
    char in[IN_BYTES];
};

struct run {
    const struct load *load;
    const struct load_tape *tape;
    struct client *clients;
    struct load_result *result;
    uint64_t start_ns, interval_ns_x1024; /* between requests that are due */
    uint64_t turns;                       /* requests due so far */
    bool counts, ends;
    int epoll;
};

/* --- the tape ------------------------------------------------------------------------------- */

static bool is_get(const struct load_tape *tape, uint32_t index)
{
    return tape->mix == LOAD_GET || (tape->mix == LOAD_BOTH && index % 2 == 0);
}

static size_t write_request(const struct load_tape *tape, enum wire wire, uint32_t index,
                            uint32_t number, char *out)
{
    return is_get(tape, index) ? wire_get(wire, number, out)
                               : wire_set(wire, number, WIRE_VALUE_BYTES, 0, out);
}

static void describe_kind(struct load_tape *tape, enum wire wire, uint32_t parity)
{
    char request[WIRE_HEAD_MAX + WIRE_VALUE_BYTES];
    char key[WIRE_KEY_BYTES];
    wire_key(0, key);
    tape->sizes[parity] = write_request(tape, wire, parity, 0, request);
    tape->key_offsets[parity] =
        (size_t)((char *)memmem(request, tape->sizes[parity], key, sizeof(key)) - request);
    if (is_get(tape, parity))
        wire_get_reply(wire, &tape->replies[parity]);
    else
        wire_set_reply(wire, &tape->replies[parity]);
}

static char *request_at(const struct load_tape *tape, uint32_t index)
{
    return tape->bytes + (size_t)(index / 2) * (tape->sizes[0] + tape->sizes[1]) +
           (index % 2) * tape->sizes[0];
}

struct load_tape *load_tape_make(enum wire wire, enum load_mix mix, uint32_t keys, uint64_t seed)
{
    struct load_tape *tape = calloc(1, sizeof(*tape));
    if (!tape)
        bench_die("no memory");
    tape->mix = mix;
    tape->count = bench_quick() ? TAPE_QUICK : TAPE_REQUESTS;
    describe_kind(tape, wire, 0);
    describe_kind(tape, wire, 1);
    tape->bytes = malloc(tape->count / 2 * (tape->sizes[0] + tape->sizes[1]) + WIRE_HEAD_MAX);
    if (!tape->bytes)
        bench_die("no memory");
    for (uint32_t i = 0; i < tape->count; i++)
        write_request(tape, wire, i, (uint32_t)(rows_random(&seed) % keys), request_at(tape, i));
    return tape;
}

void load_tape_free(struct load_tape *tape)
{
    free(tape->bytes);
    free(tape);
}

/* --- sending -------------------------------------------------------------------------------- */

static void send_next(struct run *run, struct client *client)
{
    const char *from = request_at(run->tape, client->next);
    size_t bytes = (size_t)(request_at(run->tape, client->next + run->load->depth) - from);
    while (bytes > 0) {
        ssize_t sent = send(client->fd, from, bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            bench_die("a server hung up: %s", strerror(errno));
        from += sent;
        bytes -= (size_t)sent;
    }
    client->next += run->load->depth;
}

static bool is_idle(const struct client *client)
{
    return client->next == client->waiting;
}

/* When the client's n-th request is due: its turn comes once in LOAD_CLIENTS. */
static uint64_t due_ns(const struct run *run, const struct client *client, uint64_t n)
{
    uint64_t turn = n * LOAD_CLIENTS + (uint64_t)(client - run->clients);
    return run->start_ns + turn * run->interval_ns_x1024 / 1024;
}

static void send_due(struct run *run)
{
    uint64_t now = clock_ns();
    while (!run->ends && run->start_ns + run->turns * run->interval_ns_x1024 / 1024 <= now) {
        struct client *client = &run->clients[run->turns++ % LOAD_CLIENTS];
        client->due++;
        if (is_idle(client))
            send_next(run, client);
    }
}

/* --- replies -------------------------------------------------------------------------------- */

static _Noreturn void die_of(const struct run *run, const struct client *client, const char *at)
{
    uint32_t parity = client->waiting % 2;
    const char *request = request_at(run->tape, client->waiting);
    bench_die("the reply for %.24s is wrong: %.60s", request + run->tape->key_offsets[parity], at);
}

/* An error, or a miss, is shorter than what is waited for. */
static bool begins_right(const struct wire_reply *reply, const char *got, size_t have)
{
    size_t same = reply->key_count > 0 ? reply->keys[0] : reply->bytes;
    return memcmp(got, reply->text, have < same ? have : same) == 0;
}

/* Compares all whole replies; how many. */
static uint32_t take_replies(struct run *run, struct client *client)
{
    const struct load_tape *tape = run->tape;
    const char *at = client->in;
    uint32_t before = client->waiting;
    while (client->waiting != client->next) {
        uint32_t parity = client->waiting % 2;
        const struct wire_reply *reply = &tape->replies[parity];
        size_t have = client->have - (size_t)(at - client->in);
        const char *key = request_at(tape, client->waiting) + tape->key_offsets[parity];
        if (!begins_right(reply, at, have))
            die_of(run, client, at);
        if (have < reply->bytes)
            break;
        if (!run->load->unchecked && !wire_reply_is(reply, at, key))
            die_of(run, client, at);
        at += reply->bytes;
        client->waiting++;
    }
    client->have -= (size_t)(at - client->in);
    memmove(client->in, at, client->have);
    return client->waiting - before;
}

/* The clock, for a request with a rate, and whether another is already due. */
static void count_time(struct run *run, struct client *client)
{
    uint64_t now = clock_ns();
    if (run->counts)
        histogram_add(&run->result->times, now - due_ns(run, client, client->done));
    client->done++;
    if (client->due > client->done && !run->ends)
        send_next(run, client);
}

static void read_one(struct run *run, struct client *client)
{
    ssize_t got =
        recv(client->fd, client->in + client->have, IN_BYTES - client->have - 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        bench_die("a server hung up");
    client->have += (size_t)got;
    client->in[client->have] = '\0';
    uint32_t replies = take_replies(run, client);
    run->result->replies += run->counts ? replies : 0;
    if (!is_idle(client))
        return;
    if (client->next == run->tape->count)
        client->next = client->waiting = 0;
    if (run->load->rate > 0)
        count_time(run, client);
    else if (!run->ends)
        send_next(run, client);
}

/* --- the run -------------------------------------------------------------------------------- */

static void connect_all(struct run *run, const struct peer *peer)
{
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    run->clients = calloc(LOAD_CLIENTS, sizeof(*run->clients));
    if (!run->clients || run->epoll < 0)
        bench_die("no memory");
    for (uint32_t i = 0; i < LOAD_CLIENTS; i++) {
        struct client *client = &run->clients[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        client->fd = peer_connect(peer);
        client->next = client->waiting =
            run->tape->count / LOAD_CLIENTS / LOAD_DEPTH_MAX * LOAD_DEPTH_MAX * i;
        if (client->fd < 0 || epoll_ctl(run->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
            bench_die("no connection to %s: %s", peer_name(peer->options.kind), strerror(errno));
    }
}

static void turn_once(struct run *run, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(run->epoll, events, EVENTS, wait_ms);
    for (int i = 0; i < count; i++)
        read_one(run, events[i].data.ptr);
}

static void run_until(struct run *run, uint64_t until_ns)
{
    bool open = run->load->rate > 0;
    while (clock_ns() < until_ns) {
        if (open)
            send_due(run);
        turn_once(run, open ? 0 : 100);
    }
}

/* What is under way is answered: nothing is left to a server that the next round is about. */
static void finish(struct run *run)
{
    run->counts = false;
    run->ends = true;
    for (uint32_t i = 0; i < LOAD_CLIENTS; i++) {
        struct client *client = &run->clients[i];
        while (!is_idle(client))
            turn_once(run, 100);
        close(client->fd);
    }
    close(run->epoll);
    free(run->clients);
}

void load_run(const struct peer *peer, const struct load *load, struct load_result *out)
{
    struct run run = {.load = load, .tape = load->tape, .result = out};
    *out = (struct load_result){0};
    connect_all(&run, peer);
    run.start_ns = clock_ns();
    if (load->rate > 0)
        run.interval_ns_x1024 = (uint64_t)(1024e9 / load->rate);
    for (uint32_t i = 0; load->rate <= 0 && i < LOAD_CLIENTS; i++)
        send_next(&run, &run.clients[i]);
    run_until(&run, run.start_ns + (uint64_t)(load->warm_s * 1e9));
    uint64_t from_ns = clock_ns();
    double cpu_s = peer_cpu_s(peer);
    run.counts = true;
    run_until(&run, from_ns + (uint64_t)(load->seconds * 1e9));
    out->per_s = (double)out->replies / ((double)(clock_ns() - from_ns) * 1e-9);
    if (out->replies > 0)
        out->server_cpu_us = (peer_cpu_s(peer) - cpu_s) / (double)out->replies * 1e6;
    finish(&run);
}
