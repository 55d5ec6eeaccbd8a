#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: docs/SOURCES-TUTORIAL.md works when pasted. Method: the blocks of each section are run one
after the other by one shell, as they are printed but for the home directory and the pond's, which
are temporary ones, and for the server: in place of the machine's own there is one of this test,
which shell functions of the names of service, su and mariadb lead to. The daemon that a
section has left running is ended by the id that it has written down."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import mariadb_client
import mariadb_server
import mongo_server
import pg_server

BUILD = Path(os.environ["SIDEPOND_BUILD_DIR"])
SOURCE = Path(os.environ["SIDEPOND_SOURCE_DIR"])
NOTHING = "service() { :; }; "


def sections():
    """What is printed of each section to be pasted, by its name."""
    page = (SOURCE / "docs/SOURCES-TUTORIAL.md").read_text(encoding="utf-8")
    return {text.split("\n")[0]: "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
            for text in re.split(r"^## ", page, flags=re.MULTILINE)[1:]}


def run_sql(socket, database):
    """As the program mariadb does: the statements of standard input."""
    with mariadb_client.Connection(socket, database) as db:
        for statement in re.split(r";\s*\n", sys.stdin.read()):
            if statement.strip():
                db.query(statement)


class TutorialTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="sidepond-tutorial-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, self.home)
        self.addCleanup(self.end_all)

    def end_all(self):
        for file in (self.home / "sidepond-try").glob("*.pid"):
            try:
                os.kill(int(file.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                pass

    def paste(self, section, functions, *changes):
        """Runs a section; its output. Each change has to find what it changes."""
        script = sections()[section]
        pond = str(self.home / "pond")
        for before, after in (("pond: try", f"pond: try\ndirectory: {pond}"),
                              ("SIDEPOND=try", f"SIDEPOND={pond}"),
                              ("/dev/shm/sidepond/try", pond), *changes):
            self.assertIn(before, script)
            script = script.replace(before, after)
        environment = {k: v for k, v in os.environ.items() if k != "SIDEPOND"}
        environment.update(HOME=str(self.home), PATH=f"{BUILD}/bin:/usr/bin:{os.environ['PATH']}")
        done = subprocess.run(["bash", "-uxc", NOTHING + functions + script], cwd=self.home,
                              env=environment, stdin=subprocess.DEVNULL, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = done.stdout.decode(errors="replace")
        self.assertIn("\nEvery database answers and has what is configured.\n", text)
        self.assertFalse((self.home / "sidepond-try").exists(), text)
        self.assertFalse(Path(pond).exists(), text)
        return text

    def check_orders(self, text):
        """What the sections of the SQL databases print."""
        for line in ("email\tcountess@example.org\n", 'sidepond: no such key in table "orders"\n',
                     "email\tedsger@example.org\n", "goes on following its database"):
            self.assertIn(line, text)

    def test_postgresql(self):
        if not pg_server.Server.available():
            self.skipTest("PostgreSQL is not installed")
        with pg_server.Server(settings={"wal_level": "logical"}) as server:
            functions = (f"su() {{ PGHOST={server.socket_directory} PGPORT={server.port} "
                         'PGUSER=postgres bash -c "$4"; }; ')
            self.check_orders(self.paste("PostgreSQL", functions, (
                "host=127.0.0.1", f"host=127.0.0.1 port={server.port}")))

    def test_mariadb(self):
        if not mariadb_server.Server.available():
            self.skipTest("MariaDB is not installed")
        with mariadb_server.Server(database="other", settings={
                "log-bin": "binlog", "binlog-format": "ROW", "binlog-row-image": "FULL"}) as server:
            functions = f'mariadb() {{ {__file__} sql {server.socket} "${{1-}}"; }}; '
            self.check_orders(self.paste(
                "MariaDB", functions,
                ("localhost/shop", f"localhost/shop?socket={server.socket}"),
                ("/etc/mysql/mariadb.conf.d/", f"{self.home}/")))

    def test_mongodb(self):
        with mongo_server.Java() as server:
            text = self.paste(
                "MongoDB", "idle() { exec sleep 100; }; ",
                ("/127.0.0.1/27017", f"/127.0.0.1/{server.port}"),
                ("mongodb://127.0.0.1", f"mongodb://127.0.0.1:{server.port}"),
                ("~/sidepond/build/servers/mongo-java-server/mongo-java-server", "idle"),
                ("~/sidepond/tests/servers/build", ":"))
        for line in ("London\n", "address.city\tNew York\n", "Bath\n",
                     'sidepond: no such key in table "users"\n', "address.city\tNuenen\n",
                     "goes on following its database"):
            self.assertIn(line, text)

    def test_sqlite(self):
        text = self.paste("SQLite", "")
        self.assertIn("email\tada@example.org\n", text)
        self.assertIn("id\temail\n1\tcountess@example.org\n+", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["sql"]:
        run_sql(sys.argv[2], sys.argv[3])
        sys.exit(0)
    sys.exit(unittest.main(verbosity=2))
