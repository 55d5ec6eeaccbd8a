/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_alloc.c - time and memory of an alloc + free pair, beside other allocators.
 *
 * Method. A churn keeps a number of objects alive; each step frees a random one and allocates
 * another, and writes the first 8 bytes of it. Two churns: sizes uniform from 64 B to 4 KiB with
 * 100,000 objects, and lognormal sizes (median 200 B, sigma 1.2, at most 64 KiB) with 300,000.
 * Each measurement is a process of its own (this program with --child), so that no allocator sees
 * another's memory; malloc is replaced by LD_PRELOAD. The allocators take turns in each round, and
 * the median of the rounds counts; a ratio is the median of the rounds' ratios. Time is CPU time
 * of the process, the kernel's part included. Sizes and victims are drawn before the clock starts.
 *
 * Memory is measured in further processes that touch every byte: for malloc the growth of the
 * process's peak resident set, for the two allocators of units the highest unit ever used times 16
 * plus the metadata backed so far; divided by the most bytes that were requested at one time.
 *
 * "at-once" is ours without the cache of resting blocks, "textbook" a plain buddy allocator with
 * trimmed tails (textbook_buddy.c).
 *
 * Options: --json, --quick (fewer steps and rounds, jemalloc alone beside ours), --only NAME (one
 * allocator, table only).
 */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/buddy.h"
#include "common/bench.h"
#include "textbook_buddy.h"

#define UNIT_BYTES     16U
#define LIMIT_UNITS    (1ULL << 32) /* the arena's limit: 64 GiB, mapped but not backed */
#define GROW_UNITS     (1ULL << 18) /* 4 MiB at a time */
#define TEXTBOOK_UNITS (1ULL << 26)
#define SIZES          (1U << 20)
#define TIME_REACH     2.0
#define MEMORY_REACH   1.10

enum { ROUNDS_MAX = 5, PEERS = 6, CHURNS = 2 };

struct object {
    void *data;
    uint32_t bytes;
};

struct churn {
    const char *name;
    const char *title;
    uint32_t live_count;
    bool lognormal;
};

/* One way to get and return memory. */
struct peer {
    const char *name;
    const char *preload; /* library that replaces malloc, or NULL */
    const char *symbol;  /* a name that only this library has */
    void *(*get)(uint32_t bytes);
    void (*put)(struct object o);
    size_t (*peak_bytes)(void);
    bool rests; /* ours: with the cache of resting blocks */
};

static const struct churn churns[CHURNS] = {
    {"uniform", "uniform 64 B to 4 KiB, 100,000 live", 100000, false},
    {"lognormal", "lognormal, median 200 B, 300,000 live", 300000, true},
};

/* ---- the allocators ----------------------------------------------------------------------- */

static struct buddy buddy;
static struct buddy_cache buddy_cache;
static struct textbook_buddy textbook;
static unsigned char *arena;
static uint64_t highest_unit;
static size_t resident_before;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_alloc: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void *map_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

static uint32_t units_of(uint32_t bytes)
{
    return (bytes + UNIT_BYTES - 1) / UNIT_BYTES;
}

static void *unit_address(uint64_t first, uint32_t count)
{
    if (first + count > highest_unit)
        highest_unit = first + count;
    return arena + first * UNIT_BYTES;
}

static void *ours_get(uint32_t bytes)
{
    uint32_t count = units_of(bytes);
    uint64_t first = buddy_alloc(&buddy, count);

    while (first == BUDDY_NONE) {
        buddy_grow(&buddy, buddy_usable_units(&buddy) + GROW_UNITS);
        first = buddy_alloc(&buddy, count);
    }
    return unit_address(first, count);
}

static uint64_t unit_index(const void *data)
{
    return (uint64_t)((const unsigned char *)data - arena) / UNIT_BYTES;
}

static void ours_put(struct object o)
{
    buddy_free(&buddy, unit_index(o.data), units_of(o.bytes));
}

static size_t page_ceil(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static size_t ours_peak_bytes(void)
{
    struct buddy_span spans[BUDDY_MAX_SPANS];
    size_t count = buddy_meta_spans(LIMIT_UNITS, 0, highest_unit, spans, BUDDY_MAX_SPANS);
    size_t bytes = highest_unit * UNIT_BYTES + sizeof buddy_cache;

    for (size_t i = 0; i < count; i++)
        bytes += page_ceil(spans[i].len);
    return bytes;
}

static void *textbook_get(uint32_t bytes)
{
    uint32_t count = units_of(bytes);
    uint32_t first = textbook_alloc(&textbook, count);

    if (first == TEXTBOOK_NONE)
        die("textbook buddy is full");
    return unit_address(first, count);
}

static void textbook_put(struct object o)
{
    textbook_free(&textbook, (uint32_t)unit_index(o.data), units_of(o.bytes));
}

static size_t textbook_peak_bytes(void)
{
    return highest_unit * UNIT_BYTES + textbook_meta_bytes(highest_unit);
}

static void *malloc_get(uint32_t bytes)
{
    return malloc(bytes);
}

static void malloc_put(struct object o)
{
    free(o.data);
}

/* A field of /proc/self/status in bytes. */
static size_t status_bytes(const char *field)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");

    if (!f)
        die("/proc/self/status");
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtoul(line + strlen(field), NULL, 10);
    }
    fclose(f);
    return kib * 1024;
}

static size_t malloc_peak_bytes(void)
{
    return status_bytes("VmHWM:") - resident_before;
}

static const struct peer peers[PEERS] = {
    {"ours", NULL, NULL, ours_get, ours_put, ours_peak_bytes, true},
    {"jemalloc", "libjemalloc.so.2", "mallctl", malloc_get, malloc_put, malloc_peak_bytes, false},
    {"mimalloc", "libmimalloc.so.2.0", "mi_version", malloc_get, malloc_put, malloc_peak_bytes,
     false},
    {"glibc", NULL, NULL, malloc_get, malloc_put, malloc_peak_bytes, false},
    {"at-once", NULL, NULL, ours_get, ours_put, ours_peak_bytes, false},
    {"textbook", NULL, NULL, textbook_get, textbook_put, textbook_peak_bytes, false},
};

static void peer_setup(const struct peer *p)
{
    if (p->get == malloc_get)
        return;
    arena = map_shared(LIMIT_UNITS * UNIT_BYTES);
    if (p->get == textbook_get) {
        if (textbook_init(&textbook, TEXTBOOK_UNITS) != 0)
            die("textbook buddy");
        return;
    }
    if (buddy_format(&buddy, map_shared(buddy_meta_bytes(LIMIT_UNITS)), LIMIT_UNITS) != 0)
        die("buddy_format");
    if (p->rests)
        buddy_use_cache(&buddy, &buddy_cache);
}

/* ---- one measurement, in a child ---------------------------------------------------------- */

static uint64_t random_state = 0x9e3779b97f4a7c15ULL;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dULL >> 16;
}

static double random_real(void)
{
    return ((double)(random_next() & 0xffffffffffULL) + 0.5) / (double)(1ULL << 40);
}

static uint32_t draw_bytes(const struct churn *churn)
{
    if (!churn->lognormal)
        return 64 + (uint32_t)(random_next() % (4096 - 64 + 1));
    double normal = sqrt(-2 * log(random_real())) * cos(2 * M_PI * random_real());
    double bytes = 200 * exp(1.2 * normal);
    return bytes < 8 ? 8 : bytes > 65536 ? 65536 : (uint32_t)bytes;
}

struct drawn {
    uint32_t *bytes;   /* SIZES sizes, used in turn */
    uint32_t *victims; /* SIZES objects, used in turn */
    struct object *objects;
};

static struct drawn draw(const struct churn *churn)
{
    size_t sizes_bytes = SIZES * sizeof(uint32_t);
    struct drawn d = {map_shared(sizes_bytes), map_shared(sizes_bytes),
                      map_shared(churn->live_count * sizeof(struct object))};

    for (uint32_t i = 0; i < SIZES; i++) {
        d.bytes[i] = draw_bytes(churn);
        d.victims[i] = (uint32_t)(random_next() % churn->live_count);
    }
    memset(d.objects, 0, churn->live_count * sizeof(struct object));
    return d;
}

static inline void get_object(const struct peer *p, struct object *o, uint32_t bytes, bool whole)
{
    o->data = p->get(bytes);
    o->bytes = bytes;
    if (!o->data)
        die("out of memory");
    if (whole)
        memset(o->data, 1, bytes);
    else
        *(uint64_t *)o->data = bytes;
}

/* Sizes are at least 8 bytes, so that touching 8 stays inside. The index of victims moves on by
 * one after each turn, so that turns differ. */
static size_t run_steps(const struct peer *p, struct drawn *d, uint64_t steps, uint64_t live_bytes,
                        bool whole)
{
    uint64_t most = live_bytes;

    for (uint64_t i = 0; i < steps; i++) {
        struct object *o = &d->objects[d->victims[(i + i / SIZES) % SIZES]];
        uint32_t bytes = d->bytes[i % SIZES];
        live_bytes += bytes - (uint64_t)o->bytes;
        p->put(*o);
        get_object(p, o, bytes, whole);
        if (live_bytes > most)
            most = live_bytes;
    }
    return most;
}

/* Prints "ns-per-pair peak/requested". */
static int child(const struct peer *p, const struct churn *churn, uint64_t steps, bool whole)
{
    if (p->symbol && !dlsym(RTLD_DEFAULT, p->symbol))
        return 3;
    struct drawn d = draw(churn);
    peer_setup(p);
    resident_before = status_bytes("VmRSS:");

    uint64_t live_bytes = 0;
    for (uint32_t i = 0; i < churn->live_count; i++) {
        uint32_t bytes = d.bytes[SIZES - 1 - i];
        get_object(p, &d.objects[i], bytes, whole);
        live_bytes += bytes;
    }
    live_bytes = run_steps(p, &d, whole ? 0 : steps / 4, live_bytes, whole); /* warm up */
    double start_s = bench_cpu_s();
    uint64_t most = run_steps(p, &d, steps, live_bytes, whole);
    double ns = (bench_cpu_s() - start_s) * 1e9 / (double)steps;
    printf("%.3f %.5f\n", ns, (double)p->peak_bytes() / (double)most);
    return 0;
}

/* ---- the parent --------------------------------------------------------------------------- */

struct result {
    double ns[ROUNDS_MAX];
    double memory;
    bool absent;
};

/* Runs this program again as `child`; false if the peer is not installed. */
static bool measure(unsigned peer, unsigned churn, uint64_t steps, bool whole, double *ns,
                    double *memory)
{
    char command[3][32];
    int fds[2];

    snprintf(command[0], sizeof command[0], "%u", peer);
    snprintf(command[1], sizeof command[1], "%u", churn);
    snprintf(command[2], sizeof command[2], "%llu", (unsigned long long)steps);
    if (pipe(fds) != 0)
        die("pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        if (peers[peer].preload)
            setenv("LD_PRELOAD", peers[peer].preload, 1);
        execl("/proc/self/exe", "bench_alloc", "--child", command[0], command[1], command[2],
              whole ? "whole" : "head", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    FILE *f = fdopen(fds[0], "r");
    int fields = f ? fscanf(f, "%lf %lf", ns, memory) : 0;
    int status = 0;
    if (f)
        fclose(f);
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        return false;
    if (fields != 2 || status != 0)
        die(peers[peer].name);
    return true;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values, unsigned count)
{
    double sorted[ROUNDS_MAX];

    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    return sorted[count / 2];
}

static double median_ratio(const double *ours, const double *peer, unsigned count)
{
    double ratios[ROUNDS_MAX];

    for (unsigned i = 0; i < count; i++)
        ratios[i] = ours[i] / peer[i];
    return median(ratios, count);
}

struct options {
    bool json;
    bool quick; /* only the two allocators that the rows compare */
    unsigned rounds;
    uint64_t time_steps;
    uint64_t memory_steps;
    const char *only;
};

static void measure_all(const struct options *o, struct result results[CHURNS][PEERS])
{
    double ignored;

    for (unsigned round = 0; round < o->rounds + 1; round++) {
        for (unsigned i = 0; i < CHURNS * PEERS; i++) {
            struct result *r = &results[i / PEERS][i % PEERS];
            bool whole = round == o->rounds;
            if (o->only ? strcmp(o->only, peers[i % PEERS].name) != 0 : o->quick && i % PEERS > 1)
                r->absent = true;
            if (r->absent)
                continue;
            r->absent =
                !measure(i % PEERS, i / PEERS, whole ? o->memory_steps : o->time_steps, whole,
                         whole ? &ignored : &r->ns[round], whole ? &r->memory : &ignored);
        }
    }
}

static void print_table(const struct options *o, struct result results[CHURNS][PEERS])
{
    for (unsigned c = 0; c < CHURNS; c++) {
        printf("%s\n  %-10s %14s %20s\n", churns[c].title, "", "ns per pair", "memory / requested");
        for (unsigned p = 0; p < PEERS; p++) {
            struct result *r = &results[c][p];
            if (!r->absent)
                printf("  %-10s %14.1f %20.3f\n", peers[p].name, median(r->ns, o->rounds),
                       r->memory);
        }
    }
}

static bool print_row(bool json, bool last, const struct churn *churn, const char *what,
                      const char *unit, double ours, double peer, double ratio, double reach)
{
    bool ok = ratio <= reach;

    if (json)
        printf("  {\"what\": \"%s, %s\", \"ours\": %.3f, \"peer\": %.3f, \"unit\": \"%s\", "
               "\"ratio\": %.3f, \"reach\": %.2f, \"ok\": %s}%s\n",
               what, churn->name, ours, peer, unit, ratio, reach, ok ? "true" : "false",
               last ? "" : ",");
    else
        printf("%-22s %-10s %6.3f, reach %.2f: %s\n", what, churn->name, ratio, reach,
               ok ? "ok" : "MISSED");
    return ok;
}

/* True if every row reaches its figure. Peer is jemalloc. */
static bool print_rows(const struct options *o, struct result results[CHURNS][PEERS])
{
    bool ok = true;

    if (o->json)
        printf("{\"bench\": \"alloc\", \"rows\": [\n");
    for (unsigned c = 0; c < CHURNS; c++) {
        struct result *ours = &results[c][0];
        struct result *peer = &results[c][1];
        double ours_ns = median(ours->ns, o->rounds);
        double peer_ns = median(peer->ns, o->rounds);
        ok &= print_row(o->json, false, &churns[c], "time of a pair", "ns", ours_ns, peer_ns,
                        median_ratio(ours->ns, peer->ns, o->rounds), TIME_REACH);
        ok &= print_row(o->json, c == CHURNS - 1, &churns[c], "memory", "memory / requested",
                        ours->memory, peer->memory, ours->memory, MEMORY_REACH);
    }
    if (o->json)
        printf("]}\n");
    return ok;
}

static int run_child(char **argv)
{
    return child(&peers[strtoul(argv[2], NULL, 10) % PEERS],
                 &churns[strtoul(argv[3], NULL, 10) % CHURNS], strtoull(argv[4], NULL, 10),
                 strcmp(argv[5], "whole") == 0);
}

int main(int argc, char **argv)
{
    static struct result results[CHURNS][PEERS];
    struct options o = {.rounds = ROUNDS_MAX, .time_steps = 4000000, .memory_steps = 4000000};

    if (argc == 6 && strcmp(argv[1], "--child") == 0)
        return run_child(argv);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o.json = true;
        } else if (strcmp(argv[i], "--quick") == 0) {
            o.quick = true;
            o.rounds = 1;
            o.time_steps = 300000;
            o.memory_steps = 300000;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            o.only = argv[++i];
        } else {
            fprintf(stderr, "usage: bench_alloc [--json] [--quick] [--only NAME]\n");
            return 2;
        }
    }
    measure_all(&o, results);
    if (!o.json)
        print_table(&o, results);
    if (o.only)
        return 0;
    if (results[0][1].absent) {
        fprintf(stderr, "bench_alloc: jemalloc (libjemalloc.so.2) is not installed\n");
        return 2;
    }
    return print_rows(&o, results) ? 0 : 1;
}
