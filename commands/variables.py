# SPDX-License-Identifier: GPL-2.0-or-later
"""The command that shows the arguments of the function that the guest is stopped in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.expressions import AgentError, ExpressionError
from armprobe.expressions.check import is_reserved
from armprobe.kernel import typed_memory
from armprobe.kernel.value_text import brief
from armprobe.machine import MachineError

from .declaration import Arguments, Command
from .errors import CommandError
from .print import found_here, scope_here
from .values import NamedValue, NamedValues

if TYPE_CHECKING:
    from armprobe.session import Session


def _arguments(session: Session, arguments: Arguments) -> NamedValues:
    called = scope_here(session).called
    if called is None:
        raise CommandError(f"no function is known at {session.machine.registers.pc:#x}")
    if called.prototype is None:
        raise CommandError(f"the arguments of {called.name} are not known: {called.unknown}")
    if called.elsewhere:
        where = f"known at its first instruction, and {called.elsewhere}"
        raise CommandError(f"the arguments of {called.name} are {where}; gdb follows them with DWARF: armprobe gdb")
    return NamedValues(
        NamedValue(each.name, str(each.type), _text(session, each.name))
        for each in called.prototype.parameters
        if each.name
    )


def _text(session: Session, name: str) -> str:
    """The value of an argument, or the reason why it is not known."""
    if is_reserved(name):
        return f"<{name} is the register of that name here>"
    memory = typed_memory(session.machine)
    try:
        found = found_here(session, name)
        if found.address is not None:
            return brief(memory.read(found.address, found.type))
        return brief(memory.cast(found.number, found.type))
    except (ExpressionError, AgentError, MachineError) as error:
        return f"<{error}>"


COMMANDS = (
    Command(
        "info args",
        "Show the arguments of the function at whose first instruction the guest is stopped.",
        (),
        _arguments,
        group="Inspection",
        gdb=False,
    ),
)
