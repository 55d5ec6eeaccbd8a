/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_binlog.c - events of MariaDB's binary log.
 *
 *   time u32 | type u8 | server u32 | size u32 | offset of the next u32 | flags u16 | ...
 *
 * A transaction is a group of events: GTID, then for each statement a TABLE_MAP for each table and
 * row events, then XID (or the statement COMMIT). A group that its GTID calls standalone has one
 * statement and no end. Row events are of two versions, each also in compressed form.
 *
 * A table is called reshaped, which makes the caller read it anew, where its changes cannot be told
 * row by row: the log has another number or other types of columns than were described, a statement
 * instead of rows, an image that is not full, a transaction that was rolled back after it was
 * logged, and the end of an XA transaction: its rows are in the log when it is prepared, and may
 * come into force much later or never.
 *
 * Nothing is read beyond an event (tests/fuzz/fuzz_binlog.c). Costs: some 100 ns a row and 10 ns a
 * field; memory: one event.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <mysql.h>

#include <mariadb_rpl.h>

#include "server/source/mariadb_binlog.h"

#define CHECKSUM_BYTES     4
#define COLUMNS_MAX        4096
#define INFLATED_BYTES_MAX (UINT32_C(1) << 30)
#define PREPARED_MAX       1024
#define US_PER_SECOND      INT64_C(1000000)

/* Of the second flags in a GTID event, which MariaDB has from 10.8 on. */
#define EXTRA_START_ALTER    2
#define EXTRA_ROLLBACK_ALTER 8

/* The TABLE_MAP that is in force for a table. */
struct binlog_map {
    bool live;
    uint64_t id;
    uint8_t *types;
    uint16_t *metas;
};

/* A prepared XA transaction, and which tables it touched. */
struct binlog_prepared {
    unsigned char xid[160];
    size_t xid_bytes;
    bool *touched;
};

/* --- opening -------------------------------------------------------------------------------- */

void binlog_table_free(struct binlog_table *table)
{
    for (unsigned i = 0; table->columns && i < table->column_count; i++) {
        struct binlog_column *column = &table->columns[i];
        for (unsigned k = 0; k < column->label_count; k++)
            free(column->labels[k]);
        free(column->labels);
    }
    free(table->columns);
    free(table->key);
    free(table->database);
    free(table->name);
    *table = (struct binlog_table){0};
}

static bool open_maps(struct binlog *log)
{
    log->maps = calloc(log->table_count ? log->table_count : 1, sizeof(*log->maps));
    log->touched = calloc(log->table_count ? log->table_count : 1, sizeof(*log->touched));
    for (unsigned i = 0; log->maps && i < log->table_count; i++) {
        const unsigned count = log->tables[i].column_count;
        log->maps[i].types = calloc(count ? count : 1, sizeof(*log->maps[i].types));
        log->maps[i].metas = calloc(count ? count : 1, sizeof(*log->maps[i].metas));
        if (!log->maps[i].types || !log->maps[i].metas)
            return false;
    }
    return log->maps && log->touched;
}

int binlog_open(struct binlog *log, const struct binlog_table *tables, unsigned table_count,
                const struct gtid_state *from)
{
    size_t most = 1;
    *log = (struct binlog){.tables = tables, .table_count = table_count, .state = *from};
    for (unsigned i = 0; i < table_count; i++)
        if (tables[i].described_count > most)
            most = tables[i].described_count;
    log->values = calloc(most, sizeof(*log->values));
    log->old_values = calloc(most, sizeof(*log->old_values));
    log->key = calloc(most, sizeof(*log->key));
    log->scratch = calloc(most, sizeof(*log->scratch));
    log->old_scratch = calloc(most, sizeof(*log->old_scratch));
    log->preparations = calloc(PREPARED_MAX, sizeof(*log->preparations));
    return open_maps(log) && log->values && log->old_values && log->key && log->scratch &&
                   log->old_scratch && log->preparations
               ? SP_OK
               : SP_ENOMEM;
}

void binlog_close(struct binlog *log)
{
    size_t most = 1;
    for (unsigned i = 0; i < log->table_count; i++)
        if (log->tables[i].described_count > most)
            most = log->tables[i].described_count;
    for (unsigned i = 0; log->maps && i < log->table_count; i++) {
        free(log->maps[i].types);
        free(log->maps[i].metas);
    }
    for (size_t i = 0; i < most; i++) {
        free(log->scratch ? log->scratch[i].text : NULL);
        free(log->old_scratch ? log->old_scratch[i].text : NULL);
    }
    for (unsigned i = 0; i < log->prepared_count; i++)
        free(log->preparations[i].touched);
    free(log->preparations);
    free(log->maps);
    free(log->touched);
    free(log->values);
    free(log->old_values);
    free(log->key);
    free(log->scratch);
    free(log->old_scratch);
    free(log->inflated.text);
    *log = (struct binlog){0};
}

/* --- bytes ---------------------------------------------------------------------------------- */

static int broken(struct binlog *log, const char *what)
{
    snprintf(log->why, sizeof(log->why), "%s", what);
    return SP_ESOURCE;
}

static bool skip(struct binlog_bytes *from, size_t bytes)
{
    if (from->left < bytes)
        return false;
    from->at += bytes;
    from->left -= bytes;
    return true;
}

static bool take(struct binlog_bytes *from, size_t bytes, uint64_t *out)
{
    const unsigned char *at = from->at;
    if (!skip(from, bytes))
        return false;
    *out = 0;
    for (size_t i = bytes; i > 0; i--)
        *out = *out << 8 | at[i - 1];
    return true;
}

/* A number of one byte, or of 2, 3 or 8 after a mark. */
static bool take_packed(struct binlog_bytes *from, uint64_t *out)
{
    if (!take(from, 1, out))
        return false;
    if (*out < 251)
        return true;
    return *out == 252   ? take(from, 2, out)
           : *out == 253 ? take(from, 3, out)
           : *out == 254 ? take(from, 8, out)
                         : false;
}

/* --- what a group has done ------------------------------------------------------------------ */

static int reshape(struct binlog *log, const struct source_feed_sink *sink, unsigned table,
                   const char *why)
{
    log->changes++;
    log->touched[table] = true; /* also by a statement, for what its XA transaction becomes */
    return sink->reshaped(sink->context, table, why);
}

static int reshape_touched(struct binlog *log, const bool *touched,
                           const struct source_feed_sink *sink, const char *why)
{
    int status = SP_OK;
    for (unsigned i = 0; i < log->table_count && status == SP_OK; i++)
        if (!touched || touched[i])
            status = reshape(log, sink, i, why);
    return status;
}

static int end_group(struct binlog *log, enum binlog_point *point)
{
    if (!log->in_group)
        return SP_OK;
    if (!gtid_advance(&log->state, &log->gtid))
        return broken(log, "more replication domains than can be followed");
    memcpy(log->state.file, log->file, sizeof(log->state.file));
    log->state.offset = log->file_offset;
    log->in_group = false;
    *point = BINLOG_GROUP;
    return SP_OK;
}

/* A group that the server did not finish before it died: the log goes on in another file. */
static int abandon_group(struct binlog *log, const struct source_feed_sink *sink)
{
    const bool in_group = log->in_group;
    log->in_group = false;
    return in_group
               ? reshape_touched(log, log->touched, sink, "a transaction in the log has no end")
               : SP_OK;
}

/* XA transactions are told by their ids, which stand here. */
static bool take_xid(struct binlog *log, struct binlog_bytes *from)
{
    const unsigned char *xid = from->at;
    uint64_t gtrid, bqual;
    if (!skip(from, 4) || !take(from, 1, &gtrid) || !take(from, 1, &bqual) ||
        !skip(from, gtrid + bqual) || (size_t)(from->at - xid) > sizeof(log->xid))
        return false;
    log->xid_bytes = (size_t)(from->at - xid);
    memcpy(log->xid, xid, log->xid_bytes);
    return true;
}

/* Of an ALTER that is logged when it begins and when it ends, only the latter counts. */
static bool is_no_change(struct binlog_bytes from)
{
    uint64_t flags;
    return take(&from, 1, &flags) && flags & (EXTRA_START_ALTER | EXTRA_ROLLBACK_ALTER);
}

static int on_gtid(struct binlog *log, uint32_t server, struct binlog_bytes from,
                   const struct source_feed_sink *sink)
{
    uint64_t sequence, domain, flags;
    const int status = abandon_group(log, sink);
    if (status != SP_OK)
        return status;
    if (!take(&from, 8, &sequence) || !take(&from, 4, &domain) || !take(&from, 1, &flags))
        return broken(log, "a GTID event that is too short");
    if (flags & FL_GROUP_COMMIT_ID)
        skip(&from, 8);
    log->gtid = (struct gtid){(uint32_t)domain, server, sequence};
    log->in_group = true;
    log->standalone = flags & FL_STANDALONE;
    log->prepared = flags & FL_PREPARED_XA;
    log->completed = flags & FL_COMPLETED_XA;
    log->changes = 0;
    log->xid_bytes = 0;
    memset(log->touched, 0, log->table_count * sizeof(*log->touched));
    if ((log->prepared || log->completed) && !take_xid(log, &from))
        return broken(log, "a GTID event without its XA transaction");
    log->no_change = is_no_change(from);
    return SP_OK;
}

/* --- XA ------------------------------------------------------------------------------------- */

/* Keeps which tables it touched. One that is not kept counts as having touched all. */
static void keep_prepared(struct binlog *log)
{
    if (log->prepared_count == PREPARED_MAX)
        return;
    struct binlog_prepared *p = &log->preparations[log->prepared_count];
    p->touched = calloc(log->table_count ? log->table_count : 1, sizeof(*p->touched));
    if (!p->touched)
        return;
    memcpy(p->touched, log->touched, log->table_count * sizeof(*p->touched));
    memcpy(p->xid, log->xid, log->xid_bytes);
    p->xid_bytes = log->xid_bytes;
    log->prepared_count++;
}

static struct binlog_prepared *find_prepared(struct binlog *log)
{
    for (unsigned i = 0; i < log->prepared_count; i++)
        if (log->preparations[i].xid_bytes == log->xid_bytes &&
            memcmp(log->preparations[i].xid, log->xid, log->xid_bytes) == 0)
            return &log->preparations[i];
    return NULL;
}

static int complete_prepared(struct binlog *log, bool commit, const struct source_feed_sink *sink)
{
    struct binlog_prepared *p = find_prepared(log);
    int status = SP_OK;
    if (commit)
        status = reshape_touched(log, p ? p->touched : NULL, sink,
                                 "an XA transaction was committed, whose rows the log had before");
    if (p) {
        free(p->touched);
        *p = log->preparations[--log->prepared_count];
    }
    return status;
}

/* --- statements ----------------------------------------------------------------------------- */

/* What a QUERY event in compressed form has in place of the statement; and
 * a compressed row event in place of its rows. */
static bool inflate_to(struct binlog *log, struct binlog_bytes *data)
{
    uint64_t mark, size = 0;
    if (!take(data, 1, &mark) || (mark & 0xf0) != 0x80 || (mark & 7) < 1 || (mark & 7) > 4 ||
        data->left < (mark & 7))
        return false;
    for (unsigned i = 0; i < (mark & 7); i++)
        size = size << 8 | data->at[i];
    skip(data, mark & 7);
    /* zlib makes at most 1,032 bytes of one */
    if (size > INFLATED_BYTES_MAX || size / 1100 > data->left ||
        !source_scratch_reserve(&log->inflated, size ? size : 1))
        return false;
    uLongf got = size;
    if (uncompress((Bytef *)log->inflated.text, &got, data->at, data->left) != Z_OK || got != size)
        return false;
    *data = (struct binlog_bytes){(const unsigned char *)log->inflated.text, size};
    return true;
}

static int touch_tables(struct binlog *log, const char *sql, size_t bytes, const char *database,
                        const struct source_feed_sink *sink)
{
    int status = SP_OK;
    for (unsigned i = 0; i < log->table_count && status == SP_OK; i++) {
        enum binlog_touch touch = binlog_statement_on(sql, bytes, database, &log->tables[i]);
        if (touch == TOUCH_TRUNCATE && log->temporary) /* maybe another table of that name */
            touch = TOUCH_SHAPE;
        switch (touch) {
        case TOUCH_NOT:
            break;
        case TOUCH_TRUNCATE:
            log->changes++;
            status = sink->truncate(sink->context, i);
            break;
        case TOUCH_SHAPE:
            status = reshape(log, sink, i, "a statement has changed it");
            break;
        case TOUCH_ROWS:
            status = reshape(log, sink, i,
                             "a change was logged as a statement: binlog_format is not "
                             "ROW in its session");
            break;
        }
    }
    return status;
}

static int on_statement(struct binlog *log, const char *sql, size_t bytes, const char *database,
                        const struct source_feed_sink *sink, enum binlog_point *point)
{
    int status = SP_OK;
    if (log->no_change)
        status = SP_OK;
    else if (log->completed)
        status = complete_prepared(log, !memmem(sql, bytes, "ROLLBACK", 8), sink);
    else
        switch (binlog_statement(sql, bytes)) {
        case EFFECT_COMMIT:
            return end_group(log, point);
        case EFFECT_ROLLBACK:
            status = reshape_touched(log, log->touched, sink,
                                     "a transaction was rolled back after its rows were logged");
            if (!memmem(sql, bytes, "TO", 2) && status == SP_OK)
                return end_group(log, point);
            break;
        case EFFECT_OTHER:
            status = touch_tables(log, sql, bytes, database, sink);
            break;
        default:
            break;
        }
    return status == SP_OK && (log->standalone || log->completed) ? end_group(log, point) : status;
}

static int on_query(struct binlog *log, struct binlog_bytes from, bool compressed,
                    const struct source_feed_sink *sink, enum binlog_point *point)
{
    uint64_t database_bytes, variable_bytes;
    char database[256] = "";
    if (!skip(&from, 8) || !take(&from, 1, &database_bytes) || !skip(&from, 2) ||
        !take(&from, 2, &variable_bytes) || !skip(&from, variable_bytes) ||
        from.left < database_bytes + 1)
        return broken(log, "a QUERY event that is too short");
    memcpy(database, from.at, database_bytes);
    skip(&from, database_bytes + 1);
    if (compressed && !inflate_to(log, &from))
        return broken(log, "a compressed QUERY event that cannot be read");
    return on_statement(log, (const char *)from.at, from.left, database, sink, point);
}

/* --- tables --------------------------------------------------------------------------------- */

static bool take_label(struct binlog_bytes *from, const char **text, size_t *bytes)
{
    uint64_t size;
    if (!take(from, 1, &size) || from->left < size + 1)
        return false;
    *text = (const char *)from->at;
    *bytes = size;
    return skip(from, size + 1);
}

static bool is_table(const struct binlog_table *table, const char *database, size_t database_bytes,
                     const char *name, size_t name_bytes)
{
    return strlen(table->database) == database_bytes && strlen(table->name) == name_bytes &&
           memcmp(table->database, database, database_bytes) == 0 &&
           memcmp(table->name, name, name_bytes) == 0;
}

/* The types and their metadata. `*same`: they can be what was described. */
static bool read_map(const struct binlog_table *table, struct binlog_bytes *from,
                     struct binlog_map *map, bool *same)
{
    uint64_t count, meta_bytes;
    *same = false;
    if (!take_packed(from, &count) || count > COLUMNS_MAX || from->left < count)
        return false;
    if (count != table->column_count)
        return true;
    memcpy(map->types, from->at, count);
    skip(from, count);
    if (!take_packed(from, &meta_bytes) || from->left < meta_bytes)
        return false;
    struct binlog_bytes metas = {from->at, meta_bytes};
    *same = true;
    for (unsigned i = 0; i < count; i++) {
        const int bytes = binlog_meta_bytes(map->types[i]);
        if (bytes < 0)
            *same = false;
        if (bytes < 0 || metas.left < (size_t)bytes)
            return bytes < 0;
        map->metas[i] = binlog_meta(map->types[i], metas.at);
        skip(&metas, (size_t)bytes);
        if (table->columns[i].at >= 0 &&
            !binlog_type_fits(&table->columns[i], map->types[i], map->metas[i]))
            *same = false;
    }
    return true;
}

static int map_table(struct binlog *log, unsigned table, uint64_t id, struct binlog_bytes from,
                     const struct source_feed_sink *sink)
{
    struct binlog_map *map = &log->maps[table];
    bool same;
    map->live = false;
    if (!read_map(&log->tables[table], &from, map, &same))
        return broken(log, "a TABLE_MAP event that cannot be read");
    map->id = id;
    map->live = same;
    return same ? SP_OK : reshape(log, sink, table, "its columns are others in the log");
}

/* Several tables of a group may be of one in the database. */
static int on_table_map(struct binlog *log, struct binlog_bytes from,
                        const struct source_feed_sink *sink)
{
    const char *database, *name;
    size_t database_bytes, name_bytes;
    uint64_t id;
    int status = SP_OK;
    if (!take(&from, 6, &id) || !skip(&from, 2) || !take_label(&from, &database, &database_bytes) ||
        !take_label(&from, &name, &name_bytes))
        return broken(log, "a TABLE_MAP event that is too short");
    for (unsigned i = 0; i < log->table_count && status == SP_OK; i++) {
        log->maps[i].live = log->maps[i].live && log->maps[i].id != id;
        if (is_table(&log->tables[i], database, database_bytes, name, name_bytes))
            status = map_table(log, i, id, from, sink);
    }
    return status;
}

/* --- rows ----------------------------------------------------------------------------------- */

struct rows {
    struct binlog *log;
    const struct source_feed_sink *sink;
    unsigned table;
    const struct binlog_table *about;
    const struct binlog_map *map;
};

/* What is wrong with a row: its first bad column, or -1. */
struct fault {
    int column;
    const char *why;
};

static const char *read_value(const struct binlog_column *column, const struct binlog_field *field,
                              struct source_scratch *scratch, struct sp_value *out)
{
    *out = sp_null(column->type);
    const char *why = field ? binlog_value(column, field, scratch, out) : NULL;
    return !why && out->is_null && !column->nullable
               ? "NULL in a column that is declared not to have it"
               : why;
}

/* One image of a row. False: it does not fit into the event. */
static bool read_image(const struct rows *r, struct binlog_bytes *from, struct sp_value *values,
                       struct source_scratch *scratch, struct fault *fault)
{
    const unsigned count = r->about->column_count;
    const unsigned char *nulls = from->at;
    *fault = (struct fault){-1, NULL};
    if (!skip(from, (count + 7) / 8))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct binlog_column *column = &r->about->columns[i];
        const bool is_null = nulls[i / 8] >> i % 8 & 1;
        struct binlog_field field;
        if (!is_null && !binlog_take_field(r->map->types[i], r->map->metas[i], from, &field))
            return false;
        if (column->at < 0)
            continue;
        const char *why =
            read_value(column, is_null ? NULL : &field, &scratch[column->at], &values[column->at]);
        if (why && (fault->column < 0 || column->at < fault->column))
            *fault = (struct fault){column->at, why};
    }
    return true;
}

static bool same_value(const struct sp_value *a, const struct sp_value *b)
{
    if (a->is_null || b->is_null)
        return a->is_null && b->is_null;
    if (sp_type_width(a->type) == 0 || a->type == SP_TYPE_UUID)
        return a->bytes.size == b->bytes.size &&
               (a->bytes.size == 0 || memcmp(a->bytes.data, b->bytes.data, a->bytes.size) == 0);
    return a->i == b->i; /* floats, too: the same bits */
}

/* The key of a row in log->key. False: it has none, so nothing can be there under it. */
static bool take_key(const struct rows *r, const struct sp_value *values)
{
    for (unsigned i = 0; i < r->about->key_count; i++) {
        r->log->key[i] = values[r->about->key[i]];
        if (r->log->key[i].is_null)
            return false;
    }
    return true;
}

static bool same_key(const struct rows *r)
{
    for (unsigned i = 0; i < r->about->key_count; i++) {
        const unsigned at = r->about->key[i];
        if (!same_value(&r->log->values[at], &r->log->old_values[at]))
            return false;
    }
    return true;
}

static int remove_row(const struct rows *r, const struct sp_value *values)
{
    return take_key(r, values) ? r->sink->remove(r->sink->context, r->table, r->log->key) : SP_OK;
}

/* The row that is there now; `moved`: under another key than before. */
static int put_row(const struct rows *r, const struct fault *fault, bool moved)
{
    const struct source_feed_sink *sink = r->sink;
    const struct sp_value *values = r->log->values;
    if (fault->column < 0) {
        const bool has_key = moved && take_key(r, r->log->old_values);
        return sink->put(sink->context, r->table, has_key ? r->log->key : NULL, values, NULL);
    }
    const int status = moved ? remove_row(r, r->log->old_values) : SP_OK;
    return status == SP_OK
               ? sink->bad_row(sink->context, r->table, values, (unsigned)fault->column, fault->why)
               : status;
}

static int read_rows(const struct rows *r, enum mariadb_row_event_type type,
                     struct binlog_bytes from)
{
    struct binlog *log = r->log;
    int status = SP_OK;
    while (from.left > 0 && status == SP_OK) {
        struct fault fault, old_fault;
        const bool has_old = type != WRITE_ROWS;
        if (has_old && !read_image(r, &from, log->old_values, log->old_scratch, &old_fault))
            return broken(log, "a row event that is too short");
        if (type == DELETE_ROWS) {
            status = remove_row(r, log->old_values);
        } else if (!read_image(r, &from, log->values, log->scratch, &fault)) {
            return broken(log, "a row event that is too short");
        } else {
            status = put_row(r, &fault, has_old && !same_key(r));
        }
        log->changes++;
    }
    return status;
}

/* Whether the event has every column; takes its bitmap. */
static bool take_full(struct binlog_bytes *from, unsigned count, bool *full)
{
    const unsigned char *bits = from->at;
    if (!skip(from, (count + 7) / 8))
        return false;
    for (unsigned i = 0; i < count; i++)
        *full = *full && (bits[i / 8] >> i % 8 & 1);
    return true;
}

struct row_kind {
    enum mariadb_row_event_type type;
    bool second, compressed; /* version 2 */
};

static bool row_kind(unsigned event, struct row_kind *out)
{
    const unsigned firsts[] = {WRITE_ROWS_EVENT_V1, WRITE_ROWS_EVENT,
                               WRITE_ROWS_COMPRESSED_EVENT_V1, WRITE_ROWS_COMPRESSED_EVENT};
    for (unsigned i = 0; i < 4; i++) {
        if (event < firsts[i] || event > firsts[i] + 2)
            continue;
        *out = (struct row_kind){(enum mariadb_row_event_type)(event - firsts[i]), i & 1, i >= 2};
        return true;
    }
    return false;
}

static int rows_of(struct binlog *log, unsigned table, const struct row_kind *kind,
                   struct binlog_bytes from, const struct source_feed_sink *sink)
{
    const struct rows r = {log, sink, table, &log->tables[table], &log->maps[table]};
    uint64_t count, extra;
    bool full = true;
    log->touched[table] = true;
    if (log->prepared)
        return SP_OK;
    if (kind->second && (!take(&from, 2, &extra) || extra < 2 || !skip(&from, extra - 2)))
        return broken(log, "a row event that is too short");
    if (!take_packed(&from, &count) || count != r.about->column_count ||
        !take_full(&from, (unsigned)count, &full) ||
        (kind->type == UPDATE_ROWS && !take_full(&from, (unsigned)count, &full)))
        return broken(log, "a row event that is not of its table");
    if (!full)
        return reshape(log, sink, table,
                       "a change was logged without all columns: binlog_row_image "
                       "is not FULL in its session");
    if (kind->compressed && !inflate_to(log, &from))
        return broken(log, "a compressed row event that cannot be read");
    return read_rows(&r, kind->type, from);
}

static int on_rows(struct binlog *log, const struct row_kind *kind, struct binlog_bytes from,
                   const struct source_feed_sink *sink)
{
    uint64_t id;
    int status = SP_OK;
    if (!take(&from, 6, &id) || !skip(&from, 2))
        return broken(log, "a row event that is too short");
    for (unsigned i = 0; i < log->table_count && status == SP_OK; i++)
        if (log->maps[i].live && log->maps[i].id == id)
            status = rows_of(log, i, kind, from, sink);
    return status;
}

/* --- all of them ---------------------------------------------------------------------------- */

/* The log's version and the server's, then for each type of event a byte; at the end whether the
 * events have a checksum. */
static int on_format(struct binlog *log, struct binlog_bytes from,
                     const struct source_feed_sink *sink, enum binlog_point *point)
{
    const size_t fixed = 2 + 50 + 4 + 1;
    if (from.left < fixed + 1 + CHECKSUM_BYTES)
        return broken(log, "a FORMAT_DESCRIPTION event that is too short");
    log->has_checksum = from.at[from.left - 1 - CHECKSUM_BYTES] == 1;
    log->ready = true;
    *point = BINLOG_READY;
    return abandon_group(log, sink);
}

static int on_rotate(struct binlog *log, struct binlog_bytes from,
                     const struct source_feed_sink *sink)
{
    uint64_t offset;
    if (!take(&from, 8, &offset))
        return broken(log, "a ROTATE event that is too short");
    const size_t bytes = from.left < sizeof(log->file) - 1 ? from.left : sizeof(log->file) - 1;
    memcpy(log->file, from.at, bytes);
    log->file[bytes] = 0;
    log->file_offset = offset;
    return abandon_group(log, sink);
}

/* What changes nothing that is followed. */
static bool is_ignored(unsigned type, unsigned flags)
{
    return type == INTVAR_EVENT || type == RAND_EVENT || type == USER_VAR_EVENT ||
           type == STOP_EVENT || type == ANNOTATE_ROWS_EVENT || type == BINLOG_CHECKPOINT_EVENT ||
           type == GTID_LIST_EVENT || type == START_ENCRYPTION_EVENT ||
           type == ROWS_QUERY_LOG_EVENT || type == IGNORABLE_LOG_EVENT ||
           type == APPEND_BLOCK_EVENT || type == DELETE_FILE_EVENT ||
           type == BEGIN_LOAD_QUERY_EVENT || (flags & LOG_EVENT_IGNORABLE_F);
}

/* What is said in words, not in numbers of bytes: LOAD DATA logged as a statement, and a gap. */
static int on_other(struct binlog *log, unsigned type, unsigned flags,
                    const struct source_feed_sink *sink)
{
    if (is_ignored(type, flags))
        return SP_OK;
    if (type == EXECUTE_LOAD_QUERY_EVENT)
        return reshape_touched(log, NULL, sink, "LOAD DATA was logged as a statement");
    if (type == INCIDENT_EVENT)
        return reshape_touched(log, NULL, sink, "the database has lost changes of its log");
    snprintf(log->why, sizeof(log->why), "an event of type %u, which is not known", type);
    return SP_ESOURCE;
}

struct header {
    uint64_t time, type, server, size, next, flags;
};

static int on_event(struct binlog *log, const struct header *h, struct binlog_bytes body,
                    const struct source_feed_sink *sink, enum binlog_point *point)
{
    struct row_kind kind;
    if (!log->ready && h->type != FORMAT_DESCRIPTION_EVENT && h->type != ROTATE_EVENT)
        return broken(log, "an event before its format is said");
    if (row_kind((unsigned)h->type, &kind))
        return on_rows(log, &kind, body, sink);
    switch (h->type) {
    case FORMAT_DESCRIPTION_EVENT:
        return on_format(log, body, sink, point);
    case ROTATE_EVENT:
        return on_rotate(log, body, sink);
    case GTID_EVENT:
        return on_gtid(log, (uint32_t)h->server, body, sink);
    case TABLE_MAP_EVENT:
        return on_table_map(log, body, sink);
    case QUERY_EVENT:
    case QUERY_COMPRESSED_EVENT:
        log->temporary = h->flags & LOG_EVENT_THREAD_SPECIFIC_F;
        return on_query(log, body, h->type == QUERY_COMPRESSED_EVENT, sink, point);
    case XID_EVENT:
        return end_group(log, point);
    case XA_PREPARE_LOG_EVENT:
        if (log->prepared)
            keep_prepared(log);
        return end_group(log, point);
    case HEARTBEAT_LOG_EVENT:
        *point = log->in_group ? BINLOG_INSIDE : BINLOG_HEARTBEAT;
        return SP_OK;
    default:
        return on_other(log, (unsigned)h->type, (unsigned)h->flags, sink);
    }
}

int binlog_event(struct binlog *log, const void *data, size_t bytes,
                 const struct source_feed_sink *sink, enum binlog_point *point)
{
    struct binlog_bytes from = {data, bytes};
    struct header h;
    *point = BINLOG_INSIDE;
    if (!take(&from, 4, &h.time) || !take(&from, 1, &h.type) || !take(&from, 4, &h.server) ||
        !take(&from, 4, &h.size) || !take(&from, 4, &h.next) || !take(&from, 2, &h.flags))
        return broken(log, "an event that is too short");
    if (log->has_checksum && h.type != FORMAT_DESCRIPTION_EVENT) {
        if (from.left < CHECKSUM_BYTES)
            return broken(log, "an event without its checksum");
        from.left -= CHECKSUM_BYTES;
    }
    if (h.next > log->file_offset && h.type != ROTATE_EVENT)
        log->file_offset = h.next;
    if (h.time && (log->in_group || h.type == GTID_EVENT))
        log->commit_us = (int64_t)h.time * US_PER_SECOND;
    return on_event(log, &h, from, sink, point);
}
