/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c - the main loop: signals, a tick ten times a second, and whoever calls after a refresh.
 *
 * A tick does the store's housekeeping (which is also the heartbeat that readers see), carries the
 * refresh's changes on, tells the service manager that we live and how we are, and looks whether we
 * are ready or done. Nothing in the loop waits.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "server/daemon/daemon.h"
#include "server/log/log.h"

/* --- status ---------------------------------------------------------------------------------- */

struct summary {
    size_t tables, failing;
    uint64_t rows, oldest_ms;
    bool never; /* some table has not been loaded */
    const struct refresh_status *first_failing;
};

static void add_table(struct summary *sum, struct sp_pond *pond,
                      const struct refresh_status *status)
{
    struct sp_table *table;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    sum->tables++;
    if (status->error[0] && sum->failing++ == 0)
        sum->first_failing = status;
    if (!pond || sp_table_open(pond, status->table, &table) != SP_OK ||
        sp_table_info(table, &info) != SP_OK) {
        sum->never = true;
        return;
    }
    sum->rows += info.rows;
    if (info.age_ms == UINT64_MAX)
        sum->never = true;
    else if (info.age_ms > sum->oldest_ms)
        sum->oldest_ms = info.age_ms;
}

static void group_digits(uint64_t value, char *out, size_t cap)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, value);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < cap; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
}

/* "; cache: 1,234 keys, 5 clients", or nothing. */
static void write_cache(struct daemon *daemon, char *out, size_t cap)
{
    struct cache_server_figures figures;
    char keys[32];
    char clients[32];
    out[0] = '\0';
    if (!daemon->cache)
        return;
    cache_server_figures(daemon->cache, &figures);
    group_digits(figures.keys, keys, sizeof(keys));
    group_digits(figures.clients, clients, sizeof(clients));
    snprintf(out, cap, "; cache: %s keys, %s clients", keys, clients);
}

static void write_status(struct daemon *daemon, const struct summary *sum, char *out, size_t cap)
{
    char rows[32];
    char age[48] = "";
    char failing[256] = "";
    char cache[80];
    struct sp_pond *pond = refresh_pond(daemon->refresh);
    group_digits(sum->rows, rows, sizeof(rows));
    if (sum->never)
        snprintf(age, sizeof(age), "some not loaded yet");
    else
        snprintf(age, sizeof(age), "oldest %" PRIu64 " s", sum->oldest_ms / 1000);
    if (sum->first_failing)
        snprintf(failing, sizeof(failing), "; %zu failing: %s: %.100s", sum->failing,
                 sum->first_failing->table, sum->first_failing->error);
    write_cache(daemon, cache, sizeof(cache));
    snprintf(out, cap, "%s%s%zu tables, %s rows, version %" PRIu64 ", %s%s%s", daemon->reload_error,
             daemon->reload_error[0] ? "; " : "", sum->tables, rows,
             pond ? sp_pond_version(pond) : 0, age, cache, failing);
}

static void tell_status(struct daemon *daemon)
{
    struct refresh_status *statuses = NULL;
    struct summary sum = {0};
    size_t count = 0;
    char text[sizeof(daemon->reload_error) + 512];
    if (!refresh_config(daemon->refresh)) {
        notify_status(&daemon->notify, "looking at the databases");
        return;
    }
    if (refresh_status(daemon->refresh, &statuses, &count) != SP_OK)
        return;
    struct sp_pond *pond = refresh_pond(daemon->refresh);
    for (size_t i = 0; i < count; i++)
        add_table(&sum, pond, &statuses[i]);
    write_status(daemon, &sum, text, sizeof(text));
    notify_status(&daemon->notify, text);
    free(statuses);
}

/* --- ticks ----------------------------------------------------------------------------------- */

static void look_whether_ready(struct daemon *daemon)
{
    char why[HTTP_WHY_BYTES];
    if (daemon->ready || !(daemon->served || refresh_ready(daemon->refresh, why, sizeof(why))))
        return;
    daemon->ready = true;
    daemon->status_at_ms = 0;
    notify_ready(&daemon->notify);
    log_info("daemon", "ready");
}

static void tell_saver(struct daemon *daemon)
{
    struct sp_pond *pond = daemon->saver ? refresh_pond(daemon->refresh) : NULL;
    if (pond)
        saver_tell(daemon->saver, sp_pond_version(pond));
}

/* What can be done whenever something has changed. */
static void look_around(struct daemon *daemon)
{
    uint64_t now = clock_ms();
    bool settled = refresh_tick(daemon->refresh);
    if (daemon->stopping) {
        daemon->stopped = settled && !daemon->looking;
        if (daemon->stopped || now >= daemon->stop_by_ms)
            uv_stop(&daemon->loop);
        return;
    }
    look_whether_ready(daemon);
    if (daemon->reloading && settled && !daemon->looking)
        daemon_reloaded(daemon);
    tell_saver(daemon);
    if (now >= daemon->status_at_ms) {
        daemon->status_at_ms = now + STATUS_MS;
        tell_status(daemon);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;
    uint64_t now = clock_ms();
    store_tick(daemon->store);
    atomic_store(&daemon->counters.tick_ms, now);
    notify_alive(&daemon->notify, now);
    look_around(daemon);
}

static void on_change(uv_async_t *async)
{
    look_around(async->data);
}

/* --- signals and the end ---------------------------------------------------------------------- */

void daemon_stop(struct daemon *daemon, int exit_code)
{
    daemon->stopping = true;
    daemon->exit_code = exit_code;
    daemon->stop_by_ms = clock_ms() + STOP_MS;
    notify_stopping(&daemon->notify);
    refresh_check_cancel(&daemon->cancel);
    refresh_stop(daemon->refresh);
    uv_async_send(&daemon->changed);
}

static void on_end_signal(struct daemon *daemon, int number)
{
    if (daemon->stopping) {
        log_warning("daemon", "second signal: ending at once; the pond stays as it was committed");
        _exit(EXIT_OTHER);
    }
    log_info("daemon", "%s: ending", strsignal(number));
    daemon_stop(daemon, EXIT_GOOD);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    if (number == SIGTERM || number == SIGINT)
        on_end_signal(daemon, number);
    else if (number == SIGHUP && !daemon->stopping)
        daemon_reload(daemon);
    else if (number == SIGUSR1 && !daemon->stopping)
        refresh_now(daemon->refresh, NULL, NULL);
}

int daemon_init_loop(struct daemon *daemon)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&daemon->loop) != 0 || uv_timer_init(&daemon->loop, &daemon->tick) != 0 ||
        uv_async_init(&daemon->loop, &daemon->changed, on_change) != 0)
        return EXIT_OTHER;
    daemon->tick.data = daemon;
    daemon->changed.data = daemon;
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        daemon->signals[i].data = daemon;
        if (uv_signal_init(&daemon->loop, &daemon->signals[i]) != 0 ||
            uv_signal_start(&daemon->signals[i], on_signal, numbers[i]) != 0)
            return EXIT_OTHER;
    }
    daemon->loop_open = true;
    return EXIT_GOOD;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void daemon_close_loop(struct daemon *daemon)
{
    if (!daemon->loop_open)
        return;
    uv_walk(&daemon->loop, close_handle, NULL);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    uv_loop_close(&daemon->loop);
    daemon->loop_open = false;
}

int daemon_run(struct daemon *daemon)
{
    notify_init(&daemon->notify);
    uv_timer_start(&daemon->tick, on_tick, 0, TICK_MS);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    return daemon->exit_code;
}
