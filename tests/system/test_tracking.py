#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_tracking.py - Goal: a client that keeps what it has read is told when it changes, as Redis
tells it, and never keeps an old value for good.
Method: each mode by hand, with redis-server too, which shows that what is asked is what Redis does;
the same random requests to both, with every push compared; what only ours has: tables, several
threads. Then clients of every mode with caches of their own, and writers of every kind, on several
threads at once: when all is quiet no cache may hold what the server does not.
"""
import json
import os
import random
import re
import select
import signal
import sqlite3
import threading
import time
import unittest

from daemon_kit import PROGRAM, free_port, wait_for
from resp_servers import Ours, Redis, have_ours, have_redis
from resp_wire import Connection, request, text
from sqlite_daemon import SqliteDaemon

SECONDS = 30 if os.environ.get("SIDEPOND_LONG") else 4
SEED = os.environ.get("SIDEPOND_SEED") or str(random.SystemRandom().randrange(1 << 32))
CHANNEL = b"__redis__:invalidate"
QUIET_SECONDS = 10  # within which the last push is there


def invalidate(*keys):
    """The push about these keys; none: about all."""
    if not keys:
        return (">", [("$", b"invalidate"), ("_", None)])
    return (">", [("$", b"invalidate"), ("*", [("$", key) for key in keys])])


def message(*keys):
    content = ("*", [("$", key) for key in keys]) if keys else ("$", None)
    return ("*", [("$", b"message"), ("$", CHANNEL), content])


class Client(Connection):
    """A connection that keeps what comes before the reply to PING."""

    def __init__(self, address, protocol=3):
        super().__init__(address)
        if protocol == 3:
            assert self.command("HELLO", 3)[0] == "%"
        self.id = self.command("CLIENT", "ID")[1]

    def ok(self, *arguments):
        reply = self.command(*arguments)
        assert reply == ("+", b"OK"), (arguments, reply)

    def pushes(self):
        """What has come by now: twice, as what another thread has to say may be on its way."""
        found = []
        for _ in range(2):
            self.send(request(["PING"]))
            while True:
                reply = self.read()
                if reply in (("+", b"PONG"), ("*", [("$", b"pong"), ("$", b"")])):
                    break
                found.append(reply)
        return found

    def waiting(self):
        """Replies and pushes that are there, without waiting for more."""
        found = []
        while self.at < len(self.buffer) or select.select([self.socket], [], [], 0)[0]:
            found.append(self.read())
        return found


class Modes:
    """The tests, with self.server."""
    server = None

    def setUp(self):
        self.clients = []
        self.client(2).ok("FLUSHALL")

    def tearDown(self):
        for client in self.clients:
            client.close()

    def client(self, protocol=3, *tracking):
        client = Client(self.server.tcp, protocol)
        self.clients.append(client)
        if tracking:
            client.ok("CLIENT", "TRACKING", *tracking)
        return client

    def info(self, field):
        content = self.client(2).command("INFO")[1].decode()
        return int(content.split(f"\r\n{field}:")[1].split("\r\n")[0])

    # --- by keys ---

    def test_what_was_read(self):
        reader, writer = self.client(3, "ON"), self.client(2)
        writer.ok("MSET", "a", 1, "b", 2, "c", 3)
        reader.command("GET", "a")
        reader.command("MGET", "b", "none")
        for change in (["SET", "a", 2], ["DEL", "b"], ["SET", "none", 1], ["SET", "c", 1],
                       ["SET", "a", 3]):
            writer.command(*change)
        self.assertEqual(reader.pushes(), [invalidate(b"a"), invalidate(b"b"), invalidate(b"none")])
        reader.command("GET", "a")
        writer.command("SET", "a", 4)
        self.assertEqual(reader.pushes(), [invalidate(b"a")])

    def test_every_way_to_change(self):
        reader, writer = self.client(3, "ON"), self.client(2)
        for change in (["SET", "k", 1], ["APPEND", "k", 1], ["SETRANGE", "k", 0, 2], ["INCR", "k"],
                       ["INCRBYFLOAT", "k", 2], ["EXPIRE", "k", 100], ["PERSIST", "k"],
                       ["GETEX", "k", "EX", 100], ["GETSET", "k", 1], ["MSET", "k", 2],
                       ["EXPIRE", "k", -1], ["SETEX", "k", 100, 1], ["RENAME", "k", "l"],
                       ["COPY", "l", "k"], ["GETDEL", "k"], ["MSETNX", "k", 1], ["UNLINK", "k"],
                       ["SETNX", "k", 1], ["RENAME", "l", "k"]):
            reader.command("STRLEN", "k")
            writer.command(*change)
            self.assertEqual(reader.pushes(), [invalidate(b"k")], change)
        writer.command("DEL", "k")
        for change in (["DEL", "k"], ["EXPIRE", "k", 100], ["PERSIST", "k"], ["GETDEL", "k"],
                       ["GETEX", "k", "PERSIST"], ["SET", "k", 1, "XX"], ["COPY", "k", "l"]):
            reader.command("GET", "k")
            writer.command(*change)
            self.assertEqual(reader.pushes(), [], change)

    def test_own_changes_come_after_the_reply(self):
        reader = self.client(3, "ON")
        for line in (["GET", "k"], ["SET", "k", 1], ["GET", "k"], ["MULTI"], ["SET", "k", 2],
                     ["GET", "k"], ["SET", "k", 3], ["EXEC"], ["GET", "k"], ["FLUSHALL"]):
            reader.send(request(line))
        ok, queued = ("+", b"OK"), ("+", b"QUEUED")
        self.assertEqual(reader.pushes(), [
            ("_", None), ok, invalidate(b"k"), ("$", b"1"), ok, queued, queued, queued,
            ("*", [ok, ("$", b"2"), ok]), invalidate(b"k"), invalidate(b"k"), ("$", b"3"), ok,
            invalidate()])

    def test_no_loop(self):
        reader, writer = self.client(3, "ON", "NOLOOP"), self.client(2)
        reader.command("GET", "k")
        reader.ok("SET", "k", 1)
        self.assertEqual(reader.pushes(), [])
        writer.ok("SET", "k", 2)
        self.assertEqual(reader.pushes(), [])  # it has not read it since
        reader.command("GET", "k")
        writer.ok("SET", "k", 3)
        self.assertEqual(reader.pushes(), [invalidate(b"k")])

    def test_opt_in_and_out(self):
        for mode, word, expected in (("OPTIN", "YES", [b"b", b"d", b"e"]),
                                     ("OPTOUT", "NO", [b"a", b"c", b"f"])):
            reader, writer = self.client(3, "ON", mode), self.client(2)
            reader.command("GET", "a")
            reader.ok("CLIENT", "CACHING", word)
            reader.command("CLIENT", "ID")  # does not count as the next request
            reader.command("GET", "b")
            reader.command("GET", "c")
            reader.ok("CLIENT", "CACHING", word)
            for line in (["MULTI"], ["GET", "d"], ["GET", "e"], ["EXEC"], ["GET", "f"]):
                reader.command(*line)
            for key in "abcdef":
                writer.ok("SET", key, 1)
            self.assertEqual(reader.pushes(), [invalidate(key) for key in expected])

    def test_expiry(self):
        reader, writer = self.client(3, "ON"), self.client(2)
        writer.ok("SET", "soon", 1, "PX", 30)
        reader.command("GET", "soon")
        self.assertEqual(reader.read(), invalidate(b"soon"))

    def test_flush(self):
        reader, other, writer = self.client(3, "ON"), self.client(3, "ON", "BCAST"), self.client(2)
        for word in ("FLUSHALL", "FLUSHDB"):
            writer.ok(word)
            self.assertEqual(reader.pushes(), [invalidate()])
            self.assertEqual(other.pushes(), [invalidate()])

    def test_the_table_is_bounded(self):
        reader, writer = self.client(3, "ON"), self.client(2)
        writer.ok("CONFIG", "SET", "tracking-table-max-keys", 10)
        try:
            for i in range(50):
                reader.send(request(["GET", f"key:{i}"]))
            told = reader.pushes()
            told += reader.pushes()
            gone = {reply[1][1][1][0][1] for reply in told if reply[0] == ">"}
            self.assertEqual(len(gone), 40)
            self.assertEqual(self.info("tracking_total_keys"), 10)
            for i in range(50):
                writer.ok("SET", f"key:{i}", 1)
            self.assertEqual({reply[1][1][1][0][1] for reply in reader.pushes()},
                             {b"key:%d" % i for i in range(50)} - gone)
        finally:
            writer.ok("CONFIG", "SET", "tracking-table-max-keys", 1000000)

    # --- by prefixes ---

    def test_prefixes(self):
        reader, writer = self.client(3, "ON", "BCAST", "PREFIX", "p:", "PREFIX", "q:"), self.client(2)
        every = self.client(3, "ON", "BCAST")
        writer.send(b"".join(request(["SET", key, 1]) for key in ("q:1", "p:2", "p:1", "x", "p:2")))
        writer.pushes()
        self.assertEqual(reader.pushes(), [invalidate(b"p:1", b"p:2"), invalidate(b"q:1")])
        self.assertEqual(every.pushes(), [invalidate(b"p:1", b"p:2", b"q:1", b"x")])
        writer.ok("SET", "soon", 1, "PX", 30)
        self.assertEqual([every.read(), every.read()], [invalidate(b"soon")] * 2)

    def test_prefixes_without_own(self):
        reader, writer = self.client(3, "ON", "BCAST", "NOLOOP"), self.client(2)
        reader.ok("SET", "mine", 1)
        writer.ok("SET", "others", 1)
        self.assertEqual(reader.pushes(), [invalidate(b"others")])
        self.assertEqual(self.info("tracking_total_prefixes"), 1)
        reader.ok("CLIENT", "TRACKING", "OFF")
        self.assertEqual(self.info("tracking_total_prefixes"), 0)

    # --- to another connection ---

    def test_redirection(self):
        hearer = self.client(2)
        hearer.command("SUBSCRIBE", CHANNEL)
        reader, writer = self.client(2, "ON", "REDIRECT", hearer.id), self.client(2)
        self.assertEqual(reader.command("CLIENT", "GETREDIR"), (":", hearer.id))
        reader.command("GET", "k")
        writer.ok("SET", "k", 1)
        self.assertEqual(hearer.pushes(), [message(b"k")])
        writer.ok("FLUSHALL")
        self.assertEqual(hearer.pushes(), [message()])
        hearer.command("UNSUBSCRIBE")
        reader.command("GET", "k")
        writer.ok("SET", "k", 1)
        self.assertEqual(hearer.pushes(), [])  # nor could it tell that from a reply

    def test_redirection_to_resp3(self):
        hearer = self.client(3)
        reader, writer = self.client(2, "ON", "REDIRECT", hearer.id, "BCAST"), self.client(2)
        writer.ok("SET", "k", 1)
        self.assertEqual(hearer.pushes(), [invalidate(b"k")])
        self.assertEqual(reader.pushes(), [])

    def test_broken_redirection(self):
        hearer = self.client(3)
        reader, writer = self.client(3, "ON", "REDIRECT", hearer.id), self.client(2)
        hearer.close()
        wait_for(lambda: b"id=%d " % hearer.id not in writer.command("CLIENT", "LIST")[1],
                 "the connection is gone")
        reader.command("GET", "k")
        writer.ok("SET", "k", 1)
        self.assertEqual(reader.pushes(),
                         [(">", [("$", b"tracking-redir-broken"), (":", hearer.id)])])
        flags = reader.command("CLIENT", "TRACKINGINFO")[1][0][1]
        self.assertEqual(flags, ("~", [("$", b"on"), ("$", b"broken_redirect")]))
        self.assertIn(b" flags=tR ", reader.command("CLIENT", "INFO")[1])
        self.assertIn(b" redir=%d " % hearer.id, reader.command("CLIENT", "INFO")[1])

    # --- its end ---

    def test_the_end_of_tracking(self):
        before = self.info("tracking_clients")
        for end in (["RESET"], ["CLIENT", "TRACKING", "OFF"]):
            reader, writer = self.client(3, "ON"), self.client(2)
            reader.command("GET", "k")
            self.assertEqual(self.info("tracking_clients"), before + 1)
            reader.command(*end)
            writer.ok("SET", "k", 1)
            self.assertEqual(reader.pushes(), [])
            self.assertEqual(self.info("tracking_clients"), before)
        reader = self.client(3, "ON", "BCAST")
        reader.close()
        wait_for(lambda: self.info("tracking_clients") == before, "a client that is gone")
        self.assertEqual(self.info("tracking_total_prefixes"), 0)

    def test_client_list(self):
        for protocol, mode, flags in ((3, [], b"t"), (2, ["BCAST"], b"tB")):
            client = self.client(protocol, "ON", *mode)
            self.assertIn(b" flags=%s " % flags, client.command("CLIENT", "INFO")[1])
            self.assertIn(b" redir=0 ", client.command("CLIENT", "INFO")[1])
            client.ok("CLIENT", "TRACKING", "OFF")
            self.assertIn(b" flags=N ", client.command("CLIENT", "INFO")[1])
            self.assertIn(b" redir=-1 ", client.command("CLIENT", "INFO")[1])


@unittest.skipUnless(have_redis(), "redis-server is not installed")
class WithRedis(Modes, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Redis())


@unittest.skipUnless(have_ours(), "no resp_server was built")
class WithOurs(Modes, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Ours(threads=2))

    @classmethod
    def tearDownClass(cls):
        """It ends by itself, and a sanitizer has found nothing."""
        cls.server.process.terminate()
        if cls.server.process.wait(30) != 0:
            raise AssertionError(cls.server.log())

    # --- SIDEPOND LEASE ---

    def lease(self, client, *options, wait=0):
        return client.command("SIDEPOND", "LEASE", "a", wait, *options)[1]

    def test_leased_values_are_tracked(self):
        """Whoever was given a value, fresh or stale, is told of a change, as by GET; who was given
        none is not."""
        reader, writer = self.client(3, "ON"), self.client(2)
        token = self.lease(reader)[1][1]
        writer.ok("SET", "a", 1, "PX", 100000)
        self.assertEqual(reader.command("SIDEPOND", "FILL", "a", token, "late"), (":", 0))
        self.assertEqual(reader.pushes(), [])
        for fresh, word in ((0, b"value"), (200000, b"stale")):
            self.assertEqual(self.lease(writer, "FRESH", 200000)[0], ("$", b"lease"))
            self.assertEqual(self.lease(reader, "FRESH", fresh), [("$", word), ("$", b"1")])
            writer.ok("SET", "a", 1, "PX", 100000)
            self.assertEqual(reader.pushes(), [invalidate(b"a")])
        writer.ok("SET", "a", 2)
        self.assertEqual(reader.pushes(), [])

    def test_leased_values_by_choice(self):
        for mode, caching, told in ((["ON", "OPTIN"], None, False), (["ON", "OPTIN"], "YES", True),
                                    (["ON", "OPTOUT"], "NO", False), (["ON", "OPTOUT"], None, True)):
            reader, writer = self.client(3, *mode), self.client(2)
            writer.ok("SET", "a", 1)
            if caching:
                reader.ok("CLIENT", "CACHING", caching)
            self.lease(reader)
            writer.ok("SET", "a", 2)
            self.assertEqual(reader.pushes(), [invalidate(b"a")] if told else [], (mode, caching))

    def test_a_lease_that_waits(self):
        """The write that brings the value is no change of it; the next one is."""
        reader, writer = self.client(3, "ON", "OPTIN"), self.client(2)
        for change in (["SET", "a", 2], ["DEL", "a"]):
            token = self.lease(writer)[1][1]
            reader.ok("CLIENT", "CACHING", "YES")
            reader.send(request(["SIDEPOND", "LEASE", "a", 60000]))
            wait_for(lambda: self.info("blocked_clients") == 1, "the reader waits")
            writer.command("SIDEPOND", "FILL", "a", token, 1)
            self.assertEqual(reader.read(), ("*", [("$", b"value"), ("$", b"1")]))
            self.assertEqual(reader.pushes(), [])
            writer.command(*change)
            self.assertEqual(reader.pushes(), [invalidate(b"a")])
            writer.command("DEL", "a")


# --- beside Redis ----------------------------------------------------------------------------------

def random_keys(rng):
    return [rng.choice(["a", "b", "p:1", "p:2", "p:x:1", "q"]) for _ in range(rng.choice([1, 1, 2]))]


def random_request(rng):
    """(which of three clients, a request)"""
    who, keys = rng.randrange(3), random_keys(rng)
    mode = rng.choice([["ON"], ["ON"], ["OFF"], ["ON", "NOLOOP"], ["ON", "OPTIN"], ["ON", "OPTOUT"],
                       ["ON", "BCAST"], ["ON", "BCAST", "PREFIX", "p:"],
                       ["ON", "BCAST", "NOLOOP", "PREFIX", "q", "PREFIX", "p:x"]])
    return who, rng.choice([
        ["CLIENT", "TRACKING", *mode], ["CLIENT", "TRACKINGINFO"],
        ["CLIENT", "CACHING", rng.choice(["YES", "NO"])], ["GET", keys[0]], ["MGET", *keys],
        ["MGET", *keys], ["EXISTS", *keys], ["SET", keys[0], rng.randrange(10)],
        ["SET", keys[0], rng.randrange(10)], ["SET", keys[0], 1, "NX"], ["INCR", keys[0]],
        ["APPEND", keys[0], "x"], ["DEL", *keys], ["GETDEL", keys[0]], ["MULTI"], ["EXEC"],
        ["EXEC"], ["COPY", keys[0], keys[-1], "REPLACE"], ["EXPIRE", keys[0], 100],
        ["PERSIST", keys[0]], ["RENAME", keys[0], keys[-1]], ["RENAMENX", keys[0], keys[-1]],
        ["MSETNX", keys[0], 1, keys[-1], 2], ["GETEX", keys[0], "EX", 100], ["UNLINK", *keys],
        ["GETEX", keys[0], "PERSIST"], ["SETRANGE", keys[0], 1, "x"], ["GETSET", keys[0], 1],
        ["SETEX", keys[0], 100, 1], ["SET", keys[0], 1, "XX", "GET"], ["EXPIRE", keys[0], -1],
        ["MSET", keys[0], 1, "a", 2], ["TTL", keys[0]], ["TYPE", keys[0]], ["TOUCH", *keys],
        ["DECRBY", keys[0], 2], ["INCRBYFLOAT", keys[0], 1], rng.choice([["FLUSHALL"], ["GET", keys[0]], ["ECHO", "x"]])])


@unittest.skipUnless(have_redis() and have_ours(), "one of the two is missing")
class BesideRedis(unittest.TestCase):
    def test_the_same_pushes(self):
        """Of a batch of requests each client gets its replies, and all the pushes, in the same
        order."""
        rng = random.Random(SEED)
        counts = {"pushes": 0, "replies": 0}
        with Redis() as redis, Ours() as ours:
            both = [[Client(server.tcp) for _ in range(3)] for server in (redis, ours)]
            for client in both[0] + both[1]:
                self.addCleanup(client.close)
            end = time.monotonic() + SECONDS / 2
            while time.monotonic() < end:
                who, line = random_request(rng)
                if line[0] == "MULTI":
                    lines = [line] + [random_request(rng)[1] for _ in range(3)] + [["EXEC"]]
                else:
                    lines = [line]
                for clients in both:
                    clients[who].send(b"".join(map(request, lines)))
                    clients[who].seen = clients[who].pushes()
                for number in range(3):
                    seen = [getattr(clients[number], "seen", []) + clients[number].pushes()
                            for clients in both]
                    for clients in both:
                        clients[number].seen = []
                    self.assertEqual(list(map(text, seen[0])), list(map(text, seen[1])),
                                     f"client {number}, after {lines} of {who}")
                    counts["pushes"] += sum(reply[0] == ">" for reply in seen[0])
                    counts["replies"] += sum(reply[0] != ">" for reply in seen[0])
        print("the same as Redis:", counts)


# --- caches of clients, on several threads ---------------------------------------------------------

KEYS = [f"{prefix}:{i}" for prefix in ("p", "q") for i in range(150)]


class Actor(threading.Thread):
    """Does one thing until it is told to stop; `wrong` says what went wrong."""

    def __init__(self, server, number, stop):
        super().__init__()
        self.rng = random.Random(f"{SEED}/{type(self).__name__}/{number}")
        self.server, self.stop, self.number = server, stop, number
        self.address = server.unix if number % 2 else server.tcp
        self.wrong, self.count = None, 0

    def run(self):
        try:
            self.start_up()
            while not self.stop.is_set():
                self.act()
                self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.wrong = f"{type(self).__name__} {self.number}: {error!r}"

    def start_up(self):
        self.connection = Client(self.address, 3)

    def act(self):
        raise NotImplementedError

    def close(self):
        self.connection.close()


class Writer(Actor):
    def act(self):
        rng, key, other = self.rng, self.rng.choice(KEYS), self.rng.choice(KEYS)
        value = f"{self.number}.{self.count}" + "x" * rng.choice([0, 10, 3000])
        lines = rng.choice([
            [["SET", key, value]], [["SET", key, value], ["SET", other, value], ["DEL", key]],
            [["SET", key, value, "PX", rng.randrange(1, 60)]], [["DEL", key, other]],
            [["APPEND", key, "y"]], [["GETDEL", key]], [["MSET", key, value, other, value]],
            [["MULTI"], ["SET", key, value], ["APPEND", other, "z"], ["EXEC"]],
            [["RENAME", key, other]], [["COPY", key, other, "REPLACE"]],
            [["SET", rng.choice(KEYS), f"{value}.{i}"] for i in range(50)],
            [["SET", f"other:{rng.randrange(3000)}", value * 3]]])
        if rng.random() < 0.002:
            lines = [["FLUSHALL"]]
        self.connection.send(b"".join(map(request, lines)))
        for _ in lines:
            self.connection.read()


class Cacher(Actor):
    """Tracks what it reads, and keeps it."""
    mode = ()

    def start_up(self):
        super().start_up()
        self.cache, self.hits, self.told = {}, 0, 0
        self.connection.ok("CLIENT", "TRACKING", "ON", *self.mode)

    def hear(self, push):
        keys = push[1][-1][1]
        self.told += 1
        if keys is None:
            self.cache.clear()
        for _, key in keys or ():
            self.cache.pop(key.decode(), None)

    def reply(self):
        """The next one; pushes before it are heard."""
        while True:
            reply = self.connection.read()
            if reply[0] != ">":
                return reply
            self.hear(reply)

    def fetch(self, keys):
        """Several by MGET, many by a pipeline."""
        many = len(keys) > 5 or len(keys) == 1
        lines = [["GET", key] for key in keys] if many else [["MGET", *keys]]
        self.connection.send(b"".join(map(request, lines)))
        if not many:
            self.cache.update(zip(keys, (value for _, value in self.reply()[1])))
        for key in keys if many else ():
            self.cache[key] = self.reply()[1]

    def write(self):
        key = self.rng.choice(KEYS)
        self.connection.send(request(["SET", key, f"{self.number}.{self.count}"]))
        self.reply()
        self.cache.pop(key, None)

    def catch_up(self):
        for push in self.connection.waiting():
            self.hear(push)

    def act(self):
        keys = [self.rng.choice(KEYS) for _ in range(self.rng.choice([1, 1, 1, 5, 50]))]
        keys = list(dict.fromkeys(keys))
        if self.rng.random() < 0.05:
            self.write()
        elif all(key in self.cache for key in keys):
            self.hits += 1
            self.catch_up()
        else:
            self.fetch(keys)


class WithoutLoop(Cacher):
    mode = ("NOLOOP",)


class OptIn(Cacher):
    mode = ("OPTIN",)

    def fetch(self, keys):
        for key in keys:
            self.connection.send(request(["CLIENT", "CACHING", "YES"]) + request(["GET", key]))
        for key in keys:
            self.reply()
            self.cache[key] = self.reply()[1]


class ByLease(Cacher):
    """Keeps what it is given, and computes what it has the lease for."""

    def fetch(self, keys):
        for key in keys:
            wait, fresh = self.rng.choice([0, 0, 20]), self.rng.choice([0, 30])
            self.connection.send(request(["SIDEPOND", "LEASE", key, wait, "FRESH", fresh]))
            content = self.reply()[1]
            word, (_, value) = (content[0][1], content[1]) if content else (None, (None, None))
            if word == b"lease":
                self.connection.send(request(["SIDEPOND", "FILL", key, value, f"lease.{value}"]))
                self.reply()
            elif word:
                self.cache[key] = value


class Broadcast(Cacher):
    mode = ("BCAST", "PREFIX", "p:", "PREFIX", "q")


class Redirected(Cacher):
    """In RESP2: what it has kept is told to a second connection, which need not be in step with the
    first. So what was told of since the request was sent is not kept."""

    def start_up(self):
        self.connection, self.hearer = Client(self.address, 2), Client(self.server.tcp, 2)
        self.hearer.command("SUBSCRIBE", CHANNEL)
        self.cache, self.hits, self.told = {}, 0, 0
        self.connection.ok("CLIENT", "TRACKING", "ON", "REDIRECT", self.hearer.id)

    def close(self):
        super().close()
        self.hearer.close()

    def catch_up(self):
        for push in self.hearer.waiting():
            self.hear(push)

    def fetch(self, keys):
        self.catch_up()
        super().fetch(keys)
        self.catch_up()


CACHERS = [Cacher, Cacher, WithoutLoop, OptIn, Broadcast, Redirected, ByLease, ByLease]


@unittest.skipUnless(have_ours(), "no resp_server was built")
class CachesTest(unittest.TestCase):
    def stale(self, cachers, server):
        """What clients hold and the server does not."""
        wrong = []
        with Connection(server.tcp) as connection:
            now = {key: connection.command("GET", key)[1] for key in KEYS}
        for cacher in cachers:
            cacher.catch_up()
            wrong += [f"{type(cacher).__name__}: {key} is {value!r}, not {now[key]!r}"
                      for key, value in cacher.cache.items() if value != now[key]]
        return wrong

    @staticmethod
    def expiring(server):
        with Connection(server.tcp) as connection:
            content = connection.command("INFO", "keyspace")[1].decode()
        return int(content.split("expires=")[1].split(",")[0]) if "expires=" in content else 0

    def run_with(self, max_keys, **options):
        stop = threading.Event()
        with Ours(**options) as server:
            with Connection(server.tcp) as connection:
                connection.command("CONFIG", "SET", "tracking-table-max-keys", max_keys)
            cachers = [kind(server, n, stop) for n, kind in enumerate(CACHERS)]
            actors = cachers + [Writer(server, n, stop) for n in range(2)]
            for actor in actors:
                actor.start()
            stop.wait(SECONDS / 2)
            stop.set()
            for actor in actors:
                actor.join()
            self.assertEqual([a.wrong for a in actors if a.wrong], [], server.log())
            wait_for(lambda: self.expiring(server) == 0, "what expires has done so")
            deadline = time.monotonic() + QUIET_SECONDS
            while (wrong := self.stale(cachers, server)) and time.monotonic() < deadline:
                time.sleep(0.02)  # a push is on its way
            self.assertEqual(wrong, [])
            for actor in actors:
                actor.close()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(30), 0, server.log())
        print("requests:", [a.count for a in actors], "hits:", [c.hits for c in cachers],
              "told:", [c.told for c in cachers])

    def test_reads_beside_writes(self):
        """Each key is read once and written once at about the same moment, on two threads."""
        rng = random.Random(SEED)
        keys = [b"key:%04d" % i for i in range(1500)]
        pieces = [keys[i:i + 50] for i in range(0, len(keys), 50)]
        gets = [b"".join(request(["GET", key]) for key in piece) for piece in pieces]
        with Ours(threads=2) as server:
            for mode in (["ON"], ["ON", "BCAST"]):
                with Client(server.tcp) as reader, Client(server.tcp, 2) as writer:
                    reader.ok("CLIENT", "TRACKING", *mode)
                    rounds, kept, end = 0, 0, time.monotonic() + SECONDS / 2
                    while time.monotonic() < end:
                        value = b"%04d" % rounds
                        for piece, lines in zip(pieces, gets):
                            sets = b"".join([b"*3\r\n$3\r\nSET\r\n$8\r\n%b\r\n$4\r\n%b\r\n"
                                             % (key, value) for key in piece])
                            for client, data in rng.sample([(reader, lines), (writer, sets)], 2):
                                client.send(data)
                        self.raw(writer)
                        data, deadline = self.raw(reader), time.monotonic() + QUIET_SECONDS
                        while self.old_of(data, keys, value) and time.monotonic() < deadline:
                            data += self.raw(reader)  # a push is on its way
                        self.assertEqual(self.old_of(data, keys, value), [],
                                         f"round {rounds} of {mode}")
                        cache = self.cache_of(data, keys)
                        rounds, kept = rounds + 1, kept + len(cache)
                print(f"{mode}: rounds: {rounds}, kept: {kept} of {rounds * len(keys)}")

    @staticmethod
    def raw(client):
        """All bytes up to the reply to PING, and some pushes behind it maybe."""
        client.send(request(["PING"]))
        data = b""
        while b"+PONG\r\n" not in data[-4096:] and b"+PONG\r\n" not in data:
            data += client.socket.recv(1 << 20)
        return data

    def old_of(self, data, keys, value):
        return [key for key, found in self.cache_of(data, keys).items() if found != value]

    @staticmethod
    def cache_of(data, keys):
        """What is kept of the replies to GET of the keys and the pushes between them."""
        cache, answered = {}, iter(keys)
        for reply in re.finditer(rb"\$4\r\n(\d{4})|(_\r)|\$8\r\n(key:\d{4})", data):
            value, none, key = reply.groups()
            if key:
                cache.pop(key, None)
            else:
                cache[next(answered)] = value or none
        return cache

    def test_no_old_value_stays(self):
        self.run_with(1000000, threads=3)

    def test_with_a_small_table_and_a_small_cache(self):
        self.run_with(40, threads=3, limit=4 << 20)


# --- tables ----------------------------------------------------------------------------------------

FAST = "refresh: {every: 20ms}"
USERS = "  - {name: users, source: app, key: [id], " + FAST + "}\n"
PAIRS = "  - {name: pairs, source: app, key: [a, b], " + FAST + "}\n"


@unittest.skipUnless(os.access(PROGRAM, os.X_OK), "sidepondd was not built")
class TablesTest(unittest.TestCase):
    def setUp(self):
        self.port = free_port()
        self.daemon = SqliteDaemon(USERS, extra=f'cache: {{listen: ["127.0.0.1:{self.port}"], '
                             "output_limit: 1MiB}")
        self.addCleanup(self.daemon.__exit__, None, None, None)
        self.sql("create table users (id integer primary key, name text)",
                 "create table pairs (a text, b integer, c integer, primary key (a, b))",
                 *(f"insert into users values ({i}, 'name {i}')" for i in range(1, 101)))
        self.daemon.start()
        time.sleep(0.5)  # that there is a table now is told twice, within four ticks

    def sql(self, *statements):
        self.daemon.execute(*statements)

    def client(self, *tracking):
        client = Client(("127.0.0.1", self.port))
        self.addCleanup(client.close)
        if tracking:
            client.ok("CLIENT", "TRACKING", *tracking)
        return client

    def name(self, client, key):
        """As GET has it."""
        found = client.command("GET", key)[1]
        return found and json.loads(found)["name"]

    def test_rows_that_change(self):
        reader = self.client("ON")
        self.assertEqual(self.name(reader, "users:7"), "name 7")
        self.assertEqual(self.name(reader, "users:007"), "name 7")  # the same row
        self.assertEqual(reader.command("HGET", "users:9", "name"), ("$", b"name 9"))
        self.assertEqual(reader.command("EXISTS", "users:8", "users:777", "users:none"), (":", 1))
        self.sql("update users set name = 'new' where id in (7, 20)",
                 "delete from users where id = 8", "insert into users values (777, 'come')")
        told = {reader.read()[1][1][1][0][1] for _ in range(5)}
        self.assertEqual(told, {b"users:7", b"users:007", b"users:8", b"users:777", b"users:none"})
        self.assertEqual(reader.pushes(), [])  # nor of row 9, which is what it was
        self.assertEqual(self.name(reader, "users:7"), "new")
        self.sql("update users set name = 'newer' where id in (7, 9)")
        told = {reader.read()[1][1][1][0][1] for _ in range(2)}
        self.assertEqual(told, {b"users:7", b"users:9"})

    def test_prefixes_of_tables(self):
        """Which rows change is not known: everything is to be forgotten."""
        readers = [self.client("ON", "BCAST", *prefix) for prefix in
                   ([], ["PREFIX", "users:"], ["PREFIX", "us"], ["PREFIX", "users:42"])]
        others = [self.client("ON", "BCAST", "PREFIX", prefix) for prefix in ("userss", "v", "users;")]
        self.sql("update users set name = 'new' where id = 7")
        for reader in readers:
            self.assertEqual(reader.read(), invalidate())
        for other in others:
            self.assertEqual(other.pushes(), [])

    def test_tables_that_come_and_go(self):
        """A key of the cache becomes a row, and the other way round."""
        reader, writer = self.client("ON"), self.client()
        writer.ok("SET", "pairs:x:1", "of the cache")
        self.sql("insert into pairs values ('x', 1, 2)")
        cache = {}

        def kept():
            self.hear(reader, cache)
            if not cache:
                reader.send(request(["GET", "pairs:x:1"]))
                while (reply := reader.read())[0] == ">":
                    pass  # before the reply: not about it
                cache["pairs:x:1"] = reply[1]
            return cache["pairs:x:1"]

        self.assertEqual(kept(), b"of the cache")
        for tables, expected in ((USERS + PAIRS, b'{"a": "x", "b": 1, "c": 2}'),
                                 (USERS, b"of the cache")):
            self.daemon.configure(tables)
            self.daemon.signal(signal.SIGHUP)
            wait_for(lambda wanted=expected: kept() == wanted, f"{expected} is kept")

    def test_tables_that_are_too_old(self):
        """What a client keeps of them must go, as the server replies an error by then."""
        reader = self.client("ON")
        self.daemon.configure(USERS.replace("every: 20ms}", "every: 1h}, max_stale: 1s, "
                                                            "on_stale: fail"))
        self.daemon.signal(signal.SIGHUP)
        self.daemon.await_log("reloaded")
        reader.command("GET", "users:7")
        self.assertEqual(reader.read(), invalidate(b"users:7"))
        self.assertIn(b"table users", self.client().command("GET", "users:7")[1])

    def test_a_client_that_does_not_read(self):
        """Is ended by the limit of its output; nobody else is held up."""
        reader, writer = self.client("ON", "BCAST"), self.client()
        deadline = time.monotonic() + QUIET_SECONDS
        lines = b"".join(request(["SET", f"{i}:" + "x" * 1000, 1]) for i in range(1000))
        while b"id=%d " % reader.id in writer.command("CLIENT", "LIST")[1]:
            self.assertLess(time.monotonic(), deadline)
            writer.send(lines)
            for _ in range(1000):
                writer.read()
        self.assertIn(b"dropped_connections_output_hard:1\r\n", writer.command("INFO", "stats")[1])

    def test_no_old_row_stays(self):
        """Rows in clients' caches while the database changes: in the end they are those of the
        database."""
        rng, caches = random.Random(SEED), {}
        clients = [self.client("ON"), self.client("ON"), self.client("ON", "BCAST")]
        end = time.monotonic() + SECONDS / 2
        hits = 0
        while time.monotonic() < end:
            if rng.random() < 0.1:
                self.sql(f"update users set name = '{rng.random()}' where id = {rng.randint(1, 120)}",
                         f"delete from users where id = {rng.randint(1, 120)}",
                         f"insert or replace into users values ({rng.randint(1, 120)}, 'come')")
            for client in clients:
                cache = caches.setdefault(client, {})
                self.hear(client, cache)
                key = f"users:{rng.randint(1, 120)}"
                hits += key in cache
                if key not in cache:
                    client.send(request(["GET", key]))
                    reply = client.read()
                    while reply[0] == ">":
                        self.forget(cache, reply)
                        reply = client.read()
                    cache[key] = reply[1]
        checker = self.client()
        deadline = time.monotonic() + QUIET_SECONDS
        while (wrong := self.stale(clients, caches, checker)) and time.monotonic() < deadline:
            time.sleep(0.02)  # a refresh and a tick
        self.assertEqual(wrong, [])
        self.daemon.stop()
        print("rows kept:", [len(cache) for cache in caches.values()], "hits:", hits)

    @staticmethod
    def forget(cache, push):
        if push[1][1][1] is None:
            cache.clear()
        for _, key in push[1][1][1] or ():
            cache.pop(key.decode(), None)

    def hear(self, client, cache):
        for push in client.waiting():
            self.forget(cache, push)

    def stale(self, clients, caches, checker):
        for client in clients:
            self.hear(client, caches[client])
        with sqlite3.connect(self.daemon.database) as db:
            names = dict(db.execute("select id, name from users"))
        db.close()
        return [key for cache in caches.values() for key, row in cache.items()
                if (row and json.loads(row)["name"]) != names.get(int(key[6:]))
                or checker.command("GET", key)[1] != row]


if __name__ == "__main__":
    print(f"SIDEPOND_SEED={SEED}", flush=True)
    unittest.main()
