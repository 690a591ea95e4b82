# SPDX-License-Identifier: GPL-2.0-or-later
"""Random programs with a probe on every instruction end as they do without probes, however the probes work.

The CPU's own execution of the same program is what is compared with: all registers, flags, vector registers that the
program uses, and the memory it writes.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Kprobe, Kprobes, PtRegs

RAM: Final = 256  # bytes that a program may load and store
BASE: Final = 28  # the register that points to them
POOL: Final = 4  # doublewords behind the program, for literal loads
PSTATE: Final = 0x85  # EL1h, interrupts masked: their handlers would use the stack
NZCV: Final = 0xF000_0000
NAMES: Final = [*(f"x{i}" for i in range(31)), "sp", "pstate", *(f"v{i}" for i in range(4))]

register = st.integers(0, 27)
any_register = st.one_of(register, st.just(31))
bit = st.integers(0, 1)
condition = st.integers(0, 15)


class Branch(NamedTuple):
    """An instruction with a forward offset of `reach` instructions at most, `shift` bits up in its word."""

    word: int
    shift: int
    bits: int
    distance: int


def processing() -> st.SearchStrategy[int]:
    """Data processing, which is executed in the slot."""

    def three(*bases: int) -> st.SearchStrategy[int]:
        return st.builds(
            lambda base, sf, rd, rn, rm: base | sf << 31 | rm << 16 | rn << 5 | rd,
            st.sampled_from(bases),
            bit,
            any_register,
            any_register,
            any_register,
        )

    return st.one_of(
        # ADD, ADDS, SUB, SUBS, AND, ORR, EOR, ANDS, BIC (shifted register, by none)
        three(
            0x0B000000, 0x2B000000, 0x4B000000, 0x6B000000, 0x0A000000, 0x2A000000, 0x4A000000, 0x6A000000, 0x0A200000
        ),
        three(0x1AC02000, 0x1AC02400, 0x1AC00800, 0x1AC00C00),  # LSLV, LSRV, UDIV, SDIV
        three(0x1A000000, 0x3A000000, 0x5A000000, 0x7A000000),  # ADC, ADCS, SBC, SBCS
        st.builds(  # CSEL, CSINC, CSINV, CSNEG
            lambda base, cond, rd, rn, rm: base | rm << 16 | cond << 12 | rn << 5 | rd,
            st.sampled_from([0x9A800000, 0x9A800400, 0xDA800000, 0xDA800400]),
            condition,
            any_register,
            any_register,
            any_register,
        ),
        st.builds(  # MADD, MSUB
            lambda base, rd, rn, rm, ra: base | rm << 16 | ra << 10 | rn << 5 | rd,
            st.sampled_from([0x9B000000, 0x9B008000]),
            any_register,
            any_register,
            any_register,
            any_register,
        ),
        st.builds(  # MOVZ, MOVN, MOVK
            lambda base, half, value, rd: base | half << 21 | value << 5 | rd,
            st.sampled_from([0xD2800000, 0x92800000, 0xF2800000]),
            st.integers(0, 3),
            st.integers(0, 0xFFFF),
            register,
        ),
        st.builds(lambda rt: 0xD53B4200 | rt, register),  # MRS nzcv
        st.sampled_from([0xD503201F, 0xD503245F, 0xD50320FF]),  # NOP, BTI c, XPACLRI
        st.builds(lambda rd, rn: 0x9E670000 | rn << 5 | rd, st.integers(0, 3), register),  # FMOV Dd, Xn
        st.builds(lambda rd, rn: 0x9E660000 | rn << 5 | rd, register, st.integers(0, 3)),  # FMOV Xd, Dn
    )


def memory() -> st.SearchStrategy[int]:
    """Loads and stores of a doubleword, a word or a byte, and pairs, within `RAM`."""

    def scaled(size: int, base: int) -> st.SearchStrategy[int]:
        return st.builds(
            lambda load, offset, rt: base | load << 22 | offset << 10 | BASE << 5 | rt,
            bit,
            st.integers(0, RAM // size - 1),
            any_register,
        )

    pairs = st.builds(
        lambda load, offset, rt, other: 0xA9000000 | load << 22 | offset << 15 | other << 10 | BASE << 5 | rt,
        bit,
        st.integers(0, RAM // 8 - 2),
        register,
        register,
    ).filter(lambda word: word & 31 != word >> 10 & 31)
    return st.one_of(scaled(8, 0xF9000000), scaled(4, 0xB9000000), scaled(1, 0x39000000), pairs)


def branches() -> st.SearchStrategy[Branch]:
    """What is simulated, but for literal loads: the distance is cut to what is left of the program."""
    distance = st.integers(1, 6)
    return st.one_of(
        st.builds(lambda d: Branch(0x14000000, 0, 26, d), distance),  # B
        st.builds(lambda d: Branch(0x94000000, 0, 26, d), distance),  # BL
        st.builds(lambda c, d: Branch(0x54000000 | c, 5, 19, d), condition, distance),  # B.cond
        st.builds(
            lambda sf, nz, rt, d: Branch(0x34000000 | sf << 31 | nz << 24 | rt, 5, 19, d),
            bit,
            bit,
            any_register,
            distance,
        ),
        st.builds(
            lambda b, nz, rt, d: Branch(0x36000000 | b >> 5 << 31 | nz << 24 | (b & 31) << 19 | rt, 5, 14, d),
            st.integers(0, 63),
            bit,
            any_register,
            distance,
        ),
    )


def literals() -> st.SearchStrategy[tuple[int, int]]:
    """LDR (literal) of 64 and 32 bits, LDRSW (literal): the word, and which doubleword of the pool."""
    return st.tuples(
        st.builds(lambda base, rt: base | rt, st.sampled_from([0x58000000, 0x18000000, 0x98000000]), any_register),
        st.integers(0, POOL - 1),
    )


def addresses() -> st.SearchStrategy[int]:
    """ADR and ADRP of anywhere."""
    return st.builds(
        lambda page, low, high, rd: 0x10000000 | page << 31 | low << 29 | high << 5 | rd,
        bit,
        st.integers(0, 3),
        st.integers(0, (1 << 19) - 1),
        any_register,
    )


instruction = st.one_of(processing(), memory(), branches(), literals(), addresses())
program = st.lists(instruction, min_size=12, max_size=28)
values = st.lists(
    st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63, 2**64 - 1])), min_size=31, max_size=31
)


def assemble(instructions: list[int | Branch | tuple[int, int]], pool: list[int]) -> bytes:
    """The program, its pool behind it at a multiple of 8."""
    count = len(instructions)
    start = count + (count & 1)  # of the pool, in words
    words = []
    for i, item in enumerate(instructions):
        if isinstance(item, Branch):
            distance = min(item.distance, count - i)
            words.append(item.word | (distance & (1 << item.bits) - 1) << item.shift)
        elif isinstance(item, tuple):
            word, which = item
            words.append(word | (start + 2 * which - i) << 5)
        else:
            words.append(item)
    words += [0] * (start - count)
    return struct.pack(f"<{start}I{POOL}Q", *words, *pool)


class Lab:
    """A demo machine whose vsnprintf is where programs are put: code that is not executed meanwhile."""

    def __init__(self, era: str, stepping: str | None) -> None:
        self.machine = machine.load("demo")
        self.machine.run(until="workload_run")
        self.kprobes = Kprobes(self.machine, era, stepping)
        symbol = self.machine.symbols["vsnprintf"]
        self.at, self.size = symbol.address, symbol.size
        self.data = self.machine.registers.sp - 4096

    def run(self, code: bytes, count: int, general: list[int], flags: int) -> tuple[list[int], bytes]:
        """What a run from the first to behind the last of `count` instructions leaves behind."""
        m = self.machine
        m.memory.write(self.data, bytes(range(256)) * (RAM // 256))
        registers = m.registers
        for i, value in enumerate(general):
            registers.x[i] = value
        registers.x[BASE] = self.data
        for i in range(4):
            registers[f"v{i}"] = i << 64 | 0x1234
        registers.pstate = PSTATE | flags
        registers.pc = self.at
        stop = m.run(until=self.at + 4 * count, instructions=1000)
        assert stop.reason is StopReason.UNTIL, stop
        return [registers[name] for name in NAMES], m.memory.read(self.data, RAM)


WAYS: Final = [
    ("v4.8", None),
    ("v5.4", None),
    ("v5.10", None),
    ("v6.1", None),
    ("v6.9", None),
    ("v7.2", None),
    ("v6.1", "branch"),
    ("v6.1", "ss"),
]


@pytest.mark.parametrize(("era", "stepping"), WAYS)
@pytest.mark.sample
def test_random_programs(era: str, stepping: str | None) -> None:
    lab = Lab(era, stepping)
    seen = {"hit": 0}

    @settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(program, values, st.lists(st.integers(0, 2**64 - 1), min_size=POOL, max_size=POOL), st.integers(0, 15))
    def same(
        instructions: list[int | Branch | tuple[int, int]], general: list[int], pool: list[int], nzcv: int
    ) -> None:
        code = assemble(instructions, pool)
        assume(len(code) <= lab.size)
        count = len(instructions)
        lab.machine.memory.write(lab.at, code)
        expected = lab.run(code, count, general, nzcv << 28)
        probes = []
        order: list[int] = []

        def pre(probe: Kprobe, regs: PtRegs) -> None:
            order.append(regs.pc)

        for i in range(count):
            probe = Kprobe(addr=lab.at + 4 * i, pre_handler=pre, record=False)
            if i % 2 and stepping != "branch":
                probe.post_handler = lambda probe, regs, flags: None
            probes.append(lab.kprobes.register_kprobe(probe))
        try:
            assert lab.run(code, count, general, nzcv << 28) == expected
            assert order[0] == lab.at
            assert sum(probe.hits for probe in probes) == len(order)
            assert not any(probe.nmissed for probe in probes)
        finally:
            for probe in probes:
                lab.kprobes.unregister(probe)
        assert lab.machine.memory.read(lab.at, len(code)) == code
        seen["hit"] += len(order)

    same()
    assert seen["hit"] > 1000
