/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_feed.c - MariaDB's binary log as a change feed.
 *
 * Sidepond is to the server one more replica, with a random server id, on a connection of its own.
 * It asks for everything behind a GTID position, in the strict mode, in which the server refuses a
 * position that it does not have. The log is one sequence of the commits, so a snapshot of InnoDB
 * (START TRANSACTION WITH CONSISTENT SNAPSHOT) belongs to one place in it, which the server tells.
 *
 * The server may send a transaction a moment before it is visible to others. A snapshot that is
 * behind what was delivered is therefore taken again.
 *
 * The log has the end of an XA transaction before InnoDB does it, so what is read right behind that
 * may lack it. The reading that follows from it is put off a little.
 *
 * While a snapshot is read nothing is taken from the connection: the server then waits in its
 * write, for which it is given an hour; as long a snapshot waits for the feed to catch up with it.
 *
 * Waiting is a poll on the socket and on the waker. While an event is read libmariadb can only
 * block; that ends after ten seconds in which nothing comes, or at once by cancel(), which shuts
 * the connection down.
 *
 * Costs: one connection and one thread of the server, which reads its log once for us; a heartbeat
 * a second while nothing changes; to find a snapshot's position, the server reads its current log
 * file up to there. Limits: MariaDB only, MySQL's positions are of another kind.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <mysql.h>

typedef unsigned char uchar; /* the next header uses it before it says so itself */
#define HAVE_TLS 1           /* as the library was built: it then knows TLS connections */
#include <ma_pvio.h>
#include <mariadb_rpl.h>
#include <mysqld_error.h>
#include <openssl/ssl.h>

#include "alloc/clock.h"
#include "server/source/mariadb_feed.h"

#define HEARTBEAT_NS   "1000000000"
#define SILENCE_MS     10000
#define SKIP_MS        600000 /* so long the server may look for the position */
#define BEHIND_S       "3600"
#define XA_COMMIT_MS   100 /* from its place in the log to the rows */
#define SLICE_MS       100 /* so long next() goes on with what arrives without a break */
#define SNAPSHOT_TRIES 200
#define SNAPSHOT_MS    5 /* between two tries */
#define LOG_START      4 /* the first event in a file */

/* --- the feed's life ------------------------------------------------------------------------ */

struct maria_feed *maria_feed_of(struct source *source)
{
    if (!source->feed)
        source->feed = calloc(1, sizeof(*source->feed));
    return source->feed;
}

void maria_feed_forget_tables(struct maria_feed *feed)
{
    for (unsigned i = 0; i < feed->table_count; i++)
        binlog_table_free(&feed->tables[i]);
    free(feed->tables);
    feed->tables = NULL;
    feed->table_count = 0;
}

static void stop_log(struct source *source)
{
    struct maria_feed *feed = source->feed;
    feed->follower.broken = true; /* the server goes on sending */
    feed->follower.running = false;
    maria_disconnect(&feed->follower);
    if (feed->log_open)
        binlog_close(&feed->log);
    feed->log_open = feed->running = false;
}

static void forget_charsets(struct maria_feed *feed)
{
    for (struct binlog_charset *next; feed->charsets; feed->charsets = next) {
        next = feed->charsets->next;
        binlog_charset_free(feed->charsets);
    }
}

void maria_feed_close(struct source *source)
{
    const int fd = atomic_exchange_explicit(&source->feed_fd, -1, memory_order_acq_rel);
    if (source->feed) {
        stop_log(source);
        maria_feed_forget_tables(source->feed);
        forget_charsets(source->feed);
        free(source->feed);
        source->feed = NULL;
    }
    if (fd >= 0)
        close(fd);
}

void maria_feed_release(struct source *source)
{
    if (source->feed)
        source->feed->has_target = source->feed->holds = false;
}

/* --- reading events ------------------------------------------------------------------------- */

/* What libmariadb or the TLS library has read ahead, poll knows nothing of. */
static bool has_buffered(const MYSQL *conn)
{
    const MARIADB_PVIO *io = conn->net.pvio;
    if (!io)
        return false;
    if (io->cache && io->cache_pos < io->cache + io->cache_size)
        return true;
    return io->ctls && io->ctls->ssl && SSL_pending(io->ctls->ssl) > 0;
}

static bool wait_event(struct source *source, int timeout_ms)
{
    MYSQL *conn = source->feed->follower.conn;
    return has_buffered(conn) ||
           waker_poll(source->wake, mysql_get_socket(conn), POLLIN, timeout_ms);
}

static int lost(struct source *source, struct source_error *error)
{
    struct source *follower = &source->feed->follower;
    const unsigned number = mysql_errno(follower->conn);
    source->broken = true;
    if (waker_take(source->wake))
        return source_fail(error, SP_ECANCELED, true, "canceled");
    if (number == ER_MASTER_FATAL_ERROR_READING_BINLOG &&
        !strstr(mysql_error(follower->conn), "same server")) /* another has our random id */
        return source_fail(error, SP_ENOTFOUND, true, "source %s: the binary log: %s",
                           source->options->name, mysql_error(follower->conn));
    if (number == ER_SPECIFIC_ACCESS_DENIED_ERROR || number == ER_ACCESS_DENIED_ERROR)
        return source_fail(error, SP_ECONFIG, false, "source %s: the binary log: %s",
                           source->options->name, mysql_error(follower->conn));
    return source_fail(error, SP_ESOURCE, true, "source %s: the binary log: %s",
                       source->options->name,
                       number ? mysql_error(follower->conn) : "the server has ended it");
}

/* Reads one event, which is there or will be soon. */
static int read_event(struct source *source, const struct source_feed_sink *sink,
                      enum binlog_point *point, struct source_error *error)
{
    struct maria_feed *feed = source->feed;
    MYSQL *conn = feed->follower.conn;
    const unsigned long bytes = mysql_net_read_packet(conn);
    /* a packet is a mark and an event; a short one of mark 0xfe is the end */
    if (bytes == packet_error || bytes < 1 || conn->net.read_pos[0] != 0)
        return lost(source, error);
    feed->heard_ms = clock_ms();
    const int status = binlog_event(&feed->log, conn->net.read_pos + 1, bytes - 1, sink, point);
    if (status == SP_OK)
        return SP_OK;
    source->broken = true;
    if (feed->log.completed)
        waker_poll(source->wake, -1, 0, XA_COMMIT_MS);
    if (status == SP_ESOURCE && feed->log.why[0])
        return source_fail(error, SP_ESOURCE, false, "source %s: the binary log has %s",
                           source->options->name, feed->log.why);
    return source_fail(error, status, true, "source %s: the receiver of its changes stopped: %s",
                       source->options->name, sp_status_text(status));
}

/* --- places in the log ---------------------------------------------------------------------- */

/* The one value that a statement returns; "" for none. */
static int ask_value(struct source *source, const char *sql, unsigned column, char *out, size_t cap,
                     struct source_error *error)
{
    MYSQL_RES *result = NULL;
    const int status = maria_query(source, NULL, sql, &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    source_copy(out, cap, row && row[column] ? row[column] : "");
    mysql_free_result(result);
    return status;
}

/* The transactions that the log has before a place. SP_ENOTFOUND: it has no such place. */
static int ask_state_at(struct source *source, const char *file, uint64_t offset,
                        struct gtid_state *state, struct source_error *error)
{
    struct sql_text sql = {0};
    char position[FEED_POSITION_BYTES], number[32];
    snprintf(number, sizeof(number), ", %" PRIu64 "), '?')", offset);
    sql_put(&sql, "SELECT IFNULL(BINLOG_GTID_POS(");
    maria_put_string(source, &sql, file, strlen(file));
    sql_put(&sql, number);
    const int status = sql_failed(&sql)
                           ? source_no_memory(error)
                           : ask_value(source, sql.text, 0, position, sizeof(position), error);
    sql_free(&sql);
    if (status != SP_OK || gtid_parse(position, state))
        return status;
    if (strcmp(position, "?") != 0)
        return source_fail(error, SP_ESOURCE, false,
                           "source %s: the binary log has more replication domains than can be "
                           "followed",
                           source->options->name);
    return source_fail(error, SP_ENOTFOUND, true,
                       "source %s: the binary log has no such place as %.100s:%" PRIu64,
                       source->options->name, file, offset);
}

/* Whether the log has at the position's place what it had when we were there. */
static int check_history(struct source *source, const char *position, struct gtid_state *from,
                         struct source_error *error)
{
    struct gtid_state there;
    if (!gtid_parse(position, from) || !from->file[0])
        return source_fail(error, SP_ENOTFOUND, true, "source %s: not a position: %.100s",
                           source->options->name, position);
    const int status = ask_state_at(source, from->file, from->offset, &there, error);
    return status != SP_OK || gtid_same(from, &there)
               ? status
               : source_fail(error, SP_ENOTFOUND, true,
                             "source %s: the binary log was begun anew: it has other transactions "
                             "than before",
                             source->options->name);
}

/* --- starting ------------------------------------------------------------------------------- */

/* A duplicate, which stays the same connection until the source is closed: cancel() may use it at
 * any time. */
static int keep_descriptor(struct source *source, struct source_error *error)
{
    const int fd = fcntl(mysql_get_socket(source->feed->follower.conn), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return source_fail(error, SP_ESYS, true, "source %s: dup: %s", source->options->name,
                           strerror(errno));
    const int old = atomic_exchange_explicit(&source->feed_fd, fd, memory_order_acq_rel);
    if (old >= 0)
        close(old);
    return SP_OK;
}

static int set_up_follower(struct source *source, struct source_error *error)
{
    struct source *follower = &source->feed->follower;
    struct sql_text sql = {0};
    const unsigned int silence_s = SILENCE_MS / 1000;
    char state[FEED_POSITION_BYTES];
    gtid_print_ids(&source->feed->log.state, state);
    sql_put(&sql, "SET @mariadb_slave_capability = 4, @master_binlog_checksum = 'NONE',"
                  " @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0,"
                  " max_statement_time = 0, net_write_timeout = " BEHIND_S ","
                  " @master_heartbeat_period = " HEARTBEAT_NS ", @slave_connect_state = ");
    maria_put_string(follower, &sql, state, strlen(state));
    const int status = sql_failed(&sql) ? source_no_memory(error)
                                        : maria_query(follower, NULL, sql.text, NULL, error);
    sql_free(&sql);
    mysql_optionsv(follower->conn, MYSQL_OPT_READ_TIMEOUT, &silence_s);
    if (follower->conn->net.pvio)
        follower->conn->net.pvio->timeout[PVIO_READ_TIMEOUT] = SILENCE_MS;
    return status;
}

static int ask_for_log(struct source *source, struct source_error *error)
{
    MYSQL *conn = source->feed->follower.conn;
    uint32_t id = 0;
    MARIADB_RPL *log = mariadb_rpl_init(conn);
    if (!log || getrandom(&id, sizeof(id), 0) != sizeof(id)) {
        mariadb_rpl_close(log);
        return source_no_memory(error);
    }
    id |= UINT32_C(1) << 31; /* far from those that people give */
    mariadb_rpl_optionsv(log, MARIADB_RPL_SERVER_ID, (unsigned int)id);
    mariadb_rpl_optionsv(log, MARIADB_RPL_START, (unsigned long)LOG_START);
    mariadb_rpl_optionsv(log, MARIADB_RPL_FLAGS, (unsigned int)0);
    const int failed = mariadb_rpl_open(log);
    mariadb_rpl_close(log);
    return failed ? lost(source, error) : SP_OK;
}

/* A question on the other connection. */
static int ask_alive(struct source *source, uint32_t limit_ms, struct source_error *error)
{
    source->deadline_ms = clock_ms() + limit_ms;
    const int status = maria_query(source, NULL, "DO 1", NULL, error);
    return status == SP_ESOURCE
               ? source_fail(error, SP_ESOURCE, true,
                             "source %s: the server has not sent its binary log within "
                             "connect_timeout, nor answered",
                             source->options->name)
               : status;
}

/* The server says nothing before it has found the position, which takes as long as reading a log
 * file does. So it is waited for as long as it answers otherwise. */
static int await_ready(struct source *source, struct source_error *error)
{
    const struct source_feed_sink sink = {0}; /* nothing can come before the log's format */
    const uint32_t asked_ms = source->options->connect_timeout_ms;
    const uint32_t limit_ms = asked_ms ? asked_ms : SILENCE_MS;
    const uint64_t begun = clock_ms();
    uint64_t deadline = begun + limit_ms;
    enum binlog_point point = BINLOG_INSIDE;
    int status = SP_OK;
    while (status == SP_OK && point != BINLOG_READY) {
        const bool arrived = wait_event(source, waker_left_ms(deadline));
        if (waker_take(source->wake))
            return source_fail(error, SP_ECANCELED, true, "canceled");
        if (arrived) {
            status = read_event(source, &sink, &point, error);
        } else if (clock_ms() - begun > SKIP_MS) {
            return source_fail(error, SP_ESOURCE, true,
                               "source %s: the server does not find the position in its binary log",
                               source->options->name);
        } else if (waker_left_ms(deadline) == 0) {
            status = ask_alive(source, limit_ms, error);
            deadline = clock_ms() + limit_ms;
        }
    }
    return status;
}

static int feed_start(struct source *source, const char *position, struct source_error *error)
{
    struct maria_feed *feed = maria_feed_of(source);
    struct gtid_state from;
    int status = maria_call_begin(source, error);
    if (!feed)
        return source_no_memory(error);
    if (status == SP_OK)
        status = check_history(source, position, &from, error);
    if (status != SP_OK)
        return status;
    stop_log(source);
    feed->follower = (struct source){.options = source->options, .wake = source->wake};
    atomic_init(&feed->follower.feed_fd, -1);
    feed->log_open = true;
    if (binlog_open(&feed->log, feed->tables, feed->table_count, &from) != SP_OK)
        status = source_no_memory(error);
    if (status == SP_OK)
        status = maria_connect(&feed->follower, error);
    if (status == SP_OK)
        status = keep_descriptor(source, error);
    if (status == SP_OK)
        status = set_up_follower(source, error);
    if (status == SP_OK)
        status = ask_for_log(source, error);
    if (status == SP_OK)
        status = await_ready(source, error);
    feed->running = feed->moved = status == SP_OK; /* moved: next() tells the position soon */
    source->broken = source->broken || status != SP_OK;
    return status;
}

/* --- delivering ----------------------------------------------------------------------------- */

static bool tell(struct source *source, const struct source_feed_sink *sink, enum feed_mark mark,
                 int64_t at_us)
{
    char position[FEED_POSITION_BYTES];
    source->feed->moved = false;
    gtid_print(&source->feed->log.state, position);
    return sink->reached(sink->context, mark, position, at_us);
}

/* At the snapshot's place: nothing more until it has been read. */
static bool at_target(struct source *source, const struct source_feed_sink *sink)
{
    struct maria_feed *feed = source->feed;
    if (!feed->has_target || feed->holds || feed->log.in_group ||
        !gtid_covers(&feed->log.state, &feed->target))
        return false;
    feed->holds = true;
    tell(source, sink, FEED_SNAPSHOT, feed->log.commit_us);
    return true;
}

/* Whether next() is to return. */
static bool on_point(struct source *source, const struct source_feed_sink *sink,
                     enum binlog_point point)
{
    struct maria_feed *feed = source->feed;
    bool go_on = true;
    if (point == BINLOG_HEARTBEAT)
        go_on =
            tell(source, sink, FEED_IDLE,
                 wait_event(source, 0) ? feed->log.commit_us : clock_wall_us() + feed->clock_us);
    if (point != BINLOG_GROUP)
        return !go_on;
    feed->moved = true;
    if (feed->log.changes > 0)
        go_on = tell(source, sink, FEED_TRANSACTION, feed->log.commit_us);
    return at_target(source, sink) || !go_on;
}

static int deliver(struct source *source, uint32_t timeout_ms, const struct source_feed_sink *sink,
                   struct source_error *error)
{
    const uint64_t begun = clock_ms();
    int wait_ms = timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
    while (wait_event(source, wait_ms)) {
        enum binlog_point point = BINLOG_INSIDE;
        if (waker_asked(source->wake))
            break;
        const int status = read_event(source, sink, &point, error);
        if (status != SP_OK)
            return status;
        if (on_point(source, sink, point))
            return SP_OK;
        if (clock_ms() - begun > timeout_ms + SLICE_MS)
            break;
        wait_ms = 0;
    }
    return SP_OK;
}

static int feed_next(struct source *source, uint32_t timeout_ms,
                     const struct source_feed_sink *sink, struct source_error *error)
{
    struct maria_feed *feed = source->feed;
    int status = maria_call_begin(source, error);
    if (status == SP_OK && (!feed || !feed->running))
        status = source_fail(error, SP_EINVAL, false, "source %s: the feed has not been started",
                             source->options->name);
    if (status != SP_OK || feed->holds || at_target(source, sink))
        return status;
    status = deliver(source, timeout_ms, sink, error);
    if (status != SP_OK)
        return status;
    if (waker_take(source->wake)) {
        source->broken = true;
        return source_fail(error, SP_ECANCELED, true, "canceled");
    }
    if (clock_ms() - feed->heard_ms > SILENCE_MS) {
        source->broken = true;
        return source_fail(error, SP_ESOURCE, true, "source %s: the server is silent",
                           source->options->name);
    }
    if (feed->moved && !feed->log.in_group)
        tell(source, sink, FEED_IDLE, feed->log.commit_us);
    return SP_OK;
}

/* --- snapshots ------------------------------------------------------------------------------ */

/* The position of the transaction that has just been started. */
static int ask_position(struct source *source, struct gtid_state *state, struct source_error *error)
{
    char file[GTID_FILE_BYTES], offset[32];
    int status =
        ask_value(source, "SHOW STATUS LIKE 'binlog_snapshot_file'", 1, file, sizeof(file), error);
    if (status == SP_OK)
        status = ask_value(source, "SHOW STATUS LIKE 'binlog_snapshot_position'", 1, offset,
                           sizeof(offset), error);
    if (status != SP_OK)
        return status;
    const uint64_t at = strtoull(offset, NULL, 10);
    status = ask_state_at(source, file, at, state, error);
    source_copy(state->file, sizeof(state->file), file);
    state->offset = at;
    return status == SP_ENOTFOUND
               ? source_fail(error, SP_ESOURCE, true,
                             "source %s: the server does not tell the snapshot's place in its "
                             "binary log",
                             source->options->name)
               : status;
}

static int try_snapshot(struct source *source, char *position, struct gtid_state *state,
                        struct source_error *error)
{
    int status = maria_query(source, NULL, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
                             NULL, error);
    if (status == SP_OK)
        status = ask_position(source, state, error);
    if (status == SP_OK)
        gtid_print(state, position);
    return status;
}

static int feed_snapshot(struct source *source, char *position, struct source_error *error)
{
    struct maria_feed *feed = maria_feed_of(source);
    struct gtid_state state;
    int status = maria_call_begin(source, error);
    if (!feed)
        return source_no_memory(error);
    if (status == SP_OK)
        status = maria_query(source, NULL,
                             "SET SESSION idle_transaction_timeout = " BEHIND_S
                             ", idle_readonly_transaction_timeout = 0",
                             NULL, error);
    for (unsigned i = 0; status == SP_OK && i < SNAPSHOT_TRIES; i++) {
        status = try_snapshot(source, position, &state, error);
        if (status != SP_OK)
            return status;
        if (!feed->running || gtid_covers(&state, &feed->log.state)) {
            status = maria_feed_check_columns(source, error);
            if (status != SP_OK)
                return status;
            feed->target = state;
            feed->has_target = feed->running;
            feed->holds = false;
            return SP_OK;
        }
        status = maria_query(source, NULL, "ROLLBACK", NULL, error);
        waker_poll(source->wake, -1, 0, SNAPSHOT_MS);
    }
    return status != SP_OK ? status
                           : source_fail(error, SP_ESOURCE, true,
                                         "source %s: the snapshots are behind the binary log",
                                         source->options->name);
}

/* --- the rest ------------------------------------------------------------------------------- */

static int feed_confirm(struct source *source, const char *position, struct source_error *error)
{
    (void)source;
    (void)position;
    (void)error;
    return SP_OK; /* the server keeps its log for a time of its own, for nobody in particular */
}

static int feed_lag(struct source *source, uint64_t *bytes, struct source_error *error)
{
    const struct maria_feed *feed = source->feed;
    MYSQL_RES *result = NULL;
    bool here = false;
    *bytes = UINT64_MAX;
    int status = maria_call_begin(source, error);
    if (status != SP_OK || !feed || !feed->running)
        return status;
    status = maria_query(source, NULL, "SHOW BINARY LOGS", &result, error);
    uint64_t ahead = 0;
    for (MYSQL_ROW row; status == SP_OK && (row = mysql_fetch_row(result));) {
        const uint64_t size = row[1] ? strtoull(row[1], NULL, 10) : 0;
        if (row[0] && strcmp(row[0], feed->log.file) == 0) {
            here = true;
            ahead = size > feed->log.file_offset ? size - feed->log.file_offset : 0;
        } else if (here) {
            ahead += size;
        }
    }
    if (here)
        *bytes = ahead;
    mysql_free_result(result);
    return status;
}

static int feed_drop(struct source *source, const struct source_feed_options *options,
                     struct source_error *error)
{
    (void)source;
    (void)options;
    (void)error;
    return SP_OK; /* nothing is kept */
}

const struct source_feed_class maria_feed_class = {
    .features = FEED_EXACT_SNAPSHOT,
    .check = maria_feed_check,
    .snapshot = feed_snapshot,
    .start = feed_start,
    .next = feed_next,
    .confirm = feed_confirm,
    .lag = feed_lag,
    .drop = feed_drop,
};
