# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what `armprobe doctor` and `armprobe cache` answer with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from armprobe.commands import values
from armprobe.machine import host_files

from .text import as_text

_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))


def size_text(size: int) -> str:
    """A size in bytes, for people: 272 MB."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} B"


def age_text(seconds: float) -> str:
    """A time, for people: 3 days."""
    for unit, name in _UNITS:
        if seconds >= unit:
            count = int(seconds / unit)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "now"


@as_text.register(values.Doctor)
def _(value: values.Doctor) -> str:
    extras = [
        f"{extra.name} ({'installed' if not extra.missing else 'without ' + ', '.join(extra.missing)})"
        for extra in value.extras
    ]
    rows: list[tuple[str, str]] = [
        ("armprobe", f"{value.version}, JSON version {value.json_version}"),
        ("Python", value.python),
        ("system", value.system),
        *((package.name, package.version or "not installed") for package in value.packages),
        ("extras", ", ".join(extras) or "none"),
        ("C core", f"{value.core}, {value.core_origin}"),
        ("calibration", value.calibration),
        ("gdb", value.gdb or "gdb-multiarch is not installed (Debian: apt-get install gdb-multiarch)"),
        ("cache", f"{value.cache}, limit of the snapshots: {value.cache_limit}"),
        *((f"  {kind.kind}", f"{kind.entries}, {size_text(kind.size)}") for kind in value.cached),
        ("kernel", value.kernel or "none fetched (armprobe linux fetches Debian's)"),
        ("snapshot", "armprobe linux resumes one" if value.resumes else "none of this version: armprobe linux boots"),
        ("stub", f"{value.address} {'is free' if value.address_free else 'is in use: another port will be taken'}"),
    ]
    text = "".join(f"{name:<14} {host_files.shown(said)}\n" for name, said in rows)
    return text + "".join(f"FAILED: {problem}\n" for problem in value.problems)


@as_text.register(values.CacheEntries)
def _(value: values.CacheEntries) -> str:
    if not value:
        return "the cache is empty\n"
    return _rows(value) + f"{size_text(sum(entry.size for entry in value))} in all\n"


@as_text.register(values.CacheRemoved)
def _(value: values.CacheRemoved) -> str:
    text = _rows(value.removed) + f"removed {len(value.removed)} of the cache's entries, {size_text(value.size)}\n"
    return text + "".join(f"{entry.path} stays: it is in use\n" for entry in value.kept)


def _rows(entries: Iterable[values.CacheEntry]) -> str:
    rows = [
        (entry.kind, size_text(entry.size), age_text(entry.age), entry.path, entry.made_of, entry.in_use)
        for entry in entries
    ]
    width = max((len(row[3]) for row in rows), default=0)
    return "".join(
        f"{kind:<10} {size:>9}  {age:>10}  {host_files.shown(path):<{width}}  {host_files.shown(made_of)}"
        f"{' (in use)' if in_use else ''}\n"
        for kind, size, age, path, made_of, in_use in rows
    )


@as_text.register(values.ShellCommand)
def _(value: values.ShellCommand) -> str:
    return value.out + (f"exit status {value.status}\n" if value.status else "")
