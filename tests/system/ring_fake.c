/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_fake.c - a node of a ring made of threads: one that accepts, and one for each connection.
 * Threads of connections end when
 * the other side closes, which fake_node_end waits for.
 */
#include "tests/system/ring_fake.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "alloc/clock.h"
#include "client/ring/clock.h"
#include "client/ring/slot.h"

struct talk {
    struct fake_node *node;
    int fd;
};

/* --- answers ---------------------------------------------------------------------------------- */

static void say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)!send(fd, text, (size_t)size, MSG_NOSIGNAL);
}

static long long clock_of(const struct fake_node *node)
{
    return (long long)ring_clock_of(clock_wall_ms()) + atomic_load(&node->clock);
}

/* --- entries; the mutex is held --------------------------------------------------------------- */

static struct fake_entry *entry_of(struct fake_node *node, const char *key)
{
    for (size_t i = 0; i < FAKE_ENTRIES; i++)
        if (node->entries[i].key[0] == '\0' || strcmp(node->entries[i].key, key) == 0) {
            snprintf(node->entries[i].key, sizeof node->entries[i].key, "%s", key);
            return &node->entries[i];
        }
    abort();
}

bool fake_node_find(struct fake_node *node, const char *key, struct fake_entry *out)
{
    pthread_mutex_lock(&node->mutex);
    *out = *entry_of(node, key);
    pthread_mutex_unlock(&node->mutex);
    return out->there;
}

void fake_node_put(struct fake_node *node, const char *key, const char *value)
{
    pthread_mutex_lock(&node->mutex);
    struct fake_entry *entry = entry_of(node, key);
    entry->there = true;
    snprintf(entry->value, sizeof entry->value, "%s", value);
    pthread_mutex_unlock(&node->mutex);
}

/* --- commands --------------------------------------------------------------------------------- */

static bool put_refused(struct fake_node *node, int fd, uint64_t epoch, uint64_t version)
{
    uint64_t newer = atomic_load(&node->newer), moved = atomic_load(&node->moved);
    if (epoch < moved) {
        say(fd, "-MOVED %llu\r\n", (unsigned long long)moved);
    } else if (version <= newer) {
        say(fd, "-NEWER %llu\r\n", (unsigned long long)newer);
    } else if (atomic_load(&node->full) > 0) {
        atomic_fetch_sub(&node->full, 1);
        say(fd, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    } else {
        return false;
    }
    return true;
}

static void put(struct fake_node *node, int fd, redisReply **words, bool erase)
{
    uint64_t epoch = strtoull(words[2]->str, NULL, 10), version = strtoull(words[3]->str, NULL, 10);
    atomic_fetch_add(&node->puts, 1);
    if (put_refused(node, fd, epoch, version))
        return;
    struct fake_entry *entry = entry_of(node, words[erase ? 4 : 5]->str);
    entry->version = version;
    entry->there = !erase;
    entry->expiry = erase ? 0 : atoll(words[4]->str);
    snprintf(entry->value, sizeof entry->value, "%s", erase ? "" : words[6]->str);
    uint64_t own = atomic_load(&node->epoch);
    if (own > epoch)
        say(fd, "*2\r\n:%lld\r\n:%llu\r\n", clock_of(node), (unsigned long long)own);
    else
        say(fd, ":%lld\r\n", clock_of(node));
}

static void miss(struct fake_node *node, int fd, redisReply **words)
{
    snprintf(node->missed_node, sizeof node->missed_node, "%s", words[2]->str);
    for (size_t i = 0; i < words[3]->len && i < RING_SLOTS_MAX / 8; i++)
        node->missed_slots[i / 8] |= (uint64_t)(uint8_t)words[3]->str[i] << (i % 8 * 8);
    atomic_fetch_add(&node->misses, 1);
    say(fd, "+OK\r\n");
}

static void tell_ring(struct fake_node *node, int fd)
{
    uint8_t *bytes;
    size_t size;
    if (node->map == NULL || ring_map_encode(node->map, &bytes, &size) != SP_OK) {
        say(fd, "$-1\r\n");
        return;
    }
    say(fd, "$%zu\r\n", size);
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
    say(fd, "\r\n");
    free(bytes);
}

static void sidepond(struct fake_node *node, int fd, redisReply **words)
{
    const char *what = words[1]->str;
    if (strcmp(what, "ATTACH") == 0)
        say(fd, "*3\r\n$16\r\n0000000000000001\r\n:%llu\r\n:%lld\r\n",
            (unsigned long long)atomic_load(&node->epoch), clock_of(node));
    else if (strcmp(what, "PUT") == 0 || strcmp(what, "ERASE") == 0)
        put(node, fd, words, what[0] == 'E');
    else if (strcmp(what, "MISS") == 0)
        miss(node, fd, words);
    else if (strcmp(what, "MISSED") == 0)
        say(fd, ":%u\r\n", atomic_load(&node->missed));
    else
        tell_ring(node, fd);
}

static bool refuses(struct fake_node *node, int fd, const char *key)
{
    if (atomic_load(&node->not_held) == 0 ||
        (node->not_held_key[0] != '\0' && strcmp(node->not_held_key, key) != 0))
        return false;
    atomic_fetch_sub(&node->not_held, 1);
    say(fd, "-NOTHELD %llu\r\n", (unsigned long long)atomic_load(&node->epoch));
    return true;
}

static void get(struct fake_node *node, int fd, const char *key)
{
    atomic_fetch_add(&node->gets, 1);
    if (refuses(node, fd, key))
        return;
    const struct fake_entry *entry = entry_of(node, key);
    bool twice = atomic_load(&node->says_twice) > 0;
    atomic_fetch_sub(&node->says_twice, twice);
    if (entry->there)
        say(fd, "$%zu\r\n%s\r\n%s", strlen(entry->value), entry->value, twice ? "+more\r\n" : "");
    else
        say(fd, "$-1\r\n");
}

static void incrby(struct fake_node *node, int fd, redisReply **words)
{
    atomic_fetch_add(&node->incrs, 1);
    if (refuses(node, fd, words[1]->str))
        return;
    struct fake_entry *entry = entry_of(node, words[1]->str);
    long long sum = (entry->there ? atoll(entry->value) : 0) + atoll(words[2]->str);
    snprintf(entry->value, sizeof entry->value, "%lld", sum);
    entry->there = true;
    say(fd, ":%lld\r\n", sum);
}

static void wait_for(struct fake_node *node, int fd, const char *copies)
{
    atomic_store(&node->waited_for, (unsigned)atoi(copies));
    say(fd, ":%d\r\n", !atomic_load(&node->alone));
}

/* --- what only Redis knows -------------------------------------------------------------------- */

static void write_entry(struct fake_node *node, int fd, const char *key, const char *value)
{
    struct fake_entry *entry = entry_of(node, key);
    entry->there = value != NULL;
    snprintf(entry->value, sizeof entry->value, "%s", value != NULL ? value : "");
    say(fd, "+OK\r\n");
}

static void dump(struct fake_node *node, int fd, const char *key)
{
    struct fake_entry *entry = entry_of(node, key);
    if (!entry->there) {
        say(fd, "$-1\r\n");
        return;
    }
    say(fd, "$%zu\r\n%s\r\n", strlen(entry->value), entry->value);
    entry->there = !atomic_load(&node->deleted_by_dump);
    if (atomic_load(&node->changes) > 0)
        snprintf(entry->value, sizeof entry->value, "%u", atomic_fetch_sub(&node->changes, 1));
}

static void redis(struct fake_node *node, int fd, redisReply **words)
{
    const char *name = words[0]->str;
    bool writes = strcmp(name, "SET") == 0 || strcmp(name, "RESTORE") == 0;
    if (writes && atomic_load(&node->full) > 0)
        say(fd, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    else if (strcmp(name, "SET") == 0 && atomic_load(&node->loses) > 0)
        atomic_fetch_sub(&node->loses, 1);
    else if (strcmp(name, "SET") == 0)
        write_entry(node, fd, words[1]->str, words[2]->str);
    else if (strcmp(name, "DEL") == 0)
        write_entry(node, fd, words[1]->str, NULL);
    else if (strcmp(name, "DUMP") == 0)
        dump(node, fd, words[1]->str);
    else if (strcmp(name, "PTTL") == 0)
        say(fd, ":-1\r\n");
    else if (strcmp(name, "RESTORE") == 0)
        write_entry(node, fd, words[1]->str, words[3]->str);
    else
        say(fd, "-ERR unknown command\r\n");
}

/* --- all of them ------------------------------------------------------------------------------ */

/* False: the connection ends. */
static bool answer(struct fake_node *node, int fd, const redisReply *request)
{
    redisReply **words = request->element;
    const char *name = words[0]->str;
    if (atomic_load(&node->hangs_up))
        return false;
    if (atomic_load(&node->hangs))
        return true;
    if (strcmp(name, "PING") == 0)
        say(fd, "+PONG\r\n");
    else if (atomic_load(&node->silent) &&
             (request->elements < 2 || strcmp(words[1]->str, "ATTACH") != 0))
        return true;
    else if (strcmp(name, "SIDEPOND") == 0)
        sidepond(node, fd, words);
    else if (strcmp(name, "GET") == 0)
        get(node, fd, words[1]->str);
    else if (strcmp(name, "INCRBY") == 0)
        incrby(node, fd, words);
    else if (strcmp(name, "WAIT") == 0)
        wait_for(node, fd, words[1]->str);
    else if (strcmp(name, "COMMAND") == 0)
        say(fd, "*2\r\n"
                "*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
                "*6\r\n$6\r\nincrby\r\n:3\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n");
    else
        redis(node, fd, words);
    return true;
}

/* --- connections ------------------------------------------------------------------------------ */

static void be_late(struct fake_node *node, const redisReply *request)
{
    const struct timespec pause = {.tv_nsec = atomic_load(&node->put_late_ms) * 1000000L};
    if (request->elements > 1 && strcmp(request->element[1]->str, "PUT") == 0)
        nanosleep(&pause, NULL);
}

static void *talk(void *context)
{
    struct talk *with = context;
    redisReader *reader = redisReaderCreate();
    char bytes[4096];
    ssize_t size;
    bool going = true;
    while (going && (size = recv(with->fd, bytes, sizeof bytes, 0)) > 0) {
        void *request = NULL;
        redisReaderFeed(reader, bytes, (size_t)size);
        while (going && redisReaderGetReply(reader, &request) == REDIS_OK && request != NULL) {
            be_late(with->node, request);
            pthread_mutex_lock(&with->node->mutex);
            going = answer(with->node, with->fd, request);
            pthread_mutex_unlock(&with->node->mutex);
            freeReplyObject(request);
        }
    }
    redisReaderFree(reader);
    close(with->fd);
    pthread_mutex_lock(&with->node->mutex);
    with->node->talking--;
    pthread_cond_signal(&with->node->ended);
    pthread_mutex_unlock(&with->node->mutex);
    free(with);
    return NULL;
}

static void *serve(void *context)
{
    struct fake_node *node = context;
    for (;;) {
        pthread_t thread;
        int fd = accept(node->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&node->connections, 1);
        struct talk *with = malloc(sizeof *with);
        *with = (struct talk){node, fd};
        pthread_mutex_lock(&node->mutex);
        node->talking++;
        pthread_mutex_unlock(&node->mutex);
        if (pthread_create(&thread, NULL, talk, with) != 0)
            abort();
        pthread_detach(thread);
    }
}

void fake_node_start(struct fake_node *node)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    memset(node, 0, sizeof *node);
    pthread_mutex_init(&node->mutex, NULL);
    pthread_cond_init(&node->ended, NULL);
    atomic_store(&node->epoch, 1);
    node->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(node->listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(node->listener, 64), 0);
    assert_int_equal(getsockname(node->listener, (struct sockaddr *)&name, &size), 0);
    node->port = ntohs(name.sin_port);
    assert_int_equal(pthread_create(&node->thread, NULL, serve, node), 0);
}

void fake_node_end(struct fake_node *node)
{
    shutdown(node->listener, SHUT_RDWR);
    pthread_join(node->thread, NULL);
    close(node->listener);
    pthread_mutex_lock(&node->mutex);
    while (node->talking > 0)
        pthread_cond_wait(&node->ended, &node->mutex);
    pthread_mutex_unlock(&node->mutex);
    pthread_mutex_destroy(&node->mutex);
    pthread_cond_destroy(&node->ended);
    ring_map_unref(node->map);
    node->map = NULL;
}
