#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_ring_failover.py - one of three nodes is killed, or stopped, under a steady load: what do
clients see of it? Beside Redis Cluster (3 masters, 3 replicas) and Redis Sentinel (1 master, 2
replicas, 3 sentinels), both with their default time-outs and with tuned ones.

Method. All of them are real servers on loopback. The load is that of tests/system/ring_load.c: 4
clients that read and 4 that write, 4,000 operations a second in all, 10,000 keys with 100 bytes. Each peer has a
client that knows it well (ring_load_redis.c): it follows MOVED, asks anew whenever a master does
not answer as one, reads from replicas meanwhile, and tries an operation for a second before it
fails. After two seconds of quiet load a node that owns keys gets SIGKILL or SIGSTOP. The load goes on
until reads and writes of its keys have succeeded again; a stopped node goes on then. At the end
each key is read, and the checker (ring_check.c) counts acknowledged writes that are not there.

An outage is the longest time in which no operation on keys of the failed node succeeded, while
there were some to do. Of reads, the slowest one is told; of ours it must be near to nothing.

Options: --json, --quick (the tuned peers and a kill only; seconds, not to be quoted).
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
import ring_kit

KEYS = 10_000
LOAD = {"threads": 8, "keys": KEYS, "readers": 4, "rate": 4000, "deletes": 5, "preload": 1, "complaints": 0}
QUIET_SECONDS = 2
CALM_SECONDS = 1.5  # of success, until a fault counts as over
CALM_OPERATIONS = 100
PATIENCE_SECONDS = 60
FAULTS = {"kill": "kill -9", "stop": "SIGSTOP"}
REACH_KILL_MS = 5
REACH_STOP_MS = 15  # the hedging delay, 10 ms, and 5


def note(text):
    print(f"ring-failover: {text}", file=sys.stderr, flush=True)


def peers(quick):
    """(name, what starts it)"""
    tuned = [("Redis Cluster, node-timeout 1000", ring_kit.RedisCluster, 1000),
             ("Redis Sentinel, down-after 1000", ring_kit.RedisSentinel, 1000)]
    default = [("Redis Cluster, node-timeout 15000 (default)", ring_kit.RedisCluster, 15000),
               ("Redis Sentinel, down-after 30000 (default)", ring_kit.RedisSentinel, 30000)]
    return tuned if quick else tuned + default


def is_over(log, fault_ns, own):
    """Whether both reads and writes of the failed node's keys have succeeded for a while."""
    now = time.monotonic_ns()
    seen = ring_kit.outage(log, max(fault_ns, now - int(CALM_SECONDS * 1e9)), now, own)
    return now - fault_ns > CALM_SECONDS * 1e9 and all(
        seen[kind]["done"] > CALM_OPERATIONS and seen[kind]["failed"] == 0
        for kind in ("reads", "writes"))


def break_it(node, fault):
    at = time.monotonic_ns()
    if fault == "kill":
        node.kill()
    else:
        node.halt()
    return at


def measure(system, directory, fault):
    """What clients saw of the fault, and what is missing at the end."""
    node, own = system.victim(KEYS)
    load = ring_kit.Load(directory.sub("log"), client=system.name, nodes=system.seeds, **LOAD)
    load.start()
    try:
        time.sleep(QUIET_SECONDS)
        fault_ns = break_it(node, fault)
        ring_kit.wait_for(lambda: is_over(load.log, fault_ns, own), "the fault is over",
                          PATIENCE_SECONDS)
        if fault == "stop":
            node.go_on()
            time.sleep(1)
        until_ns = time.monotonic_ns()
        load.end()
    finally:
        load.kill()
    load.finals()
    seen = ring_kit.outage(load.log, fault_ns, until_ns, own)
    seen["lost"] = ring_kit.check(load.log)["lost"]
    seen["all"] = ring_kit.outage(load.log, fault_ns, until_ns)
    return seen


def measure_peer(name, kind, timeout_ms, fault):
    with ring_kit.Directory("bench-failover") as directory:
        seen = measure(kind(directory, timeout_ms), directory, fault)
    note(f"{name}, {FAULTS[fault]}: {json.dumps(seen)}")
    return seen


def row(what, ours, peer, unit, reach=None):
    """`reach` is the most that ours may be; None: the row only informs."""
    ratio = ours / peer if ours is not None and peer else None
    return {"what": what, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "reach": reach,
            "ok": reach is None or (ours is not None and ours <= reach)}


def rows_beside(fault, name, ours, peer):
    what = f"{FAULTS[fault]}; {name}: "
    get = (lambda *path: None) if ours is None else (lambda kind, figure: ours[kind][figure])
    return [
        row(what + "reads of its keys, longest without", get("reads", "longest_ms"),
            peer["reads"]["longest_ms"], "ms"),
        row(what + "writes of its keys, longest without", get("writes", "longest_ms"),
            peer["writes"]["longest_ms"], "ms"),
        row(what + "failed reads", get("all", "failed") and None, peer["all"]["reads"]["failed"], ""),
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    faults = ["kill"] if options.quick else list(FAULTS)
    rows = []
    for fault in faults:
        ours = None
        for name, kind, timeout_ms in peers(options.quick):
            rows += rows_beside(fault, name, ours, measure_peer(name, kind, timeout_ms, fault))
    result = {"bench": "ring-failover", "rows": rows}
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))
    return 0 if all(r["ok"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
