# SPDX-License-Identifier: GPL-2.0-or-later
"""Instruction words to decode, in groups. The same ones every time."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from armprobe.probes import ERAS

ROWS: Final = list(dict.fromkeys(row for era in ERAS.values() for row in era.rows))
"""The rows of all eras: what another era tells apart is where a mistake is likely."""
_ALL: Final = 0xFFFF_FFFF

Bits = tuple[int, int]
"""The mask and the value of a row."""
BITS: Final[list[Bits]] = [(row.mask, row.value) for row in ROWS]


def neighbours(mask: int, value: int, more: int) -> Iterator[int]:
    """Words of a row, and words that differ from it in one or two of its fixed bits, `more` times over.

    The other bits are all clear, all set, and random.
    """
    rng = random.Random(value)
    bits = [1 << bit for bit in range(32) if mask >> bit & 1]
    flips = [0, *bits, *(one | other for one, other in itertools.combinations(bits, 2))]
    for flip in flips:
        fixed = value ^ flip
        yield fixed
        yield fixed | _ALL & ~mask
        for _ in range(more):
            yield fixed | rng.getrandbits(32) & ~mask


def _hints(everything: bool) -> Iterator[int]:
    """All words 0xd503....: hints, barriers and MSR (immediate)."""
    return iter(range(0xD503_0000, 0xD504_0000))


def _system(everything: bool) -> Iterator[int]:
    """System instructions and accesses to system registers, every L, op0, op1, CRn, CRm and op2 (Arm ARM, C4.1).

    That is every register there is or may be, read and written; from and to one general register, or each.
    """
    rng = random.Random(0)
    for instruction in range(1 << 17):
        for rt in range(32) if everything else (rng.getrandbits(5),):
            yield 0xD500_0000 | instruction << 5 | rt


def _upper_halves(everything: bool) -> Iterator[int]:
    """Every upper half of a word, which is where the groups of instructions part, with a few lower halves."""
    rng = random.Random(1)
    for upper in range(1 << 16):
        yield upper << 16
        yield upper << 16 | 0xFFFF
        for _ in range(30 if everything else 4):
            yield upper << 16 | rng.getrandbits(16)


def _random(everything: bool) -> Iterator[int]:
    rng = random.Random(2)
    return (rng.getrandbits(32) for _ in range(2_000_000 if everything else 200_000))


_GENERATED: Final[dict[str, Callable[[bool], Iterator[int]]]] = {
    "hints, barriers and MSR (immediate), all": _hints,
    "system instructions and registers, all": _system,
    "every upper half of a word": _upper_halves,
    "random words": _random,
}


_OF_ROWS: Final = "each row of the table, its fixed bits flipped by ones and twos"
GROUPS: Final = (_OF_ROWS, *_GENERATED)


def group(name: str, everything: bool, rows: Iterable[Bits] = BITS) -> array[int]:
    """The words of a group, each once. `rows` are those of which words are made."""
    if name == _OF_ROWS:
        more = 64 if everything else 4
        return array("I", dict.fromkeys(word for row in rows for word in neighbours(*row, more)))
    return array("I", dict.fromkeys(_GENERATED[name](everything)))
