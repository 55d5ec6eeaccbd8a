/* SPDX-License-Identifier: Apache-2.0
 *
 * service.c - starting and ending the service.
 */
#include "server/command/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/command/commands.h"
#include "server/command/lease_table.h"
#include "server/command/pubsub.h"
#include "server/command/rows.h"
#include "server/ring/ring.h"
#include "sidepond/cache.h"

static void free_threads(struct service *service)
{
    for (unsigned i = 0; service->threads && i < service->thread_count; i++) {
        struct thread *thread = &service->threads[i];
        resp_args_free(&thread->args);
        buffer_free(&thread->line);
        row_tables_free(thread->tables);
        if (thread->stats)
            stats_destroy(thread->stats);
        free(thread->stats);
    }
    free(service->threads);
}

static bool make_threads(struct service *service)
{
    service->threads = calloc(service->thread_count, sizeof(*service->threads));
    for (unsigned i = 0; service->threads && i < service->thread_count; i++) {
        struct thread *thread = &service->threads[i];
        thread->service = service;
        thread->number = i;
        stopwatch_init(&thread->watch);
        thread->tables = row_tables_new();
        thread->stats = aligned_alloc(64, sizeof(*thread->stats));
        if (!thread->stats || !thread->tables)
            return false;
        if (!stats_init(thread->stats))
            return false;
    }
    return service->threads != NULL;
}

static void free_service(struct service *service)
{
    ring_stop(service->ring);
    free_threads(service);
    pubsub_free(service->pubsub);
    tracking_free(service->tracking);
    lease_table_free(service->leases);
    acl_destroy(&service->acl);
    client_registry_destroy(&service->clients);
    pthread_mutex_destroy(&service->acl_log.lock);
    slowlog_destroy(&service->slowlog);
    jobs_destroy(&service->jobs);
    stats_base_free(&service->base);
    cache_close(service->cache);
    sp_close(service->pond);
    free(service);
}

/* The users of the file, and the password of `default`. */
static int open_users(struct service *service, char *why)
{
    const struct service_options *options = &service->options;
    static const struct resp_arg name = {"default", 7};
    char wrong[ACL_WHY_BYTES] = "out of memory";
    int status = SP_OK;
    if (options->users_file)
        status = acl_load(&service->acl, options->users_file, wrong);
    if (status == SP_OK && options->password) {
        char rule[1024];
        int size = snprintf(rule, sizeof(rule), ">%s", options->password);
        const struct resp_arg rules[] = {{"resetpass", 9}, {rule, (size_t)size}};
        status = (size_t)size < sizeof(rule) ? acl_set(&service->acl, &name, rules, 2, wrong)
                                             : SP_ETOOBIG;
    }
    if (status != SP_OK)
        snprintf(why, NET_WHY_BYTES, "%s", wrong);
    return status;
}

/* With the cache's lock. */
static void on_gone(void *context, enum cache_gone why, const void *key, size_t key_bytes)
{
    struct service *service = context;
    bool expired = why == CACHE_EXPIRED;
    event_publish(service, expired ? EVENT_EXPIRED : EVENT_EVICTED, expired ? "expired" : "evicted",
                  key, key_bytes);
    if (atomic_load_explicit(&service->trackers, memory_order_relaxed) != 0)
        tracking_changed(service, NULL, key, key_bytes);
}

/* The cache, and the pond as its readers see it. */
static int open_data(struct service *service, char *why)
{
    struct cache_options options = {.limit_bytes = service->settings.cache_bytes,
                                    .evict = service->settings.evict,
                                    .on_gone = on_gone,
                                    .context = service};
    int status = cache_open(service->options.store, &options, &service->cache);
    if (status != SP_OK) {
        snprintf(why, NET_WHY_BYTES, "the cache: %s", sp_status_text(status));
        return status;
    }
    struct sp_open_options open = SP_OPEN_OPTIONS_INIT;
    status = sp_open(service->options.directory, &open, &service->pond);
    if (status == SP_OK)
        status = sp_cache_open(service->pond, &service->reader);
    if (status != SP_OK)
        snprintf(why, NET_WHY_BYTES, "%s: %s", service->options.directory, sp_error_detail());
    service->touched = cache_touched(service->cache, &service->places);
    return status;
}

static int serve(struct service *service, char *why)
{
    const struct service_options *options = &service->options;
    struct net_options net = {.threads = service->thread_count,
                              .limits = service->settings.limits,
                              .listens = options->listens,
                              .listens_count = options->listens_count,
                              .tls = options->tls,
                              .full_text = "-ERR max number of clients reached\r\n",
                              .query_text = "-ERR Protocol error: too big request\r\n"};
    struct net_handler handler = {.context = service,
                                  .opened = session_opened,
                                  .input = session_input,
                                  .ahead = session_ahead,
                                  .closed = session_closed,
                                  .thread_tick = session_tick};
    return net_start(&net, &handler, &service->net, why);
}

static int join_ring(struct service *service, char *why)
{
    static_assert(MEMBER_WHY_BYTES <= NET_WHY_BYTES, "why");
    if (!service->options.ring)
        return SP_OK;
    struct ring_options options = *service->options.ring;
    service->options.ring = NULL;
    options.cache = service->cache;
    int status = ring_start(&options, &service->ring, why);
    if (status == SP_OK)
        ring_beat(service->ring); /* so that a stop before the first tick is seen, too */
    return status;
}

/* The host of a TCP address, as Redis' `bind` has it. */
static void add_bind(struct service_addresses *out, const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t used = strlen(out->bind);
    bool bracketed = address[0] == '[' && colon && colon[-1] == ']';
    int size = colon ? (int)(colon - address) - 2 * bracketed : 0;
    snprintf(out->bind + used, sizeof(out->bind) - used, "%s%.*s", used > 0 ? " " : "", size,
             address + bracketed);
}

/* With the cache's lock. */
static void note_addresses(struct service *service, const struct net_listen *listens, size_t count)
{
    struct service_addresses found = {0};
    for (size_t i = 0; i < count; i++) {
        const char *address = listens[i].address;
        unsigned *port = listens[i].tls ? &found.tls_port : &found.port;
        if (strncmp(address, "unix:", 5) != 0) {
            add_bind(&found, address);
            *port = *port ? *port : net_port(service->net, address);
        } else if (!found.unix_socket[0]) {
            snprintf(found.unix_socket, sizeof(found.unix_socket), "%s", address + 5);
        }
    }
    service->addresses = found;
}

int service_start(const struct service_options *options, struct service **out, char *why)
{
    commands_init();
    struct service *service = calloc(1, sizeof(*service));
    if (!service) {
        snprintf(why, NET_WHY_BYTES, "out of memory");
        return SP_ENOMEM;
    }
    service->options = *options;
    service->settings = options->settings;
    service->thread_count = options->threads ? options->threads : 1;
    service->resp_limits = (struct resp_limits)RESP_LIMITS_INIT;
    service->resp_limits.args_max = 1 << 20;
    service->started_at_ms = clock_wall_ms();
    int status = make_threads(service) ? SP_OK : SP_ENOMEM;
    client_registry_init(&service->clients);
    pthread_mutex_init(&service->acl_log.lock, NULL);
    slowlog_init(&service->slowlog);
    jobs_init(&service->jobs);
    slowlog_configure(&service->slowlog, options->settings.slow_after_us,
                      options->settings.slow_length);
    atomic_store(&service->events, options->settings.events);
    snprintf(why, NET_WHY_BYTES, "out of memory");
    service->pubsub = pubsub_new();
    service->tracking = tracking_new();
    service->leases = lease_table_new(service);
    if (acl_init(&service->acl) != SP_OK || !service->pubsub || !service->tracking ||
        !service->leases)
        status = SP_ENOMEM;
    else
        tracking_configure(service->tracking, options->settings.tracked_keys_max);
    if (status == SP_OK)
        status = open_users(service, why);
    if (status == SP_OK)
        status = open_data(service, why);
    if (status == SP_OK)
        status = join_ring(service, why);
    if (status == SP_OK) {
        tracking_tick(service); /* which tables there are */
        /* The first client that asks for the addresses waits until they are known. */
        cache_lock(service->cache, clock_wall_ms());
        status = serve(service, why);
        if (status == SP_OK)
            note_addresses(service, options->listens, options->listens_count);
        cache_unlock(service->cache);
    }
    if (status != SP_OK) {
        free_service(service);
        return status;
    }
    *out = service;
    return SP_OK;
}

#define STOP_GRACE_MS 500

void service_stop(struct service *service)
{
    if (!service)
        return;
    if (service->ring)
        ring_end_beats(service->ring); /* clients are served on for a moment */
    jobs_stop(&service->jobs);
    net_end(service->net, STOP_GRACE_MS);
    ring_stop(service->ring); /* whose threads post to the net while they run */
    service->ring = NULL;
    net_free(service->net);
    free_service(service);
}

struct ring *service_ring(const struct service *service)
{
    return service->ring;
}

void service_tick(struct service *service)
{
    cache_tick(service->cache, clock_wall_ms());
    tracking_tick(service);
    stats_tick(service);
    if (service->ring)
        ring_beat(service->ring);
}

void service_set_operators(struct service *service, const struct operators *operators)
{
    atomic_store_explicit(&service->operators, operators, memory_order_release);
}

/* --- settings --------------------------------------------------------------------------------- */

void service_configure_locked(struct service *service, const struct service_settings *settings)
{
    service->settings = *settings;
    cache_configure(service->cache, settings->cache_bytes, settings->evict);
    net_set_limits(service->net, &settings->limits);
    slowlog_configure(&service->slowlog, settings->slow_after_us, settings->slow_length);
    atomic_store_explicit(&service->events, settings->events, memory_order_relaxed);
    tracking_configure(service->tracking, settings->tracked_keys_max);
}

void service_configure(struct service *service, const struct service_settings *settings)
{
    cache_lock(service->cache, clock_wall_ms());
    service_configure_locked(service, settings);
    cache_unlock(service->cache);
}

void service_note_addresses(struct service *service, const struct net_listen *listens, size_t count)
{
    cache_lock(service->cache, clock_wall_ms());
    note_addresses(service, listens, count);
    cache_unlock(service->cache);
}
