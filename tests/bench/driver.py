#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""driver.py - what tests/bench/run calls: builds the release preset, runs one benchmark and judges its rows.

Every benchmark is a program bench_NAME of the build or a script bench_NAME.py beside this file
(- becomes _), called with --json. It prints one object:

    {"bench": NAME, "rows": [{"what", "ours", "peer", "unit", "ratio", "reach", "ok"}]}

Its peers are measured in the same run. The exit status is 1 where a row misses its figure.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release"
NAMES = {
    "local-read": "get, batches and many readers against a private hash table and LMDB",
    "python-read": "the same from Python, against py-lmdb",
    "document": "one field of a document of 50 fields, in C and in Python, against decoding it",
    "load": "the first load from each database against only reading the rows",
    "refresh": "a refresh with nothing changed, and the way of 1,000 changed rows to a reader",
    "feed": "from a commit in the database to shared memory, and how many changed rows a second",
    "relief": "queries a second that the database sees of eight busy workers, with and without a pond",
    "memory": "memory taken, everything counted, against key and value bytes",
    "alloc": "allocate and free against jemalloc, in time and in memory",
    "hit-ratio": "the cache's hit ratio against Redis' and memcached's rules, simulated, at equal memory",
    "recovery": "from kill -9 of the daemon until it serves again",
    "resp": "GET and SET through sockets against Redis, memcached and a server that does nothing else",
    "latency": "p99 and p99.9 of GET and SET at half of Redis' peak rate",
    "cache-read": "get and batches of the cache from shared memory, against those of a table",
    "cache-memory": "memory that an entry takes, against Redis and memcached",
    "expiry": "a million entries that expire in the same second: the longest stall of a GET",
    "ring-client": "the ring's client against plain hiredis, many keys against one, two copies against one",
    "ring-failover": "a node of a ring is killed or stopped under load, beside Redis Cluster and Sentinel",
    "ring-join": "an empty node joins a ring under load: misses that are wrong, and the hit ratio",
    "ring-repair": "a node of a ring is lost: how long until each of a million keys has two copies again",
    "warm-restart": "from kill -9 with a million entries until a GET is answered right again",
    "ring-balance": "the ring's map against virtual points: balance, movement and time",
}
COLUMNS = ("what", "ours", "peer", "unit", "ratio", "reach", "ok")


def note(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def build():
    """The build's output is shown where it fails; stdout is for the result."""
    note("building the release preset")
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release"]):
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            sys.exit(done.stdout + f"\n{' '.join(command)} failed")


def command_of(name):
    stem = "bench_" + name.replace("-", "_")
    script = ROOT / "tests/bench" / (stem + ".py")
    if script.exists():
        return ["/usr/bin/python3", str(script)]
    program = BUILD / "bin" / stem
    return [str(program)] if program.exists() else None


def measure(name, options):
    command = command_of(name)
    if command is None:
        sys.exit(f"the build has no benchmark {name}")
    note("running " + " ".join([*command, "--json", *options]))
    environment = {**os.environ, "SIDEPOND_SOURCE_DIR": str(ROOT), "SIDEPOND_BUILD_DIR": str(BUILD)}
    done = subprocess.run([*command, "--json", *options], stdout=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, env=environment, cwd=ROOT)
    if done.returncode not in (0, 1):
        sys.exit(f"{name} ended with status {done.returncode}")
    return json.loads(done.stdout)


def shown(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_table(rows):
    table = [COLUMNS] + [tuple(shown(row.get(c)) for c in COLUMNS) for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
    for line in table:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("  ".join(cells).rstrip())


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Runs one benchmark and judges its rows.")
    parser.add_argument("name", nargs="?", choices=sorted(NAMES), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small data: seconds, not to be quoted")
    parser.add_argument("--long", action="store_true", help="ring-failover: ZooKeeper is away for ten minutes")
    parser.add_argument("--no-install", action="store_true", help="install no packages (see tests/bench/run)")
    arguments = parser.parse_args()
    if arguments.list:
        for name, what in NAMES.items():
            print(f"{name:13} {what}")
        return 0
    if arguments.name is None:
        parser.error("which benchmark? (--list names them)")
    build()
    result = measure(arguments.name, ["--" + name for name in ("quick", "long") if vars(arguments)[name]])
    if arguments.json:
        print(json.dumps(result))
    else:
        print_table(result["rows"])
    return 0 if all(row["ok"] for row in result["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
