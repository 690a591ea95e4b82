# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPU's registers by name, as users, scripts and debuggers read and write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from unicorn import arm64_const as reg

from armprobe.machine.errors import MachineError
from armprobe.machine.input import InputKind

from .sysregs import SYSTEM_REGISTERS

if TYPE_CHECKING:
    from .core import Core

_M64: Final = (1 << 64) - 1
_GENERAL: Final = {**{f"x{i}": i for i in range(31)}, "fp": 29, "lr": 30, "sp": 31, "pc": 32}
_FLOATING: Final = {"fpsr": reg.UC_ARM64_REG_FPSR, "fpcr": reg.UC_ARM64_REG_FPCR}
NAMES: Final = (
    *(f"x{i}" for i in range(31)), "sp", "pc", "pstate", *(f"v{i}" for i in range(32)), *_FLOATING, *SYSTEM_REGISTERS,
)  # fmt: skip


class GeneralRegisters:
    """x0..x30 as a sequence."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def __getitem__(self, number: int) -> int:
        if not 0 <= number <= 30:
            raise IndexError(f"there is no register x{number}")
        self._core.load()
        return self._core.context.x[number]

    def __setitem__(self, number: int, value: int) -> None:
        if not 0 <= number <= 30:
            raise IndexError(f"there is no register x{number}")
        core = self._core
        core.changes += 1
        core.load().x[number] = value & _M64
        core.store()
        if core.machine.input.listeners:
            core.machine.input.entered(InputKind.REGISTER, f"x{number}", value & _M64)

    def __len__(self) -> int:
        return 31

    def __iter__(self) -> Iterator[int]:
        return iter(self._core.load().x[:31].tolist())


class Registers:
    """`registers.x[0]`, `.sp`, `.pc`, `.pstate`, and any of `NAMES` by `registers["esr_el1"]`.

    Values are unsigned ints.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.x = GeneralRegisters(core)

    def __getitem__(self, name: str) -> int:
        """The value of a register; raises MachineError for an unknown name."""
        core, key = self._core, name.lower()
        if key in _GENERAL:
            core.load()
            return core.context.x[_GENERAL[key]]
        if key in ("pstate", "cpsr"):
            core.load()
            return core.context.pstate
        if key in ("sp_el0", "sp_el1"):
            # The one in use is in SP itself (Arm ARM, SPSel).
            core.load()
            in_use = "sp_el1" if core.context.pstate & 1 else "sp_el0"
            return core.context.sp if key == in_use else core.system(SYSTEM_REGISTERS[key])
        if key in SYSTEM_REGISTERS:
            return core.system(SYSTEM_REGISTERS[key])
        if key in _FLOATING:
            return int(core.engine.reg_read(_FLOATING[key]))
        if (number := _vector(key)) is not None:
            return core.vector(number)
        raise _unknown(name)

    def read(self, names: Sequence[str]) -> list[int]:
        """Several registers by name, from one copy of the CPU's state. Raises MachineError for an unknown name."""
        context = self._core.load()
        x, vectors = context.x, context.vectors() if "v0" in names else {}
        return [
            x[_GENERAL[name]]
            if name in _GENERAL
            else vectors[name]
            if name in vectors
            else context.pstate
            if name == "cpsr"
            else self[name]
            for name in names
        ]

    def __setitem__(self, name: str, value: int) -> None:
        """Write a register; the value is cut to its width.

        Raises MachineError for an unknown name, and for a register without writable bits, such as an ID register.
        """
        core, key = self._core, name.lower()
        core.changes += 1
        self.put(key, value)
        if core.machine.input.listeners:
            core.machine.input.entered(InputKind.REGISTER, key, self[key])

    def put(self, name: str, value: int) -> None:
        """Write a register for the machine itself. Not announced as input. `name` is in lower case."""
        core, key = self._core, name
        context = core.context
        if key in _GENERAL:
            core.load()
            context.x[_GENERAL[key]] = value & _M64
            core.store()
        elif key in ("pstate", "cpsr"):
            self._set_pstate(value)
        elif key in SYSTEM_REGISTERS:
            core.load()
            if key == ("sp_el1" if context.pstate & 1 else "sp_el0"):
                context.sp = value & _M64
                core.store()
            else:
                self._set_system(key, value & _M64)
        elif key in _FLOATING:
            core.engine.reg_write(_FLOATING[key], value & 0xFFFF_FFFF)
        elif (number := _vector(key)) is not None:
            core.set_vector(number, value & (1 << 128) - 1)
        else:
            raise _unknown(name)

    def _set_system(self, name: str, value: int) -> None:
        """Write a system register; the engine silently ignores unwritable bits. Raises MachineError if all are."""
        core, encoding = self._core, SYSTEM_REGISTERS[name]
        before = core.system(encoding)
        core.set_system(encoding, value)
        if value != before == core.system(encoding):
            raise MachineError(f"{name} cannot be written: it stays {before:#x}")

    @property
    def sp(self) -> int:
        """The stack pointer in use."""
        return self["sp"]

    @sp.setter
    def sp(self, value: int) -> None:
        self["sp"] = value

    @property
    def pc(self) -> int:
        """The address of the instruction to be executed next."""
        return self["pc"]

    @pc.setter
    def pc(self, value: int) -> None:
        self["pc"] = value

    @property
    def pstate(self) -> int:
        """PSTATE in the layout of SPSR_EL1."""
        return self["pstate"]

    @pstate.setter
    def pstate(self, value: int) -> None:
        self["pstate"] = value

    def _set_pstate(self, value: int) -> None:
        context = self._core.load()
        old, layout = context.pstate, context.layout
        mode = value & 0x1F
        if mode not in (0, 4, 5):
            raise MachineError(f"PSTATE mode {mode:#x} is none of EL0t (0), EL1t (4), EL1h (5), which this machine has")
        if (old ^ value) & 1:  # another stack pointer is selected
            banks = (layout.sp_el0, layout.sp_el1)
            context.set_system(banks[old & 1], context.sp)
            context.sp = context.system(banks[value & 1])
        context.pstate = value
        self._core.store()
        self._core.refresh()


def _vector(name: str) -> int | None:
    if name.startswith("v") and name[1:].isdecimal() and int(name[1:]) < 32:
        return int(name[1:])
    return None


def _unknown(name: str) -> MachineError:
    return MachineError(
        f"there is no register '{name}': x0..x30, sp, pc, pstate, v0..v31, fpsr, fpcr or an EL1 register"
    )
