/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_copy.c - PostgreSQL's binary COPY format, message by message.
 *
 *   "PGCOPY\n\377\r\n\0" | flags u32 | extension size u32, extension       (once, before the rows)
 *   field count u16 | for each field: size u32 (0xffffffff: NULL), bytes   (each row)
 *   0xffff                                                                 (after the last row)
 *
 * The server sends each row as one message. Values point into it. Nothing is read beyond it,
 * whatever it holds (tests/fuzz/fuzz_pg_copy.c). Costs: some 10 ns a field.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/postgresql.h"

#define FIELD_NULL UINT32_MAX
#define COPY_END   UINT16_MAX

static const char signature[11] = "PGCOPY\n\377\r\n";

int pg_copy_open(struct pg_copy *copy, const struct source_description *description,
                 const Oid *types, const struct source_sink *sink)
{
    const unsigned count = description->column_count ? description->column_count : 1;
    *copy = (struct pg_copy){.description = description, .types = types, .sink = sink};
    copy->values = calloc(count, sizeof(*copy->values));
    copy->scratch = calloc(count, sizeof(*copy->scratch));
    return copy->values && copy->scratch ? SP_OK : SP_ENOMEM;
}

void pg_copy_close(struct pg_copy *copy)
{
    for (unsigned i = 0; copy->scratch && i < copy->description->column_count; i++)
        free(copy->scratch[i].text);
    free(copy->scratch);
    free(copy->values);
}

/* --- bytes ---------------------------------------------------------------------------------- */

struct bytes {
    const unsigned char *at;
    size_t left;
};

static bool take_u16(struct bytes *from, uint16_t *out)
{
    if (from->left < sizeof(*out))
        return false;
    memcpy(out, from->at, sizeof(*out));
    *out = be16toh(*out);
    from->at += sizeof(*out);
    from->left -= sizeof(*out);
    return true;
}

static bool take_u32(struct bytes *from, uint32_t *out)
{
    if (from->left < sizeof(*out))
        return false;
    memcpy(out, from->at, sizeof(*out));
    *out = be32toh(*out);
    from->at += sizeof(*out);
    from->left -= sizeof(*out);
    return true;
}

static bool skip(struct bytes *from, size_t count)
{
    if (from->left < count)
        return false;
    from->at += count;
    from->left -= count;
    return true;
}

static bool take_header(struct bytes *from)
{
    uint32_t flags, extension;
    if (from->left < sizeof(signature) || memcmp(from->at, signature, sizeof(signature)) != 0)
        return false;
    return skip(from, sizeof(signature)) && take_u32(from, &flags) && take_u32(from, &extension) &&
           skip(from, extension);
}

/* --- rows ----------------------------------------------------------------------------------- */

static const char *read_field(const struct pg_copy *copy, unsigned i, uint32_t size,
                              const unsigned char *data)
{
    const struct source_column *column = &copy->description->columns[i];
    const char *why = NULL;
    if (size == FIELD_NULL && !column->nullable)
        why = "NULL in a column that is declared not to have it";
    else if (size != FIELD_NULL)
        why = pg_value(copy->types[i], data, size, &copy->scratch[i], &copy->values[i]);
    if (size == FIELD_NULL || why)
        copy->values[i] = sp_null(column->type);
    return why;
}

/* Decodes the fields of a row. `*bad` gets the first that cannot be read, or -1. */
static bool read_row(const struct pg_copy *copy, struct bytes *from, int *bad, const char **why)
{
    *bad = -1;
    for (unsigned i = 0; i < copy->description->column_count; i++) {
        uint32_t size;
        if (!take_u32(from, &size))
            return false;
        const unsigned char *data = from->at;
        if (size != FIELD_NULL && !skip(from, size))
            return false;
        const char *wrong = read_field(copy, i, size, data);
        if (wrong && *bad < 0) {
            *bad = (int)i;
            *why = wrong;
        }
    }
    return true;
}

static int give_row(const struct pg_copy *copy, int bad, const char *why)
{
    const struct source_sink *sink = copy->sink;
    const unsigned count = copy->description->column_count;
    return bad < 0 ? sink->row(sink->context, copy->values, count)
                   : sink->bad_row(sink->context, copy->values, count, (unsigned)bad, why);
}

bool pg_copy_message(struct pg_copy *copy, const void *data, size_t bytes, int *status)
{
    struct bytes from = {data, bytes};
    *status = SP_OK;
    if (!copy->header_seen && !take_header(&from))
        return false;
    copy->header_seen = true;
    while (from.left > 0 && *status == SP_OK) {
        uint16_t field_count;
        const char *why = NULL;
        int bad;
        if (!take_u16(&from, &field_count))
            return false;
        if (field_count == COPY_END)
            return from.left == 0;
        if (field_count != copy->description->column_count || !read_row(copy, &from, &bad, &why))
            return false;
        *status = give_row(copy, bad, why);
    }
    return true;
}
