# SPDX-License-Identifier: Apache-2.0
"""resp_wire.py - RESP2 and RESP3 as bytes: a writer of requests, a reader of replies, a connection.

A reply is a pair of its type byte and its content, so that two replies are equal only if they were
so on the wire: ("$", b"1") is not (":", 1). Content: bytes for + - $ , ( and =, an int for :, a
bool for #, None for every null, a list for * ~ and >, a list of pairs for %. The reader takes
nothing for granted: what is no reply raises Malformed.
"""
import socket

REPLY_SECONDS = 10
LINE_MAX = 1 << 20


class Malformed(Exception):
    """The server has sent what is no reply."""


class Closed(Exception):
    """The server has closed the connection."""


def as_bytes(argument):
    return argument if isinstance(argument, bytes) else str(argument).encode()


def request(arguments):
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in map(as_bytes, arguments):
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)


def text(reply):
    """One line for a human."""
    kind, content = reply
    if content is None:
        return f"{kind} null"
    if kind == "%":
        return "%{" + ", ".join(f"{text(k)}: {text(v)}" for k, v in content) + "}"
    if isinstance(content, list):
        return kind + "[" + ", ".join(map(text, content)) + "]"
    if isinstance(content, bytes):
        shown = repr(content)[1:]
        return f"{kind} {shown}" if len(shown) < 200 else f"{kind} {shown[:200]}... ({len(content)})"
    return f"{kind} {content}"


class Connection:
    """To ("127.0.0.1", port), or to the path of a Unix socket."""

    def __init__(self, address, seconds=REPLY_SECONDS):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(seconds)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.buffer = b""
        self.at = 0

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def command(self, *arguments):
        self.send(request(arguments))
        return self.read()

    def read_to_end(self):
        """All replies until the server closes."""
        replies = []
        while True:
            try:
                replies.append(self.read())
            except Closed:
                return replies

    def _more(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError as error:
            raise Closed from error
        if not data:
            raise Closed
        self.buffer = self.buffer[self.at:] + data
        self.at = 0

    def _line(self):
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                line = self.buffer[self.at:end]
                self.at = end + 2
                return line
            if len(self.buffer) - self.at > LINE_MAX:
                raise Malformed("a line without an end")
            self._more()

    def _bytes(self, size):
        while len(self.buffer) - self.at < size + 2:
            self._more()
        content = self.buffer[self.at:self.at + size]
        if self.buffer[self.at + size:self.at + size + 2] != b"\r\n":
            raise Malformed("a string is not followed by a line's end")
        self.at += size + 2
        return content

    def _aggregate(self, kind, size):
        if kind == "%":
            return [(self.read(), self.read()) for _ in range(size)]
        return [self.read() for _ in range(size)]

    def read(self):
        line = self._line()
        kind, rest = line[:1].decode("latin-1"), line[1:]
        try:
            if kind in "+-,(" and kind:
                return kind, rest
            if kind == ":":
                return kind, int(rest)
            if kind == "_" and rest == b"":
                return kind, None
            if kind == "#" and rest in (b"t", b"f"):
                return kind, rest == b"t"
            size = int(rest) if kind and kind in "$=*~>%" else None
        except ValueError as error:
            raise Malformed(repr(line)) from error
        if size is None or size < -1:
            raise Malformed(repr(line))
        if size == -1:
            return kind, None
        if kind in "$=":
            return kind, self._bytes(size)
        return kind, self._aggregate(kind, size)
