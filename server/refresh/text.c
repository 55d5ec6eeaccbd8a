/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c - numbers and sizes for people, clocks, and the names of what is counted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/refresh/internal.h"

const char *const refresh_skip_names[REFRESH_SKIP_COUNT] = {
#define SKIP_NAME(name, text) [REFRESH_SKIP_##name] = (text),
    REFRESH_SKIP_LIST(SKIP_NAME)
#undef SKIP_NAME
};

const char *const refresh_failure_names[REFRESH_FAILURE_COUNT] = {
#define FAILURE_NAME(name, text) [REFRESH_FAILURE_##name] = (text),
    REFRESH_FAILURE_LIST(FAILURE_NAME)
#undef FAILURE_NAME
};

const char *const refresh_phase_names[3] = {"waiting", "running", "backing off"};

const uint32_t refresh_bucket_ms[REFRESH_BUCKETS] = {5,    10,   25,    50,    100,    250,
                                                     1000, 5000, 15000, 60000, 300000, 1800000};

uint64_t refresh_sum(const uint64_t *counts, unsigned count)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += counts[i];
    return total;
}

const char *refresh_text_size(uint64_t bytes, char out[TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    bool whole = unit == 0 || value >= 100 || value == (double)(uint64_t)value;
    snprintf(out, TEXT_BYTES, whole ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

const char *refresh_text_count(uint64_t count, char out[TEXT_BYTES])
{
    char digits[TEXT_BYTES];
    int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

bool refresh_text_names(const char *text, const char *table)
{
    size_t size = strlen(table);
    return strncmp(text, "table ", 6) == 0 && strncmp(text + 6, table, size) == 0 &&
           text[6 + size] == ':';
}

const char *refresh_text_confirm(const char *table, char out[ADVICE_BYTES])
{
    snprintf(out, ADVICE_BYTES,
             "If that is right: `sidepond confirm %s`, or POST /confirm/%s over HTTP, or raise "
             "max_drop and reload",
             table, table);
    return out;
}
