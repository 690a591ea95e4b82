# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `until`: to a place, or past the current line."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .lines import Line, line_at, line_stepped, pieces_after
from .locations import complete_symbol, place
from .stepping import GROUP, Arrived, caller, returned_text, run_to, step_over
from .stops import stopped
from .values import LineStepped, Stopped

if TYPE_CHECKING:
    from armprobe.session import Session

_STEPPED: Final = StopReason.INSTRUCTIONS
_SINGLE: Final = 64  # instructions: a function has its stack pointer by then
_MOST_PLACES: Final = 4096  # instructions of a function without lines


def _until(session: Session, arguments: Arguments) -> Stopped | LineStepped:
    if arguments.place is None:
        return line_stepped(session, session.go(lambda: _past(session)))
    target = place(session, arguments.place)
    places = _end_of_function(session)
    places[target] = lambda core: True, ""
    return stopped(session, session.go(lambda: run_to(session, places)))


def _end_of_function(session: Session) -> dict[int, tuple[Arrived, str]]:
    """Where the function that the guest is in returns to; nothing if that is unknown."""
    with contextlib.suppress(CommandError):
        address, returned = caller(session)
        return {address: (returned, returned_text(session))}
    return {}


def _past(session: Session) -> Stop:
    """Run until the function is past the line, or the instruction, that it is at, or has returned.

    gdb steps as long as the guest is before the end of the line, from the beginning of the function on (GDB,
    until_next_command). Here a loop is run through, to what is behind the line.
    """
    machine = session.machine
    pc = machine.registers.pc
    found = machine.symbols.at(pc)
    if found is None:
        return step_over(session)
    function, line = found[0], line_at(session, pc)
    end = pc + 4 if line is None else line.end
    for _ in range(_SINGLE):
        stop = step_over(session)
        if stop.reason is not _STEPPED or not function.address <= stop.address < end:
            return _to_line(session, stop, line)
    places, sp = _end_of_function(session), machine.registers.sp
    behind = pieces_after(session, line) if line else range(end, function.address + function.size, 4)[:_MOST_PLACES]
    places.update(dict.fromkeys(behind, (lambda core: core.context.sp == sp, "")))
    stop = run_to(session, places)
    return _to_line(session, Stop(_STEPPED, stop.address), line) if stop.reason is StopReason.UNTIL else stop


def _to_line(session: Session, stop: Stop, line: Line | None) -> Stop:
    """On to the beginning of another line than `line`, from within one, as after a return."""
    for _ in range(_SINGLE):
        now = line_at(session, stop.address) if line and stop.reason is _STEPPED else None
        if now is None or (stop.address == now.start and now != line):
            break
        line = now
        stop = step_over(session)
    return stop


COMMANDS = (
    Command(
        "until",
        "Run the guest until it comes to a place, or the function that it is in returns.\n"
        "Without a place, until it is past the current source line, so out of a loop that this line is the end of; by\n"
        "instruction where no line is known. Calls are not stopped in.",
        (
            Arg(
                "place",
                "SYMBOL, SYMBOL+0x10, an address or $REGISTER (default: what comes after this line)",
                optional=True,
                complete=complete_symbol,
            ),
        ),
        _until,
        aliases=("u", "advance"),
        group=GROUP,
        gdb=False,
    ),
)
