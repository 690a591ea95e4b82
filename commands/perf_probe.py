# SPDX-License-Identifier: GPL-2.0-or-later
"""The command probe, in the grammar of `perf probe`: probes at functions and source lines, and what is there."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from armprobe.kernel import typed_memory
from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.source_lines import SourceFunction, SourceLines
from armprobe.machine import Machine, host_files
from armprobe.session.authority import Host, require

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .events import GROUP, changed, written
from .values import EventsChanged, FunctionVariable, FunctionVariables, ProbeDefinition, SourceListing, SourceRow

if TYPE_CHECKING:
    from armprobe.machine import Symbol
    from armprobe.session import Session

_GROUP_OF_PERF: Final = "probe"
_PROBE: Final = re.compile(
    r"(?:(?:(?P<group>\w+):)?(?P<event>\w+)=)?"
    r"(?:(?P<file>[\w./-]+\.[chS]):(?P<at>\d+)"
    r"|(?P<function>[A-Za-z_][\w.$]*)(?:@(?P<source>[\w./-]+))?"
    r"(?P<rest>%return|\+(?:0x[0-9a-fA-F]+|\d+)|:\d+)?)"
    r"(?P<arguments>(?:\s.*)?)"
)
_FORMS: Final = "[[GROUP:]EVENT=]FUNCTION[%return|+OFFSET|:LINE] [ARGUMENT...], or FILE:LINE in place of the function"
_ALL: Final = frozenset(("$params", "$vars"))

_LARGEST: Final = 4 << 20  # bytes of a source
_KNOWN: Final[WeakKeyDictionary[Machine, SourceLines]] = WeakKeyDictionary()


def _probe(
    session: Session, arguments: Arguments
) -> EventsChanged | ProbeDefinition | SourceListing | FunctionVariables:
    option, _, text = arguments.text.partition(" ")
    match option:
        case "-L" | "--line":
            return _listing(session, text.strip())
        case "-V" | "--vars":
            return _variables(session, text.strip())
        case "-D" | "--definition":
            return ProbeDefinition(definition(session, text.strip()))
        case "-a" | "--add":
            return _add(session, text.strip())
    if option.startswith("-"):
        raise CommandError(
            f"probe has no option {option}: it has -a, -D, -L and -V of perf probe; events lists, event -: deletes"
        )
    return _add(session, arguments.text.strip())


def _add(session: Session, text: str) -> EventsChanged:
    defined = written(session, definition(session, text))
    names = [row.event for row in defined.events]
    for name in names:
        session.kprobes.events.enable(name)
    return changed(session, "enabled", names)


def definition(session: Session, text: str) -> str:
    """The line for kprobe_events of a probe in the grammar of perf. Raises CommandError."""
    found = _PROBE.fullmatch(text)
    if found is None:
        raise CommandError(f"{text!r} is no probe: write {_FORMS}")
    rest, returns = found["rest"] or "", found["rest"] == "%return"
    if found["file"]:
        function, address = sources(session.machine).at(found["file"], int(found["at"]))
        name, place, suffix = function.name, _place(session.machine, function, address), ""
    else:
        name, place, suffix = found["function"], found["function"], ""
        if rest.startswith(":"):
            function = sources(session.machine).function(name)
            place = _place(session.machine, function, function.address_of(function.line + int(rest[1:])))
            suffix = f"_L{int(rest[1:])}"
        elif rest.startswith("+"):
            place = f"{name}+{int(rest[1:], 0)}"
    event = (found["event"] or name.partition(".")[0]) + ("__return" if returns else "" if found["event"] else suffix)
    words = [_argument(word) for word in found["arguments"].split()]
    return " ".join((f"{'r' if returns else 'p'}:{found['group'] or _GROUP_OF_PERF}/{event}", place, *words))


def _argument(word: str) -> str:
    """An argument as kprobe_events has it. A member has its own name, and all parameters are $arg*."""
    if word in _ALL:
        return "$arg*"
    name, arrow, member = word.partition(":")[0].rpartition("->")
    if arrow and name and "=" not in word:
        return f"{member.rpartition('.')[2]}={word}"
    return word


def sources(machine: Machine) -> SourceLines:
    """The source lines of the guest. Raises CommandError if its file has no debug information."""
    if machine not in _KNOWN:
        path = machine.guest.dwarf
        if path is None:
            raise CommandError(
                "this guest's source lines are not known: load a file with debug information, such as vmlinux"
            )
        _KNOWN[machine] = SourceLines(Dwarf(path))
    return _KNOWN[machine]


def _place(machine: Machine, function: SourceFunction, address: int) -> str:
    """The place of an address of the file: its function's symbol, and the offset. Raises MachineError."""
    symbol = machine.symbols[function.name]
    offset = address + _slide(symbol, function) - symbol.address
    return f"{function.name}+{offset}" if offset else function.name


def _slide(symbol: Symbol, function: SourceFunction) -> int:
    return function.slide(symbol.address)


def _listing(session: Session, name: str) -> SourceListing:
    require(Host.READS_FILES, "probe -L")
    machine = session.machine
    function = sources(machine).function(name)
    last = max(function.lines)
    text = source_text(machine, function.file, function.line, last)
    symbol = machine.symbols.get(name)
    moved = 0 if symbol is None else _slide(symbol, function)
    return SourceListing(
        name,
        function.file,
        function.line,
        tuple(
            SourceRow(line - function.line, each, None if at is None else at + moved)
            for line, each in zip(range(function.line, last + 1), text, strict=False)
            for at in (function.lines.get(line),)
        ),
    )


def source_text(machine: Machine, file: str, first: int, last: int) -> list[str]:
    """Lines of a source, looked for at its own path and in the folders around the guest's file."""
    parts = PurePosixPath(file).parts
    assert machine.guest.dwarf is not None
    folder = machine.guest.dwarf.resolve().parent
    for path in (Path(file), *(folder.joinpath(*parts[start:]) for start in range(len(parts)))):
        if path.is_file():
            return host_files.read_text(path, _LARGEST).splitlines()[first - 1 : last]
    raise CommandError(f"the source {file} is not found: put it where it was compiled, or beside the guest's file")


def _variables(session: Session, name: str) -> FunctionVariables:
    machine = session.machine
    symbol = machine.symbols[name]
    prototype = typed_memory(machine).function(name, symbol.address)
    return FunctionVariables(
        name, tuple(FunctionVariable(str(each.type), each.name) for each in prototype.parameters if each.name)
    )


COMMANDS = (
    Command(
        "probe",
        "Put a probe on a function or a source line, in the grammar of perf probe. trace shows its hits.\n"
        "    probe vfs_read count file->f_mode        arguments by name\n"
        "    probe vfs_read%return $retval            at the return\n"
        "    probe vfs_read:14                        14 lines below the function's first line\n"
        "    probe fs/read_write.c:464                a line of a file\n"
        "    probe my=vfs_read+12 %x0                 with a name of its own\n"
        "    probe -D vfs_read count                  show the line for kprobe_events, and set no probe\n"
        "    probe -L vfs_read                        the function's source; lines with a number can be probed\n"
        "    probe -V vfs_read                        its parameters\n\n"
        "It is an event (see event), of the group probe, and enabled. Lines need debug information (DWARF): that of\n"
        "an ELF, or of a vmlinux. Names need types: the kernel's BTF, or the same.",
        (Arg("text", _FORMS, rest=True, foreign=True),),
        _probe,
        group=GROUP,
        gdb=False,
    ),
)
