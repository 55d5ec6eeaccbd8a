# SPDX-License-Identifier: Apache-2.0
"""Goal: documents are dicts, their fields are found by path, and keys of every type of MongoDB find
their rows. Method: a pond of documents that are encoded here, byte by byte, and put in by a program
of the build (bson_pond); every row is read whole, by field, and in a snapshot."""
import copy
import pickle
import shutil
import struct
import subprocess
import tempfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
import sidepond
from conftest import program
from sidepond import Binary, Code, DBPointer, MaxKey, MinKey, ObjectId, Regex, Timestamp

UTC = timezone.utc
OID = ObjectId("507f1f77bcf86cd799439011")
GUID = UUID("0190e5a2-0000-7000-8000-000000000001")
WHEN = datetime(2024, 2, 29, 12, 30, 15, 250000, UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Raw:
    """A value in BSON."""

    def __init__(self, kind, data):
        self.kind, self.data = kind, data


def text(value):
    data = value.encode()
    return struct.pack("<i", len(data) + 1) + data + b"\0"


def binary(subtype, data):
    return struct.pack("<iB", len(data), subtype) + data


def element(value):
    """A value's type and bytes."""
    if isinstance(value, Raw):
        return value.kind, value.data
    if isinstance(value, bool):
        return 8, bytes([value])
    if isinstance(value, int):
        narrow = -2**31 <= value < 2**31
        return (16, struct.pack("<i", value)) if narrow else (18, struct.pack("<q", value))
    if isinstance(value, float):
        return 1, struct.pack("<d", value)
    if isinstance(value, str):
        return 2, text(value)
    if isinstance(value, dict):
        return 3, document(value)
    if isinstance(value, list):
        return 4, document({str(i): item for i, item in enumerate(value)})
    if isinstance(value, bytes):
        return 5, binary(0, value)
    if isinstance(value, UUID):
        return 5, binary(4, value.bytes)
    if isinstance(value, ObjectId):
        return 7, value.binary
    if isinstance(value, datetime):
        return 9, struct.pack("<q", (value - EPOCH) // timedelta(milliseconds=1))
    assert value is None
    return 10, b""


def document(fields):
    body = b""
    for name, value in fields.items():
        kind, data = element(value)
        body += bytes([kind]) + name.encode() + b"\0" + data
    return struct.pack("<i", len(body) + 5) + body + b"\0"


SCOPE = text("f()") + document({"x": 1})
KINDS = {
    "double": (1.5, 1.5),
    "string": ("grüße", "grüße"),
    "empty": ("", ""),
    "document": ({"a": {"b": [1, {"c": "deep"}]}}, {"a": {"b": [1, {"c": "deep"}]}}),
    "array": ([1, "two", None, []], [1, "two", None, []]),
    "bytes": (b"\0\xff", b"\0\xff"),
    "uuid": (GUID, GUID),
    "md5": (Raw(5, binary(5, b"m" * 16)), Binary(b"m" * 16, 5)),
    "old": (Raw(5, binary(2, b"\2\0\0\0xy")), Binary(b"xy", 2)),
    "undefined": (Raw(6, b""), None),
    "oid": (OID, OID),
    "true": (True, True),
    "date": (WHEN, WHEN),
    "ancient": (Raw(9, struct.pack("<q", -62135596800001)), "0000-12-31T23:59:59.999000Z"),
    "null": (None, None),
    "regex": (Raw(11, b"^a\0im\0"), Regex("^a", "im")),
    "pointer": (Raw(12, text("db.c") + OID.binary), DBPointer("db.c", OID)),
    "code": (Raw(13, text("f()")), Code("f()")),
    "symbol": (Raw(14, text("s")), "s"),
    "scope": (Raw(15, struct.pack("<i", len(SCOPE) + 4) + SCOPE), Code("f()", {"x": 1})),
    "int": (-7, -7),
    "timestamp": (Raw(17, struct.pack("<II", 2, 1)), Timestamp(1, 2)),
    "long": (1 << 40, 1 << 40),
    "decimal": (Raw(19, struct.pack("<QQ", 150, 0x303C << 48)), Decimal("1.50")),
    "max": (Raw(127, b""), MaxKey()),
    "min": (Raw(255, b""), MinKey()),
}

# An `_id`, and everything that finds it.
KEYS = [
    (1, [1, 1.0, Decimal("1.00")]),
    ("1", ["1"]),
    (2.5, [2.5, Decimal("2.5")]),
    (OID, [OID, ObjectId(OID.binary)]),
    (str(OID), [str(OID)]),
    (GUID, [GUID]),
    (b"bytes", [b"bytes", bytearray(b"bytes")]),
    (Raw(5, binary(5, b"hash")), [Binary(b"hash", 5)]),
    (True, [True]),
    (WHEN, [WHEN, WHEN.replace(tzinfo=None)]),
    ({"a": 1, "b": [OID, "x"]}, [{"a": 1.0, "b": [OID, "x"]}]),
    (Raw(17, struct.pack("<II", 2, 1)), [Timestamp(1, 2)]),
    (Raw(255, b""), [MinKey()]),
    (float("nan"), [float("nan"), Decimal("NaN")]),
    (float("-inf"), [float("-inf")]),
    (1 << 53, [1 << 53, float(1 << 53)]),
    ("{\"$oid\": 1}", ["{\"$oid\": 1}"]),
    (None, [None]),
]


def nested(levels):
    inner = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


# Of these only a field can be had: what is behind it is none of the reader's business.
DAMAGED = [
    ("type", Raw(3, b"\x0a\0\0\0\x55a\0\0\0\0"), sidepond.Corrupt),
    ("length", Raw(3, b"\x0c\0\0\0\x02a\0\xff\xff\xff\x7f\0"), sidepond.Corrupt),
    ("deep", nested(201), sidepond.Corrupt),
    ("utf8", Raw(2, b"\2\0\0\0\xff\0"), UnicodeDecodeError),
]


@pytest.fixture(scope="session")
def pond():
    maker = program("bson_pond", needed=False)
    if maker is None:
        pytest.skip("bson_pond is not built")
    folder = Path(tempfile.mkdtemp(prefix="sidepond-documents-", dir="/dev/shm"))
    documents = [{"_id": "kinds", **{name: value for name, (value, _) in KINDS.items()}}]
    documents += [{"_id": key, "number": number, "city": "Bonn" if number % 2 else None}
                  for number, (key, _) in enumerate(KEYS)]
    documents += [{"_id": ["damaged", name], "first": 1, "damaged": value}
                  for name, value, _ in DAMAGED]
    try:
        subprocess.run([maker, folder / "pond", "things", "_id", "number", "city"], check=True,
                       input=b"".join(map(document, documents)))
        with sidepond.open(folder / "pond") as opened:
            yield opened
    finally:
        shutil.rmtree(folder)


def same(value, expected):
    assert value == expected and type(value) is type(expected), (value, expected)


def test_a_document_is_a_dict(pond):
    row = pond["things"]["kinds"]
    decoded = row["document"]
    assert list(decoded) == ["_id", *KINDS]
    for name, (_, expected) in KINDS.items():
        same(decoded[name], expected)
    assert decoded["date"].tzinfo is UTC and decoded["md5"].subtype == 5
    assert row.document == decoded and row.document is not decoded
    assert dict(row) == {"_id": "kinds", "number": None, "city": None, "document": decoded}


def test_fields_by_path(pond):
    row = pond["things"]["kinds"]
    for name, (_, expected) in KINDS.items():
        same(row.field(name), expected)
        same(row.field(name, "default"), expected)
    assert row.field("document.a.b.1.c") == "deep" and row.field("array.1") == "two"
    assert row.field("nothing", None) is None and row.field("array.9", 5) == 5
    assert row.field("scope.x", 1) == 1
    with pytest.raises(sidepond.NoColumn, match="document.nothing"):
        row.field("document.nothing")
    with pytest.raises(TypeError):
        row.field(3)
    with pytest.raises(TypeError):
        row.field()
    with pytest.raises(ValueError):
        row.field("a\0b")


@pytest.mark.parametrize("name, error", [(name, error) for name, _, error in DAMAGED])
def test_damage(pond, name, error):
    row = pond["things"][["damaged", name]]
    assert row.field("first") == 1 and row.field("nothing", 2) == 2
    with pytest.raises(error):
        row["document"]
    with pytest.raises(error):
        row.field("damaged")
    with pond.snapshot() as snapshot:
        with pytest.raises(error):
            snapshot["things"][["damaged", name]]["document"]


def test_depth(pond):
    deep = pond["things"][["damaged", "deep"]]
    assert deep.field("damaged" + 190 * ".a") == nested(11)
    assert deep.field("damaged.a")["a"] and deep.field("damaged" + 200 * ".a") == {}


def test_getters_take_paths(pond):
    things = pond["things"]
    deep = things.getter("document.a.b.1.c")
    assert deep("kinds") == "deep" and deep(1) is None and deep("nobody") is None
    assert things.getter("number")(2.5) == 2 and things.getter("null")("kinds") is None
    assert things.getter("document")(1)["number"] == 0
    with pytest.raises(sidepond.NoColumn):
        things.getter(3)


def test_snapshots(pond):
    with pond.snapshot() as snapshot:
        row = snapshot["things"]["kinds"]
        for name, (_, expected) in KINDS.items():
            same(row.field(name), expected)
        assert row["document"] == pond["things"]["kinds"]["document"]
        assert snapshot["things"].getter("array.1")("kinds") == "two"
        assert row.field("nothing", 7) == 7
        assert bytes(row.view("document"))[:4] == struct.pack("<i", len(row.view("document")))
        with pytest.raises(sidepond.NoColumn):
            row.field("nothing")
    with pytest.raises(sidepond.Stale):
        row.field("double")


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_keys_find_their_rows(pond, number):
    things = pond["things"]
    for key in KEYS[number][1]:
        assert things[key].field("number") == number, key
    for other in range(len(KEYS)):
        found = [things[key].field("number") for key in KEYS[other][1]]
        assert found == len(found) * [other]


def test_keys_come_back(pond):
    things = pond["things"]
    keys = list(things)
    assert len(keys) == len(things) == len(KEYS) + len(DAMAGED) + 1
    keys = [key for key in keys if not isinstance(key, list)]
    for key in keys:
        row = things[key]
        assert row["_id"] == key or key != key
        assert things.get_many([key])[0] == row or key != key


def test_indexes(pond):
    things = pond["things"]
    assert [row.field("_id") for row in things.by("by_number")[2]] == [2.5]
    assert len(things.by("by_city")["Bonn"]) == len(KEYS) // 2
    assert things.by("by_city").get("Rome", []) == []


def test_wrong_keys(pond):
    things = pond["things"]
    assert things.get(ObjectId(b"x" * 12)) is None and things.get(2**70) is None
    for key in (object(), {"a": object()}, WHEN.replace(microsecond=1), WHEN.date()):
        with pytest.raises(TypeError):
            things[key]


def test_tables_without_documents(shared):
    with shared.open() as plain:
        with pytest.raises(sidepond.NoColumn):
            plain["users"][1].field("name")
        with pytest.raises(sidepond.NoColumn):
            plain["users"].getter("a.b")


class Foreign:
    """As pymongo's."""

    def __init__(self, binary):
        self.binary = binary


Foreign.__name__ = "ObjectId"


def test_object_ids(pond):
    assert str(OID) == "507f1f77bcf86cd799439011" and repr(OID) == f"ObjectId('{OID}')"
    assert OID.generation_time == datetime(2012, 10, 17, 21, 13, 27, tzinfo=UTC)
    assert OID == ObjectId(str(OID)) == ObjectId(OID.binary) == Foreign(OID.binary)
    assert OID != str(OID) and OID != ObjectId(b"x" * 12) and OID < ObjectId(b"x" * 12)
    assert len({OID, ObjectId(str(OID))}) == 1 and bytes(OID) == OID.binary
    assert pickle.loads(pickle.dumps(OID)) == copy.copy(OID) == OID
    assert pond["things"][Foreign(OID.binary)].field("number") == 3
    assert ObjectId(Foreign(OID.binary)) == OID
    for wrong in ("507f", "g" * 24, b"short"):
        with pytest.raises(ValueError):
            ObjectId(wrong)
    with pytest.raises(TypeError):
        ObjectId(3)
    with pytest.raises(AttributeError):
        OID.binary = b""
    assert pickle.loads(pickle.dumps(Binary(b"a", 5))).subtype == 5
    assert repr(Binary(b"a", 5)) == "Binary(b'a', 5)"
    assert MinKey() == MinKey() != MaxKey() and len({MinKey(), MinKey(), MaxKey()}) == 2
