# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds an era by name, by kernel version, or for a guest."""

from __future__ import annotations

import errno
import re
from typing import Final

from armprobe.machine import Machine
from armprobe.probes.errors import ProbeError

from .catalog import ALL_ERAS, DEFAULT_ERA, ERAS, POINT_RELEASES
from .era import Era, Release

_RELEASE: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", re.ASCII)


def find_era(era: str | Era) -> Era:
    """The era of that name, or the era of that kernel version ("6.12.110"; see `era_of`).

    Raises ProbeError (EINVAL), naming the known eras.
    """
    if isinstance(era, Era):
        return era
    name = f"v{era.removeprefix('v')}"
    found = ERAS.get(name) or POINT_RELEASES.get(name)
    if found is not None:
        return found
    version = _RELEASE.fullmatch(era)
    release = (int(version[1]), int(version[2]), int(version[3] or 0)) if version else (0, 0, 0)
    if release[:2] < ALL_ERAS[0].release[:2]:
        names = ", ".join(ERAS)
        reason = f"there is no era '{era}': choose one of {names}, or give a kernel's version, such as 6.12.107"
        raise ProbeError(errno.EINVAL, reason)
    return era_of(release)


def era_of(release: Release) -> Era:
    """The latest era that is not later than the kernel.

    If the kernel's own series, such as 6.1, has only later eras, it is the first of them. For a kernel older than all
    eras it is the first era.
    """
    all_series = [era.release[:2] for era in ALL_ERAS]
    series = max((each for each in all_series if each <= release[:2]), default=all_series[0])
    eras = [era for era in ALL_ERAS if era.release[:2] == series]
    return max((era for era in eras if era.release <= release), key=lambda era: era.release, default=eras[0])


def _relation(era: Era, release: Release) -> str:
    """A few words on how `era_of(release)` was found. Empty if the era is of the kernel's own series."""
    if era.release[:2] == release[:2]:
        return ""
    return "the oldest" if release < era.release else "the nearest not later"


def choose_era(machine: Machine, era: str | Era | None) -> tuple[Era, str]:
    """The era for `machine`, and a text that says how it was chosen. Raises ProbeError for an unknown era."""
    if era is not None:
        chosen = find_era(era)
        name = era.name if isinstance(era, Era) else era
        exact = name.removeprefix("v") in (chosen.name.removeprefix("v"), ".".join(map(str, chosen.release)))
        return chosen, "as chosen" if exact else f"the nearest to {name}, as chosen"
    release = None if machine.kernel is None else machine.kernel.version
    if release is None:
        return find_era(DEFAULT_ERA), "the default"
    chosen = era_of(release)
    how = _relation(chosen, release)
    return chosen, f"{how + ', ' if how else ''}as the guest is Linux {'.'.join(map(str, release))}"
