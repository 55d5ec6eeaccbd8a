/* SPDX-License-Identifier: Apache-2.0
 *
 * bench.h - what the benchmarks have in common: options, clock, temporary directory, rows of the
 * result. One thread.
 */
#ifndef SIDEPOND_BENCH_H
#define SIDEPOND_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_ROUNDS 5u

/* Reads --json and --quick, makes the temporary directory, which goes at exit. The directory is in
 * /dev/shm: ponds and the peers' files alike are memory. */
void bench_start(const char *name, int argc, char **argv);
bool bench_quick(void);
const char *bench_directory(void);
/* Removes a directory with all that is in it. */
void bench_remove(const char *path);

/* A line on stderr. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and exit status 2. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Dies if the status is not SP_OK. */
void bench_must(int status, const char *what);

/* Runs this program again under a script of tests/system, with a word before its own: a server is
 * beside it then. Does not return. */
_Noreturn void bench_run_under(const char *script, const char *word, char **argv);

/* What sidepondd does with a pond in the seconds after a load, unless the configuration says
 * `huge_pages: false`. No writer may have the pond. */
void bench_use_huge_pages(const char *pond_directory);

double bench_now_s(void); /* CLOCK_MONOTONIC */
double bench_cpu_s(void); /* processor time of this process */
/* Processor time of this thread: what other work the machine does in between does not count. */
double bench_thread_ns(void);
double bench_median(const double *values, size_t count);
double bench_max(const double *values, size_t count);

enum bench_rule { BENCH_INFORMS, BENCH_AT_MOST, BENCH_AT_LEAST };

/* One row of the result: ratio = ours / peer must be at most, or at least, reach. `peer` 0: there
 * is none, and `ours` itself is judged. */
struct bench_row {
    const char *what; /* copied */
    double ours, peer;
    const char *unit;
    enum bench_rule rule;
    double reach;
};
void bench_row(const struct bench_row *row);

/* Prints the rows, as one object or as a table; the exit status of the program. */
int bench_finish(void);

#endif
