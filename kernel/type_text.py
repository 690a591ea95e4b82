# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions of types as text, as gdb's `ptype` and `ptype/o` write them (its c-typeprint.c and typeprint.c)."""

from __future__ import annotations

from typing import Final

from armprobe.machine.errors import MachineError

from .types import DEEPEST, Array, Enum, Field, Function, Pointer, Qualified, Struct, Type, Typedef, too_deep

_INDENT: Final = 4  # columns of a level
_OFFSETS: Final = 27  # columns of the offset and the size before a line, OFFSET_SPC_LEN in gdb
_MOST: Final = 20_000  # lines of a definition


def definition(kind: Type, offsets: bool = False) -> str:
    """What a type is, without typedefs: the members of a struct, the enumerators of an enum.

    With `offsets` each member has its offset and its size in bytes before it, structs in it are shown with theirs, and
    holes are named. Raises MachineError for damaged type information, and for a definition that is too long.
    """
    plain = _plain(kind, 0)
    base = _base(plain)
    before, name, after = plain.declare().partition(base.declare())
    text = _Text(offsets)
    if isinstance(base, Struct) and base.known:
        text.open(f"type = {before}{name.removesuffix(' <anonymous>')}", "/* offset      |    size */  ")
        text.members(base, 1, 0)
        text.close(base, 0, after)
    elif isinstance(base, Enum):
        text.line("", f"type = {before}{_enum(base)}{after}")
    else:
        text.line("", f"type = {before}{name}{after}")
    return "\n".join(text.lines)


def _plain(kind: Type, depth: int) -> Type:
    """The type without the typedefs that it goes through."""
    if depth > DEEPEST:
        raise too_deep()
    if isinstance(kind, Typedef):
        return _plain(kind.target, depth + 1)
    if isinstance(kind, Pointer):
        return Pointer(lambda: _plain(kind.target, depth + 1))
    if isinstance(kind, Array):
        return Array(lambda: _plain(kind.target, depth + 1), kind.count)
    if isinstance(kind, Qualified):
        return Qualified(kind.qualifier, lambda: _plain(kind.target, depth + 1))
    if isinstance(kind, Function):
        return Function(lambda: _plain(kind.target, depth + 1), lambda: kind.parameters, kind.variadic)
    return kind


def _base(kind: Type) -> Type:
    for _ in range(DEEPEST):
        if not isinstance(kind, Pointer | Array | Qualified | Function):
            return kind
        kind = kind.target
    raise too_deep()


def _enum(kind: Enum) -> str:
    texts, following = [], 0
    for name, number in kind.enumerators.items():
        texts.append(name if number == following else f"{name} = {number}")
        following = number + 1
    return f"enum {kind.name}{' ' if kind.name else ''}{{{', '.join(texts)}}}"


class _Text:
    def __init__(self, offsets: bool) -> None:
        self.lines: list[str] = []
        self._offsets = offsets

    def line(self, before: str, text: str) -> None:
        """Another line, with `before` in the columns of offsets if there are any."""
        if len(self.lines) == _MOST:
            raise MachineError(f"the definition has more than {_MOST:,} lines: name a member of it")
        self.lines.append(f"{before if self._offsets else ''}{text}".rstrip())

    def open(self, text: str, before: str) -> None:
        """The line with which a struct begins."""
        self.line(before, f"{text} {{")

    def close(self, kind: Struct, depth: int, after: str) -> None:
        """The lines with which a struct ends."""
        if self._offsets:
            self.line("", "")
            self.line(" " * (_OFFSETS + _INDENT * (depth + 1)), f"/* total size (bytes): {kind.size:4} */")
        before = " " * (_OFFSETS if depth else _OFFSETS + 2)  # gdb sets off that of the outermost struct
        self.line(before, f"{' ' * _INDENT * depth}}}{after}")

    def members(self, kind: Struct, depth: int, start: int) -> None:
        """The members of a struct that begins at the bit `start`."""
        if depth > DEEPEST:
            raise too_deep()
        end, union, empty = 0, kind.kind == "union", True
        for each in kind.fields():
            empty = False
            at, size = start + each.bit_offset, each.read_type().size
            if not union:
                self._hole(end, at, "hole")
                end = at + (8 * size if each.bit_field_size is None else each.bit_field_size)
            self._member(each, depth, at, _columns(at, size, each.bit_field_size is not None, union))
        if empty:
            self.line(" " * _OFFSETS, f"{' ' * _INDENT * depth}<no data fields>")
        if not union:
            self._hole(end, start + 8 * kind.size, "padding")

    def _member(self, each: Field, depth: int, at: int, before: str) -> None:
        kind, indent = each.read_type(), " " * _INDENT * depth
        inner = _unqualified(kind)
        if isinstance(inner, Struct) and inner.known and (not inner.name or self._offsets):
            self.open(f"{indent}{kind.declare().removesuffix(' <anonymous>')}", before)
            self.members(inner, depth + 1, at)
            self.close(inner, depth, f" {each.name};" if each.name else ";")
            return
        text = kind.declare(each.name)
        if isinstance(inner, Enum) and not inner.name:
            text = text.replace("enum <anonymous>", _enum(inner), 1)
        self.line(before, f"{indent}{text}{'' if each.bit_field_size is None else f' : {each.bit_field_size}'};")

    def _hole(self, end: int, at: int, what: str) -> None:
        """Lines for the bits without a member between `end` and `at`, if a member ends at `end`."""
        if not self._offsets or not 0 < end < at:
            return
        if bits := (at - end) % 8:
            self.line("", f"/* XXX {bits:2}-bit {what:<7}    */")
        if size := (at - end) // 8:
            self.line("", f"/* XXX {size:2}-byte {what:<7}   */")


def _unqualified(kind: Type) -> Type:
    for _ in range(DEEPEST):
        if not isinstance(kind, Qualified):
            return kind
        kind = kind.target
    raise too_deep()


def _columns(at: int, size: int, bit_field: bool, union: bool) -> str:
    if union:
        return f"/*{size:22} */"
    if bit_field:
        return f"/* {at // 8:6}:{at % 8:2}   |{size:8} */"
    return f"/* {at // 8:6}      |{size:8} */"
