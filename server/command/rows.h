/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.h - what a thread knows of the pond's tables.
 */
#ifndef SIDEPOND_COMMAND_ROWS_H
#define SIDEPOND_COMMAND_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sidepond/sidepond.h"

struct row_tables;

struct row_tables *row_tables_new(void);         /* NULL: no memory */
void row_tables_free(struct row_tables *tables); /* NULL is fine */

/* Whether the row whose key is this text, without the table's name, may have been changed, put in
 * or taken out after a version; also for what cannot be a key. Any thread, with a row of its own.
 */
bool row_changed_since(struct sp_table *table, const char *text, size_t bytes, uint64_t version,
                       struct sp_row *row);

#endif
