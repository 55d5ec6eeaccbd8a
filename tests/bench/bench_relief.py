#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_relief.py - how many queries a database is spared.

Method. Eight processes read rows drawn at random from a table of 1,000, as fast as they can: first
from PostgreSQL, each over a connection of its own with a prepared statement, then from the pond of a
daemon that follows it. Meanwhile another process changes ten rows a second, and the pond has them.
Queries are counted by the database itself (pg_stat_statements, those of the process that changes
rows and our own left out), so what the daemon asks is among them. tests/system/relief.py is the same
of a web application.

Options: --json, --quick (seconds, not to be quoted).
"""
import sys
import threading
import time

import feed_bench
from bench_result import finish
from feed_bench import following, pg_server, probe, row, start, wait_for

WORKERS = 8
QUERIES = ("select coalesce(sum(calls), 0) from pg_stat_statements s join pg_roles r on r.oid = s.userid"
           " where r.rolname in ('reader', 'follower')")


class Changes:
    """Ten rows a second."""

    def __init__(self, pg):
        self.pg, self.going = pg, threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.going.wait(1):
            self.pg.psql("update item set n = n + 1 where id in"
                         " (select (random() * 999)::int from generate_series(1, 10))")

    def end(self):
        self.going.set()
        self.thread.join()


def counted(pg, *work):
    """Queries that the database sees in a second meanwhile, and what the work says."""
    before, begun = int(pg.psql(QUERIES)), time.monotonic()
    said = probe(*work)[0]
    return (int(pg.psql(QUERIES)) - before) / (time.monotonic() - begun), said


def main():
    seconds = 2 if "--quick" in sys.argv else 20
    pg = feed_bench.server(1000)
    pg.psql("create role reader login; grant select on item to reader")
    changes = Changes(pg)
    try:
        with feed_bench.daemon(pg) as daemon:
            before, asked = counted(pg, "ask", pg.dsn(user="reader"), WORKERS, seconds)
            start(daemon)
            wait_for(lambda: following(daemon), "it follows")
            after, read = counted(pg, "read", daemon.pond, WORKERS, seconds)
            changes.end()
            pg.psql("update marker set n = 7")
            probe("await", daemon.pond, 7)
    finally:
        changes.end()
        pg.remove()
    result = [
        row("queries a second: with the pond, beside without", after, "queries/s", 1 / 1000, False, before),
        row("reads a second: with the pond, beside without", read, "reads/s", None, True, asked),
    ]
    return finish("relief", result, "--json" in sys.argv)


if __name__ == "__main__":
    sys.exit(main() if pg_server.Server.available() else 77)
