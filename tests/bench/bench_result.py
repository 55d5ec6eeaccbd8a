# SPDX-License-Identifier: Apache-2.0
"""bench_result.py - how a benchmark that is a script tells its rows."""
import json


def finish(name, rows, as_json):
    """Prints them, as driver.py reads them or one a line; the exit status."""
    if as_json:
        print(json.dumps({"bench": name, "rows": rows}))
    else:
        for line in rows:
            print("  ".join(str(value) for value in line.values()))
    return 0 if all(line["ok"] for line in rows) else 1
