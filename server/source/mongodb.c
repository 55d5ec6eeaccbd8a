/* SPDX-License-Identifier: Apache-2.0
 *
 * mongodb.c - a client of MongoDB: opening it, commands, its snapshots, and what errors are worth.
 *
 * One libmongoc client of one thread, whose connections are ours (mongodb_wire.c). Nothing is
 * written. A replica set or sharded cluster of MongoDB 5.0 or later reads all tables of a group in
 * one snapshot, by a session; elsewhere each collection is read as it is, with read concern
 * majority where the server is of a replica set. A read concern in the URI goes before both.
 *
 * libmongoc has a process-wide log, which would print; it is turned off: what matters comes as an
 * error of a call, but for an unknown option of a URI.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/clock.h"
#include "server/source/mongodb.h"

#define GRACE_MS      5000 /* what the server may be late with its own maxTimeMS */
#define LEAST_HOST_MS 500  /* each host gets at least this long of connect_timeout */

/* The protocol of the versions that began with something. */
enum {
    WIRE_SNAPSHOTS = 13,     /* MongoDB 5.0, which also logs what falls out of capped collections */
    WIRE_JOINED_INSERTS = 25 /* MongoDB 8.0 */
};

/* --- errors --------------------------------------------------------------------------------- */

enum server_code {
    CODE_BAD_VALUE = 2,
    CODE_FAILED_TO_PARSE = 9,
    CODE_UNAUTHORIZED = 13,
    CODE_TYPE_MISMATCH = 14,
    CODE_AUTHENTICATION_FAILED = 18,
    CODE_NO_NAMESPACE = 26,
    CODE_PATH_COLLISION = 31249,
    CODE_PATH_COLLISION_REST = 31250,
    CODE_TIME_LIMIT = 50,
    CODE_NO_COMMAND = 59,
    CODE_NOT_ON_A_VIEW = 166,
    CODE_NOT_IMPLEMENTED = 238,
    CODE_INVALID_NAMESPACE = 73,
    CODE_OPTION_NOT_SUPPORTED = 115,
    CODE_UNKNOWN_STAGE = 40324,
    CODE_SNAPSHOT_TOO_OLD = 239,
    CODE_SHUTDOWN_IN_PROGRESS = 91,
    CODE_PRIMARY_STEPPED_DOWN = 189,
    CODE_NOT_PRIMARY_OF_OLD = 10058,
    CODE_NOT_WRITABLE_PRIMARY = 10107,
    CODE_INTERRUPTED_AT_SHUTDOWN = 11600,
    CODE_INTERRUPTED = 11601,
    CODE_INTERRUPTED_BY_ELECTION = 11602,
    CODE_NOT_PRIMARY_NO_SECONDARY = 13435,
    CODE_NOT_PRIMARY_OR_SECONDARY = 13436,
    CODE_LOCATION_FIRST = 10000, /* from here on: places in the server's source */
};

/* Codes whose cause is what was asked for, not the state of the server. */
static bool is_wrong_question(uint32_t code)
{
    switch (code) {
    case CODE_BAD_VALUE:
    case CODE_FAILED_TO_PARSE:
    case CODE_UNAUTHORIZED:
    case CODE_TYPE_MISMATCH:
    case CODE_NO_NAMESPACE:
    case CODE_INVALID_NAMESPACE:
    case CODE_OPTION_NOT_SUPPORTED:
    case CODE_PATH_COLLISION:
    case CODE_PATH_COLLISION_REST:
    case CODE_NO_COMMAND:
    case CODE_NOT_ON_A_VIEW:
    case CODE_NOT_IMPLEMENTED:
    case CODE_UNKNOWN_STAGE:
        return true;
    default:
        return false;
    }
}

/* Codes of a server that is about to become something else, or that was told to stop. */
static bool is_state(uint32_t code)
{
    return code == CODE_SHUTDOWN_IN_PROGRESS || code == CODE_PRIMARY_STEPPED_DOWN ||
           code == CODE_NOT_PRIMARY_OF_OLD || code == CODE_NOT_WRITABLE_PRIMARY ||
           code == CODE_INTERRUPTED_AT_SHUTDOWN || code == CODE_INTERRUPTED ||
           code == CODE_INTERRUPTED_BY_ELECTION || code == CODE_NOT_PRIMARY_NO_SECONDARY ||
           code == CODE_NOT_PRIMARY_OR_SECONDARY;
}

bool mongo_is_nonsense(const bson_error_t *why)
{
    return why->domain == MONGOC_ERROR_SERVER &&
           (why->code == CODE_BAD_VALUE || why->code == CODE_FAILED_TO_PARSE ||
            why->code == CODE_TYPE_MISMATCH ||
            (why->code >= CODE_LOCATION_FIRST && !is_state(why->code)));
}

static int server_failed(const struct source *source, const struct source_table *table,
                         const bson_error_t *why, struct source_error *error)
{
    const char *what = table ? "table" : "source";
    const char *name = table ? table->name : source->options->name;
    const bool is_place = why->code >= CODE_LOCATION_FIRST && !is_state(why->code);
    if (is_wrong_question(why->code) || (is_place && source->probing))
        return source_fail(error, SP_ECONFIG, false, "%s %s: %s", what, name, why->message);
    if (why->code == CODE_TIME_LIMIT)
        return source_fail(error, SP_ESOURCE, true,
                           "%s %s: the server has not answered within statement_timeout", what,
                           name);
    if (why->code == CODE_SNAPSHOT_TOO_OLD)
        return source_fail(error, SP_ESOURCE, true,
                           "%s %s: reading took longer than the server keeps a snapshot (its "
                           "parameter minSnapshotHistoryWindowInSeconds)",
                           what, name);
    if (is_place) /* its text may quote a document */
        return source_fail(error, SP_ESOURCE, true,
                           "%s %s: the server cannot compute the query (code %u)", what, name,
                           why->code);
    return source_fail(error, SP_ESOURCE, true, "%s %s: %s (code %u)", what, name, why->message,
                       why->code);
}

int mongo_failed(struct source *source, const struct source_table *table, const bson_error_t *why,
                 struct source_error *error)
{
    if (why->domain == MONGOC_ERROR_SERVER && !source->canceled && !source->late) {
        source->broken |= is_state(why->code); /* another member is to be asked */
        return server_failed(source, table, why, error);
    }
    source->broken = true;
    if (source->canceled)
        return source_fail(error, SP_ECANCELED, true, "canceled");
    if (source->late)
        return source_fail(error, SP_ESOURCE, true,
                           "source %s: the server has not answered within statement_timeout",
                           source->options->name);
    return source_fail(error, SP_ESOURCE, true, "source %s: %s", source->options->name,
                       why->message[0] ? why->message : "the connection was lost");
}

/* --- calls ------------------------------------------------------------------------------------ */

int mongo_call_begin(struct source *source, struct source_error *error)
{
    const uint32_t limit = source->options->statement_timeout_ms;
    source->deadline_ms = limit ? clock_ms() + limit + GRACE_MS : 0;
    if (source->broken)
        return source_fail(error, SP_ESOURCE, true, "source %s: the connection was lost before",
                           source->options->name);
    if (!waker_take(&source->waker))
        return SP_OK;
    source->broken = true;
    return source_fail(error, SP_ECANCELED, true, "canceled");
}

int mongo_command(struct source *source, const struct source_table *table, const char *database,
                  const bson_t *command, bson_t *reply, struct source_error *error)
{
    bson_error_t why = {0};
    if (mongoc_client_command_with_opts(source->client, database, command,
                                        mongoc_client_get_read_prefs(source->client), NULL, reply,
                                        &why))
        return SP_OK;
    return mongo_failed(source, table, &why, error);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* The option that libmongoc did not know in the URI that this thread read last, or "". */
static _Thread_local char unknown_option[128];

/* Of what libmongoc would log only that is taken; an option that it does not know is no error. */
static void take_log(mongoc_log_level_t level, const char *domain, const char *message,
                     void *context)
{
    static const char start[] = "Unsupported URI option ";
    (void)level;
    (void)domain;
    (void)context;
    if (strncmp(message, start, sizeof(start) - 1) == 0)
        source_copy(unknown_option, sizeof(unknown_option), message + sizeof(start) - 1);
}

/* When it is loaded, libmongoc puts counters into /dev/shm, which stay there after kill -9 and make
 * it complain to stderr when a process gets the same number. They are for a tool of its own. */
__attribute__((constructor)) static void remove_counters(void)
{
    char name[32];
    snprintf(name, sizeof(name), "/mongoc-%ld", (long)getpid());
    shm_unlink(name);
}

static void init_library(void)
{
    mongoc_log_set_handler(take_log, NULL);
    mongoc_init();
}

static unsigned count_hosts(const mongoc_uri_t *uri)
{
    unsigned count = 0;
    for (const mongoc_host_list_t *at = mongoc_uri_get_hosts(uri); at; at = at->next)
        count++;
    return count ? count : 1;
}

static void set_default_ms(mongoc_uri_t *uri, const char *option, int32_t value_ms)
{
    if (!mongoc_uri_has_option(uri, option))
        mongoc_uri_set_option_as_int32(uri, option, value_ms);
}

/* libmongoc's limits; ours stand above them. Its own for a silent server is 5 minutes. What fails
 * is tried again by us: libmongoc would ask another server, which may be ahead of a stream. */
static void set_limits(mongoc_uri_t *uri, uint32_t connect_ms)
{
    if (connect_ms) {
        const uint32_t share = connect_ms / count_hosts(uri);
        set_default_ms(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, (int32_t)connect_ms);
        set_default_ms(uri, MONGOC_URI_CONNECTTIMEOUTMS,
                       (int32_t)(share < LEAST_HOST_MS ? LEAST_HOST_MS : share));
    }
    set_default_ms(uri, MONGOC_URI_SOCKETTIMEOUTMS, INT32_MAX);
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, false);
}

const char *mongo_key_password(const struct source *source)
{
    const char *mechanism = mongoc_uri_get_auth_mechanism(source->uri);
    const bool by_key = mechanism && strcmp(mechanism, "MONGODB-X509") == 0;
    const bool is_for_key = mongoc_uri_has_option(source->uri, MONGOC_URI_TLSCERTIFICATEKEYFILE) &&
                            (by_key || !mongoc_uri_get_username(source->uri));
    return is_for_key && source->options->password ? source->options->password : "";
}

/* The password is the user's, or that of the client's own key. None stands in the URI. */
static int take_password(struct source *source, struct source_error *error)
{
    const struct source_options *options = source->options;
    if (mongoc_uri_get_password(source->uri) ||
        mongoc_uri_has_option(source->uri, MONGOC_URI_TLSCERTIFICATEKEYFILEPASSWORD))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: dsn holds a password; use password_file or password_env",
                           options->name);
    if (!options->password || mongo_key_password(source)[0])
        return SP_OK;
    if (!mongoc_uri_get_username(source->uri))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: there is a password, but dsn names no user (USER@HOST)",
                           options->name);
    if (!mongoc_uri_set_password(source->uri, options->password))
        return source_fail(error, SP_ECONFIG, false, "source %s: its password is not UTF-8",
                           options->name);
    return SP_OK;
}

/* What libmongoc says of a broken URI quotes pieces of it, which may be a misplaced password. */
static int read_uri(struct source *source, struct source_error *error)
{
    const struct source_options *options = source->options;
    bson_error_t why;
    unknown_option[0] = '\0';
    source->uri = mongoc_uri_new_with_error(options->dsn ? options->dsn : "", &why);
    if (!source->uri)
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: dsn is not a URI as MongoDB has them (mongodb://HOST/...)",
                           options->name);
    if (unknown_option[0]) /* a misspelt "tls" would mean none */
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: dsn has an option that does not exist: %s", options->name,
                           unknown_option);
    set_limits(source->uri, options->connect_timeout_ms);
    return take_password(source, error);
}

const char *mongo_read_concern(const struct source *source)
{
    return mongoc_read_concern_get_level(mongoc_uri_get_read_concern(source->uri));
}

/* What the server that was chosen can do. */
static void read_hello(struct source *source, const bson_t *hello)
{
    bson_iter_t at;
    const bool of_set = bson_iter_init_find(&at, hello, "setName");
    source_copy(source->set_name, sizeof(source->set_name),
                of_set && BSON_ITER_HOLDS_UTF8(&at) ? bson_iter_utf8(&at, NULL) : "");
    const bool of_shards = bson_iter_init_find(&at, hello, "msg") && BSON_ITER_HOLDS_UTF8(&at) &&
                           strcmp(bson_iter_utf8(&at, NULL), "isdbgrid") == 0;
    source->has_sessions = bson_iter_init_find(&at, hello, "logicalSessionTimeoutMinutes") &&
                           !BSON_ITER_HOLDS_NULL(&at);
    const int64_t wire =
        bson_iter_init_find(&at, hello, "maxWireVersion") ? bson_iter_as_int64(&at) : 0;
    source->is_sharded = of_shards;
    source->joins_inserts = wire >= WIRE_JOINED_INSERTS;
    source->tells_capped = wire >= WIRE_SNAPSHOTS;
    source->is_cluster = of_set || of_shards;
    source->has_snapshots = source->is_cluster && source->has_sessions && wire >= WIRE_SNAPSHOTS &&
                            !mongo_read_concern(source);
}

/* libmongoc has no word for servers that answer, but are of another set than the URI names. */
static void hint_at_set(const struct source *source, bson_error_t *why)
{
    const char *set = mongoc_uri_get_replica_set(source->uri);
    const size_t used = strlen(why->message);
    if (set && !strchr(why->message, '['))
        snprintf(why->message + used, sizeof(why->message) - used,
                 "; is its replica set called %s?", set);
}

/* A command makes libmongoc log in, which choosing a server does not. */
static int greet(struct source *source, struct source_error *error)
{
    bson_error_t why = {0};
    bson_t reply;
    mongoc_server_description_t *server = mongoc_client_select_server(
        source->client, false, mongoc_client_get_read_prefs(source->client), &why);
    if (!server) {
        hint_at_set(source, &why);
        return mongo_failed(source, NULL, &why, error);
    }
    read_hello(source, mongoc_server_description_hello_response(server));
    mongoc_server_description_destroy(server);
    const char *database = mongoc_uri_get_database(source->uri);
    bson_t *ping = BCON_NEW("ping", BCON_INT32(1));
    const int status =
        mongo_command(source, NULL, database ? database : "admin", ping, &reply, error);
    bson_destroy(&reply);
    bson_destroy(ping);
    return status;
}

static int connect_source(struct source *source, struct source_error *error)
{
    const uint32_t limit = source->options->connect_timeout_ms;
    bson_error_t why = {0};
    char application[128];
    source->deadline_ms = limit ? clock_ms() + limit : 0;
    source->client = mongoc_client_new_from_uri_with_error(source->uri, &why);
    if (!source->client)
        return mongo_failed(source, NULL, &why, error);
    snprintf(application, sizeof(application), "sidepond/%s", source->options->name);
    mongoc_client_set_error_api(source->client, MONGOC_ERROR_API_VERSION_2);
    if (!mongoc_uri_get_appname(source->uri))
        mongoc_client_set_appname(source->client, application);
    mongoc_client_set_stream_initiator(source->client, mongo_wire_open, source);
    const int status = greet(source, error);
    if (status == SP_ESOURCE && source->late)
        return source_fail(error, SP_ESOURCE, true,
                           "source %s: no connection within connect_timeout (%u ms)",
                           source->options->name, limit);
    return status;
}

static void drop_session(struct source *source)
{
    if (source->session)
        mongoc_client_session_destroy(source->session);
    source->session = NULL;
}

/* What is open at the server, libmongoc ends by commands: not for longer than a moment, and not at
 * all where the connection is of no use. */
static void mongo_close(struct source *source)
{
    source->deadline_ms = clock_ms() + LEAST_HOST_MS;
    drop_session(source);
    mongo_feed_free(source);
    if (source->client)
        mongoc_client_destroy(source->client);
    if (source->uri)
        mongoc_uri_destroy(source->uri);
    waker_close(&source->waker);
    free(source);
}

static int mongo_open(const struct source_options *options, struct source **out,
                      struct source_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct source *source = calloc(1, sizeof(*source));
    if (!source)
        return source_no_memory(error);
    pthread_once(&once, init_library);
    source->options = options;
    int status = waker_open(&source->waker);
    if (status != SP_OK) {
        source_fail(error, status, true, "source %s: eventfd: %s", options->name, strerror(errno));
        mongo_close(source);
        return status;
    }
    source_announce(options, source);
    status = read_uri(source, error);
    if (status == SP_OK)
        status = connect_source(source, error);
    if (status != SP_OK) {
        source_announce(options, NULL);
        mongo_close(source);
        return status;
    }
    *out = source;
    return SP_OK;
}

/* --- snapshots -------------------------------------------------------------------------------- */

int mongo_begin(struct source *source, struct source_error *error)
{
    bson_error_t why = {0};
    const int status = mongo_call_begin(source, error);
    if (status != SP_OK || !source->has_snapshots)
        return status;
    mongoc_session_opt_t *options = mongoc_session_opts_new();
    mongoc_session_opts_set_snapshot(options, true);
    source->session = mongoc_client_start_session(source->client, options, &why);
    mongoc_session_opts_destroy(options);
    return source->session ? SP_OK : mongo_failed(source, NULL, &why, error);
}

int mongo_end(struct source *source, struct source_error *error)
{
    const int status = mongo_call_begin(source, error);
    drop_session(source);
    return status == SP_OK && source->feed ? mongo_feed_read(source, error) : status;
}

static void mongo_cancel(struct source *source)
{
    waker_ask(&source->waker);
}

const struct source_class source_mongodb = {
    .type = "mongodb",
    .features = SOURCE_CAN_WATERMARK,
    .open = mongo_open,
    .describe = mongo_describe,
    .begin = mongo_begin,
    .stream = mongo_stream,
    .end = mongo_end,
    .cancel = mongo_cancel,
    .close = mongo_close,
    .feed = &mongo_feed_class,
};
