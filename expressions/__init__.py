# SPDX-License-Identifier: GPL-2.0-or-later
"""The language of conditions and notes, and the bytecode of GDB's agent that it is compiled to.

`parse` makes the tree of a text, `check` gives it names and types, `emit` makes the bytecode, `evaluate` executes
it, and `program` puts these together for probes. The bytecode is also what gdb sends for its own expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .environment import Environment, View
    from .errors import AgentError, ExpressionError
    from .evaluate import AgentExpression
    from .program import Condition, Memory, Note, Program, Value, text_at
    from .scope import Called, Scope
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".environment": ("Environment", "View"),
            ".errors": ("AgentError", "ExpressionError"),
            ".evaluate": ("AgentExpression",),
            ".program": ("Condition", "Memory", "Note", "Program", "Value", "text_at"),
            ".scope": ("Called", "Scope"),
        },
    )

__all__ = [
    "AgentError",
    "AgentExpression",
    "Called",
    "Condition",
    "Environment",
    "ExpressionError",
    "Memory",
    "Note",
    "Program",
    "Scope",
    "Value",
    "View",
    "text_at",
]
