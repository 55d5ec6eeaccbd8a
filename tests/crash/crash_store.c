/* SPDX-License-Identifier: Apache-2.0
 *
 * crash_store.c - the writer dies at each failpoint of the store.
 *
 * Goal: wherever the writer is killed, also inside the recovery from an earlier death, nothing
 * committed is lost, nothing uncommitted is seen, nothing leaks, and readers that run meanwhile see
 * no wrong byte.
 * Method: the writer and the readers of the torture (tests/mp). For each failpoint and some numbers
 * of passages the writer is started with SIDEPOND_FAILPOINT set, and dies there; a second one dies
 * in its recovery; then all is compared with what was acknowledged, and the checker runs. The list
 * of failpoints is taken from the sources, so that none is forgotten; each must be reached.
 *
 *   crash_store [FAILPOINT[:N]]...
 */
#include <dirent.h>
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

#define READERS        2u
#define LIFE_MS        8000u  /* within which a failpoint is reached */
#define PATIENCE_MS    60000u /* the same of one that must be, on a machine that is busy */
#define NAMES          64u
#define NAME_MAX_BYTES 40u

struct crash {
    struct torture t;
    pid_t reader[READERS];
    char names[NAMES][NAME_MAX_BYTES];
    unsigned name_count, deaths;
};

bool torture_fail(struct torture *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (atomic_exchange(&t->shared->failed, 1) == 0)
        vsnprintf(t->shared->message, sizeof(t->shared->message), format, args);
    va_end(args);
    return false;
}

/* --- the failpoints in the sources ---------------------------------------------------------- */

static void note_name(struct crash *crash, const char *name, size_t size)
{
    for (unsigned i = 0; i < crash->name_count; i++)
        if (strlen(crash->names[i]) == size && memcmp(crash->names[i], name, size) == 0)
            return;
    if (crash->name_count < NAMES && size < NAME_MAX_BYTES)
        memcpy(crash->names[crash->name_count++], name, size);
}

static void read_names(struct crash *crash, const char *path)
{
    static const char before[] = "FAILPOINT(\"";
    char line[512];
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        const char *name = strstr(line, before);
        if (name)
            note_name(crash, name + sizeof(before) - 1, strcspn(name + sizeof(before) - 1, "\""));
    }
    if (file)
        fclose(file);
}

static void find_names(struct crash *crash)
{
    char path[1024], folder[512];
    const char *root = getenv("SIDEPOND_SOURCE_DIR");
    snprintf(folder, sizeof(folder), "%s/server/store", root ? root : ".");
    DIR *dir = opendir(folder);
    const struct dirent *item;
    while (dir && (item = readdir(dir)) != NULL) {
        size_t size = strlen(item->d_name);
        if (size < 3 || strcmp(item->d_name + size - 2, ".c") != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, item->d_name);
        read_names(crash, path);
    }
    if (dir)
        closedir(dir);
}

/* --- processes ------------------------------------------------------------------------------ */

/* Waits until the writer has died at its failpoint; false if it lives on, and is killed then. */
static bool await_death(struct crash *crash, pid_t writer, uint64_t wait_ms)
{
    uint64_t end = kit_now_ms() + wait_ms;
    int how = 0;
    pid_t got;
    while ((got = waitpid(writer, &how, WNOHANG)) == 0 && kit_now_ms() < end)
        usleep(500);
    bool died = got == writer;
    if (!died) {
        kill(writer, SIGKILL);
        waitpid(writer, &how, 0);
    }
    if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL)
        torture_fail(&crash->t, "the writer ended with %x", (unsigned)how);
    crash->deaths += died;
    return died;
}

static void stop_readers(struct crash *crash)
{
    atomic_store(&crash->t.shared->stop, 1);
    for (unsigned i = 0; i < READERS; i++) {
        int how;
        if (crash->reader[i] > 0 && waitpid(crash->reader[i], &how, 0) > 0 && how != 0)
            torture_fail(&crash->t, "a reader ended with %x", (unsigned)how);
        crash->reader[i] = 0;
    }
    atomic_store(&crash->t.shared->stop, 0);
}

static bool failed(const struct crash *crash)
{
    return atomic_load(&crash->t.shared->failed);
}

/* The writer dies at a failpoint, the next one in its recovery; then all is looked at. */
static bool die_at(struct crash *crash, const char *failpoint, bool must_reach)
{
    char in_recovery[64];
    for (unsigned i = 0; i < READERS; i++)
        crash->reader[i] = torture_start(&crash->t, false, NULL);
    bool died = await_death(crash, torture_start(&crash->t, true, failpoint),
                            must_reach ? PATIENCE_MS : LIFE_MS);
    if (must_reach && !died && !failed(crash))
        torture_fail(&crash->t, "failpoint %s is not reached", failpoint);
    snprintf(in_recovery, sizeof(in_recovery), "recover_slot:%u",
             1 + (unsigned)kit_below(&crash->t.random, 2000));
    if (!failed(crash))
        await_death(crash, torture_start(&crash->t, true, in_recovery), LIFE_MS);
    /* One that lives, so that readers see the memory in use again. */
    if (!failed(crash))
        await_death(crash, torture_start(&crash->t, true, NULL), 60);
    stop_readers(crash);
    if (!failed(crash))
        torture_examine(&crash->t);
    if (failed(crash))
        printf("crash_store: FAULT after %s: %s\n", failpoint, crash->t.shared->message);
    return !failed(crash);
}

/* A pond with the first commit in it, which makes the rows that are never absent. */
static bool prepare(struct crash *crash)
{
    pid_t writer = torture_start(&crash->t, true, NULL);
    uint64_t end = kit_now_ms() + 20000;
    while (atomic_load(&crash->t.shared->serial) < 3 && kit_now_ms() < end && !failed(crash))
        usleep(500);
    atomic_store(&crash->t.shared->stop, 1);
    int how;
    bool good = waitpid(writer, &how, 0) == writer && how == 0;
    atomic_store(&crash->t.shared->stop, 0);
    if (!good)
        printf("crash_store: the first writer: %s\n", crash->t.shared->message);
    return good;
}

static bool die_everywhere(struct crash *crash)
{
    static const unsigned few[] = {1, 7}, many[] = {1, 2, 3, 7, 20, 60, 200, 1000};
    bool everywhere = kit_long();
    unsigned count = everywhere ? sizeof(many) / sizeof(many[0]) : sizeof(few) / sizeof(few[0]);
    if (kit_slow())
        count = 1;
    for (unsigned n = 0; n < count; n++) {
        for (unsigned i = 0; i < crash->name_count; i++) {
            char failpoint[64];
            unsigned nth = everywhere ? many[n] : few[n];
            snprintf(failpoint, sizeof(failpoint), "%s:%u", crash->names[i], nth);
            if (!die_at(crash, failpoint, nth == 1))
                return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct crash crash;
    char directory[256];
    bool good;
    kit_directory_make(directory, sizeof(directory));
    crash.t = (struct torture){.directory = directory,
                               .random = {kit_seed("crash_store")},
                               .lease_limit_ms = TORTURE_LEASE_MS};
    crash.t.shared = mmap(NULL, sizeof(*crash.t.shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (crash.t.shared == MAP_FAILED)
        return 1;
    find_names(&crash);
    good = crash.name_count > 10 && prepare(&crash);
    if (argc > 1)
        for (int i = 1; good && i < argc; i++)
            good = die_at(&crash, argv[i], false);
    else
        good = good && die_everywhere(&crash);
    const struct torture_shared *s = crash.t.shared;
    printf("crash_store: %u failpoints, %u deaths at them; %llu commits, %llu verified reads\n",
           crash.name_count, crash.deaths, (unsigned long long)atomic_load(&s->commits),
           (unsigned long long)(atomic_load(&s->gets) + atomic_load(&s->rows_viewed)));
    kit_directory_remove(directory);
    return good ? 0 : 1;
}
