/* SPDX-License-Identifier: Apache-2.0
 *
 * cache.c - from the configuration of the cache to a service that runs, and from one configuration
 * to the next without an end to any connection.
 *
 * What can be wrong is looked at before anything is changed: passwords, users, certificates. Then
 * new addresses are listened on, and only when all of them are, the old ones are given up; where a
 * new address holds the port of an old one, the old ones go first, and come back if that does not
 * help.
 *
 * Whether users are asked for a password at all does not change while clients are connected; that
 * needs a restart, so there is no moment between an address and its password.
 */
#include "server/daemon/cache.h"
#include "alloc/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/command/commands.h"
#include "server/command/pubsub.h"
#include "server/command/service.h"
#include "server/config/values.h"
#include "server/daemon/ring.h"
#include "server/log/log.h"

enum {
    LISTENS_MAX = 33,           /* two lists of 16, and the socket in the pond's directory */
    ADDRESS_BYTES = 128,        /* of "unix:" and a path */
    CLIENT_PASSWORD_MAX = 1000, /* bytes */
    TICK_MS = 100,
};

struct daemon_cache {
    struct service *service;
    char directory[4096], users_file[4096]; /* the service borrows both */
    long gid;
    bool ticking, in_zookeeper;
    pthread_t ticker;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* by the monotonic clock */
    bool stopping;       /* under the lock */
};

/* What is read from files that the configuration names. */
struct secrets {
    char *password, *key_password;
};

struct listens {
    struct net_listen items[LISTENS_MAX];
    size_t count;
    char socket[ADDRESS_BYTES];
};

/* --- what the configuration says, as net and service want it ---------------------------------- */

static void list_listens(const struct config_cache *cache, struct listens *out)
{
    mode_t mode = (mode_t)cache->socket_mode;
    const char *const *plain = cache->listen;
    const char *const *tls = cache->tls.listen;
    snprintf(out->socket, sizeof(out->socket), "unix:%s", cache->socket);
    out->count = 0;
    out->items[out->count++] = (struct net_listen){.address = out->socket, .unix_mode = mode};
    for (; plain && *plain && out->count < LISTENS_MAX; plain++)
        out->items[out->count++] = (struct net_listen){.address = *plain, .unix_mode = mode};
    for (; tls && *tls && out->count < LISTENS_MAX; tls++)
        out->items[out->count++] =
            (struct net_listen){.address = *tls, .tls = true, .unix_mode = mode};
}

static struct net_limits limits_of(const struct config_cache *cache)
{
    struct net_limits limits = NET_LIMITS_INIT;
    limits.clients_max = cache->max_clients;
    limits.idle_ms = cache->idle_timeout_ms;
    limits.query_bytes_max = cache->max_request_bytes;
    limits.output.bytes_max = cache->output_limit_bytes;
    return limits;
}

static struct service_settings settings_of(const struct config_cache *cache)
{
    struct service_settings settings = {.cache_bytes = cache->memory_bytes,
                                        .evict = cache->when_full == CONFIG_WHEN_FULL_EVICT,
                                        .limits = limits_of(cache),
                                        .slow_after_us = (int64_t)cache->slow_after_ms * 1000,
                                        .slow_length = cache->slow_length,
                                        .tracked_keys_max = cache->tracked_keys};
    uint32_t events = 0;
    if (events_parse(cache->notify, strlen(cache->notify), &events))
        settings.events = events;
    return settings;
}

static struct net_tls tls_of(const struct config_tls *tls, const char *key_password)
{
    static const enum net_tls_clients clients[] = {
        [CONFIG_TLS_NONE] = NET_TLS_CLIENTS_ANY,
        [CONFIG_TLS_OPTIONAL] = NET_TLS_CLIENTS_OPTIONAL,
        [CONFIG_TLS_REQUIRED] = NET_TLS_CLIENTS_REQUIRED,
    };
    return (struct net_tls){.cert_file = tls->cert,
                            .key_file = tls->key,
                            .key_password = key_password,
                            .ca_file = tls->ca,
                            .clients = clients[tls->clients]};
}

static int read_secret(const char *path, char **out, char *why)
{
    *out = NULL;
    if (!path)
        return SP_OK;
    int status = config_password_file(path, out, why, NET_WHY_BYTES);
    if (status == SP_OK && why[0])
        log_warning("cache", "%s", why);
    return status;
}

static void free_secrets(struct secrets *secrets)
{
    config_password_free(secrets->password);
    config_password_free(secrets->key_password);
}

static int read_secrets(const struct config_cache *cache, struct secrets *out, char *why)
{
    *out = (struct secrets){0};
    int status = read_secret(cache->password_file, &out->password, why);
    if (status == SP_OK)
        status = read_secret(cache->tls.key_password_file, &out->key_password, why);
    if (status == SP_OK && out->password && strlen(out->password) > CLIENT_PASSWORD_MAX) {
        snprintf(why, NET_WHY_BYTES, "password file %s: a client's password has at most %d bytes",
                 cache->password_file, CLIENT_PASSWORD_MAX);
        status = SP_ECONFIG;
    }
    if (status != SP_OK)
        free_secrets(out);
    return status;
}

/* --- users ------------------------------------------------------------------------------------ */

/* An address where nothing but a password keeps other hosts out; NULL: there is none. */
static const char *wide_address(const struct config_cache *cache)
{
    bool certified = cache->tls.clients == CONFIG_TLS_REQUIRED;
    const char *const *plain = cache->listen;
    for (; plain && *plain; plain++)
        if (!net_address_is_local(*plain))
            return *plain;
    for (const char *const *tls = cache->tls.listen; tls && *tls && !certified; tls++)
        if (!net_address_is_local(*tls))
            return *tls;
    return NULL;
}

static bool default_is_open(struct acl *acl)
{
    const struct acl_user *user = acl_find(acl, "default", strlen("default"));
    bool open = user && user->on && user->nopass;
    acl_release(user);
    return open;
}

/* Reads the users for a look: whether the file is right, and lets nobody in by accident. */
static int check_users(const struct config_cache *cache, char *why)
{
    struct acl acl;
    char wrong[ACL_WHY_BYTES] = "out of memory";
    const char *wide = wide_address(cache);
    if (!cache->users_file)
        return SP_OK;
    commands_init();
    if (acl_init(&acl) != SP_OK) {
        snprintf(why, NET_WHY_BYTES, "out of memory");
        return SP_ENOMEM;
    }
    int status = acl_load(&acl, cache->users_file, wrong);
    if (status != SP_OK) {
        snprintf(why, NET_WHY_BYTES, "users file %s: %s", cache->users_file, wrong);
    } else if (wide && default_is_open(&acl)) {
        snprintf(why, NET_WHY_BYTES,
                 "users file %s: the user 'default' needs no password, and other hosts can reach "
                 "%s; give it one, or switch it off: user default off",
                 cache->users_file, wide);
        status = SP_ECONFIG;
    }
    acl_destroy(&acl);
    return status;
}

static int apply_users(struct acl *acl, const struct config_cache *cache,
                       const struct secrets *secrets, char *why)
{
    static const struct resp_arg name = {"default", 7};
    char wrong[ACL_WHY_BYTES] = "out of memory";
    char rule[CLIENT_PASSWORD_MAX + 2];
    int status = SP_OK;
    if (cache->users_file) {
        status = acl_load(acl, cache->users_file, wrong);
    } else if (secrets->password) {
        int size = snprintf(rule, sizeof(rule), ">%s", secrets->password);
        const struct resp_arg rules[] = {{"resetpass", 9}, {rule, (size_t)size}};
        status = acl_set(acl, &name, rules, 2, wrong);
        explicit_bzero(rule, sizeof(rule));
    }
    if (status != SP_OK)
        snprintf(why, NET_WHY_BYTES, "%s", wrong);
    return status;
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* Gives a Unix socket to the group of the pond's readers. */
static int give_socket(const struct daemon_cache *cache, const char *address, char *why)
{
    const char *path = config_socket_path(address);
    if (!path || cache->gid < 0 || chown(path, (uid_t)-1, (gid_t)cache->gid) == 0)
        return SP_OK;
    snprintf(why, NET_WHY_BYTES, "cannot give the socket %s to the group %ld: %s", path, cache->gid,
             strerror(errno));
    return SP_EACCESS;
}

static int add_listen(struct daemon_cache *cache, const struct net_listen *listen, char *why)
{
    int status = net_listen_add(cache->service->net, listen, why);
    if (status != SP_OK)
        return status;
    status = give_socket(cache, listen->address, why);
    if (status != SP_OK)
        net_listen_remove(cache->service->net, listen->address);
    else
        log_info("cache", "listening on %s%s", listen->address, listen->tls ? " with TLS" : "");
    return status;
}

static bool has_listen(const struct listens *listens, const struct net_listen *listen)
{
    for (size_t i = 0; i < listens->count; i++)
        if (listens->items[i].tls == listen->tls &&
            strcmp(listens->items[i].address, listen->address) == 0)
            return true;
    return false;
}

/* Adds what `to` has and `from` has not; `added` is what has been so far. */
static int add_new(struct daemon_cache *cache, const struct listens *from, const struct listens *to,
                   bool added[LISTENS_MAX], char *why)
{
    for (size_t i = 0; i < to->count; i++) {
        if (added[i] || has_listen(from, &to->items[i]))
            continue;
        int status = add_listen(cache, &to->items[i], why);
        if (status != SP_OK)
            return status;
        added[i] = true;
    }
    return SP_OK;
}

static void remove_gone(struct daemon_cache *cache, const struct listens *from,
                        const struct listens *to)
{
    for (size_t i = 0; i < from->count; i++) {
        if (has_listen(to, &from->items[i]))
            continue;
        net_listen_remove(cache->service->net, from->items[i].address);
        log_info("cache", "no longer listening on %s", from->items[i].address);
    }
}

static void add_back(struct daemon_cache *cache, const struct listens *from,
                     const struct listens *to)
{
    char why[NET_WHY_BYTES];
    bool added[LISTENS_MAX] = {false};
    if (add_new(cache, to, from, added, why) != SP_OK)
        log_error("cache", "an address that was served is lost until the next reload: %s", why);
}

static int switch_listens(struct daemon_cache *cache, const struct listens *from,
                          const struct listens *to, char *why)
{
    bool added[LISTENS_MAX] = {false};
    bool removed = false;
    int status = add_new(cache, from, to, added, why);
    if (status == SP_EBUSY || status == SP_EEXISTS) {
        remove_gone(cache, from, to);
        removed = true;
        status = add_new(cache, from, to, added, why);
    }
    if (status == SP_OK) {
        if (!removed)
            remove_gone(cache, from, to);
        return SP_OK;
    }
    for (size_t i = 0; i < to->count; i++)
        if (added[i])
            net_listen_remove(cache->service->net, to->items[i].address);
    if (removed)
        add_back(cache, from, to);
    return status;
}

static void change_modes(const struct listens *listens)
{
    for (size_t i = 0; i < listens->count; i++) {
        const char *path = config_socket_path(listens->items[i].address);
        if (path && chmod(path, listens->items[i].unix_mode) != 0)
            log_error("cache", "cannot change the mode of %s: %s", path, strerror(errno));
    }
}

/* --- expiry ----------------------------------------------------------------------------------- */

static void *ticker_run(void *argument)
{
    struct daemon_cache *cache = argument;
    uint64_t next_ms = clock_ms() + TICK_MS;
    pthread_mutex_lock(&cache->lock);
    while (!cache->stopping) {
        if (thread_wait(&cache->wake, &cache->lock, next_ms))
            continue; /* woken: to look whether to stop */
        pthread_mutex_unlock(&cache->lock);
        service_tick(cache->service);
        next_ms = clock_ms() + TICK_MS;
        pthread_mutex_lock(&cache->lock);
    }
    pthread_mutex_unlock(&cache->lock);
    return NULL;
}

static int start_ticker(struct daemon_cache *cache)
{
    cache->ticking = pthread_create(&cache->ticker, NULL, ticker_run, cache) == 0;
    return cache->ticking ? SP_OK : SP_ESYS;
}

static void stop_ticker(struct daemon_cache *cache)
{
    if (!cache->ticking)
        return;
    pthread_mutex_lock(&cache->lock);
    cache->stopping = true;
    pthread_cond_signal(&cache->wake);
    pthread_mutex_unlock(&cache->lock);
    pthread_join(cache->ticker, NULL);
}

/* --- starting and ending ---------------------------------------------------------------------- */

/* Each client takes a descriptor: as many as the system lets us have. */
static void raise_descriptors(uint32_t clients)
{
    uint32_t possible = net_clients_possible(clients);
    if (possible < clients)
        log_warning("cache",
                    "max_clients is %u, but this process may have %u only; raise its limit of open "
                    "files (LimitNOFILE= of the service)",
                    clients, possible);
}

static int start_service(struct daemon_cache *cache, struct store *store,
                         const struct config_cache *config, const struct ring_options *ring,
                         const struct secrets *secrets, char *why)
{
    struct listens listens;
    struct net_tls tls = tls_of(&config->tls, secrets->key_password);
    list_listens(config, &listens);
    struct service_options options = {.store = store,
                                      .directory = cache->directory,
                                      .threads = config->threads,
                                      .settings = settings_of(config),
                                      .listens = listens.items,
                                      .listens_count = listens.count,
                                      .tls = config->tls.cert ? &tls : NULL,
                                      .users_file = config->users_file ? cache->users_file : NULL,
                                      .password = secrets->password,
                                      .ring = ring};
    int status = service_start(&options, &cache->service, why);
    for (size_t i = 0; status == SP_OK && i < listens.count; i++) {
        status = give_socket(cache, listens.items[i].address, why);
        if (status == SP_OK)
            log_info("cache", "listening on %s%s", listens.items[i].address,
                     listens.items[i].tls ? " with TLS" : "");
    }
    return status;
}

/* With the ring, if the configuration has one. */
static int start_all(struct daemon_cache *cache, struct store *store, const struct config *config,
                     const struct secrets *secrets, char *why)
{
    struct daemon_ring ring;
    if (!config->ring.enabled)
        return start_service(cache, store, &config->cache, NULL, secrets, why);
    cache->in_zookeeper = config->ring.zookeeper != NULL;
    int status = daemon_ring_read(config, &cache->gid, &ring, why);
    if (status != SP_OK)
        return status;
    status = start_service(cache, store, &config->cache, &ring.options, secrets, why);
    daemon_ring_free(&ring);
    return status;
}

static struct daemon_cache *new_cache(const struct config *config, long gid)
{
    struct daemon_cache *cache = calloc(1, sizeof(*cache));
    const char *users_file = config->cache.users_file;
    if (!cache)
        return NULL;
    cache->gid = gid;
    snprintf(cache->directory, sizeof(cache->directory), "%s", config->directory);
    snprintf(cache->users_file, sizeof(cache->users_file), "%s", users_file ? users_file : "");
    thread_cond_init(&cache->wake);
    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

int cache_server_start(struct store *store, const struct config *config, long gid,
                       struct daemon_cache **out, char *why)
{
    struct secrets secrets = {0};
    struct daemon_cache *cache = new_cache(config, gid);
    snprintf(why, NET_WHY_BYTES, "out of memory");
    if (!cache)
        return SP_ENOMEM;
    raise_descriptors(config->cache.max_clients);
    int status = read_secrets(&config->cache, &secrets, why);
    if (status == SP_OK)
        status = check_users(&config->cache, why);
    if (status == SP_OK)
        status = start_all(cache, store, config, &secrets, why);
    if (status == SP_OK) {
        snprintf(why, NET_WHY_BYTES, "cannot start a thread");
        status = start_ticker(cache);
    }
    free_secrets(&secrets);
    if (status != SP_OK) {
        cache_server_stop(cache);
        return status;
    }
    *out = cache;
    return SP_OK;
}

void cache_server_stop(struct daemon_cache *cache)
{
    if (!cache)
        return;
    if (cache->service)
        daemon_ring_leave(service_ring(cache->service), cache->in_zookeeper);
    stop_ticker(cache);
    service_stop(cache->service);
    pthread_cond_destroy(&cache->wake);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

struct service *cache_server_service(struct daemon_cache *cache)
{
    return cache ? cache->service : NULL;
}

void cache_server_figures(struct daemon_cache *cache, struct cache_server_figures *out)
{
    struct cache_info info;
    struct net_stats stats;
    cache_info(cache->service->cache, &info);
    net_stats(cache->service->net, &stats);
    *out = (struct cache_server_figures){.keys = info.entries, .clients = stats.connections};
}

/* --- a reload --------------------------------------------------------------------------------- */

const char *cache_server_needs_restart(const struct config_cache *from,
                                       const struct config_cache *to)
{
    const char *from_users = from->users_file ? from->users_file : "";
    const char *to_users = to->users_file ? to->users_file : "";
    if (from->enabled != to->enabled)
        return "cache";
    if (from->enabled && from->threads != to->threads)
        return "cache.threads";
    if (strcmp(from_users, to_users) != 0)
        return "cache.users_file";
    if (!from->password_file != !to->password_file)
        return "cache.password_file";
    return NULL;
}

/* The old certificates again, from their files as these are now. */
static void reload_old_tls(struct net *net, const struct config_cache *from)
{
    char why[NET_WHY_BYTES];
    struct secrets secrets;
    int status = read_secrets(from, &secrets, why);
    if (status == SP_OK) {
        struct net_tls tls = tls_of(&from->tls, secrets.key_password);
        status = net_tls_reload(net, &tls, why);
        free_secrets(&secrets);
    }
    if (status != SP_OK)
        log_error("cache", "the old certificate cannot be read any more: %s", why);
}

static int change_addresses(struct daemon_cache *cache, const struct config_cache *from,
                            const struct config_cache *to, const struct secrets *secrets, char *why)
{
    struct listens from_listens;
    struct listens to_listens;
    struct net *net = cache->service->net;
    struct net_tls tls = tls_of(&to->tls, secrets->key_password);
    int status = to->tls.cert ? net_tls_reload(net, &tls, why) : SP_OK;
    if (status != SP_OK)
        return status;
    list_listens(from, &from_listens);
    list_listens(to, &to_listens);
    status = switch_listens(cache, &from_listens, &to_listens, why);
    if (status == SP_OK) {
        change_modes(&to_listens);
        service_note_addresses(cache->service, to_listens.items, to_listens.count);
    } else if (from->tls.cert) {
        reload_old_tls(net, from);
    }
    return status;
}

static void change_settings(struct service *service, const struct config_cache *to)
{
    struct service_settings settings = settings_of(to);
    raise_descriptors(to->max_clients);
    service_configure(service, &settings);
}

/* Nothing is read where there is no ring. */
static int read_ring(struct daemon_cache *cache, const struct config *to, struct daemon_ring *ring,
                     char *why)
{
    *ring = (struct daemon_ring){0};
    return service_ring(cache->service) ? daemon_ring_read(to, &cache->gid, ring, why) : SP_OK;
}

int cache_server_change(struct daemon_cache *cache, const struct config *from,
                        const struct config *to, char *why)
{
    struct secrets secrets;
    struct daemon_ring ring = {0};
    char users_why[NET_WHY_BYTES];
    int status = read_secrets(&to->cache, &secrets, why);
    if (status != SP_OK)
        return status;
    status = check_users(&to->cache, why);
    if (status == SP_OK)
        status = read_ring(cache, to, &ring, why);
    if (status == SP_OK)
        status = change_addresses(cache, &from->cache, &to->cache, &secrets, why);
    if (status == SP_OK) {
        if (service_ring(cache->service))
            ring_configure(service_ring(cache->service), &ring.options);
        change_settings(cache->service, &to->cache);
        if (apply_users(&cache->service->acl, &to->cache, &secrets, users_why) != SP_OK)
            log_error("cache", "the users stay as they were: %s", users_why);
    }
    daemon_ring_free(&ring);
    free_secrets(&secrets);
    return status;
}
