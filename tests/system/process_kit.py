# SPDX-License-Identifier: Apache-2.0
"""process_kit.py - processes of a test: waiting for what they do, and children that do not outlive
it."""
import ctypes
import signal
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def wait_for(condition, what, seconds=30, pause=0.005):
    """Returns the condition's first true value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(pause)


def end_with_parent(number=signal.SIGKILL):
    """In a child: it gets this signal when the thread that started it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)
