/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/cache.h - the cache: entries that clients of sidepondd put in, with an expiry.
 *
 * Keys and values are any bytes. Reads go straight to the shared memory, as those of tables do:
 * they take no lock, cost no system call, and see each write that the daemon has answered. All are
 * copies: a snapshot does not hold entries of the cache, and there are no views of them. Writes go
 * to the daemon, by its Unix socket in the pond's directory, and have taken place when the call
 * returns.
 *
 *   struct sp_cache *cache;
 *   char page[4096];
 *   size_t size;
 *   if (sp_cache_open(pond, &cache) == SP_OK &&
 *       sp_cache_set(cache, "page:7", 6, "hello", 5, 60000) == SP_OK &&
 *       sp_cache_get(cache, "page:7", 6, page, sizeof page, &size) == SP_OK)
 *       fwrite(page, 1, size, stdout);
 *
 * An entry past its expiry is as good as absent. The time is the wall clock, taken up to a
 * millisecond ago (up to 10 ms where the processor has no steady counter), so an entry may be seen
 * so much longer.
 *
 * Threads: any number may use the handle at the same time. Each call that writes has a connection
 * of its own, so there are as many as threads that write at one time; up to 32 idle ones are kept.
 *
 * fork: it works in both processes. The child opens connections of its own.
 *
 * sp_cache_get and sp_cache_mget tell the daemon which entries are in use, so that it evicts others
 * first: they set a bit in the pond's file `hints`, where this process may write that. Hits and
 * misses are added up there too, ten times a second, for sidepond top and the daemon's metrics.
 * Where it may not be written, reading works all the same.
 */
#ifndef SIDEPOND_CACHE_H
#define SIDEPOND_CACHE_H

#include "sidepond/sidepond.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sp_cache;

/* The pond's cache. It belongs to the pond and lives as long; asking again gives the same pointer.
 * SP_ENOTABLE if the pond has none; SP_ENOTREADY, SP_ENOMEM, SP_ECORRUPT. A pond that replaces this
 * one without having a cache answers SP_ENOTABLE on use. */
SP_API int sp_cache_open(struct sp_pond *pond, struct sp_cache **out);

/* Copies the value of a key into `out` and its size into `*size`. What is behind the value in
 * `out`, up to `cap`, may be overwritten. SP_ENOTFOUND; SP_ERANGE if `cap` is too small (nothing
 * usable is copied, `*size` says what was needed; it may be more the next time); SP_ENOTABLE;
 * SP_ENOTREADY; SP_ECORRUPT. Leaves sp_error_detail alone, as do those below. */
SP_API int sp_cache_get(struct sp_cache *cache, const void *key, size_t key_bytes, void *out,
                        size_t cap, size_t *size);

/* Many at once, as sp_mget: memory latency is paid together. Each has its own status; SP_OK if the
 * cache could be read at all. They need not be of one moment. */
SP_API int sp_cache_mget(struct sp_cache *cache, struct sp_get *gets, size_t count);

/* Whether a key exists: SP_OK or as sp_cache_get. Does not count as use of the entry. */
SP_API int sp_cache_exists(struct sp_cache *cache, const void *key, size_t key_bytes);

/* How long a key has left, in milliseconds; -1: it does not expire. Otherwise as sp_cache_exists.
 */
SP_API int sp_cache_ttl(struct sp_cache *cache, const void *key, size_t key_bytes, int64_t *ms);

/* --- writing -------------------------------------------------------------------------------
 *
 * Besides what is said with each, these return, with sp_error_detail naming the server's address
 * and what it said:
 *   SP_ENODAEMON  there is no connection: sidepondd does not run, or went away meanwhile. After it
 *                 was started again, the next call connects anew.
 *   SP_ETIMEDOUT  the server did not answer in time. Whether it has done it is not known.
 *   SP_EACCESS    the socket may not be used, the password is wrong, or the user has no such right
 *   SP_ENOSPC     the cache is full and does not evict
 *   SP_ETOOBIG    key or value exceeds the limit
 *   SP_EREFUSED   the server refused it for another reason: the key is one of a table's rows, say
 *   SP_EINVAL, SP_ENOMEM, SP_ESYS
 * A call whose connection turns out to be closed is repeated once, on a new one, if none of it was
 * sent or if doing it twice is the same as once. sp_cache_incr and sp_cache_add are never sent
 * twice. */

struct sp_cache_options {
    size_t struct_bytes; /* sizeof(struct sp_cache_options), set by the INIT value */
    const char
        *address;     /* "unix:/PATH", "HOST:PORT" or "[ADDRESS]:PORT"; NULL: the pond's socket */
    const char *user; /* NULL: the server's default user */
    const char *password; /* NULL: none is sent */
    uint32_t timeout_ms;  /* how long to wait while nothing comes or goes; at least 1 */
};
#define SP_CACHE_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(struct sp_cache_options), NULL, NULL, NULL, 1000                                    \
    }

/* Says how to reach the server, and tries it. Nobody needs this who talks to the pond's own socket
 * without a password. `options` are copied; NULL means the defaults. They hold even if the attempt
 * fails, except with SP_EINVAL. Connections of calls that are under way end with these. A host's
 * name is looked up by the system without a limit of time. */
SP_API int sp_cache_connect(struct sp_cache *cache, const struct sp_cache_options *options);

/* Puts an entry in, in the place of one that is there. It expires after `ttl_ms`, or never if that
 * is 0. */
SP_API int sp_cache_set(struct sp_cache *cache, const void *key, size_t key_bytes,
                        const void *value, size_t value_bytes, int64_t ttl_ms);

/* The same if the key does not exist; otherwise SP_EEXISTS. */
SP_API int sp_cache_add(struct sp_cache *cache, const void *key, size_t key_bytes,
                        const void *value, size_t value_bytes, int64_t ttl_ms);

/* The same if the key exists; otherwise SP_ENOTFOUND. */
SP_API int sp_cache_replace(struct sp_cache *cache, const void *key, size_t key_bytes,
                            const void *value, size_t value_bytes, int64_t ttl_ms);

/* Takes an entry out. SP_ENOTFOUND if there was none (or, after a repetition, none any more). */
SP_API int sp_cache_delete(struct sp_cache *cache, const void *key, size_t key_bytes);

/* Lets an entry expire `ttl_ms` from now; 0: never. SP_ENOTFOUND. */
SP_API int sp_cache_expire(struct sp_cache *cache, const void *key, size_t key_bytes,
                           int64_t ttl_ms);

/* Adds `by` to a value that is a whole number in decimal digits; a key that does not exist counts
 * as 0. `*out` (may be NULL) is the sum. SP_ETYPE if the value is no such number; SP_ERANGE if the
 * sum does not fit into 64 bits. The expiry stays as it is. */
SP_API int sp_cache_incr(struct sp_cache *cache, const void *key, size_t key_bytes, int64_t by,
                         int64_t *out);

struct sp_set {
    const void *key;
    size_t key_bytes;
    const void *value;
    size_t value_bytes;
    int64_t ttl_ms; /* 0: never expires */
    int status;     /* filled in */
};

/* Many at once, without waiting for the answer to each. They are not one transaction. Each has its
 * own status; returned is SP_OK or the first other one. */
SP_API int sp_cache_mset(struct sp_cache *cache, struct sp_set *sets, size_t count);

/* --- single flight -------------------------------------------------------------------------
 *
 * Of all processes and threads that miss the same key, on this host or another, one computes the
 * value and puts it in, and the others wait for it.
 */

/* Bytes that grow as needed. Starts as {0}; one thread at a time; ends with sp_buffer_free. */
struct sp_buffer {
    void *data;
    size_t size;
    size_t cap;
};

/* Room for at least `cap` bytes; what is there stays. SP_ENOMEM. */
SP_API int sp_buffer_reserve(struct sp_buffer *buffer, size_t cap);
/* A copy of `size` bytes in the place of what is there. `data` may not lie in the buffer.
 * SP_ENOMEM. */
SP_API int sp_buffer_set(struct sp_buffer *buffer, const void *data, size_t size);
/* Frees the bytes; the buffer is {0} again. */
SP_API void sp_buffer_free(struct sp_buffer *buffer);

/* Where a value came from. */
enum sp_origin {
    SP_ORIGIN_CACHE,    /* it was there, or another one has computed it meanwhile */
    SP_ORIGIN_STALE,    /* it was there and is stale; another one computes it anew */
    SP_ORIGIN_COMPUTED, /* it was computed here, and is in the cache now */
    SP_ORIGIN_UNSTORED, /* it was computed here, and is not: sp_error_detail says why */
};

struct sp_compute {
    size_t struct_bytes; /* sizeof(struct sp_compute), set by the INIT value */
    /* Puts the value into `value`, which is empty. May itself use the cache, but not ask for this
     * key. What it returns other than SP_OK, any number, ends the call with it. */
    int (*compute)(void *context, struct sp_buffer *value);
    void *context;
    /* A value is fresh for ttl_ms; after that it is stale for stale_ms, and then gone. Who finds a
     * stale value first computes it; the others have the stale one at once. ttl_ms 0: fresh for
     * ever, and stale_ms means nothing. */
    int64_t ttl_ms;
    int64_t stale_ms;
    /* How long to wait for another one; then it is computed without storing it. At most an hour. */
    uint32_t wait_ms;
    /* How long others believe that who computes is still at it; then another one computes. 0: 10
     * s; at most an hour. One who dies is not believed in any case. */
    uint32_t hold_ms;
    /* Asked, while another one is waited for, after a signal has come: false ends the call with
     * SP_ECANCELED. May be NULL. */
    bool (*go_on)(void *context);
};
#define SP_COMPUTE_INIT                                                                            \
    {                                                                                              \
        sizeof(struct sp_compute), NULL, NULL, 0, 0, 5000, 0, NULL                                 \
    }

/* The value of a key, out of the cache or else computed. A fresh hit is read from shared memory and
 * costs no system call. `*origin` (may be NULL) says where it is from. SP_OK; what `compute`
 * returned; SP_ECANCELED; SP_EINVAL; SP_ETOOBIG (the key); SP_ENOMEM. Whatever is wrong with the
 * server or the pond is no error: a stale value is used, or it is computed and returned without
 * being stored. A server that does not run costs no time; one that hangs is given wait_ms and the
 * connection's timeout. A value that is put in by sp_cache_set, or deleted, while it is being
 * computed stays as it was put: what was computed is returned, and not stored. */
SP_API int sp_cache_get_or_compute(struct sp_cache *cache, const void *key, size_t key_bytes,
                                   const struct sp_compute *how, struct sp_buffer *value,
                                   enum sp_origin *origin);

#ifdef __cplusplus
}
#endif
#endif
