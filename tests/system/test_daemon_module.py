#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_module.py - Goal: a source that is not built in is one like any other, and what is none
is refused with its reason. Method: the module of tests/system/consumer in a real daemon; modules that
are wrong are made with the compiler.
"""
import os
import subprocess
import unittest

from daemon_kit import BUILD, PROGRAM, Daemon

MODULE = os.path.join(BUILD, "lib", "text_source.so")
WORDS = ("  - {name: words, source: text, relation: words.tsv, key: [key], max_drop: 100%, "
         "refresh: {every: 20ms}}\n")


class ModuleTest(unittest.TestCase):
    def daemon(self, tables=WORDS, module=MODULE):
        daemon = Daemon(tables, "")
        self.addCleanup(daemon.__exit__, None, None, None)
        daemon.sources = (f"  - {{name: text, type: module, module: {module}, "
                          f"dsn: {daemon.directory}}}")
        daemon.configure(tables)
        self.write(daemon, one="1", two="2")
        return daemon

    def write(self, daemon, more="", **words):
        path = os.path.join(daemon.directory, "words.tsv")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write("".join(f"{key}\t{value}\n" for key, value in words.items()) + more)
        os.rename(path + ".new", path)

    def compile(self, daemon, name, text):
        path = os.path.join(daemon.directory, name)
        subprocess.run(["cc", "-shared", "-o", path, "-x", "c", "-"], input=text.encode(), check=True)
        return path

    def check(self, daemon):
        done = subprocess.run([PROGRAM, "--check", "--connect", daemon.config], capture_output=True,
                              text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_follows(self):
        daemon = self.daemon().start()
        self.assertEqual(daemon.get("words", "two")["value"], "2")
        self.write(daemon, more="no tab\n", one="1", two="zwei", three="3")
        daemon.await_row("words", "two", value="zwei")
        daemon.await_row("words", "three", value="3")
        self.assertIn("the line has no tab", daemon.log())
        self.assertLess(daemon.stop(), 5)

    def test_refused(self):
        daemon = self.daemon()
        cases = [("/nowhere.so", "/nowhere.so: cannot open shared object file"),
                 (self.compile(daemon, "none.so", "int x;"), "none.so has no sidepond_source"),
                 (self.compile(daemon, "new.so", "unsigned sidepond_source[8] = {99};"),
                  "built for version 99 of the interface for sources, and this is version 1")]
        for module, said in cases:
            with self.subTest(module=module):
                daemon.sources = f"  - {{name: text, type: module, module: {module}}}"
                daemon.configure(WORDS)
                code, output = self.check(daemon)
                self.assertNotEqual(code, 0)
                self.assertIn(said, output)

    def test_what_it_cannot_do(self):
        daemon = self.daemon()
        for refresh, said in [("mode: notified", "cannot notify"),
                              ("mode: incremental, watermark: value, overlap: 1", "watermark")]:
            with self.subTest(refresh=refresh):
                daemon.configure(WORDS.replace("every: 20ms", refresh))
                code, output = self.check(daemon)
                self.assertNotEqual(code, 0, output)
                self.assertIn(said, output)


if __name__ == "__main__":
    unittest.main(verbosity=2)
