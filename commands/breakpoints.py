# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for breakpoints and watchpoints, by gdb's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Condition, ExpressionError
from armprobe.machine.errors import NothingThere
from armprobe.probes import Stage
from armprobe.session.breakpoints import Breakpoint, Kind

from .declaration import Arg, Arguments, Clause, Command, size
from .errors import CommandError
from .locations import PLACE, complete_symbol, place
from .named_memory import MOST, named_memory
from .probe import unregister
from .program import SessionScope, refused
from .selection import breakpoint_row, complete_probe, no_number
from .values import BreakpointRows, BreakpointsChanged, Changed

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Breakpoints"
_MOST: Final = 1000  # breakpoints, each a hook of the machine


def _break(temporary: bool) -> Callable[[Session, Arguments], BreakpointsChanged]:
    def set_it(session: Session, arguments: Arguments) -> BreakpointsChanged:
        given, registers = arguments.place, session.machine.registers
        address = registers.pc if given is None else place(session, given)
        if address % 4:
            raise CommandError(f"the address of an instruction is a multiple of 4, and {address:#x} is not")
        condition = None
        if arguments.condition is not None:
            try:
                condition = Condition.compile(arguments.condition, SessionScope(session, Stage.PRE, address))
            except ExpressionError as error:
                raise refused(error) from error
        return _added(session, "breakpoint", given or f"{address:#x}", address, 4, temporary, condition)

    return set_it


def _watch(kind: Kind) -> Callable[[Session, Arguments], BreakpointsChanged]:
    def set_it(session: Session, arguments: Arguments) -> BreakpointsChanged:
        address, count = named_memory(session, arguments.place, arguments.size)
        if not 0 < count <= MOST:
            raise CommandError(f"a watchpoint is on 1 to {MOST} bytes")
        try:
            return _added(session, kind, arguments.place, address, count)
        except NothingThere as error:
            if session.machine.memory.translating:
                raise
            why = "before the guest has mapped it: let it run first (continue until=FUNCTION)"
            raise CommandError(f"{error} {why}") from error

    return set_it


def _added(
    session: Session,
    kind: Kind,
    given: str,
    address: int,
    count: int,
    temporary: bool = False,
    condition: Condition | None = None,
) -> BreakpointsChanged:
    points = session.breakpoints
    if len(points) >= _MOST:
        raise CommandError(f"there are {_MOST} breakpoints, which is as many as there can be: delete some")
    point = Breakpoint(session.probes.take_number(), kind, given, address, count, temporary, condition)
    points.add(point)
    return BreakpointsChanged("set", BreakpointRows([breakpoint_row(session, point)]))


def _delete(session: Session, arguments: Arguments) -> BreakpointsChanged | Changed:
    points = session.breakpoints
    words: tuple[str, ...] = () if arguments.numbers == ("all",) else arguments.numbers
    probes = [word for word in words if word.isdecimal() and int(word) in session.probes]
    if len(words) == 1 and probes:
        return unregister(session, words[0])
    for word in words:
        if not (word.isdecimal() and int(word) in points):
            raise CommandError(f"{word} is a probe: delete it by itself") if word in probes else no_number(word)
    chosen = [points[int(word)] for word in dict.fromkeys(words)] if words else list(points.values())
    rows = BreakpointRows(breakpoint_row(session, point) for point in chosen)
    for point in chosen:
        points.delete(point)
    return BreakpointsChanged("deleted", rows)


def _list(session: Session, arguments: Arguments) -> BreakpointRows:
    return BreakpointRows(breakpoint_row(session, point) for point in session.breakpoints.values())


_CONDITION: Final = Clause("if", "condition", "stop only where this C expression is true", last=True)
_WATCHED: Final = (
    Arg("place", "SYMBOL, SYMBOL+0x10, an address, $REGISTER, or in C: list->next", complete=complete_symbol),
    Arg("size", "number of bytes (default: that of the variable, or 8)", type=size, optional=True),
)

COMMANDS = (
    Command(
        "break",
        "Stop the guest at an instruction, if a condition holds there.\n"
        "A breakpoint leaves no trace in the guest. The condition is in C, as those of kprobe: at a function's entry\n"
        "its arguments have their names. A condition that has no value stops the guest, and the stop says why.\n"
        "Breakpoints and probes are numbered together: disable, enable and delete take the number of either.",
        (PLACE, _CONDITION),
        _break(temporary=False),
        aliases=("b", "br"),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "tbreak",
        "Stop the guest at an instruction, once.",
        (PLACE, _CONDITION),
        _break(temporary=True),
        aliases=("tb",),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "watch",
        "Stop the guest before an instruction that writes to memory.\n"
        "The stop shows what is there and what will be. Writes that change nothing stop it too.",
        _WATCHED,
        _watch("write"),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "rwatch",
        "Stop the guest before an instruction that reads memory.",
        _WATCHED,
        _watch("read"),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "awatch",
        "Stop the guest before an instruction that reads or writes memory.",
        _WATCHED,
        _watch("access"),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "delete",
        "Delete breakpoints and watchpoints, or one probe; without a number all breakpoints, but no probes.",
        (Arg("numbers", "numbers of breakpoints, or of a probe", optional=True, many=True, complete=complete_probe),),
        _delete,
        aliases=("d",),
        group=GROUP,
        gdb=False,
        changes_state=True,
    ),
    Command(
        "info breakpoints",
        "List the breakpoints and watchpoints.",
        (),
        _list,
        aliases=("info b", "info break", "info watchpoints"),
        group=GROUP,
        gdb=False,
    ),
)
