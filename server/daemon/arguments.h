/* SPDX-License-Identifier: Apache-2.0
 *
 * arguments.h - the command line of sidepondd.
 */
#ifndef SIDEPOND_DAEMON_ARGUMENTS_H
#define SIDEPOND_DAEMON_ARGUMENTS_H

#include <stdbool.h>
#include <stdio.h>

#define ARGUMENTS_CONFIG_DEFAULT "/etc/sidepond/sidepond.yaml"

enum command {
    COMMAND_RUN,
    COMMAND_AGENT,
    COMMAND_CHECK,
    COMMAND_PLAN,
    COMMAND_VERSION,
    COMMAND_HELP,
    COMMAND_REFERENCE,
    COMMAND_METRICS
};

struct arguments {
    enum command command;
    const char *config;
    bool connect; /* with check: ask the databases too */
    bool json;    /* with plan */
};

/* False: what is wrong has been written to standard error. */
bool arguments_parse(int argc, char **argv, struct arguments *out);
void arguments_help(FILE *out);

#endif
