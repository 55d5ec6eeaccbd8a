/* SPDX-License-Identifier: Apache-2.0
 *
 * source_pg_fixture.c - see source_pg_fixture.h.
 */
#include "source_pg_fixture.h"

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
    snprintf(command, sizeof(command), "'%s' %s '%s' >&2", getenv("SIDEPOND_PG_SERVER"), verb,
             getenv("SIDEPOND_PG_DIR"));
    assert_int_equal(system(command), 0);
}

void admin_connect(struct fixture *f)
{
    PQfinish(f->admin);
    f->admin = PQconnectdb(f->dsn);
    if (PQstatus(f->admin) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(f->admin));
    PQclear(PQexec(f->admin, "SET client_min_messages = error"));
}

void sql(struct fixture *f, const char *statements)
{
    PGresult *result = PQexec(f->admin, statements);
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", statements, PQerrorMessage(f->admin));
    PQclear(result);
}

long sql_long(struct fixture *f, const char *query)
{
    PGresult *result = PQexec(f->admin, query);
    assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
    const long number = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return number;
}

void need_server(struct fixture *f, int version)
{
    if (PQserverVersion(f->admin) < version)
        skip();
}

int pg_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *dsn = getenv("SIDEPOND_PG_DSN");
    if (!f || !dsn)
        return -1;
    snprintf(f->dsn, sizeof(f->dsn), "%s", dsn);
    f->class = source_find("postgresql");
    f->options = (struct source_options){
        .name = "shop", .type = "postgresql", .dsn = f->dsn, .connect_timeout_ms = 5000};
    admin_connect(f);
    sql(f,
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public");
    *state = f;
    return 0;
}

void close_source(struct fixture *f)
{
    if (f->source)
        f->class->close(f->source);
    f->source = NULL;
}

int pg_teardown(void **state)
{
    struct fixture *f = *state;
    close_source(f);
    source_record_free(&f->record);
    PQfinish(f->admin);
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

int pg_make_reader(void **state)
{
    struct fixture f = {0};
    (void)state;
    if (!getenv("SIDEPOND_PG_DSN"))
        return -1;
    snprintf(f.dsn, sizeof(f.dsn), "%s", getenv("SIDEPOND_PG_DSN"));
    admin_connect(&f);
    sql(&f, "CREATE ROLE reader LOGIN");
    PQfinish(f.admin);
    return 0;
}
