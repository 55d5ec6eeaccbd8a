# SPDX-License-Identifier: Apache-2.0
"""Builds the extension module.

In a checkout the library's sources are compiled into the module, so nothing needs to be installed
but a C compiler, libxxhash-dev, libhiredis-dev, libjansson-dev and libzookeeper-mt-dev. Without the
sources, or with SIDEPOND_SYSTEM_LIB=1, the module is linked with the installed libsidepond
(pkg-config sidepond).
"""
import os
import re
import shlex
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHECKOUT = (ROOT / "client/local/CMakeLists.txt").is_file()
PARTS = ["alloc", "client/local", "client/cache", "client/ring", "client/member", "client/nodes"]
LIBRARIES = ["libxxhash", "hiredis", "jansson"]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def sources_in(folder):
    names = re.findall(r"\b\w+\.c\b", (ROOT / folder / "CMakeLists.txt").read_text())
    return [str(ROOT / folder / name) for name in names]


def version():
    if not CHECKOUT:
        return subprocess.run(["pkg-config", "--modversion", "sidepond"], check=True,
                              capture_output=True, text=True).stdout.strip()
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"project\(sidepond VERSION ([0-9.]+)", text).group(1)


def pkg_config(option, *modules):
    result = subprocess.run(["pkg-config", option, *modules], check=True, capture_output=True,
                            text=True)
    return shlex.split(result.stdout)


def headers():
    folders = [HERE / "src", ROOT / "client/include/sidepond", *(ROOT / part for part in PARTS)]
    return [str(path) for folder in folders for path in folder.rglob("*.h")]


class ParallelBuild(build_ext):
    """Compiles as many sources at a time as there are processors. By itself setuptools builds only
    several extensions so, and this is one of a hundred files."""

    def build_extensions(self):
        compile_one, link = self.compiler._compile, self.compiler.link_shared_object
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            jobs = []

            def link_when_compiled(*arguments, **options):
                for job in jobs:
                    job.result()
                link(*arguments, **options)

            self.compiler._compile = lambda *a: jobs.append(pool.submit(compile_one, *a))
            self.compiler.link_shared_object = link_when_compiled
            super().build_extensions()


def extension():
    sources = sorted(os.path.relpath(path, HERE) for path in (HERE / "src").glob("*.c"))
    macros = [("_GNU_SOURCE", None)]
    compile_args = ["-std=c11", "-O3", "-g0", "-fvisibility=hidden"]
    link_args = [f"-Wl,--version-script={HERE / 'src/exports.map'}"]
    if not FREE_THREADED:
        macros.append(("Py_LIMITED_API", "0x030B0000"))
    if CHECKOUT and not os.environ.get("SIDEPOND_SYSTEM_LIB"):
        for part in PARTS:
            sources += sources_in(part)
        folders = ["", "alloc/include", "client/include"]
        compile_args += [f"-I{ROOT / folder}" for folder in folders]
        # what a reader does not use, all that writes above all, is left out by the linker
        compile_args += ["-ffunction-sections"]
        compile_args += pkg_config("--cflags", *LIBRARIES)
        # ZooKeeper's client comes without a pkg-config file
        link_args += ["-Wl,--gc-sections", *pkg_config("--libs", *LIBRARIES), "-lzookeeper_mt"]
        macros += [("SIDEPOND_VERSION", f'"{version()}"'), ("THREADED", None)]
    else:
        compile_args += pkg_config("--cflags", "sidepond")
        link_args += pkg_config("--libs", "sidepond")
    return Extension("sidepond._native", sources, define_macros=macros,
                     extra_compile_args=compile_args, extra_link_args=link_args,
                     depends=[__file__, *headers()],
                     py_limited_api=not FREE_THREADED)


setup(
    version=version(),
    ext_modules=[extension()],
    cmdclass={"build_ext": ParallelBuild},
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
