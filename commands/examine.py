# SPDX-License-Identifier: GPL-2.0-or-later
"""The command that shows memory, by gdb's formats or as bytes and characters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from armprobe.expressions import AgentError, ExpressionError
from armprobe.expressions.strings import string_pieces
from armprobe.machine import MachineError

from .declaration import Arg, Arguments, Command, size
from .errors import CommandError
from .formats import Format, number, quoted, split_format
from .inspect import disassembled_at
from .locations import complete_symbol, location, place
from .print import found_here
from .values import Disassembly, Examined, ExaminedRow, Memory

if TYPE_CHECKING:
    from armprobe.session import Session

_MOST_BYTES: Final = 1 << 16
_LONGEST: Final = 200  # characters of a string (GDB manual, "Print Settings", print elements)
_IN_A_ROW: Final = {"c": 8, "a": 2}
_BY_SIZE: Final = {1: 8, 2: 8, 4: 4, 8: 2}


def _examine(session: Session, arguments: Arguments) -> Memory | Disassembly | Examined:
    form, text = split_format(arguments.address)
    if form is None:
        return _bytes(session, text)
    if not text:
        raise CommandError("examine needs an address after the format, as in x/4gx $sp")
    if form.times < 1:
        raise CommandError("the count of a format is at least 1")
    address = _address(session, text)
    if form.letter == "i":
        return disassembled_at(session, address, form.times)
    rows = _strings(session, address, form.times) if form.letter == "s" else _numbers(session, address, form)
    found: list[ExaminedRow] = []
    try:
        found.extend(rows)
    except MachineError as error:
        raise CommandError(str(error), Examined(found) if found else None) from error
    return Examined(found)


def _bytes(session: Session, text: str) -> Memory:
    words = text.split()
    if len(words) > 2:
        raise CommandError(f"examine does not know what to do with {words[2]!r}: it takes an address and a size")
    address, count = place(session, words[0]), size(session, words[1]) if len(words) > 1 else 64
    if not 0 < count <= _MOST_BYTES:
        raise CommandError(f"examine shows 1 to {_MOST_BYTES} bytes at a time")
    return Memory(address, bytes(session.machine.memory.read_available(address, count)), count)


def _address(session: Session, text: str) -> int:
    """The address that a text means: a place as commands have it, or an expression in C."""
    try:
        return place(session, text)
    except (CommandError, MachineError) as first:
        try:
            found = found_here(session, text)
        except (ExpressionError, AgentError):
            raise first from None
        return found.number if found.address is None else found.address


def _strings(session: Session, address: int, count: int) -> Iterator[ExaminedRow]:
    memory = session.machine.memory
    for _ in range(min(count, _MOST_BYTES)):
        data = b"".join(string_pieces(lambda at, length: bytes(memory.read(at, length)), address, _LONGEST))
        whole = data.endswith(b"\0")
        text = quoted(data.removesuffix(b"\0")) + ("" if whole else "...")
        yield ExaminedRow(location(session, address), (text,))
        address += len(data)


def _numbers(session: Session, address: int, form: Format) -> Iterator[ExaminedRow]:
    letter = form.letter or "x"
    width = form.size or {"c": 1, "a": 8}.get(letter, 4)
    if form.times * width > _MOST_BYTES:
        raise CommandError(f"examine shows 1 to {_MOST_BYTES} bytes at a time")
    each_row = _IN_A_ROW.get(letter, _BY_SIZE[width])
    for first in range(0, form.times, each_row):
        start, shown = address + first * width, []
        for at in range(start, start + min(each_row, form.times - first) * width, width):
            value = int.from_bytes(session.machine.memory.read(at, width), "little")
            shown.append(number(session, value, letter, width, padded=True))
        yield ExaminedRow(location(session, start), tuple(shown))


COMMANDS = (
    Command(
        "examine",
        "Show memory: without a format as bytes and characters, 64 of them or BYTES.\n"
        "Formats are those of gdb's x: a count, a letter and a size, each of which may be left out.\n\n"
        "    x/8i $pc          instructions\n"
        "    x/4gx $sp         numbers of 8 bytes in hexadecimal; b, h, w: of 1, 2, 4 bytes\n"
        "    x/s $x0           a string\n"
        "    x/2a $sp          addresses with their symbols\n"
        "    x 0x40080000 256  256 bytes\n\n"
        "The letters are x, d, u, o, t (binary), z (with leading zeros), c (character), a, s and i. The address is as\n"
        "in other commands, or an expression in C.",
        (Arg("address", "[/FORMAT] address [BYTES]", rest=True, complete=complete_symbol),),
        _examine,
        aliases=("x",),
        group="Inspection",
    ),
)
