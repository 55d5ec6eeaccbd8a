/* SPDX-License-Identifier: Apache-2.0
 *
 * compute.c - sp_cache_get_or_compute: of many who miss a key one computes the value.
 *
 * The server decides who. A miss, or a value that is stale, asks it by SIDEPOND LEASE (see
 * docs/PROTOCOL.md), which answers with
 *   a value   another one has put it in meanwhile: return it
 *   stale     another one is computing: return what there is
 *   a lease   it is up to us: compute, then SIDEPOND FILL, or SIDEPOND RELEASE if that failed
 *   null      another one was waited for in vain: compute, for the caller alone
 * and lets the others wait. A lease is of the connection it was taken on and ends with it, so who
 * dies is not waited for; hence that connection stays out of the pool until the lease is given
 * back, and no lock is held while the caller's function runs.
 *
 * The entry lives for ttl_ms + stale_ms and is stale when less than stale_ms of that are left:
 * nothing but its expiry says so, and the same look at it serves here and in the server.
 *
 * Costs: a fresh hit is a read of shared memory. A miss is two round trips and the computation.
 */
#include <stdio.h>
#include <string.h>

#include "client/cache/link.h"

#define VALUE_BYTES  1024u    /* of a buffer that has no room at all */
#define LEASE_MS_MAX 3600000u /* the server's limit of waiting and of holding */

struct flight {
    struct sp_cache *cache;
    const void *key;
    size_t key_bytes;
    struct sp_compute how;
    struct sp_buffer *value;
    bool stale;                /* `value` is one that is stale */
    struct connection *holder; /* of the lease */
    int64_t token;
};

/* --- what is there ---------------------------------------------------------------------------- */

static int read_value(struct flight *flight, struct cache_found *entry)
{
    struct sp_buffer *value = flight->value;
    int status = value->cap > 0 ? SP_OK : sp_buffer_reserve(value, VALUE_BYTES);
    while (status == SP_OK) {
        status = cache_get_entry(flight->cache, flight->key, flight->key_bytes, value->data,
                                 value->cap, entry);
        if (status == SP_OK)
            value->size = entry->value_bytes;
        if (status != SP_ERANGE)
            return status;
        status = sp_buffer_reserve(value, entry->value_bytes);
    }
    return status;
}

/* Whether there is a fresh value; notes a stale one. */
static bool read_fresh(struct flight *flight)
{
    struct cache_found entry;
    flight->stale = false;
    flight->value->size = 0;
    if (read_value(flight, &entry) != SP_OK)
        return false;
    flight->stale = flight->how.ttl_ms != 0 && entry.expiry_ms != 0 &&
                    entry.expiry_ms - cache_clock_ms() < flight->how.stale_ms;
    return !flight->stale;
}

/* --- the server ------------------------------------------------------------------------------- */

static int64_t at_most_an_hour(uint32_t ms)
{
    return ms < LEASE_MS_MAX ? ms : LEASE_MS_MAX;
}

static void lease_command(const struct flight *flight, struct command *command,
                          char digits[3][NUMBER_BYTES])
{
    command_word(command, "SIDEPOND");
    command_word(command, "LEASE");
    command_add(command, flight->key, flight->key_bytes);
    command_number(command, at_most_an_hour(flight->how.wait_ms), digits[0]);
    if (flight->how.stale_ms > 0 && flight->how.ttl_ms > 0) {
        command_word(command, "FRESH");
        command_number(command, flight->how.stale_ms, digits[1]);
    }
    if (flight->how.hold_ms > 0) {
        command_word(command, "HOLD");
        command_number(command, at_most_an_hour(flight->how.hold_ms), digits[2]);
    }
}

enum leased { LEASED_VALUE, LEASED_STALE, LEASED_OURS, LEASED_NOTHING };

/* Whether the reply is an array of this word and something of the type. */
static bool is_pair(const redisReply *reply, const char *word, int type)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           strcmp(reply->element[0]->str, word) == 0 && reply->element[1]->type == type;
}

/* What a reply says. Its second part is the value, or the lease's token. */
static int read_lease(struct flight *flight, const redisReply *reply, enum leased *out)
{
    *out = LEASED_NOTHING;
    if (is_pair(reply, "lease", REDIS_REPLY_INTEGER)) {
        flight->token = reply->element[1]->integer;
        *out = LEASED_OURS;
        return SP_OK;
    }
    bool fresh = is_pair(reply, "value", REDIS_REPLY_STRING);
    if (!fresh && !is_pair(reply, "stale", REDIS_REPLY_STRING))
        return reply_status(reply, 1u << REDIS_REPLY_NIL, flight->holder->address);
    *out = fresh ? LEASED_VALUE : LEASED_STALE;
    const redisReply *value = reply->element[1];
    int status = sp_buffer_set(flight->value, value->str, value->len);
    return status == SP_OK ? SP_OK : error_plain(status);
}

/* Asks the server. With LEASED_OURS the flight holds the lease. */
static int ask(struct flight *flight, enum leased *out)
{
    struct command command = {.count = 0};
    char digits[3][NUMBER_BYTES];
    const struct request request = {.commands = &command,
                                    .count = 1,
                                    .repeatable = true, /* a lost connection has no lease */
                                    .extra_ms = flight->how.wait_ms,
                                    .go_on = flight->how.go_on,
                                    .context = flight->how.context};
    redisReply *reply;
    lease_command(flight, &command, digits);
    int status = request_run(flight->cache, &request, &reply, &flight->holder);
    if (status != SP_OK)
        return status;
    status = read_lease(flight, reply, out);
    freeReplyObject(reply);
    if (*out != LEASED_OURS)
        link_give(flight->cache, flight->holder);
    return status;
}

/* Gives the lease back, with a value (FILL) or without one. Whether it was ours still. */
static bool finish(struct flight *flight, bool fill)
{
    struct command command = {.count = 0};
    const struct request request = {.commands = &command, .count = 1};
    char token[NUMBER_BYTES], digits[NUMBER_BYTES];
    redisReply *reply;
    command_word(&command, "SIDEPOND");
    command_word(&command, fill ? "FILL" : "RELEASE");
    command_add(&command, flight->key, flight->key_bytes);
    command_number(&command, flight->token, token);
    if (fill)
        command_add(&command, flight->value->data, flight->value->size);
    if (fill && flight->how.ttl_ms > 0) {
        command_word(&command, "PX");
        command_number(&command, flight->how.ttl_ms + flight->how.stale_ms, digits);
    }
    if (request_run_on(flight->holder, &request, &reply) != SP_OK) {
        link_drop(flight->cache, flight->holder);
        return false;
    }
    int status = reply_status(reply, 1u << REDIS_REPLY_INTEGER, flight->holder->address);
    bool done = status == SP_OK && reply->integer == 1;
    if (status == SP_OK && !done)
        error_set(SP_OK,
                  "%s: the key was written or deleted while its value was computed, or that "
                  "took longer than hold_ms",
                  flight->holder->address);
    freeReplyObject(reply);
    if (status == SP_OK)
        link_give(flight->cache, flight->holder);
    else
        link_drop(flight->cache, flight->holder); /* and the lease with it */
    return done;
}

/* --- computing -------------------------------------------------------------------------------- */

static int compute(struct flight *flight)
{
    flight->value->size = 0;
    return flight->how.compute(flight->how.context, flight->value);
}

static int compute_leased(struct flight *flight, enum sp_origin *origin)
{
    int status = compute(flight);
    if (status != SP_OK) {
        (void)finish(flight, false);
        return status;
    }
    bool fits = flight->value->size <= SP_VALUE_BYTES_MAX;
    if (!fits)
        error_set(SP_ETOOBIG, "a value has at most %u bytes, and %zu were computed",
                  SP_VALUE_BYTES_MAX, flight->value->size);
    else
        error_plain(SP_OK);
    *origin = finish(flight, fits) && fits ? SP_ORIGIN_COMPUTED : SP_ORIGIN_UNSTORED;
    return SP_OK;
}

/* For the caller alone. Why is said when it is done: the caller's function may fail in calls of its
 * own, and go on. */
static int compute_unstored(struct flight *flight, bool waited, enum sp_origin *origin)
{
    char why[REGION_WHY_BYTES];
    if (waited)
        snprintf(why, sizeof why, "another one who computes it was waited for in vain");
    else
        snprintf(why, sizeof why, "%s", sp_error_detail());
    int status = compute(flight);
    if (status != SP_OK)
        return status;
    *origin = SP_ORIGIN_UNSTORED;
    return error_set(SP_OK, "%s", why);
}

/* After a miss, or with a stale value at hand. */
static int fly(struct flight *flight, enum sp_origin *origin)
{
    enum leased leased = LEASED_NOTHING;
    int status = ask(flight, &leased);
    if (status == SP_ECANCELED || status == SP_ENOMEM)
        return status;
    if (status == SP_OK && leased == LEASED_OURS)
        return compute_leased(flight, origin);
    if (status == SP_OK && leased != LEASED_NOTHING) {
        *origin = leased == LEASED_VALUE ? SP_ORIGIN_CACHE : SP_ORIGIN_STALE;
        return SP_OK;
    }
    if (flight->stale) {
        *origin = SP_ORIGIN_STALE;
        return SP_OK;
    }
    return compute_unstored(flight, status == SP_OK, origin);
}

static int check(const struct sp_compute *how, size_t key_bytes)
{
    if (how->compute == NULL)
        return error_set(SP_EINVAL, "there is no function to compute the value");
    if (how->ttl_ms < 0 || how->stale_ms < 0 || how->stale_ms > INT64_MAX - how->ttl_ms)
        return error_set(SP_EINVAL, "ttl_ms and stale_ms are not below 0");
    if (key_bytes > SP_KEY_BYTES_MAX)
        return error_set(SP_ETOOBIG, "a key has at most %u bytes, and this has %zu",
                         SP_KEY_BYTES_MAX, key_bytes);
    return SP_OK;
}

int sp_cache_get_or_compute(struct sp_cache *cache, const void *key, size_t key_bytes,
                            const struct sp_compute *how, struct sp_buffer *value,
                            enum sp_origin *origin)
{
    struct flight flight = {
        .cache = cache, .key = key, .key_bytes = key_bytes, .how = SP_COMPUTE_INIT, .value = value};
    enum sp_origin from = SP_ORIGIN_CACHE;
    int status = options_over(&flight.how, sizeof flight.how, how, "SP_COMPUTE_INIT");
    if (status == SP_OK)
        status = check(&flight.how, key_bytes);
    if (status == SP_OK && !read_fresh(&flight))
        status = fly(&flight, &from);
    if (status == SP_OK && origin != NULL)
        *origin = from;
    return status;
}
