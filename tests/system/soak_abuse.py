# SPDX-License-Identifier: Apache-2.0
"""soak_abuse.py - what clients do to a server that they should not: connections that come in
numbers, say half of something, do not read, or are torn off; by the Redis protocol, TLS and HTTP.

Each action opens what it needs and has closed it when it returns. ACTIONS has their weights.
"""
import socket
import ssl
import struct
import urllib.request

from resp_wire import Closed, Connection, request

REPLY_SECONDS = 10
HUGE_BYTES = 200_000


def hang_up(connection):
    """The other side gets a reset, and what it has sent is thrown away."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave(load, connection):
    if load.rng.random() < 0.5:
        hang_up(connection)
    else:
        connection.close()


def metric(load, name):
    """The sum of a metric's samples."""
    with urllib.request.urlopen(f"http://127.0.0.1:{load.places['http']}/metrics",
                                timeout=REPLY_SECONDS) as answer:
        lines = answer.read().decode().split("\n")
    return sum(float(line.split(" ")[-1]) for line in lines
               if line.startswith((name + " ", name + "{")))


def crowds(load):
    connections = [load.connect() for _ in range(load.rng.randrange(1, 30))]
    for connection in connections:
        load.check(connection.command("PING") == ("+", b"PONG"), "PING")
    for connection in connections:
        leave(load, connection)


HALVES = [b"*3\r\n$3\r\nSET\r\n$5\r\nab", b"*1000000\r\n$3\r\nDEL\r\n", b"*2\r\n$3\r\nGET\r\n$", b"PIN",
          b"*2\r\n$4\r\nECHO\r\n$50000000\r\n" + b"x" * 30_000, b"*3\r\n" + b"$1\r\na\r\n" * 2,
          request(["MULTI"]) + request(["SET", "never", "x" * 5000]) * 20,
          request(["WATCH", "key:1", "key:2"]), request(["HELLO", "3"]) + request(["BRPOP"])[:9],
          request(["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "key:"]),
          request(["SUBSCRIBE"] + [f"channel {n}" for n in range(100)]),
          request(["PSUBSCRIBE"] + [f"pattern {n}*" for n in range(100)]),
          request(["SIDEPOND", "LEASE", "abandoned", "5000"])]


def leaves_halfway(load):
    connection = load.connect()
    connection.send(load.rng.choice(HALVES))
    if load.rng.random() < 0.5:
        connection.send(load.rng.choice(HALVES))
    leave(load, connection)


def speaks_nonsense(load):
    """Is answered with an error, and the connection closed."""
    with load.connect() as connection:
        connection.send(load.rng.choice([b"*x\r\n", b"*2\r\n:1\r\n", b"*1\r\n$-5\r\n", b"\"open\r\n",
                                         b"*1\r\n$99999999999\r\n"]))
        replies = connection.read_to_end()
        load.check(replies and replies[-1][0] == "-", f"nonsense was answered with {replies}")


def does_not_read(load):
    """Asks for more than the server may keep for it: it is disconnected, or leaves before that."""
    connection = load.connect()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        connection.command("SET", "huge", "x" * HUGE_BYTES)
        for _ in range(load.rng.randrange(5, 60)):
            connection.send(request(["GET", "huge"]))
    except (Closed, OSError):
        load.counts["disconnected"] += 1
    leave(load, connection)


def torn_off(load):
    """With replies on their way, and some of them read."""
    connection = load.connect()
    connection.send(b"".join(request(["GET", load.key()]) for _ in range(200)))
    for _ in range(load.rng.randrange(100)):
        connection.read()
    leave(load, connection)


def is_nobody(load):
    with load.connect() as connection:
        connection.command("AUTH", "nobody", "wrong")
        connection.command("CLIENT", "SETNAME", "nobody")
        connection.command("NONSENSE", "x" * load.rng.randrange(300))
        connection.send(request(["QUIT"]))
        connection.read_to_end()


def encrypts(load):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Connection(("127.0.0.1", load.places["tls"])) as connection:
        connection.socket = context.wrap_socket(connection.socket)
        key = load.key()
        kind, value = connection.command("GET", key)
        load.check(kind != "-", value)
        load.check_value(key, value)
        connection.command("SET", key, load.value(key))
        if load.rng.random() < 0.5:
            connection.send(load.rng.choice(HALVES))
        leave(load, connection)


def shakes_half_a_hand(load):
    connection = Connection(("127.0.0.1", load.places["tls"]))
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + load.rng.randbytes(40)
    connection.send(load.rng.choice([hello, b"", load.rng.randbytes(100), request(["PING"])]))
    leave(load, connection)


GOOD = [b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /tables HTTP/1.1\r\nHost: x\r\n\r\n"]
BAD = [b"POST /tables/people HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab", b"\0\r\n"]


def asks_by_http(load):
    """Leaves before the request or the answer is whole, or is wrong. libmicrohttpd keeps some of these
    connections until they have been idle for too long, which is ten seconds."""
    http = Connection(("127.0.0.1", load.places["http"]))
    way = load.rng.choice(["half", "torn", "wrong"])
    http.send({"half": b"GET /met", "torn": load.rng.choice(GOOD), "wrong": load.rng.choice(BAD)}[way])
    if way == "torn":
        http.socket.recv(100)
    leave(load, http)


ACTIONS = {crowds: 2, leaves_halfway: 6, speaks_nonsense: 1, does_not_read: 0.3, torn_off: 2,
           is_nobody: 1, encrypts: 2, shakes_half_a_hand: 1, asks_by_http: 0.1}
