# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for files of commands: running one within another, and printing text."""

from __future__ import annotations

import io
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine import StopReason, host_files
from armprobe.session.authority import Host

from .declaration import Arg, Arguments, Command, Parts, path
from .errors import CommandError
from .values import Answers, PrintedLine

if TYPE_CHECKING:
    from armprobe.session import Session

LONGEST: Final = 16 << 20
"""The most bytes of a file of commands."""

_DEEPEST: Final = 16  # files of commands that run each other
_depth: ContextVar[int] = ContextVar("depth", default=0)


def read_lines(file: Path) -> list[str]:
    """The lines of a file of commands, with their ends. Raises MachineError if it cannot be read."""
    return list(io.StringIO(host_files.read_text(file, LONGEST, or_pipe=True).removeprefix("\ufeff")))


def _source(session: Session, arguments: Arguments) -> Parts[Answers]:
    if _depth.get() >= _DEEPEST:
        raise CommandError(f"source: over {_DEEPEST} files of commands run each other")
    lines, name = read_lines(arguments.file), host_files.shown(arguments.file)
    answers: list[object] = []
    token = _depth.set(_depth.get() + 1)
    try:
        for number, line in enumerate(lines, 1):
            before = session.stop
            try:
                parts: list[object] = []
                answer = session.shell.registry.run(session, line, parts.append)
            except Exception as error:
                yield from parts
                raise CommandError(f"{name}:{number}: {error}") from error
            yield from parts
            if answer is not None:
                answers.append(answer)
            if session.stop is not before and session.stop.reason is StopReason.INTERRUPTED:
                raise CommandError(f"{name}:{number}: interrupted; the other lines are not run")
            if session.finished:
                break
    finally:
        _depth.reset(token)
    return Answers(answers)


def _echo(session: Session, arguments: Arguments) -> PrintedLine:
    return PrintedLine(" ".join(arguments.text))


COMMANDS = (
    Command(
        "source",
        "Run the commands of a file, one a line, up to the first that fails.\n"
        "What begins with # is a comment. ${NAME} is the value of an environment variable, but in what is for the\n"
        "guest, as with console and sh, it stays as it is.",
        (Arg("file", "file of commands", type=path, host=Host.READS_FILES),),
        _source,
        group="Running",
        gdb=False,
        changes_state=True,
    ),
    Command(
        "echo",
        "Print text, for scripts.",
        (Arg("text", "text to print", optional=True, many=True, default=()),),
        _echo,
        group="Running",
        gdb=False,
    ),
)
