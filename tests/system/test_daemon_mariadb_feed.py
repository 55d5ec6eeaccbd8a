#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_mariadb_feed.py - Goal: tables of refresh mode feed are what MariaDB's binary log says,
whatever happens to the daemon, the server and the log; and every state that a reader sees is one that
the database had. Method: a server for all tests, a database for each; writers move money between
accounts in transactions, so that the sum is the same in every committed state. The seed is printed;
SIDEPOND_SEED sets it.
"""
import json
import os
import random
import re
import signal
import sys
import threading
import time
import unittest

import database_tests
from daemon_kit import wait_for
from mariadb_server import Server

SEED = int(os.environ.get("SIDEPOND_SEED") or random.SystemRandom().getrandbits(32))
GROUP = ("  - {name: accounts, source: shop, key: [id], group: g, refresh: {mode: feed, every: 1s}}\n"
         "  - {name: moves, source: shop, key: [id], group: g, max_drop: 100%, refresh: {mode: feed, "
         "every: 1s}}\n")
ACCOUNTS = 50
CENTS = 100


class Writer(threading.Thread):
    """Moves money until it is told to stop; a lost connection is made anew."""

    def __init__(self, connect, seed, pause=0.0):
        super().__init__()
        self.connect, self.random, self.pause = connect, random.Random(seed), pause
        self.stopping = threading.Event()

    def move(self, connection):
        chance = self.random
        one, other = chance.sample(range(1, ACCOUNTS + 1), 2)
        cents = chance.randint(1, 9)
        connection.query("start transaction")
        connection.query(f"update accounts set cents = cents - {cents} where id = {one}")
        if chance.random() < 0.3:
            connection.query(f"delete from moves where id = {chance.randint(1, 200)}")
        connection.query(f"replace into moves values ({chance.randint(1, 200)}, {cents})")
        if chance.random() < 0.2:
            connection.query("rollback")
            return
        if chance.random() < 0.1: # a key changes and comes back
            connection.query(f"update accounts set id = 1000 where id = {other}")
            connection.query(f"update accounts set id = {other} where id = 1000")
        connection.query(f"update accounts set cents = cents + {cents} where id = {other}")
        connection.query("commit")

    def run(self):
        while not self.stopping.is_set():
            try:
                with self.connect() as connection:
                    while not self.stopping.is_set():
                        self.move(connection)
                        time.sleep(self.pause)
            except RuntimeError:
                time.sleep(0.05)

    def stop(self):
        self.stopping.set()
        self.join()


class FeedTest(database_tests.DatabaseCase):
    server_class = Server
    kind = "mariadb"

    def fill(self):
        self.server.sql(f"create database {self.name}", database="")
        self.sql("create table accounts (id integer primary key, cents bigint not null)",
                 "create table moves (id integer primary key, cents integer)",
                 f"insert into accounts select seq, {CENTS} from seq_1_to_{ACCOUNTS}")

    def address(self, user, kind):
        return self.server.uri(self.name, user or "root")

    def sql(self, *statements):
        return self.server.sql(*statements, database=self.name)

    def daemon(self, tables=GROUP, **options):
        return super().daemon(tables, **options)

    def writer(self, number=0, pause=0.0):
        writer = Writer(lambda: self.server.connect(self.name), SEED + number, pause)
        self.addCleanup(writer.stop)
        writer.start()
        return writer

    # --- what is there ---

    @staticmethod
    def pond(daemon, table):
        """All rows at one version, as a dict by key."""
        done = daemon.tool("--json", "scan", table)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        text = done.stdout.strip()
        rows = json.loads(text) if text.startswith("[") else \
            [json.loads(line) for line in text.split("\n") if line]
        return {row["id"]: row["cents"] for row in rows}

    def database(self, table):
        return {int(row[0]): int(row[1]) for row in self.sql(f"select id, cents from {table}")}

    def same(self, daemon):
        return all(self.pond(daemon, t) == self.database(t) for t in ("accounts", "moves"))

    def await_same(self, daemon):
        wait_for(lambda: self.same(daemon), "the pond is what the database is")

    def check_sum(self, daemon):
        rows = self.pond(daemon, "accounts")
        self.assertEqual((len(rows), sum(rows.values())), (ACCOUNTS, ACCOUNTS * CENTS))

    def loads(self, daemon):
        """How often all rows have been read."""
        return daemon.metric('sidepond_refreshes_total{table="accounts",kind="full"}') or 0

    # --- tests ---

    def test_follows(self):
        daemon = self.daemon().start()
        loads = self.loads(daemon)
        self.sql("update accounts set cents = 7 where id = 7", "delete from accounts where id = 8",
                 "insert into moves values (1, 5)", "update accounts set id = 99 where id = 9")
        daemon.await_row("accounts", 99, cents=CENTS)
        self.assertEqual(daemon.get("accounts", 7)["cents"], 7)
        self.assertIsNone(daemon.get("accounts", 8))
        self.assertIsNone(daemon.get("accounts", 9))
        self.sql("truncate moves", "insert into moves values (2, 6)")
        daemon.await_row("moves", 2, cents=6)
        self.assertEqual(daemon.rows("moves"), 1)
        self.assertEqual(self.loads(daemon), loads)
        self.assertLess(daemon.stop(), 5)

    def test_every_state_is_one_of_the_database(self):
        daemon = self.daemon().start()
        writers = [self.writer(number, 0.001) for number in range(2)]
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            self.check_sum(daemon)
        for writer in writers:
            writer.stop()
        self.await_same(daemon)

    def test_killed_and_started_again(self):
        daemon = self.daemon().start()
        writer = self.writer(pause=0.001)
        for _ in range(3):
            before = self.sql("select @@gtid_binlog_pos")
            wait_for(lambda: self.sql("select @@gtid_binlog_pos") != before, "it is written")
            daemon.kill()
            daemon.start()
            self.check_sum(daemon)
        writer.stop()
        self.await_same(daemon)

    def test_server_killed(self):
        daemon = self.daemon().start()
        writer = self.writer(pause=0.001)
        loads = self.loads(daemon)
        for _ in range(2):
            self.server.crash()
            daemon.await_state("accounts", "failing")
            self.check_sum(daemon)
            self.server.start()
            daemon.await_state("accounts", "fresh")
        writer.stop()
        self.await_same(daemon)
        self.check_sum(daemon)
        self.assertEqual(self.loads(daemon), loads) # it went on from where it was

    def test_columns_change(self):
        daemon = self.daemon().start()
        self.sql("alter table moves add column city varchar(9)",
                 "insert into moves values (1, 2, 'Ulm')")
        daemon.await_row("moves", 1, cents=2, city="Ulm")
        self.sql("alter table moves drop column city", "update moves set cents = 3")
        wait_for(lambda: daemon.get("moves", 1) == {"id": 1, "cents": 3}, "the column is gone")

    def test_log_gone(self):
        daemon = self.daemon().start()
        self.assertLess(daemon.stop(), 5)
        self.sql("update accounts set cents = 1 where id = 1", "flush binary logs",
                 "update accounts set cents = 199 where id = 2")
        self.sql(f"purge binary logs to '{self.sql('show master status')[0][0]}'")
        daemon.start()
        self.await_same(daemon)
        self.sql("update accounts set cents = 2 where id = 1")
        daemon.await_row("accounts", 1, cents=2)

    def test_not_possible(self):
        self.sql("create or replace user reader@localhost",
                 f"grant select on {self.name}.* to reader@localhost")
        daemon = self.daemon(user="reader").start()
        daemon.await_log("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.*")
        self.sql("update accounts set cents = 7 where id = 7") # by a refresh every second
        daemon.await_row("accounts", 7, cents=7)

    def test_delay(self):
        daemon = self.daemon().start()
        delays = []
        for cents in range(20):
            self.sql(f"update accounts set cents = {cents} where id = 1")
            begun = time.monotonic()
            daemon.await_row("accounts", 1, cents=cents)
            delays.append((time.monotonic() - begun) * 1000)
        delays.sort()
        print(f"a change is seen by the tool after {delays[10]:.1f} ms (median)")
        self.assertLess(delays[10], 1000)
        self.assertIsNone(re.search(r"\[error\]", daemon.log()))

    def test_one_name(self):
        """Two daemons by one name do not disturb each other: the server knows them by other numbers."""
        first = self.daemon().start()
        second = self.daemon().start_by_name_of(first)
        for cents in 5, 6, 7:
            self.sql(f"update accounts set cents = {cents} where id = 1")
            for daemon in first, second:
                daemon.await_row("accounts", 1, cents=cents)
        for daemon in first, second:
            self.assertEqual(daemon.table("accounts")["feed"]["state"], "following")
            self.assertEqual(daemon.log().count(" connecting anew"), 0)
        self.assertEqual(*[re.search("follower=[a-z0-9_]+", daemon.log())[0]
                           for daemon in (first, second)])

    # --- what the tool says ---

    @staticmethod
    def status(daemon):
        done = daemon.tool("--json", "status")
        if (done.returncode, done.stderr) != (0, ""):
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def feeds(self, daemon):
        return {feed["group"]: feed for feed in self.status(daemon)["feeds"]}

    def table_feeds(self, daemon):
        return {table["name"]: table["feed"] for table in self.status(daemon)["tables"]
                if table["name"] != "_feeds"}

    def test_status(self):
        """With a cache server the daemon is asked; without, and when it is dead, the pond tells."""
        rich = "  - {name: rich, source: shop, key: [id], refresh: {mode: %s, every: 500ms}}"
        told = {"accounts": "following", "moves": "following", "rich": "fallen back"}
        self.sql("create view rich as select * from accounts where cents > 10")
        daemon = self.daemon(GROUP + rich % "feed", extra="cache: {}").start()
        daemon.await_state("rich", "fresh")
        feeds = self.feeds(daemon)
        follows, refreshed = feeds["g"], feeds["rich"]
        self.assertEqual((follows["state"], follows["source"], follows["tables"],
                          follows["not_possible"]),
                         ("following", "shop", ["accounts", "moves"], None))
        self.assertLess(follows["age_seconds"], 20)
        self.assertRegex(follows["follower"], "^sidepond_test_g_")
        self.assertEqual((refreshed["state"], refreshed["compared_at"]), ("fallen back", None))
        self.assertIn("not a plain table", refreshed["not_possible"])
        self.assertEqual((self.table_feeds(daemon), self.status(daemon)["feeds_error"]), (told, None))
        text = daemon.tool("status").stdout
        self.assertRegex(text, r"(?m)^FEED\tSOURCE\tSTATE\tAGE\tLAG\tCOMPARED\n"
                               r"g\tshop\tfollowing\t[\d.]+ s\t\S+( \S+)?\t20\S+Z$")
        self.assertRegex(text, r"(?m)^rich\t50\tfresh, fallen back\t")
        self.assertRegex(text, "rich: cannot follow its database.*not a plain table")
        self.assertIn("all rows are read every 500ms", daemon.log())
        daemon.kill()
        self.assertEqual((self.feeds(daemon)["g"]["state"], self.feeds(daemon)["g"]["tables"]),
                         ("stopped", None))
        daemon.extra = ""
        daemon.configure(GROUP + rich % "feed")
        daemon.start()
        wait_for(lambda: self.table_feeds(daemon) == told, "the pond tells of the feeds")
        self.assertEqual(self.feeds(daemon)["g"]["state"], "following")
        self.assertRegex(self.status(daemon)["feeds_error"], "the cache server is not (there|running)")
        daemon.configure(GROUP + rich % "full")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: self.table_feeds(daemon)["rich"] is None, "it is of another mode")


if __name__ == "__main__":
    print(f"seed {SEED}")
    sys.exit(unittest.main(verbosity=2))
