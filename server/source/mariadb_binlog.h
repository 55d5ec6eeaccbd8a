/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_binlog.h - events of MariaDB's binary log, read into changes of the tables followed.
 *
 * Pure: bytes in, calls of a sink out. Nothing here knows a connection (mariadb_feed.c does).
 */
#ifndef SIDEPOND_SOURCE_MARIADB_BINLOG_H
#define SIDEPOND_SOURCE_MARIADB_BINLOG_H

#include "server/source/source_internal.h"
#include "sidepond/source_feed.h"

/* --- mariadb_gtid.c: positions ---------------------------------------------------------------- */

#define GTID_DOMAINS_MAX 40
#define GTID_FILE_BYTES  256

struct gtid {
    uint32_t domain, server;
    uint64_t sequence;
};

/* The last transaction of each domain, and where in the log the last one of them ends. */
struct gtid_state {
    unsigned count;
    struct gtid gtids[GTID_DOMAINS_MAX];
    char file[GTID_FILE_BYTES]; /* empty: not known */
    uint64_t offset;
};

/* "0-1-100,5-2-7@binlog.000003:1234", where the ids are "none" for no transaction at all; also what
 * the server prints. False: it is none. */
bool gtid_parse(const char *text, struct gtid_state *out);

/* The reverse, into FEED_POSITION_BYTES. */
void gtid_print(const struct gtid_state *state, char *out);

/* The same as the server takes it: nothing for no transaction, and no place. */
void gtid_print_ids(const struct gtid_state *state, char *out);

/* A transaction was read; false: too many domains. */
bool gtid_advance(struct gtid_state *state, const struct gtid *gtid);

/* Whether `state` has all that `other` has. */
bool gtid_covers(const struct gtid_state *state, const struct gtid_state *other);

/* Whether both have the same transactions, wherever they are. */
bool gtid_same(const struct gtid_state *state, const struct gtid_state *other);

/* --- mariadb_charset.c: text of other character sets ------------------------------------------ */

struct binlog_charset {
    struct binlog_charset *next; /* of those in use, for who keeps them */
    char name[64];               /* as the server calls it */
    unsigned unit_bytes;         /* of UCS-2, UTF-16 and UTF-32; else 0, and tables: */
    bool little;
    uint16_t bytes[256];
    uint16_t *pairs[2]; /* characters of two bytes and of three, or NULL */
};

bool binlog_charset_is_utf8(const char *name);

/* NULL: no memory. */
struct binlog_charset *binlog_charset_new(const char *name);
void binlog_charset_free(struct binlog_charset *set);

/* What the tables are made of: a SELECT of one value for each part, and what the server answers.
 * False: that is nothing to make a table of. */
enum binlog_charset_part { CHARSET_BYTES, CHARSET_PAIRS, CHARSET_TRIPLES };
void binlog_charset_ask(const struct binlog_charset *set, enum binlog_charset_part part,
                        struct sql_text *sql);
bool binlog_charset_answer(struct binlog_charset *set, enum binlog_charset_part part,
                           const char *text, size_t bytes);

/* Writes a text into the scratch, as UTF-8 of so many bytes. Returns NULL, or why it cannot. */
const char *binlog_charset_text(const struct binlog_charset *set, const unsigned char *data,
                                size_t bytes, struct source_scratch *scratch, size_t *size);

/* --- what a table has ------------------------------------------------------------------------- */

enum binlog_form { BINLOG_PLAIN, BINLOG_UUID, BINLOG_INET4, BINLOG_INET6, BINLOG_ENUM, BINLOG_SET };

struct binlog_column {
    int at;            /* its place in the description; -1: not wanted */
    enum sp_type type; /* of the description */
    enum binlog_form form;
    bool nullable;
    bool is_unsigned;
    bool is_boolean;                      /* TINYINT(1), BIT(1): 0 or 1 */
    bool is_binary;                       /* BINARY(n), without the zeros at its end in the log */
    const struct binlog_charset *charset; /* of its text; NULL: UTF-8 */
    char **labels;                        /* of ENUM and SET */
    unsigned label_count;
};

struct binlog_table {
    char *database, *name;
    unsigned column_count; /* in the database: also those that are not wanted */
    uint64_t columns_hash; /* of what the database said of them */
    struct binlog_column *columns;
    unsigned described_count; /* in the description */
    unsigned *key;            /* places in the description */
    unsigned key_count;
};

void binlog_table_free(struct binlog_table *table);

/* --- mariadb_binlog_value.c: fields of a row's image ------------------------------------------ */

struct binlog_bytes {
    const unsigned char *at;
    size_t left;
};

struct binlog_field {
    uint8_t type; /* enum enum_field_types, also of what is stored as a string */
    uint16_t meta;
    const unsigned char *data;
    size_t bytes;
};

/* Bytes of metadata that a type has in a TABLE_MAP event; -1: the type is not known. */
int binlog_meta_bytes(uint8_t type);
uint16_t binlog_meta(uint8_t type, const unsigned char *at);

/* Takes a field out of an image. False: it does not fit. */
bool binlog_take_field(uint8_t type, uint16_t meta, struct binlog_bytes *from,
                       struct binlog_field *out);

/* Decodes one; may give NULL (a date that is all zeros). Returns NULL, or why it cannot be had. */
const char *binlog_value(const struct binlog_column *column, const struct binlog_field *field,
                         struct source_scratch *scratch, struct sp_value *out);

/* Whether a column of such a type in the log can be what is described. */
bool binlog_type_fits(const struct binlog_column *column, uint8_t type, uint16_t meta);

/* --- mariadb_binlog.c: events ----------------------------------------------------------------- */

enum binlog_point {
    BINLOG_INSIDE,   /* nothing to say */
    BINLOG_READY,    /* the log's format is known: the position was accepted */
    BINLOG_GROUP,    /* the end of a transaction: `state` has it, `changes` counts ours */
    BINLOG_HEARTBEAT /* nothing more is there, and no transaction is unfinished */
};

struct binlog_map;
struct binlog_prepared;

struct binlog {
    const struct binlog_table *tables;
    unsigned table_count;
    struct gtid_state state;    /* after the last transaction */
    uint64_t changes;           /* of our tables in the last transaction */
    int64_t commit_us;          /* when it was, by the database's clock; 0: none was read */
    char file[GTID_FILE_BYTES]; /* of the log, and the place in it */
    uint64_t file_offset;
    char why[160]; /* what is wrong with an event */

    struct gtid gtid; /* of the transaction that is being read */
    bool in_group, standalone, prepared, completed, has_checksum;
    bool temporary; /* the statement is of a session's temporary tables, too */
    bool no_change; /* the group is the beginning of an ALTER, or one that was rolled back */
    bool ready;     /* the log's format is known */
    unsigned char xid[160];
    size_t xid_bytes;
    bool *touched; /* by the transaction: each table */
    struct binlog_map *maps;
    struct binlog_prepared *preparations; /* XA transactions that wait for their commit */
    unsigned prepared_count;
    struct sp_value *values, *old_values, *key;
    struct source_scratch *scratch, *old_scratch, inflated;
};

/* SP_ENOMEM; to be closed also then. */
int binlog_open(struct binlog *log, const struct binlog_table *tables, unsigned table_count,
                const struct gtid_state *from);
void binlog_close(struct binlog *log);

/* One event. SP_ESOURCE: `why` says what is wrong with it; else the status of the sink. */
int binlog_event(struct binlog *log, const void *data, size_t bytes,
                 const struct source_feed_sink *sink, enum binlog_point *point);

/* --- mariadb_binlog_sql.c: what a statement in the log does to a table ------------------------ */

enum binlog_effect { EFFECT_NONE, EFFECT_BEGIN, EFFECT_COMMIT, EFFECT_ROLLBACK, EFFECT_OTHER };

/* What it does to the transaction. */
enum binlog_effect binlog_statement(const char *sql, size_t bytes);

enum binlog_touch { TOUCH_NOT, TOUCH_TRUNCATE, TOUCH_SHAPE, TOUCH_ROWS };

/* What it may do to the table; `database` is the one it was given in. */
enum binlog_touch binlog_statement_on(const char *sql, size_t bytes, const char *database,
                                      const struct binlog_table *table);

#endif
