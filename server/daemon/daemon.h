/* SPDX-License-Identifier: Apache-2.0
 *
 * daemon.h - the parts of a running daemon, in the order in which main.c starts them.
 *
 *   main.c       the order of starting and ending
 *   start.c      configuration, log, store: what happens before the loop
 *   cache.c      the cache server: its start, its changes, its end
 *   ring.c       the ring that the cache server is a node of
 *   loop.c       the main loop: signals, ticks, readiness, the end
 *   reload.c     looking at the databases, at the start and on SIGHUP, and changing over
 *   operators.c  what the cache server tells and does for operators
 *   saver.c      the snapshot file
 *   notify.c     systemd
 */
#ifndef SIDEPOND_DAEMON_DAEMON_H
#define SIDEPOND_DAEMON_DAEMON_H

#include <uv.h>

#include "server/command/operators.h"
#include "server/daemon/cache.h"
#include "server/daemon/notify.h"
#include "server/daemon/saver.h"
#include "server/http/http.h"
#include "server/refresh/refresh.h"

enum {
    TICK_MS = 100,
    STATUS_MS = 1000,
    STOP_MS = 4000, /* how long ending may take before it is cut off */
    SAVE_MS = 900,  /* and the last save after that */
};

/* How the process ends; see sysexits.h. */
enum {
    EXIT_GOOD = 0,
    EXIT_OTHER = 1,
    EXIT_USAGE = 64,
    EXIT_UNAVAILABLE = 69, /* another daemon has the pond, or the port is taken; of --check and
                              plan: a database does not answer */
    EXIT_SHM = 73,         /* the pond cannot be made */
    EXIT_CONFIG = 78,
};

struct daemon {
    const char *config_path;
    struct config *config; /* until refresh has it */
    struct store *store;
    struct store_opened opened;
    struct daemon_cache *cache; /* NULL: none */
    struct refresh *refresh;
    struct operators operators; /* what the cache's service asks of this daemon */
    struct http_options http_options;
    struct http *http;
    char http_listen[HTTP_LISTEN_BYTES];
    struct saver *saver;
    char saver_path[4096];
    uint32_t saver_every_ms;
    struct http_counters counters;
    struct notify notify;

    bool loop_open;
    uv_loop_t loop;
    uv_timer_t tick;
    uv_async_t changed; /* something has been refreshed or has failed */
    uv_signal_t signals[4];
    uv_work_t look; /* at the databases */
    struct refresh_cancel cancel;
    bool looking;
    bool look_again; /* SIGHUP while looking */
    bool applied;    /* the first configuration has been taken over */
    bool reloading;  /* told systemd so; not yet done */
    bool ready;      /* told systemd so */
    bool served;     /* the pond holds data of before */
    bool stopping;
    bool stopped; /* all groups have ended */
    uint64_t stop_by_ms;
    uint64_t status_at_ms;
    int exit_code;
    char reload_error[256]; /* "" if the last one was good */

    /* What looking hands over; the worker's until it has ended. */
    struct config *looked_config;
    struct refresh_check looked;
    int looked_status;
    char *complaints;
};

/* --- start.c: each says on standard error or in the log what is wrong, and returns an exit code
 * --- */
int daemon_load_config(struct daemon *daemon, const char *path);
int daemon_open_log(const struct config *config);
int daemon_open_store(struct daemon *daemon);
int daemon_start_cache(struct daemon *daemon);
int daemon_start_refresh(struct daemon *daemon);
int daemon_start_http(struct daemon *daemon, const struct config *config);
int daemon_start_saver(struct daemon *daemon, const struct config *config);
/* Logs each line of a text as an error. */
void daemon_log_lines(int level, const char *lines);

/* --- operators.c --- */
/* Lets the cache's service answer SIDEPOND, once there is a refresh. */
void daemon_serve_operators(struct daemon *daemon);

/* --- loop.c --- */
int daemon_init_loop(struct daemon *daemon);
int daemon_run(struct daemon *daemon); /* until the end is asked for; an exit code */
void daemon_close_loop(struct daemon *daemon);
void daemon_stop(struct daemon *daemon, int exit_code);

/* --- reload.c --- */
/* Looks at the databases of daemon->config, then takes it over. */
void daemon_look(struct daemon *daemon);
void daemon_reload(struct daemon *daemon);
/* The reload that was begun is over. */
void daemon_reloaded(struct daemon *daemon);

#endif
