# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for source lines: step-line, next, list and info line. They need debug information (DWARF)."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from armprobe.kernel.line_pieces import Piece, pieces
from armprobe.kernel.source_lines import SLIDE
from armprobe.machine import Machine, MachineError, Stop, StopReason
from armprobe.session.authority import Host, asker

from .declaration import Arg, Arguments, Command, integer
from .errors import CommandError
from .inspect import disassembled_at
from .locations import PLACE, location, place
from .perf_probe import source_text, sources
from .stepping import caller, run_to, step_over
from .stops import stopped
from .values import LineCode, LineStepped, SourceLine, SourceLinesShown

if TYPE_CHECKING:
    from armprobe.machine import Symbol
    from armprobe.session import Session

_LISTED: Final = 10  # lines, as gdb's list
_MOST_STEPS: Final = 1_000_000


class Line(NamedTuple):
    """A line of a file, and one piece of its instructions: start <= address < end."""

    file: str
    number: int
    start: int
    end: int


class _Rows(NamedTuple):
    """The lines of a function's own file, by the addresses at which their pieces begin."""

    file: str
    addresses: list[int]
    numbers: list[int]
    end: int
    pieces: list[Piece]
    file_number: int  # as the pieces have it


_KNOWN: Final[WeakKeyDictionary[Machine, dict[int, _Rows | None]]] = WeakKeyDictionary()


def line_at(session: Session, address: int) -> Line | None:
    """The line of an instruction; None if it is not known."""
    rows = _rows_at(session, address)
    index = -1 if rows is None else bisect_right(rows.addresses, address) - 1
    if rows is None or index < 0 or address >= rows.end:
        return None
    later = zip(rows.addresses[index + 1 :], rows.numbers[index + 1 :], strict=True)
    end = next((at for at, number in later if number != rows.numbers[index]), rows.end)
    while index and rows.numbers[index - 1] == rows.numbers[index]:
        index -= 1
    return Line(rows.file, rows.numbers[index], rows.addresses[index], end)


def piece_at(session: Session, address: int) -> Piece | None:
    """The piece of a line, of any file, that has an instruction; None if it is not known."""
    rows = _rows_at(session, address)
    index = -1 if rows is None else bisect_right(rows.pieces, address, key=attrgetter("start")) - 1
    return None if rows is None or index < 0 or address >= rows.end else rows.pieces[index]


def _rows_at(session: Session, address: int) -> _Rows | None:
    found = session.machine.symbols.at(address)
    if found is None or session.machine.guest.dwarf is None:
        return None
    known, symbol = _KNOWN.setdefault(session.machine, {}), found[0]
    if symbol.address not in known:
        try:
            known[symbol.address] = _rows(session.machine, symbol)
        except (MachineError, CommandError):
            known[symbol.address] = None
    return known[symbol.address]


def pieces_after(session: Session, line: Line) -> list[int]:
    """The addresses at which pieces of lines of the same function begin that are behind `line`."""
    found = session.machine.symbols.at(line.start)
    rows = None if found is None else _KNOWN[session.machine].get(found[0].address)
    return [] if rows is None else [address for address in rows.addresses if address >= line.end]


def _rows(machine: Machine, symbol: Symbol) -> _Rows | None:
    function = sources(machine).function(symbol.name)
    moved = symbol.address - function.start
    if moved % SLIDE:  # another function of that name
        return None
    found = sorted(function.statements.items())
    addresses, numbers = [address + moved for address, _ in found], [number for _, number in found]
    rows = [row._replace(address=row.address + moved) for row in function.rows]
    end = function.end + moved
    return _Rows(function.file, addresses, numbers, end, pieces(rows, end), function.file_number)


def _source_line(session: Session, file: str, number: int, current: bool) -> SourceLine:
    text = None
    if Host.READS_FILES in asker().may:
        with contextlib.suppress(CommandError, MachineError):  # the place is shown without it
            text = next(iter(source_text(session.machine, file, number, number)), None)
    return SourceLine(file, number, text, current)


def step_by_lines(step: Callable[[Session], Stop], waits: bool = True) -> Callable[[Session, Arguments], LineStepped]:
    """A command that does `step` as often as it is told. `waits` is that of `Session.go`."""

    def run(session: Session, arguments: Arguments) -> LineStepped:
        if arguments.count < 1:
            raise CommandError("the count of lines is at least 1")
        pc = session.machine.registers.pc
        if line_at(session, pc) is None:
            session.remark("note: no source line is known here: it goes by instruction\n")

        def lines() -> Stop:
            for _ in range(arguments.count):
                stop = step(session)
                if stop.reason is not StopReason.INSTRUCTIONS:
                    break
            return stop

        return line_stepped(session, session.go(lines, waits))

    return run


def line_stepped(session: Session, stop: Stop) -> LineStepped:
    """Where steps by lines have ended, with what is next if nothing else has stopped the guest."""
    whole = stop.reason is StopReason.INSTRUCTIONS
    line = line_at(session, stop.address) if whole else None
    shown = None if line is None else _source_line(session, line.file, _number(session, stop.address, line), True)
    code = disassembled_at(session, stop.address, 1) if whole and line is None else None
    return LineStepped(stopped(session, stop), shown, code)


def _number(session: Session, address: int, line: Line) -> int:
    """The number of the line that gdb names there: that of the piece, unless it is of another file than `line`."""
    rows, piece = _rows_at(session, address), piece_at(session, address)
    return piece.line if rows is not None and piece is not None and piece.file == rows.file_number else line.number


def _one_line(session: Session, enter: bool) -> Stop:
    """Step to the beginning of another line; a function without lines is left again, as gdb does."""
    machine = session.machine
    line = line_at(session, machine.registers.pc)
    for _ in range(_MOST_STEPS):
        stop = machine.step() if enter else step_over(session)
        if stop.reason is not StopReason.INSTRUCTIONS or line is None:
            return stop
        now = line_at(session, stop.address)
        if now is None and enter and _at_entry(session, stop.address):
            address, returned = caller(session)
            stop = run_to(session, {address: (returned, "")})
            if stop.reason is not StopReason.UNTIL:
                return stop
            now = line_at(session, stop.address)
        if now is None or (stop.address == now.start and now != line):
            return Stop(StopReason.INSTRUCTIONS, stop.address)
        line = now  # within a line, as after a return: on to the next one
    return Stop(StopReason.INSTRUCTIONS, machine.registers.pc, f"the line has not ended after {_MOST_STEPS:,} steps")


def _at_entry(session: Session, pc: int) -> bool:
    found = session.machine.symbols.at(pc)
    return found is not None and found[1] == 0


def _line_of(session: Session, word: str | None) -> Line:
    address = session.machine.registers.pc if word is None else place(session, word)
    line = line_at(session, address)
    if line is None:
        sources(session.machine)  # which says why, if there is no debug information
        raise CommandError(f"no source line is known of {session.machine.symbols.describe(address)}")
    return line


def _list(session: Session, arguments: Arguments) -> SourceLinesShown:
    line, here = _line_of(session, arguments.place), line_at(session, session.machine.registers.pc)
    first = max(1, line.number - _LISTED // 2)
    current = None if here is None or here.file != line.file else here.number
    texts = source_text(session.machine, line.file, first, first + _LISTED - 1)
    return SourceLinesShown(
        SourceLine(line.file, number, text, number == current) for number, text in enumerate(texts, first)
    )


def _info_line(session: Session, arguments: Arguments) -> LineCode:
    line = _line_of(session, arguments.place)
    shown = _source_line(session, line.file, line.number, line == line_at(session, session.machine.registers.pc))
    return LineCode(shown, location(session, line.start), location(session, line.end))


_COUNT: Final = Arg("count", "number of lines", type=integer, optional=True, default=1)

COMMANDS = (
    Command(
        "next",
        "Run to the next source line, calls with all that they do; by instruction where no line is known.",
        (_COUNT,),
        step_by_lines(partial(_one_line, enter=False)),
        aliases=("n",),
        group="Running",
        gdb=False,
        repeat=True,
    ),
    Command(
        "step-line",
        "Run to the next source line, into calls of functions whose lines are known; by instruction where none is.\n"
        "It is s, as in gdb. step goes by instructions.",
        (_COUNT,),
        step_by_lines(partial(_one_line, enter=True)),
        aliases=("s",),
        group="Running",
        gdb=False,
        repeat=True,
    ),
    Command(
        "list",
        "Show the source around a place.",
        (PLACE,),
        _list,
        aliases=("l",),
        group="Inspection",
        gdb=False,
        host=Host.READS_FILES,
    ),
    Command(
        "info line",
        "Show the source line of a place, and the addresses of its instructions.",
        (PLACE,),
        _info_line,
        group="Inspection",
        gdb=False,
    ),
)
