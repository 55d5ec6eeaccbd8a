# SPDX-License-Identifier: Apache-2.0
"""mongo_wire.py - MongoDB's wire protocol, for servers that are written in Python (mongo_script.py,
mongo_model.py) and for who gives them orders. One command at a time for each connection.

    with mongo_wire.Listener(port, answer) as listener:    # answer(command) -> reply
        listener.cut()                                     # all connections are lost
    mongo_wire.Client(port).ask({"ping": 1})               # -> reply; OSError: the connection is lost
"""
import socket
import socketserver
import struct
import threading

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013


class Refused(Exception):
    """A command fails with this code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def message(reply, request, opcode):
    """A whole message of a document."""
    head = struct.pack("<iqii", 0, 0, 0, 1) if opcode == OP_REPLY else struct.pack("<iB", 0, 0)
    body = head + bson.encode(reply)
    return struct.pack("<iiii", 16 + len(body), 0, request, opcode) + body


def serve(sock, answer):
    """Until the connection ends."""
    file = sock.makefile("rb")
    while header := file.read(16):
        size, request, _, opcode = struct.unpack("<iiii", header)
        body = file.read(size - 16)
        if opcode == OP_QUERY:
            command, kind = bson.decode(body[body.index(b"\0", 4) + 9:]), OP_REPLY
        else:
            command, kind = bson.decode(body[5:]), OP_MSG
        sock.sendall(message(answer(command), request, kind))


class Listener:
    """A port, with a thread for each connection."""

    def __init__(self, port, answer):
        self.port, self.answer = port, answer
        self.connections = set()
        self.server = None

    def __enter__(self):
        listener = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                listener.connections.add(self.request)
                try:
                    serve(self.request, listener.answer)
                except (OSError, struct.error, bson.errors.InvalidBSON):  # cut off in the middle
                    pass
                finally:
                    listener.connections.discard(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()
        return self

    def cut(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.cut()


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")

    def ask(self, command):
        self.socket.sendall(message(command, 1, OP_MSG))
        header = self.file.read(16)
        if len(header) < 16:
            raise ConnectionResetError("the connection is lost")
        body = self.file.read(struct.unpack("<i", header[:4])[0] - 16)
        return bson.decode(body[5:])

    def close(self):
        self.file.close()
        self.socket.close()
