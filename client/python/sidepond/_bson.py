# SPDX-License-Identifier: Apache-2.0
"""What a document can hold that Python has no type for, and what a key of a document is made of.

Documents are decoded by the extension module; what it has no built-in type for is one of these. None
of them needs pymongo, but its ObjectId and other values are understood as keys.
"""
import base64
import datetime
import decimal
import functools
import json
import math
import typing
import uuid
from typing import Any, Dict, Optional

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


@functools.total_ordering
class ObjectId:
    """MongoDB's own kind of key: 12 bytes, of which the first four are a time. Made of 24 hexadecimal
    digits, of 12 bytes, or of another ObjectId (pymongo's too), and equal to each of those."""

    __slots__ = ("binary",)

    binary: bytes

    def __init__(self, value: Any) -> None:
        if isinstance(value, str):
            if len(value) != 24:
                raise ValueError(f"{value!r} is no ObjectId: it has 24 hexadecimal digits")
            value = bytes.fromhex(value)
        elif not isinstance(value, (bytes, bytearray)):
            value = getattr(value, "binary", value)
        if not isinstance(value, (bytes, bytearray)):
            raise TypeError(f"an ObjectId is not made of {type(value).__name__}")
        if len(value) != 12:
            raise ValueError(f"{value!r} is no ObjectId: it has 12 bytes")
        object.__setattr__(self, "binary", bytes(value))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an ObjectId does not change")

    @property
    def generation_time(self) -> datetime.datetime:
        """When it was made, to the second (UTC)."""
        seconds = int.from_bytes(self.binary[:4], "big")
        return _EPOCH + datetime.timedelta(seconds=seconds)

    def __str__(self) -> str:
        return self.binary.hex()

    def __repr__(self) -> str:
        return f"ObjectId('{self}')"

    def __bytes__(self) -> bytes:
        return self.binary

    def __hash__(self) -> int:
        return hash(self.binary)

    def __eq__(self, other: object) -> bool:
        binary = _binary_of(other)
        if binary is None:
            return NotImplemented
        return self.binary == binary

    def __lt__(self, other: Any) -> bool:
        binary = _binary_of(other)
        if binary is None:
            return NotImplemented
        return self.binary < binary

    def __reduce__(self) -> Any:
        return ObjectId, (self.binary,)


def _binary_of(value: object) -> Optional[bytes]:
    """The 12 bytes of an ObjectId, ours or pymongo's."""
    if type(value).__name__ != "ObjectId":
        return None
    binary = getattr(value, "binary", None)
    return binary if isinstance(binary, bytes) and len(binary) == 12 else None


class Binary(bytes):
    """Bytes of a subtype other than 0 (which are `bytes`) and 4 (which are `uuid.UUID`)."""

    subtype: int

    def __new__(cls, data: bytes, subtype: int = 0) -> "Binary":
        self = super().__new__(cls, data)
        self.subtype = subtype
        return self

    def __repr__(self) -> str:
        return f"Binary({bytes(self)!r}, {self.subtype})"

    def __getnewargs__(self) -> Any:
        return bytes(self), self.subtype


class Regex(typing.NamedTuple):
    """A regular expression, as it was written: MongoDB's dialect is PCRE, not that of `re`."""

    pattern: str
    flags: str


class Timestamp(typing.NamedTuple):
    """MongoDB's internal timestamp: seconds since 1970, and a count within the second."""

    time: int
    inc: int


class Code(typing.NamedTuple):
    """JavaScript, with the values that its names have."""

    code: str
    scope: Optional[Dict[str, Any]] = None


class DBPointer(typing.NamedTuple):
    """An old kind of reference."""

    namespace: str
    id: ObjectId


class MinKey:
    """Lower than everything else."""

    def __repr__(self) -> str:
        return "MinKey()"

    def __eq__(self, other: object) -> bool:
        return type(other).__name__ == "MinKey"

    def __hash__(self) -> int:
        return hash("MinKey")


class MaxKey:
    """Higher than everything else."""

    def __repr__(self) -> str:
        return "MaxKey()"

    def __eq__(self, other: object) -> bool:
        return type(other).__name__ == "MaxKey"

    def __hash__(self) -> int:
        return hash("MaxKey")


# --- keys: as extended JSON ---


def _date(value: datetime.datetime) -> Any:
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    microseconds = (value - _EPOCH) // datetime.timedelta(microseconds=1)
    if microseconds % 1000:
        raise TypeError(f"{value!r} cannot be part of a key: a date in BSON has milliseconds")
    return {"$date": {"$numberLong": str(microseconds // 1000)}}


def _bytes(value: bytes, subtype: int) -> Any:
    return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": f"{subtype:02x}"}}


def _scope(value: Any) -> Any:
    if value.scope is None:
        return {"$code": str(value.code)}
    return {"$code": str(value.code), "$scope": _extended(value.scope)}


_KINDS: Dict[str, Any] = {
    "ObjectId": lambda value: {"$oid": value.binary.hex()},
    "Binary": lambda value: _bytes(value, value.subtype),
    "Regex": lambda value: {"$regularExpression": {"pattern": value.pattern, "options": value.flags}},
    "Timestamp": lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    "Code": _scope,
    "DBPointer": lambda value: {"$dbPointer": {"$ref": value.namespace, "$id": _extended(value.id)}},
    "Decimal128": lambda value: {"$numberDecimal": str(value)},
    "MinKey": lambda value: {"$minKey": 1},
    "MaxKey": lambda value: {"$maxKey": 1},
}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": "NaN" if value != value else f"{value:+}inity".replace("infinity", "Infinity")}
    if isinstance(value, decimal.Decimal):
        return {"$numberDecimal": str(value)}
    if isinstance(value, datetime.datetime):
        return _date(value)
    if isinstance(value, uuid.UUID):
        return {"$uuid": str(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value), 0)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def _extended(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _extended(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_extended(item) for item in value]
    kind = _KINDS.get(type(value).__name__)
    return _plain(value) if kind is None else kind(value)


def key_json(value: Any) -> Optional[str]:
    """Extended JSON of what only a document can hold; None if it is no such thing."""
    if isinstance(value, (dict, list)) or type(value).__name__ in _KINDS:
        return json.dumps(_extended(value), ensure_ascii=False)
    return None
