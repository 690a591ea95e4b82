# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs and notes of the C core, which program.c evaluates: operations in memory that C reads.

The objects here own that memory. Whoever gives their `address` to C keeps them as long as C has it.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from unicorn import arm64_const as reg

from armprobe.machine.core.sysregs import SYSTEM_REGISTERS

from .binding import function, structure

_LENGTH: Final = struct.Struct("<H")  # of a string


class Outcome(enum.IntEnum):
    """What became of a program: `enum outcome` of native.h."""

    VALUE = 0
    UNDERFLOW = 1
    RUNS_OUT = 2
    ENDLESS = 3
    DIVIDES_BY_ZERO = 4
    NO_REGISTER = 5
    UNREADABLE = 6
    PATCHED = 7
    DEEP = 8
    NO_ROOM = 9


class Number(enum.IntEnum):
    """The operations beside the manual's: `enum operation_number` of native.h."""

    GENERAL = 0x100
    X30 = 0x101
    PSTATE = 0x102
    REGISTER = 0x103
    SYSTEM = 0x104
    STACK_POINTER = 0x105
    NO_REGISTER = 0x106
    GET = 0x107
    SET = 0x108
    RUNS_OUT = 0x109
    ELAPSED = 0x10A
    CALLER = 0x10B
    TIME = 0x10C
    TASK = 0x10D
    VALUE = 0x10E
    MATCH = 0x10F
    ORDER = 0x110
    EQUALS = 0x111
    UNLESS = 0x112


class Operation(NamedTuple):
    """One operation: its number and its operand."""

    number: int
    operand: int = 0


@structure("operation")
class _Operation(ctypes.Structure):
    number: int
    operand: int


@structure("program")
class ProgramStructure(ctypes.Structure):
    """`struct program`."""

    operations: int


@structure("variable")
class Variable(ctypes.Structure):
    """`struct variable`: a variable of programs, and whether it was ever set."""

    value: int
    known: bool

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self)


@structure("view")
class View(ctypes.Structure):
    """`struct view`: what a program looks at. `x` is the address of x0 to x30, sp and pc."""

    x: int
    pstate: int
    live: bool
    changes: int
    elapsed: int
    caller: int
    ticks: int
    task: int


@structure("reader")
class Reader(ctypes.Structure):
    """`struct reader`: how programs read memory and other registers of a core, and what they do not see.

    `core` is the address of a `struct core`.
    """

    core: int
    start: int
    end: int
    trampolines: ctypes.Array[ctypes.c_uint64]
    record: int
    record_size: int

    def hide(self, address: int) -> None:
        """Hide the breakpoint at `address`. Programs have no value for memory between two that are hidden."""
        self.start = min(self.start, address) if self.end else address
        self.end = max(self.end, address + 4)


@structure("note_value")
class _NoteValue(ctypes.Structure):
    program: ProgramStructure
    size: ProgramStructure
    most: int


@structure("note")
class _Note(ctypes.Structure):
    values: int
    count: int


@structure("writer")
class Writer(ctypes.Structure):
    """`struct writer`: room for what C appends at `at`, before `end`."""

    at: int
    end: int


class Program:
    """A program of `operations`, in which a jump has the index of its target. `address` is that of a `struct program`.

    C trusts operands: 0 to 32 for GENERAL, 1 to 64 for bits, an index within the program for a jump, the address of one
    of `operands`, which the program keeps, for GET and SET (a variable), VALUE (a program) and MATCH (a pattern).
    """

    def __init__(self, operations: Sequence[Operation], operands: Sequence[object] = ()) -> None:
        self._operands = operands
        whole = [*operations, Operation(Number.RUNS_OUT)]
        self._operations = (_Operation * len(whole))(*(_Operation(*each) for each in whole))
        self.structure = ProgramStructure(ctypes.addressof(self._operations))

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self.structure)


@structure("text")
class TextStructure(ctypes.Structure):
    """`struct text`."""

    address: ProgramStructure
    most: int
    array: int


@structure("pattern")
class _Pattern(ctypes.Structure):
    text: TextStructure
    match: int
    inverted: bool
    bytes: int
    length: int


class Text:
    """A text of `most` bytes at most in the guest's memory, at the value of `address`; 0 stands for an unreadable one.

    With `array` it is an array of so many characters, and has NULs behind it. `structure` is a `struct text`.
    """

    def __init__(self, address: Program, most: int, array: int = 0) -> None:
        self._address = address
        self.structure = TextStructure(address.structure, most, array)

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self.structure)


class Match(enum.IntEnum):
    """How a pattern is compared: `enum match` of pattern.c."""

    FULL = 0
    FRONT = 1
    MIDDLE = 2
    END = 3
    GLOB = 4


class Pattern:
    """What `text` is compared with. `address` is that of a `struct pattern`."""

    def __init__(self, text: Text, match: Match, pattern: bytes, inverted: bool = False) -> None:
        self._text, self._bytes = text, ctypes.create_string_buffer(pattern)
        self._structure = _Pattern(text.structure, match, inverted, ctypes.addressof(self._bytes), len(pattern))

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self._structure)


class NoteValue(NamedTuple):
    """A value of a note. With `most` it is the address of memory, of which up to that many bytes are taken.

    Those are a string up to and with its NUL, or as many bytes as `size` says.
    """

    program: Program
    most: int = 0
    size: Program | None = None


class Note:
    """The values that a note has. `address` is that of a `struct note`."""

    def __init__(self, values: Iterable[NoteValue]) -> None:
        self._parts = list(values)
        count = len(self._parts)
        none = ProgramStructure()
        self._values = (_NoteValue * count)(
            *(
                _NoteValue(part.program.structure, none if part.size is None else part.size.structure, part.most)
                for part in self._parts
            )
        )
        self._structure = _Note(ctypes.addressof(self._values), count)
        self._packed = struct.Struct(f"<{count}Q")

    @property
    def address(self) -> int:
        """Of the structure."""
        return ctypes.addressof(self._structure)

    @property
    def size(self) -> int:
        """The most bytes that C appends for it."""
        return self._packed.size + sum(_LENGTH.size + part.most for part in self._parts if part.most)

    def decoded(self, data: bytes) -> tuple[tuple[int, ...], list[bytes]]:
        """The values, and the memory that those which are addresses point to, of what C has appended.

        A string is up to and with its NUL. There is no memory of an address of 0.
        """
        values, at, memory = self._packed.unpack_from(data), self._packed.size, []
        for value, part in zip(values, self._parts, strict=True):
            if part.most and value:
                (length,) = _LENGTH.unpack_from(data, at)
                at += _LENGTH.size
                memory.append(data[at : at + length])
                at += length
        return values, memory


_VALUES: Final = function(
    "armprobe_program_values", None, *[ctypes.c_void_p] * 3, ctypes.c_uint64, *[ctypes.c_void_p] * 2
)


def values(reader: Reader, programs: Sequence[Program], views: Sequence[View]) -> list[tuple[Outcome, int]]:
    """The outcome and the value of each program at its view.

    The value is 0 but for Outcome.VALUE.
    """
    count = len(programs)
    found, outcomes = (ctypes.c_uint64 * count)(), (ctypes.c_uint32 * count)()
    structures = (ProgramStructure * count)(*(program.structure for program in programs))
    _VALUES(ctypes.byref(reader), structures, (View * count)(*views), count, found, outcomes)
    return [(Outcome(outcome), value) for outcome, value in zip(outcomes, found, strict=True)]


_NOTE: Final = function("armprobe_program_note", ctypes.c_uint32, *[ctypes.c_void_p] * 4)


def note_data(reader: Reader, note: Note, view: View) -> tuple[Outcome, bytes]:
    """The outcome of a note at a view, and what C appends for it, which `Note.decoded` takes."""
    buffer = ctypes.create_string_buffer(note.size)
    start = ctypes.addressof(buffer)
    writer = Writer(start, start + note.size)
    outcome = Outcome(_NOTE(ctypes.byref(reader), note.address, ctypes.byref(view), ctypes.byref(writer)))
    return outcome, buffer.raw[: writer.at - start]


def register_operation(name: str) -> Operation | None:
    """The operation that reads a register other than x0 to x30, sp and pc by its name; None for an unknown name."""
    if name in ("cpsr", "pstate"):
        return Operation(Number.PSTATE)
    if name in SYSTEM_REGISTERS:
        number = Number.STACK_POINTER if name in ("sp_el0", "sp_el1") else Number.SYSTEM
        return Operation(number, int.from_bytes(SYSTEM_REGISTERS[name]))
    if name in _REGISTERS:
        return Operation(Number.REGISTER, _REGISTERS[name])
    return None


_REGISTERS: Final = {
    **{f"v{number}": reg.UC_ARM64_REG_V0 + number for number in range(32)},
    "fpsr": reg.UC_ARM64_REG_FPSR,
    "fpcr": reg.UC_ARM64_REG_FPCR,
}
