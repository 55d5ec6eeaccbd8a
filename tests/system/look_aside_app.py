#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""look_aside_app.py - a small web shop that keeps what is dear to compute in a cache, written for
redis-py as such applications are. It knows the cache by REDIS_URL only, so that the same file runs
with Redis and with ours; test_look_aside.py runs it with both. Prints one line for each part that
did what it should, and ends with 1 at the first that did not.

Sessions live for half an hour after their last use; a client may ask so many times a minute;
fragments of pages are rendered once and kept; a product's number in stock is changed under WATCH;
a report is made by one worker at a time, under a lock whose key is its own and expires.
"""
import json
import os
import secrets
import sys
import threading
import time

import redis

SESSION_SECONDS = 1800
REQUESTS_A_MINUTE = 10
FRAGMENT_MS = 60_000
LOCK_MS = 5_000
WORKERS = 4


class Sessions:
    def __init__(self, cache):
        self.cache = cache

    def open(self, user):
        token = secrets.token_urlsafe(16)
        self.cache.set(f"session/{token}", json.dumps(user), ex=SESSION_SECONDS)
        return token

    def user(self, token):
        """Of a session that is open, which this prolongs; else None."""
        found = self.cache.getex(f"session/{token}", ex=SESSION_SECONDS)
        return json.loads(found) if found else None

    def close(self, token):
        return self.cache.delete(f"session/{token}") == 1


class RateLimit:
    """By a counter for each client and minute."""

    def __init__(self, cache, most):
        self.cache, self.most = cache, most

    def allows(self, client, minute):
        key = f"rate/{client}/{minute}"
        with self.cache.pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.expire(key, 120)
            count, _ = pipe.execute()
        return count <= self.most


class Fragments:
    """Rendered once, then taken from the cache."""

    def __init__(self, cache, render):
        self.cache, self.render, self.rendered = cache, render, 0

    def get(self, name):
        found = self.cache.get(f"fragment/{name}")
        if found is None:
            found = self.render(name)
            self.rendered += 1
            self.cache.set(f"fragment/{name}", found, px=FRAGMENT_MS)
        return found

    def page(self, names):
        """Many in one round trip, and what is missing written in another."""
        found = self.cache.mget([f"fragment/{name}" for name in names])
        missing = [name for name, text in zip(names, found) if text is None]
        with self.cache.pipeline(transaction=False) as pipe:
            for name in missing:
                pipe.psetex(f"fragment/{name}", FRAGMENT_MS, self.render(name))
            pipe.execute()
        self.rendered += len(missing)
        return b"".join(text or self.render(name) for name, text in zip(names, found))

    def forget(self, prefix):
        gone = list(self.cache.scan_iter(match=f"fragment/{prefix}*", count=50))
        return self.cache.unlink(*gone) if gone else 0


class Lock:
    """SET NX PX, and given back only by who has it."""

    def __init__(self, cache, name):
        self.cache, self.key, self.token = cache, f"lock/{name}", secrets.token_bytes(16)

    def take(self):
        return bool(self.cache.set(self.key, self.token, nx=True, px=LOCK_MS))

    def give_back(self):
        with self.cache.pipeline() as pipe:
            pipe.watch(self.key)
            if pipe.get(self.key) != self.token:
                return False
            pipe.multi()
            pipe.delete(self.key)
            try:
                pipe.execute()
            except redis.WatchError:
                return False
        return True


def buy(cache, product):
    """Takes one from the stock unless it is empty; tries again when somebody else was faster."""
    def take(pipe):
        left = int(pipe.get(product) or 0)
        pipe.multi()
        if left > 0:
            pipe.decr(product)
    return bool(cache.transaction(take, product))


# --- what it is to do ---

def check(condition, what):
    if not condition:
        raise AssertionError(what)


def sessions_work(cache):
    sessions = Sessions(cache)
    token = sessions.open({"id": 7, "name": "Zoë", "roles": ["admin"]})
    check(sessions.user(token)["name"] == "Zoë", "a session has its user")
    check(SESSION_SECONDS - 5 <= cache.ttl(f"session/{token}") <= SESSION_SECONDS, "it expires")
    cache.expire(f"session/{token}", 10)
    sessions.user(token)
    check(cache.ttl(f"session/{token}") > 10, "use prolongs it")
    check(sessions.close(token) and not sessions.close(token), "it is closed once")
    check(sessions.user(token) is None, "then it is gone")


def rates_are_limited(cache):
    limit = RateLimit(cache, REQUESTS_A_MINUTE)
    allowed = [limit.allows("10.0.0.1", 1) for _ in range(REQUESTS_A_MINUTE + 5)]
    check(allowed == [True] * REQUESTS_A_MINUTE + [False] * 5, "so many and no more")
    check(limit.allows("10.0.0.2", 1), "others are not concerned")
    check(limit.allows("10.0.0.1", 2), "nor is the next minute")


def fragments_are_kept(cache):
    fragments = Fragments(cache, lambda name: f"<p>{name}</p>".encode() * 100)
    first = fragments.get("menu")
    check(fragments.get("menu") == first and fragments.rendered == 1, "rendered once")
    check(0 < cache.pttl("fragment/menu") <= FRAGMENT_MS, "and not for ever")
    names = [f"item{i}" for i in range(200)]
    check(fragments.page(names) == fragments.page(names), "a page is the same twice")
    check(fragments.rendered == 201, "and rendered once")
    check(fragments.forget("item") == 200, "all of a kind are forgotten")
    check(cache.exists("fragment/menu") == 1 and not cache.exists("fragment/item1"), "no others")


def in_threads(work):
    """What each of WORKERS threads returned."""
    results = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def stock_is_never_negative(cache):
    cache.set("stock/book", 40)
    bought = in_threads(lambda: sum(buy(cache, "stock/book") for _ in range(15)))
    check(sum(bought) == 40, f"40 were there, {sum(bought)} were sold")
    check(cache.get("stock/book") == b"0", "none is left")


def one_worker_at_a_time(cache):
    inside, most, done = [], [], []

    def work():
        lock = Lock(cache, "report")
        deadline = time.monotonic() + 10
        while not lock.take():
            check(time.monotonic() < deadline, "the lock is had in the end")
            time.sleep(0.001)
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        inside.pop()
        done.append(lock.give_back())
    in_threads(work)
    check(max(most) == 1 and done == [True] * WORKERS, "one at a time")
    mine, yours = Lock(cache, "report"), Lock(cache, "report")
    check(mine.take() and not yours.take() and not yours.give_back(), "nobody takes another's")
    cache.pexpire("lock/report", 1)
    deadline = time.monotonic() + 5
    while not yours.take():
        check(time.monotonic() < deadline, "a lock that nobody gives back expires")
    check(not mine.give_back() and yours.give_back(), "and is then the next one's")


def numbers_and_bytes(cache):
    check(cache.incrby("visits", 41) + 1 == cache.incr("visits") == 42, "a counter counts")
    check(cache.incrbyfloat("mean", 0.1) == 0.1, "with fractions")
    check(cache.incrbyfloat("mean", 0.2) == 0.3, "more exactly than a double does")
    check(cache.append("log", b"\x00\xff") == 2 and cache.get("log") == b"\x00\xff", "any bytes")
    check(cache.getdel("log") == b"\x00\xff" and cache.get("log") is None, "taken once")
    cache.set("kind", "text")
    try:
        cache.incr("kind")
    except redis.ResponseError as error:
        check("not an integer" in str(error), str(error))
    else:
        check(False, "a text is no number")


PARTS = [sessions_work, rates_are_limited, fragments_are_kept, stock_is_never_negative,
         one_worker_at_a_time, numbers_and_bytes]


def main():
    cache = redis.Redis.from_url(os.environ["REDIS_URL"])
    cache.flushdb()
    for part in PARTS:
        part(cache)
        print(part.__name__.replace("_", " "))
    cache.close()


if __name__ == "__main__":
    sys.exit(main())
