# SPDX-License-Identifier: GPL-2.0-or-later
"""Each simulated instruction against the CPU executing it."""

from __future__ import annotations

import random
import struct

import pytest

from armprobe import machine, probes
from armprobe.probes import PtRegs, Verdict, decode, simulate

# mask of the fields that vary, and the rest: Arm ARM C4.1
GROUPS = {
    "b": (0x03FFFFFF, 0x14000000),
    "bl": (0x03FFFFFF, 0x94000000),
    "b.cond": (0x00FFFFEF, 0x54000000),
    "cbz": (0x80FFFFFF, 0x34000000),
    "cbnz": (0x80FFFFFF, 0x35000000),
    "tbz": (0x80FFFFFF, 0x36000000),
    "tbnz": (0x80FFFFFF, 0x37000000),
    "adr": (0x60FFFFFF, 0x10000000),
    "adrp": (0x60FFFFFF, 0x90000000),
    "br": (0x000003E0, 0xD61F0000),
    "blr": (0x000003E0, 0xD63F0000),
    "ret": (0x000003E0, 0xD65F0000),
}
GROUPS_V7_2 = GROUPS | {"nop": (0, 0xD503201F), "bc.cond": (0x00FFFFEF, 0x54000010)}
BTYPE = 3 << 10
HINTED = 0x10  # what BC.cond is, and B.cond is not, if the CPU has it: a hint (Arm ARM, C6.2)


@pytest.fixture
def bare() -> machine.Machine:
    """A machine whose MMU is off and that has nothing to do."""
    return machine.load("demo")


def registers_of(m: machine.Machine) -> tuple[list[int], int, int, int]:
    r = m.registers
    return [r.x[i] for i in range(31)], r.sp, r.pc, r.pstate


@pytest.mark.parametrize(
    ("era", "group"), [*(("v6.1", group) for group in GROUPS), *(("v7.2", group) for group in GROUPS_V7_2)]
)
def test_against_the_cpu(bare: machine.Machine, era: str, group: str) -> None:
    rng = random.Random(group)
    mask, value = GROUPS_V7_2[group]
    address = 0x4800_0000  # mid-RAM: every branch stays in it
    outcomes = set()
    for _ in range(60):
        word = value | rng.getrandbits(32) & mask
        if group in ("br", "blr", "ret") and word >> 5 & 31 == 31:
            continue  # address 0, where nothing can be fetched
        assert decode(word, era).verdict is Verdict.GOOD_NO_SLOT
        # Targets in registers are aligned, and the operands of CBZ and TBZ are often 0, in one half or both.
        general = [rng.choice((0, 1 << 32, 1 << rng.randrange(64), rng.getrandbits(64))) & ~3 for _ in range(31)]
        if group in ("br", "blr", "ret"):
            general = [0x4000_0000 | rng.getrandbits(28) & ~3 for _ in range(31)]
        pstate = 0x3C5 | rng.getrandbits(4) << 28
        executed = word & ~HINTED if group == "bc.cond" else word  # which this CPU has not got
        bare.memory.write(address, struct.pack("<I", executed))
        for i, x in enumerate(general):
            bare.registers.x[i] = x
        bare.registers.sp, bare.registers.pc, bare.registers.pstate = 0x4078_0000, address, pstate
        regs = PtRegs(general, sp=0x4078_0000, pc=address, pstate=pstate)
        bare.run(instructions=1)
        simulate(word, address, regs, era)
        assert (list(regs.regs), regs.sp, regs.pc, regs.pstate) == registers_of(bare), f"{word:#010x}"
        outcomes.add(regs.pc != address + 4)
    if group in ("b.cond", "bc.cond", "cbz", "cbnz", "tbz", "tbnz"):
        assert outcomes == {True, False}


def test_nop_clears_btype() -> None:
    """As any instruction does that is no indirect branch (Arm ARM, PSTATE.BTYPE); the CPU here has no FEAT_BTI."""
    for pstate in range(0, BTYPE + 1, 1 << 10):
        regs = PtRegs(range(31), sp=16, pc=0x1000, pstate=0x8000_03C5 | pstate)
        simulate(0xD503201F, 0x1000, regs, "v7.2")
        assert (list(regs.regs), regs.sp, regs.pc, regs.pstate) == (list(range(31)), 16, 0x1004, 0x8000_03C5)


@pytest.mark.parametrize("value", [0x18000000, 0x58000000, 0x98000000])
def test_literal_loads_against_the_cpu(bare: machine.Machine, value: int) -> None:
    rng = random.Random(value)
    address = 0x4800_0000  # mid-RAM: every branch stays in it
    for _ in range(60):
        target = rng.choice((0, 7, 30, 31))
        word = value | (rng.getrandbits(15) - (1 << 14) & 0x7FFFF) << 5 | target
        displacement = ((word >> 5 & 0x7FFFF) ^ 0x40000) - 0x40000
        bare.memory.write(address + displacement * 4, rng.randbytes(8))
        bare.memory.write(address, struct.pack("<I", word))
        general = [rng.getrandbits(64) for _ in range(31)]
        for i, x in enumerate(general):
            bare.registers.x[i] = x
        bare.registers.pc = address
        regs = PtRegs(general, sp=bare.registers.sp, pc=address, pstate=bare.registers.pstate)
        bare.run(instructions=1)
        simulate(word, address, regs, memory=bare.memory.read)
        assert (list(regs.regs), regs.sp, regs.pc, regs.pstate) == registers_of(bare), f"{word:#010x}"


def test_what_cannot_be_simulated() -> None:
    with pytest.raises(ValueError, match="executed in a slot"):
        simulate(0x91000400, 0x1000, PtRegs())
    with pytest.raises(ValueError, match="returns from an exception"):
        simulate(0xD69F03E0, 0x1000, PtRegs())
    with pytest.raises(ValueError, match="pass `memory`"):
        simulate(0x58000040, 0x1000, PtRegs())
    with pytest.raises(probes.ProbeError, match="no era"):
        simulate(0x14000000, 0x1000, PtRegs(), era="v0.1")


def test_pt_regs_wraps_as_a_u64() -> None:
    regs = PtRegs([1, 2, 3], sp=16, pc=8, pstate=5)
    regs.regs[0] = -22
    regs.pc = (1 << 64) + 4
    assert regs.regs[0] == (1 << 64) - 22
    assert regs.pc == 4
    with pytest.raises(IndexError):
        regs.regs[31]
    with pytest.raises(ValueError, match="31 general registers"):
        PtRegs([0] * 32)
