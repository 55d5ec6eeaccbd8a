# SPDX-License-Identifier: Apache-2.0
"""sqlite_daemon.py - a daemon in front of an SQLite file of its own."""
import os
import sqlite3

from daemon_kit import Daemon


class SqliteDaemon(Daemon):
    """The source is called app; the file lies in the daemon's directory."""

    def __init__(self, tables, **options):
        super().__init__(tables, "", **options)
        self.database = os.path.join(self.directory, "app.db")
        self.sources = f"  - {{name: app, type: sqlite, path: {self.database}}}"
        self.configure(tables)

    def execute(self, *statements):
        """In one transaction."""
        connection = sqlite3.connect(self.database, timeout=20)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
