/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_ring_repair.c - `sidepond ring repair`: are all copies equal, and if not, what differs.
 *
 * sidepondd nodes make their copies equal by themselves, so there it compares and waits; on Redis
 * nodes it copies what is missing.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "json.h"
#include "ring_compare.h"

enum { NOTES_MAX = 100, AGAIN_MS = 200 };

int ring_compare_open(struct tool *tool, struct ring_compare *out)
{
    int status = sp_ring_nodes(tool->ring, &out->nodes, &out->count, &out->state);
    if (status != SP_OK)
        return tool_failed(status, "the ring's nodes");
    out->tool = tool;
    out->differences = json_array();
    out->peers = calloc(out->count + 1, sizeof *out->peers);
    if (out->peers == NULL || out->differences == NULL)
        return tool_failed(SP_ENOMEM, "the ring's nodes");
    for (size_t i = 0; i < out->count; i++)
        ring_peer_init(&out->peers[i], tool, &out->nodes[i], &out->state);
    return TOOL_OK;
}

void ring_compare_close(struct ring_compare *compare)
{
    for (size_t i = 0; compare->peers != NULL && i < compare->count; i++)
        peer_close(&compare->peers[i]);
    free(compare->peers);
    free(compare->nodes);
    json_decref(compare->differences);
    memset(compare, 0, sizeof *compare);
}

void ring_compare_note(struct ring_compare *compare, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    if (json_array_size(compare->differences) >= NOTES_MAX)
        return;
    va_start(args, format);
    if (vasprintf(&text, format, args) >= 0)
        json_array_append_new(compare->differences, json_string(text));
    va_end(args);
    free(text);
}

int ring_compare_lost(struct ring_compare *compare, size_t node)
{
    const char *why = compare->peers[node].why;
    compare->unreachable = true;
    tool_error("node %s at %s: %s", compare->nodes[node].name, compare->nodes[node].address,
               why[0] != '\0' ? why : "answers something else");
    return TOOL_UNAVAILABLE;
}

int ring_compare_find(const struct ring_compare *compare, const char *name)
{
    for (size_t i = 0; i < compare->count; i++)
        if (strcmp(compare->nodes[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* --- what is told ----------------------------------------------------------------------------- */

static bool is_equal(const struct ring_compare *compare)
{
    if (!compare->state.redis)
        return compare->differing_slots == 0;
    return compare->failures == 0 && (compare->copies || compare->missing == 0);
}

static int result_json(const struct ring_compare *compare)
{
    if (!compare->state.redis)
        return json_print(json_pack("{s:b, s:I, s:I, s:O}", "equal", is_equal(compare), "slots",
                                    (json_int_t)compare->slots, "differing_slots",
                                    (json_int_t)compare->differing_slots, "differences",
                                    compare->differences));
    return json_print(
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:O}", "equal", is_equal(compare), "keys",
                  (json_int_t)compare->keys, "missing", (json_int_t)compare->missing, "copied",
                  (json_int_t)compare->copied, "stray", (json_int_t)compare->strays, "failed",
                  (json_int_t)compare->failures, "differences", compare->differences));
}

static void result_print(const struct ring_compare *compare)
{
    const struct tool *tool = compare->tool;
    char keys[TEXT_BYTES];
    size_t i;
    json_t *note;
    json_array_foreach(compare->differences, i, note)
    {
        puts(json_string_value(note));
    }
    if (compare->state.redis)
        printf("%s copies of keys seen, %llu missing, %llu copied, %llu stray, %llu failed\n",
               text_count(tool, compare->keys, keys), (unsigned long long)compare->missing,
               (unsigned long long)compare->copied, (unsigned long long)compare->strays,
               (unsigned long long)compare->failures);
    else
        printf("%llu slots compared, %llu differ\n", (unsigned long long)compare->slots,
               (unsigned long long)compare->differing_slots);
    bool equal = is_equal(compare);
    printf("%s%s%s\n", text_color_on(tool, equal ? TEXT_GREEN : TEXT_RED),
           equal ? (compare->state.redis ? "no copy is missing" : "all copies equal")
           : compare->state.redis ? "copies are missing"
                                  : "copies differ; the nodes make them equal by themselves",
           text_color_off(tool));
}

/* --- the command ------------------------------------------------------------------------------ */

static int compare_until(struct ring_compare *compare, uint32_t wait_ms)
{
    const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L};
    uint64_t end_us = clock_us() + UINT64_C(1000) * wait_ms;
    if (compare->state.redis)
        return ring_compare_keys(compare);
    for (;;) {
        json_array_clear(compare->differences);
        int code = ring_compare_digests(compare);
        if (code != TOOL_OK || compare->differing_slots == 0 || clock_us() >= end_us)
            return code;
        nanosleep(&pause, NULL);
    }
}

static int read_options(const struct tool *tool, struct ring_compare *compare, uint32_t *wait_ms)
{
    int code = tool_option_ms(tool, "wait", 0, wait_ms);
    if (code == TOOL_OK)
        code = tool_option_count(tool, "rate", 1, 10000, &compare->rate);
    compare->copies = tool_option(tool, "check") == NULL && tool_option(tool, "dry-run") == NULL;
    compare->stray = tool_option(tool, "stray") != NULL;
    compare->progress = isatty(STDERR_FILENO) == 1 && !tool->json;
    return code;
}

int tool_ring_repair(struct tool *tool)
{
    struct ring_compare compare = {0};
    uint32_t wait_ms;
    int code = read_options(tool, &compare, &wait_ms);
    if (code == TOOL_OK)
        code = tool_ring_open(tool);
    if (code == TOOL_OK)
        code = ring_compare_open(tool, &compare);
    if (code == TOOL_OK)
        code = compare_until(&compare, wait_ms);
    if (code == TOOL_OK) {
        bool equal = is_equal(&compare);
        if (tool->json)
            code = result_json(&compare);
        else
            result_print(&compare);
        code = code == TOOL_OK && !equal ? TOOL_NO : code;
    }
    ring_compare_close(&compare);
    return code;
}
