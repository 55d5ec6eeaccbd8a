/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h - what the files of the reader library share.
 *
 *   sp_pond --current--> mapping --older--> mapping of a pond that was replaced
 *      |                    |  schemas (parsed once each), leases file and lease pools
 *      | tables             |
 *      v                    v
 *   sp_table --binding--> binding: where in that mapping the table is
 *
 * A binding is made once and never changed but for its limit; a table gets another one when its
 * pond is replaced. Mappings, bindings and schemas live until sp_close, so a thread that still uses
 * an old one reads memory that is there. Everything that makes one of them holds the pond's mutex.
 */
#ifndef SIDEPOND_LOCAL_INTERNAL_H
#define SIDEPOND_LOCAL_INTERNAL_H

#include <pthread.h>

#include "alloc/format.h"
#include "alloc/region.h"
#include "alloc/row.h"
#include "sidepond/sidepond.h"

#define READ_AGAIN 1 /* beside the statuses, inside the library: start again at R0 */

/* A reader starts again only because somebody else got on. This many times in a row no writer
 * manages; a forged pond could. */
#define READ_TRIES_MAX (1u << 22)

#define NEVER_INLINE __attribute__((noinline, cold))

/* --- pond ------------------------------------------------------------------------------------- */

struct sp_schema {
    struct schema *parsed;
    bool is_shared;                /* parsed belongs to an older one, of equal content */
    uint64_t root_unit, root_born; /* of the root it was seen in */
    struct sp_schema *next;
};

struct sp_snapshot {
    struct lease_pool *pool;
    struct lease *lease; /* NULL: slot unused so far */
    _Atomic uint32_t busy;
    uint32_t use_count;
    uint64_t pinned; /* the word that stands in the lease */
    uint64_t began_ms;
};

/* Leases that this process has locked. Snapshots are elements of it, so beginning one allocates
 * nothing. After a fork the child leaves the pool to its snapshots, which it refuses, and starts
 * another one. */
struct lease_pool {
    struct sp_pond *pond;
    struct mapping *map;
    struct region_leases file;
    unsigned fork_generation;
    _Atomic uint64_t checked_ms; /* when the file was last looked at */
    _Atomic uint32_t owned;      /* slots[0, owned) have a lease */
    struct lease_pool *older;
    uint8_t taken[FORMAT_LEASES_MAX / 8]; /* indexes of leases that are ours */
    struct sp_snapshot slots[FORMAT_LEASES_MAX];
};

struct mapping {
    struct region region;
    uint64_t id[2];
    struct sp_schema *schemas;
    _Atomic(struct lease_pool *) leases;
    struct mapping *older;
};

struct sp_pond {
    pthread_mutex_t mutex;
    _Atomic(struct mapping *) current;
    struct sp_table *tables;
    struct sp_cache *cache; /* its table is one of tables */
    struct sp_scan *scans;
    struct known_name *names;    /* handed out by sp_table_names */
    _Atomic uint64_t checked_ms; /* when the directory was last looked at */
    uint64_t attach_failed_ms;   /* when the pond that replaces current was last not there */
    struct sp_pond *next, *prev; /* all ponds of the process, for fork */
    char directory[4096];
};

struct binding {
    _Alignas(64) const struct super *super;
    const struct table_slot *slot;
    const uint8_t *arena;
    _Atomic uint64_t limit_bytes; /* what is backed by memory; no offset may go beyond */
    /* What slot->route stood for when it was `route`: a root that was the newest and committed, its
     * primary directory, and the slot's flags. See quick.h. */
    const _Atomic uint64_t *directory;
    uint64_t dir_words;
    uint64_t route;
    struct hash_secret hash;
    uint32_t flags;
    uint64_t head, born;
    _Atomic(const struct sp_schema *) schema; /* the one last used */
    struct mapping *map;
    struct binding *older;
};
static_assert(offsetof(struct binding, head) <= 128, "what every read takes: two lines");
static_assert(sizeof(struct binding) == 192, "whole lines");

struct sp_table {
    _Atomic(struct binding *) binding;
    struct sp_pond *pond;
    struct sp_table *next;
    uint32_t learned; /* bindings that binding_learn has made */
    char name[FORMAT_NAME_BYTES];
};

static inline struct binding *table_binding(struct sp_table *table)
{
    return atomic_load_explicit(&table->binding, memory_order_acquire);
}
static inline struct mapping *pond_mapping(struct sp_pond *pond)
{
    return atomic_load_explicit(&pond->current, memory_order_acquire);
}
static inline uint64_t map_committed(const struct mapping *map)
{
    return atomic_load_explicit(&map->region.super->committed, memory_order_acquire);
}

/* --- bind.c ----------------------------------------------------------------------------------- */

int mapping_open(const char *directory, struct mapping **out, char *why);
void mapping_free(struct mapping *map);

/* What of the arena is backed now, and in any case a page; a multiple of a bucket's size. */
uint64_t mapping_usable_bytes(const struct mapping *map);

/* The slot of a table by its name, or NULL. */
const struct table_slot *mapping_slot(const struct mapping *map, const char *name);

/* The table's binding to a mapping, made if there is none. NULL: out of memory. Mutex held. */
struct binding *binding_for(struct sp_table *table, struct mapping *map);
struct binding *binding_make(struct sp_table *table, struct mapping *map);

struct find_path;

/* Gives the table a binding that knows the root and directory of the path, if those are the newest,
 * and the binding's route is not that of the path. The path must have passed R8. */
void binding_learn(struct sp_table *table, struct binding *binding, const struct find_path *path);

/* Raises the binding's limit to what is backed by now, or finds that another thread has; false if
 * it is no more than the limit that the caller has seen. */
bool binding_grow(struct binding *binding, uint64_t seen_bytes);

/* The current pond is retired or replaced: attach to the one that took its place and bind all
 * tables to it. SP_ENOTREADY while there is none. */
int pond_follow(struct sp_pond *pond);
/* The same if the directory holds another pond by now; looks at most once a second. */
int pond_follow_replaced(struct sp_pond *pond);

/* --- error_detail.c --------------------------------------------------------------------------- */

/* The thread's buffer of REGION_WHY_BYTES, emptied. */
char *error_buffer(void);
/* Returns the status, with a sentence or without one. */
int error_set(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
int error_plain(int status);

/* --- options.c -------------------------------------------------------------------------------- */

/* Options over their defaults, of which `bytes` are known here. `given` may be NULL, and begins
 * with its own size (struct_bytes): SP_EINVAL if that was not set, naming the value that sets it.
 */
int options_over(void *defaults, size_t bytes, const void *given, const char *init);

/* --- schema.c --------------------------------------------------------------------------------- */

struct find_path;

/* The schema of the root that `path` went through. READ_AGAIN if it changed meanwhile. */
int schema_of(struct sp_table *table, struct binding *binding, const struct find_path *path,
              const struct sp_schema **out);
void schemas_free(struct sp_schema *list);

/* --- snapshot.c ------------------------------------------------------------------------------- */

extern _Atomic unsigned fork_generation; /* raised in the child of each fork */
void leases_forked(struct mapping *map); /* in the child: give up what belongs to the parent */
void leases_free(struct lease_pool *pool);
/* Whether reads through the snapshot are right up to now. */
int snapshot_status(const struct sp_snapshot *snapshot);

/* --- scan.c ----------------------------------------------------------------------------------- */

void scans_free(struct sp_pond *pond);

/* --- table.c ---------------------------------------------------------------------------------- */

void tables_free(struct sp_pond *pond);
void bindings_free(struct sp_table *table);

/* --- cache.c ---------------------------------------------------------------------------------- */

void cache_free(struct sp_pond *pond);
void cache_forked(struct sp_pond *pond); /* in the child; mutex held */

#endif
