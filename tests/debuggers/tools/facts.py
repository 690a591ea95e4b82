# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Linux guest says of itself, by its own files and commands: other people's tools have to say the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from armprobe.commands import Session
from armprobe.guests import linux
from armprobe.guests.linux.debian import disk_modules, fetch_kernel

MODULES = ("virtio_ring", "virtio")
"""Of the kernel's own package, which the guest has loaded; the second uses the first."""


@dataclass(frozen=True)
class Facts:
    """A guest that is stopped, as a snapshot, and what its own commands said right before."""

    snapshot: Path
    said: dict[str, str]
    """By the command that was executed in the guest."""

    @property
    def release(self) -> str:
        """As `uname -r` prints it."""
        return self.said["uname -r"].strip()

    @property
    def version(self) -> str:
        """The line of /proc/version."""
        return self.said["cat /proc/version"].strip()

    @cached_property
    def tasks(self) -> dict[int, str]:
        """The processes by number, without those that told this."""
        teller, *lines = self.said[_STAT].splitlines()
        found = {}
        for line in lines:
            number, _, rest = line.partition(" (")
            name, _, fields = rest.rpartition(") ")
            if teller not in (number, fields.split()[1]):  # proc(5): the state, and the parent's number
                found[int(number)] = name
        return found

    @cached_property
    def symbols(self) -> dict[str, int]:
        """The addresses of functions, and of modules'."""
        lines = map(str.split, self.said["cat /proc/kallsyms"].splitlines())
        return {line[2]: int(line[0], 16) for line in lines}

    @cached_property
    def modules(self) -> dict[str, tuple[int, int]]:
        """Address and size of each loaded module."""
        lines = map(str.split, self.said["cat /proc/modules"].splitlines())
        return {line[0]: (int(line[5], 16), int(line[1])) for line in lines}

    @cached_property
    def mounts(self) -> list[list[str]]:
        """The fields of /proc/mounts."""
        return [line.split() for line in self.said["cat /proc/mounts"].splitlines()]

    @cached_property
    def slabs(self) -> dict[str, int]:
        """The size of an object, in bytes, of each slab cache that has its own line in /proc/slabinfo."""
        lines = map(str.split, self.said["cat /proc/slabinfo"].splitlines()[2:])
        return {line[0]: int(line[3]) for line in lines}


_STAT = "echo $$; cat /proc/[0-9]*/stat"
_ASKED = (
    "uname -r",
    "cat /proc/version",
    "cat /proc/cmdline",
    "cat /proc/modules",
    "cat /proc/mounts",
    "cat /proc/slabinfo",
    "cat /proc/kallsyms",
    "cat /proc/1/stack",
    "cat /proc/1/maps",
    "ls -l /proc/1/fd",
    "cat /proc/meminfo",
    "dmesg",
    _STAT,
)


def ask(folder: Path) -> Facts:
    """Resume Debian's kernel, load the modules, and ask it; the snapshot goes into `folder`."""
    files = disk_modules(fetch_kernel())
    with Session(linux.prepare()) as session:
        for name in MODULES:
            (folder / f"{name}.ko").write_bytes(files[f"{name}.ko"])
            session.guest.push(folder / f"{name}.ko")
        said = {}
        for command in (*(f"insmod {name}.ko" for name in MODULES), *_ASKED):
            done = session.guest.sh(command)
            assert done.status == 0, done
            said[command] = done.out
        snapshot = folder / "linux.snapshot"
        session.machine.save(snapshot)
    return Facts(snapshot, said)
