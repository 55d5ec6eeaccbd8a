#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_mariadb.py - Goal: the daemon follows a real MariaDB server through what happens to
one: restarts, hangs, wrong passwords, columns that change. Method: one server for all tests, a
database for each; the daemon is seen from outside, as in test_daemon.py.
"""
import os
import subprocess
import sys
import tempfile
import unittest

import database_tests
from database_tests import USERS
from mariadb_server import Server


def make_certificate(directory, name):
    """(certificate, key) of a server that signs itself."""
    cert, key = (os.path.join(directory, name + end) for end in (".pem", ".key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


class MariadbTest(database_tests.DatabaseTests):
    server_class = Server
    kind = "mariadb"
    alias = "mysql"
    sleep = "sleep(60)"
    retype = ("alter table users modify balance bigint, change email mail varchar(99)",)
    wrong_password = "Access denied"

    @classmethod
    def make_server(cls):
        cls.certificates = tempfile.TemporaryDirectory(  # pylint: disable=consider-using-with
            prefix="sidepond-tls.")
        cls.addClassCleanup(cls.certificates.cleanup)
        os.chmod(cls.certificates.name, 0o755)
        cert, key = make_certificate(cls.certificates.name, "127.0.0.1")
        make_certificate(cls.certificates.name, "other")
        os.chmod(key, 0o644)  # the server runs as another user
        return Server(settings={"ssl-cert": cert, "ssl-key": key})

    def fill(self):
        self.server.sql(f"create database {self.name}", database="")
        self.slow_running = self.slow_left = (
            "select count(*) from information_schema.processlist where info like '%slow%' "
            f"and db = '{self.name}' and id <> connection_id()")
        self.sql("create table users (id integer primary key, email varchar(99) not null, "
                 "balance decimal(10,2), updated timestamp(6) not null default current_timestamp(6)"
                 " on update current_timestamp(6))",
                 "insert into users (id, email, balance) select seq, concat('u', seq, "
                 "'@example.org'), seq from seq_1_to_100")

    def address(self, user, kind):
        return self.server.uri(self.name, user or "root", user is not None, kind)

    def sql(self, *statements):
        return self.server.sql(*statements, database=self.name)

    def number(self, query):
        return int(self.sql(query)[0][0])

    def make_reader(self):
        self.sql("create or replace user reader identified by 'right-secret'",
                 f"grant select on {self.name}.* to reader")

    def test_tls(self):
        """Only what comes from the right server is taken, and nothing goes to another."""
        self.sql("create or replace user safe require ssl", f"grant select on {self.name}.* to safe")

        def start(parameters, ready):
            daemon = self.daemon()
            uri = f"mariadb://safe@127.0.0.1:{self.server.port}/{self.name}?{parameters}"
            daemon.sources = daemon.sources.replace(self.server.uri(self.name), uri)
            daemon.configure(USERS)
            return daemon.start(ready)

        good = os.path.join(self.certificates.name, "127.0.0.1.pem")
        other = os.path.join(self.certificates.name, "other.pem")
        for parameters in (f"ssl-ca={good}", "ssl=1", f"ssl-ca={good}&ssl-verify-server-cert=0"):
            self.assertEqual(start(parameters, True).rows("users"), 100)
        for parameters, error in ((f"ssl-ca={other}", "certificate"), ("", "Access denied"),
                                  (f"ssl-ca={other}&ssl-verify-server-cert=0", "certificate")):
            daemon = start(parameters, False)
            daemon.await_state("users", "failing")
            self.assertIn(error, daemon.table("users")["error"])

    def test_password_in_the_uri_is_refused(self):
        daemon = self.daemon(user="root:hush")
        daemon.sources = daemon.sources.replace("localhost", "127.0.0.1")
        daemon.configure(USERS)
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+.* holds a password")
        self.assertNotIn("hush", daemon.log())


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
