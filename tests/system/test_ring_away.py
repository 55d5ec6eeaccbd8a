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

import ring_daemon_kit as rings
import zookeeper_kit
from daemon_kit import BUILD, wait_for
from resp_wire import request

CLOCK = os.path.join(BUILD, "lib", "libring_clock.so")
HOUR_MS = 3600 * 1000
EVERY_SLOT = b"\xff" * (rings.SLOTS // 8)


def pull(node):
    """All that the node has: key, version, expiry, and value or None, with their types."""
    entries, cursor = [], 0
    while True:
        page = node.call("SIDEPOND", "PULL", cursor, 1 << 20, EVERY_SLOT)
        cursor = int(page[0][1])
        entries += [entry[1] for entry in page[1][1]]
        if cursor == 0:
            return entries


def version_of(node, key):
    return next(int(entry[1][1]) for entry in pull(node) if entry[0][1] == key.encode())


def wakings(node):
    """How often threads of the node have gone on after a wait: it does nothing but tick here."""
    count = 0
    tasks = f"/proc/{node.process.pid}/task"
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/status", encoding="ascii") as status:
            count += sum(int(line.split()[1]) for line in status
                         if line.startswith("voluntary_ctxt_switches"))
    return count


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

    def test_a_clock_that_steps_back(self):
        """Then what was written just before is not of a wrong clock."""
        nodes = self.static(2)
        stepped = os.path.join(nodes[0].directory, "stepped")
        nodes[0].stop()
        nodes[0].start(environment={"LD_PRELOAD": CLOCK, "RING_CLOCK_STEPPED": stepped})
        for node in nodes:
            wait_for(node.holds_all, "it holds its slots")
            wait_for(lambda n=node: n.reaches(nodes), f"{node.name} reaches the other")
        nodes[1].call("SET", "key", "before")
        wait_for(lambda: nodes[0].has("key") == b"before", "both have it")
        before = version_of(nodes[0], "key")
        with open(stepped, "wb"):
            self.await_ticks(nodes[0])
        self.assertEqual(nodes[0].call("SET", "key", "after"), b"OK")
        for node in nodes:
            wait_for(lambda n=node: n.has("key") == b"after", f"{node.name} has it")
            self.assertGreater(version_of(node, "key"), before, f"at {node.name}")
        self.await_ticks(nodes[0])  # as it says what it has met
        self.assertNotIn("a clock that was fast", nodes[0].log())

    def await_ticks(self, node):
        count = wakings(node)
        wait_for(lambda: wakings(node) > count + 40, "it has looked at its clock")


TOMBSTONES = "  tombstones: 2s\n"
KEYS = 50


def bitmap(slots):
    return bytes(sum(1 << s % 8 for s in slots if s // 8 == i) for i in range(rings.SLOTS // 8))


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

    def delete(self, node, keys=range(KEYS)):
        """Without a trace."""
        for i in keys:
            node.call("DEL", f"gone{i}")
        wait_for(lambda: all(entry[3][1] is not None for entry in pull(node)),
                 "the deletions are forgotten")

    def check(self, nodes, gone, deleted=KEYS):
        for node in nodes:
            wait_for(node.holds_all, f"{node.name} holds its slots")
        self.await_equal()
        for node in nodes:
            for i in range(KEYS):
                self.assertEqual(node.has(f"kept{i}"), b"v", f"kept{i} at {node.name}")
            for i in range(deleted):
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
    def ring(self, more=TOMBSTONES, count=2):
        return self.static(count, more)

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

    def queue(self, node, other, count):
        """Writes that this node has still to pass on to the other one, of these clients."""
        queued = f'sidepond_ring_peer_queued{{peer="{other.name}"}}'
        links = [node.connect() for _ in range(count)]
        for i, link in enumerate(links):
            self.addCleanup(link.close)
            link.send(request(["SET", f"gone{i}", "late"]))
        wait_for(lambda: node.metric(queued) == count, "they are queued")

    def test_suspended_with_a_queue(self):
        """What is deleted meanwhile was still to be passed on."""
        nodes = self.ring("  tombstones: 4s\n")
        nodes[0].more = "  tombstones: 4s\n  ack_timeout: 10s\n"
        nodes[0].configure("")
        nodes[0].stop()
        nodes[0].start()
        self.fill(nodes)
        nodes[1].signal(signal.SIGSTOP)
        self.queue(nodes[0], nodes[1], 4 * KEYS)
        nodes[0].signal(signal.SIGSTOP)
        nodes[1].signal(signal.SIGCONT)
        wait_for(nodes[1].holds_all, "it holds its slots")
        self.delete(nodes[1], range(4 * KEYS))
        nodes[0].signal(signal.SIGCONT)
        wait_for(lambda: self.has_said(nodes[0]), "it drops what it has")
        self.check(nodes, None, 4 * KEYS)

    def check_given(self, node, slots, given):
        """Whether others get what this node has of these slots."""
        with node.connect() as link:
            for words in (["DIGESTS", bitmap(slots)], ["DIGESTS", slots[0], 1],
                          ["PULL", 0, 1 << 20, bitmap(slots)]):
                kind, answer = link.command("SIDEPOND", *words)
                self.assertEqual(kind != "-", given, f"{words}: {answer}")
                self.assertTrue(given or answer.startswith(b"NOTHELD "), answer)

    def test_one_of_two_others_is_down(self):
        """Only the slots that it holds with that one cannot be judged."""
        nodes = self.ring(count=3)
        holders = [set(names) for names in nodes[0].map().holders]
        slots = {n: [s for s in range(rings.SLOTS) if holders[s] == {"n1", n}] for n in ("n0", "n2")}
        deleted = [i for i in range(KEYS) if "n0" in holders[rings.slot_of(f"gone{i}")]]
        self.fill(nodes)
        self.be_off(nodes[1:])
        self.delete(nodes[0], deleted)
        nodes[1].start()
        wait_for(lambda: self.has_said(nodes[1]), "it drops what it has with the first")
        self.check_given(nodes[1], slots["n2"], False)
        wait_for(lambda: nodes[1].call("SIDEPOND", "DIGESTS", bitmap(slots["n0"])) ==
                 nodes[0].call("SIDEPOND", "DIGESTS", bitmap(slots["n0"])), "it has got it anew")
        self.check_given(nodes[1], slots["n0"], True)
        with nodes[1].connect() as link:
            link.command("SIDEPOND", "ATTACH", 1)
            self.assertEqual(link.command("SIDEPOND", "MISS", "n0", bitmap(slots["n0"]))[1], b"OK")
        wait_for(lambda: nodes[1].call("SIDEPOND", "MISSED", "n0") == 0, "it gives that")
        self.check_given(nodes[1], slots["n2"], False)
        nodes[2].start()
        for node in nodes:
            wait_for(node.holds_all, f"{node.name} holds its slots")
        self.await_equal()
        self.check_values({f"kept{i}": b"v" for i in range(KEYS)})
        self.check_values({f"gone{i}": None if i in deleted else b"v" for i in range(KEYS)})

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
class Zookeeper(Absence, rings.ZookeeperRing):
    def ring(self):
        nodes = self.begin([self.node(f"n{i}", TOMBSTONES) for i in range(2)])
        self.await_map(nodes[0], nodes)
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
        self.await_map(nodes[0], nodes)
        self.check(nodes, b"v")


if __name__ == "__main__":
    print(f"seed {rings.SEED}", file=sys.stderr)
    unittest.main(verbosity=2)
