/* SPDX-License-Identifier: Apache-2.0
 *
 * write.c - sp_cache_set and its kin: one command of the server each, and many for sp_cache_mset.
 *
 * Costs: one round trip, two changes of threads. sp_cache_mset sends up to MSET_COMMANDS commands
 * or MSET_BYTES before it waits for their replies.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/cache/link.h"

#define MSET_COMMANDS 256u
#define MSET_BYTES    (1u << 20)

#define STATUS_OR_NIL ((1u << REDIS_REPLY_STATUS) | (1u << REDIS_REPLY_NIL))
#define INTEGER       (1u << REDIS_REPLY_INTEGER)

static int check_key(size_t key_bytes)
{
    if (key_bytes > SP_KEY_BYTES_MAX)
        return error_set(SP_ETOOBIG, "a key has at most %u bytes, and this has %zu",
                         SP_KEY_BYTES_MAX, key_bytes);
    return SP_OK;
}

static int check_entry(size_t key_bytes, size_t value_bytes, int64_t ttl_ms)
{
    if (value_bytes > SP_VALUE_BYTES_MAX)
        return error_set(SP_ETOOBIG, "a value has at most %u bytes, and this has %zu",
                         SP_VALUE_BYTES_MAX, value_bytes);
    if (ttl_ms < 0)
        return error_set(SP_EINVAL, "a time to live is not below 0");
    return check_key(key_bytes);
}

static int reply_of(struct sp_cache *cache, const redisReply *reply, unsigned types)
{
    char address[LINK_ADDRESS_BYTES];
    if ((types & 1u << reply->type) != 0)
        return SP_OK;
    link_address(cache, address);
    return reply_status(reply, types, address);
}

/* Runs one command. SP_OK: the reply, which is of one of the types, is the caller's. */
static int run_one(struct sp_cache *cache, const struct command *command, bool repeatable,
                   unsigned types, redisReply **reply)
{
    const struct request request = {.commands = command, .count = 1, .repeatable = repeatable};
    int status = request_run(cache, &request, reply, NULL);
    if (status != SP_OK)
        return status;
    status = reply_of(cache, *reply, types);
    if (status != SP_OK)
        freeReplyObject(*reply);
    return status;
}

/* The same for a command whose reply is a number. */
static int run_number(struct sp_cache *cache, const struct command *command, bool repeatable,
                      int64_t *out)
{
    redisReply *reply;
    int status = run_one(cache, command, repeatable, INTEGER, &reply);
    if (status != SP_OK)
        return status;
    *out = reply->integer;
    freeReplyObject(reply);
    return SP_OK;
}

/* --- values ----------------------------------------------------------------------------------- */

/* SET with a condition, NX or XX, or without one. */
static void set_command(struct command *command, const struct sp_set *set, const char *condition,
                        char digits[NUMBER_BYTES])
{
    command->count = 0;
    command_word(command, "SET");
    command_add(command, set->key, set->key_bytes);
    command_add(command, set->value, set->value_bytes);
    if (condition != NULL)
        command_word(command, condition);
    if (set->ttl_ms != 0) {
        command_word(command, "PX");
        command_number(command, set->ttl_ms, digits);
    }
}

/* SP_OK, or `otherwise` if the condition did not hold. */
static int set_if(struct sp_cache *cache, const struct sp_set *set, const char *condition,
                  bool repeatable, int otherwise)
{
    struct command command;
    char digits[NUMBER_BYTES];
    redisReply *reply;
    int status = check_entry(set->key_bytes, set->value_bytes, set->ttl_ms);
    if (status != SP_OK)
        return status;
    set_command(&command, set, condition, digits);
    status = run_one(cache, &command, repeatable, STATUS_OR_NIL, &reply);
    if (status != SP_OK)
        return status;
    bool done = reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    return done ? SP_OK : error_plain(otherwise);
}

int sp_cache_set(struct sp_cache *cache, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes, int64_t ttl_ms)
{
    const struct sp_set set = {key, key_bytes, value, value_bytes, ttl_ms, 0};
    return set_if(cache, &set, NULL, true, SP_EREFUSED);
}

int sp_cache_add(struct sp_cache *cache, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes, int64_t ttl_ms)
{
    const struct sp_set set = {key, key_bytes, value, value_bytes, ttl_ms, 0};
    return set_if(cache, &set, "NX", false, SP_EEXISTS);
}

int sp_cache_replace(struct sp_cache *cache, const void *key, size_t key_bytes, const void *value,
                     size_t value_bytes, int64_t ttl_ms)
{
    const struct sp_set set = {key, key_bytes, value, value_bytes, ttl_ms, 0};
    return set_if(cache, &set, "XX", true, SP_ENOTFOUND);
}

int sp_cache_incr(struct sp_cache *cache, const void *key, size_t key_bytes, int64_t by,
                  int64_t *out)
{
    struct command command = {.count = 0};
    char digits[NUMBER_BYTES];
    int64_t sum;
    int status = check_key(key_bytes);
    if (status != SP_OK)
        return status;
    command_word(&command, "INCRBY");
    command_add(&command, key, key_bytes);
    command_number(&command, by, digits);
    status = run_number(cache, &command, false, &sum);
    if (status == SP_OK && out != NULL)
        *out = sum;
    return status;
}

/* --- keys ------------------------------------------------------------------------------------- */

int sp_cache_delete(struct sp_cache *cache, const void *key, size_t key_bytes)
{
    struct command command = {.count = 0};
    int64_t count;
    int status = check_key(key_bytes);
    if (status != SP_OK)
        return status;
    command_word(&command, "DEL");
    command_add(&command, key, key_bytes);
    status = run_number(cache, &command, true, &count);
    return status == SP_OK && count == 0 ? error_plain(SP_ENOTFOUND) : status;
}

int sp_cache_expire(struct sp_cache *cache, const void *key, size_t key_bytes, int64_t ttl_ms)
{
    struct command command = {.count = 0};
    char digits[NUMBER_BYTES];
    int64_t count;
    int status = check_entry(key_bytes, 0, ttl_ms);
    if (status != SP_OK)
        return status;
    command_word(&command, ttl_ms == 0 ? "PERSIST" : "PEXPIRE");
    command_add(&command, key, key_bytes);
    if (ttl_ms != 0)
        command_number(&command, ttl_ms, digits);
    status = run_number(cache, &command, true, &count);
    if (status != SP_OK || count != 0)
        return status;
    /* PERSIST of a key that never expires changes nothing, and that is right. */
    status = ttl_ms == 0 ? sp_cache_exists(cache, key, key_bytes) : SP_ENOTFOUND;
    return status == SP_OK ? SP_OK : error_plain(status);
}

/* --- many ------------------------------------------------------------------------------------- */

struct mset {
    struct command commands[MSET_COMMANDS];
    char digits[MSET_COMMANDS][NUMBER_BYTES];
    redisReply *replies[MSET_COMMANDS];
    struct sp_set *sets[MSET_COMMANDS]; /* of which the commands are */
    size_t count, bytes;
    char detail[REGION_WHY_BYTES]; /* of the first that failed */
};

/* Keeps the text of the first failure, which what comes later would overwrite. */
static int mset_failed(struct mset *mset, int status)
{
    if (status != SP_OK && mset->detail[0] == '\0')
        snprintf(mset->detail, sizeof mset->detail, "%s", sp_error_detail());
    return status;
}

static void mset_send(struct sp_cache *cache, struct mset *mset)
{
    const struct request request = {
        .commands = mset->commands, .count = mset->count, .repeatable = true};
    if (mset->count == 0)
        return;
    int status = mset_failed(mset, request_run(cache, &request, mset->replies, NULL));
    for (size_t i = 0; i < mset->count; i++) {
        mset->sets[i]->status = status;
        if (status != SP_OK)
            continue;
        mset->sets[i]->status =
            mset_failed(mset, reply_of(cache, mset->replies[i], 1u << REDIS_REPLY_STATUS));
        freeReplyObject(mset->replies[i]);
    }
    mset->count = mset->bytes = 0;
}

static void mset_add(struct mset *mset, struct sp_set *set)
{
    set->status = mset_failed(mset, check_entry(set->key_bytes, set->value_bytes, set->ttl_ms));
    if (set->status != SP_OK)
        return;
    set_command(&mset->commands[mset->count], set, NULL, mset->digits[mset->count]);
    mset->sets[mset->count++] = set;
    mset->bytes += set->key_bytes + set->value_bytes;
}

int sp_cache_mset(struct sp_cache *cache, struct sp_set *sets, size_t count)
{
    struct mset *mset = malloc(sizeof *mset);
    if (mset == NULL)
        return error_plain(SP_ENOMEM);
    mset->count = mset->bytes = 0;
    mset->detail[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        mset_add(mset, &sets[i]);
        if (mset->count == MSET_COMMANDS || mset->bytes >= MSET_BYTES)
            mset_send(cache, mset);
    }
    mset_send(cache, mset);
    int status = SP_OK;
    for (size_t i = 0; i < count && status == SP_OK; i++)
        status = sets[i].status;
    if (status != SP_OK)
        error_set(status, "%s", mset->detail);
    free(mset);
    return status;
}
