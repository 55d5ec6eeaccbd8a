#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pg_server.py - a throw-away PostgreSQL server for tests and benchmarks.

The server lives in one temporary directory, listens on a Unix socket there and on a free loopback
port, and is ended by its pid. Over the socket everyone is let in (role "postgres" is the
superuser); over TCP a password is asked for (scram-sha-256). It does not sync to disk, but what is
committed survives crash(), since the page cache does. PostgreSQL refuses to run as root: then it
runs as the user "postgres", or "nobody" where there is no such user.

In Python:

    import pg_server
    with pg_server.Server() as pg:          # makes the directory, starts; ends with this process
        pg.psql("create table t (id int)")  # superuser; raises on an error; returns the output
        pg.dsn()                            # "host=/tmp/... port=... dbname=postgres user=postgres"
        pg.dsn(user="reader", tcp=True)     # the same over 127.0.0.1
        pg.stop(); pg.start()               # clean; stop("immediate") does not wait for clients
        pg.crash()                          # SIGKILL to the server and its children
        pg.restart()
        pg.pause(); pg.resume()             # SIGSTOP, SIGCONT: a server that hangs
        pg.pid, pg.port, pg.directory, pg.log()

    pg_server.Server(settings={"max_connections": 10}, database="shop", encoding="SQL_ASCII")

From a shell or a C test, where the directory holds the state:

    pg_server.py start DIR       makes DIR and the cluster if there is none; prints the dsn
    pg_server.py stop|crash|restart|pause|resume DIR
    pg_server.py dsn|pid|port|log DIR
    pg_server.py psql DIR SQL    runs SQL as superuser
    pg_server.py remove DIR      stops it and removes DIR
    pg_server.py run COMMAND...  starts a server, runs COMMAND with SIDEPOND_PG_DSN, SIDEPOND_PG_DIR
                                 and SIDEPOND_PG_SERVER (this script) set, and ends as it ends

SIDEPOND_PG_BIN names the directory of another server's postgres and initdb; clients that are not there,
psql among them, are then those of Debian.

Exit status 77 (skipped) of `run` and of Server.available() users: PostgreSQL is not installed.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys

from database_server import DatabaseServer, alive

SETTINGS = {
    "dynamic_shared_memory_type": "mmap",  # under its own directory, so a killed one leaves nothing
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "40",
    "max_wal_size": "2GB",
    "logging_collector": "off",
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %a ",
}
SOCKET_PATH_MAX = 107


def _installed_bin_dir():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"),
                   key=lambda path: int(path.split("/")[4]))
    program = found[-1] if found else shutil.which("postgres")
    return os.path.dirname(program) if program else None


def bin_dir():
    """Where initdb and postgres are: SIDEPOND_PG_BIN, else the newest that Debian has, or PATH."""
    named = os.environ.get("SIDEPOND_PG_BIN")
    if named and not os.access(os.path.join(named, "postgres"), os.X_OK):
        raise RuntimeError(f"SIDEPOND_PG_BIN: there is no postgres in {named}")
    return named or _installed_bin_dir()


def client(name):
    """The path of psql or another client."""
    path = os.path.join(bin_dir(), name)
    return path if os.path.exists(path) else os.path.join(_installed_bin_dir() or "", name)


def version():
    """As the server says it: "postgres (PostgreSQL) 15.18"."""
    return subprocess.run([os.path.join(bin_dir(), "postgres"), "--version"], check=True,
                          capture_output=True, text=True).stdout.strip()


def _children(pid):
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
        except OSError:
            continue
    return found


class Server(DatabaseServer):
    """One cluster."""

    title = "PostgreSQL"
    accounts = ("postgres", "nobody")
    death_signal = "QUIT"
    variables = "SIDEPOND_PG"
    address_variable = "SIDEPOND_PG_DSN"

    def __init__(self, directory=None, settings=None, database="postgres", encoding="UTF8",
                 end_with_parent=True):
        super().__init__(directory, "sidepond-pg.", settings, database, end_with_parent)
        self.encoding = encoding

    @staticmethod
    def available():
        return bin_dir() is not None

    # --- state ---

    def _pid_file(self):
        try:
            return self._read("data/postmaster.pid").split("\n")
        except OSError:
            return []

    @property
    def pid(self):
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0] and alive(int(lines[0])) else None

    @property
    def socket_directory(self):
        fits = len(self.directory) + len("/.s.PGSQL.65535.lock") <= SOCKET_PATH_MAX
        return self.directory if fits else "/tmp"

    def dsn(self, dbname=None, user="postgres", tcp=False):
        host = "127.0.0.1" if tcp else self.socket_directory
        return f"host={host} port={self.port} dbname={dbname or self.database} user={user}"

    def address(self):
        return self.dsn()

    # --- making and starting it ---

    def _is_made(self):
        return os.path.exists(os.path.join(self.data, "PG_VERSION"))

    def _make(self):
        self._make_directories(self.directory)
        locale = "C.UTF-8" if self.encoding == "UTF8" else "C"
        self._run_maker([os.path.join(bin_dir(), "initdb"), "-D", self.data, "-U", "postgres",
                         "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync",
                         f"--encoding={self.encoding}", f"--locale={locale}"])

    def _create_database(self):
        if self.database != "postgres":
            self.psql(f'create database "{self.database}"', dbname="postgres")

    def _command(self):
        settings = {**SETTINGS, **self.settings, "port": self.port,
                    "unix_socket_directories": self.socket_directory}
        command = [os.path.join(bin_dir(), "postgres"), "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _clear(self):
        # These would stop the next server while the killed one's pid is a zombie's.
        for name in (os.path.join(self.data, "postmaster.pid"),
                     os.path.join(self.socket_directory, f".s.PGSQL.{self.port}.lock")):
            if self.pid is None and os.path.exists(name):
                os.unlink(name)

    def _is_ready(self):
        lines = self._pid_file()
        return len(lines) > 7 and lines[0] == str(self._process.pid) and \
            lines[7].strip() == "ready"

    # --- ending it ---

    def stop(self, mode="fast"):
        """Ends the server: "fast" lets it shut down, "immediate" is a crash that it knows of."""
        self._end(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def crash(self):
        """kill -9 of the server and all its children. Stopped first, so that it starts no more."""
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGSTOP)
        victims = [pid] + _children(pid)
        for victim in victims:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for victim in victims:
            self._wait_gone(victim)

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def pause(self):
        """The server and its children hang, as if the machine did, until resume()."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        for child in _children(pid):
            os.kill(child, signal.SIGSTOP)

    def resume(self):
        pid = self.pid
        for child in _children(pid):
            os.kill(child, signal.SIGCONT)
        os.kill(pid, signal.SIGCONT)

    # --- using it ---

    def psql(self, sql, dbname=None, user="postgres"):
        """Runs SQL, each statement for itself; returns rows as lines of values with | between."""
        command = [client("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                   "-d", self.dsn(dbname, user)]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError("psql: " + done.stderr.strip())
        return done.stdout.rstrip("\n")

    def verbs(self):
        return {**super().verbs(), "dsn": self.dsn, "psql": self.psql}

    @classmethod
    def _run(cls, command, script):
        if cls.available():
            print(version(), file=sys.stderr, flush=True)
        return super()._run(command, script)


if __name__ == "__main__":
    sys.exit(Server.main(__file__, __doc__, sys.argv[1:]))
