/* SPDX-License-Identifier: Apache-2.0
 *
 * option_table.h - how tables of options are written, for the files that have one.
 */
#ifndef SIDEPOND_CONFIG_OPTION_TABLE_H
#define SIDEPOND_CONFIG_OPTION_TABLE_H

#include <assert.h>
#include <stddef.h>

#include "server/config/options.h"

#define MEMBER(type, member) .offset = offsetof(type, member), .bytes = sizeof(((type *)0)->member)

#define SECTION(name, type, path_text, help_text)                                                  \
    static_assert(sizeof(name##_options) / sizeof(name##_options[0]) <= OPTION_COUNT_MAX,          \
                  "raise OPTION_COUNT_MAX");                                                       \
    static const struct section name##_section = {                                                 \
        .path = (path_text),                                                                       \
        .help = (help_text),                                                                       \
        .options = name##_options,                                                                 \
        .option_count = sizeof(name##_options) / sizeof(name##_options[0]),                        \
        .struct_bytes = sizeof(type),                                                              \
    }

#define MS(n)      ((uint64_t)(n))
#define SECONDS(n) (MS(1000) * (n))
#define MINUTES(n) (SECONDS(60) * (n))
#define HOURS(n)   (MINUTES(60) * (n))
#define DAYS(n)    (HOURS(24) * (n))
#define KIB(n)     ((uint64_t)(n) << 10)
#define MIB(n)     ((uint64_t)(n) << 20)
#define TIB(n)     ((uint64_t)(n) << 40)

/* Of `ring`, in options_ring.c. */
extern const struct section config_ring_section;

#endif
