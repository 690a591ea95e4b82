# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdicts of a kprobe decoder on A64 instructions, as rows.

Each row covers a group of instructions. The first row that matches decides.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Verdict(enum.Enum):
    """The kernel's `enum probe_insn`."""

    REJECTED = 0
    GOOD_NO_SLOT = 1  # simulated
    GOOD = 2  # executed in a slot


GROUP: Final = 25
"""The lowest of the four bits that divide A64 words into groups of instructions (Arm ARM, C4.1)."""


class Row(NamedTuple):
    """Instructions with `word & mask == value`. `text` says why they are refused, or why they should have been."""

    mask: int
    value: int
    verdict: Verdict
    simulator: str = ""
    text: str = ""


def refuse(mask: int, value: int, text: str) -> Row:
    """A row of instructions that cannot be probed, and why."""
    return Row(mask, value, Verdict.REJECTED, "", text)


def simulate(mask: int, value: int, simulator: str) -> Row:
    """A row of instructions that the kernel's function `simulator` simulates."""
    return Row(mask, value, Verdict.GOOD_NO_SLOT, simulator)


def accept(mask: int, value: int, warning: str = "") -> Row:
    """A row of instructions that are executed in a slot. `warning` says what goes wrong there, if anything does."""
    return Row(mask, value, Verdict.GOOD, "", warning)
