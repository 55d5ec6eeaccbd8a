/* SPDX-License-Identifier: Apache-2.0
 *
 * row_handle.h - a row that was copied out of the pond, and the reading of one.
 */
#ifndef SIDEPOND_LOCAL_ROW_HANDLE_H
#define SIDEPOND_LOCAL_ROW_HANDLE_H

#include "client/local/find.h"

struct buffer {
    uint8_t *bytes;
    size_t cap;
};
int buffer_reserve(struct buffer *buffer, size_t bytes);

struct sp_row {
    const struct sp_schema *schema; /* NULL: holds no row */
    size_t key_bytes, value_bytes;
    struct buffer data;    /* the row's key, then its value */
    struct buffer key;     /* the key that is looked for */
    struct buffer posting; /* of a secondary index */
};

/* In: the buffer and, where version is not 0, the version to read and the mapping it is of. */
struct row_copy {
    struct buffer *buffer;
    uint64_t version;
    const struct mapping *map;
    size_t key_bytes, value_bytes;
    const struct sp_schema *schema;
};

/* Copies key and value of an entry of index `index` (0: primary). READ_AGAIN: the version fixed is
 * of a pond that has been replaced. */
int row_read(struct sp_table *table, unsigned index, const void *key, size_t key_bytes,
             struct row_copy *out);

/* Encodes a key into row->key. */
int row_encode_key(struct sp_row *row, const struct sp_schema *schema, int index,
                   const struct sp_value *key, size_t key_count, size_t *key_bytes);

#endif
