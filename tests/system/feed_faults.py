#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""feed_faults.py - Goal: a daemon that follows its database shows readers committed states only, one
after the other, and in the end the same rows, whatever fails meanwhile. Method: writers whose
transactions are drawn at random (rows, keys, tables emptied, rollbacks, savepoints, large ones,
columns that come and go), a reader that looks all the time (feed_watch.c), and faults of the database
and of the daemon, kill -9 of both included. What a database is, how it says a transaction, and how
what was read is judged, is told in feed_databases.py.

    feed_faults.py [--source postgresql] [--runs N] [--seed S] [--fault NAME] [--program NAME]
                   [--broken] [--json FILE]

A run is right if the reader's states were, if after the last fault the pond came to the database's
last state, and if a comparison of all rows then found nothing to mend. Runs are drawn from the seed,
which is printed; what the machine's scheduling decides, it does not repeat. With --broken the program
(one that is broken on purpose) is to be found in at least one run.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback

import daemon_kit
import feed_databases
from daemon_kit import BUILD, Daemon, wait_for
from feed_databases import ALONE, COMMIT, ROLLBACK, Transaction

KEYS = 80
FAULTS_OF_A_RUN = 3
SETTLE_SECONDS = 60
TABLE = ("  - {{name: {}, source: shop, key: [{}], group: books, max_drop: 100%,"
         " refresh: {{mode: feed, every: 100ms}}{}}}\n")
DAEMON_FAULTS = ("kill", "stop", "compare")


class Writers:
    """Threads that write as a seed says, and count what they have done."""

    def __init__(self, database, seed):
        self.database, self.done, self.going = database, 0, True
        self.threads = [threading.Thread(target=self._write, args=(seed * 100 + i,))
                        for i in range(database.WRITERS)]
        for thread in self.threads:
            thread.start()

    def _write(self, seed):
        draw = random.Random(seed)
        session = self.database.session()
        while self.going:
            if not session.run(self._transaction(draw)):
                time.sleep(0.02)  # the database is away; the next run connects again
            self.done += 1
        session.close()

    def _table(self, draw):
        return draw.choice([name for name in self.database.TABLES if name != "ledger"])

    def _transaction(self, draw):
        table, kind = self._table(draw), draw.random()
        if kind < 0.015:
            return Transaction([(draw.choice(("widen", "narrow")), table)], ALONE)
        changes = [self._change(draw) for _ in range(draw.randint(1, 6))]
        if kind < 0.03:
            changes.append(("empty", table))
        elif kind < 0.06:
            changes.append(("many", table, 1000 + draw.randint(0, 3) * 1000, 400))
        elif kind < 0.12:
            changes.append(("clear", table, 1000))
        elif kind < 0.2:
            changes.append(("undo", table))
        return Transaction(changes, ROLLBACK if draw.random() < 0.2 else COMMIT)

    def _change(self, draw):
        table = self._table(draw)
        key, other = draw.randint(1, KEYS), draw.randint(1, KEYS)
        text = draw.choice((None, "", "caf\u00e9", f"s{draw.randint(0, 99)}"))
        return draw.choice((
            ("put", table, key, other, text, draw.choice((None, 1, 3000))),
            ("move", table, key, other),
            ("count", table, key, key + 5),
            ("text", table, key, text),
            ("big", table, key, draw.randint(0, 4000)),
            ("delete", table, key)))

    def pause(self):
        time.sleep(0.05)

    def await_more(self, count):
        goal = self.done + count
        wait_for(lambda: self.done >= goal, f"{count} transactions more")

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()


class Watch:
    """feed_watch, and what it says: states that are right, or what is wrong. Where it prints their
    rows, the database's judge says that."""

    def __init__(self, pond, database):
        self.judge = database.judge
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [os.path.join(BUILD, "bin", "feed_watch"), pond,
             *database.watch()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.state, self.found, self.states, self.reads = (-1, 0), None, 0, 0
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "at":
                self.state = (int(words[1]), int(words[2]))
            elif words[0] == "rows":
                self._judge(words[1:])
            elif words[0] == "seen":
                self.states, self.reads = int(words[1]), int(words[3])
            else:
                self.found = line.strip()

    def _judge(self, rows):
        if self.found:
            return
        try:
            self.state = self.judge.state(rows)
        except AssertionError as error:
            self.found = f"wrong: {error}"

    def check(self):
        if self.found or self.process.poll() is not None:
            raise AssertionError(self.found or f"feed_watch ended: {self.process.poll()}")

    def end(self):
        self.process.stdin.close()
        self.thread.join()
        self.process.wait()
        self.process.stdout.close()


class Run:
    def __init__(self, seed, database, options):
        self.database, self.seed = database, seed
        self.random = random.Random(seed)
        kinds = [options.fault] if options.fault else \
            list(database.FAULTS) + list(database.LOST) + list(DAEMON_FAULTS)
        self.faults = [self.random.choice(kinds) for _ in range(FAULTS_OF_A_RUN)]
        self.daemon = self.writers = self.watch = None
        self.done = 0

    def start(self):
        """Without waiting for all tables, which faults may keep away for long."""
        self.daemon.start(ready=False)

    def listens(self):
        try:
            self.daemon.table(self.database.GROUP)
        except OSError:
            return False
        return True

    def suffer(self, fault):
        if fault in self.database.FAULTS:
            self.database.FAULTS[fault](self.database, self.writers)
        elif fault == "compare":
            self.compare(0)
        else:
            if fault == "stop":
                wait_for(self.listens, "the daemon listens: before, it knows no signals")
                self.daemon.stop()
            else:
                self.daemon.kill()
            if fault in self.database.LOST:
                self.database.LOST[fault](self.database, self.writers)
            self.writers.await_more(3)
            self.start()

    def catch_up(self):
        """Until readers see what is committed now, so that the fault meets a feed that follows."""
        goal, _ = self.database.goal()

        def there():
            self.watch.check()
            return self.watch.state[0] >= goal
        wait_for(there, f"the pond is past {goal}", SETTLE_SECONDS)

    def settle(self):
        """No more writers: the pond comes to the last state, and a comparison finds nothing."""
        goal = self.database.goal()

        def there():
            self.watch.check()
            return self.watch.state == goal
        wait_for(there, f"the pond is at {goal}", SETTLE_SECONDS)
        before = self.compared()
        wait_for(lambda: self.compare(before), "a comparison of all rows", SETTLE_SECONDS)
        self.watch.check()
        drift = self.daemon.table(self.database.GROUP)["feed"]["drift_rows"]
        assert drift == 0, f"a comparison found drift in {drift} rows"
        assert "differed from the database" not in self.daemon.log(), "a comparison found drift"

    def compared(self):
        """When all rows were last compared, in a group that follows; else 0."""
        try:
            feed = (self.daemon.table(self.database.GROUP) or {}).get("feed") or {}
        except OSError:  # it does not listen yet
            return 0
        return feed["compared_ms"] or 0 if feed.get("state") == "following" else 0

    def compare(self, before):
        """Asks for one; whether there was one. What was not possible is so asked for again, too."""
        try:
            self.daemon.http("/refresh", "POST")
        except OSError:
            return False
        return self.compared() > before

    def go(self):
        self.database.fresh(self.seed)
        tables = "".join(TABLE.format(name, self.database.KEY, self.database.MORE)
                         for name in self.database.TABLES)
        with Daemon(tables, self.database.source(), memory="64MiB") as self.daemon:
            self.start()
            self.watch = Watch(self.daemon.pond, self.database)
            self.writers = Writers(self.database, self.seed)
            try:
                for fault in self.faults:
                    if self.random.random() < 0.5:
                        self.catch_up()
                    self.writers.await_more(self.random.randint(5, 60))
                    self.watch.check()
                    self.suffer(fault)
                self.writers.await_more(20)
            finally:
                self.writers.end()
                self.done = self.writers.done
                try:
                    if sys.exc_info()[0] is None:
                        self.settle()
                finally:
                    self.watch.end()


def attempt(seed, database, options):
    run, found = Run(seed, database, options), None
    begun = time.monotonic()
    try:
        run.go()
    except AssertionError as error:
        found = str(error)
    except Exception:  # pylint: disable=broad-except
        found = traceback.format_exc()
    record = {"seed": seed, "faults": run.faults, "found": found, "transactions": run.done,
              "states": run.watch.states if run.watch else 0,
              "reads": run.watch.reads if run.watch else 0,
              "seconds": round(time.monotonic() - begun, 2)}
    print(f"{seed} {' '.join(run.faults)}: {run.done} transactions, {record['states']} states, "
          f"{record['reads']} reads, {record['seconds']} s: {found or 'right'}", flush=True)
    return record


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--source", default="postgresql", choices=sorted(feed_databases.SOURCES))
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1000000))
    parser.add_argument("--fault", help="this one only")
    parser.add_argument("--program", help="another daemon in the build's bin")
    parser.add_argument("--broken", action="store_true", help="what is wrong has to be found")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse()
    if options.program:
        daemon_kit.PROGRAM = os.path.join(BUILD, "bin", options.program)
    database = feed_databases.named(options.source)()
    if not database.available():
        print(f"skipped: {options.source} is not installed")
        return 77
    print(f"seed {options.seed}, {options.runs} runs, {options.source}", flush=True)
    records = []
    try:
        database.start()
        for seed in range(options.seed, options.seed + options.runs):
            records.append(attempt(seed, database, options))
            if options.broken and records[-1]["found"]:
                break
    finally:
        database.remove()
    wrong = [record for record in records if record["found"]]
    print(f"{len(records) - len(wrong)} of {len(records)} runs are right: "
          f"{sum(record['transactions'] for record in records)} transactions, "
          f"{sum(record['states'] for record in records)} states seen by readers")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"seed": options.seed, "source": options.source, "runs": records}, file)
    return int(bool(wrong) != options.broken)


if __name__ == "__main__":
    sys.exit(main())
