# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's cache: what is in it, and how it is kept from growing.

Everything there can be made again. Snapshots grow in number, because each change of armprobe's code makes new ones.
When one is written, the ones used least recently that exceed a limit are removed. One that a process has resumed is
locked by that process (`hold`) and stays. So does one that was used within the last day: an armprobe without locks may
have only its path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .debian import cache_directory

DEFAULT_LIMIT: Final = "4G"
"""What the snapshots may take together."""
KINDS: Final = ("kernels", "snapshots", "symbols", "other")
SPARED: Final = 24 * 3600  # seconds since its last use for which a snapshot is not removed without being asked

_BLOCK: Final = 512  # bytes of a unit of st_blocks (inode(7))
_MADE: Final = ".made"  # the ending of the file that says what a snapshot was made of
_held: Final[dict[Path, int]] = {}  # open descriptors of the snapshots that this process uses


@lazy_dataclass
class Entry:
    """A file or a folder in the cache.

    kind: one of `KINDS`. size: bytes on the disk. used: when it was last read or written, in seconds of the Unix time.
    made_of: what it is, in words; may be empty.
    """

    kind: str
    path: Path
    size: int
    used: float
    made_of: str
    in_use: bool


def snapshot_folder() -> Path:
    """Where snapshots of booted kernels are."""
    return cache_directory() / "snapshots"


def hold(snapshot: Path) -> None:
    """Mark a snapshot as used now, and by this process until it ends. Without effect where it cannot be read."""
    with contextlib.suppress(OSError):
        if snapshot in _held and os.fstat(_held[snapshot]).st_nlink == 0:  # it has been made anew
            os.close(_held.pop(snapshot))
        if snapshot not in _held:
            held = os.open(snapshot, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_SH)
            if os.fstat(held).st_nlink == 0:  # it was removed meanwhile
                os.close(held)
                return
            _held[snapshot] = held
        os.utime(snapshot)


def describe(snapshot: Path, made_of: str) -> None:
    """Write down what a snapshot was made of, for `entries`. Without effect where it cannot be written."""
    with contextlib.suppress(OSError):
        snapshot.with_suffix(_MADE).write_text(made_of)


def entries(kinds: Iterable[str] = KINDS) -> list[Entry]:
    """What the cache has of these kinds; the entries of a kind by their last use, the latest first."""
    root = cache_directory()
    paths: dict[str, Callable[[], Iterable[Path]]] = {
        "kernels": lambda: _kernels(root / "debian"),
        "snapshots": lambda: (path for path in _listed(snapshot_folder()) if path.suffix == ".snapshot"),
        "symbols": lambda: _listed(root / "symbols"),
        "other": lambda: (path for path in _listed(root) if path.name not in ("snapshots", "symbols", "debian")),
    }
    found = (_entry(kind, path) for kind in kinds for path in paths[kind]())
    return sorted((entry for entry in found if entry is not None), key=lambda e: (KINDS.index(e.kind), -e.used))


def remove(chosen: Iterable[Entry]) -> list[Entry]:
    """Remove entries, except those in use. Returns those that were removed.

    Raises OSError for one that cannot be removed.
    """
    removed = []
    for entry in chosen:
        with _alone(entry) as alone:
            if not alone:
                continue
            if entry.path.is_dir() and not entry.path.is_symlink():
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink(missing_ok=True)
            if entry.kind == "snapshots":
                for ending in (_MADE, ".lock"):
                    entry.path.with_suffix(ending).unlink(missing_ok=True)
        removed.append(entry)
    return removed


def keep_within(limit: int) -> list[Entry]:
    """Remove the snapshots used least recently, as long as all take more than `limit` bytes. Returns those removed.

    Those used within the last day (`SPARED`) stay, and so do those in use. An error of the file system ends it early:
    the next one that is written tries again.
    """
    snapshots = entries(["snapshots"])
    total, removed = sum(entry.size for entry in snapshots), list[Entry]()
    latest = time.time() - SPARED
    with contextlib.suppress(OSError):
        for entry in reversed(snapshots):
            if total <= limit or entry.used > latest:
                break
            if remove([entry]):
                total -= entry.size
                removed.append(entry)
    return removed


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _kernels(folder: Path) -> Iterator[Path]:
    """The folders of kernels in `folder`, and in those of releases of Debian within."""
    for path in _listed(folder):
        if path.is_dir() and not path.is_symlink():
            if (path / "vmlinuz").is_file():
                yield path
            else:
                yield from _kernels(path)


def _entry(kind: str, path: Path) -> Entry | None:
    """None: it is gone."""
    try:
        status = path.lstat()
        size, used = _BLOCK * status.st_blocks, max(status.st_mtime, status.st_atime)
        for folder, _, files in os.walk(path):
            for name in files:
                status = os.lstat(os.path.join(folder, name))
                size += _BLOCK * status.st_blocks
                used = max(used, status.st_mtime, status.st_atime)
    except OSError:
        return None
    return Entry(kind, path, size, used, _made_of(kind, path), _is_in_use(kind, path))


def _made_of(kind: str, path: Path) -> str:
    if kind == "kernels":
        kernel, _, package = path.name.partition("_")
        return f"Linux {kernel} and BusyBox, from Debian's package {package}"
    if kind == "symbols":
        return "a kernel's symbols for debuggers"
    if kind == "other":
        return "made by armprobe's tests"
    try:
        with path.with_suffix(_MADE).open(errors="replace") as file:
            return file.read(1000).strip()
    except OSError:
        return "an older armprobe's"


def _is_in_use(kind: str, path: Path) -> bool:
    if kind != "snapshots":
        return False
    if path in _held:
        return True
    with _locked(path) as alone:
        return not alone


@contextlib.contextmanager
def _alone(entry: Entry) -> Iterator[bool]:
    """Whether nobody else uses or makes the entry; nobody begins to before the end of the block."""
    with contextlib.ExitStack() as held:
        if entry.kind == "snapshots":
            paths = [entry.path, entry.path.with_suffix(".lock")]
            alone = entry.path not in _held and all([held.enter_context(_locked(path)) for path in paths])
        elif entry.kind == "kernels":
            alone = held.enter_context(_locked(entry.path.parent / "lock"))
        else:
            alone = True
        yield alone


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the file could be locked at once, for the time of the block; true if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
