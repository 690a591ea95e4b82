# SPDX-License-Identifier: GPL-2.0-or-later
"""`probes.decode` and the kernel's arm_kprobe_decode_insn, told that the instruction is in no function.

Without a function there is no scan for exclusives around it (test_atomic.py).
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterator, Sequence

import pytest

from armprobe.probes import Era, Verdict, decode
from armprobe.probes.eras.decoder_rows import Row
from tests.oracle.cold_kernel import BATCH, ColdKernel, entries
from tests.oracle.function_records import SHARE, Answer, KernelOnRecord, digest
from tests.oracle.references import AT_LENGTH, EVERYTHING, REFERENCES
from tests.oracle.words import GROUPS, group, neighbours

ASI = 0x30
"""Bytes for a struct arch_specific_insn, and more."""


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
    handler = kernel.types["arch_probe_insn"].offset("handler")  # api.handler, and api comes first
    handlers = written[handler // 8 :: ASI // 8]
    names = {address: kernel.symbols.describe(address) if address else "" for address in set(handlers)}
    return [(verdict, names[handler]) for verdict, handler in zip(verdicts, handlers, strict=True)]


def ours(word: int, era: Era) -> Answer:
    decoded = decode(word, era)
    return decoded.verdict.value, decoded.simulator


def differences(era: Era, words: Sequence[int], answers: Sequence[Answer]) -> list[str]:
    return [
        f"{word:#010x}: the kernel says {answer}, decode {our}"
        for word, answer in zip(words, answers, strict=True)
        if answer != (our := ours(word, era))
    ]


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.sample
def test_words(
    kernel: ColdKernel | KernelOnRecord, name: str, share: int, compared: Callable[[str, int], None]
) -> None:
    if isinstance(kernel, KernelOnRecord):
        words, said = group(name, False, kernel.record.rows)[::SHARE], kernel.record.decoded[name]
        assert digest(words) == said["words"], "words.py makes other words than were asked about"
        answers = kernel.letters(said["answers"])
    else:
        words = group(name, EVERYTHING)[::share]
        answers = kernels(kernel, words)
    assert differences(kernel.era, words, answers) == []
    compared(f"{kernel.era.name} decode: {name}", len(words))


@pytest.mark.sample
def test_text(kernel: ColdKernel | KernelOnRecord, share: int, compared: Callable[[str, int], None]) -> None:
    words: Sequence[int]
    if isinstance(kernel, KernelOnRecord):
        words, answers = kernel.record.text["words"], kernel.letters(kernel.record.text["answers"])
    else:
        words = array("I", dict.fromkeys(kernel.text()[1]))[::share]
        answers = kernels(kernel, words)
    assert differences(kernel.era, words, answers) == []
    compared(f"{kernel.era.name} decode: the different words of the kernel's own text", len(words))


def mistakes(row: Row) -> Iterator[tuple[Row, ...]]:
    """What could stand for `row` by mistake: nothing, it with a fixed bit wrong, and it with one bit more fixed."""
    yield ()
    for bit in (1 << number for number in range(32)):
        yield (row._replace(value=row.value ^ bit, mask=row.mask | bit),)
        if not row.mask & bit:
            yield (row._replace(mask=row.mask | bit),)


def rows(era: str) -> list[Row]:
    """Those whose absence changes an answer: the others are there for their warnings."""
    return [row for row in REFERENCES[era].newest_era.rows if row.verdict is not Verdict.GOOD or not row.text]


@pytest.mark.parametrize(
    ("kernel", "row"),
    [(era, row) for era in AT_LENGTH for row in rows(era)],
    indirect=["kernel"],
    scope="function",
    ids=lambda value: f"{value.mask:08x}-{value.value:08x}" if isinstance(value, Row) else value,
)
def test_a_mistake_in_the_table_would_be_seen(kernel: ColdKernel | KernelOnRecord, row: Row) -> None:
    if isinstance(kernel, KernelOnRecord):
        pytest.skip("it asks the kernel for more words than are on record")
    words = array("I", dict.fromkeys(neighbours(row.mask, row.value, 8)))
    answers = kernels(kernel, words)
    table = kernel.era.rows
    at = table.index(row)
    for wrong in mistakes(row):
        era = dataclasses.replace(kernel.era, rows=(*table[:at], *wrong, *table[at + 1 :]))
        assert any(answer != ours(word, era) for word, answer in zip(words, answers, strict=True)), wrong
