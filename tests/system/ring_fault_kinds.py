# SPDX-License-Identifier: Apache-2.0
"""ring_fault_kinds.py - what happens to a ring in ring_faults.py: one method for each fault, which
ends when the node is again as it should be, but for those of Redis without an agent, whose node
stays away.

Clients reach a node, and nodes reach each other, through a proxy in front of it (ring_proxy.c), and
ZooKeeper through one in front of each server. Each node connects from an address of its own
(ring_source.c), so that a proxy can part it from the others and not from clients.
"""
import os
import time

import ring_kit

SESSION_SECONDS = 1
LITTLE_MEMORY = "1mb"  # the least there is; the load's keys need more than twice that in a node
MEMORY = "48mb"
PARTED_CLIENTS = "127.0.0.99"
# Keys that are too many for LITTLE_MEMORY.
LARGE_LOAD = {"keys": 1200, "value_bytes": 3000, "rate": 4000, "reads": 50}
# Keys of which not all are written again before the end, so that a write which was missed stays so.
SPARSE_LOAD = {"keys": 6000, "rate": 2000, "reads": 50}


class Faults:
    """A part of ring_faults.Run, of which these use `ring`, `random`, `pause`, `between` and
    `zookeeper`."""

    # --- processes ---

    def kill_warm(self, node):
        node.process.kill()
        self.pause(0, 2)
        node.start().await_answer()

    def kill_empty(self, node):
        node.process.kill()
        node.forget()
        self.pause(0, 1)
        node.start().await_answer()

    def empty_at_once(self, node):
        """Before anybody can have missed it: its session in ZooKeeper still lives."""
        node.process.kill()
        node.forget()
        node.start().await_answer()

    def stop(self, node):
        node.process.halt()
        self.pause(0.2, 5)
        node.process.go_on()

    def restart(self, node):
        node.process.end()
        node.start().await_answer()

    def rolling(self, _):
        for node in self.ring.nodes:
            self.restart(node)
            self.ring.await_clean()

    def old_data(self, node):
        """What it held before the last writes and deletions is all that it has."""
        node.process.end()
        node.save()
        node.start().await_answer()
        self.ring.await_clean()
        self.pause(0.3, 1)
        node.process.kill()
        node.restore()
        node.start().await_answer()

    def skew(self, node):
        """Within what `clock_ahead` allows, of a minute."""
        skew = str(self.random.choice((-1, 1)) * self.random.randint(1000, 50000))
        node.process.end()
        node.preload(ring_kit.CLOCK)
        node.process.environment["RING_CLOCK_SKEW_MS"] = skew
        node.start().await_answer()
        self.ring.await_clean()
        self.pause(0.2, 1)
        node.preload()
        self.restart(node)

    # --- memory ---

    def _fill(self, node, policy):
        node.configure("maxmemory-policy", policy)
        node.configure("maxmemory", LITTLE_MEMORY)
        self.pause(0.8, 3)
        node.configure("maxmemory", MEMORY)
        node.configure("maxmemory-policy", "allkeys-lru")

    def full(self, node):
        """It refuses what it has no room for, and the other copies take it."""
        self._fill(node, "noeviction")

    def evict(self, node):
        """It throws out what little used; the other copies keep it, and give it back."""
        self._fill(node, "allkeys-lru")

    # --- the network in front of a node ---

    def _network(self, node, order, least=0.3, most=3):
        node.proxy.order(order)
        self.pause(least, most)
        node.proxy.order("pass")

    def refuse(self, node):
        self._network(node, "refuse")

    def reset(self, node):
        self._network(node, "reset")

    def cut(self, node):
        self._network(node, "cut")

    def slow(self, node):
        self._network(node, f"slow {self.random.randint(1, 80)}")

    def lose(self, node):
        self._network(node, f"lose {self.random.randint(1, 20)}")

    # --- the network between nodes ---

    def _part(self, least, most, node, **whom):
        self.ring.part(node, **whom)
        self.pause(least, most)
        self.ring.heal()

    def mute(self, node):
        """It reaches no other node, and all reach it."""
        self._part(0.5, 3, node, others_to_it=False, it_to_zookeeper=False)

    def part(self, node):
        """It is alone: the other nodes, ZooKeeper and some of the clients on one side, it on the
        other, and most clients reach both."""
        with self.parted_load(PARTED_CLIENTS):
            time.sleep(0.2)
            least = SESSION_SECONDS + 0.8 if self.zookeeper else 0.5
            self._part(least, 3, node, clients=[PARTED_CLIENTS])

    def session_expired(self, node):
        """It serves, and reaches everybody but ZooKeeper, for longer than its session lasts."""
        self._part(SESSION_SECONDS + 0.8, 3, node, others_to_it=False, it_to_others=False)

    # --- of rings that are found through ZooKeeper ---

    def session_lost(self, node):
        """The node stands still for longer than its session lasts, and is taken out of the map."""
        node.process.halt()
        self.pause(SESSION_SECONDS + 0.8, SESSION_SECONDS + 2)
        node.process.go_on()

    def _zookeeper_away(self, numbers):
        for number in numbers:
            self.zookeeper.kill(number)
        self.pause(0.3, 6)
        for number in numbers:
            self.zookeeper.start(number)
        self.zookeeper.await_serving()

    def zookeeper_restart(self, _):
        self._zookeeper_away(range(len(self.zookeeper.ports)))

    def quorum_lost(self, _):
        """Two of three are gone, so that the third does not serve either."""
        self._zookeeper_away(self.random.sample(range(len(self.zookeeper.ports)), 2))

    def leader_lost(self, _):
        modes = [self.zookeeper.four("srvr", i) or "" for i in range(len(self.zookeeper.ports))]
        self._zookeeper_away([i for i, mode in enumerate(modes) if "leader" in mode])

    def grow(self, _):
        """Two nodes join, one after the other or at once, and leave again."""
        at_once = self.random.random() < 0.5
        for _ in range(2):
            self.ring.grow()
            if not at_once:
                self.ring.await_clean()
        self.ring.await_clean()
        for _ in range(2):
            self.ring.shrink()
            self.ring.await_clean()

    # --- of Redis with an agent ---

    def _agent_away(self):
        """For less than its session lasts, or for longer."""
        self.pause(*self.random.choice(((0, 0.5), (SESSION_SECONDS + 0.8, SESSION_SECONDS + 2))))

    def agent_killed(self, node):
        """The server is well, and nobody says so, until its agent is back."""
        self.ring.agents[node.name].kill()
        self._agent_away()
        self.ring.agents[node.name].start()

    def host_lost(self, node):
        """The server and the agent beside it."""
        self.ring.agents[node.name].kill()
        node.process.kill()
        self._agent_away()
        node.start().await_answer()
        self.ring.agents[node.name].start()

    # --- of Redis: the node stays away ---

    def redis_kill(self, node):
        node.process.kill()

    def redis_refuse(self, node):
        node.proxy.order("refuse")

    def redis_reset(self, node):
        node.proxy.order("reset")

    def redis_stop(self, node):
        node.process.halt()

    def redis_cut(self, node):
        node.proxy.order("cut")

    # --- what a ring without versions and repair cannot bear: the checker has to object ---

    def redis_empty(self, node):
        node.process.kill()
        self.pause(0.1, 1)
        node.start().await_answer()

    def redis_return(self, node):
        node.process.halt()
        self.pause(0.8, 3)
        node.process.go_on()

    # --- which there are ---

    BROKEN = (redis_empty, redis_return)
    OF_KIND = {
        ("sidepondd", False): (kill_warm, kill_empty, stop, refuse, reset, cut, slow, lose, restart,
                               rolling, old_data, skew, full, evict, mute, part),
        ("sidepondd", True): (zookeeper_restart, quorum_lost, leader_lost, session_lost,
                              session_expired, grow, kill_warm, kill_empty, empty_at_once, stop,
                              cut, part, restart, rolling, old_data),
        ("redis", False): (redis_kill, redis_refuse, redis_reset, redis_stop, redis_cut),
        ("redis", True): (kill_empty, empty_at_once, stop, refuse, reset, cut, agent_killed,
                          host_lost, zookeeper_restart, quorum_lost),
    }
    # They need a library that is preloaded, which no sanitizer bears.
    PRELOADED = {"mute": ring_kit.SOURCE, "part": ring_kit.SOURCE,
                 "session_expired": ring_kit.SOURCE, "skew": ring_kit.CLOCK}
    # Clients are parted from a node that lives, and knows of nothing: see RING.md, what is not
    # promised; nor does a counter outlive that it is thrown out.
    UNCOUNTED = {"refuse", "reset", "cut", "slow", "lose", "part", "evict"}
    # A cache that evicts has misses. That nothing is lost is judged all the same: the other copy has
    # it.
    ALLOWED = {"evict": {"false_misses"}}
    LOADS = {"full": LARGE_LOAD, "evict": LARGE_LOAD, "part": SPARSE_LOAD}
    # The section `ring`: what is thrown out is given back when copies are compared.
    SETTINGS = {"evict": {"compare": "1s"}}

    @classmethod
    def known(cls, kind, zookeeper):
        return [fault for fault in cls.OF_KIND[kind, zookeeper]
                if os.path.exists(cls.PRELOADED.get(fault.__name__, "/"))]
