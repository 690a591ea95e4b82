# SPDX-License-Identifier: GPL-2.0-or-later
"""Refuses types that contain themselves, and types that are nested too deeply.

gdb follows a type to its end to print its name or members, and crashes where there is none (gdb 13.1, c_print_type).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

_DEEPEST: Final = 100
_OPEN: Final = 255  # instead of a depth: of a type that the search is in


def check_nesting(count: int, made_of_others: Sequence[int], parts: Callable[[int], Sequence[int]]) -> None:
    """Raise ValueError if one of the types 0 to `count` - 1 is among its own parts, or has them too deep.

    `parts` gives the numbers of the types that a type is made of, of those that are `made_of_others`.
    """
    depths = bytearray(b"\1") * count
    for number in made_of_others:
        depths[number] = 0
    for root in made_of_others:
        stack = [root]
        while stack:
            number = stack[-1]
            state = depths[number]
            if state and state != _OPEN:
                stack.pop()
                continue
            inner = parts(number)
            below = [depths[part] for part in inner]
            if _OPEN in below:
                raise ValueError("a type is within itself")
            if 0 not in below:
                depths[number] = 1 + max(below, default=0)
                if depths[number] > _DEEPEST:
                    raise ValueError("types are nested too deeply")
                stack.pop()
            else:
                depths[number] = _OPEN
                stack += [part for part, depth in zip(inner, below, strict=True) if not depth]
