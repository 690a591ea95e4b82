# SPDX-License-Identifier: GPL-2.0-or-later
"""What is around the instruction at which the guest is stopped."""

from __future__ import annotations

from dataclasses import dataclass

from .guest import Disassembly, StackFrame
from .location import Hex


@dataclass(frozen=True)
class ContextRegister:
    """A register. changed: whether it has another value than at the last stop that was shown."""

    name: str
    value: Hex
    changed: bool


@dataclass(frozen=True)
class Context:
    """Registers, code and callers where the guest is stopped; empty where a part is turned off or not known.

    parts: those that are shown after a stop at the prompt; none if that is turned off.
    """

    registers: tuple[ContextRegister, ...]
    code: Disassembly
    stack: tuple[StackFrame, ...]
    parts: tuple[str, ...]
