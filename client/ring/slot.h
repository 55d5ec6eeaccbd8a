/* SPDX-License-Identifier: Apache-2.0
 *
 * slot.h - which slot a key belongs to (docs/RING.md, "Slots").
 */
#ifndef SIDEPOND_RING_SLOT_H
#define SIDEPOND_RING_SLOT_H

#include <stddef.h>
#include <stdint.h>

#define RING_SLOTS_LEAST 16u
#define RING_SLOTS_MAX   16384u
#define RING_SLOT_WORDS  (RING_SLOTS_MAX / 64) /* of a bitmap of slots */

/* CRC16 with polynomial 0x1021, most significant bit first, start 0 (XMODEM). */
uint16_t ring_crc16(const void *bytes, size_t size);

/* `slots` is a power of two. */
unsigned ring_slot(const void *key, size_t key_bytes, unsigned slots);

#endif
