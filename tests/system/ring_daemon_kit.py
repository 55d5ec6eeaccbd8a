# SPDX-License-Identifier: Apache-2.0
"""ring_daemon_kit.py - daemons in a ring, for tests: their maps, what each of them has, clients that
write, and what a ring has come to.
"""
import os
import random
import struct
import threading
import unittest

import zookeeper_kit
from daemon_kit import Daemon, free_port, wait_for
from resp_wire import Closed, Connection
from ring_map import crc16

SLOTS = 256
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))


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

    def static(self, count, more=""):
        names = [f"n{i}" for i in range(count)]
        addresses = [f"127.0.0.1:{free_port()}" for _ in names]
        source = "  nodes:\n" + "".join(
            f"    - {{name: {n}, address: \"{a}\"}}\n" for n, a in zip(names, addresses))
        return self.begin([Node(n, a, source, more) for n, a in zip(names, addresses)])

    @staticmethod
    def await_map(node, nodes):
        """The map is of these nodes, and settled."""
        names = sorted(other.name for other in nodes)
        wait_for(lambda: node.map().names == names and node.map().is_settled(),
                 f"{node.name} has a settled map of {names}")

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


class ZookeeperRing(Ring):
    """One server of ZooKeeper for the tests of a class, and a cluster for each."""

    @classmethod
    def setUpClass(cls):
        cls.ensemble = zookeeper_kit.Ensemble(1)
        cls.ensemble.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.ensemble.__exit__(None, None, None)

    def node(self, name, more=""):
        source = (f"  zookeeper: \"{self.ensemble.servers}\"\n  cluster: {self.id()[-20:]}\n"
                  "  session: 1s\n")
        return Node(name, f"127.0.0.1:{free_port()}", source, more)
