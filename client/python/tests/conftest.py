# SPDX-License-Identifier: Apache-2.0
"""A real pond for the tests: a SQLite database, and sidepondd that serves it.

The daemon is that of $SIDEPOND_BUILD_DIR, else the one in $PATH. Everything lies in a directory of
its own, and the daemon is ended by its process id.
"""
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import sidepond

ROWS = 1000
PATIENCE = 20

CONFIG = """
pond: test
memory: 64MiB
directory: {pond}
lease_limit: {lease_limit}
{extra}
log: {{level: info}}
sources:
  - {{name: app, type: sqlite, path: {database}}}
tables:
  - name: users
    source: app
    key: [id]
    group: all
    refresh: {{every: 50ms}}
    max_drop: 100%
    indexes:
      - {{name: by_email, columns: [email], unique: true}}
      - {{name: by_city, columns: [city]}}
  - {{name: words, source: app, key: [word], group: all, refresh: {{every: 50ms}}}}
  - {{name: scores, source: app, key: [player, day], group: all, refresh: {{every: 50ms}}}}
  - {{name: kinds, source: app, key: [id], group: all, refresh: {{every: 50ms}}}}
"""

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL,
                    city TEXT, visits INTEGER NOT NULL);
CREATE TABLE words (word TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE scores (player TEXT NOT NULL, day DATE NOT NULL, points INTEGER,
                     keys TEXT, PRIMARY KEY (player, day));
CREATE TABLE kinds (id INTEGER PRIMARY KEY NOT NULL, flag BOOLEAN, ratio REAL, price DECIMAL(10, 2),
                    text TEXT, blob BLOB, at TIMESTAMP, local DATETIME, day DATE, uuid UUID,
                    doc JSON);
"""

KINDS = [
    (1, 1, 1.5, "12.50", "grüße", b"\x00\xff", "2024-02-29T12:30:15.250Z", "1999-12-31 23:59:59",
     "2024-02-29", "0190e5a2-0000-7000-8000-000000000001", '{"a": [1, null]}'),
    (2, *[None] * 10),
    (3, 0, -0.25, "-3", "", b"", "1969-12-31T23:59:59.999999Z", "0001-01-01 00:00:00",
     "9999-12-31", "ffffffff-ffff-ffff-ffff-ffffffffffff", "3"),
]


def user(number):
    return (number, f"User {number}", f"u{number}@example.org",
            None if number % 10 == 9 else f"city{number % 10}", number * 7)


def fill(database):
    with sqlite3.connect(database) as connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)",
                               [user(n) for n in range(ROWS)])
        connection.executemany("INSERT INTO words VALUES (?, ?)",
                               [(f"w{n}", bytes([n % 256]) * n) for n in range(ROWS)])
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?)",
                               [("ann", "2024-01-01", 3, "k"), ("ann", "2024-01-02", 4, None),
                                ("bob", "2024-01-01", None, "x")])
        connection.executemany(f"INSERT INTO kinds VALUES ({', '.join('?' * 11)})", KINDS)
    connection.close()


def program(name, needed=True):
    built = Path(os.environ.get("SIDEPOND_BUILD_DIR", "/nowhere")) / "bin" / name
    found = str(built) if built.exists() else shutil.which(name)
    if found is None and needed:
        pytest.exit(f"no {name}: set SIDEPOND_BUILD_DIR or PATH", 1)
    return found


class Server:
    """A daemon with its database and pond; `extra` are lines for its configuration."""

    def __init__(self, lease_limit="60s", extra=""):
        memory = Path("/dev/shm")
        parent = str(memory) if os.access(memory, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="sidepond-python-", dir=parent))
        self.database = self.folder / "app.db"
        self.pond = self.folder / "test"
        self.config = self.folder / "test.yaml"
        self.config.write_text(CONFIG.format(pond=self.pond, database=self.database,
                                             lease_limit=lease_limit, extra=extra))
        self.process = None
        self.has_cache = "cache:" in extra
        fill(self.database)

    def start(self):
        """A pond can be opened a moment before its cache's socket is listened on."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([program("sidepondd"), str(self.config)], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while self.has_cache and not self.listens():
            assert self.process.poll() is None and time.monotonic() < until, "it does not serve"
            time.sleep(0.01)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.pond / "socket")) == 0

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def open(self, **options):
        try:
            return sidepond.open(self.pond, wait=20, **options)
        except sidepond.Error as error:
            log = (self.folder / "log").read_text()
            raise AssertionError(f"{error}; the daemon's log:\n{log}") from error

    def execute(self, statement, *parameters):
        """Changes the database, and waits until the pond has it."""
        with self.open() as pond:
            before = pond.version
            with sqlite3.connect(self.database, timeout=20) as connection:
                connection.execute(statement, parameters)
            connection.close()
            pond.wait(before, 20)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)


@contextmanager
def running(**options):
    own = Server(**options)
    try:
        own.start()
        yield own
    finally:
        own.remove()


@pytest.fixture(scope="session")
def shared():
    """One server for all tests that only read."""
    with running() as own:
        yield own


@pytest.fixture
def pond(shared):
    with shared.open() as opened:
        yield opened


@pytest.fixture
def server():
    """A server of the test's own, which it may change."""
    with running() as own:
        yield own


@pytest.fixture
def hasty():
    """A server that takes snapshots back after a moment."""
    with running(lease_limit="1s") as own:
        yield own


@pytest.fixture
def cached():
    """A server with a cache."""
    with running(extra="cache: {memory: 16MiB}") as own:
        yield own
