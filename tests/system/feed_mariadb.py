# SPDX-License-Identifier: Apache-2.0
"""feed_mariadb.py - MariaDB for feed_faults.py (see feed_databases.py)."""
import mariadb_client
import mariadb_server
from feed_sql import SqlDatabase, letters, quoted

DIGEST = (
    "SELECT coalesce(sum(conv(left(md5(concat(t, ':', id, ':', coalesce(n, '-'), ':',"
    " coalesce(s, '-'), ':', coalesce(big, '-'))), 8), 16, 10)), 0)"
    " FROM (SELECT 'a' AS t, id, n, s, big FROM account UNION ALL"
    " SELECT 'e', id, n, s, big FROM entry) q")


class MariadbSession:
    """A transaction is ended by the first statement that fails; DDL stands alone."""

    def __init__(self, database):
        self.database, self.connection = database, None

    def run(self, transaction):
        try:
            if self.connection is None:
                self.connection = self.database.server.connect()
            for statement in self.database.sql(transaction).split(";"):
                if statement.strip():
                    self.connection.query(statement)
            return True
        except mariadb_client.Error as error:
            if error.number < 2000:  # of the statement, not of the connection
                try:
                    self.connection.query("ROLLBACK")
                    return True
                except mariadb_client.Error:
                    pass
        self.close()
        return False

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Mariadb(SqlDatabase):
    SEAL = f"UPDATE ledger SET txn = txn + 1, digest = ({DIGEST}) WHERE id = 1;"

    def __init__(self):
        self.server = mariadb_server.Server(settings={"innodb-lock-wait-timeout": "5"})

    @staticmethod
    def available():
        return mariadb_server.Server.available()

    def source(self):
        return (f'  - {{name: shop, type: mariadb, dsn: "{self.server.uri()}", connect_timeout: 2s}}')

    def fresh(self, _seed):
        self.server.start()
        self.server.sql(
            "SET GLOBAL binlog_row_image = 'FULL'",
            "DROP TABLE IF EXISTS account, entry, ledger",
            "CREATE TABLE account (id int PRIMARY KEY, n int, s text, big text)",
            "CREATE TABLE entry LIKE account",
            "CREATE TABLE ledger (id int PRIMARY KEY, txn bigint NOT NULL, digest bigint NOT NULL)",
            "INSERT INTO account SELECT seq, seq, concat('s', seq), repeat('b', 3000)"
            " FROM seq_1_to_50",
            f"INSERT INTO ledger SELECT 1, 0, ({DIGEST})")

    def session(self):
        return MariadbSession(self)

    def goal(self):
        number, digest = self.server.sql("SELECT txn, digest FROM ledger")[0]
        return int(number), int(digest)

    # --- changes ---

    @staticmethod
    def put(table, key, number, text, big):
        return (f"INSERT INTO {table} (id, n, s, big) VALUES ({key}, {number}, {quoted(text)},"
                f" {letters('y', big)})"
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

    FAULTS = {**SqlDatabase.FAULTS, "cut": cut, "cut_all": cut_all, "image": image,
              "rotate": rotate, "statement": statement}
    LOST = {"lose": lose}
