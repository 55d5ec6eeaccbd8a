/* SPDX-License-Identifier: Apache-2.0
 *
 * tls.c - certificates, and TLS as another way to read and write a socket.
 *
 * A context holds certificate, key and rules; connections keep the one that they began with. New
 * files make a new context, which takes the old one's place only when all of it is right.
 */
#include "server/net/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

/* --- contexts --------------------------------------------------------------------------------- */

/* "FILE: reason", the reason being OpenSSL's first. */
static int wrong(char *why, const char *file)
{
    char reason[256] = "cannot be used";
    unsigned long error = ERR_get_error();
    if (error != 0)
        ERR_error_string_n(error, reason, sizeof(reason));
    const char *last = strrchr(reason, ':');
    snprintf(why, NET_WHY_BYTES, "%s: %s", file, last && last[1] ? last + 1 : reason);
    ERR_clear_error();
    return SP_EINVAL;
}

static int give_password(char *out, int cap, int writing, void *password)
{
    (void)writing;
    int size = (int)strlen(password);
    if (size > cap)
        return 0;
    memcpy(out, password, (size_t)size);
    return size;
}

static int no_password(char *out, int cap, int writing, void *context)
{
    (void)out;
    (void)cap;
    (void)writing;
    (void)context;
    return 0; /* never asks at the terminal */
}

static int load_key(SSL_CTX *context, const struct net_tls *tls, char *why)
{
    if (SSL_CTX_use_certificate_chain_file(context, tls->cert_file) != 1)
        return wrong(why, tls->cert_file);
    SSL_CTX_set_default_passwd_cb(context, tls->key_password ? give_password : no_password);
    SSL_CTX_set_default_passwd_cb_userdata(context, (void *)(uintptr_t)tls->key_password);
    int loaded = SSL_CTX_use_PrivateKey_file(context, tls->key_file, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (loaded != 1)
        return wrong(why, tls->key_file);
    if (SSL_CTX_check_private_key(context) != 1) {
        ERR_clear_error();
        snprintf(why, NET_WHY_BYTES, "%s: the key does not belong to the certificate %s",
                 tls->key_file, tls->cert_file);
        return SP_EINVAL;
    }
    return SP_OK;
}

static int load_clients(SSL_CTX *context, const struct net_tls *tls, char *why)
{
    if (tls->clients == NET_TLS_CLIENTS_ANY)
        return SP_OK;
    if (!tls->ca_file) {
        snprintf(why, NET_WHY_BYTES, "clients' certificates need a file of who may sign them");
        return SP_EINVAL;
    }
    if (SSL_CTX_load_verify_locations(context, tls->ca_file, NULL) != 1)
        return wrong(why, tls->ca_file);
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(tls->ca_file));
    SSL_CTX_set_verify(context,
                       tls->clients == NET_TLS_CLIENTS_REQUIRED
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_PEER,
                       NULL);
    return SP_OK;
}

static int load_ciphers(SSL_CTX *context, const struct net_tls *tls, char *why)
{
    if (tls->ciphers && SSL_CTX_set_cipher_list(context, tls->ciphers) != 1)
        return wrong(why, tls->ciphers);
    if (tls->cipher_suites && SSL_CTX_set_ciphersuites(context, tls->cipher_suites) != 1)
        return wrong(why, tls->cipher_suites);
    return SP_OK;
}

int tls_load(const struct net_tls *tls, SSL_CTX **out, char *why)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) {
        snprintf(why, NET_WHY_BYTES, "out of memory");
        return SP_ENOMEM;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"sidepond", 8);
    int status = load_key(context, tls, why);
    if (status == SP_OK)
        status = load_clients(context, tls, why);
    if (status == SP_OK)
        status = load_ciphers(context, tls, why);
    if (status != SP_OK) {
        SSL_CTX_free(context);
        return status;
    }
    *out = context;
    return SP_OK;
}

bool net_has_tls(struct net *net)
{
    pthread_mutex_lock(&net->tls_lock);
    bool has = net->tls != NULL;
    pthread_mutex_unlock(&net->tls_lock);
    return has;
}

int net_tls_reload(struct net *net, const struct net_tls *tls, char *why)
{
    SSL_CTX *context;
    int status = tls_load(tls, &context, why);
    if (status != SP_OK)
        return status;
    pthread_mutex_lock(&net->tls_lock);
    SSL_CTX *old = net->tls;
    net->tls = context;
    pthread_mutex_unlock(&net->tls_lock);
    SSL_CTX_free(old); /* connections hold it as long as they need it */
    return SP_OK;
}

SSL *tls_new(struct net *net, int fd)
{
    pthread_mutex_lock(&net->tls_lock);
    SSL *ssl = net->tls ? SSL_new(net->tls) : NULL;
    pthread_mutex_unlock(&net->tls_lock);
    if (ssl && SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ssl = NULL;
    }
    if (ssl)
        SSL_set_accept_state(ssl);
    ERR_clear_error();
    return ssl;
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* What a call that did not succeed comes to: 0 at the end, -1 with errno. */
static ssize_t outcome(struct net_connection *connection, int result)
{
    int error = SSL_get_error(connection->ssl, result);
    ERR_clear_error();
    switch (error) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        connection->tls_wants_write = true;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_READ:
        errno = EAGAIN;
        return -1;
    default:
        connection->is_tls_broken = true;
        errno = EPROTO;
        return -1;
    }
}

static int int_size(size_t size)
{
    return size > INT_MAX ? INT_MAX : (int)size;
}

ssize_t tls_read(struct net_connection *connection, void *bytes, size_t cap)
{
    ERR_clear_error();
    int got = SSL_read(connection->ssl, bytes, int_size(cap));
    return got > 0 ? got : outcome(connection, got);
}

ssize_t tls_write(struct net_connection *connection, const void *bytes, size_t size)
{
    ERR_clear_error();
    int sent = SSL_write(connection->ssl, bytes, int_size(size));
    if (sent > 0)
        return sent;
    ssize_t result = outcome(connection, sent);
    if (result == 0)
        errno = EPIPE;
    return -1;
}

void tls_end(struct net_connection *connection)
{
    if (!connection->ssl)
        return;
    if (connection->is_opened && !connection->is_tls_broken && !connection->is_write_blocked)
        SSL_shutdown(connection->ssl);
    ERR_clear_error();
    SSL_free(connection->ssl);
}

int tls_handshake(struct net_connection *connection)
{
    ERR_clear_error();
    int result = SSL_do_handshake(connection->ssl);
    if (result == 1)
        return 1;
    return outcome(connection, result) < 0 && errno == EAGAIN ? 0 : -1;
}
