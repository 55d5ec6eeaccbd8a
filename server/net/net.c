/* SPDX-License-Identifier: Apache-2.0
 *
 * net.c - the whole: start, stop, posts, limits, figures.
 */
#include "server/net/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- limits ----------------------------------------------------------------------------------- */

void net_set_limits(struct net *net, const struct net_limits *limits)
{
    struct limits *to = &net->limits;
    atomic_store_explicit(&to->clients_max, limits->clients_max, memory_order_relaxed);
    atomic_store_explicit(&to->idle_ms, limits->idle_ms, memory_order_relaxed);
    atomic_store_explicit(&to->handshake_ms, limits->handshake_ms, memory_order_relaxed);
    atomic_store_explicit(&to->query_bytes_max, limits->query_bytes_max, memory_order_relaxed);
    atomic_store_explicit(&to->output_bytes_max, limits->output.bytes_max, memory_order_relaxed);
    atomic_store_explicit(&to->soft_bytes, limits->output.soft_bytes, memory_order_relaxed);
    atomic_store_explicit(&to->soft_ms, limits->output.soft_ms, memory_order_relaxed);
}

#define SPARE_DESCRIPTORS 128u /* for all that is no client */

/* The process' limit, raised if need be. */
static rlim_t descriptors_for(rlim_t needed)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return needed; /* not known: accepting will show */
    rlim_t before = limit.rlim_cur;
    if (before >= needed)
        return before;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

uint32_t net_clients_possible(uint32_t wanted)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* or one could lower it for another */
    const rlim_t needed = (rlim_t)wanted + SPARE_DESCRIPTORS;
    pthread_mutex_lock(&lock);
    rlim_t most = descriptors_for(needed);
    pthread_mutex_unlock(&lock);
    if (most >= needed)
        return wanted;
    return most > SPARE_DESCRIPTORS ? (uint32_t)(most - SPARE_DESCRIPTORS) : 0;
}

/* --- start ------------------------------------------------------------------------------------ */

static void free_net(struct net *net)
{
    for (unsigned i = 0; net->threads && i < net->threads_count; i++)
        thread_destroy(&net->threads[i]);
    free(net->threads);
    listeners_free(net);
    SSL_CTX_free(net->tls);
    if (net->reserve_fd >= 0)
        close(net->reserve_fd);
    pthread_mutex_destroy(&net->listen_lock);
    pthread_mutex_destroy(&net->tls_lock);
    free(net);
}

static int make_threads(struct net *net, unsigned count)
{
    size_t bytes = count * sizeof(*net->threads);
    net->threads = aligned_alloc(CACHE_LINE, bytes);
    if (!net->threads)
        return SP_ENOMEM;
    memset(net->threads, 0, bytes);
    net->threads_count = count;
    for (unsigned i = 0; i < count; i++) {
        int status = thread_init(&net->threads[i], net, i);
        if (status != SP_OK)
            return status;
    }
    return SP_OK;
}

static int start_threads(struct net *net)
{
    for (unsigned i = 0; i < net->threads_count; i++) {
        struct net_thread *thread = &net->threads[i];
        if (pthread_create(&thread->pthread, NULL, thread_main, thread) != 0)
            return SP_ESYS;
        thread->has_started = true;
    }
    return SP_OK;
}

static int prepare(struct net *net, const struct net_options *options, char *why)
{
    unsigned count = options->threads ? options->threads : 1;
    snprintf(why, NET_WHY_BYTES, "out of memory");
    if (count > NET_THREADS_MAX) {
        snprintf(why, NET_WHY_BYTES, "at most %d threads", NET_THREADS_MAX);
        return SP_EINVAL;
    }
    int status = make_threads(net, count);
    if (status == SP_OK && options->tls)
        status = tls_load(options->tls, &net->tls, why);
    for (size_t i = 0; status == SP_OK && i < options->listens_count; i++)
        status = net_listen_add(net, &options->listens[i], why);
    return status;
}

int net_start(const struct net_options *options, const struct net_handler *handler,
              struct net **out, char *why)
{
    struct net *net = aligned_alloc(CACHE_LINE, sizeof(*net));
    if (!net) {
        snprintf(why, NET_WHY_BYTES, "out of memory");
        return SP_ENOMEM;
    }
    memset(net, 0, sizeof(*net));
    net->handler = *handler;
    net->full_text = options->full_text;
    net->query_text = options->query_text;
    net->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    LIST_INIT(&net->listeners);
    pthread_mutex_init(&net->listen_lock, NULL);
    pthread_mutex_init(&net->tls_lock, NULL);
    net_set_limits(net, &options->limits);
    int status = prepare(net, options, why);
    *out = net; /* before there are threads, whose callbacks may use it */
    if (status == SP_OK)
        status = start_threads(net);
    if (status != SP_OK) {
        *out = NULL;
        net_stop(net, 0);
    }
    return status;
}

/* --- posts ------------------------------------------------------------------------------------ */

struct post {
    struct item item;
    void (*function)(void *argument);
    void *argument;
};

static void run_post(struct net_thread *thread, struct item *item)
{
    struct post *post = (struct post *)(void *)item; /* its first member */
    (void)thread;
    post->function(post->argument);
    free(post);
}

int net_post(struct net *net, unsigned thread, void (*function)(void *argument), void *argument)
{
    if (thread >= net->threads_count)
        return SP_EINVAL;
    struct post *post = malloc(sizeof(*post));
    if (!post)
        return SP_ENOMEM;
    *post = (struct post){.item = {.run = run_post}, .function = function, .argument = argument};
    if (thread_give(&net->threads[thread], &post->item))
        return SP_OK;
    free(post);
    return SP_ECANCELED;
}

unsigned net_threads(const struct net *net)
{
    return net->threads_count;
}

/* --- stop ------------------------------------------------------------------------------------- */

struct stop {
    struct item item;
    uint32_t grace_ms;
};

static void run_stop(struct net_thread *thread, struct item *item)
{
    struct stop *stop = (struct stop *)(void *)item;
    if (thread->index == 0)
        listeners_stop(thread->net);
    thread_stop(thread, uv_now(&thread->loop) + stop->grace_ms);
    free(stop);
}

/* Where there is no memory for the order, the thread is told by its loop alone. */
static void order_stop(struct net_thread *thread, uint32_t grace_ms)
{
    static const struct stop empty;
    struct stop *stop;
    while (!(stop = malloc(sizeof(*stop))))
        usleep(1000);
    *stop = empty;
    stop->item.run = run_stop;
    stop->grace_ms = grace_ms;
    if (!thread_give(thread, &stop->item))
        free(stop);
}

void net_end(struct net *net, uint32_t grace_ms)
{
    for (unsigned i = 0; net->threads && i < net->threads_count; i++) {
        if (net->threads[i].has_started)
            order_stop(&net->threads[i], grace_ms);
    }
    for (unsigned i = 0; net->threads && i < net->threads_count; i++) {
        if (net->threads[i].has_started)
            pthread_join(net->threads[i].pthread, NULL);
    }
}

void net_free(struct net *net)
{
    free_net(net);
}

void net_stop(struct net *net, uint32_t grace_ms)
{
    if (!net)
        return;
    net_end(net, grace_ms);
    net_free(net);
}

/* --- figures ---------------------------------------------------------------------------------- */

const char *net_drop_name(enum net_drop drop)
{
    static const char *const names[] = {[NET_DROP_QUERY] = "query",
                                        [NET_DROP_OUTPUT_HARD] = "output_hard",
                                        [NET_DROP_OUTPUT_SOFT] = "output_soft",
                                        [NET_DROP_IDLE] = "idle",
                                        [NET_DROP_HANDSHAKE] = "handshake",
                                        [NET_DROP_MEMORY] = "memory"};
    return names[(unsigned)drop % NET_DROP_COUNT];
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void net_stats(const struct net *net, struct net_stats *out)
{
    *out = (struct net_stats){.connections =
                                  atomic_load_explicit(&net->connections, memory_order_relaxed),
                              .accepted = load(&net->accepted)};
    for (unsigned i = 0; i < net->threads_count; i++) {
        const struct counters *counters = &net->threads[i].counters;
        out->rejected += load(&counters->rejected);
        out->accept_errors += load(&counters->accept_errors);
        out->bytes_in += load(&counters->bytes_in);
        out->bytes_out += load(&counters->bytes_out);
        for (unsigned d = 0; d < NET_DROP_COUNT; d++)
            out->dropped[d] += load(&counters->dropped[d]);
    }
}
