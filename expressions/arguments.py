# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a function's arguments are at its entry, and its result at its return (AAPCS64, 6.8.2 and 6.9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from armprobe.kernel import types as declared

from .typed import Binary, Constant, Convert, InRegisters, Load, Register, Value
from .types import U64, Bool, Integer, Pointer, Struct, Type, Unusable, of_declared

_REGISTERS: Final = 8  # x0 to x7, and v0 to v7
_SP: Final = 31  # GDB's number
_WORD: Final = 8  # bytes
_LARGEST: Final = 2 * _WORD  # of a struct that is passed by value
_MOST_FLOATS: Final = 4  # of a homogeneous aggregate (AAPCS64, 5.9.5)
_BYTE: Final = Integer(8, declared.Integer("unsigned char", 1, False), False)


class Unknown(Exception):
    """An argument or a result that cannot be known; the message says why, of the argument."""


def argument(function: declared.Function, name: str) -> Value | None:
    """The argument called `name` at the entry of `function`; None if it has none.

    Raises Unknown, and MachineError for damaged type information.
    """
    for parameter, place in _places(function.parameters):
        if parameter.name == name:
            if isinstance(place, str):
                raise Unknown(place)
            return place
    return None


def result(function: declared.Function) -> Value:
    """The result of `function`, which is not void, at its return.

    Raises Unknown, and MachineError for damaged type information.
    """
    kind = function.target.resolve()
    if _floats(kind):
        raise Unknown(f"it is a {function.target}, which is in vector registers")
    if isinstance(kind, declared.Struct) and kind.size > _LARGEST:
        raise Unknown(f"it is a {function.target}, which is in memory whose address is not kept")
    type = of_declared(function.target)
    if isinstance(type, Unusable):
        raise Unknown(f"it is a {function.target}: {type.why}")
    return _in_registers(type, 0)


def _places(parameters: list[declared.Parameter]) -> Iterator[tuple[declared.Parameter, Value | str]]:
    """Each parameter with its value, or with the reason why there is none."""
    register = vector = stack = 0
    for parameter in parameters:
        kind, type = parameter.type.resolve(), of_declared(parameter.type)
        if isinstance(kind, declared.Struct) and not kind.size:  # GCC passes nothing (C has no such structs)
            yield parameter, f"a {parameter.type} has no bytes"
            continue
        floats = _floats(kind)
        if floats and vector + floats <= _REGISTERS:
            vector += floats
            yield parameter, f"it is a {parameter.type}, which is passed in vector registers"
            continue
        size, reference = _WORD, False
        if isinstance(kind, declared.Struct | declared.Integer):
            reference = not floats and kind.size > _LARGEST
            size = _WORD if reference else -(-kind.size // _WORD) * _WORD
        count, aligned = size // _WORD, not reference and _alignment(kind) == _LARGEST
        if floats:
            vector = _REGISTERS
        else:
            register += register % 2 if aligned else 0
            if register + count <= _REGISTERS:
                pointer = Register(U64, register)
                if isinstance(type, Unusable):
                    yield parameter, f"it is a {parameter.type}: {type.why}"
                else:
                    yield parameter, _at(type, pointer) if reference else _in_registers(type, register)
                register += count
                continue
            register = _REGISTERS
        stack += stack % _LARGEST if aligned else 0
        address = Binary(U64, "+", Register(U64, _SP), Constant(U64, stack))
        yield parameter, _at(type, Load(U64, address)) if reference else _at(type, address)
        stack += size


def _at(type: Type, address: Value) -> Value:
    return Load(type, Convert(Pointer.to(type), address))


def _in_registers(type: Type, register: int) -> Value:
    if isinstance(type, Struct):
        return InRegisters(type, register, 0)
    if isinstance(type, Bool):  # the bits above 8 can be anything
        return Convert(type, Convert(_BYTE, Register(U64, register)))
    return Convert(type, Register(U64, register))


def _floats(kind: declared.Type) -> int:
    """The number of vector registers for a type; 0 for one that is not passed in them."""
    found: set[int] = set()
    count = _count_floats(kind, found, 0)
    return count if len(found) == 1 and count <= (_MOST_FLOATS if isinstance(kind, declared.Struct) else 1) else 0


def _count_floats(kind: declared.Type, sizes: set[int], depth: int) -> int:
    """The number of floating-point numbers in a type, with their sizes added to `sizes`. Other members add 0."""
    if depth > declared.DEEPEST:
        raise declared.too_deep()
    kind = kind.resolve()
    if isinstance(kind, declared.Float):
        sizes.add(kind.size)
        return 1
    if isinstance(kind, declared.Array):
        return (kind.count or 0) * _count_floats(kind.target, sizes, depth + 1)
    if not isinstance(kind, declared.Struct):
        sizes.add(0)
        return 0
    counts = [_count_floats(member.type, sizes, depth + 1) for member in kind.members.values()]
    return (max if kind.kind == "union" else sum)(counts or [0])


def _alignment(kind: declared.Type, depth: int = 0) -> int:
    """The alignment in bytes of a type's members. Type information does not say that of an attribute."""
    if depth > declared.DEEPEST:
        raise declared.too_deep()
    kind = kind.resolve()
    if isinstance(kind, declared.Struct):
        return max((_alignment(each.type, depth + 1) for each in kind.members.values()), default=1)
    if isinstance(kind, declared.Array):
        return _alignment(kind.target, depth + 1)
    return kind.size if isinstance(kind, declared.Integer | declared.Enum) else _WORD
