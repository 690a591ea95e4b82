# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest as it is: frames, symbols, memory, registers."""

from __future__ import annotations

from dataclasses import dataclass

from .location import Hex, Location
from .probes import HitStage
from .stops import Stopped


@dataclass(frozen=True)
class StackFrame:
    """A function that has been entered and not left.

    number: from 0, the innermost. location: where it goes on. called: it has made a call; else it was interrupted, or
    it is where the guest is. el0: it is a task's at EL0.
    """

    number: int
    location: Location
    called: bool
    el0: bool


@dataclass(frozen=True)
class Backtrace:
    """Who called whom.

    hit: the hit it is of; None if it is of where the guest is now.
    end: why it goes no further; empty if it is complete.
    """

    hit: HitStage | None
    frames: tuple[StackFrame, ...]
    end: str


@dataclass(frozen=True)
class SymbolRow:
    """A symbol. size: bytes. kind: function, object or other. module: None if it is the kernel's own."""

    name: str
    address: Hex
    size: int
    kind: str
    module: str | None


@dataclass(frozen=True)
class SymbolMatches:
    """The symbols whose names begin with `beginning`. more: there are more than these."""

    beginning: str
    symbols: tuple[SymbolRow, ...]
    more: bool


@dataclass(frozen=True)
class Memory:
    """Memory from an address on. wanted: bytes that were asked for; there are fewer where the guest maps nothing."""

    address: Hex
    data: bytes
    wanted: int


@dataclass(frozen=True)
class Instruction:
    """An instruction. text: its disassembly. current: it is executed next."""

    location: Location
    word: Hex
    text: str
    current: bool


class Disassembly(tuple[Instruction, ...]):
    """Instructions, one after another."""


@dataclass(frozen=True)
class MachineInfo:
    """Where a machine stands.

    guest: as it was given. kind: what it is. symbols: how many it has.
    modules: names of the kernel modules that are loaded; None for a guest that is no Linux.
    why_no_modules: why the modules of a Linux guest are not known; empty if they are.
    memory_size, memory_base: of RAM, in bytes, physical. instructions: executed since reset. seconds: guest time.
    era, era_origin: the kernel whose rules apply, and why that one. probes: how many are set.
    gdb: the address a debugger attaches to; empty without one.
    stop: why it stopped; None where there is nothing to say of that.
    """

    guest: str
    kind: str
    symbols: int
    modules: tuple[str, ...] | None
    why_no_modules: str
    memory_size: int
    memory_base: Hex
    cpu: str
    pstate: Hex
    instructions: int
    seconds: float
    era: str
    era_origin: str
    probes: int
    gdb: str
    stop: Stopped | None


@dataclass(frozen=True)
class SystemRegister:
    """A system register of EL1."""

    name: str
    value: Hex


class SystemRegisters(tuple[SystemRegister, ...]):
    """The main system registers of EL1."""


@dataclass(frozen=True)
class MappedRange:
    """Virtual addresses `start` <= address < `end` that the guest maps. access: r, w, and u if EL0 has it too."""

    start: Hex
    end: Hex
    access: str


@dataclass(frozen=True)
class MemoryMap:
    """What the guest's page tables map. translating: its MMU is on."""

    translating: bool
    ranges: tuple[MappedRange, ...]
