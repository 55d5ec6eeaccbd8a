#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_feed_history.py - Goal: the judge of the feed faults objects to what no database had, and to
nothing else. Method: histories of a few commits, and states that are right or forged.
"""
import unittest

import bson

from feed_history import IMAGES, LOOKED_UP, History, digest_of, document_digest, row_name

A, B = "a:0000000000000001", "e:0000000000000002"
ROWS = {"a": A, "b": B}
D1, D2, D3, D4 = (f"{n:016x}" for n in range(1, 5))


class Told(History):
    """States as {row: digest}."""

    def sees(self, **rows):
        return self.state([f"{ROWS[row]}:{digest}" for row, digest in rows.items()])[0]


class HistoryTest(unittest.TestCase):
    def history(self, *commits):
        told = Told()
        for number, changes in enumerate(commits, 1):
            told.record(number, changes)
        return told

    def exact(self):
        return self.history([(A, D1, False)], [(A, D2, False), (B, D3, False)], [(A, None, False)],
                            [(B, D4, False)])

    def objects(self, history, **rows):
        with self.assertRaises(AssertionError):
            history.sees(**rows)

    def test_each_state(self):
        history = self.exact()
        self.assertEqual(history.sees(), 0)
        self.assertEqual([history.sees(a=D1), history.sees(a=D2, b=D3), history.sees(b=D3),
                          history.sees(b=D4)], [1, 2, 3, 4])
        self.assertEqual(history.goal(), (4, digest_of({B: D4})))

    def test_states_left_out(self):
        history = self.exact()
        self.assertEqual([history.sees(a=D1), history.sees(b=D4)], [1, 4])

    def test_half_a_transaction(self):
        self.objects(self.exact(), a=D2)
        self.objects(self.exact(), a=D1, b=D3)

    def test_of_different_moments(self):
        self.objects(self.exact(), a=D1, b=D4)
        self.objects(self.exact(), a=D2, b=D4)

    def test_back(self):
        history = self.exact()
        history.sees(b=D3)
        self.objects(history, a=D2, b=D3)

    def test_never_there(self):
        self.objects(self.exact(), a=D4)
        self.objects(self.history(), a=D1)

    def test_within_a_transaction(self):
        """What the transaction itself has changed once more nobody sees."""
        history = self.history([(A, D1, False), (A, D2, False)], [(B, D3, False)])
        self.objects(history, a=D1)
        self.objects(history, a=D1, b=D3)
        self.assertEqual(history.sees(a=D2), 1)

    def test_newer_of_an_update(self):
        """The event of commit 2 may carry the document of 4, and then that of 3 has yet to come."""
        history = self.history([(A, D1, False)], [(A, D2, True)], [(B, D3, False)], [(A, D4, True)])
        self.assertEqual(history.sees(a=D4), 2)
        self.assertEqual(history.sees(a=D4, b=D3), 4)

    def test_older_of_an_update(self):
        history = self.history([(A, D1, False)], [(A, D2, True)], [(B, D3, False)])
        self.objects(history, a=D1, b=D3)

    def test_update_of_what_is_gone(self):
        """Nothing was found for the update, so the document stays until its deletion is told."""
        history = self.history([(A, D1, False)], [(A, D2, True)], [(B, D3, False)], [(A, None, False)])
        self.assertEqual(history.sees(a=D1, b=D3), 3)
        self.assertEqual(history.sees(b=D3), 4)

    def test_looked_up(self):
        """What is gone by then is gone."""
        history = self.history([(A, D1, False)], [(A, D2, True)], [(B, D3, False)], [(A, None, False)])
        history.sees(a=D1)
        self.objects(history)
        history.updates = LOOKED_UP
        self.assertEqual(history.sees(), 2)
        self.assertEqual(history.sees(b=D3), 4)

    def test_images(self):
        """Updates carry the document of their moment, until it is said that they need not."""
        history = self.history([(A, D1, False)], [(A, D2, True)], [(B, D3, False)], [(A, D4, True)])
        history.updates = IMAGES
        self.objects(history, a=D4)
        self.assertEqual(history.sees(a=D2), 2)
        history.updates = LOOKED_UP
        self.assertEqual(history.sees(a=D4, b=D3), 4)

    def test_nothing_new(self):
        """Commits that change nothing are not waited for."""
        history = self.history([(A, D1, False)])
        self.assertEqual(history.sees(a=D1), 1)
        history.record(2, [])
        history.record(3, [(B, D2, False), (B, None, False)])
        self.assertEqual(history.goal(), (1, digest_of({A: D1})))
        self.assertEqual(history.sees(a=D1), 1)

    def test_names(self):
        """As feed_watch prints them: keys that MongoDB takes for equal are one."""
        self.assertEqual(row_name("a", 5), row_name("a", bson.Int64(5)))
        self.assertNotEqual(row_name("a", 5), row_name("e", 5))
        self.assertNotEqual(row_name("a", 5), row_name("a", "5"))
        self.assertEqual(len(document_digest(b"")), 16)


if __name__ == "__main__":
    unittest.main()
