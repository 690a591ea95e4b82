# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of probes: a condition that selects hits and a note that describes them, as data for any back end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from armprobe.kernel import types as declared
from armprobe.machine import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

from . import typed as tree
from .environment import Environment, View
from .errors import AgentError, ExpressionError, printable
from .evaluate import AgentExpression
from .scope import Scope
from .strings import string_pieces
from .tree import Name
from .typed import Convert, Load, Logical
from .types import CHARACTER, S32, U64, Array, Integer, Pointer, Type

if TYPE_CHECKING:
    from .format import Format

_POINTED: Final = re.compile(r"\s*str\s*\((.*)\)\s*")


def value(text: str, scope: Scope) -> tree.Value:
    """The typed tree of an expression. Raises ExpressionError."""
    from .check import check, is_type
    from .parse import parse_expression

    return check(parse_expression(text, partial(is_type, scope)), text, scope)


def logical(operator: str, left: tree.Value, right: tree.Value) -> tree.Value:
    """The typed tree of `left && right` or `left || right`."""
    return Logical(S32, operator, left, right)


class Value:
    """Agent code that has a value at a hit.

    `text` is the expression as its user wrote it, `code` the agent expression, and `registers` the name of each
    register at its number in `code`. Raises AgentError if `code` is malformed.
    """

    def __init__(self, text: str, code: bytes, registers: Sequence[str]) -> None:
        self.text = text
        self.registers = registers
        self.expression = AgentExpression(code)
        self._environment = Environment(registers)

    @classmethod
    def compile(cls, text: str, scope: Scope) -> Self:
        """The value of an expression. Raises ExpressionError."""
        from .emit import emit

        return cls(text, emit(value(text, scope)), scope.registers)

    @property
    def code(self) -> bytes:
        """The agent expression."""
        return self.expression.code

    def value(self, view: View) -> int:
        """The value at `view`, as a u64. Raises AgentError where it cannot be evaluated."""
        return self.expression.evaluate(self._environment.look_at(view)) & 0xFFFF_FFFF_FFFF_FFFF

    def __str__(self) -> str:
        return self.text


class Found(NamedTuple):
    """A value of a `type`: what is in memory at `address`, or without one the `number`."""

    type: declared.Type
    address: int | None
    number: int


class Typed:
    """Agent code that finds a value of any type, of which `code` gives the number, or its address if it is `placed`."""

    def __init__(self, kind: declared.Type, code: bytes, placed: bool, registers: Sequence[str]) -> None:
        self._type, self._placed = kind, placed
        self._expression = AgentExpression(code)
        self._environment = Environment(registers)

    @classmethod
    def compile(cls, text: str, scope: Scope) -> Self:
        """The value of an expression. Raises ExpressionError."""
        from .check import check, check_any, is_type
        from .emit import emit
        from .parse import parse_expression

        node = parse_expression(text, partial(is_type, scope))
        value = check_any(node, text, scope)
        if isinstance(value, Load) and not isinstance(value.type, Integer | Pointer):
            return cls(value.type.declared, emit(value.address), True, scope.registers)
        return cls(value.type.declared, emit(check(node, text, scope)), False, scope.registers)

    @property
    def type(self) -> declared.Type:
        """The type of the value."""
        return self._type

    def value(self, view: View) -> Found:
        """The value at `view`. Raises AgentError where it cannot be found."""
        number = self._expression.evaluate(self._environment.look_at(view))
        return Found(self._type, number if self._placed else None, number)


class Condition(Value):
    """Agent code that selects hits: those for which its value is not zero."""

    @classmethod
    def of(cls, value: tree.Value, text: str, scope: Scope) -> Self:
        """The condition for the tree of an expression, which is shown as `text`."""
        from .emit import emit

        return cls(text, emit(value), scope.registers)

    def holds(self, view: View) -> bool:
        """Whether the condition is true at `view`. Raises AgentError where it cannot be evaluated."""
        return self.value(view) != 0


class Memory:
    """Memory of the guest at a hit: `size` bytes from `address`, or a string up to its NUL; `most` bytes at most."""

    def __init__(self, address: Value, size: Value | None, most: int) -> None:
        self.address, self.size, self.most = address, size, most

    def __str__(self) -> str:
        return self.address.text

    def read(self, view: View) -> bytes | None:
        """The bytes at `view`, of a string with its NUL; None if the address is 0 or they cannot be read."""
        environment = Environment(self.address.registers).look_at(view)
        try:
            address = self.address.value(view)
            if not address:
                return None
            if self.size is None:
                return b"".join(string_pieces(environment.read, address, self.most))
            size = self.size.value(view)
            return environment.read(address, min(size, self.most)) if 0 < size < 1 << 63 else b""
        except (AgentError, MachineError):
            return None


def text_at(text: str, scope: Scope, most: int) -> Memory | None:
    """The text that an expression stands for; None for a number. Of it, `most` bytes are read at most.

    A text is an array of characters, a field of an event that has characters, or `str(POINTER)`. Raises
    ExpressionError.
    """
    from .check import check, check_any, is_type
    from .emit import emit
    from .parse import parse_expression

    pointed = _POINTED.fullmatch(text)
    inner = text if pointed is None else pointed[1]
    node = parse_expression(inner, partial(is_type, scope))
    found = check_any(node, inner, scope)
    kind, address = found.type, found
    if isinstance(kind, Array) and isinstance(found, Load) and _is_character(kind.target):
        most, address = min(most, kind.size), found.address
    elif pointed is not None:
        address = check(node, inner, scope)
    elif not (isinstance(node, Name) and scope.is_text(node.name)):
        return None
    return Memory(Value(text, emit(Convert(U64, address)), scope.registers), None, most)


def points_to_text(text: str, scope: Scope) -> bool:
    """Whether an expression is a pointer to characters. Raises ExpressionError."""
    kind = value(text, scope).type
    return isinstance(kind, Pointer) and _is_character(kind.target) and "char" in str(kind.target.declared)


def _is_character(kind: Type) -> bool:
    return isinstance(kind, Integer) and kind.bits == CHARACTER


class Note:
    """A line that describes a hit: `form` with the values of agent code. `text` is the note as its user wrote it."""

    def __init__(self, text: str, form: Format, codes: Sequence[bytes], registers: Sequence[str]) -> None:
        self.text = text
        self.form = form
        self.registers = registers
        self.values = [AgentExpression(code) for code in codes]
        self._environment = Environment(registers)

    @staticmethod
    def compile(text: str, scope: Scope) -> Note:
        """The note for a format in quotes and values after commas. Raises ExpressionError."""
        from .check import check, is_type
        from .emit import emit
        from .format import Format, FormatError
        from .parse import parse_print

        written = parse_print(text, partial(is_type, scope))
        codes = [emit(check(value, text, scope)) for value in written.values]
        try:
            form = Format(written.form.encode("utf-8", "surrogateescape") + b"\0")
        except UnicodeEncodeError:
            raise ExpressionError(
                "the format has half of a surrogate pair, which is no character", text, written.at
            ) from None
        except FormatError as error:
            raise ExpressionError(str(error), text, written.at) from None
        if form.count != len(codes):
            counts = f'the format "{written.form}" takes {form.count}, and the values are {len(codes)}'
            raise ExpressionError(counts, text, written.at)
        return Note(text, form, codes, scope.registers)

    @property
    def codes(self) -> list[bytes]:
        """The agent expression of each value."""
        return [value.code for value in self.values]

    def line(self, view: View) -> str:
        """The text at `view`, without a newline. Where that cannot be evaluated, the reason in parentheses."""
        environment = self._environment.look_at(view)
        try:
            text = self.form.text([value.evaluate(environment) for value in self.values], environment.read)
        except (AgentError, MachineError) as error:
            return f"({error})"
        return printable(text.rstrip())

    def line_of(self, values: Sequence[int], strings: Iterable[bytes]) -> str:
        """Like `line`, of values and strings as `Format.text_of` takes them."""
        return printable(self.form.text_of(values, strings).rstrip())

    def __str__(self) -> str:
        return self.text


@lazy_dataclass
class Program:
    """The condition and the note of a probe: what its user wrote after `if` and after `print`."""

    condition: Condition | None = None
    note: Note | None = None
