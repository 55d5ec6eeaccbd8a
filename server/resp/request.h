/* SPDX-License-Identifier: Apache-2.0
 *
 * request.h - what a client of the Redis protocol (RESP2 and RESP3 alike) asks.
 *
 * The caller has a connection's bytes in a buffer and calls resp_parse at the first byte of a
 * request; that the buffer may hold the start of it only, or many requests, is its business:
 *
 *   resp_parse(&parser, &limits, bytes + at, size - at, &args, &request)
 *     RESP_DONE     args[request.first .. +count) are the arguments, at += request.consumed;
 *                   then the next one. A count of 0 (an empty line, `*0`) asks nothing.
 *     RESP_MORE     keep what begins at `at`, and call again with the same bytes (they may have
 *                   moved) and at least one more. resp_more_hint says how many will surely come.
 *     RESP_INVALID  answer with resp_fault_text and close; the parser stays in this state.
 *
 * Arguments point into the buffer: they are good until it moves or its bytes are dropped. The
 * arguments of a request that is not complete are the parser's own, so `args` may belong to a
 * thread, and be cleared between calls.
 *
 * Not for several threads at once.
 */
#ifndef SIDEPOND_RESP_REQUEST_H
#define SIDEPOND_RESP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct resp_arg {
    const char *bytes; /* not terminated */
    size_t size;
};

struct resp_args {
    struct resp_arg *items;
    size_t count, cap;
};
#define RESP_ARGS_INIT                                                                             \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

struct resp_limits {
    uint32_t args_max;          /* of one request */
    uint32_t inline_bytes_max;  /* of a line, an inline command or a length; at least 4 */
    uint64_t arg_bytes_max;     /* of one argument */
    uint64_t request_bytes_max; /* as it comes over the wire */
};
/* Those of Redis 7.0. */
#define RESP_LIMITS_INIT                                                                           \
    {                                                                                              \
        .args_max = INT32_MAX, .inline_bytes_max = 65536, .arg_bytes_max = UINT64_C(512) << 20,    \
        .request_bytes_max = UINT64_C(1) << 30                                                     \
    }

enum resp_parse { RESP_DONE, RESP_MORE, RESP_INVALID };

enum resp_fault {
    RESP_FAULT_NONE,
    RESP_FAULT_ARRAY_LENGTH,
    RESP_FAULT_ARRAY_LINE,
    RESP_FAULT_BULK_LENGTH,
    RESP_FAULT_BULK_LINE,
    RESP_FAULT_BULK_TYPE,
    RESP_FAULT_INLINE_LINE,
    RESP_FAULT_QUOTES,
    RESP_FAULT_REQUEST_BYTES,
    RESP_FAULT_MEMORY,
};

struct resp_request {
    size_t first, count; /* into the args */
    size_t consumed;     /* bytes */
};

/* Offsets count from the request's first byte. */
struct resp_parser {
    uint64_t at;        /* up to here it is read: the start of a line or of an argument's bytes */
    uint64_t searched;  /* up to here the line has no end */
    uint64_t bulk;      /* size of the argument at `at` */
    uint64_t more;      /* bytes that were surely lacking when RESP_MORE was last answered */
    uint32_t args_left; /* 0: the array's head is not read */
    bool in_bulk;       /* `at` is at an argument's bytes */
    bool zero_seen;     /* in the line */
    uint8_t got;        /* the byte that RESP_FAULT_BULK_TYPE is about */
    uint8_t fault;
    struct resp_args held; /* of an incomplete request; offsets stand where pointers will */
};
#define RESP_PARSER_INIT                                                                           \
    {                                                                                              \
        .held = RESP_ARGS_INIT                                                                     \
    }

#define RESP_FAULT_BYTES 64 /* enough for each text */

/* Bytes are changed only where an inline command has quotes. */
enum resp_parse resp_parse(struct resp_parser *parser, const struct resp_limits *limits,
                           uint8_t *bytes, size_t size, struct resp_args *args,
                           struct resp_request *request);

/* A look ahead, without a parser: the second argument of the request that begins here, which is the
 * key of most, if it is complete and its length and those before it have three digits at most. */
bool resp_peek(const uint8_t *bytes, size_t size, struct resp_arg *out);

/* After RESP_MORE: so many bytes, at least 1, must come before the request can be complete. It is
 * what the client claims; if more than 1, then within limits.request_bytes_max. */
static inline uint64_t resp_more_hint(const struct resp_parser *parser)
{
    return parser->more;
}

/* After RESP_INVALID: what Redis says, without its "ERR " before it. */
void resp_fault_text(const struct resp_parser *parser, char text[RESP_FAULT_BYTES]);

/* Gives the memory back; it can be used again, for a connection's first byte. */
void resp_parser_free(struct resp_parser *parser);

static inline void resp_args_clear(struct resp_args *args)
{
    args->count = 0;
}
void resp_args_free(struct resp_args *args);

#endif
