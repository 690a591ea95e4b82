# SPDX-License-Identifier: GPL-2.0-or-later
"""An era: the rules that one generation of the kernel followed, as data."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from .errors import ProbeError
from .instructions import KPROBE_ROWS_V6_1, Row

DEFAULT_ERA: Final = "v6.1"


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


@dataclass(frozen=True)
class Era:
    """One generation's rules. `name` is the release they were first in, or the one they were checked on."""

    name: str
    rows: tuple[Row, ...]
    atomic: AtomicScan
    slot_daif: int  # PSTATE bits set while the slot executes; what they were is put back after it
    exception_entry: int  # bytes of one exception table entry
    blacklist: tuple[tuple[str, str], ...]  # areas without probes: the linker symbols at start and end


ERAS: Final = {
    era.name: era
    for era in (
        Era(
            name="v6.1",
            rows=KPROBE_ROWS_V6_1,
            # Bit 23 is not in the mask, so LDAR counts as a load exclusive and STLR as a store exclusive.
            atomic=AtomicScan(mask=0x3F400000, load=0x08400000, store=0x08000000, reach=32),
            slot_daif=0x3C0,
            exception_entry=12,  # commit d6e2cc564775 (v5.17) added type and data to the two offsets
            blacklist=(
                ("__kprobes_text_start", "__kprobes_text_end"),
                ("__noinstr_text_start", "__noinstr_text_end"),
                ("__entry_text_start", "__entry_text_end"),
                ("__irqentry_text_start", "__irqentry_text_end"),
                ("__idmap_text_start", "__idmap_text_end"),
                ("__hyp_text_start", "__hyp_text_end"),
                ("__hyp_idmap_text_start", "__hyp_idmap_text_end"),
            ),
        ),
    )
}


def find_era(era: str | Era) -> Era:
    """The era of that name. Raises ProbeError (EINVAL) naming those there are."""
    if isinstance(era, Era):
        return era
    try:
        return ERAS[era]
    except KeyError:
        raise ProbeError(errno.EINVAL, f"there is no era '{era}': choose one of {', '.join(ERAS)}") from None
