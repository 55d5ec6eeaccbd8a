/* SPDX-License-Identifier: Apache-2.0
 *
 * source.c - the list of sources, and what all of them do alike: errors, descriptions, and the
 * checks of the names in the configuration against what the database has.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/source_internal.h"

const struct source_class *source_find(const char *type)
{
    static const struct source_class *const classes[] = {
        &source_sqlite, &source_postgresql, &source_mariadb, &source_mysql, &source_mongodb, NULL};
    for (const struct source_class *const *c = classes; *c; c++)
        if (strcmp((*c)->type, type) == 0)
            return *c;
    return NULL;
}

int source_fail(struct source_error *error, int status, bool transient, const char *format, ...)
{
    va_list arguments;
    error->status = status;
    error->transient = transient;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    for (char *at = error->text; *at; at++) /* what a database says may be of several lines */
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
    return status;
}

int source_no_memory(struct source_error *error)
{
    return source_fail(error, SP_ENOMEM, true, "out of memory");
}

void source_announce(const struct source_options *options, struct source *source)
{
    if (options->cancelable)
        options->cancelable(options->cancelable_context, source);
}

bool source_scratch_reserve(struct source_scratch *scratch, size_t bytes)
{
    if (bytes <= scratch->cap)
        return true;
    char *text = realloc(scratch->text, bytes);
    if (!text)
        return false;
    scratch->text = text;
    scratch->cap = bytes;
    return true;
}

void source_copy(char *out, size_t cap, const char *text)
{
    size_t bytes = strnlen(text, cap - 1);
    memcpy(out, text, bytes);
    out[bytes] = 0;
}

/* --- descriptions --------------------------------------------------------------------------- */

int source_description_alloc(struct source_description *description, unsigned count,
                             struct source_error *error)
{
    description->column_count = count;
    description->row_estimate = -1;
    description->byte_estimate = -1;
    description->columns = calloc(count ? count : 1, sizeof(*description->columns));
    return description->columns ? SP_OK : source_no_memory(error);
}

void source_description_free(struct source_description *description)
{
    free(description->columns);
    *description = (struct source_description){0};
}

static bool column_differs(const struct source_column *a, const struct source_column *b)
{
    return strcmp(a->name, b->name) != 0 || a->type != b->type || a->nullable != b->nullable ||
           a->as_text != b->as_text;
}

int source_description_compare(const struct source_table *table,
                               const struct source_description *described,
                               const struct source_description *now, struct source_error *error)
{
    for (unsigned i = 0; i < described->column_count && i < now->column_count; i++)
        if (column_differs(&described->columns[i], &now->columns[i]))
            return source_fail(
                error, SP_ECONFIG, true, "table %s: its columns have changed: %s %s is now %s %s",
                table->name, described->columns[i].name, described->columns[i].native_type,
                now->columns[i].name, now->columns[i].native_type);
    if (described->column_count != now->column_count)
        return source_fail(error, SP_ECONFIG, true,
                           "table %s: its columns have changed: there were %u, there are %u",
                           table->name, described->column_count, now->column_count);
    return SP_OK;
}

int source_watermark_column(const struct source_table *table,
                            const struct source_description *description)
{
    for (unsigned i = 0; table->watermark && i < description->column_count; i++)
        if (strcmp(description->columns[i].name, table->watermark) == 0)
            return (int)i;
    return -1;
}

int source_no_watermark(const struct source_table *table, const struct source_column *column,
                        struct source_error *error)
{
    return source_fail(error, SP_ECONFIG, false,
                       "table %s: column %s of type %s cannot be a watermark", table->name,
                       column->name, column->native_type);
}

/* --- names ---------------------------------------------------------------------------------- */

int source_name_find(const struct source_names *names, const char *name)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->name(names->context, i), name) == 0)
            return (int)i;
    return -1;
}

void source_names_list(const struct source_names *names, char *out, size_t cap)
{
    size_t used = 0;
    source_copy(out, cap, names->count ? "" : "none");
    for (unsigned i = 0; i < names->count; i++) {
        const char *name = names->name(names->context, i);
        const size_t room = cap - used - sizeof(", ...");
        if (strlen(name) + 2 > room) {
            source_copy(out + used, cap - used, i ? ", ..." : "...");
            return;
        }
        used += (size_t)snprintf(out + used, cap - used, "%s%s", i ? ", " : "", name);
    }
}

static int name_missing(const struct source_table *table, const char *what, const char *name,
                        const struct source_names *names, struct source_error *error)
{
    char list[SOURCE_ERROR_BYTES / 2];
    source_names_list(names, list, sizeof(list));
    return source_fail(error, SP_ECONFIG, false, "table %s: %s %s does not exist; there are: %s",
                       table->name, what, name, list);
}

static bool is_asked_for(const struct source_table *table, const char *name)
{
    const char *const *column = table->columns;
    for (; column && *column; column++)
        if (strcmp(*column, name) == 0)
            return true;
    return !table->columns || !table->columns[0];
}

static int check_name(const struct source_table *table, const char *what, const char *name,
                      const struct source_names *names, struct source_error *error)
{
    if (source_name_find(names, name) < 0)
        return name_missing(table, what, name, names, error);
    if (!is_asked_for(table, name))
        return source_fail(error, SP_ECONFIG, false, "table %s: %s %s is not among its columns",
                           table->name, what, name);
    return SP_OK;
}

static int check_twice(const struct source_table *table, const struct source_names *names,
                       struct source_error *error)
{
    char name[256];
    for (unsigned i = 0; i < names->count; i++) {
        source_copy(name, sizeof(name), names->name(names->context, i));
        if (source_name_find(names, name) != (int)i && is_asked_for(table, name))
            return source_fail(error, SP_ECONFIG, false,
                               "table %s: two columns are called %s; give one another name",
                               table->name, name);
    }
    return SP_OK;
}

int source_check_names(const struct source_table *table, const struct source_names *names,
                       struct source_error *error)
{
    int status = SP_OK;
    for (const char *const *c = table->columns; c && *c && status == SP_OK; c++)
        status = check_name(table, "column", *c, names, error);
    for (const char *const *k = table->key; k && *k && status == SP_OK; k++)
        status = check_name(table, "key column", *k, names, error);
    if (table->watermark && status == SP_OK)
        status = check_name(table, "watermark column", table->watermark, names, error);
    return status == SP_OK ? check_twice(table, names, error) : status;
}
