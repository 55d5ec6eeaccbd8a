/* SPDX-License-Identifier: Apache-2.0
 *
 * commands.c - every subcommand and every option of the tool. Parser, help, completion and
 * `sidepond help --json` follow from these tables.
 */
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

static const struct tool_option tables_options[] = {
    {"names", 0, NULL, "only the names, one a line", TOOL_COMPLETE_NONE, NULL}, {0}};

static const struct tool_option get_options[] = {
    {"index", 'i', "NAME", "look up by this secondary index; may find several rows",
     TOOL_COMPLETE_NONE, NULL},
    {"column", 'c', "NAME", "print only this column's value", TOOL_COMPLETE_NONE, NULL},
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
    {"user", 'u', "NAME", "the user of the cache server (default: default)", TOOL_COMPLETE_NONE,
     NULL},
    {"password-file", 0, "FILE", "its password is the first line of this file", TOOL_COMPLETE_FILE,
     NULL},
    {0}};

static const struct tool_option check_options[] = {
    {"quiet", 'q', NULL, "print nothing, only the exit code", TOOL_COMPLETE_NONE, NULL}, {0}};

static const struct tool_option wait_options[] = {
    {"wait", 'w', "TIME", "wait for its end, at most so long, and say what it has changed",
     TOOL_COMPLETE_NONE, NULL},
    {0}};

static const struct tool_option bench_options[] = {
    {"time", 't', "TIME", "how long each measurement takes (default 1s)", TOOL_COMPLETE_NONE, NULL},
    {"keys", 'n', "COUNT", "read at most so many different keys (default 1000000)",
     TOOL_COMPLETE_NONE, NULL},
    {0}};

const struct tool_command tool_commands[] = {
    {"status", "", "the pond, its daemon, its memory and its tables",
     "Prints the pond's state and version, whether its daemon is alive, how much memory it takes,\n"
     "and for each table its rows, state, age and last change.",
     0, 0, TOOL_COMPLETE_NONE, NULL, NULL, tool_status},
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
     "hits and misses, clients, commands and how long they take. Keys: q quits, space pauses, s "
     "and\n"
     "t sort. Elsewhere prints one picture; with --json an object for each interval.",
     0, 0, TOOL_COMPLETE_NONE, NULL, top_options, tool_top},
    {"readers", "", "who holds a snapshot",
     "Lists the processes that hold a snapshot and the version each one pins. Readers without a\n"
     "snapshot leave no trace and are not listed.",
     0, 0, TOOL_COMPLETE_NONE, NULL, NULL, tool_readers},
    {"check", "", "walk through everything and verify it",
     "Verifies the superblock, the allocator, every index and every row with its checksum, also "
     "of\n"
     "a pond whose daemon is dead. Exit code 1 if something is wrong.",
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
     1, 1, TOOL_COMPLETE_TABLE, NULL, NULL, tool_hold},
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
    {"completion", "SHELL", "print the completion script for a shell",
     "For bash, zsh or fish: e.g. source <(sidepond completion bash)", 1, 1, TOOL_COMPLETE_WORDS,
     "bash zsh fish", NULL, tool_completion},
    {"version", "", "print the version", "Prints the version of the tool and its library.", 0, 0,
     TOOL_COMPLETE_NONE, NULL, NULL, tool_version},
    {"help", "[COMMAND]", "print help", "Prints help on the tool or on one command.", 0, 1,
     TOOL_COMPLETE_WORDS,
     "status tables get scan watch top readers check refresh confirm hold stat plan bench "
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
