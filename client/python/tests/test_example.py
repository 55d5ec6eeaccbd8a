# SPDX-License-Identifier: Apache-2.0
"""Goal: the examples do what they say with eight forked processes. Method: start the API on a port of
the system's choice, ask it for rows, change the database, ask again; run the single flight, and count
who computed."""
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
EXAMPLE = EXAMPLES / "tornado_api.py"


def children(process):
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in task.read_text().split()]


def alive(pid):
    """Whether the process runs: not gone, and not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ask(address, path):
    try:
        with urllib.request.urlopen(address + path, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None


def test_tornado(server):
    pytest.importorskip("tornado")
    server.open().close()
    process = subprocess.Popen([sys.executable, EXAMPLE, "--pond", str(server.pond), "--port", "0"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = process.stdout.readline().strip()
        deadline = time.monotonic() + 20
        while len(children(process)) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(children(process)) == 8
        for _ in range(20):
            assert ask(address, "users/42")[1]["email"] == "u42@example.org"
        assert ask(address, "scores/ann/2024-01-02")[1]["points"] == 4
        assert ask(address, "users/424242") == (404, None)
        assert ask(address, "users/abc") == (400, None)
        assert ask(address, "nosuch/1") == (404, None)
        assert len(ask(address, "users?city=city3")[1]) == 100
        assert ask(address, "users?visits=3") == (400, None)
        assert set(ask(address, "")[1]["tables"]) == {"users", "words", "scores", "kinds"}
        server.execute("UPDATE users SET name = 'new' WHERE id = 42")
        assert {ask(address, "users/42")[1]["name"] for _ in range(40)} == {"new"}
    finally:
        workers = children(process)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()
    assert process.returncode == -signal.SIGTERM
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))


def test_single_flight(cached):
    cached.open().close()
    said = subprocess.run([sys.executable, EXAMPLES / "single_flight.py", "--pond", cached.pond],
                          check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.count("\n") == 8 and said.count("computed here") == 1, said
