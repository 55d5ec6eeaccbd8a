#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py [--seconds N] [--rate X] [--python PYTHON] [--faults] - a daemon under load for a long
time holds no more than it did at first.

Goal: nothing that sidepondd takes while it serves is lost: private memory, descriptors, threads, and
memory of the pond stay what they were, refreshes and reads as fast, whatever clients do.
Method: a real daemon with tables in SQLite that change all the time, and a cache that is full, under
the load of soak_load.py: eight processes that write, listen, compute, read shared memory, reload, set,
and misbehave in every way they can. What they read says by itself whether it is whole. The load runs
for a warm-up, ends, and runs again. Meanwhile soak_watch.py takes samples, and compares the first
third with the last, and the rest before with the rest after. Then the daemon is stopped, and
`sidepond check` must find the pond sound, with no unit of it lost.

Without --seconds the load takes 16 s, or 15 minutes with SIDEPOND_LONG=1. --rate multiplies how much
the clients do. --python names one that has the package sidepond; else that is installed first.
--faults does the same with a daemon that is broken in every way of FAULTS, each of which must be
found out; with SIDEPOND_LONG=1 with one daemon for each.

Exit status 77: this build has no libsoak_heap, which is so with sanitizers.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import daemon_kit
import python_package
import soak_database
import soak_load
import soak_watch
from daemon_kit import BUILD, Daemon, free_port, wait_for
from resp_wire import Connection
from test_daemon_cache import make_certificate

ROLES = ("writes", "writes", "listens", "abuses", "computes", "reads", "operates", "changes")
CACHE_BYTES = 6 << 20
REST_SECONDS = 60
LONG = bool(os.environ.get("SIDEPOND_LONG"))
LIBRARY = os.path.abspath(os.path.join(BUILD, "lib", "libsoak_heap.so"))
SEED = os.environ.get("SIDEPOND_SEED") or str(random.SystemRandom().randrange(1 << 32))


class SoakDaemon(Daemon):
    """With tables and a cache; configs are the files that reloads take turns at."""

    def __init__(self):
        self.heap = None
        self.tcp, self.tls = free_port(), free_port()
        super().__init__(soak_database.TABLES, "", memory="24MiB")
        self.heap = os.path.join(self.directory, "heap")
        self.database = os.path.join(self.directory, "app.db")
        self.socket_path = os.path.join(self.pond, "socket")
        self.certificate = make_certificate(self.directory, "soak")
        self.configs = [self.write("one.yaml", soak_database.TABLES + soak_database.EXTRA_TABLE),
                        self.write("two.yaml", soak_database.TABLES, "max_clients: 400",
                                   "idle_timeout: 1h", "slow_after: 1ms", "output_limit: 2MiB")]
        soak_database.create(self.database, SEED)
        os.replace(soak_database.copy_of(self.configs[0]), self.config)

    def configure(self, tables):
        """The files are written when all that stands in them is known."""

    def write(self, name, tables, *options):
        path = os.path.join(self.directory, name)
        cert, key = self.certificate
        options = "\n  ".join(options or ("max_clients: 500", "output_limit: 1MiB"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"""
pond: soak
directory: {self.pond}
memory: {self.memory}
lease_limit: 1s
snapshot: {{file: {self.directory}/soak.snap, every: 1s}}
http: {{listen: "127.0.0.1:{self.port}"}}
log: {{level: info}}
cache:
  memory: {CACHE_BYTES}B
  threads: 2
  listen: ["127.0.0.1:{self.tcp}"]
  tls: {{cert: {cert}, key: {key}, listen: ["127.0.0.1:{self.tls}"]}}
  {options}
sources: [{{name: app, type: sqlite, path: {self.database}}}]
tables:
{tables}""")
        return path

    def places(self, rate):
        """For soak_load.py."""
        path = os.path.join(self.directory, "places.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"tcp": self.tcp, "tls": self.tls, "http": self.port, "unix": self.socket_path,
                       "pond": self.pond, "database": self.database, "pid": self.process.pid,
                       "config": self.config, "configs": self.configs, "rate": rate,
                       "cache_memory": str(CACHE_BYTES)}, file)
        return path


# --- the load ---


class Loads:
    """The processes of soak_load.py; as a context manager they are ended."""

    def __init__(self, python, places, phase, seconds):
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "soak_load.py")
        self.processes = [(role, subprocess.Popen(  # pylint: disable=consider-using-with
            [python, program, role, places, f"{SEED}.{phase}.{number}", str(seconds)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            for number, role in enumerate(ROLES)]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for _, process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

    def running(self):
        """False when all have ended well; raises if one has not."""
        codes = [process.poll() for _, process in self.processes]
        for code, (_, process) in zip(codes, self.processes):
            if code:
                raise AssertionError(process.stderr.read())
        return None in codes

    def done(self):
        """{action: how often}"""
        counts = {}
        for _, process in self.processes:
            for action, count in json.loads(process.stdout.read()).items():
                counts[action] = counts.get(action, 0) + count
        return counts


def put_load(python, daemon, phase, seconds, rate, every=None, watch=None):
    """(samples, counts)"""
    samples = []
    with Loads(python, daemon.places(rate), phase, seconds) as loads:
        due = time.monotonic()
        while loads.running():
            if daemon.process.poll() is not None:
                raise AssertionError(f"the daemon has ended: {daemon.process.returncode}")
            if watch:
                samples.append(watch.sample())
            due += every or 0.25
            time.sleep(max(0, due - time.monotonic()))
        return samples, loads.done()


# --- rest ---


RESTING = ("descriptors but connections", "connections", "HTTP connections", "leases of keys",
           "tracked keys", "snapshots", "versions held")


def reload(daemon, config):
    def count():
        return soak_watch.total(soak_watch.scrape(daemon.port), "sidepond_config_reloads_total")
    before = count()
    os.replace(soak_database.copy_of(config), daemon.config)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: count() > before, "the configuration is reloaded")


def rest(daemon, watch):
    """All have gone and all that waits to be done is done: the configuration is the first one, just
    after the other one, what commands leave on purpose is taken away, and the figures do not change
    any more. Returns them, and the blocks by class."""
    reload(daemon, daemon.configs[1])
    reload(daemon, daemon.configs[0])
    wait_for(lambda: daemon.rows("extra"), "the table that is in the first one only")
    with Connection(daemon.socket_path) as connection:
        for words in (["SLOWLOG", "RESET"], ["ACL", "LOG", "RESET"],
                      ["CONFIG", "SET", "tracking-table-max-keys", "1"]):
            connection.command(*words)
    seen = []

    def is_quiet():
        seen.append(watch.sample())
        last = [tuple(sample[name] for name in RESTING) for sample in seen[-5:]]
        time.sleep(0.2)
        return len(last) == 5 and len(set(last)) == 1 and last[0][2] == 0
    try:
        wait_for(is_quiet, "the daemon is at rest", REST_SECONDS)
    except AssertionError:
        for sample in seen[-5:]:
            print({name: sample[name] for name in RESTING})
        raise
    least = {name: min(sample[name] for sample in seen[-5:]) for name in seen[-1]}
    return least, watch.heap.read()[2]


# --- the whole ---


def check_pond(daemon):
    """Stopped, sound, and every unit that is in use can be reached."""
    daemon.stop()
    found = json.loads(daemon.tool("--json", "check").stdout)
    complaints = [f"sidepond check: {text}" for text in found["complaints"]]
    if not found["ok"] or not found["allocator_checked"] or found["leaked_units"] > 0:
        complaints.append(f"sidepond check: {found}")
    print(f"sidepond check: {found['entries']} entries, {found['used_units']} units in use, "
          f"{found['leaked_units']} lost")
    return complaints


def soak(python, seconds, rate, breakage=""):
    """What is wrong, as sentences."""
    warm_up = max(10, min(180, seconds / 3))
    with SoakDaemon() as daemon:
        daemon.start(environment={"LD_PRELOAD": LIBRARY, "SOAK_HEAP": daemon.heap,
                                  "SOAK_BREAK": breakage})
        watch = soak_watch.Watch(daemon.process.pid, daemon.port, daemon.heap)
        soak_load.fill(soak_load.Load(daemon.places(rate), SEED))
        put_load(python, daemon, "warm-up", warm_up, rate)
        rested, blocks = rest(daemon, watch)
        samples, counts = put_load(python, daemon, "load", seconds, rate,
                                   min(2, max(0.25, seconds / 100)), watch)
        rests, blocks_after = rest(daemon, watch)
        print(f"{seconds:g} s of load after {warm_up:g} s to warm up, {len(samples)} samples\n"
              + ", ".join(f"{action} {count}" for action, count in counts.items()))
        complaints = soak_watch.judge(samples, rested, rests, counts.get("reloads", 0))
        print("blocks at rest, more or fewer:", soak_watch.classes_grown(blocks, blocks_after) or "none")
        complaints += check_pond(daemon)
    for complaint in complaints:
        print("not flat:", complaint, flush=True)
    return complaints


# What is broken, the program, SOAK_BREAK, and what must be said of it.
FAULTS = [("one free in 1,000 is forgotten", "sidepondd", "free:1000", "heap blocks"),
          ("one close in 200 leaves a descriptor", "sidepondd", "close:200", "descriptors"),
          ("blocks of the pond are not given back", "sidepondd_broken_space", "", "sidepond check")]


def find_faults(python, seconds, rate):
    """Which were not found out."""
    missed = []
    for faults in [[fault] for fault in FAULTS] if LONG else [FAULTS]:
        print("---", "; ".join(name for name, _, _, _ in faults), flush=True)
        program = next((program for _, program, _, _ in faults if program != "sidepondd"), "sidepondd")
        daemon_kit.PROGRAM = os.path.join(BUILD, "bin", program)
        breakage = ",".join(breakage for _, _, breakage, _ in faults)
        complaints = soak(python, seconds, rate, breakage)
        missed += [f"not found out: {name}" for name, _, _, word in faults
                   if not any(complaint.startswith(word) for complaint in complaints)]
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float, default=1)
    parser.add_argument("--python", help="one that has the package sidepond")
    parser.add_argument("--faults", action="store_true")
    arguments = parser.parse_args()
    if not os.path.exists(LIBRARY):
        print(f"skipped: there is no {LIBRARY}")
        return 77
    print(f"SIDEPOND_SEED={SEED}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sidepond-soak.") as directory:
        tree = Path(os.environ.get("SIDEPOND_SOURCE_DIR", Path(__file__).resolve().parents[2]))
        python = arguments.python or python_package.install(Path(directory), tree)
        if arguments.faults:
            wrong = find_faults(python, arguments.seconds or 8, arguments.rate)
        else:
            seconds = arguments.seconds or (900 if LONG else 16)
            wrong = soak(python, seconds, arguments.rate)
    print("\n".join(wrong) or "the soak is as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
