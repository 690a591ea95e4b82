# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this computer a command may touch, depending on who asks for it.

A command declares what it touches (`Command.host`, `Arg.host`), and the registry calls `require`. The front end says
who asks (`acting_for`).
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
    """It starts a process or ends one, armprobe's own included."""


ANYTHING: Final = Host.READS_FILES | Host.WRITES_FILES | Host.PROCESSES
_WORDS: Final = {
    Host.READS_FILES: "reads files of this computer",
    Host.WRITES_FILES: "writes files of this computer",
    Host.PROCESSES: "starts or ends processes of this computer",
}


class Asker(enum.Enum):
    """The one who asks for a command."""

    LOCAL = "the prompt, the command line or a script"
    TRUSTED = "a debugger of this user's, or one that may do what those may"
    OTHER = "any other debugger"

    @property
    def may(self) -> Host:
        """The parts of this computer that commands may touch for them."""
        return Host.NOTHING if self is Asker.OTHER else ANYTHING


_ASKER: ContextVar[Asker] = ContextVar("asker", default=Asker.LOCAL)


def asker() -> Asker:
    """The one who has asked for the command that this thread runs."""
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
    """Raise CommandError unless `what`, which touches `host`, is allowed to the asker."""
    refused = host & ~asker().may
    if refused:
        raise CommandError(
            f"{what} {described(refused)}, which is not for a debugger over TCP or of another user: type it at "
            "armprobe's own prompt, let your debugger come by a unix socket (--listen unix:PATH), or start armprobe "
            "with --trust-tcp"
        )
