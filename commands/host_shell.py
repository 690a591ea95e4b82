# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `shell`, and `!`: a command line of this computer's shell, for the user in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from armprobe.session.authority import Host

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .values import ShellCommand

if TYPE_CHECKING:
    from armprobe.session import Session

_MOST: Final = 16 << 20  # bytes of output that are kept where there is no terminal


def _shell(session: Session, arguments: Arguments) -> ShellCommand:
    """On a terminal the program has it. Elsewhere its output is the answer's, so that --json stays JSON."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    words = [shell, "-c", arguments.command] if arguments.command else [shell]
    terminal = sys.stdout.isatty()
    if not terminal and not arguments.command:
        raise CommandError("shell needs a command where there is no terminal, such as shell ls")
    try:
        program = subprocess.Popen(words, stdin=None if terminal else subprocess.DEVNULL, stdout=_output(terminal))
    except OSError as error:
        raise CommandError(f"{shell} cannot be executed: {error.strerror}") from None
    out = b""
    with program:
        if program.stdout is not None:
            out = program.stdout.read(_MOST + 1)
            if len(out) > _MOST:
                program.kill()
                raise CommandError(f"the command has written over {_MOST >> 20} MiB and was ended: send it to a file")
    status = program.returncode
    return ShellCommand(out.decode("utf-8", "replace"), 128 - status if status < 0 else status)


def _output(terminal: bool) -> int | None:
    return None if terminal else subprocess.PIPE


COMMANDS = (
    Command(
        "shell",
        "Execute a command of this computer's shell, $SHELL; without one, the shell itself. It is also !COMMAND.\n"
        "The guest stands still meanwhile. What a program writes goes to the terminal if there is one.",
        (Arg("command", "the command, as for a shell", optional=True, rest=True, foreign=True),),
        _shell,
        group="Running",
        gdb=False,  # gdb has its own
        host=Host.SHELL,
    ),
)
