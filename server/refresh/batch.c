/* SPDX-License-Identifier: Apache-2.0
 *
 * batch.c - rows encoded into a buffer, stored when it is full.
 *
 * A row's key and value are encoded right behind each other into the batch's bytes, and the batch
 * goes to the store when it holds BATCH_ROWS rows or no further row fits. A row larger than the
 * buffer makes it grow, up to the table's max_row; what is larger is a bad row.
 *
 * What cannot be stored (no key, a key that came before, too large, not decodable) is skipped,
 * counted and named by its key, or ends the stream, as on_bad_row says. When the pond is full the
 * rest of the stream is only counted, so that the message can say how much would have been needed.
 *
 * Cost: one encoding of each row and no allocation but the buffer's.
 */
#include "server/refresh/batch.h"

#include <stdlib.h>

#include "server/log/log.h"
#include "server/refresh/internal.h"

enum { KEY_TEXT_BYTES = 96 };

int batch_init(struct batch *batch)
{
    batch->bytes = malloc(BATCH_BYTES);
    batch->cap = BATCH_BYTES;
    batch->used = 0;
    batch->count = 0;
    return batch->bytes ? SP_OK : SP_ENOMEM;
}

void batch_free(struct batch *batch)
{
    free(batch->bytes);
    batch->bytes = NULL;
}

/* Only while the batch is empty, since rows point into it. */
static int batch_grow(struct batch *batch, size_t needed)
{
    unsigned char *bytes = realloc(batch->bytes, needed);
    if (!bytes)
        return SP_ENOMEM;
    batch->bytes = bytes;
    batch->cap = needed;
    return SP_OK;
}

uint64_t intake_entry_bytes(size_t key_bytes, size_t value_bytes)
{
    const uint64_t head_bytes = 20, unit_bytes = 16; /* docs/FORMAT.md, "Entries" */
    return (head_bytes + key_bytes + value_bytes + unit_bytes - 1) / unit_bytes * unit_bytes;
}

/* --- bad rows ------------------------------------------------------------------------------ */

static void key_append(char *out, size_t cap, const struct sp_value *value)
{
    size_t used = strlen(out);
    if (used > 0 && used + 2 < cap) {
        memcpy(out + used, ", ", 3);
        used += 2;
    }
    if (value->is_null)
        snprintf(out + used, cap - used, "NULL");
    else if (row_value_text(value, out + used, cap - used) >= cap - used && cap - used > 4)
        memcpy(out + cap - 4, "...", 4);
}

/* The key's values for people, from the row's values. */
static void key_text(const struct intake *in, const struct sp_value *values, char *out, size_t cap)
{
    out[0] = '\0';
    if (!values) {
        snprintf(out, cap, "unknown");
        return;
    }
    for (unsigned i = 0; i < in->schema->key_count; i++)
        key_append(out, cap, &values[in->schema->key_columns[i]]);
}

static void stored_key_text(const struct intake *in, const struct store_row *row, char *out,
                            size_t cap)
{
    struct sp_value values[ROW_KEY_COLUMNS_MAX];
    out[0] = '\0';
    if (row_key_decode(in->schema, in->schema->key_columns, in->schema->key_count, row->key,
                       row->key_bytes, values) != SP_OK) {
        snprintf(out, cap, "unknown");
        return;
    }
    for (unsigned i = 0; i < in->schema->key_count; i++)
        key_append(out, cap, &values[i]);
}

/* Skips a bad row, or says that the refresh fails. */
static int refuse(struct intake *in, enum refresh_skip reason, const char *key, const char *why)
{
    if (in->config->on_bad_row == CONFIG_ON_BAD_ROW_FAIL) {
        in->status = SP_EDATA;
        snprintf(in->why, sizeof(in->why), "the row with key %s %s (on_bad_row: fail)", key, why);
        return SP_EDATA;
    }
    in->skipped[reason]++;
    if (!in->quiet && in->named < BATCH_NAMED_MAX)
        log_event(LOG_WARNING, "refresh", "row skipped", LOG_STR("table", in->config->name),
                  LOG_STR("key", key), LOG_STR("why", why));
    in->named++;
    return SP_OK;
}

static int refuse_row(struct intake *in, enum refresh_skip reason, const struct sp_value *values,
                      const char *why)
{
    char key[KEY_TEXT_BYTES];
    key_text(in, values, key, sizeof(key));
    in->refused = true;
    return refuse(in, reason, key, why);
}

static int refuse_encoding(struct intake *in, int status, const struct sp_value *values,
                           unsigned column)
{
    char why[SOURCE_ERROR_BYTES / 2];
    const char *name =
        column < in->schema->column_count ? in->schema->columns[column].name : "the key";
    if (status == SP_ETOOBIG)
        return refuse_row(in, REFRESH_SKIP_TOO_LARGE, values, "is larger than a row can be");
    if (status == SP_ENULL) {
        snprintf(why, sizeof(why), "has NULL in column %s, which must not be NULL", name);
        return refuse_row(in, REFRESH_SKIP_NULL_VALUE, values, why);
    }
    snprintf(why, sizeof(why), "has a value in column %s that is not of the column's type", name);
    return refuse_row(in, REFRESH_SKIP_UNDECODABLE, values, why);
}

static int refuse_size(struct intake *in, const struct sp_value *values, size_t bytes)
{
    char size[TEXT_BYTES];
    char limit[TEXT_BYTES];
    char why[128];
    snprintf(why, sizeof(why), "takes %s, max_row is %s", refresh_text_size(bytes, size),
             refresh_text_size(in->config->max_row_bytes, limit));
    return refuse_row(in, REFRESH_SKIP_TOO_LARGE, values, why);
}

/* --- storing ------------------------------------------------------------------------------- */

static int refuse_duplicates(struct intake *in, const struct store_row *rows, size_t count)
{
    char key[KEY_TEXT_BYTES];
    for (size_t i = 0; i < count; i++) {
        if (rows[i].change != STORE_DUPLICATE)
            continue;
        stored_key_text(in, &rows[i], key, sizeof(key));
        int status = refuse(in, REFRESH_SKIP_DUPLICATE_KEY, key, "has a key that came before");
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}

static int refuse_stored(struct intake *in, const struct store_row *row)
{
    char key[KEY_TEXT_BYTES];
    stored_key_text(in, row, key, sizeof(key));
    int status =
        refuse(in, REFRESH_SKIP_TOO_LARGE, key, "is too large, or its key in a secondary index is");
    if (status != SP_OK || !in->follows)
        return status;
    status = store_delete(in->table, row->key, row->key_bytes);
    return status == SP_ENOTFOUND ? SP_OK : status;
}

/* Stores rows up to the first that the store finds too large, which is then refused; `*taken` says
 * how many that are. */
static int store_some(struct intake *in, struct store_row *rows, size_t count, size_t *taken)
{
    size_t done = 0;
    int status = store_put(in->table, rows, count, &done);
    *taken = done;
    if (status == SP_ETOOBIG) {
        in->stored += done;
        status = refuse_duplicates(in, rows, done);
        *taken = done + 1;
        return status == SP_OK ? refuse_stored(in, &rows[done]) : status;
    }
    if (status == SP_ENOSPC || status == SP_ENOSHM) {
        in->space_status = status;
        in->table = NULL;
        in->full(in->context);
        return SP_OK;
    }
    if (status != SP_OK) {
        in->status = status;
        snprintf(in->why, sizeof(in->why), "storing rows: %s", sp_status_text(status));
        return status;
    }
    in->stored += done;
    return refuse_duplicates(in, rows, done);
}

static int store_rows(struct intake *in)
{
    int status = SP_OK;
    for (size_t at = 0, taken; in->table && at < in->batch->count && status == SP_OK; at += taken) {
        size_t end = at < in->earlier ? in->earlier : in->batch->count;
        status = store_some(in, in->batch->rows + at, end - at, &taken);
        if (in->table && at < in->earlier && at + taken >= in->earlier)
            store_table_counts(in->table, &in->before);
    }
    return status;
}

int intake_flush(struct intake *in)
{
    if (in->batch->count == 0)
        return SP_OK;
    int status = SP_ECANCELED;
    if (in->stopped(in->context))
        in->status = status;
    else
        status = store_rows(in);
    in->batch->count = 0;
    in->batch->used = 0;
    in->earlier = 0;
    return status;
}

/* --- the sink ------------------------------------------------------------------------------ */

static bool key_has_null(const struct intake *in, const struct sp_value *values)
{
    for (unsigned i = 0; i < in->schema->key_count; i++)
        if (values[in->schema->key_columns[i]].is_null)
            return true;
    return false;
}

static int encode_key(const struct schema *schema, const struct sp_value *values, void *out,
                      size_t cap, size_t *size)
{
    struct sp_value key[ROW_KEY_COLUMNS_MAX];
    if (schema->key_count == 1)
        return row_key_encode(schema, schema->key_columns, 1, &values[schema->key_columns[0]], 1,
                              out, cap, size);
    for (unsigned i = 0; i < schema->key_count; i++)
        key[i] = values[schema->key_columns[i]];
    return row_key_encode(schema, schema->key_columns, schema->key_count, key, schema->key_count,
                          out, cap, size);
}

/* Encodes a row behind the batch's rows. SP_ERANGE: no room, `*needed` says how much it takes. */
static int encode_row(struct intake *in, const struct sp_value *values, size_t *needed,
                      unsigned *bad)
{
    struct batch *batch = in->batch;
    unsigned char *at = batch->bytes + batch->used;
    size_t room = batch->cap - batch->used;
    size_t key_bytes = 0;
    size_t value_bytes = 0;
    *bad = in->schema->column_count;
    int status = encode_key(in->schema, values, at, room, &key_bytes);
    *needed = key_bytes;
    if (status == SP_ENULL && key_has_null(in, values))
        return SP_ENULL;
    if (status != SP_OK)
        return status;
    status = row_encode(in->schema, values, at + key_bytes, room - key_bytes, &value_bytes, bad);
    *needed = key_bytes + value_bytes;
    if (status != SP_OK || *needed > in->config->max_row_bytes)
        return status;
    batch->rows[batch->count++] = (struct store_row){
        .key = at, .key_bytes = key_bytes, .value = at + key_bytes, .value_bytes = value_bytes};
    batch->used += *needed;
    in->data_bytes += *needed;
    in->units_bytes += intake_entry_bytes(key_bytes, value_bytes);
    return SP_OK;
}

/* Encodes a row that found no room: into an emptied batch, and that grown if need be. The key is
 * encoded first, so it can take one growth to learn the value's size. */
static int encode_with_room(struct intake *in, const struct sp_value *values, size_t *needed,
                            unsigned *bad)
{
    int status = intake_flush(in);
    if (status != SP_OK)
        return status;
    for (unsigned i = 0; i < 3; i++) {
        status = encode_row(in, values, needed, bad);
        if (status != SP_ERANGE || *needed > in->config->max_row_bytes)
            return status;
        status = batch_grow(in->batch, *needed + ROW_KEY_BYTES_MAX);
        if (status != SP_OK) {
            in->status = status;
            snprintf(in->why, sizeof(in->why), "%s", sp_status_text(status));
            return status;
        }
    }
    return status;
}

static int intake_row(void *context, const struct sp_value *values, unsigned count)
{
    struct intake *in = context;
    size_t needed = 0;
    unsigned bad = 0;
    (void)count;
    in->read++;
    in->refused = false;
    if (in->mark)
        watermark_raise(in->mark, &values[in->mark_column], in->now_ms);
    int status = encode_row(in, values, &needed, &bad);
    if (status == SP_ERANGE && needed <= in->config->max_row_bytes)
        status = encode_with_room(in, values, &needed, &bad);
    if (in->status != SP_OK)
        return in->status;
    if (needed > in->config->max_row_bytes && (status == SP_OK || status == SP_ERANGE))
        return refuse_size(in, values, needed);
    if (status == SP_ENULL && bad == in->schema->column_count)
        return refuse_row(in, REFRESH_SKIP_NULL_KEY, values, "has NULL in its key");
    if (status != SP_OK)
        return refuse_encoding(in, status, values, bad);
    return in->batch->count == BATCH_ROWS ? intake_flush(in) : SP_OK;
}

static int intake_bad_row(void *context, const struct sp_value *values, unsigned count,
                          unsigned column, const char *why)
{
    struct intake *in = context;
    char text[SOURCE_ERROR_BYTES / 2];
    (void)count;
    in->read++;
    in->refused = false;
    const char *name =
        column < in->schema->column_count ? in->schema->columns[column].name : "unknown";
    snprintf(text, sizeof(text), "cannot be decoded: column %s: %s", name, why);
    return refuse_row(in, REFRESH_SKIP_UNDECODABLE, values, text);
}

struct source_sink intake_sink(struct intake *in)
{
    return (struct source_sink){.context = in, .row = intake_row, .bad_row = intake_bad_row};
}
