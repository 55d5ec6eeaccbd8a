# SPDX-License-Identifier: Apache-2.0
"""ring_map - the ring's slots and map, written from docs/RING.md alone, to show that it says
everything that is needed. It shares nothing with client/ring, and prefers being plain to being fast:
a map is {"epoch", "parameters", "nodes", "slots"}, nodes are dictionaries in the order of their
names, and a slot is {"holders", "targets"}, lists of names."""
import ctypes
import struct

MASK = (1 << 64) - 1
STATES = ["ready", "draining"]
KINDS = ["sidepondd", "redis"]


# --- slots ---------------------------------------------------------------------------------------

def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def slot_of(key, slots):
    first = key.find(b"{")
    last = key.find(b"}", first + 1) if first >= 0 else -1
    return crc16(key[first + 1:last] if last > first + 1 else key) % slots


def score(name, slot):
    x = 0xCBF29CE484222325
    for byte in name.encode():
        x = (x ^ byte) * 0x100000001B3 & MASK
    x = x + (slot + 1) * 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


# --- quotas --------------------------------------------------------------------------------------

def divide(total, shares):
    """shares: (weight, most, had) each; returns what each gets."""
    gets = [None] * len(shares)
    while True:
        left = total - sum(x for x in gets if x is not None)
        rest = [i for i, x in enumerate(gets) if x is None]
        weights = sum(shares[i][0] for i in rest)
        full = [i for i in rest if shares[i][0] * left >= shares[i][1] * weights]
        if not full:
            break
        for i in full:
            gets[i] = shares[i][1]
    remainders = {}
    for i in rest:
        gets[i], remainders[i] = divmod(shares[i][0] * left, weights)
    over = [i for i in rest if remainders[i]]
    over.sort(key=lambda i: (shares[i][2] <= gets[i], -remainders[i], i))
    for i in over[:total - sum(gets)]:
        gets[i] += 1
    return gets


class Plan:
    """What is between the old map's remains and the next map."""

    def __init__(self, nodes, slots, replicas):
        self.slots = slots
        self.nodes = {node["name"]: node for node in nodes}
        self.names = [n["name"] for n in nodes if n["state"] == "ready"] or list(self.nodes)
        self.copies = min(replicas, len(self.names))
        zones = {}
        for name in self.names:
            zones.setdefault(self.zone(name), []).append(name)
        self.zone_copies = -(-self.copies // len(zones))
        had = {name: 0 for name in self.nodes}
        for slot in slots:
            for name in slot["targets"]:
                had[name] += 1
        self.quota = self.quotas(zones, had)
        self.count = {name: 0 for name in self.nodes}

    def zone(self, name):
        return self.nodes[name]["zone"] or (name,)

    def quotas(self, zones, had):
        quota = {}
        parts = divide(len(self.slots) * self.copies, [
            (sum(self.nodes[n]["weight"] for n in names),
             len(self.slots) * min(len(names), self.zone_copies), sum(had[n] for n in names))
            for names in zones.values()])
        for names, part in zip(zones.values(), parts):
            shares = [(self.nodes[n]["weight"], len(self.slots), had[n]) for n in names]
            quota.update(zip(names, divide(part, shares)))
        return quota

    def is_below(self, name):
        return name in self.quota and self.count[name] < self.quota[name]

    def may_take(self, name, number, without=None):
        others = [t for t in self.slots[number]["targets"] if t != without]
        in_zone = sum(self.zone(t) == self.zone(name) for t in others)
        return name not in self.slots[number]["targets"] and in_zone < self.zone_copies

    def append(self, name, number):
        self.slots[number]["targets"].append(name)
        self.count[name] += 1

    def replace(self, number, one, other):
        targets = self.slots[number]["targets"]
        targets[targets.index(one)] = other
        self.count[one] -= 1
        self.count[other] += 1

    # Places.

    def keep(self, number):
        slot = self.slots[number]
        before, slot["targets"] = slot["targets"], []
        for holders in (True, False):
            for name in before:
                if (name in slot["holders"]) == holders and name in self.quota and \
                        len(slot["targets"]) < self.copies and self.may_take(name, number):
                    self.append(name, number)
        slot["targets"].sort(key=before.index)

    def lacks(self, number):
        return len(self.slots[number]["targets"]) < self.copies

    def pressing(self, names, left):
        """Those of the names that press."""
        lack = {n: self.quota[n] - self.count[n] for n in self.names if self.is_below(n)}
        of_zone = {}
        for name, count in lack.items():
            of_zone[self.zone(name)] = of_zone.get(self.zone(name), 0) + count
        return [n for n in names if lack[n] >= left
                or of_zone[self.zone(n)] >= self.zone_copies * left]

    def fill(self, number, left):
        while self.lacks(number):
            can = [n for n in self.names if self.is_below(n) and self.may_take(n, number)]
            can = self.pressing(can, left) or can
            if can:
                self.append(max(can, key=lambda n: score(n, number)), number)
            else:
                self.chain(number=number)

    def give(self, giver):
        own = [i for i, slot in enumerate(self.slots) if giver in slot["targets"]]
        own.sort(key=lambda i: score(giver, len(self.slots) + i))
        for cost in range(3):
            for number in own:
                slot = self.slots[number]
                if self.count[giver] <= self.quota[giver]:
                    return
                if giver not in slot["targets"]:
                    continue
                can = [n for n in self.names if self.is_below(n)
                       and (giver in slot["holders"]) + (n not in slot["holders"]) == cost
                       and self.may_take(n, number, giver)]
                if can:
                    self.replace(number, giver, max(can, key=lambda n: score(n, number)))
        while self.count[giver] > self.quota[giver]:
            self.chain(giver=giver)

    def chain(self, number=None, giver=None):
        for only_free in (True, False):
            reached = {giver: None} if giver else {}  # name: (from whom, which slot)
            end = self.search(reached, number, giver, only_free)
            if end:
                break
        while reached[end] and reached[end][0]:
            self.replace(reached[end][1], reached[end][0], end)
            end = reached[end][0]
        if giver is None:
            self.append(end, number)

    def search(self, reached, number, giver, only_free):
        queue = [giver]  # or None: the slot
        first = number or 0
        round_ = [*range(first, len(self.slots)), *range(first)]
        for node in queue:
            if node is None:
                can_give = [number]
            else:
                can_give = [i for i in round_ if node in self.slots[i]["targets"]
                            and not (only_free and node in self.slots[i]["holders"])]
            for name in self.names:
                if name in reached:
                    continue
                slot = next((i for i in can_give if self.may_take(name, i, node)), None)
                if slot is None:
                    continue
                reached[name] = (node, slot)
                if self.is_below(name):
                    return name
                queue.append(name)
        return None

    def place(self):
        numbers = range(len(self.slots))
        for number in numbers:
            self.keep(number)
        for number in numbers:
            for name in self.slots[number]["holders"]:
                if self.lacks(number) and self.is_below(name) and self.may_take(name, number):
                    self.append(name, number)
        for number in numbers:
            self.fill(number, sum(map(self.lacks, numbers)))
        for name in self.names:
            self.give(name)

    # Owners.

    def owned(self, name):
        return sum(slot["targets"][0] == name for slot in self.slots)

    def upper(self, name):
        return -(-self.count[name] // self.copies)

    def lower(self, name):
        return self.count[name] // self.copies

    def make_owner(self, number, name):
        targets = self.slots[number]["targets"]
        at = targets.index(name)
        targets[0], targets[at] = targets[at], targets[0]

    def order_search(self, start, giving):
        """The chain as (slot, its next owner)."""
        reached, queue = {start: []}, [start]
        for node in queue:
            for number, slot in enumerate(self.slots):
                owner, *others = slot["targets"]
                if giving:
                    nexts = others if owner == node else []
                else:
                    nexts = [owner] if node in others else []
                for name in nexts:
                    if name in reached:
                        continue
                    reached[name] = reached[node] + [(number, name if giving else node)]
                    queue.append(name)
                    if giving and self.owned(name) < self.upper(name) or \
                            not giving and self.owned(name) > self.lower(name):
                        return reached[name]
        raise AssertionError("no chain of owners")

    def order(self):
        for name in self.names:
            while self.owned(name) > self.upper(name):
                for number, owner in self.order_search(name, True):
                    self.make_owner(number, owner)
        for name in self.names:
            while self.owned(name) < self.lower(name):
                for number, owner in self.order_search(name, False):
                    self.make_owner(number, owner)


# --- maps ----------------------------------------------------------------------------------------

def settle(slot):
    if not slot["holders"] or set(slot["targets"]) <= set(slot["holders"]):
        slot["holders"] = list(slot["targets"])


def remains(slot, old, new):
    """What the old map's slot says of the new map's nodes; both are by name."""
    holders = [n for n in slot["holders"] if n in new]
    targets = [n for n in slot["targets"] if n in new]
    same = [n for n in holders if new[n]["start"] == old[n]["start"]]
    return {"holders": same or holders or list(targets), "targets": targets}


def next_map(old, parameters, members):
    """The next map, or None: nothing changes."""
    if not members:
        return None
    nodes = sorted((dict(m) for m in members), key=lambda m: m["name"].encode())
    new = {node["name"]: node for node in nodes}
    if old:
        before = {node["name"]: node for node in old["nodes"]}
        slots = [remains(slot, before, new) for slot in old["slots"]]
    else:
        slots = [{"holders": [], "targets": []} for _ in range(parameters["slots"])]
    plan = Plan(nodes, slots, parameters["replicas"])
    plan.place()
    plan.order()
    for slot in slots:
        settle(slot)
    made = {"epoch": 1, "parameters": parameters, "nodes": nodes, "slots": slots}
    if old:
        if {**made, "epoch": old["epoch"]} == old:
            return None
        made["epoch"] = old["epoch"] + 1
    return made


def hold(old, name, start, numbers):
    """The map in which the node is also a holder of those slots; None: nothing changes."""
    if not any(n["name"] == name and n["start"] == start for n in old["nodes"]):
        return None
    slots = [{k: list(v) for k, v in slot.items()} for slot in old["slots"]]
    for slot in (slots[i] for i in numbers):
        if name not in slot["targets"] or name in slot["holders"]:
            continue
        if len(slot["holders"]) == 3:
            slot["holders"].remove([h for h in slot["holders"] if h not in slot["targets"]][-1])
        slot["holders"].append(name)
        settle(slot)
    if slots == old["slots"]:
        return None
    return {**old, "epoch": old["epoch"] + 1, "slots": slots}


# --- bytes ---------------------------------------------------------------------------------------

def checksum(data):
    xxhash = ctypes.CDLL("libxxhash.so.0")
    xxhash.XXH3_64bits.restype = ctypes.c_uint64
    return xxhash.XXH3_64bits(bytes(data), ctypes.c_size_t(len(data)))


def text(string):
    return bytes([len(string.encode())]) + string.encode()


def encode(made):
    position = {node["name"]: i for i, node in enumerate(made["nodes"])}
    body = bytearray()
    for node in made["nodes"]:
        body += text(node["name"]) + text(node["address"]) + text(node["zone"])
        body += struct.pack("<HBQ", node["weight"], STATES.index(node["state"]),
                            int(node["start"], 16))
    for slot in made["slots"]:
        targets = [] if slot["targets"] == slot["holders"] else slot["targets"]
        body.append(len(slot["holders"]) | len(targets) << 4)
        for name in slot["holders"] + targets:
            body += struct.pack("<H", position[name])
    parameters = made["parameters"]
    head = b"SPRING" + struct.pack(
        "<HQIHBBH", 1, made["epoch"], 26 + len(body) + 8, parameters["slots"],
        parameters["replicas"], KINDS.index(parameters["kind"]), len(made["nodes"]))
    return head + body + struct.pack("<Q", checksum(head + body))
