/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_ring_keys.c - `sidepond ring get`, `set`, `del`, `call` and `where`: keys of a ring.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "ring_nodes.h"

/* --- what is printed -------------------------------------------------------------------------- */

/* Text as JSON; what is no UTF-8 is escaped. */
static json_t *text_json(const char *text, size_t size)
{
    json_t *out = json_stringn(text, size);
    if (out != NULL)
        return out;
    char *escaped = text_escape(text, size);
    out = json_string(escaped != NULL ? escaped : "?");
    free(escaped);
    return out;
}

static int value_print(const struct tool *tool, const struct sp_buffer *value)
{
    if (tool->json)
        return json_print(json_pack("{s:s, s:o}", "key", tool->args[0], "value",
                                    text_json((const char *)value->data, value->size)));
    if (tool_option(tool, "raw") != NULL || !tool->terminal) {
        fwrite(value->data, 1, value->size, stdout);
        if (tool_option(tool, "raw") == NULL)
            putchar('\n');
        return TOOL_OK;
    }
    char *text = text_escape((const char *)value->data, value->size);
    puts(text != NULL ? text : "?");
    free(text);
    return TOOL_OK;
}

/* How a write went; `code` is what becomes of the command. */
static int copies_print(const struct tool *tool, const char *key, const char *done, int status,
                        const struct sp_ring_copies *copies)
{
    int code = status == SP_OK ? TOOL_OK : tool_failed(status, "key \"%s\"", key);
    if (tool->json) {
        int printed = json_print(
            json_pack("{s:s, s:s, s:I, s:I}", "key", key, "status", sp_status_name(status),
                      "copies", (json_int_t)copies->have, "wanted", (json_int_t)copies->want));
        return code != TOOL_OK ? code : printed;
    }
    if (status == SP_OK || status == SP_EPARTIAL)
        printf("%s: %s, %u of %u copies\n", key, done, copies->have, copies->want);
    return code;
}

/* --- get, set, del ---------------------------------------------------------------------------- */

int tool_ring_get(struct tool *tool)
{
    struct sp_buffer value = {0};
    int code = tool_ring_open(tool);
    if (code != TOOL_OK)
        return code;
    int status = sp_ring_get(tool->ring, tool->args[0], strlen(tool->args[0]), &value);
    code = status == SP_OK ? value_print(tool, &value)
                           : tool_failed(status, "key \"%s\"", tool->args[0]);
    free(value.data);
    return code;
}

int tool_ring_set(struct tool *tool)
{
    struct sp_ring_copies copies = {0};
    const char *key = tool->args[0], *value = tool->args[1];
    uint32_t ttl_ms;
    int code = tool_option_ms(tool, "ttl", 0, &ttl_ms);
    if (code == TOOL_OK)
        code = tool_ring_open(tool);
    if (code != TOOL_OK)
        return code;
    int status = sp_ring_set(tool->ring, key, strlen(key), value, strlen(value), ttl_ms,
                             tool_ring_need(tool), &copies);
    return copies_print(tool, key, "written", status, &copies);
}

int tool_ring_del(struct tool *tool)
{
    int code = tool_ring_open(tool);
    if (code != TOOL_OK)
        return code;
    for (int i = 0; i < tool->arg_count; i++) {
        struct sp_ring_copies copies = {0};
        int status = sp_ring_delete(tool->ring, tool->args[i], strlen(tool->args[i]),
                                    tool_ring_need(tool), &copies);
        int now = copies_print(tool, tool->args[i], "deleted", status, &copies);
        code = code == TOOL_OK ? now : code;
    }
    return code;
}

/* --- call ------------------------------------------------------------------------------------- */

static json_t *reply_json(const struct sp_reply *reply)
{
    json_t *list;
    switch (reply->type) {
    case SP_REPLY_INTEGER:
        return json_integer((json_int_t)reply->integer);
    case SP_REPLY_TEXT:
        return text_json(reply->text, reply->size);
    case SP_REPLY_ERROR:
        return json_pack("{s:o}", "error", text_json(reply->text, reply->size));
    case SP_REPLY_ARRAY:
        list = json_array();
        for (size_t i = 0; i < reply->item_count; i++)
            json_array_append_new(list, reply_json(reply->items[i]));
        return list;
    default:
        return json_null();
    }
}

static void line_print(const struct tool *tool, const struct sp_reply *reply)
{
    char *text = tool->terminal ? text_escape(reply->text, reply->size) : NULL;
    if (text != NULL)
        fputs(text, stdout);
    else
        fwrite(reply->text, 1, reply->size, stdout);
    putchar('\n');
    free(text);
}

static void reply_print(const struct tool *tool, const struct sp_reply *reply, unsigned depth)
{
    switch (reply->type) {
    case SP_REPLY_INTEGER:
        printf("%" PRId64 "\n", reply->integer);
        break;
    case SP_REPLY_TEXT:
        line_print(tool, reply);
        break;
    case SP_REPLY_ERROR:
        fputs("error: ", stdout);
        line_print(tool, reply);
        break;
    case SP_REPLY_ARRAY:
        for (size_t i = 0; i < reply->item_count; i++) {
            if (tool->terminal)
                printf("%*s%zu) ", i > 0 ? 4 * (int)depth : 0, "", i + 1);
            reply_print(tool, reply->items[i], depth + 1);
        }
        if (reply->item_count == 0 && tool->terminal)
            puts("(empty)");
        break;
    default:
        puts(tool->terminal ? "(nil)" : "");
        break;
    }
}

int tool_ring_call(struct tool *tool)
{
    int code = tool_ring_open(tool);
    if (code != TOOL_OK)
        return code;
    struct sp_ring_call call = {.argument_count = (size_t)tool->arg_count,
                                .arguments = (const char *const *)tool->args};
    int status = sp_ring_call(tool->ring, &call, 1);
    if (status != SP_OK)
        return tool_failed(status, "%s", tool->args[0]);
    bool refused = call.reply->type == SP_REPLY_ERROR;
    if (tool->json)
        code = json_print(reply_json(call.reply));
    else
        reply_print(tool, call.reply, 0);
    sp_reply_free(call.reply);
    return code == TOOL_OK && refused ? TOOL_NO : code;
}

/* --- where ------------------------------------------------------------------------------------ */

/* "yes", "no", or why it is not known, in words of the node. */
static const char *ask_has(struct peer *peer, const char *key, char text[PEER_WHY_BYTES])
{
    const char *words[] = {"EXISTS", key};
    redisReply *reply = peer_call(peer, 2, words);
    const char *has = peer->why;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
        has = reply->integer > 0 ? "yes" : "no";
    else if (reply != NULL && reply->type == REDIS_REPLY_ERROR &&
             strncmp(reply->str, "NOTHELD", 7) == 0)
        has = "not its to answer";
    else if (reply != NULL)
        peer_refused(peer, words[0], reply);
    snprintf(text, PEER_WHY_BYTES, "%s", has);
    if (reply != NULL)
        freeReplyObject(reply);
    return text;
}

struct place {
    const char *name, *address, *role;
    char has[PEER_WHY_BYTES];
};

/* Asks each of the key's nodes. Returns how many have it. */
static unsigned ask_places(struct tool *tool, const struct sp_ring_where *where,
                           const struct sp_ring_node *nodes, size_t count,
                           const struct sp_ring_state *state, struct place places[6])
{
    unsigned have = 0;
    for (unsigned i = 0; i < where->count; i++) {
        struct place *place = &places[i];
        place->name = where->names[i];
        place->address = "-";
        place->role = i == 0 ? "owner" : i < where->holder_count ? "copy" : "target";
        snprintf(place->has, sizeof place->has, "gone");
        for (size_t n = 0; n < count; n++) {
            struct peer peer;
            if (strcmp(nodes[n].name, place->name) != 0)
                continue;
            place->address = nodes[n].address;
            ring_peer_init(&peer, tool, &nodes[n], state);
            have += strcmp(ask_has(&peer, tool->args[0], place->has), "yes") == 0;
            peer_close(&peer);
        }
    }
    return have;
}

static int places_json(const struct tool *tool, const struct sp_ring_where *where,
                       const struct place *places)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < where->count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", places[i].name,
                                              "address", places[i].address, "role", places[i].role,
                                              "has", places[i].has));
    return json_print(json_pack("{s:s, s:I, s:o}", "key", tool->args[0], "slot",
                                (json_int_t)where->slot, "nodes", list));
}

static void places_print(const struct tool *tool, const struct sp_ring_where *where,
                         const struct place *places)
{
    static const char *const headers[] = {"NODE", "ADDRESS", "ROLE", "HAS IT"};
    struct text_table table;
    printf("slot %" PRIu32 "\n", where->slot);
    text_table_init(&table, tool, 4, headers, NULL);
    for (unsigned i = 0; i < where->count; i++) {
        text_cell(&table, TEXT_CYAN, "%s", places[i].name);
        text_cell(&table, TEXT_PLAIN, "%s", places[i].address);
        text_cell(&table, TEXT_PLAIN, "%s", places[i].role);
        text_cell(&table, strcmp(places[i].has, "yes") == 0 ? TEXT_GREEN : TEXT_YELLOW, "%s",
                  places[i].has);
    }
    text_table_print(&table, NULL, true);
    text_table_free(&table);
}

int tool_ring_where(struct tool *tool)
{
    struct sp_ring_where where = {0};
    struct sp_ring_node *nodes = NULL;
    struct sp_ring_state state;
    struct place places[6];
    size_t count = 0;
    int code = tool_ring_open(tool);
    if (code != TOOL_OK)
        return code;
    int status = sp_ring_where(tool->ring, tool->args[0], strlen(tool->args[0]), &where);
    if (status == SP_OK)
        status = sp_ring_nodes(tool->ring, &nodes, &count, &state);
    if (status != SP_OK)
        return tool_failed(status, "key \"%s\"", tool->args[0]);
    unsigned have = ask_places(tool, &where, nodes, count, &state, places);
    if (tool->json)
        code = places_json(tool, &where, places);
    else
        places_print(tool, &where, places);
    free(nodes);
    return code == TOOL_OK && have == 0 ? TOOL_NO : code;
}
