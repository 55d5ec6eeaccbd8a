# SPDX-License-Identifier: Apache-2.0
"""member_kit.py - member_node processes for tests: each is one member of a ring, whose words are
collected. Every wait is for a condition.
"""
import itertools
import json
import os
import queue
import subprocess
import threading
import time

BUILD = os.environ.get("SIDEPOND_BUILD_DIR", "build/dev")
PROGRAM = os.path.join(BUILD, "bin", "member_node")
SLOW = 4 if os.environ.get("SIDEPOND_SANITIZE") else 1
AWAIT_SECONDS = 40
# Long enough that a loaded machine loses no session by itself; a server of the tests grants 4 s.
SESSION_MS = min(1500 * SLOW, 4000)

starts = itertools.count(0x100)


class Node:
    """One member_node, and what it has said so far."""

    def __init__(self, servers, cluster, name=None, **options):
        self.name = name
        self.said, self.maps, self.asked = [], [], []
        self.status, self.lost = {}, 0
        self._lines = queue.Queue()
        given = {"servers": servers, "cluster": cluster, "session": SESSION_MS, "slots": 64,
                 **options}
        if name is not None:
            self.start_id = f"{next(starts):x}"
            given = {"name": name, "address": f"{name}.test:6379", "hold": 1,
                     "start": self.start_id, **given}
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [PROGRAM, *[f"{k}={v}" for k, v in given.items() if v is not None]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put((time.monotonic(), json.loads(line)))
        self._lines.put((time.monotonic(), {"ended": True}))

    def _take(self, seconds):
        try:
            at, word = self._lines.get(timeout=max(seconds, 0.001))
        except queue.Empty:
            return False
        self.said.append((at, word))
        if "map" in word:
            self.maps.append(word["map"])
        elif "status" in word and "done" not in word:
            self.status = word["status"]
        elif "lost" in word:
            self.lost += 1
        elif "asked" in word:
            self.asked.append(word["asked"])
        return True

    def drain(self):
        while self._take(0):
            pass
        return self

    def wait(self, condition, what, seconds=AWAIT_SECONDS):
        deadline = time.monotonic() + seconds
        self.drain()
        while not condition(self):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: waited {seconds} s for: {what}\n"
                                     f"last said: {self.said[-12:]}")
            self._take(0.05)
        return self

    @property
    def map(self):
        return self.maps[-1] if self.maps else {"epoch": 0, "nodes": {}, "settled": False}

    def wait_nodes(self, *names, settled=True):
        return self.wait(lambda n: sorted(n.map["nodes"]) == sorted(names)
                         and n.map["settled"] >= settled, f"a map of {names}")

    def wait_registered(self, yes=True):
        return self.wait(lambda n: n.status.get("registered") == yes, f"registered: {yes}")

    def wait_link(self, link):
        return self.wait(lambda n: n.status.get("link") == link, f"the link is {link}")

    def send(self, command):
        self.drain()
        mark = len(self.said)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self.wait(lambda n: any("done" in word for _, word in n.said[mark:]), f"done: {command}")
        return [word for _, word in self.said[mark:]]

    def ask(self, command):
        return next(word["status"] for word in self.send(command) if "done" in word)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.close()

    def close(self):
        """The exit code, after a clean leave where it still runs."""
        if self.process.stdin and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        code = self.process.wait(AWAIT_SECONDS)
        self._reader.join()
        self.process.stdout.close()
        return code
