/* SPDX-License-Identifier: Apache-2.0
 *
 * arguments.c - the command line: one table, from which parser and help follow.
 */
#include "server/daemon/arguments.h"

#include <getopt.h>
#include <string.h>

struct argument {
    const char *name;
    char letter; /* 0: none */
    bool has_value;
    const char *help;
};

static const struct argument arguments[] = {
    {"config", 'c', true,
     "the configuration (FILE may stand alone too); default " ARGUMENTS_CONFIG_DEFAULT},
    {"agent", 0, false, "watch Redis servers and keep them in a ring, in place of a pond"},
    {"check", 0, false, "check the configuration, explain it, and end"},
    {"connect", 0, false, "with --check: ask the databases whether tables and columns are there"},
    {"json", 'j', false, "with plan: print JSON"},
    {"reference", 0, false, "print every option of the configuration as Markdown"},
    {"metrics", 0, false, "print every metric as Markdown"},
    {"version", 'V', false, "print the version"},
    {"help", 'h', false, "print this"},
};
enum { ARGUMENT_COUNT = sizeof(arguments) / sizeof(arguments[0]), LONG_ONLY = 256 };

void arguments_help(FILE *out)
{
    fprintf(out,
            "Keeps database tables in shared memory, for any process of this host to read.\n\n"
            "  sidepondd [OPTION...] [FILE]       fill the pond and keep it fresh\n"
            "  sidepondd --agent [FILE]           keep Redis servers in a ring\n"
            "  sidepondd plan [OPTION...] [FILE]  read the tables once, estimate the memory\n\n");
    for (int i = 0; i < ARGUMENT_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof(name), "--%s%s", arguments[i].name,
                 arguments[i].has_value ? " FILE" : "");
        if (arguments[i].letter)
            fprintf(out, "  -%c, %-15s %s\n", arguments[i].letter, name, arguments[i].help);
        else
            fprintf(out, "      %-15s %s\n", name, arguments[i].help);
    }
    fprintf(out,
            "\nSignals: HUP reloads the configuration, USR1 refreshes everything now, TERM and "
            "INT end.\n");
}

static void make_tables(struct option *longs, char *shorts)
{
    for (int i = 0; i < ARGUMENT_COUNT; i++) {
        longs[i] =
            (struct option){.name = arguments[i].name,
                            .has_arg = arguments[i].has_value ? required_argument : no_argument,
                            .val = arguments[i].letter ? arguments[i].letter : LONG_ONLY + i};
        if (!arguments[i].letter)
            continue;
        *shorts++ = arguments[i].letter;
        if (arguments[i].has_value)
            *shorts++ = ':';
    }
    longs[ARGUMENT_COUNT] = (struct option){0};
    *shorts = '\0';
}

static bool take(const char *name, const char *value, struct arguments *out)
{
    if (strcmp(name, "config") == 0)
        out->config = value;
    else if (strcmp(name, "connect") == 0)
        out->connect = true;
    else if (strcmp(name, "json") == 0)
        out->json = true;
    else if (strcmp(name, "agent") == 0)
        out->command = COMMAND_AGENT;
    else if (strcmp(name, "check") == 0)
        out->command = COMMAND_CHECK;
    else if (strcmp(name, "reference") == 0)
        out->command = COMMAND_REFERENCE;
    else if (strcmp(name, "metrics") == 0)
        out->command = COMMAND_METRICS;
    else if (strcmp(name, "version") == 0)
        out->command = COMMAND_VERSION;
    else if (strcmp(name, "help") == 0)
        out->command = COMMAND_HELP;
    else
        return false;
    return true;
}

static const char *name_of(int value)
{
    for (int i = 0; i < ARGUMENT_COUNT; i++)
        if (value == arguments[i].letter || value == LONG_ONLY + i)
            return arguments[i].name;
    return "";
}

static bool complain(const char *what, const char *which)
{
    fprintf(stderr, "sidepondd: %s%s; sidepondd --help says what there is\n", what, which);
    return false;
}

static bool check(const struct arguments *out)
{
    if (out->connect && out->command != COMMAND_CHECK)
        return complain("--connect goes with --check", "");
    if (out->json && out->command != COMMAND_PLAN)
        return complain("--json goes with plan", "");
    return true;
}

bool arguments_parse(int argc, char **argv, struct arguments *out)
{
    struct option longs[ARGUMENT_COUNT + 1];
    char shorts[2 * ARGUMENT_COUNT + 1];
    int value;
    *out = (struct arguments){.command = COMMAND_RUN};
    make_tables(longs, shorts);
    if (argc > 1 && strcmp(argv[1], "plan") == 0) {
        out->command = COMMAND_PLAN;
        argc--;
        argv++;
    }
    while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
        if (value == '?' || !take(name_of(value), optarg, out))
            return complain("wrong arguments", "");
    if (optind < argc && out->config)
        return complain("a second configuration: ", argv[optind]);
    if (optind < argc)
        out->config = argv[optind++];
    if (optind < argc)
        return complain("unexpected argument: ", argv[optind]);
    if (!out->config)
        out->config = ARGUMENTS_CONFIG_DEFAULT;
    return check(out);
}
