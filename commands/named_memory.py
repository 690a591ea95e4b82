# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory that a word of a command names: a symbol or an address, or what is there in C, such as `list->next`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from armprobe.expressions import AgentError, ExpressionError
from armprobe.machine import MachineError

from .errors import CommandError
from .locations import place
from .print import memory_here
from .program import refused

if TYPE_CHECKING:
    from armprobe.session import Session

MOST: Final = 4096
"""Bytes that a command takes at most."""
_IN_C: Final = (".", "->", "[", "*", "(")


def named_memory(session: Session, word: str, size: int | None) -> tuple[int, int]:
    """The address, and the size in bytes if none is given: that of what is there, or 8 where it is not known or large.

    Raises CommandError, and MachineError for an unknown symbol or register.
    """
    try:
        address = place(session, word)
    except (CommandError, MachineError):
        if not any(part in word for part in _IN_C):
            raise
        address, whole = _of_expression(session, word)
    else:
        found = session.machine.symbols.at(address)
        whole = 0 if found is None or found[1] or found[0].kind == "function" else found[0].size
    if size is None:
        size = whole if 0 < whole <= MOST else 8
    return address, size


def _of_expression(session: Session, text: str) -> tuple[int, int]:
    try:
        address, kind = memory_here(session, text)
    except ExpressionError as error:
        raise refused(error) from error
    except AgentError as error:
        raise CommandError(str(error)) from error
    return address, 0 if kind is None else kind.size
