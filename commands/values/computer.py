# SPDX-License-Identifier: GPL-2.0-or-later
"""This computer: how armprobe is installed on it, and what armprobe keeps on it."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class Version:
    """The version of a package or program that is installed. version: empty if it is not."""

    name: str
    version: str


@lazy_dataclass
class Extra:
    """An optional part of armprobe. missing: the packages of it that are not installed."""

    name: str
    missing: tuple[str, ...]


@lazy_dataclass
class KindOfCache:
    """What the cache has of a kind. size: bytes on the disk."""

    kind: str
    entries: int
    size: int


@lazy_dataclass
class Doctor:
    """What to know of an installation, to send with a report.

    In paths, the home folder is ~. json_version: that of the form of JSON. system: the kernel, the processor and the
    C library of this computer. packages: the packages that armprobe needs. core: the file of the C core. core_origin:
    whether it was compiled here or came in a wheel. live_registers: whether the engine's own registers were found;
    otherwise armprobe works on copies of them, which takes longer. calibration: in words. gdb: the first line of gdb-
    multiarch's version; empty if it is not installed. cache: the folder. kernel: the Debian kernel in it; empty if
    none has been fetched. resumes: whether the cache has the snapshot that armprobe linux begins with. address: the
    default address of the stub. address_free: whether nothing listens there. problems: what is wrong, a sentence
    each.
    """

    version: str
    json_version: int
    python: str
    system: str
    packages: tuple[Version, ...]
    extras: tuple[Extra, ...]
    core: str
    core_origin: str
    live_registers: bool | None
    calibration: str
    gdb: str
    cache: str
    cache_limit: str
    cached: tuple[KindOfCache, ...]
    kernel: str
    resumes: bool
    address: str
    address_free: bool
    problems: tuple[str, ...]


@lazy_dataclass
class ShellCommand:
    """A command of this computer's shell that has ended.

    out: what it has written to its standard output; empty where that went to the terminal. status: its exit code, or
    128 and the number of the signal that ended it, as in a shell.
    """

    out: str
    status: int


@lazy_dataclass
class CacheEntry:
    """A file or a folder in the cache, which armprobe can make again.

    kind: kernels, snapshots, symbols or other. path: from the cache's folder on. size: bytes on the disk. age: seconds
    since it was last used. made_of: what it is, in words. in_use: whether an armprobe that runs has it.
    """

    kind: str
    path: str
    size: int
    age: float
    made_of: str
    in_use: bool


class CacheEntries(tuple[CacheEntry, ...]):
    """The entries of the cache."""


@lazy_dataclass
class CacheRemoved:
    """What was removed from the cache. size: bytes on the disk. kept: those that were to go, but are in use."""

    removed: CacheEntries
    size: int
    kept: CacheEntries
