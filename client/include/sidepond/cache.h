/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/cache.h - reading the cache: entries that clients of sidepondd put in, with an expiry.
 *
 * Keys and values are any bytes. Reads go straight to the shared memory, as those of tables do:
 * they take no lock, cost no system call, and see each write that the daemon has answered. All are
 * copies: a snapshot does not hold entries of the cache, and there are no views of them.
 *
 *   struct sp_cache *cache;
 *   char page[4096];
 *   size_t size;
 *   if (sp_cache_open(pond, &cache) == SP_OK &&
 *       sp_cache_get(cache, "page:7", 6, page, sizeof page, &size) == SP_OK)
 *       fwrite(page, 1, size, stdout);
 *
 * An entry past its expiry is as good as absent. The time is the wall clock as of the last tick of
 * the kernel, so an entry may be seen up to 10 ms longer.
 *
 * Threads: any number may use the handle at the same time. fork: it works in both processes.
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

#ifdef __cplusplus
}
#endif
#endif
