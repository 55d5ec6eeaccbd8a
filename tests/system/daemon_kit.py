# SPDX-License-Identifier: Apache-2.0
"""daemon_kit.py - a real sidepondd for a test: its configuration, its process, what it tells the
service manager, its HTTP, and its pond read through the `sidepond` tool. Everything that a test
waits for is a condition; nothing sleeps for a time and hopes.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from ports import free_port
from process_kit import wait_for

BUILD = os.environ.get("SIDEPOND_BUILD_DIR", "build/dev")
PROGRAM = os.path.join(BUILD, "bin", "sidepondd")
TOOL = os.path.join(BUILD, "bin", "sidepond")
AWAIT_SECONDS = 30


class Daemon:
    """A daemon with a directory of its own. As a context manager: ends it and removes all."""

    def __init__(self, tables, sources, extra="", memory="16MiB"):
        self.directory = tempfile.mkdtemp(prefix="sidepond-test-daemon.", dir="/dev/shm")
        self.pond = os.path.join(self.directory, "pond")
        self.config = os.path.join(self.directory, "test.yaml")
        self.log_path = os.path.join(self.directory, "log")
        self.port = free_port()
        self.process = None
        self.notified = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.path.join(self.directory, "notify"))
        self._socket.setblocking(False)
        self.sources, self.memory, self.extra = sources, memory, extra
        self.configure(tables)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._socket.close()
        if kind is not None:
            print(self.log())
        shutil.rmtree(self.directory, ignore_errors=True)

    def configure(self, tables):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"pond: test\ndirectory: {self.pond}\nmemory: {self.memory}\n"
                       f'http: {{listen: "127.0.0.1:{self.port}"}}\nlog: {{level: debug}}\n'
                       f"{self.extra}\nsources:\n{self.sources}\ntables:\n{tables}\n")

    # --- the process ---

    def start(self, ready=True, environment=None):
        self.notified = []
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [PROGRAM, self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": os.path.join(self.directory, "notify"),
                     **(environment or {})})
        if ready:
            self.await_notified("READY=1")
        return self

    def run(self):
        """Runs it to its end; the exit code."""
        self.start(ready=False)
        return self.process.wait(AWAIT_SECONDS)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it as a service manager does; seconds that it took."""
        begun = time.monotonic()
        self.signal(signal.SIGTERM)
        code = self.process.wait(AWAIT_SECONDS)
        assert code == 0, f"exit code {code}"
        return time.monotonic() - begun

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def await_log(self, text):
        wait_for(lambda: text in self.log(), f"the log says: {text}")

    # --- the service manager's side ---

    def collect(self):
        while True:
            try:
                message = self._socket.recv(4096).decode()
            except BlockingIOError:
                return self.notified
            self.notified += message.split("\n")

    def await_notified(self, line):
        def arrived():
            if self.process.poll() is not None and line not in self.collect():
                raise AssertionError(f"the daemon has ended: {self.process.returncode}")
            return any(line in seen for seen in self.collect())
        wait_for(arrived, f"the service manager is told {line}")

    def forget(self):
        self.collect()
        self.notified = []

    # --- its HTTP ---

    def http(self, path, method="GET", headers=None):
        """(code, body)"""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         headers=headers or {},
                                         data=b"" if method == "POST" else None)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def table(self, name):
        for table in json.loads(self.http("/tables")[1])["tables"]:
            if table["name"] == name:
                return table
        return None

    def await_state(self, name, state):
        def reached():
            try:
                return (self.table(name) or {}).get("state") == state
            except urllib.error.URLError:
                return False  # it does not listen yet
        wait_for(reached, f"{name} is {state}")

    def metric(self, sample):
        for line in self.http("/metrics")[1].split("\n"):
            if line.startswith(sample + " "):
                return float(line.split(" ")[-1])
        return None

    # --- its pond, as any reader sees it ---

    def tool(self, *arguments):
        return subprocess.run([TOOL, *arguments], capture_output=True, text=True, check=False,
                              env={**os.environ, "SIDEPOND": self.pond})

    def get(self, table, *key):
        """The row as a dict, or None."""
        done = self.tool("--json", "get", table, *[str(part) for part in key])
        return json.loads(done.stdout) if done.returncode == 0 else None

    def await_row(self, table, key, **columns):
        def same():
            row = self.get(table, key)
            return row is not None and all(row.get(k) == v for k, v in columns.items())
        wait_for(same, f"{table} {key} has {columns}")

    def await_gone(self, table, key):
        wait_for(lambda: self.tool("get", table, str(key)).returncode == 1, f"{table} {key} is gone")

    def rows(self, table):
        found = self.table(table)
        return found["rows"] if found else None
