/* SPDX-License-Identifier: Apache-2.0
 *
 * source.c - a source that is not built in: text files as tables.
 *
 * `dsn` is a folder, a table's relation a file in it. Each line is a key, a tab and a value, which
 * become the columns `key` and `value`. It shows all that a module needs, with the installed
 * headers only. What it leaves out a database would have: one snapshot for several files (here each
 * is read as it is at that moment), and waiting that cancel() ends (reading a file does not wait).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sidepond/source.h>

struct source {
    const struct source_options *options;
    atomic_bool canceled;
};

__attribute__((format(printf, 4, 5))) static int fail(struct source_error *error, int status,
                                                      bool transient, const char *format, ...)
{
    va_list arguments;
    error->status = status;
    error->transient = transient;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return status;
}

static int text_open(const struct source_options *options, struct source **out,
                     struct source_error *error)
{
    struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return fail(error, SP_ENOMEM, true, "out of memory");
    source->options = options;
    if (options->cancelable)
        options->cancelable(options->cancelable_context, source);
    *out = source;
    return SP_OK;
}

/* A file that is not there is the configuration's fault. */
static int open_file(struct source *source, const struct source_table *table, FILE **out,
                     struct source_error *error)
{
    char path[4096];
    if (!table->relation)
        return fail(error, SP_ECONFIG, false, "table %s: a text file knows no queries",
                    table->name);
    snprintf(path, sizeof(path), "%s/%s", source->options->dsn, table->relation);
    *out = fopen(path, "re");
    if (*out)
        return SP_OK;
    return fail(error, errno == ENOENT ? SP_ECONFIG : SP_ESOURCE, errno != ENOENT,
                "table %s: %s: %s", table->name, path, strerror(errno));
}

static int text_describe(struct source *source, const struct source_table *table,
                         struct source_description *out, struct source_error *error)
{
    static const struct source_column columns[] = {
        {.name = "key", .native_type = "text", .type = SP_TYPE_TEXT},
        {.name = "value", .native_type = "text", .type = SP_TYPE_TEXT},
    };
    FILE *file;
    int status = open_file(source, table, &file, error);
    if (status != SP_OK)
        return status;
    fclose(file);
    *out = (struct source_description){.column_count = 2,
                                       .row_estimate = -1,
                                       .byte_estimate = -1,
                                       .columns = malloc(sizeof(columns))};
    if (!out->columns)
        return fail(error, SP_ENOMEM, true, "out of memory");
    memcpy(out->columns, columns, sizeof(columns));
    return SP_OK;
}

static int text_begin(struct source *source, struct source_error *error)
{
    (void)source;
    (void)error;
    return SP_OK;
}

static int deliver(char *line, const struct source_sink *sink)
{
    struct sp_value values[2];
    line[strcspn(line, "\n")] = 0;
    char *tab = strchr(line, '\t');
    values[0] = sp_text(line, tab ? (size_t)(tab - line) : strlen(line));
    if (!tab) {
        values[1] = sp_null(SP_TYPE_TEXT);
        return sink->bad_row(sink->context, values, 2, 1, "the line has no tab");
    }
    values[1] = sp_text(tab + 1, strlen(tab + 1));
    return sink->row(sink->context, values, 2);
}

static int text_stream(struct source *source, const struct source_table *table,
                       const struct source_description *description, const struct sp_value *since,
                       const struct source_sink *sink, struct source_error *error)
{
    char *line = NULL;
    size_t cap = 0;
    FILE *file;
    (void)description;
    (void)since; /* the class does not say SOURCE_CAN_WATERMARK */
    int status = open_file(source, table, &file, error);
    if (status != SP_OK)
        return status;
    while (status == SP_OK && getline(&line, &cap, file) > 0) {
        status = deliver(line, sink);
        if (status != SP_OK)
            fail(error, status, true, "table %s: the receiver of its rows stopped", table->name);
        else if (atomic_exchange(&source->canceled, false))
            status = fail(error, SP_ECANCELED, true, "canceled");
    }
    if (status == SP_OK && ferror(file))
        status = fail(error, SP_ESOURCE, true, "table %s: %s", table->name, strerror(errno));
    free(line);
    fclose(file);
    return status;
}

static void text_cancel(struct source *source)
{
    atomic_store(&source->canceled, true);
}

static void text_close(struct source *source)
{
    free(source);
}

static const struct source_class text_class = {
    .type = "text",
    .open = text_open,
    .describe = text_describe,
    .begin = text_begin,
    .stream = text_stream,
    .end = text_begin,
    .cancel = text_cancel,
    .close = text_close,
};

extern const struct source_module sidepond_source;
const struct source_module sidepond_source = {SOURCE_INTERFACE, &text_class};
