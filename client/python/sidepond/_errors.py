# SPDX-License-Identifier: Apache-2.0
"""The exceptions. What is also a kind of a built-in exception can be caught as that."""


class Error(Exception):
    """Everything that Sidepond raises by itself."""

    __module__ = "sidepond"

    def __str__(self):
        return Exception.__str__(self)


class NotFound(Error, KeyError):
    """No row with this key, or no entry of the cache. `table` ("" for the cache) and `key` say
    which."""

    __module__ = "sidepond"

    def __init__(self, table, key):
        super().__init__(table, key)
        self.table = table
        self.key = key

    def __str__(self):
        if not self.table:
            return f"no entry {self.key!r} in the cache"
        return f"no row {self.key!r} in table {self.table!r}"


class NoTable(Error, KeyError):
    """No table of this name, or not any more; or the pond has no cache."""

    __module__ = "sidepond"


class NoColumn(Error, KeyError):
    """No column of this name in the row."""

    __module__ = "sidepond"


class NoIndex(Error, KeyError):
    """No secondary index of this name."""

    __module__ = "sidepond"


class NoPond(Error, FileNotFoundError):
    """No pond of this name: is sidepondd running?"""

    __module__ = "sidepond"


class NotReady(Error):
    """The pond is loading: nothing has been committed yet."""

    __module__ = "sidepond"


class TooOld(Error):
    """The table is older than its max_stale, and its policy is to fail."""

    __module__ = "sidepond"


class Stale(Error):
    """A snapshot has ended or was held for too long: its rows and views are gone."""

    __module__ = "sidepond"


class Forked(Stale):
    """A snapshot of the process before the fork."""

    __module__ = "sidepond"


class NoLease(Error):
    """Every snapshot lease of the pond is taken."""

    __module__ = "sidepond"


class Corrupt(Error):
    """The pond is damaged."""

    __module__ = "sidepond"


class BadFormat(Error):
    """Not a pond, or of a format that this build cannot read."""

    __module__ = "sidepond"


class AccessDenied(Error, PermissionError):
    """The pond's files may not be read (or, for a snapshot, its leases not be written)."""

    __module__ = "sidepond"


class Timeout(Error, TimeoutError):
    """What was waited for did not happen in time."""

    __module__ = "sidepond"


class NoDaemon(Error, ConnectionError):
    """No connection to the daemon, which writes the cache: is sidepondd running?"""

    __module__ = "sidepond"


class Refused(Error):
    """The server refused to write to the cache."""

    __module__ = "sidepond"


class NoNode(Error, ConnectionError):
    """No copy of the key could be reached: nothing was done."""

    __module__ = "sidepond"


class Unknown(Error, ConnectionError):
    """A write was sent to a ring and no answer came: it may have been done or not."""

    __module__ = "sidepond"


class Partial(Error):
    """Fewer copies than were needed have the write: it is done, and will reach the others."""

    __module__ = "sidepond"


class CacheFull(Error):
    """The cache is full, and the daemon is configured not to evict."""

    __module__ = "sidepond"


class TooBig(Error, ValueError):
    """A key or a value exceeds the limit."""

    __module__ = "sidepond"


# By the names of sidepond/status.h; any other status is an Error.
BY_STATUS = {
    "SP_ENOTFOUND": NotFound,
    "SP_ENOTABLE": NoTable,
    "SP_ENOCOLUMN": NoColumn,
    "SP_ENOINDEX": NoIndex,
    "SP_ENOTREADY": NotReady,
    "SP_EOLD": TooOld,
    "SP_ESTALE": Stale,
    "SP_EFORKED": Forked,
    "SP_ENOPOND": NoPond,
    "SP_EFORMAT": BadFormat,
    "SP_ECORRUPT": Corrupt,
    "SP_EACCESS": AccessDenied,
    "SP_ETIMEDOUT": Timeout,
    "SP_ENOLEASE": NoLease,
    "SP_ENOMEM": MemoryError,
    "SP_EINVAL": ValueError,
    "SP_ETYPE": TypeError,
    "SP_ENULL": TypeError,
    "SP_ERANGE": OverflowError,
    "SP_ETOOBIG": TooBig,
    "SP_ENOSPC": CacheFull,
    "SP_ENODAEMON": NoDaemon,
    "SP_EREFUSED": Refused,
    "SP_ENONODE": NoNode,
    "SP_EUNKNOWN": Unknown,
    "SP_EPARTIAL": Partial,
}
