#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Eight processes want the same slow result at the same time; one of them computes it.

    python3 single_flight.py --pond main --processes 8

The pond needs a cache (`cache: {}` in the daemon's configuration). Each process says how long it
waited, and whether it was the one.
"""
import argparse
import os
import time

import sidepond


def report(year):
    time.sleep(0.5)  # a query that takes long
    return {"year": year, "total": year * 365, "computed by": os.getpid()}


def ask(pond, year):
    cached_report = pond.cache.cached(ttl=60, stale=10)(report)
    began = time.monotonic()
    result = cached_report(year)
    who = "here" if result["computed by"] == os.getpid() else "by another process"
    print(f"{os.getpid()}: {result['total']} after {time.monotonic() - began:.2f} s, computed {who}",
          flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pond", default="main")
    parser.add_argument("--processes", type=int, default=8)
    arguments = parser.parse_args()
    pond = sidepond.open(arguments.pond, wait=10)  # before the fork: all share the mapping
    year = time.localtime().tm_year
    pond.cache.cached(ttl=60)(report).forget(year)
    children = []
    for _ in range(arguments.processes):
        child = os.fork()
        if child == 0:
            ask(pond, year)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
