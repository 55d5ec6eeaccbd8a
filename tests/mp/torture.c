/* SPDX-License-Identifier: Apache-2.0
 *
 * torture.c - one writer, many readers, and somebody who kills them.
 *
 * Goal: whatever happens to the processes, no reader ever sees a wrong byte, a value that was not
 * committed, an older value after a newer one, or half of a commit; nothing that was acknowledged
 * is lost; nothing is leaked.
 * Method: torture.h says what the data are, torture_writer.c and torture_reader.c what they do.
 * This process kills and restarts both at random moments, and stops readers for longer than the
 * lease limit. At the end everything is compared once more and the checker looks at the whole pond.
 *
 *   torture [--seconds N] [--kills N] [--readers N] [--seed N] [--threads] [--expect-failure]
 *
 * It goes on until there were as many seconds and as many kills of the writer and of readers.
 * --threads: one process with threads, and no kills (for ThreadSanitizer). --expect-failure: for
 * builds of the store that are broken on purpose; succeeds if a fault is found.
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/mp/torture.h"

#define READERS_MAX 16u
#define STEP_US     1000u

struct run {
    struct torture t;
    uint64_t seconds, kills, reads;
    unsigned readers;
    bool threads, expect_failure;
    pid_t writer, reader[READERS_MAX];
    uint64_t resume_ms[READERS_MAX]; /* when a stopped reader goes on; 0: it is not stopped */
    uint64_t writer_kills, reader_kills, stops;
};

bool torture_fail(struct torture *t, const char *format, ...)
{
    char text[sizeof(t->shared->message)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (atomic_exchange(&t->shared->failed, 1) == 0)
        memcpy(t->shared->message, text, sizeof(text));
    return false;
}

/* --- processes ------------------------------------------------------------------------------ */

/* Waits for a child's end, which is right if it was killed or had been told to stop. */
static void reap(struct run *run, pid_t *child, const char *who)
{
    int how;
    if (*child <= 0 || waitpid(*child, &how, 0) != *child)
        return;
    *child = 0;
    if (WIFSIGNALED(how) && WTERMSIG(how) != SIGKILL)
        torture_fail(&run->t, "a %s died of signal %d", who, WTERMSIG(how));
    else if (!WIFSIGNALED(how) && WEXITSTATUS(how) != 0)
        torture_fail(&run->t, "a %s ended with %d", who, WEXITSTATUS(how));
}

/* A child that ended without being told to. */
static bool ended(pid_t child)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

static void kill_writer(struct run *run)
{
    kill(run->writer, SIGKILL);
    reap(run, &run->writer, "writer");
    run->writer_kills++;
    run->writer = torture_start(&run->t, true, NULL);
}

static void kill_reader(struct run *run, unsigned i)
{
    kill(run->reader[i], SIGKILL);
    reap(run, &run->reader[i], "reader");
    run->reader_kills++;
    run->resume_ms[i] = 0;
    run->reader[i] = torture_start(&run->t, false, NULL);
}

static void disturb(struct run *run, uint64_t now_ms)
{
    unsigned i = (unsigned)kit_below(&run->t.random, run->readers);
    for (unsigned n = 0; n < run->readers; n++) {
        if (run->resume_ms[n] && now_ms >= run->resume_ms[n]) {
            kill(run->reader[n], SIGCONT);
            run->resume_ms[n] = 0;
        }
    }
    /* A writer's life is as long as a recovery takes, or as some hundred transactions. */
    uint64_t what = kit_below(&run->t.random, 1000);
    if (what < 4) {
        kill_writer(run);
    } else if (what < 8) {
        kill_reader(run, i);
    } else if (what < 18 && !run->resume_ms[i]) {
        kill(run->reader[i], SIGSTOP);
        run->resume_ms[i] = now_ms + 1 + kit_below(&run->t.random, 3 * TORTURE_LEASE_MS);
        run->stops++;
    }
}

static bool enough(const struct run *run, uint64_t elapsed_ms)
{
    const struct torture_shared *s = run->t.shared;
    return elapsed_ms >= run->seconds * 1000 && run->writer_kills >= run->kills &&
           run->reader_kills >= run->kills &&
           atomic_load(&s->gets) + atomic_load(&s->rows_viewed) >= run->reads;
}

static void stop_all(struct run *run)
{
    atomic_store(&run->t.shared->stop, 1);
    for (unsigned i = 0; i < run->readers; i++) {
        kill(run->reader[i], SIGCONT);
        reap(run, &run->reader[i], "reader");
    }
    reap(run, &run->writer, "writer");
}

static void torment_processes(struct run *run)
{
    uint64_t start_ms = kit_now_ms(), now = start_ms, alive_ms = start_ms;
    uint32_t ready = 0;
    run->writer = torture_start(&run->t, true, NULL);
    for (unsigned i = 0; i < run->readers; i++)
        run->reader[i] = torture_start(&run->t, false, NULL);
    while (!enough(run, now - start_ms) && !atomic_load(&run->t.shared->failed)) {
        usleep(STEP_US);
        now = kit_now_ms();
        /* The first transaction makes the rows that are never absent. */
        if (atomic_load(&run->t.shared->serial) > 0)
            disturb(run, now);
        if (ended(run->writer))
            reap(run, &run->writer, "writer");
        for (unsigned i = 0; i < run->readers; i++)
            if (ended(run->reader[i]))
                reap(run, &run->reader[i], "reader");
        if (atomic_load(&run->t.shared->ready) != ready)
            alive_ms = now;
        ready = atomic_load(&run->t.shared->ready);
        if (now - alive_ms > 30000)
            torture_fail(&run->t, "the writer does not get on");
    }
    stop_all(run);
}

/* --- threads -------------------------------------------------------------------------------- */

struct thread {
    pthread_t id;
    struct torture t;
    struct sp_pond *pond;
    bool writer;
};

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    if (thread->writer)
        torture_write(&thread->t);
    else
        torture_read(&thread->t, thread->pond);
    return NULL;
}

static void start_thread(struct run *run, struct thread *thread, bool writer, struct sp_pond *pond)
{
    *thread = (struct thread){.t = run->t, .pond = pond, .writer = writer};
    thread->t.random = (struct kit_random){kit_random(&run->t.random)};
    if (pthread_create(&thread->id, NULL, thread_main, thread) != 0)
        abort();
}

/* All readers share one handle. */
static void torment_threads(struct run *run)
{
    static struct thread threads[READERS_MAX + 1];
    struct sp_pond *pond;
    uint64_t start_ms = kit_now_ms();
    start_thread(run, &threads[0], true, NULL);
    while (atomic_load(&run->t.shared->serial) == 0 && !atomic_load(&run->t.shared->failed))
        usleep(STEP_US);
    if (sp_open(run->t.directory, NULL, &pond) != SP_OK) {
        torture_fail(&run->t, "sp_open: %s", sp_error_detail());
        pond = NULL;
    }
    for (unsigned i = 1; i <= run->readers; i++)
        start_thread(run, &threads[i], false, pond);
    while (kit_now_ms() - start_ms < run->seconds * 1000 && !atomic_load(&run->t.shared->failed))
        usleep(STEP_US);
    atomic_store(&run->t.shared->stop, 1);
    for (unsigned i = 0; i <= run->readers; i++)
        pthread_join(threads[i].id, NULL);
    sp_close(pond);
}

/* --- the run -------------------------------------------------------------------------------- */

static void report(const struct run *run, uint64_t elapsed_ms)
{
    const struct torture_shared *s = run->t.shared;
#define N(field) (unsigned long long)atomic_load(&s->field)
    printf("torture: %.1f s, %llu kills of the writer, %llu of readers, %llu stops\n",
           (double)elapsed_ms / 1000, (unsigned long long)run->writer_kills,
           (unsigned long long)run->reader_kills, (unsigned long long)run->stops);
    printf("torture: %llu commits, %llu aborts; %llu verified reads (%llu by copy, %llu in place), "
           "%llu snapshots (%llu lost their lease), %llu scans, %llu finds, %llu waits\n",
           N(commits), N(aborts), N(gets) + N(rows_viewed), N(gets), N(rows_viewed), N(snapshots),
           N(stale), N(scans), N(finds), N(waits));
#undef N
    if (atomic_load(&s->failed))
        printf("torture: FAULT: %.500s\n", s->message);
}

static int run_torture(struct run *run)
{
    char directory[256];
    kit_directory_make(directory, sizeof(directory));
    run->t.directory = directory;
    uint64_t start_ms = kit_now_ms();
    if (run->threads)
        torment_threads(run);
    else
        torment_processes(run);
    bool failed = atomic_load(&run->t.shared->failed);
    if (!failed)
        failed = !torture_examine(&run->t);
    report(run, kit_now_ms() - start_ms);
    kit_directory_remove(directory);
    return failed == run->expect_failure ? 0 : 1;
}

static bool parse(struct run *run, int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'},  {"kills", required_argument, NULL, 'k'},
        {"reads", required_argument, NULL, 'n'},    {"readers", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 'e'},     {"threads", no_argument, NULL, 't'},
        {"expect-failure", no_argument, NULL, 'x'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            run->seconds = strtoull(optarg, NULL, 0);
            break;
        case 'k':
            run->kills = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            run->reads = strtoull(optarg, NULL, 0);
            break;
        case 'r':
            run->readers = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'e':
            setenv("SIDEPOND_SEED", optarg, 1);
            break;
        case 't':
            run->threads = true;
            break;
        case 'x':
            run->expect_failure = true;
            break;
        default:
            return false;
        }
    }
    return run->readers > 0 && run->readers <= READERS_MAX;
}

int main(int argc, char **argv)
{
    struct run run = {.seconds = kit_slow() ? 10 : 12, .readers = 4};
    if (kit_long() && !kit_slow()) {
        run.kills = 1000;
        run.reads = 100000000;
    }
    if (!parse(&run, argc, argv))
        return 2;
    run.t.lease_limit_ms = TORTURE_LEASE_MS;
    run.t.random.state = kit_seed("torture");
    run.t.shared = mmap(NULL, sizeof(*run.t.shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.t.shared == MAP_FAILED)
        return 1;
    return run_torture(&run);
}
