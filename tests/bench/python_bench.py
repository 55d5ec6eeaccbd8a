# SPDX-License-Identifier: Apache-2.0
"""python_bench.py - what the benchmarks of the Python package share: the package is built and
installed by pip in a virtual environment, as a user does it, and the benchmark runs itself in there,
with --measure and words of its own.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_result import finish

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
import python_package  # pylint: disable=wrong-import-position

TREE = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SIDEPOND_BUILD_DIR", TREE / "build/release")) / "bin"


class Bench:
    """`name` of it; `script` is its file; `peer` a module that must be there. `make` fills a directory
    and returns words for --measure, and the rows that are known by then; `measure` gives the rest of
    the rows, from those words."""

    def __init__(self, name, script, peer, measure, make):
        self.name, self.script, self.peer = name, script, peer
        self.measure, self.make = measure, make

    def note(self, text):
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def _run(self, quick):
        with tempfile.TemporaryDirectory(prefix="sidepond-bench.", dir="/dev/shm") as directory:
            words, rows = self.make(Path(directory), quick)
            self.note("pip install ./client/python")
            python = python_package.install(Path(directory), TREE)
            done = subprocess.run([python, self.script, "--measure", *map(str, words)], check=True,
                                  stdout=subprocess.PIPE, text=True)
        return rows + json.loads(done.stdout)

    def main(self):
        """The exit status."""
        if sys.argv[1:2] == ["--measure"]:
            print(json.dumps(self.measure(*sys.argv[2:])))
            return 0
        try:
            __import__(self.peer)
        except ImportError:
            self.note(f"skipped: python3-{self.peer} is not installed")
            return 77
        return finish(self.name, self._run("--quick" in sys.argv), "--json" in sys.argv)


def medians(ways, rounds, nanoseconds):
    """Of each of the ways, which take turns."""
    taken = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            taken[way].append(nanoseconds(way))
    return {way: statistics.median(values) for way, values in taken.items()}
