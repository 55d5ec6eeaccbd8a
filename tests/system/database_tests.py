# SPDX-License-Identifier: Apache-2.0
"""database_tests.py - a daemon in front of a real database server: what its tests stand on, and those
tests that every such database must pass. One server for all tests of a class, a database for each;
the daemon is seen from outside, as in test_daemon.py.

A module imports this one as a whole, or the classes here would be run as its own.
"""
import os
import signal
import sys
import unittest

from daemon_kit import Daemon, wait_for
from database_server import SKIPPED

USERS = "  - {name: users, source: shop, key: [id], refresh: {every: 20ms}}\n"
FULL_PASSES = 'sidepond_refreshes_total{table="users",kind="full"}'


class DatabaseCase(unittest.TestCase):
    """A subclass says which server, what a source calls it and what a fresh database holds."""

    server = None
    server_class = None
    kind = ""  # the source's type
    count = 0

    @classmethod
    def make_server(cls):
        return cls.server_class()

    def fill(self):
        """Makes the database self.name and what is in it."""
        raise NotImplementedError

    def address(self, user, kind):
        """The source's dsn; the administrator's where user is None."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        if not cls.server_class.available():
            print(f"skipped: {cls.server_class.title} is not installed")
            sys.exit(SKIPPED)
        cls.server = cls.make_server().start()

    @classmethod
    def tearDownClass(cls):
        cls.server.remove()

    def setUp(self):
        self.server.start()
        DatabaseCase.count += 1
        self.name = f"shop{self.count}"
        self.fill()

    def daemon(self, tables=USERS, user=None, more="", kind=None, **options):
        kind = kind or self.kind
        daemon = Daemon(tables, f"  - {{name: shop, type: {kind}, dsn: "
                                f'"{self.address(user, kind)}", connect_timeout: 2s{more}}}',
                        **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon


class DatabaseTests(DatabaseCase):
    """The table users is of 100 rows: id, email uN@example.org, balance N, updated. SQL that differs
    from database to database is in the subclass."""

    alias = None         # another name of the source's type
    touch = ""           # what an update must set besides, so that `updated` is the time of it
    sleep = ""           # an expression that takes a minute
    slow_running = ""    # how many queries of the table slow run
    slow_left = ""       # how many sessions are still there because of it
    retype = ()          # statements: balance becomes a bigint, email is called mail
    wrong_password = ""  # is in the error then

    def sql(self, *statements):
        """Runs statements in the test's database."""
        raise NotImplementedError

    def number(self, query):
        """The one number that a query returns."""
        raise NotImplementedError

    def make_reader(self):
        """The user "reader", who may read users with the password right-secret."""
        raise NotImplementedError

    def test_follows(self):
        daemon = self.daemon(kind=self.alias).start()
        row = daemon.get("users", 7)
        self.assertEqual((row["email"], row["balance"]), ("u7@example.org", 7.00))
        self.sql("update users set email = 'new', balance = null where id = 7",
                 "delete from users where id = 8")
        daemon.await_row("users", 7, email="new", balance=None)
        daemon.await_gone("users", 8)
        self.assertLess(daemon.stop(), 5)

    def test_incremental(self):
        daemon = self.daemon(USERS.replace(
            "every: 20ms", "mode: incremental, every: 20ms, watermark: updated, overlap: 5s, "
            "full_every: 1h")).start()
        self.sql(f"update users set email = 'new'{self.touch} where id = 7")
        daemon.await_row("users", 7, email="new")
        self.assertEqual(daemon.metric(FULL_PASSES), 1)
        self.sql("delete from users where id = 8")
        daemon.signal(signal.SIGUSR1)
        daemon.await_gone("users", 8)

    def test_restart(self):
        daemon = self.daemon().start()
        self.server.stop()
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.assertEqual(daemon.http("/readyz")[0], 200)
        self.server.start()
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")
        daemon.await_log("is fresh again after")

    def test_hangs(self):
        daemon = self.daemon(more=", statement_timeout: 1s").start()
        self.server.pause()
        try:
            daemon.await_state("users", "failing")
            self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
            self.assertEqual(daemon.http("/healthz")[0], 200)
            self.assertLess(daemon.stop(), 5)
        finally:
            self.server.resume()

    def test_ends_in_the_middle_of_a_query(self):
        self.sql(f"create view slow as select id, {self.sleep} as slept from users")
        daemon = self.daemon(USERS + "  - {name: slow, source: shop, key: [id]}\n")
        daemon.start(ready=False)
        daemon.await_state("users", "fresh")
        wait_for(lambda: self.number(self.slow_running), "the slow query runs")
        self.assertLess(daemon.stop(), 5)
        wait_for(lambda: self.number(self.slow_left) == 0, "its query is gone")

    def test_wrong_password(self):
        self.make_reader()
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
        self.assertIn(self.wrong_password, daemon.table("users")["error"])
        write("right-secret")
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.rows("users"), 100)
        for place in (daemon.log(), daemon.http("/metrics")[1], daemon.http("/tables")[1]):
            self.assertNotIn("secret", place.replace(secret, ""))

    def test_columns_change(self):
        daemon = self.daemon().start()
        self.sql("alter table users add column city text")
        daemon.await_row("users", 7, city=None)
        self.sql("update users set city = 'Ulm'", *self.retype)
        daemon.await_row("users", 7, city="Ulm", mail="u7@example.org", balance=7)
        self.sql("alter table users drop column city")
        wait_for(lambda: "city" not in daemon.get("users", 7), "the column is gone")

    def test_missing_column_is_named(self):
        daemon = self.daemon(USERS.replace("key: [id]", "key: [id], columns: [id, mail]"))
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+: table users: .*mail")
