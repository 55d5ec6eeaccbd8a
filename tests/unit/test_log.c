/* SPDX-License-Identifier: Apache-2.0
 *
 * test_log.c - the daemon's log.
 *
 * Goal: a message is one whole line of the right form whatever it holds; JSON is always JSON;
 * nobody reading stderr stops nobody writing it; a rate limit counts what it leaves out. Method:
 * lines are formatted from records with a fixed time and compared byte by byte; random records
 * (seed printed, SIDEPOND_SEED=N repeats) are formatted as JSON and read by jansson; the output is
 * caught by putting a pipe in the place of stderr, also a full one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "random_numbers.h"
#include "server/log/line.h"
#include "server/log/log.h"

static const struct timespec moment = {.tv_sec = 1700000000, .tv_nsec = 7654321};
#define MOMENT "2023-11-14T22:13:20.007Z"

/* --- one line --- */

static void check_line(unsigned flags, struct log_record record, const char *expected)
{
    char line[LOG_LINE_BYTES];
    record.time = moment;
    size_t bytes = log_line_format(line, flags, &record);
    assert_true(bytes < LOG_LINE_BYTES);
    line[bytes] = '\0';
    assert_string_equal(line, expected);
}

static void test_text_line(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        LOG_STR("table", "users"), LOG_INT("rows", -3),    LOG_UINT("bytes", UINT64_MAX),
        LOG_REAL("seconds", 0.25), LOG_BOOL("full", true), LOG_STR("why", "no \"such\" key"),
        LOG_STR("empty", ""),      LOG_STR("none", NULL),  {.key = NULL}};
    struct log_record record = {
        .level = LOG_INFO, .component = "refresh", .message = "committed", .fields = fields};
    check_line(0, record,
               MOMENT " info    refresh: committed table=users rows=-3 "
                      "bytes=18446744073709551615 seconds=0.25 full=true "
                      "why=\"no \\\"such\\\" key\" empty=\"\" none=-\n");
    record.fields = NULL;
    record.suppressed = 7;
    check_line(LOG_LINE_JOURNAL, record, "<6>refresh: committed suppressed=7\n");
    record.level = LOG_ERR;
    record.suppressed = 0;
    check_line(LOG_LINE_COLOUR, record, MOMENT " \x1b[31merror  \x1b[0m refresh: committed\n");
}

static void test_json_line(void **state)
{
    (void)state;
    const struct log_field fields[] = {LOG_STR("table", "users"),      LOG_INT("rows", -3),
                                       LOG_REAL("seconds", 1.0 / 0.0), LOG_BOOL("full", false),
                                       LOG_STR("none", NULL),          {.key = NULL}};
    struct log_record record = {.level = LOG_WARNING,
                                .component = "refresh",
                                .message = "a \"b\" \\ \n\t\x01 \xff ä",
                                .fields = fields};
    check_line(LOG_LINE_JSON, record,
               "{\"time\":\"" MOMENT "\",\"level\":\"warning\",\"component\":\"refresh\","
               "\"message\":\"a \\\"b\\\" \\\\ \\n\\t\\u0001 \xef\xbf\xbd ä\","
               "\"table\":\"users\",\"rows\":-3,\"seconds\":null,\"full\":false,\"none\":null}\n");
    record.fields = NULL;
    check_line(LOG_LINE_JSON | LOG_LINE_JOURNAL, record,
               "<4>{\"level\":\"warning\",\"component\":\"refresh\","
               "\"message\":\"a \\\"b\\\" \\\\ \\n\\t\\u0001 \xef\xbf\xbd ä\"}\n");
}

/* What the world put into a message begins no line and moves no cursor. */
static void test_hostile_text(void **state)
{
    (void)state;
    struct log_record record = {.level = LOG_DEBUG,
                                .component = "source",
                                .message = "a\nerror b\x1b[2J\x7f\xc2\x9b!\xed\xa0\x80\xc0\x80"};
    check_line(LOG_LINE_JOURNAL, record,
               "<7>source: a\\nerror b\\u001b[2J\\u007f\\u009b!"
               "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n");
}

static void test_long_line(void **state)
{
    (void)state;
    char line[LOG_LINE_BYTES + 1];
    char *large = malloc(20001);
    memset(large, '"', 20000);
    large[20000] = '\0';
    const struct log_field fields[] = {
        LOG_STR("a", large), LOG_STR("b", large), LOG_INT("c", 1), {.key = NULL}};
    struct log_record record = {
        .level = LOG_INFO, .component = large, .message = "short", .fields = fields};
    size_t bytes = log_line_format(line, LOG_LINE_JSON, &record);
    assert_in_range(bytes, LOG_LINE_BYTES - 64, LOG_LINE_BYTES);
    line[bytes] = '\0';
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(object);
    assert_true(json_is_true(json_object_get(object, "truncated")));
    json_decref(object);
    record.component = "x";
    bytes = log_line_format(line, 0, &record);
    assert_memory_equal(line + bytes - 4, "...\n", 4);
    assert_ptr_equal(memchr(line, '\n', bytes), line + bytes - 1);
    free(large);
}

static char *random_text(void)
{
    static const char *const pieces[] = {
        "\"", "\\",   "\n",   "ä",        "\xf0\x9f\x90\xb8", "\xff",
        "a",  "\x01", "\xe2", "\xf4\x90", "long and plain",   "="};
    size_t count = random_next() % 4 ? random_next() % 20 : random_next() % 1500;
    char *text = calloc(count + 1, 16);
    assert_non_null(text);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[random_next() % (sizeof(pieces) / sizeof(pieces[0]))];
        memcpy(text + used, piece, strlen(piece));
        used += strlen(piece);
    }
    return text;
}

static void check_random_record(void)
{
    char line[LOG_LINE_BYTES + 1];
    char *texts[3] = {random_text(), random_text(), random_text()};
    const struct log_field fields[] = {LOG_STR("a", texts[1]),
                                       LOG_INT("n", (int64_t)random_next()),
                                       LOG_STR("b", texts[2]),
                                       LOG_REAL("r", (double)random_next()),
                                       {.key = NULL}};
    struct log_record record = {.time = moment,
                                .level = LOG_INFO,
                                .component = "c",
                                .message = texts[0],
                                .fields = fields,
                                .suppressed = (unsigned)random_next() % 3};
    size_t bytes = log_line_format(line, LOG_LINE_JSON, &record);
    assert_true(bytes <= LOG_LINE_BYTES);
    line[bytes] = '\0';
    assert_ptr_equal(strchr(line, '\n'), line + bytes - 1);
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("not JSON: %s\n%s", error.text, line);
    assert_string_equal(json_string_value(json_object_get(object, "level")), "info");
    json_decref(object);
    bytes = log_line_format(line, 0, &record);
    assert_ptr_equal(memchr(line, '\n', bytes), line + bytes - 1);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}

static void test_random_json(void **state)
{
    (void)state;
    random_start();
    for (int i = 0; i < 3000; i++)
        check_random_record();
}

static void test_journal_fields(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        LOG_STR("table", "users\nx"), LOG_INT("rows", 4), LOG_STR("none", NULL), {.key = NULL}};
    struct log_record record = {
        .level = LOG_WARNING, .component = "refresh", .message = "held back", .fields = fields};
    static const char *const expected[] = {
        "MESSAGE=refresh: held back table=\"users\\nx\" rows=4 none=-",
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=sidepondd",
        "SIDEPOND_COMPONENT=refresh",
        "SIDEPOND_TABLE=users\nx",
        "SIDEPOND_ROWS=4",
    };
    static struct log_journal_entry entry;
    log_journal_format(&entry, &record);
    assert_int_equal(entry.count, 6);
    for (int i = 0; i < entry.count; i++) {
        assert_int_equal(entry.fields[i].iov_len, strlen(expected[i]));
        assert_memory_equal(entry.fields[i].iov_base, expected[i], strlen(expected[i]));
    }
}

/* --- through stderr --- */

struct caught {
    int saved_stderr;
    int reader;
};

/* A pipe in the place of stderr. */
static struct caught catch_stderr(void)
{
    int fds[2];
    struct caught caught = {.saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)};
    assert_true(caught.saved_stderr >= 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    close(fds[1]);
    caught.reader = fds[0];
    return caught;
}

/* Puts stderr back and gives what was still in the pipe, to be freed. */
static char *release_stderr(struct caught *caught)
{
    char *text = NULL;
    size_t bytes = 0;
    dup2(caught->saved_stderr, STDERR_FILENO);
    close(caught->saved_stderr);
    FILE *file = fdopen(caught->reader, "r");
    assert_non_null(file);
    if (getdelim(&text, &bytes, EOF, file) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(file);
    return text;
}

static int evaluations;

static const char *evaluated(void)
{
    evaluations++;
    return "x";
}

static void test_levels(void **state)
{
    (void)state;
    struct caught caught = catch_stderr();
    assert_int_equal(log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_WARNING), SP_OK);
    errno = ERANGE;
    log_error("a", "one %d", 1);
    log_warning("a", "two %s", "2");
    log_info("a", "three %s", evaluated());
    log_debug("a", "four");
    log_event(LOG_INFO, "a", "five", LOG_STR("x", evaluated()));
    log_event(LOG_ERR, "a", "six", LOG_INT("n", 6), LOG_STR("x", "y"));
    assert_int_equal(errno, ERANGE);
    assert_true(log_enabled(LOG_WARNING));
    assert_false(log_enabled(LOG_INFO));
    char *said = release_stderr(&caught);
    assert_int_equal(evaluations, 0);
    assert_non_null(strstr(said, " error   a: one 1\n"));
    assert_non_null(strstr(said, " warning a: two 2\n"));
    assert_non_null(strstr(said, " error   a: six n=6 x=y\n"));
    assert_null(strstr(said, "three"));
    assert_null(strstr(said, "four"));
    assert_null(strstr(said, "five"));
    assert_null(strchr(said, '\x1b'));
    free(said);
}

/* What systemd does: stderr is a stream, and JOURNAL_STREAM names it. */
static void test_journal_stream(void **state)
{
    (void)state;
    char stream[64];
    struct stat about;
    struct caught caught = catch_stderr();
    assert_int_equal(fstat(STDERR_FILENO, &about), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)about.st_dev,
             (unsigned long long)about.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_INFO);
    log_warning("a", "told");
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_JSON, LOG_INFO);
    log_info("a", "told");
    unsetenv("JOURNAL_STREAM");
    char *said = release_stderr(&caught);
    assert_memory_equal(said, "<4>a: told\n{\"time\":\"", 20);
    free(said);
}

static void limited(int i)
{
    log_limited(LOG_INFO, "a", 3600, "told %d", i);
}

static void test_limit(void **state)
{
    (void)state;
    unsigned count;
    struct log_limit limit = {0};
    assert_true(log_limit_pass(&limit, 3600, &count));
    assert_int_equal(count, 0);
    assert_false(log_limit_pass(&limit, 3600, &count));
    assert_false(log_limit_pass(&limit, 3600, &count));
    atomic_store(&limit.next_ms, 1); /* the time is over */
    assert_true(log_limit_pass(&limit, 3600, &count));
    assert_int_equal(count, 2);
    assert_false(log_limit_pass(&limit, 3600, &count));
    struct caught caught = catch_stderr();
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_INFO);
    for (int i = 0; i < 10; i++)
        limited(i);
    char *said = release_stderr(&caught);
    assert_non_null(strstr(said, "a: told 0\n"));
    assert_null(strstr(said, "told 1"));
    free(said);
}

/* A pipe that nobody reads: lines are lost, quickly, counted, and said to be. */
static void test_full_pipe(void **state)
{
    (void)state;
    char buffer[4096];
    struct timespec start;
    struct timespec end;
    struct caught caught = catch_stderr();
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_TEXT, LOG_INFO);
    uint64_t before = log_lost_count();
    clock_gettime(CLOCK_MONOTONIC, &start);
    int written = 0;
    for (; log_lost_count() < before + 1000 && written < 100000; written++)
        log_info("a", "line %d", written);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(log_lost_count(), before + 1000);
    /* One wait of LOG_WAIT_MS, not a thousand; the rest is room for a busy machine. */
    assert_true(end.tv_sec - start.tv_sec < 20);
    for (int i = 0; i < 8; i++)
        assert_true(read(caught.reader, buffer, sizeof(buffer)) > 0);
    log_info("a", "after");
    char *said = release_stderr(&caught);
    char *lost = strstr(said, "log: lines were lost, as nobody read them count=1000\n");
    assert_non_null(lost);
    assert_non_null(strstr(lost, "a: after\n"));
    assert_int_equal(log_lost_count(), before + 1000);
    free(said);
}

/* Together less than a pipe holds, so that nothing is lost. */
enum { THREADS = 4, THREAD_LINES = 100 };

static void *write_lines(void *argument)
{
    int thread = *(int *)argument;
    for (int i = 0; i < THREAD_LINES; i++)
        log_event(LOG_INFO, "thread", "line", LOG_INT("thread", thread), LOG_INT("line", i));
    return NULL;
}

/* Every line of every thread arrives whole and in its thread's order. */
static void check_thread_lines(char *said)
{
    int next[THREADS] = {0};
    unsigned lines = 0;
    for (char *end, *line = said; *line; line = end + 1, lines++) {
        json_error_t error;
        end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        json_t *object = json_loads(line, 0, &error);
        assert_non_null(object);
        json_int_t thread = json_integer_value(json_object_get(object, "thread"));
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(json_integer_value(json_object_get(object, "line")), next[thread]);
        next[thread]++;
        json_decref(object);
    }
    assert_int_equal(lines, THREADS * THREAD_LINES);
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int numbers[THREADS];
    struct caught caught = catch_stderr();
    log_open(LOG_TARGET_STDERR, LOG_FORMAT_JSON, LOG_INFO);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *said = release_stderr(&caught);
    check_thread_lines(said);
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_line),    cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_hostile_text), cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_random_json),  cmocka_unit_test(test_journal_fields),
        cmocka_unit_test(test_levels),       cmocka_unit_test(test_journal_stream),
        cmocka_unit_test(test_limit),        cmocka_unit_test(test_full_pipe),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
