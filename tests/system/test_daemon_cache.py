#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon_cache.py - Goal: the daemon serves a cache as its configuration says, keeps it over a
kill, and changes it at a reload without an end to any connection.
Method: a real sidepondd without tables for each test, spoken to over plain sockets in the Redis
protocol, so that nothing stands between the bytes and the test.
"""
import grp
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import unittest
import urllib.request

from daemon_kit import Daemon, free_port, wait_for


class CacheDaemon(Daemon):
    """A daemon whose configuration is a cache, given as the lines of its section."""

    def __init__(self, section="", memory="32MiB", extra=""):
        super().__init__(section, "", extra=extra, memory=memory)

    def configure(self, tables):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"pond: test\ndirectory: {self.pond}\nmemory: {self.memory}\n"
                       f'http: {{listen: "127.0.0.1:{self.port}"}}\nlog: {{level: debug}}\n'
                       f"{self.extra}\n"
                       + (f"cache:\n{tables}\n" if tables else "cache: {}\n"))

    def file(self, name, text, mode=0o600):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    @property
    def socket_path(self):
        return os.path.join(self.pond, "socket")

    def reload(self, section):
        """Reloads with this section; the lines that were logged meanwhile."""
        before = len(self.log())
        self.configure(section)
        self.signal(signal.SIGHUP)
        wait_for(lambda: "reloaded" in self.log()[before:] or "refused" in self.log()[before:],
                 "the reload is over")
        return self.log()[before:]


class Client:
    """A connection; call() sends one command and reads one reply of one or two lines."""

    def __init__(self, where, context=None):
        if isinstance(where, int):
            self.socket = socket.create_connection(("127.0.0.1", where), timeout=10)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(10)
            self.socket.connect(where)
        if context:
            self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.file.close()
        self.socket.close()

    def call(self, *words):
        parts = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts)
                            + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.file.readline().decode().rstrip("\r\n")
        if line.startswith("$") and line != "$-1":
            return self.file.read(int(line[1:]) + 2)[:-2].decode()
        return None if line == "$-1" else line


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def make_certificate(folder, name):
    """(certificate, key) of a server that signs itself."""
    cert, key = (os.path.join(folder, name + end) for end in (".pem", ".key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def trusting_all():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class DaemonCacheTest(unittest.TestCase):
    def daemon(self, section="", **options):
        daemon = CacheDaemon(section, **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        return daemon

    # --- serving ---

    def test_serves_without_tables(self):
        port = free_port()
        daemon = self.daemon(f'  listen: ["127.0.0.1:{port}"]').start()
        with Client(port) as tcp, Client(daemon.socket_path) as unix:
            self.assertEqual(tcp.call("SET", "a", "1"), "+OK")
            self.assertEqual(unix.call("GET", "a"), "1")
            self.assertEqual(unix.call("SET", "b", "2", "PX", 1), "+OK")
            wait_for(lambda: unix.call("DBSIZE") == ":1", "the entry with an expiry has gone")
            daemon.await_notified("cache: 1 keys, 2 clients")
        self.assertEqual(daemon.http("/readyz")[0], 200)
        self.assertLess(daemon.stop(), 3)
        self.assertFalse(os.path.exists(daemon.socket_path))

    def test_keeps_its_entries(self):
        daemon = self.daemon().start()
        with Client(daemon.socket_path) as client:
            for i in range(200):
                self.assertEqual(client.call("SET", f"key:{i}", f"value {i}", "EX", 1000), "+OK")
        daemon.kill()
        self.assertTrue(os.path.exists(daemon.socket_path))  # of the one that is dead
        daemon.start()
        with Client(daemon.socket_path) as client:
            self.assertEqual(client.call("DBSIZE"), ":200")
            self.assertEqual(client.call("GET", "key:123"), "value 123")
            self.assertLessEqual(int(client.call("TTL", "key:123")[1:]), 1000)
        daemon.stop()
        daemon.start()
        with Client(daemon.socket_path) as client:
            self.assertEqual(client.call("GET", "key:7"), "value 7")

    @unittest.skipUnless(os.geteuid() == 0, "gives a file to another group")
    def test_socket_mode_and_group(self):
        group = next(g for g in grp.getgrall() if g.gr_gid != os.getegid())
        daemon = self.daemon("  socket_mode: 0620", extra=f"group: {group.gr_name}").start()
        about = os.stat(daemon.socket_path)
        self.assertEqual(stat.S_IMODE(about.st_mode), 0o620)
        self.assertEqual(about.st_gid, group.gr_gid)
        other = os.path.join(daemon.directory, "other")
        self.assertIn("reloaded",
                      daemon.reload(f'  socket_mode: 0640\n  listen: ["unix:{other}"]'))
        for path in (daemon.socket_path, other):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
            self.assertEqual(os.stat(path).st_gid, group.gr_gid)

    # --- what is wrong at the start ---

    def test_port_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            daemon = self.daemon(f'  listen: ["127.0.0.1:{port}"]')
            self.assertEqual(daemon.run(), 69)
            self.assertIn(f"cannot listen on 127.0.0.1:{port}: another program listens there",
                          daemon.log())

    def test_wrong_configuration(self):
        daemon = self.daemon('  listen: ["0.0.0.0:6379"]')
        self.assertEqual(daemon.run(), 78)
        self.assertIn(f"{daemon.config}:8:12: cache.listen: other hosts can reach 0.0.0.0:6379",
                      daemon.log())
        for section, says in (("  memory: 1GiB", "must be less than the pond's memory"),
                              ("  password_file: none", "none cannot be read: No such file"),
                              ("  users_file: none", "users file")):
            daemon.configure(section)
            self.assertEqual(daemon.run(), 78)
            self.assertIn(says, daemon.log())

    def test_wrong_certificate(self):
        daemon = self.daemon()
        cert, _ = make_certificate(daemon.directory, "one")
        _, other_key = make_certificate(daemon.directory, "two")
        daemon.configure(f'  tls: {{cert: {cert}, key: {other_key}, '
                         f'listen: ["127.0.0.1:{free_port()}"]}}')
        self.assertEqual(daemon.run(), 78)
        self.assertIn("two.key", daemon.log())
        daemon.configure(f'  tls: {{cert: none.pem, key: {other_key}, '
                         f'listen: ["127.0.0.1:{free_port()}"]}}')
        self.assertEqual(daemon.run(), 78)
        self.assertIn("none.pem", daemon.log())

    def test_open_users_file(self):
        """A users file that forgets the user `default` leaves it open, which is refused beyond
        loopback."""
        daemon = self.daemon()
        users = daemon.file("users.acl", "user app on >secret ~* +@all\n")
        port = free_port()
        daemon.configure(f'  users_file: {users}\n  listen: ["0.0.0.0:{port}"]')
        self.assertEqual(daemon.run(), 78)
        self.assertIn("the user 'default' needs no password", daemon.log())
        daemon.file("users.acl", "user default off\nuser app on >secret ~* &* +@all\n")
        daemon.start()
        with Client(port) as client:
            self.assertTrue(client.call("GET", "a").startswith("-NOAUTH"))
            self.assertEqual(client.call("AUTH", "app", "secret"), "+OK")
            self.assertEqual(client.call("SET", "a", "1"), "+OK")

    # --- reload ---

    def test_reload_changes_addresses(self):
        one, two = free_port(), free_port()
        daemon = self.daemon(f'  listen: ["127.0.0.1:{one}"]').start()
        with Client(one) as old:
            self.assertEqual(old.call("SET", "a", "1"), "+OK")
            self.assertIn("reloaded", daemon.reload(f'  listen: ["127.0.0.1:{two}"]'))
            self.assertTrue(refused(one))
            with Client(two) as new:
                self.assertEqual(new.call("GET", "a"), "1")
            self.assertEqual(old.call("GET", "a"), "1")  # goes on
        # The same port, of all addresses of this host: the old one has to go first.
        password = daemon.file("password", "secret\n")
        self.assertIn("'cache.password_file' needs a restart", daemon.reload(
            f'  password_file: {password}\n  listen: ["0.0.0.0:{two}"]'))
        self.assertIn("reloaded", daemon.reload(f'  listen: ["127.1.1.1:{two}"]'))
        self.assertTrue(refused(two))

    def test_reload_to_a_wider_address(self):
        port = free_port()
        daemon = self.daemon()
        password = daemon.file("password", "secret\n")
        daemon.configure(f'  password_file: {password}\n  listen: ["127.0.0.1:{port}"]')
        daemon.start()
        with Client(port) as client:
            self.assertTrue(client.call("GET", "a").startswith("-NOAUTH"))
            self.assertIn("reloaded", daemon.reload(
                f'  password_file: {password}\n  listen: ["0.0.0.0:{port}"]'))
            self.assertEqual(client.call("AUTH", "secret"), "+OK")
        daemon.file("password", "other\n")
        self.assertIn("reloaded", daemon.reload(
            f'  password_file: {password}\n  listen: ["0.0.0.0:{port}"]'))
        with Client(port) as client:
            self.assertTrue(client.call("AUTH", "secret").startswith("-WRONGPASS"))
            self.assertEqual(client.call("AUTH", "other"), "+OK")

    def test_reload_refused(self):
        one, two = free_port(), free_port()
        daemon = self.daemon(f'  listen: ["127.0.0.1:{one}"]').start()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = daemon.reload(f'  listen: ["127.0.0.1:{two}", "127.0.0.1:{port}"]')
            self.assertIn(f"reload refused: cannot listen on 127.0.0.1:{port}", said)
        daemon.await_notified("STATUS=reload refused: cannot listen on")
        self.assertTrue(refused(two))  # was listened on for a moment
        with Client(one) as client:
            self.assertEqual(client.call("PING"), "+PONG")
        for section in ("  threads: 2", '  listen: ["0.0.0.0:1"]', "  users_file: none"):
            self.assertIn("refused", daemon.reload(section))
        with Client(one) as client:
            self.assertEqual(client.call("PING"), "+PONG")
        self.assertEqual(daemon.metric("sidepond_config_last_reload_successful"), 0)

    @staticmethod
    def tracked_keys_limit(client):
        assert client.call("CONFIG", "GET", "tracking-table-max-keys") == "*2"
        return [client.reply(), client.reply()][1]

    def test_reload_changes_limits(self):
        daemon = self.daemon("  memory: 2MiB\n  when_full: refuse\n  tracked_keys: 100").start()
        with Client(daemon.socket_path) as client:
            self.assertEqual(self.tracked_keys_limit(client), "100")
            replies = [client.call("SET", f"k{i}", "x" * 1000) for i in range(3000)]
            self.assertTrue(any(reply.startswith("-OOM") for reply in replies), replies[-1])
            kept = int(client.call("DBSIZE")[1:])
            self.assertIn("reloaded",
                          daemon.reload("  memory: 8MiB\n  when_full: evict\n  max_clients: 2"))
            self.assertEqual(self.tracked_keys_limit(client), "1000000")
            replies = [client.call("SET", f"n{i}", "x" * 1000) for i in range(3000)]
            self.assertEqual(set(replies), {"+OK"})
            self.assertGreater(int(client.call("DBSIZE")[1:]), kept)
            with Client(daemon.socket_path) as second, Client(daemon.socket_path) as third:
                self.assertEqual(second.call("PING"), "+PONG")
                self.assertIn("max number of clients", third.reply())

    def test_reload_changes_certificates(self):
        port = free_port()
        daemon = self.daemon()
        cert, key = make_certificate(daemon.directory, "one")
        section = f'  tls: {{cert: {cert}, key: {key}, listen: ["127.0.0.1:{port}"]}}'
        daemon.start()
        self.assertIn("reloaded", daemon.reload(section))  # TLS where there was none
        with Client(port, trusting_all()) as client:
            self.assertEqual(client.call("PING"), "+PONG")
            first = client.socket.getpeercert(binary_form=True)
        with open(cert, encoding="utf-8") as file:
            good = file.read()
        daemon.file("one.pem", "no certificate\n")
        self.assertIn("one.pem", daemon.reload(section))
        with Client(port, trusting_all()) as client:
            self.assertEqual(client.socket.getpeercert(binary_form=True), first)
        daemon.file("one.pem", good)
        make_certificate(daemon.directory, "one")
        self.assertIn("reloaded", daemon.reload(section))
        with Client(port, trusting_all()) as client:
            self.assertNotEqual(client.socket.getpeercert(binary_form=True), first)

    def test_metrics(self):
        daemon = self.daemon()
        daemon.start()
        with Client(daemon.socket_path) as client:
            client.call("SET", "key", "value")
            client.call("CLIENT", "TRACKING", "ON")
            client.call("GET", "key")
            client.call("GET", "nothing")
            with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/metrics") as answer:
                lines = answer.read().decode().split("\n")
        for line in ("sidepond_cache_entries 1", "sidepond_cache_bytes 8", "sidepond_cache_hits_total 1",
                     "sidepond_cache_misses_total 1", "sidepond_cache_writes_total 1",
                     "sidepond_cache_connections 1", 'sidepond_cache_commands_total{command="get"} 2',
                     "sidepond_cache_shm_hits_total 0", "sidepond_cache_shm_misses_total 0",
                     'sidepond_cache_command_seconds_bucket{command="get",le="+Inf"} 2',
                     'sidepond_cache_command_seconds_count{command="get"} 2',
                     "sidepond_cache_tracking_clients 1", "sidepond_cache_tracked_keys 2",
                     "sidepond_cache_tracked_prefixes 0",
                     'sidepond_cache_dropped_connections_total{reason="idle"} 0'):
            self.assertIn(line, lines)
        self.check_latency([line for line in lines if "_command_seconds" in line and line[0] != "#"])

    def check_latency(self, lines):
        """Of the commands called and no other: buckets that only grow, of times that only grow."""
        self.assertEqual({re.search('command="(.*?)"', line)[1] for line in lines},
                         {"get", "set", "client|tracking"})
        for command, calls in (("get", 2), ("set", 1)):
            found = [re.fullmatch(r'.*_bucket{command="%s",le="(.*)"} (\d+)' % command, line)
                     for line in lines]
            buckets = [(float(match[1]), int(match[2])) for match in found if match]
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual([buckets[-1]], [(float("inf"), calls)])
            total = float(next(line.split()[1] for line in lines if f'_sum{{command="{command}"' in line))
            self.assertTrue(0 < total < 1, total)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
