#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_document.py - one field of a document of 50 fields out of a pond, in C and in Python, beside
decoding the whole document.

The C part is bench_document_c of the build. In Python the package is built and installed by pip in a
virtual environment, as a user does it; the pond is one that bench_document_c has made. The keys and
the fields, one anywhere in the document, are drawn before the clock starts. All take turns in rounds,
by processor time, and the median of the rounds counts; that they give the same is checked before.

    a field      getter(path)(key), one getter for each field; and table[key].field(path), which makes
                 a Row
    our decoder  table[key]["document"][path]
    bson.decode  of pymongo, with its C extension (Debian's python3-bson-ext), on the same bytes:
                 table[key].view in a snapshot would be as quick; here raw(key) without its one head

Options: --json, --quick (few documents).
"""
import json
import random
import subprocess
import sys
import time

import python_bench

PROGRAM = python_bench.BIN / "bench_document_c"
ROUNDS = 9
READS = 20_000
DOCUMENTS = 20_000
FIELDS = 50
REACH = 5.0


# --- in the virtual environment ---


def plain(value):
    """ObjectIds of both kinds as bytes, dates without a zone."""
    if hasattr(value, "binary"):
        return value.binary
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def ways_of(table):
    import bson
    getters = {path: table.getter(path) for path in (f"field_{i:02}" for i in range(FIELDS))}
    raw = table.raw  # the only column beside the key is the document: a row is its bytes
    decode = bson.decode if hasattr(bson, "decode") else bson.BSON.decode
    if not bson.has_c():
        BENCH.note("pymongo's C extension is not there")
    return {
        "getter": lambda key, path: getters[path](key),
        "field": lambda key, path: table[key].field(path),
        "dict": lambda key, path: table[key]["document"][path],
        "pymongo": lambda key, path: decode(raw(key))[path],
    }


def nanoseconds(get, requests):
    """Of one read. Not by the wall clock: others may run beside us."""
    start = time.process_time()
    for key, path in requests:
        get(key, path)
    return (time.process_time() - start) / len(requests) * 1e9


def measure(directory, reads):
    import sidepond
    table = sidepond.open(directory)["documents"]
    ways = ways_of(table)
    draw = random.Random(1)
    keys = list(table)
    requests = [(draw.choice(keys), f"field_{draw.randrange(FIELDS):02}") for _ in range(int(reads))]
    for key, path in requests[:2000]:
        values = [plain(get(key, path)) for get in ways.values()]
        if any(value != values[0] for value in values):
            sys.exit(f"{path} of {key}: {values}")
    medians = python_bench.medians(ways, ROUNDS, lambda way: nanoseconds(ways[way], requests))
    BENCH.note(", ".join(f"{way} {ns:.0f} ns" for way, ns in medians.items()))
    return rows_of(medians)


def row(what, ours, peer, reach):
    ratio = peer / ours
    return {"what": what, "ours": round(1e9 / ours, 1), "peer": round(1e9 / peer, 1),
            "unit": "reads/s", "ratio": round(ratio, 3), "reach": f">= {reach:.2f}" if reach else "-",
            "ok": not reach or ratio >= reach}


def rows_of(ns):
    return [
        row("Python: one field of 50, against pymongo's decode", ns["getter"], ns["pymongo"], REACH),
        row("Python: one field of 50, against our own dict", ns["getter"], ns["dict"], REACH),
        row("Python: one field of a Row, against pymongo's decode", ns["field"], ns["pymongo"], None),
        row("Python: one field of a Row, against our own dict", ns["field"], ns["dict"], None),
        row("Python: the whole as a dict, against pymongo's decode", ns["dict"], ns["pymongo"], None),
    ]


# --- around it ---


def rows_of_c(quick):
    done = subprocess.run([PROGRAM, "--json", *(["--quick"] if quick else [])],
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"bench_document_c ended with status {done.returncode}")
    return json.loads(done.stdout)["rows"]


def make(work, quick):
    rows = rows_of_c(quick)
    count = DOCUMENTS // 10 if quick else DOCUMENTS
    subprocess.run([PROGRAM, "--pond", work / "pond", str(count)], check=True)
    return [f"{work}/pond/", READS // 10 if quick else READS], rows


BENCH = python_bench.Bench("document", __file__, "bson", measure, make)

if __name__ == "__main__":
    sys.exit(BENCH.main())
