# SPDX-License-Identifier: Apache-2.0
"""What the package tells about ponds, tables and readers."""
import typing
from datetime import datetime
from typing import Optional, Tuple


class Column(typing.NamedTuple):
    """A column: `type` is the name of its type in the pond ("int64", "text", ...)."""

    name: str
    type: str
    nullable: bool


class IndexInfo(typing.NamedTuple):
    """A secondary index."""

    name: str
    unique: bool
    columns: Tuple[str, ...]


class Schema(typing.NamedTuple):
    """The shape of a table."""

    columns: Tuple[Column, ...]
    key: Tuple[str, ...]
    indexes: Tuple[IndexInfo, ...]


class PondInfo(typing.NamedTuple):
    """A pond at one moment. Sizes are in bytes, times in seconds."""

    name: str
    state: str
    version: int
    id: str
    limit_bytes: int
    committed_bytes: int
    used_bytes: int
    free_bytes: int
    table_count: int
    writer_pid: int
    writer_alive: bool
    heartbeat_age: float


class TableInfo(typing.NamedTuple):
    """A table at one moment. Sizes are in bytes, times in seconds; `age` is infinite before the
    first refresh. `feed` says whether it follows its database: "following", "starting" or "fallen
    back"; None in another refresh mode."""

    state: str
    version: int
    rows: int
    bytes: int
    memory_bytes: int
    loaded_at: Optional[datetime]
    changed_at: Optional[datetime]
    age: float
    max_stale: Optional[float]
    stale: bool
    fails_when_stale: bool
    refresh_count: int
    failure_count: int
    feed: Optional[str]


class ReaderInfo(typing.NamedTuple):
    """One who holds a snapshot."""

    pid: int
    version: int
    held: float
    revoked: bool


class RingPlace(typing.NamedTuple):
    """Where a key lies: the names of the nodes that hold it, in the order in which they are asked,
    and of those that shall and do not yet."""

    slot: int
    holders: Tuple[str, ...]
    joining: Tuple[str, ...]


class RingNode(typing.NamedTuple):
    """A node of a ring, and what this handle has seen of it. Slots are those that it owns, holds,
    and shall hold; times in seconds."""

    name: str
    address: str
    zone: str
    weight: int
    state: str
    owned_slots: int
    held_slots: int
    wanted_slots: int
    kept_back: bool
    distrusted: bool
    calls: int
    failures: int
    hedged: int
    median: float
    p99: float


class RingInfo(typing.NamedTuple):
    """A ring at one moment. Redundancy is complete where no slot is under-replicated."""

    epoch: int
    slots: int
    replicas: int
    redis: bool
    under_replicated_slots: int
    unsettled_slots: int
    zookeeper_away: bool
