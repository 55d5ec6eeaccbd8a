/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: whatever a server answers to INFO, `sidepond top` reads no byte beyond it, keeps names that
 * a terminal may see, and buckets in order.
 * Method: the input is the answer, in memory of exactly its size; what was made of it is looked
 * through, compared with itself and sorted in each order.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/tool/top.h"

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_name(const char *name)
{
    check(name[0] != '\0' && memchr(name, '\0', TOP_NAME_BYTES) != NULL);
    for (; *name != '\0'; name++)
        check(*name > ' ' && *name <= '~');
}

static void check_command(const struct top_command *command)
{
    check_name(command->name);
    check(command->bucket_count <= TOP_BUCKETS_MAX);
    for (size_t b = 1; b < command->bucket_count; b++)
        check(command->buckets[b - 1].end_ns < command->buckets[b].end_ns);
}

/* Of a sample and itself: nothing happened in between. */
static void check_rows(const struct top_sample *before, const struct top_sample *now)
{
    struct top_pair pair = {before, now};
    for (int order = 0; order < TOP_COMMAND_ORDERS; order++) {
        struct top_command_row *rows = top_command_rows(&pair, (enum top_command_order)order);
        check(rows != NULL);
        for (size_t i = 0; i < now->cache.command_count; i++)
            check(rows[i].calls == 0 && isnan(rows[i].mean_ns) && isnan(rows[i].p99_ns));
        free(rows);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct top_sample samples[2] = {{.at_us = 1}, {.at_us = 1000001}};
    char *text = malloc(size > 0 ? size : 1);
    check(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    for (int i = 0; i < 2; i++) {
        samples[i].cache.seen = top_info_parse(text, size, &samples[i].cache);
        check(samples[i].cache.seen);
    }
    free(text);
    for (size_t i = 0; i < samples[0].cache.command_count; i++)
        check_command(&samples[0].cache.commands[i]);
    check_rows(&samples[0], &samples[1]);
    top_cache_free(&samples[0].cache);
    top_cache_free(&samples[1].cache);
    return 0;
}
