/* SPDX-License-Identifier: Apache-2.0
 *
 * values.c - reading scalars.
 *
 * Numbers are digits and a unit, without sign, fraction or space, so that there is one way to write
 * each. What people write instead ("10", "256M", "1.5s", "yes") is refused with the right spelling.
 */
#include "server/config/values.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/config/complaints.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* From large to small, so that printing finds the largest that divides. */
static const struct unit duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                             {"s", 1000},     {"ms", 1},      {NULL, 0}};
static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20},
    {"KiB", 1 << 10},           {"B", 1},         {NULL, 0}};
static const struct unit decimal_size_units[] = {{"TB", UINT64_C(1000000000000)},
                                                 {"GB", 1000000000},
                                                 {"MB", 1000000},
                                                 {"KB", 1000},
                                                 {"kB", 1000},
                                                 {NULL, 0}};

static bool fail(char why[VALUE_WHY_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(char why[VALUE_WHY_BYTES], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, VALUE_WHY_BYTES, format, args);
    va_end(args);
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Leading digits; at UINT64_MAX on overflow. Gives what follows them. */
static const char *read_digits(const char *text, uint64_t *out)
{
    uint64_t n = 0;
    for (; is_digit(*text); text++) {
        if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
            __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n)) {
            n = UINT64_MAX;
            text += strspn(text, "0123456789");
            break;
        }
    }
    *out = n;
    return text;
}

static const struct unit *find_unit(const struct unit *units, const char *name)
{
    for (; units->name; units++)
        if (strcmp(units->name, name) == 0)
            return units;
    return NULL;
}

static const char *print_number(const struct unit *units, uint64_t n, char out[VALUE_PRINT_BYTES])
{
    while (units->factor > 1 && (n == 0 || n % units->factor != 0))
        units++;
    snprintf(out, VALUE_PRINT_BYTES, "%" PRIu64 "%s", n / units->factor, units->name);
    return out;
}

const char *config_print_duration(uint64_t ms, char out[VALUE_PRINT_BYTES])
{
    if (ms == 0) {
        snprintf(out, VALUE_PRINT_BYTES, "0s");
        return out;
    }
    return print_number(duration_units, ms, out);
}

const char *config_print_size(uint64_t bytes, char out[VALUE_PRINT_BYTES])
{
    return print_number(size_units, bytes, out);
}

static bool in_range(const struct option *option, uint64_t n,
                     const char *(*print)(uint64_t, char[VALUE_PRINT_BYTES]), const char *text,
                     char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    char low[VALUE_PRINT_BYTES];
    char high[VALUE_PRINT_BYTES];
    if (n < option->min)
        return fail(why, "must be at least %s, not %s", print(option->min, low),
                    config_quote(text, q));
    if (n > option->max)
        return fail(why, "must be at most %s, not %s", print(option->max, high),
                    config_quote(text, q));
    return true;
}

static bool read_duration(const char *text, uint64_t *ms, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    const char *rest = read_digits(text, ms);
    const struct unit *unit = find_unit(duration_units, rest);
    if (rest == text)
        return fail(why, "must be a duration such as 250ms, 5s, 10m, 1h or 1d, not %s",
                    config_quote(text, q));
    if (*rest == '\0')
        return fail(why, "needs a unit: %ss, if seconds are meant (ms, s, m, h, d)",
                    strlen(text) < 20 ? text : "5");
    if (!unit)
        return fail(why, "must be one whole number with one unit (ms, s, m, h, d), not %s",
                    config_quote(text, q));
    if (__builtin_mul_overflow(*ms, unit->factor, ms))
        *ms = UINT64_MAX;
    return true;
}

static bool read_size(const char *text, uint64_t *bytes, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    const char *rest = read_digits(text, bytes);
    const struct unit *unit = find_unit(size_units, rest);
    if (!unit)
        unit = find_unit(decimal_size_units, rest);
    if (rest == text)
        return fail(why, "must be a size such as 64KiB, 256MiB or 4GiB, not %s",
                    config_quote(text, q));
    if (*rest == '\0')
        return fail(why, "needs a unit: %sMiB, if mebibytes are meant (B, KiB, MiB, GiB, TiB)",
                    strlen(text) < 20 ? text : "256");
    if (!unit && strlen(text) < 20 && strchr("kKmMgGtT", *rest) && rest[1] == '\0')
        return fail(why, "must say which unit: %.*s%ciB or %.*s%cB, not %s", (int)(rest - text),
                    text, *rest & ~0x20, (int)(rest - text), text, *rest & ~0x20,
                    config_quote(text, q));
    if (!unit)
        return fail(why,
                    "must be one whole number with one unit (B, KiB, MiB, GiB, TiB; "
                    "KB, MB, GB, TB), not %s",
                    config_quote(text, q));
    if (__builtin_mul_overflow(*bytes, unit->factor, bytes))
        *bytes = UINT64_MAX;
    return true;
}

static bool read_percent(const char *text, double *fraction, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    uint64_t whole;
    uint64_t part = 0;
    double scale = 1;
    const char *rest = read_digits(text, &whole);
    bool good = rest != text;
    if (good && *rest == '.') {
        const char *digits = rest + 1;
        rest = read_digits(digits, &part);
        good = rest != digits && rest - digits <= 6;
        for (const char *p = digits; good && p < rest; p++)
            scale *= 10;
    }
    if (!good || strcmp(rest, "%") != 0)
        return fail(why, "must be a percentage such as 50%%, not %s", config_quote(text, q));
    *fraction = ((double)whole + (double)part / scale) / 100;
    if (*fraction > 1)
        return fail(why, "must be at most 100%%, not %s", config_quote(text, q));
    return true;
}

static bool read_overlap(const char *text, uint64_t *out, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    const char *rest = read_digits(text, out);
    if (rest == text)
        return fail(why,
                    "must be a duration such as 5s for a timestamp watermark, or a number such "
                    "as 1000 for an integer one, not %s",
                    config_quote(text, q));
    if (*rest != '\0') {
        if (!read_duration(text, out, why))
            return false;
        if (__builtin_mul_overflow(*out, UINT64_C(1000), out))
            *out = UINT64_MAX;
    }
    if (*out > INT64_MAX)
        return fail(why, "is too large: %s", config_quote(text, q));
    return true;
}

static void list_words(const char *const *words, char *out, size_t out_bytes)
{
    size_t n = 0;
    out[0] = '\0';
    for (unsigned i = 0; words[i] && n < out_bytes; i++)
        n += (size_t)snprintf(out + n, out_bytes - n, "%s%s",
                              i == 0         ? ""
                              : words[i + 1] ? ", "
                                             : " or ",
                              words[i]);
}

static bool read_word(const char *const *words, const char *text, uint64_t *out,
                      char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    char all[128];
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return true;
        }
    }
    list_words(words, all, sizeof(all));
    const char *near = config_word_near(words, text);
    if (near)
        return fail(why, "must be %s, not %s; did you mean '%s'?", all, config_quote(text, q),
                    near);
    return fail(why, "must be %s, not %s", all, config_quote(text, q));
}

static bool check_name(const char *text, char why[VALUE_WHY_BYTES])
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    char q[QUOTED_BYTES];
    size_t n = strlen(text);
    if (n > OPTION_NAME_MAX)
        return fail(why, "must have at most %d characters, not %zu", OPTION_NAME_MAX, n);
    if (n == 0 || strspn(text, letters) != n)
        return fail(why, "must be made of letters, digits and _ . - (no others), not %s",
                    config_quote(text, q));
    if (*text == '.' || *text == '-')
        return fail(why, "must begin with a letter, a digit or _, not as %s",
                    config_quote(text, q));
    return true;
}

static bool check_length(const struct option *option, const char *text, char why[VALUE_WHY_BYTES])
{
    size_t n = strlen(text);
    if (n < option->min)
        return fail(why, "must not be empty");
    if (n > option->max)
        return fail(why, "must have at most %" PRIu64 " bytes, not %zu", option->max, n);
    return true;
}

/* ADDRESS:PORT apart; false unless it has that form. */
static bool split_address(const char *text, char host[64], unsigned *port)
{
    const char *colon = strrchr(text, ':');
    uint64_t n = 0;
    if (!colon || !is_digit(colon[1]) || *read_digits(colon + 1, &n) != '\0' || n > 65535)
        return false;
    size_t host_bytes = (size_t)(colon - text);
    bool bracketed = host_bytes >= 2 && text[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        text++;
        host_bytes -= 2;
    }
    if (host_bytes == 0 || host_bytes >= 64)
        return false;
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    *port = (unsigned)n;
    return bracketed == (strchr(host, ':') != NULL);
}

static bool check_address(const char *text, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    char host[64];
    unsigned port;
    unsigned char binary[sizeof(struct in6_addr)];
    if (split_address(text, host, &port) &&
        (strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, binary) == 1 ||
         inet_pton(AF_INET6, host, binary) == 1))
        return true;
    return fail(why, "must be ADDRESS:PORT such as 127.0.0.1:9180 or [::1]:9180, not %s",
                config_quote(text, q));
}

bool config_is_loopback(const char *address)
{
    char host[64];
    unsigned port;
    if (!split_address(address, host, &port))
        return false;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           strncmp(host, "127.", 4) == 0;
}

const char *config_socket_path(const char *address)
{
    static const char prefix[] = "unix:";
    return strncmp(address, prefix, sizeof(prefix) - 1) == 0 ? address + sizeof(prefix) - 1 : NULL;
}

static bool check_socket_path(const char *path, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    if (*path != '/')
        return fail(why, "must name a Unix socket by its whole path, as in unix:/run/cache, not %s",
                    config_quote(path, q));
    if (strlen(path) > VALUE_SOCKET_PATH_MAX)
        return fail(why, "has a path of %zu bytes, and a Unix socket's has at most %d",
                    strlen(path), VALUE_SOCKET_PATH_MAX);
    return true;
}

static bool check_listen(const char *text, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    char host[64];
    unsigned port = 0;
    const char *path = config_socket_path(text);
    if (path)
        return check_socket_path(path, why);
    if (!check_address(text, why))
        return fail(why,
                    "must be ADDRESS:PORT such as 127.0.0.1:6379 or [::1]:6379, or unix:/PATH, "
                    "not %s",
                    config_quote(text, q));
    split_address(text, host, &port);
    return port != 0 ||
           fail(why, "must have a port from 1 to 65535, not %s", config_quote(text, q));
}

static bool read_plain(const struct option *option, const char *text, uint64_t *out,
                       char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    if (*text == '\0' || *read_digits(text, out) != '\0')
        return fail(why, "must be a whole number, not %s", config_quote(text, q));
    if (*out < option->min || *out > option->max)
        return fail(why, "must be from %" PRIu64 " to %" PRIu64 ", not %s", option->min,
                    option->max, config_quote(text, q));
    return true;
}

/* Three octal digits, or four of which the first is 0; the owner may do both. */
static bool read_mode(const char *text, uint64_t *out, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    size_t size = strlen(text);
    bool good = strspn(text, "01234567") == size && (size == 3 || (size == 4 && *text == '0'));
    *out = 0;
    for (size_t i = 0; good && i < size; i++)
        *out = *out << 3 | (uint64_t)(text[i] - '0');
    if (!good)
        return fail(why, "must be permissions in octal such as 0660, not %s",
                    config_quote(text, q));
    return (*out & 0600) == 0600 ||
           fail(why, "must let the owner read and write, as 0600 does, not %s",
                config_quote(text, q));
}

static bool check_letters(const struct option *option, const char *text, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    size_t good = strspn(text, option->choices[0]);
    if (strlen(text) > option->max)
        return fail(why, "must have at most %" PRIu64 " letters", option->max);
    return text[good] == '\0' || fail(why, "must be made of the letters %s, not %s",
                                      option->choices[0], config_quote(text, q));
}

static bool read_bool(const char *text, uint64_t *out, char why[VALUE_WHY_BYTES])
{
    char q[QUOTED_BYTES];
    *out = strcmp(text, "true") == 0;
    if (*out || strcmp(text, "false") == 0)
        return true;
    return fail(why, "must be true or false, not %s", config_quote(text, q));
}

bool config_value_parse(const struct option *option, const char *text, struct value *out,
                        char why[VALUE_WHY_BYTES])
{
    *out = (struct value){0};
    switch (option->kind) {
    case OPTION_TEXT:
        return check_length(option, text, why);
    case OPTION_NAME:
        return check_name(text, why);
    case OPTION_PATH:
        return *text != '\0' || fail(why, "must not be empty");
    case OPTION_ADDRESS:
        return check_address(text, why);
    case OPTION_WORD:
    case OPTION_CHOICE:
        return read_word(option->choices, text, &out->number, why);
    case OPTION_BOOL:
        return read_bool(text, &out->number, why);
    case OPTION_NUMBER:
        return read_plain(option, text, &out->number, why);
    case OPTION_MODE:
        return read_mode(text, &out->number, why);
    case OPTION_LETTERS:
        return check_letters(option, text, why);
    case OPTION_LISTENS:
        return check_listen(text, why);
    case OPTION_DURATION:
        return read_duration(text, &out->number, why) &&
               in_range(option, out->number, config_print_duration, text, why);
    case OPTION_SIZE:
        return read_size(text, &out->number, why) &&
               in_range(option, out->number, config_print_size, text, why);
    case OPTION_PERCENT:
        return read_percent(text, &out->fraction, why);
    case OPTION_OVERLAP:
        return read_overlap(text, &out->number, why);
    case OPTION_LIST:
        return (*text != '\0' && strlen(text) <= 255) ||
               fail(why, "must have column names of 1 to 255 bytes");
    case OPTION_SECTION:
    case OPTION_SECTIONS:
        break;
    }
    return fail(why, "is not a single value");
}
