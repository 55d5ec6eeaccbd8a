/* SPDX-License-Identifier: Apache-2.0
 *
 * latency.c - LATENCY: how long commands take.
 *
 * HISTOGRAM is what the threads have counted (stats.h). Of the latency monitor of Redis, which
 * records events above a threshold, there is none: LATEST, HISTORY and RESET answer as Redis does
 * when nothing was recorded.
 */
#include "server/command/commands.h"

/* --- HISTOGRAM -------------------------------------------------------------------------------- */

/* Calls that took at most so many microseconds, for powers of two from 1 on: each pair where the
 * number grows, as Redis has it. How many pairs that is; `reply` NULL: only that. */
static size_t walk_powers(const struct command_figures *figures, struct reply *reply)
{
    uint64_t seen = 0, shown = 0;
    size_t pairs = 0;
    unsigned bucket = 0;
    for (uint64_t us = 1; bucket < LATENCY_BUCKETS; us *= 2) {
        /* A microsecond of 1024 ns, since buckets end at multiples of 64. */
        while (bucket < LATENCY_BUCKETS && latency_bucket_end(bucket) <= us * 1024)
            seen += figures->buckets[bucket++];
        if (seen == shown)
            continue;
        shown = seen;
        pairs++;
        if (reply) {
            reply_integer(reply, (int64_t)us);
            reply_integer(reply, (int64_t)seen);
        }
    }
    return pairs;
}

static void reply_histogram(struct session *session, const struct command *command,
                            const struct command_figures *figures)
{
    struct reply *reply = &session->reply;
    reply_text(reply, command_full_name(command));
    reply_map(reply, 2);
    reply_text(reply, "calls");
    reply_integer(reply, (int64_t)figures->calls);
    reply_text(reply, "histogram_usec");
    reply_map(reply, walk_powers(figures, NULL));
    walk_powers(figures, reply);
}

/* A command, or else its subcommands, as far as they were called; how many those were. */
static size_t reply_called(struct session *session, const struct command *command)
{
    struct command_figures figures;
    size_t count = 0;
    stats_of_command_since_reset(session->service, command->number, &figures);
    if (figures.calls > 0) {
        reply_histogram(session, command, &figures);
        count++;
    }
    for (unsigned i = 0; i < command->subcommand_count; i++)
        count += reply_called(session, &command->subcommands[i]); /* which have none */
    return count;
}

void run_latency_histogram(struct session *session, const struct call *call)
{
    size_t mark = reply_mark(&session->reply), count = 0;
    for (size_t i = 0; call->count == 2 && i < command_count; i++)
        count += reply_called(session, &commands[i]);
    for (size_t i = 2; i < call->count; i++) {
        const struct command *command = command_find_full(&call->args[i]);
        if (command)
            count += reply_called(session, command);
    }
    reply_map_at(&session->reply, mark, count);
}

/* --- events, of which none is recorded -------------------------------------------------------- */

void run_latency_latest(struct session *session, const struct call *call)
{
    (void)call;
    reply_array(&session->reply, 0);
}

void run_latency_history(struct session *session, const struct call *call)
{
    run_latency_latest(session, call);
}

void run_latency_reset(struct session *session, const struct call *call)
{
    (void)call;
    reply_integer(&session->reply, 0);
}

void run_latency_doctor(struct session *session, const struct call *call)
{
    static const char text[] = "No latency event was recorded: they are not monitored. LATENCY "
                               "HISTOGRAM, SLOWLOG GET and INFO latencystats say how long commands "
                               "take.\n";
    (void)call;
    reply_verbatim(&session->reply, text, sizeof(text) - 1);
}

void run_latency_help(struct session *session, const struct call *call)
{
    static const char *const lines[] = {"DOCTOR",
                                        "    Where to look for what is slow.",
                                        "HISTOGRAM [<command> ...]",
                                        "    How many calls took how long.",
                                        "HISTORY <event>",
                                        "    Nothing: events are not recorded.",
                                        "LATEST",
                                        "    Nothing: events are not recorded.",
                                        "RESET [<event> ...]",
                                        "    0: there is nothing to forget.",
                                        NULL};
    (void)call;
    reply_help(session, "LATENCY", lines);
}
