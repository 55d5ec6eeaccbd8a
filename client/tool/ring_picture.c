/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_picture.c - the nodes of a ring as the map has them, and what each says of itself (INFO),
 * asked by a thread for each node.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "ring_nodes.h"

#define PEERS_MOST 1024

struct asking {
    struct peer peer;
    char *info; /* the node's answer, or NULL */
    uint32_t round_trip_us;
    pthread_t thread;
    bool started;
};

/* --- asking ----------------------------------------------------------------------------------- */

static void *ask_info(void *argument)
{
    struct asking *asking = argument;
    const char *ping[] = {"PING"}, *info[] = {"INFO", "all"};
    redisReply *reply = peer_call(&asking->peer, 1, ping);
    if (reply != NULL)
        freeReplyObject(reply);
    uint64_t begun_us = clock_us();
    reply = reply != NULL ? peer_call(&asking->peer, 1, ping) : NULL;
    asking->round_trip_us = (uint32_t)(clock_us() - begun_us);
    if (reply != NULL)
        freeReplyObject(reply);
    reply = reply != NULL ? peer_ask(&asking->peer, 2, info) : NULL;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        asking->info = strndup(reply->str, reply->len);
    if (reply != NULL)
        freeReplyObject(reply);
    peer_close(&asking->peer);
    return NULL;
}

static uint64_t keys_of(const char *info)
{
    char text[128];
    const char *at = info_text(info, "db0", text, sizeof text) ? strstr(text, "keys=") : NULL;
    return at != NULL ? strtoull(at + 5, NULL, 10) : 0;
}

static uint64_t field_of(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* What a node says of its peers, added to theirs. */
static void peers_add(struct ring_picture *out, const char *info)
{
    uint64_t count = 0;
    (void)info_number(info, "ring_peers", &count);
    for (uint64_t p = 0; p < count && p < PEERS_MOST; p++) {
        char name[32], line[256];
        snprintf(name, sizeof name, "ring_peer%" PRIu64, p);
        if (!info_text(info, name, line, sizeof line) || strncmp(line, "name=", 5) != 0)
            continue;
        size_t size = strcspn(line + 5, ",");
        for (size_t i = 0; i < out->count; i++)
            if (strlen(out->nodes[i].name) == size &&
                memcmp(out->nodes[i].name, line + 5, size) == 0) {
                out->figures[i].missed_slots += field_of(line + 5 + size, ",missed=");
                out->figures[i].queued += field_of(line + 5 + size, ",queued=");
            }
    }
}

static void figure_fill(struct ring_figure *figure, struct asking *asking)
{
    const char *info = asking->info;
    memcpy(figure->why, asking->peer.why, sizeof figure->why);
    if (info == NULL)
        return;
    figure->answers = true;
    figure->round_trip_us = asking->round_trip_us;
    figure->keys = keys_of(info);
    (void)info_number(info, "used_memory", &figure->memory_bytes);
    (void)info_number(info, "process_id", &figure->process_id);
    (void)info_number(info, "ring_suspect_slots", &figure->suspect_slots);
    (void)info_number(info, "ring_pulling_slots", &figure->pulling_slots);
}

static void ask_all(const struct tool *tool, struct ring_picture *out, struct asking *askings)
{
    struct sp_ring_state plain = {.redis = true}; /* INFO needs no attached connection */
    for (size_t i = 0; i < out->count; i++) {
        ring_peer_init(&askings[i].peer, tool, &out->nodes[i], &plain);
        askings[i].started = pthread_create(&askings[i].thread, NULL, ask_info, &askings[i]) == 0;
        if (!askings[i].started)
            ask_info(&askings[i]);
    }
    for (size_t i = 0; i < out->count; i++) {
        if (askings[i].started)
            pthread_join(askings[i].thread, NULL);
        figure_fill(&out->figures[i], &askings[i]);
    }
    for (size_t i = 0; i < out->count; i++) {
        if (askings[i].info != NULL)
            peers_add(out, askings[i].info);
        free(askings[i].info);
    }
}

int ring_picture_take(struct tool *tool, struct ring_picture *out)
{
    memset(out, 0, sizeof *out);
    int status = sp_ring_nodes(tool->ring, &out->nodes, &out->count, &out->state);
    if (status != SP_OK)
        return tool_failed(status, "the ring's nodes");
    out->figures = calloc(out->count + 1, sizeof *out->figures);
    struct asking *askings = calloc(out->count + 1, sizeof *askings);
    if (out->figures != NULL && askings != NULL)
        ask_all(tool, out, askings);
    bool good = out->figures != NULL && askings != NULL;
    free(askings);
    if (good)
        return TOOL_OK;
    ring_picture_free(out);
    return tool_failed(SP_ENOMEM, "the ring's nodes");
}

void ring_picture_free(struct ring_picture *picture)
{
    free(picture->nodes);
    free(picture->figures);
    memset(picture, 0, sizeof *picture);
}

bool ring_picture_complete(const struct ring_picture *picture)
{
    bool complete =
        picture->state.under_replicated_slots == 0 && picture->state.unsettled_slots == 0;
    for (size_t i = 0; i < picture->count; i++) {
        const struct ring_figure *figure = &picture->figures[i];
        complete &= figure->answers && figure->missed_slots == 0 && figure->suspect_slots == 0;
    }
    return complete && picture->count >= picture->state.replicas;
}

/* --- telling ---------------------------------------------------------------------------------- */

const char *ring_state_text(enum sp_ring_node_state state)
{
    static const char *const names[] = {"joining", "ready", "draining", "drained"};
    return (unsigned)state < 4 ? names[state] : "unknown";
}

static double share_of(const struct ring_picture *picture, const struct sp_ring_node *node)
{
    return picture->state.slots > 0 ? 100.0 * node->owned_slots / picture->state.slots : 0;
}

static json_t *node_json(const struct ring_picture *picture, size_t i)
{
    const struct sp_ring_node *node = &picture->nodes[i];
    const struct ring_figure *figure = &picture->figures[i];
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:I, s:f, s:I, s:I, s:I}", "name", node->name, "address",
        node->address, "zone", node->zone, "state", ring_state_text(node->state), "answers",
        figure->answers, "weight", (json_int_t)node->weight, "share_percent",
        share_of(picture, node), "owned_slots", (json_int_t)node->owned_slots, "held_slots",
        (json_int_t)node->held_slots, "wanted_slots", (json_int_t)node->wanted_slots);
    if (out == NULL)
        return NULL;
    if (!figure->answers) {
        json_object_set_new(out, "why", json_string(figure->why));
        return out;
    }
    json_t *more = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "keys", (json_int_t)figure->keys,
        "memory_bytes", (json_int_t)figure->memory_bytes, "process_id",
        (json_int_t)figure->process_id, "round_trip_us", (json_int_t)figure->round_trip_us,
        "missed_slots", (json_int_t)figure->missed_slots, "queued_writes",
        (json_int_t)figure->queued, "suspect_slots", (json_int_t)figure->suspect_slots,
        "pulling_slots", (json_int_t)figure->pulling_slots);
    json_object_update(out, more);
    json_decref(more);
    return out;
}

json_t *ring_picture_json(const struct ring_picture *picture)
{
    const struct sp_ring_state *state = &picture->state;
    json_t *nodes = json_array();
    for (size_t i = 0; i < picture->count; i++)
        json_array_append_new(nodes, node_json(picture, i));
    return json_pack("{s:I, s:I, s:I, s:s, s:b, s:I, s:I, s:b, s:o}", "epoch",
                     (json_int_t)state->epoch, "slots", (json_int_t)state->slots, "replicas",
                     (json_int_t)state->replicas, "kind", state->redis ? "redis" : "sidepondd",
                     "complete", ring_picture_complete(picture), "under_replicated_slots",
                     (json_int_t)state->under_replicated_slots, "unsettled_slots",
                     (json_int_t)state->unsettled_slots, "zookeeper_away", state->zookeeper_away,
                     "nodes", nodes);
}

static void figure_cells(struct text_table *out, const struct ring_figure *figure)
{
    char text[TEXT_BYTES];
    for (int i = 0; !figure->answers && i < 4; i++)
        text_cell(out, TEXT_DIM, "-");
    if (!figure->answers)
        return;
    text_cell(out, TEXT_PLAIN, "%s", text_count(out->tool, figure->keys, text));
    text_cell(out, TEXT_PLAIN, "%s", text_size(figure->memory_bytes, text));
    text_cell(out, figure->missed_slots > 0 ? TEXT_RED : TEXT_PLAIN, "%" PRIu64 "/%" PRIu64,
              figure->missed_slots, figure->queued);
    text_cell(out, TEXT_PLAIN, "%.2f ms", figure->round_trip_us / 1000.0);
}

static void node_cells(struct text_table *out, const struct ring_picture *picture, size_t i)
{
    const struct sp_ring_node *node = &picture->nodes[i];
    const struct ring_figure *figure = &picture->figures[i];
    bool whole = node->held_slots >= node->wanted_slots;
    text_cell(out, TEXT_CYAN, "%s", node->name);
    text_cell(out, TEXT_PLAIN, "%s", node->address);
    text_cell(out, TEXT_PLAIN, "%s", node->zone[0] != '\0' ? node->zone : "-");
    if (!figure->answers)
        text_cell(out, TEXT_RED, "down");
    else if (figure->suspect_slots > 0)
        text_cell(out, TEXT_YELLOW, "catching up");
    else
        text_cell(out, node->state == SP_RING_READY ? TEXT_GREEN : TEXT_YELLOW, "%s",
                  ring_state_text(node->state));
    text_cell(out, TEXT_PLAIN, "%" PRIu32, node->weight);
    text_cell(out, TEXT_PLAIN, "%.1f%%", share_of(picture, node));
    text_cell(out, whole ? TEXT_PLAIN : TEXT_YELLOW, "%" PRIu32 "/%" PRIu32, node->held_slots,
              node->wanted_slots);
    figure_cells(out, figure);
}

static void sentence_print(const struct tool *tool, const struct ring_picture *picture, FILE *out)
{
    const struct sp_ring_state *state = &picture->state;
    bool complete = ring_picture_complete(picture);
    fprintf(out, "%s%s%s", text_color_on(tool, complete ? TEXT_GREEN : TEXT_RED),
            complete ? "redundancy complete" : "redundancy not complete", text_color_off(tool));
    if (complete)
        fprintf(out, ": each of %" PRIu32 " slots has %" PRIu32 " of %" PRIu32 " copies",
                state->slots, state->replicas, state->replicas);
    if (state->under_replicated_slots > 0)
        fprintf(out, "; %" PRIu32 " of %" PRIu32 " slots have fewer than %" PRIu32 " copies",
                state->under_replicated_slots, state->slots, state->replicas);
    if (state->unsettled_slots > 0)
        fprintf(out, "; %" PRIu32 " slots move", state->unsettled_slots);
    if (picture->count < state->replicas)
        fprintf(out, "; fewer nodes than copies");
    for (size_t i = 0; i < picture->count; i++) {
        const struct ring_figure *figure = &picture->figures[i];
        if (!figure->answers)
            fprintf(out, "; %s: %s", picture->nodes[i].name, figure->why);
        else if (figure->missed_slots > 0)
            fprintf(out, "; %s has missed writes in %" PRIu64 " slots", picture->nodes[i].name,
                    figure->missed_slots);
    }
    fprintf(out, "%s\n", state->zookeeper_away ? "; ZooKeeper does not answer" : "");
}

void ring_picture_print(const struct tool *tool, const struct ring_picture *picture, FILE *out)
{
    static const char *const headers[] = {"NODE",  "ADDRESS", "ZONE",   "STATE", "WEIGHT", "SHARE",
                                          "SLOTS", "KEYS",    "MEMORY", "LAG",   "PING"};
    struct text_table table;
    text_table_init(&table, tool, 11, headers, "llllrrrrrrr");
    table.out = out;
    for (size_t i = 0; i < picture->count; i++)
        node_cells(&table, picture, i);
    text_table_print(&table, NULL, true);
    text_table_free(&table);
    sentence_print(tool, picture, out);
}

const char *ring_picture_line(const struct ring_picture *picture, char *out, size_t room)
{
    const struct sp_ring_state *state = &picture->state;
    int used = snprintf(out, room,
                        "epoch %" PRIu64 "\t%s\t%" PRIu32 " under-replicated\t%" PRIu32 " moving\t",
                        state->epoch, ring_picture_complete(picture) ? "complete" : "not complete",
                        state->under_replicated_slots, state->unsettled_slots);
    for (size_t i = 0; i < picture->count && used > 0 && (size_t)used < room; i++) {
        const struct ring_figure *figure = &picture->figures[i];
        const char *text = !figure->answers            ? "down"
                           : figure->suspect_slots > 0 ? "catching up"
                                                       : ring_state_text(picture->nodes[i].state);
        used += snprintf(out + used, room - (size_t)used, "%s%s %s", i > 0 ? ", " : "",
                         picture->nodes[i].name, text);
    }
    return out;
}
