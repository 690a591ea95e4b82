# SPDX-License-Identifier: GPL-2.0-or-later
"""Decides whether a kprobe may be put on an instruction, and how the instruction is executed."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .eras import DEFAULT_ERA, Era, find_era
from .eras.decoder_rows import GROUP, Verdict


@lazy_dataclass
class Decoded:
    """The kernel's verdict on one instruction.

    `simulator` is the kernel's name for the function that simulates it, "" for none. `reason` says why the instruction
    is refused, "" if it is not. `warning` says what goes wrong with an instruction that the kernel accepts all the
    same.
    """

    verdict: Verdict
    simulator: str = ""
    reason: str = ""
    warning: str = ""


_GOOD = Decoded(Verdict.GOOD)


def decode(word: int, era: str | Era = DEFAULT_ERA) -> Decoded:
    """Decode one A64 instruction as `arm_kprobe_decode_insn` of that era does, without the scan for exclusives.

    Raises ValueError for a word that is not 32 bits, ProbeError for an unknown era.
    """
    if not 0 <= word < 1 << 32:
        raise ValueError(f"an A64 instruction is a 32-bit word, not {word:#x}")
    for mask, value, verdict, simulator, text in find_era(era).rows_by_group[word >> GROUP & 15]:
        if word & mask == value:
            if verdict is Verdict.REJECTED:
                return Decoded(verdict, reason=text)
            return Decoded(verdict, simulator, warning=text)
    return _GOOD
