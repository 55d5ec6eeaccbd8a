# SPDX-License-Identifier: Apache-2.0
"""ports.py - TCP ports on loopback that nobody else will take before the test's server does.

They lie below the ports that the system gives to outgoing connections. Each is held by this process
until it ends, through a Unix socket in the abstract namespace, so that tests which run at the same
time, and all of their servers that are started anew, do not meet.
"""
import random
import socket

FIRST, LAST = 10000, 21999  # 10000 above each is below the system's own ports, too
CLUSTER_BUS = 10000         # Redis Cluster listens there as well

_held = []


def _hold(port):
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0sidepond-test-port-{port}")
    except OSError:
        mark.close()
        return False
    _held.append(mark)
    return True


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """One whose cluster bus is free as well."""
    while True:
        port = random.SystemRandom().randint(FIRST, LAST)
        if _hold(port) and _is_free(port) and _is_free(port + CLUSTER_BUS):
            return port


def free_ports(count):
    return [free_port() for _ in range(count)]
