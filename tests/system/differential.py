#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""differential.py - Goal: our server replies as Redis does. Method: the same random requests to a
real redis-server and to ours over raw sockets, replies compared by type and content.

    differential.py [--cases N] [--seconds S] [--long] [--seed SEED] [--case N] [--peer redis]

A case is a sequence of some dozens of steps on two connections, fresh ones for each case, from
empty servers; it depends on the seed and its number only, so `--seed S --case N` runs that one
again. A step is one request, a pipeline of several, inline commands, a value that goes through DUMP
and RESTORE, or bytes that break the protocol (then what comes until the end of the connection is
compared). What cannot be the same is compared by form: see compare(). A difference is minimised by
leaving steps out while it stays, and printed; differential_known.py explains those that are meant.
Exit status 1: there was another.

Environment: SIDEPOND_SEED. `--peer redis` compares Redis with itself, which tests this program.
Costs: about 10,000 requests a second on one core. Limits: no Pub/Sub, and no messages of tracking,
which come when they come (test_tracking.py compares them); nothing that blocks but short pauses;
keys up to a few dozen bytes, values to 64 KB.
"""
import argparse
import os
import random
import sys
import time
from collections import Counter

import differential_commands as commands
from differential_known import KNOWN, explain
from resp_servers import Ours, Redis, commands_of
from resp_wire import Closed, Connection, Malformed, request, text

STEPS = 40
MINIMISE_RUNS = 300
SHOWN_BYTES = 100
SOON_SECONDS = 0.006
TOLERANCE = {"ttl": 2, "expiretime": 2, "pttl": 2000, "pexpiretime": 2000}
BROKEN = [b"*1\r\n+PING\r\n", b"*1\r\n$-1\r\n", b"*abc\r\n", b"*1\r\n$abc\r\nxx\r\n",
          b"*2147483648\r\n", b"*1\r\n$99999999999\r\n", b'SET "a\r\n', b"GET 'a\r\n",
          b'GET "a"b\r\n', b"*1\r\n:5\r\n", b"*2\r\n$4\r\nPING\r\n\r\n", b"*3x\r\n", b"* 1\r\n",
          b"*1\r\n$ 4\r\nPING\r\n", b"QUIT\r\n", b"*1\r\n$4\r\nQUIT\r\n", b"quit now\r\n",
          b"PING\r\nQUIT\r\nPING\r\n", b"*1\r\n$4\r\nPING\r\n*1\r\n!\r\n"]
# With how many replies each has.
INLINE = [(b"PING\r\n", 1), (b"ping\n", 1), (b"\r\nPING\r\n", 1), (b"  get   a  \r\n", 1),
          (b'SET a "b c\\x41\\n\\t\\"\\\\"\r\n', 1), (b"SET 'b' 'it\\'s'\r\n", 1), (b"GET b\r\n", 1),
          (b"nonsense 1 2\r\n", 1), (b"GET\r\n", 1), (b'GET ""\r\n', 1), (b"SET d \xff\xfe\r\n", 1),
          (b'set c "\\xzz\\q"\r\n', 1), (b"*0\r\nPING\r\n", 1), (b"*-1\r\nPING\r\n", 1),
          (b"\n\n\r\nECHO x\r\nECHO y\r\n", 2), (b"GET a\tb\r\n", 1), (b"*-5\r\nPING\r\n", 1)]


# --- steps: (kind, connection, content) ---

def step_of(rng, names):
    at = 0 if rng.random() < 0.8 else 1
    sort = rng.random()
    if sort < 0.03:
        return ("broken", at, rng.choice(BROKEN))
    if sort < 0.07:
        return ("inline", at, rng.choice(INLINE))
    if sort < 0.12:
        asked = [commands.request(rng, names) for _ in range(rng.randint(2, 20))]
        return ("pipeline", at, [one for one in asked if not is_soon(one)])
    if sort < 0.15 and "scan" in names:
        return ("walk", at, commands.scan_options(rng))
    if sort < 0.18 and {"dump", "restore"} <= set(names):
        return ("move", at, commands.move(rng))
    return ("command", at, commands.request(rng, names))


def transaction(rng, names):
    """WATCH, perhaps another client's write, MULTI, requests, EXEC or DISCARD."""
    steps = []
    if rng.random() < 0.5:
        steps.append(("command", 0, [b"WATCH"] + commands.keys(rng)))
    for chance in (0.3, 0.2):
        if rng.random() < chance:
            steps.append(("command", 1, commands.request(rng, names)))
        if chance == 0.3:
            steps.append(("command", 0, [b"MULTI"]))
            steps += [("command", 0, commands.request(rng, names))
                      for _ in range(rng.randint(0, 6))]
    steps.append(("command", 0, [b"EXEC" if rng.random() < 0.85 else b"DISCARD"]))
    return steps


def case_of(seed, number, names):
    rng = random.Random(f"{seed}:{number}")
    steps = [("command", 0, [b"HELLO", b"3"])] if "hello" in names and rng.random() < 0.4 else []
    while len(steps) < STEPS:
        if "multi" in names and rng.random() < 0.06:
            steps += transaction(rng, names)
        else:
            steps.append(step_of(rng, names))
    return steps


def is_soon(arguments):
    name = arguments[0].lower() if arguments else b""
    near = name in (b"set", b"getex", b"pexpire", b"psetex", b"restore")
    return near and any(argument in commands.SOON for argument in arguments[1:])


def quoted(part):
    return repr(part)[1:] if len(part) < SHOWN_BYTES else f"{part[:SHOWN_BYTES]!r}"[1:] + "..."


def show(step):
    kind, at, content = step
    if kind in ("command", "walk"):
        shown = " ".join(quoted(part) for part in content)
        return f"{at}> {shown}" if kind == "command" else f"{at}> SCAN to its end: {shown}"
    if kind == "move":
        key, target, ttl, *options = map(quoted, content)
        return f"{at}> DUMP {key}, then RESTORE {target} {ttl} what it said {' '.join(options)}"
    if kind == "pipeline":
        return "\n      ".join(show(("command", at, one)) for one in content)
    return f"{at}> {kind} {(content if kind == 'broken' else content[0])!r}"


# --- one server's side ---

class Side:
    """Two connections to one server, for one case."""

    def __init__(self, address):
        self.address = address
        self.connections = [Connection(address), Connection(address)]
        self.control = Connection(address)

    @staticmethod
    def reply(connection):
        """The next one that is no push."""
        while True:
            reply = connection.read()
            if reply[0] != ">":
                return reply

    def reopen(self, at):
        self.connections[at].close()
        self.connections[at] = Connection(self.address)

    def close(self):
        for connection in (*self.connections, self.control):
            connection.close()

    def forget_expired(self):
        """Redis counts what has expired until somebody asks for it."""
        self.control.command("EXISTS", *commands.KEYS)

    def send(self, step):
        kind, at, content = step
        data = {"command": lambda: request(content),
                "pipeline": lambda: b"".join(map(request, content)),
                "inline": lambda: content[0], "broken": lambda: content,
                "walk": lambda: request([b"SCAN", b"0"] + content),
                "move": lambda: request([b"DUMP", content[0]])}[kind]()
        try:
            self.connections[at].send(data)
        except Closed:
            pass  # what it said before is to be read

    def receive(self, step):
        """The replies; ("!", why) stands for what is no reply."""
        kind, at, content = step
        connection = self.connections[at]
        try:
            if kind == "broken":
                return [reply for reply in connection.read_to_end() if reply[0] != ">"]
            if kind == "walk":
                return [self.walk(connection, content)]
            if kind == "move":
                return self.move(connection, content)
            count = {"command": 1, "pipeline": len(content)}.get(kind)
            return self.some(connection, content[1] if count is None else count)
        except (Closed, Malformed, TimeoutError) as error:
            return [no_reply(error)]

    def some(self, connection, count):
        replies = []
        try:
            for _ in range(count):
                replies.append(self.reply(connection))
        except (Closed, Malformed, TimeoutError) as error:
            replies.append(no_reply(error))
        return replies

    def walk(self, connection, options):
        """All that SCAN returns until its cursor is 0, as a set; or its error."""
        seen = set()
        while True:
            reply = self.reply(connection)
            if reply[0] != "*":
                return reply
            cursor, found = reply[1]
            seen |= {one[1] for one in found[1]}
            if cursor == ("$", b"0"):
                return ("*", [("$", one) for one in sorted(seen)])
            connection.send(request([b"SCAN", cursor[1]] + options))


    @staticmethod
    def move(connection, content):
        """What DUMP replies, and RESTORE to it."""
        dumped = connection.read()
        if dumped[0] != "$" or dumped[1] is None:
            return [dumped]
        target, ttl, *options = content[1:]
        connection.send(request([b"RESTORE", target, ttl, dumped[1]] + options))
        return [dumped, connection.read()]


def no_reply(error):
    return "!", f"{type(error).__name__} {error}".strip().encode()


# --- comparing ---

def same_form(ours, redis):
    """Types alone; what is in aggregates may be more or less."""
    return ours[0] == redis[0] and (ours[1] is None) == (redis[1] is None)


def same_names(ours, redis):
    """Of HELLO: the names, and the values of what clients look at."""
    def fields(reply):
        pairs = reply[1] if reply[0] == "%" else list(zip(reply[1][::2], reply[1][1::2]))
        return {name[1]: one for name, one in pairs}
    if ours[0] != redis[0] or ours[0] not in "%*":
        return ours == redis
    mine, theirs = fields(ours), fields(redis)
    return set(mine) == set(theirs) and all(mine[n] == theirs[n]
                                            for n in (b"proto", b"mode", b"role", b"server"))


def error_or(check):
    """Errors are compared to the letter, all else by the function."""
    def both(ours, redis):
        return ours == redis if "-" in (ours[0], redis[0]) else check(ours, redis)
    return both


def unordered(ours, redis):
    return ours[0] == redis[0] and sorted(map(text, ours[1])) == sorted(map(text, redis[1]))


def near(tolerance):
    def check(ours, redis):
        if ours[0] != ":" or redis[0] != ":" or min(ours[1], redis[1]) <= 0:
            return ours == redis
        return abs(ours[1] - redis[1]) <= tolerance
    return check


def one_page(ours, redis):
    """Of SCAN: a cursor and an array; the walks compare what is in them."""
    def is_page(reply):
        return reply[0] == "*" and len(reply[1]) == 2 and reply[1][0][0] == "$" \
            and reply[1][1][0] == "*"
    return is_page(ours) == is_page(redis)


BY_COMMAND = {"keys": unordered, "scan": one_page, "hello": same_names}
BY_COMMAND.update({name: near(tolerance) for name, tolerance in TOLERANCE.items()})
BY_COMMAND.update({name: same_form for name in (
    "randomkey", "time", "info", "command", "config", "client", "memory", "slowlog", "dump",
    "object", "latency")})
BY_COMMAND = {name: error_or(check) for name, check in BY_COMMAND.items()}


def name_of(arguments):
    return arguments[0].lower().decode("latin-1") if arguments else ""


TRACKING = (b"tracking", b"trackinginfo", b"caching", b"getredir")


class Comparer:
    """Knows what each connection has queued, since EXEC's reply is that of others."""

    def __init__(self):
        self.queued = [[], []]

    def equal(self, at, arguments, ours, redis):
        """Triples of (command, ours, redis) that differ."""
        name = name_of(arguments)
        if name == "client" and arguments[1:] and arguments[1].lower() in TRACKING:
            name = "client of tracking"  # to the letter
        if name == "exec" and ours[0] == redis[0] == "*" and ours[1] and redis[1]:
            queued, self.queued[at] = self.queued[at], []
            if len(ours[1]) == len(redis[1]) == len(queued):
                return [pair for one, mine, theirs in zip(queued, ours[1], redis[1])
                        for pair in self.single(one, mine, theirs)]
        if redis == ("+", b"QUEUED"):
            self.queued[at].append(name)
        elif name in ("exec", "discard", "reset"):
            self.queued[at] = []
        return self.single(name, ours, redis)

    @staticmethod
    def single(name, ours, redis):
        check = BY_COMMAND.get(name)
        same = ours == redis or (check is not None and check(ours, redis))
        return [] if same else [(name, ours, redis)]

    def step(self, step, ours, redis):
        kind, at, content = step
        if kind == "broken":
            self.queued[at] = []
            return [] if ours == redis else [("protocol", ("*", ours), ("*", redis))]
        if len(ours) != len(redis):
            return [(name_of(content) if kind == "command" else kind, ("*", ours), ("*", redis))]
        if kind == "walk":
            if redis[0] == ("+", b"QUEUED"):
                return self.equal(at, [b"scan"], ours[0], redis[0])
            return self.single("scan to its end", ours[0], redis[0])
        asked = {"command": lambda: [content], "pipeline": lambda: content,
                 "inline": lambda: [content[0].split()[:1]] * len(ours),
                 "move": lambda: [[b"dump"], [b"restore"]]}[kind]()
        return [pair for one, mine, theirs in zip(asked, ours, redis)
                for pair in self.equal(at, one, mine, theirs)]


# --- running cases ---

def one_by_one(steps):
    """Pipelines as single requests."""
    apart = []
    for step in steps:
        kind, at, content = step
        apart += [("command", at, one) for one in content] if kind == "pipeline" else [step]
    return apart


class Differ:
    """Runs cases on two servers and counts."""

    def __init__(self, ours, redis, known=None):
        self.addresses = (ours, redis)
        self.known = known
        self.requests = Counter()
        self.explained = Counter()
        self.cases = 0

    def run(self, steps, count=False):
        """(index, command, ours, redis) of the first difference without an explanation, or None."""
        for address in self.addresses:
            with Connection(address) as connection:
                connection.command("FLUSHALL")
        sides = [Side(address) for address in self.addresses]
        comparer = Comparer()
        try:
            for index, step in enumerate(steps):
                found = self.one(sides, comparer, step, count)
                if found:
                    return (index, *found)
        finally:
            for side in sides:
                side.close()
        return None

    def one(self, sides, comparer, step, count):
        for side in sides:
            side.send(step)
        ours, redis = [side.receive(step) for side in sides]
        if count:
            self.count(step)
        self.settle(sides, step, ours + redis)
        for name, mine, theirs in comparer.step(step, ours, redis):
            known = explain(name, text(theirs), text(mine), self.known)
            if known is None:
                return name, mine, theirs
            if count:
                self.explained[known] += 1
        return None

    @staticmethod
    def settle(sides, step, replies):
        """New connections for closed ones, and no expiry half over."""
        kind, at, content = step
        if kind == "broken" or any(kind == "!" for kind, _ in replies):
            for side in sides:
                side.reopen(at)
        if kind == "command" and (is_soon(content) or name_of(content) == "exec"):
            time.sleep(SOON_SECONDS)
            for side in sides:
                side.forget_expired()

    def count(self, step):
        kind, _, content = step
        if kind in ("command", "pipeline"):
            self.requests.update(map(name_of, [content] if kind == "command" else content))
        else:
            self.requests[kind] += 1

    def minimise(self, steps, command):
        """As few steps as can be had by leaving out halves, quarters and so on to single ones."""
        runs = MINIMISE_RUNS
        apart = one_by_one(steps)
        found = self.run(apart)
        if found and found[1] == command:
            steps = apart[:found[0] + 1]
        size = max(1, len(steps) // 2)
        while size > 0 and runs > 0:
            at = 0
            while at < len(steps) - 1 and runs > 0:
                fewer = steps[:at] + steps[min(at + size, len(steps) - 1):]
                found = self.run(fewer)
                runs -= 1
                if found and found[1] == command:
                    steps = fewer[:found[0] + 1]
                else:
                    at += size
            size //= 2
        return steps

    def case(self, seed, number, names):
        """The difference of one case as text, or None."""
        steps = case_of(seed, number, names)
        self.cases += 1
        found = self.run(steps, count=True)
        if not found:
            return None
        steps = self.minimise(steps[:found[0] + 1], found[1])
        again = self.run(steps) or found
        shown = "\n".join("      " + show(step) for step in steps)
        return found[1], (f"{found[1]}: seed {seed}, case {number}\n{shown}\n"
                          f"      redis: {text(again[3])}\n      ours:  {text(again[2])}")


class Outcome:
    """Different differences, one example for each kind."""

    def __init__(self):
        self.examples = {}
        self.counts = Counter()

    def add(self, found):
        command, shown = found
        kind = (command, tuple(line.split(":", 1)[1][:40] for line in shown.split("\n")[-2:]))
        self.counts[kind] += 1
        if kind not in self.examples:
            self.examples[kind] = shown
            print("DIFFERENCE", shown, flush=True)


def compare(differ, seed, numbers, names, seconds, least=0):
    """Runs cases until the numbers or the time are used up, but not fewer than the least."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    for number in numbers:
        if time.monotonic() > deadline and differ.cases >= least:
            break
        found = differ.case(seed, number, names)
        if found:
            outcome.add(found)
    return outcome


def report(differ, outcome, seed, names):
    print(f"seed {seed}: {len(names)} commands, {sum(differ.requests.values())} requests in "
          f"{differ.cases} cases; differences: {sum(outcome.counts.values())} unexplained of "
          f"{len(outcome.counts)} kinds, {sum(differ.explained.values())} explained by "
          f"{len(differ.explained)} rules")
    left_out = sorted(set(commands.GENERATORS) - names)
    if left_out:
        print("not there, so left out:", " ".join(left_out))
    for known, times in differ.explained.most_common():
        print(f"  explained {times} times: {known.command}: {known.reason}")


def parse_arguments(words):
    parser = argparse.ArgumentParser(description="Compares our server's replies with Redis's.")
    parser.add_argument("--cases", type=int, default=10 ** 9)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--long", action="store_true", help="10 minutes")
    parser.add_argument("--seed", default=os.environ.get("SIDEPOND_SEED"))
    parser.add_argument("--case", type=int, help="this one only")
    parser.add_argument("--peer", choices=["ours", "redis"], default="ours")
    return parser.parse_args(words)


def main(words):
    arguments = parse_arguments(words)
    seed = arguments.seed or str(random.SystemRandom().randrange(1 << 32))
    print(f"SIDEPOND_SEED={seed}", flush=True)
    numbers = range(arguments.cases) if arguments.case is None else [arguments.case]
    seconds = 600 if arguments.long else arguments.seconds
    with Redis() as redis, (Ours if arguments.peer == "ours" else Redis)() as ours:
        names = commands_of(ours.unix, commands.GENERATORS)
        names &= commands_of(redis.unix, commands.GENERATORS)
        differ = Differ(ours.unix, redis.unix)
        outcome = compare(differ, seed, numbers, sorted(names), seconds)
    report(differ, outcome, seed, names)
    if arguments.long:
        for known in set(KNOWN) - set(differ.explained):
            print(f"  explained nothing: {known.command}: {known.reason}")
    return 1 if outcome.counts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
