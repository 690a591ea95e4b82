# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `calls` and `first-call`: the calls of a function in the history of the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.expressions import AgentError
from armprobe.kernel import typed_memory
from armprobe.kernel.types import Function, Integer, Type
from armprobe.machine import Machine, MachineError
from armprobe.machine.time.calls import PastCall
from armprobe.probes import Stage

from .aggregation import CONDITION
from .declaration import Arg, Arguments, Command, Option, integer
from .errors import CommandError
from .formats import number
from .locations import complete_symbol, location, place
from .program import Programs
from .stops import require_stopped
from .task_options import OPTIONS as TASK_OPTIONS
from .values import PastArgument, PastCallRow, PastCalls

if TYPE_CHECKING:
    from armprobe.session import Session

_GROUP: Final = "Going back"
_SHOWN: Final = 100
_WORD: Final = 8  # bytes
_IN_REGISTERS: Final = 8  # arguments (AAPCS64, 6.8.2)
_UNTYPED: Final = 4  # registers that are shown of a function whose type is not known


class _Selection:
    """The condition of the user. Where it cannot be evaluated, the call is not wanted, and is counted."""

    def __init__(self, session: Session, arguments: Arguments) -> None:
        self._view = session.guest_view
        asked = Arguments(**{**vars(arguments), "code": None, "note": None})
        self._condition = Programs(session, asked, Stage.PRE, Stage.PRE).at(arguments.function).condition
        self.failed, self.why = 0, ""

    def __call__(self, machine: Machine) -> bool:
        if self._condition is None:
            return True
        machine.core.load()
        try:
            return self._condition.holds(self._view)
        except (AgentError, MachineError) as error:
            self.failed += 1
            self.why = self.why or f"{error}, at position {machine.instructions:,}"
            return False


def _calls(session: Session, arguments: Arguments) -> PastCalls:
    return _find(session, arguments, single=False)


def _first_call(session: Session, arguments: Arguments) -> PastCalls:
    return _find(session, arguments, single=True)


def _find(session: Session, arguments: Arguments, single: bool) -> PastCalls:
    require_stopped(session)
    if not single and arguments.most < 1:
        raise CommandError("most= takes a count of at least 1")
    timeline, address = session.machine.timeline, place(session, arguments.function)
    selection = _Selection(session, arguments)
    with session.owner.interruptible():
        if single:
            first = timeline.first_call(address, selection)
            found = [] if first is None else [first]
        else:
            found = timeline.calls(address, selection)
    kind = _type(session.machine, address)
    rows = tuple(_row(session, call, kind) for call in (found if single else found[-arguments.most :]))
    reach = timeline.start, timeline.end
    return PastCalls(arguments.function, *reach, len(found), rows, selection.failed, selection.why)


def _type(machine: Machine, address: int) -> Function | None:
    """The type of the function at `address`, if each of its first arguments is in one register."""
    found = machine.symbols.at(address)
    if found is None or found[1]:
        return None
    try:
        kind = typed_memory(machine).function(found[0].name, address)
        fits = all(each.type.size <= _WORD for each in kind.parameters[:_IN_REGISTERS])
    except MachineError:
        return None
    return kind if fits else None


def _row(session: Session, call: PastCall, kind: Function | None) -> PastCallRow:
    named: list[tuple[str, Integer | None]]
    if kind is None:
        named, result = [(f"x{index}", None) for index in range(_UNTYPED)], None
    else:
        parameters = kind.parameters[:_IN_REGISTERS]
        named = [(each.name or f"x{index}", _integer(each.type)) for index, each in enumerate(parameters)]
        result = _integer(kind.target)
    arguments = tuple(
        PastArgument(name, value, _text(session, value, each))
        for (name, each), value in zip(named, call.arguments, strict=False)
    )
    comm, pid = call.task or (None, None)
    return PastCallRow(
        call.position,
        call.seconds,
        comm,
        pid,
        arguments,
        location(session, call.caller, 4),
        call.result,
        "" if call.result is None else _text(session, call.result, result),
        call.returned,
    )


def _integer(kind: Type) -> Integer | None:
    resolved = kind.resolve()
    return resolved if isinstance(resolved, Integer) else None


def _text(session: Session, value: int, kind: Integer | None) -> str:
    """A register's value as a number of its type: decimal where that is an integer."""
    return f"{value:#x}" if kind is None else number(session, value, "d" if kind.signed else "u", kind.size)


_FUNCTION: Final = Arg("function", "SYMBOL or address of the function", complete=complete_symbol)

COMMANDS = (
    Command(
        "calls",
        "Show every call of a FUNCTION in the whole history, as if a probe had been there from the beginning.\n"
        "The guest executes its history again to find them, which takes as long as it took, and is as before then.\n"
        "With a condition after if, only those at whose entry it is true: calls vfs_read if count > 4096.",
        (
            _FUNCTION,
            Option("most", "number of calls to show, the last ones", type=integer, default=_SHOWN),
            *TASK_OPTIONS,
            CONDITION,
        ),
        _calls,
        group=_GROUP,
    ),
    Command(
        "first-call",
        "Show the first call of a FUNCTION in the history. See calls.",
        (_FUNCTION, *TASK_OPTIONS, CONDITION),
        _first_call,
        group=_GROUP,
    ),
)
