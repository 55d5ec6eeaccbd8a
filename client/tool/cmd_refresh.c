/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_refresh.c - `sidepond refresh`, `confirm` and `hold`: what an operator wants of a table,
 * asked of the daemon (SIDEPOND REFRESH, CONFIRM and HOLD of its cache server).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "peer.h"
#include "table.h"

enum { ANSWER_MS = 10000 }; /* how long the daemon may take beyond what it is to wait */

/* Null if it is neither text nor a number; what is no UTF-8 is escaped. */
static json_t *value_json(const redisReply *value)
{
    if (value->type == REDIS_REPLY_INTEGER)
        return json_integer((json_int_t)value->integer);
    if (value->type != REDIS_REPLY_STRING && value->type != REDIS_REPLY_STATUS)
        return json_null();
    json_t *out = json_stringn(value->str, value->len);
    if (out != NULL)
        return out;
    char *escaped = text_escape(value->str, value->len);
    out = json_string(escaped != NULL ? escaped : "?");
    free(escaped);
    return out;
}

/* The flat array of a map as an object; seconds come as text. */
static json_t *map_json(const redisReply *pairs)
{
    json_t *out = json_object();
    size_t count = pairs->type == REDIS_REPLY_ARRAY ? pairs->elements : 0;
    for (size_t i = 0; i + 1 < count; i += 2) {
        const redisReply *name = pairs->element[i], *value = pairs->element[i + 1];
        if (name->type != REDIS_REPLY_STRING)
            continue;
        if (strstr(name->str, "_seconds") != NULL && value->type == REDIS_REPLY_STRING)
            json_object_set_new(out, name->str, json_real(strtod(value->str, NULL)));
        else
            json_object_set_new(out, name->str, value_json(value));
    }
    return out;
}

static json_int_t number_of(const json_t *map, const char *name)
{
    return json_integer_value(json_object_get(map, name));
}

static void outcome_print(const char *table, const char *result, const json_t *map)
{
    const char *error = json_string_value(json_object_get(map, "error"));
    printf("%s: %s", table, result);
    if (json_object_get(map, "inserted") != NULL)
        printf(": %" JSON_INTEGER_FORMAT " inserted, %" JSON_INTEGER_FORMAT
               " updated, %" JSON_INTEGER_FORMAT " deleted, %" JSON_INTEGER_FORMAT " unchanged",
               number_of(map, "inserted"), number_of(map, "updated"), number_of(map, "deleted"),
               number_of(map, "unchanged"));
    printf("; %" JSON_INTEGER_FORMAT " rows, version %" JSON_INTEGER_FORMAT "\n",
           number_of(map, "rows"), number_of(map, "version"));
    char *text = error != NULL ? text_escape(error, strlen(error)) : NULL;
    if (text != NULL)
        printf("%s\n", text);
    free(text);
}

static int not_understood(void)
{
    tool_error("the daemon answered something else");
    return TOOL_FAILED;
}

/* What SIDEPOND ... WAIT has answered. */
static int tell_outcome(const struct tool *tool, const redisReply *reply)
{
    json_t *map = map_json(reply);
    const char *result = json_string_value(json_object_get(map, "result"));
    if (result == NULL) {
        json_decref(map);
        return not_understood();
    }
    bool done = strcmp(result, "refreshed") == 0;
    int code = TOOL_OK;
    if (tool->json)
        code = json_print(json_incref(map));
    else
        outcome_print(tool->args[0], result, map);
    json_decref(map);
    return code == TOOL_OK && !done ? TOOL_NO : code;
}

static int tell_begun(const struct tool *tool, const char *what, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_STATUS)
        return not_understood();
    if (tool->json)
        return json_print(json_pack("{s:s, s:s}", "name", tool->args[0], "result", what));
    printf("%s: %s\n", tool->args[0], what);
    return TOOL_OK;
}

/* An answer that is an error. */
static int tell_refusal(struct peer *daemon, const char *subcommand, const redisReply *reply)
{
    char asked[32];
    const char *error = reply->str;
    if (strncmp(error, "ERR ", 4) != 0) {
        snprintf(asked, sizeof asked, "SIDEPOND %s", subcommand);
        peer_refused(daemon, asked, reply);
        tool_error("%s", daemon->why);
        return TOOL_UNAVAILABLE;
    }
    char *text = text_escape(error + 4, strlen(error + 4));
    tool_error("%s", text != NULL ? text : "out of memory");
    free(text);
    return strncmp(error, "ERR there is no table", 21) == 0 ? TOOL_USAGE : TOOL_NO;
}

static int ask_daemon(struct tool *tool, int count, const char **words, uint32_t answer_ms,
                      redisReply **reply)
{
    struct peer daemon;
    peer_init_cache(&daemon, tool, answer_ms);
    *reply = peer_call(&daemon, count, words);
    int code = TOOL_OK;
    if (*reply == NULL) {
        tool_error("%s; over HTTP the same is POST /refresh/TABLE, /confirm/TABLE or /hold/TABLE",
                   daemon.why);
        code = TOOL_UNAVAILABLE;
    } else if ((*reply)->type == REDIS_REPLY_ERROR) {
        code = tell_refusal(&daemon, words[1], *reply);
    }
    peer_close(&daemon);
    return code;
}

/* Asks for one of the three; `begun`: what that makes of the table if nobody waits. */
static int ask_for(struct tool *tool, const char *subcommand, const char *begun)
{
    char ms[16];
    const char *words[5] = {"SIDEPOND", subcommand, tool->args[0], "WAIT", ms};
    uint32_t wait_ms = 0;
    redisReply *reply = NULL;
    bool waits = tool_option(tool, "wait") != NULL;
    int code = tool_credentials(tool);
    if (code == TOOL_OK)
        code = tool_option_ms(tool, "wait", 0, &wait_ms);
    if (code == TOOL_OK)
        code = tool_find(tool);
    if (code != TOOL_OK)
        return code;
    snprintf(ms, sizeof ms, "%" PRIu32, wait_ms);
    uint64_t answer_ms = (uint64_t)wait_ms + ANSWER_MS;
    code = ask_daemon(tool, waits ? 5 : 3, words,
                      answer_ms < UINT32_MAX ? (uint32_t)answer_ms : UINT32_MAX, &reply);
    if (code == TOOL_OK)
        code = waits ? tell_outcome(tool, reply) : tell_begun(tool, begun, reply);
    if (reply != NULL)
        freeReplyObject(reply);
    return code;
}

int tool_refresh(struct tool *tool)
{
    return ask_for(tool, "REFRESH", "refresh begun");
}

int tool_confirm(struct tool *tool)
{
    return ask_for(tool, "CONFIRM", "confirmed, refresh begun");
}

int tool_hold(struct tool *tool)
{
    return ask_for(tool, "HOLD", "held");
}
