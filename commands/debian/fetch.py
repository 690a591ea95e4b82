# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's arm64 cloud kernel and a static BusyBox, fetched with the system's apt and kept in the user's cache.

apt reads the system's sources and keys, so everything is authenticated as an installation would be, but works on lists
and archives of its own in a temporary folder: no root, no lock and no file of the system's apt is involved
(apt.conf(5), "Directories"; apt-secure(8)).
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

from armprobe.commands.errors import CommandError
from armprobe.commands.exclusive import only_one

KERNEL = "linux-image-cloud-arm64"
"""The meta package that depends on the newest kernel."""
BUSYBOX = "busybox-static"

# Bytes that have to be free, asked for first because apt can hang on a full disk (2.6.1 does when Dir::State is full).
# The kernel of Debian 12 took 40 MB for lists and packages, and 140 MB to unpack.
_ROOM = 256 << 20

# Seconds after which an apt that writes nothing is given up, more than its own timeouts and repetitions add up to:
# four times 30 s, and pauses of 1, 2 and 4 s between (apt.conf(5), Acquire::http::Timeout and Acquire::Retries).
_PATIENCE = 180.0

# Debian's keys, of the releases that are supported and of the next (package debian-archive-keyring)
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

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


def fetch_kernel(report: Callable[[str], None] = print, *, refresh: bool = False, suite: str = "") -> KernelFiles:
    """The newest stock kernel this system's apt sources offer, fetched unless one is in the cache already.

    With `refresh`, a newer one is looked for even so. With `suite`, such as "bullseye", it is that release's of Debian,
    from the archive that the sources name. `report` is given one line for each step that takes time, none when nothing
    is fetched. Safe to call from several processes at once. DebianError: it cannot be had.
    """
    folder = cache_directory() / "debian" / suite
    try:
        if not refresh and (cached := _cached(folder)):
            return cached
        with only_one(folder / "lock", "another armprobe is fetching the kernel: waiting for it", report):
            if not refresh and (cached := _cached(folder)):
                return cached
            return _fetch(folder, report, suite)
    except OSError as error:
        raise DebianError(f"{error.filename or folder}: {error.strerror or error}") from error


def fetch_packages(
    names: Sequence[str],
    folder: Path,
    report: Callable[[str], None] = print,
    *,
    architecture: str = "arm64",
    suite: str = "",
) -> None:
    """Fetch Debian packages, each "name" or "name=version", and unpack them together in `folder`, made if absent.

    `suite` is as for `fetch_kernel`. `report` is given one line. DebianError: they cannot be had.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="armprobe-apt-") as work:
            folder.mkdir(parents=True, exist_ok=True)
            _ask_for_room(folder, Path(work))
            report(f"fetching {', '.join(names)}")
            apt = _Apt(Path(work), architecture, suite)
            apt.update()
            _extract(apt.download(*names), folder)
    except OSError as error:
        raise DebianError(f"{error.filename or folder}: {error.strerror or error}") from error


def _cached(folder: Path) -> KernelFiles | None:
    """What `folder`/current leads to; its name is the kernel's version and the package's, which can have no '_'."""
    kept = (folder / "current").resolve()
    kernel_version, _, package_version = kept.name.partition("_")
    files = KernelFiles(kept / "vmlinuz", kept / "busybox", kernel_version, package_version)
    return files if files.vmlinuz.is_file() and files.busybox.is_file() else None


def _fetch(folder: Path, report: Callable[[str], None], suite: str) -> KernelFiles:
    with tempfile.TemporaryDirectory(prefix="armprobe-apt-") as work:
        _ask_for_room(folder, Path(work))
        apt = _Apt(Path(work), suite=suite)
        report(f"reading the lists of arm64 packages of Debian {suite}".rstrip())
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


def _ask_for_room(*places: Path) -> None:
    for place in places:
        if (free := shutil.disk_usage(place).free) < _ROOM:
            raise DebianError(f"{place} has {free / 1e6:.0f} MB free, which is less than {_ROOM / 1e6:.0f} MB")


def _extract(packages: list[Path], root: Path) -> None:
    """All that is in `packages`, in `root`, made if absent."""
    root.mkdir(parents=True, exist_ok=True)
    for package in packages:
        with _start(["dpkg-deb", "--extract", str(package), str(root)]) as process:
            messages = process.communicate()[1]
        if process.returncode != 0:
            raise DebianError(messages.partition("\n")[0] or f"dpkg-deb failed with status {process.returncode}")


def _unpack(packages: list[Path], folder: Path) -> None:
    """The vmlinuz and the busybox of `packages`, alone in `folder`, which is made."""
    root = folder / "root"
    _extract(packages, root)
    for name, pattern in (("vmlinuz", "boot/vmlinuz-*"), ("busybox", "bin/busybox"), ("busybox", "usr/bin/busybox")):
        for file in root.glob(pattern):
            file.rename(folder / name)
    for name in ("vmlinuz", "busybox"):
        if not (folder / name).is_file():
            raise DebianError(f"the packages have no {name} in them")
    shutil.rmtree(root)


class _Apt:
    """apt for packages of one architecture, with all its state in the folder `work`.

    With `suite` it knows that release of Debian alone.
    """

    def __init__(self, work: Path, architecture: str = "arm64", suite: str = "") -> None:
        (work / "state/lists/partial").mkdir(parents=True)
        (work / "cache/archives/partial").mkdir(parents=True)
        (work / "status").touch()
        (work / "no-hooks").write_text(_NO_HOOKS)
        self.work = work
        self.architecture = architecture
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
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
            # whatever the system's settings allow
            "Acquire::AllowInsecureRepositories": "false",
            "APT::Get::AllowUnauthenticated": "false",
        }
        self.options = ["-c", str(work / "no-hooks"), "-q"]
        self.options += [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        self.complaints = ""
        if suite:
            signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
            (work / "suite.list").write_text(f"deb {signed}{self._archive(suite)} {suite} main\n")
            for name, value in (("sourcelist", work / "suite.list"), ("sourceparts", "/dev/null")):
                self.options += ["-o", f"Dir::Etc::{name}={value}"]

    def _archive(self, suite: str) -> str:
        """The address of Debian's archive as the system's sources have it: all mirrors keep it in a folder "debian"."""
        addresses = self._run("apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)")[1]
        for address in addresses.split():
            if address.rstrip("/").endswith("/debian"):
                return address
        raise DebianError(f"the apt sources of this system name no archive of Debian's, where {suite} could be")

    def update(self) -> None:
        """Fetch the lists. One source that fails is no harm if another has the packages, so that is seen afterwards."""
        self.complaints = self._run("apt-get", "update")[2]

    def show(self, package: str) -> Message:
        """The fields of the version of `package` that would be installed. DebianError: there is none."""
        shown = Parser().parsestr(self._run("apt-cache", "show", "--no-all-versions", package)[1])
        if not {"Package", "Version", "Size"} <= set(shown):
            complaint = _first_complaint(self.complaints)
            raise DebianError(
                f"apt did not find {package} for {self.architecture}, and said '{complaint}'"
                if complaint
                else f"the apt sources of this system offer no {package} for {self.architecture}, as Debian's do"
            )
        return shown

    def dependency(self, package: str) -> str:
        """The kernel package that the meta package depends on."""
        found = re.search(r"linux-image-[^ ,|]+", self.show(package).get("Depends", ""))
        if not found:
            raise DebianError(f"{package} depends on no kernel")
        return found[0]

    def download(self, *packages: str) -> list[Path]:
        """Fetch `packages`, checked against the signed lists; the .deb files."""
        status, _, messages = self._run("apt-get", "download", *packages)
        if status != 0:
            raise DebianError(_first_complaint(messages) or f"apt-get failed with status {status}")
        return sorted(self.packages.glob("*.deb"))

    def _run(self, program: str, *words: str) -> tuple[int, str, str]:
        """Run apt; its exit status, output and messages. DebianError: it is not there, or hangs."""
        with _start([program, *self.options, *words], cwd=self.packages) as process:
            written = -1
            while True:
                try:
                    output, messages = process.communicate(timeout=_PATIENCE)
                except subprocess.TimeoutExpired:
                    before, written = written, _bytes_in(self.work)
                    if written == before:
                        process.kill()
                        raise DebianError(f"{program} got nothing for {_PATIENCE:.0f} s") from None
                else:
                    return process.returncode, output, messages


def _bytes_in(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # apt moves files meanwhile
            size += file.lstat().st_size
    return size


def _start(command: list[str], cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start `command`, with messages in English and nothing to read. DebianError: this system does not have it."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError as error:
        raise DebianError(f"it takes {command[0]}, which this system does not have") from error


def _first_complaint(messages: str) -> str:
    """The first error among apt's `messages`, else the first warning; one line, empty if there is neither."""
    for mark in ("E: ", "W: "):
        for line in messages.splitlines():
            if line.startswith(mark):
                return line.removeprefix(mark).strip().rstrip(".")
    return ""
