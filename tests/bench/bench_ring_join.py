#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_ring_join.py - an empty node joins a ring of three under load: do clients miss anything?

Method. Three sidepondd, found through a real ZooKeeper with the session's default time; 100,000 keys of 100 bytes are all there, and are
read and written, never deleted, by 4 clients with 4,000 operations a second. So every read has to be
a hit. After two seconds a fourth, empty node is started. The hit ratio is that of the reads between its
start and the moment at which it holds what it shall, in the worst 100 ms of that, too; the checker
(ring_check.c) judges the whole run. Redis Cluster has no peer to this: nothing moves by itself.

Options: --json, --quick (5,000 keys).
"""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
import bench_rows
import ring_kit
import zookeeper_kit

KEYS = 100_000
QUICK_KEYS = 5_000
LOAD = {"threads": 4, "rate": 4000, "reads": 80, "deletes": 0, "preload": 1}
QUIET_SECONDS = 2
WINDOW_NS = 100_000_000
REACH_RATIO = 0.999


def hit_ratio(seen):
    reads = seen["reads"]
    tried = reads["done"] + reads["failed"]
    return (reads["done"] - reads["absent"]) / tried if tried else 1.0


def worst_window(log, from_ns, until_ns):
    windows = range(from_ns, max(until_ns - WINDOW_NS, from_ns + 1), WINDOW_NS)
    return min(hit_ratio(ring_kit.outage(log, at, at + WINDOW_NS)) for at in windows)


def measure(ring, keys, directory):
    load = ring_kit.Load(directory.sub("log"), keys=keys, **LOAD, **ring.load_options()).start()
    try:
        time.sleep(QUIET_SECONDS)
        begun_ns = time.monotonic_ns()
        ring.grow()
        ring.await_clean()
        joined_ns = time.monotonic_ns()
        time.sleep(1)
        load.end()
    finally:
        load.kill()
    load.finals()
    before = ring_kit.outage(load.log, begun_ns - int(QUIET_SECONDS * 1e9), begun_ns)
    during = ring_kit.outage(load.log, begun_ns, joined_ns)
    return {"verdict": ring_kit.check(load.log), "seconds": (joined_ns - begun_ns) * 1e-9,
            "before": hit_ratio(before), "during": hit_ratio(during),
            "worst": worst_window(load.log, begun_ns, joined_ns),
            "p99_before": before["reads"]["p99_ms"], "p99_during": during["reads"]["p99_ms"]}


def rows_of(seen):
    row = bench_rows.row
    verdict = seen["verdict"]
    broken = sum(ring_kit.objections(verdict).values())
    return [
        row("wrong misses", verdict["false_misses"], None, "", 0),
        row("hit ratio while it joins, of before", seen["during"] / seen["before"], None, "",
            REACH_RATIO, at_least=True),
        row("hit ratio in the worst 100 ms", seen["worst"] / seen["before"], None, "",
            REACH_RATIO, at_least=True),
        row("whatever else the checker objects to", broken - verdict["false_misses"], None, "", 0),
        row("from its start until it holds what it shall", seen["seconds"], None, "s"),
        row("p99 of reads while it joins, and before", seen["p99_during"], seen["p99_before"], "ms"),
    ]


def main():
    options = bench_rows.options()
    keys = QUICK_KEYS if options.quick else KEYS
    with zookeeper_kit.Ensemble(1) as zookeeper, ring_kit.Directory("bench-join") as directory:
        with ring_kit.SidepondRing(directory, 3, slots=16384, memory="256MiB", spare=1, session="4s",
                                   zookeeper=zookeeper.servers) as ring:
            ring.await_clean()
            seen = measure(ring, keys, directory)
    return bench_rows.finish("ring-join", rows_of(seen), options)


if __name__ == "__main__":
    sys.exit(main())
