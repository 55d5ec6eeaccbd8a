# SPDX-License-Identifier: Apache-2.0
"""differential_commands.py - random requests that know the commands' syntax.

GENERATORS has a function of (random) for each command, which returns the arguments behind its name:
mostly right ones over few keys, so that commands meet each other's values, often at an edge, and at
times wrong ones. request() adds what is wrong in general: another number of arguments, another case
of letters. Expiries are far away or over already, so that two servers with two clocks agree; only
SOON ones are a few milliseconds, and whoever sends one waits until it is over.
"""
KEYS = [b"a", b"b", b"c", b"d", b"key:1", b"key:2", b"K", b"", b"with space", b"bin\x00\r\n\xff"]
NUMBERS = [b"0", b"1", b"-1", b"2", b"10", b"-10", b"12345", b"9223372036854775807",
           b"-9223372036854775808", b"9223372036854775806", b"4611686018427387904"]
WRONG_NUMBERS = [b"", b" 1", b"1 ", b"01", b"+1", b"-0", b"1.0", b"1e3", b"0x10", b"abc", b"-",
                 b"9223372036854775808", b"-9223372036854775809", b"123456789012345678901234567890",
                 b"1\x00", b"\xff", b"--1"]
FLOATS = [b"0.1", b"-0.5", b"1.5", b"3.0e3", b"1e10", b"1e-10", b"5.0e-3", b"100000000000000.25",
          b"1e17", b"1e18", b"0.30000000000000004", b"1234567.891", b"-1e-17", b".5", b"5.", b"0x1p3"]
WRONG_FLOATS = [b"nan", b"-nan", b"inf", b"-inf", b"+inf", b"infinity", b"1e5000", b"1e308", b"1.5 ",
                b" 1.5", b"abc", b"", b"1,5", b"1.5.2", b"0x", b"1e", b"1e-5000"]
# Too large, by (ms, at); smaller ones that are after the year 2527 are not the same to both.
EDGE_EXPIRIES = {(False, False): [b"9223372036854775807", b"9223372036854775", b"9223372036854776"],
                 (False, True): [b"9223372036854775807", b"9223372036854776"],
                 (True, False): [b"9223372036854775807", b"9223372036854775000"],
                 (True, True): []}
SMALL_EXPIRIES = [b"0", b"-1", b"-100", b"-9223372036854775808"]
AT_SECONDS = [b"4102444800", b"4102444801", b"2208988800", b"1", b"0", b"-5", b"1000000000"]
AT_MS = [b"4102444800000", b"4102444800001", b"2208988800123", b"1", b"0", b"-5", b"1000000000000"]
SOON = [b"1", b"2"]
PATTERNS = [b"*", b"?", b"key:*", b"[a-c]", b"[^a]", b"[c-a]", b"k*:?", b"\\*", b"[", b"a\\", b"",
            b"**", b"*b*", b"[\\]]", b"[a", b"bin*", b"*1", b"KEY:*"]
SYNTAX = [b"FOO", b"", b"NX", b"XX", b"GET", b"EX", b"\xff\x00", b"KEEPTTL", b"-1"]
WHOLE_SMALL = [b"0", b"1", b"2", b"5", b"-1", b"-2", b"-5", b"100", b"-100"]


def key(random):
    return random.choice(KEYS[:4]) if random.random() < 0.7 else random.choice(KEYS)


def number(random, wrong=0.15):
    if random.random() < wrong:
        return random.choice(WRONG_NUMBERS)
    return random.choice(NUMBERS) if random.random() < 0.7 else b"%d" % random.randint(-999, 999)


def value(random):
    sort = random.random()
    if sort < 0.35:
        return number(random)
    if sort < 0.5:
        return random.choice(FLOATS + WRONG_FLOATS)
    if sort < 0.55:
        return b""
    if sort < 0.7:
        return random.randbytes(random.choice([1, 3, 10, 43, 44, 45, 200]))
    if sort < 0.73:
        return random.randbytes(16) * random.choice([100, 1024, 4000])
    return random.choice([b"value", b"hello world", b"x" * 44, b"x" * 45, b"a\r\nb", b"\x00"])


def far(random):
    """Seconds that are hardly ever the same twice: whether GT finds the same ones greater depends
    on how much time has passed in between, which no two servers need agree on."""
    if random.random() < 0.1:
        return b"1%010d" % random.randrange(10 ** 9)
    return b"%d" % random.choice([random.randint(100, 10 ** 5), random.randint(100, 10 ** 9)])


def expiry(random, ms=False, at=False, soon=True):
    sort = random.random()
    if sort < 0.1:
        return random.choice(WRONG_NUMBERS)
    if sort < 0.25:
        return random.choice(SMALL_EXPIRIES + EDGE_EXPIRIES[ms, at])
    if at:
        return random.choice(AT_MS if ms else AT_SECONDS)
    if ms:
        if soon and sort < 0.4:
            return random.choice(SOON)
        return far(random) + b"%03d" % random.randrange(1000)
    return far(random)


EXPIRY_OPTIONS = {b"EX": (False, False), b"PX": (True, False), b"EXAT": (False, True),
                  b"PXAT": (True, True)}


def expiry_option(random):
    name = random.choice(list(EXPIRY_OPTIONS))
    ms, at = EXPIRY_OPTIONS[name]
    return [name, expiry(random, ms, at)]


def some(random, *choices):
    """One of the lists; a callable is called."""
    chosen = random.choice(choices)
    return list(chosen(random) if callable(chosen) else chosen)


def keys(random):
    return [key(random) for _ in range(random.choice([1, 1, 2, 3, 5]))]


def pairs(random):
    return [part for _ in range(random.choice([1, 2, 3])) for part in (key(random), value(random))]


def odd_pairs(random):
    return pairs(random) + ([key(random)] if random.random() < 0.1 else [])


def stray(random, chance=0.05):
    return [random.choice(SYNTAX)] if random.random() < chance else []


def options_of(random, choices, most):
    parts = []
    for _ in range(random.randint(0, most)):
        parts += some(random, *choices)
    return parts + stray(random)


def set_arguments(random):
    plain = [b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], expiry_option
    most = random.choice([0, 1, 1, 1, 2, 2, 3])
    return [key(random), value(random)] + options_of(random, plain, most)


def getex_arguments(random):
    return [key(random)] + options_of(random, ([b"PERSIST"], expiry_option), random.choice([0, 1, 1, 2]))


def expire_arguments(ms, at):
    def make(random):
        options = [b"NX"], [b"XX"], [b"GT"], [b"LT"]
        most = random.choice([0, 0, 1, 1, 2, 3])
        return [key(random), expiry(random, ms, at)] + options_of(random, options, most)
    return make


def copy_arguments(random):
    databases = [b"DB", b"0"], [b"DB", b"1"], [b"DB", b"-1"], [b"DB", b"x"], [b"DB"], [b"REPLACE"]
    return [key(random), key(random)] + options_of(random, databases, random.choice([0, 0, 1, 2]))


def scan_options(random):
    options = ([b"MATCH", random.choice(PATTERNS)],
               [b"COUNT", random.choice([b"1", b"10", b"1000", b"0", b"-1", b"x", b""])],
               [b"TYPE", random.choice([b"string", b"hash", b"list", b"STRING", b"nonsense"])],
               [b"MATCH"], [b"COUNT"])
    return options_of(random, options, random.choice([0, 1, 1, 2]))


def scan_arguments(random):
    cursor = random.choice([b"0", b"0", b"0", b"0", b"x", b"-1", b"", b"1.5", b"18446744073709551616"])
    return [cursor] + scan_options(random)


def setrange_arguments(random):
    offset = random.choice(WHOLE_SMALL + [b"3000", b"536870912", b"-536870912", b"4294967296", b"x"])
    return [key(random), offset, random.choice([b"", b"x", b"abc", value(random)])]


def range_arguments(random):
    ends = WHOLE_SMALL + NUMBERS + [b"x", b""]
    return [key(random), random.choice(ends), random.choice(ends)]


def object_arguments(random):
    sub = random.choice([b"ENCODING", b"REFCOUNT", b"IDLETIME", b"FREQ", b"HELP", b"nonsense"])
    return [sub, key(random)] if sub != b"HELP" else [sub]


def restore_arguments(random):
    payload = random.choice([b"", b"abc", random.randbytes(20)])
    return [key(random), expiry(random, True, soon=False), payload] + options_of(
        random, ([b"REPLACE"], [b"ABSTTL"], [b"IDLETIME", b"5"], [b"IDLETIME", b"-1"],
                 [b"FREQ", b"300"]), 2)


def move(random):
    """A key for DUMP; a key, an expiry and options for RESTORE of what that replies."""
    ttl = random.choice([b"0", b"0", far(random), far(random) + b"123", b"-1", b"x"])
    return [key(random), key(random), ttl] + options_of(
        random, ([b"REPLACE"], [b"REPLACE"], [b"ABSTTL"], [b"IDLETIME", b"7"], [b"FREQ", b"255"]), 3)


def hello_arguments(random):
    return some(random, [], [b"2"], [b"3"], [b"3"], [b"1"], [b"4"], [b"abc"], [b""], [b"-3"],
                [b"3", b"SETNAME", b"me"], [b"3", b"SETNAME", b"with space"], [b"2", b"NONSENSE"],
                [b"3", b"AUTH", b"default"], [b"3", b"SETNAME"])


def tracking_arguments(random):
    modes = [[], [b"OPTIN"], [b"OPTOUT"], [b"NOLOOP"], [b"BCAST"], [b"BCAST", b"PREFIX", b"a"],
             [b"BCAST", b"PREFIX", b"b", b"PREFIX", b"c", b"NOLOOP"], [b"PREFIX", b"a"], [b"REDIRECT"],
             [b"BCAST", b"PREFIX", b"a", b"PREFIX", b"ab"], [b"BCAST", b"PREFIX", b""], [b"PREFIX"],
             [b"REDIRECT", random.choice([b"0", b"x", b"-1", b"999999999999", b""])]]
    mode = random.choice(modes) + (random.choice(modes) if random.random() < 0.2 else [])
    return some(random, [b"TRACKING", b"ON"] + mode, [b"TRACKING", b"ON"] + mode,
                [b"TRACKING", b"OFF"] + random.choice([[], mode]), [b"TRACKING", b"x"],
                [b"CACHING", random.choice([b"YES", b"NO", b"x"])], [b"CACHING", b"YES"],
                [b"TRACKINGINFO"], [b"TRACKINGINFO"], [b"GETREDIR"], [b"GETREDIR", b"x"])


# Pauses are short and few: Redis ends one up to 100 ms late.
PAUSES = [[b"PAUSE", b"3"], [b"PAUSE", b"2", b"ALL"], [b"PAUSE", b"5", b"WRITE"]]
CLIENT_WAITS = [[b"PAUSE"], [b"PAUSE", b"x"], [b"PAUSE", b"-1"], [b"PAUSE", b"1", b"x"],
                [b"PAUSE", b"x", b"x"], [b"PAUSE", b"1", b"ALL", b"x"], [b"UNPAUSE"],
                [b"UNPAUSE", b"x"], [b"UNBLOCK"], [b"UNBLOCK", b"x"], [b"UNBLOCK", b"0"],
                [b"UNBLOCK", b"999999999", b"TIMEOUT"], [b"UNBLOCK", b"-5", b"ERROR"],
                [b"UNBLOCK", b"0", b"x"], [b"UNBLOCK", b"x", b"x"],
                [b"UNBLOCK", b"0", b"ERROR", b"x"]]


def client_arguments(random):
    if random.random() < 0.02:
        return random.choice(PAUSES)
    return some(random, *[tracking_arguments] * 8, [b"ID"], [b"GETNAME"], [b"SETNAME", b"me"],
                [b"SETNAME", b"a b"],
                [b"SETNAME", b""], [b"INFO"], [b"LIST"], [b"NONSENSE"], [b"NO-EVICT", b"on"],
                [b"NO-EVICT", b"x"], [b"SETNAME"],
                [b"KILL", b"ID", b"x"], [b"KILL", b"1.2.3.4:5"], *CLIENT_WAITS)


def command_arguments(random):
    return some(random, [b"COUNT"], [b"INFO", b"get"], [b"INFO", b"nonsense"], [b"DOCS", b"get"],
                [b"DOCS", b"nonsense"], [b"LIST"], [b"NONSENSE"], [b"GETKEYS", b"GET", b"a"],
                [b"GETKEYS", b"MSET", b"a", b"1", b"b", b"2"], [b"GETKEYS", b"PING"],
                [b"GETKEYS", b"GET"], [b"GETKEYS", b"nonsense", b"a"], [b"GETKEYS"])


def config_arguments(random):
    return some(random, [b"GET", b"maxmemory"], [b"GET", b"nonsense"], [b"GET"], [b"NONSENSE"],
                [b"SET", b"nonsense", b"1"], [b"SET"], [b"RESETSTAT"], [b"RESETSTAT", b"x"],
                [b"GET", b"TIMEOUT", b"max*"], [b"SET", b"timeout", b"x"], [b"SET", b"timeout"],
                [b"SET", b"timeout", b"0", b"timeout", b"0"],
                [b"SET", b"slowlog-max-len", b"100"], [b"SET", b"maxmemory", b"x"],
                [b"SET", b"notify-keyspace-events", b"?"], [b"SET", b"databases", b"2"],
                [b"SET", b"timeout", b"0", b"nonsense", b"1"], [b"SET", b"timeout", b"0", b"x"])


def table_field(random):
    return random.choice([b"f", b"", b"field"])


GENERATORS = {
    "get": lambda r: [key(r)],
    "mget": keys,
    "strlen": lambda r: [key(r)],
    "getrange": range_arguments,
    "substr": range_arguments,
    "set": set_arguments,
    "setnx": lambda r: [key(r), value(r)],
    "setex": lambda r: [key(r), expiry(r), value(r)],
    "psetex": lambda r: [key(r), expiry(r, True), value(r)],
    "getset": lambda r: [key(r), value(r)],
    "getdel": lambda r: [key(r)],
    "getex": getex_arguments,
    "mset": odd_pairs,
    "msetnx": odd_pairs,
    "append": lambda r: [key(r), value(r)],
    "setrange": setrange_arguments,
    "incr": lambda r: [key(r)],
    "decr": lambda r: [key(r)],
    "incrby": lambda r: [key(r), number(r)],
    "decrby": lambda r: [key(r), number(r)],
    "incrbyfloat": lambda r: [key(r), r.choice(FLOATS + WRONG_FLOATS + NUMBERS)],
    "del": keys,
    "unlink": keys,
    "exists": keys,
    "touch": keys,
    "type": lambda r: [key(r)],
    "rename": lambda r: [key(r), key(r)],
    "renamenx": lambda r: [key(r), key(r)],
    "copy": copy_arguments,
    "randomkey": lambda r: [],
    "keys": lambda r: [r.choice(PATTERNS)],
    "scan": scan_arguments,
    "expire": expire_arguments(False, False),
    "pexpire": expire_arguments(True, False),
    "expireat": expire_arguments(False, True),
    "pexpireat": expire_arguments(True, True),
    "ttl": lambda r: [key(r)],
    "pttl": lambda r: [key(r)],
    "expiretime": lambda r: [key(r)],
    "pexpiretime": lambda r: [key(r)],
    "persist": lambda r: [key(r)],
    "object": object_arguments,
    "dump": lambda r: [key(r)],
    "restore": restore_arguments,
    "multi": lambda r: [],
    "exec": lambda r: [],
    "discard": lambda r: [],
    "watch": keys,
    "unwatch": lambda r: [],
    "ping": lambda r: some(r, [], [value(r)]),
    "echo": lambda r: [value(r)],
    "select": lambda r: [r.choice([b"0", b"0", b"1", b"-1", b"x", b"", b"99999999999"])],
    "time": lambda r: [],
    "dbsize": lambda r: [],
    "flushall": lambda r: some(r, [], [b"ASYNC"], [b"SYNC"], [b"nonsense"]),
    "flushdb": lambda r: some(r, [], [b"ASYNC"], [b"SYNC"], [b"nonsense"]),
    "hello": hello_arguments,
    "client": client_arguments,
    "command": command_arguments,
    "config": config_arguments,
    "info": lambda r: some(r, [], [b"server"], [b"all"], [b"nonsense"], [b"memory", b"stats"]),
    "memory": lambda r: some(r, [b"USAGE", key(r)], [b"USAGE", key(r), b"SAMPLES", b"x"],
                             [b"USAGE"], [b"NONSENSE"], [b"STATS"],
                             [b"USAGE", key(r), b"SAMPLES", b"-1"], [b"USAGE", key(r), b"x", b"1"],
                             [b"USAGE", key(r), b"SAMPLES"], [b"HELP"]),
    "slowlog": lambda r: some(r, [b"LEN"], [b"GET", b"x"], [b"NONSENSE"], [b"RESET"], [b"GET"],
                              [b"GET", b"-2"], [b"GET", b"-1"], [b"GET", b"0"], [b"LEN", b"x"]),
    "latency": lambda r: some(r, [b"LATEST"], [b"HISTORY", b"command"], [b"HISTORY"], [b"RESET"],
                              [b"RESET", b"command"], [b"DOCTOR"], [b"HISTOGRAM"], [b"NONSENSE"],
                              [b"HISTOGRAM", b"get", b"nonsense"], [b"HELP"], [b"LATEST", b"x"]),
    "auth": lambda r: some(r, [b"x"], [b"nobody", b"x"], [b"a", b"b", b"c"]),
    "reset": lambda r: [],
    "hget": lambda r: [key(r), table_field(r)],
    "hmget": lambda r: [key(r), table_field(r), table_field(r)],
    "hgetall": lambda r: [key(r)],
    "hkeys": lambda r: [key(r)],
    "hvals": lambda r: [key(r)],
    "hlen": lambda r: [key(r)],
    "hexists": lambda r: [key(r), table_field(r)],
    "publish": lambda r: [key(r), value(r)],
}
# What is not to come in the middle of a random sequence too often, or it would remember nothing.
RARE = {"flushall": 0.1, "flushdb": 0.1, "multi": 0.3, "exec": 0.3, "discard": 0.3, "hello": 0.3,
        "reset": 0.1, "auth": 0.1, "client": 0.5, "command": 0.3, "config": 0.3, "info": 0.3,
        "latency": 0.3, "slowlog": 0.5}
# A name that no server has; what Redis says of the arguments is part of the comparison.
UNKNOWN = [b"nonsense", b"", b"GETT", b"get ", b"n\xff\r\n", b"x" * 200]


def letters(random, word):
    """The word in some mixture of cases."""
    return random.choice([word, word.upper(), word.lower(),
                          bytes(c ^ 0x20 if random.random() < 0.5 and chr(c).isalpha() and c < 128
                                else c for c in word)])


def spoil(random, arguments):
    """Another number of arguments."""
    if arguments and random.random() < 0.5:
        return arguments[:random.randrange(len(arguments))]
    return arguments + [value(random) for _ in range(random.choice([1, 1, 3]))]


def unknown(random):
    return [random.choice(UNKNOWN)] + [value(random) for _ in range(random.choice([0, 1, 3, 20]))]


def request(random, names):
    """One request: a list of bytes."""
    if random.random() < 0.01:
        return unknown(random)
    name = random.choices(names, [RARE.get(name, 1) for name in names])[0]
    arguments = GENERATORS[name](random)
    if random.random() < 0.04:
        arguments = spoil(random, arguments)
    if random.random() < 0.3:
        arguments = [letters(random, a) if a.isalpha() and a not in KEYS else a for a in arguments]
    return [letters(random, name.encode())] + arguments
