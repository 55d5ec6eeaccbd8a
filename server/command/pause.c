/* SPDX-License-Identifier: Apache-2.0
 *
 * pause.c - CLIENT PAUSE and UNPAUSE.
 *
 * A request that the pause concerns is not run but left in the connection's input, and the
 * connection waits. At the end of the pause, or when it is taken back, the request is parsed and
 * judged once more: if there is a pause still or again, it goes on waiting. A pause can be made
 * longer and stricter only, as in Redis; but UNPAUSE is never held back, where Redis holds it back
 * by a pause of all requests.
 *
 * Costs: while there is none, each request reads one word that seldom changes.
 */
#include "server/command/pause.h"

#include "alloc/clock.h"
#include "server/command/commands.h"
#include "server/command/multi.h"
#include "server/resp/number.h"

#define LOOK_EVERY_MS UINT64_C(3600000) /* at the longest, for what a timer can be set to */

/* --- the pause -------------------------------------------------------------------------------- */

static void begin(struct service *service, uint32_t kind, uint64_t until_ms)
{
    struct pause *pause = &service->pause;
    pthread_mutex_lock(&service->clients.lock);
    bool goes_on =
        atomic_load(&pause->kind) != PAUSE_NONE && atomic_load(&pause->until_ms) > clock_ms();
    if (!goes_on || atomic_load(&pause->until_ms) < until_ms)
        atomic_store(&pause->until_ms, until_ms);
    if (!goes_on || atomic_load(&pause->kind) < kind)
        atomic_store(&pause->kind, kind);
    pthread_mutex_unlock(&service->clients.lock);
}

/* How long it goes on; 0: it is over, and whoever looks next need not ask for the time. */
static uint64_t left_ms(struct service *service)
{
    struct pause *pause = &service->pause;
    uint64_t now_ms = clock_ms(), until_ms = atomic_load(&pause->until_ms);
    if (until_ms > now_ms)
        return until_ms - now_ms;
    pthread_mutex_lock(&service->clients.lock);
    if (atomic_load(&pause->until_ms) <= now_ms)
        atomic_store(&pause->kind, PAUSE_NONE);
    pthread_mutex_unlock(&service->clients.lock);
    return 0;
}

/* --- requests that wait ----------------------------------------------------------------------- */

bool command_writes(const struct command *command)
{
    return (command->flags & COMMAND_WRITE) || command->run == run_publish;
}

static bool writes(struct session *session, const struct call *call)
{
    return command_writes(call->command) ||
           (call->command->run == run_exec && multi_writes(session));
}

static void show_again(struct session *session)
{
    wait_end(session);
}

bool pause_postpones(struct session *session, const struct call *call)
{
    struct service *service = session->service;
    uint32_t kind = atomic_load(&service->pause.kind);
    if (kind == PAUSE_NONE || (kind == PAUSE_WRITE && !writes(session, call)) ||
        call->command->run == run_client_unpause)
        return false;
    uint64_t ms = left_ms(service);
    return ms > 0 &&
           wait_begin(session, false, ms < LOOK_EVERY_MS ? ms : LOOK_EVERY_MS, show_again);
}

static void show_all_again(void *argument)
{
    struct thread *thread = argument;
    struct session *session, *next;
    for (session = LIST_FIRST(&thread->waiting); session; session = next) {
        next = LIST_NEXT(session, wait.link);
        if (session->wait.over == show_again)
            show_again(session);
    }
}

/* --- the commands ----------------------------------------------------------------------------- */

static bool take_kind(struct session *session, const struct call *call, uint32_t *kind)
{
    *kind = PAUSE_ALL;
    if (call->count == 3 || arg_is(&call->args[3], "all"))
        return true;
    *kind = PAUSE_WRITE;
    if (arg_is(&call->args[3], "write"))
        return true;
    reply_error(&session->reply, "ERR CLIENT PAUSE mode must be WRITE or ALL");
    return false;
}

void run_client_pause(struct session *session, const struct call *call)
{
    int64_t ms;
    uint32_t kind;
    if (call->count > 4) {
        reply_subcommand_error(session, call);
        return;
    }
    if (!take_kind(session, call, &kind))
        return;
    if (!number_parse(call->args[2].bytes, call->args[2].size, &ms)) {
        reply_error(&session->reply, "ERR timeout is not an integer or out of range");
    } else if (ms < 0) {
        reply_error(&session->reply, "ERR timeout is negative");
    } else {
        begin(session->service, kind, clock_ms() + (uint64_t)ms);
        reply_ok(&session->reply);
    }
}

/* Where a thread cannot be told, its sessions go on when their time is over. */
void run_client_unpause(struct session *session, const struct call *call)
{
    struct service *service = session->service;
    (void)call;
    pthread_mutex_lock(&service->clients.lock);
    atomic_store(&service->pause.kind, PAUSE_NONE);
    pthread_mutex_unlock(&service->clients.lock);
    for (unsigned i = 0; i < service->thread_count; i++)
        (void)net_post(service->net, i, show_all_again, &service->threads[i]);
    reply_ok(&session->reply);
}
