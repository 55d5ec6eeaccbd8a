/* SPDX-License-Identifier: Apache-2.0
 *
 * bson_parse.c - extended JSON (version 2, canonical or relaxed) as a key.
 *
 * The text is first checked to be JSON, as a whole; what follows need not care for that any more. A
 * value is then written in its canonical form as it is read (bson_key.c says what that is): no
 * document is made, and nothing is allocated. An object whose first member begins with a dollar
 * sign and is one of the known ones is the value that it describes; any other is a document.
 *
 *   number        int64 if it is an integer in that range, else double
 *   {"$oid": "..."}  {"$numberInt": "..."}  {"$numberLong": "..."}  {"$numberDouble": "..."}
 *   {"$numberDecimal": "..."}  {"$date": "2026-..." or {"$numberLong": "..."}}  {"$uuid": "..."}
 *   {"$binary": {"base64": "...", "subType": ".."}}  {"$timestamp": {"t": n, "i": n}}
 *   {"$regularExpression": {"pattern": "...", "options": "..."}}  {"$code": "..."[, "$scope": {}]}
 *   {"$symbol": "..."}  {"$dbPointer": {"$ref": "...", "$id": {"$oid": "..."}}}
 *   {"$undefined": true}  {"$minKey": 1}  {"$maxKey": 1}
 *
 * An object that begins as one of these and goes on otherwise is refused.
 *
 * Costs: a few nanoseconds for each byte. Limits: as bson_key.c; a text has at most TEXT_BYTES_MAX.
 */
#include <string.h>

#include "alloc/bson_internal.h"

#define TEXT_BYTES_MAX (4 * (size_t)ROW_KEY_BYTES_MAX)

struct parser {
    const char *at;
    const char *end;
    struct key_writer *writer;
};

/* A piece of the text: one JSON value. */
struct span {
    const char *at;
    size_t bytes;
};

static int put_value(struct parser *parser, size_t type_at, unsigned depth);
static int put_fields(struct parser *parser, unsigned depth);

/* --- moving over JSON that has been checked ------------------------------------------------ */

static char peek(struct parser *parser)
{
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\n' ||
                                        *parser->at == '\t' || *parser->at == '\r'))
        parser->at++;
    return parser->at < parser->end ? *parser->at : 0;
}

static bool accept(struct parser *parser, char c)
{
    if (peek(parser) != c)
        return false;
    parser->at++;
    return true;
}

/* The string that begins here, with its quotes. */
static struct span take_string(struct parser *parser)
{
    const char *start = parser->at++;
    while (parser->at < parser->end && *parser->at != '"')
        parser->at += *parser->at == '\\' ? 2 : 1;
    if (parser->at < parser->end)
        parser->at++;
    return (struct span){start, (size_t)(parser->at - start)};
}

/* The number or word that begins here. */
static struct span take_word(struct parser *parser)
{
    const char *start = parser->at;
    while (parser->at < parser->end && !memchr(" \n\t\r,]}", *parser->at, 7))
        parser->at++;
    return (struct span){start, (size_t)(parser->at - start)};
}

static struct span take_value(struct parser *parser)
{
    char c = peek(parser);
    const char *start = parser->at;
    unsigned depth = 0;
    if (c == '"')
        return take_string(parser);
    if (c != '{' && c != '[')
        return take_word(parser);
    do {
        c = *parser->at;
        if (c == '"') {
            take_string(parser);
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        parser->at++;
    } while (depth > 0 && parser->at < parser->end);
    return (struct span){start, (size_t)(parser->at - start)};
}

/* What is between the quotes; nothing if it is no string. */
static struct span unquoted(struct span string)
{
    if (string.bytes < 2 || *string.at != '"')
        return (struct span){string.at, 0};
    return (struct span){string.at + 1, string.bytes - 2};
}

static bool span_is(struct span span, const char *text)
{
    return span.bytes == strlen(text) && memcmp(span.at, text, span.bytes) == 0;
}

/* The member of an object by its name; false: it has none. `count`, if asked for: how many members
 * it has. */
static bool member(struct span object, const char *name, struct span *out, unsigned *count)
{
    struct parser parser = {.at = object.at, .end = object.at + object.bytes};
    bool found = false;
    unsigned members = 0;
    if (!accept(&parser, '{'))
        return false;
    while (peek(&parser) == '"') {
        const struct span at = unquoted(take_string(&parser));
        accept(&parser, ':');
        const struct span value = take_value(&parser);
        members++;
        if (span_is(at, name) && !found) {
            *out = value;
            found = true;
        }
        accept(&parser, ',');
    }
    if (count)
        *count = members;
    return found;
}

/* --- strings ------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four digits of a \u. */
static uint32_t code_unit(const char *at)
{
    uint32_t unit = 0;
    for (unsigned i = 0; i < 4; i++)
        unit = unit << 4 | (uint32_t)hex_digit(at[i]);
    return unit;
}

static void put_code_point(struct key_writer *writer, uint32_t c)
{
    uint8_t utf8[4];
    size_t size;
    if (c < 0x80) {
        utf8[0] = (uint8_t)c;
        size = 1;
    } else {
        size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (size_t i = size - 1; i > 0; i--, c >>= 6)
            utf8[i] = (uint8_t)(0x80 | (c & 0x3f));
        utf8[0] = (uint8_t)((0xf00 >> size & 0xff) | c);
    }
    key_put(writer, utf8, size);
}

/* What follows a \u at `at`; returns the place behind it, NULL for half a pair of surrogates. */
static const char *put_unicode(struct key_writer *writer, const char *at, const char *end)
{
    uint32_t c = code_unit(at);
    at += 4;
    if (c >= 0xdc00 && c <= 0xdfff)
        return NULL;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
            return NULL;
        const uint32_t low = code_unit(at + 2);
        if (low < 0xdc00 || low > 0xdfff)
            return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
    }
    put_code_point(writer, c);
    return at;
}

/* The text that a JSON string (without its quotes) means. `zeros`: it may have some. */
static int put_text(struct key_writer *writer, struct span string, bool zeros)
{
    static const char letters[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    const char *at = string.at;
    const char *end = at + string.bytes;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        const char *stop = escape ? escape : end;
        key_put(writer, at, (size_t)(stop - at));
        if (!escape)
            break;
        at = escape + 2;
        if (escape[1] == 'u') {
            if (!zeros && code_unit(at) == 0)
                return SP_ETYPE;
            at = put_unicode(writer, at, end);
            if (!at)
                return SP_ETYPE;
            continue;
        }
        for (size_t i = 0; i + 1 < sizeof(letters); i += 2)
            if (letters[i] == escape[1])
                key_put(writer, &letters[i + 1], 1);
    }
    return SP_OK;
}

/* A BSON string: length, text, zero. */
static int put_string(struct key_writer *writer, struct span string)
{
    const size_t start = writer->size;
    if (string.bytes < 2 || *string.at != '"')
        return SP_ETYPE;
    key_put(writer, "\0\0\0", sizeof(uint32_t));
    int status = put_text(writer, unquoted(string), true);
    key_put(writer, "", 1);
    key_patch_size(writer, start, sizeof(uint32_t));
    return status;
}

/* A text that ends with a zero. */
static int put_cstring(struct key_writer *writer, struct span string)
{
    if (string.bytes < 2 || *string.at != '"')
        return SP_ETYPE;
    int status = put_text(writer, unquoted(string), false);
    key_put(writer, "", 1);
    return status;
}

/* --- what objects with a dollar sign describe ---------------------------------------------- */

/* A number in a string, or as it is. */
static struct span digits_of(struct span value)
{
    return value.bytes > 0 && *value.at == '"' ? unquoted(value) : value;
}

static int int_of(struct span value, int64_t *out)
{
    const struct span digits = digits_of(value);
    struct sp_value number;
    int status = row_value_parse(SP_TYPE_INT64, digits.at, digits.bytes, NULL, &number);
    *out = status == SP_OK ? number.i : 0;
    return status;
}

static int uint32_of(struct span object, const char *name, uint32_t *out)
{
    struct span value;
    int64_t number;
    if (!member(object, name, &value, NULL) || int_of(value, &number) != SP_OK || number < 0 ||
        number > UINT32_MAX)
        return SP_ETYPE;
    *out = (uint32_t)number;
    return SP_OK;
}

bool bson_object_id_parse(const char *text, size_t bytes, uint8_t out[BSON_OBJECT_ID_BYTES])
{
    if (bytes != 2 * (size_t)BSON_OBJECT_ID_BYTES)
        return false;
    for (size_t i = 0; i < BSON_OBJECT_ID_BYTES; i++) {
        const int high = hex_digit(text[2 * i]);
        const int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int put_object_id(struct key_writer *writer, struct span value)
{
    uint8_t id[BSON_OBJECT_ID_BYTES];
    const struct span digits = unquoted(value);
    if (!bson_object_id_parse(digits.at, digits.bytes, id))
        return SP_ETYPE;
    key_put(writer, id, sizeof(id));
    return SP_OK;
}

static int put_int(struct key_writer *writer, size_t type_at, struct span value)
{
    struct bson_number number;
    int64_t i;
    int status = int_of(value, &i);
    bson_number_of_int(i, &number);
    bson_key_put_number(writer, type_at, &number);
    return status;
}

static int put_double(struct key_writer *writer, size_t type_at, struct span value)
{
    struct bson_number number;
    struct sp_value f = sp_float(0);
    const struct span digits = digits_of(value);
    int status = row_value_parse(SP_TYPE_FLOAT64, digits.at, digits.bytes, NULL, &f);
    if (status != SP_OK)
        return status;
    bson_number_of_double(f.f, &number);
    bson_key_put_number(writer, type_at, &number);
    return SP_OK;
}

static int put_decimal(struct key_writer *writer, size_t type_at, struct span value)
{
    struct bson_number number;
    struct bson_decimal decimal;
    const struct span digits = unquoted(value);
    int status = bson_decimal_parse(digits.at, digits.bytes, &decimal);
    if (status != SP_OK)
        return status;
    bson_number_of_decimal(decimal, &number);
    bson_key_put_number(writer, type_at, &number);
    return SP_OK;
}

/* ISO 8601, or milliseconds since 1970. */
static int put_date(struct key_writer *writer, struct span value)
{
    struct span wrapped;
    struct sp_value time;
    int64_t ms;
    int status;
    if (*value.at == '"') {
        const struct span text = unquoted(value);
        status = row_value_parse(SP_TYPE_TIMESTAMP, text.at, text.bytes, NULL, &time);
        if (status != SP_OK || time.i % 1000 != 0)
            return SP_ETYPE;
        ms = time.i / 1000;
    } else {
        if (member(value, "$numberLong", &wrapped, NULL))
            value = wrapped;
        status = int_of(value, &ms);
    }
    key_put(writer, &ms, sizeof(ms));
    return status;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int put_base64(struct key_writer *writer, struct span text)
{
    uint32_t bits = 0;
    size_t digits = text.bytes;
    while (digits > 0 && digits + 2 > text.bytes && text.at[digits - 1] == '=')
        digits--;
    if (text.bytes % 4 != 0 || digits % 4 == 1)
        return SP_ETYPE;
    for (size_t i = 0; i < digits; i++) {
        const int digit = base64_digit(text.at[i]);
        if (digit < 0)
            return SP_ETYPE;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0) {
            const uint8_t byte = (uint8_t)(bits >> (2 * (3 - i % 4)));
            key_put(writer, &byte, 1);
        }
    }
    return SP_OK;
}

/* Of the old subtype 2 the bytes have a length of their own before them. */
static int put_binary(struct key_writer *writer, struct span value)
{
    struct span text, subtype;
    const size_t start = writer->size;
    if (!member(value, "base64", &text, NULL) || !member(value, "subType", &subtype, NULL))
        return SP_ETYPE;
    subtype = unquoted(subtype);
    const int low = subtype.bytes > 0 ? hex_digit(subtype.at[subtype.bytes - 1]) : -1;
    const int high = subtype.bytes > 1 ? hex_digit(subtype.at[0]) : 0;
    if (subtype.bytes > 2 || low < 0 || high < 0)
        return SP_ETYPE;
    const uint8_t number = (uint8_t)(high << 4 | low);
    key_put(writer, "\0\0\0", sizeof(uint32_t));
    key_put(writer, &number, 1);
    const size_t inner = writer->size;
    if (number == 2)
        key_put(writer, "\0\0\0", sizeof(uint32_t));
    int status = put_base64(writer, unquoted(text));
    if (number == 2)
        key_patch_size(writer, inner, sizeof(uint32_t));
    key_patch_size(writer, start, sizeof(uint32_t) + 1);
    return status;
}

static int put_uuid(struct key_writer *writer, struct span value)
{
    static const uint8_t head[] = {16, 0, 0, 0, 4};
    uint8_t uuid[16];
    struct sp_value parsed;
    const struct span text = unquoted(value);
    int status = row_value_parse(SP_TYPE_UUID, text.at, text.bytes, uuid, &parsed);
    if (status != SP_OK)
        return status;
    key_put(writer, head, sizeof(head));
    key_put(writer, uuid, sizeof(uuid));
    return SP_OK;
}

static int put_regex(struct key_writer *writer, struct span value)
{
    struct span pattern, options;
    if (!member(value, "pattern", &pattern, NULL) || !member(value, "options", &options, NULL))
        return SP_ETYPE;
    int status = put_cstring(writer, pattern);
    return status == SP_OK ? put_cstring(writer, options) : status;
}

static int put_timestamp(struct key_writer *writer, struct span value)
{
    uint32_t parts[2]; /* the increment comes first */
    if (uint32_of(value, "i", &parts[0]) != SP_OK || uint32_of(value, "t", &parts[1]) != SP_OK)
        return SP_ETYPE;
    key_put(writer, parts, sizeof(parts));
    return SP_OK;
}

static int put_pointer(struct key_writer *writer, struct span value)
{
    struct span name, id, digits;
    if (!member(value, "$ref", &name, NULL) || !member(value, "$id", &id, NULL) ||
        !member(id, "$oid", &digits, NULL))
        return SP_ETYPE;
    int status = put_string(writer, name);
    return status == SP_OK ? put_object_id(writer, digits) : status;
}

static int put_code(struct key_writer *writer, size_t type_at, struct span object, struct span code,
                    unsigned depth)
{
    struct span scope;
    unsigned members;
    const size_t start = writer->size;
    if (!member(object, "$scope", &scope, &members))
        return members == 1 ? put_string(writer, code) : SP_ETYPE;
    if (*scope.at != '{')
        return SP_ETYPE;
    struct parser parser = {.at = scope.at, .end = scope.at + scope.bytes, .writer = writer};
    key_patch(writer, type_at, &(uint8_t){SP_BSON_CODE_WITH_SCOPE}, 1);
    key_put(writer, "\0\0\0", sizeof(uint32_t));
    int status = put_string(writer, code);
    if (status == SP_OK)
        status = put_fields(&parser, depth);
    key_patch_size(writer, start, 0);
    return status;
}

enum special {
    OBJECT_ID,
    INT,
    DOUBLE,
    DECIMAL,
    DATE,
    UUID,
    BINARY,
    TIMESTAMP,
    REGEX,
    CODE,
    SYMBOL,
    POINTER,
    EMPTY,
};

static const struct {
    const char *name;
    enum special special;
    uint8_t type;
} specials[] = {
    {"$oid", OBJECT_ID, SP_BSON_OBJECT_ID},
    {"$numberInt", INT, SP_BSON_INT64},
    {"$numberLong", INT, SP_BSON_INT64},
    {"$numberDouble", DOUBLE, SP_BSON_DOUBLE},
    {"$numberDecimal", DECIMAL, SP_BSON_DECIMAL128},
    {"$date", DATE, SP_BSON_DATE},
    {"$uuid", UUID, SP_BSON_BINARY},
    {"$binary", BINARY, SP_BSON_BINARY},
    {"$timestamp", TIMESTAMP, SP_BSON_TIMESTAMP},
    {"$regularExpression", REGEX, SP_BSON_REGEX},
    {"$code", CODE, SP_BSON_CODE},
    {"$symbol", SYMBOL, SP_BSON_STRING},
    {"$dbPointer", POINTER, SP_BSON_DB_POINTER},
    {"$undefined", EMPTY, SP_BSON_UNDEFINED},
    {"$minKey", EMPTY, SP_BSON_MIN_KEY},
    {"$maxKey", EMPTY, SP_BSON_MAX_KEY},
};

static int put_special(struct key_writer *writer, size_t type_at, size_t which, struct span object,
                       struct span value, unsigned depth)
{
    key_patch(writer, type_at, &specials[which].type, 1);
    switch (specials[which].special) {
    case OBJECT_ID:
        return put_object_id(writer, value);
    case INT:
        return put_int(writer, type_at, value);
    case DOUBLE:
        return put_double(writer, type_at, value);
    case DECIMAL:
        return put_decimal(writer, type_at, value);
    case DATE:
        return put_date(writer, value);
    case UUID:
        return put_uuid(writer, value);
    case BINARY:
        return put_binary(writer, value);
    case TIMESTAMP:
        return put_timestamp(writer, value);
    case REGEX:
        return put_regex(writer, value);
    case CODE:
        return put_code(writer, type_at, object, value, depth);
    case SYMBOL:
        return put_string(writer, value);
    case POINTER:
        return put_pointer(writer, value);
    case EMPTY:
        break;
    }
    return SP_OK;
}

/* Which of the specials the object that begins here is, by its first member; their number if it is
 * a document. */
static size_t special_of(struct parser parser)
{
    const size_t count = sizeof(specials) / sizeof(*specials);
    size_t i = 0;
    accept(&parser, '{');
    if (peek(&parser) != '"' || parser.end - parser.at < 2 || parser.at[1] != '$')
        return count;
    const struct span name = unquoted(take_string(&parser));
    while (i < count && !span_is(name, specials[i].name))
        i++;
    return i;
}

/* --- values -------------------------------------------------------------------------------- */

static int put_item(struct parser *parser, struct span name, unsigned depth)
{
    const size_t type_at = parser->writer->size;
    if (type_at > ROW_KEY_BYTES_MAX)
        return SP_ETOOBIG;
    key_put(parser->writer, "", 1);
    int status = put_cstring(parser->writer, name);
    return status == SP_OK ? put_value(parser, type_at, depth + 1) : status;
}

/* An object as a document. */
static int put_fields(struct parser *parser, unsigned depth)
{
    const size_t start = parser->writer->size;
    int status = depth < BSON_DEPTH_MAX ? SP_OK : SP_ETYPE;
    key_put(parser->writer, "\0\0\0", sizeof(uint32_t));
    accept(parser, '{');
    while (status == SP_OK && peek(parser) == '"') {
        const struct span name = take_string(parser);
        accept(parser, ':');
        status = put_item(parser, name, depth);
        accept(parser, ',');
    }
    accept(parser, '}');
    key_put(parser->writer, "", 1);
    key_patch_size(parser->writer, start, 0);
    return status;
}

static int put_items(struct parser *parser, unsigned depth)
{
    const size_t start = parser->writer->size;
    int status = depth < BSON_DEPTH_MAX ? SP_OK : SP_ETYPE;
    key_put(parser->writer, "\0\0\0", sizeof(uint32_t));
    accept(parser, '[');
    for (int64_t i = 0; status == SP_OK && peek(parser) != ']' && peek(parser) != 0; i++) {
        char name[ROW_FORMAT_BYTES + 2] = "\"";
        const size_t digits = row_format_int(i, name + 1);
        name[1 + digits] = '"';
        status = put_item(parser, (struct span){name, digits + 2}, depth);
        accept(parser, ',');
    }
    accept(parser, ']');
    key_put(parser->writer, "", 1);
    key_patch_size(parser->writer, start, 0);
    return status;
}

static int put_number(struct key_writer *writer, size_t type_at, struct span number)
{
    struct bson_number canonical;
    int64_t i;
    if (int_of(number, &i) != SP_OK)
        return put_double(writer, type_at, number);
    bson_number_of_int(i, &canonical);
    bson_key_put_number(writer, type_at, &canonical);
    return SP_OK;
}

/* An object: what it describes, or a document. */
static int put_object(struct parser *parser, size_t type_at, unsigned depth)
{
    const size_t which = special_of(*parser);
    struct span value;
    unsigned members;
    if (which == sizeof(specials) / sizeof(*specials)) {
        key_patch(parser->writer, type_at, &(uint8_t){SP_BSON_DOCUMENT}, 1);
        return put_fields(parser, depth);
    }
    const struct span object = take_value(parser);
    if (!member(object, specials[which].name, &value, &members) ||
        members > (specials[which].special == CODE ? 2 : 1))
        return SP_ETYPE;
    return put_special(parser->writer, type_at, which, object, value, depth);
}

static int put_word(struct key_writer *writer, size_t type_at, struct span word)
{
    const uint8_t truth = *word.at == 't';
    const uint8_t type = *word.at == 'n' ? SP_BSON_NULL : SP_BSON_BOOL;
    key_patch(writer, type_at, &type, 1);
    key_put(writer, &truth, type == SP_BSON_BOOL);
    return SP_OK;
}

/* Writes the bytes of a value, and its type to type_at. */
static int put_value(struct parser *parser, size_t type_at, unsigned depth)
{
    struct key_writer *writer = parser->writer;
    switch (peek(parser)) {
    case '{':
        return put_object(parser, type_at, depth);
    case '[':
        key_patch(writer, type_at, &(uint8_t){SP_BSON_ARRAY}, 1);
        return put_items(parser, depth);
    case '"':
        key_patch(writer, type_at, &(uint8_t){SP_BSON_STRING}, 1);
        return put_string(writer, take_string(parser));
    case 't':
    case 'f':
    case 'n':
        return put_word(writer, type_at, take_value(parser));
    default:
        return put_number(writer, type_at, take_value(parser));
    }
}

int bson_key_put_json(struct key_writer *writer, const char *text, size_t bytes)
{
    struct parser parser = {.at = text, .end = text + bytes, .writer = writer};
    const size_t type_at = writer->size;
    if (bytes > TEXT_BYTES_MAX)
        return SP_ETOOBIG;
    if (!row_json_valid(text, bytes))
        return SP_ETYPE;
    key_put(writer, "", 1);
    return put_value(&parser, type_at, 0);
}

/* --- keys as people write them ------------------------------------------------------------- */

/* Whether a text can only be meant as JSON. */
static bool is_json(const char *text, size_t bytes)
{
    if (bytes == 0 || !strchr("-0123456789tfn", *text))
        return false;
    const char last = text[bytes - 1];
    return last != ' ' && last != '\t' && last != '\n' && last != '\r' &&
           row_json_valid(text, bytes);
}

int row_key_parse(enum sp_type type, const char *text, size_t text_bytes, void *scratch,
                  struct sp_value *out)
{
    if (!text)
        text = "";
    *out = sp_text(text, text_bytes);
    if (type != SP_TYPE_BSON_VALUE)
        return SP_OK;
    if (bson_object_id_parse(text, text_bytes, scratch)) {
        *out = sp_bytes(SP_TYPE_BSON_VALUE, scratch, BSON_OBJECT_ID_BYTES);
        out->bson_type = SP_BSON_OBJECT_ID;
        return SP_OK;
    }
    const bool opens = text_bytes > 0 && (*text == '{' || *text == '[' || *text == '"');
    if (opens && !row_json_valid(text, text_bytes))
        return SP_ETYPE;
    if (opens || is_json(text, text_bytes))
        out->type = SP_TYPE_JSON;
    return opens || row_utf8_valid(text, text_bytes) ? SP_OK : SP_ETYPE;
}
