/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_check_main.c - the checker as a program.
 *
 *     ring_check DIRECTORY [may-evict] [no-finals] [no-counters]
 *     ring_check DIRECTORY outage FROM_NS UNTIL_NS [KEYS]
 *
 * The first judges the logs of a directory by every rule, and prints one object with the counts,
 * and the first record that broke each rule; exit status 1 if any was broken. The second prints how
 * long reads and writes that began between two moments were without success, of all keys or of
 * those in the file KEYS, numbers one a line. A log may still grow: what is not yet whole is left.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ring_check.h"

struct logs {
    struct ring_log_record *records;
    size_t count, room;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "ring_check: %s: %s\n", what, why);
    exit(2);
}

static void read_log(struct logs *logs, const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &st) != 0)
        die(path, strerror(errno));
    size_t count = (size_t)st.st_size / sizeof(*logs->records);
    if (logs->count + count > logs->room) {
        logs->room = (logs->count + count) * 2;
        logs->records = realloc(logs->records, logs->room * sizeof(*logs->records));
        if (!logs->records)
            die(path, "no memory");
    }
    if (count > 0 &&
        fread(&logs->records[logs->count], sizeof(*logs->records), count, file) != count)
        die(path, "cannot be read");
    logs->count += count;
    fclose(file);
}

static void read_logs(struct logs *logs, const char *directory)
{
    struct dirent *entry;
    char path[1024];
    DIR *dir = opendir(directory);
    if (!dir)
        die(directory, strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        const char *dot = strrchr(entry->d_name, '.');
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (dot && strcmp(dot, ".log") == 0)
            read_log(logs, path);
    }
    closedir(dir);
    if (logs->count == 0)
        die(directory, "has no operations");
}

static void print_record(const struct ring_log_record *record)
{
    static const char *const ops[RING_LOG_OPS] = {"get", "set", "delete", "incr", "final"};
    static const char *const outcomes[] = {"ok", "absent", "failed", "unknown", "wrong"};
    printf("{\"op\": \"%s\", \"outcome\": \"%s\", \"key\": %u, \"writer\": %u, \"number\": %u, "
           "\"value_writer\": %u, \"begin\": %.6f, \"end\": %.6f}",
           record->op < RING_LOG_OPS ? ops[record->op] : "?",
           record->outcome <= RING_LOG_WRONG ? outcomes[record->outcome] : "?",
           (unsigned)record->key, (unsigned)record->writer, (unsigned)record->number,
           (unsigned)record->value_writer, (double)record->begin_ns * 1e-9,
           (double)record->end_ns * 1e-9);
}

static int judge(struct logs *logs, int argc, char **argv)
{
    struct ring_check_options options = {.may_evict = false};
    struct ring_verdict verdict;
    for (int i = 2; i < argc; i++) {
        options.may_evict |= strcmp(argv[i], "may-evict") == 0;
        options.no_finals |= strcmp(argv[i], "no-finals") == 0;
        options.no_counters |= strcmp(argv[i], "no-counters") == 0;
    }
    if (!ring_check(logs->records, logs->count, &options, &verdict))
        die("the check", "no memory");
    printf("{\"reads\": %" PRIu64 ", \"writes\": %" PRIu64 ", \"finals\": %" PRIu64
           ", \"keys\": %" PRIu64 ", \"unknown_increments\": %" PRIu64
           ", \"single_copy_writes\": %" PRIu64 ", \"older_than_others\": %" PRIu64
           ", \"counter_conflicts\": %" PRIu64,
           verdict.reads, verdict.writes, verdict.finals, verdict.keys, verdict.unknown_increments,
           verdict.single_copy_writes, verdict.older_than_others, verdict.counter_conflicts);
    for (unsigned rule = 0; rule < RING_RULES; rule++)
        printf(", \"%s\": %" PRIu64, ring_rule_name(rule), verdict.counts[rule]);
    printf(", \"first\": {");
    for (unsigned rule = 0, printed = 0; rule < RING_RULES; rule++)
        if (verdict.counts[rule] > 0) {
            printf("%s\"%s\": ", printed++ ? ", " : "", ring_rule_name(rule));
            print_record(&verdict.first[rule]);
        }
    printf("}}\n");
    return ring_verdict_objects(&verdict) ? 1 : 0;
}

/* A byte for each key up to the highest; to be freed. */
static uint8_t *read_keys(const char *path, size_t *count)
{
    char line[32];
    uint8_t *keys = NULL;
    FILE *file = fopen(path, "re");
    if (!file)
        die(path, strerror(errno));
    *count = 0;
    while (fgets(line, sizeof(line), file)) {
        size_t key = strtoul(line, NULL, 10);
        if (key >= *count) {
            uint8_t *grown = realloc(keys, key + 4096);
            if (!grown)
                die(path, "no memory");
            keys = grown;
            memset(keys + *count, 0, key + 4096 - *count);
            *count = key + 4096;
        }
        keys[key] = 1;
    }
    fclose(file);
    return keys;
}

static int outage(struct logs *logs, int argc, char **argv)
{
    struct ring_outage_options options = {.from_ns = strtoull(argv[3], NULL, 10),
                                          .until_ns = strtoull(argv[4], NULL, 10)};
    struct ring_outage found;
    uint8_t *keys = argc > 5 ? read_keys(argv[5], &options.key_count) : NULL;
    options.keys = keys;
    printf("{");
    for (unsigned writes = 0; writes < 2; writes++) {
        if (!ring_outage(logs->records, logs->count, &options, writes == 1, &found))
            die("the outage", "no memory");
        printf("%s\"%s\": {\"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"absent\": %" PRIu64
               ", \"longest_ms\": %.3f, \"slowest_ms\": %.3f, \"p50_ms\": %.4f, \"p99_ms\": %.4f}",
               writes ? ", " : "", writes ? "writes" : "reads", found.done, found.failed,
               found.absent, (double)found.longest_ns * 1e-6, (double)found.slowest_ns * 1e-6,
               (double)found.p50_ns * 1e-6, (double)found.p99_ns * 1e-6);
    }
    printf("}\n");
    free(keys);
    return 0;
}

int main(int argc, char **argv)
{
    struct logs logs = {.records = NULL};
    if (argc < 2)
        die("arguments", "a directory is needed");
    read_logs(&logs, argv[1]);
    int status = argc > 4 && strcmp(argv[2], "outage") == 0 ? outage(&logs, argc, argv)
                                                            : judge(&logs, argc, argv);
    free(logs.records);
    return status;
}
