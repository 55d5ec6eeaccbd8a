# SPDX-License-Identifier: Apache-2.0
"""python_package.py - the Python package, installed by pip in a virtual environment of a test's own."""
import os
import shutil
import subprocess
import sys


def install(work, tree):
    """Copies what it is built of to work/tree (building leaves files behind), installs it in
    work/venv, which sees Debian's packages too, and returns that environment's python."""
    sources = work / "tree"
    sources.mkdir()
    for part in ("CMakeLists.txt", "alloc", "client"):
        copy = shutil.copy if (tree / part).is_file() else shutil.copytree
        copy(tree / part, sources / part)
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", work / "venv"],
                   check=True)
    python = work / "venv/bin/python"
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-build-isolation",
                    sources / "client/python"], check=True, env=environment, stdout=sys.stderr)
    return python
