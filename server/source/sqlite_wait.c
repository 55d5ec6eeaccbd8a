/* SPDX-License-Identifier: Apache-2.0
 *
 * sqlite_wait.c - noticing that somebody changed an SQLite file.
 *
 * PRAGMA data_version gives another number after each commit of another connection. It is asked
 * again and again: every POLL_MS, and where inotify watches the file's directory every CALM_MS and
 * at once when the file, its -wal or its -journal changes. The write that wakes us comes just
 * before the commit is visible, so after one the number is asked every HOT_MS for a while. A file
 * that was replaced counts as a change.
 *
 * To ask takes SQLite's shared lock for some microseconds, and in the rollback modes a writer that
 * commits just then, and has no busy time-out, fails. So while there is a journal nobody asks, for
 * some HOT_SPAN_MS at most: a writer is at work.
 *
 * Costs: some 30 us of processor time for each question; tests/unit/test_source_sqlite.c prints the
 * share of a processor that a wait takes, and how soon after a commit it ends.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "server/source/sqlite.h"

#define POLL_MS     4
#define CALM_MS     50
#define HOT_MS      1
#define HOT_SPAN_MS 20

int sqlite_version_read(struct source *source, int64_t *version)
{
    const int rc = sqlite3_step(source->version_stmt);
    if (rc == SQLITE_ROW)
        *version = sqlite3_column_int64(source->version_stmt, 0);
    const int reset = sqlite3_reset(source->version_stmt);
    return rc == SQLITE_ROW ? SQLITE_OK : reset;
}

/* --- inotify -------------------------------------------------------------------------------- */

static void watch_directory(struct source *source)
{
    const uint32_t mask = IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO;
    char *directory = strdup(source->path);
    source->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (source->inotify_fd >= 0 &&
        (!directory || inotify_add_watch(source->inotify_fd, dirname(directory), mask) < 0)) {
        close(source->inotify_fd);
        source->inotify_fd = -1;
    }
    free(directory);
}

/* Whether one of the events waiting is of the database's files. */
static bool take_events(struct source *source)
{
    _Alignas(struct inotify_event) char events[4096];
    const char *name = strrchr(source->path, '/') + 1;
    bool ours = false;
    ssize_t bytes;
    while ((bytes = read(source->inotify_fd, events, sizeof(events))) > 0) {
        for (char *at = events; at < events + bytes;) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            ours = ours || event->len == 0 || strncmp(event->name, name, strlen(name)) == 0;
            at += sizeof(*event) + event->len;
        }
    }
    return ours;
}

int sqlite_listen(struct source *source, const struct source_table *tables, unsigned count,
                  struct source_error *error)
{
    (void)tables;
    (void)count;
    (void)error;
    if (source->inotify_fd < 0)
        watch_directory(source); /* without it, wait asks more often */
    return SP_OK;
}

/* --- waiting -------------------------------------------------------------------------------- */

static bool writer_at_work(const struct source *source)
{
    char path[PATH_MAX];
    struct stat journal;
    const int bytes = snprintf(path, sizeof(path), "%s-journal", source->path);
    return bytes < (int)sizeof(path) && stat(path, &journal) == 0 && journal.st_size > 0;
}

static int look(struct source *source, bool *changed, struct source_error *error)
{
    int64_t version = source->version;
    source->busy_until_ms = 0;
    const int rc = sqlite_version_read(source, &version);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        return sqlite_failed(source, NULL, rc, error);
    *changed = version != source->version || sqlite_file_replaced(source);
    source->version = version;
    return SP_OK;
}

/* Sleeps until it is worth looking again. */
static void pause_for(struct source *source, uint64_t deadline_ms, uint64_t *hot_until_ms)
{
    const bool hot = clock_ms() < *hot_until_ms;
    const int left = waker_left_ms(deadline_ms);
    int timeout = source->inotify_fd >= 0 ? CALM_MS : POLL_MS;
    if (hot)
        timeout = HOT_MS;
    if (left < timeout)
        timeout = left;
    if (waker_poll(&source->waker, hot ? -1 : source->inotify_fd, POLLIN, timeout) &&
        take_events(source))
        *hot_until_ms = clock_ms() + HOT_SPAN_MS;
}

int sqlite_wait(struct source *source, uint32_t timeout_ms, bool *changed,
                struct source_error *error)
{
    const uint64_t deadline = clock_ms() + timeout_ms;
    uint64_t hot_until = 0;
    uint64_t asked_ms = 0;
    *changed = false;
    source->deadline_ms = 0;
    if (!source->version_stmt) /* a begin has failed */
        return sqlite_follow_file(source, error);
    for (;;) {
        if (waker_take(&source->waker))
            return source_fail(error, SP_ECANCELED, true, "canceled");
        const uint64_t now = clock_ms();
        int status = SP_OK;
        if (now >= deadline || now - asked_ms > HOT_SPAN_MS || !writer_at_work(source)) {
            status = look(source, changed, error);
            asked_ms = now;
        }
        if (status != SP_OK || *changed || now >= deadline)
            return status;
        pause_for(source, deadline, &hot_until);
    }
}
