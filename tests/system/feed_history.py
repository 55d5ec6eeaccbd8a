# SPDX-License-Identifier: Apache-2.0
"""feed_history.py - what was committed to a database of documents, one number for each commit, and
whether what a reader saw is one of its states (see feed_databases.py).

An event that carries its document shows that version. The event of an update may carry a newer one
(SOURCES.md, Change streams): what the server finds when it sends the event, and if it finds none,
the document stays as it was until the event of its deletion. So a state is right if there is a
number P, never less than that of the state before, such that each document is as the last event up
to P says, or, if that is an update, as some later version. Without updates, and where updates carry
the document of their own moment (images), this is the state after commit P, and the judge knows no
other one.

How updates come is said by `updates`: IMAGES; NEWER, as above; or LOOKED_UP, where the daemon itself
may look for the document, so that it also may be gone before its deletion is told.

    history.record(number, [(row, digest or None, is_update)...])
    history.state(["a:KEY:DIGEST", ...])  -> (largest P that changed anything, digest of all)

state() raises an AssertionError if there is no P.
"""
import bisect
import hashlib

import bson

IMAGES, NEWER, LOOKED_UP = "images", "newer", "looked up"


def row_name(letter, key):
    """As feed_watch.c names a row: the first 64 bits of the MD5 of type byte and value. In a key
    each integer is one of 64 bits."""
    element = bson.encode({"": bson.Int64(key) if isinstance(key, int) else key})
    return f"{letter}:{hashlib.md5(element[4:5] + element[6:-1]).hexdigest()[:16]}"


def document_digest(raw):
    return hashlib.md5(raw).hexdigest()[:16]


def digest_of(rows):
    return sum(int(digest, 16) for digest in rows.values())


class Versions:
    """What became of one row: the numbers, and what there was from each on."""

    def __init__(self):
        self.numbers, self.digests, self.is_update = [-1], [None], [False]
        self.places = {None: [0]}  # where what was committed is equal to it

    def add(self, number, digest, is_update):
        if self.numbers[-1] == number:  # the version before was within a transaction only
            self.places[self.digests[-1]].pop()
        self.places.setdefault(digest, []).append(len(self.numbers))
        self.numbers.append(number)
        self.digests.append(digest)
        self.is_update.append(is_update)

    def shows(self, place, digest, updates):
        """Whether a reader may see this, when the last event up to which it knows is that one."""
        while self.is_update[place] and updates != IMAGES:
            later, gone = self.places.get(digest), self.places[None]
            if (digest or updates == LOOKED_UP) and later and later[-1] >= place:
                return True
            if not gone or gone[-1] < place:  # it was there whenever the event was sent
                return False
            place -= 1
        return self.digests[place] == digest

    def is_last(self, digest, number):
        """Whether nothing else can be seen from that number on."""
        return self.numbers[-1] <= number and self.digests[-1] == digest

    def numbers_of(self, digest, first, last, updates):
        """The ranges of numbers within these two that may show it."""
        place = bisect.bisect_right(self.numbers, first) - 1
        while place < len(self.numbers) and self.numbers[place] <= last:
            after = self.numbers[place + 1] - 1 if place + 1 < len(self.numbers) else last
            if after >= self.numbers[place] and self.shows(place, digest, updates):
                yield max(first, self.numbers[place]), min(last, after)
            place += 1


def common(some, others):
    """Of two ascending lists of ranges, what is in both."""
    found, others = [], list(others)
    for first, last in some:
        found += [(max(first, a), min(last, b)) for a, b in others if a <= last and b >= first]
    return found


class History:
    def __init__(self, updates=NEWER):
        self.rows, self.last, self.least, self.updates = {}, 0, 0, updates
        self.steps = [0]  # the numbers after which something could be seen that was not before

    def record(self, number, changes):
        before = {row: self.now(row) for row, _, _ in changes}
        for row, digest, is_update in changes:
            self.rows.setdefault(row, Versions()).add(number, digest, is_update)
        self.last = number
        if any(self.now(row) != digest for row, digest in before.items()):
            self.steps.append(number)

    def now(self, row):
        """What it is after the last commit; None: absent."""
        return self.rows[row].digests[-1] if row in self.rows else None

    def committed(self):
        """The rows after the last commit."""
        return {row: self.now(row) for row in self.rows if self.now(row)}

    def goal(self):
        return self.steps[-1], digest_of(self.committed())

    def state(self, words):
        shown = dict(word.rsplit(":", 1) for word in words)
        possible = [(self.least, self.last)]
        for row in self.rows.keys() | shown.keys():
            versions, digest = self.rows.get(row, Versions()), shown.get(row)
            if versions.is_last(digest, possible[0][0]):
                continue
            before, possible = possible, common(
                possible,
                versions.numbers_of(digest, possible[0][0], possible[-1][1], self.updates))
            if not possible:
                raise AssertionError(self.objection(row, digest, versions, before))
        self.least = possible[0][0]
        step = self.steps[bisect.bisect_right(self.steps, possible[-1][1]) - 1]
        return step, digest_of(shown)

    @staticmethod
    def objection(row, digest, versions, before):
        if digest and digest not in versions.digests:
            return f"row {row} is {digest}, which the database never had"
        was = [n for n, there in zip(versions.numbers, versions.digests) if there == digest]
        return (f"row {row} is {digest or 'absent'}, as in the states from {was[-5:]} on, while "
                f"others are of {before[:5]}")
