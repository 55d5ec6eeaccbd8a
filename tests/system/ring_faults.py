#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ring_faults.py - Goal: whatever happens to one node at a time, clients see nothing of it, and
nothing is lost. Method: rings under load, a fault, repair, another fault, repair; then the checker
(ring_check.c) judges what every client wrote down, and what each node has in the end.

    ring_faults.py [--runs N] [--seed S] [--kind sidepondd|redis] [--fault NAME] [--long]
                   [--zookeeper] [--broken]

Each run draws its faults, the node that has them, their lengths and the load from its seed, which is
printed; --seed with --runs 1 repeats a run, but for what the machine's scheduling decides. Without
options it is short; --long is 200 runs with sidepondd and 50 with Redis.

Clients reach a node, and nodes reach each other, through a proxy in front of it, so that refusal,
reset, silence, delay and loss can be made. `cut` is silence: a node then still reaches the others, but
nobody reaches it.

Rings of stock Redis have no versions and nobody who repairs: a node that has failed stays away to
the end, and what is judged is what clients saw, and that the other copies have all. With --broken
such nodes come back, empty or with what they had before, and the checker has to find that in each run.
"""
import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
import traceback

import ring_kit
import zookeeper_kit

LONG_RUNS = {"sidepondd": 200, "redis": 50}
KEYS = 600
QUIET_SECONDS = 0.3
SESSION_SECONDS = 1
BROKEN_SECONDS = 3
ATTEMPTS = 3
STALL_SECONDS = 0.25


class Run:
    """One ring, its load, and the faults that it has."""

    def __init__(self, seed, options, zookeeper=None):
        self.zookeeper = zookeeper
        self.random = random.Random(seed)
        self.seed, self.kind, self.long = seed, options.kind, options.long
        self.broken, self.program = options.broken, None
        if options.broken_node:
            self.program = os.path.join(ring_kit.BUILD, "bin", options.broken_node)
        self.directory = self.ring = self.load = None
        self.parted = False

    def note(self, text):
        print(f"run {self.seed}: {text}", flush=True)

    def between(self, least, most):
        return round(self.random.uniform(least, most if self.long else min(most, least + 0.8)), 2)

    def pause(self, least, most):
        time.sleep(self.between(least, most))

    # --- faults: each ends with the node as it should be ---

    def kill_warm(self, node):
        node.process.kill()
        self.pause(0, 2)
        node.start().await_answer()

    def kill_empty(self, node):
        node.process.kill()
        node.forget()
        self.pause(0, 1)
        node.start().await_answer()

    def stop(self, node):
        node.process.halt()
        self.pause(0.2, 5)
        node.process.go_on()

    def _network(self, node, order, least=0.3, most=3):
        node.proxy.order(order)
        self.pause(least, most)
        node.proxy.order("pass")

    def refuse(self, node):
        self._network(node, "refuse")

    def reset(self, node):
        self._network(node, "reset")

    def cut(self, node):
        self._network(node, "cut")

    def slow(self, node):
        self._network(node, f"slow {self.random.randint(1, 80)}")

    def lose(self, node):
        self._network(node, f"lose {self.random.randint(1, 20)}")

    def restart(self, node):
        node.process.end()
        node.start().await_answer()

    def rolling(self, _):
        for node in self.ring.nodes:
            self.restart(node)
            self.ring.await_clean()

    def old_data(self, node):
        """What it held before the last writes and deletions is all that it has."""
        node.process.end()
        node.save()
        node.start().await_answer()
        self.ring.await_clean()
        self.pause(0.3, 1)
        node.process.kill()
        node.restore()
        node.start().await_answer()

    def skew(self, node):
        """Within what `clock_ahead` allows, of a minute."""
        skew = str(self.random.choice((-1, 1)) * self.random.randint(1000, 50000))
        node.process.end()
        node.process.environment |= {"LD_PRELOAD": os.path.abspath(ring_kit.CLOCK),
                                     "RING_CLOCK_SKEW_MS": skew}
        node.start().await_answer()
        self.ring.await_clean()
        self.pause(0.2, 1)
        for name in ("LD_PRELOAD", "RING_CLOCK_SKEW_MS"):
            del node.process.environment[name]
        self.restart(node)

    # --- of rings that are found through ZooKeeper ---

    def zookeeper_restart(self, _):
        self.zookeeper.kill()
        self.pause(0.3, 6)
        self.zookeeper.start()
        self.zookeeper.await_serving()

    def session_lost(self, node):
        """The node stands still for longer than its session lasts, and is taken out of the map."""
        node.process.halt()
        time.sleep(SESSION_SECONDS + self.between(0.8, 2))
        node.process.go_on()

    def grow(self, _):
        """Two nodes join, one after the other or at once, and leave again."""
        at_once = self.random.random() < 0.5
        for _ in range(2):
            self.ring.grow()
            if not at_once:
                self.ring.await_clean()
        self.ring.await_clean()
        for _ in range(2):
            self.ring.shrink()
            self.ring.await_clean()

    # --- of Redis: the node stays away ---

    def redis_kill(self, node):
        node.process.kill()

    def redis_refuse(self, node):
        node.proxy.order("refuse")

    def redis_reset(self, node):
        node.proxy.order("reset")

    def redis_stop(self, node):
        node.process.halt()

    def redis_cut(self, node):
        node.proxy.order("cut")

    # --- what a ring without versions and repair cannot bear: the checker has to object ---

    def redis_empty(self, node):
        node.process.kill()
        self.pause(0.1, 1)
        node.start().await_answer()

    def redis_return(self, node):
        node.process.halt()
        self.pause(0.8, 3)
        node.process.go_on()

    SIDEPOND = (kill_warm, kill_empty, stop, refuse, reset, cut, slow, lose, restart, rolling,
                old_data, skew)
    ZOOKEEPER = (zookeeper_restart, session_lost, grow, kill_warm, kill_empty, stop, cut, restart,
                 rolling, old_data)
    # Clients are parted from a node that lives, and knows of nothing: see RING.md, what is not promised.
    PARTED = {"refuse", "reset", "cut", "slow", "lose"}
    REDIS = (redis_kill, redis_refuse, redis_reset, redis_stop, redis_cut)
    BROKEN = (redis_empty, redis_return)

    # --- a run ---

    def plan(self, fault):
        if self.broken:
            return [f for f in self.BROKEN if f.__name__ == fault] or [
                self.random.choice(self.BROKEN)]
        known = (self.REDIS if self.kind == "redis" else
                 self.ZOOKEEPER if self.zookeeper else self.SIDEPOND)
        if fault:
            return [next(f for f in known if f.__name__ == fault)]
        count = 2 if self.long and self.kind == "sidepondd" else 1
        return [self.random.choice(known) for _ in range(count)]

    def load_options(self):
        """Of Redis nothing is deleted: a copy that is silent answers neither that a key is there nor
        that it is not."""
        often = {"rate": 6000, "reads": 30, "deletes": 30} if self.program else {}
        if self.broken:  # what a node has lost is not all written anew before the end
            often = {"rate": 500, "keys": 20 * KEYS}
        return {"preload": 1, "keys": KEYS, "threads": 4, "seed": self.random.randrange(1 << 30),
                "counters": 8 if self.kind == "sidepondd" else 0,
                "rate": self.random.choice((500, 2000, 6000)),
                "reads": self.random.choice((30, 70, 90)),
                "deletes": self.random.choice((5, 30)) if self.kind == "sidepondd" else 0,
                "shared": self.random.choice((0, 20)),
                "value_bytes": self.random.choice((32, 100, 3000)), **often,
                **self.ring.load_options()}

    def make_ring(self):
        if self.kind == "redis":
            return ring_kit.RedisRing(self.directory, 3)
        # A place of its own for each run: the paths before this one's are other rings.
        where = self.zookeeper and f"{self.zookeeper.servers}/run{self.seed}"
        ring = ring_kit.SidepondRing(self.directory, 3, zookeeper=where, spare=2 if where else 0,
                                     program=self.program,
                                     session=f"{SESSION_SECONDS}s")
        ring.await_clean()
        return ring

    def await_clean(self):
        """What is broken may never be clean, and is judged as it is then."""
        if not self.program:
            return self.ring.await_clean()
        try:
            return self.ring.await_clean(BROKEN_SECONDS)
        except AssertionError:
            return BROKEN_SECONDS

    def disturb(self, fault):
        plan = self.plan(fault)
        self.parted = any(what.__name__ in self.PARTED for what in plan)
        for what in plan:
            node = self.random.choice(self.ring.nodes)
            self.note(f"{what.__name__} {node.name}")
            time.sleep(QUIET_SECONDS)
            what(self, node)
            if self.kind == "redis":
                self.pause(0.5, 3)
            else:
                self.note(f"clean after {self.await_clean():.2f} s")
        time.sleep(QUIET_SECONDS)

    def judge(self):
        """What the checker objects to; {}: nothing."""
        verdict = ring_kit.check(self.load.log, *(["no-counters"] if self.parted else []))
        found = ring_kit.objections(verdict)
        self.note(f"{verdict['reads']} reads, {verdict['writes']} writes, "
                  f"{verdict['single_copy_writes']} of them on one copy, "
                  f"{verdict['counter_conflicts']} counts behind: "
                  + (f"BROKEN {found} {verdict['first']}" if found else "right"))
        return found

    def go(self, fault=None):
        with ring_kit.Directory("ring-faults") as self.directory:
            with self.make_ring() as self.ring:
                self.load = ring_kit.Load(self.directory.sub("log"), **self.load_options())
                try:
                    self.load.start()
                    self.disturb(fault)
                    self.load.end()
                    if self.kind == "sidepondd":
                        self.await_clean()
                    self.load.finals(by_client=self.kind == "redis" and not self.broken)
                finally:
                    self.load.kill()
                return self.judge()


def attempt_once(seed, options, zookeeper):
    try:
        return Run(seed, options, zookeeper).go(options.fault)
    except (AssertionError, OSError, subprocess.SubprocessError):
        traceback.print_exc()
        return {"run": "did not come to its end"}


def attempt(seed, options, zookeeper):
    """A run in which the machine stood still says nothing about one fault, and is made again."""
    for _ in range(ATTEMPTS):
        with ring_kit.Stalls() as stalls:
            found = attempt_once(seed, options, zookeeper)
        if not found or stalls.longest < STALL_SECONDS:
            break
        print(f"run {seed}: the machine stood still for {stalls.longest:.2f} s; once more")
    return found


def main():
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
    options = parser.parse_args()
    options.kind = "redis" if options.broken else options.kind
    runs = options.runs or (LONG_RUNS[options.kind] if options.long else 4)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}, {runs} runs, {options.kind}", flush=True)
    broken = {}
    with contextlib.ExitStack() as stack:
        zookeeper = stack.enter_context(zookeeper_kit.Ensemble(1)) if options.zookeeper else None
        for i in range(runs):
            found = attempt(seed + i, options, zookeeper)
            if found:
                broken[seed + i] = found
    print(f"{runs - len(broken)} of {runs} runs are right")
    for failed, found in broken.items():
        print(f"seed {failed}: {found}")
    if options.broken or options.broken_node:
        return 0 if len(broken) == runs and all("run" not in found for found in broken.values()) else 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
