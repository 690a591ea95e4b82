# SPDX-License-Identifier: GPL-2.0-or-later
"""The typed tree of an expression: what every back end is made from.

A value is kept in 64 bits, sign- or zero-extended from its type. Arithmetic wraps, as the kernel is compiled
(-fno-strict-overflow).
"""

from __future__ import annotations

from dataclasses import dataclass

from .types import Type


@dataclass(frozen=True, slots=True)
class Value:
    """Any part of an expression."""

    type: Type


@dataclass(frozen=True, slots=True)
class Constant(Value):
    """`number` is 0 to 2**64 - 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Register(Value):
    """All 64 bits of a register, by GDB's number for it."""

    number: int


@dataclass(frozen=True, slots=True)
class Load(Value):
    """What memory has at `address`."""

    address: Value


@dataclass(frozen=True, slots=True)
class Convert(Value):
    """`operand` in another type."""

    operand: Value


@dataclass(frozen=True, slots=True)
class Unary(Value):
    """`operator` is one of - ~ and !; - and ~ have the type of their operand."""

    operator: str
    operand: Value


@dataclass(frozen=True, slots=True)
class Binary(Value):
    """An operation of C on two operands that both are evaluated.

    Those of a comparison have one type, and those of other operations the type of the result, but for the amount of a
    shift and what is added to or subtracted from a pointer.
    """

    operator: str
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Logical(Value):
    """`&&` and `||`, which do not evaluate `right` where `left` decides."""

    operator: str
    left: Value
    right: Value
