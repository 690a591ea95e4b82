# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive (tar) of a folder of the host."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import BinaryIO, Final

from armprobe.machine import MachineError, host_files

_MOST_ENTRIES: Final = 100_000


def write_archive(folder: str | Path, out: BinaryIO, most: int) -> None:
    """Write the regular files, folders and symbolic links in `folder` to `out`, as root's.

    Raises MachineError, one sentence, where something else is in it or cannot be read, and when the files have more
    than `most` bytes together.
    """
    name = host_files.shown(folder)
    with host_files.explained("read", folder):
        if not os.path.isdir(folder):
            os.stat(folder)
            raise MachineError(f"cannot read {name}: it is not a folder")
    left, entries = most, _MOST_ENTRIES
    # The GNU format has names as bytes, and BusyBox reads it.
    form = tarfile.GNU_FORMAT
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for at, folders, files in os.walk(os.fspath(folder), onerror=_raise):
            folders.sort()
            for each in sorted((*folders, *files)):
                path = os.path.join(at, each)
                with host_files.explained("read", path):
                    entry = archive.gettarinfo(path, os.path.relpath(path, folder))
                    left, entries = left - (entry.size if entry is not None else 0), entries - 1
                    if left < 0 or not entries:
                        raise MachineError(
                            f"{name} cannot be pushed: {most:,} bytes and {_MOST_ENTRIES:,} files are the limits"
                        )
                    _add(archive, entry, path)


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo | None, path: str) -> None:
    if entry is None or not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise MachineError(f"cannot read {host_files.shown(path)}: it is not a regular file, a folder or a link")
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    if entry.isreg():
        with host_files.open_regular(path) as file:
            archive.addfile(entry, file)
    else:
        archive.addfile(entry)


def _raise(error: OSError) -> None:
    raise MachineError(f"cannot read {host_files.shown(error.filename)}: {error.strerror}") from None
