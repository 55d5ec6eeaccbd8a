# SPDX-License-Identifier: Apache-2.0
"""What keys(), values() and items() of a table return: views that walk the table once, at one
version, instead of looking every key up again."""
import collections.abc


class TableKeys(collections.abc.KeysView):
    __slots__ = ()

    def __iter__(self):
        return iter(self._mapping)


class TableValues(collections.abc.ValuesView):
    __slots__ = ()

    def __iter__(self):
        return self._mapping._iterate(1)


class TableItems(collections.abc.ItemsView):
    __slots__ = ()

    def __iter__(self):
        return self._mapping._iterate(2)
