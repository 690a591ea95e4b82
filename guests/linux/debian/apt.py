# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the system's apt for packages of any architecture and Debian release, without root and in its own folder.

apt reads the system's sources and keys, so packages are authenticated like those of an installation. Its lists and
archives are in a temporary folder, so it uses no lock and no file of the system's apt (apt.conf(5), "Directories";
apt-secure(8)).
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from armprobe.machine import MachineError

if TYPE_CHECKING:
    from email.message import Message

# Seconds without output after which apt is given up. This is longer than the sum of its own timeouts and retries: four
# times 30 s, with pauses of 1, 2 and 4 s (apt.conf(5), Acquire::http::Timeout and Acquire::Retries).
_PATIENCE = 180.0

# Debian's keys for the supported releases and the next one (package debian-archive-keyring)
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# -o cannot empty these lists. They hold the system owner's commands to run around an update of the system's lists.
_NO_HOOKS = "".join(f"#clear APT::Update::{hook};\n" for hook in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"))


class DebianError(MachineError):
    """A kernel or package could not be fetched. The message says why and what to do instead.

    `reason` is the first half of the message.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"cannot fetch a Debian kernel: {reason}; instead, a kernel and an initramfs of your own can be given with "
            "--kernel FILE --initrd FILE"
        )


class Apt:
    """apt for packages of one architecture, with all its state in the folder `work`.

    With `suite`, such as "bullseye", it knows only that release of Debian, from the archive in the system's sources.
    """

    def __init__(self, work: Path, architecture: str = "arm64", suite: str = "") -> None:
        (work / "state/lists/partial").mkdir(parents=True)
        (work / "cache/archives/partial").mkdir(parents=True)
        (work / "status").touch()
        (work / "no-hooks").write_text(_NO_HOOKS)
        self.work = work
        self.architecture = architecture
        self.suite = suite
        self.packages = work / "packages"
        self.packages.mkdir()
        if os.geteuid() == 0:
            # apt fetches as the user _apt, who needs access to this folder
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
            # Debian's images for containers turn it off, and each command then reads all lists again
            "Dir::Cache::pkgcache": "pkgcache.bin",
            # regardless of the system's settings
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
        """The address of Debian's archive in the system's sources. All mirrors keep it in a folder "debian"."""
        addresses = self._run("apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)")[1]
        for address in addresses.split():
            if address.rstrip("/").endswith("/debian"):
                return address
        raise DebianError(f"the apt sources of this system name no archive of Debian's, where {suite} could be")

    def update(self) -> None:
        """Fetch the lists. A source that fails matters only if a package is missing then, which `find` reports."""
        self.complaints = self._run("apt-get", "update")[2]

    def find(self, wanted: str) -> Message:
        """The fields of the first available package of `wanted`, in the version that would be installed.

        `wanted` lists alternatives as a control file does, "a | b". A name with a "*" stands for all packages whose
        names match, newest first by the numbers in the name. Raises DebianError if none is available.
        """
        from email.parser import Parser  # here, as a start needs none of it

        for alternative in wanted.split(" | "):
            for name in self._names(alternative):
                shown = Parser().parsestr(self._run("apt-cache", "show", "--no-all-versions", name)[1])
                # apt takes an unknown name for a regular expression
                if shown.get("Package") == name and {"Version", "Size"} <= set(shown):
                    return shown
        wanted = wanted.replace(" | ", " or ")
        complaint = first_complaint(self.complaints)
        source = f"Debian {self.suite}" if self.suite else "this system's apt sources"
        raise DebianError(
            f"apt did not find {wanted} for {self.architecture}, and said '{complaint}'"
            if complaint
            else f"{source} offer{'s' * bool(self.suite)} no {wanted} for {self.architecture}"
        )

    def _names(self, pattern: str) -> Iterator[str]:
        fixed, star, _ = pattern.partition("*")
        if not star:
            yield pattern
            return
        names = self._run("apt-cache", "pkgnames", fixed)[1].split()
        yield from sorted(fnmatch.filter(names, pattern), key=_numbers, reverse=True)

    def download(self, *packages: str) -> list[Path]:
        """Fetch `packages`, checked against the signed lists. Returns the .deb files."""
        status, _, messages = self._run("apt-get", "download", *packages)
        if status != 0:
            raise DebianError(first_complaint(messages) or f"apt-get failed with status {status}")
        return sorted(self.packages.glob("*.deb"))

    def download_closure(self, *packages: str) -> list[Path]:
        """The same for `packages` and all that they depend on."""
        words = ("install", "--download-only", "--yes", "--no-install-recommends", *packages)
        status, _, messages = self._run("apt-get", *words)
        if status != 0:
            raise DebianError(first_complaint(messages) or f"apt-get failed with status {status}")
        return sorted((self.work / "cache/archives").glob("*.deb"))

    def _run(self, program: str, *words: str) -> tuple[int, str, str]:
        """Run apt. Returns its exit status, output and messages. DebianError: apt is missing, or hangs."""
        with start([program, *self.options, *words], cwd=self.packages) as process:
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


def start(command: list[str], cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start `command`, with messages in English and no input. DebianError: this system does not have it."""
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


def first_complaint(messages: str) -> str:
    """The first error in apt's `messages`, or else the first warning. One line, empty if there is neither."""
    for mark in ("E: ", "W: "):
        for line in messages.splitlines():
            if line.startswith(mark):
                return line.removeprefix(mark).strip().rstrip(".")
    return ""


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _bytes_in(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # apt moves files meanwhile
            size += file.lstat().st_size
    return size
