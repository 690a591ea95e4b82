# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference of commands, in Markdown, from their declarations."""

import re
import textwrap

from armprobe.session.authority import Host

from .declaration import Arg, Clause, Command, Option
from .registry import Registry

INTRODUCTION = """\
# Commands

Each of these works at the REPL's prompt, in a script of commands, after `armprobe -c`, and, but for `shell`, in gdb
after `monitor`. In gdb most are also commands of gdb's own. If gdb has a command of the same name, the other name for
gdb is given below.

Type small letters as they are. CAPITALS stand for a value. Parts in brackets may be left out. `...` means that more may
follow. Words are quoted as in a shell. A command may be shortened as long as it stays unique.
"""


def reference(registry: Registry) -> str:
    """The Markdown text: a section for each group, with a section for each command."""
    parts = [INTRODUCTION]
    for group, commands in registry.grouped():
        parts.append(f"## {group or 'Other'}\n")
        parts += map(_command, commands)
    return "\n".join(parts)


def _command(command: Command) -> str:
    lines = [f"### {command.name}", "", "```", command.usage, "```", "", escaped(command.summary)]
    for paragraph in re.split(r"\n\s*\n", command.details) if command.details else []:
        indented = all(line.startswith(" ") for line in paragraph.splitlines())
        lines += ["", *(("```", textwrap.dedent(paragraph), "```") if indented else (escaped(paragraph),))]
    if command.args:
        lines += ["", "| | |", "|---|---|", *map(_argument, command.args)]
    if command.aliases:
        lines += ["", f"Also: {', '.join(f'`{alias}`' for alias in command.aliases)}."]
    if command.touches:
        lines += ["", command.touches.replace("docs/security.md", "[security.md](security.md)")]
    if command.gdb_name != command.name and Host.SHELL not in command.host:
        lines += ["", f"In gdb: `{command.gdb_name or f'monitor {command.name}'}`."]
    if command.gdb_info:
        lines += ["", f"In gdb also: `info {command.gdb_info}`."]
    return "\n".join(lines) + "\n"


def _argument(arg: Arg | Option | Clause) -> str:
    choices = f" ({', '.join(f'`{choice}`' for choice in arg.choices)})" if arg.choices else ""
    return f"| `{arg.label}` | {escaped(arg.help)}{choices} |"


def escaped(text: str) -> str:
    """The text with Markdown's special characters escaped, except backquotes and the text between them."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([\\*_<>|\[\]#])", r"\\\1", p) for p in parts)
