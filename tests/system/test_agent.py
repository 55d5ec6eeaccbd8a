#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_agent.py - Goal: stock Redis servers are nodes of a ring by `sidepondd --agent`: registered
while they are well, out while they are not, and holders once they have what their slots have.
Method: three redis-server processes and two agents, one of which watches two servers, with a real
ZooKeeper; an onlooker (member_node) tells the map. After each event all holders of each slot must
have the same keys, of every type.
"""
import binascii
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import zookeeper_kit
from member_kit import AWAIT_SECONDS, BUILD, Node

DAEMON = os.path.join(BUILD, "bin", "sidepondd")
SLOTS = 64
KEYS = 400


def encode(*words):
    out = b"*%d\r\n" % len(words)
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        out += b"$%d\r\n%s\r\n" % (len(word), word)
    return out


class Redis:
    """A redis-server that keeps nothing on disk, and a connection to it."""

    def __init__(self, name, directory, password=None):
        self.name, self.directory, self.password = name, directory, password
        self.port = zookeeper_kit.free_ports(1)[0]
        self.process = self.link = None

    def start(self):
        options = ["--requirepass", self.password, "--masterauth", self.password] \
            if self.password else []
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.directory, "--appendonly", "no", "--databases", "1", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + AWAIT_SECONDS
        while True:
            try:
                self.connect()
                return self
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def connect(self):
        self.close()
        with socket.create_connection(("127.0.0.1", self.port), AWAIT_SECONDS) as link:
            self.link = link.makefile("rwb")
        if self.password:
            self.call("AUTH", self.password)
        self.call("PING")

    def close(self):
        if self.link:
            self.link.close()
        self.link = None

    def _reply(self):
        line = self.link.readline()
        if not line:
            raise OSError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.link.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest

    def many(self, commands):
        self.link.write(b"".join(encode(*command) for command in commands))
        self.link.flush()
        return [self._reply() for _ in commands]

    def call(self, *words):
        return self.many([words])[0]

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.close()
        self.signal(signal.SIGKILL)
        self.process.wait()


class Agent:
    def __init__(self, directory, name, zookeeper, cluster, servers, extra=""):
        self.directory, self.zookeeper, self.cluster = directory, zookeeper, cluster
        self.log_path = os.path.join(directory, name + ".log")
        self.path = os.path.join(directory, name + ".yaml")
        self.port = zookeeper_kit.free_ports(1)[0]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(directory, name + ".notify"))
        self.notify.settimeout(AWAIT_SECONDS)
        self.configure(servers, extra)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [DAEMON, "--agent", self.path], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": os.path.join(directory, name + ".notify")})

    def configure(self, servers, extra="", weights=()):
        secret = self.path + ".password"
        lines = ["log: {level: debug}", f'http: {{listen: "127.0.0.1:{self.port}"}}', "agent:",
                 f'  zookeeper: "{self.zookeeper}"', f"  cluster: {self.cluster}",
                 f"  session: 4s\n  check: 100ms\n  deadline: 1500ms\n  slots: {SLOTS}{extra}",
                 "  nodes:"]
        for server in servers:
            more = f", password_file: {secret}" if server.password else ""
            more += f", weight: {weights[server.name]}" if server.name in weights else ""
            lines.append(f'    - {{name: {server.name}, address: "127.0.0.1:{server.port}"{more}}}')
            if server.password:
                with open(secret, "w", encoding="utf-8") as file:
                    file.write(server.password + "\n")
                os.chmod(secret, 0o600)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def await_notified(self, line):
        while line not in self.notify.recv(4096).decode():
            pass

    def reload(self):
        """Until it says that it is done with that."""
        self.process.send_signal(signal.SIGHUP)
        self.await_notified("RELOADING=1")
        self.await_notified("READY=1")

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, sample):
        for line in self.http("/metrics")[1].split("\n"):
            if line.startswith(sample + " "):
                return float(line.split(" ")[-1])
        return None

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(AWAIT_SECONDS)


class AgentTest(unittest.TestCase):
    zookeeper = None

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="sidepond-test-agent.")
        self.servers = {name: Redis(name, self.directory, "secret").start() for name in "abc"}
        self.agents, self.onlooker = [], None
        self.expected = {}

    def tearDown(self):
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.process.kill()
                agent.process.wait()
            agent.notify.close()
            print(agent.log()[-3000:])
        if self.onlooker:
            self.onlooker.kill()
        for server in self.servers.values():
            if server.process.poll() is None:
                server.signal(signal.SIGCONT)
                server.kill()
        shutil.rmtree(self.directory)

    def agent(self, name, *servers, **options):
        agent = Agent(self.directory, name, self.zookeeper.servers, self._testMethodName,
                      [self.servers[one] for one in servers], **options)
        self.agents.append(agent)
        return agent

    def slots(self):
        return next(word["slots"] for word in self.onlooker.send("slots") if "slots" in word)

    @staticmethod
    def slot(key):
        return binascii.crc_hqx(key.encode(), 0) % SLOTS

    # --- what clients do: every write goes to all holders ---

    def write(self, numbers, mark):
        slots, commands = self.slots(), {name: [] for name in self.servers}
        for number in numbers:
            key = f"key:{number}"
            made = [("SET", key, f"{mark}:{number}", "PX", 600000), ("RPUSH", key, mark, number),
                    ("HSET", key, "f", mark, "g", number), ("ZADD", key, number, mark),
                    ("SADD", key, mark, number), ("SET", key, b"\0\xff" * 2000 + mark.encode())]
            self.expected[key] = mark
            for name in slots[self.slot(key)]:
                commands[name] += [("DEL", key), made[number % len(made)]]
        for name, server in self.servers.items():
            if commands[name]:
                server.many(commands[name])

    def delete(self, numbers):
        slots = self.slots()
        for number in numbers:
            key = f"key:{number}"
            self.expected[key] = None
            for name in slots[self.slot(key)]:
                self.servers[name].call("DEL", key)

    def check_copies(self):
        """Each slot has its holders, and each of them each key as it was written last. A server
        that a loaded machine let be taken out meanwhile is waited for."""
        while True:
            epoch = self.onlooker.drain().map["epoch"]
            try:
                return self.compare_copies(self.slots())
            except AssertionError:
                if self.onlooker.drain().map["epoch"] == epoch:
                    raise
                self.onlooker.wait(lambda n: n.map["settled"], "a settled map")

    def compare_copies(self, slots, copies=2):
        for key, mark in self.expected.items():
            names = slots[self.slot(key)]
            self.assertEqual(len(names), copies, f"holders of {key}")
            dumps = [self.servers[name].call("DUMP", key) for name in names]
            if mark is None:
                self.assertEqual(dumps, [None] * copies, f"{key} was deleted: {names}")
                continue
            for name, dump in zip(names, dumps):
                self.assertIsNotNone(dump, f"{key} is missing at {name} of {names}")
                if not key.endswith(":5"):
                    self.assertIn(mark.encode(), dump, f"{key} at {name} is old")
            ttls = [self.servers[name].call("PTTL", key) for name in names]
            self.assertLess(max(ttls) - min(ttls), 5000)

    def wait_map(self, names, what=lambda map: True):
        self.onlooker.wait(lambda n: sorted(n.map["nodes"]) == sorted(names) and n.map["settled"]
                           and what(n.map), f"a settled map of {names}")
        return self.onlooker.map

    def ring(self):
        self.onlooker = Node(self.zookeeper.servers, self._testMethodName, slots=SLOTS)
        self.agent("one", "a", "b")
        self.agent("two", "c")
        return self.wait_map("abc")

    # --- the tests ---

    def test_life(self):
        self.ring()
        self.write(range(KEYS), "first")
        self.check_copies()

        # It hangs: out before long, and the others have all copies between them.
        b = self.servers["b"]
        b.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        self.wait_map("ac")
        self.assertLess(time.monotonic() - stopped, AWAIT_SECONDS / 2)
        self.check_copies()
        self.write(range(0, KEYS, 3), "second")
        self.delete(range(1, KEYS, 7))

        # It is back with old values and deleted keys, of which nothing is left when it holds.
        b.signal(signal.SIGCONT)
        self.wait_map("abc")
        self.check_copies()
        self.assertIn("b at ", self.agents[0].log())

        # Restarted empty, at once: a new start id, and everything is copied.
        start = self.onlooker.map["nodes"]["b"][3]
        b.kill()
        b.start()
        self.wait_map("abc", lambda map: map["nodes"]["b"][3] != start)
        self.check_copies()

        # A replica is no node.
        self.servers["c"].call("REPLICAOF", "127.0.0.1", str(b.port))
        self.wait_map("ab")
        self.servers["c"].call("REPLICAOF", "NO", "ONE")
        self.wait_map("abc")
        self.check_copies()

        for agent in self.agents:
            self.assertEqual(agent.stop(), 0)

    def await_metric(self, agent, sample, value):
        deadline = time.monotonic() + AWAIT_SECONDS
        while agent.metric(sample) != value:
            self.assertLess(time.monotonic(), deadline, f"{sample}\n{agent.http('/metrics')[1]}")
            time.sleep(0.02)

    def test_what_is_told(self):
        self.ring()
        agent, b = self.agents[0], self.servers["b"]
        agent.await_notified("READY=1")
        self.await_metric(agent, 'sidepond_agent_node_registered{node="b"}', 1)
        self.assertEqual(agent.http("/readyz"), (200, "ready\n"))
        self.assertEqual(agent.http("/healthz"), (200, "ok\n"))
        self.write(range(100), "first")
        mine = b.call("DBSIZE")
        self.await_metric(agent, 'sidepond_agent_node_keys{node="b"}', mine)
        self.assertGreater(agent.metric('sidepond_agent_node_memory_bytes{node="b"}'), 100000)
        self.assertAlmostEqual(agent.metric('sidepond_agent_node_answered_timestamp_seconds'
                                            '{node="b"}'), time.time(), delta=5)
        held = agent.metric('sidepond_agent_node_held_slots{node="b"}')
        self.assertEqual(held, sum("b" in names for names in self.slots()))
        b.signal(signal.SIGSTOP)
        self.await_metric(agent, 'sidepond_agent_node_state{node="b",state="silent"}', 1)
        self.await_metric(agent, 'sidepond_agent_node_registered{node="b"}', 0)
        self.assertEqual(agent.metric('sidepond_agent_node_up{node="b"}'), 0)
        self.assertGreater(agent.metric('sidepond_agent_node_failed_checks_total{node="b"}'), 0)
        code, why = agent.http("/readyz")
        self.assertEqual((code, "b is not in the ring: silent" in why), (503, True), why)
        self.assertEqual(agent.http("/healthz"), (200, "ok\n"))
        b.signal(signal.SIGCONT)
        self.wait_map("abc")
        b.call("CONFIG", "SET", "requirepass", "other")
        b.kill()
        self.await_metric(agent, 'sidepond_agent_node_state{node="b",state="unreachable"}', 1)
        self.assertEqual(agent.http("/nothing")[0], 404)

    def test_reload(self):
        self.onlooker = Node(self.zookeeper.servers, self._testMethodName, slots=SLOTS)
        servers = self.servers
        agent = self.agent("one", "a", "b")
        agent.await_notified("READY=1")
        self.wait_map("ab")
        self.write(range(100), "first")
        start = self.onlooker.map["nodes"]["a"][3]

        # One more, and another weight of one that stays in the ring meanwhile.
        agent.configure(servers.values(), weights={"a": 40})
        agent.reload()
        self.wait_map("abc", lambda map: map["nodes"]["a"][1] == 40)
        self.assertEqual(self.onlooker.map["nodes"]["a"][3], start)
        self.assertNotIn("a at 127.0.0.1:%d is taken out" % servers["a"].port, agent.log())
        self.check_copies()

        # What is wrong, or would need a restart, changes nothing.
        for text, why in ((None, "the configuration is wrong"),
                          ("\n  replicas: 3", "a change of 'agent.replicas' needs a restart")):
            if text is None:
                with open(agent.path, "a", encoding="utf-8") as file:
                    file.write("    - {name: a}\n")
            else:
                agent.configure([servers["a"]], extra=text)
            agent.reload()
            self.assertIn(why + "; the old configuration stays in use", agent.log())
            self.assertEqual(agent.metric("sidepond_agent_reload_failed"), 1)
        agent.configure(servers.values())
        os.unlink(agent.path + ".password")
        agent.reload()
        self.assertEqual(agent.metric('sidepond_agent_reloads_total{result="failure"}'), 3)
        self.assertEqual(sorted(self.onlooker.drain().map["nodes"]), ["a", "b", "c"])
        self.assertEqual(self.onlooker.map["nodes"]["a"][1], 40)

        # Another password, which new connections need; and one less.
        for server in servers.values():
            server.call("CONFIG", "SET", "requirepass", "changed")
            server.password = "changed"
        agent.configure([servers["a"], servers["c"]])
        agent.reload()
        self.assertEqual(agent.metric("sidepond_agent_reload_failed"), 0)
        self.wait_map("ac", lambda map: map["nodes"]["a"][1] == 100)
        self.assertIsNone(agent.metric('sidepond_agent_node_up{node="b"}'))
        servers["c"].call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.wait_map("ac")
        self.check_copies()

        # All but one, which is more than the others would believe to have gone that still answer.
        agent.configure([servers["c"]])
        agent.reload()
        self.wait_map("c")
        self.compare_copies(self.slots(), copies=1)
        self.assertEqual(agent.stop(), 0)

    def test_other_kind_and_wrong_file(self):
        self.onlooker = Node(self.zookeeper.servers, self._testMethodName, "z", slots=SLOTS)
        self.onlooker.wait_nodes("z")
        agent = self.agent("one", "a")
        deadline = time.monotonic() + AWAIT_SECONDS
        while "'kind'" not in agent.log().replace('"', "'"):
            self.assertLess(time.monotonic(), deadline, agent.log())
            time.sleep(0.01)
        self.assertEqual(sorted(self.onlooker.drain().map["nodes"]), ["z"])
        wrong = self.agent("wrong", "a", "b", "a", extra="\n  replicas: 5")
        self.assertEqual(wrong.process.wait(AWAIT_SECONDS), 78)
        self.assertIn("two nodes of the agent are called 'a'", wrong.log())
        self.assertIn("replicas", wrong.log())
        path = os.path.join(self.directory, "one.yaml")
        daemon = subprocess.run([DAEMON, path], capture_output=True, text=True, check=False,
                                timeout=AWAIT_SECONDS)
        self.assertEqual((daemon.returncode, "--agent" in daemon.stderr), (78, True))
        checked = subprocess.run([DAEMON, "--check", path], capture_output=True, text=True,
                                 check=True, timeout=AWAIT_SECONDS)
        self.assertIn("keeps 1 Redis server in the ring", checked.stdout)


if __name__ == "__main__":
    if not zookeeper_kit.available() or not shutil.which("redis-server"):
        print("ZooKeeper or Redis is not installed")
        sys.exit(77)
    with zookeeper_kit.Ensemble(1) as AgentTest.zookeeper:
        unittest.main(buffer=True)
