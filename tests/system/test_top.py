#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_top.py - Goal: `sidepond top` shows what the pond, its cache server and the readers of shared
memory do, also where some of it cannot be had, and leaves the terminal as it was however it ends.
Method: real daemons with a table and a cache; as text and JSON the figures are compared with what the
test did; live it runs on a pseudo-terminal whose picture is put together from the bytes written.
"""
import ctypes
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import unittest

from daemon_kit import BUILD, TOOL, wait_for
from sqlite_daemon import SqliteDaemon
from test_daemon_cache import Client

TABLES = "  - {name: users, source: app, key: [id], refresh: {every: 50ms}, max_drop: 100%}"


class TopDaemon(SqliteDaemon):
    """A daemon with a table of ten users, and a cache unless its section is None."""

    def __init__(self, cache="{}"):
        super().__init__(TABLES, extra=f"cache: {cache}" if cache is not None else "",
                         memory="32MiB")
        self.execute("CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, name TEXT)",
                     *[f"INSERT INTO users VALUES ({i}, 'user {i}')" for i in range(10)])

    @property
    def socket_path(self):
        return os.path.join(self.pond, "socket")

    def file(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def environment(self):
        plain = {k: v for k, v in os.environ.items() if not k.startswith("SIDEPOND")}
        plain.pop("NO_COLOR", None)
        return {**plain, "SIDEPOND": self.pond, "TERM": "xterm", "LC_ALL": "C.UTF-8"}

    def top(self, *words):
        return subprocess.run([TOOL, "top", "--interval", "100ms", *words], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, env=self.environment(),
                              timeout=60, check=False)


# A sanitizer's library cannot be loaded into a program that was built without.
READS_SHARED = not os.environ.get("SIDEPOND_SANITIZE")


def read_shared(directory, key, times):
    """Reads a key of the cache out of the shared memory."""
    library = ctypes.CDLL(os.path.join(BUILD, "lib", "libsidepond.so"))
    pond, cache, size = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    out = ctypes.create_string_buffer(100)
    assert library.sp_open(directory.encode(), None, ctypes.byref(pond)) == 0
    assert library.sp_cache_open(pond, ctypes.byref(cache)) == 0
    for _ in range(times):
        library.sp_cache_get(cache, key, ctypes.c_size_t(len(key)), out, ctypes.c_size_t(100),
                             ctypes.byref(size))
    library.sp_close(pond)


class TopTest(unittest.TestCase):
    def daemon(self, cache="{}"):
        daemon = TopDaemon(cache)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon.start()

    def object(self, daemon, *words):
        result = daemon.top("--json", "--once", *words)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return json.loads(result.stdout)

    # --- figures ---

    def test_counters(self):
        daemon = self.daemon()
        with Client(daemon.socket_path) as client:
            for i in range(20):
                client.call("SET", f"key{i}", "value")
            for i in range(30):
                client.call("GET", f"key{i}")
            client.call("GET")  # is refused
            client.call("SET", "brief", "value", "PX", "1")
            wait_for(lambda: client.call("DBSIZE") == ":20", "the entry with an expiry has gone")
            if READS_SHARED:
                read_shared(daemon.pond, b"key1", 50)
                read_shared(daemon.pond, b"nowhere", 25)
            seen = self.object(daemon)
        cache = seen["cache"]
        self.assertIsNone(seen["cache_error"])
        self.assertEqual({name: cache[name] for name in (
            "entries", "hits", "misses", "shm_hits", "shm_misses", "sets", "expirations",
            "evictions", "clients", "errors", "evicts")},
            {"entries": 20, "hits": 20, "misses": 10, "shm_hits": 50 * READS_SHARED,
             "shm_misses": 25 * READS_SHARED, "sets": 21,
             "expirations": 1, "evictions": 0, "clients": 2, "errors": 1, "evicts": True})
        self.assertGreater(cache["memory_bytes"], 20 * 9)
        self.assertGreaterEqual(seen["pond"]["used_bytes"], cache["memory_bytes"])
        self.assertIs(seen["pond"]["daemon_alive"], True)
        commands = {command["command"]: command for command in seen["commands"]}
        self.assertEqual((commands["get"]["calls"], commands["set"]["calls"]), (30, 21))
        self.assertEqual(commands["get"]["calls_per_second"], 0)
        self.assertGreater(commands["info"]["calls_per_second"], 0)
        self.assertLessEqual(commands["info"]["p50_seconds"], commands["info"]["p99_seconds"])
        self.assertEqual(commands["info"]["time_share"], 1)
        users = seen["tables"][0]
        self.assertEqual((users["name"], users["rows"], users["changes"]), ("users", 10, 10))

    def test_rates(self):
        """What is done while it looks shows per second, and adds up to what was done."""
        daemon = self.daemon()
        process = subprocess.Popen([TOOL, "top", "--json", "-i", "100ms"], stdout=subprocess.PIPE,
                                   env=daemon.environment(), text=True)
        self.addCleanup(process.stdout.close)
        seen = [json.loads(process.stdout.readline())]
        before = seen[0]["tables"][0]["changes"]
        with Client(daemon.socket_path) as client:
            for i in range(500):
                client.call("SET", f"key{i}", "x" * 100)
        daemon.execute("DELETE FROM users WHERE id < 4", "UPDATE users SET name = 'x' WHERE id = 5",
                       "INSERT INTO users VALUES (99, 'new')")
        while seen[-1]["tables"][0]["changes"] < before + 6 or len(seen) < 5:
            seen.append(json.loads(process.stdout.readline()))
        process.terminate()
        self.assertEqual(process.wait(20), -signal.SIGTERM)
        self.assertEqual(seen[-1]["cache"]["sets"], 500)

        def total(rate):
            return sum(rate(one) * one["interval_seconds"] for one in seen[1:])
        self.assertAlmostEqual(total(lambda one: one["cache"]["sets_per_second"]), 500, delta=1)
        self.assertAlmostEqual(total(lambda one: one["tables"][0]["changes_per_second"]), 6, delta=1)
        self.assertGreater(total(lambda one: one["pond"]["commits_per_second"]), 0.9)
        self.assertGreater(total(lambda one: one["cache"]["received_bytes_per_second"]), 50000)
        self.assertGreater(total(lambda one: one["tables"][0]["refreshes_per_second"]), 0)

    def test_text(self):
        daemon = self.daemon()
        with Client(daemon.socket_path) as client:
            client.call("SET", "key", "value")
        result = daemon.top()
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertNotIn("\x1b", result.stdout)
        self.assertRegex(result.stdout, r"^pond     test, ready, version \d+, daemon alive, 20")
        for line in (r"memory   \[#\.+\] .* of 32\.0 MiB, .* free", r"commits  0/s, no snapshot held",
                     r"cache    \[#\.+\] .* of .*MiB, 1 entries \(0 expire\), evicts when full",
                     r"shared   0 hits/s, 0 misses/s, - hits",
                     r"users\tfresh\t[\d.]+ s\t10\t0\t[\d.]+\t0\t.*B", r"set\t0\t0.0 %\t-\t-\t-\t0\t1"):
            self.assertRegex(result.stdout, f"(?m)^{line}$")
        names = re.findall(r"(?m)^(\w+)\t", daemon.top("--sort", "name").stdout)
        self.assertEqual(names, ["TABLE", "users", "COMMAND", "info", "set"])
        self.assertEqual(daemon.top("-n", "2").stdout.count("pond     test"), 2)

    # --- where not all of it can be had ---

    def test_without_a_cache(self):
        seen = self.object(self.daemon(cache=None))
        self.assertIsNone(seen["cache"])
        self.assertEqual(seen["cache_error"], "the pond has no cache server")
        self.assertEqual((seen["tables"][0]["rows"], seen["commands"]), (10, []))

    def test_daemon_that_ends_and_comes_back(self):
        daemon = self.daemon()
        process = subprocess.Popen([TOOL, "top", "--json", "-i", "50ms"], stdout=subprocess.PIPE,
                                   env=daemon.environment(), text=True)
        self.addCleanup(process.stdout.close)

        def await_error(error):
            wait_for(lambda: json.loads(process.stdout.readline())["cache_error"] == error, error)
        await_error(None)
        daemon.kill()
        await_error("the cache server is not running")
        self.assertIs(json.loads(process.stdout.readline())["pond"]["daemon_alive"], False)
        self.assertIn("daemon not running", daemon.top().stdout)
        daemon.start()
        await_error(None)
        process.terminate()
        process.wait(20)

    def test_password(self):
        daemon = TopDaemon()
        self.addCleanup(daemon.__exit__, None, None, None)
        right, wrong = daemon.file("right", "secret\n"), daemon.file("wrong", "guess")
        daemon.extra = f"cache: {{password_file: {right}}}"
        daemon.configure(TABLES)
        daemon.start()
        self.assertIn("asks for a password: --password-file", self.object(daemon)["cache_error"])
        self.assertIn("cache    the cache server asks", daemon.top().stdout)
        self.assertIn("does not take", self.object(daemon, "--password-file", wrong)["cache_error"])
        self.assertIsNone(self.object(daemon, "--password-file", right)["cache_error"])

    def test_user(self):
        daemon = TopDaemon()
        self.addCleanup(daemon.__exit__, None, None, None)
        users = daemon.file("users", "user default off\nuser ann on >secret ~* +@all\n"
                                     "user bob on >secret ~* +get\n")
        secret = daemon.file("secret", "secret")
        daemon.extra = f"cache: {{users_file: {users}}}"
        daemon.configure(TABLES)
        daemon.start()
        self.assertIsNone(self.object(daemon, "-u", "ann", "--password-file", secret)["cache_error"])
        self.assertIn("may not run INFO", self.object(daemon, "--user", "bob", "--password-file",
                                                      secret)["cache_error"])

    def test_wrong_input(self):
        daemon = self.daemon()
        for words, code, text in ((("--user", "ann"), 2, "--user needs --password-file"),
                                  (("--password-file", "/nonexistent"), 2, "cannot read"),
                                  (("--password-file", "/dev/null"), 2, "has no password"),
                                  (("--sort", "age"), 2, "is none of: calls time p99 name"),
                                  (("--pond", "/nonexistent/pond"), 3, "no pond")):
            result = daemon.top(*words)
            self.assertEqual((result.returncode, result.stdout), (code, ""), result.stderr)
            self.assertIn(text, result.stderr)


class Terminal:
    """A process on a pseudo-terminal, and the picture that its bytes draw."""

    def __init__(self, words, environment, lines=24, columns=100):
        self.control, self.terminal = pty.openpty()
        self.resize(lines, columns)
        self.before = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(words, stdin=self.terminal, stdout=self.terminal,
                                        stderr=self.terminal, env=environment,
                                        start_new_session=True)
        self.bytes = b""

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.control)
        os.close(self.terminal)

    def resize(self, lines, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.size = lines, columns

    def press(self, key):
        os.write(self.control, key)

    def read(self):
        while select.select([self.control], [], [], 0)[0]:
            self.bytes += os.read(self.control, 65536)
        return self.bytes.decode(errors="replace")

    def is_ours(self):
        """Whether the terminal is as it was before."""
        entered, left = self.read().rfind("\x1b[?1049h"), self.read().rfind("\x1b[?1049l")
        return left > entered and termios.tcgetattr(self.terminal) == self.before

    def pictures(self):
        """Those that are complete but for the last line."""
        return [re.sub(r"\x1b\[[0-9;]*[mK]", "", part)
                for part in re.findall(r"\x1b\[H(.*?)\x1b\[J\x1b\[\d+;1H", self.read(), re.S)]

    def bottom(self):
        found = re.split(r"\x1b\[J\x1b\[\d+;1H", self.read())
        return found[-1].split("\x1b[H")[0] if len(found) > 1 else ""

    def await_bottom(self, text):
        wait_for(lambda: text in self.bottom(), f"the last line says {text}")

    def await_pictures(self, count):
        """So many more than now."""
        count += len(self.pictures())
        wait_for(lambda: len(self.pictures()) >= count, "another picture")
        return self.pictures()[-1]


class LiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = TopDaemon()
        cls.addClassCleanup(cls.top.__exit__, None, None, None)
        cls.top.start()
        with Client(cls.top.socket_path) as client:
            for words in (["SET", "key", "value"], ["GET", "key"], ["INCR", "number"],
                          ["EXISTS", "key"], ["TTL", "key"], ["DBSIZE"], ["PING"]):
                client.call(*words)

    def terminal(self, *words, lines=24, columns=100, **environment):
        terminal = Terminal([TOOL, "top", "-i", "100ms", *words],
                            {**self.top.environment(), **environment}, lines, columns)
        self.addCleanup(terminal.close)
        return terminal

    def ended(self, terminal, code=0):
        self.assertEqual(terminal.process.wait(20), code, terminal.read())
        self.assertTrue(terminal.is_ours())

    def test_picture_and_keys(self):
        terminal = self.terminal()
        picture = terminal.await_pictures(2)
        for text in ("pond     test, ready", "\r\nshared   0 hits/s", "\r\nTABLE  STATE",
                     "\r\nCOMMAND  CALLS/S"):
            self.assertIn(text, picture)
        self.assertIn("\x1b[32malive\x1b[0m", terminal.read())
        terminal.await_bottom("s commands by calls  t tables by name")
        for order in ("time", "p99", "name"):
            terminal.press(b"s")
            terminal.await_bottom(f"s commands by {order}")
        names = re.findall(r"(?m)^(\w+) +\S+ +\S+ % ", terminal.pictures()[-1])
        self.assertEqual(names, sorted(names))
        self.assertIn("dbsize", names)
        terminal.press(b"t")
        terminal.await_bottom("t tables by changes")
        terminal.press(b"\x1b[A\x1bOB\x1b[1;5C ")  # arrows are no keys that it knows; a space is
        terminal.await_bottom("PAUSED")
        count = len(terminal.pictures())
        terminal.await_pictures(3)
        self.assertEqual(len(set(terminal.pictures()[count:])), 1)
        terminal.press(b" ts")
        terminal.await_bottom("space pause  s commands by calls  t tables by age")
        terminal.press(b"q")
        self.ended(terminal)

    def test_size(self):
        terminal = self.terminal(lines=40, columns=120)
        self.assertIn("\r\nping ", terminal.await_pictures(2))
        for lines, columns in ((16, 40), (10, 20), (4, 5), (50, 200)):
            terminal.resize(lines, columns)
            terminal.process.send_signal(signal.SIGWINCH)
            picture = terminal.await_pictures(3).split("\r\n")
            self.assertLessEqual(len(picture), lines)
            self.assertLessEqual(max(map(len, picture)), columns)
            self.assertTrue(picture[0].startswith("pond "[:columns]), picture)
        self.assertIn("ping", "".join(picture))
        terminal.press(b"q")
        self.ended(terminal)

    def test_lists_share_the_room(self):
        picture = self.terminal(lines=22).await_pictures(2)
        self.assertRegex(picture, r"\r\nusers +fresh")
        self.assertRegex(picture, r"\r\nCOMMAND .*\r\n(.*\r\n){2,}and \d+ more")

    def test_signals(self):
        for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP),
                             (signal.SIGINT, 0), (signal.SIGSEGV, -signal.SIGSEGV),
                             (signal.SIGABRT, -signal.SIGABRT)):
            terminal = self.terminal()
            terminal.await_pictures(1)
            self.assertFalse(terminal.is_ours())
            terminal.process.send_signal(number)
            self.ended(terminal, code)

    def test_background(self):
        terminal = self.terminal()
        terminal.await_pictures(1)
        terminal.process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        self.assertTrue(terminal.is_ours())
        terminal.process.send_signal(signal.SIGCONT)
        terminal.await_pictures(2)
        self.assertFalse(terminal.is_ours())
        terminal.press(b"q")
        self.ended(terminal)

    def test_colours_and_count(self):
        terminal = self.terminal("--count", "3", NO_COLOR="1")
        self.ended(terminal)
        self.assertNotRegex(terminal.read().replace("\x1b[0m\x1b[?25h", ""), r"\x1b\[[0-9;]*m")
        terminal = self.terminal("--once")
        self.assertEqual(terminal.process.wait(20), 0)
        self.assertNotIn("\x1b[H", terminal.read())
        self.assertIn("\x1b[32malive", terminal.read())


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and by children too
    sys.exit(unittest.main(verbosity=2))
