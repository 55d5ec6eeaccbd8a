# SPDX-License-Identifier: Apache-2.0
"""Goal: the cache reads and writes as the README says, in threads and after forks, and of many who
miss a key one computes it, whatever dies meanwhile. Method: a daemon with a cache; workers are forked
processes that say by pipes how far they are."""
import math
import os
import pickle
import select
import signal
import threading
import time
from datetime import timedelta

import pytest
import sidepond

WORKERS = 8
PATIENCE = 20


@pytest.fixture
def cache(cached):
    with cached.open() as pond:
        yield pond.cache


# --- entries


def test_entries(cache):
    assert cache.get("k") is None and cache.get("k", 7) == 7 and "k" not in cache
    with pytest.raises(sidepond.NotFound, match="no entry 'k' in the cache"):
        cache["k"]
    cache.set("k", "grüße")
    assert cache["k"] == "grüße".encode() == cache.get(b"k") and "k" in cache
    cache[b"\0\r\n"] = memoryview(b"bytes")
    assert cache[bytearray(b"\0\r\n")] == b"bytes"
    del cache["k"]
    del cache["k"]
    assert "k" not in cache and cache.delete("k") is False
    large = os.urandom(3 << 20)
    cache.set("large", large)
    assert cache["large"] == large and cache.get_many(["large", "k"]) == [large, None]
    cache.set("", b"")
    assert cache[""] == b""


def test_conditions(cache):
    assert cache.replace("k", "0") is False and cache.add("k", "1") is True
    assert cache.add("k", "2") is False and cache["k"] == b"1"
    assert cache.replace("k", "3", ttl=60) is True and cache["k"] == b"3"
    assert cache.delete("k") is True


def test_times(cache):
    assert cache.ttl("k") is None and cache.expire("k", 60) is False
    cache.set("k", "v")
    assert cache.ttl("k") == math.inf
    assert cache.expire("k", ttl=60) is True and 50 < cache.ttl("k") <= 60.01
    assert cache.expire("k", None) is True and cache.ttl("k") == math.inf
    cache.set("k", "v", ttl=timedelta(minutes=2))
    assert 110 < cache.ttl("k") <= 120.01
    cache.set("k", "v", ttl=0.001)
    until = time.monotonic() + PATIENCE
    while "k" in cache and time.monotonic() < until:
        time.sleep(0.001)
    assert cache.get("k") is None
    for wrong in (0, -1, math.nan, 1e13):
        with pytest.raises(ValueError):
            cache.set("k", "v", ttl=wrong)
    with pytest.raises(TypeError):
        cache.set("k", "v", ttl="soon")


def test_numbers(cache):
    assert cache.incr("n") == 1 and cache.incr("n", by=-5) == -4 and cache["n"] == b"-4"
    cache.set("n", str(2**63 - 1))
    with pytest.raises(OverflowError):
        cache.incr("n")
    cache.set("n", "text")
    with pytest.raises(TypeError, match="not an integer"):
        cache.incr("n")


def test_many(cache):
    entries = {f"key{n}": b"x" * (n * 10) for n in range(500)}
    cache.set_many(entries, ttl=60)
    assert cache.get_many(entries) == list(entries.values())
    assert cache.get_many(["key1", "nothing", b"key2"]) == [b"x" * 10, None, b"x" * 20]
    assert cache.get_many([]) == [] and cache.set_many({}) is None
    assert 50 < cache.ttl("key7") <= 60.01
    with pytest.raises(TypeError):
        cache.set_many({"a": 1})
    with pytest.raises(TypeError):
        cache.get_many(["a", 1])


def test_wrong_use(cached, cache):
    for key in (1, None, ["k"]):
        with pytest.raises(TypeError, match="a key is bytes or str"):
            cache.get(key)
    with pytest.raises(TypeError, match="a value is bytes or str"):
        cache.set("k", 1)
    with pytest.raises(sidepond.TooBig):
        cache.set("k" * 65536, "v")
    with pytest.raises(sidepond.Refused, match="table of the pond"):
        until = time.monotonic() + PATIENCE  # a new table is known to the server after 100 ms
        while time.monotonic() < until:
            cache.set("users:1", "v")
    with pytest.raises(ValueError, match="an address is"):
        cache.connect("nonsense")
    with pytest.raises(sidepond.NoDaemon, match="no-such-socket"):
        cache.connect("unix:/dev/shm/no-such-socket")
    cache.connect(timeout=2)
    assert repr(cache).startswith("<sidepond.Cache of ")
    with cached.open() as pond:
        assert pond.cache is pond.cache
        closed = pond.cache
    with pytest.raises(ValueError, match="closed"):
        closed.get("k")
    with pytest.raises(ValueError, match="closed"):
        closed.set("k", "v")


def test_pond_without_cache(pond):
    with pytest.raises(sidepond.NoTable, match="no cache"):
        pond.cache


def test_restart(cached, cache):
    cache.set("k", "1")
    for how in (signal.SIGTERM, signal.SIGKILL):
        cached.stop(how)
        assert cache["k"] == b"1"
        with pytest.raises(sidepond.NoDaemon):
            cache.set("k", "2")
        with pytest.raises(ConnectionError):
            cache.incr("n")
        cached.start()
        assert cache["k"] == b"1" and cache.incr("n") >= 1


def test_threads(cache):
    def count():
        for _ in range(200):
            cache.incr("n")

    threads = [threading.Thread(target=count) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache["n"] == str(WORKERS * 200).encode()


# --- single flight


def test_compute(cache):
    calls = []

    def compute():
        calls.append(1)
        return "value"

    assert cache.get_or_compute("k", compute, ttl=60, stale=30) == b"value"
    assert 80 < cache.ttl("k") <= 90.01
    assert cache.get_or_compute("k", compute, ttl=60, stale=30) == b"value"
    assert cache.get_or_compute("for ever", lambda: b"") == b"" and cache.ttl("for ever") == math.inf
    assert len(calls) == 1
    assert cache.get_or_compute("outer", lambda: cache.get_or_compute("inner", compute)) == b"value"
    for wrong in ({"ttl": -1}, {"stale": -1}, {"wait": -1}, {"hold": math.nan}):
        with pytest.raises(ValueError):
            cache.get_or_compute("k", compute, **wrong)


def test_compute_fails(cache):
    class Special(Exception):
        pass

    def fail():
        raise Special("because")

    for _ in range(2):  # at once the second time: the lease was given back
        with pytest.raises(Special, match="because"):
            cache.get_or_compute("k", fail, ttl=60)
    with pytest.raises(TypeError, match="a value is bytes or str"):
        cache.get_or_compute("k", lambda: 3)
    with pytest.raises(TypeError):
        cache.get_or_compute("k", None)
    assert cache.get_or_compute("k", lambda: "good") == b"good"


class Worker:
    """A forked process that runs work(say, hear) and ends. say(bytes) is heard by the test as
    hear(size); and the other way round."""

    def __init__(self, work):
        self.input, their_output = os.pipe()
        their_input, self.output = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                signal.alarm(60)
                work(lambda data: os.write(their_output, data), lambda n: os.read(their_input, n))
                code = 0
            finally:
                os._exit(code)
        os.close(their_output)
        os.close(their_input)

    def say(self, data):
        os.write(self.output, data)

    def hear(self, size=100):
        return os.read(self.input, size)

    def end(self):
        """What it said last, and whether it ended well."""
        rest = b""
        while data := self.hear():
            rest += data
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.input)
        os.close(self.output)
        return rest, status == 0


def computing(cache, **options):
    """A worker's work: says C when it computes, and computes until it hears something."""
    def work(say, hear):
        def compute():
            say(b"C")
            hear(1)
            return "value"
        say(b"R")
        hear(1)
        say(cache.get_or_compute("k", compute, **options))
    return work


def hear_compute(workers):
    """The worker that computes."""
    ready = select.select([worker.input for worker in workers], [], [], PATIENCE)[0]
    assert len(ready) == 1
    computer = next(worker for worker in workers if worker.input == ready[0])
    assert computer.hear(1) == b"C"
    return computer


def start(workers):
    for worker in workers:
        assert worker.hear(1) == b"R"
    for worker in workers:
        worker.say(b"G")


def test_one_computes(cache):
    cache.set("before", "the fork")
    workers = [Worker(computing(cache, ttl=60, wait=PATIENCE)) for _ in range(WORKERS)]
    start(workers)
    hear_compute(workers).say(b"F")
    assert [worker.end() for worker in workers] == [(b"value", True)] * WORKERS
    assert cache["k"] == b"value"


def test_computer_is_killed(cache):
    workers = [Worker(computing(cache, ttl=60, wait=PATIENCE)) for _ in range(WORKERS)]
    start(workers)
    first = hear_compute(workers)
    workers.remove(first)
    os.kill(first.pid, signal.SIGKILL)
    assert first.end() == (b"", False)
    hear_compute(workers).say(b"F")
    assert [worker.end() for worker in workers] == [(b"value", True)] * (WORKERS - 1)


def test_restart_while_computing(cached, cache):
    workers = [Worker(computing(cache, ttl=60, wait=PATIENCE)) for _ in range(WORKERS)]
    start(workers)
    hear_compute(workers)
    cached.stop(signal.SIGKILL)
    cached.start()
    for worker in workers:  # each computes that found no daemon
        worker.say(b"F")
    assert all(worker.end() in ((b"value", True), (b"Cvalue", True)) for worker in workers)
    assert cache.get_or_compute("k", lambda: "value", ttl=60) == b"value" == cache["k"]


def test_stale(cache):
    cache.set("k", "old", ttl=60)
    worker = Worker(computing(cache, ttl=3600, stale=100))
    start([worker])
    hear_compute([worker])
    assert cache.get_or_compute("k", lambda: "never", ttl=1, stale=100) == b"old"
    worker.say(b"F")
    assert worker.end() == (b"value", True)
    assert cache.get_or_compute("k", lambda: "never", ttl=3600, stale=100) == b"value"


def test_without_daemon(cached, cache):
    cache.set("stale", "old", ttl=3600)
    cached.stop()
    assert cache.get_or_compute("k", lambda: "value", ttl=60) == b"value"
    assert cache.get_or_compute("k", lambda: "other", ttl=60) == b"other"
    assert cache.get_or_compute("stale", lambda: "new", ttl=1, stale=86400) == b"old"


def test_waiting_hears_signals(cache):
    worker = Worker(computing(cache, ttl=60))
    start([worker])
    hear_compute([worker])

    class Alarm(Exception):
        pass

    def raise_alarm(*unused):
        raise Alarm

    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Alarm):
            cache.get_or_compute("k", lambda: "never", wait=PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    worker.say(b"F")
    assert worker.end() == (b"value", True)


def test_other_threads_run_meanwhile(cache):
    worker = Worker(computing(cache, ttl=60))
    start([worker])
    hear_compute([worker])
    waiter = threading.Thread(target=cache.get_or_compute, args=("k", lambda: "never"),
                              kwargs={"wait": PATIENCE})
    waiter.start()
    worker.say(b"F")  # only this thread can do that
    waiter.join(PATIENCE)
    assert not waiter.is_alive() and worker.end() == (b"value", True)


# --- the decorator


def test_cached(cache):
    calls = []

    @cache.cached(ttl=60, stale=10)
    def add(a, b=0):
        """Adds."""
        calls.append((a, b))
        return {"sum": a + b, "of": (a, b)}

    assert add(1, 2) == {"sum": 3, "of": [1, 2]} == add(1, 2)
    assert add(1, b=2)["sum"] == 3 and add("x", "y")["sum"] == "xy"
    assert calls == [(1, 2), (1, 2), ("x", "y")]
    assert add.__name__ == "add" and add.__doc__ == "Adds." and add.__wrapped__(1)["sum"] == 1
    assert add.key(1, 2) == f"{__name__}.test_cached.<locals>.add(1, 2)" and add.key(1, 2) in cache
    assert add.key(1, b=2, a=3).endswith("add(1, a=3, b=2)")
    assert add.forget(1, 2) is True and add.forget(1, 2) is False
    assert len(add.key("x" * 2000)) < 200 and add.key("x" * 2000) != add.key("x" * 2001)
    with pytest.raises(TypeError, match="key="):
        add(object())


def test_cached_with_own_key_and_format(cache):
    @cache.cached(ttl=60, key=lambda year: f"year:{year}", dumps=pickle.dumps, loads=pickle.loads)
    def pair(year):
        return year, {year}

    assert pair(7) == (7, {7}) == pair(7) and pickle.loads(cache["year:7"]) == (7, {7})


def test_cached_wrong_use(cache):
    with pytest.raises(TypeError, match="by name only"):
        cache.cached(60)
    with pytest.raises(TypeError, match="coroutines"):
        @cache.cached(ttl=60)
        async def coroutine():
            return 1

    @cache.cached(ttl=60)
    def unfit():
        return {1}

    with pytest.raises(TypeError, match="set"):
        unfit()
