#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: the sidepond tool's ring commands show what a ring is, and do to it what they say. Method:
three real redis-servers under a fixed list of nodes; what the tool prints is compared with what the
servers hold, which lose keys, hang, die and are asked for what they have. Ends what it started by
its id."""
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from ports import free_port

BUILD = Path(os.environ["SIDEPOND_BUILD_DIR"])
TOOL = str(BUILD / "bin/sidepond")
KEYS = 300


class Redis:
    """One redis-server, without a file."""

    def __init__(self, name, directory, password=None):
        self.name, self.port, self.password = name, free_port(), password
        self.log = directory / f"{name}.log"
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                 "--appendonly", "no", "--dir", str(directory), "--logfile", str(self.log)]
        if password:
            words += ["--requirepass", password]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.await_answer()

    def await_answer(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.call("PING") == "PONG":
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{self.name} does not start: {self.log.read_text()}")
            time.sleep(0.01)

    def call(self, *words):
        """A reply as text, a number, a list or None."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            file = connection.makefile("rwb")
            if self.password:
                self.say(file, "AUTH", self.password)
            return self.say(file, *words)

    def say(self, file, *words):
        file.write(b"*%d\r\n" % len(words))
        for word in words:
            raw = word if isinstance(word, bytes) else str(word).encode()
            file.write(b"$%d\r\n%s\r\n" % (len(raw), raw))
        file.flush()
        return self.reply(file)

    def reply(self, file):
        line = file.readline()[:-2].decode()
        if not line:
            raise ConnectionResetError("closed")
        if line[0] == "*":
            return [self.reply(file) for _ in range(int(line[1:]))]
        if line[0] == "$":
            size = int(line[1:])
            return file.read(size + 2)[:-2].decode() if size >= 0 else None
        if line[0] == "-":
            raise RuntimeError(line)
        return int(line[1:]) if line[0] == ":" else line[1:]

    def end(self, how=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        self.process.wait(20)


class RingTest(unittest.TestCase):
    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="sidepond-tool-ring-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.nodes = {}
        for name in "abc":
            self.nodes[name] = Redis(name, self.directory)
            self.addCleanup(self.nodes[name].end)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SIDEPOND_")}
        self.environment["SIDEPOND_NODES"] = self.node_list()
        self.environment["TERM"] = "xterm"

    def node_list(self):
        return ",".join(f"{n.name}=127.0.0.1:{n.port}" for n in self.nodes.values())

    def run_tool(self, *words, code=0):
        patient = [] if "drill" in words else ["--timeout", "10s"]  # this machine may be busy
        result = subprocess.run([TOOL, "ring", "--redis", *patient, *words], capture_output=True,
                                stdin=subprocess.DEVNULL, env=self.environment, timeout=60)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result

    def text(self, *words, code=0):
        return self.run_tool(*words, code=code).stdout.decode()

    def error(self, *words, code=2):
        result = self.run_tool(*words, code=code)
        self.assertTrue(result.stderr.startswith(b"sidepond: "), result.stderr)
        return result.stderr.decode()

    def json(self, *words, code=0):
        return json.loads(self.text("--json", *words, code=code))

    def fill(self):
        """Keys of every type, some with a time to live, by way of the tool; their names."""
        for n in range(4):
            self.text("set", f"text{n}", f"value {n}", "--ttl", "1h")
            self.text("call", "rpush", f"list{n}", "1", "2", "3")
            self.text("call", "hset", f"hash{n}", "a", "1", "b", "2")
            self.text("call", "zadd", f"sorted{n}", "1.5", "x", "2", "y")
        return [f"{kind}{n}" for n in range(4) for kind in ("text", "list", "hash", "sorted")]

    def copies(self, key):
        return [name for name, node in self.nodes.items() if node.call("EXISTS", key)]

    # --- keys ---

    def test_keys(self):
        self.assertEqual(self.text("set", "k", "v"), "k: written, 2 of 2 copies\n")
        self.assertEqual(self.text("get", "k"), "v\n")
        self.assertEqual(self.text("get", "k", "--raw"), "v")
        self.assertEqual(self.json("get", "k"), {"key": "k", "value": "v"})
        where = self.json("where", "k")
        self.assertEqual(where["slot"], 7629)  # as CLUSTER KEYSLOT k
        self.assertEqual(sorted(n["name"] for n in where["nodes"]), self.copies("k"))
        self.assertEqual([n["role"] for n in where["nodes"]], ["owner", "copy"])
        self.assertEqual([n["has"] for n in where["nodes"]], ["yes", "yes"])
        self.assertEqual(self.json("del", "k"),
                         {"key": "k", "status": "SP_OK", "copies": 2, "wanted": 2})
        self.assertIn("no such key", self.error("get", "k", code=1))
        self.assertIn("no", self.text("where", "k", code=1))
        self.text("set", "t", "v", "--ttl", "100s", "--need", "one")
        self.assertTrue(all(90000 < self.nodes[n].call("PTTL", "t") <= 100000
                            for n in self.copies("t")))

    def test_call(self):
        self.assertEqual(self.text("call", "incrby", "n", "5"), "5\n")
        self.assertEqual(self.text("call", "rpush", "l", "x", "y"), "2\n")
        self.assertEqual(self.json("call", "lrange", "l", "0", "-1"), ["x", "y"])
        self.assertIn("error", self.json("call", "incr", "l", code=1))
        self.assertIsNone(self.json("call", "get", "none"))
        self.assertEqual(len(self.copies("l")), 2)

    # --- the picture ---

    def test_picture(self):
        self.fill()
        ring = self.json()
        self.assertEqual((ring["slots"], ring["replicas"], ring["kind"], ring["complete"]),
                         (16384, 2, "redis", True))
        self.assertEqual(sum(n["owned_slots"] for n in ring["nodes"]), 16384)
        self.assertEqual(sum(n["held_slots"] for n in ring["nodes"]), 2 * 16384)
        for node in ring["nodes"]:
            server = self.nodes[node["name"]]
            self.assertEqual(node["keys"], server.call("DBSIZE"))
            self.assertEqual(node["process_id"], server.process.pid)
        text = self.text()
        self.assertEqual(text.splitlines()[0].split("\t")[:4], ["NODE", "ADDRESS", "ZONE", "STATE"])
        self.assertIn("redundancy complete", text)
        self.text("--members", "3")
        self.assertIn("3 nodes of 4", self.error("--members", "4", code=1))

    def test_a_node_that_is_down(self):
        self.nodes["b"].end(signal.SIGKILL)
        ring = self.json(code=1)
        self.assertFalse(ring["complete"])
        self.assertEqual([n["answers"] for n in ring["nodes"]], [True, False, True])
        self.assertRegex(self.text(code=1), r"redundancy not complete.*; b: ")
        begun = time.monotonic()
        self.text("--wait", "300ms", code=1)
        self.assertGreaterEqual(time.monotonic() - begun, 0.3)
        keys = [f"k{n}" for n in range(6)]
        for key in keys:
            self.text("set", key, "v", "--need", "one")
            self.assertEqual(self.text("get", key), "v\n")
        dead = [k for k in keys if len(self.copies_of_living(k)) == 1]
        self.assertTrue(dead)
        self.assertIn(dead[0], self.error("set", dead[0], "w", code=4))
        self.assertIn("node b at", self.error("repair", code=3))

    def copies_of_living(self, key):
        return [n for n in "ac" if self.nodes[n].call("EXISTS", key)]

    def test_watch(self):
        process = subprocess.Popen([TOOL, "ring", "watch", "--redis", "-i", "50ms", "-n", "3"],
                                   stdout=subprocess.PIPE, env=self.environment)
        try:
            self.assertIn(b"\tcomplete\t", process.stdout.readline())
            self.nodes["c"].process.send_signal(signal.SIGSTOP)
            line = process.stdout.readline()
            self.assertRegex(line, rb"not complete\t.*c down")
            self.nodes["c"].process.send_signal(signal.SIGCONT)
            self.assertRegex(process.stdout.readline(), rb"\tcomplete\t.*c ready")
            self.assertEqual(process.wait(20), 0)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def watch_on_terminal(self, end):
        """Lets `end` end it; what it has drawn, and its exit status."""
        control, terminal = pty.openpty()
        process = subprocess.Popen([TOOL, "ring", "watch", "--redis"], stdin=terminal,
                                   stdout=terminal, env=self.environment)
        os.close(terminal)
        seen, deadline, ended = b"", time.monotonic() + 20, False
        while time.monotonic() < deadline:
            if select.select([control], [], [], 0.05)[0]:
                try:
                    seen += os.read(control, 65536)
                except OSError:
                    break  # nobody holds the terminal any more
            if b"q quit" in seen and not ended:
                ended = True
                end(process, control)
        code = process.wait(20)
        os.close(control)
        return seen, code

    def test_watch_on_a_terminal(self):
        seen, code = self.watch_on_terminal(lambda _, control: os.write(control, b"q"))
        self.assertIn(b"redundancy complete", seen)
        self.assertEqual(code, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            seen, code = self.watch_on_terminal(lambda process, _, n=number: process.send_signal(n))
            self.assertTrue(seen.endswith(b"\x1b[?1049l"), seen[-40:])
            self.assertEqual(code, 0 if number == signal.SIGINT else -number)

    # --- repair ---

    def test_repair(self):
        keys = self.fill()
        before = {key: self.copies(key) for key in keys}
        self.assertTrue(self.json("repair", "--check")["equal"])
        self.nodes["a"].call("FLUSHALL")
        lost = [key for key in keys if "a" in before[key]]
        self.assertTrue(lost)
        for option in ("--check", "--dry-run"):
            found = self.json("repair", option, code=1)
            self.assertEqual((found["missing"], found["copied"]), (len(lost), 0))
            self.assertEqual(sorted(found["differences"]),
                             sorted(f"{key}: missing on a" for key in lost))
        self.assertEqual(self.nodes["a"].call("DBSIZE"), 0)
        done = self.json("repair")
        self.assertEqual((done["missing"], done["copied"], done["failed"]),
                         (len(lost), len(lost), 0))
        self.assertEqual({key: self.copies(key) for key in keys}, before)
        self.assertTrue(self.json("repair", "--check")["equal"])
        for key in lost:
            dumps = {self.nodes[n].call("TYPE", key) for n in before[key]}
            self.assertEqual(len(dumps), 1)
            ttls = [self.nodes[n].call("PTTL", key) for n in before[key]]
            self.assertLess(max(ttls) - min(ttls), 5000, (key, ttls))
            self.assertEqual(ttls[0] > 0, key.startswith("text"))

    def test_repair_overwrites_nothing_and_leaves_strays(self):
        self.text("set", "k", "new")
        holders = self.copies("k")
        other = next(name for name in self.nodes if name not in holders)
        self.nodes[other].call("SET", "k", "old")
        found = self.json("repair")
        self.assertEqual((found["missing"], found["stray"]), (0, 1))
        self.assertEqual(self.nodes[holders[0]].call("GET", "k"), "new")
        for name in holders:
            self.nodes[name].call("DEL", "k")
        self.assertEqual(self.json("repair")["copied"], 0)
        self.assertEqual(self.json("repair", "--stray")["copied"], 2)
        self.assertEqual(len(self.copies("k")), 3)

    def test_repair_of_what_is_about_to_expire_does_not_make_it_stay(self):
        for n in range(KEYS):
            self.nodes["a"].call("SET", f"key{n}", "v", "PX", 20 + n)
        self.json("repair", "--rate", "100000")
        for name in "bc":
            for key in self.nodes[name].call("KEYS", "*"):
                self.assertNotEqual(self.nodes[name].call("PTTL", key), -1, key)

    def test_repair_keeps_to_its_rate(self):
        for n in range(KEYS):
            self.nodes["a"].call("SET", f"key{n}", "v")
        begun = time.monotonic()
        done = self.json("repair", "--rate", "500")
        self.assertGreaterEqual(time.monotonic() - begun, (done["copied"] - 1) / 500)
        self.assertGreater(done["copied"], KEYS // 2)

    # --- rehearsal ---

    def test_drill(self):
        self.assertIn("--yes-this-is-a-test-ring", self.error("drill", "--node", "b"))
        sure = "--yes-this-is-a-test-ring"
        self.assertIn("which node", self.error("drill", sure))
        self.assertIn("no node", self.error("drill", sure, "--node", "x"))
        done = self.json("drill", sure, "--node", "b", "--time", "500ms")
        self.assertTrue(done["passed"], done)
        self.assertEqual(done["pid"], self.nodes["b"].process.pid)
        self.assertEqual((done["reads"]["failed"], done["writes"]["failed"]), (0, 0))
        self.assertGreater(done["reads"]["calls"], 10)
        self.assertIsNotNone(done["breaker_opened_ms"])
        self.assertEqual(sum(n.call("DBSIZE") for n in self.nodes.values()), 0)  # cleaned up

    def test_drill_kill_of_a_node_that_does_not_come_back(self):
        done = self.json("drill", "--yes-this-is-a-test-ring", "--pid",
                         str(self.nodes["c"].process.pid), "--kill", "--time", "300ms", "--wait",
                         "300ms", code=1)
        self.assertEqual((done["node"], done["fault"], done["complete_ms"]), ("c", "kill", None))
        self.assertEqual((done["reads"]["failed"], done["writes"]["failed"]), (0, 0))
        self.assertEqual(self.nodes["c"].process.wait(20), -signal.SIGKILL)

    def test_drill_interrupted_sets_the_node_going(self):
        process = subprocess.Popen(
            [TOOL, "ring", "drill", "--redis", "--yes-this-is-a-test-ring", "--node", "b",
             "--time", "60s"], stdout=subprocess.DEVNULL, env=self.environment)
        status = Path(f"/proc/{self.nodes['b'].process.pid}/stat")
        deadline = time.monotonic() + 20
        while ") T " not in status.read_text():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 1)
        self.assertNotIn(") T ", status.read_text())
        self.assertEqual(self.nodes["b"].call("PING"), "PONG")

    # --- what is wrong ---

    def test_wrong_input(self):
        self.assertIn("unknown subcommand", self.error("frobnicate"))
        self.assertIn("missing arguments; usage: sidepond ring get KEY", self.error("get"))
        self.assertIn("not a weight", self.error("weight", "a", "-1"))
        self.assertIn("its nodes:\n  a 127.0.0.1", self.error("drain", "x"))
        self.assertIn("ZooKeeper", self.error("drain", "a"))
        self.assertIn("needs --password-file", self.error("--user", "x"))
        self.assertIn("--replicas is 1 to 3", self.error("--replicas", "4"))
        self.assertIn("cannot open the ring of these nodes",
                      self.error("--nodes", "=nonsense"))
        self.environment["SIDEPOND_NODES"] = ""
        self.environment["SIDEPOND_ROOT"] = str(self.directory)
        self.assertIn("--zookeeper", self.error(code=3))

    def test_no_node_answers(self):
        for node in self.nodes.values():
            node.end(signal.SIGKILL)
        self.error("get", "k", code=3)
        self.error("set", "k", "v", code=3)
        self.assertEqual([n["answers"] for n in self.json(code=1)["nodes"]], [False] * 3)

    def test_password(self):
        locked = Redis("locked", self.directory, password="secret")
        self.addCleanup(locked.end)
        secret = self.directory / "password"
        secret.write_text("secret\n")
        place = ("--nodes", f"locked=127.0.0.1:{locked.port}", "--replicas", "1")
        known = (*place, "--password-file", str(secret))
        self.assertIn("1 of 1", self.text("set", "k", "v", *known))
        self.assertEqual(self.text("get", "k", *known), "v\n")
        self.assertTrue(self.json(*known)["complete"])
        self.assertEqual(self.json("where", "k", *known)["nodes"][0]["has"], "yes")
        self.assertRegex(self.json(*place, code=1)["nodes"][0]["why"], "asks for a password")


if __name__ == "__main__":
    unittest.main()
