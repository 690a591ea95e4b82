# SPDX-License-Identifier: GPL-2.0-or-later
"""An ext4 image with Debian packages, made without root's rights: they are unpacked, and their scripts are not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from armprobe.machine import MachineError, host_files

from .apt import Apt
from .fetch import extract

PACKAGES: Final = ("base-files", "base-passwd", "bash", "coreutils", "dash", "grep", "kmod", "mount", "procps", "sed")
"""The packages of every root, besides those that they depend on."""
LEAST, MOST = 64 << 20, 1 << 40
"""The bytes that an image can have."""
_MERGED: Final = ("bin", "lib", "sbin")  # links to folders in usr (Debian's merged /usr)
# What the packages' own scripts would make: a file, and the first of these that is there.
_LINKS: Final = {"bin/sh": ("dash", "bash"), "bin/awk": ("mawk", "gawk")}
_COPIES: Final = {f"etc/{name}": f"usr/share/base-passwd/{name}.master" for name in ("passwd", "group")}
_EXT4: Final = 0xEF53  # the magic of ext2 to ext4, at byte 1080 (Linux Documentation/filesystems/ext4/super.rst)


def make_root(
    image: str | Path,
    packages: Sequence[str] = (),
    size: int = 512 << 20,
    *,
    suite: str = "",
    force: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Write to `image` an ext4 file system of `size` bytes with `PACKAGES`, `packages`, and what they depend on.

    They are those of the system's apt sources for arm64, or of Debian's `suite`. Everything in it belongs to root. An
    ext4 image that is there is replaced, and another file only with `force`. `report` is called with a line for each
    step that takes time. Raises MachineError, one sentence, if it cannot be made.
    """
    if not LEAST <= size <= MOST or size % 4096:
        raise MachineError(f"a root of {size:,} bytes is not possible: give {LEAST >> 20}M or more, such as 512M")
    for package in packages:
        if not package or package.startswith("-") or not package.isprintable() or not package.isascii():
            raise MachineError(f"{host_files.shown(package)} is no name of a package")
    mke2fs, debugfs = (_program(name) for name in ("mke2fs", "debugfs"))
    with (
        host_files.new_file(image, _is_ext4, force=force) as file,
        tempfile.TemporaryDirectory(prefix="armprobe-root-") as work,
    ):
        root = Path(work) / "root"
        _unpack(root, Path(work) / "apt", [*PACKAGES, *packages], suite, report)
        report(f"making a file system of {size >> 20} MiB")
        file.truncate(size)
        path = f"/proc/self/fd/{file.fileno()}"
        _execute([mke2fs, "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(root), path], file)
        if os.geteuid():
            _give_to_root(debugfs, path, file, sum(1 for _ in root.rglob("*")))


def _unpack(root: Path, work: Path, packages: list[str], suite: str, report: Callable[[str], None]) -> None:
    work.mkdir()
    apt = Apt(work, suite=suite)
    report(f"reading the lists of arm64 packages of Debian {suite}".rstrip())
    apt.update()
    report("fetching packages")
    archives = apt.download_closure(*packages)
    report(f"unpacking {len(archives)} packages")
    extract(archives, root)
    for name in _MERGED:
        if not (root / name).is_symlink():  # up to Debian 12 its installer merges them
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
            (root / name).symlink_to(f"usr/{name}")
    for name, candidates in _LINKS.items():
        link = root / name
        found = next((each for each in candidates if (link.parent / each).exists()), None)
        if found and not link.is_symlink() and not link.exists():
            link.symlink_to(found)
    for to, source in _COPIES.items():
        if (root / source).is_file():
            shutil.copyfile(root / source, root / to)
    (root / "etc/hostname").write_text("armprobe\n")


def _give_to_root(debugfs: str, path: str, file: BinaryIO, count: int) -> None:
    """Make root the owner of all files. mke2fs takes over the owners that they have on this computer."""
    used = range(11, 12 + count)  # inode 11 is lost+found, and those after it are given out in order
    requests = "".join(f"sif <{number}> {field} 0\n" for number in used for field in ("uid", "gid"))
    _execute([debugfs, "-w", "-f", "-", path], file, requests)


def _program(name: str) -> str:
    """The path of a program of e2fsprogs, which is in folders that a user's PATH may lack."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise MachineError(f"{name} is not installed: it makes the file system (Debian: apt-get install e2fsprogs)")
    return path


def _execute(command: list[str], file: BinaryIO, given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, pass_fds=[file.fileno()], check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise MachineError(f"{Path(command[0]).name} cannot make the file system: {said}")


def _is_ext4(file: BinaryIO) -> bool:
    file.seek(1080)
    return int.from_bytes(file.read(2), "little") == _EXT4
