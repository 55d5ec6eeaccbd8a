#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""python_package.py - the Python package, installed by pip in a virtual environment. The tests of a
build share one, in its directory, as installing takes longer than some of them; it is made anew
when its sources have changed. As a program, it installs the one of SIDEPOND_SOURCE_DIR in
SIDEPOND_BUILD_DIR, and prints where that directory is: `venv`, and `tree` with a copy of the sources."""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PARTS = ("CMakeLists.txt", "alloc", "client")
SOURCES = {".c", ".h", ".map", ".py", ".pyi", ".toml", ".cfg", ".txt", ".md"}


def digest_of(tree):
    digest = hashlib.sha256()
    for part in PARTS:
        path = tree / part
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.suffix in SOURCES and file.is_file():
                digest.update(str(file.relative_to(tree)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def make(work, tree):
    """Copies what it is built of to work/tree (building leaves files behind), installs it in
    work/venv, which sees Debian's packages too, and returns that environment's python."""
    sources = work / "tree"
    sources.mkdir()
    for part in PARTS:
        copy = shutil.copy if (tree / part).is_file() else shutil.copytree
        copy(tree / part, sources / part)
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", work / "venv"],
                   check=True)
    python = work / "venv/bin/python"
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-build-isolation",
                    sources / "client/python"], check=True, env=environment, stdout=sys.stderr)
    return python


def install(work, tree):
    """The python that has it; without SIDEPOND_BUILD_DIR one of work's own."""
    build = os.environ.get("SIDEPOND_BUILD_DIR")
    if not build:
        return make(work, tree)
    shared = Path(build) / "python-package"
    stamp, digest = shared / "stamp", digest_of(tree)
    with open(f"{shared}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="ascii") != digest:
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            make(shared, tree)
            stamp.write_text(digest, encoding="ascii")
    return shared / "venv/bin/python"


if __name__ == "__main__":
    print(install(None, Path(os.environ["SIDEPOND_SOURCE_DIR"])).parents[2])
