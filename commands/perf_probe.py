# SPDX-License-Identifier: GPL-2.0-or-later
"""The command probe, in the grammar of `perf probe`: probes at functions and source lines, and what is there."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from armprobe.kernel import typed_memory
from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.source_lines import SourceLines, slide
from armprobe.kernel.source_places import Block, SourcePlaces
from armprobe.machine import Machine, host_files
from armprobe.probes.events import EventProbe
from armprobe.session.authority import Host, require

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .events import GROUP, changed, row, written
from .values import (
    EventRows,
    EventsChanged,
    FunctionVariable,
    FunctionVariables,
    PerfProbe,
    PerfProbes,
    ProbeDefinition,
    SourceListing,
    SourceRow,
)

if TYPE_CHECKING:
    from armprobe.session import Session

_GROUP_OF_PERF: Final = "probe"
_FILE: Final = r"[\w./-]+\.[chS]"
_PROBE: Final = re.compile(
    r"(?:(?:(?P<group>\w+):)?(?P<event>\w+)=)?"
    rf"(?:(?P<file>{_FILE})(?::(?P<at>\d+)|;(?P<lines>\S+))"
    r"|(?P<function>[A-Za-z_][\w.$]*)(?:@(?P<source>[\w./-]+))?"
    r"(?:(?P<returns>%return)|\+(?P<offset>0x[0-9a-fA-F]+|\d+)|:(?P<line>\d+)|;(?P<pattern>\S+))?)"
    r"(?P<arguments>(?:\s.*)?)"
)
_FORMS: Final = (
    "[[GROUP:]EVENT=]FUNCTION[@FILE][%return|+OFFSET|:LINE|;PATTERN] [ARGUMENT...], or FILE:LINE or FILE;PATTERN in "
    "place of the function"
)
_LISTED: Final = re.compile(
    rf"(?:(?P<file>{_FILE})|(?P<function>[A-Za-z_][\w.$]*)(?:@(?P<source>[\w./-]+))?)"
    r"(?::(?P<first>\d+)(?:-(?P<last>\d+)|\+(?P<count>\d+))?)?"
)
_NAME: Final = re.compile(r"[A-Za-z_&*(]")
_MORE: Final = 3
"""Lines that are shown below the last one with code (__show_line_range, tools/perf/util/probe-event.c)."""
_INSTEAD: Final = {
    **dict.fromkeys(("-F", "--funcs"), "symbols lists functions by a pattern"),
    **dict.fromkeys(("-m", "--module"), "event p MODULE:FUNCTION probes a module"),
    **dict.fromkeys(("-n", "--dry-run"), "-D shows the line and sets no probe"),
    **dict.fromkeys(("-x", "--exec"), "functions of the kernel can be probed, those of programs cannot"),
}
"""What to write in place of other options of perf probe."""
_ALL: Final = frozenset(("$params", "$vars"))

_LARGEST: Final = 4 << 20  # bytes of a source
_KNOWN: Final[WeakKeyDictionary[Machine, SourceLines]] = WeakKeyDictionary()
_PLACES: Final[WeakKeyDictionary[Machine, SourcePlaces]] = WeakKeyDictionary()


def _probe(
    session: Session, arguments: Arguments
) -> EventsChanged | PerfProbes | ProbeDefinition | SourceListing | FunctionVariables:
    option, _, text = re.sub(r"^(--\w+)=", r"\1 ", arguments.text).partition(" ")
    if not option.startswith("-"):
        return _add(session, _unquoted(arguments.text))
    text = _unquoted(text)
    match option:
        case "-L" | "--line":
            return _listing(session, text)
        case "-V" | "--vars":
            return _variables(session, text)
        case "-D" | "--definition":
            return ProbeDefinition(definition(session, text))
        case "-a" | "--add":
            return _add(session, text)
        case "-l" | "--list":
            return _list(session, text or "*")
        case "-d" | "--del":
            return _delete(session, text)
    instead = _INSTEAD.get(option, "it has -a, -d, -D, -l, -L and -V of perf probe")
    raise CommandError(f"probe has no option {option}: {instead}")


def _unquoted(text: str) -> str:
    """What a shell would make of it: perf's lines most often have quotes around the probe."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _add(session: Session, text: str) -> EventsChanged:
    if re.search(r"\s(?:-a|--add)[\s=]", text):
        raise CommandError("probe adds one probe: write a line for each")
    events = session.kprobes.events
    before = set(events.probes)
    try:
        defined = written(session, definition(session, text))
    except CommandError:  # of several places all have a probe, or none
        for probe in [each for each in events.probes if each not in before]:
            events.delete(f"-:{probe.event.path} {probe.definition.place}")
        raise
    names = list(dict.fromkeys(row.event for row in defined.events))
    for name in names:
        events.enable(name)
    return changed(session, "enabled", names)


def _named(session: Session, pattern: str) -> list[EventProbe]:
    """The probes of the events whose names, with their groups or without, match (probe_file__get_events)."""
    return [
        each
        for each in session.kprobes.events.probes
        if any(fnmatchcase(name, pattern) for name in (each.event.name, each.event.path.replace("/", ":")))
    ]


def _list(session: Session, pattern: str) -> PerfProbes:
    return PerfProbes(
        PerfProbe(
            each.event.path.replace("/", ":"),
            each.definition.place.removesuffix("%return") + "%return" * each.event.is_return,
            tuple(argument.name for argument in each.arguments),
        )
        for each in _named(session, pattern)
    )


def _delete(session: Session, pattern: str) -> EventsChanged:
    """Disable events, and delete them. One with triggers stays, as in the kernel. Raises EventError (EBUSY)."""
    found, events = _named(session, pattern), session.kprobes.events
    if not found:
        raise CommandError(f"{pattern!r} names no event: probe -l lists them")
    rows = EventRows(map(row, found))
    for path in dict.fromkeys(each.event.path for each in found):
        events.disable(path)
        events.delete(path)
    return EventsChanged("deleted", rows)


def definition(session: Session, text: str) -> str:
    """The lines for kprobe_events of a probe in the grammar of perf, one for each of its places.

    Raises CommandError.
    """
    found = _PROBE.fullmatch(text)
    if found is None:
        raise CommandError(f"{text!r} is no probe: write {_FORMS}")
    name, returns = found["function"] or "", bool(found["returns"])
    suffix = "__return" if returns else "" if found["event"] or not found["line"] else f"_L{int(found['line'])}"
    words = [_argument(word) for word in found["arguments"].split()]
    lines = []
    for scope, place, inlined in _places_of(session, found):
        values = [word.partition("=")[2] or word for word in words]
        if inlined and (named := next(filter(_NAME.match, values), None)):
            raise CommandError(
                f"{named} is not known in {scope}, which is inlined at {place}: give a register, such as %x0"
            )
        event = (found["event"] or (name or scope).partition(".")[0]) + suffix
        head = f"{'r' if returns else 'p'}:{found['group'] or _GROUP_OF_PERF}/{event}"
        lines.append(" ".join((head, place, *words)))
    return "\n".join(lines)


def _places_of(session: Session, found: re.Match[str]) -> list[tuple[str, str, bool]]:
    """The places of a probe: for each the function that it is in, where that is, and whether it is inlined there."""
    machine, name, source = session.machine, found["function"] or "", found["source"] or ""
    offset = int(found["offset"] or "0", 0)
    if found["at"]:
        places = _source_places(machine).of_line("", found["file"], int(found["at"]))
    elif found["line"]:
        places = _source_places(machine).of_line(name, source, int(found["line"]))
    elif found["lines"] or found["pattern"]:
        require(Host.READS_FILES, "a probe by a pattern")
        pattern = found["lines"] or found["pattern"]
        places = _source_places(machine).matching(
            name, source or found["file"] or "", pattern, lambda file: source_text(machine, file, 1)
        )
    elif machine.guest.dwarf is None or (not source and not sources(machine).knows(name)):
        return [(name, f"{name}+{offset}" if offset else name, False)]
    else:
        places = _source_places(machine).of_function(name, source, offset)
        if found["returns"]:
            places = [place for place in places if place.block.parent is None]
            if not places:
                raise CommandError(f"{name} is inlined wherever it is called: it has no return that can be probed")
    return [
        (place.block.name, _place(machine, place.block.function, place.address), place.block.parent is not None)
        for place in places
    ]


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


def _source_places(machine: Machine) -> SourcePlaces:
    """Where source lines and inlined functions of the guest are. Raises CommandError as `sources`."""
    if machine not in _PLACES:
        _PLACES[machine] = SourcePlaces(sources(machine))
    return _PLACES[machine]


def line_address(machine: Machine, file: str, line: int) -> int:
    """The address where a line of a file begins. Raises CommandError and MachineError if there is not one place."""
    found: dict[str, int] = {}  # where it first begins in each function
    for place in _source_places(machine).of_line("", file, line):
        function = place.block.function
        address = place.address + _slide(machine, function)
        found[function.name] = min(found.get(function.name, address), address)
    if len(found) > 1:
        places = ", ".join(f"{address:#x} in {name}" for name, address in found.items())
        raise CommandError(f"{file}:{line} is at {len(found)} addresses: name one of them: {places}")
    return next(iter(found.values()))


def _place(machine: Machine, function: Block, address: int) -> str:
    """The place of an address of the file: its symbol, and the offset. Raises MachineError."""
    found = machine.symbols.at(address + _slide(machine, function))
    assert found is not None  # the function is there
    symbol, offset = found
    return f"{symbol.name}+{offset}" if offset else symbol.name


def _slide(machine: Machine, function: Block) -> int:
    """How far the kernel has moved from where its file has it."""
    return slide(machine.symbols[function.name].address, function.ranges[0][0])


def _listing(session: Session, text: str) -> SourceListing:
    require(Host.READS_FILES, "probe -L")
    machine = session.machine
    found = _LISTED.fullmatch(text)
    if found is None:
        raise CommandError(f"{text!r} has no lines: write FUNCTION[@FILE][:LINE[-LAST|+COUNT]], or FILE in its place")
    first, last = int(found["first"] or 0), int(found["last"]) if found["last"] else None
    if found["count"]:
        last = first + int(found["count"]) - 1
    if last is not None and last < first:
        raise CommandError(f"{text!r} has no lines: the last is before the first")
    name = found["function"] or ""
    listed = _source_places(machine).listing(name, found["source"] or found["file"] or "", first, last)
    begin, end = max(listed.base + first, 1), listed.base + listed.last + (_MORE if last is None else 0)
    moved = _slide(machine, listed.function)
    rows = (
        SourceRow(line, each, None if (at := listed.lines.get(line)) is None else at + moved)
        for line, each in enumerate(source_text(machine, listed.file, begin, end), begin - listed.base)
    )
    return SourceListing(name, listed.file, listed.base + first, tuple(rows))


def source_text(machine: Machine, file: str, first: int, last: int | None = None) -> list[str]:
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
        "    probe 'vfs_read;*fsnotify_access*'       lines of it that match a pattern; spaces do not count\n"
        "    probe read_write.c;*->f_pos*             the same of a file\n"
        "    probe get_page@mm.h                      of the functions of that name, that of a file\n"
        "    probe my=vfs_read+12 %x0                 with a name of its own\n"
        "    probe -D vfs_read count                  show the line for kprobe_events, and set no probe\n"
        "    probe -L vfs_read                        the function's source; lines with a number can be probed\n"
        "    probe -L vfs_read:4-20                   some lines of it; also vfs_read:4+17, read_write.c:460-470\n"
        "    probe -V vfs_read                        its parameters\n"
        "    probe -l                                 list the events\n"
        "    probe -d vfs_read                        disable and delete events, also by a pattern\n\n"
        "It is an event (see event), of the group probe, and enabled. A function that is inlined has a probe at each\n"
        "of its copies, and a line at each instruction that begins it: places of one event. Arguments at a copy are\n"
        "registers. Lines and copies need debug information (DWARF): that of an ELF, or of a vmlinux. Names need\n"
        "types: the kernel's BTF, or the same.",
        (Arg("text", _FORMS, rest=True, foreign=True),),
        _probe,
        group=GROUP,
        gdb=False,
    ),
)
