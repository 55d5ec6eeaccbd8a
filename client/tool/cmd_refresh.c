/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_refresh.c - `sidepond refresh`, `confirm` and `hold`: what an operator wants of a table,
 * asked of the daemon (SIDEPOND REFRESH, CONFIRM and HOLD of its cache server).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "json.h"

enum { ANSWER_MS = 10000 }; /* how long the daemon may take beyond what it is to wait */

/* The flat array of a map as an object; seconds come as text. NULL: it is none. */
static json_t *map_json(const json_t *pairs)
{
    json_t *out = json_object();
    for (size_t i = 0; i + 1 < json_array_size(pairs); i += 2) {
        const char *name = json_string_value(json_array_get(pairs, i));
        json_t *value = json_array_get(pairs, i + 1);
        if (name == NULL)
            continue;
        if (strstr(name, "_seconds") != NULL && json_is_string(value))
            json_object_set_new(out, name, json_real(strtod(json_string_value(value), NULL)));
        else
            json_object_set(out, name, value);
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
    if (error != NULL)
        printf("%s\n", error);
}

/* What SIDEPOND ... WAIT has answered. */
static int tell_outcome(const struct tool *tool, const json_t *reply)
{
    json_t *map = map_json(reply);
    const char *result = json_string_value(json_object_get(map, "result"));
    if (result == NULL) {
        json_decref(map);
        tool_error("the daemon answered something else");
        return TOOL_FAILED;
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

static int tell_begun(const struct tool *tool, const char *what)
{
    if (tool->json)
        return json_print(json_pack("{s:s, s:s}", "name", tool->args[0], "result", what));
    printf("%s: %s\n", tool->args[0], what);
    return TOOL_OK;
}

/* Asks for one of the three; `begun`: what that makes of the table if nobody waits. */
static int ask_for(struct tool *tool, const char *subcommand, const char *begun)
{
    char ms[16];
    const char *words[5] = {"SIDEPOND", subcommand, tool->args[0], "WAIT", ms};
    uint32_t wait_ms = 0;
    json_t *reply = NULL;
    bool waits = tool_option(tool, "wait") != NULL;
    int code = waits ? tool_option_ms(tool, "wait", 0, &wait_ms) : TOOL_OK;
    if (code != TOOL_OK)
        return code;
    snprintf(ms, sizeof(ms), "%" PRIu32, wait_ms);
    code = tool_ask(tool, words, waits ? 5 : 3, wait_ms + ANSWER_MS, &reply);
    if (code != TOOL_OK)
        return code;
    code = waits ? tell_outcome(tool, reply) : tell_begun(tool, begun);
    json_decref(reply);
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
