#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: every command of the sidepond tool prints what is in the pond, as text and as JSON, and says
what is wrong with wrong input. Method: a real daemon fills a pond from SQLite; the tool's output is
compared with the database, and its exit codes with sidepond(1). Ends what it started by its id."""
import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

BUILD = Path(os.environ["SIDEPOND_BUILD_DIR"])
SOURCE = Path(os.environ["SIDEPOND_SOURCE_DIR"])
TOOL = str(BUILD / "bin/sidepond")
ROWS = 500

CONFIG = """
pond: shop
memory: 64MiB
directory: {root}/shop
sources:
  - {{name: app, type: sqlite, path: {root}/app.db}}
tables:
  - name: users
    source: app
    key: [id]
    group: all
    refresh: {{every: 50ms}}
    max_drop: 100%
    max_stale: 1h
    indexes:
      - {{name: by_email, columns: [email], unique: true}}
      - {{name: by_city, columns: [city]}}
  - {{name: scores, source: app, key: [player, day], group: all, refresh: {{every: 50ms}}}}
"""

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, email TEXT NOT NULL, city TEXT,
                    total DECIMAL(10, 2) NOT NULL, photo BLOB);
CREATE TABLE scores (player TEXT NOT NULL, day DATE NOT NULL, points INTEGER,
                     PRIMARY KEY (player, day));
INSERT INTO scores VALUES ('ann', '2024-01-01', -3), ('-ann', '2024-01-02', NULL);
"""


def user(n):
    """Text that is hard to print: control characters, quotes, separators, no ASCII."""
    city = None if n % 7 == 0 else f'c\u00f6"ty,\t{n % 7}\x1b[31m\n'
    return (n, f"u{n}@example.org", city, f"{n}.5", bytes([n % 256, 0]))


class Pond:
    def __init__(self):
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="sidepond-tool-", dir=parent))
        self.config = self.root / "shop.yaml"
        self.config.write_text(CONFIG.format(root=self.root))
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith("SIDEPOND") and k != "NO_COLOR"}
        self.environment.update(SIDEPOND_ROOT=str(self.root), SIDEPOND="shop", LC_ALL="C.UTF-8",
                                TERM="xterm")
        with sqlite3.connect(self.root / "app.db") as connection:
            connection.executescript(SCHEMA)
            connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)",
                                   [user(n) for n in range(ROWS)])
        connection.close()
        self.daemon = None

    def start(self):
        with open(self.root / "log", "ab") as log:
            self.daemon = subprocess.Popen([BUILD / "bin/sidepondd", self.config], stdout=log,
                                           stderr=log, env=self.environment)
        deadline = time.monotonic() + 30
        while self.run("status").returncode != 0:
            if time.monotonic() > deadline or self.daemon.poll() is not None:
                raise AssertionError((self.root / "log").read_text())
            time.sleep(0.02)

    def stop(self, how=signal.SIGTERM):
        if self.daemon is not None:
            self.daemon.send_signal(how)
            self.daemon.wait(20)
            self.daemon = None

    def run(self, *words, **environment):
        return subprocess.run([TOOL, *words], capture_output=True, stdin=subprocess.DEVNULL,
                              env={**self.environment, **environment}, timeout=60)

    def execute(self, statement):
        with sqlite3.connect(self.root / "app.db", timeout=20) as connection:
            connection.execute(statement)
        connection.close()

    def remove(self):
        self.stop()
        shutil.rmtree(self.root)


class Answering:
    """Stands in for the pond's cache server, and gives each request the same answer."""

    def __init__(self, pond, answer):
        self.path, self.answer = pond.root / "shop/socket", answer
        self.listener = socket.socket(socket.AF_UNIX)
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            with connection:
                if connection.recv(4096) == b"END":
                    return
                connection.sendall(self.answer)

    def __enter__(self):
        self.listener.bind(str(self.path))
        self.listener.listen(5)
        self.thread.start()

    def __exit__(self, kind, value, trace):
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(str(self.path))
            end.sendall(b"END")
        self.thread.join()
        self.listener.close()
        self.path.unlink()


def resp(value):
    """A reply of RESP2."""
    if isinstance(value, (list, tuple)):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


class ToolTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pond = Pond()
        cls.addClassCleanup(cls.pond.remove)
        cls.pond.start()

    def text(self, *words, code=0, **environment):
        result = self.pond.run(*words, **environment)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout.decode()

    def error(self, *words, code=2):
        result = self.pond.run(*words)
        self.assertEqual((result.returncode, result.stdout), (code, b""), result.stderr)
        self.assertTrue(result.stderr.startswith(b"sidepond: "), result.stderr)
        return result.stderr.decode()

    def json(self, *words, code=0):
        return json.loads(self.text(*words, "--json", code=code))

    def on_terminal(self, *words, **environment):
        """Output as it comes on a terminal."""
        control, terminal = pty.openpty()
        process = subprocess.Popen([TOOL, *words], stdin=subprocess.DEVNULL, stdout=terminal,
                                   env={**self.pond.environment, **environment})
        os.close(terminal)
        chunks = []
        try:
            while chunk := os.read(control, 65536):
                chunks.append(chunk)
        except OSError:  # the other side is closed
            pass
        os.close(control)
        self.assertEqual(process.wait(60), 0)
        return b"".join(chunks).decode().replace("\r\n", "\n")

    # --- what there is ---

    def test_status(self):
        status = self.json("status")
        self.assertEqual((status["pond"], status["state"]), ("shop", "ready"))
        self.assertEqual(status["directory"], str(self.pond.root / "shop"))
        self.assertEqual(status["daemon"]["pid"], self.pond.daemon.pid)
        self.assertIs(status["daemon"]["alive"], True)
        self.assertEqual(status["memory"]["limit_bytes"], 64 << 20)
        tables = {table["name"]: table for table in status["tables"]}
        self.assertEqual(list(tables), ["scores", "users"])
        self.assertEqual((tables["users"]["rows"], tables["users"]["state"]), (ROWS, "fresh"))
        self.assertEqual((tables["users"]["max_stale_seconds"], tables["users"]["stale"]),
                         (3600, False))
        self.assertLess(tables["users"]["age_seconds"], 60)
        self.assertRegex(tables["users"]["loaded_at"], r"^20\d\d-\d\d-\d\dT[\d:]+Z$")
        text = self.text("status")
        self.assertIn("daemon  alive, pid", text)
        self.assertRegex(text, rf"(?m)^users\t{ROWS}\tfresh\t")

    def test_tables(self):
        self.assertEqual(self.text("tables", "--names"), "scores\nusers\n")
        users = self.json("tables", "users")
        self.assertEqual(users["key"], ["id"])
        self.assertEqual([c["type"] for c in users["columns"]],
                         ["int64", "text", "text", "numeric", "bytes"])
        self.assertEqual(users["indexes"][0],
                         {"name": "by_email", "unique": True, "columns": ["email"]})
        self.assertEqual([t["key"] for t in self.json("tables")], [["player", "day"], ["id"]])
        self.assertIn("index   by_email on (email), unique\n", self.text("tables", "users"))

    def test_get(self):
        self.assertEqual(self.json("get", "users", "42")["email"], "u42@example.org")
        self.assertEqual(self.json("get", "users", "1")["city"], user(1)[2])
        self.assertEqual(self.text("get", "users", "42", "-c", "total"), "42.5\n")
        self.assertEqual(float(self.json("get", "users", "42", "-c", "total")["total"]), 42.5)
        self.assertEqual(self.text("get", "users", "7", "-c", "city"), "NULL\n")
        self.assertEqual(self.pond.run("get", "users", "9", "-c", "photo", "--raw").stdout,
                         b"\x09\x00")
        self.assertEqual(self.text("get", "users", "1", "--raw", "-c", "city"), user(1)[2])
        self.assertIn('city\tc\u00f6"ty,\\t1\\x1b[31m\\n\n', self.text("get", "users", "1"))
        self.assertEqual(self.json("get", "scores", "ann", "2024-01-01")["points"], -3)
        self.assertEqual(self.text("get", "-c", "points", "scores", "--", "-ann", "2024-01-02"),
                         "NULL\n")

    def test_get_by_index(self):
        self.assertEqual(self.json("get", "users", "-i", "by_email", "u5@example.org")["id"], 5)
        lines = self.text("get", "users", "--index=by_city", user(3)[2], "--column", "id")
        self.assertEqual(sorted(map(int, lines.split())), list(range(3, ROWS, 7)))
        self.assertIn("no row", self.error("get", "users", "-i", "by_city", "nowhere", code=1))

    def test_scan(self):
        rows = [json.loads(line) for line in self.text("scan", "users", "--json").splitlines()]
        self.assertEqual(sorted((r["id"], r["email"], r["city"]) for r in rows),
                         [user(n)[:3] for n in range(ROWS)])
        self.assertEqual(len(self.text("scan", "users", "-n", "3", "-f", "json").splitlines()), 3)
        where = ["--where", "id>=10", "--where", "total<15.5", "-w", "id!=12"]
        few = self.text("scan", "users", "-c", "id,total", *where)
        self.assertEqual(sorted(few.splitlines()),
                         ["10\t10.5", "11\t11.5", "13\t13.5", "14\t14.5", "id\ttotal"])
        self.assertEqual(self.text("scan", "users", "-c", "id", "--where", "email=u8@example.org"),
                         "id\n8\n")
        self.assertEqual(self.text("scan", "users", "-c", "city", "-w", "id=1"),
                         'city\nc\u00f6"ty,\\t1\x1b[31m\\n\n')
        self.assertEqual(self.text("scan", "users", "-c", "city", "-w", "id=7"), "city\n\\N\n")

    def test_csv_comes_back_whole(self):
        import csv
        import io
        text = self.text("scan", "users", "--format", "csv", "--columns", "id,city")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual(rows[0], ["id", "city"])
        self.assertEqual(sorted((int(i), c) for i, c in rows[1:]),
                         [(n, user(n)[2] or "") for n in range(ROWS)])

    def test_stat_and_readers(self):
        stat = self.json("stat")
        blocks = sum(o["blocks"] * o["block_bytes"] for o in stat["arena"]["free_blocks"])
        self.assertEqual(blocks, stat["arena"]["free_units"] * stat["arena"]["unit_bytes"])
        self.assertEqual([t["name"] for t in stat["tables"]], ["scores", "users"])
        self.assertIn("SHARE OF FREE", self.text("stat"))
        self.assertEqual(self.json("readers"), [])

    def test_bench(self):
        bench = self.json("bench", "users", "--time", "20ms")
        self.assertEqual((bench["table"], bench["rows"], bench["misses"]), ("users", ROWS, 0))
        self.assertGreater(bench["get_ns"], 0)
        self.assertIn("private hash table", self.text("bench", "-t", "20ms", "--keys", "10"))

    def test_plan(self):
        self.assertIn("users", self.text("plan", str(self.pond.config)))
        self.json("plan", str(self.pond.config))
        self.assertNotEqual(self.pond.run("plan", "/nonexistent.yaml").returncode, 0)

    def test_watch(self):
        process = subprocess.Popen([TOOL, "watch", "--json", "--count", "1"],
                                   stdout=subprocess.PIPE, env=self.pond.environment)
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        self.assertEqual([line["table"] for line in first], ["scores", "users"])
        self.pond.execute("INSERT INTO scores VALUES ('zoe', '2024-01-03', 1)")
        change = json.loads(process.stdout.readline())
        self.assertEqual((change["table"], change["rows_delta"]), ("scores", 1))
        self.assertGreater(change["pond_version"], first[0]["pond_version"])
        self.assertEqual((process.wait(20), process.stdout.read()), (0, b""))
        process.stdout.close()

    # --- on a terminal ---

    def test_terminal(self):
        status = self.on_terminal("status")
        self.assertIn("\x1b[32m[#", status)
        lines = self.on_terminal("tables", NO_COLOR="1").splitlines()
        self.assertEqual(lines[0].split(), ["TABLE", "ROWS", "KEY", "COLUMNS", "INDEXES", "MEMORY"])
        self.assertNotIn("\x1b", "".join(lines))
        self.assertEqual(len({len(line) for line in lines}), 1, lines)  # aligned
        row = self.on_terminal("get", "users", "1", "--color", "never")
        self.assertIn('city   c\u00f6"ty,\\t1\\x1b[31m\\n', row)
        scan = self.on_terminal("scan", "users", "--color=never")
        self.assertNotIn("\x1b", scan)
        self.assertEqual(len(scan.splitlines()), ROWS + 1)
        self.assertIn("\x1b[", self.text("tables", "--color", "always"))

    # --- wrong input ---

    def test_wrong_input(self):
        self.assertIn('unknown command "gett"; is it "get" that', self.error("gett", "users"))
        for slip in ("statsu", "stauts", "statu", "ststus"):
            self.assertIn('is it "status" that is meant', self.error(slip))
        self.assertIn("listed by: sidepond help", self.error("help", "x"))
        self.assertIn("unknown option --fast", self.error("status", "--fast"))
        self.assertIn("needs an argument", self.error("scan", "users", "--limit"))
        self.assertIn("takes no argument", self.error("status", "--json=yes"))
        self.assertIn("missing arguments; usage: sidepond get TABLE KEY", self.error("get", "users"))
        self.assertIn("too many arguments", self.error("status", "shop"))
        self.assertIn("not a number of at least 1", self.error("scan", "users", "-n", "0"))
        self.assertIn("not a number", self.error("scan", "users", "-n", "-1"))
        self.assertIn("not a time", self.error("watch", "-i", "soon"))
        self.assertIn("is none of: table tsv csv json", self.error("scan", "users", "-f", "xml"))
        self.assertIn("is not a condition", self.error("scan", "users", "-w", "id"))
        self.assertIn("is not a number", self.error("scan", "users", "-w", "id=x"))
        self.assertIn("users", self.error("get", "nobody", "1"))
        self.assertIn("email text", self.error("get", "users", "1", "-c", "phone"))
        self.assertIn("by_city", self.error("get", "users", "1", "-i", "by_age"))
        self.assertIn('"x" does not fit the key of "users":\n  id int64', self.error("get", "users", "x"))
        self.assertIn("day date", self.error("get", "scores", "ann"))
        self.assertIn("no such key", self.error("get", "users", "-5", code=1))

    def test_wrong_pond(self):
        message = self.error("-p", "nosuch", "status", code=3)
        self.assertIn(f'no pond "nosuch" in {self.pond.root}', message)
        self.assertIn("ponds here: shop", message)
        self.assertEqual(self.error("-p", "nosuch", "refresh", "users", code=3), message)
        self.assertIn("is sidepondd running", self.error("-p", "/nonexistent/x", "check", code=3))
        broken = self.pond.root / "broken"
        broken.mkdir()
        (broken / "pond").write_bytes(b"not a pond" * 1000)
        for command in ("status", "check"):
            result = self.pond.run("-p", str(broken), command)
            self.assertIn(result.returncode, (1, 3, 4), result)
            self.assertTrue(result.stderr.startswith(b"sidepond: "), result)
        shutil.rmtree(broken)
        deep = self.pond.root / ("deep" * 25)
        deep.mkdir()
        (deep / "pond").touch()
        self.assertIn("address is too long", self.error("-p", str(deep), "refresh", "users", code=3))

    # --- what a server answers ---

    def test_odd_answers(self):
        held = resp([b"result", b"held", b"error", b"\x1b[31m\xff"])
        for answer, words, code, says in (
                (b"+OK\r\n", "refresh users", 0, "users: refresh begun\n"),
                (b"", "refresh users", 3, "has closed the connection"),
                (b"*3\r\n$4\r\nna", "refresh users", 3, "has closed the connection"),
                (b"?\r\n", "refresh users", 3, "cannot be asked: "),
                (b"*1\r\n" * 50, "refresh users", 3, "cannot be asked: "),
                (resp(None), "refresh users", 4, "answered something else"),
                (resp([b"a", 1]), "refresh users -w 1s", 4, "answered something else"),
                (resp([1, 2, b"result", 3]), "refresh users -w 1s", 4, "answered something else"),
                (held, "refresh users -w 1s", 1, "users: held; 0 rows, version 0\n\\x1b[31m\\xff"),
                (held, "refresh users -w 1s --json", 1, '"result": "held"'),
                (b"-ERR \x1b]0;x\x07\r\n", "hold users", 1, "sidepond: \\x1b]0;x\\a\n"),
                (b"-BAD \x1b]0;x\x07\r\n", "hold users", 3, "refuses: BAD ?]0;x?\n"),
                (b"-NOAUTH no\r\n", "status", 0, "TABLE"),
                (b":1\r\n", "top --once -i 1ms", 0, "answers something else to INFO")):
            with self.subTest(answer=answer, words=words), Answering(self.pond, answer):
                result = self.pond.run(*words.split())
                self.assertEqual(result.returncode, code, result.stdout + result.stderr)
                self.assertIn(says, (result.stdout + result.stderr).decode())

    def test_status_of_feeds(self):
        """Of what a daemon may say of its tables; test_daemon_mariadb_feed has real ones."""
        tables = resp([
            3, None, [b"feed"], [b"feed", 5], [b"name", b"odd", b"feed", [b"following"]],
            [b"name", b"plain", b"group", b"g", b"source", b"s", b"feed", b"none"],
            [b"name", b"users", b"group", b"all", b"source", b"app", b"feed", b"fallen back",
             b"feed_lag_bytes", None, b"feed_not_possible", b"it may not\x1b\xff"],
            [b"name", b"scores", b"group", b"all", b"source", b"app", b"feed", b"fallen back",
             b"feed_lag_bytes", None, b"feed_not_possible", b"it may not\x1b\xff"],
            [b"name", b"gone", b"group", b"two", b"source", b"app", b"feed", b"starting",
             b"feed_lag_bytes", 2048]])
        with Answering(self.pond, tables):
            feeds = {feed["group"]: feed for feed in self.json("status")["feeds"]}
            text = self.text("status")
        self.assertEqual(sorted(feeds), ["all", "two"])
        self.assertEqual((feeds["all"]["tables"], feeds["all"]["state"], feeds["all"]["lag_bytes"]),
                         (["users", "scores"], "fallen back", None))
        self.assertEqual(feeds["all"]["not_possible"], "it may not\\x1b\\xff")
        self.assertLess(feeds["all"]["age_seconds"], 60)
        self.assertEqual((feeds["two"]["lag_bytes"], feeds["two"]["age_seconds"]), (2048, None))
        self.assertIn("two\tapp\tstarting\t-\t2.0 KiB\tnever\n", text)
        self.assertIn("all: cannot follow its database, so all rows are read again and again: "
                      "it may not\\x1b\\xff\n", text)
        status = self.json("status")
        self.assertEqual(status["feeds"], [])
        self.assertIn("is not there", status["feeds_error"])

    def test_closed_output(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([TOOL, "scan", "users"], stdout=full, stderr=subprocess.PIPE,
                                    env=self.pond.environment)
        self.assertEqual(result.returncode, 4, result.stderr)

    # --- what is written from the command table ---

    def test_help_manual_and_completion_agree(self):
        commands = self.json("help")["commands"]
        self.assertEqual([c["name"] for c in self.json("help", "ring", "get")["commands"]], ["ring get"])
        page = (SOURCE / "docs/man/sidepond.1").read_text()
        for command in commands:
            self.assertIn(f".It Cm {command['name']}", page)
            self.assertIn(command["summary"], self.text("help"))
            self.assertIn(command["details"], self.text("help", *command["name"].split()))
            for option in command["options"]:
                self.assertIn(f"Fl {option['name']}", page, command["name"])
                self.assertIn(f"--{option['name']}", self.text(*command["name"].split(), "--help"))
        for option in self.json("help")["ring_options"]:
            self.assertIn(f"Fl {option['name']}", page)
            self.assertIn(f"--{option['name']}", self.text("ring", "get", "--help"))
        for shell in ("bash", "zsh", "fish"):
            script = (SOURCE / f"client/tool/sidepond.{shell}").read_text()
            self.assertEqual(self.text("completion", shell), script,
                             f"write it again: sidepond completion {shell}")
        self.assertIn("no completion", self.error("completion", "csh"))

    def test_the_daemons_options_are_in_its_manual(self):
        text = subprocess.run([BUILD / "bin/sidepondd", "--help"], capture_output=True, text=True,
                              check=True, env=self.pond.environment).stdout
        page = (SOURCE / "docs/man/sidepondd.8").read_text()
        options = re.findall(r"--([a-z]+)", text)
        self.assertIn("config", options)
        for option in options:
            self.assertIn(f"Fl Fl {option}", page)

    def test_bash_completion(self):
        script = f"""
            source {SOURCE}/client/tool/sidepond.bash
            words() {{ COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _sidepond; echo "${{COMPREPLY[@]}}"; }}
            words sidepond st; words sidepond get us; words sidepond scan users --format ''
            cd {self.pond.root}/shop
            words sidepond scan --l; words sidepond -p sh
            words sidepond ring dr; words sidepond --nodes x ring set --need '';
            words sidepond ring --nodes x drill --y; words sidepond ring where key ''"""
        result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True,
                                env={**self.pond.environment,
                                     "PATH": f"{BUILD}/bin:{os.environ['PATH']}"})
        self.assertEqual(result.stdout.splitlines(),
                         ["status stat", "users", "table tsv csv json", "--limit", "shop",
                          "drain drill", "all one", "--yes-this-is-a-test-ring", ""])

    def test_version(self):
        version = self.json("version")["version"]
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertEqual(self.text("--version"), f"sidepond {version}\n")


class DeadPondTest(unittest.TestCase):
    """check and status on a pond whose daemon was killed, sound and then damaged."""

    def test_check(self):
        pond = Pond()
        self.addCleanup(pond.remove)
        pond.start()
        self.assertEqual(pond.run("check").returncode, 0)
        pond.stop(signal.SIGKILL)
        result = pond.run("check", "--json")
        report = json.loads(result.stdout)
        self.assertEqual((result.returncode, report["ok"], report["tables"]), (0, True, 2), report)
        self.assertTrue(report["allocator_checked"])
        self.assertIn(b"not running", pond.run("status").stdout)
        file = pond.root / "shop/pond"
        data = file.read_bytes()
        place = data.index(b"u123@example.org")
        with open(file, "r+b") as region:
            region.seek(place)
            region.write(b"X")
        result = pond.run("check")
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stdout, rb"(?s)^wrong   .*damaged")
        self.assertEqual(pond.run("check", "-q").stdout, b"")
        self.assertEqual(pond.run("check", "-q").returncode, 1)
        self.assertFalse(json.loads(pond.run("check", "-j").stdout)["ok"])


if __name__ == "__main__":
    unittest.main()
