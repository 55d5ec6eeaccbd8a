/* SPDX-License-Identifier: Apache-2.0
 *
 * cache_fixture.c - see cache_fixture.h.
 */
#include "tests/unit/cache_fixture.h"

int cache_fixture_open(struct cache_fixture *f, void **state)
{
    people_setup(state);
    f->pond = *state;
    people_put(f->pond, 0, 10, 1);
    assert_ok(cache_writer_open(&f->writer, f->pond->store));
    people_open(f->pond);
    assert_ok(sp_cache_open(f->pond->pond, &f->cache));
    return 0;
}

int cache_fixture_close(struct cache_fixture *f, void **state)
{
    cache_writer_close(&f->writer);
    return people_teardown(state);
}
