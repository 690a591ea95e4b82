# SPDX-License-Identifier: GPL-2.0-or-later
"""The typed tree of an expression, the input of every back end.

A value has 64 bits, sign- or zero-extended from its type. Arithmetic wraps around, as in the kernel, which is compiled
with -fno-strict-overflow.
"""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .types import Type


@lazy_dataclass
class Value:
    """Base of all nodes."""

    type: Type


@lazy_dataclass
class Constant(Value):
    """`number` is 0 to 2**64 - 1."""

    number: int


@lazy_dataclass
class Register(Value):
    """The 64 bits of the register with GDB's `number`."""

    number: int


@lazy_dataclass
class Load(Value):
    """The value in memory at `address`. That of a struct or array is no number: only its address is used."""

    address: Value


@lazy_dataclass
class InRegisters(Value):
    """A struct from bit `bit` of general register `first` on, which goes on in the following ones. It is no number."""

    first: int
    bit: int


@lazy_dataclass
class Convert(Value):
    """`operand` converted to another type."""

    operand: Value


@lazy_dataclass
class Unary(Value):
    """`operator` is one of - ~ and !; - and ~ have the type of their operand."""

    operator: str
    operand: Value


@lazy_dataclass
class Binary(Value):
    """An operator of C that evaluates both of its operands.

    The operands of a comparison have the same type. Those of other operators have the type of the result, except for
    the amount of a shift and an integer that is added to or subtracted from a pointer.
    """

    operator: str
    left: Value
    right: Value


@lazy_dataclass
class Logical(Value):
    """`&&` or `||`, which evaluates `right` only if `left` does not decide."""

    operator: str
    left: Value
    right: Value
