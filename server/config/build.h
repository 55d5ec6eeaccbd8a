/* SPDX-License-Identifier: Apache-2.0
 *
 * build.h - from loaded slots to struct config.
 */
#ifndef SIDEPOND_CONFIG_BUILD_H
#define SIDEPOND_CONFIG_BUILD_H

#include "server/config/config.h"
#include "server/config/schema.h"
#include "server/config/tree.h"

struct arena_block;

/* Memory that is freed all at once. Zero-initialize. */
struct arena {
    struct arena_block *blocks;
};
void *config_arena_alloc(struct arena *arena, size_t bytes); /* zeroed; NULL without memory */
char *config_arena_format(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void config_arena_free(struct arena *arena);

/* Fills `config` from the slots of the whole file: what is given, else the default. A value that
 * config_check refused counts as not given. Strings are the slots' or the arena's. Then fills in
 * lines, references and the defaults that depend on other values. SP_ENOMEM. */
int config_build(struct arena *arena, const char *file, const struct slot *slots, struct tree *tree,
                 struct config *config);

#endif
