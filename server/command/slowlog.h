/* SPDX-License-Identifier: Apache-2.0
 *
 * slowlog.h - the calls that took long, for SLOWLOG.
 */
#ifndef SIDEPOND_COMMAND_SLOWLOG_H
#define SIDEPOND_COMMAND_SLOWLOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/command/command.h"

#define SLOWLOG_LENGTH_MAX 100000u

struct slowlog_entry;

struct slowlog {
    _Atomic uint64_t after_ns; /* UINT64_MAX: none is slow */
    pthread_mutex_t lock;
    struct slowlog_entry *newest, *oldest;
    uint32_t count, count_max;
    uint64_t next_id;
};

void slowlog_init(struct slowlog *log);
void slowlog_destroy(struct slowlog *log);
/* A negative time: none is slow. A log that is longer is cut. */
void slowlog_configure(struct slowlog *log, int64_t after_us, uint32_t count_max);

static inline bool slowlog_wants(const struct slowlog *log, uint64_t ns)
{
    return ns >= atomic_load_explicit(&log->after_ns, memory_order_relaxed);
}
/* Takes note of a call that has been run, as far as Redis would: not all of long arguments, and of
 * those with passwords nothing. */
void slowlog_add(struct session *session, const struct call *call, uint64_t ns);

#endif
