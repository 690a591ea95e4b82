# SPDX-License-Identifier: GPL-2.0-or-later
"""All commands there are."""

from armprobe.traces.plugins import added

from . import (
    aggregation,
    argdist,
    assign,
    breakpoints,
    check,
    context,
    difference,
    event_triggers,
    events,
    examine,
    functions,
    guest,
    hits,
    host_shell,
    inspect,
    kernel,
    kernel_tables,
    lines,
    past_calls,
    perf_probe,
    probe,
    query,
    reverse,
    run,
    scripting,
    snapshots,
    stepping,
    timeline,
    trace,
    tracepoints,
    until,
    variables,
)
from . import print as print_
from .declaration import Command
from .registry import Registry


def registry() -> Registry:
    """A registry of all commands, as the REPL, the debugger and scripts have them."""
    rooms = (
        probe,
        aggregation,
        argdist,
        functions,
        events,
        perf_probe,
        event_triggers,
        hits,
        trace,
        query,
        check,
        run,
        stepping,
        lines,
        until,
        breakpoints,
        snapshots,
        timeline,
        reverse,
        past_calls,
        difference,
        inspect,
        context,
        examine,
        print_,
        variables,
        assign,
        kernel,
        kernel_tables,
        tracepoints,
        guest,
        scripting,
        host_shell,
    )
    return Registry(command for room in rooms for command in room.COMMANDS)


def with_plugins(commands: Registry) -> tuple[Registry, list[str]]:
    """These commands and those that other packages add, and a sentence for each of the latter that cannot be used."""
    found, notes = added("armprobe.commands", Command)
    for package, command in found:
        try:
            commands = Registry((*commands.commands, command))
        except ValueError as error:
            notes.append(f"the command {command.name!r} of {package} cannot be used: {error}")
    return commands, notes
