/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_gtid.c - positions in MariaDB's binary log as global transaction ids.
 *
 * A position is the last transaction of each replication domain. The log itself is one sequence, so
 * in a log that is followed from one position, a state stands for one place. Limits: so many
 * domains as the header says.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/mariadb_binlog.h"

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

bool gtid_parse(const char *text, struct gtid_state *out)
{
    *out = (struct gtid_state){0};
    if (strcmp(text, nothing) == 0 || !*text)
        return true;
    for (;;) {
        struct gtid gtid;
        text = read_gtid(text, &gtid);
        if (!text || !gtid_advance(out, &gtid))
            return false;
        if (!*text)
            return true;
        if (*text++ != ',')
            return false;
        while (*text == ' ' || *text == '\n')
            text++;
    }
}

bool gtid_print(const struct gtid_state *state, char *out)
{
    size_t used = 0;
    if (state->count == 0)
        source_copy(out, FEED_POSITION_BYTES, nothing);
    for (unsigned i = 0; i < state->count; i++) {
        const struct gtid *gtid = &state->gtids[i];
        const int size =
            snprintf(out + used, FEED_POSITION_BYTES - used, "%s%" PRIu32 "-%" PRIu32 "-%" PRIu64,
                     i ? "," : "", gtid->domain, gtid->server, gtid->sequence);
        used += (size_t)size;
        if (used >= FEED_POSITION_BYTES)
            return false;
    }
    return true;
}

const char *gtid_for_server(const char *position)
{
    return strcmp(position, nothing) == 0 ? "" : position;
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
