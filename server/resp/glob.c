/* SPDX-License-Identifier: Apache-2.0
 *
 * glob.c - matching by going back to the last star only: what an earlier star could take instead,
 * the last one can take as well. So there is no recursion.
 */
#include "server/resp/glob.h"

#include <ctype.h>

struct glob {
    const unsigned char *pattern, *pattern_end;
    bool any_case;
};

static int fold(const struct glob *glob, unsigned char c)
{
    return glob->any_case ? tolower(c) : c;
}

static bool in_range(const struct glob *glob, int c, unsigned char from, unsigned char to)
{
    int low = fold(glob, from < to ? from : to), high = fold(glob, from < to ? to : from);
    return c >= low && c <= high;
}

/* A set of bytes, of which *at is behind the bracket; *at moves behind the closing one. */
static bool match_set(const struct glob *glob, const unsigned char **at, unsigned char text)
{
    const unsigned char *p = *at, *end = glob->pattern_end;
    int c = fold(glob, text);
    bool not = p < end && *p == '^', found = false;
    p += not ;
    for (; p < end && *p != ']'; p++) {
        if (*p == '\\' && end - p >= 2) {
            p++;
            found |= *p == text;
        } else if (end - p >= 3 && p[1] == '-') {
            found |= in_range(glob, c, p[0], p[2]);
            p += 2;
        } else {
            found |= fold(glob, *p) == c;
        }
    }
    *at = p < end ? p + 1 : p;
    return found != not ;
}

/* One element of the pattern against one byte; *at moves behind the element. */
static bool match_one(const struct glob *glob, const unsigned char **at, unsigned char text)
{
    const unsigned char *p = *at;
    if (*p == '[') {
        *at = p + 1;
        return match_set(glob, at, text);
    }
    if (*p == '?') {
        *at = p + 1;
        return true;
    }
    if (*p == '\\' && glob->pattern_end - p >= 2)
        p++;
    *at = p + 1;
    return fold(glob, *p) == fold(glob, text);
}

bool glob_match(const char *pattern, size_t pattern_bytes, const char *text, size_t text_bytes,
                bool any_case)
{
    const unsigned char *p = (const unsigned char *)pattern, *t = (const unsigned char *)text;
    const struct glob glob = {p, p + pattern_bytes, any_case};
    const unsigned char *end = t + text_bytes, *star = NULL, *star_text = NULL;
    if (text_bytes == 0) /* as Redis has it: a star matches no empty text */
        return pattern_bytes == 0;
    for (;;) {
        while (p < glob.pattern_end && *p == '*') {
            star = ++p;
            star_text = t;
        }
        if (star && p == glob.pattern_end && star == p)
            return true;
        const unsigned char *next = p;
        if (t < end && p < glob.pattern_end && match_one(&glob, &next, *t)) {
            p = next;
            t++;
            continue;
        }
        if (t == end)
            return p == glob.pattern_end;
        if (!star)
            return false;
        p = star;
        t = ++star_text;
    }
}
