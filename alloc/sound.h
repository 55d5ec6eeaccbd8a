/* SPDX-License-Identifier: Apache-2.0
 *
 * sound.h - whether a block of the arena can be what a word says it is: bounds first, then
 * checksum.
 *
 * For those who walk everything (recovery, the checker). They read a pond that nobody writes.
 */
#ifndef SIDEPOND_SOUND_H
#define SIDEPOND_SOUND_H

#include <stdbool.h>

#include "alloc/region.h"

/* An entry lies in the arena as a whole, and its checksum is right. */
bool entry_is_sound(const struct region *region, uint64_t unit);

/* A table root and its schema block do, and the checksum over both is right. */
bool root_is_sound(const struct region *region, uint64_t unit);
uint64_t root_units(unsigned secondary_count);

/* A dir word's directory, a segment word's segment with its head, lie in the arena. */
bool dir_word_is_sound(const struct region *region, uint64_t word);
bool segment_word_is_sound(const struct region *region, uint64_t word, unsigned dir_bits);

/* Units of a directory, and of a segment's block, which begins SEGMENT_HEAD_UNITS before the first
 * bucket, and ends with the buckets or their notes. */
#define SEGMENT_HEAD_UNITS (sizeof(struct segment_head) / FORMAT_UNIT_BYTES)
static inline uint64_t dir_units(unsigned depth)
{
    return bytes_to_units(sizeof(uint64_t) << depth);
}
static inline uint64_t segment_units(unsigned bucket_count, bool noted)
{
    return SEGMENT_HEAD_UNITS + bucket_count * BUCKET_UNITS +
           (noted ? bytes_to_units(bucket_count * sizeof(uint32_t)) : 0);
}

#endif
