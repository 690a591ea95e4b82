# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments by the names of a function's parameters, as kernels from v6.5 on have them (kernel/trace/trace_probe.c).

The types say where members are, and how a value without a type is printed: `count`, `file->f_path.dentry`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from armprobe.kernel import types as declared
from armprobe.machine import MachineError

from .types import TYPES, FetchType

_REGISTERS: Final = 8
_WORD: Final = 8  # bytes
_STEP: Final = re.compile(r"(->|\.)(\w+)")
_CHAINED: Final = re.compile(r"(\w+)((?:->\w+|\.\w+)*)")


Parameters = Sequence[declared.Parameter]


class NoMember(Exception):
    """A member that there is not, at `offset` of the text; the message is the kernel's."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message, self.offset = message, offset


@dataclass
class Named:
    """Where a parameter, or a member behind it, is: `number` of the argument, and the offsets to dereference at.

    `bits` are the first bit and the width of a bit-field, in the last of these. `type` is that of C.
    """

    number: int
    type: declared.Type
    offsets: list[int] = field(default_factory=list)
    bits: tuple[int, int] | None = None

    @property
    def fetch_type(self) -> FetchType:
        """The type of an argument for which none is given."""
        kind = self.type
        if self.bits is not None:
            first, width = self.bits
            return TYPES[f"u{next(bits for bits in (8, 16, 32, 64) if first + width <= bits)}"]
        if isinstance(kind, declared.Integer | declared.Enum) and kind.size in (1, 2, 4, 8):
            return TYPES[f"{'s' if kind.signed else 'u'}{8 * kind.size}"]
        return TYPES["x64"]

    @property
    def points_to_text(self) -> bool:
        """Whether a string is at the value, and not the value itself."""
        return not isinstance(self.type, declared.Array)


def find(parameters: Parameters, text: str) -> Named | None:
    """What `text` names; None if it begins with no parameter's name.

    Raises NoMember for a member that there is not, and MachineError for damaged type information.
    """
    match = _CHAINED.fullmatch(text)
    if match is None:
        return None
    for number, parameter in enumerate(parameters[:_REGISTERS]):
        kind = parameter.type.resolve()
        if not isinstance(kind, declared.Integer | declared.Enum | declared.Pointer) or kind.size > _WORD:
            return None  # it may take several registers, or none
        if parameter.name == match[1]:
            found = Named(number, kind)
            for step in _STEP.finditer(text, match.end(1)):
                _follow(found, step[1], step[2], step.start(2))
            return found
    return None


def _follow(found: Named, operator: str, name: str, at: int) -> None:
    """Go on to a member."""
    kind = found.type
    if operator == "->":
        if not isinstance(kind, declared.Pointer):
            raise NoMember("This is not a pointer to union/structure.", at)
        kind = kind.target.resolve()
        found.offsets.append(0)
    if not isinstance(kind, declared.Struct) or not found.offsets:
        raise NoMember("This is not a pointer to union/structure.", at)
    try:
        member = kind.member(name)
    except MachineError:
        raise NoMember("This field is not found.", at) from None
    found.offsets[-1] += member.offset
    found.type = member.type.resolve()
    found.bits = None if member.bit_field_size is None else (member.bit_offset % 8, member.bit_field_size)


def expanded(parameters: Parameters) -> list[str]:
    """The words that `$arg*` stands for: all parameters that `find` finds."""
    names = [parameter.name for parameter in parameters]
    return [name for name in names if name and find(parameters, name) is not None]
