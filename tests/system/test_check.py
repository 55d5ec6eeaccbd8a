#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_check.py - Goal: `sidepond check` of a pond that is written to all the time complains of what
is damaged, and of nothing else.
Method: a cache server, clients that set, delete, expire and flush as fast as they can, and the tool
over and over: first with few large values, where a change falls into nearly every look, then with
many keys, so that the index grows and is thrown away. At last bytes of the pond are changed from
outside, beside the same writers.

    test_check.py write SOCKET SEED KEYS VALUE_BYTES FLUSHES     writes until its input is closed
"""
import json
import os
import random
import re
import select
import subprocess
import sys
import time
import unittest

from daemon_kit import TOOL, wait_for
from resp_servers import Ours, have_ours
from resp_wire import Connection, request

SECONDS = 30 if os.environ.get("SIDEPOND_LONG") else 3
SEED = os.environ.get("SIDEPOND_SEED") or str(random.SystemRandom().randrange(1 << 32))
BATCH = 300
MARK = b"a value that nobody writes again"


def batch(rng, keys, value_bytes):
    lines = []
    for _ in range(BATCH):
        key, value = f"key{rng.randrange(keys)}", "x" * rng.randrange(1, value_bytes)
        lines.append(rng.choice([["SET", key, value], ["SET", key, value], ["DEL", key],
                                 ["SET", key, value, "PX", rng.randrange(1, 200)]]))
    return b"".join(map(request, lines))


def write(address, seed, keys, value_bytes, flushes):
    """Sends prepared batches until its input is closed."""
    rng = random.Random(seed)
    batches = [batch(rng, keys, value_bytes) for _ in range(20)] + [request(["FLUSHALL"])] * flushes
    with Connection(address) as connection:
        while not select.select([sys.stdin], [], [], 0)[0]:
            data = rng.choice(batches)
            connection.send(data)
            for _ in range(BATCH if len(data) > BATCH else 1):
                assert connection.read()[0] != "-"


class Writer:
    """A process that writes."""

    def __init__(self, server, number, *arguments):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, os.path.abspath(__file__), "write", server.unix, f"{SEED}/{number}",
             *map(str, arguments)], stdin=subprocess.PIPE)

    def end(self):
        self.process.communicate(timeout=30)
        return self.process.returncode == 0


@unittest.skipUnless(have_ours() and os.access(TOOL, os.X_OK), "no resp_server or no tool was built")
class CheckTest(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(Ours(threads=2))
        self.pond = os.path.join(self.server.directory, "pond")

    def write(self, keys, value_bytes, flushes=0, writers=2):
        for number in range(writers):
            writer = Writer(self.server, number, keys, value_bytes, flushes)
            self.addCleanup(lambda writer=writer: self.assertTrue(writer.end()))
        with Connection(self.server.tcp) as connection:
            wait_for(lambda: connection.command("DBSIZE")[1] > 0, "the writers write")

    def check(self):
        done = subprocess.run([TOOL, "-p", self.pond, "check", "--json"], stdout=subprocess.PIPE,
                              check=False, timeout=60)
        report = json.loads(done.stdout)
        self.assertTrue(report["live"])
        self.assertEqual(done.returncode == 0, report["ok"])
        return report

    def check_often(self):
        runs, entries, end = 0, 0, time.monotonic() + SECONDS
        with Connection(self.server.tcp) as connection:
            while time.monotonic() < end:
                report = self.check()
                self.assertEqual(report["complaints"], [], f"run {runs}, seed {SEED}")
                found = connection.command("SIDEPOND", "CHECK")[1]
                self.assertIn(("$", b"sound"), found)
                self.assertEqual(found[found.index(("$", b"sound")) + 1], (":", 1), found)
                runs, entries = runs + 1, max(entries, report["entries"])
        self.assertGreater(runs, 0)
        self.assertGreater(entries, 0)
        print("runs:", runs, "most entries:", entries)

    def test_few_keys(self):
        self.write(1000, 20000, writers=1)
        self.check_often()

    def test_an_index_that_grows_and_goes(self):
        self.write(20000, 300, flushes=1)
        self.check_often()

    def test_damage_is_seen(self):
        with Connection(self.server.tcp) as connection:
            connection.command("SET", "marked", MARK)
        self.write(1000, 2000)
        self.assertEqual(self.check()["complaints"], [])
        self.damage()
        for _ in range(5):
            report = self.check()
            self.assertEqual(report["complaint_count"], 1, report)
            self.assertRegex(report["complaints"][0], "^table .cache: entry at unit [0-9]+: bounds or "
                                                      "checksum are wrong$")

    def damage(self):
        """The marked value is another one, without a change of its checksum; also where it was before
        it was moved."""
        with open(os.path.join(self.pond, "pond"), "r+b") as pond:
            places = list(self.find(pond))
            self.assertGreater(len(places), 0)
            while places:  # it may have been moved meanwhile
                for at in places:
                    os.pwrite(pond.fileno(), b"A", at)
                places = list(self.find(pond))

    def find(self, pond):
        """In the parts of the file that there are."""
        at, size, tail = 0, os.fstat(pond.fileno()).st_size, b""
        while at < size:
            try:
                at = os.lseek(pond.fileno(), at, os.SEEK_DATA)
            except OSError:  # there is no more
                return
            end = os.lseek(pond.fileno(), at, os.SEEK_HOLE)
            while at < end:
                piece = os.pread(pond.fileno(), min(1 << 20, end - at), at)
                text, begin = tail + piece, at - len(tail)
                for found in re.finditer(re.escape(MARK), text):
                    yield begin + found.start()
                at, tail = at + len(piece), text[1 - len(MARK):]
            tail = b""


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(*sys.argv[2:4], *map(int, sys.argv[4:]))
    else:
        print(f"SIDEPOND_SEED={SEED}", flush=True)
        unittest.main()
