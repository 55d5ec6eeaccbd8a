/* SPDX-License-Identifier: Apache-2.0
 *
 * row_handle.c - rows that are copied whole: key, value and the schema they are to be read with.
 *
 * A row by its primary key is first tried the quick way (quick.h), with the schema that was last
 * used, if that is of the root which the binding remembers. Whatever is rarer is row_read's.
 *
 * A row's buffer grows to what it has held and is used again, so reading rows of a table in a loop
 * allocates nothing. The buffer is grown only for a size that R8 has confirmed.
 */
#include "client/local/row_handle.h"

#include "client/local/quick.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_LEAST 256u

struct sp_row *sp_row_new(void)
{
    return calloc(1, sizeof(struct sp_row));
}

void sp_row_free(struct sp_row *row)
{
    if (row == NULL)
        return;
    free(row->data.bytes);
    free(row->key.bytes);
    free(row->posting.bytes);
    free(row);
}

int buffer_reserve(struct buffer *buffer, size_t bytes)
{
    if (buffer->bytes != NULL && bytes <= buffer->cap)
        return SP_OK;
    size_t cap = buffer->cap < BUFFER_LEAST ? BUFFER_LEAST : buffer->cap;
    while (cap < bytes)
        cap *= 2;
    uint8_t *grown = realloc(buffer->bytes, cap);
    if (grown == NULL)
        return SP_ENOMEM;
    buffer->bytes = grown;
    buffer->cap = cap;
    return SP_OK;
}

/* What a hit leads to: the copy, its schema, or more room and another attempt. */
static int take_row(struct sp_table *table, struct binding *binding, const struct find_path *path,
                    const struct found *found, struct row_copy *out)
{
    size_t bytes = found->key_bytes + found->value_bytes;
    bool fits = out->buffer->bytes != NULL && bytes <= out->buffer->cap; /* none: no bytes fit */
    if (LIKELY(fits))
        race_copy(out->buffer->bytes, found->key, bytes);
    if (UNLIKELY(!find_valid(path)))
        return READ_AGAIN;
    if (UNLIKELY(!fits)) {
        int status = buffer_reserve(out->buffer, bytes);
        return status == SP_OK ? READ_AGAIN : status;
    }
    out->key_bytes = found->key_bytes;
    out->value_bytes = found->value_bytes;
    return schema_of(table, binding, path, &out->schema);
}

int row_read(struct sp_table *table, unsigned index, const void *key, size_t key_bytes,
             struct row_copy *out)
{
    struct binding *binding = table_binding(table);
    uint32_t tries = 0;
    int status;
    do {
        struct find_path path;
        struct found found;
        if (UNLIKELY(find_is_old(binding)))
            return SP_EOLD;
        if (UNLIKELY(!find_begin(&path, binding))) {
            status = find_no_version(table, &binding, path.version);
            continue;
        }
        /* A version that the caller has fixed, in a pond that it has seen. */
        if (UNLIKELY(out->version != 0)) {
            if (binding->map != out->map)
                return READ_AGAIN;
            path.version = out->version;
        }
        enum find result = find_key(&path, index, key, key_bytes, &found);
        if (LIKELY(result == FIND_HIT)) {
            status = take_row(table, binding, &path, &found, out);
            if (status == SP_OK)
                binding_learn(table, binding, &path);
        } else {
            status = find_settle(table, &binding, &path, result, false, &tries);
        }
        if (UNLIKELY(status == READ_AGAIN && ++tries > READ_TRIES_MAX))
            status = SP_ECORRUPT;
    } while (UNLIKELY(status == READ_AGAIN));
    return status;
}

/* The quick way: a hit that fits, or false. Beyond what quick_valid asks, the root's born must be
 * the one remembered: the schema is that root's, and a new root may lie in its place. */
static bool quick_row(const struct binding *b, const void *key, size_t key_bytes,
                      struct sp_row *row)
{
    const struct sp_schema *schema = atomic_load_explicit(&b->schema, memory_order_acquire);
    struct quick_home home;
    uint64_t off = 0;
    size_t value_bytes = 0;
    if (UNLIKELY(schema == NULL || schema->root_born != b->born || schema->root_unit != b->head ||
                 quick_is_old(b)))
        return false;
    const struct quick_arena arena = quick_arena(b);
    const size_t padded = quick_padded(row->data.cap);
    const int64_t last = quick_last(&arena, key_bytes, padded);
    uint64_t version = quick_version(b);
    uint64_t hash = hash_key(&b->hash, key, key_bytes);
    if (UNLIKELY(!quick_home(b, &arena, hash, &home)) ||
        quick_slot(&arena, &home, hash, &off) != QUICK_FOUND ||
        !quick_entry(&arena, 0, version, last, off, key, key_bytes, &value_bytes) ||
        !quick_copy(&arena, row->data.bytes, row->data.cap, padded, off + ENTRY_HEAD_BYTES,
                    key_bytes + value_bytes))
        return false;
    const struct table_root *root =
        (const struct table_root *)(arena.base + (b->head << FORMAT_UNIT_SHIFT));
    if (UNLIKELY(!quick_valid(b, &home) ||
                 b->born != atomic_load_explicit(&root->born, memory_order_relaxed)))
        return false;
    row->schema = schema;
    row->key_bytes = key_bytes;
    row->value_bytes = value_bytes;
    return true;
}

static NEVER_INLINE int get_row(struct sp_table *table, const void *key, size_t key_bytes,
                                struct sp_row *row)
{
    struct row_copy copy = {.buffer = &row->data};
    int status = row_read(table, 0, key, key_bytes, &copy);
    row->schema = status == SP_OK ? copy.schema : NULL;
    row->key_bytes = copy.key_bytes;
    row->value_bytes = copy.value_bytes;
    return status;
}

__attribute__((flatten)) int sp_get_row_encoded(struct sp_table *table, const void *key,
                                                size_t key_bytes, struct sp_row *row)
{
    if (LIKELY(quick_row(table_binding(table), key, key_bytes, row)))
        return SP_OK;
    int status = get_row(table, key, key_bytes, row);
    return status == SP_OK ? SP_OK : error_plain(status);
}

int row_encode_key(struct sp_row *row, const struct sp_schema *schema, int index,
                   const struct sp_value *key, size_t key_count, size_t *key_bytes)
{
    int status = buffer_reserve(&row->key, BUFFER_LEAST);
    while (status == SP_OK) {
        status =
            sp_key_encode(schema, index, key, key_count, row->key.bytes, row->key.cap, key_bytes);
        if (status != SP_ERANGE)
            return status;
        if (*key_bytes > SP_KEY_BYTES_MAX)
            return SP_ETOOBIG;
        status = buffer_reserve(&row->key, *key_bytes);
    }
    return status;
}

int sp_get_row(struct sp_table *table, const struct sp_value *key, size_t key_count,
               struct sp_row *row)
{
    const struct sp_schema *schema, *before;
    row->schema = NULL;
    int status = sp_table_schema(table, &schema);
    if (status != SP_OK)
        return status;
    do {
        size_t key_bytes;
        status = row_encode_key(row, schema, -1, key, key_count, &key_bytes);
        if (status != SP_OK)
            return error_set(status, "the key given is not one of table \"%s\"", table->name);
        status = get_row(table, row->key.bytes, key_bytes, row);
        if (LIKELY(status == SP_OK && row->schema == schema))
            return SP_OK;
        if (status != SP_OK && status != SP_ENOTFOUND)
            return error_plain(status);
        /* Has the table got another shape, and perhaps other keys, since its schema was read? */
        before = schema;
        int again = sp_table_schema(table, &schema);
        if (again != SP_OK)
            return again;
    } while (schema != before);
    return status == SP_OK ? SP_OK : error_plain(status);
}

/* --- columns ---------------------------------------------------------------------------------- */

const struct sp_schema *sp_row_schema(const struct sp_row *row)
{
    return row->schema;
}

int sp_row_column_at(const struct sp_row *row, size_t column, struct sp_value *out)
{
    if (row->schema == NULL)
        return SP_EINVAL;
    if (column >= row->schema->parsed->column_count)
        return SP_ENOCOLUMN;
    const uint8_t *value = row->data.bytes + row->key_bytes;
    return row_column_get(row->schema->parsed, (unsigned)column, row->data.bytes, row->key_bytes,
                          value, row->value_bytes, out);
}

int sp_row_column(const struct sp_row *row, const char *name, struct sp_value *out)
{
    if (row->schema == NULL)
        return SP_EINVAL;
    int column = schema_column(row->schema->parsed, name);
    return column < 0 ? SP_ENOCOLUMN : sp_row_column_at(row, (size_t)column, out);
}

int sp_row_field(const struct sp_row *row, const char *path, struct sp_value *out)
{
    struct sp_value document;
    if (row->schema == NULL)
        return SP_EINVAL;
    const int column = row->schema->parsed->document;
    if (column < 0)
        return SP_ENOCOLUMN;
    int status = sp_row_column_at(row, (size_t)column, &document);
    if (status == SP_OK && document.is_null)
        return SP_ENOTFOUND;
    return status == SP_OK ? sp_bson_field(&document, path, strlen(path), out) : status;
}

void sp_row_bytes(const struct sp_row *row, const void **key, size_t *key_bytes, const void **value,
                  size_t *value_bytes)
{
    bool any = row->schema != NULL;
    *key = any ? row->data.bytes : NULL;
    *key_bytes = any ? row->key_bytes : 0;
    *value = any ? row->data.bytes + row->key_bytes : NULL;
    *value_bytes = any ? row->value_bytes : 0;
}

size_t sp_row_json(const struct sp_row *row, char *out, size_t cap)
{
    if (row->schema == NULL) {
        if (cap > 0)
            out[0] = '\0';
        return 0;
    }
    return row_json(row->schema->parsed, row->data.bytes, row->key_bytes,
                    row->data.bytes + row->key_bytes, row->value_bytes, out, cap);
}

size_t sp_value_json(const struct sp_value *value, char *out, size_t cap)
{
    return row_value_json(value, out, cap);
}

size_t sp_value_text(const struct sp_value *value, char *out, size_t cap)
{
    return row_value_text(value, out, cap);
}
