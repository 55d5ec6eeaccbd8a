# SPDX-License-Identifier: Apache-2.0
"""feed_mongodb_set.py - the replica set of mongo_model.py for feed_faults.py (see
feed_databases.py): transactions, snapshots, elections with rollbacks, kill -9, an oplog that ends.
What was committed stands in the model's journal before anybody can read it, and that is the history
that states are judged by. With images each update is told as it was, so there is one right state
for each commit; without, it may be told as a newer one.
"""
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import bson

from daemon_kit import wait_for
from feed_databases import ALONE, COMMIT, ROLLBACK, Transaction
from feed_history import IMAGES, LOOKED_UP, NEWER, History, document_digest, row_name
from mongo_wire import Client
from ports import free_ports

HERE = os.path.dirname(os.path.abspath(__file__))


class Judge(History):
    """Reads the journal."""

    def __init__(self, path, updates, least_n):
        super().__init__(updates)
        self.path, self.least_n, self.at = path, least_n, 0
        self.lock = threading.Lock()

    def _records(self):
        with open(self.path, "rb") as file:
            file.seek(self.at)
            data = file.read()
        at = 0
        while len(data) >= at + 4 and len(data) >= at + struct.unpack_from("<i", data, at)[0]:
            size = struct.unpack_from("<i", data, at)[0]
            yield bson.decode(data[at:at + size])
            at += size
            self.at += size

    def _versions(self, operation, name, key, document):
        if key is not None:
            is_filtered = self.least_n is not None
            is_there = document and (not is_filtered or document["n"] >= self.least_n)
            digest = document_digest(bson.encode(document)) if is_there else None
            return [(row_name(name[0], key), digest,
                     operation == "update" or (is_filtered and document is not None))]
        if operation not in ("drop", "rename"):
            return []
        return [(row, None, False) for row in self.rows if row.startswith(name[0] + ":")]

    def read(self):
        for record in self._records():
            self.record(record["n"], [version for change in record["changes"]
                                      for version in self._versions(*change)])

    def state(self, words):
        with self.lock:
            self.read()
            return super().state(words)

    def goal(self):
        with self.lock:
            self.read()
            return super().goal()


class MongodbSetSession:
    def __init__(self, port):
        self.port, self.client = port, None

    def ask(self, order):
        """None: the server is away."""
        try:
            if self.client is None:
                self.client = Client(self.port)
            return self.client.ask(order)
        except OSError:
            self.close()
            return None

    def run(self, transaction):
        if transaction.ending == ROLLBACK:
            return True
        return self.ask({"transact": [list(change) for change in transaction.changes],
                         "whole": transaction.ending != ALONE}) is not None

    def close(self):
        if self.client is not None:
            self.client.close()
        self.client = None


class MongodbSet:
    TABLES = ("account", "entry")
    GROUP = "account"
    KEY = "_id"
    WRITERS = 2
    MORE = ""
    UPDATES = NEWER
    LEAST_N = None  # what a document's n must be to be followed

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sidepond-test-set.", dir="/dev/shm")
        self.process = self.control = self.judge = self.ports = None

    @staticmethod
    def available():
        return True

    def start(self):
        """Each run has a set of its own."""

    def remove(self):
        self._kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _kill(self):
        if self.control:
            self.control.close()
        if self.process:
            self.process.kill()
            self.process.wait()

    def _start(self):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable,
             os.path.join(HERE, "mongo_model.py"), self.judge.path, *map(str, self.ports),
             *(["--images"] if self.UPDATES == IMAGES else [])], stdin=subprocess.DEVNULL)
        wait_for(lambda: self.control.ask({"state": 1}), "the replica set answers")

    def fresh(self, seed):
        self._kill()
        self.ports = free_ports(4)
        self.judge = Judge(os.path.join(self.directory, f"journal {seed}"),
                           self.UPDATES, self.LEAST_N)
        self.control = self.session()
        self._start()
        self._fill(50)

    def _fill(self, count):
        self.control.run(Transaction(
            [("put", "account", key, key, f"s{key}", 3000) for key in range(1, count + 1)] +
            [("put", "entry", 1, 1, "first", None)], COMMIT))

    def source(self):
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports[1:])
        return (f'  - {{name: shop, type: mongodb, dsn: "mongodb://{hosts}/shop?replicaSet=rs0", '
                "connect_timeout: 2s}")

    def session(self):
        return MongodbSetSession(self.ports[0])

    def goal(self):
        """Of what was written until now, be it rolled back meanwhile."""
        number = self.control.ask({"state": 1})["number"]

        def settled():
            state = self.control.ask({"state": 1})
            return state["number"] - state["waiting"] >= number or state["waiting"] == 0
        wait_for(settled, "a majority has all")
        return self.judge.goal()

    def watch(self):
        return self.TABLES

    # --- faults ---

    def crash(self, writers):
        """What only the primary had is lost."""
        self.process.kill()
        self.process.wait()
        writers.pause()
        self._start()

    def hang(self, writers):
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # what a hang is
        self.process.send_signal(signal.SIGCONT)
        del writers

    def cut(self, writers):
        self.control.ask({"cut": 1})
        del writers

    def elect(self, writers):
        self.control.ask({"elect": 1})
        del writers

    def member(self, writers):
        """The primary is away for a while; then it is a secondary."""
        self.control.ask({"leave": 1})
        writers.await_more(10)
        self.control.ask({"join": 1})

    def kill_cursors(self, writers):
        self.control.ask({"kill_cursors": 1})
        del writers

    def forget(self, writers):
        """The oplog begins anew while the daemon follows, and while it does not."""
        self.control.ask({"forget": 1})
        writers.await_more(3)

    def _take_away(self, how, *names):
        self.control.ask({"take_away": how, "names": list(names)})
        self._fill(3)

    def drop(self, writers):
        self._take_away("drop", "account")
        del writers

    def rename(self, writers):
        self._take_away("rename", "entry")
        del writers

    def drop_database(self, writers):
        self._take_away("dropDatabase", "account", "entry")
        del writers

    FAULTS = {"crash": crash, "hang": hang, "cut": cut, "elect": elect, "member": member,
              "kill_cursors": kill_cursors, "forget": forget, "drop": drop, "rename": rename,
              "drop_database": drop_database}
    LOST = {"lose": forget, "elect_unseen": elect, "drop_unseen": drop, "rename_unseen": rename,
            "drop_database_unseen": drop_database, "crash_unseen": crash}


def of_collections_that_stay(faults):
    return {name: fault for name, fault in faults.items() if not name.startswith(("drop", "rename"))}


class MongodbImages(MongodbSet):
    """Without faults that take collections away: who looks while there is none, sees no images."""

    UPDATES = IMAGES

    def without_images(self, writers):
        """From then on the daemon may take newer documents: that there are images again it sees
        with the next connection or comparison."""
        with self.judge.lock:
            self.judge.updates = LOOKED_UP
        self.control.ask({"images": False})
        writers.await_more(10)
        self.control.ask({"images": True})

    FAULTS = {**of_collections_that_stay(MongodbSet.FAULTS), "without_images": without_images}
    LOST = of_collections_that_stay(MongodbSet.LOST)


class MongodbWhere(MongodbSet):
    """Only some documents are followed, and come and go with their n: the daemon looks for each that
    has changed."""

    UPDATES = LOOKED_UP
    LEAST_N = 20
    MORE = f", where: '{{\"n\": {{\"$gte\": {LEAST_N}}}}}'"
