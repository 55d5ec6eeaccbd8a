/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c - the table of options, and finding the key that was meant.
 *
 * Adding an option is adding one line here (and, where it has a meaning of its own beyond its
 * range, a rule in rules.c). Limits: OPTION_COUNT_MAX options a section, kept by a static_assert.
 */
#include "server/config/options.h"

#include <assert.h>
#include <string.h>

#include "server/config/config.h"
#include "server/config/option_table.h"

static const char *const source_types[] = {"sqlite",  "postgresql", "mariadb", "mysql",
                                           "mongodb", "module",     NULL};
static const char *const refresh_modes[] = {"full", "incremental", "notified", "feed", NULL};
static const char *const follower_words[] = {"permanent", "temporary", NULL};
static const char *const on_stale_words[] = {"serve", "fail", NULL};
static const char *const on_bad_row_words[] = {"skip", "fail", NULL};
static const char *const when_full_words[] = {"evict", "refuse", NULL};
static const char *const tls_clients_words[] = {"none", "optional", "required", NULL};
static const char *const notify_letters[] = {"KEg$lshzxetdmnA", NULL};
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const log_targets[] = {"stderr", "journal", NULL};

static const struct option snapshot_options[] = {
    {.key = "file",
     .kind = OPTION_PATH,
     .required = true,
     MEMBER(struct config, snapshot_file),
     .help = "Where the pond is saved, to be served at a start while the database is down."},
    {.key = "every",
     .kind = OPTION_DURATION,
     MEMBER(struct config, snapshot_every_ms),
     .min = SECONDS(1),
     .max = DAYS(7),
     .fallback = "1m",
     .help = "It is saved after a commit, but at most once in this time."},
};
SECTION(snapshot, struct config, "snapshot", "A copy of the pond on disk.");

static const struct option http_options[] = {
    {.key = "listen",
     .kind = OPTION_ADDRESS,
     .required = true,
     MEMBER(struct config, http_listen),
     .help = "ADDRESS:PORT for /metrics, /healthz and /readyz. Keep it on loopback: there is no "
             "authentication."},
};
SECTION(http, struct config, "http", "Metrics and health over HTTP. Off unless given.");

static const struct option log_options[] = {
    {.key = "level",
     .kind = OPTION_CHOICE,
     MEMBER(struct config, log_level),
     .choices = log_levels,
     .fallback = "info",
     .help = "The least severe messages that are still logged."},
    {.key = "format",
     .kind = OPTION_CHOICE,
     MEMBER(struct config, log_format),
     .choices = log_formats,
     .fallback = "text",
     .help = "Lines for people, or one JSON object a line."},
    {.key = "target",
     .kind = OPTION_CHOICE,
     MEMBER(struct config, log_target),
     .choices = log_targets,
     .fallback = "stderr",
     .help = "Standard error, or the systemd journal with fields."},
};
SECTION(log, struct config, "log", "What the daemon says of itself.");

static const struct option agent_node_options[] = {
    {.key = "name",
     .kind = OPTION_NAME,
     .required = true,
     MEMBER(struct config_agent_node, name),
     .help = "What the ring calls it; no other node of the ring has this name."},
    {.key = "address",
     .kind = OPTION_TEXT,
     .required = true,
     MEMBER(struct config_agent_node, address),
     .min = 3,
     .max = 127,
     .help = "Where the agent and all clients reach it: HOST:PORT, [ADDRESS]:PORT or unix:/PATH."},
    {.key = "user",
     .kind = OPTION_TEXT,
     MEMBER(struct config_agent_node, user),
     .min = 1,
     .max = 255,
     .otherwise = "the default user",
     .help = "Who the agent logs in as, here and at the nodes that it copies from."},
    {.key = "password_file",
     .kind = OPTION_PATH,
     MEMBER(struct config_agent_node, password_file),
     .help = "A file with the password and nothing else."},
    {.key = "zone",
     .kind = OPTION_TEXT,
     MEMBER(struct config_agent_node, zone),
     .min = 1,
     .max = 31,
     .otherwise = "one of its own",
     .help = "No two copies of a key lie in one zone, where there are enough zones."},
    {.key = "weight",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_agent_node, weight),
     .min = 1,
     .max = 1000,
     .fallback = "100",
     .help = "Its share of the keys, in proportion to the other nodes' weights."},
};
SECTION(agent_node, struct config_agent_node, "agent.nodes[]", "The Redis servers it watches.");

static const struct option agent_options[] = {
    {.key = "cluster",
     .kind = OPTION_NAME,
     MEMBER(struct config_agent, cluster),
     .fallback = "main",
     .help = "The ring's name in ZooKeeper."},
    {.key = "zookeeper",
     .kind = OPTION_TEXT,
     .required = true,
     MEMBER(struct config_agent, zookeeper),
     .min = 3,
     .max = KIB(1),
     .help = "HOST:PORT,HOST:PORT/CHROOT of the servers of ZooKeeper."},
    {.key = "zookeeper_user",
     .kind = OPTION_NAME,
     MEMBER(struct config_agent, zookeeper_user),
     .otherwise = "none",
     .help = "The user of the digest ACL of what the ring writes there."},
    {.key = "zookeeper_password_file",
     .kind = OPTION_PATH,
     MEMBER(struct config_agent, zookeeper_password_file),
     .help = "A file with that user's password and nothing else."},
    {.key = "session",
     .kind = OPTION_DURATION,
     MEMBER(struct config_agent, session_ms),
     .min = MS(100),
     .max = MINUTES(5),
     .fallback = "4s",
     .help = "How long ZooKeeper waits for an agent before it takes its nodes out."},
    {.key = "replicas",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_agent, replicas),
     .min = 1,
     .max = 3,
     .fallback = "2",
     .help = "Copies of each key. All nodes of a ring agree on it."},
    {.key = "slots",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_agent, slots),
     .min = 16,
     .max = 16384,
     .fallback = "16384",
     .help = "Slots of the ring, a power of two. All nodes of a ring agree on it."},
    {.key = "check",
     .kind = OPTION_DURATION,
     MEMBER(struct config_agent, check_ms),
     .min = MS(50),
     .max = MINUTES(1),
     .fallback = "500ms",
     .help = "How often each node is asked whether it is well."},
    {.key = "deadline",
     .kind = OPTION_DURATION,
     MEMBER(struct config_agent, deadline_ms),
     .min = MS(10),
     .max = MINUTES(1),
     .fallback = "1s",
     .help = "A node that has not answered by then is taken out of the ring until it does."},
    {.key = "throttle",
     .kind = OPTION_SIZE,
     MEMBER(struct config_agent, throttle_bytes),
     .min = KIB(64),
     .max = TIB(1),
     .fallback = "64MiB",
     .help = "The most bytes a second that are copied to a node."},
    {.key = "file",
     .kind = OPTION_PATH,
     MEMBER(struct config_agent, file),
     .otherwise = "none",
     .help = "Where the ring's last map is kept, for starts while ZooKeeper is away."},
    {.key = "nodes",
     .kind = OPTION_SECTIONS,
     .required = true,
     MEMBER(struct config_agent, nodes),
     .count_offset = offsetof(struct config_agent, node_count),
     .min = 1,
     .max = 64,
     .section = &agent_node_section,
     .help = "The Redis servers it watches."},
};
SECTION(agent, struct config_agent, "agent",
        "Redis servers as nodes of a ring, for `sidepondd --agent`.");

static const struct option source_options[] = {
    {.key = "name",
     .kind = OPTION_NAME,
     .required = true,
     MEMBER(struct config_source, name),
     .help = "What tables call it."},
    {.key = "type",
     .kind = OPTION_WORD,
     .required = true,
     MEMBER(struct config_source, type),
     .choices = source_types,
     .help = "Which kind of database it is."},
    {.key = "path",
     .kind = OPTION_PATH,
     MEMBER(struct config_source, path),
     .only = "sqlite",
     .otherwise = "required",
     .help = "The database file."},
    {.key = "dsn",
     .kind = OPTION_TEXT,
     MEMBER(struct config_source, dsn),
     .min = 1,
     .max = KIB(4),
     .only = "postgresql, mariadb, mysql, mongodb, module",
     .otherwise = "required",
     .help = "postgresql: a libpq connection string or URI; mariadb and mysql: "
             "mariadb://USER@HOST:PORT/DATABASE?PARAMETER=VALUE; mongodb: a mongodb:// or "
             "mongodb+srv:// URI; module: what the module takes, or nothing. Without a password."},
    {.key = "module",
     .kind = OPTION_PATH,
     MEMBER(struct config_source, module),
     .only = "module",
     .otherwise = "required",
     .help = "The shared object of a source that is not built in."},
    {.key = "password_file",
     .kind = OPTION_PATH,
     MEMBER(struct config_source, password_file),
     .only = "postgresql, mariadb, mysql, mongodb, module",
     .help = "A file with the password and nothing else."},
    {.key = "password_env",
     .kind = OPTION_TEXT,
     MEMBER(struct config_source, password_env),
     .min = 1,
     .max = 128,
     .only = "postgresql, mariadb, mysql, mongodb, module",
     .help = "The environment variable that holds the password."},
    {.key = "connect_timeout",
     .kind = OPTION_DURATION,
     MEMBER(struct config_source, connect_timeout_ms),
     .min = MS(100),
     .max = MINUTES(10),
     .fallback = "5s",
     .help = "How long connecting may take."},
    {.key = "statement_timeout",
     .kind = OPTION_DURATION,
     MEMBER(struct config_source, statement_timeout_ms),
     .min = 0,
     .max = DAYS(1),
     .fallback = "5m",
     .help = "How long one query may take; 0s: as long as it likes."},
    {.key = "publication",
     .kind = OPTION_NAME,
     MEMBER(struct config_source, publication),
     .only = "postgresql",
     .otherwise = "sidepond",
     .help = "Which publication tables of mode feed are followed by."},
    {.key = "follower",
     .kind = OPTION_CHOICE,
     MEMBER(struct config_source, follower),
     .choices = follower_words,
     .only = "postgresql",
     .fallback = "permanent",
     .help = "Whether the database keeps changes while a group of mode feed is not connected. "
             "temporary: it does not, so all rows are read with each connection, and nothing stays "
             "behind where every start has another host name."},
    {.key = "max_lag",
     .kind = OPTION_SIZE,
     MEMBER(struct config_source, max_lag_bytes),
     .min = 0,
     .max = TIB(1024),
     .fallback = "1GiB",
     .help =
         "How much the database may keep for a group of mode feed that does not keep up. Beyond "
         "it that is dropped, and the group loads anew. 0B: as much as it likes."},
};
SECTION(source, struct config_source, "sources[]", "The databases.");

static const struct option index_options[] = {
    {.key = "name",
     .kind = OPTION_NAME,
     .required = true,
     MEMBER(struct config_index, name),
     .help = "What readers call it."},
    {.key = "columns",
     .kind = OPTION_LIST,
     .required = true,
     MEMBER(struct config_index, columns),
     .min = 1,
     .max = 16,
     .help = "What it finds rows by."},
    {.key = "unique",
     .kind = OPTION_BOOL,
     MEMBER(struct config_index, unique),
     .fallback = "false",
     .help = "No two rows agree in these columns."},
};
SECTION(index, struct config_index, "tables[].indexes[]", "Secondary indexes of a table.");

static const struct option refresh_options[] = {
    {.key = "mode",
     .kind = OPTION_CHOICE,
     MEMBER(struct config_refresh, mode),
     .choices = refresh_modes,
     .fallback = "full",
     .help =
         "full reads every row and compares; incremental reads what changed since the highest "
         "watermark; notified reads when the database says that something changed; feed takes each "
         "change as the database tells it."},
    {.key = "every",
     .kind = OPTION_DURATION,
     MEMBER(struct config_refresh, every_ms),
     .min = MS(10),
     .max = DAYS(30),
     .otherwise = "10s; notified: 10ms",
     .help = "The pause between the end of one refresh and the start of the next; notified: the "
             "shortest such pause; feed: that of full refreshes while the feed is not possible."},
    {.key = "full_every",
     .kind = OPTION_DURATION,
     MEMBER(struct config_refresh, full_every_ms),
     .min = SECONDS(1),
     .max = DAYS(30),
     .otherwise = "1h; feed: 24h",
     .help = "incremental and notified: a full pass at least this often. It finds deleted rows and "
             "changes that were missed. feed: so often all rows are compared with the database."},
    {.key = "watermark",
     .kind = OPTION_TEXT,
     MEMBER(struct config_refresh, watermark),
     .min = 1,
     .max = 255,
     .otherwise = "notified: none; incremental: required",
     .help = "A column that grows with each change, such as updated_at: only rows beyond the "
             "highest one seen are read. notified without it: all rows are read."},
    {.key = "overlap",
     .kind = OPTION_OVERLAP,
     MEMBER(struct config_refresh, overlap),
     .min = 0,
     .max = INT64_MAX,
     .fallback = "0",
     .help = "How far behind the highest watermark reading starts, so that a "
             "transaction that commits late is not missed. A duration for timestamps, a number "
             "for integers."},
    {.key = "channel",
     .kind = OPTION_TEXT,
     MEMBER(struct config_refresh, channel),
     .min = 1,
     .max = 63,
     .otherwise = "sidepond_TABLE",
     .help = "notified, postgresql: the LISTEN channel."},
};
SECTION(refresh, struct config_refresh, "tables[].refresh", "How a table is kept fresh.");

static const struct option table_options[] = {
    {.key = "name",
     .kind = OPTION_NAME,
     .required = true,
     MEMBER(struct config_table, name),
     .help = "What readers call it."},
    {.key = "source",
     .kind = OPTION_NAME,
     .required = true,
     MEMBER(struct config_table, source_name),
     .help = "The name of the source it comes from."},
    {.key = "relation",
     .kind = OPTION_TEXT,
     MEMBER(struct config_table, relation),
     .min = 1,
     .max = 255,
     .otherwise = "the table's name",
     .help = "The table or view in the database, with its schema if need be; mongodb: the "
             "collection, with its database if the dsn names none."},
    {.key = "query",
     .kind = OPTION_TEXT,
     MEMBER(struct config_table, query),
     .min = 1,
     .max = KIB(64),
     .help = "A SELECT, in place of relation; mongodb: an aggregation pipeline on relation, in "
             "extended JSON."},
    {.key = "columns",
     .kind = OPTION_LIST,
     MEMBER(struct config_table, columns),
     .min = 1,
     .max = 1024,
     .otherwise = "all",
     .help = "The columns to hold; mongodb: the paths that documents keep."},
    {.key = "where",
     .kind = OPTION_TEXT,
     MEMBER(struct config_table, where),
     .min = 1,
     .max = KIB(64),
     .help = "An SQL condition: only these rows; mongodb: a filter in extended JSON."},
    {.key = "key",
     .kind = OPTION_LIST,
     .required = true,
     MEMBER(struct config_table, key),
     .min = 1,
     .max = 16,
     .help = "The columns that identify a row."},
    {.key = "indexes",
     .kind = OPTION_SECTIONS,
     MEMBER(struct config_table, indexes),
     .count_offset = offsetof(struct config_table, index_count),
     .max = 16,
     .section = &index_section,
     .help = "Secondary indexes."},
    {.key = "group",
     .kind = OPTION_NAME,
     MEMBER(struct config_table, group),
     .otherwise = "the table's name",
     .help = "Tables of one group are read in one database snapshot and committed together."},
    {.key = "refresh",
     .kind = OPTION_SECTION,
     MEMBER(struct config_table, refresh),
     .section = &refresh_section,
     .help = "How it is kept fresh."},
    {.key = "max_drop",
     .kind = OPTION_PERCENT,
     MEMBER(struct config_table, max_drop),
     .min = 0,
     .max = 100,
     .fallback = "50%",
     .help = "A refresh that would remove more of the rows than this is held back."},
    {.key = "max_stale",
     .kind = OPTION_DURATION,
     MEMBER(struct config_table, max_stale_ms),
     .min = MS(10),
     .max = DAYS(30),
     .otherwise = "never stale",
     .help = "Rows not confirmed for this long are stale."},
    {.key = "on_stale",
     .kind = OPTION_CHOICE,
     MEMBER(struct config_table, on_stale),
     .choices = on_stale_words,
     .fallback = "serve",
     .help = "What readers get of a stale table: its rows all the same, or an error."},
    {.key = "on_bad_row",
     .kind = OPTION_CHOICE,
     MEMBER(struct config_table, on_bad_row),
     .choices = on_bad_row_words,
     .fallback = "skip",
     .help = "A row with a NULL or repeated key, too large, or of broken encoding: skip and count "
             "it, or fail the refresh."},
    {.key = "max_row",
     .kind = OPTION_SIZE,
     MEMBER(struct config_table, max_row_bytes),
     .min = KIB(1),
     .max = MIB(64),
     .fallback = "1MiB",
     .help = "A larger row is a bad row."},
};
SECTION(table, struct config_table, "tables[]", "The tables that the pond holds.");

static const struct option tls_options[] = {
    {.key = "cert",
     .kind = OPTION_PATH,
     MEMBER(struct config_tls, cert),
     .help = "The server's certificate in PEM, the chain behind it."},
    {.key = "key",
     .kind = OPTION_PATH,
     MEMBER(struct config_tls, key),
     .help = "The certificate's private key in PEM."},
    {.key = "key_password_file",
     .kind = OPTION_PATH,
     MEMBER(struct config_tls, key_password_file),
     .help = "A file with the password of the key and nothing else, if it has one."},
    {.key = "ca",
     .kind = OPTION_PATH,
     MEMBER(struct config_tls, ca),
     .help = "Certificates in PEM of those who may sign clients' certificates."},
    {.key = "clients",
     .kind = OPTION_CHOICE,
     MEMBER(struct config_tls, clients),
     .choices = tls_clients_words,
     .fallback = "none",
     .help = "Whether clients show a certificate: never asked, checked where one is shown, or "
             "required."},
    {.key = "listen",
     .kind = OPTION_LISTENS,
     MEMBER(struct config_tls, listen),
     .min = 1,
     .max = 16,
     .help = "Where clients connect with TLS."},
};
SECTION(tls, struct config_tls, "cache.tls", "Encrypted connections.");

static const struct option cache_options[] = {
    {.key = "memory",
     .kind = OPTION_SIZE,
     MEMBER(struct config_cache, memory_bytes),
     .min = MIB(1),
     .max = TIB(1),
     .otherwise = "half of the pond's `memory`",
     .help = "The most of the pond's memory that the cache may take. The tables get the rest."},
    {.key = "when_full",
     .kind = OPTION_CHOICE,
     MEMBER(struct config_cache, when_full),
     .choices = when_full_words,
     .fallback = "evict",
     .help = "Entries that are little used go, or writes are refused."},
    {.key = "listen",
     .kind = OPTION_LISTENS,
     MEMBER(struct config_cache, listen),
     .min = 1,
     .max = 16,
     .help = "Where clients connect, besides the Unix socket `socket` in the pond's directory, "
             "which is always there. ADDRESS:PORT or unix:/PATH."},
    {.key = "socket_mode",
     .kind = OPTION_MODE,
     MEMBER(struct config_cache, socket_mode),
     .fallback = "0660",
     .help = "Permissions of the Unix sockets; their group is the pond's `group`."},
    {.key = "threads",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_cache, threads),
     .min = 1,
     .max = 64,
     .fallback = "1",
     .help = "How many threads serve clients. A change needs a restart."},
    {.key = "max_clients",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_cache, max_clients),
     .min = 1,
     .max = 1000000,
     .fallback = "10000",
     .help = "More connections than this are refused."},
    {.key = "idle_timeout",
     .kind = OPTION_DURATION,
     MEMBER(struct config_cache, idle_timeout_ms),
     .min = 0,
     .max = DAYS(30),
     .fallback = "0s",
     .help = "Clients that are silent for so long are disconnected; 0s: never."},
    {.key = "max_request",
     .kind = OPTION_SIZE,
     MEMBER(struct config_cache, max_request_bytes),
     .min = KIB(64),
     .max = MIB(1024),
     .fallback = "512MiB",
     .help =
         "The most bytes that one request may have; a longer one is answered with an error, and "
         "the connection closed."},
    {.key = "output_limit",
     .kind = OPTION_SIZE,
     MEMBER(struct config_cache, output_limit_bytes),
     .min = MIB(1),
     .max = TIB(1),
     .fallback = "256MiB",
     .help = "A client for whom more than this waits to be sent is disconnected."},
    {.key = "tls",
     .kind = OPTION_SECTION,
     MEMBER(struct config_cache, tls),
     .section = &tls_section,
     .otherwise = "off",
     .help = "Encrypted connections."},
    {.key = "users_file",
     .kind = OPTION_PATH,
     MEMBER(struct config_cache, users_file),
     .help = "Users and what they may do: a line `user NAME RULES...` for each, as in Redis' ACL "
             "file."},
    {.key = "password_file",
     .kind = OPTION_PATH,
     MEMBER(struct config_cache, password_file),
     .help = "A file with the password of the user `default` and nothing else; not with "
             "users_file, which has that user too."},
    {.key = "slow_after",
     .kind = OPTION_DURATION,
     MEMBER(struct config_cache, slow_after_ms),
     .min = 0,
     .max = HOURS(1),
     .fallback = "10ms",
     .help = "Commands that take longer are kept in the slow log; 0s: all of them."},
    {.key = "slow_length",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_cache, slow_length),
     .min = 0,
     .max = 100000,
     .fallback = "128",
     .help = "How many the slow log keeps."},
    {.key = "tracked_keys",
     .kind = OPTION_NUMBER,
     MEMBER(struct config_cache, tracked_keys),
     .min = 0,
     .max = 1000000000,
     .fallback = "1000000",
     .help = "How many keys are remembered for clients that keep copies (CLIENT TRACKING), in up "
             "to 512 bytes each; those beyond are told to have changed. 0: any number."},
    {.key = "notify",
     .kind = OPTION_LETTERS,
     MEMBER(struct config_cache, notify),
     .choices = notify_letters,
     .max = 15,
     .otherwise = "none",
     .help = "Which events of keys are published: the letters of Redis' notify-keyspace-events."},
};
SECTION(cache, struct config_cache, "cache",
        "The cache server, for clients of the Redis protocol. Off unless the section is there; "
        "`cache: {}` is enough.");

static const struct option top_options[] = {
    {.key = "pond",
     .kind = OPTION_NAME,
     MEMBER(struct config, pond),
     .fallback = "main",
     .help = "The pond's name; readers open it by this."},
    {.key = "memory",
     .kind = OPTION_SIZE,
     MEMBER(struct config, memory_bytes),
     .min = MIB(1),
     .max = TIB(1),
     .fallback = "256MiB",
     .help = "The most memory that the pond may take."},
    {.key = "directory",
     .kind = OPTION_PATH,
     MEMBER(struct config, directory),
     .otherwise = "/dev/shm/sidepond/POND",
     .help = "Where the pond's files are; on tmpfs."},
    {.key = "huge_pages",
     .kind = OPTION_BOOL,
     MEMBER(struct config, huge_pages),
     .fallback = "true",
     .help =
         "Huge pages where the system grants them (Linux 6.1 and later): faster reads of a large "
         "pond, for memory taken in steps of 2 MiB."},
    {.key = "group",
     .kind = OPTION_TEXT,
     MEMBER(struct config, group_name),
     .min = 1,
     .max = 32,
     .otherwise = "the daemon's own",
     .help = "The Unix group that may read the pond."},
    {.key = "lease_limit",
     .kind = OPTION_DURATION,
     MEMBER(struct config, lease_limit_ms),
     .min = MS(100),
     .max = HOURS(1),
     .fallback = "60s",
     .help = "How long a reader's snapshot may keep old rows in memory."},
    {.key = "snapshot",
     .kind = OPTION_SECTION,
     .section = &snapshot_section,
     .otherwise = "off",
     .help = "A copy on disk."},
    {.key = "http",
     .kind = OPTION_SECTION,
     .section = &http_section,
     .otherwise = "off",
     .help = "Metrics and health."},
    {.key = "cache",
     .kind = OPTION_SECTION,
     MEMBER(struct config, cache),
     .section = &cache_section,
     .otherwise = "off",
     .help = "The cache server."},
    {.key = "agent",
     .kind = OPTION_SECTION,
     .section = &agent_section,
     MEMBER(struct config, agent),
     .otherwise = "off",
     .help = "Redis servers in a ring; with `--agent` only."},
    {.key = "ring",
     .kind = OPTION_SECTION,
     MEMBER(struct config, ring),
     .section = &config_ring_section,
     .otherwise = "off",
     .help = "This node's part in a ring."},
    {.key = "log", .kind = OPTION_SECTION, .section = &log_section, .help = "Logging."},
    {.key = "sources",
     .kind = OPTION_SECTIONS,
     .otherwise = "required without `cache`",
     MEMBER(struct config, sources),
     .count_offset = offsetof(struct config, source_count),
     .min = 1,
     .max = 256,
     .section = &source_section,
     .help = "The databases."},
    {.key = "tables",
     .kind = OPTION_SECTIONS,
     .otherwise = "required without `cache`",
     MEMBER(struct config, tables),
     .count_offset = offsetof(struct config, table_count),
     .min = 1,
     .max = 256, /* SP_TABLES_MAX: what a pond has */
     .section = &table_section,
     .help = "The tables."},
};
static_assert(sizeof(top_options) / sizeof(top_options[0]) <= OPTION_COUNT_MAX,
              "raise OPTION_COUNT_MAX");

const struct section config_options = {
    .path = "",
    .help = "The pond.",
    .options = top_options,
    .option_count = sizeof(top_options) / sizeof(top_options[0]),
    .struct_bytes = sizeof(struct config),
};

const struct option *config_option_find(const struct section *section, const char *key)
{
    for (unsigned i = 0; i < section->option_count; i++)
        if (strcmp(section->options[i].key, key) == 0)
            return &section->options[i];
    return NULL;
}

enum { WORD_MAX = 40 };

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Insertions, deletions and replacements that make a into b; neither longer than WORD_MAX. */
static unsigned edit_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    unsigned row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_bytes; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_bytes; j++) {
            unsigned above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_bytes];
}

/* How far a word is from what was written: small is near, WORD_MAX is not near at all. */
static unsigned word_distance(const char *word, const char *written)
{
    size_t a = strlen(written);
    size_t b = strlen(word);
    if (a == 0 || a > WORD_MAX || b > WORD_MAX)
        return WORD_MAX;
    unsigned distance = edit_distance(written, a, word, b);
    if (distance <= 2 && distance * 2 < b)
        return distance;
    if (a >= 3 && (strncmp(word, written, a) == 0 || strncmp(word, written, b) == 0))
        return 3;
    return WORD_MAX;
}

const char *config_option_near(const struct section *section, const char *key)
{
    const char *best = NULL;
    unsigned best_distance = WORD_MAX;
    for (unsigned i = 0; i < section->option_count; i++) {
        unsigned distance = word_distance(section->options[i].key, key);
        if (distance < best_distance) {
            best_distance = distance;
            best = section->options[i].key;
        }
    }
    return best;
}

const char *config_word_near(const char *const *words, const char *word)
{
    const char *best = NULL;
    unsigned best_distance = WORD_MAX;
    for (; *words; words++) {
        unsigned distance = word_distance(*words, word);
        if (distance < best_distance) {
            best_distance = distance;
            best = *words;
        }
    }
    return best;
}
