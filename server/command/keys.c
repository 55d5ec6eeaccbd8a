/* SPDX-License-Identifier: Apache-2.0
 *
 * keys.c - keys as such: finding, writing and deleting them for other commands, and the commands
 * that ask nothing of the value.
 */
#include "server/command/commands.h"

#include <string.h>
#include <sys/random.h>

/* --- for other commands --------------------------------------------------------------------- */

bool key_find(struct session *session, const struct resp_arg *key, struct cache_entry *out)
{
    struct cache *cache = session_cache(session);
    bool found =
        cache_find(cache, cache_hash(cache, key->bytes, key->size), key->bytes, key->size, out);
    if (session->thread->counts_lookups)
        session_count_lookup(session, found);
    return found;
}

int key_put(struct session *session, const struct resp_arg *key, uint64_t hash, const void *value,
            size_t value_bytes, int64_t expiry_ms)
{
    key_written(session, hash);
    int status = cache_put(session_cache(session), hash, key->bytes, key->size, value, value_bytes,
                           expiry_ms);
    if (status == SP_OK)
        key_changed(session, key, hash);
    return status;
}

bool key_delete(struct session *session, const struct resp_arg *key, uint64_t hash)
{
    key_deleted(session, hash);
    bool deleted = cache_delete(session_cache(session), hash, key->bytes, key->size);
    if (deleted)
        key_changed(session, key, hash);
    else if (__builtin_expect(session->service->ring != NULL, 0))
        ring_note_written(session, key, hash); /* another copy may have it */
    return deleted;
}

void key_delete_absent(struct session *session, const struct resp_arg *key, uint64_t hash)
{
    if (__builtin_expect(session->service->ring != NULL, 0))
        key_delete(session, key, hash);
    else
        key_deleted(session, hash);
}

int key_set_expiry(struct session *session, const struct resp_arg *key, uint64_t hash,
                   const struct cache_entry *entry, int64_t expiry_ms)
{
    int status = cache_set_expiry(session_cache(session), hash, entry, expiry_ms);
    if (status == SP_OK)
        key_changed(session, key, hash);
    return status;
}

void several_begin(struct session *session)
{
    if (session->thread->several++ == 0)
        atomic_fetch_add_explicit(&session->service->multi_sequence, 1, memory_order_seq_cst);
}

void several_end(struct session *session)
{
    if (--session->thread->several == 0)
        atomic_fetch_add_explicit(&session->service->multi_sequence, 1, memory_order_seq_cst);
}

/* --- reading without the lock ----------------------------------------------------------------- */

void key_fetch_touch(const struct thread *thread, const struct cache_probe *probe)
{
    const struct service *service = thread->service;
    uint8_t bit;
    if (!probe->home.bucket)
        return;
    uint64_t place = cache_hint_place(thread->reads.binding, &probe->home, probe->hash, 0, &bit);
    if (place < service->places)
        __builtin_prefetch((const void *)&service->touched[place], 1);
}

/* Tells the evicting hand that the entry of a probe is in use, unless the client wants no trace. */
static void touch(struct session *session, const struct cache_batch *reads,
                  const struct cache_probe *probe)
{
    const struct service *service = session->service;
    uint8_t bit;
    if (atomic_load_explicit(&session->client->flags, memory_order_relaxed) & CLIENT_NO_TOUCH)
        return;
    uint64_t place =
        cache_hint_place(reads->binding, &probe->home, probe->hash, probe->match, &bit);
    if (place < service->places)
        cache_hint_mark(&service->touched[place], bit);
}

#define COPY_ROOM 16u /* behind a value, so that its copy can be made of whole pieces */

/* Replies with the value of a probe that has found one; false: something changed meanwhile. */
static bool reply_found(struct session *session, const struct cache_batch *reads,
                        struct cache_probe *probe)
{
    size_t mark = reply_mark(&session->reply);
    buffer_reserve(session->reply.out, REPLY_HEAD_BYTES + probe->value_bytes + COPY_ROOM + 2);
    char *at = reply_bulk_begin(&session->reply, probe->value_bytes);
    if (!at)
        return true; /* no memory: the connection ends */
    cache_probe_copy(reads, probe, at, probe->value_bytes + COPY_ROOM);
    memcpy(at + probe->value_bytes, "\r\n", 2); /* the copy may have written over it */
    if (!cache_probe_valid(reads, probe)) {
        reply_rewind(&session->reply, mark);
        return false;
    }
    touch(session, reads, probe);
    session_count_lookup(session, true);
    return true;
}

/* Replies with what a probe finds, in one attempt; false: something changed meanwhile. */
static bool reply_probe(struct session *session, struct cache_probe *probe)
{
    struct cache_batch *reads = &session->thread->reads;
    int status = cache_probe_find(reads, probe);
    if (status == READ_AGAIN)
        return false;
    if (status == SP_ENOTFOUND) {
        reply_null(&session->reply);
        session_count_lookup(session, false);
        return true;
    }
    return reply_found(session, reads, probe);
}

/* As often as it takes; the value is of any size. */
static void reply_read_again(struct session *session, const struct resp_arg *key)
{
    struct cache_found found = {.value_bytes = 1024};
    struct buffer value = BUFFER_INIT;
    int status = SP_ERANGE;
    while (status == SP_ERANGE && buffer_reserve(&value, found.value_bytes + COPY_ROOM))
        status = cache_read_again(session->service->reader, key->bytes, key->size, value.bytes,
                                  value.cap, &found);
    if (status == SP_OK)
        reply_bulk(&session->reply, value.bytes, found.value_bytes);
    else if (status == SP_ENOTFOUND)
        reply_null(&session->reply);
    else
        reply_store_error(session, status == SP_ERANGE ? SP_ENOMEM : status);
    session_count_lookup(session, status == SP_OK);
    buffer_free(&value);
}

static void reply_locked(struct session *session, const struct resp_arg *key)
{
    struct cache_entry entry;
    thread_lock(session->thread);
    if (key_find(session, key, &entry))
        reply_bulk(&session->reply, entry.value, entry.value_bytes);
    else
        reply_null(&session->reply);
}

void reply_value(struct session *session, const struct resp_arg *key, struct cache_probe *probe)
{
    uint64_t several =
        atomic_load_explicit(&session->service->multi_sequence, memory_order_acquire);
    if (key_is_row(session, key))
        row_reply_json(session, key);
    else if (several % 2 != 0) /* several keys are changing as one */
        reply_locked(session, key);
    else if (!probe || !reply_probe(session, probe))
        reply_read_again(session, key);
}

/* One attempt. SP_OK: replied; SP_ENOTFOUND: there is none that lasts; else READ_AGAIN. */
static int try_lasting(struct session *session, const struct resp_arg *key, int64_t until_ms)
{
    struct cache_batch reads; /* of its own: the thread's are of requests that wait their turn */
    struct cache_probe probe;
    cache_batch_begin(&reads, session->service->reader);
    cache_probe_begin(&reads, &probe, key->bytes, key->size);
    cache_probe_fetch(&reads, &probe);
    int status = cache_probe_find(&reads, &probe);
    if (status == SP_OK && probe.expiry_ms != CACHE_NO_EXPIRY && probe.expiry_ms <= until_ms)
        return SP_ENOTFOUND;
    if (status == SP_OK && !reply_found(session, &reads, &probe))
        return READ_AGAIN;
    return status;
}

bool reply_lasting(struct session *session, const struct resp_arg *key, int64_t until_ms)
{
    uint64_t several =
        atomic_load_explicit(&session->service->multi_sequence, memory_order_acquire);
    if (several % 2 != 0)
        return false;
    int status = try_lasting(session, key, until_ms);
    if (status == READ_AGAIN) {
        struct cache_found found;
        char none[1];
        /* Finds the way through an index that has changed, also for those who come later. */
        cache_read_again(session->service->reader, key->bytes, key->size, none, 0, &found);
        status = try_lasting(session, key, until_ms);
    }
    return status == SP_OK;
}

/* --- commands ------------------------------------------------------------------------------- */

void run_del(struct session *session, const struct call *call)
{
    int64_t deleted = 0;
    bool several = call->count > 2;
    if (several)
        several_begin(session);
    for (size_t i = 1; i < call->count; i++) {
        if (!key_delete(session, &call->args[i], session_hash(session, &call->args[i])))
            continue;
        key_event(session, EVENT_GENERIC, "del", &call->args[i]);
        deleted++;
    }
    if (several)
        several_end(session);
    reply_integer(&session->reply, deleted);
}

/* Whether an entry or a row has this key; -1: its table's error has been replied. */
static int is_present(struct session *session, const struct resp_arg *key)
{
    struct cache_entry entry;
    return key_is_row(session, key) ? row_exists(session, key) : key_find(session, key, &entry);
}

void run_exists(struct session *session, const struct call *call)
{
    int64_t present = 0;
    for (size_t i = 1; i < call->count; i++) {
        int one = is_present(session, &call->args[i]);
        if (one < 0)
            return;
        present += one;
    }
    reply_integer(&session->reply, present);
}

void run_touch(struct session *session, const struct call *call)
{
    run_exists(session, call);
}

void run_type(struct session *session, const struct call *call)
{
    const struct resp_arg *key = &call->args[1];
    int present = is_present(session, key);
    if (present < 0)
        return;
    if (present == 0)
        reply_simple(&session->reply, "none");
    else
        reply_simple(&session->reply, key_is_row(session, key) ? "hash" : "string");
}

/* Puts an entry's value and expiry under another key, whose change the caller tells. */
static int put_again(struct session *session, const struct cache_entry *entry,
                     const struct resp_arg *key)
{
    struct cache *cache = session_cache(session);
    struct cache_write write;
    uint64_t hash = session_hash(session, key);
    key_written(session, hash);
    int status =
        cache_write_begin(cache, hash, key->bytes, key->size, entry->value_bytes, entry, &write);
    if (status != SP_OK)
        return status;
    if (entry->value_bytes > 0)
        memcpy(write.value, entry->value, entry->value_bytes);
    return cache_write_end(cache, &write, entry->expiry_ms);
}

static bool same_key(const struct resp_arg *a, const struct resp_arg *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* True if it was done; else the error is replied, or `*refused`: the new name is taken. */
static bool rename_key(struct session *session, const struct call *call, bool only_new,
                       bool *refused)
{
    struct cache_entry entry, other;
    const struct resp_arg *from = &call->args[1], *to = &call->args[2];
    *refused = false;
    if (!key_find(session, from, &entry)) {
        reply_error(&session->reply, "ERR no such key");
        return false;
    }
    if (same_key(from, to)) {
        *refused = only_new;
        return !only_new;
    }
    if (only_new && key_find(session, to, &other)) {
        *refused = true;
        return false;
    }
    several_begin(session);
    int status = put_again(session, &entry, to);
    if (status == SP_OK) {
        key_delete(session, from, call->hash);
        key_changed(session, to, session_hash(session, to));
    }
    several_end(session);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return false;
    }
    key_event(session, EVENT_GENERIC, "rename_from", from);
    key_event(session, EVENT_GENERIC, "rename_to", to);
    return true;
}

void run_rename(struct session *session, const struct call *call)
{
    bool refused;
    if (rename_key(session, call, false, &refused))
        reply_ok(&session->reply);
}

void run_renamenx(struct session *session, const struct call *call)
{
    bool refused;
    if (rename_key(session, call, true, &refused))
        reply_integer(&session->reply, 1);
    else if (refused)
        reply_integer(&session->reply, 0);
}

static bool take_copy_options(struct session *session, const struct call *call, bool *replace)
{
    int32_t database;
    *replace = false;
    for (size_t i = 3; i < call->count; i++) {
        if (arg_is(&call->args[i], "replace")) {
            *replace = true;
        } else if (arg_is(&call->args[i], "db") && i + 1 < call->count) {
            if (!arg_int32(session, &call->args[++i], &database))
                return false;
            if (database != 0) {
                reply_error(&session->reply, "ERR DB index is out of range");
                return false;
            }
        } else {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

void run_copy(struct session *session, const struct call *call)
{
    struct cache_entry entry, other;
    bool replace;
    if (!take_copy_options(session, call, &replace))
        return;
    if (same_key(&call->args[1], &call->args[2])) {
        reply_error(&session->reply, "ERR source and destination objects are the same");
        return;
    }
    if (!key_find(session, &call->args[1], &entry) ||
        (!replace && key_find(session, &call->args[2], &other))) {
        reply_integer(&session->reply, 0);
        return;
    }
    int status = put_again(session, &entry, &call->args[2]);
    if (status != SP_OK) {
        reply_store_error(session, status);
        return;
    }
    key_changed(session, &call->args[2], session_hash(session, &call->args[2]));
    key_event(session, EVENT_GENERIC, "copy_to", &call->args[2]);
    reply_integer(&session->reply, 1);
}

void run_randomkey(struct session *session, const struct call *call)
{
    struct cache_entry entry;
    uint64_t random;
    (void)call;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = (uint64_t)session_now(session) * UINT64_C(0x9e3779b97f4a7c15);
    if (cache_random(session_cache(session), random, &entry))
        reply_bulk(&session->reply, entry.key, entry.key_bytes);
    else
        reply_null(&session->reply);
}

void run_dbsize(struct session *session, const struct call *call)
{
    (void)call;
    reply_integer(&session->reply, (int64_t)cache_entries(session_cache(session)));
}

/* FLUSHALL and FLUSHDB: there is one database. ASYNC and SYNC are the same: the memory comes back
 * in the background in either case. */
void run_flushall(struct session *session, const struct call *call)
{
    if (call->count > 2 ||
        (call->count == 2 && !arg_is(&call->args[1], "async") && !arg_is(&call->args[1], "sync"))) {
        reply_syntax_error(session);
        return;
    }
    if (session->service->ring) {
        reply_error(&session->reply,
                    "ERR nothing is flushed: the other copies of the ring would bring "
                    "everything back; delete keys instead");
        return;
    }
    int status = cache_flush(session_cache(session));
    if (status != SP_OK) {
        reply_store_error(session, status);
        return;
    }
    lease_table_all_deleted(session->service->leases, session->thread->number);
    if (atomic_load_explicit(&session->service->trackers, memory_order_relaxed) != 0)
        tracking_flushed(session->service, session);
    reply_ok(&session->reply);
}
