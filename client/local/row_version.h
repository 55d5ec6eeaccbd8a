/* SPDX-License-Identifier: Apache-2.0
 *
 * row_version.h - since which version a row has been what it is. Not exported from the library.
 */
#ifndef SIDEPOND_LOCAL_ROW_VERSION_H
#define SIDEPOND_LOCAL_ROW_VERSION_H

#include "sidepond/sidepond.h"

/* The version of the commit that wrote the newest version of a row, which is looked for without a
 * lock and without copying it; a table that is too old is read as well. `row` lends its memory for
 * the key, and what it holds stays. SP_ENOTFOUND, or what sp_get_row says of a key that is none. */
int row_version(struct sp_table *table, const struct sp_value *key, size_t key_count,
                struct sp_row *row, uint64_t *version);

#endif
