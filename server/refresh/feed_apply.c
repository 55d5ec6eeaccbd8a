/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_apply.c - the changes of a feed become transactions of the store.
 *
 * The store's transaction opens with the first change and is committed only where one of the
 * database's ends, together with the position. Several that have come meanwhile are committed
 * together, but none waits for more than COMMIT_AFTER_MS or COMMIT_ROWS while others come.
 *
 * Rows go through a batch of their own for each table. Order matters within a key only, so what
 * deletes or reads a row stores the batch of its table first. Columns that the database left out
 * are taken from the row as the transaction sees it.
 *
 * Costs: one encoding and one lookup for each row; a batch (256 KiB of address space, as much
 * memory as it was ever filled with) for each table that changes; two of its longest row for a
 * table whose columns are left out.
 * Limits: rows of one key that change places within a transaction, which only a key without an
 * immediate unique constraint allows, are told from each other by the next comparison only.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/log/log.h"
#include "server/refresh/breakage.h"
#include "server/refresh/feed.h"

enum {
    COMMIT_AFTER_MS = 20,
    COMMIT_ROWS = 65536,
    KEY_BYTES = ROW_KEY_BYTES_MAX,
    NAME_AGAIN_MS = 60000, /* a pass waits for longer: it has the same bad rows each time */
};

int feed_apply_init(struct feed_apply *apply, struct group *group)
{
    apply->group = group;
    apply->tables = calloc(group->table_count, sizeof(*apply->tables));
    return apply->tables ? SP_OK : SP_ENOMEM;
}

void feed_apply_free(struct feed_apply *apply)
{
    for (unsigned i = 0; apply->tables && i < apply->group->table_count; i++) {
        batch_free(&apply->tables[i].batch);
        free(apply->tables[i].values);
    }
    free(apply->tables);
    free(apply->old);
}

/* --- failures ------------------------------------------------------------------------------- */

static const char *table_name(const struct feed_apply *apply, unsigned n)
{
    return apply->group->tables[n].config->name;
}

static int stop(struct feed_apply *apply, enum refresh_failure kind, int status, unsigned n,
                const char *text)
{
    struct failure *failure = apply->failure;
    apply->status = status;
    failure->status = status;
    failure->kind = kind;
    failure->table = table_name(apply, n);
    failure->close_source = true;
    snprintf(failure->text, sizeof(failure->text), "%s", text);
    return status;
}

static int stop_store(struct feed_apply *apply, int status, unsigned n)
{
    apply->status = status;
    apply->failure->close_source = true;
    return pass_fail_store(apply->failure, table_name(apply, n), status, "storing changes");
}

/* A change that does not fit to what is there: reading the table again mends it. */
static int stop_for_reload(struct feed_apply *apply, enum refresh_reload reload, unsigned n,
                           const char *text)
{
    apply->reload = reload;
    return stop(apply, REFRESH_FAILURE_SOURCE, SP_EDATA, n, text);
}

static uint64_t skips_of(const struct intake *in)
{
    uint64_t skips = 0;
    for (unsigned i = 0; i < REFRESH_SKIP_COUNT; i++)
        skips += in->skipped[i];
    return skips;
}

/* What an intake has to say after a step. */
static int judge(struct feed_apply *apply, unsigned n, int status)
{
    const struct intake *in = &apply->tables[n].intake;
    if (in->space_status != SP_OK)
        return stop_store(apply, in->space_status, n);
    if (in->status == SP_EDATA) {
        apply->reload = REFRESH_RELOAD_DATA;
        return stop(apply, REFRESH_FAILURE_DATA, SP_EDATA, n, in->why);
    }
    if (in->status != SP_OK)
        return stop(apply, REFRESH_FAILURE_INTERNAL, in->status, n, in->why);
    return status == SP_OK ? SP_OK : stop_store(apply, status, n);
}

/* --- the transaction ------------------------------------------------------------------------ */

static bool is_stopped(void *context)
{
    const struct feed_apply *apply = context;
    return group_stopping(apply->group) || group_held(apply->group);
}

/* The transaction is aborted where the failure is dealt with. */
static void is_full(void *context)
{
    (void)context;
}

static int begin_intake(struct feed_apply *apply, unsigned n, struct store_table *stored)
{
    struct feed_table *table = &apply->tables[n];
    const struct group_table *of = &apply->group->tables[n];
    if (!table->batch.bytes && batch_init(&table->batch) != SP_OK)
        return stop_store(apply, SP_ENOMEM, n);
    table->stored = stored;
    table->removed = 0;
    table->intake = (struct intake){
        .config = of->config,
        .schema = of->schema,
        .table = stored,
        .batch = &table->batch,
        .mark_column = -1,
        .quiet = of->named_at_ms && clock_ms() - of->named_at_ms < NAME_AGAIN_MS,
        .follows = true,
        .stopped = is_stopped,
        .full = is_full,
        .context = apply,
    };
    return SP_OK;
}

static int begin_table(struct feed_apply *apply, unsigned n)
{
    struct group *group = apply->group;
    struct store_table *stored;
    bool reshaped = false;
    int status = SP_OK;
    if (!apply->txn) {
        status = store_begin(group->refresh->options.store, &apply->txn);
        apply->begun_ms = clock_ms();
    }
    if (status == SP_OK)
        status = store_table(apply->txn, table_name(apply, n), group->tables[n].schema, 0, &stored,
                             &reshaped);
    if (status != SP_OK)
        return stop_store(apply, status, n);
    if (reshaped)
        return stop_for_reload(apply, REFRESH_RELOAD_CHANGED, n, "has another shape in the pond");
    return begin_intake(apply, n, stored);
}

static int commit(struct feed_apply *apply);

/* A change of a table begins. */
static int begin_change(struct feed_apply *apply, unsigned n)
{
    if (BREAKS_HALF && apply->txn && !apply->borrowed && apply->rows >= 3)
        commit(apply);
    if (apply->status != SP_OK)
        return apply->status;
    apply->half = true;
    apply->rows++;
    return apply->tables[n].stored ? SP_OK : begin_table(apply, n);
}

void feed_apply_borrow(struct feed_apply *apply, struct store_txn *txn,
                       struct store_table *const *tables)
{
    apply->txn = txn;
    apply->borrowed = true;
    for (unsigned i = 0; i < apply->group->table_count; i++)
        begin_intake(apply, i, tables[i]);
}

void feed_apply_forget(struct feed_apply *apply)
{
    uint64_t now = clock_ms();
    for (unsigned i = 0; i < apply->group->table_count; i++) {
        struct feed_table *table = &apply->tables[i];
        if (table->stored && !table->intake.quiet && table->intake.named > 0)
            apply->group->tables[i].named_at_ms = now;
        if (table->stored)
            table->skipped += skips_of(&table->intake);
        table->stored = NULL;
        table->batch.count = 0;
        table->batch.used = 0;
    }
    apply->txn = NULL;
    apply->borrowed = apply->half = apply->pending = false;
    apply->rows = apply->transactions = 0;
}

void feed_apply_abort(struct feed_apply *apply)
{
    if (apply->txn && !apply->borrowed)
        store_abort(apply->txn);
    feed_apply_forget(apply);
}

/* --- changes -------------------------------------------------------------------------------- */

static int flush_table(struct feed_apply *apply, unsigned n)
{
    return judge(apply, n, intake_flush(&apply->tables[n].intake));
}

/* Deletes the row of an encoded key. */
static int delete_row(struct feed_apply *apply, unsigned n, const void *key, size_t key_bytes)
{
    struct feed_table *table = &apply->tables[n];
    int status = flush_table(apply, n);
    if (status != SP_OK)
        return status;
    status = store_delete(table->stored, key, key_bytes);
    if (status == SP_ENOTFOUND)
        return SP_OK;
    if (status != SP_OK)
        return stop_store(apply, status, n);
    table->removed++;
    return SP_OK;
}

static int encode_key(const struct feed_apply *apply, unsigned n, const struct sp_value *key,
                      unsigned char *out, size_t *size)
{
    const struct schema *schema = apply->group->tables[n].schema;
    return row_key_encode(schema, schema->key_columns, schema->key_count, key, schema->key_count,
                          out, KEY_BYTES, size);
}

/* A key that cannot be encoded is none that is in the pond. */
static int delete_key(struct feed_apply *apply, unsigned n, const struct sp_value *key)
{
    unsigned char bytes[KEY_BYTES];
    size_t size;
    if (encode_key(apply, n, key, bytes, &size) != SP_OK)
        return SP_OK;
    return delete_row(apply, n, bytes, size);
}

static void key_of_row(const struct schema *schema, const struct sp_value *values,
                       struct sp_value *key)
{
    for (unsigned i = 0; i < schema->key_count; i++)
        key[i] = values[schema->key_columns[i]];
}

static bool any_absent(const struct schema *schema, const bool *absent)
{
    for (unsigned i = 0; absent && i < schema->column_count; i++)
        if (absent[i])
            return true;
    return false;
}

/* The row's value as the transaction sees it, into `old`. */
static int read_old(struct feed_apply *apply, unsigned n, const void *key, size_t key_bytes,
                    size_t *value_bytes)
{
    struct store_table *stored = apply->tables[n].stored;
    int status = store_read(stored, key, key_bytes, apply->old, apply->old_cap, value_bytes);
    if (status != SP_ERANGE)
        return status;
    unsigned char *larger = realloc(apply->old, *value_bytes);
    if (!larger)
        return SP_ENOMEM;
    apply->old = larger;
    apply->old_cap = *value_bytes;
    return store_read(stored, key, key_bytes, apply->old, apply->old_cap, value_bytes);
}

/* The row is not there of which the rest was left out. That is as it should be where it was skipped
 * as a bad one, and is put right by reading the table where not. */
static int miss_old(struct feed_apply *apply, unsigned n, const struct sp_value *values)
{
    struct feed_table *table = &apply->tables[n];
    const struct group_table *of = &apply->group->tables[n];
    uint64_t skips = of->skips + table->skipped + skips_of(&table->intake);
    if (of->config->on_bad_row == CONFIG_ON_BAD_ROW_SKIP && skips > 0) {
        struct source_sink sink = intake_sink(&table->intake);
        return judge(apply, n,
                     sink.bad_row(&table->intake, values, of->schema->column_count, 0,
                                  "the database left out what had not changed, and the row was "
                                  "skipped before"));
    }
    return stop_for_reload(apply, REFRESH_RELOAD_MISSING, n,
                           "a row changed that is not in the pond");
}

/* Fills in what was left out. `*filled` false: the row has been dealt with. */
static int fill_absent(struct feed_apply *apply, unsigned n, const struct sp_value *old_key,
                       const struct sp_value *values, const bool *absent, bool *filled)
{
    struct feed_table *table = &apply->tables[n];
    const struct schema *schema = apply->group->tables[n].schema;
    struct sp_value key[ROW_KEY_COLUMNS_MAX];
    unsigned char bytes[KEY_BYTES];
    size_t key_bytes = 0;
    size_t value_bytes = 0;
    if (!table->values)
        table->values = calloc(schema->column_count, sizeof(*table->values));
    if (!table->values)
        return stop_store(apply, SP_ENOMEM, n);
    key_of_row(schema, values, key);
    int status = flush_table(apply, n);
    if (status != SP_OK)
        return status;
    *filled = false;
    if (encode_key(apply, n, old_key ? old_key : key, bytes, &key_bytes) != SP_OK)
        return miss_old(apply, n, values);
    status = read_old(apply, n, bytes, key_bytes, &value_bytes);
    if (status == SP_ENOTFOUND)
        return miss_old(apply, n, values);
    for (unsigned i = 0; i < schema->column_count && status == SP_OK; i++) {
        table->values[i] = values[i];
        if (!absent[i])
            continue;
        const struct row_column *column = &schema->columns[i];
        if (column->key_position >= 0)
            table->values[i] = old_key ? old_key[column->key_position] : values[i];
        else
            status = row_column_get(schema, i, bytes, key_bytes, apply->old, value_bytes,
                                    &table->values[i]);
    }
    *filled = status == SP_OK;
    return status == SP_OK ? SP_OK : stop_store(apply, status, n);
}

/* Stores a row that is complete. What was there of one that is skipped goes, as in a full pass. */
static int put_row(struct feed_apply *apply, unsigned n, const struct sp_value *values)
{
    struct feed_table *table = &apply->tables[n];
    const struct schema *schema = apply->group->tables[n].schema;
    struct source_sink sink = intake_sink(&table->intake);
    struct sp_value key[ROW_KEY_COLUMNS_MAX];
    int status = judge(apply, n, sink.row(&table->intake, values, schema->column_count));
    table->counted.put_total++;
    if (status != SP_OK || !table->intake.refused)
        return status;
    key_of_row(schema, values, key);
    return delete_key(apply, n, key);
}

static int apply_put(void *context, unsigned n, const struct sp_value *old_key,
                     const struct sp_value *values, const bool *absent)
{
    struct feed_apply *apply = context;
    bool filled = true;
    int status = begin_change(apply, n);
    if (status != SP_OK)
        return status;
    if (any_absent(apply->group->tables[n].schema, absent)) {
        status = fill_absent(apply, n, old_key, values, absent, &filled);
        values = apply->tables[n].values;
    }
    uint64_t removed = apply->tables[n].removed;
    if (status == SP_OK && old_key)
        status = delete_key(apply, n, old_key);
    apply->tables[n].removed = removed; /* it only moves */
    return status == SP_OK && filled ? put_row(apply, n, values) : status;
}

static int apply_remove(void *context, unsigned n, const struct sp_value *key)
{
    struct feed_apply *apply = context;
    int status = begin_change(apply, n);
    apply->tables[n].counted.removed_total++;
    if (BREAKS_REMOVE && apply->tables[n].counted.removed_total % 10 == 0)
        return status;
    return status == SP_OK ? delete_key(apply, n, key) : status;
}

static int apply_truncate(void *context, unsigned n)
{
    struct feed_apply *apply = context;
    struct feed_table *table = &apply->tables[n];
    uint64_t deleted = 0;
    int status = begin_change(apply, n);
    if (status != SP_OK)
        return status;
    status = flush_table(apply, n);
    if (status != SP_OK)
        return status;
    status = store_truncate(table->stored, &deleted);
    table->removed += deleted;
    table->counted.removed_total += deleted;
    return status == SP_OK ? SP_OK : stop_store(apply, status, n);
}

static int apply_bad_row(void *context, unsigned n, const struct sp_value *values, unsigned column,
                         const char *why)
{
    struct feed_apply *apply = context;
    struct feed_table *table = &apply->tables[n];
    const struct schema *schema = apply->group->tables[n].schema;
    struct sp_value key[ROW_KEY_COLUMNS_MAX];
    int status = begin_change(apply, n);
    if (status != SP_OK)
        return status;
    struct source_sink sink = intake_sink(&table->intake);
    status =
        judge(apply, n, sink.bad_row(&table->intake, values, schema->column_count, column, why));
    if (status != SP_OK)
        return status;
    key_of_row(schema, values, key);
    return delete_key(apply, n, key);
}

static int apply_reshaped(void *context, unsigned n, const char *why)
{
    struct feed_apply *apply = context;
    return stop_for_reload(apply, REFRESH_RELOAD_RESHAPED, n, why);
}

/* --- too much would go ---------------------------------------------------------------------- */

/* Whether a table is left with so much less than before that it is held back, as a full pass would
 * be. */
static int check_drop(struct feed_apply *apply, unsigned n)
{
    const struct config_table *config = apply->group->tables[n].config;
    const struct store_counts *base = &apply->tables[n].intake.before;
    struct store_counts counts;
    char a[TEXT_BYTES];
    char b[TEXT_BYTES];
    char advice[ADVICE_BYTES];
    char text[SOURCE_ERROR_BYTES];
    int status = flush_table(apply, n);
    if (status != SP_OK)
        return status;
    store_table_counts(apply->tables[n].stored, &counts);
    uint64_t deleted = counts.deleted - base->deleted;
    uint64_t inserted = counts.inserted - base->inserted;
    uint64_t lost = deleted > inserted ? deleted - inserted : 0;
    uint64_t before =
        pass_rows_in_pond(apply->group->refresh, config->name) + base->inserted - base->deleted;
    if (before == 0 || (double)lost <= (double)before * config->max_drop ||
        pass_confirmed(apply->group, &apply->group->tables[n]))
        return SP_OK;
    snprintf(text, sizeof(text),
             "held back: a transaction of the database deletes %s of %s rows (max_drop: %.4g%%); "
             "the old data stays. %s",
             refresh_text_count(lost, a), refresh_text_count(before, b), 100.0 * config->max_drop,
             refresh_text_confirm(config->name, advice));
    apply->failure->missing_rows = lost;
    apply->reload = REFRESH_RELOAD_DROP;
    return stop(apply, REFRESH_FAILURE_DROP, SP_EDROP, n, text);
}

static int check_drops(struct feed_apply *apply)
{
    int status = SP_OK;
    for (unsigned i = 0; i < apply->group->table_count && status == SP_OK; i++)
        if (apply->tables[i].stored && apply->tables[i].removed > 0)
            status = check_drop(apply, i);
    return status;
}

/* One of the database's transactions ends here: the next one is judged by what it does itself. What
 * the table is without it may only be known when its batch is stored. */
static void end_transaction(struct feed_apply *apply)
{
    for (unsigned i = 0; i < apply->group->table_count; i++) {
        struct feed_table *table = &apply->tables[i];
        if (!table->stored)
            continue;
        table->removed = 0;
        table->intake.earlier = table->batch.count;
        if (table->batch.count == 0)
            store_table_counts(table->stored, &table->intake.before);
    }
}

/* --- committing ----------------------------------------------------------------------------- */

static int flush(struct feed_apply *apply)
{
    int status = SP_OK;
    for (unsigned i = 0; i < apply->group->table_count && status == SP_OK; i++)
        if (apply->tables[i].stored)
            status = flush_table(apply, i);
    return status;
}

int feed_apply_settle(struct feed_apply *apply)
{
    int status = flush(apply);
    return status == SP_OK ? check_drops(apply) : status;
}

/* Rows and position become visible by the same commit. */
static int commit_with_position(struct feed_apply *apply)
{
    struct group *group = apply->group;
    struct feed *feed = group->feed;
    struct refresh *refresh = group->refresh;
    struct feed_row row = feed->row;
    memcpy(row.position, apply->position, sizeof(row.position));
    row.at_us = apply->at_us;
    int status = SP_OK;
    if (!apply->txn)
        status = store_begin(refresh->options.store, &apply->txn);
    if (status == SP_OK && BREAKS_POSITION) {
        status = store_commit(apply->txn, NULL);
        apply->txn = NULL;
        feed->row = row;
        return status == SP_OK ? feed_position_put_alone(refresh, &row) : status;
    }
    if (status != SP_OK)
        return status;
    status = feed_position_put(refresh, apply->txn, feed->schema, &row);
    if (status == SP_OK)
        status = store_commit(apply->txn, NULL);
    else
        store_abort(apply->txn); /* before _feeds is somebody else's */
    apply->txn = NULL;           /* also when the commit failed */
    feed_position_unlock(refresh);
    if (status == SP_OK)
        feed->row = row;
    return status;
}

/* What was reached last is what readers have. */
static void note_safe(struct feed_apply *apply, bool idle)
{
    apply->safe.at_us = apply->at_us;
    apply->safe.apart_us = apply->apart_us;
    apply->safe.idle = idle;
    apply->group->feed->told = false;
}

static int commit(struct feed_apply *apply)
{
    struct feed *feed = apply->group->feed;
    int status = flush(apply);
    if (status != SP_OK)
        return status;
    status = commit_with_position(apply);
    if (status != SP_OK)
        return stop_store(apply, status, 0);
    feed->status.transactions_total += apply->transactions;
    feed->status.commits_total += apply->transactions > 0;
    feed->written_ms = clock_ms();
    note_safe(apply, false);
    feed_apply_forget(apply);
    return SP_OK;
}

int feed_apply_commit(struct feed_apply *apply, struct failure *failure)
{
    bool whole = BREAKS_HALF || !apply->half;
    bool news = apply->pending || (BREAKS_HALF && apply->half);
    if (!whole || !news || apply->borrowed)
        return SP_OK;
    apply->failure = failure;
    return commit(apply);
}

static bool commit_is_due(struct feed_apply *apply)
{
    return apply->txn &&
           (apply->rows >= COMMIT_ROWS || clock_ms() - apply->begun_ms >= COMMIT_AFTER_MS);
}

static bool apply_reached(void *context, enum feed_mark mark, const char *position, int64_t at_us)
{
    struct feed_apply *apply = context;
    const struct feed *feed = apply->group->feed;
    if (apply->status != SP_OK)
        return false;
    snprintf(apply->position, sizeof(apply->position), "%s", position);
    if (!apply->borrowed && check_drops(apply) != SP_OK)
        return false;
    if (!apply->borrowed)
        end_transaction(apply);
    if (mark == FEED_IDLE && at_us == 0) /* it is of now, by a clock that is not told */
        at_us = clock_wall_us() - (feed->skew_known ? feed->skew_us : 0);
    apply->at_us = at_us;
    apply->apart_us = clock_wall_us() - at_us;
    apply->half = false;
    apply->progress = true;
    apply->transactions += mark == FEED_TRANSACTION;
    apply->pending |= mark != FEED_IDLE || apply->txn != NULL;
    if (mark == FEED_IDLE && !apply->pending)
        note_safe(apply, true);
    if (mark == FEED_SNAPSHOT) {
        apply->snapshot = true;
        return false;
    }
    if (!apply->borrowed && commit_is_due(apply) && commit(apply) != SP_OK)
        return false;
    return !group_called(apply->group);
}

struct source_feed_sink feed_apply_sink(struct feed_apply *apply)
{
    return (struct source_feed_sink){
        .context = apply,
        .put = apply_put,
        .remove = apply_remove,
        .truncate = apply_truncate,
        .bad_row = apply_bad_row,
        .reshaped = apply_reshaped,
        .reached = apply_reached,
    };
}
