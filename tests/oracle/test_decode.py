# SPDX-License-Identifier: GPL-2.0-or-later
"""`probes.decode` and the kernel's arm_kprobe_decode_insn, told that the instruction is in no function.

Without a function there is no scan for exclusives around it (test_atomic.py).
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterable, Iterator

import pytest

from armprobe.probes import ERAS, Era, Verdict, decode
from armprobe.probes.instructions import Row

from .cold_kernel import BATCH, ColdKernel, entries
from .words import GROUPS, ROWS, group, neighbours

ASI = 0x20
"""Bytes of struct arch_specific_insn, v6.1 (BTF)."""
HANDLER = 0x10
"""Byte offset of its member api.handler."""

ERA = ERAS["v6.1"]

Answer = tuple[int, str]
"""The verdict as the kernel's number, and the simulator, "" for none."""


def kernels(kernel: ColdKernel, words: array[int]) -> list[Answer]:
    """What the kernel says of each word."""
    with kernel.symbols_from_entries():
        batches = (words[first : first + BATCH] for first in range(0, len(words), BATCH))
        return [answer for batch in batches for answer in _batch(kernel, batch)]


def _batch(kernel: ColdKernel, words: array[int]) -> list[Answer]:
    with kernel.room():
        text, asi = kernel.allocate(4 * len(words)), kernel.allocate(ASI * len(words))
        kernel.machine.memory.write(text, words.tobytes())
        calls = entries(range(text, text + 4 * len(words), 4), range(asi, asi + ASI * len(words), ASI))
        verdicts = kernel.call_each("arm_kprobe_decode_insn", calls)
        written = array("Q", kernel.machine.memory.read(asi, ASI * len(words)))
    handlers = written[HANDLER // 8 :: ASI // 8]
    names = {address: kernel.symbols.describe(address) if address else "" for address in set(handlers)}
    return [(verdict, names[handler]) for verdict, handler in zip(verdicts, handlers, strict=True)]


def ours(word: int, era: Era) -> Answer:
    decoded = decode(word, era)
    return decoded.verdict.value, decoded.simulator


def differences(words: Iterable[int], answers: Iterable[Answer]) -> list[str]:
    return [
        f"{word:#010x}: the kernel says {answer}, decode {our}"
        for word, answer in zip(words, answers, strict=True)
        if answer != (our := ours(word, ERA))
    ]


@pytest.mark.parametrize("name", GROUPS)
def test_words(kernel: ColdKernel, name: str, everything: bool, compared: Callable[[str, int], None]) -> None:
    words = group(name, everything)
    assert differences(words, kernels(kernel, words)) == []
    compared(f"decode: {name}", len(words))


def test_text(kernel: ColdKernel, compared: Callable[[str, int], None]) -> None:
    words = array("I", dict.fromkeys(kernel.text()[1]))
    assert differences(words, kernels(kernel, words)) == []
    compared("decode: the different words of the kernel's own text", len(words))


def mistakes(row: Row) -> Iterator[tuple[Row, ...]]:
    """What could stand for `row` by mistake: nothing, it with a fixed bit wrong, and it with one bit more fixed."""
    yield ()
    for bit in (1 << number for number in range(32)):
        yield (row._replace(value=row.value ^ bit, mask=row.mask | bit),)
        if not row.mask & bit:
            yield (row._replace(mask=row.mask | bit),)


@pytest.mark.parametrize(
    "row",
    # the others are there for their warnings
    [row for row in ROWS if row.verdict is not Verdict.GOOD or not row.text],
    ids=lambda row: f"{row.mask:08x}-{row.value:08x}",
)
def test_a_mistake_in_the_table_would_be_seen(kernel: ColdKernel, row: Row) -> None:
    words = array("I", dict.fromkeys(neighbours(row, 8)))
    answers = kernels(kernel, words)
    at = ROWS.index(row)
    for wrong in mistakes(row):
        era = dataclasses.replace(ERA, rows=(*ROWS[:at], *wrong, *ROWS[at + 1 :]))
        assert any(answer != ours(word, era) for word, answer in zip(words, answers, strict=True)), wrong
