/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_check.c - the rules, one key after the other.
 *
 * A write x is surely older than a write y if one client made both, x first (a client stamps its
 * writes in order, so a late x cannot pass y), or if x was acknowledged before y began (y was
 * stamped above what the copies had). Of all others nothing is known: they overlapped, or x has
 * not been acknowledged and may take effect at any time. A reader may find a value unless its
 * write is surely older than one that the reader's client has had acknowledged before the read
 * began; absence is a value that a deletion, or the end of a value's time to live, has written.
 * At the end no node may have less than what was acknowledged to anybody.
 *
 * What was written before the run began (RING_LOG_BASE) counts as acknowledged to each client.
 *
 * It costs a sort, and for each key the product of its operations and its writes in the worst case;
 * a million operations on thousands of keys take about a second.
 */
#include "ring_check.h"

#include <stdlib.h>
#include <string.h>

#define TTL_SLACK_NS 50000000u /* clocks of nodes, which count TTLs, and ours */
#define WRITERS      65536u

/* All of one key. */
struct history {
    const struct ring_log_record *records;
    size_t count;
    const struct ring_log_record **writes; /* sets and deletes, in the order of their beginnings */
    size_t write_count;
};

struct checker {
    const struct ring_check_options *options;
    struct ring_verdict *verdict;
    struct history history;
    const struct ring_log_record **last; /* of each client: its latest acknowledged write */
    const struct ring_log_record *base;  /* the latest of before the run */
};

const char *ring_rule_name(enum ring_rule rule)
{
    static const char *const names[RING_RULES] = {"failed_reads", "failed_writes", "lost",
                                                  "returned",     "stale",         "false_misses",
                                                  "foreign",      "unequal",       "counters"};
    return names[rule];
}

static void object(struct checker *checker, enum ring_rule rule,
                   const struct ring_log_record *record)
{
    if (checker->verdict->counts[rule]++ == 0)
        checker->verdict->first[rule] = *record;
}

static bool is_write(const struct ring_log_record *record)
{
    return record->op == RING_LOG_SET || record->op == RING_LOG_DELETE;
}

static bool surely_older(const struct ring_log_record *x, const struct ring_log_record *y)
{
    if (x->writer == y->writer)
        return x->number < y->number;
    return x->outcome == RING_LOG_OK && x->end_ns < y->begin_ns;
}

/* --- what a read has found ------------------------------------------------------------------ */

static const struct ring_log_record *find_write(const struct history *history, uint16_t writer,
                                                uint32_t number)
{
    for (size_t i = 0; i < history->write_count; i++)
        if (history->writes[i]->writer == writer && history->writes[i]->number == number)
            return history->writes[i]->op == RING_LOG_SET ? history->writes[i] : NULL;
    return NULL;
}

/* Whether this write may be why a read finds nothing. */
static bool explains_absence(const struct ring_log_record *write,
                             const struct ring_log_record *read)
{
    if (write->begin_ns > read->end_ns)
        return false;
    if (write->op == RING_LOG_DELETE)
        return true;
    return write->ttl_ms > 0 &&
           write->begin_ns + (uint64_t)write->ttl_ms * 1000000u < read->end_ns + TTL_SLACK_NS;
}

static bool absence_is_explained(const struct history *history, const struct ring_log_record *read,
                                 const struct ring_log_record *acknowledged)
{
    for (size_t i = 0; i < history->write_count; i++)
        if (explains_absence(history->writes[i], read) &&
            (!acknowledged || !surely_older(history->writes[i], acknowledged)))
            return true;
    return false;
}

/* The write that was found, NULL after an objection or if there was nothing. */
static const struct ring_log_record *found_write(struct checker *checker,
                                                 const struct ring_log_record *read)
{
    if (read->outcome == RING_LOG_ABSENT)
        return NULL;
    const struct ring_log_record *found =
        read->outcome == RING_LOG_OK
            ? find_write(&checker->history, read->value_writer, read->number)
            : NULL;
    if (found && found->begin_ns <= read->end_ns)
        return found;
    object(checker, RING_RULE_FOREIGN, read);
    return NULL;
}

/* --- while it ran --------------------------------------------------------------------------- */

/* What the client of this read has had acknowledged before. */
static const struct ring_log_record *known_to(const struct checker *checker,
                                              const struct ring_log_record *read)
{
    const struct ring_log_record *own = checker->last[read->writer];
    return own ? own : checker->base;
}

static void count_older_than_others(struct checker *checker, const struct ring_log_record *read,
                                    const struct ring_log_record *found)
{
    const struct history *history = &checker->history;
    for (size_t i = 0; i < history->write_count; i++) {
        const struct ring_log_record *write = history->writes[i];
        if (write->outcome == RING_LOG_OK && write->end_ns < read->begin_ns &&
            surely_older(found, write)) {
            checker->verdict->older_than_others++;
            return;
        }
    }
}

static void check_read(struct checker *checker, const struct ring_log_record *read)
{
    const struct ring_log_record *known = known_to(checker, read);
    checker->verdict->reads++;
    if (read->outcome == RING_LOG_FAILED || read->outcome == RING_LOG_UNKNOWN) {
        object(checker, RING_RULE_FAILED_READ, read);
        return;
    }
    const struct ring_log_record *found = found_write(checker, read);
    if (found && known && surely_older(found, known))
        object(checker, known->op == RING_LOG_DELETE ? RING_RULE_RETURNED : RING_RULE_STALE, read);
    else if (found)
        count_older_than_others(checker, read, found);
    else if (read->outcome == RING_LOG_ABSENT && known && known->op == RING_LOG_SET &&
             !checker->options->may_evict && !absence_is_explained(&checker->history, read, known))
        object(checker, RING_RULE_FALSE_MISS, read);
}

static void check_write(struct checker *checker, const struct ring_log_record *write)
{
    checker->verdict->writes++;
    if (write->outcome != RING_LOG_OK) {
        object(checker, RING_RULE_FAILED_WRITE, write);
        return;
    }
    checker->verdict->single_copy_writes += write->have < write->want;
    checker->last[write->writer] = write;
    if (write->flags & RING_LOG_BASE)
        checker->base = write;
}

/* --- at the end ----------------------------------------------------------------------------- */

/* An acknowledged write that what was found is surely older than, or NULL. `found` NULL: nothing.
 */
static const struct ring_log_record *missing_write(const struct checker *checker,
                                                   const struct ring_log_record *final,
                                                   const struct ring_log_record *found)
{
    const struct history *history = &checker->history;
    for (size_t i = 0; i < history->write_count; i++) {
        const struct ring_log_record *write = history->writes[i];
        if (write->outcome != RING_LOG_OK || write->end_ns > final->begin_ns)
            continue;
        if (found ? surely_older(found, write)
                  : write->op == RING_LOG_SET && !absence_is_explained(history, final, write))
            return write;
    }
    return NULL;
}

static void check_final(struct checker *checker, const struct ring_log_record *final)
{
    checker->verdict->finals++;
    if (final->outcome == RING_LOG_FAILED || final->outcome == RING_LOG_UNKNOWN) {
        object(checker, RING_RULE_FAILED_READ, final);
        return;
    }
    const struct ring_log_record *found = found_write(checker, final);
    if (!found && (final->outcome != RING_LOG_ABSENT || checker->options->may_evict))
        return;
    const struct ring_log_record *missing = missing_write(checker, final, found);
    if (missing)
        object(checker, missing->op == RING_LOG_DELETE ? RING_RULE_RETURNED : RING_RULE_LOST,
               final);
}

static bool same_state(const struct ring_log_record *a, const struct ring_log_record *b)
{
    return a->outcome == b->outcome && a->number == b->number && a->value_writer == b->value_writer;
}

static void check_equal(struct checker *checker)
{
    const struct history *history = &checker->history;
    const struct ring_log_record *first = NULL;
    for (size_t i = 0; i < history->count; i++) {
        const struct ring_log_record *record = &history->records[i];
        if (record->op != RING_LOG_FINAL || record->outcome > RING_LOG_ABSENT)
            continue;
        if (first && !same_state(first, record)) {
            object(checker, RING_RULE_UNEQUAL, record);
            return;
        }
        first = record;
    }
}

static void object_to_count(struct checker *checker, const struct ring_log_record *record,
                            bool explained)
{
    if (explained || checker->options->no_counters)
        checker->verdict->counter_conflicts++;
    else
        object(checker, RING_RULE_COUNTER, record);
}

/* Each client sees the count grow, and at the end all acknowledged increments are in it, but for
 * those that not all copies had: what the others counted meanwhile may have taken their place. */
static void check_counter(struct checker *checker)
{
    const struct history *history = &checker->history;
    uint64_t acknowledged = 0;
    uint64_t partial = 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct ring_log_record *record = &history->records[i];
        bool good = record->outcome == RING_LOG_OK;
        if (record->op == RING_LOG_INCR) {
            const struct ring_log_record *before = checker->last[record->writer];
            checker->verdict->writes++;
            checker->verdict->unknown_increments += !good;
            if (good && before && record->number <= before->number)
                object_to_count(checker, record, partial > 0);
            if (good)
                checker->last[record->writer] = record;
            acknowledged += good;
            partial += good && record->have < record->want;
        } else if (record->op == RING_LOG_FINAL) {
            uint64_t count = good ? record->number : 0;
            checker->verdict->finals++;
            if (count < acknowledged)
                object_to_count(checker, record, count + partial >= acknowledged);
        }
    }
}

/* --- keys ----------------------------------------------------------------------------------- */

static void check_key(struct checker *checker)
{
    struct history *history = &checker->history;
    size_t finals = 0;
    history->write_count = 0;
    for (size_t i = 0; i < history->count; i++)
        if (is_write(&history->records[i]))
            history->writes[history->write_count++] = &history->records[i];
    checker->base = NULL;
    checker->verdict->keys++;
    for (size_t i = 0; i < history->count; i++)
        checker->last[history->records[i].writer] = NULL;
    for (size_t i = 0; i < history->count; i++)
        finals += history->records[i].op == RING_LOG_FINAL;
    if (finals == 0 && history->write_count > 0 && !checker->options->no_finals)
        object(checker, RING_RULE_LOST, &history->records[0]);
    check_equal(checker);
    if (history->records[0].key >= RING_LOG_COUNTERS) {
        check_counter(checker);
        return;
    }
    for (size_t i = 0; i < history->count; i++) {
        const struct ring_log_record *record = &history->records[i];
        if (is_write(record))
            check_write(checker, record);
        else if (record->op == RING_LOG_FINAL)
            check_final(checker, record);
        else if (record->op == RING_LOG_GET)
            check_read(checker, record);
    }
}

static int by_key_and_time(const void *left, const void *right)
{
    const struct ring_log_record *a = left;
    const struct ring_log_record *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    if (a->begin_ns != b->begin_ns)
        return a->begin_ns < b->begin_ns ? -1 : 1;
    return (int)a->op - (int)b->op;
}

bool ring_check(struct ring_log_record *records, size_t count,
                const struct ring_check_options *options, struct ring_verdict *verdict)
{
    struct checker checker = {.options = options, .verdict = verdict};
    *verdict = (struct ring_verdict){.reads = 0};
    checker.history.writes = calloc(count + 1, sizeof(*checker.history.writes));
    checker.last = calloc(WRITERS, sizeof(*checker.last));
    bool room = checker.history.writes && checker.last;
    if (room)
        qsort(records, count, sizeof(*records), by_key_and_time);
    for (size_t at = 0, next; room && at < count; at = next) {
        for (next = at + 1; next < count && records[next].key == records[at].key;)
            next++;
        checker.history.records = &records[at];
        checker.history.count = next - at;
        check_key(&checker);
    }
    free(checker.history.writes);
    free(checker.last);
    return room;
}

bool ring_verdict_objects(const struct ring_verdict *verdict)
{
    uint64_t sum = 0;
    for (unsigned rule = 0; rule < RING_RULES; rule++)
        sum += verdict->counts[rule];
    return sum > 0;
}

/* --- how long a fault was felt -------------------------------------------------------------- */

static int by_end(const void *left, const void *right)
{
    const struct ring_log_record *a = left;
    const struct ring_log_record *b = right;
    return a->end_ns < b->end_ns ? -1 : a->end_ns > b->end_ns;
}

static int by_value(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;
    return *a < *b ? -1 : *a > *b;
}

static bool counts(const struct ring_log_record *record, const struct ring_outage_options *options,
                   bool writes)
{
    if (record->begin_ns < options->from_ns || record->begin_ns >= options->until_ns ||
        (record->flags & RING_LOG_BASE))
        return false;
    if (options->keys && (record->key >= options->key_count || !options->keys[record->key]))
        return false;
    return writes ? is_write(record) : record->op == RING_LOG_GET;
}

bool ring_outage(struct ring_log_record *records, size_t count,
                 const struct ring_outage_options *options, bool writes, struct ring_outage *out)
{
    uint64_t *took = calloc(count + 1, sizeof(*took));
    uint64_t last_ns = options->from_ns;
    *out = (struct ring_outage){.done = 0};
    if (!took)
        return false;
    qsort(records, count, sizeof(*records), by_end);
    for (size_t i = 0; i < count; i++) {
        const struct ring_log_record *record = &records[i];
        if (!counts(record, options, writes))
            continue;
        bool good = record->outcome <= RING_LOG_ABSENT;
        if (record->end_ns - last_ns > out->longest_ns)
            out->longest_ns = record->end_ns - last_ns;
        if (good)
            last_ns = record->end_ns;
        took[out->done + out->failed] = record->end_ns - record->begin_ns;
        out->done += good;
        out->absent += record->outcome == RING_LOG_ABSENT;
        out->failed += !good;
    }
    size_t all = out->done + out->failed;
    qsort(took, all, sizeof(*took), by_value);
    out->slowest_ns = all ? took[all - 1] : 0;
    out->p50_ns = all ? took[all / 2] : 0;
    out->p99_ns = all ? took[all * 99 / 100] : 0;
    free(took);
    return true;
}
