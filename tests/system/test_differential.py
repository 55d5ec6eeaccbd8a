#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_differential.py - Goal: our server replies as the real Redis does, and what finds that out can
be believed. Method: differential.py for a few seconds; and the same against Redis itself, which must
show no difference, and against Redis behind a proxy that lies, where it must find the lie and
minimise the way there. SIDEPOND_SEED repeats a run.
"""
import os
import random
import socketserver
import sys
import threading
import unittest

import differential
import differential_commands as commands
from differential_known import Known
from resp_servers import Ours, Redis, commands_of, have_ours, have_redis
from resp_wire import Connection

SEED = os.environ.get("SIDEPOND_SEED") or str(random.SystemRandom().randrange(1 << 32))
SLOWER = 2 if os.environ.get("SIDEPOND_SLOW") else 1
LEAST = 20  # cases, or a comparison says little


class Lying(socketserver.ThreadingUnixStreamServer):
    """In front of a server: what it replies, with one text put for another."""
    daemon_threads = True

    def __init__(self, path, server, lie):
        self.server, self.lie = server, lie
        super().__init__(path, LyingConnection)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01},
                         daemon=True).start()


class LyingConnection(socketserver.BaseRequestHandler):
    def handle(self):
        with Connection(self.server.server.unix) as behind:
            threading.Thread(target=self.replies, args=(behind.socket,), daemon=True).start()
            while data := self.request.recv(1 << 16):
                behind.socket.sendall(data)

    def replies(self, behind):
        try:
            while data := behind.recv(1 << 16):
                self.request.sendall(data.replace(*self.server.lie))
            self.request.shutdown(2)
        except OSError:
            pass  # the client has gone


class DifferentialTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = cls.enterClassContext(Redis())
        cls.names = sorted(commands_of(cls.redis.unix, commands.GENERATORS))

    def compare(self, ours, names, seconds, known=None, cases=10 ** 6):
        """For so many seconds, and on a slow machine until there are enough cases."""
        differ = differential.Differ(ours, self.redis.unix, known)
        outcome = differential.compare(differ, SEED, range(cases), names, seconds, LEAST)
        differential.report(differ, outcome, SEED, set(names))
        return differ, outcome

    def test_redis_is_as_redis(self):
        with Redis() as other:
            differ, outcome = self.compare(other.unix, self.names, 4 / SLOWER)
        self.assertGreaterEqual(differ.cases, LEAST)
        self.assertEqual(outcome.counts, {})

    def lying(self, behind, lie):
        server = Lying(os.path.join(behind.directory, "lying"), behind, lie)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server.server_address

    def test_a_lie_is_found_and_minimised(self):
        """One client writes and the other sees another length: a few steps are needed, of hundreds."""
        with Redis() as other:
            path = self.lying(other, (b":44\r\n", b":45\r\n"))
            differ = differential.Differ(path, self.redis.unix)
            found = next(filter(None, (differ.case(SEED, n, ["set", "strlen", "append"])
                                       for n in range(200))))
        self.assertIn("ours:  : 45", found[1])
        self.assertLessEqual(len(found[1].split("\n")), 8, found[1])

    def test_what_is_known_is_explained(self):
        with Redis() as other:
            path = self.lying(other, (b"+OK\r\n", b"+Fine\r\n"))
            known = [Known("*", r"\+ b?'OK'", r"\+ b?'Fine'", "it is so polite")]
            differ, outcome = self.compare(path, ["set", "get"], 2, known, 20)
        self.assertEqual(outcome.counts, {})
        self.assertGreater(differ.explained[known[0]], 10)

    @unittest.skipUnless(have_ours(), "no resp_server was built")
    def test_ours_is_as_redis(self):
        with Ours() as ours:
            names = commands_of(ours.unix, self.names)
            differ, outcome = self.compare(ours.unix, sorted(names), 7 / SLOWER)
        self.assertGreaterEqual(differ.cases, LEAST)
        self.assertEqual(outcome.counts, {})


if __name__ == "__main__":
    if not have_redis():
        print("redis-server is not installed")
        sys.exit(77)
    print(f"SIDEPOND_SEED={SEED}", flush=True)
    unittest.main()
