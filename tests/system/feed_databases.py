# SPDX-License-Identifier: Apache-2.0
"""feed_databases.py - the databases of feed_faults.py: how each is started, written and made to fail.

A database has:

    start(), remove()          once for all runs
    source()                   its entry in the configuration, under the name "shop"
    fresh()                    empty tables account, entry, ledger
    session()                  a connection: run(sql) -> what it printed, or None if it was lost
    BEGIN, SEAL                how a transaction begins (alone), and the statement that ends one: the
                               ledger gets its number, and the digest that feed_watch.c computes
    put, move, widen, narrow,
    empty, many                SQL of what each has its own way to say
    ledger()                   (number, digest) as committed
    FAULTS                     {name: function(database, writers)}: what it can suffer while the daemon runs
    LOST                       the same for while it does not
"""
import subprocess
import threading
import time

import mariadb_client
import mariadb_server
import pg_server
from daemon_kit import wait_for

DIGEST = ("SELECT coalesce(sum(('x' || substr(md5(t || ':' || id || ':' || coalesce(n::text, '-') ||"
          " ':' || coalesce(s, '-') || ':' || coalesce(big, '-')), 1, 8))::bit(32)::bigint), 0)"
          " FROM (SELECT 'a' AS t, id, n, s, big FROM account UNION ALL"
          " SELECT 'e', id, n, s, big FROM entry) q")


class Database:
    """What PostgreSQL and MariaDB have in common. `server` is that of pg_server or mariadb_server."""

    BEGIN = "BEGIN; SELECT txn FROM ledger WHERE id = 1 FOR UPDATE;"

    def start(self):
        self.server.start()

    def remove(self):
        self.server.remove()

    @staticmethod
    def widen(table):
        return f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS extra int DEFAULT 5;"

    @staticmethod
    def narrow(table):
        return f"ALTER TABLE {table} DROP COLUMN IF EXISTS extra;"

    def crash(self, writers):
        self.server.crash()
        writers.pause()
        self.server.start()

    def restart(self, writers):
        self.server.restart()
        del writers

    def hang(self, writers):
        self.server.pause()
        time.sleep(0.3)  # what a hang is
        self.server.resume()
        del writers

    FAULTS = {"crash": crash, "restart": restart, "hang": hang}


class PostgresqlSession:
    """psql on a pipe: what it can do without a driver for Python."""

    def __init__(self, dsn):
        self.dsn, self.process = dsn, None

    def _connect(self):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [pg_server.client("psql"), "-X", "-q", "-A", "-t", "-d", self.dsn],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(self, sql):
        if self.process is None:
            self._connect()
        try:
            self.process.stdin.write(sql + "\n\\echo .\n")
            self.process.stdin.flush()
            lines = []
            for line in self.process.stdout:
                if line == ".\n":
                    return "".join(lines).strip()
                lines.append(line)
        except BrokenPipeError:
            pass
        self.close()
        return None

    def close(self):
        if self.process is not None:
            self.process.kill()
            try:
                self.process.communicate()
            except BrokenPipeError:
                pass
        self.process = None


class Postgresql(Database):
    name = "postgresql"
    SEAL = f"UPDATE ledger SET txn = txn + 1, digest = ({DIGEST}) WHERE id = 1;"

    def __init__(self):
        self.server = pg_server.Server(settings={
            "wal_level": "logical", "wal_sender_timeout": "5s", "max_replication_slots": 20})
        self.lock = threading.Lock()

    @staticmethod
    def available():
        return pg_server.Server.available()

    def source(self):
        return f'  - {{name: shop, type: postgresql, dsn: "{self.server.dsn()}", connect_timeout: 2s}}'

    def fresh(self):
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
        return PostgresqlSession(self.server.dsn())

    def ledger(self):
        number, digest = self.server.psql("SELECT txn, digest FROM ledger").split("|")
        return int(number), int(digest)

    # --- SQL ---

    @staticmethod
    def put(table, key, number, text, big):
        return (f"INSERT INTO {table} (id, n, s, big) VALUES ({key}, {number}, {text}, {big})"
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

    FAULTS = {**Database.FAULTS, "cut": cut, "cut_all": cut_all, "unpublish": unpublish}
    LOST = {"lose": lose}


MARIADB_DIGEST = (
    "SELECT coalesce(sum(conv(left(md5(concat(t, ':', id, ':', coalesce(n, '-'), ':',"
    " coalesce(s, '-'), ':', coalesce(big, '-'))), 8), 16, 10)), 0)"
    " FROM (SELECT 'a' AS t, id, n, s, big FROM account UNION ALL"
    " SELECT 'e', id, n, s, big FROM entry) q")


class MariadbSession:
    """A transaction is ended by the first statement that fails; DDL stands alone."""

    def __init__(self, server):
        self.server, self.connection = server, None

    def run(self, sql):
        try:
            if self.connection is None:
                self.connection = self.server.connect()
            for statement in sql.split(";"):
                if statement.strip():
                    self.connection.query(statement)
            return ""
        except mariadb_client.Error as error:
            if error.number < 2000:  # of the statement, not of the connection
                try:
                    self.connection.query("ROLLBACK")
                    return ""
                except mariadb_client.Error:
                    pass
        self.close()
        return None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Mariadb(Database):
    name = "mariadb"
    SEAL = f"UPDATE ledger SET txn = txn + 1, digest = ({MARIADB_DIGEST}) WHERE id = 1;"

    def __init__(self):
        self.server = mariadb_server.Server(settings={"innodb-lock-wait-timeout": "5"})

    @staticmethod
    def available():
        return mariadb_server.Server.available()

    def source(self):
        return (f'  - {{name: shop, type: mariadb, dsn: "{self.server.uri()}", connect_timeout: 2s}}')

    def fresh(self):
        self.server.start()
        self.server.sql(
            "SET GLOBAL binlog_row_image = 'FULL'",
            "DROP TABLE IF EXISTS account, entry, ledger",
            "CREATE TABLE account (id int PRIMARY KEY, n int, s text, big text)",
            "CREATE TABLE entry LIKE account",
            "CREATE TABLE ledger (id int PRIMARY KEY, txn bigint NOT NULL, digest bigint NOT NULL)",
            "INSERT INTO account SELECT seq, seq, concat('s', seq), repeat('b', 3000)"
            " FROM seq_1_to_50",
            f"INSERT INTO ledger SELECT 1, 0, ({MARIADB_DIGEST})")

    def session(self):
        return MariadbSession(self.server)

    def ledger(self):
        number, digest = self.server.sql("SELECT txn, digest FROM ledger")[0]
        return int(number), int(digest)

    # --- SQL ---

    @staticmethod
    def put(table, key, number, text, big):
        return (f"INSERT INTO {table} (id, n, s, big) VALUES ({key}, {number}, {text}, {big})"
                " ON DUPLICATE KEY UPDATE n = VALUES(n), s = VALUES(s);")

    @staticmethod
    def move(table, key, other):
        return f"UPDATE IGNORE {table} SET id = {other} WHERE id = {key};"

    @staticmethod
    def many(table, start, count):
        return (f"INSERT INTO {table} (id, n, s, big) SELECT seq, 0, NULL, repeat('m', 4000)"
                f" FROM seq_{start}_to_{start + count};")

    @staticmethod
    def empty(table):
        """TRUNCATE would commit what came before it."""
        return f"DELETE FROM {table};"

    # --- faults ---

    def _kill(self, condition):
        with self.server.connect() as connection:
            for row in connection.query("SELECT id FROM information_schema.processlist WHERE "
                                        f"id <> CONNECTION_ID() AND {condition}"):
                try:
                    connection.query(f"KILL {row[0]}")
                except mariadb_client.Error:
                    pass  # it is gone by itself

    def cut(self, writers):
        """The stream's connection is lost."""
        self._kill("command = 'Binlog Dump'")
        del writers

    def cut_all(self, writers):
        self._kill("user = 'root'")
        del writers

    def image(self, writers):
        """The feed is not possible for a while: then all rows are read as in any other mode."""
        self.server.sql("SET GLOBAL binlog_row_image = 'MINIMAL'")
        self._kill("command <> 'Binlog Dump' AND user = 'root'")
        writers.await_more(3)
        self.server.sql("SET GLOBAL binlog_row_image = 'FULL'")
        self._kill("command <> 'Binlog Dump' AND user = 'root'")

    def rotate(self, writers):
        self.server.sql("FLUSH BINARY LOGS")
        del writers

    def statement(self, writers):
        """A change that is logged as a statement."""
        with self.server.connect() as connection:
            connection.query("SET binlog_format = 'STATEMENT'")
            for part in (self.BEGIN + "UPDATE account SET n = 7 WHERE id < 9;" + self.SEAL).split(";"):
                if part.strip():
                    connection.query(part)
            connection.query("COMMIT")
        del writers

    def lose(self, writers):
        """What the daemon would read is gone, and all of it is called as before."""
        self.server.sql("RESET MASTER")
        del writers

    FAULTS = {**Database.FAULTS, "cut": cut, "cut_all": cut_all, "image": image,
              "rotate": rotate, "statement": statement}
    LOST = {"lose": lose}


DATABASES = {"mariadb": Mariadb, "postgresql": Postgresql}
