#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_postgresql.py - Goal: the daemon follows a real PostgreSQL server through everything
that happens to one: notifications, restarts, crashes, hangs, lost connections, wrong passwords,
columns and tables that change. Method: one server for all tests, a database for each; the daemon is
seen from outside, as in test_daemon.py.
"""
import json
import os
import signal
import sys
import threading
import time
import unittest

from daemon_kit import Daemon, wait_for
from pg_server import Server

SERVER = None
USERS = "  - {name: users, source: shop, key: [id], refresh: {every: 20ms}}\n"
NOTIFY = """
    create function tell() returns trigger language plpgsql as
        $$ begin perform pg_notify('sidepond_' || tg_argv[0], ''); return null; end $$;
    create trigger tell after insert or update or delete or truncate on users
        for each statement execute function tell('users');
"""


def setUpModule():
    global SERVER  # pylint: disable=global-statement
    if not Server.available():
        print("skipped: PostgreSQL is not installed")
        sys.exit(77)
    SERVER = Server(settings={"tcp_keepalives_idle": 1})
    SERVER.start()


def tearDownModule():
    SERVER.remove()


class PostgresqlTest(unittest.TestCase):
    count = 0

    def setUp(self):
        SERVER.start()
        PostgresqlTest.count += 1
        self.name = f"shop{self.count}"
        SERVER.psql(f"create database {self.name}")
        self.sql("create table users (id integer primary key, email text not null, "
                 "balance numeric(10,2), updated timestamptz not null default clock_timestamp())",
                 "insert into users select i, 'u' || i || '@example.org', i from "
                 "generate_series(1, 100) i")

    def sql(self, *statements):
        return SERVER.psql(";\n".join(statements), dbname=self.name)

    def daemon(self, tables=USERS, user="postgres", more="", **options):
        tcp = user != "postgres"
        dsn = SERVER.dsn(self.name, user, tcp)
        daemon = Daemon(tables, f'  - {{name: shop, type: postgresql, dsn: "{dsn}", '
                                f"connect_timeout: 2s{more}}}", **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    # --- following ---

    def test_follows(self):
        daemon = self.daemon().start()
        row = daemon.get("users", 7)
        self.assertEqual((row["email"], row["balance"]), ("u7@example.org", 7.00))
        self.sql("update users set email = 'new', balance = null where id = 7",
                 "delete from users where id = 8")
        daemon.await_row("users", 7, email="new", balance=None)
        daemon.await_gone("users", 8)
        self.assertLess(daemon.stop(), 5)

    def test_notified(self):
        self.sql(NOTIFY)
        daemon = self.daemon(USERS.replace("every: 20ms", "mode: notified")).start()
        passes = daemon.metric('sidepond_refreshes_total{table="users",kind="full"}')
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        self.sql("truncate users", "insert into users values (1, 'only')")
        daemon.await_state("users", "held")
        self.assertLessEqual(daemon.metric('sidepond_refreshes_total{table="users",kind="full"}'),
                             passes + 1)

    def test_notified_after_a_lost_connection(self):
        self.sql(NOTIFY)
        daemon = self.daemon(USERS.replace("every: 20ms", "mode: notified")).start()
        # The change comes while nobody listens: only the full pass afterwards can find it.
        self.sql("begin", "update users set email = 'new' where id = 7",
                 "select pg_terminate_backend(pid) from pg_stat_activity where "
                 "application_name like 'sidepond%' and datname = current_database()", "commit")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")

    def test_incremental(self):
        daemon = self.daemon(USERS.replace(
            "every: 20ms", "mode: incremental, every: 20ms, watermark: updated, overlap: 5s, "
            "full_every: 1h")).start()
        self.sql("update users set email = 'new', updated = clock_timestamp() where id = 7")
        daemon.await_row("users", 7, email="new")
        full = 'sidepond_refreshes_total{table="users",kind="full"}'
        self.assertEqual(daemon.metric(full), 1)
        self.sql("delete from users where id = 8")
        daemon.signal(signal.SIGUSR1)
        daemon.await_gone("users", 8)

    def test_group_is_one_snapshot(self):
        """Money moves between two tables, in one transaction each time; at every version of the pond
        the sum is the same."""
        self.sql("create table stores (id integer primary key, balance numeric(10,2))",
                 "insert into stores values (1, 0)")
        daemon = self.daemon(
            "  - {name: users, source: shop, key: [id], group: money, refresh: {every: 10ms}}\n"
            "  - {name: stores, source: shop, key: [id], group: money, refresh: {every: 10ms}}\n"
        ).start()
        stop = threading.Event()

        def move():
            while not stop.wait(0.1):  # so that a version lasts for a few reads
                self.sql("begin", "update users set balance = balance - 1 where id = 50",
                         "update stores set balance = balance + 1 where id = 1", "commit")
        mover = threading.Thread(target=move)
        mover.start()
        try:
            versions = set()
            while len(versions) < 10:
                version = json.loads(daemon.tool("--json", "status").stdout)["version"]
                user, store = daemon.get("users", 50), daemon.get("stores", 1)
                if version == json.loads(daemon.tool("--json", "status").stdout)["version"]:
                    versions.add(version)
                    self.assertEqual(user["balance"] + store["balance"], 50)
        finally:
            stop.set()
            mover.join()

    # --- what happens to servers ---

    def test_restart(self):
        daemon = self.daemon().start()
        SERVER.stop()
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.assertEqual(daemon.http("/readyz")[0], 200)
        SERVER.start()
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")
        daemon.await_log("is fresh again after")

    def test_crash(self):
        daemon = self.daemon().start()
        SERVER.crash()
        daemon.await_state("users", "failing")
        SERVER.start()
        daemon.await_state("users", "fresh")

    def test_down_at_start(self):
        SERVER.stop()
        daemon = self.daemon().start(ready=False)
        daemon.await_state("users", "failing")
        self.assertNotIn("READY=1", daemon.collect())
        SERVER.start()
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.rows("users"), 100)

    def test_hangs(self):
        daemon = self.daemon(more=", statement_timeout: 1s").start()
        SERVER.pause()
        try:
            daemon.await_state("users", "failing")
            self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
            self.assertEqual(daemon.http("/healthz")[0], 200)
            self.assertLess(daemon.stop(), 5)
        finally:
            SERVER.resume()

    def test_ends_in_the_middle_of_a_query(self):
        if int(self.sql("show server_version_num")) < 140000:
            self.skipTest("a server of before PostgreSQL 14 does not notice that nobody waits")
        self.sql("create view slow as select id, pg_sleep(60)::text as slept from users")
        daemon = self.daemon(USERS + "  - {name: slow, source: shop, key: [id]}\n")
        daemon.start(ready=False)
        daemon.await_state("users", "fresh")
        wait_for(lambda: self.sql("select count(*) from pg_stat_activity where query like '%slow%' "
                                  "and application_name like 'sidepond%' and state = 'active'")
                 != "0", "the slow query runs")
        self.assertLess(daemon.stop(), 5)
        wait_for(lambda: self.sql("select count(*) from pg_stat_activity where application_name "
                                  "like 'sidepond%' and datname = current_database()") == "0",
                 "its queries are gone")

    def test_wrong_password(self):
        self.sql("do $$ begin create role reader login password 'right-secret'; "
                 "exception when duplicate_object then null; end $$",
                 "grant select on users to reader")
        daemon = self.daemon(user="reader")
        secret = os.path.join(daemon.directory, "password")

        def write(password):
            with open(secret, "w", encoding="utf-8") as file:
                file.write(password + "\n")
            os.chmod(secret, 0o600)
        write("wrong-secret")
        daemon.sources = daemon.sources[:-1] + f", password_file: {secret}}}"
        daemon.configure(USERS)
        daemon.start(ready=False)
        daemon.await_state("users", "failing")
        self.assertIn("password", daemon.table("users")["error"])
        write("right-secret")
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.rows("users"), 100)
        for place in (daemon.log(), daemon.http("/metrics")[1], daemon.http("/tables")[1]):
            self.assertNotIn("secret", place.replace(secret, ""))

    def test_permission_taken_away(self):
        self.sql("do $$ begin create role reader login password 'right-secret'; "
                 "exception when duplicate_object then null; end $$",
                 "grant select on users to reader")
        daemon = self.daemon(user="reader", more=", password_env: SHOP_PASSWORD")
        daemon.start(environment={"SHOP_PASSWORD": "right-secret"})
        self.sql("revoke select on users from reader")
        daemon.await_state("users", "failing")
        self.assertIn("permission", daemon.table("users")["error"])
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("grant select on users to reader")
        daemon.await_state("users", "fresh")

    # --- what happens to tables ---

    def test_columns_change(self):
        daemon = self.daemon().start()
        self.sql("alter table users add column city text")
        daemon.await_row("users", 7, city=None)
        self.sql("alter table users alter column balance type bigint", "update users set city = 'Ulm'",
                 "alter table users rename column email to mail")
        daemon.await_row("users", 7, city="Ulm", mail="u7@example.org", balance=7)
        self.sql("alter table users drop column city")
        wait_for(lambda: "city" not in daemon.get("users", 7), "the column is gone")

    def test_columns_change_under_load(self):
        daemon = self.daemon(USERS.replace("20ms", "10ms")).start()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            self.sql("alter table users add column city text default 'Ulm'")
            self.sql("alter table users drop column city")
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")
        self.assertEqual(daemon.tool("check").returncode, 0)

    def test_table_dropped_and_made_again(self):
        daemon = self.daemon().start()
        self.sql("alter table users rename to gone")
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("alter table gone rename to users")
        daemon.await_state("users", "fresh")

    def test_missing_column_is_named(self):
        daemon = self.daemon(USERS.replace("key: [id]", "key: [id], columns: [id, mail]"))
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+: table users: .*mail")


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
