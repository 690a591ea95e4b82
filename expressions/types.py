# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of values, as C has them in an arm64 kernel: LP64, with an unsigned plain char (AAPCS64)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Final

from armprobe.kernel import types as declared
from armprobe.machine.lazy_dataclass import lazy_dataclass


@lazy_dataclass
class Type:
    """The type of a value or of memory, of `bits` bits.

    `declared` is the type as type information or a cast has it, for the text of values.
    """

    bits: int
    declared: declared.Type = field(compare=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes. Raises MachineError for a struct of which only the name is known."""
        return self.bits // 8

    @property
    def signed(self) -> bool:
        """Whether values are sign-extended to 64 bits; the others are zero-extended."""
        return False


@lazy_dataclass
class Integer(Type):
    """An integer of 64 bits or less. Memory has 8, 16, 32 or 64."""

    is_signed: bool

    @property
    def signed(self) -> bool:
        """Whether the type has negative values."""
        return self.is_signed


@lazy_dataclass
class Bool(Integer):
    """_Bool: what is converted to it becomes 0 or 1 (ISO C, 6.3.1.2)."""


@lazy_dataclass
class Pointer(Type):
    """An address of a `target`."""

    target: Type

    @staticmethod
    def to(target: Type) -> Pointer:
        """The type of a pointer to `target`."""
        return Pointer(64, declared.Pointer(lambda: target.declared), target)


@lazy_dataclass
class Void(Type):
    """The target of `void *`. No value has this type. Arithmetic on such pointers counts bytes, as in GNU C."""


@lazy_dataclass
class _NoNumber(Type):
    """A type whose values are no numbers. `name` is as C spells it."""

    name: str

    @property
    def size(self) -> int:
        """Bytes. Raises MachineError where only the name is known."""
        return self.declared.size

    @staticmethod
    def bits_of(kind: declared.Type) -> tuple[int, declared.Type, str]:
        """The fields for `kind`. The size is asked for when it is needed, because it may not be known."""
        return 0, kind, str(kind.resolve())


@lazy_dataclass
class Struct(_NoNumber):
    """A struct or union."""

    @property
    def layout(self) -> declared.Struct:
        """Its members."""
        kind = self.declared.resolve()
        assert isinstance(kind, declared.Struct)
        return kind


@lazy_dataclass
class Array(_NoNumber):
    """An array of `target`, which becomes a pointer to its first element where a number is needed."""

    target: Type


@lazy_dataclass
class Unusable(_NoNumber):
    """A type of which `why` says why its values cannot be used."""

    why: str


def _integer(name: str, bits: int, signed: bool) -> Integer:
    return Integer(bits, declared.Integer(name, bits // 8, signed), signed)


S32, U32 = _integer("int", 32, True), _integer("unsigned int", 32, False)
S64, U64 = _integer("long", 64, True), _integer("unsigned long", 64, False)
_CHAR: Final = _integer("char", 8, False)


def _typedef(name: str, kind: Integer) -> Integer:
    return Integer(kind.bits, declared.Typedef(name, lambda: kind.declared), kind.signed)


_SIZED: Final = {
    **{(8, True): _integer("signed char", 8, True), (8, False): _integer("unsigned char", 8, False)},
    **{(16, True): _integer("short", 16, True), (16, False): _integer("unsigned short", 16, False)},
    **{(32, True): S32, (32, False): U32, (64, True): S64, (64, False): U64},
}
_NAMED: Final[dict[str, Type]] = {
    **{f"{'us'[signed]}{bits}": _typedef(f"{'us'[signed]}{bits}", kind) for (bits, signed), kind in _SIZED.items()},
    **{
        f"{'u' * (not signed)}int{bits}_t": _typedef(f"{'u' * (not signed)}int{bits}_t", kind)
        for (bits, signed), kind in _SIZED.items()
    },
    "char": _CHAR,
    "signed char": _SIZED[8, True],
    "unsigned char": _SIZED[8, False],
    "short": _SIZED[16, True],
    "unsigned short": _SIZED[16, False],
    "int": S32,
    "unsigned": U32,
    "unsigned int": U32,
    "long": S64,
    "unsigned long": U64,
    "long long": _integer("long long", 64, True),
    "unsigned long long": _integer("unsigned long long", 64, False),
    "size_t": _typedef("size_t", U64),
    "ssize_t": _typedef("ssize_t", S64),
    "_Bool": Bool(8, declared.Integer("_Bool", 1, False), False),
    "bool": Bool(8, declared.Typedef("bool", lambda: declared.Integer("_Bool", 1, False)), False),
    "void": Void(8, declared.Void()),
}
QUALIFIERS: Final = frozenset(("const", "volatile"))
TAGS: Final = frozenset(("struct", "union", "enum"))
TYPE_WORDS: Final = frozenset(word for name in _NAMED for word in name.split()) | QUALIFIERS | TAGS
"""The words with which the name of a type begins, but for typedefs of the guest."""
CHARACTER: Final = 8
"""Bits of a character."""


def named(words: Iterable[str]) -> Type | None:
    """The type named by `words` that every guest has; None for another."""
    return _NAMED.get(" ".join(words))


def of_declared(kind: declared.Type, depth: int = 0) -> Type:
    """The type for one of the guest's type information, with `depth` pointers and arrays around it.

    Raises MachineError for damaged type information.
    """
    if depth > declared.DEEPEST:
        raise declared.too_deep()
    found = kind.resolve()
    match found:
        case declared.Void():
            return Void(8, kind)
        case declared.Pointer():
            return Pointer(64, kind, of_declared(found.target, depth + 1))
        case declared.Array():
            return Array(*Array.bits_of(kind), of_declared(found.target, depth + 1))
        case declared.Struct():
            return Struct(*Struct.bits_of(kind))
        case declared.Float():
            return Unusable(*Unusable.bits_of(kind), "floating-point numbers are not supported")
        case declared.Integer(name="_Bool") if found.size == 1:
            return Bool(8, kind, False)
        case declared.Integer() | declared.Enum() if (8 * found.size, found.signed) in _SIZED:
            return Integer(8 * found.size, kind, found.signed)
        case declared.Integer() | declared.Enum():
            return Unusable(*Unusable.bits_of(kind), "integers have 64 bits at most here")
    return Unusable(*Unusable.bits_of(kind), "a function has no value: only its address has one")


def promoted(kind: Type) -> Type:
    """The type after integer promotion (ISO C, 6.3.1.1)."""
    return S32 if kind.bits < 32 else kind


def common(left: Type, right: Type) -> Type:
    """The common type of two operands (ISO C, 6.3.1.8). A pointer is compared as an unsigned long."""
    if isinstance(left, Pointer) or isinstance(right, Pointer):
        return U64
    kinds = promoted(left), promoted(right)
    bits = max(kind.bits for kind in kinds)
    return _SIZED[bits, all(kind.signed for kind in kinds if kind.bits == bits)]
