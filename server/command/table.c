/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c - the one table of commands, and finding a command in it.
 *
 * Adding a command is adding a line here and its function. A name is found by a hash of its letters
 * in a table that commands_init fills: a step or two, whatever the number of commands.
 */
#include <string.h>
#include <strings.h>

#include "server/command/commands.h"

#define READ    (COMMAND_READONLY | COMMAND_LOCK)
#define WRITE   (COMMAND_WRITE | COMMAND_LOCK)
#define GROW    (WRITE | COMMAND_DENYOOM)
#define FAST    COMMAND_FAST
#define BLIND   COMMAND_OVERWRITES
#define ANYTIME (COMMAND_LOADING | COMMAND_STALE)

#define ONE_KEY  1, 1, 1
#define ALL_KEYS 1, -1, 1
#define PAIRS    1, -1, 2
#define TWO_KEYS 1, 2, 1
#define NO_KEYS  0, 0, 0

#define LINE(name_, arity_, flags_, categories_, keys_, run_, group_, since_, summary_, cost_)     \
    {                                                                                              \
        .name = (name_), .arity = (arity_), .flags = (flags_), .categories = (categories_),        \
        KEYS_OF(keys_), .run = (run_), .group = (group_), .since = (since_),                       \
        .summary = (summary_), .complexity = (cost_)                                               \
    }
#define KEYS_OF(...)                KEYS_OF_(__VA_ARGS__)
#define KEYS_OF_(first, last, step) .first_key = (first), .last_key = (last), .key_step = (step)

#define SUB(name_, full_, arity_, flags_, categories_, run_, group_, since_, summary_, cost_)      \
    {                                                                                              \
        .name = (name_), .full_name = (full_), .arity = (arity_), .flags = (flags_),               \
        .categories = (categories_), .run = (run_), .group = (group_), .since = (since_),          \
        .summary = (summary_), .complexity = (cost_)                                               \
    }
/* Of a key: its position; behind the subcommand's name. */
#define SUB_KEY_AT(key_, name_, full_, arity_, flags_, categories_, run_, group_, since_,          \
                   summary_, cost_)                                                                \
    {                                                                                              \
        .name = (name_), .full_name = (full_), .arity = (arity_), .flags = (flags_),               \
        .categories = (categories_), .first_key = (key_), .last_key = (key_), .key_step = 1,       \
        .run = (run_), .group = (group_), .since = (since_), .summary = (summary_),                \
        .complexity = (cost_)                                                                      \
    }
#define SUB_KEY(...) SUB_KEY_AT(2, __VA_ARGS__)
#define CONTAINER(name_, arity_, flags_, categories_, run_, group_, since_, summary_, subs_)       \
    {                                                                                              \
        .name = (name_), .arity = (arity_), .flags = (flags_), .categories = (categories_),        \
        .run = (run_), .group = (group_), .since = (since_), .summary = (summary_),                \
        .complexity = "Depends on the subcommand", .subcommands = (subs_),                         \
        .subcommand_count = sizeof(subs_) / sizeof((subs_)[0])                                     \
    }

static struct command acl_commands[] = {
    SUB("cat", "acl|cat", -2, ANYTIME, CATEGORY_SLOW, run_acl_cat, "server", "6.0.0",
        "The categories, or the commands of one.", "O(1)"),
    SUB("deluser", "acl|deluser", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_deluser, "server", "6.0.0",
        "Deletes users and ends their connections.", "O(1)"),
    SUB("dryrun", "acl|dryrun", -4, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_dryrun, "server", "7.0.0",
        "Whether a user may make a call, without making it.", "O(1)"),
    SUB("genpass", "acl|genpass", -2, ANYTIME, CATEGORY_SLOW, run_acl_genpass, "server", "6.0.0",
        "Makes a password of random bits.", "O(1)"),
    SUB("getuser", "acl|getuser", 3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_getuser, "server", "6.0.0",
        "What one user may.", "O(1)"),
    SUB("help", "acl|help", 2, ANYTIME, CATEGORY_SLOW, run_acl_help, "server", "6.0.0",
        "What ACL can be asked.", "O(1)"),
    SUB("list", "acl|list", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_list, "server", "6.0.0",
        "All users, in the form of a file of users.", "O(1)"),
    SUB("load", "acl|load", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_load, "server", "6.0.0",
        "Reads the file of users again.", "O(1)"),
    SUB("log", "acl|log", -2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_log, "server", "6.0.0",
        "What was refused of late.", "O(1)"),
    SUB("save", "acl|save", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_save, "server", "6.0.0",
        "Writes the file of users.", "O(1)"),
    SUB("setuser", "acl|setuser", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_setuser, "server", "6.0.0",
        "Makes a user or changes what it may.", "O(1)"),
    SUB("users", "acl|users", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_acl_users, "server", "6.0.0",
        "The names of all users.", "O(1)"),
    SUB("whoami", "acl|whoami", 2, ANYTIME, CATEGORY_SLOW, run_acl_whoami, "server", "6.0.0",
        "Who this connection is.", "O(1)"),
};
static struct command client_commands[] = {
    SUB("caching", "client|caching", 3, COMMAND_NOSCRIPT | ANYTIME,
        CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_caching, "connection", "6.0.0",
        "Whether the keys of the next request are tracked, where that is asked each time.", "O(1)"),
    SUB("getname", "client|getname", 2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION,
        run_client_getname, "connection", "2.6.9", "The name of this connection.", "O(1)"),
    SUB("getredir", "client|getredir", 2, COMMAND_NOSCRIPT | ANYTIME,
        CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_getredir, "connection", "6.0.0",
        "The connection that is told in the place of this one which keys have changed.", "O(1)"),
    SUB("help", "client|help", 2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_help,
        "connection", "5.0.0", "What CLIENT can be asked.", "O(1)"),
    SUB("id", "client|id", 2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_id,
        "connection", "5.0.0", "The number of this connection.", "O(1)"),
    SUB("info", "client|info", 2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_info,
        "connection", "6.2.0", "What CLIENT LIST says of this connection.", "O(1)"),
    SUB("kill", "client|kill", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS | CATEGORY_CONNECTION, run_client_kill,
        "connection", "2.4.0", "Ends connections.", "O(1)"),
    SUB("list", "client|list", -2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS | CATEGORY_CONNECTION, run_client_list,
        "connection", "2.4.0", "All connections.", "O(1)"),
    SUB("no-evict", "client|no-evict", 3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS | CATEGORY_CONNECTION,
        run_client_no_evict, "connection", "7.0.0",
        "Is taken note of; no connection is ended for memory of others.", "O(1)"),
    SUB("no-touch", "client|no-touch", 3, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION,
        run_client_no_touch, "connection", "7.2.0",
        "Lets what this connection reads not count as use.", "O(1)"),
    SUB("pause", "client|pause", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS | CATEGORY_CONNECTION, run_client_pause,
        "connection", "3.0.0", "Lets requests wait for a time.", "O(1)"),
    SUB("reply", "client|reply", 3, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_reply,
        "connection", "3.2.0", "Leaves replies out.", "O(1)"),
    SUB("setinfo", "client|setinfo", 4, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION,
        run_client_setinfo, "connection", "7.2.0", "Says which library this is.", "O(1)"),
    SUB("setname", "client|setname", 3, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION,
        run_client_setname, "connection", "2.6.9", "Gives this connection a name.", "O(1)"),
    SUB("tracking", "client|tracking", -3, COMMAND_NOSCRIPT | ANYTIME | COMMAND_LOCK,
        CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_tracking, "connection", "6.0.0",
        "Tells this connection when keys change that it has read, or that begin as it says.",
        "O(1), and O(prefixes) for new prefixes"),
    SUB("trackinginfo", "client|trackinginfo", 2, COMMAND_NOSCRIPT | ANYTIME,
        CATEGORY_SLOW | CATEGORY_CONNECTION, run_client_trackinginfo, "connection", "6.2.0",
        "How this connection is told of keys that change.", "O(prefixes)"),
    SUB("unblock", "client|unblock", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS | CATEGORY_CONNECTION,
        run_client_unblock, "connection", "5.0.0", "Ends the waiting of a connection.",
        "O(clients)"),
    SUB("unpause", "client|unpause", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS | CATEGORY_CONNECTION,
        run_client_unpause, "connection", "6.2.0", "Ends a pause.", "O(clients that wait)"),
};
static struct command command_commands[] = {
    SUB("count", "command|count", 2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION,
        run_command_count, "server", "2.8.13", "How many commands there are.", "O(1)"),
    SUB("docs", "command|docs", -2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_command_docs,
        "server", "7.0.0", "What commands do.", "O(1)"),
    SUB("getkeys", "command|getkeys", -4, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION,
        run_command_getkeys, "server", "2.8.13", "Which arguments of a call are keys.", "O(1)"),
    SUB("help", "command|help", 2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_command_help,
        "server", "5.0.0", "What COMMAND can be asked.", "O(1)"),
    SUB("info", "command|info", -2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_command_info,
        "server", "2.8.13", "What is to be known of commands for calling them.", "O(1)"),
    SUB("list", "command|list", -2, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_command_list,
        "server", "7.0.0", "The names of all commands.", "O(1)"),
};

static struct command pubsub_commands[] = {
    SUB("channels", "pubsub|channels", -2, COMMAND_PUBSUB | ANYTIME,
        CATEGORY_PUBSUB | CATEGORY_SLOW, run_pubsub_channels, "pubsub", "2.8.0",
        "Channels that somebody hears.", "O(channels)"),
    SUB("help", "pubsub|help", 2, ANYTIME, CATEGORY_SLOW, run_pubsub_help, "pubsub", "6.2.0",
        "What PUBSUB can be asked.", "O(1)"),
    SUB("numpat", "pubsub|numpat", 2, COMMAND_PUBSUB | ANYTIME, CATEGORY_PUBSUB | CATEGORY_SLOW,
        run_pubsub_numpat, "pubsub", "2.8.0", "How many patterns are heard.", "O(channels)"),
    SUB("numsub", "pubsub|numsub", -2, COMMAND_PUBSUB | ANYTIME, CATEGORY_PUBSUB | CATEGORY_SLOW,
        run_pubsub_numsub, "pubsub", "2.8.0", "How many hear a channel.", "O(channels)"),
};

static struct command config_commands[] = {
    SUB("get", "config|get", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_config_get, "server", "2.0.0",
        "Settings by name or pattern.", "O(settings)"),
    SUB("help", "config|help", 2, ANYTIME, CATEGORY_SLOW, run_config_help, "server", "5.0.0",
        "What CONFIG can be asked.", "O(1)"),
    SUB("resetstat", "config|resetstat", 2, COMMAND_ADMIN | ANYTIME | COMMAND_LOCK,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_config_resetstat, "server",
        "2.0.0", "Lets what INFO counts begin again.", "O(commands)"),
    SUB("rewrite", "config|rewrite", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_config_rewrite, "server", "2.8.0",
        "An error: the file of the configuration is the operator's.", "O(1)"),
    SUB("set", "config|set", -4, COMMAND_ADMIN | ANYTIME | COMMAND_LOCK,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_config_set, "server", "2.0.0",
        "Changes settings, all or none, until the next reload or restart.", "O(1)"),
};
static struct command latency_commands[] = {
    SUB("doctor", "latency|doctor", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_latency_doctor, "server", "2.8.13",
        "Where to look for what is slow.", "O(1)"),
    SUB("help", "latency|help", 2, ANYTIME, CATEGORY_SLOW, run_latency_help, "server", "2.8.13",
        "What LATENCY can be asked.", "O(1)"),
    SUB("histogram", "latency|histogram", -2, COMMAND_ADMIN | ANYTIME | COMMAND_LOCK,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_latency_histogram, "server",
        "7.0.0", "How many calls of commands took how long.", "O(commands)"),
    SUB("history", "latency|history", 3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_latency_history, "server",
        "2.8.13", "Nothing: latency events are not recorded.", "O(1)"),
    SUB("latest", "latency|latest", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_latency_latest, "server", "2.8.13",
        "Nothing: latency events are not recorded.", "O(1)"),
    SUB("reset", "latency|reset", -2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_latency_reset, "server", "2.8.13",
        "0: latency events are not recorded.", "O(1)"),
};
static struct command memory_commands[] = {
    SUB("help", "memory|help", 2, ANYTIME, CATEGORY_SLOW, run_memory_help, "server", "4.0.0",
        "What MEMORY can be asked.", "O(1)"),
    SUB("stats", "memory|stats", 2, COMMAND_LOCK, CATEGORY_SLOW, run_memory_stats, "server",
        "4.0.0", "What the cache and the pond take.", "O(1)"),
    SUB_KEY("usage", "memory|usage", -3, READ, CATEGORY_READ | CATEGORY_SLOW, run_memory_usage,
            "server", "4.0.0", "What an entry takes, with its share of the index.", "O(1)"),
};
static struct command object_commands[] = {
    SUB_KEY("encoding", "object|encoding", 3, READ,
            CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW, run_object_encoding, "generic",
            "2.2.3", "How Redis would keep a value.", "O(1)"),
    SUB_KEY("freq", "object|freq", 3, READ, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW,
            run_object_freq, "generic", "4.0.0",
            "An error: how often a key is used is not counted.", "O(1)"),
    SUB("help", "object|help", 2, ANYTIME, CATEGORY_KEYSPACE | CATEGORY_SLOW, run_object_help,
        "generic", "6.2.0", "What OBJECT can be asked.", "O(1)"),
    SUB_KEY("idletime", "object|idletime", 3, READ,
            CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW, run_object_idletime, "generic",
            "2.2.3", "0: when a key was used last is not known.", "O(1)"),
    SUB_KEY("refcount", "object|refcount", 3, READ,
            CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW, run_object_refcount, "generic",
            "2.2.3", "1: values are not shared.", "O(1)"),
};
#define JOB    (ANYTIME | COMMAND_NO_MULTI) /* answered by another thread */
#define CHANGE (JOB | COMMAND_ADMIN)
static struct command sidepond_commands[] = {
    SUB("attach", "sidepond|attach", 3, ANYTIME | FAST, CATEGORY_FAST | CATEGORY_CONNECTION,
        run_sidepond_attach, "server", "7.0.0",
        "Makes the connection a ring client's: reads are refused where others are to be asked.",
        "O(1)"),
    SUB("check", "sidepond|check", 2, CHANGE, CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS,
        run_sidepond_check, "server", "7.0.0", "Verifies the whole pond.", "O(everything in it)"),
    SUB("cluster", "sidepond|cluster", 2, ANYTIME | FAST, CATEGORY_FAST, run_sidepond_cluster,
        "server", "7.0.0", "The name of the cluster that this node is registered in.", "O(1)"),
    SUB("confirm", "sidepond|confirm", -3, CHANGE,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_sidepond_confirm, "server",
        "7.0.0", "Lets a refresh through that is held.", "O(1)"),
    SUB("digests", "sidepond|digests", -3, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_sidepond_digests, "server",
        "7.0.0", "Digest and number of the entries of slots.", "O(slots)"),
    SUB_KEY_AT(4, "erase", "sidepond|erase", 5, WRITE | BLIND | FAST,
               CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, run_sidepond_erase, "generic",
               "7.0.0", "Deletes a key, unless it has a newer version.", "O(1)"),
    SUB_KEY("fill", "sidepond|fill", -5, GROW, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW,
            run_sidepond_fill, "string", "7.0.0",
            "Stores a computed value and ends the lease, if the token is valid still.", "O(1)"),
    SUB("help", "sidepond|help", 2, ANYTIME, CATEGORY_SLOW, run_sidepond_help, "server", "7.0.0",
        "What SIDEPOND can be asked.", "O(1)"),
    SUB("hold", "sidepond|hold", 3, CHANGE, CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS,
        run_sidepond_hold, "server", "7.0.0", "Lets a table as it is until REFRESH or CONFIRM.",
        "O(1)"),
    SUB_KEY("lease", "sidepond|lease", -4, COMMAND_WRITE | COMMAND_BLOCKING,
            CATEGORY_READ | CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW | CATEGORY_BLOCKING,
            run_sidepond_lease, "string", "7.0.0",
            "The value of a key, or the lease to compute it, or waits for who has that.", "O(1)"),
    SUB("miss", "sidepond|miss", 4, ANYTIME, CATEGORY_WRITE | CATEGORY_SLOW, run_sidepond_miss,
        "server", "7.0.0", "Says that a node has missed writes to slots.", "O(slots)"),
    SUB("missed", "sidepond|missed", 3, ANYTIME | FAST, CATEGORY_FAST, run_sidepond_missed,
        "server", "7.0.0", "In how many slots a node has missed writes.", "O(1)"),
    SUB("pull", "sidepond|pull", 5, CHANGE, CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS,
        run_sidepond_pull, "server", "7.0.0", "The entries of slots, a page at a time.",
        "O(1) a page, O(all keys) for a walk"),
    SUB_KEY_AT(5, "put", "sidepond|put", 7, GROW | BLIND | FAST,
               CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, run_sidepond_put, "string",
               "7.0.0", "Gives a key a value, unless it has a newer version.", "O(1)"),
    SUB("refresh", "sidepond|refresh", -3, CHANGE,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_sidepond_refresh, "server",
        "7.0.0", "Begins a full refresh of a table now.", "O(1)"),
    SUB_KEY("release", "sidepond|release", 4, COMMAND_WRITE | BLIND,
            CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, run_sidepond_release, "string",
            "7.0.0", "Ends a lease without a value: the next one who waits gets it.", "O(1)"),
    SUB("ring", "sidepond|ring", 2, ANYTIME, CATEGORY_SLOW, run_sidepond_ring, "server", "7.0.0",
        "The map of the ring: which nodes hold which slots.", "O(slots)"),
    SUB("since", "sidepond|since", 2, ANYTIME | FAST, CATEGORY_FAST, run_sidepond_since, "server",
        "7.0.0", "Since when the ring has lived, as far as this node knows.", "O(1)"),
    SUB("status", "sidepond|status", 2, JOB, CATEGORY_SLOW | CATEGORY_DANGEROUS,
        run_sidepond_status, "server", "7.0.0", "The daemon, the pond, the sources, the cache.",
        "O(tables)"),
    SUB("tables", "sidepond|tables", 2, JOB, CATEGORY_SLOW | CATEGORY_DANGEROUS,
        run_sidepond_tables, "server", "7.0.0", "The state of each table.", "O(tables)"),
};
static struct command slowlog_commands[] = {
    SUB("get", "slowlog|get", -2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_slowlog_get, "server", "2.2.12",
        "The newest calls that were slow.", "O(calls returned)"),
    SUB("help", "slowlog|help", 2, ANYTIME, CATEGORY_SLOW, run_slowlog_help, "server", "6.2.0",
        "What SLOWLOG can be asked.", "O(1)"),
    SUB("len", "slowlog|len", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_slowlog_len, "server", "2.2.12",
        "How many calls the slow log has.", "O(1)"),
    SUB("reset", "slowlog|reset", 2, COMMAND_ADMIN | ANYTIME,
        CATEGORY_ADMIN | CATEGORY_SLOW | CATEGORY_DANGEROUS, run_slowlog_reset, "server", "2.2.12",
        "Forgets what the slow log has.", "O(calls in it)"),
};

struct command commands[] = {
    /* strings */
    LINE("get", 2, COMMAND_READONLY | FAST, CATEGORY_READ | CATEGORY_STRING | CATEGORY_FAST,
         ONE_KEY, run_get, "string", "1.0.0", "The value of a key.", "O(1)"),
    LINE("mget", -2, READ | FAST, CATEGORY_READ | CATEGORY_STRING | CATEGORY_FAST, ALL_KEYS,
         run_mget, "string", "1.0.0", "The values of several keys, as of one moment.", "O(keys)"),
    LINE("strlen", 2, READ | FAST, CATEGORY_READ | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_strlen, "string", "2.2.0", "How many bytes a value has.", "O(1)"),
    LINE("getrange", 4, READ, CATEGORY_READ | CATEGORY_STRING | CATEGORY_SLOW, ONE_KEY,
         run_getrange, "string", "2.4.0", "A part of a value, by first and last position.",
         "O(bytes returned)"),
    LINE("substr", 4, READ, CATEGORY_READ | CATEGORY_STRING | CATEGORY_SLOW, ONE_KEY, run_getrange,
         "string", "1.0.0", "Another name of GETRANGE.", "O(bytes returned)"),
    LINE("set", -3, GROW, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, ONE_KEY, run_set,
         "string", "1.0.0", "Gives a key a value, on conditions and with an expiry if wanted.",
         "O(1)"),
    LINE("setnx", 3, GROW | BLIND | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_setnx, "string", "1.0.0", "Gives a key a value if it has none.", "O(1)"),
    LINE("setex", 4, GROW | BLIND, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, ONE_KEY,
         run_setex, "string", "2.0.0", "Gives a key a value that expires after so many seconds.",
         "O(1)"),
    LINE("psetex", 4, GROW | BLIND, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, ONE_KEY,
         run_psetex, "string", "2.6.0",
         "Gives a key a value that expires after so many milliseconds.", "O(1)"),
    LINE("getset", 3, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_getset, "string", "1.0.0", "Gives a key a value and returns the one before.", "O(1)"),
    LINE("getdel", 2, WRITE | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_getdel, "string", "6.2.0", "Returns a value and deletes its key.", "O(1)"),
    LINE("getex", -2, WRITE | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_getex, "string", "6.2.0", "Returns a value and changes when its key expires.", "O(1)"),
    LINE("mset", -3, GROW | BLIND, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, PAIRS,
         run_mset, "string", "1.0.1", "Gives several keys their values at once.", "O(keys)"),
    LINE("msetnx", -3, GROW | BLIND, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, PAIRS,
         run_msetnx, "string", "1.0.1",
         "Gives several keys their values at once if none of them has one.", "O(keys)"),
    LINE("append", 3, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_append, "string", "2.0.0", "Adds bytes at the end of a value.",
         "O(bytes of the new value)"),
    LINE("setrange", 4, GROW, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_SLOW, ONE_KEY,
         run_setrange, "string", "2.2.0", "Writes bytes into a value from a position on.",
         "O(bytes of the new value)"),
    LINE("incr", 2, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_incr, "string", "1.0.0", "Adds one to a whole number.", "O(1)"),
    LINE("decr", 2, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_decr, "string", "1.0.0", "Takes one from a whole number.", "O(1)"),
    LINE("incrby", 3, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_incrby, "string", "1.0.0", "Adds to a whole number.", "O(1)"),
    LINE("decrby", 3, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_decrby, "string", "1.0.0", "Subtracts from a whole number.", "O(1)"),
    LINE("incrbyfloat", 3, GROW | FAST, CATEGORY_WRITE | CATEGORY_STRING | CATEGORY_FAST, ONE_KEY,
         run_incrbyfloat, "string", "2.6.0", "Adds to a number with a fraction.", "O(1)"),

    /* keys */
    LINE("del", -2, WRITE | BLIND, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_SLOW, ALL_KEYS,
         run_del, "generic", "1.0.0", "Deletes keys.", "O(keys)"),
    LINE("unlink", -2, WRITE | BLIND | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST,
         ALL_KEYS, run_del, "generic", "4.0.0",
         "Deletes keys; the same as DEL, which never waits for memory either.", "O(keys)"),
    LINE("exists", -2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ALL_KEYS,
         run_exists, "generic", "1.0.0", "How many of the keys there are.", "O(keys)"),
    LINE("touch", -2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ALL_KEYS,
         run_touch, "generic", "3.2.1", "How many of the keys there are; counts as a use of each.",
         "O(keys)"),
    LINE("type", 2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ONE_KEY,
         run_type, "generic", "1.0.0",
         "What kind of value a key has: string, or hash for a row of a table.", "O(1)"),
    LINE("rename", 3, WRITE, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_SLOW, TWO_KEYS,
         run_rename, "generic", "1.0.0", "Gives a value another key, in place of what that had.",
         "O(bytes of the value)"),
    LINE("renamenx", 3, WRITE | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, TWO_KEYS,
         run_renamenx, "generic", "1.0.0", "Gives a value another key if that has no value.",
         "O(bytes of the value)"),
    LINE("copy", -3, GROW, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_SLOW, TWO_KEYS, run_copy,
         "generic", "6.2.0", "Gives a value a second key.", "O(bytes of the value)"),
    LINE("randomkey", 1, READ, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW, NO_KEYS,
         run_randomkey, "generic", "1.0.0", "Some key.", "O(1)"),
    LINE("keys", 2, COMMAND_READONLY,
         CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW | CATEGORY_DANGEROUS, NO_KEYS, run_keys,
         "generic", "1.0.0", "All keys that match a pattern.", "O(all keys)"),
    LINE("scan", -2, READ, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW, NO_KEYS, run_scan,
         "generic", "2.8.0", "A few keys at a time, until all were seen.",
         "O(1) a call, O(all keys) for a walk"),
    LINE("expire", -3, WRITE | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, ONE_KEY,
         run_expire, "generic", "1.0.0", "Lets a key expire after so many seconds.",
         "O(bytes of the value)"),
    LINE("pexpire", -3, WRITE | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, ONE_KEY,
         run_pexpire, "generic", "2.6.0", "Lets a key expire after so many milliseconds.",
         "O(bytes of the value)"),
    LINE("expireat", -3, WRITE | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, ONE_KEY,
         run_expireat, "generic", "1.2.0", "Lets a key expire at a time in Unix seconds.",
         "O(bytes of the value)"),
    LINE("pexpireat", -3, WRITE | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, ONE_KEY,
         run_pexpireat, "generic", "2.6.0", "Lets a key expire at a time in Unix milliseconds.",
         "O(bytes of the value)"),
    LINE("ttl", 2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ONE_KEY, run_ttl,
         "generic", "1.0.0", "In how many seconds a key expires.", "O(1)"),
    LINE("pttl", 2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ONE_KEY,
         run_pttl, "generic", "2.6.0", "In how many milliseconds a key expires.", "O(1)"),
    LINE("expiretime", 2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ONE_KEY,
         run_expiretime, "generic", "7.0.0", "When a key expires, in Unix seconds.", "O(1)"),
    LINE("pexpiretime", 2, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, ONE_KEY,
         run_pexpiretime, "generic", "7.0.0", "When a key expires, in Unix milliseconds.", "O(1)"),
    LINE("persist", 2, WRITE | FAST, CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_FAST, ONE_KEY,
         run_persist, "generic", "2.2.0", "Lets a key stay for good.", "O(bytes of the value)"),

    LINE("dump", 2, READ, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_SLOW, ONE_KEY, run_dump,
         "generic", "2.6.0", "A value in a form that RESTORE takes.", "O(bytes of the value)"),
    LINE("restore", -4, GROW,
         CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_SLOW | CATEGORY_DANGEROUS, ONE_KEY,
         run_restore, "generic", "2.6.0", "Makes a key of what DUMP returned.",
         "O(bytes of the value)"),

    /* rows of tables */
    LINE("hget", 3, READ | FAST, CATEGORY_READ | CATEGORY_HASH | CATEGORY_FAST, ONE_KEY, run_hget,
         "hash", "2.0.0", "A column of a row.", "O(1)"),
    LINE("hmget", -3, READ | FAST, CATEGORY_READ | CATEGORY_HASH | CATEGORY_FAST, ONE_KEY,
         run_hmget, "hash", "2.0.0", "Some columns of a row.", "O(columns)"),
    LINE("hgetall", 2, READ, CATEGORY_READ | CATEGORY_HASH | CATEGORY_SLOW, ONE_KEY, run_hgetall,
         "hash", "2.0.0", "All columns of a row, with their names.", "O(columns)"),
    LINE("hkeys", 2, READ, CATEGORY_READ | CATEGORY_HASH | CATEGORY_SLOW, ONE_KEY, run_hkeys,
         "hash", "2.0.0", "The names of a row's columns that are not NULL.", "O(columns)"),
    LINE("hvals", 2, READ, CATEGORY_READ | CATEGORY_HASH | CATEGORY_SLOW, ONE_KEY, run_hvals,
         "hash", "2.0.0", "The columns of a row that are not NULL.", "O(columns)"),
    LINE("hlen", 2, READ | FAST, CATEGORY_READ | CATEGORY_HASH | CATEGORY_FAST, ONE_KEY, run_hlen,
         "hash", "2.0.0", "How many columns of a row are not NULL.", "O(columns)"),
    LINE("hexists", 3, READ | FAST, CATEGORY_READ | CATEGORY_HASH | CATEGORY_FAST, ONE_KEY,
         run_hexists, "hash", "2.0.0", "Whether a column of a row is not NULL.", "O(1)"),

    /* transactions */
    LINE("multi", 1, ANYTIME | FAST | COMMAND_QUEUELESS, CATEGORY_FAST | CATEGORY_TRANSACTION,
         NO_KEYS, run_multi, "transactions", "1.2.0",
         "Begins a transaction: what follows is kept until EXEC.", "O(1)"),
    LINE("exec", 1, ANYTIME | COMMAND_LOCK | COMMAND_QUEUELESS,
         CATEGORY_SLOW | CATEGORY_TRANSACTION, NO_KEYS, run_exec, "transactions", "1.2.0",
         "Runs the transaction, unless a watched key has changed.", "O(what it runs)"),
    LINE("discard", 1, ANYTIME | FAST | COMMAND_QUEUELESS, CATEGORY_FAST | CATEGORY_TRANSACTION,
         NO_KEYS, run_discard, "transactions", "2.0.0", "Forgets the transaction.",
         "O(requests kept)"),
    LINE("watch", -2, ANYTIME | FAST | COMMAND_LOCK | COMMAND_QUEUELESS,
         CATEGORY_FAST | CATEGORY_TRANSACTION, ALL_KEYS, run_watch, "transactions", "2.2.0",
         "Lets EXEC do nothing if these keys change before it.", "O(keys)"),
    LINE("unwatch", 1, ANYTIME | FAST, CATEGORY_FAST | CATEGORY_TRANSACTION, NO_KEYS, run_unwatch,
         "transactions", "2.2.0", "Forgets what is watched.", "O(1)"),

    /* messages */
    LINE("subscribe", -2, COMMAND_PUBSUB | ANYTIME | COMMAND_IN_RESP2_SUBSCRIBER,
         CATEGORY_PUBSUB | CATEGORY_SLOW, NO_KEYS, run_subscribe, "pubsub", "2.0.0",
         "Hears channels.", "O(channels)"),
    LINE("unsubscribe", -1, COMMAND_PUBSUB | ANYTIME | COMMAND_IN_RESP2_SUBSCRIBER,
         CATEGORY_PUBSUB | CATEGORY_SLOW, NO_KEYS, run_unsubscribe, "pubsub", "2.0.0",
         "Hears channels no more.", "O(channels)"),
    LINE("psubscribe", -2, COMMAND_PUBSUB | ANYTIME | COMMAND_IN_RESP2_SUBSCRIBER,
         CATEGORY_PUBSUB | CATEGORY_SLOW, NO_KEYS, run_psubscribe, "pubsub", "2.0.0",
         "Hears all channels that match patterns.", "O(patterns)"),
    LINE("punsubscribe", -1, COMMAND_PUBSUB | ANYTIME | COMMAND_IN_RESP2_SUBSCRIBER,
         CATEGORY_PUBSUB | CATEGORY_SLOW, NO_KEYS, run_punsubscribe, "pubsub", "2.0.0",
         "Hears patterns no more.", "O(patterns)"),
    LINE("publish", 3, COMMAND_PUBSUB | ANYTIME | FAST, CATEGORY_PUBSUB | CATEGORY_FAST, NO_KEYS,
         run_publish, "pubsub", "2.0.0", "Sends a message to those who hear a channel.",
         "O(receivers and patterns)"),
    CONTAINER("pubsub", -2, ANYTIME, CATEGORY_SLOW, NULL, "pubsub", "2.8.0", "About channels.",
              pubsub_commands),

    /* the connection */
    LINE("ping", -1, FAST | COMMAND_IN_RESP2_SUBSCRIBER, CATEGORY_FAST | CATEGORY_CONNECTION,
         NO_KEYS, run_ping, "connection", "1.0.0", "Answers, to show that it can.", "O(1)"),
    LINE("echo", 2, ANYTIME | FAST, CATEGORY_FAST | CATEGORY_CONNECTION, NO_KEYS, run_echo,
         "connection", "1.0.0", "Returns its argument.", "O(1)"),
    LINE("quit", -1,
         ANYTIME | COMMAND_IN_RESP2_SUBSCRIBER | FAST | COMMAND_NO_AUTH | COMMAND_QUEUELESS,
         CATEGORY_FAST | CATEGORY_CONNECTION, NO_KEYS, run_quit, "connection", "1.0.0",
         "Ends the connection.", "O(1)"),
    LINE("reset", 1,
         ANYTIME | FAST | COMMAND_NO_AUTH | COMMAND_QUEUELESS | COMMAND_IN_RESP2_SUBSCRIBER,
         CATEGORY_FAST | CATEGORY_CONNECTION, NO_KEYS, run_reset, "connection", "6.2.0",
         "Makes the connection as it was at its start.", "O(1)"),
    LINE("select", 2, ANYTIME | FAST, CATEGORY_FAST | CATEGORY_CONNECTION, NO_KEYS, run_select,
         "connection", "1.0.0", "Chooses the database, of which there is one: 0.", "O(1)"),

    LINE("hello", -1, ANYTIME | FAST | COMMAND_NO_AUTH, CATEGORY_FAST | CATEGORY_CONNECTION,
         NO_KEYS, run_hello, "connection", "6.0.0",
         "Chooses the protocol, says who and what is there.", "O(1)"),
    LINE("auth", -2, ANYTIME | FAST | COMMAND_NO_AUTH, CATEGORY_FAST | CATEGORY_CONNECTION, NO_KEYS,
         run_auth, "connection", "1.0.0", "Says who one is, by a password.", "O(1)"),
    LINE("wait", 3, COMMAND_NOSCRIPT, CATEGORY_SLOW | CATEGORY_CONNECTION, NO_KEYS, run_wait,
         "generic", "3.0.0", "How many other nodes of a ring have this connection's last write.",
         "O(1)"),
    CONTAINER("client", -2, ANYTIME, CATEGORY_SLOW, NULL, "connection", "2.4.0",
              "About connections.", client_commands),

    /* the server */
    CONTAINER("acl", -2, ANYTIME, CATEGORY_SLOW, NULL, "server", "6.0.0", "About users.",
              acl_commands),
    LINE("cluster", -2, ANYTIME, CATEGORY_SLOW, NO_KEYS, run_cluster, "cluster", "3.0.0",
         "KEYSLOT: the slot of a key, in a ring; all else is an error.", "O(1)"),
    CONTAINER("command", -1, ANYTIME, CATEGORY_SLOW | CATEGORY_CONNECTION, run_command, "server",
              "2.8.13", "About commands.", command_commands),
    CONTAINER("config", -2, ANYTIME, CATEGORY_SLOW, NULL, "server", "2.0.0", "About settings.",
              config_commands),
    LINE("info", -1, ANYTIME, CATEGORY_SLOW | CATEGORY_DANGEROUS, NO_KEYS, run_info, "server",
         "1.0.0", "Figures of the server, by sections.", "O(commands)"),
    CONTAINER("latency", -2, ANYTIME, CATEGORY_SLOW, NULL, "server", "2.8.13",
              "About how long commands take.", latency_commands),
    CONTAINER("memory", -2, ANYTIME, CATEGORY_SLOW, NULL, "server", "4.0.0", "About memory.",
              memory_commands),
    CONTAINER("object", -2, ANYTIME, CATEGORY_SLOW, NULL, "generic", "2.2.3",
              "About the value of a key.", object_commands),
    CONTAINER("sidepond", -2, ANYTIME, CATEGORY_SLOW, NULL, "server", "7.0.0",
              "About tables, the pond, the daemon, and leases.", sidepond_commands),
    CONTAINER("slowlog", -2, ANYTIME, CATEGORY_SLOW, NULL, "server", "2.2.12",
              "About calls that took long.", slowlog_commands),
    LINE("time", 1, ANYTIME | FAST, CATEGORY_FAST, NO_KEYS, run_time, "server", "2.6.0",
         "The server's clock.", "O(1)"),
    LINE("dbsize", 1, READ | FAST, CATEGORY_KEYSPACE | CATEGORY_READ | CATEGORY_FAST, NO_KEYS,
         run_dbsize, "server", "1.0.0", "How many keys there are.", "O(1)"),
    LINE("flushall", -1, WRITE,
         CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_SLOW | CATEGORY_DANGEROUS, NO_KEYS,
         run_flushall, "server", "1.0.0", "Deletes all keys of the cache; tables stay.",
         "O(1); the memory comes back in the background"),
    LINE("flushdb", -1, WRITE,
         CATEGORY_KEYSPACE | CATEGORY_WRITE | CATEGORY_SLOW | CATEGORY_DANGEROUS, NO_KEYS,
         run_flushall, "server", "1.0.0", "Deletes all keys of the cache; tables stay.",
         "O(1); the memory comes back in the background"),
};
const size_t command_count = sizeof(commands) / sizeof(commands[0]);
unsigned command_numbers;

/* --- finding -------------------------------------------------------------------------------- */

#define NAMES_MAX 1024u /* a power of two, and a few times what there is */

static const struct command *by_name[NAMES_MAX];

/* Of the letters in lower case: ASCII letters differ in one bit, and no two commands in that. */
static unsigned name_hash(const char *name, size_t bytes)
{
    uint32_t hash = (uint32_t)bytes;
    for (size_t i = 0; i < bytes; i++)
        hash = hash * 31 + ((unsigned char)name[i] | 0x20);
    return (hash ^ hash >> 15) & (NAMES_MAX - 1);
}

static void number_subs(struct command *parent)
{
    struct command *subs = parent->subcommands;
    for (unsigned i = 0; i < parent->subcommand_count; i++)
        subs[i].number = (uint16_t)command_numbers++;
}

void commands_init(void)
{
    if (command_numbers != 0)
        return;
    for (size_t i = 0; i < command_count; i++) {
        commands[i].number = (uint16_t)command_numbers++;
        number_subs(&commands[i]);
        unsigned at = name_hash(commands[i].name, strlen(commands[i].name));
        while (by_name[at])
            at = (at + 1) & (NAMES_MAX - 1);
        by_name[at] = &commands[i];
    }
}

static bool is_named(const struct command *command, const char *name, size_t bytes)
{
    return bytes > 0 && (command->name[0] | 0x20) == (name[0] | 0x20) &&
           strlen(command->name) == bytes && strncasecmp(command->name, name, bytes) == 0;
}

const struct command *command_find(const char *name, size_t bytes)
{
    for (unsigned at = name_hash(name, bytes); by_name[at]; at = (at + 1) & (NAMES_MAX - 1)) {
        if (is_named(by_name[at], name, bytes))
            return by_name[at];
    }
    return NULL;
}

const struct command *command_find_sub(const struct command *parent, const char *name, size_t bytes)
{
    for (unsigned i = 0; i < parent->subcommand_count; i++) {
        if (is_named(&parent->subcommands[i], name, bytes))
            return &parent->subcommands[i];
    }
    return NULL;
}

const struct command *command_find_full(const struct resp_arg *name)
{
    const char *bar = memchr(name->bytes, '|', name->size);
    const struct command *command =
        command_find(name->bytes, bar ? (size_t)(bar - name->bytes) : name->size);
    if (!command || !bar)
        return command;
    return command_find_sub(command, bar + 1, name->size - (size_t)(bar + 1 - name->bytes));
}

const char *command_full_name(const struct command *command)
{
    return command->full_name ? command->full_name : command->name;
}

struct command_keys command_keys(const struct command *command, size_t count)
{
    if (command->first_key == 0 || (size_t)command->first_key >= count)
        return (struct command_keys){0, 0, 1};
    size_t last =
        command->last_key < 0 ? count - (size_t)-command->last_key : (size_t)command->last_key;
    return (struct command_keys){(size_t)command->first_key, last < count ? last : count - 1,
                                 (size_t)command->key_step};
}
