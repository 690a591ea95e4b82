# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of source lines, as gdb has it."""

from __future__ import annotations

from armprobe.commands import values

from .layout import described
from .text import as_text


def line_text(line: values.SourceLine) -> str:
    """A line with its number, or its place where the source is not found."""
    return f"{line.file}:{line.number}\n" if line.text is None else f"{line.number}\t{line.text}\n"


@as_text.register(values.SourceLinesShown)
def _(value: values.SourceLinesShown) -> str:
    head = f"{value[0].file}:\n" if value else ""
    return head + "".join(f"{'=> ' if line.current else '   '}{line_text(line)}" for line in value)


@as_text.register(values.LineCode)
def _(value: values.LineCode) -> str:
    line, start, end = value.line, value.start, value.end
    return (
        f'Line {line.number} of "{line.file}" starts at address {start.address:#x} <{described(start)}> '
        f"and ends at {end.address:#x} <{described(end)}>.\n"
    )


@as_text.register(values.LineStepped)
def _(value: values.LineStepped) -> str:
    if value.line is not None:
        place = f"{described(value.stop.location)} at {value.line.file}:{value.line.number}\n"
        return place + ("" if value.line.text is None else line_text(value.line))
    return as_text(value.stop if value.instruction is None else value.instruction)
