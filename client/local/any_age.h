/* SPDX-License-Identifier: Apache-2.0
 *
 * any_age.h - reads for the daemon itself, which keeps and copies rows however old they are.
 * Not exported from the library.
 */
#ifndef SIDEPOND_LOCAL_ANY_AGE_H
#define SIDEPOND_LOCAL_ANY_AGE_H

#include "sidepond/sidepond.h"

/* sp_scan_begin, but a table past its age (on_stale: fail) is read all the same. */
int scan_begin_any_age(struct sp_snapshot *snapshot, struct sp_table *table, struct sp_scan **out);

#endif
