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

static void bash_print(void)
{
    char room[512];
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
         "    local command='' arguments=0 at pond=()\n"
         "    for ((at = 1; at < COMP_CWORD; at++)); do\n"
         "        case ${COMP_WORDS[at]} in\n"
         "        -p | --pond) pond=(--pond \"${COMP_WORDS[at + 1]}\") && ((at++)) ;;\n"
         "        -*) ;;\n"
         "        *) if [ -z \"$command\" ]; then command=${COMP_WORDS[at]}; else ((arguments++)); "
         "fi "
         ";;\n"
         "        esac\n"
         "    done\n"
         "    # shellcheck disable=SC2207\n"
         "    case $command:$before in");
    bash_option_cases(tool_global_options, "*");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        bash_option_cases(c->options, c->name);
    puts("    esac\n"
         "    local options=\"\" names=\"\"\n"
         "    case $command in");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++) {
        printf("    %s) options=\"", c->name);
        bash_words(c->options);
        puts("\" ;;");
    }
    fputs("    esac\n    options+=\"", stdout);
    bash_words(tool_global_options);
    fputs("\"\n    names=\"", stdout);
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        printf("%s%s", c == tool_commands ? "" : " ", c->name);
    puts("\"\n"
         "    # shellcheck disable=SC2207\n"
         "    case $command:$arguments:$word in\n"
         "    *:*:-*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    :*) COMPREPLY=($(compgen -W \"$names\" -- \"$word\")) ;;");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++)
        if (c->complete != TOOL_COMPLETE_NONE)
            printf("    %s:0:*) %s ;;\n", c->name,
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
         "        case $line[1] in");
    for (const struct tool_command *c = tool_commands; c->name != NULL; c++) {
        printf("        %s) _arguments", c->name);
        zsh_options(c->options);
        zsh_options(tool_global_options);
        if (c->complete != TOOL_COMPLETE_NONE) {
            fputs(" \\\n        '1:", stdout);
            quoted_print(c->arguments);
            putchar(':');
            zsh_action(c->complete, c->words);
            putchar('\'');
        }
        puts(" ;;");
    }
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

static void fish_options(const struct tool_option *options, const char *command)
{
    for (; options != NULL && options->name != NULL; options++) {
        printf("complete -c sidepond");
        if (command != NULL)
            printf(" -n '__fish_seen_subcommand_from %s'", command);
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
        printf("complete -c sidepond -n __fish_use_subcommand -a %s -d ", c->name);
        fish_quoted(c->summary);
        putchar('\n');
        if (c->complete != TOOL_COMPLETE_NONE) {
            printf("complete -c sidepond -n '__fish_seen_subcommand_from %s'", c->name);
            fish_action(c->complete, c->words);
            putchar('\n');
        }
        fish_options(c->options, c->name);
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
