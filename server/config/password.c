/* SPDX-License-Identifier: Apache-2.0
 *
 * password.c - passwords of sources, and of the cache's users and keys.
 *
 * A source's is read anew for each connection, so that a changed password needs no restart, and
 * wiped after use. It appears in no message. Limits: PASSWORD_BYTES_MAX.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/config/config.h"

enum { PASSWORD_BYTES_MAX = 4096 };

/* Everything there is, up to `bytes`; -1 with errno. */
static ssize_t read_all(int fd, char *buffer, size_t bytes)
{
    size_t have = 0;
    while (have < bytes) {
        ssize_t n = read(fd, buffer + have, bytes - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

static int fail_errno(const char *path, char *why, size_t why_bytes)
{
    int status = errno == EACCES || errno == EPERM ? SP_EACCESS : SP_ECONFIG;
    snprintf(why, why_bytes, "password file %s cannot be read: %s", path, strerror(errno));
    return status;
}

/* Cuts one line end and checks that what is left can be a password. */
static int check_password(const char *path, char *password, size_t bytes, char *why,
                          size_t why_bytes)
{
    if (bytes > 0 && password[bytes - 1] == '\n')
        bytes--;
    if (bytes > 0 && password[bytes - 1] == '\r')
        bytes--;
    password[bytes] = '\0';
    const char *fault = NULL;
    if (bytes == 0)
        fault = "is empty";
    else if (bytes > PASSWORD_BYTES_MAX)
        fault = "is too large to hold a password and nothing else";
    else if (strlen(password) != bytes)
        fault = "holds a zero byte";
    else if (strchr(password, '\n'))
        fault = "has more than one line";
    if (!fault)
        return SP_OK;
    snprintf(why, why_bytes, "password file %s %s", path, fault);
    return SP_ECONFIG;
}

static int read_password(int fd, const char *path, char **out, char *why, size_t why_bytes)
{
    enum {
        ROOM = PASSWORD_BYTES_MAX + 3
    }; /* a line end, and one more to see that it is too much */
    struct stat about;
    char *password = calloc(1, ROOM + 1);
    if (!password) {
        snprintf(why, why_bytes, "out of memory");
        return SP_ENOMEM;
    }
    int status = SP_OK;
    ssize_t bytes = fstat(fd, &about) == 0 ? read_all(fd, password, ROOM) : -1;
    if (bytes < 0)
        status = fail_errno(path, why, why_bytes);
    else
        status = check_password(path, password, (size_t)bytes, why, why_bytes);
    if (status != SP_OK) {
        explicit_bzero(password, ROOM);
        free(password);
        return status;
    }
    if (about.st_mode & S_IROTH)
        snprintf(why, why_bytes, "password file %s can be read by everyone: chmod o-r it", path);
    *out = password;
    return SP_OK;
}

int config_password_file(const char *path, char **out, char *why, size_t why_bytes)
{
    *out = NULL;
    if (why_bytes)
        why[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(path, why, why_bytes);
    int status = read_password(fd, path, out, why, why_bytes);
    close(fd);
    return status;
}

static int from_environment(const char *name, char **out, char *why, size_t why_bytes)
{
    const char *value = getenv(name);
    if (!value || !*value) {
        snprintf(why, why_bytes, "environment variable %s, which should hold the password, is %s",
                 name, value ? "empty" : "not set");
        return SP_ECONFIG;
    }
    *out = strdup(value);
    if (*out)
        return SP_OK;
    snprintf(why, why_bytes, "out of memory");
    return SP_ENOMEM;
}

int config_password(const struct config_source *source, char **out, char *why, size_t why_bytes)
{
    *out = NULL;
    if (why_bytes)
        why[0] = '\0';
    if (source->password_file)
        return config_password_file(source->password_file, out, why, why_bytes);
    if (source->password_env)
        return from_environment(source->password_env, out, why, why_bytes);
    return SP_OK;
}

void config_password_free(char *password)
{
    if (!password)
        return;
    explicit_bzero(password, strlen(password));
    free(password);
}
