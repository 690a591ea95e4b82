# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists and describes the events of a Linux guest's kernel: its tracepoints and system calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.kernel import COMMON_FIELDS, TraceEvents, TraceField
from armprobe.probes import is_pattern
from armprobe.probes.tracepoint import PREFIX

from .declaration import Arg, Arguments, Command
from .errors import CommandError
from .kernel import GROUP, linux_of
from .locations import complete_event
from .values import TracepointField, TracepointFormat, TracepointNames

if TYPE_CHECKING:
    from armprobe.session import Session


def events_of(session: Session) -> TraceEvents:
    """The events of the guest's kernel. Raises CommandError if it is not Linux."""
    events = linux_of(session).tracepoints
    assert events is not None
    return events


def _tracepoints(session: Session, arguments: Arguments) -> TracepointNames | TracepointFormat:
    events, word = events_of(session), arguments.event.removeprefix(PREFIX)
    if not is_pattern(word):
        event = events.find(word)
        common, own = (tuple(map(_field, fields)) for fields in (COMMON_FIELDS, event.fields))
        return TracepointFormat(event.full_name, event.id, common, own, event.format)
    found = events.matching(word)
    if not found:
        raise CommandError(f"no event of this kernel matches {word!r}")
    return TracepointNames(event.full_name for event in found)


def _field(field: TraceField) -> TracepointField:
    return TracepointField(field.name, field.type, field.offset, field.size, field.signed)


COMMANDS = (
    Command(
        "tracepoints",
        "List the tracepoints and system calls of a Linux guest's kernel that match a pattern, or describe one.\n"
        "They are read from the kernel's memory: its tracefs is not used. An event can be probed wherever a command\n"
        "takes a place, with t: before its name. Fields have their names in conditions, formats and keys:\n\n"
        "    tracepoints sched:*\n"
        "    tracepoints sched:sched_switch\n"
        '    kprobe t:sched:sched_switch if next_pid == 1 print "%s -> %s", prev_comm, next_comm\n'
        "    count t:syscalls:sys_enter_openat by $comm\n"
        "    hist t:kmem:kmalloc bytes_req\n\n"
        "The guest does not notice: its tracepoint stays off. The kernel's own code, which makes the record and its\n"
        "text, is executed beside it.",
        (
            Arg(
                "event",
                "name, such as sched:sched_switch, or a pattern of names (default: all)",
                optional=True,
                default="*",
                complete=complete_event,
            ),
        ),
        _tracepoints,
        gdb="guest-tracepoints",  # gdb has help on its own of that name
        group=GROUP,
    ),
)
