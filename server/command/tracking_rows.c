/* SPDX-License-Identifier: Apache-2.0
 *
 * tracking_rows.c - rows of tables that clients have read, and that have changed.
 *
 * Nobody tells the service of a commit. Ten times a second it compares the pond's version with the
 * last one it has seen; for each table that has changed since, it looks up every row of it that a
 * client has read, and if the row's entry is younger than that version, or not there, the clients
 * are told. Who tracks prefixes is told to forget everything, if a row of the table could have one
 * of them: which rows have changed is not known of those that nobody reads.
 *
 * Tables that come and go change what keys mean; then everybody is told to forget everything, and
 * once more when every thread has seen it.
 *
 * Costs: a commit with N rows of its tables tracked costs N lookups, about 0.2 us each, under the
 * mutexes of the rows' stripes, one after the other; no thread that serves waits for more than one
 * of the 64. A client hears of a change up to 100 ms after the commit.
 */
#include "alloc/fnv.h"
#include "server/command/tracking_internal.h"

#include <string.h>

#include "server/command/rows.h"

#define FLUSH_AGAIN_TICKS 3u /* by then every thread has looked which tables there are (rows.c) */

/* A table that has changed. */
struct changed_table {
    struct sp_table *table;
    const char *name;
    size_t name_bytes;
    uint64_t since;  /* all rows up to this version are known */
    bool unreadable; /* it has become too old: no row can be read */
    struct sp_row *row;
};

static bool is_row_of(const struct changed_table *table, const void *key, size_t bytes)
{
    const char *text = key;
    return bytes > table->name_bytes && text[table->name_bytes] == ':' &&
           memcmp(text, table->name, table->name_bytes) == 0;
}

/* For tracked_keys_take_all. */
static bool row_is_stale(void *context, const struct tracked *tracked)
{
    const struct changed_table *table = context;
    size_t head = table->name_bytes + 1;
    if (!is_row_of(table, tracked->key, tracked->key_bytes))
        return false;
    return table->unreadable ||
           row_changed_since(table->table, tracked->key + head, tracked->key_bytes - head,
                             table->since, table->row);
}

/* Whether a row of the table can begin with the prefix. */
static bool may_begin(const struct changed_table *table, const struct tracked_prefix *prefix)
{
    size_t both = prefix->bytes < table->name_bytes ? prefix->bytes : table->name_bytes;
    if (both > 0 && memcmp(prefix->text, table->name, both) != 0)
        return false;
    return prefix->bytes <= table->name_bytes || prefix->text[table->name_bytes] == ':';
}

static void tell_prefixes(struct service *service, const struct changed_table *table)
{
    struct tracking *tracking = service->tracking;
    struct receivers receivers = RECEIVERS_INIT;
    pthread_mutex_lock(&tracking->lock);
    for (size_t i = 0; i < tracking->prefixes.count; i++) {
        const struct tracked_prefix *prefix = tracking->prefixes.sorted[i];
        for (size_t c = 0; may_begin(table, prefix) && c < prefix->id_count; c++) {
            const struct tracking_member *member = tracking_find(tracking, prefix->ids[c]);
            if (member)
                receivers_add(service, &receivers, member);
        }
    }
    pthread_mutex_unlock(&tracking->lock);
    receivers_tell(service, &receivers, NULL);
}

static void tell_rows(struct service *service, struct changed_table *table)
{
    struct tracked *next,
        *tracked = tracked_keys_take_all(&service->tracking->rows, row_is_stale, table);
    for (; tracked; tracked = next) {
        next = tracked->next;
        tracking_tell(service, NULL, tracked);
    }
}

static void look_at_table(struct service *service, const char *name, bool changes)
{
    struct tracking *tracking = service->tracking;
    struct sp_table_info info = SP_TABLE_INFO_INIT;
    struct changed_table table = {.name = name,
                                  .name_bytes = strlen(name),
                                  .since = tracking->rows_version,
                                  .row = tracking->row};
    if (sp_table_open(service->pond, name, &table.table) != SP_OK ||
        sp_table_info(table.table, &info) != SP_OK)
        return;
    bool changed = changes && info.version > tracking->rows_version;
    table.unreadable = info.stale && info.fails_when_stale;
    if (changed || table.unreadable)
        tell_rows(service, &table);
    if (changed)
        tell_prefixes(service, &table);
}

static uint64_t names_hash(const char *const *names, size_t count)
{
    uint64_t hash = count + 1;
    for (size_t i = 0; i < count; i++)
        hash = fnv_text(hash, names[i]);
    return hash;
}

/* Whether the tables are others than before. */
static bool tables_differ(struct tracking *tracking, const char *const *names, size_t count)
{
    uint64_t tables = names_hash(names, count);
    bool differ = tracking->tables != tables;
    tracking->tables = tables;
    return differ;
}

/* With the lock that CLIENT TRACKING takes: so whoever tracks after this reads no version older
 * than one that the caller has seen before it. */
static bool nobody_tracks(struct service *service)
{
    pthread_mutex_lock(&service->tracking->lock);
    bool nobody = atomic_load_explicit(&service->trackers, memory_order_relaxed) == 0;
    pthread_mutex_unlock(&service->tracking->lock);
    return nobody;
}

void tracking_rows_tick(struct service *service)
{
    struct tracking *tracking = service->tracking;
    const char *names[SP_TABLES_MAX];
    uint64_t version = sp_pond_version(service->pond);
    bool changes = version != tracking->rows_version;
    if (!changes && tracking->flush_in == 0 &&
        atomic_load_explicit(&tracking->rows.keys, memory_order_relaxed) == 0)
        return;
    size_t count = sp_table_names(service->pond, names, SP_TABLES_MAX);
    if (count > SP_TABLES_MAX)
        count = SP_TABLES_MAX;
    bool differ =
        changes && (tables_differ(tracking, names, count) || version < tracking->rows_version);
    if (nobody_tracks(service)) {
        tracking->rows_version = version;
        tracking->flush_in = 0;
        return;
    }
    bool again = tracking->flush_in > 0 && --tracking->flush_in == 0;
    if (differ)
        tracking->flush_in = FLUSH_AGAIN_TICKS;
    if (differ || again)
        tracking_flushed(service, NULL);
    else
        for (size_t i = 0; i < count; i++)
            look_at_table(service, names[i], changes);
    tracking->rows_version = version;
}
