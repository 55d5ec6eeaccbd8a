/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_script.c - a database that is a list of changes; see feed_script.h.
 */
#include "feed_script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct script script = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

enum { NAME_BYTES = 32 };
static char long_name[80000]; /* as much of it as wanted */
static const char *const table_names[SCRIPT_TABLES] = {"users", "orders", "items"};

struct source {
    bool canceled, running, snapshot_open;
    unsigned at;       /* delivered */
    unsigned boundary; /* the last end of a transaction of that */
    unsigned snapshot; /* what a snapshot contains */
    unsigned due;      /* where FEED_SNAPSHOT is told; 0: nowhere */
    unsigned streams;  /* of this snapshot */
    unsigned tables[SCRIPT_TABLES];
};

void script_lock(void)
{
    pthread_mutex_lock(&script.lock);
}

void script_unlock(void)
{
    pthread_cond_broadcast(&script.wake);
    pthread_mutex_unlock(&script.lock);
}

void script_reset(void)
{
    memset((char *)&script + offsetof(struct script, changes), 0,
           sizeof(script) - offsetof(struct script, changes));
    pthread_mutex_init(&script.lock, NULL);
    pthread_cond_init(&script.wake, NULL);
    script.end = &script.own_end;
    script.lag = UINT64_MAX;
    snprintf(script.stream, sizeof(script.stream), "one");
    memset(long_name, 'x', sizeof(long_name));
}

/* --- writing down ----------------------------------------------------------------------------- */

struct script_change *script_add(enum script_kind kind, unsigned table, int64_t id)
{
    if (script.count == SCRIPT_CHANGES)
        abort();
    struct script_change *change = &script.changes[script.count++];
    *change = (struct script_change){.kind = kind, .table = table, .id = id, .old_id = -1};
    return change;
}

void script_put(unsigned table, int64_t id, int64_t name, int64_t stamp)
{
    struct script_change *change = script_add(SCRIPT_PUT, table, id);
    change->name = name;
    change->stamp = stamp;
}

void script_move(unsigned table, int64_t old_id, int64_t id, int64_t name, int64_t stamp)
{
    script_put(table, id, name, stamp);
    script.changes[script.count - 1].old_id = old_id;
}

void script_touch(unsigned table, int64_t id, int64_t stamp)
{
    script_put(table, id, 0, stamp);
    script.changes[script.count - 1].absent_name = true;
}

void script_remove(unsigned table, int64_t id)
{
    script_add(SCRIPT_REMOVE, table, id);
}

void script_truncate(unsigned table)
{
    script_add(SCRIPT_TRUNCATE, table, 0);
}

void script_write_commit(void)
{
    script_add(SCRIPT_COMMIT, 0, 0);
}

void script_commit(void)
{
    script_lock();
    script_write_commit();
    atomic_store(script.end, script.count);
    script_unlock();
}

/* --- the state -------------------------------------------------------------------------------- */

void script_replay(const struct script_change *change, struct script_state *state)
{
    struct script_row *rows = state->rows[change->table];
    struct script_row *row = &rows[change->id];
    struct script_row old = change->old_id >= 0 ? rows[change->old_id] : *row;
    switch (change->kind) {
    case SCRIPT_PUT:
        if (change->old_id >= 0)
            rows[change->old_id].there = false;
        *row = (struct script_row){!change->null_stamp && !change->unfit,
                                   change->absent_name ? old.name : change->name, change->stamp,
                                   change->absent_name ? old.name_bytes : change->name_bytes};
        break;
    case SCRIPT_REMOVE:
    case SCRIPT_BAD:
        row->there = false;
        break;
    case SCRIPT_TRUNCATE:
        for (unsigned i = 0; i < SCRIPT_IDS; i++)
            rows[i].there = false;
        break;
    default:
        break;
    }
}

void script_state(unsigned position, struct script_state *out)
{
    memset(out, 0, sizeof(*out));
    if (position > atomic_load(script.end)) /* which was raised after they were written down */
        abort();
    for (unsigned i = 0; i < position; i++)
        script_replay(&script.changes[i], out);
}

static struct sp_value name_value(const struct script_row *row, char text[NAME_BYTES])
{
    if (row->name_bytes > sizeof(long_name))
        abort();
    if (row->name_bytes)
        return sp_text(long_name, row->name_bytes);
    return sp_text(text, (size_t)snprintf(text, NAME_BYTES, "n%lld", (long long)row->name));
}

/* --- the source ------------------------------------------------------------------------------- */

static int table_number(const char *relation)
{
    for (int i = 0; i < SCRIPT_TABLES; i++)
        if (strcmp(table_names[i], relation) == 0)
            return i;
    return -1;
}

static int script_open(const struct source_options *options, struct source **out,
                       struct source_error *error)
{
    script_lock();
    bool refuse = script.refuse_open;
    script.opens++;
    script.open_now += !refuse;
    script_unlock();
    if (refuse)
        return source_fail(error, SP_ESOURCE, true, "source %s: is down", options->name);
    *out = calloc(1, sizeof(**out));
    return *out ? SP_OK : SP_ENOMEM;
}

static void add_column(struct source_description *out, const char *name, enum sp_type type,
                       bool nullable)
{
    struct source_column *column = &out->columns[out->column_count++];
    snprintf(column->name, sizeof(column->name), "%s", name);
    snprintf(column->native_type, sizeof(column->native_type), "%s", sp_type_name(type));
    column->type = type;
    column->nullable = nullable;
}

static int script_describe(struct source *source, const struct source_table *table,
                           struct source_description *out, struct source_error *error)
{
    (void)source;
    *out = (struct source_description){.row_estimate = -1, .byte_estimate = -1};
    script_lock();
    bool fails = script.describe_fails;
    script_unlock();
    if (fails || table_number(table->relation) < 0)
        return source_fail(error, SP_ECONFIG, false, "there is no table %s", table->relation);
    out->columns = calloc(4, sizeof(*out->columns));
    script_lock();
    add_column(out, "id", SP_TYPE_INT64, false);
    add_column(out, "name", SP_TYPE_TEXT, true);
    add_column(out, "stamp", SP_TYPE_INT64, false);
    if (script.extra)
        add_column(out, "extra", SP_TYPE_INT64, true);
    script_unlock();
    return SP_OK;
}

static int script_begin(struct source *source, struct source_error *error)
{
    (void)error;
    source->snapshot = atomic_load(script.end);
    source->streams = 0;
    return SP_OK;
}

static int deliver_row(const struct source_sink *sink, int64_t id, const struct script_row *row,
                       unsigned columns)
{
    char text[NAME_BYTES];
    const struct sp_value values[4] = {sp_int(id), name_value(row, text), sp_int(row->stamp),
                                       sp_int(id * 2)};
    return sink->row(sink->context, values, columns);
}

static int script_stream(struct source *source, const struct source_table *wanted,
                         const struct source_description *description, const struct sp_value *since,
                         const struct source_sink *sink, struct source_error *error)
{
    struct script_state *state = malloc(sizeof(*state));
    int table = table_number(wanted->relation), status = SP_OK;
    (void)since;
    if (source->streams++ == 1 && script.on_begin)
        script.on_begin();
    script_lock();
    script.streams++;
    bool changed = description->column_count != (script.extra ? 4u : 3u);
    bool fails = script.stream_fails;
    script_unlock();
    script_state(script.inexact ? atomic_load(script.end) : source->snapshot, state);
    if (changed)
        status = source_fail(error, SP_ECONFIG, false, "the columns have changed");
    else if (fails)
        status = source_fail(error, SP_ESOURCE, true, "the connection is lost while reading");
    for (int64_t id = 0; id < SCRIPT_IDS && status == SP_OK; id++)
        if (state->rows[table][id].there)
            status = deliver_row(sink, id, &state->rows[table][id], description->column_count);
    free(state);
    return status;
}

static int script_end(struct source *source, struct source_error *error)
{
    (void)error;
    source->snapshot_open = false;
    if (!script.inexact)
        source->due = 0;
    else if (source->due)
        source->due = atomic_load(script.end);
    return SP_OK;
}

static int script_changed(struct source *source, const struct source_table *table, bool *changed,
                          struct source_error *error)
{
    (void)source;
    (void)table;
    (void)error;
    script_lock();
    *changed = !script.unchanged;
    script_unlock();
    return SP_OK;
}

static void script_cancel(struct source *source)
{
    script_lock();
    source->canceled = true;
    script_unlock();
}

static void script_close(struct source *source)
{
    script_lock();
    script.open_now--;
    script_unlock();
    free(source);
}

/* --- its feed --------------------------------------------------------------------------------- */

static int feed_check(struct source *source, const struct source_feed_options *options,
                      const struct source_table *tables,
                      const struct source_description *const *descriptions, unsigned count,
                      char *stream, struct source_error *error)
{
    (void)options;
    (void)descriptions;
    for (unsigned i = 0; i < SCRIPT_TABLES; i++)
        source->tables[i] = UINT32_MAX;
    for (unsigned i = 0; i < count; i++)
        source->tables[table_number(tables[i].relation)] = i;
    script_lock();
    script.checks++;
    bool refuse = script.refuse[0];
    snprintf(stream, FEED_STREAM_BYTES, "%s", script.stream);
    int why = script.taken ? SP_EBUSY : SP_ECONFIG;
    int status = refuse ? source_fail(error, why, script.for_now, "%s", script.refuse) : SP_OK;
    script_unlock();
    return status;
}

static int feed_snapshot(struct source *source, char *position, struct source_error *error)
{
    (void)error;
    script_lock();
    script.snapshots++;
    source->snapshot = atomic_load(script.end);
    source->streams = 0;
    source->snapshot_open = true;
    source->due = UINT32_MAX;
    if (!script.inexact)
        source->due = source->snapshot;
    unsigned at = script.inexact && source->running ? source->boundary : source->snapshot;
    snprintf(position, FEED_POSITION_BYTES, "%u", at);
    if (!source->running)
        source->due = script.inexact ? UINT32_MAX : 0;
    script_unlock();
    return SP_OK;
}

static int feed_start(struct source *source, const char *position, struct source_error *error)
{
    script_lock();
    script.starts++;
    source->at = (unsigned)strtoul(position, NULL, 10);
    source->boundary = source->at;
    bool lost = script.always_lost || source->at < script.floor;
    source->running = !lost;
    script_unlock();
    return lost ? source_fail(error, SP_ENOTFOUND, false, "position %s is gone", position) : SP_OK;
}

static int deliver(struct source *source, const struct script_change *change,
                   const struct source_feed_sink *sink)
{
    unsigned table = source->tables[change->table];
    char text[NAME_BYTES];
    struct script_row row = {true, change->name, change->stamp, change->name_bytes};
    struct sp_value key = sp_int(change->id), old = sp_int(change->old_id);
    struct sp_value values[4] = {key, name_value(&row, text), sp_int(change->stamp),
                                 sp_int(change->id * 2)};
    const bool absent[4] = {false, change->absent_name, false, false};
    if (change->hidden || table == UINT32_MAX)
        return SP_OK;
    if (change->absent_name)
        values[1] = sp_null(SP_TYPE_TEXT);
    if (change->null_stamp)
        values[2] = sp_null(SP_TYPE_INT64);
    switch (change->kind) {
    case SCRIPT_PUT:
        return sink->put(sink->context, table, change->old_id >= 0 ? &old : NULL, values,
                         change->absent_name ? absent : NULL);
    case SCRIPT_REMOVE:
        return sink->remove(sink->context, table, &key);
    case SCRIPT_TRUNCATE:
        return sink->truncate(sink->context, table);
    case SCRIPT_BAD:
        return sink->bad_row(sink->context, table, values, 1, "not UTF-8");
    case SCRIPT_RESHAPE:
        return sink->reshaped(sink->context, table, "has other columns");
    default:
        return SP_OK;
    }
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool tell(struct source *source, const struct source_feed_sink *sink, enum feed_mark mark)
{
    char position[32];
    snprintf(position, sizeof(position), "%u", source->boundary);
    script_lock();
    int64_t behind = mark == FEED_TRANSACTION ? script.behind_us : 0;
    bool silent = mark == FEED_IDLE && script.silent;
    bool untimed = mark == FEED_IDLE && script.idle_untimed;
    script_unlock();
    return silent || sink->reached(sink->context, mark, position, untimed ? 0 : now_us() - behind);
}

/* With the lock: how far delivery may go. */
static unsigned limit(const struct source *source)
{
    unsigned end = atomic_load(script.end);
    if (script.hold && script.hold < end)
        end = script.hold;
    if (source->due && source->due < end && !script.inexact)
        end = source->due;
    return end;
}

static unsigned await_changes(struct source *source, uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(timeout_ms < 10 ? timeout_ms : 10) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int waited = 0;
    while (source->at >= limit(source) && !(source->due && source->at >= source->due) &&
           !source->canceled && !script.next_fails && waited == 0)
        waited = pthread_cond_timedwait(&script.wake, &script.lock, &until);
    return limit(source);
}

/* Whether the place of the snapshot has been reached, and is told. */
static bool tell_snapshot(struct source *source, const struct source_feed_sink *sink)
{
    if (source->due == 0 || source->due == UINT32_MAX || source->at < source->due ||
        source->at != source->boundary || (script.inexact && source->snapshot_open))
        return false;
    source->due = script.inexact ? 0 : source->due;
    tell(source, sink, FEED_SNAPSHOT);
    return true;
}

static int feed_next(struct source *source, uint32_t timeout_ms,
                     const struct source_feed_sink *sink, struct source_error *error)
{
    script_lock();
    unsigned end = await_changes(source, timeout_ms);
    bool canceled = source->canceled, fails = script.next_fails;
    unsigned burst = script.burst;
    enum script_breakage breakage =
        script.at_once || source->at < end ? script.breakage : SCRIPT_WHOLE;
    source->canceled = script.next_fails = false;
    script_unlock();
    if (canceled)
        return source_fail(error, SP_ECANCELED, true, "canceled");
    if (fails)
        return source_fail(error, SP_ESOURCE, true, "the connection is lost");
    if (breakage == SCRIPT_SILENT)
        return SP_ENOMEM;
    if (breakage != SCRIPT_WHOLE)
        return source_fail(error, SP_ESOURCE, breakage == SCRIPT_LOSES,
                           "a message is not understood");
    if (source->snapshot_open && !script.inexact && source->at >= source->due) {
        tell_snapshot(source, sink);
        return SP_OK;
    }
    bool idle = source->at >= end && source->at == source->boundary;
    for (unsigned i = 0; source->at < end && (burst == 0 || i < burst); i++) {
        const struct script_change *change = &script.changes[source->at];
        int status = deliver(source, change, sink);
        if (status != SP_OK)
            return status;
        source->at++;
        if (change->kind != SCRIPT_COMMIT)
            continue;
        source->boundary = source->at;
        if (!tell(source, sink, FEED_TRANSACTION) || tell_snapshot(source, sink))
            return SP_OK;
    }
    if (idle && !tell_snapshot(source, sink))
        tell(source, sink, FEED_IDLE);
    return SP_OK;
}

static int feed_confirm(struct source *source, const char *position, struct source_error *error)
{
    (void)source;
    (void)error;
    script_lock();
    script.confirms++;
    script.confirmed = (unsigned)strtoul(position, NULL, 10);
    script_unlock();
    return SP_OK;
}

static int feed_lag(struct source *source, uint64_t *bytes, struct source_error *error)
{
    (void)source;
    (void)error;
    script_lock();
    *bytes = script.lag;
    script_unlock();
    return SP_OK;
}

static int feed_drop(struct source *source, const struct source_feed_options *options,
                     struct source_error *error)
{
    (void)source;
    script_lock();
    bool fails = script.drop_fails;
    script.drops += !fails;
    if (!fails)
        snprintf(script.dropped, sizeof(script.dropped), "%s", options->name);
    script_unlock();
    return fails ? source_fail(error, SP_ESOURCE, true, "is not to be had") : SP_OK;
}

#define SCRIPT_FEED(exact)                                                                         \
    {                                                                                              \
        .features = (exact), .check = feed_check, .snapshot = feed_snapshot, .start = feed_start,  \
        .next = feed_next, .confirm = feed_confirm, .lag = feed_lag, .drop = feed_drop             \
    }
#define SCRIPT_CLASS(its_feed)                                                                     \
    {                                                                                              \
        .type = "sqlite", .open = script_open, .describe = script_describe, .begin = script_begin, \
        .stream = script_stream, .end = script_end, .changed = script_changed,                     \
        .cancel = script_cancel, .close = script_close, .feed = (its_feed)                         \
    }

const struct source_class *script_find(const char *type)
{
    static const struct source_feed_class exact = SCRIPT_FEED(FEED_EXACT_SNAPSHOT);
    static const struct source_feed_class inexact = SCRIPT_FEED(0);
    static const struct source_class exact_class = SCRIPT_CLASS(&exact);
    static const struct source_class inexact_class = SCRIPT_CLASS(&inexact);
    (void)type;
    return script.inexact ? &inexact_class : &exact_class;
}

/* --- the pond --------------------------------------------------------------------------------- */

static int read_position(struct sp_snapshot *snapshot, struct sp_pond *pond, unsigned *position)
{
    struct sp_table *feeds;
    struct sp_scan *scan = NULL;
    struct sp_view view;
    struct sp_value value;
    char text[32] = "";
    int status = sp_table_open(pond, "_feeds", &feeds);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, feeds, &scan);
    if (status == SP_OK)
        status = sp_scan_next(scan, &view);
    if (status == SP_OK)
        status = sp_view_column(&view, 4, &value);
    if (status == SP_OK)
        memcpy(text, value.bytes.data,
               value.bytes.size < sizeof(text) ? value.bytes.size : sizeof(text) - 1);
    sp_scan_end(scan);
    *position = (unsigned)strtoul(text, NULL, 10);
    return status == SP_OK && text[0] ? SP_OK : SP_ENOTFOUND;
}

static bool row_is_right(const struct sp_view *view, const struct script_row *row)
{
    struct sp_value name, stamp;
    char text[NAME_BYTES];
    struct sp_value expected = name_value(row, text);
    return row->there && sp_view_column(view, 1, &name) == SP_OK &&
           sp_view_column(view, 2, &stamp) == SP_OK && stamp.i == row->stamp && !name.is_null &&
           name.bytes.size == expected.bytes.size &&
           memcmp(name.bytes.data, expected.bytes.data, name.bytes.size) == 0;
}

static int check_table(struct sp_snapshot *snapshot, struct sp_pond *pond, unsigned n,
                       const struct script_state *state, char *why, size_t cap)
{
    struct sp_table *table;
    struct sp_scan *scan = NULL;
    struct sp_view view;
    struct sp_value id;
    unsigned expected = 0, found = 0;
    for (unsigned i = 0; i < SCRIPT_IDS; i++)
        expected += state->rows[n][i].there;
    int status = sp_table_open(pond, table_names[n], &table);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, table, &scan);
    while (status == SP_OK && (status = sp_scan_next(scan, &view)) == SP_OK) {
        found++;
        status = sp_view_column(&view, 0, &id);
        if (status == SP_OK && !row_is_right(&view, &state->rows[n][id.i])) {
            snprintf(why, cap, "row %lld of %s is not as it was", (long long)id.i, table_names[n]);
            status = SP_EDATA;
        }
    }
    sp_scan_end(scan);
    if (status != SP_ENOTFOUND || found == expected)
        return status == SP_ENOTFOUND ? SP_OK : status;
    snprintf(why, cap, "%s has %u rows and had %u", table_names[n], found, expected);
    return SP_EDATA;
}

int script_check(struct sp_pond *pond, unsigned tables, unsigned *position, char *why, size_t cap)
{
    struct sp_snapshot *snapshot;
    struct script_state *state = malloc(sizeof(*state));
    char what[128] = "";
    unsigned at = 0;
    int status = pond ? SP_OK : SP_ENOTFOUND;
    if (status == SP_OK)
        status = state ? sp_snapshot_begin(pond, &snapshot) : SP_ENOMEM;
    if (status != SP_OK) {
        free(state);
        return status;
    }
    status = read_position(snapshot, pond, &at);
    if (status == SP_OK)
        script_state(at, state);
    for (unsigned i = 0; i < tables && status == SP_OK; i++)
        status = check_table(snapshot, pond, i, state, what, sizeof(what));
    if (status == SP_EDATA)
        snprintf(why, cap, "at position %u: %s", at, what);
    sp_snapshot_end(snapshot);
    free(state);
    if (position)
        *position = at;
    return status;
}
