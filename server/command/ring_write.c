/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_write.c - writes of a node of a ring: they are passed on (ring_written), and the replies of
 * the requests that made them go out when the other copies have them, or are known to have missed
 * them (ring_await).
 *
 * A piece of input is run as a whole, and then its replies are held: so a pipeline of writes waits
 * once, for the last of them. Nothing more of the client is read meanwhile. Costs: an allocation
 * for each session that writes, and for each wait what ring_await takes and one post.
 */
#include "server/command/ring_session.h"

#include <stdlib.h>

#include "alloc/clock.h"
#include "server/command/commands.h"
#include "server/command/errand.h"
#include "server/resp/number.h"
#include "server/ring/ring.h"

/* --- passing on ------------------------------------------------------------------------------- */

void ring_note_place(struct session *session, uint64_t place)
{
    struct session_ring *mine = &session->ring;
    mine->last = place;
    if (place > mine->awaited)
        mine->awaited = place;
}

void ring_note_written(struct session *session, const struct resp_arg *key, uint64_t hash)
{
    ring_note_place(session, ring_written(session->service->ring, hash, key->bytes, key->size));
}

/* --- holding replies -------------------------------------------------------------------------- */

static void on_copies(void *argument)
{
    errand_end(argument);
}

static void hold_over(struct errand *errand)
{
    struct session *session = errand->session;
    session->ring.held = false;
    if (session->ring.awaited != 0)
        ring_hold_replies(session); /* it has written more since */
    if (!session->ring.held)
        net_release(session->connection);
}

static void hold_free(struct errand *errand)
{
    free(errand);
}

static struct errand *hold_of(struct session *session)
{
    struct errand *hold = session->ring.hold;
    if (hold)
        return hold;
    hold = calloc(1, sizeof(*hold));
    if (!hold)
        return NULL;
    errand_init(hold, session);
    hold->done = hold_over;
    hold->destroy = hold_free;
    return session->ring.hold = hold;
}

/* Where there is no memory for waiting, the replies go out as they would after ack_timeout. */
void ring_hold_replies(struct session *session)
{
    struct session_ring *mine = &session->ring;
    struct ring *ring = session->service->ring;
    unsigned copies;
    if (mine->held)
        return;
    uint64_t place = mine->awaited;
    mine->awaited = 0;
    if (ring_copies(ring, place, &copies) == SP_OK)
        return;
    struct errand *hold = hold_of(session);
    if (!hold)
        return;
    errand_begin(hold);
    if (ring_await(ring, place, on_copies, hold) != SP_OK) {
        errand_leave(hold);
        mine->hold = NULL;
        return;
    }
    mine->held = true;
    net_hold(session->connection);
}

/* --- WAIT ------------------------------------------------------------------------------------- */

#define LOOK_MOST_MS 20u

static void answer_wait(struct session *session)
{
    size_t mark = reply_mark(&session->reply);
    unsigned copies = 0;
    net_output(session->connection); /* to be sent after this callback */
    ring_copies(session->service->ring, session->ring.last, &copies);
    if (wait_end(session) == UNBLOCK_ERROR)
        reply_error(&session->reply, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        reply_integer(&session->reply, copies);
    if (session->ring.muted)
        reply_rewind(&session->reply, mark);
}

/* Whether as many have it as are wanted, or as many as ever will. */
static bool is_copied(struct session *session, unsigned *copies)
{
    int status = ring_copies(session->service->ring, session->ring.last, copies);
    return *copies >= session->ring.copies || status == SP_OK;
}

static uint64_t next_look(struct session_ring *mine)
{
    uint64_t now_ms = clock_ms(), left_ms = mine->until_ms > now_ms ? mine->until_ms - now_ms : 0;
    uint32_t ms = mine->look_ms;
    mine->look_ms = ms * 2 < LOOK_MOST_MS ? ms * 2 : LOOK_MOST_MS;
    return ms < left_ms ? ms : left_ms;
}

static void look_again(struct session *session)
{
    unsigned copies;
    if (wait_is_unblocked(session) || is_copied(session, &copies) ||
        clock_ms() >= session->ring.until_ms)
        answer_wait(session);
    else
        wait_longer(session, next_look(&session->ring));
}

static bool take_wait(struct session *session, const struct call *call, int64_t *copies,
                      int64_t *ms)
{
    if (!arg_integer(session, &call->args[1], copies))
        return false;
    if (!number_parse(call->args[2].bytes, call->args[2].size, ms))
        reply_error(&session->reply, "ERR timeout is not an integer or out of range");
    else if (*ms < 0)
        reply_error(&session->reply, "ERR timeout is negative");
    else
        return true;
    return false;
}

void run_wait(struct session *session, const struct call *call)
{
    struct session_ring *mine = &session->ring;
    int64_t wanted, ms;
    unsigned copies = 0;
    if (!take_wait(session, call, &wanted, &ms))
        return;
    mine->copies = wanted < 0 ? 0 : wanted > UINT32_MAX ? UINT32_MAX : (uint32_t)wanted;
    mine->until_ms = ms == 0 ? UINT64_MAX : clock_ms() + (uint64_t)ms;
    mine->look_ms = 1;
    mine->muted = session->mute == MUTE_ALL || session->mute == MUTE_THIS;
    if (!session->service->ring || mine->last == 0 || is_copied(session, &copies) ||
        session->thread->in_exec || !wait_begin(session, true, next_look(mine), look_again))
        reply_integer(&session->reply, copies);
}

/* --- the session ------------------------------------------------------------------------------ */

void ring_session_leave(struct session *session)
{
    errand_leave(session->ring.hold);
    errand_leave(session->ring.asking);
    session->ring.hold = session->ring.asking = NULL;
}

void ring_session_reset(struct session *session)
{
    session->ring.attached = false;
    session->ring.last = 0;
}
