/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_follow.c - whether tables of PostgreSQL can be followed, and what they are there.
 *
 * check asks for all that has to be true beforehand, so that what is missing is told with the
 * statement that helps, not as an error in the middle of the stream; and it gathers what the
 * stream's messages are held against: the table's number, its columns' types, how their text is to
 * be read.
 *
 * Afterwards one table after the other is looked at again, one every second: what changes a
 * table without changing a row of it is not in the stream (a column added with a default, a column
 * rewritten by ALTER TABLE ... USING, a partition attached). The definition is compared as a
 * digest. A rewritten table has another file; so it has after TRUNCATE, which the stream tells of,
 * and after VACUUM FULL, for which all its rows are read again without need. Of a partitioned table
 * the stream tells only that all of it was truncated: then that transaction must be the last that
 * gave any of its partitions a file.
 *
 * The definition is a part of the stream's name, and so are the files of partitions: what changed
 * while nobody followed has all rows read again, and so has, once, a partitioned table that was
 * truncated since the last check. Limits: a table that was UNLOGGED while nobody followed, and is
 * not any more, looks like one that was not; the next comparison finds it.
 *
 * Costs: some ten round trips, and three for each table.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/fnv.h"
#include "server/source/postgresql_feed.h"

#define VERSION_MIN       140000 /* publications of before cannot say what we have to know */
#define VERSION_FILTER    150000 /* row filters, column lists, all tables of a schema */
#define VERSION_GENERATED 180000 /* generated columns that are stored can be published */

#define SERVER_SQL                                                                                 \
    "SELECT pg_catalog.current_setting('wal_level'), pg_catalog.pg_is_in_recovery(), "             \
    "session_user,"                                                                                \
    " coalesce((SELECT r.rolsuper OR r.rolreplication FROM pg_catalog.pg_roles r"                  \
    " WHERE r.rolname = session_user), false) OR EXISTS (SELECT FROM pg_catalog.pg_roles r"        \
    " WHERE r.rolname = 'rds_replication'"                                                         \
    " AND pg_catalog.pg_has_role(session_user, r.oid, 'member')),"                                 \
    " pg_catalog.current_setting('max_replication_slots')::int"                                    \
    " - (SELECT count(*) FROM pg_catalog.pg_replication_slots),"                                   \
    " pg_catalog.current_setting('max_wal_senders')::int"                                          \
    " - (SELECT count(*) FROM pg_catalog.pg_stat_replication),"                                    \
    " EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1),"                  \
    " (SELECT d.oid FROM pg_catalog.pg_database d"                                                 \
    " WHERE d.datname = pg_catalog.current_database())"

#define PUBLICATION_SQL                                                                            \
    "SELECT p.oid, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, p.pubviaroot"    \
    " FROM pg_catalog.pg_publication p WHERE p.pubname = $1"

#define TABLE_SQL                                                                                  \
    "SELECT c.oid, n.nspname, c.relname, c.relkind, pg_catalog.row_security_active(c.oid),"        \
    " c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i"                            \
    " WHERE i.inhparent = c.oid), t.tablename IS NOT NULL,"                                        \
    " pg_catalog.to_jsonb(t) ->> 'rowfilter', coalesce(r.oid, 0),"                                 \
    " EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a JOIN pg_catalog.pg_class k"   \
    " ON k.oid = a.relid AND k.oid <> c.oid JOIN pg_catalog.pg_namespace m"                        \
    " ON m.oid = k.relnamespace JOIN pg_catalog.pg_publication_tables u"                           \
    " ON u.pubname = $2 AND u.schemaname = m.nspname AND u.tablename = k.relname)"                 \
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"         \
    " LEFT JOIN pg_catalog.pg_publication_tables t"                                                \
    " ON t.pubname = $2 AND t.schemaname = n.nspname AND t.tablename = c.relname"                  \
    " LEFT JOIN (pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p"                 \
    " ON p.oid = r.prpubid AND p.pubname = $2) ON r.prrelid = c.oid"                               \
    " WHERE c.oid = $1::regclass"

/* The first key column that the identity of a table, or of a partition, does not have. */
#define IDENTITY_SQL                                                                               \
    "WITH tables AS (SELECT c.oid, c.relreplident FROM pg_catalog.pg_class c"                      \
    " WHERE c.oid = $1::oid AND c.relkind = 'r' OR c.oid IN (SELECT p.relid"                       \
    " FROM pg_catalog.pg_partition_tree($1::oid) p WHERE p.isleaf))"                               \
    " SELECT t.oid::regclass, k.name FROM tables t, pg_catalog.unnest($2::text[]) AS k (name)"     \
    " WHERE t.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i"               \
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"     \
    " WHERE i.indrelid = t.oid AND a.attname::text = k.name AND CASE t.relreplident"               \
    " WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END) LIMIT 1"

/* Of each column its type, that without domains, and of an array that of its elements; whether
 * to_json or the cast to text is another function than the type's output; whether it is published.
 */
#define COLUMNS_SQL                                                                                \
    "WITH RECURSIVE col AS (SELECT a.attnum, a.attname, a.atttypid, a.atttypmod,"                  \
    " a.attgenerated AS generated FROM pg_catalog.pg_attribute a"                                  \
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped),"                        \
    " base (num, type) AS (SELECT attnum, atttypid FROM col UNION ALL"                             \
    " SELECT b.num, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type"         \
    " AND t.typtype = 'd'),"                                                                       \
    " element (num, type) AS (SELECT b.num, t.typelem FROM base b JOIN pg_catalog.pg_type t"       \
    " ON t.oid = b.type AND t.typinput = 'pg_catalog.array_in'::regproc UNION ALL"                 \
    " SELECT e.num, t.typbasetype FROM element e JOIN pg_catalog.pg_type t ON t.oid = e.type"      \
    " AND t.typtype = 'd')"                                                                        \
    " SELECT col.attname, col.atttypid, col.atttypmod, col.generated, b.type,"                     \
    " coalesce(e.type, 0), coalesce(et.typdelim, ','),"                                            \
    " et.typtype = 'c' OR EXISTS (SELECT FROM pg_catalog.pg_cast k"                                \
    " WHERE k.castsource = e.type AND k.casttarget = 114 AND k.castmethod = 'f'),"                 \
    " EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castsource = b.type"                        \
    " AND k.casttarget = 25 AND k.castmethod = 'f'),"                                              \
    " coalesce((SELECT pg_catalog.to_jsonb(p) -> 'attnames' ? col.attname::text"                   \
    " FROM pg_catalog.pg_publication_tables p, pg_catalog.pg_class c, pg_catalog.pg_namespace n"   \
    " WHERE p.pubname = $2 AND c.oid = $1::oid AND n.oid = c.relnamespace"                         \
    " AND p.schemaname = n.nspname AND p.tablename = c.relname), true),"                           \
    " et.typinput = 'pg_catalog.array_in'::regproc"                                                \
    " FROM col JOIN base b ON b.num = col.attnum"                                                  \
    " JOIN pg_catalog.pg_type bt ON bt.oid = b.type AND bt.typtype <> 'd'"                         \
    " LEFT JOIN (element e JOIN pg_catalog.pg_type et ON et.oid = e.type AND et.typtype <> 'd')"   \
    " ON e.num = col.attnum ORDER BY col.attnum"

/* How a table is defined: what tells of it, and each column with the transaction that wrote its row
 * of the catalog last, which is another after ALTER TABLE ... USING; what identifies its rows; the
 * values and attributes of the enumerations and composite types among its types ($7). `NAMESPACES`:
 * the rows by which a publication has whole schemas.
 *
 * How far the log is, is how far it has been flushed. That may be in the middle of a record, and
 * stay so while nobody commits. If it is where it was before ($4), and the server's process that
 * sends
 * ($5) waits for more, all is sent, and it is as far as the stream is ($6). */
#define ASK_SQL(NAMESPACES)                                                                        \
    "WITH RECURSIVE tree (oid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM tree t"             \
    " JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending),"           \
    " family (oid) AS (SELECT $1::oid UNION"                                                       \
    " SELECT a.relid FROM pg_catalog.pg_partition_ancestors($1::oid) a)"                           \
    " SELECT pg_catalog.md5(pg_catalog.concat_ws('|', n.nspname, c.relname, c.relkind,"            \
    " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', a.attname, a.atttypid, a.atttypmod," \
    " a.attnotnull, a.attgenerated, a.xmin), ';' ORDER BY a.attnum)"                               \
    " FROM pg_catalog.pg_attribute a"                                                              \
    " WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"                            \
    " AND ($3::text[] IS NULL OR a.attname::text = ANY ($3::text[]))),"                            \
    " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', l.oid, l.relreplident,"              \
    " l.relpersistence, (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', i.indkey,"         \
    " i.indisreplident), '/' ORDER BY i.indisprimary, i.indisreplident)"                           \
    " FROM pg_catalog.pg_index i WHERE i.indrelid = l.oid"                                         \
    " AND (i.indisprimary OR i.indisreplident))), ';' ORDER BY l.oid)"                             \
    " FROM tree t JOIN pg_catalog.pg_class l ON l.oid = t.oid),"                                   \
    " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', e.oid, e.enumlabel), ';'"            \
    " ORDER BY e.oid) FROM pg_catalog.pg_enum e WHERE e.enumtypid = ANY ($7::oid[])),"             \
    " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', x.attrelid, x.attnum, x.atttypid,"   \
    " x.attisdropped), ';' ORDER BY x.attrelid, x.attnum) FROM pg_catalog.pg_type y"               \
    " JOIN pg_catalog.pg_attribute x ON x.attrelid = y.typrelid AND x.attnum > 0"                  \
    " WHERE y.oid = ANY ($7::oid[]) AND y.typtype = 'c'),"                                         \
    " (SELECT pg_catalog.concat_ws(',', p.oid, p.pubinsert, p.pubupdate, p.pubdelete,"             \
    " p.pubtruncate, p.pubviaroot, pg_catalog.to_jsonb(p) ->> 'pubgencols', (SELECT "              \
    "pg_catalog.string_agg(pg_catalog.to_jsonb(r)::text,"                                          \
    " ',' ORDER BY r.oid) FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid"            \
    " AND r.prrelid IN (SELECT f.oid FROM family f)), " NAMESPACES ")"                             \
    " FROM pg_catalog.pg_publication p WHERE p.pubname = $2))),"                                   \
    " pg_catalog.md5((SELECT pg_catalog.string_agg(l.relfilenode::text, ',' ORDER BY l.oid)"       \
    " FROM tree t JOIN pg_catalog.pg_class l ON l.oid = t.oid)),"                                  \
    " CASE WHEN q.flushed = $4::pg_lsn AND (SELECT a.wait_event FROM pg_catalog.pg_stat_activity " \
    "a"                                                                                            \
    " WHERE a.pid = $5::int) ILIKE 'WalSenderWaitForWAL' THEN $6::pg_lsn ELSE q.flushed END,"      \
    " (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint, c.relkind = 'p',"      \
    " (SELECT pg_catalog.min(l.xmin::text) FROM tree t JOIN pg_catalog.pg_class l"                 \
    " ON l.oid = t.oid WHERE l.relkind = 'r' HAVING count(DISTINCT l.xmin::text) = 1)"             \
    " FROM (SELECT $1::oid AS oid, pg_catalog.pg_current_wal_flush_lsn() AS flushed) q"            \
    " LEFT JOIN pg_catalog.pg_class c ON c.oid = q.oid"                                            \
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"

#define NAMESPACES_SQL                                                                             \
    "(SELECT pg_catalog.string_agg(s.oid::text, ',' ORDER BY s.oid)"                               \
    " FROM pg_catalog.pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid IN"         \
    " (SELECT k.relnamespace FROM pg_catalog.pg_class k JOIN family f ON f.oid = k.oid))"

/* One check. */
struct checking {
    struct source *source;
    const struct source_table *tables;
    const struct source_description *const *descriptions;
    unsigned count;
    bool via_root;
    char database[16];
    uint64_t hash; /* of what makes up the rows that are followed */
};

/* --- helpers -------------------------------------------------------------------------------- */

static bool is_true(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}

static Oid oid_at(const PGresult *result, int row, int column)
{
    return (Oid)strtoul(PQgetvalue(result, row, column), NULL, 10);
}

static void hash_text(struct checking *c, const char *text)
{
    c->hash = fnv_text(c->hash, text);
}

/* A list of names as an array's text. */
static void put_names(struct sql_text *sql, const char *const *names)
{
    sql_put(sql, "{");
    for (unsigned i = 0; names[i]; i++) {
        sql_put(sql, i ? ",\"" : "\"");
        for (const char *at = names[i]; *at; at++) {
            if (*at == '"' || *at == '\\')
                sql_put_bytes(sql, "\\", 1);
            sql_put_bytes(sql, at, 1);
        }
        sql_put(sql, "\"");
    }
    sql_put(sql, "}");
}

/* --- the server ----------------------------------------------------------------------------- */

static int server_fits(struct checking *c, const PGresult *result, struct source_error *error)
{
    const char *name = c->source->options->name;
    const bool has_slot = is_true(result, 0, 6);
    const long slots = strtol(PQgetvalue(result, 0, 4), NULL, 10);
    const long senders = strtol(PQgetvalue(result, 0, 5), NULL, 10);
    if (is_true(result, 0, 1))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: this server is a standby; follow the primary", name);
    if (strcmp(PQgetvalue(result, 0, 0), "logical") != 0)
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: ALTER SYSTEM SET wal_level = 'logical'; then restart the"
                           " server (it is '%s')",
                           name, PQgetvalue(result, 0, 0));
    if (!is_true(result, 0, 3))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: the role may not follow changes: ALTER ROLE \"%s\""
                           " REPLICATION",
                           name, PQgetvalue(result, 0, 2));
    /* one to follow with; one for the snapshot of a comparison */
    if (slots < (has_slot ? 1 : 2))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: %ld replication slots are free and %d needed: raise"
                           " max_replication_slots by ALTER SYSTEM, then restart the server",
                           name, slots, has_slot ? 1 : 2);
    if (senders < (c->source->feed->stream ? 1 : 2))
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: %ld WAL senders are free and 2 needed: raise"
                           " max_wal_senders by ALTER SYSTEM, then restart the server",
                           name, senders);
    return SP_OK;
}

static int check_server(struct checking *c, struct source_error *error)
{
    const char *params[] = {c->source->feed->slot};
    PGresult *result = NULL;
    if (PQserverVersion(c->source->conn) < VERSION_MIN)
        return source_fail(error, SP_ECONFIG, false,
                           "source %s: changes can be followed from PostgreSQL 14 on",
                           c->source->options->name);
    int status = pg_query(c->source, NULL, SERVER_SQL, params, 1, &result, error);
    if (status == SP_OK)
        status = pg_demand(c->source, result, 1, 8, error);
    if (status == SP_OK)
        status = server_fits(c, result, error);
    if (status == SP_OK)
        source_copy(c->database, sizeof(c->database), PQgetvalue(result, 0, 7));
    PQclear(result);
    return status;
}

/* --- the publication ------------------------------------------------------------------------ */

static int no_publication(struct checking *c, struct source_error *error)
{
    struct sql_text list = {0};
    for (unsigned i = 0; i < c->count; i++) {
        sql_put(&list, i ? ", " : "");
        pg_put_relation(&list, c->tables[i].relation ? c->tables[i].relation : "...");
    }
    source_fail(error, SP_ECONFIG, false,
                "source %s: there is no such publication: CREATE PUBLICATION \"%s\" FOR TABLE %s"
                " WITH (publish_via_partition_root = true)",
                c->source->options->name, c->source->feed->publication,
                sql_failed(&list) ? "..." : list.text);
    sql_free(&list);
    return SP_ECONFIG;
}

static int check_publication(struct checking *c, struct source_error *error)
{
    const char *params[] = {c->source->feed->publication};
    PGresult *result = NULL;
    int status = pg_query(c->source, NULL, PUBLICATION_SQL, params, 1, &result, error);
    if (status == SP_OK && PQntuples(result) == 0) {
        status = no_publication(c, error);
    } else if (status == SP_OK && !is_true(result, 0, 1)) {
        status = source_fail(error, SP_ECONFIG, false,
                             "source %s: ALTER PUBLICATION \"%s\" SET (publish = 'insert, update,"
                             " delete, truncate'): not all of these are published",
                             c->source->options->name, params[0]);
    } else if (status == SP_OK) {
        c->via_root = is_true(result, 0, 2);
        hash_text(c, PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return status;
}

/* --- a table -------------------------------------------------------------------------------- */

static int not_published(struct checking *c, const struct source_table *table, const char *kind,
                         struct source_error *error)
{
    const char *publication = c->source->feed->publication;
    if (*kind == 'p' && !c->via_root)
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: it is partitioned: ALTER PUBLICATION \"%s\" SET"
                           " (publish_via_partition_root = true)",
                           table->name, publication);
    struct sql_text name = {0};
    pg_put_relation(&name, table->relation);
    source_fail(error, SP_ECONFIG, false, "table %s: ALTER PUBLICATION \"%s\" ADD TABLE %s",
                table->name, publication, sql_failed(&name) ? table->relation : name.text);
    sql_free(&name);
    return SP_ECONFIG;
}

static int table_fits(struct checking *c, const struct source_table *table, const PGresult *result,
                      struct source_error *error)
{
    const char *kind = PQgetvalue(result, 0, 3);
    if (*kind != 'r' && *kind != 'p')
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: it is no table of this database but a view or a foreign one,"
                           " which has no changes of its own",
                           table->name);
    if (is_true(result, 0, 4))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: row security hides rows from this role, but not their"
                           " changes: ALTER ROLE ... BYPASSRLS",
                           table->name);
    if (is_true(result, 0, 5))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: other tables inherit from it, whose changes are told as"
                           " theirs; follow them one by one",
                           table->name);
    if (is_true(result, 0, 6))
        return SP_OK;
    if (is_true(result, 0, 9))
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: its changes are published as those of the table that it is a"
                           " partition of: follow that, or another publication",
                           table->name);
    return not_published(c, table, kind, error);
}

static int plan_of(struct source *source, const struct source_table *table, const char *condition,
                   struct sql_text *out, struct source_error *error)
{
    struct sql_text sql = {0};
    PGresult *plan = NULL;
    sql_put(&sql, "EXPLAIN (COSTS OFF) SELECT 1 FROM ");
    pg_put_relation(&sql, table->relation);
    sql_put(&sql, " WHERE (");
    sql_put(&sql, condition);
    sql_put(&sql, "\n)");
    const int status = sql_failed(&sql) ? source_no_memory(error)
                                        : pg_query(source, table, sql.text, NULL, 0, &plan, error);
    for (int i = 0; status == SP_OK && i < PQntuples(plan); i++)
        sql_put(out, PQgetvalue(plan, i, 0));
    PQclear(plan);
    sql_free(&sql);
    return status;
}

/* Two conditions are the same if the server plans them as the same: it writes both its own way.
 * They have to be, as all that is read by SELECT is chosen by `where`, also without the feed. */
static int check_where(struct checking *c, const struct source_table *table, const char *filter,
                       struct source_error *error)
{
    struct sql_text ours = {0}, theirs = {0};
    int status = SP_OK;
    bool same = false;
    if (!table->where || !table->where[0])
        return filter ? source_fail(error, SP_ECONFIG, false,
                                    "table %s: the publication has some of its rows only: `where:`"
                                    " has to say which: %s",
                                    table->name, filter)
                      : SP_OK;
    if (filter) {
        status = plan_of(c->source, table, table->where, &ours, error);
        if (status == SP_OK)
            status = plan_of(c->source, table, filter, &theirs, error);
        same = !sql_failed(&ours) && !sql_failed(&theirs) && strcmp(ours.text, theirs.text) == 0;
    }
    if (status == SP_OK && !same)
        status =
            source_fail(error, SP_ECONFIG, false,
                        "table %s: its changes can only be followed if the publication has"
                        " the same condition: ALTER PUBLICATION \"%s\" ADD TABLE %s WHERE (%s)"
                        "%s",
                        table->name, c->source->feed->publication, table->relation, table->where,
                        PQserverVersion(c->source->conn) < VERSION_FILTER ? " (PostgreSQL 15)"
                                                                          : ", after a DROP TABLE");
    sql_free(&ours);
    sql_free(&theirs);
    return status;
}

static int check_identity(struct checking *c, const struct source_table *table,
                          const struct pg_followed *followed, struct source_error *error)
{
    char oid[16];
    struct sql_text names = {0};
    PGresult *result = NULL;
    snprintf(oid, sizeof(oid), "%u", followed->relation);
    put_names(&names, table->key);
    const char *params[] = {oid, names.text};
    int status = sql_failed(&names)
                     ? source_no_memory(error)
                     : pg_query(c->source, table, IDENTITY_SQL, params, 2, &result, error);
    if (status == SP_OK && PQntuples(result) > 0)
        status =
            source_fail(error, SP_ECONFIG, false,
                        "table %s: a deleted row would not be told by its key column %s:"
                        " ALTER TABLE %s REPLICA IDENTITY FULL, or USING INDEX one that has it",
                        table->name, PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 0));
    PQclear(result);
    sql_free(&names);
    return status;
}

/* --- columns -------------------------------------------------------------------------------- */

static int find_row(const PGresult *result, const char *name)
{
    for (int i = 0; i < PQntuples(result); i++)
        if (strcmp(PQgetvalue(result, i, 0), name) == 0)
            return i;
    return -1;
}

/* Why a column is not in the stream. Of generated ones only those that are stored can be, from
 * PostgreSQL 18 on; what the catalog of before says of them is not so. */
static const char *why_not_sent(const PGresult *result, int row, int version)
{
    const char generated = PQgetvalue(result, row, 3)[0];
    if (generated && (generated != 's' || version < VERSION_GENERATED))
        return "is generated, and so not in the stream: name the others by `columns`";
    if (is_true(result, row, 9))
        return NULL;
    return generated ? "is generated, and not published: ALTER PUBLICATION ... SET"
                       " (publish_generated_columns = stored)"
                     : "is not in the publication's column list";
}

/* Whether the text in the stream says the same as what COPY is asked for. */
static const char *why_not(const PGresult *result, int row, Oid type, Oid element)
{
    enum sp_type known;
    if (pg_type(type, &known) || type == PG_CHAR || type == PG_INET || type == PG_CIDR)
        return NULL;
    if (element && is_true(result, row, 10))
        return "is an array of arrays of a type of its own: leave it out by `columns`";
    if (element)
        return is_true(result, row, 7) ? "is an array of objects: leave it out by `columns`" : NULL;
    return is_true(result, row, 8) ? "is of a type with a cast to text of its own: leave it out by"
                                     " `columns`"
                                   : NULL;
}

static int set_column(const struct checking *c, const struct source_table *table,
                      const struct source_column *described, const PGresult *result,
                      struct pg_followed_column *out, struct source_error *error)
{
    const int row = find_row(result, described->name);
    if (row < 0)
        return source_fail(error, SP_ECONFIG, true, "table %s: column %s is gone", table->name,
                           described->name);
    const Oid type = oid_at(result, row, 4), element = oid_at(result, row, 5);
    const char *why = why_not_sent(result, row, PQserverVersion(c->source->conn));
    if (!why)
        why = why_not(result, row, type, element);
    if (!why && described->type == SP_TYPE_JSON && !element && type != PG_JSON && type != PG_JSONB)
        why = "is of a type that the stream does not write as an array: leave it out by `columns`";
    if (why)
        return source_fail(error, SP_ECONFIG, false, "table %s: column %s %s", table->name,
                           described->name, why);
    source_copy(out->name, sizeof(out->name), described->name);
    out->type = described->type;
    out->nullable = described->nullable;
    out->declared = oid_at(result, row, 1);
    out->modifier = (int32_t)strtol(PQgetvalue(result, row, 2), NULL, 10);
    out->form =
        (struct pg_form){element ? element : type, element != 0, PQgetvalue(result, row, 6)[0]};
    return SP_OK;
}

static unsigned find_key(const struct pg_followed *followed, const char *name)
{
    unsigned i = 0;
    while (i + 1 < followed->column_count && strcmp(followed->columns[i].name, name) != 0)
        i++;
    return i;
}

static int set_columns(struct checking *c, unsigned i, const PGresult *result,
                       struct pg_followed *out, struct source_error *error)
{
    const struct source_table *table = &c->tables[i];
    const struct source_description *description = c->descriptions[i];
    int status = SP_OK;
    while (table->key && table->key[out->key_count])
        out->key_count++;
    out->column_count = description->column_count;
    out->every_column = !table->columns || !table->columns[0];
    out->columns = calloc(out->column_count + 1, sizeof(*out->columns));
    out->key = calloc(out->key_count + 1, sizeof(*out->key));
    if (!out->columns || !out->key || pg_followed_alloc(out) != SP_OK)
        return source_no_memory(error);
    for (unsigned k = 0; k < out->column_count && status == SP_OK; k++)
        status = set_column(c, table, &description->columns[k], result, &out->columns[k], error);
    for (unsigned k = 0; k < out->key_count && status == SP_OK; k++)
        out->key[k] = find_key(out, table->key[k]);
    return status;
}

static int check_columns(struct checking *c, unsigned i, struct pg_followed *followed,
                         struct source_error *error)
{
    char oid[16];
    PGresult *result = NULL;
    snprintf(oid, sizeof(oid), "%u", followed->relation);
    const char *params[] = {oid, c->source->feed->publication};
    int status = pg_query(c->source, &c->tables[i], COLUMNS_SQL, params, 2, &result, error);
    if (status == SP_OK)
        status = set_columns(c, i, result, followed, error);
    PQclear(result);
    return status;
}

/* --- all of a table ------------------------------------------------------------------------- */

static int take_table(struct checking *c, const struct source_table *table, const PGresult *result,
                      struct pg_followed *out, struct source_error *error)
{
    const bool filtered = !PQgetisnull(result, 0, 7);
    out->relation = oid_at(result, 0, 0);
    out->table = strdup(table->name);
    out->schema = strdup(PQgetvalue(result, 0, 1));
    out->name = strdup(PQgetvalue(result, 0, 2));
    out->filter = filtered ? strdup(PQgetvalue(result, 0, 7)) : NULL;
    if (!out->table || !out->schema || !out->name || (filtered && !out->filter))
        return source_no_memory(error);
    hash_text(c, table->name);
    hash_text(c, PQgetvalue(result, 0, 0));
    hash_text(c, PQgetvalue(result, 0, 8));
    hash_text(c, filtered ? out->filter : "");
    return SP_OK;
}

static int look_up_table(struct checking *c, const struct source_table *table,
                         struct pg_followed *out, struct source_error *error)
{
    struct sql_text name = {0};
    PGresult *result = NULL;
    pg_put_relation(&name, table->relation);
    const char *params[] = {name.text, c->source->feed->publication};
    int status = sql_failed(&name)
                     ? source_no_memory(error)
                     : pg_query(c->source, table, TABLE_SQL, params, 2, &result, error);
    if (status == SP_OK && PQntuples(result) == 0)
        status = source_fail(error, SP_ECONFIG, true, "table %s: it is gone", table->name);
    if (status == SP_OK)
        status = table_fits(c, table, result, error);
    if (status == SP_OK)
        status = take_table(c, table, result, out, error);
    PQclear(result);
    sql_free(&name);
    return status;
}

/* What changes while nobody follows, and is not in the stream, makes another stream. A partition
 * that is emptied by itself shows in its file only. */
static void hash_definition(struct checking *c, const struct pg_asked *asked)
{
    hash_text(c, asked->definition);
    hash_text(c, asked->partitioned ? asked->files : "");
}

static int check_table(struct checking *c, unsigned i, struct source_error *error)
{
    const struct source_table *table = &c->tables[i];
    struct pg_followed *followed = &c->source->feed->changes.tables[i];
    if (table->query)
        return source_fail(error, SP_ECONFIG, false,
                           "table %s: the changes of a query cannot be followed: name a table by"
                           " `relation`",
                           table->name);
    int status = look_up_table(c, table, followed, error);
    if (status == SP_OK)
        status = check_where(c, table, followed->filter, error);
    if (status == SP_OK)
        status = check_columns(c, i, followed, error);
    if (status == SP_OK)
        status = check_identity(c, table, followed, error);
    if (status == SP_OK)
        status = pg_follow_ask(c->source, i, &followed->asked, error);
    if (status == SP_OK)
        hash_definition(c, &followed->asked);
    return status;
}

/* --- asking later --------------------------------------------------------------------------- */

static void put_followed_names(struct sql_text *sql, const struct pg_followed *table,
                               struct source_error *error)
{
    const char **names = calloc(table->column_count + 1, sizeof(*names));
    if (!names) {
        sql->failed = true;
        source_no_memory(error);
        return;
    }
    for (unsigned i = 0; i < table->column_count; i++)
        names[i] = table->columns[i].name;
    put_names(sql, names);
    free(names);
}

/* The numbers of its columns' types as an array's text. */
static void put_followed_types(struct sql_text *sql, const struct pg_followed *table)
{
    char number[16];
    for (unsigned i = 0; i < table->column_count; i++) {
        snprintf(number, sizeof(number), "%c%u", i ? ',' : '{', table->columns[i].form.type);
        sql_put(sql, number);
    }
    sql_put(sql, table->column_count ? "}" : "{}");
}

int pg_follow_ask(struct source *source, unsigned i, struct pg_asked *out,
                  struct source_error *error)
{
    const struct pg_followed *table = &source->feed->changes.tables[i];
    char oid[16];
    struct sql_text names = {0}, types = {0};
    PGresult *result = NULL;
    snprintf(oid, sizeof(oid), "%u", table->relation);
    put_followed_types(&types, table);
    if (!table->every_column)
        put_followed_names(&names, table, error);
    char before[PG_LSN_BYTES], received[PG_LSN_BYTES], sender[16];
    pg_lsn_text(out->lsn, before);
    pg_lsn_text(source->feed->received_lsn, received);
    snprintf(sender, sizeof(sender), "%d", PQbackendPID(source->feed->stream));
    const char *params[] = {
        oid, source->feed->publication, names.text, before, sender, received, types.text};
    const char *ask =
        PQserverVersion(source->conn) < VERSION_FILTER ? ASK_SQL("NULL") : ASK_SQL(NAMESPACES_SQL);
    int status = names.failed || types.failed
                     ? source_no_memory(error)
                     : pg_query(source, NULL, ask, params, 7, &result, error);
    *out = (struct pg_asked){.table = i, .truncated = table->truncated_by != 0};
    if (status == SP_OK)
        status = pg_demand(source, result, 1, 6, error);
    if (status == SP_OK) {
        out->partitioned = is_true(result, 0, 4);
        out->written_by = oid_at(result, 0, 5);
        source_copy(out->definition, sizeof(out->definition), PQgetvalue(result, 0, 0));
        source_copy(out->files, sizeof(out->files), PQgetvalue(result, 0, 1));
        out->time_us = strtoll(PQgetvalue(result, 0, 3), NULL, 10);
        if (!pg_lsn_read(PQgetvalue(result, 0, 2), &out->lsn))
            status = source_fail(error, SP_ESOURCE, false, PG_FORMAT_ERROR);
    }
    PQclear(result);
    sql_free(&names);
    sql_free(&types);
    return status;
}

/* --- the whole ------------------------------------------------------------------------------ */

/* Which server it is, and whether it lets us in to follow. */
static int identify(struct checking *c, char *stream, struct source_error *error)
{
    struct source *source = c->source;
    struct pg_feed *feed = source->feed;
    PGresult *result = NULL;
    int status = pg_stream_open(source, error);
    if (status != SP_OK)
        return status;
    PGconn *before = pg_use(source, feed->stream);
    status = pg_query(source, NULL, "IDENTIFY_SYSTEM", NULL, 0, &result, error);
    pg_use(source, before);
    if (status == SP_OK)
        status = pg_demand(source, result, 1, 4, error);
    if (status == SP_OK)
        snprintf(stream, FEED_STREAM_BYTES, "%s/%s/%s/%s/%016" PRIx64, PQgetvalue(result, 0, 0),
                 c->database, feed->name, feed->publication, c->hash);
    if (status == SP_OK)
        feed->timeline = (uint32_t)strtoul(PQgetvalue(result, 0, 1), NULL, 10);
    PQclear(result);
    return status;
}

static int check_all(struct checking *c, char *stream, struct source_error *error)
{
    struct pg_changes *changes = &c->source->feed->changes;
    changes->tables = calloc(c->count ? c->count : 1, sizeof(*changes->tables));
    if (!changes->tables)
        return source_no_memory(error);
    changes->count = c->count;
    int status = check_server(c, error);
    if (status == SP_OK)
        status = check_publication(c, error);
    for (unsigned i = 0; i < c->count && status == SP_OK; i++)
        status = check_table(c, i, error);
    if (status == SP_OK)
        status = pg_slot_free(c->source, error);
    return status == SP_OK ? identify(c, stream, error) : status;
}

int pg_feed_check(struct source *source, const struct source_feed_options *options,
                  const struct source_table *tables,
                  const struct source_description *const *descriptions, unsigned count,
                  char *stream, struct source_error *error)
{
    struct checking c = {.source = source,
                         .tables = tables,
                         .descriptions = descriptions,
                         .count = count,
                         .hash = FNV_START};
    int status = pg_call_begin(source, error);
    if (status == SP_OK)
        status = pg_feed_new(source, options, error);
    if (status == SP_OK && source->feed->streaming)
        status = source_fail(error, SP_EINVAL, false, "the feed runs already");
    if (status != SP_OK)
        return status;
    pg_changes_free(&source->feed->changes);
    status = check_all(&c, stream, error);
    if (status != SP_OK)
        pg_changes_free(&source->feed->changes);
    return status;
}
