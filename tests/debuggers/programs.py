# SPDX-License-Identifier: GPL-2.0-or-later
"""The debuggers the stub is tried with: Debian's gdb, and newer ones that pip installs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armprobe.guests.linux.debian import cache_directory


@dataclass(frozen=True)
class Program:
    """A debugger: `command` is the program's name, `package` what pip is to install (the system has it: empty)."""

    name: str
    command: str
    package: str = ""

    @property
    def path(self) -> str | None:
        """Where it is, or None where it is not installed."""
        if not self.package:
            return shutil.which(self.command)
        path = self._folder / "bin" / self.command
        return str(path) if path.exists() else None

    def install(self) -> str:
        """Its path, after pip has installed it, if it had to, in an environment of its own.

        Raises CalledProcessError, or FileNotFoundError for a program of the system's that is not there.
        """
        if self.package and self.path is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(self._folder)], check=True)
            pip = [str(self._folder / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", self.package], check=True)
        if self.path is None:
            raise FileNotFoundError(f"{self.command} is not installed (Debian: apt-get install {self.command})")
        return self.path

    @property
    def _folder(self) -> Path:
        return cache_directory() / "debuggers" / self.name.replace(" ", "-").lower()


PROGRAMS: Final = (
    Program("gdb 13", "gdb-multiarch"),
    Program("gdb 16", "gdb", "gdb-for-pwndbg==16.3.0.post6"),
    Program("gdb 17", "gdb", "gdb-for-pwndbg==17.2.0.post5"),
    Program("gdb 18", "gdb", "gdb-for-pwndbg==18.1.0.post1"),
    Program("LLDB 23", "lldb", "lldb-for-pwndbg==23.1.0.post2"),
)


def lldb_path() -> str | None:
    """The LLDB of Debian, or the one that `make matrix` has installed. None where neither is."""
    return shutil.which("lldb") or next(program.path for program in PROGRAMS if program.command == "lldb")


def version(path: str) -> str:
    """What the program says it is: "GNU gdb (GDB) 18.1"."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].strip()
