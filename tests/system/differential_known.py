# SPDX-License-Identifier: Apache-2.0
"""differential_known.py - the differences from Redis that are meant, and why.

Each has the command (lower case, or "*"), a regular expression for what Redis replies and one for
what ours does, both for the reply as resp_wire.text() shows it, and the reason, a sentence for
docs/PROTOCOL.md. A difference that none of these explains fails the differential test; one that
explains nothing any more is printed by its long run.
"""
import re
from collections import namedtuple

Known = namedtuple("Known", "command redis ours reason")

KNOWN = []


def explain(command, redis, ours, known=None):
    """The one that explains it, or None. The replies as text."""
    for one in KNOWN if known is None else known:
        if one.command in ("*", command) and re.search(one.redis, redis, re.S) \
                and re.search(one.ours, ours, re.S):
            return one
    return None
