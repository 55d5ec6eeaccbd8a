/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_binlog_sql.c - what a statement in MariaDB's binary log may have done to a table.
 *
 * The log has statements for changes of tables' shapes, and, where a session has set binlog_format
 * so, for changes of rows. They are not parsed, but judged on the safe side: one that changes
 * shapes is taken to have changed each table that it names; one that is neither of shapes nor known
 * to be harmless, all tables: it may reach them by a trigger, a view or a function. A comment, a
 * string or a column of a table's name can cause a needless reading of the table, never a missed
 * change.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "server/source/mariadb_binlog.h"

struct words {
    const char *at, *end;
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* Takes the start or the end of a comment that is executed: the server makes plain comments of the
 * others before it logs them. */
static bool take_executed(struct words *w)
{
    const char *at = w->at;
    if (w->end - at > 1 && at[0] == '*' && at[1] == '/') {
        w->at += 2;
        return true;
    }
    if (w->end - at < 4 || at[0] != '/' || at[1] != '*')
        return false;
    at += at[2] == 'M' ? 3 : 2;
    if (*at != '!')
        return false;
    for (at++; at < w->end && isdigit((unsigned char)*at);)
        at++;
    w->at = at;
    return true;
}

/* Past blanks and comments, but into what is executed of them. */
static void skip_blanks(struct words *w)
{
    while (w->at < w->end) {
        if (isspace((unsigned char)*w->at)) {
            w->at++;
        } else if (take_executed(w)) {
            continue;
        } else if (w->end - w->at > 1 && w->at[0] == '/' && w->at[1] == '*') {
            const char *end = memmem(w->at + 2, (size_t)(w->end - w->at - 2), "*/", 2);
            w->at = end ? end + 2 : w->end;
        } else if (*w->at == '#' || (w->end - w->at > 1 && w->at[0] == '-' && w->at[1] == '-')) {
            const char *end = memchr(w->at, '\n', (size_t)(w->end - w->at));
            w->at = end ? end : w->end;
        } else {
            return;
        }
    }
}

/* Takes the word if it is the next one. */
static bool take_word(struct words *w, const char *word)
{
    const size_t bytes = strlen(word);
    skip_blanks(w);
    if ((size_t)(w->end - w->at) < bytes || strncasecmp(w->at, word, bytes) != 0)
        return false;
    if (w->at + bytes < w->end && is_word(w->at[bytes]))
        return false;
    w->at += bytes;
    return true;
}

static bool take_mark(struct words *w, char mark)
{
    skip_blanks(w);
    if (w->at == w->end || *w->at != mark)
        return false;
    w->at++;
    return true;
}

/* How a name in a statement compares: some servers do not tell upper from lower case. */
enum match { MATCH_NOT, MATCH_BUT_CASE, MATCH_EXACT };

static enum match worse(enum match a, enum match b)
{
    return a < b ? a : b;
}

static enum match match(const char *name, const char *text, size_t bytes)
{
    if (strlen(name) != bytes || strncasecmp(name, text, bytes) != 0)
        return MATCH_NOT;
    return memcmp(name, text, bytes) == 0 ? MATCH_EXACT : MATCH_BUT_CASE;
}

/* Takes a name, in quotes or not, and says whether it is this one. */
static bool take_name(struct words *w, const char *name, enum match *same)
{
    skip_blanks(w);
    if (w->at == w->end)
        return false;
    const char quote = *w->at == '`' || *w->at == '"' ? *w->at : 0;
    const char *start = quote ? ++w->at : w->at;
    while (w->at < w->end && (quote ? *w->at != quote : is_word(*w->at)))
        w->at++;
    *same = match(name, start, (size_t)(w->at - start));
    if (quote && w->at < w->end)
        w->at++;
    return w->at > start;
}

enum binlog_effect binlog_statement(const char *sql, size_t bytes)
{
    struct words w = {sql, sql + bytes};
    if (take_word(&w, "BEGIN") || take_word(&w, "START"))
        return EFFECT_BEGIN;
    if (take_word(&w, "COMMIT"))
        return EFFECT_COMMIT;
    if (take_word(&w, "ROLLBACK"))
        return EFFECT_ROLLBACK; /* ROLLBACK TO, too: what was delivered is not what is there */
    if (take_word(&w, "XA"))    /* one that was never prepared */
        return take_word(&w, "COMMIT")     ? EFFECT_COMMIT
               : take_word(&w, "ROLLBACK") ? EFFECT_ROLLBACK
                                           : EFFECT_NONE;
    if (take_word(&w, "SAVEPOINT") || take_word(&w, "RELEASE"))
        return EFFECT_NONE;
    return EFFECT_OTHER;
}

/* --- tables --------------------------------------------------------------------------------- */

static bool is_ascii(const char *name)
{
    while (*name && (unsigned char)*name < 0x80)
        name++;
    return !*name;
}

/* Whether a name stands somewhere as a word of its own. One beyond ASCII may be written in another
 * character set there, so it always may. */
static bool names(const char *sql, size_t bytes, const char *name)
{
    const size_t size = strlen(name);
    if (!is_ascii(name))
        return true;
    for (size_t i = 0; size > 0 && i + size <= bytes; i++) {
        if (strncasecmp(sql + i, name, size) != 0)
            continue;
        const bool starts = i == 0 || !is_word(sql[i - 1]) || !is_word(name[0]);
        const bool ends = i + size == bytes || !is_word(sql[i + size]) || !is_word(name[size - 1]);
        if (starts && ends)
            return true;
    }
    return false;
}

/* Takes table or database.table and says whether it is the one that is followed. */
static enum match take_table(struct words *w, const char *database,
                             const struct binlog_table *table)
{
    enum match same = MATCH_NOT, same_database = match(table->database, database, strlen(database));
    const struct words start = *w;
    if (!take_name(w, table->name, &same))
        return MATCH_NOT;
    if (!take_mark(w, '.'))
        return worse(same, same_database);
    *w = start;
    if (!take_name(w, table->database, &same_database) || !take_mark(w, '.') ||
        !take_name(w, table->name, &same))
        return MATCH_NOT;
    return worse(same, same_database);
}

/* A query within, which may call a function. */
static bool has_query(const struct words *w)
{
    return names(w->at, (size_t)(w->end - w->at), "SELECT");
}

static bool take_any(struct words *w, const char *const *words)
{
    for (; *words; words++)
        if (take_word(w, *words))
            return true;
    return false;
}

/* Statements that leave the rows and the shape of every table alone. */
static bool is_harmless(struct words w)
{
    static const char *const first[] = {"OPTIMIZE", "REPAIR", "CHECK", "FLUSH", "GRANT",
                                        "REVOKE",   "USE",    "XA",    NULL};
    static const char *const analyzed[] = {"TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG", NULL};
    static const char *const set[] = {"PASSWORD", "DEFAULT", NULL};
    static const char *const made[] = {"INDEX",     "UNIQUE",  "FULLTEXT", "SPATIAL", "VIEW",
                                       "TRIGGER",   "USER",    "ROLE",     "EVENT",   "PROCEDURE",
                                       "FUNCTION",  "PACKAGE", "SERVER",   "DEFINER", "ALGORITHM",
                                       "AGGREGATE", "SQL",     NULL};
    skip_blanks(&w);
    if (w.at == w.end || take_any(&w, first))
        return true;
    if (take_word(&w, "ANALYZE"))
        return take_any(&w, analyzed);
    if (take_word(&w, "SET"))
        return take_any(&w, set);
    if (!take_word(&w, "CREATE") && !take_word(&w, "DROP"))
        return false;
    if (take_word(&w, "OR"))
        take_word(&w, "REPLACE");
    return take_word(&w, "TEMPORARY") ? !has_query(&w) : take_any(&w, made);
}

static bool is_of_shapes(struct words w)
{
    static const char *const words[] = {"ALTER", "DROP", "RENAME", "TRUNCATE", NULL};
    return take_word(&w, "CREATE") ? !has_query(&w) : take_any(&w, words);
}

/* DROP DATABASE, or CREATE OR REPLACE DATABASE. */
static bool drops_database(struct words w)
{
    static const char *const words[] = {"DATABASE", "SCHEMA", NULL};
    const bool creates = take_word(&w, "CREATE");
    if (creates ? !take_word(&w, "OR") || !take_word(&w, "REPLACE") : !take_word(&w, "DROP"))
        return false;
    return take_any(&w, words);
}

enum binlog_touch binlog_statement_on(const char *sql, size_t bytes, const char *database,
                                      const struct binlog_table *table)
{
    struct words w = {sql, sql + bytes};
    if (drops_database(w))
        return names(sql, bytes, table->database) ? TOUCH_SHAPE : TOUCH_NOT;
    if (is_harmless(w))
        return TOUCH_NOT;
    if (!is_of_shapes(w))
        return TOUCH_ROWS;
    if (!names(sql, bytes, table->name))
        return TOUCH_NOT;
    /* a table of another database, which the statement does not name */
    if (strcasecmp(database, table->database) != 0 && !names(sql, bytes, table->database))
        return TOUCH_NOT;
    if (!take_word(&w, "TRUNCATE"))
        return TOUCH_SHAPE;
    take_word(&w, "TABLE");
    switch (take_table(&w, database, table)) {
    case MATCH_EXACT:
        return TOUCH_TRUNCATE;
    case MATCH_BUT_CASE:
        return TOUCH_SHAPE;
    default:
        return is_ascii(table->name) && is_ascii(table->database) ? TOUCH_NOT : TOUCH_SHAPE;
    }
}
