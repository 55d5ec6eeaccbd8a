/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c - what happens to keys, published on channels: __keyspace@0__:KEY and
 * __keyevent@0__:EVENT.
 *
 * The classes are Redis' letters. Of types that are not here (lists, sets, ...) no event ever
 * comes; their letters are taken all the same, so that a client's setting is not refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/command/commands.h"
#include "server/command/pubsub.h"

static const struct {
    char letter;
    uint32_t kind;
} letters[] = {{'g', EVENT_GENERIC}, {'$', EVENT_STRING},   {'x', EVENT_EXPIRED},
               {'e', EVENT_EVICTED}, {'K', EVENT_KEYSPACE}, {'E', EVENT_KEYEVENT},
               {'m', EVENT_MISS},    {'n', EVENT_NEW},      {'l', EVENT_LIST},
               {'s', EVENT_SET},     {'h', EVENT_HASH},     {'z', EVENT_SORTEDSET},
               {'t', EVENT_STREAM},  {'d', EVENT_MODULE}};
#define LETTERS (sizeof(letters) / sizeof(letters[0]))
#define EVENT_ALL                                                                                  \
    (EVENT_GENERIC | EVENT_STRING | EVENT_EXPIRED | EVENT_EVICTED | EVENT_LIST | EVENT_SET |       \
     EVENT_HASH | EVENT_SORTEDSET | EVENT_STREAM | EVENT_MODULE)

bool events_parse(const char *text, size_t bytes, uint32_t *events)
{
    *events = 0;
    for (size_t i = 0; i < bytes; i++) {
        size_t l = 0;
        while (l < LETTERS && letters[l].letter != text[i])
            l++;
        if (text[i] != 'A' && l == LETTERS)
            return false;
        *events |= text[i] == 'A' ? (uint32_t)EVENT_ALL : letters[l].kind;
    }
    return true;
}

void events_print(uint32_t events, char out[16])
{
    size_t used = 0;
    bool all = (events & EVENT_ALL) == EVENT_ALL;
    if (all)
        out[used++] = 'A';
    for (size_t l = 0; l < LETTERS; l++) {
        if ((events & letters[l].kind) && !(all && (letters[l].kind & EVENT_ALL)))
            out[used++] = letters[l].letter;
    }
    out[used] = '\0';
}

void event_publish(struct service *service, enum event_class kind, const char *event,
                   const void *key, size_t key_bytes)
{
    static const char keyspace[] = "__keyspace@0__:", keyevent[] = "__keyevent@0__:";
    uint32_t wanted = atomic_load_explicit(&service->events, memory_order_relaxed);
    char name[sizeof(keyevent) + 32];
    if (!(wanted & kind))
        return;
    if (wanted & EVENT_KEYSPACE) {
        struct buffer channel = BUFFER_INIT;
        buffer_append(&channel, keyspace, sizeof(keyspace) - 1);
        buffer_append(&channel, key, key_bytes);
        if (!channel.failed)
            pubsub_publish(service, channel.bytes, channel.size, event, strlen(event));
        buffer_free(&channel);
    }
    if (wanted & EVENT_KEYEVENT) {
        int size = snprintf(name, sizeof(name), "%s%s", keyevent, event);
        pubsub_publish(service, name, (size_t)size, key, key_bytes);
    }
}
