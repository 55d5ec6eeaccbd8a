#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_commands.py - Goal: what a node of a ring says to ring clients, to other nodes, and to
clients that know nothing of rings is that of docs/RING.md: versions decide, replies come when the
other copies have what was written, reads of what a node does not hold are refused or asked of who
does, in the order of the requests.
Method: three servers, two copies, 16 slots, over the bare protocol; which node holds a key is what the
nodes themselves say to attached connections. A node is stopped and goes on by signals.
"""
import os
import signal
import socket
import struct
import time
import unittest

from daemon_kit import free_port, wait_for
from resp_servers import Ours
from resp_wire import Connection, request

NAMES = ("a", "b", "c")
SLOTS = 16
ACK_SECONDS = 0.15
EPOCH_2024_MS = 1704067200000


class Node(Ours):
    def __init__(self, node, ports):
        super().__init__(threads=2, limit=64 << 20)
        self.node, self.ports = node, ports
        self.port = ports[node]
        self.tcp = ("127.0.0.1", self.port)

    def arguments(self):
        nodes = [word for name, port in self.ports.items()
                 for word in ("--of", f"{name}=127.0.0.1:{port}")]
        return super().arguments() + ["--node", self.node] + nodes

    def info(self):
        with Connection(self.unix) as connection:
            text = connection.command("INFO", "ring")[1].decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def is_whole(self):
        info = self.info()
        return (info["ring_suspect_slots"] == "0" and info["ring_pulling_slots"] == "0"
                and int(info["ring_held_slots"]) > 0 and self.reaches_all(info))

    def state(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0]

    @staticmethod
    def reaches_all(info):
        return all("reachable=1" in info[f"ring_peer{p}"] and "missed=0" in info[f"ring_peer{p}"]
                   for p in range(int(info["ring_peers"])))


def now_version():
    return (int(time.time() * 1000) - EPOCH_2024_MS) << 8


class RingCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ports = {name: free_port() for name in NAMES}
        cls.nodes = [cls.enterClassContext(Node(name, ports)) for name in NAMES]
        for node in cls.nodes:
            wait_for(node.is_whole, f"{node.node} holds its slots", 20)
        cls.sequence = 0

    def plain(self, node):
        return self.enterContext(Connection(self.nodes[node].unix))

    def attached(self, node, epoch=None):
        connection = self.plain(node)
        kind, reply = connection.command("SIDEPOND", "ATTACH", "0" if epoch is None else epoch)
        self.assertEqual((kind, [r[0] for r in reply]), ("*", ["$", ":", ":"]))
        if epoch is None:
            self.epoch = reply[1][1]
            connection.command("SIDEPOND", "ATTACH", self.epoch)
        return connection

    def holders(self, key):
        found = []
        for n in range(3):
            kind, reply = self.attached(n).command("EXISTS", key)
            if kind == ":":
                found.append(n)
            else:
                self.assertEqual((kind, reply), ("-", b"NOTHELD %d" % self.epoch))
        self.assertEqual(len(found), 2, key)
        return found

    def key(self, but=None, held_by=None):
        """A new key that one node does not hold, or does."""
        for _ in range(1000):
            type(self).sequence += 1
            key = f"key:{self.sequence}"
            held = self.holders(key)
            if (but is None or but not in held) and (held_by is None or held_by in held):
                return key
        raise AssertionError("no such key")

    def error(self, reply, begins):
        self.assertEqual(reply[0], "-", reply)
        self.assertTrue(reply[1].startswith(begins), reply)


class RingTest(RingCase):
    # --- versions ---------------------------------------------------------------------------------

    def test_put_and_erase(self):
        key = self.key(held_by=0)
        c = self.attached(0)
        version = now_version()

        def put(v, value, expiry=0):
            return c.command("SIDEPOND", "PUT", self.epoch, v, expiry, key, value)

        kind, clock = put(version, "one")
        self.assertEqual(kind, ":")
        self.assertGreaterEqual(clock, version)
        self.assertEqual(c.command("GET", key), ("$", b"one"))
        self.assertEqual(put(version - 1, "older"), ("-", b"NEWER %d" % version))
        self.assertEqual(put(version, "one")[0], ":")  # again
        self.assertEqual(put(version, "zzzz")[0], ":")  # equal versions: the longer one
        self.assertEqual(put(version, "one"), ("-", b"NEWER %d" % version))
        erase = c.command("SIDEPOND", "ERASE", self.epoch, version + 2, key)
        self.assertEqual(erase[0], ":")
        self.assertEqual(c.command("GET", key), ("$", None))
        self.assertEqual(put(version + 1, "late"), ("-", b"NEWER %d" % (version + 2)))
        self.assertEqual(c.command("SIDEPOND", "ERASE", self.epoch, version, key),
                         ("-", b"NEWER %d" % (version + 2)))
        later = int(time.time() * 1000) + 60000
        self.assertEqual(put(version + 3, "for a while", later)[0], ":")
        self.assertEqual(c.command("PEXPIRETIME", key), (":", later))
        self.error(put(version + (3600000 << 8), "ahead"), b"CLOCK ")
        self.assertEqual(c.command("GET", key), ("$", b"for a while"))

    def test_clocks_catch_up(self):
        key = self.key(held_by=0)
        c = self.attached(0)
        ahead = now_version() + (30000 << 8)
        self.assertGreaterEqual(c.command("SIDEPOND", "PUT", self.epoch, ahead, 0, key, "x")[1], ahead)
        self.assertEqual(c.command("SET", key, "plain, and after that"), ("+", b"OK"))
        self.assertEqual(c.command("GET", key), ("$", b"plain, and after that"))

    def test_maps(self):
        key = self.key(but=0)
        c = self.attached(0)
        version = now_version()
        self.assertEqual(c.command("SIDEPOND", "PUT", self.epoch, version, 0, key, "x"),
                         ("-", b"MOVED %d" % self.epoch))
        self.assertEqual(c.command("SIDEPOND", "ERASE", self.epoch, version, key),
                         ("-", b"MOVED %d" % self.epoch))
        first, second = self.holders(key)
        kind, reply = self.attached(first).command("SIDEPOND", "PUT", 0, version, 0, key, "passed on")
        self.assertEqual((kind, reply[1]), ("*", (":", self.epoch)))
        self.assertEqual(self.attached(second).command("GET", key), ("$", b"passed on"))

    def test_hostile(self):
        c = self.attached(0)
        numbers = ["", "-1", "+1", "01", "1.5", "x", "9223372036854775808", " 1", "1 ", b"1\0"]
        for bad in numbers:
            for at in range(3):
                words = [str(self.epoch), "5", "0"]
                words[at] = bad
                self.error(c.command("SIDEPOND", "PUT", *words, "k", "v"), b"ERR")
                self.error(c.command("SIDEPOND", "ERASE", *words[:2], "k"), b"ERR") \
                    if at < 2 else None
            self.error(c.command("SIDEPOND", "ATTACH", bad), b"ERR")
            self.error(c.command("SIDEPOND", "DIGESTS", bad, 1), b"ERR")
            self.error(c.command("SIDEPOND", "PULL", "0", bad, b"\xff\xff"), b"ERR")
        for first, count in ((0, 0), (0, SLOTS + 1), (SLOTS, 1), (SLOTS - 1, 2)):
            self.error(c.command("SIDEPOND", "DIGESTS", first, count), b"ERR")
        for bitmap in (b"", b"\xff", b"\xff" * 3, b"\xff" * 2048):
            self.error(c.command("SIDEPOND", "PULL", 0, 100, bitmap), b"ERR the bitmap")
            self.error(c.command("SIDEPOND", "MISS", "b", bitmap), b"ERR the bitmap")
        for cursor in ("", "-1", "x", "99999999999999999999"):
            self.error(c.command("SIDEPOND", "PULL", cursor, 100, b"\xff\xff"), b"ERR invalid")
        for name in ("", "z", "a" * 64, b"b\0"):
            self.error(c.command("SIDEPOND", "MISSED", name), b"ERR there is no such node")
            self.error(c.command("SIDEPOND", "MISS", name, b"\0\0"), b"ERR there is no such node")
        self.error(c.command("SIDEPOND", "PUT", self.epoch, str(1 << 48), 0, "k", "v"), b"ERR")
        self.error(c.command("SIDEPOND", "PUT", 1, 2, 0, "k"), b"ERR wrong number")
        key = self.key(held_by=0)
        self.error(c.command("SIDEPOND", "PUT", self.epoch, now_version(), 0, key + "x" * 65536, "v"),
                   b"")

    def test_who_may(self):
        """What changes something needs ATTACH; what shows or sends entries, an administrator."""
        key, plain, c = self.key(held_by=0), self.plain(0), self.attached(0)
        for call in (("PUT", self.epoch, now_version(), 0, key, "v"), ("MISS", "b", b"\xff\xff"),
                     ("ERASE", self.epoch, now_version(), key)):
            self.error(plain.command("SIDEPOND", *call), b"ERR SIDEPOND ATTACH is to come first")
        self.assertEqual(plain.command("SIDEPOND", "MISSED", "b"), (":", 0))
        plain.command("SIDEPOND", "ATTACH", self.epoch)
        self.assertEqual(plain.command("SIDEPOND", "PUT", self.epoch, now_version(), 0, key, "v")[0], ":")
        plain.command("RESET")
        self.error(plain.command("SIDEPOND", "MISS", "b", b"\xff\xff"), b"ERR SIDEPOND ATTACH")
        c.command("ACL", "SETUSER", "reads", "on", "nopass", "~*", "+@read", "+sidepond|attach")
        c.command("ACL", "SETUSER", "writes", "on", "nopass", "~app:*", "+@all", "-@admin")
        try:
            for user, refused in (("reads", ("PUT", "ERASE", "MISS", "PULL", "DIGESTS")),
                                  ("writes", ("PULL", "DIGESTS"))):
                self.assertEqual(plain.command("AUTH", user, "x"), ("+", b"OK"))
                self.assertEqual(plain.command("SIDEPOND", "ATTACH", self.epoch)[0], "*")
                for call in (("PUT", self.epoch, 1, 0, key, "v"), ("ERASE", self.epoch, 1, key),
                             ("MISS", "b", b"\0\0"), ("PULL", 0, 1, b"\0\0"), ("DIGESTS", 0, 1)):
                    reply = plain.command("SIDEPOND", *call)
                    if call[0] in refused or key in call:
                        self.error(reply, b"NOPERM")
                    else:
                        self.assertNotEqual(reply[0], "-", (user, call, reply))
        finally:
            c.command("ACL", "DELUSER", "reads", "writes")

    # --- clients that know nothing of the ring ----------------------------------------------------

    def test_passing_on(self):
        """What has been answered is at the other holder."""
        key = self.key(held_by=0)
        other = next(n for n in self.holders(key) if n != 0)
        there, c = self.attached(other), self.plain(0)
        both = f"{{{key}}}2"

        def same(*command):
            reply = c.command(*command)
            self.assertNotEqual(reply[0], "-", (command, reply))
            for name in (key, both):
                for ask in ("GET", "PEXPIRETIME"):
                    here = c.command(ask, name)
                    self.assertEqual(there.command(ask, name), here, (command, name))

        for command in (("SET", key, "1"), ("INCR", key), ("APPEND", key, "5"), ("EXPIRE", key, "100"),
                        ("PERSIST", key), ("GETEX", key, "PX", "100000"), ("SETRANGE", key, "1", "99"),
                        ("INCRBYFLOAT", key, "0.5"), ("COPY", key, both), ("RENAME", both, key),
                        ("GETSET", key, "x"), ("MSET", key, "1", both, "2"), ("GETDEL", both),
                        ("SETEX", key, "100", "y"), ("SET", key, "z", "KEEPTTL"), ("DEL", key, both),
                        ("SETNX", key, "new"), ("EXPIREAT", key, "1"), ("MSETNX", key, "1", both, "2"),
                        ("PEXPIREAT", both, "1"), ("UNLINK", key)):
            same(*command)
        token = c.command("SIDEPOND", "LEASE", key, 0)[1][1][1]
        same("SIDEPOND", "FILL", key, token, "computed", "PX", "50000")
        payload = c.command("DUMP", key)[1]
        same("RESTORE", both, "0", payload)
        for command in (("MULTI",), ("SET", key, "in"), ("INCR", both + "n"), ("EXEC",)):
            c.command(*command)
        self.assertEqual(there.command("GET", key), ("$", b"in"))
        self.assertEqual(there.command("GET", both + "n"), ("$", b"1"))

    def test_deleting_what_is_not_here(self):
        """An entry that the other copy alone has."""
        key = self.key(held_by=0)
        other = next(n for n in self.holders(key) if n != 0)
        there = self.attached(other)
        for delete in (("DEL", key), ("GETDEL", key), ("EXPIRE", key, "-1"), ("UNLINK", key)):
            latest = max(self.plain(n).command("SIDEPOND", "ATTACH", 0)[1][2][1] for n in (0, other))
            there.command("SIDEPOND", "PUT", self.epoch, latest + 1, 0, key, "only there")
            self.assertEqual(there.command("GET", key), ("$", b"only there"))
            self.plain(0).command(*delete)
            self.assertEqual(there.command("GET", key), ("$", None), delete)

    def test_asking_holders(self):
        c, key, here = self.plain(0), self.key(but=0), self.key(held_by=0)
        there = self.attached(self.holders(key)[1])
        self.assertEqual(c.command("SET", key, "10"), ("+", b"OK"))
        self.assertEqual(there.command("GET", key), ("$", b"10"))
        self.assertEqual(c.command("INCR", key), (":", 11))
        self.assertEqual(there.command("GET", key), ("$", b"11"))
        c.command("SET", here, "h")
        self.assertEqual(c.command("MGET", here, key, "nowhere", here),
                         ("*", [("$", b"h"), ("$", b"11"), ("$", None), ("$", b"h")]))
        self.assertEqual(c.command("EXISTS", here, key, key, "nowhere"), (":", 3))
        self.assertEqual(c.command("TTL", key), (":", -1))
        self.assertEqual(c.command("TYPE", key), ("+", b"string"))
        self.error(c.command("RENAME", key, here), b"CROSSSLOT")
        self.error(c.command("MSETNX", key, "1", here, "2"), b"CROSSSLOT")
        self.assertEqual(c.command("MSET", key, "m1", here, "m2"), ("+", b"OK"))
        self.assertEqual(there.command("GET", key), ("$", b"m1"))
        self.assertEqual(c.command("DEL", here, key, "nowhere"), (":", 2))
        self.assertEqual(there.command("GET", key), ("$", None))
        self.error(c.command("WATCH", key), b"ERR this node does not hold")
        c.command("HELLO", 3)
        self.assertEqual(c.command("GET", key), ("_", None))
        self.assertEqual(c.command("MGET", key), ("*", [("_", None)]))

    def test_order(self):
        """A pipeline of reads and writes, here and there; one that says no more after it."""
        c, key, here = self.plain(0), self.key(but=0), self.key(held_by=0)
        calls, expected = [], []
        for i in range(60):
            calls += [("SET", key, i), ("GET", key), ("INCR", here), ("PING", f"{i}"), ("STRLEN", key)]
            expected += [("+", b"OK"), ("$", b"%d" % i), (":", i + 1), ("$", b"%d" % i),
                         (":", len(str(i)))]
        c.send(b"".join(map(request, calls)))
        self.assertEqual([c.read() for _ in calls], expected)
        c = self.plain(0)
        c.send(f"SET {here} inline\r\nGET '{key}'\r\nGET {here}\r\nSIDEPOND ATTACH 0\r\nQUIT\r\n".encode())
        replies = c.read_to_end()
        self.assertEqual(replies[:3], [("+", b"OK"), ("$", b"59"), ("$", b"inline")])
        self.assertEqual((replies[3][0], replies[4]), ("*", ("+", b"OK")))

    def test_copies_that_clients_keep(self):
        """Of what this node does not hold, no copy is kept; of the rest, until another node's write."""
        c, key, here = self.plain(0), self.key(but=0), self.key(held_by=0)
        self.plain(0).command("MSET", key, "1", here, "1")
        c.command("HELLO", 3)
        self.assertEqual(c.command("CLIENT", "TRACKING", "ON"), ("+", b"OK"))

        def push(name):
            return (">", [("$", b"invalidate"), ("*", [("$", name.encode())])])

        self.assertEqual((c.command("GET", key), c.read()), (("$", b"1"), push(key)))
        self.assertEqual(c.command("GET", here), ("$", b"1"))
        other = next(n for n in self.holders(here) if n != 0)
        self.plain(other).command("SET", here, "2")
        self.assertEqual(c.read(), push(here))

    def test_who_says_no_more(self):
        key, here, c = self.key(but=0), self.key(held_by=0), self.plain(0)
        c.send(request(["SET", here, "v"]) + request(["GET", here]))
        c.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(c.read_to_end(), [("+", b"OK"), ("$", b"v")])
        gone = self.plain(0)
        gone.send(request(["SET", key, "v"]) * 50 + request(["GET", key]) * 50)
        gone.close()
        self.assertEqual(self.plain(0).command("PING"), ("+", b"PONG"))

    def test_transactions(self):
        key, here = self.key(but=0), self.key(held_by=0)
        for c, error in ((self.plain(0), b"ERR this node does not hold"),
                         (self.attached(0), b"NOTHELD %d" % self.epoch)):
            self.assertEqual(c.command("MULTI"), ("+", b"OK"))
            self.error(c.command("GET", key), error)
            self.error(c.command("EXEC"), b"EXECABORT")
            c.command("MULTI")
            if error.startswith(b"NOTHELD"):
                self.error(c.command("SET", key, "blind"), error)
                self.error(c.command("EXEC"), b"EXECABORT")
                continue
            self.assertEqual(c.command("SET", key, "blind"), ("+", b"QUEUED"))
            c.command("SET", here, "blind")
            self.assertEqual(c.command("EXEC"), ("*", [("+", b"OK")] * 2))
            self.assertEqual(self.attached(self.holders(key)[0]).command("GET", key), ("$", b"blind"))

    def test_attached(self):
        c, key, here = self.attached(0), self.key(but=0), self.key(held_by=0)
        held = b"NOTHELD %d" % self.epoch
        for call in (("GET", key), ("MGET", here, key), ("EXISTS", key), ("INCR", key), ("TTL", key),
                     ("SET", key, "v", "NX"), ("SETNX", key, "v"), ("WATCH", key), ("RENAME", here, key),
                     ("SIDEPOND", "LEASE", key, 0), ("GETDEL", key), ("SET", key, "v"), ("DEL", key),
                     ("MSET", key, "v")):
            self.assertEqual(c.command(*call), ("-", held), call)
        put = c.command("SIDEPOND", "PUT", 0, now_version(), 0, key, "v")
        self.assertEqual(put, ("-", b"MOVED %d" % self.epoch))
        owner = self.attached(self.holders(key)[0])
        self.assertEqual(owner.command("SET", key, "v", "PX", "90000"), ("+", b"OK"))
        self.assertEqual(self.attached(self.holders(key)[0]).command("GET", key), ("$", b"v"))
        c.command("RESET")
        self.assertEqual(c.command("GET", key), ("$", b"v"))

    # --- what nodes ask ---------------------------------------------------------------------------

    def test_pull(self):
        held = {}
        c, version = self.attached(0), now_version()
        for i in range(300):
            key = f"pull:{i}"
            if c.command("EXISTS", key)[0] == ":":
                held[key.encode()] = b"x" * (i * 10)
                reply = c.command("SIDEPOND", "PUT", self.epoch, version, 0, key, "x" * (i * 10))
                self.assertEqual(reply[0], ":")
        gone = next(iter(held))
        c.command("SIDEPOND", "ERASE", self.epoch, version + 1, gone)
        held[gone] = None
        slots = {key: c.command("CLUSTER", "KEYSLOT", key)[1] for key in held}
        for bitmap in (b"\xff\xff", struct.pack("<H", 1 << slots[gone])):
            for size in (1, 5000, 1 << 30):
                pulled, pages = self.pull(c, size, bitmap)
                mask = struct.unpack("<H", bitmap)[0]
                wanted = {key: value for key, value in held.items() if mask >> slots[key] & 1}
                got = {key: value for key, value in pulled.items() if key in held}
                self.assertEqual(got, wanted)
                self.assertTrue(pages > 3 if size == 1 and mask == 0xffff else True, pages)

    def pull(self, connection, size, bitmap):
        pulled, cursor, pages = {}, b"0", 0
        while True:
            kind, (next_cursor, entries) = connection.command("SIDEPOND", "PULL", cursor, size, bitmap)
            self.assertEqual(kind, "*")
            for _, (key, version, expiry, value) in entries[1]:
                self.assertEqual((version[0], expiry[0]), (":", ":"))
                pulled[key[1]] = value[1]
            pages += 1
            cursor = next_cursor[1]
            if cursor == b"0":
                return pulled, pages

    def test_digests(self):
        key = self.key(held_by=0)
        other = next(n for n in self.holders(key) if n != 0)
        slot = self.plain(0).command("CLUSTER", "KEYSLOT", key)[1]
        before = self.plain(0).command("SIDEPOND", "DIGESTS", slot, 1)
        self.plain(0).command("SET", key, "counts")
        one, two = (self.plain(n).command("SIDEPOND", "DIGESTS", slot, 1) for n in (0, other))
        self.assertEqual(one, two)
        self.assertNotEqual(one, before)
        rows = self.plain(0).command("SIDEPOND", "DIGESTS", 0, SLOTS)[1]
        self.assertEqual(len(rows), SLOTS)
        # The same as bytes, of some slots or of all.
        digests = [int(row[1][0][1], 16).to_bytes(8, "little") for row in rows]
        for chosen in (range(SLOTS), [slot], [], range(1, SLOTS, 3)):
            bitmap = bytearray(SLOTS // 8)
            for one in chosen:
                bitmap[one // 8] |= 1 << one % 8
            self.assertEqual(self.plain(0).command("SIDEPOND", "DIGESTS", bytes(bitmap)),
                             ("$", b"".join(digests[one] for one in chosen)))
        self.error(self.plain(0).command("SIDEPOND", "DIGESTS", b"\0"), b"ERR")
        self.error(self.plain(0).command("SIDEPOND", "DIGESTS", 0, 1, 2), b"ERR")

    def test_users(self):
        admin = self.plain(0)
        admin.command("ACL", "SETUSER", "some", "on", ">p", "+@all", "%W~user:*", "~all:*")
        c = self.plain(0)
        self.assertEqual(c.command("AUTH", "some", "p"), ("+", b"OK"))
        self.error(c.command("SIDEPOND", "PULL", 0, 100, b"\xff\xff"), b"NOPERM")
        self.error(c.command("SIDEPOND", "PUT", self.epoch if hasattr(self, "epoch") else 1,
                             now_version(), 0, "other", "v"), b"NOPERM")
        self.error(c.command("SIDEPOND", "ERASE", 1, now_version(), "other"), b"NOPERM")
        reply = c.command("SIDEPOND", "PUT", 1, now_version(), 0, "user:1", "v")
        self.assertNotIn(b"NOPERM", reply[1] if reply[0] == "-" else b"")
        admin.command("ACL", "SETUSER", "some", "-@admin")
        self.error(c.command("SIDEPOND", "DIGESTS", 0, 1), b"NOPERM")
        admin.command("ACL", "DELUSER", "some")

    # --- other commands ---------------------------------------------------------------------------

    def test_others(self):
        c = self.plain(0)
        for flush in ("FLUSHALL", "FLUSHDB"):
            self.error(c.command(flush), b"ERR nothing is flushed")
        self.error(c.command("CLUSTER", "NODES"), b"ERR This instance has cluster support disabled")
        self.assertEqual(c.command("CLUSTER", "KEYSLOT", "{x}a"), c.command("CLUSTER", "KEYSLOT", "x"))
        kind, encoded = c.command("SIDEPOND", "RING")
        self.assertEqual((kind, encoded[:6]), ("$", b"SPRING"))
        self.assertEqual(c.command("COMMAND", "GETKEYS", "SIDEPOND", "PUT", 1, 2, 3, "k", "v"),
                         ("*", [("$", b"k")]))
        self.assertEqual(c.command("SIDEPOND", "MISSED", "b"), (":", 0))

    def test_wait(self):
        key, c = self.key(held_by=0), self.plain(0)
        self.assertEqual(c.command("WAIT", 1, 0), (":", 0))
        c.send(request(["SET", key, "v"]) + request(["WAIT", 1, 0]) + request(["PING"]))
        self.assertEqual([c.read() for _ in range(3)], [("+", b"OK"), (":", 1), ("+", b"PONG")])
        self.assertEqual(c.command("WAIT", 5, 0), (":", 1))  # more there will never be
        self.error(c.command("WAIT", 1, -1), b"ERR timeout is negative")
        self.error(c.command("WAIT", 1, "x"), b"ERR timeout is not")
        self.error(c.command("WAIT", "x", 1), b"ERR value is not")


class StandstillTest(RingCase):
    def test_a_node_out_of_reach_is_behind(self):
        """Though nothing has been written: what comes would be missed. So who has stood still does not
        trust itself before the others are connected to it again."""
        c = self.plain(0)
        node = self.nodes[1]
        os.kill(node.process.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: c.command("SIDEPOND", "MISSED", node.node) == (":", 1), "it is out of reach", 20)
        finally:
            os.kill(node.process.pid, signal.SIGCONT)
        wait_for(lambda: c.command("SIDEPOND", "MISSED", node.node) == (":", 0), "it is back", 20)

    def test_a_node_that_stands_still(self):
        """Replies wait for it as long as ack_timeout, once; then its slots are missed, until it has
        got them. It does not answer reads before."""
        key = self.key(held_by=0)
        other = next(n for n in self.holders(key) if n != 0)
        node, c, reader = self.nodes[other], self.plain(0), self.plain(0)
        waiter = self.plain(0)
        c.command("SET", key, "before")
        os.kill(node.process.pid, signal.SIGSTOP)
        wait_for(lambda: node.state() == "T", "the node stands still")
        try:
            since = time.monotonic()
            c.send(request(["SET", key, "during"]))
            wait_for(lambda: reader.command("GET", key) == ("$", b"during"), "others are served")
            self.assertLess(time.monotonic() - since, ACK_SECONDS)
            self.assertEqual(c.read(), ("+", b"OK"))
            self.assertGreater(time.monotonic() - since, ACK_SECONDS * 0.8)
            wait_for(lambda: c.command("SIDEPOND", "MISSED", node.node)[1] > 0, "the slot is missed", 10)
            since = time.monotonic()
            waiter.send(request(["SET", key, "again"]) + request(["WAIT", 1, 10000]))
            self.assertEqual([waiter.read(), waiter.read()], [("+", b"OK"), (":", 0)])
            self.assertLess(time.monotonic() - since, 5)
            with_error = self.plain(0)
            with_error.send(request(["SET", key, "last"]))
            self.assertEqual(with_error.read(), ("+", b"OK"))
            time.sleep(max(0, 0.7 - (time.monotonic() - since)))  # longer than a stall
        finally:
            os.kill(node.process.pid, signal.SIGCONT)
        with Connection(node.unix) as late:
            late.command("SIDEPOND", "ATTACH", 0)
            reply = late.command("GET", key)
            self.assertIn(reply, (("-", b"NOTHELD %d" % self.epoch), ("$", b"last")))
            wait_for(lambda: late.command("GET", key) == ("$", b"last"), "it has caught up", 20)
        wait_for(lambda: c.command("SIDEPOND", "MISSED", node.node) == (":", 0), "nothing is missed", 20)


class NoRingTest(unittest.TestCase):
    def test_no_ring(self):
        with Ours() as server, Connection(server.unix) as c:
            for call in (("ATTACH", 1), ("PUT", 1, 2, 0, "k", "v"), ("ERASE", 1, 2, "k"), ("RING",),
                         ("CLUSTER",), ("DIGESTS", 0, 1), ("PULL", 0, 1, "xx"), ("MISSED", "a"), ("MISS", "a", "xx")):
                kind, text = c.command("SIDEPOND", *call)
                self.assertEqual((kind, text), ("-", b"ERR this server is not a node of a ring"), call)
            self.assertEqual(c.command("WAIT", 1, 0), (":", 0))
            self.assertEqual(c.command("FLUSHALL"), ("+", b"OK"))
            self.assertEqual(c.command("CLUSTER", "KEYSLOT", "k"),
                             ("-", b"ERR This instance has cluster support disabled"))
            self.assertNotIn(b"# Ring", c.command("INFO")[1])


if __name__ == "__main__":
    unittest.main()
