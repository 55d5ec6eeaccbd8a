# SPDX-License-Identifier: Apache-2.0
"""ring_summary.py - what the runs of ring_faults.py amount to: for each fault, and in all, how many
runs and operations there were, how many reads and acknowledged writes, what the checker's rules
objected to, and the slowest read. A run with two faults counts for each of them.

A record of a run is {"seed", "faults", "seconds", "reads", "writes", "acknowledged",
"slowest_read_ms", "repeated", "found"}; `found` is what was objected to by rule, and "run" if it
did not come to its end, and has then no figures. "repeated" is how often it was made again, and is
not counted, as the machine stood still.
"""
import json

import ring_kit

FIGURES = ("runs", "repeated", "operations", "reads", "acknowledged", "slowest_read_ms")
RULES = (*ring_kit.RULES, "run")


def add(row, record):
    row["runs"] += 1
    row["repeated"] += record.get("repeated", 0)
    row["operations"] += record.get("reads", 0) + record.get("writes", 0)
    row["reads"] += record.get("reads", 0)
    row["acknowledged"] += record.get("acknowledged", 0)
    row["slowest_read_ms"] = max(row["slowest_read_ms"], record.get("slowest_read_ms", 0))
    for rule in RULES:
        found = record["found"].get(rule, 0)
        row[rule] += 1 if isinstance(found, str) else found
    row["failed_seeds"] += [record["seed"]] if record["found"] else []


def empty():
    return {**dict.fromkeys(FIGURES + RULES, 0), "failed_seeds": []}


def summary(records):
    """{"faults": {name: row}, "all": row}"""
    faults, total = {}, empty()
    for record in records:
        add(total, record)
        for fault in dict.fromkeys(record["faults"]):
            add(faults.setdefault(fault, empty()), record)
    return {"faults": dict(sorted(faults.items())), "all": total}


def print_table(found):
    heads = {"operations": "ops", "acknowledged": "acked", "slowest_read_ms": "slowest ms",
             "failed_reads": "f.reads", "failed_writes": "f.writes", "false_misses": "misses"}
    columns = FIGURES + RULES
    print(f"{'fault':18}" + "".join(f"{heads.get(name, name):>11}" for name in columns[:6])
          + "".join(f"{heads.get(name, name):>9}" for name in columns[6:]))
    for name, row in [*found["faults"].items(), ("all", found["all"])]:
        print(f"{name:18}" + "".join(f"{round(row[column], 1):>11}" for column in columns[:6])
              + "".join(f"{row[column]:>9}" for column in columns[6:]))


def write_json(path, head, records, found):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**head, **found, "runs": records}, file, indent=1)
        file.write("\n")
