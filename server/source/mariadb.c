/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb.c - MariaDB and MySQL as a source: opening it, its transactions, and being idle.
 *
 * libmariadb is used without ever blocking in it (mariadb_query.c), so that cancel and deadlines
 * work while connecting, while a statement runs and while rows come. A call that is cut off leaves
 * the connection in the middle of something, so it is marked broken and closed.
 *
 * A group's snapshot is one transaction WITH CONSISTENT SNAPSHOT. That holds for InnoDB; tables of
 * engines without transactions (MyISAM, Aria) are read as they are at that moment.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "alloc/clock.h"
#include "server/source/mariadb.h"

static void maria_close(struct source *source)
{
    maria_feed_close(source);
    maria_disconnect(source);
    waker_close(&source->waker);
    free(source);
}

static int maria_open(const struct source_options *options, struct source **out,
                      struct source_error *error)
{
    struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return source_no_memory(error);
    source->options = options;
    source->wake = &source->waker;
    atomic_init(&source->feed_fd, -1);
    int status = waker_open(&source->waker);
    if (status != SP_OK) {
        source_fail(error, status, true, "source %s: eventfd: %s", options->name, strerror(errno));
        maria_close(source);
        return status;
    }
    source_announce(options, source);
    status = maria_connect(source, error);
    if (status != SP_OK) {
        source_announce(options, NULL);
        maria_close(source);
        return status;
    }
    *out = source;
    return SP_OK;
}

/* --- transactions --------------------------------------------------------------------------- */

static int maria_begin(struct source *source, struct source_error *error)
{
    const int status = maria_call_begin(source, error);
    return status == SP_OK
               ? maria_query(source, NULL, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
                             NULL, error)
               : status;
}

static int maria_end(struct source *source, struct source_error *error)
{
    int status = maria_call_begin(source, error);
    if (status == SP_OK)
        status = maria_query(source, NULL, "COMMIT", NULL, error);
    if (status == SP_OK)
        maria_feed_release(source);
    return status;
}

/* --- being idle ----------------------------------------------------------------------------- */

static int maria_listen(struct source *source, const struct source_table *tables, unsigned count,
                        struct source_error *error)
{
    (void)tables;
    if (count == 0)
        return SP_OK;
    return source_fail(error, SP_ECONFIG, false, "source %s: the database cannot notify",
                       source->options->name);
}

/* Nothing is told by the server between statements but that it ends the connection. */
static int maria_wait_idle(struct source *source, uint32_t timeout_ms, bool *changed,
                           struct source_error *error)
{
    const uint64_t deadline = clock_ms() + timeout_ms;
    *changed = false;
    if (source->broken)
        return maria_call_begin(source, error);
    for (;;) {
        const int left = waker_left_ms(deadline);
        if (waker_take(source->wake))
            return source_fail(error, SP_ECANCELED, true, "canceled");
        if (left == 0)
            return SP_OK;
        if (waker_poll(source->wake, mysql_get_socket(source->conn), POLLIN, left)) {
            source->broken = true;
            return source_fail(error, SP_ESOURCE, true,
                               "source %s: the connection was lost: the server closed it",
                               source->options->name);
        }
    }
}

static int maria_check(struct source *source, struct source_error *error)
{
    const int status = maria_call_begin(source, error);
    return status == SP_OK ? maria_query(source, NULL, "DO 1", NULL, error) : status;
}

static void maria_ask_cancel(struct source *source)
{
    waker_ask(&source->waker);
    const int fd = atomic_load_explicit(&source->feed_fd, memory_order_acquire);
    if (fd >= 0) /* libmariadb can only block while it reads an event of the log */
        shutdown(fd, SHUT_RDWR);
}

/* The same under two names. */
#define MARIADB_CLASS(name)                                                                        \
    {                                                                                              \
        .type = (name), .features = SOURCE_CAN_WATERMARK, .open = maria_open,                      \
        .describe = maria_describe, .begin = maria_begin, .stream = maria_stream,                  \
        .end = maria_end, .listen = maria_listen, .wait = maria_wait_idle, .check = maria_check,   \
        .cancel = maria_ask_cancel, .close = maria_close, .feed = &maria_feed_class,               \
    }

const struct source_class source_mariadb = MARIADB_CLASS("mariadb");
const struct source_class source_mysql = MARIADB_CLASS("mysql");
