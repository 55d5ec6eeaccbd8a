/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond.c - SIDEPOND: what operators see of the tables, the pond and the daemon, and what they
 * can ask of them, with any Redis client.
 *
 * All but HELP run as jobs (jobs.h), since they wait for locks that are held while a group of
 * tables starts or ends, for a refresh, or walk through the whole pond. What the daemon knows comes
 * from its functions (operators.h); CHECK needs none. Answers are maps, in RESP2 flat arrays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/check.h"
#include "alloc/clock.h"
#include "server/command/commands.h"
#include "server/command/jobs.h"
#include "server/command/operators.h"
#include "server/ring/ring.h"

enum { LOOK_EVERY_MS = 10, WAIT_MOST_MS = 3600000, COMPLAINTS_MAX = 20 };

/* --- maps ------------------------------------------------------------------------------------- */

/* A map whose pairs are counted as they are written. */
struct map {
    struct reply *reply;
    size_t mark, pairs;
};

static struct map map_begin(struct reply *reply)
{
    return (struct map){reply, reply_mark(reply), 0};
}

static void map_end(const struct map *map)
{
    reply_map_at(map->reply, map->mark, map->pairs);
}

static struct reply *map_name(struct map *map, const char *name)
{
    map->pairs++;
    reply_text(map->reply, name);
    return map->reply;
}

static void put_text(struct map *map, const char *name, const char *text)
{
    reply_text(map_name(map, name), text);
}

static void put_number(struct map *map, const char *name, uint64_t value)
{
    reply_integer(map_name(map, name), (int64_t)value);
}

static void put_flag(struct map *map, const char *name, bool value)
{
    reply_boolean(map_name(map, name), value);
}

static void put_seconds(struct map *map, const char *name, uint64_t ms)
{
    reply_double(map_name(map, name), (double)ms / 1000);
}

/* Unix time in seconds; null: never. */
static void put_time(struct map *map, const char *name, int64_t at_ms)
{
    struct reply *reply = map_name(map, name);
    if (at_ms > 0)
        reply_integer(reply, at_ms / 1000);
    else
        reply_null(reply);
}

static void put_error(struct map *map, const char *name, const char *error)
{
    struct reply *reply = map_name(map, name);
    if (error[0])
        reply_text(reply, error);
    else
        reply_null(reply);
}

/* --- asking the daemon ------------------------------------------------------------------------ */

/* NULL, with the error replied, where there is none. */
static const struct operators *operators_of(struct job *job)
{
    const struct operators *operators =
        atomic_load_explicit(&job->service->operators, memory_order_acquire);
    if (!operators)
        reply_error(&job->reply,
                    "ERR SIDEPOND %.*s is for the daemon sidepondd to answer, which "
                    "this server runs without or is still starting",
                    arg_print(&job->args[1]), job->args[1].bytes);
    return operators;
}

/* The table that a job is about; false, with the error replied: there can be none of this name. */
static bool table_name(struct job *job, char name[SP_NAME_BYTES_MAX + 1])
{
    const struct resp_arg *arg = &job->args[2];
    if (arg->size > SP_NAME_BYTES_MAX || memchr(arg->bytes, '\0', arg->size)) {
        reply_error(&job->reply, "ERR there is no table '%.*s'", arg_print(arg), arg->bytes);
        return false;
    }
    memcpy(name, arg->bytes, arg->size);
    name[arg->size] = '\0';
    return true;
}

static void reply_failed(struct job *job, const char *table, int status)
{
    if (status == SP_ENOTABLE)
        reply_error(&job->reply, "ERR there is no table '%s'", table);
    else if (status == SP_EINVAL)
        reply_error(&job->reply, "ERR no refresh of table '%s' is held", table);
    else
        reply_error(&job->reply, "ERR table '%s': %s", table, sp_status_text(status));
}

/* --- TABLES ----------------------------------------------------------------------------------- */

static void put_last_change(struct map *map, const struct operator_table *table)
{
    put_number(map, "inserted", table->inserted);
    put_number(map, "updated", table->updated);
    put_number(map, "deleted", table->deleted);
    put_number(map, "unchanged", table->unchanged);
    put_seconds(map, "duration_seconds", table->duration_ms);
}

/* Of a table that follows its database. */
static void put_feed(struct map *map, const struct operator_feed *feed)
{
    put_text(map, "feed", feed->state);
    if (strcmp(feed->state, "none") == 0)
        return;
    put_text(map, "feed_position", feed->position);
    put_time(map, "feed_at", feed->at_ms);
    put_seconds(map, "feed_delay_seconds", feed->delay_ms);
    if (feed->lag_bytes != UINT64_MAX)
        put_number(map, "feed_lag_bytes", feed->lag_bytes);
    else
        reply_null(map_name(map, "feed_lag_bytes"));
    put_number(map, "feed_transactions", feed->transactions);
    put_number(map, "feed_put", feed->put);
    put_number(map, "feed_removed", feed->removed);
    put_number(map, "feed_reloads", feed->reloads);
    put_number(map, "feed_drift_rows", feed->drift_rows);
    put_time(map, "feed_compared_at", feed->compared_at_ms);
    put_error(map, "feed_not_possible", feed->why);
    put_error(map, "feed_inexact", feed->inexact);
}

static void reply_table(struct reply *reply, const struct operator_table *table)
{
    struct map map = map_begin(reply);
    put_text(&map, "name", table->name);
    put_text(&map, "group", table->group);
    put_text(&map, "source", table->source);
    put_text(&map, "state", table->state);
    put_text(&map, "phase", table->phase);
    put_flag(&map, "served", table->served);
    put_number(&map, "rows", table->rows);
    put_number(&map, "bytes", table->bytes);
    put_number(&map, "memory_bytes", table->memory_bytes);
    if (table->served && table->age_ms != UINT64_MAX)
        put_seconds(&map, "age_seconds", table->age_ms);
    else
        reply_null(map_name(&map, "age_seconds"));
    put_flag(&map, "stale", table->stale);
    put_number(&map, "version", table->version);
    put_time(&map, "changed_at", table->changed_at_ms);
    put_time(&map, "refreshed_at", table->success_at_ms);
    put_time(&map, "attempted_at", table->attempt_at_ms);
    put_number(&map, "refreshes", table->refreshes);
    put_number(&map, "failures", table->failures);
    put_number(&map, "failures_in_a_row", table->failures_in_a_row);
    put_last_change(&map, table);
    put_number(&map, "skipped_rows", table->skipped_rows);
    put_number(&map, "held_rows", table->held_rows);
    put_flag(&map, "held_by_operator", table->held_by_operator);
    put_feed(&map, &table->feed);
    put_error(&map, "error", table->error);
    map_end(&map);
}

/* The daemon's, and its tables, to be freed; NULL, with the error replied: there is none. */
static const struct operators *operators_with_tables(struct job *job,
                                                     struct operator_table **tables, size_t *count)
{
    const struct operators *operators = operators_of(job);
    *tables = NULL;
    *count = 0;
    if (operators && operators->tables(operators->context, tables, count) != SP_OK) {
        reply_error(&job->reply, "ERR out of memory");
        return NULL;
    }
    return operators;
}

static void tell_tables(struct job *job)
{
    struct operator_table *tables;
    size_t count;
    const struct operators *operators = operators_with_tables(job, &tables, &count);
    if (!operators)
        return;
    reply_array(&job->reply, count);
    for (size_t i = 0; i < count; i++)
        reply_table(&job->reply, &tables[i]);
    free(tables);
}

void run_sidepond_tables(struct session *session, const struct call *call)
{
    job_start(session, call, tell_tables);
}

/* --- STATUS ----------------------------------------------------------------------------------- */

static void put_daemon(struct map *out, const struct operators *operators)
{
    struct operator_daemon about;
    operators->about(operators->context, &about);
    struct map map = map_begin(map_name(out, "daemon"));
    put_text(&map, "version", about.version);
    put_number(&map, "pid", (uint64_t)about.pid);
    put_text(&map, "configuration", about.configuration);
    put_time(&map, "started_at", about.started_at_ms);
    put_time(&map, "configured_at", about.loaded_at_ms);
    put_number(&map, "reloads", about.reloads_good);
    put_number(&map, "reloads_refused", about.reloads_bad);
    put_flag(&map, "last_reload_refused", about.reload_failed);
    put_time(&map, "saved_at", about.saved_at_ms);
    put_flag(&map, "ready", about.ready);
    put_error(&map, "not_ready", about.not_ready);
    map_end(&map);
}

static void put_pond(struct map *out, struct service *service)
{
    struct sp_pond_info pond = SP_POND_INFO_INIT;
    struct map map = map_begin(map_name(out, "pond"));
    if (sp_pond_info(service->pond, &pond) == SP_OK) {
        put_text(&map, "name", pond.name);
        put_text(&map, "directory", service->options.directory);
        put_number(&map, "version", pond.version);
        put_number(&map, "tables", pond.table_count);
        put_number(&map, "limit_bytes", pond.limit_bytes);
        put_number(&map, "committed_bytes", pond.committed_bytes);
        put_number(&map, "used_bytes", pond.used_bytes);
        put_number(&map, "free_bytes", pond.free_bytes);
        put_number(&map, "snapshots", sp_readers(service->pond, NULL, 0));
    }
    map_end(&map);
}

static bool is_first_of_source(const struct operator_table *tables, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tables[i].source, tables[n].source) == 0)
            return false;
    return true;
}

/* The source of table n, as its tables fare. */
static void reply_source(struct reply *reply, const struct operator_table *tables, size_t count,
                         size_t n)
{
    size_t all = 0, failing = 0, held = 0;
    const char *error = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tables[i].source, tables[n].source) != 0)
            continue;
        all++;
        failing += strcmp(tables[i].state, "failing") == 0;
        held += strcmp(tables[i].state, "held") == 0;
        if (!error[0])
            error = tables[i].error;
    }
    struct map map = map_begin(reply);
    put_text(&map, "name", tables[n].source);
    put_number(&map, "tables", all);
    put_number(&map, "failing", failing);
    put_number(&map, "held", held);
    put_error(&map, "error", error);
    map_end(&map);
}

static void put_sources(struct map *out, const struct operator_table *tables, size_t count)
{
    struct reply *reply = map_name(out, "sources");
    size_t mark = reply_mark(reply), sources = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_first_of_source(tables, i))
            continue;
        reply_source(reply, tables, count, i);
        sources++;
    }
    reply_array_at(reply, mark, sources);
}

static void put_cache(struct map *out, struct service *service)
{
    struct service_figures figures;
    stats_figures(service, &figures);
    struct map map = map_begin(map_name(out, "cache"));
    put_number(&map, "entries", figures.cache.entries);
    put_number(&map, "expiring", figures.cache.expiring);
    put_number(&map, "bytes", figures.cache.bytes);
    put_number(&map, "memory_bytes", figures.cache.memory_bytes);
    put_number(&map, "limit_bytes", figures.cache.limit_bytes);
    put_text(&map, "when_full", figures.cache.evict ? "evict" : "refuse");
    put_number(&map, "hits", figures.hits);
    put_number(&map, "misses", figures.misses);
    put_number(&map, "expired", figures.cache.expired);
    put_number(&map, "evicted", figures.cache.evicted);
    put_number(&map, "refused", figures.cache.refused);
    put_number(&map, "clients", figures.net.connections);
    map_end(&map);
}

static void put_peer(struct reply *reply, const struct ring_peer_figures *peer)
{
    struct map map = map_begin(reply);
    put_text(&map, "name", peer->name);
    put_text(&map, "state", peer->reachable ? "reachable" : "unreachable");
    put_number(&map, "sent", peer->sent);
    put_number(&map, "failed", peer->failed);
    put_number(&map, "queued", peer->queued);
    put_number(&map, "missed_slots", peer->missed);
    put_number(&map, "repaired_out", peer->repaired_out);
    put_number(&map, "repaired_in", peer->repaired_in);
    map_end(&map);
}

static void put_peers(struct map *out, struct ring *ring)
{
    struct reply *reply = map_name(out, "peers");
    struct ring_peer_figures *peers = calloc(RING_NODES_MAX, sizeof(*peers));
    size_t count = peers ? ring_peer_figures(ring, peers, RING_NODES_MAX) : 0;
    reply_array(reply, count);
    for (size_t i = 0; i < count; i++)
        put_peer(reply, &peers[i]);
    free(peers);
}

static void put_ring(struct map *out, struct ring *ring)
{
    static const char *const links[] = {"away", "connected", "refuses"};
    struct ring_figures figures;
    ring_figures(ring, &figures);
    struct map map = map_begin(map_name(out, "ring"));
    put_number(&map, "epoch", figures.epoch);
    put_number(&map, "owned_slots", figures.owned);
    put_number(&map, "held_slots", figures.held);
    put_number(&map, "pulling_slots", figures.pulling);
    put_number(&map, "suspect_slots", figures.suspect);
    put_number(&map, "under_replicated_slots", figures.under_replicated);
    put_number(&map, "pulled_entries", figures.pulled_entries);
    put_number(&map, "pulled_bytes", figures.pulled_bytes);
    put_number(&map, "compared_slots", figures.compared_slots);
    put_number(&map, "differing_slots", figures.differing_slots);
    put_text(&map, "zookeeper",
             figures.in_zookeeper ? links[(unsigned)figures.member.link % 3] : "none");
    put_error(&map, "zookeeper_error", figures.member.why);
    put_peers(&map, ring);
    map_end(&map);
}

static void tell_status(struct job *job)
{
    struct operator_table *tables;
    size_t count;
    const struct operators *operators = operators_with_tables(job, &tables, &count);
    if (!operators)
        return;
    struct map map = map_begin(&job->reply);
    put_daemon(&map, operators);
    put_pond(&map, job->service);
    put_sources(&map, tables, count);
    put_cache(&map, job->service);
    if (job->service->ring)
        put_ring(&map, job->service->ring);
    map_end(&map);
    free(tables);
}

void run_sidepond_status(struct session *session, const struct call *call)
{
    job_start(session, call, tell_status);
}

/* --- REFRESH, CONFIRM, HOLD ------------------------------------------------------------------- */

/* WAIT ms behind the table; 0: none. False, with the error replied. */
static bool take_wait(struct session *session, const struct call *call, int64_t *ms)
{
    *ms = 0;
    if (call->count == 3)
        return true;
    if (call->count != 5 || !arg_is(&call->args[3], "wait")) {
        reply_syntax_error(session);
        return false;
    }
    if (!arg_integer(session, &call->args[4], ms))
        return false;
    if (*ms >= 0 && *ms <= WAIT_MOST_MS)
        return true;
    reply_error(&session->reply, "ERR WAIT must be between 0 and %d milliseconds", WAIT_MOST_MS);
    return false;
}

/* How a refresh ended, or that it has not: `status` as of operators->ended. */
static void reply_outcome(struct job *job, const struct operator_table *table, int status)
{
    bool failed = table->failures_in_a_row > 0;
    const char *result = status == SP_EBUSY        ? "running"
                         : table->held_by_operator ? "held"
                         : failed                  ? table->state
                                                   : "refreshed";
    struct map map = map_begin(&job->reply);
    put_text(&map, "name", table->name);
    put_text(&map, "result", result);
    put_number(&map, "rows", table->rows);
    if (strcmp(result, "refreshed") == 0)
        put_last_change(&map, table);
    put_number(&map, "held_rows", table->held_rows);
    put_number(&map, "version", table->version);
    put_error(&map, "error", table->error);
    map_end(&map);
}

static void await_refresh(struct job *job, const struct operators *operators, const char *name,
                          uint64_t ticket)
{
    struct operator_table table = {.state = "loading"};
    int64_t wait_ms;
    if (!number_parse(job->args[4].bytes, job->args[4].size, &wait_ms))
        return; /* which take_wait has seen to */
    uint64_t until_ms = clock_ms() + (uint64_t)wait_ms;
    int status = operators->ended(operators->context, name, ticket, &table);
    while (status == SP_EBUSY && clock_ms() < until_ms && job_sleep(job, LOOK_EVERY_MS))
        status = operators->ended(operators->context, name, ticket, &table);
    if (status == SP_OK || status == SP_EBUSY)
        reply_outcome(job, &table, status);
    else
        reply_error(&job->reply, "ERR table '%s' is configured otherwise now: ask again", name);
}

static void begin_refresh(struct job *job, bool confirms)
{
    char name[SP_NAME_BYTES_MAX + 1];
    uint64_t ticket = 0;
    const struct operators *operators = operators_of(job);
    if (!operators || !table_name(job, name))
        return;
    int status =
        (confirms ? operators->confirm : operators->refresh)(operators->context, name, &ticket);
    if (status != SP_OK)
        reply_failed(job, name, status);
    else if (job->count > 3)
        await_refresh(job, operators, name, ticket);
    else
        reply_ok(&job->reply);
}

static void do_refresh(struct job *job)
{
    begin_refresh(job, false);
}

static void do_confirm(struct job *job)
{
    begin_refresh(job, true);
}

void run_sidepond_refresh(struct session *session, const struct call *call)
{
    int64_t ms;
    if (take_wait(session, call, &ms))
        job_start(session, call, do_refresh);
}

void run_sidepond_confirm(struct session *session, const struct call *call)
{
    int64_t ms;
    if (take_wait(session, call, &ms))
        job_start(session, call, do_confirm);
}

static void do_hold(struct job *job)
{
    char name[SP_NAME_BYTES_MAX + 1];
    const struct operators *operators = operators_of(job);
    if (!operators || !table_name(job, name))
        return;
    int status = operators->hold(operators->context, name);
    if (status == SP_OK)
        reply_ok(&job->reply);
    else
        reply_failed(job, name, status);
}

void run_sidepond_hold(struct session *session, const struct call *call)
{
    job_start(session, call, do_hold);
}

/* --- CHECK ------------------------------------------------------------------------------------ */

struct complaints {
    struct service *service;
    struct buffer text; /* replies, to be the parts of an array */
    size_t count;
};

static void complain(void *context, const char *text)
{
    struct complaints *complaints = context;
    struct reply reply = {&complaints->text, 2};
    reply_text(&reply, text);
    complaints->count++;
}

static void hold_cache(void *context, bool held)
{
    const struct complaints *complaints = context;
    if (held)
        cache_lock(complaints->service->cache, clock_wall_ms());
    else
        cache_unlock(complaints->service->cache);
}

static void reply_report(struct reply *reply, const struct check_report *report,
                         const struct complaints *complaints, uint64_t took_ms)
{
    struct map map = map_begin(reply);
    put_flag(&map, "sound", report->complaints == 0);
    put_number(&map, "complaint_count", report->complaints);
    reply_array(map_name(&map, "complaints"), complaints->count);
    buffer_append(reply->out, complaints->text.bytes, complaints->text.size);
    put_number(&map, "tables", report->tables);
    put_number(&map, "indexes", report->indexes);
    put_number(&map, "segments", report->segments);
    put_number(&map, "buckets", report->buckets);
    put_number(&map, "entries", report->entries);
    put_number(&map, "old_versions", report->old_versions);
    put_number(&map, "uncommitted", report->uncommitted);
    put_number(&map, "deleted", report->tombstones);
    put_seconds(&map, "seconds", took_ms);
    map_end(&map);
}

/* The allocator is not compared, as with `sidepond check` of a pond whose daemon runs. */
static void check(struct job *job)
{
    struct region region;
    struct check_report report;
    struct complaints complaints = {.service = job->service, .text = BUFFER_INIT};
    struct check_options options = {.live = true,
                                    .hold = hold_cache,
                                    .complain = complain,
                                    .context = &complaints,
                                    .complaints_max = COMPLAINTS_MAX,
                                    .unwanted = &job->unwanted};
    char why[REGION_WHY_BYTES] = "";
    uint64_t began_ms = clock_ms();
    int status = region_attach(job->service->options.directory, &region, why);
    if (status != SP_OK) {
        reply_error(&job->reply, "ERR the pond cannot be checked: %s",
                    why[0] ? why : sp_status_text(status));
        return;
    }
    status = check_pond(&region, &options, &report);
    region_detach(&region);
    if (status == SP_OK || status == SP_ECORRUPT)
        reply_report(&job->reply, &report, &complaints, clock_ms() - began_ms);
    else
        reply_error(&job->reply, "ERR the check has not ended: %s", sp_status_text(status));
    buffer_free(&complaints.text);
}

static void do_check(struct job *job)
{
    atomic_bool *checking = &job->service->jobs.checking;
    if (atomic_exchange(checking, true)) {
        reply_error(&job->reply, "ERR the pond is being checked already");
        return;
    }
    check(job);
    atomic_store(checking, false);
}

void run_sidepond_check(struct session *session, const struct call *call)
{
    job_start(session, call, do_check);
}

/* --- HELP ------------------------------------------------------------------------------------- */

void run_sidepond_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "ATTACH <epoch>",
        "    Makes the connection a ring client's; start id, epoch and clock of this node.",
        "CHECK",
        "    Walks through the whole pond and verifies it.",
        "CLUSTER",
        "    The name of the cluster that this node is registered in; empty: of none.",
        "CONFIRM <table> [WAIT <milliseconds>]",
        "    Lets a refresh through that max_drop holds back, or ends a hold.",
        "DIGESTS <first> <count> | <slots>",
        "    The digests of slots, and how many entries they have.",
        "ERASE <epoch> <version> <key>",
        "    Deletes a key, unless it has a newer version.",
        "FILL <key> <token> <value> [PX <milliseconds>]",
        "    Stores a computed value and ends the lease.",
        "HOLD <table>",
        "    Lets the table and its group as they are until REFRESH or CONFIRM.",
        "LEASE <key> <wait> [FRESH <ttl>] [HOLD <hold>]",
        "    The value, or the lease to compute it, or waits for who has that; in milliseconds.",
        "MISS <node> <slots>",
        "    A node has missed writes to these slots.",
        "MISSED <node>",
        "    In how many slots it has.",
        "PULL <cursor> <bytes> <slots>",
        "    Entries of these slots, a page of about so many bytes.",
        "PUT <epoch> <version> <expiry> <key> <value>",
        "    Gives a key a value, unless it has a newer version.",
        "REFRESH <table> [WAIT <milliseconds>]",
        "    Begins a full refresh now; with WAIT, says what it has changed.",
        "RELEASE <key> <token>",
        "    Ends a lease without a value.",
        "RING",
        "    The map of the ring, as this node has it.",
        "SINCE",
        "    Since when the ring has lived, as far as this node knows, in Unix milliseconds.",
        "STATUS",
        "    The daemon, the pond, the sources and the cache.",
        "TABLES",
        "    The state of each table.",
        NULL};
    (void)call;
    reply_help(session, "SIDEPOND", lines);
}
