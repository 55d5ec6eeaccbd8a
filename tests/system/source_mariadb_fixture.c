/* SPDX-License-Identifier: Apache-2.0
 *
 * source_mariadb_fixture.c - see source_mariadb_fixture.h.
 */
#include "source_mariadb_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void server(const char *verb)
{
    char command[1024];
    snprintf(command, sizeof(command), "'%s' %s '%s' >&2", getenv("SIDEPOND_MARIADB_SERVER"), verb,
             getenv("SIDEPOND_MARIADB_DIR"));
    assert_int_equal(system(command), 0);
}

const char *server_socket(const struct fixture *f)
{
    return strchr(f->uri, '=') + 1;
}

void admin_connect(struct fixture *f)
{
    if (f->admin)
        mysql_close(f->admin);
    f->admin = mysql_init(NULL);
    mysql_optionsv(f->admin, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    if (!mysql_real_connect(f->admin, "localhost", "root", NULL, NULL, 0, server_socket(f), 0))
        fail_msg("%s", mysql_error(f->admin));
}

static void run(struct fixture *f, const char *statement, size_t bytes)
{
    if (mysql_real_query(f->admin, statement, bytes) != 0)
        fail_msg("%.*s: %s", (int)bytes, statement, mysql_error(f->admin));
    mysql_free_result(mysql_store_result(f->admin));
}

void sql(struct fixture *f, const char *statements)
{
    for (const char *end; (end = strstr(statements, ";\n")); statements = end + 2)
        run(f, statements, (size_t)(end - statements));
    run(f, statements, strlen(statements));
}

long sql_long(struct fixture *f, const char *query)
{
    if (mysql_query(f->admin, query) != 0)
        fail_msg("%s: %s", query, mysql_error(f->admin));
    MYSQL_RES *result = mysql_store_result(f->admin);
    const MYSQL_ROW row = mysql_fetch_row(result);
    const long number = row && row[0] ? strtol(row[0], NULL, 10) : -1;
    mysql_free_result(result);
    return number;
}

static const char *reader_uri(struct fixture *f)
{
    snprintf(f->reader, sizeof(f->reader), "mariadb://reader@localhost/shop?socket=%s",
             server_socket(f));
    return f->reader;
}

int mariadb_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *uri = getenv("SIDEPOND_MARIADB_URI");
    if (!f || !uri)
        return -1;
    snprintf(f->uri, sizeof(f->uri), "%s", uri);
    f->class = source_find("mariadb");
    f->options = (struct source_options){
        .name = "shop", .type = "mariadb", .dsn = f->uri, .connect_timeout_ms = 5000};
    reader_uri(f);
    admin_connect(f);
    sql(f, "DROP DATABASE IF EXISTS shop;\nCREATE DATABASE shop;\nUSE shop;\n"
           "CREATE OR REPLACE USER reader IDENTIFIED BY 'open sesame'");
    *state = f;
    return 0;
}

void close_source(struct fixture *f)
{
    if (f->source)
        f->class->close(f->source);
    f->source = NULL;
}

int mariadb_teardown(void **state)
{
    struct fixture *f = *state;
    close_source(f);
    source_record_free(&f->record);
    mysql_close(f->admin);
    free(f);
    return 0;
}

void must(struct fixture *f, int status)
{
    if (status != SP_OK)
        fail_msg("%s: %s", sp_status_name(status), f->error.text);
}

void open_source(struct fixture *f)
{
    if (!f->source)
        must(f, f->class->open(&f->options, &f->source, &f->error));
}

int read_table(struct fixture *f, const struct source_table *table, const struct sp_value *since)
{
    open_source(f);
    source_record_free(&f->record);
    return source_record_read(f->class, f->source, table, since, &f->record, &f->error);
}

void expect_since(struct fixture *f, const struct source_table *table, const struct sp_value *since,
                  const char *rows)
{
    must(f, read_table(f, table, since));
    assert_string_equal(f->record.text ? f->record.text : "", rows);
}

void expect_rows(struct fixture *f, const struct source_table *table, const char *rows)
{
    expect_since(f, table, NULL, rows);
}

void expect_description(struct fixture *f, const struct source_table *table, const char *text)
{
    struct source_description description;
    open_source(f);
    must(f, f->class->describe(f->source, table, &description, &f->error));
    assert_string_equal(source_record_description(&description), text);
    source_description_free(&description);
}

void expect_error(struct fixture *f, const struct source_table *table, int status, const char *text)
{
    struct source_description description;
    open_source(f);
    assert_int_equal(f->class->describe(f->source, table, &description, &f->error), status);
    if (strncmp(f->error.text, text, strlen(text)) != 0)
        assert_string_equal(f->error.text, text);
}

void expect_open_error(struct fixture *f, const char *dsn, const char *password, const char *text)
{
    struct source_options options = f->options;
    struct source *source = NULL;
    options.dsn = dsn;
    options.password = password;
    assert_int_equal(f->class->open(&options, &source, &f->error), SP_ESOURCE);
    assert_null(source);
    assert_true(f->error.transient);
    if (!strstr(f->error.text, text))
        fail_msg("no \"%s\" in: %s", text, f->error.text);
}

void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}
