# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of events: the lines of kprobe_events, with what the kernel does not show there behind them, as comments."""

from __future__ import annotations

from armprobe.commands import values

from .text import as_text


@as_text.register(values.EventRows)
def _(value: values.EventRows) -> str:
    if not value:
        return "no events; define one with: event p:open do_sys_openat2 name=+0(%x1):ustring\n"
    return "".join(f"{row.definition}  # {_state(row)}\n" for row in value)


@as_text.register(values.EventsChanged)
def _(value: values.EventsChanged) -> str:
    return "".join(f"{value.done}: {row.definition}\n" for row in value.events)


@as_text.register(values.EventFormat)
def _(value: values.EventFormat) -> str:
    return value.text


@as_text.register(values.EventFile)
def _(value: values.EventFile) -> str:
    if not value.text:
        return f"{value.event} has no histogram; make one with: events trigger {value.event} hist:keys=common_pid\n"
    return value.text


@as_text.register(values.EventsTracing)
def _(value: values.EventsTracing) -> str:
    if value.on:
        return "hits of enabled events are recorded\n"
    return "hits of events are not recorded, until: events tracing on\n"


@as_text.register(values.SavedEvents)
def _(value: values.SavedEvents) -> str:
    return f"{value.count} events are in {value.file}\n"


def _state(row: values.EventRow) -> str:
    state = "enabled" if row.enabled else "disabled"
    state += ", pending until its module is loaded" if row.pending else ""
    state += f", {row.tasks}" if row.tasks else ""
    state += f", {row.hits} hits" if row.hits or row.enabled else ""
    return state + (f", {row.nmissed} missed" if row.nmissed else "")


@as_text.register(values.PerfProbes)
def _(value: values.PerfProbes) -> str:
    """As perf probe -l (perf_probe_event__sprintf, tools/perf/util/probe-event.c of the kernel's sources)."""
    if not value:
        return "no events; set one with: probe vfs_read count\n"
    return "".join(f"  {each.event:<20} (on {' '.join((each.place, *_with(each.arguments)))})\n" for each in value)


def _with(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return ("with", *arguments) if arguments else ()


@as_text.register(values.ProbeDefinition)
def _(value: values.ProbeDefinition) -> str:
    return f"{value.definition}\n"


@as_text.register(values.SourceListing)
def _(value: values.SourceListing) -> str:
    """As perf probe -L (show_one_line, tools/perf/util/probe-event.c of the kernel's sources)."""
    lines = [f"{row.line:7}  {row.text}" if row.address is not None else f"         {row.text}" for row in value.rows]
    place = f"{value.function}@{value.file}:{value.rows[0].line}" if value.function else f"{value.file}:{value.first}"
    return f"<{place}>\n" + "".join(f"{line.rstrip()}\n" for line in lines)


@as_text.register(values.FunctionVariables)
def _(value: values.FunctionVariables) -> str:
    """As perf probe -V: what is there at the function's entry."""
    rows = [f"\t\t{each.type.replace(' *', '*')}\t{each.name}\n" for each in value.variables]
    return f"Available variables at {value.function}\n\t@<{value.function}+0>\n" + "".join(rows)
