# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of values: those of C on an arm64 kernel, which is LP64 and has a plain char without a sign (AAPCS64)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Type:
    """What a value or the memory behind a pointer is."""

    bits: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.bits // 8

    @property
    def signed(self) -> bool:
        """Whether a value is sign-extended to 64 bits, not zero-extended."""
        return False


@dataclass(frozen=True)
class Integer(Type):
    """An integer of 8, 16, 32 or 64 bits."""

    is_signed: bool

    @property
    def signed(self) -> bool:
        """Whether it has negative values."""
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
    """What `void *` points to. Nothing has this type; arithmetic on the pointers counts bytes, as in GNU C."""


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
"""The words that begin the name of a type, and so are no symbols."""


def named(words: Iterable[str], stars: int) -> Type | None:
    """The type of that name, with a pointer to it for each star; None if there is none."""
    found = _NAMED.get(" ".join(words))
    for _ in range(stars if found is not None else 0):
        found = Pointer.to(found)  # type: ignore[arg-type]
    return found


def promoted(kind: Type) -> Type:
    """What is narrower than an int becomes one (ISO C, 6.3.1.1)."""
    return S32 if kind.bits < 32 else kind


def common(left: Type, right: Type) -> Type:
    """The type in which two operands are computed with (ISO C, 6.3.1.8) or, where one is a pointer, compared."""
    if isinstance(left, Pointer) or isinstance(right, Pointer):
        return U64
    kinds = promoted(left), promoted(right)
    bits = max(kind.bits for kind in kinds)
    return Integer(bits, all(kind.signed for kind in kinds if kind.bits == bits))
