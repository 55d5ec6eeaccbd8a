/* SPDX-License-Identifier: Apache-2.0
 *
 * pass.c - one pass: a snapshot of the database becomes one transaction of the store.
 *
 *   store_begin, source begin
 *   for each table: stream its rows into batches, into the store
 *   source end
 *   for each table read as a whole: rows it no longer has, within max_drop, are deleted
 *   store_commit: all tables of the group change at once
 *
 * Whatever fails on the way aborts the transaction and leaves the pond as it was; the failure says
 * what and, where it has one, which table. A table is read as a whole, or only from its watermark
 * on if it has one and a full pass is not due.
 *
 * Cost: one encoding and one lookup for each row read; memory for one batch.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/refresh/internal.h"

enum { NAME_AGAIN_MS = 600000 };

/* A table in a pass. */
struct portion {
    struct group_table *table;
    struct intake intake;
    struct store_table *stored;
    struct watermark mark;
    bool full;
    bool unchanged; /* the database says so: not read */
    bool reshaped;
    uint64_t rows_before; /* of a table whose shape changes */
    uint64_t deleted;
    struct store_counts counts;
};

struct pass {
    struct group *group;
    const struct pass_plan *plan;
    struct failure *failure;
    struct store_txn *txn; /* NULL once it is aborted */
    struct portion *portions;
    uint64_t begun_ms;
    int64_t begun_at_ms;
};

/* --- failures ------------------------------------------------------------------------------ */

static int fail(struct failure *failure, enum refresh_failure kind, int status, const char *table,
                const char *text)
{
    failure->status = status;
    failure->kind = kind;
    failure->table = table;
    snprintf(failure->text, sizeof(failure->text), "%s", text);
    return status;
}

static int fail_source(struct failure *failure, const char *table, int status,
                       const struct source_error *error)
{
    group_source_failure(failure, status, error);
    failure->table = table;
    return status;
}

int pass_fail_store(struct failure *failure, const char *table, int status, const char *doing)
{
    char text[SOURCE_ERROR_BYTES];
    bool space = status == SP_ENOSPC || status == SP_ENOSHM;
    snprintf(text, sizeof(text), "%s: %s%s", doing, sp_status_text(status),
             status == SP_ENOSPC ? "; raise memory:" : "");
    return fail(failure, space ? REFRESH_FAILURE_SPACE : REFRESH_FAILURE_INTERNAL, status, table,
                text);
}

/* Room that a table's rows would take with its indexes; about. */
static uint64_t needed_bytes(const struct intake *in)
{
    const uint64_t slot_bytes = 11, posting_bytes = 48;
    uint64_t rows = in->read;
    return in->units_bytes + rows * (slot_bytes + in->schema->index_count * posting_bytes);
}

static int fail_space(struct pass *pass, const struct portion *portion)
{
    const struct intake *in = &portion->intake;
    struct store_info info;
    struct statvfs fs;
    char rows[TEXT_BYTES];
    char need[TEXT_BYTES];
    char have[TEXT_BYTES];
    char taken[TEXT_BYTES];
    char text[SOURCE_ERROR_BYTES];
    const char *directory = pass->group->refresh->options.directory;
    store_info(pass->group->refresh->options.store, &info);
    refresh_text_count(in->read, rows);
    refresh_text_size(needed_bytes(in), need);
    if (in->space_status == SP_ENOSHM && statvfs(directory, &fs) == 0)
        snprintf(
            text, sizeof(text),
            "does not fit: its %s rows need about %s, and the file system of %s has %s free of "
            "%s",
            rows, need, directory, refresh_text_size(fs.f_bavail * fs.f_frsize, have),
            refresh_text_size(fs.f_blocks * fs.f_frsize, taken));
    else
        snprintf(
            text, sizeof(text),
            "does not fit: its %s rows need about %s%s; the pond has %s, %s of it taken; raise "
            "memory:",
            rows, need, portion->full && info.used_bytes > 0 ? " beside what is there" : "",
            refresh_text_size(info.limit_bytes, have), refresh_text_size(info.used_bytes, taken));
    return fail(pass->failure, REFRESH_FAILURE_SPACE, in->space_status,
                portion->table->config->name, text);
}

/* --- describing ---------------------------------------------------------------------------- */

static int describe_table(struct group *group, struct group_table *table, struct failure *failure)
{
    struct source_error error = {0};
    struct source_description description = {0};
    struct schema *schema = NULL;
    char why[SOURCE_ERROR_BYTES] = "";
    int status =
        refresh_describe(&group->connection, table->config, &table->source, &description, &error);
    if (status != SP_OK) {
        failure->retry_now = true;
        return fail_source(failure, table->config->name, status, &error);
    }
    if (table->schema && shape_same(&table->description, &description)) {
        source_description_free(&table->description);
        table->description = description;
        return SP_OK;
    }
    status = shape_build(table->config, &description, &schema, why, sizeof(why));
    if (status != SP_OK) {
        source_description_free(&description);
        failure->close_source = true;
        return fail(failure,
                    status == SP_ECONFIG ? REFRESH_FAILURE_CONFIG : REFRESH_FAILURE_INTERNAL,
                    status, table->config->name, why[0] ? why : sp_status_text(status));
    }
    shape_log_text_columns(table->config, &description);
    if (table->schema)
        source_description_free(&table->description);
    schema_free(table->schema);
    table->description = description;
    table->schema = schema;
    table->mark.set = false;
    table->current = false;
    return SP_OK;
}

int pass_describe(struct group *group, struct failure *failure)
{
    for (unsigned i = 0; i < group->table_count; i++) {
        int status = describe_table(group, &group->tables[i], failure);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}

/* --- reading ------------------------------------------------------------------------------- */

static bool pass_stopped(void *context)
{
    struct pass *pass = context;
    return group_stopping(pass->group) || group_held(pass->group);
}

/* The pond is full: what was written so far is given back at once, while the rest is counted. */
static void pass_full(void *context)
{
    struct pass *pass = context;
    store_abort(pass->txn);
    pass->txn = NULL;
}

static bool needs_full(const struct group *group, const struct group_table *table, uint64_t now_ms)
{
    const struct config_refresh *refresh = &table->config->refresh;
    return group->force_full || !refresh->watermark || !table->mark.set || table->full_at_ms == 0 ||
           now_ms - table->full_at_ms >= refresh->full_every_ms;
}

uint64_t pass_rows_in_pond(struct refresh *refresh, const char *name)
{
    struct sp_table *table;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    struct sp_pond *pond = refresh_pond(refresh);
    if (!pond || sp_table_open(pond, name, &table) != SP_OK || sp_table_info(table, &info) != SP_OK)
        return 0;
    return info.rows;
}

static int begin_portion(struct pass *pass, struct portion *portion)
{
    struct group_table *table = portion->table;
    const char *name = table->config->name;
    int64_t estimate = table->description.row_estimate;
    int status = store_table(pass->txn, name, table->schema, estimate > 0 ? (uint64_t)estimate : 0,
                             &portion->stored, &portion->reshaped);
    if (status == SP_ENOSPC)
        return fail(pass->failure, REFRESH_FAILURE_SPACE, status, name,
                    "the pond has no room for another table: its 256 names are taken, or its "
                    "memory is; drop tables, or raise memory:");
    if (status != SP_OK)
        return pass_fail_store(pass->failure, name, status, "opening the table in the pond");
    if (portion->reshaped) {
        portion->full = true;
        portion->rows_before = pass_rows_in_pond(pass->group->refresh, name);
        log_event(LOG_INFO, "refresh", "new shape, loaded beside the old one",
                  LOG_STR("table", name), LOG_UINT("columns", table->description.column_count));
    }
    if (portion->full) {
        status = store_pass_begin(portion->stored);
        if (status != SP_OK)
            return pass_fail_store(pass->failure, name, status, "beginning a full pass");
    } else {
        watermark_copy(&portion->mark, &table->mark);
    }
    return SP_OK;
}

static void begin_intake(struct pass *pass, struct portion *portion)
{
    struct group_table *table = portion->table;
    const char *watermark = table->config->refresh.watermark;
    portion->intake = (struct intake){
        .config = table->config,
        .schema = table->schema,
        .table = portion->stored,
        .batch = &pass->group->batch,
        .mark = watermark ? &portion->mark : NULL,
        .mark_column = watermark ? schema_column(table->schema, watermark) : -1,
        .now_ms = pass->begun_at_ms,
        .quiet = table->named_at_ms && pass->begun_ms - table->named_at_ms < NAME_AGAIN_MS,
        .stopped = pass_stopped,
        .full = pass_full,
        .context = pass,
    };
}

/* The same bad rows come with every full pass: they are named when their number changes, and every
 * NAME_AGAIN_MS. */
static void note_skips(const struct pass *pass, struct group_table *table, const struct intake *in)
{
    if (!in->quiet && in->named > BATCH_NAMED_MAX)
        log_event(LOG_WARNING, "refresh", "more rows skipped",
                  LOG_STR("table", table->config->name),
                  LOG_UINT("rows", in->named - BATCH_NAMED_MAX));
    if (!in->quiet && in->named > 0)
        table->named_at_ms = pass->begun_ms;
    if (in->quiet && in->named != table->skips)
        table->named_at_ms = 0;
    table->skips = in->named;
}

static int stream_portion(struct pass *pass, struct portion *portion)
{
    struct group *group = pass->group;
    struct group_table *table = portion->table;
    struct intake *in = &portion->intake;
    struct source_sink sink = intake_sink(in);
    struct source_error error = {0};
    char scratch[WATERMARK_TEXT_BYTES];
    struct sp_value since;
    if (!portion->full)
        watermark_since(&table->mark, table->config->refresh.overlap, scratch, &since);
    int status = group->connection.class->stream(group->connection.source, &table->source,
                                                 &table->description, portion->full ? NULL : &since,
                                                 &sink, &error);
    if (status == SP_OK)
        status = intake_flush(in);
    group->batch.count = 0;
    group->batch.used = 0;
    if (in->status != SP_OK) { /* it was us who stopped it */
        pass->failure->close_source = true;
        return fail(pass->failure,
                    in->status == SP_EDATA ? REFRESH_FAILURE_DATA : REFRESH_FAILURE_INTERNAL,
                    in->status, table->config->name, in->why);
    }
    if (status != SP_OK) {
        pass->failure->retry_now = status == SP_ECONFIG;
        return fail_source(pass->failure, table->config->name, status, &error);
    }
    if (in->space_status != SP_OK)
        return fail_space(pass, portion);
    note_skips(pass, table, in);
    return SP_OK;
}

/* Whether a table need not be read: all that was read the last time has been committed, and the
 * database says that it is the same. */
static int ask_unchanged(struct pass *pass, struct portion *portion)
{
    struct group *group = pass->group;
    struct group_table *table = portion->table;
    const struct source_class *class = group->connection.class;
    struct source_error error = {0};
    bool changed = true;
    if (!class->changed)
        return SP_OK;
    int status = class->changed(group->connection.source, &table->source, &changed, &error);
    if (status != SP_OK)
        return fail_source(pass->failure, table->config->name, status, &error);
    bool due = group->force_full ||
               pass->begun_ms - table->full_at_ms >= table->config->refresh.full_every_ms;
    portion->unchanged = !changed && table->current && !due && !pass->plan->settled;
    return SP_OK;
}

static int read_tables(struct pass *pass)
{
    struct group *group = pass->group;
    int status = SP_OK;
    for (unsigned i = 0; i < group->table_count && status == SP_OK; i++) {
        struct portion *portion = &pass->portions[i];
        portion->table = &group->tables[i];
        portion->full = needs_full(group, portion->table, pass->begun_ms);
        status = ask_unchanged(pass, portion);
        if (status != SP_OK || portion->unchanged)
            continue;
        portion->table->current = false;
        status = begin_portion(pass, portion);
        if (status != SP_OK)
            break;
        begin_intake(pass, portion);
        status = stream_portion(pass, portion);
    }
    return status;
}

/* --- settling ------------------------------------------------------------------------------ */

bool pass_confirmed(struct group *group, const struct group_table *table)
{
    pthread_mutex_lock(&group->lock);
    bool confirmed = table->confirmed;
    pthread_mutex_unlock(&group->lock);
    return confirmed;
}

/* Holds a pass back that would drop too much of a table. */
static int check_drop(struct pass *pass, struct portion *portion)
{
    const struct config_table *config = portion->table->config;
    uint64_t missing = 0;
    uint64_t before = 0;
    char a[TEXT_BYTES];
    char b[TEXT_BYTES];
    char advice[ADVICE_BYTES];
    char text[SOURCE_ERROR_BYTES];
    store_pass_missing(portion->stored, &missing, &before);
    if (portion->reshaped) {
        before = portion->rows_before;
        missing = before > portion->intake.stored ? before - portion->intake.stored : 0;
    }
    if (before == 0 || (double)missing <= (double)before * config->max_drop ||
        pass_confirmed(pass->group, portion->table))
        return SP_OK;
    snprintf(
        text, sizeof(text),
        "held back: %s of %s rows are gone from the database (%.1f%%; max_drop: %.4g%%); the old "
        "data stays. %s",
        refresh_text_count(missing, a), refresh_text_count(before, b),
        100.0 * (double)missing / (double)before, 100.0 * config->max_drop,
        refresh_text_confirm(config->name, advice));
    pass->failure->missing_rows = missing;
    return fail(pass->failure, REFRESH_FAILURE_DROP, SP_EDROP, config->name, text);
}

static int settle_tables(struct pass *pass)
{
    int status = SP_OK;
    for (unsigned i = 0; i < pass->group->table_count && status == SP_OK; i++) {
        struct portion *portion = &pass->portions[i];
        if (portion->unchanged)
            continue;
        if (portion->full)
            status = check_drop(pass, portion);
        if (portion->full && status == SP_OK) {
            status = store_pass_sweep(portion->stored, &portion->deleted);
            if (status != SP_OK)
                status = pass_fail_store(pass->failure, portion->table->config->name, status,
                                         "deleting rows that are gone");
        }
        store_table_counts(portion->stored, &portion->counts);
    }
    return status;
}

/* What the plan has to add to the transaction. */
static int follow_plan(struct pass *pass)
{
    unsigned count = pass->group->table_count;
    if (!pass->plan->settled)
        return SP_OK;
    struct store_table **tables = calloc(count, sizeof(*tables));
    if (!tables)
        return pass_fail_store(pass->failure, NULL, SP_ENOMEM, "ending a refresh");
    for (unsigned i = 0; i < count; i++) {
        tables[i] = pass->portions[i].stored;
        store_pass_end(tables[i]);
    }
    int status = pass->plan->settled(pass->plan->context, pass->txn, tables, pass->failure);
    free(tables);
    return status;
}

static int commit(struct pass *pass)
{
    if (group_held(pass->group))
        return fail(pass->failure, REFRESH_FAILURE_INTERNAL, SP_ECANCELED, NULL,
                    "an operator holds it");
    int status = store_commit(pass->txn, NULL);
    pass->txn = NULL; /* also when it failed */
    if (status != SP_OK)
        return pass_fail_store(pass->failure, NULL, status, "committing");
    return SP_OK;
}

/* --- afterwards ---------------------------------------------------------------------------- */

static void count_duration(struct refresh_status *status, uint32_t duration_ms)
{
    unsigned i = 0;
    while (i < REFRESH_BUCKETS && duration_ms > refresh_bucket_ms[i])
        i++;
    status->duration_buckets[i]++;
    status->duration_sum_s += duration_ms / 1000.0;
    status->duration_ms = duration_ms;
}

/* What was read and skipped counts also when the pass failed. */
static void count_reading(struct refresh_status *status, const struct intake *in)
{
    status->read_total += in->read;
    for (unsigned i = 0; i < REFRESH_SKIP_COUNT; i++)
        status->skipped_total[i] += in->skipped[i];
}

static void count_success(struct pass *pass, struct portion *portion, uint64_t rows)
{
    struct refresh_status *status = &portion->table->status;
    const struct store_counts *counts = &portion->counts;
    status->state = SP_TABLE_FRESH;
    status->ever_committed = true;
    status->rows = rows;
    status->success_at_ms = clock_wall_ms();
    status->last_full = portion->full;
    *(portion->full ? &status->full_total : &status->incremental_total) += 1;
    status->failures_in_a_row = 0;
    status->inserted_total += counts->inserted;
    status->updated_total += counts->updated;
    status->deleted_total += counts->deleted;
    status->unchanged_total += counts->unchanged;
    status->last = (struct refresh_change){counts->inserted, counts->updated, counts->deleted,
                                           counts->unchanged};
    status->unique_violations = counts->unique_violations;
    status->written_bytes_total += counts->bytes_written;
    status->missing_rows = 0;
    status->error[0] = '\0';
    portion->table->confirmed = false;
    count_duration(status, (uint32_t)(clock_ms() - pass->begun_ms));
}

static void log_success(const struct pass *pass, const struct portion *portion, uint64_t rows)
{
    const struct store_counts *counts = &portion->counts;
    bool first = !pass->group->ever_committed || portion->reshaped;
    log_event(first ? LOG_INFO : LOG_DEBUG, "refresh", first ? "loaded" : "refreshed",
              LOG_STR("table", portion->table->config->name), LOG_UINT("rows", rows),
              LOG_UINT("inserted", counts->inserted), LOG_UINT("updated", counts->updated),
              LOG_UINT("deleted", counts->deleted), LOG_UINT("unchanged", counts->unchanged),
              LOG_BOOL("full", portion->full), LOG_UINT("ms", clock_ms() - pass->begun_ms));
    if (counts->unique_violations)
        log_limited(LOG_WARNING, "refresh", 60, "table %s: %llu rows share a key of a unique index",
                    portion->table->config->name, (unsigned long long)counts->unique_violations);
}

static void tell_readers(struct pass *pass, const struct config_table *config)
{
    struct store_status status = {.state = SP_TABLE_FRESH,
                                  .refreshed = true,
                                  .max_stale_ms = config->max_stale_ms,
                                  .fail_when_stale = config->on_stale == CONFIG_ON_STALE_FAIL};
    store_table_status(pass->group->refresh->options.store, config->name, &status);
}

static void succeed(struct pass *pass)
{
    struct group *group = pass->group;
    for (unsigned i = 0; i < group->table_count; i++) {
        struct portion *portion = &pass->portions[i];
        struct group_table *table = portion->table;
        tell_readers(pass, table->config);
        uint64_t rows = pass_rows_in_pond(group->refresh, table->config->name);
        table->current = true;
        if (portion->full && !portion->unchanged)
            table->full_at_ms = pass->begun_ms;
        if (!portion->unchanged)
            watermark_copy(&table->mark, &portion->mark);
        log_success(pass, portion, rows);
        pthread_mutex_lock(&group->lock);
        count_success(pass, portion, rows);
        pthread_mutex_unlock(&group->lock);
    }
    group->ever_committed = true;
    group->force_full = false;
}

static void count_all_reading(struct pass *pass)
{
    struct group *group = pass->group;
    pthread_mutex_lock(&group->lock);
    for (unsigned i = 0; i < group->table_count; i++)
        if (pass->portions[i].table)
            count_reading(&pass->portions[i].table->status, &pass->portions[i].intake);
    pthread_mutex_unlock(&group->lock);
}

/* Ends the database's transaction also where ours has failed, so that the connection stays good. */
static int read_snapshot(struct pass *pass)
{
    struct group *group = pass->group;
    struct source_error error = {0};
    int status = pass->plan->begin
                     ? pass->plan->begin(pass->plan->context, &error)
                     : group->connection.class->begin(group->connection.source, &error);
    if (status != SP_OK) {
        pass->failure->retry_now = true;
        return fail_source(pass->failure, NULL, status, &error);
    }
    status = read_tables(pass);
    if (pass->failure->close_source)
        return status;
    int end_status = group->connection.class->end(group->connection.source, &error);
    if (end_status == SP_OK)
        return status;
    pass->failure->close_source = true;
    return status == SP_OK ? fail_source(pass->failure, NULL, end_status, &error) : status;
}

int pass_run(struct group *group, const struct pass_plan *plan, struct failure *failure)
{
    const struct pass_plan plain = {0};
    struct pass pass = {.group = group,
                        .plan = plan ? plan : &plain,
                        .failure = failure,
                        .begun_ms = clock_ms(),
                        .begun_at_ms = clock_wall_ms()};
    pass.portions = calloc(group->table_count, sizeof(*pass.portions));
    if (!pass.portions)
        return pass_fail_store(failure, NULL, SP_ENOMEM, "beginning a refresh");
    int status = store_begin(group->refresh->options.store, &pass.txn);
    if (status != SP_OK) {
        status = pass_fail_store(failure, NULL, status, "beginning a transaction");
        goto free_portions;
    }
    status = read_snapshot(&pass);
    if (status == SP_OK)
        status = settle_tables(&pass);
    if (status == SP_OK)
        status = follow_plan(&pass);
    if (status == SP_OK)
        status = commit(&pass);
    count_all_reading(&pass);
    if (status == SP_OK)
        succeed(&pass);
    if (pass.txn)
        store_abort(pass.txn);
free_portions:
    free(pass.portions);
    return status;
}
