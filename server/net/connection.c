/* SPDX-License-Identifier: Apache-2.0
 *
 * connection.c - a connection's life, its input and its output.
 *
 * A wake-up is one read, the handler, and one write. What comes in is read into a buffer that the
 * thread's connections share, and only what the handler leaves of it is copied into the
 * connection's own; so a connection between requests has no memory but its struct, and its output
 * buffer up to OUT_KEPT_BYTES.
 *
 * Where several sockets are ready at once, up to NET_AHEAD_MAX of them are read before the handler
 * is shown the first's input ("gathered"), so that it can look ahead. What was gathered is shown
 * before anything else happens on the thread: thread_settle, which ends each callback, begins with
 * it, and no connection is destroyed but there.
 */
#include "server/net/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc/clock.h"

enum {
    READS_MOST = 4,            /* in one wake-up, so that the others have their turn */
    ROOM_LEAST = 16 << 10,     /* for the rest of a request */
    ROOM_MOST = 4 << 20,       /* beyond what has come, however much is announced */
    OUT_KEPT_BYTES = 16 << 10, /* of an output buffer that is empty */
};

static struct net *net_of(const struct net_connection *connection)
{
    return connection->thread->net;
}

static struct net_output_limits usual_limits(struct net *net)
{
    return (struct net_output_limits){
        .bytes_max = atomic_load_explicit(&net->limits.output_bytes_max, memory_order_relaxed),
        .soft_bytes = atomic_load_explicit(&net->limits.soft_bytes, memory_order_relaxed),
        .soft_ms = atomic_load_explicit(&net->limits.soft_ms, memory_order_relaxed)};
}

static void mark_dirty(struct net_connection *connection)
{
    if (connection->is_dirty)
        return;
    connection->is_dirty = true;
    connection->next_dirty = connection->thread->dirty;
    connection->thread->dirty = connection;
}

void connection_drop(struct net_connection *connection, enum net_drop drop)
{
    if (connection->is_closing)
        return;
    count(&connection->thread->counters.dropped[drop], 1);
    connection->is_closing = true;
    mark_dirty(connection);
}

/* --- input ------------------------------------------------------------------------------------ */

static bool is_waiting(const struct net_connection *connection)
{
    return connection->is_paused || connection->is_held;
}

static bool may_read(const struct net_connection *connection)
{
    return connection->is_opened && !connection->is_closing && !is_waiting(connection) &&
           !connection->ends_flushed;
}

/* Not while the handler has a rest that it is to be shown: so however much is sent ahead, the rest
 * is no more than a few reads, and moving it costs little. */
static bool wants_more(const struct net_connection *connection)
{
    return may_read(connection) && !(connection->is_on_again && connection->in.size > 0);
}

static size_t show(struct net_connection *connection, uint8_t *bytes, size_t size)
{
    struct net *net = net_of(connection);
    connection->want_bytes = 0;
    connection->flushed_bytes = connection->out.size;
    size_t consumed = net->handler.input(connection->session, bytes, size);
    return consumed < size ? consumed : size;
}

/* The handler stopped because of its output: the rest is shown when that has been looked at. */
static void come_again(struct net_connection *connection)
{
    if (connection->in.size > 0 && may_read(connection) && net_output_pressed(connection))
        net_again(connection);
}

/* Says why, if the socket takes it before it is closed; what came is given up. */
static void drop_query(struct net_connection *connection)
{
    const char *text = net_of(connection)->query_text;
    if (!text || connection->is_closing) {
        connection_drop(connection, NET_DROP_QUERY);
        return;
    }
    count(&connection->thread->counters.dropped[NET_DROP_QUERY], 1);
    buffer_free(&connection->in);
    buffer_append(&connection->out, text, strlen(text));
    net_close_after_flush(connection);
}

static void check_rest(struct net_connection *connection)
{
    uint64_t most =
        atomic_load_explicit(&net_of(connection)->limits.query_bytes_max, memory_order_relaxed);
    if (connection->in.failed)
        connection_drop(connection, NET_DROP_MEMORY);
    else if (most != 0 && connection->in.size > most)
        drop_query(connection);
    else if (connection->in.size == 0 && connection->in.cap > 0)
        buffer_free(&connection->in);
    else
        come_again(connection);
}

static void show_rest(struct net_connection *connection)
{
    if (may_read(connection) && connection->in.size > 0 &&
        connection->in.size >= connection->want_bytes)
        buffer_consume(&connection->in,
                       show(connection, (uint8_t *)connection->in.bytes, connection->in.size));
    check_rest(connection);
}

static ssize_t receive(struct net_connection *connection, void *bytes, size_t cap)
{
    ssize_t got =
        connection->ssl ? tls_read(connection, bytes, cap) : recv(connection->fd, bytes, cap, 0);
    if (got > 0) {
        connection->active_ms = uv_now(&connection->thread->loop);
        connection->bytes_in += (uint64_t)got;
        count(&connection->thread->counters.bytes_in, (uint64_t)got);
    } else if (got == 0) {
        connection->ends_flushed = true; /* who says no more may still want to hear */
    } else if (errno != EAGAIN && errno != EINTR) {
        connection->is_closing = true;
    }
    return got;
}

/* What was read into the thread's buffer. */
static void show_shared(struct net_connection *connection, uint8_t *bytes, size_t size)
{
    size_t used = may_read(connection) ? show(connection, bytes, size) : 0;
    buffer_append(&connection->in, bytes + used, size - used);
    check_rest(connection);
}

/* Into the thread's buffer, behind what was gathered, and from there to the handler. True: there
 * may be more. */
static bool read_shared(struct net_connection *connection)
{
    struct net_thread *thread = connection->thread;
    uint8_t *bytes = thread->shared + thread->shared_used;
    size_t room = NET_SHARED_BYTES - thread->shared_used;
    ssize_t got = receive(connection, bytes, room);
    if (got <= 0)
        return false;
    show_shared(connection, bytes, (size_t)got);
    return (size_t)got == room || (connection->ssl && SSL_pending(connection->ssl) > 0);
}

/* Into the thread's buffer, to be shown when others have been read, too. Where it fills the room,
 * the socket is still ready, and has its turn again. */
static void gather(struct net_connection *connection)
{
    struct net_thread *thread = connection->thread;
    uint8_t *bytes = thread->shared + thread->shared_used;
    ssize_t got = receive(connection, bytes, NET_SHARED_BYTES - thread->shared_used);
    if (got > 0) {
        thread->gathered[thread->gathered_count++] =
            (struct gathered){connection, bytes, (size_t)got};
        thread->shared_used += (size_t)got;
    }
    if (thread->gathered_count == NET_AHEAD_MAX ||
        thread->shared_used > NET_SHARED_BYTES - ROOM_LEAST)
        thread_settle(thread);
}

static void look_ahead(struct net_thread *thread)
{
    struct net_input inputs[NET_AHEAD_MAX];
    for (unsigned i = 0; i < thread->gathered_count; i++) {
        const struct gathered *from = &thread->gathered[i];
        inputs[i] = (struct net_input){from->connection->session, from->bytes, from->size};
    }
    thread->net->handler.ahead(thread->net->handler.context, thread->index, inputs,
                               thread->gathered_count);
}

void connections_show(struct net_thread *thread)
{
    if (thread->gathered_count > 1 && thread->net->handler.ahead)
        look_ahead(thread);
    for (unsigned i = 0; i < thread->gathered_count; i++) {
        const struct gathered *from = &thread->gathered[i];
        show_shared(from->connection, from->bytes, from->size);
    }
    thread->gathered_count = 0;
    thread->shared_used = 0;
}

/* Behind what the handler has left. */
static bool read_behind(struct net_connection *connection)
{
    struct buffer *in = &connection->in;
    size_t room = connection->want_bytes > in->size ? connection->want_bytes - in->size : 0;
    if (room < ROOM_LEAST)
        room = ROOM_LEAST;
    if (room > ROOM_MOST)
        room = ROOM_MOST;
    if (!buffer_reserve(in, room)) {
        connection_drop(connection, NET_DROP_MEMORY);
        return false;
    }
    ssize_t got = receive(connection, in->bytes + in->size, room);
    if (got <= 0)
        return false;
    in->size += (size_t)got;
    show_rest(connection);
    return (size_t)got == room || (connection->ssl && SSL_pending(connection->ssl) > 0);
}

static void read_some(struct net_connection *connection)
{
    bool more = true;
    for (unsigned i = 0; i < READS_MOST && more && wants_more(connection); i++)
        more = connection->in.size > 0 ? read_behind(connection) : read_shared(connection);
    if (more && connection->ssl && may_read(connection))
        net_again(connection); /* what TLS holds wakes nobody */
}

void connection_again(struct net_connection *connection)
{
    mark_dirty(connection);
    if (connection->in.size > 0)
        show_rest(connection);
    if (connection->ssl)
        read_some(connection);
}

/* --- output ----------------------------------------------------------------------------------- */

static ssize_t transmit(struct net_connection *connection, const void *bytes, size_t size)
{
    return connection->ssl ? tls_write(connection, bytes, size)
                           : send(connection->fd, bytes, size, MSG_NOSIGNAL);
}

static void output_sent(struct net_connection *connection)
{
    connection->out.size = connection->sent_bytes = connection->flushed_bytes = 0;
    connection->soft_since_ms = 0;
    if (connection->out.cap > OUT_KEPT_BYTES)
        buffer_shrink(&connection->out, OUT_KEPT_BYTES);
}

static void check_output(struct net_connection *connection)
{
    const struct net_output_limits *limits = &connection->limits;
    uint64_t waiting = connection->out.size - connection->sent_bytes;
    uint64_t now = uv_now(&connection->thread->loop);
    if (limits->bytes_max != 0 && waiting > limits->bytes_max)
        connection_drop(connection, NET_DROP_OUTPUT_HARD);
    else if (limits->soft_bytes == 0 || waiting <= limits->soft_bytes)
        connection->soft_since_ms = 0;
    else if (connection->soft_since_ms == 0)
        connection->soft_since_ms = now ? now : 1;
    else if (now - connection->soft_since_ms >= limits->soft_ms)
        connection_drop(connection, NET_DROP_OUTPUT_SOFT);
}

static void flush(struct net_connection *connection)
{
    struct buffer *out = &connection->out;
    while (connection->sent_bytes < out->size && !connection->is_write_blocked &&
           !connection->is_held) {
        ssize_t sent = transmit(connection, out->bytes + connection->sent_bytes,
                                out->size - connection->sent_bytes);
        if (sent > 0) {
            connection->sent_bytes += (size_t)sent;
            connection->bytes_out += (uint64_t)sent;
            connection->active_ms = uv_now(&connection->thread->loop);
            count(&connection->thread->counters.bytes_out, (uint64_t)sent);
        } else if (errno == EAGAIN) {
            connection->is_write_blocked = true;
        } else if (errno != EINTR) {
            connection->is_closing = true;
            return;
        }
    }
    if (out->failed)
        connection_drop(connection, NET_DROP_MEMORY);
    else if (out->size > 0 && connection->sent_bytes == out->size)
        output_sent(connection);
    else if (out->size > 0)
        check_output(connection);
    /* What is sent of a long output is given up by halves, so that it is moved once at most. */
    if (connection->sent_bytes > NET_PRESS_BYTES && connection->sent_bytes > out->size / 2) {
        buffer_consume(out, connection->sent_bytes);
        connection->sent_bytes = 0;
    }
    connection->flushed_bytes = out->size;
}

/* --- events ----------------------------------------------------------------------------------- */

static void open_session(struct net_connection *connection)
{
    struct net *net = net_of(connection);
    connection->is_handshaking = false;
    connection->session = net->handler.opened(net->handler.context, connection);
    if (connection->session)
        connection->is_opened = true;
    else
        connection->is_closing = true;
}

static void shake_hands(struct net_connection *connection)
{
    int done = tls_handshake(connection);
    if (done < 0)
        connection_drop(connection, NET_DROP_HANDSHAKE);
    else if (done > 0)
        open_session(connection);
}

/* Whether its input can wait until others have been read: neither a rest nor TLS, whose own buffer
 * wakes nobody, goes before it. */
static bool may_gather(const struct net_connection *connection)
{
    return !connection->ssl && connection->in.size == 0 && may_read(connection);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct net_connection *connection = poll->data;
    mark_dirty(connection);
    if (status == 0 && events == UV_READABLE && may_gather(connection)) {
        gather(connection);
        return;
    }
    if (events & UV_WRITABLE) {
        connection->is_write_blocked = false;
        connection->tls_wants_write = false;
    }
    if (status < 0)
        connection->is_closing = true;
    else if (connection->is_handshaking)
        shake_hands(connection);
    else if (events & (UV_READABLE | UV_WRITABLE))
        read_some(connection);
    if ((events & UV_DISCONNECT) && connection->is_paused)
        connection->is_closing = true;
    thread_settle(connection->thread);
}

/* What the poll is to wait for. */
static int interest_of(const struct net_connection *connection)
{
    int interest = 0;
    if (connection->is_handshaking)
        return UV_READABLE | (connection->tls_wants_write ? UV_WRITABLE : 0);
    if (wants_more(connection))
        interest |= UV_READABLE;
    if (connection->is_write_blocked || connection->tls_wants_write)
        interest |= UV_WRITABLE;
    if (connection->is_paused && !connection->ends_flushed)
        interest |= UV_DISCONNECT;
    return interest;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void destroy(struct net_connection *connection)
{
    struct net *net = net_of(connection);
    if (connection->is_opened && net->handler.closed)
        net->handler.closed(connection->session);
    if (connection->is_on_again)
        TAILQ_REMOVE(&connection->thread->again, connection, again);
    thread_forget(connection->thread, connection);
    uv_close((uv_handle_t *)&connection->poll, on_closed);
    tls_end(connection);
    close(connection->fd);
    buffer_free(&connection->in);
    buffer_free(&connection->out);
    atomic_fetch_sub_explicit(&net->connections, 1, memory_order_relaxed);
}

/* It is dirty until all is done, so that neither a drop in here nor what the handler does to it in
 * `closed` lists it again: it would be destroyed twice. */
void connection_settle(struct net_connection *connection)
{
    if (!connection->is_closing && connection->is_opened)
        flush(connection);
    if (connection->ends_flushed && connection->out.size == connection->sent_bytes)
        connection->is_closing = true;
    if (connection->is_closing) {
        destroy(connection);
        return;
    }
    connection->is_dirty = false;
    int interest = interest_of(connection);
    if (interest == connection->interest)
        return;
    connection->interest = interest;
    if (interest == 0)
        uv_poll_stop(&connection->poll);
    else
        uv_poll_start(&connection->poll, interest, on_poll);
}

void connection_walk(struct net_connection *connection, uint64_t now_ms)
{
    const struct limits *limits = &net_of(connection)->limits;
    uint64_t idle_ms = atomic_load_explicit(&limits->idle_ms, memory_order_relaxed);
    uint64_t handshake_ms = atomic_load_explicit(&limits->handshake_ms, memory_order_relaxed);
    if (connection->is_handshaking) {
        if (handshake_ms != 0 && now_ms - connection->opened_ms > handshake_ms)
            connection_drop(connection, NET_DROP_HANDSHAKE);
        return;
    }
    if (connection->out.size > connection->sent_bytes)
        check_output(connection);
    if (idle_ms != 0 && !connection->is_never_idle && !is_waiting(connection) &&
        now_ms - connection->active_ms > idle_ms)
        connection_drop(connection, NET_DROP_IDLE);
}

/* --- beginning -------------------------------------------------------------------------------- */

/* On its thread. */
static void begin(struct net_thread *thread, struct item *item)
{
    struct net_connection *connection =
        (struct net_connection *)(void *)((char *)item - offsetof(struct net_connection, item));
    connection->poll.data = connection; /* what on_closed frees */
    bool good = uv_poll_init(&thread->loop, &connection->poll, connection->fd) == 0;
    if (!good || !thread_keep(thread, connection)) {
        atomic_fetch_sub_explicit(&thread->load, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&thread->net->connections, 1, memory_order_relaxed);
        close(connection->fd);
        if (good)
            uv_close((uv_handle_t *)&connection->poll, on_closed);
        else
            free(connection);
        return;
    }
    connection->opened_ms = connection->active_ms = uv_now(&thread->loop);
    mark_dirty(connection);
    if (thread->is_stopping) {
        connection->is_closing = true;
    } else if (connection->is_tls) {
        connection->ssl = tls_new(thread->net, connection->fd);
        connection->is_handshaking = connection->ssl != NULL;
        connection->is_closing = connection->ssl == NULL;
    } else {
        open_session(connection);
    }
}

static struct net_thread *least_loaded(struct net *net)
{
    struct net_thread *best = &net->threads[0];
    uint32_t least = UINT32_MAX;
    for (unsigned i = 0; i < net->threads_count; i++) {
        uint32_t load = atomic_load_explicit(&net->threads[i].load, memory_order_relaxed);
        if (load < least) {
            least = load;
            best = &net->threads[i];
        }
    }
    return best;
}

void connection_hand_over(struct net *net, int fd, const union address *peer, bool is_tls)
{
    struct net_connection *connection = calloc(1, sizeof(*connection));
    if (!connection) {
        close(fd);
        return;
    }
    struct net_thread *thread = least_loaded(net);
    connection->thread = thread;
    connection->fd = fd;
    connection->is_tls = is_tls;
    connection->is_unix = peer->any.sa_family == AF_UNIX;
    if (!connection->is_unix)
        memcpy(&connection->peer, peer, sizeof(connection->peer));
    connection->opened_at_ms = clock_wall_ms();
    connection->limits = usual_limits(net);
    connection->id = atomic_fetch_add_explicit(&net->accepted, 1, memory_order_relaxed) + 1;
    connection->item.run = begin;
    atomic_fetch_add_explicit(&net->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&thread->load, 1, memory_order_relaxed);
    if (thread_give(thread, &connection->item))
        return;
    atomic_fetch_sub_explicit(&net->connections, 1, memory_order_relaxed);
    close(fd);
    free(connection);
}

/* --- what handlers call ----------------------------------------------------------------------- */

struct buffer *net_output(struct net_connection *connection)
{
    mark_dirty(connection);
    return &connection->out;
}

bool net_output_pressed(const struct net_connection *connection)
{
    return connection->out.size - connection->flushed_bytes >= NET_PRESS_BYTES;
}

void net_limit_output(struct net_connection *connection, const struct net_output_limits *limits)
{
    connection->limits = limits ? *limits : usual_limits(net_of(connection));
}

void net_close(struct net_connection *connection)
{
    connection->is_closing = true;
    mark_dirty(connection);
}

void net_close_after_flush(struct net_connection *connection)
{
    connection->ends_flushed = true;
    mark_dirty(connection);
}

void net_pause(struct net_connection *connection)
{
    connection->is_paused = true;
    mark_dirty(connection);
}

void net_resume(struct net_connection *connection)
{
    connection->is_paused = false;
    connection->active_ms = uv_now(&connection->thread->loop); /* it was not idle meanwhile */
    mark_dirty(connection);
    net_again(connection);
}

void net_hold(struct net_connection *connection)
{
    connection->is_held = true;
    mark_dirty(connection);
}

void net_release(struct net_connection *connection)
{
    connection->is_held = false;
    connection->active_ms = uv_now(&connection->thread->loop);
    mark_dirty(connection);
    if (connection->in.size > 0 || connection->ssl)
        net_again(connection);
}

void net_hint(struct net_connection *connection, size_t bytes)
{
    connection->want_bytes = bytes;
}

void net_again(struct net_connection *connection)
{
    struct net_thread *thread = connection->thread;
    if (connection->is_on_again)
        return;
    connection->is_on_again = true;
    TAILQ_INSERT_TAIL(&thread->again, connection, again);
    thread_come_back(thread);
}

void net_never_idle(struct net_connection *connection, bool never)
{
    connection->is_never_idle = never;
}

uint64_t net_id(const struct net_connection *connection)
{
    return connection->id;
}

unsigned net_thread_of(const struct net_connection *connection)
{
    return connection->thread->index;
}

void net_describe(const struct net_connection *connection, struct net_about *out)
{
    uint64_t now = uv_now(&connection->thread->loop);
    struct ucred who;
    socklen_t size = sizeof(who);
    *out = (struct net_about){.id = connection->id,
                              .fd = connection->fd,
                              .thread = connection->thread->index,
                              .is_unix = connection->is_unix,
                              .is_tls = connection->is_tls,
                              .uid = (uid_t)-1,
                              .gid = (gid_t)-1,
                              .opened_at_ms = connection->opened_at_ms,
                              .age_ms = now - connection->opened_ms,
                              .silent_ms = now - connection->active_ms,
                              .bytes_in = connection->bytes_in,
                              .bytes_out = connection->bytes_out,
                              .input_bytes = connection->in.size,
                              .input_cap = connection->in.cap,
                              .output_bytes = connection->out.size - connection->sent_bytes,
                              .output_cap = connection->out.cap};
    address_print_local(connection->fd, out->local);
    if (!connection->is_unix) {
        address_print(&connection->peer.any, out->peer);
        return;
    }
    memcpy(out->peer, out->local, sizeof(out->peer));
    if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0) {
        out->pid = who.pid;
        out->uid = who.uid;
        out->gid = who.gid;
    }
}
