# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory that a word of a command names: a symbol or an address, or what is there in C, such as `list->next`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.expressions import AgentError, ExpressionError
from armprobe.kernel import types
from armprobe.machine import MachineError

from .errors import CommandError
from .locations import place
from .print import found_here
from .program import refused

if TYPE_CHECKING:
    from armprobe.session import Session

_IN_C = (".", "->", "[", "*", "(")


def named_memory(session: Session, word: str) -> tuple[int, int]:
    """The address, and the size in bytes: a symbol's or a member's, 0 where it is not known.

    Raises CommandError, and MachineError for an unknown symbol or register.
    """
    try:
        address = place(session, word)
    except (CommandError, MachineError):
        if not any(part in word for part in _IN_C):
            raise
        return _of_expression(session, word)
    found = session.machine.symbols.at(address)
    return address, 0 if found is None or found[1] or found[0].kind == "function" else found[0].size


def _of_expression(session: Session, text: str) -> tuple[int, int]:
    try:
        pointer = found_here(session, f"&({text})")
    except ExpressionError as error:
        raise refused(error) from error
    except AgentError as error:
        raise CommandError(str(error)) from error
    kind = pointer.type.resolve()
    assert isinstance(kind, types.Pointer)
    return pointer.number, kind.target.resolve().size
