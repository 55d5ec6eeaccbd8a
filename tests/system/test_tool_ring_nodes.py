#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: the sidepond tool's ring commands on a ring of sidepondd nodes in ZooKeeper: drain, undrain and
weight move slots, where tells who has a key, repair --check sees copies that differ, and a host's
daemon tells of the ring. Method: a real ZooKeeper and three real nodes. Ends what it started by its
id."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import zookeeper_kit
from resp_wire import Connection

BUILD = Path(os.environ["SIDEPOND_BUILD_DIR"])
TOOL = str(BUILD / "bin/sidepond")
SLOTS = 256
SECONDS = 40

CONFIG = """
pond: {name}
directory: {directory}/{name}
memory: 32MiB
cache: {{memory: 16MiB, listen: ["127.0.0.1:{port}"]}}
ring:
  zookeeper: "{servers}"
  cluster: test
  node: {name}
  address: "127.0.0.1:{port}"
  slots: {slots}
  session: 1s
  compare: 1h
"""


def ask(port, *words):
    """One request; its reply as the first line of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        request = b"*%d\r\n" % len(words)
        for word in words:
            request += b"$%d\r\n%s\r\n" % (len(str(word)), str(word).encode())
        connection.sendall(request)
        return connection.makefile("rb").readline().decode().strip()


class NodesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Path(tempfile.mkdtemp(prefix="sidepond-tool-nodes-", dir="/dev/shm"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.zookeeper = zookeeper_kit.Ensemble(1)
        cls.zookeeper.__enter__()
        cls.addClassCleanup(cls.zookeeper.__exit__, None, None, None)
        cls.environment = {k: v for k, v in os.environ.items() if not k.startswith("SIDEPOND_")}
        cls.environment.update(SIDEPOND_ZOOKEEPER=cls.zookeeper.servers, SIDEPOND_CLUSTER="test")
        cls.ports = dict(zip("abc", zookeeper_kit.free_ports(3)))
        cls.processes = {}
        for name in "abc":
            cls.start(name)
        cls.await_complete()

    @classmethod
    def start(cls, name):
        file = cls.directory / f"{name}.yaml"
        file.write_text(CONFIG.format(name=name, directory=cls.directory, port=cls.ports[name],
                                      servers=cls.zookeeper.servers, slots=SLOTS))
        with open(cls.directory / f"{name}.log", "ab") as log:
            cls.processes[name] = subprocess.Popen([BUILD / "bin/sidepondd", file], stdout=log,
                                                   stderr=log, stdin=subprocess.DEVNULL)
        cls.addClassCleanup(cls.end, cls.processes[name])

    @classmethod
    def end(cls, process):
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(20)

    @classmethod
    def run_tool(cls, *words, **environment):
        patient = [] if "drill" in words else ["--timeout", "10s"]  # this machine may be busy
        return subprocess.run([TOOL, "ring", *patient, *words], capture_output=True, timeout=90, text=True,
                              stdin=subprocess.DEVNULL, env={**cls.environment, **environment},
                              check=False)

    @classmethod
    def await_complete(cls, nodes=3):
        deadline = time.monotonic() + SECONDS
        while True:
            result = cls.run_tool("--json", "--wait", "10s")
            if result.returncode == 0 and len(json.loads(result.stdout)["nodes"]) == nodes:
                return json.loads(result.stdout)
            if time.monotonic() > deadline:
                logs = "".join(f.read_text()[-2000:] for f in cls.directory.glob("*.log"))
                raise AssertionError(f"{result}\n{logs}")
            time.sleep(0.05)

    def text(self, *words, code=0, **environment):
        result = self.run_tool(*words, **environment)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout

    def json(self, *words, code=0):
        return json.loads(self.text("--json", *words, code=code))

    def test_picture_and_keys(self):
        ring = self.await_complete()
        self.assertEqual((ring["slots"], ring["kind"], ring["zookeeper_away"]),
                         (SLOTS, "sidepondd", False))
        self.assertEqual(sum(n["held_slots"] for n in ring["nodes"]), 2 * SLOTS)
        pids = {n["name"]: n["process_id"] for n in ring["nodes"]}
        self.assertEqual(pids, {n: p.pid for n, p in self.processes.items()})
        self.assertIn("2 of 2", self.text("set", "key", "value"))
        where = self.json("where", "key")
        self.assertEqual([n["has"] for n in where["nodes"]], ["yes", "yes"])
        other = next(n for n in "abc" if n not in [w["name"] for w in where["nodes"]])
        self.assertEqual(ask(self.ports[other], "GET", "key"), "$5")  # asks a holder
        self.assertEqual(self.text("call", "incrby", "number", "4"), "4\n")
        self.text("del", "key", "number")
        self.text("where", "key", code=1)

    def test_the_ponds_daemon_tells_of_the_ring(self):
        text = self.text("--pond", str(self.directory / "a"))
        self.assertIn("redundancy complete", text)

    def test_drain_undrain_weight(self):
        for n in range(50):
            self.text("call", "set", f"moved{n}", "v") if n < 3 else ask(
                self.ports["a"], "SET", f"moved{n}", "v")
        self.assertEqual(self.json("drain", "c", "--wait", "60s")["held_slots"], 0)
        ring = self.json("--wait", "10s")
        self.assertEqual([n["state"] for n in ring["nodes"]], ["ready", "ready", "drained"])
        self.assertEqual([n["held_slots"] for n in ring["nodes"]], [SLOTS, SLOTS, 0])
        self.assertEqual([n["keys"] for n in ring["nodes"]][:2], [50, 50])
        self.text("undrain", "c")
        self.text("weight", "a", "50")
        deadline = time.monotonic() + SECONDS
        while True:
            ring = self.await_complete()
            held = {n["name"]: n["held_slots"] for n in ring["nodes"]}
            if held["c"] > 0 and held["a"] < held["b"]:
                break
            self.assertLess(time.monotonic(), deadline, ring)
        self.assertAlmostEqual(held["a"] / (2 * SLOTS), 50 / 250, delta=0.02)
        self.text("weight", "a", "0")
        while self.await_complete()["nodes"][0]["held_slots"] < SLOTS // 2:
            self.assertLess(time.monotonic(), deadline + SECONDS)
        self.assertIn("all copies equal", self.text("repair", "--check", "--wait", "20s"))

    def test_repair_sees_what_differs(self):
        ring = self.await_complete()
        self.text("set", "odd", "1")
        holder = self.json("where", "odd")["nodes"][1]["name"]
        self.assertTrue(self.json("repair", "--wait", "20s")["equal"])
        version = int((time.time() * 1000 - 1704067200000)) << 8
        with Connection(("127.0.0.1", self.ports[holder]), 10) as link:
            link.command("SIDEPOND", "ATTACH", ring["epoch"])
            self.assertEqual(link.command("SIDEPOND", "PUT", ring["epoch"], version, 0, "odd",
                                          "2")[0], ":")
        found = self.json("repair", "--check", code=1)
        self.assertEqual(found["differing_slots"], 1, found)
        self.assertIn("differ", found["differences"][0])
        self.text("set", "odd", "3")  # newer than both
        self.assertTrue(self.json("repair", "--check", "--wait", "20s")["equal"])

    def test_zookeeper_away(self):
        self.zookeeper.pause(0)
        try:
            result = self.run_tool("--zookeeper", self.zookeeper.servers, "--timeout", "300ms")
            self.assertEqual(result.returncode, 3, result)
            self.assertIn("redundancy complete",
                          self.text("--pond", str(self.directory / "b"), SIDEPOND_ZOOKEEPER=""))
        finally:
            self.zookeeper.resume(0)
        self.await_complete()

    def test_drill_stop(self):
        self.await_complete()
        done = self.json("drill", "--yes-this-is-a-test-ring", "--node", "b", "--time", "600ms")
        self.assertTrue(done["passed"], done)
        self.assertEqual((done["stale_reads"], done["lost_writes"]), (0, 0))


if __name__ == "__main__":
    if not zookeeper_kit.available():
        print("no ZooKeeper here")
        sys.exit(77)
    unittest.main()
