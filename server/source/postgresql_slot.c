/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_slot.c - what PostgreSQL keeps for a follower, and the snapshot that fits to it.
 *
 * A logical replication slot keeps the log from the oldest position that may still be asked for.
 * Making one says a point in the log and exports a snapshot of exactly what was committed before
 * it: a transaction is in the snapshot if its commit record begins before the point, and in the
 * stream if not. Records do not overlap, so that is also: if its record ends at or before it.
 *
 *   the first time          the slot itself is made anew, and its snapshot read
 *   a temporary follower    the same; its slot has a random name, and is gone with the connection
 * of the stream while the feed runs     a temporary slot is made on a connection of its own, for
 * its point and snapshot only, and is gone with that connection
 *
 * A slot is one that the server also keeps on its standbys, if they ask for it (PostgreSQL 17), so
 * that after a failover the feed goes on.
 *
 * A server that is asked to begin before what the slot has confirmed begins later without a word;
 * so that is compared first.
 *
 * Costs: making a slot waits for the end of all transactions that write at that moment, in all
 * databases of the server. The first time that may take as long as statement_timeout says; while
 * the feed runs nothing is delivered meanwhile, so it is given up soon, and the feed goes on.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "alloc/clock.h"
#include "server/source/postgresql_feed.h"

#define VERSION_FAILOVER 170000 /* slots can be kept on standbys too */

#define SNAPSHOT_MS 5000 /* so long a snapshot is waited for while the feed runs */
#define GIVE_UP_MS  1000 /* for the last word to the server */

#define SLOT_SQL                                                                                   \
    "SELECT s.plugin, s.database, s.active_pid, s.wal_status, s.confirmed_flush_lsn,"              \
    " pg_catalog.pg_current_wal_flush_lsn(),"                                                      \
    " s.database = pg_catalog.current_database() AND s.plugin = 'pgoutput',"                       \
    " coalesce(pg_catalog.to_jsonb(s) ->> 'invalidation_reason', '')"                              \
    " FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1"

#define LAG_SQL                                                                                    \
    "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint"    \
    " FROM pg_catalog.pg_replication_slots s"                                                      \
    " WHERE s.slot_name = $1 AND s.wal_status IS DISTINCT FROM 'lost'"

struct slot {
    bool exists, ours, lost;
    bool idle; /* that is why it is lost */
    char plugin[64], database[64], active_pid[16];
    uint64_t confirmed_lsn;
    uint64_t server_lsn; /* how far the server itself is */
};

/* --- the slot ------------------------------------------------------------------------------- */

void pg_slot_name(const char *follower, char out[PG_SLOT_BYTES])
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = (uint32_t)clock_us();
    snprintf(out, PG_SLOT_BYTES, "%.50s_%08" PRIx32, follower, random);
}

static void read_slot(const PGresult *result, struct slot *out)
{
    out->exists = true;
    source_copy(out->plugin, sizeof(out->plugin), PQgetvalue(result, 0, 0));
    source_copy(out->database, sizeof(out->database), PQgetvalue(result, 0, 1));
    source_copy(out->active_pid, sizeof(out->active_pid), PQgetvalue(result, 0, 2));
    out->lost = strcmp(PQgetvalue(result, 0, 3), "lost") == 0 ||
                !pg_lsn_read(PQgetvalue(result, 0, 4), &out->confirmed_lsn) ||
                !pg_lsn_read(PQgetvalue(result, 0, 5), &out->server_lsn);
    out->ours = PQgetvalue(result, 0, 6)[0] == 't';
    out->idle = strcmp(PQgetvalue(result, 0, 7), "idle_timeout") == 0;
}

static int look_at(struct source *source, const char *name, struct slot *out,
                   struct source_error *error)
{
    const char *params[] = {name};
    PGresult *result = NULL;
    int status = pg_query(source, NULL, SLOT_SQL, params, 1, &result, error);
    *out = (struct slot){0};
    if (status == SP_OK && PQntuples(result) > 0)
        status = pg_demand(source, result, 1, 8, error);
    if (status == SP_OK && PQntuples(result) > 0)
        read_slot(result, out);
    PQclear(result);
    return status;
}

/* Waits for a moment until nobody has the slot: who has just died is still there. */
static int look_until_free(struct source *source, const char *name, struct slot *out,
                           struct source_error *error)
{
    const uint64_t deadline = clock_ms() + PG_BUSY_MS;
    for (;;) {
        const int status = look_at(source, name, out, error);
        if (status != SP_OK || !out->active_pid[0] || waker_left_ms(deadline) == 0)
            return status;
        waker_poll(&source->waker, -1, 0, PG_LOOK_MS);
        if (waker_take(&source->waker))
            return source_fail(error, SP_ECANCELED, true, "canceled");
    }
}

static int slot_of_another(struct source *source, const struct slot *slot,
                           struct source_error *error)
{
    return source_fail(error, SP_ECONFIG, false,
                       "source %s: there is a replication slot %s of another kind (plugin %s,"
                       " database %s): SELECT pg_drop_replication_slot('%s')",
                       source->options->name, source->feed->slot, slot->plugin, slot->database,
                       source->feed->slot);
}

static int look_at_ours(struct source *source, struct slot *out, struct source_error *error)
{
    const int status = look_until_free(source, source->feed->slot, out, error);
    if (status != SP_OK || !out->exists)
        return status;
    if (!out->ours)
        return slot_of_another(source, out, error);
    return out->active_pid[0] ? pg_claim_refused(source, source->feed->slot, out->active_pid, error)
                              : SP_OK;
}

int pg_slot_free(struct source *source, struct source_error *error)
{
    struct slot slot;
    if (source->feed->temporary)
        return SP_OK;
    const int status = pg_claim_look(source, source->feed->name, error);
    return status == SP_OK ? look_at_ours(source, &slot, error) : status;
}

int pg_slot_check(struct source *source, uint64_t lsn, struct source_error *error)
{
    struct slot slot;
    const char *name = source->options->name, *why = NULL;
    if (source->feed->temporary)
        return source->feed->made
                   ? SP_OK
                   : source_fail(error, SP_ENOTFOUND, true,
                                 "source %s: the follower is temporary: what came while it was not"
                                 " connected is not kept",
                                 name);
    int status = pg_claim_take(source, error);
    if (status == SP_OK)
        status = look_at_ours(source, &slot, error);
    if (status != SP_OK)
        return status;
    if (!slot.exists)
        why = "is gone";
    else if (slot.lost)
        why = slot.idle ? "was given up by the server (idle_replication_slot_timeout)"
                        : "was given up by the server (max_slot_wal_keep_size)";
    else if (slot.confirmed_lsn > lsn)
        why = "does not go back to the position that is asked for";
    else if (lsn > slot.server_lsn)
        why = "is of a server that was set back to before the position";
    return why ? source_fail(error, SP_ENOTFOUND, true, "source %s: the replication slot %s %s",
                             name, source->feed->slot, why)
               : SP_OK;
}

static int drop_slot(struct source *source, const char *name, struct source_error *error)
{
    const char *params[] = {name};
    return pg_query(source, NULL, "SELECT pg_catalog.pg_drop_replication_slot($1)", params, 1, NULL,
                    error);
}

int pg_feed_drop(struct source *source, const struct source_feed_options *options,
                 struct source_error *error)
{
    struct slot slot;
    int status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = pg_claim_look(source, options->name, error);
    if (status == SP_OK)
        status = look_until_free(source, options->name, &slot, error);
    if (status != SP_OK || !slot.exists || !slot.ours)
        return status;
    if (slot.active_pid[0])
        return pg_claim_refused(source, options->name, slot.active_pid, error);
    return drop_slot(source, options->name, error);
}

int pg_feed_lag(struct source *source, uint64_t *bytes, struct source_error *error)
{
    const char *params[] = {source->feed ? source->feed->slot : ""};
    PGresult *result = NULL;
    int status = pg_call_begin(source, error);
    *bytes = UINT64_MAX;
    if (status == SP_OK)
        status = pg_query(source, NULL, LAG_SQL, params, 1, &result, error);
    if (status == SP_OK && PQntuples(result) > 0)
        status = pg_demand(source, result, 1, 1, error);
    if (status == SP_OK && PQntuples(result) > 0 && !PQgetisnull(result, 0, 0)) {
        const long long lag = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        *bytes = lag > 0 ? (uint64_t)lag : 0;
    }
    PQclear(result);
    return status;
}

/* --- the snapshot --------------------------------------------------------------------------- */

int pg_stream_open(struct source *source, struct source_error *error)
{
    if (source->feed->stream)
        return SP_OK;
    const int status = pg_connect_replication(source, &source->feed->stream, error);
    return status == SP_OK ? pg_call_begin(source, error) : status;
}

/* A process that waits for others' transactions does not notice that we are gone, and keeps the
 * slot as long: it is told. */
static void give_up_slot(struct source *source, PGconn *over)
{
    char pid[16];
    const char *params[] = {pid};
    struct source_error ignored;
    snprintf(pid, sizeof(pid), "%d", PQbackendPID(over));
    source->broken = false; /* which the other connection is */
    source->deadline_ms = clock_ms() + GIVE_UP_MS;
    pg_query(source, NULL, "SELECT pg_catalog.pg_cancel_backend($1)", params, 1, NULL, &ignored);
}

/* Makes a slot on the connection `over`; its point goes into the feed, its snapshot's name out. */
static int make_slot(struct source *source, PGconn *over, const char *name, bool temporary,
                     char *snapshot, size_t cap, struct source_error *error)
{
    char command[256];
    PGresult *result = NULL;
    const bool failover = !temporary && PQserverVersion(over) >= VERSION_FAILOVER;
    snprintf(command, sizeof(command), "CREATE_REPLICATION_SLOT \"%s\" %sLOGICAL pgoutput %s", name,
             temporary ? "TEMPORARY " : "",
             failover ? "(SNAPSHOT 'export', FAILOVER)" : "EXPORT_SNAPSHOT");
    PGconn *before = pg_use(source, over);
    int status = pg_query(source, NULL, command, NULL, 0, &result, error);
    pg_use(source, before);
    if (status != SP_OK)
        give_up_slot(source, over);
    if (status == SP_OK)
        status = pg_demand(source, result, 1, 4, error);
    if (status == SP_OK && !pg_lsn_read(PQgetvalue(result, 0, 1), &source->feed->snapshot_lsn))
        status = source_fail(error, SP_ESOURCE, false, PG_FORMAT_ERROR);
    if (status == SP_OK)
        source_copy(snapshot, cap, PQgetvalue(result, 0, 2));
    PQclear(result);
    return status;
}

/* Begins a transaction that sees what the exported snapshot does. */
static int import_snapshot(struct source *source, const char *snapshot, struct source_error *error)
{
    char set[128];
    int status = pg_query(source, NULL, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, 0,
                          NULL, error);
    if (status != SP_OK)
        return status;
    if (strspn(snapshot, "0123456789ABCDEFabcdef-") != strlen(snapshot))
        return source_fail(error, SP_ESOURCE, false, PG_FORMAT_ERROR);
    snprintf(set, sizeof(set), "SET TRANSACTION SNAPSHOT '%s'", snapshot);
    return pg_query(source, NULL, set, NULL, 0, NULL, error);
}

/* What there is of before, also of a follower that was not temporary then. */
static int drop_former(struct source *source, struct source_error *error)
{
    struct slot slot;
    struct pg_feed *feed = source->feed;
    int status = feed->temporary ? look_at(source, feed->name, &slot, error)
                                 : look_at_ours(source, &slot, error);
    if (status != SP_OK || !slot.exists || !slot.ours || slot.active_pid[0])
        return status;
    return drop_slot(source, feed->name, error);
}

static int first_snapshot(struct source *source, struct source_error *error)
{
    char snapshot[64];
    struct pg_feed *feed = source->feed;
    int status = pg_stream_open(source, error);
    if (status == SP_OK)
        status = pg_claim_take(source, error);
    if (status == SP_OK)
        status = drop_former(source, error);
    if (status == SP_OK)
        status = make_slot(source, feed->stream, feed->slot, feed->temporary, snapshot,
                           sizeof(snapshot), error);
    feed->made = status == SP_OK;
    return status == SP_OK ? import_snapshot(source, snapshot, error) : status;
}

/* Waits for a moment only. */
static int make_slot_soon(struct source *source, PGconn *over, char *snapshot, size_t cap,
                          struct source_error *error)
{
    char name[PG_SLOT_BYTES];
    const uint64_t deadline = clock_ms() + SNAPSHOT_MS;
    pg_slot_name(source->feed->name, name);
    if (source->deadline_ms == 0 || source->deadline_ms > deadline)
        source->deadline_ms = deadline;
    const int status = make_slot(source, over, name, true, snapshot, cap, error);
    return status == SP_ESOURCE && waker_left_ms(deadline) == 0
               ? source_fail(error, SP_ESOURCE, true,
                             "source %s: no snapshot to compare with now: it waits for"
                             " transactions that write and do not end",
                             source->options->name)
               : status;
}

static int later_snapshot(struct source *source, struct source_error *error)
{
    char snapshot[64];
    PGconn *conn = NULL;
    int status = pg_connect_replication(source, &conn, error);
    if (status == SP_OK)
        status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = make_slot_soon(source, conn, snapshot, sizeof(snapshot), error);
    if (status == SP_OK)
        status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = import_snapshot(source, snapshot, error);
    PQfinish(conn);
    return status;
}

int pg_feed_snapshot(struct source *source, char *position, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    int status = pg_call_begin(source, error);
    if (status != SP_OK)
        return status;
    if (!feed || !feed->changes.tables || feed->open)
        return source_fail(error, SP_EINVAL, false, "a snapshot of nothing, or within another");
    status = feed->streaming ? later_snapshot(source, error) : first_snapshot(source, error);
    if (status != SP_OK) {
        if (!feed->streaming || PQtransactionStatus(source->conn) != PQTRANS_IDLE)
            source->broken = true; /* the connection of the slot, or this one, cannot be used */
        return status;
    }
    feed->open = true;
    feed->waiting = feed->streaming;
    feed->asked.lsn = 0;
    pg_position_text(feed->snapshot_lsn, feed->timeline, position);
    return SP_OK;
}
