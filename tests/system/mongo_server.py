#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mongo_server.py - throw-away servers that speak MongoDB's protocol, for tests and benchmarks.

There are two, made by tests/servers/build: mongo-java-server (in memory, with change streams) and
FerretDB (on SQLite). Each listens on a free loopback port, has its own temporary directory and is
ended by its pid; it ends with this process too.

    with mongo_server.Java() as server, mongo_server.Ferret() as other:
        server.client()                   # a pymongo client
        server.uri("shop")                # mongodb://127.0.0.1:PORT/shop
        server.kill(); server.start()     # SIGKILL; the Java one forgets everything, FerretDB not
        server.pause(); server.resume()   # a server that hangs

    mongo_server.py run COMMAND...        # both, with SIDEPOND_MONGO_JAVA and SIDEPOND_MONGO_FERRET
                                          # set to "PID URI", SIDEPOND_MONGO_TLS to "URI CERT" of a
                                          # FerretDB with TLS; ends as COMMAND ends
    mongo_server.py bench COMMAND...      # a bare Java one alone, with SIDEPOND_MONGO_URI set
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVERS = os.environ.get("SIDEPOND_SERVERS", os.path.join(ROOT, "build", "servers"))
START_SECONDS = 60


class Server:
    """One server; its subclasses say which."""

    name = ""

    def __init__(self):
        self.program = os.path.join(SERVERS, self.name, self.name)
        if not os.path.exists(self.program):
            raise RuntimeError(f"{self.program} is not there: run tests/servers/build")
        self.directory = tempfile.mkdtemp(prefix=f"sidepond-test-{self.name}.", dir="/dev/shm")
        self.port = free_port()
        self.process = None
        self._clients = []

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    def arguments(self):
        raise NotImplementedError

    def start(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                ["setpriv", "--pdeathsig", "KILL", "--", self.program, *self.arguments()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start: {self.log()}")
            time.sleep(0.02)
        return self

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def uri(self, database="", options=""):
        return f"mongodb://127.0.0.1:{self.port}/{database}{options}"

    def client(self):
        import pymongo  # pylint: disable=import-outside-toplevel
        self._clients.append(pymongo.MongoClient(self.uri()))
        return self._clients[-1]

    def log(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def remove(self):
        for client in self._clients:
            client.close()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Java(Server):
    """mongo-java-server; `bare`: without change streams, which makes writing quicker."""

    name = "mongo-java-server"

    def __init__(self, bare=False):
        super().__init__()
        self.bare = bare

    def arguments(self):
        return ["127.0.0.1", str(self.port), *(["bare"] if self.bare else [])]


class Ferret(Server):
    """FerretDB with SQLite files in the server's directory; `tls`: with a certificate of its own,
    cert.pem in its directory, for the name localhost."""

    name = "ferretdb"

    def __init__(self, tls=False):
        super().__init__()
        self.pem = [os.path.join(self.directory, name) for name in ("cert.pem", "key.pem")]
        self.tls = tls
        if tls:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                 "subjectAltName=DNS:localhost", "-out", self.pem[0], "-keyout", self.pem[1]],
                check=True, capture_output=True)

    def arguments(self):
        return [f"127.0.0.1:{self.port}", self.directory, *(self.pem if self.tls else [])]


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("run", "bench"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] == "bench":
        with Java(bare=True) as java:
            status = subprocess.run(sys.argv[2:], check=False, env={
                **os.environ, "SIDEPOND_MONGO_URI": java.uri("bench")}).returncode
        sys.exit(status if status >= 0 else 128 - status)
    with Java() as java, Ferret() as ferret, Ferret(tls=True) as tls:
        environment = {**os.environ, "SIDEPOND_MONGO_JAVA": f"{java.process.pid} {java.uri()}",
                       "SIDEPOND_MONGO_FERRET": f"{ferret.process.pid} {ferret.uri()}",
                       "SIDEPOND_MONGO_TLS": f"mongodb://localhost:{tls.port}/ {tls.pem[0]}"}
        status = subprocess.run(sys.argv[2:], env=environment, check=False).returncode
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
