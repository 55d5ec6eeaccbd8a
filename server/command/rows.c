/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.c - rows of tables as keys: GET users:42 is the row as JSON, HGETALL its columns.
 *
 * A key is of a table if what comes before its first colon is the table's name. The rest is the
 * row's key as text; of a key with several columns the parts are separated by colons, and the last
 * one takes the rest. Each thread keeps the names of the pond's tables in a small hash table, and
 * looks ten times a second at most whether they are others now.
 *
 * Rows are read as every reader of the pond reads them: without a lock.
 */
#include "server/command/rows.h"
#include "alloc/fnv.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/row.h"
#include "client/local/row_version.h"
#include "server/command/commands.h"
#include "sidepond/sidepond.h"

#define LOOK_EVERY_MS 100

/* --- the tables ------------------------------------------------------------------------------- */

struct row_table {
    uint32_t name_bytes; /* 0: free */
    char name[SP_NAME_BYTES_MAX + 1];
    struct sp_table *table;
};

struct row_tables {
    struct row_table slots[2 * SP_TABLES_MAX]; /* by name_hash */
    size_t count;
    uint64_t version; /* of the pond, when it was looked at */
    int64_t looked_ms;
    struct sp_row *row;
};

static size_t name_hash(const char *name, size_t bytes)
{
    const uint64_t hash = fnv_bytes(bytes, name, bytes);
    return (size_t)(hash ^ hash >> 29) % (2 * SP_TABLES_MAX);
}

static struct row_table *slot_of(struct row_tables *tables, const char *name, size_t bytes)
{
    size_t at = name_hash(name, bytes);
    while (tables->slots[at].name_bytes != 0 && (tables->slots[at].name_bytes != bytes ||
                                                 memcmp(tables->slots[at].name, name, bytes) != 0))
        at = (at + 1) % (2 * SP_TABLES_MAX);
    return &tables->slots[at];
}

static void add_table(struct row_tables *tables, struct sp_pond *pond, const char *name)
{
    size_t bytes = strlen(name);
    struct row_table *slot = slot_of(tables, name, bytes);
    if (slot->name_bytes != 0 || bytes > SP_NAME_BYTES_MAX ||
        sp_table_open(pond, name, &slot->table) != SP_OK)
        return;
    memcpy(slot->name, name, bytes);
    slot->name_bytes = (uint32_t)bytes;
    tables->count++;
}

/* The pond keeps a table's handle, so finding it again costs little. */
static void look(struct row_tables *tables, struct sp_pond *pond, int64_t now_ms)
{
    const char *names[SP_TABLES_MAX];
    uint64_t version = sp_pond_version(pond);
    tables->looked_ms = now_ms;
    if (version == tables->version)
        return;
    tables->version = version;
    tables->count = 0;
    memset(tables->slots, 0, sizeof(tables->slots));
    size_t count = sp_table_names(pond, names, SP_TABLES_MAX);
    for (size_t i = 0; i < count && i < SP_TABLES_MAX; i++)
        add_table(tables, pond, names[i]);
}

struct row_tables *row_tables_new(void)
{
    struct row_tables *tables = calloc(1, sizeof(*tables));
    if (!tables)
        return NULL;
    tables->row = sp_row_new();
    if (tables->row)
        return tables;
    free(tables);
    return NULL;
}

void row_tables_free(struct row_tables *tables)
{
    if (tables)
        sp_row_free(tables->row);
    free(tables);
}

/* The table of a key, and where the rest of the key begins; NULL: it is none of a table. */
static struct row_table *table_of(struct session *session, const struct resp_arg *key,
                                  const char **rest)
{
    struct row_tables *tables = session->thread->tables;
    if (session_now(session) - tables->looked_ms >= LOOK_EVERY_MS)
        look(tables, session->service->pond, session_now(session));
    if (tables->count == 0)
        return NULL;
    size_t most = key->size < SP_NAME_BYTES_MAX + 1 ? key->size : SP_NAME_BYTES_MAX + 1;
    const char *colon = memchr(key->bytes, ':', most);
    if (!colon)
        return NULL;
    struct row_table *table = slot_of(tables, key->bytes, (size_t)(colon - key->bytes));
    *rest = colon + 1;
    return table->name_bytes != 0 ? table : NULL;
}

bool key_is_row(struct session *session, const struct resp_arg *key)
{
    const char *rest;
    return table_of(session, key, &rest) != NULL;
}

/* --- one row ---------------------------------------------------------------------------------- */

struct key_parts {
    struct sp_value values[ROW_KEY_COLUMNS_MAX];
    unsigned char scratch[ROW_KEY_COLUMNS_MAX][16];
    size_t count;
};

/* The colon behind JSON: not one within its strings and brackets. */
static const char *json_end(const char *text, const char *end)
{
    unsigned depth = 0;
    bool quoted = false;
    for (; text < end; text++) {
        if (quoted && *text == '\\' && end - text > 1)
            text++;
        else if (*text == '"')
            quoted = !quoted;
        else if (!quoted && (*text == '{' || *text == '['))
            depth++;
        else if (!quoted && depth > 0 && (*text == '}' || *text == ']'))
            depth--;
        else if (!quoted && depth == 0 && *text == ':')
            return text;
    }
    return NULL;
}

/* The colon that ends the i-th part of a key, which begins at `text`; NULL: there is none. */
static const char *part_end(const struct sp_schema *schema, size_t i, const char *text,
                            const char *end)
{
    size_t column;
    struct sp_column_info info;
    const bool opens = text < end && (*text == '{' || *text == '[' || *text == '"');
    if (opens && sp_schema_index_column(schema, -1, i, &column) == SP_OK &&
        sp_schema_column(schema, column, &info) == SP_OK && info.type == SP_TYPE_BSON_VALUE)
        return json_end(text, end);
    return memchr(text, ':', (size_t)(end - text));
}

/* The parts of a key's text: as many as the key has columns, the last one with all that is left. */
static bool split_key(const struct sp_schema *schema, const char *text, const char *end,
                      struct key_parts *out)
{
    out->count = sp_schema_key_count(schema);
    for (size_t i = 0; i < out->count; i++) {
        const char *colon = i + 1 < out->count ? part_end(schema, i, text, end) : end;
        if (!colon || sp_key_parse(schema, -1, i, text, (size_t)(colon - text), out->scratch[i],
                                   &out->values[i]) != SP_OK)
            return false;
        text = colon + 1;
    }
    return true;
}

/* Reads the row of a key into the thread's: SP_OK, SP_ENOTFOUND also for what cannot be a key, or
 * another status. */
static int read_row(struct session *session, const struct resp_arg *key, struct sp_row **row)
{
    const char *rest;
    struct key_parts parts;
    struct row_table *table = table_of(session, key, &rest);
    const struct sp_schema *schema;
    *row = session->thread->tables->row;
    int status = sp_table_schema(table->table, &schema);
    if (status != SP_OK)
        return status;
    if (!split_key(schema, rest, key->bytes + key->size, &parts))
        return SP_ENOTFOUND;
    status = sp_get_row(table->table, parts.values, parts.count, *row);
    bool no_key = status == SP_ETYPE || status == SP_ENULL || status == SP_EINVAL ||
                  status == SP_ERANGE || status == SP_ETOOBIG;
    return no_key ? SP_ENOTFOUND : status;
}

bool row_changed_since(struct sp_table *table, const char *text, size_t bytes, uint64_t version,
                       struct sp_row *row)
{
    struct key_parts parts;
    const struct sp_schema *schema;
    uint64_t born;
    if (sp_table_schema(table, &schema) != SP_OK)
        return true;
    return !split_key(schema, text, text + bytes, &parts) ||
           row_version(table, parts.values, parts.count, row, &born) != SP_OK || born > version;
}

static void reply_unreadable(struct session *session, const struct resp_arg *key, int status)
{
    int name = (int)strcspn(key->bytes, ":");
    reply_error(&session->reply, "ERR table %.*s: %s", name, key->bytes, sp_status_text(status));
}

void row_reply_json(struct session *session, const struct resp_arg *key)
{
    struct sp_row *row;
    int status = read_row(session, key, &row);
    if (status == SP_ENOTFOUND) {
        reply_null(&session->reply);
        return;
    }
    if (status != SP_OK) {
        reply_unreadable(session, key, status);
        return;
    }
    size_t size = sp_row_json(row, NULL, 0);
    char *at = reply_bulk_begin(&session->reply, size);
    if (!at)
        return;
    sp_row_json(row, at, size + 1);
    at[size] = '\r'; /* where the terminating zero was */
}

int row_exists(struct session *session, const struct resp_arg *key)
{
    struct sp_row *row;
    int status = read_row(session, key, &row);
    if (status == SP_OK)
        return 1;
    if (status == SP_ENOTFOUND)
        return 0;
    reply_unreadable(session, key, status);
    return -1;
}

void reply_row_refused(struct session *session, const struct resp_arg *key)
{
    const char *rest;
    const struct row_table *table = table_of(session, key, &rest);
    reply_error(&session->reply,
                "ERR '%s' is a table of the pond: its rows come from the database and are changed "
                "there",
                table->name);
}

void reply_row_not_dumped(struct session *session, const struct resp_arg *key)
{
    const char *rest;
    const struct row_table *table = table_of(session, key, &rest);
    reply_error(&session->reply,
                "ERR '%s' is a table of the pond: its rows belong to the database and are not "
                "dumped",
                table->name);
}

/* --- columns ---------------------------------------------------------------------------------- */

static void reply_value_text(struct session *session, const struct sp_value *value)
{
    if (value->is_null) {
        reply_null(&session->reply);
        return;
    }
    size_t size = sp_value_text(value, NULL, 0);
    char *at = reply_bulk_begin(&session->reply, size);
    if (!at)
        return;
    sp_value_text(value, at, size + 1);
    at[size] = '\r'; /* where the terminating zero was */
}

/* What the commands on hashes do with a key: 1 a row is in *row, 0 there is nothing, -1 an error
 * has been replied. With the lock. */
static int hash_of(struct session *session, const struct resp_arg *key, struct sp_row **row)
{
    struct cache_entry entry;
    if (!key_is_row(session, key)) {
        if (!key_find(session, key, &entry))
            return 0;
        reply_error(&session->reply,
                    "WRONGTYPE Operation against a key holding the wrong kind of value");
        return -1;
    }
    int status = read_row(session, key, row);
    if (status != SP_OK && status != SP_ENOTFOUND)
        reply_unreadable(session, key, status);
    return status == SP_OK ? 1 : status == SP_ENOTFOUND ? 0 : -1;
}

/* A column, or else a field of the row's document by its path. */
static bool column_of(const struct sp_row *row, const struct resp_arg *name, struct sp_value *out)
{
    char text[ROW_NAME_BYTES_MAX + 1];
    if (name->size >= sizeof(text) || memchr(name->bytes, '\0', name->size))
        return false;
    memcpy(text, name->bytes, name->size);
    text[name->size] = '\0';
    return sp_row_column(row, text, out) == SP_OK || sp_row_field(row, text, out) == SP_OK;
}

void run_hget(struct session *session, const struct call *call)
{
    struct sp_row *row;
    struct sp_value value;
    int found = hash_of(session, &call->args[1], &row);
    if (found > 0 && column_of(row, &call->args[2], &value))
        reply_value_text(session, &value);
    else if (found >= 0)
        reply_null(&session->reply);
}

void run_hmget(struct session *session, const struct call *call)
{
    struct sp_row *row;
    struct sp_value value;
    int found = hash_of(session, &call->args[1], &row);
    if (found < 0)
        return;
    reply_array(&session->reply, call->count - 2);
    for (size_t i = 2; i < call->count; i++) {
        if (found > 0 && column_of(row, &call->args[i], &value))
            reply_value_text(session, &value);
        else
            reply_null(&session->reply);
    }
}

/* A column that is NULL is no field of the hash. */
static bool column_at(const struct sp_row *row, size_t column, struct sp_column_info *info,
                      struct sp_value *value)
{
    return sp_schema_column(sp_row_schema(row), column, info) == SP_OK &&
           sp_row_column_at(row, column, value) == SP_OK && !value->is_null;
}

static size_t count_fields(const struct sp_row *row)
{
    struct sp_column_info info;
    struct sp_value value;
    size_t count = 0, columns = sp_schema_column_count(sp_row_schema(row));
    for (size_t i = 0; i < columns; i++)
        count += column_at(row, i, &info, &value);
    return count;
}

static void reply_fields(struct session *session, const struct sp_row *row, bool names, bool values)
{
    struct sp_column_info info;
    struct sp_value value;
    size_t columns = sp_schema_column_count(sp_row_schema(row));
    for (size_t i = 0; i < columns; i++) {
        if (!column_at(row, i, &info, &value))
            continue;
        if (names)
            reply_bulk(&session->reply, info.name, strlen(info.name));
        if (values)
            reply_value_text(session, &value);
    }
}

static void reply_hash(struct session *session, const struct call *call, bool names, bool values)
{
    struct sp_row *row;
    int found = hash_of(session, &call->args[1], &row);
    if (found < 0)
        return;
    size_t count = found > 0 ? count_fields(row) : 0;
    if (names && values)
        reply_map(&session->reply, count);
    else
        reply_array(&session->reply, count);
    if (found > 0)
        reply_fields(session, row, names, values);
}

void run_hgetall(struct session *session, const struct call *call)
{
    reply_hash(session, call, true, true);
}

void run_hkeys(struct session *session, const struct call *call)
{
    reply_hash(session, call, true, false);
}

void run_hvals(struct session *session, const struct call *call)
{
    reply_hash(session, call, false, true);
}

void run_hlen(struct session *session, const struct call *call)
{
    struct sp_row *row;
    int found = hash_of(session, &call->args[1], &row);
    if (found >= 0)
        reply_integer(&session->reply, found > 0 ? (int64_t)count_fields(row) : 0);
}

void run_hexists(struct session *session, const struct call *call)
{
    struct sp_row *row;
    struct sp_value value;
    int found = hash_of(session, &call->args[1], &row);
    if (found < 0)
        return;
    bool has = found > 0 && column_of(row, &call->args[2], &value) && !value.is_null;
    reply_integer(&session->reply, has);
}
