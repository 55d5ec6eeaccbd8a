/* SPDX-License-Identifier: Apache-2.0
 *
 * random_numbers.h - random numbers for tests, from a seed that is printed; SIDEPOND_SEED repeats
 * it. One sequence for the whole program: one thread.
 */
#ifndef SIDEPOND_TESTS_RANDOM_NUMBERS_H
#define SIDEPOND_TESTS_RANDOM_NUMBERS_H

#include <stdint.h>

void random_start(void);
int random_setup(void **state); /* the same, of a group of tests */
uint64_t random_next(void);
unsigned random_below(unsigned limit);
/* How many of so many random values a test tries: a quarter in a slow build, of a sanitizer or for
 * coverage. */
unsigned random_tries(unsigned count);

#endif
