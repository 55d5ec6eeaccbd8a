/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_uri.c - mariadb://USER@HOST:PORT/DATABASE?PARAMETER=VALUE&... taken apart.
 *
 * Every part is optional and may have percent escapes; an IPv6 address stands in brackets. The
 * parameters are the long options of MariaDB's own clients: socket, ssl, ssl-ca, ssl-capath,
 * ssl-cert, ssl-key, ssl-cipher, ssl-crl, ssl-verify-server-cert. Any of ssl-* turns TLS on; a CA
 * turns the check of the server's certificate on, and of its host unless that is taken back.
 * Nothing of the URI is quoted in an error: a piece in a wrong place may be a password.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/mariadb.h"

#define PORT_MAX 65535

static int bad_uri(const char *name, const char *why, struct source_error *error)
{
    return source_fail(error, SP_ECONFIG, false, "source %s: dsn: %s", name, why);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    const int letter = tolower((unsigned char)c);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Resolves percent escapes in place; false if there is one that is none, or a zero byte. */
static bool unescape(char *text)
{
    char *out = text;
    for (const char *at = text; *at; at++) {
        char c = *at;
        if (c == '%') {
            const int high = hex_digit(at[1]);
            const int low = high < 0 ? -1 : hex_digit(at[2]);
            if (low < 0 || (high == 0 && low == 0))
                return false;
            c = (char)(high * 16 + low);
            at += 2;
        }
        *out++ = c;
    }
    *out = 0;
    return true;
}

static const char *non_empty(const char *text)
{
    return text && *text ? text : NULL;
}

static bool read_port(const char *text, unsigned *port)
{
    unsigned long number = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || number > PORT_MAX)
            return false;
        number = number * 10 + (unsigned long)(*at - '0');
    }
    *port = (unsigned)number;
    return number > 0 && number <= PORT_MAX;
}

/* HOST, HOST:PORT, [ADDRESS]:PORT; all of it may be missing. */
static const char *read_host(char *text, struct maria_uri *out)
{
    char *port = strchr(text, ':');
    if (*text == '[') {
        char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return "the address in brackets does not end";
        port = end[1] ? end + 1 : NULL;
        *end = 0;
        text++;
    }
    if (port)
        *port++ = 0;
    out->host = non_empty(text);
    if (!unescape(text))
        return "a percent escape is wrong";
    return port && !read_port(port, &out->port) ? "the port is no number from 1 to 65535" : NULL;
}

static const char *read_authority(char *text, struct maria_uri *out)
{
    char *at = strrchr(text, '@');
    if (!at)
        return read_host(text, out);
    *at = 0;
    if (strchr(text, ':'))
        return "it holds a password; use password_file or password_env";
    out->user = non_empty(text);
    if (!unescape(text))
        return "a percent escape is wrong";
    return read_host(at + 1, out);
}

/* --- parameters ----------------------------------------------------------------------------- */

static const char *read_flag(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "true", "on"}, *const no[] = {"0", "false", "off"};
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return NULL;
        }
    }
    return "ssl and ssl-verify-server-cert are 1 or 0";
}

struct flags {
    bool ssl, ssl_given, verify, verify_given;
};

static const char *read_parameter(const char *key, const char *value, struct maria_uri *out,
                                  struct flags *flags)
{
    const struct {
        const char *key;
        const char **member;
    } texts[] = {
        {"socket", &out->socket},     {"ssl-ca", &out->ssl_ca},   {"ssl-capath", &out->ssl_capath},
        {"ssl-cert", &out->ssl_cert}, {"ssl-key", &out->ssl_key}, {"ssl-cipher", &out->ssl_cipher},
        {"ssl-crl", &out->ssl_crl},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        if (strcmp(texts[i].key, key) == 0) {
            *texts[i].member = non_empty(value);
            return *value ? NULL : "a parameter has no value";
        }
    }
    if (strcmp(key, "ssl") == 0) {
        flags->ssl_given = true;
        return read_flag(value, &flags->ssl);
    }
    if (strcmp(key, "ssl-verify-server-cert") == 0) {
        flags->verify_given = true;
        return read_flag(value, &flags->verify);
    }
    return "it has an unknown parameter; there are: socket, ssl, ssl-ca, ssl-capath, ssl-cert, "
           "ssl-key, ssl-cipher, ssl-crl, ssl-verify-server-cert";
}

static const char *read_parameters(char *text, struct maria_uri *out, struct flags *flags)
{
    const char *why = NULL;
    char *rest = text;
    for (char *pair; !why && (pair = strsep(&rest, "&"));) {
        char *value = strchr(pair, '=');
        if (!*pair)
            continue;
        if (!value)
            return "a parameter has no value";
        *value++ = 0;
        why = unescape(pair) && unescape(value) ? read_parameter(pair, value, out, flags)
                                                : "a percent escape is wrong";
    }
    return why;
}

static const char *decide_tls(struct maria_uri *out, const struct flags *flags)
{
    const bool any = out->ssl_ca || out->ssl_capath || out->ssl_cert || out->ssl_key ||
                     out->ssl_cipher || out->ssl_crl || flags->verify;
    const bool has_ca = out->ssl_ca || out->ssl_capath;
    if (flags->ssl_given && !flags->ssl && any)
        return "ssl=0 and other ssl parameters exclude each other";
    out->tls = flags->ssl || any;
    out->verify_server = flags->verify_given ? flags->verify : has_ca;
    return out->verify_server && !has_ca ? "ssl-verify-server-cert needs ssl-ca or ssl-capath"
                                         : NULL;
}

/* --- the whole ------------------------------------------------------------------------------ */

static const char *read_uri(char *text, struct maria_uri *out)
{
    struct flags flags = {0};
    char *parameters = strchr(text, '?');
    if (parameters)
        *parameters++ = 0;
    char *path = strchr(text, '/');
    if (path)
        *path++ = 0;
    const char *why = read_authority(text, out);
    if (!why && path && !unescape(path))
        why = "a percent escape is wrong";
    out->database = non_empty(path);
    if (!why && parameters)
        why = read_parameters(parameters, out, &flags);
    return why ? why : decide_tls(out, &flags);
}

int maria_uri_parse(const char *name, const char *dsn, struct maria_uri *out,
                    struct source_error *error)
{
    static const char *const schemes[] = {"mariadb://", "mysql://"};
    *out = (struct maria_uri){0};
    for (unsigned i = 0; i < 2; i++) {
        const size_t bytes = strlen(schemes[i]);
        if (strncmp(dsn, schemes[i], bytes) != 0)
            continue;
        out->text = strdup(dsn + bytes);
        if (!out->text)
            return source_no_memory(error);
        const char *why = read_uri(out->text, out);
        return why ? bad_uri(name, why, error) : SP_OK;
    }
    return bad_uri(name, "it is not a mariadb:// or mysql:// URI", error);
}

void maria_uri_free(struct maria_uri *uri)
{
    free(uri->text);
    *uri = (struct maria_uri){0};
}
