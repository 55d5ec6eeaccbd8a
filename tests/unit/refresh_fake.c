/* SPDX-License-Identifier: Apache-2.0
 *
 * refresh_fake.c - a database made of a few arrays; see refresh_fake.h.
 */
#include "refresh_fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fake fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

struct source {
    bool canceled;
    bool begun;
};

void fake_lock(void)
{
    pthread_mutex_lock(&fake.lock);
}

void fake_unlock(void)
{
    pthread_cond_broadcast(&fake.wake);
    pthread_mutex_unlock(&fake.lock);
}

void fake_reset(void)
{
    fake_lock();
    pthread_mutex_t lock = fake.lock;
    pthread_cond_t wake = fake.wake;
    memset(&fake, 0, sizeof(fake));
    fake.lock = lock;
    fake.wake = wake;
    fake_unlock();
}

struct fake_table *fake_add(const char *name, unsigned row_count)
{
    struct fake_table *table = &fake.tables[fake.table_count++];
    memset(table, 0, sizeof(*table));
    snprintf(table->name, sizeof(table->name), "%s", name);
    for (unsigned i = 0; i < row_count; i++)
        table->rows[i] = (struct fake_row){.id = i + 1, .stamp = 1000 + i};
    table->row_count = row_count;
    return table;
}

static struct fake_table *find(const char *name)
{
    for (unsigned i = 0; i < fake.table_count; i++)
        if (strcmp(fake.tables[i].name, name) == 0)
            return &fake.tables[i];
    return NULL;
}

static int fake_open(const struct source_options *options, struct source **out,
                     struct source_error *error)
{
    fake_lock();
    bool refuse = fake.refuse_open;
    fake.opens++;
    fake.open_now += !refuse;
    fake_unlock();
    if (refuse)
        return source_fail(error, SP_ESOURCE, true, "source %s: the database is down",
                           options->name);
    *out = calloc(1, sizeof(**out));
    return *out ? SP_OK : SP_ENOMEM;
}

static void add_column(struct source_description *out, const char *name, const char *native,
                       enum sp_type type, bool nullable)
{
    struct source_column *column = &out->columns[out->column_count++];
    snprintf(column->name, sizeof(column->name), "%s", name);
    snprintf(column->native_type, sizeof(column->native_type), "%s", native);
    column->type = type;
    column->nullable = nullable;
}

static int fake_describe(struct source *source, const struct source_table *table,
                         struct source_description *out, struct source_error *error)
{
    (void)source;
    fake_lock();
    struct fake_table *found = find(table->relation);
    bool gone = !found || found->gone;
    memset(out, 0, sizeof(*out));
    out->row_estimate = -1;
    out->byte_estimate = -1;
    if (!gone) {
        out->columns = calloc(4, sizeof(*out->columns));
        add_column(out, "id", "bigint", SP_TYPE_INT64, false);
        add_column(out, "name", found->odd_type ? "blurb" : "text", SP_TYPE_TEXT, true);
        out->columns[1].as_text = found->odd_type;
        add_column(out, "stamp", "bigint", SP_TYPE_INT64, false);
        if (found->extra)
            add_column(out, "extra", "bigint", SP_TYPE_INT64, true);
    }
    fake_unlock();
    return gone ? source_fail(error, SP_ECONFIG, false, "there is no table %s", table->relation)
                : SP_OK;
}

static int fake_begin(struct source *source, struct source_error *error)
{
    fake_lock();
    bool fail = fake.begin_failures > 0;
    fake.begin_failures -= fail;
    fake.begins++;
    source->begun = true;
    fake_unlock();
    return fail ? source_fail(error, SP_ESOURCE, true, "the connection is lost") : SP_OK;
}

static int deliver(const struct fake_row *row, bool extra, const struct source_sink *sink)
{
    static char text[1 << 20];
    static pthread_mutex_t text_lock = PTHREAD_MUTEX_INITIALIZER;
    struct sp_value values[4] = {sp_int(row->id), sp_null(SP_TYPE_TEXT), sp_int(row->stamp),
                                 sp_int(row->id * 2)};
    unsigned count = extra ? 4 : 3;
    pthread_mutex_lock(&text_lock);
    size_t size = row->name_bytes;
    if (size)
        memset(text, 'x', size);
    else
        size = (size_t)snprintf(text, sizeof(text), "n%lld", (long long)row->id);
    if (!row->null_name)
        values[1] = sp_text(text, size);
    if (row->null_key)
        values[0] = sp_null(SP_TYPE_INT64);
    if (row->null_stamp)
        values[2] = sp_null(SP_TYPE_INT64);
    int status = row->undecodable ? sink->bad_row(sink->context, values, count, 1, "not UTF-8")
                                  : sink->row(sink->context, values, count);
    pthread_mutex_unlock(&text_lock);
    return status;
}

/* Waits for the cancel. */
static int hang(struct source *source, struct source_error *error)
{
    while (!source->canceled)
        pthread_cond_wait(&fake.wake, &fake.lock);
    source->canceled = false;
    return source_fail(error, SP_ECANCELED, true, "canceled");
}

static int begin_stream(struct source *source, struct fake_table *table,
                        const struct source_description *description, const struct sp_value *since,
                        struct source_error *error)
{
    table->streams++;
    table->last_was_full = since == NULL;
    table->last_since = since ? since->i : 0;
    if (table->stream_hangs)
        return hang(source, error);
    if (table->stream_stale || description->column_count != (table->extra ? 4u : 3u)) {
        table->stream_stale = false;
        return source_fail(error, SP_ECONFIG, false, "the columns have changed");
    }
    return SP_OK;
}

static int fake_stream(struct source *source, const struct source_table *wanted,
                       const struct source_description *description, const struct sp_value *since,
                       const struct source_sink *sink, struct source_error *error)
{
    static struct fake_table snapshots[FAKE_TABLES]; /* one for each table: no two at a time */
    fake_lock();
    struct fake_table *table = find(wanted->relation);
    if (!table) {
        fake_unlock();
        return source_fail(error, SP_ECONFIG, false, "there is no table %s", wanted->relation);
    }
    int status = begin_stream(source, table, description, since, error);
    struct fake_table *copy = &snapshots[table - fake.tables];
    *copy = *table;
    fake_unlock();
    for (unsigned i = 0; i < copy->row_count && status == SP_OK; i++) {
        if (i == 1 && copy->stream_fails)
            return source_fail(error, SP_ESOURCE, true, "the connection broke");
        if (!since || copy->rows[i].stamp >= since->i)
            status = deliver(&copy->rows[i], copy->extra, sink);
    }
    return status;
}

static int fake_end(struct source *source, struct source_error *error)
{
    (void)source;
    (void)error;
    return SP_OK;
}

static int fake_listen(struct source *source, const struct source_table *tables, unsigned count,
                       struct source_error *error)
{
    (void)tables;
    (void)count;
    (void)error;
    fake_lock();
    fake.listens++;
    fake.listened_late |= source->begun;
    fake_unlock();
    return SP_OK;
}

static int fake_wait(struct source *source, uint32_t timeout_ms, bool *changed,
                     struct source_error *error)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int waited = 0;
    int status = SP_OK;
    pthread_mutex_lock(&fake.lock);
    while (!fake.changed && !fake.wait_fails && !source->canceled && waited == 0)
        waited = pthread_cond_timedwait(&fake.wake, &fake.lock, &until);
    *changed = fake.changed;
    fake.changed = false;
    if (source->canceled)
        status = source_fail(error, SP_ECANCELED, true, "canceled");
    else if (fake.wait_fails)
        status = source_fail(error, SP_ESOURCE, true, "the connection is lost");
    fake.wait_fails = false;
    source->canceled = false;
    pthread_mutex_unlock(&fake.lock);
    return status;
}

static int fake_check(struct source *source, struct source_error *error)
{
    (void)source;
    fake_lock();
    bool fails = fake.check_fails;
    fake.checks++;
    fake_unlock();
    return fails ? source_fail(error, SP_ESOURCE, true, "the server is gone") : SP_OK;
}

static int fake_changed(struct source *source, const struct source_table *table, bool *changed,
                        struct source_error *error)
{
    (void)source;
    (void)error;
    fake_lock();
    const struct fake_table *found = find(table->relation);
    *changed = !found || !found->unchanged;
    fake_unlock();
    return SP_OK;
}

static void fake_cancel(struct source *source)
{
    fake_lock();
    source->canceled = true;
    fake_unlock();
}

static void fake_close(struct source *source)
{
    fake_lock();
    fake.open_now--;
    fake_unlock();
    free(source);
}

const struct source_class *fake_find(const char *type)
{
    static const struct source_class class = {
        .type = "sqlite",
        .features = SOURCE_CAN_NOTIFY | SOURCE_CAN_WATERMARK,
        .open = fake_open,
        .describe = fake_describe,
        .begin = fake_begin,
        .stream = fake_stream,
        .end = fake_end,
        .listen = fake_listen,
        .wait = fake_wait,
        .changed = fake_changed,
        .check = fake_check,
        .cancel = fake_cancel,
        .close = fake_close,
    };
    (void)type;
    return &class;
}
