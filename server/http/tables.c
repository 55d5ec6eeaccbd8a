/* SPDX-License-Identifier: Apache-2.0
 *
 * tables.c - GET /tables: the state of each table as JSON.
 */
#include <jansson.h>
#include <string.h>

#include "server/http/observe.h"

static json_t *number_or_null(bool known, uint64_t value)
{
    return known ? json_integer((json_int_t)value) : json_null();
}

/* A text that may have been cut inside a character, or come from a database in another encoding. */
static json_t *text_json(const char *text)
{
    char copy[SOURCE_ERROR_BYTES];
    size_t size = strnlen(text, sizeof(copy) - 1);
    memcpy(copy, text, size);
    for (unsigned cut = 0; cut < 4 && cut <= size; cut++) {
        copy[size - cut] = '\0';
        json_t *whole = json_string(copy);
        if (whole)
            return whole;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    return json_string(copy);
}

/* NULL for tables of other modes. */
static json_t *feed_json(const struct refresh_feed_status *feed)
{
    const struct refresh_feed_rows *rows = &feed->rows;
    if (feed->state == REFRESH_FEED_NONE)
        return json_null();
    json_t *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "state",
        sp_table_feed_text((enum sp_table_feed)feed->state), "position", feed->position,
        "transactions", (json_int_t)feed->transactions_total, "put", (json_int_t)rows->put_total,
        "removed", (json_int_t)rows->removed_total, "reloads",
        (json_int_t)refresh_sum(feed->reloads_total, REFRESH_RELOAD_COUNT), "drift_rows",
        (json_int_t)(rows->drift_inserted_total + rows->drift_updated_total +
                     rows->drift_deleted_total));
    if (!out)
        return NULL;
    json_object_set_new(out, "at_ms", number_or_null(feed->at_ms, (uint64_t)feed->at_ms));
    json_object_set_new(out, "delay_ms", number_or_null(feed->at_ms, feed->delay_ms));
    json_object_set_new(out, "lag_bytes",
                        number_or_null(feed->lag_bytes != UINT64_MAX, feed->lag_bytes));
    json_object_set_new(out, "compared_ms",
                        number_or_null(feed->compared_at_ms, (uint64_t)feed->compared_at_ms));
    json_object_set_new(out, "why", feed->why[0] ? text_json(feed->why) : json_null());
    json_object_set_new(out, "inexact", feed->inexact[0] ? text_json(feed->inexact) : json_null());
    return out;
}

static json_t *table_json(const struct seen_table *table)
{
    const struct refresh_status *refresh = &table->refresh;
    const struct sp_table_info *pond = &table->pond;
    bool aged = table->in_pond && pond->age_ms != UINT64_MAX;
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:b}", "name", refresh->table, "group",
        refresh->group, "source", refresh->source, "state", sp_table_state_text(refresh->state),
        "phase", refresh_phase_names[refresh->phase], "served", table->in_pond, "rows",
        (json_int_t)pond->rows, "bytes", (json_int_t)pond->bytes, "memory_bytes",
        (json_int_t)pond->memory_bytes, "stale", table->in_pond && pond->stale);
    if (!out)
        return NULL;
    json_object_set_new(out, "version", number_or_null(table->in_pond, pond->version));
    json_object_set_new(out, "age_ms", number_or_null(aged, pond->age_ms));
    json_object_set_new(
        out, "last_success_ms",
        number_or_null(table->in_pond && pond->loaded_at_ms, (uint64_t)pond->loaded_at_ms));
    json_object_set_new(out, "duration_ms",
                        number_or_null(refresh->ever_committed, refresh->duration_ms));
    json_object_set_new(
        out, "refreshes",
        json_integer((json_int_t)(refresh->full_total + refresh->incremental_total)));
    json_object_set_new(
        out, "failures",
        json_integer((json_int_t)refresh_sum(refresh->failures_total, REFRESH_FAILURE_COUNT)));
    json_object_set_new(out, "failures_in_a_row",
                        json_integer((json_int_t)refresh->failures_in_a_row));
    json_object_set_new(
        out, "skipped_rows",
        json_integer((json_int_t)refresh_sum(refresh->skipped_total, REFRESH_SKIP_COUNT)));
    json_object_set_new(out, "held_by_operator", json_boolean(refresh->held_by_operator));
    json_object_set_new(out, "held_rows", json_integer((json_int_t)refresh->missing_rows));
    json_object_set_new(out, "feed", feed_json(&refresh->feed));
    json_t *error = refresh->error[0] ? text_json(refresh->error) : NULL;
    json_object_set_new(out, "error", error ? error : json_null());
    return out;
}

char *http_tables_json(const struct http_options *options)
{
    struct observation seen;
    if (observe(options, &seen) != SP_OK)
        return NULL;
    json_t *tables = json_array();
    for (size_t i = 0; i < seen.table_count; i++)
        json_array_append_new(tables, table_json(&seen.tables[i]));
    json_t *root =
        json_pack("{s:I, s:o}", "version", (json_int_t)seen.store.version, "tables", tables);
    observation_free(&seen);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return text;
}
