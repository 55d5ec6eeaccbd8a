/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_pull.c - SIDEPOND PULL: the entries of some slots, page by page, for nodes that have not got
 * them or whose digests differ.
 *
 * A job (jobs.h): it walks the cache in steps of some dozens of entries, each under the lock, and
 * rests in between, so that nobody waits for it. A page ends when it has the bytes that were asked
 * for, and after PAGE_MS, also without an entry: where the slots have few among many others.
 *
 * Limits: a page has BYTES_MOST, or one step of the least size, a bucket of the index, if that is
 * more. The pages hold what is there all the while at least once (cache_scan).
 */
#include "alloc/clock.h"
#include "server/command/commands.h"
#include "server/command/jobs.h"
#include "server/resp/number.h"
#include "server/ring/ring.h"
#include "server/store/cache_ring.h"

#include <time.h>

#define BYTES_MOST (INT64_C(4) << 20)
#define PAGE_MS    UINT64_C(200)
#define STEP       128u /* entries, visited or passed over under one lock */
#define REST_NS    (20L * 1000)

/* --- a page ----------------------------------------------------------------------------------- */

struct page {
    struct reply *reply;
    size_t count;
    size_t most; /* bytes, of which more are not collected */
};

static void visit(void *context, const struct cache_copy *copy)
{
    struct page *page = context;
    const struct cache_entry *entry = &copy->entry;
    if (reply_mark(page->reply) > page->most)
        return; /* the step is taken back in any case */
    reply_array(page->reply, 4);
    reply_bulk(page->reply, entry->key, entry->key_bytes);
    reply_integer(page->reply, (int64_t)entry->version);
    reply_integer(page->reply, entry->expiry_ms);
    if (copy->tombstone)
        reply_null(page->reply);
    else
        reply_bulk(page->reply, entry->value, entry->value_bytes);
    page->count++;
}

struct pull {
    struct cache *cache;
    uint64_t cursor, slots[RING_SLOT_WORDS];
    size_t bytes;
};

static uint64_t step(struct pull *pull, unsigned count, struct page *page)
{
    cache_lock(pull->cache, clock_wall_ms());
    uint64_t cursor = cache_scan_slots(pull->cache, pull->cursor, count, pull->slots, visit, page);
    cache_unlock(pull->cache);
    return cursor;
}

/* A step that makes the page too large is taken back, and made again in the least size, of which
 * the first is kept whatever it brings. */
static void fill_page(struct job *job, struct pull *pull, struct page *page)
{
    const struct timespec rest = {.tv_nsec = REST_NS};
    uint64_t until_ms = clock_ms() + PAGE_MS;
    unsigned count = STEP;
    bool more = true;
    while (more && !atomic_load(&job->unwanted)) {
        struct page before = *page;
        page->most = count > 1 || before.count > 0 ? pull->bytes : SIZE_MAX;
        size_t mark = reply_mark(page->reply);
        uint64_t cursor = step(pull, count, page);
        if (reply_mark(page->reply) > pull->bytes && (count > 1 || before.count > 0)) {
            reply_rewind(page->reply, mark);
            page->count = before.count;
            more = count > 1;
            count = 1;
            continue;
        }
        pull->cursor = cursor;
        more = cursor != 0 && reply_mark(page->reply) < pull->bytes && clock_ms() < until_ms;
        if (more)
            nanosleep(&rest, NULL);
    }
}

static void reply_page(struct job *job, const struct pull *pull, const struct page *page)
{
    char text[NUMBER_INT_BYTES];
    reply_array(&job->reply, 2);
    reply_bulk(&job->reply, text, number_print_unsigned(text, pull->cursor));
    reply_array(&job->reply, page->count);
    buffer_append(job->reply.out, page->reply->out->bytes, page->reply->out->size);
    job->reply.out->failed |= page->reply->out->failed;
}

static bool parse_cursor(const struct resp_arg *arg, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < arg->size; i++) {
        unsigned digit = (unsigned char)arg->bytes[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, digit, out))
            return false;
    }
    return arg->size > 0;
}

static void do_pull(struct job *job)
{
    struct pull pull = {.cache = job->service->cache};
    struct buffer entries = BUFFER_INIT;
    struct reply reply = {&entries, job->reply.protocol};
    struct page page = {&reply, 0, SIZE_MAX};
    int64_t bytes;
    if (!parse_cursor(&job->args[2], &pull.cursor) ||
        !number_parse(job->args[3].bytes, job->args[3].size, &bytes) ||
        !ring_take_slots(&job->args[4], ring_slots(job->service->ring), pull.slots))
        return; /* which run_sidepond_pull has seen to */
    pull.bytes = (size_t)(bytes < BYTES_MOST ? bytes : BYTES_MOST);
    fill_page(job, &pull, &page);
    reply_page(job, &pull, &page);
    buffer_free(&entries);
}

/* --- the command ------------------------------------------------------------------------------ */

void run_sidepond_pull(struct session *session, const struct call *call)
{
    struct ring *ring = session->service->ring;
    uint64_t cursor, slots[RING_SLOT_WORDS];
    int64_t bytes;
    if (!ring)
        reply_error(&session->reply, "ERR this server is not a node of a ring");
    else if (!session->user->all_keys)
        reply_error(&session->reply, "NOPERM a user who may not access all keys cannot pull them");
    else if (!parse_cursor(&call->args[2], &cursor))
        reply_error(&session->reply, "ERR invalid cursor");
    else if (!number_parse(call->args[3].bytes, call->args[3].size, &bytes) || bytes < 1)
        reply_error(&session->reply, "ERR the bytes must be a whole number, at least 1");
    else if (!ring_take_slots(&call->args[4], ring_slots(ring), slots))
        reply_error(&session->reply, RING_SLOTS_ERROR, ring_slots(ring) / 8);
    else if (!ring_gives(ring, slots))
        ring_reply_aged(session, ring);
    else
        job_start(session, call, do_pull);
}
