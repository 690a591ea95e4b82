# SPDX-License-Identifier: GPL-2.0-or-later
"""An era: the rules that one generation of the kernel followed, as data."""

from __future__ import annotations

import enum
import errno
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from armprobe.probes import rules
from armprobe.probes.instructions import GROUP, Row

from .rows import ROWS_V4_8, ROWS_V5_10, ROWS_V6_9, ROWS_V6_12, ROWS_V7_2

Release = tuple[int, int, int]
"""A kernel's version: 6.1.192 is (6, 1, 192)."""

DEFAULT_ERA: Final = "v6.1"


class Bound(enum.Enum):
    """How far back the scan for a load exclusive may go, besides its reach."""

    SYMBOL = "symbol"  # to the first instruction of the function
    TEXT = "text"  # to the second of the kernel's text, or the module's


@dataclass(frozen=True)
class AtomicScan:
    """How the kernel looks backwards for a load exclusive (arch/arm64/kernel/probes/decode-insn.c).

    A load or store exclusive is a word with `word & mask` equal to `load` or `store`; `reach` is the number of
    instructions before the probed one that are looked at.
    """

    mask: int
    load: int
    store: int
    reach: int
    bound: Bound


@dataclass(frozen=True)
class Era:
    """One generation's rules, as the point release `release` has them.

    `name` is the release that they were first in, or the point release where its series has others too.
    """

    name: str
    release: Release
    rows: tuple[Row, ...]  # the instruction decoder
    atomic: AtomicScan
    hits: rules.HitRules
    blacklist: tuple[tuple[str, str], ...]  # areas without probes: the linker symbols at start and end
    unknown_address: int  # the errno for an address that no symbol covers
    # Whether a kretprobe has to be at one, as since "kretprobes: Ensure probe location is at function entry" (v4.12)
    entry_only: bool
    not_entry: int  # the errno for a kretprobe where that can not even be asked, there being no symbol
    max_data_size: int | None  # bytes that an instance of a kretprobe may have for its handlers; None for no limit
    maxactive: int  # of a kretprobe that leaves it to the kernel, on one CPU and without CONFIG_PREEMPT

    @cached_property
    def rows_by_group(self) -> tuple[tuple[Row, ...], ...]:
        """For each group of instructions the rows that can match in it, so that a word is compared with a few."""
        return tuple(
            tuple(row for row in self.rows if not (group << GROUP ^ row.value) & row.mask & 15 << GROUP)
            for group in range(16)
        )


def _areas(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"__{name}_start", f"__{name}_end") for name in names)


# Bit 23 is not in the mask, so LDAR counts as a load exclusive and STLR as a store exclusive.
_SCAN_V4_8: Final = AtomicScan(mask=0x3F400000, load=0x08400000, store=0x08000000, reach=31, bound=Bound.TEXT)
_SCAN: Final = replace(_SCAN_V4_8, reach=32, bound=Bound.SYMBOL)  # since v4.9
_SCAN_V6_15: Final = replace(_SCAN, mask=0x3FC00000)  # commit ab327cc841cb

_V4_8: Final = Era(
    name="v4.8",
    release=(4, 8, 0),
    rows=ROWS_V4_8,
    atomic=_SCAN_V4_8,
    hits=rules.V4_8,
    # arch_within_kprobe_blacklist(), and what arch_prepare_kprobe() refuses
    blacklist=_areas(
        "kprobes_text",
        "entry_text",
        "idmap_text",
        "hyp_text",
        "hyp_idmap_text",
        "exception_text",
        "irqentry_text",
    ),
    unknown_address=errno.EINVAL,
    entry_only=False,
    not_entry=errno.ENOENT,
    max_data_size=None,
    maxactive=1,  # num_possible_cpus()
)
_V5_4: Final = replace(
    _V4_8,
    name="v5.4",
    release=(5, 4, 0),
    atomic=_SCAN,
    hits=rules.V5_4,
    entry_only=True,
    not_entry=errno.EINVAL,
)
_V5_10: Final = replace(
    _V5_4,
    name="v5.10",
    release=(5, 10, 223),
    rows=ROWS_V5_10,
    hits=rules.V5_10,
    blacklist=_areas(
        "kprobes_text",
        "noinstr_text",  # commit 66e9b0717102 (v5.8)
        "entry_text",
        "irqentry_text",
        "idmap_text",
        "hyp_text",
        "hyp_idmap_text",
    ),
    not_entry=errno.ENOENT,  # commit 97c753e62e6c (v5.11), in 5.10 by an update
    max_data_size=4096,  # KRETPROBE_MAX_DATA_SIZE, commit 6bbfa4411668 (v5.16), likewise
)
_V6_1: Final = replace(
    _V5_10,
    name="v6.1",
    release=(6, 1, 189),  # whose changelog has the recovery from HIT_SS; checked on 6.1.192
    hits=rules.V6_1,
    unknown_address=errno.ENOENT,  # commit cc66bb914578 (v5.18)
    maxactive=10,  # max(10, 2 * num_possible_cpus()), whatever CONFIG_PREEMPT is
)
_V6_9: Final = replace(
    _V6_1,
    name="v6.9",
    release=(6, 9, 0),
    rows=ROWS_V6_9,
    hits=rules.V6_9,
    # The identity map has left the text (commit af7249b317e4, v6.3).
    blacklist=_areas("kprobes_text", "noinstr_text", "entry_text", "irqentry_text", "hyp_text", "hyp_idmap_text"),
)
_V7_2: Final = replace(
    _V6_9,
    name="v7.2",
    release=(7, 2, 0),
    rows=ROWS_V7_2,
    atomic=_SCAN_V6_15,
    hits=rules.V7_2,
)

_V6_1_176: Final = replace(_V6_1, name="v6.1.176", release=(6, 1, 176), hits=rules.V6_1_176)
_V6_12_107: Final = replace(_V6_9, name="v6.12.107", release=(6, 12, 107), rows=ROWS_V6_12)
# The recovery from HIT_SS is in the changelog of 6.12.111; checked on 6.12.117.
_V6_12_117: Final = replace(_V6_12_107, name="v6.12.117", release=(6, 12, 111), hits=rules.V6_12_117)

ERAS: Final = {era.name: era for era in (_V4_8, _V5_4, _V5_10, _V6_1, _V6_9, _V7_2)}
"""The generations, in order."""

POINT_RELEASES: Final = {era.name: era for era in (_V6_1_176, _V6_12_107, _V6_12_117)}
"""What updates of a kernel changed: eras beside those of `ERAS`."""

ALL_ERAS: Final = sorted((*ERAS.values(), *POINT_RELEASES.values()), key=lambda era: era.release)

AREAS: Final = frozenset(area for era in ALL_ERAS for area in era.blacklist)
"""What any era allows no probes in."""
