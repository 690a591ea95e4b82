# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has asked for a command, and what of this computer it may touch for them.

A command declares what it touches (`Command.host`, `Arg.host`), the registry has it decided here, and who asks is known
from the front end that they came by. Commands that commands run are asked for by the same client.
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


class Client(enum.Enum):
    """Who asks."""

    LOCAL = "the prompt, the command line or a script"
    TRUSTED = "a debugger of this user's, or one that may do what those may"
    OTHER = "any other debugger"

    @property
    def may(self) -> Host:
        """What may be touched for them."""
        return Host.NOTHING if self is Client.OTHER else ANYTHING


_CLIENT: ContextVar[Client] = ContextVar("client", default=Client.LOCAL)


def client() -> Client:
    """Who has asked for the command that this thread is running."""
    return _CLIENT.get()


@contextmanager
def acting_for(client: Client) -> Iterator[None]:
    """Run commands for `client`."""
    token = _CLIENT.set(client)
    try:
        yield
    finally:
        _CLIENT.reset(token)


def described(host: Host) -> str:
    """What is touched, in words: "reads files of this computer"."""
    return " and ".join(_WORDS[each] for each in host)


def require(host: Host, what: str) -> None:
    """Raise CommandError unless the client may have `what`, which touches `host`."""
    refused = host & ~client().may
    if refused:
        raise CommandError(
            f"{what} {described(refused)}, which is not for a debugger that came over TCP: type it at armprobe's own "
            "prompt, let the debugger come by a unix socket (--listen unix:PATH), or start armprobe with --trust-tcp"
        )
