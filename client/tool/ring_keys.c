/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_keys.c - each key of each Redis node (SCAN), looked for at the other nodes that shall have
 * it (EXISTS), and copied to those that lack it (DUMP, PTTL, RESTORE).
 *
 * It never overwrites: a key that has come to a node in the meantime stays as it is there. Of the
 * nodes of a key that have it, the first one counts it and is copied from. Redis keeps no versions,
 * so a key that was deleted while one of its nodes was away comes back from that one; and values
 * are not compared.
 *
 * Costs each node one pass of SCAN, and an EXISTS a key and copy, in pipelines of a batch.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc/clock.h"
#include "ring_compare.h"

enum { BATCH_KEYS = 500, PLACES = 6, BAR_WIDTH = 30, BAR_MS = 200 };

struct key_row {
    const redisReply *key;
    int nodes[PLACES]; /* in the order in which they are asked; -1: not in the ring */
    unsigned count;
    bool has[PLACES];
};

struct pass {
    struct ring_compare *compare;
    size_t node; /* whose keys these are */
    uint64_t total, begun_us, drawn_us;
    struct key_row *rows;
    size_t row_count;
};

/* --- progress --------------------------------------------------------------------------------- */

static uint64_t keys_total(struct ring_compare *compare)
{
    const char *words[] = {"DBSIZE"};
    uint64_t total = 0;
    for (size_t i = 0; i < compare->count; i++) {
        redisReply *reply = peer_call(&compare->peers[i], 1, words);
        if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
            total += (uint64_t)reply->integer;
        if (reply != NULL)
            freeReplyObject(reply);
    }
    return total;
}

static void progress_draw(struct pass *pass, bool end)
{
    const struct ring_compare *compare = pass->compare;
    char bar[BAR_WIDTH + 3];
    if (!compare->progress || (!end && clock_us() - pass->drawn_us < BAR_MS * 1000))
        return;
    pass->drawn_us = clock_us();
    fprintf(stderr, "\r%s %llu keys, %llu missing, %llu copied\033[K%s",
            text_bar(compare->keys, pass->total, BAR_WIDTH, bar), (unsigned long long)compare->keys,
            (unsigned long long)compare->missing, (unsigned long long)compare->copied,
            end ? "\n" : "");
}

/* Waits where more keys were copied than the rate allows. */
static void throttle(const struct pass *pass)
{
    uint64_t due_us = pass->begun_us + pass->compare->copied * 1000000 / pass->compare->rate;
    uint64_t now_us = clock_us();
    if (due_us <= now_us)
        return;
    const struct timespec pause = {.tv_sec = (time_t)((due_us - now_us) / 1000000),
                                   .tv_nsec = (long)((due_us - now_us) % 1000000) * 1000};
    nanosleep(&pause, NULL);
}

/* --- looking ---------------------------------------------------------------------------------- */

static int row_place(struct pass *pass, const redisReply *key)
{
    struct sp_ring_where where = {0};
    struct key_row *row = &pass->rows[pass->row_count];
    int status = sp_ring_where(pass->compare->tool->ring, key->str, key->len, &where);
    if (status != SP_OK)
        return tool_failed(status, "the place of a key");
    memset(row, 0, sizeof *row);
    row->key = key;
    row->count = where.count < PLACES ? where.count : PLACES;
    for (unsigned i = 0; i < row->count; i++) {
        row->nodes[i] = ring_compare_find(pass->compare, where.names[i]);
        row->has[i] = row->nodes[i] == (int)pass->node;
    }
    pass->row_count++;
    return TOOL_OK;
}

static bool asks(const struct pass *pass, const struct key_row *row, unsigned i, size_t node)
{
    return row->nodes[i] == (int)node && node != pass->node;
}

/* Asks one other node for all keys of the batch that it shall have. */
static int node_look(struct pass *pass, size_t node)
{
    struct peer *peer = &pass->compare->peers[node];
    for (size_t r = 0; r < pass->row_count; r++)
        for (unsigned i = 0; i < pass->rows[r].count; i++) {
            const char *words[] = {"EXISTS", pass->rows[r].key->str};
            const size_t sizes[] = {6, pass->rows[r].key->len};
            if (asks(pass, &pass->rows[r], i, node) && !peer_append(peer, 2, words, sizes))
                return ring_compare_lost(pass->compare, node);
        }
    for (size_t r = 0; r < pass->row_count; r++)
        for (unsigned i = 0; i < pass->rows[r].count; i++) {
            if (!asks(pass, &pass->rows[r], i, node))
                continue;
            redisReply *reply = peer_next(peer);
            bool good = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
            pass->rows[r].has[i] = good && reply->integer > 0;
            if (reply != NULL && !good)
                peer_refused(peer, "EXISTS", reply);
            if (reply != NULL)
                freeReplyObject(reply);
            if (!good)
                return ring_compare_lost(pass->compare, node);
        }
    return TOOL_OK;
}

/* --- copying ---------------------------------------------------------------------------------- */

static bool is_error(const redisReply *reply, const char *begin)
{
    return reply != NULL && reply->type == REDIS_REPLY_ERROR &&
           strncmp(reply->str, begin, strlen(begin)) == 0;
}

/* Whether the node has the key now; a key that came in the meantime is as good. */
static bool restore(struct peer *to, const redisReply *key, const redisReply *dump,
                    long long ttl_ms)
{
    char ttl[24];
    long long lives_ms = ttl_ms == 0 ? 1 : ttl_ms < 0 ? 0 : ttl_ms; /* RESTORE's 0 is for ever */
    int ttl_size = snprintf(ttl, sizeof ttl, "%lld", lives_ms);
    const char *words[] = {"RESTORE", key->str, ttl, dump->str};
    const size_t sizes[] = {7, key->len, (size_t)ttl_size, dump->len};
    if (!peer_append(to, 4, words, sizes))
        return false;
    redisReply *reply = peer_next(to);
    bool good = reply != NULL && (reply->type == REDIS_REPLY_STATUS || is_error(reply, "BUSYKEY"));
    if (reply != NULL && !good)
        peer_refused(to, words[0], reply);
    if (reply != NULL)
        freeReplyObject(reply);
    return good;
}

static void copy_note(struct pass *pass, const redisReply *key, int to, const char *why)
{
    char *text = text_escape(key->str, key->len);
    pass->compare->failures++;
    ring_compare_note(pass->compare, "%s: cannot copy to %s: %s", text != NULL ? text : "?",
                      pass->compare->nodes[to].name, why);
    free(text);
}

/* From this pass' node to another one. A key that is gone by now is no failure. */
static int key_copy(struct pass *pass, const redisReply *key, int to)
{
    struct peer *from = &pass->compare->peers[pass->node];
    struct peer *target = &pass->compare->peers[to];
    const char *dump_words[] = {"DUMP", key->str}, *ttl_words[] = {"PTTL", key->str};
    const size_t sizes[] = {4, key->len};
    if (!peer_append(from, 2, dump_words, sizes) || !peer_append(from, 2, ttl_words, sizes))
        return ring_compare_lost(pass->compare, pass->node);
    redisReply *dump = peer_next(from);
    redisReply *ttl = peer_next(from);
    int code = dump != NULL && ttl != NULL ? TOOL_OK : ring_compare_lost(pass->compare, pass->node);
    bool there = code == TOOL_OK && dump->type == REDIS_REPLY_STRING &&
                 ttl->type == REDIS_REPLY_INTEGER && ttl->integer != -2;
    if (there && restore(target, key, dump, ttl->integer))
        pass->compare->copied++;
    else if (there)
        copy_note(pass, key, to, target->why);
    else if (dump != NULL && dump->type == REDIS_REPLY_ERROR)
        copy_note(pass, key, to, dump->str);
    if (dump != NULL)
        freeReplyObject(dump);
    if (ttl != NULL)
        freeReplyObject(ttl);
    return code;
}

static void missing_note(struct ring_compare *compare, const redisReply *key, int node)
{
    char *text = text_escape(key->str, key->len);
    compare->missing++;
    if (!compare->copies)
        ring_compare_note(compare, "%s: missing on %s", text != NULL ? text : "?",
                          compare->nodes[node].name);
    free(text);
}

/* What there is to do about a key; nothing where an earlier node has it, which does it. */
static int row_judge(struct pass *pass, const struct key_row *row)
{
    struct ring_compare *compare = pass->compare;
    bool mine = false, other = false;
    for (unsigned i = 0; i < row->count; i++) {
        bool self = row->nodes[i] == (int)pass->node;
        if (row->has[i] && !self && !mine)
            other = true; /* an earlier one */
        mine |= self;
    }
    if (!mine) {
        compare->strays++;
        for (unsigned i = 0; i < row->count; i++)
            other |= row->has[i];
    }
    if (other || (!mine && !compare->stray))
        return TOOL_OK;
    for (unsigned i = 0; i < row->count; i++) {
        if (row->has[i] || row->nodes[i] < 0)
            continue;
        missing_note(compare, row->key, row->nodes[i]);
        if (!compare->copies)
            continue;
        throttle(pass);
        int code = key_copy(pass, row->key, row->nodes[i]);
        if (code != TOOL_OK)
            return code;
    }
    return TOOL_OK;
}

static int batch_do(struct pass *pass, const redisReply *keys)
{
    int code = TOOL_OK;
    for (size_t from = 0; from < keys->elements && code == TOOL_OK;) {
        pass->row_count = 0;
        for (; from < keys->elements && pass->row_count < BATCH_KEYS && code == TOOL_OK; from++)
            code = row_place(pass, keys->element[from]);
        for (size_t node = 0; node < pass->compare->count && code == TOOL_OK; node++)
            code = node_look(pass, node);
        for (size_t r = 0; r < pass->row_count && code == TOOL_OK; r++)
            code = row_judge(pass, &pass->rows[r]);
        pass->compare->keys += pass->row_count;
        progress_draw(pass, false);
    }
    return code;
}

static int node_pass(struct pass *pass)
{
    struct peer *peer = &pass->compare->peers[pass->node];
    char cursor[24] = "0", count[16];
    snprintf(count, sizeof count, "%d", BATCH_KEYS);
    for (;;) {
        const char *words[] = {"SCAN", cursor, "COUNT", count};
        redisReply *reply = peer_call(peer, 4, words);
        bool good = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                    reply->element[0]->str != NULL && reply->element[1]->type == REDIS_REPLY_ARRAY;
        if (reply != NULL && !good)
            peer_refused(peer, words[0], reply);
        int code =
            good ? batch_do(pass, reply->element[1]) : ring_compare_lost(pass->compare, pass->node);
        if (good)
            snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        if (reply != NULL)
            freeReplyObject(reply);
        if (code != TOOL_OK || strcmp(cursor, "0") == 0)
            return code;
    }
}

int ring_compare_keys(struct ring_compare *compare)
{
    struct pass pass = {.compare = compare,
                        .rows = calloc(BATCH_KEYS, sizeof *pass.rows),
                        .begun_us = clock_us(),
                        .total = compare->progress ? keys_total(compare) : 0};
    int code = pass.rows != NULL ? TOOL_OK : tool_failed(SP_ENOMEM, "keys");
    for (size_t node = 0; node < compare->count && code == TOOL_OK; node++) {
        pass.node = node;
        code = node_pass(&pass);
    }
    progress_draw(&pass, true);
    free(pass.rows);
    return code;
}
