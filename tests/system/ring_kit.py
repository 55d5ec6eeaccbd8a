# SPDX-License-Identifier: Apache-2.0
"""ring_kit.py - processes of a ring or of its peers, the load on them, and what the checker says.

Every process is one of this test's own, on free loopback ports, with a directory in that of the
test, and is ended by its process id. Moments are time.monotonic_ns(), the clock of the load's logs.
"""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import member_kit
import process_kit
from ports import free_ports
from resp_wire import Closed, Connection, Malformed
from ring_map import crc16

BUILD = os.environ.get("SIDEPOND_BUILD_DIR", "build/dev")
LOAD = os.path.join(BUILD, "bin", "ring_load")
PROXY = os.path.join(BUILD, "bin", "ring_proxy")
DAEMON = os.path.join(BUILD, "bin", "sidepondd")
CLOCK = os.path.abspath(os.path.join(BUILD, "lib", "libring_clock.so"))
SOURCE = os.path.abspath(os.path.join(BUILD, "lib", "libring_source.so"))
CHECK = os.path.join(BUILD, "bin", "ring_check")
AWAIT_SECONDS = 60


def wait_for(condition, what, seconds=AWAIT_SECONDS):
    return process_kit.wait_for(condition, what, seconds, 0.02)


def slot_of(key):
    """As Redis Cluster has it, of a key without a hash tag."""
    return crc16(key) % 16384


def key_name(number):
    """As ring_key_name() of ring_log.c."""
    return b"ring:%010d" % number


class Process:
    """A server. `arguments` start it, again after a death, over what it left behind."""

    def __init__(self, arguments, log, environment=None):
        self.arguments, self.log_path = arguments, log
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.stopped = False

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, preexec_fn=process_kit.end_with_parent)
        self.stopped = False
        return self

    def lives(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.stopped = False

    def halt(self):
        """SIGSTOP, until go_on."""
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def end(self, seconds=AWAIT_SECONDS):
        """As a service manager does."""
        if self.lives():
            if self.stopped:
                self.go_on()
            self.process.terminate()
            self.process.wait(seconds)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()


def ask(port, *arguments, seconds=2):
    """The reply's content; None if there is no answer, or an error."""
    try:
        with Connection(("127.0.0.1", port), seconds) as connection:
            kind, content = connection.command(*arguments)
    except (OSError, Closed, Malformed):
        return None
    return None if kind == "-" else content


def answers(port):
    return ask(port, "PING") == b"PONG"


class Directory:
    """A temporary one in memory; what a test keeps in it ends with it."""

    def __init__(self, name):
        self.path = tempfile.mkdtemp(prefix=f"sidepond-{name}.", dir="/dev/shm")
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for process in self.processes:
            process.kill()
        shutil.rmtree(self.path, ignore_errors=True)

    def sub(self, name):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    def process(self, name, arguments, environment=None):
        process = Process(arguments, os.path.join(self.sub(name), "log"), environment)
        self.processes.append(process)
        return process


class Stalls:
    """Whether the machine itself stands still, so that every node does at once, and that is not one
    fault. A thread that sleeps for 10 ms and looks how long that took."""

    def __init__(self):
        self.longest = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.is_set():
            begun = time.monotonic()
            time.sleep(0.01)
            self.longest = max(self.longest, time.monotonic() - begun)


# --- Redis' own ways -------------------------------------------------------------------------

def redis_arguments(port, directory, *more):
    return ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", directory,
            "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", *more]


class RedisCluster:
    """Three masters and a replica of each."""
    name = "cluster"

    def __init__(self, directory, timeout_ms):
        self.ports = free_ports(6)
        self.nodes = []
        for port in self.ports:
            process = directory.process(f"redis-{port}", redis_arguments(
                port, directory.sub(f"redis-{port}"), "--cluster-enabled", "yes",
                "--cluster-node-timeout", str(timeout_ms), "--cluster-announce-ip", "127.0.0.1"))
            self.nodes.append(process.start())
        for port in self.ports:
            wait_for(lambda port=port: answers(port), f"Redis answers on {port}")
        subprocess.run(["redis-cli", "--cluster", "create",
                        *[f"127.0.0.1:{port}" for port in self.ports], "--cluster-replicas", "1",
                        "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)
        self.seeds = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        wait_for(self.is_whole, "the cluster is whole and its replicas are in sync")

    def is_whole(self):
        for port in self.ports:
            info = ask(port, "CLUSTER", "INFO") or b""
            role = ask(port, "ROLE")
            if b"cluster_state:ok" not in info or not role:
                return False
            if role[0][1] == b"slave" and role[3][1] != b"connected":
                return False
        slots = ask(self.ports[0], "CLUSTER", "SLOTS") or []
        return len(slots) == 3 and all(len(row[1]) == 4 for row in slots)

    def victim(self, keys):
        """A master, and which of the keys are its own."""
        for _, row in ask(self.ports[0], "CLUSTER", "SLOTS"):
            port = row[2][1][1][1]
            if port == self.ports[0]:
                own = range(row[0][1], row[1][1] + 1)
                return self.nodes[0], [k for k in range(keys) if slot_of(key_name(k)) in own]
        raise AssertionError("the first node owns nothing")


class RedisSentinel:
    """A master, two replicas, three sentinels."""
    name = "sentinel"

    def __init__(self, directory, timeout_ms):
        self.ports = free_ports(6)
        self.nodes = []
        for i, port in enumerate(self.ports[:3]):
            follow = ["--replicaof", f"127.0.0.1 {self.ports[0]}"] if i else []
            process = directory.process(f"redis-{port}", redis_arguments(
                port, directory.sub(f"redis-{port}"), *follow))
            self.nodes.append(process.start())
            wait_for(lambda port=port: answers(port), f"Redis answers on {port}")
        wait_for(self.is_in_sync, "the replicas are in sync")
        for port in self.ports[3:]:
            self._start_sentinel(directory, port, timeout_ms)
        self.seeds = ",".join(f"127.0.0.1:{port}" for port in self.ports[3:])
        wait_for(self.is_whole, "the sentinels know each other")

    def _start_sentinel(self, directory, port, timeout_ms):
        config = os.path.join(directory.sub(f"sentinel-{port}"), "sentinel.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"port {port}\nbind 127.0.0.1\n"
                       f"sentinel monitor ring 127.0.0.1 {self.ports[0]} 2\n"
                       f"sentinel down-after-milliseconds ring {timeout_ms}\n"
                       "sentinel failover-timeout ring 10000\n")
        directory.process(f"sentinel-{port}", ["redis-server", config, "--sentinel"]).start()

    def is_in_sync(self):
        roles = [ask(port, "ROLE") for port in self.ports[1:3]]
        return all(role and role[0][1] == b"slave" and role[3][1] == b"connected" for role in roles)

    def is_whole(self):
        for port in self.ports[3:]:
            row = ask(port, "SENTINEL", "MASTER", "ring")
            fields = [item[1] for item in row or []]
            found = dict(zip(fields[::2], fields[1::2]))
            if found.get(b"num-other-sentinels") != b"2" or found.get(b"num-slaves") != b"2":
                return False
        return True

    def victim(self, keys):
        return self.nodes[0], list(range(keys))


# --- rings ------------------------------------------------------------------------------------

def await_equal(is_settled, equal, all_of_them, seconds):
    """Until all is settled, each has been seen to be equal (at once they are not, while they are
    written), and all has stayed settled. Seconds that it took."""
    begun = time.monotonic()
    while True:
        wait_for(is_settled, "all copies are there", seconds)
        left = set(all_of_them)

        def none_is_left():
            left.difference_update(equal())  # pylint: disable=cell-var-from-loop
            return not left or not is_settled()
        wait_for(none_is_left, "all copies are equal", seconds)
        if is_settled():
            return time.monotonic() - begun


class Proxy:
    """ring_proxy in front of a node."""

    def __init__(self, port, node_port):
        self.port = port
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [PROXY, str(port), str(node_port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=process_kit.end_with_parent)
        self._await_ok()

    def _await_ok(self):
        if self.process.stdout.readline() != "ok\n":
            raise AssertionError("the proxy does not obey")

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self._await_ok()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class ZookeeperProxies:
    """One in front of each server of an ensemble; `servers` are they, for clients."""

    def __init__(self, ports):
        self.proxies = [Proxy(own, port) for own, port in zip(free_ports(len(ports)), ports)]
        self.servers = ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for proxy in self.proxies:
            proxy.kill()

    def order(self, line):
        for proxy in self.proxies:
            proxy.order(line)


class Node:
    """A node behind a proxy: others know it by the proxy's address. Without one where the ports are
    the same. It comes to others from `source`, if the ring has sources."""

    def __init__(self, ring, name, ports, source):
        self.ring, self.name, self.source = ring, name, source
        self.port, self.own_port = ports
        self.address = f"127.0.0.1:{self.port}"
        self.directory = ring.directory.sub(name)
        self.proxy = Proxy(*ports) if self.port != self.own_port else None
        self.process = None

    def start(self):
        if self.process is None:
            self.process = self.ring.directory.process(self.name, self.ring.arguments(self))
            self.preload()
        self.ring.begins(self)
        self.process.start()
        return self

    def preload(self, *libraries):
        """These, when it is started next, besides the one for its source."""
        if self.ring.sources:
            libraries = (SOURCE, *libraries)
            self.process.environment["RING_SOURCE"] = self.source
        self.process.environment["LD_PRELOAD"] = ":".join(libraries)

    def configure(self, name, value):
        if ask(self.own_port, "CONFIG", "SET", name, value) != b"OK":
            raise AssertionError(f"{self.name} does not take {name} {value}")

    def is_heard(self, port):
        """Whether it has a connection to the port that comes from its source."""
        own = struct.unpack("<I", socket.inet_aton(self.source))[0]
        with open("/proc/net/tcp", encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        return any(row[1].startswith(f"{own:08X}:") and row[2].endswith(f":{port:04X}") and
                   row[3] == "01" for row in rows)

    def answers(self):
        return self.process is not None and self.process.lives() and answers(self.own_port)

    def await_answer(self):
        def there():
            if not self.process.lives():
                raise AssertionError(f"{self.name} has ended:\n{self.process.log()}")
            return answers(self.own_port)
        wait_for(there, f"{self.name} answers")

    def pond(self):
        return os.path.join(self.directory, "pond")

    def forget(self):
        """What it holds is gone. It must not run."""
        shutil.rmtree(self.pond(), ignore_errors=True)

    def save(self):
        """Puts what it holds aside; it is taken back by `restore`. It must not run."""
        shutil.rmtree(self.pond() + ".old", ignore_errors=True)
        shutil.copytree(self.pond(), self.pond() + ".old")

    def restore(self):
        self.forget()
        shutil.copytree(self.pond() + ".old", self.pond())


class Ring:
    """Nodes that hold keys together, of a fixed list or by ZooKeeper."""

    def __init__(self, directory, count, zookeeper=None, spare=0, sources=False, proxies=None,
                 proxied=True):
        self.directory, self.zookeeper = directory, zookeeper
        self.sources, self.zookeeper_proxies = sources and os.path.exists(SOURCE), proxies
        ports = free_ports(2 * (count + spare))
        self.all = [Node(self, f"n{i}", (ports[2 * i], ports[2 * i + 1 if proxied else 2 * i]),
                         f"127.0.0.{11 + i}") for i in range(count + spare)]
        self.nodes = self.all[:count]
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.await_answer()

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        for node in self.all:
            if node.proxy:
                node.proxy.kill()
            if node.process:
                node.process.kill()
            if kind is not None and node.process:
                print(f"--- log of {node.name}\n{node.process.log()[-4000:]}")

    def begins(self, node):
        """The node is about to be started."""

    def list(self):
        return ",".join(f"{node.name}={node.address}" for node in self.nodes)

    def load_options(self):
        """How ring_load reaches it."""
        options = {"client": "ring", "kind": self.kind}
        if self.zookeeper:
            return {**options, "zookeeper": self.zookeeper, "cluster": "main"}
        return {**options, "nodes": self.list()}

    def keys_of(self, node, count):
        """Those of the first `count` keys that the node owns."""
        load = Load(self.directory.sub("owners"), keys=count, owners=1, **self.load_options())
        names = load.run_to_its_end().split("\n")
        return [key for key in range(count) if names[key] == node.name]

    def grow(self):
        """Starts one of the spare nodes."""
        node = self.all[len(self.nodes)]
        self.nodes.append(node)
        node.start()
        node.await_answer()
        return node

    def shrink(self):
        """The last of them ends in good order, and what it held is gone."""
        node = self.nodes.pop()
        node.process.end()
        node.forget()
        return node

    def part(self, node, others_to_it=True, it_to_others=True, it_to_zookeeper=True, clients=()):
        """Cuts these ways until `heal`; clients are the addresses they come from."""
        others = [other for other in self.nodes if other is not node]
        if it_to_others:
            wait_for(lambda: all(node.is_heard(other.port) for other in others),
                     f"{node.name} comes from {node.source}")
            for other in others:
                other.proxy.order(f"cut {node.source}")
        cut = [*clients, *[other.source for other in others if others_to_it]]
        if cut:
            node.proxy.order("cut " + " ".join(cut))
        if it_to_zookeeper and self.zookeeper:
            self.zookeeper_proxies.order(f"cut {node.source}")

    def await_settled(self):
        """Until it is as it is to be, before there is anything in it."""
        wait_for(self.is_settled, "all copies are there")

    def heal(self):
        for node in self.nodes:
            node.proxy.order("pass")
        if self.zookeeper_proxies:
            self.zookeeper_proxies.order("pass")


class RedisRing(Ring):
    """Stock Redis servers."""
    kind = "redis"

    def arguments(self, node):
        return redis_arguments(node.own_port, node.directory)


class AgentRing(RedisRing):
    """Stock Redis servers that are in ZooKeeper, each by an agent beside it."""

    def __init__(self, directory, count, keys, slots=64, session="1s", **more):
        self.slots, self.session, self.keys = slots, session, keys
        self.onlooker, self.starts = None, {}
        super().__init__(directory, count, **more)
        self.onlooker = member_kit.Node(self.zookeeper, "main", slots=slots)
        self.agents = {node.name: self._agent(node).start() for node in self.nodes}

    def __exit__(self, *error):
        self.onlooker.kill()
        for agent in self.agents.values():
            agent.kill()
            if error[0] is not None:
                print(f"--- log of an agent\n{agent.log()[-4000:]}")
        super().__exit__(*error)

    def _agent(self, node):
        config = os.path.join(node.directory, "agent.yaml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"agent": {"zookeeper": self.zookeeper, "cluster": "main", "slots": self.slots,
                                 "session": self.session, "check": "100ms", "deadline": "500ms",
                                 "nodes": [{"name": node.name, "address": node.address}]}}, file)
        return self.directory.process(f"agent-{node.name}", [DAEMON, "--agent", config])

    def begins(self, node):
        """Its start id is another one from now on."""
        if self.onlooker and node.name in self.onlooker.drain().map["nodes"]:
            self.starts[node.name] = self.onlooker.map["nodes"][node.name][3]

    def is_settled(self):
        seen = self.onlooker.drain().map
        return (seen["settled"] and set(seen["nodes"]) == {node.name for node in self.nodes} and
                not any(seen["nodes"][name][3] == start for name, start in self.starts.items()))

    def equal_keys(self):
        """Those of which all holders have the same."""
        slots = next(word["slots"] for word in self.onlooker.send("slots") if "slots" in word)
        names = [key_name(key) for key in range(self.keys)]
        values = {node.name: ask(node.own_port, "MGET", *names) for node in self.nodes}
        if None in values.values():
            return set()
        return {key for key in range(self.keys)
                if len({values[name][key] for name in
                        slots[slot_of(names[key]) % self.slots]}) == 1}

    def await_clean(self, seconds=AWAIT_SECONDS):
        return await_equal(self.is_settled, self.equal_keys, range(self.keys), seconds)


class Map:
    """What `SIDEPOND RING` says (docs/RING.md, "Encoding"): of each slot its holders and targets, by
    name."""

    def __init__(self, encoded):
        head = "<8sQIHBBH"
        magic, self.epoch, size, slots, self.replicas, _, nodes = struct.unpack_from(head, encoded)
        assert magic[:6] == b"SPRING" and size == len(encoded)
        self.at, self.bytes = struct.calcsize(head), encoded
        self.names = []
        for _ in range(nodes):
            self.names.append(self._text())
            self._text()
            self._text()
            self.at += 2 + 1 + 8
        self.slots = [self._slot() for _ in range(slots)]

    def _text(self):
        size = self.bytes[self.at]
        text = self.bytes[self.at + 1:self.at + 1 + size].decode()
        self.at += 1 + size
        return text

    def _names(self, count):
        found = struct.unpack_from(f"<{count}H", self.bytes, self.at)
        self.at += 2 * count
        return [self.names[position] for position in found]

    def _slot(self):
        counts = self.bytes[self.at]
        self.at += 1
        holders = self._names(counts & 15)
        targets = self._names(counts >> 4) or holders
        return holders, targets

    def unsettled(self):
        """How many slots have not their holders and targets, or too few of them."""
        most = min(self.replicas, len(self.names))
        return sum(holders != targets or len(holders) < most for holders, targets in self.slots)


class SidepondRing(Ring):
    """sidepondd nodes, or others: `program` is called as ring_node is."""
    kind = "sidepondd"

    def __init__(self, directory, count, slots=64, memory="64MiB", session="1s", extra=None,
                 program=None, **more):
        self.program = program
        self.slots, self.memory, self.session = slots, memory, session
        self.extra = extra or {}
        super().__init__(directory, count, **more)

    def _ring_section(self, node):
        section = {"node": node.name, "address": node.address, "slots": self.slots, **self.extra}
        if self.zookeeper:
            section |= {"zookeeper": self.zookeeper, "session": self.session}
        else:
            section["nodes"] = [{"name": n.name, "address": n.address} for n in self.nodes]
        return section

    def arguments(self, node):
        if self.program:
            return self.node_arguments(node)
        config = os.path.join(node.directory, "node.yaml")
        with open(config, "w", encoding="utf-8") as file:
            # JSON is YAML.
            json.dump({"pond": node.name, "directory": node.pond(), "memory": self.memory,
                       "cache": {"listen": [f"127.0.0.1:{node.own_port}"]},
                       "ring": self._ring_section(node)}, file)
        return [DAEMON, config]

    def node_arguments(self, node):
        memory = str(int(self.memory.removesuffix("MiB")) << 20)
        session = str(int(self.session.removesuffix("s")) * 1000)
        others = (["zookeeper", self.zookeeper, session] if self.zookeeper else
                  ["nodes", self.list()])
        return [self.program, node.pond(), str(node.own_port), node.name, node.address, str(self.slots),
                memory, *others]

    def load_options(self):
        options = super().load_options()
        return options if self.zookeeper else {**options, "slots": self.slots}

    # --- whether all copies are there, and equal ---

    def map(self):
        """That of the node with the latest one; None: nobody has one."""
        found = [ask(node.own_port, "SIDEPOND", "RING") for node in self.nodes]
        maps = [Map(encoded) for encoded in found if encoded]
        return max(maps, key=lambda m: m.epoch) if maps else None

    def digests(self, node):
        """Of each slot; None: it does not answer."""
        rows = ask(node.own_port, "SIDEPOND", "DIGESTS", "0", str(self.slots), seconds=10)
        return None if rows is None else [tuple(item[1] for item in row[1]) for row in rows]

    def doubts(self, node):
        """Whether the node does not answer, or not for all slots that it holds by the map."""
        info = (ask(node.own_port, "INFO", "ring") or b"").decode()
        figures = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
        return figures.get("ring_suspect_slots", "1") != "0"

    def is_settled(self):
        """Every slot has all of its holders, where they shall be, and all of them answer for it."""
        seen = self.map()
        return (seen is not None and set(seen.names) == {node.name for node in self.nodes} and
                seen.unsettled() == 0 and not any(self.doubts(node) for node in self.nodes))

    def equal_slots(self):
        """Those whose holders have the same."""
        seen = self.map()
        digests = {node.name: self.digests(node) for node in self.nodes}
        if seen is None or None in digests.values():
            return set()
        return {slot for slot, (holders, _) in enumerate(seen.slots)
                if len({digests[name][slot] for name in holders if name in digests}) == 1}

    def await_clean(self, seconds=AWAIT_SECONDS):
        return await_equal(self.is_settled, self.equal_slots, range(self.slots), seconds)


# --- the load and its judge ------------------------------------------------------------------

class Load:
    """ring_load, as a process; its options are keyword arguments, with _ for -."""

    def __init__(self, log, source=None, **options):
        self.log = log
        os.makedirs(log, exist_ok=True)
        self.options = options
        self.environment = None
        if source:
            self.environment = {**os.environ, "LD_PRELOAD": SOURCE, "RING_SOURCE": source}
        self.process = None
        self.counts = None

    def _arguments(self, options):
        words = [LOAD, "--log", self.log]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def start(self):
        """Returns when its threads begin."""
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            self._arguments(self.options), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=process_kit.end_with_parent, env=self.environment)
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError("the load does not begin")
        return self

    def end(self):
        """What it has counted."""
        output, _ = self.process.communicate(timeout=AWAIT_SECONDS)
        if self.process.returncode != 0:
            raise AssertionError(f"the load ended with {self.process.returncode}")
        self.counts = json.loads(output)
        return self.counts

    def run_to_its_end(self):
        """What it has printed."""
        done = subprocess.run(self._arguments(self.options), check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, timeout=300)
        return done.stdout

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def finals(self, by_client=False):
        """Each key's last state is added to the log: as its nodes have it, or as the client sees it."""
        options = {**self.options, "preload": 0, "final": 2 if by_client else 1,
                   "first_writer": self.options.get("first_writer", 1) + 1000}
        subprocess.run(self._arguments(options), check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=300)


def check(log, *options):
    """The checker's verdict."""
    done = subprocess.run([CHECK, log, *options], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise AssertionError("the checker could not judge")
    return json.loads(done.stdout)


RULES = ("failed_reads", "failed_writes", "lost", "returned", "stale", "false_misses", "foreign",
         "unequal", "counters")


def objections(verdict, allowed=()):
    return {rule: verdict[rule] for rule in RULES if verdict[rule] and rule not in allowed}


def outage(log, from_ns, until_ns, keys=None):
    """How long reads and writes had no success: see ring_check_main.c."""
    arguments = [CHECK, log, "outage", str(from_ns), str(until_ns)]
    if keys is not None:
        path = os.path.join(log, "keys")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"{key}\n" for key in keys)
        arguments.append(path)
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
