/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_digests.c - compares the digests of all holders of each slot, on sidepondd nodes.
 *
 * While clients write, two digests that are asked for one after the other differ; so a slot counts
 * as differing only if it does in each of LOOKS looks, a little apart. An interval of 16,384 slots
 * is about half a megabyte of each node.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring_compare.h"

enum { LOOKS = 4, LOOK_MS = 60, CHUNK = 1024, DIGEST_BYTES = 17 };

struct digests {
    char (*of)[DIGEST_BYTES]; /* count * slots; "": the node was not asked for it */
    bool *differs;            /* slots */
};

static bool chunk_take(struct digests *digests, size_t base, const redisReply *reply,
                       unsigned count)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        const redisReply *pair = reply->element[i];
        if (pair->type != REDIS_REPLY_ARRAY || pair->elements < 1 ||
            pair->element[0]->str == NULL || pair->element[0]->len >= DIGEST_BYTES)
            return false;
        memcpy(digests->of[base + i], pair->element[0]->str, pair->element[0]->len + 1);
    }
    return true;
}

static int node_read(struct ring_compare *compare, struct digests *digests, size_t node)
{
    unsigned slots = compare->state.slots;
    struct peer *peer = &compare->peers[node];
    for (unsigned first = 0; first < slots; first += CHUNK) {
        unsigned count = slots - first < CHUNK ? slots - first : CHUNK;
        char from[16], many[16];
        const char *words[] = {"SIDEPOND", "DIGESTS", from, many};
        snprintf(from, sizeof from, "%u", first);
        snprintf(many, sizeof many, "%u", count);
        redisReply *reply = peer_call(peer, 4, words);
        bool good = reply != NULL && chunk_take(digests, node * slots + first, reply, count);
        if (!good && reply != NULL)
            peer_refused(peer, "SIDEPOND DIGESTS", reply);
        if (reply != NULL)
            freeReplyObject(reply);
        if (!good)
            return ring_compare_lost(compare, node);
    }
    return TOOL_OK;
}

/* Whether the holders of a slot have different digests; with `notes`, says which. */
static bool slot_differs(struct ring_compare *compare, const struct digests *digests, unsigned slot,
                         bool notes)
{
    struct sp_ring_where where = {0};
    const char *first = NULL, *first_name = "";
    bool differs = false;
    if (sp_ring_where_slot(compare->tool->ring, slot, &where) != SP_OK)
        return false;
    for (unsigned i = 0; i < where.holder_count; i++) {
        int node = ring_compare_find(compare, where.names[i]);
        const char *digest =
            node >= 0 ? digests->of[(size_t)node * compare->state.slots + slot] : "";
        if (digest[0] == '\0')
            continue;
        if (first == NULL) {
            first = digest;
            first_name = where.names[i];
        } else if (strcmp(first, digest) != 0) {
            differs = true;
            if (notes)
                ring_compare_note(compare, "slot %u: %s and %s differ", slot, first_name,
                                  where.names[i]);
        }
    }
    return differs;
}

/* One look at all nodes; returns in *left how many of the slots that differed do so still. */
static int look(struct ring_compare *compare, struct digests *digests, bool last, uint64_t *left)
{
    int code = TOOL_OK;
    *left = 0;
    memset(digests->of, 0, compare->count * compare->state.slots * sizeof *digests->of);
    for (size_t node = 0; node < compare->count; node++) {
        int now = node_read(compare, digests, node);
        code = code == TOOL_OK ? now : code;
    }
    for (unsigned slot = 0; slot < compare->state.slots; slot++)
        if (digests->differs[slot]) {
            digests->differs[slot] = slot_differs(compare, digests, slot, last);
            *left += digests->differs[slot];
        }
    return code;
}

int ring_compare_digests(struct ring_compare *compare)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    size_t cells = compare->count * compare->state.slots;
    struct digests digests = {.of = calloc(cells + 1, sizeof *digests.of),
                              .differs = malloc(compare->state.slots + 1)};
    uint64_t left = 1;
    int code = TOOL_OK;
    compare->slots = compare->state.slots;
    if (digests.of == NULL || digests.differs == NULL)
        code = tool_failed(SP_ENOMEM, "digests");
    else
        memset(digests.differs, 1, compare->state.slots);
    for (int i = 0; i < LOOKS && left > 0 && code == TOOL_OK; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        code = look(compare, &digests, i + 1 == LOOKS, &left);
    }
    compare->differing_slots = left;
    free(digests.of);
    free(digests.differs);
    return code;
}
