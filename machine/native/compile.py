# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles the C core with the system's C compiler, for setup.py and for the Makefile.

As a program, it puts the library beside itself (in an editable install: into the installed tree), or where its argument
says. CC and CFLAGS in the environment name another compiler and further flags, as they do for make. Each start imports
this file for `digest`, so what only compiling needs is imported there.
"""

import hashlib
import os
import sys
from pathlib import Path

NAME = "libarmprobe.so"
FLAGS = (
    # Each block calls a function of core.c: one that begins a cache line makes a tight loop 3 % faster.
    *("-std=c11", "-O2", "-falign-functions=64", "-Wall", "-Wextra"),
    *("-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,defs"),  # defs: what is declared and missing is an error here
)


class CompileError(Exception):
    """One sentence: what is missing or wrong."""


def compiler() -> list[str]:
    """The C compiler and its first arguments."""
    import shlex

    return shlex.split(os.environ.get("CC", "")) or ["cc"]


def digest(sources: Path) -> str:
    """A digest of the C files of the folder `sources`; the library has that of its own in it."""
    result = hashlib.sha256()
    for file in sorted(sources.glob("*.[ch]")):
        content = file.read_bytes()
        result.update(f"{file.name} {len(content)}\n".encode() + content)
    return result.hexdigest()


def compile_library(library: Path, sources: Path) -> None:
    """Write `library` from the C files of the folder `sources`; the compiler's own messages go to stderr.

    Processes that have the old library loaded keep it. Raises CompileError.
    """
    import shlex
    import subprocess
    import tempfile

    if sys.platform != "linux":
        raise CompileError(
            f"armprobe runs on Linux, not on {sys.platform}: use a virtual machine, a container or WSL 2"
        )
    files = sorted(map(str, sources.glob("*.c")))
    flags = [*FLAGS, f'-DARMPROBE_SOURCES="{digest(sources)}"', *shlex.split(os.environ.get("CFLAGS", ""))]
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder, library.name)
        try:
            code = subprocess.run([*compiler(), *flags, "-o", str(made), *files]).returncode
        except OSError as error:
            raise CompileError(
                f"armprobe's core is in C, and there is no C compiler {compiler()[0]!r} ({error.strerror}): "
                "install one (Debian: apt-get install gcc libc6-dev), or name yours in the environment variable CC"
            ) from None
        if code:
            raise CompileError(
                f"{compiler()[0]} did not compile armprobe's C core (its messages are above); "
                "it takes a C11 compiler and the C library's headers (Debian: apt-get install gcc libc6-dev)"
            )
        made.replace(library)


if __name__ == "__main__":
    try:
        target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(NAME)
        compile_library(target, Path(__file__).resolve().parent)
    except CompileError as problem:
        sys.exit(str(problem))
