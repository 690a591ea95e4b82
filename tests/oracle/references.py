# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that eras are compared with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, NoReturn, TypeVar

import pytest

from armprobe.guests.linux.debian import CLOUD, DebianError, KernelFiles, fetch_kernel
from armprobe.probes import Era, find_era
from tests.progress import progress  # tests have no import name to go by

T = TypeVar("T")

DEFAULT: Final = "v6.1"
EVERYTHING: Final = os.environ.get("ARMPROBE_ORACLE") == "all"
"""Whether to compare all there is (`make oracle`), or what some seconds allow."""


@dataclass(frozen=True)
class Reference:
    """A stock kernel of `series`, in one of Debian's flavours: this system's own, or Debian `suite`'s."""

    series: str
    suite: str
    flavour: str = CLOUD

    @property
    def newest_era(self) -> Era:
        """That of the series' last update; the kernel that there is may be in an earlier one."""
        major, minor, *_ = self.series.split(".")
        return find_era(f"{major}.{minor}.9999")

    @staticmethod
    def era_of(files: KernelFiles) -> Era:
        """The era of a kernel that was fetched."""
        return find_era(files.package_version.partition("-")[0])


REFERENCES: Final = {
    "v5.10": Reference("5.10", "bullseye"),
    "v6.1": Reference("6.1", "bookworm"),
    "v6.9": Reference("6.12", "trixie"),
    "v7.2": Reference("7.2", "sid"),
}
"""By the name of the era that its series is the nearest to."""
FLAVOURED: Final = {f"v6.1-{flavour}": Reference("6.1", "bookworm", flavour) for flavour in ("generic", "rt")}
"""Other kernels of the default series, for `make oracle`."""

_BESIDES: Final = set(os.environ.get("ARMPROBE_SERIES", "").split()) - {DEFAULT}
if _UNKNOWN := _BESIDES - REFERENCES.keys():
    raise pytest.UsageError(f"ARMPROBE_SERIES has {', '.join(sorted(_UNKNOWN))}: it takes {', '.join(REFERENCES)}")
ASKED: Final = tuple(REFERENCES) if EVERYTHING else (DEFAULT, *sorted(_BESIDES))
"""The eras of the kernels that run in tests about each kernel: all, or the default one and those that are named."""

_TO_RECORD: Final = os.environ.get("ARMPROBE_RECORD", "").split()
RECORDING: Final = Reference(*_TO_RECORD) if _TO_RECORD else None
"""The kernel whose answers to the tests in live/ are put on record; see record.py."""

AT_LENGTH: Final = tuple(REFERENCES) if EVERYTHING else (DEFAULT,)
"""The eras of the tests that are about one kernel as much as about another."""


def fetch(reference: Reference, *, refresh: bool = False) -> KernelFiles:
    """The files of that kernel, the newest there is with `refresh`. Where it cannot be had tests are skipped.

    With ARMPROBE_ORACLE=all they fail.
    """
    found = fetched(reference, refresh)
    return found if isinstance(found, KernelFiles) else missing(found, reference)


def fetch_with(reference: Reference, make: Callable[[KernelFiles], T]) -> T:
    """What `make` makes of that kernel and of other packages that belong to it.

    Where it raises DebianError for a kernel that was fetched earlier, the archive may have moved on, and it is given
    the newest. Tests are skipped as by `fetch`.
    """
    try:
        return make(fetch(reference))
    except DebianError:
        pass
    try:
        return make(fetch(reference, refresh=True))
    except DebianError as error:
        missing(error.reason, reference)


@cache  # a mirror that does not answer is not asked again by each test
def fetched(reference: Reference, refresh: bool) -> KernelFiles | str:
    """Its files, or why they cannot be had."""
    try:
        own = fetch_kernel(progress).is_of(reference.series)
        suite = "" if own else reference.suite
        return fetch_kernel(progress, refresh=refresh, suite=suite, series=reference.series, flavour=reference.flavour)
    except DebianError as error:
        return error.reason


def missing(what: str, reference: Reference) -> NoReturn:
    """Fail or skip, as `fetch` does."""
    sentence = f"Linux {reference.series} is not asked: {what}"
    if EVERYTHING:
        pytest.fail(sentence)
    pytest.skip(sentence)
