#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Goal: docs/RING-TUTORIAL.md works when pasted. Method: its blocks are run one after the other by one
shell, as they are printed but for the ports, which are free ones, and the home directory, which is a
temporary one; the block of C is built and run. Whatever the shell has left running is ended by the
ids that the tutorial has written down."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import zookeeper_kit
from ports import free_ports

BUILD = Path(os.environ["SIDEPOND_BUILD_DIR"])
SOURCE = Path(os.environ["SIDEPOND_SOURCE_DIR"])
PORTS = ("2181", "6401", "6402", "6403")


def with_ports(text, ports):
    """640$n is a name of three ports: a list of them stands for it."""
    text = text.replace("640$n", "${ports[$n]}").replace("'/usr/share/java/*'",
                                                        f"'{zookeeper_kit.classpath()}'")
    for before, after in zip(PORTS, ports):
        text = re.sub(rf"\b{before}\b", after, text)
    return f"ports=({' '.join(ports)})\n" + text


class TutorialTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="sidepond-tutorial-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, self.home)
        self.addCleanup(self.end_all)
        self.page = (SOURCE / "docs/RING-TUTORIAL.md").read_text()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SIDEPOND_")}
        self.environment.update(HOME=str(self.home), PATH=f"{BUILD}/bin:{os.environ['PATH']}")

    def end_all(self):
        for file in (self.home / "sidepond-ring").glob("*.pid"):
            try:
                os.kill(int(file.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                pass

    def run_shell(self, script):
        """Its output; a shell of its own session, so that its jobs are its own."""
        result = subprocess.run(["bash", "-euxo", "pipefail", "-c", script], cwd=self.home,
                                env=self.environment, stdin=subprocess.DEVNULL, timeout=100,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = result.stdout.decode(errors="replace")
        if result.returncode != 0:
            for log in sorted((self.home / "sidepond-ring").glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text()[-3000:]}\n")
        self.assertEqual(result.returncode, 0, text)
        return text

    def c_program(self, ports):
        """Commands that build and run the block of C, where a compiler is at hand."""
        source = re.search(r"```c\n(.*?)```", self.page, re.S).group(1)
        (self.home / "client.c").write_text(source.replace("2181", ports[0]))
        return (f"cc -o ~/client ~/client.c -I{SOURCE}/client/include -I{SOURCE}/alloc/include "
                f"-L{BUILD}/lib -lsidepond -Wl,-rpath,{BUILD}/lib && ~/client\n")

    def test_tutorial(self):
        ports = [str(port) for port in free_ports(len(PORTS))]
        blocks = re.findall(r"```sh\n(.*?)```", self.page, re.S)
        self.assertGreaterEqual(len(blocks), 7)
        dies = next(i for i, block in enumerate(blocks) if "--kill" in block)
        program = "" if os.environ.get("SIDEPOND_SANITIZE") else self.c_program(ports)
        text = self.run_shell(with_ports(
            "\n".join([*blocks[:dies], program, *blocks[dies:]]), ports))
        for said in ("redundancy complete: each of 16384 slots has 2 of 2 copies",
                     "user:7: written, 2 of 2 copies", "\nGrace\n", "passed", "n3: drained",
                     "all copies equal"):
            self.assertIn(said, text)
        self.assertRegex(text, r"reads +\d+, 0 failed")
        self.assertRegex(text, r"writes +\d+, 0 failed")
        self.assertFalse((self.home / "sidepond-ring").exists())


if __name__ == "__main__":
    if not zookeeper_kit.available():
        print("no ZooKeeper here")
        sys.exit(77)
    unittest.main()
