#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""relief.py [--seconds N] [--rounds N] [--json] - what a database is spared.

Goal: eight forked Python processes that serve the same requests, with and without Sidepond: how many
requests they answer in a second, and how many queries PostgreSQL sees.
Method: a PostgreSQL server of our own has a table of 100,000 customers, of which a process changes a
hundred twice a second. A Tornado API is forked into eight processes that share a port; a request
names a customer and gets its row as JSON. "Without" each process asks the database, over a
connection of its own, with a prepared statement; "with" it reads the pond that sidepondd keeps
(refresh: notified, by watermark, at most once a second). Sixteen clients, each a process with one
connection, ask for customers drawn at random, as fast as they are answered. The two take turns, and
the median of the turns counts. Queries are what pg_stat_statements has counted, those of the process
that changes rows and our own left out. Both must give the same answers, and with Sidepond the
database must see less than one query in a hundred requests; else this fails.

Exit status 77: PostgreSQL, Tornado or psycopg2 is not installed.
"""
import argparse
import fcntl
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pg_server
import python_package

CUSTOMERS = 100_000
WORKERS = 8
CLIENTS = 16
SCHEMA = f"""
create extension pg_stat_statements;
create sequence changes;
create table customers (id int primary key, name text not null, email text not null,
  plan text not null, credit numeric(10,2) not null, changed bigint not null default 0);
insert into customers (id, name, email, plan, credit)
  select i, 'Customer ' || i, 'c' || i || '@example.org', (array['free','team','firm'])[i % 3 + 1],
         i % 1000 / 4.0 from generate_series(0, {CUSTOMERS - 1}) i;
create index on customers (changed);
create role web login; create role feeder login; create role writer login superuser;
grant select on customers to web, feeder;
vacuum analyze customers;
"""
CHANGE = f"""begin;
update customers set credit = credit + 1, changed = nextval('changes')
  where id in (select (random() * {CUSTOMERS - 1})::int from generate_series(1, 100));
notify sidepond_customers;
commit;"""
CONFIG = """
pond: relief
directory: {directory}/pond
memory: 128MiB
log: {{level: warning}}
sources: [{{name: shop, type: postgresql, dsn: "{dsn}"}}]
tables:
  - name: customers
    source: shop
    key: [id]
    refresh: {{mode: notified, every: 1s, watermark: changed, overlap: 1000}}
"""
COLUMNS = ("id", "name", "email", "plan", "credit", "changed")


# --- what runs in the virtual environment: workers, clients, the process that changes rows ---


def end_with_parent():
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def spawn(function, *arguments):
    """Forks; the child ends with the function."""
    pid = os.fork()
    if pid == 0:
        end_with_parent()
        try:
            function(*arguments)
        finally:
            os._exit(0)
    return pid


def end(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


def from_database(dsn):
    import psycopg2
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("prepare one (int) as select id, name, email, plan, credit::text, changed "
                   "from customers where id = $1")

    def answer(key):
        cursor.execute("execute one (%s)", (int(key),))
        return json.dumps(dict(zip(COLUMNS, cursor.fetchone())))
    return answer


def from_pond(pond):
    customers = pond["customers"]

    def answer(key):
        return customers[int(key)].json()
    return answer


def work(sockets, make_answer, source):
    """One process of the API."""
    import asyncio
    import tornado.httpserver
    import tornado.web
    answer = make_answer(source)

    class Customer(tornado.web.RequestHandler):
        def get(self, key):
            self.set_header("Content-Type", "application/json")
            self.finish(answer(key))

    async def serve():
        application = tornado.web.Application([(r"/customers/(\d+)", Customer)])
        tornado.httpserver.HTTPServer(application).add_sockets(sockets)
        await asyncio.Event().wait()
    asyncio.run(serve())


def ask(connection, key):
    connection.sendall(b"GET /customers/%d HTTP/1.1\r\nHost: relief\r\n\r\n" % key)
    got = connection.recv(65536)
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < size:
        body += connection.recv(65536)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    return body


def ask_on(port, seed, out):
    """A client: asks until it is ended, and writes a byte for each answer."""
    draw = random.Random(seed)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while True:
            ask(connection, draw.randrange(CUSTOMERS))
            os.write(out, b".")


def change_on(dsn):
    import psycopg2
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    while True:
        connection.cursor().execute(CHANGE)
        time.sleep(0.5)


# --- measuring ---


class Database:
    """Looks at the database's own counters."""

    def __init__(self, dsn):
        import psycopg2
        self.connection = psycopg2.connect(dsn)
        self.connection.autocommit = True

    def queries(self):
        cursor = self.connection.cursor()
        cursor.execute("select coalesce(sum(calls), 0) from pg_stat_statements s join pg_roles r "
                       "on r.oid = s.userid where r.rolname in ('web', 'feeder') and s.toplevel")
        return int(cursor.fetchone()[0])


def counters(database, pond):
    """Queries of the workers and of sidepondd, and commits of the pond."""
    return {"queries": database.queries(), "commits": pond.version}


def drain(pipe):
    """How many bytes are waiting."""
    count = 0
    try:
        while got := os.read(pipe, 1 << 16):
            count += len(got)
    except BlockingIOError:
        pass
    return count


def check_answer(port, database):
    """The row as the database has it; the refresh may be on its way."""
    cursor = database.connection.cursor()
    deadline = time.monotonic() + 10
    while True:
        cursor.execute("select credit, changed from customers where id = 42")
        credit, changed = cursor.fetchone()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            row = json.loads(ask(connection, 42))
        if (float(row["credit"]), row["changed"]) == (float(credit), changed):
            return
        if time.monotonic() > deadline:
            sys.exit(f"the answer is {row}, the database has {credit}, {changed}")
        time.sleep(0.05)


def turn(make_answer, source, database, pond, seconds):
    """What happens in a second."""
    import tornado.netutil
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    port = sockets[0].getsockname()[1]
    pipe, out = os.pipe()
    os.set_blocking(pipe, False)
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    pids = [spawn(work, sockets, make_answer, source) for _ in range(WORKERS)]
    try:
        check_answer(port, database)
        pids += [spawn(ask_on, port, seed, out) for seed in range(CLIENTS)]
        time.sleep(1)  # connections are made and caches warm: not part of the measurement
        drain(pipe)
        before, start, requests = counters(database, pond), time.monotonic(), 0
        while time.monotonic() < start + seconds:
            time.sleep(0.01)
            requests += drain(pipe)
        after, elapsed = counters(database, pond), time.monotonic() - start
        requests += drain(pipe)
    finally:
        end(pids)
        os.close(pipe)
        os.close(out)
        for one in sockets:
            one.close()
    return {"requests": requests / elapsed,
            **{name: (after[name] - before[name]) / elapsed for name in before}}


def measure(dsn, directory, seconds, rounds):
    import sidepond
    pond = sidepond.open(f"{directory}/pond", wait=30)
    database = Database(dsn)
    writer = spawn(change_on, dsn.replace("user=postgres", "user=writer"))
    results = {"without": [], "with": []}
    for number in range(rounds):
        results["without"].append(
            turn(from_database, dsn.replace("user=postgres", "user=web"), database, pond, seconds))
        results["with"].append(turn(from_pond, pond, database, pond, seconds))
        for way in results:
            one = results[way][-1]
            print(f"round {number + 1}, {way} Sidepond: {one['requests']:.0f} requests/s, "
                  f"{one['queries']:.1f} queries/s, {one['commits']:.1f} commits of the pond/s",
                  file=sys.stderr, flush=True)
    end([writer])
    return {way: {what: statistics.median(one[what] for one in ones)
                  for what in ("requests", "queries", "commits")} for way, ones in results.items()}


# --- around it ---


def run(seconds, rounds):
    tree = Path(os.environ.get("SIDEPOND_SOURCE_DIR", Path(__file__).resolve().parents[2]))
    build = Path(os.environ.get("SIDEPOND_BUILD_DIR", tree / "build/release"))
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    with tempfile.TemporaryDirectory(prefix="sidepond-relief.") as directory, \
            pg_server.Server(settings=settings) as pg:
        python = python_package.install(Path(directory), tree)
        pg.psql(SCHEMA)
        config = Path(directory) / "sidepondd.yaml"
        config.write_text(CONFIG.format(directory=directory, dsn=pg.dsn(user="feeder")))
        with subprocess.Popen([build / "bin/sidepondd", config], preexec_fn=end_with_parent) as daemon:
            try:
                done = subprocess.run([python, __file__, "--measure", pg.dsn(), directory,
                                       str(seconds), str(rounds)], stdout=subprocess.PIPE, text=True, check=True)
            finally:
                daemon.terminate()
    return json.loads(done.stdout)


def report(result):
    for way in ("without", "with"):
        one = result[way]
        print(f"{way + ' Sidepond':17} {one['requests']:9.0f} requests/s "
              f"{one['queries']:9.1f} queries/s seen by the database "
              f"{one['commits']:5.1f} commits of the pond/s")


def main():
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:4], float(sys.argv[4]), int(sys.argv[5]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="of two turns")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        for module in ("tornado", "psycopg2"):
            __import__(module)
    except ImportError as error:
        print(f"skipped: {error}")
        return 77
    if not pg_server.Server.available():
        print("skipped: PostgreSQL is not installed")
        return 77
    result = run(arguments.seconds, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
    else:
        report(result)
    return 0 if result["with"]["queries"] * 100 < result["with"]["requests"] else 1


if __name__ == "__main__":
    sys.exit(main())
