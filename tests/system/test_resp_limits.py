#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_resp_limits.py - Goal: a client that meets a limit hears which one, and limits can be changed
while the server runs as far as the system allows.
Method: raw sockets on a server whose limit of descriptors this test has lowered beforehand.
"""
import resource
import unittest

from resp_servers import Ours
from resp_wire import Closed, Connection, request

SOFT, HARD = 300, 1000
SPARE = 128  # descriptors that the server keeps for what is no client


class Few(Ours):
    """Ours with few descriptors."""

    def __enter__(self):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, before[1]))
        try:
            super().__enter__()
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (SOFT, HARD))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        return self

    def descriptors(self):
        return resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)[0]


class LimitsTest(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(Few())
        self.one = self.enterContext(Connection(self.server.unix))

    def test_maxclients_raises_the_limit_of_descriptors(self):
        self.assertEqual(self.one.command("CONFIG", "SET", "maxclients", "600"), ("+", b"OK"))
        self.assertEqual(self.server.descriptors(), 600 + SPARE)
        many = [self.enterContext(Connection(self.server.unix)) for _ in range(500)]
        for connection in many:
            self.assertEqual(connection.command("PING"), ("+", b"PONG"))

    def test_maxclients_beyond_what_the_system_allows(self):
        self.one.command("CONFIG", "SET", "maxclients", "200")
        kind, text = self.one.command("CONFIG", "SET", "maxclients", str(HARD))
        self.assertEqual((kind, text), (
            "-", b"ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating "
            b"system is not able to handle the specified number of clients, try with "
            + str(HARD - SPARE).encode()))
        self.assertEqual(self.one.command("CONFIG", "GET", "maxclients")[1][1], ("$", b"200"))
        self.assertEqual(
            self.one.command("CONFIG", "SET", "maxclients", str(HARD - SPARE)), ("+", b"OK"))

    def test_reads_that_keep_an_entry_from_eviction(self):
        with Ours(limit=8 << 20) as server, Connection(server.unix) as reader, \
                Connection(server.unix) as silent:
            self.assertEqual(silent.command("CLIENT", "NO-TOUCH", "ON"), ("+", b"OK"))
            kinds = ("read", "leased", "silent")
            for n in range(20):
                for kind in kinds:
                    reader.command("SET", f"{kind}:{n}", "x" * 1000)
            for n in range(30000):
                reader.command("SET", f"key:{n}", "x" * 1000)
                if n % 10 == 0:
                    at = n // 10 % 20
                    reader.command("GET", f"read:{at}")
                    reader.command("SIDEPOND", "LEASE", f"leased:{at}", "0")
                    silent.command("GET", f"silent:{at}")
            left = [reader.command("EXISTS", *(f"{kind}:{n}" for n in range(20)))[1]
                    for kind in kinds]
            print("left of 20 that were read, leased, read silently:", left)
            self.assertLess(left[2] + 5, min(left[:2]))  # a bit of use may be of two entries

    def test_a_request_that_is_too_big(self):
        self.one.command("CONFIG", "SET", "client-query-buffer-limit", "1mb")
        head = request(["PING"]) + b"*2\r\n$3\r\nGET\r\n$3000000\r\n"
        for address in (self.server.unix, self.server.tcp):
            with Connection(address) as connection:
                try:
                    connection.send(head + b"x" * 2000000)
                except Closed:
                    pass  # it was told before it had sent everything
                self.assertEqual(connection.read_to_end(),
                                 [("+", b"PONG"), ("-", b"ERR Protocol error: too big request")])
        self.assertEqual(self.one.command("PING"), ("+", b"PONG"))


if __name__ == "__main__":
    unittest.main()
