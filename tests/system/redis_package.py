# SPDX-License-Identifier: Apache-2.0
"""redis_package.py - redis-py from PyPI, in a virtual environment of a test's own."""
import contextlib
import subprocess
import sys
import tempfile

VERSION = "redis>=5,<9"


@contextlib.contextmanager
def environment():
    """The environment's python, or None where the package cannot be had (no network)."""
    with tempfile.TemporaryDirectory(prefix="sidepond-test-redis-py.") as directory:
        subprocess.run(["/usr/bin/python3", "-m", "venv", directory], check=True)
        python = directory + "/bin/python"
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--retries", "1", "--timeout", "10", VERSION],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
        yield python if done.returncode == 0 else None
