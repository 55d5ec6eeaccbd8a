/* SPDX-License-Identifier: Apache-2.0
 *
 * protocol.pml - the protocol of docs/CONCURRENCY.md, for spin.
 *
 * One key in one bucket; a writer that does OPS things in any order (update, delete, abort of
 * either, reclaim, move of the entry, rebuild of the segment, revocation); a reader that copies and
 * a reader that pins, each with any number of attempts. Blocks of entries and of segments are few
 * and are handed out again at once, and what is freed is overwritten with something that looks like
 * a committed value.
 *
 * Claim: a read that R8 (and S4) let pass gives the value of its version: never another one, never
 * what was not committed, never garbage. There is one exception, which spin has shown: the reader
 * that copies may miss a key because it was deleted by a version that was committed while the read
 * went on, and whose tombstone has gone. So its miss must be right at one of these versions.
 *
 * Memory: the writer's stores become visible one by one and in any order, each location in its own
 * (a store buffer without order, as under PSO). A release fence waits until all are visible, a
 * release store until all before it are; the store itself may be late. So orders that hold only
 * because x86 keeps them are not relied upon. Loads are made in the order of the program, but that
 * an entry's value may be loaded before or after its other words; the reader's own lease is stored
 * at once, unless NO_PIN_FENCE. A table's head and roots are not in the model: they are to each
 * other as a slot and its entries are. Sizes of blocks, bounds and overflow buckets are not either.
 *
 * Mutations, each of which must be found: NO_FIRST_RAISE, NO_SECOND_RAISE, Q_AFTER_V, NO_SEQUENCE,
 * FREE_BEFORE_SEQUENCE, NO_FREE_FENCE, PUBLISH_RELAXED, BORN_LATE, NO_PIN_FENCE, NO_PIN_CHECK,
 * SEGMENT_FROM_ZERO, SEGMENT_NO_FENCE, SEGMENT_META_FIRST, META_FIRST, FREE_MOVED_AT_ONCE, NO_STALE_CHECK.
 */
#ifndef OPS
#define OPS 3
#endif
#define ENTRIES  5
#define SEGMENTS 3
#define VERSIONS (OPS + 2)
#define UNSEEN   20 /* born of what is not committed */
#define GONE     32 /* flag in born: a tombstone */
#define GARBAGE  99
#define STEPS    4 /* of a chain, before a reader starts again */

/* Locations. Entry and segment 0 are "none". */
#define COMMITTED  0
#define RECLAIM    1
#define SEGMENT    2
#define META(s)    (1 + 2 * (s))
#define SLOT(s)    (2 + 2 * (s))
#define BORN(e)    (6 + 3 * (e))
#define PREV(e)    (7 + 3 * (e))
#define VALUE(e)   (8 + 3 * (e))
#define LOCATIONS  24

byte seen[LOCATIONS]; /* what readers load */
byte own[LOCATIONS];  /* what the writer has stored */
bit late[LOCATIONS];  /* stored, not yet seen */
byte late_count;

byte truth[VERSIONS]; /* the value at each version; 0: no such key */
bit entry_used[ENTRIES + 1];
bit segment_used[SEGMENTS + 1];
byte lease;           /* 0: free; version | use << 4 */
bit revoked;
byte lease_late;

#define PINNED_VERSION(l) ((l) & 15)

/* --- the writer's stores -------------------------------------------------------------------- */

inline store(at, what)
{
    d_step { !late[at] -> own[at] = what; late[at] = 1; late_count++ }
}

inline fence()
{
    late_count == 0
}

inline store_release(at, what)
{
    fence();
    store(at, what)
}

#define SHOW(i) :: d_step { late[i] -> seen[i] = own[i]; late[i] = 0; late_count-- }

proctype store_buffer()
{
end:
    do
    SHOW(0) SHOW(1) SHOW(2) SHOW(3) SHOW(4) SHOW(5) SHOW(6) SHOW(7) SHOW(8)
    SHOW(9) SHOW(10) SHOW(11) SHOW(12) SHOW(13) SHOW(14) SHOW(15) SHOW(16) SHOW(17)
    SHOW(18) SHOW(19) SHOW(20) SHOW(21) SHOW(22) SHOW(23)
    od
}

/* --- the writer's memory -------------------------------------------------------------------- */

inline alloc_entry(e)
{
    d_step {
        e = 1;
        do
        :: e <= ENTRIES && entry_used[e] -> e++
        :: else -> break
        od;
        assert(e <= ENTRIES);
        entry_used[e] = 1
    }
}

/* W7, and what comes of the block. */
inline free_entry(e)
{
#ifndef NO_FREE_FENCE
    fence();
#endif
    store(VALUE(e), GARBAGE);
    store(BORN(e), 1);
    entry_used[e] = 0
}

inline raise(at)
{
    store_release(at, own[at] + 1)
}

inline raise_sequence()
{
#ifndef NO_SEQUENCE
    raise(META(own[SEGMENT]))
#else
    skip
#endif
}

/* --- the writer ----------------------------------------------------------------------------- */

byte serial;     /* of values */
byte meta_start; /* of segments: never the same */
byte moved, moved_lease, moved_count;
byte unlinked[3], unlinked_count;

/* A pin in [from, to). */
#define PINS(from, to)                                                                             \
    (pin != 0 && PINNED_VERSION(pin) >= (from) && PINNED_VERSION(pin) < (to))

inline publish(e)
{
#ifdef PUBLISH_RELAXED
    store(SLOT(own[SEGMENT]), e);
#else
    store_release(SLOT(own[SEGMENT]), e);
#endif
    raise_sequence()
}

inline commit(e)
{
    d_step { truth[own[COMMITTED] + 1] = own[VALUE(e)] }
#ifdef BORN_LATE
    store_release(COMMITTED, own[COMMITTED] + 1);
    store(BORN(e), own[COMMITTED] | (own[BORN(e)] & GONE));
#else
    store(BORN(e), (own[COMMITTED] + 1) | (own[BORN(e)] & GONE));
    store_release(COMMITTED, own[COMMITTED] + 1);
#endif
    fence()
}

/* W4 for the key's chain; its head is committed. */
inline reclaim()
{
    pin = (revoked -> 0 : lease);
#ifndef NO_FIRST_RAISE
    raise(RECLAIM);
    fence();
#endif
    n = own[SLOT(own[SEGMENT])];
    do
    :: n == 0 || own[PREV(n)] == 0 -> break
    :: else ->
        o = own[PREV(n)];
        if
        :: PINS(own[BORN(o)] & 31, own[BORN(n)] & 31) -> n = o
        :: else ->
            store_release(PREV(n), own[PREV(o)]);
            d_step { unlinked[unlinked_count] = o; unlinked_count++ }
        fi
    od;
#ifndef NO_SECOND_RAISE
    raise(RECLAIM);
#endif
    do
    :: unlinked_count > 0 ->
        unlinked_count--;
        free_entry(unlinked[unlinked_count])
    :: else -> break
    od;
    n = own[SLOT(own[SEGMENT])];
    if
    :: n != 0 && (own[BORN(n)] & GONE) && own[PREV(n)] == 0 && !PINS(0, own[BORN(n)] & 31) ->
        store_release(SLOT(own[SEGMENT]), 0);
        raise_sequence();
        free_entry(n)
    :: else
    fi;
    d_step { n = 0; o = 0; pin = 0 }
}

inline write_new(what, flag)
{
    alloc_entry(e);
    store(BORN(e), UNSEEN | flag);
    store(VALUE(e), what);
    store(PREV(e), own[SLOT(own[SEGMENT])]);
    publish(e)
}

inline abort()
{
    store_release(SLOT(own[SEGMENT]), own[PREV(e)]);
#ifdef FREE_BEFORE_SEQUENCE
    free_entry(e);
    raise_sequence()
#else
    raise_sequence();
    free_entry(e)
#endif
}

/* W6. */
inline move()
{
    n = own[SLOT(own[SEGMENT])];
    if
    :: n != 0 && own[PREV(n)] == 0 && !(own[BORN(n)] & GONE) && moved == 0 ->
        alloc_entry(e);
        store(BORN(e), own[BORN(n)]);
        store(VALUE(e), own[VALUE(n)]);
        store(PREV(e), 0);
        publish(e);
        fence();
        d_step { moved = n; moved_lease = (revoked -> 0 : lease) }
    :: else
    fi;
    d_step { n = 0; e = 0 }
}

inline free_moved()
{
    if
#ifdef FREE_MOVED_AT_ONCE
    :: moved != 0 ->
#else
    :: moved != 0 && (moved_lease == 0 || lease != moved_lease || revoked) ->
#endif
        free_entry(moved);
        d_step { moved = 0; moved_lease = 0 }
    :: else
    fi
}

inline rebuild()
{
    d_step {
        o = own[SEGMENT];
        n = 1;
        do
        :: segment_used[n] -> n++
        :: else -> break
        od;
        segment_used[n] = 1
    }
    store(SLOT(n), 0);
#ifndef SEGMENT_NO_FENCE
    fence();
#endif
#ifdef SEGMENT_FROM_ZERO
    store(META(n), 0);
#else
    d_step { meta_start = meta_start + 40 }
    store(META(n), meta_start);
#endif
    if
    :: own[SLOT(o)] != 0 ->
        store_release(SLOT(n), own[SLOT(o)]);
#ifndef SEGMENT_META_FIRST
        raise(META(n))
#endif
    :: else
    fi;
    store_release(SEGMENT, n);
    fence(); /* W7 */
    store(SLOT(o), 1);
    segment_used[o] = 0;
    d_step { n = 0; o = 0 }
}

proctype writer()
{
    byte ops, e, n, o, pin;
    do
    :: ops == OPS -> break
    :: ops < OPS ->
        ops++;
        if
        :: serial++; write_new(serial, 0);
           if
           :: commit(e); e = 0; reclaim()
           :: abort(); e = 0
           fi
        :: own[SLOT(own[SEGMENT])] != 0 && !(own[BORN(own[SLOT(own[SEGMENT])])] & GONE) ->
           write_new(0, GONE);
           if
           :: commit(e); e = 0; reclaim()
           :: abort(); e = 0
           fi
#ifndef NO_MOVES
        :: move()
#endif
#ifndef NO_REBUILDS
        :: rebuild()
#endif
#ifdef PINNED
        :: reclaim()
        :: d_step { lease != 0 && !revoked -> revoked = 1 }
#endif
        fi;
        free_moved()
    od
}

/* --- readers -------------------------------------------------------------------------------- */

/* R2 to R8 for version v and q. `valid`: R8 agrees. `hit` is the entry, 0: no such key. */
inline find()
{
    w = seen[SEGMENT];
    m = seen[META(w)];
    hit = seen[SLOT(w)];
    d_step { chained = 0; steps = 0; value = 0; valid = 1 }
    do
    :: hit == 0 -> chained = chained | (steps > 0); break
    :: hit != 0 ->
        if
        :: value = seen[VALUE(hit)]; b = seen[BORN(hit)]
        :: b = seen[BORN(hit)]; value = seen[VALUE(hit)]
        fi;
        if
        :: (b & 31) <= v && !(b & GONE) -> break
        :: (b & 31) <= v && (b & GONE) -> d_step { hit = 0; value = 0 } break
        :: else ->
            hit = seen[PREV(hit)];
            d_step { steps++; chained = 1; value = 0 }
            if
            :: steps == STEPS -> valid = 0; break
            :: else
            fi
        fi
    od;
#ifdef META_FIRST
    if
    :: seen[META(w)] != m -> valid = 0
    :: else
    fi;
#endif
    if
    :: seen[SEGMENT] != w -> valid = 0
    :: else
    fi;
#ifndef META_FIRST
    if
    :: seen[META(w)] != m -> valid = 0
    :: else
    fi;
#endif
    if
    :: chained && seen[RECLAIM] != q -> valid = 0
    :: else
    fi;
    d_step { b = 0; w = 0; m = 0; steps = 0 }
}

#ifdef COPYING
proctype copying_reader()
{
    byte q, v, w, m, hit, value, b, steps;
    bit chained, valid;
again:
#ifdef Q_AFTER_V
    v = seen[COMMITTED];
    q = seen[RECLAIM];
#else
    q = seen[RECLAIM];
    v = seen[COMMITTED];
#endif
    find();
    if
    :: !valid -> goto again
    :: valid && hit != 0 -> assert(value == truth[v])
    :: valid && hit == 0 ->
        do /* to a version at which there was no such key */
        :: truth[v] == 0 || v == seen[COMMITTED] -> break
        :: else -> v++
        od;
        assert(truth[v] == 0)
    fi
}
#endif

#ifdef PINNED
#ifdef NO_PIN_FENCE
proctype lease_buffer()
{
end:
    do
    :: d_step { lease_late != 0 -> lease = lease_late; lease_late = 0 }
    od
}
#endif

proctype pinning_reader()
{
    byte q, v, w, m, hit, value, b, steps, again, use, mine;
    bit chained, valid, lost;
    do
    :: use == 2 -> break
    :: use < 2 ->
        use++;
        v = seen[COMMITTED];
        do
        ::
#ifdef NO_PIN_FENCE
            lease_late = v | use << 4;
#else
            d_step { lease = v | use << 4; revoked = 0 }
#endif
            again = seen[COMMITTED];
#ifdef NO_PIN_CHECK
            break;
#endif
            if
            :: again == v -> break
            :: else -> v = again
            fi
        od;
        do
        :: q = seen[RECLAIM]; find();
            if
            :: valid -> break
            :: else
            fi
        od;
        if
        :: hit != 0 -> value = seen[VALUE(hit)] /* used in place, later */
        :: else
        fi;
        lost = revoked;
#ifdef NO_STALE_CHECK
        lost = 0;
#endif
        assert(lost || value == truth[v]);
        d_step { hit = 0; value = 0; q = 0; v = 0; again = 0; lost = 0 }
#ifdef NO_PIN_FENCE
        lease_late == 0;
#endif
        d_step { lease = 0; revoked = 0 }
    od
}
#endif

init
{
    d_step {
        own[COMMITTED] = 1; seen[COMMITTED] = 1;
        own[SEGMENT] = 1; seen[SEGMENT] = 1;
        segment_used[1] = 1;
        own[SLOT(1)] = 1; seen[SLOT(1)] = 1;
        own[BORN(1)] = 1; seen[BORN(1)] = 1;
        own[VALUE(1)] = 1; seen[VALUE(1)] = 1;
        entry_used[1] = 1;
        serial = 1;
        truth[1] = 1
    }
    atomic {
        run store_buffer();
        run writer();
#ifdef COPYING
        run copying_reader();
#endif
#ifdef PINNED
        run pinning_reader();
#endif
#if defined(PINNED) && defined(NO_PIN_FENCE)
        run lease_buffer();
#endif
    }
}
