/* SPDX-License-Identifier: Apache-2.0
 *
 * dsn.c - is there a password in how a database is to be reached?
 *
 * Of PostgreSQL both forms that libpq takes are walked as libpq walks them: "keyword = value" pairs
 * with quotes and backslashes, and URIs with user information and parameters. Nothing else of it is
 * judged: the sources do that.
 */
#include <stdbool.h>
#include <string.h>

#include "server/config/values.h"

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *skip_space(const char *p)
{
    while (is_space(*p))
        p++;
    return p;
}

static bool is_secret(const char *keyword, size_t bytes)
{
    return (bytes == 8 && memcmp(keyword, "password", 8) == 0) ||
           (bytes == 11 && memcmp(keyword, "sslpassword", 11) == 0) ||
           (bytes == 3 && memcmp(keyword, "pwd", 3) == 0) ||
           (bytes == 6 && memcmp(keyword, "passwd", 6) == 0);
}

/* Past a value; NULL if its config_quote is never closed. */
static const char *skip_value(const char *p)
{
    bool quoted = *p == '\'';
    if (quoted)
        p++;
    for (; *p && (quoted ? *p != '\'' : !is_space(*p)); p++)
        if (*p == '\\' && p[1])
            p++;
    if (!quoted)
        return p;
    return *p ? p + 1 : NULL;
}

static enum dsn_verdict check_pairs(const char *p)
{
    for (p = skip_space(p); *p; p = skip_space(p)) {
        size_t bytes = strcspn(p, "= \t\n\v\f\r");
        bool secret = is_secret(p, bytes);
        const char *equals = skip_space(p + bytes);
        if (bytes == 0 || *equals != '=')
            return DSN_BROKEN;
        if (secret)
            return DSN_HAS_PASSWORD;
        p = skip_value(skip_space(equals + 1));
        if (!p)
            return DSN_BROKEN;
    }
    return DSN_GOOD;
}

static enum dsn_verdict check_uri(const char *p)
{
    size_t authority = strcspn(p, "/?");
    const char *at = memrchr(p, '@', authority);
    if (at && memchr(p, ':', (size_t)(at - p)))
        return DSN_HAS_PASSWORD;
    const char *query = strchr(p + authority, '?');
    while (query) {
        query++;
        if (is_secret(query, strcspn(query, "=&")))
            return DSN_HAS_PASSWORD;
        query = strchr(query, '&');
    }
    return DSN_GOOD;
}

/* What follows one of two schemes, or NULL. */
static const char *after_scheme(const char *dsn, const char *const schemes[2])
{
    for (unsigned i = 0; i < 2; i++)
        if (strncmp(dsn, schemes[i], strlen(schemes[i])) == 0)
            return dsn + strlen(schemes[i]);
    return NULL;
}

enum dsn_verdict config_check_dsn(const char *dsn)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    const char *uri = after_scheme(dsn, schemes);
    return uri ? check_uri(uri) : check_pairs(dsn);
}

enum dsn_verdict config_check_mariadb_uri(const char *dsn)
{
    static const char *const schemes[] = {"mariadb://", "mysql://"};
    const char *uri = after_scheme(dsn, schemes);
    return uri ? check_uri(uri) : DSN_BROKEN;
}

/* Parameters of MongoDB whose value is a secret, in any case. */
static bool is_mongodb_secret(const char *parameter)
{
    static const char *const secrets[] = {
        "tlscertificatekeyfilepassword=", "sslclientcertificatekeypassword=",
        "authmechanismproperties=aws_session_token", "proxypassword="};
    for (unsigned i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
        if (strncasecmp(parameter, secrets[i], strlen(secrets[i])) == 0)
            return true;
    return false;
}

enum dsn_verdict config_check_mongodb_uri(const char *dsn)
{
    static const char *const schemes[] = {"mongodb://", "mongodb+srv://"};
    const char *p = NULL;
    for (unsigned i = 0; i < 2; i++)
        if (strncmp(dsn, schemes[i], strlen(schemes[i])) == 0)
            p = dsn + strlen(schemes[i]);
    if (!p)
        return DSN_BROKEN;
    /* up to the parameters: a password that was pasted may have a '/' that is not escaped */
    const char *at = memrchr(p, '@', strcspn(p, "?"));
    if (at && memchr(p, ':', (size_t)(at - p)))
        return DSN_HAS_PASSWORD;
    for (const char *q = strchr(p, '?'); q; q = strpbrk(q, "&;"))
        if (is_mongodb_secret(++q))
            return DSN_HAS_PASSWORD;
    return DSN_GOOD;
}
