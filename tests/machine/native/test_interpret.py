# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that is executed beside the guest does what the engine does with it, and leaves no trace in the guest."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Sequence

import pytest
import unicorn
from unicorn import arm64_const as reg

from armprobe.machine import MachineError
from armprobe.machine.core.engine import LIBRARY, engine_handle
from armprobe.machine.native.interpret import ROOM, Interpreter
from armprobe.machine.native.structures import NativeCore

SEED = 20261129
EACH = 150
CODE, DATA, SIZE = 0x4000_0000, 0x4010_0000, 0x1_0000
MIDDLE = DATA + SIZE // 2
REGISTERS = [*(getattr(reg, f"UC_ARM64_REG_X{number}") for number in range(31)), reg.UC_ARM64_REG_SP]
NOP = 0xD503_201F

# Fixed bits of the encodings (Arm ARM, C4.1), in the groups that interpret.c has; the others are random.
WORDS = {
    "add, sub immediate": (0x1100_0000, 0x1F80_0000),
    "logical immediate": (0x1200_0000, 0x1F80_0000),
    "move wide": (0x1280_0000, 0x1F80_0000),
    "bit field": (0x1300_0000, 0x1F80_0000),
    "extract": (0x1380_0000, 0x7FA0_0000),
    "logical shifted": (0x0A00_0000, 0x1F00_0000),
    "add, sub shifted": (0x0B00_0000, 0x1F20_0000),
    "add, sub extended": (0x0B20_0000, 0x1FE0_0000),
    "with carry": (0x1A00_0000, 0x1FE0_FC00),
    "conditional compare": (0x3A40_0000, 0x3FE0_0410),
    "conditional select": (0x1A80_0000, 0x3FE0_0800),
    "one source": (0x5AC0_0000, 0x7FFF_E000),
    "divide": (0x1AC0_0800, 0x7FE0_F800),
    "shift variable": (0x1AC0_2000, 0x7FE0_F000),
    "multiply": (0x1B00_0000, 0x7F00_0000),
    "load, store pair": (0x2800_0000, 0x3E00_0000),
    "load, store": (0x3800_0000, 0x3F20_0000),
    "load, store by register": (0x3820_0800, 0x3F20_0C00),
    "load, store unsigned offset": (0x3900_0000, 0x3F00_0000),
    "load acquire, store release": (0x0880_FC00, 0x3FA0_FC00),
    "load literal": (0x1800_0000, 0x3F00_0000),
    "address": (0x1000_0000, 0x1F00_0000),
    "branch": (0x1400_0000, 0x7FFF_F000),
    "conditional branch": (0x5400_0000, 0xFFFE_0010),
    "compare and branch": (0x3400_0000, 0x7EFE_0000),
    "test and branch": (0x3600_0000, 0x7E07_0000),
}
ACCESSES = frozenset(name for name in WORDS if name.startswith("load") and name != "load literal")
MORE = frozenset(("load, store", "load, store pair", "load, store by register", "one source"))
"""Groups in which the engine has instructions that a compiler makes no use of: pointer authentication, tags."""


class Bare:
    """An engine with memory only, and an interpreter beside it."""

    def __init__(self) -> None:
        self.engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.engine.mem_map(CODE, SIZE)
        self.engine.mem_map(DATA, SIZE)
        read = ctypes.cast(LIBRARY.uc_vmem_read, ctypes.c_void_p).value or 0
        self.core = NativeCore(uc=engine_handle(self.engine), vmem_read=read)
        self.interpreter = Interpreter(ctypes.addressof(self.core), lambda which: 0, lambda address: NOP)

    def executed(self, x: Sequence[int], flags: int, at: int) -> tuple[list[int], int, int] | None:
        """The registers, flags and PC after the engine has executed one instruction; None if it raises an exception."""
        self.engine.reg_write_batch(list(zip(REGISTERS, x, strict=True)))
        self.engine.reg_write(reg.UC_ARM64_REG_NZCV, flags)
        try:
            self.engine.emu_start(at, CODE + SIZE, count=1)
        except unicorn.UcError:
            return None
        values = self.engine.reg_read_batch(REGISTERS)
        nzcv = self.engine.reg_read(reg.UC_ARM64_REG_NZCV)
        return list(values), nzcv, self.engine.reg_read(reg.UC_ARM64_REG_PC)

    def interpreted(self, x: Sequence[int], flags: int, at: int) -> tuple[list[int], int, int] | None:
        """The same of the interpreter; None if it does not execute the instruction."""
        self.interpreter.begin([*x, at], flags, 0, 0)
        try:
            self.interpreter.step()
        except MachineError:
            return None
        return list(self.interpreter.x[:32]), self.interpreter.flags, self.interpreter.x[32]


@pytest.fixture(scope="module")
def bare() -> Bare:
    return Bare()


def registers(rng: random.Random) -> list[int]:
    """Values with many zeros and ones among them, and sp."""
    special = [0, 1, (1 << 64) - 1, 1 << 63, 1 << 31, (1 << 32) - 1, (1 << 63) - 1]
    return [rng.choice([rng.getrandbits(64), rng.getrandbits(32), rng.choice(special)]) for _ in range(31)] + [MIDDLE]


def is_unpredictable(group: str, word: int) -> bool:
    """Whether the architecture leaves open what the instruction does: it loads or stores a register twice."""
    t, base, t2 = word & 31, word >> 5 & 31, word >> 10 & 31
    if group == "load, store pair":
        return (word >> 22 & 1 and t == t2) or bool(word >> 23 & 1 and base in (t, t2))
    return group == "load, store" and bool(word >> 10 & 1) and base == t


@pytest.mark.parametrize("group", WORDS)
@pytest.mark.sample
def test_an_instruction_does_what_it_does_in_the_engine(bare: Bare, group: str) -> None:
    """Random instructions of each group, valid ones or not, on random registers and memory."""
    fixed, mask = WORDS[group]
    rng = random.Random(f"{SEED} {group}")
    done = 0
    for _ in range(EACH):
        word, at = fixed | rng.getrandbits(32) & ~mask, CODE + SIZE // 2
        if is_unpredictable(group, word):
            continue
        x, flags = registers(rng), rng.getrandbits(4) << 28
        if group in ACCESSES:
            base, index = word >> 5 & 31, word >> 16 & 31
            x[base] = MIDDLE + rng.randrange(-64, 64) * (8 if "acquire" in group else 1) & ~(
                15 if base == 31 or "acquire" in group else 0
            )
            if "by register" in group and index != base and index < 31:
                x[index] = rng.randrange(0, 256)
        memory = rng.randbytes(SIZE)
        bare.engine.mem_write(DATA, memory)
        bare.engine.mem_write(CODE, struct.pack("<I", NOP) * (SIZE // 4))
        bare.engine.mem_write(at, struct.pack("<I", word))
        bare.engine.ctl_remove_cache(CODE, CODE + SIZE)
        ours = bare.interpreted(x, flags, at)
        assert bytes(bare.engine.mem_read(DATA, SIZE)) == memory  # the guest's own memory is as it was
        stored = bare.interpreter.read(DATA, SIZE)
        theirs = bare.executed(x, flags, at)
        if ours is None:
            assert theirs is None or group in MORE, f"{word:#010x} is not interpreted"
            continue
        assert ours == theirs, f"{word:#010x} {[hex(each) for each in x]} {flags:#x}"
        assert stored == bytes(bare.engine.mem_read(DATA, SIZE)), f"{word:#010x}"
        done += 1
    assert done > EACH // 10


def test_code_goes_on_with_what_it_has_stored(bare: Bare) -> None:
    """str x1, [x0]; ldr x2, [x0]; ldrb w3, [x0, #3]; nop"""
    code = 0xF900_0001, 0xF940_0002, 0x3940_0C03, NOP
    bare.engine.mem_write(CODE, struct.pack("<4I", *code))
    bare.engine.mem_write(DATA, bytes(64))
    for address in (DATA + 13, ROOM + 0x100):
        bare.interpreter.begin([address, 0x1122_3344_5566_7788, *[0] * 30, CODE], 0, 0, 0)
        bare.interpreter.stop_at([CODE + 12])
        assert bare.interpreter.run() == CODE + 12
        assert list(bare.interpreter.x[2:4]) == [0x1122_3344_5566_7788, 0x55]
        assert bytes(bare.engine.mem_read(DATA, 64)) == bytes(64)


def test_exclusives_and_atomics_store_what_they_compute(bare: Bare) -> None:
    """ldxr x2, [x0]; add x2, x2, #1; stxr w3, x2, [x0]; ldadd x1, x4, [x0]; casal x4, x5, [x0]; ldr x6, [x0]; nop"""
    code = 0xC85F_7C02, 0x9100_0442, 0xC803_7C02, 0xF821_0004, 0xC8E4_FC05, 0xF940_0006, NOP
    bare.engine.mem_write(CODE, struct.pack("<7I", *code))
    bare.engine.mem_write(DATA, struct.pack("<Q", 41))
    x = [DATA, 7, 0, 9, 0, 0, 0, *[0] * 25]
    bare.interpreter.begin([*x, CODE], 0, 0, 0)
    bare.interpreter.stop_at([CODE + 24])
    bare.interpreter.run()
    assert list(bare.interpreter.x[2:7]) == [42, 0, 49, 0, 49]  # 41 + 1; stxr: 0; ldadd: 42, cas found 49 != 42


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (0x1E60_2800, "the instruction 0x1e602800 at 0x40000000 is not interpreted"),  # fadd
        (0xD400_0001, "the instruction 0xd4000001 at 0x40000000 is not interpreted"),  # svc
        (0xF940_0001, "the instruction at 0x40000000 accesses 0x1000, which is not mapped"),
        (0x1400_0000, "200,000 instructions were executed"),
    ],
)
def test_what_cannot_be_executed_is_said(bare: Bare, word: int, why: str) -> None:
    bare.engine.mem_write(CODE, struct.pack("<I", word))
    bare.interpreter.begin([0x1000, *[0] * 31, CODE], 0, 0, 0)
    bare.interpreter.stop_at([CODE + 0x100])
    with pytest.raises(MachineError, match=why):
        bare.interpreter.run()
