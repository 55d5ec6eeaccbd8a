/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.h - one request to the daemon, through the socket of its cache server in the pond's
 * directory.
 */
#ifndef SIDEPOND_TOOL_ASK_H
#define SIDEPOND_TOOL_ASK_H

#include <jansson.h>

#include "tool.h"

/* Sends the words as one request of the Redis protocol and waits for its reply, at most so long:
 * text, an integer, null or an array of these. Where there is none, or an error, says so and
 * gives the exit code. */
int tool_ask(struct tool *tool, const char *const *words, size_t count, uint32_t timeout_ms,
             json_t **reply);

#endif
