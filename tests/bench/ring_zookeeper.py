# SPDX-License-Identifier: Apache-2.0
"""ring_zookeeper.py - a part of ring-failover: how soon clients leave a dead node alone, and have a
map without it; what they see when ZooKeeper is away; how many sessions a host of many workers has.

Method. Three sidepondd with 16384 slots, found through a real ZooKeeper with the session's default
time, 4 s. The client says itself when its breakers open and when its map is another one (--look of
ring_load, every 2 ms). ZooKeeper is killed by SIGKILL, and started again with its data after 20 s,
or 600 s with --long; the time that a session lasts after that is waited for, so that one which was
lost would be seen. The workers are processes that learn of the ring from the pond of a sidepondd on
their host, and reach it without a proxy; sessions are what ZooKeeper's four-letter word `cons`
shows.
"""
import contextlib
import os
import time

import bench_rows
import ring_kit
import zookeeper_kit

SESSION_SECONDS = {"quick": 1, "": 4, "long": 4}
QUIET_SECONDS = 1
AWAY_SECONDS = {"quick": 2, "": 20, "long": 600}
WORKERS = {"quick": 20, "": 200, "long": 200}
BREAKER_MS = 100
MAP_SECONDS = 0.2  # besides the session's time
KEYS = 10_000
LOAD = {"keys": KEYS, "threads": 8, "rate": 2000, "reads": 70, "deletes": 5, "preload": 1,
        "complaints": 0}


@contextlib.contextmanager
def ring_of(count, session, **more):
    with zookeeper_kit.Ensemble(1) as zookeeper, ring_kit.Directory("bench-zookeeper") as directory:
        with ring_kit.SidepondRing(directory, count, slots=16384, zookeeper=zookeeper.servers,
                                   session=f"{session}s", **more) as ring:
            ring.await_clean()
            yield zookeeper, directory, ring


@contextlib.contextmanager
def loaded(directory, ring, **options):
    load = ring_kit.Load(directory.sub("log"), **LOAD, **options, **ring.load_options()).start()
    try:
        time.sleep(QUIET_SECONDS)
        yield load
    finally:
        load.kill()


# --- a dead node ------------------------------------------------------------------------------

def looks(load):
    """(ns, epoch, names of nodes that are kept back), in order."""
    with open(os.path.join(load.log, "looks"), encoding="ascii") as file:
        lines = [line.split() for line in file if line.endswith("\n")]
    return [(int(line[0]), int(line[1]), line[2:]) for line in lines]


def first(load, from_ns, condition):
    """When the client was first seen so after that, in ns; None: not yet."""
    return next((look[0] for look in looks(load) if look[0] >= from_ns and condition(look)), None)


def measure_dead(fault, session):
    """Until the breaker opened, in ms, and until the client had another map, in s."""
    with ring_of(3, session) as (_, directory, ring), loaded(directory, ring, look=1) as load:
        node, epoch = ring.nodes[1], ring.map().epoch
        at = time.monotonic_ns()
        if fault == "kill":
            node.process.kill()
        else:
            node.process.halt()
        map_ns = ring_kit.wait_for(lambda: first(load, at, lambda look: look[1] > epoch),
                                   "the client has another map")
        open_ns = ring_kit.wait_for(lambda: first(load, at, lambda look: node.name in look[2]),
                                    "the breaker opens")
        load.end()
    return (open_ns - at) / 1e6, (map_ns - at) / 1e9


def rows_of_dead(fault, what, session):
    open_ms, map_s = measure_dead(fault, session)
    what = f"{what} of one of 3 sidepondd, with ZooKeeper: "
    return [bench_rows.row(what + "until clients leave it alone", open_ms, None, "ms", BREAKER_MS),
            bench_rows.row(what + "until clients have a map without it", map_s, None, "s",
                           session + MAP_SECONDS)]


# --- ZooKeeper is away ------------------------------------------------------------------------

def measure_away(seconds, session):
    """The checker's verdict, and by how much the map's epoch has grown."""
    with ring_of(3, session) as (zookeeper, directory, ring), loaded(directory, ring) as load:
        epoch = ring.map().epoch
        zookeeper.kill()
        time.sleep(seconds)
        zookeeper.start()
        zookeeper.await_serving()
        time.sleep(session + 1)
        load.end()
        ring.await_clean()
        load.finals()
        return ring_kit.check(load.log), ring.map().epoch - epoch


def rows_of_away(seconds, session):
    verdict, changes = measure_away(seconds, session)
    what = f"ZooKeeper away for {seconds} s, and back: "
    failures = ("failed_reads", "failed_writes")
    return [bench_rows.row(what + "changes of the map", changes, None, "", 0),
            bench_rows.row(what + "operations", verdict["reads"] + verdict["writes"], None, ""),
            bench_rows.row(what + "failed operations", sum(verdict[rule] for rule in failures), None,
                           "", 0),
            bench_rows.row(what + "all else that the checker objects to",
                           sum(ring_kit.objections(verdict, failures).values()), None, "", 0)]


# --- many workers of a host -------------------------------------------------------------------

def sessions(zookeeper):
    return sum("sid=0x" in line for line in zookeeper.four("cons").split("\n"))


def failed(counts):
    return sum(of[outcome] for of in counts.values() for outcome in ("failed", "unknown", "wrong"))


def measure_workers(count, session):
    """Sessions in all while they work, how many operations they did, and how many failed."""
    with ring_of(1, session, proxied=False) as (zookeeper, directory, ring), contextlib.ExitStack() as stack:
        workers = []
        for i in range(count):
            load = ring_kit.Load(directory.sub(f"worker-{i}"), client="ring", threads=1, keys=200,
                                 rate=5, preload=int(i == 0), first_writer=1 + 2 * i,
                                 pond=ring.nodes[0].pond(), complaints=0)
            stack.callback(load.kill)
            workers.append(load.start())
        time.sleep(QUIET_SECONDS)
        seen = sessions(zookeeper)
        counts = [load.end() for load in workers]
    done = sum(of[outcome] for each in counts for of in each.values()
               for outcome in ("ok", "absent"))
    return seen, done, sum(failed(each) for each in counts)


def rows_of_workers(count, session):
    seen, done, lost = measure_workers(count, session)
    what = f"{count} worker processes and a sidepondd on a host: "
    return [bench_rows.row(what + "sessions of ZooKeeper", seen, None, "", 1),
            bench_rows.row(what + "operations", done, None, ""),
            bench_rows.row(what + "failed operations", lost, None, "", 0)]


def rows(options, faults):
    size = "quick" if options.quick else "long" if options.long else ""
    session = SESSION_SECONDS[size]
    found = rows_of_workers(WORKERS[size], session)
    found += rows_of_away(AWAY_SECONDS[size], session)
    for fault, what in faults.items():
        found += rows_of_dead(fault, what, session)
    return found
