# SPDX-License-Identifier: Apache-2.0
"""mongo_script.py - a replica set of MongoDB 6.0 with one member, as far as Sidepond's source uses one,
for what the real servers of the tests do not have: snapshot sessions, change streams of a database,
transactions, an oplog that ends. It is strict where MongoDB is: a getMore has the session of its
cursor, a resume token from before the oplog is refused, and a read concern where nothing is read.
Batches are short and cut transactions in two.

    with mongo_script.ReplicaSet() as replica_set:
        replica_set.commit([("shop", "users", 1, {"n": 1}), ("shop", "users", 2, None)])
        replica_set.forget()       # the oplog has three entries only
        replica_set.strange = 5    # the tokens of the first five events are not understood
        replica_set.primary = False   # it was deposed, and cut off from the others
        replica_set.cut()          # all connections are lost
        replica_set.rename("shop", "users", "people")
        replica_set.drop_database("shop")
        replica_set.restore("shop", "users")      # another collection of that name is there
        replica_set.views.add(("shop", "users"))
        replica_set.router = True  # it is the router of a sharded cluster instead
        replica_set.impatient = True   # cursors of streams are gone after a reading
        replica_set.too_large()    # the last event cannot be sent
        replica_set.images.add(("shop", "users"))   # it keeps images of its documents
        replica_set.knows_images = False            # lists them, but refuses "whenAvailable"
        replica_set.capped.add(("shop", "users"))
        replica_set.wire = 9       # of the protocol of MongoDB 4.4
        replica_set.expire()       # the images of all that has happened
        replica_set.reads          # the read concern of each find; look_ups: of those of one document
        replica_set.streams        # fullDocument of each change stream that was opened
"""
import copy
import datetime
import random
import threading
import time
import uuid

import bson

import mongo_wire
from mongo_wire import Refused
from ports import free_port

BATCH_MOST = 3
CUT_SECONDS = 0.06


class ReplicaSet:
    def __init__(self, seed=0):
        self.port = free_port()
        self.random = random.Random(seed)
        self.changed = threading.Condition()
        self.versions = [(bson.Timestamp(1, 0), {})]  # (time, {(db, collection): {key: document}})
        self.oplog = []                               # events; the token of one is its number
        self.first = 0                                # of those that are kept
        self.cursors = {}
        self.reads = []
        self.look_ups = []
        self.streams = []
        self.refused = []
        self.views = set()
        self.images = set()
        self.capped = set()
        self.knows_images = True
        self.strange = -1
        self.sent = bson.Timestamp(1, 0)              # the time of the last event of any stream
        self.primary = True
        self.wire = 17
        self.uuids = {}
        self.router = False
        self.impatient = False
        self.transactions = 0
        self.listener = mongo_wire.Listener(self.port, self.answer)

    # --- what happens in the database ---

    @property
    def collections(self):
        return self.versions[-1][1]

    def _now(self):
        last = self.versions[-1][0]
        seconds = int(time.time())
        return bson.Timestamp(seconds, last.inc + 1 if last.time == seconds else 1)

    def _append(self, event, now):
        event["_id"] = {"_data": f"{len(self.oplog):08x}"}
        event["clusterTime"] = now
        self.oplog.append(event)

    def insert_many(self, rows):
        """New ones, by one command: one entry of the log of MongoDB 8.0, but no transaction."""
        self.commit(rows, of_session=False)

    def commit(self, changes, of_session=True):
        """Rows (database, collection, key, document or None), in one transaction."""
        with self.changed:
            now = self._now()
            collections = {name: dict(rows) for name, rows in self.collections.items()}
            self.transactions += 1
            for database, collection, key, document in changes:
                rows = collections.setdefault((database, collection), {})
                there = key in rows
                event = {"ns": {"db": database, "coll": collection}, "documentKey": {"_id": key},
                         "operationType": "update" if there else "insert"}
                if document is None:
                    rows.pop(key, None)
                    event["operationType"] = "delete"
                else:
                    rows[key] = {"_id": key, **document}
                    event["fullDocument"] = rows[key]
                if event["operationType"] == "update":
                    event["updateDescription"] = {"updatedFields": document, "removedFields": []}
                    event["has image"] = (database, collection) in self.images
                if len(changes) > 1 and of_session:
                    event["txnNumber"] = bson.Int64(self.transactions)
                    event["lsid"] = {"id": 7}
                self._append(event, now)
            self.versions.append((now, collections))
            self.changed.notify_all()

    def rename(self, database, old, new):
        with self.changed:
            now = self._now()
            collections = dict(self.collections)
            collections[(database, new)] = collections.pop((database, old))
            self.uuids[(database, new)] = self._uuid((database, old))
            self.uuids.pop((database, old))
            self._append({"operationType": "rename", "ns": {"db": database, "coll": old},
                          "to": {"db": database, "coll": new}}, now)
            self.versions.append((now, collections))
            self.changed.notify_all()

    def drop_database(self, database):
        with self.changed:
            now = self._now()
            self._append({"operationType": "dropDatabase", "ns": {"db": database}}, now)
            self.versions.append((now, {name: rows for name, rows in self.collections.items()
                                        if name[0] != database}))
            self.changed.notify_all()

    def restore(self, database, collection):
        with self.changed:
            self.uuids.pop((database, collection), None)

    def too_large(self):
        with self.changed:
            self.oplog[-1]["too large"] = True

    def expire(self):
        with self.changed:
            for event in self.oplog:
                event["has image"] = False

    def _uuid(self, name):
        return self.uuids.setdefault(name, uuid.uuid4())

    def forget(self):
        """But for the last three transactions."""
        with self.changed:
            kept = self.versions[-3][0]
            self.first = next(i for i, e in enumerate(self.oplog) if e["clusterTime"] >= kept)

    # --- commands ---

    def _majority(self):
        """The last two transactions are not yet everywhere, but for what a stream has sent."""
        return max(self.sent, self.versions[max(-3, 1 - len(self.versions))][0])

    def hello(self, *_):
        address = f"127.0.0.1:{self.port}"
        member = {"setName": "rs0", "hosts": [address], "me": address,
                  **({"primary": address} if self.primary else {"secondary": True})}
        return {"ismaster": self.primary, "helloOk": True, "maxBsonObjectSize": 16777216,
                "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000,
                "logicalSessionTimeoutMinutes": 30, "minWireVersion": 0, "maxWireVersion": self.wire,
                "localTime": datetime.datetime.now(datetime.timezone.utc),
                "lastWrite": {"majorityOpTime": {"ts": self._majority()},
                              "lastWriteDate": self._majority().as_datetime()},
                **({"msg": "isdbgrid"} if self.router else member)}

    def list_collections(self, command):
        wanted = command.get("filter", {}).get("name")
        found = []
        for name in self.collections:
            if name[0] == command["$db"] and wanted in (None, name[1]):
                is_view = name in self.views
                found.append({"name": name[1], "type": "view" if is_view else "collection",
                              "options": self._options(name), "info": {} if is_view else
                              {"uuid": bson.Binary.from_uuid(self._uuid(name))}})
        return {"cursor": {"id": bson.Int64(0), "ns": command["$db"] + ".$cmd.listCollections",
                           "firstBatch": found}}

    def _options(self, name):
        options = {"capped": True, "size": 4096} if name in self.capped else {}
        if name in self.images:
            options["changeStreamPreAndPostImages"] = {"enabled": True}
        return options

    def collection_stats(self, command):
        rows = self.collections.get((command["$db"], command["collStats"]), {})
        return {"count": len(rows), "size": sum(len(bson.encode(row)) for row in rows.values())}

    def find(self, command):
        concern = command.get("readConcern", {})
        at = concern.get("atClusterTime", self._majority())
        if concern.get("level") != "snapshot" and "limit" not in command:
            at = self.versions[-1][0]
        at = max(at, concern.get("afterClusterTime", at))
        collections = [c for (when, c) in self.versions if when <= at][-1]
        rows = collections.get((command["$db"], command["find"]), {})
        condition = command.get("filter", {})
        if "_id" in condition:
            found = [rows[condition["_id"]]] if condition["_id"] in rows else []
        else:
            found = list(rows.values())
        if command.get("batchSize") == 0:
            found = []
        elif "limit" in command:
            self.look_ups.append(concern)
        else:
            self.reads.append(concern)
            if self.impatient:
                self.cursors = {number: None for number in self.cursors}
        cursor = {"id": bson.Int64(0), "ns": f"{command['$db']}.{command['find']}",
                  "firstBatch": found}
        if concern.get("level") == "snapshot":
            cursor["atClusterTime"] = at
        return {"cursor": cursor}

    def aggregate(self, command):
        stage = command["pipeline"][0]["$changeStream"]
        start = len(self.oplog)
        if stage["fullDocument"] == "whenAvailable" and not self.knows_images:
            raise Refused(2, "Enumeration value 'whenAvailable' for field 'fullDocument'")
        if "resumeAfter" in stage:
            start = int(stage["resumeAfter"]["_data"], 16) + 1
        elif "startAtOperationTime" in stage:
            start = next((i for i, event in enumerate(self.oplog)
                          if event["clusterTime"] >= stage["startAtOperationTime"]), start)
        if "resumeAfter" in stage and start <= self.strange:
            raise Refused(50811, "this is no token")
        if start < self.first:
            raise Refused(286, "the resume point may no longer be in the oplog")
        number = len(self.cursors) + 1
        name = command["aggregate"]
        self.cursors[number] = {"at": start, "lsid": command["lsid"], "db": command["$db"],
                                "coll": name if isinstance(name, str) else None,
                                "all": stage.get("allChangesForCluster"),
                                "documents": stage["fullDocument"]}
        self.streams.append(stage["fullDocument"])
        ns = f"{command['$db']}.{name if isinstance(name, str) else '$cmd.aggregate'}"
        return {"cursor": {"id": bson.Int64(number), "ns": ns, "firstBatch": []}}

    def _as_sent(self, cursor, event):
        """An update has the document as of now, or then, or none; the pipeline leaves out the rest."""
        event = copy.deepcopy(event)
        has_image = event.pop("has image", False)
        if event.pop("updateDescription", None):
            rows = self.collections.get((event["ns"]["db"], event["ns"]["coll"]), {})
            if cursor["documents"] == "updateLookup":
                event["fullDocument"] = rows.get(event["documentKey"]["_id"])
            elif not has_image:
                event["fullDocument"] = None
        return event

    @staticmethod
    def _is_of(cursor, event):
        return cursor["all"] or any(
            ns["db"] == cursor["db"] and cursor["coll"] in (None, ns.get("coll"))
            for ns in (event["ns"], event.get("to", event["ns"])))

    def _next_batch(self, cursor):
        batch = []
        most = self.random.randint(1, BATCH_MOST)
        while cursor["at"] < len(self.oplog) and len(batch) < most:
            event = self.oplog[cursor["at"]]
            if "too large" in event:
                raise Refused(10334, "BSONObj size is invalid")
            cursor["at"] += 1
            self.sent = max(self.sent, event["clusterTime"])
            if self._is_of(cursor, event):
                batch.append(self._as_sent(cursor, event))
        return batch

    def _is_in_transaction(self, at):
        return 0 < at < len(self.oplog) and \
            self.oplog[at]["clusterTime"] == self.oplog[at - 1]["clusterTime"]

    def get_more(self, command):
        cursor = self.cursors.get(command["getMore"])
        if cursor is None:
            raise Refused(43, "cursor not found")
        if cursor["lsid"] != command["lsid"]:
            raise Refused(50738, "the cursor was made in another session")
        if self._is_in_transaction(cursor["at"]):  # long enough for a reader to see half of it
            ended = time.monotonic() + CUT_SECONDS
            while time.monotonic() < ended:
                self.changed.wait(CUT_SECONDS)
        until = time.monotonic() + command.get("maxTimeMS", 1000) / 1000
        batch = self._next_batch(cursor)
        while not batch and time.monotonic() < until:
            self.changed.wait(until - time.monotonic())
            batch = self._next_batch(cursor)
        answer = {"id": bson.Int64(command["getMore"]), "ns": cursor["db"] + ".x",
                  "nextBatch": batch}
        if cursor["at"]:
            answer["postBatchResumeToken"] = {"_data": f"{cursor['at'] - 1:08x}"}
        return {"cursor": answer}

    def answer(self, command):
        known = {"ismaster": self.hello, "isMaster": self.hello, "hello": self.hello,
                 "ping": lambda _: {}, "endSessions": lambda _: {}, "killCursors": lambda _: {},
                 "listCollections": self.list_collections, "find": self.find,
                 "collStats": self.collection_stats,
                 "aggregate": self.aggregate, "getMore": self.get_more}
        name = next(iter(command))
        with self.changed:
            try:
                if name not in known:
                    raise Refused(59, f"no such command: {name}")
                if "readConcern" in command and name not in ("find", "aggregate"):
                    raise Refused(72, f"{name} has no read concern")
                reply = {**known[name](command), "ok": 1.0}
            except Refused as refused:
                self.refused.append(refused.code)
                reply = {"ok": 0.0, "code": refused.code, "errmsg": str(refused)}
            return {**reply, "operationTime": self.versions[-1][0]}

    # --- connections ---

    def __enter__(self):
        self.listener.__enter__()
        return self

    def cut(self):
        self.listener.cut()

    def __exit__(self, *_):
        self.listener.__exit__()

    def uri(self, database="", options=""):
        of = "appName=test" if self.router else "replicaSet=rs0"
        return f"mongodb://127.0.0.1:{self.port}/{database}?{of}{options}"
