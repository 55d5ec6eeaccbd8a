#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_away.py - Goal: a node that comes back from another time does no harm: neither one whose
clock was fast, nor one that was away for longer than it is remembered what was deleted.
Method: real sidepondd processes on loopback, with a static list or a real ZooKeeper; a wall clock
that is wrong is a preloaded library. What a node has is asked of that very node.
"""
import os
import signal
import sys
import time
import unittest

import test_ring_daemon as rings
import zookeeper_kit
from daemon_kit import BUILD, free_port, wait_for

CLOCK = os.path.join(BUILD, "lib", "libring_clock.so")
HOUR_MS = 3600 * 1000


@unittest.skipUnless(os.path.exists(CLOCK), "no library can be preloaded in this build")
class Clock(rings.Ring):
    def fast_node(self, names):
        """A ring of two, of which the second has lived an hour ahead and written these keys."""
        nodes = self.static(2)
        nodes[1].stop()
        nodes[1].start(
            environment={"LD_PRELOAD": CLOCK, "RING_CLOCK_SKEW_MS": str(HOUR_MS)})
        wait_for(nodes[1].holds_all, "it holds its slots")
        for name in names:
            nodes[1].call("SET", name, "fast")
        return nodes

    def test_what_a_fast_clock_has_written(self):
        nodes = self.fast_node(["alone", "replaced"])
        self.assertIsNone(nodes[0].has("alone"))  # which it has refused
        nodes[1].stop()
        nodes[0].call("SET", "replaced", "right")
        nodes[1].start()
        nodes[1].await_log("later than this node's clock")
        wait_for(lambda: nodes[0].has("alone") == b"fast", "what only that node has is not lost")
        wait_for(lambda: nodes[1].has("replaced") == b"right", "what another node has counts")
        for node, other in (nodes, reversed(nodes)):
            for key in ("alone", "replaced", "new"):
                self.assertEqual(node.call("SET", key, node.name), b"OK")
                self.assertEqual(other.has(key), node.name.encode(), f"{key} of {node.name}")
        self.await_equal()


TOMBSTONES = "  tombstones: 2s\n"
KEYS = 50


class Absence(rings.Ring):
    """A ring of two, which forgets soon what was deleted."""

    def fill(self, nodes):
        for node in nodes:
            wait_for(lambda n=node: n.holds_all() and n.call("SIDEPOND", "SINCE") > 0,
                     f"{node.name} holds its slots, and has noted it")
        for i in range(KEYS):
            nodes[i % 2].call("SET", f"kept{i}", "v")
            nodes[i % 2].call("SET", f"gone{i}", "v")
        self.await_equal()

    def delete(self, node):
        """Without a trace."""
        for i in range(KEYS):
            node.call("DEL", f"gone{i}")
        everything = b"\xff" * (rings.SLOTS // 8)

        def is_forgotten():
            page = node.call("SIDEPOND", "PULL", 0, 1 << 20, everything)
            return all(entry[1][3][1] is not None for entry in page[1][1])
        wait_for(is_forgotten, "the deletions are forgotten")

    def check(self, nodes, gone):
        for node in nodes:
            wait_for(node.holds_all, f"{node.name} holds its slots")
        self.await_equal()
        for node in nodes:
            for i in range(KEYS):
                self.assertEqual(node.has(f"kept{i}"), b"v", f"kept{i} at {node.name}")
                self.assertEqual(node.has(f"gone{i}"), gone, f"gone{i} at {node.name}")

    def has_said(self, node):
        return "are dropped" in node.log()

    def be_away(self, nodes, leave, come):
        self.fill(nodes)
        leave(nodes[1])
        self.delete(nodes[0])
        come(nodes[1])
        wait_for(lambda: self.has_said(nodes[1]), "it drops what it has")
        self.check(nodes, None)
        self.assertFalse(self.has_said(nodes[0]))

    def be_off(self, nodes):
        """All of them, for longer than deletions are remembered."""
        for node in nodes:
            node.stop()
        off = time.monotonic()
        wait_for(lambda: time.monotonic() > off + 2.2, "it is later")


class Static(Absence):
    def ring(self, more=TOMBSTONES):
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        source = "  nodes:\n" + "".join(
            f"    - {{name: n{i}, address: \"{a}\"}}\n" for i, a in enumerate(addresses))
        return self.begin([rings.Node(f"n{i}", a, source, more) for i, a in enumerate(addresses)])

    def test_repaired_for_too_long(self):
        nodes = self.ring(TOMBSTONES + "  throttle: 1MiB\n")
        self.fill(nodes)
        nodes[1].stop()
        for i in range(24):
            nodes[0].call("SET", f"large{i}", bytes(200_000))
        for i in range(KEYS):
            nodes[0].call("DEL", f"gone{i}")
        nodes[1].start()
        nodes[1].await_log("was not whole for")
        self.check(nodes, None)

    def test_stopped_for_too_long(self):
        self.be_away(self.ring(), rings.Node.stop, rings.Node.start)

    def test_suspended_for_too_long(self):
        self.be_away(self.ring(), lambda node: node.signal(signal.SIGSTOP),
                     lambda node: node.signal(signal.SIGCONT))

    def test_all_were_off(self):
        nodes = self.ring()
        self.fill(nodes)
        self.be_off(nodes)
        for node in nodes:
            node.start(ready=False)
        for node in nodes:
            node.await_notified("READY=1")
        self.check(nodes, b"v")
        for node in nodes:
            self.assertIn("was away for", node.log())
            self.assertFalse(self.has_said(node))

    def test_not_for_too_long(self):
        nodes = self.ring()
        nodes[1].more = "  tombstones: 1h\n"
        nodes[1].configure("")
        nodes[1].stop()
        nodes[1].start()
        self.fill(nodes)
        self.be_off(nodes[1:])
        nodes[1].start()
        self.check(nodes, b"v")
        self.assertNotIn("was away for", nodes[1].log())


@unittest.skipUnless(zookeeper_kit.available(), "there is no ZooKeeper here")
class Zookeeper(Absence):
    @classmethod
    def setUpClass(cls):
        cls.ensemble = zookeeper_kit.Ensemble(1)
        cls.ensemble.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.ensemble.__exit__(None, None, None)

    def ring(self):
        source = (f"  zookeeper: \"{self.ensemble.servers}\"\n  cluster: {self.id()[-20:]}\n"
                  "  session: 1s\n")
        nodes = self.begin([rings.Node(f"n{i}", f"127.0.0.1:{free_port()}", source, TOMBSTONES)
                            for i in range(2)])
        wait_for(lambda: len(nodes[0].map().names) == 2 and nodes[0].map().is_settled(), "a ring")
        return nodes

    def test_stopped_for_too_long(self):
        self.be_away(self.ring(), rings.Node.kill, rings.Node.start)

    def test_suspended_for_too_long(self):
        self.be_away(self.ring(), lambda node: node.signal(signal.SIGSTOP),
                     lambda node: node.signal(signal.SIGCONT))

    def test_all_were_off(self):
        nodes = self.ring()
        self.fill(nodes)
        self.be_off(nodes)
        nodes[0].start()
        wait_for(nodes[0].holds_all, "it is the only one, and holds its slots")
        nodes[1].start()
        wait_for(lambda: len(nodes[0].map().names) == 2 and nodes[0].map().is_settled(), "a ring")
        self.check(nodes, b"v")


if __name__ == "__main__":
    print(f"seed {rings.SEED}", file=sys.stderr)
    unittest.main(verbosity=2)
