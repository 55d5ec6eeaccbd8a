/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_feed_check.c - can MariaDB's binary log tell the changes of these tables, and what is in
 * their rows?
 *
 * The log must be on and have whole rows, the user must be allowed to read it, and each table must
 * be one whose changes are all in the log: of InnoDB, not a view, a query or a part by a condition,
 * and not changed by cascading foreign keys, which InnoDB follows without telling the log. Each no
 * says what to do, if possible as the statement to give.
 *
 * Row images have all columns in the order of the table, so all of them must be known, and with
 * them what the log leaves out: character sets (mariadb_charset.c), and the labels of ENUM and SET.
 *
 * Costs: five round trips, two for each table, and up to four for each character set other than
 * UTF-8 in them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/clock.h"
#include "alloc/fnv.h"
#include "server/source/mariadb_feed.h"

/* What check_settings asks for. */
enum {
    SETTING_LOG,
    SETTING_FORMAT,
    SETTING_IMAGE,
    SETTING_SERVER, /* and three more, which tell one server from another */
    SETTING_CLOCK = SETTING_SERVER + 4,
    SETTING_LOGS_REPLICATED,
    SETTING_REPLICATED,
    SETTING_STRICT,
    SETTING_STATE,
    SETTING_CLUSTER /* NULL in a build without Galera */
};

/* Of the catalog. */
enum {
    COLUMN_NAME,
    COLUMN_TYPE,
    COLUMN_DATA_TYPE,
    COLUMN_CHARSET,
    COLUMN_KIND,
    COLUMN_DATABASE,
    COLUMN_TABLE,
    COLUMN_ENGINE
};

/* --- the server ----------------------------------------------------------------------------- */

static int refuse(struct source *source, const char *why, struct source_error *error)
{
    return source_fail(error, SP_ECONFIG, false, "source %s: no change feed: %s",
                       source->options->name, why);
}

static bool is(const char *value, const char *wanted)
{
    return value && strcmp(value, wanted) == 0;
}

/* Whether two servers have written into one domain of the log. */
static bool has_two_writers(const char *state)
{
    for (const char *at = state; at && *at; at = strchr(at, ','), at = at ? at + 1 : NULL) {
        const size_t domain = strcspn(at, "-") + 1;
        for (const char *other = strchr(at, ','); other; other = strchr(other + 1, ','))
            if (strncmp(at, other + 1, domain) == 0)
                return true;
    }
    return false;
}

static const char *wrong_setting(const MYSQL_ROW row)
{
    if (!is(row[SETTING_LOG], "1"))
        return "the server has no binary log; start it with log_bin";
    if (!is(row[SETTING_FORMAT], "ROW"))
        return "binlog_format is not ROW; SET GLOBAL binlog_format = 'ROW', also in its option "
               "file, and let its clients connect anew";
    if (!is(row[SETTING_IMAGE], "FULL"))
        return "binlog_row_image is not FULL; SET GLOBAL binlog_row_image = 'FULL', also in its "
               "option file, and let its clients connect anew";
    if (is(row[SETTING_LOGS_REPLICATED], "0") && is(row[SETTING_CLUSTER], "ON"))
        return "the server is a node of a Galera cluster and does not log what other nodes write; "
               "start it with log_slave_updates";
    if (is(row[SETTING_LOGS_REPLICATED], "0") && !is(row[SETTING_REPLICATED], ""))
        return "the server is a replica and does not log what it replicates; start it with "
               "log_slave_updates, or, if it is none any more, SET GLOBAL gtid_slave_pos = ''";
    if (!is(row[SETTING_STRICT], "1") && has_two_writers(row[SETTING_STATE]))
        return "several servers have written into one domain of its binary log, so that its "
               "GTIDs need not ascend; SET GLOBAL gtid_strict_mode = 1, also in its option file";
    return NULL;
}

static int check_settings(struct source *source, uint64_t *hash, struct source_error *error)
{
    MYSQL_RES *result = NULL;
    if (!mariadb_connection(source->conn))
        return refuse(source, "the server is not MariaDB", error);
    int status = maria_query(source, NULL,
                             "SELECT @@GLOBAL.log_bin, @@GLOBAL.binlog_format,"
                             " @@GLOBAL.binlog_row_image, @@GLOBAL.server_id, @@GLOBAL.hostname,"
                             " @@GLOBAL.port, @@GLOBAL.datadir,"
                             " CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED),"
                             " @@GLOBAL.log_slave_updates, @@GLOBAL.gtid_slave_pos,"
                             " @@GLOBAL.gtid_strict_mode, @@GLOBAL.gtid_binlog_state,"
                             " (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES"
                             " WHERE VARIABLE_NAME = 'WSREP_ON')",
                             &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    const char *why = row ? wrong_setting(row) : NULL;
    if (why)
        status = refuse(source, why, error);
    for (unsigned i = SETTING_SERVER; row && i < SETTING_CLOCK; i++)
        *hash = fnv_text(*hash, row[i]);
    if (row && row[SETTING_CLOCK])
        source->feed->clock_us = strtoll(row[SETTING_CLOCK], NULL, 10) - clock_wall_us();
    mysql_free_result(result);
    return status;
}

/* Whether "GRANT a, b ON *.* TO ..." has this one. */
static bool grants(const char *text, const char *right)
{
    const char *end = text ? strstr(text, " ON *.* ") : NULL;
    const size_t bytes = strlen(right);
    if (!end || strncmp(text, "GRANT ", 6) != 0)
        return false;
    for (const char *at = text + 6; at < end; at += 2) {
        const size_t size = strcspn(at, ",");
        const size_t here = at + size > end ? (size_t)(end - at) : size;
        if (here == bytes && memcmp(at, right, bytes) == 0)
            return true;
        at += here;
    }
    return false;
}

static int check_grants(struct source *source, struct source_error *error)
{
    MYSQL_RES *result = NULL;
    bool replica = false, monitor = false;
    char account[256], why[SOURCE_ERROR_BYTES];
    const int status = maria_query(source, NULL, "SHOW GRANTS", &result, error);
    for (MYSQL_ROW row; status == SP_OK && result && (row = mysql_fetch_row(result));) {
        const bool all = grants(row[0], "ALL PRIVILEGES");
        replica = replica || all || grants(row[0], "REPLICATION SLAVE");
        monitor = monitor || all || grants(row[0], "BINLOG MONITOR") ||
                  grants(row[0], "REPLICATION CLIENT"); /* as it was called before 10.5 */
    }
    mysql_free_result(result);
    if (status != SP_OK || (replica && monitor))
        return status;
    maria_account(source, account, sizeof(account));
    snprintf(why, sizeof(why),
             "the user may not read the binary log; GRANT REPLICATION SLAVE, BINLOG MONITOR "
             "ON *.* TO %s",
             account);
    return refuse(source, why, error);
}

/* They go by the database that a session uses, not by that of the table. */
static int check_filters(struct source *source, struct source_error *error)
{
    MYSQL_RES *result = NULL;
    int status = maria_query(source, NULL, "SHOW MASTER STATUS", &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    if (row && ((row[2] && row[2][0]) || (row[3] && row[3][0])))
        status = refuse(source,
                        "binlog_do_db or binlog_ignore_db leaves changes out of the log; start "
                        "the server without them",
                        error);
    mysql_free_result(result);
    return status;
}

/* --- columns -------------------------------------------------------------------------------- */

/* Bytes of its longest character; 0: the server does not know it. */
static int ask_longest(struct source *source, const char *name, unsigned long *bytes,
                       struct source_error *error)
{
    MYSQL_RES *result = NULL;
    struct sql_text sql = {0};
    sql_put(&sql, "SELECT MAXLEN FROM information_schema.CHARACTER_SETS"
                  " WHERE CHARACTER_SET_NAME = ");
    maria_put_string(source, &sql, name, strlen(name));
    const int status = sql_failed(&sql) ? source_no_memory(error)
                                        : maria_query(source, NULL, sql.text, &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    *bytes = row && row[0] ? strtoul(row[0], NULL, 10) : 0;
    mysql_free_result(result);
    sql_free(&sql);
    return status;
}

static int ask_part(struct source *source, struct binlog_charset *set,
                    enum binlog_charset_part part, bool *known, struct source_error *error)
{
    MYSQL_RES *result = NULL;
    struct sql_text sql = {0};
    binlog_charset_ask(set, part, &sql);
    const int status = sql_failed(&sql) ? source_no_memory(error)
                                        : maria_query(source, NULL, sql.text, &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    *known =
        row && row[0] && binlog_charset_answer(set, part, row[0], mysql_fetch_lengths(result)[0]);
    mysql_free_result(result);
    sql_free(&sql);
    return status;
}

static int ask_charset(struct source *source, struct binlog_charset *set, bool *known,
                       struct source_error *error)
{
    unsigned long longest = 0;
    *known = true;
    if (set->unit_bytes)
        return SP_OK;
    int status = ask_longest(source, set->name, &longest, error);
    *known = longest >= 1 && longest <= CHARSET_TRIPLES + 1;
    for (unsigned part = 0; status == SP_OK && *known && part < longest; part++)
        status = ask_part(source, set, (enum binlog_charset_part)part, known, error);
    return status;
}

/* The set of that name; NULL: it is UTF-8, or `*known` says that it cannot be converted. */
static int find_charset(struct source *source, const char *name, const struct binlog_charset **out,
                        bool *known, struct source_error *error)
{
    struct maria_feed *feed = source->feed;
    *known = true;
    *out = NULL;
    if (binlog_charset_is_utf8(name))
        return SP_OK;
    for (struct binlog_charset *set = feed->charsets; set; set = set->next)
        if (strcmp(set->name, name) == 0)
            *out = set;
    if (*out)
        return SP_OK;
    struct binlog_charset *set = binlog_charset_new(name);
    if (!set)
        return source_no_memory(error);
    const int status = ask_charset(source, set, known, error);
    if (status != SP_OK || !*known) {
        binlog_charset_free(set);
        return status;
    }
    set->next = feed->charsets;
    feed->charsets = set;
    *out = set;
    return SP_OK;
}

/* What the catalog writes after a backslash. */
static char unescaped(char c)
{
    return c == '0' ? 0 : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'Z' ? '\x1a' : c;
}

/* Takes one 'label' of a list; the text after it, or NULL. */
static const char *take_label(const char *at, char *out)
{
    if (*at++ != '\'')
        return NULL;
    for (; *at && !(*at == '\'' && at[1] != '\''); at++) {
        const bool escaped = *at == '\\' && at[1];
        at += escaped || *at == '\'';
        *out++ = escaped ? unescaped(*at) : *at;
    }
    *out = 0;
    return *at ? at + 1 : NULL;
}

static bool add_label(struct binlog_column *column, const char *label)
{
    char **more = realloc(column->labels, (column->label_count + 1) * sizeof(*more));
    if (!more)
        return false;
    column->labels = more;
    char *copy = strdup(label);
    if (copy)
        more[column->label_count++] = copy;
    return copy != NULL;
}

/* enum('a','it''s') */
static bool read_labels(const char *type, struct binlog_column *column)
{
    const char *at = strchr(type, '(');
    char *label = malloc(strlen(type) + 1);
    while (label && at && (*at == '(' || *at == ',')) {
        at = take_label(at + 1, label);
        if (at && !add_label(column, label))
            at = NULL;
    }
    free(label);
    return at && *at == ')';
}

/* The catalog is in UTF-8 of three bytes, and has a question mark for what is beyond that. */
static bool may_be_lost(const struct binlog_column *column, const char *charset)
{
    bool asks = false;
    for (unsigned i = 0; i < column->label_count; i++)
        asks = asks || strchr(column->labels[i], '?');
    return asks && charset &&
           (strcmp(charset, "utf8mb4") == 0 || strncmp(charset, "utf16", 5) == 0 ||
            strcmp(charset, "utf32") == 0);
}

static const char *set_labels(const MYSQL_ROW row, struct binlog_column *column)
{
    if (!read_labels(row[COLUMN_TYPE], column))
        return "has labels that cannot be read";
    return may_be_lost(column, row[COLUMN_CHARSET]) ? "has labels with question marks, which may "
                                                      "stand for characters beyond the BMP that "
                                                      "the catalog does not tell"
                                                    : NULL;
}

static const char *set_form(const MYSQL_ROW row, struct binlog_column *column)
{
    static const struct {
        const char *type;
        enum binlog_form form;
    } forms[] = {{"uuid", BINLOG_UUID},
                 {"inet4", BINLOG_INET4},
                 {"inet6", BINLOG_INET6},
                 {"enum", BINLOG_ENUM},
                 {"set", BINLOG_SET}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
        if (strcmp(row[COLUMN_DATA_TYPE], forms[i].type) == 0)
            column->form = forms[i].form;
    if (column->form == BINLOG_ENUM || column->form == BINLOG_SET)
        return set_labels(row, column);
    return NULL;
}

static const char *set_column(const MYSQL_ROW row, const struct source_description *description,
                              struct binlog_column *column)
{
    const bool has_labels = is(row[COLUMN_DATA_TYPE], "enum") || is(row[COLUMN_DATA_TYPE], "set");
    column->at = -1;
    if (!has_labels && strstr(row[COLUMN_TYPE], " COMPRESSED*/"))
        return "is COMPRESSED, which is not supported";
    if (!has_labels && strstr(row[COLUMN_TYPE], "/* mariadb-5.3 */"))
        return "has the format of times of before MariaDB 10.1; ALTER TABLE ... FORCE, with "
               "mysql56_temporal_format = ON";
    for (unsigned i = 0; i < description->column_count; i++)
        if (strcmp(description->columns[i].name, row[COLUMN_NAME]) == 0)
            column->at = (int)i;
    if (column->at < 0)
        return NULL;
    const struct source_column *described = &description->columns[column->at];
    column->type = described->type;
    column->nullable = described->nullable;
    column->is_unsigned = strstr(row[COLUMN_TYPE], "unsigned");
    column->is_boolean = described->type == SP_TYPE_BOOL;
    column->is_binary = strcmp(row[COLUMN_DATA_TYPE], "binary") == 0;
    return set_form(row, column);
}

/* --- tables --------------------------------------------------------------------------------- */

static int refuse_table(const struct source_table *table, const char *what, const char *why,
                        struct source_error *error)
{
    return source_fail(error, SP_ECONFIG, false, "table %s: no change feed: %s%s%s", table->name,
                       what, *what ? " " : "", why);
}

/* All columns of a table, in the order of its rows, and what in them decides how they are read. */
static int ask_columns(struct source *source, const struct source_table *table,
                       const struct binlog_table *about, MYSQL_RES **out, uint64_t *hash,
                       struct source_error *error)
{
    struct sql_text sql = {0};
    sql_put(&sql, "SELECT c.COLUMN_NAME, c.COLUMN_TYPE, c.DATA_TYPE,"
                  " c.CHARACTER_SET_NAME, t.TABLE_TYPE, t.TABLE_SCHEMA, t.TABLE_NAME, t.ENGINE"
                  " FROM information_schema.TABLES t"
                  " JOIN information_schema.COLUMNS c ON c.TABLE_SCHEMA = t.TABLE_SCHEMA"
                  " AND c.TABLE_NAME = t.TABLE_NAME WHERE t.TABLE_SCHEMA = ");
    maria_put_string(source, &sql, about->database, strlen(about->database));
    sql_put(&sql, " AND t.TABLE_NAME = ");
    maria_put_string(source, &sql, about->name, strlen(about->name));
    sql_put(&sql, " ORDER BY c.ORDINAL_POSITION");
    const int status = sql_failed(&sql) ? source_no_memory(error)
                                        : maria_query(source, table, sql.text, out, error);
    sql_free(&sql);
    *hash = FNV_START;
    for (MYSQL_ROW row; status == SP_OK && *out && (row = mysql_fetch_row(*out));)
        for (unsigned i = COLUMN_NAME; i <= COLUMN_CHARSET; i++)
            *hash = fnv_text(*hash, row[i]);
    if (status == SP_OK && *out)
        mysql_data_seek(*out, 0);
    return status;
}

/* A line of SHOW CREATE TABLE. The catalog says neither foreign keys nor hidden columns to who may
 * only read. */
static const char *wrong_line(const char *line, const char *end)
{
    static const char *const rules[] = {" ON DELETE CASCADE",     " ON DELETE SET NULL",
                                        " ON DELETE SET DEFAULT", " ON UPDATE CASCADE",
                                        " ON UPDATE SET NULL",    " ON UPDATE SET DEFAULT"};
    const size_t bytes = (size_t)(end - line);
    if (memmem(line, bytes, " FOREIGN KEY ", 13))
        for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
            if (memmem(line, bytes, rules[i], strlen(rules[i])))
                return "it has a foreign key that changes rows by itself (CASCADE, SET NULL), "
                       "which the binary log does not tell";
    if (strncmp(line, "  UNIQUE KEY ", 13) == 0 && memmem(line, bytes, " USING HASH", 11))
        return "it has a UNIQUE key on a column of TEXT or BLOB, which is a hidden column in the "
               "binary log";
    return NULL;
}

/* What a table has besides its columns. */
static int check_shape(struct source *source, const struct source_table *table,
                       const struct binlog_table *about, struct source_error *error)
{
    MYSQL_RES *result = NULL;
    struct sql_text sql = {0};
    const char *why = NULL;
    sql_put(&sql, "SET STATEMENT sql_mode = '' FOR SHOW CREATE TABLE ");
    sql_put_name(&sql, about->database, '`');
    sql_put(&sql, ".");
    sql_put_name(&sql, about->name, '`');
    int status = sql_failed(&sql) ? source_no_memory(error)
                                  : maria_query(source, table, sql.text, &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    for (const char *at = row ? row[1] : NULL; at && *at && !why;) {
        const char *end = at + strcspn(at, "\n");
        why = wrong_line(at, end);
        at = *end ? end + 1 : end;
    }
    if (why)
        status = refuse_table(table, "", why, error);
    mysql_free_result(result);
    sql_free(&sql);
    return status;
}

static int set_charset(struct source *source, const struct source_table *table, const MYSQL_ROW row,
                       struct binlog_column *column, struct source_error *error)
{
    const bool is_text = column->type == SP_TYPE_TEXT || column->type == SP_TYPE_JSON;
    bool known;
    if (column->at < 0 || !is_text || column->form != BINLOG_PLAIN || !row[COLUMN_CHARSET])
        return SP_OK;
    const int status = find_charset(source, row[COLUMN_CHARSET], &column->charset, &known, error);
    return status != SP_OK || known
               ? status
               : refuse_table(table, row[COLUMN_NAME],
                              "is of a character set that cannot be converted", error);
}

/* As the server writes them, also where it does not tell upper from lower case. */
static int take_names(const MYSQL_ROW row, struct binlog_table *about, struct source_error *error)
{
    free(about->database);
    free(about->name);
    about->database = strdup(row[COLUMN_DATABASE]);
    about->name = strdup(row[COLUMN_TABLE]);
    return about->database && about->name ? SP_OK : source_no_memory(error);
}

static int read_columns(struct source *source, const struct source_table *table,
                        const struct source_description *description, MYSQL_RES *result,
                        struct binlog_table *about, struct source_error *error)
{
    about->column_count = (unsigned)mysql_num_rows(result);
    about->columns = calloc(about->column_count ? about->column_count : 1, sizeof(*about->columns));
    if (!about->columns)
        return source_no_memory(error);
    for (unsigned i = 0; i < about->column_count; i++) {
        const MYSQL_ROW row = mysql_fetch_row(result);
        if (row[COLUMN_KIND] && strcmp(row[COLUMN_KIND], "BASE TABLE") != 0)
            return refuse_table(table, "", "it is not a plain table", error);
        if (!row[COLUMN_ENGINE] || strcmp(row[COLUMN_ENGINE], "InnoDB") != 0)
            return refuse_table(table, "",
                                "its engine is not InnoDB, so that no snapshot of it belongs to "
                                "a place in the binary log; ALTER TABLE ... ENGINE = InnoDB",
                                error);
        if (strpbrk(row[COLUMN_TABLE], "`\"\\") || strpbrk(row[COLUMN_DATABASE], "`\"\\"))
            return refuse_table(table, "", "its name has quotes or backslashes", error);
        if (i == 0 && take_names(row, about, error) != SP_OK)
            return error->status;
        const char *why = set_column(row, description, &about->columns[i]);
        if (why)
            return refuse_table(table, row[COLUMN_NAME], why, error);
        const int status = set_charset(source, table, row, &about->columns[i], error);
        if (status != SP_OK)
            return status;
    }
    about->described_count = description->column_count;
    return SP_OK;
}

/* The catalog has only the columns that the user may read, the log has all of them. */
static int check_all_readable(struct source *source, const struct source_table *table,
                              const struct binlog_table *about, struct source_error *error)
{
    struct sql_text sql = {0};
    sql_put(&sql, "SELECT * FROM ");
    sql_put_name(&sql, about->database, '`');
    sql_put(&sql, ".");
    sql_put_name(&sql, about->name, '`');
    sql_put(&sql, " LIMIT 0");
    int status = sql_failed(&sql) ? source_no_memory(error)
                                  : maria_query(source, table, sql.text, NULL, error);
    if (status == SP_ECONFIG)
        status = refuse_table(table, "",
                              "the user may not read all of its columns; GRANT SELECT "
                              "on the whole table",
                              error);
    sql_free(&sql);
    return status;
}

static int name_table(struct source *source, const struct source_table *table,
                      struct binlog_table *about, struct source_error *error)
{
    struct sql_text database = {0}, name = {0};
    MYSQL_RES *result = NULL;
    int status = SP_OK;
    maria_split_relation(table->relation, &database, &name);
    if (sql_failed(&database) || sql_failed(&name))
        status = source_no_memory(error);
    else if (database.size == 0)
        status = maria_query(source, table, "SELECT DATABASE()", &result, error);
    const MYSQL_ROW row = status == SP_OK && result ? mysql_fetch_row(result) : NULL;
    if (status == SP_OK) {
        about->database = strdup(row && row[0] ? row[0] : database.text);
        about->name = strdup(name.text);
        if (!about->database || !about->name)
            status = source_no_memory(error);
    }
    mysql_free_result(result);
    sql_free(&database);
    sql_free(&name);
    return status;
}

static int find_key(const struct source_table *table, const struct source_description *description,
                    struct binlog_table *about, struct source_error *error)
{
    while (table->key && table->key[about->key_count])
        about->key_count++;
    about->key = calloc(about->key_count ? about->key_count : 1, sizeof(*about->key));
    if (!about->key)
        return source_no_memory(error);
    for (unsigned i = 0; i < about->key_count; i++) {
        unsigned at = 0;
        while (at < description->column_count &&
               strcmp(description->columns[at].name, table->key[i]) != 0)
            at++;
        if (at == description->column_count)
            return refuse_table(table, table->key[i], "is not among its columns", error);
        about->key[i] = at;
    }
    return about->key_count ? SP_OK : refuse_table(table, "", "it has no key", error);
}

static int check_table(struct source *source, const struct source_table *table,
                       const struct source_description *description, struct binlog_table *about,
                       struct source_error *error)
{
    MYSQL_RES *result = NULL;
    if (table->query || (table->where && table->where[0]))
        return refuse_table(table, "",
                            "it is a query or has `where`; rows that leave it cannot be "
                            "told from the binary log",
                            error);
    int status = name_table(source, table, about, error);
    if (status == SP_OK)
        status = check_all_readable(source, table, about, error);
    if (status == SP_OK)
        status = ask_columns(source, table, about, &result, &about->columns_hash, error);
    if (status == SP_OK)
        status = read_columns(source, table, description, result, about, error);
    mysql_free_result(result);
    if (status == SP_OK)
        status = find_key(table, description, about, error);
    return status == SP_OK ? check_shape(source, table, about, error) : status;
}

/* --- the whole ------------------------------------------------------------------------------ */

int maria_feed_check_columns(struct source *source, struct source_error *error)
{
    const struct maria_feed *feed = source->feed;
    int status = SP_OK;
    for (unsigned i = 0; i < feed->table_count && status == SP_OK; i++) {
        const struct binlog_table *about = &feed->tables[i];
        MYSQL_RES *result = NULL;
        uint64_t hash;
        status = ask_columns(source, NULL, about, &result, &hash, error);
        mysql_free_result(result);
        if (status == SP_OK && hash != about->columns_hash)
            status =
                source_fail(error, SP_ESOURCE, true, "source %s: the columns of %s have changed",
                            source->options->name, about->name);
    }
    return status;
}

static uint64_t hash_table(uint64_t hash, const struct source_table *table,
                           const struct binlog_table *about)
{
    hash = fnv_text(fnv_text(fnv_text(hash, table->name), about->database), about->name);
    return (hash ^ about->columns_hash) * FNV_PRIME;
}

int maria_feed_check(struct source *source, const struct source_feed_options *options,
                     const struct source_table *tables,
                     const struct source_description *const *descriptions, unsigned count,
                     char *stream, struct source_error *error)
{
    struct maria_feed *feed = maria_feed_of(source);
    uint64_t server = FNV_START, rows = FNV_START;
    (void)options;
    int status = feed ? maria_call_begin(source, error) : source_no_memory(error);
    if (status == SP_OK)
        status = check_settings(source, &server, error);
    if (status == SP_OK)
        status = check_grants(source, error);
    if (status != SP_OK)
        return status;
    maria_feed_forget_tables(feed);
    feed->tables = calloc(count ? count : 1, sizeof(*feed->tables));
    if (!feed->tables)
        return source_no_memory(error);
    feed->table_count = count;
    for (unsigned i = 0; i < count && status == SP_OK; i++) {
        struct binlog_table *about = &feed->tables[i];
        status = check_table(source, &tables[i], descriptions[i], about, error);
        if (status == SP_OK)
            rows = hash_table(rows, &tables[i], about);
    }
    if (status == SP_OK)
        status = check_filters(source, error);
    snprintf(stream, FEED_STREAM_BYTES, "mariadb %016" PRIx64 " %016" PRIx64, server, rows);
    return status;
}
