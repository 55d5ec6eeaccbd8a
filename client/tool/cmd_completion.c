/* SPDX-License-Identifier: Apache-2.0
 *
 * cmd_completion.c - `sidepond completion SHELL`: scripts for bash, zsh and fish, written from the
 * command table. Tables are completed by asking `sidepond tables --names`, ponds by looking into
 * their root directory.
 */
#include <stdio.h>
#include <string.h>

#include "tool.h"

#define LICENCE "SPDX-License-Identifier: Apache-2.0"

static void bash_words(const struct tool_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        printf(" --%s", options->name);
        if (options->letter != 0)
            printf(" -%c", options->letter);
    }
}

static const char *bash_action(enum tool_complete complete, const char *words, char *room,
                               size_t room_bytes)
{
    switch (complete) {
    case TOOL_COMPLETE_POND:
        return "COMPREPLY=($(compgen -W \"$(_sidepond_ponds)\" -- \"$word\") $(compgen -d -- "
               "\"$word\"))";
    case TOOL_COMPLETE_TABLE:
        return "COMPREPLY=($(compgen -W \"$(sidepond \"${pond[@]}\" tables --names 2>/dev/null)\" "
               "-- \"$word\"))";
    case TOOL_COMPLETE_FILE:
        return "COMPREPLY=($(compgen -f -- \"$word\"))";
    case TOOL_COMPLETE_WORDS:
        snprintf(room, room_bytes, "COMPREPLY=($(compgen -W \"%s\" -- \"$word\"))", words);
        return room;
    default:
        return "COMPREPLY=()";
    }
}

/* A command's name as a pattern of bash: "ring\ get". */
static const char *bash_name(const struct tool_command *command, char *room, size_t room_bytes)
{
    const char *space = strchr(command->name, ' ');
    if (space == NULL)
        return command->name;
    snprintf(room, room_bytes, "%.*s\\ %s", (int)(space - command->name), command->name, space + 1);
    return room;
}

static void bash_option_cases(const struct tool_option *options, const char *command)
{
    char room[512];
    for (; options != NULL && options->name != NULL; options++) {
        if (options->argument == NULL)
            continue;
        printf("        %s:--%s", command, options->name);
        if (options->letter != 0)
            printf(" | %s:-%c", command, options->letter);
        printf(") %s; return ;;\n",
               bash_action(options->complete, options->words, room, sizeof room));
    }
}

/* The pattern of the options whose arguments are no words of the command line. */
static void bash_skips(void)
{
    const char *between = "        ";
    for (const struct tool_option *o = tool_ring_options; o->name != NULL; o++) {
        if (o->argument == NULL)
            continue;
        printf("%s--%s", between, o->name);
        if (o->letter != 0)
            printf(" | -%c", o->letter);
        between = " | ";
    }
    puts(") ((at++)) ;;");
}

/* The pattern of the commands of two words. */
static void bash_subcommands(void)
{
    char name[64];
    const char *between = "            ";
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        if (strchr(c->name, ' ') != NULL) {
            printf("%s%s", between, bash_name(c, name, sizeof name));
            between = " | ";
        }
    puts(") command+=\" ${COMP_WORDS[at]}\" ;;");
}

static void bash_words_read(void)
{
    puts("    for ((at = 1; at < COMP_CWORD; at++)); do\n"
         "        case ${COMP_WORDS[at]} in\n"
         "        -p | --pond) pond=(--pond \"${COMP_WORDS[at + 1]}\") && ((at++)) ;;");
    bash_skips();
    puts("        -*) ;;\n"
         "        *)\n"
         "            case $command${command:+ ${COMP_WORDS[at]}} in\n"
         "            '') command=${COMP_WORDS[at]} ;;");
    bash_subcommands();
    puts("            *) ((arguments++)) ;;\n"
         "            esac\n"
         "            ;;\n"
         "        esac\n"
         "    done\n"
         "    # shellcheck disable=SC2207\n"
         "    case $command:$before in");
}

static void bash_options_print(void)
{
    char name[64];
    puts("    local options=\"\" names=\"\"\n"
         "    case $command in");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++) {
        printf("    %s) options=\"", bash_name(c, name, sizeof name));
        bash_words(c->options);
        bash_words(tool_shared_options(c));
        puts("\" ;;");
    }
    fputs("    esac\n    options+=\"", stdout);
    bash_words(tool_global_options);
    fputs("\"\n    names=\"", stdout);
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        if (strchr(c->name, ' ') == NULL)
            printf("%s%s", c == tool_commands ? "" : " ", c->name);
    puts("\"");
}

static void bash_print(void)
{
    char room[512], name[64];
    puts("# " LICENCE "\n# shellcheck shell=bash\n"
         "# Completion of the sidepond tool for bash; printed by: sidepond completion bash\n"
         "_sidepond_ponds() {\n"
         "    local file\n"
         "    for file in \"${SIDEPOND_ROOT:-/dev/shm/sidepond}\"/*/pond; do\n"
         "        file=${file%/pond} && [ -e \"$file\" ] && echo \"${file##*/}\"\n"
         "    done\n"
         "}\n"
         "_sidepond() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
         "    local command='' arguments=0 at pond=()");
    bash_words_read();
    bash_option_cases(tool_global_options, "*");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        bash_option_cases(c->options, bash_name(c, name, sizeof name));
    bash_option_cases(tool_ring_options, "ring*");
    puts("    esac");
    bash_options_print();
    puts("    # shellcheck disable=SC2207\n"
         "    case $command:$arguments:$word in\n"
         "    *:*:-*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    :*) COMPREPLY=($(compgen -W \"$names\" -- \"$word\")) ;;");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        if (c->complete != TOOL_COMPLETE_NONE)
            printf("    %s:0:*) %s ;;\n", bash_name(c, name, sizeof name),
                   bash_action(c->complete, c->words, room, sizeof room));
    puts("    *) COMPREPLY=() ;;\n"
         "    esac\n"
         "}\n"
         "complete -F _sidepond sidepond");
}

/* Text inside single quotes of zsh's _arguments and fish. */
static void quoted_print(const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("[]:", *text) != NULL)
            putchar('\\');
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*text);
    }
}

static void zsh_action(enum tool_complete complete, const char *words)
{
    switch (complete) {
    case TOOL_COMPLETE_POND:
        fputs("_sidepond_ponds", stdout);
        break;
    case TOOL_COMPLETE_TABLE:
        fputs("_sidepond_tables", stdout);
        break;
    case TOOL_COMPLETE_FILE:
        fputs("_files", stdout);
        break;
    case TOOL_COMPLETE_WORDS:
        printf("(%s)", words);
        break;
    default:
        break;
    }
}

static void zsh_option(const struct tool_option *option, const char *dashes, const char *name)
{
    printf(" \\\n        '*%s%s[", dashes, name);
    quoted_print(option->help);
    putchar(']');
    if (option->argument != NULL) {
        putchar(':');
        quoted_print(option->argument);
        putchar(':');
        zsh_action(option->complete, option->words);
    }
    putchar('\'');
}

static void zsh_options(const struct tool_option *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        char letter[2] = {options->letter, '\0'};
        zsh_option(options, "--", options->name);
        if (options->letter != 0)
            zsh_option(options, "-", letter);
    }
}

static void zsh_arguments(const struct tool_command *command)
{
    fputs("_arguments", stdout);
    zsh_options(command->options);
    zsh_options(tool_shared_options(command));
    zsh_options(tool_global_options);
    if (command->complete == TOOL_COMPLETE_NONE)
        return;
    fputs(" \\\n        '1:", stdout);
    quoted_print(command->arguments[0] != '\0' ? command->arguments : "SUBCOMMAND");
    putchar(':');
    zsh_action(command->complete, command->words);
    putchar('\'');
}

static void zsh_command(const struct tool_command *command, const char *pattern)
{
    printf("        %s) ", pattern);
    zsh_arguments(command);
    puts(" ;;");
}

/* Once the second word is there, it is as if the two were one. */
static void zsh_subcommand(const struct tool_command *command)
{
    printf("        '%s') if ((CURRENT > 2)); then shift words; ((CURRENT--)); ", command->name);
    zsh_arguments(command);
    puts("; return; fi ;;");
}

static void zsh_print(void)
{
    puts("#compdef sidepond\n# " LICENCE "\n"
         "# Completion of the sidepond tool for zsh; printed by: sidepond completion zsh\n"
         "_sidepond_ponds() {\n"
         "    compadd -- ${SIDEPOND_ROOT:-/dev/shm/sidepond}/*(N/:t)\n"
         "    _files -/\n"
         "}\n"
         "_sidepond_tables() {\n"
         "    local -a pond\n"
         "    pond=(${opt_args[--pond]:-${opt_args[-p]}})\n"
         "    compadd -- ${(f)\"$(sidepond ${pond:+--pond=$pond} tables --names 2>/dev/null)\"}\n"
         "}\n"
         "_sidepond() {\n"
         "    local curcontext=$curcontext state line\n"
         "    typeset -A opt_args\n"
         "    local -a commands\n"
         "    commands=(");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++) {
        if (strchr(c->name, ' ') != NULL)
            continue;
        printf("        '%s:", c->name);
        quoted_print(c->summary);
        puts("'");
    }
    fputs("    )\n    _arguments -C", stdout);
    zsh_options(tool_global_options);
    puts(" \\\n        '1: :->command' '*:: :->arguments'\n"
         "    case $state in\n"
         "    command) _describe command commands ;;\n"
         "    arguments)\n"
         "        local both=\"$words[1] $words[2]\"\n"
         "        case $both in");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        if (strchr(c->name, ' ') != NULL)
            zsh_subcommand(c);
    puts("        esac\n"
         "        case $line[1] in");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        if (strchr(c->name, ' ') == NULL)
            zsh_command(c, c->name);
    puts("        esac ;;\n    esac\n}\n_sidepond \"$@\"");
}

static void fish_quoted(const char *text)
{
    putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('\'');
}

static void fish_action(enum tool_complete complete, const char *words)
{
    switch (complete) {
    case TOOL_COMPLETE_POND:
        fputs(" -a '(__sidepond_ponds)'", stdout);
        break;
    case TOOL_COMPLETE_TABLE:
        fputs(" -a '(__sidepond_tables)'", stdout);
        break;
    case TOOL_COMPLETE_FILE:
        fputs(" -F", stdout);
        break;
    case TOOL_COMPLETE_WORDS:
        printf(" -a '%s'", words);
        break;
    default:
        break;
    }
}

/* When the command has been typed. One whose name is a subcommand of ring as well is meant only
 * where ring is not. */
static void fish_condition(const struct tool_command *command)
{
    const char *space = strchr(command->name, ' ');
    printf(" -n '__fish_seen_subcommand_from ");
    if (space != NULL)
        printf("%.*s; and __fish_seen_subcommand_from %s'", (int)(space - command->name),
               command->name, space + 1);
    else if (tool_subcommand_find("ring", command->name) != NULL)
        printf("%s; and not __fish_seen_subcommand_from ring'", command->name);
    else
        printf("%s'", command->name);
}

static void fish_options(const struct tool_option *options, const struct tool_command *command)
{
    for (; options != NULL && options->name != NULL; options++) {
        printf("complete -c sidepond");
        if (command != NULL)
            fish_condition(command);
        printf(" -l %s", options->name);
        if (options->letter != 0)
            printf(" -s %c", options->letter);
        if (options->argument != NULL) {
            printf(" -x");
            fish_action(options->complete, options->words);
        }
        printf(" -d ");
        fish_quoted(options->help);
        putchar('\n');
    }
}

static void fish_print(void)
{
    puts("# " LICENCE "\n"
         "# Completion of the sidepond tool for fish; printed by: sidepond completion fish\n"
         "function __sidepond_ponds\n"
         "    set -l root /dev/shm/sidepond\n"
         "    set -q SIDEPOND_ROOT; and set root $SIDEPOND_ROOT\n"
         "    for file in $root/*/pond\n"
         "        basename (dirname $file)\n"
         "    end\n"
         "end\n"
         "function __sidepond_tables\n"
         "    sidepond tables --names 2>/dev/null\n"
         "end\n"
         "complete -c sidepond -f");
    fish_options(tool_global_options, NULL);
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++) {
        const char *space = strchr(c->name, ' ');
        if (space == NULL)
            printf("complete -c sidepond -n __fish_use_subcommand -a %s -d ", c->name);
        else
            printf("complete -c sidepond -n '__fish_seen_subcommand_from %.*s' -a %s -d ",
                   (int)(space - c->name), c->name, space + 1);
        fish_quoted(c->summary);
        putchar('\n');
        if (c->complete != TOOL_COMPLETE_NONE && tool_shared_options(c) == NULL) {
            printf("complete -c sidepond");
            fish_condition(c);
            fish_action(c->complete, c->words);
            putchar('\n');
        }
        fish_options(c->options, c);
        if (space == NULL)
            fish_options(tool_shared_options(c), c);
    }
}

int tool_completion(struct tool *tool)
{
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", bash_print}, {"zsh", zsh_print}, {"fish", fish_print}};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(tool->args[0], shells[i].shell) == 0) {
            shells[i].print();
            return TOOL_OK;
        }
    tool_error("no completion for \"%s\"; there is one for bash, zsh and fish", tool->args[0]);
    return TOOL_USAGE;
}
