/* SPDX-License-Identifier: Apache-2.0
 *
 * glob.h - patterns of KEYS, SCAN, PSUBSCRIBE and access control.
 *
 *   *        any bytes          [abc]   one of them        \x   x itself
 *   ?        any one byte       [^abc]  none of them       [a-z] one of a range
 *
 * A bracket that is not closed goes to the pattern's end. An empty text is matched by the empty
 * pattern only, as Redis has it.
 */
#ifndef SIDEPOND_RESP_GLOB_H
#define SIDEPOND_RESP_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Takes time in proportion to both sizes multiplied, at most, whatever the pattern. */
bool glob_match(const char *pattern, size_t pattern_bytes, const char *text, size_t text_bytes,
                bool any_case);

#endif
