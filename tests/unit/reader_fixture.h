/* SPDX-License-Identifier: Apache-2.0
 *
 * reader_fixture.h - a pond with a table of people, for the tests of the reader library. The rows
 * say which they are, so that any row read can be checked.
 */
#ifndef SIDEPOND_TESTS_READER_FIXTURE_H
#define SIDEPOND_TESTS_READER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/region.h"
#include "server/store/store.h"
#include "sidepond/sidepond.h"
#include "tests/unit/status_asserts.h"

/* Columns of "people": id TEXT (key), name TEXT, age INT64, city TEXT NULL, photo BYTES NULL.
 * Indexes: 0 "by_name" (name), 1 "by_city" (city). */
enum { PEOPLE_NAME = 1, PEOPLE_AGE = 2, PEOPLE_CITY = 3, PEOPLE_PHOTO = 4, PEOPLE_CITIES = 7 };

struct pond_fixture {
    char directory[128];
    struct store_options options;
    struct store *store;
    struct schema *schema;
    struct sp_pond *pond;
    struct sp_table *people;
};

/* cmocka's setup and teardown: a store without tables. */
int people_setup(void **state);
int people_teardown(void **state);

void people_open_store(struct pond_fixture *f);
void people_close_store(struct pond_fixture *f);
/* Opens the reader's side. */
void people_open(struct pond_fixture *f);

/* Puts, or deletes, rows [from, to) in one commit; `generation` is in every value. */
void people_put(struct pond_fixture *f, uint32_t from, uint32_t to, uint32_t generation);
void people_delete(struct pond_fixture *f, uint32_t from, uint32_t to);
/* The same in a transaction of the caller's. */
void people_put_in(struct pond_fixture *f, struct store_txn *txn, const char *table, uint32_t from,
                   uint32_t to, uint32_t generation);

size_t people_key(uint32_t i, char *out);
/* The city of row i, NULL for some. */
const char *people_city(uint32_t i);
/* Bytes of the encoded value. */
size_t people_value(const struct pond_fixture *f, uint32_t i, uint32_t generation, void *out,
                    size_t cap);
/* The generation that an encoded value says it is of, having checked the rest; or -1. */
int64_t people_generation(const struct pond_fixture *f, uint32_t i, const void *value,
                          size_t value_bytes);
/* Gets row i by copy: its generation, or a status. */
int64_t people_get(struct pond_fixture *f, uint32_t i);

#endif
