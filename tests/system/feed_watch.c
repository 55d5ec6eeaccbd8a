/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_watch.c - reads a pond that follows a database, and objects to any state that was none of
 * the database's.
 *
 *   feed_watch POND
 *
 * The tables are those of feed_faults.py: account and entry (id, n, s, big, and whatever else), and
 * ledger, whose one row is written by each transaction: its number, and the digest of all rows as
 * the transaction leaves them. So a snapshot of the pond is a committed state if the rows in it
 * have the digest that its ledger says. The number may never become smaller.
 *
 *   digest = the sum, over all rows, of the first 32 bits of
 *            MD5("a:ID:N:S:BIG") ("e:..." for entry; "-" for NULL)
 *
 * Prints "at NUMBER DIGEST" for each new state and "wrong: ..." before it ends with 1. Reads until
 * its standard input ends; then prints "seen STATES of READS" and ends with 0.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sidepond/sidepond.h"

#define TEXT_BYTES (1 << 20)

struct state {
    int64_t number, digest; /* as the ledger says */
    int64_t sum;            /* of the rows */
    uint64_t rows;
};

static char text[TEXT_BYTES];

static size_t put_value(size_t used, const struct sp_view *view, const char *column)
{
    struct sp_value value;
    const int at = sp_schema_find_column(view->schema, column);
    text[used++] = ':';
    if (at < 0 || sp_view_column(view, (size_t)at, &value) != SP_OK || value.is_null) {
        text[used++] = '-';
        return used;
    }
    return used + sp_value_text(&value, text + used, sizeof(text) - used);
}

static int64_t row_digest(const struct sp_view *view, char letter)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    size_t used = 0;
    text[used++] = letter;
    used = put_value(used, view, "id");
    used = put_value(used, view, "n");
    used = put_value(used, view, "s");
    used = put_value(used, view, "big");
    if (!EVP_Digest(text, used, md5, &size, EVP_md5(), NULL))
        abort();
    return (int64_t)md5[0] << 24 | md5[1] << 16 | md5[2] << 8 | md5[3];
}

static int64_t column_int(const struct sp_view *view, const char *column)
{
    struct sp_value value;
    const int at = sp_schema_find_column(view->schema, column);
    return at >= 0 && sp_view_column(view, (size_t)at, &value) == SP_OK ? value.i : -1;
}

static int read_table(struct sp_pond *pond, struct sp_snapshot *snapshot, const char *name,
                      struct state *state)
{
    struct sp_table *table;
    struct sp_scan *scan;
    struct sp_view view;
    int status = sp_table_open(pond, name, &table);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, table, &scan);
    if (status != SP_OK)
        return status;
    while ((status = sp_scan_next(scan, &view)) == SP_OK) {
        if (*name == 'l') {
            state->number = column_int(&view, "txn");
            state->digest = column_int(&view, "digest");
        } else {
            state->sum += row_digest(&view, *name);
            state->rows++;
        }
    }
    sp_scan_end(scan);
    return status == SP_ENOTFOUND ? SP_OK : status;
}

static int read_state(struct sp_pond *pond, struct state *state)
{
    struct sp_snapshot *snapshot;
    *state = (struct state){.number = -1};
    int status = sp_snapshot_begin(pond, &snapshot);
    if (status != SP_OK)
        return status;
    status = read_table(pond, snapshot, "account", state);
    if (status == SP_OK)
        status = read_table(pond, snapshot, "entry", state);
    if (status == SP_OK)
        status = read_table(pond, snapshot, "ledger", state);
    if (status == SP_OK)
        status = sp_snapshot_check(snapshot);
    sp_snapshot_end(snapshot);
    return status;
}

static bool told_to_end(int wait_ms)
{
    char byte;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, wait_ms) > 0 && fread(&byte, 1, 1, stdin) == 0;
}

static int judge(const struct state *state, int64_t last)
{
    if (state->number < last) {
        printf("wrong: from state %" PRId64 " back to %" PRId64 "\n", last, state->number);
        return 1;
    }
    if (state->sum != state->digest) {
        printf("wrong: state %" PRId64 " has rows that the database never had together (%" PRIu64
               " rows, digest %" PRId64 ", not %" PRId64 ")\n",
               state->number, state->rows, state->sum, state->digest);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    struct sp_pond *pond = NULL;
    struct state state;
    uint64_t reads = 0, states = 0;
    int64_t last = -1;
    options.wait_ms = 30000;
    if (argc != 2 || sp_open(argv[1], &options, &pond) != SP_OK) {
        printf("wrong: no pond: %s\n", sp_error_detail());
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (!told_to_end(reads % 16 ? 0 : 1)) {
        const int status = read_state(pond, &state);
        if (status == SP_ENOTABLE || status == SP_ENOTREADY || status == SP_ESTALE)
            continue;
        if (status != SP_OK) {
            printf("wrong: %s\n", sp_status_name(status));
            return 1;
        }
        reads++;
        if (judge(&state, last))
            return 1;
        if (state.number != last) {
            states++;
            last = state.number;
            printf("at %" PRId64 " %" PRId64 "\n", state.number, state.digest);
        }
    }
    printf("seen %" PRIu64 " of %" PRIu64 "\n", states, reads);
    sp_close(pond);
    return 0;
}
