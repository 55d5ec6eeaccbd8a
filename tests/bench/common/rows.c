/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.c - rows as functions of their number, and their way into a pond.
 */
#include "rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

uint64_t rows_random(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void rows_key(uint32_t number, char out[ROWS_KEY_BYTES])
{
    char text[ROWS_KEY_BYTES + 8];
    snprintf(text, sizeof(text), "customer:%010u:%04u", number * UINT32_C(2654435761),
             number % 10000);
    memcpy(out, text, ROWS_KEY_BYTES);
}

void rows_value(uint32_t number, uint32_t generation, void *out, size_t bytes)
{
    uint64_t state = (uint64_t)generation << 32 | number;
    char *at = out;
    for (size_t done = 0; done < bytes; done += 8) {
        uint64_t word = rows_random(&state);
        memcpy(at + done, &word, bytes - done < 8 ? bytes - done : 8);
    }
}

static double uniform(uint64_t *state)
{
    return ((double)(rows_random(state) >> 11) + 0.5) * 0x1p-53;
}

size_t rows_lognormal(uint32_t number, uint32_t generation)
{
    uint64_t state = ~((uint64_t)generation << 32 | number);
    double radius = sqrt(-2 * log(uniform(&state)));
    double normal = radius * cos(2 * M_PI * uniform(&state));
    double bytes = 200 * exp(1.2 * normal);
    if (bytes < 1)
        return 1;
    return bytes > ROWS_VALUE_MAX ? ROWS_VALUE_MAX : (size_t)bytes;
}

uint32_t *rows_order(uint32_t count, uint64_t seed)
{
    uint32_t *order = malloc(count * sizeof(*order));
    if (!order)
        bench_die("no memory");
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)(rows_random(&seed) % i);
        uint32_t other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
    return order;
}

/* --- a pond of them ------------------------------------------------------------------------- */

struct schema *rows_schema(void)
{
    const struct row_column columns[] = {
        {.name = "k", .type = SP_TYPE_TEXT, .key_position = 0},
        {.name = "v", .type = SP_TYPE_BYTES, .key_position = -1},
    };
    struct schema *schema;
    char why[256] = "";
    if (schema_build(columns, 2, NULL, 0, &schema, why, sizeof(why)) != SP_OK)
        bench_die("%s", why);
    return schema;
}

struct store *rows_open(const char *directory, uint64_t limit_bytes, struct store_opened *opened)
{
    const struct store_options options = {.directory = directory,
                                          .name = "bench",
                                          .limit_bytes = limit_bytes,
                                          .lease_limit_ms = 60000,
                                          .gid = -1};
    struct store *store;
    char why[STORE_WHY_BYTES] = "";
    int status = store_open(&options, &store, opened, why);
    if (status != SP_OK)
        bench_die("%s: %s", why, sp_status_text(status));
    return store;
}

struct room {
    char keys[ROWS_BATCH][ROWS_KEY_BYTES];
    struct store_row rows[ROWS_BATCH];
    char *values;
    size_t used;
};

static uint64_t put_batch(struct store_table *table, const struct rows_load *load, uint32_t first,
                          uint32_t count, struct room *room)
{
    uint64_t bytes = 0;
    size_t done;
    room->used = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = load->numbers ? load->numbers[first + i] : first + i;
        size_t size = load->lognormal ? rows_lognormal(number, load->generation) : ROWS_VALUE_BYTES;
        rows_key(number, room->keys[i]);
        rows_value(number, load->generation, room->values + room->used, size);
        room->rows[i] = (struct store_row){.key = room->keys[i],
                                           .key_bytes = ROWS_KEY_BYTES,
                                           .value = room->values + room->used,
                                           .value_bytes = size};
        room->used += size;
        bytes += ROWS_KEY_BYTES + size;
    }
    bench_must(store_put(table, room->rows, count, &done), "store_put");
    return bytes;
}

uint64_t rows_write(struct store *store, const struct schema *schema, const struct rows_load *load)
{
    static struct room room;
    struct store_txn *txn;
    struct store_table *table;
    uint64_t bytes = 0;
    if (!room.values && !(room.values = malloc((size_t)ROWS_BATCH * ROWS_VALUE_MAX)))
        bench_die("no memory");
    bench_must(store_begin(store, &txn), "store_begin");
    bench_must(store_table(txn, "t", schema, load->hint, &table, NULL), "store_table");
    for (uint32_t first = 0; first < load->count; first += ROWS_BATCH) {
        uint32_t left = load->count - first;
        bytes += put_batch(table, load, first, left < ROWS_BATCH ? left : ROWS_BATCH, &room);
    }
    bench_must(store_commit(txn, NULL), "store_commit");
    return bytes;
}
