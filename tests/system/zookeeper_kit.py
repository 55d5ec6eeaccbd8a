#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zookeeper_kit.py - real ZooKeeper servers for tests: one, or an ensemble, on free loopback ports,
with their data in one temporary directory, ended by their process ids.

    import zookeeper_kit
    with zookeeper_kit.Ensemble(1) as zk:     # or 3; starts, and waits until there is a leader
        zk.servers                            # "127.0.0.1:PORT,..." for clients
        zk.kill(0); zk.start(0)               # SIGKILL; the same data and port again
        zk.stop(0)                            # SIGTERM
        zk.pause(0); zk.resume(0)             # SIGSTOP, SIGCONT: a server that hangs
        zk.await_serving()                    # all that run have a quorum
        zk.four("mntr")                       # what a server says to a four-letter word

A tick is 200 ms, so sessions last from 400 ms to 4 s. Nothing is synced to disk: what is
acknowledged survives kill(), since the page cache does.

    zookeeper_kit.py COUNT       runs an ensemble until standard input ends; prints its servers
"""
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from ports import free_ports

JARS = "/usr/share/java"
# Of all that lies there, what the server loads: a short list starts faster.
NEEDED = ["zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-nop.jar", "commons-cli.jar",
          "netty-*.jar", "snappy-java.jar", "metrics-core.jar", "commons-io.jar", "commons-lang.jar"]
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
OPTIONS = ["-Xms32m", "-Xmx64m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
           "-Xshare:auto", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true",
           "-Dzookeeper.forceSync=no", "-Dzookeeper.admin.enableServer=false",
           "-Djute.maxbuffer=1048575"]
TICK_MS = 200
# What starts here and uses the client library under ThreadSanitizer.
if "thread" in os.environ.get("SIDEPOND_SANITIZE", ""):
    os.environ["TSAN_OPTIONS"] = ":".join(
        [*filter(None, [os.environ.get("TSAN_OPTIONS")]), "suppressions="
         + os.path.join(os.path.dirname(os.path.abspath(__file__)), "zookeeper.tsan")])
AWAIT_SECONDS = 60


def available():
    return bool(shutil.which("java")) and os.path.exists(f"{JARS}/zookeeper.jar")


def classpath():
    return ":".join(path for pattern in NEEDED for path in sorted(glob.glob(f"{JARS}/{pattern}"))
                    if "-4.1" not in path)


class Ensemble:
    """COUNT servers. As a context manager: starts them, ends them and removes their data."""

    def __init__(self, count=1, tick_ms=TICK_MS):
        self.directory = tempfile.mkdtemp(prefix="sidepond-test-zookeeper.", dir="/dev/shm")
        ports = free_ports(3 * count)
        self.ports, self.peers = ports[:count], ports[count:]
        self.servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.processes = [None] * count
        for number in range(count):
            self._configure(number, tick_ms)

    def __enter__(self):
        try:
            for number in range(len(self.ports)):
                self.start(number)
            self.await_serving()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        for number, process in enumerate(self.processes):
            if process is not None:
                self.kill(number)
                if kind is not None:
                    print(self.log(number)[-2000:])
        shutil.rmtree(self.directory, ignore_errors=True)

    def _folder(self, number):
        return os.path.join(self.directory, str(number))

    def _configure(self, number, tick_ms):
        folder, count = self._folder(number), len(self.ports)
        os.mkdir(folder)
        lines = [f"tickTime={tick_ms}", f"dataDir={folder}", f"clientPort={self.ports[number]}",
                 "clientPortAddress=127.0.0.1", "4lw.commands.whitelist=*", "maxClientCnxns=0",
                 "initLimit=50", "syncLimit=25", "autopurge.purgeInterval=0"]
        if count > 1:
            with open(os.path.join(folder, "myid"), "w", encoding="utf-8") as file:
                file.write(f"{number + 1}\n")
            lines += [f"server.{i + 1}=127.0.0.1:{self.peers[2 * i]}:{self.peers[2 * i + 1]}"
                      for i in range(count)]
        with open(os.path.join(folder, "zoo.cfg"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def start(self, number=0):
        folder = self._folder(number)
        with open(os.path.join(folder, "log"), "ab") as log:
            self.processes[number] = subprocess.Popen(  # pylint: disable=consider-using-with
                ["java", *OPTIONS, "-cp", classpath(), MAIN, os.path.join(folder, "zoo.cfg")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    def _end(self, number, signal_number):
        process = self.processes[number]
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal_number)
        process.wait()
        self.processes[number] = None

    def kill(self, number=0):
        self._end(number, signal.SIGKILL)

    def stop(self, number=0):
        self._end(number, signal.SIGTERM)

    def pause(self, number=0):
        self.processes[number].send_signal(signal.SIGSTOP)

    def resume(self, number=0):
        self.processes[number].send_signal(signal.SIGCONT)

    def log(self, number=0):
        with open(os.path.join(self._folder(number), "log"), encoding="utf-8",
                  errors="replace") as file:
            return file.read()

    def four(self, word, number=0):
        """The answer to a four-letter word, or None."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports[number]), 2) as link:
                link.settimeout(2)
                link.sendall(word.encode())
                answer = b"".join(iter(lambda: link.recv(65536), b""))
                return answer.decode(errors="replace")
        except OSError:
            return None

    def serves(self, number=0):
        return "Mode: " in (self.four("srvr", number) or "")

    def await_serving(self, serving=True):
        """All that run serve; or, without a quorum, none does."""
        deadline = time.monotonic() + AWAIT_SECONDS
        for number, process in enumerate(self.processes):
            while process is not None and self.serves(number) != serving:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"ZooKeeper does not come to serving={serving}:\n{self.log(number)[-4000:]}")
                time.sleep(0.01)
        return self


def main():
    with Ensemble(int(sys.argv[1])) as ensemble:
        print(ensemble.servers, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
