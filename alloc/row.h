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
 *                      (FLOAT -0.0 is stored as 0.0, every NaN as one NaN; key columns are not NULL)
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
 *
 * The schema block, in the pond:
 *
 *   struct schema_head | struct schema_column[column_count] | struct schema_index[index_count]
 *                      | names, each zero-terminated
 *
 * Readers work on a struct schema (private memory) made by schema_parse, which checks every
 * offset and count once; row access after that checks only what a row itself says.
 */
#ifndef SIDEPOND_ROW_H
#define SIDEPOND_ROW_H

#include "sidepond/status.h"
#include "sidepond/value.h"

#define ROW_COLUMNS_MAX 1024u     /* columns of a table */
#define ROW_KEY_COLUMNS_MAX 16u   /* columns of a key or of a secondary index */
#define ROW_INDEXES_MAX 15u       /* secondary indexes of a table */
#define ROW_NAME_BYTES_MAX 255u   /* bytes of a column's or an index's name, without the zero */
#define ROW_KEY_BYTES_MAX 65535u  /* bytes of an encoded key */
#define ROW_VALUE_BYTES_MAX ((1u << 28) - 1)

/* What a schema says of a column. `key_position` is -1 for a column outside the primary key. */
struct row_column {
    const char *name;
    enum sp_type type;
    bool nullable;
    int key_position;
    /* where it lies, filled by schema_build and schema_parse */
    int null_bit;        /* bit in the null bitmap, -1 if not nullable or part of the key */
    uint32_t fixed_off;  /* fixed non-key column: byte offset from the start of the value */
    int var_index;       /* variable non-key column: its number among those, else -1 */
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
    unsigned var_count;                     /* variable non-key columns */
    uint32_t fixed_bytes;                   /* null bitmap and fixed columns */
    uint16_t key_columns[ROW_KEY_COLUMNS_MAX]; /* column positions in key order */
    struct row_column *columns;             /* owned, with the names, by the schema */
    struct row_index *indexes;
};

/* Makes a schema of descriptions (names, types, nullable, key_position; indexes). Copies
 * everything. Checks limits, duplicate names and that the key is complete; on SP_EINVAL `why`
 * (may be NULL) holds a sentence. */
int schema_build(const struct row_column *columns, unsigned column_count,
                 const struct row_index *indexes, unsigned index_count, struct schema **out,
                 char *why, size_t why_bytes);

/* Bytes that schema_encode writes, and the writing of the flat block. Equal schemas give equal
 * bytes, so two can be compared by memcmp. */
size_t schema_encoded_bytes(const struct schema *schema);
void schema_encode(const struct schema *schema, void *out);

/* Reads a flat block that may be hostile: SP_ECORRUPT, never a read outside of it. The block is
 * copied and not needed afterwards. */
int schema_parse(const void *block, size_t block_bytes, struct schema **out);
void schema_free(struct schema *schema);

/* The position of a column or index by name, or -1. */
int schema_column(const struct schema *schema, const char *name);
int schema_index(const struct schema *schema, const char *name);

/* --- keys ---------------------------------------------------------------------------------- */

/* Encodes `count` values as a key of the given columns of the schema (the primary key's:
 * schema->key_columns, key_count; or a secondary index's). Accepts what converts without loss:
 * INT32/INT64/BOOL among each other if the value is in range, TEXT for NUMERIC/JSON/UUID (36
 * characters) and for BYTES, BYTES of 16 for UUID, ints for floats when exact, TEXT for
 * TIMESTAMP/DATETIME/DATE in ISO 8601, TEXT of decimal digits for integers. `*size` returns the
 * size. SP_ETYPE, SP_ENULL, SP_EINVAL (count), SP_ERANGE (does not fit into cap), SP_ETOOBIG. */
int row_key_encode(const struct schema *schema, const uint16_t *columns, unsigned column_count,
                   const struct sp_value *values, unsigned count, void *out, size_t cap,
                   size_t *size);

/* The values of an encoded key; they point into `key`. SP_ECORRUPT if it is not one. */
int row_key_decode(const struct schema *schema, const uint16_t *columns, unsigned column_count,
                   const void *key, size_t key_bytes, struct sp_value *out);

/* --- rows ---------------------------------------------------------------------------------- */

/* Encodes the non-key columns of `values` (one value for each column of the schema, exactly of the
 * column's type; key columns are ignored) into out. `*size` gets the size also when the answer is
 * SP_ERANGE (cap too small). SP_ENULL: NULL in a column that is not nullable; SP_ETOOBIG. `bad`
 * (may be NULL) gets the position of the offending column. */
int row_encode(const struct schema *schema, const struct sp_value *values, void *out, size_t cap,
               size_t *size, unsigned *bad);

/* One column of a row. Points into key or value. SP_ECORRUPT if the row's bytes do not fit the
 * schema; never reads outside [key, key+key_bytes) and [value, value+value_bytes), even when both
 * change while it reads. A NULL is SP_OK with is_null set. */
int row_column_get(const struct schema *schema, unsigned column, const void *key, size_t key_bytes,
                   const void *value, size_t value_bytes, struct sp_value *out);

/* Checks a whole row: offsets in order, nothing left over, booleans 0 or 1. */
int row_validate(const struct schema *schema, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes);

/* --- text ---------------------------------------------------------------------------------- */

/* A value as text for people (ISO 8601, UUID with hyphens, bytes as \x..), without quotes; NULL
 * gives nothing. Like snprintf: returns the size needed, writes at most cap with a zero. */
size_t row_value_text(const struct sp_value *value, char *out, size_t cap);

/* Text to a value of the type; variable types borrow from text, UUID goes into `scratch` (16
 * bytes). SP_ETYPE if it is not one. */
int row_value_parse(enum sp_type type, const char *text, size_t text_bytes, void *scratch,
                    struct sp_value *out);

/* JSON: an object {"column": value, ...} in column order, or one value. Integers beyond 2^53 stay
 * integers; NUMERIC is a JSON number where it is finite, else a string; BYTES are base64 text;
 * JSON columns are put in as they are; NaN and infinities are null; broken UTF-8 is replaced by
 * U+FFFD. Like snprintf in what they return. */
size_t row_value_json(const struct sp_value *value, char *out, size_t cap);
size_t row_json(const struct schema *schema, const void *key, size_t key_bytes, const void *value,
                size_t value_bytes, char *out, size_t cap);

#endif
