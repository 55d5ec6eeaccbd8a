#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_mariadb.py - Goal: the daemon follows a real MariaDB server through what happens to
one: restarts, hangs, wrong passwords, columns that change. Method: one server for all tests, a
database for each; the daemon is seen from outside, as in test_daemon.py.
"""
import os
import signal
import subprocess
import sys
import tempfile
import unittest

from daemon_kit import Daemon, wait_for
from mariadb_server import Server

SERVER = None
CERTIFICATES = None
USERS = "  - {name: users, source: shop, key: [id], refresh: {every: 20ms}}\n"


def setUpModule():
    global SERVER, CERTIFICATES  # pylint: disable=global-statement
    if not Server.available():
        print("skipped: MariaDB is not installed")
        sys.exit(77)
    # pylint: disable=consider-using-with
    CERTIFICATES = tempfile.TemporaryDirectory(prefix="sidepond-tls.")
    os.chmod(CERTIFICATES.name, 0o755)
    cert, key = make_certificate("127.0.0.1")
    make_certificate("other")
    os.chmod(key, 0o644)  # the server runs as another user
    SERVER = Server(settings={"ssl-cert": cert, "ssl-key": key})
    SERVER.start()


def tearDownModule():
    SERVER.remove()
    CERTIFICATES.cleanup()


def make_certificate(name):
    """(certificate, key) of a server that signs itself."""
    cert, key = (os.path.join(CERTIFICATES.name, name + end) for end in (".pem", ".key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


class MariadbTest(unittest.TestCase):
    count = 0

    def setUp(self):
        SERVER.start()
        MariadbTest.count += 1
        self.name = f"shop{self.count}"
        SERVER.sql(f"create database {self.name}", database="")
        self.sql("create table users (id integer primary key, email varchar(99) not null, "
                 "balance decimal(10,2), updated timestamp(6) not null default current_timestamp(6)"
                 " on update current_timestamp(6))",
                 "insert into users (id, email, balance) select seq, concat('u', seq, "
                 "'@example.org'), seq from seq_1_to_100")

    def sql(self, *statements):
        return SERVER.sql(*statements, database=self.name)

    def daemon(self, tables=USERS, user="root", more="", kind="mariadb", **options):
        uri = SERVER.uri(self.name, user, user != "root", kind)
        daemon = Daemon(tables, f'  - {{name: shop, type: {kind}, dsn: "{uri}", '
                                f"connect_timeout: 2s{more}}}", **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    def test_follows(self):
        daemon = self.daemon(kind="mysql").start()
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
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        self.assertEqual(daemon.metric('sidepond_refreshes_total{table="users",kind="full"}'), 1)
        self.sql("delete from users where id = 8")
        daemon.signal(signal.SIGUSR1)
        daemon.await_gone("users", 8)

    def test_restart(self):
        daemon = self.daemon().start()
        SERVER.stop()
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        SERVER.start()
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")

    def test_hangs(self):
        daemon = self.daemon(more=", statement_timeout: 1s").start()
        SERVER.pause()
        try:
            daemon.await_state("users", "failing")
            self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
            self.assertLess(daemon.stop(), 5)
        finally:
            SERVER.resume()

    def test_ends_in_the_middle_of_a_query(self):
        self.sql("create view slow as select id, sleep(60) as slept from users")
        daemon = self.daemon(USERS + "  - {name: slow, source: shop, key: [id]}\n")
        daemon.start(ready=False)
        daemon.await_state("users", "fresh")
        count = ("select count(*) from information_schema.processlist where info like '%slow%' "
                 f"and db = '{self.name}' and id <> connection_id()")
        wait_for(lambda: self.sql(count) != [["0"]], "the slow query runs")
        self.assertLess(daemon.stop(), 5)
        wait_for(lambda: self.sql(count) == [["0"]], "its query is gone")

    def test_wrong_password(self):
        self.sql("create or replace user reader identified by 'right-secret'",
                 f"grant select on {self.name}.* to reader")
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
        self.assertIn("Access denied", daemon.table("users")["error"])
        write("right-secret")
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.rows("users"), 100)
        for place in (daemon.log(), daemon.http("/metrics")[1], daemon.http("/tables")[1]):
            self.assertNotIn("secret", place.replace(secret, ""))

    def test_tls(self):
        """Only what comes from the right server is taken, and nothing goes to another."""
        self.sql("create or replace user safe require ssl", f"grant select on {self.name}.* to safe")

        def start(parameters, ready):
            daemon = self.daemon()
            uri = f"mariadb://safe@127.0.0.1:{SERVER.port}/{self.name}?{parameters}"
            daemon.sources = daemon.sources.replace(SERVER.uri(self.name), uri)
            daemon.configure(USERS)
            return daemon.start(ready)

        good = os.path.join(CERTIFICATES.name, "127.0.0.1.pem")
        other = os.path.join(CERTIFICATES.name, "other.pem")
        for parameters in (f"ssl-ca={good}", "ssl=1", f"ssl-ca={good}&ssl-verify-server-cert=0"):
            self.assertEqual(start(parameters, True).rows("users"), 100)
        for parameters, error in ((f"ssl-ca={other}", "certificate"), ("", "Access denied"),
                                  (f"ssl-ca={other}&ssl-verify-server-cert=0", "certificate")):
            daemon = start(parameters, False)
            daemon.await_state("users", "failing")
            self.assertIn(error, daemon.table("users")["error"])

    def test_columns_change(self):
        daemon = self.daemon().start()
        self.sql("alter table users add column city text")
        daemon.await_row("users", 7, city=None)
        self.sql("alter table users modify balance bigint, change email mail varchar(99)",
                 "update users set city = 'Ulm'")
        daemon.await_row("users", 7, city="Ulm", mail="u7@example.org", balance=7)
        self.sql("alter table users drop column city")
        wait_for(lambda: "city" not in daemon.get("users", 7), "the column is gone")

    def test_missing_column_is_named(self):
        daemon = self.daemon(USERS.replace("key: [id]", "key: [id], columns: [id, mail]"))
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+: table users: .*mail")

    def test_password_in_the_uri_is_refused(self):
        daemon = self.daemon(user="root:hush")
        daemon.sources = daemon.sources.replace("localhost", "127.0.0.1")
        daemon.configure(USERS)
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+.* holds a password")
        self.assertNotIn("hush", daemon.log())


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
