# SPDX-License-Identifier: Apache-2.0
"""feed_databases.py - the databases of feed_faults.py: how each is started, written, made to fail.

A database has:

    start(), remove()          once for all runs
    source()                   its entry in the configuration, under the name "shop"
    TABLES, KEY, MORE, GROUP   what the daemon follows, its key, what else is configured, and the
                               table that speaks for all
    WRITERS                    how many sessions write at once
    fresh(seed)                empty tables
    session()                  a connection: run(transaction) -> whether it was not lost
    goal()                     (number, digest) of the last committed state
    watch()                    what feed_watch is told to look at
    judge                      who judges what feed_watch prints; None: feed_watch does
    FAULTS                     {name: function(database, writers)}: what it can suffer while the
                               daemon runs
    LOST                       the same for while it does not

A transaction is drawn by feed_faults.py, and said by each database in its own way:

    Transaction(changes, ending)       ending: COMMIT, ROLLBACK, or ALONE (a change of columns)
    ("put", table, key, n, text, big)  a row is inserted, or its n and text become these
    ("move", table, key, other)        it gets another key, if no row has that
    ("count", table, first, last)      n + 1 in the rows of these keys
    ("text", table, key, text), ("big", table, key, letters), ("delete", table, key)
    ("many", table, first, count), ("clear", table, first)     rows from a key on
    ("empty", table)                   no row is left
    ("undo", table)                    the same, and back to a savepoint
    ("widen", table), ("narrow", table)    a column more or less
"""
import collections
import importlib

COMMIT, ROLLBACK, ALONE = "COMMIT", "ROLLBACK", "ALONE"

Transaction = collections.namedtuple("Transaction", ("changes", "ending"))


SOURCES = {
    "mariadb": ("feed_mariadb", "Mariadb"),
    "mongodb": ("feed_mongodb", "Mongodb"),
    "mongodb_images": ("feed_mongodb_set", "MongodbImages"),
    "mongodb_set": ("feed_mongodb_set", "MongodbSet"),
    "mongodb_where": ("feed_mongodb_set", "MongodbWhere"),
    "postgresql": ("feed_postgresql", "Postgresql"),
}


def named(name):
    """The class of a database. Only what it needs is imported."""
    module, found = SOURCES[name]
    return getattr(importlib.import_module(module), found)
