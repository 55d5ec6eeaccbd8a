/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_data.c - rows and draws. Zipf ranks are found by bisection in the table of sums, and spread
 * over the rows by a permutation, so that hot rows are not neighbours in memory.
 */
#include "bench_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rows.h"

void data_key(uint32_t i, char *out)
{
    char text[BENCH_KEY_BYTES + 1];
    snprintf(text, sizeof text, "customer:%015llu", (unsigned long long)i * 7919);
    memcpy(out, text, BENCH_KEY_BYTES);
}

void data_value(const struct data *data, uint32_t i, uint32_t generation, uint8_t *out)
{
    memset(out, (int)('a' + generation % 26), data->value_bytes);
    memcpy(out, &i, sizeof i);
    out[7] &= 0x7f;
}

static double *zipf_sums(uint32_t n, double exponent)
{
    double *sums = malloc(n * sizeof *sums);
    double sum = 0;
    for (uint32_t i = 0; sums != NULL && i < n; i++) {
        sum += 1.0 / pow(i + 1.0, exponent);
        sums[i] = sum;
    }
    return sums;
}

static uint32_t zipf_rank(const double *sums, uint32_t n, double wanted)
{
    uint32_t low = 0, high = n - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sums[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

char *data_draw(const struct data *data, double zipf, uint32_t count, uint64_t seed)
{
    uint32_t n = data->row_count;
    char *keys = malloc((size_t)count * BENCH_KEY_BYTES);
    double *sums = zipf > 0 ? zipf_sums(n, zipf) : NULL;
    if (keys == NULL || (zipf > 0 && sums == NULL))
        abort();
    for (uint32_t i = 0; i < count; i++) {
        uint64_t drawn = rows_random(&seed);
        uint64_t row = drawn % n;
        if (zipf > 0) {
            double at = (double)(drawn >> 11) * 0x1p-53 * sums[n - 1];
            /* A prime beyond n has no factor in common with it. */
            row = (uint64_t)zipf_rank(sums, n, at) * UINT64_C(2147483647) % n;
        }
        data_key((uint32_t)row, keys + (size_t)i * BENCH_KEY_BYTES);
    }
    free(sums);
    return keys;
}
