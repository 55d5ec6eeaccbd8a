/* SPDX-License-Identifier: Apache-2.0
 *
 * page_guard.c - notes writes to a mapping page by page. One mapping at a time. System calls that
 * write into it would fail; the store makes none.
 */
#include "page_guard.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/bench.h"

#define PAGE 4096u

static uintptr_t guard_start, guard_end;
static unsigned char *written; /* by page */

static void on_fault(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    (void)context;
    if (at < guard_start || at >= guard_end) {
        signal(number, SIG_DFL); /* not ours: it happens again, and ends us */
        return;
    }
    uintptr_t page = at / PAGE * PAGE;
    written[(page - guard_start) / PAGE] = 1;
    mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE);
}

static void find_mapping(const char *directory)
{
    char line[512];
    char path[256];
    unsigned long start, end, offset;
    char mode[8];
    snprintf(path, sizeof(path), "%s/pond", directory);
    FILE *maps = fopen("/proc/self/maps", "re");
    guard_start = 0;
    while (maps && fgets(line, sizeof(line), maps)) {
        if (!strstr(line, path) ||
            sscanf(line, "%lx-%lx %7s %lx", &start, &end, mode, &offset) != 4 || mode[1] != 'w')
            continue;
        if (guard_start == 0)
            guard_start = start;
        guard_end = end;
    }
    if (maps)
        fclose(maps);
    if (guard_start == 0)
        bench_die("%s is not mapped for writing", path);
}

void page_guard_begin(const char *directory)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    find_mapping(directory);
    written = calloc((guard_end - guard_start) / PAGE, 1);
    if (!written)
        bench_die("no memory");
    sigaction(SIGSEGV, &action, NULL);
    mprotect((void *)guard_start, guard_end - guard_start, PROT_READ);
}

void page_guard_end(uint64_t head_bytes, uint64_t *head, uint64_t *beyond)
{
    mprotect((void *)guard_start, guard_end - guard_start, PROT_READ | PROT_WRITE);
    signal(SIGSEGV, SIG_DFL);
    *head = 0;
    *beyond = 0;
    for (uint64_t page = 0; page < (guard_end - guard_start) / PAGE; page++)
        *(page * PAGE < head_bytes ? head : beyond) += written[page];
    free(written);
}
