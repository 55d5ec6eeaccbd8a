/* SPDX-License-Identifier: Apache-2.0
 *
 * posting.c - secondary indexes: postings, collected and applied in bulk.
 *
 * A secondary index maps an encoded secondary key to the primary keys that share it, in posting
 * entries (format.h). What changes of rows mean for them is collected in private memory, at most
 * BUFFER_BYTES at a time, sorted by secondary key, and applied key by key: so a load of a million
 * rows writes each posting about once, and not once for each row in it.
 *
 * The primary keys of one secondary key are spread over postings of about POSTING_ITEMS each. A
 * change that touches few of many postings rewrites only those.
 */
#include "server/store/internal.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES  ((size_t)32 << 20)
#define POSTING_ITEMS 48u  /* aimed at, when postings are laid out anew */
#define ITEMS_MAX     128u /* in one posting, before that */

struct posting_op {
    uint64_t hash; /* of index and secondary key: what the sort groups by */
    uint32_t off;  /* in the buffer's bytes: secondary key, then primary key */
    uint32_t serial;
    uint16_t skey_bytes, pkey_bytes;
    uint8_t index; /* 1.. */
    bool add;
};

struct item { /* a primary key in a posting, or a change of it */
    const uint8_t *key;
    uint64_t hash;
    uint32_t serial; /* 0: it is there; else the change's place in the order */
    uint16_t size;
    bool gone;
};

struct items {
    struct vector list; /* struct item */
    size_t live;
};

/* --- collecting ----------------------------------------------------------------------------- */

static int buffer_reserve(struct posting_buffer *buffer, size_t more)
{
    if (buffer->size + more <= buffer->cap)
        return SP_OK;
    size_t cap = buffer->cap ? buffer->cap * 2 : 4096;
    while (cap < buffer->size + more)
        cap *= 2;
    uint8_t *bytes = realloc(buffer->bytes, cap);
    if (!bytes)
        return SP_ENOMEM;
    buffer->bytes = bytes;
    buffer->cap = cap;
    return SP_OK;
}

static int collect(struct store_table *table, unsigned index, bool add, const void *skey,
                   size_t skey_bytes, const void *key, size_t key_bytes)
{
    struct posting_buffer *buffer = &table->postings;
    int status = buffer_reserve(buffer, skey_bytes + key_bytes);
    struct posting_op *op = status == SP_OK ? vector_push(&buffer->ops, sizeof(*op)) : NULL;
    if (!op)
        return SP_ENOMEM;
    const struct hash_secret *secret = &table->txn->store->region.hash;
    *op = (struct posting_op){.hash = hash_key(secret, skey, skey_bytes),
                              .off = (uint32_t)buffer->size,
                              .serial = (uint32_t)buffer->ops.count,
                              .skey_bytes = (uint16_t)skey_bytes,
                              .pkey_bytes = (uint16_t)key_bytes,
                              .index = (uint8_t)index,
                              .add = add};
    memcpy(buffer->bytes + buffer->size, skey, skey_bytes);
    memcpy(buffer->bytes + buffer->size + skey_bytes, key, key_bytes);
    buffer->size += skey_bytes + key_bytes;
    return SP_OK;
}

/* The secondary key of a row: SP_ENULL if a column of it is NULL. */
static int secondary_key(const struct schema *schema, const struct row_index *index,
                         const void *key, size_t key_bytes, const void *value, size_t value_bytes,
                         uint8_t *out, size_t *size)
{
    struct sp_value values[ROW_KEY_COLUMNS_MAX];
    for (unsigned i = 0; i < index->column_count; i++) {
        int status = row_column_get(schema, index->columns[i], key, key_bytes, value, value_bytes,
                                    &values[i]);
        if (status != SP_OK)
            return status;
        if (values[i].is_null)
            return SP_ENULL;
    }
    return row_key_encode(schema, index->columns, index->column_count, values, index->column_count,
                          out, ROW_KEY_BYTES_MAX - sizeof(uint32_t), size);
}

int posting_row_check(const struct schema *schema, const struct store_row *row)
{
    static _Thread_local uint8_t skey[ROW_KEY_BYTES_MAX];
    size_t size;
    for (unsigned i = 0; i < schema->index_count; i++) {
        int status = secondary_key(schema, &schema->indexes[i], row->key, row->key_bytes,
                                   row->value, row->value_bytes, skey, &size);
        if (status != SP_OK && status != SP_ENULL)
            return SP_ETOOBIG;
    }
    return SP_OK;
}

int posting_row_changed(struct store_table *table, const void *key, size_t key_bytes,
                        const void *old_value, size_t old_bytes, const void *new_value,
                        size_t new_bytes)
{
    static _Thread_local uint8_t skeys[2][ROW_KEY_BYTES_MAX];
    const struct schema *schema = table->shape->schema;
    for (unsigned i = 0; i < schema->index_count; i++) {
        size_t size[2];
        int have[2] = {SP_ENULL, SP_ENULL};
        if (old_value)
            have[0] = secondary_key(schema, &schema->indexes[i], key, key_bytes, old_value,
                                    old_bytes, skeys[0], &size[0]);
        if (new_value)
            have[1] = secondary_key(schema, &schema->indexes[i], key, key_bytes, new_value,
                                    new_bytes, skeys[1], &size[1]);
        if (have[1] != SP_OK && have[1] != SP_ENULL)
            return have[1];
        if (have[0] == SP_OK && have[1] == SP_OK && size[0] == size[1] &&
            memcmp(skeys[0], skeys[1], size[0]) == 0)
            continue;
        for (int side = 0; side < 2; side++) {
            int status = have[side] != SP_OK ? SP_OK
                                             : collect(table, i + 1, side == 1, skeys[side],
                                                       size[side], key, key_bytes);
            if (status != SP_OK)
                return status;
        }
    }
    return table->postings.size > BUFFER_BYTES ? posting_flush(table) : SP_OK;
}

void posting_free(struct posting_buffer *buffer)
{
    free(buffer->bytes);
    vector_free(&buffer->ops);
}

/* --- applying ------------------------------------------------------------------------------- */

/* The changes of one secondary key. */
struct group {
    struct store_table *table;
    struct index *index;
    const uint8_t *bytes; /* the buffer's */
    const struct posting_op *ops;
    size_t count;
    uint8_t key[sizeof(uint32_t) + ROW_KEY_BYTES_MAX]; /* posting key: number | secondary key */
    size_t key_bytes;
};

static const uint8_t *op_pkey(const struct group *group, const struct posting_op *op)
{
    return group->bytes + op->off + op->skey_bytes;
}

/* Serves postings' keys too: they are in an index like any other. */
static uint64_t pkey_hash(const struct group *group, const uint8_t *key, size_t key_bytes)
{
    return hash_key(&group->table->txn->store->region.hash, key, key_bytes);
}

static uint64_t posting_place(struct group *group, uint32_t number, struct place *place,
                              bool *found)
{
    memcpy(group->key, &number, sizeof(number));
    uint64_t hash = pkey_hash(group, group->key, group->key_bytes);
    *found = index_find(group->index, hash, group->key, group->key_bytes, place);
    return hash;
}

/* The posting's bytes now; size 0 if there is none. */
static struct entry_view posting_read(struct group *group, uint32_t number)
{
    struct place place;
    bool found;
    posting_place(group, number, &place, &found);
    if (!found)
        return (struct entry_view){0};
    return entry_view(store_entry(group->table->txn->store, slot_unit(place.word)));
}

static uint32_t posting_count(struct group *group)
{
    struct entry_view first = posting_read(group, 0);
    uint32_t count = 0;
    if (first.value_bytes >= sizeof(count))
        memcpy(&count, first.value, sizeof(count));
    return count;
}

static int items_add(struct group *group, struct items *items, const uint8_t *key, uint16_t size,
                     uint32_t serial, bool gone)
{
    struct item *item = vector_push(&items->list, sizeof(*item));
    if (!item)
        return SP_ENOMEM;
    *item = (struct item){key, pkey_hash(group, key, size), serial, size, gone};
    items->live += !gone;
    return SP_OK;
}

static int items_load(struct group *group, uint32_t number, struct items *items)
{
    struct entry_view view = posting_read(group, number);
    size_t off = number == 0 ? sizeof(uint32_t) : 0;
    while (off + sizeof(uint16_t) <= view.value_bytes) {
        uint16_t size;
        memcpy(&size, view.value + off, sizeof(size));
        int status = items_add(group, items, view.value + off + sizeof(size), size, 0, false);
        if (status != SP_OK)
            return status;
        off += sizeof(size) + size;
    }
    return SP_OK;
}

/* One change, applied to the few items of one posting. */
static int items_apply(struct group *group, const struct posting_op *op, struct items *items)
{
    const uint8_t *key = op_pkey(group, op);
    struct item *list = items->list.items;
    for (size_t i = 0; i < items->list.count; i++) {
        if (list[i].size != op->pkey_bytes || memcmp(list[i].key, key, op->pkey_bytes) != 0)
            continue;
        list[i].gone = !op->add;
        items->live -= !op->add;
        return SP_OK;
    }
    return op->add ? items_add(group, items, key, op->pkey_bytes, 0, false) : SP_OK;
}

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    int order = memcmp(x->key, y->key, x->size);
    return order ? order : (x->serial > y->serial) - (x->serial < y->serial);
}

/* All changes, applied to all items: of what is said of one key, the last counts. */
static int items_apply_all(struct group *group, struct items *items)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct posting_op *op = &group->ops[i];
        int status =
            items_add(group, items, op_pkey(group, op), op->pkey_bytes, (uint32_t)i + 1, !op->add);
        if (status != SP_OK)
            return status;
    }
    struct item *list = items->list.items;
    if (items->list.count > 1)
        qsort(list, items->list.count, sizeof(*list), compare_items);
    items->live = 0;
    for (size_t i = 0; i < items->list.count; i++) {
        bool last = i + 1 == items->list.count || list[i].hash != list[i + 1].hash ||
                    list[i].size != list[i + 1].size ||
                    memcmp(list[i].key, list[i + 1].key, list[i].size) != 0;
        list[i].gone |= !last;
        items->live += !list[i].gone;
    }
    return SP_OK;
}

/* Writes one posting, if it differs from what is there. `list` may hold NULL: no items. */
static int posting_write(struct group *group, uint32_t number, uint32_t posting_total,
                         const struct item *const *list, size_t count)
{
    size_t size = number == 0 ? sizeof(uint32_t) : 0;
    for (size_t i = 0; i < count; i++)
        size += sizeof(uint16_t) + list[i]->size;
    uint8_t *value = malloc(size + 1), *out = value;
    if (!value)
        return SP_ENOMEM;
    if (number == 0)
        out = (uint8_t *)memcpy(out, &posting_total, sizeof(posting_total)) + sizeof(uint32_t);
    for (size_t i = 0; i < count; i++) {
        memcpy(out, &list[i]->size, sizeof(uint16_t));
        memcpy(out + sizeof(uint16_t), list[i]->key, list[i]->size);
        out += sizeof(uint16_t) + list[i]->size;
    }
    struct place place;
    bool found, keep = posting_total > 0 && (number == 0 || count > 0);
    uint64_t hash = posting_place(group, number, &place, &found);
    struct entry_view old = {0};
    if (found)
        old = entry_view(store_entry(group->table->txn->store, slot_unit(place.word)));
    bool there = found && !(old.flags & ENTRY_TOMBSTONE);
    int status = SP_OK;
    if (keep ? !there || old.value_bytes != size || memcmp(old.value, value, size) != 0 : there)
        status = txn_write(group->table->txn, group->index, found ? &place : NULL, hash,
                           ENTRY_POSTING | (keep ? 0 : ENTRY_TOMBSTONE), group->key,
                           group->key_bytes, keep ? value : NULL, keep ? size : 0, NULL);
    free(value);
    return status;
}

/* Lays all items of a secondary key out over as many postings as they need now. */
static int layout_all(struct group *group, const struct items *items, uint32_t old_count)
{
    const struct item *list = items->list.items;
    uint32_t count = (uint32_t)((items->live + POSTING_ITEMS - 1) / POSTING_ITEMS);
    size_t *starts = calloc(count + 2, sizeof(*starts));
    const struct item **sorted = malloc((items->live + 1) * sizeof(const struct item *));
    int status = starts && sorted ? SP_OK : SP_ENOMEM;
    for (size_t i = 0; status == SP_OK && i < items->list.count; i++) {
        if (!list[i].gone)
            starts[posting_number(list[i].hash, count) + 2]++;
    }
    for (uint32_t n = 2; status == SP_OK && n < count + 2; n++)
        starts[n] += starts[n - 1];
    for (size_t i = 0; status == SP_OK && i < items->list.count; i++) {
        if (!list[i].gone)
            sorted[starts[posting_number(list[i].hash, count) + 1]++] = &list[i];
    }
    for (uint32_t n = 0; status == SP_OK && (n < count || n < old_count || n == 0); n++) {
        size_t from = n < count ? starts[n] : 0, to = n < count ? starts[n + 1] : 0;
        status = posting_write(group, n, count, sorted + from, to - from);
    }
    free(sorted);
    free(starts);
    return status;
}

static int apply_to_all(struct group *group, uint32_t old_count)
{
    struct items items = {0};
    int status = SP_OK;
    for (uint32_t n = 0; n < old_count && status == SP_OK; n++)
        status = items_load(group, n, &items);
    if (status == SP_OK)
        status = items_apply_all(group, &items);
    if (status == SP_OK)
        status = layout_all(group, &items, old_count);
    const struct row_index *index = &group->table->shape->schema->indexes[group->ops[0].index - 1];
    if (status == SP_OK && index->unique && items.live > 1)
        group->table->counts.unique_violations += items.live - 1;
    vector_free(&items.list);
    return status;
}

/* Applies one change to one of many postings; `*full` if all should be laid out anew, as there are
 * too few or far too many. */
static int apply_to_one(struct group *group, const struct posting_op *op, uint32_t count,
                        bool *full)
{
    uint64_t hash = pkey_hash(group, op_pkey(group, op), op->pkey_bytes);
    uint32_t number = posting_number(hash, count);
    struct items items = {0};
    int status = items_load(group, number, &items);
    if (status == SP_OK)
        status = items_apply(group, op, &items);
    const struct item **list = malloc((items.live + 1) * sizeof(const struct item *));
    size_t live = 0;
    for (size_t i = 0; list && i < items.list.count; i++) {
        struct item *item = (struct item *)items.list.items + i;
        if (!item->gone)
            list[live++] = item;
    }
    if (status == SP_OK)
        status = list ? posting_write(group, number, count, list, live) : SP_ENOMEM;
    *full = live > ITEMS_MAX || live == 0; /* of some 48, the last has gone: there are too many */
    free(list);
    vector_free(&items.list);
    return status;
}

static int group_apply(struct group *group)
{
    uint32_t count = posting_count(group);
    if (count <= 4 || group->count > count)
        return apply_to_all(group, count);
    bool full = false;
    for (size_t i = 0; i < group->count; i++) {
        bool one_full;
        int status = apply_to_one(group, &group->ops[i], count, &one_full);
        if (status != SP_OK)
            return status;
        full |= one_full;
    }
    group->count = 0;
    return full ? apply_to_all(group, count) : SP_OK;
}

static int compare_ops(const void *a, const void *b)
{
    const struct posting_op *x = a, *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->serial > y->serial) - (x->serial < y->serial);
}

static bool same_key(const struct posting_buffer *buffer, const struct posting_op *a,
                     const struct posting_op *b)
{
    return a->index == b->index && a->skey_bytes == b->skey_bytes &&
           memcmp(buffer->bytes + a->off, buffer->bytes + b->off, a->skey_bytes) == 0;
}

int posting_flush(struct store_table *table)
{
    struct posting_buffer *buffer = &table->postings;
    struct posting_op *ops = buffer->ops.items;
    size_t count = buffer->ops.count;
    struct group *group = count ? malloc(sizeof(*group)) : NULL;
    if (!group)
        return count ? SP_ENOMEM : SP_OK;
    int status = SP_OK;
    pthread_mutex_unlock(&table->txn->store->lock); /* what is sorted is the transaction's own */
    qsort(ops, count, sizeof(*ops), compare_ops);
    store_lock(table->txn->store);
    for (size_t i = 0, end; i < count && status == SP_OK; i = end) {
        for (end = i + 1; end < count && same_key(buffer, &ops[i], &ops[end]);)
            end++;
        group->table = table;
        group->index = &table->shape->indexes[ops[i].index];
        group->bytes = buffer->bytes;
        group->ops = ops + i;
        group->count = end - i;
        memcpy(group->key + sizeof(uint32_t), buffer->bytes + ops[i].off, ops[i].skey_bytes);
        group->key_bytes = sizeof(uint32_t) + ops[i].skey_bytes;
        status = group_apply(group);
        store_breathe(table->txn->store);
    }
    buffer->ops.count = 0;
    buffer->size = 0;
    free(group);
    return status;
}
