/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_note.h - what the writer remembers of a bucket of the cache, in 32 bits behind its segment.
 *
 *    31             16 15 14 13                        0
 *   +-----------------+-----+--+--+--+--+--+--+--+
 *   | tick of the     |  0  |s6|s5|s4|s3|s2|s1|s0|  the state of each slot, two bits
 *   | first expiry    |     |  |  |  |  |  |  |  |  (cache_evict.c)
 *   +-----------------+-----+--+--+--+--+--+--+--+
 *
 * A tick is NOTE_TICK_MS long; the note has its low 16 bits, and 0 for "nothing expires" (a tick
 * whose bits are 0 is taken as the one before). It is a lower bound: never later than the first
 * expiry in the bucket, but for one that is farther away than NOTE_FAR ticks, which is noted at
 * that distance and looked at again then. Lost notes cost work, and a wrong choice of whom to
 * evict; recovery makes them anew.
 */
#ifndef SIDEPOND_STORE_CACHE_NOTE_H
#define SIDEPOND_STORE_CACHE_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#define NOTE_TICK_MS 250
#define NOTE_FAR     0x7000u /* ticks: two hours; half of what 16 bits tell apart, and some room */

/* States: on probation, or how many visits of the main hand an entry outlives untouched. A slot
 * without an entry has the last one. */
enum note_state { NOTE_PROBATION = 0, NOTE_MAIN = 1, NOTE_MAIN_MOST = 3, NOTE_NO_ENTRY = 3 };
#define NOTE_EMPTY UINT32_C(0x3fff) /* of a bucket without entries */

static inline unsigned note_state(uint32_t note, unsigned slot)
{
    return note >> (2 * slot) & 3;
}

static inline uint32_t note_set_state(uint32_t note, unsigned slot, unsigned state)
{
    return (note & ~(UINT32_C(3) << (2 * slot))) | (uint32_t)state << (2 * slot);
}

static inline uint16_t note_tick(uint32_t note)
{
    return (uint16_t)(note >> 16);
}

static inline uint32_t note_set_tick(uint32_t note, uint16_t tick)
{
    return (note & 0xffff) | (uint32_t)tick << 16;
}

/* Whether a comes before b, both being within half of the range of one another. */
static inline bool tick_before(uint16_t a, uint16_t b)
{
    return (int16_t)(uint16_t)(a - b) < 0;
}

/* The earlier of two, of which either may be 0. */
static inline uint16_t tick_first(uint16_t a, uint16_t b)
{
    if (a == 0 || b == 0)
        return a | b;
    return tick_before(a, b) ? a : b;
}

/* What a note says of one slot, as the note of slot 0 of a bucket; and putting it elsewhere. */
static inline uint32_t note_of(uint32_t note, unsigned slot)
{
    return note_set_tick(note_state(note, slot), note_tick(note));
}

static inline uint32_t note_with(uint32_t note, unsigned slot, uint32_t of_slot)
{
    note = note_set_state(note, slot, note_state(of_slot, 0));
    return note_set_tick(note, tick_first(note_tick(note), note_tick(of_slot)));
}

#endif
