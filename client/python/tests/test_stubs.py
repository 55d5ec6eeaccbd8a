# SPDX-License-Identifier: Apache-2.0
"""Goal: the type stubs say what the module is. Method: mypy on a program that uses every part as it
should be used, and on lines that are wrong and must be found."""
import subprocess
import sys

import pytest

GOOD = """
import sidepond
from datetime import datetime
from typing import List, Mapping, Optional

pond: sidepond.Pond = sidepond.open("main", wait=5, populate=True)
tables: Mapping[str, sidepond.Table] = pond
users = pond["users"]
row: sidepond.Row = users[42]
columns: Mapping[str, object] = row
name: str = row.name
raw: bytes = users.raw(42)
many: List[Optional[sidepond.Row]] = users.get_many([1, 2])
maybe: Optional[sidepond.Row] = users.get(1)
with pond.snapshot() as snapshot:
    version: int = snapshot.version
    view: Optional[memoryview] = snapshot["words"]["a"].view("value")
age: float = users.age
loaded: Optional[datetime] = users.loaded_at
names: List[str] = [column.name for column in users.schema.columns]
now: int = pond.wait(version=7, timeout=2)
one = users.by("by_email")["a@b.c"]
cache: sidepond.Cache = pond.cache
cache.set("k", b"v", ttl=2.5)
cache["k"] = "v"
value: Optional[bytes] = cache.get("k")
text: str | bytes = cache.get("k", "none")
values: List[Optional[bytes]] = cache.get_many(["a", b"b"])
computed: bytes = cache.get_or_compute("k", lambda: "v", ttl=60, stale=10)

@cache.cached(ttl=60, key=lambda year: f"totals:{year}")
def totals(year: int) -> List[int]:
    return [year]

sums: List[int] = totals(2024)
with sidepond.Ring(zookeeper="127.0.0.1:2181", timeout=0.5) as ring:
    copies: int = ring.set("k", b"v", ttl=60, need="all")
    maybe_value: Optional[bytes] = ring.get("k")
    several: Mapping[str, bytes] = ring.get_many(["a", "b"])
    holders = ring.where(b"k").holders + (ring.nodes()[0].name,)
    epoch: int = ring.info().epoch
    ring.drain("a")
    ring.undrain("a")
    ring.weight("a", weight=50)
    epoch = ring.wait(epoch, timeout=1.5)
    holders = ring.where_slot(3).holders
gone: bool = totals.forget(2024)
try:
    users[1]
except sidepond.NotFound as error:
    print(error.table, error.key)
"""

BAD = ["sidepond.open(3)", "sidepond.open('main').wait(version='x')",
       "sidepond.open('main')['users'].nothing", "x: str = sidepond.open('main').version",
       "sidepond.open('main').cache.set('k', 3)", "sidepond.open('main').cache.cached(60)",
       "sidepond.Ring(zookeeper=3)", "sidepond.Ring().drain(3)", "sidepond.Ring(nodes='a=b:1').set('k', 'v', need='some')"]


def mypy(folder, text):
    program = folder / "program.py"
    program.write_text(text)
    result = subprocess.run([sys.executable, "-m", "mypy", "--strict", str(program)], cwd=folder,
                            capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def test_good_programs_pass(tmp_path):
    pytest.importorskip("mypy")
    assert mypy(tmp_path, GOOD)[0] == 0, mypy(tmp_path, GOOD)[1]


def test_bad_lines_are_found(tmp_path):
    pytest.importorskip("mypy")
    code, output = mypy(tmp_path, "import sidepond\n" + "\n".join(BAD) + "\n")
    assert code == 1 and f"Found {len(BAD)} errors" in output, output
