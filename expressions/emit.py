# SPDX-License-Identifier: GPL-2.0-or-later
"""The emitter: makes the bytecode of an agent expression from a typed tree."""

from __future__ import annotations

from typing import Final

from .bytecode import assemble, width
from .typed import Binary, Constant, Convert, Load, Logical, Register, Unary, Value
from .types import Bool, Type

# Operation for signed and for unsigned results.
_ARITHMETIC: Final = {
    "+": ("add", "add"),
    "-": ("sub", "sub"),
    "*": ("mul", "mul"),
    "/": ("div_signed", "div_unsigned"),
    "%": ("rem_signed", "rem_unsigned"),
    "&": ("bit_and", "bit_and"),
    "|": ("bit_or", "bit_or"),
    "^": ("bit_xor", "bit_xor"),
    "<<": ("lsh", "lsh"),
    ">>": ("rsh_signed", "rsh_unsigned"),
}
_COMPARISONS: Final = {  # whether the operands are swapped, and whether the result is negated
    "<": (False, False),
    ">": (True, False),
    ">=": (False, True),
    "<=": (True, True),
}


class _Label:
    """The target of a jump."""


_Operation = tuple[str, "int | _Label"]
_NOT: Final[_Operation] = ("log_not", 0)


def emit(value: Value) -> bytes:
    """Code that ends with `value` on top of the stack."""
    code: list[_Operation] = []
    left: list[Value | _Operation] = [value]
    while left:
        part = left.pop()
        if isinstance(part, Value):
            left.extend(reversed(_parts(part)))
        else:
            code.append(part)
    return _assembled([*code, ("end", 0)])


def _assembled(code: list[_Operation]) -> bytes:
    """The operation "label" takes no bytes: it marks the place of its operand."""
    offsets: dict[object, int] = {}
    at = 0
    for name, operand in code:
        if name == "label":
            offsets[operand] = at
        else:
            at += width(name)
    real = [operation for operation in code if operation[0] != "label"]
    return assemble((name, offsets[operand] if isinstance(operand, _Label) else operand) for name, operand in real)


def _parts(value: Value) -> list[Value | _Operation]:
    """The operands and operations of `value` in order of evaluation."""
    match value:
        case Constant():
            bits = next(bits for bits in (8, 16, 32, 64) if value.number < 1 << bits)
            return [(f"const{bits}", value.number)]
        case Register():
            return [("reg", value.number)]
        case Load():
            narrow = value.type.signed and value.type.bits < 64
            return [value.address, (f"ref{value.type.bits}", 0), *_extension(value.type, narrow)]
        case Convert(type=Bool()):
            return [value.operand, _NOT, _NOT]
        case Convert():
            return [value.operand, *_extension(value.type, not _fits(value.operand.type, value.type))]
        case Unary(operator="!"):
            return [value.operand, _NOT]
        case Unary(operator="-"):
            return [("const8", 0), value.operand, ("sub", 0), *_extension(value.type)]
        case Unary(operator="~"):
            return [value.operand, ("bit_not", 0), *_extension(value.type)]
        case Binary(operator="==" | "!="):
            return [value.left, value.right, ("equal", 0), *([_NOT] if value.operator == "!=" else [])]
        case Binary() if value.operator in _COMPARISONS:
            swapped, negated = _COMPARISONS[value.operator]
            less = "less_signed" if value.left.type.signed else "less_unsigned"
            swap: list[_Operation] = [("swap", 0)] if swapped else []
            return [value.left, value.right, *swap, (less, 0), *([_NOT] if negated else [])]
        case Binary():
            operation = _ARITHMETIC[value.operator][not value.type.signed]
            return [value.left, value.right, (operation, 0), *_extension(value.type)]
        case Logical(operator="&&"):
            return _decided(value, [_NOT], 0)
        case Logical():
            return _decided(value, [], 1)
    raise AssertionError(value)


def _decided(value: Logical, jumps_if: list[_Operation], decision: int) -> list[Value | _Operation]:
    """`decision` if the left operand followed by `jumps_if` is true; otherwise whether the right operand is."""
    decided, end = _Label(), _Label()
    left: list[Value | _Operation] = [value.left, *jumps_if, ("if_goto", decided)]
    right: list[Value | _Operation] = [value.right, _NOT, _NOT, ("goto", end)]
    return [*left, *right, ("label", decided), ("const8", decision), ("label", end)]


def _extension(kind: Type, needed: bool = True) -> list[_Operation]:
    """The operations that extend the low bits of a value to 64 bits."""
    if kind.bits == 64 or not needed:
        return []
    return [("ext" if kind.signed else "zero_ext", kind.bits)]


def _fits(was: Type, kind: Type) -> bool:
    """Whether values of the type `was` need no operation to become values of `kind`."""
    if was.signed:
        return kind.signed and was.bits <= kind.bits
    return was.bits < kind.bits or (was.bits == kind.bits and not kind.signed)
