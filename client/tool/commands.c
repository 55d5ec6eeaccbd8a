/* SPDX-License-Identifier: Apache-2.0
 *
 * commands.c - every subcommand and every option of the tool. Parser, help, completion and
 * `sidepond help --json` follow from these tables.
 */
#include <stdio.h>
#include <string.h>

#include "tool.h"

const struct tool_option tool_global_options[] = {
    {"pond", 'p', "NAME|DIR", "the pond: a name, or with a slash its directory (default: main)",
     TOOL_COMPLETE_POND, NULL},
    {"json", 'j', NULL, "print JSON", TOOL_COMPLETE_NONE, NULL},
    {"color", 0, "WHEN", "auto (default: on a terminal, unless NO_COLOR is set), always, never",
     TOOL_COMPLETE_WORDS, "auto always never"},
    {"help", 'h', NULL, "print what a command does and takes", TOOL_COMPLETE_NONE, NULL},
    {0}};

/* Of commands that ask the pond's cache server. */
#define CACHE_SERVER_OPTIONS                                                                       \
    {"user", 'u', "NAME", "the user of the cache server (default: default)", TOOL_COMPLETE_NONE,   \
     NULL},                                                                                        \
    {                                                                                              \
        "password-file", 0, "FILE", "its password is the first line of this file",                 \
            TOOL_COMPLETE_FILE, NULL                                                               \
    }

static const struct tool_option tables_options[] = {
    {"names", 0, NULL, "only the names, one a line", TOOL_COMPLETE_NONE, NULL}, {0}};

static const struct tool_option get_options[] = {
    {"index", 'i', "NAME", "look up by this secondary index; may find several rows",
     TOOL_COMPLETE_NONE, NULL},
    {"column", 'c', "NAME", "print only this column's value, or a field's of the document",
     TOOL_COMPLETE_NONE, NULL},
    {"raw", 0, NULL,
     "print bytes as they are, without a line end; without --column the encoded row",
     TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option scan_options[] = {
    {"limit", 'n', "COUNT", "at most so many rows", TOOL_COMPLETE_NONE, NULL},
    {"columns", 'c', "A,B", "only these columns, in this order", TOOL_COMPLETE_NONE, NULL},
    {"where", 'w', "CONDITION", "only rows with COLUMN=VALUE (or != < <= > >=); may be repeated",
     TOOL_COMPLETE_NONE, NULL},
    {"format", 'f', "FORMAT", "table (default on a terminal), tsv (default elsewhere), csv, json",
     TOOL_COMPLETE_WORDS, "table tsv csv json"},
    {0}};

static const struct tool_option watch_options[] = {
    {"interval", 'i', "TIME", "redraw at least so often (default 1s)", TOOL_COMPLETE_NONE, NULL},
    {"count", 'n', "COUNT", "end after so many commits", TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option top_options[] = {
    {"interval", 'i', "TIME", "look so often (default 1s)", TOOL_COMPLETE_NONE, NULL},
    {"once", 0, NULL, "print one picture as text, after one interval", TOOL_COMPLETE_NONE, NULL},
    {"count", 'n', "COUNT", "end after so many pictures or objects", TOOL_COMPLETE_NONE, NULL},
    {"sort", 's', "ORDER", "order of the commands: calls (default), time, p99, name",
     TOOL_COMPLETE_WORDS, "calls time p99 name"},
    CACHE_SERVER_OPTIONS,
    {0}};

static const struct tool_option check_options[] = {
    {"quiet", 'q', NULL, "print nothing, only the exit code", TOOL_COMPLETE_NONE, NULL}, {0}};

static const struct tool_option wait_options[] = {
    {"wait", 'w', "TIME", "wait for its end, at most so long, and say what it has changed",
     TOOL_COMPLETE_NONE, NULL},
    CACHE_SERVER_OPTIONS,
    {0}};

static const struct tool_option status_options[] = {CACHE_SERVER_OPTIONS, {0}};

static const struct tool_option hold_options[] = {CACHE_SERVER_OPTIONS, {0}};

static const struct tool_option bench_options[] = {
    {"time", 't', "TIME", "how long each measurement takes (default 1s)", TOOL_COMPLETE_NONE, NULL},
    {"keys", 'n', "COUNT", "read at most so many different keys (default 1000000)",
     TOOL_COMPLETE_NONE, NULL},
    {0}};

const struct tool_option tool_ring_options[] = {
    {"zookeeper", 'z', "HOSTS", "the ring is found there: HOST:PORT,...[/CHROOT]",
     TOOL_COMPLETE_NONE, NULL},
    {"cluster", 0, "NAME", "the ring's name in ZooKeeper (default: main)", TOOL_COMPLETE_NONE,
     NULL},
    {"credential-file", 0, "FILE", "USER:PASSWORD of ZooKeeper is the first line of this file",
     TOOL_COMPLETE_FILE, NULL},
    {"nodes", 0, "LIST", "a ring without ZooKeeper: NAME=ADDRESS[@ZONE][*WEIGHT],...",
     TOOL_COMPLETE_NONE, NULL},
    {"redis", 0, NULL, "with --nodes: they are Redis servers", TOOL_COMPLETE_NONE, NULL},
    {"replicas", 0, "COUNT", "with --nodes: copies of each key, 1 to 3 (default 2)",
     TOOL_COMPLETE_NONE, NULL},
    {"slots", 0, "COUNT", "with --nodes: slots, a power of two (default 16384)", TOOL_COMPLETE_NONE,
     NULL},
    {"user", 'u', "NAME", "the user of the nodes (default: default)", TOOL_COMPLETE_NONE, NULL},
    {"password-file", 0, "FILE", "the nodes' password is the first line of this file",
     TOOL_COMPLETE_FILE, NULL},
    {"timeout", 0, "TIME", "how long a call may take (default 1s)", TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option ring_options[] = {
    {"wait", 'w', "TIME", "wait until redundancy is complete, at most so long", TOOL_COMPLETE_NONE,
     NULL},
    {"members", 'm', "COUNT", "it is not complete with fewer nodes than this", TOOL_COMPLETE_NONE,
     NULL},
    {0}};

static const struct tool_option ring_watch_options[] = {
    {"interval", 'i', "TIME", "look so often (default 1s)", TOOL_COMPLETE_NONE, NULL},
    {"count", 'n', "COUNT", "end after so many pictures or lines", TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option ring_get_options[] = {
    {"raw", 0, NULL, "print the value as it is, without a line end", TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option ring_set_options[] = {
    {"ttl", 't', "TIME", "the key is gone after so long", TOOL_COMPLETE_NONE, NULL},
    {"need", 0, "COPIES", "what the write needs to be good: all copies (default) or one",
     TOOL_COMPLETE_WORDS, "all one"},
    {0}};

static const struct tool_option ring_del_options[] = {
    {"need", 0, "COPIES", "what the deletion needs to be good: all copies (default) or one",
     TOOL_COMPLETE_WORDS, "all one"},
    {0}};

static const struct tool_option ring_drain_options[] = {
    {"wait", 'w', "TIME", "wait until the node holds nothing any more, at most so long",
     TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option ring_repair_options[] = {
    {"check", 'c', NULL, "only compare; exit code 1 if something differs", TOOL_COMPLETE_NONE,
     NULL},
    {"dry-run", 0, NULL, "count what would be copied, and copy nothing", TOOL_COMPLETE_NONE, NULL},
    {"rate", 'r', "COUNT", "copy at most so many keys a second (default 10000)", TOOL_COMPLETE_NONE,
     NULL},
    {"stray", 0, NULL, "copy also keys that only nodes have that are none of their copies",
     TOOL_COMPLETE_NONE, NULL},
    {"wait", 'w', "TIME", "of sidepondd nodes: wait until all copies are equal, at most so long",
     TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option ring_drill_options[] = {
    {"node", 0, "NAME", "stop this node; it must run on this host", TOOL_COMPLETE_NONE, NULL},
    {"pid", 0, "PID", "its process, if it cannot be asked for that", TOOL_COMPLETE_NONE, NULL},
    {"kill", 0, NULL, "kill it, instead of stopping it for a while", TOOL_COMPLETE_NONE, NULL},
    {"time", 't', "TIME",
     "how long it stands still, or how long to go on after a kill (default "
     "3s)",
     TOOL_COMPLETE_NONE, NULL},
    {"wait", 'w', "TIME", "how long redundancy may take to be complete again (default 30s)",
     TOOL_COMPLETE_NONE, NULL},
    {"yes-this-is-a-test-ring", 0, NULL, "nobody else depends on this ring", TOOL_COMPLETE_NONE,
     NULL},
    {0}};

const struct tool_command tool_commands[] = {
    {"status", "", "the pond, its daemon, its memory and its tables",
     "Prints the pond's state and version, whether its daemon is alive, how much memory it takes,\n"
     "and for each table its rows, state, age and last change. Of groups that follow their "
     "database\n"
     "it prints how far they are; the daemon is asked for that, where it has a cache server.",
     0, 0, TOOL_COMPLETE_NONE, NULL, status_options, tool_status},
    {"tables", "[TABLE]", "the tables, or one table's columns and indexes",
     "Without a name lists the tables; with one prints its columns, key and indexes.", 0, 1,
     TOOL_COMPLETE_TABLE, NULL, tables_options, tool_tables},
    {"get", "TABLE KEY...", "one row by its key, or rows by an index",
     "Prints the row with a key; a key of several columns is several arguments. Exit code 1 if\n"
     "there is none. A key that begins with a dash needs -- before it, a negative number does not.",
     2, -1, TOOL_COMPLETE_TABLE, NULL, get_options, tool_get},
    {"scan", "TABLE", "all rows of a table at one version",
     "Prints the rows in no particular order. A condition compares numbers as numbers and all\n"
     "else as text; a NULL meets none.",
     1, 1, TOOL_COMPLETE_TABLE, NULL, scan_options, tool_scan},
    {"watch", "", "age and changes of the tables, live",
     "On a terminal draws the tables again and again; elsewhere prints every table once, and then\n"
     "a line for each table that a commit changed.",
     0, 0, TOOL_COMPLETE_NONE, NULL, watch_options, tool_watch},
    {"top", "", "the pond, its cache server, commands and clients, live",
     "On a terminal draws again and again what the pond and its cache server do: memory, tables,\n"
     "hits and misses, clients, commands and how long they take. Keys: q quits, space pauses,\n"
     "s and t sort. Elsewhere prints one picture; with --json an object for each interval.",
     0, 0, TOOL_COMPLETE_NONE, NULL, top_options, tool_top},
    {"readers", "", "who holds a snapshot",
     "Lists the processes that hold a snapshot and the version each one pins. Readers without a\n"
     "snapshot leave no trace and are not listed.",
     0, 0, TOOL_COMPLETE_NONE, NULL, NULL, tool_readers},
    {"check", "", "walk through everything and verify it",
     "Verifies the superblock, the allocator, every index and every row with its checksum, also\n"
     "of a pond whose daemon is dead. Exit code 1 if something is wrong.",
     0, 0, TOOL_COMPLETE_NONE, NULL, check_options, tool_check},
    {"refresh", "TABLE", "begin a full refresh of a table now",
     "Asks the daemon for a full refresh of the table's group, which also ends a hold. With "
     "--wait\n"
     "exit code 1 if it failed, is held back, or has not ended in time. Needs the cache server.",
     1, 1, TOOL_COMPLETE_TABLE, NULL, wait_options, tool_refresh},
    {"confirm", "TABLE", "let a refresh through that is held",
     "Lets the refresh that max_drop holds back delete what it would, this one time, or ends a\n"
     "hold. Exit code 1 if nothing is held. Needs the cache server.",
     1, 1, TOOL_COMPLETE_TABLE, NULL, wait_options, tool_confirm},
    {"hold", "TABLE", "let a table as it is, until refresh or confirm",
     "Keeps the daemon from refreshing the table and its group until one of its tables is\n"
     "refreshed or confirmed by name, or the daemon ends. Needs the cache server.",
     1, 1, TOOL_COMPLETE_TABLE, NULL, hold_options, tool_hold},
    {"stat", "", "where the memory is: free blocks by size, tables",
     "Draws the free blocks of the arena by order (a block of order k is 2^k units) and the "
     "memory\n"
     "of each table.",
     0, 0, TOOL_COMPLETE_NONE, NULL, NULL, tool_stat},
    {"plan", "CONFIG", "estimate the memory that a configuration needs",
     "Reads rows of the real tables and estimates what all will take. Runs sidepondd plan CONFIG.",
     1, 1, TOOL_COMPLETE_FILE, NULL, NULL, tool_plan},
    {"bench", "[TABLE]", "measure reads of existing keys",
     "Reads random existing keys of a table (default: the one with the most rows) one by one and\n"
     "in batches, and the same keys from a private hash table in this process for comparison.",
     0, 1, TOOL_COMPLETE_TABLE, NULL, bench_options, tool_bench},
    {"ring", "", "the nodes of a ring: state, share, keys, memory, lag",
     "Prints the nodes of a ring, and whether each slot has all its copies. With --wait exit code "
     "1\n"
     "if it has not by then; without, the answer is 1 as well where copies are missing. The ring "
     "is\n"
     "found by --nodes, by --zookeeper, or else by the daemon of the pond.",
     0, 0, TOOL_COMPLETE_WORDS, "watch get set del call where drain undrain weight repair drill",
     ring_options, tool_ring},
    {"ring watch", "", "the nodes of a ring, live",
     "On a terminal draws the ring again and again; elsewhere prints a line for each change, and\n"
     "with --json an object.",
     0, 0, TOOL_COMPLETE_NONE, NULL, ring_watch_options, tool_ring_watch},
    {"ring get", "KEY", "a key's value",
     "Prints the value of a key, from its owner or from the next copy. Exit code 1 if there is\n"
     "none.",
     1, 1, TOOL_COMPLETE_NONE, NULL, ring_get_options, tool_ring_get},
    {"ring set", "KEY VALUE", "write a key to all its copies",
     "Writes a key and says how many copies have it. Exit code 4 if some copies have it but fewer\n"
     "than are needed, 3 if none could be reached.",
     2, 2, TOOL_COMPLETE_NONE, NULL, ring_set_options, tool_ring_set},
    {"ring del", "KEY...", "delete keys",
     "Deletes keys from all copies, whether or not they were there.", 1, -1, TOOL_COMPLETE_NONE,
     NULL, ring_del_options, tool_ring_del},
    {"ring call", "COMMAND [ARG...]", "any command of Redis, at the node of its key",
     "Prints the reply as redis-cli does. What reads is asked of the next copy if one does not\n"
     "answer; what depends on what is there runs at the owner, once.",
     1, -1, TOOL_COMPLETE_NONE, NULL, NULL, tool_ring_call},
    {"ring where", "KEY", "where a key lies, and which nodes have it",
     "Prints the key's slot, its holders in the order in which they are asked, its other targets,\n"
     "and what each of them says when asked for the key. Exit code 1 if no node has it.",
     1, 1, TOOL_COMPLETE_NONE, NULL, NULL, tool_ring_where},
    {"ring drain", "NODE", "move a node's data away",
     "Tells the ring to move all data of a node to others. With --wait exit code 1 if it still\n"
     "holds some by then. It goes on serving until then. Needs ZooKeeper.",
     1, 1, TOOL_COMPLETE_NONE, NULL, ring_drain_options, tool_ring_drain},
    {"ring undrain", "NODE", "let a node have data again", "Ends ring drain. Needs ZooKeeper.", 1,
     1, TOOL_COMPLETE_NONE, NULL, NULL, tool_ring_undrain},
    {"ring weight", "NODE WEIGHT", "change a node's share",
     "Sets the weight of a node, 1 to 1000, where 100 is usual; 0: as its configuration says. "
     "Needs\n"
     "ZooKeeper.",
     2, 2, TOOL_COMPLETE_NONE, NULL, NULL, tool_ring_weight},
    {"ring repair", "", "compare all copies, and copy what is missing",
     "Compares the copies of each slot on all nodes, and prints what differs. Nodes that are\n"
     "sidepondd make their copies equal by themselves; on Redis keys that a copy lacks are copied\n"
     "to it, with their times to live. Exit code 1 if something differs after that.",
     0, 0, TOOL_COMPLETE_NONE, NULL, ring_repair_options, tool_ring_repair},
    {"ring drill", "", "rehearsal: stop a node of a test ring, and see what clients see",
     "Reads and writes without a pause while a node is stopped or killed, and prints what failed,\n"
     "what took longest, and how soon all was as before. Exit code 1 if a call failed, an\n"
     "acknowledged write was lost, or redundancy was not complete again in time.",
     0, 0, TOOL_COMPLETE_NONE, NULL, ring_drill_options, tool_ring_drill},
    {"completion", "SHELL", "print the completion script for a shell",
     "For bash, zsh or fish: e.g. source <(sidepond completion bash)", 1, 1, TOOL_COMPLETE_WORDS,
     "bash zsh fish", NULL, tool_completion},
    {"version", "", "print the version", "Prints the version of the tool and its library.", 0, 0,
     TOOL_COMPLETE_NONE, NULL, NULL, tool_version},
    {"help", "[COMMAND]", "print help", "Prints help on the tool or on one command.", 0, 2,
     TOOL_COMPLETE_WORDS,
     "status tables get scan watch top readers check refresh confirm hold stat plan bench ring "
     "completion version help",
     NULL, tool_help},
    {0}};

const struct tool_command *tool_command_find(const char *name)
{
    for (const struct tool_command *command = tool_commands; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

const struct tool_command *tool_subcommand_find(const char *name, const char *word)
{
    char both[64];
    int size = snprintf(both, sizeof both, "%s %s", name, word);
    return size > 0 && (size_t)size < sizeof both ? tool_command_find(both) : NULL;
}

const struct tool_option *tool_shared_options(const struct tool_command *command)
{
    bool ring = strncmp(command->name, "ring", 4) == 0 &&
                (command->name[4] == '\0' || command->name[4] == ' ');
    return ring ? tool_ring_options : NULL;
}
