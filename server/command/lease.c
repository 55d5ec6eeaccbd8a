/* SPDX-License-Identifier: Apache-2.0
 *
 * lease.c - SIDEPOND LEASE, FILL and RELEASE: of many clients that miss a key, one computes its
 * value, and the others wait for that or take the value that is about to expire.
 *
 * LEASE reads the key without a lock; if there is no value that lasts long enough, it looks again
 * with the cache's lock, under which nobody writes, and takes the key's lease or waits. Who waits
 * looks again when he is told that something has changed (lease_table.h), and when his time is
 * over; what he looks at decides, so being told too often is no harm.
 *
 * FILL stores a value with the cache's lock, if the token is the key's still: no write or deletion
 * can come between. By that write, as by any other, the lease ends and the waiters are told.
 *
 * This is the idea of leases in "Scaling Memcache at Facebook" (NSDI 2013), with waiters.
 */
#include "server/command/lease.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "server/command/access.h"
#include "server/command/commands.h"
#include "server/command/lease_table.h"
#include "server/command/tracking.h"

#define MS_NS       UINT64_C(1000000)
#define WAIT_MS_MAX 3600000
#define HOLD_MS     10000
#define HOLD_MS_MAX 3600000

/* One LEASE. */
struct lease_call {
    const struct command *command;
    struct lease_key key;
    uint64_t hold_ns, wait_ms;
    int64_t fresh_ms;
    bool waits;
    bool tracked; /* a value that is answered is remembered for CLIENT TRACKING */
};

/* Of a session that has called LEASE. */
struct session_leases {
    struct lease_client *client;
    struct net_timer *timer; /* when the next lease that it holds is over */
    uint64_t timer_ns;       /* 0: it does not run */
    /* What it waits for, while it does; the key's bytes are its own. */
    struct lease_call call;
    bool muted;
    uint64_t token; /* of the lease that it was answered with; 0: something else */
};

/* --- how long a lease is held ----------------------------------------------------------------- */

static void watch_time(struct session_leases *leases, uint64_t until_ns)
{
    uint64_t now_ns = clock_ns();
    leases->timer_ns = until_ns;
    net_timer_start(leases->timer, until_ns > now_ns ? (until_ns - now_ns) / MS_NS + 1 : 0);
}

static void on_hold_over(void *argument)
{
    struct session_leases *leases = argument;
    uint64_t next_ns = lease_table_expire(leases->client);
    leases->timer_ns = 0;
    if (next_ns != 0)
        watch_time(leases, next_ns);
}

static void now_holds(struct session_leases *leases, uint64_t hold_ns)
{
    uint64_t until_ns = clock_ns() + hold_ns;
    if (leases->timer_ns == 0 || until_ns < leases->timer_ns)
        watch_time(leases, until_ns);
}

/* --- a session's part ------------------------------------------------------------------------- */

static void on_wake(void *session);

static struct session_leases *leases_of(struct session *session)
{
    struct session_leases *leases = session->leases;
    if (leases)
        return leases;
    leases = calloc(1, sizeof(*leases));
    if (!leases)
        return NULL;
    leases->client =
        lease_client_new(session->service->leases, session->thread->number, on_wake, session);
    leases->timer = net_timer_new(session->connection, on_hold_over, leases);
    if (leases->client && leases->timer)
        return session->leases = leases;
    if (leases->client)
        lease_client_leave(leases->client);
    net_timer_free(leases->timer);
    free(leases);
    return NULL;
}

static bool is_waiting(const struct session_leases *leases)
{
    return leases->call.key.bytes != NULL;
}

static void forget_call(struct session_leases *leases)
{
    free((void *)(uintptr_t)leases->call.key.bytes);
    leases->call = (struct lease_call){0};
}

void lease_leave(struct session *session)
{
    struct session_leases *leases = session->leases;
    if (!leases)
        return;
    if (is_waiting(leases))
        lease_table_wait_no_more(leases->client, &leases->call.key);
    forget_call(leases);
    lease_client_leave(leases->client);
    net_timer_free(leases->timer);
    free(leases);
    session->leases = NULL;
}

/* --- one look --------------------------------------------------------------------------------- */

/* With the lock, under which the entry was found. */
static void reply_entry(struct session *session, const struct lease_call *call, const char *word,
                        const struct cache_entry *entry)
{
    struct resp_arg key = {call->key.bytes, call->key.size};
    if (call->tracked)
        tracking_read(session, &key);
    reply_array(&session->reply, 2);
    reply_text(&session->reply, word);
    reply_bulk(&session->reply, entry->value, entry->value_bytes);
    session_count_lookup(session, true);
}

static void reply_lease(struct session *session, uint64_t token)
{
    reply_array(&session->reply, 2);
    reply_text(&session->reply, "lease");
    reply_integer(&session->reply, (int64_t)token);
    session_count_lookup(session, false);
}

static bool reply_fresh(struct session *session, const struct resp_arg *key, int64_t until_ms)
{
    size_t mark = reply_mark(&session->reply);
    reply_array(&session->reply, 2);
    reply_text(&session->reply, "value");
    if (reply_lasting(session, key, until_ms))
        return true;
    reply_rewind(&session->reply, mark);
    return false;
}

/* The answer if there is no value that lasts; false: there is none yet, and it waits. */
static bool take_or_wait(struct session *session, const struct lease_call *call,
                         const struct cache_entry *stale)
{
    struct session_leases *leases = session->leases;
    bool waits = call->waits && !stale;
    uint64_t token;
    int status = lease_table_take(leases->client, &call->key, call->hold_ns, waits, &token);
    if (status == SP_ENOSPC) { /* some may be over, and not gone yet */
        lease_table_expire(leases->client);
        status = lease_table_take(leases->client, &call->key, call->hold_ns, waits, &token);
    }
    if (status == SP_OK) {
        leases->token = token;
        now_holds(leases, call->hold_ns);
        reply_lease(session, token);
    } else if (status == SP_ENOSPC) {
        reply_error(&session->reply, "ERR too many leases are held");
    } else if (status != SP_EBUSY) {
        reply_error(&session->reply, "ERR out of memory");
    } else if (stale) {
        reply_entry(session, call, "stale", stale);
    } else if (!waits) {
        reply_null_array(&session->reply);
        session_count_lookup(session, false);
    }
    return status != SP_EBUSY || !waits;
}

/* Answers, or returns false: then it waits. Without the lock a key would have to be remembered
 * before it is read (docs/CONCURRENCY.md, T2), and who waits for it would be told of the very write
 * that brings the value. */
static bool look(struct session *session, const struct lease_call *call)
{
    struct resp_arg key = {call->key.bytes, call->key.size};
    int64_t until_ms = session_now(session) + call->fresh_ms;
    struct cache_entry entry;
    session->leases->token = 0;
    if (!call->tracked && reply_fresh(session, &key, until_ms))
        return true;
    thread_lock(session->thread);
    session->thread->counts_lookups = false; /* counted here, by what was answered */
    bool found = key_find(session, &key, &entry);
    if (!found || (entry.expiry_ms != CACHE_NO_EXPIRY && entry.expiry_ms <= until_ms))
        return take_or_wait(session, call, found ? &entry : NULL);
    reply_entry(session, call, "value", &entry);
    return true;
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Who may no longer, or whose key has become a table's row, waits no longer; the error has been
 * replied. */
static bool may_still(struct session *session, const struct lease_call *call)
{
    struct resp_arg key = {call->key.bytes, call->key.size};
    const struct resp_arg args[] = {{"SIDEPOND", 8}, {"LEASE", 5}, key};
    const struct call again = {
        .command = call->command, .args = args, .count = 3, .hash = call->key.hash};
    if (!access_allows(session, &again))
        return false;
    if (!key_is_row(session, &key))
        return true;
    reply_row_refused(session, &key);
    return false;
}

/* An answer that comes late is counted late. */
static void count_error(struct session *session, size_t mark)
{
    const struct buffer *out = session->reply.out;
    struct thread_stats *stats = session->thread->stats;
    if (out->size <= mark || out->bytes[mark] != '-')
        return;
    stats_error(stats, out->bytes + mark, out->size - mark);
    stats_add(&stats->by_command[session->leases->call.command->number].failed, 1);
}

/* What was answered becomes the reply, unless somebody has unblocked the client. */
static void answer(struct session *session, size_t mark)
{
    struct session_leases *leases = session->leases;
    enum unblock unblock = wait_end(session);
    lease_table_wait_no_more(leases->client, &leases->call.key);
    if (unblock >= UNBLOCK_TIMEOUT) {
        reply_rewind(&session->reply, mark);
        if (leases->token != 0)
            lease_table_give_back(session->service->leases, &leases->call.key, leases->token);
        if (unblock == UNBLOCK_ERROR)
            reply_error(&session->reply, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
        else
            reply_null_array(&session->reply);
    }
    count_error(session, mark);
    if (leases->muted)
        reply_rewind(&session->reply, mark);
    forget_call(leases);
}

/* Whether there is an answer by now. */
static bool look_again(struct session *session)
{
    struct session_leases *leases = session->leases;
    const struct lease_call *call = &leases->call;
    uint64_t token;
    if (!may_still(session, call))
        return true;
    if (!lease_table_given(leases->client, &call->key, &token))
        return look(session, call);
    leases->token = token;
    now_holds(leases, call->hold_ns);
    reply_lease(session, token);
    return true;
}

/* On the session's thread, outside of its input. */
static void wake(struct session *session, bool over)
{
    struct thread *thread = session->thread;
    size_t mark = reply_mark(&session->reply);
    thread->now_ms = clock_wall_ms();
    bool answered = wait_is_unblocked(session) || look_again(session);
    thread_unlock(thread);
    if (!answered && over) {
        reply_null_array(&session->reply);
        session_count_lookup(session, false);
        answered = true;
    }
    const struct call late = {.command = session->leases->call.command};
    if (answered)
        answer(session, mark);
    if (session->tracking)
        tracking_after(session, &late);
}

static void on_wake(void *argument)
{
    struct session *session = argument;
    if (is_waiting(session->leases))
        wake(session, false);
}

static void on_time_over(struct session *session)
{
    wake(session, true);
}

static void begin_waiting(struct session *session, const struct lease_call *call)
{
    struct session_leases *leases = session->leases;
    char *key = malloc(call->key.size + 1); /* never NULL for want of bytes */
    if (!key || !wait_begin(session, true, call->wait_ms, on_time_over)) {
        free(key);
        lease_table_wait_no_more(leases->client, &call->key);
        reply_error(&session->reply, "ERR out of memory");
        return;
    }
    memcpy(key, call->key.bytes, call->key.size);
    leases->call = *call;
    leases->call.key.bytes = key;
    leases->muted = session->mute == MUTE_ALL || session->mute == MUTE_THIS;
}

/* --- the commands ----------------------------------------------------------------------------- */

/* A time in milliseconds; false, with the error replied. */
static bool take_ms(struct session *session, const struct resp_arg *arg, const char *what,
                    int64_t least, int64_t most, int64_t *out)
{
    if (!arg_integer(session, arg, out))
        return false;
    if (*out >= least && *out <= most)
        return true;
    reply_error(&session->reply, "ERR %s must be %lld to %lld milliseconds", what, (long long)least,
                (long long)most);
    return false;
}

static bool take_lease_options(struct session *session, const struct call *call,
                               struct lease_call *out)
{
    int64_t wait_ms, hold_ms = HOLD_MS;
    if (!take_ms(session, &call->args[3], "wait", 0, WAIT_MS_MAX, &wait_ms))
        return false;
    for (size_t i = 4; i < call->count; i += 2) {
        const struct resp_arg *value = i + 1 < call->count ? &call->args[i + 1] : NULL;
        if (value && arg_is(&call->args[i], "fresh")) {
            if (!take_ms(session, value, "FRESH", 0, INT64_MAX / 4, &out->fresh_ms))
                return false;
        } else if (value && arg_is(&call->args[i], "hold")) {
            if (!take_ms(session, value, "HOLD", 1, HOLD_MS_MAX, &hold_ms))
                return false;
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    out->hold_ns = (uint64_t)hold_ms * MS_NS;
    out->wait_ms = (uint64_t)wait_ms;
    return true;
}

static struct lease_key lease_key(struct session *session, const struct resp_arg *key)
{
    return (struct lease_key){key->bytes, key->size, session_hash(session, key)};
}

void run_sidepond_lease(struct session *session, const struct call *call)
{
    struct lease_call lease = {.command = call->command, .key = lease_key(session, &call->args[2])};
    if (!take_lease_options(session, call, &lease))
        return;
    if (lease.key.size > CACHE_KEY_MAX) {
        reply_store_error(session, SP_ETOOBIG);
        return;
    }
    if (!leases_of(session)) {
        reply_error(&session->reply, "ERR out of memory");
        return;
    }
    lease.waits = lease.wait_ms > 0 && !session->thread->in_exec;
    lease.tracked = tracking_wants(session);
    if (!look(session, &lease))
        begin_waiting(session, &lease);
}

static bool take_fill_options(struct session *session, const struct call *call, int64_t *token,
                              int64_t *expiry_ms)
{
    int64_t ms;
    *expiry_ms = CACHE_NO_EXPIRY;
    if (!arg_integer(session, &call->args[3], token))
        return false;
    if (call->count == 5)
        return true;
    if (call->count != 7 || !arg_is(&call->args[5], "px")) {
        reply_syntax_error(session);
        return false;
    }
    return arg_integer(session, &call->args[6], &ms) &&
           expiry_from(session, call->command, ms, 1, false, true, expiry_ms);
}

void run_sidepond_fill(struct session *session, const struct call *call)
{
    const struct resp_arg *key = &call->args[2], *value = &call->args[4];
    struct lease_key lease = lease_key(session, key);
    int64_t token, expiry_ms;
    if (!take_fill_options(session, call, &token, &expiry_ms))
        return;
    if (!lease_table_is_valid(session->service->leases, &lease, (uint64_t)token)) {
        reply_integer(&session->reply, 0);
        return;
    }
    int status = key_put(session, key, lease.hash, value->bytes, value->size, expiry_ms);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return;
    }
    key_event(session, EVENT_STRING, "set", key);
    if (expiry_ms != CACHE_NO_EXPIRY)
        key_event(session, EVENT_GENERIC, "expire", key);
    reply_integer(&session->reply, 1);
}

void run_sidepond_release(struct session *session, const struct call *call)
{
    struct lease_key key = lease_key(session, &call->args[2]);
    int64_t token;
    if (arg_integer(session, &call->args[3], &token))
        reply_integer(&session->reply,
                      lease_table_give_back(session->service->leases, &key, (uint64_t)token));
}
