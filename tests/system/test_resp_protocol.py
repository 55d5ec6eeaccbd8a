#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: a stream of bytes is read by server/resp as Redis reads it: the same arguments, the same
errors, and waiting for more where Redis waits. Method: each stream is sent to a real redis-server
over a raw socket, which then hangs up, and given to resp_answer; the answers must be equal. There
are streams written by hand and ones made and damaged from a printed seed (SIDEPOND_SEED repeats).
The server listens on a Unix socket in a directory of its own and is ended by its id."""
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ANSWER = Path(os.environ["SIDEPOND_BUILD_DIR"]) / "bin/resp_answer"
RANDOM_STREAMS = 1500
LINE_MAX = 65536

ARRAY_HEADS = [b"*", b"*\r\n", b"*x\r\n", b"*+1\r\n", b"*01\r\n", b"*-0\r\n", b"* 1\r\n", b"*1 \r\n",
               b"*0\r\n", b"*-1\r\n", b"*-9223372036854775808\r\n", b"*-9223372036854775809\r\n",
               b"*2147483647\r\n", b"*2147483648\r\n", b"*9223372036854775808\r\n",
               b"*99999999999999999999999\r\n", b"*1\n", b"*1\r", b"*1\rx", b"*1\0\r\n", b"*\0001\r\n",
               b"*1x\r\n", b"*--1\r\n", b"*-\r\n"]
BULK_HEADS = [b"$", b"$\r\n", b"$x\r\n", b"$-1\r\n", b"$-0\r\n", b"$00\r\n", b"$04\r\nPING\r\n",
              b"$+4\r\nPING\r\n", b"$4 \r\nPING\r\n", b"$536870913\r\n", b"$9223372036854775808\r\n",
              b"PING\r\n", b"\r\n", b"\n\r\n", b"*1\r\n", b"'\r\n", b"\xff\r\n", b"\0\r\n", b"x", b"x\r",
              b"$4\0\r\nPING\r\n", b"$4\rxPINGyz", b"$4\r\nPING", b"$4\r\nPING\r", b"$0\r\n\r\n", b"$4\n"]
LINES = [b"", b"\r\n", b"\n", b" \t\v\f\r\n", b"PING", b"PING\n", b"PING\r\n", b"  ping \r\n",
         b"PING\0\r\n", b"PI\0NG\r\nPING\r\n", b"\0PING\r\n", b"PING\rx\r\n", b"echo \xff\x80\n",
         b"PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", b"ECHO\vx\n", b"nonsense\n"]
WORDS = [b"\"a b\"", b"'a b'", b"\"", b"'", b"\"a\"b", b"'a'b", b"\"a\"'b'", b"a\"b c\"", b"a'b c'",
         b"a\"b\"c", b"\"\\n\\r\\t\\b\\a\\\\\\\"\\q\\v\"", b"\"\\x41\\xfF\\x00\\xg1\\x4\"", b"\"\\x4", b"\"\\",
         b"\"\\\"", b"'\\'\\n\\\\\"'", b"'\\'", b"\"\" ''", b"\\n \\x41", b"\"a\"\v\"b\"", b"a\vb", b"a\rb",
         b"'a'\rb", b"\"a\r\"", b"\"\\\r\""]
LONG = [b"x" * LINE_MAX + b"\n", b"x" * (LINE_MAX + 1), b"x" * LINE_MAX, b"\0" * (LINE_MAX + 1),
        b"*" + b"1" * LINE_MAX, b"*" + b"1" * (LINE_MAX - 1), b"*1\0\r\n" + b"1" * (LINE_MAX - 4),
        b"*1\r\n$" + b"1" * LINE_MAX, b"*1\r\n" + b"x" * (LINE_MAX + 1), b"*1\r\n$" + b"1" * (LINE_MAX - 1),
        b"*1\r\n$" + b"1" * 60000 + b"\r\n"]


def bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


def array(*values):
    return b"*%d\r\n" % len(values) + b"".join(map(bulk, values))


def shown(*values):
    """A request whose answer is its arguments."""
    return array(b"EVAL", b"return ARGV", b"0", *values)


def streams_by_hand():
    yield from ARRAY_HEADS
    yield from (array(b"PING") + head + array(b"PING") for head in ARRAY_HEADS)
    yield from (b"*1\r\n" + head for head in BULK_HEADS)
    yield from (b"*2\r\n$4\r\nECHO\r\n" + head for head in BULK_HEADS)
    yield from LINES
    yield from (b"EVAL 'return ARGV' 0 " + word + b"\n" for word in WORDS)
    yield from (b"EVAL 'return ARGV' 0 x " + word + b" y\r\n" + array(b"PING") for word in WORDS)
    yield from LONG
    yield shown(*(b"%d" % i for i in range(2000)))
    yield array(b"ECHO", b"v" * 1000) + array(b"ECHO", b"w" * 40000) + b"ping\n"


def some_bytes(rng):
    letters = rng.choice([b"abc", b"\r\n$*1", bytes(range(256)), b" \"'\\x4\t\v"])
    return bytes(rng.choice(letters) for _ in range(rng.randrange(12)))


def damaged(rng, stream):
    """With one to three small changes."""
    stream = bytearray(stream)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(stream) + 1)
        how = rng.randrange(4)
        if how == 0:
            del stream[at:at + rng.randint(1, 4)]
        elif how == 1:
            stream[at:at] = some_bytes(rng)
        elif how == 2:
            stream[at:at + 1] = bytes([rng.choice(b"\r\n\0$*-019 x\"'")])
        else:
            del stream[at:]
    return bytes(stream)


def random_stream(rng):
    kind = rng.randrange(4)
    if kind == 0:
        return b"".join(shown(*(some_bytes(rng) for _ in range(rng.randrange(5)))) for _ in range(3))
    if kind == 1:
        words = some_bytes(rng) + b" " + some_bytes(rng)
        return b"EVAL 'return ARGV' 0 " + words.replace(b"\n", b" ") + b"\r\n" + array(b"PING")
    if kind == 2:
        return array(b"PING") + damaged(rng, array(b"ECHO", some_bytes(rng)) + b"echo x\r\n")
    return damaged(rng, array(b"PING") + array(b"ECHO", b"0123456789") + array(b"PING", b"x"))


def plain(answer):
    """What Redis says of a command that it does not know, or not so, is not compared."""
    return re.sub(rb"(^|(?<=\r\n))-ERR (?!Protocol error)[^\r\n]*", b"-ERR other", answer)


class Redis:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sidepond-resp-")
        self.path = os.path.join(self.directory, "s")
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "", "--dir",
             self.directory], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.listens():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError("redis-server did not start")
            time.sleep(0.01)

    def listens(self):
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(self.path) == 0

    def answer(self, stream):
        chunks = []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            try:
                connection.sendall(stream)
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65536):
                    chunks.append(chunk)
            except (BrokenPipeError, ConnectionResetError):  # after an error it closes
                pass
        return b"".join(chunks)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.directory)


def our_answers(streams):
    framed = b"".join(struct.pack("<I", len(s)) + s for s in streams)
    output = subprocess.run([ANSWER], input=framed, capture_output=True, check=True, timeout=60).stdout
    answers, at = [], 0
    while at < len(output):
        size, = struct.unpack_from("<I", output, at)
        answers.append(output[at + 4:at + 4 + size])
        at += 4 + size
    return answers


class ProtocolTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.addClassCleanup(cls.redis.stop)

    def compare(self, streams):
        ours = our_answers(streams)
        self.assertEqual(len(ours), len(streams))
        for stream, answer in zip(streams, ours):
            self.assertEqual(plain(self.redis.answer(stream)), plain(answer), stream[:300])

    def test_by_hand(self):
        self.compare(list(streams_by_hand()))

    def test_random(self):
        seed = int(os.environ.get("SIDEPOND_SEED", time.time_ns() % 2**32))
        print(f"SIDEPOND_SEED={seed}", flush=True)
        rng = random.Random(seed)
        self.compare([random_stream(rng) for _ in range(RANDOM_STREAMS)])


if __name__ == "__main__":
    if not shutil.which("redis-server"):
        print("redis-server is not installed")
        sys.exit(77)
    unittest.main(verbosity=2)
