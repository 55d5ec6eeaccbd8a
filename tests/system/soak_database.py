# SPDX-License-Identifier: Apache-2.0
"""soak_database.py - the database of the soak test: its tables, the changes to them, and how a row
says that it is whole.

Rows come and go at random and are of random lengths, but in such a way that on the average there are
as many, and as long ones, as at the first moment: about half of the keys below 2 * ROWS.
"""
import os
import random
import shutil
import sqlite3
import zlib

ROWS = 1500
CITIES = 40
SCHEMA = """
pragma journal_mode = wal;
create table people (id integer primary key, city text not null, body text not null, sum int not null);
create table notes (id integer primary key, owner int, body text not null, sum int not null);
create table held (id integer primary key, stamp int not null, changed int not null);
create table holding (id integer primary key, stamp int not null, changed int not null);
create table extra (id integer primary key, body text not null, sum int not null);
create index held_changed on held (changed);
create index holding_changed on holding (changed);
"""

# The tables as the daemon is told of them: each way to refresh, in groups and alone, with indexes.
TABLES = """
  - {name: people, source: app, key: [id], refresh: {every: 250ms},
     indexes: [{name: by_city, columns: [city]}]}
  - {name: notes, source: app, key: [id], refresh: {mode: notified, every: 100ms},
     indexes: [{name: by_owner, columns: [owner]}, {name: by_sum, columns: [sum, id], unique: true}]}
  - {name: held, source: app, key: [id], group: pair, refresh: &pair {mode: incremental, every: 150ms,
     watermark: changed, overlap: 200, full_every: 2s}}
  - {name: holding, source: app, key: [id], group: pair, refresh: *pair}
"""
EXTRA_TABLE = """
  - {name: extra, source: app, key: [id], refresh: {every: 300ms}}
"""


def copy_of(path):
    return shutil.copy(path, path + ".copy")


def checksum(number, body):
    return zlib.crc32(f"{number}|{body}".encode())


def is_whole(row):
    return row["sum"] == checksum(row["id"], row["body"])


def body(rng):
    """Short ones of a few bytes, and some of several thousand."""
    return "y" * min(20_000, int(rng.lognormvariate(4.5, 1.4)))


def put(database, rng, table, number):
    text = body(rng)
    values = {"id": number, "body": text, "sum": checksum(number, text),
              "city": f"city {rng.randrange(CITIES)}", "owner": rng.choice([None, rng.randrange(50)])}
    columns = {"people": ["id", "city", "body", "sum"], "notes": ["id", "owner", "body", "sum"],
               "extra": ["id", "body", "sum"]}[table]
    database.execute(f"insert or replace into {table} ({', '.join(columns)}) values "
                     f"({', '.join('?' * len(columns))})", [values[name] for name in columns])


def put_pair(database, rng, number):
    stamp = rng.getrandbits(40)
    for table in ("held", "holding"):
        database.execute(
            f"insert or replace into {table} values "
            "(?, ?, (select max(m) + 1 from (select coalesce(max(changed), 0) m from held "
            "union all select coalesce(max(changed), 0) from holding)))", [number, stamp])


def create(path, seed):
    rng = random.Random(seed)
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    with database:
        for number in rng.sample(range(ROWS * 2), ROWS):
            for table in ("people", "notes", "extra"):
                put(database, rng, table, number)
            put_pair(database, rng, number)
    database.close()


def connected(load):
    if "database" not in load.kept:
        load.kept["database"] = sqlite3.connect(load.places["database"], timeout=30)
    return load.kept["database"]


def change(load, tables, rows):
    """A row that is there is deleted or changed, one that is not is put in."""
    database = connected(load)
    with database:
        for _ in range(rows):
            table, number = load.rng.choice(tables), load.rng.randrange(ROWS * 2)
            there = database.execute(f"select 1 from {table} where id = ?", [number]).fetchone()
            if there and load.rng.random() < 0.5:
                for one in ("held", "holding") if table == "held" else (table,):
                    database.execute(f"delete from {one} where id = ?", [number])
            elif there or load.rng.random() < 0.5:
                if table == "held":
                    put_pair(database, load.rng, number)
                else:
                    put(database, load.rng, table, number)


def changes_some(load):
    change(load, ["people", "notes", "extra", "held"], 8)


def changes_many(load):
    change(load, [load.rng.choice(["people", "notes", "held"])], 150)


def gives_up(load):
    """A transaction that is rolled back."""
    database = connected(load)
    database.execute("delete from people where id % 2 = 0")
    database.rollback()


def checkpoints(load):
    connected(load).execute("pragma wal_checkpoint(truncate)")


def looks_into(path):
    """How many rows each table has."""
    database = sqlite3.connect(path)
    counts = {table: database.execute(f"select count(*) from {table}").fetchone()[0]
              for table in ("people", "notes", "held", "holding")}
    database.close()
    return counts


def remove(path):
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            os.remove(path + end)


ACTIONS = {changes_some: 20, changes_many: 1, gives_up: 0.5, checkpoints: 0.3}
