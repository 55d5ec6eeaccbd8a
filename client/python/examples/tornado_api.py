#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A JSON API over a pond: Tornado, eight forked processes, no query to the database.

    python3 tornado_api.py --pond main --port 8888 --processes 8
    curl http://127.0.0.1:8888/                   tables, rows, ages
    curl http://127.0.0.1:8888/users/42           one row
    curl http://127.0.0.1:8888/users?city=berlin  rows by the index on that column

The pond is opened once, before the fork; every process then reads the same shared memory. A table
whose data is older than its max_stale says so in a header.
"""
import argparse
import asyncio
import os
import signal

import sidepond
import tornado.httpserver
import tornado.netutil
import tornado.process
import tornado.web


class Base(tornado.web.RequestHandler):
    def initialize(self, pond):
        self.pond = pond

    def table(self, name):
        table = self.pond.get(name)
        if table is None:
            raise tornado.web.HTTPError(404, reason=f"no table {name}")
        if table.stale:
            self.set_header("Warning", f'110 - "data is {table.age:.0f} s old"')
        self.set_header("Content-Type", "application/json")
        return table


class Tables(Base):
    def get(self):
        self.write({"version": self.pond.version,
                    "tables": {name: {"rows": len(table), "age": table.age}
                               for name, table in self.pond.items()}})


class Row(Base):
    def get(self, name, key):
        table = self.table(name)
        parts = tuple(key.split("/"))  # text converts to the type of each key column
        try:
            row = table.get(parts if len(parts) > 1 else parts[0])
        except TypeError as error:
            raise tornado.web.HTTPError(400, reason="this is no key of the table") from error
        if row is None:
            raise tornado.web.HTTPError(404, reason="no such row")
        self.finish(row.json())


class Rows(Base):
    """Rows that an index of one column finds, of one version."""

    def get(self, name):
        if len(self.request.arguments) != 1:
            raise tornado.web.HTTPError(400, reason="give one column and its value")
        column = next(iter(self.request.arguments))
        value = self.get_query_argument(column)
        with self.pond.snapshot() as snapshot:
            self.table(name)
            rows = self.find(snapshot[name], column, value)
            self.finish("[" + ",\n".join(row.json() for row in rows) + "]\n")

    @staticmethod
    def find(table, column, value):
        for index in table.schema.indexes:
            if index.columns == (column,):
                found = table.by(index.name).get(value, [])
                return [found] if isinstance(found, sidepond.Row) else found
        raise tornado.web.HTTPError(400, reason=f"no index on {column}")


def application(pond):
    options = {"pond": pond}
    return tornado.web.Application([
        (r"/", Tables, options),
        (r"/(\w+)", Rows, options),
        (r"/(\w+)/(.+)", Row, options),
    ])


def end_together():
    """SIGTERM to the first process ends all of them; without this the others would go on."""
    if os.getpgrp() != os.getpid():
        os.setpgrp()

    def end(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.killpg(0, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


async def serve(sockets, pond):
    server = tornado.httpserver.HTTPServer(application(pond))
    server.add_sockets(sockets)
    await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pond", default=None, help="name or directory (default: main)")
    parser.add_argument("--port", type=int, default=8888)
    parser.add_argument("--processes", type=int, default=8)
    arguments = parser.parse_args()
    pond = sidepond.open(arguments.pond, wait=30)
    sockets = tornado.netutil.bind_sockets(arguments.port, "127.0.0.1")
    for socket in sockets:
        print(f"http://127.0.0.1:{socket.getsockname()[1]}/", flush=True)
    end_together()
    tornado.process.fork_processes(arguments.processes, max_restarts=100)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(serve(sockets, pond))


if __name__ == "__main__":
    main()
