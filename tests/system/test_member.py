#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_member.py - Goal: nodes that are members of a ring by ZooKeeper come to one map, and keep it
whatever happens to them, to their sessions and to ZooKeeper. Method: member_node processes, each one
member, against real ZooKeeper servers (zookeeper_kit.py); one server for most tests, each of which
has a cluster of its own there. Every wait is for a condition.
"""
import os
import shutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import zookeeper_kit
from member_kit import SESSION_MS, SLOW, Node

NOTICE_SECONDS = 3.0 * SLOW  # for a loaded machine, above what the protocol takes


class Cutter:
    """Passes on to a server of ZooKeeper, but for the answer to the entry's making: it cuts the
    connection instead, once."""
    CREATE = 1

    def __init__(self, port, entry):
        self.port, self.entry, self.cut, self.awaited = port, entry, False, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.servers = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while True:
            try:
                link = self.listener.accept()[0]
            except OSError:
                return  # the test is over
            with link, socket.create_connection(("127.0.0.1", self.port)) as server:
                self._relay(link, server)

    def _relay(self, link, server):
        received = {link: b"", server: b""}
        try:
            while True:
                for one in select.select([link, server], [], [])[0]:
                    more = one.recv(1 << 16)
                    if not more:
                        return
                    received[one] += more
                    while (packet := self._take(received, one)) is not None:
                        if one is server and packet[4:8] == self.awaited:
                            self.awaited, self.cut = None, True
                            return
                        (link if one is server else server).sendall(packet)
                        if one is link and not self.cut and self._makes(packet):
                            self.awaited = packet[4:8]
        except OSError:
            pass

    @staticmethod
    def _take(received, one):
        size = 4 + int.from_bytes(received[one][:4], "big")
        if len(received[one]) < max(size, 8):
            return None
        packet, received[one] = received[one][:size], received[one][size:]
        return packet

    def _makes(self, packet):
        return int.from_bytes(packet[8:12], "big") == self.CREATE and self.entry in packet

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


class MemberTest(unittest.TestCase):
    """What all tests share: the server, a cluster's name, nodes that are ended."""
    zookeeper = None

    def setUp(self):
        self.nodes = []
        self.cluster = self.id().rsplit(".", 1)[1]
        self.directory = tempfile.mkdtemp(prefix="sidepond-test-member.")

    def tearDown(self):
        for node in self.nodes:
            if node.process.poll() is None:
                node.signal(signal.SIGCONT)
                node.kill()
            else:
                node.close()
        shutil.rmtree(self.directory)

    def node(self, name=None, servers=None, cluster=None, **options):
        node = Node(servers or self.zookeeper.servers, cluster or self.cluster, name, **options)
        self.nodes.append(node)
        return node

    def ring(self, *names, **options):
        nodes = [self.node(name, **options) for name in names]
        for node in nodes:
            node.wait_nodes(*names)
        self.same_map(*nodes)
        return nodes

    def same_map(self, *nodes):
        """All come to the same map, and stay there."""
        for node in nodes:
            node.drain()
        epoch = max(node.map["epoch"] for node in nodes)
        for node in nodes:
            node.wait(lambda n: n.map["epoch"] >= epoch, f"epoch {epoch}")
        self.assertEqual(len({node.map["sum"] for node in nodes}), 1)

    def file(self, name):
        return os.path.join(self.directory, name)

    def assert_unchanged(self, node, before):
        node.drain()
        self.assertEqual(node.map["sum"], before["sum"])


class JoinTest(MemberTest):
    def test_three_nodes_and_an_onlooker(self):
        looker = self.node()
        looker.wait_link("connected")
        self.assertEqual(looker.maps, [])
        nodes = self.ring("a", "b", "c")
        looker.wait_nodes("a", "b", "c")
        self.same_map(looker, *nodes)
        self.assertFalse(looker.status["registered"])
        self.assertEqual(looker.status["session_ms"], SESSION_MS)
        self.assertEqual(nodes[0].map["slots"], 64)
        self.assertEqual(nodes[0].ask("status"), "SP_OK")
        self.assertEqual(nodes[0].status["why"], "")

    def test_clean_leave(self):
        a, b, c = self.ring("a", "b", "c", session=4000)
        b.drain()
        left = time.monotonic()
        self.assertEqual(b.close(), 0)
        a.wait_nodes("a", "c")
        c.wait_nodes("a", "c")
        # Far below the session: it was told, and not found out.
        self.assertLess(a.said[-1][0] - left, 3)

    def test_killed(self):
        a, b, c = self.ring("a", "b", "c")
        b.kill()
        killed = time.monotonic()
        a.wait_nodes("a", "c")
        c.wait_nodes("a", "c")
        tick = zookeeper_kit.TICK_MS / 1000
        self.assertLess(a.said[-1][0] - killed, SESSION_MS / 1000 + tick + NOTICE_SECONDS)

    def test_register_on_command(self):
        a = self.ring("a")[0]
        b = self.node("b", later=1).wait_link("connected")
        b.wait_nodes("a")
        self.assertEqual(b.ask(f"register {b.start_id}"), "SP_OK")
        b.wait_registered()
        a.wait_nodes("a", "b")
        self.assertEqual(b.ask("register 77"), "SP_OK")  # as if the process were another one
        a.wait(lambda n: n.map["nodes"]["b"][3] == "77" and n.map["settled"], "the new start id")
        self.assertEqual(b.ask("unregister"), "SP_OK")
        a.wait_nodes("a")
        b.wait_registered(False)

    def test_twenty_at_once(self):
        names = [f"n{number:02}" for number in range(20)]
        nodes = self.ring(*names, slots=256)
        self.assertLess(nodes[0].map["epoch"], 20 * 20)
        # Nothing more happens.
        before = nodes[0].map
        self.assertEqual(nodes[7].ask("status"), "SP_OK")
        for node in nodes:
            self.assert_unchanged(node, before)

    def test_holds_together(self):
        nodes = [self.node(name, hold=None, slots=256) for name in "abcdef"]
        for node in nodes:
            node.wait(lambda n: len(n.map["nodes"]) == 6, "all six")
        for _ in range(100):
            for node in nodes:
                node.process.stdin.write("hold\n")
                node.process.stdin.flush()
            try:
                for node in nodes:
                    node.wait(lambda n: n.map["settled"], "settled", 0.5 * SLOW)
                break
            except AssertionError:
                continue
        for node in nodes:
            node.wait_nodes(*"abcdef")
        self.same_map(*nodes)


class NameTest(MemberTest):
    def test_other_parameters(self):
        a = self.ring("a")[0]
        b = self.node("b", slots=128, replicas=3).wait_link("refused")
        self.assertIn("'slots':128,'replicas':3", b.status["why"])
        self.assertIn("'slots':64,'replicas':2", b.status["why"])
        b.wait_nodes("a")  # it follows the map all the same
        self.assertEqual(sorted(a.drain().map["nodes"]), ["a"])

    def test_two_nodes_of_one_name(self):
        a = self.node("x", address="127.0.0.1:1").wait_nodes("x")
        other = self.node("x", address="127.0.0.1:2").wait_link("refused")
        self.assertIn("127.0.0.1:1", other.status["why"])
        self.assertIn("127.0.0.1:2", other.status["why"])
        self.assertEqual(a.drain().map["nodes"]["x"][0], "127.0.0.1:1")
        a.close()
        other.wait_registered()
        other.wait(lambda n: n.map["nodes"]["x"][0] == "127.0.0.1:2", "its own address")

    def test_restart_within_the_session(self):
        a, b = self.ring("a", "b")
        b.kill()
        again = self.node("b").wait_registered()
        a.wait(lambda n: n.map["nodes"]["b"][3] == again.start_id and n.map["settled"],
               "the new start id")
        # It was not seen gone meanwhile, and stays when the old session ends.
        self.assertTrue(all("b" in one["nodes"] for one in a.maps[-2:]))
        begun = time.monotonic()
        again.wait(lambda n: time.monotonic() - begun > SESSION_MS / 1000 + 0.5,
                   "the old session's end")
        self.assertEqual(sorted(a.drain().map["nodes"]), ["a", "b"])
        self.assertEqual(a.map["nodes"]["b"][3], again.start_id)

    def test_a_later_process_keeps_the_name(self):
        a, b = self.ring("a", "b")
        b.signal(signal.SIGSTOP)
        later = self.node("b").wait_registered()
        b.signal(signal.SIGCONT)
        b.wait_link("refused")
        self.assertIn("another process", b.status["why"])
        for node in (a, b, later):
            node.wait(lambda n: n.map["nodes"]["b"][3] == later.start_id, "the later process")
        self.assertEqual(later.ask("status"), "SP_OK")
        self.assertTrue(later.status["registered"])

    def test_two_of_one_start_id(self):
        a = self.node("a", start="77").wait_registered()
        # As after a restart of an agent, whose server runs on: the later one counts, and stays.
        b = self.node("a", start="77").wait_registered()
        a.wait_link("refused")
        self.assertEqual(b.ask("status"), "SP_OK")
        self.assertTrue(b.status["registered"])
        b.close()
        a.wait_registered()

    def test_unknown_host(self):
        a = self.node("a", servers="no-such-host.invalid:2181")
        a.wait(lambda n: n.status.get("why"), "a reason")
        self.assertEqual(a.status["link"], "connecting")
        self.assertEqual(a.close(), 0)

    def test_file_of_another_ring(self):
        self.ring("a", "b", "c", cluster="other", file=self.file("map"))
        b = self.ring("b")[0]
        looker = self.node(file=self.file("map")).wait_nodes("b")
        self.assertLessEqual(looker.map["epoch"], 2)
        self.same_map(looker, b)

    def test_credential(self):
        a = self.ring("a", credential="ring:secret")[0]
        for credential in ("ring:wrong", None):
            b = self.node("b", credential=credential).wait_link("refused")
            self.assertIn("password", b.status["why"])
            b.wait_nodes("a")
            self.assertEqual(b.ask("want a 1 0"), "SP_EACCESS")
            b.close()
        c = self.node("c", credential="ring:secret").wait_nodes("a", "c")
        self.assertEqual(c.ask("want a 0 50"), "SP_OK")
        a.wait(lambda n: n.map["nodes"]["a"][1] == 50, "the weight")

    def test_chroot(self):
        servers = self.zookeeper.servers + "/apps/of/mine"
        a, b = self.ring("a", "b", servers=servers)
        self.assertEqual(sorted(self.node(servers=servers + "/").wait_nodes("a", "b").map["nodes"]),
                         ["a", "b"])
        outside = self.node().wait_link("connected")
        self.assertEqual(outside.maps, [])
        b.close()
        a.wait_nodes("a")

    def test_wishes(self):
        a, b, c = self.ring("a", "b", "c")
        looker = self.node().wait_nodes("a", "b", "c")
        self.assertEqual(looker.ask("want b 1 0"), "SP_OK")
        a.wait(lambda n: n.map["nodes"].get("b", [0, 0, 0])[2] == 1 and n.map["settled"], "drained")
        self.assertEqual(c.ask("want b 0 40"), "SP_OK")
        self.assertIn({"wanted": [False, 40]}, b.send("wanted b"))
        b.wait(lambda n: n.map["nodes"]["b"][1:3] == [40, 0] and n.map["settled"], "weight 40")
        self.assertEqual(looker.ask("want b 0 0"), "SP_OK")
        b.wait(lambda n: n.map["nodes"]["b"][1] == 100 and n.map["settled"], "its own weight")
        self.assertEqual(self.node(cluster="nowhere").ask("want b 1 0"), "SP_ENOTFOUND")

    def test_fork(self):
        a, b = self.ring("a", "b")
        self.assertEqual(b.ask("fork"), "SP_OK")
        before = a.drain().map
        self.assertEqual(b.ask("status"), "SP_OK")
        self.assertTrue(b.status["registered"])
        self.assert_unchanged(a, before)


class LossTest(MemberTest):
    def test_the_answer_to_registering_is_lost(self):
        """The node finds its entry made, and is as good a member as any: it becomes a holder."""
        a = self.ring("a")[0]
        cutter = Cutter(self.zookeeper.ports[0], b"/nodes/b")
        self.addCleanup(cutter.end)
        b = self.node("b", servers=cutter.servers)
        b.wait_nodes("a", "b")
        self.assertTrue(cutter.cut)
        self.same_map(a, b)
        b.close()

    def test_session_expires(self):
        a, b, c = self.ring("a", "b", "c")
        b.signal(signal.SIGSTOP)
        a.wait_nodes("a", "c")
        b.signal(signal.SIGCONT)
        b.wait(lambda n: n.lost == 1, "it is told of the loss")
        b.wait_registered()
        for node in (a, b, c):
            node.wait_nodes("a", "b", "c")
        self.assertEqual(b.ask("status"), "SP_OK")
        self.assertEqual(b.status["lost"], 1)
        # Watches are those of the new session.
        c.close()
        b.wait_nodes("a", "b")

    def test_complete_before_the_loss(self):
        """What a node was complete for before others went on without it makes it no holder."""
        a, b = self.ring("a", "b")
        c = self.node("c", hold=None)
        for node in (a, b, c):
            node.wait_nodes("a", "b", "c", settled=False)
        self.assertFalse(c.map["settled"])
        c.signal(signal.SIGSTOP)
        a.wait_nodes("a", "b")
        self.zookeeper.pause()
        c.signal(signal.SIGCONT)
        self.assertEqual(c.ask("hold"), "SP_OK")
        self.zookeeper.resume()
        c.wait(lambda n: n.lost == 1, "it is told of the loss")
        d = self.node("d")
        for node in (a, b, c, d):
            node.wait_nodes("a", "b", "c", "d", settled=False)
        slots = next(word["slots"] for word in c.send("slots") if "slots" in word)
        self.assertFalse([holders for holders in slots if "c" in holders])

    def test_many_vanish(self):
        nodes = self.ring("a", "b", "c", "d", answers="all")
        a = nodes[0]
        before = a.drain().map
        for node in nodes[1:]:
            node.signal(signal.SIGSTOP)
        a.wait(lambda n: {"b", "c", "d"} <= set(n.asked), "all that vanished are asked")
        asked = len(a.asked)
        a.wait(lambda n: len(n.asked) > asked + 2, "they are asked again")
        self.assert_unchanged(a, before)
        self.assertEqual(a.ask("answers c,d"), "SP_OK")
        a.wait_nodes("a", "c", "d", settled=False)
        self.assertEqual(a.ask("answers none"), "SP_OK")
        a.wait_nodes("a", settled=False)
        for node in nodes[1:]:
            node.signal(signal.SIGCONT)
        for node in nodes:
            node.wait_nodes("a", "b", "c", "d")

    def test_many_leave(self):
        """They say so, and are not asked, though they would answer; and they stay out."""
        nodes = self.ring("a", "b", "c", "d", answers="all")
        a = nodes[0]
        for node in nodes[1:]:
            self.assertEqual(node.ask("leave"), "SP_OK")
        for node in nodes:
            node.wait_nodes("a")
        for node in nodes[1:]:
            node.close()
        b = self.node("b")
        a.wait_nodes("a", "b")
        self.assertEqual(a.ask("leave"), "SP_OK")
        b.wait_nodes("b")
        self.assertEqual([name for node in nodes for name in node.drain().asked], [])

    def test_few_vanish(self):
        a, b = self.ring("a", "b", "c", "d", answers="all")[:2]
        b.kill()
        a.wait_nodes("a", "c", "d")
        self.assertEqual(a.asked, [])

    def test_the_map_is_restored(self):
        a, b = self.ring("a", "b", file=self.file("map"))
        before = a.drain().map
        eraser = subprocess.run(
            ["java", *zookeeper_kit.OPTIONS, "-cp", zookeeper_kit.classpath(),
             "org.apache.zookeeper.ZooKeeperMain", "-server", self.zookeeper.servers, "delete",
             f"/sidepond/{self.cluster}/map"], capture_output=True, text=True, check=False)
        self.assertEqual(eraser.returncode, 0, eraser.stderr)
        looker = self.node().wait_nodes("a", "b")
        self.assertEqual(looker.map["sum"], before["sum"])
        c = self.node("c").wait_nodes("a", "b", "c")
        self.assertGreater(c.map["epoch"], before["epoch"])
        self.same_map(a, b, c)


class ServerTest(MemberTest):
    """ZooKeeper itself fails: servers of their own."""

    def test_killed_and_restarted(self):
        with zookeeper_kit.Ensemble(1) as zookeeper:
            nodes = self.ring("a", "b", "c", servers=zookeeper.servers, file=self.file("map"))
            before = nodes[0].drain().map
            zookeeper.kill()
            for node in nodes:
                node.wait_link("connecting")
            # Longer than a session: it says that others may think it gone, and keeps the map.
            for node in nodes:
                node.wait_registered(False)
                self.assertIn("longer than the session", node.status["why"])
            late = self.node("a", servers=zookeeper.servers, file=self.file("map"), later=1)
            late.wait(lambda n: n.maps, "the map of the file")
            self.assertEqual(late.map["sum"], before["sum"])
            self.assertEqual(late.ask("want a 1 0"), "SP_ENODAEMON")
            zookeeper.start()
            for node in nodes:
                node.wait_registered()
                self.assertEqual(node.ask("status"), "SP_OK")
                self.assert_unchanged(node, before)
                self.assertEqual(node.lost, 0)
            self.assertEqual(len({node.map["epoch"] for node in nodes}), 1)
            # Their watches have survived.
            nodes[2].close()
            nodes[0].wait_nodes("a", "b")

    def test_ensemble(self):
        dead = zookeeper_kit.free_ports(3)
        servers = ",".join(f"127.0.0.1:{port}" for port in dead)
        lonely = self.node("z", servers=servers, cluster="none")
        with zookeeper_kit.Ensemble(3) as zookeeper:
            nodes = self.ring("a", "b", "c", servers=zookeeper.servers)
            before = nodes[0].drain().map
            zookeeper.kill(0)
            zookeeper.kill(1)
            zookeeper.await_serving(False)
            for node in nodes:
                node.wait_link("connecting")
                self.assert_unchanged(node, before)
            zookeeper.start(0)
            zookeeper.await_serving()
            for node in nodes:
                node.wait_link("connected").wait_registered()
            # Those whose session outlived the loss are as they were; all are in the map again.
            for node in nodes:
                node.wait_nodes("a", "b", "c")
            nodes[1].close()
            nodes[0].wait_nodes("a", "c")
        self.assertEqual(lonely.ask("map"), "SP_ENOTREADY")
        lonely.wait(lambda n: "refused" in n.status.get("why", ""), "why it has no ring")
        self.assertEqual(lonely.status["link"], "connecting")
        begun = time.monotonic()
        self.assertEqual(lonely.close(), 0)
        self.assertLess(time.monotonic() - begun, 2.5)


def main():
    if not zookeeper_kit.available():
        print("ZooKeeper is not installed")
        sys.exit(77)
    with zookeeper_kit.Ensemble(1) as MemberTest.zookeeper:
        unittest.main()


if __name__ == "__main__":
    main()
