# SPDX-License-Identifier: GPL-2.0-or-later
"""A session that is no machine, and a registry of toy commands, for testing what runs them."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from armprobe.commands.declaration import Arg, Arguments, Command, Option, Parts, integer
from armprobe.commands.errors import CommandError
from armprobe.commands.parsing import Line
from armprobe.commands.registry import Registry, Show
from armprobe.commands.render.text import as_text
from armprobe.commands.terminal import Out
from armprobe.stub import Client
from tests.stub.fake import FakeTarget  # tests have no import name to go by

SYMBOLS = ("do_sys_open", "kfree", "kmalloc")


def symbols(session: Any, word: str) -> Iterable[str]:
    return [*SYMBOLS, *(f"{symbol}+0x10" for symbol in SYMBOLS)]


@dataclass(frozen=True)
class Said:
    """What a toy command answers with."""

    text: str


@as_text.register
def _(value: Said) -> str:
    return value.text


def probe(session: Any, arguments: Arguments) -> Said:
    """Says what it was given."""
    if arguments.symbol not in SYMBOLS:
        raise CommandError(f"there is no function {arguments.symbol}")
    given = f"symbol={arguments.symbol} count={arguments.count} stop={arguments.stop} max_active={arguments.max_active}"
    return Said(f"{given}\n")


def echo(session: Any, arguments: Arguments) -> Said:
    return Said(arguments.text)


def hits(session: Any, arguments: Arguments) -> Parts[None]:
    for number in range(arguments.count):
        yield Said(f"hit {number}\n")


def wait(session: "ToySession", arguments: Arguments) -> Parts[None]:
    yield Said("started\n")
    session.started.set()
    until = time.monotonic() + arguments.seconds
    # In short waits: Python sleeps through a signal that comes just before one.
    while not (stopped := session.interrupted.wait(0.02)) and time.monotonic() < until:
        pass
    yield Said("interrupted\n" if stopped else "waited\n")


def load(session: "ToySession", arguments: Arguments) -> None:
    session.registers["x0"] = arguments.value


def tick(session: "ToySession", arguments: Arguments) -> Said:
    session.ticks += 1
    return Said(f"tick {session.ticks}\n")


def leave(session: "ToySession", arguments: Arguments) -> None:
    session.finished = True


def defect(session: Any, arguments: Arguments) -> None:
    raise ZeroDivisionError("a defect of the command's own")


COMMANDS = (
    Command(
        "probe",
        "Put a probe on a function.\n\nIt stays until it is taken off.",
        (
            Arg("symbol", "the function", complete=symbols),
            Arg("count", "how often", type=integer, optional=True, default=1),
            Option("stop", "where to stop", choices=("pre", "post"), many=True),
            Option("max-active", "how many at once", type=integer),
        ),
        probe,
        aliases=("p",),
        group="Probes",
    ),
    Command("probes", "List the probes.", (), lambda session, arguments: Said("none\n"), group="Probes"),
    Command("hits", "Show hits.", (Arg("count", "how many", type=integer),), hits, group="Probes"),
    Command(
        "enable",
        "Enable probes.",
        (Arg("probes", "which", many=True, optional=True),),
        lambda session, arguments: Said(f"enabled {arguments.probes}\n"),
        gdb="probe-enable",
        group="Probes",
    ),
    Command("echo", "Say it.", (Arg("text", "what to say", rest=True),), echo, gdb="armprobe-echo"),
    Command("wait", "Wait.", (Arg("seconds", "for how long", type=integer),), wait),
    Command("load-x0", "Set x0.", (Arg("value", "to what", type=integer),), load, changes_state=True),
    Command("tick", "Count.", (), tick, repeat=True),
    Command("quit", "Leave.", (), leave, gdb=False),
    Command(
        "many",
        "Complete to very many names.",
        (Arg("name", "one of them", complete=lambda session, word: [f"name{n:03}" for n in range(300)]),),
        echo,
        gdb=False,
    ),
    Command("defect", "Fail as no command should.", (), defect, gdb=False),
)


class ToySession(FakeTarget):
    """What front ends need of a session, over the stub's fake target."""

    def __init__(self, commands: tuple[Command, ...] = COMMANDS) -> None:
        super().__init__()
        self.registry = Registry(commands)
        self.ticks = 0
        self.started = threading.Event()
        self.interrupted = threading.Event()
        self.state = "toy  stopped"
        self.finished = False
        self.notice: Callable[[str], None] = lambda text: None

    def status(self) -> str:
        return self.state

    def on_notice(self, notice: Callable[[str], None]) -> None:
        self.notice = notice

    def interrupt(self) -> None:
        self.interrupted.set()
        super().interrupt()

    def perform(self, line: Line, show: Show, remark: Out) -> object:
        return self.registry.run(self, line, show)

    def execute(self, line: str, out: Out) -> None:
        self.registry.run(self, line, lambda value: out(as_text(value)))

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        try:
            self.execute(line, out)
        except CommandError as error:
            out(str(error))
            return False
        return True

    def complete(self, line: str) -> list[str]:
        return self.registry.complete(self, line)

    def complete_like(self, line: str) -> list[str]:
        return self.registry.complete(self, line, like=True)

    @property
    def position(self) -> int:
        return 0

    def command_table(self) -> str:
        return self.registry.table()
