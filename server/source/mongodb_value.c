/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_value.c - a document as a row: some of its fields, and last the document itself.
 *
 * A field arrives as a BSON value: the byte of its type and its bytes as they are in the document.
 * There the name stands between the two, so they are copied together; the document is borrowed. A
 * dotted path leads into embedded documents, and by a number into an array. What is not there is
 * NULL; a null is a value.
 *
 * Costs: a walk over the document to check it, one for each field up to where that is, and the
 * copy of the fields.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc/bson.h"
#include "alloc/row.h"
#include "server/source/mongodb.h"

#define SCRATCH_LEAST 32

/* --- documents ------------------------------------------------------------------------------ */

static bool is_whole(const uint8_t *document, size_t size, unsigned depth);

static bool is_valid_element(const struct bson_element *element, unsigned depth)
{
    if (!row_utf8_valid((const char *)element->name, element->name_bytes) ||
        bson_check(element->type, element->data, element->size) != SP_OK)
        return false;
    const bool is_nested = element->type == SP_BSON_DOCUMENT || element->type == SP_BSON_ARRAY;
    return !is_nested || is_whole(element->data, element->size, depth + 1);
}

static bool is_whole(const uint8_t *document, size_t size, unsigned depth)
{
    struct bson_cursor cursor;
    struct bson_element element;
    int status = depth < BSON_DEPTH_MAX ? bson_open(document, size, &cursor) : SP_ETOOBIG;
    while (status == SP_OK && (status = bson_next(&cursor, &element)) == SP_OK)
        if (!is_valid_element(&element, depth))
            return false;
    return status == SP_ENOTFOUND;
}

bool mongo_is_valid(const bson_t *document)
{
    return is_whole(bson_get_data(document), document->len, 0);
}

/* --- rows ----------------------------------------------------------------------------------- */

int mongo_row_open(struct mongo_row *row, const struct source_table *table,
                   const struct source_description *description)
{
    row->description = description;
    row->key_count = mongo_count_names(table->key);
    row->values = calloc(description->column_count, sizeof(*row->values));
    row->scratch = calloc(description->column_count, sizeof(*row->scratch));
    return row->values && row->scratch ? SP_OK : SP_ENOMEM;
}

void mongo_row_close(struct mongo_row *row)
{
    for (unsigned i = 0; row->scratch && i < row->description->column_count; i++)
        free(row->scratch[i].bytes);
    free(row->scratch);
    free(row->values);
    *row = (struct mongo_row){0};
}

/* Room for so many bytes; what was there is lost. */
static bool reserve(struct mongo_scratch *scratch, size_t bytes)
{
    if (bytes <= scratch->cap)
        return true;
    const size_t cap = bytes < SCRATCH_LEAST ? SCRATCH_LEAST : bytes + bytes / 2;
    free(scratch->bytes);
    scratch->bytes = malloc(cap);
    scratch->cap = scratch->bytes ? cap : 0;
    return scratch->bytes != NULL;
}

/* --- fields --------------------------------------------------------------------------------- */

static bool find(const bson_t *document, const char *path, bson_iter_t *at)
{
    bson_iter_t start;
    if (!strchr(path, '.'))
        return bson_iter_init_find(at, document, path);
    return bson_iter_init(&start, document) && bson_iter_find_descendant(&start, path, at);
}

static int copy_value(const bson_iter_t *at, struct mongo_scratch *scratch, struct sp_value *out)
{
    const char *key = bson_iter_key(at);
    const uint8_t *data = (const uint8_t *)key + bson_iter_key_len(at) + 1;
    const size_t bytes = (size_t)(at->raw + at->next_off - data);
    if (!reserve(scratch, bytes + 1))
        return SP_ENOMEM;
    scratch->bytes[0] = (unsigned char)bson_iter_type(at);
    memcpy(scratch->bytes + 1, data, bytes);
    *out = sp_bytes(SP_TYPE_BSON_VALUE, scratch->bytes, bytes + 1);
    return SP_OK;
}

/* Why a value cannot be a key, or NULL. */
static const char *unfit(bson_type_t type)
{
    switch (type) {
    case BSON_TYPE_ARRAY:
        return "is an array, which cannot be a key";
    case BSON_TYPE_UNDEFINED:
        return "is undefined, which cannot be a key";
    default:
        return NULL;
    }
}

static int fill_field(struct mongo_row *row, const bson_t *document, unsigned i, const char **why)
{
    bson_iter_t at;
    row->values[i] = sp_null(SP_TYPE_BSON_VALUE);
    if (!find(document, row->description->columns[i].name, &at)) {
        *why = i < row->key_count ? "is missing" : NULL;
        return SP_OK;
    }
    *why = i < row->key_count ? unfit(bson_iter_type(&at)) : NULL;
    return *why ? SP_OK : copy_value(&at, &row->scratch[i], &row->values[i]);
}

int mongo_row_fill(struct mongo_row *row, const bson_t *document, unsigned *column,
                   const char **why)
{
    const unsigned last = row->description->column_count - 1;
    *why = NULL;
    for (unsigned i = 0; i < last; i++) {
        const char *here = NULL;
        const int status = fill_field(row, document, i, &here);
        if (status != SP_OK)
            return status;
        if (here && !*why) {
            *why = here;
            *column = i;
        }
    }
    row->values[last] = sp_bytes(SP_TYPE_BSON, bson_get_data(document), document->len);
    if (!*why && !mongo_is_valid(document)) {
        row->values[last] = sp_null(SP_TYPE_BSON);
        *why = "is not valid BSON, or has more than 200 levels";
        *column = last;
    }
    return SP_OK;
}

/* --- the other way ---------------------------------------------------------------------------- */

/* A document of one element whose name is empty, {"": value}, is the shortest that holds it. */
bool mongo_append(bson_t *to, const char *key, const struct sp_value *value)
{
    const unsigned char *from = value->bytes.data;
    bool done = false;
    bson_t one;
    bson_iter_t at;
    if (value->is_null || value->bytes.size == 0)
        return false;
    const size_t bytes = 4 + 1 + 1 + (value->bytes.size - 1) + 1;
    unsigned char *raw = malloc(bytes);
    if (!raw)
        return false;
    const uint32_t length = BSON_UINT32_TO_LE((uint32_t)bytes);
    memcpy(raw, &length, sizeof(length));
    raw[4] = from[0];
    raw[5] = 0;
    memcpy(raw + 6, from + 1, value->bytes.size - 1);
    raw[bytes - 1] = 0;
    if (bson_init_static(&one, raw, bytes) && bson_iter_init(&at, &one) && bson_iter_next(&at))
        done = bson_append_iter(to, key, -1, &at);
    free(raw);
    return done;
}
