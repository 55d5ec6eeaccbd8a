/* SPDX-License-Identifier: Apache-2.0
 *
 * operators.c - what the cache's service tells operators of this daemon, and does for them
 * (server/command/operators.h).
 *
 * Everything here is called on threads of the service, so it uses of the daemon only what any
 * thread may: the refresh, the pond as its readers see it, atomic counters, and texts that stay.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/command/service.h"
#include "server/daemon/daemon.h"
#include "server/log/log.h"

static_assert(sizeof(((struct operator_table *)0)->error) >= SOURCE_ERROR_BYTES, "errors fit");
static_assert(sizeof(((struct operator_feed *)0)->position) >=
                  sizeof(((struct refresh_feed_status *)0)->position),
              "positions fit");
static_assert(sizeof(((struct operator_table *)0)->name) > SP_NAME_BYTES_MAX, "names fit");

/* --- tables ----------------------------------------------------------------------------------- */

static void tell_feed(const struct refresh_feed_status *feed, struct operator_feed *out)
{
    const struct refresh_feed_rows *rows = &feed->rows;
    *out = (struct operator_feed){
        .state = sp_table_feed_text((enum sp_table_feed)feed->state),
        .at_ms = feed->at_ms,
        .compared_at_ms = feed->compared_at_ms,
        .delay_ms = feed->delay_ms,
        .lag_bytes = feed->lag_bytes,
        .transactions = feed->transactions_total,
        .put = rows->put_total,
        .removed = rows->removed_total,
        .reloads = refresh_sum(feed->reloads_total, REFRESH_RELOAD_COUNT),
        .drift_rows =
            rows->drift_inserted_total + rows->drift_updated_total + rows->drift_deleted_total,
    };
    memcpy(out->position, feed->position, sizeof(feed->position));
    memcpy(out->why, feed->why, sizeof(feed->why));
    memcpy(out->inexact, feed->inexact, sizeof(feed->inexact));
}

/* What the refresh knows. */
static void tell_refresh(const struct refresh_status *status, struct operator_table *out)
{
    *out = (struct operator_table){
        .state = sp_table_state_text(status->state),
        .phase = refresh_phase_names[status->phase],
        .held_by_operator = status->held_by_operator,
        .held_rows = status->missing_rows,
        .refreshes = status->full_total + status->incremental_total,
        .failures = refresh_sum(status->failures_total, REFRESH_FAILURE_COUNT),
        .failures_in_a_row = status->failures_in_a_row,
        .skipped_rows = refresh_sum(status->skipped_total, REFRESH_SKIP_COUNT),
        .inserted = status->last.inserted,
        .updated = status->last.updated,
        .deleted = status->last.deleted,
        .unchanged = status->last.unchanged,
        .duration_ms = status->duration_ms,
        .attempt_at_ms = status->started_at_ms,
    };
    memcpy(out->group, status->group, sizeof(out->group));
    memcpy(out->source, status->source, sizeof(out->source));
    memcpy(out->error, status->error, sizeof(status->error));
    snprintf(out->name, sizeof(out->name), "%s", status->table);
    tell_feed(&status->feed, &out->feed);
}

/* What readers see. */
static void tell_pond(struct sp_pond *pond, struct operator_table *out)
{
    struct sp_table *table;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    out->age_ms = UINT64_MAX;
    out->served =
        refresh_table_loaded(pond, out->name, &table) && sp_table_info(table, &info) == SP_OK;
    if (!out->served)
        return;
    out->stale = info.stale;
    out->rows = info.rows;
    out->bytes = info.bytes;
    out->memory_bytes = info.memory_bytes;
    out->version = info.version;
    out->age_ms = info.age_ms;
    out->changed_at_ms = info.changed_at_ms;
    out->success_at_ms = info.loaded_at_ms;
}

static int get_tables(void *context, struct operator_table **out, size_t *count)
{
    struct daemon *daemon = context;
    struct refresh_status *statuses = NULL;
    int status = refresh_status(daemon->refresh, &statuses, count);
    if (status != SP_OK)
        return status;
    *out = calloc(*count ? *count : 1, sizeof(**out));
    struct sp_pond *pond = refresh_pond(daemon->refresh);
    for (size_t i = 0; *out && i < *count; i++) {
        tell_refresh(&statuses[i], &(*out)[i]);
        tell_pond(pond, &(*out)[i]);
    }
    free(statuses);
    return *out ? SP_OK : SP_ENOMEM;
}

static int get_ended(void *context, const char *table, uint64_t ticket, struct operator_table *out)
{
    struct daemon *daemon = context;
    struct refresh_status found;
    int status = refresh_ended(daemon->refresh, table, ticket, &found);
    if (status != SP_OK && status != SP_EBUSY)
        return status;
    tell_refresh(&found, out);
    tell_pond(refresh_pond(daemon->refresh), out);
    return status;
}

/* --- the daemon ------------------------------------------------------------------------------- */

static void get_about(void *context, struct operator_daemon *out)
{
    struct daemon *daemon = context;
    const struct http_counters *counters = &daemon->counters;
    *out = (struct operator_daemon){
        .version = sp_version(),
        .configuration = daemon->config_path,
        .pid = getpid(),
        .started_at_ms = counters->started_at_ms,
        .loaded_at_ms = atomic_load(&counters->loaded_at_ms),
        .saved_at_ms = atomic_load(&counters->saved_at_ms),
        .reloads_good = atomic_load(&counters->reloads_good),
        .reloads_bad = atomic_load(&counters->reloads_bad),
        .reload_failed = atomic_load(&counters->reload_failed),
    };
    out->ready = refresh_ready(daemon->refresh, out->not_ready, sizeof(out->not_ready));
    if (out->ready)
        out->not_ready[0] = '\0';
}

/* --- what is to be done ----------------------------------------------------------------------- */

static int do_refresh(void *context, const char *table, uint64_t *ticket)
{
    const struct daemon *daemon = context;
    return refresh_now(daemon->refresh, table, ticket);
}

static int do_confirm(void *context, const char *table, uint64_t *ticket)
{
    const struct daemon *daemon = context;
    int status = refresh_confirm(daemon->refresh, table, ticket);
    if (status == SP_OK)
        log_event(LOG_WARNING, "cache", "confirmed: rows may be dropped", LOG_STR("table", table));
    return status;
}

static int do_hold(void *context, const char *table)
{
    const struct daemon *daemon = context;
    int status = refresh_hold(daemon->refresh, table);
    if (status == SP_OK)
        log_event(LOG_WARNING, "cache", "held: not refreshed until asked for",
                  LOG_STR("table", table));
    return status;
}

void daemon_serve_operators(struct daemon *daemon)
{
    struct service *service = cache_server_service(daemon->cache);
    daemon->operators = (struct operators){.context = daemon,
                                           .tables = get_tables,
                                           .about = get_about,
                                           .refresh = do_refresh,
                                           .confirm = do_confirm,
                                           .hold = do_hold,
                                           .ended = get_ended};
    if (service)
        service_set_operators(service, &daemon->operators);
}
