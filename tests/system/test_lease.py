#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_lease.py - Goal: SIDEPOND LEASE, FILL and RELEASE let one client compute a value while the
others wait: never two at a time, nobody for ever, and no value from before an invalidation is kept.
Method: each way a lease can begin, end and be waited for, by connections of this process and holders
in processes of their own that are killed and stopped; then random clients on three I/O threads beside
a data base that changes, with checks of what each of them saw.

    test_lease.py hold SOCKET KEY HOLD_MS     takes a lease, says so, and goes on for ever
"""
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

from daemon_kit import Daemon
from resp_servers import Ours
from resp_wire import Closed, Connection, request

SECONDS = 20 if os.environ.get("SIDEPOND_LONG") else 4
SLACK = 5  # of seconds by which a busy machine may be late
SEED = os.environ.get("SIDEPOND_SEED") or str(random.SystemRandom().randrange(1 << 32))
NULL = ("*", None)


def hold(address, key, hold_ms):
    with Connection(address) as connection:
        print(connection.command("SIDEPOND", "LEASE", key, "0", "HOLD", hold_ms), flush=True)
        signal.pause()


class Holder:
    """A process that holds a lease."""

    def __init__(self, address, key, hold_ms=3600000):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, os.path.abspath(__file__), "hold", address, key, str(hold_ms)],
            stdout=subprocess.PIPE)
        self.said = self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class LeaseTest(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(Ours(threads=2))

    def connect(self):
        return self.enterContext(Connection(self.server.unix))

    def lease(self, connection, key, *options, wait=0):
        return connection.command("SIDEPOND", "LEASE", key, str(wait), *options)

    def take(self, connection, key, *options):
        """The token of a lease that must be had."""
        kind, reply = self.lease(connection, key, *options)
        self.assertEqual((kind, reply[0]), ("*", ("$", b"lease")), reply)
        self.assertEqual(reply[1][0], ":")
        return str(reply[1][1])

    def begin(self, key, *options, wait=30000):
        """A connection that waits for a key by now."""
        connection = self.connect()
        number = connection.command("CLIENT", "ID")[1]
        connection.send(request(["SIDEPOND", "LEASE", key, str(wait), *options]))
        self.await_blocked(number)
        return connection

    def await_blocked(self, number, blocked=True):
        control = self.connect()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            line = control.command("CLIENT", "LIST", "ID", str(number))[1].decode()
            flags = line.split("flags=")[1].split()[0]
            if ("b" in flags) == blocked:
                return
        self.fail(f"client {number} is not {'blocked' if blocked else 'free'}")

    def fill(self, connection, key, token, value, *options):
        return connection.command("SIDEPOND", "FILL", key, token, value, *options)[1]

    def value(self, word, content):
        return ("*", [("$", word), ("$", content)])

    def test_value_lease_fill(self):
        one, two = self.connect(), self.connect()
        token = self.take(one, "a")
        self.assertEqual(self.lease(two, "a"), NULL)
        self.assertEqual(self.fill(two, "a", str(int(token) + 1), "no"), 0)
        self.assertEqual(self.fill(one, "a", token, "v", "PX", "100000"), 1)
        self.assertEqual(self.fill(one, "a", token, "again"), 0)
        self.assertEqual(self.lease(two, "a"), self.value(b"value", b"v"))
        self.assertLessEqual(one.command("PTTL", "a")[1], 100000)
        one.command("DEL", "a")
        self.assertGreater(int(self.take(two, "a")), int(token))

    def test_errors(self):
        one = self.connect()
        for arguments in (["LEASE", "a"], ["LEASE", "a", "x"], ["LEASE", "a", "-1"],
                          ["LEASE", "a", "3600001"], ["LEASE", "a", "0", "HOLD"],
                          ["LEASE", "a", "0", "HOLD", "0"], ["LEASE", "a", "0", "HOLD", "3600001"],
                          ["LEASE", "a", "0", "FRESH", "-1"], ["LEASE", "a", "0", "SO", "1"],
                          ["FILL", "a", "x", "v"], ["FILL", "a", "1", "v", "EX", "1"],
                          ["FILL", "a", "1", "v", "PX", "0"], ["FILL", "a", "1", "v", "PX"],
                          ["RELEASE", "a"], ["RELEASE", "a", "x"], ["NOTHING"]):
            kind, text = one.command("SIDEPOND", *arguments)
            self.assertEqual(kind, "-", (arguments, text))
        self.take(one, "a")
        self.assertEqual(one.command("SIDEPOND", "RELEASE", "a", "1"), (":", 0))
        self.assertEqual(one.command("COMMAND", "GETKEYS", "SIDEPOND", "LEASE", "k", "0"),
                         ("*", [("$", b"k")]))

    def test_stale(self):
        one, two = self.connect(), self.connect()
        one.command("SET", "a", "old", "PX", "60000")
        self.assertEqual(self.lease(one, "a", "FRESH", "1000"), self.value(b"value", b"old"))
        token = self.take(one, "a", "FRESH", "100000")
        self.assertEqual(self.lease(two, "a", "FRESH", "100000", wait=60000),
                         self.value(b"stale", b"old"))
        self.assertEqual(self.lease(two, "a"), self.value(b"value", b"old"))
        self.assertEqual(self.fill(one, "a", token, "new", "PX", "600000"), 1)
        self.assertEqual(self.lease(two, "a", "FRESH", "100000"), self.value(b"value", b"new"))
        one.command("PERSIST", "a")
        self.assertEqual(self.lease(two, "a", "FRESH", "100000000"), self.value(b"value", b"new"))

    def test_waiters_get_the_value(self):
        one = self.connect()
        token = self.take(one, "a")
        waiters = [self.begin("a") for _ in range(5)]
        other = self.begin("a")
        other.send(request(["PING"]))  # what is sent meanwhile is run afterwards
        self.assertIn("blocked_clients:6\r", one.command("INFO", "clients")[1].decode())
        self.assertEqual(self.fill(one, "a", token, "v"), 1)
        for waiter in waiters + [other]:
            self.assertEqual(waiter.read(), self.value(b"value", b"v"))
        self.assertEqual(other.read(), ("+", b"PONG"))
        self.assertIn("blocked_clients:0\r", one.command("INFO", "clients")[1].decode())

    def test_another_writes(self):
        one, two = self.connect(), self.connect()
        for write in (["SET", "a", "x"], ["APPEND", "a", "x"], ["MSET", "a", "x"],
                      ["RENAME", "b", "a"], ["COPY", "b", "a"], ["SETRANGE", "a", "0", "x"]):
            two.command("DEL", "a")
            two.command("SET", "b", "x")
            token = self.take(one, "a")
            waiter = self.begin("a")
            self.assertNotEqual(two.command(*write)[0], "-")
            self.assertEqual(waiter.read(), self.value(b"value", b"x"), write)
            self.assertEqual(self.fill(one, "a", token, "late"), 0, write)
            self.assertEqual(two.command("GET", "a"), ("$", b"x"))

    def test_deleted_meanwhile(self):
        one, two = self.connect(), self.connect()
        for delete in (["DEL", "a"], ["UNLINK", "a"], ["FLUSHALL"], ["GETDEL", "a"],
                       ["EXPIRE", "a", "-1"]):
            token = self.take(one, "a")
            first = self.begin("a")
            second = self.begin("a")
            self.assertNotEqual(two.command(*delete)[0], "-")
            self.assertEqual(self.fill(one, "a", token, "late"), 0, delete)
            kind, (word, (_, new)) = first.read()
            self.assertEqual((kind, word), ("*", ("$", b"lease")), delete)
            self.assertEqual(self.fill(first, "a", str(new), "right"), 1)
            self.assertEqual(second.read(), self.value(b"value", b"right"))
            two.command("DEL", "a")

    def test_deleted_and_written_at_once(self):
        one, two = self.connect(), self.connect()
        token = self.take(one, "a")
        waiter = self.begin("a")
        for command in (["MULTI"], ["DEL", "a"], ["SET", "a", "x"], ["EXEC"]):
            two.command(*command)
        self.assertEqual(waiter.read(), self.value(b"value", b"x"))
        self.assertEqual(self.fill(one, "a", token, "late"), 0)
        two.command("DEL", "a")
        token = self.take(one, "a")
        waiter = self.begin("a")
        for command in (["MULTI"], ["SET", "a", "x"], ["DEL", "a"], ["EXEC"]):
            two.command(*command)
        self.assertEqual(waiter.read()[1][0], ("$", b"lease"))
        self.assertEqual(self.fill(one, "a", token, "late"), 0)

    def test_release(self):
        one = self.connect()
        token = self.take(one, "a")
        first = self.begin("a")
        second = self.begin("a")
        self.assertEqual(one.command("SIDEPOND", "RELEASE", "a", token), (":", 1))
        self.assertEqual(one.command("SIDEPOND", "RELEASE", "a", token), (":", 0))
        new = first.read()[1][1][1]
        self.assertEqual(first.command("SIDEPOND", "RELEASE", "a", str(new)), (":", 1))
        self.assertEqual(second.read()[1][0], ("$", b"lease"))

    def test_deadline(self):
        one, two = self.connect(), self.connect()
        self.take(one, "a")
        for wait in (1, 80, 250):
            began = time.monotonic()
            self.assertEqual(self.lease(two, "a", wait=wait), NULL)
            took = time.monotonic() - began
            self.assertTrue(wait / 1000 <= took < wait / 1000 + SLACK, took)
        two.command("HELLO", "3")
        self.assertEqual(self.lease(two, "a", wait=1), ("_", None))

    def test_holder_is_killed(self):
        with Holder(self.server.unix, "a") as holder:
            self.assertIn(b"lease", holder.said)
            waiter = self.begin("a")
            holder.process.send_signal(signal.SIGKILL)
            began = time.monotonic()
            self.assertEqual(waiter.read()[1][0], ("$", b"lease"))
            self.assertLess(time.monotonic() - began, SLACK)

    def test_holder_is_stopped(self):
        with Holder(self.server.unix, "a", 300) as holder:
            token = holder.said.split(b"(':', ")[1].split(b")")[0].decode()
            os.kill(holder.process.pid, signal.SIGSTOP)
            waiter = self.begin("a")
            kind, (word, (_, new)) = waiter.read()
            self.assertEqual((kind, word), ("*", ("$", b"lease")))
            self.assertEqual(self.fill(waiter, "a", token, "late"), 0)
            self.assertEqual(self.fill(waiter, "a", str(new), "v"), 1)

    def test_hold_is_over_without_waiters(self):
        one, two = self.connect(), self.connect()
        token = self.take(one, "a", "HOLD", "1")
        time.sleep(0.02)
        self.assertEqual(self.fill(one, "a", token, "late"), 0)
        token = self.take(one, "a", "HOLD", "1")
        time.sleep(0.02)
        self.take(two, "a")
        self.assertEqual(one.command("SIDEPOND", "RELEASE", "a", token), (":", 0))

    def test_connections_that_end(self):
        one = self.connect()
        token = self.take(one, "a")
        gone, killed = self.begin("a"), self.begin("a")
        stays = self.begin("a")
        gone.close()
        number = [line.split()[0][3:] for line in
                  one.command("CLIENT", "LIST")[1].decode().splitlines() if "flags=bU " in line]
        number = sorted(map(int, number))[-2]
        self.assertEqual(one.command("CLIENT", "KILL", "ID", str(number)), (":", 1))
        with self.assertRaises(Closed):
            killed.read()
        self.assertEqual(one.command("SIDEPOND", "RELEASE", "a", token), (":", 1))
        self.assertEqual(stays.read()[1][0], ("$", b"lease"))
        self.assertEqual(stays.command("RESET"), ("+", b"RESET"))
        self.take(one, "a")

    def test_unblock(self):
        one = self.connect()
        token = self.take(one, "a")
        waiters = [self.begin("a") for _ in range(3)]
        numbers = [line.split()[0][3:] for line in
                   one.command("CLIENT", "LIST")[1].decode().splitlines() if "flags=bU " in line]
        numbers = sorted(numbers, key=int)
        self.assertEqual(one.command("CLIENT", "UNBLOCK", numbers[0]), (":", 1))
        self.assertEqual(waiters[0].read(), NULL)
        self.assertEqual(one.command("CLIENT", "UNBLOCK", numbers[1], "ERROR"), (":", 1))
        self.assertEqual(waiters[1].read(), ("-", b"UNBLOCKED client unblocked via CLIENT UNBLOCK"))
        self.await_blocked(numbers[0], False)
        self.assertEqual(one.command("CLIENT", "UNBLOCK", numbers[0]), (":", 0))
        self.assertEqual(one.command("SIDEPOND", "RELEASE", "a", token), (":", 1))
        self.assertEqual(waiters[2].read()[1][0], ("$", b"lease"))
        self.assertEqual(waiters[0].command("PING"), ("+", b"PONG"))

    def test_pause_of_writes(self):
        one, two, three = self.connect(), self.connect(), self.connect()
        self.assertEqual(one.command("CLIENT", "PAUSE", "60000", "WRITE"), ("+", b"OK"))
        number = two.command("CLIENT", "ID")[1]
        two.send(request(["GET", "a"]) + request(["SET", "a", "1"]) + request(["GET", "a"]))
        self.assertEqual(two.read(), ("$", None))
        three.send(b'ECHO "a \\"b"\r\nset c "d \\"e"\r\nGET c\r\n')
        self.assertEqual(three.read(), ("$", b'a "b'))
        self.await_blocked(number)
        while "blocked_clients:2\r" not in one.command("INFO", "clients")[1].decode():
            pass
        self.assertEqual(one.command("CLIENT", "UNBLOCK", str(number)), (":", 0))
        self.assertEqual(one.command("GET", "a"), ("$", None))
        self.assertEqual(one.command("CLIENT", "UNPAUSE"), ("+", b"OK"))
        self.assertEqual([two.read(), two.read()], [("+", b"OK"), ("$", b"1")])
        self.assertEqual([three.read(), three.read()], [("+", b"OK"), ("$", b'd "e')])
        self.assertIn("blocked_clients:0\r", one.command("INFO", "clients")[1].decode())

    def test_pause_of_all(self):
        one, two = self.connect(), self.connect()
        began = time.monotonic()
        one.command("CLIENT", "PAUSE", "200", "ALL")
        self.assertEqual(two.command("PING"), ("+", b"PONG"))
        self.assertGreaterEqual(time.monotonic() - began, 0.19)
        one.command("CLIENT", "PAUSE", "100000000", "ALL")
        two.send(request(["PING"]))
        self.assertEqual(one.command("CLIENT", "UNPAUSE"), ("+", b"OK"))
        self.assertEqual(two.read(), ("+", b"PONG"))
        one.command("CLIENT", "PAUSE", "60000")
        two.send(request(["PING"]))
        two.close()
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.process.wait(30), 0, self.server.log())

    def test_multi(self):
        one, two = self.connect(), self.connect()
        token = self.take(one, "a")
        two.command("MULTI")
        two.command("SIDEPOND", "LEASE", "a", "30000")
        two.command("SIDEPOND", "LEASE", "b", "30000")
        self.assertEqual(two.command("EXEC")[1][0], NULL)
        one.command("MULTI")
        one.command("SIDEPOND", "FILL", "a", token, "v")
        one.command("SIDEPOND", "RELEASE", "a", token)
        self.assertEqual(one.command("EXEC"), ("*", [(":", 1), (":", 0)]))

    def test_pipeline(self):
        one, two = self.connect(), self.connect()
        token = self.take(one, "b")
        two.send(b"".join(map(request, (["SET", "x", "1"], ["SIDEPOND", "LEASE", "b", "30000"],
                                        ["GET", "x"], ["SIDEPOND", "LEASE", "b", "30000"]))))
        self.assertEqual(two.read(), ("+", b"OK"))
        one.command("SET", "x", "2")
        self.assertEqual(self.fill(one, "b", token, "v"), 1)
        self.assertEqual(two.read(), self.value(b"value", b"v"))
        self.assertEqual(two.read(), ("$", b"2"))
        self.assertEqual(two.read(), self.value(b"value", b"v"))

    def test_many_leases(self):
        one, two = self.connect(), self.connect()
        for n in range(1024):
            self.take(one, f"key:{n}")
        kind, text = self.lease(one, "more")
        self.assertEqual((kind, text), ("-", b"ERR too many leases are held"))
        self.take(two, "more")
        two.command("FLUSHALL")
        self.take(one, "more")

    def test_rights(self):
        one, two = self.connect(), self.connect()
        one.command("ACL", "SETUSER", "u", "on", ">p", "+@all", "~a*")
        two.command("AUTH", "u", "p")
        self.assertIn(b"NOPERM", self.lease(two, "b")[1])
        token = self.take(one, "a")
        number = two.command("CLIENT", "ID")[1]
        two.send(request(["SIDEPOND", "LEASE", "a", "30000"]))
        self.await_blocked(number)
        one.command("ACL", "SETUSER", "u", "resetkeys")
        self.assertEqual(self.fill(one, "a", token, "v"), 1)
        self.assertIn(b"NOPERM", two.read()[1])

    def test_one_of_fifty(self):
        one = self.connect()
        crowd = [self.connect() for _ in range(50)]
        for connection in crowd:
            connection.send(request(["SIDEPOND", "LEASE", "a", "60000"]))
        end = time.monotonic() + 30
        while "blocked_clients:49\r" not in one.command("INFO", "clients")[1].decode():
            self.assertLess(time.monotonic(), end)
        holders = [c for c in crowd if self.has_input(c)]
        self.assertEqual(len(holders), 1)
        token = str(holders[0].read()[1][1][1])
        self.assertEqual(self.fill(holders[0], "a", token, "v"), 1)
        for connection in crowd:
            if connection is not holders[0]:
                self.assertEqual(connection.read(), self.value(b"value", b"v"))

    @staticmethod
    def has_input(connection):
        connection.socket.setblocking(False)
        try:
            return bool(connection.socket.recv(1, 2))  # MSG_PEEK
        except BlockingIOError:
            return False
        finally:
            connection.socket.settimeout(30)

    def test_ends_with_waiters(self):
        self.take(self.connect(), "a")
        waiter = self.begin("a")
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.process.wait(30), 0, self.server.log())
        for kind, reply in waiter.read_to_end():  # it may have got the lease of who went first
            self.assertEqual((kind, reply[0]), ("*", ("$", b"lease")))


class DaemonTest(unittest.TestCase):
    """With a daemon that has a table."""

    def setUp(self):
        daemon = Daemon("  - {name: users, source: app, key: [id]}", "", memory="32MiB",
                        extra="cache: {}")
        self.daemon = self.enterContext(daemon)
        path = os.path.join(daemon.directory, "app.db")
        daemon.sources = f"  - {{name: app, type: sqlite, path: {path}}}"
        daemon.configure("  - {name: users, source: app, key: [id]}")
        with sqlite3.connect(path) as data:
            data.execute("create table users (id integer primary key, email text not null)")
            data.execute("insert into users values (7, 'u7')")
        data.close()
        daemon.start()
        self.socket = os.path.join(daemon.pond, "socket")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.daemon.port}/metrics") as answer:
            return answer.read().decode().split("\n")

    def test_rows_and_metrics(self):
        with Connection(self.socket) as one, Connection(self.socket) as two:
            for arguments in (["LEASE", "users:7", "0"], ["FILL", "users:7", "1", "v"],
                              ["RELEASE", "users:7", "1"], ["LEASE", "users:8", "0"]):
                kind, text = one.command("SIDEPOND", *arguments)
                self.assertEqual(kind, "-", arguments)
                self.assertIn(b"'users' is a table of the pond", text)
            self.assertEqual(one.command("SIDEPOND", "LEASE", "user:7", "0")[1][0], ("$", b"lease"))
            two.send(request(["SIDEPOND", "LEASE", "user:7", "60000"]))
            while "sidepond_cache_blocked_clients 1" not in self.metrics():
                pass
            self.assertIn("sidepond_cache_leases 1", self.metrics())
            one.command("DEL", "user:7")
            self.assertEqual(two.read()[1][0], ("$", b"lease"))
            self.assertIn("sidepond_cache_blocked_clients 0", self.metrics())


class Database:
    """What values are computed from: a number for each key, which only grows."""

    def __init__(self, keys):
        self.lock = threading.Lock()
        self.now = dict.fromkeys(keys, 0)
        self.invalidated = dict.fromkeys(keys, 0)  # up to which number the cache was told
        self.held = {key: [] for key in keys}  # when a lease was surely valid, from and to
        self.given = {key: [] for key in keys}  # when others were given leases, from and to
        self.tokens = set()
        self.numbers = [b"0"]  # of clients that there are or were


class Client(threading.Thread):
    """Computes and invalidates at random until the time is over; `wrong` says what was."""

    def __init__(self, server, number, data):
        super().__init__()
        self.rng = random.Random(f"{SEED}/{number}")
        self.address = server.unix if number % 2 else server.tcp
        self.data, self.wrong, self.counts = data, None, {}

    def run(self):
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                try:
                    self.converse()
                except Closed:
                    self.count("closed")
        except Exception as error:  # pylint: disable=broad-except
            self.wrong = repr(error)

    def converse(self):
        with Connection(self.address) as self.connection:
            number = str(self.connection.command("CLIENT", "ID")[1]).encode()
            self.data.numbers = self.data.numbers[-20:] + [number]
            for _ in range(self.rng.randrange(1, 200)):
                self.step(self.rng.choice(list(self.data.now)))

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def step(self, key):
        chance = self.rng.random()
        if chance < 0.02:
            self.disturb()
        elif chance < 0.1:
            self.invalidate(key)
        else:
            self.compute(key)

    def disturb(self):
        number = self.rng.choice(self.data.numbers)
        self.connection.command(*self.rng.choice([
            ["CLIENT", "UNBLOCK", number], ["CLIENT", "UNBLOCK", number, "ERROR"],
            ["CLIENT", "KILL", "ID", number], ["CLIENT", "PAUSE", "3", "WRITE"],
            ["CLIENT", "PAUSE", "3", "ALL"], ["CLIENT", "UNPAUSE"], ["FLUSHALL"],
            ["SET", "other", "x"]]))

    def invalidate(self, key):
        with self.data.lock:
            self.data.now[key] += 1
            number = self.data.now[key]
        self.connection.command("DEL", key)
        with self.data.lock:
            self.data.invalidated[key] = max(self.data.invalidated[key], number)

    def compute(self, key):
        least, wait = self.data.invalidated[key], self.rng.choice([0, 5, 50, 500])
        hold = self.rng.choice(["20", "10000"])
        began = time.monotonic()
        reply = self.connection.command("SIDEPOND", "LEASE", key, str(wait), "HOLD", hold,
                                        "FRESH", self.rng.choice(["0", "100"]))[1]
        took = time.monotonic() - began
        if took > wait / 1000 + SLACK:
            raise AssertionError(f"waited {took} s of {wait} ms")
        if isinstance(reply, bytes):
            self.count(reply.split()[0].decode())
            return
        word = reply[0][1].decode() if reply else "null"
        self.count(word)
        if word == "lease":
            token = reply[1][1]
            with self.data.lock:
                if token in self.data.tokens:
                    raise AssertionError(f"token {token} comes twice")
                self.data.tokens.add(token)
                self.data.given[key].append((began, began + took))
            self.use(key, str(token))
        elif word in ("value", "stale") and int(reply[1][1]) < least:
            raise AssertionError(f"{key} is {reply[1][1]}, invalidated up to {least}")

    def use(self, key, token):
        since, number, chance = time.monotonic(), self.data.now[key], self.rng.random()
        if chance < 0.05:
            self.connection.close()
            self.connection = self.connection.__class__(self.address)
            return
        if chance < 0.1:
            self.connection.command("SIDEPOND", "RELEASE", key, token)
            return
        if chance < 0.4:
            time.sleep(self.rng.random() * 0.03)
        until = time.monotonic()
        kept = self.connection.command("SIDEPOND", "FILL", key, token, str(number), "PX",
                                       str(self.rng.randrange(1, 300)))[1]
        self.count(f"filled {kept}")
        if kept:
            with self.data.lock:
                self.data.held[key].append((since, until))


class TortureTest(unittest.TestCase):
    def test_random_clients(self):
        data = Database([f"key:{n}" for n in range(4)])
        with Ours(threads=3, limit=16 << 20) as server:
            clients = [Client(server, number, data) for number in range(12)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            with Connection(server.tcp) as control:
                for key, number in data.now.items():
                    value = control.command("GET", key)[1]
                    self.assertIn(value, (None, str(number).encode()))
                info = control.command("INFO", "clients")[1].decode()
            self.assertIn("blocked_clients:0\r", info)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(30), 0, server.log())
        self.assertEqual([c.wrong for c in clients if c.wrong], [], server.name)
        for key, held in data.held.items():
            held.sort()
            for (_, until), (since, _) in zip(held, held[1:]):
                self.assertLessEqual(until, since, f"two held {key} at a time")
            for since, until in held:
                self.assertFalse(any(since < begin and end < until
                                     for begin, end in data.given[key]),
                                 f"{key} was given while another held it")
        total = {}
        for client in clients:
            for word, count in client.counts.items():
                total[word] = total.get(word, 0) + count
        print("answers:", dict(sorted(total.items())))


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        hold(*sys.argv[2:])
    else:
        print(f"SIDEPOND_SEED={SEED}", flush=True)
        unittest.main()
