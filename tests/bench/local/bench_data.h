/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_data.h - rows for the read benchmark, and the keys to ask for, drawn before the clock
 * starts.
 */
#ifndef SIDEPOND_BENCH_DATA_H
#define SIDEPOND_BENCH_DATA_H

#include <stddef.h>
#include <stdint.h>

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

uint64_t random_next(uint64_t *state);

#endif
