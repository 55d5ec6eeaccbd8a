# SPDX-License-Identifier: Apache-2.0
from os import PathLike
from typing import Optional, Union

from sidepond._errors import (
    AccessDenied as AccessDenied,
    BadFormat as BadFormat,
    Corrupt as Corrupt,
    Error as Error,
    Forked as Forked,
    NoColumn as NoColumn,
    NoIndex as NoIndex,
    NoLease as NoLease,
    NoPond as NoPond,
    NotFound as NotFound,
    NoTable as NoTable,
    NotReady as NotReady,
    Stale as Stale,
    Timeout as Timeout,
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
    Index as Index,
    Pond as Pond,
    Row as Row,
    Snapshot as Snapshot,
    Table as Table,
)

__all__ = [
    "AccessDenied",
    "BadFormat",
    "Column",
    "Corrupt",
    "Error",
    "Forked",
    "Index",
    "IndexInfo",
    "NoColumn",
    "NoIndex",
    "NoLease",
    "NoPond",
    "NoTable",
    "NotFound",
    "NotReady",
    "Pond",
    "PondInfo",
    "ReaderInfo",
    "Row",
    "Schema",
    "Snapshot",
    "Stale",
    "Table",
    "TableInfo",
    "Timeout",
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
