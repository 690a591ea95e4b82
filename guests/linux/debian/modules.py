# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules of a Debian kernel that it needs for a disk with ext4."""

from __future__ import annotations

import lzma
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from armprobe.machine.file_lock import exclusive_lock

from .apt import DebianError
from .fetch import KernelFiles, fetch_packages

_WANTED: Final = ("virtio_mmio", "virtio_blk", "ext4")
_DEPENDS: Final = re.compile(rb"\0(?:depends=|softdep=pre: )([^\0]*)\0")  # include/linux/module.h, MODULE_SOFTDEP
_ORDER: Final = "order"  # the names in the order in which they are loaded


def disk_modules(files: KernelFiles, report: Callable[[str], None] = print) -> dict[str, bytes]:
    """The .ko files by name, in the order in which they are to be loaded; those that are built in are not among them.

    They are fetched once and kept beside the kernel. `report` is called with one line. Raises DebianError if the
    kernel's package cannot be had any more.
    """
    folder = files.vmlinuz.parent / "modules"
    try:
        if not (folder / _ORDER).is_file():
            with exclusive_lock(folder.with_suffix(".lock"), "another armprobe is fetching modules: waiting", report):
                if not (folder / _ORDER).is_file():
                    _fetch(files, folder, report)
        names = (folder / _ORDER).read_text().split()
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise DebianError(f"{error.filename or folder}: {error.strerror or error}") from error


def _fetch(files: KernelFiles, folder: Path, report: Callable[[str], None]) -> None:
    version = files.kernel_version
    with tempfile.TemporaryDirectory(prefix="armprobe-modules-") as unpacked:
        # From Debian 14 on modules have a package of their own.
        packages = [f"linux-modules-{version} | linux-image-{version}"]
        fetch_packages(packages, Path(unpacked), report, suite=files.suite)
        found = {_name(file): file for file in Path(unpacked).rglob("*.ko*")}
        if not found:
            raise DebianError(f"the package of Linux {version} has no modules in it")
        partial = folder.with_name("modules.partial")
        shutil.rmtree(partial, ignore_errors=True)  # guarded by the lock: an existing one is a killed process's
        partial.mkdir()
        wanted = dict.fromkeys(name for each in _WANTED for name in _with_dependencies(each, found))
        for name in wanted:
            (partial / f"{name}.ko").write_bytes(_content(found[name]))
        (partial / _ORDER).write_text("".join(f"{name}.ko\n" for name in wanted))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _with_dependencies(name: str, found: dict[str, Path], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The modules that `name` needs, and then itself."""
    if name in found and name not in path:
        for match in _DEPENDS.finditer(_content(found[name])):
            for other in re.split(r"[ ,]+", match[1].decode("ascii", "replace")):
                yield from _with_dependencies(other.replace("-", "_"), found, (*path, name))
        yield name


def _name(file: Path) -> str:
    return file.name.partition(".")[0].replace("-", "_")


def _content(file: Path) -> bytes:
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data
