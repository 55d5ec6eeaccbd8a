#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_daemon.py - Goal: the daemon does what docs/OPERATIONS.md and docs/REFRESH.md say, with a real
SQLite file. Method: a real sidepondd for each test; effects are seen from outside: its log, the
service manager's socket, HTTP, and reads with the `sidepond` tool.
"""
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import unittest

from daemon_kit import PROGRAM, TOOL, wait_for
from ports import free_port
from sqlite_daemon import SqliteDaemon

FAST = "refresh: {every: 20ms}"
USERS = "  - {name: users, source: app, key: [id], " + FAST + "}\n"


class DaemonTest(unittest.TestCase):
    def setUp(self):
        self.path = self.made = None

    def database(self, daemon_tables=USERS, rows=100, **options):
        """A daemon over a database with a table `users` of so many rows."""
        daemon = self.made = SqliteDaemon(daemon_tables, **options)
        self.addCleanup(daemon.__exit__, None, None, None)
        self.path = daemon.database
        self.sql("create table users (id integer primary key, email text not null, age integer)",
                 *(f"insert into users values ({i}, 'u{i}@example.org', {i % 90})"
                   for i in range(1, rows + 1)))
        return daemon

    def sql(self, *statements):
        """In the database that was made last."""
        self.made.execute(*statements)

    # --- the main job ---

    def test_follows_the_database(self):
        daemon = self.database().start()
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("update users set email = 'new' where id = 7", "delete from users where id = 8",
                 "insert into users values (1000, 'last', null)")
        daemon.await_row("users", 7, email="new")
        daemon.await_gone("users", 8)
        daemon.await_row("users", 1000, email="last", age=None)
        daemon.await_notified("STATUS=1 tables, 100 rows, version 2, oldest 0 s")
        self.assertEqual(daemon.tool("check").returncode, 0)
        self.assertLess(daemon.stop(), 5)
        self.assertIn("STOPPING=1", daemon.collect())
        self.assertEqual(daemon.get("users", 7)["email"], "new")  # the pond stays

    def test_notified(self):
        daemon = self.database(USERS.replace(FAST, "refresh: {mode: notified}")).start()
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")

    def test_refresh_now(self):
        daemon = self.database(USERS.replace(FAST, "refresh: {every: 1h}")).start()
        self.sql("update users set email = 'new' where id = 7")
        daemon.signal(signal.SIGUSR1)
        daemon.await_row("users", 7, email="new")
        self.sql("update users set email = 'newer' where id = 7")
        self.assertEqual(daemon.http("/refresh/users", "POST")[0], 202)
        daemon.await_row("users", 7, email="newer")

    def test_columns_change(self):
        daemon = self.database().start()
        self.sql("alter table users add column city text")
        daemon.await_row("users", 7, city=None, email="u7@example.org")
        self.sql("update users set city = 'Ulm' where id = 7")
        daemon.await_row("users", 7, city="Ulm")
        self.sql("alter table users rename column email to mail", "alter table users drop column age")
        daemon.await_row("users", 7, mail="u7@example.org", city="Ulm")
        wait_for(lambda: "age" not in daemon.get("users", 7), "the column is gone")
        self.assertEqual(daemon.table("users")["failures"], 0)

    # --- what is wrong at the start ---

    def test_wrong_configuration(self):
        daemon = self.database("  - {name: users, source: app, key: [id], colour: red}\n")
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+:\d+: unknown key \W?colour")
        self.assertFalse(os.path.exists(daemon.pond))

    def test_missing_table_and_column(self):
        daemon = self.database("  - {name: users, source: app, key: [id],\n"
                               "     columns: [id, mail]}\n"
                               "  - {name: orders, source: app, key: [id]}\n")
        self.assertEqual(daemon.run(), 78)
        self.assertRegex(daemon.log(), r"test\.yaml:\d+: table users: .*mail")
        self.assertRegex(daemon.log(), r"test\.yaml:\d+: table orders: .*orders")

    def test_missing_table_but_data(self):
        daemon = self.database().start()
        daemon.stop()
        daemon.configure(USERS + "  - {name: orders, source: app, key: [id], " + FAST + "}\n")
        daemon.start()
        daemon.await_state("orders", "failing")
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        self.sql("create table orders (id integer primary key)", "insert into orders values (1)")
        daemon.await_row("orders", 1, id=1)

    def test_second_daemon(self):
        daemon = self.database().start()
        done = subprocess.run([PROGRAM, daemon.config], capture_output=True, text=True, check=False,
                              timeout=30)
        self.assertEqual(done.returncode, 69)
        self.assertIn(str(daemon.process.pid), done.stderr)
        self.assertEqual(daemon.http("/healthz")[0], 200)

    def test_no_place_for_the_pond(self):
        daemon = self.database()
        daemon.pond = "/proc/sidepond/pond"
        daemon.configure(USERS)
        self.assertEqual(daemon.run(), 73)
        self.assertIn("cannot make the directory /proc/sidepond", daemon.log())

    def test_file_system_full(self):
        """A file system too small for the pond: an error of the refresh, and no signal for anybody."""
        daemon = self.database()
        mount = os.path.join(daemon.directory, "small")
        os.mkdir(mount)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount],
                          capture_output=True, check=False).returncode != 0:
            self.skipTest("no right to mount a file system")
        self.addCleanup(subprocess.run, ["umount", "-l", mount], check=False)
        daemon.pond = os.path.join(mount, "pond")
        daemon.configure(USERS)
        daemon.start()
        self.sql("insert into users with recursive n(i) as (select 1000 union all "
                 "select i + 1 from n where i < 6000) select i, hex(zeroblob(500)), 1 from n")
        daemon.await_state("users", "failing")
        self.assertIn("the file system of", daemon.table("users")["error"])
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("delete from users where id >= 1500")
        daemon.await_state("users", "fresh")
        self.assertEqual(daemon.rows("users"), 600)

    def test_port_taken(self):
        daemon = self.database().start()
        other = self.database()
        other.port = daemon.port
        other.configure(USERS)
        self.assertEqual(other.run(), 69)
        self.assertIn("cannot listen", other.log())

    # --- bad data ---

    def test_bad_rows_skipped(self):
        daemon = self.database("  - {name: users, source: app, key: [email], max_row: 1KiB, "
                               + FAST + "}\n")
        self.sql("insert into users values (500, 'u1@example.org', 1)",
                 "insert into users values (501, 'large' || hex(zeroblob(2000)), 1)",
                 "insert into users values (502, 'words', 'many')")
        daemon.start()
        self.assertEqual(daemon.rows("users"), 100)
        for reason in ("duplicate_key", "too_large", "undecodable"):
            sample = f'sidepond_refresh_rows_skipped_total{{table="users",reason="{reason}"}}'
            self.assertGreaterEqual(daemon.metric(sample), 1, reason)
        self.assertIn("u1@example.org", daemon.log())

    def test_bad_row_fails(self):
        daemon = self.database("  - {name: users, source: app, key: [id], on_bad_row: fail, "
                               + FAST + "}\n").start()
        self.sql("insert into users values (502, 'words', 'many')",
                 "update users set email = 'new' where id = 7")
        daemon.await_state("users", "failing")
        self.assertIn("502", daemon.table("users")["error"])
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("delete from users where id = 502")
        daemon.await_row("users", 7, email="new")
        daemon.await_state("users", "fresh")

    def test_max_drop(self):
        daemon = self.database().start()
        self.sql("delete from users")
        daemon.await_state("users", "held")
        self.assertEqual(daemon.rows("users"), 100)
        self.assertEqual(daemon.metric('sidepond_refresh_held_rows{table="users"}'), 100)
        self.assertIn("100 of 100 rows are gone", daemon.log())
        self.assertEqual(daemon.http("/confirm/users", "POST", {"Origin": "http://x"})[0], 403)
        self.assertEqual(daemon.http("/confirm/users", "POST")[0], 202)
        wait_for(lambda: daemon.rows("users") == 0, "the rows are gone")
        self.assertEqual(daemon.http("/confirm/users", "POST")[0], 409)

    def test_max_drop_by_reload(self):
        daemon = self.database().start()
        self.sql("delete from users where id > 1")
        daemon.await_state("users", "held")
        daemon.configure(USERS.replace("key:", "max_drop: 100%, key:"))
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.rows("users") == 1, "the rows are gone")

    def test_does_not_fit(self):
        daemon = self.database(memory="1MiB").start()
        self.sql("insert into users with recursive n(i) as (select 1000 union all "
                 "select i + 1 from n where i < 4000) select i, hex(zeroblob(500)), 1 from n")
        daemon.await_state("users", "failing")
        self.assertRegex(daemon.table("users")["error"],
                         r"its 3,101 rows need about \d\.\d MiB.* the pond has 1 MiB")
        self.assertEqual(daemon.rows("users"), 100)
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        daemon.stop()
        daemon.memory = "16MiB"
        daemon.configure(USERS)
        daemon.start()
        wait_for(lambda: daemon.rows("users") == 3101, "all rows are there")

    # --- reload ---

    def test_reload(self):
        daemon = self.database().start()
        self.sql("create table orders (id integer primary key)", "insert into orders values (1)")
        daemon.forget()
        daemon.configure(USERS + "  - {name: orders, source: app, key: [id], " + FAST + "}\n")
        daemon.signal(signal.SIGHUP)
        daemon.await_notified("RELOADING=1")
        daemon.await_notified("READY=1")
        self.assertTrue(any(line.startswith("MONOTONIC_USEC=") for line in daemon.collect()))
        daemon.await_row("orders", 1, id=1)
        daemon.configure(USERS)
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.tool("get", "orders", "1").returncode > 1, "orders is dropped")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.assertEqual(daemon.metric('sidepond_config_reloads_total{result="success"}'), 2)

    def refused(self, daemon, why):
        before = daemon.metric('sidepond_config_reloads_total{result="failure"}')
        daemon.forget()
        daemon.signal(signal.SIGHUP)
        daemon.await_notified("STATUS=reload refused: " + why)
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.metric('sidepond_config_reloads_total{result="failure"}'),
                         before + 1)
        self.assertEqual(daemon.metric("sidepond_config_last_reload_successful"), 0)

    def test_reload_refused(self):
        daemon = self.database().start()
        daemon.configure("  - {name: users, source: app, colour: red}\n")
        self.refused(daemon, "the configuration is wrong")
        self.assertIn("unknown key", daemon.log())
        daemon.configure(USERS.replace("[id]", "[nobody]"))
        self.refused(daemon, "the database does not have what is configured")
        daemon.memory = "32MiB"
        daemon.configure(USERS)
        self.refused(daemon, "a change of 'memory' needs a restart")
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        daemon.memory = "16MiB"
        daemon.configure(USERS)
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.metric("sidepond_config_last_reload_successful") == 1, "reloaded")

    # --- crashes and ends ---

    def test_killed(self):
        daemon = self.database().start()
        daemon.kill()
        left = [name for name in os.listdir("/dev/shm") if name.endswith(f"-{daemon.process.pid}")]
        self.assertEqual(left, [], "a library's file is left behind")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.sql("update users set email = 'new' where id = 7")
        daemon.start()
        self.assertIn("origin=recovered", daemon.log())
        daemon.await_row("users", 7, email="new")
        self.assertEqual(daemon.tool("check").returncode, 0)

    def test_killed_while_the_database_is_away(self):
        daemon = self.database().start()
        daemon.kill()
        os.rename(self.path, self.path + ".away")
        daemon.start()  # ready: what there is, is served
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")
        self.assertEqual(daemon.http("/readyz")[0], 200)
        os.rename(self.path + ".away", self.path)
        daemon.await_state("users", "fresh")

    def silent_server(self):
        """A socket that takes connections and never says a word; the line of a source on it."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        return ("  - {name: quiet, type: postgresql, connect_timeout: 30s, dsn: "
                f'"host=127.0.0.1 port={server.getsockname()[1]} sslmode=disable"}}')

    def test_ends_while_looking(self):
        daemon = self.database()
        daemon.sources = self.silent_server()
        daemon.configure("  - {name: users, source: quiet, key: [id]}\n")
        daemon.start(ready=False)
        daemon.await_notified("STATUS=looking at the databases")
        self.assertLess(daemon.stop(), 5)
        self.assertIn("ended", daemon.log())

    def test_reload_while_looking(self):
        daemon = self.database().start()
        good = daemon.sources
        daemon.sources = self.silent_server() + "\n" + good
        daemon.configure(USERS + "  - {name: others, source: quiet, key: [id]}\n")
        daemon.signal(signal.SIGHUP)
        daemon.await_notified("RELOADING=1")
        daemon.sources = good
        daemon.configure(USERS.replace("users,", "people, relation: users,"))
        daemon.signal(signal.SIGHUP)
        begun = time.monotonic()
        daemon.await_row("people", 7, email="u7@example.org")
        self.assertLess(time.monotonic() - begun, 10)
        self.assertLess(daemon.stop(), 5)

    def test_second_signal(self):
        daemon = self.database().start()
        daemon.signal(signal.SIGSTOP)
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGINT)
        daemon.signal(signal.SIGCONT)
        self.assertIn(daemon.process.wait(10), (0, 1))
        self.assertEqual(daemon.get("users", 7)["email"], "u7@example.org")

    def snapshot_daemon(self):
        daemon = self.database()
        file = os.path.join(daemon.directory, "test.snap")
        daemon.extra = f"snapshot: {{file: {file}, every: 1s}}"
        daemon.configure(USERS)
        daemon.start()
        return daemon, file

    def test_snapshot_file(self):
        daemon, file = self.snapshot_daemon()
        wait_for(lambda: os.path.exists(file), "the file is saved")
        self.sql("update users set email = 'new' where id = 7")
        daemon.await_row("users", 7, email="new")
        daemon.stop()  # saves what the last second brought
        shutil.rmtree(daemon.pond)
        os.rename(self.path, self.path + ".away")
        daemon.start()
        self.assertIn("saved", daemon.log())
        self.assertEqual(daemon.get("users", 7)["email"], "new")
        daemon.await_state("users", "failing")
        os.rename(self.path + ".away", self.path)
        daemon.await_state("users", "fresh")

    def test_snapshot_file_changes(self):
        daemon, file = self.snapshot_daemon()
        wait_for(lambda: os.path.exists(file), "the file is saved")
        for extra in (f"snapshot: {{file: {file}.2, every: 1s}}", "",
                      f"snapshot: {{file: {file}.3, every: 1s}}"):
            daemon.extra = extra
            daemon.configure(USERS)
            daemon.forget()
            daemon.signal(signal.SIGHUP)
            daemon.await_notified("READY=1")
            if extra:
                wait_for(lambda: os.path.exists(daemon.extra.split()[2].rstrip(",")), extra)

    def test_other_address_same_port(self):
        daemon = self.database().start()
        with open(daemon.config, encoding="utf-8") as file:
            text = file.read()
        with open(daemon.config, "w", encoding="utf-8") as file:
            file.write(text.replace(f"127.0.0.1:{daemon.port}", f"0.0.0.0:{daemon.port}"))
        daemon.forget()
        daemon.signal(signal.SIGHUP)
        daemon.await_log("configuration reloaded")
        self.assertEqual(daemon.http("/readyz")[0], 200)
        self.assertIn("listening on 0.0.0.0", daemon.log())

    def test_snapshot_file_damaged(self):
        daemon, file = self.snapshot_daemon()
        wait_for(lambda: os.path.exists(file), "the file is saved")
        daemon.stop()
        shutil.rmtree(daemon.pond)
        os.rename(self.path, self.path + ".away")
        with open(file, "r+b") as damaged:
            damaged.seek(os.path.getsize(file) // 2)
            damaged.write(b"\xff\x00\xff\x00")
        daemon.start(ready=False)
        daemon.await_log("cannot load the snapshot file")
        daemon.await_state("users", "failing")
        self.assertEqual(daemon.http("/readyz")[0], 503)
        os.rename(self.path + ".away", self.path)
        daemon.await_notified("READY=1")

    def test_snapshot_file_not_used_when_the_database_is_up(self):
        daemon, file = self.snapshot_daemon()
        wait_for(lambda: os.path.exists(file), "the file is saved")
        daemon.stop()
        shutil.rmtree(daemon.pond)
        self.sql("update users set email = 'new' where id = 7")
        daemon.start()
        self.assertEqual(daemon.get("users", 7)["email"], "new")

    # --- what it tells ---

    def test_not_ready_before_the_database(self):
        daemon = self.database()
        os.rename(self.path, self.path + ".away")
        daemon.start(ready=False)
        daemon.await_state("users", "failing")
        code, why = daemon.http("/readyz")
        self.assertEqual((code, why), (503, "table users has not been loaded yet\n"))
        self.assertEqual(daemon.http("/healthz")[0], 200)
        self.assertNotIn("READY=1", daemon.collect())
        os.rename(self.path + ".away", self.path)
        daemon.await_notified("READY=1")
        self.assertEqual(daemon.http("/readyz")[0], 200)

    def test_watchdog(self):
        daemon = self.database().start(environment={"WATCHDOG_USEC": "400000"})
        daemon.forget()
        daemon.await_notified("WATCHDOG=1")
        daemon.forget()
        daemon.await_notified("WATCHDOG=1")

    def test_service_manager_does_not_read(self):
        """A socket that is full is not waited for, and what there was no room for is said later."""
        daemon = self.database()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with self.assertRaises(BlockingIOError):
                while True:
                    filler.sendto(b"STATUS=full", os.path.join(daemon.directory, "notify"))
        daemon.start(ready=False, environment={"WATCHDOG_USEC": "400000"})
        daemon.await_log("ready")
        daemon.configure(USERS.replace("key: [id]", "key: [id], columns: [id, email]"))
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: "age" not in daemon.get("users", 7), "the reload is done")
        seen = daemon.collect()
        self.assertEqual(set(seen), {"STATUS=full"})
        for line in "RELOADING=1", "READY=1", "WATCHDOG=1", "STATUS=1 tables":
            daemon.await_notified(line)
        self.assertLess(daemon.stop(), 5)

    def test_metrics(self):
        daemon = self.database().start()
        code, text = daemon.http("/metrics")
        self.assertEqual(code, 200)
        self.assertEqual(daemon.metric('sidepond_table_rows{table="users"}'), 100)
        self.assertEqual(daemon.metric('sidepond_table_state{table="users",state="fresh"}'), 1)
        self.assertGreater(daemon.metric('sidepond_table_last_success_timestamp_seconds'
                                         '{table="users"}'), 1.6e9)
        self.assertIn("# TYPE sidepond_refresh_duration_seconds histogram\n", text)

    def test_check_while_the_database_is_away(self):
        daemon = self.database()
        daemon.sources = ("  - {name: app, type: postgresql, "
                          f'dsn: "host=127.0.0.1 port={free_port()}"}}')
        daemon.configure(USERS)
        with open(daemon.config, encoding="utf-8") as file:
            line = [text.strip()[:12] for text in file].index("- {name: app") + 1
        checked = subprocess.run([PROGRAM, "--check", "--connect", daemon.config], check=False,
                                 capture_output=True, text=True, timeout=30)
        self.assertEqual(checked.returncode, 69)
        self.assertIn(f"{daemon.config}:{line}: warning: source app: cannot connect",
                      checked.stderr)
        self.assertIn("Not every database answers", checked.stdout)

    def test_commands(self):
        daemon = self.database()

        def run(*arguments):
            return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False,
                                  timeout=30)
        self.assertIn("sidepondd 0.", run("--version").stdout)
        self.assertIn("--check", run("--help").stdout)
        self.assertEqual(run("--nonsense").returncode, 64)
        checked = run("--check", "--connect", "--config", daemon.config)
        self.assertEqual(checked.returncode, 0)
        self.assertIn("Every database answers", checked.stdout)
        plan = json.loads(run("plan", "--json", daemon.config).stdout)
        self.assertEqual(plan["tables"][0]["rows"], 100)
        self.assertGreater(plan["recommended_bytes"], plan["total_bytes"])
        self.assertEqual(subprocess.run([TOOL, "plan", daemon.config], capture_output=True,
                                        check=False, timeout=30).returncode, 0)
        self.assertIn("memory", run("--reference").stdout)
        looks = (("--check", "--connect", daemon.config), ("plan", daemon.config))
        os.rename(self.path, self.path + ".away")
        self.assertEqual([run(*look).returncode for look in looks], [69, 69])
        with sqlite3.connect(self.path):
            pass # a database without the table
        self.assertEqual([run(*look).returncode for look in looks], [78, 78])


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
