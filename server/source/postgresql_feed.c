/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_feed.c - PostgreSQL's committed transactions, by logical replication.
 *
 * A second connection speaks the replication protocol: the server decodes its log, and sends with
 * the plugin pgoutput each transaction as a whole, in the order of the commits. A position is the
 * end of a commit's record in the log, and the log's timeline ("16/B374D848@1"): the server skips
 * what was committed before. On another timeline, as after a failover, it is the same position if
 * that one branched off behind it.
 *
 *   begin, rows, rows, commit      delivered as they come; at the commit the position moves on
 *   keepalive                      all that was committed up to here has been sent
 *
 * What the server hears of us: every three seconds that we are there (it gives up after 60), soon
 * after confirm() what is safe, and at once where it asks. All of it also while something else
 * takes long, as pg_feed_upkeep is called wherever this source waits.
 *
 * How far the database is, a keepalive does not say, only how far the server has read. So the
 * database is asked every second, over the other connection: once the stream has passed what
 * it said, nothing more was there at that time. While the stream does not move, it is asked again,
 * as what it said may be in the middle of a record that nobody ends. The same question looks at a
 * table's definition (postgresql_follow.c); what has changed there is told at the same place, as
 * the stream may say of it first.
 *
 * Costs: a process of the server that decodes its whole log once for each feed, and one cheap query
 * every second. Memory: libpq's buffer, and the largest row. The protocol is spoken in its
 * first version: the server keeps a large transaction, on its disk if need be, until it is
 * committed.
 */
#include <endian.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/source/postgresql_feed.h"

#define ROUND_BYTES      ((size_t)1 << 20) /* delivered by one next() at most */
#define STATUS_BYTES     34
#define ASK_BACK_MS      200 /* how often the server is asked how far it has read */
#define ASK_BACK_SOON_MS 10  /* while a snapshot waits for it */

/* --- memory --------------------------------------------------------------------------------- */

int pg_feed_new(struct source *source, const struct source_feed_options *options,
                struct source_error *error)
{
    struct pg_feed *feed = source->feed ? source->feed : calloc(1, sizeof(*feed));
    if (!feed)
        return source_no_memory(error);
    source->feed = feed;
    source_copy(feed->name, sizeof(feed->name), options->name);
    feed->temporary = options->temporary;
    if (feed->temporary)
        pg_slot_name(feed->name, feed->slot);
    else
        source_copy(feed->slot, sizeof(feed->slot), options->name);
    source_copy(feed->publication, sizeof(feed->publication),
                options->publication ? options->publication : "sidepond");
    return SP_OK;
}

void pg_feed_free(struct pg_feed *feed)
{
    if (!feed)
        return;
    PQfinish(feed->stream);
    PQfreemem(feed->held);
    pg_changes_free(&feed->changes);
    free(feed);
}

void pg_feed_resume(struct pg_feed *feed)
{
    if (feed)
        feed->open = feed->waiting = feed->paused = false;
}

/* --- what the server hears of us ------------------------------------------------------------ */

static unsigned char *put_u64(unsigned char *at, uint64_t n)
{
    n = htobe64(n);
    memcpy(at, &n, sizeof(n));
    return at + sizeof(n);
}

/* r | received u64 | flushed u64 | applied u64 | time i64 | answer wanted u8 */
static void send_status(struct pg_feed *feed, uint64_t now_ms)
{
    unsigned char message[STATUS_BYTES] = {'r'}, *at = message + 1;
    at = put_u64(at, feed->received_lsn);
    at = put_u64(at, feed->confirmed_lsn);
    at = put_u64(at, feed->confirmed_lsn);
    at = put_u64(at, (uint64_t)(clock_wall_us() - PG_EPOCH_US));
    *at = feed->waiting || feed->asked.lsn;
    feed->told_ms = now_ms;
    /* what cannot be sent now is said again next time; that the connection is lost, reading says */
    if (PQputCopyData(feed->stream, (char *)message, sizeof(message)) == 1) {
        feed->told_lsn = feed->confirmed_lsn;
        feed->answer = false;
    }
    PQflush(feed->stream);
}

static uint64_t status_interval_ms(const struct pg_feed *feed)
{
    if (feed->answer)
        return 0;
    if (feed->waiting)
        return ASK_BACK_SOON_MS;
    if (feed->confirmed_lsn != feed->told_lsn)
        return PG_CONFIRM_MS;
    return feed->asked.lsn ? ASK_BACK_MS : PG_STATUS_MS;
}

int pg_feed_upkeep(struct pg_feed *feed)
{
    if (!feed || !feed->streaming)
        return -1;
    const uint64_t now = clock_ms();
    if (now >= feed->told_ms + status_interval_ms(feed))
        send_status(feed, now);
    const uint64_t due = feed->told_ms + status_interval_ms(feed);
    return due > now ? (int)(due - now) : 1;
}

static int pg_feed_confirm(struct source *source, const char *position, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    uint64_t lsn;
    uint32_t timeline;
    if (!pg_position_read(position, &lsn, &timeline))
        return source_fail(error, SP_EINVAL, false, "not a position of PostgreSQL's log");
    if (feed && lsn > feed->confirmed_lsn)
        feed->confirmed_lsn = lsn;
    pg_feed_upkeep(feed);
    return SP_OK;
}

/* --- beginning ------------------------------------------------------------------------------ */

static int another_log(struct source *source, uint32_t timeline, struct source_error *error)
{
    return source_fail(error, SP_ENOTFOUND, true,
                       "source %s: the server's log is another one since before the position"
                       " (timeline %" PRIu32 " instead of %" PRIu32 ")",
                       source->options->name, source->feed->timeline, timeline);
}

/* Whether the log has what it had on the timeline of the position. */
static int check_timeline(struct source *source, uint64_t lsn, uint32_t timeline,
                          struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    char command[64];
    PGresult *result = NULL;
    if (timeline == feed->timeline)
        return SP_OK;
    if (timeline > feed->timeline)
        return another_log(source, timeline, error);
    snprintf(command, sizeof(command), "TIMELINE_HISTORY %" PRIu32, feed->timeline);
    PGconn *before = pg_use(source, feed->stream);
    int status = pg_query(source, NULL, command, NULL, 0, &result, error);
    pg_use(source, before);
    if (status == SP_OK)
        status = pg_demand(source, result, 1, 2, error);
    if (status == SP_OK && !pg_history_has(PQgetvalue(result, 0, 1), timeline, lsn))
        status = another_log(source, timeline, error);
    PQclear(result);
    return status;
}

static int start_stream(struct source *source, uint64_t lsn, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    char position[PG_LSN_BYTES];
    pg_lsn_text(lsn, position);
    struct sql_text quoted = {0}, command = {0};
    sql_put_name(&quoted, feed->publication, '"');
    sql_put(&command, "START_REPLICATION SLOT ");
    sql_put_name(&command, feed->slot, '"');
    sql_put(&command, " LOGICAL ");
    sql_put(&command, position);
    sql_put(&command, " (proto_version '1', publication_names ");
    if (!sql_failed(&quoted))
        sql_put_name(&command, quoted.text, '\'');
    sql_put(&command, ")");
    PGconn *before = pg_use(source, feed->stream);
    const int status = sql_failed(&quoted) || sql_failed(&command)
                           ? source_no_memory(error)
                           : pg_query(source, NULL, command.text, NULL, 0, NULL, error);
    pg_use(source, before);
    sql_free(&quoted);
    sql_free(&command);
    return status;
}

static int pg_feed_start(struct source *source, const char *position, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    uint64_t lsn;
    uint32_t timeline;
    int status = pg_call_begin(source, error);
    if (status != SP_OK)
        return status;
    if (!feed || !feed->changes.tables || feed->streaming)
        return source_fail(error, SP_EINVAL, false, "a feed of nothing, or one that runs");
    if (!pg_position_read(position, &lsn, &timeline))
        return source_fail(error, SP_ENOTFOUND, true, "not a position of PostgreSQL's log");
    status = pg_stream_open(source, error);
    if (status == SP_OK)
        status = check_timeline(source, lsn, timeline, error);
    if (status == SP_OK)
        status = pg_slot_check(source, lsn, error);
    if (status == SP_OK)
        status = start_stream(source, lsn, error);
    if (status != SP_OK)
        return status;
    feed->streaming = true;
    feed->received_lsn = feed->confirmed_lsn = lsn;
    feed->told_ms = 0;
    pg_feed_upkeep(feed);
    return SP_OK;
}

/* --- how far the database is ---------------------------------------------------------------- */

static int ask(struct source *source, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    const uint64_t now = clock_ms();
    const bool is_stuck = feed->asked.lsn && feed->asked_at_lsn == feed->received_lsn;
    if (feed->open || (feed->asked.lsn && !is_stuck) || feed->changes.count == 0 ||
        now < feed->asked_ms + PG_ASK_MS)
        return SP_OK;
    feed->asked_ms = now;
    feed->asked_at_lsn = feed->received_lsn;
    int status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = pg_follow_ask(source, (feed->asked.table + !is_stuck) % feed->changes.count,
                               &feed->asked, error);
    if (feed->received_lsn < feed->asked.lsn)
        feed->told_ms = 0; /* asks the server too */
    return status;
}

/* Whether the stream has told of the TRUNCATE that made these files. */
static bool is_truncated(const struct pg_followed *table, const struct pg_asked *asked)
{
    return asked->partitioned ? table->truncated_by && table->truncated_by == asked->written_by
                              : table->truncated_by != 0;
}

/* What was seen of a table's definition, at the place in the stream where it was so. */
static int judge_definition(struct pg_feed *feed, const struct source_feed_sink *sink)
{
    struct pg_followed *table = &feed->changes.tables[feed->asked.table];
    const bool new_files = strcmp(table->asked.files, feed->asked.files) != 0;
    const bool reshaped = strcmp(table->asked.definition, feed->asked.definition) != 0 ||
                          (new_files && !is_truncated(table, &feed->asked));
    if (new_files || feed->asked.truncated)
        table->truncated_by = 0;
    table->asked = feed->asked;
    if (!reshaped || table->reshaped)
        return SP_OK;
    table->reshaped = true;
    return sink->reshaped(sink->context, feed->asked.table, "its definition has changed");
}

/* The stream has come to where the database was when it was asked. */
static int pass_asked(struct pg_feed *feed, const struct source_feed_sink *sink, bool *go_on)
{
    char position[PG_POSITION_BYTES];
    if (!feed->asked.lsn || feed->received_lsn < feed->asked.lsn)
        return SP_OK;
    feed->asked.lsn = 0;
    const int status = judge_definition(feed, sink);
    if (status != SP_OK)
        return status;
    pg_position_text(feed->received_lsn, feed->timeline, position);
    feed->delivered = true;
    *go_on = sink->reached(sink->context, FEED_IDLE, position, feed->asked.time_us);
    return SP_OK;
}

/* --- messages ------------------------------------------------------------------------------- */

static void reach_snapshot(struct pg_feed *feed, const struct source_feed_sink *sink, bool *go_on)
{
    char position[PG_POSITION_BYTES];
    feed->waiting = false;
    feed->paused = feed->delivered = true;
    feed->received_lsn = feed->snapshot_lsn;
    pg_position_text(feed->snapshot_lsn, feed->timeline, position);
    sink->reached(sink->context, FEED_SNAPSHOT, position, 0);
    *go_on = false;
}

static int on_keepalive(struct pg_feed *feed, const struct source_feed_sink *sink, bool *go_on)
{
    const uint64_t lsn = feed->message.lsn;
    feed->answer = feed->answer || feed->message.answer;
    if (feed->inside)
        return SP_OK;
    if (feed->waiting && lsn >= feed->snapshot_lsn) {
        reach_snapshot(feed, sink, go_on);
        return SP_OK;
    }
    if (lsn > feed->received_lsn)
        feed->received_lsn = lsn;
    return pass_asked(feed, sink, go_on);
}

static int on_commit(struct pg_feed *feed, const struct source_feed_sink *sink, bool *go_on)
{
    char position[PG_POSITION_BYTES];
    feed->inside = false;
    feed->received_lsn = feed->message.lsn;
    if (!feed->any)
        return pass_asked(feed, sink, go_on);
    feed->delivered = true;
    pg_position_text(feed->received_lsn, feed->timeline, position);
    *go_on = sink->reached(sink->context, FEED_TRANSACTION, position, feed->message.time_us);
    if (!feed->asked.lsn || feed->received_lsn < feed->asked.lsn)
        return SP_OK;
    feed->asked.lsn = 0; /* no need to say how far it was: the commit was later */
    return judge_definition(feed, sink);
}

/* Takes a message over, or frees it. */
static int on_message(struct source *source, char *message, size_t bytes,
                      const struct source_feed_sink *sink, bool *go_on, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    int status = SP_OK;
    bool is_held = false;
    if (!pg_output_read(message, bytes, &feed->message)) {
        status = source_fail(error, SP_ESOURCE, false, PG_FORMAT_ERROR);
    } else if (feed->message.kind == PG_MESSAGE_KEEPALIVE) {
        status = on_keepalive(feed, sink, go_on);
    } else if (feed->message.kind == PG_MESSAGE_COMMIT) {
        status = on_commit(feed, sink, go_on);
    } else if (feed->message.kind == PG_MESSAGE_BEGIN) {
        is_held = feed->waiting && feed->message.lsn >= feed->snapshot_lsn;
        feed->inside = !is_held;
        feed->any = false;
        feed->changes.xid = feed->message.xid;
    } else if (feed->message.kind != PG_MESSAGE_OTHER) {
        feed->delivered = true;
        status = pg_changes_deliver(&feed->changes, &feed->message, sink, &feed->any, error);
    }
    if (is_held) {
        feed->held = message;
        feed->held_bytes = bytes;
        reach_snapshot(feed, sink, go_on);
    } else {
        PQfreemem(message);
    }
    return status;
}

/* --- reading -------------------------------------------------------------------------------- */

/* Why there is no more of the stream. */
static int stream_ended(struct source *source, bool with_result, struct source_error *error)
{
    PGconn *before = pg_use(source, source->feed->stream);
    int status = with_result ? pg_finish(source, NULL, NULL, error) : SP_OK;
    if (status == SP_OK)
        status = pg_connection_failed(source, "the stream of changes was lost", error);
    source->broken = true;
    pg_use(source, before);
    return status;
}

/* The next message that has arrived; 0: there is none. */
static int take_message(struct source *source, char **message, size_t *bytes,
                        struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    *message = feed->held;
    *bytes = feed->held_bytes;
    feed->held = NULL;
    if (*message)
        return SP_OK;
    int size = PQgetCopyData(feed->stream, message, 1);
    if (size == 0) {
        if (PQconsumeInput(feed->stream) == 0)
            return stream_ended(source, false, error);
        size = PQgetCopyData(feed->stream, message, 1);
    }
    if (size < 0)
        return stream_ended(source, size == -1, error);
    *bytes = (size_t)size;
    return SP_OK;
}

/* Delivers what has arrived. `*go_on`: nothing has. */
static int drain(struct source *source, const struct source_feed_sink *sink, bool *go_on,
                 struct source_error *error)
{
    size_t taken = 0, bytes = 0;
    int status = SP_OK;
    bool more = true;
    source->feed->delivered = false;
    while (status == SP_OK && more && !source->feed->paused && taken < ROUND_BYTES) {
        char *message = NULL;
        status = take_message(source, &message, &bytes, error);
        if (status != SP_OK || !message)
            break;
        status = on_message(source, message, bytes, sink, &more, error);
        taken += bytes;
    }
    *go_on = more && !source->feed->delivered;
    return status;
}

static void wait_for_more(struct source *source, int left_ms)
{
    struct pg_feed *feed = source->feed;
    const int due = pg_feed_upkeep(feed);
    const int unsent = PQflush(feed->stream);
    const short events = (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
    waker_poll(&source->waker, feed->paused ? -1 : PQsocket(feed->stream), events,
               due >= 0 && due < left_ms ? due : left_ms);
}

static int pg_feed_next(struct source *source, uint32_t timeout_ms,
                        const struct source_feed_sink *sink, struct source_error *error)
{
    const uint64_t deadline = clock_ms() + timeout_ms;
    bool go_on = true;
    if (source->broken)
        return pg_call_begin(source, error);
    if (!source->feed || !source->feed->streaming)
        return source_fail(error, SP_EINVAL, false, "the feed does not run");
    for (;;) {
        if (waker_take(&source->waker))
            return source_fail(error, SP_ECANCELED, true, "canceled");
        int status = ask(source, error);
        if (status == SP_OK)
            status = drain(source, sink, &go_on, error);
        const int left = waker_left_ms(deadline);
        if (status != SP_OK || !go_on || left == 0) {
            pg_feed_upkeep(source->feed);
            return status;
        }
        wait_for_more(source, left);
    }
}

const struct source_feed_class pg_feed = {
    .features = FEED_EXACT_SNAPSHOT,
    .check = pg_feed_check,
    .snapshot = pg_feed_snapshot,
    .start = pg_feed_start,
    .next = pg_feed_next,
    .confirm = pg_feed_confirm,
    .lag = pg_feed_lag,
    .drop = pg_feed_drop,
};
