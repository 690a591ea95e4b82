# SPDX-License-Identifier: GPL-2.0-or-later
"""Constant folding: -100, ~0xfff or a symbol plus an offset is computed once, when an expression is compiled."""

from __future__ import annotations

from collections.abc import Sequence

from .emit import emit
from .environment import Environment
from .errors import AgentError
from .evaluate import AgentExpression
from .typed import Binary, Constant, Convert, Logical, Unary, Value


def fold(value: Value) -> Value:
    """The result of an operation on constants; any other `value` as it is, and a division by zero too."""
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
    """Whether `value` is a constant or a converted constant."""
    return isinstance(value.operand if isinstance(value, Convert) else value, Constant)
