/* SPDX-License-Identifier: Apache-2.0
 *
 * top.h - what `sidepond top` knows of a pond and its cache server at one time, and what it makes
 * of two such times.
 *
 *   pond  --libsidepond--> top_sample.c --\
 *   INFO  --top_server.c, top_info.c------+--> struct top_sample --\
 *                          the one before it, struct top_sample ---+--> top_frame.c   text
 *                                                                  \--> top_json.c    JSON
 *
 * All that counts up is kept as it came; rates, shares and percentiles are of what came in between
 * two samples (top_rates.c), and NAN where there is nothing to compare with.
 */
#ifndef SIDEPOND_TOOL_TOP_H
#define SIDEPOND_TOOL_TOP_H

#include <stdio.h>

#include "peer.h"

#define TOP_NAME_BYTES  64
#define TOP_BUCKETS_MAX 128

struct top_bucket {
    uint64_t end_ns, calls; /* calls that took less than end_ns, and not less than the one before */
};

struct top_command {
    char name[TOP_NAME_BYTES];
    uint64_t calls, us, rejected, failed;
    size_t bucket_count;
    struct top_bucket buckets[TOP_BUCKETS_MAX]; /* by end_ns; of the server's start on */
};

struct top_cache {
    bool seen;                /* the server has answered */
    char why[PEER_WHY_BYTES]; /* if not: a sentence */
    char version[TOP_NAME_BYTES];
    bool evicts; /* when full; else it refuses */
    uint64_t uptime_s, threads;
    uint64_t entries, expiring, bytes, memory_bytes, limit_bytes;
    uint64_t hits, misses, shm_hits, shm_misses;
    uint64_t written, evicted, expired, refused;
    uint64_t clients, clients_max, blocked, subscribers, accepted, rejected;
    uint64_t calls, errors, bytes_in, bytes_out;
    struct top_command *commands; /* those that were called */
    size_t command_count, command_room;
};

struct top_table {
    char name[TOP_NAME_BYTES];
    struct sp_table_info info;
};

struct top_sample {
    uint64_t at_us;  /* monotonic; 0: nothing sampled */
    int64_t wall_ms; /* Unix time */
    struct sp_pond_info pond;
    struct top_table *tables;
    size_t table_count;
    struct sp_reader_info *readers;
    size_t reader_count;
    struct top_cache cache;
};

/* --- top_info.c -------------------------------------------------------------------------------
 * Takes what INFO said apart; what is not understood is left out. False: out of memory. */
bool top_info_parse(const char *text, size_t size, struct top_cache *out);
void top_cache_free(struct top_cache *cache);

/* --- top_server.c ------------------------------------------------------------------------------
 * Asks the cache server for everything; `out` says if it could not be had, and why. */
void top_server_ask(struct peer *server, struct top_cache *out);

/* --- top_sample.c ----------------------------------------------------------------------------
 * SP_OK, or what keeps the pond from being read. Frees what the sample held. */
int top_sample_take(struct tool *tool, struct peer *server, struct top_sample *sample);
void top_sample_free(struct top_sample *sample);

/* --- top_rates.c ------------------------------------------------------------------------------ */

enum top_command_order {
    TOP_BY_CALLS,
    TOP_BY_TIME,
    TOP_BY_P99,
    TOP_BY_COMMAND,
    TOP_COMMAND_ORDERS
};
enum top_table_order { TOP_BY_TABLE, TOP_BY_CHANGES, TOP_BY_AGE, TOP_BY_ROWS, TOP_TABLE_ORDERS };
extern const char *const top_command_orders[TOP_COMMAND_ORDERS];
extern const char *const top_table_orders[TOP_TABLE_ORDERS];

/* Two samples; `before` NULL: the first one is yet alone. */
struct top_pair {
    const struct top_sample *before, *now;
};

struct top_table_row {
    const struct top_table *table;
    double changes, refreshes; /* per second */
};

/* Of the time between, or of all that the server has done while there is one sample only. */
struct top_command_row {
    const struct top_command *command;
    double calls, failed; /* per second */
    double share;         /* of the time that all commands took */
    double mean_ns, p50_ns, p99_ns;
};

double top_seconds(const struct top_pair *pair); /* NAN: one sample only */
/* Per second, of a counter that went from one value to another; NAN if it went back. */
double top_rate(const struct top_pair *pair, uint64_t before, uint64_t now);
/* Whether both samples are of one pond, and of one run of the cache server. */
bool top_same_pond(const struct top_pair *pair);
bool top_same_server(const struct top_pair *pair);
/* hits of all reads between; NAN: there were none. */
double top_ratio(double hits, double misses);

/* Sorted; to be freed by free(). NULL: out of memory. */
struct top_table_row *top_table_rows(const struct top_pair *pair, enum top_table_order order);
struct top_command_row *top_command_rows(const struct top_pair *pair, enum top_command_order order);

/* --- top_frame.c, top_fit.c and top_json.c
 * ----------------------------------------------------------------
 */

struct top_frame {
    const struct tool *tool;
    FILE *out;
    struct top_pair pair;
    enum top_command_order command_order;
    enum top_table_order table_order;
    size_t tables_max, commands_max, readers_max; /* lines at most */
};
void top_frame_print(const struct top_frame *frame);
/* How many lines of each list there is room for on a screen of so many. */
void top_frame_fit(struct top_frame *frame, unsigned lines);

int top_json_print(const struct top_pair *pair, enum top_command_order order);

#endif
