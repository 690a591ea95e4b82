# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetch arguments: what an event records of a hit (kernel/trace/trace_probe.c).

The parser follows the kernel's own, function by function: which error is reported where is decided by the order of its
checks, and some of its columns are off by one.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple, NoReturn

from armprobe.probes.record import REGISTERS

from .numbers import BadNumber, is_digit, is_name, leading, signed, unsigned
from .parameters import Named, NoMember, Parameters, find
from .types import TYPES, FetchType, find_type

MOST_ARGUMENTS: Final = 128  # MAX_TRACE_ARGS; those after it are not read
_LONGEST: Final = 63  # MAX_ARGSTR_LEN
_LONGEST_NAME: Final = 32  # MAX_ARG_NAME_LEN
_MOST_ELEMENTS: Final = 64  # MAX_ARRAY_LEN
_MOST_BYTES: Final = 3072  # MAX_PROBE_EVENT_SIZE
_MOST_STACK: Final = 16384 // 8  # PARAM_MAX_STACK, of pages of 4 KiB
_END: Final = 15  # the last of FETCH_INSN_MAX instructions
_U64: Final = 1 << 64
_REGISTER_NAMES: Final = {name: name for name in (*REGISTERS, "pstate")} | {"lr": "x30"}  # regoffset_table
_RESERVED: Final = frozenset(
    (
        *("common_type", "common_flags", "common_preempt_count", "common_pid", "common_tgid"),
        *("__probe_ip", "__probe_ret_ip", "__probe_func"),
    )
)


class Op(Enum):
    """What an instruction of an argument does (enum fetch_op)."""

    REGISTER = auto()
    STACK = auto()
    STACK_POINTER = auto()
    RETURN_VALUE = auto()
    IMMEDIATE = auto()
    COMM = auto()
    ARGUMENT = auto()
    TEXT = auto()
    SYMBOL = auto()  # the next instruction has its address
    DEREFERENCE = auto()
    USER_DEREFERENCE = auto()
    STORE = auto()
    STORE_MEMORY = auto()
    STORE_USER_MEMORY = auto()
    STORE_STRING = auto()
    STORE_USER_STRING = auto()
    STORE_SYMBOL = auto()
    BIT_FIELD = auto()
    ARRAY = auto()


class Instruction(NamedTuple):
    """An operation and its operand: a register's name, a number, an offset in bytes, or a text."""

    op: Op
    operand: int | str = 0


class BitField(NamedTuple):
    """The shifts that cut a bit-field out of a value of its type: to the left, then to the right."""

    left: int
    right: int


@dataclass
class FetchArgument:
    """One argument of an event.

    `text` is its expression as it was written. `count` is the number of elements of an array, 0 if it is none. `offset`
    counts from the first argument of the event. `code` loads a value, dereferences it, and stores it.
    """

    name: str
    text: str
    type: FetchType
    count: int = 0
    offset: int = 0
    code: list[Instruction] = field(default_factory=list)
    bit_field: BitField | None = None

    @property
    def size(self) -> int:
        """Its bytes in the event."""
        return self.type.size * (self.count or 1)

    @property
    def declaration(self) -> str:
        """Its type in the format file."""
        return f"{self.type.declaration}[{self.count}]" if self.count else self.type.declaration


class Refused(Exception):
    """An argument is refused: `message` at `offset` of its word, None where the kernel logs nothing."""

    def __init__(self, message: str | None, offset: int = 0, number: int = errno.EINVAL) -> None:
        super().__init__(message)
        self.message, self.offset, self.errno = message, offset, number


class Place(NamedTuple):
    """What arguments depend on: whether the probe is at a function's entry, and whether it is at the return.

    `parameters` are those of the function, if they are known and have values there.
    """

    at_entry: bool
    returns: bool
    parameters: Parameters = ()

    def named(self, text: str, at: int) -> Named | None:
        """What a text that names a parameter stands for; None for another. Raises Refused for an unknown member."""
        try:
            return find(self.parameters, text)
        except NoMember as error:
            raise Refused(error.message, at + error.offset) from None


class Arguments:
    """The arguments of one definition, in order."""

    def __init__(self, place: Place) -> None:
        self.parsed: list[FetchArgument] = []
        self.size = 0
        self._place = place

    def add(self, word: str) -> None:
        """Parse the next argument (traceprobe_parse_probe_arg). Raises Refused."""
        name, equals, body = word.partition("=")
        if equals:
            if len(name) > _LONGEST_NAME:
                raise Refused("Argument name is too long")
            if not name:
                raise Refused("Argument name is not specified")
        else:
            body, name = word, word.partition(":")[0]
            if all(each.name != name for each in self._place.parameters):
                name = f"arg{len(self.parsed) + 1}"
        if not is_name(name):
            raise Refused("Argument name must follow the same rules as C identifiers")
        if name in _RESERVED or any(each.name == name for each in self.parsed):
            raise Refused("This argument name is already used")
        self.parsed.append(self._body(name, body, len(word) - len(body)))

    def _body(self, name: str, text: str, offset: int) -> FetchArgument:
        """traceprobe_parse_probe_arg_body()."""
        if len(text) > _LONGEST:
            raise Refused("Argument expression is too long", offset)
        if not text:
            raise Refused("No argument expression", offset)
        expression, colon, rest = text.partition(":")
        type_at = offset + len(expression) + 1 if colon else offset
        type_name, bracket, elements = rest.partition("[")
        count = _count(elements, type_at + len(type_name) + 1) if bracket else 0
        if expression in ("$comm", "$COMM") or expression.startswith('\\"'):
            if count or (colon and type_name != "string"):
                raise Refused(None)
            kind: FetchType | None = TYPES["string"]
        else:
            kind = find_type(type_name if colon else None)
        named = self._place.named(expression, offset)
        if named is not None and not colon:
            kind = named.fetch_type
        if kind is None:
            raise Refused("Unknown type is specified", type_at)
        argument = FetchArgument(name, text, kind, count, self.size)
        self.size += argument.size
        if self.size > _MOST_BYTES:
            raise Refused("Event too big (too many fields?)", offset, errno.E2BIG)
        parser = _Parser(self._place)
        parser.load(expression, offset)
        if named is not None and kind.is_string and named.points_to_text:
            parser.append(Op.DEREFERENCE, 0, _TOO_DEEP, offset)
        parser.store(argument, type_at, offset)
        if colon and type_name.startswith("b"):
            argument.bit_field = _bit_field(type_name, kind, type_at)
            parser.append(Op.BIT_FIELD, 0, "Invalid bitfield", type_at)
        elif named is not None and named.bits is not None:
            first, width = named.bits
            bits = kind.size * 8
            argument.bit_field = BitField((bits - width - first) % 256, (bits - width) % 256)
            parser.append(Op.BIT_FIELD, 0, "Invalid bitfield", type_at)
        if count:
            if parser.stored not in (Op.STORE_MEMORY, Op.STORE_STRING, Op.STORE_USER_STRING):
                raise Refused("String accepts only memory argument", type_at)
            parser.append(Op.ARRAY, count, _TOO_DEEP, offset)
        argument.code = parser.code
        return argument


_TOO_DEEP: Final = "Dereference is too much nested"


class _Parser:
    """Makes the instructions of one argument."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.code: list[Instruction] = []
        self.stored = Op.STORE

    def load(self, text: str, at: int) -> None:
        """Append what loads and dereferences the value of `text` (parse_probe_arg)."""
        match text[:1]:
            case "$":
                self.code.append(self._variable(text[1:], at))
            case "%":
                if text[1:] not in _REGISTER_NAMES:
                    raise Refused("Invalid register name", at)
                self.code.append(Instruction(Op.REGISTER, _REGISTER_NAMES[text[1:]]))
            case "@":
                self._address(text[1:], at)
            case "+" | "-":
                self._dereference(text, at)
            case "\\":
                self.code.append(_immediate(text[1:], at))
            case _:
                self._parameter(text, at)

    def append(self, op: Op, operand: int | str, full: str, at: int) -> None:
        """Append an instruction. Raises Refused with the message `full` if there are too many."""
        if len(self.code) >= _END:
            raise Refused(full, at)
        self.code.append(Instruction(op, operand))

    def store(self, argument: FetchArgument, type_at: int, at: int) -> None:
        """Append what stores the value, or make the last dereference do so."""
        last = self.code[-1]
        if argument.type.is_string:
            self._store_string(argument, last, type_at, at)
        elif last.op in (Op.DEREFERENCE, Op.USER_DEREFERENCE):
            user = last.op is Op.USER_DEREFERENCE
            self.code[-1] = Instruction(Op.STORE_USER_MEMORY if user else Op.STORE_MEMORY, last.operand)
        else:
            self.append(Op.STORE, 0, _TOO_DEEP, at)
        self.stored = self.code[-1].op

    def _store_string(self, argument: FetchArgument, last: Instruction, type_at: int, at: int) -> None:
        name, op = argument.type.name, Op.STORE_STRING
        if name == "symstr":
            op = Op.STORE_SYMBOL
            if last.op not in _SYMBOL_SOURCES:
                raise Refused("Symbol String doesn't accept data/userdata", type_at)
        elif last.op not in _STRING_SOURCES:
            raise Refused("String accepts only memory argument", type_at)
        in_place = last.op in (Op.DEREFERENCE, Op.USER_DEREFERENCE) and name != "symstr" and not argument.count
        if name == "ustring" or (in_place and last.op is Op.USER_DEREFERENCE):
            op = Op.STORE_USER_STRING
        if in_place:
            self.code[-1] = Instruction(op, last.operand)
        else:
            self.append(op, 0, _TOO_DEEP, at)

    def _variable(self, name: str, at: int) -> Instruction:
        """parse_probe_vars()."""
        if name == "retval":
            if not self._place.returns:
                raise Refused("$retval is not available on probe", at)
            return Instruction(Op.RETURN_VALUE)
        if name == "stack":
            return Instruction(Op.STACK_POINTER)
        if name.startswith("stack") and is_digit(name[5:6]):
            number = _variable_number(name[5:], at)
            if number > _MOST_STACK:
                raise Refused("Invalid stack number", at)
            return Instruction(Op.STACK, number)
        if name in ("comm", "COMM"):
            return Instruction(Op.COMM)
        if name.startswith("arg") and self._place.at_entry and not self._place.returns:
            number = _variable_number(name[3:], at)
            if not 1 <= number <= _MOST_STACK:
                raise Refused("Invalid argument number", at)
            return Instruction(Op.ARGUMENT, number - 1)
        raise Refused("Invalid $-variable specified", at)

    def _parameter(self, text: str, at: int) -> None:
        named = self._place.named(text, at)
        if named is None:
            raise Refused("Invalid fetch argument", at)
        self.code.append(Instruction(Op.ARGUMENT, named.number))
        for offset in named.offsets:
            self.append(Op.DEREFERENCE, offset, _TOO_DEEP, at)

    def _address(self, text: str, at: int) -> None:
        """What is behind an `@`."""
        if is_digit(text[:1]):
            self.code.append(Instruction(Op.IMMEDIATE, _number(text, "Invalid memory address", at)))
        elif text.startswith("+"):
            raise Refused("File offset is not available with kprobe", at)
        else:
            self.code += [Instruction(Op.SYMBOL, text), Instruction(Op.IMMEDIATE)]
        self.append(Op.DEREFERENCE, 0, _TOO_DEEP, at)

    def _dereference(self, text: str, at: int) -> None:
        sign, op = text[0], Op.DEREFERENCE
        if text[1:2] == "u":
            op, text = Op.USER_DEREFERENCE, sign + text[2:]
        text = text.removeprefix("+")
        written, brace, rest = text.partition("(")
        if not brace:
            raise Refused("Dereference needs a brace", at)
        try:
            offset = signed(written)
        except BadNumber as bad:
            raise Refused("Invalid dereference offset", at, bad.errno) from None
        # The kernel's own count, which is one short after a `u`, or two signs.
        at += len(written) + 1 + (not written.startswith("-"))
        inner, closed, _ = rest.rpartition(")")
        if not closed:
            raise Refused("Dereference brace is not closed", at + len(rest))
        self.load(inner, at)
        if self.code[-1].op in (Op.COMM, Op.TEXT):
            raise Refused("$comm can not be dereferenced", at)
        self.append(op, (offset + (1 << 31)) % (1 << 32) - (1 << 31), _TOO_DEEP, at)  # struct fetch_insn has an int


_SYMBOL_SOURCES: Final = (Op.REGISTER, Op.STACK, Op.RETURN_VALUE, Op.ARGUMENT, Op.DEREFERENCE)
_STRING_SOURCES: Final = (Op.DEREFERENCE, Op.USER_DEREFERENCE, Op.IMMEDIATE, Op.COMM, Op.TEXT)


def _number(text: str, message: str, at: int) -> int:
    try:
        return unsigned(text)
    except BadNumber as bad:
        raise Refused(message, at, bad.errno) from None


def _variable_number(text: str, at: int) -> int:
    try:
        return unsigned(text, base=10)
    except BadNumber:
        raise Refused("Invalid $-variable specified", at) from None


def _immediate(text: str, at: int) -> Instruction:
    """What is behind a backslash: a number, or a text in quotes."""
    if text.startswith('"'):
        if not text[1:].endswith('"'):
            raise Refused("String is not closed with '\"'", at + 1 + len(text))
        return Instruction(Op.TEXT, text[1:-1])
    message, digits = "Invalid immediate value", text
    if text[:1] == "+":
        digits = text[1:]
    elif text[:1] != "-":
        if not is_digit(text[:1]):
            raise Refused(message, at + 1)
        return Instruction(Op.IMMEDIATE, _number(text, message, at + 1))
    try:
        return Instruction(Op.IMMEDIATE, signed(digits) % _U64)
    except BadNumber as bad:
        raise Refused(message, at + 1, bad.errno) from None


def _count(text: str, at: int) -> int:
    """The number of elements, of what is behind the bracket at `at` - 1."""
    inner, closed, suffix = text.partition("]")
    if not closed:
        raise Refused("Array is not closed", at + len(text))
    if suffix:
        raise Refused("Array has wrong suffix", at + len(inner) + 1)
    try:
        count = unsigned(inner, bits=32)
    except BadNumber:
        count = 0
    if not count:
        raise Refused("Invalid array size", at)
    if count > _MOST_ELEMENTS:
        raise Refused("Array number is too big", at)
    return count


def _bit_field(text: str, kind: FetchType, at: int) -> BitField:
    """__parse_bitfield_probe_arg()."""
    bits = kind.size * 8
    width, rest = leading(text[1:])
    if not width or not rest.startswith("@"):
        _no_bit_field(at)
    first, tail = leading(rest[1:])
    if tail == rest[1:] or not tail.startswith("/") or (width + first) % _U64 > bits:
        _no_bit_field(at)
    return BitField((bits - width - first) % 256, (bits - width) % 256)


def _no_bit_field(at: int) -> NoReturn:
    raise Refused("Invalid bitfield", at)
