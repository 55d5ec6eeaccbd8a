/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.c - options, clock, temporary directory and rows of a benchmark.
 *
 * Only the process that called bench_start removes the directory; children end by _exit.
 */
#include "bench.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc/region.h"
#include "sidepond/status.h"

enum { ROWS_MAX = 128, WHAT_BYTES = 128 };

struct row {
    char what[WHAT_BYTES];
    struct bench_row is;
};

static const char *bench_name;
static bool json, quick;
static char directory[64];
static struct row rows[ROWS_MAX];
static size_t row_count;
static pid_t owner; /* of the directory */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void bench_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_directory(void)
{
    if (getpid() == owner) /* not a child that exits */
        bench_remove(directory);
}

void bench_start(const char *name, int argc, char **argv)
{
    bench_name = name;
    for (int i = 1; i < argc; i++) {
        json |= strcmp(argv[i], "--json") == 0;
        quick |= strcmp(argv[i], "--quick") == 0;
    }
    snprintf(directory, sizeof(directory), "/dev/shm/sidepond-bench.XXXXXX");
    if (!mkdtemp(directory))
        bench_die("%s: cannot be made", directory);
    owner = getpid();
    atexit(remove_directory);
}

bool bench_quick(void)
{
    return quick;
}

const char *bench_directory(void)
{
    return directory;
}

/* --- messages ------------------------------------------------------------------------------- */

static void say(const char *format, va_list arguments)
{
    fprintf(stderr, "%s: ", bench_name ? bench_name : "bench");
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void bench_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    exit(2);
}

void bench_must(int status, const char *what)
{
    if (status != SP_OK)
        bench_die("%s: %s", what, sp_status_text(status));
}

_Noreturn void bench_run_under(const char *script, const char *word, char **argv)
{
    const char *tree = getenv("SIDEPOND_SOURCE_DIR");
    char path[512];
    char *again[16] = {(char *)"python3", path, (char *)word};
    if (!tree)
        bench_die("SIDEPOND_SOURCE_DIR says where the source tree is");
    snprintf(path, sizeof(path), "%s/tests/system/%s", tree, script);
    for (unsigned i = 0; argv[i] && i + 4 < sizeof(again) / sizeof(*again); i++)
        again[i + 3] = argv[i];
    execv("/usr/bin/python3", again);
    bench_die("%s cannot be run", path);
}

/* --- ponds ---------------------------------------------------------------------------------- */

void bench_use_huge_pages(const char *pond_directory)
{
    struct region region;
    char why[REGION_WHY_BYTES] = "";
    bench_must(region_attach_writer(pond_directory, &region, why), why);
    uint64_t off = (uint64_t)(region.arena - region.base), missing = 0;
    uint64_t end = off + region.super->usable_units * FORMAT_UNIT_BYTES;
    for (; off + FORMAT_ARENA_ALIGN <= end; off += FORMAT_ARENA_ALIGN)
        missing += !region_collapse(&region, off, FORMAT_ARENA_ALIGN);
    if (missing > 0)
        bench_note("%s: %llu of its 2 MiB are not in huge pages", pond_directory,
                   (unsigned long long)missing);
    region_detach(&region);
}

/* --- figures -------------------------------------------------------------------------------- */

static double clock_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double bench_now_s(void)
{
    return clock_s(CLOCK_MONOTONIC);
}

double bench_cpu_s(void)
{
    return clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

double bench_thread_ns(void)
{
    return clock_s(CLOCK_THREAD_CPUTIME_ID) * 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const double *values, size_t count)
{
    double *sorted = malloc(count * sizeof(*sorted));
    if (!sorted || count == 0)
        bench_die("no values");
    memcpy(sorted, values, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_value);
    double median = count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
    free(sorted);
    return median;
}

double bench_max(const double *values, size_t count)
{
    double max = values[0];
    for (size_t i = 1; i < count; i++)
        max = values[i] > max ? values[i] : max;
    return max;
}

/* --- rows ----------------------------------------------------------------------------------- */

static double ratio_of(const struct bench_row *row)
{
    return row->peer != 0 ? row->ours / row->peer : row->ours;
}

static bool row_ok(const struct bench_row *row)
{
    if (row->rule == BENCH_INFORMS)
        return true;
    return row->rule == BENCH_AT_LEAST ? ratio_of(row) >= row->reach : ratio_of(row) <= row->reach;
}

void bench_row(const struct bench_row *row)
{
    if (row_count == ROWS_MAX)
        bench_die("too many rows");
    rows[row_count].is = *row;
    snprintf(rows[row_count].what, WHAT_BYTES, "%s", row->what);
    row_count++;
}

static void print_row(const struct row *row, bool last)
{
    const struct bench_row *is = &row->is;
    char peer[32] = "null";
    char reach[32] = "-";
    if (is->peer != 0)
        snprintf(peer, sizeof(peer), "%.4g", is->peer);
    if (is->rule != BENCH_INFORMS)
        snprintf(reach, sizeof(reach), "%s %.2f",
                 is->rule == BENCH_AT_LEAST ? ">=" : "<=", is->reach);
    printf(json ? "  {\"what\": \"%s\", \"ours\": %.4g, \"peer\": %s, \"unit\": \"%s\", "
                  "\"ratio\": %.3f, \"reach\": \"%s\", \"ok\": %s}%s\n"
                : "%-58s %9.4g %9s %-4s %8.3f %8s %s%s\n",
           row->what, is->ours, peer, is->unit, ratio_of(is), reach, row_ok(is) ? "true" : "false",
           json && !last ? "," : "");
}

int bench_finish(void)
{
    bool ok = true;
    if (json)
        printf("{\"bench\": \"%s\", \"rows\": [\n", bench_name);
    for (size_t i = 0; i < row_count; i++) {
        ok = ok && row_ok(&rows[i].is);
        print_row(&rows[i], i + 1 == row_count);
    }
    if (json)
        printf("]}\n");
    return ok ? 0 : 1;
}
