/* SPDX-License-Identifier: Apache-2.0
 *
 * group.c - the life of one refresh group: a thread that reads its tables again and again.
 *
 *   connect -> listen, if some table is notified
 *     -> { describe, if a full pass is due -> pass -> wait }
 *
 * After a failure of the database the connection is closed and a new one is tried after a pause
 * that is drawn at random between zero and a bound, which doubles from 0.5 s to 60 s. Any failure
 * is logged when it begins, when its text becomes another one, and once a minute; and once more
 * when it is over.
 *
 * A group that an operator holds has no connection and waits to be released.
 *
 * Waiting ends when the pause is over, the database notifies, or another thread says stop or now.
 * A notified group asks its source for changes in slices of WAIT_SLICE_MS, so it follows the other
 * threads' wishes within that time.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "alloc/clock.h"
#include "alloc/fnv.h"
#include "alloc/thread.h"
#include "server/log/log.h"
#include "server/refresh/feed.h"

enum {
    WAIT_SLICE_MS = 250,
    BACKOFF_FIRST_MS = 500,
    BACKOFF_LAST_MS = 60000,
    BACKOFF_LEAST_MS = 50,
    REMIND_MS = 60000,
    VERIFY_LEAST_MS = 1000,
    VERIFY_MOST_MS = 30000,
    WATCH_EVERY_MS = 60000,
};

/* --- making and ending ---------------------------------------------------------------------- */

static void table_init(struct group *group, struct group_table *table,
                       const struct config_table *config)
{
    struct refresh_status *status = &table->status;
    table->config = config;
    shape_source_table(config, &table->source);
    snprintf(status->table, sizeof(status->table), "%s", config->name);
    snprintf(status->group, sizeof(status->group), "%s", config->group);
    snprintf(status->source, sizeof(status->source), "%s", config->source_name);
    if (config->refresh.mode == CONFIG_REFRESH_FEED)
        status->feed =
            (struct refresh_feed_status){.state = REFRESH_FEED_STARTING, .lag_bytes = UINT64_MAX};
    group->notified |= config->refresh.mode == CONFIG_REFRESH_NOTIFIED;
    group->source_config = config->source;
    group->name = config->group;
}

static int sync_init(struct group *group)
{
    if (pthread_mutex_init(&group->lock, NULL) != 0)
        return SP_ENOMEM;
    thread_cond_init(&group->wake);
    return SP_OK;
}

int group_new(struct refresh *refresh, struct shared_config *config, const char *name,
              struct group **out)
{
    struct group *group = calloc(1, sizeof(*group));
    if (!group)
        return SP_ENOMEM;
    group->tables = calloc(config_group_size(config->config, name), sizeof(*group->tables));
    int status = group->tables ? batch_init(&group->batch) : SP_ENOMEM;
    if (status == SP_OK)
        status = sync_init(group);
    if (status != SP_OK) {
        batch_free(&group->batch);
        free(group->tables);
        free(group);
        return status;
    }
    group->refresh = refresh;
    group->config = config;
    config->users++;
    for (unsigned i = 0; i < config->config->table_count; i++)
        if (strcmp(config->config->tables[i].group, name) == 0)
            table_init(group, &group->tables[group->table_count++], &config->config->tables[i]);
    if (getrandom(&group->random, sizeof(group->random), 0) != sizeof(group->random))
        group->random = clock_ms();
    group->random |= 1;
    *out = group;
    if (group->tables[0].config->refresh.mode != CONFIG_REFRESH_FEED)
        return SP_OK;
    status = feed_new(group);
    if (status != SP_OK) {
        config->users--;
        group_free(group);
    }
    return status;
}

void group_free(struct group *group)
{
    feed_free(group);
    for (unsigned i = 0; i < group->table_count; i++) {
        if (group->tables[i].schema)
            source_description_free(&group->tables[i].description);
        schema_free(group->tables[i].schema);
    }
    pthread_cond_destroy(&group->wake);
    pthread_mutex_destroy(&group->lock);
    batch_free(&group->batch);
    free(group->tables);
    free(group);
}

bool group_stopping(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    bool stop = group->stop;
    pthread_mutex_unlock(&group->lock);
    return stop;
}

void group_stop(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    group->stop = true;
    if (group->source)
        group->connection.class->cancel(group->source);
    pthread_cond_signal(&group->wake);
    pthread_mutex_unlock(&group->lock);
}

bool group_held(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    bool held = group->held;
    pthread_mutex_unlock(&group->lock);
    return held;
}

void group_hold(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    group->held = true;
    pthread_cond_signal(&group->wake);
    pthread_mutex_unlock(&group->lock);
}

static uint64_t call_group(struct group *group, bool release)
{
    pthread_mutex_lock(&group->lock);
    group->now = true;
    group->held &= !release;
    uint64_t calls = ++group->calls;
    pthread_cond_signal(&group->wake);
    pthread_mutex_unlock(&group->lock);
    return calls;
}

uint64_t group_wake(struct group *group)
{
    return call_group(group, false);
}

uint64_t group_release(struct group *group)
{
    return call_group(group, true);
}

/* --- waiting -------------------------------------------------------------------------------- */

/* Whether another thread wants something of this one. With the lock. */
static bool has_call(const struct group *group)
{
    return group->stop || group->now || group->held;
}

/* Sleeps until the time has come, or another thread calls. */
static void sleep_until(struct group *group, uint64_t until_ms)
{
    pthread_mutex_lock(&group->lock);
    while (!has_call(group) && clock_ms() < until_ms)
        thread_wait(&group->wake, &group->lock, until_ms);
    pthread_mutex_unlock(&group->lock);
}

bool group_called(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    bool called = has_call(group);
    pthread_mutex_unlock(&group->lock);
    return called;
}

/* When the first of the tables must be read as a whole again. */
static uint64_t full_due_ms(const struct group *group)
{
    uint64_t due = UINT64_MAX;
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct group_table *table = &group->tables[i];
        uint64_t at = table->full_at_ms + table->config->refresh.full_every_ms;
        if (table->config->refresh.mode == CONFIG_REFRESH_NOTIFIED && at < due)
            due = at;
    }
    return due;
}

/* The shortest pause of the notified tables and, in `*period`, that of the others (0: none). */
static uint64_t pauses(const struct group *group, uint64_t *period)
{
    uint64_t shortest = UINT64_MAX;
    *period = 0;
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct config_refresh *refresh = &group->tables[i].config->refresh;
        if (refresh->mode != CONFIG_REFRESH_NOTIFIED)
            *period = refresh->every_ms;
        if (refresh->every_ms < shortest)
            shortest = refresh->every_ms;
    }
    return shortest;
}

/* How long a quiet database may go without being asked whether it is still there. */
static uint64_t verify_every_ms(const struct group *group)
{
    uint64_t every = VERIFY_MOST_MS;
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct config_table *config = group->tables[i].config;
        if (config->refresh.mode == CONFIG_REFRESH_NOTIFIED && config->max_stale_ms &&
            config->max_stale_ms / 4 < every)
            every = config->max_stale_ms / 4;
    }
    return every < VERIFY_LEAST_MS ? VERIFY_LEAST_MS : every;
}

/* Nothing has changed and we would have been told: what is notified is as fresh as just read. */
static void confirm_fresh(struct group *group)
{
    for (unsigned i = 0; i < group->table_count; i++) {
        struct group_table *table = &group->tables[i];
        const struct config_table *config = table->config;
        struct store_status status = {.state = SP_TABLE_FRESH,
                                      .refreshed = true,
                                      .max_stale_ms = config->max_stale_ms,
                                      .fail_when_stale = config->on_stale == CONFIG_ON_STALE_FAIL};
        if (config->refresh.mode == CONFIG_REFRESH_NOTIFIED &&
            table->status.state == SP_TABLE_FRESH) /* which this thread alone writes */
            store_table_status(group->refresh->options.store, config->name, &status);
    }
}

/* One slice of waiting. Where it is time to, asks the database first and then listens on, so that
 * what it told meanwhile is a change. */
static int wait_slice(struct group *group, uint64_t slice_ms, uint64_t *verified_ms, bool *changed,
                      struct source_error *error)
{
    const struct source_class *class = group->connection.class;
    bool verify = clock_ms() - *verified_ms >= verify_every_ms(group);
    int status = SP_OK;
    if (verify && class->check)
        status = class->check(group->connection.source, error);
    if (status == SP_OK)
        status = class->wait(group->connection.source, (uint32_t)slice_ms, changed, error);
    if (status != SP_OK || !verify || *changed)
        return status;
    *verified_ms = clock_ms();
    confirm_fresh(group);
    return SP_OK;
}

/* Waits for a notification. On failure of the database the session ends. */
static int wait_notified(struct group *group, uint64_t until_ms, struct failure *failure)
{
    struct source_error error = {0};
    bool changed = false;
    uint64_t verified = clock_ms(); /* by the pass before, or about then */
    while (!changed && !group_called(group)) {
        uint64_t now = clock_ms();
        if (now >= until_ms)
            return SP_OK;
        uint64_t slice = until_ms - now < WAIT_SLICE_MS ? until_ms - now : WAIT_SLICE_MS;
        int status = wait_slice(group, slice, &verified, &changed, &error);
        if (status != SP_OK)
            return group_source_failure(failure, status, &error);
    }
    return SP_OK;
}

static int wait_for_work(struct group *group, struct failure *failure)
{
    uint64_t period;
    uint64_t ended = clock_ms();
    if (group->feed && feed_runs(group))
        return feed_follow(group, failure);
    uint64_t shortest = pauses(group, &period);
    sleep_until(group, ended + shortest);
    if (!group->notified || group_called(group))
        return SP_OK;
    uint64_t until = full_due_ms(group);
    if (period && ended + period < until)
        until = ended + period;
    return wait_notified(group, until, failure);
}

static uint64_t next_random(struct group *group)
{
    group->random ^= group->random << 13;
    group->random ^= group->random >> 7;
    group->random ^= group->random << 17;
    return group->random;
}

static void back_off(struct group *group)
{
    uint64_t bound = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < group->attempts && bound < BACKOFF_LAST_MS; i++)
        bound *= 2;
    if (bound > BACKOFF_LAST_MS)
        bound = BACKOFF_LAST_MS;
    uint64_t pause = next_random(group) % bound;
    sleep_until(group, clock_ms() + (pause < BACKOFF_LEAST_MS ? BACKOFF_LEAST_MS : pause));
}

/* --- status --------------------------------------------------------------------------------- */

static void set_phase(struct group *group, enum refresh_phase phase)
{
    pthread_mutex_lock(&group->lock);
    for (unsigned i = 0; i < group->table_count; i++) {
        group->tables[i].status.phase = phase;
        if (phase == REFRESH_RUNNING)
            group->tables[i].status.started_at_ms = clock_wall_ms();
    }
    pthread_mutex_unlock(&group->lock);
}

void group_tell_change(struct group *group)
{
    const struct refresh_options *options = &group->refresh->options;
    if (options->on_change)
        options->on_change(options->context);
}

static bool is_culprit(const struct group_table *table, const struct failure *failure)
{
    return !failure->table || strcmp(failure->table, table->config->name) == 0;
}

static enum sp_table_state failed_state(const struct group_table *table,
                                        const struct failure *failure)
{
    bool held = failure->kind == REFRESH_FAILURE_DROP && is_culprit(table, failure);
    return held ? SP_TABLE_HELD : SP_TABLE_FAILING;
}

static void tell_readers(struct group *group, const struct group_table *table,
                         enum sp_table_state state, bool failed)
{
    struct store_status status = {.state = state,
                                  .failed = failed,
                                  .max_stale_ms = table->config->max_stale_ms,
                                  .fail_when_stale =
                                      table->config->on_stale == CONFIG_ON_STALE_FAIL};
    store_table_status(group->refresh->options.store, table->config->name, &status);
}

/* What happened, without the table's name, which a source's text may begin with. */
static const char *text_alone(const struct failure *failure)
{
    const bool named = failure->table && refresh_text_names(failure->text, failure->table);
    return failure->text + (named ? strlen("table : ") + strlen(failure->table) : 0);
}

static void mark_failed(struct group_table *table, const struct failure *failure)
{
    struct refresh_status *status = &table->status;
    status->state = failed_state(table, failure);
    status->failures_total[failure->kind]++;
    status->failures_in_a_row++;
    status->missing_rows = status->state == SP_TABLE_HELD ? failure->missing_rows : 0;
    if (is_culprit(table, failure))
        snprintf(status->error, sizeof(status->error), "%s", failure->text);
    else
        snprintf(status->error, sizeof(status->error), "table %s of its group: %.400s",
                 failure->table, text_alone(failure));
}

/* Whether readers get rows of what has failed, from this daemon or one before it. */
static bool serves(const struct group *group, const struct failure *failure)
{
    struct sp_pond *pond = refresh_pond(group->refresh);
    struct sp_table *table;
    for (unsigned i = 0; i < group->table_count; i++)
        if (is_culprit(&group->tables[i], failure) &&
            refresh_table_loaded(pond, group->tables[i].config->name, &table))
            return true;
    return false;
}

/* What tells one failure from another: its table and text, less the digits, which may be counts
 * that grow while it lasts. */
static uint64_t failure_print(const struct failure *failure)
{
    const char *const parts[] = {failure->table ? failure->table : "", failure->text};
    uint64_t print = FNV_START;
    for (unsigned i = 0; i < 2; i++)
        for (const char *at = parts[i]; *at; at++)
            if (*at < '0' || *at > '9')
                print = fnv_bytes(print, at, 1);
    return print;
}

/* Once when a failure begins or becomes another one, and then once a minute. */
static void log_failure(struct group *group, const struct failure *failure)
{
    uint64_t now = clock_ms();
    uint64_t print = failure_print(failure);
    bool same = group->attempts > 1 && group->logged_print == print;
    if (same && now - group->logged_ms < REMIND_MS)
        return;
    group->logged_print = print;
    group->logged_ms = now;
    log_error("refresh", "%s %s: %s; %s", failure->table ? "table" : "group",
              failure->table ? failure->table : group->name, text_alone(failure),
              serves(group, failure) ? "serving the data of before" : "nothing to serve yet");
}

static void note_failure(struct group *group, const struct failure *failure)
{
    if (group->attempts++ == 0)
        group->failing_since_ms = clock_ms();
    log_failure(group, failure);
    for (unsigned i = 0; i < group->table_count; i++)
        tell_readers(group, &group->tables[i], failed_state(&group->tables[i], failure), true);
    pthread_mutex_lock(&group->lock);
    for (unsigned i = 0; i < group->table_count; i++)
        mark_failed(&group->tables[i], failure);
    pthread_mutex_unlock(&group->lock);
    group_tell_change(group);
}

void group_succeeded(struct group *group)
{
    if (group->attempts > 0)
        log_info("refresh", "group %s is fresh again after %u failures in %.1f s", group->name,
                 group->attempts, (double)(clock_ms() - group->failing_since_ms) / 1000);
    group->attempts = 0;
    group->connection_used = true;
    group_tell_change(group);
}

/* --- a session with the database ------------------------------------------------------------ */

static void close_connection(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    group->source = NULL;
    pthread_mutex_unlock(&group->lock);
    if (group->feed)
        feed_disconnect(group);
    refresh_connection_close(&group->connection);
    group->connection_used = false;
}

int group_source_failure(struct failure *failure, int status, const struct source_error *error)
{
    failure->status = status;
    failure->kind = status == SP_ECONFIG ? REFRESH_FAILURE_CONFIG : REFRESH_FAILURE_SOURCE;
    failure->close_source = true;
    failure->lasting = error->status != SP_OK && !error->transient;
    failure->table = NULL;
    snprintf(failure->text, sizeof(failure->text), "%s",
             error->text[0] ? error->text : sp_status_text(status));
    return status;
}

static int listen_for_changes(struct group *group, struct failure *failure)
{
    struct source_error error = {0};
    unsigned count = 0;
    if (!(group->connection.class->features & SOURCE_CAN_NOTIFY))
        return SP_OK; /* describing the tables will fail */
    struct source_table *tables = calloc(group->table_count, sizeof(*tables));
    if (!tables)
        return group_source_failure(failure, SP_ENOMEM, &error);
    for (unsigned i = 0; i < group->table_count; i++)
        if (group->tables[i].config->refresh.mode == CONFIG_REFRESH_NOTIFIED)
            tables[count++] = group->tables[i].source;
    int status = group->connection.class->listen(group->connection.source, tables, count, &error);
    free(tables);
    return status == SP_OK ? SP_OK : group_source_failure(failure, status, &error);
}

/* From the moment at which a source can be canceled until it is gone, group_stop can do so. */
static void note_source(void *context, struct source *source)
{
    struct group *group = context;
    pthread_mutex_lock(&group->lock);
    group->source = source;
    if (group->stop && source)
        group->connection.class->cancel(source);
    pthread_mutex_unlock(&group->lock);
}

/* A new connection starts with a full pass: what happened without one is not known. */
static int connect_group(struct group *group, struct failure *failure)
{
    struct source_error error = {0};
    struct connection *connection = &group->connection;
    int status = refresh_connection_open(connection, group->source_config,
                                         group->refresh->find_source, note_source, group, &error);
    if (status != SP_OK)
        return group_source_failure(failure, status, &error);
    note_source(group, connection->source);
    group->force_full |= group->notified;
    return group->notified ? listen_for_changes(group, failure) : SP_OK;
}

static bool any_full_due(const struct group *group)
{
    uint64_t now = clock_ms();
    for (unsigned i = 0; i < group->table_count; i++) {
        const struct group_table *table = &group->tables[i];
        if (!table->schema || !table->config->refresh.watermark || table->full_at_ms == 0 ||
            now - table->full_at_ms >= table->config->refresh.full_every_ms)
            return true;
    }
    return group->force_full;
}

static void take_call(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    group->force_full |= group->now;
    group->now = false;
    group->taken = group->calls;
    pthread_mutex_unlock(&group->lock);
}

/* What has only begun to follow is fresh when something came. */
static int refresh_feed(struct group *group, struct failure *failure)
{
    bool fresh = false;
    int status = feed_refresh(group, &fresh, failure);
    if (status == SP_OK && fresh && feed_bears_fruit(group))
        group_succeeded(group);
    return status;
}

static int refresh_once(struct group *group, struct failure *failure)
{
    int status = SP_OK;
    take_call(group);
    set_phase(group, REFRESH_RUNNING);
    if (group->feed && feed_asks_again(group))
        close_connection(group);
    if (!group->connection.source)
        status = connect_group(group, failure);
    if (group->feed)
        return status == SP_OK ? refresh_feed(group, failure) : status;
    if (status == SP_OK && any_full_due(group))
        status = pass_describe(group, failure);
    if (status == SP_OK)
        status = pass_run(group, NULL, failure);
    if (status == SP_OK)
        group_succeeded(group);
    return status;
}

/* A connection that has been idle may be gone, and columns may have changed under our feet; neither
 * is a failure yet: the second try, over a new connection, decides. */
static bool deserves_second_try(const struct group *group, const struct failure *failure)
{
    return failure->reload_now || (group->connection_used && failure->retry_now);
}

static int refresh_twice(struct group *group, struct failure *failure)
{
    int status = refresh_once(group, failure);
    if (status == SP_OK || group_stopping(group) || !deserves_second_try(group, failure))
        return status;
    log_info("refresh", "group %s: connecting anew: %s", group->name, failure->text);
    close_connection(group);
    group->force_full |= !group->feed;
    *failure = (struct failure){0};
    return refresh_once(group, failure);
}

static uint64_t watch_every_ms(const struct group *group)
{
    uint32_t pause = group->refresh->options.feed_look_ms;
    return pause ? pause : WATCH_EVERY_MS;
}

static void look_after_feed(struct group *group)
{
    struct failure failure = {0};
    if (connect_group(group, &failure) == SP_OK)
        feed_kept_watch(group);
    close_connection(group);
}

/* The pause of a group that is held back, without a connection. */
static void sleep_every(struct group *group)
{
    uint64_t until_ms = clock_ms() + group->tables[0].config->refresh.every_ms;
    for (uint64_t now = clock_ms(); now < until_ms && !group_called(group); now = clock_ms()) {
        uint64_t look_ms = now + watch_every_ms(group);
        sleep_until(group, look_ms < until_ms ? look_ms : until_ms);
        if (look_ms < until_ms && !group_called(group))
            look_after_feed(group);
    }
}

/* Waits for the end of a hold, a while if it is a feed's; whether it goes on. */
static bool stays_held(struct group *group)
{
    uint64_t until_ms = clock_ms() + watch_every_ms(group);
    pthread_mutex_lock(&group->lock);
    while (group->held && !group->stop && !(group->feed && clock_ms() >= until_ms))
        if (group->feed)
            thread_wait(&group->wake, &group->lock, until_ms);
        else
            pthread_cond_wait(&group->wake, &group->lock);
    bool held = group->held && !group->stop;
    pthread_mutex_unlock(&group->lock);
    return held;
}

/* While an operator holds the group. The connection goes, so that no database keeps notifications
 * for one that does not listen. */
static void await_release(struct group *group)
{
    if (!group_held(group))
        return;
    close_connection(group);
    for (unsigned i = 0; i < group->table_count; i++)
        tell_readers(group, &group->tables[i], SP_TABLE_HELD, false);
    set_phase(group, REFRESH_WAITING);
    group_tell_change(group);
    while (stays_held(group))
        look_after_feed(group);
}

static void answer_calls(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    group->answered = group->taken;
    pthread_mutex_unlock(&group->lock);
}

/* What ended the waiting was more than a lost connection: only a feed has such. */
static void fail_after(struct group *group, const struct failure *failure)
{
    note_failure(group, failure);
    close_connection(group);
    set_phase(group, REFRESH_BACKING_OFF);
    if (failure->kind == REFRESH_FAILURE_DROP)
        sleep_every(group);
    else
        back_off(group);
}

static void wait_after(struct group *group)
{
    struct failure failure = {0};
    set_phase(group, REFRESH_WAITING);
    int status = wait_for_work(group, &failure);
    if (status == SP_OK || group_stopping(group) || group_held(group))
        return;
    if (status == SP_ECANCELED) { /* by a hold that is over already */
        close_connection(group);
        return;
    }
    if (group->feed)
        feed_note_end(group, &failure);
    if (failure.grave || failure.kind != REFRESH_FAILURE_SOURCE) {
        fail_after(group, &failure);
        return;
    }
    log_info("refresh", "group %s: connecting anew: %s", group->name, failure.text);
    close_connection(group);
    if (!failure.reload_now)
        back_off(group);
}

static void back_off_after(struct group *group, const struct failure *failure)
{
    if (failure->close_source)
        close_connection(group);
    set_phase(group, REFRESH_BACKING_OFF);
    back_off(group);
}

/* A feed's snapshot leads nowhere then. */
static void pause_held_back(struct group *group)
{
    close_connection(group);
    set_phase(group, REFRESH_WAITING);
    sleep_every(group);
}

/* A refresh, and the pause after it. What was given up for a hold, or fails while there is one, is
 * no failure. */
static void refresh_and_wait(struct group *group)
{
    struct failure failure = {0};
    int status = refresh_twice(group, &failure);
    bool given_up = status == SP_ECANCELED || group_held(group) || group_stopping(group);
    if (status != SP_OK && !given_up)
        note_failure(group, &failure);
    answer_calls(group);
    if (group->feed && failure.kind == REFRESH_FAILURE_DROP)
        pause_held_back(group);
    else if (status == SP_OK || failure.kind == REFRESH_FAILURE_DROP)
        wait_after(group);
    else if (given_up)
        close_connection(group);
    else
        back_off_after(group, &failure);
}

/* What the pond says may be of the group, or the daemon, before. */
static void tell_feed(struct group *group)
{
    for (unsigned i = 0; i < group->table_count; i++)
        store_table_feed(group->refresh->options.store, group->tables[i].config->name,
                         group->feed ? SP_FEED_STARTING : SP_FEED_NONE);
}

static void *group_run(void *argument)
{
    struct group *group = argument;
    tell_feed(group);
    while (!group_stopping(group)) {
        await_release(group);
        if (!group_stopping(group))
            refresh_and_wait(group);
    }
    close_connection(group);
    atomic_store(&group->finished, true);
    group_tell_change(group);
    return NULL;
}

int group_start(struct group *group)
{
    return thread_start(&group->thread, group_run, group);
}
