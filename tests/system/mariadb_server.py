#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mariadb_server.py - a throw-away MariaDB server for tests and benchmarks.

The server lives in one temporary directory, listens on a Unix socket there and on a free loopback
port, and is ended by its pid. The user root has no password; grants are in force. It does not sync
to disk, but what is committed survives crash(), since the page cache does. MariaDB refuses to run
as root: then it runs as the user "mysql", or "nobody" where there is no such user.

In Python:

    import mariadb_server
    with mariadb_server.Server() as db:     # makes the directory, starts; ends with this process
        db.sql("create table t (id int)")   # as root, in the database "shop"; raises on an error
        db.uri()                            # "mariadb://root@localhost/shop?socket=/tmp/..."
        db.uri("other", user="reader", tcp=True)  # the same over 127.0.0.1
        db.stop(); db.start()               # clean
        db.crash()                          # SIGKILL
        db.restart()
        db.pause(); db.resume()             # SIGSTOP, SIGCONT: a server that hangs
        db.pid, db.port, db.directory, db.log()

    mariadb_server.Server(settings={"log-bin": "binlog", "binlog-format": "ROW"})

From a shell or a C test, where the directory holds the state:

    mariadb_server.py start DIR       makes DIR and the data if there is none; prints the URI
    mariadb_server.py stop|crash|restart|pause|resume DIR
    mariadb_server.py uri|pid|port|log DIR
    mariadb_server.py remove DIR      stops it and removes DIR
    mariadb_server.py run COMMAND...  starts a server, runs COMMAND with SIDEPOND_MARIADB_URI,
                                      SIDEPOND_MARIADB_DIR and SIDEPOND_MARIADB_SERVER (this script)
                                      set, and ends as it ends

Exit status 77 (skipped) of `run` and of Server.available() users: MariaDB is not installed.
"""
import json
import os
import socket
import sys

import mariadb_client
from database_server import DatabaseServer, alive

SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": None,
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "64M",
    "innodb-flush-method": "fsync",
    "innodb-fast-shutdown": "1",
    "sync-binlog": "0",
    "max-connections": "60",
    "performance-schema": "OFF",
    "character-set-server": "utf8mb4",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "server-id": "1",
}
PROGRAM = "/usr/sbin/mariadbd"
# What mariadb-install-db would run, without the help texts.
SHARE = "/usr/share/mysql"
SYSTEM_SQL = ("mysql_system_tables.sql", "mysql_performance_tables.sql",
              "mysql_system_tables_data.sql")


class Server(DatabaseServer):
    """One server."""

    title = "MariaDB"
    accounts = ("mysql", "nobody")
    death_signal = "KILL"
    variables = "SIDEPOND_MARIADB"
    address_variable = "SIDEPOND_MARIADB_URI"

    def __init__(self, directory=None, settings=None, database="shop", end_with_parent=True):
        super().__init__(directory, "sidepond-mdb.", settings, database, end_with_parent)

    @staticmethod
    def available():
        return os.path.exists(PROGRAM) and os.path.isdir(SHARE)

    # --- state ---

    @property
    def pid(self):
        try:
            pid = int(self._read("pid"))
        except (OSError, ValueError):
            return None
        return pid if alive(pid) else None

    @property
    def socket(self):
        return os.path.join(self.directory, "s")

    def uri(self, database=None, user="root", tcp=False, scheme="mariadb"):
        database = self.database if database is None else database
        if tcp:
            return f"{scheme}://{user}@127.0.0.1:{self.port}/{database}"
        return f"{scheme}://{user}@localhost/{database}?socket={self.socket}"

    def address(self):
        return self.uri()

    # --- making and starting it ---

    def _is_made(self):
        return os.path.exists(os.path.join(self.data, "mysql"))

    def _make(self):
        self._make_directories(self.directory, self.data)
        script = "create database mysql;\nuse mysql;\n"
        for name in SYSTEM_SQL:
            with open(os.path.join(SHARE, name), encoding="utf-8") as file:
                script += file.read()
        self._run_maker([PROGRAM, "--no-defaults", "--bootstrap", f"--datadir={self.data}",
                         f"--lc-messages-dir={SHARE}", "--innodb-flush-log-at-trx-commit=0",
                         "--innodb-log-file-size=64M", "--innodb-buffer-pool-size=64M",
                         "--enforce-storage-engine=", "--log-warnings=0"], script)

    def _create_database(self):
        self.sql(f"create database `{self.database}`", database="")

    def _kept_settings(self):
        """Those of the first start hold for the later ones, whoever starts it."""
        if not os.path.exists(os.path.join(self.directory, "settings")):
            self._write("settings", json.dumps(self.settings))
        return json.loads(self._read("settings"))

    def _command(self):
        settings = {**SETTINGS, **self._kept_settings(), "port": self.port, "socket": self.socket,
                    "datadir": self.data, "pid-file": os.path.join(self.data, "pid"),
                    "tmpdir": self.data, "lc-messages-dir": SHARE}
        command = [PROGRAM, "--no-defaults"]
        for name, value in settings.items():
            command.append(f"--{name}" if value is None else f"--{name}={value}")
        return command

    def _clear(self):
        for name in (self.socket, self.socket + ".lock"):
            if os.path.exists(name):
                os.unlink(name)

    def _is_ready(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
            except OSError:
                return False
            return probe.recv(4) != b""

    # --- using it ---

    def connect(self, database=None):
        return mariadb_client.Connection(self.socket,
                                         self.database if database is None else database)

    def sql(self, *statements, database=None):
        """Runs statements as root; returns the rows of the last one as lists of text or None."""
        rows = []
        with self.connect(database) as connection:
            for statement in statements:
                rows = connection.query(statement)
        return rows

    def verbs(self):
        return {**super().verbs(), "uri": self.uri}


if __name__ == "__main__":
    sys.exit(Server.main(__file__, __doc__, sys.argv[1:]))
