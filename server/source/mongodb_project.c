/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_project.c - what the paths of `columns` keep of a document, as find's projection has it.
 *
 * So a document that came with a change need not be asked for once more. A path leads by names
 * only, never by a place in an array; in an array it goes on in each document, and what is none is
 * left out. Fields stay in their order, and a document of which nothing is kept stays as an empty
 * one. A name that has a point in it no path can name.
 *
 * Costs: a comparison of each field with each path, and a copy of what is kept.
 */
#include <stdio.h>
#include <string.h>

#include "server/source/mongodb_feed.h"

#define PATH_BYTES 512 /* of what can match: names of columns are shorter */

enum keep { KEEP_NOTHING, KEEP_PART, KEEP_ALL };

static bool put_documents(bson_iter_t *at, const char *const *paths, const char *prefix,
                          bson_t *out);
static bool put_fields(bson_iter_t *at, const char *const *paths, const char *prefix, bson_t *out);

bool mongo_can_project(const char *const *paths)
{
    for (; paths && *paths; paths++)
        if (strchr(*paths, '$') || strlen(*paths) >= PATH_BYTES)
            return false;
    return true;
}

/* What is kept of the field at `here`. */
static enum keep judge(const char *const *paths, const char *here)
{
    enum keep keep = KEEP_NOTHING;
    const size_t bytes = strlen(here);
    for (; *paths; paths++) {
        if (strncmp(*paths, here, bytes) != 0)
            continue;
        if ((*paths)[bytes] == '\0')
            return KEEP_ALL;
        if ((*paths)[bytes] == '.')
            keep = KEEP_PART;
    }
    return keep;
}

/* The paths that lead into the value at `at` go on behind `here`. */
static bool put_part(const bson_iter_t *at, const char *const *paths, const char *here, bson_t *out)
{
    char prefix[PATH_BYTES + 1];
    bson_iter_t inner;
    bson_t child;
    const bool is_array = BSON_ITER_HOLDS_ARRAY(at);
    if (!is_array && !BSON_ITER_HOLDS_DOCUMENT(at))
        return true;
    snprintf(prefix, sizeof(prefix), "%s.", here);
    if (!bson_iter_recurse(at, &inner))
        return false;
    if (is_array)
        return bson_append_array_begin(out, bson_iter_key(at), -1, &child) &&
               put_documents(&inner, paths, prefix, &child) && bson_append_array_end(out, &child);
    return bson_append_document_begin(out, bson_iter_key(at), -1, &child) &&
           put_fields(&inner, paths, prefix, &child) && bson_append_document_end(out, &child);
}

/* One element of an array, in which the paths go on as behind the array itself. */
static bool put_element(const bson_iter_t *at, const char *key, const char *const *paths,
                        const char *prefix, bson_t *out)
{
    bson_iter_t inner;
    bson_t child;
    if (!bson_iter_recurse(at, &inner))
        return false;
    if (BSON_ITER_HOLDS_ARRAY(at))
        return bson_append_array_begin(out, key, -1, &child) &&
               put_documents(&inner, paths, prefix, &child) && bson_append_array_end(out, &child);
    return bson_append_document_begin(out, key, -1, &child) &&
           put_fields(&inner, paths, prefix, &child) && bson_append_document_end(out, &child);
}

static bool put_documents(bson_iter_t *at, const char *const *paths, const char *prefix,
                          bson_t *out)
{
    char buffer[16];
    const char *key;
    uint32_t count = 0;
    while (bson_iter_next(at)) {
        if (!BSON_ITER_HOLDS_DOCUMENT(at) && !BSON_ITER_HOLDS_ARRAY(at))
            continue;
        bson_uint32_to_string(count++, &key, buffer, sizeof(buffer));
        if (!put_element(at, key, paths, prefix, out))
            return false;
    }
    return true;
}

static bool put_fields(bson_iter_t *at, const char *const *paths, const char *prefix, bson_t *out)
{
    char here[PATH_BYTES];
    while (bson_iter_next(at)) {
        const char *name = bson_iter_key(at);
        if (strchr(name, '.') ||
            snprintf(here, sizeof(here), "%s%s", prefix, name) >= (int)sizeof(here))
            continue;
        const enum keep keep = judge(paths, here);
        if ((keep == KEEP_ALL && !bson_append_iter(out, NULL, 0, at)) ||
            (keep == KEEP_PART && !put_part(at, paths, here, out)))
            return false;
    }
    return true;
}

bool mongo_project(const bson_t *document, const char *const *paths, bson_t *out)
{
    bson_iter_t at;
    return bson_iter_init(&at, document) && put_fields(&at, paths, "", out);
}
