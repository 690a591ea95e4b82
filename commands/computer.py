# SPDX-License-Identifier: GPL-2.0-or-later
"""What `armprobe doctor` and `armprobe cache` find out about this computer. They need no guest."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import armprobe
from armprobe.guests.linux import cache, cache_directory, prepared
from armprobe.guests.linux.debian import cached_kernel
from armprobe.machine import MachineError
from armprobe.machine.core.calibration import calibrate
from armprobe.machine.core.core import DEFAULT_MODEL
from armprobe.machine.native.binding import LIBRARY, SOURCES
from armprobe.stub import StubError
from armprobe.stub.address import listen

from .errors import CommandError
from .render.json import VERSION
from .values import CacheEntries, CacheEntry, CacheRemoved, Doctor, Extra, KindOfCache, Version

_FOR_DEVELOPERS: Final = ("test",)
_NAME: Final = re.compile(r"[\w.-]+")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


def examine(address: str, cache_limit: str) -> Doctor:
    """Everything about this installation. `address` and `cache_limit` are those in force."""
    problems: list[str] = []
    live: bool | None = None
    try:
        live = calibrate(DEFAULT_MODEL).live is not None
        found = "the engine's own registers are used" if live else "copies of the registers are used, which is slower"
    except MachineError as error:
        found = "failed"
        problems.append(str(error))
    packages, extras = _packages()
    problems += [f"{package.name} is not installed" for package in packages if not package.version]
    kernel = cached_kernel()
    cached = cache.entries()
    return Doctor(
        version=armprobe.__version__,
        json_version=VERSION,
        python=f"{platform.python_version()} ({platform.python_implementation()}, {without_home(sys.executable)})",
        system=f"{platform.system()} {platform.release()}, {platform.machine()}, {' '.join(platform.libc_ver())}",
        packages=tuple(packages),
        extras=tuple(extras),
        core=without_home(LIBRARY._name),
        core_origin=f"{_core_origin()} (sources {SOURCES[:12]})",
        live_registers=live,
        calibration=found,
        gdb=_gdb(),
        cache=without_home(cache_directory()),
        cache_limit=cache_limit,
        cached=tuple(
            KindOfCache(kind, len(those), sum(entry.size for entry in those))
            for kind in cache.KINDS
            if (those := [entry for entry in cached if entry.kind == kind])
        ),
        kernel="" if kernel is None else f"Linux {kernel.kernel_version} (Debian {kernel.package_version})",
        resumes=prepared() is not None,
        address=address,
        address_free=_is_free(address),
        problems=tuple(problems),
    )


def without_home(path: str | Path) -> str:
    """A path for a report, without the user's name: the home folder is ~."""
    try:
        home = str(Path.home())
    except RuntimeError:  # there is no home
        return str(path)
    path = str(path)
    return f"~{path.removeprefix(home)}" if path == home or path.startswith(f"{home}/") else path


def list_cache(kinds: Iterable[str] = cache.KINDS) -> CacheEntries:
    """What the cache has of these kinds."""
    return _listed(cache.entries(kinds))


def clear_cache(kinds: Iterable[str], unused_for: float = 0) -> CacheRemoved:
    """Remove what the cache has of these kinds and was not used for `unused_for` seconds, but what is in use.

    Raises CommandError.
    """
    latest = time.time() - unused_for
    chosen = [entry for entry in cache.entries(kinds) if entry.used <= latest]
    try:
        removed = cache.remove(chosen)
    except OSError as error:
        raise CommandError(f"{without_home(error.filename)} cannot be removed: {error.strerror}") from None
    kept = _listed(entry for entry in chosen if entry not in removed)
    return CacheRemoved(_listed(removed), sum(entry.size for entry in removed), kept)


def _listed(entries: Iterable[cache.Entry]) -> CacheEntries:
    now = time.time()
    return CacheEntries(
        CacheEntry(
            kind=entry.kind,
            path=str(entry.path.relative_to(cache_directory())),
            size=entry.size,
            age=round(max(now - entry.used, 0.0), 1),
            made_of=entry.made_of,
            in_use=entry.in_use,
        )
        for entry in entries
    )


def _packages() -> tuple[list[Version], list[Extra]]:
    """The packages that armprobe needs, and its extras, by what its own metadata says."""
    try:
        requirements = importlib.metadata.requires("armprobe") or []
    except importlib.metadata.PackageNotFoundError:
        return [], []
    needed, extras = [], dict[str, list[str]]()
    for requirement in requirements:
        named = _NAME.match(requirement)
        assert named is not None
        package = Version(named[0], _installed(named[0]))
        if (extra := _EXTRA.search(requirement)) is None:
            needed.append(package)
        elif extra[1] not in _FOR_DEVELOPERS:
            missing = extras.setdefault(extra[1], [])
            missing += [] if package.version else [package.name]
    return needed, [Extra(name, tuple(missing)) for name, missing in extras.items()]


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _core_origin() -> str:
    beside = any(Path(armprobe.machine.__file__).resolve().parent.glob("native/*.c"))  # a wheel has no sources
    return "compiled from this checkout" if beside else "from the installed package"


def _gdb() -> str:
    """The first line that gdb-multiarch says of its version, and where it is."""
    path = shutil.which("gdb-multiarch")
    if path is None:
        return ""
    try:
        done = subprocess.run([path, "--nx", "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return f"{without_home(path)} does not run"
    return f"{next(iter(done.stdout.splitlines()), 'no version')} ({without_home(path)})"


def _is_free(address: str) -> bool:
    try:
        listen(address).close()
    except StubError:
        return False
    return True


def settled_kinds(words: Iterable[str]) -> Iterator[str]:
    """The kinds that these words name. Raises CommandError."""
    for word in words:
        if word not in cache.KINDS:
            raise CommandError(f"the cache has no {word!r}: it has {', '.join(cache.KINDS)}")
        yield word
