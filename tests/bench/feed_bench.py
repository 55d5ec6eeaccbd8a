# SPDX-License-Identifier: Apache-2.0
"""feed_bench.py - what bench_feed.py and bench_relief.py share: a PostgreSQL server that can be
followed, a sidepondd that does, and the probe (feed/feed_probe.c).
"""
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
# pylint: disable=wrong-import-position,unused-import
import daemon_kit
import mariadb_server
import pg_server
from daemon_kit import wait_for

PROBE = os.path.join(daemon_kit.BUILD, "bin", "feed_probe")
SETTINGS = {"wal_level": "logical", "shared_preload_libraries": "pg_stat_statements",
            "shared_buffers": "256MB", "max_wal_size": "8GB"}
SCHEMA = """
create extension pg_stat_statements;
create role follower login replication;
create table item (id int primary key, n bigint not null, a text not null, b int, c timestamptz);
create table marker (id int primary key, n bigint not null);
insert into item select i, 0, 'item ' || i || repeat('.', 80), i, now() from generate_series(0, {rows} - 1) i;
insert into marker values (1, 0);
create publication sidepond for table item, marker;
grant select on item, marker to follower;
vacuum analyze;
"""
TABLES = "".join(f"  - {{name: {name}, source: shop, key: [id], group: g, max_drop: 100%,"
                 " refresh: {mode: feed, every: 1s}}\n" for name in ("item", "marker"))


def server(rows):
    started = pg_server.Server(settings=SETTINGS)
    started.start()
    started.psql(SCHEMA.format(rows=rows))
    return started


def daemon(pg):
    dsn = pg.dsn(user="follower")
    return daemon_kit.Daemon(TABLES, f'  - {{name: shop, type: postgresql, dsn: "{dsn}", max_lag: 0B}}',
                             memory="512MiB")


def maria_server(rows):
    started = mariadb_server.Server(settings={"innodb-buffer-pool-size": "256M"})
    started.start()
    started.sql("create table item (id int primary key, n bigint not null, a text not null, b int,"
                " c timestamp)",
                "create table marker (id int primary key, n bigint not null)",
                "insert into item select seq, 0, concat('item ', seq, repeat('.', 80)), seq, now()"
                f" from seq_0_to_{rows - 1}",
                "insert into marker values (1, 0)")
    return started


def maria_daemon(db):
    return daemon_kit.Daemon(TABLES, f'  - {{name: shop, type: mariadb, dsn: "{db.uri()}"}}',
                             memory="512MiB")


def start(started):
    """Without waiting for all tables: whoever starts it looks at what it wants to see."""
    started.start(ready=False)


def following(started):
    try:
        feed = (started.table("item") or {}).get("feed") or {}
    except OSError:  # it does not listen yet
        return False
    return feed.get("state") == "following"


def probe(*arguments):
    done = subprocess.run([PROBE, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]
