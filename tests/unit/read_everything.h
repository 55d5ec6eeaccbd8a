/* SPDX-License-Identifier: Apache-2.0
 *
 * read_everything.h - calls every function of the reader library on a pond that may be damaged in
 * any way. What they answer is not looked at, but for one thing: it must be a status.
 */
#ifndef SIDEPOND_TESTS_READ_EVERYTHING_H
#define SIDEPOND_TESTS_READ_EVERYTHING_H

#include "sidepond/sidepond.h"

/* Returns how many rows were read in all. Keys are the prefix and a number below key_count. */
struct reading {
    const char *key_prefix;
    unsigned key_count;
    const char *index_key;
};
unsigned read_everything(const char *directory, const struct reading *what);
/* The same through a handle that is open already. */
unsigned read_pond(struct sp_pond *pond, const struct reading *what);

#endif
