# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for the filters, triggers and histograms of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.probes import EventError

from .declaration import Arg, Arguments, Command
from .events import EVENT, GROUP, refused
from .values import EventFile, EventsTracing

if TYPE_CHECKING:
    from armprobe.session import Session


def _filter(session: Session, arguments: Arguments) -> EventFile:
    events = session.kprobes.events
    path = events.find(arguments.event).path
    try:
        return EventFile(path, "filter", f"{events.filter(path, arguments.filter)}\n")
    except EventError as error:
        raise refused(error) from error


def _trigger(session: Session, arguments: Arguments) -> EventFile:
    events = session.kprobes.events
    path = events.find(arguments.event).path
    try:
        return EventFile(path, "trigger", events.trigger(path, arguments.trigger))
    except EventError as error:
        raise refused(error) from error


def _hist(session: Session, arguments: Arguments) -> EventFile:
    events = session.kprobes.events
    path = events.find(arguments.event).path
    return EventFile(path, "hist", events.hist(path))


def _tracing(session: Session, arguments: Arguments) -> EventsTracing:
    events = session.kprobes.events
    if arguments.state is not None:
        events.tracing = arguments.state == "on"
    return EventsTracing(events.tracing)


COMMANDS = (
    Command(
        "events filter",
        "Record only the hits of an event that pass a filter, as one written to events/GRP/EVENT/filter does.\n"
        '    events filter open dfd == -100 && name ~ "*.txt"\n'
        "    events filter open 0\n\n"
        "The filter 0 removes it. Without one, show what there is. If a filter is refused, the event has none.",
        (EVENT, Arg("filter", "fields, operators and values", optional=True, rest=True, foreign=True)),
        _filter,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "events trigger",
        "Add a trigger to an event, as one written to events/GRP/EVENT/trigger with >> does, or remove one after !.\n"
        "    events trigger read hist:keys=common_pid.execname:vals=count:sort=count.descending\n"
        "    events trigger read stacktrace:5 if count > 1000\n"
        "    events trigger read !stacktrace\n\n"
        "It acts from then on, whether the event is enabled or not. Without a trigger, list them.\n"
        "The trigger snapshot takes one of the machine, which `Kprobes.events.snapshot` has.",
        (EVENT, Arg("trigger", "[!]COMMAND[:PARAMETERS] [if FILTER]", optional=True, rest=True, foreign=True)),
        _trigger,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "events hist",
        "Show the histograms of an event, in the text of the kernel's events/GRP/EVENT/hist.",
        (EVENT,),
        _hist,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "events tracing",
        "Say whether hits of events are recorded, or change that, as the kernel's tracing_on does.\n"
        "The triggers traceon and traceoff change it, too.",
        (Arg("state", "whether to record them", optional=True, choices=("on", "off")),),
        _tracing,
        group=GROUP,
        gdb=False,
    ),
)
