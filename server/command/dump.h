/* SPDX-License-Identifier: Apache-2.0
 *
 * dump.h - the form in which a value leaves with DUMP and comes back with RESTORE.
 *
 *   0          2         3      4             4 + value        8 more
 *   +----------+---------+------+-------------+----------------+
 *   | "SP"     | version | kind | the value   | checksum, XXH3 |
 *   +----------+---------+------+-------------+----------------+
 *
 * The checksum, little-endian, is of all that lies before it. It finds damage, not forgery: what is
 * taken from a payload is its value as bytes, which any client could have set as well. Neither the
 * key nor its expiry is part of it, as in Redis; a payload of Redis is refused.
 */
#ifndef SIDEPOND_COMMAND_DUMP_H
#define SIDEPOND_COMMAND_DUMP_H

#include <stddef.h>
#include <stdint.h>

#define DUMP_HEAD_BYTES     4u
#define DUMP_CHECKSUM_BYTES 8u
#define DUMP_VERSION        1u

enum dump_kind { DUMP_STRING = 0 };

/* How many bytes the payload of a value has. */
static inline size_t dump_bytes(size_t value_bytes)
{
    return DUMP_HEAD_BYTES + value_bytes + DUMP_CHECKSUM_BYTES;
}

/* Writes dump_bytes(value_bytes) to `out`. */
void dump_encode(const void *value, size_t value_bytes, uint8_t *out);

/* Where in a payload its value lies. SP_EFORMAT: it is none, is damaged, or of another version;
 * SP_ETYPE: whole, but not of a kind that is known here. */
int dump_decode(const void *payload, size_t bytes, const uint8_t **value, size_t *value_bytes);

#endif
