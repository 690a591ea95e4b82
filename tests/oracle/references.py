# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that eras are compared with, and what is known to set each apart from its era."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import pytest

from armprobe.commands.debian import DebianError, KernelFiles, fetch_kernel
from armprobe.probes import ERAS, Era
from armprobe.probes.instructions import Row, refuse, simulate

DEFAULT: Final = "v6.1"
EVERYTHING: Final = os.environ.get("ARMPROBE_ORACLE") == "all"
"""Whether to compare all there is (`make oracle`), or what some seconds allow."""


@dataclass(frozen=True)
class Reference:
    """A stock kernel of Debian `suite` ("" for this system's), whose version begins with `version`.

    `era` is the era it stands for, with what later updates of the kernel brought.
    """

    era: Era
    suite: str
    version: str


def _updated(era: Era, *later: Row) -> Era:
    """The era with `later` rows in place of those they cover."""

    def covered(row: Row) -> bool:
        return any(row.mask & new.mask == new.mask and row.value & new.mask == new.value for new in later)

    return replace(era, rows=(*later, *(row for row in era.rows if not covered(row))))


REFERENCES: Final = {
    "v5.10": Reference(ERAS["v5.10"], "bullseye", "5.10."),
    "v6.1": Reference(ERAS["v6.1"], "", "6.1."),
    "v6.9": Reference(
        _updated(
            ERAS["v6.9"],
            refuse(0x3B200C00, 0x19000400, "MOPS"),  # commit c56c599d9002 (v6.13), in 6.12 by an update
            simulate(0xFF000000, 0x54000000, "simulate_b_cond"),  # commit 2ccd8ff980b5: BC.cond too; likewise
        ),
        "trixie",
        "6.12.",
    ),
}

AT_LENGTH: Final = tuple(REFERENCES) if EVERYTHING else (DEFAULT,)
"""The eras for which it is also shown that a mistake would be seen."""


def fetch(reference: Reference, *, refresh: bool = False) -> KernelFiles:
    """The files of that kernel, the newest there is with `refresh`. Where it cannot be had tests are skipped.

    Under CI they fail; but for another release's kernel, which a mirror may have dropped, only `make oracle` insists.
    """
    try:
        files = fetch_kernel(suite=reference.suite, refresh=refresh)
    except DebianError as error:
        missing(str(error), reference)
    if not files.kernel_version.startswith(reference.version):
        missing(
            f"apt offers Linux {files.kernel_version}, and what is compared are the rules of {reference.version}*",
            reference,
        )
    return files


def missing(what: str, reference: Reference) -> NoReturn:
    """Fail or skip, as `fetch` does."""
    if EVERYTHING or (os.environ.get("CI") and not reference.suite):
        pytest.fail(what)
    pytest.skip(what)
