/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_pond.c - makes a pond for benchmarks that are not in C: bench_pond DIRECTORY ROWS.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/bench.h"
#include "common/rows.h"

int main(int argc, char **argv)
{
    struct store_opened opened;
    if (argc != 3)
        bench_die("usage: bench_pond DIRECTORY ROWS");
    uint32_t rows = (uint32_t)strtoul(argv[2], NULL, 10);
    struct store *store = rows_open(argv[1], (UINT64_C(64) << 20) + UINT64_C(512) * rows, &opened);
    struct schema *schema = rows_schema();
    rows_write(store, schema, &(struct rows_load){.count = rows, .hint = rows});
    schema_free(schema);
    store_close(store);
    bench_use_huge_pages(argv[1]);
    return 0;
}
