/* SPDX-License-Identifier: Apache-2.0
 *
 * random_numbers.c - see random_numbers.h: SplitMix64.
 */
#include "random_numbers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t random_state;

void random_start(void)
{
    const char *given = getenv("SIDEPOND_SEED");
    random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("SIDEPOND_SEED=%" PRIu64 "\n", random_state);
    fflush(stdout);
}

int random_setup(void **state)
{
    (void)state;
    random_start();
    return 0;
}

uint64_t random_next(void)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

unsigned random_below(unsigned limit)
{
    return (unsigned)(random_next() % limit);
}

unsigned random_tries(unsigned count)
{
    const char *slow = getenv("SIDEPOND_SLOW");
    return slow && *slow && !getenv("SIDEPOND_LONG") ? count / 4 : count;
}
