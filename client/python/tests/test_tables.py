# SPDX-License-Identifier: Apache-2.0
"""Goal: tables and rows behave as Mappings with the rows of the database. Method: each statement of
the README, and each way to get it wrong, against a pond filled from SQLite."""
import collections.abc
import gc
import json
import math
from datetime import date, datetime, timezone
from decimal import Decimal
from uuid import UUID

import pytest
import sidepond
from conftest import ROWS, user

USER_COLUMNS = ["id", "name", "email", "city", "visits"]


def expected(number):
    return dict(zip(USER_COLUMNS, user(number)))


def test_pond(pond, shared):
    assert isinstance(pond, collections.abc.Mapping)
    assert list(pond) == ["kinds", "scores", "users", "words"] == list(pond.keys())
    assert len(pond) == 4 and "users" in pond and "nobody" not in pond
    assert pond.get("nobody") is None and pond.get("users") is pond["users"]
    assert pond.name == "test" and pond.version >= 1 and not pond.closed
    assert [name for name, table in pond.items() if len(table) == ROWS] == ["users", "words"]
    info = pond.info()
    assert info.state == "ready" and info.table_count == 4 and info.writer_alive
    assert info.writer_pid == shared.process.pid and info.heartbeat_age < 10
    assert 0 < info.used_bytes <= info.committed_bytes <= info.limit_bytes == 64 << 20
    assert "test" in repr(pond)


def test_wrong_names(pond):
    with pytest.raises(sidepond.NoTable, match="nobody"):
        pond["nobody"]
    with pytest.raises(KeyError):
        pond["nobody"]
    with pytest.raises(TypeError):
        pond[3]
    with pytest.raises(sidepond.NoPond):
        sidepond.open("/dev/shm/there-is-no-such-pond/")
    with pytest.raises(sidepond.NoPond, match="nosuchpond"):
        sidepond.open("nosuchpond")
    with pytest.raises(ValueError):
        sidepond.open("test", wait=-1)


def test_table_is_a_mapping(pond):
    users = pond["users"]
    assert isinstance(users, collections.abc.Mapping)
    assert len(users) == ROWS and 42 in users and ROWS not in users and 10**30 not in users
    assert users.get(42)["name"] == "User 42"
    assert users.get(ROWS) is None and users.get(ROWS, "none") == "none" and users.get(-1) is None
    assert sorted(users) == list(range(ROWS)) == sorted(users.keys())
    assert {key: dict(row) for key, row in users.items()} == {n: expected(n) for n in range(ROWS)}
    assert sum(row["visits"] for row in users.values()) == sum(n * 7 for n in range(ROWS))
    assert 3 in users.keys() and len(users.items()) == ROWS
    assert dict(users)[7] == expected(7)


def test_missing_rows(pond):
    users = pond["users"]
    with pytest.raises(sidepond.NotFound) as caught:
        users[ROWS]
    assert isinstance(caught.value, KeyError) and caught.value.key == ROWS
    assert str(caught.value) == f"no row {ROWS} in table 'users'"
    with pytest.raises(sidepond.NotFound):
        users[2**63]
    with pytest.raises(sidepond.NotFound):
        pond["words"]["no such word"]


def test_wrong_keys(pond):
    with pytest.raises(TypeError, match="id int64"):
        pond["users"]["abc"]
    with pytest.raises(TypeError):
        pond["users"][1, 2]
    with pytest.raises(TypeError):
        pond["users"][None]
    with pytest.raises(TypeError):
        pond["users"][object()]
    with pytest.raises(TypeError, match="player text, day date"):
        pond["scores"]["ann"]
    with pytest.raises(TypeError):
        pond["words"][b"w1", "w2"]


def test_rows(pond):
    row = pond["users"][42]
    assert isinstance(row, collections.abc.Mapping)
    assert row["email"] == row.email == "u42@example.org" and row["id"] == row.id == 42
    assert dict(row) == expected(42) and list(row) == list(row.keys()) == USER_COLUMNS
    assert list(row.values()) == list(user(42)) and len(row) == 5
    assert list(row.items()) == list(expected(42).items())
    assert "email" in row and "phone" not in row and row.get("phone", 1) == 1
    assert row.get("name") == "User 42"
    assert row == pond["users"][42] and row != pond["users"][43] and row == expected(42)
    assert row != 42 and "User 42" in repr(row)
    assert json.loads(row.json()) == expected(42)
    assert row["".join(["em", "ail"])] == "u42@example.org"  # a name that is not interned
    assert pond["users"][9].city is None
    with pytest.raises(sidepond.NoColumn, match="phone"):
        row["phone"]
    with pytest.raises(AttributeError):
        row.phone
    with pytest.raises(TypeError):
        hash(row)
    with pytest.raises(AttributeError):
        row.name = "other"


def test_a_column_may_be_called_like_a_method(pond):
    row = pond["scores"]["ann", date(2024, 1, 1)]
    assert row["keys"] == "k" and callable(row.keys)
    assert dict(row) == {"player": "ann", "day": date(2024, 1, 1), "points": 3, "keys": "k"}


def test_composite_keys(pond):
    scores = pond["scores"]
    assert scores["ann", date(2024, 1, 2)].points == 4
    assert scores["ann", "2024-01-02"].points == 4
    assert ("bob", date(2024, 1, 1)) in scores and ("bob", date(2024, 1, 2)) not in scores
    assert sorted(scores) == [("ann", date(2024, 1, 1)), ("ann", date(2024, 1, 2)),
                              ("bob", date(2024, 1, 1))]


def test_types(pond):
    kinds = pond["kinds"]
    assert list(kinds[1].values()) == [
        1, True, 1.5, Decimal("12.50"), "grüße", b"\x00\xff",
        datetime(2024, 2, 29, 12, 30, 15, 250000, timezone.utc), datetime(1999, 12, 31, 23, 59, 59),
        date(2024, 2, 29), UUID("0190e5a2-0000-7000-8000-000000000001"), {"a": [1, None]}]
    assert list(kinds[2].values()) == [2] + 10 * [None]
    assert list(kinds[3].values()) == [
        3, False, -0.25, Decimal(-3), "", b"",
        datetime(1969, 12, 31, 23, 59, 59, 999999, timezone.utc), datetime(1, 1, 1),
        date(9999, 12, 31), UUID(int=2**128 - 1), 3]
    assert kinds[1].flag is True and kinds[1].at.tzinfo is timezone.utc
    assert [c.type for c in kinds.schema.columns] == [
        "int64", "bool", "float64", "numeric", "text", "bytes", "timestamp", "datetime", "date",
        "uuid", "json"]


def test_schema_and_info(pond):
    users = pond["users"]
    schema = users.schema
    assert [c.name for c in schema.columns] == USER_COLUMNS and schema.key == ("id",)
    assert schema.columns[0] == sidepond.Column("id", "int64", False)
    assert schema.indexes == (sidepond.IndexInfo("by_email", True, ("email",)),
                              sidepond.IndexInfo("by_city", False, ("city",)))
    assert users.name == "users" and not users.stale and 0 <= users.age < 60
    assert users.loaded_at.tzinfo is timezone.utc
    assert abs((datetime.now(timezone.utc) - users.loaded_at).total_seconds()) < 60
    info = users.info()
    assert info.state == "fresh" and info.rows == ROWS and info.version == users.version
    assert info.max_stale is None and info.memory_bytes > 0 and math.isfinite(info.age)


def test_get_many(pond):
    users = pond["users"]
    keys = [5, ROWS, 3, 2**70] + list(range(ROWS))
    rows = users.get_many(keys)
    assert [row and row.id for row in rows] == [5, None, 3, None] + list(range(ROWS))
    assert dict(rows[-1]) == expected(ROWS - 1)
    assert users.get_many(iter([1])) == [users[1]] and users.get_many([]) == []
    with pytest.raises(TypeError):
        users.get_many(["abc"])
    with pytest.raises(TypeError):
        users.get_many(3)


def test_raw(pond):
    words = pond["words"]
    for number in (0, 1, 100, ROWS - 1):
        value = bytes([number % 256]) * number
        assert words.raw(f"w{number}").endswith(value) and words[f"w{number}"]["value"] == value
        assert words[f"w{number}"].raw == words.raw(f"w{number}")
    keys = [f"w{n}" for n in range(ROWS)]
    assert words.raw_many(keys + ["none"]) == [words.raw(k) for k in keys] + [None]
    with pytest.raises(sidepond.NotFound):
        words.raw("none")


def test_large_values(server):
    """Values that fit no buffer on the stack, and rows whose buffer is too large to be kept."""
    sizes = [2047, 2048, 2049, 16383, 16385, 300000]
    for size in sizes:
        server.execute("INSERT INTO words VALUES (?, ?)", f"large{size}", b"x" * size)
    with server.open() as pond:
        words = pond["words"]
        for _ in range(3):
            rows = [words[f"large{size}"] for size in sizes]
            assert [len(row["value"]) for row in rows] == sizes
        assert [len(raw) for raw in words.raw_many([f"large{s}" for s in sizes])] == [
            len(words.raw(f"large{s}")) for s in sizes]
        assert [len(row["value"]) for row in words.get_many([f"large{s}" for s in sizes])] == sizes


def test_getter(pond):
    email = pond["users"].getter("email")
    assert email(42) == "u42@example.org" and email(ROWS) is None
    assert [email(n) for n in range(ROWS)] == [user(n)[2] for n in range(ROWS)]
    with pytest.raises(sidepond.NoColumn):
        pond["users"].getter("phone")
    with pytest.raises(TypeError):
        email("abc")


def test_indexes(pond):
    users = pond["users"]
    by_email, by_city = users.by("by_email"), users.by("by_city")
    assert by_email.unique and not by_city.unique and by_email.name == "by_email"
    assert by_email["u42@example.org"] == users[42]
    assert "u1@example.org" in by_email and "nobody" not in by_email
    assert by_email.get("nobody") is None and by_email.get("u1@example.org").id == 1
    with pytest.raises(sidepond.NotFound):
        by_email["nobody"]
    assert sorted(row.id for row in by_city["city3"]) == list(range(3, ROWS, 10))
    assert by_city["nowhere"] == [] and by_city.get("nowhere") is None
    assert "city1" in by_city and "nowhere" not in by_city
    with pytest.raises(sidepond.NoIndex, match="by_age"):
        users.by("by_age")
    with pytest.raises(TypeError):
        by_city[3]


def test_rows_outlive_everything(shared):
    pond = shared.open()
    row, table = pond["users"][42], pond["users"]
    keys = iter(table)
    next(keys)
    pond.close()
    assert pond.closed
    for use in (lambda: pond["users"], lambda: table[1], lambda: len(table), pond.snapshot,
                lambda: pond.version, pond.info):
        with pytest.raises(ValueError, match="closed"):
            use()
    del pond, table, keys
    gc.collect()
    assert row["email"] == "u42@example.org"


def test_nothing_leaks(shared):
    """Ten thousand objects of each kind, and as many references as before."""
    import sys

    pond = shared.open()
    users = pond["users"]
    before = sys.getrefcount(users), sys.getrefcount(pond)
    for n in range(10000):
        key = n % ROWS
        dict(users[key])
        users.raw(key)
        users.get(-1)
        key in users
    for _ in range(20):
        list(users.items())
        users.get_many(range(ROWS))
        users.by("by_city")["city1"]
        with pond.snapshot() as snapshot:
            snapshot["users"][1].view("name")
    del snapshot
    gc.collect()
    assert (sys.getrefcount(users), sys.getrefcount(pond)) == before
