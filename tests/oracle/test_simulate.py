# SPDX-License-Identifier: GPL-2.0-or-later
"""`probes.simulate` and the kernel's simulate_*(u32 opcode, long addr, struct pt_regs *), on all of pt_regs."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Final

import pytest

from armprobe.kernel.exception_frame import PT_REGS_SIZE
from armprobe.probes import Era, simulate
from armprobe.probes.pt_regs import PC, PSTATE, SP, StackRegs
from tests.oracle.cold_kernel import ColdKernel, entries
from tests.oracle.references import EVERYTHING, REFERENCES

SIMULATORS: Final = [
    (name, simulator)
    for name, reference in REFERENCES.items()
    for simulator in sorted({row.simulator for row in reference.newest_era.rows if row.simulator})
]
"""Those of each kernel."""
LITERALS: Final = ("simulate_ldr_literal", "simulate_ldrsw_literal")
REACH: Final = 1 << 20
"""Bytes before and after a load that its literal can be at (Arm ARM, C6.2, LDR (literal))."""
STATES: Final = 10_000

_MODE: Final = 0x1F  # PSTATE.M (Arm ARM, C5.2, SPSR_EL1)
_EL1H: Final = 5
_M64: Final = (1 << 64) - 1
_EDGES: Final = (0, 1, 1 << 31, 1 << 32, 0xFFFF_FFFF, 0xFFFF_FFFF << 32, 1 << 63, _M64, _M64 - 3)


def instruction(rng: random.Random, era: Era, simulator: str) -> int:
    """Any instruction that `simulator` is for."""
    row = rng.choice([row for row in era.rows if row.simulator == simulator])
    return row.value | rng.getrandbits(32) & ~row.mask


def address(rng: random.Random) -> int:
    """Anywhere; often close to where adding an offset carries over."""
    near = rng.choice((rng.getrandbits(64), 0, 1 << 31, 1 << 32, 1 << 63))
    return near + rng.randrange(-(1 << 28), 1 << 28) & _M64 & ~3


def state(rng: random.Random) -> bytes:
    """A struct pt_regs with something in every byte; in a third of them the registers hold what conditions turn on.

    The mode in PSTATE is EL1, which is where kprobes are hit: some simulators do more for uprobes, at EL0.
    """
    general = rng.randbytes(8 * SP) if rng.randrange(3) else struct.pack(f"<{SP}Q", *rng.choices(_EDGES, k=SP))
    sp, pc, pstate = (rng.getrandbits(64) for _ in range(3))
    return general + struct.pack("<3Q", sp, pc, pstate & ~_MODE | _EL1H) + rng.randbytes(PT_REGS_SIZE - 8 * PSTATE - 8)


def kernels(kernel: ColdKernel, simulator: str, words: list[int], addresses: list[int], states: list[bytes]) -> bytes:
    """The states after the kernel's simulator."""
    with kernel.room():
        size = PT_REGS_SIZE * len(states)
        regs = kernel.allocate(size)
        kernel.machine.memory.write(regs, b"".join(states))
        kernel.call_each(simulator, entries(words, addresses, range(regs, regs + size, PT_REGS_SIZE)))
        return kernel.machine.memory.read(regs, size)


@pytest.mark.parametrize(("kernel", "simulator"), SIMULATORS, indirect=["kernel"], scope="function")
def test_simulator(kernel: ColdKernel, simulator: str, share: int, compared: Callable[[str, int], None]) -> None:
    rng = random.Random(simulator)
    rounds, count = 20 if EVERYTHING else 1, STATES // share
    for _ in range(rounds):
        words = [instruction(rng, kernel.era, simulator) for _ in range(count)]
        states = [state(rng) for _ in range(count)]
        with kernel.room():
            if simulator in LITERALS:
                size = 2 * REACH + 4 * count
                memory = kernel.allocate(size)
                content = rng.randbytes(size)
                kernel.machine.memory.write(memory, content)
                addresses = [memory + REACH + 4 * number for number in range(count)]
            else:
                addresses = [address(rng) for _ in range(count)]
            after = kernels(kernel, simulator, words, addresses, states)
            different = []
            for number, (word, at, before) in enumerate(zip(words, addresses, states, strict=True)):
                regs = StackRegs(bytearray(before))
                simulate(word, at, regs, kernel.era, memory=kernel.machine.memory.read)
                expected = after[number * PT_REGS_SIZE :][:PT_REGS_SIZE]
                assert expected != before
                if bytes(regs.memory) != expected:
                    different.append(
                        f"{word:#010x} at {at:#x}: the kernel makes {changes(before, expected)}, simulate "
                        f"{changes(before, bytes(regs.memory))} of {before.hex()}"
                    )
            assert different == []
            if simulator in LITERALS:
                assert kernel.machine.memory.read(memory, size) == content
    compared(f"{kernel.era.name} {simulator}", rounds * count)


def changes(before: bytes, after: bytes) -> dict[str, str]:
    """The doublewords of pt_regs that are not what they were, by byte offset."""
    words = [memoryview(memory).cast("Q") for memory in (before, after)]
    return {f"{8 * at:#x}": f"{new:#x}" for at, (old, new) in enumerate(zip(*words, strict=True)) if new != old}


@pytest.mark.parametrize("simulator", ["simulate_b_cond", "simulate_cbz_cbnz", "simulate_tbz_tbnz"])
def test_conditions_go_both_ways(kernel: ColdKernel, simulator: str) -> None:
    """Among the states compared, that is."""
    rng = random.Random(simulator)
    words = [instruction(rng, kernel.era, simulator) for _ in range(STATES)]
    states = [state(rng) for _ in range(STATES)]
    after = kernels(kernel, simulator, words, [0] * STATES, states)
    falls_through = sum(pc == 4 for (pc,) in struct.iter_unpack(f"<{8 * PC}xQ{PT_REGS_SIZE - 8 * PC - 8}x", after))
    assert STATES // 5 < falls_through < STATES * 4 // 5
