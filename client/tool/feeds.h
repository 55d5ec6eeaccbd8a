/* SPDX-License-Identifier: Apache-2.0
 *
 * feeds.h - the groups of tables that follow their databases (refresh mode `feed`).
 */
#ifndef SIDEPOND_TOOL_FEEDS_H
#define SIDEPOND_TOOL_FEEDS_H

#include <jansson.h>

#include "peer.h"

struct feed {
    char group[64], source[64], follower[64];
    char state[32];         /* "following", "starting", "fallen back", "stopped" */
    json_t *tables;         /* their names; NULL: not known */
    uint64_t age_ms;        /* of the oldest table; UINT64_MAX: not known */
    uint64_t lag_bytes;     /* what the database keeps for it; UINT64_MAX: not known */
    int64_t at_ms;          /* wall clock of the database at the position; 0: there is none */
    int64_t compared_at_ms; /* when all rows were last read; 0: not known */
    char why[512];          /* it is not possible; "" */
};

struct feeds {
    struct feed *of;
    size_t count;
    char why[PEER_WHY_BYTES]; /* the daemon could not be asked; "" */
};

/* What the pond says of them, and the daemon, where there is one that answers. */
int feeds_read(struct tool *tool, const struct sp_pond_info *info, struct feeds *out);
void feeds_free(struct feeds *feeds);
json_t *feeds_json(const struct feeds *feeds);
/* A table, and a line for each that is not possible; nothing if there are no feeds. */
void feeds_print(const struct tool *tool, const struct feeds *feeds);

#endif
