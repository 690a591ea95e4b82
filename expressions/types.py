# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of values, as C has them in an arm64 kernel: LP64, with an unsigned plain char (AAPCS64)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Type:
    """The type of a value or of memory."""

    bits: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.bits // 8

    @property
    def signed(self) -> bool:
        """Whether values are sign-extended to 64 bits; the others are zero-extended."""
        return False


@dataclass(frozen=True)
class Integer(Type):
    """An integer of 8, 16, 32 or 64 bits."""

    is_signed: bool

    @property
    def signed(self) -> bool:
        """Whether the type has negative values."""
        return self.is_signed


@dataclass(frozen=True)
class Pointer(Type):
    """An address of a `target`."""

    target: Type

    @staticmethod
    def to(target: Type) -> Pointer:
        """The type of a pointer to `target`."""
        return Pointer(64, target)


@dataclass(frozen=True)
class Void(Type):
    """The target of `void *`. No value has this type. Arithmetic on such pointers counts bytes, as in GNU C."""


S32, U32, S64, U64 = Integer(32, True), Integer(32, False), Integer(64, True), Integer(64, False)

_NAMED: Final[dict[str, Type]] = {
    **{f"{sign}{bits}": Integer(bits, sign == "s") for sign in "su" for bits in (8, 16, 32, 64)},
    **{f"{sign}int{bits}_t": Integer(bits, not sign) for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "char": Integer(8, False),
    "signed char": Integer(8, True),
    "unsigned char": Integer(8, False),
    "short": Integer(16, True),
    "unsigned short": Integer(16, False),
    "int": S32,
    "unsigned": U32,
    "unsigned int": U32,
    "long": S64,
    "unsigned long": U64,
    "long long": S64,
    "unsigned long long": U64,
    "size_t": U64,
    "ssize_t": S64,
    "void": Void(8),
}
TYPE_WORDS: Final = frozenset(word for name in _NAMED for word in name.split())
"""The words in names of types."""


def named(words: Iterable[str], stars: int) -> Type | None:
    """The type named by `words` and followed by `stars` stars; None for an unknown name."""
    found = _NAMED.get(" ".join(words))
    if found is None:
        return None
    for _ in range(stars):
        found = Pointer.to(found)
    return found


def promoted(kind: Type) -> Type:
    """The type after integer promotion (ISO C, 6.3.1.1)."""
    return S32 if kind.bits < 32 else kind


def common(left: Type, right: Type) -> Type:
    """The common type of two operands (ISO C, 6.3.1.8). A pointer is compared as an unsigned long."""
    if isinstance(left, Pointer) or isinstance(right, Pointer):
        return U64
    kinds = promoted(left), promoted(right)
    bits = max(kind.bits for kind in kinds)
    return Integer(bits, all(kind.signed for kind in kinds if kind.bits == bits))
