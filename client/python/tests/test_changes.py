# SPDX-License-Identifier: Apache-2.0
"""Goal: snapshots, waiting, changes of data and shape, forks, threads and signals. Method: a daemon
of the test's own, whose database is changed while the test looks."""
import os
import signal
import sqlite3
import threading
import time

import pytest
import sidepond
from conftest import ROWS


def in_child(work):
    """Runs work() in a forked child; its exit code must be 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_snapshot(server):
    with server.open() as pond:
        users = pond["users"]
        with pond.snapshot() as snapshot:
            inside = snapshot["users"]
            row = inside[1]
            server.execute("UPDATE users SET name = 'new' WHERE id = 1")
            server.execute("DELETE FROM users WHERE id = 2")
            assert users[1].name == "new" and 2 not in users and len(users) == ROWS - 1
            assert row.name == inside[1].name == "User 1" and 2 in inside
            assert len(inside) == ROWS and len(list(inside)) == ROWS
            assert snapshot.version < pond.version and list(snapshot) == list(pond)
            assert inside.by("by_email")["u2@example.org"].id == 2
            assert len(inside.by("by_city")["city2"]) == ROWS // 10
            assert inside.get_many([2, ROWS])[0].id == 2
            assert inside.raw(1) == row.raw and "User 1" in row.json()
            assert dict(snapshot.items()).keys() == set(pond) and snapshot.get("none") is None
            assert [reader.pid for reader in pond.readers()] == [os.getpid()]
            snapshot.check()
        assert pond.readers() == [] and snapshot.closed
        for use in (lambda: row.name, lambda: inside[1], lambda: snapshot["users"], row.json,
                    snapshot.check, lambda: row.view("name")):
            with pytest.raises(sidepond.Stale, match="ended"):
                use()


def test_views(server):
    with server.open() as pond:
        with pond.snapshot() as snapshot:
            row = snapshot["words"]["w200"]
            view = row.view("value")
            assert isinstance(view, memoryview) and view.readonly and bytes(view) == b"\xc8" * 200
            assert view[:3].tobytes() == b"\xc8" * 3
            assert snapshot["users"][1].view("name") == b"User 1"
            assert snapshot["users"][9].view("city") is None
            for _ in range(1000):
                row.view("value")
            with pytest.raises(TypeError, match="int64"):
                snapshot["users"][1].view("visits")
            kept = view[100:]
        with pytest.raises(ValueError):
            bytes(view)
        assert len(kept) == 100  # its memory stays as long as it is looked at
        assert len(pond.readers()) == 1
        del kept
        assert pond.readers() == []
        with pytest.raises(ValueError):
            pond["words"]["w200"].view("value")


def test_a_snapshot_held_too_long_is_stale(hasty):
    with hasty.open() as pond, pond.snapshot() as snapshot:
        row = snapshot["users"][1]
        assert row.name == "User 1"
        hasty.execute("UPDATE users SET name = 'new' WHERE id = 1")  # now it is in the way
        assert row.name == "User 1"
        deadline = time.monotonic() + 30
        with pytest.raises(sidepond.Stale):
            while time.monotonic() < deadline:
                snapshot.check()
                time.sleep(0.02)
        with pytest.raises(sidepond.Stale):
            row.name
        assert pond["users"][1].name == "new"


def test_wait(server):
    with server.open() as pond:
        start = time.monotonic()
        with pytest.raises(sidepond.Timeout):
            pond.wait(timeout=0.2)
        assert 0.15 < time.monotonic() - start < 10
        with pytest.raises(TimeoutError):
            pond.wait(version=pond.version, timeout=0)
        assert pond.wait(version=0) == pond.version
        before = pond.version
        seen = []
        thread = threading.Thread(target=lambda: seen.append(pond.wait(before, timeout=20)))
        thread.start()
        server.execute("UPDATE users SET visits = 1 WHERE id = 5")
        thread.join()
        assert seen[0] > before and pond["users"][5].visits == 1
        with pytest.raises(ValueError):
            pond.wait(timeout=-1)


class Rung(Exception):
    pass


def test_signals_end_a_wait(server):
    def ring(number, frame):
        raise Rung

    with server.open() as pond:
        old = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Rung):
                pond.wait()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Rung):
                sidepond.open("/dev/shm/there-is-no-such-pond/", wait=60)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)


def test_fork(server):
    with server.open() as pond:
        users = pond["users"]
        row, iterator = users[1], iter(users)
        first = next(iterator)
        with pond.snapshot() as snapshot:
            snapshot_row = snapshot["users"][1]

            def work():
                assert users[2].name == "User 2" and row.name == "User 1"
                with pytest.raises(sidepond.Forked):
                    snapshot_row.name
                with pytest.raises(sidepond.Forked):
                    next(iterator)
                with pond.snapshot() as own:
                    assert own["users"][3].name == "User 3"
                    assert len(list(users)) == ROWS
                before = pond.version
                server.execute("UPDATE users SET name = 'forked' WHERE id = 2")
                pond.wait(before - 1, 20)
                assert users[2].name == "forked"

            in_child(work)
            assert snapshot_row.name == "User 1" and snapshot["users"][2].name == "User 2"
        assert users[2].name == "forked" and len({first, *iterator}) == ROWS


def test_threads(server):
    """Eight threads read by all ways while the rows change; every row is checked against itself."""
    stop = threading.Event()
    faults, reads = [], [0] * 8

    def read(number):
        try:
            while not stop.is_set():
                for key in range(number, ROWS, 50):
                    row = users[key]
                    assert row.id == key and row.email == f"u{key}@example.org"
                    assert email(key) == f"u{key}@example.org"
                    reads[number] += 1
                assert [row.id for row in users.get_many(range(100))] == list(range(100))
                with pond.snapshot() as snapshot:
                    rows = list(snapshot["users"].values())
                    assert len({row.visits - 7 * row.id for row in rows}) == 1
        except BaseException as error:
            faults.append(error)

    with server.open() as pond:
        users, email = pond["users"], pond["users"].getter("email")
        threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            server.execute("UPDATE users SET visits = visits + 1")
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults and min(reads) > 0


def test_the_shape_may_change(server):
    with server.open() as pond:
        users = pond["users"]
        old, getter = users[1], users.getter("city")
        with sqlite3.connect(server.database, timeout=20) as connection:
            connection.execute("ALTER TABLE users ADD COLUMN phone TEXT")
        connection.close()
        deadline = time.monotonic() + 20
        while "phone" not in users[1] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert users[1].phone is None and "phone" not in old and old.email == "u1@example.org"
        assert getter(1) == "city1" and len(users.schema.columns) == 6
        assert users.by("by_email")["u1@example.org"].get("phone", 1) is None


def test_the_daemon_may_die(server):
    with server.open() as pond:
        users = pond["users"]
        server.stop(signal.SIGKILL)
        assert users[1].name == "User 1" and not pond.info().writer_alive
        with pond.snapshot() as snapshot:
            assert len(list(snapshot["users"])) == ROWS
        server.start()
        server.execute("UPDATE users SET name = 'again' WHERE id = 1")
        assert users[1].name == "again"
