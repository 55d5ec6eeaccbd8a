/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_output.c - the messages of a replication stream, as the plugin pgoutput writes them.
 *
 *   w | start u64 | end u64 | time i64 | one message of pgoutput:
 *       B | commit's lsn u64 | time i64 | xid u32
 *       C | flags u8 | commit's lsn u64 | its end u64 | time i64
 *       R | relation u32 | schema | name | identity u8 | count u16 | columns:
 *           flags u8 | name | type u32 | modifier i32
 *       I | relation u32 | N | tuple
 *       U | relation u32 | [K or O | tuple] | N | tuple
 *       D | relation u32 | K or O | tuple
 *       T | count u32 | options u8 | relations u32 each
 *       Y, O, M: types, origins, messages: not needed
 *   k | sent up to u64 | time i64 | answer wanted u8
 *
 *   tuple: count u16 | fields: n (NULL), u (unchanged, not sent), t | size u32 | text
 *
 * Numbers are big-endian, names end with a zero byte, times are microseconds since 2000. Nothing is
 * copied: what comes out points into the message, and nothing is read beyond it, whatever it holds
 * (tests/fuzz/fuzz_pg_output.c). Costs: some 5 ns a field. Limits: protocol version 1, text form.
 */
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/source/postgresql_feed.h"

#define COLUMN_IN_IDENTITY 1 /* of a column's flags */

struct bytes {
    const unsigned char *at;
    size_t left;
};

/* --- bytes ---------------------------------------------------------------------------------- */

static bool take(struct bytes *from, void *out, size_t size)
{
    if (from->left < size)
        return false;
    memcpy(out, from->at, size);
    from->at += size;
    from->left -= size;
    return true;
}

static bool take_u8(struct bytes *from, uint8_t *out)
{
    return take(from, out, sizeof(*out));
}

static bool take_u16(struct bytes *from, uint16_t *out)
{
    const bool good = take(from, out, sizeof(*out));
    *out = good ? be16toh(*out) : 0;
    return good;
}

static bool take_u32(struct bytes *from, uint32_t *out)
{
    const bool good = take(from, out, sizeof(*out));
    *out = good ? be32toh(*out) : 0;
    return good;
}

static bool take_u64(struct bytes *from, uint64_t *out)
{
    const bool good = take(from, out, sizeof(*out));
    *out = good ? be64toh(*out) : 0;
    return good;
}

static bool take_time(struct bytes *from, int64_t *out)
{
    uint64_t us;
    if (!take_u64(from, &us) || __builtin_add_overflow((int64_t)us, PG_EPOCH_US, out))
        return false;
    return true;
}

static bool take_name(struct bytes *from, const char **out)
{
    const unsigned char *end = from->left ? memchr(from->at, 0, from->left) : NULL;
    if (!end)
        return false;
    *out = (const char *)from->at;
    from->left -= (size_t)(end + 1 - from->at);
    from->at = end + 1;
    return true;
}

/* --- tuples --------------------------------------------------------------------------------- */

static bool take_field(struct bytes *from, struct pg_field *out)
{
    uint8_t kind;
    *out = (struct pg_field){.kind = PG_FIELD_NULL};
    if (!take_u8(from, &kind))
        return false;
    if (kind == 'n')
        return true;
    if (kind == 'u') {
        out->kind = PG_FIELD_UNCHANGED;
        return true;
    }
    if (kind != 't' || !take_u32(from, &out->size) || from->left < out->size)
        return false;
    out->kind = PG_FIELD_TEXT;
    out->data = from->at;
    from->at += out->size;
    from->left -= out->size;
    return true;
}

static bool take_tuple(struct bytes *from, struct pg_tuple *out)
{
    uint8_t kind;
    uint16_t count;
    if (!take_u8(from, &kind) || !take_u16(from, &count) || count > PG_FIELDS_MAX)
        return false;
    out->kind = (char)kind;
    out->count = count;
    for (unsigned i = 0; i < count; i++)
        if (!take_field(from, &out->fields[i]))
            return false;
    return true;
}

static bool is_old(const struct pg_tuple *tuple)
{
    return tuple->kind == 'K' || tuple->kind == 'O';
}

/* --- messages ------------------------------------------------------------------------------- */

static bool read_begin(struct bytes *from, struct pg_output *out)
{
    out->kind = PG_MESSAGE_BEGIN;
    return take_u64(from, &out->lsn) && take_time(from, &out->time_us) && take_u32(from, &out->xid);
}

static bool read_commit(struct bytes *from, struct pg_output *out)
{
    uint8_t flags;
    uint64_t record;
    out->kind = PG_MESSAGE_COMMIT;
    return take_u8(from, &flags) && take_u64(from, &record) && take_u64(from, &out->lsn) &&
           take_time(from, &out->time_us);
}

static bool read_relation(struct bytes *from, struct pg_output *out)
{
    uint8_t identity, flags;
    uint16_t count;
    out->kind = PG_MESSAGE_RELATION;
    if (!take_u32(from, &out->relation) || !take_name(from, &out->schema) ||
        !take_name(from, &out->name) || !take_u8(from, &identity) || !take_u16(from, &count) ||
        count > PG_FIELDS_MAX)
        return false;
    out->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct pg_relation_column *column = &out->columns[i];
        uint32_t modifier;
        if (!take_u8(from, &flags) || !take_name(from, &column->name) ||
            !take_u32(from, &column->type) || !take_u32(from, &modifier))
            return false;
        column->in_identity = flags & COLUMN_IN_IDENTITY;
        column->modifier = (int32_t)modifier;
    }
    return true;
}

static bool read_insert(struct bytes *from, struct pg_output *out)
{
    out->kind = PG_MESSAGE_INSERT;
    return take_u32(from, &out->relation) && take_tuple(from, &out->new) && out->new.kind == 'N';
}

static bool read_update(struct bytes *from, struct pg_output *out)
{
    out->kind = PG_MESSAGE_UPDATE;
    if (!take_u32(from, &out->relation) || from->left == 0)
        return false;
    if (*from->at != 'N' && (!take_tuple(from, &out->old) || !is_old(&out->old)))
        return false;
    return take_tuple(from, &out->new) && out->new.kind == 'N';
}

static bool read_delete(struct bytes *from, struct pg_output *out)
{
    out->kind = PG_MESSAGE_DELETE;
    return take_u32(from, &out->relation) && take_tuple(from, &out->old) && is_old(&out->old);
}

static bool read_truncate(struct bytes *from, struct pg_output *out)
{
    uint8_t options;
    uint32_t count;
    out->kind = PG_MESSAGE_TRUNCATE;
    if (!take_u32(from, &count) || !take_u8(from, &options) || from->left / 4 < count)
        return false;
    out->count = count;
    out->relations = from->at;
    from->at += (size_t)count * 4;
    from->left -= (size_t)count * 4;
    return true;
}

static bool read_change(struct bytes *from, struct pg_output *out)
{
    uint8_t kind;
    if (!take_u8(from, &kind))
        return false;
    switch (kind) {
    case 'B':
        return read_begin(from, out);
    case 'C':
        return read_commit(from, out);
    case 'R':
        return read_relation(from, out);
    case 'I':
        return read_insert(from, out);
    case 'U':
        return read_update(from, out);
    case 'D':
        return read_delete(from, out);
    case 'T':
        return read_truncate(from, out);
    default:
        from->left = 0;
        return kind == 'Y' || kind == 'O' || kind == 'M';
    }
}

bool pg_output_read(const void *message, size_t bytes, struct pg_output *out)
{
    struct bytes from = {message, bytes};
    uint8_t kind, answer;
    uint64_t start, end, time;
    out->kind = PG_MESSAGE_OTHER;
    out->old.kind = out->new.kind = 0;
    if (!take_u8(&from, &kind))
        return false;
    if (kind == 'k') {
        out->kind = PG_MESSAGE_KEEPALIVE;
        if (!take_u64(&from, &out->lsn) || !take_time(&from, &out->time_us) ||
            !take_u8(&from, &answer))
            return false;
        out->answer = answer != 0;
        return from.left == 0;
    }
    return kind == 'w' && take_u64(&from, &start) && take_u64(&from, &end) &&
           take_u64(&from, &time) && read_change(&from, out) && from.left == 0;
}

uint32_t pg_output_truncated(const struct pg_output *output, unsigned i)
{
    uint32_t relation;
    memcpy(&relation, output->relations + (size_t)i * sizeof(relation), sizeof(relation));
    return be32toh(relation);
}

/* --- positions ------------------------------------------------------------------------------ */

void pg_lsn_text(uint64_t lsn, char out[PG_LSN_BYTES])
{
    snprintf(out, PG_LSN_BYTES, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

/* Up to eight hexadecimal digits; returns what follows them, or NULL. */
static const char *read_half(const char *text, uint32_t *out)
{
    const size_t digits = strspn(text, "0123456789ABCDEFabcdef");
    *out = (uint32_t)strtoul(text, NULL, 16);
    return digits >= 1 && digits <= 8 ? text + digits : NULL;
}

static const char *read_lsn(const char *text, uint64_t *out)
{
    uint32_t high, low;
    text = read_half(text, &high);
    text = text && *text == '/' ? read_half(text + 1, &low) : NULL;
    if (text)
        *out = (uint64_t)high << 32 | low;
    return text;
}

bool pg_lsn_read(const char *text, uint64_t *out)
{
    const char *end = read_lsn(text, out);
    return end && *end == '\0';
}

void pg_position_text(uint64_t lsn, uint32_t timeline, char out[PG_POSITION_BYTES])
{
    char place[PG_LSN_BYTES];
    pg_lsn_text(lsn, place);
    snprintf(out, PG_POSITION_BYTES, "%s@%" PRIu32, place, timeline);
}

bool pg_position_read(const char *text, uint64_t *lsn, uint32_t *timeline)
{
    const char *end = read_lsn(text, lsn);
    const size_t digits = end && *end == '@' ? strspn(end + 1, "0123456789") : 0;
    if (digits < 1 || digits > 9 || end[1 + digits] != '\0')
        return false;
    *timeline = (uint32_t)strtoul(end + 1, NULL, 10);
    return true;
}

/* Each line has a timeline of before, and the place up to which it was taken over. */
bool pg_history_has(const char *history, uint32_t timeline, uint64_t lsn)
{
    for (const char *line = history; *line; line += *line == '\n') {
        char *end;
        uint64_t until;
        line += strspn(line, " \t");
        const unsigned long number = strtoul(line, &end, 10);
        end += strspn(end, " \t");
        if (number == timeline && read_lsn(end, &until))
            return lsn <= until;
        line += strcspn(line, "\n");
    }
    return false;
}
