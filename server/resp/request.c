/* SPDX-License-Identifier: Apache-2.0
 *
 * request.c - the parser of requests, resumable at every byte.
 *
 * What is an error, and which, is as in Redis 7.0: a length's line ends at \r and one byte more,
 * whatever that is; the two bytes behind an argument are not looked at; behind a zero byte no line
 * ends. What an error is does not depend on how the bytes came in pieces. Two differences: a line
 * that is too long is one even if its end comes in the same read, and a request that must become
 * longer than request_bytes_max is answered, where Redis only closes.
 *
 * A request that is there completely is parsed in one go, its arguments straight into the caller's
 * vector. When bytes are lacking, the arguments so far move as offsets into the parser's own
 * vector, where the rest joins them; at the end they are copied back as pointers. So each byte of
 * a line is looked at once, an argument's bytes never, and each argument is copied at most twice.
 *
 * Memory is that of the arguments that have come, never of those that are announced.
 */
#include "server/resp/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/resp/inline.h"
#include "server/resp/number.h"

#define ARG_WIRE_LEAST 6u  /* "$0", two line ends */
#define HELD_CAP_KEPT  32u /* arguments; a longer vector is freed with its request */

/* --- vectors of arguments -------------------------------------------------------------------- */

bool resp_args_grow(struct resp_args *args)
{
    size_t cap = args->cap ? args->cap * 2 : 16;
    struct resp_arg *items =
        cap > SIZE_MAX / sizeof(*items) / 2 ? NULL : realloc(args->items, cap * sizeof(*items));
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

/* --- states ---------------------------------------------------------------------------------- */

/* What one call works with. */
struct parse {
    struct resp_parser *parser;
    const struct resp_limits *limits;
    const uint8_t *bytes;
    size_t size;
    uintptr_t base;         /* what the offset of an argument is added to */
    struct resp_args *into; /* the caller's vector, or the parser's */
};

/* Of an argument: where it is, or its offset as long as the bytes may move. */
static inline const char *place_of(const struct parse *parse, uint64_t at)
{
    return (const char *)(parse->base + (uintptr_t)at);
}

static enum resp_parse invalid(struct resp_parser *parser, enum resp_fault fault)
{
    parser->fault = (uint8_t)fault;
    return RESP_INVALID;
}

/* `more` bytes are lacking, and the arguments that will follow this one. */
static enum resp_parse lacking(struct resp_parser *parser, uint64_t more, uint32_t args_behind)
{
    parser->more = more + (uint64_t)args_behind * ARG_WIRE_LEAST;
    return RESP_MORE;
}

static void begin_next(struct resp_parser *parser)
{
    parser->at = parser->searched = parser->bulk = 0;
    parser->args_left = 0;
    parser->in_bulk = parser->zero_seen = false;
}

/* --- lines ----------------------------------------------------------------------------------- */

/* Looks for the line's end, from where it looked last. Nothing behind a zero byte counts. */
static enum resp_parse find_end(const struct parse *parse, char mark, uint64_t *end)
{
    struct resp_parser *parser = parse->parser;
    uint64_t limit = (uint64_t)parse->limits->inline_bytes_max + 1;
    uint64_t left = parse->size - parser->at;
    uint64_t stop = parser->at + (left < limit ? left : limit);
    if (parser->searched < parser->at)
        parser->searched = parser->at;
    const uint8_t *from = parse->bytes + parser->searched;
    const uint8_t *found = memchr(from, mark, (size_t)(stop - parser->searched));
    size_t passed = found ? (size_t)(found - from) : (size_t)(stop - parser->searched);
    if (!parser->zero_seen && memchr(from, 0, passed))
        parser->zero_seen = true;
    parser->searched += passed;
    if (found && !parser->zero_seen) {
        *end = parser->searched;
        return RESP_DONE;
    }
    return left >= limit ? RESP_INVALID : RESP_MORE;
}

/* A type's byte, a length of at most three digits, and the line's end: nearly all there are, and
 * shorter than any limit. */
static inline size_t short_line(const uint8_t *line, uint64_t size, uint64_t *length)
{
    if (size < ARG_WIRE_LEAST || (uint8_t)(line[1] - '0') > 9)
        return 0;
    uint64_t value = line[1] - (uint64_t)'0';
    size_t at = 2;
    while (at < 4 && (uint8_t)(line[at] - '0') <= 9 && value > 0)
        value = value * 10 + line[at++] - '0';
    if (line[at] != '\r')
        return 0;
    *length = value;
    return at + 2;
}

/* The line at `at`, if it is complete; then `at` is behind it. */
static enum resp_parse read_line(const struct parse *parse, enum resp_fault too_long, uint64_t *end)
{
    struct resp_parser *parser = parse->parser;
    enum resp_parse result = find_end(parse, '\r', end);
    if (result == RESP_INVALID)
        return invalid(parser, too_long);
    if (result == RESP_MORE || parse->size - *end < 2)
        return RESP_MORE;
    parser->at = *end + 2;
    return RESP_DONE;
}

/* --- arrays of bulk strings ------------------------------------------------------------------ */

static enum resp_parse read_array_head(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    uint64_t end = 0;
    int64_t count = 0;
    enum resp_parse result = read_line(parse, RESP_FAULT_ARRAY_LINE, &end);
    if (result == RESP_MORE)
        return lacking(parser, 1, 0);
    if (result == RESP_INVALID)
        return result;
    if (!number_parse((const char *)parse->bytes + 1, (size_t)end - 1, &count) ||
        count > (int64_t)parse->limits->args_max)
        return invalid(parser, RESP_FAULT_ARRAY_LENGTH);
    parser->args_left = count > 0 ? (uint32_t)count : 0;
    if (parser->at + (uint64_t)parser->args_left * ARG_WIRE_LEAST >
        parse->limits->request_bytes_max)
        return invalid(parser, RESP_FAULT_REQUEST_BYTES);
    return RESP_DONE;
}

static enum resp_parse take_bulk_length(const struct parse *parse, uint64_t length)
{
    struct resp_parser *parser = parse->parser;
    const struct resp_limits *limits = parse->limits;
    if (length > limits->arg_bytes_max)
        return invalid(parser, RESP_FAULT_BULK_LENGTH);
    uint64_t used = parser->at + 2 + (uint64_t)(parser->args_left - 1) * ARG_WIRE_LEAST;
    if (used > limits->request_bytes_max || length > limits->request_bytes_max - used)
        return invalid(parser, RESP_FAULT_REQUEST_BYTES);
    parser->bulk = length;
    parser->in_bulk = true;
    return RESP_DONE;
}

static enum resp_parse read_bulk_head(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    const uint8_t *line = parse->bytes + parser->at;
    uint64_t start = parser->at;
    uint64_t end = 0;
    int64_t length = 0;
    enum resp_parse result = read_line(parse, RESP_FAULT_BULK_LINE, &end);
    if (result == RESP_MORE) {
        uint64_t here = parse->size - start;
        return lacking(parser, here < ARG_WIRE_LEAST ? ARG_WIRE_LEAST - here : 1,
                       parser->args_left - 1);
    }
    if (result == RESP_INVALID)
        return result;
    if (*line != '$') {
        parser->got = *line;
        return invalid(parser, RESP_FAULT_BULK_TYPE);
    }
    if (!number_parse((const char *)line + 1, (size_t)(end - start) - 1, &length) || length < 0)
        return invalid(parser, RESP_FAULT_BULK_LENGTH);
    return take_bulk_length(parse, (uint64_t)length);
}

static enum resp_parse read_bulk(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    uint64_t left = parse->size - parser->at;
    if (left < parser->bulk + 2)
        return lacking(parser, parser->bulk + 2 - left, parser->args_left - 1);
    if (!resp_args_append(parse->into, place_of(parse, parser->at), (size_t)parser->bulk))
        return invalid(parser, RESP_FAULT_MEMORY);
    parser->at += parser->bulk + 2;
    parser->args_left--;
    parser->in_bulk = false;
    return RESP_DONE;
}

/* As long as arguments are short, there, and within the limits: what read_bulk_head and read_bulk
 * would do. Stops before the first that is not. */
static void read_short_bulks(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    const struct resp_limits *limits = parse->limits;
    uint64_t at = parser->at;
    uint64_t length = 0;
    uint32_t left = parser->args_left;
    while (left > 0 && at < parse->size) {
        const uint8_t *line = parse->bytes + at;
        size_t head = *line == '$' ? short_line(line, parse->size - at, &length) : 0;
        uint64_t next = at + head + length + 2;
        if (head == 0 || next > parse->size || length > limits->arg_bytes_max ||
            next + (uint64_t)(left - 1) * ARG_WIRE_LEAST > limits->request_bytes_max)
            break;
        if (!resp_args_append(parse->into, place_of(parse, at + head), (size_t)length))
            break;
        at = next;
        left--;
    }
    parser->at = at;
    parser->args_left = left;
}

static enum resp_parse read_bulks(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    enum resp_parse result = RESP_DONE;
    for (;;) {
        if (!parser->in_bulk)
            read_short_bulks(parse);
        if (parser->args_left == 0)
            return RESP_DONE;
        if (!parser->in_bulk && (result = read_bulk_head(parse)) != RESP_DONE)
            return result;
        if ((result = read_bulk(parse)) != RESP_DONE)
            return result;
    }
}

/* A head in the usual form is read at once; what it says is judged in read_array_head only. */
static enum resp_parse read_array(const struct parse *parse)
{
    struct resp_parser *parser = parse->parser;
    uint64_t count = 0;
    size_t head = 0;
    if (parser->args_left == 0) {
        head = parser->searched == 0 ? short_line(parse->bytes, parse->size, &count) : 0;
        if (head > 0 && count <= parse->limits->args_max &&
            head + count * ARG_WIRE_LEAST <= parse->limits->request_bytes_max) {
            parser->at = head;
            parser->args_left = (uint32_t)count;
        } else {
            enum resp_parse result = read_array_head(parse);
            if (result != RESP_DONE)
                return result;
        }
    }
    return read_bulks(parse);
}

/* --- inline commands ------------------------------------------------------------------------- */

static enum resp_parse read_inline(const struct parse *parse, uint8_t *bytes)
{
    struct resp_parser *parser = parse->parser;
    uint64_t end = 0;
    enum resp_parse result = find_end(parse, '\n', &end);
    if (result == RESP_MORE)
        return lacking(parser, 1, 0);
    if (result == RESP_INVALID)
        return invalid(parser, RESP_FAULT_INLINE_LINE);
    if (end + 1 > parse->limits->request_bytes_max)
        return invalid(parser, RESP_FAULT_REQUEST_BYTES);
    parser->at = end + 1;
    size_t size = (size_t)end - (end > 0 && bytes[end - 1] == '\r');
    enum resp_fault fault = resp_inline_split(bytes, size, parse->limits->args_max, parse->into);
    return fault == RESP_FAULT_NONE ? RESP_DONE : invalid(parser, fault);
}

/* --- requests -------------------------------------------------------------------------------- */

/* Moves what came of an incomplete request out of the caller's vector. */
static bool hold(const struct parse *parse, size_t first)
{
    struct resp_args *held = &parse->parser->held;
    struct resp_args *args = parse->into;
    size_t count = args->count - first;
    args->count = first;
    for (size_t i = 0; i < count; i++) {
        const struct resp_arg *arg = &args->items[first + i];
        const char *offset = (const char *)((uintptr_t)arg->bytes - parse->base);
        if (!resp_args_append(held, offset, arg->size))
            return false;
    }
    return true;
}

/* Copies the arguments of a request that has become complete to where the caller wants them. */
static bool release(struct resp_parser *parser, const uint8_t *bytes, struct resp_args *args)
{
    struct resp_args *held = &parser->held;
    for (size_t i = 0; i < held->count; i++) {
        const char *place = (const char *)bytes + (uintptr_t)held->items[i].bytes;
        if (!resp_args_append(args, place, held->items[i].size))
            return false;
    }
    held->count = 0;
    if (held->cap > HELD_CAP_KEPT)
        resp_args_free(held);
    return true;
}

enum resp_parse resp_parse(struct resp_parser *parser, const struct resp_limits *limits,
                           uint8_t *bytes, size_t size, struct resp_args *args,
                           struct resp_request *request)
{
    bool resumed = parser->at > 0;
    size_t first = args->count;
    struct parse parse = {
        parser, limits, bytes, size, resumed ? 0 : (uintptr_t)bytes, resumed ? &parser->held : args,
    };
    *request = (struct resp_request){.first = first};
    if (parser->fault)
        return RESP_INVALID;
    if (size == 0)
        return lacking(parser, 1, 0);
    enum resp_parse result = *bytes == '*' ? read_array(&parse) : read_inline(&parse, bytes);
    if (result == RESP_DONE && resumed && !release(parser, bytes, args))
        result = invalid(parser, RESP_FAULT_MEMORY);
    if (result == RESP_MORE && !resumed && args->count > first && !hold(&parse, first))
        result = invalid(parser, RESP_FAULT_MEMORY);
    if (result == RESP_DONE) {
        request->count = args->count - first;
        request->consumed = (size_t)parser->at;
        begin_next(parser);
    } else {
        args->count = first;
    }
    return result;
}

bool resp_peek(const uint8_t *bytes, size_t size, struct resp_arg *out)
{
    static const uint8_t types[] = {'*', '$', '$'};
    uint64_t at = 0, length = 0;
    for (unsigned i = 0; i < sizeof(types); i++) {
        at += i == 2 ? length + 2 : 0; /* behind the first argument */
        if (at >= size || bytes[at] != types[i])
            return false;
        size_t head = short_line(bytes + at, size - at, &length);
        if (head == 0)
            return false;
        at += head;
    }
    if (at > size || length > size - at)
        return false;
    *out = (struct resp_arg){(const char *)bytes + at, (size_t)length};
    return true;
}

void resp_fault_text(const struct resp_parser *parser, char text[RESP_FAULT_BYTES])
{
    static const char *const texts[] = {
        [RESP_FAULT_NONE] = "Protocol error",
        [RESP_FAULT_ARRAY_LENGTH] = "Protocol error: invalid multibulk length",
        [RESP_FAULT_ARRAY_LINE] = "Protocol error: too big mbulk count string",
        [RESP_FAULT_BULK_LENGTH] = "Protocol error: invalid bulk length",
        [RESP_FAULT_BULK_LINE] = "Protocol error: too big bulk count string",
        [RESP_FAULT_BULK_TYPE] = "Protocol error: expected '$', got '",
        [RESP_FAULT_INLINE_LINE] = "Protocol error: too big inline request",
        [RESP_FAULT_QUOTES] = "Protocol error: unbalanced quotes in request",
        [RESP_FAULT_REQUEST_BYTES] = "Protocol error: too big request",
        [RESP_FAULT_MEMORY] = "out of memory",
    };
    const char *known = texts[parser->fault];
    if (parser->fault == RESP_FAULT_BULK_TYPE)
        snprintf(text, RESP_FAULT_BYTES, "%s%c'", known, parser->got);
    else
        snprintf(text, RESP_FAULT_BYTES, "%s", known);
}

void resp_parser_free(struct resp_parser *parser)
{
    resp_args_free(&parser->held);
    *parser = (struct resp_parser)RESP_PARSER_INIT;
}
