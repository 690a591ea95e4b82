# SPDX-License-Identifier: GPL-2.0-or-later
"""The scan for a load exclusive before a probe, and the kernel's, which is a part of arm_kprobe_decode_insn."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest

from armprobe.probes import Era, Verdict, decode
from armprobe.probes.eras.era import ExclusiveScan
from armprobe.probes.eras.exclusives import load_exclusive_before
from tests.oracle.cold_kernel import BATCH, ColdKernel, entries
from tests.oracle.function_records import SEQUENCES, KernelOnRecord, digest
from tests.oracle.references import AT_LENGTH, EVERYTHING, REFERENCES

ROOM = 48
"""Instructions in a generated sequence; the scan looks at 32."""

PROBED = (0xD503201F, 0x8B020020, 0x14000008, 0x58000040, 0xC85F7C41, 0xC8017C42)
"""nop and add x0, x1, x2 are executed in a slot, b .+32 and ldr x0, .+8 simulated, ldxr and stxr rejected."""
PLAIN = (0xD503201F, 0x8B020020, 0xB9400020, 0xF9000020, 0x91000421, 0x35FFFFA1, 0xD65F03C0)
"""nop, add, ldr w0, [x1], str x0, [x1], add x1, x1, #1, cbnz w1, ret"""
GROUP, VALUE = 0x3F00_0000, 0x0800_0000
"""The loads and stores that are exclusive, ordered, or compare and swap (Arm ARM, C4.1)."""


def kernels(kernel: ColdKernel, addresses: Sequence[int], offsets: Sequence[int] | None = None) -> array[int]:
    """The kernel's verdicts on the instructions at `addresses`, `offsets` bytes into their functions.

    Without `offsets` it looks the functions up itself.
    """
    with kernel.room():
        asi = kernel.allocate(0x20)
        verdicts = array("Q")
        for first in range(0, len(addresses), BATCH):
            batch = slice(first, first + BATCH)
            if offsets is None:
                verdicts += kernel.call_each("arm_kprobe_decode_insn", entries(addresses[batch], asi))
            else:
                with kernel.symbols_from_entries():
                    calls = entries(addresses[batch], asi, 0, offsets[batch])
                    verdicts += kernel.call_each("arm_kprobe_decode_insn", calls)
        return verdicts


def ours(read: Callable[[int], int], address: int, start: int, era: Era, rules: ExclusiveScan) -> int:
    verdict = decode(read(address), era).verdict
    behind = load_exclusive_before(rules, read, address, start)
    return (verdict if behind is None else Verdict.REJECTED).value


def sequence(rng: random.Random) -> list[int]:
    """Plain instructions, a few of the group that exclusives are in, and others of which a bit differs."""
    words = [rng.choice(PLAIN) for _ in range(ROOM)]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        word = VALUE | rng.getrandbits(32) & ~GROUP
        if not rng.randrange(4):
            word ^= 1 << rng.randrange(32)
        words[rng.randrange(ROOM)] = word
    return [*words, rng.choice(PROBED)]


class Sequences:
    """Generated sequences one after another, an offset of the last instruction of each into its function, and what the
    kernel says of these instructions.

    The functions begin within their sequence, at any byte, or before it.
    """

    def __init__(self, kernel: ColdKernel | KernelOnRecord, count: int) -> None:
        rng = random.Random(3)
        self.era = kernel.era
        self.words = array("I", [word for _ in range(count) for word in sequence(rng)])
        self.offsets = [rng.choice((4 * rng.randrange(ROOM + 1), rng.randrange(4 * ROOM + 1))) for _ in range(count)]
        if isinstance(kernel, KernelOnRecord):
            assert digest(self.words) == kernel.record.sequences["words"], "the sequences are others than those asked"
            self._place(0x1000)
            self.answers = array("Q", map(int, kernel.record.sequences["answers"]))
            return
        with kernel.room():
            self._place(kernel.allocate(4 * len(self.words)))
            kernel.machine.memory.write(self.start, self.words.tobytes())
            self.answers = kernels(kernel, self.addresses, self.offsets)

    def _place(self, start: int) -> None:
        self.start = start
        self.addresses = range(start + 4 * ROOM, start + 4 * len(self.words), 4 * (ROOM + 1))

    def read(self, address: int) -> int:
        return self.words[(address - self.start) // 4]

    def differences(self, rules: ExclusiveScan) -> Iterator[tuple[int, int, int, int]]:
        """Where our scan, following `rules`, differs: place, offset into the function, the kernel's verdict, ours."""
        for address, offset, answer in zip(self.addresses, self.offsets, self.answers, strict=True):
            our = ours(self.read, address, address - offset, self.era, rules)
            if our != answer:
                yield address - self.start, offset, answer, our


@cache  # pytest makes a fixture anew for each test whose kernel is a parameter
def sequences_for(kernel: ColdKernel | KernelOnRecord) -> Sequences:
    if isinstance(kernel, KernelOnRecord):
        return Sequences(kernel, SEQUENCES)
    return Sequences(kernel, BATCH if EVERYTHING else SEQUENCES)


@pytest.fixture
def sequences(kernel: ColdKernel | KernelOnRecord) -> Sequences:
    return sequences_for(kernel)


def test_sequences(sequences: Sequences, compared: Callable[[str, int], None]) -> None:
    assert list(sequences.differences(sequences.era.exclusives)) == []
    refused_for_it = sum(
        not answer and decode(sequences.read(address), sequences.era).verdict is not Verdict.REJECTED
        for address, answer in zip(sequences.addresses, sequences.answers, strict=True)
    )
    what = f"atomic scan: generated sequences, {refused_for_it:,} of them refused for it"
    compared(f"{sequences.era.name} {what}", len(sequences.answers))


def mistakes(right: ExclusiveScan) -> list[ExclusiveScan]:
    """The rules of the scan with one thing wrong, such as one bit more or less looked at."""
    bits = [1 << number for number in range(32)]
    return [
        *(replace(right, reach=right.reach + by) for by in (-1, 1)),
        replace(right, load=right.store, store=right.load),
        *(replace(right, mask=right.mask ^ bit, load=right.load & ~bit, store=right.store & ~bit) for bit in bits),
    ]


@pytest.mark.parametrize(
    ("kernel", "rules"),
    [(era, wrong) for era in AT_LENGTH for wrong in mistakes(REFERENCES[era].newest_era.exclusives)],
    indirect=["kernel"],
    scope="function",
    ids=str,
)
def test_a_mistake_in_the_rules_would_be_seen(
    kernel: ColdKernel | KernelOnRecord, sequences: Sequences, rules: ExclusiveScan
) -> None:
    assert next(sequences.differences(rules), None)


def shortly_after_exclusives(words: array[int]) -> list[int]:
    """The indices of instructions that have one of the group among the 40 before them, or are one."""
    near: set[int] = set()
    for index, word in enumerate(words):
        if word & GROUP == VALUE:
            near.update(range(index, min(index + 40, len(words))))
    return sorted(near)


def test_text(kernel: ColdKernel | KernelOnRecord, share: int, compared: Callable[[str, int], None]) -> None:
    """Instructions of the kernel's own text, which it looks up in its own kallsyms: those shortly after an exclusive,
    or all there are."""
    if isinstance(kernel, KernelOnRecord):
        verdicts = set()
        for offset, before, answer in kernel.record.near_exclusives:
            at = 4 * (len(before) - 1)
            our = ours(lambda address: before[address // 4], at, at - offset, kernel.era, kernel.era.exclusives)  # noqa: B023
            assert our == answer, (offset, before)
            verdicts.add(answer)
        assert len(verdicts) == len(Verdict)
        compared(f"{kernel.era.name} atomic scan, on record", len(kernel.record.near_exclusives))
        return
    start, words = kernel.text()
    chosen = range(len(words)) if EVERYTHING else shortly_after_exclusives(words)[:: 32 * share]
    addresses = [start + 4 * index for index in chosen]

    def read(address: int) -> int:
        return words[(address - start) // 4]

    different = []
    found: Counter[int] = Counter()
    for address, answer in zip(addresses, kernels(kernel, addresses), strict=True):
        covering = kernel.symbols.at(address)
        assert covering is not None
        our = ours(read, address, covering[0].address, kernel.era, kernel.era.exclusives)
        if our != answer:
            different.append((kernel.symbols.describe(address), answer, our))
        found[answer] += 1
    assert different == []
    assert len(found) == len(Verdict)
    compared(f"{kernel.era.name} atomic scan: instructions of the kernel's own text", len(addresses))
