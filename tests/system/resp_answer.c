/* SPDX-License-Identifier: Apache-2.0
 *
 * resp_answer.c - the protocol of server/resp as a filter, for test_resp_protocol.py.
 *
 * Standard input is a row of streams, each a size (u32, little-endian) and its bytes: what one
 * client sends before it hangs up. For each the answer goes to standard output in the same form.
 * It knows PING, ECHO and `EVAL "return ARGV" 0 arg...`, which are enough to see how Redis has read
 * the arguments. To anything else it says "-ERR other".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/resp/reply.h"
#include "server/resp/request.h"

static bool is_text(const struct resp_arg *arg, const char *text)
{
    return arg->size == strlen(text) && strncasecmp(arg->bytes, text, arg->size) == 0;
}

static void answer_request(struct reply *reply, const struct resp_arg *args, size_t count)
{
    if (is_text(&args[0], "ping") && count == 1) {
        reply_simple(reply, "PONG");
    } else if ((is_text(&args[0], "ping") || is_text(&args[0], "echo")) && count == 2) {
        reply_bulk(reply, args[1].bytes, args[1].size);
    } else if (is_text(&args[0], "eval") && count >= 3 && is_text(&args[1], "return ARGV") &&
               is_text(&args[2], "0")) {
        reply_array(reply, count - 3);
        for (size_t i = 3; i < count; i++)
            reply_bulk(reply, args[i].bytes, args[i].size);
    } else {
        reply_error(reply, "ERR other");
    }
}

static void answer_stream(struct reply *reply, uint8_t *bytes, size_t size)
{
    struct resp_limits limits = RESP_LIMITS_INIT;
    struct resp_parser parser = RESP_PARSER_INIT;
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    char text[RESP_FAULT_BYTES];
    enum resp_parse result;
    size_t at = 0;
    limits.request_bytes_max = UINT64_C(1) << 40;
    while ((result = resp_parse(&parser, &limits, bytes + at, size - at, &args, &request)) ==
           RESP_DONE) {
        if (request.count > 0)
            answer_request(reply, args.items + request.first, request.count);
        at += request.consumed;
        resp_args_clear(&args);
    }
    if (result == RESP_INVALID) {
        resp_fault_text(&parser, text);
        reply_error(reply, "ERR %s", text);
    }
    resp_parser_free(&parser);
    resp_args_free(&args);
}

int main(void)
{
    uint32_t size;
    while (fread(&size, sizeof(size), 1, stdin) == 1) {
        struct buffer out = BUFFER_INIT;
        struct reply reply = {&out, 2};
        uint8_t *bytes = malloc(size ? size : 1);
        if (!bytes || fread(bytes, 1, size, stdin) != size)
            return 1;
        answer_stream(&reply, bytes, size);
        uint32_t out_size = (uint32_t)out.size;
        fwrite(&out_size, sizeof(out_size), 1, stdout);
        fwrite(out.bytes ? out.bytes : "", 1, out.size, stdout);
        free(bytes);
        buffer_free(&out);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
