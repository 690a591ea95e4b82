# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that go back by source lines, over calls, to where the function was called, and to where something was true.

The guest goes back by single instructions. Over a call, and over the handling of an interrupt, it goes back at once, to
the instruction of the same function before that, which the stack pointer tells from those of other calls.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from armprobe.expressions import AgentError, Condition, ExpressionError
from armprobe.expressions.native import NeedsPython, compile_expression
from armprobe.machine import Machine, MachineError, Stop, StopReason

from .declaration import Arg, Arguments, Clause, Command, Option, integer
from .errors import CommandError
from .lines import line_at, piece_at, step_by_lines
from .program import SessionScope, refused
from .stepping import Arrived, caller, is_call, stepped
from .stops import stopped
from .values import Stepped, Stopped

if TYPE_CHECKING:
    from armprobe.machine import Symbol
    from armprobe.session import Session

GROUP = "Going back"
_ERETS: Final = 0xD69F_03E0, 0xD69F_0BFF, 0xD69F_0FFF  # ERET, ERETAA, ERETAB (Arm ARM, C6.2)
_RETS: Final = 0xD65F_0BFF, 0xD65F_0FFF  # RETAA, RETAB
_MOST_STEPS: Final = 100_000
_PATIENCE: Final = 2.0  # seconds after which people want to know how far it is


def _back_to(session: Session, places: Mapping[int, Arrived]) -> Stop:
    """Go back to the last time that the guest was at one of these addresses and its function said yes, as UNTIL.

    A breakpoint, a watchpoint or a probe on the way stops it there.
    """
    machine = session.machine
    with contextlib.ExitStack() as stack:
        for address, arrived in places.items():
            machine.conditional_breakpoints.add(address, arrived)
            stack.callback(machine.conditional_breakpoints.remove, address, arrived)
        stop = machine.timeline.reverse_continue()
        machine.core.load()
        if stop.reason is StopReason.BREAKPOINT and stop.address in places and places[stop.address](machine.core):
            settled = session.breakpoints.settled(stop)
            return settled if settled is not stop else Stop(StopReason.UNTIL, stop.address)
    return stop


def _word(session: Session, address: int) -> int:
    """The instruction at an address; 0 if it cannot be read."""
    data = session.machine.memory.read_available(address, 4)
    return int.from_bytes(session.kprobes.unpatched(address, data), "little") if len(data) == 4 else 0


def _is_return(word: int) -> bool:
    return word & 0xFFFF_FC1F == 0xD65F_0000 or word in _RETS


def _back(session: Session, enter: bool) -> Stop:
    """Go back by one instruction; over a call with all that it did, unless `enter`, and over interrupts."""
    machine, timeline = session.machine, session.machine.timeline
    pc, sp = machine.registers.pc, machine.registers.sp
    if timeline.position == timeline.start:
        return Stop(StopReason.HISTORY_START, pc)
    found = machine.symbols.at(pc)
    before = _word(session, pc - 4)
    timeline.reverse_step()
    now = machine.registers.pc
    word = _word(session, now)
    same: Arrived = lambda core: core.context.sp == sp  # noqa: E731
    if word in _ERETS and found is not None:
        symbol: Symbol = found[0]
        stop = _back_to(session, dict.fromkeys(range(symbol.address, symbol.address + symbol.size, 4), same))
    elif _is_return(word) and is_call(before) and not (enter and line_at(session, now) is not None):
        stop = _back_to(session, {pc - 4: same})
    else:
        return Stop(StopReason.INSTRUCTIONS, now)
    return Stop(StopReason.INSTRUCTIONS, stop.address) if stop.reason is StopReason.UNTIL else stop


class _LineBack:
    """Goes back to the beginning of a piece of a line, as gdb does (GDB 13, infrun.c, process_event_stop_test).

    It is the beginning of this piece, unless that is the function's, or else of one that was executed before it: that
    of another line where a statement begins, or any whose beginning is not the first that is met of it.
    """

    def __init__(self, enter: bool) -> None:
        self._enter = enter

    def __call__(self, session: Session) -> Stop:
        machine = session.machine
        piece = piece_at(session, machine.registers.pc)
        line = None if piece is None else piece[2:4]
        called = False  # whether this is a function that the line has called
        for _ in range(_MOST_STEPS):
            pc = machine.registers.pc
            stop = _back(session, self._enter)
            now = piece_at(session, stop.address)
            if stop.reason is not StopReason.INSTRUCTIONS or piece is None or now is None:
                return stop
            word = _word(session, stop.address)
            same = not _is_return(word) and _function(machine, pc) == _function(machine, stop.address)
            if (called and same) or (not called and _is_return(word)):
                if stop.address == now.start:
                    return stop
                called = True
                continue
            called = False
            if same and piece.start <= stop.address < piece.end:
                if stop.address == piece.start and not _is_entry(machine, stop.address):
                    return stop
                continue
            other = stop.address == now.start and now[2:4] != line
            if other and now.is_statement:
                return stop
            piece = now
            if not other:
                line = now[2:4]
            elif not same:
                line = None
        return Stop(StopReason.INSTRUCTIONS, stop.address, f"the line has not begun {_MOST_STEPS:,} steps before")


def _function(machine: Machine, address: int) -> Symbol | None:
    found = machine.symbols.at(address)
    return None if found is None else found[0]


def _is_entry(machine: Machine, address: int) -> bool:
    found = machine.symbols.at(address)
    return found is not None and found[1] == 0


def _reverse_next_instruction(session: Session, arguments: Arguments) -> Stepped:
    if arguments.count < 1:
        raise CommandError("reverse-nexti takes a count of at least 1")

    def back() -> Stop:
        for _ in range(arguments.count):
            stop = _back(session, enter=False)
            if stop.reason is not StopReason.INSTRUCTIONS:
                break
        return stop

    return stepped(session, session.go(back, waits=False))


def _reverse_finish(session: Session, arguments: Arguments) -> Stepped:
    machine = session.machine
    outer, mine = caller(session)
    found = machine.symbols.at(machine.registers.pc)
    if found is None:
        raise CommandError("the function that the guest is in is not known, so neither is where it was called")
    entry, offset = found[0].address, found[1]
    called: Arrived = lambda core: core.context.x[30] == outer and mine(core)  # noqa: E731

    def back() -> Stop:
        if offset:
            stop = _back_to(session, {entry: called})
            if stop.reason is not StopReason.UNTIL:
                return stop
        machine.timeline.reverse_step()
        return Stop(StopReason.INSTRUCTIONS, machine.registers.pc)

    return stepped(session, session.go(back, waits=False))


def _reverse_continue(session: Session, arguments: Arguments) -> Stopped:
    timeline, begun = session.machine.timeline, time.monotonic()
    if arguments.condition is None:
        if arguments.within is not None:
            raise CommandError("within= is how far to look back for a condition: give one, with until")
        return stopped(session, session.go(timeline.reverse_continue, waits=False))
    try:
        condition = Condition.compile(arguments.condition, SessionScope(session, None))
    except ExpressionError as error:
        raise refused(error) from error
    try:
        program = compile_expression(condition.expression, condition.registers)
    except NeedsPython:
        program = None

    def holds(machine: Machine) -> bool:
        machine.core.load()
        try:
            return condition.holds(session.guest_view)
        except (AgentError, MachineError):
            return False  # it has no value here

    def looked(position: int) -> None:
        nonlocal begun
        if time.monotonic() - begun > _PATIENCE:
            begun = time.monotonic()
            session.remark(f"it was not true from position {position:,} on; looking further back\n")

    def back() -> Stop:
        here = timeline.position
        found = timeline.last_true(holds, program, arguments.within, looked)
        if found is None and arguments.within is not None and here - timeline.start > arguments.within:
            raise CommandError(f"it was not true in the last {arguments.within:,} instructions")
        timeline.go(timeline.start if found is None else found)
        pc = session.machine.registers.pc
        if found is None:
            return Stop(StopReason.HISTORY_START, pc)
        return Stop(StopReason.UNTIL, pc, f"{arguments.condition} was true here")

    return stopped(session, session.go(back, waits=False))


_COUNT: Final = Arg("count", "number of lines", type=integer, optional=True, default=1)

COMMANDS = (
    Command(
        "reverse-step",
        "Go back to the beginning of a source line, into calls; by instruction where no line is known.\n"
        "It is the beginning of this line, or from there of the line that was executed before it.",
        (_COUNT,),
        step_by_lines(_LineBack(enter=True), waits=False),
        aliases=("rs",),
        group=GROUP,
        gdb=False,
        repeat=True,
    ),
    Command(
        "reverse-next",
        "Go back to the beginning of a source line, over calls; by instruction where no line is known.",
        (_COUNT,),
        step_by_lines(_LineBack(enter=False), waits=False),
        aliases=("rn",),
        group=GROUP,
        gdb=False,
        repeat=True,
    ),
    Command(
        "reverse-nexti",
        "Go back by one instruction, or COUNT, over calls with all that they did, and over interrupts.",
        (Arg("count", "number of instructions", type=integer, optional=True, default=1),),
        _reverse_next_instruction,
        aliases=("rni",),
        group=GROUP,
        gdb=False,
        repeat=True,
    ),
    Command(
        "reverse-finish",
        "Go back to the instruction that has called the function that the guest is in.",
        (),
        _reverse_finish,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "reverse-continue",
        "Go back to the last breakpoint, change of a watched value or stop of a probe, or to the history's start.\n"
        "With until, go back to the last instruction before which a condition was true: reverse-continue until\n"
        "$x0 > 4096. It is looked for at each instruction, back to the history's start, or within= so many. Ctrl-C\n"
        "ends that, and the guest is where it was.",
        (
            Option("within", "look back so many instructions at most for the condition", type=integer),
            Clause("until", "condition", "go to where this C expression was true last", last=True),
        ),
        _reverse_continue,
        aliases=("rc",),
        group=GROUP,
        gdb=False,
    ),
)
