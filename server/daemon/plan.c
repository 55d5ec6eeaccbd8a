/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.c - prints what the configured tables will take, from a sample of their real rows, and the
 * `memory:` that follows: all tables, and the largest group a second time, since a refresh that
 * changes every row of a group has both versions for a moment; and a tenth on top.
 */
#include "server/daemon/plan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "server/refresh/refresh.h"

#define PLAN_SAMPLE_ROWS UINT64_C(10000)
#define MIB              (UINT64_C(1) << 20)

struct plan {
    struct refresh_estimate *tables;
    uint64_t total_bytes;
    uint64_t largest_group_bytes;
    uint64_t memory_bytes; /* recommended */
};

static uint64_t group_bytes(const struct config *config, const struct plan *plan, const char *group)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < config->table_count; i++)
        if (strcmp(config->tables[i].group, group) == 0)
            sum += plan->tables[i].total_bytes;
    return sum;
}

/* Up to a whole number of MiB with at most two digits that are not 0: 16, 24, 130, 1200. */
static uint64_t round_up(uint64_t bytes)
{
    uint64_t mib = bytes / MIB + 1;
    uint64_t step = 8;
    while (mib > step * 100)
        step *= 10;
    return (mib + step - 1) / step * step * MIB;
}

static void add_up(const struct config *config, struct plan *plan)
{
    for (unsigned i = 0; i < config->table_count; i++) {
        uint64_t group = group_bytes(config, plan, config->tables[i].group);
        plan->total_bytes += plan->tables[i].total_bytes;
        if (group > plan->largest_group_bytes)
            plan->largest_group_bytes = group;
    }
    plan->memory_bytes =
        round_up((uint64_t)((double)(plan->total_bytes + plan->largest_group_bytes) * 1.1));
}

static json_t *table_json(const struct refresh_estimate *table)
{
    return json_pack("{s:s, s:I, s:b, s:I, s:f, s:I, s:I, s:I, s:I, s:I}", "table", table->table,
                     "rows", (json_int_t)table->rows, "exact", table->exact, "sampled",
                     (json_int_t)table->sampled, "row_bytes", table->row_bytes, "data_bytes",
                     (json_int_t)table->data_bytes, "entry_bytes", (json_int_t)table->entry_bytes,
                     "index_bytes", (json_int_t)table->index_bytes, "total_bytes",
                     (json_int_t)table->total_bytes, "skipped", (json_int_t)table->skipped);
}

static void print_json(const struct config *config, const struct plan *plan, FILE *out)
{
    json_t *tables = json_array();
    for (unsigned i = 0; i < config->table_count; i++)
        json_array_append_new(tables, table_json(&plan->tables[i]));
    json_t *root =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "pond", config->pond, "configured_bytes",
                  (json_int_t)config->memory_bytes, "total_bytes", (json_int_t)plan->total_bytes,
                  "largest_group_bytes", (json_int_t)plan->largest_group_bytes, "recommended_bytes",
                  (json_int_t)plan->memory_bytes, "tables", tables);
    json_dumpf(root, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(root);
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (double)MIB;
}

static void print_people(const struct config *config, const struct plan *plan, FILE *out)
{
    fprintf(out, "%-20s %14s %10s %10s %10s %10s\n", "table", "rows", "row B", "rows MiB",
            "index MiB", "total MiB");
    for (unsigned i = 0; i < config->table_count; i++) {
        const struct refresh_estimate *table = &plan->tables[i];
        fprintf(out, "%-20s %13llu%s %10.1f %10.1f %10.1f %10.1f\n", table->table,
                (unsigned long long)table->rows, table->exact ? " " : "~", table->row_bytes,
                mib(table->entry_bytes), mib(table->index_bytes), mib(table->total_bytes));
        if (table->skipped)
            fprintf(out, "  %llu of %llu rows read are bad and would be skipped\n",
                    (unsigned long long)table->skipped, (unsigned long long)table->sampled);
    }
    fprintf(out, "%-20s %57.1f\n\n", "all", mib(plan->total_bytes));
    fprintf(out, "recommended  memory: %.0fMiB\n", mib(plan->memory_bytes));
    fprintf(out, "configured   memory: %.0fMiB%s\n", mib(config->memory_bytes),
            config->memory_bytes < plan->total_bytes    ? "  (too little)"
            : config->memory_bytes < plan->memory_bytes ? "  (tight)"
                                                        : "");
    fprintf(out, "\n~ is the database's own estimate. The recommendation holds every table, the "
                 "largest group\na second time (while all of its rows change), and a tenth on top. "
                 "Memory is taken as\nit is needed.\n");
}

int plan_print(const struct config *config, bool json, FILE *out)
{
    char why[SOURCE_ERROR_BYTES] = "";
    struct plan plan = {0};
    plan.tables = calloc(config->table_count ? config->table_count : 1, sizeof(*plan.tables));
    if (!plan.tables)
        return SP_ENOMEM;
    int status = refresh_estimate(config, NULL, PLAN_SAMPLE_ROWS, plan.tables, why);
    if (status == SP_OK) {
        add_up(config, &plan);
        (json ? print_json : print_people)(config, &plan, out);
    } else {
        fprintf(stderr, "sidepondd: %s\n", why);
    }
    free(plan.tables);
    return status;
}
