# SPDX-License-Identifier: Apache-2.0
"""mariadb_client.py - libmariadb by ctypes: just enough for tests to run SQL, without a package."""
import ctypes
import ctypes.util

_LIBRARY = None


class Error(RuntimeError):
    """What the server said, with its number."""

    def __init__(self, number, text):
        super().__init__(f"{text} ({number})")
        self.number = number


def _library():
    global _LIBRARY  # pylint: disable=global-statement
    if _LIBRARY is None:
        lib = ctypes.CDLL("libmariadb.so.3")
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        for name, result, arguments in (
                ("mysql_init", pointer, [pointer]),
                ("mysql_real_connect", pointer, [pointer, text, text, text, text, ctypes.c_uint,
                                                 text, ctypes.c_ulong]),
                ("mysql_optionsv", ctypes.c_int, [pointer, ctypes.c_int, text]),
                ("mysql_real_query", ctypes.c_int, [pointer, text, ctypes.c_ulong]),
                ("mysql_store_result", pointer, [pointer]),
                ("mysql_num_fields", ctypes.c_uint, [pointer]),
                ("mysql_fetch_row", ctypes.POINTER(pointer), [pointer]),
                ("mysql_fetch_lengths", ctypes.POINTER(ctypes.c_ulong), [pointer]),
                ("mysql_free_result", None, [pointer]),
                ("mysql_errno", ctypes.c_uint, [pointer]),
                ("mysql_error", text, [pointer]),
                ("mysql_close", None, [pointer])):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        _LIBRARY = lib
    return _LIBRARY


CHARSET_NAME = 7  # MYSQL_SET_CHARSET_NAME


class Connection:
    """As root over a Unix socket. As a context manager: closes itself."""

    def __init__(self, socket_path, database, user="root", password=None):
        self._lib = _library()
        self._conn = self._lib.mysql_init(None)
        self._lib.mysql_optionsv(self._conn, CHARSET_NAME, b"utf8mb4")
        if not self._lib.mysql_real_connect(self._conn, b"localhost", user.encode(),
                                            password.encode() if password else None,
                                            database.encode() or None, 0, socket_path.encode(), 0):
            error = self._error()
            self.close()
            raise error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _error(self):
        return Error(self._lib.mysql_errno(self._conn),
                     self._lib.mysql_error(self._conn).decode(errors="replace"))

    def close(self):
        if self._conn:
            self._lib.mysql_close(self._conn)
        self._conn = None

    def query(self, statement):
        """The rows as lists of text or None; none of a statement that returns none."""
        data = statement.encode()
        if self._lib.mysql_real_query(self._conn, data, len(data)):
            raise self._error()
        result = self._lib.mysql_store_result(self._conn)
        if not result:
            if self._lib.mysql_errno(self._conn):
                raise self._error()
            return []
        rows = []
        count = self._lib.mysql_num_fields(result)
        while True:
            cells = self._lib.mysql_fetch_row(result)
            if not cells:
                break
            lengths = self._lib.mysql_fetch_lengths(result)
            rows.append([ctypes.string_at(cells[i], lengths[i]).decode(errors="replace")
                         if cells[i] else None for i in range(count)])
        self._lib.mysql_free_result(result)
        return rows
