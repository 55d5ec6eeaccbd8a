/* SPDX-License-Identifier: Apache-2.0
 *
 * store_fixture.h - a pond of its own for each test of the store, with a writer and a reader.
 */
#ifndef SIDEPOND_TESTS_STORE_FIXTURE_H
#define SIDEPOND_TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/mp/pond_kit.h"
#include "tests/unit/status_asserts.h"

struct fixture {
    char directory[256];
    char why[STORE_WHY_BYTES];
    struct store_options options;
    struct store_opened opened;
    struct store *store;
    struct schema *schema;
    struct sp_pond *pond; /* a reader's handle, opened by fixture_reader */
    struct store_txn *txn;
    struct store_table *table; /* "t" in txn */
};

/* cmocka's setup and teardown. The latter closes, recovers and checks that nothing is lost. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_use_schema(struct fixture *f, unsigned what);

/* A transaction with the table "t" of the fixture's schema. */
void fixture_begin(struct fixture *f);
uint64_t fixture_commit(struct fixture *f);
void fixture_abort(struct fixture *f);
/* Puts a row whose body is of `state`, of some size that follows from both. */
enum store_change fixture_put(struct fixture *f, int64_t id, int64_t grp, uint64_t state);
/* In a transaction of its own: rows [from, to) of a state. */
void fixture_fill(struct fixture *f, int64_t from, int64_t to, uint64_t state);
/* The same, for one row. */
void fixture_put_alone(struct fixture *f, int64_t id, uint64_t state);

/* The reader: opened when first asked for. */
struct sp_table *fixture_table(struct fixture *f, const char *name);
/* Reads a row by copy: SP_OK and its state, or another status. */
int fixture_get(struct fixture *f, int64_t id, uint64_t *state);
int fixture_view(struct fixture *f, struct sp_snapshot *snapshot, int64_t id, uint64_t *state);
/* How many rows a secondary key has, by a walk over them; each is of that key. */
uint64_t fixture_find(struct fixture *f, size_t index, int64_t key);

struct store_info fixture_info(struct fixture *f);
/* Ticks until the bytes in use do not change any more. */
uint64_t fixture_settle(struct fixture *f);
size_t fixture_body_bytes(int64_t id, uint64_t state);

#endif
