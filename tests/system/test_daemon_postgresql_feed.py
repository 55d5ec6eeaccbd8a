#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_postgresql_feed.py - Goal: daemons that follow one PostgreSQL server leave each other,
and the server, in peace: two that bear one name, and temporary ones that are killed. Method: a server
for all tests, a database for each; daemons are seen from outside, as in test_daemon.py.
"""
import os
import subprocess
import sys
import tempfile
import unittest

from daemon_kit import Daemon, wait_for
from pg_server import Server

SERVER = None
USERS = ("  - {name: users, source: shop, key: [id], refresh: {mode: feed, every: 50ms, "
         "full_every: 1s}}\n")
# a comparison makes one for a moment, which is temporary
SLOTS = "select count(*) from pg_replication_slots where database = current_database()"
LASTING = " and not temporary"


def setUpModule():
    global SERVER  # pylint: disable=global-statement
    if not Server.available():
        print("skipped: PostgreSQL is not installed")
        sys.exit(77)
    SERVER = Server(settings={"wal_level": "logical"})
    SERVER.start()


def tearDownModule():
    SERVER.remove()


def standby_of(primary):
    """A server that follows another one, made of a copy of it."""
    primary.stop()
    directory = tempfile.mkdtemp(prefix="sidepond-pg.")
    subprocess.run(["cp", "-a", primary.directory + "/.", directory], check=True)
    os.unlink(os.path.join(directory, "port"))
    with open(os.path.join(directory, "data", "standby.signal"), "w", encoding="ascii"):
        pass
    primary.start()
    dsn = primary.dsn().replace("'", "")
    return Server(directory, database=primary.database, settings={
        "wal_level": "logical", "hot_standby_feedback": "on", "sync_replication_slots": "on",
        "primary_slot_name": "standby", "primary_conninfo": dsn})


class FeedTest(unittest.TestCase):
    count = 0

    def setUp(self):
        FeedTest.count += 1
        self.name = f"shop{self.count}"
        SERVER.psql(f"create database {self.name}")
        self.sql("create table users (id integer primary key, n integer)",
                 "insert into users select i, i from generate_series(1, 100) i",
                 "create publication sidepond for table users")

    def sql(self, *statements):
        return SERVER.psql(";\n".join(statements), dbname=self.name)

    def daemon(self, more="", dsn=None, tables=USERS):
        dsn = dsn or SERVER.dsn(self.name)
        daemon = Daemon(tables, f'  - {{name: shop, type: postgresql, dsn: "{dsn}", '
                                f"connect_timeout: 2s{more}}}")
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    @staticmethod
    def feed(daemon):
        return (daemon.table("users") or {"feed": {"state": "none"}})["feed"]

    def follows(self, daemon):
        return self.feed(daemon)["state"] == "following"

    def await_follows(self, daemon):
        wait_for(lambda: self.follows(daemon), "it follows")

    def await_refusal(self, daemon):
        """Why it cannot follow."""
        wait_for(lambda: self.feed(daemon)["state"] == "fallen back", "it has fallen back")
        return self.feed(daemon)["why"]

    def reloads(self, daemon):
        return daemon.metric('sidepond_feed_reloads_total{table="users",reason="lost"}')

    def await_slots(self, count):
        wait_for(lambda: self.sql(SLOTS) == str(count), f"there are {count} slots")

    def test_one_name(self):
        """The second of two daemons by one name refreshes, and says why; it follows when the first one
        is gone."""
        first = self.daemon().start()
        self.await_follows(first)
        second = self.daemon().start_by_name_of(first)
        self.assertRegex(self.await_refusal(second),
                         "^source shop: another one follows by the name sidepond_test_users_"
                         r"[0-9a-f]{8}: process \d+ of the server \(sidepond/shop\)")
        self.sql("update users set n = 7000 where id = 7")
        first.await_row("users", 7, n=7000)
        second.await_row("users", 7, n=7000)
        self.assertTrue(self.follows(first))
        self.assertEqual(self.sql(SLOTS + LASTING), "1")
        first.stop()
        self.await_follows(second)
        self.sql("update users set n = 8000 where id = 8")
        second.await_row("users", 8, n=8000)
        self.assertEqual(self.sql(SLOTS + LASTING), "1")

    def test_temporary(self):
        """Of a temporary follower the server keeps nothing, however it ends; when its connection is
        lost it reads all rows again, once."""
        daemon = self.daemon(", follower: temporary").start()
        self.await_follows(daemon)
        self.await_slots(1)
        self.sql("begin", "select pg_terminate_backend(pid) from pg_stat_replication",
                 "update users set n = 7000 where id = 7", "commit")
        daemon.await_row("users", 7, n=7000)
        self.await_follows(daemon)
        self.assertEqual(self.reloads(daemon), 1)
        self.sql("update users set n = 8000 where id = 8")
        daemon.await_row("users", 8, n=8000)
        self.assertEqual(self.reloads(daemon), 1)
        daemon.kill()
        self.await_slots(0)
        self.sql("delete from users where id = 9")
        daemon.start()
        daemon.await_gone("users", 9)
        self.await_follows(daemon)
        daemon.stop()
        self.await_slots(0)

    def test_failover(self):
        """A standby that keeps the slot becomes the primary: the daemon goes on there, and reads no row
        again. PostgreSQL 17 and later."""
        if int(self.sql("show server_version_num")) < 170000:
            self.skipTest("before PostgreSQL 17 no standby has a slot")
        settings = {"wal_level": "logical", "synchronized_standby_slots": "standby"}
        with Server(settings=settings, database="shop") as primary:
            primary.psql("select pg_create_physical_replication_slot('standby', true);"
                         "create table users (id integer primary key, n integer);"
                         "insert into users select i, i from generate_series(1, 100) i;"
                         "create publication sidepond for table users")
            with standby_of(primary) as standby:
                self.fail_over(primary, standby)

    def fail_over(self, primary, standby):
        dsn = (f"host={primary.socket_directory},{standby.socket_directory} "
               f"port={primary.port},{standby.port} dbname=shop user=postgres "
               "target_session_attrs=read-write")
        tables = USERS.replace("full_every: 1s", "full_every: 1h")
        daemon = self.daemon(dsn=dsn, tables=tables).start()
        self.await_follows(daemon)
        other = self.daemon(dsn=standby.dsn(), tables=tables).start()
        self.assertEqual(self.await_refusal(other),
                         "source shop: this server is a standby; follow the primary")
        other.stop()
        wait_for(lambda: standby.psql("select count(*) from pg_replication_slots where synced and not "
                                      "temporary") == "1", "the standby has the slot")
        primary.psql("update users set n = 7000 where id = 7")
        daemon.await_row("users", 7, n=7000)
        primary.crash()
        standby.psql("select pg_promote()")
        standby.psql("update users set n = 8000 where id = 8")
        daemon.await_row("users", 8, n=8000)
        self.await_follows(daemon)
        self.assertEqual(daemon.metric('sidepond_refreshes_total{table="users",kind="full"}'), 1)
        self.assertNotIn("all rows are read again", daemon.log())

    def test_permanent_becomes_temporary(self):
        daemon = self.daemon().start()
        self.await_follows(daemon)
        daemon.stop()
        self.assertEqual(self.sql(SLOTS + LASTING), "1")
        daemon.sources = daemon.sources[:-1] + ", follower: temporary}"
        daemon.configure(USERS)
        daemon.start()
        self.await_follows(daemon)
        self.assertEqual(self.sql(SLOTS + LASTING), "0")
        daemon.stop()
        self.await_slots(0)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
