/* SPDX-License-Identifier: Apache-2.0
 *
 * reload.c - a configuration is looked at, together with the databases, and then taken over or
 * refused as a whole.
 *
 * Looking waits for databases, so it runs on a worker of the loop: at the start for the
 * configuration that is loaded, on SIGHUP for the file as it is then. Taking over is the loop's.
 *
 *   at the start   wrong, and the pond is empty: the daemon ends. Wrong, but the pond holds data:
 *                  it goes on, so that what is right is served fresh and what is not, from before.
 *   on SIGHUP      wrong, or needs a restart: the old configuration stays as it is.
 *
 * A database that does not answer is no reason to refuse. If one does not at the start and the pond
 * is empty, the snapshot file is loaded.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/daemon/daemon.h"
#include "server/daemon/ring.h"
#include "server/log/log.h"

/* --- looking, on a worker --------------------------------------------------------------------- */

static void load_snapshot_file(struct daemon *daemon, const struct config *config)
{
    char why[STORE_WHY_BYTES] = "";
    int64_t saved_ms = 0;
    int status = store_load(daemon->store, config->snapshot_file, &saved_ms, why);
    if (status == SP_OK) {
        daemon->served = true;
        log_warning("daemon", "a database is down: serving the rows of %s, saved %.0f s ago",
                    config->snapshot_file, (double)(clock_wall_ms() - saved_ms) / 1000);
    } else if (status == SP_ENOPOND) {
        log_warning("daemon", "a database is down, and there is no snapshot file %s yet",
                    config->snapshot_file);
    } else {
        log_error("daemon", "cannot load the snapshot file %s: %s", config->snapshot_file,
                  why[0] ? why : sp_status_text(status));
    }
}

static void look(uv_work_t *work)
{
    struct daemon *daemon = work->data;
    size_t size = 0;
    FILE *complaints = open_memstream(&daemon->complaints, &size);
    daemon->looked = (struct refresh_check){0};
    daemon->looked_status = complaints ? SP_OK : SP_ENOMEM;
    if (!complaints)
        return;
    if (!daemon->looked_config) /* a reload */
        daemon->looked_status =
            config_load(daemon->config_path, complaints, &daemon->looked_config);
    if (daemon->looked_status == SP_OK)
        daemon->looked_status = refresh_check(daemon->looked_config, NULL, complaints,
                                              &daemon->cancel, &daemon->looked);
    fclose(complaints);
    if (!daemon->applied && daemon->looked_status == SP_OK && daemon->looked.unreachable > 0 &&
        !daemon->looked.canceled && !daemon->served && daemon->looked_config->snapshot_file)
        load_snapshot_file(daemon, daemon->looked_config);
}

/* --- taking over, in the loop ----------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* What cannot change while the daemon runs; NULL if nothing of it has. */
static const char *needs_restart(const struct config *old, const struct config *new)
{
    if (!same_text(old->pond, new->pond))
        return "pond";
    if (!same_text(old->directory, new->directory))
        return "directory";
    if (old->memory_bytes != new->memory_bytes)
        return "memory";
    if (old->huge_pages != new->huge_pages)
        return "huge_pages";
    if (!same_text(old->group_name, new->group_name))
        return "group";
    if (old->lease_limit_ms != new->lease_limit_ms)
        return "lease_limit";
    const char *option = cache_server_needs_restart(&old->cache, &new->cache);
    return option ? option : daemon_ring_needs_restart(&old->ring, &new->ring);
}

static void refuse(struct daemon *daemon, const char *why)
{
    snprintf(daemon->reload_error, sizeof(daemon->reload_error), "reload refused: %.200s", why);
    log_error("daemon", "%s; the old configuration stays in use", daemon->reload_error);
    atomic_fetch_add(&daemon->counters.reloads_bad, 1);
    atomic_store(&daemon->counters.reload_failed, true);
    config_free(daemon->looked_config);
    daemon->looked_config = NULL;
    daemon_reloaded(daemon);
}

/* Gives the configuration to everyone who lives by it. */
static int apply(struct daemon *daemon)
{
    struct config *config = daemon->looked_config;
    daemon->looked_config = NULL;
    daemon_open_log(config);
    int code = daemon_start_saver(daemon, config);
    if (code != EXIT_GOOD)
        log_error("daemon", "cannot start saving the snapshot file");
    if (refresh_apply(daemon->refresh, config) != SP_OK) {
        log_error("daemon", "out of memory");
        return EXIT_OTHER;
    }
    atomic_store(&daemon->counters.loaded_at_ms, clock_wall_ms());
    return EXIT_GOOD;
}

static void first_looked(struct daemon *daemon)
{
    bool wrong = daemon->looked.wrong > 0 || daemon->looked_status != SP_OK;
    daemon_log_lines(wrong ? LOG_ERR : LOG_WARNING, daemon->complaints);
    if (wrong && !daemon->served) {
        daemon_stop(daemon, EXIT_CONFIG);
        return;
    }
    if (wrong)
        log_error("daemon", "going on with what is there, since the pond holds data");
    if (apply(daemon) != EXIT_GOOD)
        daemon_stop(daemon, EXIT_OTHER);
    daemon->applied = true;
}

static void reload_looked(struct daemon *daemon)
{
    const struct config *old = refresh_config(daemon->refresh);
    char why[128];
    char cache_why[NET_WHY_BYTES] = "";
    bool wrong = daemon->looked.wrong > 0 || daemon->looked_status != SP_OK;
    daemon_log_lines(wrong ? LOG_ERR : LOG_WARNING, daemon->complaints);
    if (daemon->looked_status != SP_OK) {
        refuse(daemon, "the configuration is wrong");
        return;
    }
    if (daemon->looked.wrong > 0) {
        refuse(daemon, "the database does not have what is configured");
        return;
    }
    const char *option = needs_restart(old, daemon->looked_config);
    if (option) {
        snprintf(why, sizeof(why), "a change of '%s' needs a restart", option);
        refuse(daemon, why);
        return;
    }
    if (daemon_start_http(daemon, daemon->looked_config) != EXIT_GOOD) {
        refuse(daemon, "cannot listen on the address of http");
        return;
    }
    if (daemon->cache &&
        cache_server_change(daemon->cache, old, daemon->looked_config, cache_why) != SP_OK) {
        refuse(daemon, cache_why);
        return;
    }
    if (apply(daemon) != EXIT_GOOD) {
        refuse(daemon, "out of memory");
        return;
    }
    daemon->reload_error[0] = '\0';
    atomic_fetch_add(&daemon->counters.reloads_good, 1);
    atomic_store(&daemon->counters.reload_failed, false);
    log_info("daemon", "configuration reloaded");
}

static void looked(uv_work_t *work, int canceled)
{
    struct daemon *daemon = work->data;
    daemon->looking = false;
    if (canceled == 0 && !daemon->stopping && !daemon->looked.canceled)
        (daemon->applied ? reload_looked : first_looked)(daemon);
    free(daemon->complaints);
    daemon->complaints = NULL;
    config_free(daemon->looked_config);
    daemon->looked_config = NULL;
    uv_async_send(&daemon->changed);
    if ((daemon->look_again || daemon->looked.canceled) && !daemon->stopping) {
        daemon->look_again = false;
        daemon_reload(daemon);
    }
}

static void queue_look(struct daemon *daemon)
{
    daemon->looking = true;
    daemon->look.data = daemon;
    uv_queue_work(&daemon->loop, &daemon->look, look, looked);
}

void daemon_look(struct daemon *daemon)
{
    daemon->looked_config = daemon->config;
    daemon->config = NULL;
    queue_look(daemon);
}

void daemon_reload(struct daemon *daemon)
{
    if (daemon->looking) {
        daemon->look_again = true;
        if (daemon->applied) /* what is being looked at is not the last word any more */
            refresh_check_cancel(&daemon->cancel);
        return;
    }
    log_info("daemon", "reloading %s", daemon->config_path);
    notify_reloading(&daemon->notify);
    daemon->reloading = true;
    queue_look(daemon);
}

void daemon_reloaded(struct daemon *daemon)
{
    if (!daemon->reloading)
        return;
    daemon->reloading = false;
    daemon->status_at_ms = 0;
    notify_ready(&daemon->notify);
}
