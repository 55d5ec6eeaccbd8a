/* SPDX-License-Identifier: Apache-2.0
 *
 * command.h - what a command is, and the one table of all of them (table.c).
 *
 * From the table follow: finding a command, the check of its arity, which of its arguments are keys
 * (for access control, for tables, for prefetching), whether it needs the cache's lock, and what
 * COMMAND, COMMAND DOCS, ACL CAT and docs/PROTOCOL.md say.
 */
#ifndef SIDEPOND_COMMAND_COMMAND_H
#define SIDEPOND_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/resp/request.h"

struct cache_probe;
struct command;
struct session;

/* One call of a command, while it runs. */
struct call {
    const struct command *command;
    const struct resp_arg *args; /* args[0] is the command's name */
    size_t count;
    uint64_t hash;             /* of the first key, if there is one */
    bool writes_key;           /* a command that writes, with a key and the lock */
    struct cache_probe *probe; /* that looks for it already; NULL: none does */
};

/* The words that COMMAND says of these are in about_commands.c. */
enum command_flag {
    COMMAND_WRITE = 1u << 0, /* changes the cache: refused for tables and in a full cache's way */
    COMMAND_READONLY = 1u << 1, /* reads it */
    COMMAND_DENYOOM = 1u << 2,  /* may need memory */
    COMMAND_ADMIN = 1u << 3,
    COMMAND_PUBSUB = 1u << 4,   /* of the publish and subscribe family */
    COMMAND_NOSCRIPT = 1u << 5, /* for clients' tables; there are no scripts */
    COMMAND_LOADING = 1u << 6,
    COMMAND_STALE = 1u << 7,
    COMMAND_FAST = 1u << 8,
    COMMAND_NO_AUTH = 1u << 9,              /* may be called before AUTH */
    COMMAND_NO_MULTI = 1u << 10,            /* not between MULTI and EXEC */
    COMMAND_IN_RESP2_SUBSCRIBER = 1u << 11, /* a subscriber may call it also in RESP2 */
    COMMAND_BLOCKING = 1u << 12,            /* may wait */
    /* How it is run. */
    COMMAND_LOCK = 1u << 16,      /* with the cache's lock held */
    COMMAND_QUEUELESS = 1u << 17, /* run at once, also after MULTI: EXEC, DISCARD, MULTI, WATCH */
    COMMAND_OVERWRITES = 1u << 21 /* what its keys had does not matter to it */
};

/* The categories of access control, in the order in which ACL CAT lists them. */
enum command_category {
    CATEGORY_KEYSPACE = 1u << 0,
    CATEGORY_READ = 1u << 1,
    CATEGORY_WRITE = 1u << 2,
    CATEGORY_SET = 1u << 3,
    CATEGORY_SORTEDSET = 1u << 4,
    CATEGORY_LIST = 1u << 5,
    CATEGORY_HASH = 1u << 6,
    CATEGORY_STRING = 1u << 7,
    CATEGORY_BITMAP = 1u << 8,
    CATEGORY_HYPERLOGLOG = 1u << 9,
    CATEGORY_GEO = 1u << 10,
    CATEGORY_STREAM = 1u << 11,
    CATEGORY_PUBSUB = 1u << 12,
    CATEGORY_ADMIN = 1u << 13,
    CATEGORY_FAST = 1u << 14,
    CATEGORY_SLOW = 1u << 15,
    CATEGORY_BLOCKING = 1u << 16,
    CATEGORY_DANGEROUS = 1u << 17,
    CATEGORY_CONNECTION = 1u << 18,
    CATEGORY_TRANSACTION = 1u << 19,
    CATEGORY_SCRIPTING = 1u << 20,
    CATEGORY_COUNT = 21
};

#define COMMAND_NUMBERS_MAX 512u

struct command {
    const char *name;      /* lower case; of a subcommand without its parent's */
    const char *full_name; /* of a subcommand: with it, as in "config|get" */
    int arity;             /* with the name; negative: at least so many */
    uint32_t flags, categories;
    int8_t first_key, last_key, key_step; /* 0: no keys; last_key negative: from the end */
    void (*run)(struct session *session, const struct call *call); /* NULL: only subcommands */
    const char *group, *since, *summary, *complexity;
    struct command *subcommands;
    uint8_t subcommand_count;
    uint16_t number; /* in the order of the table, subcommands after their parent; set at start */
};

extern struct command commands[];
extern const size_t command_count; /* of commands[] */
extern unsigned command_numbers;   /* with subcommands */

/* Once, before anything is looked up. */
void commands_init(void);

/* By name, in any case; NULL: there is none. A container's subcommand is found with it. */
const struct command *command_find(const char *name, size_t bytes);
const struct command *command_find_sub(const struct command *parent, const char *name,
                                       size_t bytes);
/* By a full name, also "config|get". */
const struct command *command_find_full(const struct resp_arg *name);

/* Whether so many arguments are right for it. */
static inline bool command_takes(const struct command *command, size_t count)
{
    return command->arity >= 0 ? count == (size_t)command->arity : count >= (size_t)-command->arity;
}

/* Its keys, as positions in the arguments: first, then each step, up to and with the last. */
struct command_keys {
    size_t first, last, step; /* first 0: none */
};
struct command_keys command_keys(const struct command *command, size_t count);

/* "get", "config|get". */
const char *command_full_name(const struct command *command);

#endif
