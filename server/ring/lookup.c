/* SPDX-License-Identifier: Apache-2.0
 *
 * lookup.c - names of hosts, for threads that must not wait for them.
 *
 * getaddrinfo has time-outs of its own, up to half a minute, and cannot be ended. So each name is
 * looked up by a thread of its own, which knows nothing but its struct lookup; who wants the result
 * waits for it as long as for a connection. Where it comes later, the next one who asks finds it.
 * A thread that hangs outlives the ring, and gives its struct back when it is over.
 *
 * Costs: a thread for each connection to an address that is a name; none for numbers and paths.
 *
 * Limits: a name is looked up once at a time; of its addresses HOST_ADDRESSES_MAX are tried.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/thread.h"
#include "server/ring/internal.h"

enum {
    FRESH_MS = 1000, /* so long for those who have not waited for it */
    LOOK_MS = 20,    /* whether the ring ends */
};

struct lookup {
    struct lookup *next; /* of the ring's; with its lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned references;
    bool over;
    int failed; /* as of getaddrinfo */
    uint64_t over_ms;
    char address[RING_ADDRESS_BYTES];
    struct host_addresses found;
};

/* --- the thread ------------------------------------------------------------------------------- */

static void give_back(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool last = --lookup->references == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (!last)
        return;
    pthread_cond_destroy(&lookup->changed);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup);
}

/* 0, or as of getaddrinfo. `flags` AI_NUMERICHOST: only what needs no looking up. */
static int look_up(const char *address, int flags, struct host_addresses *out)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *list;
    char host[LINK_ADDRESS_BYTES];
    const char *port;
    out->count = 0;
    if (!connection_split_address(address, host, &port))
        return EAI_NONAME;
    int failed = getaddrinfo(host, port, &hints, &list);
    if (failed != 0)
        return failed;
    for (const struct addrinfo *at = list; at && out->count < HOST_ADDRESSES_MAX;
         at = at->ai_next) {
        char number[NI_MAXHOST];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, number, sizeof(number), NULL, 0,
                        NI_NUMERICHOST) != 0)
            continue;
        char *to = out->addresses[out->count];
        bool six = at->ai_family == AF_INET6;
        int size = snprintf(to, RING_ADDRESS_BYTES, "%s%s%s:%s", six ? "[" : "", number,
                            six ? "]" : "", port);
        out->count += size > 0 && size < (int)RING_ADDRESS_BYTES;
    }
    freeaddrinfo(list);
    return out->count > 0 ? 0 : EAI_NONAME;
}

static void *run_lookup(void *argument)
{
    struct lookup *lookup = argument;
    struct host_addresses found;
    int failed = look_up(lookup->address, 0, &found);
    pthread_mutex_lock(&lookup->lock);
    lookup->found = found;
    lookup->failed = failed;
    lookup->over = true;
    lookup->over_ms = clock_ms();
    pthread_cond_broadcast(&lookup->changed);
    pthread_mutex_unlock(&lookup->lock);
    give_back(lookup);
    return NULL;
}

/* --- which there are -------------------------------------------------------------------------- */

/* The references of who calls, of the ring and of the thread. NULL: no memory, or no thread. */
static struct lookup *new_lookup(const char *address)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return NULL;
    snprintf(lookup->address, sizeof(lookup->address), "%s", address);
    lookup->references = 3;
    pthread_mutex_init(&lookup->lock, NULL);
    thread_cond_init(&lookup->changed);
    if (thread_start_detached(run_lookup, lookup) == SP_OK)
        return lookup;
    lookup->references = 1;
    give_back(lookup);
    return NULL;
}

static bool is_stale(struct lookup *lookup)
{
    pthread_mutex_lock(&lookup->lock);
    bool stale = lookup->over && clock_ms() > lookup->over_ms + FRESH_MS;
    pthread_mutex_unlock(&lookup->lock);
    return stale;
}

static void drop_stale(struct ring_lookups *lookups)
{
    for (struct lookup **link = &lookups->first; *link;) {
        struct lookup *lookup = *link;
        if (!is_stale(lookup)) {
            link = &lookup->next;
            continue;
        }
        *link = lookup->next;
        give_back(lookup);
    }
}

/* One that has begun or is over just now, or a new one. NULL: no memory, or no thread. */
static struct lookup *take_lookup(struct ring_lookups *lookups, const char *address)
{
    pthread_mutex_lock(&lookups->lock);
    drop_stale(lookups);
    struct lookup *lookup = lookups->first;
    while (lookup && strcmp(lookup->address, address) != 0)
        lookup = lookup->next;
    if (lookup) {
        pthread_mutex_lock(&lookup->lock);
        lookup->references++;
        pthread_mutex_unlock(&lookup->lock);
    } else if ((lookup = new_lookup(address)) != NULL) {
        lookup->next = lookups->first;
        lookups->first = lookup;
    }
    pthread_mutex_unlock(&lookups->lock);
    return lookup;
}

void lookups_free(struct ring_lookups *lookups)
{
    while (lookups->first) {
        struct lookup *next = lookups->first->next;
        give_back(lookups->first);
        lookups->first = next;
    }
    pthread_mutex_destroy(&lookups->lock);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void wait_for(struct lookup *lookup, const struct ring *ring, uint64_t until_ms)
{
    uint64_t now_ms;
    while (!lookup->over && (now_ms = clock_ms()) < until_ms && !atomic_load(&ring->stopping)) {
        uint64_t next_ms = now_ms + LOOK_MS < until_ms ? now_ms + LOOK_MS : until_ms;
        thread_wait(&lookup->changed, &lookup->lock, next_ms);
    }
}

int lookup_address(struct ring *ring, const char *address, uint32_t timeout_ms,
                   struct host_addresses *out)
{
    if (strncmp(address, "unix:", 5) == 0 || look_up(address, AI_NUMERICHOST, out) == 0) {
        out->count = 1;
        snprintf(out->addresses[0], sizeof(out->addresses[0]), "%s", address);
        return SP_OK;
    }
    struct lookup *lookup = take_lookup(&ring->lookups, address);
    if (!lookup)
        return error_plain(SP_ENOMEM);
    pthread_mutex_lock(&lookup->lock);
    wait_for(lookup, ring, clock_ms() + timeout_ms);
    bool over = lookup->over;
    int failed = lookup->failed;
    *out = lookup->found;
    pthread_mutex_unlock(&lookup->lock);
    give_back(lookup);
    if (!over)
        return error_set(SP_ETIMEDOUT, "cannot connect to %s: its name is still being looked up",
                         address);
    if (failed != 0)
        return error_set(SP_ENODAEMON, "cannot connect to %s: %s", address, gai_strerror(failed));
    return SP_OK;
}
