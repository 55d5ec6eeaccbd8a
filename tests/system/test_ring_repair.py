#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_repair.py - Goal: a node that has to pull a lot is useful long before all of it is there:
slots that are pulled are answered, others are asked of who has them, and comparing goes on.
What a node has forgotten for want of memory or because its time was over does not come back.
Method: two servers, both copies of 16 slots each, over the bare protocol. One is started when the
other has the data, and pulls little in a second; one stands still by a signal.
"""
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from daemon_kit import BUILD, free_port, wait_for
from resp_servers import Ours
from resp_wire import Connection, request

VALUE = b"v" * 20000
NODE = os.path.join(BUILD, "bin", "ring_node")
EPOCH_2024_MS = 1704067200000


class Node(Ours):
    def __init__(self, node, ports, *more):
        super().__init__(threads=1, limit=64 << 20)
        self.node, self.ports, self.more = node, ports, list(more)
        self.port = ports[node]
        self.tcp = ("127.0.0.1", self.port)

    def arguments(self):
        nodes = [word for name, port in self.ports.items()
                 for word in ("--of", f"{name}=127.0.0.1:{port}")]
        return super().arguments() + ["--node", self.node] + nodes + self.more

    def ask(self, *command, attached=False):
        with Connection(self.unix) as connection:
            if attached:
                connection.command("SIDEPOND", "ATTACH", 0)
            return connection.command(*command)

    def set(self, key, value, *more):
        """A node that has itself stood still on a slow machine takes it when it knows what it has."""
        wait_for(lambda: self.ask("SET", key, value, *more) == ("+", b"OK"), f"{key} is set")

    def await_value(self, key, value, attached=False):
        wait_for(lambda: self.ask("GET", key, attached=attached) == ("$", value),
                 f"{self.node} answers with the value of {key}", 5)

    def info(self):
        text = self.ask("INFO", "ring")[1].decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def figure(self, name):
        return int(self.info()[f"ring_{name}"])

    def is_whole(self):
        return self.figure("held_slots") == 16

    def stand_still(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        wait_for(lambda: self.state() == "T", "the node stands still")

    def state(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def missed(self, of):
        return self.ask("SIDEPOND", "MISSED", of)[1]


def now_version():
    return (int(time.time() * 1000) - EPOCH_2024_MS) << 8


class RepairCase(unittest.TestCase):
    """Ports are held until a node takes them, as the other one connects to them all the while."""

    def setUp(self):
        self.held = {name: self.enterContext(socket.socket()) for name in "ab"}
        for holder in self.held.values():
            holder.bind(("127.0.0.1", 0))
        self.ports = {name: holder.getsockname()[1] for name, holder in self.held.items()}

    def start(self, name, *more):
        self.held[name].close()
        return self.enterContext(Node(name, self.ports, *more))

    def start_both(self, more_of_a=(), more_of_b=()):
        a, b = self.start("a", *more_of_a), self.start("b", *more_of_b)
        for node in (a, b):
            wait_for(node.is_whole, f"{node.node} holds its slots")
        return a, b


class PullTest(RepairCase):
    @staticmethod
    def pause(a, b, values):
        """In the middle of it the node stands still, misses writes, and doubts what it has."""
        b.stand_still()
        since = time.monotonic()
        for key in list(values)[::10]:
            values[key] = b"changed"
            a.set(key, values[key])
        time.sleep(max(0, 0.7 - (time.monotonic() - since)))  # longer than a stall
        b.go_on()

    def test_a_long_pull(self):
        a = self.start("a")
        wait_for(a.is_whole, "a believes itself")
        keys = [f"key:{i}" for i in range(150)]
        with Connection(a.unix) as c:
            c.send(b"".join(request(("SET", key, VALUE)) for key in keys))
            refused = [key for key in keys if c.read() != ("+", b"OK")]
        for key in refused:
            a.set(key, VALUE)
        b = self.start("b", "--throttle", str(1 << 20))  # of 3 MB
        held, asked, refused, compared, paused = set(), 0, 0, 0, False
        values = dict.fromkeys(keys, VALUE)
        deadline = time.monotonic() + 20
        while not b.is_whole():
            self.assertLess(time.monotonic(), deadline)
            held.add(b.figure("held_slots"))
            for key in keys[::20]:
                refused += b.ask("GET", key, attached=True)[0] == "-"
                b.await_value(key, values[key])
                asked += 1
            if b.figure("held_slots") < 16:
                compared = max(compared, b.figure("compared_slots"))
            if compared and len(held - {0, 16}) >= 2 and not paused:
                paused = True
                self.pause(a, b, values)
        self.assertGreater(asked, 0)
        self.assertGreater(refused, 0)
        self.assertGreaterEqual(len(held - {0, 16}), 2, held)  # slot by slot, not all at the end
        self.assertGreater(compared, 0)  # meanwhile
        for key, value in values.items():
            b.await_value(key, value, attached=True)


class LapseTest(RepairCase):
    def test_what_has_expired_before_it_was_missed(self):
        """A node stands still and misses a write that has expired before anybody knows: the value
        before that does not come back."""
        a, b = self.start_both()
        keys = [f"key:{i}" for i in range(50)]
        for key in keys:
            a.set(key, "old")
        b.stand_still()
        try:
            with Connection(a.unix) as c:
                c.send(b"".join(request(("SET", key, "new", "PX", 20)) for key in keys))
                refused = [key for key in keys if c.read() != ("+", b"OK")]
                for key in refused:
                    a.set(key, "new", "PX", 20)
                for key in keys:
                    wait_for(lambda key=key: c.command("GET", key) == ("$", None), "it has expired", 5)
            wait_for(lambda: a.missed("b") > 0, "slots are missed", 10)
        finally:
            b.go_on()
        wait_for(lambda: a.missed("b") == 0 and b.is_whole(), "b has caught up")
        for node in (a, b):
            for key in keys:
                node.await_value(key, None, attached=True)


class FakePeer:
    """A node that takes everything, but answers PUTs only when nothing more comes of them: so what
    has come is what the other one has sent without an answer."""

    def __init__(self, listener):
        self.listener, self.most, self.keys, self.times = listener, 0, set(), []
        self.answer = b":1\r\n"
        listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                link, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()
        except OSError:
            return  # the test is over

    def _serve(self, link):
        waiting, bytes_waiting, received = 0, 0, bytearray()
        with link:
            while True:
                if waiting and not select.select([link], [], [], 0.05)[0]:
                    self.most = max(self.most, bytes_waiting)
                    link.sendall(self.answer * waiting)
                    waiting = bytes_waiting = 0
                more = link.recv(1 << 20)
                if not more:
                    return
                received += more
                while (words := take_request(received)) is not None:
                    if words[1:2] == [b"PUT"]:
                        waiting, bytes_waiting = waiting + 1, bytes_waiting + len(words[6])
                        self.keys.add(words[5])
                        self.times.append(time.monotonic())
                    elif words[1:2] == [b"ATTACH"]:
                        link.sendall(b"*3\r\n$1\r\n7\r\n:1\r\n:1\r\n")
                    else:
                        link.sendall(self.reply(words))

    def reply(self, words):
        return b"+PONG\r\n" if words == [b"PING"] else b"-ERR\r\n"


def take_request(received):
    """Takes one off the front; None: it is not yet there as a whole."""
    words, at = [], received.find(b"\r\n") + 2
    for _ in range(int(received[1:at - 2]) if at > 1 else 0):
        end = received.find(b"\r\n", at)
        size = int(received[at + 1:end]) if end >= 0 else 0
        if end < 0 or len(received) < end + size + 4:
            return None
        words.append(bytes(received[end + 2:end + 2 + size]))
        at = end + size + 4
    del received[:at if words else 0]
    return words or None


class LargeTest(RepairCase):
    def test_what_is_in_flight(self):
        """Of what was missed, a megabyte or one value."""
        a = self.start("a")
        wait_for(a.is_whole, "a believes itself")
        sizes = {f"key:{i}".encode(): 400000 if i % 4 else 3000000 for i in range(12)}
        for key, size in sizes.items():
            a.set(key, b"x" * size)
        peer = FakePeer(self.held["b"])
        wait_for(lambda: a.missed("b") == 0, "all is sent")
        self.assertEqual(peer.keys, set(sizes))
        self.assertGreaterEqual(peer.most, 3000000)
        self.assertLess(peer.most, 3400000)


class Waiting(FakePeer):
    """A node that has nothing in any slot, and does not know that yet of some of them."""

    def __init__(self, listener, waits):
        self.waits, self.asked = waits, []
        super().__init__(listener)

    def reply(self, words):
        if words[1:2] == [b"MISSED"] or words[1:2] == [b"SINCE"]:
            return b":0\r\n"
        if words[1:2] != [b"DIGESTS"]:
            return super().reply(words)
        slots = int.from_bytes(words[2], "little")
        self.asked.append(slots)
        if slots & self.waits:
            return b"-NOTHELD 1\r\n"
        size = 8 * slots.bit_count()
        return b"$%d\r\n%s\r\n" % (size, bytes(size))


class WaitingTest(RepairCase):
    def test_one_slot_waits(self):
        """It does not hold up the others; and while nothing comes of it, it is not asked for all the time."""
        peer = Waiting(self.held["b"], 1 << 5 | 1 << 11)
        a = self.start("a")
        wait_for(lambda: a.figure("held_slots") == 14, "all others are trusted")
        asked, since = len(peer.asked), time.monotonic()
        wait_for(lambda: len(peer.asked) > asked + 20, "it is asked on")
        self.assertGreater(time.monotonic() - since, 0.5)
        self.assertEqual(a.figure("held_slots"), 14)
        peer.waits = 0
        wait_for(a.is_whole, "these as well")


class SlowTest(RepairCase):
    """The other node is there, but slow, or of another mind."""

    def setUp(self):
        super().setUp()
        self.a = self.start("a")
        wait_for(self.a.is_whole, "a believes itself")

    def test_what_is_on_its_way(self):
        """What was acknowledged because the other was too slow is counted as missed until it has
        got it."""
        peer = FakePeer(self.held["b"])
        wait_for(lambda: self.a.missed("b") == 0, "they are connected", 5)
        keys = [f"key:{i}".encode() for i in range(3000)]
        with Connection(self.a.unix) as c:
            c.socket.sendall(b"".join(request(("SET", key, "v")) for key in keys))
            for _ in keys:
                self.assertEqual(c.read(), ("+", b"OK"))
        missed = self.a.missed("b")
        self.assertTrue(missed or peer.keys.issuperset(keys))
        wait_for(lambda: self.a.missed("b") == 0, "the other has caught up")
        self.assertGreaterEqual(peer.keys, set(keys))

    def test_not_registered_yet(self):
        """What a node refuses as not its own, though the map says that it is, is sent again later."""
        self.a.set("key", "v")
        peer = FakePeer(self.held["b"])
        peer.answer = b"-MOVED 1\r\n"
        wait_for(lambda: len(peer.times) > 1, "it is sent, and again")
        self.assertGreater(peer.times[1] - peer.times[0], 0.9)
        peer.answer = b":1\r\n"
        wait_for(lambda: self.a.missed("b") == 0, "all is sent")

    def test_asking_does_not_connect(self):
        """Who asks for MISSED all the time makes nobody connect all the time."""
        tries, until = 0, time.monotonic() + 1
        self.held["b"].listen()
        self.held["b"].setblocking(False)
        with Connection(self.a.unix) as c:
            while time.monotonic() < until:
                self.assertGreater(c.command("SIDEPOND", "MISSED", "b")[1], 0)
                try:
                    self.held["b"].accept()[0].close()
                    tries += 1
                except BlockingIOError:
                    pass
        self.assertTrue(2 <= tries <= 25, tries)


class PassedOnTest(RepairCase):
    def test_what_is_old_stays_old(self):
        """What comes by an older map is passed on with the version that it came with, also where it
        leaves nothing behind: a newer entry that only the other node has stays."""
        a, b = self.start_both()
        hour = 3600000 << 8
        now = now_version()
        with Connection(a.unix) as at_a, Connection(b.unix) as at_b:
            epoch = at_b.command("SIDEPOND", "ATTACH", 0)[1][1][1]
            at_a.command("SIDEPOND", "ATTACH", 0)
            for key, version in (("erased", now), ("lapsed", now), ("put", now),
                                 ("gone", now - 4 * hour)):
                self.assertEqual(at_b.command("SIDEPOND", "PUT", epoch, version, 0, key, "v")[0], ":")
            for call in (("ERASE", 0, now - 2 * hour, "erased"),
                         ("PUT", 0, now - 2 * hour, 1, "lapsed", "old"),
                         ("PUT", 0, now - 2 * hour, 0, "put", "old"),
                         ("ERASE", 0, now - 2 * hour, "gone")):
                self.assertEqual(at_a.command("SIDEPOND", *call)[0], "*")
        b.await_value("gone", None)  # the last one that is passed on
        for key in ("erased", "lapsed", "put"):
            self.assertEqual(b.ask("GET", key), ("$", b"v"), key)


class NoMapTest(unittest.TestCase):
    def test_changing_what_nobody_holds(self):
        """A node that knows of no map yet counts nothing on from what may be old."""
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory, socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))  # where no ZooKeeper is
            port = free_port()
            with subprocess.Popen([NODE, directory, str(port), "a", f"127.0.0.1:{port}", "16",
                                   str(64 << 20), "zookeeper",
                                   f"127.0.0.1:{holder.getsockname()[1]}"]) as process:
                try:
                    c = self.enterContext(wait_for(lambda: connect(port), "it listens"))
                    self.assertEqual(c.command("SET", "key", "5"), ("+", b"OK"))
                    kind, text = c.command("INCR", "key")
                    self.assertEqual((kind, text[:8]), ("-", b"TRYAGAIN"))
                    self.assertEqual(c.command("GET", "key"), ("$", b"5"))
                finally:
                    process.terminate()


def connect(port):
    try:
        return Connection(("127.0.0.1", port))
    except OSError:
        return None


class FullTest(RepairCase):
    def test_deleting_without_memory(self):
        """A node whose memory is full has not got a key: its deletion is passed on all the same,
        also if the other's clock is ahead."""
        a, b = self.start_both(("--no-evict", "--cache", str(1 << 20)))
        with Connection(a.unix) as c:
            epoch = c.command("SIDEPOND", "ATTACH", 0)[1][1][1]
            size = 100000
            for i in range(100000):
                version = now_version()
                if c.command("SIDEPOND", "PUT", epoch, version, 0, f"fill:{i}", b"x" * size)[0] == "-":
                    size //= 4
                    if size == 0:
                        break
            self.assertEqual(size, 0)
        for ahead_ms in (0, 5000):
            version = now_version() + (ahead_ms << 8)
            key = f"key:{ahead_ms}"
            with Connection(b.unix) as there:
                there.command("SIDEPOND", "ATTACH", epoch)
                reply = there.command("SIDEPOND", "PUT", epoch, version, 0, key, "only there")
                self.assertEqual(reply[0], ":")
                a.ask("DEL", key)
            b.await_value(key, None, attached=True)


if __name__ == "__main__":
    unittest.main()
