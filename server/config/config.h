/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h - the daemon's configuration: one YAML file, checked as a whole before anything is used.
 *
 * The structs are what the loader hands out: defaults filled in, durations in milliseconds, sizes
 * in bytes, names checked, references resolved. Everything is owned by the struct config.
 */
#ifndef SIDEPOND_CONFIG_H
#define SIDEPOND_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "sidepond/status.h"

enum config_refresh_mode {
    CONFIG_REFRESH_FULL,
    CONFIG_REFRESH_INCREMENTAL,
    CONFIG_REFRESH_NOTIFIED,
    CONFIG_REFRESH_FEED
};
enum config_follower { CONFIG_FOLLOWER_PERMANENT, CONFIG_FOLLOWER_TEMPORARY };
enum config_on_stale { CONFIG_ON_STALE_SERVE, CONFIG_ON_STALE_FAIL };
enum config_on_bad_row { CONFIG_ON_BAD_ROW_SKIP, CONFIG_ON_BAD_ROW_FAIL };
enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };
enum config_log_target { CONFIG_LOG_STDERR, CONFIG_LOG_JOURNAL };
enum config_when_full { CONFIG_WHEN_FULL_EVICT, CONFIG_WHEN_FULL_REFUSE };
enum config_tls_clients { CONFIG_TLS_NONE, CONFIG_TLS_OPTIONAL, CONFIG_TLS_REQUIRED };
enum config_log_level { CONFIG_LOG_ERROR, CONFIG_LOG_WARNING, CONFIG_LOG_INFO, CONFIG_LOG_DEBUG };

struct config_source {
    const char *name;
    const char *type;          /* "sqlite", "postgresql", "mariadb", "mysql", "mongodb", "module" */
    const char *path;          /* sqlite */
    const char *dsn;           /* postgresql, mariadb, mysql, mongodb; never with a password */
    const char *module;        /* module: the shared object */
    const char *password_file; /* NULL if not given */
    const char *password_env;  /* NULL if not given */
    uint32_t connect_timeout_ms;
    uint32_t statement_timeout_ms;
    const char *publication;       /* postgresql: of feeds; NULL: "sidepond" */
    enum config_follower follower; /* postgresql: of feeds */
    uint64_t max_lag_bytes; /* what the database may keep for a feed; 0: as much as it likes */
    unsigned line;          /* where it stands in the file, for messages */
};

struct config_index {
    const char *name;
    const char *const *columns; /* NULL-terminated */
    bool unique;
};

struct config_refresh {
    enum config_refresh_mode mode;
    uint32_t every_ms;      /* from the end of one refresh to the start of the next; notified: the
                               shortest such pause; feed: while it is not possible */
    uint32_t full_every_ms; /* incremental and notified: a full pass at least this often; feed: a
                               comparison */
    const char *watermark;  /* the column; NULL: none */
    int64_t overlap;        /* incremental: subtracted from the highest watermark seen; for
                               timestamps microseconds ("5s" in the file), for integers the number */
    const char *channel;    /* notified, postgresql: LISTEN channel; default "sidepond_TABLE" */
};

struct config_table {
    const char *name;
    const char *source_name; /* as written; `source` is what it names */
    const struct config_source *source;
    const char *relation;       /* default: name; NULL if query is given */
    const char *query;          /* NULL if not given */
    const char *const *columns; /* NULL: all */
    const char *where;          /* NULL: none */
    const char *const *key;     /* NULL-terminated, at least one */
    const struct config_index *indexes;
    unsigned index_count;
    const char *const *fields; /* NULL-terminated: the columns of the indexes, each once */
    const char *group;         /* never NULL; default: the table's own name */
    struct config_refresh refresh;
    double max_drop;       /* fraction 0..1 of the rows that one refresh may drop */
    uint32_t max_stale_ms; /* 0: never stale */
    enum config_on_stale on_stale;
    enum config_on_bad_row on_bad_row;
    uint32_t max_row_bytes;
    unsigned line;
};

#define CONFIG_CACHE_SOCKET "socket" /* in the pond's directory */

/* Lists are NULL if not given, else NULL-terminated. An address is ADDRESS:PORT or unix:/PATH. */
struct config_tls {
    const char *cert, *key; /* PEM files; NULL: none */
    const char *key_password_file;
    const char *ca;
    enum config_tls_clients clients; /* whether they show certificates signed by the ca */
    const char *const *listen;
};

struct config_cache {
    bool enabled; /* the file has the section */
    uint64_t memory_bytes;
    enum config_when_full when_full;
    const char *const *listen;
    const char *socket; /* path of the Unix socket that is always there, in the pond's directory */
    uint32_t socket_mode;
    uint32_t threads;
    uint32_t max_clients;
    uint32_t idle_timeout_ms; /* 0: never */
    uint64_t max_request_bytes;
    uint64_t output_limit_bytes;
    struct config_tls tls;
    const char *users_file;    /* NULL: none */
    const char *password_file; /* of the user `default`; NULL: none */
    uint32_t slow_after_ms;
    uint32_t slow_length;
    uint32_t tracked_keys; /* that are remembered for CLIENT TRACKING; 0: any number */
    const char *notify;    /* letters of keyspace events, "" for none */
};

struct config_ring_node {
    const char *name, *address;
    const char *zone; /* NULL: one of its own */
    uint32_t weight;
};

/* This node's part in a ring. */
struct config_ring {
    bool enabled; /* the file has the section */
    const char *cluster;
    const char *zookeeper;      /* NULL: the nodes are `nodes` */
    const char *zookeeper_user; /* NULL: none */
    const char *zookeeper_password_file;
    uint32_t session_ms;
    const char *node, *address, *zone; /* this one's; zone NULL: one of its own */
    uint32_t weight;
    uint32_t replicas, slots;
    const struct config_ring_node *nodes;
    unsigned node_count;
    const char *file; /* NULL: none */
    uint32_t ack_timeout_ms, compare_ms, tombstones_ms, clock_ahead_ms;
    uint64_t throttle_bytes;   /* a second */
    const char *user;          /* at the other nodes; NULL: the default one */
    const char *password_file; /* NULL: none */
};

/* A Redis server that the agent watches. */
struct config_agent_node {
    const char *name, *address;
    const char *user;          /* NULL: the default user */
    const char *password_file; /* NULL: none */
    const char *zone;          /* NULL: one of its own */
    uint32_t weight;
};

struct config_agent {
    bool enabled; /* the file has the section */
    const char *cluster;
    const char *zookeeper;
    const char *zookeeper_user; /* NULL: none */
    const char *zookeeper_password_file;
    uint32_t session_ms;
    uint32_t replicas, slots;
    uint32_t check_ms, deadline_ms;
    uint64_t throttle_bytes; /* a second */
    const char *file;        /* NULL: none */
    const struct config_agent_node *nodes;
    unsigned node_count;
};

struct config {
    const char *file;      /* the path it came from */
    const char *pond;      /* name */
    const char *directory; /* the pond's directory: default /dev/shm/sidepond/NAME */
    uint64_t memory_bytes; /* the pond's limit */
    bool huge_pages;
    const char *group_name;     /* Unix group that may read the pond; NULL: the daemon's own */
    const char *snapshot_file;  /* NULL: none */
    uint32_t snapshot_every_ms; /* at most one save in this time */
    uint32_t lease_limit_ms;    /* how long a reader's snapshot may pin old versions */
    const char *http_listen;    /* "127.0.0.1:9180"; NULL: off */
    struct config_cache cache;
    struct config_ring ring;
    struct config_agent agent;
    enum config_log_level log_level;
    enum config_log_format log_format;
    enum config_log_target log_target;
    const struct config_source *sources;
    unsigned source_count;
    const struct config_table *tables;
    unsigned table_count;
};

/* Reads and checks a file. On SP_ECONFIG every complaint found, one a line as
 * "FILE:LINE:COLUMN: text", has been written to `complaints`. SP_ESYS: cannot be read (said there
 * too). Warnings are written there as well, with SP_OK. */
int config_load(const char *path, FILE *complaints, struct config **out);

/* The same from memory; `path` is used in messages and to resolve relative paths. `complaints` may
 * be NULL. */
int config_load_buffer(const char *path, const char *data, size_t size, FILE *complaints,
                       struct config **out);
void config_free(struct config *config); /* NULL is fine */

/* The first table of a group in the order of the file, or NULL; and how many the group has. */
const struct config_table *config_first_of_group(const struct config *config, const char *group);
unsigned config_group_size(const struct config *config, const char *group);

/* The password of a source: from its file (trailing newline cut) or its environment variable.
 * `*out` is NULL if neither is configured, else to be freed with config_password_free, which wipes
 * it. SP_ECONFIG, SP_EACCESS or SP_ENOMEM with a sentence in why. With SP_OK, why is "" or a
 * warning (others can read the file). Any thread; the file is read anew each time. */
int config_password(const struct config_source *source, char **out, char *why, size_t why_bytes);
/* The same of any file that holds a password and nothing else. */
int config_password_file(const char *path, char **out, char *why, size_t why_bytes);
void config_password_free(char *password); /* NULL is fine */

/* What the file means, in sentences for people: `sidepondd --check`. */
void config_explain(const struct config *config, FILE *out);

/* Every option with type, default and a line of help, from the same table as the parser: the
 * Markdown of docs/CONFIGURATION.md. */
void config_reference(FILE *out);

#endif
