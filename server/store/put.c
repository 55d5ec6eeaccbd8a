/* SPDX-License-Identifier: Apache-2.0
 *
 * put.c - writing rows: entries, batches, the full pass, deletes.
 *
 * A batch goes through the index in three steps, so that the cache misses of many rows overlap:
 * hash and prefetch the home buckets; prefetch the entries that the tags point to; compare and
 * write. A row whose bytes are in the pond already is not written.
 *
 * A full pass marks each entry it meets by the entry's first unit in a bitmap of private memory,
 * one bit for 16 bytes of pond; what is unmarked at the end is no longer in the database.
 */
#include "server/store/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GROUP 32u /* rows whose misses overlap */

/* --- entries -------------------------------------------------------------------------------- */

int entry_create(struct store *store, struct shape *shape, uint64_t born, unsigned flags,
                 uint64_t prev, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes, uint64_t *unit)
{
    if (key_bytes > ENTRY_KEY_MAX || value_bytes > ENTRY_VALUE_MAX)
        return SP_ETOOBIG;
    uint64_t units = bytes_to_units(ENTRY_HEAD_BYTES + key_bytes + value_bytes);
    int status = space_alloc(store, units, 1, unit);
    if (status != SP_OK)
        return status;
    struct entry *entry = store_entry(store, *unit);
    uint64_t born_word = entry_born_word(born, flags, key_bytes);
    uint64_t prev_word = entry_prev_word(prev, value_bytes);
    memcpy(entry->bytes, key, key_bytes);
    if (value_bytes > 0)
        memcpy(entry->bytes + key_bytes, value, value_bytes);
    entry->checksum = entry_checksum(born_word, prev_word, entry->bytes);
    atomic_store_explicit(&entry->born_word, born_word, memory_order_relaxed);
    atomic_store_explicit(&entry->prev_word, prev_word, memory_order_relaxed);
    shape->units += units;
    return SP_OK;
}

void entry_free(struct store *store, struct shape *shape, uint64_t unit)
{
    uint64_t units = entry_units(store_entry(store, unit));
    shape->units -= units;
    space_free(store, unit, units);
}

/* The version that a new one for this place links to: what this transaction itself wrote is
 * replaced for good. */
static uint64_t replaced_version(struct store *store, const struct place *place, uint64_t born)
{
    if (!place)
        return 0;
    struct entry_view old = entry_view(store_entry(store, slot_unit(place->word)));
    return old.born == born ? old.prev : slot_unit(place->word);
}

/* Marks what was replaced as dead if this transaction wrote it; it is freed when the transaction
 * ends. Not before it is replaced: its checksum is wrong from then on, and recovery would believe
 * nothing of what it finds through it. */
static void mark_dead(struct store *store, uint64_t unit, uint64_t born)
{
    struct entry *entry = store_entry(store, unit);
    struct entry_view old = entry_view(entry);
    if (old.born == born)
        atomic_store_explicit(&entry->born_word,
                              entry_born_word(born, old.flags | ENTRY_DEAD, old.key_bytes),
                              memory_order_relaxed);
}

int txn_write(struct store_txn *txn, struct index *index, const struct place *place, uint64_t hash,
              unsigned flags, const void *key, size_t key_bytes, const void *value,
              size_t value_bytes, uint64_t *out)
{
    struct store *store = txn->store;
    uint64_t unit;
    struct change *change = vector_push(&txn->changes, sizeof(*change));
    if (!change)
        return SP_ENOMEM;
    int status = entry_create(store, index->shape, txn->born, flags, 0, key, key_bytes, value,
                              value_bytes, &unit);
    if (status != SP_OK)
        goto forget;
    struct entry *entry = store_entry(store, unit);
    uint64_t prev = replaced_version(store, place, txn->born);
    atomic_store_explicit(&entry->prev_word, entry_prev_word(prev, value_bytes),
                          memory_order_relaxed);
    FAILPOINT("publish");
    if (place) {
        index_replace(place, unit);
        FAILPOINT("replaced");
        mark_dead(store, slot_unit(place->word), txn->born);
    } else {
        status = index_insert(index, hash, unit, 0, NULL);
        if (status != SP_OK)
            goto free_entry;
    }
    FAILPOINT("published");
    *change = (struct change){unit, index};
    if (out)
        *out = unit;
    return SP_OK;

free_entry:
    entry_free(store, index->shape, unit);
forget:
    txn->changes.count--;
    return status;
}

/* --- the full pass -------------------------------------------------------------------------- */

static bool pass_met(const struct pass *pass, uint64_t unit)
{
    return pass->seen[unit / 64] >> (unit % 64) & 1;
}

static void pass_mark(struct pass *pass, uint64_t unit)
{
    pass->seen[unit / 64] |= UINT64_C(1) << (unit % 64);
}

void store_pass_end(struct store_table *table)
{
    if (table->pass.seen)
        munmap(table->pass.seen, table->pass.seen_bytes);
    table->pass.seen = NULL;
}

int store_pass_begin(struct store_table *table)
{
    struct store *store = table->txn->store;
    struct pass *pass = &table->pass;
    store_pass_end(table);
    pass->seen_bytes = (store->region.unit_limit + 63) / 64 * 8;
    void *map = mmap(NULL, pass->seen_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return SP_ENOMEM;
    pass->seen = map;
    pass->met = 0;
    pass->before = table->shape->rows;
    return SP_OK;
}

void store_pass_missing(struct store_table *table, uint64_t *missing, uint64_t *before)
{
    *before = table->pass.before;
    *missing = table->pass.before - table->pass.met;
}

/* --- putting one row ------------------------------------------------------------------------ */

static int row_changed(struct store_table *table, const struct store_row *row,
                       const struct entry_view *old, uint64_t old_value_bytes)
{
    table->counts.bytes_written += row->key_bytes + row->value_bytes;
    table->shape->bytes += row->value_bytes - old_value_bytes;
    if (table->shape->index_count == 1)
        return SP_OK;
    return posting_row_changed(table, row->key, row->key_bytes, old ? old->value : NULL,
                               old ? old->value_bytes : 0, row->value, row->value_bytes);
}

/* A row whose key is not there, or only as a tombstone (then place is where). */
static int put_new(struct store_table *table, struct store_row *row, uint64_t hash,
                   const struct place *place, uint64_t *unit)
{
    int status = txn_write(table->txn, &table->shape->indexes[0], place, hash, 0, row->key,
                           row->key_bytes, row->value, row->value_bytes, unit);
    if (status != SP_OK)
        return status;
    row->change = STORE_INSERTED;
    table->counts.inserted++;
    table->shape->rows++;
    table->shape->bytes += row->key_bytes;
    return row_changed(table, row, NULL, 0);
}

static int put_existing(struct store_table *table, struct store_row *row, uint64_t hash,
                        const struct place *place, const struct entry_view *old, uint64_t *unit)
{
    *unit = slot_unit(place->word);
    if (old->value_bytes == row->value_bytes &&
        (row->value_bytes == 0 || memcmp(old->value, row->value, row->value_bytes) == 0)) {
        row->change = STORE_UNCHANGED;
        table->counts.unchanged++;
        return SP_OK;
    }
    int status = txn_write(table->txn, &table->shape->indexes[0], place, hash, 0, row->key,
                           row->key_bytes, row->value, row->value_bytes, unit);
    if (status != SP_OK)
        return status;
    row->change = STORE_UPDATED;
    table->counts.updated++;
    return row_changed(table, row, old, old->value_bytes);
}

static bool too_big(const struct store_table *table, const struct store_row *row)
{
    if (row->key_bytes > ENTRY_KEY_MAX || row->value_bytes > ENTRY_VALUE_MAX)
        return true;
    return table->shape->index_count > 1 &&
           row->key_bytes + row->value_bytes > ENTRY_KEY_MAX - ROW_KEY_COLUMNS_MAX * 4 &&
           posting_row_check(table->shape->schema, row) != SP_OK;
}

static int put_one(struct store_table *table, struct store_row *row, uint64_t hash)
{
    struct store *store = table->txn->store;
    if (too_big(table, row))
        return SP_ETOOBIG;
    struct pass *pass = &table->pass;
    struct place place;
    uint64_t unit;
    bool found = index_find(&table->shape->indexes[0], hash, row->key, row->key_bytes, &place);
    struct entry_view old = {0};
    if (found)
        old = entry_view(store_entry(store, slot_unit(place.word)));
    bool live = found && !(old.flags & ENTRY_TOMBSTONE);
    if (live && pass->seen) {
        if (pass_met(pass, slot_unit(place.word))) {
            row->change = STORE_DUPLICATE;
            table->counts.duplicate++;
            return SP_OK;
        }
        pass->met++;
    }
    int status = live ? put_existing(table, row, hash, &place, &old, &unit)
                      : put_new(table, row, hash, found ? &place : NULL, &unit);
    if (status == SP_OK && pass->seen)
        pass_mark(pass, unit);
    return status;
}

static int put_group(struct store_table *table, struct store_row *rows, size_t count, size_t *done)
{
    const struct index *index = &table->shape->indexes[0];
    uint64_t hashes[GROUP];
    for (size_t i = 0; i < count; i++) {
        hashes[i] = hash_key(&table->txn->store->region.hash, rows[i].key, rows[i].key_bytes);
        index_prefetch_bucket(index, hashes[i]);
    }
    if (!table->staged) {
        for (size_t i = 0; i < count; i++)
            index_prefetch_entry(index, hashes[i]);
    }
    for (size_t i = 0; i < count; i++, ++*done) {
        int status = put_one(table, &rows[i], hashes[i]);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}

int store_put(struct store_table *table, struct store_row *rows, size_t count, size_t *done)
{
    struct store_txn *txn = table->txn;
    *done = 0;
    if (txn->failed)
        return SP_EINVAL;
    int status = SP_OK;
    store_lock(txn->store);
    for (size_t i = 0; i < count && status == SP_OK; i += GROUP) {
        status = put_group(table, rows + i, count - i < GROUP ? count - i : GROUP, done);
        store_breathe(txn->store);
    }
    pthread_mutex_unlock(&txn->store->lock);
    txn->failed = status != SP_OK && status != SP_ETOOBIG;
    return status;
}

/* --- deletes -------------------------------------------------------------------------------- */

static int delete_at(struct store_table *table, const struct place *place)
{
    struct store *store = table->txn->store;
    struct entry_view old = entry_view(store_entry(store, slot_unit(place->word)));
    int status = txn_write(table->txn, &table->shape->indexes[0], place, 0, ENTRY_TOMBSTONE,
                           old.key, old.key_bytes, NULL, 0, NULL);
    if (status != SP_OK)
        return status;
    table->counts.deleted++;
    table->shape->rows--;
    table->shape->bytes -= old.key_bytes + old.value_bytes;
    if (table->shape->index_count == 1)
        return SP_OK;
    return posting_row_changed(table, old.key, old.key_bytes, old.value, old.value_bytes, NULL, 0);
}

int store_delete(struct store_table *table, const void *key, size_t key_bytes)
{
    struct store *store = table->txn->store;
    struct place place;
    if (table->txn->failed)
        return SP_EINVAL;
    store_lock(store);
    uint64_t hash = hash_key(&store->region.hash, key, key_bytes);
    int status = SP_ENOTFOUND;
    if (index_find(&table->shape->indexes[0], hash, key, key_bytes, &place) &&
        !(entry_view(store_entry(store, slot_unit(place.word))).flags & ENTRY_TOMBSTONE)) {
        status = delete_at(table, &place);
        table->txn->failed = status != SP_OK;
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

int store_read(struct store_table *table, const void *key, size_t key_bytes, void *value,
               size_t cap, size_t *value_bytes)
{
    struct store *store = table->txn->store;
    struct place place;
    struct entry_view row;
    if (table->txn->failed)
        return SP_EINVAL;
    store_lock(store);
    uint64_t hash = hash_key(&store->region.hash, key, key_bytes);
    int status = SP_ENOTFOUND;
    if (index_find(&table->shape->indexes[0], hash, key, key_bytes, &place)) {
        row = entry_view(store_entry(store, slot_unit(place.word)));
        if (!(row.flags & ENTRY_TOMBSTONE)) {
            *value_bytes = row.value_bytes;
            status = row.value_bytes <= cap ? SP_OK : SP_ERANGE;
        }
    }
    if (status == SP_OK && row.value_bytes > 0)
        memcpy(value, row.value, row.value_bytes);
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* Deletes what a segment holds and the pass has not met. */
static int sweep_segment(struct store_table *table, const struct segment_ref *segment,
                         uint64_t *deleted)
{
    struct store *store = table->txn->store;
    for (unsigned b = 0; b < segment->bucket_count; b++) {
        for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
            uint64_t word =
                atomic_load_explicit(&segment->buckets[b].slots[s], memory_order_relaxed);
            if (word == 0 || pass_met(&table->pass, slot_unit(word)))
                continue;
            struct entry_view e = entry_view(store_entry(store, slot_unit(word)));
            if (e.flags & ENTRY_TOMBSTONE)
                continue;
            struct place place;
            uint64_t hash = hash_key(&store->region.hash, e.key, e.key_bytes);
            index_find_unit(&table->shape->indexes[0], hash, slot_unit(word), &place);
            int status = delete_at(table, &place);
            if (status != SP_OK)
                return status;
            ++*deleted;
        }
    }
    return SP_OK;
}

int store_pass_sweep(struct store_table *table, uint64_t *deleted)
{
    struct store *store = table->txn->store;
    struct segment_ref segment;
    uint64_t position = 0;
    int status = SP_OK;
    *deleted = 0;
    if (table->txn->failed)
        return SP_EINVAL;
    if (table->pass.before == table->pass.met)
        return SP_OK;
    for (bool more = true; more && status == SP_OK;) {
        store_lock(store);
        more = index_next_segment(&table->shape->indexes[0], &position, &segment);
        if (more)
            status = sweep_segment(table, &segment, deleted);
        pthread_mutex_unlock(&store->lock);
    }
    table->txn->failed = status != SP_OK;
    return status;
}

int store_truncate(struct store_table *table, uint64_t *deleted)
{
    int status = store_pass_begin(table);
    *deleted = 0;
    if (status == SP_OK)
        status = store_pass_sweep(table, deleted);
    store_pass_end(table);
    return status;
}
