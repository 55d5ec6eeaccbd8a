/* SPDX-License-Identifier: Apache-2.0
 *
 * net.h - listeners, I/O threads and connections. Knows no protocol: bytes go to a handler, and
 * what the handler appends to a connection's output goes out.
 *
 * There are several I/O threads, each with an event loop. A connection is given to the thread that
 * has the fewest, and its whole life is there: every callback about it comes from that thread, and
 * every function below that takes a connection must be called on it, inside a callback. Another
 * thread that wants something of a connection posts a function to the connection's thread.
 *
 * A callback never frees a connection that it looks at: closing takes place after the callback has
 * returned. Then `closed` is called, and the connection is gone when that returns.
 */
#ifndef SIDEPOND_NET_H
#define SIDEPOND_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "server/bytes/buffer.h"
#include "sidepond/status.h"

enum {
    NET_WHY_BYTES = 512,
    NET_ADDRESS_BYTES = 128,
    NET_THREADS_MAX = 64,
    NET_TICK_MS = 100,
    NET_SHARED_BYTES = 64 << 10, /* what one read() can bring */
    NET_PRESS_BYTES = 256 << 10, /* net_output_pressed */
    NET_AHEAD_MAX = 16,          /* connections that are read before the first is shown its input */
};

struct net;
struct net_connection;

/* What waits to be sent to one client. 0 in a field: no limit. */
struct net_output_limits {
    uint64_t bytes_max;  /* more than this closes at once */
    uint64_t soft_bytes; /* more than this for soft_ms closes */
    uint32_t soft_ms;
};

struct net_limits {
    uint32_t clients_max;            /* 0: as many as there are descriptors */
    uint64_t idle_ms;                /* nothing received or sent for so long closes; 0: never */
    uint32_t handshake_ms;           /* within which a TLS handshake must be done; 0: no limit */
    uint64_t query_bytes_max;        /* of input that the handler does not consume */
    struct net_output_limits output; /* of connections made from then on */
};
#define NET_LIMITS_INIT                                                                            \
    {                                                                                              \
        .clients_max = 10000, .handshake_ms = 10000, .query_bytes_max = UINT64_C(1) << 30,         \
    }

struct net_listen {
    const char *address; /* "127.0.0.1:6379", "[::1]:6379", "localhost:6379", "unix:/path" */
    bool tls;
    mode_t unix_mode; /* 0: 0700 */
};

enum net_tls_clients { NET_TLS_CLIENTS_ANY, NET_TLS_CLIENTS_OPTIONAL, NET_TLS_CLIENTS_REQUIRED };

/* Texts are borrowed for the call. */
struct net_tls {
    const char *cert_file;     /* PEM: the server's certificate, then the chain */
    const char *key_file;      /* PEM */
    const char *key_password;  /* NULL: the key is not encrypted */
    const char *ca_file;       /* PEM: who may sign clients' certificates */
    const char *ciphers;       /* of TLS 1.2; NULL: OpenSSL's */
    const char *cipher_suites; /* of TLS 1.3; NULL: OpenSSL's */
    enum net_tls_clients clients;
};

/* Input that has come but was not shown yet. */
struct net_input {
    void *session;
    const uint8_t *bytes;
    size_t size;
};

/* Everything but `opened` and `input` may be NULL. */
struct net_handler {
    void *context;
    /* A session for a new connection, after its TLS handshake; NULL refuses it. */
    void *(*opened)(void *context, struct net_connection *connection);
    /* What came in. Returns how many bytes were consumed; the rest is shown again, from its start,
     * with more behind it. The bytes may be changed, and are lent for the call. */
    size_t (*input)(void *session, uint8_t *bytes, size_t size);
    /* Called before `input` where several sessions have input at once, at most NET_AHEAD_MAX: what
     * will likely be shown to them next, so that the cache misses of all can be taken together. */
    void (*ahead)(void *context, unsigned thread, const struct net_input *inputs, size_t count);
    void (*closed)(void *session);
    void (*thread_started)(void *context, unsigned thread);
    void (*thread_tick)(void *context, unsigned thread); /* each NET_TICK_MS */
    void (*thread_stopped)(void *context, unsigned thread);
};

struct net_options {
    unsigned threads; /* 0: 1 */
    struct net_limits limits;
    const struct net_listen *listens;
    size_t listens_count;
    const struct net_tls *tls; /* NULL: no listener may want it */
    /* Sent to who comes when there are clients_max, and to who is closed because of
     * query_bytes_max; NULL: nothing. They live as long as net does. */
    const char *full_text, *query_text;
};

/* --- the whole ------------------------------------------------------------------------------ */

/* Serves from its own threads from now on. What options points to is borrowed for the call unless
 * it says otherwise. SP_EINVAL, SP_EBUSY (address taken), SP_EACCESS, SP_ESYS, SP_ENOMEM with a
 * sentence in why (NET_WHY_BYTES). */
int net_start(const struct net_options *options, const struct net_handler *handler,
              struct net **out, char *why);

/* Accepts nothing more, sends what waits to be sent for at most grace_ms, closes everything, runs
 * every function that was posted, ends the threads and frees `net`. Not on an I/O thread. */
void net_stop(struct net *net, uint32_t grace_ms); /* NULL is fine */

/* The same in two steps, for those whose threads post to it until they have ended, too: between
 * the two, net_post answers SP_ECANCELED. */
void net_end(struct net *net, uint32_t grace_ms);
void net_free(struct net *net);

/* Any thread. Limits on output are for connections made from then on, all others for everybody. */
void net_set_limits(struct net *net, const struct net_limits *limits);

/* How many clients of `wanted` this process may have descriptors for, with some for all else;
 * raises its limit as far as that takes and the system allows. Any thread. */
uint32_t net_clients_possible(uint32_t wanted);

/* Any thread. One more listener; as for net_start. SP_EEXISTS: net has it already. */
int net_listen_add(struct net *net, const struct net_listen *listen, char *why);

/* Any thread but an I/O thread, for it waits for one. When it returns the address is free; its
 * connections go on. SP_ENOTFOUND. */
int net_listen_remove(struct net *net, const char *address);

/* The TCP port of a listener, named by the address it was added with; 0: none. */
unsigned net_port(struct net *net, const char *address);

/* Whether only this host can reach the address. False for what is no address. */
bool net_address_is_local(const char *address);

/* Any thread. New certificates for new connections. Where anything is wrong with them the old ones
 * stay in use, and why (NET_WHY_BYTES) names the file and the reason: SP_EINVAL, SP_ENOMEM. */
int net_tls_reload(struct net *net, const struct net_tls *tls, char *why);

/* Runs the function on that thread soon, in the order of posting; any thread may call. It is run
 * exactly once, at the latest while the thread ends. SP_ENOMEM; SP_ECANCELED: the thread has
 * ended; SP_EINVAL: there is no such thread. */
int net_post(struct net *net, unsigned thread, void (*function)(void *argument), void *argument);

unsigned net_threads(const struct net *net);

/* Why a connection was closed by this side and by rule. */
enum net_drop {
    NET_DROP_QUERY,       /* query_bytes_max */
    NET_DROP_OUTPUT_HARD, /* bytes_max */
    NET_DROP_OUTPUT_SOFT, /* soft_bytes for soft_ms */
    NET_DROP_IDLE,
    NET_DROP_HANDSHAKE, /* not done within handshake_ms, or failed */
    NET_DROP_MEMORY,    /* there was none for its input or output */
    NET_DROP_COUNT
};
const char *net_drop_name(enum net_drop drop);

struct net_stats {
    uint64_t connections; /* now */
    uint64_t accepted, rejected, accept_errors;
    uint64_t bytes_in, bytes_out; /* as the handler sees them: without TLS around them */
    uint64_t dropped[NET_DROP_COUNT];
};

/* Any thread. Each figure is right; together they are not of one moment. */
void net_stats(const struct net *net, struct net_stats *out);

/* --- one connection: on its thread only ------------------------------------------------------ */

/* Where to append. After the callback, and those of sockets that were ready with it, what was
 * appended is written at once, and what the socket does not take, when it does. Only append: bytes
 * already there may have been sent in part. */
struct buffer *net_output(struct net_connection *connection);

/* Whether this callback has appended so much that `input` should return after this request, with
 * the rest unconsumed: it is shown again at once, when the limits have been looked at. So one
 * piece of input cannot make an output without bounds. */
bool net_output_pressed(const struct net_connection *connection);

/* Other limits on output for this connection; NULL: those that new connections have. */
void net_limit_output(struct net_connection *connection, const struct net_output_limits *limits);

/* Closes it after the callback; nothing more is sent. */
void net_close(struct net_connection *connection);

/* Reads nothing more, and closes when all output is sent. */
void net_close_after_flush(struct net_connection *connection);

/* A client that waits for something: `input` is not called and nothing is read until net_resume.
 * That it goes away is noticed, and it is not idle meanwhile. */
void net_pause(struct net_connection *connection);
void net_resume(struct net_connection *connection);

/* Output that is not to go out yet: what has been appended, and is until net_release, is kept.
 * Nothing is read and `input` is not called meanwhile, and it is not idle. Both this and net_pause
 * may be at the same time, and end one without the other. A client that goes away is noticed at the
 * release: so hold for a short time. The limits of output are kept. */
void net_hold(struct net_connection *connection);
void net_release(struct net_connection *connection);

/* Called by `input`, which needs this many bytes, counted from what it leaves unconsumed, before it
 * can do anything: it is not called with fewer. Memory grows with what comes, not with the hint. */
void net_hint(struct net_connection *connection, size_t bytes);

/* Shows what is left unconsumed once more, after others have had their turn. */
void net_again(struct net_connection *connection);

/* A client that may be silent for ever, such as a subscriber. */
void net_never_idle(struct net_connection *connection, bool never);

/* Calls the function once, so many milliseconds after net_timer_start and not before, as one more
 * callback of the connection's thread. NULL: no memory. To be freed in `closed` at the latest. */
struct net_timer;
struct net_timer *net_timer_new(struct net_connection *connection, void (*function)(void *argument),
                                void *argument);
void net_timer_start(struct net_timer *timer, uint64_t ms); /* anew, if it runs */
void net_timer_stop(struct net_timer *timer);
void net_timer_free(struct net_timer *timer); /* NULL is fine */

struct net_about {
    uint64_t id; /* counts from 1, never used twice */
    int fd;
    unsigned thread;
    char peer[NET_ADDRESS_BYTES], local[NET_ADDRESS_BYTES]; /* Unix: the socket's path, twice */
    bool is_unix, is_tls;
    pid_t pid; /* Unix sockets: who connected; else 0, and the next two -1 */
    uid_t uid;
    gid_t gid;
    int64_t opened_at_ms; /* wall clock */
    uint64_t age_ms, silent_ms;
    uint64_t bytes_in, bytes_out;
    size_t input_bytes, input_cap, output_bytes, output_cap;
};
void net_describe(const struct net_connection *connection, struct net_about *out);

uint64_t net_id(const struct net_connection *connection);
unsigned net_thread_of(const struct net_connection *connection);

#endif
