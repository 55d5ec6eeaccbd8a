/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_data.h - rows for the read benchmark, and the keys to ask for, drawn before the clock
 * starts.
 */
#ifndef SIDEPOND_BENCH_DATA_H
#define SIDEPOND_BENCH_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "common/bench.h"
#include "sidepond/sidepond.h"

#define BENCH_KEY_BYTES 24u

struct data {
    const char *name;
    uint32_t row_count;
    uint32_t value_bytes;
};

/* The key and the value of row i. The value's first byte is below 128. */
void data_key(uint32_t i, char *out);
void data_value(const struct data *data, uint32_t i, uint32_t generation, uint8_t *out);

/* Keys to ask for, one behind the other. `zipf` 0 is uniform. To be freed. */
char *data_draw(const struct data *data, double zipf, uint32_t count, uint64_t seed);

/* --- gets in batches ------------------------------------------------------------------------- */

#define DATA_BATCH 16u

typedef int data_mget(void *from, struct sp_get *gets, size_t count);

/* All keys, of which `count` is a multiple of the batch; a sum that proves the values were read. In
 * the header, so that each caller's mget is called directly. */
static inline uint64_t data_batches(void *from, data_mget *mget, const char *keys, uint32_t count)
{
    static uint8_t out[DATA_BATCH][128];
    struct sp_get gets[DATA_BATCH];
    uint64_t sum = 0;
    for (uint32_t i = 0; i + DATA_BATCH <= count; i += DATA_BATCH) {
        for (uint32_t j = 0; j < DATA_BATCH; j++, keys += BENCH_KEY_BYTES)
            gets[j] = (struct sp_get){
                .key = keys, .key_bytes = BENCH_KEY_BYTES, .out = out[j], .cap = sizeof(out[j])};
        bench_must(mget(from, gets, DATA_BATCH), "mget");
        for (uint32_t j = 0; j < DATA_BATCH; j++) {
            bench_must(gets[j].status, "mget");
            sum += out[j][0];
        }
    }
    return sum;
}

#endif
