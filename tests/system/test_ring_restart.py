#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_restart.py - Goal: nodes that are started again while ZooKeeper is away come back by the
last map known, with all that they have missed; those that the others have gone on without do not,
and say so; none answers by what it could not compare.
Method: real sidepondd processes and a real ZooKeeper that is killed, with ponds that survive and
ponds that do not. At the end the digests of all holders of each slot are compared.
"""
import os
import shutil
import socket
import struct
import sys
import threading
import time
import unittest

import ring_daemon_kit
import zookeeper_kit
from daemon_kit import free_port, wait_for

ALONE_SECONDS = 2  # after which a node that reaches nobody believes what it has


class Dropper:
    """What accepts each session of ZooKeeper, and drops it a moment later, without an answer to what
    it is asked; one after the other."""

    def __init__(self, port):
        self.sessions = 0
        self.listener = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while True:
            try:
                link = self.listener.accept()[0]
            except OSError:
                return  # the test is over
            with link:
                self._drop(link)

    def _drop(self, link):
        link.settimeout(0.05)
        try:
            wanted_ms = struct.unpack(">I", link.recv(4096)[16:20])[0]
            link.sendall(struct.pack(">IIIQI16s?", 37, 0, wanted_ms, 7, 16, bytes(16), False))
            self.sessions += 1
            while link.recv(4096):
                pass
        except (OSError, struct.error):
            pass

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


@unittest.skipUnless(zookeeper_kit.available(), "there is no ZooKeeper here")
class Away(ring_daemon_kit.Ring):
    def setUp(self):
        self.ensemble = zookeeper_kit.Ensemble(1)
        self.ensemble.__enter__()
        self.addCleanup(self.ensemble.__exit__, None, None, None)

    def node(self, name):
        source = (f"  zookeeper: \"{self.ensemble.servers}\"\n  cluster: away\n  session: 1s\n"
                  "  file: MAP\n")
        node = ring_daemon_kit.Node(name, f"127.0.0.1:{free_port()}", source)
        node.source = source.replace("MAP", os.path.join(node.directory, "map"))
        node.configure("")
        return node

    def ring(self, count=3):
        nodes = self.begin([self.node(f"n{i}") for i in range(count)])
        self.await_map(nodes[0], nodes)
        epoch = nodes[0].map().epoch
        for node in nodes:
            wait_for(lambda n=node: n.map().epoch == epoch, f"{node.name} knows the map")
        return nodes

    @staticmethod
    def info(node, name):
        text = node.call("INFO", "ring").decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)[name]

    @staticmethod
    def put(node, count, value):
        known = {f"k{i}": value for i in range(count)}
        with node.connect() as link:
            for key in known:
                assert link.command("SET", key, value) == ("+", b"OK")
        return known

    @staticmethod
    def wipe(node):
        node.kill()
        shutil.rmtree(node.pond)

    def test_one_node_with_and_without_its_pond(self):
        nodes = self.ring()
        known = self.put(nodes[0], 200, b"before")
        epoch = nodes[0].map().epoch
        self.ensemble.kill()
        for end, file in ((nodes[0].kill, False), (lambda: self.wipe(nodes[0]), True)):
            if not file:  # the pond's directory has the map as well
                os.unlink(os.path.join(nodes[0].directory, "map"))
            end()
            known |= self.put(nodes[1], 100, b"file" if file else b"pond")
            nodes[0].start()
            wait_for(nodes[0].holds_all, "it holds its slots again")
            self.assertEqual(self.info(nodes[0], "ring_stands_in"), "1")
            self.check_all(known)
        self.ensemble.start()
        for node in nodes:
            wait_for(lambda n=node: n.metric("sidepond_ring_registered") == 1, "it is registered")
        self.assertEqual(self.info(nodes[0], "ring_stands_in"), "0")
        known |= self.put(nodes[0], 50, b"after")
        self.check_all(known)
        self.assertEqual(nodes[1].map().epoch, epoch, "nothing has moved")

    def test_all_at_once(self):
        nodes = self.ring()
        known = self.put(nodes[0], 200, b"value")
        self.ensemble.kill()
        for node in nodes[1:]:
            node.kill()
        self.wipe(nodes[0])
        for node in nodes:
            node.start()
        for node in nodes:
            wait_for(node.holds_all, f"{node.name} holds its slots again")
        self.check_all(known)

    def test_zookeeper_takes_sessions_and_drops_them(self):
        """It has answered nothing by that: the node comes back by the last map, and stands in."""
        nodes = self.ring(2)
        known = self.put(nodes[0], 50, b"value")
        nodes[0].kill()
        self.ensemble.kill()
        dropper = Dropper(self.ensemble.ports[0])
        self.addCleanup(dropper.end)
        nodes[0].start()
        wait_for(nodes[0].holds_all, "it holds its slots again")
        sessions = dropper.sessions
        wait_for(lambda: dropper.sessions > sessions + 2, "more of them have been dropped")
        self.assertEqual(self.info(nodes[0], "ring_stands_in"), "1")
        for node in nodes:
            for key, value in known.items():
                self.assertEqual(node.call("GET", key), value)

    def test_nobody_else_is_there(self):
        nodes = self.ring()
        known = self.put(nodes[0], 60, b"value")
        holders = nodes[0].map().holders
        shared = {key: set(holders[ring_daemon_kit.slot_of(key)]) for key in known}
        self.ensemble.kill()
        nodes[1].kill()
        nodes[0].kill()
        nodes[0].start()
        begun = time.monotonic()
        wait_for(nodes[0].holds_all, "it believes what it has")
        self.assertGreater(time.monotonic() - begun, ALONE_SECONDS - 0.5)
        # What has nothing knows nothing, however long nobody contradicts.
        self.wipe(nodes[0])
        nodes[0].start()
        time.sleep(ALONE_SECONDS + 1)
        for key, value in known.items():
            self.assertEqual(nodes[0].has(key),
                             value if shared[key] == {"n0", "n2"} else "NOTHELD", key)
        nodes[1].start()
        wait_for(nodes[0].holds_all, "the other one has it")
        self.check_all(known)

    def test_others_have_gone_on(self):
        nodes = self.ring()
        known = self.put(nodes[0], 100, b"old")
        old = nodes[0].map().epoch
        nodes[0].kill()
        wait_for(lambda: nodes[1].map().names == ["n1", "n2"] and nodes[1].map().is_settled(),
                 "the others are a ring without it")
        self.ensemble.kill()
        known |= self.put(nodes[1], 100, b"new")
        nodes[0].start()
        wait_for(nodes[0].map, "it has a map")
        wait_for(lambda: nodes[0].map().epoch > old, "it learns the later map")
        nodes[0].await_log("answers for no slot")
        self.assertEqual(self.info(nodes[0], "ring_in_map"), "0")
        self.assertEqual(nodes[0].metric("sidepond_ring_in_map"), 0)
        self.assertNotEqual(self.info(nodes[0], "ring_zookeeper_why"), "")
        for key, value in known.items():
            self.assertEqual(nodes[0].has(key), "NOTHELD")
            self.assertEqual(nodes[0].call("GET", key), value, "it is asked of a holder")
        self.ensemble.start()
        wait_for(lambda: "n0" in nodes[1].map().names and nodes[1].map().is_settled(),
                 "it is in the ring again")
        self.check_all(known)

    def test_a_pond_goes_over_to_another_ring(self):
        """What lies in its directory is not the map of the other ring, and the first one's nodes, though
        they answer, are none of the other's. Nor is it one of theirs, though it answers."""
        nodes = self.ring(2)
        nodes[0].kill()
        nodes[0].source = (f"  zookeeper: \"{self.ensemble.servers}\"\n  cluster: other\n"
                           "  session: 1s\n")
        nodes[0].configure("")
        nodes[0].start()
        wait_for(nodes[0].map, "it has a map")
        wait_for(nodes[0].holds_all, "it holds its slots")
        self.assertEqual(nodes[0].map().names, ["n0"])
        wait_for(lambda: nodes[1].map().names == ["n1"], "it has left the first ring")

    def test_a_later_map_is_learnt_while_it_runs(self):
        """A node that alone has lost ZooKeeper does not go on by a map that others have left."""
        nodes = self.ring()
        self.put(nodes[0], 50, b"value")
        self.ensemble.kill()
        nodes[0].signal(19)  # SIGSTOP: ZooKeeper is back without it, and its session ends
        self.ensemble.start()
        wait_for(lambda: nodes[1].map().names == ["n1", "n2"], "the others go on without it")
        self.ensemble.kill()
        nodes[0].signal(18)
        wait_for(lambda: nodes[0].map().names == ["n1", "n2"], "it learns of that")
        self.assertEqual(self.info(nodes[0], "ring_held_slots"), "0")


if __name__ == "__main__":
    print(f"seed {ring_daemon_kit.SEED}", file=sys.stderr)
    unittest.main(verbosity=2)
