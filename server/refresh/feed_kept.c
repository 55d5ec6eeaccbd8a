/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_kept.c - what a database keeps for a group that follows it never fills its disk unnoticed.
 *
 * While the feed runs the database is asked every few seconds. More than max_lag is given up when
 * it has not become less for LAGGING_MAX questions: a long transaction, and the first minutes after
 * a load, may well be beyond it for a while. A group that fails is asked about before it starts
 * again, and one that an operator or max_drop holds every WATCH_EVERY_MS (group.c). What is given
 * up is dropped at the database, the position is void, and all rows are read again. So is what
 * nobody can measure, because the tables are gone or check() says no: after UNDESCRIBED_MAX
 * failures in a row, and in a hold after UNMEASURED_MAX looks.
 *
 * Limits: a database that does not answer, and a daemon that does not run, are not looked after.
 */
#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/refresh/feed.h"

enum { MEASURE_EVERY_MS = 5000, LAGGING_MAX = 3, UNDESCRIBED_MAX = 3, UNMEASURED_MAX = 10 };

static int ask_lag(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_error error = {0};
    int status = feed->class->lag(group->connection.source, &feed->lag_bytes, &error);
    return status == SP_OK ? SP_OK : group_source_failure(failure, status, &error);
}

static bool is_beyond(const struct group *group)
{
    uint64_t most = group->source_config->max_lag_bytes;
    uint64_t lag = group->feed->lag_bytes;
    return most > 0 && lag != UINT64_MAX && lag > most;
}

static int fail_beyond(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    char size[TEXT_BYTES];
    failure->status = SP_ESOURCE;
    failure->kind = REFRESH_FAILURE_SOURCE;
    snprintf(failure->text, sizeof(failure->text),
             "the database keeps %s for follower %s, more than max_lag, and it does not become "
             "less: that is dropped",
             refresh_text_size(feed->lag_bytes, size), feed->row.follower);
    feed->drop_first = true;
    feed_want_reload(group, REFRESH_RELOAD_LAG, failure);
    return failure->status;
}

int feed_kept_measure(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    uint64_t now = clock_ms();
    uint64_t before = feed->lag_bytes;
    uint32_t pause = group->refresh->options.feed_look_ms;
    if (now - feed->measured_ms < (pause ? pause : MEASURE_EVERY_MS))
        return SP_OK;
    feed->measured_ms = now;
    int status = ask_lag(group, failure);
    if (status != SP_OK)
        return status;
    bool shrinks = before != UINT64_MAX && feed->lag_bytes < before;
    if (!is_beyond(group))
        feed->lagging = 0;
    else
        feed->lagging = shrinks ? 1 : feed->lagging + 1;
    return feed->lagging < LAGGING_MAX ? SP_OK : fail_beyond(group, failure);
}

int feed_kept_check(struct group *group, struct failure *failure)
{
    if (group->attempts < LAGGING_MAX)
        return SP_OK;
    int status = ask_lag(group, failure);
    return status == SP_OK && is_beyond(group) ? fail_beyond(group, failure) : status;
}

void feed_kept_owe(struct group *group)
{
    struct feed *feed = group->feed;
    struct feed_row row = feed->row;
    if (feed_position_read(group->refresh, feed->row.follower, &row) && row.position[0] == '\0')
        return;
    row.position[0] = '\0';
    feed->known = false;
    int status = feed_position_put_alone(group->refresh, &row);
    if (status != SP_OK)
        log_limited(LOG_WARNING, "refresh", 60,
                    "group %s: storing that all rows have to be read: %s", group->name,
                    sp_status_text(status));
}

int feed_kept_give_up(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_error error = {0};
    struct feed_row row;
    if (!feed_position_read(group->refresh, feed->row.follower, &row))
        return SP_OK;
    if (row.position[0] != '\0') {
        row.position[0] = '\0';
        feed->known = false;
        int status = feed_position_put_alone(group->refresh, &row);
        if (status != SP_OK)
            return pass_fail_store(failure, NULL, status, "giving up the position");
    }
    if (!feed->class || feed->taken ||
        feed->class->drop(group->connection.source, &feed->options, &error) == SP_OK)
        feed_position_delete(group->refresh, row.follower);
    else
        log_limited(LOG_WARNING, "refresh", 3600,
                    "group %s: what the database keeps for %s stays: %s", group->name, row.follower,
                    error.text);
    return SP_OK;
}

static void give_up_unmeasured(struct group *group)
{
    struct failure ignored = {0};
    log_warning("refresh",
                "group %s: its database lets nobody follow as things are, so nobody knows how much "
                "it keeps for follower %s: that is dropped",
                group->name, group->feed->row.follower);
    feed_kept_give_up(group, &ignored);
}

void feed_kept_undescribed(struct group *group)
{
    struct feed_row row;
    if (group->attempts >= UNDESCRIBED_MAX &&
        feed_position_read(group->refresh, group->feed->row.follower, &row))
        give_up_unmeasured(group);
}

/* What is kept for a position that is void is of no use. Without the tables nobody knows how much
 * is kept. */
void feed_kept_watch(struct group *group)
{
    struct feed *feed = group->feed;
    struct failure failure = {0};
    struct feed_row row;
    char size[TEXT_BYTES];
    if (!feed_position_read(group->refresh, feed->row.follower, &row))
        return;
    if (row.position[0] == '\0') {
        feed->class = group->connection.class->feed;
        feed_kept_give_up(group, &failure);
        return;
    }
    int status = feed_ask(group, &failure);
    bool possible = status == SP_OK && feed->stage == FEED_POSSIBLE;
    bool refused = status == SP_ECONFIG || (status == SP_OK && !possible);
    feed->unmeasured = refused ? feed->unmeasured + 1 : 0;
    if (feed->unmeasured >= UNMEASURED_MAX)
        give_up_unmeasured(group);
    if (!possible || ask_lag(group, &failure) != SP_OK || !is_beyond(group))
        return;
    log_warning("refresh",
                "group %s is held, and its database keeps %s for it, more than max_lag: that is "
                "dropped, and all rows are read when the hold ends",
                group->name, refresh_text_size(feed->lag_bytes, size));
    feed_note_reload(group, REFRESH_RELOAD_LAG);
    feed_kept_give_up(group, &failure);
}
