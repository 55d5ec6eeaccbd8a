/* SPDX-License-Identifier: Apache-2.0
 *
 * request.c - the parser of requests.
 *
 * It goes over the bytes once: what has been understood of a request that is not complete is kept
 * in the parser, so a request that comes in many pieces costs time in proportion to its size. Its
 * arguments are kept as offsets then, since the buffer may move; those of a request that is there
 * as a whole, which nearly all are, become pointers at once.
 */
#include "server/resp/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/resp/inline.h"
#include "server/resp/number.h"

#define ARG_WIRE_LEAST 6u /* bytes of an empty argument: $0, and two ends of lines */

struct parse {
    struct resp_parser *parser;
    const struct resp_limits *limits;
    uint8_t *bytes;
    uint64_t size;
    struct resp_args *into; /* the caller's, or the parser's own */
    uintptr_t base;         /* what is added to an offset there: the bytes' place, or 0 */
};

/* --- arguments -------------------------------------------------------------------------------- */

#define ARGS_FIRST 64u

bool resp_args_grow(struct resp_args *args)
{
    size_t cap = args->cap ? args->cap * 2 : ARGS_FIRST;
    struct resp_arg *items = realloc(args->items, cap * sizeof(*items));
    if (!items)
        return false;
    args->items = items;
    args->cap = cap;
    return true;
}

void resp_args_free(struct resp_args *args)
{
    free(args->items);
    *args = (struct resp_args)RESP_ARGS_INIT;
}

void resp_parser_free(struct resp_parser *parser)
{
    resp_args_free(&parser->held);
    *parser = (struct resp_parser)RESP_PARSER_INIT;
}

/* --- outcomes --------------------------------------------------------------------------------- */

static enum resp_parse invalid(struct resp_parser *parser, enum resp_fault fault)
{
    parser->fault = (uint8_t)fault;
    return RESP_INVALID;
}

void resp_fault_text(const struct resp_parser *parser, char text[RESP_FAULT_BYTES])
{
    static const char *const texts[] = {
        [RESP_FAULT_ARRAY_LENGTH] = "invalid multibulk length",
        [RESP_FAULT_ARRAY_LINE] = "too big mbulk count string",
        [RESP_FAULT_BULK_LENGTH] = "invalid bulk length",
        [RESP_FAULT_BULK_LINE] = "too big bulk count string",
        [RESP_FAULT_INLINE_LINE] = "too big inline request",
        [RESP_FAULT_QUOTES] = "unbalanced quotes in request",
        [RESP_FAULT_REQUEST_BYTES] = "too big request",
        [RESP_FAULT_MEMORY] = "out of memory",
    };
    if (parser->fault == RESP_FAULT_BULK_TYPE)
        snprintf(text, RESP_FAULT_BYTES, "Protocol error: expected '$', got '%c'", parser->got);
    else
        snprintf(text, RESP_FAULT_BYTES, "Protocol error: %s", texts[parser->fault]);
}

static enum resp_parse lacking(struct resp_parser *parser, uint64_t more)
{
    parser->more = more;
    return RESP_MORE;
}

/* --- lines ------------------------------------------------------------------------------------ */

/* The line at parser->at: where its first `mark` is. It goes on looking where it stopped. */
static enum resp_parse find_end(const struct parse *parse, char mark, enum resp_fault too_long,
                                uint64_t *end)
{
    struct resp_parser *parser = parse->parser;
    if (parser->searched < parser->at)
        parser->searched = parser->at;
    const uint8_t *from = parse->bytes + parser->searched;
    const uint8_t *found = memchr(from, mark, (size_t)(parse->size - parser->searched));
    uint64_t stop = found ? (uint64_t)(found - parse->bytes) : parse->size;
    if (stop - parser->at > parse->limits->inline_bytes_max)
        return invalid(parser, too_long);
    parser->searched = stop;
    *end = stop;
    return found ? RESP_DONE : lacking(parser, 1);
}

/* A letter and a number at parser->at, which then is behind the line. */
static enum resp_parse read_length(const struct parse *parse, enum resp_fault too_long,
                                   enum resp_fault wrong, int64_t *length)
{
    struct resp_parser *parser = parse->parser;
    const uint8_t *line = parse->bytes + parser->at;
    uint64_t left = parse->size - parser->at, end;
    if (left >= 4 && line[2] == '\r' && (uint8_t)(line[1] - '0') <= 9) { /* one digit */
        *length = line[1] - '0';
        parser->at += 4;
        return RESP_DONE;
    }
    if (left >= 5 && line[3] == '\r' && (uint8_t)(line[1] - '1') <= 8 &&
        (uint8_t)(line[2] - '0') <= 9) { /* two */
        *length = (line[1] - '0') * 10 + line[2] - '0';
        parser->at += 5;
        return RESP_DONE;
    }
    enum resp_parse found = find_end(parse, '\r', too_long, &end);
    if (found != RESP_DONE)
        return found;
    if (parse->size - end < 2)
        return lacking(parser, 1);
    if (!number_integer((const char *)line + 1, (size_t)(end - parser->at) - 1, length))
        return invalid(parser, wrong);
    parser->at = end + 2;
    return RESP_DONE;
}

/* --- arrays of bulk strings --------------------------------------------------------------------
 */

static enum resp_parse read_array_head(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    int64_t count;
    enum resp_parse status =
        read_length(parse, RESP_FAULT_ARRAY_LINE, RESP_FAULT_ARRAY_LENGTH, &count);
    if (status != RESP_DONE)
        return status;
    if (count > (int64_t)parse->limits->args_max)
        return invalid(parser, RESP_FAULT_ARRAY_LENGTH);
    parser->args_left = count > 0 ? (uint32_t)count : 0;
    return RESP_DONE;
}

static enum resp_parse read_bulk_head(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    int64_t length;
    if (parse->size == parser->at)
        return lacking(parser, ARG_WIRE_LEAST);
    if (parse->bytes[parser->at] != '$') {
        /* As Redis: the line must be there before it is looked at. */
        uint64_t end;
        enum resp_parse found = find_end(parse, '\r', RESP_FAULT_BULK_LINE, &end);
        if (found != RESP_DONE)
            return found;
        parser->got = parse->bytes[parser->at];
        return invalid(parser, RESP_FAULT_BULK_TYPE);
    }
    enum resp_parse status =
        read_length(parse, RESP_FAULT_BULK_LINE, RESP_FAULT_BULK_LENGTH, &length);
    if (status != RESP_DONE)
        return status;
    if (length < 0 || (uint64_t)length > parse->limits->arg_bytes_max)
        return invalid(parser, RESP_FAULT_BULK_LENGTH);
    if (parser->at + (uint64_t)length > parse->limits->request_bytes_max)
        return invalid(parser, RESP_FAULT_REQUEST_BYTES);
    parser->bulk = (uint64_t)length;
    parser->in_bulk = true;
    return RESP_DONE;
}

static enum resp_parse read_bulks(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    while (parser->args_left > 0) {
        enum resp_parse status = parser->in_bulk ? RESP_DONE : read_bulk_head(parse);
        if (status != RESP_DONE)
            return status;
        uint64_t left = parse->size - parser->at;
        if (left < parser->bulk + 2)
            return lacking(parser, parser->bulk + 2 - left +
                                       (parser->args_left - 1) * (uint64_t)ARG_WIRE_LEAST);
        if (!resp_args_append(parse->into, (const char *)(parse->base + parser->at),
                              (size_t)parser->bulk))
            return invalid(parser, RESP_FAULT_MEMORY);
        parser->at += parser->bulk + 2;
        parser->args_left--;
        parser->in_bulk = false;
    }
    return RESP_DONE;
}

static enum resp_parse read_inline(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    uint64_t end;
    enum resp_parse found = find_end(parse, '\n', RESP_FAULT_INLINE_LINE, &end);
    if (found != RESP_DONE)
        return found;
    uint64_t size = end > 0 && parse->bytes[end - 1] == '\r' ? end - 1 : end;
    enum resp_fault fault =
        resp_inline_split(parse->bytes, (size_t)size, parse->limits->args_max, parse->into);
    if (fault != RESP_FAULT_NONE)
        return invalid(parser, fault);
    parser->at = end + 1;
    return RESP_DONE;
}

/* --- one request -------------------------------------------------------------------------------
 */

/* What was understood of a request that is not complete: its arguments become offsets. */
static enum resp_parse hold(struct parse *parse, struct resp_args *args, size_t first)
{
    struct resp_parser *parser = parse->parser;
    for (size_t i = first; i < args->count; i++) {
        const char *offset = (const char *)((uintptr_t)args->items[i].bytes - parse->base);
        if (!resp_args_append(&parser->held, offset, args->items[i].size))
            return invalid(parser, RESP_FAULT_MEMORY);
    }
    args->count = first;
    return RESP_MORE;
}

static bool release_held(struct parse *parse, struct resp_args *args)
{
    struct resp_args *held = &parse->parser->held;
    for (size_t i = 0; i < held->count; i++) {
        const char *bytes = (const char *)parse->bytes + (uintptr_t)held->items[i].bytes;
        if (!resp_args_append(args, bytes, held->items[i].size))
            return false;
    }
    resp_args_free(held);
    return true;
}

static enum resp_parse parse_on(struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    if (parse->bytes[0] != '*')
        return read_inline(parse);
    if (parser->at == 0) {
        enum resp_parse status = read_array_head(parse);
        if (status != RESP_DONE)
            return status;
    }
    return read_bulks(parse);
}

enum resp_parse resp_parse(struct resp_parser *parser, const struct resp_limits *limits,
                           uint8_t *bytes, size_t size, struct resp_args *args,
                           struct resp_request *request)
{
    size_t first = args->count;
    bool resumed = parser->held.count > 0;
    struct parse parse = {.parser = parser,
                          .limits = limits,
                          .bytes = bytes,
                          .size = size,
                          .into = resumed ? &parser->held : args,
                          .base = resumed ? 0 : (uintptr_t)bytes};
    if (parser->fault != RESP_FAULT_NONE)
        return RESP_INVALID;
    if (size == 0)
        return lacking(parser, 1);
    enum resp_parse status = parse_on(&parse);
    if (status == RESP_MORE && !resumed)
        return hold(&parse, args, first);
    if (status != RESP_DONE) {
        args->count = first;
        return status;
    }
    if (resumed && !release_held(&parse, args))
        return invalid(parser, RESP_FAULT_MEMORY);
    *request = (struct resp_request){first, args->count - first, (size_t)parser->at};
    parser->at = parser->searched = 0;
    return RESP_DONE;
}
