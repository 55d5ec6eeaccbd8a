/* SPDX-License-Identifier: Apache-2.0
 *
 * postgresql_json.c - arrays in PostgreSQL's text form as the JSON that its to_json makes of them.
 *
 *   {1,NULL,3}                    [1,null,3]
 *   {{a,"b \"c\""},{NULL,"NULL"}} [["a","b \"c\""],[null,"NULL"]]
 *   [2:3]={1,2}                   [1,2]            bounds are not kept
 *   {"2026-11-27 17:05:00+02"}    ["2026-11-27T17:05:00+02:00"]
 *
 * Booleans and numbers are JSON's own, NaN and infinities strings, json and jsonb are put in as
 * they are, times are written as XML Schema has them; all else is a string.
 *
 * Costs: one pass, and at most six bytes of JSON for each of the text. Limits: elements that
 * to_json makes objects of (composites, types with a cast to json) are not for here.
 */
#include <stdio.h>
#include <string.h>

#include "server/source/postgresql_feed.h"

#define DEPTH_MAX 6  /* dimensions of an array: PostgreSQL's own limit */
#define GROWTH    6  /* a control character becomes \u0001 */
#define EXTRA     16 /* and a time gains ":00" */

struct array {
    const struct pg_form *form;
    const char *at, *end;
    char *out;     /* where the JSON goes on; there is room for all of it */
    char *element; /* the text of one element, without quotes and backslashes */
    unsigned depth;
};

static const char not_an_array[] = "an array that is none";

/* --- elements ------------------------------------------------------------------------------- */

static void put(struct array *array, const char *text, size_t size)
{
    memcpy(array->out, text, size);
    array->out += size;
}

static void put_escaped(struct array *array, char c)
{
    static const char *const names = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    const char *known = c ? strchr(names, c) : NULL;
    if (known) {
        *array->out++ = '\\';
        *array->out++ = letters[known - names];
    } else if ((unsigned char)c < ' ') {
        array->out += snprintf(array->out, 7, "\\u%04x", (unsigned)(unsigned char)c);
    } else {
        *array->out++ = c;
    }
}

static void put_string(struct array *array, const char *text, size_t size)
{
    *array->out++ = '"';
    for (size_t i = 0; i < size; i++)
        put_escaped(array, text[i]);
    *array->out++ = '"';
}

/* Whether it is what JSON calls a number; what a number's output may be besides is a word. */
static void put_number(struct array *array, const char *text, size_t size)
{
    const char last = size ? text[size - 1] : 0;
    if (last >= '0' && last <= '9')
        put(array, text, size);
    else
        put_string(array, text, size);
}

/* A zone of hours only gets its minutes: "+02" is "+02:00". Returns the end of the zone. */
static size_t put_zone(struct array *array, const char *text, size_t size)
{
    size_t i = 0;
    while (i < size && text[i] != ' ')
        i++;
    put(array, text, i);
    if (i == strlen("+02"))
        put(array, ":00", 3);
    return i;
}

static void put_time(struct array *array, const char *text, size_t size)
{
    size_t i = 0;
    bool clock = false;
    *array->out++ = '"';
    for (; i < size; i++) {
        if (!clock && text[i] == ' ') {
            clock = true;
            *array->out++ = 'T';
        } else if (clock && (text[i] == '+' || text[i] == '-')) {
            break;
        } else {
            put_escaped(array, text[i]);
        }
    }
    i += put_zone(array, text + i, size - i);
    for (; i < size; i++)
        put_escaped(array, text[i]);
    *array->out++ = '"';
}

static void put_element(struct array *array, size_t size)
{
    const char *text = array->element;
    switch (array->form->type) {
    case PG_BOOL:
        put(array, size == 1 && *text == 't' ? "true" : "false", size == 1 && *text == 't' ? 4 : 5);
        break;
    case PG_INT2:
    case PG_INT4:
    case PG_INT8:
    case PG_FLOAT4:
    case PG_FLOAT8:
    case PG_NUMERIC:
        put_number(array, text, size);
        break;
    case PG_JSON:
    case PG_JSONB:
        put(array, text, size);
        break;
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ:
        put_time(array, text, size);
        break;
    default:
        put_string(array, text, size);
    }
}

/* --- the text ------------------------------------------------------------------------------- */

static bool is_null(const char *text, size_t size)
{
    return size == 4 && memcmp(text, "NULL", 4) == 0;
}

static const char *read_quoted(struct array *array)
{
    size_t size = 0;
    for (array->at++; array->at < array->end && *array->at != '"'; array->at++) {
        array->at += *array->at == '\\';
        if (array->at == array->end)
            return not_an_array;
        array->element[size++] = *array->at;
    }
    if (array->at == array->end)
        return not_an_array;
    array->at++;
    put_element(array, size);
    return NULL;
}

static const char *read_plain(struct array *array)
{
    size_t size = 0;
    while (array->at < array->end && *array->at != array->form->delimiter && *array->at != '}')
        array->element[size++] = *array->at++;
    if (size == 0)
        return not_an_array;
    if (is_null(array->element, size))
        put(array, "null", 4);
    else
        put_element(array, size);
    return NULL;
}

static const char *read_item(struct array *array)
{
    if (*array->at == '"')
        return read_quoted(array);
    if (*array->at != '{')
        return read_plain(array);
    if (++array->depth > DEPTH_MAX)
        return not_an_array;
    array->at++;
    *array->out++ = '[';
    return NULL;
}

/* What follows an element: closing braces, and then another element or the end. */
static const char *read_after(struct array *array, bool *more)
{
    while (array->depth > 0 && array->at < array->end && *array->at == '}') {
        array->at++;
        array->depth--;
        *array->out++ = ']';
    }
    *more = array->depth > 0;
    if (!*more)
        return array->at == array->end ? NULL : not_an_array;
    if (array->at == array->end || *array->at != array->form->delimiter)
        return not_an_array;
    array->at++;
    *array->out++ = ',';
    return NULL;
}

static const char *read_array(struct array *array)
{
    const char *why = NULL;
    bool more = true;
    while (!why && more) {
        if (array->at == array->end)
            return not_an_array;
        const unsigned depth = array->depth;
        why = read_item(array);
        /* an opening brace has an element behind it, but for "{}" */
        if (!why && (array->depth == depth || (array->at < array->end && *array->at == '}')))
            why = read_after(array, &more);
    }
    return why;
}

const char *pg_array_json(const struct pg_form *form, const unsigned char *data, size_t bytes,
                          struct source_scratch *scratch, size_t *json_bytes)
{
    const size_t json_max = bytes * GROWTH + EXTRA, need = json_max + bytes;
    const char *text = (const char *)data, *open = bytes ? memchr(text, '{', bytes) : NULL;
    if (!open || (open != text && *text != '['))
        return not_an_array;
    if (!source_scratch_reserve(scratch, need))
        return "no memory for an array";
    struct array array = {form, open, text + bytes, scratch->text, scratch->text + json_max, 0};
    const char *why = read_array(&array);
    *json_bytes = (size_t)(array.out - scratch->text);
    return why;
}
