/* SPDX-License-Identifier: Apache-2.0
 *
 * copy_key.c - how keys are compared and brought over.
 *
 * Keys of Redis carry no versions, and clients write to holder and target alike while they are
 * copied. So a key that the target lacks is restored without REPLACE: what a client has put there
 * meanwhile stays. One that differs is replaced under WATCH, and read again at the holder
 * afterwards, until that is what was restored. Values of all types go as DUMP gives them, with the
 * time that they have left.
 *
 * Limit: a client's write that reaches the target before WATCH, and the holder only after it has
 * been read again, is lost at the target. It is there at the holder.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/agent/internal.h"

#define TRIES        16
#define TTL_SLACK_MS 2000 /* two servers' PTTL of one key are not asked at one time */

/* --- one key ---------------------------------------------------------------------------------- */

/* What a server has of a key: DUMP and PTTL were asked. */
struct state {
    redisReply *dump; /* NULL: the connection is lost */
    int64_t ttl_ms;   /* -1: for ever */
    bool deleted;     /* after that */
};

static void ask_state(struct redis *redis, const redisReply *key)
{
    redis_send(redis, "DUMP %b", key->str, key->len);
    redis_send(redis, "PTTL %b", key->str, key->len);
}

static bool take_state(struct redis *redis, struct state *out)
{
    out->dump = redis_receive(redis);
    redisReply *ttl = redis_receive(redis);
    bool good = out->dump != NULL && ttl != NULL && ttl->type == REDIS_REPLY_INTEGER &&
                out->dump->type != REDIS_REPLY_ERROR;
    out->ttl_ms = good ? ttl->integer : 0;
    if (!good && out->dump != NULL && out->dump->type == REDIS_REPLY_ERROR)
        snprintf(redis->why, sizeof redis->why, "%s", out->dump->str);
    freeReplyObject(ttl);
    return good;
}

static void free_state(struct state *state)
{
    freeReplyObject(state->dump);
    state->dump = NULL;
}

/* What expires between DUMP and PTTL is gone. */
static bool is_there(const struct state *state)
{
    return state->dump->type == REDIS_REPLY_STRING && state->ttl_ms != -2;
}

static bool is_same(const struct state *a, const struct state *b)
{
    if (!is_there(a) || !is_there(b))
        return is_there(a) == is_there(b);
    int64_t apart = a->ttl_ms > b->ttl_ms ? a->ttl_ms - b->ttl_ms : b->ttl_ms - a->ttl_ms;
    return a->dump->len == b->dump->len && memcmp(a->dump->str, b->dump->str, a->dump->len) == 0 &&
           (a->ttl_ms < 0) == (b->ttl_ms < 0) && apart <= TTL_SLACK_MS;
}

/* RESTORE knows 0 for ever. */
static long long restore_ms(const struct state *state)
{
    return state->ttl_ms < 0 ? 0 : state->ttl_ms == 0 ? 1 : (long long)state->ttl_ms;
}

/* MULTI, the change and EXEC: 1 done, 0 the key was written meanwhile, -1 the connection is lost or
 * the server does not want it. */
static int exchange(struct redis *to, const redisReply *key, const struct state *wanted)
{
    int result = 1;
    redis_send(to, "MULTI");
    if (is_there(wanted))
        redis_send(to, "RESTORE %b %lld %b REPLACE", key->str, key->len, restore_ms(wanted),
                   wanted->dump->str, wanted->dump->len);
    else
        redis_send(to, "UNLINK %b", key->str, key->len);
    redis_send(to, "EXEC");
    for (unsigned i = 0; i < 3; i++) {
        redisReply *reply = redis_receive(to);
        const redisReply *said = reply;
        if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1)
            said = reply->element[0];
        if (reply == NULL || said->type == REDIS_REPLY_ERROR)
            result = -1;
        else if (i == 2 && reply->type == REDIS_REPLY_NIL)
            result = 0;
        if (reply != NULL && said->type == REDIS_REPLY_ERROR)
            snprintf(to->why, sizeof to->why, "%s", said->str);
        freeReplyObject(reply);
    }
    return result;
}

/* Makes the target's key what the holder has. */
static bool equalise(struct copy *copy, const redisReply *key)
{
    bool done = false, good = true;
    for (unsigned tries = 0; good && !done && tries < TRIES; tries++) {
        struct state before = {0}, after = {0};
        redisReply *watch = redis_ask(&copy->to, "WATCH %b", key->str, key->len);
        ask_state(&copy->from, key);
        good = take_state(&copy->from, &before) && watch != NULL;
        freeReplyObject(watch);
        int result = good ? exchange(&copy->to, key, &before) : -1;
        good = result >= 0;
        if (result == 1) {
            ask_state(&copy->from, key);
            good = take_state(&copy->from, &after);
            done = good && is_same(&before, &after);
            copy->bytes += is_there(&before) ? before.dump->len : 0;
        }
        free_state(&before);
        free_state(&after);
    }
    return good;
}

/* --- many keys -------------------------------------------------------------------------------- */

static bool is_wanted(const struct copy *copy, const redisReply *key)
{
    unsigned slot = ring_slot(key->str, key->len, copy->slot_count);
    return copy->slots[slot / 64] >> (slot % 64) & 1;
}

/* The keys of the slots; returns how many. */
static size_t choose(const struct copy *copy, const redisReply *keys, redisReply **out)
{
    size_t count = 0;
    for (size_t i = 0; i < keys->elements; i++)
        if (keys->element[i]->type == REDIS_REPLY_STRING && is_wanted(copy, keys->element[i]))
            out[count++] = keys->element[i];
    return count;
}

/* A key that came there meanwhile is a client's. */
static bool take_restored(struct copy *copy)
{
    redisReply *reply = redis_receive(&copy->to);
    bool good = reply != NULL &&
                (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "BUSYKEY", 7) == 0);
    if (reply != NULL && !good)
        snprintf(copy->to.why, sizeof copy->to.why, "%s", reply->str);
    freeReplyObject(reply);
    return good;
}

/* What the holder has and the target lacks is sent; what differs is left to `equalise`. */
static bool restore_missing(struct copy *copy, redisReply *const *keys, size_t count,
                            struct state *from, const struct state *to)
{
    bool good = true;
    for (size_t i = 0; i < count; i++)
        if (is_there(&from[i]) && !is_there(&to[i])) {
            redis_send(&copy->to, "RESTORE %b %lld %b", keys[i]->str, keys[i]->len,
                       restore_ms(&from[i]), from[i].dump->str, from[i].dump->len);
            redis_send(&copy->from, "EXISTS %b", keys[i]->str, keys[i]->len);
        }
    for (size_t i = 0; i < count; i++) {
        if (!is_there(&from[i]) || is_there(&to[i]))
            continue;
        copy->keys++;
        copy->bytes += from[i].dump->len;
        good = take_restored(copy) && good;
        redisReply *exists = redis_receive(&copy->from);
        if (exists != NULL && exists->integer == 0)
            from[i].deleted = true;
        good = good && exists != NULL;
        freeReplyObject(exists);
    }
    return good;
}

static bool take_states(struct copy *copy, redisReply *const *keys, size_t count,
                        struct state *from, struct state *to)
{
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        ask_state(&copy->from, keys[i]);
        ask_state(&copy->to, keys[i]);
    }
    for (size_t i = 0; i < count; i++) {
        good = take_state(&copy->from, &from[i]) && good;
        good = take_state(&copy->to, &to[i]) && good;
    }
    return good;
}

static bool bring_over(struct copy *copy, redisReply *const *keys, size_t count, struct state *from,
                       struct state *to)
{
    bool good =
        take_states(copy, keys, count, from, to) && restore_missing(copy, keys, count, from, to);
    for (size_t i = 0; good && i < count; i++) {
        bool restored = is_there(&from[i]) && !is_there(&to[i]);
        if (!from[i].deleted && (restored || is_same(&from[i], &to[i])))
            continue;
        copy->keys += is_there(&from[i]);
        good = equalise(copy, keys[i]);
    }
    return good;
}

bool copy_keys(struct copy *copy, const redisReply *keys)
{
    redisReply **chosen = (redisReply **)calloc(keys->elements + 1, sizeof *chosen);
    struct state *states = calloc(2 * keys->elements + 1, sizeof *states);
    size_t count = chosen != NULL ? choose(copy, keys, chosen) : 0;
    bool good = chosen != NULL && states != NULL;
    if (good)
        good = bring_over(copy, chosen, count, states, states + keys->elements);
    for (size_t i = 0; states != NULL && i < 2 * keys->elements; i++)
        free_state(&states[i]);
    free(states);
    free((void *)chosen);
    return good;
}

bool copy_remove_strangers(struct copy *copy, const redisReply *keys)
{
    redisReply **chosen = (redisReply **)calloc(keys->elements + 1, sizeof *chosen);
    size_t count = chosen != NULL ? choose(copy, keys, chosen) : 0, strangers = 0;
    bool good = chosen != NULL;
    for (size_t i = 0; i < count; i++)
        redis_send(&copy->from, "EXISTS %b", chosen[i]->str, chosen[i]->len);
    for (size_t i = 0; i < count; i++) {
        redisReply *exists = redis_receive(&copy->from);
        good = good && exists != NULL && exists->type == REDIS_REPLY_INTEGER;
        if (good && exists->integer == 0)
            chosen[strangers++] = chosen[i];
        freeReplyObject(exists);
    }
    for (size_t i = 0; good && i < strangers; i++)
        good = equalise(copy, chosen[i]);
    copy->removed += strangers;
    free((void *)chosen);
    return good;
}
