/* SPDX-License-Identifier: Apache-2.0
 *
 * feed.c - the life of a group that follows its database (docs/adr/0010-change-feeds.md).
 *
 *   feed_refresh:  describe, check -> not possible: a full pass, and the position is void
 *                  no position of this stream and shape: load, start
 *                  a position: start from it; lost: load, start
 *                  it runs already (a comparison is due, or an operator asks): compare
 *   feed_follow:   next, apply, commit -> next ... until somebody calls or something fails
 *
 * Whatever ends a feed closes the connection: a new one goes on from the row in _feeds. If no
 * transaction came after FRUITLESS_MAX such starts in a row, or the database says that trying again
 * does not help, it is a failure like any other, and the group backs off. What a reload mends is
 * tried at once; if no transaction came after the last reload, it is a failure too. Where the
 * database is quiet, having run for LIVES_AFTER_MS and FRUIT_AFTER_MS counts instead.
 *
 * That a load is due is the row in _feeds without a position (feed_kept_owe), written before it.
 * A comparison that fails is put off, so that it never keeps the changes away.
 *
 * A pass takes its snapshot from feed->snapshot and commits the position with the rows. Where the
 * snapshot is not exact, the pass's transaction stays open and takes the changes up to the place
 * from which the rows are a state that the database had.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/config/values.h"
#include "server/log/log.h"
#include "server/refresh/feed.h"

enum {
    SLICE_MS = 100,
    CONFIRM_EVERY_MS = 1000,
    WRITE_EVERY_MS = 30000,
    FRUIT_AFTER_MS = 60000,
    LIVES_AFTER_MS = 10000,
    FRUITLESS_MAX = 3,
    BARREN_MAX = 2,
    ASK_EVERY_MS = 60000,
    COMPARE_AGAIN_MS = 600000,
    TAKEN_MS = 75000,
};

/* --- making and ending ---------------------------------------------------------------------- */

struct source_feed_options feed_options(const struct config_source *source, const char *follower)
{
    return (struct source_feed_options){.name = follower,
                                        .publication = source->publication,
                                        .temporary = source->follower == CONFIG_FOLLOWER_TEMPORARY};
}

int feed_new(struct group *group)
{
    const struct config *config = group->config->config;
    struct feed *feed = calloc(1, sizeof(*feed));
    if (!feed)
        return SP_ENOMEM;
    group->feed = feed;
    feed->damaged = group->refresh->options.damaged;
    feed->lag_bytes = UINT64_MAX;
    feed->status.lag_bytes = UINT64_MAX;
    struct feed_row *row = &feed->row;
    feed_position_follower(config, group->name, row->follower);
    snprintf(row->group, sizeof(row->group), "%s", group->name);
    snprintf(row->source, sizeof(row->source), "%s", group->source_config->name);
    feed->options = feed_options(group->source_config, row->follower);
    int status = feed_apply_init(&feed->apply, group);
    if (status == SP_OK)
        status = feed_position_schema(&feed->schema);
    if (status != SP_OK)
        feed_free(group);
    else
        feed->status.state = REFRESH_FEED_STARTING;
    return status;
}

void feed_free(struct group *group)
{
    struct feed *feed = group->feed;
    if (!feed)
        return;
    feed_apply_free(&feed->apply);
    schema_free(feed->schema);
    free(feed);
    group->feed = NULL;
}

void feed_disconnect(struct group *group)
{
    struct feed *feed = group->feed;
    struct feed_apply *apply = &feed->apply;
    feed_apply_abort(apply);
    apply->progress = false;
    apply->status = SP_OK;
    apply->reload = REFRESH_RELOAD_NONE;
    for (unsigned i = 0; i < group->table_count; i++) {
        free(apply->tables[i].values); /* the next description may have more columns */
        apply->tables[i].values = NULL;
    }
    if (feed->stage != FEED_UNASKED) {
        feed->stage = FEED_UNASKED;
        feed_note(group);
    }
}

bool feed_runs(const struct group *group)
{
    return group->feed->stage == FEED_RUNNING;
}

/* --- failures ------------------------------------------------------------------------------- */

static void owe_reload(struct group *group)
{
    group->feed->reload = true;
    feed_kept_owe(group);
}

void feed_want_reload(struct group *group, enum refresh_reload reason, struct failure *failure)
{
    struct feed *feed = group->feed;
    owe_reload(group);
    feed_note_reload(group, reason);
    failure->close_source = true;
    failure->grave = feed->barren > 0;
    failure->reload_now = !failure->grave && failure->kind == REFRESH_FAILURE_SOURCE;
    log_warning("refresh", "group %s: all rows are read again: %s%s%s", group->name,
                failure->table ? failure->table : "", failure->table ? ": " : "", failure->text);
}

static int lose_position(struct group *group, const struct source_error *error,
                         struct failure *failure)
{
    group_source_failure(failure, SP_ENOTFOUND, error);
    snprintf(failure->text, sizeof(failure->text), "the database no longer has the position%s%s",
             error->text[0] ? ": " : "", error->text);
    feed_want_reload(group, REFRESH_RELOAD_LOST, failure);
    return SP_ENOTFOUND;
}

/* --- asking ---------------------------------------------------------------------------------- */

static int call_check(struct group *group, struct source_error *error)
{
    struct feed *feed = group->feed;
    struct source_table *tables = calloc(group->table_count, sizeof(*tables));
    const struct source_description **descriptions =
        calloc(group->table_count, sizeof(*descriptions));
    int status = SP_ENOMEM;
    for (unsigned i = 0; tables && descriptions && i < group->table_count; i++) {
        tables[i] = group->tables[i].source;
        descriptions[i] = &group->tables[i].description;
    }
    if (tables && descriptions)
        status = feed->class->check(group->connection.source, &feed->options, tables, descriptions,
                                    group->table_count, feed->stream, error);
    free(descriptions);
    free(tables);
    return status;
}

static void note_impossible(struct group *group, const char *why)
{
    struct feed *feed = group->feed;
    char every[VALUE_PRINT_BYTES];
    feed->stage = FEED_IMPOSSIBLE;
    if (strcmp(feed->why, why) != 0)
        log_warning("refresh",
                    "group %s cannot follow its database, so all rows are read every %s: %s",
                    group->name,
                    config_print_duration(group->tables[0].config->refresh.every_ms, every), why);
    snprintf(feed->why, sizeof(feed->why), "%s", why);
}

static void note_possible(struct group *group)
{
    struct feed *feed = group->feed;
    feed->stage = FEED_POSSIBLE;
    if (feed->why[0])
        log_info("refresh", "group %s can follow its database now", group->name);
    feed->why[0] = '\0';
}

/* Whether another one follows by this name for good. It may also be this daemon itself, on a host
 * that has died, for as long as the database does not know: a position is worth waiting for. */
static bool name_is_taken(struct group *group)
{
    struct feed *feed = group->feed;
    struct feed_row row;
    uint64_t now = clock_ms();
    uint32_t wait = group->refresh->options.feed_taken_ms;
    if (feed->taken_ms == 0)
        feed->taken_ms = now;
    bool has_position = !feed->reload &&
                        feed_position_read(group->refresh, feed->row.follower, &row) &&
                        row.position[0] != '\0';
    return !has_position || now - feed->taken_ms >= (wait ? wait : TAKEN_MS);
}

int feed_ask(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_error error = {0};
    feed->class = group->connection.class->feed;
    int status = pass_describe(group, failure);
    if (status != SP_OK && failure->kind == REFRESH_FAILURE_CONFIG)
        feed_kept_undescribed(group);
    if (status != SP_OK)
        return status;
    feed->asked_ms = clock_ms();
    feed->shape = feed_position_shape(group);
    if (!feed->class) {
        snprintf(error.text, sizeof(error.text), "a source of type %s cannot tell its changes",
                 group->connection.class->type);
        note_impossible(group, error.text);
        return SP_OK;
    }
    status = call_check(group, &error);
    feed->taken = status == SP_EBUSY && name_is_taken(group);
    if (status != SP_EBUSY)
        feed->taken_ms = 0;
    if (feed->taken || (status == SP_ECONFIG && !error.transient))
        note_impossible(group, error.text);
    else if (status != SP_OK)
        return group_source_failure(failure, status, &error);
    else
        note_possible(group);
    return SP_OK;
}

/* --- full passes ----------------------------------------------------------------------------- */

static int wait_and_apply(struct group *group, uint32_t timeout_ms, struct failure *failure);
static int commit_reached(struct group *group, struct failure *failure);

/* The position of the snapshot into the pass's transaction. */
static int put_position(struct group *group, struct store_txn *txn, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct feed_row row = feed->row;
    memcpy(row.stream, feed->stream, sizeof(row.stream));
    memcpy(row.position, feed->apply.position, sizeof(row.position));
    row.at_us = feed->apply.at_us;
    row.compared_us = clock_wall_us();
    row.shape = feed->shape;
    feed->locked = true;
    int status = feed_position_put(group->refresh, txn, feed->schema, &row);
    if (status != SP_OK)
        return pass_fail_store(failure, NULL, status, "storing the position");
    feed->row = row; /* `known` only when it is committed */
    return SP_OK;
}

static bool has_to_end(struct group *group)
{
    return group_stopping(group) || group_held(group);
}

static void note_started(struct group *group)
{
    struct feed *feed = group->feed;
    feed->stage = FEED_RUNNING;
    feed->started_ms = feed->measured_ms = feed->confirmed_ms = feed->written_ms = clock_ms();
    feed->commits_before = feed->status.commits_total;
    feed->lagging = 0;
}

/* Takes the changes up to the place at which the rows are of one state. */
static int reach_snapshot(struct group *group, struct failure *failure)
{
    struct feed_apply *apply = &group->feed->apply;
    int status = SP_OK;
    while (status == SP_OK && !apply->snapshot) {
        if (has_to_end(group))
            return failure->status = SP_ECANCELED;
        status = wait_and_apply(group, SLICE_MS, failure);
    }
    return status;
}

/* Rows of a pass that may be newer than its position: the same transaction goes on. */
static int settle_late(struct group *group, struct store_txn *txn,
                       struct store_table *const *tables, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct feed_apply *apply = &feed->apply;
    struct source_error error = {0};
    int status = SP_OK;
    if (feed->stage != FEED_RUNNING) {
        status = feed->class->start(group->connection.source, apply->position, &error);
        if (status == SP_ENOTFOUND)
            return lose_position(group, &error, failure);
        if (status != SP_OK)
            return group_source_failure(failure, status, &error);
        note_started(group);
    }
    apply->failure = failure;
    apply->snapshot = false;
    feed_apply_borrow(apply, txn, tables);
    status = reach_snapshot(group, failure);
    if (status == SP_OK)
        status = feed_apply_settle(apply);
    feed_apply_forget(apply);
    return status;
}

static int settle(void *context, struct store_txn *txn, struct store_table *const *tables,
                  struct failure *failure)
{
    struct group *group = context;
    struct feed *feed = group->feed;
    int status = SP_OK;
    for (unsigned i = 0; i < group->table_count; i++)
        feed->apply.tables[i].skipped = 0; /* the pass has counted its own */
    if (!(feed->class->features & FEED_EXACT_SNAPSHOT))
        status = settle_late(group, txn, tables, failure);
    return status == SP_OK ? put_position(group, txn, failure) : status;
}

static int run_pass(struct group *group, const struct pass_plan *plan, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct feed_row before = feed->row;
    int status = pass_run(group, plan, failure);
    if (feed->locked)
        feed_position_unlock(group->refresh);
    feed->locked = false;
    if (status != SP_OK) {
        feed->row = before;
        failure->close_source = true;
        return status;
    }
    feed->known = plan->settled != NULL;
    feed->damaged = false;
    return SP_OK;
}

static int begin_load(void *context, struct source_error *error)
{
    struct group *group = context;
    struct feed *feed = group->feed;
    feed->apply.at_us = clock_wall_us();
    return feed->class->snapshot(group->connection.source, feed->apply.position, error);
}

static int start(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_error error = {0};
    int status = feed->class->start(group->connection.source, feed->row.position, &error);
    if (status == SP_ENOTFOUND)
        return lose_position(group, &error, failure);
    if (status != SP_OK)
        return group_source_failure(failure, status, &error);
    note_started(group);
    return SP_OK;
}

static int drop_kept(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_error error = {0};
    int status = feed->class->drop(group->connection.source, &feed->options, &error);
    if (status != SP_OK)
        return group_source_failure(failure, status, &error);
    feed->drop_first = false;
    return SP_OK;
}

/* Reads all rows, and follows from where they are. That the database may keep something from the
 * snapshot on is written down before. */
static int load(struct group *group, enum refresh_reload reason, struct failure *failure)
{
    struct feed *feed = group->feed;
    const struct pass_plan plan = {.context = group, .begin = begin_load, .settled = settle};
    int status = feed->drop_first ? drop_kept(group, failure) : SP_OK;
    feed_kept_owe(group);
    if (status == SP_OK)
        status = run_pass(group, &plan, failure);
    if (status != SP_OK)
        return status;
    feed->reload = false;
    feed->barren++;
    if (reason != REFRESH_RELOAD_NONE) /* else it was counted when it was decided */
        feed_note_reload(group, reason);
    log_event(LOG_INFO, "refresh", "follows its database", LOG_STR("group", group->name),
              LOG_STR("follower", feed->row.follower));
    return feed->stage == FEED_RUNNING ? SP_OK : start(group, failure);
}

/* While the feed is not possible. What was kept for it is of no use afterwards; if its name is
 * taken, that is no longer its own. */
static int fall_back(struct group *group, struct failure *failure)
{
    const struct pass_plan plan = {.context = group};
    group->feed->barren = group->feed->fruitless = 0;
    int status = feed_kept_give_up(group, failure);
    return status == SP_OK ? run_pass(group, &plan, failure) : status;
}

/* --- comparing ------------------------------------------------------------------------------- */

static int begin_compare(void *context, struct source_error *error)
{
    (void)context; /* the snapshot is open */
    (void)error;
    return SP_OK;
}

/* Up to a place between two transactions, and all of it committed. */
static int reach_boundary(struct group *group, struct failure *failure)
{
    struct feed_apply *apply = &group->feed->apply;
    int status = SP_OK;
    while (status == SP_OK && apply->half) {
        if (has_to_end(group))
            return failure->status = SP_ECANCELED;
        status = wait_and_apply(group, SLICE_MS, failure);
    }
    return status == SP_OK ? commit_reached(group, failure) : status;
}

static void count_drift(struct group *group, uint64_t delivered)
{
    struct feed *feed = group->feed;
    feed->status.comparisons_total++;
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct refresh_change *found = &group->tables[i].status.last;
        struct refresh_feed_rows *rows = &feed->apply.tables[i].counted;
        if (found->inserted + found->updated + found->deleted <= delivered)
            continue;
        rows->drift_inserted_total += found->inserted;
        rows->drift_updated_total += found->updated;
        rows->drift_deleted_total += found->deleted;
        log_event(LOG_WARNING, "refresh", "differed from the database, and is mended",
                  LOG_STR("table", group->tables[i].config->name),
                  LOG_UINT("inserted", found->inserted), LOG_UINT("updated", found->updated),
                  LOG_UINT("deleted", found->deleted));
    }
}

static uint64_t rows_delivered(const struct group *group)
{
    uint64_t rows = 0;
    for (unsigned i = 0; i < group->table_count; i++)
        rows += group->feed->apply.tables[i].counted.put_total +
                group->feed->apply.tables[i].counted.removed_total;
    return rows;
}

static uint64_t full_every_ms(const struct group *group)
{
    uint64_t every = UINT64_MAX;
    for (unsigned i = 0; i < group->table_count; i++)
        if (group->tables[i].config->refresh.full_every_ms < every)
            every = group->tables[i].config->refresh.full_every_ms;
    return every;
}

static uint64_t compare_again_ms(const struct group *group)
{
    uint64_t every = full_every_ms(group);
    return every < COMPARE_AGAIN_MS ? every : COMPARE_AGAIN_MS;
}

/* Reads all rows as of a place in the feed: what differs there is drift. */
static int compare_now(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct feed_apply *apply = &feed->apply;
    const struct pass_plan plan = {.context = group, .begin = begin_compare, .settled = settle};
    struct source_error error = {0};
    char position[FEED_POSITION_BYTES];
    bool exact = feed->class->features & FEED_EXACT_SNAPSHOT;
    int status = reach_boundary(group, failure);
    if (status != SP_OK)
        return status;
    apply->snapshot = false;
    status = feed->class->snapshot(group->connection.source, position, &error);
    if (status != SP_OK)
        return group_source_failure(failure, status, &error);
    if (exact)
        status = reach_snapshot(group, failure);
    if (status == SP_OK)
        status = commit_reached(group, failure);
    if (status != SP_OK)
        return status;
    uint64_t delivered = rows_delivered(group);
    status = run_pass(group, &plan, failure);
    if (status == SP_OK)
        count_drift(group, rows_delivered(group) - delivered);
    else if (failure->kind == REFRESH_FAILURE_DROP)
        owe_reload(group);
    return status;
}

/* One that fails is made up for later: meanwhile the changes are wanted. */
static int compare(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    int status = compare_now(group, failure);
    bool again = failure->retry_now && group->connection_used; /* at once */
    bool fails = status != SP_OK && !again && !has_to_end(group);
    feed->compare_after_ms = fails ? clock_ms() + compare_again_ms(group) : 0;
    if (fails)
        group->force_full = false;
    return status;
}

/* --- a refresh -------------------------------------------------------------------------------- */

/* How long a feed is not possible before that is asked again. */
static uint64_t ask_every_ms(const struct group *group)
{
    uint64_t every = full_every_ms(group);
    return every < ASK_EVERY_MS ? every : ASK_EVERY_MS;
}

/* By the wall clock, since it is to hold over a restart. */
static bool compare_is_due(const struct group *group)
{
    const struct feed *feed = group->feed;
    int64_t passed = clock_wall_us() - feed->row.compared_us;
    if (clock_ms() < feed->compare_after_ms)
        return false;
    return feed->row.compared_us == 0 || passed < 0 ||
           (uint64_t)passed / 1000 >= full_every_ms(group);
}

static bool all_loaded(const struct group *group)
{
    struct sp_table *table;
    for (unsigned i = 0; i < group->table_count; i++)
        if (!refresh_table_loaded(refresh_pond(group->refresh), group->tables[i].config->name,
                                  &table))
            return false;
    return true;
}

/* Also for a daemon after this one, which does not know why. */
static void make_compare_due(struct group *group)
{
    struct feed_row *row = &group->feed->row;
    bool written = row->compared_us == 0;
    row->compared_us = 0;
    if (!written && feed_position_put_alone(group->refresh, row) != SP_OK)
        log_limited(LOG_WARNING, "refresh", 60,
                    "group %s: a comparison is due, and cannot be noted", group->name);
}

/* Whether there is a position from which these tables can go on. */
static bool find_position(struct group *group, enum refresh_reload *reason)
{
    struct feed *feed = group->feed;
    struct feed_row row;
    *reason = REFRESH_RELOAD_NONE;
    if (feed->reload)
        return false;
    *reason = REFRESH_RELOAD_FIRST;
    feed->known = feed_position_read(group->refresh, feed->row.follower, &row);
    if (!feed->known || row.position[0] == '\0')
        return false;
    *reason = REFRESH_RELOAD_CHANGED;
    if (strcmp(row.stream, feed->stream) != 0)
        log_limited(LOG_WARNING, "refresh", 3600,
                    "group %s: another database or set of rows than before: what the "
                    "former one keeps for follower %s has to be dropped there",
                    group->name, row.follower);
    if (strcmp(row.stream, feed->stream) != 0 || row.shape != feed->shape || !all_loaded(group))
        return false;
    feed->row = row;
    if (feed->damaged)
        make_compare_due(group);
    return true;
}

static int resume_or_load(struct group *group, bool *fresh, struct failure *failure)
{
    struct feed *feed = group->feed;
    enum refresh_reload reason;
    if (find_position(group, &reason)) {
        int status = feed_kept_check(group, failure);
        if (status == SP_OK)
            status = start(group, failure);
        if (status == SP_OK)
            log_event(group->attempts ? LOG_DEBUG : LOG_INFO, "refresh",
                      "goes on following its database", LOG_STR("group", group->name),
                      LOG_STR("follower", feed->row.follower));
        return status;
    }
    *fresh = true;
    if (reason == REFRESH_RELOAD_CHANGED) { /* which is no longer to be seen when a load fails */
        feed->reload = true;
        feed_note_reload(group, reason);
        reason = REFRESH_RELOAD_NONE;
    }
    return load(group, reason, failure);
}

/* The group before this one may have counted already. */
static void adopt_counters(struct group *group)
{
    struct feed *feed = group->feed;
    if (feed->adopted)
        return;
    feed->adopted = true;
    pthread_mutex_lock(&group->lock);
    feed->status = group->tables[0].status.feed;
    for (unsigned i = 0; i < group->table_count; i++)
        feed->apply.tables[i].counted = group->tables[i].status.feed.rows;
    pthread_mutex_unlock(&group->lock);
}

/* Since it was started. A quiet database has nothing to deliver. */
static bool has_delivered(const struct feed *feed, uint64_t quiet_ms)
{
    return feed->status.commits_total != feed->commits_before ||
           clock_ms() - feed->started_ms >= quiet_ms;
}

/* A feed that delivers is worth a reload at once, should it need one. */
static void note_fruit(struct feed *feed)
{
    if (has_delivered(feed, FRUIT_AFTER_MS))
        feed->barren = 0;
    if (has_delivered(feed, LIVES_AFTER_MS))
        feed->fruitless = 0;
}

bool feed_bears_fruit(const struct group *group)
{
    return group->feed->barren < BARREN_MAX && group->feed->fruitless < FRUITLESS_MAX;
}

bool feed_asks_again(const struct group *group)
{
    const struct feed *feed = group->feed;
    return feed->stage == FEED_IMPOSSIBLE &&
           (group->force_full || clock_ms() - feed->asked_ms >= ask_every_ms(group));
}

int feed_refresh(struct group *group, bool *fresh, struct failure *failure)
{
    struct feed *feed = group->feed;
    int status = SP_OK;
    *fresh = false;
    adopt_counters(group);
    if (feed->stage == FEED_UNASKED)
        status = feed_ask(group, failure);
    if (status == SP_OK && feed->stage == FEED_IMPOSSIBLE) {
        *fresh = true;
        status = fall_back(group, failure);
    } else if (status == SP_OK && feed->stage == FEED_POSSIBLE) {
        status = resume_or_load(group, fresh, failure);
    }
    if (status == SP_OK && feed->stage == FEED_RUNNING && !*fresh &&
        (group->force_full || compare_is_due(group))) {
        *fresh = true;
        status = compare(group, failure);
    }
    feed_note(group);
    return status;
}

/* --- following -------------------------------------------------------------------------------- */

static int judge_next(struct group *group, int status, const struct source_error *error,
                      struct failure *failure)
{
    struct feed_apply *apply = &group->feed->apply;
    if (apply->status != SP_OK) { /* it was us who stopped it */
        if (apply->reload != REFRESH_RELOAD_NONE)
            feed_want_reload(group, apply->reload, failure);
        return apply->status;
    }
    if (status == SP_ENOTFOUND)
        return lose_position(group, error, failure);
    return status == SP_OK ? SP_OK : group_source_failure(failure, status, error);
}

static int commit_reached(struct group *group, struct failure *failure)
{
    struct source_error none = {0};
    int status = feed_apply_commit(&group->feed->apply, failure);
    return status == SP_OK ? SP_OK : judge_next(group, status, &none, failure);
}

/* One step: what has arrived goes into the store, and is committed where a transaction ends. */
static int wait_and_apply(struct group *group, uint32_t timeout_ms, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_feed_sink sink = feed_apply_sink(&feed->apply);
    struct source_error error = {0};
    feed->apply.failure = failure;
    int status = feed->class->next(group->connection.source, timeout_ms, &sink, &error);
    status = judge_next(group, status, &error, failure);
    if (status != SP_OK)
        return status;
    return commit_reached(group, failure);
}

/* Tells the database what is safe, now and then. */
static int confirm(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    struct source_error error = {0};
    uint64_t now = clock_ms();
    if (now - feed->confirmed_ms < CONFIRM_EVERY_MS)
        return SP_OK;
    feed->confirmed_ms = now;
    int status = feed->class->confirm(group->connection.source, feed->row.position, &error);
    return status == SP_OK ? SP_OK : group_source_failure(failure, status, &error);
}

/* A position that moved on without rows of ours is worth a commit now and then. */
static void write_idle_position(struct group *group)
{
    struct feed *feed = group->feed;
    struct feed_apply *apply = &feed->apply;
    if (!apply->half && apply->progress && clock_ms() - feed->written_ms >= WRITE_EVERY_MS &&
        strcmp(apply->position, feed->row.position) != 0)
        apply->pending = true;
}

void feed_note_end(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    if (feed->stage != FEED_RUNNING || feed->reload)
        return;
    feed->fruitless = has_delivered(feed, LIVES_AFTER_MS) ? 0 : feed->fruitless + 1;
    bool stuck = feed->fruitless >= FRUITLESS_MAX;
    failure->grave |= stuck || failure->lasting;
    if (stuck && failure->lasting && failure->kind == REFRESH_FAILURE_SOURCE && feed->barren == 0)
        feed_want_reload(group, REFRESH_RELOAD_LOST, failure); /* it may be behind that */
}

int feed_follow(struct group *group, struct failure *failure)
{
    struct feed *feed = group->feed;
    int status = SP_OK;
    while (status == SP_OK && !group_called(group) && !compare_is_due(group)) {
        status = wait_and_apply(group, SLICE_MS, failure);
        if (status == SP_OK) {
            note_fruit(feed);
            feed_tell(group);
            write_idle_position(group);
            status = confirm(group, failure);
        }
        if (status == SP_OK)
            status = feed_kept_measure(group, failure);
    }
    return status;
}
