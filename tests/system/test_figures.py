#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_figures.py - Goal: what the cache server says of itself is so: INFO, SLOWLOG, LATENCY, MEMORY,
OBJECT, and CONFIG with what it changes. Method: a server of the test's own, requests whose figures
are known beforehand, and the replies compared with them.
"""
import os
import re
import sys
import unittest

from daemon_kit import wait_for
from resp_servers import Ours
from resp_wire import Connection


def plain(reply):
    """The reply without its types; a map as a dict."""
    kind, content = reply
    if kind == "%":
        return {plain(k): plain(v) for k, v in content}
    return list(map(plain, content)) if isinstance(content, list) else content


class FiguresTest(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(Ours(threads=2))
        self.client = self.enterContext(Connection(self.server.tcp))

    def call(self, *words):
        return plain(self.client.command(*words))

    def info(self, *sections):
        lines = self.call("INFO", *sections).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line and line[0] != "#")

    def calls_of(self, name):
        fields = self.info("commandstats").get(f"cmdstat_{name}", "calls=0,usec=0,rejected_calls=0,"
                                               "failed_calls=0")
        return {k: float(v) for k, v in (part.split("=") for part in fields.split(","))}

    # --- INFO ---

    def test_info_counts_what_was_called(self):
        for i in range(10):
            self.call("SET", f"key{i}", "x" * 100)
        for i in range(15):
            self.call("GET", f"key{i}")
        self.call("INCR", "key0")  # fails
        self.call("GET")  # is rejected
        stats = self.info()
        self.assertEqual((stats["keyspace_hits"], stats["keyspace_misses"]), ("10", "5"))
        self.assertEqual(stats["db0"].split(",")[0], "keys=10")
        self.assertGreaterEqual(int(stats["used_memory"]), 10 * 100)
        self.assertGreater(int(stats["maxmemory"]), int(stats["used_memory"]))
        self.assertEqual(int(stats["total_commands_processed"]), 28)  # and PING of the start
        self.assertEqual(stats["total_error_replies"], "2")
        get, incr = self.calls_of("get"), self.calls_of("incr")
        self.assertEqual((get["calls"], get["rejected_calls"], get["failed_calls"]), (15, 1, 0))
        self.assertEqual((incr["calls"], incr["failed_calls"]), (1, 1))
        self.assertGreater(get["usec"] + get["usec_per_call"], 0)

    def test_a_transaction_is_counted_in_parts_and_whole(self):
        for words in (["MULTI"], ["SET", "a", "1"], ["GET", "a"], ["EXEC"]):
            self.call(*words)
        self.assertEqual([self.calls_of(name)["calls"] for name in ("multi", "set", "get", "exec")],
                         [1, 1, 1, 1])
        self.assertGreaterEqual(self.calls_of("exec")["usec"], self.calls_of("set")["usec"])

    def test_info_inside_of_a_transaction(self):
        for words in (["MULTI"], ["SET", "a", "1"], ["INFO", "all"], ["CONFIG", "GET", "*"],
                      ["MEMORY", "STATS"], ["CONFIG", "RESETSTAT"]):
            self.call(*words)
        self.assertEqual(len(self.call("EXEC")), 5)

    def test_sections(self):
        self.assertEqual(self.call("INFO", "nonsense"), b"")
        self.assertEqual(self.call("INFO", "SERVER").split(b"\r\n")[0], b"# Server")
        self.assertNotIn(b"# Commandstats", self.call("INFO"))
        for word in ("all", "everything"):
            text = self.call("INFO", word)
            for title in (b"Server", b"Clients", b"Memory", b"Stats", b"CPU", b"Commandstats",
                          b"Latencystats", b"Sidepond"):
                self.assertIn(b"# " + title + b"\r\n", text)
        server = self.info("server", "sidepond")
        self.assertEqual(server["tcp_port"], str(self.server.port))
        self.assertEqual(server["process_id"], str(self.server.process.pid))
        self.assertEqual(server["tables"], "0")

    def test_rate(self):
        def busy():
            for _ in range(200):
                self.call("PING")
            return int(self.info("stats")["instantaneous_ops_per_sec"]) > 100
        wait_for(busy, "a rate that is not 0")

    def errors(self):
        return {name[10:]: int(value.split("=")[1])
                for name, value in self.info("errorstats").items()}

    def test_errors_by_their_code(self):
        with Connection(self.server.tcp) as other:  # on the other thread
            other.command("INCR")
            other.command("SET", "text", "x")
            other.command("HGET", "text", "field")
        self.call("INCR", "text")
        self.call("NONSENSE")
        self.call("HGET", "text", "field")
        for words in (["MULTI"], ["NONSENSE"], ["EXEC"]):
            self.call(*words)
        self.assertEqual(self.errors(), {"ERR": 4, "EXECABORT": 1, "WRONGTYPE": 2})
        self.assertEqual(self.info("stats")["total_error_replies"], "7")
        self.assertIn("# Errorstats\r\n", self.call("INFO").decode())
        self.call("CONFIG", "RESETSTAT")
        self.assertEqual(self.errors(), {})
        self.call("INCR", "text")
        self.assertEqual(self.errors(), {"ERR": 1})

    def test_broken_protocol_is_an_error(self):
        with Connection(self.server.tcp) as other:
            other.send(b"*x\r\n")
            other.read_to_end()
        self.assertEqual(self.errors(), {"ERR": 1})

    def test_resetstat(self):
        for _ in range(5):
            self.call("GET", "nothing")
        self.assertEqual(self.call("CONFIG", "RESETSTAT"), b"OK")
        stats = self.info()
        self.assertEqual(stats["keyspace_misses"], "0")
        self.assertLessEqual(int(stats["total_commands_processed"]), 1)
        self.assertEqual(self.calls_of("get")["calls"], 0)
        self.call("GET", "nothing")
        self.assertEqual(self.info()["keyspace_misses"], "1")
        self.assertEqual(self.calls_of("get")["calls"], 1)

    # --- CONFIG ---

    def get(self, *names):
        found = self.call("CONFIG", "GET", *names)
        return dict(zip(found[::2], found[1::2]))

    def test_config_get(self):
        self.assertEqual(self.get("PORT", "io-threads"),
                         {b"port": b"%d" % self.server.port, b"io-threads": b"2"})
        self.assertEqual(set(self.get("slowlog-*", "maxmemory*")),
                         {b"slowlog-log-slower-than", b"slowlog-max-len", b"maxmemory",
                          b"maxmemory-policy"})
        self.assertEqual(self.get("bind", "unixsocket", "save", "appendonly"),
                         {b"bind": b"127.0.0.1", b"unixsocket": self.server.unix.encode(),
                          b"save": b"", b"appendonly": b"no"})
        self.call("HELLO", "3")
        self.assertEqual(self.call("CONFIG", "GET", "databases"), {b"databases": b"1"})

    def test_config_set(self):
        for name, value, shown in (("maxmemory", "64mb", b"67108864"), ("timeout", "100", b"100"),
                                   ("maxclients", "50", b"50"), ("maxmemory-policy", "noeviction",
                                                                 b"noeviction"),
                                   ("maxmemory-policy", "allkeys-lfu", b"allkeys-lru"),
                                   ("notify-keyspace-events", "KEA", b"AKE"),
                                   ("slowlog-max-len", "7", b"7"), ("save", "", b"")):
            self.assertEqual(self.call("CONFIG", "SET", name, value), b"OK", name)
            self.assertEqual(self.get(name)[name.encode()], shown)
        self.assertEqual(self.info("memory")["maxmemory"], "67108864")
        self.assertEqual(self.info("clients")["maxclients"], "50")

    def test_config_is_documented(self):
        """docs/PROTOCOL.md has a line for each setting, and says which can be set."""
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/PROTOCOL.md")
        with open(path, encoding="utf-8") as file:
            lines = re.findall(r"^\| (`[^|]*`) \| (yes|no) \|", file.read(), re.M)
        told = {name: can for names, can in lines for name in re.findall("`(.*?)`", names)}
        there = {name.decode(): value for name, value in self.get("*").items()}
        self.assertEqual(sorted(told), sorted(there))
        for name, value in there.items():
            said = self.call("CONFIG", "SET", name, value + b"1")
            self.assertEqual(b"immutable" not in said, told[name] == "yes", (name, said))

    def test_config_set_is_all_or_nothing(self):
        for words in (["timeout", "7", "port", "1"], ["timeout", "7", "timeout", "8"],
                      ["timeout", "7", "maxmemory", "0"], ["timeout", "7", "maxmemory", "1tb"],
                      ["timeout", "7", "maxmemory", "9999gb"],
                      ["timeout", "7", "maxmemory-policy", "volatile-lru"],
                      ["timeout", "7", "requirepass", "x"], ["timeout", "7", "nonsense", "1"]):
            self.assertIn(b"CONFIG SET", self.call("CONFIG", "SET", *words), words)
        self.assertEqual(self.get("timeout"), {b"timeout": b"0"})

    def test_noeviction_refuses(self):
        self.call("CONFIG", "SET", "maxmemory", "2mb", "maxmemory-policy", "noeviction")
        replies = {self.call("SET", f"key{i}", "x" * 100_000)[:3] for i in range(50)}
        self.assertEqual(replies, {b"OK", b"OOM"})
        self.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        self.assertEqual(self.call("SET", "key", "x" * 100_000), b"OK")
        self.assertGreater(int(self.info("stats")["evicted_keys"]), 0)

    def test_rewrite_is_refused(self):
        self.assertIn(b"ERR The configuration is a YAML file", self.call("CONFIG", "REWRITE"))

    # --- SLOWLOG and LATENCY ---

    def test_slowlog(self):
        self.assertEqual(self.call("SLOWLOG", "LEN"), 0)
        self.call("CLIENT", "SETNAME", "me")
        self.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
        self.call("SET", "key", "x" * 1000)
        self.call("DEL", *[f"k{i}" for i in range(100)])
        self.call("AUTH", "password")
        self.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        delete, put = self.call("SLOWLOG", "GET", "-1")[:2]
        self.assertEqual(put[3][:2], [b"SET", b"key"])
        self.assertEqual(put[3][2], b"x" * 128 + b"... (872 more bytes)")
        self.assertEqual(put[5], b"me")
        self.assertTrue(put[4].startswith(b"127.0.0.1:"))
        self.assertEqual(delete[0], put[0] + 1)
        self.assertEqual((len(delete[3]), delete[3][-1]), (32, b"... (70 more arguments)"))
        self.assertEqual(self.call("SLOWLOG", "RESET"), b"OK")
        self.assertEqual(self.call("SLOWLOG", "GET"), [])

    def test_slowlog_length(self):
        self.call("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "3")
        for _ in range(10):
            self.call("PING")
        self.assertEqual(self.call("SLOWLOG", "LEN"), 3)
        self.call("CONFIG", "SET", "slowlog-max-len", "0")
        self.assertEqual(self.call("SLOWLOG", "LEN"), 0)

    def test_latency(self):
        self.call("HELLO", "3")
        for _ in range(100):
            self.call("GET", "key")
        found = self.call("LATENCY", "HISTOGRAM", "get", "set", "nonsense")
        self.assertEqual(set(found), {b"get"})
        self.assertEqual(found[b"get"][b"calls"], 100)
        counts = list(found[b"get"][b"histogram_usec"].values())
        self.assertEqual((counts, counts[-1]), (sorted(counts), 100))
        values = self.info("latencystats")["latency_percentiles_usec_get"].split(",")
        low, middle, high = (float(value.split("=")[1]) for value in values)
        self.assertLess(0, low)
        self.assertLessEqual(low, middle)
        self.assertLessEqual(middle, high)
        self.assertEqual(self.call("LATENCY", "LATEST"), [])

    # --- HELP ---

    def test_help_tells_what_there_is(self):
        """Of each command with subcommands: those, and no others."""
        listed = {entry[0]: entry[9] for entry in self.call("COMMAND")}
        containers = {name: subs for name, subs in listed.items() if subs}
        self.assertLess({b"acl", b"client", b"command", b"config", b"pubsub"}, set(containers))
        for name, subs in containers.items():
            head, *lines = self.call(name, "HELP")
            self.assertEqual(head, b"%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
                             % name.upper())
            told = {line.split()[0].lower() for line in lines if line[:1] not in b" ("}
            self.assertEqual(told, {sub[0].split(b"|")[1] for sub in subs}, name)
            self.assertTrue(self.call(name, "HELP", "x").startswith(b"ERR wrong number"), name)
        self.assertTrue(self.call("CLIENT", "nonsense").endswith(b"Try CLIENT HELP."))

    # --- SIDEPOND without a daemon ---

    def test_sidepond(self):
        for words in (["TABLES"], ["STATUS"], ["REFRESH", "users"], ["HOLD", "users"],
                      ["CONFIRM", "users", "WAIT", "10"]):
            self.assertEqual(self.call("SIDEPOND", *words),
                             b"ERR SIDEPOND %s is for the daemon sidepondd to answer, which this "
                             b"server runs without or is still starting" % words[0].encode())
        self.assertEqual(self.errors(), {"ERR": 5})
        self.assertEqual(self.calls_of("sidepond|tables")["failed_calls"], 1)
        self.assertIn(b"CHECK", self.call("SIDEPOND", "HELP"))
        for i in range(2000):
            self.call("SET", f"key{i}", "x" * i)
        found = self.call("SIDEPOND", "CHECK")
        found = dict(zip(found[::2], found[1::2]))
        self.assertEqual((found[b"sound"], found[b"complaints"], found[b"entries"]), (1, [], 2000))

    def test_latency_buckets(self):
        for _ in range(100):
            self.call("GET", "key")
        buckets = [tuple(map(int, part.split("="))) for part in
                   self.info("latencybuckets")["latency_buckets_ns_get"].split(",")]
        self.assertEqual(sum(count for _, count in buckets), 100)
        ends = [end for end, _ in buckets]
        self.assertEqual(ends, sorted(set(ends)))
        self.assertEqual({end % 64 for end in ends}, {0})

    # --- OBJECT and MEMORY ---

    def test_object(self):
        for value, encoding in (("12345", b"int"), ("012", b"embstr"), ("x" * 44, b"embstr"),
                                ("x" * 45, b"raw"), ("9" * 19, b"embstr"), ("-1", b"int")):
            self.call("SET", "key", value)
            self.assertEqual(self.call("OBJECT", "ENCODING", "key"), encoding, value)
        self.assertEqual(self.call("OBJECT", "REFCOUNT", "key"), 1)
        self.assertIsNone(self.call("OBJECT", "ENCODING", "nothing"))
        self.assertIn(b"LFU", self.call("OBJECT", "FREQ", "key"))

    def test_dump_and_restore(self):
        self.call("SET", "key", b"\0\r\n\xff")
        payload = self.call("DUMP", "key")
        self.assertEqual(payload[:4], b"SP\1\0")
        self.assertEqual(self.call("RESTORE", "other", "100000", payload), b"OK")
        self.assertEqual(self.call("GET", "other"), b"\0\r\n\xff")
        self.assertTrue(99_000 < self.call("PTTL", "other") <= 100_000)
        wrong = b"ERR DUMP payload version or checksum are wrong"
        of_redis = b"\x00\x01a\x0a\x00" + b"12345678"
        for bad in (payload[:-1], payload + b"x", payload[::-1], b"", of_redis):
            self.assertEqual(self.call("RESTORE", "third", "0", bad), wrong, bad)
        self.assertIsNone(self.call("GET", "third"))

    def test_memory(self):
        self.call("SET", "key", "x" * 1000)
        used = self.call("MEMORY", "USAGE", "key")
        self.assertTrue(1000 < used < 1200, used)
        self.assertIsNone(self.call("MEMORY", "USAGE", "nothing", "SAMPLES", "5"))
        self.call("HELLO", "3")
        stats = self.call("MEMORY", "STATS")
        self.assertEqual((stats[b"keys.count"], stats[b"dataset.bytes"]), (1, 1003))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
