# SPDX-License-Identifier: Apache-2.0
"""feed_documents.py - the changes of feed_databases.py in collections of documents."""
import bson


def identity(key):
    """The _id of a row: of several types."""
    return (key, f"key {key}", key + 0.5, bson.ObjectId(f"{key:024x}"))[key % 4]


def filled(key, number, text, big):
    return {"_id": identity(key), "k": key, "n": number, "s": text, "big": "y" * (big or 0),
            "of": {"n": number, "texts": [text, {"last": text}]}}


def put(rows, key, number, text, big):
    """Each of these yields (operation, _id, document or None), of a collection {_id: document}."""
    operation = "replace" if identity(key) in rows else "insert"
    yield operation, identity(key), filled(key, number, text, big)


def move(rows, key, other):
    """A document keeps its _id, so it is another one."""
    if identity(key) in rows and identity(other) not in rows:
        yield "delete", identity(key), None
        yield "insert", identity(other), {**rows[identity(key)], "_id": identity(other), "k": other}


def _update(rows, keys, change):
    for key in keys:
        document = {**rows[key], **change(rows[key])} if key in rows else None
        if document and document != rows[key]:
            yield "update", key, document


def count(rows, first, last):
    yield from _update(rows, [key for key in rows if first <= rows[key]["k"] <= last],
                       lambda row: {"n": row["n"] + 1, "of": {**row["of"], "n": row["n"] + 1}})


def text(rows, key, new):
    yield from _update(rows, [identity(key)], lambda row: {
        "s": new, "of": {**row["of"], "texts": row["of"]["texts"][-20:] + [new]}})


def big(rows, key, size):
    yield from _update(rows, [identity(key)], lambda row: {"big": "z" * size})


def widen(rows):
    yield from _update(rows, list(rows), lambda row: {"extra": 5})


def narrow(rows):
    for key, row in rows.items():
        if "extra" in row:
            yield "update", key, {name: row[name] for name in row if name != "extra"}


def delete(rows, key):
    if identity(key) in rows:
        yield "delete", identity(key), None


def clear(rows, first):
    for key in [key for key in rows if rows[key]["k"] >= first]:
        yield "delete", key, None


def empty(rows):
    yield from clear(rows, 0)


def many(rows, first, number):
    for key in range(first, first + number // 8):
        yield from put(rows, key, 0, None, 4000)


def undo(_rows):
    """Back to a savepoint: none of it is told."""
    return iter(())


KINDS = {"put": put, "move": move, "count": count, "text": text, "big": big, "widen": widen,
         "narrow": narrow, "delete": delete, "clear": clear, "empty": empty, "many": many,
         "undo": undo}
