/* SPDX-License-Identifier: Apache-2.0
 *
 * map.h - the ring's map: which nodes hold which slot, and which shall (docs/RING.md, "The map").
 *
 * Pure: no socket, no file, no clock. A map never changes once it is made; it is shared by counted
 * references, which any thread may take and give back.
 */
#ifndef SIDEPOND_RING_MAP_H
#define SIDEPOND_RING_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ring/slot.h"
#include "sidepond/status.h"

#define RING_COPIES_MAX    3u
#define RING_NODES_MAX     1024u
#define RING_NAME_BYTES    64u  /* of a node, with the terminating zero */
#define RING_ADDRESS_BYTES 128u /* "HOST:PORT", "[ADDRESS]:PORT" or "unix:/PATH" */
#define RING_ZONE_BYTES    32u
#define RING_WEIGHT_MAX    1000u
#define RING_WHY_BYTES     256u

enum ring_kind { RING_SIDEPOND, RING_REDIS };
enum ring_node_state { RING_NODE_READY, RING_NODE_DRAINING };

/* What all nodes of a ring agree on. */
struct ring_parameters {
    uint16_t slots;
    uint8_t replicas; /* copies of each key, 1 to 3 */
    uint8_t kind;     /* enum ring_kind */
};
#define RING_PARAMETERS_INIT                                                                       \
    {                                                                                              \
        .slots = RING_SLOTS_MAX, .replicas = 2, .kind = RING_SIDEPOND                              \
    }

struct ring_node {
    char name[RING_NAME_BYTES];
    char address[RING_ADDRESS_BYTES];
    char zone[RING_ZONE_BYTES]; /* "": none; nodes without a zone are each in one of their own */
    uint16_t weight;            /* 1 to RING_WEIGHT_MAX; 100 is usual */
    uint8_t state;              /* enum ring_node_state */
    uint64_t start;             /* drawn by the process when it starts; not 0 */
};

/* Positions in the map's nodes. Settled: targets and holders are the same. */
struct ring_slot_copies {
    uint16_t holders[RING_COPIES_MAX]; /* in the order in which they are asked */
    uint16_t targets[RING_COPIES_MAX];
    uint8_t holder_count, target_count;
};

struct ring_map {
    _Atomic uint32_t references;
    uint32_t node_count;
    uint64_t epoch; /* counts from 1 */
    struct ring_parameters parameters;
    struct ring_node *nodes;        /* by name */
    struct ring_slot_copies *slots; /* parameters.slots */
};

struct ring_map *ring_map_ref(const struct ring_map *map);
void ring_map_unref(const struct ring_map *map); /* NULL is fine */

/* NULL and SP_OK in *out: nothing changes. `map` may be NULL, and then the epoch is 1. `members`
 * in any order; SP_EINVAL, with a sentence in `why` (RING_WHY_BYTES), for names that are no names,
 * are there twice, and the like; SP_ENOMEM. No members at all: the map stays as it is. */
int ring_map_next(const struct ring_map *map, const struct ring_parameters *parameters,
                  const struct ring_node *members, size_t count, struct ring_map **out, char *why);

/* The map in which this node, under this start id, is also a holder of those of `slots` (a bitmap)
 * whose target it is; settled where that was the last one missing. *out NULL: nothing changes. */
int ring_map_hold(const struct ring_map *map, const char *name, uint64_t start,
                  const uint64_t slots[RING_SLOT_WORDS], struct ring_map **out);

/* The nodes that writes of a slot go to: holders, then targets that are no holders. Returns how
 * many, at most 2 * RING_COPIES_MAX. */
unsigned ring_map_union(const struct ring_map *map, unsigned slot,
                        uint16_t nodes[2 * RING_COPIES_MAX]);

/* Position of a node, or -1. */
int ring_map_find(const struct ring_map *map, const char *name);

/* SP_EINVAL with why, for what cannot be in a map: see struct ring_node. */
int ring_node_check(const struct ring_node *node, char *why);

/* The encoding of docs/RING.md. *out is to be freed. */
int ring_map_encode(const struct ring_map *map, uint8_t **out, size_t *size);
/* SP_EFORMAT: not a map; SP_ECORRUPT: of a map's form, but damaged. */
int ring_map_decode(const void *bytes, size_t size, struct ring_map **out);

/* A file with an encoded map. Saving replaces it at once, whole. SP_ENOTFOUND, SP_ESYS, ... */
int ring_map_save(const struct ring_map *map, const char *path);
int ring_map_load(const char *path, struct ring_map **out);

#endif
