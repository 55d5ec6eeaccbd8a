/* SPDX-License-Identifier: Apache-2.0
 *
 * replay_main.c - the main of a fuzz target in builds without libFuzzer.
 *
 * Goal: what fuzzing once found stays found, and every ordinary test run looks a little further.
 * Method: run every file of the corpus directory through the target, then mutate corpus inputs
 * from a printed seed for a moment (2 s; SIDEPOND_FUZZ_SECONDS says otherwise). SIDEPOND_SEED=N
 * repeats the mutations of a run. Each mutated input lies in a shared mapping made from a file
 * under the temporary directory, so that a crash leaves the input that caused it: the file is
 * named at the start and removed only at a clean end.
 * Limits: inputs of at most 1 MiB; no coverage feedback (preset fuzz has it).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_BYTES_MAX ((size_t)1 << 20)
#define SECONDS_DEFAULT 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

struct input {
    uint8_t *data;
    size_t size;
};

struct corpus {
    struct input *inputs;
    size_t count;
};

/* The last mutated input, as a file that survives a crash: 8 bytes of size, then the bytes. */
struct scratch {
    char path[4096];
    uint8_t *data;
};

static uint64_t random_state;

/* xorshift64*: enough for mutations, and the same on every machine. */
static uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(2685821657736338717);
}

static size_t random_below(size_t limit)
{
    return limit == 0 ? 0 : (size_t)(random_next() % limit);
}

static _Noreturn void fail(const char *what, const char *name)
{
    fprintf(stderr, "%s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

static struct input input_read(int dir_fd, const char *name)
{
    struct input input = {.data = NULL, .size = 0};
    struct stat st;
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        fail("cannot open", name);
    size_t size = (size_t)st.st_size > INPUT_BYTES_MAX ? INPUT_BYTES_MAX : (size_t)st.st_size;
    input.data = malloc(size + 1);
    if (input.data == NULL || read(fd, input.data, size) != (ssize_t)size)
        fail("cannot read", name);
    input.size = size;
    close(fd);
    return input;
}

/* Exactly as many bytes as the input has, so that a sanitizer sees a read past its end. */
static void target_run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size + (size == 0));
    if (exact == NULL)
        fail("cannot allocate", "input");
    if (size > 0)
        memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static int name_select(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static struct corpus corpus_load(const char *path)
{
    struct dirent **names = NULL;
    struct corpus corpus = {.inputs = NULL, .count = 0};
    int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int count = dir_fd < 0 ? -1 : scandir(path, &names, name_select, alphasort);
    if (count <= 0)
        fail("no corpus in", path);
    corpus.inputs = calloc((size_t)count, sizeof corpus.inputs[0]);
    if (corpus.inputs == NULL)
        fail("cannot allocate", "corpus");
    for (int i = 0; i < count; i++) {
        corpus.inputs[corpus.count++] = input_read(dir_fd, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    close(dir_fd);
    return corpus;
}

static void corpus_free(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++)
        free(corpus->inputs[i].data);
    free(corpus->inputs);
}

/* One small change: a bit, a byte, an edge value, a piece removed, repeated or taken elsewhere. */
static size_t mutate_once(uint8_t *data, size_t size, const struct input *other)
{
    static const uint64_t edges[] = {0,      1,          0x7f,       0x80,       0xff,     0x7fff,
                                     0xffff, 0x7fffffff, 0xffffffff, UINT64_MAX, INT64_MAX};
    size_t at = random_below(size);
    size_t length = 1 + random_below(size - at > 64 ? 64 : size - at);
    size_t width = (size_t)1 << random_below(4);
    switch (size == 0 ? 6 : random_below(7)) {
    case 0:
        data[at] ^= (uint8_t)(1u << random_below(8));
        return size;
    case 1:
        data[at] = (uint8_t)random_next();
        return size;
    case 2:
        if (at + width <= size)
            memcpy(data + at, &edges[random_below(sizeof edges / sizeof edges[0])], width);
        return size;
    case 3:
        memmove(data + at, data + at + length, size - at - length);
        return size - length;
    case 4:
        return at;
    case 5:
        if (size + length > INPUT_BYTES_MAX)
            return size;
        memmove(data + at + length, data + at, size - at);
        return size + length;
    default:
        if (other->size > 0) {
            size_t from = random_below(other->size);
            size_t take = 1 + random_below(other->size - from);
            take = at + take > INPUT_BYTES_MAX ? INPUT_BYTES_MAX - at : take;
            memcpy(data + at, other->data + from, take);
            return at + take > size ? at + take : size;
        }
        return size;
    }
}

static void scratch_open(struct scratch *scratch)
{
    const char *dir = getenv("TMPDIR");
    snprintf(scratch->path, sizeof scratch->path, "%s/sidepond-fuzz-input.XXXXXX",
             dir != NULL ? dir : "/tmp");
    int fd = mkstemp(scratch->path);
    if (fd < 0 || ftruncate(fd, (off_t)(sizeof(uint64_t) + INPUT_BYTES_MAX)) != 0)
        fail("cannot make", scratch->path);
    scratch->data =
        mmap(NULL, sizeof(uint64_t) + INPUT_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (scratch->data == MAP_FAILED)
        fail("cannot map", scratch->path);
    close(fd);
}

static void scratch_close(struct scratch *scratch)
{
    munmap(scratch->data, sizeof(uint64_t) + INPUT_BYTES_MAX);
    unlink(scratch->path);
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint64_t mutate_for(const struct corpus *corpus, struct scratch *scratch, double seconds)
{
    uint8_t *data = scratch->data + sizeof(uint64_t);
    uint64_t runs = 0;
    for (double end = now_s() + seconds; now_s() < end; runs++) {
        const struct input *base = &corpus->inputs[random_below(corpus->count)];
        size_t size = base->size;
        if (size > 0)
            memcpy(data, base->data, size);
        for (size_t n = 1 + random_below(8); n > 0; n--)
            size = mutate_once(data, size, &corpus->inputs[random_below(corpus->count)]);
        memcpy(scratch->data, &(uint64_t){size}, sizeof(uint64_t));
        target_run(data, size);
    }
    return runs;
}

static uint64_t seed_choose(void)
{
    uint64_t seed = 0;
    const char *given = getenv("SIDEPOND_SEED");
    if (given != NULL)
        seed = strtoull(given, NULL, 0);
    else if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint64_t)time(NULL);
    return seed == 0 ? 1 : seed;
}

/* A scratch file of an earlier crash is an input too. */
static int crash_replay(const char *path)
{
    struct input file = input_read(AT_FDCWD, path);
    uint64_t size = 0;
    if (file.size < sizeof size)
        return 2;
    memcpy(&size, file.data, sizeof size);
    if (size <= file.size - sizeof size)
        target_run(file.data + sizeof size, size);
    free(file.data);
    return 0;
}

int main(int argc, char **argv)
{
    const char *seconds = getenv("SIDEPOND_FUZZ_SECONDS");
    struct scratch scratch;
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--crash") == 0)
        return crash_replay(argv[2]);
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-DIRECTORY | --crash SCRATCH-FILE\n", argv[0]);
        return 2;
    }
    struct corpus corpus = corpus_load(argv[1]);
    for (size_t i = 0; i < corpus.count; i++)
        target_run(corpus.inputs[i].data, corpus.inputs[i].size);
    random_state = seed_choose();
    scratch_open(&scratch);
    printf("%zu corpus inputs replayed; mutating with SIDEPOND_SEED=%llu, last input in %s\n",
           corpus.count, (unsigned long long)random_state, scratch.path);
    fflush(stdout);
    uint64_t runs =
        mutate_for(&corpus, &scratch, seconds != NULL ? strtod(seconds, NULL) : SECONDS_DEFAULT);
    printf("%llu mutated inputs, no finding\n", (unsigned long long)runs);
    scratch_close(&scratch);
    corpus_free(&corpus);
    return 0;
}
