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

const char server_variables[] = "SIDEPOND_PG";
const char server_endless[] = "SELECT generate_series(1, 2000000000) AS i";
const char server_sleepy[] = "SELECT 1 AS id, pg_sleep(1000)::text AS s";
/* Before PostgreSQL 14 a server that computes does not look whether its client is still there. */
const char server_sessions[] =
    "SELECT count(CASE WHEN current_setting('server_version_num')::int < 140000"
    " THEN pg_terminate_backend(pid) ELSE true END) FROM pg_stat_activity"
    " WHERE application_name LIKE 'sidepond/%'";
const char server_is_gone[] = "source shop: cannot connect: connection to server";

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

void make_big(struct fixture *f, long rows, bool is_lasting)
{
    char make[256];
    snprintf(make, sizeof(make),
             "CREATE %s TABLE big AS SELECT i::int8 AS id, repeat('x', 100) AS s FROM"
             " generate_series(1, %ld) i",
             is_lasting ? "" : "UNLOGGED", rows);
    sql(f, make);
}

static bool find_server(struct fixture *f)
{
    const char *dsn = getenv("SIDEPOND_PG_DSN");
    if (dsn)
        snprintf(f->dsn, sizeof(f->dsn), "%s", dsn);
    return dsn;
}

int pg_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f || !find_server(f))
        return -1;
    snprintf(f->reader, sizeof(f->reader), "%s user=reader", f->dsn);
    f->class = source_find("postgresql");
    f->options = (struct source_options){
        .name = "shop", .type = "postgresql", .dsn = f->dsn, .connect_timeout_ms = 5000};
    admin_connect(f);
    sql(f,
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public");
    *state = f;
    return 0;
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

int pg_run(const char *statements)
{
    struct fixture f = {0};
    if (!find_server(&f))
        return -1;
    admin_connect(&f);
    sql(&f, statements);
    PQfinish(f.admin);
    return 0;
}

int pg_make_reader(void **state)
{
    (void)state;
    return pg_run("CREATE ROLE reader LOGIN");
}
