/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_gtid.c - positions in MariaDB's binary log as global transaction ids.
 *
 * A position is the last transaction of each replication domain, and the place in the log where
 * that was so: "0-1-100,5-2-7@binlog.000003:1234". The log itself is one sequence, so in a log that
 * is followed from one position, a state stands for one place. A server that was begun anew or lost
 * the end of its log gives the same ids again, to other transactions; the place tells them apart.
 * Limits: so many domains as the header says.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/mariadb_binlog.h"

/* A GTID with its comma; the place, with its marks; a zero. */
static_assert(GTID_DOMAINS_MAX * (10 + 1 + 10 + 1 + 20 + 1) + 1 + GTID_FILE_BYTES + 1 + 20 <
                  FEED_POSITION_BYTES,
              "every position fits");

static const char nothing[] = "none";

/* Digits up to a limit; the end of them, or NULL. */
static const char *read_number(const char *at, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    if (*at < '0' || *at > '9')
        return NULL;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number) || number > max)
            return NULL;
    *out = number;
    return at;
}

static const char *read_gtid(const char *at, struct gtid *out)
{
    uint64_t domain, server;
    at = read_number(at, UINT32_MAX, &domain);
    if (!at || *at++ != '-')
        return NULL;
    at = read_number(at, UINT32_MAX, &server);
    if (!at || *at++ != '-')
        return NULL;
    out->domain = (uint32_t)domain;
    out->server = (uint32_t)server;
    return read_number(at, UINT64_MAX, &out->sequence);
}

/* file:offset, up to the end. A file's name has no colon that the last one could be taken for. */
static bool read_place(const char *at, struct gtid_state *out)
{
    const char *colon = strrchr(at, ':');
    const size_t bytes = colon ? (size_t)(colon - at) : 0;
    if (bytes == 0 || bytes >= sizeof(out->file))
        return false;
    memcpy(out->file, at, bytes);
    out->file[bytes] = 0;
    const char *end = read_number(colon + 1, UINT64_MAX, &out->offset);
    return end && !*end;
}

static const char *read_gtids(const char *text, struct gtid_state *out)
{
    const size_t bytes = strlen(nothing);
    if (strncmp(text, nothing, bytes) == 0)
        return text + bytes;
    for (;;) {
        struct gtid gtid;
        text = read_gtid(text, &gtid);
        if (!text || !gtid_advance(out, &gtid))
            return NULL;
        if (*text != ',')
            return text;
        text++;
        while (*text == ' ' || *text == '\n')
            text++;
    }
}

bool gtid_parse(const char *text, struct gtid_state *out)
{
    *out = (struct gtid_state){0};
    text = *text ? read_gtids(text, out) : text;
    return text && (!*text || (*text == '@' && read_place(text + 1, out)));
}

void gtid_print_ids(const struct gtid_state *state, char *out)
{
    size_t used = 0;
    *out = 0;
    for (unsigned i = 0; i < state->count; i++) {
        const struct gtid *gtid = &state->gtids[i];
        used += (size_t)snprintf(out + used, FEED_POSITION_BYTES - used,
                                 "%s%" PRIu32 "-%" PRIu32 "-%" PRIu64, i ? "," : "", gtid->domain,
                                 gtid->server, gtid->sequence);
    }
}

void gtid_print(const struct gtid_state *state, char *out)
{
    gtid_print_ids(state, out);
    if (state->count == 0)
        source_copy(out, FEED_POSITION_BYTES, nothing);
    const size_t used = strlen(out);
    if (state->file[0])
        snprintf(out + used, FEED_POSITION_BYTES - used, "@%s:%" PRIu64, state->file,
                 state->offset);
}

bool gtid_advance(struct gtid_state *state, const struct gtid *gtid)
{
    unsigned i = 0;
    while (i < state->count && state->gtids[i].domain != gtid->domain)
        i++;
    if (i == GTID_DOMAINS_MAX)
        return false;
    state->gtids[i] = *gtid;
    state->count += i == state->count;
    return true;
}

static uint64_t sequence_of(const struct gtid_state *state, uint32_t domain)
{
    for (unsigned i = 0; i < state->count; i++)
        if (state->gtids[i].domain == domain)
            return state->gtids[i].sequence;
    return 0;
}

bool gtid_covers(const struct gtid_state *state, const struct gtid_state *other)
{
    for (unsigned i = 0; i < other->count; i++)
        if (sequence_of(state, other->gtids[i].domain) < other->gtids[i].sequence)
            return false;
    return true;
}

static bool has(const struct gtid_state *state, const struct gtid *gtid)
{
    for (unsigned i = 0; i < state->count; i++)
        if (state->gtids[i].domain == gtid->domain)
            return state->gtids[i].server == gtid->server &&
                   state->gtids[i].sequence == gtid->sequence;
    return false;
}

bool gtid_same(const struct gtid_state *state, const struct gtid_state *other)
{
    bool same = state->count == other->count;
    for (unsigned i = 0; i < other->count && same; i++)
        same = has(state, &other->gtids[i]);
    return same;
}
