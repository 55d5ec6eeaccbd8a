/* SPDX-License-Identifier: Apache-2.0
 *
 * mariadb_charset.c - text of MariaDB's character sets as UTF-8.
 *
 * The binary log has text as it is stored. What its bytes mean the server says itself: its tables
 * differ from those of iconv in hundreds of characters, and a row that changed has to be the same
 * as one that was read. So the server is given every byte, and every two bytes that may be a
 * character, and converts them; of what it answers, tables are made.
 *
 *   the byte                     its character, '?' if it has none
 *   0x80-0xff, 0x40-0xff         of two bytes; 0: these are none
 *   0x8f, 0x80-0xff, 0x40-0xff   of three bytes (ujis, eucjpms)
 *
 * What cannot be converted is a question mark, as in a result of the server's. UCS-2, UTF-16 and
 * UTF-32 are computed.
 *
 * Costs: a set of one byte is asked for by 1.5 KB, of more by 150 KB for each of its two tables, of
 * 48 KB each. A character takes some ns. Limits: characters of the BMP, as all of these sets have.
 */
#include <stdlib.h>
#include <string.h>

#include "server/source/mariadb_binlog.h"

#define FIRST     0x80 /* bytes that may begin a longer character */
#define SECOND    0x40
#define PAIRS     ((256 - FIRST) * (256 - SECOND))
#define SHIFT     0x8f /* before a character of two bytes: three */
#define UNKNOWN   '?'
#define SURROGATE 0xd800u
#define LOW       0xdc00u
#define BEHIND    0xe000u /* the surrogates */

/* --- sets ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned unit_bytes;
    bool little;
} wide_sets[] = {
    {"ucs2", 2, false}, {"utf16", 2, false}, {"utf16le", 2, true}, {"utf32", 4, false}};

bool binlog_charset_is_utf8(const char *name)
{
    return strncmp(name, "utf8", 4) == 0;
}

struct binlog_charset *binlog_charset_new(const char *name)
{
    struct binlog_charset *set = calloc(1, sizeof(*set));
    if (!set)
        return NULL;
    source_copy(set->name, sizeof(set->name), name);
    for (size_t i = 0; i < sizeof(wide_sets) / sizeof(*wide_sets); i++)
        if (strcmp(wide_sets[i].name, name) == 0) {
            set->unit_bytes = wide_sets[i].unit_bytes;
            set->little = wide_sets[i].little;
        }
    return set;
}

void binlog_charset_free(struct binlog_charset *set)
{
    if (!set)
        return;
    free(set->pairs[0]);
    free(set->pairs[1]);
    free(set);
}

/* --- asking the server ---------------------------------------------------------------------- */

static void put_hex(struct sql_text *sql, unsigned byte)
{
    static const char digits[] = "0123456789abcdef";
    const char two[] = {digits[byte >> 4 & 15], digits[byte & 15]};
    sql_put_bytes(sql, two, sizeof(two));
}

/* Each of them and the end of a line, which begins nothing and ends nothing. */
void binlog_charset_ask(const struct binlog_charset *set, enum binlog_charset_part part,
                        struct sql_text *sql)
{
    sql_put(sql, "SELECT CONVERT(CONVERT(x'");
    for (unsigned i = 0; part == CHARSET_BYTES && i < 256; i++) {
        put_hex(sql, i);
        put_hex(sql, '\n');
    }
    for (unsigned i = 0; part != CHARSET_BYTES && i < PAIRS; i++) {
        if (part == CHARSET_TRIPLES)
            put_hex(sql, SHIFT);
        put_hex(sql, FIRST + i / (256 - SECOND));
        put_hex(sql, SECOND + i % (256 - SECOND));
        put_hex(sql, '\n');
    }
    sql_put(sql, "' USING ");
    sql_put_name(sql, set->name, '`');
    sql_put(sql, ") USING utf8mb4)");
}

/* Takes one character of the BMP. */
static bool take_character(struct binlog_bytes *from, uint32_t *out)
{
    const unsigned char *at = from->at;
    const size_t bytes = from->left == 0 ? 1 : at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : 3;
    if (from->left < bytes || at[0] >= 0xf0)
        return false;
    *out = bytes == 1   ? at[0]
           : bytes == 2 ? (at[0] & 0x1fu) << 6 | (at[1] & 0x3fu)
                        : (at[0] & 0xfu) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
    from->at += bytes;
    from->left -= bytes;
    return true;
}

/* Takes a line. `*count`: how many characters it has; `*out`: the first of them. */
static bool take_line(struct binlog_bytes *from, uint32_t *out, unsigned *count)
{
    uint32_t character;
    *out = *count = 0;
    while (take_character(from, &character)) {
        if (character == '\n' && *count > 0)
            return true;
        if ((*count)++ == 0)
            *out = character;
    }
    return false;
}

bool binlog_charset_answer(struct binlog_charset *set, enum binlog_charset_part part,
                           const char *text, size_t bytes)
{
    struct binlog_bytes from = {(const unsigned char *)text, bytes};
    const unsigned lines = part == CHARSET_BYTES ? 256 : PAIRS;
    uint16_t *table = set->bytes;
    if (part != CHARSET_BYTES)
        table = set->pairs[part == CHARSET_TRIPLES] = calloc(PAIRS, sizeof(*table));
    for (unsigned i = 0; table && i < lines; i++) {
        uint32_t character;
        unsigned count;
        if (!take_line(&from, &character, &count))
            return false;
        if (count == 1)
            table[i] = (uint16_t)character;
        else if (part == CHARSET_BYTES)
            table[i] = UNKNOWN;
    }
    return table && from.left == 0;
}

/* --- text ----------------------------------------------------------------------------------- */

static char *put_utf8(char *out, uint32_t character)
{
    if (character < 0x80) {
        *out++ = (char)character;
        return out;
    }
    const unsigned more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const unsigned char marks[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(marks[more] | character >> 6 * more);
    for (unsigned i = more; i > 0; i--)
        *out++ = (char)(0x80 | (character >> 6 * (i - 1) & 0x3f));
    return out;
}

static uint16_t pair_at(const uint16_t *pairs, const unsigned char *at, size_t left)
{
    if (!pairs || left < 2 || at[0] < FIRST || at[1] < SECOND)
        return 0;
    return pairs[(at[0] - FIRST) * (256 - SECOND) + (at[1] - SECOND)];
}

/* The character at a place of a text, and how many bytes it takes. */
static size_t character_at(const struct binlog_charset *set, const unsigned char *at, size_t left,
                           uint32_t *out)
{
    *out = *at == SHIFT ? pair_at(set->pairs[1], at + 1, left - 1) : 0;
    if (*out)
        return 3;
    *out = pair_at(set->pairs[0], at, left);
    if (*out)
        return 2;
    *out = set->bytes[*at];
    return 1;
}

static uint32_t unit_at(const struct binlog_charset *set, const unsigned char *at)
{
    uint32_t unit = 0;
    for (unsigned i = 0; i < set->unit_bytes; i++)
        unit = unit << 8 | at[set->little ? set->unit_bytes - 1 - i : i];
    return unit;
}

/* The same of a set of units; 0: there is none. */
static size_t wide_at(const struct binlog_charset *set, const unsigned char *at, size_t left,
                      uint32_t *out)
{
    const size_t bytes = set->unit_bytes;
    if (left < bytes)
        return 0;
    *out = unit_at(set, at);
    if (*out < SURROGATE || (*out >= BEHIND && *out < 0x110000))
        return bytes;
    if (bytes != 2 || *out >= LOW || left < 4)
        return 0;
    const uint32_t low = unit_at(set, at + 2);
    *out = 0x10000 + ((*out - SURROGATE) << 10) + (low - LOW);
    return low >= LOW && low < BEHIND ? 4 : 0;
}

const char *binlog_charset_text(const struct binlog_charset *set, const unsigned char *data,
                                size_t bytes, struct source_scratch *scratch, size_t *size)
{
    /* a byte becomes three at most, and two bytes become four */
    if (!source_scratch_reserve(scratch, bytes * 3 + 4))
        return "no memory for a value";
    char *out = scratch->text;
    for (size_t at = 0; at < bytes;) {
        uint32_t character;
        const size_t taken = set->unit_bytes ? wide_at(set, data + at, bytes - at, &character)
                                             : character_at(set, data + at, bytes - at, &character);
        if (taken == 0)
            return "text that is not of its character set";
        out = put_utf8(out, character);
        at += taken;
    }
    *size = (size_t)(out - scratch->text);
    return NULL;
}
