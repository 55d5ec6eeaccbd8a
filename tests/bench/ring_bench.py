# SPDX-License-Identifier: Apache-2.0
"""ring_bench.py - options and rows of the ring's benchmarks that are scripts."""
import argparse

import bench_result


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small data: seconds, not to be quoted")
    parser.add_argument("--long", action="store_true", help="what takes long in its full length")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    return parser.parse_args()


def row(what, ours, peer, unit, reach=None, at_least=False):
    """`reach` is the most, or the least, that ours may be; None: the row only informs. A ratio to a
    peer of 0 is none."""
    if reach is None:
        reached = True
    else:
        reached = ours is not None and (ours >= reach if at_least else ours <= reach)
    return {"what": what, "ours": ours, "peer": peer, "unit": unit,
            "ratio": ours / peer if peer and ours is not None else None, "reach": reach,
            "ok": reached}


def finish(name, rows, given):
    return bench_result.finish(name, rows, given.json)
