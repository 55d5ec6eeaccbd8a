# SPDX-License-Identifier: Apache-2.0
"""feed_postgresql.py - PostgreSQL for feed_faults.py (see feed_databases.py)."""
import subprocess

import pg_server
from daemon_kit import wait_for
from feed_sql import SqlDatabase, letters, quoted

DIGEST = ("SELECT coalesce(sum(('x' || substr(md5(t || ':' || id || ':' || coalesce(n::text, '-') ||"
          " ':' || coalesce(s, '-') || ':' || coalesce(big, '-')), 1, 8))::bit(32)::bigint), 0)"
          " FROM (SELECT 'a' AS t, id, n, s, big FROM account UNION ALL"
          " SELECT 'e', id, n, s, big FROM entry) q")


class PostgresqlSession:
    """psql on a pipe: what it can do without a driver for Python."""

    def __init__(self, database):
        self.database, self.process = database, None

    def _connect(self):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [pg_server.client("psql"), "-X", "-q", "-A", "-t", "-d",
             self.database.server.dsn()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(self, transaction):
        if self.process is None:
            self._connect()
        try:
            self.process.stdin.write(self.database.sql(transaction) + "\n\\echo .\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                if line == ".\n":
                    return True
        except BrokenPipeError:
            pass
        self.close()
        return False

    def close(self):
        if self.process is not None:
            self.process.kill()
            try:
                self.process.communicate()
            except BrokenPipeError:
                pass
        self.process = None


class Postgresql(SqlDatabase):
    SEAL = f"UPDATE ledger SET txn = txn + 1, digest = ({DIGEST}) WHERE id = 1;"

    def __init__(self):
        self.server = pg_server.Server(settings={
            "wal_level": "logical", "wal_sender_timeout": "5s", "max_replication_slots": 20})

    @staticmethod
    def available():
        return pg_server.Server.available()

    def source(self):
        return f'  - {{name: shop, type: postgresql, dsn: "{self.server.dsn()}", connect_timeout: 2s}}'

    def fresh(self, _seed):
        self.server.start()
        for table in "account", "entry", "ledger":
            self.server.psql(f"DROP TABLE IF EXISTS {table}")
        self.server.psql(
            "DROP PUBLICATION IF EXISTS sidepond;"
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE active_pid IS NULL;"
            "CREATE TABLE account (id int PRIMARY KEY, n int, s text, big text);"
            "ALTER TABLE account ALTER big SET STORAGE EXTERNAL;"
            "CREATE TABLE entry (LIKE account INCLUDING ALL);"
            "CREATE TABLE ledger (id int PRIMARY KEY, txn bigint NOT NULL, digest bigint NOT NULL);"
            "INSERT INTO account SELECT i, i, 's' || i, repeat('b', 3000)"
            " FROM generate_series(1, 50) i;"
            "CREATE PUBLICATION sidepond FOR TABLE account, entry, ledger;"
            f"INSERT INTO ledger SELECT 1, 0, ({DIGEST});")

    def session(self):
        return PostgresqlSession(self)

    def goal(self):
        number, digest = self.server.psql("SELECT txn, digest FROM ledger").split("|")
        return int(number), int(digest)

    # --- changes ---

    @staticmethod
    def put(table, key, number, text, big):
        return (f"INSERT INTO {table} (id, n, s, big) VALUES ({key}, {number}, {quoted(text)},"
                f" {letters('y', big)})"
                " ON CONFLICT (id) DO UPDATE SET n = excluded.n, s = excluded.s;")

    @staticmethod
    def move(table, key, other):
        return (f"UPDATE {table} SET id = {other} WHERE id = {key} AND NOT EXISTS"
                f" (SELECT FROM {table} WHERE id = {other});")

    @staticmethod
    def many(table, start, count):
        return (f"INSERT INTO {table} (id, n, s, big) SELECT i, 0, NULL, repeat('m', 4000)"
                f" FROM generate_series({start}, {start + count}) i;")

    @staticmethod
    def empty(table):
        return f"TRUNCATE {table};"

    # --- faults ---

    def cut(self, writers):
        """The stream's connection is lost."""
        self.server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        del writers

    def cut_all(self, writers):
        self.server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                         " WHERE application_name LIKE 'sidepond/%'")
        del writers

    def unpublish(self, writers):
        """The feed is not possible for a while: then all rows are read as in any other mode."""
        self.server.psql("DROP PUBLICATION sidepond")
        writers.await_more(3)
        self.server.psql("CREATE PUBLICATION sidepond FOR TABLE account, entry, ledger")

    def lose(self, writers):
        """What was kept for the daemon is gone."""
        def dropped():
            return self.server.psql(
                "SELECT count(*) FROM pg_replication_slots WHERE active_pid IS NOT NULL") == "0"
        wait_for(dropped, "the server lets go of the slot")
        self.server.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        del writers

    FAULTS = {**SqlDatabase.FAULTS, "cut": cut, "cut_all": cut_all, "unpublish": unpublish}
    LOST = {"lose": lose}
