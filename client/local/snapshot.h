/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.h - reading through a snapshot, for views and scans.
 */
#ifndef SIDEPOND_LOCAL_SNAPSHOT_H
#define SIDEPOND_LOCAL_SNAPSHOT_H

#include "client/local/find.h"

/* The table's place in the snapshot's pond. NULL: out of memory, or a table of another handle. */
struct binding *snapshot_binding(const struct sp_snapshot *snapshot, struct sp_table *table);

/* The entry of a key at the snapshot's version, in place: it stays as long as the pin. SP_ESTALE
 * and SP_EFORKED go before everything else. */
int snapshot_find(const struct sp_snapshot *snapshot, struct sp_table *table,
                  struct binding *binding, unsigned index, const void *key, size_t key_bytes,
                  struct find_path *path, struct found *found);

void view_set(struct sp_view *out, const struct found *found, const struct sp_schema *schema);

#endif
