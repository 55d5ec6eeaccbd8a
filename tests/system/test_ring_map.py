#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_map.py [--write] - docs/RING.md says everything that is needed to make the same maps.

Method: ring_map.py, which was written from that page alone, comes to what docs/ring-vectors.json
says; tests/unit/test_ring_vectors.c has client/ring do the same. Then random histories, from a
printed seed (SIDEPOND_SEED repeats it), are run here and by that program. --write makes the file,
from the scenarios here and ring_map.py."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import ring_map

SOURCE = pathlib.Path(os.environ.get("SIDEPOND_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
VECTORS = SOURCE / "docs" / "ring-vectors.json"
WHOLE_BYTES = 2000  # of longer maps only size and checksum are given

KEYS = ["", "a", "foo", "123456789", "user:7", "{user:7}:name", "{user:7}:mail", "{}x", "x{}{a}",
        "{{a}}", "{a", "a}b{c}", "}{x}", "\u00fc{\u00e4}\u00f6", "{x}{y}"]


def member(name, zone="", weight=100, state="ready", start=None, port=6379):
    number = sum(name.encode())
    return {"name": name, "address": f"10.0.0.{number % 200 + 1}:{port}", "zone": zone,
            "weight": weight, "state": state, "start": start or f"{number * 0x9E3779B97F4A7C:x}"}


def members(names, **changes):
    return [member(name, **changes.get(name, {})) for name in names]


def scenario(name, slots, replicas, *steps, kind="sidepondd"):
    parameters = {"slots": slots, "replicas": replicas, "kind": kind}
    return {"name": name, "parameters": parameters, "steps": list(steps)}


def there(names, **changes):
    return {"members": members(names.split(), **changes)}


def holds(name, slots, start=None):
    return {"hold": {"name": name, "start": start or member(name)["start"], "slots": list(slots)}}


def zones(names, of):
    return {name: {"zone": of[i % len(of)]} for i, name in enumerate(names.split())}


def make_scenarios():
    every = range(64)
    six = "a b c d e f"
    return [
        scenario("one node, then two, then three", 16, 2, there("a"), there("a b"),
                 holds("b", range(16)), there("a b c"), holds("c", range(0, 16, 2)),
                 holds("c", range(16))),
        scenario("nothing changes", 16, 2, there("a b c"), there("c b a")),
        scenario("three nodes, one leaves and comes back", 64, 2, there("a b c"), there("a c"),
                 holds("a", every), holds("c", range(20)), there("a b c"), holds("b", every),
                 holds("a", every), holds("c", every)),
        scenario("another address, weight and zone", 64, 2, there("a b c"),
                 there("a b c", b={"port": 6380}), there("a b c", b={"weight": 50}),
                 holds("a", every), holds("c", every), there("a b c", b={"zone": "x"})),
        scenario("started anew", 64, 2, there("a b c"), there("a b c", b={"start": "1"}),
                 holds("b", every), holds("b", every, "1"),
                 there("a b c", a={"start": "2"}, b={"start": "3"}, c={"start": "4"})),
        scenario("all started anew while a node joins", 16, 2, there("a b"), there("a b c"),
                 there("a b c", a={"start": "2"}, b={"start": "3"}), holds("c", range(16))),
        scenario("draining", 64, 2, there("a b c d"), there("a b c d", b={"state": "draining"}),
                 holds("a", every), holds("c", every), holds("d", every), there("a c d"),
                 there("a c", a={"state": "draining"}, c={"state": "draining"})),
        scenario("weights", 64, 2, there("a b c d", b={"weight": 200}, d={"weight": 25}),
                 there("a b c d e", b={"weight": 1000}, d={"weight": 1}),
                 there("b c d e", b={"weight": 1000}, d={"weight": 1})),
        scenario("three zones", 64, 2, there(six, **zones(six, "xyz")),
                 there("a b c d e f g", **zones("a b c d e f g", "xyz")),
                 there("a b c d f g", **zones("a b c d e f g", "xyz")),
                 there("b c e f", **zones(six, "xyz")), there("a b c d", **zones(six, "xyz"))),
        scenario("zones of other sizes", 64, 2,
                 there("a b c d e", **zones("a b c d", "x"), e={"zone": "y"}),
                 there("a b c d e f", **zones("a b c d", "x"), e={"zone": "y"}),
                 there("a b c", **zones("a b c d", "x")),
                 there("a b c d e", **zones("a b c", "x"), d={"zone": "z"}, e={"zone": "y"})),
        scenario("three copies", 64, 3, there("a b"), there("a b c d"), holds("c", range(30)),
                 holds("d", every), there("a b c d e"), holds("e", range(5, 40)), there("b c d e"),
                 kind="redis"),
        scenario("three copies in two zones", 64, 3, there("a b c d e", **zones("a b c d e", "xy")),
                 there("a b c d e f", **zones(six, "xy")), there("a c e b", **zones(six, "xy"))),
        scenario("three copies that all move", 16, 3, there("a b c"),
                 there("a b c d e f", **{n: {"state": "draining"} for n in "abc"}),
                 holds("d", range(16)), holds("e", range(8)), there("a b c d e f g", **{
                     n: {"state": "draining"} for n in "abc"}), holds("g", range(16)),
                 holds("f", range(16))),
        scenario("all go but one", 64, 2, there(six), there("f"), there(six), there("a b c")),
        scenario("more nodes than copies", 16, 1, there(" ".join("abcdefghijklmnopqrst")),
                 there(" ".join("bcdefghijklmnopqrstu")), there(" ".join("bcdefghijk"))),
        scenario("many", 1024, 2, there("a b c d e f g h i j k l"),
                 there("a b c d e f g h i j k l m"), there("b c d e f g h i j k m")),
        scenario("many, with zones and weights", 512, 3,
                 there("a b c d e f g h i j", **{n: {"zone": "xyzw"[i % 4], "weight": 50 + 40 * i}
                                                for i, n in enumerate("abcdefghij")}),
                 there("a b c d e f g i j", **{n: {"zone": "xyzw"[i % 4], "weight": 50 + 40 * i}
                                              for i, n in enumerate("abcdefghij")})),
    ]


def result_of(made):
    if made is None:
        return None
    encoded = ring_map.encode(made)
    if len(encoded) <= WHOLE_BYTES:
        return encoded.hex()
    return {"bytes": len(encoded), "checksum": f"{ring_map.checksum(encoded[:-8]):016x}"}


def run_step(made, parameters, step):
    if "members" in step:
        return ring_map.next_map(made, parameters, step["members"])
    what = step["hold"]
    return ring_map.hold(made, what["name"], what["start"], what["slots"])


def run_scenario(of, write):
    """The results of all steps are what they shall be, or are written down."""
    made = None
    for number, step in enumerate(of["steps"]):
        changed = run_step(made, of["parameters"], step)
        if write:
            step["map"] = result_of(changed)
        elif step["map"] != result_of(changed):
            sys.exit(f"{of['name']}, step {number}: another map than docs/ring-vectors.json has:\n"
                     f"{result_of(changed)}")
        made = changed or made


def known():
    return {
        "crc16": [{"key": key, "crc16": ring_map.crc16(key.encode())} for key in KEYS],
        "slots": [{"key": key, "slots": slots, "slot": ring_map.slot_of(key.encode(), slots)}
                  for key in KEYS for slots in (16, 16384)],
        "scores": [{"name": name, "slot": slot, "score": f"{ring_map.score(name, slot):016x}"}
                   for name in ("a", "b", "cache-1.example.org") for slot in (0, 1, 16383, 32767)],
    }


# --- random histories ----------------------------------------------------------------------------

def random_member(chance, name, of_zones):
    zone = chance.choice(["", *of_zones]) if of_zones else ""
    weight = chance.choice([100, 100, 100, 50, 1, chance.randint(1, 1000)])
    return member(name, zone, weight, chance.choice(["ready"] * 9 + ["draining"]))


def random_change(chance, present, names, of_zones):
    """Changes a dictionary of members by name."""
    name = chance.choice(names)
    if name not in present:
        present[name] = random_member(chance, name, of_zones)
    elif chance.random() < 0.5 and len(present) > 1:
        del present[name]
    elif chance.random() < 0.5:
        present[name] = {**present[name], "start": f"{chance.getrandbits(63) | 1:x}"}
    else:
        present[name] = {**random_member(chance, name, of_zones), "start": present[name]["start"]}


def random_scenario(chance, number):
    slots = 16 << chance.randrange(3)
    names = [f"n{i}" for i in range(chance.choice([3, 5, 9, 20]))]
    of_zones = "xyzw"[:chance.randrange(5)]
    present, steps = {}, []
    for _ in range(8):
        if steps and chance.random() < 0.4:
            numbers = chance.sample(range(slots), chance.randint(1, slots))
            steps.append(holds(chance.choice(names), sorted(numbers)))
            name = steps[-1]["hold"]["name"]
            steps[-1]["hold"]["start"] = present.get(name, member(name))["start"]
            continue
        for _ in range(chance.randint(1, 4)):
            random_change(chance, present, names, of_zones)
        steps.append({"members": chance.sample(list(present.values()), len(present))})
    return scenario(f"random {number}", slots, chance.randint(1, 3), *steps)


def run_random():
    """Both implementations come to the same."""
    program = pathlib.Path(os.environ.get("SIDEPOND_BUILD_DIR", "")) / "bin/test_ring_vectors"
    if not program.exists():
        print(f"no {program}: no random histories")
        return
    seed = int(os.environ.get("SIDEPOND_SEED", random.getrandbits(32)))
    print(f"SIDEPOND_SEED={seed}", flush=True)
    chance, made = random.Random(seed), []
    until = time.monotonic() + (60 if "SIDEPOND_LONG" in os.environ else 2)
    while time.monotonic() < until:
        made.append(random_scenario(chance, len(made)))
        run_scenario(made[-1], True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({**known(), "maps": made}, file)
        file.flush()
        done = subprocess.run([str(program), file.name], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"client/ring comes to other maps:\n{(done.stdout + done.stderr)[-2000:]}")
    print(f"ring_map: {len(made)} random histories agree")


def main():
    write = "--write" in sys.argv[1:]
    if write:
        vectors = {**known(), "maps": make_scenarios()}
    else:
        vectors = json.loads(VECTORS.read_text())
        for part, values in known().items():
            if vectors[part] != values:
                sys.exit(f"{part}: other values than docs/ring-vectors.json has")
    for of in vectors["maps"]:
        run_scenario(of, write)
    if write:
        lines = ",\n".join(f' "{part}": [\n' + ",\n".join("  " + json.dumps(v) for v in values)
                           + "\n ]" for part, values in vectors.items())
        VECTORS.write_text("{\n" + lines + "\n}\n")
    steps = sum(len(of["steps"]) for of in vectors["maps"])
    print(f"ring_map: {len(vectors['maps'])} scenarios of {steps} steps agree")
    if not write:
        run_random()


main()
