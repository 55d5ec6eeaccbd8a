#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_feed_mongodb.py - Goal: tables of mode feed follow a MongoDB server by its change streams, and
refresh where there are none. Method: mongo-java-server, which has them, and FerretDB, which has not;
the daemon is seen from outside, as in test_daemon.py. A writer makes random changes (the seed is
printed), and at quiet points the pond must hold what the collection does.
"""
import os
import random
import time
import unittest

from daemon_kit import Daemon, wait_for
from mongo_server import Ferret, Java

SERVERS = {}
SEED = int(os.environ.get("SIDEPOND_SEED", random.SystemRandom().randrange(2**32)))
LATE_SECONDS = 2  # a feed is far quicker, a refresh every 30 s far slower
FEED = "  - {name: users, source: shop, key: [_id], refresh: {mode: feed, every: 30s}%s}\n"


def setUpModule():
    print(f"seed {SEED}")
    for kind in (Java, Ferret):
        SERVERS[kind] = kind().start()


def tearDownModule():
    for server in SERVERS.values():
        server.remove()


class FeedTest(unittest.TestCase):
    count = 0

    def setUp(self):
        FeedTest.count += 1
        self.name = f"shop{self.count}"
        self.server = SERVERS[Java]
        self.database = self.server.client()[self.name]

    def daemon(self, tables=FEED % "", **options):
        dsn = self.server.uri(self.name)
        daemon = Daemon(tables, f'  - {{name: shop, type: mongodb, dsn: "{dsn}", '
                                "connect_timeout: 2s}", **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    def await_document(self, daemon, key, document):
        begun = time.monotonic()
        daemon.await_row("users", key, document=document)
        self.assertLess(time.monotonic() - begun, LATE_SECONDS)

    def await_same(self, daemon, table="users", collection=None):
        """All rows of the pond are the collection's documents."""
        def same():
            documents = {d["_id"]: d for d in (collection or self.database.users).find()}
            return daemon.rows(table) == len(documents) and all(
                (daemon.get(table, key) or {}).get("document") == document
                for key, document in documents.items())
        wait_for(same, "the pond holds what the collection does")

    def test_follows(self):
        users = self.database.users
        users.insert_many({"_id": i, "n": i} for i in range(20))
        daemon = self.daemon().start()
        full = 'sidepond_refreshes_total{table="users",kind="full"}'
        passes = daemon.metric(full)
        users.insert_one({"_id": "new", "n": 1})
        self.await_document(daemon, "new", {"_id": "new", "n": 1})
        users.update_one({"_id": 3}, {"$set": {"n": 33, "more": {"a": [1, 2]}}})
        self.await_document(daemon, 3, {"_id": 3, "n": 33, "more": {"a": [1, 2]}})
        users.replace_one({"_id": 4}, {"other": True})
        self.await_document(daemon, 4, {"_id": 4, "other": True})
        users.delete_one({"_id": 5})
        daemon.await_gone("users", 5)
        users.delete_many({"n": {"$gte": 10}})
        self.await_same(daemon)
        self.assertEqual(daemon.metric(full), passes)
        self.assertLess(daemon.stop(), 5)

    def test_filter_and_projection(self):
        """Documents come and go with the filter, and have only the fields asked for."""
        users = self.database.users
        users.insert_many({"_id": i, "on": True, "a": {"b": i, "c": i}} for i in range(5))
        daemon = self.daemon(FEED % ", columns: [_id, a.b], where: '{\"on\": true}'").start()
        users.update_one({"_id": 1}, {"$set": {"on": False}})
        daemon.await_gone("users", 1)
        users.update_one({"_id": 2}, {"$set": {"a.b": "new", "a.c": "other"}})
        self.await_document(daemon, 2, {"_id": 2, "a": {"b": "new"}})
        users.insert_one({"_id": 9, "on": False})
        users.update_one({"_id": 1}, {"$set": {"on": True}})
        self.await_document(daemon, 1, {"_id": 1, "a": {"b": 1}})
        self.assertEqual(daemon.rows("users"), 5)

    def test_projection(self):
        """Without a filter, what is kept of a document comes with its change."""
        users = self.database.users
        users.insert_one({"_id": 1, "a": {"b": 1, "c": 1}})
        daemon = self.daemon(FEED % ", columns: [_id, a.b]").start()
        users.update_one({"_id": 1}, {"$set": {"a.b": "new", "d": 2}})
        self.await_document(daemon, 1, {"_id": 1, "a": {"b": "new"}})
        users.replace_one({"_id": 1}, {"a": [{"b": 2, "c": 3}, 4]})
        self.await_document(daemon, 1, {"_id": 1, "a": [{"b": 2}]})

    def test_goes_on_where_it_was(self):
        """What happened while the daemon was dead is taken from the position that the pond holds."""
        users = self.database.users
        users.insert_many({"_id": i, "n": i} for i in range(20))
        daemon = self.daemon().start()
        users.update_one({"_id": 1}, {"$set": {"n": "first"}})
        self.await_document(daemon, 1, {"_id": 1, "n": "first"})
        daemon.kill()
        users.delete_one({"_id": 2})
        users.update_one({"_id": 3}, {"$set": {"n": "second"}})
        daemon.start()
        self.await_document(daemon, 3, {"_id": 3, "n": "second"})
        self.await_same(daemon)
        self.assertFalse(daemon.metric('sidepond_refreshes_total{table="users",kind="full"}'))

    def test_random_changes(self):
        rng = random.Random(SEED)
        users = self.database.users
        users.insert_many({"_id": i, "n": 0} for i in range(25))
        daemon = self.daemon().start()
        for burst in range(5):
            for _ in range(rng.randrange(1, 60)):
                key = rng.randrange(40)
                what = rng.random()
                if what < 0.4:
                    users.update_one({"_id": key}, {"$set": {"n": rng.random()}})
                elif what < 0.6:
                    users.replace_one({"_id": key}, {"r": rng.randrange(9)}, upsert=True)
                elif what < 0.8:
                    users.delete_one({"_id": key})
                else:
                    users.update_one({"_id": key}, {"$inc": {"k": 1}, "$unset": {"n": ""}},
                                     upsert=True)
            if burst == 2:
                daemon.kill()
                daemon.start()
            self.await_same(daemon)

    def test_dropped(self):
        self.database.users.insert_many({"_id": i} for i in range(5))
        daemon = self.daemon().start()
        self.database.users.drop()
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.rows("users"), 5)
        self.database.users.insert_many({"_id": i, "again": True} for i in range(5))
        daemon.await_row("users", 3, document={"_id": 3, "again": True})

    def test_two_collections(self):
        """This server has streams of single collections only, so a group of two refreshes."""
        self.database.users.insert_one({"_id": 1})
        self.database.items.insert_one({"_id": 1})
        table = ("  - {name: NAME, source: shop, key: [_id], group: g, "
                 "refresh: {mode: feed, every: 50ms}}\n")
        daemon = self.daemon(table.replace("NAME", "users") + table.replace("NAME", "items"))
        daemon.start()
        daemon.await_log("give each table a group of its own")
        self.database.items.insert_one({"_id": 2})
        daemon.await_row("items", 2, document={"_id": 2})

    def test_server_without(self):
        self.server = SERVERS[Ferret]
        users = self.server.client()[self.name].users
        users.insert_one({"_id": 1, "n": 1})
        daemon = self.daemon((FEED % "").replace("30s", "50ms")).start()
        users.update_one({"_id": 1}, {"$set": {"n": 2}})
        daemon.await_row("users", 1, document={"_id": 1, "n": 2})
        daemon.await_log("$changeStream")

    def test_other_key(self):
        self.database.users.insert_one({"_id": 1, "k": "a"})
        daemon = self.daemon((FEED % "").replace("_id", "k").replace("30s", "50ms")).start()
        daemon.await_log("the key has to be _id")
        self.database.users.update_one({"_id": 1}, {"$set": {"n": 2}})
        daemon.await_row("users", "a", document={"_id": 1, "k": "a", "n": 2})

    def test_one_name(self):
        """Two daemons by one name do not disturb each other: the server knows no names."""
        users = self.database.users
        users.insert_one({"_id": 1, "n": 0})
        first = self.daemon().start()
        second = self.daemon().start_by_name_of(first)
        for n in 1, 2, 3:
            users.update_one({"_id": 1}, {"$set": {"n": n}})
            for daemon in first, second:
                self.await_document(daemon, 1, {"_id": 1, "n": n})
        for daemon in first, second:
            self.assertEqual(daemon.table("users")["feed"]["state"], "following")
            self.assertEqual(daemon.log().count(" connecting anew"), 0)


if __name__ == "__main__":
    unittest.main()
