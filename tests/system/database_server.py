# SPDX-License-Identifier: Apache-2.0
"""database_server.py - what throw-away database servers have in common; pg_server.py and
mariadb_server.py are the two.

A server lives in one temporary directory, which holds all of its state, listens there and on a free
loopback port, and is ended by its pid. A database that refuses to run as root runs as a user of its
own then. A subclass says what it is called, how it is made and launched, and when it is ready.
"""
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from ports import free_port
from process_kit import end_with_parent

START_SECONDS = 60
SKIPPED = 77


def alive(pid):
    """Whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class DatabaseServer:
    """One server in one directory. As a context manager: starts, and removes all at the end."""

    title = ""            # the database's name
    accounts = ()         # the users to run as when this is root, the first that exists
    death_signal = ""     # what it gets when the thread that started it ends
    variables = ""        # what `run` sets begins so
    address_variable = ""

    def __init__(self, directory, prefix, settings, database, end_with_parent):
        self.directory = directory or tempfile.mkdtemp(prefix=prefix)
        self.database = database
        self.settings = settings or {}
        self.end_with_parent = end_with_parent
        self.data = os.path.join(self.directory, "data")
        self._process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    # --- of the subclass ---

    @staticmethod
    def available():
        """Whether it is installed."""
        raise NotImplementedError

    @property
    def pid(self):
        """Of the server, or None where it does not run."""
        raise NotImplementedError

    def address(self):
        """What a source connects to, as the administrator."""
        raise NotImplementedError

    def _is_made(self):
        raise NotImplementedError

    def _make(self):
        raise NotImplementedError

    def _command(self):
        raise NotImplementedError

    def _clear(self):
        """Removes what a killed server left and the next one would stumble over."""
        raise NotImplementedError

    def _is_ready(self):
        """Whether it takes connections."""
        raise NotImplementedError

    def _create_database(self):
        raise NotImplementedError

    # --- state, all of it in the directory ---

    def _read(self, name):
        with open(os.path.join(self.directory, name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    @property
    def port(self):
        return int(self._read("port"))

    def log(self):
        return self._read("log")

    # --- making it ---

    def _account(self):
        """The user to run as when this is root, else None."""
        if os.geteuid() != 0:
            return None
        for name in self.accounts:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise RuntimeError(f"no user to run {self.title} as")

    def _as_account(self, command, end_with_parent=False):
        """The command, run as that user."""
        account = self._account()
        prefix = ["setpriv"]
        if account:
            prefix += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid),
                       "--clear-groups"]
        if end_with_parent:
            prefix += ["--pdeathsig", self.death_signal]
        return prefix + ["--"] + command if len(prefix) > 1 else command

    def _make_directories(self, *names):
        account = self._account()
        for name in names:
            os.makedirs(name, exist_ok=True)
            if account:
                os.chown(name, account.pw_uid, account.pw_gid)
        os.chmod(self.directory, 0o755)

    def _run_maker(self, command, script=""):
        """What makes the data, to its end."""
        done = subprocess.run(self._as_account(command), capture_output=True, text=True,
                              check=False, cwd="/", input=script)
        if done.returncode != 0:
            raise RuntimeError(os.path.basename(command[0]) + ": " + done.stdout + done.stderr)

    # --- starting it ---

    def _wait_for(self, condition, what):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.title}: {what} took more than {START_SECONDS} s")
            time.sleep(0.01)

    def _launch(self):
        self._clear()
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self._process = subprocess.Popen(  # pylint: disable=consider-using-with
                self._as_account(self._command(), self.end_with_parent), cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._write("pid", str(self._process.pid))

    def start(self):
        """Starts the server and returns when it takes connections. Its data is made if there is
        none; the port stays the same over restarts unless somebody else has taken it."""
        if self.pid is not None:
            return self
        first = not self._is_made()
        if first:
            self._make()
        for attempt in range(5):
            if attempt > 0 or not os.path.exists(os.path.join(self.directory, "port")):
                self._write("port", str(free_port()))
            self._launch()
            self._wait_for(lambda: self._process.poll() is not None or self._is_ready(), "starting")
            if self._process.poll() is None:
                break
        else:
            raise RuntimeError(f"{self.title} does not start:\n" + self.log()[-2000:])
        if first:
            self._create_database()
        return self

    # --- ending it ---

    def _wait_gone(self, pid):
        if self._process and self._process.pid == pid:
            self._process.wait(START_SECONDS)
        self._wait_for(lambda: not alive(pid), "stopping")

    def _end(self, number):
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, number)
            self._wait_gone(pid)

    def stop(self):
        """Lets it shut down."""
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

    # --- from a shell or a C test ---

    @classmethod
    def _run(cls, command, script):
        if not cls.available():
            print(f"skipped: {cls.title} is not installed")
            return SKIPPED
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with cls() as db:
            environment = {**os.environ, cls.address_variable: db.address(),
                           cls.variables + "_DIR": db.directory,
                           cls.variables + "_SERVER": os.path.abspath(script)}
            # The command must not outlive a test that was cut off.
            with subprocess.Popen(command, env=environment,
                                  preexec_fn=lambda: end_with_parent(signal.SIGTERM)) as child:
                status = child.wait()
            return status if status >= 0 else 128 - status

    def verbs(self):
        """What may be asked for on the command line; what each returns is printed."""
        return {
            "start": lambda: self.start().address(),
            "stop": self.stop,
            "crash": self.crash,
            "restart": lambda: self.restart().address(),
            "pause": self.pause,
            "resume": self.resume,
            "remove": self.remove,
            "pid": lambda: str(self.pid or ""),
            "port": lambda: str(self.port),
            "log": self.log,
        }

    @classmethod
    def main(cls, script, usage, arguments):
        """The command line of the subclass's script: the exit status."""
        if len(arguments) >= 2 and arguments[0] == "run":
            return cls._run(arguments[1:], script)
        try:
            verb, directory, *rest = arguments
            output = cls(os.path.abspath(directory), end_with_parent=False).verbs()[verb](*rest)
        except (KeyError, TypeError, ValueError):
            print(usage, file=sys.stderr)
            return 2
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        if output:
            print(output)
        return 0
