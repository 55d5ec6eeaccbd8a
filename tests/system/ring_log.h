/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_log.h - what ring_load writes down of every operation, and ring_check judges.
 *
 * A log is a directory of files of records, one file for each writer, in the order in which its
 * operations began. A writer is one thread of one run of ring_load: a client in the sense of
 * docs/RING.md, which does one operation after the other. Times are CLOCK_MONOTONIC in ns, so that
 * logs of several processes of one machine, and of faults made meanwhile, can be compared.
 *
 * Each write has a number that its writer gives once: writer and number are in the value, so a
 * value that is read later names the write that it is of.
 */
#ifndef SIDEPOND_RING_LOG_H
#define SIDEPOND_RING_LOG_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ring_log_op {
    RING_LOG_GET,
    RING_LOG_SET,
    RING_LOG_DELETE,
    RING_LOG_INCR,
    /* A key as one node has it after all is over: `writer` is its place among the holders. */
    RING_LOG_FINAL,
    RING_LOG_OPS
};

enum ring_log_outcome {
    RING_LOG_OK,      /* of a write: acknowledged */
    RING_LOG_ABSENT,  /* of a read: there is no such key */
    RING_LOG_FAILED,  /* nothing was done, or nothing was read */
    RING_LOG_UNKNOWN, /* of a write: no answer came */
    RING_LOG_WRONG,   /* of a read: what came is no value of this key */
};

enum ring_log_flag {
    RING_LOG_BASE = 1, /* written before the run began, so that every client knows of it */

};

/* Keys from here on are counters, which are only incremented. */
#define RING_LOG_COUNTERS 0x80000000u

struct ring_log_record {
    uint64_t begin_ns, end_ns;
    uint32_t key;
    uint32_t number;       /* of the write; of a read: of the value's; INCR, counters: the count */
    uint16_t writer;       /* whose operation it is */
    uint16_t value_writer; /* of a read: who wrote what was read */
    uint8_t op, outcome;
    uint8_t have, want; /* copies of a write */
    uint8_t flags, unused[3];
    uint32_t ttl_ms; /* of SET; 0: for ever */
};
static_assert(sizeof(struct ring_log_record) == 40, "a file has no padding");

#define RING_KEY_BYTES       16u
#define RING_VALUE_BYTES_MIN 32u
#define RING_VALUE_BYTES_MAX 65536u

/* The key's name: "ring:%010u" and a zero, RING_KEY_BYTES in all; 15 of them are the name. */
void ring_key_name(uint32_t key, char name[RING_KEY_BYTES]);

/* A value of so many bytes; it differs in every byte's place from that of another write. */
void ring_value_make(uint32_t key, uint16_t writer, uint32_t number, void *value, size_t bytes);
/* Whether it is a whole value of this key, and of which write. */
bool ring_value_read(uint32_t key, const void *value, size_t bytes, uint16_t *writer,
                     uint32_t *number);

#endif
