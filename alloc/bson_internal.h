/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_internal.h - what rows and keys (row_*.c) need of BSON (bson_*.c).
 */
#ifndef SIDEPOND_ALLOC_BSON_INTERNAL_H
#define SIDEPOND_ALLOC_BSON_INTERNAL_H

#include "alloc/bson_number.h"
#include "alloc/row_internal.h"

/* bson_key.c: appends the canonical form of a value, its type byte first. SP_ENULL, SP_ETYPE
 * (also: damaged, or deeper than BSON_DEPTH_MAX), SP_ETOOBIG. */
int bson_key_put(struct key_writer *writer, const struct sp_value *value);
/* The type byte and the bytes of a number. */
void bson_key_put_number(struct key_writer *writer, size_t type_at,
                         const struct bson_number *number);
/* A string's length, bytes and zero. */
void bson_key_put_string(struct key_writer *writer, const void *text, size_t bytes);

/* bson_parse.c: the same of a text in extended JSON. */
int bson_key_put_json(struct key_writer *writer, const char *text, size_t bytes);

/* bson_json.c: relaxed extended JSON, "null" for what is damaged; and the notation of a key. */
void bson_json_put(struct row_text *json, const struct sp_value *value);
void bson_text_put(struct row_text *text, const struct sp_value *value);

/* bson_parse.c: 24 hexadecimal digits. */
bool bson_object_id_parse(const char *text, size_t bytes, uint8_t out[BSON_OBJECT_ID_BYTES]);

#endif
