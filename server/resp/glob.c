/* SPDX-License-Identifier: Apache-2.0
 *
 * glob.c - matching with one place to go back to.
 *
 * But for a star, each element of a pattern matches exactly one byte. So when the elements behind a
 * star do not match here, only that star can take one byte more: one that is further left can do
 * nothing that this one could not. No stack, no exponential time.
 *
 * What is as in Redis though it may surprise: an empty string is matched by the empty pattern only,
 * not by "*"; a set that nothing closes ends with the pattern; a range may be given backwards;
 * bytes of 128 and above are below the others in ranges; an escaped byte in a set is compared as
 * it is, even where letters are taken as equal.
 */
#include "server/resp/glob.h"

#include <stdint.h>

struct glob {
    const char *pattern;
    size_t size;
    bool no_case;
};

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool equal(char a, char b, bool no_case)
{
    return a == b || (no_case && lower(a) == lower(b));
}

/* Ordered before they are folded. */
static bool in_range(signed char first, signed char last, signed char c, bool no_case)
{
    signed char low = first < last ? first : last;
    signed char high = first < last ? last : first;
    if (no_case) {
        low = (signed char)lower((char)low);
        high = (signed char)lower((char)high);
        c = (signed char)lower((char)c);
    }
    return c >= low && c <= high;
}

/* The set whose inside begins at `at`; then `at` is behind it. */
static bool match_set(const struct glob *glob, size_t *at, char c)
{
    const char *pattern = glob->pattern;
    size_t i = *at;
    bool is_not = i < glob->size && pattern[i] == '^';
    bool found = false;
    i += is_not;
    while (i < glob->size && pattern[i] != ']') {
        size_t left = glob->size - i;
        if (pattern[i] == '\\' && left >= 2) {
            found |= pattern[i + 1] == c;
            i += 2;
        } else if (left >= 3 && pattern[i + 1] == '-') {
            found |= in_range((signed char)pattern[i], (signed char)pattern[i + 2], (signed char)c,
                              glob->no_case);
            i += 3;
        } else {
            found |= equal(pattern[i], c, glob->no_case);
            i++;
        }
    }
    *at = i < glob->size ? i + 1 : i;
    return found != is_not;
}

/* The element at `at`, no star; then `at` is behind it. */
static inline bool match_one(const struct glob *glob, size_t *at, char c)
{
    char element = glob->pattern[(*at)++];
    switch (element) {
    case '?':
        return true;
    case '[':
        return match_set(glob, at, c);
    case '\\':
        if (*at < glob->size)
            element = glob->pattern[(*at)++];
        return equal(element, c, glob->no_case);
    default:
        return equal(element, c, glob->no_case);
    }
}

static inline bool at_star(const struct glob *glob, size_t at)
{
    return at < glob->size && glob->pattern[at] == '*';
}

bool glob_match(const char *pattern, size_t pattern_size, const char *string, size_t string_size,
                bool no_case)
{
    const struct glob glob = {pattern, pattern_size, no_case};
    size_t p = 0;
    size_t s = 0;
    size_t behind_star = SIZE_MAX;
    size_t star_end = 0; /* where the star's bytes end in the string */
    if (string_size == 0)
        return pattern_size == 0;
    while (s < string_size) {
        if (at_star(&glob, p)) {
            while (at_star(&glob, p))
                p++;
            if (p == pattern_size)
                return true;
            behind_star = p;
            star_end = s;
        } else if (p < pattern_size && match_one(&glob, &p, string[s])) {
            s++;
        } else if (behind_star == SIZE_MAX) {
            return false;
        } else {
            p = behind_star;
            s = ++star_end;
        }
    }
    while (at_star(&glob, p))
        p++;
    return p == pattern_size;
}
