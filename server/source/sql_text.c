/* SPDX-License-Identifier: Apache-2.0
 *
 * sql_text.c - SQL statements as text that grows.
 *
 * Costs: one allocation that doubles. Limits: memory; a failure is kept and asked for once, at the
 * end, so that building a statement needs no check at every piece.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/source_internal.h"

static bool sql_grow(struct sql_text *sql, size_t bytes)
{
    size_t cap = sql->cap ? sql->cap : 256;
    while (cap < sql->size + bytes + 1)
        cap *= 2;
    if (cap == sql->cap)
        return true;
    char *text = realloc(sql->text, cap);
    if (!text)
        return false;
    sql->text = text;
    sql->cap = cap;
    return true;
}

void sql_put_bytes(struct sql_text *sql, const char *text, size_t bytes)
{
    if (sql->failed || !sql_grow(sql, bytes)) {
        sql->failed = true;
        return;
    }
    memcpy(sql->text + sql->size, text, bytes);
    sql->size += bytes;
    sql->text[sql->size] = 0;
}

void sql_put(struct sql_text *sql, const char *text)
{
    sql_put_bytes(sql, text, strlen(text));
}

void sql_put_name(struct sql_text *sql, const char *name, char quote)
{
    sql_put_bytes(sql, &quote, 1);
    for (const char *end; (end = strchr(name, quote)); name = end + 1) {
        sql_put_bytes(sql, name, (size_t)(end - name) + 1);
        sql_put_bytes(sql, &quote, 1);
    }
    sql_put(sql, name);
    sql_put_bytes(sql, &quote, 1);
}

void sql_put_subquery(struct sql_text *sql, const char *query)
{
    size_t bytes = strlen(query);
    while (bytes > 0 && (query[bytes - 1] == ';' || isspace((unsigned char)query[bytes - 1])))
        bytes--;
    sql_put(sql, "(");
    sql_put_bytes(sql, query, bytes);
    sql_put(sql, "\n) AS q"); /* a new line: the query may end in a comment */
}

bool sql_put_where(struct sql_text *sql, const struct source_table *table)
{
    if (!table->where || !table->where[0])
        return false;
    sql_put(sql, " WHERE (");
    sql_put(sql, table->where);
    sql_put(sql, "\n)"); /* likewise */
    return true;
}

const char *sql_part_end(const char *at, char quote)
{
    if (*at != quote)
        return at + strcspn(at, ".");
    for (at++; *at; at++) {
        if (*at == quote && at[1] != quote)
            return at + 1;
        at += *at == quote;
    }
    return at;
}

void sql_free(struct sql_text *sql)
{
    free(sql->text);
    *sql = (struct sql_text){0};
}
