#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_clients.py - Goal: what talks to Redis talks to ours. Method: real clients, each in a process
of its own: redis-cli as a user has it, redis-py from PyPI, hiredis, and `redis` of Node.js. Each is
run with redis-server too, which shows that its assertions are those of Redis. What ours has not got
yet is left out by its own list of commands, and printed. A client that is not installed is skipped.
"""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
import unittest

import redis_package
from daemon_kit import BUILD
from resp_servers import Ours, Redis, commands_of, have_ours, have_redis
from resp_wire import request

HERE = os.path.dirname(os.path.abspath(__file__))
HIREDIS = os.path.join(BUILD, "bin", "clients_hiredis")
NODE_PATH = "/usr/share/nodejs"
GUARDED = ["hello", "client", "command", "info", "subscribe", "publish", "config", "memory"]
SECONDS = 60


class Clients:
    """The tests, with self.server and self.commands."""
    server = commands = None

    def program(self, *words, stdin=None, **environment):
        """What it printed; it ends with 0."""
        done = subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=SECONDS,
                              env={**os.environ, "REDIS_URL": self.server.url, **environment})
        shown = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, 0, shown + done.stderr.decode(errors="replace"))
        return shown

    def cli(self, *words, stdin=None):
        if not shutil.which("redis-cli"):
            self.skipTest("redis-cli is not installed")
        return self.program("redis-cli", "-p", str(self.server.port), *words, stdin=stdin)

    # --- redis-cli ---

    def test_cli(self):
        self.assertEqual(self.cli("set", "a", "ü"), "OK\n")
        self.assertEqual(self.cli("get", "a"), "ü\n")
        self.assertEqual(self.cli("-x", "set", "b", stdin=b"of the input\n"), "OK\n")
        self.assertEqual(self.cli("--no-raw", "get", "b"), '"of the input\\n"\n')
        self.assertIn("unknown command", self.cli("nonsense"))
        self.assertEqual(self.cli(stdin=b"multi\nset a 1\nincr a\nexec\n"),
                         "OK\nQUEUED\nQUEUED\nOK\n2\n")
        done = self.program("redis-cli", "-s", self.server.unix, "ping")
        self.assertEqual(done, "PONG\n")

    def test_cli_resp3(self):
        if "hello" not in self.commands:
            self.skipTest("the server has no HELLO")
        self.assertEqual(self.cli("-3", "get", "none"), "\n")

    def test_cli_pipe(self):
        asked = b"".join(request(["SET", f"pipe:{i}", "x" * (i % 300)]) for i in range(20000))
        self.assertIn("errors: 0, replies: 20000", self.cli("--pipe", stdin=asked))
        found = self.cli("--scan", "--pattern", "pipe:*").split()
        self.assertEqual(set(found), {f"pipe:{i}" for i in range(20000)})
        self.assertIn("Biggest string found", self.cli("--bigkeys"))

    def test_cli_at_a_terminal(self):
        """Which asks for COMMAND DOCS, and has to live with whatever the answer is."""
        if not shutil.which("redis-cli"):
            self.skipTest("redis-cli is not installed")
        child, terminal = pty.fork()
        if child == 0:
            os.environ["TERM"] = "dumb"
            os.execvp("redis-cli", ["redis-cli", "-p", str(self.server.port)])
        try:
            for line, answer in ((b"set tty works\r", b"OK"), (b"get tty\r", b'"works"'),
                                 (b"help set\r", b"SET"), (b"help @string\r", b"GETRANGE")):
                os.write(terminal, line)
                self.await_output(terminal, answer)
            os.write(terminal, b"quit\r")
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            child = None
        finally:
            if child:
                os.kill(child, 9)
                os.waitpid(child, 0)
            os.close(terminal)

    def await_output(self, terminal, text):
        output, deadline = b"", time.monotonic() + SECONDS
        while not re.search(rb"\n[^\n]*" + re.escape(text), output):
            left = deadline - time.monotonic()
            self.assertGreater(left, 0, f"{text} is not in {output}")
            if select.select([terminal], [], [], left)[0]:
                output += os.read(terminal, 1 << 16)

    # --- libraries ---

    def test_redis_py(self):
        python = RedisPy.python
        if python is None:
            self.skipTest("redis-py cannot be installed here")
        print(self.program(python, os.path.join(HERE, "clients_redis_py.py"),
                           REDIS_SOCKET=self.server.unix, REDIS_COMMANDS=" ".join(self.commands)))

    def test_hiredis(self):
        if not os.access(HIREDIS, os.X_OK):
            self.skipTest("clients_hiredis was not built")
        self.assertEqual(len(self.program(HIREDIS, "127.0.0.1", str(self.server.port),
                                          self.server.unix).splitlines()), 2)

    def test_node(self):
        if not shutil.which("node") or not os.path.isdir(os.path.join(NODE_PATH, "redis")):
            self.skipTest("node-redis is not installed")
        done = self.program("node", os.path.join(HERE, "clients_node.js"), NODE_PATH=NODE_PATH)
        self.assertEqual(len(done.splitlines()), 4)


class RedisPy:
    python = None


@unittest.skipUnless(have_redis(), "redis-server is not installed")
class WithRedis(Clients, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Redis())
        cls.commands = commands_of(cls.server.tcp, GUARDED)


@unittest.skipUnless(have_ours(), "no resp_server was built")
class WithOurs(Clients, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Ours(threads=2))
        cls.commands = commands_of(cls.server.tcp, GUARDED)
        print("left out, since the server has not got them:",
              " ".join(sorted(set(GUARDED) - cls.commands)) or "nothing")


if __name__ == "__main__":
    with redis_package.environment() as RedisPy.python:
        result = unittest.main(exit=False).result
    sys.exit(not result.wasSuccessful())
