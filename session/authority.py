# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has asked for a command, and what of this computer it may touch for them.

A command declares what it touches (`Command.host`, `Arg.host`), the registry has it decided here, and who asks is known
from the front end that they came by. Commands that commands run are asked for by the same.
"""

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from .errors import CommandError


class Host(enum.Flag):
    """What a command touches of the computer that armprobe runs on."""

    NOTHING = 0
    READS_FILES = enum.auto()
    WRITES_FILES = enum.auto()
    PROCESSES = enum.auto()
    """It starts a process, or ends one: armprobe's own."""


ANYTHING: Final = Host.READS_FILES | Host.WRITES_FILES | Host.PROCESSES
_WORDS: Final = {
    Host.READS_FILES: "reads files of this computer",
    Host.WRITES_FILES: "writes files of this computer",
    Host.PROCESSES: "starts or ends processes of this computer",
}


class Asker(enum.Enum):
    """Who asks."""

    LOCAL = "the prompt, the command line or a script"
    TRUSTED = "a debugger of this user's, or one that may do what those may"
    OTHER = "any other debugger"

    @property
    def may(self) -> Host:
        """What may be touched for them."""
        return Host.NOTHING if self is Asker.OTHER else ANYTHING


_ASKER: ContextVar[Asker] = ContextVar("asker", default=Asker.LOCAL)


def asker() -> Asker:
    """Who has asked for the command that this thread is running."""
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
    """What is touched, in words: "reads files of this computer"."""
    return " and ".join(_WORDS[each] for each in host)


def require(host: Host, what: str) -> None:
    """Raise CommandError unless the asker may have `what`, which touches `host`."""
    refused = host & ~asker().may
    if refused:
        raise CommandError(
            f"{what} {described(refused)}, which is not for a debugger over TCP or of another user: type it at "
            "armprobe's own prompt, let your debugger come by a unix socket (--listen unix:PATH), or start armprobe "
            "with --trust-tcp"
        )
