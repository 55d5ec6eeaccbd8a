#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_resp_threads.py - Goal: with several I/O threads every reply is right, what is written as one
is read as one, and a cache that is full goes on.
Method: clients of all kinds at once on a server with three threads and a cache too small for them,
for some seconds; values name their key and carry their own checksum. At the end the server must end
by itself with status 0, which under a sanitizer says that it has found nothing.
"""
import os
import random
import signal
import threading
import time
import unittest
import zlib

from resp_servers import Ours
from resp_wire import Connection, request

SECONDS = 30 if os.environ.get("SIDEPOND_LONG") else 5
SEED = os.environ.get("SIDEPOND_SEED") or str(random.SystemRandom().randrange(1 << 32))
PAIR = [f"together:{n}" for n in range(8)]


def value_of(key, rng):
    body = f"{key}|{'x' * rng.randrange(1, 2000)}".encode()
    return b"%08x%s" % (zlib.crc32(body), body)


def is_value_of(key, value):
    return value is None or (int(value[:8], 16) == zlib.crc32(value[8:]) and
                             value[8:].startswith(f"{key}|".encode()))


class Client(threading.Thread):
    """One connection that does one thing until the time is over; `wrong` says what was."""

    def __init__(self, server, number, action):
        super().__init__()
        self.rng = random.Random(f"{SEED}/{number}")
        self.number, self.action = number, action
        self.address = server.unix if number % 2 else server.tcp
        self.wrong, self.count = None, 0

    def run(self):
        end = time.monotonic() + SECONDS
        try:
            with Connection(self.address) as self.connection:
                while time.monotonic() < end:
                    self.action(self)
                    self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.wrong = f"{self.action.__name__}: {error!r}"

    def ask(self, *arguments):
        kind, content = self.connection.command(*arguments)
        if kind == "-":
            raise AssertionError(f"{arguments}: {content}")
        return content

    def check(self, good, what):
        if not good:
            raise AssertionError(what)


def reads_and_writes(client):
    key = f"key:{client.rng.randrange(4000)}"
    if client.rng.random() < 0.4:
        client.ask("SET", key, value_of(key, client.rng), "PX", client.rng.randrange(5, 9000))
    value = client.ask("GET", key)
    client.check(is_value_of(key, value), f"{key} is {value!r}")


def pipelines(client):
    keys = [f"key:{client.rng.randrange(4000)}" for _ in range(40)]
    for key in keys:
        client.connection.send(request(["SET", key, value_of(key, client.rng)]))
        client.connection.send(request(["GET", key]))
    for key in keys:
        client.check(client.connection.read()[1] == b"OK", "a SET of a pipeline")
        value = client.connection.read()[1]
        client.check(is_value_of(key, value), f"{key} is {value!r} in a pipeline")


def writes_together(client):
    number = f"{client.number}.{client.count}"
    client.ask("MULTI")
    for key in PAIR:
        client.ask("SET", key, number)
    client.ask("EXEC")


def reads_together(client):
    values = client.ask("MGET", *PAIR)
    client.check(len({content for _, content in values}) == 1, f"MGET saw {values}")
    client.ask("MULTI")
    for key in PAIR:
        client.ask("GET", key)
    values = client.ask("EXEC")
    client.check(len({content for _, content in values}) == 1, f"EXEC saw {values}")


def walks(client):
    cursor = b"0"
    while True:
        (_, cursor), _ = client.ask("SCAN", cursor, "COUNT", "100")
        if cursor == b"0":
            break
    client.ask("CLIENT", "LIST")
    client.ask("PUBLISH", "channel", str(client.count))


ACTIONS = [reads_and_writes, reads_and_writes, pipelines, pipelines, writes_together,
           reads_together, reads_together, walks]


class ThreadsTest(unittest.TestCase):
    def test_all_at_once(self):
        with Ours(threads=3, limit=8 << 20) as server:
            clients = [Client(server, n, action) for n, action in enumerate(ACTIONS)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            server.process.send_signal(signal.SIGTERM)
            status = server.process.wait(30)
            self.assertEqual([c.wrong for c in clients if c.wrong], [], server.log())
            self.assertEqual(status, 0, server.log())
        print("replies by client:", [client.count for client in clients])


if __name__ == "__main__":
    print(f"SIDEPOND_SEED={SEED}", flush=True)
    unittest.main()
