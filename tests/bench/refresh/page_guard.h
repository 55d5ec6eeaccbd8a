/* SPDX-License-Identifier: Apache-2.0
 *
 * page_guard.h - which pages of a pond this process writes: the mapping is made read-only, and the
 * first write to each page is noted and let through by a handler of SIGSEGV.
 */
#ifndef SIDEPOND_BENCH_PAGE_GUARD_H
#define SIDEPOND_BENCH_PAGE_GUARD_H

#include <stdint.h>

/* Guards the writable mapping of the pond's file in this directory. */
void page_guard_begin(const char *directory);
/* Ends it. `*head` gets how many pages were written of the file's first head_bytes, `*beyond` how
 * many of the rest. */
void page_guard_end(uint64_t head_bytes, uint64_t *head, uint64_t *beyond);

#endif
