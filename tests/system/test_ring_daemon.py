#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_daemon.py - Goal: daemons make a ring: each key is on exactly the nodes that the map
says, and is so again after a node was killed, started again with its pond or without it, stopped
and continued, has joined or was drained, while writes go on.
Method: real sidepondd processes on loopback, with a static list or a real ZooKeeper, spoken to in
the Redis protocol. At the end of each test the digests of all holders of each slot are compared.
"""
import datetime
import os
import random
import re
import shutil
import signal
import struct
import sys
import threading
import time
import unittest

import zookeeper_kit
from daemon_kit import BUILD, Daemon, free_port, wait_for
from resp_wire import Closed, Connection

SLOTS = 256
CLOCK = os.path.abspath(os.path.join(BUILD, "lib", "libring_clock.so"))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ (0x1021 if crc & 0x8000 else 0)
    return crc & 0xffff


def slot_of(key):
    return crc16(key.encode()) % SLOTS


class Map:
    """What SIDEPOND RING answers: names, and of each slot the holders' and targets' names."""

    def __init__(self, data):
        assert data[:6] == b"SPRING"
        self.epoch, _, slots, _, _, count = struct.unpack_from("<QIHBBH", data, 8)
        self.names, self.states, self.holders, self.targets = [], {}, [], []
        at = 8 + 18
        for _ in range(count):
            texts = []
            for _ in range(3):
                texts.append(data[at + 1:at + 1 + data[at]].decode())
                at += 1 + data[at]
            self.names.append(texts[0])
            self.states[texts[0]] = data[at + 2]
            at += 11
        for _ in range(slots):
            held, wanted = data[at] & 15, data[at] >> 4
            nodes = struct.unpack_from(f"<{held + wanted}H", data, at + 1)
            at += 1 + 2 * (held + wanted)
            self.holders.append([self.names[n] for n in nodes[:held]])
            self.targets.append([self.names[n] for n in nodes[held:]] or self.holders[-1])

    def is_settled(self):
        return self.holders == self.targets


class Node(Daemon):
    """A daemon in a ring. `source` are the lines of the section `ring` that say of the others."""

    def __init__(self, name, address, source, more=""):
        self.name, self.address, self.source, self.more = name, address, source, more
        super().__init__("", "", memory="64MiB")

    def configure(self, tables):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"pond: test\ndirectory: {self.pond}\nmemory: {self.memory}\n"
                       f'http: {{listen: "127.0.0.1:{self.port}"}}\n'
                       f"cache: {{listen: [\"{self.address}\"]}}\n"
                       f"ring:\n  node: {self.name}\n  address: \"{self.address}\"\n"
                       f"  slots: {SLOTS}\n  compare: 2s\n{self.more}{self.source}")

    def connect(self, seconds=10):
        return Connection(("127.0.0.1", int(self.address.rsplit(":", 1)[1])), seconds)

    def call(self, *arguments):
        with self.connect() as link:
            return link.command(*arguments)[1]

    def map(self):
        data = self.call("SIDEPOND", "RING")
        return Map(data) if data else None

    def digests(self):
        return [slot[1][0][1] for slot in self.call("SIDEPOND", "DIGESTS", 0, SLOTS)]

    def has(self, key):
        """What this very node has of a key; "NOTHELD" if it may not say."""
        with self.connect() as link:
            assert link.command("SIDEPOND", "ATTACH", 1)[0] == "*"
            kind, value = link.command("GET", key)
        return "NOTHELD" if kind == "-" else value

    def reaches(self, nodes):
        return all(self.metric(f'sidepond_ring_peer_reachable{{peer="{node.name}"}}') == 1
                   for node in nodes if node is not self)

    def holds_all(self):
        return self.metric("sidepond_ring_held_slots") > 0 and \
            self.metric("sidepond_ring_suspect_slots") == 0 and \
            self.metric("sidepond_ring_pulling_slots") == 0


class Writer:
    """Sets and deletes keys at random nodes, on a thread, and remembers what was acknowledged."""

    def __init__(self, nodes, keys=300):
        self.nodes, self.keys, self.random = list(nodes), keys, random.Random(SEED)
        self.known, self.stopping, self.count = {}, False, 0
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.stopping = True
        self.thread.join()

    def write(self, link):
        key = f"w{self.random.randrange(self.keys)}"
        value = f"{self.count}".encode() if self.random.random() < 0.8 else None
        self.known.pop(key, None)  # not known while it is on its way
        done = link.command("SET", key, value) if value else link.command("DEL", key)
        if done[0] in "+:":
            self.known[key] = value
            self.count += 1

    def run(self):
        while not self.stopping:
            try:
                with self.random.choice(self.nodes).connect() as link:
                    for _ in range(20):
                        self.write(link)
            except (OSError, Closed):
                pass


class Ring(unittest.TestCase):
    def begin(self, nodes):
        self.nodes = {node.name: self.enterContext(node) for node in nodes} \
            if hasattr(self, "enterContext") else self.enter(nodes)
        for node in nodes:
            node.start(ready=False)
        for node in nodes:
            node.await_notified("READY=1")
            wait_for(node.holds_all, f"{node.name} holds its slots")
            wait_for(lambda n=node: n.reaches(nodes), f"{node.name} reaches the others")
        return nodes

    def enter(self, nodes):
        for node in nodes:
            self.addCleanup(node.__exit__, None, None, None)
        return {node.name: node for node in nodes}

    def static(self, count):
        names = [f"n{i}" for i in range(count)]
        addresses = [f"127.0.0.1:{free_port()}" for _ in names]
        source = "  nodes:\n" + "".join(
            f"    - {{name: {n}, address: \"{a}\"}}\n" for n, a in zip(names, addresses))
        return self.begin([Node(n, a, source) for n, a in zip(names, addresses)])

    def is_equal(self):
        """Whether all holders of each slot have the same, and it is settled."""
        ring = next(iter(self.nodes.values())).map()
        if not ring.is_settled():
            return False
        digests = {name: self.nodes[name].digests() for name in ring.names}
        return all(len({digests[name][slot] for name in ring.holders[slot]}) == 1
                   for slot in range(SLOTS))

    def await_equal(self):
        wait_for(self.is_equal, "all holders have the same")

    def check_values(self, known):
        ring = next(iter(self.nodes.values())).map()
        for key, value in known.items():
            names = ring.holders[slot_of(key)]
            found = {name: self.nodes[name].has(key) for name in names}
            self.assertEqual(found, {name: value for name in names}, key)

    def check_all(self, known):
        for node in self.nodes.values():
            wait_for(node.holds_all, f"{node.name} holds its slots")
        self.await_equal()
        self.check_values(known)


class Static(Ring):
    def test_keys_are_on_the_nodes_of_the_map(self):
        nodes = self.static(3)
        known = {f"key{i}": b"v%d" % i for i in range(200)}
        with nodes[0].connect() as link:
            for key, value in known.items():
                self.assertEqual(link.command("SET", key, value), ("+", b"OK"))
        ring = nodes[0].map()
        for key, value in known.items():
            for node in nodes:
                expected = value if node.name in ring.holders[slot_of(key)] else "NOTHELD"
                self.assertEqual(node.has(key), expected, f"{key} at {node.name}")
            self.assertEqual(nodes[2].call("GET", key), value)
        with open(os.path.join(nodes[0].pond, "ring"), "rb") as file:
            self.assertEqual(Map(file.read()).holders, ring.holders)
        self.await_equal()

    def test_killed_and_started_again(self):
        nodes = self.static(3)
        with Writer(nodes[1:]) as writer:
            for wipe in (False, True):
                count = writer.count
                nodes[0].kill()
                wait_for(lambda c=count: writer.count > c + 100, "writes go on")
                if wipe:
                    shutil.rmtree(nodes[0].pond)
                nodes[0].start()
                wait_for(nodes[0].holds_all, "it holds its slots again")
        self.check_all(writer.known)
        self.assertIn("is back", nodes[1].log())

    def test_stopped_and_continued(self):
        nodes = self.static(3)
        with Writer(nodes[1:]) as writer:
            wait_for(lambda: writer.count > 100, "writes")
            nodes[0].signal(signal.SIGSTOP)
            count = writer.count
            stopped = time.monotonic()
            wait_for(lambda: writer.count > count + 300 and time.monotonic() > stopped + 0.7,
                     "writes go on, for longer than a node may stand still")
            wait_for(lambda: nodes[1].call("SIDEPOND", "MISSED", "n0") > 0, "writes are missed")
            nodes[0].signal(signal.SIGCONT)
            # What it answers from the first moment on is current, or that it does not know.
            for key, value in list(writer.known.items())[:50]:
                seen = nodes[0].has(key)
                # Values are unique, so it has not been written to in between; absence is not.
                if value and seen != "NOTHELD" and writer.known.get(key) == value:
                    self.assertEqual(seen, value, key)
        self.check_all(writer.known)
        self.assertIn("stood still", nodes[0].log())


    def test_a_reload_without_the_password(self):
        """Nothing is changed where something of the ring cannot be read; INFO knows of no ZooKeeper."""
        address, more = f"127.0.0.1:{free_port()}", free_port()
        node = Node("n0", address, f"  nodes: [{{name: n0, address: \"{address}\"}}]\n")
        password = os.path.join(node.directory, "password")
        with open(password, "w", encoding="utf-8") as file:
            file.write("secret\n")
        os.chmod(password, 0o600)
        node.more = f"  password_file: {password}\n"
        node.configure("")
        self.begin([node])
        self.assertIn(b"ring_zookeeper:none\r\n", node.call("INFO", "ring"))
        os.remove(password)
        with open(node.config, "r+", encoding="utf-8") as file:
            changed = file.read().replace(f'listen: ["{address}"', f'listen: ["{address}", "127.0.0.1:{more}"')
            file.seek(0)
            file.write(changed)
        node.signal(signal.SIGHUP)
        wait_for(lambda: "reloaded" in node.log() or "refused" in node.log(), "the reload is over")
        self.assertIn("refused", node.log())
        self.assertNotIn("needs a restart", node.log())
        with self.assertRaises(OSError):
            Connection(("127.0.0.1", more)).close()
        self.assertEqual(node.call("PING"), b"PONG")


    @unittest.skipUnless(os.path.exists(CLOCK), "no library can be preloaded in this build")
    def test_host_was_suspended(self):
        """Then CLOCK_MONOTONIC says nothing of it, and others have gone on all the same."""
        nodes = self.static(2)
        suspended = os.path.join(nodes[0].directory, "suspended")
        nodes[0].stop()
        nodes[0].start(environment={"LD_PRELOAD": CLOCK, "RING_CLOCK_SUSPENDED": suspended})
        wait_for(nodes[0].holds_all, "it holds its slots")
        with open(suspended, "wb"):
            nodes[0].await_log("stood still")
        wait_for(nodes[0].holds_all, "it holds its slots again")


@unittest.skipUnless(zookeeper_kit.available(), "there is no ZooKeeper here")
class Zookeeper(Ring):
    @classmethod
    def setUpClass(cls):
        cls.ensemble = zookeeper_kit.Ensemble(1)
        cls.ensemble.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.ensemble.__exit__(None, None, None)

    def node(self, name):
        source = (f"  zookeeper: \"{self.ensemble.servers}\"\n  cluster: {self.id()[-20:]}\n"
                  "  session: 1s\n")
        return Node(name, f"127.0.0.1:{free_port()}", source)

    def check_what_is_told(self, node):
        """It cannot have lacked slots from before it held all of them the last time."""
        wait_for(lambda: node.log().count("holds all of its") > 1, f"{node.name} says it twice")
        told = [(datetime.datetime.fromisoformat(at).timestamp(), float(seconds)) for at, seconds in
                re.findall(r"(\S+) info +ring: holds all of its .*, ([0-9.]+) s after", node.log())]
        self.assertGreater(len(told), 1)
        for (before, _), (at, seconds) in zip(told, told[1:]):
            self.assertGreater(at - seconds, before - 0.05, f"{node.name}: {told}")

    def test_joining_and_draining(self):
        nodes = self.begin([self.node(f"n{i}") for i in range(3)])
        wait_for(lambda: len(nodes[0].map().names) == 3 and nodes[0].map().is_settled(), "a ring")
        with Writer(nodes) as writer:
            wait_for(lambda: writer.count > 100, "writes")
            joined = self.node("n3")
            self.addCleanup(joined.__exit__, None, None, None)
            joined.start()
            wait_for(lambda: "n3" in nodes[0].map().names and nodes[0].map().is_settled(),
                     "the fourth has joined")
        self.nodes["n3"] = joined
        self.check_all(writer.known)
        with Writer(nodes[1:]) as writer_after:
            nodes[0].stop()
            del self.nodes["n0"]
            wait_for(lambda: "n0" not in nodes[1].map().names and nodes[1].map().is_settled(),
                     "the first has left")
        writer.known.update(writer_after.known)
        self.check_all(writer_after.known)
        for node in nodes[1:]:
            self.check_what_is_told(node)

    def test_killed_and_back_empty(self):
        nodes = self.begin([self.node(f"n{i}") for i in range(3)])
        wait_for(lambda: len(nodes[0].map().names) == 3 and nodes[0].map().is_settled(), "a ring")
        with Writer(nodes[1:]) as writer:
            wait_for(lambda: writer.count > 200, "writes")
            nodes[0].kill()
            shutil.rmtree(nodes[0].pond)
            nodes[0].start()
            wait_for(nodes[0].holds_all, "it holds its slots again")
        wait_for(lambda: nodes[1].map().is_settled(), "a settled map")
        self.check_all(writer.known)


if __name__ == "__main__":
    print(f"seed {SEED}", file=sys.stderr)
    unittest.main(verbosity=2)
