/* SPDX-License-Identifier: Apache-2.0
 *
 * command.c - what COMMAND of a node says, in a table: whether a command reads or writes, and where
 * its keys are.
 *
 * It is asked once for each handle, so what is right for the server's version is used. What COMMAND
 * leaves open is in two short lists: commands whose keys are counted by an argument, and those
 * whose subcommands have a key.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/cache/link.h"
#include "client/nodes/command.h"
#include "client/ring/slot.h"

#define PLACES 1024u /* a power of two, well above the number of commands */

struct commands {
    size_t count;
    struct command_info places[PLACES];
};

static const struct {
    const char *name;
    enum command_keys keys;
    int first;
} special[] = {
    {"eval", KEYS_COUNTED, 2},        {"evalsha", KEYS_COUNTED, 2},
    {"eval_ro", KEYS_COUNTED, 2},     {"evalsha_ro", KEYS_COUNTED, 2},
    {"fcall", KEYS_COUNTED, 2},       {"fcall_ro", KEYS_COUNTED, 2},
    {"zunion", KEYS_COUNTED, 1},      {"zinter", KEYS_COUNTED, 1},
    {"zdiff", KEYS_COUNTED, 1},       {"zintercard", KEYS_COUNTED, 1},
    {"sintercard", KEYS_COUNTED, 1},  {"lmpop", KEYS_COUNTED, 1},
    {"zmpop", KEYS_COUNTED, 1},       {"blmpop", KEYS_COUNTED, 2},
    {"bzmpop", KEYS_COUNTED, 2},      {"zunionstore", KEYS_COUNTED, 2},
    {"zinterstore", KEYS_COUNTED, 2}, {"zdiffstore", KEYS_COUNTED, 2},
    {"xread", KEYS_STREAMS, 0},       {"xreadgroup", KEYS_STREAMS, 0},
    {"object", KEYS_RANGE, 2},        {"memory", KEYS_RANGE, 2},
    {"xinfo", KEYS_RANGE, 2},         {"xgroup", KEYS_RANGE, 2},
};

static const char *const random_writes[] = {"spop",         "xadd",       "eval",   "evalsha",
                                            "fcall",        "restore",    "expire", "pexpire",
                                            "hincrbyfloat", "incrbyfloat"};

static const char *const refused[] = {
    "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe",
    "monitor",   "multi",      "exec",       "discard",     "watch",        "unwatch",
    "select",    "auth",       "hello",      "reset",       "quit",         "sync",
    "psync",     "asking",     "readonly",   "readwrite",   "client",       "wait"};

static bool among(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}
#define AMONG(names, name) among((names), sizeof(names) / sizeof((names)[0]), (name))

/* --- the table -------------------------------------------------------------------------------- */

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* Its place, or the free one where it would be. */
static const struct command_info *place_of(const struct commands *commands, const char *name)
{
    uint32_t at = hash_of(name) % PLACES;
    while (commands->places[at].name[0] != '\0' && strcmp(commands->places[at].name, name) != 0)
        at = (at + 1) % PLACES;
    return &commands->places[at];
}

static bool take_name(char out[COMMAND_NAME_BYTES], const char *name, size_t size)
{
    if (size == 0 || size >= COMMAND_NAME_BYTES)
        return false;
    for (size_t i = 0; i < size; i++)
        out[i] = (char)tolower((unsigned char)name[i]);
    out[size] = '\0';
    return true;
}

static bool has_flag(const struct sp_reply *flags, const char *name)
{
    for (size_t i = 0; flags->type == SP_REPLY_ARRAY && i < flags->item_count; i++)
        if (flags->items[i]->type == SP_REPLY_TEXT && strcmp(flags->items[i]->text, name) == 0)
            return true;
    return false;
}

static void fill_in(struct command_info *info, const struct sp_reply *reply)
{
    info->reads = has_flag(reply->items[2], "readonly");
    info->writes = has_flag(reply->items[2], "write");
    info->first = (int)reply->items[3]->integer;
    info->last = (int)reply->items[4]->integer;
    info->step = (int)reply->items[5]->integer;
    info->keys = info->first > 0 && info->step > 0 ? KEYS_RANGE : KEYS_NONE;
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (strcmp(special[i].name, info->name) == 0) {
            info->keys = special[i].keys;
            info->first = info->last = special[i].first;
            info->step = 1;
        }
    info->random = AMONG(random_writes, info->name);
    info->refused = AMONG(refused, info->name);
    if (strncmp(info->name, "eval", 4) == 0 || strncmp(info->name, "fcall", 5) == 0)
        info->writes = !info->reads;
}

static void take_command(struct commands *commands, const struct sp_reply *reply)
{
    char name[COMMAND_NAME_BYTES];
    if (reply->type != SP_REPLY_ARRAY || reply->item_count < 6 ||
        commands->count >= PLACES * 3 / 4 ||
        !take_name(name, reply->items[0]->text, reply->items[0]->size))
        return;
    struct command_info *info = (struct command_info *)place_of(commands, name);
    commands->count += info->name[0] == '\0';
    memcpy(info->name, name, sizeof name);
    fill_in(info, reply);
}

int commands_make(const struct sp_reply *reply, struct commands **out)
{
    *out = NULL;
    if (reply->type != SP_REPLY_ARRAY)
        return error_set(SP_EREFUSED, "COMMAND: %s",
                         reply->type == SP_REPLY_ERROR ? reply->text : "no list");
    struct commands *commands = calloc(1, sizeof *commands);
    if (commands == NULL)
        return error_plain(SP_ENOMEM);
    for (size_t i = 0; i < reply->item_count; i++)
        take_command(commands, reply->items[i]);
    *out = commands;
    return SP_OK;
}

void commands_free(struct commands *commands)
{
    free(commands);
}

const struct command_info *commands_find(const struct commands *commands, const char *name,
                                         size_t size)
{
    char small[COMMAND_NAME_BYTES];
    if (!take_name(small, name, size))
        return NULL;
    const struct command_info *info = place_of(commands, small);
    return info->name[0] != '\0' ? info : NULL;
}

/* --- keys ------------------------------------------------------------------------------------- */

size_t call_size(const struct sp_ring_call *call, size_t argument)
{
    return call->sizes != NULL ? call->sizes[argument] : strlen(call->arguments[argument]);
}

static int one_slot(const struct sp_ring_call *call, size_t first, size_t last, size_t step,
                    unsigned slots, struct command_place *out)
{
    for (size_t i = first; i <= last && i < call->argument_count; i += step) {
        unsigned slot = ring_slot(call->arguments[i], call_size(call, i), slots);
        if (out->keyed && slot != out->slot)
            return error_set(
                SP_EINVAL,
                "the keys are of several slots; a hash tag, {...}, brings them into one");
        if (!out->keyed)
            out->key = i;
        out->keyed = true;
        out->slot = slot;
    }
    return SP_OK;
}

static size_t number_at(const struct sp_ring_call *call, size_t argument)
{
    size_t number = 0;
    if (argument >= call->argument_count)
        return 0;
    for (size_t i = 0; i < call_size(call, argument); i++) {
        char digit = call->arguments[argument][i];
        if (digit < '0' || digit > '9' || number > call->argument_count)
            return 0;
        number = number * 10 + (size_t)(digit - '0');
    }
    return number;
}

static int place_streams(const struct sp_ring_call *call, unsigned slots, struct command_place *out)
{
    for (size_t i = 1; i < call->argument_count; i++)
        if (call_size(call, i) == 7 && strncasecmp(call->arguments[i], "STREAMS", 7) == 0) {
            size_t half = (call->argument_count - i - 1) / 2;
            return half > 0 ? one_slot(call, i + 1, i + half, 1, slots, out) : SP_OK;
        }
    return SP_OK;
}

int command_place(const struct command_info *info, const struct sp_ring_call *call, unsigned slots,
                  struct command_place *out)
{
    size_t first = (size_t)(info->first > 0 ? info->first : 0), count = call->argument_count;
    *out = (struct command_place){0};
    if (info->keys == KEYS_STREAMS)
        return place_streams(call, slots, out);
    if (info->keys == KEYS_COUNTED) {
        size_t keys = number_at(call, first);
        int status = SP_OK;
        if (first == 2 && strstr(info->name, "store") != NULL)
            status = one_slot(call, 1, 1, 1, slots, out);
        return status == SP_OK && keys > 0 ? one_slot(call, first + 1, first + keys, 1, slots, out)
                                           : status;
    }
    if (info->keys == KEYS_NONE || first >= count)
        return SP_OK;
    size_t last = info->last >= 0 ? (size_t)info->last : count - (size_t)-info->last;
    return one_slot(call, first, last < count ? last : count - 1, (size_t)info->step, slots, out);
}
