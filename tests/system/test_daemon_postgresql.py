#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_postgresql.py - Goal: the daemon follows a real PostgreSQL server through everything
that happens to one: notifications, restarts, crashes, hangs, lost connections, wrong passwords,
columns and tables that change. Method: one server for all tests, a database for each; the daemon is
seen from outside, as in test_daemon.py.
"""
import json
import sys
import threading
import time
import unittest

import database_tests
from database_tests import FULL_PASSES, USERS
from pg_server import Server

NOTIFY = """
    create function tell() returns trigger language plpgsql as
        $$ begin perform pg_notify('sidepond_' || tg_argv[0], ''); return null; end $$;
    create trigger tell after insert or update or delete or truncate on users
        for each statement execute function tell('users');
"""


class PostgresqlTest(database_tests.DatabaseTests):
    server_class = Server
    kind = "postgresql"
    touch = ", updated = clock_timestamp()"
    sleep = "pg_sleep(60)::text"
    slow_running = ("select count(*) from pg_stat_activity where query like '%slow%' "
                    "and application_name like 'sidepond%' and state = 'active'")
    slow_left = ("select count(*) from pg_stat_activity where application_name "
                 "like 'sidepond%' and datname = current_database()")
    retype = ("alter table users alter column balance type bigint",
              "alter table users rename column email to mail")
    wrong_password = "password"

    @classmethod
    def make_server(cls):
        return Server(settings={"tcp_keepalives_idle": 1})

    def fill(self):
        self.server.psql(f"create database {self.name}")
        self.sql("create table users (id integer primary key, email text not null, "
                 "balance numeric(10,2), updated timestamptz not null default clock_timestamp())",
                 "insert into users select i, 'u' || i || '@example.org', i from "
                 "generate_series(1, 100) i")

    def address(self, user, kind):
        return self.server.dsn(self.name, user or "postgres", tcp=user is not None)

    def sql(self, *statements):
        return self.server.psql(";\n".join(statements), dbname=self.name)

    def number(self, query):
        return int(self.sql(query))

    def make_reader(self):
        self.sql("do $$ begin create role reader login password 'right-secret'; "
                 "exception when duplicate_object then null; end $$",
                 "grant select on users to reader")

    # --- following ---

    def test_notified(self):
        self.sql(NOTIFY)
        daemon = self.daemon(USERS.replace("every: 20ms", "mode: notified")).start()
        passes = daemon.metric(FULL_PASSES)
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        self.sql("truncate users", "insert into users values (1, 'only')")
        daemon.await_state("users", "held")
        self.assertLessEqual(daemon.metric(FULL_PASSES), passes + 1)

    def test_notified_after_a_lost_connection(self):
        self.sql(NOTIFY)
        daemon = self.daemon(USERS.replace("every: 20ms", "mode: notified")).start()
        # The change comes while nobody listens: only the full pass afterwards can find it.
        self.sql("begin", "update users set email = 'new' where id = 7",
                 "select pg_terminate_backend(pid) from pg_stat_activity where "
                 "application_name like 'sidepond%' and datname = current_database()", "commit")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")

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

    def test_crash(self):
        daemon = self.daemon().start()
        self.server.crash()
        daemon.await_state("users", "failing")
        self.server.start()
        daemon.await_state("users", "fresh")

    def test_down_at_start(self):
        self.server.stop()
        daemon = self.daemon().start(ready=False)
        daemon.await_state("users", "failing")
        self.assertNotIn("READY=1", daemon.collect())
        self.server.start()
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.rows("users"), 100)

    def test_permission_taken_away(self):
        self.make_reader()
        daemon = self.daemon(user="reader", more=", password_env: SHOP_PASSWORD")
        daemon.start(environment={"SHOP_PASSWORD": "right-secret"})
        self.sql("revoke select on users from reader")
        daemon.await_state("users", "failing")
        self.assertIn("permission", daemon.table("users")["error"])
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("grant select on users to reader")
        daemon.await_state("users", "fresh")

    # --- what happens to tables ---

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


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
