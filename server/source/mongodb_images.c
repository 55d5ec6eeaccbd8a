/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb_images.c - of which moment the documents are that a change stream brings.
 *
 * A server of MongoDB 6.0 keeps, for the collections that say so, each document as it was before a
 * change (pre- and post-images). From these a stream makes the document as of the change itself,
 * asked for with `whenAvailable`. Without them it looks the document up when it sends the change,
 * with `updateLookup`, which may find a newer one. One stream has one way for all of its
 * collections, so images are used if all have them.
 *
 * `required` would end the stream for good at a change whose image is gone: it has expired, or was
 * not kept yet. So an image that is not there is no error: the document is looked up, and
 * the collections are asked whether they still have images at all. They are asked each time a
 * stream is opened, too: by that, images that are switched on are made use of after the next
 * comparison. A server that lists images but refuses `whenAvailable` has updateLookup as well.
 */
#include <stdio.h>
#include <string.h>

#include "server/source/mongodb_feed.h"

bool mongo_images_wanted(const struct mongo_feed *feed)
{
    bool wanted = false;
    for (unsigned i = 0; i < feed->count; i++) {
        const struct mongo_followed *followed = &feed->tables[i];
        if (!followed->looks_up && !followed->has_images)
            return false;
        wanted = wanted || !followed->looks_up;
    }
    return wanted && !feed->refuses_images;
}

int mongo_images_ask(struct source *source, struct source_error *error)
{
    struct mongo_feed *feed = source->feed;
    int status = SP_OK;
    feed->image_missed = false;
    for (unsigned i = 0; i < feed->count && status == SP_OK; i++)
        status = mongo_collection_look(source, &feed->tables[i], error);
    return status;
}

/* --- what operators are told ------------------------------------------------------------------ */

static void tell_look_up(struct mongo_feed *feed, const struct mongo_followed *followed)
{
    const bool is_where = followed->select.filter != NULL;
    snprintf(feed->inexact, sizeof(feed->inexact),
             "table %s: %s, so each document that changes is asked for once more",
             followed->table.name, is_where ? "it has `where`" : "a path of `columns` has a $");
}

static void tell_no_images(struct mongo_feed *feed, const struct mongo_followed *followed)
{
    const char *collection = followed->select.collection;
    if (feed->refuses_images)
        snprintf(feed->inexact, sizeof(feed->inexact),
                 "table %s: the server refuses fullDocument: \"whenAvailable\"",
                 followed->table.name);
    else
        snprintf(feed->inexact, sizeof(feed->inexact),
                 "table %s: collection %s keeps no images of its documents; with MongoDB 6.0 or "
                 "later: db.runCommand({collMod: \"%s\", changeStreamPreAndPostImages: {enabled: "
                 "true}})",
                 followed->table.name, collection, collection);
}

void mongo_images_note(struct mongo_feed *feed)
{
    feed->inexact[0] = '\0';
    for (unsigned i = 0; i < feed->count && !feed->inexact[0]; i++) {
        const struct mongo_followed *followed = &feed->tables[i];
        if (followed->looks_up)
            tell_look_up(feed, followed);
        else if (!followed->has_images || feed->refuses_images)
            tell_no_images(feed, followed);
    }
}

void mongo_image_missing(struct mongo_feed *feed, const struct mongo_followed *followed)
{
    feed->image_missed = true;
    if (!feed->inexact[0])
        snprintf(feed->inexact, sizeof(feed->inexact),
                 "table %s: the image of a document was no longer kept, or not yet",
                 followed->table.name);
}

const char *mongo_inexact(const struct source *source)
{
    return source->feed && source->feed->inexact[0] ? source->feed->inexact : NULL;
}
