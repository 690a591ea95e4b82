# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of types: how C spells integers, and the type that a text names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from .types import Type, Types

_LONGEST: Final = 256  # characters of a type's name
_MOST_SIGNS: Final = 16  # stars and brackets
_NAME: Final = re.compile(r"\s*((?:[A-Za-z_]\w*\s*)+)((?:\*\s*(?:const\b\s*|volatile\b\s*)?)*)((?:\[\s*\w*\s*\]\s*)*)")
_SIZES: Final = {"char": 1, "short": 2, "int": 4, "long": 8, "long long": 8, "_Bool": 1}


def _integers() -> dict[tuple[str, ...], str]:
    """Each spelling of an integer type (ISO C, 6.7.2), with its words sorted, and the one that is used here."""
    found: dict[tuple[str, ...], str] = {("_Bool",): "_Bool", ("signed",): "int", ("unsigned",): "unsigned int"}
    for base in ("char", "short", "int", "long", "long long"):
        for sign in ("", "signed", "unsigned"):
            for suffix in ("", "int") if base not in ("char", "int") else ("",):
                shown = sign if sign == "unsigned" or (sign, base) == ("signed", "char") else ""
                found[tuple(sorted(f"{sign} {base} {suffix}".split()))] = f"{shown} {base}".strip()
    return found


_INTEGERS: Final = _integers()


def spelled_integer(name: str) -> str:
    """The usual spelling: `unsigned long` for `long unsigned int`, which compilers write. Other names stay."""
    return _INTEGERS.get(tuple(sorted(name.split())), name)


def parse_type_name(text: str, types: Types) -> Type:
    """See `Types.type`."""
    from .types import Array, Pointer

    match = _NAME.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise MachineError(f"{text[:80]!r} is not the name of a type: write one such as struct file * or char[16]")
    words = [word for word in match[1].split() if word not in ("const", "volatile")]
    found, stars, counts = named_type(words, types), match[2].count("*"), re.findall(r"\[\s*(\w*)\s*\]", match[3])
    if found is None:
        raise MachineError(f"this kernel's type information has no type {' '.join(words)}")
    if stars + len(counts) > _MOST_SIGNS:
        raise MachineError(f"a type's name has more than {_MOST_SIGNS} stars and brackets")
    for _ in range(stars):
        found = Pointer(lambda target=found: target)  # type: ignore[misc]
    for count in reversed(counts):
        if not re.fullmatch(r"[0-9]{0,9}", count):
            raise MachineError(f"'{count}' is not the number of an array's elements: write one up to 999999999")
        found = Array(lambda target=found: target, int(count) if count else None)  # type: ignore[misc]
    return found


def named_type(words: list[str], types: Types) -> Type | None:
    """The type that has `words` as its name, without qualifiers; None for an unknown name."""
    from .types import Integer, Struct, Void

    if words == ["void"]:
        return Void()
    if (spelled := _INTEGERS.get(tuple(sorted(words)))) is not None:
        base = spelled.removeprefix("unsigned ").removeprefix("signed ")
        signed = not spelled.startswith("unsigned") and spelled not in ("char", "_Bool")  # plain char: AAPCS64
        return Integer(spelled, _SIZES[base], signed)
    if len(words) == 2 and words[0] in ("struct", "union"):
        struct = types.find(words[1], "struct")
        return struct if isinstance(struct, Struct) and struct.kind == words[0] else None
    if len(words) == 2 and words[0] == "enum":
        return types.find(words[1], "enum")
    if len(words) != 1:
        return None
    kinds = ("typedef", "integer", "struct", "enum")
    return next((found for kind in kinds if (found := types.find(words[0], kind)) is not None), None)
