#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_operators.py - Goal: with any Redis client operators see what the daemon does and have
it refresh, hold and check; rows are named as the documentation says.
Method: a real sidepondd with SQLite tables and a cache, spoken to over its Unix socket; what it says
is compared with the database, the tool and /tables.
"""
import json
import mmap
import os
import signal
import sqlite3
import sys
import threading
import time
import unittest

from daemon_kit import Daemon, wait_for
from resp_wire import Connection, request
from test_figures import plain

ROWS = 50


class OperatorsTest(unittest.TestCase):
    def setUp(self):
        self.daemon = self.enterContext(Daemon("", "", memory="32MiB", extra="cache: {}"))
        self.path = os.path.join(self.daemon.directory, "db.sqlite")
        self.database = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.database.close)
        self.database.executescript("""
            create table users(id integer primary key, name text);
            create table orders(id integer primary key, total real);
            create table rates(rate real primary key, name text);
            insert into rates values (1, 'one'), (0.1, 'tenth'), (1e300, 'large'), (-2.5, 'minus');
            insert into orders values (1, 9.5);""")
        self.database.executemany("insert into users values (?, ?)",
                                  [(i, f"name {i}") for i in range(ROWS)])
        self.daemon.sources = f"  - {{name: db, type: sqlite, path: {self.path}}}"
        self.configure("1h")
        self.daemon.start()
        for name in ("users", "orders", "rates"):
            self.daemon.await_state(name, "fresh")
        self.client = self.connect()

    def configure(self, every, users=""):
        refresh = f"refresh: {{mode: full, every: {every}}}"
        self.daemon.configure(
            f"  - {{name: users, source: db, key: [id], group: shop, max_drop: 30%, {refresh}"
            f"{users}}}\n"
            f"  - {{name: orders, source: db, key: [id], group: shop, {refresh}}}\n"
            f"  - {{name: rates, source: db, key: [rate], {refresh}}}")

    def connect(self):
        connection = self.enterContext(
            Connection(os.path.join(self.daemon.pond, "socket"), seconds=30))
        connection.command("HELLO", "3")
        return connection

    def call(self, *words, client=None):
        return plain((client or self.client).command(*words))

    def tables(self):
        return {table[b"name"].decode(): {k.decode(): v for k, v in table.items()}
                for table in self.call("SIDEPOND", "TABLES")}

    # --- what is told ---

    def test_tables(self):
        users = self.tables()["users"]
        self.assertEqual(list(self.tables()), ["users", "orders", "rates"])
        for name, value in {"group": b"shop", "source": b"db", "state": b"fresh", "rows": ROWS,
                            "served": True, "stale": False, "error": None, "inserted": ROWS,
                            "held_by_operator": False, "failures": 0}.items():
            self.assertEqual(users[name], value, name)
        told = self.daemon.table("users")
        for name in ("bytes", "memory_bytes", "version", "refreshes"):
            self.assertEqual(users[name], told[name], name)
        self.assertLess(float(users["age_seconds"]), 60)
        self.assertLess(abs(users["refreshed_at"] - time.time()), 60)

    def test_tables_in_resp2(self):
        self.client.command("HELLO", "2")
        table = self.call("SIDEPOND", "TABLES")[0]
        self.assertEqual(table[:4], [b"name", b"users", b"group", b"shop"])
        self.assertEqual(dict(zip(table[::2], table[1::2]))[b"served"], 1)
        status = self.call("SIDEPOND", "STATUS")
        self.assertEqual(status[::2], [b"daemon", b"pond", b"sources", b"cache"])
        self.assertEqual(status[5][0][:4], [b"name", b"db", b"tables", 3])

    def test_status(self):
        status = self.call("SIDEPOND", "STATUS")
        self.assertEqual(list(status), [b"daemon", b"pond", b"sources", b"cache"])
        daemon = status[b"daemon"]
        self.assertEqual(daemon[b"pid"], self.daemon.process.pid)
        self.assertEqual(daemon[b"configuration"], self.daemon.config.encode())
        self.assertEqual((daemon[b"ready"], daemon[b"not_ready"]), (True, None))
        self.assertEqual(status[b"pond"][b"directory"], self.daemon.pond.encode())
        self.assertEqual(status[b"pond"][b"limit_bytes"], 32 << 20)
        self.assertEqual(status[b"sources"], [{b"name": b"db", b"tables": 3, b"failing": 0,
                                               b"held": 0, b"error": None}])
        self.call("SET", "a", "1")
        cache = self.call("SIDEPOND", "STATUS")[b"cache"]
        self.assertEqual((cache[b"entries"], cache[b"clients"], cache[b"when_full"]),
                         (1, 1, b"evict"))

    def test_failing_source(self):
        self.database.execute("drop table users")
        outcome = self.call("SIDEPOND", "REFRESH", "users", "WAIT", "20000")
        self.assertEqual(outcome[b"result"], b"failing")
        self.assertIn(b"users", outcome[b"error"])
        source, = self.call("SIDEPOND", "STATUS")[b"sources"]
        self.assertGreaterEqual(source[b"failing"], 2)
        self.assertEqual(source[b"error"], outcome[b"error"])

    # --- REFRESH ---

    def test_refresh(self):
        self.database.execute("update users set name = 'other' where id < 3")
        self.database.execute("insert into users values (1000, 'new')")
        self.assertEqual(self.call("SIDEPOND", "refresh", "users"), b"OK")
        self.daemon.await_row("users", 1000, name="new")
        self.database.execute("delete from users where id = 1000")
        outcome = self.call("SIDEPOND", "REFRESH", "users", "WAIT", "20000")
        self.assertEqual(outcome[b"result"], b"refreshed")
        self.assertEqual([outcome[name] for name in (b"inserted", b"updated", b"deleted", b"rows")],
                         [0, 0, 1, ROWS])
        self.assertIsNone(self.call("GET", "users:1000"))

    def test_refresh_disturbs_nobody(self):
        """Whoever waits is alone in that, also one whose requests follow in a pipeline."""
        self.database.execute("begin exclusive")  # so that a refresh has to wait
        other = self.connect()
        self.client.send(request(["SIDEPOND", "REFRESH", "users", "WAIT", "20000"])
                         + request(["SET", "after", "1"]) + request(["GET", "after"]))
        for _ in range(100):
            self.assertIsNone(self.call("GET", "after", client=other))
        self.assertEqual(self.call("SIDEPOND", "REFRESH", "orders", "WAIT", "1", client=other)
                         [b"result"], b"running")
        self.database.execute("commit")
        self.assertEqual(plain(self.client.read())[b"result"], b"refreshed")
        self.assertEqual(plain(self.client.read()), b"OK")
        self.assertEqual(plain(self.client.read()), b"1")

    def test_client_that_goes_away(self):
        self.database.execute("begin exclusive")
        for _ in range(30):  # more than may run at a time, if they did not end
            with Connection(os.path.join(self.daemon.pond, "socket")) as gone:
                gone.send(request(["SIDEPOND", "REFRESH", "users", "WAIT", "3600000"]))
                wait_for(lambda: b"cmd=sidepond|refresh" in self.call("CLIENT", "LIST"), "it waits")
            wait_for(lambda: b"sidepond|refresh" not in self.call("CLIENT", "LIST"), "it has gone")
        self.database.execute("commit")
        self.assertEqual(self.call("SIDEPOND", "REFRESH", "users", "WAIT", "20000")[b"result"],
                         b"refreshed")

    def test_too_many_wait(self):
        self.database.execute("begin exclusive")
        waiting = [self.connect() for _ in range(16)]
        for client in waiting:
            client.send(request(["SIDEPOND", "REFRESH", "users", "WAIT", "20000"]))
        wait_for(lambda: self.call("CLIENT", "LIST").count(b"cmd=sidepond|refresh") == 16, "all wait")
        self.assertEqual(self.call("SIDEPOND", "TABLES"),
                         b"ERR as many such commands as may run at a time are running")
        self.database.execute("commit")
        self.assertEqual({plain(client.read())[b"result"] for client in waiting}, {b"refreshed"})
        self.assertEqual(len(self.tables()), 3)

    def test_the_end_waits_for_nobody(self):
        self.database.execute("begin exclusive")
        self.client.send(request(["SIDEPOND", "REFRESH", "users", "WAIT", "3600000"]))
        wait_for(lambda: self.daemon.table("users")["phase"] == "running", "it runs")
        self.assertLess(self.daemon.stop(), 5)

    # --- HOLD and CONFIRM ---

    def test_hold(self):
        self.assertEqual(self.call("SIDEPOND", "HOLD", "orders"), b"OK")
        users = self.tables()["users"]  # of the same group
        self.assertEqual((users["state"], users["held_by_operator"]), (b"held", True))
        self.assertIn(b"until SIDEPOND REFRESH users", users["error"])
        self.assertEqual(self.tables()["rates"]["state"], b"fresh")
        self.assertEqual(self.daemon.table("users")["state"], "held")
        self.assertEqual(self.daemon.metric(
            'sidepond_table_state{table="users",state="held"}'), 1)
        wait_for(lambda: "held" in self.daemon.tool("status").stdout, "readers see it")
        self.database.execute("insert into users values (1000, 'new')")
        before = self.tables()["rates"]["refreshes"]
        self.daemon.signal(signal.SIGUSR1)  # all that nobody holds
        wait_for(lambda: self.tables()["rates"]["refreshes"] > before, "rates is refreshed")
        self.assertIsNone(self.call("GET", "users:1000"))
        outcome = self.call("SIDEPOND", "CONFIRM", "users", "WAIT", "20000")
        self.assertEqual((outcome[b"result"], outcome[b"inserted"]), (b"refreshed", 1))
        self.assertEqual(self.tables()["orders"]["state"], b"fresh")
        self.assertEqual(self.daemon.http("/hold/users", "POST")[0], 202)
        self.assertEqual(self.tables()["orders"]["state"], b"held")
        self.assertEqual(self.daemon.http("/refresh/users", "POST")[0], 202)
        self.daemon.await_state("orders", "fresh")
        self.assertEqual(self.daemon.http("/hold/nobody", "POST")[0], 404)

    def test_hold_over_a_reload(self):
        self.call("SIDEPOND", "HOLD", "users")
        self.configure("30m", ", max_stale: 1h")
        self.daemon.signal(signal.SIGHUP)
        self.daemon.await_log("reloaded")
        self.assertEqual(self.tables()["users"]["state"], b"held")
        self.assertEqual(self.call("SIDEPOND", "REFRESH", "users", "WAIT", "20000")[b"result"],
                         b"refreshed")

    def test_max_drop(self):
        self.database.execute("delete from users where id >= 10")
        outcome = self.call("SIDEPOND", "REFRESH", "users", "WAIT", "20000")
        self.assertEqual((outcome[b"result"], outcome[b"held_rows"], outcome[b"rows"]),
                         (b"held", 40, ROWS))
        self.assertIn(b"40 of 50 rows are gone", outcome[b"error"])
        self.assertEqual(self.tables()["users"]["held_by_operator"], False)
        outcome = self.call("SIDEPOND", "CONFIRM", "users", "WAIT", "20000")
        self.assertEqual((outcome[b"result"], outcome[b"deleted"], outcome[b"rows"]),
                         (b"refreshed", 40, 10))
        self.assertEqual(self.call("SIDEPOND", "CONFIRM", "users"),
                         b"ERR no refresh of table 'users' is held")

    # --- the tool ---

    def tool(self, *words, code=0):
        done = self.daemon.tool(*words)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_tool(self):
        self.assertEqual(self.tool("hold", "users"), "users: held\n")
        wait_for(lambda: "held" in self.tool("tables", "orders"), "its group is held")
        self.database.execute("insert into users values (1000, 'new')")
        outcome = json.loads(self.tool("--json", "refresh", "users", "--wait", "20s"))
        self.assertEqual((outcome["result"], outcome["inserted"], outcome["rows"]),
                         ("refreshed", 1, ROWS + 1))
        self.assertIsInstance(outcome["duration_seconds"], float)
        self.database.execute("delete from users")
        self.assertRegex(self.tool("refresh", "-w", "20s", "users", code=1),
                         "users: held; 51 rows, version [0-9]+\nheld back: 51 of 51 rows are gone")
        self.assertRegex(self.tool("confirm", "users", "--wait", "20s"),
                         "users: refreshed: 0 inserted, 0 updated, 51 deleted, 0 unchanged; 0 rows")
        self.assertEqual(self.tool("confirm", "users", code=1),
                         "sidepond: no refresh of table 'users' is held\n")
        self.assertEqual(self.tool("refresh", "nobody", code=2),
                         "sidepond: there is no table 'nobody'\n")
        self.assertEqual(self.tool("refresh", "users"), "users: refresh begun\n")
        self.assertIn("WAIT must be", self.tool("refresh", "users", "--wait", "100m", code=1))

    def secret(self, text):
        path = os.path.join(self.daemon.directory, "secret")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return "--password-file", path

    def test_tool_with_a_password(self):
        self.call("ACL", "SETUSER", "ann", "on", ">hers", "~*", "+@all")
        self.call("ACL", "SETUSER", "bob", "on", ">his", "~*", "+get")
        self.call("ACL", "SETUSER", "default", ">secret")
        self.assertIn("asks for a password", self.tool("hold", "users", code=3))
        self.assertIn("does not take this user and password",
                      self.tool("hold", *self.secret("guess"), "users", code=3))
        self.assertEqual(self.tool("hold", *self.secret("secret"), "users"), "users: held\n")
        self.assertIn("refreshed", self.tool("refresh", "-w", "20s", "-u", "ann",
                                             *self.secret("hers"), "users"))
        self.assertEqual(self.tool("confirm", "-u", "ann", *self.secret("hers"), "users", code=1),
                         "sidepond: no refresh of table 'users' is held\n")
        self.assertIn("does not let this user do SIDEPOND HOLD",
                      self.tool("hold", "-u", "bob", *self.secret("his"), "users", code=3))
        self.assertIn("--user needs --password-file", self.tool("hold", "-u", "bob", "users", code=2))

    def test_tool_without_a_cache(self):
        self.daemon.extra = ""
        self.configure("1h")
        self.daemon.stop()
        self.daemon.start()
        self.assertIn("has no cache:", self.tool("hold", "users", code=3))
        self.daemon.stop()
        self.assertIn("or it has ended", self.tool("hold", "users", code=3))

    # --- CHECK ---

    def test_check(self):
        self.call("SET", "a", "1")
        found = self.call("SIDEPOND", "CHECK")
        self.assertEqual((found[b"sound"], found[b"complaints"], found[b"tables"]), (True, [], 4))
        self.assertGreaterEqual(found[b"entries"], ROWS + 6)

    def test_one_check_at_a_time(self):
        for i in range(20000):
            self.client.send(request(["SET", f"key{i}", "x" * 100]))
        for _ in range(20000):
            self.client.read()
        clients = [self.connect() for _ in range(8)]
        for client in clients:
            client.send(request(["SIDEPOND", "CHECK"]))
        replies = [plain(client.read()) for client in clients]
        sound = [reply for reply in replies if isinstance(reply, dict)]
        self.assertTrue(sound and all(reply[b"sound"] for reply in sound))
        self.assertLessEqual({reply for reply in replies if isinstance(reply, bytes)},
                             {b"ERR the pond is being checked already"})

    def test_check_finds_damage(self):
        value = b"a value that is nowhere else"
        self.call("SET", "damaged", value)
        with open(os.path.join(self.daemon.pond, "pond"), "r+b") as file, \
                mmap.mmap(file.fileno(), 0) as pond:
            pond[pond.find(value)] ^= 1
            found = self.call("SIDEPOND", "CHECK")
            self.assertEqual((found[b"sound"], found[b"complaint_count"]), (False, 1))
            self.assertRegex(found[b"complaints"][0], rb"table \$cache: entry .* checksum are wrong")
            pond[pond.find(value[1:]) - 1] ^= 1
        self.assertTrue(self.call("SIDEPOND", "CHECK")[b"sound"])

    def test_check_while_others_write(self):
        stop = threading.Event()
        failures = []

        def write(client, name):
            number = 0
            while not stop.is_set():
                number += 1
                if self.call("SET", f"{name}:{number % 1000}", "x" * (number % 300),
                             client=client) != b"OK":
                    failures.append(number)
        writers = [threading.Thread(target=write, args=(self.connect(), f"w{n}")) for n in range(2)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(20):
                found = self.call("SIDEPOND", "CHECK")
                self.assertEqual((found[b"sound"], found[b"complaints"]), (True, []))
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        self.assertEqual(failures, [])

    # --- what is wrong ---

    def test_errors(self):
        for words, says in (
                (["REFRESH", "nobody"], b"ERR there is no table 'nobody'"),
                (["HOLD", "x" * 100], b"ERR there is no table '" + b"x" * 100 + b"'"),
                (["CONFIRM", "a\0b"], b"ERR there is no table 'a'"),
                (["REFRESH"], b"ERR wrong number of arguments for 'sidepond|refresh' command"),
                (["REFRESH", "users", "WAIT"], b"ERR syntax error"),
                (["REFRESH", "users", "FOR", "1"], b"ERR syntax error"),
                (["REFRESH", "users", "WAIT", "x"],
                 b"ERR value is not an integer or out of range"),
                (["REFRESH", "users", "WAIT", "-1"],
                 b"ERR WAIT must be between 0 and 3600000 milliseconds"),
                (["NONSENSE"], b"ERR unknown subcommand 'NONSENSE'. Try SIDEPOND HELP.")):
            self.assertEqual(self.call("SIDEPOND", *words), says, words)
        self.assertIn(b"HELP", self.call("SIDEPOND", "HELP"))

    def test_not_in_a_transaction(self):
        self.call("MULTI")
        self.assertEqual(self.call("SIDEPOND", "CHECK"),
                         b"ERR Command not allowed inside a transaction")
        self.assertIn(b"EXECABORT", self.call("EXEC"))

    def test_access(self):
        self.call("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@admin", "-@dangerous")
        self.call("ACL", "SETUSER", "watcher", "on", ">pw", "~*", "+sidepond|tables")
        client = self.connect()
        self.call("AUTH", "app", "pw", client=client)
        for words in (["REFRESH", "users"], ["HOLD", "users"], ["CONFIRM", "users"], ["CHECK"],
                      ["STATUS"], ["TABLES"]):
            self.assertIn(b"NOPERM", self.call("SIDEPOND", *words, client=client), words)
        self.call("AUTH", "watcher", "pw", client=client)
        self.assertEqual(len(self.call("SIDEPOND", "TABLES", client=client)), 3)
        self.assertIn(b"NOPERM", self.call("SIDEPOND", "HOLD", "users", client=client))

    def test_muted(self):
        self.client.send(request(["CLIENT", "REPLY", "SKIP"]) + request(["SIDEPOND", "TABLES"])
                         + request(["PING"]))
        self.assertEqual(plain(self.client.read()), b"PONG")

    # --- rows as keys ---

    def test_float_keys(self):
        for text, name in (("1", "one"), ("1.0", "one"), ("1e0", "one"), ("0.1", "tenth"),
                           ("1e300", "large"), ("1e+300", "large"), ("-2.5", "minus")):
            self.assertEqual(self.call("HGET", f"rates:{text}", "name"), name.encode(), text)
        for text in ("2", "x", "", "0x1", "1 ", "1,0"):
            self.assertIsNone(self.call("GET", f"rates:{text}"), text)
        self.assertEqual(self.daemon.get("rates", "0.1")["name"], "tenth")

    def test_dump_of_a_row(self):
        self.assertIn(b"ERR 'users' is a table of the pond", self.call("DUMP", "users:1"))
        payload = self.call("DUMP", "users:1") and (self.call("SET", "a", "1"),
                                                    self.call("DUMP", "a"))[1]
        self.assertIn(b"ERR 'users' is a table of the pond",
                      self.call("RESTORE", "users:1", "0", payload, "REPLACE"))

    def test_table_that_cannot_be_read(self):
        self.configure("1h", ", max_stale: 50ms, on_stale: fail")
        self.daemon.signal(signal.SIGHUP)
        wait_for(lambda: b"table users" in (self.call("GET", "users:1") or b""), "it is too old")
        error = self.call("GET", "users:1")
        for words in (["EXISTS", "users:1"], ["EXISTS", "a", "users:1", "b"], ["TYPE", "users:1"],
                      ["TOUCH", "users:1"], ["TTL", "users:1"], ["PEXPIRETIME", "users:1"],
                      ["OBJECT", "ENCODING", "users:1"], ["HLEN", "users:1"]):
            self.assertEqual(self.call(*words), error, words)
        self.assertEqual(self.call("EXISTS", "orders:1"), 1)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
