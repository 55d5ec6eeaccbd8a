# SPDX-License-Identifier: Apache-2.0
"""feed_sql.py - what the databases of feed_faults.py that speak SQL have in common (see
feed_databases.py). Each transaction ends by writing its number and the digest of all rows into the
ledger, so feed_watch.c judges a state by itself.
"""
import time

from feed_databases import ALONE


def quoted(text):
    return "NULL" if text is None else f"'{text}'"


def letters(letter, count):
    return "NULL" if count is None else f"repeat('{letter}', {count})"


class SqlDatabase:
    """`server` is that of pg_server or mariadb_server; SEAL writes the ledger."""

    TABLES = ("account", "entry", "ledger")
    GROUP = "ledger"
    KEY = "id"
    MORE = ""
    WRITERS = 2
    BEGIN = "BEGIN; SELECT txn FROM ledger WHERE id = 1 FOR UPDATE;"
    judge = None

    def start(self):
        self.server.start()

    def remove(self):
        self.server.remove()

    @staticmethod
    def watch():
        return []

    def sql(self, transaction):
        body = "".join(getattr(self, kind)(*what) for kind, *what in transaction.changes)
        if transaction.ending == ALONE:
            return body
        return f"{self.BEGIN} {body} {self.SEAL} {transaction.ending};"

    # --- changes ---

    @staticmethod
    def count(table, first, last):
        return f"UPDATE {table} SET n = n + 1 WHERE id BETWEEN {first} AND {last};"

    @staticmethod
    def text(table, key, text):
        return f"UPDATE {table} SET s = {quoted(text)} WHERE id = {key};"

    @staticmethod
    def big(table, key, size):
        return f"UPDATE {table} SET big = {letters('z', size)} WHERE id = {key};"

    @staticmethod
    def delete(table, key):
        return f"DELETE FROM {table} WHERE id = {key};"

    @staticmethod
    def clear(table, first):
        return f"DELETE FROM {table} WHERE id >= {first};"

    @staticmethod
    def undo(table):
        return f"SAVEPOINT a; DELETE FROM {table}; ROLLBACK TO SAVEPOINT a;"

    @staticmethod
    def widen(table):
        return f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS extra int DEFAULT 5;"

    @staticmethod
    def narrow(table):
        return f"ALTER TABLE {table} DROP COLUMN IF EXISTS extra;"

    # --- faults ---

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
