/* SPDX-License-Identifier: Apache-2.0
 *
 * start.c - what happens before the main loop, step by step; each step says what is wrong.
 */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/daemon/daemon.h"
#include "server/log/log.h"

int daemon_load_config(struct daemon *daemon, const char *path)
{
    daemon->config_path = path;
    if (config_load(path, stderr, &daemon->config) != SP_OK)
        return EXIT_CONFIG;
    if (daemon->config->cache.enabled || daemon->config->table_count > 0)
        return EXIT_GOOD;
    fprintf(stderr, "%s: neither tables nor a cache: an 'agent' is run by --agent\n", path);
    return EXIT_CONFIG;
}

int daemon_open_log(const struct config *config)
{
    static const int levels[] = {[CONFIG_LOG_ERROR] = LOG_ERR,
                                 [CONFIG_LOG_WARNING] = LOG_WARNING,
                                 [CONFIG_LOG_INFO] = LOG_INFO,
                                 [CONFIG_LOG_DEBUG] = LOG_DEBUG};
    bool journal = config->log_target == CONFIG_LOG_JOURNAL;
    bool json = config->log_format == CONFIG_LOG_JSON;
    int status = log_open(journal ? LOG_TARGET_JOURNAL : LOG_TARGET_STDERR,
                          json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT, levels[config->log_level]);
    if (status != SP_OK)
        log_warning("daemon", "there is no journal; logging to standard error");
    return EXIT_GOOD;
}

void daemon_log_lines(int level, const char *lines)
{
    while (lines && *lines) {
        int size = (int)strcspn(lines, "\n");
        if (size > 0)
            log_at(level, "config", "%.*s", size, lines);
        lines += size;
        lines += *lines == '\n';
    }
}

/* --- the store ------------------------------------------------------------------------------- */

static int group_id(const char *name, long *gid)
{
    char buffer[4096];
    struct group entry;
    struct group *found = NULL;
    *gid = -1;
    if (!name)
        return SP_OK;
    if (getgrnam_r(name, &entry, buffer, sizeof(buffer), &found) != 0 || !found) {
        log_error("daemon", "there is no group %s", name);
        return SP_ECONFIG;
    }
    *gid = found->gr_gid;
    return SP_OK;
}

/* Makes the directories above the pond's own, which the store makes. */
static int make_parents(const char *directory)
{
    char path[4096];
    struct stat about;
    if (snprintf(path, sizeof(path), "%s", directory) >= (int)sizeof(path))
        return SP_EINVAL;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool there = stat(path, &about) == 0 || mkdir(path, 0755) == 0 || errno == EEXIST;
        if (!there) {
            log_error("daemon", "cannot make the directory %s: %s%s", path, strerror(errno),
                      strncmp(path, "/dev/shm", 8) == 0 ? "; is /dev/shm mounted and writable?"
                                                        : "");
            return SP_ESYS;
        }
        *slash = '/';
    }
    return SP_OK;
}

static int open_exit_code(int status)
{
    switch (status) {
    case SP_EBUSY:
        return EXIT_UNAVAILABLE;
    case SP_EINVAL:
    case SP_ECONFIG:
        return EXIT_CONFIG;
    default:
        return EXIT_SHM;
    }
}

static void log_opened(const struct daemon *daemon)
{
    static const char *const origins[] = {"new", "recovered", "replaced"};
    const struct store_opened *opened = &daemon->opened;
    log_event(LOG_INFO, "daemon", "pond is open", LOG_STR("pond", daemon->config->pond),
              LOG_STR("directory", daemon->config->directory),
              LOG_STR("origin", origins[(unsigned)opened->origin % 3]),
              LOG_UINT("version", opened->version), LOG_UINT("rows", opened->rows),
              LOG_UINT("us", opened->elapsed_us));
    if (opened->lost_tables)
        log_error("daemon",
                  "%llu tables of the old pond could not be read and start empty; the next refresh "
                  "brings them back: %s",
                  (unsigned long long)opened->lost_tables, opened->note);
    else if (opened->note[0])
        log_error("daemon",
                  "the pond that was there could not be used, a new one took its place: %s",
                  opened->note);
    if (opened->dropped_corrupt)
        log_error("daemon",
                  "%llu rows of the pond were damaged and have been dropped; the next "
                  "refresh brings them back",
                  (unsigned long long)opened->dropped_corrupt);
}

int daemon_open_store(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    char why[STORE_WHY_BYTES] = "";
    struct store_options options = {.directory = config->directory,
                                    .name = config->pond,
                                    .limit_bytes = config->memory_bytes,
                                    .lease_limit_ms = config->lease_limit_ms,
                                    .huge_pages = config->huge_pages,
                                    .cache_bytes =
                                        config->cache.enabled ? config->cache.memory_bytes : 0};
    if (group_id(config->group_name, &options.gid) != SP_OK)
        return EXIT_CONFIG;
    if (make_parents(config->directory) != SP_OK)
        return EXIT_SHM;
    int status = store_open(&options, &daemon->store, &daemon->opened, why);
    if (status != SP_OK) {
        log_error("daemon", "cannot open the pond in %s: %s", config->directory,
                  why[0] ? why : sp_status_text(status));
        return open_exit_code(status);
    }
    daemon->served = daemon->opened.rows > 0;
    log_opened(daemon);
    return EXIT_GOOD;
}

/* --- the cache ------------------------------------------------------------------------------- */

static int cache_exit_code(int status)
{
    switch (status) {
    case SP_EBUSY:
        return EXIT_UNAVAILABLE;
    case SP_ENOSPC:
    case SP_ENOSHM:
        return EXIT_SHM;
    case SP_ENOMEM:
        return EXIT_OTHER;
    default:
        return EXIT_CONFIG;
    }
}

int daemon_start_cache(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    char why[NET_WHY_BYTES] = "";
    long gid;
    if (!config->cache.enabled)
        return EXIT_GOOD;
    if (group_id(config->group_name, &gid) != SP_OK)
        return EXIT_CONFIG;
    int status = cache_server_start(daemon->store, config, gid, &daemon->cache, why);
    if (status == SP_OK)
        return EXIT_GOOD;
    log_error("cache", "the cache cannot be served: %s", why);
    return cache_exit_code(status);
}

/* --- what runs on it -------------------------------------------------------------------------- */

static void tell_loop(void *context)
{
    struct daemon *daemon = context;
    uv_async_send(&daemon->changed);
}

int daemon_start_refresh(struct daemon *daemon)
{
    struct refresh_options options = {.store = daemon->store,
                                      .directory = daemon->config->directory,
                                      .damaged = daemon->opened.dropped_corrupt > 0,
                                      .on_change = tell_loop,
                                      .context = daemon};
    /* The configuration goes to the refresh later, and away at a reload; the directory stays. */
    static char directory[4096];
    snprintf(directory, sizeof(directory), "%s", daemon->config->directory);
    options.directory = directory;
    if (refresh_new(&options, &daemon->refresh) != SP_OK)
        return EXIT_OTHER;
    daemon_serve_operators(daemon);
    return EXIT_GOOD;
}

int daemon_start_http(struct daemon *daemon, const struct config *config)
{
    const struct http_site site = http_site(&daemon->http_options);
    if (!daemon->http) /* one that serves reads them */
        daemon->http_options =
            (struct http_options){.refresh = daemon->refresh,
                                  .store = daemon->store,
                                  .counters = &daemon->counters,
                                  .service = cache_server_service(daemon->cache)};
    const char *listen = config->http_listen ? config->http_listen : "";
    int status = http_move(&daemon->http, daemon->http_listen, listen, &site);
    return status == SP_OK ? EXIT_GOOD : EXIT_UNAVAILABLE;
}

int daemon_start_saver(struct daemon *daemon, const struct config *config)
{
    const char *path = config->snapshot_file ? config->snapshot_file : "";
    if (strcmp(path, daemon->saver_path) == 0 &&
        config->snapshot_every_ms == daemon->saver_every_ms)
        return EXIT_GOOD;
    if (daemon->saver)
        saver_change(daemon->saver, path, config->snapshot_every_ms);
    else if (*path && saver_start(daemon->store, path, config->snapshot_every_ms, &daemon->counters,
                                  &daemon->saver) != SP_OK)
        return EXIT_OTHER;
    snprintf(daemon->saver_path, sizeof(daemon->saver_path), "%s", path);
    daemon->saver_every_ms = config->snapshot_every_ms;
    return EXIT_GOOD;
}
