/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.h - `sidepondd plan`: what the configured tables will take.
 */
#ifndef SIDEPOND_DAEMON_PLAN_H
#define SIDEPOND_DAEMON_PLAN_H

#include <stdio.h>

#include "server/config/config.h"

/* Reads a sample of each table and prints the estimate. A status; what is wrong goes to stderr. */
int plan_print(const struct config *config, bool json, FILE *out);

#endif
