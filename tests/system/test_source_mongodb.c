/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: the MongoDB source reads what it is asked for, as rows of key, fields and document; it can
 * be ended at any time; and what goes wrong comes back as a clear error, in time. Method: runs
 * under mongo_server.py, which starts mongo-java-server and FerretDB for it alone; each test runs
 * against both, and writes its documents with libmongoc. No randomness.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <mongoc/mongoc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_record.h"

#define ROWS_MAX    64
#define ROW_BYTES   1024
#define SOON_MS     2000
#define NO_KEY      ((const char *const[]){"_id", NULL})
#define FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL})

struct server {
    const char *name, *variable;
    pid_t pid;
    char uri[256]; /* without a database */
    mongoc_client_t *admin;
};

struct fixture {
    struct server *server;
    const struct source_class *class;
    char dsn[300];
    struct source_options options;
    struct source *source;
    struct source_error error;
    char rows[ROWS_MAX][ROW_BYTES];
    unsigned count;
};

static struct server servers[] = {{.name = "mongo-java-server", .variable = "SIDEPOND_MONGO_JAVA"},
                                  {.name = "FerretDB", .variable = "SIDEPOND_MONGO_FERRET"}};

/* --- the other side ------------------------------------------------------------------------- */

/* Documents as JSON, one string each, into a collection that was emptied. */
static void fill(struct fixture *f, const char *collection, const char *const *documents)
{
    bson_error_t why;
    mongoc_collection_t *c = mongoc_client_get_collection(f->server->admin, "test", collection);
    mongoc_collection_drop(c, NULL);
    for (; *documents; documents++) {
        bson_t *document = bson_new_from_json((const uint8_t *)*documents, -1, &why);
        if (!document)
            fail_msg("%s: %s", *documents, why.message);
        if (!mongoc_collection_insert_one(c, document, NULL, NULL, &why))
            fail_msg("%s: %s: %s", f->server->name, *documents, why.message);
        bson_destroy(document);
    }
    mongoc_collection_destroy(c);
}

#define FILL(f, collection, ...) fill(f, collection, (const char *const[]){__VA_ARGS__, NULL})

/* --- what is read ----------------------------------------------------------------------------- */

static size_t put_value(char *to, size_t cap, const struct sp_value *value)
{
    unsigned char raw[ROW_BYTES] = {0};
    bson_t document;
    if (value->is_null)
        return (size_t)snprintf(to, cap, "-");
    if (value->type == SP_TYPE_BSON) {
        assert_true(bson_init_static(&document, value->bytes.data, value->bytes.size));
    } else {
        const uint32_t bytes = (uint32_t)value->bytes.size + 6;
        assert_true(value->type == SP_TYPE_BSON_VALUE && bytes < sizeof(raw));
        memcpy(raw, &bytes, 4);
        raw[4] = *(const unsigned char *)value->bytes.data;
        memcpy(raw + 6, (const char *)value->bytes.data + 1, value->bytes.size - 1);
        assert_true(bson_init_static(&document, raw, bytes));
    }
    assert_true(bson_validate(&document, BSON_VALIDATE_NONE, NULL));
    char *json = bson_as_canonical_extended_json(&document, NULL);
    const size_t used = (size_t)snprintf(to, cap, "%s", json);
    bson_free(json);
    return used;
}

static void put_row(struct fixture *f, const struct sp_value *values, unsigned count,
                    const char *before)
{
    char *row = f->rows[f->count++];
    size_t used = (size_t)snprintf(row, ROW_BYTES, "%s", before);
    assert_true(f->count < ROWS_MAX);
    for (unsigned i = 0; i < count; i++) {
        if (i)
            row[used++] = '|';
        used += put_value(row + used, ROW_BYTES - used, &values[i]);
        assert_true(used < ROW_BYTES);
    }
}

static int take_row(void *context, const struct sp_value *values, unsigned count)
{
    put_row(context, values, count, "");
    return SP_OK;
}

static int take_bad_row(void *context, const struct sp_value *values, unsigned count,
                        unsigned column, const char *why)
{
    char before[128];
    snprintf(before, sizeof(before), "bad %u %s: ", column, why);
    put_row(context, values, count, before);
    return SP_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void open_source(struct fixture *f)
{
    if (!f->source && f->class->open(&f->options, &f->source, &f->error) != SP_OK)
        fail_msg("%s: %s", f->server->name, f->error.text);
}

static int read_with(struct fixture *f, const struct source_table *table,
                     const struct sp_value *since, const struct source_sink *sink)
{
    struct source_description description;
    open_source(f);
    int status = f->class->describe(f->source, table, &description, &f->error);
    if (status != SP_OK)
        return status;
    status = f->class->begin(f->source, &f->error);
    if (status == SP_OK)
        status = f->class->stream(f->source, table, &description, since, sink, &f->error);
    if (status == SP_OK)
        status = f->class->end(f->source, &f->error);
    source_description_free(&description);
    return status;
}

/* The rows in the order of their text must be these. */
static void expect_since(struct fixture *f, const struct source_table *table,
                         const struct sp_value *since, const char *const *rows)
{
    const struct source_sink sink = {f, take_row, take_bad_row};
    f->count = 0;
    if (read_with(f, table, since, &sink) != SP_OK)
        fail_msg("%s: %s", f->server->name, f->error.text);
    qsort(f->rows, f->count, ROW_BYTES, by_text);
    unsigned i = 0;
    for (; rows[i] && i < f->count; i++)
        if (strcmp(rows[i], f->rows[i]) != 0)
            fail_msg("%s: %s\ninstead of %s", f->server->name, f->rows[i], rows[i]);
    if (rows[i] || i < f->count)
        fail_msg("%s: %u rows; %s", f->server->name, f->count, i < f->count ? f->rows[i] : rows[i]);
}

#define EXPECT(f, table, ...) expect_since(f, table, NULL, (const char *const[]){__VA_ARGS__, NULL})

static void expect_error(struct fixture *f, const struct source_table *table, int status,
                         const char *text)
{
    const struct source_sink sink = {f, take_row, take_bad_row};
    f->count = 0;
    const int got = read_with(f, table, NULL, &sink);
    if (got != status || !strstr(f->error.text, text))
        fail_msg("%s: status %d: %s\ninstead of %s", f->server->name, got,
                 got == SP_OK ? "" : f->error.text, text);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_ids(struct fixture *f)
{
    const struct source_table table = {.name = "t", .relation = "ids", .key = NO_KEY};
    FILL(f, "ids", "{\"_id\": {\"$numberInt\": \"1\"}}", "{\"_id\": {\"$numberLong\": \"2\"}}",
         "{\"_id\": {\"$numberDouble\": \"3.5\"}}", "{\"_id\": \"4\"}",
         "{\"_id\": {\"$oid\": \"0123456789abcdef01234567\"}}",
         "{\"_id\": {\"$date\": {\"$numberLong\": \"6\"}}}", "{\"_id\": true}",
         "{\"_id\": {\"$binary\": {\"base64\": \"AAEC\", \"subType\": \"00\"}}}",
         "{\"_id\": {\"$timestamp\": {\"t\": 7, \"i\": 8}}}");
    EXPECT(
        f, &table, "{ \"\" : \"4\" }|{ \"_id\" : \"4\" }", "{ \"\" : true }|{ \"_id\" : true }",
        "{ \"\" : { \"$binary\" : { \"base64\" : \"AAEC\", \"subType\" : \"00\" } } }|"
        "{ \"_id\" : { \"$binary\" : { \"base64\" : \"AAEC\", \"subType\" : \"00\" } } }",
        "{ \"\" : { \"$date\" : { \"$numberLong\" : \"6\" } } }|"
        "{ \"_id\" : { \"$date\" : { \"$numberLong\" : \"6\" } } }",
        "{ \"\" : { \"$numberDouble\" : \"3.5\" } }|{ \"_id\" : { \"$numberDouble\" : \"3.5\" } }",
        "{ \"\" : { \"$numberInt\" : \"1\" } }|{ \"_id\" : { \"$numberInt\" : \"1\" } }",
        "{ \"\" : { \"$numberLong\" : \"2\" } }|{ \"_id\" : { \"$numberLong\" : \"2\" } }",
        "{ \"\" : { \"$oid\" : \"0123456789abcdef01234567\" } }|"
        "{ \"_id\" : { \"$oid\" : \"0123456789abcdef01234567\" } }",
        "{ \"\" : { \"$timestamp\" : { \"t\" : 7, \"i\" : 8 } } }|"
        "{ \"_id\" : { \"$timestamp\" : { \"t\" : 7, \"i\" : 8 } } }");
}

static void test_description(struct fixture *f)
{
    struct source_description d;
    const struct source_table table = {.name = "t",
                                       .relation = "described",
                                       .key = FIELDS("_id", "a.b"),
                                       .fields = FIELDS("name", "a.b", "at"),
                                       .watermark = "at"};
    FILL(f, "described", "{\"_id\": \"a\"}", "{\"_id\": \"b\"}");
    open_source(f);
    if (f->class->describe(f->source, &table, &d, &f->error) != SP_OK)
        fail_msg("%s: %s", f->server->name, f->error.text);
    assert_string_equal(source_record_description(&d),
                        "_id bson_value value not-null\na.b bson_value value not-null\n"
                        "name bson_value value\nat bson_value value\n"
                        "document bson document not-null\n");
    assert_int_equal(d.row_estimate, 2);
    source_description_free(&d);
}

static void test_fields(struct fixture *f)
{
    const struct source_table table = {
        .name = "t", .relation = "fields", .key = FIELDS("k.id"), .fields = FIELDS("x", "l.1")};
    FILL(f, "fields",
         "{\"_id\": \"1\", \"k\": {\"id\": \"a\"}, \"x\": null, \"l\": [\"p\", \"q\"]}",
         "{\"_id\": \"2\", \"k\": {\"id\": [\"a\"]}, \"l\": \"s\"}",
         "{\"_id\": \"3\", \"k\": \"b\", \"x\": \"y\"}");
    EXPECT(
        f, &table,
        "bad 0 is an array, which cannot be a key: -|-|-|"
        "{ \"_id\" : \"2\", \"k\" : { \"id\" : [ \"a\" ] }, \"l\" : \"s\" }",
        "bad 0 is missing: -|{ \"\" : \"y\" }|-|"
        "{ \"_id\" : \"3\", \"k\" : \"b\", \"x\" : \"y\" }",
        "{ \"\" : \"a\" }|{ \"\" : null }|{ \"\" : \"q\" }|"
        "{ \"_id\" : \"1\", \"k\" : { \"id\" : \"a\" }, \"x\" : null, \"l\" : [ \"p\", \"q\" ] }");
}

static void test_selection(struct fixture *f)
{
    struct source_table table = {.name = "t",
                                 .relation = "selection",
                                 .key = NO_KEY,
                                 .columns = FIELDS("_id", "a.b"),
                                 .where = " {\"on\": true}"};
    FILL(f, "selection", "{\"_id\": \"1\", \"on\": true, \"a\": {\"b\": \"x\", \"c\": \"y\"}}",
         "{\"_id\": \"2\", \"on\": false, \"a\": {\"b\": \"x\"}}");
    EXPECT(f, &table, "{ \"\" : \"1\" }|{ \"_id\" : \"1\", \"a\" : { \"b\" : \"x\" } }");
    table.columns = NULL;
    table.where = NULL;
    table.query = "[{\"$match\": {\"on\": false}}, {\"$project\": {\"on\": true}}]";
    EXPECT(f, &table, "{ \"\" : \"2\" }|{ \"_id\" : \"2\", \"on\" : false }");
    table = (struct source_table){.name = "t",
                                  .relation = "selection",
                                  .key = FIELDS("a.b"),
                                  .columns = FIELDS("a"),
                                  .where = "{\"_id\": \"2\"}"};
    EXPECT(f, &table, "{ \"\" : \"x\" }|{ \"a\" : { \"b\" : \"x\" } }");
}

static void test_since(struct fixture *f)
{
    static const unsigned char two[] = {0x10, 2, 0, 0, 0}, day[] = {0x09, 2, 0, 0, 0, 0, 0, 0, 0};
    const struct sp_value number = sp_bytes(SP_TYPE_BSON_VALUE, two, sizeof(two));
    const struct sp_value date = sp_bytes(SP_TYPE_BSON_VALUE, day, sizeof(day));
    struct source_table table = {.name = "t", .relation = "since", .key = NO_KEY, .watermark = "n"};
    FILL(f, "since", "{\"_id\": \"1\", \"n\": 1}", "{\"_id\": \"2\", \"n\": 2, \"on\": true}",
         "{\"_id\": \"3\", \"n\": 2.5}", "{\"_id\": \"4\"}",
         "{\"_id\": \"5\", \"n\": {\"$date\": {\"$numberLong\": \"2\"}}}");
    const char *const rows[] = {
        "{ \"\" : \"2\" }|{ \"\" : { \"$numberInt\" : \"2\" } }|"
        "{ \"_id\" : \"2\", \"n\" : { \"$numberInt\" : \"2\" }, \"on\" : true }",
        "{ \"\" : \"3\" }|{ \"\" : { \"$numberDouble\" : \"2.5\" } }|"
        "{ \"_id\" : \"3\", \"n\" : { \"$numberDouble\" : \"2.5\" } }",
        NULL};
    expect_since(f, &table, &number, rows);
    table.query = "[{\"$match\": {}}]";
    expect_since(f, &table, &number, rows);
    table.query = NULL;
    table.where = "{\"on\": true}";
    expect_since(f, &table, &number, (const char *const[]){rows[0], NULL});
    table.where = NULL;
    expect_since(f, &table, &date,
                 (const char *const[]){
                     "{ \"\" : \"5\" }|{ \"\" : { \"$date\" : { \"$numberLong\" : \"2\" } } }|"
                     "{ \"_id\" : \"5\", \"n\" : { \"$date\" : { \"$numberLong\" : \"2\" } } }",
                     NULL});
}

static void test_many(struct fixture *f)
{
    enum { COUNT = 3000 };
    bson_error_t why;
    struct source_record record = {.count_only = true};
    const struct source_table table = {.name = "t", .relation = "many", .key = NO_KEY};
    FILL(f, "many", "{\"_id\": -1}");
    mongoc_collection_t *c = mongoc_client_get_collection(f->server->admin, "test", "many");
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(c, NULL);
    for (int i = 1; i < COUNT; i++) {
        bson_t *document = BCON_NEW("_id", BCON_INT32(i), "text", BCON_UTF8("some text for it"));
        mongoc_bulk_operation_insert(bulk, document);
        bson_destroy(document);
    }
    assert_true(mongoc_bulk_operation_execute(bulk, NULL, &why));
    mongoc_bulk_operation_destroy(bulk);
    mongoc_collection_destroy(c);
    const struct source_sink sink = source_record_sink(&record);
    assert_int_equal(read_with(f, &table, NULL, &sink), SP_OK);
    assert_int_equal(record.row_count, COUNT);
    source_record_free(&record);
    record = (struct source_record){.count_only = true, .stop_at = 1000, .stop_status = SP_ENOSPC};
    const struct source_sink stopping = source_record_sink(&record);
    assert_int_equal(read_with(f, &table, NULL, &stopping), SP_ENOSPC);
    source_record_free(&record);
}

static void test_wrong(struct fixture *f)
{
    struct source_table table = {.name = "t", .relation = "user", .key = NO_KEY};
    FILL(f, "users", "{\"_id\": 1}");
    expect_error(f, &table, SP_ECONFIG,
                 "table t: collection user does not exist in database test; there are: ");
    assert_non_null(strstr(f->error.text, "users"));
    table = (struct source_table){.name = "t", .relation = "users", .key = FIELDS("document")};
    expect_error(f, &table, SP_ECONFIG, "table t: a field called document cannot be a column");
    table =
        (struct source_table){.name = "t", .relation = "users", .key = NO_KEY, .where = "a = 1"};
    expect_error(f, &table, SP_ECONFIG, "table t: where is not a filter {...} in extended JSON");
    table.where = "{\"a\": ";
    expect_error(f, &table, SP_ECONFIG, "table t: where is not a filter {...} in extended JSON: ");
    table.where = NULL;
    table.query = "{}";
    expect_error(f, &table, SP_ECONFIG, "table t: query is not a pipeline");
    table.query = "[{\"$match\": {}}, {\"$out\": \"elsewhere\"}]";
    expect_error(f, &table, SP_ECONFIG, "table t: query has a stage $out");
    table.query = "[{\"$merge\": {\"into\": \"elsewhere\"}}]";
    expect_error(f, &table, SP_ECONFIG, "table t: query has a stage $merge");
    table.query = "[{\"$changeStream\": {}}]";
    expect_error(f, &table, SP_ECONFIG, "table t: query has a stage $changeStream");
    table.query = "[{\"$nonsense\": {}}]";
    expect_error(f, &table, SP_ECONFIG, "$nonsense");
    table.query = NULL;
    table.where = "{\"$nonsense\": 1}";
    expect_error(f, &table, SP_ECONFIG, "$nonsense");
    table.where = NULL;
    EXPECT(f, &table,
           "{ \"\" : { \"$numberInt\" : \"1\" } }|{ \"_id\" : { \"$numberInt\" : \"1\" } }");
}

static void test_database(struct fixture *f)
{
    struct source_table table = {.name = "t", .relation = "test.named", .key = NO_KEY};
    FILL(f, "named", "{\"_id\": \"1\"}");
    f->options.dsn = f->server->uri;
    EXPECT(f, &table, "{ \"\" : \"1\" }|{ \"_id\" : \"1\" }");
    table.relation = "named";
    expect_error(f, &table, SP_ECONFIG, "table t: relation named names no database");
}

/* --- ending and time limits ------------------------------------------------------------------- */

/* Whether a thread, by its directory in /proc, is stopped. */
static bool is_stopped(const char *thread)
{
    char path[300], state = 0;
    snprintf(path, sizeof(path), "%s/stat", thread);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    if (file)
        fclose(file);
    return !file || state == 'T';
}

static bool are_stopped(pid_t pid)
{
    char tasks[64], thread[300];
    bool all = true;
    snprintf(tasks, sizeof(tasks), "/proc/%d/task", (int)pid);
    DIR *directory = opendir(tasks);
    assert_non_null(directory);
    for (struct dirent *at = readdir(directory); at && all; at = readdir(directory)) {
        snprintf(thread, sizeof(thread), "%s/%.200s", tasks, at->d_name);
        all = at->d_name[0] == '.' || is_stopped(thread);
    }
    closedir(directory);
    return all;
}

/* The server does nothing any more, none of its threads. */
static void stop_server(const struct server *server)
{
    kill(server->pid, SIGSTOP);
    const double begun = source_now_ms();
    while (!are_stopped(server->pid))
        if (source_now_ms() - begun > 10000)
            fail_msg("%s does not stop", server->name);
}

static void test_cancel(struct fixture *f)
{
    struct source_description d;
    struct source_canceler canceler;
    const struct source_table table = {.name = "t", .relation = "held", .key = NO_KEY};
    FILL(f, "held", "{\"_id\": \"1\"}");
    open_source(f);
    stop_server(f->server);
    const double begun = source_now_ms();
    source_canceler_start(&canceler, f->class, f->source, 50);
    const int status = f->class->describe(f->source, &table, &d, &f->error);
    source_canceler_join(&canceler);
    const double took = source_now_ms() - begun;
    f->class->close(f->source);
    f->source = NULL;
    const double closed = source_now_ms() - begun - took;
    kill(f->server->pid, SIGCONT);
    assert_int_equal(status, SP_ECANCELED);
    assert_true(took < SOON_MS && closed < SOON_MS);
}

static void test_late(struct fixture *f)
{
    struct source *source;
    f->options.connect_timeout_ms = 300;
    stop_server(f->server);
    const double begun = source_now_ms();
    const int status = f->class->open(&f->options, &source, &f->error);
    const double took = source_now_ms() - begun;
    kill(f->server->pid, SIGCONT);
    assert_int_equal(status, SP_ESOURCE);
    assert_true(f->error.transient);
    assert_true(took < SOON_MS);
    f->options.connect_timeout_ms = 5000;
}

/* --- connecting ------------------------------------------------------------------------------- */

static void expect_open_error(struct fixture *f, const char *dsn, const char *password, int status,
                              const char *text)
{
    struct source *source;
    f->options.dsn = dsn;
    f->options.password = password;
    const int got = f->class->open(&f->options, &source, &f->error);
    if (got != status || !strstr(f->error.text, text))
        fail_msg("%s: status %d: %s\ninstead of %s", dsn, got, f->error.text, text);
}

static void test_uris(struct fixture *f)
{
    expect_open_error(f, "mongodb://127.0.0.1:1/x", NULL, SP_ESOURCE, "source db: ");
    assert_true(f->error.transient);
    expect_open_error(f, "mongodb://nowhere.invalid/x", NULL, SP_ESOURCE, "source db: ");
    expect_open_error(f, "nonsense", NULL, SP_ECONFIG, "dsn is not a URI as MongoDB has them");
    expect_open_error(f, "mongodb://u:secret@127.0.0.1/", NULL, SP_ECONFIG, "holds a password");
    expect_open_error(f, "mongodb://127.0.0.1/", "secret", SP_ECONFIG, "names no user");
    expect_open_error(f, "mongodb://127.0.0.1/?tsl=true", NULL, SP_ECONFIG,
                      "dsn has an option that does not exist: \"tsl\"");
    expect_open_error(f, "mongodb://127.0.0.1/?tls=true&tlsCertificateKeyFilePassword=secret", NULL,
                      SP_ECONFIG, "holds a password");
    assert_null(strstr(f->error.text, "secret"));
}

/* The certificate is its own authority; without it, or for another name, there is no connection. */
static void test_tls(struct fixture *f)
{
    char uri[256], cert[256], dsn[600];
    const char *where = getenv("SIDEPOND_MONGO_TLS");
    assert_non_null(where);
    assert_int_equal(sscanf(where, "%255s %255s", uri, cert), 2);
    snprintf(dsn, sizeof(dsn), "%stest?tls=true&tlsCAFile=%s", uri, cert);
    f->options.dsn = dsn;
    open_source(f);
    f->class->close(f->source);
    f->source = NULL;
    snprintf(dsn, sizeof(dsn), "%stest?tls=true", uri);
    expect_open_error(f, dsn, NULL, SP_ESOURCE, "source db: ");
    snprintf(dsn, sizeof(dsn), "mongodb://127.0.0.1%s?tls=true&tlsCAFile=%s", strrchr(uri, ':'),
             cert);
    expect_open_error(f, dsn, NULL, SP_ESOURCE, "source db: ");
    snprintf(dsn, sizeof(dsn), "mongodb://127.0.0.1%s?tls=true&tlsCAFile=%s%s", strrchr(uri, ':'),
             cert, "&tlsAllowInvalidHostnames=true");
    f->options.dsn = dsn;
    open_source(f);
}

/* A client's certificate whose key is kept under a password, which is asked of nobody else. */
static void test_key_password(struct fixture *f)
{
    char uri[256], cert[256], key[300], dsn[1000], make[1000];
    assert_int_equal(sscanf(getenv("SIDEPOND_MONGO_TLS"), "%255s %255s", uri, cert), 2);
    snprintf(key, sizeof(key), "%s.client-%s", cert, f->server->name);
    snprintf(
        make, sizeof(make),
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=client "
        "-passout pass:secret -keyout %s.key -out %s 2>/dev/null && cat %s.key >> %s",
        key, key, key, key);
    assert_int_equal(system(make), 0);
    snprintf(dsn, sizeof(dsn), "%stest?tls=true&tlsCAFile=%s&tlsCertificateKeyFile=%s", uri, cert,
             key);
    expect_open_error(f, dsn, NULL, SP_ESOURCE, "password is not that of the key");
    expect_open_error(f, dsn, "wrong", SP_ESOURCE, "password is not that of the key");
    f->options.dsn = dsn;
    f->options.password = "secret";
    open_source(f);
}

/* --- each against both ------------------------------------------------------------------------ */

static void run_with(void (*test)(struct fixture *f), struct server *server)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    *f = (struct fixture){.server = server, .class = source_find("mongodb")};
    snprintf(f->dsn, sizeof(f->dsn), "%stest", server->uri);
    f->options = (struct source_options){.name = "db",
                                         .type = "mongodb",
                                         .dsn = f->dsn,
                                         .connect_timeout_ms = 5000,
                                         .statement_timeout_ms = 20000};
    test(f);
    if (f->source)
        f->class->close(f->source);
}

#define BOTH(name)                                                                                 \
    static void name##_java(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        run_with(name, &servers[0]);                                                               \
    }                                                                                              \
    static void name##_ferret(void **state)                                                        \
    {                                                                                              \
        (void)state;                                                                               \
        run_with(name, &servers[1]);                                                               \
    }
#define TESTS(name) cmocka_unit_test(name##_java), cmocka_unit_test(name##_ferret)

BOTH(test_ids)
BOTH(test_description)
BOTH(test_fields)
BOTH(test_selection)
BOTH(test_since)
BOTH(test_many)
BOTH(test_wrong)
BOTH(test_database)
BOTH(test_cancel)
BOTH(test_late)
BOTH(test_uris)
BOTH(test_tls)
BOTH(test_key_password)

static int connect_servers(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        const char *where = getenv(servers[i].variable);
        if (!where || sscanf(where, "%d %255s", &servers[i].pid, servers[i].uri) != 2)
            return -1;
        servers[i].admin = mongoc_client_new(servers[i].uri);
    }
    return 0;
}

static int disconnect_servers(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        mongoc_client_destroy(servers[i].admin);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(test_ids),          TESTS(test_description), TESTS(test_fields),
        TESTS(test_selection),    TESTS(test_since),       TESTS(test_many),
        TESTS(test_wrong),        TESTS(test_database),    TESTS(test_cancel),
        TESTS(test_late),         TESTS(test_uris),        TESTS(test_tls),
        TESTS(test_key_password),
    };
    return cmocka_run_group_tests(tests, connect_servers, disconnect_servers);
}
