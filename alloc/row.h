/* SPDX-License-Identifier: Apache-2.0
 *
 * row.h - how a table's columns are described in the pond, and how a row and a key are laid out.
 *
 * A table version has one schema, a flat block in the pond (format below). A row is two byte
 * strings: its key (the encoded key columns) and its value (all other columns). Reading one column
 * touches only that column. Everything is little-endian and unaligned: read with memcpy.
 *
 *   key, one column    BOOL 1 byte; INT32, DATE, FLOAT32 4; INT64, FLOAT64, TIMESTAMP, DATETIME 8;
 *                      UUID 16; variable types: their bytes as they are
 *   key, many columns  the same one after the other, but each variable column is preceded by its
 *                      size as u32
 *                      (FLOAT -0.0 is stored as 0.0, every NaN as one NaN, BSON_VALUE in the
 *                      canonical form of bson_key.c; key columns are not NULL)
 *
 *   value   +-------------+---------------+------------------------+-------------------------+
 *           | null bitmap | fixed columns | end of each variable   | the variable columns'   |
 *           |             | in order      | column but the last    | bytes                   |
 *           +-------------+---------------+------------------------+-------------------------+
 *             1 bit for each nullable        u16 each where the value is at most 65,535 bytes
 *             non-key column, low bit        in all, else u32; counted from the first byte of
 *             first; none: 0 bytes           the variable columns' bytes; ends never decrease
 *
 *   A NULL fixed column occupies its width (zeros), a NULL variable column no bytes.
 *   A table without non-key columns has values of 0 bytes.
 *   Equal rows have equal bytes: there is one encoding of a row.
 *
 * Readers work on a struct schema (private memory) made by schema_parse, which checks every
 * offset and count once; row access after that checks only what a row itself says. What a row says
 * (a size, an end, a null bit) is loaded once and pinned in a register, so bytes that change while
 * they are read can give a wrong value but never a read out of bounds.
 *
 * Threads: a schema does not change after it is made; any number of threads may use it.
 */
#ifndef SIDEPOND_ROW_H
#define SIDEPOND_ROW_H

#include <string.h>

#include "sidepond/status.h"
#include "sidepond/value.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the pond's format is little-endian");

#define ROW_COLUMNS_MAX     1024u  /* columns of a table */
#define ROW_KEY_COLUMNS_MAX 16u    /* columns of a key or of a secondary index */
#define ROW_INDEXES_MAX     15u    /* secondary indexes of a table */
#define ROW_NAME_BYTES_MAX  255u   /* bytes of a column's or an index's name, without the zero */
#define ROW_KEY_BYTES_MAX   65535u /* bytes of an encoded key */
#define ROW_VALUE_BYTES_MAX ((1u << 28) - 1)

/* The schema block, in the pond; written once by the daemon, before the block can be reached:
 *
 *   +-------------+---------------+-----+--------------+-----+--------------------------------+
 *   | schema_head | schema_column | ... | schema_index | ... | names, each zero-terminated:   |
 *   |             | column_count times  | index_count times  | of the columns, of the indexes |
 *   +-------------+---------------+-----+--------------+-----+--------------------------------+
 *     16 bytes      4 bytes each          36 bytes each        without gaps, to the block's end
 */
struct schema_head {
    uint64_t checksum;     /* XXH3, 64 bits, seed 0, of the block from byte 8 to its end */
    uint32_t block_bytes;  /* of the whole block */
    uint16_t column_count; /* 1 to ROW_COLUMNS_MAX */
    uint8_t key_count;     /* 1 to ROW_KEY_COLUMNS_MAX */
    uint8_t index_count;   /* 0 to ROW_INDEXES_MAX */
};
_Static_assert(sizeof(struct schema_head) == 16, "format");
_Static_assert(offsetof(struct schema_head, block_bytes) == 8, "format");
_Static_assert(offsetof(struct schema_head, column_count) == 12, "format");
_Static_assert(offsetof(struct schema_head, key_count) == 14, "format");
_Static_assert(offsetof(struct schema_head, index_count) == 15, "format");

struct schema_column {
    uint8_t type;         /* enum sp_type */
    uint8_t flags;        /* SCHEMA_COLUMN_NULLABLE; never set for a key column */
    uint8_t key_position; /* in the primary key; SCHEMA_NO_KEY for other columns */
    uint8_t name_bytes;   /* 1 to ROW_NAME_BYTES_MAX, without the zero */
};
_Static_assert(sizeof(struct schema_column) == 4, "format");
_Static_assert(offsetof(struct schema_column, name_bytes) == 3, "format");

struct schema_index {
    uint8_t name_bytes;                    /* 1 to ROW_NAME_BYTES_MAX, without the zero */
    uint8_t flags;                         /* SCHEMA_INDEX_UNIQUE */
    uint8_t column_count;                  /* 1 to ROW_KEY_COLUMNS_MAX */
    uint8_t zero;                          /* 0 */
    uint16_t columns[ROW_KEY_COLUMNS_MAX]; /* positions of columns; the unused ones are 0 */
};
_Static_assert(sizeof(struct schema_index) == 36, "format");
_Static_assert(offsetof(struct schema_index, columns) == 4, "format");

enum {
    SCHEMA_COLUMN_NULLABLE = 1 << 0,
    SCHEMA_INDEX_UNIQUE = 1 << 0,
    SCHEMA_NO_KEY = 0xff,
};

/* What a schema says of a column. `key_position` is -1 for a column outside the primary key. The
 * last fields, and `width`, say where it lies; schema_build and schema_parse fill them. */
struct row_column {
    const char *name;
    enum sp_type type;
    bool nullable;
    uint8_t width; /* bytes of a fixed column; 0: variable */
    int key_position;
    int null_bit;       /* bit in the null bitmap, -1 if not nullable or part of the key */
    uint32_t fixed_off; /* fixed non-key column: byte offset from the start of the value */
    int var_index;      /* variable non-key column: its number among those, else -1 */
};

struct row_index {
    const char *name;
    bool unique;
    unsigned column_count;
    uint16_t columns[ROW_KEY_COLUMNS_MAX]; /* positions in the schema's columns */
};

struct schema {
    unsigned column_count;
    unsigned key_count;
    unsigned index_count;
    unsigned var_count;                        /* variable non-key columns */
    int document;                              /* the last column of type BSON, or -1 */
    uint32_t fixed_bytes;                      /* null bitmap and fixed columns */
    uint16_t key_columns[ROW_KEY_COLUMNS_MAX]; /* column positions in key order */
    struct row_column *columns;                /* owned, with the names, by the schema */
    struct row_index *indexes;
};

/* Makes a schema of descriptions (names, types, nullable, key_position; indexes). Copies
 * everything. Checks limits, duplicate names and that the key is complete; on SP_EINVAL `why`
 * (may be NULL) holds a sentence. A key column is never nullable: the flag is dropped. SP_ENOMEM.
 */
int schema_build(const struct row_column *columns, unsigned column_count,
                 const struct row_index *indexes, unsigned index_count, struct schema **out,
                 char *why, size_t why_bytes);

/* Bytes that schema_encode writes, and the writing of the flat block. Equal schemas give equal
 * bytes, so two can be compared by memcmp. */
size_t schema_encoded_bytes(const struct schema *schema);
void schema_encode(const struct schema *schema, void *out);

/* Reads a flat block that may be hostile: SP_ECORRUPT, never a read outside of it. block_bytes is
 * the block's size exactly. The block is copied first and not needed afterwards. What is accepted
 * encodes to the same bytes again. SP_ENOMEM. */
int schema_parse(const void *block, size_t block_bytes, struct schema **out);
void schema_free(struct schema *schema); /* NULL is allowed */

/* The position of a column or index by name, or -1. */
int schema_column(const struct schema *schema, const char *name);
int schema_index(const struct schema *schema, const char *name);

/* --- keys ---------------------------------------------------------------------------------- */

/* Encodes `count` values as a key of the given columns of the schema (the primary key's:
 * schema->key_columns, key_count; or a secondary index's). Accepts the column's own type, and what
 * converts to it without loss:
 *
 *   BOOL, INT32, INT64         each other if in range; TEXT of a decimal integer (BOOL: also words)
 *   FLOAT32, FLOAT64           each other and integers if exact; TEXT of a decimal number, which is
 *                              the float nearest to it: also the shortest text that names a float
 *   NUMERIC, JSON, BYTES       TEXT
 *   UUID                       BYTES of 16; TEXT of 36 characters
 *   TIMESTAMP, DATETIME, DATE  TEXT in ISO 8601, as row_value_parse reads it
 *   BSON_VALUE                 everything but DATE, as the BSON type that says the same: TEXT is a
 *                              string, whatever is in it; BYTES binary of subtype 0, UUID of 4;
 *                              times are dates, if they are whole milliseconds; JSON is read as
 *                              extended JSON. Equal values have equal keys (bson_key.c)
 *
 * NUMERIC counts as TEXT but for a BSON_VALUE.
 *
 * `*size` returns the size. SP_ETYPE (also: out of range, inexact), SP_ENULL, SP_EINVAL (count),
 * SP_ERANGE (does not fit into cap; `*size` tells what is needed), SP_ETOOBIG (more than
 * ROW_KEY_BYTES_MAX). A single TEXT, BYTES or INT64 costs no more than its copy. */
static inline int row_key_encode(const struct schema *schema, const uint16_t *columns,
                                 unsigned column_count, const struct sp_value *values,
                                 unsigned count, void *out, size_t cap, size_t *size);

/* The values of an encoded key; they point into `key`. SP_ECORRUPT if it is not one. */
int row_key_decode(const struct schema *schema, const uint16_t *columns, unsigned column_count,
                   const void *key, size_t key_bytes, struct sp_value *out);

/* --- rows ---------------------------------------------------------------------------------- */

/* Encodes the non-key columns of `values` (one value for each column of the schema, exactly of the
 * column's type; key columns are ignored) into out. `*size` gets the size also when the answer is
 * SP_ERANGE (cap too small). SP_ENULL: NULL in a column that is not nullable; SP_ETYPE: of another
 * type, or outside of it (an INT32 or DATE beyond 32 bits, a BOOL not 0 or 1, a UUID not of 16
 * bytes, a BSON or BSON_VALUE whose own lengths do not fit); SP_ETOOBIG. `bad` (may be NULL) gets
 * the position of the offending column; of SP_ETOOBIG, the one that goes beyond
 * ROW_VALUE_BYTES_MAX. */
int row_encode(const struct schema *schema, const struct sp_value *values, void *out, size_t cap,
               size_t *size, unsigned *bad);

/* One column of a row. Points into key or value. SP_ECORRUPT if the row's bytes do not fit the
 * schema; never reads outside [key, key+key_bytes) and [value, value+value_bytes), even when both
 * change while it reads. A NULL is SP_OK with is_null set. SP_ENOCOLUMN: no such position. */
static inline int row_column_get(const struct schema *schema, unsigned column, const void *key,
                                 size_t key_bytes, const void *value, size_t value_bytes,
                                 struct sp_value *out);

/* Checks a whole row: offsets in order, nothing left over, booleans 0 or 1, NULLs empty. What
 * passes is what row_encode writes, byte for byte (but for a signalling NaN in a FLOAT32, which no
 * double carries). */
int row_validate(const struct schema *schema, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes);

/* --- text ---------------------------------------------------------------------------------- */

/* A value as text for people (ISO 8601, UUID with hyphens, bytes as \x..), without quotes; NULL
 * gives nothing. Like snprintf: returns the size needed, writes at most cap with a zero.
 *
 * Times: "2026-11-20T11:29:00Z" (TIMESTAMP), "2026-11-20T11:29:00.250000" (DATETIME), "2026-11-20";
 * a fraction has six digits or is left out; the calendar is Gregorian at all times; a year outside
 * 0000 to 9999 has a sign, and year 0 is 1 BC ("-0043-03-15", "+12026-01-01"); "infinity",
 * "-infinity". Floats: the shortest digits that read back as the same float, always with a point or
 * an exponent ("1.0", "1e+300"), "NaN", "Infinity", "-Infinity". A BSON is relaxed extended JSON, a
 * BSON_VALUE what row_key_parse reads as the same value: an ObjectId's digits, a string as it is or
 * in quotes, else JSON. */
size_t row_value_text(const struct sp_value *value, char *out, size_t cap);

/* Text to a value of the type; variable types borrow from text, UUID goes into `scratch` (16
 * bytes). SP_ETYPE if it is not one.
 *
 * BOOL: true, false, t, f, 1, 0 in any case. Integers: decimal, with or without a sign. Floats: as
 * in C but decimal only, at most 1,023 characters. NUMERIC: the same, NaN, Infinity. TEXT: UTF-8.
 * BYTES: as they are. JSON: any JSON text that row_json_valid takes. UUID: 36 characters. Times:
 * what row_value_text writes; a space for the T; seconds may be missing, a time too (midnight);
 * TIMESTAMP: a zone Z, +02, +0200 or +02:00, none is UTC; DATETIME and DATE: no zone. Digits beyond
 * the microsecond must be zeros. No space around any of them. */
int row_value_parse(enum sp_type type, const char *text, size_t text_bytes, void *scratch,
                    struct sp_value *out);

/* The days from 1970-01-01 to a date of the Gregorian calendar, of a year that far from the ends of
 * int64 that a day has room; year 0 is 1 BC. False: there is no such day. */
bool row_days_since_1970(int64_t year, unsigned month, unsigned day, int64_t *out);

/* A key's column of a type as people write it, to be given to row_key_encode. It borrows from text,
 * and from `scratch` (16 bytes). Any type but BSON_VALUE is just TEXT. Of a BSON_VALUE, the first
 * of these that a text is counts, so every value can be written, and none in two meanings:
 *
 *   24 hexadecimal digits          an ObjectId
 *   what begins with { [ or "      extended JSON; SP_ETYPE if it is not JSON
 *   a JSON number, true, false,    the same
 *   null; no space around it
 *   anything else                  a string, as it is
 */
int row_key_parse(enum sp_type type, const char *text, size_t text_bytes, void *scratch,
                  struct sp_value *out);

/* JSON: an object {"column": value, ...} in column order, or one value. What comes out is always
 * valid JSON in UTF-8. Integers beyond 2^53 stay integers; NUMERIC is a JSON number where it is
 * finite, else a string; BYTES are base64 text; times and UUIDs are strings as in row_value_text;
 * JSON columns are put in as they are where row_json_valid takes them, else as a string; BSON is
 * relaxed extended JSON, and null if it is damaged; NaN and
 * infinities of floats are null; broken UTF-8 is replaced by U+FFFD; so is a column that cannot be
 * read (SP_ECORRUPT) by null. Like snprintf in what they return. */
size_t row_value_json(const struct sp_value *value, char *out, size_t cap);
size_t row_json(const struct schema *schema, const void *key, size_t key_bytes, const void *value,
                size_t value_bytes, char *out, size_t cap);

/* Whether bytes are UTF-8 (no surrogates, no overlong forms), and whether they are one JSON text
 * (RFC 8259, UTF-8, at most ROW_JSON_DEPTH_MAX levels deep). For who checks data before it is
 * encoded; ASCII text is looked at eight bytes at a time. */
#define ROW_JSON_DEPTH_MAX 512u
bool row_utf8_valid(const void *text, size_t text_bytes);
bool row_json_valid(const void *text, size_t text_bytes);

/* --- the fast paths, to be inlined --------------------------------------------------------- */

/* What the inline functions below leave to row_key.c. */
int row_key_encode_any(const struct schema *schema, const uint16_t *columns, unsigned column_count,
                       const struct sp_value *values, unsigned count, void *out, size_t cap,
                       size_t *size);
int row_key_column_get(const struct schema *schema, unsigned column, const void *key,
                       size_t key_bytes, struct sp_value *out);

/* A number that was loaded from the pond. The empty instruction makes the compiler forget where it
 * came from: it cannot load it a second time, after the check. */
static inline uint32_t row_pin(uint32_t loaded)
{
    __asm__("" : "+r"(loaded));
    return loaded;
}

/* The i-th end of a value's variable columns: u32 each if `wide`, else u16. */
static inline uint32_t row_end_load(const unsigned char *ends, unsigned i, bool wide)
{
    if (wide) {
        uint32_t end;
        memcpy(&end, ends + (size_t)i * sizeof(end), sizeof(end));
        return row_pin(end);
    }
    uint16_t end;
    memcpy(&end, ends + (size_t)i * sizeof(end), sizeof(end));
    return row_pin(end);
}

/* A fixed column of this type at `at`. */
static inline int row_fixed_load(enum sp_type type, const unsigned char *at, struct sp_value *out)
{
    int32_t i32;
    float f32;
    out->type = type;
    out->is_null = false;
    switch (type) {
    case SP_TYPE_INT64:
    case SP_TYPE_TIMESTAMP:
    case SP_TYPE_DATETIME:
        memcpy(&out->i, at, sizeof(out->i));
        return SP_OK;
    case SP_TYPE_INT32:
    case SP_TYPE_DATE:
        memcpy(&i32, at, sizeof(i32));
        out->i = i32;
        return SP_OK;
    case SP_TYPE_FLOAT64:
        memcpy(&out->f, at, sizeof(out->f));
        return SP_OK;
    case SP_TYPE_FLOAT32:
        memcpy(&f32, at, sizeof(f32));
        out->f = f32;
        return SP_OK;
    case SP_TYPE_BOOL:
        out->i = row_pin(*at);
        return out->i <= 1 ? SP_OK : SP_ECORRUPT;
    case SP_TYPE_UUID:
        out->bytes.data = at;
        out->bytes.size = 16;
        return SP_OK;
    default:
        return SP_ECORRUPT;
    }
}

/* A variable column that is not NULL; the value has at least fixed_bytes. */
static inline int row_variable_get(const struct schema *schema, unsigned var_index,
                                   const unsigned char *value, size_t value_bytes,
                                   struct sp_value *out)
{
    const unsigned last = schema->var_count - 1;
    const bool wide = value_bytes > UINT16_MAX;
    const size_t data_off = schema->fixed_bytes + (size_t)last * (wide ? 4 : 2);
    if (value_bytes < data_off)
        return SP_ECORRUPT;
    size_t start = 0;
    size_t end = value_bytes - data_off;
    if (var_index > 0)
        start = row_end_load(value + schema->fixed_bytes, var_index - 1, wide);
    if (var_index < last) {
        size_t told = row_end_load(value + schema->fixed_bytes, var_index, wide);
        if (told > end)
            return SP_ECORRUPT;
        end = told;
    }
    if (start > end)
        return SP_ECORRUPT;
    out->bytes.data = end > start ? value + data_off + start : value;
    out->bytes.size = end - start;
    return SP_OK;
}

/* The column of a key that has no other. */
static inline int row_single_key_get(const struct row_column *column, const void *key,
                                     size_t key_bytes, struct sp_value *out)
{
    if (column->width == 0) {
        *out = sp_bytes(column->type, key, key_bytes);
        return SP_OK;
    }
    return key_bytes == column->width ? row_fixed_load(column->type, key, out) : SP_ECORRUPT;
}

static inline int row_column_get(const struct schema *schema, unsigned column, const void *key,
                                 size_t key_bytes, const void *value, size_t value_bytes,
                                 struct sp_value *out)
{
    if (column >= schema->column_count)
        return SP_ENOCOLUMN;
    const struct row_column *c = &schema->columns[column];
    const unsigned char *bytes = value;
    if (c->key_position >= 0 && schema->key_count == 1)
        return row_single_key_get(c, key, key_bytes, out);
    if (c->key_position >= 0)
        return row_key_column_get(schema, column, key, key_bytes, out);
    if (value_bytes < schema->fixed_bytes)
        return SP_ECORRUPT;
    if (c->null_bit >= 0 && bytes[c->null_bit >> 3] >> (c->null_bit & 7) & 1) {
        *out = sp_null(c->type);
        return SP_OK;
    }
    if (c->var_index < 0)
        return row_fixed_load(c->type, bytes + c->fixed_off, out);
    out->type = c->type;
    out->is_null = false;
    out->bson_type = 0;
    return row_variable_get(schema, (unsigned)c->var_index, bytes, value_bytes, out);
}

static inline int row_key_encode(const struct schema *schema, const uint16_t *columns,
                                 unsigned column_count, const struct sp_value *values,
                                 unsigned count, void *out, size_t cap, size_t *size)
{
    if (column_count == 1 && count == 1 && !values->is_null &&
        values->type == schema->columns[columns[0]].type) {
        const size_t bytes = values->bytes.size;
        if (values->type == SP_TYPE_INT64 && cap >= sizeof(values->i)) {
            memcpy(out, &values->i, sizeof(values->i));
            *size = sizeof(values->i);
            return SP_OK;
        }
        if ((values->type == SP_TYPE_TEXT || values->type == SP_TYPE_BYTES) && bytes > 0 &&
            bytes <= cap && bytes <= ROW_KEY_BYTES_MAX) {
            memcpy(out, values->bytes.data, bytes);
            *size = bytes;
            return SP_OK;
        }
    }
    return row_key_encode_any(schema, columns, column_count, values, count, out, cap, size);
}

#endif
