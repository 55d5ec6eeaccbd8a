/* SPDX-License-Identifier: Apache-2.0
 *
 * schema.h - loading the file by libcyaml, with a schema made from the table of options.
 */
#ifndef SIDEPOND_CONFIG_SCHEMA_H
#define SIDEPOND_CONFIG_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "server/config/complaints.h"
#include "server/config/options.h"

/* What libcyaml loads for one option. A loaded section is an array of slots, one for each option in
 * the order of the table:
 *
 *   scalar    data: char *, NULL if not given
 *   list      data: char **, count of them
 *   section   data: struct slot *, the section's slots, or NULL
 *   sections  data: struct slot *, count times the section's slots in a row
 */
struct slot {
    void *data;
    uint32_t count;
};

struct schema;

/* Loads `data` into the slots of the whole file, which live until config_schema_free of `*out`.
 * SP_ECONFIG with a complaint, SP_ENOMEM. */
int config_schema_load(const char *data, size_t size, struct complaints *complaints,
                       struct schema **out, const struct slot **slots);
void config_schema_free(struct schema *schema);

#endif
