/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_load.c - clients of a ring, or of a peer, that write down each operation (ring_log.h).
 *
 *     ring_load --client ring|cluster|sentinel --nodes LIST --log DIRECTORY [OPTION VALUE]...
 *
 * Each thread is a client and does gets, sets, deletes and increments of random keys, at a steady
 * rate, until --seconds are over or standard input ends. A thread writes only keys of its own, but
 * for --shared percent of its writes, which go to any key; it reads any. With --readers N the first
 * N threads do nothing but read, and the others but write, so that neither waits for the other.
 * With
 * --preload 1 all keys are set before. It says "ready" when the threads begin, and at the end a
 * line of JSON that counts the operations. --final 1 does nothing but read each key once, as the
 * client sees it, or, with a client that can, as each node that holds it has it; with --final 2 as
 * the client sees it. --owners 1 does nothing but print each key's owner. With --look 1 the file
 * `looks` of the log has a line for each change of the ring as the client sees it: the time in ns,
 * the map's epoch, and the nodes whose breakers are open; it is looked at every 2 ms.
 *
 * A thread that finds itself late does not catch up: a second without an answer is a second without
 * further operations of that thread. So more threads than one are needed to see what the other keys
 * do meanwhile.
 */
#include "ring_load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64u
#define NS_OF_S     1000000000u
/* Whole records, and not many, so that who looks on sees them soon. */
#define LOG_BYTES       (100 * sizeof(struct ring_log_record))
#define COUNTERS_OF_TEN 2u /* of ten writes, where there are counters */

#define FINAL_BY_CLIENT 2u

struct load {
    struct ring_load_options options;
    const struct ring_load_client *client;
    void *opened;
    const char *log;
    uint64_t threads, readers, keys, counters, rate, reads, deletes, shared, value_bytes, ttl_ms;
    uint64_t first_writer, seed, preload, final, owners, look, complaints;
    double seconds;
    _Atomic bool over;
    _Atomic uint64_t complained;
};

struct writer {
    struct load *load;
    pthread_t thread;
    void *connection;
    FILE *log;
    uint64_t random;
    uint64_t counts[RING_LOG_OPS][RING_LOG_WRONG + 1];
    uint32_t number; /* the last that was given to a write */
    uint16_t name;
    unsigned position;
    struct ring_load_value value;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "ring_load: %s: %s\n", what, why);
    exit(2);
}

uint64_t ring_load_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_OF_S + (uint64_t)now.tv_nsec;
}

void ring_load_value_room(struct ring_load_value *value, size_t bytes)
{
    if (bytes <= value->room)
        return;
    free(value->data);
    value->data = malloc(bytes);
    value->room = bytes;
    if (!value->data)
        die("a value", "no memory");
}

static uint64_t draw(struct writer *writer)
{
    uint64_t x = writer->random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* --- operations ----------------------------------------------------------------------------- */

static void complain(struct writer *writer, const struct ring_log_record *record)
{
    static const char *const ops[RING_LOG_OPS] = {"get", "set", "delete", "incr", "final"};
    if (record->outcome < RING_LOG_FAILED ||
        atomic_fetch_add(&writer->load->complained, 1) >= writer->load->complaints)
        return;
    fprintf(stderr, "ring_load: %.6f writer %u %s of key %u took %.1f ms: %s\n",
            (double)record->begin_ns * 1e-9, (unsigned)writer->name, ops[record->op],
            (unsigned)record->key, (double)(record->end_ns - record->begin_ns) * 1e-6,
            record->outcome == RING_LOG_WRONG ? "no value of this key"
                                              : writer->load->client->why(writer->connection));
}

static void note(struct writer *writer, struct ring_log_record *record, int outcome)
{
    record->end_ns = ring_load_now_ns();
    record->outcome = (uint8_t)outcome;
    if (record->op != RING_LOG_FINAL)
        record->writer = writer->name;
    writer->counts[record->op][outcome]++;
    if (fwrite(record, sizeof(*record), 1, writer->log) != 1)
        die("the log", strerror(errno));
    complain(writer, record);
}

/* What was read, as an outcome; a counter's value is its count. */
static int understand(const struct ring_load_value *value, struct ring_log_record *record)
{
    char text[24];
    char *end;
    if (record->key < RING_LOG_COUNTERS)
        return ring_value_read(record->key, value->data, value->bytes, &record->value_writer,
                               &record->number)
                   ? RING_LOG_OK
                   : RING_LOG_WRONG;
    if (value->bytes == 0 || value->bytes >= sizeof(text))
        return RING_LOG_WRONG;
    memcpy(text, value->data, value->bytes);
    text[value->bytes] = '\0';
    record->number = (uint32_t)strtoul(text, &end, 10);
    return *end == '\0' ? RING_LOG_OK : RING_LOG_WRONG;
}

static void do_get(struct writer *writer, uint32_t key, enum ring_log_op op)
{
    const struct ring_load_client *client = writer->load->client;
    struct ring_log_record record = {.key = key, .op = (uint8_t)op};
    char name[RING_KEY_BYTES];
    ring_key_name(key, name);
    record.begin_ns = ring_load_now_ns();
    int outcome = client->get(writer->connection, name, RING_KEY_BYTES - 1, &writer->value);
    if (outcome == RING_LOG_OK)
        outcome = understand(&writer->value, &record);
    note(writer, &record, outcome);
}

static void do_set(struct writer *writer, uint32_t key, uint8_t flags)
{
    const struct load *load = writer->load;
    struct ring_log_record record = {.key = key, .op = RING_LOG_SET, .flags = flags};
    struct ring_load_copies copies = {0};
    char name[RING_KEY_BYTES];
    uint8_t value[RING_VALUE_BYTES_MAX];
    ring_key_name(key, name);
    record.number = ++writer->number;
    record.ttl_ms = (uint32_t)load->ttl_ms;
    ring_value_make(key, writer->name, record.number, value, load->value_bytes);
    record.begin_ns = ring_load_now_ns();
    int outcome = load->client->set(writer->connection, name, RING_KEY_BYTES - 1, value,
                                    load->value_bytes, record.ttl_ms, &copies);
    record.have = copies.have;
    record.want = copies.want;
    note(writer, &record, outcome);
}

static void do_delete(struct writer *writer, uint32_t key)
{
    const struct load *load = writer->load;
    struct ring_log_record record = {.key = key, .op = RING_LOG_DELETE};
    struct ring_load_copies copies = {0};
    char name[RING_KEY_BYTES];
    ring_key_name(key, name);
    record.number = ++writer->number;
    record.begin_ns = ring_load_now_ns();
    int outcome = load->client->delete (writer->connection, name, RING_KEY_BYTES - 1, &copies);
    record.have = copies.have;
    record.want = copies.want;
    note(writer, &record, outcome);
}

static void do_incr(struct writer *writer, uint32_t key)
{
    const struct load *load = writer->load;
    struct ring_log_record record = {.key = key, .op = RING_LOG_INCR};
    struct ring_load_copies copies = {0};
    int64_t count = 0;
    char name[RING_KEY_BYTES];
    ring_key_name(key, name);
    record.begin_ns = ring_load_now_ns();
    int outcome = load->client->incr(writer->connection, name, RING_KEY_BYTES - 1, &count, &copies);
    record.number = (uint32_t)count;
    record.have = copies.have;
    record.want = copies.want;
    note(writer, &record, outcome);
}

/* --- a thread ------------------------------------------------------------------------------- */

static uint32_t draw_own_key(struct writer *writer)
{
    const struct load *load = writer->load;
    uint64_t key = draw(writer) % load->keys;
    if (draw(writer) % 100 < load->shared)
        return (uint32_t)key;
    const uint64_t writers = load->threads - load->readers;
    const uint64_t position = writer->position - load->readers;
    key = key - key % writers + position;
    return (uint32_t)(key < load->keys ? key : position);
}

static void do_something(struct writer *writer)
{
    const struct load *load = writer->load;
    bool reads =
        load->readers ? writer->position < load->readers : draw(writer) % 100 < load->reads;
    if (reads)
        do_get(writer, (uint32_t)(draw(writer) % load->keys), RING_LOG_GET);
    else if (load->counters > 0 && draw(writer) % 10 < COUNTERS_OF_TEN)
        do_incr(writer, RING_LOG_COUNTERS + (uint32_t)(draw(writer) % load->counters));
    else if (draw(writer) % 100 < load->deletes)
        do_delete(writer, draw_own_key(writer));
    else
        do_set(writer, draw_own_key(writer), 0);
}

static void wait_until(uint64_t ns)
{
    const struct timespec at = {(time_t)(ns / NS_OF_S), (long)(ns % NS_OF_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static void *run(void *argument)
{
    struct writer *writer = argument;
    struct load *load = writer->load;
    const uint64_t step_ns = load->rate ? NS_OF_S * load->threads / load->rate : 0;
    uint64_t next_ns = ring_load_now_ns() + step_ns * writer->position / load->threads;
    while (!atomic_load(&load->over)) {
        if (step_ns > 0)
            wait_until(next_ns);
        do_something(writer);
        uint64_t now_ns = ring_load_now_ns();
        next_ns += step_ns;
        if (next_ns < now_ns)
            next_ns = now_ns;
    }
    return NULL;
}

static void writer_open(struct writer *writer, struct load *load, unsigned position)
{
    char path[512];
    *writer = (struct writer){.load = load, .position = position};
    writer->name = (uint16_t)(load->first_writer + position);
    writer->random = load->seed * THREADS_MAX * 2 + position;
    writer->connection = load->client->connect(load->opened);
    snprintf(path, sizeof(path), "%s/%05u.log", load->log, (unsigned)writer->name);
    writer->log = fopen(path, "abe");
    if (!writer->connection || !writer->log)
        die(path, writer->connection ? strerror(errno) : "no connection");
    (void)setvbuf(writer->log, NULL, _IOFBF, LOG_BYTES);
}

static void writer_close(struct writer *writer)
{
    writer->load->client->disconnect(writer->connection);
    free(writer->value.data);
    if (fclose(writer->log) != 0)
        die("the log", strerror(errno));
}

/* --- the whole ------------------------------------------------------------------------------ */

static void preload_many(struct writer *writer, uint32_t first, uint32_t count)
{
    const struct load *load = writer->load;
    const struct ring_load_many many = {.first = first,
                                        .count = count,
                                        .number = writer->number + 1,
                                        .writer = writer->name,
                                        .value_bytes = load->value_bytes};
    uint8_t outcomes[RING_LOAD_MANY];
    const uint64_t begin_ns = ring_load_now_ns();
    load->client->set_many(writer->connection, &many, outcomes);
    writer->number += count;
    for (uint32_t i = 0; i < count; i++) {
        struct ring_log_record record = {.key = first + i,
                                         .op = RING_LOG_SET,
                                         .flags = RING_LOG_BASE,
                                         .number = many.number + i,
                                         .begin_ns = begin_ns};
        note(writer, &record, outcomes[i]);
    }
}

static void preload(struct load *load, struct writer *writer)
{
    for (uint32_t key = 0, count; key < load->keys; key += count) {
        bool many = load->client->set_many && load->ttl_ms == 0;
        count = many && load->keys - key > RING_LOAD_MANY ? RING_LOAD_MANY
                : many                                    ? (uint32_t)load->keys - key
                                                          : 1;
        if (many)
            preload_many(writer, key, count);
        else
            do_set(writer, key, RING_LOG_BASE);
    }
    (void)fflush(writer->log);
}

/* False: there are not so many copies. */
static bool do_get_copy(struct writer *writer, uint32_t key, unsigned copy)
{
    const struct ring_load_client *client = writer->load->client;
    struct ring_log_record record = {.key = key, .op = RING_LOG_FINAL, .writer = (uint16_t)copy};
    char name[RING_KEY_BYTES];
    ring_key_name(key, name);
    record.begin_ns = ring_load_now_ns();
    int outcome =
        client->get_copy(writer->connection, name, RING_KEY_BYTES - 1, copy, &writer->value);
    if (outcome == RING_LOAD_NO_COPY)
        return false;
    if (outcome == RING_LOG_OK)
        outcome = understand(&writer->value, &record);
    note(writer, &record, outcome);
    return true;
}

static void read_last_state(struct writer *writer, uint32_t key)
{
    unsigned copy = 0;
    if (!writer->load->client->get_copy || writer->load->final == FINAL_BY_CLIENT)
        do_get(writer, key, RING_LOG_FINAL);
    else
        while (do_get_copy(writer, key, copy))
            copy++;
}

static void read_final(struct load *load, struct writer *writer)
{
    for (uint32_t key = 0; key < load->keys; key++)
        read_last_state(writer, key);
    for (uint32_t i = 0; i < load->counters; i++)
        read_last_state(writer, RING_LOG_COUNTERS + i);
}

static void print_owners(const struct load *load, struct writer *writer)
{
    char name[RING_KEY_BYTES];
    for (uint32_t key = 0; key < load->keys; key++) {
        ring_key_name(key, name);
        printf("%s\n", load->client->owner(writer->connection, name, RING_KEY_BYTES - 1));
    }
}

static bool input_has_ended(int wait_ms)
{
    char byte;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, wait_ms) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static FILE *open_looks(const struct load *load)
{
    char path[512];
    if (!load->look || !load->client->look)
        return NULL;
    snprintf(path, sizeof(path), "%s/looks", load->log);
    FILE *looks = fopen(path, "we");
    if (!looks)
        die(path, strerror(errno));
    (void)setvbuf(looks, NULL, _IOLBF, 0);
    return looks;
}

static void wait_for_the_end(const struct load *load)
{
    const uint64_t until = ring_load_now_ns() + (uint64_t)(load->seconds * NS_OF_S);
    FILE *looks = open_looks(load);
    char line[RING_LOAD_LINE];
    while (load->seconds <= 0 || ring_load_now_ns() < until) {
        if (looks && load->client->look(load->opened, line))
            fprintf(looks, "%llu %s\n", (unsigned long long)ring_load_now_ns(), line);
        if (input_has_ended(looks ? 2 : 5))
            break;
    }
    if (looks)
        fclose(looks);
}

static void run_threads(struct load *load, struct writer *writers)
{
    printf("ready\n");
    fflush(stdout);
    for (unsigned i = 0; i < load->threads; i++)
        if (pthread_create(&writers[i].thread, NULL, run, &writers[i]) != 0)
            die("a thread", "cannot be made");
    wait_for_the_end(load);
    atomic_store(&load->over, true);
    for (unsigned i = 0; i < load->threads; i++)
        pthread_join(writers[i].thread, NULL);
}

static void print_counts(const struct writer *writers, size_t count)
{
    static const char *const ops[RING_LOG_OPS] = {"get", "set", "delete", "incr", "final"};
    static const char *const outcomes[] = {"ok", "absent", "failed", "unknown", "wrong"};
    printf("{");
    for (unsigned op = 0; op < RING_LOG_OPS; op++) {
        printf("%s\"%s\": {", op ? ", " : "", ops[op]);
        for (unsigned outcome = 0; outcome <= RING_LOG_WRONG; outcome++) {
            uint64_t sum = 0;
            for (size_t i = 0; i < count; i++)
                sum += writers[i].counts[op][outcome];
            printf("%s\"%s\": %llu", outcome ? ", " : "", outcomes[outcome],
                   (unsigned long long)sum);
        }
        printf("}");
    }
    printf("}\n");
}

static void load_run(struct load *load)
{
    /* One more than threads: it preloads, and reads at the end. */
    struct writer *writers = calloc(load->threads + 1, sizeof(*writers));
    struct writer *extra = writers ? &writers[load->threads] : NULL;
    if (!extra)
        die("the writers", "no memory");
    load->opened = load->client->open(&load->options);
    if (!load->opened)
        exit(2);
    for (unsigned i = 0; i <= load->threads; i++)
        writer_open(&writers[i], load, i);
    if (load->preload)
        preload(load, extra);
    if (load->owners && load->client->owner)
        print_owners(load, extra);
    else if (load->final)
        read_final(load, extra);
    else
        run_threads(load, writers);
    print_counts(writers, load->threads + 1);
    for (unsigned i = 0; i <= load->threads; i++)
        writer_close(&writers[i]);
    load->client->close(load->opened);
    free(writers);
}

/* --- options -------------------------------------------------------------------------------- */

static const struct ring_load_client *client_named(const char *name)
{
    static const struct ring_load_client *const clients[] = {
        &ring_load_redis_cluster, &ring_load_ring, &ring_load_redis_sentinel};
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
        if (strcmp(clients[i]->name, name) == 0)
            return clients[i];
    die(name, "no such client");
}

static bool set_number(struct load *load, const char *name, const char *text)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"threads", &load->threads},
        {"keys", &load->keys},
        {"counters", &load->counters},
        {"rate", &load->rate},
        {"reads", &load->reads},
        {"readers", &load->readers},
        {"deletes", &load->deletes},
        {"shared", &load->shared},
        {"value-bytes", &load->value_bytes},
        {"ttl-ms", &load->ttl_ms},
        {"first-writer", &load->first_writer},
        {"seed", &load->seed},
        {"preload", &load->preload},
        {"final", &load->final},
        {"owners", &load->owners},
        {"look", &load->look},
        {"complaints", &load->complaints},
    };
    char *end = NULL;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strcmp(numbers[i].name, name) == 0)
            *numbers[i].value = strtoull(text, &end, 10);
    if (end && (*end != '\0' || end == text))
        die(name, "no number");
    return end != NULL;
}

static bool set_text(struct load *load, const char *name, const char *text)
{
    struct ring_load_options *options = &load->options;
    if (strcmp(name, "client") == 0)
        options->client = text;
    else if (strcmp(name, "nodes") == 0)
        options->nodes = text;
    else if (strcmp(name, "zookeeper") == 0)
        options->zookeeper = text;
    else if (strcmp(name, "cluster") == 0)
        options->cluster = text;
    else if (strcmp(name, "pond") == 0)
        options->pond = text;
    else if (strcmp(name, "log") == 0)
        load->log = text;
    else if (strcmp(name, "need") == 0)
        options->need_all = strcmp(text, "all") == 0;
    else if (strcmp(name, "kind") == 0)
        options->redis = strcmp(text, "redis") == 0;
    else if (strcmp(name, "slots") == 0)
        options->slots = (uint16_t)strtoul(text, NULL, 10);
    else if (strcmp(name, "timeout-ms") == 0)
        options->timeout_ms = (uint32_t)strtoul(text, NULL, 10);
    else if (strcmp(name, "hedge-ms") == 0)
        options->hedge_ms = (uint32_t)strtoul(text, NULL, 10);
    else if (strcmp(name, "seconds") == 0)
        load->seconds = strtod(text, NULL);
    else
        return false;
    return true;
}

static void check(const struct load *load)
{
    if (!load->log || !load->options.client)
        die("options", "--client and --log are needed");
    if (load->threads == 0 || load->threads > THREADS_MAX || load->keys < load->threads ||
        load->readers >= load->threads || load->keys > RING_LOG_COUNTERS)
        die("options", "threads are 1 to 64, more than readers, and no more than keys");
    if (load->value_bytes < RING_VALUE_BYTES_MIN || load->value_bytes > RING_VALUE_BYTES_MAX)
        die("options", "a value has 32 to 65536 bytes");
}

int main(int argc, char **argv)
{
    static struct load load = {.threads = 4,
                               .keys = 10000,
                               .rate = 4000,
                               .reads = 70,
                               .deletes = 10,
                               .value_bytes = 100,
                               .seed = 1,
                               .first_writer = 1,
                               .complaints = 20};
    for (int i = 1; i < argc; i += 2)
        if (strncmp(argv[i], "--", 2) != 0 || i + 1 == argc ||
            (!set_number(&load, argv[i] + 2, argv[i + 1]) &&
             !set_text(&load, argv[i] + 2, argv[i + 1])))
            die(argv[i], "no such option, or nothing after it");
    check(&load);
    load.client = client_named(load.options.client);
    load_run(&load);
    return 0;
}
