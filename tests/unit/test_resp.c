/* SPDX-License-Identifier: Apache-2.0
 *
 * test_resp.c - requests (server/resp/request.h).
 *
 * Goal: a stream of requests gives the same arguments, sizes and errors however it is cut, and a
 * request that comes in small pieces costs time in proportion to its bytes.
 * Method: a table of streams with what they ask, written as text; each is parsed whole, cut at
 * every place, and byte by byte, in a new buffer of exactly the size for each call, so that the
 * bytes move and a sanitizer sees a read past their end. What Redis itself makes of such streams
 * is compared in tests/system/test_resp_protocol.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/bytes/buffer.h"
#include "server/resp/request.h"

static const struct resp_limits usual = RESP_LIMITS_INIT;

/* A stream's reader: its transcript is the arguments in brackets, a line for each request, and at
 * the end the error or how many bytes of the stream are unread. */
struct reader {
    const struct resp_limits *limits;
    struct resp_parser parser;
    struct resp_args args;
    struct buffer transcript;
    size_t at; /* in the stream */
    bool failed;
};

static void reader_open(struct reader *reader, const struct resp_limits *limits)
{
    *reader = (struct reader){.limits = limits,
                              .parser = RESP_PARSER_INIT,
                              .args = RESP_ARGS_INIT,
                              .transcript = BUFFER_INIT};
}

static void reader_close(struct reader *reader)
{
    resp_parser_free(&reader->parser);
    resp_args_free(&reader->args);
    buffer_free(&reader->transcript);
}

static void write_down(struct reader *reader, const struct resp_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct resp_arg *arg = &reader->args.items[request->first + i];
        buffer_append(&reader->transcript, "[", 1);
        buffer_append(&reader->transcript, arg->bytes, arg->size);
        buffer_append(&reader->transcript, "]", 1);
    }
    if (request->count > 0)
        buffer_append(&reader->transcript, "\n", 1);
}

/* Parses what is there of the stream up to `end`. */
static void read_up_to(struct reader *reader, const char *stream, size_t end)
{
    size_t size = end - reader->at;
    size_t done = 0;
    enum resp_parse result = RESP_DONE;
    uint8_t *bytes = malloc(size ? size : 1);
    assert_non_null(bytes);
    memcpy(bytes, stream + reader->at, size);
    while (result == RESP_DONE) {
        struct resp_request request;
        result = resp_parse(&reader->parser, reader->limits, bytes + done, size - done,
                            &reader->args, &request);
        if (result != RESP_DONE)
            break;
        assert_in_range(request.consumed, 1, size - done);
        write_down(reader, &request);
        done += request.consumed;
    }
    if (result == RESP_MORE)
        assert_in_range(resp_more_hint(&reader->parser), 1, reader->limits->request_bytes_max);
    reader->failed = result == RESP_INVALID;
    reader->at += done;
    resp_args_clear(&reader->args);
    free(bytes);
}

static void end_transcript(struct reader *reader, size_t stream_bytes)
{
    char text[RESP_FAULT_BYTES + 2] = "";
    if (reader->failed) {
        resp_fault_text(&reader->parser, text);
        strcat(text, "\n");
    } else if (reader->at < stream_bytes) {
        snprintf(text, sizeof(text), "%zu\n", stream_bytes - reader->at);
    }
    buffer_append(&reader->transcript, text, strlen(text) + 1);
}

struct sample {
    const char *stream;
    size_t size;
    const char *transcript;
};
#define SAMPLE(stream, transcript)                                                                 \
    {                                                                                              \
        stream, sizeof(stream) - 1, transcript                                                     \
    }

static const struct sample arrays[] = {
    SAMPLE("*1\r\n$4\r\nPING\r\n", "[PING]\n"),
    SAMPLE("*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n",
           "[GET][hello]\n[SET][a][0123456789]\n"),
    SAMPLE("*2\r\n$0\r\n\r\n$2\r\n\r\n\r\n", "[][\r\n]\n"),
    SAMPLE("*0\r\n*-1\r\n*-9223372036854775808\r\n\r\n\n*1\r\n$1\r\nx\r\n", "[x]\n"),
    SAMPLE("*1\r?$1\r!x<>*1\r\n$1\r\ny\r\n", "[x]\n[y]\n"),
    SAMPLE("*12\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n"
           "$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n$2\r\n10\r\n$2\r\n11\r\n",
           "[0][1][2][3][4][5][6][7][8][9][10][11]\n"),
    SAMPLE("*1\r\n$4\r\nPIN", "11\n"),
    SAMPLE("*", "1\n"),
    SAMPLE("*1", "2\n"),
    SAMPLE("*1\r\n?2", "6\n"),
    SAMPLE("*1\0\r\n$4\r\nPING\r\n", "15\n"),
    SAMPLE("*1\r\n$\0004\r\nPING\r\n", "15\n"),
};

static const struct sample faults[] = {
    SAMPLE("*\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*x\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*+1\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*01\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*-0\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("* 1\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*2147483648\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*9223372036854775808\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*99999999999999999999999\r\n", "Protocol error: invalid multibulk length\n"),
    SAMPLE("*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'\n"),
    SAMPLE("*1\r\n\r\n", "Protocol error: expected '$', got '\r'\n"),
    SAMPLE("*1\r\n*1\r\n", "Protocol error: expected '$', got '*'\n"),
    SAMPLE("*1\r\n$\r\n", "Protocol error: invalid bulk length\n"),
    SAMPLE("*1\r\n$-1\r\n", "Protocol error: invalid bulk length\n"),
    SAMPLE("*1\r\n$1x\r\n", "Protocol error: invalid bulk length\n"),
    SAMPLE("*1\r\n$00\r\n", "Protocol error: invalid bulk length\n"),
    SAMPLE("*1\r\n$536870913\r\n", "Protocol error: invalid bulk length\n"),
    SAMPLE("*1\r\n$1\r\nx\r\n*1\r\n$1\r\ny\r\n*1\r\n%1\r\n",
           "[x]\n[y]\nProtocol error: expected '$', got '%'\n"),
    SAMPLE("*2\r\n$1\r\nx\r\n:1\r\n", "Protocol error: expected '$', got ':'\n"),
    SAMPLE("*178956970\r\n", "Protocol error: too big request\n"),
};

static const struct sample lines[] = {
    SAMPLE("PING\r\n", "[PING]\n"),
    SAMPLE("PING\n", "[PING]\n"),
    SAMPLE("\r\n\n \t \v\f\r\nset  a\tb \r\n", "[set][a][b]\n"),
    SAMPLE("a\rb\r\r\n", "[a][b]\n"),
    SAMPLE("a\vb \vc\n", "[a\vb][c]\n"),
    SAMPLE("set \"a b\" 'c d'\n", "[set][a b][c d]\n"),
    SAMPLE("\"\\n\\r\\t\\b\\a\\\\\\\"\\q\\x41\\xfF\\xg1\\x4\"\r\n",
           "[\n\r\t\b\a\\\"qA\xffxg1x4]\n"),
    SAMPLE("'\\'\\n\\\\\"'\n", "['\\n\\\\\"]\n"),
    SAMPLE("pre\"fix\" a'b c'\n", "[prefix][ab c]\n"),
    SAMPLE("\"\" ''\n", "[][]\n"),
    SAMPLE("\"a\"\v\"b\"\n", "[a][b]\n"),
    SAMPLE("\\n \\x41\n", "[\\n][\\x41]\n"),
    SAMPLE("ping\n*1\r\n$4\r\nPING\r\nping 2\r\n", "[ping]\n[PING]\n[ping][2]\n"),
    SAMPLE("PING", "4\n"),
    SAMPLE("PING\0\r\n", "7\n"),
    SAMPLE("\"a\n", "Protocol error: unbalanced quotes in request\n"),
    SAMPLE("\"a\"b\n", "Protocol error: unbalanced quotes in request\n"),
    SAMPLE("'a'b\n", "Protocol error: unbalanced quotes in request\n"),
    SAMPLE("'a\\'\n", "Protocol error: unbalanced quotes in request\n"),
    SAMPLE("\"a\\\"\n", "Protocol error: unbalanced quotes in request\n"),
    SAMPLE("\"a\\\n", "Protocol error: unbalanced quotes in request\n"),
    SAMPLE("x \"a\"'b'\n", "Protocol error: unbalanced quotes in request\n"),
};

static void check_sample(const struct sample *sample, const size_t *ends, size_t count,
                         const struct resp_limits *limits)
{
    struct reader reader;
    reader_open(&reader, limits);
    for (size_t i = 0; i < count && !reader.failed; i++)
        read_up_to(&reader, sample->stream, ends[i]);
    if (!reader.failed)
        read_up_to(&reader, sample->stream, sample->size);
    end_transcript(&reader, sample->size);
    assert_string_equal(reader.transcript.bytes, sample->transcript);
    reader_close(&reader);
}

static void check_samples(const struct sample *samples, size_t count,
                          const struct resp_limits *limits)
{
    for (size_t i = 0; i < count; i++) {
        const struct sample *sample = &samples[i];
        size_t *ends = calloc(sample->size + 1, sizeof(*ends));
        assert_non_null(ends);
        check_sample(sample, NULL, 0, limits);
        for (size_t cut = 0; cut <= sample->size; cut++) {
            for (size_t second = cut; second <= sample->size; second++)
                check_sample(sample, (size_t[]){cut, second}, 2, limits);
            ends[cut] = cut;
        }
        check_sample(sample, ends, sample->size, limits);
        free(ends);
    }
}
#define CHECK_SAMPLES(samples, limits)                                                             \
    check_samples(samples, sizeof(samples) / sizeof((samples)[0]), limits)

static void test_arrays(void **state)
{
    (void)state;
    CHECK_SAMPLES(arrays, &usual);
}

static void test_faults(void **state)
{
    (void)state;
    CHECK_SAMPLES(faults, &usual);
}

static void test_inline(void **state)
{
    (void)state;
    CHECK_SAMPLES(lines, &usual);
}

static void test_limits(void **state)
{
    static const struct resp_limits narrow = {
        .args_max = 3, .inline_bytes_max = 8, .arg_bytes_max = 9, .request_bytes_max = 39};
    static const struct sample samples[] = {
        SAMPLE("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "[a][b][c]\n"),
        SAMPLE("*4\r\n", "Protocol error: invalid multibulk length\n"),
        SAMPLE("*1\r\n$9\r\n123456789\r\n", "[123456789]\n"),
        SAMPLE("*1\r\n$10\r\n", "Protocol error: invalid bulk length\n"),
        SAMPLE("*3\r\n$9\r\n123456789\r\n$9\r\n123456789\r\n$1\r\n",
               "Protocol error: too big request\n"),
        SAMPLE("*3\r\n$9\r\n123456789\r\n$9\r\n", "Protocol error: too big request\n"),
        SAMPLE("*3\r\n$9\r\n123456789\r\n$3\r\n123\r\n$0\r\n\r\n", "[123456789][123][]\n"),
        SAMPLE("*3\r\n$9\r\n123456789\r\n$3\r\n123\r\n$1\r\nx\r\n", "[123456789][123][x]\n"),
        SAMPLE("*3\r\n$9\r\n123456789\r\n$3\r\n123\r\n$2\r\n12\r\n", "[123456789][123][12]\n"),
        SAMPLE("*3\r\n$9\r\n123456789\r\n$3\r\n123\r\n$8\r\n", "Protocol error: too big request\n"),
        SAMPLE("12345678\n", "[12345678]\n"),
        SAMPLE("123456789", "Protocol error: too big inline request\n"),
        SAMPLE("123456789\n", "Protocol error: too big inline request\n"),
        SAMPLE("1234\0006789", "Protocol error: too big inline request\n"),
        SAMPLE("a b c\n", "[a][b][c]\n"),
        SAMPLE("a b c d\n", "Protocol error: invalid multibulk length\n"),
        SAMPLE("*12345678", "Protocol error: too big mbulk count string\n"),
        SAMPLE("*1\0\r\n45678", "Protocol error: too big mbulk count string\n"),
        SAMPLE("*1234567\r\n", "Protocol error: invalid multibulk length\n"),
        SAMPLE("*1\r\n$12345678", "Protocol error: too big bulk count string\n"),
        SAMPLE("*1\r\n123456789", "Protocol error: too big bulk count string\n"),
    };
    (void)state;
    CHECK_SAMPLES(samples, &narrow);
}

/* An error is the last thing that a stream says. */
static void test_invalid_stays(void **state)
{
    struct resp_parser parser = RESP_PARSER_INIT;
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    char text[RESP_FAULT_BYTES];
    uint8_t wrong[] = "*x\r\n";
    uint8_t right[] = "PING\r\n";
    (void)state;
    assert_int_equal(resp_parse(&parser, &usual, wrong, 4, &args, &request), RESP_INVALID);
    assert_int_equal(resp_parse(&parser, &usual, right, 6, &args, &request), RESP_INVALID);
    resp_fault_text(&parser, text);
    assert_string_equal(text, "Protocol error: invalid multibulk length");
    assert_int_equal(args.count, 0);
    resp_parser_free(&parser);
    assert_int_equal(resp_parse(&parser, &usual, right, 6, &args, &request), RESP_DONE);
    resp_args_free(&args);
}

static enum resp_parse parse_text(struct resp_parser *parser, const char *text)
{
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    uint8_t bytes[64];
    memcpy(bytes, text, strlen(text));
    enum resp_parse result = resp_parse(parser, &usual, bytes, strlen(text), &args, &request);
    resp_args_free(&args);
    return result;
}

static void test_hint(void **state)
{
    static const struct {
        const char *text;
        uint64_t more;
    } cases[] = {
        {"", 1},
        {"*", 1},
        {"PING", 1},
        {"*2\r\n", 12},
        {"*2\r\n$3\r", 9},
        {"*2\r\n$3\r\n", 11},
        {"*2\r\n$3\r\nGET\r", 7},
        {"*2\r\n$3\r\nGET\r\n", 6},
        {"*2\r\n$3\r\nGET\r\n$1000\r\nabc", 999},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct resp_parser parser = RESP_PARSER_INIT;
        assert_int_equal(parse_text(&parser, cases[i].text), RESP_MORE);
        assert_int_equal(resp_more_hint(&parser), cases[i].more);
        resp_parser_free(&parser);
    }
}

/* A batch's requests share the vector, and an incomplete one leaves nothing in it. */
static void test_batch_shares_args(void **state)
{
    struct resp_parser parser = RESP_PARSER_INIT;
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    uint8_t bytes[] = "a b\n*1\r\n$1\r\nc\r\n*2\r\n$1\r\nd\r\n$1\r\ne";
    size_t size = sizeof(bytes) - 1;
    (void)state;
    assert_int_equal(resp_parse(&parser, &usual, bytes, size, &args, &request), RESP_DONE);
    assert_int_equal(request.consumed, 4);
    assert_int_equal(resp_parse(&parser, &usual, bytes + 4, size - 4, &args, &request), RESP_DONE);
    assert_int_equal(request.first, 2);
    assert_int_equal(request.count, 1);
    assert_ptr_equal(args.items[2].bytes, bytes + 12);
    size_t at = 4 + request.consumed;
    assert_int_equal(resp_parse(&parser, &usual, bytes + at, size - at, &args, &request),
                     RESP_MORE);
    assert_int_equal(args.count, 3);
    resp_parser_free(&parser);
    resp_args_free(&args);
}

/* Were each call to begin anew, these would take minutes. */
static void test_small_pieces_cost_linear_time(void **state)
{
    enum { ARGS = 1000000, PIECE = 64 };
    struct resp_parser parser = RESP_PARSER_INIT;
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    struct buffer stream = BUFFER_INIT;
    enum resp_parse result = RESP_MORE;
    (void)state;
    buffer_append(&stream, "*1000000\r\n", 10);
    for (int i = 0; i < ARGS; i++)
        buffer_append(&stream, "$3\r\nabc\r\n", 9);
    for (size_t size = PIECE; result == RESP_MORE; size += PIECE) {
        size = size < stream.size ? size : stream.size;
        result = resp_parse(&parser, &usual, (uint8_t *)stream.bytes, size, &args, &request);
    }
    assert_int_equal(result, RESP_DONE);
    assert_int_equal(request.count, ARGS);
    assert_int_equal(request.consumed, stream.size);
    for (size_t i = 0; i < ARGS; i += 1000)
        assert_ptr_equal(args.items[i].bytes, stream.bytes + 10 + i * 9 + 4);
    assert_null(parser.held.items);
    resp_parser_free(&parser);
    resp_args_free(&args);
    buffer_free(&stream);
}

static void test_big_bulk_in_small_pieces(void **state)
{
    enum { VALUE = 100000000, PIECE = 100 };
    static const char head[] = "*2\r\n$3\r\nSET\r\n$100000000\r\n";
    struct resp_parser parser = RESP_PARSER_INIT;
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    size_t total = strlen(head) + VALUE + 2;
    uint8_t *bytes = calloc(total, 1);
    (void)state;
    assert_non_null(bytes);
    memcpy(bytes, head, strlen(head));
    for (size_t size = strlen(head); size < total; size += PIECE) {
        assert_int_equal(resp_parse(&parser, &usual, bytes, size, &args, &request), RESP_MORE);
        assert_int_equal(resp_more_hint(&parser), total - size);
    }
    assert_int_equal(resp_parse(&parser, &usual, bytes, total, &args, &request), RESP_DONE);
    assert_int_equal(args.items[1].size, VALUE);
    resp_parser_free(&parser);
    resp_args_free(&args);
    free(bytes);
}

/* A line that does not end is searched once, whatever the pieces. */
static void test_long_line_byte_by_byte(void **state)
{
    static const struct resp_limits wide = {.args_max = 8,
                                            .inline_bytes_max = 1u << 22,
                                            .arg_bytes_max = 1u << 22,
                                            .request_bytes_max = 1u << 23};
    struct resp_parser parser = RESP_PARSER_INIT;
    struct resp_args args = RESP_ARGS_INIT;
    struct resp_request request;
    size_t size = 1u << 21;
    uint8_t *bytes = malloc(size);
    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'x', size);
    bytes[size - 1] = '\n';
    for (size_t end = 1; end < size; end++)
        assert_int_equal(resp_parse(&parser, &wide, bytes, end, &args, &request), RESP_MORE);
    assert_int_equal(resp_parse(&parser, &wide, bytes, size, &args, &request), RESP_DONE);
    assert_int_equal(args.items[0].size, size - 1);
    resp_args_free(&args);
    free(bytes);
}

static void test_peek(void **state)
{
    static const char whole[] = "*2\r\n$3\r\nGET\r\n$5\r\nkey:1\r\n";
    static const char *const others[] = {"",
                                         "*1\r\n$4\r\nPING\r\n",
                                         "GET key:1\r\n",
                                         "*2\r\n$3\r\nGET\r\n:5\r\n",
                                         "*2\r\n$-1\r\n$5\r\nkey:1\r\n",
                                         "*2\r\n$999\r\nGET\r\n$5\r\nkey:1\r\n",
                                         "*2\r\n$3\r\nGET\r\n$999\r\nkey:1\r\n",
                                         "*2\r\n$3\r\nGET\r\n$00005\r\nkey:1\r\n"};
    struct resp_arg key = {0};
    (void)state;
    assert_true(resp_peek((const uint8_t *)whole, strlen(whole), &key));
    assert_int_equal(key.size, 5);
    assert_memory_equal(key.bytes, "key:1", 5);
    for (size_t size = 0; size < strlen(whole) - 2; size++) {
        uint8_t *cut = malloc(size + 1); /* so that a sanitizer sees a look beyond */
        memcpy(cut, whole, size);
        assert_false(resp_peek(cut, size, &key));
        free(cut);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(resp_peek((const uint8_t *)others[i], strlen(others[i]), &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_invalid_stays),
        cmocka_unit_test(test_hint),
        cmocka_unit_test(test_batch_shares_args),
        cmocka_unit_test(test_small_pieces_cost_linear_time),
        cmocka_unit_test(test_big_bulk_in_small_pieces),
        cmocka_unit_test(test_long_line_byte_by_byte),
        cmocka_unit_test(test_peek),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
