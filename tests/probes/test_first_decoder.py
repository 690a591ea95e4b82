# SPDX-License-Identifier: GPL-2.0-or-later
"""The decoder that kernels had from 4.8 to 5.9, step by step as its source has them, against the rows of v4.8 and v5.4.

No distribution offers a kernel of that time any more, so this stands for one: arch/arm64/kernel/probes/decode-insn.c
(v5.4), with the masks and functions of asm/insn.h and kernel/insn.c. The decoding in v4.8 is the same, word by word.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from armprobe.probes import ERAS, Verdict, decode


class Pattern(NamedTuple):
    """`__AARCH64_INSN_FUNCS`"""

    mask: int
    value: int

    def __call__(self, word: int) -> bool:
        return word & self.mask == self.value


ADR, ADRP = Pattern(0x9F000000, 0x10000000), Pattern(0x9F000000, 0x90000000)
PRFM_LITERAL = Pattern(0xFF000000, 0xD8000000)
LDR_LITERAL, LDRSW_LITERAL = Pattern(0xBF000000, 0x18000000), Pattern(0xFF000000, 0x98000000)
EXCLUSIVE = Pattern(0x3F800000, 0x08000000)
B, BL = Pattern(0xFC000000, 0x14000000), Pattern(0xFC000000, 0x94000000)
CBZ, CBNZ = Pattern(0x7F000000, 0x34000000), Pattern(0x7F000000, 0x35000000)
TBZ, TBNZ = Pattern(0x7F000000, 0x36000000), Pattern(0x7F000000, 0x37000000)
BCOND = Pattern(0xFF000010, 0x54000000)
EXCEPTION = Pattern(0xFF000000, 0xD4000000)
HINT = Pattern(0xFFFFF01F, 0xD503201F)
BR, BLR, RET = Pattern(0xFFFFFC1F, 0xD61F0000), Pattern(0xFFFFFC1F, 0xD63F0000), Pattern(0xFFFFFC1F, 0xD65F0000)
ERET = Pattern(0xFFFFFFFF, 0xD69F03E0)
MRS, MSR_IMMEDIATE, MSR = (
    Pattern(0xFFF00000, 0xD5300000),
    Pattern(0xFFF8F01F, 0xD500401F),
    Pattern(0xFFF00000, 0xD5100000),
)
BRANCHES = (B, BL, CBZ, CBNZ, TBZ, TBNZ, RET, BR, BLR, BCOND)
LITERALS = (LDR_LITERAL, LDRSW_LITERAL, ADR, ADRP, PRFM_LITERAL)
PATTERNS = (*BRANCHES, *LITERALS, EXCLUSIVE, EXCEPTION, HINT, ERET, MRS, MSR_IMMEDIATE, MSR)
DAIF = 0xDA11
YIELD, WFE, WFI, SEV, SEVL = (hint << 5 for hint in range(1, 6))


def is_nop(word: int) -> bool:
    return HINT(word) and word & 0xFE0 not in (YIELD, WFE, WFI, SEV, SEVL)


def is_steppable(word: int) -> bool:
    if word >> 25 & 0b1111 in (0b1010, 0b1011):  # AARCH64_INSN_CLS_BR_SYS
        if any(is_one(word) for is_one in (*BRANCHES, MSR_IMMEDIATE, MSR, EXCEPTION, ERET)):
            return False
        if MRS(word):
            return (word & 0x1FFFE0) >> 5 != DAIF
        return is_nop(word) if HINT(word) else True
    return not (any(is_one(word) for is_one in LITERALS) or EXCLUSIVE(word))


def first_decoder(word: int) -> tuple[Verdict, str]:
    if is_steppable(word):
        return Verdict.GOOD, ""
    for simulator, patterns in (
        ("simulate_b_cond", (BCOND,)),
        ("simulate_cbz_cbnz", (CBZ, CBNZ)),
        ("simulate_tbz_tbnz", (TBZ, TBNZ)),
        ("simulate_adr_adrp", (ADR, ADRP)),
        ("simulate_b_bl", (B, BL)),
        ("simulate_br_blr_ret", (BR, BLR, RET)),
        ("simulate_ldr_literal", (LDR_LITERAL,)),
        ("simulate_ldrsw_literal", (LDRSW_LITERAL,)),
    ):
        if any(is_one(word) for is_one in patterns):
            return Verdict.GOOD_NO_SLOT, simulator
    return Verdict.REJECTED, ""


def words() -> Iterator[int]:
    """Each pattern with one fixed bit wrong, all hints and system instructions, pointer authentication, and any."""
    rng = random.Random(0)
    rows = [(row.mask, row.value) for era in ERAS.values() for row in era.rows]
    for mask, value in dict.fromkeys([*PATTERNS, *rows]):
        for flip in (0, *(1 << bit for bit in range(32) if mask >> bit & 1)):
            yield value ^ flip
            yield from (value ^ flip | rng.getrandbits(32) & ~mask for _ in range(8))
    yield from range(0xD503_2000, 0xD503_3000)
    yield from (0xD500_0000 | system << 5 | rng.getrandbits(5) for system in range(1 << 17))
    yield from (upper << 16 | rng.getrandbits(16) for upper in range(1 << 16))
    yield from (rng.getrandbits(32) for _ in range(50_000))


@pytest.mark.parametrize("era", ["v4.8", "v5.4"])
@pytest.mark.sample
def test_the_first_decoder(era: str) -> None:
    seen = set()
    for word in words():
        expected = first_decoder(word)
        decoded = decode(word, era)
        assert (decoded.verdict, decoded.simulator) == expected, f"{word:#010x}"
        seen.add(expected)
    assert len(seen) == 10  # rejected, good, and each simulator
