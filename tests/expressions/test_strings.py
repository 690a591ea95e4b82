# SPDX-License-Identifier: GPL-2.0-or-later
"""Strings of unknown length are read in pieces, with the result of reading them byte by byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from armprobe.expressions.strings import string_pieces
from armprobe.machine import MachineError

M64 = (1 << 64) - 1


class Memory:
    """`data` from `start` on, around the end of the address space if need be, and nothing else."""

    def __init__(self, start: int, data: bytes) -> None:
        self.start, self.data = start, data
        self.reads = 0

    def read(self, address: int, length: int) -> bytes:
        self.reads += 1
        at = address - self.start & M64
        if at + length > len(self.data):
            raise MachineError(f"{address:#x} is not mapped")
        return self.data[at : at + length]


@given(
    st.one_of(st.integers(0x1000, 0x1100), st.integers(M64 - 100, M64)),
    st.binary(max_size=200).map(lambda data: data.replace(b"\1", b"\0")),
    st.integers(0, 300),
)
def test_pieces(start: int, data: bytes, most: int) -> None:
    expected, fault = bytearray(), ""
    memory = Memory(start, data)
    for i in range(most):
        try:
            expected += memory.read(start + i & M64, 1)
        except MachineError as error:
            fault = str(error)
            break
        if expected.endswith(b"\0"):
            break
    found, raised = bytearray(), ""
    try:
        for piece in string_pieces(memory.read, start, most):
            found += piece
    except MachineError as error:
        raised = str(error)
    assert (found, raised) == (expected, fault)


def test_a_long_string_takes_few_reads() -> None:
    memory = Memory(0x1010, b"a" * 1000)
    assert b"".join(string_pieces(memory.read, 0x1010, 1000)) == b"a" * 1000
    assert memory.reads == 16  # 48 bytes, 14 times 64, and 56


def test_no_piece_reaches_into_another_page() -> None:
    memory = Memory(0x2000 - 100, b"a" * 99 + b"\0")
    assert b"".join(string_pieces(memory.read, 0x2000 - 100, 1000)) == memory.data
    assert memory.reads == 2
