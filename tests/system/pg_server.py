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
import ctypes
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from ports import free_port

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
START_SECONDS = 60
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


def _account():
    """The user to run as when this is root, else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no user to run PostgreSQL as")


def _as_account(command, end_with_parent=False):
    """The command, run as that user; it gets SIGQUIT when the thread that started it ends."""
    account = _account()
    prefix = ["setpriv"]
    if account:
        prefix += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    if end_with_parent:
        prefix += ["--pdeathsig", "QUIT"]
    return prefix + ["--"] + command if len(prefix) > 1 else command


def _wait_for(condition, what, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL: {what} took more than {seconds} s")
        time.sleep(0.01)


def _alive(pid):
    """Whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


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


class Server:
    """One cluster in one directory. As a context manager: starts, and removes all at the end."""

    def __init__(self, directory=None, settings=None, database="postgres", encoding="UTF8",
                 end_with_parent=True):
        self.directory = directory or tempfile.mkdtemp(prefix="sidepond-pg.")
        self.database = database
        self.settings = settings or {}
        self.encoding = encoding
        self.end_with_parent = end_with_parent
        self.data = os.path.join(self.directory, "data")
        self._process = None

    @staticmethod
    def available():
        return bin_dir() is not None

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

    def _pid_file(self):
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="utf-8") as file:
                return file.read().split("\n")
        except OSError:
            return []

    @property
    def pid(self):
        """Of the server, or None where it does not run."""
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0] and _alive(int(lines[0])) else None

    @property
    def port(self):
        with open(os.path.join(self.directory, "port"), encoding="ascii") as file:
            return int(file.read())

    @property
    def socket_directory(self):
        fits = len(self.directory) + len("/.s.PGSQL.65535.lock") <= SOCKET_PATH_MAX
        return self.directory if fits else "/tmp"

    def dsn(self, dbname=None, user="postgres", tcp=False):
        host = "127.0.0.1" if tcp else self.socket_directory
        return f"host={host} port={self.port} dbname={dbname or self.database} user={user}"

    def log(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    # --- making it ---

    def _make(self):
        account = _account()
        os.makedirs(self.directory, exist_ok=True)
        if account:
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        os.chmod(self.directory, 0o755)
        locale = "C.UTF-8" if self.encoding == "UTF8" else "C"
        command = [os.path.join(bin_dir(), "initdb"), "-D", self.data, "-U", "postgres",
                   "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync",
                   f"--encoding={self.encoding}", f"--locale={locale}"]
        done = subprocess.run(_as_account(command), capture_output=True, text=True, check=False,
                              cwd="/", stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError("initdb: " + done.stderr)

    def _command(self):
        settings = {**SETTINGS, **self.settings, "port": self.port,
                    "unix_socket_directories": self.socket_directory}
        command = [os.path.join(bin_dir(), "postgres"), "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return _as_account(command, self.end_with_parent)

    def _launch(self):
        # What a killed server leaves would stop the next one while its pid is a zombie's.
        for name in (os.path.join(self.data, "postmaster.pid"),
                     os.path.join(self.socket_directory, f".s.PGSQL.{self.port}.lock")):
            if self.pid is None and os.path.exists(name):
                os.unlink(name)
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self._process = subprocess.Popen(  # pylint: disable=consider-using-with
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True)

    def _is_ready(self):
        if self._process.poll() is not None:
            return True
        lines = self._pid_file()
        return len(lines) > 7 and lines[0] == str(self._process.pid) and \
            lines[7].strip() == "ready"

    def start(self):
        """Starts the server and returns when it takes connections. A cluster is made if there is
        none; the port stays the same over restarts unless somebody else has taken it."""
        if self.pid is not None:
            return self
        first = not os.path.exists(os.path.join(self.data, "PG_VERSION"))
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
            raise RuntimeError("PostgreSQL does not start:\n" + self.log()[-2000:])
        if first and self.database != "postgres":
            self.psql(f'create database "{self.database}"', dbname="postgres")
        return self

    # --- ending it ---

    def _wait_gone(self, pid):
        if self._process and self._process.pid == pid:
            self._process.wait(START_SECONDS)
        _wait_for(lambda: not _alive(pid), "stopping")

    def stop(self, mode="fast"):
        """Ends the server: "fast" lets it shut down, "immediate" is a crash that it knows of."""
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        self._wait_gone(pid)

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
        self._wait_gone(pid)
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

    def remove(self):
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- using it ---

    def psql(self, sql, dbname=None, user="postgres"):
        """Runs SQL, each statement for itself; returns rows as lines of values with | between."""
        command = [client("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                   "-d", self.dsn(dbname, user)]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError("psql: " + done.stderr.strip())
        return done.stdout.rstrip("\n")


def _run(command):
    if not Server.available():
        print("skipped: PostgreSQL is not installed")
        return 77
    print(version(), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Server() as pg:
        environment = {**os.environ, "SIDEPOND_PG_DSN": pg.dsn(), "SIDEPOND_PG_DIR": pg.directory,
                       "SIDEPOND_PG_SERVER": os.path.abspath(__file__)}
        # The command must not outlive a test that was cut off.
        libc = ctypes.CDLL(None)
        with subprocess.Popen(command, env=environment,
                              preexec_fn=lambda: libc.prctl(1, signal.SIGTERM)) as child:
            status = child.wait()
        return status if status >= 0 else 128 - status


def _verb(verb, directory, *rest):
    pg = Server(os.path.abspath(directory), end_with_parent=False)
    actions = {
        "start": lambda: pg.start().dsn(),
        "stop": pg.stop,
        "crash": pg.crash,
        "restart": lambda: pg.restart().dsn(),
        "pause": pg.pause,
        "resume": pg.resume,
        "remove": pg.remove,
        "dsn": pg.dsn,
        "pid": lambda: str(pg.pid or ""),
        "port": lambda: str(pg.port),
        "log": pg.log,
        "psql": lambda: pg.psql(*rest),
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
