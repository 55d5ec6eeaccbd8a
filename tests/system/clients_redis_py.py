#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clients_redis_py.py - the Python client redis-py at work with a server; test_clients.py runs it with
the server's TCP address in REDIS_URL, its Unix socket in REDIS_SOCKET and what commands it has in
REDIS_COMMANDS. Prints what it did, and what it left out since the server has not got it.
"""
import os
import sys
import time

import redis

COMMANDS = set(os.environ["REDIS_COMMANDS"].split())


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def strings(client):
    check(client.set("a", b"\x00\xff\r\n", ex=100) is True, "SET")
    check(client.get("a") == b"\x00\xff\r\n" and client.get("none") is None, "GET")
    check(client.set("a", 1, nx=True) is None and client.set("a", 1, get=True) is not None, "NX, GET")
    check(client.mset({"b": 2, "c": 3}) and client.mget("a", "b", "c") == [b"1", b"2", b"3"], "MSET")
    check(client.setrange("a", 2, "x") == 3 and client.getrange("a", 0, -1) == b"1\x00x", "ranges")
    check(client.incrbyfloat("f", 1.5) == 1.5 and client.decrby("b", 5) == -3, "numbers")
    check(client.getex("a", persist=True) == b"1\x00x" and client.getdel("a") is not None, "GETEX")


def expiry(client):
    client.set("e", 1)
    check(client.expire("e", 100) is True and 90 < client.ttl("e") <= 100, "EXPIRE")
    check(client.expire("e", 50, gt=True) is False and client.expire("e", 50, lt=True), "GT, LT")
    check(client.persist("e") is True and client.ttl("e") == -1, "PERSIST")
    check(client.pexpireat("e", 4102444800000) and client.expiretime("e") == 4102444800, "PEXPIREAT")
    client.psetex("soon", 5, "x")
    deadline = time.monotonic() + 5
    while client.exists("soon"):
        check(time.monotonic() < deadline, "it expires")


def keys(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"key:{i}", i)
        check(pipe.execute() == [True] * 1000, "a pipeline")
    check(len(set(client.scan_iter("key:*", count=100))) == 1000, "scan_iter")
    check(set(client.keys("key:99?")) == {b"key:%d" % i for i in range(990, 1000)}, "KEYS")
    check(client.rename("key:1", "other") and client.copy("other", "key:1"), "RENAME, COPY")
    check(client.type("other") == b"string" and client.delete("other", "none") == 1, "TYPE, DEL")
    check(client.dbsize() >= 1000 and client.randomkey() is not None, "DBSIZE")


def transactions(client):
    with client.pipeline() as pipe:
        pipe.watch("t")
        client.set("t", "meanwhile")
        pipe.multi()
        pipe.set("t", "mine")
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            check(False, "a watched key has changed")
    with client.pipeline() as pipe:
        pipe.set("t", "x").incr("t").get("t")
        check([type(one).__name__ for one in pipe.execute(raise_on_error=False)]
              == ["bool", "ResponseError", "bytes"], "an error inside")


def errors(client):
    for arguments, expected in ((("INCR", "key:x", "2"), "wrong number of arguments"),
                                (("NONSENSE",), "unknown command"), (("SET", "a", "1", "EX", "0"),
                                                                     "invalid expire time")):
        try:
            client.execute_command(*arguments)
        except redis.ResponseError as error:
            check(expected in str(error), f"{arguments}: {error}")
        else:
            check(False, f"{arguments} is an error")


def published(client):
    with client.pubsub() as listener:
        listener.subscribe("channel")
        check(listener.get_message(timeout=5)["type"] == "subscribe", "SUBSCRIBE")
        client.publish("channel", b"\x00")
        check(listener.get_message(timeout=5)["data"] == b"\x00", "PUBLISH")


def server(client):
    check("redis_version" in client.info() and client.ping() and client.time()[0] > 0, "INFO")
    check(client.client_setname("me") and client.client_getname() in (b"me", "me"), "CLIENT")


def cached(unused):
    """Client-side caching: what is read twice is asked once, and what another client changes is not
    taken from the copy. All that redis-py needs for it is in Redis 7.0, though it asks for 7.4."""
    from redis.cache import CacheConfig  # pylint: disable=import-outside-toplevel
    redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
    other = redis.Redis.from_url(os.environ["REDIS_URL"])
    client = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=3, cache_config=CacheConfig())
    other.mset({"tracked": 1, "tracked too": 1})
    check(client.mget("tracked", "tracked too") == [b"1", b"1"], "MGET")
    check(client.get("tracked") == b"1" and client.get_cache().size == 2, "two copies")
    calls = other.info("commandstats")["cmdstat_get"]["calls"]
    check(client.get("tracked") == b"1" == client.get("tracked"), "a copy")
    check(other.info("commandstats")["cmdstat_get"]["calls"] == calls, "nobody has asked")
    for change, value in ((lambda: other.set("tracked", 2), b"2"), (lambda: other.incr("tracked"), b"3"),
                          (lambda: other.delete("tracked"), None), (other.flushdb, None)):
        change()
        deadline = time.monotonic() + 5
        while client.get("tracked") != value:
            check(time.monotonic() < deadline, "the copy goes")
    check(client.get("tracked too") is None, "all copies go")
    client.close()
    other.close()


# With the commands that a server may not have.
PARTS = [(strings, []), (expiry, []), (keys, []), (transactions, []), (errors, []),
         (published, ["subscribe", "publish"]), (server, ["info", "client"]),
         (cached, ["hello", "client"])]


def connections():
    """(name, client)"""
    for protocol in [2, 3] if "hello" in COMMANDS else [2]:
        yield (f"RESP{protocol} over TCP",
               redis.Redis.from_url(os.environ["REDIS_URL"], protocol=protocol))
        yield (f"RESP{protocol} over a Unix socket",
               redis.Redis(unix_socket_path=os.environ["REDIS_SOCKET"], protocol=protocol))


def main():
    if "hello" not in COMMANDS:
        print("redis-py: left out: RESP3")
    for part, needed in PARTS:
        if not COMMANDS.issuperset(needed):
            print(f"redis-py: left out: {part.__name__}")
    for name, client in connections():
        client.flushdb()
        for part, needed in PARTS:
            if COMMANDS.issuperset(needed):
                part(client)
        client.close()
        print(f"redis-py: {name}")


if __name__ == "__main__":
    sys.exit(main())
