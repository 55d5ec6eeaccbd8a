/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_fixture.h - a cache with a writer and a reader, beside a table of ten people.
 */
#ifndef SIDEPOND_TESTS_CACHE_FIXTURE_H
#define SIDEPOND_TESTS_CACHE_FIXTURE_H

#include "sidepond/cache.h"
#include "tests/unit/cache_writer.h"
#include "tests/unit/reader_fixture.h"

struct cache_fixture {
    struct pond_fixture *pond; /* also cmocka's state */
    struct cache_writer writer;
    struct sp_cache *cache; /* of pond->pond */
};

/* To be called by cmocka's setup and teardown; 0. */
int cache_fixture_open(struct cache_fixture *f, void **state);
int cache_fixture_close(struct cache_fixture *f, void **state);

#endif
