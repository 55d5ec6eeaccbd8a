/* SPDX-License-Identifier: Apache-2.0
 *
 * operators.h - what SIDEPOND asks of the daemon around a service: its tables, its state, and that
 * a table be refreshed, held or let through. The daemon gives these functions to the service
 * (service_set_operators); a service without them has no tables to tell of.
 *
 * Each is called on a thread of its own (jobs.h), by several at a time, and waits for no database.
 * Texts are borrowed where they are const char *, and then live as long as the daemon.
 */
#ifndef SIDEPOND_COMMAND_OPERATORS_H
#define SIDEPOND_COMMAND_OPERATORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sidepond/value.h"

#define OPERATOR_ERROR_BYTES 512u

/* A table as the daemon and its readers see it. Wall clocks are Unix time in ms, 0: never. */
struct operator_table {
    char name[64], group[64], source[64];
    const char *state; /* "loading", "fresh", "failing", "held" */
    const char *phase; /* "waiting", "running", "backing off" */
    bool served;       /* readers can have it; else rows to age_ms say nothing */
    bool stale;
    bool held_by_operator;
    uint64_t rows, bytes, memory_bytes;
    uint64_t version;   /* of the last commit that changed it */
    uint64_t age_ms;    /* since the last refresh that succeeded; UINT64_MAX: never */
    uint64_t held_rows; /* that max_drop keeps from being deleted */
    uint64_t refreshes, failures, failures_in_a_row;
    uint64_t skipped_rows;                          /* bad ones, so far */
    uint64_t inserted, updated, deleted, unchanged; /* by the last refresh that succeeded */
    uint32_t duration_ms;                           /* of that one */
    int64_t changed_at_ms, success_at_ms, attempt_at_ms;
    char error[OPERATOR_ERROR_BYTES]; /* "": none */
    struct operator_feed {
        const char *state; /* "none" (another mode), "starting", "following", "fallen back" */
        char position[128];
        int64_t at_ms, compared_at_ms;
        uint32_t delay_ms;
        uint64_t lag_bytes; /* UINT64_MAX: unknown */
        uint64_t transactions, put, removed, reloads, drift_rows;
        char why[OPERATOR_ERROR_BYTES];     /* it is not possible; "" */
        char inexact[OPERATOR_ERROR_BYTES]; /* why states may be seen that never were; "" */
    } feed;
};

struct operator_daemon {
    const char *version, *configuration;
    int64_t pid, started_at_ms, loaded_at_ms /* the configuration */, saved_at_ms /* a snapshot */;
    uint64_t reloads_good, reloads_bad;
    bool reload_failed; /* the last one */
    bool ready;
    char not_ready[256]; /* why */
};

struct operators {
    void *context;
    /* An array to be freed. SP_ENOMEM. */
    int (*tables)(void *context, struct operator_table **out, size_t *count);
    void (*about)(void *context, struct operator_daemon *out);
    /* Begins a full refresh, for all that holds it, and gives a ticket for `ended`. SP_ENOTABLE. */
    int (*refresh)(void *context, const char *table, uint64_t *ticket);
    /* The same for what is held, and lets it drop rows. SP_ENOTABLE; SP_EINVAL: nothing is held. */
    int (*confirm)(void *context, const char *table, uint64_t *ticket);
    int (*hold)(void *context, const char *table); /* SP_ENOTABLE */
    /* SP_OK: that refresh has ended, *out says how. SP_EBUSY: not yet, *out says how it is.
     * SP_ENOTABLE: it never will, since the table is configured otherwise now. */
    int (*ended)(void *context, const char *table, uint64_t ticket, struct operator_table *out);
};

#endif
