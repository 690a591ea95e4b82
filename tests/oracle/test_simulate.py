# SPDX-License-Identifier: GPL-2.0-or-later
"""`probes.simulate` and the kernel's simulate_*(u32 opcode, long addr, struct pt_regs *), on all of pt_regs."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from armprobe.kernel.exception_frame import PT_REGS_SIZE
from armprobe.probes import Era, simulate
from armprobe.probes.pt_regs import PC, PSTATE, SP, StackRegs
from tests.oracle.cold_kernel import ColdKernel, entries
from tests.oracle.function_records import KernelOnRecord
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
STATES: Final = 10_000 if EVERYTHING else 2_000
"""For each simulator of the default kernel, and in each of 20 rounds with EVERYTHING."""

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


@dataclass(frozen=True)
class Asked:
    """What a simulator was asked to do, and the states that it made. `content` is memory at `base`."""

    words: list[int]
    addresses: list[int]
    base: int
    content: bytes
    before: list[bytes]
    after: list[bytes]

    @classmethod
    def from_json(cls, simulator: str, said: dict[str, Any]) -> Asked:
        """That of a record, which has what is not made anew here."""
        words, after = said["words"], []
        before = states_for(simulator, len(words))
        for state_before, changed in zip(before, said["changes"], strict=True):
            state_after = bytearray(state_before)
            for at, value in changed:
                struct.pack_into("<Q", state_after, at, value)
            after.append(bytes(state_after))
        content = content_for(simulator, len(words))
        return cls(words, said["addresses"], said["base"], content, before, after)

    def to_json(self) -> dict[str, Any]:
        """What a record has of it."""
        changed = [changes(before, after) for before, after in zip(self.before, self.after, strict=True)]
        pairs = [[(int(at, 16), int(value, 16)) for at, value in each.items()] for each in changed]
        return {"words": self.words, "addresses": self.addresses, "base": self.base, "changes": pairs}

    def differences(self, era: Era) -> list[str]:
        """Where `simulate` makes another state."""
        different = []
        for word, at, before, expected in zip(self.words, self.addresses, self.before, self.after, strict=True):
            regs = StackRegs(bytearray(before))
            simulate(word, at, regs, era, memory=self._read)
            assert expected != before
            if bytes(regs.memory) != expected:
                different.append(
                    f"{word:#010x} at {at:#x}: the kernel makes {changes(before, expected)}, simulate "
                    f"{changes(before, bytes(regs.memory))} of {before.hex()}"
                )
        return different

    def _read(self, address: int, size: int) -> bytes:
        assert 0 <= address - self.base <= len(self.content) - size
        return self.content[address - self.base :][:size]


def states_for(simulator: str, count: int, round: int = 0) -> list[bytes]:
    rng = random.Random(f"states of {simulator} {round}")
    return [state(rng) for _ in range(count)]


def content_for(simulator: str, count: int) -> bytes:
    """The memory that literals are loaded from."""
    return random.Random(f"memory of {simulator}").randbytes(2 * REACH + 4 * count) if simulator in LITERALS else b""


def asked(kernel: ColdKernel, simulator: str, count: int, round: int = 0) -> Asked:
    """What the kernel's simulator makes of `count` states, others in each round."""
    rng = random.Random(f"{simulator} {round}")
    words = [instruction(rng, kernel.era, simulator) for _ in range(count)]
    before, content = states_for(simulator, count, round), content_for(simulator, count)
    with kernel.room():
        base = kernel.allocate(len(content)) if content else 0
        kernel.machine.memory.write(base, content)
        if content:
            addresses = [base + REACH + 4 * number for number in range(count)]
        else:
            addresses = [address(rng) for _ in range(count)]
        after = kernels(kernel, simulator, words, addresses, before)
        assert kernel.machine.memory.read(base, len(content)) == content
    size = PT_REGS_SIZE
    return Asked(words, addresses, base, content, before, [after[at : at + size] for at in range(0, len(after), size)])


@pytest.mark.parametrize(("kernel", "simulator"), SIMULATORS, indirect=["kernel"], scope="function")
def test_simulator(
    kernel: ColdKernel | KernelOnRecord, simulator: str, share: int, compared: Callable[[str, int], None]
) -> None:
    if isinstance(kernel, KernelOnRecord):
        on_record = Asked.from_json(simulator, kernel.record.simulated[simulator])
        assert on_record.differences(kernel.era) == []
        compared(f"{kernel.era.name} {simulator}, on record", len(on_record.words))
        return
    rounds, count = 20 if EVERYTHING else 1, STATES // share
    for number in range(rounds):
        assert asked(kernel, simulator, count, number).differences(kernel.era) == []
    compared(f"{kernel.era.name} {simulator}", rounds * count)


def changes(before: bytes, after: bytes) -> dict[str, str]:
    """The doublewords of pt_regs that are not what they were, by byte offset."""
    words = [memoryview(memory).cast("Q") for memory in (before, after)]
    return {f"{8 * at:#x}": f"{new:#x}" for at, (old, new) in enumerate(zip(*words, strict=True)) if new != old}


@pytest.mark.parametrize("simulator", ["simulate_b_cond", "simulate_cbz_cbnz", "simulate_tbz_tbnz"])
def test_conditions_go_both_ways(kernel: ColdKernel | KernelOnRecord, simulator: str) -> None:
    """Among the states compared, that is."""
    if isinstance(kernel, KernelOnRecord):
        said = Asked.from_json(simulator, kernel.record.simulated[simulator])
    else:
        said = asked(kernel, simulator, STATES)
    next_pcs = [struct.unpack_from("<Q", after, 8 * PC)[0] for after in said.after]
    falls_through = sum(pc == at + 4 & _M64 for pc, at in zip(next_pcs, said.addresses, strict=True))
    assert len(next_pcs) // 5 < falls_through < len(next_pcs) * 4 // 5
