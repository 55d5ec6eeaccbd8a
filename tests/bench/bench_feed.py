#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_feed.py - how far a pond that follows PostgreSQL is behind it, and how much it bears.

Method. Server, daemon and readers are on one machine.

Latency: one connection writes 1,000 small transactions a second, each of which updates one row; a
reader waits for each of them in shared memory. The time is from before the statement is sent, so
PostgreSQL's own commit is in it, until the reader has the row.

Rate: the daemon is stopped, the rows of a table are changed in transactions of 100, and the daemon
started again; the time is from then until a reader has the last of them, the start of the process
included. The peer gets the same changes from a slot of its own and does nothing with them:
pg_recvlogical into /dev/null. They take turns, and the median of the rounds counts.

Options: --json, --quick (seconds, not to be quoted).
"""
import json
import statistics
import subprocess
import sys
import time

import feed_bench
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


def main():
    quick = "--quick" in sys.argv
    rows, rounds, count = (20_000, 1, 1000) if quick else (300_000, ROUNDS, 10_000)
    pg = feed_bench.server(rows)
    try:
        with feed_bench.daemon(pg) as daemon:
            start(daemon)
            wait_for(lambda: following(daemon), "it follows")
            probe("latency", daemon.pond, pg.dsn(), 500, RATE)  # once to warm up
            pg.psql("update item set n = 0 where id < 1000; update marker set n = -1")
            probe("await", daemon.pond, -1)
            turns = []
            for _ in range(rounds):
                turns.append(probe("latency", daemon.pond, pg.dsn(), count, RATE))
                note("median %.0f us, p99 %.0f us, slowest %.0f us" % tuple(turns[-1]))
                pg.psql("update item set n = 0 where id < 1000; update marker set n = n - 1")
                probe("await", daemon.pond, -1 - len(turns))
            ours, peer = measure_rate(pg, daemon, rows, rounds)
    finally:
        pg.remove()
    rate_least = 1 if quick else 50_000
    result = [
        row("PostgreSQL: commit to shared memory, median", statistics.median(t[0] for t in turns) / 1000,
            "ms", 5 if not quick else 1000),
        row("PostgreSQL: commit to shared memory, p99", statistics.median(t[1] for t in turns) / 1000,
            "ms", 50 if not quick else 10000),
        row("PostgreSQL: commit to shared memory, slowest", max(t[2] for t in turns) / 1000, "ms"),
        row("PostgreSQL: changed rows a second", ours, "rows/s", rate_least, True),
        row("PostgreSQL: changed rows a second, beside only receiving them", ours, "rows/s",
            0 if quick else LEAST_OF_PEER, True, peer),
    ]
    if "--json" in sys.argv:
        print(json.dumps({"bench": "feed", "rows": result}))
    else:
        for line in result:
            print(line)
    return 0 if all(line["ok"] for line in result) else 1


if __name__ == "__main__":
    sys.exit(main() if pg_server.Server.available() else 77)
