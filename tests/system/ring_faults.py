#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ring_faults.py - Goal: whatever happens to one node at a time, clients see nothing of it, and
nothing is lost. Method: rings under load, a fault, repair, another fault, repair; then the checker
(ring_check.c) judges what every client wrote down, and what each node has in the end.

    ring_faults.py [--runs N] [--seed S] [--kind sidepondd|redis] [--fault NAME] [--long]
                   [--zookeeper] [--broken] [--json FILE]

Each run draws its faults (ring_fault_kinds.py), the node that has them, their lengths and the load
from its seed, which is printed; --seed with --runs 1 repeats a run, but for what the machine's
scheduling decides. Without options it is short; --long is 200 runs with sidepondd and 50 with Redis.
At the end there is a summary by faults (ring_summary.py).

With --zookeeper the nodes find each other through three real ZooKeepers, and Redis has agents.

Rings of Redis without agents have nobody who repairs: a node that has failed stays away to the end,
and what is judged is what clients saw, and that the other copies have all. With --broken such nodes
come back, empty or with what they had before, and the checker has to find that in each run.
"""
import argparse
import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
import traceback

import ring_fault_kinds
import ring_kit
import ring_summary
import zookeeper_kit

LONG_RUNS = {"sidepondd": 200, "redis": 50}
KEYS = 600
PLACES = itertools.count()
QUIET_SECONDS = 0.3
BROKEN_SECONDS = 3
ATTEMPTS = 3
# So long that it is a fault of its own. Of Redis, a copy that is late misses a write, and what only
# the other one has is lost with that.
STALL_SECONDS = {"sidepondd": 0.25, "redis": 0.05}


class Run(ring_fault_kinds.Faults):
    """One ring, its load, and the faults that it has."""

    def __init__(self, seed, options, zookeeper=None, proxies=None):
        self.zookeeper, self.proxies = zookeeper, proxies
        self.random = random.Random(seed)
        self.seed, self.kind, self.long = seed, options.kind, options.long
        self.broken, self.program = options.broken, None
        if options.broken_node:
            self.program = os.path.join(ring_kit.BUILD, "bin", options.broken_node)
        self.plan = self.draw_plan(options.fault)
        self.directory = self.ring = self.load = None
        self.begun = time.monotonic()

    def note(self, text):
        print(f"run {self.seed}: {text}", flush=True)

    def between(self, least, most):
        return round(self.random.uniform(least, most if self.long else min(most, least + 0.8)), 2)

    def pause(self, least, most):
        time.sleep(self.between(least, most))

    def names(self):
        return [fault.__name__ for fault in self.plan]

    # --- a run ---

    def draw_plan(self, fault):
        known = self.BROKEN if self.broken else self.known(self.kind, self.zookeeper is not None)
        if fault:
            return [next(f for f in known if f.__name__ == fault)]
        count = 2 if self.long and self.repairs() else 1
        return [self.random.choice(known) for _ in range(count)]

    def repairs(self):
        """Whether the ring is whole again after a fault."""
        return self.kind == "sidepondd" or self.zookeeper is not None

    def load_options(self):
        """Of Redis nothing is deleted: a copy that is silent answers neither that a key is there nor
        that it is not. Nor do two clients write one key, as nobody promises that copies are equal
        then."""
        sidepondd = self.kind == "sidepondd"
        often = {"rate": 6000, "reads": 30, "deletes": 30} if self.program else {}
        if self.broken:  # what a node has lost is not all written anew before the end
            often = {"rate": 500, "keys": 20 * KEYS}
        for name in self.names():
            often |= self.LOADS.get(name, {})
        return {"preload": 1, "keys": KEYS, "threads": 4, "seed": self.random.randrange(1 << 30),
                "counters": 8 if sidepondd else 0,
                "rate": self.random.choice((500, 2000, 6000)),
                "reads": self.random.choice((30, 70, 90)),
                "deletes": self.random.choice((5, 30)) if sidepondd else 0,
                "shared": self.random.choice((0, 20)) if sidepondd else 0,
                "value_bytes": self.random.choice((32, 100, 3000)), **often,
                **self.ring.load_options()}

    def make_ring(self):
        # A place of its own for each attempt: the paths before this one's are other rings.
        where = self.zookeeper and f"{self.proxies.servers}/ring{next(PLACES)}"
        through = {"zookeeper": where, "proxies": self.proxies, "sources": True}
        session = f"{ring_fault_kinds.SESSION_SECONDS}s"
        if self.kind == "redis":
            return (ring_kit.AgentRing(self.directory, 3, KEYS, session=session, **through) if where
                    else ring_kit.RedisRing(self.directory, 3))
        extra = {}
        for name in self.names():
            extra |= self.SETTINGS.get(name, {})
        return ring_kit.SidepondRing(self.directory, 3, spare=2 if where else 0, extra=extra,
                                     program=self.program, session=session, **through)

    @contextlib.contextmanager
    def parted_load(self, source):
        """Some more clients, which come from that address."""
        options = {**self.load.options, "preload": 0, "first_writer": 101, "threads": 2,
                   "seed": self.random.randrange(1 << 30)}
        load = ring_kit.Load(self.load.log, source=source, **options).start()
        try:
            yield load
            self.loads.append(load.end())
        finally:
            load.kill()

    def await_clean(self):
        """What is broken may never be clean, and is judged as it is then."""
        if not self.program:
            return self.ring.await_clean()
        try:
            return self.ring.await_clean(BROKEN_SECONDS)
        except AssertionError:
            return BROKEN_SECONDS

    def disturb(self):
        if self.repairs():  # what is there before is on all copies
            self.await_clean()
        for fault in self.plan:
            node = self.random.choice(self.ring.nodes)
            self.note(f"{fault.__name__} {node.name}")
            time.sleep(QUIET_SECONDS)
            fault(self, node)
            if self.repairs():
                self.note(f"clean after {self.await_clean():.2f} s")
            else:
                self.pause(0.5, 3)
        time.sleep(QUIET_SECONDS)

    def judge(self):
        """A record of the run (ring_summary.py)."""
        names = set(self.names())
        verdict = ring_kit.check(self.load.log, *(["no-counters"] if names & self.UNCOUNTED else []))
        allowed = set().union(*(self.ALLOWED.get(name, set()) for name in names))
        found = ring_kit.objections(verdict, allowed)
        seen = ring_kit.outage(self.load.log, 0, 1 << 62)["reads"]
        acknowledged = sum(counts[op]["ok"] for counts in self.loads
                           for op in ("set", "delete", "incr"))
        self.note(f"{verdict['reads']} reads, the slowest {seen['slowest_ms']:.1f} ms, "
                  f"{verdict['writes']} writes, {verdict['single_copy_writes']} of them on one copy, "
                  f"{verdict['counter_conflicts']} counts behind, "
                  f"{sum(verdict[rule] for rule in allowed)} misses by eviction: "
                  + (f"BROKEN {found} {verdict['first']}" if found else "right"))
        return {"seed": self.seed, "faults": self.names(),
                "seconds": round(time.monotonic() - self.begun, 2), "reads": verdict["reads"],
                "writes": verdict["writes"], "acknowledged": acknowledged,
                "single_copy_writes": verdict["single_copy_writes"],
                "slowest_read_ms": seen["slowest_ms"], "found": found}

    def go(self):
        with ring_kit.Directory("ring-faults") as self.directory:
            with self.make_ring() as self.ring:
                if self.repairs():
                    self.ring.await_settled()
                self.loads = []
                self.load = ring_kit.Load(self.directory.sub("log"), **self.load_options())
                try:
                    self.load.start()
                    self.disturb()
                    self.loads.append(self.load.end())
                    if self.repairs():
                        self.await_clean()
                    self.load.finals(by_client=not self.repairs() and not self.broken)
                finally:
                    self.load.kill()
                return self.judge()


def attempt_once(run):
    try:
        return run.go()
    except (AssertionError, OSError, subprocess.SubprocessError):
        traceback.print_exc()
        return {"seed": run.seed, "faults": run.names(),
                "found": {"run": "did not come to its end"}}


def attempt(seed, options, *zookeeper):
    """A run in which the machine stood still says nothing about one fault, and is made again."""
    for repeated in range(ATTEMPTS):
        with ring_kit.Stalls() as stalls:
            record = attempt_once(Run(seed, options, *zookeeper))
        if not record["found"] or stalls.longest < STALL_SECONDS[options.kind]:
            break
        print(f"run {seed}: the machine stood still for {stalls.longest:.2f} s; once more")
    return {**record, "repeated": repeated}


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--kind", choices=sorted(LONG_RUNS), default="sidepondd")
    parser.add_argument("--fault", help="this one in each run")
    parser.add_argument("--long", action="store_true", default=bool(os.environ.get("SIDEPOND_LONG")))
    parser.add_argument("--broken", action="store_true",
                        help="rings of Redis whose nodes come back empty or old: each is to be found")
    parser.add_argument("--broken-node", metavar="PROGRAM",
                        help="nodes that are broken on purpose: each run is to be found")
    parser.add_argument("--zookeeper", action="store_true",
                        help="the nodes find each other through a real ZooKeeper")
    parser.add_argument("--json", metavar="FILE", help="where the summary is written, too")
    options = parser.parse_args()
    options.kind = "redis" if options.broken else options.kind
    options.runs = options.runs or (LONG_RUNS[options.kind] if options.long else 4)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 30)
    return options


def make_runs(options):
    with contextlib.ExitStack() as stack:
        zookeeper = ()
        if options.zookeeper:
            ensemble = stack.enter_context(zookeeper_kit.Ensemble(3))
            zookeeper = (ensemble, stack.enter_context(ring_kit.ZookeeperProxies(ensemble.ports)))
        return [attempt(seed, options, *zookeeper)
                for seed in range(options.seed, options.seed + options.runs)]


def main():
    options = parse()
    begun = time.monotonic()
    head = {"seed": options.seed, "kind": options.kind, "zookeeper": options.zookeeper}
    print(f"seed {options.seed}, {options.runs} runs, {options.kind}", flush=True)
    records = make_runs(options)
    found = ring_summary.summary(records)
    broken = [record for record in records if record["found"]]
    ring_summary.print_table(found)
    print(f"{len(records) - len(broken)} of {len(records)} runs are right, "
          f"after {time.monotonic() - begun:.0f} s")
    for record in broken:
        print(f"seed {record['seed']} {record['faults']}: {record['found']}")
    if options.json:
        ring_summary.write_json(options.json, head, records, found)
    if options.broken or options.broken_node:
        return 0 if len(broken) == len(records) and found["all"]["run"] == 0 else 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
