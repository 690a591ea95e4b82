# SPDX-License-Identifier: GPL-2.0-or-later
"""The command that changes a register or memory where the guest is stopped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from armprobe.expressions import AgentError, ExpressionError
from armprobe.kernel import types

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .locations import complete_symbol
from .print import found_here, memory_here
from .program import refused
from .stops import require_stopped
from .values import Assigned

if TYPE_CHECKING:
    from armprobe.session import Session

_ASSIGNS: Final = re.compile(
    r"(?:var(?:iable)?\s+)?(?P<left>.*?[^=!<>\s])\s*(?<![=!<>+\-*/&|^%])=(?!=)\s*(?P<right>.+)"
)
_FORM: Final = "write set $x0 = 5, or set *(u32 *)ADDRESS = 1"


def _set(session: Session, arguments: Arguments) -> Assigned:
    match = _ASSIGNS.fullmatch(arguments.text)
    if match is None:
        raise CommandError(f"{arguments.text!r} assigns nothing: {_FORM}")
    require_stopped(session)
    left, unwind = match["left"], session.kprobes.unwind
    try:
        value = found_here(session, match["right"])
        if value.address is not None:
            raise CommandError(f"{match['right']} is no number, but a {value.type}: assign its members one by one")
        if register := re.fullmatch(r"\$(\w+)", left):
            name = register[1].lower()
            if name == "x30":  # as it is without kretprobes, which gdb sees too
                unwind.x30 = value.number
                return Assigned(left, unwind.x30)
            session.machine.registers[name] = value.number
            return Assigned(left, session.machine.registers[name])
        address, kind = memory_here(session, left)
    except ExpressionError as error:
        raise refused(error) from error
    except AgentError as error:
        raise CommandError(str(error)) from error
    if not isinstance(kind, types.Integer | types.Enum | types.Pointer):
        raise CommandError(f"{left} is no register and no number in memory: {_FORM}")
    number = value.number & (1 << 8 * kind.size) - 1
    unwind.write(address, number.to_bytes(kind.size, "little"))
    return Assigned(left, number)


COMMANDS = (
    Command(
        "set",
        "Give a register or what is in memory a value: set $x0 = 5, set *(u32 *)ADDRESS = 1, set var->member = 2.\n"
        "Both sides are in C, as in print. A value is cut to the size of what it is given to.",
        (Arg("text", "LEFT = VALUE", rest=True, complete=complete_symbol),),
        _set,
        group="Inspection",
        gdb=False,
        changes_state=True,
    ),
)
