#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_feed.py - how far a pond that follows PostgreSQL or MariaDB is behind it, and how much it
bears.

Method. Server, daemon and readers are on one machine.

Latency: one connection writes 1,000 small transactions a second, each of which updates one row; a
reader waits for each of them in shared memory. The time is from before the statement is sent, so
the database's own commit is in it, until the reader has the row. The two databases sync to disk or
not as their test servers do (MariaDB does not), so they are not compared.

Rate: the daemon is stopped, the rows of a table are changed in transactions of 100, and the daemon
started again; the time is from then until a reader has the last of them, the start of the process
included. That is of PostgreSQL only. The peer gets the same changes from a slot of its own and does nothing with them:
pg_recvlogical into /dev/null. They take turns, and the median of the rounds counts.

Options: --json, --quick (seconds, not to be quoted).
"""
import statistics
import subprocess
import sys
import time

import feed_bench
from bench_result import finish
from feed_bench import following, pg_server, probe, row, start, wait_for

RATE = 1000
ROUNDS = 3
LEAST_OF_PEER = 0.7  # of what the server can send: below that it would be us who are slow


def note(text):
    print(f"feed: {text}", file=sys.stderr, flush=True)


def change(pg, rows, turn):
    """All rows, in transactions of 100; then the marker."""
    pg.psql(f"""
        do $$ begin for i in 0 .. {rows} / 100 - 1 loop
            update item set n = n + 1, b = b + 1, c = now() where id between i * 100 and i * 100 + 99;
            commit;
        end loop; end $$;
        update marker set n = {turn};""")


def receive(pg):
    """Seconds that pg_recvlogical takes for what its slot has."""
    end = pg.psql("select pg_current_wal_insert_lsn()")
    begun = time.monotonic()
    subprocess.run(
        [pg_server.bin_dir() + "/pg_recvlogical", "-d", pg.dsn(), "--slot", "peer", "--start",
         "-f", "/dev/null", "--fsync-interval", "0", "--endpos", end, "-o", "proto_version=1",
         "-o", "publication_names=sidepond"], check=True, stdin=subprocess.DEVNULL)
    return time.monotonic() - begun


def measure_rate(pg, daemon, rows, rounds):
    ours, peer = [], []
    pg.psql("select pg_create_logical_replication_slot('peer', 'pgoutput')")
    for turn in range(1, rounds + 1):
        daemon.stop()
        change(pg, rows, turn)
        peer.append(rows / receive(pg))
        begun = time.monotonic()
        start(daemon)
        ours.append(rows / (probe("await", daemon.pond, turn)[0] - begun))
        note(f"{ours[-1]:.0f} rows/s, received {peer[-1]:.0f}")
        wait_for(lambda: following(daemon), "it follows")
    pg.psql("select pg_drop_replication_slot('peer')")
    return statistics.median(ours), statistics.median(peer)


def measure_latency(daemon, kind, where, write, rounds, count):
    """`write` runs a statement; median, p99 and slowest in ms of each round."""
    turns = []
    start(daemon)
    wait_for(lambda: following(daemon), "it follows")
    for turn in range(rounds + 1):
        figures = probe(kind, daemon.pond, where, count if turn else 500, RATE)
        if turn:  # once to warm up
            turns.append([figure / 1000 for figure in figures])
            note("median %.3f ms, p99 %.3f ms, slowest %.3f ms" % tuple(turns[-1]))
        write("update item set n = 0 where id < 1000")
        write(f"update marker set n = {-1 - turn}")
        probe("await", daemon.pond, -1 - turn)
    return turns


def latency_rows(name, turns, quick):
    what = f"{name}: commit to shared memory, "
    return [
        row(what + "median", statistics.median(t[0] for t in turns), "ms", 1000 if quick else 5),
        row(what + "p99", statistics.median(t[1] for t in turns), "ms", 10000 if quick else 50),
        row(what + "slowest", max(t[2] for t in turns), "ms"),
    ]


def measure_postgresql(rows, rounds, count):
    pg = feed_bench.server(rows)
    try:
        with feed_bench.daemon(pg) as daemon:
            turns = measure_latency(daemon, "latency", pg.dsn(), pg.psql, rounds, count)
            return turns, measure_rate(pg, daemon, rows, rounds)
    finally:
        pg.remove()


def measure_mariadb(rows, rounds, count):
    db = feed_bench.maria_server(rows)
    try:
        with feed_bench.maria_daemon(db) as daemon:
            return measure_latency(daemon, "maria", db.socket, db.sql, rounds, count)
    finally:
        db.remove()


def main():
    quick = "--quick" in sys.argv
    rows, rounds, count = (20_000, 1, 1000) if quick else (300_000, ROUNDS, 10_000)
    result = []
    if feed_bench.mariadb_server.Server.available():
        turns = measure_mariadb(rows, rounds, count)
        result += latency_rows("MariaDB", turns, quick)
    if pg_server.Server.available():
        turns, (ours, peer) = measure_postgresql(rows, rounds, count)
        result += latency_rows("PostgreSQL", turns, quick)
        result += [
            row("PostgreSQL: changed rows a second", ours, "rows/s", 1 if quick else 50_000, True),
            row("PostgreSQL: changed rows a second, beside only receiving them", ours, "rows/s",
                0 if quick else LEAST_OF_PEER, True, peer),
        ]
    if not result:
        return 77
    return finish("feed", result, "--json" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
