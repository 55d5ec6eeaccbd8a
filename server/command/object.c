/* SPDX-License-Identifier: Apache-2.0
 *
 * object.c - OBJECT and MEMORY: what is to be known of a value beside its bytes.
 *
 * Encodings are those that Redis would choose for a value that has just been set: whole numbers are
 * `int`, up to 44 bytes are `embstr`, more are `raw`; a row of a table is `listpack`, as a small
 * hash is. In the pond all are bytes in one entry.
 */
#include <limits.h>
#include <string.h>

#include "server/command/commands.h"
#include "server/resp/number.h"

#define EMBSTR_BYTES_MAX 44u

/* --- OBJECT ----------------------------------------------------------------------------------- */

static const char *encoding_of(const struct cache_entry *entry)
{
    int64_t number;
    if (number_parse((const char *)entry->value, entry->value_bytes, &number))
        return "int";
    return entry->value_bytes <= EMBSTR_BYTES_MAX ? "embstr" : "raw";
}

/* Whether there is such a key; where not, null or its table's error has been replied. */
static bool object_find(struct session *session, const struct call *call, const char **encoding)
{
    struct cache_entry entry;
    const struct resp_arg *key = &call->args[2];
    bool row = key_is_row(session, key);
    int found = row ? row_exists(session, key) : key_find(session, key, &entry);
    if (found == 0)
        reply_null(&session->reply);
    else if (found > 0)
        *encoding = row ? "listpack" : encoding_of(&entry);
    return found > 0;
}

void run_object_encoding(struct session *session, const struct call *call)
{
    const char *encoding;
    if (object_find(session, call, &encoding))
        reply_text(&session->reply, encoding);
}

void run_object_refcount(struct session *session, const struct call *call)
{
    const char *encoding;
    if (object_find(session, call, &encoding))
        reply_integer(&session->reply, 1);
}

/* Eviction knows whether an entry was used since it looked last, not when. */
void run_object_idletime(struct session *session, const struct call *call)
{
    const char *encoding;
    if (object_find(session, call, &encoding))
        reply_integer(&session->reply, 0);
}

void run_object_freq(struct session *session, const struct call *call)
{
    const char *encoding;
    if (object_find(session, call, &encoding))
        reply_error(&session->reply,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU data "
                    "will take some time to adjust.");
}

void run_object_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {"ENCODING <key>",
                                        "    How Redis would keep the value.",
                                        "FREQ <key>",
                                        "    An error: how often a key is used is not counted.",
                                        "IDLETIME <key>",
                                        "    0: when a key was used last is not known.",
                                        "REFCOUNT <key>",
                                        "    1: values are not shared.",
                                        NULL};
    (void)call;
    reply_help(session, "OBJECT", lines);
}

/* --- MEMORY ----------------------------------------------------------------------------------- */

/* SAMPLES n is for values of many parts, of which there are none; it is checked and no more. */
static bool take_samples(struct session *session, const struct call *call)
{
    int64_t samples;
    for (size_t i = 3; i < call->count; i += 2) {
        if (!arg_is(&call->args[i], "samples") || i + 1 >= call->count) {
            reply_syntax_error(session);
            return false;
        }
        if (!arg_integer(session, &call->args[i + 1], &samples))
            return false;
        if (samples < 0) {
            reply_syntax_error(session);
            return false;
        }
    }
    return true;
}

void run_memory_usage(struct session *session, const struct call *call)
{
    struct cache_entry entry;
    if (!take_samples(session, call))
        return;
    if (key_find(session, &call->args[2], &entry))
        reply_integer(&session->reply, (int64_t)cache_entry_memory(&entry));
    else
        reply_null(&session->reply);
}

void run_memory_stats(struct session *session, const struct call *call)
{
    (void)call;
    struct service *service = session->service;
    struct reply *reply = &session->reply;
    struct cache_info cache;
    struct sp_pond_info pond = SP_POND_INFO_INIT;
    bool known = sp_pond_info(service->pond, &pond) == SP_OK;
    cache_info_locked(service->cache, &cache);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {{"total.allocated", cache.memory_bytes},
                   {"keys.count", cache.entries},
                   {"keys.bytes-per-key", cache.entries ? cache.memory_bytes / cache.entries : 0},
                   {"dataset.bytes", cache.bytes},
                   {"overhead.total", cache.memory_bytes - cache.bytes},
                   {"limit.bytes", cache.limit_bytes},
                   {"pond.committed", known ? pond.committed_bytes : 0},
                   {"pond.used", known ? pond.used_bytes : 0},
                   {"pond.free", known ? pond.free_bytes : 0},
                   {"pond.limit", known ? pond.limit_bytes : 0}};
    const size_t count = sizeof(figures) / sizeof(figures[0]);
    reply_map(reply, count + 2);
    for (size_t i = 0; i < count; i++) {
        reply_text(reply, figures[i].name);
        reply_integer(reply, (int64_t)figures[i].value);
    }
    reply_text(reply, "dataset.percentage");
    reply_double(reply,
                 cache.memory_bytes ? 100.0 * (double)cache.bytes / (double)cache.memory_bytes : 0);
    reply_text(reply, "fragmentation");
    reply_double(reply, known && pond.used_bytes
                            ? (double)pond.committed_bytes / (double)pond.used_bytes
                            : 0);
}

void run_memory_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {
        "STATS", "    What the cache and the pond take.", "USAGE <key> [SAMPLES <count>]",
        "    What an entry takes, with its share of the index.", NULL};
    (void)call;
    reply_help(session, "MEMORY", lines);
}
