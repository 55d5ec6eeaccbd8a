/* SPDX-License-Identifier: Apache-2.0
 *
 * arguments.c - the command line by the tables of commands.c.
 *
 * Options may stand anywhere: "--name VALUE", "--name=VALUE", "-n VALUE", "-nVALUE"; "--" ends
 * them. A dash before a digit is a negative number, not an option, so `sidepond get t -5` needs no
 * "--".
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static const struct tool_option *option_in(const struct tool_option *list, const char *name,
                                           size_t size, char letter)
{
    for (; list != NULL && list->name != NULL; list++)
        if (name != NULL ? strlen(list->name) == size && memcmp(list->name, name, size) == 0
                         : letter != 0 && list->letter == letter)
            return list;
    return NULL;
}

static const struct tool_option *option_find(const struct tool *tool, const char *name, size_t size,
                                             char letter)
{
    const struct tool_option *found = NULL;
    if (tool->command != NULL)
        found = option_in(tool->command->options, name, size, letter);
    if (found == NULL) /* those of ring may stand before it */
        found = option_in(tool->command != NULL ? tool_shared_options(tool->command)
                                                : tool_ring_options,
                          name, size, letter);
    return found != NULL ? found : option_in(tool_global_options, name, size, letter);
}

static int word_in(const char *words, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = words; (at = strstr(at, word)) != NULL; at++)
        if (size > 0 && (at == words || at[-1] == ' ') && (at[size] == '\0' || at[size] == ' '))
            return 1;
    return 0;
}

static int choice_add(struct tool *tool, const struct tool_option *option, const char *value)
{
    if (tool->choice_count == TOOL_CHOICES_MAX) {
        tool_error("too many options: at most %d", TOOL_CHOICES_MAX);
        return TOOL_USAGE;
    }
    if (option->complete == TOOL_COMPLETE_WORDS && !word_in(option->words, value)) {
        tool_error("--%s: \"%s\" is none of: %s", option->name, value, option->words);
        return TOOL_USAGE;
    }
    tool->choices[tool->choice_count].option = option;
    tool->choices[tool->choice_count++].value = value;
    return TOOL_OK;
}

static int option_unknown(const struct tool *tool, const char *text)
{
    if (tool->command == NULL)
        tool_error("unknown option %s; try: sidepond help", text);
    else
        tool_error("unknown option %s; try: sidepond help %s", text, tool->command->name);
    return TOOL_USAGE;
}

/* The option at argv[*at]; moves *at past an argument of its own. */
static int option_take(struct tool *tool, int argc, char **argv, int *at)
{
    const char *text = argv[*at];
    const char *value = NULL;
    const struct tool_option *option;
    if (text[1] == '-') {
        size_t size = strcspn(text + 2, "=");
        option = option_find(tool, text + 2, size, 0);
        value = text[2 + size] == '=' ? text + 2 + size + 1 : NULL;
    } else {
        option = option_find(tool, NULL, 0, text[1]);
        value = text[2] != '\0' ? text + 2 : NULL;
    }
    if (option == NULL)
        return option_unknown(tool, text);
    if (option->argument == NULL) {
        if (value != NULL) {
            tool_error("--%s takes no argument: %s", option->name, text);
            return TOOL_USAGE;
        }
        return choice_add(tool, option, "");
    }
    if (value == NULL && *at + 1 < argc)
        value = argv[++*at];
    if (value == NULL) {
        tool_error("--%s needs an argument: %s", option->name, option->argument);
        return TOOL_USAGE;
    }
    return choice_add(tool, option, value);
}

static bool is_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0' && !isdigit((unsigned char)text[1]) && text[1] != '.';
}

/* "-h" and "-V" are what fingers know. */
static char *word_alias(char *word)
{
    static char version[] = "version";
    return strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 ? version : word;
}

/* Whether one letter too many, too few or another one, or two changed places, make the
 * difference. */
static bool is_slip(const char *typed, const char *meant)
{
    while (*typed != '\0' && *typed == *meant) {
        typed++;
        meant++;
    }
    bool left = typed[0] != '\0' && meant[0] != '\0';
    return (typed[0] != '\0' && strcmp(typed + 1, meant) == 0) ||
           (meant[0] != '\0' && strcmp(typed, meant + 1) == 0) ||
           (left && strcmp(typed + 1, meant + 1) == 0) ||
           (left && typed[0] == meant[1] && typed[1] == meant[0] &&
            strcmp(typed + 2, meant + 2) == 0);
}

int tool_unknown_command(const char *name)
{
    const struct tool_command *meant = tool_commands;
    while (meant->name != NULL && !is_slip(name, meant->name))
        meant++;
    if (meant->name != NULL)
        tool_error("unknown command \"%s\"; is it \"%s\" that is meant?", name, meant->name);
    else
        tool_error("unknown command \"%s\"; commands are listed by: sidepond help", name);
    return TOOL_USAGE;
}

static int command_set(struct tool *tool, const char *name)
{
    tool->command = tool_command_find(name);
    return tool->command != NULL ? TOOL_OK : tool_unknown_command(name);
}

/* The first word after `ring` may make another command of it. */
static bool subcommand_set(struct tool *tool, const char *word)
{
    const struct tool_command *found = NULL;
    if (tool->arg_count == 0)
        found = tool_subcommand_find(tool->command->name, word);
    if (found != NULL)
        tool->command = found;
    return found != NULL;
}

static int count_check(const struct tool *tool)
{
    const struct tool_command *command = tool->command;
    if (command == NULL || tool_option(tool, "help") != NULL)
        return TOOL_OK;
    if (tool->arg_count >= command->args_min &&
        (command->args_max < 0 || tool->arg_count <= command->args_max))
        return TOOL_OK;
    if (command->args_max == 0 && command->words != NULL) {
        tool_error("unknown subcommand \"%s\" of %s; there are: %s", tool->args[0], command->name,
                   command->words);
        return TOOL_USAGE;
    }
    tool_error("%s arguments; usage: sidepond %s %s",
               tool->arg_count < command->args_min ? "missing" : "too many", command->name,
               command->arguments);
    return TOOL_USAGE;
}

int tool_parse(struct tool *tool, int argc, char **argv)
{
    bool options = true;
    tool->args = argv;
    for (int at = 1; at < argc; at++) {
        char *word = tool->command == NULL ? word_alias(argv[at]) : argv[at];
        int code = TOOL_OK;
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && is_option(word))
            code = option_take(tool, argc, argv, &at);
        else if (tool->command == NULL)
            code = command_set(tool, word);
        else if (!options || !subcommand_set(tool, word))
            tool->args[tool->arg_count++] = word;
        if (code != TOOL_OK)
            return code;
    }
    return count_check(tool);
}

const char *tool_option(const struct tool *tool, const char *name)
{
    for (int i = tool->choice_count - 1; i >= 0; i--)
        if (strcmp(tool->choices[i].option->name, name) == 0)
            return tool->choices[i].value;
    return NULL;
}

const char *tool_option_next(const struct tool *tool, const char *name, int *cursor)
{
    while (*cursor < tool->choice_count) {
        int i = (*cursor)++;
        if (strcmp(tool->choices[i].option->name, name) == 0)
            return tool->choices[i].value;
    }
    return NULL;
}

int tool_option_count(const struct tool *tool, const char *name, uint64_t min, uint64_t otherwise,
                      uint64_t *out)
{
    const char *text = tool_option(tool, name);
    char *end = NULL;
    *out = otherwise;
    if (text == NULL)
        return TOOL_OK;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (errno == 0 && isdigit((unsigned char)text[0]) && *end == '\0' && *out >= min)
        return TOOL_OK;
    tool_error("--%s: \"%s\" is not a number of at least %llu", name, text,
               (unsigned long long)min);
    return TOOL_USAGE;
}

int tool_option_ms(const struct tool *tool, const char *name, uint32_t otherwise, uint32_t *out)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *text = tool_option(tool, name);
    char *end = NULL;
    *out = otherwise;
    if (text == NULL)
        return TOOL_OK;
    double number = strtod(text, &end);
    for (size_t i = 0; end != text && i < sizeof units / sizeof units[0]; i++) {
        double ms = number * units[i].ms;
        if (strcmp(end, units[i].unit) == 0 && isfinite(ms) && ms >= 1 && ms <= 4e9) {
            *out = (uint32_t)ms;
            return TOOL_OK;
        }
    }
    tool_error("--%s: \"%s\" is not a time; write 500ms, 2s or 1m", name, text);
    return TOOL_USAGE;
}
