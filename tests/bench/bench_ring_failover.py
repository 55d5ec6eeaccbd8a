#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_ring_failover.py - one of three nodes is killed, or stopped, under a steady load: what do
clients see of it? Beside Redis Cluster (3 masters, 3 replicas) and Redis Sentinel (1 master, 2
replicas, 3 sentinels), both with their default time-outs and with tuned ones.

Method. All of them are real servers on loopback. The load is that of tests/system/ring_load.c: 4
clients that read and 4 that write, 4,000 operations a second in all, 10,000 keys with 100 bytes. Each
peer has a client that knows it well (ring_load_redis.c): it follows MOVED, asks anew whenever a
master does not answer as one, reads from replicas meanwhile, and tries an operation for a second
before it fails. After two seconds of quiet load a node that owns keys gets SIGKILL or SIGSTOP. The
load goes on until reads and writes of its keys have succeeded again; a stopped node goes on then, of
ours after three seconds. Nothing else is done in the first second and a half. At the end each key is read, of ours from each node that holds it, and the
checker (ring_check.c) counts acknowledged writes that are not there.

All of it shares the processors of one machine, so some operations are slow because a process has to
wait for its turn. How slow, the same time before the fault says: "slowest read without a fault".

An outage is the longest time in which no operation on keys of the failed node succeeded, while
there were some to do; without a fault it is the time between two operations.

Of rings that are found through ZooKeeper there are more rows, by ring_zookeeper.py.

Options: --json, --quick (one tuned peer and a kill only; seconds, not to be quoted), --long
(ZooKeeper is away for ten minutes), --ours (no peers).
"""
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
import bench_rows
import ring_kit
import ring_zookeeper

KEYS = 10_000
LOAD = {"threads": 8, "keys": KEYS, "readers": 4, "rate": 4000, "deletes": 5, "preload": 1,
        "complaints": 0}
QUIET_SECONDS = 2.5
CALM_SECONDS = 1.5  # of success, until a fault counts as over
CALM_OPERATIONS = 100
PATIENCE_SECONDS = 60
STOPPED_SECONDS = 3
BACK_MS = 100  # after a stop, from when on latency is to be what it was
FAULTS = {"kill": "kill -9", "stop": "SIGSTOP"}
SLOWEST_MS = {"kill": 5, "stop": 15}  # the hedging delay is 10 ms


def note(text):
    print(f"ring-failover: {text}", file=sys.stderr, flush=True)


def peers(quick):
    """(name, what starts it, its time-out in ms)"""
    tuned = [("Redis Cluster, node-timeout 1000", ring_kit.RedisCluster, 1000),
             ("Redis Sentinel, down-after 1000", ring_kit.RedisSentinel, 1000)]
    default = [("Redis Cluster, node-timeout 15000 (default)", ring_kit.RedisCluster, 15000),
               ("Redis Sentinel, down-after 30000 (default)", ring_kit.RedisSentinel, 30000)]
    return tuned[:1] if quick else tuned + default


def is_over(log, fault_ns, own):
    """Whether both reads and writes of the failed node's keys have succeeded for a while."""
    now = time.monotonic_ns()
    if now - fault_ns < CALM_SECONDS * 1e9:
        return False
    seen = ring_kit.outage(log, now - int(CALM_SECONDS * 1e9), now, own)
    return all(
        seen[kind]["done"] > CALM_OPERATIONS and seen[kind]["failed"] == 0
        for kind in ("reads", "writes"))


def disturb(node, own, fault, log, least_seconds):
    """The moment of the fault, and that at which it was over."""
    at = time.monotonic_ns()
    if fault == "kill":
        node.kill()
    else:
        node.halt()
    ring_kit.wait_for(
        lambda: time.monotonic_ns() - at > least_seconds * 1e9 and is_over(log, at, own),
        "the fault is over", PATIENCE_SECONDS)
    return at, time.monotonic_ns()


def measure(directory, fault, victim, options, least_seconds=0):
    """What clients saw of the fault, and what is missing at the end."""
    node, own = victim
    load = ring_kit.Load(directory.sub("log"), **options, **LOAD).start()
    try:
        time.sleep(QUIET_SECONDS)
        quiet_ns = time.monotonic_ns()
        fault_ns, until_ns = disturb(node, own, fault, load.log, least_seconds)
        if fault == "stop":
            node.go_on()
            time.sleep(1)
        load.end()
    finally:
        load.kill()
    seen = ring_kit.outage(load.log, fault_ns, until_ns, own)
    seen["all"] = ring_kit.outage(load.log, fault_ns, until_ns)
    seen["before"] = ring_kit.outage(load.log, quiet_ns - int(CALM_SECONDS * 1e9), quiet_ns)
    seen["back"] = ring_kit.outage(load.log, fault_ns + BACK_MS * 1000000, until_ns)
    return load, seen


def measure_peer(name, kind, timeout_ms, fault):
    with ring_kit.Directory("bench-failover") as directory:
        system = kind(directory, timeout_ms)
        options = {"client": system.name, "nodes": system.seeds}
        load, seen = measure(directory, fault, system.victim(KEYS), options)
        load.finals()
        seen["verdict"] = ring_kit.check(load.log)
    note(f"{name}, {FAULTS[fault]}: {json.dumps(seen)}")
    return seen


def measure_redis_nodes(fault):
    """Our ring of stock Redis servers."""
    with ring_kit.Directory("bench-failover") as directory:
        with ring_kit.RedisRing(directory, 3, proxied=False) as ring:
            node = ring.nodes[1]
            load, seen = measure(directory, fault, (node.process, ring.keys_of(node, KEYS)),
                                 ring.load_options())
            load.finals(by_client=True)
            seen["verdict"] = ring_kit.check(load.log)
    note(f"a ring of Redis, {FAULTS[fault]}: {json.dumps(seen)}")
    return seen


def measure_sidepondd(fault):
    with ring_kit.Directory("bench-failover") as directory:
        with ring_kit.SidepondRing(directory, 3, slots=16384, proxied=False) as ring:
            ring.await_clean()
            node = ring.nodes[1]
            load, seen = measure(directory, fault, (node.process, ring.keys_of(node, KEYS)),
                                 ring.load_options(), STOPPED_SECONDS if fault == "stop" else 0)
            if fault == "kill":
                node.start().await_answer()
            seen["clean_s"] = ring.await_clean()
            load.finals()
            seen["verdict"] = ring_kit.check(load.log)
    note(f"sidepondd, {FAULTS[fault]}: {json.dumps(seen)}")
    return seen


def rows_of_ours(what, fault, ours):
    row = bench_rows.row
    what = f"{FAULTS[fault]} of one of 3 {what}: "
    return [
        row(what + "failed reads", ours["all"]["reads"]["failed"], None, "", 0),
        row(what + "failed writes", ours["all"]["writes"]["failed"], None, "", 0),
        row(what + "slowest read", ours["all"]["reads"]["slowest_ms"], None, "ms",
            SLOWEST_MS[fault]),
        row(what + "slowest read without a fault", ours["before"]["reads"]["slowest_ms"], None,
            "ms"),
        row(what + f"p99 of reads {BACK_MS} ms later, and before", ours["back"]["reads"]["p99_ms"],
            ours["before"]["reads"]["p99_ms"], "ms"),
    ]


def rows_of_sidepondd(fault, ours):
    row = bench_rows.row
    what = f"{FAULTS[fault]} of one of 3 sidepondd: "
    verdict = ours["verdict"]
    return rows_of_ours("sidepondd", fault, ours) + [
        row(what + "acknowledged writes lost", verdict["lost"] + verdict["returned"], None, "", 0),
        row(what + "reads older than what the client wrote", verdict["stale"], None, "", 0),
        row(what + "keys with unequal copies, when it is back", verdict["unequal"], None, "", 0),
        row(what + "all copies there and equal, once it is back", ours["clean_s"], None, "s"),
    ]


def rows_beside(fault, name, ours, peer):
    what = f"{FAULTS[fault]}; {name}: "
    row = bench_rows.row
    return [
        row(what + "longest without a read of its keys", ours["reads"]["longest_ms"],
            peer["reads"]["longest_ms"], "ms"),
        row(what + "longest without a write of its keys", ours["writes"]["longest_ms"],
            peer["writes"]["longest_ms"], "ms"),
        row(what + "failed reads", ours["all"]["reads"]["failed"],
            peer["all"]["reads"]["failed"], ""),
        row(what + "failed writes", ours["all"]["writes"]["failed"],
            peer["all"]["writes"]["failed"], ""),
        row(what + "slowest read", ours["all"]["reads"]["slowest_ms"],
            peer["all"]["reads"]["slowest_ms"], "ms"),
        row(what + "acknowledged writes lost", ours["verdict"]["lost"], peer["verdict"]["lost"], ""),
    ]


def main():
    options = bench_rows.options()
    rows = ring_zookeeper.rows(options, {"kill": FAULTS["kill"]} if options.quick else FAULTS)
    for fault in ["kill"] if options.quick else list(FAULTS):
        ours = measure_sidepondd(fault)
        rows += rows_of_sidepondd(fault, ours)
        rows += rows_of_ours("Redis nodes", fault, measure_redis_nodes(fault))
        for name, kind, timeout_ms in [] if options.ours else peers(options.quick):
            rows += rows_beside(fault, name, ours, measure_peer(name, kind, timeout_ms, fault))
    return bench_rows.finish("ring-failover", rows, options)


if __name__ == "__main__":
    sys.exit(main())
