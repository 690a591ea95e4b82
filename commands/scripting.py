# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for files of commands: running one within another, and printing text."""

from __future__ import annotations

import io
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason, host_files
from armprobe.session.authority import Host

from .declaration import Arg, Arguments, Command, Parts, path
from .errors import CommandError
from .parsing import Line
from .values import Answers, Completed, EventFile, EventsChanged, EventsTracing, PrintedLine, ShellCommand

if TYPE_CHECKING:
    from armprobe.session import Session

    from .registry import Show

LONGEST: Final = 16 << 20
"""The most bytes of a file of commands."""

_DEEPEST: Final = 16  # files of commands that run each other
_depth: ContextVar[int] = ContextVar("depth", default=0)


def read_lines(file: Path) -> list[str]:
    """The lines of a file of commands, with their ends. Raises MachineError if it cannot be read."""
    return list(io.StringIO(host_files.read_text(file, LONGEST, or_pipe=True).removeprefix("\ufeff")))


def run_line(session: Session, line: Line, show: Show) -> object:
    """Run the commands of a line, to the first that fails, and return their answer, or answers.

    `show` is given them as they come. For the owner's thread. Raises what commands raise.
    """
    registry = session.shell.registry
    commands = registry.commands_in(line)
    if len(commands) == 1:
        return registry.run(session, commands[0], show)
    answers: list[object] = []
    for number, command in enumerate(commands, 1):
        before = session.stop
        answer = registry.run(session, command, show)
        if answer is not None:
            answers.append(answer)
        if session.finished or exit_status(answer):
            break
        if number < len(commands) and interrupted(session, before):
            raise CommandError("interrupted; the other commands of the line are not run")
    return Answers(answers)


def interrupted(session: Session, before: Stop) -> bool:
    """Whether somebody has interrupted the guest since the stop that was the last one before."""
    return session.stop is not before and session.stop.reason is StopReason.INTERRUPTED


def exit_status(answer: object) -> int:
    """The exit status of a program that was executed, here or in the guest; 0 for other answers."""
    if isinstance(answer, Answers):
        return next((status for each in answer if (status := exit_status(each))), 0)
    return answer.status if isinstance(answer, Completed | ShellCommand) else 0


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
                answer = run_line(session, line, parts.append)
            except Exception as error:
                yield from parts
                raise CommandError(f"{name}:{number}: {error}") from error
            yield from parts
            if answer is not None:
                answers.append(answer)
            if status := exit_status(answer):
                raise CommandError(f"{name}:{number}: the program has ended with exit status {status}")
            if interrupted(session, before):
                raise CommandError(f"{name}:{number}: interrupted; the other lines are not run")
            if session.finished:
                break
    finally:
        _depth.reset(token)
    return Answers(answers)


def _echo(session: Session, arguments: Arguments) -> PrintedLine | EventsChanged | EventFile | EventsTracing:
    from . import tracefs

    answer: PrintedLine | EventsChanged | EventFile | EventsTracing = PrintedLine(" ".join(arguments.text))
    for words in tracefs.written(arguments.text):
        answer = session.shell.registry.run(session, words, lambda value: None)  # type: ignore[assignment]
    return answer


COMMANDS = (
    Command(
        "source",
        "Run the commands of a file, one or several a line, up to the first that fails.\n"
        "Several in one line have a ; between them. What begins with # is a comment. ${NAME} is the value of an\n"
        "environment variable, but in what is for the guest, as with console and sh, it stays as it is.\n"
        "A program that ends with another exit status than 0, here or in the guest, is a failure.",
        (Arg("file", "file of commands", type=path, host=Host.READS_FILES),),
        _source,
        group="Running",
        gdb=False,
        changes_state=True,
    ),
    Command(
        "echo",
        "Print text, for scripts, or write it to a file of the kernel's tracefs, as the shell's echo does.\n"
        "The files are kprobe_events, set_event, tracing_on, and enable, filter and trigger of events, with any path\n"
        "in front. The guest's own are not touched: event and events do it, without its tracefs.\n\n"
        "    echo 'p:open do_sys_openat2 name=+0(%x1):ustring' >> /sys/kernel/tracing/kprobe_events\n"
        "    echo 1 > events/kprobes/open/enable",
        (Arg("text", "text to print", optional=True, many=True, default=()),),
        _echo,
        group="Running",
        gdb=False,
    ),
)
