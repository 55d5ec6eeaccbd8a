/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_status.c - what readers and operators are told of a group that follows its database.
 *
 * How old the rows are is known by the database's clock only. What that is apart from ours is
 * learned whenever the database says that there is nothing more: then the rows are of now. At other
 * times the rows are as old as the clocks say less that.
 */
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/refresh/feed.h"

enum { TELL_EVERY_MS = 100 };

const char *const refresh_reload_names[REFRESH_RELOAD_COUNT] = {
#define REFRESH_RELOAD_NAME(name, text) text,
    REFRESH_RELOAD_LIST(REFRESH_RELOAD_NAME)
#undef REFRESH_RELOAD_NAME
};

/* Copies what is the group's to each table. */
static void publish(struct group *group)
{
    struct feed *feed = group->feed;
    struct refresh_feed_status *status = &feed->status;
    static const enum refresh_feed_state states[] = {REFRESH_FEED_STARTING,
                                                     REFRESH_FEED_FALLEN_BACK,
                                                     REFRESH_FEED_STARTING, REFRESH_FEED_FOLLOWING};
    status->state = states[feed->stage];
    if (feed->stage == FEED_UNASKED && feed->why[0]) /* the answer of before, until there is one */
        status->state = REFRESH_FEED_FALLEN_BACK;
    status->lag_bytes = feed->lag_bytes;
    status->at_ms = (feed->apply.safe.at_us ? feed->apply.safe.at_us : feed->row.at_us) / 1000;
    status->compared_at_ms = feed->known ? feed->row.compared_us / 1000 : 0;
    memcpy(status->why, feed->why, sizeof(status->why));
    memcpy(status->inexact, feed->inexact, sizeof(status->inexact));
    snprintf(status->position, sizeof(status->position), "%.*s", (int)sizeof(status->position) - 1,
             feed->known ? feed->row.position : "");
    for (unsigned i = 0; i < group->table_count; i++) {
        struct refresh_status *table = &group->tables[i].status;
        table->feed = *status;
        table->feed.rows = feed->apply.tables[i].counted;
    }
}

/* Whether what readers see while changes are behind are states that the database had. Told to the
 * log when that becomes another answer. */
static void note_inexact(struct group *group)
{
    struct feed *feed = group->feed;
    char *before = feed->inexact;
    const bool asks = feed->stage == FEED_RUNNING && feed->class->inexact;
    const char *why = asks ? feed->class->inexact(group->connection.source) : NULL;
    if ((!asks && feed->stage != FEED_IMPOSSIBLE) || strcmp(before, why ? why : "") == 0)
        return;
    if (why)
        log_info("refresh",
                 "group %s: while changes are on their way, rows can be newer than "
                 "others: %s",
                 group->name, why);
    else if (asks)
        log_info("refresh", "group %s: all states that are seen are the database's now",
                 group->name);
    snprintf(before, sizeof(feed->inexact), "%s", why ? why : "");
}

void feed_note(struct group *group)
{
    note_inexact(group);
    pthread_mutex_lock(&group->lock);
    publish(group);
    pthread_mutex_unlock(&group->lock);
    for (unsigned i = 0; i < group->table_count; i++)
        store_table_feed(group->refresh->options.store, group->tables[i].config->name,
                         (enum sp_table_feed)group->feed->status.state);
    group_tell_change(group);
}

void feed_note_reload(struct group *group, enum refresh_reload reason)
{
    group->feed->status.reloads_total[reason]++;
}

/* How long ago, by our clock, the database had what readers have; `*delay_us`: how long that took
 * to come here. */
static int64_t age_us(struct feed *feed, int64_t *delay_us)
{
    const struct feed_apply *apply = &feed->apply;
    *delay_us = 0;
    if (apply->safe.at_us == 0)
        return 0;
    if (apply->safe.idle) {
        feed->skew_us = apply->safe.apart_us;
        feed->skew_known = true;
    }
    int64_t skew = feed->skew_known ? feed->skew_us : 0;
    int64_t age = clock_wall_us() - apply->safe.at_us - skew;
    *delay_us = apply->safe.apart_us > skew ? apply->safe.apart_us - skew : 0;
    return age > 0 ? age : 0;
}

static void tell_table(struct group *group, const struct config_table *config, int64_t age_ms)
{
    struct store_status status = {.state = SP_TABLE_FRESH,
                                  .refreshed = true,
                                  .age_ms = (uint64_t)age_ms,
                                  .max_stale_ms = config->max_stale_ms,
                                  .fail_when_stale = config->on_stale == CONFIG_ON_STALE_FAIL};
    store_table_status(group->refresh->options.store, config->name, &status);
}

static void mark_table(struct group_table *table, uint64_t rows)
{
    struct refresh_status *status = &table->status;
    status->state = SP_TABLE_FRESH;
    status->ever_committed = true;
    status->rows = rows;
    status->success_at_ms = clock_wall_ms();
    status->failures_in_a_row = 0;
    status->missing_rows = 0;
    status->error[0] = '\0';
}

void feed_tell(struct group *group)
{
    struct feed *feed = group->feed;
    uint64_t now = clock_ms();
    if (feed->told || !feed->apply.progress || now - feed->told_ms < TELL_EVERY_MS)
        return;
    int64_t delay;
    int64_t age = age_us(feed, &delay);
    feed->told = true;
    feed->told_ms = now;
    feed->status.delay_ms = delay / 1000 < UINT32_MAX ? (uint32_t)(delay / 1000) : UINT32_MAX;
    const struct store_status positions = {.state = SP_TABLE_FRESH, .refreshed = true};
    store_table_status(group->refresh->options.store, FEED_TABLE, &positions);
    for (unsigned i = 0; i < group->table_count; i++) {
        struct group_table *table = &group->tables[i];
        tell_table(group, table->config, age / 1000);
        uint64_t rows = pass_rows_in_pond(group->refresh, table->config->name);
        pthread_mutex_lock(&group->lock);
        mark_table(table, rows);
        pthread_mutex_unlock(&group->lock);
    }
    feed_note(group);
    if (group->attempts > 0 && feed_bears_fruit(group))
        group_succeeded(group);
}
