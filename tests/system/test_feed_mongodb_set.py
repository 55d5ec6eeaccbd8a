#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_feed_mongodb_set.py - Goal: of a replica set, a group of tables is read in one snapshot and
followed by one change stream, in whole transactions, from one position on and exactly once; and what
ends a stream is mended. Method: mongo_script.py is the replica set; the daemon is seen from outside.
The seed is printed.
"""
import json
import os
import random
import threading
import time
import unittest

from daemon_kit import Daemon, wait_for
from feed_databases import COMMIT, Transaction
from feed_mongodb_set import MongodbSet
from mongo_script import ReplicaSet

SEED = int(os.environ.get("SIDEPOND_SEED", random.SystemRandom().randrange(2**32)))
TABLE = ("  - {name: NAME, source: shop, key: [_id], group: g, "
         "refresh: {mode: feed, every: 30s}}\n")
BOTH = TABLE.replace("NAME", "users") + TABLE.replace("NAME", "stores")
FULL = 'sidepond_refreshes_total{table="users",kind="full"}'


def setUpModule():
    print(f"seed {SEED}")


class ReplicaSetTest(unittest.TestCase):
    def setUp(self):
        self.set = ReplicaSet(SEED)
        self.set.__enter__()
        self.addCleanup(self.set.__exit__, None, None, None)
        self.set.commit([("shop", "users", 1, {"n": 50}), ("shop", "stores", 1, {"n": 50})])

    def daemon(self, tables=BOTH, database="shop", options=""):
        dsn = self.set.uri(database, options)
        daemon = Daemon(tables, f'  - {{name: shop, type: mongodb, dsn: "{dsn}", '
                                "connect_timeout: 2s}")
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    def transfer(self, amount):
        user = self.set.collections[("shop", "users")][1]["n"]
        store = self.set.collections[("shop", "stores")][1]["n"]
        self.set.commit([("shop", "users", 1, {"n": user - amount}),
                         ("shop", "other", amount, {"ignored": True}),
                         ("shop", "stores", 1, {"n": store + amount})])

    def keep_images(self, *collections):
        self.set.images = {("shop", collection) for collection in collections}

    def pass_on(self):
        """What has happened, a majority has."""
        for _ in range(2):
            self.set.commit([("shop", "other", 1, {})])

    def document(self, daemon, table):
        return daemon.get(table, 1)["document"]

    def await_same(self, daemon):
        for table in ("users", "stores"):
            daemon.await_row(table, 1, document=self.set.collections[("shop", table)][1])

    def test_one_snapshot(self):
        daemon = self.daemon().start()
        self.await_same(daemon)
        concerns = self.set.reads[:2]
        self.assertEqual([c.get("level") for c in concerns], ["snapshot"] * 2)
        self.assertIn("atClusterTime", concerns[1])
        self.assertEqual(self.set.refused, [])

    def test_what_a_majority_does_not_have_yet(self):
        """A snapshot is older than the server's latest time; what lies between is followed."""
        self.transfer(1)
        self.set.commit([("shop", "users", 2, {"n": 2})])
        self.set.commit([("shop", "other", 1, {})])
        daemon = self.daemon().start()
        daemon.await_row("users", 2, document={"_id": 2, "n": 2})
        self.await_same(daemon)

    def test_whole_transactions(self):
        """Money moves between two tables; at every version of the pond the sum is the same. That
        takes images: else an update brings what is there when it is sent."""
        self.keep_images("users", "stores")
        stop = threading.Event()
        pause = [0.05]

        def move():
            amount = 0
            while not stop.wait(pause[0]):
                amount += 1
                self.transfer(amount)
        mover = threading.Thread(target=move)
        mover.start()
        try:
            daemon = self.daemon().start()
            versions = set()
            while len(versions) < 12:
                begun = time.monotonic()
                version = json.loads(daemon.tool("--json", "status").stdout)["version"]
                user, store = self.document(daemon, "users"), self.document(daemon, "stores")
                if version == json.loads(daemon.tool("--json", "status").stdout)["version"]:
                    versions.add(version)
                    self.assertEqual(user["n"] + store["n"], 100)
                else:  # a slow machine sees a version too if there are fewer
                    pause[0] = max(pause[0], time.monotonic() - begun)
        finally:
            stop.set()
            mover.join()
        self.await_same(daemon)
        self.assertEqual(daemon.metric(FULL), 1)
        self.assertEqual(self.set.refused, [])

    def test_lost_connection(self):
        daemon = self.daemon().start()
        for amount in range(5):
            self.transfer(amount)
            self.set.cut()
            self.transfer(amount)
            self.await_same(daemon)
        self.assertEqual(daemon.metric(FULL), 1)

    def test_killed_and_started_again(self):
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        daemon.kill()
        self.transfer(2)
        self.set.commit([("shop", "users", 2, {"n": 0})])
        daemon.start()
        self.await_same(daemon)
        daemon.await_row("users", 2, document={"_id": 2, "n": 0})
        self.assertFalse(daemon.metric(FULL))

    def test_position_lost(self):
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        daemon.kill()
        self.set.commit([("shop", "users", 2, {"n": 0})])
        for amount in range(3, 6):
            self.transfer(amount)
        self.set.forget()
        daemon.start()
        daemon.await_row("users", 2, document={"_id": 2, "n": 0})
        self.assertEqual(daemon.metric(FULL), 1)
        self.assertEqual(self.set.refused, [286])
        self.transfer(2)
        self.await_same(daemon)
        self.assertEqual(daemon.metric(FULL), 1)

    def test_deposed(self):
        """A primary that is none any more sends a stream in which nothing happens; elsewhere it may."""
        daemon = self.daemon().start()
        self.await_same(daemon)
        self.set.primary = False
        daemon.await_log("not the primary of its set any more")
        daemon.await_state("users", "failing")
        self.set.primary = True
        self.transfer(1)
        self.await_same(daemon)
        self.assertEqual(daemon.metric(FULL), 1)

    def test_position_of_another_product(self):
        """What the server does not understand of it is no reason to fail for ever."""
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        daemon.kill()
        self.set.strange = len(self.set.oplog)
        self.transfer(2)
        daemon.start()
        self.await_same(daemon)
        self.assertEqual((daemon.metric(FULL), self.set.refused), (1, [50811]))

    def test_idle(self):
        """While nothing happens to its tables the position moves on, so that it is not lost."""
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        begun = time.monotonic()
        while time.monotonic() < begun + 2.5:
            self.set.commit([("shop", "other", 1, {})])
            time.sleep(0.1)
        age = 'sidepond_feed_age_seconds{table="users"}'
        wait_for(lambda: daemon.metric(age) < 2, "the database says that nothing is missing")
        daemon.stop()
        self.set.first = len(self.set.oplog) - 15
        daemon.start()
        self.transfer(2)
        self.await_same(daemon)
        self.assertFalse(daemon.metric(FULL))

    def test_renamed(self):
        daemon = self.daemon().start()
        self.set.rename("shop", "users", "people")
        daemon.await_state("users", "failing")
        self.set.commit([("shop", "users", 1, {"n": "again"})])
        self.pass_on()
        daemon.await_row("users", 1, document={"_id": 1, "n": "again"})

    def test_others_renamed_and_dropped(self):
        """What happens to other collections and databases is no reason to read any table again."""
        self.set.commit([("shop", "other", 1, {}), ("else", "other", 1, {})])
        tables = (TABLE.replace("NAME", "users, relation: shop.users") +
                  TABLE.replace("NAME", "things, relation: stock.things"))
        self.set.commit([("stock", "things", 1, {"n": 1})])
        daemon = self.daemon(tables, database="").start()
        self.set.rename("shop", "other", "another")
        self.set.drop_database("else")
        self.transfer(1)
        daemon.await_row("users", 1, document={"_id": 1, "n": 49})
        self.assertEqual(daemon.metric(FULL), 1)
        self.set.drop_database("stock")
        daemon.await_state("things", "failing")

    def test_renamed_onto(self):
        self.set.commit([("shop", "people", 1, {"n": 1}), ("shop", "people", 7, {"n": 7})])
        daemon = self.daemon().start()
        self.set.rename("shop", "people", "users")
        self.pass_on()
        daemon.await_row("users", 7, document={"_id": 7, "n": 7})
        self.await_same(daemon)

    def test_renamed_before(self):
        """The stream begins with the last that the snapshot holds, which is no reason to read it
        again."""
        self.set.commit([("shop", "people", 1, {"n": 7})])
        self.set.rename("shop", "people", "users")
        self.pass_on()
        daemon = self.daemon().start()
        self.transfer(2)
        self.await_same(daemon)
        self.assertEqual(daemon.metric(FULL), 1)

    def test_another_collection(self):
        """One of the same name that was restored meanwhile: its rows are others."""
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        daemon.kill()
        self.set.restore("shop", "stores")
        daemon.start()
        wait_for(lambda: daemon.metric(FULL) == 1, "one full pass")
        self.await_same(daemon)

    def test_comparison(self):
        """Cursors of streams do not outlive the reading, the streams do."""
        self.set.impatient = True
        daemon = self.daemon(BOTH.replace("every: 30s", "every: 30s, full_every: 1s")).start()
        compared = 'sidepond_feed_comparisons_total{table="users"}'
        for amount in range(1, 4):
            self.transfer(amount)
            self.await_same(daemon)
            done = daemon.metric(compared) or 0
            wait_for(lambda: (daemon.metric(compared) or 0) > done, "a comparison")
        self.assertEqual(self.set.refused, [])

    def test_too_large(self):
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        with self.set.changed:
            self.transfer(2)
            self.set.too_large()
            self.pass_on()
        self.await_same(daemon)
        self.assertEqual(self.set.refused, [10334])
        self.assertEqual(daemon.metric(FULL), 2)
        self.transfer(3)
        self.await_same(daemon)

    def test_read_concern(self):
        daemon = self.daemon(options="&readConcernLevel=majority").start()
        self.transfer(1)
        self.await_same(daemon)
        self.assertEqual({c.get("level") for c in self.set.reads}, {"majority"})
        self.assertEqual(self.set.refused, [])

    def test_looks_up(self):
        """Documents that are asked for once more are those of the majority."""
        daemon = self.daemon(TABLE.replace("g, ", "g, where: '{}', ").replace("NAME", "users"))
        daemon.start()
        self.transfer(5)
        daemon.await_row("users", 1, document={"_id": 1, "n": 45})
        self.assertEqual({c.get("level") for c in self.set.look_ups}, {"majority"})
        self.await_inexact(daemon, "`where`")

    def await_inexact(self, daemon, text):
        """What the daemon says of it; None: that all states are exact."""
        def says():
            feed = daemon.table("users")["feed"]
            why = feed["inexact"]
            return feed["state"] == "following" and (why is None if text is None
                                                     else text in (why or ""))
        wait_for(says, f"the daemon says: {text}")

    def test_images_of_some(self):
        """One stream has one way to bring documents."""
        self.keep_images("users")
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        self.assertEqual(set(self.set.streams), {"updateLookup"})
        self.await_inexact(daemon, 'collMod: "stores"')
        daemon.await_log('collMod: "stores"')

    def test_images_switched_on(self):
        daemon = self.daemon(BOTH.replace("every: 30s", "every: 30s, full_every: 1s")).start()
        self.await_same(daemon)
        self.await_inexact(daemon, "collMod")
        self.keep_images("users", "stores")
        self.await_inexact(daemon, None)
        self.transfer(1)
        self.await_same(daemon)
        self.assertEqual(self.set.streams[-1], "whenAvailable")

    def test_images_switched_off(self):
        """The first document that is missing tells it, and is looked up."""
        self.keep_images("users", "stores")
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        self.await_inexact(daemon, None)
        self.keep_images("users")
        self.transfer(2)
        self.await_same(daemon)
        wait_for(lambda: self.set.streams[-1] == "updateLookup", "the stream is another")
        looked_up = len(self.set.look_ups)
        self.assertGreater(looked_up, 0)
        self.transfer(3)
        self.await_same(daemon)
        self.await_inexact(daemon, 'collMod: "stores"')
        self.assertEqual(len(self.set.look_ups), looked_up)
        self.assertEqual((daemon.metric(FULL), self.set.refused), (1, []))

    def test_images_expired(self):
        self.keep_images("users", "stores")
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        daemon.kill()
        self.transfer(2)
        self.set.expire()
        daemon.start()
        self.await_same(daemon)
        self.await_inexact(daemon, "no longer kept")
        self.transfer(3)
        self.await_same(daemon)
        self.assertEqual((len(self.set.look_ups), set(self.set.streams)), (2, {"whenAvailable"}))
        self.assertFalse(daemon.metric(FULL))

    def test_images_unknown(self):
        """Some servers list what they do not have."""
        self.keep_images("users", "stores")
        self.set.knows_images = False
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        self.assertEqual((set(self.set.streams), set(self.set.refused)), ({"updateLookup"}, {2}))
        self.await_inexact(daemon, "refuses")

    def test_columns(self):
        """What a table keeps of a document is taken from the change itself."""
        self.keep_images("users")
        daemon = self.daemon(TABLE.replace("g, ", "g, columns: [_id, a.b], ")
                             .replace("NAME", "users")).start()
        self.set.commit([("shop", "users", 1, {"a": [{"b": 1, "c": 2}, 3, {"c": 4}], "b": 5})])
        daemon.await_row("users", 1, document={"_id": 1, "a": [{"b": 1}, {}]})
        self.await_inexact(daemon, None)
        self.assertEqual(self.set.look_ups, [])

    def test_capped(self):
        """Before MongoDB 5.0 nobody tells what falls out of a capped collection."""
        self.set.capped.add(("shop", "stores"))
        daemon = self.daemon().start()
        self.transfer(1)
        self.await_same(daemon)
        self.assertEqual(daemon.table("users")["feed"]["state"], "following")
        daemon.stop()
        self.set.wire = 9
        self.refused("stores is a capped collection")

    def test_inserted_at_once(self):
        """MongoDB 8.0 has in one entry of its log what one command has inserted, and nobody sees a
        part of it; a batch of the stream can end within."""
        self.set.wire = 25
        daemon = self.daemon(TABLE.replace("NAME", "users")).start()
        before = daemon.rows("users")
        for i in range(8):
            self.set.insert_many([("shop", "users", 10 * i + n + 10, {}) for n in range(5)])
            seen = set()
            wait_for(lambda: seen.add(daemon.rows("users")) or before + 5 in seen, "they are there")
            self.assertLessEqual(seen, {before, before + 5})
            before += 5
        self.assertEqual(self.set.refused, [])

    def refused(self, text, **options):
        daemon = self.daemon(BOTH.replace("every: 30s", "every: 50ms"), **options).start()
        daemon.await_log(text)
        self.transfer(1)
        self.pass_on()
        self.await_same(daemon)
        daemon.stop()

    def test_refused(self):
        """What cannot be followed is refreshed."""
        self.refused("take readPreference out", options="&readPreference=primaryPreferred")
        self.refused("may be rolled back", options="&readConcernLevel=local")
        self.set.views.add(("shop", "stores"))
        self.refused("table stores: stores is no ordinary collection but a view")
        self.set.router = True
        self.refused("router of a sharded cluster")

    def test_one_collection(self):
        daemon = self.daemon(TABLE.replace("NAME", "users")).start()
        self.transfer(3)
        daemon.await_row("users", 1, document={"_id": 1, "n": 47})
        self.set.commit([("shop", "users", 2, {"n": 0}), ("shop", "users", 3, {"n": 0})])
        self.set.commit([("shop", "users", 2, None)])
        daemon.await_row("users", 3, document={"_id": 3, "n": 0})
        daemon.await_gone("users", 2)
        wait_for(lambda: daemon.metric(FULL) == 1, "one full pass")


class ElectionTest(unittest.TestCase):
    """Of a set with three members, that of the feed faults."""

    def setUp(self):
        self.set = MongodbSet()
        self.addCleanup(self.set.remove)
        self.set.fresh(SEED)
        tables = TABLE.replace("NAME", "account") + TABLE.replace("NAME", "entry")
        self.daemon = Daemon(tables, self.set.source()).start()
        self.addCleanup(self.daemon.__exit__, None, None, None)
        self.set.control.ask({"elect": 1, "quietly": True})

    def put(self, text):
        self.set.control.run(Transaction([("put", "account", 4, 1, text, 1)], COMMIT))
        wait_for(lambda: self.daemon.get("account", 4)["document"]["s"] == text, f"it is {text}")

    def test_comparison(self):
        """The old primary lets nobody read any more; libmongoc 1.23 then locked itself out."""
        compared = 'sidepond_feed_comparisons_total{table="account"}'

        def is_compared():
            self.daemon.http("/refresh", "POST")
            return self.daemon.metric(compared)
        wait_for(is_compared, "a comparison")
        self.put("new")

    def test_left_alone(self):
        """What the old primary says of the time counts no more, though its stream goes on."""
        wait_for(lambda: self.set.control.ask({"state": 1})["at_primary"], "it follows the new one")
        self.put("new")
        self.assertEqual(self.daemon.metric(FULL.replace("users", "account")), 1)


if __name__ == "__main__":
    unittest.main()
