/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_ring.c - `sidepond ring` and `ring watch`: the nodes of a ring, and whether each slot has all
 * its copies.
 *
 * A picture costs each node a PING and an INFO.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "json.h"
#include "ring_nodes.h"
#include "screen.h"

#define WAIT_LOOK_MS 50
#define LINE_BYTES   65536

static int picture_show(const struct tool *tool, const struct ring_picture *picture)
{
    if (tool->json)
        return json_print(ring_picture_json(picture));
    ring_picture_print(tool, picture, stdout);
    return TOOL_OK;
}

static bool is_complete(const struct ring_picture *picture, uint64_t members)
{
    return ring_picture_complete(picture) && picture->count >= members;
}

/* Looks again and again; the last picture is left in *picture. */
static int wait_complete(struct tool *tool, uint32_t wait_ms, uint64_t members,
                         struct ring_picture *picture)
{
    uint64_t end_us = clock_us() + UINT64_C(1000) * wait_ms;
    const struct timespec pause = {.tv_nsec = WAIT_LOOK_MS * 1000000L};
    for (;;) {
        int code = ring_picture_take(tool, picture);
        if (code != TOOL_OK || is_complete(picture, members) || clock_us() >= end_us)
            return code;
        ring_picture_free(picture);
        nanosleep(&pause, NULL);
    }
}

int tool_ring(struct tool *tool)
{
    struct ring_picture picture = {0};
    uint32_t wait_ms;
    uint64_t members;
    int code = tool_option_ms(tool, "wait", 0, &wait_ms);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "members", 1, 1, &members);
    if (code == TOOL_OK)
        code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = wait_complete(tool, wait_ms, members, &picture);
    if (code != TOOL_OK)
        return code;
    bool complete = is_complete(&picture, members);
    code = picture_show(tool, &picture);
    if (picture.count < members)
        tool_error("%zu nodes of %llu", picture.count, (unsigned long long)members);
    ring_picture_free(&picture);
    return code == TOOL_OK && !complete ? TOOL_NO : code;
}

/* --- watch ------------------------------------------------------------------------------------ */

struct ring_watch {
    struct tool *tool;
    uint32_t interval_ms;
    uint64_t count;
    uint64_t incomplete_us; /* since when redundancy is not complete, as seen here; 0: it is */
    char *before;           /* the line that was printed last */
};

/* Sleeps until the interval is over, or the map has changed. */
static void await_change(const struct ring_watch *watch, uint64_t epoch, uint64_t begun_us)
{
    const struct timespec pause = {.tv_nsec = WAIT_LOOK_MS * 1000000L};
    uint64_t end_us = begun_us + UINT64_C(1000) * watch->interval_ms, now_us = clock_us();
    if (now_us >= end_us)
        return;
    uint32_t left_ms = (uint32_t)((end_us - now_us + 999) / 1000);
    int status = sp_ring_wait(watch->tool->ring, epoch, left_ms);
    if (status != SP_OK && status != SP_ETIMEDOUT)
        nanosleep(&pause, NULL);
}

/* True: it was worth a line. */
static bool print_change(struct ring_watch *watch, const struct ring_picture *picture)
{
    char *line = malloc(LINE_BYTES), time_text[TEXT_BYTES];
    if (line == NULL)
        return false;
    ring_picture_line(picture, line, LINE_BYTES);
    bool changed = watch->before == NULL || strcmp(line, watch->before) != 0;
    free(watch->before);
    watch->before = line;
    if (!changed)
        return false;
    if (watch->tool->json)
        json_print(ring_picture_json(picture));
    else
        printf("%s\t%s\n", text_time((int64_t)time(NULL) * 1000, time_text), line);
    fflush(stdout);
    return true;
}

static int watch_lines(struct ring_watch *watch)
{
    int code = TOOL_OK;
    for (uint64_t lines = 0; lines < watch->count && code == TOOL_OK && !ferror(stdout);) {
        struct ring_picture picture;
        uint64_t begun_us = clock_us();
        code = ring_picture_take(watch->tool, &picture);
        if (code != TOOL_OK)
            break;
        lines += print_change(watch, &picture);
        uint64_t epoch = picture.state.epoch;
        ring_picture_free(&picture);
        if (lines < watch->count)
            await_change(watch, epoch, begun_us);
    }
    free(watch->before);
    return code;
}

static bool draw(struct ring_watch *watch, const struct ring_picture *picture)
{
    char *text = NULL, bottom[128], age[TEXT_BYTES];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return false;
    bool complete = ring_picture_complete(picture);
    if (complete)
        watch->incomplete_us = 0;
    else if (watch->incomplete_us == 0)
        watch->incomplete_us = clock_us();
    fprintf(out, "ring of %s nodes, epoch %llu\n\n", picture->state.redis ? "Redis" : "sidepondd",
            (unsigned long long)picture->state.epoch);
    ring_picture_print(watch->tool, picture, out);
    if (!complete)
        fprintf(out, "not complete for %s\n",
                text_age((clock_us() - watch->incomplete_us) / 1000, age));
    fclose(out);
    snprintf(bottom, sizeof bottom, "%sq quit%s", text_color_on(watch->tool, TEXT_DIM),
             text_color_off(watch->tool));
    bool drawn = text != NULL && screen_draw(text, bottom);
    free(text);
    return drawn;
}

static int watch_live(struct ring_watch *watch)
{
    uint64_t at_us = 0;
    int code = TOOL_OK;
    if (!screen_begin()) {
        tool_error("cannot draw on this terminal: %s", strerror(errno));
        return TOOL_FAILED;
    }
    for (uint64_t pictures = 0; pictures < watch->count && code == TOOL_OK;) {
        struct ring_picture picture;
        char key = 0;
        enum screen_event event = screen_wait(at_us, &key);
        if (event == SCREEN_END || (event == SCREEN_KEY && (key == 'q' || key == 'Q')))
            break;
        pictures += event == SCREEN_TIME;
        if (event == SCREEN_TIME)
            at_us = clock_us() + UINT64_C(1000) * watch->interval_ms;
        code = ring_picture_take(watch->tool, &picture);
        if (code == TOOL_OK && !draw(watch, &picture))
            pictures = watch->count;
        ring_picture_free(&picture);
    }
    screen_end();
    return code;
}

int tool_ring_watch(struct tool *tool)
{
    struct ring_watch watch = {.tool = tool};
    bool live = tool->terminal && !tool->json;
    int code = tool_option_ms(tool, "interval", 1000, &watch.interval_ms);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "count", 1, UINT64_MAX, &watch.count);
    if (code == TOOL_OK && live)
        (void)screen_hold_signals();
    if (code == TOOL_OK)
        code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = live ? watch_live(&watch) : watch_lines(&watch);
    screen_end_by_signal();
    return code;
}
