/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h - what the daemon says of itself.
 *
 *   log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_INFO);
 *   log_info("daemon", "pond %s is ready", name);
 *   log_event(LOG_INFO, "refresh", "committed", LOG_STR("table", name), LOG_INT("rows", n));
 *   log_limited(LOG_WARNING, "source", 60, "%s does not answer", host);
 *
 * A level is one of syslog's: LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. Everything here may be
 * called from any thread, never from a signal handler; errno is kept. Messages carry no passwords
 * and no row's data but its key. Arguments of a message below the level are not evaluated.
 *
 * A message is one line and one write(2) of at most LOG_LINE_BYTES; what does not fit is cut, and
 * said to be. Writing never waits for ever: a reader of stderr that does not read for
 * LOG_WAIT_MS costs the line, the next ones cost nothing while that lasts, and the first line that
 * gets through again is preceded by one that says how many were lost. (Another process that fills
 * the same pipe between our look and our write can still make that write wait.)
 */
#ifndef SIDEPOND_LOG_H
#define SIDEPOND_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "sidepond/status.h"

enum { LOG_LINE_BYTES = 4096, LOG_WAIT_MS = 100 };

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_JOURNAL };

/* Says where messages go from now on, in which form, and down to which level; may be called again.
 * Before the first call: text on stderr, LOG_INFO. SP_ESYS if there is no journal to write to:
 * then they go to stderr. When stderr is the journal (systemd's default) lines have no time, which
 * the journal knows, but its "<N>" prefix of the priority. Colours only on a terminal, and not if
 * NO_COLOR is set. */
int log_open(enum log_target target, enum log_format format, int level);

/* Whether a message of this level would be written. */
bool log_enabled(int level);

enum log_field_type {
    LOG_FIELD_TEXT,
    LOG_FIELD_INT,
    LOG_FIELD_UINT,
    LOG_FIELD_REAL,
    LOG_FIELD_BOOL
};

/* A key is a literal of small letters, digits and _. Texts are borrowed for the call; NULL is
 * written as "-" (JSON: null). */
struct log_field {
    const char *key;
    enum log_field_type type;
    union {
        const char *text;
        int64_t integer;
        uint64_t natural;
        double real;
        bool boolean;
    };
};

/* clang-format off */
#define LOG_STR(name, value)  {.key = (name), .type = LOG_FIELD_TEXT, .text = (value)}
#define LOG_INT(name, value)  {.key = (name), .type = LOG_FIELD_INT, .integer = (value)}
#define LOG_UINT(name, value) {.key = (name), .type = LOG_FIELD_UINT, .natural = (value)}
#define LOG_REAL(name, value) {.key = (name), .type = LOG_FIELD_REAL, .real = (value)}
#define LOG_BOOL(name, value) {.key = (name), .type = LOG_FIELD_BOOL, .boolean = (value)}
/* clang-format on */

#define log_error(component, ...)   log_at(LOG_ERR, component, __VA_ARGS__)
#define log_warning(component, ...) log_at(LOG_WARNING, component, __VA_ARGS__)
#define log_info(component, ...)    log_at(LOG_INFO, component, __VA_ARGS__)
#define log_debug(component, ...)   log_at(LOG_DEBUG, component, __VA_ARGS__)

/* log_at(level, component, format, ...) */
#define log_at(level, component, ...)                                                              \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_put(level, component, 0, __VA_ARGS__);                                             \
    } while (0)

/* log_event(level, component, message, field, ...): a constant message and at least one field. */
#define log_event(level, component, message, ...)                                                  \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_fields(level, component, message,                                                  \
                       (const struct log_field[]){__VA_ARGS__, {.key = NULL}});                    \
    } while (0)

/* log_limited(level, component, seconds, format, ...): at most one message in `seconds` from this
 * place in the code; it says how many were left out since the last one ("suppressed"). */
#define log_limited(level, component, seconds, ...)                                                \
    do {                                                                                           \
        static struct log_limit log_limit_here;                                                    \
        unsigned log_limit_count;                                                                  \
        if (log_enabled(level) && log_limit_pass(&log_limit_here, seconds, &log_limit_count))      \
            log_put(level, component, log_limit_count, __VA_ARGS__);                               \
    } while (0)

/* What the macros call. */
struct log_limit {
    _Atomic int64_t next_ms; /* of CLOCK_MONOTONIC; 0: never passed */
    _Atomic unsigned suppressed;
};
bool log_limit_pass(struct log_limit *limit, unsigned seconds, unsigned *suppressed);
/* Not log_message: libzookeeper_mt has one, and would call this. */
void log_put(int level, const char *component, unsigned suppressed, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void log_fields(int level, const char *component, const char *message,
                const struct log_field *fields);

/* Lines that were lost because stderr took them not or not in time, since the start. */
uint64_t log_lost_count(void);

#endif
