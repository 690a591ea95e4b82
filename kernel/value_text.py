# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of typed values, as drgn's `format_` writes them: its libdrgn/language_c.c."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

from .types import DEEPEST, Array, Enum, Float, Function, Integer, Pointer, Qualified, Struct, Void, too_deep

if TYPE_CHECKING:
    from .value import Value

_COLUMNS: Final = 80  # as of a terminal
_TAB: Final = 8  # columns of a tab
_WORD: Final = 8  # bytes of the largest integers that are shown in decimal
_MOST: Final = 100_000  # values in one text
_BYTES_A_VALUE: Final = 64  # bytes of zeros that cost as much as a value that is shown
_ESCAPES: Final = {
    **{0: "\\0", 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"},
    **{ord('"'): '\\"', ord("\\"): "\\\\"},
}


def shown(value: Value) -> str:
    """`value` as text, with what it points to. Raises MachineError where memory of its own cannot be read."""
    text = _Text()
    kind = value.type_.resolve()
    if isinstance(kind, Pointer) and not isinstance(kind.target.resolve(), Void | Function) and not _is_text(kind):
        start = f"({value.type_}){int(value):#x}"
        try:
            return f"*{start} = {text.bare(value.deref_(), 0, len(start) + 4)}"
        except MachineError:  # what it points to cannot be read
            return start
    return text.typed(value, 0, 0)


def brief(value: Value) -> str:
    """`value` as text, without what a pointer to a struct points to. Raises as `shown`."""
    return _Text().typed(value, 0, 0)


def formatted(value: Value, number: Callable[[Value], str]) -> str:
    """`value` as text, each number, pointer, enumerator and character in it as `number` gives it. Raises as `shown`."""
    return _Text(number).typed(value, 0, 0)


def _is_text(kind: Pointer | Array) -> bool:
    # An array of u8, a typedef, is no text.
    target = kind.target.resolve() if isinstance(kind.target, Qualified) else kind.target
    return isinstance(target, Integer) and target.character


class _Text:
    def __init__(self, number: Callable[[Value], str] | None = None) -> None:
        self._left = _MOST
        self._number = number

    def _spend(self, value: Value, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise MachineError(f"the text of a {value.type_} is too long: name a member of it")

    def typed(self, value: Value, depth: int, column: int) -> str:
        """The value with its type before it."""
        kind = f"({value.type_})"
        return f"{kind}{self.bare(value, depth, column + len(kind))}"

    def bare(self, value: Value, depth: int, column: int) -> str:
        """The value without its type. `depth` is the number of tabs of its line, and `column` where it begins."""
        if depth > DEEPEST:
            raise too_deep()
        self._spend(value, 1)
        kind = value.type_.resolve()
        if isinstance(kind, Struct):
            return self._struct(value, kind, depth)
        if isinstance(kind, Array):
            return self._array(value, kind, depth, column)
        if self._number is not None and isinstance(kind, Integer | Enum | Float | Pointer):
            return self._number(value)
        if isinstance(kind, Pointer):
            return _pointer(value, kind)
        if isinstance(kind, Enum):
            return kind.name_of(int(value)) or str(int(value))
        if isinstance(kind, Function):
            return f"{value.address_:#x}"
        number = value.value_()
        if isinstance(number, int):
            return str(number) if kind.size <= _WORD else f"{number:#x}"
        return f"{number:.1f}" if number.is_integer() else f"{number:.17g}"

    def _struct(self, value: Value, kind: Struct, depth: int) -> str:
        if not kind.members:
            return "{}"
        lines = []
        for name in kind.members:
            start = f".{name} = "
            text = self.typed(value.member_(name), depth + 1, _TAB * (depth + 1) + len(start))
            lines.append("\t" * (depth + 1) + f"{start}{text},\n")
        return "{\n" + "".join(lines) + "\t" * depth + "}"

    def _array(self, value: Value, kind: Array, depth: int, column: int) -> str:
        if self._number is None and kind.count is not None and _is_text(kind):
            text = value.string_()
            self._spend(value, len(text))
            return f'"{_escaped(text)}"'
        data = b"" if not kind.count else value.bytes_()  # limits the number of elements, too
        self._spend(value, len(data) // _BYTES_A_VALUE)
        size = kind.target.size if data else 0
        used = -(-len(data.rstrip(b"\0")) // size) if size else 0  # without the zeros at the end, as in C
        if not used:
            return "{}"
        texts = [self.bare(value[index], depth + 1, _TAB * (depth + 1)) for index in range(used)]
        line = f"{{ {', '.join(texts)} }}"
        if "\n" not in line and column + len(line) + (depth > 0) <= _COLUMNS:
            return line
        return "{\n" + "".join(f"{each}\n" for each in _rows(texts, depth + 1)) + "\t" * depth + "}"


def _pointer(value: Value, kind: Pointer) -> str:
    address = int(value)
    if _is_text(kind):
        try:
            return f'{address:#x} = "{_escaped(value.string_())}"'
        except MachineError:
            pass
    return f"{address:#x}"


def _rows(texts: list[str], depth: int) -> list[str]:
    """The elements of an array, as many in a row as there is room for."""
    rows: list[str] = []
    for text in texts:
        if rows and "\n" not in text and "\n" not in rows[-1]:
            longer = f"{rows[-1]} {text},"
            if len(longer) + (_TAB - 1) * depth <= _COLUMNS:
                rows[-1] = longer
                continue
        rows.append("\t" * depth + f"{text},")
    return rows


def _escaped(data: bytes) -> str:
    return "".join(_ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in data)
