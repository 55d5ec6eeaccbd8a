#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_mongodb.py - Goal: collections of a MongoDB server are tables of the pond, found by
keys and fields of any type, and follow what happens to it. Method: mongo-java-server and FerretDB,
one of each for all tests and a database for each test; the daemon is seen from outside, as in
test_daemon.py.
"""
import datetime
import unittest

import bson

from daemon_kit import Daemon
from mongo_server import Ferret, Java

SERVERS = []


def setUpModule():
    for kind in (Java, Ferret):
        SERVERS.append(kind().start())


def tearDownModule():
    for server in SERVERS:
        server.remove()


class MongodbTest(unittest.TestCase):
    count = 0

    def setUp(self):
        for server in SERVERS:
            if server.process.poll() is not None:
                server.start()

    def both(self):
        """Each server and an empty database in it."""
        for server in SERVERS:
            MongodbTest.count += 1
            self.name = f"shop{self.count}"
            with self.subTest(server=server.name):
                yield server, server.client()[self.name]

    def daemon(self, server, tables, **options):
        daemon = Daemon(tables, f'  - {{name: shop, type: mongodb, dsn: "{server.uri(self.name)}", '
                                "connect_timeout: 2s}", **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    def test_follows(self):
        for server, database in self.both():
            users = database.users
            users.insert_many({"_id": i, "name": f"u{i}", "address": {"city": f"c{i % 3}"}}
                              for i in range(100))
            daemon = self.daemon(
                server, "  - {name: users, source: shop, key: [_id], refresh: {every: 20ms}, "
                "indexes: [{name: city, columns: [address.city]}, {name: name, columns: [name]}]}"
            ).start()
            row = daemon.get("users", 7)
            self.assertEqual(row["document"],
                             {"_id": 7, "name": "u7", "address": {"city": "c1"}})
            self.assertEqual(row["address.city"], "c1")
            users.update_one({"_id": 7}, {"$set": {"name": "new"}})
            users.delete_one({"_id": 8})
            users.insert_one({"_id": "text", "name": None})
            daemon.await_row("users", 7, name="new")
            daemon.await_gone("users", 8)
            daemon.await_row("users", "text", document={"_id": "text", "name": None})
            self.assertLess(daemon.stop(), 5)

    def test_selection(self):
        for server, database in self.both():
            database.users.insert_many({"_id": i, "on": i % 2 == 0, "a": {"b": i, "c": i}}
                                       for i in range(10))
            daemon = self.daemon(
                server,
                "  - {name: users, source: shop, key: [_id], columns: [_id, a.b], "
                "where: '{\"on\": true}'}\n"
                "  - {name: sums, source: shop, key: [_id], relation: users, query: "
                "'[{\"$group\": {\"_id\": \"$on\", \"sum\": {\"$sum\": \"$a.b\"}}}]'}").start()
            self.assertEqual(daemon.rows("users"), 5)
            self.assertEqual(daemon.get("users", 4)["document"], {"_id": 4, "a": {"b": 4}})
            self.assertEqual(daemon.get("sums", "true")["document"], {"_id": True, "sum": 20})

    def test_incremental(self):
        for server, database in self.both():
            now = datetime.datetime.now(datetime.timezone.utc)
            database.users.insert_many({"_id": i, "at": now} for i in range(10))
            daemon = self.daemon(
                server, "  - {name: users, source: shop, key: [_id], refresh: {mode: incremental, "
                "every: 20ms, watermark: at, overlap: 5s}}").start()
            database.users.update_one({"_id": 3}, {"$set": {
                "name": "new", "at": now - datetime.timedelta(seconds=4)}})
            daemon.await_row("users", 3, name=None)
            full = 'sidepond_refreshes_total{table="users",kind="full"}'
            self.assertEqual(daemon.metric(full), 1)

    def test_object_ids(self):
        """`_id` as key and watermark."""
        for server, database in self.both():
            first = database.users.insert_one({"n": 1}).inserted_id
            daemon = self.daemon(
                server, "  - {name: users, source: shop, key: [_id], refresh: {mode: incremental, "
                "every: 20ms, watermark: _id, overlap: 2s}}").start()
            self.assertEqual(daemon.get("users", f'{{"$oid": "{first}"}}')["document"]["n"], 1)
            second = bson.ObjectId()
            database.users.insert_one({"_id": second, "n": 2})
            daemon.await_row("users", f'{{"$oid": "{second}"}}',
                             document={"_id": {"$oid": str(second)}, "n": 2})

    def test_bad_rows(self):
        for server, database in self.both():
            database.users.insert_many([{"_id": 1, "k": 1}, {"_id": 2}, {"_id": 3, "k": [1, 2]},
                                        {"_id": 4, "k": "x" * 2000}])
            daemon = self.daemon(server, "  - {name: users, source: shop, key: [k], max_row: 1KiB}").start()
            daemon.await_state("users", "fresh")
            self.assertEqual(daemon.rows("users"), 1)
            daemon.await_log("is missing")

    def test_wrong(self):
        for server, database in self.both():
            database.users.insert_one({"_id": 1})
            daemon = self.daemon(server, "  - {name: user, source: shop, key: [_id]}")
            self.assertEqual(daemon.run(), 78)
            daemon.await_log(f"collection user does not exist in database {self.name}; "
                             "there are: users")

    def test_server_away(self):
        server = SERVERS[1]  # which remembers
        self.name = "away"
        users = server.client()["away"].users
        users.insert_one({"_id": 1, "n": 1})
        daemon = self.daemon(server, "  - {name: users, source: shop, key: [_id], "
                                     "refresh: {every: 20ms}}").start()
        server.kill()
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.get("users", 1)["document"], {"_id": 1, "n": 1})
        server.start()
        server.client()["away"].users.update_one({"_id": 1}, {"$set": {"n": 2}})
        daemon.await_row("users", 1, document={"_id": 1, "n": 2})
        server.pause()
        try:
            self.assertLess(daemon.stop(), 5)
        finally:
            server.resume()


if __name__ == "__main__":
    unittest.main()
