# SPDX-License-Identifier: Apache-2.0
"""bench_rows.py - options and rows of the benchmarks that are scripts; common/bench.h has those of the
others."""
import argparse
import json


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="small data: seconds, not to be quoted")
    parser.add_argument("--long", action="store_true", help="what takes long in its full length")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    return parser.parse_args()


def row(what, ours, peer, unit, reach=None, at_least=False):
    """`reach` is the most, or the least, that the ratio to the peer may be, or ours where there is no
    peer; None: the row only informs. A ratio to a peer of 0 is none, nor is one of ours that is None."""
    ratio = ours / peer if peer and ours is not None else None
    judged = ours if peer is None else ratio
    reached = reach is None or (
        judged is not None and (judged >= reach if at_least else judged <= reach))
    sign = ">=" if at_least else "<="
    return {"what": what, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio,
            "reach": "-" if reach is None else f"{sign} {reach:g}", "ok": reached}


def finish(name, rows, given):
    """Prints the rows; the exit status."""
    if given.json:
        print(json.dumps({"bench": name, "rows": rows}))
    else:
        for line in rows:
            print("\t".join(str(value) for value in line.values()))
    return 0 if all(line["ok"] for line in rows) else 1
