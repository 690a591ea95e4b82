# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the `Program` of a probe from the arguments of the command that sets it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from armprobe.expressions import AgentError, Condition, ExpressionError, Note, Program, Scope
from armprobe.expressions.bytecode import assemble, assemble_words
from armprobe.expressions.environment import ELAPSED, POSITION
from armprobe.expressions.format import Format
from armprobe.machine import MachineError
from armprobe.probes import Probe, Stage
from armprobe.probes.scope import GuestScope
from armprobe.probes.tracepoint import PREFIX
from armprobe.stub.aarch64 import register_table

from .declaration import Arguments
from .errors import CommandError, Excerpt
from .locations import check_event, find_symbol, place
from .task_options import compiled, given, shown

if TYPE_CHECKING:
    from armprobe.session import Session


class SessionScope(GuestScope):
    """The names at `stage` of a hit, or without it where the guest is stopped.

    `where` is the place of the probe, an address or as a user writes it. Registers have gdb's numbers: gdb may have
    compiled the expression.
    """

    def __init__(self, session: Session, stage: Stage | None, where: int | str | None = None) -> None:
        address, name = None, ""
        if isinstance(where, int):
            address = where
        elif where is not None:
            # The probe's registration says what is wrong with the place.
            with contextlib.suppress(CommandError, MachineError), session.remarks_to(lambda _: None):
                address = place(session, where)
                name = where.rpartition(":")[2] if where in session.machine.symbols else ""
            if where.startswith(PREFIX):
                check_event(session, where)  # a field of it would be blamed
                name = where
        super().__init__(session.machine, stage, address, name)
        self._session = session
        table = register_table(session.debug_target.system_registers)
        self._numbers = {each.name: number for number, each in enumerate(table.registers) if each.bits <= 64}
        self._numbers[ELAPSED] = len(table.sources)
        self._numbers[POSITION] = len(table.sources) + 1
        self.registers = (*table.sources, ELAPSED, POSITION)

    def register(self, name: str) -> int | None:
        """GDB's number of a register of 64 bits or less; None for an unknown name."""
        return self._numbers.get(name)

    def symbol(self, name: str) -> int:
        """The address of a symbol. If several have the name it is the first, and the user is told so."""
        return find_symbol(self._session, name).address


_NEVER: Final = assemble((("const8", 0), ("end", 0)))


class Programs:
    """The programs for one command's probes: one for all places, unless it depends on the function there."""

    def __init__(self, session: Session, arguments: Arguments, condition_at: Stage, note_at: Stage) -> None:
        self._session, self._arguments, self._stages = session, arguments, (condition_at, note_at)
        self._same: Program | None = None
        self.depends = False
        """Whether the last one depends on the function, or the error does that was raised instead."""

    def at(self, where: int | str) -> Program:
        """The program of a probe at `where`, an address or as a user writes it. Raises CommandError."""
        if self._same is not None:
            return self._same
        condition, note = (SessionScope(self._session, stage, where) for stage in self._stages)
        try:
            asked = _program(self._session, self._arguments, condition, note)
        finally:
            self.depends = condition.depends or note.depends
        if not self.depends:
            self._same = asked
        return asked

    def at_or_later(self, where: int | str) -> Program:
        """The same; in a function of a module that is not loaded, whose names are not known yet, one that never holds.

        `renew` gives the probe the right one when the module is there.
        """
        try:
            return self.at(where)
        except CommandError as error:
            module, colon, _ = where.partition(":") if isinstance(where, str) else ("", "", "")
            if not self.depends or not colon or module in self._session.machine.symbols.modules:
                raise
            self._session.remark(f"note: what is unknown is looked up when the module {module} is loaded: {error}\n")
            condition, note = shown(self._arguments), self._arguments.note
            return Program(
                Condition(condition, _NEVER, ()) if condition else None,
                None if note is None else Note(note, Format(b"\0"), (), ()),
            )

    def renew(self, probe: Probe) -> None:
        """Compile the program of `probe` again, as its module may be another one by now. Raises CommandError."""
        if probe.condition is not None or probe.note is not None:
            asked = self.at(probe.name)
            probe.condition, probe.note = asked.condition, asked.note


def _program(session: Session, arguments: Arguments, condition_scope: Scope, note_scope: Scope) -> Program:
    """The program for the arguments `condition`, `code`, `note` and those of tasks. Raises CommandError."""
    if arguments.code and arguments.condition is None:
        raise CommandError("code= has no condition: write what it was compiled from after if")
    try:
        condition: Condition | None
        if arguments.code and not given(arguments):
            code = assemble_words(arguments.code)
            condition = Condition(arguments.condition, code, condition_scope.registers)
        else:
            condition = compiled(session, arguments, condition_scope)
        note = None if arguments.note is None else Note.compile(arguments.note, note_scope)
    except ExpressionError as error:
        raise refused(error) from error
    except AgentError as error:
        raise CommandError(str(error)) from error
    return Program(condition, note)


def refused(error: ExpressionError) -> CommandError:
    """The error of a command with a wrong expression."""
    return CommandError(str(error), excerpt=Excerpt(error.text, error.column))
