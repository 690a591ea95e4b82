# SPDX-License-Identifier: GPL-2.0-or-later
"""An era: the rules that one generation of the kernel followed, as data."""

from __future__ import annotations

import enum
from functools import cached_property

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .decoder_rows import GROUP, Row
from .hit_rules import HitRules

Release = tuple[int, int, int]
"""A kernel's version: 6.1.192 is (6, 1, 192)."""


class Bound(enum.Enum):
    """The limit of the scan for a load exclusive, besides its reach."""

    SYMBOL = "symbol"  # to the first instruction of the function
    TEXT = "text"  # to the second instruction of the kernel's text, or the module's


@lazy_dataclass
class ExclusiveScan:
    """The kernel's backward search for a load exclusive (arch/arm64/kernel/probes/decode-insn.c).

    A load or store exclusive is a word with `word & mask` equal to `load` or `store`. `reach` is the number of
    instructions searched before the probed one.
    """

    mask: int
    load: int
    store: int
    reach: int
    bound: Bound


@lazy_dataclass
class ReservedText:
    """The text that check_kprobe_address_safe() refuses (EINVAL), besides the blacklist and jump labels.

    `cfi_preambles` are the symbol prefixes of the preambles that hold a function's type, for kCFI.
    """

    ftrace_sites: bool
    bug_sites: bool
    cfi_preambles: tuple[str, ...]


@lazy_dataclass
class Era:
    """The rules of one generation, as in the point release `release`.

    `name` is the release that introduced them, or a point release if its series has several eras.
    """

    name: str
    release: Release
    rows: tuple[Row, ...]  # the instruction decoder
    exclusives: ExclusiveScan
    hits: HitRules
    blacklist: tuple[tuple[str, str], ...]  # areas without probes: the linker symbols at start and end
    reserved: ReservedText
    unknown_address: int  # the errno for an address that no symbol covers
    # Whether a kretprobe must be at a function's entry, since "kretprobes: Ensure probe location is at function entry"
    # (v4.12)
    entry_only: bool
    not_entry: int  # the errno for a kretprobe if no symbol says whether it is at an entry
    max_data_size: int | None  # limit in bytes of a kretprobe instance's data for handlers; None for no limit
    maxactive: int  # default of a kretprobe, on one CPU and without CONFIG_PREEMPT

    @cached_property
    def rows_by_group(self) -> tuple[tuple[Row, ...], ...]:
        """For each group of instructions, the rows that can match in it. A word is compared with only those."""
        return tuple(
            tuple(row for row in self.rows if not (group << GROUP ^ row.value) & row.mask & 15 << GROUP)
            for group in range(16)
        )


def areas(*names: str) -> tuple[tuple[str, str], ...]:
    """The linker symbols at the start and end of these areas of the text."""
    return tuple((f"__{name}_start", f"__{name}_end") for name in names)
