/* SPDX-License-Identifier: Apache-2.0
 *
 * sidepond/sidepond.h - reading a pond: database tables in shared memory.
 *
 * A pond is a memory region that the daemon sidepondd fills from a database and keeps fresh.
 * Processes on the same host open it and read rows as fast as their own memory. Reading takes no
 * lock and writes nothing to shared memory, so no reader can disturb another one or the daemon.
 *
 *   struct sp_pond *pond;
 *   struct sp_table *users;
 *   struct sp_row *row = sp_row_new();
 *   struct sp_value id = sp_int(42), email;
 *   if (sp_open("main", NULL, &pond) == SP_OK && sp_table_open(pond, "users", &users) == SP_OK &&
 *       sp_get_row(users, &id, 1, row) == SP_OK && sp_row_column(row, "email", &email) == SP_OK)
 *       printf("%.*s\n", (int)email.bytes.size, (const char *)email.bytes.data);
 *   sp_row_free(row);
 *   sp_close(pond);
 *
 * Threads: a pond and its tables may be used by any number of threads at the same time. A row, a
 * snapshot and a scan belong to one thread at a time.
 *
 * fork: a pond opened before fork works after it in both processes. A snapshot belongs to the
 * process that began it: in the other one its use is refused with SP_EFORKED.
 *
 * Errors: functions return SP_OK or a negative status (sidepond/status.h). The library never
 * prints, exits, aborts or handles signals. A pond that is damaged, truncated or hostile gives
 * SP_ECORRUPT or SP_EFORMAT. A file that is truncated while it is mapped is the one thing that no
 * reader can survive (the kernel sends SIGBUS); sidepondd never truncates one.
 *
 * What reads a table can return, besides what its own lines say: SP_ENOTABLE (it was dropped),
 * SP_EOLD (it is older than max_stale, and then to fail), SP_ECORRUPT, SP_ENOMEM (not on the fast
 * path, once a table is in use); through a snapshot also SP_ESTALE (the lease was lost),
 * SP_EFORKED, and SP_EINVAL where the table is of another handle of a pond.
 *
 * Options and info structs begin with `struct_bytes`, which their INIT value sets; SP_EINVAL
 * without.
 *
 * Values are copies unless a snapshot is involved. Sizes are in bytes, times in milliseconds.
 */
#ifndef SIDEPOND_SIDEPOND_H
#define SIDEPOND_SIDEPOND_H

#include "sidepond/bson.h"
#include "sidepond/status.h"
#include "sidepond/value.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SP_API __attribute__((visibility("default")))
#else
#define SP_API
#endif

/* Limits of the format. */
#define SP_KEY_BYTES_MAX   65535u           /* an encoded key */
#define SP_VALUE_BYTES_MAX ((1u << 28) - 1) /* an encoded row without its key: 256 MiB - 1 */
#define SP_NAME_BYTES_MAX  63u              /* a pond's or a table's name */
#define SP_TABLES_MAX      256u             /* tables of a pond */
#define SP_LEASES_MAX      1024u            /* snapshots open at one time, over all processes */

struct sp_pond;
struct sp_table;
struct sp_row;
struct sp_snapshot;
struct sp_scan;
struct sp_schema;

/* The library's version, "1.2.3". */
SP_API const char *sp_version(void);

/* What went wrong in the last failed call of this thread, in a sentence with names and paths; ""
 * if there is nothing beyond the status. Valid until the next call of this thread. The lookups on
 * the fast path (sp_get, sp_mget, sp_view) leave it alone. */
SP_API const char *sp_error_detail(void);

/* --- opening ------------------------------------------------------------------------------- */

struct sp_open_options {
    size_t struct_bytes; /* sizeof(struct sp_open_options), set by the INIT value */
    uint32_t wait_ms;    /* wait as long for the pond to appear and be ready; 0: do not wait */
    bool populate;       /* map all pages at once: no page faults in the first reads */
};
#define SP_OPEN_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(struct sp_open_options), 0, false                                                   \
    }

/* Opens a pond. `name` is a pond's name ("main": the directory /dev/shm/sidepond/main, or
 * $SIDEPOND_ROOT/main) or, with a slash in it, its directory. NULL: $SIDEPOND, else "main".
 * `options` may be NULL. SP_ENOPOND, SP_EACCESS, SP_EFORMAT, SP_ECORRUPT, SP_ENOTREADY (before the
 * first commit), SP_ENOMEM, SP_ESYS.
 * When the daemon replaces the pond (another size or format), the handle follows by itself. */
SP_API int sp_open(const char *name, const struct sp_open_options *options, struct sp_pond **out);

/* Ends all use of the pond: its tables, schemas, snapshots and scans are gone with it. No other
 * thread may be inside a call. NULL is allowed. */
SP_API void sp_close(struct sp_pond *pond);

/* --- tables -------------------------------------------------------------------------------- */

/* A table by name. It belongs to the pond and lives as long; asking again gives the same pointer.
 * SP_ENOTABLE. A table dropped later answers SP_ENOTABLE on use. */
SP_API int sp_table_open(struct sp_pond *pond, const char *name, struct sp_table **out);

/* The names of the tables, sorted: fills at most `max` pointers (valid as long as the pond) and
 * returns how many tables there are. */
SP_API size_t sp_table_names(struct sp_pond *pond, const char **names, size_t max);

SP_API const char *sp_table_name(const struct sp_table *table);

/* The columns as of now. A schema is immutable and lives as long as the pond; when the table's
 * shape changes, the table gets another one, and rows remember theirs. */
SP_API int sp_table_schema(struct sp_table *table, const struct sp_schema **out);

struct sp_column_info {
    const char *name;
    enum sp_type type;
    bool nullable;
    int key_position; /* position in the primary key, or -1 */
};
struct sp_index_info {
    const char *name;
    bool unique;
    size_t column_count;
};
/* By position: SP_ENOCOLUMN, SP_ENOINDEX. Names live as long as the schema. */
SP_API size_t sp_schema_column_count(const struct sp_schema *schema);
SP_API size_t sp_schema_key_count(const struct sp_schema *schema);
SP_API size_t sp_schema_index_count(const struct sp_schema *schema);
SP_API int sp_schema_column(const struct sp_schema *schema, size_t column,
                            struct sp_column_info *out);
SP_API int sp_schema_index(const struct sp_schema *schema, size_t index, struct sp_index_info *out);
/* Position of the i-th column of the key (index -1) or of a secondary index. */
SP_API int sp_schema_index_column(const struct sp_schema *schema, int index, size_t i,
                                  size_t *column);
/* Positions by name, or -1. */
SP_API int sp_schema_find_column(const struct sp_schema *schema, const char *name);
SP_API int sp_schema_find_index(const struct sp_schema *schema, const char *name);

/* --- keys ---------------------------------------------------------------------------------- */

/* Encodes a key: of the primary key (index -1) or of a secondary index. A key of one text or bytes
 * column is those bytes as they are; one of a single int64 is its 8 bytes, little-endian. What
 * converts without loss is converted ("42" for an integer column). Of a column of type bson_value
 * any value can be the key, as the BSON type that says the same (a text is a string, a uuid binary
 * of subtype 4, a JSON is read as extended JSON), and equal numbers are one key. SP_ETYPE,
 * SP_ENULL, SP_EINVAL (number of values), SP_ERANGE (`*size` tells what is needed), SP_ENOINDEX. */
SP_API int sp_key_encode(const struct sp_schema *schema, int index, const struct sp_value *values,
                         size_t count, void *out, size_t cap, size_t *size);
/* The i-th value of a key as people write it, to be given to sp_key_encode or sp_get_row. It
 * borrows from text, and from `scratch` (16 bytes). It is the text as SP_TYPE_TEXT but for a column
 * of type bson_value: there 24 hexadecimal digits are an ObjectId; what begins with {, [ or ", and
 * numbers, true, false and null are extended JSON; anything else is a string. SP_ETYPE: it begins
 * like JSON and is none; SP_ENOINDEX, SP_EINVAL. */
SP_API int sp_key_parse(const struct sp_schema *schema, int index, size_t i, const char *text,
                        size_t text_bytes, void *scratch, struct sp_value *out);
/* The values in an encoded key; they point into `key`. `out` has room for the key's columns.
 * SP_ENOINDEX; SP_ECORRUPT: these bytes are no such key. */
SP_API int sp_key_decode(const struct sp_schema *schema, int index, const void *key,
                         size_t key_bytes, struct sp_value *out);

/* --- reading: copies ----------------------------------------------------------------------- */

/* Copies the encoded value of a key (all columns but the key's; docs/FORMAT.md) into `out` and its
 * size into `*size`. What is behind the value in `out`, up to `cap`, may be overwritten (with
 * zeros, in whole pieces of 16 bytes). SP_ENOTFOUND; SP_ERANGE if `cap` is too small (nothing is
 * copied, `*size` says what is needed); SP_EOLD (see sp_table_info); SP_ENOTABLE; SP_ECORRUPT. */
SP_API int sp_get(struct sp_table *table, const void *key, size_t key_bytes, void *out, size_t cap,
                  size_t *size);

/* Many at once: memory latency is paid together, so it takes about a third of the time per key. */
struct sp_get {
    const void *key;  /* in */
    size_t key_bytes; /* in */
    void *out;        /* in: where the value goes */
    size_t cap;       /* in: its room */
    size_t size;      /* out: the value's size */
    int status;       /* out: as from sp_get */
};
/* Returns SP_OK if the table could be read at all; each entry has its own status. The entries are
 * not guaranteed to be of one version; take a snapshot for that. */
SP_API int sp_mget(struct sp_table *table, struct sp_get *gets, size_t count);

/* Whether a key exists: SP_OK or as sp_get. */
SP_API int sp_exists(struct sp_table *table, const void *key, size_t key_bytes);

/* A row: a buffer that grows as needed, and what it takes to read columns from it. */
SP_API struct sp_row *sp_row_new(void);      /* NULL: out of memory */
SP_API void sp_row_free(struct sp_row *row); /* NULL is allowed */

/* Reads a row by the values of its key, or by its encoded key. The row keeps its bytes until it is
 * read into again or freed; after a call that did not return SP_OK it has none. SP_ENOTFOUND; by
 * values also what sp_key_encode returns. */
SP_API int sp_get_row(struct sp_table *table, const struct sp_value *key, size_t key_count,
                      struct sp_row *row);
SP_API int sp_get_row_encoded(struct sp_table *table, const void *key, size_t key_bytes,
                              struct sp_row *row);

/* That of its table when it was read; NULL while it has no bytes. */
SP_API const struct sp_schema *sp_row_schema(const struct sp_row *row);
/* One column by name or position, found without decoding the others. Points into the row. A NULL is
 * SP_OK with value->is_null. SP_ENOCOLUMN; SP_EINVAL: the row has no bytes. */
SP_API int sp_row_column(const struct sp_row *row, const char *name, struct sp_value *out);
SP_API int sp_row_column_at(const struct sp_row *row, size_t column, struct sp_value *out);
/* A field of the row's document (its last column of type bson), by its path: "name",
 * "address.city", "tags.0". Found without decoding the rest, and handed out as sidepond/bson.h
 * says: SP_ENOTFOUND if it is missing, SP_OK with is_null if it is null. Points into the row.
 * SP_ENOCOLUMN: the row has no document. */
SP_API int sp_row_field(const struct sp_row *row, const char *path, struct sp_value *out);
/* The row's encoded key and value. */
SP_API void sp_row_bytes(const struct sp_row *row, const void **key, size_t *key_bytes,
                         const void **value, size_t *value_bytes);
/* The row as a JSON object, like snprintf: writes at most `cap` bytes with a final zero, returns
 * the size without it. */
SP_API size_t sp_row_json(const struct sp_row *row, char *out, size_t cap);
/* A value as JSON, and as plain text for people. Like snprintf. */
SP_API size_t sp_value_json(const struct sp_value *value, char *out, size_t cap);
SP_API size_t sp_value_text(const struct sp_value *value, char *out, size_t cap);

/* --- reading: snapshots -------------------------------------------------------------------- */

/* Pins the committed version: all tables stay as they are, for whoever reads through the snapshot.
 * Costs an atomic store or two (the first one of a thread also a few system calls). A snapshot
 * delays nobody, but the daemon keeps old versions for it; so it has a time limit, set by the
 * daemon (lease_limit, 60 s by default). Past it, what is read through it is SP_ESTALE.
 * SP_ENOLEASE; SP_EACCESS if this process may not write the leases file. */
SP_API int sp_snapshot_begin(struct sp_pond *pond, struct sp_snapshot **out);
SP_API void sp_snapshot_end(struct sp_snapshot *snapshot); /* NULL is allowed */
SP_API uint64_t sp_snapshot_version(const struct sp_snapshot *snapshot);

/* SP_OK if everything read through the snapshot up to now was right; SP_ESTALE if the lease was
 * lost: then bytes seen through a view may have been of another row. Call it after using views. */
SP_API int sp_snapshot_check(const struct sp_snapshot *snapshot);

/* A row in place. Pointers are valid until the snapshot's end (or the loss of its lease). */
struct sp_view {
    const void *key;
    size_t key_bytes;
    const void *value;
    size_t value_bytes;
    const struct sp_schema *schema;
};
/* A row by its encoded key. SP_ENOTFOUND. */
SP_API int sp_view(struct sp_snapshot *snapshot, struct sp_table *table, const void *key,
                   size_t key_bytes, struct sp_view *out);
/* SP_ENOCOLUMN. */
SP_API int sp_view_column(const struct sp_view *view, size_t column, struct sp_value *out);
/* As sp_row_field, in place. */
SP_API int sp_view_field(const struct sp_view *view, const char *path, struct sp_value *out);
SP_API size_t sp_view_json(const struct sp_view *view, char *out, size_t cap);

/* All rows of a table at the snapshot's version, each once, in no order that means anything. The
 * scan is to be ended before its snapshot is. */
SP_API int sp_scan_begin(struct sp_snapshot *snapshot, struct sp_table *table,
                         struct sp_scan **out);
/* Rows that match a secondary index (by position) with an encoded key. SP_ENOINDEX. */
SP_API int sp_find_begin(struct sp_snapshot *snapshot, struct sp_table *table, size_t index,
                         const void *key, size_t key_bytes, struct sp_scan **out);
/* The next row, or SP_ENOTFOUND at the end; SP_ESTALE. */
SP_API int sp_scan_next(struct sp_scan *scan, struct sp_view *out);
SP_API void sp_scan_end(struct sp_scan *scan); /* NULL is allowed */

/* The first row that matches a secondary index, copied: what a unique index is for. SP_ENOTFOUND,
 * SP_ENOINDEX, and what sp_key_encode returns. */
SP_API int sp_find_row(struct sp_table *table, size_t index, const struct sp_value *key,
                       size_t key_count, struct sp_row *row);

/* --- information --------------------------------------------------------------------------- */

enum sp_pond_state { SP_POND_LOADING = 0, SP_POND_READY = 1, SP_POND_RETIRED = 2 };
/* "loading", "ready", "retired"; else "unknown". */
SP_API const char *sp_pond_state_text(enum sp_pond_state state);

struct sp_pond_info {
    size_t struct_bytes; /* in: sizeof, so that the struct can grow */
    char name[64];
    enum sp_pond_state state;
    uint64_t version;         /* commits so far */
    uint64_t id[2];           /* random, new with each pond that is created */
    uint64_t limit_bytes;     /* size the pond may grow to */
    uint64_t committed_bytes; /* memory taken from the system, everything counted */
    uint64_t used_bytes;      /* of the arena, by entries and indexes */
    uint64_t free_bytes;      /* of the arena, committed but unused */
    size_t table_count;
    int64_t writer_pid;        /* the daemon, in its own PID namespace; 0: none */
    uint64_t heartbeat_age_ms; /* since the daemon last showed that it lives */
    bool writer_alive;         /* it holds the writer's lock */
};
#define SP_POND_INFO_INIT                                                                          \
    {                                                                                              \
        .struct_bytes = sizeof(struct sp_pond_info)                                                \
    }
SP_API int sp_pond_info(struct sp_pond *pond, struct sp_pond_info *out);
/* The committed version: one load from shared memory. */
SP_API uint64_t sp_pond_version(struct sp_pond *pond);

enum sp_table_state {
    SP_TABLE_LOADING = 0, /* declared, nothing committed yet */
    SP_TABLE_FRESH = 1,   /* the last refresh succeeded */
    SP_TABLE_FAILING = 2, /* the last refresh failed: the data is that of loaded_at */
    SP_TABLE_HELD =
        3 /* it is let as it is: a refresh would drop too much, or an operator holds it */
};
/* "loading", "fresh", "failing", "held"; else "unknown". */
SP_API const char *sp_table_state_text(enum sp_table_state state);

/* Whether the table follows its database (refresh mode `feed`). */
enum sp_table_feed {
    SP_FEED_NONE = 0,     /* another mode */
    SP_FEED_STARTING = 1, /* connecting, or reading all rows */
    SP_FEED_FOLLOWING = 2,
    SP_FEED_FALLEN_BACK = 3 /* it cannot: all rows are read again and again */
};
/* "none", "starting", "following", "fallen back"; else "unknown". */
SP_API const char *sp_table_feed_text(enum sp_table_feed feed);

struct sp_table_info {
    size_t struct_bytes; /* in */
    enum sp_table_state state;
    uint64_t version; /* of the last commit that changed it */
    uint64_t rows;
    uint64_t bytes;         /* keys and values, without overhead */
    uint64_t memory_bytes;  /* entries and index, everything counted */
    int64_t loaded_at_ms;   /* wall clock (Unix time) of the last successful refresh; 0: none */
    int64_t changed_at_ms;  /* wall clock of the last commit that changed it; 0: none */
    uint64_t age_ms;        /* since the last successful refresh; UINT64_MAX: never */
    uint64_t max_stale_ms;  /* 0: none */
    bool stale;             /* age_ms > max_stale_ms */
    bool fails_when_stale;  /* reads then return SP_EOLD */
    uint64_t refresh_count; /* successful ones, by this daemon */
    uint64_t failure_count; /* failed since the last success */
    uint64_t change_count;  /* rows put in, replaced and deleted since the pond was made */
    enum sp_table_feed feed;
};
#define SP_TABLE_INFO_INIT                                                                         \
    {                                                                                              \
        .struct_bytes = sizeof(struct sp_table_info)                                               \
    }
SP_API int sp_table_info(struct sp_table *table, struct sp_table_info *out);

/* One who holds a snapshot now. */
struct sp_reader_info {
    int64_t pid;      /* in its own PID namespace */
    uint64_t version; /* what it pins */
    uint64_t held_ms;
    bool revoked; /* it was over the limit; its views are stale */
};
/* Fills at most `max`, returns how many there are. */
SP_API size_t sp_readers(struct sp_pond *pond, struct sp_reader_info *out, size_t max);

/* Waits until the committed version is above `version`, at most timeout_ms (UINT32_MAX: for ever).
 * SP_ETIMEDOUT. `*now` (may be NULL) gets the version seen. Signals do not end it early. */
SP_API int sp_wait(struct sp_pond *pond, uint64_t version, uint32_t timeout_ms, uint64_t *now);

#ifdef __cplusplus
}
#endif
#endif
