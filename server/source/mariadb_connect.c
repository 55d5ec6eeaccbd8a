/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_connect.c - opening and ending a connection to MariaDB or MySQL.
 *
 * No option file is read. The server cannot ask for a local file, and it is told the password in
 * clear through TLS only, whatever way of authentication it asks for.
 *
 * The session is read-only, at REPEATABLE READ, and in UTC. Of its sql_mode only what changes the
 * text of values (PAD_CHAR_TO_FULL_LENGTH) is taken away: `query` and `where` mean what they mean
 * to the role elsewhere.
 *
 * A statement that is left in the middle goes on at the server until its next write to us; so it
 * is killed by another connection, for which there is a second.
 *
 * Limits: the lookup of a host name is libmariadb's and blocks.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "alloc/clock.h"
#include "server/source/mariadb.h"

#define KILL_MS     1000
#define STACK_BYTES (256 << 10) /* of a suspended call: TLS, look-ups */

#define KEEPALIVE_IDLE_S     30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT      3
#define UNANSWERED_MS        30000

/* What a server without TLS may ask for: none of these tells it the password. */
#define SAFE_AUTHENTICATION                                                                        \
    "mysql_native_password,client_ed25519,caching_sha2_password,sha256_password"

/* --- options -------------------------------------------------------------------------------- */

static void set_tls(MYSQL *conn, const struct maria_uri *uri)
{
    const my_bool on = 1;
    const my_bool verify = uri->verify_server;
    if (!uri->tls) {
        mysql_optionsv(conn, MARIADB_OPT_RESTRICTED_AUTH, SAFE_AUTHENTICATION);
        return;
    }
    mysql_optionsv(conn, MYSQL_OPT_SSL_ENFORCE, &on);
    mysql_optionsv(conn, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    mysql_optionsv(conn, MYSQL_OPT_SSL_CA, uri->ssl_ca);
    mysql_optionsv(conn, MYSQL_OPT_SSL_CAPATH, uri->ssl_capath);
    mysql_optionsv(conn, MYSQL_OPT_SSL_CERT, uri->ssl_cert);
    mysql_optionsv(conn, MYSQL_OPT_SSL_KEY, uri->ssl_key);
    mysql_optionsv(conn, MYSQL_OPT_SSL_CIPHER, uri->ssl_cipher);
    mysql_optionsv(conn, MYSQL_OPT_SSL_CRL, uri->ssl_crl);
}

static void set_options(MYSQL *conn, const struct source_options *options,
                        const struct maria_uri *uri)
{
    char program[256];
    const size_t stack_bytes = STACK_BYTES;
    const unsigned int off = 0;
    const unsigned int tcp = MYSQL_PROTOCOL_TCP;
    snprintf(program, sizeof(program), "sidepond/%s", options->name);
    mysql_optionsv(conn, MYSQL_OPT_NONBLOCK, &stack_bytes);
    mysql_optionsv(conn, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_optionsv(conn, MYSQL_OPT_LOCAL_INFILE, &off);
    mysql_optionsv(conn, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", program);
    if (uri->port && !uri->socket) /* the library takes its default socket for "localhost" */
        mysql_optionsv(conn, MYSQL_OPT_PROTOCOL, &tcp);
    set_tls(conn, uri);
}

/* Whether the other side is still there is asked in silence; a Unix socket takes none of it. */
static void set_keepalive(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, UNANSWERED_MS},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof(options[i].value));
}

/* --- connecting ----------------------------------------------------------------------------- */

static int dial(struct source *source, struct source_error *error)
{
    const struct maria_uri *uri = &source->uri;
    const struct source_options *options = source->options;
    MYSQL *connected = NULL;
    source->conn = mysql_init(NULL);
    if (!source->conn)
        return source_no_memory(error);
    set_options(source->conn, options, uri);
    int wait = mysql_real_connect_start(
        &connected, source->conn, uri->socket ? "localhost" : uri->host, uri->user,
        options->password, uri->database, uri->port, uri->socket, CLIENT_REMEMBER_OPTIONS);
    while (wait)
        wait = mysql_real_connect_cont(&connected, source->conn, maria_wait(source, wait));
    if (!connected || source->cut != CUT_NOT)
        return maria_failed(source, NULL, error);
    set_keepalive(mysql_get_socket(source->conn));
    source->connected = true;
    return SP_OK;
}

/* sql_mode is a list without blanks; an empty entry is allowed in it. */
static int prepare_session(struct source *source, struct source_error *error)
{
    char sql[512];
    const uint32_t limit = source->options->statement_timeout_ms;
    char timeout[96];
    if (mariadb_connection(source->conn))
        snprintf(timeout, sizeof(timeout),
                 ", max_statement_time = %u.%03u, idle_transaction_timeout = 600", limit / 1000,
                 limit % 1000);
    else
        snprintf(timeout, sizeof(timeout), ", max_execution_time = %u", limit);
    snprintf(sql, sizeof(sql),
             "SET SESSION time_zone = '+00:00', net_write_timeout = 600,"
             " sql_mode = REPLACE(@@sql_mode, 'PAD_CHAR_TO_FULL_LENGTH', '')%s",
             timeout);
    const int status = maria_query(source, NULL, sql, NULL, error);
    if (status != SP_OK)
        return status;
    return maria_query(source, NULL,
                       "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", NULL,
                       error);
}

int maria_connect(struct source *source, struct source_error *error)
{
    const uint32_t limit = source->options->connect_timeout_ms;
    source->deadline_ms = limit ? clock_ms() + limit : 0;
    int status = maria_uri_parse(source->options->name, source->options->dsn, &source->uri, error);
    if (status == SP_OK)
        status = dial(source, error);
    return status == SP_OK ? prepare_session(source, error) : status;
}

/* --- ending --------------------------------------------------------------------------------- */

static void kill_statement(const struct source *source)
{
    char sql[64];
    struct source_error ignored;
    struct source_options options = *source->options;
    struct source killer = {.options = &options, .deadline_ms = clock_ms() + KILL_MS};
    killer.wake = &killer.waker;
    if (waker_open(&killer.waker) != SP_OK)
        return;
    snprintf(sql, sizeof(sql), "KILL %lu", mysql_thread_id(source->conn));
    if (maria_uri_parse(options.name, options.dsn, &killer.uri, &ignored) == SP_OK &&
        dial(&killer, &ignored) == SP_OK)
        maria_query(&killer, NULL, sql, NULL, &ignored);
    killer.running = false;
    maria_disconnect(&killer);
    waker_close(&killer.waker);
}

void maria_abandon(struct source *source)
{
    shutdown(mysql_get_socket(source->conn), SHUT_RDWR);
}

void maria_disconnect(struct source *source)
{
    if (source->conn && source->broken) /* or the farewell would wait for who does not listen */
        maria_abandon(source);
    if (source->conn && source->connected && source->running)
        kill_statement(source);
    if (source->conn)
        mysql_close(source->conn);
    source->conn = NULL;
    maria_uri_free(&source->uri);
}
