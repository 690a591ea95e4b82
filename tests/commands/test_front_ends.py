# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command in every front end: the same answer, the usage after bad arguments, help, and completion."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from prompt_toolkit.input import create_pipe_input

from armprobe.clients import GdbError, GdbSession
from armprobe.commands import CommandError, Session
from armprobe.commands.catalog import registry
from armprobe.commands.render.errors import error_text
from armprobe.commands.render.json import as_json_line
from armprobe.commands.render.text import as_text
from armprobe.commands.repl import BANNER, Repl
from tests.commands.test_repl import LEAVE, Screen  # tests have no import name to go by
from tests.waiting import PATIENCE

FIRST: Final = ("kretprobe slab_round", "continue until=workload_round", "continue instructions=20000")
"""What is done before, on each guest."""
# A line of each command, and its bad arguments; none where any words are taken. Those that leave the guest where it is
# come first. FOLDER is an empty folder.
ASKED: Final[dict[str, tuple[str, str | None]]] = {
    "help": ("help help", None),
    "kprobe": ("kprobe kmem_cache_free+4", ""),
    "kretprobe": ("kretprobe kmalloc", ""),
    "jprobe": ("jprobe slab_round", ""),
    "probes": ("probes", "slab_round x"),
    "blacklist": ("blacklist *irq*", "a b"),
    "disable": ("disable kmalloc", ""),
    "enable": ("enable kmalloc", ""),
    "count": ("count kfree by caller", ""),
    "hist": ("hist kmalloc x0", ""),
    "latency": ("latency kmalloc", ""),
    "stacks": ("stacks kfree", ""),
    "counts": ("counts", "x y"),
    "argdist": ("argdist -C kmalloc x0", ""),
    "funccount": ("funccount slab*", ""),
    "funcgraph": ("funcgraph slab_round", ""),
    "regs": ("regs slab_round", "slab_round x"),
    "pt-regs": ("pt-regs", "entry x"),
    "trace": ("trace 2", "1 2"),
    "trace follow": ("trace follow off", "off x"),
    "trace save": ("trace save FOLDER/hits.csv", ""),
    "trace >": ("trace > FOLDER/hits.txt", ""),
    "trace size": ("trace size", "1000 x"),
    "query": ("help query", ""),  # an engine that takes a second to load
    "decode": ("decode 0xd503201f", ""),
    "check": ("check kfree", ""),
    "event": ("event p:asked kfree addr=%x0", ""),
    "events": ("events", "x"),
    "events enable": ("events enable asked", None),
    "events disable": ("events disable asked", None),
    "events format": ("events format asked", ""),
    "events filter": ("events filter asked addr != 0", ""),
    "events trigger": ("events trigger asked hist:keys=addr", ""),
    "events hist": ("events hist asked", ""),
    "events tracing": ("events tracing", "on x"),
    "events save": ("events save FOLDER/events", ""),
    "events load": ("events load FOLDER/events", ""),
    "events clear": ("events clear", "x"),
    "probe": ("probe -V kmalloc", ""),
    "semihosting": ("semihosting", "x"),
    "console": ("console", None),
    "source": ("source FOLDER/nosuch", ""),
    "echo": ("echo two words", None),
    "shell": ("shell echo here", None),
    "list": ("list kfree", "kfree x"),
    "info line": ("info line kfree", "kfree x"),
    "info args": ("info args", "x"),
    "backtrace": ("backtrace", "0 x"),
    "symbols": ("symbols kmalloc", ""),
    "disassemble": ("disassemble kfree 2", "kfree 2 x"),
    "info": ("info registers", "machine x"),
    "context": ("context regs", "regs x"),
    "examine": ("examine $sp 16", ""),
    "print": ("print /x $x0", ""),
    "ptype": ("ptype /o struct workload", ""),
    "whatis": ("whatis workload", ""),
    "set": ("set $x9 = 5", ""),
    "break": ("break kmalloc if size > 100", "kfree x"),
    "tbreak": ("tbreak kfree+4", "kfree x"),
    "watch": ("watch workload", ""),
    "rwatch": ("rwatch workload 4", ""),
    "awatch": ("awatch workload+8 4", ""),
    "info breakpoints": ("info breakpoints", "x"),
    "delete": ("delete", None),
    "unregister": ("unregister all", ""),
    "snapshot": ("snapshot here", ""),
    "restore": ("restore here", ""),
    "snapshots": ("snapshots", "x"),
    "save": ("save FOLDER/saved", ""),
    "load": ("load FOLDER/nosuch", ""),
    "vmcore": ("vmcore FOLDER/vmcore", ""),
    "disk": ("disk", "a force x"),
    "mark": ("mark here", "here x"),
    "goto": ("goto here", ""),
    "branches": ("branches", "x"),
    "when": ("when", "x"),
    "last-write": ("last-write $sp", ""),
    "first-write": ("first-write $sp", ""),
    "calls": ("calls slab_round", ""),
    "first-call": ("first-call panic", ""),
    "diff": ("diff here", ""),
    "tasks": ("tasks", "x"),
    "task": ("task 1", ""),
    "threads": ("threads cpu", "cpu x"),
    "crashes": ("crashes", "all x"),
    "dmesg": ("dmesg", "x"),
    "modules": ("modules", "x"),
    "mounts": ("mounts", "1 x"),
    "files": ("files 1", ""),
    "maps": ("maps 1", ""),
    "slabs": ("slabs", "x"),
    "irqs": ("irqs", "x"),
    "timers": ("timers", "wheel x"),
    "syscalls": ("syscalls", "x"),
    "tracepoints": ("tracepoints", "* x"),
    "push": ("push FOLDER/nosuch", ""),
    "pull": ("pull nosuch", ""),
    "sh": ("sh true", ""),
    "call": ("call strlen $sp", ""),
    "step": ("step", "1 x"),
    "nexti": ("nexti", "1 x"),
    "next": ("next", "1 x"),
    "step-line": ("step-line", "1 x"),
    "until": ("until kmalloc", "kfree x"),
    "finish": ("finish", "x"),
    "continue": ("continue instructions=1000", "x"),
    "top": ("top functions=3 instructions=2000", "a b"),
    "reverse-stepi": ("reverse-stepi", "1 x"),
    "reverse-nexti": ("reverse-nexti", "1 x"),
    "reverse-step": ("reverse-step", "1 x"),
    "reverse-next": ("reverse-next", "1 x"),
    "reverse-finish": ("reverse-finish", "x"),
    "reverse-continue": ("reverse-continue", "x"),
    "run": ("run instructions=1000", "x"),
    "reset": ("reset", "x"),
    "quit": ("quit", "x"),
}
COMMANDS: Final = {command.name: command for command in registry().everything}
IN_GDB: Final = {
    **dict.fromkeys(list(ASKED)[list(ASKED).index("step") : -2], "gdb is in control of the guest: "),
    "shell": "shell runs any program of this computer, which is for no debugger: ",
}
"""How those commands are refused in gdb that are not for it: the guest is gdb's to run."""


def mistaken(name: str) -> str:
    """The line with bad arguments; empty if there is none."""
    words = ASKED[name][1]
    return "" if words is None else f"{name} {words}".rstrip()


LINES: Final = [line for name, (asked, _) in ASKED.items() for line in (mistaken(name), asked) if line]
MARK: Final = "-- {} --"

# A front end gives for each of LINES its text, in which an error is the last line.
FrontEnd = Callable[[Path, str], dict[str, str]]


@contextmanager
def guest() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        for line in FIRST:
            session.run(line)
        yield session


def in_folder(lines: Sequence[str], folder: Path) -> list[str]:
    return [line.replace("FOLDER", str(folder)) for line in lines]


def answers(folder: Path, asked: Callable[[str], str], before: str = "") -> dict[str, str]:
    """What is said to each of LINES; a command that is not for gdb has another name there."""
    said = {}
    for line, real in zip(LINES, in_folder(LINES, folder), strict=True):
        said[line] = asked(before + real).replace(str(folder), "FOLDER").strip()
    return said


def asked_of_python(session: Session, line: str) -> tuple[str, str]:
    """The text of its answer, and the line of JSON for it."""
    try:
        value, error, shown = session.ask(line), "", ""
    except CommandError as refusal:
        value, error, shown = refusal.value, str(refusal), error_text(refusal)
    return ("" if value is None else as_text(value)) + shown, as_json_line(line, value, error)


def by_marks(said: str, folder: Path) -> dict[str, str]:
    """Text with a mark behind each answer, and the word error before an error."""
    found = {}
    for number, line in enumerate(LINES):
        answer, mark, said = said.partition(f"{MARK.format(number)}\n")
        assert mark, line
        found[line] = re.sub("^error: ", "", answer, flags=re.M).replace(str(folder), "FOLDER").strip()
    return found


def marked(folder: Path) -> list[str]:
    """The lines, each with one behind it that prints its mark; nothing comes after the last, which quits."""
    lines = [(line, f"echo {MARK.format(number)}") for number, line in enumerate(in_folder(LINES, folder))]
    return [each for pair in lines for each in pair][:-1]


def prompt(folder: Path, gdb_path: str) -> dict[str, str]:
    """Pasted, as a terminal says it (xterm, "Bracketed Paste Mode")."""
    screen = Screen()
    with guest() as session, create_pipe_input() as keys:
        keys.send_text("\x1b[200~" + "\n".join(marked(folder)) + "\x1b[201~\r" + LEAVE)
        assert Repl(session, session.shell.registry, keys, screen).run() == 0
        assert session.finished
    return by_marks(f"{screen.text.removeprefix(BANNER)}{MARK.format(len(LINES) - 1)}\n", folder)


def command_line(lines: Sequence[str], *options: str) -> str:
    words = [word for line in lines for word in ("-c", line)]
    command = [sys.executable, "-m", "armprobe", "--no-config", "--memory", "16M", *options, *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=PATIENCE
    )
    return done.stdout


def cli(folder: Path, gdb_path: str) -> dict[str, str]:
    _, _, said = command_line([*FIRST, "echo first", *marked(folder)]).partition("first\n")
    return by_marks(f"{said}{MARK.format(len(LINES) - 1)}\n", folder)


def as_json(folder: Path, gdb_path: str) -> dict[str, str]:
    said = command_line([*FIRST, *in_folder(LINES, folder)], "--json").replace(str(folder), "FOLDER")
    return dict(zip(LINES, said.splitlines()[len(FIRST) :], strict=True))


def monitor(folder: Path, gdb_path: str) -> dict[str, str]:
    with guest() as session, GdbSession(session, gdb=gdb_path, gdbinit=None) as gdb:
        return answers(folder, partial(asked_of_gdb, gdb), "monitor ")


def native(folder: Path, gdb_path: str) -> dict[str, str]:
    with guest() as session, GdbSession(session, gdb=gdb_path) as gdb:
        return answers(folder, lambda line: asked_of_gdb(gdb, in_gdb(line)))


def asked_of_gdb(gdb: GdbSession, line: str) -> str:
    try:
        return gdb.execute(line)
    except GdbError as error:
        return str(error)


def in_gdb(line: str) -> str:
    """The line with the name that its command has in gdb, which may be one of monitor's."""
    name = max((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), key=len)
    own = COMMANDS[name].gdb_name
    return own + line.removeprefix(name) if own else f"monitor {line}"


@pytest.fixture(scope="module")
def in_python(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Text and JSON of each of LINES by the API."""
    folder, said = tmp_path_factory.mktemp("python"), {}
    with guest() as session:
        for line, real in zip(LINES, in_folder(LINES, folder), strict=True):
            text, as_json = asked_of_python(session, real)
            said[line] = text.replace(str(folder), "FOLDER").strip(), as_json.replace(str(folder), "FOLDER").strip()
    return said


@pytest.fixture(scope="module", params=[prompt, cli, as_json, monitor, native], ids=lambda front: front.__name__)
def front_end(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gdb_path: str
) -> tuple[FrontEnd, dict[str, str]]:
    """A front end, and what it says to LINES."""
    return request.param, request.param(tmp_path_factory.mktemp("front"), gdb_path)


def test_every_command_is_asked() -> None:
    assert ASKED.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", ASKED)
def test_a_command(
    name: str, front_end: tuple[FrontEnd, dict[str, str]], in_python: dict[str, tuple[str, str]]
) -> None:
    front, said = front_end
    asked, mistake = ASKED[name][0], mistaken(name)
    if name in IN_GDB and front in (monitor, native):
        assert said[asked].startswith(IN_GDB[name])
    else:
        assert said[asked] == in_python[asked][front is as_json]
    if mistake:
        assert f"; usage: {COMMANDS[name].usage}" in said[mistake]
    if front is as_json:
        assert json.loads(said[asked])["command"] == asked


@pytest.fixture(scope="module")
def attached(gdb_path: str) -> Iterator[tuple[Session, GdbSession]]:
    with guest() as session, GdbSession(session, gdb=gdb_path) as gdb:
        yield session, gdb


@pytest.mark.parametrize("name", ASKED)
def test_help(name: str, attached: tuple[Session, GdbSession]) -> None:
    session, gdb = attached
    command = COMMANDS[name]
    shown = [session.run(f"help {name}")]
    shown += [gdb.execute(f"help {command.gdb_name}")] if command.gdb_name else []
    for text in shown:
        words = text.split()
        assert "Usage:" in words
        assert [arg.label for arg in command.args if arg.label.split()[0] not in words] == []


@pytest.mark.parametrize("name", ASKED)
def test_completion(name: str, attached: tuple[Session, GdbSession]) -> None:
    """Of the name, and of the options and keywords behind good arguments."""
    session, gdb = attached
    command = COMMANDS[name]
    first, _, second = name.partition(" ")
    assert (second or first) in session.complete(name[:-1] if len(first) > 1 else name)
    options = [f"{option}=" for option in command.options]
    assert [option for option in options if option not in session.complete(f"{name} {option[:1]}")] == []
    if own := command.gdb_name:
        assert own in gdb.execute(f"complete {own[:-1]}").splitlines()
        for option in options:
            assert f"{own} {option}" in gdb.execute(f"complete {own} {option[:-1]}").splitlines()
