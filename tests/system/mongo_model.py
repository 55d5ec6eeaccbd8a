#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mongo_model.py - a replica set of MongoDB 6.0 with three members, as a process that can be killed:
what no server that can be had for the tests does, as far as Sidepond's source uses it.

    mongo_model.py JOURNAL CONTROL MEMBER MEMBER MEMBER [--images]     ports on 127.0.0.1

Writes come by the control port ({"transact": changes} as in feed_databases.py) to the primary. A
commit is in memory until a majority has it, some milliseconds later; until then a crash or an
election may roll it back. Then it is written to the journal, and only after that can it be read with
the concerns "majority" and "snapshot", and be seen by change streams. The journal is read at the
start, and by who wants to know what was committed (feed_mongodb_set.py): a BSON document for each
commit,

    {"n": number, "t": clusterTime, "whole": it is a transaction, "images": they were kept,
     "changes": [[operation, collection, _id, document or None]...]}

Operations are insert, replace, update, delete, and without _id drop, rename, dropDatabase,
invalidate; "forget" as the only one says that the oplog begins with this commit.

Streams are of the database "shop". Batches are short and cut transactions in two; a stream that asks
for updateLookup gets the newest document that a majority has on that member, or null; one that asks
for images gets the document as it was, or null where none was kept. An election makes another member
the primary; streams go on at the old one, which is behind, unless their cursors are killed. Orders
by the control port: see Model.ORDERS and Network.ORDERS. It is strict where MongoDB is: sessions of
cursors, read preference, positions before the oplog, snapshots that are too old, streams that were
invalidated.
"""
import argparse
import bisect
import contextlib
import datetime
import functools
import os
import random
import sys
import threading
import time
import uuid

import bson

import feed_documents
import mongo_wire
from mongo_wire import Refused

DATABASE = "shop"
BATCH_MOST = 5
MAJORITY_SECONDS = 0.02  # at most, from a commit until a majority has it
BEHIND_SECONDS = 0.05    # a secondary knows of that so much later, at most
KEPT_VERSIONS = 1500
END = 0xffff             # of a token: after all events of the commit
NOT_PRIMARY, NO_CURSOR, KILLED, NO_HISTORY, TOO_OLD, INVALID = 13435, 43, 237, 286, 239, 260


class Commit:
    def __init__(self, record):
        self.record = record  # as in the journal
        self.number, self.time, self.changes = record["n"], record["t"], record["changes"]
        self.collections = {}  # {name: {_id: document}} afterwards
        self.ready = 0.0       # when a majority has it


def token(number, index):
    return {"_data": f"{number:08x}{index:04x}"}


def place_of(resume):
    return int(resume["_data"][:8], 16), int(resume["_data"][8:], 16)


def is_match(document, condition):
    """Of filters, what Sidepond and the feed faults use."""
    for name, wanted in condition.items():
        if name == "$and":
            if not all(is_match(document, each) for each in wanted):
                return False
        elif isinstance(wanted, dict) and "$gte" in wanted:
            if not document[name] >= wanted["$gte"]:
                return False
        elif document[name] != wanted:
            return False
    return True


class Model:
    def __init__(self, options):
        self.images, self.random = options.images, random.Random(options.seed)
        self.changed = threading.Condition()
        self.ports = options.members
        self.primary, self.term = 0, int(time.time() * 1000)
        self.known = [0] * len(self.ports)  # the last commit of which a member knows so
        self.behind = [self.random.uniform(0, BEHIND_SECONDS) for _ in self.ports]
        self.commits = [Commit({"n": 0, "t": bson.Timestamp(1, 1), "changes": []})]  # a majority has it
        self.reached = [0.0]  # when it had each
        self.tail = []        # commits that it has not
        self.first, self.made = 1, {}
        self.cursors, self.next_cursor = {}, 1
        self.read_journal(options.journal)
        self.journal = open(options.journal, "ab", buffering=0)  # pylint: disable=consider-using-with

    # --- commits ---

    def read_journal(self, path):
        with open(path, "a+b") as file:
            file.seek(0)
            whole = 0
            with contextlib.suppress(bson.errors.InvalidBSON):  # the last one may be half
                for record in bson.decode_file_iter(file):
                    whole = file.tell()
                    self.keep(Commit(record))
        os.truncate(path, whole)

    def keep(self, commit):
        """A majority has it."""
        if not commit.collections:
            commit.collections = self.after(self.commits[-1].collections, commit.changes)
        if commit.changes and commit.changes[0][0] == "forget":
            self.first = commit.number
        for operation, name, _, _ in commit.changes:
            if operation == "insert":
                self.made.setdefault(name, commit.number)
            elif operation in ("drop", "rename"):
                self.made.pop(name, None)
        self.commits.append(commit)
        self.reached.append(time.monotonic())
        if len(self.commits) > KEPT_VERSIONS:
            self.commits[-KEPT_VERSIONS].collections = None

    @staticmethod
    def after(collections, changes):
        collections = dict(collections)
        for name in {change[1] for change in changes if change[1]}:
            collections[name] = dict(collections.get(name, {}))
        for operation, name, key, document in changes:
            if operation in ("drop", "rename"):
                collections.pop(name, None)
            elif document is None and name:
                collections[name].pop(key, None)
            elif name:
                collections[name][key] = document
        return collections

    def advance(self):
        """A majority has what it has after some time."""
        now = time.monotonic()
        while self.tail and self.tail[0].ready <= now:
            commit = self.tail.pop(0)
            os.write(self.journal.fileno(), bson.encode(commit.record))
            self.keep(commit)
            self.changed.notify_all()

    def latest(self):
        return (self.tail or self.commits)[-1]

    def commit(self, changes, whole):
        last, seconds = self.latest(), int(time.time())
        now = bson.Timestamp(seconds, 1) if seconds > last.time.time else \
            bson.Timestamp(last.time.time, last.time.inc + 1)
        commit = Commit({"n": last.number + 1, "t": now, "whole": whole, "images": self.images,
                         "changes": changes})
        commit.collections = self.after(last.collections, changes)
        after = self.tail[-1].ready if self.tail else 0.0
        commit.ready = max(after, time.monotonic() + self.random.uniform(0, MAJORITY_SECONDS))
        self.tail.append(commit)
        self.changed.notify_all()

    # --- orders by the control port ---

    def transact(self, order):
        """One transaction; or, where it is none, each document for itself."""
        made = []
        collections = {name: dict(rows) for name, rows in self.latest().collections.items()}
        for kind, name, *what in order["transact"]:
            rows = collections.setdefault(name, {})
            for operation, key, document in list(feed_documents.KINDS[kind](rows, *what)):
                made.append([operation, name, key, document])
                rows.pop(key, None)
                if document is not None:
                    rows[key] = document
        if order["whole"] and made:
            self.commit(made, len(made) > 1)
        for change in () if order["whole"] else made:
            self.commit([change], False)
        commit = self.latest()
        while commit in self.tail:  # as a write concern of "majority" waits
            self.await_until(time.monotonic() + 1)
            self.advance()

    def take_away(self, order):
        """Collections are dropped or renamed, or all with their database; whose streams end then."""
        names = [name for name in order["names"] if name in self.latest().collections]
        changes = [["rename" if order["take_away"] == "rename" else "drop", name, None, None]
                   for name in names]
        for change in changes:
            self.commit([change], False)
        if order["take_away"] == "dropDatabase":
            self.commit([["dropDatabase", "", None, None], ["invalidate", "", None, None]], False)

    def forget(self, _order):
        """The oplog begins with what happens next."""
        self.commit([["forget", "", None, None]], False)

    def elect(self, order):
        """What only the old primary had may be rolled back. It stays a member, and its streams go
        on unless they are killed; "quietly": neither."""
        quietly = order.get("quietly")
        if not quietly and self.random.random() < 0.5:
            self.tail = self.tail[:self.random.randint(0, len(self.tail))]
        for commit in self.tail:
            commit.ready = 0.0
        self.advance()
        self.term += 1
        self.primary = self.random.choice([i for i in range(len(self.ports)) if i != self.primary])
        if not quietly and self.random.random() < 0.5:
            self.kill_cursors({})

    def kill_cursors(self, _order):
        self.cursors.clear()
        self.changed.notify_all()

    def close_cursors(self, _member, command):
        for number in command["cursors"]:
            self.cursors.pop(number, None)
        return {}

    def set_images(self, order):
        """As collMod does, for updates from then on."""
        self.images = order["images"]

    def state(self, _order):
        last = self.cursors.get(self.next_cursor - 1)
        return {"number": self.latest().number, "waiting": len(self.tail),
                "at_primary": bool(last) and last["member"] == self.primary}

    ORDERS = {"transact": transact, "take_away": take_away, "forget": forget, "elect": elect,
              "kill_cursors": kill_cursors, "images": set_images, "state": state}

    def obey(self, order):
        with self.changed:
            self.advance()
            return {"ok": 1.0, **(self.ORDERS[next(iter(order))](self, order) or {})}

    # --- what a member knows ---

    def view(self, member):
        """The last commit that it knows a majority to have."""
        self.advance()
        until = time.monotonic() - (0 if member == self.primary else self.behind[member])
        self.known[member] = max(self.known[member], bisect.bisect_right(self.reached, until) - 1)
        return self.commits[self.known[member]]

    def await_until(self, until):
        """Something may have happened; false once it is too late."""
        left = until - time.monotonic()
        if left > 0:
            self.changed.wait(min(left, 0.005 if self.tail else 0.02))
        return left > 0

    def hello(self, member, _command):
        here, last = f"127.0.0.1:{self.ports[member]}", self.view(member)
        is_primary = member == self.primary
        return {"ismaster": is_primary, "isWritablePrimary": is_primary, "secondary": not is_primary,
                "helloOk": True, "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000,
                "maxWriteBatchSize": 100000, "logicalSessionTimeoutMinutes": 30,
                "minWireVersion": 0, "maxWireVersion": 17,
                "localTime": datetime.datetime.now(datetime.timezone.utc),
                "lastWrite": {"majorityOpTime": {"ts": last.time},
                              "lastWriteDate": last.time.as_datetime()},
                "setName": "rs0", "hosts": [f"127.0.0.1:{port}" for port in self.ports], "me": here,
                "primary": f"127.0.0.1:{self.ports[self.primary]}", "setVersion": 1,
                **({"electionId": bson.ObjectId(f"{self.term:024x}")} if is_primary else {})}

    def list_collections(self, member, command):
        wanted = command.get("filter", {}).get("name")
        self.must_be_primary(member, command)
        images = {"changeStreamPreAndPostImages": {"enabled": True}} if self.images else {}
        found = [{"name": name, "type": "collection", "options": images,
                  "info": {"uuid": bson.Binary.from_uuid(
                      uuid.uuid5(uuid.NAMESPACE_DNS, f"{name} {self.made[name]}"))}}
                 for name in self.view(member).collections if wanted in (None, name)]
        return {"cursor": {"id": bson.Int64(0), "ns": DATABASE + ".$cmd.listCollections",
                           "firstBatch": found}}

    def collection_stats(self, member, command):
        rows = self.view(member).collections.get(command["collStats"], {})
        return {"count": len(rows), "size": 1000 * len(rows)}

    def must_be_primary(self, member, command):
        mode = command.get("$readPreference", {}).get("mode", "primary")
        if member != self.primary and mode == "primary":
            raise Refused(NOT_PRIMARY, "not primary and secondaryOk=false")

    def read_at(self, member, concern):
        """The commit after which is read."""
        until = time.monotonic() + 5
        wanted = concern.get("atClusterTime", concern.get("afterClusterTime", bson.Timestamp(0, 1)))
        while self.view(member).time < wanted:
            if not self.await_until(until):
                raise Refused(50, "operation exceeded time limit")
        if concern.get("level", "local") == "local" and member == self.primary:
            return self.latest()
        if "atClusterTime" not in concern:
            return self.view(member)
        at = bisect.bisect_right([commit.time for commit in self.commits], wanted) - 1
        if self.commits[at].collections is None:
            raise Refused(TOO_OLD, "the snapshot is too old")
        return self.commits[at]

    def find(self, member, command):
        self.must_be_primary(member, command)
        concern = command.get("readConcern", {})
        commit = self.read_at(member, concern)
        rows = commit.collections.get(command["find"], {})
        found = [row for row in rows.values() if is_match(row, command.get("filter", {}))]
        cursor = {"id": bson.Int64(0), "ns": f"{DATABASE}.{command['find']}",
                  "firstBatch": [] if command.get("batchSize") == 0 else found}
        if concern.get("level") == "snapshot":
            cursor["atClusterTime"] = commit.time
        return {"cursor": cursor}

    # --- change streams ---

    def start_of(self, member, stage):
        """(number, index) after which a stream begins."""
        if "resumeAfter" in stage:
            number, index = place_of(stage["resumeAfter"])
            if self.operation(number, index) == "invalidate":
                raise Refused(INVALID, "resumeAfter an invalidate event")
        elif "startAtOperationTime" in stage:
            times = [commit.time for commit in self.commits]
            number, index = bisect.bisect_left(times, stage["startAtOperationTime"]) - 1, END
        else:
            return self.view(member).number, END
        if number < self.first - 1 or (number < self.first and index < END):
            raise Refused(NO_HISTORY, "the resume point may no longer be in the oplog")
        return number, index

    def operation(self, number, index):
        """Of the event with this token, if it is one."""
        changes = self.commits[number].changes if number < len(self.commits) else []
        return changes[index][0] if index < len(changes) else None

    def aggregate(self, member, command):
        self.must_be_primary(member, command)
        stage = command["pipeline"][0]["$changeStream"]
        if command["$db"] != DATABASE or command["aggregate"] != 1:
            raise Refused(59, "this model has streams of one database only")
        number = self.next_cursor
        self.next_cursor += 1
        start = self.start_of(member, stage)
        self.cursors[number] = {"at": start, "lsid": command["lsid"], "member": member,
                                "documents": stage.get("fullDocument", "default")}
        return {"cursor": {"id": bson.Int64(number), "ns": DATABASE + ".$cmd.aggregate",
                           "firstBatch": [], "postBatchResumeToken": token(*start)}}

    def event(self, cursor, commit, index):
        operation, name, key, document = commit.changes[index]
        event = {"_id": token(commit.number, index), "operationType": operation,
                 "clusterTime": commit.time, "ns": {"db": DATABASE, "coll": name}}
        if operation == "rename":
            event["to"] = {"db": DATABASE, "coll": "spare"}
        if key is not None:
            event["documentKey"] = {"_id": key}
        if operation in ("insert", "replace"):
            event["fullDocument"] = document
        elif operation == "update" and cursor["documents"] == "updateLookup":
            rows = self.view(cursor["member"]).collections.get(name, {})
            event["fullDocument"] = rows.get(key)
        elif operation == "update" and cursor["documents"] in ("whenAvailable", "required"):
            event["fullDocument"] = document if commit.record["images"] else None
        if commit.record["whole"]:
            event["txnNumber"] = bson.Int64(commit.number)
            event["lsid"] = {"id": bson.Binary.from_uuid(uuid.UUID(int=7)), "uid": b"7" * 32}
        return event

    def next_batch(self, cursor):
        batch, most = [], self.random.randint(1, BATCH_MOST)
        number, index = cursor["at"]
        last = self.view(cursor["member"]).number
        while number <= last and len(batch) < most:
            commit = self.commits[number]
            index += 1
            if index < len(commit.changes) and commit.changes[index][0] != "forget":
                batch.append(self.event(cursor, commit, index))
            elif number < last:
                number, index = number + 1, -1
            else:
                index = END
                break
            if self.operation(number, index) == "invalidate":
                break
        cursor["at"] = number, index
        return batch

    def get_more(self, member, command):
        until = time.monotonic() + command.get("maxTimeMS", 1000) / 1000
        number, code = command["getMore"], NO_CURSOR
        while True:
            cursor = self.cursors.get(number)
            if cursor is None:
                raise Refused(code, "cursor not found")
            if cursor["lsid"] != command["lsid"] or cursor["member"] != member:
                raise Refused(50738, "the cursor was made in another session")
            if cursor["at"][0] < self.first - 1:
                raise Refused(NO_HISTORY, "the oplog has passed the stream")
            batch, code = self.next_batch(cursor), KILLED
            if batch or not self.await_until(until):
                break
        if self.operation(*cursor["at"]) == "invalidate":
            number = 0
        return {"cursor": {"id": bson.Int64(number), "ns": DATABASE + ".$cmd.aggregate",
                           "nextBatch": batch, "postBatchResumeToken": token(*cursor["at"])}}

    COMMANDS = {"ismaster": hello, "isMaster": hello, "hello": hello, "find": find,
                "listCollections": list_collections, "collStats": collection_stats,
                "aggregate": aggregate, "getMore": get_more, "killCursors": close_cursors}
    IDLE = ("ping", "endSessions")

    def answer(self, member, command):
        name = next(iter(command))
        with self.changed:
            try:
                if name in self.COMMANDS:
                    reply = {**self.COMMANDS[name](self, member, command), "ok": 1.0}
                elif name in self.IDLE:
                    reply = {"ok": 1.0}
                else:
                    raise Refused(59, f"no such command: {name}")
            except Refused as refused:
                reply = {"ok": 0.0, "code": refused.code, "errmsg": str(refused)}
            seen = self.latest() if member == self.primary else self.view(member)
            return {**reply, "operationTime": seen.time}


class Network:
    """The members' ports."""

    def __init__(self, model, members):
        self.model, self.members, self.gone = model, members, None

    def cut(self, _order):
        for member in self.members:
            member.cut()

    def leave(self, _order):
        """The primary is gone, and another one is elected; what it alone had is rolled back."""
        self.gone = self.members[self.model.primary]
        self.gone.__exit__()
        self.model.obey({"elect": 1})

    def join(self, _order):
        self.gone.__enter__()

    ORDERS = {"cut": cut, "leave": leave, "join": join}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("journal")
    parser.add_argument("control", type=int)
    parser.add_argument("members", type=int, nargs=3)
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    options = parse()
    model = Model(options)
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(mongo_wire.Listener(
            port, functools.partial(model.answer, i))) for i, port in enumerate(options.members)]

        network = Network(model, members)

        def obey(order):
            if next(iter(order)) not in network.ORDERS:
                return model.obey(order)
            network.ORDERS[next(iter(order))](network, order)
            return {"ok": 1.0}
        stack.enter_context(mongo_wire.Listener(options.control, obey))
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
