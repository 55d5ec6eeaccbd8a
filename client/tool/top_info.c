/* SPDX-License-Identifier: Apache-2.0
 *
 * top_info.c - INFO of the cache server, taken apart: lines `name:value`, of which those in a table
 * are kept. The text comes over a socket, so nothing of it is believed to be well formed; a name
 * that could move a terminal's cursor is dropped.
 *
 * Costs: one pass; a command's name is looked for where it was found last, so the two sections that
 * list commands in the same order take no search.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "top.h"

#define COMMANDS_MAX 1024u

static const struct number_field {
    const char *name;
    size_t offset;
} number_fields[] = {
    {"uptime_in_seconds", offsetof(struct top_cache, uptime_s)},
    {"io_threads", offsetof(struct top_cache, threads)},
    {"connected_clients", offsetof(struct top_cache, clients)},
    {"maxclients", offsetof(struct top_cache, clients_max)},
    {"blocked_clients", offsetof(struct top_cache, blocked)},
    {"pubsub_clients", offsetof(struct top_cache, subscribers)},
    {"used_memory", offsetof(struct top_cache, memory_bytes)},
    {"used_memory_dataset", offsetof(struct top_cache, bytes)},
    {"maxmemory", offsetof(struct top_cache, limit_bytes)},
    {"total_connections_received", offsetof(struct top_cache, accepted)},
    {"rejected_connections", offsetof(struct top_cache, rejected)},
    {"total_commands_processed", offsetof(struct top_cache, calls)},
    {"total_error_replies", offsetof(struct top_cache, errors)},
    {"total_net_input_bytes", offsetof(struct top_cache, bytes_in)},
    {"total_net_output_bytes", offsetof(struct top_cache, bytes_out)},
    {"keyspace_hits", offsetof(struct top_cache, hits)},
    {"keyspace_misses", offsetof(struct top_cache, misses)},
    {"shm_keyspace_hits", offsetof(struct top_cache, shm_hits)},
    {"shm_keyspace_misses", offsetof(struct top_cache, shm_misses)},
    {"written_keys", offsetof(struct top_cache, written)},
    {"evicted_keys", offsetof(struct top_cache, evicted)},
    {"expired_keys", offsetof(struct top_cache, expired)},
    {"refused_writes", offsetof(struct top_cache, refused)},
};

/* A piece of the text. */
struct piece {
    const char *at;
    size_t size;
};

static bool piece_is(struct piece piece, const char *text)
{
    return strlen(text) == piece.size && memcmp(piece.at, text, piece.size) == 0;
}

/* What stands before the first `end`, or all; `piece` becomes what is behind that. */
static struct piece piece_take(struct piece *piece, char end)
{
    const char *found = piece->size > 0 ? memchr(piece->at, end, piece->size) : NULL;
    size_t size = found != NULL ? (size_t)(found - piece->at) : piece->size;
    size_t skip = found != NULL ? size + 1 : size;
    struct piece taken = {piece->at, size};
    piece->at += skip;
    piece->size -= skip;
    return taken;
}

/* Whether it begins so; the rest then. */
static bool piece_after(struct piece piece, const char *start, struct piece *rest)
{
    size_t size = strlen(start);
    if (piece.size < size || memcmp(piece.at, start, size) != 0)
        return false;
    *rest = (struct piece){piece.at + size, piece.size - size};
    return true;
}

/* Digits up to whatever ends them; none, or too many: 0. */
static uint64_t piece_number(struct piece piece)
{
    uint64_t number = 0;
    for (size_t i = 0; i < piece.size && piece.at[i] >= '0' && piece.at[i] <= '9'; i++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(piece.at[i] - '0'), &number))
            return 0;
    return number;
}

static bool name_copy(struct piece piece, char out[TOP_NAME_BYTES])
{
    if (piece.size == 0 || piece.size >= TOP_NAME_BYTES)
        return false;
    for (size_t i = 0; i < piece.size; i++)
        if (piece.at[i] <= ' ' || piece.at[i] > '~')
            return false;
    memcpy(out, piece.at, piece.size);
    out[piece.size] = '\0';
    return true;
}

/* --- commands --------------------------------------------------------------------------------- */

struct parse {
    struct top_cache *cache;
    size_t at; /* the command that is likely next */
    bool failed;
};

static struct top_command *command_add(struct parse *parse, const char *name)
{
    struct top_cache *cache = parse->cache;
    if (cache->command_count == COMMANDS_MAX)
        return NULL;
    if (cache->command_count == cache->command_room) {
        size_t room = cache->command_room > 0 ? 2 * cache->command_room : 32;
        struct top_command *commands = realloc(cache->commands, room * sizeof *commands);
        parse->failed |= commands == NULL;
        if (commands == NULL)
            return NULL;
        cache->commands = commands;
        cache->command_room = room;
    }
    struct top_command *command = &cache->commands[cache->command_count++];
    memset(command, 0, sizeof *command);
    memcpy(command->name, name, strlen(name) + 1);
    return command;
}

/* NULL: the name is none, or there is no room. */
static struct top_command *command_of(struct parse *parse, struct piece piece)
{
    char name[TOP_NAME_BYTES];
    struct top_cache *cache = parse->cache;
    if (!name_copy(piece, name))
        return NULL;
    for (size_t i = 0; i < cache->command_count; i++) {
        size_t at = (parse->at + i) % cache->command_count;
        if (strcmp(cache->commands[at].name, name) == 0) {
            parse->at = at + 1;
            return &cache->commands[at];
        }
    }
    return command_add(parse, name);
}

/* calls=1,usec=2,usec_per_call=2.00,rejected_calls=0,failed_calls=0 */
static void parse_command(struct top_command *command, struct piece value)
{
    while (value.size > 0) {
        struct piece part = piece_take(&value, ',');
        struct piece name = piece_take(&part, '=');
        if (piece_is(name, "calls"))
            command->calls = piece_number(part);
        else if (piece_is(name, "usec"))
            command->us = piece_number(part);
        else if (piece_is(name, "rejected_calls"))
            command->rejected = piece_number(part);
        else if (piece_is(name, "failed_calls"))
            command->failed = piece_number(part);
    }
}

/* 320=12,384=5: in this order, or what is out of it is left out. */
static void parse_buckets(struct top_command *command, struct piece value)
{
    command->bucket_count = 0;
    while (value.size > 0 && command->bucket_count < TOP_BUCKETS_MAX) {
        struct piece part = piece_take(&value, ',');
        uint64_t end_ns = piece_number(piece_take(&part, '='));
        size_t count = command->bucket_count;
        if (end_ns == 0 || (count > 0 && end_ns <= command->buckets[count - 1].end_ns))
            continue;
        command->buckets[count] = (struct top_bucket){end_ns, piece_number(part)};
        command->bucket_count++;
    }
}

/* --- lines ------------------------------------------------------------------------------------ */

/* keys=10,expires=2,avg_ttl=0 */
static void parse_keyspace(struct top_cache *cache, struct piece value)
{
    while (value.size > 0) {
        struct piece part = piece_take(&value, ',');
        struct piece name = piece_take(&part, '=');
        if (piece_is(name, "keys"))
            cache->entries = piece_number(part);
        else if (piece_is(name, "expires"))
            cache->expiring = piece_number(part);
    }
}

static void parse_number(struct top_cache *cache, struct piece name, struct piece value)
{
    for (size_t i = 0; i < sizeof number_fields / sizeof number_fields[0]; i++)
        if (piece_is(name, number_fields[i].name)) {
            uint64_t number = piece_number(value);
            memcpy((char *)cache + number_fields[i].offset, &number, sizeof number);
            return;
        }
}

static void parse_line(struct parse *parse, struct piece name, struct piece value)
{
    struct piece rest;
    if (piece_after(name, "cmdstat_", &rest)) {
        struct top_command *command = command_of(parse, rest);
        if (command != NULL)
            parse_command(command, value);
    } else if (piece_after(name, "latency_buckets_ns_", &rest)) {
        struct top_command *command = command_of(parse, rest);
        if (command != NULL)
            parse_buckets(command, value);
    } else if (piece_is(name, "db0")) {
        parse_keyspace(parse->cache, value);
    } else if (piece_is(name, "maxmemory_policy")) {
        parse->cache->evicts = !piece_is(value, "noeviction");
    } else if (piece_is(name, "sidepond_version")) {
        (void)name_copy(value, parse->cache->version);
    } else {
        parse_number(parse->cache, name, value);
    }
}

bool top_info_parse(const char *text, size_t size, struct top_cache *out)
{
    struct piece left = {text, size};
    struct parse parse = {.cache = out};
    while (left.size > 0 && !parse.failed) {
        struct piece line = piece_take(&left, '\n');
        if (line.size > 0 && line.at[line.size - 1] == '\r')
            line.size--;
        if (line.size == 0 || line.at[0] == '#')
            continue;
        struct piece name = piece_take(&line, ':');
        parse_line(&parse, name, line);
    }
    return !parse.failed;
}

void top_cache_free(struct top_cache *cache)
{
    free(cache->commands);
    memset(cache, 0, sizeof *cache);
}
