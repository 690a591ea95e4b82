# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's arm64 kernels and a static BusyBox, fetched with the system's apt and kept in the user's cache."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine.file_lock import exclusive_lock
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .apt import Apt, DebianError, start

if TYPE_CHECKING:
    from email.message import Message

FLAVOURS: Final = {"cloud": "cloud-", "generic": "", "rt": "rt-"}
"""Debian's kernels, and what their packages have before "arm64"."""
CLOUD: Final = "cloud"
BUSYBOX = "busybox-static"
CURRENT: Final = "current"
"""The name of the link to the kernel that was fetched last."""

# Bytes that must be free. Checked first, because apt can hang on a full disk (2.6.1 does when Dir::State is full). The
# kernel of Debian 12 took 40 MB for lists and packages, and 140 MB to unpack.
_ROOM = 256 << 20

# Paths of the kernel and of BusyBox in their packages: up to Debian 13, and from Debian 14 and 13 on.
_PLACES = {"vmlinuz": ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"), "busybox": ("bin/busybox", "usr/bin/busybox")}


@lazy_dataclass
class KernelFiles:
    """A kernel and a static shell, unpacked."""

    vmlinuz: Path
    busybox: Path
    kernel_version: str  # as uname -r has it: 6.1.0-56-cloud-arm64
    package_version: str  # 6.1.192-2
    suite: str = ""  # the Debian release that it was searched in; "" for the system's own sources

    def is_of(self, series: str) -> bool:
        """Whether it is of a kernel series, such as "6.1", or a build of one, such as "6.1.0-50"."""
        return self.kernel_version.startswith((f"{series}.", f"{series}-"))


def cache_directory() -> Path:
    """The folder for files that armprobe can make again: $XDG_CACHE_HOME/armprobe, by default ~/.cache/armprobe.

    XDG Base Directory Specification: a relative XDG_CACHE_HOME is ignored.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "armprobe"


def fetch_kernel(
    report: Callable[[str], None] = print,
    *,
    refresh: bool = False,
    suite: str = "",
    series: str = "",
    flavour: str = CLOUD,
) -> KernelFiles:
    """The newest stock kernel in this system's apt sources, fetched unless the cache has one already.

    With `refresh`, a newer one is searched for even then. With `suite`, such as "bullseye", the kernel is from that
    release of Debian, from the archive in the sources. With `series`, such as "6.1", it is the newest of that series,
    or one build, such as "6.1.0-50". `flavour` is one of `FLAVOURS`. `report` is called with one line for each step
    that takes time, and not if nothing is fetched. Safe to call from several processes at once. DebianError: the kernel
    cannot be fetched.
    """
    folder = cache_directory() / "debian" / suite
    try:
        if not refresh and (cached := _cached(folder, suite, series, flavour)):
            return cached
        with exclusive_lock(folder / "lock", "another armprobe is fetching the kernel: waiting for it", report):
            if not refresh and (cached := _cached(folder, suite, series, flavour)):
                return cached
            return _fetch(folder, report, suite, series, flavour)
    except OSError as error:
        raise DebianError(f"{error.filename or folder}: {error.strerror or error}") from error


def cached_kernel() -> KernelFiles | None:
    """The kernel that `fetch_kernel` would return without fetching anything; None if it would fetch one."""
    return _cached(cache_directory() / "debian", "", "", CLOUD)


def files_of(kernel: Path) -> KernelFiles | None:
    """The files of a `KernelFiles.vmlinuz`; None for another kernel."""
    folder, root = kernel.parent, cache_directory() / "debian"
    suite = "" if folder.parent == root else folder.parent.name
    files = _linked(folder, suite)
    return files if files is not None and folder.parent == root / suite and kernel.name == "vmlinuz" else None


def fetch_packages(
    names: Sequence[str],
    folder: Path,
    report: Callable[[str], None] = print,
    *,
    architecture: str = "arm64",
    suite: str = "",
) -> None:
    """Fetch Debian packages and unpack them together in `folder`, which is created if absent.

    Each of `names` can have alternatives and patterns, "a | b | c-*", as for `Apt.find`. `suite` is as for
    `fetch_kernel`. `report` is called with one line. DebianError: they cannot be fetched.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="armprobe-apt-") as work:
            folder.mkdir(parents=True, exist_ok=True)
            _ask_for_room(folder, Path(work))
            apt = Apt(Path(work), architecture, suite)
            apt.update()
            found = [apt.find(name) for name in names]
            report(_fetching(found))
            extract(apt.download(*(package["Package"] for package in found)), folder)
    except OSError as error:
        raise DebianError(f"{error.filename or folder}: {error.strerror or error}") from error


def _link(series: str, flavour: str) -> str:
    """The name of the link to the kernel of a series and a flavour that was fetched last."""
    return "-".join([CURRENT, *filter(None, (series, "" if flavour == CLOUD else flavour))])


def _cached(folder: Path, suite: str, series: str, flavour: str) -> KernelFiles | None:
    """The kernel that was fetched last, of `series` if given."""
    for link in dict.fromkeys((_link(series, flavour), _link("", flavour))):
        if (files := _linked(folder / link, suite)) and (not series or files.is_of(series)):
            return files
    return None


def _linked(link: Path, suite: str) -> KernelFiles | None:
    """The kernel in the folder that `link` leads to, which is named KERNEL-VERSION_PACKAGE-VERSION, with one '_'."""
    kept = link.resolve()
    kernel_version, _, package_version = kept.name.partition("_")
    files = KernelFiles(kept / "vmlinuz", kept / "busybox", kernel_version, package_version, suite)
    return files if files.vmlinuz.is_file() and files.busybox.is_file() else None


def _fetch(folder: Path, report: Callable[[str], None], suite: str, series: str, flavour: str) -> KernelFiles:
    with tempfile.TemporaryDirectory(prefix="armprobe-apt-") as work:
        _ask_for_room(folder, Path(work))
        apt = Apt(Path(work), suite=suite)
        report(f"reading the lists of arm64 packages of Debian {suite}".rstrip())
        apt.update()
        end = f"{FLAVOURS[flavour]}arm64"
        wanted = f"linux-image-{series}-{end} | linux-image-{series}.*[0-9]-{end}"
        # The package without a version depends on the newest kernel.
        image = apt.find(wanted if series else _named(apt.find(f"linux-image-{end}"), "image"))
        name = f"{image['Package'].removeprefix('linux-image-')}_{image['Version']}"
        kept = folder / name
        if not _linked(kept, suite):
            # From Debian 14 on the package is empty and depends on the one with the kernel.
            holder = apt.find(_named(image, "binary")) if "linux-binary-" in image.get("Depends", "") else image
            packages = [holder, apt.find(BUSYBOX)]
            report(_fetching(packages))
            partial = folder / "partial"  # guarded by the lock: an existing one is a killed process's
            shutil.rmtree(partial, ignore_errors=True)
            _unpack(apt.download(*(package["Package"] for package in packages)), partial)
            shutil.rmtree(kept, ignore_errors=True)
            partial.rename(kept)
        link = folder / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        link.replace(folder / _link(series, flavour))
    files = _linked(kept, suite)
    assert files is not None
    report(f"Linux {files.kernel_version} (Debian {files.package_version}) is in {kept}")
    return files


def _named(package: Message, kind: str) -> str:
    """The first package linux-KIND-... that `package` depends on."""
    found = re.search(rf"linux-{kind}-[^ ,|]+", package.get("Depends", ""))
    if not found:
        raise DebianError(f"{package['Package']} depends on no kernel")
    return found[0]


def _fetching(packages: list[Message]) -> str:
    size = sum(int(package["Size"]) for package in packages) / 1e6
    return f"fetching {', '.join(' '.join((p['Package'], p['Version'])) for p in packages)} ({size:.1f} MB)"


def _ask_for_room(*places: Path) -> None:
    for place in places:
        if (free := shutil.disk_usage(place).free) < _ROOM:
            raise DebianError(f"{place} has {free / 1e6:.0f} MB free, which is less than {_ROOM / 1e6:.0f} MB")


def extract(packages: list[Path], root: Path) -> None:
    """Unpack the contents of `packages` into `root`, which is created if absent."""
    root.mkdir(parents=True, exist_ok=True)
    for package in packages:
        with start(["dpkg-deb", "--extract", str(package), str(root)]) as process:
            messages = process.communicate()[1]
        if process.returncode != 0:
            raise DebianError(messages.partition("\n")[0] or f"dpkg-deb failed with status {process.returncode}")


def _unpack(packages: list[Path], folder: Path) -> None:
    """Unpack only the vmlinuz and the busybox of `packages` into `folder`, which is created."""
    root = folder / "root"
    extract(packages, root)
    for name, patterns in _PLACES.items():
        for file in (file for pattern in patterns for file in root.glob(pattern)):
            file.rename(folder / name)
        if not (folder / name).is_file():
            raise DebianError(f"the packages have no {name} in them")
    shutil.rmtree(root)
