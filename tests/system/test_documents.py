#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: documents can be had over RESP and with the tool: a row by the text of its key, whatever
MongoDB's type that is, whole as extended JSON or by a field's path; and what is shown of a key names
its row. Method: a pond of documents that are encoded here (bson_pond puts them in), the server on
top of it, raw sockets, and the tool."""
import json
import os
import struct
import subprocess
import unittest
from pathlib import Path

from resp_servers import Ours
from resp_wire import Connection

BIN = Path(os.environ["SIDEPOND_BUILD_DIR"]) / "bin"
OID = "507f1f77bcf86cd799439011"


def text(value):
    return struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"


def document(*fields):
    """Of names, types and bytes."""
    body = b"".join(bytes([kind]) + name.encode() + b"\0" + data for name, kind, data in fields)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


# The key's type and bytes, every text that means it, and its extended JSON.
KEYS = [
    (16, struct.pack("<i", 5), ["5", "5.0", "5e0", '{"$numberDecimal": "5.00"}'], 5),
    (2, text("5"), ['"5"', '"\\u0035"'], "5"),
    (2, text("plain"), ["plain", '"plain"'], "plain"),
    (2, text("a:b"), ["a:b"], "a:b"),
    (2, text(OID), [f'"{OID}"'], OID),
    (7, bytes.fromhex(OID), [OID, OID.upper(), f'{{"$oid": "{OID}"}}'], {"$oid": OID}),
    (8, b"\1", ["true"], True),
    (10, b"", ["null"], None),
    (5, b"\x10\0\0\0\4" + bytes(range(16)), ['{"$uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f"}'],
     {"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "04"}}),
    (9, struct.pack("<q", 1500), ['{"$date": "1970-01-01T00:00:01.500Z"}', '{"$date": 1500}'],
     {"$date": "1970-01-01T00:00:01.500Z"}),
    (3, document(("a", 16, struct.pack("<i", 1))), ['{"a": 1}', '{"a":1.0}'], {"a": 1}),
    (1, struct.pack("<d", 0.1), ["0.1", "1e-1"], 0.1),
    (19, struct.pack("<QQ", 1, 0x303E << 48), ['{"$numberDecimal": "0.10"}'],
     {"$numberDecimal": "0.1"}),
]
NO_KEYS = ["6", "{", '{"$oid": "5"}', '"', "[1", "nobody", "", OID[:-1] + "2", "1e999"]


def things():
    for number, (kind, data, _, _) in enumerate(KEYS):
        inner = document(("city", 2, text("K\u00f6ln")), ("zip", 16, struct.pack("<i", number)))
        tags = document(("0", 2, text("red")), ("1", 10, b""))
        yield document(("_id", kind, data), ("address", 3, inner), ("tags", 4, tags),
                       ("price", 19, struct.pack("<QQ", 150, 0x303C << 48)))


class Documents(Ours):
    def __enter__(self):
        pond = os.path.join(self.directory, "pond")
        subprocess.run([BIN / "bson_pond", pond, "things", "_id", "address.zip"], check=True,
                       input=b"".join(things()))
        subprocess.run([BIN / "bson_pond", pond, "pairs", "_id,address.zip"], check=True,
                       input=b"".join(things()))
        return super().__enter__()


class DocumentsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Documents())
        cls.one = cls.enterClassContext(Connection(cls.server.unix))
        cls.pond = os.path.join(cls.server.directory, "pond") + "/"

    def call(self, *words):
        kind, content = self.one.command(*words)
        self.assertNotEqual(kind, "-", content)
        return content

    def get(self, key):
        row = self.call("GET", key)
        return None if row is None else json.loads(row)

    def tool(self, *words, code=0):
        done = subprocess.run([BIN / "sidepond", "-p", self.pond, *words], text=True, timeout=20,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def test_every_text_of_a_key_finds_its_row(self):
        for number, (_, _, texts, shown) in enumerate(KEYS):
            for key in [*texts, json.dumps(shown)]:
                row = self.get(f"things:{key}")
                self.assertIsNotNone(row, key)
                self.assertEqual((row["_id"], row["document"]["_id"]), (shown, shown))
                self.assertEqual(row["document"]["address"], {"city": "K\u00f6ln", "zip": number})
                self.assertEqual(self.call("EXISTS", f"things:{key}"), 1)

    def test_what_hget_says_of_a_key_names_it(self):
        for number, (_, _, texts, _) in enumerate(KEYS):
            said = self.call("HGET", f"things:{texts[0]}", "_id").decode()
            self.assertEqual(self.get(f"things:{said}")["document"]["address"]["zip"], number)

    def test_what_is_no_key_is_a_row_that_is_not_there(self):
        for key in NO_KEYS:
            self.assertIsNone(self.get(f"things:{key}"), key)
            self.assertEqual(self.call("EXISTS", f"things:{key}"), 0)

    def test_fields_by_path(self):
        row = "things:plain"
        self.assertEqual(self.call("HGET", row, "address.city"), "K\u00f6ln".encode())
        self.assertEqual(self.call("HGET", row, "address.zip"), b"2")
        self.assertEqual(self.call("HGET", row, "tags.0"), b"red")
        self.assertEqual(self.call("HGET", row, "tags"), b'["red", null]')
        self.assertIsNone(self.call("HGET", row, "tags.1"))
        self.assertIsNone(self.call("HGET", row, "tags.2"))
        self.assertIsNone(self.call("HGET", row, "nobody"))
        self.assertEqual(self.call("HGET", row, "price"), b'{"$numberDecimal": "1.50"}')
        self.assertEqual(self.call("HMGET", row, "_id", "address", "nobody"),
                         [("$", b"plain"), ("$", '{"city": "K\u00f6ln", "zip": 2}'.encode()),
                          ("$", None)])
        self.assertEqual(self.call("HKEYS", row),
                         [("$", b"_id"), ("$", b"address.zip"), ("$", b"document")])
        self.assertEqual((self.call("HEXISTS", row, "tags.0"), self.call("HEXISTS", row, "tags.1")),
                         (1, 0))

    def test_keys_of_several_columns(self):
        for number, (_, _, texts, _) in enumerate(KEYS):
            for key in texts:
                if key == "a:b":
                    continue  # a colon in a plain string is the end of it
                row = self.get(f"pairs:{key}:{number}")
                self.assertEqual(row["document"]["address"]["zip"], number, key)
        self.assertEqual(self.get('pairs:"a:b":3')["_id"], "a:b")
        self.assertIsNone(self.get("pairs:plain"))
        self.assertIsNone(self.get('pairs:"a:b"'))

    def test_the_tool(self):
        for number, (_, _, texts, shown) in enumerate(KEYS):
            for key in texts:
                row = json.loads(self.tool("--json", "get", "things", key))
                self.assertEqual((row["_id"], row["address.zip"]), (shown, number))
        self.assertEqual(self.tool("get", "things", "plain", "--column", "address.city"), "K\u00f6ln\n")
        self.assertEqual(self.tool("--json", "get", "things", "5", "--column", "tags.0"),
                         '{"tags.0": "red"}\n')
        self.assertIn("things", self.tool("tables"))
        self.assertEqual(self.tool("get", "things", "4", "--index", "address.zip", "--column", "_id",
                                   code=2), "")
        self.assertEqual(self.tool("get", "things", "5", "--index", "by_address.zip", "--column",
                                   "_id"), OID + "\n")
        self.assertEqual(self.tool("get", "things", "{", code=2), "")
        self.assertEqual(self.tool("get", "things", "5", "--column", "nobody", code=1), "")
        self.assertIn(f'\t"{OID}"\t', "\t" + self.tool("scan", "things", "--columns", "_id")
                      .replace("\n", "\t"))


if __name__ == "__main__":
    unittest.main()
