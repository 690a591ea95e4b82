# SPDX-License-Identifier: GPL-2.0-or-later
"""What is around the instruction at which the guest is stopped."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .guest import Disassembly, StackFrame
from .location import Hex


@lazy_dataclass
class ContextRegister:
    """A register. changed: whether it has another value than at the last stop that was shown."""

    name: str
    value: Hex
    changed: bool


@lazy_dataclass
class Context:
    """Registers, code and callers where the guest is stopped; empty where a part is turned off or not known.

    parts: those that are shown after a stop at the prompt; none if that is turned off.
    """

    registers: tuple[ContextRegister, ...]
    code: Disassembly
    stack: tuple[StackFrame, ...]
    parts: tuple[str, ...]
