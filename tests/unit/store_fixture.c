/* SPDX-License-Identifier: Apache-2.0
 *
 * store_fixture.c - see store_fixture.h.
 */
#include "tests/unit/store_fixture.h"

#define BODY_MAX 512u

void fixture_open(struct fixture *f)
{
    int status = store_open(&f->options, &f->store, &f->opened, f->why);
    if (status != SP_OK)
        fail_msg("store_open: %s: %s", sp_status_name(status), f->why);
}

void fixture_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

void fixture_use_schema(struct fixture *f, unsigned what)
{
    schema_free(f->schema);
    f->schema = kit_schema(what);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    kit_directory_make(f->directory, sizeof(f->directory));
    f->options = (struct store_options){.directory = f->directory,
                                        .name = "test",
                                        .limit_bytes = UINT64_C(64) << 20,
                                        .lease_limit_ms = 60000,
                                        .gid = -1};
    fixture_use_schema(f, 0);
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    sp_close(f->pond);
    f->pond = NULL;
    if (f->txn)
        fixture_abort(f);
    fixture_close(f);
    fixture_open(f); /* finds what nothing leads to, and must find nothing wrong */
    assert_int_equal(f->opened.dropped_corrupt, 0);
    assert_int_equal(f->opened.dropped_uncommitted, 0);
    fixture_settle(f);
    fixture_close(f);
    assert_int_equal(kit_check(f->directory, false, NULL), 0);
    kit_directory_remove(f->directory);
    schema_free(f->schema);
    free(f);
    return 0;
}

/* --- writing -------------------------------------------------------------------------------- */

void fixture_begin(struct fixture *f)
{
    assert_ok(store_begin(f->store, &f->txn));
    assert_ok(store_table(f->txn, "t", f->schema, 0, &f->table, NULL));
}

uint64_t fixture_commit(struct fixture *f)
{
    uint64_t version;
    struct store_txn *txn = f->txn;
    f->txn = NULL;
    assert_ok(store_commit(txn, &version));
    return version;
}

void fixture_abort(struct fixture *f)
{
    store_abort(f->txn);
    f->txn = NULL;
}

size_t fixture_body_bytes(int64_t id, uint64_t state)
{
    return KIT_BODY_MIN + kit_mix((uint64_t)id ^ state << 32) % (BODY_MAX - KIT_BODY_MIN);
}

enum store_change fixture_put(struct fixture *f, int64_t id, int64_t grp, uint64_t state)
{
    uint8_t body[BODY_MAX];
    enum store_change change;
    size_t bytes = fixture_body_bytes(id, state);
    kit_body(body, bytes, 0, id, state);
    const struct kit_row row = {id, grp, id, body, bytes};
    assert_ok(kit_put(f->table, f->schema, &row, &change));
    return change;
}

void fixture_fill(struct fixture *f, int64_t from, int64_t to, uint64_t state)
{
    fixture_begin(f);
    for (int64_t id = from; id < to; id++)
        fixture_put(f, id, id % 10, state);
    fixture_commit(f);
}

void fixture_put_alone(struct fixture *f, int64_t id, uint64_t state)
{
    fixture_fill(f, id, id + 1, state);
}

/* --- reading -------------------------------------------------------------------------------- */

struct sp_table *fixture_table(struct fixture *f, const char *name)
{
    struct sp_table *table;
    if (!f->pond)
        assert_ok(sp_open(f->directory, NULL, &f->pond));
    assert_ok(sp_table_open(f->pond, name, &table));
    return table;
}

static int value_state(struct fixture *f, int64_t id, const void *value, size_t bytes,
                       uint64_t *state)
{
    struct kit_row row;
    assert_true(kit_decode(f->schema, value, bytes, &row));
    assert_true(kit_body_state(row.body, row.body_bytes, 0, id, state));
    assert_int_equal(row.code, id);
    return SP_OK;
}

int fixture_get(struct fixture *f, int64_t id, uint64_t *state)
{
    uint8_t value[1024];
    size_t size;
    struct sp_table *table;
    if (!f->pond)
        assert_ok(sp_open(f->directory, NULL, &f->pond));
    int status = sp_table_open(f->pond, "t", &table);
    if (status == SP_OK)
        status = sp_get(table, &id, sizeof(id), value, sizeof(value), &size);
    return status == SP_OK ? value_state(f, id, value, size, state) : status;
}

int fixture_view(struct fixture *f, struct sp_snapshot *snapshot, int64_t id, uint64_t *state)
{
    struct sp_view view;
    int status = sp_view(snapshot, fixture_table(f, "t"), &id, sizeof(id), &view);
    if (status != SP_OK)
        return status;
    return value_state(f, id, view.value, view.value_bytes, state);
}

uint64_t fixture_find(struct fixture *f, size_t index, int64_t key)
{
    struct sp_table *table = fixture_table(f, "t");
    struct sp_snapshot *snapshot;
    struct sp_scan *scan;
    struct sp_view view;
    uint64_t count = 0;
    int status;
    assert_ok(sp_snapshot_begin(f->pond, &snapshot));
    assert_ok(sp_find_begin(snapshot, table, index, &key, sizeof(key), &scan));
    while ((status = sp_scan_next(scan, &view)) == SP_OK) {
        struct kit_row row;
        assert_true(kit_decode(f->schema, view.value, view.value_bytes, &row));
        assert_int_equal(f->schema->indexes[index].unique ? row.code : row.grp, key);
        count++;
    }
    assert_status(status, SP_ENOTFOUND);
    sp_scan_end(scan);
    sp_snapshot_end(snapshot);
    return count;
}

/* --- housekeeping --------------------------------------------------------------------------- */

struct store_info fixture_info(struct fixture *f)
{
    struct store_info info;
    store_info(f->store, &info);
    return info;
}

uint64_t fixture_settle(struct fixture *f)
{
    uint64_t used = fixture_info(f).used_bytes;
    for (unsigned same = 0; same < 20; same++) {
        store_tick(f->store);
        uint64_t now = fixture_info(f).used_bytes;
        if (now != used)
            same = 0;
        used = now;
    }
    return used;
}
