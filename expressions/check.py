# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker: makes the typed tree of an expression by what names mean and by C's conversions (ISO C, 6.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from armprobe.machine import MachineError

from . import tree
from .errors import ExpressionError, wrong
from .fold import fold
from .tree import Node
from .typed import Binary, Constant, Convert, Load, Logical, Register, Unary, Value
from .types import S32, S64, U32, U64, Integer, Pointer, Type, Void, common, named, promoted

_COMM_SIZE: Final = 16  # TASK_COMM_LEN, include/linux/sched.h
_COMPARISONS: Final = frozenset(("==", "!=", "<", ">", "<=", ">="))


class Scope(Protocol):
    """What names mean at a place in the guest."""

    @property
    def registers(self) -> Sequence[str]:
        """The name of each register, at GDB's number for it."""

    @property
    def returned(self) -> bool:
        """Whether a function has just returned, so that `retval` is known."""

    @property
    def task(self) -> tuple[int, int] | None:
        """The offsets of a task's name and number in the structure that SP_EL0 points to; None if they are unknown."""

    def register(self, name: str) -> int | None:
        """GDB's number of a register of 64 bits or less; None for an unknown name."""

    def symbol(self, name: str) -> int:
        """The address of a symbol. Raises MachineError for an unknown name."""


def check(node: Node, text: str, scope: Scope) -> Value:
    """The typed tree of `node`, which is part of `text`. Raises ExpressionError."""
    return _Checker(text, scope).value(node)


class _Checker:
    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self._scope = scope

    def _wrong(self, node: Node, what: str) -> ExpressionError:
        return wrong(self._text, node.at, what)

    def value(self, node: Node) -> Value:
        """The typed tree of `node`. A loop follows left operands, which can nest as deep as the text is long."""
        above: list[tree.Binary | tree.Subscript] = []
        while isinstance(node, tree.Binary | tree.Subscript):
            above.append(node)
            node = node.left
        value = fold(self._operand(node))
        for each in reversed(above):
            if isinstance(each, tree.Binary) and isinstance(each.right, tree.String):
                value = self._is_task(each, each.right)
            elif isinstance(each, tree.Binary):
                value = fold(self._binary(each, value, self.value(each.right)))
            else:
                value = self._load(each, self._sum(each, "+", value, self.value(each.index)))
        return value

    def _operand(self, node: Node) -> Value:
        match node:
            case tree.Number():
                return _number(node)
            case tree.Name():
                return self._name(node)
            case tree.AddressOf():
                return self._symbol(node, node.name)
            case tree.String():
                raise self._wrong(node, 'only the name of a task can be compared with a text: $comm == "dd"')
            case tree.Cast():
                return self._cast(node)
            case tree.Unary():
                return self._unary(node, self.value(node.operand))
        raise AssertionError(node)

    # Names

    def _name(self, node: tree.Name) -> Value:
        bare = node.name.removeprefix("$")
        if bare == "retval":
            if not self._scope.returned:
                raise self._wrong(node, "retval is known only where a function returns: put a kretprobe on it")
            return Register(S64, 0)
        if node.name == "$comm":
            return self._of_task(node, 0, 0, Integer(8, False))
        if node.name == "$pid":
            return Load(S32, self._of_task(node, 1, 0, S32))
        if re.fullmatch(r"[xw](\d|[12]\d|30)", bare):
            register = Register(S64, int(bare[1:]))
            return register if bare[0] == "x" else Convert(S32, register)
        if bare == "pstate":
            return self._register(node, "cpsr")
        if node.name.startswith("$") or bare in ("sp", "pc", "cpsr"):
            return self._register(node, bare)
        return self._symbol(node, node.name)

    def _register(self, node: Node, name: str) -> Value:
        number = self._scope.register(name)
        if number is None:
            raise ExpressionError(f"there is no register '{name}' of 64 bits or less", self._text, node.at)
        return Register(U64, number)

    def _of_task(self, node: Node, field: int, offset: int, kind: Type) -> Value:
        """The address of a field of the current task, as a pointer to `kind`."""
        if self._scope.task is None:
            raise self._wrong(node, "the tasks of this guest are not known")
        start = Constant(S64, self._scope.task[field] + offset)
        return Binary(Pointer.to(kind), "+", self._register(node, "sp_el0"), start)

    def _is_task(self, node: tree.Binary, name: tree.String) -> Value:
        """Whether the current task has, or has not, the name. It is compared in words, up to and with its NUL."""
        if not (isinstance(node.left, tree.Name) and node.left.name == "$comm" and node.operator in ("==", "!=")):
            return self.value(name)
        text = name.text.encode("utf-8", "surrogateescape") + b"\0"
        if len(text) > _COMM_SIZE or b"\0" in text[:-1]:
            raise self._wrong(name, f"a task's name has up to {_COMM_SIZE - 1} bytes")
        same: Value | None = None
        for at in range(0, len(text), 8):
            word = text[at : at + 8]
            mask, number = Constant(U64, (1 << 8 * len(word)) - 1), Constant(U64, int.from_bytes(word, "little"))
            found = Load(U64, self._of_task(node, 0, at, U64))
            equal = Binary(S32, "==", Binary(U64, "&", found, mask), number)
            same = equal if same is None else Logical(S32, "&&", same, equal)
        assert same is not None
        return same if node.operator == "==" else Unary(S32, "!", same)

    def _symbol(self, node: Node, name: str) -> Value:
        try:
            return Constant(U64, self._scope.symbol(name))
        except MachineError as error:
            raise ExpressionError(str(error), self._text, node.at) from None

    # Operators

    def _cast(self, node: tree.Cast) -> Value:
        kind = named(node.words, node.stars)
        if kind is None:
            name = " ".join(node.words)
            raise self._wrong(node, f"'{name}' is not a known type: write u8 to u64 or s8 to s64")
        if isinstance(kind, Void):
            raise self._wrong(node, "nothing can be converted to void")
        return Convert(kind, self.value(node.operand))

    def _unary(self, node: tree.Unary, operand: Value) -> Value:
        if node.operator == "*":
            return self._load(node, operand)
        if node.operator == "!":
            return Unary(S32, "!", operand)
        if isinstance(operand.type, Pointer):
            raise self._wrong(node, f"'{node.operator}' is not for pointers: convert it to u64 first")
        operand = Convert(promoted(operand.type), operand)
        return operand if node.operator == "+" else Unary(operand.type, node.operator, operand)

    def _load(self, node: Node, address: Value) -> Value:
        if not isinstance(address.type, Pointer) or isinstance(address.type.target, Void):
            raise self._wrong(node, "the type of the memory is not known: write *(u64 *)x1, or another type")
        return Load(address.type.target, address)

    def _binary(self, node: tree.Binary, left: Value, right: Value) -> Value:
        operator = node.operator
        if operator in ("&&", "||"):
            return Logical(S32, operator, left, right)
        if isinstance(left.type, Pointer) or isinstance(right.type, Pointer):
            if operator in ("+", "-"):
                return self._sum(node, operator, left, right)
            if operator not in _COMPARISONS:
                raise self._wrong(node, f"'{operator}' is not for pointers: convert them to u64 first")
        if operator in ("<<", ">>"):
            kind = promoted(left.type)
            return Binary(kind, operator, Convert(kind, left), Convert(promoted(right.type), right))
        kind = common(left.type, right.type)
        result = S32 if operator in _COMPARISONS else kind
        return Binary(result, operator, Convert(kind, left), Convert(kind, right))

    def _sum(self, node: Node, operator: str, left: Value, right: Value) -> Value:
        """The sum or difference of a pointer and an integer, or the difference of two pointers."""
        if operator == "+" and not isinstance(left.type, Pointer):
            left, right = right, left
        if not isinstance(left.type, Pointer):
            raise self._wrong(node, "only a pointer can be subscripted or have a pointer subtracted from it")
        size = Constant(S64, left.type.target.size)
        if not isinstance(right.type, Pointer):
            return Binary(left.type, operator, left, fold(Binary(S64, "*", Convert(S64, right), size)))
        if operator == "+" or right.type != left.type:
            raise self._wrong(node, "these pointers cannot be added or subtracted")
        return Binary(S64, "/", Binary(S64, "-", left, right), size)


def _number(node: tree.Number) -> Value:
    """A constant of the first type that can represent it (ISO C, 6.4.4.1): unsigned long above LONG_MAX."""
    unsigned = "u" in node.suffix
    for kind in (S32, U32, S64, U64):
        if (
            node.value < 1 << kind.bits - kind.signed
            and (kind.bits == 64 or "l" not in node.suffix)
            and not (unsigned and kind.signed)
            and (kind.signed or unsigned or kind is U64 or not node.decimal)
        ):
            return Constant(kind, node.value)
    raise AssertionError(node)  # the parser refuses numbers of more than 64 bits
