/* SPDX-License-Identifier: Apache-2.0
 *
 * values.h - what a scalar of the file means: durations, sizes, percentages, names, addresses.
 *
 * Pure functions of text. On false, `why` says what is wrong, to follow the option's name:
 * "must be ...".
 */
#ifndef SIDEPOND_CONFIG_VALUES_H
#define SIDEPOND_CONFIG_VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "server/config/options.h"

enum { VALUE_WHY_BYTES = 320 };
enum { VALUE_PRINT_BYTES = 32 };

struct value {
    uint64_t number; /* ms, bytes, 0 or 1, position in choices, overlap */
    double fraction; /* percentages */
};

/* Checks and reads the text of a scalar option, range included. For texts nothing is set. */
bool config_value_parse(const struct option *option, const char *text, struct value *out,
                        char why[VALUE_WHY_BYTES]);

/* A number as one would write it in the file: "90s", "1h", "256MiB". */
const char *config_print_duration(uint64_t ms, char out[VALUE_PRINT_BYTES]);
const char *config_print_size(uint64_t bytes, char out[VALUE_PRINT_BYTES]);

/* The path of a Unix socket to listen on, or NULL for an ADDRESS:PORT. */
enum { VALUE_SOCKET_PATH_MAX = 107 }; /* bytes */
const char *config_socket_path(const char *address);

/* Whether an ADDRESS:PORT that config_value_parse accepted is reachable from this host alone. */
bool config_is_loopback(const char *address);

/* A PostgreSQL connection string or URI. */
enum dsn_verdict { DSN_GOOD, DSN_BROKEN, DSN_HAS_PASSWORD };
enum dsn_verdict config_check_dsn(const char *dsn);
enum dsn_verdict config_check_mongodb_uri(const char *dsn);

/* A URI of MariaDB or MySQL. */
enum dsn_verdict config_check_mariadb_uri(const char *dsn);

#endif
