#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""soak_load.py ROLE PLACES SEED SECONDS - one process of the load that soak.py puts on a daemon.

ROLES says what there is. A role is a list of actions with their weights; it does one after another,
drawn at random, at a steady number per second, until its time is over or the daemon does something
wrong. Then it says on its standard output, as one JSON object, how often it did what.

PLACES is a JSON file that says where the daemon is. Values in the cache and rows of the tables name
their key and carry a checksum of themselves, so whoever reads one can tell whether it is whole.
"""
import json
import os
import random
import signal
import sqlite3
import sys
import time
import zlib
from collections import Counter

import process_kit
import soak_abuse
import soak_database
from resp_wire import Closed, Connection, request

KEYS = 12_000
PAIR = [f"together:{n}" for n in range(6)]
RECORD_BYTES = 24


class Wrong(Exception):
    """The daemon has done what it must not do."""


class Load:
    """What every action is given: where the daemon is, its random numbers, what it has done."""

    def __init__(self, places, seed):
        with open(places, encoding="utf-8") as file:
            self.places = json.load(file)
        self.seed = seed
        self.rng = random.Random(seed)
        self.counts = Counter()
        self.kept = {}  # what a role keeps from one action to the next
        self.connection = None

    def connect(self, **options):
        tcp = ("127.0.0.1", self.places["tcp"])
        return Connection(self.rng.choice([self.places["unix"], tcp]), **options)

    def ask(self, *arguments, connection=None):
        """The content of the reply, which must be no error; pushes before it are passed over."""
        connection = connection or self.connection
        kind, content = connection.command(*arguments)
        while kind == ">":
            kind, content = connection.read()
        if kind == "-":
            raise Wrong(f"{arguments[:3]}: {content}")
        return content

    def check(self, good, what):
        if not good:
            raise Wrong(what)

    def key(self):
        return f"key:{int(KEYS * self.rng.random() ** 2)}"

    def value(self, key):
        """Most are small, a few have many pages."""
        size = min(200_000, int(self.rng.lognormvariate(5.5, 1.3)))
        body = b"|%s|%s" % (key.encode(), b"x" * size)
        return b"%08x%s" % (zlib.crc32(body), body)

    def check_value(self, key, value):
        if value is not None and not (int(value[:8], 16) == zlib.crc32(value[8:])
                                      and value[8:].startswith(b"|%s|" % key.encode())):
            raise Wrong(f"{key} is {value[:100]!r} of {len(value)} bytes")


# --- writes: commands of every kind on one connection ---


def sets(load):
    key = load.key()
    options = load.rng.choice([[], [], ["EX", "100"], ["PX", str(load.rng.randrange(1, 5000))],
                               ["NX"], ["XX"], ["KEEPTTL"]])
    load.ask("SET", key, load.value(key), *options)


def gets(load):
    key = load.key()
    load.check_value(key, load.ask("GET", key))
    keys = [load.key() for _ in range(5)]
    for key, (_, value) in zip(keys, load.ask("MGET", *keys)):
        load.check_value(key, value)


def deletes(load):
    key = load.key()
    load.check_value(key, load.ask("GETDEL", key))
    load.ask(load.rng.choice(["DEL", "UNLINK"]), load.key(), load.key())


def appends(load):
    key = f"log:{load.rng.randrange(200)}"
    tail = b"%016x" % load.rng.getrandbits(64)
    if load.ask("APPEND", key, b"%08x%s" % (zlib.crc32(tail), tail)) > 6000:
        load.ask("DEL", key)
    log = load.ask("GET", key) or b""
    for at in range(0, len(log), RECORD_BYTES):
        record = log[at:at + RECORD_BYTES]
        load.check(int(record[:8], 16) == zlib.crc32(record[8:]), f"{key} at {at} is {record!r}")


def counts(load):
    """Nobody else changes this key: it grows by one, or was evicted."""
    key = f"count:{load.seed}:{load.rng.randrange(50)}"
    last = load.kept.get(key, 0)
    now = load.ask("INCR", key)
    load.check(now in (1, last + 1), f"{key} was {last}, and after INCR {now}")
    load.kept[key] = now


def transactions(load):
    number = f"{load.seed}.{sum(load.counts.values())}"
    if load.rng.random() < 0.3:
        load.ask("WATCH", load.key(), *PAIR)
    load.ask("MULTI")
    for key in PAIR:
        load.ask("SET", key, number, *load.rng.choice([[], ["PX", "3000"]]))
    load.ask(load.rng.choice(["EXEC", "EXEC", "EXEC", "DISCARD"]))
    values = {value for _, value in load.ask("MGET", *PAIR)} - {None}
    load.check(len(values) <= 1, f"a transaction was seen in part: {values}")


def failed_transaction(load):
    load.ask("MULTI")
    load.ask("SET", load.key(), "never")
    load.connection.command("NONSENSE")
    load.check(load.connection.command("EXEC")[0] == "-", "EXEC after an error in the queue")


def pipelines(load):
    keys = [load.key() for _ in range(20)]
    load.connection.send(b"".join(request(["SET", key, load.value(key)]) + request(["GET", key])
                                  for key in keys))
    for key in keys:
        load.check(load.connection.read() == ("+", b"OK"), "SET in a pipeline")
        load.check_value(key, load.connection.read()[1])


def expiries(load):
    key = load.key()
    load.ask("PEXPIRE", key, str(load.rng.randrange(1, 3000)))
    load.ask("PERSIST", load.key())
    load.ask("GETEX", load.key(), "PX", "2000")
    load.ask("TTL", key)


def moves(load):
    key = load.key()
    load.ask("COPY", key, f"copy:{load.rng.randrange(500)}", "REPLACE")
    payload = load.ask("DUMP", key)
    if payload is not None:
        load.ask("RESTORE", key, "0", payload, "REPLACE")
    load.connection.command("RENAME", f"copy:{load.rng.randrange(500)}", "copy:0")
    load.ask("SETRANGE", f"range:{load.rng.randrange(50)}", str(load.rng.randrange(3000)), "xyz")


def walks(load):
    cursor = b"0"
    while True:
        (_, cursor), _ = load.ask("SCAN", cursor, "COUNT", "500", *load.rng.choice(
            [[], ["MATCH", "log:*"], ["TYPE", "string"]]))
        if cursor == b"0":
            return


def asks_for_rows(load):
    number = load.rng.randrange(soak_database.ROWS * 2)
    row = load.ask("GET", f"people:{number}")
    if row is not None:
        load.check(soak_database.is_whole(json.loads(row)), f"people:{number} is {row[:200]!r}")
    load.ask("HGETALL", f"notes:{number}")
    load.ask("HGET", f"held:{number}", "stamp")


def fill(load):
    """Every key there is, so that the cache is full."""
    with load.connect() as connection:
        for first in range(0, KEYS, 100):
            keys = [f"key:{number}" for number in range(first, min(first + 100, KEYS))]
            connection.send(b"".join(request(["SET", key, load.value(key)]) for key in keys))
            for key in keys:
                load.check(connection.read() == ("+", b"OK"), f"SET {key}")


# --- listens: clients that are told of what others do, come and go ---


def another(load):
    return load.ask("SET", load.kept["key"], load.value(load.kept["key"]),
                    connection=load.kept["other"])


def await_push(load, connection, wanted):
    for _ in range(10_000):
        _, content = connection.read()
        if isinstance(content, list) and wanted(content):
            return
    raise Wrong("a push that does not come")


def is_of(key):
    """Whether a push says that the key, or everything, has changed."""
    def of(content):
        if len(content) < 2 or (content[-1][0] != "*" and content[-1][1] is not None):
            return False
        return content[-1][1] is None or ("$", key.encode()) in content[-1][1]
    return of


def with_listener(action):
    """Gives the action a fresh connection and another one, and leaves in one of several ways."""
    def listens(load):
        with load.connect() as connection, load.connect() as load.kept["other"]:
            load.kept["key"] = load.key()
            action(load, connection)
            if load.rng.random() < 0.3:
                connection.send(request(["RESET"]))
            elif load.rng.random() < 0.4:
                soak_abuse.hang_up(connection)
    listens.__name__ = action.__name__
    return listens


@with_listener
def subscribes(load, connection):
    channel = f"channel:{load.seed}"
    for words in (["SUBSCRIBE", channel, "others"], ["PSUBSCRIBE", "__keyevent@0__:*", "chan*"]):
        connection.send(request(words))
    await_push(load, connection, lambda c: c[0] == ("$", b"psubscribe") and c[2] == (":", 4))
    load.ask("PUBLISH", channel, "x" * load.rng.randrange(5000), connection=load.kept["other"])
    await_push(load, connection, lambda c: ("$", channel.encode()) in c and c[0][1] == b"message")
    if load.rng.random() < 0.5:
        connection.send(request(["UNSUBSCRIBE"]) + request(["PUNSUBSCRIBE"]))


@with_listener
def tracks(load, connection):
    mode = load.rng.choice([[], ["NOLOOP"], ["BCAST"], ["BCAST", "PREFIX", "key:", "PREFIX", "log:"],
                            ["OPTIN"], ["OPTOUT"]])
    load.ask("HELLO", "3", connection=connection)
    load.ask("CLIENT", "TRACKING", "ON", *mode, connection=connection)
    if mode == ["OPTIN"]:
        load.ask("CLIENT", "CACHING", "YES", connection=connection)
    load.ask("MGET", load.kept["key"], *[load.key() for _ in range(50)], connection=connection)
    another(load)
    await_push(load, connection, is_of(load.kept["key"]))
    load.ask("GET", f"people:{load.rng.randrange(100)}", connection=connection)


@with_listener
def redirects(load, connection):
    with load.connect() as reading:
        number = load.ask("CLIENT", "ID", connection=connection)
        connection.command("SUBSCRIBE", "__redis__:invalidate")
        load.ask("CLIENT", "TRACKING", "ON", "REDIRECT", str(number), connection=reading)
        load.ask("GET", load.kept["key"], connection=reading)
        another(load)
        await_push(load, connection, is_of(load.kept["key"]))


# --- computes: one has a key's lease, the others wait ---


def computes(load):
    key = f"lease:{load.rng.randrange(30)}"
    with load.connect() as holder, load.connect() as waiting:
        load.ask("DEL", key, connection=holder)
        got = load.ask("SIDEPOND", "LEASE", key, "0", "HOLD", "2000", connection=holder)
        if got is None or got[0][1] != b"lease":
            return
        waiting.send(request(["SIDEPOND", "LEASE", key, "2000"]))
        end = load.rng.choice(["fill", "fill", "release", "hang up", "delete", "waiter leaves"])
        if end == "fill":
            value = load.value(key)
            filled = load.ask("SIDEPOND", "FILL", key, str(got[1][1]), value, "PX", "1000",
                              connection=holder)
            kind, said = waiting.read()
            load.check(kind != "-", said)
            if filled == 1 and said is not None and said[0][1] != b"lease":
                load.check_value(key, said[1][1])
        elif end == "release":
            load.ask("SIDEPOND", "RELEASE", key, str(got[1][1]), connection=holder)
            waiting.read()
        elif end == "hang up":
            soak_abuse.hang_up(holder)
            waiting.read()
        elif end == "delete":
            load.ask("DEL", key, connection=holder)
        else:
            soak_abuse.hang_up(waiting)


# --- reads: the Python binding on shared memory, attached and detached ---


def attached(action):
    def reads(load):
        import sidepond
        with sidepond.open(load.places["pond"], wait=5) as pond:
            for _ in range(load.rng.randrange(1, 10)):
                action(load, pond)
    reads.__name__ = action.__name__
    return reads


@attached
def reads_rows(load, pond):
    people, notes = pond["people"], pond["notes"]
    for number in load.rng.sample(range(soak_database.ROWS * 2), 20):
        for table in (people, notes):
            row = table.get(number)
            load.check(row is None or soak_database.is_whole(row), f"{table.name} {number}: {row!r}")
    for row in people.by("by_city").get(f"city {load.rng.randrange(soak_database.CITIES)}", []):
        load.check(soak_database.is_whole(row), f"by_city: {row!r}")


@attached
def reads_snapshots(load, pond):
    """Two tables of a group are of the same commit."""
    with pond.snapshot() as snapshot:
        left = {row["id"]: row["stamp"] for row in snapshot["held"].values()}
        right = {row["id"]: row["stamp"] for row in snapshot["holding"].values()}
    load.check(left == right, f"held and holding differ: {set(left.items()) ^ set(right.items())}")


@attached
def reads_cache(load, pond):
    keys = [load.key() for _ in range(30)]
    for key, value in zip(keys, pond.cache.get_many(keys)):
        load.check_value(key, value)
    pond.cache.set(keys[0], load.value(keys[0]), ttl=load.rng.choice([None, 1, 60]))
    key = f"computed:{load.rng.randrange(20)}"
    load.check_value(key, pond.cache.get_or_compute(key, lambda: load.value(key), ttl=1, stale=1))


def dies_with_snapshot(load):
    """A process that is killed while it holds a snapshot, or ends without a word."""
    import sidepond
    pid = os.fork()
    if pid == 0:
        pond = sidepond.open(load.places["pond"], wait=5)
        snapshot = pond.snapshot()
        len(snapshot["people"])
        os.kill(os.getpid(), load.rng.choice([signal.SIGKILL, signal.SIGTERM]))
    os.waitpid(pid, 0)


# --- operates: what is done by whoever runs the daemon ---


def reloads(load):
    """Takes turns at configurations that have a table, limits and a log that the other has not."""
    turn = load.kept["turn"] = (load.kept.get("turn", 0) + 1) % len(load.places["configs"])
    os.replace(soak_database.copy_of(load.places["configs"][turn]), load.places["config"])
    before = soak_abuse.metric(load, "sidepond_config_reloads_total")
    os.kill(load.places["pid"], signal.SIGHUP)
    for _ in range(1000):
        if soak_abuse.metric(load, "sidepond_config_reloads_total") != before:
            return
        time.sleep(0.01)
    raise Wrong("a reload that does not end")


def settings(load):
    for words in (["slowlog-log-slower-than", str(load.rng.randrange(0, 5000))],
                  ["maxmemory", "5632kb"], ["maxmemory", load.places["cache_memory"]],
                  ["notify-keyspace-events", load.rng.choice(["", "KEA", "Kg$"])],
                  ["tracking-table-max-keys", load.rng.choice(["500", "20000"])],
                  ["slowlog-max-len", load.rng.choice(["10", "100"])]):
        load.ask("CONFIG", "SET", *words)


def looks(load):
    for words in (["INFO", "everything"], ["CLIENT", "LIST"], ["SLOWLOG", "GET", "10"],
                  ["SIDEPOND", "TABLES"], ["SIDEPOND", "STATUS"], ["COMMAND", "DOCS"],
                  ["LATENCY", "HISTOGRAM"], ["MEMORY", "STATS"], ["ACL", "LOG"], ["DBSIZE"]):
        load.ask(*words)
    load.ask("SIDEPOND", "REFRESH", "people", *load.rng.choice([[], ["WAIT", "2000"]]))


def checks(load):
    found = load.ask("SIDEPOND", "CHECK")
    found = dict(zip([name for _, name in found[::2]], [value for _, value in found[1::2]]))
    load.check(found[b"sound"] == 1, f"SIDEPOND CHECK: {found}")


def users(load):
    name = f"user{load.rng.randrange(5)}"
    load.ask("ACL", "SETUSER", name, "on", ">secret", "~key:*", "&*", "+@all", "-config")
    with load.connect() as connection:
        connection.command("AUTH", name, load.rng.choice(["secret", "wrong"]))
        connection.command("GET", "log:1")
        connection.command("CONFIG", "GET", "*")
        load.ask("ACL", "DELUSER", name)


ROLES = {
    "writes": (300, {sets: 8, gets: 8, deletes: 1, appends: 3, counts: 3, transactions: 2,
                     failed_transaction: 1, pipelines: 1, expiries: 2, moves: 1, asks_for_rows: 2,
                     walks: 0.02}),
    "listens": (40, {subscribes: 2, tracks: 3, redirects: 2}),
    "abuses": (60, soak_abuse.ACTIONS),
    "computes": (40, {computes: 1}),
    "reads": (25, {reads_rows: 3, reads_snapshots: 1, reads_cache: 4, dies_with_snapshot: 0.5}),
    "operates": (6, {reloads: 3, settings: 3, looks: 2, checks: 0.2, users: 3}),
    "changes": (30, soak_database.ACTIONS),
}


def run(load, role, seconds):
    rate, actions = ROLES[role]
    pause = 1 / (rate * load.places["rate"])
    end, due = time.monotonic() + seconds, time.monotonic()
    names, weights = list(actions), list(actions.values())
    while time.monotonic() < end:
        action = load.rng.choices(names, weights)[0]
        try:
            action(load)
        except (Wrong, OSError, Closed, KeyError, sqlite3.Error, RuntimeError) as error:
            raise Wrong(f"{role}, {action.__name__}: {error!r}") from error
        load.counts[action.__name__] += 1
        due = max(due + pause, time.monotonic() - 1)  # a second late at most is made up for
        time.sleep(max(0, due - time.monotonic()))


def main():
    role, places, seed, seconds = sys.argv[1:]
    process_kit.end_with_parent()
    load = Load(places, seed)
    with load.connect() as load.connection:
        run(load, role, float(seconds))
    print(json.dumps(load.counts))


if __name__ == "__main__":
    main()
