/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_claim.c - a follower's name is one daemon's at a time.
 *
 * Two daemons that bear the same name (the same host name, pond and directory, as on machines made
 * of one image) would take the slot from each other for ever: while one reads its rows for the
 * first time nobody uses the slot, and the other makes it anew. So whoever follows holds an
 * advisory lock of the server, from before its snapshot until its connection ends. Its number is a
 * digest of the name.
 *
 * A daemon that has died may seem to hold it for a moment; if its host died, as long as the server
 * takes a lost connection for alive, which our session's keepalives make a minute.
 *
 * Costs: one more statement when a feed begins. Limits: a lock is known in its database only, but
 * so is a slot; of a session of another role the server does not tell from where it comes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/fnv.h"
#include "server/source/postgresql_feed.h"

#define CLAIM_SQL   "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)"
#define RELEASE_SQL "SELECT pg_catalog.pg_advisory_unlock($1::bigint)"

#define HOLDER_SQL                                                                                 \
    "SELECT l.pid FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.granted"          \
    " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d"                                \
    " WHERE d.datname = pg_catalog.current_database())"                                            \
    " AND l.classid::bigint = ($1::bigint >> 32) & 4294967295"                                     \
    " AND l.objid::bigint = $1::bigint & 4294967295 AND l.objsubid = 1"

#define PROCESS_SQL                                                                                \
    "SELECT coalesce(pg_catalog.host(a.client_addr), ''), coalesce(a.application_name, '')"        \
    " FROM pg_catalog.pg_stat_activity a WHERE a.pid = $1::int"

#define NUMBER_BYTES 24

static void lock_number(const char *name, char out[NUMBER_BYTES])
{
    const uint64_t print = fnv_text(fnv_text(FNV_START, "sidepond follower"), name);
    snprintf(out, NUMBER_BYTES, "%" PRId64, (int64_t)print);
}

/* A statement of one parameter, and the first value that it returns ("": none). */
static int ask_value(struct source *source, const char *sql, const char *param, char *out,
                     size_t cap, struct source_error *error)
{
    const char *params[] = {param};
    PGresult *result = NULL;
    const int status = pg_query(source, NULL, sql, params, 1, &result, error);
    source_copy(out, cap, status == SP_OK && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return status;
}

int pg_claim_refused(struct source *source, const char *name, const char *pid,
                     struct source_error *error)
{
    char who[160] = "";
    const char *params[] = {pid[0] ? pid : "0"};
    PGresult *result = NULL;
    struct source_error ignored;
    if (pg_query(source, NULL, PROCESS_SQL, params, 1, &result, &ignored) == SP_OK &&
        PQntuples(result) > 0) {
        const char *from = PQgetvalue(result, 0, 0), *application = PQgetvalue(result, 0, 1);
        snprintf(who, sizeof(who), " (%.60s%s%s)", application[0] ? application : "no name",
                 from[0] ? " from " : "", from);
    }
    PQclear(result);
    return source_fail(error, SP_EBUSY, true,
                       "source %s: another one follows by the name %s: process %s of the"
                       " server%s. Two daemons need two names: give one of them another host name,"
                       " pond or directory",
                       source->options->name, name, pid[0] ? pid : "unknown", who);
}

/* Tries until PG_BUSY_MS have passed: who has just died is still there. */
static int try_lock(struct source *source, const char *name, struct source_error *error)
{
    char number[NUMBER_BYTES], got[8], pid[16];
    const uint64_t deadline = clock_ms() + PG_BUSY_MS;
    lock_number(name, number);
    for (;;) {
        int status = ask_value(source, CLAIM_SQL, number, got, sizeof(got), error);
        if (status != SP_OK || got[0] == 't')
            return status;
        if (waker_left_ms(deadline) == 0) {
            status = ask_value(source, HOLDER_SQL, number, pid, sizeof(pid), error);
            return status == SP_OK ? pg_claim_refused(source, name, pid, error) : status;
        }
        waker_poll(&source->waker, -1, 0, PG_LOOK_MS);
        if (waker_take(&source->waker))
            return source_fail(error, SP_ECANCELED, true, "canceled");
    }
}

int pg_claim_look(struct source *source, const char *name, struct source_error *error)
{
    char number[NUMBER_BYTES], released[8];
    const struct pg_feed *feed = source->feed;
    if (feed && feed->claimed && strcmp(feed->name, name) == 0)
        return SP_OK;
    const int status = try_lock(source, name, error);
    lock_number(name, number);
    return status == SP_OK
               ? ask_value(source, RELEASE_SQL, number, released, sizeof(released), error)
               : status;
}

int pg_claim_take(struct source *source, struct source_error *error)
{
    struct pg_feed *feed = source->feed;
    if (feed->temporary || feed->claimed)
        return SP_OK;
    const int status = try_lock(source, feed->name, error);
    feed->claimed = status == SP_OK;
    return status;
}
