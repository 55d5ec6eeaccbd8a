/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of server/net share.
 *
 *   net.c         the whole: start, stop, posts, figures
 *   thread.c      an event loop, its inbox, its tick
 *   listen.c      addresses, listening sockets, accepting
 *   connection.c  a connection's life, its input and its output
 *   timer.c       timers of connections
 *   tls.c         certificates, and TLS as another way to read and write
 *
 * Fields are of the connection's or listener's thread alone, unless they are atomic or a lock is
 * named. The locks are leaves: nothing is called under them that takes another, but that a thread
 * is given its listener under listen_lock.
 */
#ifndef SIDEPOND_NET_INTERNAL_H
#define SIDEPOND_NET_INTERNAL_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/un.h>
#include <uv.h>

#include "server/net/net.h"

enum { CACHE_LINE = 64 };

/* --- what a thread is given ------------------------------------------------------------------ */

struct net_thread;
struct item {
    STAILQ_ENTRY(item) next;
    void (*run)(struct net_thread *thread, struct item *item); /* and frees the item */
};
STAILQ_HEAD(item_list, item);

/* Written by one thread, read by any. */
struct counters {
    _Atomic uint64_t rejected, accept_errors, bytes_in, bytes_out, dropped[NET_DROP_COUNT];
};

static inline void count(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + more, memory_order_relaxed);
}

/* --- connections ----------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    struct sockaddr_un local;
};

/* A peer's address: a client on a Unix socket has none. */
union peer {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

struct net_connection {
    uv_poll_t poll;
    struct net_thread *thread;
    void *session;
    SSL *ssl; /* NULL: none */
    int fd;
    int interest; /* what poll is started with; 0: stopped */

    /* on the thread's list of those to be looked at after the callback */
    struct net_connection *next_dirty;
    bool is_dirty;

    bool is_opened;      /* the handler knows it */
    bool is_handshaking; /* TLS, not yet opened */
    bool is_closing;     /* to be destroyed after the callback */
    bool ends_flushed;   /* net_close_after_flush */
    bool is_paused;
    bool is_held; /* net_hold */
    bool is_never_idle;
    bool is_write_blocked; /* the socket took not all; it has not become writable since */
    bool tls_wants_write;  /* TLS can read only after it could write */
    bool is_tls_broken;    /* nothing can be said by it any more */
    bool is_on_again;
    bool is_tls, is_unix;

    struct buffer in;  /* what the handler left */
    size_t want_bytes; /* net_hint */
    struct buffer out;
    size_t sent_bytes;    /* of out */
    size_t flushed_bytes; /* out.size when it was last looked at */
    uint64_t soft_since_ms;
    struct net_output_limits limits;

    uint64_t id;
    uint64_t opened_ms, active_ms; /* of the loop's clock */
    int64_t opened_at_ms;
    uint64_t bytes_in, bytes_out;
    union peer peer;
    size_t slot; /* in the thread's array */
    TAILQ_ENTRY(net_connection) again;
    struct item item; /* while it is being handed over */
};

/* Counts it, gives it to the thread with the fewest. Takes the socket over, whatever happens. */
void connection_hand_over(struct net *net, int fd, const union address *peer, bool is_tls);

void connection_walk(struct net_connection *connection, uint64_t now_ms); /* rules about time */
void connection_again(struct net_connection *connection);
void connection_settle(struct net_connection *connection); /* after a callback */
void connection_drop(struct net_connection *connection, enum net_drop drop);

void connections_show(struct net_thread *thread); /* what was gathered */

/* --- threads --------------------------------------------------------------------------------- */

/* What was read of a connection and is shown to the handler a little later. */
struct gathered {
    struct net_connection *connection;
    uint8_t *bytes; /* in the thread's buffer */
    size_t size;
};

struct net_thread {
    struct net *net;
    unsigned index;
    pthread_t pthread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t tick;
    uv_idle_t idle;   /* started while `again` has any */
    uv_check_t check; /* after the sockets' events */
    struct net_connection **connections;
    size_t connections_count, connections_cap;
    size_t walk_slot; /* where the next tick goes on */
    struct net_connection *dirty;
    TAILQ_HEAD(again_list, net_connection) again;
    bool has_loop, has_started;
    bool is_stopping;
    uint64_t stop_by_ms;
    uint8_t *shared; /* NET_SHARED_BYTES: what connections without a rest read into */
    size_t shared_used;
    struct gathered gathered[NET_AHEAD_MAX];
    unsigned gathered_count;

    alignas(CACHE_LINE) pthread_mutex_t lock;
    struct item_list inbox; /* lock */
    bool has_ended;         /* lock: takes nothing more */
    _Atomic uint32_t load;  /* connections, with those in the inbox */

    alignas(CACHE_LINE) struct counters counters;
};

int thread_init(struct net_thread *thread, struct net *net, unsigned index);
void *thread_main(void *thread);
void thread_destroy(struct net_thread *thread);   /* after it has ended, or where it never began */
void thread_come_back(struct net_thread *thread); /* to those of `again`, after other events */
bool thread_give(struct net_thread *thread, struct item *item);   /* false: it has ended */
void thread_stop(struct net_thread *thread, uint64_t stop_by_ms); /* on it */
/* At the end of each callback of libuv, but of one that has gathered. */
void thread_settle(struct net_thread *thread);
bool thread_keep(struct net_thread *thread, struct net_connection *connection);
void thread_forget(struct net_thread *thread, struct net_connection *connection);

/* --- listeners ------------------------------------------------------------------------------- */

struct listener {
    LIST_ENTRY(listener) next; /* listen_lock */
    struct item item;
    uv_poll_t poll; /* of thread 0 */
    struct net *net;
    char address[NET_ADDRESS_BYTES];
    union address bound;
    int fd;
    bool is_tls, is_begun, is_polled;
    bool is_resting; /* accepting failed; again at the next tick */
    dev_t dev;       /* Unix: of the file */
    ino_t ino;
};
LIST_HEAD(listener_list, listener);

void listeners_stop(struct net *net); /* on thread 0 */
void listeners_free(struct net *net); /* those that no thread has begun */
/* Into NET_ADDRESS_BYTES. */
void address_print(const struct sockaddr *address, char *out);
void address_print_local(int fd, char *out);
void listeners_wake(struct net *net); /* on thread 0: those that rest */

/* --- TLS ------------------------------------------------------------------------------------- */

int tls_load(const struct net_tls *tls, SSL_CTX **out, char *why);
bool net_has_tls(struct net *net);
SSL *tls_new(struct net *net, int fd); /* NULL: no memory, or no certificates */

/* As read and send: bytes, 0 at the end, or -1 with errno: EAGAIN too when TLS first needs the
 * other direction (tls_wants_write). */
ssize_t tls_read(struct net_connection *connection, void *bytes, size_t cap);
ssize_t tls_write(struct net_connection *connection, const void *bytes, size_t size);

/* Tells the client that this is the end and no cut, if the socket takes it at once, and frees. */
void tls_end(struct net_connection *connection);

/* 1: done; 0: goes on when the socket is ready; -1: failed. */
int tls_handshake(struct net_connection *connection);

/* --- the whole ------------------------------------------------------------------------------- */

struct limits {
    _Atomic uint32_t clients_max, handshake_ms, soft_ms;
    _Atomic uint64_t idle_ms;
    _Atomic uint64_t query_bytes_max, output_bytes_max, soft_bytes;
};

struct net {
    struct net_handler handler;
    struct limits limits;
    const char *full_text, *query_text;
    struct net_thread *threads;
    unsigned threads_count;
    int reserve_fd; /* of thread 0: given up to accept when there are no descriptors left */

    pthread_mutex_t listen_lock;
    struct listener_list listeners; /* listen_lock */

    pthread_mutex_t tls_lock;
    SSL_CTX *tls; /* tls_lock */

    alignas(CACHE_LINE) _Atomic uint32_t connections;
    _Atomic uint64_t accepted; /* also the last connection's id */
};

#endif
