#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_ring_away.py - Goal: a node that comes back from another time does no harm: neither one whose
clock was fast, nor one that was away for longer than it is remembered what was deleted.
Method: real sidepondd processes on loopback, with a static list or a real ZooKeeper; a wall clock
that is wrong is a preloaded library. What a node has is asked of that very node.
"""
import os
import sys
import unittest

import test_ring_daemon as rings
from daemon_kit import BUILD, wait_for

CLOCK = os.path.join(BUILD, "lib", "libring_clock.so")
HOUR_MS = 3600 * 1000


@unittest.skipUnless(os.path.exists(CLOCK), "no library can be preloaded in this build")
class Clock(rings.Ring):
    def fast_node(self, names):
        """A ring of two, of which the second has lived an hour ahead and written these keys."""
        nodes = self.static(2)
        nodes[1].stop()
        nodes[1].start(
            environment={"LD_PRELOAD": CLOCK, "RING_CLOCK_SKEW_MS": str(HOUR_MS)})
        wait_for(nodes[1].holds_all, "it holds its slots")
        for name in names:
            nodes[1].call("SET", name, "fast")
        return nodes

    def test_what_a_fast_clock_has_written(self):
        nodes = self.fast_node(["alone", "replaced"])
        self.assertIsNone(nodes[0].has("alone"))  # which it has refused
        nodes[1].stop()
        nodes[0].call("SET", "replaced", "right")
        nodes[1].start()
        nodes[1].await_log("later than this node's clock")
        wait_for(lambda: nodes[0].has("alone") == b"fast", "what only that node has is not lost")
        wait_for(lambda: nodes[1].has("replaced") == b"right", "what another node has counts")
        for node, other in (nodes, reversed(nodes)):
            for key in ("alone", "replaced", "new"):
                self.assertEqual(node.call("SET", key, node.name), b"OK")
                self.assertEqual(other.has(key), node.name.encode(), f"{key} of {node.name}")
        self.await_equal()


if __name__ == "__main__":
    print(f"seed {rings.SEED}", file=sys.stderr)
    unittest.main(verbosity=2)
