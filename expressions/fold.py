# SPDX-License-Identifier: GPL-2.0-or-later
"""Computes what is constant in an expression once, when it is compiled: -100, ~0xfff, a symbol and an offset."""

from __future__ import annotations

from collections.abc import Sequence

from .emit import emit
from .environment import Environment
from .errors import AgentError
from .evaluate import AgentExpression
from .typed import Binary, Constant, Convert, Logical, Unary, Value


def fold(value: Value) -> Value:
    """The result of an operation on constants; otherwise `value`, as for a division by zero, which has no result."""
    operands = _operands(value)
    if not operands or not all(map(_is_constant, operands)):
        return value
    try:
        return Constant(value.type, AgentExpression(emit(value)).evaluate(Environment(())))
    except AgentError:
        return value


def _operands(value: Value) -> Sequence[Value]:
    match value:
        case Unary() | Convert():
            return (value.operand,)
        case Binary() | Logical():
            return value.left, value.right
    return ()


def _is_constant(value: Value) -> bool:
    """A constant or one in another type, as operators have their operands."""
    return isinstance(value.operand if isinstance(value, Convert) else value, Constant)
