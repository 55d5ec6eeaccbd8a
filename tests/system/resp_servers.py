# SPDX-License-Identifier: Apache-2.0
"""resp_servers.py - the servers that tests of the protocol talk to: the real Redis, and ours.

Each is a process of the test's own, with a temporary directory, a Unix socket there and a free
loopback port; it is ended by its pid. As a context manager it is ended and removed. Ours is the
program that SIDEPOND_RESP_SERVER names, or resp_server of the build directory, which is called as
`resp_server DIRECTORY ADDRESS... --threads N --limit BYTES` and says "ready" when it serves.
"""
import os
import shutil
import subprocess
import tempfile

from daemon_kit import BUILD, free_port, wait_for
from resp_wire import Closed, Connection

OURS = os.environ.get("SIDEPOND_RESP_SERVER", os.path.join(BUILD, "bin", "resp_server"))


def have_redis():
    return shutil.which("redis-server") is not None


def have_ours():
    return os.access(OURS, os.X_OK)


class Server:
    """What both have in common; `name` and arguments() are the subclass's."""
    name = ""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sidepond-test-resp.", dir="/dev/shm")
        self.unix = os.path.join(self.directory, "socket")
        self.port = free_port()
        self.tcp = ("127.0.0.1", self.port)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def arguments(self):
        raise NotImplementedError

    def __enter__(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(self.answers, f"{self.name} answers")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended: {self.log()}")
        try:
            with Connection(self.tcp) as connection:
                return connection.command("PING") == ("+", b"PONG")
        except (OSError, Closed):
            return False

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()


class Redis(Server):
    """Without persistence, and with one database as ours."""
    name = "redis-server"

    def arguments(self):
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                "--unixsocket", self.unix, "--databases", "1", "--save", "",
                "--appendonly", "no", "--dir", self.directory]


class Ours(Server):
    """`limit` is the pond's size in bytes."""
    name = "sidepond"

    def __init__(self, threads=1, limit=256 << 20):
        super().__init__()
        self.threads, self.limit = threads, limit

    def arguments(self):
        return [OURS, os.path.join(self.directory, "pond"), f"127.0.0.1:{self.port}",
                f"unix:{self.unix}", "--threads", str(self.threads), "--limit", str(self.limit)]


def commands_of(address, names):
    """Which of the names the server has: by COMMAND, or where it has none by asking for each."""
    with Connection(address) as connection:
        listed = connection.command("COMMAND")
    if listed[0] in "*~":
        return {entry[1][0][1].decode().lower() for entry in listed[1]} & set(names)
    return {name for name in names if _knows(address, name)}


def _knows(address, name):
    """Asked inside of MULTI, where no command is run."""
    with Connection(address) as connection:
        connection.command("MULTI")
        kind, content = connection.command(name)
        return not (kind == "-" and content.startswith(b"ERR unknown command"))
