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
import re
import shutil
import signal
import sys
import time
import unittest

import zookeeper_kit
from daemon_kit import BUILD, free_port, wait_for
from resp_wire import Connection
from ring_daemon_kit import SEED, Map, Node, Ring, Writer, ZookeeperRing, slot_of

CLOCK = os.path.abspath(os.path.join(BUILD, "lib", "libring_clock.so"))


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
class Zookeeper(ZookeeperRing):
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
        self.await_map(nodes[0], nodes)
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
        self.await_map(nodes[0], nodes)
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
