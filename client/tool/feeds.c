/* SPDX-License-Identifier: Apache-2.0
 *
 * feeds.c - what is known of the groups that follow their databases.
 *
 * The pond has a row of the table _feeds for each follower: its position, and when all rows were
 * last compared. Which tables a group has, how much its database keeps for it and why it cannot be
 * followed is known to the daemon only, which is asked through its cache server (SIDEPOND TABLES).
 * Without that the state follows from the row: without a position all rows are being read.
 */
#include "feeds.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "json.h"
#include "table.h"

#define FEED_TABLE "_feeds"

enum { ANSWER_MS = 1000 };

static struct feed *feed_add(struct feeds *feeds)
{
    struct feed *more = realloc(feeds->of, (feeds->count + 1) * sizeof *more);
    if (more == NULL)
        return NULL;
    feeds->of = more;
    struct feed *feed = &more[feeds->count++];
    *feed = (struct feed){.age_ms = UINT64_MAX, .lag_bytes = UINT64_MAX};
    return feed;
}

/* --- the pond --------------------------------------------------------------------------------- */

static struct sp_value column(const struct sp_view *view, const char *name)
{
    struct sp_value value = {.is_null = true};
    int at = sp_schema_find_column(view->schema, name);
    if (at < 0 || sp_view_column(view, (size_t)at, &value) != SP_OK)
        value.is_null = true;
    return value;
}

/* False: it is empty. */
static bool text_column(const struct sp_view *view, const char *name, char *out, size_t room)
{
    struct sp_value value = column(view, name);
    bool is_text = !value.is_null && value.type == SP_TYPE_TEXT && value.bytes.size > 0;
    snprintf(out, room, "%.*s", is_text ? (int)value.bytes.size : 0,
             is_text ? (const char *)value.bytes.data : "");
    return is_text;
}

static int64_t time_column(const struct sp_view *view, const char *name)
{
    struct sp_value value = column(view, name);
    return value.is_null || value.type != SP_TYPE_TIMESTAMP ? 0 : value.i / 1000;
}

static bool row_add(struct feeds *feeds, const struct sp_view *view, bool daemon_alive)
{
    char position[8];
    struct feed *feed = feed_add(feeds);
    if (feed == NULL)
        return false;
    text_column(view, "group", feed->group, sizeof feed->group);
    text_column(view, "source", feed->source, sizeof feed->source);
    text_column(view, "follower", feed->follower, sizeof feed->follower);
    bool follows = text_column(view, "position", position, sizeof position);
    feed->at_ms = follows ? time_column(view, "at") : 0;
    feed->compared_at_ms = time_column(view, "compared");
    snprintf(feed->state, sizeof feed->state, "%s",
             !daemon_alive ? "stopped"
             : follows     ? "following"
                           : "starting");
    int64_t age_ms = clock_wall_ms() - feed->at_ms;
    if (feed->at_ms != 0)
        feed->age_ms = age_ms > 0 ? (uint64_t)age_ms : 0;
    return true;
}

static int rows_read(struct sp_pond *pond, struct feeds *out, bool daemon_alive)
{
    struct sp_table *table;
    struct sp_snapshot *snapshot = NULL;
    struct sp_scan *scan = NULL;
    struct sp_view view;
    int status = sp_table_open(pond, FEED_TABLE, &table);
    if (status == SP_OK)
        status = sp_snapshot_begin(pond, &snapshot);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, table, &scan);
    while (status == SP_OK && (status = sp_scan_next(scan, &view)) == SP_OK)
        if (!row_add(out, &view, daemon_alive))
            status = SP_ENOMEM;
    sp_scan_end(scan);
    sp_snapshot_end(snapshot);
    return status == SP_ENOTFOUND || status == SP_ENOTABLE ? SP_OK : status;
}

/* --- the daemon ------------------------------------------------------------------------------- */

static const char *text_of(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (map->element[i]->type == REDIS_REPLY_STRING && strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1]->type == REDIS_REPLY_STRING ? map->element[i + 1]->str : "";
    return "";
}

static uint64_t number_of(const redisReply *map, const char *name)
{
    for (size_t i = 0; i + 1 < map->elements; i += 2)
        if (map->element[i]->type == REDIS_REPLY_STRING && strcmp(map->element[i]->str, name) == 0)
            return map->element[i + 1]->type == REDIS_REPLY_INTEGER
                       ? (uint64_t)map->element[i + 1]->integer
                       : UINT64_MAX;
    return UINT64_MAX;
}

static struct feed *feed_of(struct feeds *feeds, const char *group, const char *source)
{
    for (size_t i = 0; i < feeds->count; i++)
        if (strcmp(feeds->of[i].group, group) == 0 && strcmp(feeds->of[i].source, source) == 0)
            return &feeds->of[i];
    struct feed *feed = feed_add(feeds);
    if (feed != NULL) {
        snprintf(feed->group, sizeof feed->group, "%s", group);
        snprintf(feed->source, sizeof feed->source, "%s", source);
    }
    return feed;
}

static void table_add(struct sp_pond *pond, struct feed *feed, const char *name)
{
    struct sp_table *table;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    if (feed->tables == NULL) {
        feed->tables = json_array();
        feed->age_ms = UINT64_MAX; /* theirs is more exact than the row's */
    }
    json_array_append_new(feed->tables, json_string(name));
    if (sp_table_open(pond, name, &table) != SP_OK || sp_table_info(table, &info) != SP_OK)
        return;
    if (feed->age_ms == UINT64_MAX || info.age_ms > feed->age_ms)
        feed->age_ms = info.age_ms;
}

static int table_take(struct sp_pond *pond, struct feeds *feeds, const redisReply *map)
{
    const char *state = text_of(map, "feed");
    if (map->type != REDIS_REPLY_ARRAY || state[0] == '\0' || strcmp(state, "none") == 0)
        return SP_OK;
    struct feed *feed = feed_of(feeds, text_of(map, "group"), text_of(map, "source"));
    if (feed == NULL)
        return SP_ENOMEM;
    snprintf(feed->state, sizeof feed->state, "%s", state);
    snprintf(feed->why, sizeof feed->why, "%s", text_of(map, "feed_not_possible"));
    feed->lag_bytes = number_of(map, "feed_lag_bytes");
    table_add(pond, feed, text_of(map, "name"));
    return SP_OK;
}

/* Rows that the daemon does not know of are of groups that are configured no more. */
static void mark_leavers(struct feeds *feeds)
{
    for (size_t i = 0; i < feeds->count; i++)
        if (feeds->of[i].tables == NULL)
            snprintf(feeds->of[i].state, sizeof feeds->of[i].state, "leaving");
}

static int daemon_ask(const struct tool *tool, struct feeds *out)
{
    const char *words[] = {"SIDEPOND", "TABLES"};
    struct peer daemon;
    int status = SP_OK;
    peer_init_cache(&daemon, tool, ANSWER_MS);
    redisReply *reply = peer_ask(&daemon, 2, words);
    size_t count = reply != NULL && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    for (size_t i = 0; i < count && status == SP_OK; i++)
        status = table_take(tool->pond, out, reply->element[i]);
    if (reply != NULL)
        mark_leavers(out);
    else
        snprintf(out->why, sizeof out->why, "%s", daemon.why);
    if (reply != NULL)
        freeReplyObject(reply);
    peer_close(&daemon);
    return status;
}

int feeds_read(struct tool *tool, const struct sp_pond_info *info, struct feeds *out)
{
    *out = (struct feeds){0};
    int status = rows_read(tool->pond, out, info->writer_alive);
    if (status != SP_OK)
        snprintf(out->why, sizeof out->why, "cannot read " FEED_TABLE ": %s",
                 sp_status_text(status));
    if (info->writer_alive && daemon_ask(tool, out) != SP_OK)
        return tool_failed(SP_ENOMEM, "feeds");
    return TOOL_OK;
}

void feeds_free(struct feeds *feeds)
{
    for (size_t i = 0; i < feeds->count; i++)
        json_decref(feeds->of[i].tables);
    free(feeds->of);
    *feeds = (struct feeds){0};
}

/* --- output ----------------------------------------------------------------------------------- */

static json_t *text_json(const char *text)
{
    if (text[0] == '\0')
        return json_null();
    json_t *out = json_string(text);
    if (out != NULL)
        return out;
    char *escaped = text_escape(text, strlen(text)); /* cut within a character */
    out = json_string(escaped != NULL ? escaped : "?");
    free(escaped);
    return out;
}

json_t *feeds_json(const struct feeds *feeds)
{
    json_t *out = json_array();
    for (size_t i = 0; i < feeds->count; i++) {
        const struct feed *feed = &feeds->of[i];
        json_t *tables = feed->tables != NULL ? json_incref(feed->tables) : json_null();
        json_t *lag =
            feed->lag_bytes != UINT64_MAX ? json_integer((json_int_t)feed->lag_bytes) : json_null();
        json_array_append_new(
            out,
            json_pack("{s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "group", feed->group,
                      "source", feed->source, "follower", text_json(feed->follower), "tables",
                      tables, "state", feed->state, "age_seconds", json_seconds(feed->age_ms),
                      "lag_bytes", lag, "at", json_time(feed->at_ms), "compared_at",
                      json_time(feed->compared_at_ms), "not_possible", text_json(feed->why)));
    }
    return out;
}

static void row_print(struct text_table *out, const struct feed *feed)
{
    char text[TEXT_BYTES];
    bool follows = strcmp(feed->state, "following") == 0;
    text_cell(out, TEXT_CYAN, "%s", feed->group);
    text_cell(out, TEXT_PLAIN, "%s", feed->source);
    text_cell(out, follows ? TEXT_GREEN : TEXT_YELLOW, "%s", feed->state);
    text_cell(out, TEXT_PLAIN, "%s",
              feed->age_ms != UINT64_MAX ? text_age(feed->age_ms, text) : "-");
    text_cell(out, TEXT_PLAIN, "%s",
              feed->lag_bytes != UINT64_MAX ? text_size(feed->lag_bytes, text) : "-");
    text_cell(out, TEXT_PLAIN, "%s", text_time(feed->compared_at_ms, text));
}

void feeds_print(const struct tool *tool, const struct feeds *feeds)
{
    static const char *const headers[] = {"FEED", "SOURCE", "STATE", "AGE", "LAG", "COMPARED"};
    struct text_table out;
    if (feeds->count == 0)
        return;
    text_table_init(&out, tool, 6, headers, "lllrrr");
    for (size_t i = 0; i < feeds->count; i++)
        row_print(&out, &feeds->of[i]);
    putchar('\n');
    text_table_print(&out, NULL, true);
    text_table_free(&out);
    for (size_t i = 0; i < feeds->count; i++) {
        const char *why = feeds->of[i].why;
        char *text = text_escape(why, strlen(why));
        if (why[0] != '\0')
            printf("%s: cannot follow its database, so all rows are read again and again: %s\n",
                   feeds->of[i].group, text != NULL ? text : "?");
        free(text);
    }
    if (feeds->why[0] != '\0')
        printf("this is what the pond says; the daemon could not be asked: %s\n", feeds->why);
}
