/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_top.c - `sidepond top`: how a pond and its cache server do, live.
 *
 * Two samples are kept, an interval apart; what is shown of counters is what happened between them.
 * On a terminal the picture is drawn again each interval and at each key; elsewhere, or with
 * --once, one picture is printed as text when the first interval is over, and with --json an object
 * for each interval.
 *
 * Costs: a sample reads some numbers of the pond, and asks the server for INFO, which takes it a
 * tenth of a millisecond.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "screen.h"
#include "table.h"
#include "top.h"

enum { ANSWER_MS = 1000 };

struct top {
    struct tool *tool;
    struct peer server;
    uint32_t interval_ms;
    uint64_t count; /* pictures or objects; then it ends */
    struct top_sample samples[2];
    unsigned newest;
    enum top_command_order command_order;
    enum top_table_order table_order;
    bool paused;
};

static struct top_pair pair_of(const struct top *top)
{
    const struct top_sample *before = &top->samples[1 - top->newest];
    return (struct top_pair){before->at_us != 0 ? before : NULL, &top->samples[top->newest]};
}

static int sample(struct top *top)
{
    top->newest = 1 - top->newest;
    int status = top_sample_take(top->tool, &top->server, &top->samples[top->newest]);
    return status == SP_OK ? TOOL_OK : tool_failed(status, "top");
}

static struct top_frame frame_of(const struct top *top, FILE *out)
{
    return (struct top_frame){.tool = top->tool,
                              .out = out,
                              .pair = pair_of(top),
                              .command_order = top->command_order,
                              .table_order = top->table_order,
                              .tables_max = SIZE_MAX,
                              .commands_max = SIZE_MAX,
                              .readers_max = SIZE_MAX};
}

/* --- as text ---------------------------------------------------------------------------------- */

static void sleep_until(uint64_t until_us)
{
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                             .tv_nsec = (long)(until_us % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

static int print_one(const struct top *top)
{
    if (top->tool->json) {
        struct top_pair pair = pair_of(top);
        return top_json_print(&pair, top->command_order);
    }
    struct top_frame frame = frame_of(top, stdout);
    top_frame_print(&frame);
    return TOOL_OK;
}

static int print_all(struct top *top)
{
    uint64_t at_us = clock_us();
    int code = sample(top);
    for (uint64_t i = 0; i < top->count && code == TOOL_OK && !ferror(stdout); i++) {
        at_us += UINT64_C(1000) * top->interval_ms;
        sleep_until(at_us);
        code = sample(top);
        if (i > 0 && !top->tool->json)
            putchar('\n');
        if (code == TOOL_OK)
            code = print_one(top);
        fflush(stdout);
    }
    return code;
}

/* --- live ------------------------------------------------------------------------------------- */

static bool draw(const struct top *top)
{
    char bottom[256], *text = NULL;
    size_t size = 0;
    unsigned lines, columns;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return false;
    struct top_frame frame = frame_of(top, out);
    screen_size(&lines, &columns);
    top_frame_fit(&frame, lines - 1);
    top_frame_print(&frame);
    fclose(out);
    snprintf(bottom, sizeof bottom, "%sq quit  space %s  s commands by %s  t tables by %s  %s%s",
             text_color_on(top->tool, TEXT_DIM), top->paused ? "go on" : "pause",
             top_command_orders[top->command_order], top_table_orders[top->table_order],
             top->paused ? "PAUSED" : "", text_color_off(top->tool));
    bool drawn = text != NULL && screen_draw(text, bottom);
    free(text);
    return drawn;
}

/* False: to end. */
static bool press(struct top *top, char key)
{
    if (key == 's')
        top->command_order = (top->command_order + 1) % TOP_COMMAND_ORDERS;
    else if (key == 't')
        top->table_order = (top->table_order + 1) % TOP_TABLE_ORDERS;
    else if (key == ' ')
        top->paused = !top->paused;
    return key != 'q' && key != 'Q';
}

static int live_loop(struct top *top)
{
    uint64_t pictures = 0, at_us = 0;
    int code = TOOL_OK;
    bool goes_on = true;
    while (goes_on && code == TOOL_OK) {
        char key = 0;
        enum screen_event event = screen_wait(at_us, &key);
        if (event == SCREEN_TIME) {
            at_us = clock_us() + UINT64_C(1000) * top->interval_ms;
            code = top->paused ? TOOL_OK : sample(top);
            goes_on = ++pictures < top->count;
        }
        if (event == SCREEN_END || (event == SCREEN_KEY && !press(top, key)))
            break;
        if (code == TOOL_OK && top->samples[top->newest].at_us != 0)
            goes_on &= draw(top);
    }
    return code;
}

static int live(struct top *top)
{
    if (!screen_begin()) {
        tool_error("cannot draw on this terminal: %s", strerror(errno));
        return TOOL_FAILED;
    }
    int code = live_loop(top);
    screen_end();
    return code;
}

/* --- the command ------------------------------------------------------------------------------ */

static int read_options(struct top *top)
{
    const struct tool *tool = top->tool;
    const char *order = tool_option(tool, "sort");
    bool endless = tool->terminal || tool->json;
    int code = tool_option_ms(tool, "interval", 1000, &top->interval_ms);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "count", 1, endless ? UINT64_MAX : 1, &top->count);
    for (unsigned i = 0; order != NULL && i < TOP_COMMAND_ORDERS; i++)
        if (strcmp(order, top_command_orders[i]) == 0)
            top->command_order = (enum top_command_order)i;
    return code;
}

int tool_top(struct tool *tool)
{
    struct top *top = calloc(1, sizeof *top);
    if (top == NULL)
        return tool_failed(SP_ENOMEM, "top");
    top->tool = tool;
    bool once = tool_option(tool, "once") != NULL;
    int code = read_options(top);
    if (code == TOOL_OK)
        code = tool_credentials(tool);
    if (code == TOOL_OK)
        code = tool_open(tool);
    peer_init_cache(&top->server, tool, ANSWER_MS);
    if (once)
        top->count = 1;
    if (code == TOOL_OK)
        code = tool->terminal && !tool->json && !once ? live(top) : print_all(top);
    top_sample_free(&top->samples[0]);
    top_sample_free(&top->samples[1]);
    peer_close(&top->server);
    free(top);
    screen_end_by_signal();
    return code;
}
