/* SPDX-License-Identifier: Apache-2.0
 *
 * tool.h - what the subcommands of the `sidepond` tool share: how a command is declared, what it
 * finds when it runs, and the helpers that open ponds and report errors.
 *
 * A command is an entry of commands.c: name, arguments, options and one function. The parser, the
 * help, the shell completion and the test of the manual page follow from that table.
 */
#ifndef SIDEPOND_TOOL_TOOL_H
#define SIDEPOND_TOOL_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sidepond/ring.h"
#include "sidepond/sidepond.h"

/* Exit codes, part of the tool's contract (sidepond(1)). */
enum tool_exit {
    TOOL_OK = 0,
    TOOL_NO = 1,    /* the answer is no: no such key, nothing changed in time, damage found */
    TOOL_USAGE = 2, /* the command line is wrong, or names a table or column that is not there */
    TOOL_UNAVAILABLE = 3, /* there is no pond, it is not ready, or may not be read */
    TOOL_FAILED = 4       /* reading failed on the way: pond corrupt, snapshot lost, disk full */
};

/* What an argument can be completed with. */
enum tool_complete {
    TOOL_COMPLETE_NONE,
    TOOL_COMPLETE_POND,
    TOOL_COMPLETE_TABLE,
    TOOL_COMPLETE_FILE,
    TOOL_COMPLETE_WORDS /* the words of `words` */
};

struct tool_option {
    const char *name;     /* without the dashes; NULL ends a list */
    char letter;          /* short form, or 0 */
    const char *argument; /* what its argument is called, or NULL for a flag */
    const char *help;
    enum tool_complete complete;
    const char *words; /* separated by spaces */
};

struct tool;

struct tool_command {
    const char *name;      /* "get", or with a subcommand "ring get" */
    const char *arguments; /* "TABLE KEY...", for the usage line */
    const char *summary;   /* half a sentence, for the list of commands */
    const char *details;   /* some sentences for the command's help */
    int args_min;
    int args_max;                /* -1: any number */
    enum tool_complete complete; /* the first argument */
    const char *words;
    const struct tool_option *options;
    int (*run)(struct tool *tool);
};

#define TOOL_CHOICES_MAX 64

/* One run of the tool. */
struct tool {
    const struct tool_command *command;
    char **args; /* the command's arguments, without options */
    int arg_count;
    struct {
        const struct tool_option *option;
        const char *value; /* "" for a flag */
    } choices[TOOL_CHOICES_MAX];
    int choice_count;
    bool json;     /* --json */
    bool terminal; /* standard output is a terminal */
    bool color;
    const char *user;      /* --user and --password-file, after tool_credentials; NULL: none */
    char *password;        /* freed by main */
    struct sp_ring *ring;  /* after tool_ring_open; closed by main */
    const char *pond_name; /* as given with --pond; NULL: the default */
    struct sp_pond *pond;  /* after tool_open; closed by main */
};

/* --- commands.c ------------------------------------------------------------------------------ */
extern const struct tool_command tool_commands[]; /* ends with a NULL name */
extern const struct tool_option tool_global_options[];
extern const struct tool_option tool_ring_options[]; /* of `ring` and its subcommands */
const struct tool_command *tool_command_find(const char *name);
/* "ring get" of "ring" and "get"; NULL: there is none. */
const struct tool_command *tool_subcommand_find(const char *name, const char *word);
/* The options that a command has in common with others of its kind; NULL: none. */
const struct tool_option *tool_shared_options(const struct tool_command *command);

/* --- arguments.c ----------------------------------------------------------------------------- */
/* Takes the command line apart: fills the command, its options and its arguments. TOOL_USAGE after
 * having said what is wrong. `argv` is rearranged. A command of NULL means that there was none. */
int tool_parse(struct tool *tool, int argc, char **argv);
/* Says that there is none of this name, and which one may be meant. */
int tool_unknown_command(const char *name);
/* The value of an option (the last one given), "" for a flag that is set, NULL if not given. */
const char *tool_option(const struct tool *tool, const char *name);
/* All values of an option that may be repeated: start with *cursor = 0; NULL at the end. */
const char *tool_option_next(const struct tool *tool, const char *name, int *cursor);
/* An option that is a number of at least `min`; `otherwise` if it is not given. */
int tool_option_count(const struct tool *tool, const char *name, uint64_t min, uint64_t otherwise,
                      uint64_t *out);
/* The same for a time, "500ms", "2s", "1.5" (seconds), "3m". */
int tool_option_ms(const struct tool *tool, const char *name, uint32_t otherwise, uint32_t *out);

/* --- report.c -------------------------------------------------------------------------------- */
void tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says that `what` failed with a status, with the library's detail, and gives the exit code. */
int tool_failed(int status, const char *what, ...) __attribute__((format(printf, 2, 3)));

/* --- secret.c -------------------------------------------------------------------------------- */
/* The first line of a file that holds a `what`, for tool_secret_free. */
int tool_secret_read(const char *path, const char *what, char **out);
void tool_secret_free(char *secret); /* NULL is fine */
/* Reads --user and --password-file. */
int tool_credentials(struct tool *tool);

/* --- open.c ---------------------------------------------------------------------------------- */
#define TOOL_PATH_BYTES 4096
/* The directory that the pond's name stands for. */
void tool_directory(const struct tool *tool, char out[TOOL_PATH_BYTES]);
/* Says so if there is no pond at all; one of any state will do. */
int tool_find(const struct tool *tool);
/* Opens the pond; says what is wrong and what to do about it. */
int tool_open(struct tool *tool);
int tool_table(struct tool *tool, const char *name, struct sp_table **out);
/* Position of a column or secondary index; says which there are. */
int tool_column(const struct sp_schema *schema, const char *table, const char *name,
                size_t *column);
int tool_index(const struct sp_schema *schema, const char *table, const char *name, int *index);
/* The names of all tables, sorted; to be freed by free(). */
int tool_table_names(struct tool *tool, const char ***names, size_t *count);
/* What there is to say of one of them; false if it has gone meanwhile. */
bool tool_table_info(struct tool *tool, const char *name, struct sp_table_info *out);

/* Says that words are no key (of the primary index for -1), and what that is made of. */
int tool_key_misfit(const struct sp_schema *schema, const char *table, int index, char **words,
                    size_t count);

#define TOOL_KEY_VALUES_MAX 16
/* The values of a key from the words of the command line; they point into `words`. */
int tool_key_values(const struct sp_schema *schema, const char *table, int index, char **words,
                    int count, struct sp_value values[TOOL_KEY_VALUES_MAX]);

/* --- one file each --------------------------------------------------------------------------- */
int tool_bench(struct tool *tool);
int tool_check(struct tool *tool);
int tool_completion(struct tool *tool);
int tool_confirm(struct tool *tool);
int tool_get(struct tool *tool);
int tool_help(struct tool *tool);
int tool_hold(struct tool *tool);
int tool_plan(struct tool *tool);
int tool_readers(struct tool *tool);
int tool_refresh(struct tool *tool);
int tool_ring(struct tool *tool);
int tool_ring_call(struct tool *tool);
int tool_ring_del(struct tool *tool);
int tool_ring_drain(struct tool *tool);
int tool_ring_drill(struct tool *tool);
int tool_ring_get(struct tool *tool);
int tool_ring_repair(struct tool *tool);
int tool_ring_set(struct tool *tool);
int tool_ring_undrain(struct tool *tool);
int tool_ring_watch(struct tool *tool);
int tool_ring_weight(struct tool *tool);
int tool_ring_where(struct tool *tool);
int tool_scan(struct tool *tool);
int tool_stat(struct tool *tool);
int tool_status(struct tool *tool);
int tool_tables(struct tool *tool);
int tool_top(struct tool *tool);
int tool_version(struct tool *tool);
int tool_watch(struct tool *tool);
/* Help of one command, or of the tool. */
void tool_help_print(const struct tool_command *command);

#endif
