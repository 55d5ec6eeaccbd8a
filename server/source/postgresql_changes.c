/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_changes.c - what the replication stream says of rows, as calls of the sink.
 *
 * Before the first row of a relation, and after each change of it, the stream describes it: then
 * its columns are looked up by name, and a table that is not as it was described is reshaped.
 *
 *   insert    put
 *   update    put; with the old key if the stream has one and it differs
 *   delete    remove, by the key's columns of the old row
 *   truncate  truncate, of each table that is named
 *
 * A value that was too large for its row and has not changed is not sent (TOAST). With REPLICA
 * IDENTITY FULL the old row has it, else it is absent. Several tables of the pond may be made of
 * the same relation: each gets every change.
 *
 * An old key that cannot be read, or is NULL, belongs to a row that was never stored: there is
 * nothing to remove. But where only the replica identity of the old row is sent, a NULL means that
 * the key is no part of it any more.
 */
#include <stdlib.h>
#include <string.h>

#include "server/source/postgresql_feed.h"

/* --- memory --------------------------------------------------------------------------------- */

int pg_followed_alloc(struct pg_followed *table)
{
    const size_t columns = table->column_count ? table->column_count : 1;
    const size_t keys = table->key_count ? table->key_count : 1;
    table->fields = calloc(columns, sizeof(*table->fields));
    table->values = calloc(columns, sizeof(*table->values));
    table->absent = calloc(columns, sizeof(*table->absent));
    table->old_key = calloc(keys, sizeof(*table->old_key));
    table->scratch = calloc(columns + keys, sizeof(*table->scratch));
    return table->fields && table->values && table->absent && table->old_key && table->scratch
               ? SP_OK
               : SP_ENOMEM;
}

static void followed_free(struct pg_followed *table)
{
    for (unsigned i = 0; table->scratch && i < table->column_count + table->key_count; i++)
        free(table->scratch[i].text);
    free(table->table);
    free(table->schema);
    free(table->name);
    free(table->filter);
    free(table->columns);
    free(table->key);
    free(table->fields);
    free(table->values);
    free(table->old_key);
    free(table->absent);
    free(table->scratch);
}

void pg_changes_free(struct pg_changes *changes)
{
    for (unsigned i = 0; i < changes->count; i++)
        followed_free(&changes->tables[i]);
    free(changes->tables);
    *changes = (struct pg_changes){0};
}

#define OTHER_IDENTITY "its replica identity no longer has the key"

/* --- relations ------------------------------------------------------------------------------ */

static int find_column(const struct pg_output *message, const char *name)
{
    for (unsigned i = 0; i < message->count; i++)
        if (strcmp(message->columns[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* Of a partitioned table the relation does not say it: each partition has its own identity. */
static bool identity_has_key(const struct pg_followed *table, const struct pg_output *message)
{
    for (unsigned k = 0; k < table->key_count && !table->asked.partitioned; k++)
        if (!message->columns[table->fields[table->key[k]]].in_identity)
            return false;
    return true;
}

/* Why the relation is not the table that was described, or NULL; finds its columns. */
static const char *map_columns(struct pg_followed *table, const struct pg_output *message)
{
    if (table->relation != message->relation)
        return "another table has its name now";
    if (strcmp(table->name, message->name) != 0 || strcmp(table->schema, message->schema) != 0)
        return "it has another name now";
    for (unsigned i = 0; i < table->column_count; i++) {
        const struct pg_followed_column *column = &table->columns[i];
        const int field = find_column(message, column->name);
        if (field < 0)
            return "a column is gone or is no longer published";
        if (message->columns[field].type != column->declared ||
            message->columns[field].modifier != column->modifier)
            return "a column is of another type now";
        table->fields[i] = field;
    }
    if (table->every_column && message->count != table->column_count)
        return "a column has been added";
    return identity_has_key(table, message) ? NULL : OTHER_IDENTITY;
}

static bool concerns(const struct pg_followed *table, const struct pg_output *message)
{
    return table->relation == message->relation ||
           (strcmp(table->name, message->name) == 0 && strcmp(table->schema, message->schema) == 0);
}

static int on_relation(struct pg_changes *changes, const struct pg_output *message,
                       const struct source_feed_sink *sink)
{
    int status = SP_OK;
    for (unsigned i = 0; i < changes->count && status == SP_OK; i++) {
        struct pg_followed *table = &changes->tables[i];
        if (table->reshaped || !concerns(table, message))
            continue;
        const char *why = map_columns(table, message);
        table->mapped = !why;
        table->reshaped = why != NULL;
        if (why)
            status = sink->reshaped(sink->context, i, why);
    }
    return status;
}

/* --- rows ----------------------------------------------------------------------------------- */

static const struct pg_field *field_of(const struct pg_followed *table, unsigned column,
                                       const struct pg_tuple *tuple)
{
    return &tuple->fields[table->fields[column]];
}

static bool fits(const struct pg_followed *table, const struct pg_tuple *tuple)
{
    for (unsigned i = 0; i < table->column_count; i++)
        if ((unsigned)table->fields[i] >= tuple->count)
            return false;
    return true;
}

static const char *read_field(const struct pg_followed_column *column, const struct pg_field *field,
                              struct source_scratch *scratch, struct sp_value *out)
{
    const char *why = NULL;
    if (field->kind == PG_FIELD_TEXT)
        why = pg_text_value(&column->form, column->type, field->data, field->size, scratch, out);
    else if (field->kind == PG_FIELD_NULL && !column->nullable)
        why = "NULL in a column that is declared not to have it";
    if (field->kind != PG_FIELD_TEXT || why)
        *out = sp_null(column->type);
    return why;
}

/* Reads the new row. `*bad` gets the first column that cannot be read, or -1; returns whether a
 * value is absent. */
static bool read_row(struct pg_followed *table, const struct pg_output *message, int *bad,
                     const char **why)
{
    bool any_absent = false;
    *bad = -1;
    for (unsigned i = 0; i < table->column_count; i++) {
        const struct pg_field *field = field_of(table, i, &message->new);
        if (field->kind == PG_FIELD_UNCHANGED && message->old.kind &&
            field_of(table, i, &message->old)->kind == PG_FIELD_TEXT)
            field = field_of(table, i, &message->old);
        const char *wrong =
            read_field(&table->columns[i], field, &table->scratch[i], &table->values[i]);
        table->absent[i] = field->kind == PG_FIELD_UNCHANGED;
        any_absent = any_absent || table->absent[i];
        if (wrong && *bad < 0) {
            *bad = (int)i;
            *why = wrong;
        }
    }
    return any_absent;
}

static bool same_field(const struct pg_field *old, const struct pg_field *new)
{
    if (new->kind == PG_FIELD_UNCHANGED)
        return true;
    return old->kind == new->kind &&
           (old->kind != PG_FIELD_TEXT ||
            (old->size == new->size &&memcmp(old->data, new->data, old->size) == 0));
}

static bool same_key(const struct pg_followed *table, const struct pg_output *message)
{
    for (unsigned k = 0; k < table->key_count; k++)
        if (!same_field(field_of(table, table->key[k], &message->old),
                        field_of(table, table->key[k], &message->new)))
            return false;
    return true;
}

/* What was sent of the old row is its identity, in which there is no NULL. */
static bool key_is_told(const struct pg_followed *table, const struct pg_output *message)
{
    for (unsigned k = 0; k < table->key_count && message->old.kind == 'K'; k++)
        if (field_of(table, table->key[k], &message->old)->kind == PG_FIELD_NULL)
            return false;
    return true;
}

/* The key of the old row. False: no row can have been stored under it. */
static bool read_old_key(struct pg_followed *table, const struct pg_output *message)
{
    for (unsigned k = 0; k < table->key_count; k++) {
        const unsigned i = table->key[k];
        const struct pg_field *field = field_of(table, i, &message->old);
        if (field->kind != PG_FIELD_TEXT ||
            read_field(&table->columns[i], field, &table->scratch[table->column_count + k],
                       &table->old_key[k]))
            return false;
    }
    return true;
}

static int put(struct pg_followed *table, unsigned i, const struct pg_output *message,
               const struct source_feed_sink *sink)
{
    const char *why = NULL;
    int bad, status = SP_OK;
    const bool any_absent = read_row(table, message, &bad, &why);
    const bool moved =
        message->old.kind && !same_key(table, message) && read_old_key(table, message);
    if (bad < 0)
        return sink->put(sink->context, i, moved ? table->old_key : NULL, table->values,
                         any_absent ? table->absent : NULL);
    if (moved)
        status = sink->remove(sink->context, i, table->old_key);
    return status == SP_OK ? sink->bad_row(sink->context, i, table->values, (unsigned)bad, why)
                           : status;
}

static int deliver_row(struct pg_followed *table, unsigned i, const struct pg_output *message,
                       const struct source_feed_sink *sink)
{
    if (message->kind != PG_MESSAGE_DELETE)
        return put(table, i, message, sink);
    return read_old_key(table, message) ? sink->remove(sink->context, i, table->old_key) : SP_OK;
}

static int on_row(struct pg_changes *changes, const struct pg_output *message,
                  const struct source_feed_sink *sink, bool *any, bool *good)
{
    int status = SP_OK;
    for (unsigned i = 0; i < changes->count && status == SP_OK; i++) {
        struct pg_followed *table = &changes->tables[i];
        if (table->relation != message->relation || table->reshaped)
            continue;
        *good = table->mapped && (!message->old.kind || fits(table, &message->old)) &&
                (!message->new.kind || fits(table, &message->new));
        if (!*good)
            return SP_ESOURCE;
        *any = true;
        table->reshaped = !key_is_told(table, message);
        status = table->reshaped ? sink->reshaped(sink->context, i, OTHER_IDENTITY)
                                 : deliver_row(table, i, message, sink);
    }
    return status;
}

static int on_truncate(struct pg_changes *changes, const struct pg_output *message,
                       const struct source_feed_sink *sink, bool *any)
{
    int status = SP_OK;
    for (unsigned r = 0; r < message->count; r++)
        for (unsigned i = 0; i < changes->count && status == SP_OK; i++) {
            if (changes->tables[i].relation != pg_output_truncated(message, r) ||
                changes->tables[i].reshaped)
                continue;
            *any = true;
            changes->tables[i].truncated_by = changes->xid;
            status = sink->truncate(sink->context, i);
        }
    return status;
}

int pg_changes_deliver(struct pg_changes *changes, const struct pg_output *message,
                       const struct source_feed_sink *sink, bool *any, struct source_error *error)
{
    bool good = true;
    int status = SP_OK;
    if (message->kind == PG_MESSAGE_RELATION)
        status = on_relation(changes, message, sink);
    else if (message->kind == PG_MESSAGE_TRUNCATE)
        status = on_truncate(changes, message, sink, any);
    else
        status = on_row(changes, message, sink, any, &good);
    if (!good)
        return source_fail(error, SP_ESOURCE, true, PG_FORMAT_ERROR);
    if (status != SP_OK)
        return source_fail(error, status, true, "the receiver of the changes stopped: %s",
                           sp_status_text(status));
    return SP_OK;
}
