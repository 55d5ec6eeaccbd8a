# SPDX-License-Identifier: Apache-2.0
"""The decorator @cache.cached(...): a function's results, kept in the cache of a pond.

Results go through `dumps` and `loads`, JSON unless others are given, whether they were in the cache
or have just been computed: so a caller never sees a tuple the first time and a list the second. JSON
and not pickle, because whoever can write to the cache would otherwise choose what code its readers
run.
"""
import functools
import hashlib
import inspect
import json

KEY_MAX = 1024  # of the default key; a longer one is hashed


def _argument(value):
    if type(value).__repr__ is object.__repr__:
        raise TypeError(f"{type(value).__name__} has no repr that could be part of a key: "
                        "give cached() a key=")
    return repr(value)


def default_key(name, args, keywords):
    """The function's name, and its arguments as they are written."""
    parts = [_argument(value) for value in args]
    parts += [f"{word}={_argument(keywords[word])}" for word in sorted(keywords)]
    key = f"{name}({', '.join(parts)})"
    if len(key) <= KEY_MAX:
        return key
    return f"{name}#{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _dumps(value):
    return json.dumps(value, separators=(",", ":"))


def cached(cache, *, ttl=None, stale=0, key=None, dumps=_dumps, loads=json.loads, wait=5, hold=10):
    """See Cache.cached."""

    def decorate(function):
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError("cached is for functions that return their result: "
                            "no coroutines and no generators")
        name = f"{function.__module__}.{function.__qualname__}"

        def key_of(*args, **keywords):
            return key(*args, **keywords) if key else default_key(name, args, keywords)

        @functools.wraps(function)
        def wrapper(*args, **keywords):
            return loads(cache.get_or_compute(
                key_of(*args, **keywords), lambda: dumps(function(*args, **keywords)),
                ttl=ttl, stale=stale, wait=wait, hold=hold))

        def forget(*args, **keywords):
            """Takes the result for these arguments out of the cache."""
            return cache.delete(key_of(*args, **keywords))

        wrapper.key = key_of
        wrapper.forget = forget
        return wrapper

    return decorate
