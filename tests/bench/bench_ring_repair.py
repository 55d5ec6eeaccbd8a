#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_ring_repair.py - one of three nodes is lost: how long until each of 1,000,000 keys with 100
bytes is there twice again?

Method. Three sidepondd, found through a real ZooKeeper with the session's default time, 4 s, and
the default `throttle`. A node is killed by SIGKILL and stays away. The time runs from the kill until
the map has two holders for each slot, of the nodes that are left, and their digests are equal; so
what it takes until the node's session is over is in it, and told apart. Then as many entries are counted on
each of both as there are keys. Redis Cluster and Sentinel have no peer to this: a replica that has become
master stays without one until somebody adds a server.

Options: --json, --quick (20,000 keys).
"""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
import bench_rows
import ring_kit
import zookeeper_kit

KEYS = 1_000_000
QUICK_KEYS = 20_000
REACH_SECONDS = 10
PATIENCE_SECONDS = 120


def gone_from_map(ring, node):
    seen = ring.map()
    return seen is not None and node.name not in seen.names


def entries(node):
    """Without tombstones, of which this load has none."""
    rows = ring_kit.ask(node.own_port, "SIDEPOND", "DIGESTS", "0", "16384", seconds=10)
    return sum(int(row[1][1][1]) for row in rows)


def measure(ring, keys, directory):
    load = ring_kit.Load(directory.sub("log"), keys=keys, threads=1, preload=1, rate=1,
                         seconds=0.01, need="all", **ring.load_options())
    load.start()
    load.end()
    ring.await_clean(PATIENCE_SECONDS)
    victim = ring.nodes.pop(1)
    begun = time.monotonic()
    victim.process.kill()
    ring_kit.wait_for(lambda: gone_from_map(ring, victim), "the node is gone from the map")
    gone_s = time.monotonic() - begun
    ring.await_clean(PATIENCE_SECONDS)
    whole_s = time.monotonic() - begun
    return gone_s, whole_s, min(entries(node) for node in ring.nodes)


def main():
    options = bench_rows.options()
    keys = QUICK_KEYS if options.quick else KEYS
    memory = "256MiB" if options.quick else "1024MiB"
    with zookeeper_kit.Ensemble(1) as zookeeper, ring_kit.Directory("bench-repair") as directory:
        with ring_kit.SidepondRing(directory, 3, slots=16384, memory=memory, session="4s",
                                   zookeeper=zookeeper.servers) as ring:
            ring.await_clean()
            gone_s, whole_s, least = measure(ring, keys, directory)
    row = bench_rows.row
    what = f"{keys:,} keys of 100 bytes, one of 3 nodes lost: "
    return bench_rows.finish("ring-repair", [
        row(what + "until each has two copies", whole_s, None, "s", REACH_SECONDS),
        row(what + "of that, until the map is without it", gone_s, None, "s"),
        row(what + "keys that are missing on a node", keys - least, None, "", 0),
    ], options)


if __name__ == "__main__":
    sys.exit(main())
