# SPDX-License-Identifier: Apache-2.0
from os import PathLike
from typing import Optional, Union

from sidepond._errors import (
    AccessDenied as AccessDenied,
    BadFormat as BadFormat,
    CacheFull as CacheFull,
    Corrupt as Corrupt,
    Error as Error,
    Forked as Forked,
    NoColumn as NoColumn,
    NoDaemon as NoDaemon,
    NoIndex as NoIndex,
    NoLease as NoLease,
    NoPond as NoPond,
    NotFound as NotFound,
    NoTable as NoTable,
    NotReady as NotReady,
    Refused as Refused,
    Stale as Stale,
    Timeout as Timeout,
    TooBig as TooBig,
    TooOld as TooOld,
)
from sidepond._info import (
    Column as Column,
    IndexInfo as IndexInfo,
    PondInfo as PondInfo,
    ReaderInfo as ReaderInfo,
    Schema as Schema,
    TableInfo as TableInfo,
)
from sidepond._native import (
    Cache as Cache,
    Index as Index,
    Pond as Pond,
    Row as Row,
    Snapshot as Snapshot,
    Table as Table,
)

__all__ = [
    "AccessDenied",
    "BadFormat",
    "Cache",
    "CacheFull",
    "Column",
    "Corrupt",
    "Error",
    "Forked",
    "Index",
    "IndexInfo",
    "NoColumn",
    "NoDaemon",
    "NoIndex",
    "NoLease",
    "NoPond",
    "NoTable",
    "NotFound",
    "NotReady",
    "Pond",
    "PondInfo",
    "ReaderInfo",
    "Refused",
    "Row",
    "Schema",
    "Snapshot",
    "Stale",
    "Table",
    "TableInfo",
    "Timeout",
    "TooBig",
    "TooOld",
    "__version__",
    "open",
]

__version__: str

def open(
    name: Optional[Union[str, bytes, PathLike[str], PathLike[bytes]]] = None,
    wait: Optional[float] = None,
    populate: bool = False,
) -> Pond: ...
