#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_look_aside.py - Goal: an application that was written for Redis runs unchanged with ours.
Method: look_aside_app.py, with redis-py from PyPI, with both servers; REDIS_URL is all that differs.
"""
import os
import subprocess
import sys
import unittest

import redis_package
from resp_servers import Ours, Redis, commands_of, have_ours, have_redis

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "look_aside_app.py")
PARTS = 6


class LookAsideTest(unittest.TestCase):
    python = None

    def runs(self, server, options=""):
        done = subprocess.run([self.python, APP], capture_output=True, text=True, check=False,
                              env={**os.environ, "REDIS_URL": server.url + options}, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_with_redis(self):
        if not have_redis():
            self.skipTest("redis-server is not installed")
        with Redis() as server:
            self.assertEqual(len(self.runs(server).splitlines()), PARTS)

    @unittest.skipUnless(have_ours(), "no resp_server was built")
    def test_with_ours(self):
        with Ours(threads=2) as server:
            has_hello = commands_of(server.tcp, ["hello"])
            options = "" if has_hello else "?protocol=2"
            self.assertEqual(len(self.runs(server, options).splitlines()), PARTS)


if __name__ == "__main__":
    with redis_package.environment() as LookAsideTest.python:
        if LookAsideTest.python is None:
            print("redis-py cannot be installed here")
            sys.exit(77)
        unittest.main()
