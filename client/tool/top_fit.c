/* SPDX-License-Identifier: Apache-2.0
 *
 * top_fit.c - how tables, commands and readers share a screen: readers get at most a fifth, tables
 * at most half of the rest if there are many commands, and commands what is left.
 */
#include "top.h"

/* Lines that a list of so many takes: a blank one, the header, and one that says what is left. */
static size_t list_lines(size_t count, size_t max)
{
    return count == 0 || max == 0 ? 0 : 2 + (count > max ? max + 1 : count);
}

/* The most that fit when so many lines are left, at least for one entry of each that has any. */
static size_t fit(size_t count, size_t lines)
{
    if (list_lines(count, count) <= lines)
        return count;
    return lines > 4 ? lines - 3 : 1;
}

void top_frame_fit(struct top_frame *frame, unsigned lines)
{
    const struct top_sample *now = frame->pair.now;
    size_t head = now->cache.seen ? 9 : 4;
    size_t left = lines > head ? lines - head : 0;
    frame->readers_max = fit(now->reader_count, left / 5);
    size_t taken = list_lines(now->reader_count, frame->readers_max);
    left = left > taken ? left - taken : 0;
    size_t commands = list_lines(now->cache.command_count, now->cache.command_count);
    size_t for_tables = commands < left / 2 ? left - commands : left - left / 2;
    frame->tables_max = fit(now->table_count, for_tables);
    taken = list_lines(now->table_count, frame->tables_max);
    left = left > taken ? left - taken : 0;
    frame->commands_max = fit(now->cache.command_count, left);
}
