# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's arm64 cloud kernel and a static BusyBox, fetched with the system's apt and kept in the user's cache.

apt reads the system's sources and keys, so everything is authenticated as an installation would be, but works on lists
and archives of its own in a temporary folder: no root, no lock and no file of the system's apt is involved
(apt.conf(5), "Directories"; apt-secure(8)).
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

from armprobe.commands.errors import CommandError

KERNEL = "linux-image-cloud-arm64"
"""The meta package that depends on the newest kernel."""
BUSYBOX = "busybox-static"

# Lists cannot be emptied by -o. These run whatever the system's owner has apt do after an update of the system's lists.
_NO_HOOKS = "".join(f"#clear APT::Update::{hook};\n" for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"))


class DebianError(CommandError):
    """The kernel could not be fetched; the message says why and what can be done instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"cannot fetch a Debian kernel: {reason}; instead, a kernel and an initramfs of your own can be given with "
            "--kernel FILE --initrd FILE"
        )


@dataclass(frozen=True)
class KernelFiles:
    """A kernel and a static shell, unpacked."""

    vmlinuz: Path
    busybox: Path
    kernel_version: str  # as uname -r has it: 6.1.0-56-cloud-arm64
    package_version: str  # 6.1.192-2


def cache_directory() -> Path:
    """Where armprobe keeps what can be made again: $XDG_CACHE_HOME/armprobe, by default ~/.cache/armprobe.

    XDG Base Directory Specification: a relative XDG_CACHE_HOME is ignored.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "armprobe"


def fetch_kernel(report: Callable[[str], None] = print, *, refresh: bool = False) -> KernelFiles:
    """The newest stock kernel this system's apt sources offer, fetched unless one is in the cache already.

    With `refresh`, a newer one is looked for even so. `report` is given one line for each step that takes time, none
    when nothing is fetched. Safe to call from several processes at once. DebianError: it cannot be had.
    """
    folder = cache_directory() / "debian"
    if not refresh and (cached := _cached(folder)):
        return cached
    try:
        with _lock(folder, report):
            if not refresh and (cached := _cached(folder)):
                return cached
            return _fetch(folder, report)
    except OSError as error:
        raise DebianError(f"{error.filename or folder}: {error.strerror or error}") from error


def _cached(folder: Path) -> KernelFiles | None:
    """What `folder`/current leads to; its name is the kernel's version and the package's, which can have no '_'."""
    kept = (folder / "current").resolve()
    kernel_version, _, package_version = kept.name.partition("_")
    files = KernelFiles(kept / "vmlinuz", kept / "busybox", kernel_version, package_version)
    return files if files.vmlinuz.is_file() and files.busybox.is_file() else None


@contextmanager
def _lock(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another armprobe is fetching the kernel: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, report: Callable[[str], None]) -> KernelFiles:
    with tempfile.TemporaryDirectory(prefix="armprobe-apt-") as work:
        apt = _Apt(Path(work))
        report("reading Debian's lists of arm64 packages")
        apt.update()
        image, busybox = apt.show(apt.dependency(KERNEL)), apt.show(BUSYBOX)
        name = f"{image['Package'].removeprefix('linux-image-')}_{image['Version']}"
        kept = folder / name
        if not ((cached := _cached(folder)) and cached.vmlinuz.parent == kept.resolve()):
            size = (int(image["Size"]) + int(busybox["Size"])) / 1e6
            report(f"fetching {image['Package']} {image['Version']} and {BUSYBOX} {busybox['Version']} ({size:.1f} MB)")
            packages = apt.download(image["Package"], BUSYBOX)
            partial = folder / "partial"  # the lock's: one left by a process that was killed is nobody's
            shutil.rmtree(partial, ignore_errors=True)
            _unpack(packages, partial)
            shutil.rmtree(kept, ignore_errors=True)
            partial.rename(kept)
        link = folder / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        link.replace(folder / "current")
    files = _cached(folder)
    assert files is not None
    report(f"Linux {files.kernel_version} (Debian {files.package_version}) is in {kept}")
    return files


def _unpack(packages: list[Path], folder: Path) -> None:
    """The vmlinuz and the busybox of `packages`, alone in `folder`, which is made."""
    root = folder / "root"
    root.mkdir(parents=True)
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package), str(root)], "unpacking")
    for name, pattern in (("vmlinuz", "boot/vmlinuz-*"), ("busybox", "bin/busybox"), ("busybox", "usr/bin/busybox")):
        for file in root.glob(pattern):
            file.rename(folder / name)
    for name in ("vmlinuz", "busybox"):
        if not (folder / name).is_file():
            raise DebianError(f"the packages have no {name} in them")
    shutil.rmtree(root)


class _Apt:
    """apt for arm64 packages, with all its state in the folder `work`."""

    def __init__(self, work: Path) -> None:
        (work / "state/lists/partial").mkdir(parents=True)
        (work / "cache/archives/partial").mkdir(parents=True)
        (work / "status").touch()
        (work / "no-hooks").write_text(_NO_HOOKS)
        self.packages = work / "packages"
        self.packages.mkdir()
        if os.geteuid() == 0:
            # apt fetches as the user _apt, who has to get here
            work.chmod(0o755)
            with suppress(LookupError):  # no such user: apt fetches as root
                shutil.chown(self.packages, "_apt")
        settings = {
            "Dir::State": work / "state",
            "Dir::State::status": work / "status",
            "Dir::Cache": work / "cache",
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
            # whatever the system's settings allow
            "Acquire::AllowInsecureRepositories": "false",
            "APT::Get::AllowUnauthenticated": "false",
        }
        self.options = ["-c", str(work / "no-hooks"), "-q"]
        self.options += [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        self.complaints = ""

    def update(self) -> None:
        """Fetch the lists. One source that fails is no harm if another has the packages, so that is seen afterwards."""
        self.complaints = self._apt("apt-get", "update").stderr

    def show(self, package: str) -> Message:
        """The fields of the version of `package` that would be installed. DebianError: there is none."""
        shown = self._apt("apt-cache", "show", "--no-all-versions", package)
        if shown.returncode != 0:
            cause = _first_complaint(self.complaints) or "they are not for a Debian that has it"
            raise DebianError(f"the apt sources of this system offer no {package} for arm64 ({cause})")
        return Parser().parsestr(shown.stdout)

    def dependency(self, package: str) -> str:
        """The kernel package that the meta package depends on."""
        found = re.search(r"linux-image-[^ ,|]+", self.show(package).get("Depends", ""))
        if not found:
            raise DebianError(f"{package} depends on no kernel")
        return found[0]

    def download(self, *packages: str) -> list[Path]:
        """Fetch `packages`, checked against the signed lists; the .deb files."""
        done = self._apt("apt-get", "download", *packages)
        if done.returncode != 0:
            raise DebianError(_first_complaint(done.stderr) or f"apt-get failed with status {done.returncode}")
        return sorted(self.packages.glob("*.deb"))

    def _apt(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return _run([program, *self.options, *words], "fetching", cwd=self.packages, check=False)


def _run(
    command: list[str], purpose: str, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `command`, its messages in English. DebianError: it is not there or, with `check`, it failed."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise DebianError(f"{purpose} it takes {command[0]}, which this system does not have") from error
    if check and done.returncode != 0:
        raise DebianError(f"{command[0]} failed: {_first_complaint(done.stderr) or done.returncode}")
    return done


def _first_complaint(messages: str) -> str:
    """The first error among apt's or dpkg's `messages`, else the first warning, else what there is; one line."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    for mark in ("E: ", "Err:", "error: ", "W: ", ""):
        for line in lines:
            if mark in line:
                return line.removeprefix("E: ").removeprefix("W: ").rstrip(".")
    return ""
