/* SPDX-License-Identifier: Apache-2.0
 *
 * trace_read.c - traces from files. Objects get numbers in the order in which they appear, through
 * an open hash table of twice the size that it needs at most.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"
#include "policy.h"
#include "trace.h"

struct reader {
    struct trace trace;
    size_t room; /* of trace.keys */
    uint64_t *objects;
    uint32_t *numbers; /* KEY_NONE: an empty place */
    size_t places;     /* a power of two */
};

static void *need(void *memory)
{
    if (!memory)
        bench_die("no memory for the trace");
    return memory;
}

static size_t place_of(const struct reader *reader, uint64_t object)
{
    size_t place = policy_hash(object) & (reader->places - 1);
    while (reader->numbers[place] != KEY_NONE && reader->objects[place] != object)
        place = (place + 1) & (reader->places - 1);
    return place;
}

static void make_places(struct reader *reader, size_t places)
{
    reader->places = places;
    reader->objects = need(malloc(places * sizeof(uint64_t)));
    reader->numbers = need(malloc(places * sizeof(uint32_t)));
    memset(reader->numbers, 0xff, places * sizeof(uint32_t));
}

static void more_places(struct reader *reader)
{
    struct reader old = *reader;
    make_places(reader, old.places * 2);
    for (size_t i = 0; i < old.places; i++) {
        if (old.numbers[i] == KEY_NONE)
            continue;
        size_t place = place_of(reader, old.objects[i]);
        reader->objects[place] = old.objects[i];
        reader->numbers[place] = old.numbers[i];
    }
    free(old.objects);
    free(old.numbers);
}

static void add(struct reader *reader, uint64_t object)
{
    struct trace *trace = &reader->trace;
    if (trace->count == reader->room) {
        reader->room *= 2;
        trace->keys = need(realloc(trace->keys, reader->room * sizeof(uint32_t)));
    }
    if ((size_t)trace->key_count * 2 >= reader->places)
        more_places(reader);
    size_t place = place_of(reader, object);
    if (reader->numbers[place] == KEY_NONE) {
        reader->objects[place] = object;
        reader->numbers[place] = trace->key_count++;
    }
    trace->keys[trace->count++] = reader->numbers[place];
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Lines without the numbers they should have, such as a heading, are passed over. */
static void add_line(struct reader *reader, const char *path, const char *line)
{
    char *end;
    bool csv = ends_with(path, ".csv");
    if (csv) {
        line = strchr(line, ',');
        if (!line)
            return;
        line++;
    }
    errno = 0;
    uint64_t object = strtoull(line, &end, 10);
    if (end == line || errno != 0)
        return;
    uint64_t blocks = 1;
    if (ends_with(path, ".lis"))
        blocks = strtoull(end, NULL, 10);
    for (uint64_t i = 0; i < blocks && i < UINT32_MAX; i++)
        add(reader, object + i);
}

struct trace trace_read(const char *path)
{
    struct reader reader = {.room = 1 << 16};
    const char *name = strrchr(path, '/');
    snprintf(reader.trace.name, sizeof(reader.trace.name), "%s", name ? name + 1 : path);
    reader.trace.keys = need(malloc(reader.room * sizeof(uint32_t)));
    make_places(&reader, 1 << 16);
    FILE *file = fopen(path, "r");
    if (!file)
        bench_die("%s: %s", path, strerror(errno));
    char line[4096];
    while (fgets(line, sizeof(line), file))
        add_line(&reader, path, line);
    fclose(file);
    free(reader.objects);
    free(reader.numbers);
    reader.trace.base_keys = reader.trace.key_count;
    if (reader.trace.count == 0)
        bench_die("%s: no request in it", path);
    return reader.trace;
}
