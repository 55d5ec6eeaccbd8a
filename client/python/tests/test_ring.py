# SPDX-License-Identifier: Apache-2.0
"""Goal: a ring reads and writes as the README says, in threads, after forks, and when nodes die.
Method: three redis-servers on free ports of the loopback, ended by their process ids; what they hold
is asked of each of them alone. What operators want goes to sidepondd and a real ZooKeeper."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta

import pytest
import sidepond

NODES = 3
PATIENCE = 20

if shutil.which("redis-server") is None:
    pytest.skip("no redis-server", allow_module_level=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Servers:
    """Redis servers by the names of the ring's nodes."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sidepond-ring-")
        self.ports = {f"n{i}": free_port() for i in range(NODES)}
        self.processes = {}

    def start(self, name):
        self.processes[name] = subprocess.Popen(
            ["redis-server", "--port", str(self.ports[name]), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", self.folder], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL)

    def await_port(self, name):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.ports[name]), 1).close()
            except OSError:
                assert time.monotonic() < until, f"{name} does not start"
                time.sleep(0.01)

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait(PATIENCE)

    def open(self, **options):
        nodes = ",".join(f"{name}=127.0.0.1:{port}" for name, port in self.ports.items())
        return sidepond.Ring(nodes=nodes, redis=True, **options)

    def alone(self, name):
        """A ring of this one node."""
        return sidepond.Ring(nodes=f"{name}=127.0.0.1:{self.ports[name]}", redis=True, replicas=1)

    def remove(self):
        for name in list(self.processes):
            self.kill(name)
        shutil.rmtree(self.folder)


@pytest.fixture
def servers():
    own = Servers()
    try:
        for name in own.ports:
            own.start(name)
        for name in own.ports:
            own.await_port(name)
        yield own
    finally:
        own.remove()


@pytest.fixture
def ring(servers):
    with servers.open() as opened:
        yield opened


# --- entries


def test_entries(servers, ring):
    assert ring.get("k") is None and ring.get("k", 7) == 7
    assert ring.set("k", "grüße", need="all") == 2
    assert ring.get(b"k") == "grüße".encode()
    assert ring.set(b"\0\r\n", memoryview(b"bytes"), need="all") == 2
    assert ring.get(bytearray(b"\0\r\n")) == b"bytes"
    large = os.urandom(3 << 20)
    assert ring.set("large", large, need="all") == 2 and ring.get("large") == large
    place = ring.where("k")
    assert len(place.holders) == 2 and place.joining == () and 0 <= place.slot < 16384
    for name in servers.ports:
        with servers.alone(name) as alone:
            assert (alone.get("k") is not None) == (name in place.holders)
    assert ring.delete("k", need="all") == 2 == ring.delete("k", "all") and ring.get("k") is None
    assert ring.set("k", "v") in (1, 2) and ring.delete("k") in (1, 2)


def test_many(ring):
    entries = {f"key:{i}": f"value {i}".encode() for i in range(500)}
    assert ring.set_many(entries, ttl=timedelta(minutes=1), need="all") == 2
    assert ring.get_many([*entries, "none"]) == entries
    assert ring.get_many([b"key:7", b"none"]) == {b"key:7": b"value 7"}
    ring.set_many({"empty": bytearray(), "too": b""}, need="all")
    assert ring.get_many(["empty", "too"]) == {"empty": b"", "too": b""}
    assert ring.get_many([]) == {} and ring.set_many({}) == 0
    assert 0 < ring.execute("PTTL", "key:7") <= 60000


def test_numbers_and_times(ring):
    assert ring.incr("n") == 1 and ring.incr("n", by=41) == 42 and ring.incr("n", -2) == 40
    ring.set("short", "x", ttl=0.05)
    until = time.monotonic() + PATIENCE
    while ring.get("short") is not None:
        assert time.monotonic() < until
    ring.set("text", "x")
    with pytest.raises(TypeError):
        ring.incr("text")


def test_commands(ring):
    assert ring.execute("SET", "a", 3.5) == b"OK" and ring.execute("GET", "a") == b"3.5"
    assert ring.execute("GET", "none") is None
    assert ring.execute("RPUSH", "list", "x", b"y", 3) == 3
    assert ring.execute("LRANGE", "list", 0, -1) == [b"x", b"y", b"3"]
    with pytest.raises(sidepond.Refused, match="WRONGTYPE"):
        ring.execute("GET", "list")
    with pytest.raises(ValueError):
        ring.execute("MGET", "a", "b", "c", "d", "e")
    for wrong in ((), ("SET", "a", None), ("SET", "a", True)):
        with pytest.raises(TypeError):
            ring.execute(*wrong)


def test_what_is_told(ring):
    ring.set("k", "v")
    nodes = ring.nodes()
    assert [node.name for node in nodes] == ["n0", "n1", "n2"]
    assert all(node.state == "ready" and not node.kept_back for node in nodes)
    assert sum(node.owned_slots for node in nodes) == 16384
    assert sum(node.held_slots for node in nodes) == 2 * 16384
    info = ring.info()
    assert (info.slots, info.replicas, info.redis) == (16384, 2, True)
    assert info.under_replicated_slots == 0 == info.unsettled_slots


def test_wrong_arguments(servers, ring):
    for wrong in (lambda: ring.set("k", 3), lambda: ring.get(3), lambda: ring.get_many("k", "l"),
                  lambda: ring.get_many([["k"]])):
        with pytest.raises(TypeError):
            wrong()
    for wrong in (lambda: ring.set("k", "v", need="two"), lambda: ring.set("k", "v", ttl=-1),
                  lambda: servers.open(timeout=0), lambda: servers.open(replicas=9),
                  lambda: sidepond.Ring(nodes="nonsense")):
        with pytest.raises(ValueError):
            wrong()


# --- what operators want


def test_waiting(ring):
    epoch = ring.info().epoch
    assert ring.wait(0) == epoch == ring.wait(epoch + 1, timeout=0)
    for wait in (lambda: ring.wait(epoch, timeout=0.05), lambda: ring.wait(timeout=0)):
        with pytest.raises(sidepond.Timeout):
            wait()
    waiting = threading.Thread(target=lambda: closed.append(pytest.raises(ValueError, ring.wait)))
    closed = []
    waiting.start()
    ring.close()
    waiting.join(PATIENCE)
    assert len(closed) == 1
    with pytest.raises(ValueError):
        ring.wait(0)


def test_wanted_without_zookeeper(ring):
    for want in (lambda: ring.drain("n0"), lambda: ring.undrain("n0"), lambda: ring.weight("n0", 7)):
        with pytest.raises(ValueError, match="ZooKeeper"):
            want()
    for wrong in (lambda: ring.drain(3), lambda: ring.weight("n0"), lambda: ring.weight("n0", "7"),
                  lambda: ring.wait("x"), lambda: ring.where_slot("x")):
        with pytest.raises(TypeError):
            wrong()
    assert ring.where_slot(ring.where("k").slot) == ring.where("k")
    for slot in (16384, 1 << 40):
        with pytest.raises(ValueError, match="slots"):
            ring.where_slot(slot)


class Daemons:
    """Nodes that are sidepondd and know each other by a ZooKeeper of their own."""

    def __init__(self, kit):
        self.folder = tempfile.mkdtemp(prefix="sidepond-ring-")
        self.zookeeper = kit.Ensemble(1)
        self.processes = []

    def start(self, program, names):
        self.zookeeper.__enter__()
        for name in names:
            port, config = free_port(), os.path.join(self.folder, name + ".yaml")
            ring = {"node": name, "address": f"127.0.0.1:{port}", "slots": 16,
                    "zookeeper": self.zookeeper.servers, "session": "2s"}
            with open(config, "w", encoding="utf-8") as file:
                json.dump({"pond": name, "directory": os.path.join(self.folder, name),
                           "memory": "32MiB", "cache": {"listen": [f"127.0.0.1:{port}"]},
                           "ring": ring}, file)
            self.processes.append(subprocess.Popen([program, config], stdin=subprocess.DEVNULL,
                                                   stderr=subprocess.DEVNULL))

    def remove(self):
        for process in self.processes:
            process.kill()
            process.wait(PATIENCE)
        self.zookeeper.__exit__(None, None, None)
        shutil.rmtree(self.folder)


@pytest.fixture
def daemons():
    """Needs the checkout, its build and ZooKeeper."""
    program = os.path.join(os.environ.get("SIDEPOND_BUILD_DIR", ""), "bin/sidepondd")
    kits = pathlib.Path(os.environ.get("SIDEPOND_SOURCE_DIR", ""), "tests/system")
    if not os.path.exists(program) or not kits.exists():
        pytest.skip("no checkout, or no build of it")
    sys.path.append(str(kits))
    import zookeeper_kit
    if not zookeeper_kit.available():
        pytest.skip("no ZooKeeper")
    own = Daemons(zookeeper_kit)
    try:
        own.start(program, ["a", "b", "c"])
        yield own
    finally:
        own.remove()


def await_nodes(ring, what):
    until, epoch = time.monotonic() + PATIENCE, ring.info().epoch
    while not what({node.name: node for node in ring.nodes()}):
        epoch = ring.wait(epoch, timeout=max(0, until - time.monotonic()))


def test_wanted(daemons):
    with sidepond.Ring(daemons.zookeeper.servers, timeout=PATIENCE) as ring:
        await_nodes(ring, lambda nodes: len(nodes) == 3 and all(
            node.state == "ready" for node in nodes.values()))
        ring.set("k", "v", need="all")
        ring.drain("b")
        await_nodes(ring, lambda nodes: nodes["b"].state == "drained")
        assert ring.get("k") == b"v" and ring.info().under_replicated_slots == 0
        assert all("b" not in ring.where_slot(slot).holders for slot in range(16))
        ring.undrain("b")
        await_nodes(ring, lambda nodes: nodes["b"].state == "ready" and nodes["b"].held_slots > 0)
        ring.weight("c", weight=50)
        await_nodes(ring, lambda nodes: nodes["c"].weight == 50)
        ring.weight("c", 0)
        await_nodes(ring, lambda nodes: nodes["c"].weight == 100)
        for wrong in (lambda: ring.weight("c", 1001), lambda: ring.weight("c", 1 << 40)):
            with pytest.raises(ValueError, match="1000"):
                wrong()
        assert ring.get("k") == b"v"


# --- nodes that die


def test_one_node_dies(servers, ring):
    entries = {f"key:{i}": b"%d" % i for i in range(300)}
    ring.set_many(entries, need="all")
    servers.kill("n1")
    assert all(ring.get(key) == value for key, value in entries.items())
    assert ring.get_many(entries) == entries
    lost = next(key for key in entries if "n1" in ring.where(key).holders)
    assert ring.set(lost, "new") == 1 and ring.get(lost) == b"new"
    with pytest.raises(sidepond.Partial):
        ring.set(lost, "newer", need="all")
    with pytest.raises(sidepond.Partial):
        ring.set_many({lost: "newest"}, need="all")
    assert [node.name for node in ring.nodes() if node.kept_back] == ["n1"]


def test_all_nodes_die(servers, ring):
    ring.set("k", "v")
    for name in list(servers.processes):
        servers.kill(name)
    with pytest.raises(sidepond.NoNode) as raised:
        ring.get("k")
    assert isinstance(raised.value, (sidepond.Error, ConnectionError))
    for write in (lambda: ring.set("k", "w"), lambda: ring.delete("k"), lambda: ring.incr("n"),
                  lambda: ring.get_many(["k"]), lambda: ring.execute("GET", "k")):
        with pytest.raises(sidepond.NoNode):
            write()


def test_zookeeper_is_away():
    with pytest.raises(sidepond.NotReady):
        sidepond.Ring(zookeeper=f"127.0.0.1:{free_port()}", timeout=0.2)


# --- threads, forks, closing


def test_threads(ring):
    def work(number):
        for i in range(100):
            key = f"{number}:{i}"
            ring.set(key, key)
            if ring.get(key) != key.encode() or ring.incr("sum") < 1:
                wrong.append(key)

    wrong = []
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and ring.get("sum") == b"800"


def test_the_interpreter_is_free_meanwhile(servers, ring):
    """A node that hangs holds up its caller, not other threads."""
    def write_to_all():
        with pytest.raises(sidepond.Partial):
            ring.set(key, "w", need="all")

    key = next(f"k{i}" for i in range(100) if ring.where(f"k{i}").holders[0] == "n0")
    ring.set(key, "v")
    process = servers.processes["n0"]
    process.send_signal(signal.SIGSTOP)
    try:
        caller = threading.Thread(target=write_to_all)
        caller.start()
        turns = 0
        while caller.is_alive():
            turns += 1
            time.sleep(0.001)
        assert turns > 10
        assert ring.get(key) in (b"v", b"w")
    finally:
        process.send_signal(signal.SIGCONT)


def test_fork(ring):
    ring.set("k", "parent")
    child = os.fork()
    if child == 0:
        try:
            ring.set("child", ring.get("k"), need="all")
            os._exit(0)
        finally:
            os._exit(1)
    assert ring.get("k") == b"parent"
    assert os.waitpid(child, 0)[1] == 0
    assert ring.get("child") == b"parent"


def test_closing(servers):
    ring = servers.open()
    with ring as same:
        assert same is ring and ring.closed is False
    ring.close()
    assert ring.closed is True
    for use in (lambda: ring.get("k"), lambda: ring.set("k", "v"), ring.nodes, ring.info,
                lambda: ring.where("k"), lambda: ring.get_many(["k"]), lambda: ring.execute("PING")):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_closing_while_others_call(servers):
    for _ in range(5):
        ring = servers.open()
        started = threading.Barrier(5)

        def work(of=ring, ready=started):
            ready.wait()
            try:
                while True:
                    of.set("k", "v")
            except ValueError:
                pass

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        ring.close()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
