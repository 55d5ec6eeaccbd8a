/* SPDX-License-Identifier: Apache-2.0
 *
 * glob.h - patterns as KEYS, SCAN MATCH, PSUBSCRIBE and ACL rules have them.
 *
 *   *       any bytes, also none          [abc]   one of these      \x   x itself
 *   ?       any one byte                  [a-c]   one of a range
 *                                         [^abc]  none of these
 */
#ifndef SIDEPOND_RESP_GLOB_H
#define SIDEPOND_RESP_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the whole string matches. No terminators, no allocation; at most pattern_size times
 * string_size steps. no_case takes ASCII letters as equal. */
bool glob_match(const char *pattern, size_t pattern_size, const char *string, size_t string_size,
                bool no_case);

#endif
