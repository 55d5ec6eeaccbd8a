/* SPDX-License-Identifier: Apache-2.0
 *
 * replication.pml - two copies of a key in a ring (docs/RING.md, "The client", "Nodes"), for spin.
 *
 * Two nodes hold one key; node 0 is its owner. A ring's client sets and deletes it at both, runs
 * commands at the owner, and reads. A client of Redis writes at either node, and reads at all of
 * them at any moment. Nodes die, with what they have and without, and start again; they are stopped
 * and go on; connections between them are lost. What was sent to a node that nobody waits for any
 * more may be lost, or arrive later than what was sent after it.
 *
 *   version, value   what a node has; a value is the number of its write, 0: nothing
 *   queue, wire      writes on their way to the other node; the one that is being sent
 *   missed, sending  the other node's missed slot, and whether its entry is on the wire
 *   stray            to a node, and nobody waits for the answer
 *
 * At most one copy is down: a node fails only while the other one is up and trusts itself, nobody
 * knows of anything that it has missed, and the client trusts it.
 *
 * Claims:
 *   - The client reads nothing that is surely older than what was acknowledged to it, and what it
 *     runs at a node runs on nothing older.
 *   - A node that answers has nothing older than what was acknowledged to anybody. Not with HEDGE:
 *     then time-outs fall on nodes that are only slow, and stops are too short to be noticed.
 *   - In the end both copies are equal, and nothing that was acknowledged is lost or has come back.
 *
 * `before` of a write are all that were acknowledged, or are older than such a one, when it began:
 * these are surely older. All else may be in either order.
 *
 * With SKEW, clocks know no time, and only count; else they agree. With RING there is the ring's
 * client, with PLAIN that of Redis, with CUT connections between the nodes are lost.
 *
 * Not in the model: more than one key or two nodes, maps and their changes, comparing, eviction and
 * expiry; that a node believes itself, or the client a node it distrusts, when nobody else answers;
 * that a peer is waited for only so long (ack_timeout, MISSED_MS), but where it is down. A start
 * takes longer than anything else.
 *
 * What spin finds and is not promised: with SKEW, RING and PLAIN together a write of Redis's client
 * may be acknowledged and lost, at a node whose clock is behind, if an entry that this node has
 * missed arrives there while the write is being passed on.
 *
 * Mutations, each of which must be found: REPLY_EARLY, NO_MISSED, NO_SUSPICION_STOP,
 * NO_SUSPICION_START, TRUST_BEFORE_PULL, MISSED_UNASKED, PEER_UNREACHED, WRITER_UNREACHED,
 * NO_VERSIONS, TOMBSTONE_EARLY, DELETE_PLAIN, NO_DISTRUST, CALL_NO_DISTRUST, TRUST_EARLY.
 */
#ifndef WRITES
#define WRITES 3 /* of both clients */
#endif
#ifndef FAULTS
#define FAULTS 2
#endif

#define UP      0
#define STOPPED 1
#define DEAD    2

/* Answers. */
#define NONE    0
#define TAKEN   1
#define NEWER   2
#define NOTHELD 3
#define NOBODY  4

#define QUEUE  2
#define RESTAMPS 2 /* two writers that overtake each other for longer are not followed */
#define ROUNDS 1 /* in which the client stamps again */
#define FIRST 1   /* the write that both have at first */
#define CALL  255 /* as a version: a command that is run at the node */

#define OTHER(n)    (1 - (n))
#define BIT(value)  (1 << (value))
#define MAX(a, b)   ((a) > (b) -> (a) : (b))
#define DELETED(w)  ((deletions & BIT(w)) != 0)
#define RANK(w)     (DELETED(w) -> 128 + (w) : (w))
#define SERVES(n)   (state[n] == UP && trusted[n])
#define ROOM(n)     (queue_count[n] < QUEUE)
#define IN_QUEUE(n, w)                                                                             \
    ((queue_count[n] > 0 && queue_value[2 * (n)] == (w)) ||                                        \
     (queue_count[n] > 1 && queue_value[2 * (n) + 1] == (w)))

/* Nodes. */
byte state[2];
byte version[2], value[2];
bit trusted[2];
byte repair[2]; /* steps of becoming current that are done */
bit missed[2], sending[2], reachable[2];
byte queue_version[4], queue_value[4], queue_count[2];
bit wire_busy[2], wire_pushes[2];
byte wire_version[2], wire_value[2], wire_answer[2], wire_newer[2];
byte stray_version[2], stray_value[2];

/* What is true. */
byte writes = FIRST, deletions;
byte acknowledged = BIT(FIRST), older = 1; /* than what somebody knows to be written */
byte older_for_all = 1;                     /* than what both copies, or a node, have answered for */
#ifdef SKEW
byte clock[2], client_clock = 1;
#else
byte now = 1;
#endif
byte dropped;          /* up to this version tombstones are old enough to go */
byte faults, restamps;

/* The ring's client, and the other one. */
byte client_version, client_value, client_before, client_older = 1;
byte asked[2], answer[2];
bit distrusted[2], untold[2], has_gone[2], call_taken;
byte plain_value, plain_node, plain_before;

/* --- versions ------------------------------------------------------------------------------- */

#ifdef SKEW
#define CLOCK(n)     clock[n]
#define CLIENT_CLOCK client_clock
#else
#define CLOCK(n)     now
#define CLIENT_CLOCK now
#endif
#define SEE(counter, another) counter = MAX(counter, another)

inline apply(n, v, w, result)
{
    SEE(CLOCK(n), v);
    if
#ifdef NO_VERSIONS
    :: true ->
#else
    :: v > version[n] || (v == version[n] && RANK(w) > RANK(value[n])) ->
#endif
        version[n] = v;
        value[n] = w;
        result = TAKEN
    :: else -> result = (v == version[n] && w == value[n] -> TAKEN : NEWER)
    fi;
    if
    :: DELETED(value[n]) && version[n] <= dropped -> version[n] = 0
#ifdef DELETE_PLAIN
    :: DELETED(value[n]) -> version[n] = 0
#endif
    :: else
    fi
}

inline acknowledge(w, before)
{
    acknowledged = acknowledged | BIT(w);
    older = older | before
}

inline acknowledge_for_all(w, before)
{
    acknowledge(w, before);
    older_for_all = older_for_all | before
}

/* --- a node --------------------------------------------------------------------------------- */

/* A write of the node's own. */
inline write_here(n, w)
{
    CLOCK(n)++;
    version[n] = CLOCK(n);
    value[n] = w;
    pass_on(n, w)
}

inline pass_on(n, w)
{
    if
    :: reachable[n] ->
        queue_version[2 * n + queue_count[n]] = version[n];
        queue_value[2 * n + queue_count[n]] = w;
        queue_count[n]++
    :: else ->
#ifndef NO_MISSED
        missed[n] = 1
#else
        skip
#endif
    fi
}

inline pop(n)
{
    queue_version[2 * n] = queue_version[2 * n + 1];
    queue_value[2 * n] = queue_value[2 * n + 1];
    queue_version[2 * n + 1] = 0;
    queue_value[2 * n + 1] = 0;
    queue_count[n]--
}

inline clear_wire(n)
{
    wire_busy[n] = 0;
    wire_pushes[n] = 0;
    wire_version[n] = 0;
    wire_value[n] = 0;
    wire_answer[n] = NONE;
    wire_newer[n] = 0
}

/* The peer has a newer one, the client still waits, and nothing else has taken the write's place. */
#define IS_LATE(n)                                                                                 \
    (wire_answer[n] == NEWER && version[n] == wire_version[n] && value[n] == wire_value[n] &&      \
     ((plain_value == wire_value[n] && plain_node == n) ||                                         \
      (client_value == wire_value[n] && asked[n] == CALL)))

inline settle(n)
{
    if
    :: wire_pushes[n] -> sending[n] = 0
    :: !wire_pushes[n] && IS_LATE(n) ->
        restamps++;
        SEE(CLOCK(n), wire_newer[n]);
        CLOCK(n)++;
        version[n] = CLOCK(n);
        queue_version[2 * n] = version[n]
    :: !wire_pushes[n] && !IS_LATE(n) ->
        if
        :: wire_answer[n] == TAKEN && asked[n] == CALL && wire_value[n] == client_value ->
            call_taken = 1
        :: else
        fi;
        pop(n)
    fi;
    clear_wire(n)
}

/* It may stay on its way, or be lost. */
inline stray(to, v, w)
{
    if
    :: state[to] != DEAD -> stray_version[to] = v; stray_value[to] = w
    :: true
    fi
}

inline lose(n)
{
    if
    :: wire_busy[n] && wire_answer[n] == NONE ->
        stray(OTHER(n), wire_version[n], wire_value[n])
    :: else
    fi;
    reachable[n] = 0;
#ifndef NO_MISSED
    missed[n] = missed[n] | sending[n] | (queue_count[n] > 0);
#endif
    sending[n] = 0;
    do
    :: queue_count[n] > 0 -> pop(n)
    :: else -> break
    od;
    clear_wire(n)
}

inline take_stray(n)
{
    if
    :: stray_version[n] == CALL && trusted[n] -> write_here(n, stray_value[n])
    :: stray_version[n] == CALL && !trusted[n]
    :: stray_version[n] != CALL -> apply(n, stray_version[n], stray_value[n], ignored)
    fi;
    stray_version[n] = 0;
    stray_value[n] = 0
}

inline take_request(n)
{
    if
    :: asked[n] != CALL -> apply(n, asked[n], client_value, answer[n]);
        SEE(CLIENT_CLOCK, CLOCK(n))
    :: asked[n] == CALL && !trusted[n] -> answer[n] = NOTHELD
    :: asked[n] == CALL && trusted[n] ->
        assert(!(client_older & BIT(value[n])));
        call_taken = 0;
        write_here(n, client_value);
        answer[n] = TAKEN
    fi
}

/* What the other node has is pulled, and what is newer here goes there. */
inline pull(n)
{
    if
    :: version[OTHER(n)] != version[n] || value[OTHER(n)] != value[n] ->
        if
        :: version[OTHER(n)] > 0 -> apply(n, version[OTHER(n)], value[OTHER(n)], ignored)
        :: version[OTHER(n)] == 0 && version[n] == 0 -> value[n] = value[OTHER(n)] /* none of both */
        :: else
        fi;
        if
        :: version[n] > 0 && (version[n] != version[OTHER(n)] || value[n] != value[OTHER(n)]) ->
            missed[n] = 1
        :: else
        fi
    :: else
    fi
}

/* Whether the other node has nothing left that this one missed, and writes go both ways from now on. */
#ifdef MISSED_UNASKED
#define HAS_ALL(n) true
#else
#define HAS_ALL(n) (!missed[OTHER(n)] && !sending[OTHER(n)])
#endif
#ifdef PEER_UNREACHED
#define IS_SENT_TO(n) true
#else
#define IS_SENT_TO(n) reachable[OTHER(n)]
#endif
#ifdef WRITER_UNREACHED
#define SENDS(n) true
#else
#define SENDS(n) reachable[n]
#endif

hidden byte ignored;

proctype node(byte n)
{
end:
    do
    /* The writer. */
    :: d_step { state[n] == UP && reachable[n] && !wire_busy[n] && queue_count[n] > 0 ->
            wire_busy[n] = 1;
            wire_version[n] = queue_version[2 * n];
            wire_value[n] = queue_value[2 * n] }
    :: d_step { state[n] == UP && reachable[n] && !wire_busy[n] && missed[n] ->
            missed[n] = 0;
            if
            :: version[n] > 0 ->
                sending[n] = 1;
                wire_busy[n] = 1;
                wire_pushes[n] = 1;
                wire_version[n] = version[n];
                wire_value[n] = value[n]
            :: else
            fi }
    :: d_step { state[n] == UP && wire_answer[n] != NONE && (restamps < RESTAMPS || !IS_LATE(n)) ->
            settle(n) }
    :: atomic { state[n] == UP && reachable[n] && state[OTHER(n)] != UP -> lose(n) }
    :: d_step { state[n] == UP && !reachable[n] && state[OTHER(n)] == UP -> reachable[n] = 1 }
    /* What comes. */
    :: d_step { state[n] == UP && wire_busy[OTHER(n)] && wire_answer[OTHER(n)] == NONE ->
            apply(n, wire_version[OTHER(n)], wire_value[OTHER(n)], wire_answer[OTHER(n)]);
            wire_newer[OTHER(n)] = version[n] }
    :: d_step { state[n] == UP && stray_version[n] != 0 && ROOM(n) -> take_stray(n) }
    :: d_step { state[n] == UP && asked[n] != 0 && answer[n] == NONE && ROOM(n) ->
            take_request(n) }
    /* Becoming current. */
#ifdef TRUST_BEFORE_PULL
    :: d_step { state[n] == UP && !trusted[n] && repair[n] == 0 -> repair[n] = 1 }
#else
    :: d_step { state[n] == UP && !trusted[n] && repair[n] == 0 && state[OTHER(n)] == UP ->
            pull(n);
            repair[n] = 1 }
#endif
    :: d_step { state[n] == UP && !trusted[n] && repair[n] == 1 && state[OTHER(n)] == UP &&
                HAS_ALL(n) && IS_SENT_TO(n) && SENDS(n) ->
            repair[n] = 2 }
    :: d_step { state[n] == UP && !trusted[n] && repair[n] == 2 ->
            trusted[n] = 1;
            repair[n] = 0 }
    /* Tombstones. */
#ifdef TOMBSTONE_EARLY
    :: d_step { state[n] == UP && version[n] > 0 && DELETED(value[n]) -> version[n] = 0 }
#else
    :: d_step { state[n] == UP && version[n] > 0 && DELETED(value[n]) && version[n] <= dropped ->
            version[n] = 0 }
#endif
    od
}

#ifdef HEDGE
#define SLOW(n) true
#else
#define SLOW(n) (state[n] != UP)
#endif
#define USABLE(n)   (SERVES(n) && !distrusted[n])
#define ANSWERED(n) (answer[n] != NONE)

/* --- faults --------------------------------------------------------------------------------- */

#define CLEAN(n)                                                                                   \
    (SERVES(n) && !missed[OTHER(n)] && !sending[OTHER(n)] && !distrusted[n])

inline kill(n)
{
    state[n] = DEAD;
    if
    :: wire_busy[n] && wire_answer[n] == NONE ->
        stray(OTHER(n), wire_version[n], wire_value[n])
    :: else
    fi;
    trusted[n] = 0;
    repair[n] = 0;
    missed[n] = 0;
    sending[n] = 0;
    reachable[n] = 0;
    do
    :: queue_count[n] > 0 -> pop(n)
    :: else -> break
    od;
    clear_wire(n);
    stray_version[n] = 0;
    stray_value[n] = 0;
#ifdef SKEW
    clock[n] = version[n];
#endif
    if
    :: asked[n] != 0 && (asked[n] == CALL || answer[n] == NONE) -> answer[n] = NOBODY
    :: else
    fi;
    if
    :: plain_node == n -> forget_plain()
    :: else
    fi
}

inline forget_plain()
{
    plain_value = 0;
    plain_node = 0;
    plain_before = 0
}

inline fail(n)
{
    faults++;
    if
    :: kill(n)
    :: kill(n);
        version[n] = 0;
        value[n] = 0;
#ifdef SKEW
        clock[n] = 0;
#endif
        has_gone[n] = 1 /* what the client was told that this node has */
    :: state[n] = STOPPED
#ifdef CUT
    :: reachable[n] -> lose(n)
#endif
    fi
}

/* Nothing takes as long as a start does. */
#define IS_AWAY(n)                                                                                 \
    (state[n] == DEAD && !reachable[OTHER(n)] &&                                                   \
     (asked[OTHER(n)] == 0 || answer[OTHER(n)] != NONE || state[OTHER(n)] != UP))

inline go_on(n)
{
    if
    :: state[n] == DEAD ->
        state[n] = UP;
#ifdef NO_SUSPICION_START
        trusted[n] = 1
#endif
    :: state[n] == STOPPED ->
        state[n] = UP;
        if
#ifdef HEDGE
        :: true
#endif
        :: true ->
#ifdef NO_SUSPICION_STOP
            skip
#else
            trusted[n] = 0;
            repair[n] = 0
#endif
        fi
    fi
}

proctype adversary()
{
end:
    do
    :: atomic { faults < FAULTS && state[0] == UP && CLEAN(1) -> fail(0) }
    :: atomic { faults < FAULTS && state[1] == UP && CLEAN(0) -> fail(1) }
    :: atomic { IS_AWAY(0) || state[0] == STOPPED -> go_on(0) }
    :: atomic { IS_AWAY(1) || state[1] == STOPPED -> go_on(1) }
    /* The ring's client reads: the next node is asked when the first one does not answer, or says
     * NOTHELD. */
    :: d_step { (USABLE(0) && (client_older & BIT(value[0]))) ||
                (USABLE(1) && (!USABLE(0) || SLOW(0)) && (client_older & BIT(value[1]))) ->
            assert(false) }
#ifndef HEDGE
    /* Somebody else reads. */
    :: d_step { (SERVES(0) && (older_for_all & BIT(value[0]))) || (SERVES(1) && (older_for_all & BIT(value[1]))) ->
            assert(false) }
#endif
    /* The time for which tombstones are kept is over: longer than anything takes. */
    :: d_step { version[0] > dropped && version[0] == version[1] && value[0] == value[1] &&
                DELETED(value[0]) && CLEAN(0) && CLEAN(1) && stray_version[0] == 0 &&
                stray_version[1] == 0 && queue_count[0] == 0 && queue_count[1] == 0 &&
                !wire_busy[0] && !wire_busy[1] && asked[0] == 0 && asked[1] == 0 ->
            dropped = version[0] }
    od
}

/* --- the ring's client ---------------------------------------------------------------------- */

inline begin_write(w, before)
{
    writes++;
    w = writes;
    before = older | acknowledged
}

inline ask(n, what)
{
    asked[n] = what;
    answer[n] = (state[n] == DEAD -> NOBODY : NONE)
}

inline give_up(n)
{
    stray(n, asked[n], client_value);
    answer[n] = NOBODY
}

inline miss(n)
{
#ifndef NO_DISTRUST
    distrusted[n] = 1;
#endif
    untold[n] = 1
}

inline forget()
{
    asked[0] = 0;
    asked[1] = 0;
    answer[0] = NONE;
    answer[1] = NONE;
    has_gone[0] = 0;
    has_gone[1] = 0;
    call_taken = 0;
    round = 0;
    client_version = 0;
    client_value = 0;
    client_before = 0
}

inline acknowledge_own()
{
    acknowledge(client_value, client_before);
    client_older = client_older | client_before
}

/* What only one node has, and is lost with it, is not promised. */
inline judge_put()
{
    if
    :: answer[0] == TAKEN && answer[1] == TAKEN ->
        acknowledge_own();
        older_for_all = older_for_all | client_before
    :: answer[0] == TAKEN && answer[1] == NEWER -> acknowledge_own()
    :: answer[1] == TAKEN && answer[0] == NEWER -> acknowledge_own()
    :: answer[0] == TAKEN && answer[1] == NOBODY && !has_gone[0] -> acknowledge_own(); miss(1)
    :: answer[1] == TAKEN && answer[0] == NOBODY && !has_gone[1] -> acknowledge_own(); miss(0)
    :: else
    fi;
    forget()
}

inline put()
{
    atomic {
        begin_write(client_value, client_before);
        if
        :: true
        :: deletions = deletions | BIT(client_value)
        fi
    }
stamped:
    atomic {
        d_step { CLIENT_CLOCK++; client_version = CLIENT_CLOCK; has_gone[0] = 0; has_gone[1] = 0 }
        ask(0, client_version);
        ask(1, client_version)
    }
    do
    :: atomic { answer[0] == NONE && SLOW(0) && (state[0] != UP || answer[1] == TAKEN) -> give_up(0) }
    :: atomic { answer[1] == NONE && SLOW(1) && (state[1] != UP || answer[0] == TAKEN) -> give_up(1) }
    :: atomic { ANSWERED(0) && ANSWERED(1) ->
            if
            :: round < ROUNDS && (answer[0] == NEWER || answer[1] == NEWER) ->
                round++;
                goto stamped
            :: else -> judge_put(); break
            fi }
    od
}

inline call_at(n)
{
    d_step {
        begin_write(client_value, client_before);
        ask(n, CALL)
    }
    if
    :: atomic { answer[n] == NONE && SLOW(n) && state[n] != UP -> give_up(n); forget() }
    :: atomic { answer[n] == NOBODY || answer[n] == NOTHELD -> forget() }
    :: atomic { answer[n] == TAKEN && state[n] != UP -> forget() } /* and it is not known */
#ifdef REPLY_EARLY
    :: atomic { answer[n] == TAKEN && state[n] == UP ->
#else
    :: atomic { answer[n] == TAKEN && state[n] == UP && !IN_QUEUE(n, client_value) ->
#endif
            acknowledge_for_all(client_value, client_before);
            client_older = client_older | client_before;
#ifndef CALL_NO_DISTRUST
            if
            :: !call_taken -> miss(OTHER(n))
            :: else
            fi;
#endif
            forget() }
    fi
}

proctype client()
{
    byte round;
end:
    do
    :: writes < FIRST + WRITES -> put()
    :: writes < FIRST + WRITES && USABLE(0) -> call_at(0)
    :: writes < FIRST + WRITES && !USABLE(0) && USABLE(1) -> call_at(1)
    od
}

/* Tells the other node what a node missed, and asks until it has been sent. */
proctype keeper()
{
end:
    do
    :: d_step { untold[1] && state[0] == UP -> missed[0] = 1; untold[1] = 0 }
    :: d_step { untold[0] && state[1] == UP -> missed[1] = 1; untold[0] = 0 }
#ifdef TRUST_EARLY
    :: d_step { distrusted[1] && state[1] == UP -> distrusted[1] = 0 }
    :: d_step { distrusted[0] && state[0] == UP -> distrusted[0] = 0 }
#else
    :: d_step { distrusted[1] && !untold[1] && state[0] == UP && state[1] == UP && !missed[0] && !sending[0] ->
            distrusted[1] = 0 }
    :: d_step { distrusted[0] && !untold[0] && state[1] == UP && state[0] == UP && !missed[1] && !sending[1] ->
            distrusted[0] = 0 }
#endif
    od
}

/* --- a client of Redis ---------------------------------------------------------------------- */

inline write_plain(n)
{
    d_step {
        begin_write(plain_value, plain_before);
        plain_node = n;
        write_here(n, plain_value)
    }
}

proctype plain_client()
{
end:
    do
    :: atomic { plain_value == 0 && writes < FIRST + WRITES && SERVES(0) && ROOM(0) ->
            write_plain(0) }
    :: atomic { plain_value == 0 && writes < FIRST + WRITES && SERVES(1) && ROOM(1) ->
            write_plain(1) }
    :: atomic { plain_value != 0 && state[plain_node] != UP ->
            forget_plain() }
#ifdef REPLY_EARLY
    :: atomic { plain_value != 0 && state[plain_node] == UP ->
#else
    :: atomic { plain_value != 0 && state[plain_node] == UP && !IN_QUEUE(plain_node, plain_value) ->
#endif
            acknowledge_for_all(plain_value, plain_before);
            forget_plain() }
    od
}

/* --- the end -------------------------------------------------------------------------------- */

#define LATER                                                                                      \
    (version[0] > version[1] || (version[0] == version[1] && RANK(value[0]) > RANK(value[1])) ->   \
         value[0] :                                                                                \
         value[1])

proctype quiet()
{
end:
    timeout && restamps < RESTAMPS ->
    assert(SERVES(0) && SERVES(1));
    assert(!missed[0] && !missed[1]);
    assert(!distrusted[0] && !distrusted[1]);
    assert(!(older & BIT(value[0])) && !(older & BIT(value[1])));
    assert(value[0] == value[1] || !(acknowledged & BIT(LATER)))
}

init
{
    d_step {
        version[0] = 1; version[1] = 1;
        value[0] = FIRST; value[1] = FIRST;
#ifdef SKEW
        clock[0] = 1; clock[1] = 1;
#endif
        trusted[0] = 1; trusted[1] = 1;
        reachable[0] = 1; reachable[1] = 1
    }
    atomic {
        run node(0);
        run node(1);
        run adversary();
#ifdef RING
        run client();
        run keeper();
#endif
#ifdef PLAIN
        run plain_client();
#endif
        run quiet()
    }
}
