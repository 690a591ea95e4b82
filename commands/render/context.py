# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what is around a stop, in lines of at most 80 characters where names are short enough."""

from __future__ import annotations

from typing import Final

from armprobe.commands import values
from armprobe.commands.pstate import pstate

from .layout import described
from .text import as_text

_WIDTH: Final = 72
_IN_A_ROW: Final = 3


@as_text.register(values.Context)
def _(value: values.Context) -> str:
    lines: list[str] = []
    if value.registers:
        lines.append(_ruled("registers, * changed"))
        cells = [_register(register) for register in value.registers]
        lines += [" ".join(cells[at : at + _IN_A_ROW]).rstrip() for at in range(0, len(cells), _IN_A_ROW)]
    if value.code:
        lines += [_ruled("code"), as_text(value.code).rstrip("\n")]
    if value.stack:
        lines.append(_ruled("stack"))
        lines += [
            f"#{frame.number:<2} {frame.location.address:#018x} {described(frame.location)}" for frame in value.stack
        ]
    lines.append(
        "-" * _WIDTH if len(lines) else f"after a stop the prompt shows: {', '.join(value.parts) or 'nothing'}"
    )
    return "\n".join(lines) + "\n"


def _ruled(title: str) -> str:
    return f"-- {title} ".ljust(_WIDTH, "-")


def _register(register: values.ContextRegister) -> str:
    mark = "*" if register.changed else " "
    if register.name == "pstate":
        return f"{mark}pstate {pstate(register.value)}"
    return f"{mark}{register.name:<3} {register.value:016x}"
