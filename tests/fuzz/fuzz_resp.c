/* SPDX-License-Identifier: Apache-2.0
 *
 * Goal: a stream of requests means the same however it is cut; no more is consumed than was given;
 * arguments lie within what was given; memory stays in proportion to what has come.
 * Method: the first bytes of the input choose limits and a seed, the rest is the stream. It is
 * parsed whole, and in random pieces that are copied to a new place of exactly their size for
 * each call. Both must give the same arguments, sizes and fault, and what is seen ahead too.
 */
#include <stdlib.h>
#include <string.h>

#include "server/resp/request.h"

#define CHOICE_BYTES 4u

/* What a stream said so far: counts, and a hash (FNV-1a) of all arguments with their sizes. */
struct meaning {
    uint64_t requests, args, hash;
    size_t consumed;
    enum resp_parse end;
    uint8_t fault, got;
};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void hash_bytes(struct meaning *meaning, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < size; i++)
        meaning->hash = (meaning->hash ^ byte[i]) * UINT64_C(1099511628211);
}

static void add_request(struct meaning *meaning, const struct resp_args *args,
                        const struct resp_request *request, const uint8_t *bytes, size_t size)
{
    check(request->consumed > 0 && request->consumed <= size);
    check(request->first + request->count == args->count);
    for (size_t i = 0; i < request->count; i++) {
        const struct resp_arg *arg = &args->items[request->first + i];
        size_t at = (size_t)(arg->bytes - (const char *)bytes);
        check(at <= request->consumed && arg->size <= request->consumed - at);
        hash_bytes(meaning, &arg->size, sizeof(arg->size));
        hash_bytes(meaning, arg->bytes, arg->size);
    }
    meaning->requests += request->count > 0;
    meaning->args += request->count;
    meaning->consumed += request->consumed;
}

/* What is seen ahead lies within the bytes, and is the second argument if there is such a request.
 */
static void check_ahead(const uint8_t *bytes, size_t size, const struct resp_args *args,
                        const struct resp_request *request)
{
    struct resp_arg ahead;
    if (!resp_peek(bytes, size, &ahead))
        return;
    size_t at = (size_t)(ahead.bytes - (const char *)bytes);
    check(at <= size && ahead.size <= size - at);
    if (request && request->count > 1)
        check(args->items[request->first + 1].bytes == ahead.bytes &&
              args->items[request->first + 1].size == ahead.size);
}

/* All requests that are in these bytes; answers how many bytes they were. */
static size_t parse_all(struct resp_parser *parser, const struct resp_limits *limits,
                        uint8_t *bytes, size_t size, struct resp_args *args,
                        struct meaning *meaning)
{
    size_t at = 0;
    for (;;) {
        struct resp_request request;
        size_t before = args->count;
        meaning->end = resp_parse(parser, limits, bytes + at, size - at, args, &request);
        check_ahead(bytes + at, size - at, args, meaning->end == RESP_DONE ? &request : NULL);
        if (meaning->end != RESP_DONE)
            check(args->count == before);
        if (meaning->end == RESP_MORE)
            check(resp_more_hint(parser) == 1 ||
                  (resp_more_hint(parser) > 1 &&
                   resp_more_hint(parser) <= limits->request_bytes_max));
        if (meaning->end != RESP_DONE)
            break;
        add_request(meaning, args, &request, bytes + at, size - at);
        at += request.consumed;
    }
    /* An argument has at least 6 bytes on the wire, an inline one 2; vectors double. */
    check(args->cap <= 16 || args->cap <= 2 * size);
    check(parser->held.cap <= 32 || parser->held.cap <= size);
    resp_args_clear(args);
    return at;
}

static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    check(copy != NULL);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

static struct meaning parse_in_pieces(const struct resp_limits *limits, const uint8_t *stream,
                                      size_t size, size_t piece_max, uint64_t seed)
{
    struct resp_parser parser = RESP_PARSER_INIT;
    struct meaning meaning = {.end = RESP_MORE};
    size_t at = 0;
    size_t end = 0;
    do {
        struct resp_args args = RESP_ARGS_INIT;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t piece = 1 + (size_t)(seed >> 33) % piece_max;
        end = piece < size - end ? end + piece : size;
        uint8_t *bytes = copy_of(stream + at, end - at);
        at += parse_all(&parser, limits, bytes, end - at, &args, &meaning);
        free(bytes);
        resp_args_free(&args);
    } while (meaning.end == RESP_MORE && end < size);
    meaning.fault = parser.fault;
    meaning.got = parser.got;
    resp_parser_free(&parser);
    return meaning;
}

static void check_same(const struct meaning *a, const struct meaning *b)
{
    check(a->requests == b->requests && a->args == b->args && a->hash == b->hash);
    check(a->consumed == b->consumed && a->end == b->end);
    check(a->fault == b->fault && a->got == b->got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resp_limits limits = RESP_LIMITS_INIT;
    if (size < CHOICE_BYTES)
        return 0;
    if (data[0] & 1)
        limits.args_max = data[1] & 7;
    if (data[0] & 2)
        limits.inline_bytes_max = 4 + (data[1] >> 3);
    if (data[0] & 4)
        limits.arg_bytes_max = data[2];
    if (data[0] & 8)
        limits.request_bytes_max = data[2];
    const uint8_t *stream = data + CHOICE_BYTES;
    size -= CHOICE_BYTES;
    struct meaning whole = parse_in_pieces(&limits, stream, size, 1, 0);
    for (size_t piece_max = 2; piece_max <= 512; piece_max *= 4) {
        struct meaning pieces = parse_in_pieces(&limits, stream, size, piece_max, data[3]);
        check_same(&whole, &pieces);
    }
    struct meaning once = parse_in_pieces(&limits, stream, size, size ? size : 1, data[3]);
    check_same(&whole, &once);
    return 0;
}
