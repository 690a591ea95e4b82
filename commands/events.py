# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for events: what one does with the kernel's kprobe_events and the folders of its events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

from armprobe.expressions import Condition, ExpressionError
from armprobe.machine import host_files
from armprobe.probes import EventError, Stage
from armprobe.probes.events import EventProbe, KernelEventProbe
from armprobe.probes.kprobe import OPTIMIZED
from armprobe.probes.probe import Probe
from armprobe.probes.scope import GuestScope
from armprobe.session.authority import Host

from . import program
from .declaration import Arg, Arguments, Command, path
from .errors import CommandError, Excerpt
from .locations import complete_event
from .task_options import OPTIONS as TASK_OPTIONS
from .task_options import compiled
from .values import EventFormat, EventRow, EventRows, EventsChanged, SavedEvents

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP: Final = "Events"
_HEADER: Final = "# events of armprobe, for kprobe_events\n"
_MOST: Final = 1 << 20  # bytes of a file with definitions


def _event(session: Session, arguments: Arguments) -> EventsChanged:
    try:
        tasks = compiled(session, arguments, GuestScope(session.machine, Stage.PRE))
    except ExpressionError as error:
        raise program.refused(error) from error
    return written(session, arguments.text, tasks)


def written(session: Session, text: str, tasks: Condition | None = None) -> EventsChanged:
    """Write `text` to kprobe_events. `tasks` is as for `Events.define`."""
    events = session.kprobes.events
    before = {probe: row(probe) for probe in events.probes}
    try:
        events.define(text, tasks)
    except EventError as error:
        raise refused(error) from error
    after = dict.fromkeys(events.probes)
    if removed := [shown for probe, shown in before.items() if probe not in after]:
        return EventsChanged("deleted", EventRows(removed))
    return EventsChanged("defined", EventRows(row(probe) for probe in after if probe not in before))


def refused(error: EventError, where: str = "") -> CommandError:
    """The error of a command with a text that the kernel refuses."""
    if error.command is None or error.column is None:
        return CommandError(f"{where}{error}")
    before = error.command.encode("utf-8", "surrogateescape")[: error.column]
    column = min(len(before.decode("utf-8", "replace")), len(error.command))
    return CommandError(f"{where}{error}", excerpt=Excerpt(error.command, column))


def _events(session: Session, arguments: Arguments) -> EventRows:
    own = session.kprobes.events.probes
    return EventRows(row(each) for each in _probes(session) if each in own or each.event.enabled)


def _probes(session: Session) -> list[EventProbe | KernelEventProbe]:
    events = session.kprobes.events
    return [*events.probes, *events.kernel_probes]


def row(each: EventProbe | KernelEventProbe) -> EventRow:
    """What is shown of a probe of an event."""
    probe = each.probe
    return EventRow(
        event=each.event.path,
        definition=each.listing,
        enabled=each.event.enabled and not each.event.control.soft_disabled,
        pending=probe is None,
        optimized=probe is not None and bool(probe.flags & OPTIMIZED),
        hits=0 if probe is None else probe.met if _is_filtered(probe) else probe.hits,
        nmissed=0 if probe is None else probe.nmissed,
        tasks="" if each.tasks is None else str(each.tasks),
    )


def _is_filtered(probe: Probe) -> bool:
    """Whether not all hits of a probe are recorded."""
    return probe.condition is not None or probe.observer is not None


def _enable(session: Session, arguments: Arguments) -> EventsChanged:
    names = _names(session, arguments.event)
    for name in names:
        session.kprobes.events.enable(name)
    return changed(session, "enabled", names)


def _disable(session: Session, arguments: Arguments) -> EventsChanged:
    names = _names(session, arguments.event)
    for name in names:
        session.kprobes.events.disable(name)
    return changed(session, "disabled", names)


def _names(session: Session, names: Sequence[str]) -> Sequence[str]:
    """Names for `Events.chosen`; `all`, or none, are all that were defined. Raises EventError if one chooses none."""
    events = session.kprobes.events
    if not names or names == ("all",):
        return [event.path for event in events.events]
    for name in names:
        events.chosen(name)
    return names


def changed(session: Session, done: str, names: Sequence[str]) -> EventsChanged:
    """What was done to the events that are named."""
    paths = {path for name in names for path in session.kprobes.events.chosen(name)}
    probes = [each for each in _probes(session) if each.event.path in paths]
    return EventsChanged("enabled" if done == "enabled" else "disabled", EventRows(map(row, probes)))


def _format(session: Session, arguments: Arguments) -> EventFormat:
    event = session.kprobes.events.find(arguments.event)
    return EventFormat(event.path, event.format)


def _clear(session: Session, arguments: Arguments) -> EventsChanged:
    events = session.kprobes.events
    rows = EventRows(map(row, events.probes))
    events.clear()
    return EventsChanged("deleted", rows)


def _load(session: Session, arguments: Arguments) -> EventsChanged:
    """As `cat FILE > kprobe_events`."""
    text = host_files.read_text(arguments.file, _MOST, or_pipe=True)
    events = session.kprobes.events
    if arguments.add is None:
        events.clear()
    before = set(events.probes)
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            events.define(f"{line}\n")
        except EventError as error:
            raise refused(error, f"{host_files.shown(arguments.file)}:{number}: ") from error
    return EventsChanged("defined", EventRows(row(each) for each in events.probes if each not in before))


def _save(session: Session, arguments: Arguments) -> SavedEvents:
    lines = session.kprobes.events.list()
    text = _HEADER + "".join(f"{line}\n" for line in lines)
    with host_files.new_file(arguments.file, _is_ours, force=arguments.force is not None) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    return SavedEvents(host_files.shown(arguments.file), len(lines))


def _is_ours(file: BinaryIO) -> bool:
    return file.read(len(_HEADER)) == _HEADER.encode()


def _complete(session: Session, word: str) -> Iterable[str]:
    return [*(event.path for event in session.kprobes.events.events), *complete_event(session, word)]


EVENT: Final = Arg(
    "event", "GRP/EVENT, also of the guest's kernel, or EVENT if only one group has it", complete=_complete
)
_NAMES: Final = Arg(
    "event",
    "GRP/EVENT, also of the guest's kernel, EVENT if only one group has it, GRP/ for a group, or a pattern (default: "
    "all that event has defined)",
    optional=True,
    many=True,
    complete=_complete,
)

COMMANDS = (
    Command(
        "event",
        "Define or delete an event, as a line written to the kernel's kprobe_events does.\n"
        "    event p:open do_sys_openat2 dfd=%x0:s32 name=+0(%x1):ustring\n"
        "    event r:read vfs_read $retval:s64\n"
        "    event -:open\n\n"
        "With pid=, comm= or tree= it has the hits of these tasks only: event comm=cat p:open do_sys_openat2. The\n"
        "definition, which events save writes, does not say so.\n"
        "An event records nothing until events enable. The grammar, the checks and the messages are those of v6.1.\n"
        "docs/events.md has all of it.",
        (
            *TASK_OPTIONS,
            Arg("text", "p[:[GRP/]EVENT] PLACE [ARGUMENT...], r..., or -:[GRP/]EVENT", rest=True, foreign=True),
        ),
        _event,
        group=GROUP,
    ),
    Command(
        "events",
        "List the events, in the lines of the kernel's kprobe_events.\n"
        "The comment behind each line says whether it is enabled, and counts its hits. trace shows them.",
        (),
        _events,
        group=GROUP,
    ),
    Command(
        "events enable",
        "Record the hits of events, as 1 written to events/GRP/EVENT/enable does.\n"
        "    events enable open\n"
        "    events enable sched/\n"
        "    events enable syscalls:sys_enter_open*\n\n"
        "Groups and all events are also named as in set_event and by their files: sched:*, events/sched/enable.",
        (_NAMES,),
        _enable,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "events disable",
        "Record no further hits of events, as 0 written to events/GRP/EVENT/enable does.",
        (_NAMES,),
        _disable,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "events format",
        "Show the fields of an event, in the text of the kernel's events/GRP/EVENT/format.",
        (EVENT,),
        _format,
        group=GROUP,
        gdb=False,
    ),
    Command("events clear", "Delete all events. None may be enabled.", (), _clear, group=GROUP, gdb=False),
    Command(
        "events load",
        "Replace all events by those that a file defines, as cat FILE > kprobe_events does.\n"
        "It stops at the first line that is refused; the lines before it have their effect. With the word add the\n"
        "events that there are stay, as with >>.",
        (
            Arg("file", "file with definitions, deletions and comments, a line each", type=path, host=Host.READS_FILES),
            Arg("add", "keep the events that there are", optional=True, choices=("add",)),
        ),
        _load,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "events save",
        "Save the definitions of all events to a file, for events load, or a kernel's kprobe_events.\n"
        "It replaces a file that events save has made, and another only with the word force.",
        (
            Arg("file", "file to write", type=path, host=Host.WRITES_FILES),
            Arg("force", "replace a file that armprobe has not made", optional=True, choices=("force",)),
        ),
        _save,
        group=GROUP,
        gdb=False,
    ),
)
