# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits the parts of this computer that a command may touch, depending on who asks for it.

A command declares the parts it touches (`Command.host`, `Arg.host`), and the registry calls `require`. The front end
says who asks (`acting_for`).
"""

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from .errors import CommandError


class Host(enum.Flag):
    """The parts of this computer that a command touches."""

    NOTHING = 0
    READS_FILES = enum.auto()
    WRITES_FILES = enum.auto()
    PROCESSES = enum.auto()
    """Starting or ending a process, armprobe's own included."""
    SHELL = enum.auto()
    """A command line of this computer's shell: for the user in front of it only."""


ANYTHING: Final = Host.READS_FILES | Host.WRITES_FILES | Host.PROCESSES
"""What the debuggers of the user may."""
_WORDS: Final = {
    Host.READS_FILES: "reads files of this computer",
    Host.WRITES_FILES: "writes files of this computer",
    Host.PROCESSES: "starts or ends processes of this computer",
    Host.SHELL: "runs any program of this computer",
}


class Asker(enum.Enum):
    """The source of a command."""

    LOCAL = "the prompt, the command line or a script"
    TRUSTED = "a debugger of this user's, or one that may do what those may"
    OTHER = "any other debugger"

    @property
    def may(self) -> Host:
        """The parts of this computer that commands from this source may touch."""
        return {Asker.LOCAL: ANYTHING | Host.SHELL, Asker.TRUSTED: ANYTHING, Asker.OTHER: Host.NOTHING}[self]


_ASKER: ContextVar[Asker] = ContextVar("asker", default=Asker.LOCAL)


def asker() -> Asker:
    """The asker of the command that this thread runs."""
    return _ASKER.get()


@contextmanager
def acting_for(asker: Asker) -> Iterator[None]:
    """Run commands for `asker`."""
    token = _ASKER.set(asker)
    try:
        yield
    finally:
        _ASKER.reset(token)


def described(host: Host) -> str:
    """`host` in words: "reads files of this computer"."""
    return " and ".join(_WORDS[each] for each in host)


def require(host: Host, what: str) -> None:
    """Raise CommandError unless the asker may use `what`, which touches `host`."""
    refused = host & ~asker().may
    if Host.SHELL in refused:
        raise CommandError(f"{what} {described(refused)}, which is for no debugger: use your debugger's own shell")
    if refused:
        raise CommandError(
            f"{what} {described(refused)}, which is not for a debugger over TCP or of another user: type it at "
            "armprobe's own prompt, let your debugger come by a unix socket (--listen unix:PATH), or start armprobe "
            "with --trust-tcp"
        )
