/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_random.h - random documents, made by libbson, of all types, from the numbers of
 * random_numbers.h.
 */
#ifndef SIDEPOND_TESTS_BSON_RANDOM_H
#define SIDEPOND_TESTS_BSON_RANDOM_H

#include <bson/bson.h>

/* To be destroyed. Names are unique within a document; text is UTF-8. */
bson_t *bson_random(void);
/* A decimal128 that is in form: also with few digits, and close to the ends of the range. */
bson_decimal128_t bson_random_decimal(void);

#endif
