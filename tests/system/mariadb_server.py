#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mariadb_server.py - a throw-away MariaDB server for tests and benchmarks.

The server lives in one temporary directory, listens on a Unix socket there and on a free loopback
port, and is ended by its pid. The user root has no password; grants are in force. It does not sync
to disk, but what is committed survives crash(), since the page cache does. MariaDB refuses to run
as root: then it runs as the user "mysql", or "nobody" where there is no such user.

In Python:

    import mariadb_server
    with mariadb_server.Server() as db:     # makes the directory, starts; ends with this process
        db.sql("create table t (id int)")   # as root, in the database "shop"; raises on an error
        db.uri()                            # "mariadb://root@localhost/shop?socket=/tmp/..."
        db.uri("other", user="reader", tcp=True)  # the same over 127.0.0.1
        db.stop(); db.start()               # clean
        db.crash()                          # SIGKILL
        db.restart()
        db.pause(); db.resume()             # SIGSTOP, SIGCONT: a server that hangs
        db.pid, db.port, db.directory, db.log()

    mariadb_server.Server(settings={"log-bin": "binlog", "binlog-format": "ROW"})

From a shell or a C test, where the directory holds the state:

    mariadb_server.py start DIR       makes DIR and the data if there is none; prints the URI
    mariadb_server.py stop|crash|restart|pause|resume DIR
    mariadb_server.py uri|pid|port|log DIR
    mariadb_server.py remove DIR      stops it and removes DIR
    mariadb_server.py run COMMAND...  starts a server, runs COMMAND with SIDEPOND_MARIADB_URI,
                                      SIDEPOND_MARIADB_DIR and SIDEPOND_MARIADB_SERVER (this script)
                                      set, and ends as it ends

Exit status 77 (skipped) of `run` and of Server.available() users: MariaDB is not installed.
"""
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import mariadb_client
from ports import free_port

SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": None,
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "64M",
    "innodb-flush-method": "fsync",
    "innodb-fast-shutdown": "1",
    "sync-binlog": "0",
    "max-connections": "60",
    "performance-schema": "OFF",
    "character-set-server": "utf8mb4",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "server-id": "1",
}
START_SECONDS = 60
PROGRAM = "/usr/sbin/mariadbd"
# What mariadb-install-db would run, without the help texts.
SHARE = "/usr/share/mysql"
SYSTEM_SQL = ("mysql_system_tables.sql", "mysql_performance_tables.sql",
              "mysql_system_tables_data.sql")


def _account():
    """The user to run as when this is root, else None."""
    if os.geteuid() != 0:
        return None
    for name in ("mysql", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no user to run MariaDB as")


def _as_account(command, end_with_parent=False):
    """The command, run as that user; it is killed when the thread that started it ends."""
    account = _account()
    prefix = ["setpriv"]
    if account:
        prefix += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    if end_with_parent:
        prefix += ["--pdeathsig", "KILL"]
    return prefix + ["--"] + command if len(prefix) > 1 else command


def _alive(pid):
    """Whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _wait_for(condition, what, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"MariaDB: {what} took more than {seconds} s")
        time.sleep(0.01)


class Server:
    """One server in one directory. As a context manager: starts, and removes all at the end."""

    def __init__(self, directory=None, settings=None, database="shop", end_with_parent=True):
        self.directory = directory or tempfile.mkdtemp(prefix="sidepond-mdb.")
        self.database = database
        self.settings = settings or {}
        self.end_with_parent = end_with_parent
        self.data = os.path.join(self.directory, "data")
        self._process = None

    @staticmethod
    def available():
        return os.path.exists(PROGRAM) and os.path.isdir(SHARE)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    # --- state, all of it in the directory ---

    def _read(self, name):
        with open(os.path.join(self.directory, name), encoding="utf-8", errors="replace") as file:
            return file.read()

    @property
    def pid(self):
        """Of the server, or None where it does not run."""
        try:
            pid = int(self._read("pid"))
        except (OSError, ValueError):
            return None
        return pid if _alive(pid) else None

    @property
    def port(self):
        return int(self._read("port"))

    @property
    def socket(self):
        return os.path.join(self.directory, "s")

    def uri(self, database=None, user="root", tcp=False, scheme="mariadb"):
        database = self.database if database is None else database
        if tcp:
            return f"{scheme}://{user}@127.0.0.1:{self.port}/{database}"
        return f"{scheme}://{user}@localhost/{database}?socket={self.socket}"

    def log(self):
        return self._read("log")

    # --- making it ---

    def _make(self):
        account = _account()
        os.makedirs(self.directory, exist_ok=True)
        os.makedirs(self.data, exist_ok=True)
        if account:
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            os.chown(self.data, account.pw_uid, account.pw_gid)
        os.chmod(self.directory, 0o755)
        script = "create database mysql;\nuse mysql;\n"
        for name in SYSTEM_SQL:
            with open(os.path.join(SHARE, name), encoding="utf-8") as file:
                script += file.read()
        command = [PROGRAM, "--no-defaults", "--bootstrap", f"--datadir={self.data}",
                   f"--lc-messages-dir={SHARE}", "--innodb-flush-log-at-trx-commit=0",
                   "--innodb-log-file-size=64M", "--innodb-buffer-pool-size=64M",
                   "--enforce-storage-engine=", "--log-warnings=0"]
        done = subprocess.run(_as_account(command), capture_output=True, text=True, check=False,
                              cwd="/", input=script)
        if done.returncode != 0:
            raise RuntimeError("mariadbd --bootstrap: " + done.stdout + done.stderr)

    def _kept_settings(self):
        """Those of the first start hold for the later ones, whoever starts it."""
        path = os.path.join(self.directory, "settings")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(self.settings, file)
        return json.loads(self._read("settings"))

    def _command(self):
        settings = {**SETTINGS, **self._kept_settings(), "port": self.port, "socket": self.socket,
                    "datadir": self.data, "pid-file": os.path.join(self.data, "pid"),
                    "tmpdir": self.data, "lc-messages-dir": SHARE}
        command = [PROGRAM, "--no-defaults"]
        for name, value in settings.items():
            command.append(f"--{name}" if value is None else f"--{name}={value}")
        return _as_account(command, self.end_with_parent)

    def _launch(self):
        for name in ("s", "s.lock"):
            if os.path.exists(os.path.join(self.directory, name)):
                os.unlink(os.path.join(self.directory, name))
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self._process = subprocess.Popen(  # pylint: disable=consider-using-with
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True)
        with open(os.path.join(self.directory, "pid"), "w", encoding="ascii") as file:
            file.write(str(self._process.pid))

    def _is_ready(self):
        if self._process.poll() is not None:
            return True
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.socket)
            except OSError:
                return False
            return probe.recv(4) != b""

    def start(self):
        """Starts the server and returns when it takes connections. Its data is made if there is
        none; the port stays the same over restarts unless somebody else has taken it."""
        if self.pid is not None:
            return self
        first = not os.path.exists(os.path.join(self.data, "mysql"))
        if first:
            self._make()
        for attempt in range(5):
            if attempt > 0 or not os.path.exists(os.path.join(self.directory, "port")):
                with open(os.path.join(self.directory, "port"), "w", encoding="ascii") as file:
                    file.write(str(free_port()))
            self._launch()
            _wait_for(self._is_ready, "starting")
            if self._process.poll() is None:
                break
        else:
            raise RuntimeError("MariaDB does not start:\n" + self.log()[-2000:])
        if first:
            self.sql(f"create database `{self.database}`", database="")
        return self

    # --- ending it ---

    def _wait_gone(self, pid):
        if self._process and self._process.pid == pid:
            self._process.wait(START_SECONDS)
        _wait_for(lambda: not _alive(pid), "stopping")

    def _end(self, number):
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, number)
            self._wait_gone(pid)

    def stop(self):
        self._end(signal.SIGTERM)

    def crash(self):
        self._end(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def pause(self):
        """The server hangs, as if the machine did, until resume()."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def remove(self):
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- using it ---

    def connect(self, database=None):
        return mariadb_client.Connection(self.socket,
                                         self.database if database is None else database)

    def sql(self, *statements, database=None):
        """Runs statements as root; returns the rows of the last one as lists of text or None."""
        rows = []
        with self.connect(database) as connection:
            for statement in statements:
                rows = connection.query(statement)
        return rows


def _run(command):
    if not Server.available():
        print("skipped: MariaDB is not installed")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Server() as db:
        environment = {**os.environ, "SIDEPOND_MARIADB_URI": db.uri(),
                       "SIDEPOND_MARIADB_DIR": db.directory,
                       "SIDEPOND_MARIADB_SERVER": os.path.abspath(__file__)}
        # The command must not outlive a test that was cut off.
        libc = ctypes.CDLL(None)
        with subprocess.Popen(command, env=environment,
                              preexec_fn=lambda: libc.prctl(1, signal.SIGTERM)) as child:
            status = child.wait()
        return status if status >= 0 else 128 - status


def _verb(verb, directory):
    db = Server(os.path.abspath(directory), end_with_parent=False)
    actions = {
        "start": lambda: db.start().uri(),
        "stop": db.stop,
        "crash": db.crash,
        "restart": lambda: db.restart().uri(),
        "pause": db.pause,
        "resume": db.resume,
        "remove": db.remove,
        "uri": db.uri,
        "pid": lambda: str(db.pid or ""),
        "port": lambda: str(db.port),
        "log": db.log,
    }
    output = actions[verb]()
    if output:
        print(output)
    return 0


def main(arguments):
    if len(arguments) >= 2 and arguments[0] == "run":
        return _run(arguments[1:])
    try:
        return _verb(*arguments)
    except (KeyError, TypeError):
        print(__doc__, file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
