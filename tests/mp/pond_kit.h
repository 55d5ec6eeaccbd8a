/* SPDX-License-Identifier: Apache-2.0
 *
 * pond_kit.h - what the tests of the store share: directories, rows, random numbers, the checker.
 *
 * Rows of the kit have an INT64 key `id` and the columns grp (INT64, may be NULL), code (INT64) and
 * body (BYTES). A body that kit_body made says of itself which row and which state it is, and
 * whether it is whole.
 */
#ifndef SIDEPOND_TESTS_POND_KIT_H
#define SIDEPOND_TESTS_POND_KIT_H

#include "alloc/check.h"
#include "server/store/store.h"

#define KIT_NO_GROUP INT64_MIN

/* --- random numbers ------------------------------------------------------------------------- */

struct kit_random {
    uint64_t state;
};
uint64_t kit_random(struct kit_random *random);
/* In [0, bound). */
uint64_t kit_below(struct kit_random *random, uint64_t bound);
/* $SIDEPOND_SEED, else the time; printed. */
uint64_t kit_seed(const char *test);
/* Well-mixed bits of a number. */
uint64_t kit_mix(uint64_t value);

/* --- time and directories ------------------------------------------------------------------- */

uint64_t kit_now_ms(void);
/* A new directory of its own under /dev/shm, or $TMPDIR; ends with the test. */
void kit_directory_make(char *out, size_t cap);
void kit_directory_remove(const char *directory);
/* Whether this build is a slow one, of a sanitizer or for coverage, in which random tests are
 * shorter; and whether all are of full length. */
bool kit_slow(void);
bool kit_long(void);

/* --- rows ----------------------------------------------------------------------------------- */

enum {
    KIT_INDEX_GROUP = 1, /* secondary index 0: by grp */
    KIT_INDEX_CODE = 2,  /* the next one: by code, unique */
    KIT_NOTE = 4         /* one more column, note (TEXT, NULL): another shape */
};
struct schema *kit_schema(unsigned what);

struct kit_row {
    int64_t id;
    int64_t grp; /* KIT_NO_GROUP: NULL */
    int64_t code;
    const void *body;
    size_t body_bytes;
};

/* Encodes the columns but the key's; grows *buffer (free it), returns the size. */
size_t kit_encode(const struct schema *schema, const struct kit_row *row, uint8_t **buffer,
                  size_t *cap);
/* Puts one row; `*change` may be NULL. */
int kit_put(struct store_table *table, const struct schema *schema, const struct kit_row *row,
            enum store_change *change);
int kit_delete(struct store_table *table, int64_t id);
/* Columns of a value; false if it cannot be of the schema. */
bool kit_decode(const struct schema *schema, const void *value, size_t value_bytes,
                struct kit_row *out);

/* Fills a body of `bytes` (at least KIT_BODY_MIN) for a state of a row. */
#define KIT_BODY_MIN 40u
void kit_body(void *out, size_t bytes, uint64_t table, int64_t id, uint64_t state);
/* The state, if the body is whole and of this row. */
bool kit_body_state(const void *body, size_t bytes, uint64_t table, int64_t id, uint64_t *state);

/* --- the checker ---------------------------------------------------------------------------- */

/* Checks the pond in a directory, prints complaints; how many there are, and leaked units. A live
 * pond's allocator is not looked at. `report` may be NULL. */
uint64_t kit_check(const char *directory, bool live, struct check_report *report);

#endif
