/* SPDX-License-Identifier: Apache-2.0
 *
 * fnv.h - FNV-1a (Fowler, Noll, Vo; 64 bits): names what is compared, byte after byte as it comes.
 *
 * Neither quick nor safe against who chooses the bytes: for tables in memory and checksums there is
 * hash.h.
 */
#ifndef SIDEPOND_FNV_H
#define SIDEPOND_FNV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static inline uint64_t fnv_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * FNV_PRIME;
    return hash;
}

/* With its end, so that two texts are not taken for one; NULL is none of them. */
static inline uint64_t fnv_text(uint64_t hash, const char *text)
{
    return text ? fnv_bytes(hash, text, strlen(text) + 1) : fnv_bytes(hash, "\xff", 1);
}

/* A list that ends with NULL; NULL is an empty one. */
static inline uint64_t fnv_list(uint64_t hash, const char *const *list)
{
    for (; list && *list; list++)
        hash = fnv_text(hash, *list);
    return fnv_text(hash, NULL);
}

#endif
