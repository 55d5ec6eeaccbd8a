/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c - where the lines go.
 *
 * The level is one atomic word, so a message below it costs a load. The rest (target, form, the
 * count of lost lines) is under one mutex, which is held while a line is written; that is what
 * keeps lines whole and in order. See log.h for what happens when nobody reads.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "server/log/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "server/log/line.h"

enum { MESSAGE_BYTES = 2048 };

static _Atomic int level_limit = LOG_INFO;
static _Atomic uint64_t lost_total;

static struct {
    pthread_mutex_t mutex;
    unsigned flags; /* of log_line_format */
    bool to_journal;
    uint64_t lost_count; /* since the last line that got through */
} output = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Whether stderr is the stream that systemd connected to the journal. */
static bool stderr_is_journal(void)
{
    struct stat about;
    unsigned long long device;
    unsigned long long inode;
    const char *stream = getenv("JOURNAL_STREAM");
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &about) == 0 && about.st_dev == device && about.st_ino == inode;
}

static bool wants_colour(void)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return isatty(STDERR_FILENO) && !(no_colour && *no_colour) && terminal &&
           strcmp(terminal, "dumb") != 0;
}

int log_open(enum log_target target, enum log_format format, int level)
{
    bool has_journal = access("/run/systemd/journal/socket", W_OK) == 0;
    unsigned flags = format == LOG_FORMAT_JSON ? LOG_LINE_JSON : 0;
    if (stderr_is_journal())
        flags |= LOG_LINE_JOURNAL;
    else if (format == LOG_FORMAT_TEXT && wants_colour())
        flags |= LOG_LINE_COLOUR;
    pthread_mutex_lock(&output.mutex);
    output.flags = flags;
    output.to_journal = target == LOG_TARGET_JOURNAL && has_journal;
    pthread_mutex_unlock(&output.mutex);
    atomic_store_explicit(&level_limit, level, memory_order_relaxed);
    return target == LOG_TARGET_JOURNAL && !has_journal ? SP_ESYS : SP_OK;
}

bool log_enabled(int level)
{
    return level <= atomic_load_explicit(&level_limit, memory_order_relaxed);
}

uint64_t log_lost_count(void)
{
    return atomic_load_explicit(&lost_total, memory_order_relaxed);
}

static bool can_write(int wait_ms)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    int ready;
    do
        ready = poll(&fd, 1, wait_ms);
    while (ready < 0 && errno == EINTR);
    return ready > 0 && (fd.revents & POLLOUT);
}

/* One write as a rule; more only where the kernel takes a part. */
static bool write_line(const char *line, size_t bytes, int wait_ms)
{
    while (bytes > 0) {
        if (!can_write(wait_ms))
            return false;
        ssize_t n = write(STDERR_FILENO, line, bytes);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        line += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool write_record(const struct log_record *record, int wait_ms)
{
    char line[LOG_LINE_BYTES];
    size_t bytes = log_line_format(line, output.flags, record);
    return write_line(line, bytes, wait_ms);
}

/* Says how many lines are missing before this one. */
static bool write_lost(const struct log_record *record)
{
    const struct log_field fields[] = {LOG_UINT("count", output.lost_count), {.key = NULL}};
    struct log_record lost = {.time = record->time,
                              .level = LOG_WARNING,
                              .component = "log",
                              .message = "lines were lost, as nobody read them",
                              .fields = fields};
    return write_record(&lost, 0);
}

static void write_stderr(const struct log_record *record)
{
    bool written = output.lost_count == 0 || write_lost(record);
    if (written && output.lost_count > 0)
        output.lost_count = 0;
    written = written && write_record(record, LOG_WAIT_MS);
    if (!written) {
        output.lost_count++;
        atomic_fetch_add_explicit(&lost_total, 1, memory_order_relaxed);
    }
}

static bool write_journal(const struct log_record *record)
{
    struct log_journal_entry entry;
    log_journal_format(&entry, record);
    return sd_journal_sendv(entry.fields, entry.count) == 0;
}

static void write_anywhere(struct log_record *record)
{
    clock_gettime(CLOCK_REALTIME, &record->time);
    pthread_mutex_lock(&output.mutex);
    if (!output.to_journal || !write_journal(record))
        write_stderr(record);
    pthread_mutex_unlock(&output.mutex);
}

void log_put(int level, const char *component, unsigned suppressed, const char *format, ...)
{
    int saved = errno;
    char message[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (bytes >= MESSAGE_BYTES)
        memcpy(message + sizeof(message) - 4, "...", 4);
    struct log_record record = {.level = level,
                                .component = component,
                                .message = bytes < 0 ? format : message,
                                .suppressed = suppressed};
    write_anywhere(&record);
    errno = saved;
}

void log_fields(int level, const char *component, const char *message,
                const struct log_field *fields)
{
    int saved = errno;
    struct log_record record = {
        .level = level, .component = component, .message = message, .fields = fields};
    write_anywhere(&record);
    errno = saved;
}

bool log_limit_pass(struct log_limit *limit, unsigned seconds, unsigned *suppressed)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    int64_t next_ms = atomic_load_explicit(&limit->next_ms, memory_order_relaxed);
    if ((next_ms == 0 || now_ms >= next_ms) &&
        atomic_compare_exchange_strong_explicit(&limit->next_ms, &next_ms,
                                                now_ms + (int64_t)seconds * 1000,
                                                memory_order_relaxed, memory_order_relaxed)) {
        *suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
    return false;
}
