/* SPDX-License-Identifier: Apache-2.0
 *
 * ask.c - a client of the Redis protocol (RESP2) for one request and one reply.
 *
 * The daemon is not trusted more than any server: sizes and depths are bounded, and what is no
 * reply is said to be none.
 */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "table.h"

enum { LINE_BYTES = 4096, BULK_MAX = 1 << 20, ARRAY_MAX = 65536, DEPTH_MAX = 8 };

struct reply_reader {
    FILE *from;
    char error[LINE_BYTES]; /* the server's, if the reply is one */
};

/* --- reading ---------------------------------------------------------------------------------- */

static json_t *text_json(const char *text, size_t bytes)
{
    json_t *out = json_stringn(text, bytes);
    if (out != NULL)
        return out;
    char *escaped = text_escape(text, bytes); /* what is no UTF-8 */
    out = json_string(escaped != NULL ? escaped : "?");
    free(escaped);
    return out;
}

static json_t *read_bulk(struct reply_reader *reader, long size)
{
    char end[2];
    char *bytes = size <= BULK_MAX ? malloc((size_t)size + 1) : NULL;
    json_t *out = NULL;
    if (bytes != NULL && fread(bytes, 1, (size_t)size, reader->from) == (size_t)size &&
        fread(end, 1, 2, reader->from) == 2)
        out = text_json(bytes, (size_t)size);
    free(bytes);
    return out;
}

static json_t *read_reply(struct reply_reader *reader, unsigned depth);

static json_t *read_array(struct reply_reader *reader, long count, unsigned depth)
{
    json_t *out = count <= ARRAY_MAX && depth < DEPTH_MAX ? json_array() : NULL;
    for (long i = 0; out != NULL && i < count; i++) {
        json_t *item = read_reply(reader, depth + 1);
        if (item == NULL || json_array_append_new(out, item) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* NULL: the connection ended, or what came is no reply, or an error. */
static json_t *read_reply(struct reply_reader *reader, unsigned depth)
{
    char line[LINE_BYTES];
    if (fgets(line, sizeof(line), reader->from) == NULL)
        return NULL;
    size_t size = strcspn(line, "\r\n");
    line[size] = '\0';
    long number = strtol(line + 1, NULL, 10);
    switch (line[0]) {
    case '+':
        return text_json(line + 1, size - 1);
    case '-':
        snprintf(reader->error, sizeof(reader->error), "%s", line + 1);
        return NULL;
    case ':':
        return json_integer((json_int_t)strtoll(line + 1, NULL, 10));
    case '$':
        return number < 0 ? json_null() : read_bulk(reader, number);
    case '*':
        return number < 0 ? json_null() : read_array(reader, number, depth);
    default:
        return NULL;
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

/* A connected socket, or -1 after having said why there is none. */
static int connect_daemon(const struct tool *tool, uint32_t timeout_ms)
{
    char directory[TOOL_PATH_BYTES];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = timeout_ms / 1000,
                              .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    tool_directory(tool, directory);
    int size = snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
    if (size < 0 || (size_t)size >= sizeof(address.sun_path)) {
        tool_error("%s/socket: the path is too long for a socket", directory);
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    tool_error("cannot ask the daemon at %s: %s%s", address.sun_path, strerror(errno),
               errno == ENOENT ? "; its configuration has no cache:, so ask it over HTTP "
                                 "(POST /refresh/TABLE, /confirm/TABLE, /hold/TABLE)"
                               : "");
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool send_request(FILE *to, const char *const *words, size_t count)
{
    fprintf(to, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++)
        fprintf(to, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    return fflush(to) == 0;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int refused(const char *error)
{
    if (begins(error, "NOAUTH")) {
        tool_error("the daemon asks for a password: ask it with redis-cli");
        return TOOL_UNAVAILABLE;
    }
    tool_error("%s", begins(error, "ERR ") ? error + 4 : error);
    if (!begins(error, "ERR "))
        return TOOL_UNAVAILABLE;
    return begins(error, "ERR there is no table") ? TOOL_USAGE : TOOL_NO;
}

int tool_ask(struct tool *tool, const char *const *words, size_t count, uint32_t timeout_ms,
             json_t **reply)
{
    struct reply_reader reader = {.error = ""};
    int fd = connect_daemon(tool, timeout_ms);
    if (fd < 0)
        return TOOL_UNAVAILABLE;
    reader.from = fdopen(fd, "r+");
    if (reader.from == NULL) {
        close(fd);
        return tool_failed(SP_ENOMEM, "the daemon's socket");
    }
    *reply = send_request(reader.from, words, count) ? read_reply(&reader, 0) : NULL;
    fclose(reader.from);
    if (*reply != NULL)
        return TOOL_OK;
    if (reader.error[0] != '\0')
        return refused(reader.error);
    tool_error("the daemon did not answer");
    return TOOL_FAILED;
}
