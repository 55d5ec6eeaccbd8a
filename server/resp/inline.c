/* SPDX-License-Identifier: Apache-2.0
 *
 * inline.c - splitting a line into words, by the quoting rules of Redis.
 *
 * Words are separated by white space. Within "..." the escapes \n \r \t \b \a \xHH stand for bytes
 * and a backslash before anything else for that; within '...' only \' is an escape. Quotes may
 * begin within a word; what closes them must be followed by white space or the line's end.
 *
 * An unquoted word is never longer than it was, so it is written over itself. Linear in the line.
 */
#include "server/resp/inline.h"

struct line {
    uint8_t *in;  /* to be read next */
    uint8_t *out; /* where the word goes on; at or before `in` */
    const uint8_t *end;
};

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What ends a word outside quotes: not \v and \f, though they are skipped before one. */
static bool is_end(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t escaped(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* At a backslash within double quotes, which is not the line's last byte. */
static void read_escape(struct line *line)
{
    const uint8_t *in = line->in;
    if (line->end - in >= 4 && in[1] == 'x' && hex_digit(in[2]) >= 0 && hex_digit(in[3]) >= 0) {
        *line->out++ = (uint8_t)(hex_digit(in[2]) << 4 | hex_digit(in[3]));
        line->in += 4;
    } else {
        *line->out++ = escaped(in[1]);
        line->in += 2;
    }
}

/* Behind the opening quote. False if nothing closes it, or a word's byte follows. */
static bool read_quoted(struct line *line, uint8_t quote)
{
    while (line->in < line->end && *line->in != quote) {
        bool last = line->end - line->in == 1;
        if (*line->in == '\\' && !last && quote == '"') {
            read_escape(line);
        } else if (*line->in == '\\' && !last && line->in[1] == '\'') {
            *line->out++ = '\'';
            line->in += 2;
        } else {
            *line->out++ = *line->in++;
        }
    }
    if (line->in == line->end)
        return false;
    line->in++;
    return line->in == line->end || is_space(*line->in);
}

static bool read_word(struct line *line)
{
    while (line->in < line->end && !is_end(*line->in)) {
        uint8_t c = *line->in++;
        if (c == '"' || c == '\'')
            return read_quoted(line, c);
        *line->out++ = c;
    }
    return true;
}

enum resp_fault resp_inline_split(uint8_t *bytes, size_t size, uint32_t words_max,
                                  struct resp_args *args)
{
    struct line line = {bytes, bytes, bytes + size};
    uint32_t words = 0;
    for (;;) {
        while (line.in < line.end && is_space(*line.in))
            line.in++;
        if (line.in == line.end)
            return RESP_FAULT_NONE;
        line.out = line.in;
        const uint8_t *word = line.in;
        if (!read_word(&line))
            return RESP_FAULT_QUOTES;
        if (words++ == words_max)
            return RESP_FAULT_ARRAY_LENGTH;
        if (!resp_args_append(args, (const char *)word, (size_t)(line.out - word)))
            return RESP_FAULT_MEMORY;
    }
}
