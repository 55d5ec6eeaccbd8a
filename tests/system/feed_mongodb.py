# SPDX-License-Identifier: Apache-2.0
"""feed_mongodb.py - mongo-java-server for feed_faults.py (see feed_databases.py): real change streams
of one collection, where each changed document is a commit of its own.

One session writes, so the order of its changes is known. After each it reads what became of the
documents, and tells the history; nobody judges a state meanwhile. Updates and replacements are sent
as what the server then finds. What it does not have: transactions and snapshots (rollbacks are left
out), a position that it refuses, and any memory of its own after a kill (feed_mongodb_set.py has).
"""
import threading
import time

import bson
from bson.raw_bson import RawBSONDocument

import mongo_server
from feed_databases import COMMIT, ROLLBACK, Transaction
from feed_documents import filled, identity
from feed_history import History, document_digest, row_name
from ports import free_port
from ring_kit import Proxy

HANG_SECONDS = 0.3


class Judge(History):
    """Judges only between two changes."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def state(self, words):
        with self.lock:
            return super().state(words)


class MongodbSession:
    """Writes to one collection, a document at a time as the history sees it."""

    def __init__(self, database):
        self.database, self.judge = database, database.judge
        self.collection = database.collection
        self.raw = self.collection.with_options(
            bson.CodecOptions(document_class=RawBSONDocument))

    def run(self, transaction):
        if transaction.ending != ROLLBACK:
            for kind, _, *what in transaction.changes:
                with self.judge.lock:
                    getattr(self, kind)(*what)
        return True

    def close(self):
        pass

    def _note(self, keys):
        """One number for each document that has changed, in this order."""
        there = {document["_id"]: document_digest(document.raw)
                 for document in self.raw.find({"_id": {"$in": keys}})}
        for key in keys:
            row, digest = row_name("a", key), there.get(key)
            was = self.judge.now(row)
            if was != digest:
                is_update = digest is not None and was is not None
                self.judge.record(self.judge.last + 1, [(row, digest, is_update)])

    def _update(self, condition, update):
        keys = [document["_id"] for document in self.collection.find(condition, {"_id": 1})]
        self.collection.update_many(condition, update)
        self._note(keys)

    def _delete(self, condition):
        keys = [document["_id"] for document in self.collection.find(condition, {"_id": 1})]
        self.collection.delete_many(condition)
        self._note(keys)

    def insert(self, documents):
        self.collection.insert_many(documents)
        self._note([document["_id"] for document in documents])

    def put(self, key, number, text, big):
        self.collection.replace_one({"_id": identity(key)}, filled(key, number, text, big),
                                    upsert=True)
        self._note([identity(key)])

    def move(self, key, other):
        """A document keeps its _id, so it is another one."""
        document = self.collection.find_one({"_id": identity(key)})
        if document and not self.collection.find_one({"_id": identity(other)}):
            self._delete({"_id": identity(key)})
            self.collection.insert_one({**document, "_id": identity(other), "k": other})
            self._note([identity(other)])

    def count(self, first, last):
        self._update({"k": {"$gte": first, "$lte": last}}, {"$inc": {"n": 1, "of.n": 1}})

    def text(self, key, text):
        self._update({"_id": identity(key)}, {"$set": {"s": text}, "$push": {"of.texts": text}})

    def big(self, key, size):
        self._update({"_id": identity(key)}, {"$set": {"big": "z" * size}})

    def delete(self, key):
        self._delete({"_id": identity(key)})

    def many(self, first, count):
        self._delete({"k": {"$gte": first, "$lt": first + count}})
        self.insert([filled(key, 0, None, 4000) for key in range(first, first + count // 8)])

    def clear(self, first):
        self._delete({"k": {"$gte": first}})

    def empty(self):
        self._delete({})

    def undo(self):
        """There is nothing to undo."""

    def widen(self):
        self._update({}, {"$set": {"extra": 5}})

    def narrow(self):
        self._update({}, {"$unset": {"extra": ""}})


class Mongodb:
    TABLES = ("account",)
    GROUP = "account"
    KEY = "_id"
    MORE = ""
    WRITERS = 1

    def __init__(self):
        self.server, self.proxy = mongo_server.Java(), None
        self.collection, self.judge = None, None
        self.database_name = ""

    @staticmethod
    def available():
        return True

    def start(self):
        self.server.start()
        self.proxy = Proxy(free_port(), self.server.port)

    def remove(self):
        if self.proxy:
            self.proxy.kill()
        self.server.remove()

    def source(self):
        """Through the proxy: the server tells nobody its own address."""
        uri = f"mongodb://127.0.0.1:{self.proxy.port}/{self.database_name}"
        return f'  - {{name: shop, type: mongodb, dsn: "{uri}", connect_timeout: 2s}}'

    def fresh(self, seed):
        """A database of its own, for what is written to a stream is never forgotten."""
        self.database_name = f"shop{seed}"
        self.judge = Judge()
        self.collection = self.server.client()[self.database_name].account
        self.session().insert([filled(key, key, f"s{key}", 3000) for key in range(1, 51)])

    def session(self):
        return MongodbSession(self)

    def goal(self):
        with self.judge.lock:
            return self.judge.goal()

    def watch(self):
        return self.TABLES

    # --- faults ---

    def hang(self, writers):
        self.server.pause()
        time.sleep(HANG_SECONDS)
        self.server.resume()
        del writers

    def cut(self, writers):
        """The daemon's connections are lost."""
        self.proxy.order("reset")
        self.proxy.order("pass")
        del writers

    def unreachable(self, writers):
        self.proxy.order("refuse")
        writers.await_more(3)
        self.proxy.order("pass")

    def silence(self, writers):
        """Neither side hears the other for a while."""
        self.proxy.order("cut")
        time.sleep(HANG_SECONDS)
        self.proxy.order("pass")
        del writers

    def drop(self, writers):
        """The collection, which the next change makes again."""
        with self.judge.lock:
            rows = self.judge.committed()
            self.collection.drop()
            self.judge.record(self.judge.last + 1, [(row, None, False) for row in rows])
        self.session().run(Transaction([("put", "account", 1, 1, "again", 1)], COMMIT))
        del writers

    FAULTS = {"hang": hang, "cut": cut, "unreachable": unreachable, "silence": silence,
              "drop": drop}
    LOST = {"drop_unseen": drop}
