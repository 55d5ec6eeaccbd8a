/* SPDX-License-Identifier: Apache-2.0
 *
 * row_time.c - points in time and dates as ISO 8601 text, and back.
 *
 * The calendar is the Gregorian one, also before it was introduced, as in PostgreSQL and Python.
 * A day number is counted in years that begin in March, so that the leap day is a year's last day,
 * and in periods of 400 years (146,097 days), after which everything repeats. Years are
 * astronomical: 0 is 1 BC. What is not 0000 to 9999 has a sign in text (ISO 8601, expanded).
 *
 * Costs: some ten nanoseconds each way. Limits: every int64 of microseconds and every int32 of days
 * has a text of its own; the highest and the lowest are the infinities.
 */
#include <string.h>
#include <strings.h>

#include "alloc/row_internal.h"

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR   (60 * US_PER_MINUTE)
#define US_PER_DAY    (24 * US_PER_HOUR)

#define PERIOD_YEARS 400
#define PERIOD_DAYS  146097
#define EPOCH_DAYS   719468 /* from 0000-03-01 to 1970-01-01 */

/* Beyond what 32 bits of days reach; keeps the arithmetic far from overflow. */
#define YEAR_DIGITS_MAX 8

struct civil {
    int64_t year;
    unsigned month; /* 1 to 12 */
    unsigned day;   /* 1 to 31 */
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days from 1 March to the first of a month, months counted from March = 0. */
static int64_t days_before_month(int64_t month)
{
    return (153 * month + 2) / 5;
}

static int64_t days_from_civil(struct civil date)
{
    const int64_t month = (date.month + 9) % 12;
    const int64_t year = date.year - (date.month <= 2);
    const int64_t period = floor_div(year, PERIOD_YEARS);
    const int64_t y = year - period * PERIOD_YEARS;
    return period * PERIOD_DAYS + y * 365 + y / 4 - y / 100 + days_before_month(month) + date.day -
           1 - EPOCH_DAYS;
}

static struct civil civil_from_days(int64_t days)
{
    const int64_t shifted = days + EPOCH_DAYS;
    const int64_t period = floor_div(shifted, PERIOD_DAYS);
    const int64_t d = shifted - period * PERIOD_DAYS;
    /* the leap days before day d: one in 1,461 days, less one in 36,524, and the period's last */
    const int64_t y = (d - d / 1460 + d / 36524 - d / (PERIOD_DAYS - 1)) / 365;
    const int64_t in_year = d - (y * 365 + y / 4 - y / 100);
    const int64_t month = (5 * in_year + 2) / 153;
    struct civil date = {
        .year = period * PERIOD_YEARS + y + (month >= 10),
        .month = (unsigned)(month < 10 ? month + 3 : month - 9),
        .day = (unsigned)(in_year - days_before_month(month) + 1),
    };
    return date;
}

static unsigned days_in_month(int64_t year, unsigned month)
{
    static const unsigned char days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

bool row_days_since_1970(int64_t year, unsigned month, unsigned day, int64_t *out)
{
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *out = days_from_civil((struct civil){year, month, day});
    return true;
}

/* --- to text ------------------------------------------------------------------------------- */

static char *put_digits(char *at, uint64_t number, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; number /= 10)
        at[i] = (char)('0' + number % 10);
    return at + digits;
}

static char *put_date(char *at, int64_t days)
{
    const struct civil date = civil_from_days(days);
    const uint64_t year = date.year < 0 ? (uint64_t)-date.year : (uint64_t)date.year;
    unsigned digits = 4;
    for (uint64_t rest = year / 10000; rest > 0; rest /= 10)
        digits++;
    if (date.year < 0)
        *at++ = '-';
    else if (digits > 4)
        *at++ = '+';
    at = put_digits(at, year, digits);
    *at++ = '-';
    at = put_digits(at, date.month, 2);
    *at++ = '-';
    return put_digits(at, date.day, 2);
}

static char *put_time(char *at, int64_t us)
{
    *at++ = 'T';
    at = put_digits(at, (uint64_t)(us / US_PER_HOUR), 2);
    *at++ = ':';
    at = put_digits(at, (uint64_t)(us / US_PER_MINUTE % 60), 2);
    *at++ = ':';
    at = put_digits(at, (uint64_t)(us / US_PER_SECOND % 60), 2);
    if (us % US_PER_SECOND == 0)
        return at;
    *at++ = '.';
    return put_digits(at, (uint64_t)(us % US_PER_SECOND), 6);
}

static int64_t highest(enum sp_type type)
{
    return type == SP_TYPE_DATE ? INT32_MAX : INT64_MAX;
}

static int64_t lowest(enum sp_type type)
{
    return type == SP_TYPE_DATE ? INT32_MIN : INT64_MIN;
}

size_t row_format_time(enum sp_type type, int64_t i, char *out)
{
    static const char infinity[] = "-infinity";
    if (i >= highest(type) || i <= lowest(type)) {
        const size_t skip = i > 0;
        memcpy(out, infinity + skip, sizeof(infinity) - 1 - skip);
        return sizeof(infinity) - 1 - skip;
    }
    char *at = out;
    if (type == SP_TYPE_DATE)
        return (size_t)(put_date(at, i) - out);
    const int64_t in_day = i % US_PER_DAY;
    at = put_date(at, floor_div(i, US_PER_DAY));
    at = put_time(at, in_day < 0 ? in_day + US_PER_DAY : in_day);
    if (type == SP_TYPE_TIMESTAMP)
        *at++ = 'Z';
    return (size_t)(at - out);
}

/* --- from text ----------------------------------------------------------------------------- */

struct cursor {
    const char *at;
    const char *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool accept(struct cursor *cursor, char c)
{
    if (cursor->at == cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static size_t digits_ahead(const struct cursor *cursor)
{
    const char *at = cursor->at;
    while (at < cursor->end && is_digit(*at))
        at++;
    return (size_t)(at - cursor->at);
}

/* A number of exactly so many digits (at most YEAR_DIGITS_MAX), at most `max`. */
static bool take_number(struct cursor *cursor, size_t digits, unsigned max, unsigned *out)
{
    unsigned number = 0;
    if (digits_ahead(cursor) < digits)
        return false;
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (unsigned)(*cursor->at++ - '0');
    *out = number;
    return number <= max;
}

static bool take_date(struct cursor *cursor, int64_t *days)
{
    const bool negative = accept(cursor, '-');
    const bool sign = negative || accept(cursor, '+');
    const size_t digits = digits_ahead(cursor);
    struct civil date;
    unsigned year;
    if (digits < 4 || digits > (sign ? YEAR_DIGITS_MAX : 4))
        return false;
    if (!take_number(cursor, digits, UINT32_MAX, &year) || !accept(cursor, '-') ||
        !take_number(cursor, 2, 12, &date.month) || !accept(cursor, '-') ||
        !take_number(cursor, 2, 31, &date.day))
        return false;
    date.year = negative ? -(int64_t)year : (int64_t)year;
    return row_days_since_1970(date.year, date.month, date.day, days);
}

/* Digits after the point; what is finer than a microsecond must be zero. */
static bool take_fraction(struct cursor *cursor, int64_t *us)
{
    int64_t unit = US_PER_SECOND / 10;
    if (digits_ahead(cursor) == 0)
        return false;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++, unit /= 10) {
        if (unit == 0 && *cursor->at != '0')
            return false;
        *us += (*cursor->at - '0') * unit;
    }
    return true;
}

static bool take_time(struct cursor *cursor, int64_t *us)
{
    unsigned hours, minutes, seconds = 0;
    if (!take_number(cursor, 2, 23, &hours) || !accept(cursor, ':') ||
        !take_number(cursor, 2, 59, &minutes))
        return false;
    *us = hours * US_PER_HOUR + minutes * US_PER_MINUTE;
    if (!accept(cursor, ':'))
        return true;
    if (!take_number(cursor, 2, 59, &seconds))
        return false;
    *us += seconds * US_PER_SECOND;
    return accept(cursor, '.') ? take_fraction(cursor, us) : true;
}

/* Z, +02, +0200, +02:00 or nothing, which is UTC. */
static bool take_zone(struct cursor *cursor, int64_t *us)
{
    unsigned hours, minutes = 0;
    *us = 0;
    if (cursor->at == cursor->end || accept(cursor, 'Z') || accept(cursor, 'z'))
        return true;
    const bool west = accept(cursor, '-');
    if (!west && !accept(cursor, '+'))
        return false;
    if (!take_number(cursor, 2, 23, &hours))
        return false;
    const bool colon = accept(cursor, ':');
    if ((colon || cursor->at < cursor->end) && !take_number(cursor, 2, 59, &minutes))
        return false;
    *us = (hours * US_PER_HOUR + minutes * US_PER_MINUTE) * (west ? -1 : 1);
    return true;
}

static bool take_infinity(const char *text, size_t text_bytes, enum sp_type type, int64_t *out)
{
    const bool negative = text_bytes > 0 && *text == '-';
    if (text_bytes != (negative ? 9u : 8u) || strncasecmp(text + negative, "infinity", 8) != 0)
        return false;
    *out = negative ? lowest(type) : highest(type);
    return true;
}

/* Microseconds of a day and a time of day in a zone; false if no int64 holds them. */
static bool join(int64_t days, int64_t time_us, int64_t zone_us, int64_t *out)
{
    __extension__ typedef __int128 wide;
    const wide us = (wide)days * US_PER_DAY + time_us - zone_us;
    if (us >= INT64_MAX || us <= INT64_MIN)
        return false;
    *out = (int64_t)us;
    return true;
}

int row_parse_time(enum sp_type type, const char *text, size_t text_bytes, int64_t *out)
{
    if (text_bytes == 0)
        return SP_ETYPE;
    if (take_infinity(text, text_bytes, type, out))
        return SP_OK;
    struct cursor cursor = {.at = text, .end = text + text_bytes};
    int64_t days, time_us = 0, zone_us = 0;
    if (!take_date(&cursor, &days))
        return SP_ETYPE;
    if (type == SP_TYPE_DATE) {
        *out = days;
        return cursor.at == cursor.end && days < INT32_MAX && days > INT32_MIN ? SP_OK : SP_ETYPE;
    }
    if (accept(&cursor, 'T') || accept(&cursor, 't') || accept(&cursor, ' ')) {
        if (!take_time(&cursor, &time_us))
            return SP_ETYPE;
        if (type == SP_TYPE_TIMESTAMP && !take_zone(&cursor, &zone_us))
            return SP_ETYPE;
    }
    if (cursor.at != cursor.end)
        return SP_ETYPE;
    return join(days, time_us, zone_us, out) ? SP_OK : SP_ETYPE;
}
