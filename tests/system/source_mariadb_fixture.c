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

const char server_variables[] = "SIDEPOND_MARIADB";
const char server_endless[] = "SELECT seq AS i FROM seq_1_to_2000000000";
const char server_sleepy[] = "SELECT id, SLEEP(1000) AS s FROM one";
const char server_sessions[] =
    "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'reader'";
const char server_is_gone[] = "source shop: cannot connect: ";

const char *server_socket(const struct fixture *f)
{
    return strchr(f->dsn, '=') + 1;
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

void sql_text(struct fixture *f, const char *query, char *text, size_t cap)
{
    if (mysql_query(f->admin, query) != 0)
        fail_msg("%s: %s", query, mysql_error(f->admin));
    MYSQL_RES *result = mysql_store_result(f->admin);
    const MYSQL_ROW row = mysql_fetch_row(result);
    snprintf(text, cap, "%s", row && row[0] ? row[0] : "");
    mysql_free_result(result);
}

long sql_long(struct fixture *f, const char *query)
{
    char text[64];
    sql_text(f, query, text, sizeof(text));
    return *text ? strtol(text, NULL, 10) : -1;
}

void make_big(struct fixture *f, long rows, bool is_lasting)
{
    char make[256];
    (void)is_lasting;
    snprintf(make, sizeof(make),
             "CREATE TABLE big AS SELECT CAST(seq AS SIGNED) AS id, REPEAT('x', 100) AS s FROM "
             "seq_1_to_%ld",
             rows);
    sql(f, make);
}

int mariadb_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *uri = getenv("SIDEPOND_MARIADB_URI");
    if (!f || !uri)
        return -1;
    snprintf(f->dsn, sizeof(f->dsn), "%s", uri);
    snprintf(f->reader, sizeof(f->reader), "mariadb://reader@localhost/shop?socket=%s",
             server_socket(f));
    f->class = source_find("mariadb");
    f->options = (struct source_options){
        .name = "shop", .type = "mariadb", .dsn = f->dsn, .connect_timeout_ms = 5000};
    admin_connect(f);
    sql(f, "DROP DATABASE IF EXISTS shop;\nCREATE DATABASE shop;\nUSE shop;\n"
           "CREATE OR REPLACE USER reader IDENTIFIED BY 'open sesame'");
    *state = f;
    return 0;
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
