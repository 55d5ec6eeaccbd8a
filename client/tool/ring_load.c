/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_load.c - one reader and one writer. The writer counts up the number in each key; the reader
 * knows which one was acknowledged before it asked, so it sees what is older. A write that fails
 * may have been done all the same, so only acknowledged ones are held against the ring.
 */
#include "ring_load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"

#define KEY_BYTES 64
#define TTL_MS    3600000 /* what a rehearsal leaves behind is gone by itself */

static size_t key_make(const struct ring_load *load, unsigned key, char out[KEY_BYTES])
{
    return (size_t)snprintf(out, KEY_BYTES, "sidepond-drill:%016" PRIx64 ":%u", load->seed, key);
}

static void count(struct load_figures *figures, uint64_t begun_us, int status)
{
    uint64_t took_us = clock_us() - begun_us;
    int none = SP_OK;
    atomic_fetch_add(&figures->calls, 1);
    if (status != SP_OK) {
        atomic_fetch_add(&figures->failures, 1);
        atomic_compare_exchange_strong(&figures->first_failure, &none, status);
    }
    if (took_us > LOAD_SLOW_US)
        atomic_fetch_add(&figures->slow, 1);
    if (took_us > atomic_load(&figures->slowest_us)) /* one thread counts each */
        atomic_store(&figures->slowest_us, took_us);
}

static int write_one(struct ring_load *load, unsigned key, uint64_t number)
{
    char name[KEY_BYTES], value[32];
    size_t name_size = key_make(load, key, name);
    int value_size = snprintf(value, sizeof value, "%" PRIu64, number);
    uint64_t begun_us = clock_us();
    int status = sp_ring_set(load->ring, name, name_size, value, (size_t)value_size, TTL_MS,
                             SP_RING_ONE, NULL);
    count(&load->writes, begun_us, status);
    if (status == SP_OK)
        atomic_store(&load->acknowledged[key], number);
    return status;
}

/* The number in a key; 0: it is not there, which no writer writes. */
static int read_one(struct ring_load *load, unsigned key, uint64_t *number)
{
    char name[KEY_BYTES];
    size_t name_size = key_make(load, key, name);
    struct sp_buffer value = {0};
    int status = sp_ring_get(load->ring, name, name_size, &value);
    *number = 0;
    if (status == SP_OK) {
        char text[32] = "";
        memcpy(text, value.data, value.size < sizeof text - 1 ? value.size : sizeof text - 1);
        *number = strtoull(text, NULL, 10);
    }
    free(value.data);
    return status == SP_ENOTFOUND ? SP_OK : status;
}

static void *run_writer(void *argument)
{
    struct ring_load *load = argument;
    for (uint64_t number = 2; !atomic_load(&load->ends); number++)
        for (unsigned key = 0; key < LOAD_KEYS && !atomic_load(&load->ends); key++)
            (void)write_one(load, key, number);
    return NULL;
}

static void *run_reader(void *argument)
{
    struct ring_load *load = argument;
    for (unsigned key = 0; !atomic_load(&load->ends); key = (key + 1) % LOAD_KEYS) {
        uint64_t before = atomic_load(&load->acknowledged[key]), number;
        uint64_t begun_us = clock_us();
        int status = read_one(load, key, &number);
        count(&load->reads, begun_us, status);
        if (status == SP_OK && number < before)
            atomic_fetch_add(&load->stale, 1);
    }
    return NULL;
}

int ring_load_start(struct ring_load *load, struct sp_ring *ring)
{
    void *(*const runs[2])(void *) = {run_writer, run_reader};
    memset(load, 0, sizeof *load);
    load->ring = ring;
    load->seed = clock_ns();
    for (unsigned key = 0; key < LOAD_KEYS; key++) {
        int status = write_one(load, key, 1);
        if (status != SP_OK)
            return status;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (pthread_create(&load->threads[i], NULL, runs[i], load) != 0)
            return SP_ESYS;
        load->thread_count++;
    }
    return SP_OK;
}

uint64_t ring_load_stop(struct ring_load *load)
{
    uint64_t lost = 0;
    atomic_store(&load->ends, true);
    for (unsigned i = 0; i < load->thread_count; i++)
        pthread_join(load->threads[i], NULL);
    for (unsigned key = 0; key < LOAD_KEYS; key++) {
        char name[KEY_BYTES];
        uint64_t number;
        size_t name_size = key_make(load, key, name);
        if (read_one(load, key, &number) != SP_OK || number < atomic_load(&load->acknowledged[key]))
            lost++;
        (void)sp_ring_delete(load->ring, name, name_size, SP_RING_ONE, NULL);
    }
    return lost;
}
