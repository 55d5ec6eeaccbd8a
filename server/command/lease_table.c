/* SPDX-License-Identifier: Apache-2.0
 *
 * lease_table.c - the table of leases.
 *
 *   stripe (lock) -> bucket -> lease of a key --holder--> client -> the leases that it holds
 *                                      |                              (client's lock)
 *                                      +--waiters--> client, client, ...
 *
 * A lease is in the table as long as somebody holds it, so there is none for whom only others wait.
 * It passes from one client to the next under its stripe's lock; the next one is put on the list
 * of those of its thread who are to be told, and looks there whether it is still so. A client is
 * freed when its session has left, the last lease that names it is gone and it is on no list; so it
 * may be found on one when its session is no more, and then nothing is done.
 *
 * Whether a lease is valid does not depend on anybody's being told of the end of its time: who
 * looks at one whose time is over ends it first. So FLUSHALL ends all by raising a number; those
 * who wait are told afterwards, stripe by stripe and without the cache's lock.
 *
 * Lock order: the cache's, a stripe's, then a client's or a list's, an inbox of net.
 */
#include "server/command/lease_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "alloc/clock.h"
#include "server/command/service.h"

#define STRIPES 64u
#define BUCKETS 128u /* of each stripe */

struct key_lease {
    LIST_ENTRY(key_lease) chain; /* of its bucket; stripe */
    LIST_ENTRY(key_lease) held;  /* of its holder; its lock */
    uint64_t hash, token, until_ns;
    uint64_t flushes; /* of the table, when it was given */
    struct lease_client *holder;
    TAILQ_HEAD(, lease_client) waiters;
    size_t key_bytes;
    char key[];
};
LIST_HEAD(lease_list, key_lease);

struct lease_client {
    struct lease_table *leases;
    unsigned thread;
    void (*wake)(void *session);
    void *session;                   /* its thread; NULL: it has left */
    _Atomic uint32_t refs;           /* the session's, each lease's that it holds, the list's */
    STAILQ_ENTRY(lease_client) told; /* the list's lock */
    bool is_told;                    /* likewise: it is on the list */
    /* The lock of the stripe of the key that it waits for. */
    TAILQ_ENTRY(lease_client) waiter;
    struct key_lease *waits_for;
    uint64_t given;   /* a token; 0: none */
    uint64_t hold_ns; /* of a lease that it is given */
    /* Its lock, under a stripe's. */
    pthread_mutex_t lock;
    struct lease_list held;
    uint32_t held_count;
};

struct stripe {
    pthread_mutex_t lock;
    struct lease_list buckets[BUCKETS];
};

/* Those of a thread who are to be told. */
struct told {
    pthread_mutex_t lock;
    STAILQ_HEAD(, lease_client) clients;
    bool posted; /* the thread will see them */
};

struct lease_table {
    struct service *service;
    _Atomic uint64_t key_bytes;
    _Atomic uint64_t flushes; /* what was given before the last one has ended */
    struct told told[NET_THREADS_MAX];
    _Atomic uint64_t last_token;
    struct stripe stripes[STRIPES];
};

struct lease_table *lease_table_new(struct service *service)
{
    struct lease_table *leases = calloc(1, sizeof(*leases));
    uint64_t first;
    if (!leases)
        return NULL;
    leases->service = service;
    if (getrandom(&first, sizeof(first), 0) != sizeof(first))
        first = clock_ns() * UINT64_C(0x9e3779b97f4a7c15);
    atomic_init(&leases->last_token, first >> 2); /* positive, and far from overflow */
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&leases->stripes[i].lock, NULL);
    for (unsigned i = 0; i < NET_THREADS_MAX; i++) {
        pthread_mutex_init(&leases->told[i].lock, NULL);
        STAILQ_INIT(&leases->told[i].clients);
    }
    return leases;
}

/* --- clients ---------------------------------------------------------------------------------- */

struct lease_client *lease_client_new(struct lease_table *leases, unsigned thread,
                                      void (*wake)(void *session), void *session)
{
    struct lease_client *client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    client->leases = leases;
    client->thread = thread;
    client->wake = wake;
    client->session = session;
    atomic_init(&client->refs, 1);
    pthread_mutex_init(&client->lock, NULL);
    return client;
}

/* The last one sees what the others have done: they release, it acquires. */
static void unref(struct lease_client *client)
{
    if (atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&client->lock);
    free(client);
}

static void ref(struct lease_client *client)
{
    atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
}

static struct lease_client *first_told(struct told *told)
{
    pthread_mutex_lock(&told->lock);
    struct lease_client *client = STAILQ_FIRST(&told->clients);
    if (client) {
        STAILQ_REMOVE_HEAD(&told->clients, told);
        client->is_told = false;
    } else {
        told->posted = false;
    }
    pthread_mutex_unlock(&told->lock);
    return client;
}

/* On the clients' thread. */
static void deliver(void *argument)
{
    struct lease_client *client;
    while ((client = first_told(argument)) != NULL) {
        if (client->session)
            client->wake(client->session);
        unref(client);
    }
}

/* Where the post fails, the client looks again when its time to wait is over, or with the next
 * post. */
static void tell(struct lease_client *client)
{
    struct told *told = &client->leases->told[client->thread];
    pthread_mutex_lock(&told->lock);
    if (!client->is_told) {
        client->is_told = true;
        ref(client);
        STAILQ_INSERT_TAIL(&told->clients, client, told);
    }
    if (!told->posted)
        told->posted =
            net_post(client->leases->service->net, client->thread, deliver, told) == SP_OK;
    pthread_mutex_unlock(&told->lock);
}

void lease_table_free(struct lease_table *leases)
{
    struct lease_client *client;
    for (unsigned i = 0; leases && i < NET_THREADS_MAX; i++) {
        while ((client = first_told(&leases->told[i])) != NULL)
            unref(client);
        pthread_mutex_destroy(&leases->told[i].lock);
    }
    for (unsigned i = 0; leases && i < STRIPES; i++)
        pthread_mutex_destroy(&leases->stripes[i].lock);
    free(leases);
}

/* --- one lease, with its stripe's lock -------------------------------------------------------- */

static struct stripe *stripe_lock(struct lease_table *leases, uint64_t hash)
{
    struct stripe *stripe = &leases->stripes[(hash >> 32) % STRIPES];
    pthread_mutex_lock(&stripe->lock);
    return stripe;
}

static struct lease_list *bucket_of(struct stripe *stripe, uint64_t hash)
{
    return &stripe->buckets[(hash >> 40) % BUCKETS];
}

static struct key_lease *find(struct stripe *stripe, const struct lease_key *key)
{
    struct key_lease *lease;
    LIST_FOREACH(lease, bucket_of(stripe, key->hash), chain)
    {
        if (lease->hash == key->hash && lease->key_bytes == key->size &&
            memcmp(lease->key, key->bytes, key->size) == 0)
            return lease;
    }
    return NULL;
}

static void give(struct key_lease *lease, struct lease_client *client, uint64_t hold_ns)
{
    struct lease_table *leases = client->leases;
    lease->token = atomic_fetch_add_explicit(&leases->last_token, 1, memory_order_relaxed) + 1;
    lease->until_ns = clock_ns() + hold_ns;
    lease->flushes = atomic_load(&leases->flushes);
    lease->holder = client;
    ref(client);
    pthread_mutex_lock(&client->lock);
    LIST_INSERT_HEAD(&client->held, lease, held);
    client->held_count++;
    pthread_mutex_unlock(&client->lock);
}

static void take_away(struct key_lease *lease)
{
    struct lease_client *client = lease->holder;
    pthread_mutex_lock(&client->lock);
    LIST_REMOVE(lease, held);
    client->held_count--;
    pthread_mutex_unlock(&client->lock);
    lease->holder = NULL;
    unref(client);
}

static struct lease_client *first_waiter(struct key_lease *lease)
{
    struct lease_client *client = TAILQ_FIRST(&lease->waiters);
    if (client) {
        TAILQ_REMOVE(&lease->waiters, client, waiter);
        client->waits_for = NULL;
    }
    return client;
}

static void forget(struct lease_table *leases, struct key_lease *lease)
{
    LIST_REMOVE(lease, chain);
    atomic_fetch_sub_explicit(&leases->key_bytes, lease->key_bytes, memory_order_relaxed);
    free(lease);
    atomic_fetch_sub_explicit(&leases->service->lease_count, 1, memory_order_relaxed);
}

/* It ends without a value: the first who waits is next. False: there is none, and the lease is
 * gone. */
static bool pass_on(struct lease_table *leases, struct key_lease *lease)
{
    take_away(lease);
    struct lease_client *next = first_waiter(lease);
    if (!next) {
        forget(leases, lease);
        return false;
    }
    give(lease, next, next->hold_ns);
    next->given = lease->token;
    tell(next);
    return true;
}

static bool is_over(struct lease_table *leases, const struct key_lease *lease)
{
    return lease->flushes != atomic_load(&leases->flushes) || lease->until_ns <= clock_ns();
}

/* As find, but a lease that is over is passed on first. */
static struct key_lease *find_valid(struct lease_table *leases, struct stripe *stripe,
                                    const struct lease_key *key)
{
    struct key_lease *lease = find(stripe, key);
    if (lease && is_over(leases, lease) && !pass_on(leases, lease))
        return NULL;
    return lease;
}

static struct key_lease *add(struct lease_table *leases, struct stripe *stripe,
                             const struct lease_key *key)
{
    struct key_lease *lease = calloc(1, sizeof(*lease) + key->size);
    if (!lease)
        return NULL;
    lease->hash = key->hash;
    lease->key_bytes = key->size;
    memcpy(lease->key, key->bytes, key->size);
    TAILQ_INIT(&lease->waiters);
    LIST_INSERT_HEAD(bucket_of(stripe, key->hash), lease, chain);
    atomic_fetch_add_explicit(&leases->key_bytes, key->size, memory_order_relaxed);
    atomic_fetch_add_explicit(&leases->service->lease_count, 1, memory_order_relaxed);
    return lease;
}

/* --- taking and waiting ----------------------------------------------------------------------- */

static bool is_full(struct lease_client *client)
{
    struct lease_table *leases = client->leases;
    pthread_mutex_lock(&client->lock);
    uint32_t held = client->held_count;
    pthread_mutex_unlock(&client->lock);
    return held >= LEASES_OF_CLIENT_MAX ||
           atomic_load_explicit(&leases->service->lease_count, memory_order_relaxed) >=
               LEASES_MAX ||
           atomic_load_explicit(&leases->key_bytes, memory_order_relaxed) >= LEASES_BYTES_MAX;
}

static int take_new(struct lease_client *client, struct stripe *stripe, const struct lease_key *key,
                    uint64_t hold_ns, uint64_t *token)
{
    if (is_full(client))
        return SP_ENOSPC;
    struct key_lease *lease = add(client->leases, stripe, key);
    if (!lease)
        return SP_ENOMEM;
    give(lease, client, hold_ns);
    *token = lease->token;
    return SP_OK;
}

int lease_table_take(struct lease_client *client, const struct lease_key *key, uint64_t hold_ns,
                     bool waits, uint64_t *token)
{
    struct lease_table *leases = client->leases;
    struct stripe *stripe = stripe_lock(leases, key->hash);
    struct key_lease *lease = find_valid(leases, stripe, key);
    int status = SP_EBUSY;
    if (!lease) {
        status = take_new(client, stripe, key, hold_ns, token);
    } else if (lease->holder == client && client->given == lease->token) {
        client->given = 0; /* it was its turn just now */
        *token = lease->token;
        status = SP_OK;
    } else if (waits && client->waits_for != lease) {
        client->waits_for = lease;
        client->given = 0;
        client->hold_ns = hold_ns;
        TAILQ_INSERT_TAIL(&lease->waiters, client, waiter);
    }
    pthread_mutex_unlock(&stripe->lock);
    return status;
}

bool lease_table_given(struct lease_client *client, const struct lease_key *key, uint64_t *token)
{
    struct stripe *stripe = stripe_lock(client->leases, key->hash);
    uint64_t given = client->given;
    struct key_lease *lease = given != 0 ? find_valid(client->leases, stripe, key) : NULL;
    bool valid = lease && lease->token == given;
    client->given = 0;
    pthread_mutex_unlock(&stripe->lock);
    *token = given;
    return valid;
}

void lease_table_wait_no_more(struct lease_client *client, const struct lease_key *key)
{
    struct stripe *stripe = stripe_lock(client->leases, key->hash);
    struct key_lease *lease = client->given != 0 ? find(stripe, key) : NULL;
    if (client->waits_for) {
        TAILQ_REMOVE(&client->waits_for->waiters, client, waiter);
        client->waits_for = NULL;
    }
    if (lease && lease->token == client->given)
        pass_on(client->leases, lease);
    client->given = 0;
    pthread_mutex_unlock(&stripe->lock);
}

/* --- ending ----------------------------------------------------------------------------------- */

bool lease_table_is_valid(struct lease_table *leases, const struct lease_key *key, uint64_t token)
{
    struct stripe *stripe = stripe_lock(leases, key->hash);
    struct key_lease *lease = find_valid(leases, stripe, key);
    bool valid = lease && lease->token == token;
    pthread_mutex_unlock(&stripe->lock);
    return valid;
}

bool lease_table_give_back(struct lease_table *leases, const struct lease_key *key, uint64_t token)
{
    struct stripe *stripe = stripe_lock(leases, key->hash);
    struct key_lease *lease = find_valid(leases, stripe, key);
    bool valid = lease && lease->token == token;
    if (valid)
        pass_on(leases, lease);
    pthread_mutex_unlock(&stripe->lock);
    return valid;
}

struct named {
    uint64_t hash, token;
};

/* One of the client's leases: any that ends by `until_ns` or has ended by FLUSHALL; false: there is
 * none. */
static bool held_until(struct lease_client *client, uint64_t until_ns, struct named *out,
                       uint64_t *next_ns)
{
    const uint64_t flushes = atomic_load(&client->leases->flushes);
    struct key_lease *lease;
    bool found = false;
    *next_ns = 0;
    pthread_mutex_lock(&client->lock);
    LIST_FOREACH(lease, &client->held, held)
    {
        if (lease->until_ns <= until_ns || lease->flushes != flushes) {
            *out = (struct named){lease->hash, lease->token};
            found = true;
            break;
        }
        if (*next_ns == 0 || lease->until_ns < *next_ns)
            *next_ns = lease->until_ns;
    }
    pthread_mutex_unlock(&client->lock);
    return found;
}

/* The stripe's lock comes before the client's, so the lease is looked for once more: meanwhile it
 * may have ended, or be another's. */
static void end_named(struct lease_table *leases, struct named named)
{
    struct key_lease *lease;
    struct stripe *stripe = stripe_lock(leases, named.hash);
    LIST_FOREACH(lease, bucket_of(stripe, named.hash), chain)
    {
        if (lease->token == named.token) {
            pass_on(leases, lease);
            break;
        }
    }
    pthread_mutex_unlock(&stripe->lock);
}

uint64_t lease_table_expire(struct lease_client *client)
{
    struct named named;
    uint64_t next_ns;
    while (held_until(client, clock_ns(), &named, &next_ns))
        end_named(client->leases, named);
    return next_ns;
}

void lease_client_leave(struct lease_client *client)
{
    struct named named;
    uint64_t next_ns;
    client->session = NULL;
    while (held_until(client, UINT64_MAX, &named, &next_ns))
        end_named(client->leases, named);
    unref(client);
}

/* --- writes ----------------------------------------------------------------------------------- */

/* All who wait look at the key again, each under the cache's lock and so after the write. */
static void end_written(struct lease_table *leases, struct key_lease *lease)
{
    struct lease_client *waiter;
    take_away(lease);
    while ((waiter = first_waiter(lease)) != NULL)
        tell(waiter);
    forget(leases, lease);
}

/* Of all keys with the hash: a lease that ends without need is an ended lease, not a wrong value.
 */
static void end_hash(struct lease_table *leases, uint64_t hash, bool written)
{
    struct key_lease *lease, *next;
    struct stripe *stripe = stripe_lock(leases, hash);
    for (lease = LIST_FIRST(bucket_of(stripe, hash)); lease; lease = next) {
        next = LIST_NEXT(lease, chain);
        if (lease->hash != hash)
            continue;
        if (written)
            end_written(leases, lease);
        else
            pass_on(leases, lease);
    }
    pthread_mutex_unlock(&stripe->lock);
}

void lease_table_key_written(struct lease_table *leases, uint64_t hash)
{
    end_hash(leases, hash, true);
}

void lease_table_key_deleted(struct lease_table *leases, uint64_t hash)
{
    end_hash(leases, hash, false);
}

/* Goes over one stripe after the other, so that nobody waits for all of them. */
struct sweep {
    struct lease_table *leases;
    unsigned thread, next;
};

static void pass_on_over(struct lease_table *leases, struct stripe *stripe)
{
    struct key_lease *lease, *next;
    pthread_mutex_lock(&stripe->lock);
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (lease = LIST_FIRST(&stripe->buckets[i]); lease; lease = next) {
            next = LIST_NEXT(lease, chain);
            if (is_over(leases, lease))
                pass_on(leases, lease);
        }
    }
    pthread_mutex_unlock(&stripe->lock);
}

static void sweep_on(void *argument)
{
    struct sweep *sweep = argument;
    struct lease_table *leases = sweep->leases;
    pass_on_over(leases, &leases->stripes[sweep->next++]);
    if (sweep->next == STRIPES ||
        net_post(leases->service->net, sweep->thread, sweep_on, sweep) != SP_OK)
        free(sweep);
}

/* Where there is no memory to tell those who wait, they look when their time is over. */
void lease_table_all_deleted(struct lease_table *leases, unsigned thread)
{
    if (atomic_load_explicit(&leases->service->lease_count, memory_order_relaxed) == 0)
        return;
    atomic_fetch_add(&leases->flushes, 1);
    struct sweep *sweep = malloc(sizeof(*sweep));
    if (!sweep)
        return;
    *sweep = (struct sweep){leases, thread, 0};
    if (net_post(leases->service->net, thread, sweep_on, sweep) != SP_OK)
        free(sweep);
}
