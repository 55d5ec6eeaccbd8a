/* SPDX-License-Identifier: Apache-2.0
 *
 * feed_watch.c - reads a pond that follows a database, and objects to any state that was none of
 * the database's.
 *
 *   feed_watch POND [TABLE...]
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
 *
 * Tables that are named hold documents. Of their states the caller is the judge: for each new one
 * "rows" is printed, and for each document " LETTER:KEY:DIGEST", the table's first letter and the
 * first 64 bits of the MD5 of the key (as docs/FORMAT.md has it) and of the document. It objects
 * only to a row whose key is not the document's `_id`.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sidepond/sidepond.h"

#define TEXT_BYTES  (1 << 20)
#define ENTRY_BYTES 40 /* of one document in a line */

struct state {
    int64_t number, digest; /* as the ledger says */
    int64_t sum;            /* of the rows */
    uint64_t rows;
};

static char text[TEXT_BYTES];
static size_t text_used; /* of a line of documents */

/* False where it is NULL, or is not there. */
static bool get_column(const struct sp_view *view, const char *column, struct sp_value *value)
{
    const int at = sp_schema_find_column(view->schema, column);
    return at >= 0 && sp_view_column(view, (size_t)at, value) == SP_OK && !value->is_null;
}

static void digest(const void *data, size_t size, unsigned char *md5)
{
    unsigned md5_size = 0;
    if (!EVP_Digest(data, size, md5, &md5_size, EVP_md5(), NULL))
        abort();
}

static size_t put_value(size_t used, const struct sp_view *view, const char *column)
{
    struct sp_value value;
    text[used++] = ':';
    if (!get_column(view, column, &value)) {
        text[used++] = '-';
        return used;
    }
    return used + sp_value_text(&value, text + used, sizeof(text) - used);
}

static int64_t row_digest(const struct sp_view *view, char letter)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    size_t used = 0;
    text[used++] = letter;
    used = put_value(used, view, "id");
    used = put_value(used, view, "n");
    used = put_value(used, view, "s");
    used = put_value(used, view, "big");
    digest(text, used, md5);
    return (int64_t)md5[0] << 24 | md5[1] << 16 | md5[2] << 8 | md5[3];
}

static int64_t column_int(const struct sp_view *view, const char *column)
{
    struct sp_value value;
    return get_column(view, column, &value) ? value.i : -1;
}

static uint64_t put_hash(const unsigned char *md5)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < sizeof(hash); i++)
        hash = hash << 8 | md5[i];
    text_used += (size_t)snprintf(text + text_used, 18, ":%016" PRIx64, hash);
    return hash;
}

static bool same_text(const struct sp_value *a, const struct sp_value *b)
{
    char of_a[256], of_b[256];
    sp_value_json(a, of_a, sizeof(of_a));
    sp_value_json(b, of_b, sizeof(of_b));
    return strcmp(of_a, of_b) == 0;
}

/* Puts it into the line. SP_ECORRUPT: its key is not its _id. */
static int read_document(const struct sp_view *view, char letter, struct state *state)
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    struct sp_value key, own, document;
    if (!get_column(view, "_id", &key) || !get_column(view, "document", &document) ||
        sp_view_field(view, "_id", &own) != SP_OK || !same_text(&key, &own))
        return SP_ECORRUPT;
    if (text_used + ENTRY_BYTES > sizeof(text))
        return SP_ENOSPC;
    text_used += (size_t)snprintf(text + text_used, 3, " %c", letter);
    digest(key.bytes.data, key.bytes.size, md5);
    state->sum += (int64_t)(put_hash(md5) >> 32);
    digest(document.bytes.data, document.bytes.size, md5);
    state->sum += (int64_t)(put_hash(md5) >> 32);
    return SP_OK;
}

static int read_row(const struct sp_view *view, char letter, bool documents, struct state *state)
{
    if (!documents && letter == 'l') {
        state->number = column_int(view, "txn");
        state->digest = column_int(view, "digest");
        return SP_OK;
    }
    state->rows++;
    if (documents)
        return read_document(view, letter, state);
    state->sum += row_digest(view, letter);
    return SP_OK;
}

static int read_table(struct sp_pond *pond, struct sp_snapshot *snapshot, const char *name,
                      bool documents, struct state *state)
{
    struct sp_table *table;
    struct sp_scan *scan;
    struct sp_view view;
    int status = sp_table_open(pond, name, &table);
    if (status == SP_OK)
        status = sp_scan_begin(snapshot, table, &scan);
    if (status != SP_OK)
        return status;
    while ((status = sp_scan_next(scan, &view)) == SP_OK)
        if ((status = read_row(&view, *name, documents, state)) != SP_OK)
            break;
    sp_scan_end(scan);
    return status == SP_ENOTFOUND ? SP_OK : status;
}

static int read_state(struct sp_pond *pond, const char *const *names, bool documents,
                      struct state *state)
{
    struct sp_snapshot *snapshot;
    *state = (struct state){.number = -1};
    text_used = 0;
    int status = sp_snapshot_begin(pond, &snapshot);
    if (status != SP_OK)
        return status;
    for (; *names && status == SP_OK; names++)
        status = read_table(pond, snapshot, *names, documents, state);
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

/* Whether it is wrong; prints what is new. */
static bool judge(const struct state *state, struct state *last)
{
    if (state->number < last->number)
        printf("wrong: from state %" PRId64 " back to %" PRId64 "\n", last->number, state->number);
    else if (state->sum != state->digest)
        printf("wrong: state %" PRId64 " has rows that the database never had together (%" PRIu64
               " rows, digest %" PRId64 ", not %" PRId64 ")\n",
               state->number, state->rows, state->sum, state->digest);
    else if (state->number != last->number)
        printf("at %" PRId64 " %" PRId64 "\n", state->number, state->digest);
    return state->number < last->number || state->sum != state->digest;
}

static bool is_new(const struct state *state, const struct state *last)
{
    return state->number != last->number || state->sum != last->sum || state->rows != last->rows;
}

/* Reads until told to end. */
static int watch(struct sp_pond *pond, const char *const *names, bool documents)
{
    struct state state, last = {.number = -2};
    uint64_t reads = 0, states = 0;
    while (!told_to_end(reads % 16 ? 0 : 1)) {
        const int status = read_state(pond, names, documents, &state);
        if (status == SP_ENOTABLE || status == SP_ENOTREADY || status == SP_ESTALE)
            continue;
        if (status != SP_OK) {
            printf("wrong: %s\n", sp_status_name(status));
            return 1;
        }
        reads++;
        if (!documents && judge(&state, &last))
            return 1;
        if (!is_new(&state, &last))
            continue;
        states++;
        last = state;
        if (documents)
            printf("rows%.*s\n", (int)text_used, text);
    }
    printf("seen %" PRIu64 " of %" PRIu64 "\n", states, reads);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const with_ledger[] = {"account", "entry", "ledger", NULL};
    struct sp_open_options options = SP_OPEN_OPTIONS_INIT;
    struct sp_pond *pond = NULL;
    options.wait_ms = 30000;
    if (argc < 2 || sp_open(argv[1], &options, &pond) != SP_OK) {
        printf("wrong: no pond: %s\n", sp_error_detail());
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    const int status =
        watch(pond, argc > 2 ? (const char *const *)argv + 2 : with_ledger, argc > 2);
    sp_close(pond);
    return status;
}
