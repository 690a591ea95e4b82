# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of the guest: frames, symbols, memory, registers."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Hex, Location
from .probes import HitStage
from .stops import Stopped


@lazy_dataclass
class StackFrame:
    """A frame of the stack: a function that was entered and has not returned.

    number: 0 is the innermost frame. location: the address at which the function continues. called: whether the
    function has made a call. If not, it was interrupted, or the guest is in it. el0: whether it runs at EL0.
    """

    number: int
    location: Location
    called: bool
    el0: bool


@lazy_dataclass
class Printed:
    """The value of an expression.

    type: as C spells it. text: the value with its type, as drgn shows it. address: that of a struct or an array in
    memory, None for a number. number: the value of an integer, a pointer or an enumeration, None for others.
    """

    type: str
    text: str
    address: Hex | None
    number: int | None


@lazy_dataclass
class TypeMember:
    """A member of a struct or union.

    name, type: as C spells them. offset: bytes from the start of the struct to the byte in which the member begins.
    size: bytes of its type. bit, bits: the first bit in that byte and the number of bits of a bit field, or None.
    """

    name: str
    type: str
    offset: int
    size: int
    bit: int | None
    bits: int | None


@lazy_dataclass
class TypeDefinition:
    """A type.

    type: its name as C spells it. size: bytes; None for a function, and where only the name is known.
    members: those of the struct or union that it is, points to or has as elements; with those of structs without a name
    in it. text: the definition, as gdb shows it.
    """

    type: str
    size: int | None
    members: tuple[TypeMember, ...]
    text: str


@lazy_dataclass
class NamedValue:
    """The value of an argument.

    name, type: as C spells them. text: the value with its type, as drgn shows it, or the reason why it is not known.
    """

    name: str
    type: str
    text: str


class NamedValues(tuple[NamedValue, ...]):
    """The arguments of a function, in their order."""


class Answers(tuple[object, ...]):
    """What the commands of a file answered, in order."""


@lazy_dataclass
class PrintedLine:
    """A format with its values.

    text: the line.
    """

    text: str


@lazy_dataclass
class Backtrace:
    """The frames of the stack, the innermost first.

    hit: the hit at which the stack was read; None if it is the stack of the stopped guest.
    end: the reason why more frames are not known; empty if the list is complete.
    """

    hit: HitStage | None
    frames: tuple[StackFrame, ...]
    end: str


@lazy_dataclass
class SymbolRow:
    """A symbol. size: in bytes. kind: function, object or other. module: its kernel module; None for the kernel."""

    name: str
    address: Hex
    size: int
    kind: str
    module: str | None


@lazy_dataclass
class SymbolMatches:
    """The symbols whose names begin with `beginning`. more: whether there are more than these."""

    beginning: str
    symbols: tuple[SymbolRow, ...]
    more: bool


@lazy_dataclass
class Memory:
    """Memory from an address on. wanted: the number of bytes asked for. `data` is shorter if the guest maps less."""

    address: Hex
    data: bytes
    wanted: int


@lazy_dataclass
class Instruction:
    """An instruction. text: its disassembly. current: whether it is executed next.

    replaced: what a breakpoint of a probe is in place of, disassembled; None if this is no such breakpoint.
    """

    location: Location
    word: Hex
    text: str
    current: bool
    replaced: str | None


@lazy_dataclass
class ExaminedRow:
    """A row of memory in a format of gdb's. location: of its first value. shown: the values, as text."""

    location: Location
    shown: tuple[str, ...]


class Examined(tuple[ExaminedRow, ...]):
    """Memory in a format of gdb's."""


@lazy_dataclass
class Assigned:
    """A register or what is in memory, as the user wrote it, and its value from now on."""

    target: str
    value: Hex


class Disassembly(tuple[Instruction, ...]):
    """Instructions, one after another."""


@lazy_dataclass
class MachineInfo:
    """The state of a machine.

    guest: the guest as the user named it. kind: linux or elf. symbols: the number of its symbols.
    modules: names of the loaded kernel modules; None for a guest other than Linux.
    why_no_modules: the reason why the modules of a Linux guest are not known; empty if they are known.
    memory_size, memory_base: size of the RAM in bytes, and its physical address.
    instructions: the number of instructions executed since reset. seconds: guest time.
    era, era_origin: the kernel whose rules apply, and the reason for this choice. probes: the number of probes.
    gdb: the address to which a debugger attaches; empty without a stub.
    stop: the last stop; None if the guest reached the address of a run's `until`.
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


@lazy_dataclass
class SystemRegister:
    """A register that was asked for by name, or a system register of EL1."""

    name: str
    value: Hex


class SystemRegisters(tuple[SystemRegister, ...]):
    """The registers that were asked for, or the main system registers of EL1."""


@lazy_dataclass
class MappedRange:
    """Virtual addresses `start` <= address < `end` that the guest maps. access: r, w, x, and u if EL0 may access it."""

    start: Hex
    end: Hex
    access: str


@lazy_dataclass
class MemoryMap:
    """The memory that the guest's page tables map. translating: whether the MMU is on."""

    translating: bool
    ranges: tuple[MappedRange, ...]
