# SPDX-License-Identifier: Apache-2.0
"""Database tables in shared memory, read at the speed of one's own memory.

    pond = sidepond.open("main")
    users = pond["users"]
    users[42]["email"]

A table is a Mapping of keys to rows; a row is a Mapping of column names to values that decodes
only the column asked for. Everything works after os.fork() and in threads.

    cache = pond.cache
    cache.set("page:7", page, ttl=60)

    @cache.cached(ttl=60, stale=10)
    def totals(year): ...

The cache holds what the workers put in; of all that miss a key, one computes it.

    ring = sidepond.Ring(zookeeper="127.0.0.1:2181")
    ring.set("user:7", b"Ada")

A ring keeps each key on several nodes, and goes on when one of them fails.
"""
import collections.abc
import os

from sidepond import _native
from sidepond._bson import Binary, Code, DBPointer, MaxKey, MinKey, ObjectId, Regex, Timestamp
from sidepond._errors import (
    AccessDenied,
    BadFormat,
    CacheFull,
    Corrupt,
    Error,
    Forked,
    NoColumn,
    NoDaemon,
    NoIndex,
    NoLease,
    NoNode,
    NoPond,
    NotFound,
    NoTable,
    NotReady,
    Partial,
    Refused,
    Stale,
    Timeout,
    TooBig,
    TooOld,
    Unknown,
)
from sidepond._info import (
    Column,
    IndexInfo,
    PondInfo,
    ReaderInfo,
    RingInfo,
    RingNode,
    RingPlace,
    Schema,
    TableInfo,
)
from sidepond._native import Cache, Index, Pond, Ring, Row, Snapshot, Table

__all__ = [
    "AccessDenied",
    "BadFormat",
    "Binary",
    "Cache",
    "CacheFull",
    "Code",
    "Column",
    "Corrupt",
    "DBPointer",
    "Error",
    "Forked",
    "Index",
    "IndexInfo",
    "MaxKey",
    "MinKey",
    "NoColumn",
    "NoDaemon",
    "NoIndex",
    "NoLease",
    "NoNode",
    "NoPond",
    "NoTable",
    "NotFound",
    "NotReady",
    "ObjectId",
    "Partial",
    "Pond",
    "PondInfo",
    "ReaderInfo",
    "Refused",
    "Regex",
    "Ring",
    "RingInfo",
    "RingNode",
    "RingPlace",
    "Row",
    "Schema",
    "Snapshot",
    "Stale",
    "Table",
    "TableInfo",
    "Timeout",
    "Timestamp",
    "TooBig",
    "TooOld",
    "Unknown",
    "__version__",
    "open",
]

__version__ = _native.version()

for _mapping in (Pond, Table, Row, Snapshot):
    collections.abc.Mapping.register(_mapping)
del _mapping


def open(name=None, wait=None, populate=False):
    """Opens a pond by its name, or by its directory (a path, or a string with a slash in it).

    Without a name: $SIDEPOND, else "main". `wait` is how many seconds to wait for the pond to
    appear and be ready (math.inf: for ever). `populate` maps all its pages at once, so that the
    first reads take no page faults.
    """
    if name is not None and not isinstance(name, str):
        name = os.path.join(os.fsdecode(name), "")
    return _native.open(name, wait, populate)
