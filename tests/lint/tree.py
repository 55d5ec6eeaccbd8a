# SPDX-License-Identifier: Apache-2.0
"""tree.py - what the lints share: the files of a tree, and how a complaint is made.

A lint is called with the root of a tree, prints one line per complaint (path:line: text) and
ends with 1 if there was any. Files that git ignores, and the samples that lints must object to,
do not count.
"""
import os
import subprocess
import sys
from pathlib import Path

IGNORED_DIRS = {".git", "build", "__pycache__", ".venv"}
SAMPLES = "tests/lint/samples/"


def root_from_arguments():
    return Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()


def _git_files(root):
    if not (root / ".git").exists():
        return None
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "-z",
               "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [name for name in listed.decode().split("\0") if name]


def _walked_files(root):
    names = []
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if d not in IGNORED_DIRS and not d.endswith(".egg-info")]
        names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return names


def files(root):
    """Relative paths (str) of all files of the tree, sorted."""
    names = _git_files(root)
    if names is None:
        names = _walked_files(root)
    return sorted({n for n in names if not n.startswith(SAMPLES) and (root / n).is_file()})


def sources(root, *suffixes):
    return [n for n in files(root) if n.endswith(suffixes)]


def scripts(root, interpreter):
    """Files whose first line calls this interpreter, e.g. "bash"."""
    found = []
    for name in files(root):
        with open(root / name, "rb") as file:
            first = file.readline(200)
        if first.startswith(b"#!") and interpreter.encode() in first:
            found.append(name)
    return found


def text_of(path):
    """The text of a file, or None if it is binary."""
    data = path.read_bytes()
    return None if b"\0" in data else data.decode("utf-8", errors="replace")


class Complaints:
    def __init__(self):
        self.count = 0

    def add(self, where, text):
        print(f"{where}: {text}")
        self.count += 1

    def finish(self, summary):
        print(f"{summary}: {self.count} complaints" if self.count else f"{summary}: fine")
        sys.exit(1 if self.count else 0)
