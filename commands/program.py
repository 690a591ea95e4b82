# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the `Program` of a probe from the arguments of the command that sets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.expressions import AgentError, Condition, ExpressionError, Note, Program
from armprobe.expressions.bytecode import assemble_words
from armprobe.probes import Stage
from armprobe.probes.scope import GuestScope
from armprobe.stub.aarch64 import register_table

from .declaration import Arguments
from .errors import CommandError, Excerpt
from .locations import find_symbol

if TYPE_CHECKING:
    from armprobe.session import Session


class SessionScope(GuestScope):
    """The names at `stage` of a hit. Registers have gdb's numbers: gdb may have compiled the expression."""

    def __init__(self, session: Session, stage: Stage) -> None:
        super().__init__(session.machine, stage)
        self._session = session
        table = register_table(session.debug_target.system_registers)
        self._numbers = {each.name: number for number, each in enumerate(table.registers) if each.bits <= 64}
        self.registers = table.sources

    def register(self, name: str) -> int | None:
        """GDB's number of a register of 64 bits or less; None for an unknown name."""
        return self._numbers.get(name)

    def symbol(self, name: str) -> int:
        """The address of a symbol. If several have the name it is the first, and the user is told so."""
        return find_symbol(self._session, name).address


def program(session: Session, arguments: Arguments, condition_at: Stage, note_at: Stage) -> Program:
    """The program for the arguments `condition`, `code` and `note` of a command. Raises CommandError."""
    if arguments.code and arguments.condition is None:
        raise CommandError("code= has no condition: write what it was compiled from after if")
    try:
        condition = None
        if arguments.condition is not None:
            scope = SessionScope(session, condition_at)
            if arguments.code:
                code = assemble_words(arguments.code)
                condition = Condition(arguments.condition, code, scope.registers)
            else:
                condition = Condition.compile(arguments.condition, scope)
        note = None if arguments.note is None else Note.compile(arguments.note, SessionScope(session, note_at))
    except ExpressionError as error:
        raise refused(error) from error
    except AgentError as error:
        raise CommandError(str(error)) from error
    return Program(condition, note)


def refused(error: ExpressionError) -> CommandError:
    """The error of a command with a wrong expression."""
    return CommandError(str(error), excerpt=Excerpt(error.text, error.column))
