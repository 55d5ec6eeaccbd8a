#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_python_read.py - a read from a pond in Python, beside py-lmdb and a dict.

Data A is 1,000,000 rows of a 24-byte text key and a 100-byte value, B 10,000 of the same. The package
is built and installed by pip in a virtual environment, as a user does it. The keys to ask for are
drawn at random before the clock starts, and made one after the other (for B as many as there are
rows, again and again, so that they leave it room in the processor's cache); whatever is measured is
called once for each key in a plain for loop. All take turns in rounds, and the median of the rounds
counts.

    value as bytes   table.raw(key)          py-lmdb: transaction.get(key) in one open transaction, its
                                             fastest way
    one column       table.getter("v")(key), and also table[key]["v"], which makes a Row each time
    dict             of the same keys and values in this process: the limit

Options: --json, --quick (small data).
"""
import json
import random
import subprocess
import sys
import time

import python_bench

ROUNDS = 9
READS = 300_000
KEYS = {"A": 300_000, "B": 10_000}
TABLES = {"A": 1_000_000, "B": 10_000}
QUICK_TABLES = {"A": 50_000, "B": 5_000}
REACH = {"A": 2.5, "B": 5.0}
REACH_COLUMN = 1.5


# --- in the virtual environment ---


def key_of(number):
    """As rows_key() of common/rows.c."""
    return f"customer:{number * 2654435761 & 0xffffffff:010d}:{number % 10000:04d}"


def nanoseconds(get, keys):
    """Of one read. Not by the wall clock: others may run beside us."""
    times = READS // len(keys)
    start = time.process_time()
    for _ in range(times):
        for key in keys:
            get(key)
    return (time.process_time() - start) / times / len(keys) * 1e9


def column_of(table):
    def get(key):
        return table[key]["v"]
    return get


def fill_lmdb(path, table):
    import lmdb
    environment = lmdb.open(path, map_size=1 << 30, sync=False)
    with environment.begin(write=True) as transaction:
        for key in sorted(table):
            transaction.put(key.encode(), table.raw(key))
    return environment


def check(ways, keys):
    """All ways give the same value."""
    for key in keys[:1000]:
        values = {get(key.encode() if name == "py-lmdb" else key) for name, get in ways.items()}
        if len(values) != 1 or len(values.pop()) != 100:
            sys.exit(f"key {key}: the values differ")


def measure_table(name, directory, rows):
    """Nanoseconds of each way, medians."""
    import sidepond
    table = sidepond.open(f"{directory}/{name}")["t"]
    environment = fill_lmdb(f"{directory}/{name}.lmdb", table)
    private = {key: table.raw(key) for key in table}
    transaction = environment.begin()
    ways = {"raw": table.raw, "py-lmdb": transaction.get, "getter": table.getter("v"),
            "row": column_of(table), "dict": private.__getitem__}
    numbers = random.Random(1).choices(range(rows), k=KEYS[name])
    keys = [key_of(number) for number in numbers]
    encoded = [key.encode() for key in keys]
    check(ways, keys)
    medians = python_bench.medians(
        ways, ROUNDS, lambda way: nanoseconds(ways[way], encoded if way == "py-lmdb" else keys))
    BENCH.note(f"{name}: " + ", ".join(f"{way} {ns:.0f} ns" for way, ns in medians.items()))
    return medians


def row(what, ours, peer, ratio, reach, ok):
    return {"what": what, "ours": round(ours, 1), "peer": round(peer, 1), "unit": "ns",
            "ratio": round(ratio, 3), "reach": reach, "ok": ok}


def rows_of(name, ns):
    faster = ns["py-lmdb"] / ns["raw"]
    column = ns["getter"] / ns["raw"]
    return [
        row(f"value as bytes, {name}, times faster than py-lmdb", ns["raw"], ns["py-lmdb"], faster,
            f">= {REACH[name]:.2f}", faster >= REACH[name]),
        row(f"one column, {name}, against the value as bytes", ns["getter"], ns["raw"], column,
            f"<= {REACH_COLUMN:.2f}", column <= REACH_COLUMN),
        row(f"one column of a Row, {name}, against the value as bytes", ns["row"], ns["raw"],
            ns["row"] / ns["raw"], "-", True),
        row(f"value as bytes, {name}, against a dict", ns["raw"], ns["dict"],
            ns["raw"] / ns["dict"], "-", True),
    ]


def measure(directory, tables):
    rows = []
    for name, count in json.loads(tables).items():
        rows += rows_of(name, measure_table(name, directory, count))
    return rows


# --- around it ---


def make(work, quick):
    tables = QUICK_TABLES if quick else TABLES
    for name, count in tables.items():
        subprocess.run([python_bench.BIN / "bench_pond", work / name, str(count)], check=True)
    return [work, json.dumps(tables)], []


BENCH = python_bench.Bench("python-read", __file__, "lmdb", measure, make)

if __name__ == "__main__":
    sys.exit(BENCH.main())
