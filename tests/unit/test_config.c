/* SPDX-License-Identifier: Apache-2.0
 *
 * test_config.c - the configuration file.
 *
 * Goal: a right file means exactly what the documentation says; a wrong one is refused with every
 * fault named at its place; passwords come from where they should and go nowhere else.
 * Method: every file of tests/fuzz/corpus/config is loaded, and what is said of it is compared with
 * the notes in the file itself: "#= COLUMN: text" at the end of a line for a complaint about that
 * line, "#@ LINE:COLUMN: text" for others (line 0: the file as a whole). Files good-* must load,
 * bad-* must not. The values of some good ones are looked at one by one. The option tables of
 * docs/CONFIGURATION.md must be what config_reference prints ("test_config --reference").
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config/config.h"

enum { PATH_MAX_BYTES = 4096, NOTES_MAX = 64 };

struct note {
    unsigned line, column, order;
    const char *text;
};

static const char *source_path(const char *below)
{
    static char path[PATH_MAX_BYTES];
    const char *root = getenv("SIDEPOND_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/%s", root ? root : ".", below);
    return path;
}

static char *read_text(const char *path)
{
    struct stat about;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &about) != 0)
        fail_msg("cannot open %s", path);
    char *text = calloc(1, (size_t)about.st_size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)about.st_size, file), about.st_size);
    fclose(file);
    return text;
}

/* Loads a text; what was said of it is to be freed. */
static int load(const char *path, const char *text, char **said, struct config **config)
{
    size_t bytes = 0;
    FILE *out = open_memstream(said, &bytes);
    assert_non_null(out);
    int status = config_load_buffer(path, text, strlen(text), out, config);
    fclose(out);
    return status;
}

/* Loads a text that must be right and have no warnings. */
static struct config *load_good(const char *text)
{
    char *said;
    struct config *config = NULL;
    int status = load("/etc/sidepond/test.yaml", text, &said, &config);
    assert_string_equal(said, "");
    assert_int_equal(status, SP_OK);
    free(said);
    return config;
}

/* --- the corpus --- */

static int by_place(const void *left, const void *right)
{
    const struct note *a = left;
    const struct note *b = right;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

/* The notes of one line, which is cut into pieces. */
static unsigned line_notes(char *line, unsigned number, struct note *notes)
{
    unsigned count = 0;
    char *at = strstr(line, "#@ ");
    if (at) {
        char *end;
        notes[count].line = (unsigned)strtoul(at + 3, &end, 10);
        notes[count].column = (unsigned)strtoul(end + 1, &end, 10);
        notes[count++].text = end + 2;
        return count;
    }
    for (char *next, *note = strstr(line, " #= "); note; note = next) {
        char *end;
        next = strstr(note + 4, " #= ");
        if (next)
            *next = '\0';
        notes[count].line = number;
        notes[count].column = (unsigned)strtoul(note + 4, &end, 10);
        notes[count++].text = end + 2;
    }
    return count;
}

/* What the notes of a file say that is said of it; cuts `text` up. */
static char *expected_of(const char *path, char *text)
{
    struct note notes[NOTES_MAX];
    unsigned count = 0;
    unsigned number = 1;
    for (char *line = text; line; number++) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        count += line_notes(line, number, notes + count);
        line = end ? end + 1 : NULL;
    }
    for (unsigned i = 0; i < count; i++)
        notes[i].order = i;
    qsort(notes, count, sizeof(notes[0]), by_place);
    char *expected = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&expected, &bytes);
    for (unsigned i = 0; i < count; i++) {
        if (notes[i].line)
            fprintf(out, "%s:%u:%u: %s\n", path, notes[i].line, notes[i].column, notes[i].text);
        else
            fprintf(out, "%s: %s\n", path, notes[i].text);
    }
    fclose(out);
    return expected;
}

static void check_file(const char *folder, const char *name)
{
    char path[PATH_MAX_BYTES + 256];
    char *said;
    struct config *config = NULL;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    char *text = read_text(path);
    int status = load(name, text, &said, &config);
    char *expected = expected_of(name, text);
    assert_string_equal(said, expected);
    if (status != (strncmp(name, "good", 4) == 0 ? SP_OK : SP_ECONFIG))
        fail_msg("%s: %s", name, sp_status_name(status));
    assert_true((status == SP_OK) == (config != NULL));
    config_free(config);
    free(expected);
    free(said);
    free(text);
}

static void test_corpus(void **state)
{
    (void)state;
    unsigned count = 0;
    char *folder = strdup(source_path("tests/fuzz/corpus/config"));
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (strncmp(name, "good-", 5) != 0 && strncmp(name, "bad-", 4) != 0)
            continue;
        check_file(folder, name);
        count++;
    }
    closedir(dir);
    free(folder);
    assert_true(count >= 35);
}

/* --- meaning --- */

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = load_good("sources: [{name: app, type: sqlite, path: app.db}]\n"
                                      "tables: [{name: users, source: app, key: [id]}]\n");
    assert_string_equal(config->file, "/etc/sidepond/test.yaml");
    assert_string_equal(config->pond, "main");
    assert_string_equal(config->directory, "/dev/shm/sidepond/main");
    assert_int_equal(config->memory_bytes, 256 << 20);
    assert_true(config->huge_pages);
    assert_null(config->group_name);
    assert_null(config->snapshot_file);
    assert_int_equal(config->lease_limit_ms, 60000);
    assert_null(config->http_listen);
    assert_false(config->cache.enabled);
    assert_int_equal(config->log_level, CONFIG_LOG_INFO);
    assert_int_equal(config->log_format, CONFIG_LOG_TEXT);
    assert_int_equal(config->log_target, CONFIG_LOG_STDERR);
    assert_int_equal(config->source_count, 1);
    assert_string_equal(config->sources[0].path, "/etc/sidepond/app.db");
    assert_int_equal(config->sources[0].connect_timeout_ms, 5000);
    assert_int_equal(config->sources[0].statement_timeout_ms, 300000);
    assert_int_equal(config->sources[0].line, 1);
    assert_int_equal(config->table_count, 1);
    const struct config_table *table = &config->tables[0];
    assert_ptr_equal(table->source, &config->sources[0]);
    assert_string_equal(table->relation, "users");
    assert_null(table->query);
    assert_null(table->columns);
    assert_null(table->where);
    assert_string_equal(table->key[0], "id");
    assert_null(table->key[1]);
    assert_int_equal(table->index_count, 0);
    assert_string_equal(table->group, "users");
    assert_int_equal(table->refresh.mode, CONFIG_REFRESH_FULL);
    assert_int_equal(table->refresh.every_ms, 10000);
    assert_null(table->refresh.channel);
    assert_true(table->max_drop == 0.5);
    assert_int_equal(table->max_stale_ms, 0);
    assert_int_equal(table->on_stale, CONFIG_ON_STALE_SERVE);
    assert_int_equal(table->on_bad_row, CONFIG_ON_BAD_ROW_SKIP);
    assert_int_equal(table->max_row_bytes, 1 << 20);
    assert_int_equal(table->line, 2);
    config_free(config);
}

static void check_full_orders(const struct config_table *table)
{
    assert_string_equal(table->relation, "public.orders");
    assert_string_equal(table->columns[3], "updated_at");
    assert_null(table->columns[4]);
    assert_string_equal(table->where, "state <> 'done'");
    assert_int_equal(table->index_count, 2);
    assert_string_equal(table->indexes[0].name, "by_customer");
    assert_false(table->indexes[0].unique);
    assert_true(table->indexes[1].unique);
    assert_string_equal(table->indexes[1].columns[1], "id");
    assert_null(table->indexes[1].columns[2]);
    assert_string_equal(table->group, "shop");
    assert_int_equal(table->refresh.mode, CONFIG_REFRESH_INCREMENTAL);
    assert_int_equal(table->refresh.every_ms, 5000);
    assert_string_equal(table->refresh.watermark, "updated_at");
    assert_int_equal(table->refresh.overlap, 5000000);
    assert_int_equal(table->refresh.full_every_ms, 7200000);
    assert_true(table->max_drop == 0.125);
    assert_int_equal(table->max_stale_ms, 600000);
    assert_int_equal(table->on_stale, CONFIG_ON_STALE_FAIL);
    assert_int_equal(table->on_bad_row, CONFIG_ON_BAD_ROW_FAIL);
    assert_int_equal(table->max_row_bytes, 64 << 10);
}

static void check_full_tables(const struct config *config)
{
    const struct config_table *table = config->tables;
    assert_int_equal(config->table_count, 6);
    assert_int_equal(table[0].refresh.mode, CONFIG_REFRESH_NOTIFIED);
    assert_int_equal(table[0].refresh.every_ms, 10);
    assert_null(table[0].refresh.channel);
    check_full_orders(&table[1]);
    assert_null(table[2].relation);
    assert_string_equal(table[2].query, "SELECT order_id, position, article\n  FROM items\n");
    assert_string_equal(table[2].key[1], "position");
    assert_string_equal(table[3].refresh.channel, "other_events");
    assert_int_equal(table[3].refresh.every_ms, 250);
    assert_int_equal(table[3].refresh.full_every_ms, 86400000);
    assert_int_equal(table[4].refresh.overlap, 1000);
    assert_string_equal(table[5].refresh.channel, "sidepond_news");
    assert_ptr_equal(table[5].source, &config->sources[2]);
}

static void test_full(void **state)
{
    (void)state;
    char *text = read_text(source_path("tests/fuzz/corpus/config/good-full.yaml"));
    struct config *config = load_good(text);
    free(text);
    assert_string_equal(config->pond, "shop-1");
    assert_int_equal(config->memory_bytes, UINT64_C(4) << 30);
    assert_string_equal(config->directory, "/dev/shm/elsewhere");
    assert_false(config->huge_pages);
    assert_string_equal(config->group_name, "www-data");
    assert_int_equal(config->lease_limit_ms, 30000);
    assert_string_equal(config->snapshot_file, "/etc/sidepond/shop.snap");
    assert_int_equal(config->snapshot_every_ms, 300000);
    assert_string_equal(config->http_listen, "127.0.0.1:9180");
    assert_int_equal(config->log_level, CONFIG_LOG_DEBUG);
    assert_int_equal(config->log_format, CONFIG_LOG_JSON);
    assert_int_equal(config->log_target, CONFIG_LOG_JOURNAL);
    assert_string_equal(config->sources[0].path, "/etc/sidepond/data/app.db");
    assert_string_equal(config->sources[1].password_file, "/etc/sidepond/shop.password");
    assert_int_equal(config->sources[1].connect_timeout_ms, 2000);
    assert_int_equal(config->sources[1].statement_timeout_ms, 0);
    assert_string_equal(config->sources[2].password_env, "OTHER_PASSWORD");
    check_full_tables(config);
    config_free(config);
}

static void check_explained(const char *name, const char *const *parts, size_t count);

static void test_feed(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "is dropped beyond 64MiB.\n",
        "Each change is taken as the database tells it; all rows are compared every 1d,\n"
        "  and while the database cannot tell, all are read every 1m.\n",
    };
    char *text = read_text(source_path("tests/fuzz/corpus/config/good-feed.yaml"));
    struct config *config = load_good(text);
    free(text);
    assert_string_equal(config->sources[0].publication, "pond");
    assert_int_equal(config->sources[0].max_lag_bytes, 64 << 20);
    assert_null(config->sources[1].publication);
    assert_int_equal(config->sources[1].max_lag_bytes, 1 << 30);
    assert_int_equal(config->tables[0].refresh.mode, CONFIG_REFRESH_FEED);
    assert_int_equal(config->tables[0].refresh.full_every_ms, 86400000);
    assert_int_equal(config->tables[1].refresh.full_every_ms, 43200000);
    assert_int_equal(config->tables[2].refresh.every_ms, 10000);
    config_free(config);
    check_explained("good-feed.yaml", parts, sizeof(parts) / sizeof(parts[0]));
}

static void test_cache_defaults(void **state)
{
    (void)state;
    struct config *config = load_good("memory: 64MiB\ncache: {}\n");
    const struct config_cache *cache = &config->cache;
    assert_true(cache->enabled);
    assert_int_equal(cache->memory_bytes, 32 << 20);
    assert_int_equal(cache->when_full, CONFIG_WHEN_FULL_EVICT);
    assert_null(cache->listen);
    assert_string_equal(cache->socket, "/dev/shm/sidepond/main/socket");
    assert_int_equal(cache->socket_mode, 0660);
    assert_int_equal(cache->threads, 1);
    assert_int_equal(cache->max_clients, 10000);
    assert_int_equal(cache->idle_timeout_ms, 0);
    assert_int_equal(cache->max_request_bytes, 512 << 20);
    assert_int_equal(cache->output_limit_bytes, 256 << 20);
    assert_null(cache->tls.cert);
    assert_null(cache->tls.listen);
    assert_int_equal(cache->tls.clients, CONFIG_TLS_NONE);
    assert_null(cache->users_file);
    assert_null(cache->password_file);
    assert_int_equal(cache->slow_after_ms, 10);
    assert_int_equal(cache->slow_length, 128);
    assert_int_equal(cache->tracked_keys, 1000000);
    assert_string_equal(cache->notify, "");
    assert_int_equal(config->source_count, 0);
    assert_int_equal(config->table_count, 0);
    config_free(config);
}

static void check_full_tls(const struct config_tls *tls)
{
    assert_string_equal(tls->cert, "/etc/sidepond/server.pem");
    assert_string_equal(tls->key, "/etc/tls/key.pem");
    assert_string_equal(tls->key_password_file, "/etc/sidepond/key.password");
    assert_string_equal(tls->ca, "/etc/sidepond/ca.pem");
    assert_int_equal(tls->clients, CONFIG_TLS_REQUIRED);
    assert_string_equal(tls->listen[0], "[::]:6380");
    assert_null(tls->listen[1]);
}

static void test_cache_full(void **state)
{
    (void)state;
    char *text = read_text(source_path("tests/fuzz/corpus/config/good-cache.yaml"));
    struct config *config = load_good(text);
    const struct config_cache *cache = &config->cache;
    free(text);
    assert_int_equal(cache->memory_bytes, 600 << 20);
    assert_int_equal(cache->when_full, CONFIG_WHEN_FULL_REFUSE);
    assert_string_equal(cache->listen[0], "0.0.0.0:6379");
    assert_string_equal(cache->listen[2], "unix:/run/app/cache");
    assert_null(cache->listen[3]);
    assert_int_equal(cache->socket_mode, 0600);
    assert_int_equal(cache->threads, 4);
    assert_int_equal(cache->max_clients, 500);
    assert_int_equal(cache->idle_timeout_ms, 300000);
    assert_int_equal(cache->max_request_bytes, 1 << 20);
    assert_int_equal(cache->output_limit_bytes, 2 << 20);
    check_full_tls(&cache->tls);
    assert_string_equal(cache->users_file, "/etc/sidepond/users.acl");
    assert_null(cache->password_file);
    assert_int_equal(cache->slow_after_ms, 1);
    assert_int_equal(cache->slow_length, 10);
    assert_int_equal(cache->tracked_keys, 5000);
    assert_string_equal(cache->notify, "KEx");
    config_free(config);
}

/* What --check says of a file of the corpus. */
static void check_explained(const char *name, const char *const *parts, size_t count)
{
    char path[128];
    char *said = NULL;
    size_t bytes = 0;
    snprintf(path, sizeof(path), "tests/fuzz/corpus/config/%s", name);
    char *text = read_text(source_path(path));
    struct config *config = load_good(text);
    FILE *out = open_memstream(&said, &bytes);
    config_explain(config, out);
    fclose(out);
    for (size_t i = 0; i < count; i++)
        if (!strstr(said, parts[i]))
            fail_msg("not explained: %s\nin:\n%s", parts[i], said);
    config_free(config);
    free(said);
    free(text);
}

static void test_cache_explain(void **state)
{
    (void)state;
    static const char *const all[] = {
        "The cache takes at most 600MiB of that memory; when it is full, writes are refused.\n",
        "  Clients connect to unix:/dev/shm/sidepond/main/socket, 0.0.0.0:6379, [::1]:6379, "
        "unix:/run/app/cache, [::]:6380 (TLS).\n  The Unix sockets have mode 0600.\n",
        "The certificate is /etc/sidepond/server.pem; clients must show one too.",
        "Users and what they may do are in /etc/sidepond/users.acl.",
        "at most 500 clients with 4 threads, and disconnects those that are silent for 5m.",
        "A request may have 1MiB, and 2MiB may wait to be sent to one client.",
        "For clients that keep copies at most 5000 keys are remembered.",
    };
    static const char *const tls[] = {
        "user 'default' is read from /etc/sidepond/default.password."};
    static const char *const small[] = {"when it is full, entries that are little used go.",
                                        "Nobody is asked for a password."};
    check_explained("good-cache.yaml", all, sizeof(all) / sizeof(all[0]));
    check_explained("good-cache-tls.yaml", tls, sizeof(tls) / sizeof(tls[0]));
    check_explained("good-cache-small.yaml", small, sizeof(small) / sizeof(small[0]));
}

/* An address alone in a file that is right otherwise. */
static int load_address(const char *address, bool *warned)
{
    char text[256];
    char *said;
    struct config *config;
    snprintf(text, sizeof(text),
             "http: {listen: \"%s\"}\nsources: [{name: a, type: sqlite, path: /a}]\n"
             "tables: [{name: t, source: a, key: [id]}]\n",
             address);
    int status = load("f", text, &said, &config);
    *warned = strstr(said, "warning: ") != NULL;
    free(said);
    config_free(config);
    return status;
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const local[] = {"127.0.0.1:9180", "127.1.2.3:0", "[::1]:9180",
                                        "localhost:65535"};
    static const char *const wide[] = {"0.0.0.0:9180", "[::]:80", "192.0.2.1:1"};
    static const char *const wrong[] = {
        ":9180",   "localhost:", "127.0.0.1:65536", "::1:9180",  "[127.0.0.1]:80", "example.com:80",
        "[::1]80", "1.2.3:80",   "127.0.0.1:80x",   "127.0.0.1", "[]:80",          "*:80"};
    bool warned;
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        assert_int_equal(load_address(local[i], &warned), SP_OK);
        assert_false(warned);
    }
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        assert_int_equal(load_address(wide[i], &warned), SP_OK);
        assert_true(warned);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(load_address(wrong[i], &warned), SP_ECONFIG);
}

/* What is said of a DSN; to be freed. */
static char *load_dsn(const char *type, const char *dsn)
{
    char text[512];
    char *said;
    struct config *config;
    snprintf(text, sizeof(text),
             "sources: [{name: a, type: %s, dsn: '%s'}]\n"
             "tables: [{name: t, source: a, key: [id]}]\n",
             type, dsn);
    load("f", text, &said, &config);
    config_free(config);
    return said;
}

/* A password is found however it is written, and never repeated. */
static void test_dsn(void **state)
{
    (void)state;
    /* Two quotes are one in YAML's single quotes. */
    static const char *const good[] = {"host=a user=b",
                                       "service=x",
                                       "user = ''pass word'' dbname=a",
                                       "user=password",
                                       "postgresql://host/db",
                                       "postgres://",
                                       "postgresql://u@h/db?sslmode=require&passfile=/p",
                                       "user=''it\\''s password=1''",
                                       "postgresql:///db?host=/a:b@c"};
    static const char *const secret[] = {"password=hush",
                                         "host=a  password = hush",
                                         "user=''a b'' password=''hush''",
                                         "user=a\\ b password=hush",
                                         "postgresql://u:hush@h/db",
                                         "postgresql://u:hush@a@h",
                                         "postgres://h/db?sslmode=x&password=hush",
                                         "postgresql://h?password=hush",
                                         "sslpassword=hush"};
    static const char *const broken[] = {"nothing", "user=''hush", "=hush", "user", "a=b c"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char *said = load_dsn("postgresql", good[i]);
        assert_string_equal(said, "");
        free(said);
    }
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
        char *said = load_dsn("postgresql", secret[i]);
        assert_non_null(strstr(said, "dsn holds a password"));
        assert_null(strstr(said, "hush"));
        free(said);
    }
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        char *said = load_dsn("postgresql", broken[i]);
        assert_non_null(strstr(said, "dsn is neither"));
        assert_null(strstr(said, "hush"));
        free(said);
    }
}

static void test_mariadb_uri(void **state)
{
    (void)state;
    static const struct {
        const char *type, *dsn, *said;
    } cases[] = {
        {"mariadb", "mariadb://u@h:3306/db?ssl-ca=/a:b@c", ""},
        {"mysql", "mysql://", ""},
        {"mariadb", "mysql://u@h/db", ""},
        {"mariadb", "mariadb://u:hush@h/db", "dsn holds a password"},
        {"mysql", "mysql://u@h/db?ssl=1&password=hush", "dsn holds a password"},
        {"mysql", "mysql://u@h/db?pwd=hush", "dsn holds a password"},
        {"mariadb", "user=u passwd=hush", "dsn is not a mariadb:// or mysql:// URI"},
        {"mariadb", "postgresql://hush@h", "dsn is not a mariadb:// or mysql:// URI"},
        {"sqlite", "mariadb://h", "'dsn' is for postgresql, mariadb, mysql, mongodb"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *said = load_dsn(cases[i].type, cases[i].dsn);
        if (cases[i].said[0])
            assert_non_null(strstr(said, cases[i].said));
        else
            assert_string_equal(said, "");
        assert_null(strstr(said, "hush"));
        free(said);
    }
}

/* Complaints beyond the limit are counted, and complaints may go nowhere. */
static void test_many_complaints(void **state)
{
    (void)state;
    char *text = NULL;
    char *said;
    size_t bytes = 0;
    struct config *config;
    FILE *out = open_memstream(&text, &bytes);
    for (int i = 0; i < 300; i++)
        fprintf(out, "k%d: 1\n", i);
    fclose(out);
    assert_int_equal(load("f", text, &said, &config), SP_ECONFIG);
    assert_non_null(strstr(said, "f:1:1: unknown key 'k0'\nf:2:1: unknown key 'k1'\n"));
    assert_non_null(strstr(said, "\nf: and 102 more\n"));
    assert_int_equal(config_load_buffer("f", text, bytes, NULL, &config), SP_ECONFIG);
    free(said);
    free(text);
}

static void test_too_large(void **state)
{
    (void)state;
    size_t bytes = ((size_t)1 << 20) + 1;
    char *text = malloc(bytes + 1);
    char *said;
    struct config *config;
    memset(text, '#', bytes);
    text[bytes] = '\0';
    assert_int_equal(load("f", text, &said, &config), SP_ECONFIG);
    assert_string_equal(said, "f: too large: more than 1048576 bytes\n");
    free(said);
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    char *said = NULL;
    size_t bytes = 0;
    struct config *config;
    FILE *out = open_memstream(&said, &bytes);
    assert_int_equal(config_load("/nonexistent/x.yaml", out, &config), SP_ESYS);
    assert_null(config);
    assert_int_equal(config_load("/tmp", out, &config), SP_ESYS);
    assert_int_equal(
        config_load(source_path("tests/fuzz/corpus/config/good-small.yaml"), out, &config), SP_OK);
    fclose(out);
    assert_string_equal(said, "/nonexistent/x.yaml: cannot be read: No such file or directory\n"
                              "/tmp: cannot be read: Is a directory\n");
    assert_string_equal(config->tables[0].name, "users");
    config_free(config);
    config_free(NULL);
    free(said);
}

static void test_explain(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "Pond 'shop-1' lies in /dev/shm/elsewhere and takes at most 4GiB of memory",
        "Members of the group 'www-data' may read it.",
        "saved to /etc/sidepond/shop.snap after a commit, at most every 5m",
        "http://127.0.0.1:9180/metrics",
        "The password is read from /etc/sidepond/shop.password.",
        "environment variable OTHER_PASSWORD",
        "Table 'orders' holds id, customer, total, updated_at of public.orders of source 'shop', "
        "where state <> 'done'\n",
        "of a query of source 'shop': SELECT order_id, position, article FROM items\n",
        "The rows whose updated_at is at least the highest one seen less 5s",
        "(NOTIFY \"sidepond_news\")",
        "The rows whose at is at least the highest one seen less 2s (an integer: less 2000000) are "
        "read\n  when the database says that something changed (NOTIFY \"other_events\")",
        "with 'items' (group 'shop')",
        "Not confirmed for 10m, the table is stale: readers get an error.",
        "remove more than 12.5% of the rows",
        "over 64KiB, broken encoding) makes the refresh fail.",
    };
    check_explained("good-full.yaml", parts, sizeof(parts) / sizeof(parts[0]));
}

/* The documentation's tables are the parser's. */
static void test_reference(void **state)
{
    (void)state;
    static const char begin[] = "<!-- reference: test_config --reference -->\n\n";
    static const char end[] = "\n<!-- end of reference -->";
    char *doc = read_text(source_path("docs/CONFIGURATION.md"));
    char *printed = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&printed, &bytes);
    config_reference(out);
    fclose(out);
    char *from = strstr(doc, begin);
    assert_non_null(from);
    from += strlen(begin);
    char *to = strstr(from, end);
    assert_non_null(to);
    *to = '\0';
    assert_string_equal(from, printed);
    free(printed);
    free(doc);
}

/* The documentation's examples are right: every ```yaml block with sources. */
static void test_documented_examples(void **state)
{
    (void)state;
    static const char fence[] = "\n```yaml\n";
    unsigned count = 0;
    char *doc = read_text(source_path("docs/CONFIGURATION.md"));
    for (char *next, *block = strstr(doc, fence); block; block = next) {
        block += strlen(fence);
        char *end = strstr(block, "\n```\n");
        assert_non_null(end);
        *end = '\0';
        next = strstr(end + 1, fence);
        if (!strstr(block, "sources:"))
            continue;
        config_free(load_good(block));
        count++;
    }
    free(doc);
    assert_true(count >= 2);
}

/* --- passwords --- */

static char *make_password_file(const char *folder, const char *bytes, size_t count, mode_t mode)
{
    static char path[PATH_MAX_BYTES];
    snprintf(path, sizeof(path), "%s/password", folder);
    unlink(path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void check_password(const char *folder, const char *bytes, size_t count, int status,
                           const char *expected)
{
    char why[256];
    char *password;
    struct config_source source = {.name = "a",
                                   .password_file = make_password_file(folder, bytes, count, 0600)};
    assert_int_equal(config_password(&source, &password, why, sizeof(why)), status);
    if (status == SP_OK) {
        assert_string_equal(password, expected);
        assert_string_equal(why, "");
    } else {
        assert_null(password);
        assert_non_null(strstr(why, expected));
    }
    config_password_free(password);
}

static void test_password_file(void **state)
{
    const char *folder = *state;
    char why[256];
    char *password;
    char large[5000];
    memset(large, 'x', sizeof(large));
    check_password(folder, "secret", 6, SP_OK, "secret");
    check_password(folder, "secret\n", 7, SP_OK, "secret");
    check_password(folder, "secret\r\n", 8, SP_OK, "secret");
    check_password(folder, " se cret \n", 10, SP_OK, " se cret ");
    check_password(folder, "", 0, SP_ECONFIG, "is empty");
    check_password(folder, "\n", 1, SP_ECONFIG, "is empty");
    check_password(folder, "a\0b", 3, SP_ECONFIG, "zero byte");
    check_password(folder, "a\nb\n", 4, SP_ECONFIG, "more than one line");
    check_password(folder, large, sizeof(large), SP_ECONFIG, "too large");
    struct config_source open = {.name = "a",
                                 .password_file = make_password_file(folder, "s", 1, 0644)};
    assert_int_equal(config_password(&open, &password, why, sizeof(why)), SP_OK);
    assert_non_null(strstr(why, "can be read by everyone"));
    config_password_free(password);
    unlink(open.password_file);
    assert_int_equal(config_password(&open, &password, why, sizeof(why)), SP_ECONFIG);
    assert_non_null(strstr(why, "No such file"));
    struct config_source directory = {.name = "a", .password_file = folder};
    assert_int_equal(config_password(&directory, &password, why, sizeof(why)), SP_ECONFIG);
    assert_non_null(strstr(why, "Is a directory"));
}

static void test_password_environment(void **state)
{
    (void)state;
    char why[256];
    char *password;
    struct config_source source = {.name = "a", .password_env = "SIDEPOND_TEST_PASSWORD"};
    unsetenv("SIDEPOND_TEST_PASSWORD");
    assert_int_equal(config_password(&source, &password, why, sizeof(why)), SP_ECONFIG);
    assert_non_null(strstr(why, "SIDEPOND_TEST_PASSWORD"));
    setenv("SIDEPOND_TEST_PASSWORD", "", 1);
    assert_int_equal(config_password(&source, &password, why, sizeof(why)), SP_ECONFIG);
    setenv("SIDEPOND_TEST_PASSWORD", "hush", 1);
    assert_int_equal(config_password(&source, &password, why, sizeof(why)), SP_OK);
    assert_string_equal(password, "hush");
    config_password_free(password);
    struct config_source none = {.name = "a"};
    assert_int_equal(config_password(&none, &password, why, sizeof(why)), SP_OK);
    assert_null(password);
    config_password_free(NULL);
}

static int make_folder(void **state)
{
    char *folder = NULL;
    const char *tmp = getenv("TMPDIR");
    if (asprintf(&folder, "%s/sidepond-config.XXXXXX", tmp ? tmp : "/tmp") < 0)
        return -1;
    *state = folder;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof(path), "%s/password", (char *)*state);
    unlink(path);
    int result = rmdir(*state);
    free(*state);
    return result;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_cache_defaults),
        cmocka_unit_test(test_cache_full),
        cmocka_unit_test(test_feed),
        cmocka_unit_test(test_cache_explain),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_dsn),
        cmocka_unit_test(test_mariadb_uri),
        cmocka_unit_test(test_many_complaints),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_documented_examples),
        cmocka_unit_test_setup_teardown(test_password_file, make_folder, remove_folder),
        cmocka_unit_test(test_password_environment),
    };
    if (argc == 2 && strcmp(argv[1], "--reference") == 0) {
        config_reference(stdout);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
