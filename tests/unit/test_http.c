/* SPDX-License-Identifier: Apache-2.0
 *
 * test_http.c - Goal: what is served over HTTP is right: codes, methods, bodies; every metric that
 * is declared is exposed and documented, and none else. Method: a server over a real store and a
 * database made of arrays, asked over plain sockets; docs/OPERATIONS.md and deploy/monitoring are
 * compared with the table of metrics.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "refresh_fake.h"
#include "server/http/http.h"
#include "server/log/log.h"

enum { AWAIT_MS = 20000 };

static struct {
    char directory[64];
    struct store *store;
    struct refresh *refresh;
    struct http_options options;
    struct http *http;
    struct http_counters counters;
    char answer[1 << 20];
} f;

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A configuration of one table. */
static void apply_users(void)
{
    char text[512];
    struct config *config;
    int size = snprintf(text, sizeof(text),
                        "directory: %s\nsources: [{name: db, type: sqlite, path: /nowhere}]\n"
                        "tables: [{name: users, source: db, key: [id], refresh: {every: 10ms}}]\n",
                        f.directory);
    assert_int_equal(config_load_buffer("t.yaml", text, (size_t)size, stderr, &config), SP_OK);
    assert_int_equal(refresh_apply(f.refresh, config), SP_OK);
}

static int group_setup(void **state)
{
    char why[STORE_WHY_BYTES];
    struct store_opened opened;
    (void)state;
    snprintf(f.directory, sizeof(f.directory), "/dev/shm/sidepond-test-http.XXXXXX");
    assert_non_null(mkdtemp(f.directory));
    struct store_options store = {.directory = f.directory,
                                  .name = "main",
                                  .limit_bytes = 2 << 20,
                                  .lease_limit_ms = 60000,
                                  .gid = -1};
    assert_int_equal(store_open(&store, &f.store, &opened, why), SP_OK);
    fake_reset();
    fake_add("users", 100)->stream_hangs = true;
    struct refresh_options refresh = {
        .store = f.store, .directory = f.directory, .find_source = fake_find};
    assert_int_equal(refresh_new(&refresh, &f.refresh), SP_OK);
    apply_users();
    refresh_tick(f.refresh);
    atomic_store(&f.counters.tick_ms, now_ms());
    f.options =
        (struct http_options){.refresh = f.refresh, .store = f.store, .counters = &f.counters};
    const struct http_site site = http_site(&f.options);
    assert_int_equal(http_serve("127.0.0.1:0", &site, &f.http, why), SP_OK);
    return 0;
}

static void turn(void)
{
    struct timespec pause = {.tv_nsec = 1000000};
    refresh_tick(f.refresh);
    nanosleep(&pause, NULL);
}

static int group_teardown(void **state)
{
    char command[128];
    (void)state;
    http_stop(f.http);
    refresh_stop(f.refresh);
    while (!refresh_tick(f.refresh))
        turn();
    refresh_free(f.refresh);
    store_close(f.store);
    snprintf(command, sizeof(command), "rm -rf %s", f.directory);
    return system(command);
}

/* Sends a request, returns the code; the answer is in f.answer. */
static int ask(const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_port(f.http)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t used = 0;
    ssize_t got;
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    while ((got = recv(fd, f.answer + used, sizeof(f.answer) - 1 - used, 0)) > 0)
        used += (size_t)got;
    close(fd);
    f.answer[used] = '\0';
    return used > 12 ? atoi(f.answer + 9) : 0;
}

static int ask_for(const char *method, const char *path, const char *headers)
{
    char request[512];
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n",
             method, path, headers);
    return ask(request);
}

static int get(const char *path)
{
    return ask_for("GET", path, "");
}

static const char *body(void)
{
    const char *end = strstr(f.answer, "\r\n\r\n");
    return end ? end + 4 : "";
}

/* --- health ----------------------------------------------------------------------------------- */

static void test_ready(void **state)
{
    (void)state;
    assert_int_equal(get("/readyz"), 503);
    assert_string_equal(body(), "table users has not been loaded yet\n");
    fake_lock();
    fake.tables[0].stream_hangs = false;
    fake_unlock();
    /* The stream that hangs is canceled with its group. */
    refresh_stop(f.refresh);
    while (!refresh_tick(f.refresh))
        turn();
    apply_users();
    for (unsigned left = AWAIT_MS; get("/readyz") != 200; left--) {
        assert_int_not_equal(left, 0);
        turn();
    }
    assert_string_equal(body(), "ready\n");
}

static void test_health(void **state)
{
    (void)state;
    atomic_store(&f.counters.tick_ms, now_ms());
    assert_int_equal(get("/healthz"), 200);
    assert_string_equal(body(), "ok\n");
    atomic_store(&f.counters.tick_ms, now_ms() - 60000);
    assert_int_equal(get("/healthz"), 503);
    atomic_store(&f.counters.tick_ms, now_ms());
}

/* --- methods and paths ------------------------------------------------------------------------ */

static void test_codes(void **state)
{
    (void)state;
    assert_int_equal(get("/"), 404);
    assert_int_equal(get("/metricsx"), 404);
    assert_int_equal(get("/metrics/"), 404);
    assert_int_equal(get("/confirm"), 404);
    assert_int_equal(ask_for("HEAD", "/metrics", ""), 200);
    assert_string_equal(body(), "");
    assert_non_null(strstr(f.answer, "Content-Type: text/plain; version=0.0.4"));
    assert_int_equal(ask_for("DELETE", "/metrics", ""), 405);
    assert_non_null(strstr(f.answer, "Allow: GET, HEAD\r\n"));
    assert_int_equal(ask_for("POST", "/metrics", "Content-Length: 0\r\n"), 405);
    assert_int_equal(get("/refresh"), 405);
    assert_non_null(strstr(f.answer, "Allow: POST\r\n"));
    ask("nonsense\r\n\r\n"); /* is hung up on, and disturbs nobody */
    assert_int_equal(get("/healthz"), 200);
}

static void test_post(void **state)
{
    const char *none = "Content-Length: 0\r\n";
    (void)state;
    assert_int_equal(ask_for("POST", "/refresh", none), 202);
    assert_int_equal(ask_for("POST", "/refresh/users", none), 202);
    assert_int_equal(ask_for("POST", "/refresh/nobody", none), 404);
    assert_int_equal(ask_for("POST", "/confirm/nobody", none), 404);
    assert_int_equal(ask_for("POST", "/confirm/users", none), 409);
    assert_int_equal(ask_for("POST", "/refresh", "Content-Length: 0\r\nOrigin: http://evil\r\n"),
                     403);
    assert_int_equal(ask("POST /refresh HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         "Content-Length: 5\r\n\r\nhello"),
                     202);
}

/* --- what is told ----------------------------------------------------------------------------- */

static void test_tables(void **state)
{
    json_error_t error;
    (void)state;
    assert_int_equal(get("/tables"), 200);
    json_t *root = json_loads(body(), 0, &error);
    assert_non_null(root);
    json_t *table = json_array_get(json_object_get(root, "tables"), 0);
    assert_string_equal(json_string_value(json_object_get(table, "name")), "users");
    assert_string_equal(json_string_value(json_object_get(table, "state")), "fresh");
    assert_int_equal(json_integer_value(json_object_get(table, "rows")), 100);
    assert_true(json_is_null(json_object_get(table, "error")));
    json_decref(root);
}

static double value_of(const char *sample)
{
    char line[256];
    snprintf(line, sizeof(line), "\n%s ", sample);
    const char *at = strstr(body(), line);
    if (!at)
        fail_msg("no sample %s", sample);
    return strtod(at + strlen(line), NULL);
}

static void test_metric_values(void **state)
{
    (void)state;
    assert_int_equal(get("/metrics"), 200);
    assert_int_equal((int)value_of("sidepond_table_rows{table=\"users\"}"), 100);
    assert_int_equal((int)value_of("sidepond_table_state{table=\"users\",state=\"fresh\"}"), 1);
    assert_int_equal((int)value_of("sidepond_table_state{table=\"users\",state=\"held\"}"), 0);
    double count = value_of("sidepond_refresh_duration_seconds_count{table=\"users\"}");
    assert_true(count >= 1);
    assert_true(value_of("sidepond_refresh_duration_seconds_bucket{table=\"users\",le=\"+Inf\"}") ==
                count);
    assert_true(value_of("sidepond_refreshes_total{table=\"users\",kind=\"full\"}") == count);
    assert_true(value_of("sidepond_pond_limit_bytes") == 2 << 20);
    assert_true(
        value_of("sidepond_refresh_rows_written_total{table=\"users\",change=\"inserted\"}") ==
        100);
}

static char *reference(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    http_metrics_reference(out);
    fclose(out);
    return text;
}

/* Every metric of a daemon has its HELP and TYPE line, and no sample is of another one. */
static void test_exposition(void **state)
{
    char *table = reference();
    char name[128];
    (void)state;
    assert_int_equal(get("/metrics"), 200);
    for (const char *at = table; (at = strstr(at, "| `")); at++) {
        char line[160];
        assert_int_equal(sscanf(at, "| `%127[^`]`", name), 1);
        if (strncmp(name, "sidepond_agent_", 15) == 0)
            continue; /* of another server */
        snprintf(line, sizeof(line), "# TYPE %s ", name);
        assert_non_null(strstr(body(), line));
    }
    for (const char *at = body(); *at; at += strcspn(at, "\n") + 1) {
        char cell[160];
        if (*at == '#')
            continue;
        assert_int_equal(sscanf(at, "%127[a-z_]", name), 1);
        static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
        for (unsigned i = 0; i < 3; i++) {
            char *end = strstr(name, suffixes[i]);
            if (strncmp(name, "sidepond_refresh_duration", 25) == 0 && end)
                *end = '\0';
        }
        snprintf(cell, sizeof(cell), "| `%s` |", name);
        if (!strstr(table, cell))
            fail_msg("%s is not declared", name);
    }
    free(table);
}

static char *read_file(const char *name)
{
    char path[512];
    const char *root = getenv("SIDEPOND_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/%s", root ? root : ".", name);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot read %s", path);
    static char text[1 << 18];
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* The page's table is what `sidepondd --metrics` prints. */
static void test_documented(void **state)
{
    (void)state;
    char *table = reference();
    if (!strstr(read_file("docs/OPERATIONS.md"), table))
        fail_msg("docs/OPERATIONS.md does not hold the table that `sidepondd --metrics` prints");
    free(table);
}

/* A table of mode feed, of a source that cannot tell its changes: all of it says so. */
static void test_followed_table(void **state)
{
    static const char fallen_back[] = "\nsidepond_feed_fallen_back{table=\"followed\"} 1\n";
    char text[512];
    struct config *config;
    json_error_t error;
    (void)state;
    assert_null(strstr(body(), "sidepond_feed_following{table=\"users\"}"));
    fake_lock();
    fake_add("followed", 5);
    fake_unlock();
    int size =
        snprintf(text, sizeof(text),
                 "directory: %s\nsources: [{name: db, type: sqlite, path: /nowhere}]\n"
                 "tables: [{name: followed, source: db, key: [id], refresh: {mode: feed}}]\n",
                 f.directory);
    assert_int_equal(config_load_buffer("t.yaml", text, (size_t)size, stderr, &config), SP_OK);
    assert_int_equal(refresh_apply(f.refresh, config), SP_OK);
    do
        turn();
    while (get("/metrics") == 200 && !strstr(body(), fallen_back));
    assert_int_equal((int)value_of("sidepond_feed_following{table=\"followed\"}"), 0);
    assert_int_equal(
        (int)value_of("sidepond_feed_drift_rows_total{table=\"followed\",change=\"deleted\"}"), 0);
    assert_int_equal(
        (int)value_of("sidepond_feed_reloads_total{table=\"followed\",reason=\"lost\"}"), 0);
    assert_int_equal(get("/tables"), 200);
    json_t *root = json_loads(body(), 0, &error);
    json_t *feed = json_object_get(json_array_get(json_object_get(root, "tables"), 0), "feed");
    assert_string_equal(json_string_value(json_object_get(feed, "state")), "fallen back");
    assert_non_null(json_string_value(json_object_get(feed, "why")));
    assert_true(json_is_null(json_object_get(feed, "inexact")));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready),          cmocka_unit_test(test_health),
        cmocka_unit_test(test_codes),          cmocka_unit_test(test_post),
        cmocka_unit_test(test_tables),         cmocka_unit_test(test_metric_values),
        cmocka_unit_test(test_exposition),     cmocka_unit_test(test_documented),
        cmocka_unit_test(test_followed_table),
    };
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_ERR);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
