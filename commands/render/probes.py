# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of probes and of their hits."""

from __future__ import annotations

from typing import Final

from armprobe.commands import values
from armprobe.expressions.errors import printable

from .layout import Column, Table, described, registers
from .text import as_text

_MOST_LINES: Final = 20  # probes that have been changed are listed up to this number, else counted
_COLUMNS: Final = (
    Column("num", 3, right=True),
    Column("kind", 9),
    Column("where", 36),
    Column("hits", 9, right=True),
    Column("nmissed", 7, right=True),
    Column(""),
)


@as_text.register(values.Probes)
def _(value: values.Probes) -> str:
    return table(value).plain() if value else "no probes; set one with: kprobe SYMBOL\n"


def table(probes: values.Probes) -> Table:
    """The probes as a table."""
    return Table(_COLUMNS, [_row(probe) for probe in probes])


def _row(probe: values.ProbeRow) -> tuple[str, ...]:
    notes = [f"[{probe.state.upper()}]"] if probe.state != "enabled" else []
    notes += ["[OPTIMIZED]"] if probe.optimized else []
    notes += [f"stop={','.join(probe.stop)}"] if probe.stop else []
    notes += [probe.aggregate] if probe.aggregate else []
    notes += [f"leaked={probe.leaked}"] if probe.leaked else []
    notes += [f"met={probe.met} if {probe.condition}"] if probe.condition else []
    place = f"{probe.address:#x} {probe.name}" if probe.address else probe.name  # it may be pending, or many
    return str(probe.number), probe.kind, place, str(probe.hits), str(probe.nmissed), " ".join(notes)


@as_text.register(values.Registered)
def _(value: values.Registered) -> str:
    probe = value.probe
    said = f", stops at {', '.join(probe.stop)}" if probe.stop else ""
    said += f", {probe.aggregate}" if probe.aggregate else ""
    said += f", if {probe.condition}" if probe.condition else ""
    said += f", prints {probe.note}" if probe.note else ""
    where = f"{probe.name}, pending until its module is loaded"
    if value.location is not None:
        where = f"{described(value.location)} at {probe.address:#x}"
    line = f"{probe.kind} {probe.number}: {where}{said}\n"
    return line + "".join(f"warning: {warning}\n" for warning in value.warnings)


@as_text.register(values.RegisteredMatching)
def _(value: values.RegisteredMatching) -> str:
    lines, numbers = [], value.numbers
    if numbers:
        one = len(numbers) == 1
        what = f"{value.kind} {numbers[0]}" if one else f"{value.kind}s {numbers[0]} to {numbers[-1]}"
        places = "events" if value.kind == "tracepoint" else "functions"
        lines.append(f"{what}: on {len(numbers):,} of the {value.functions:,} {places} that match\n")
    lines += [f"{refused.count:>7,} refused, {refused.error}: {refused.reason}\n" for refused in value.refused]
    return "".join(lines)


@as_text.register(values.Changed)
def _(value: values.Changed) -> str:
    """What was done to each, or to how many if they are more than one cares to read."""
    probes, removed = value.probes, value.done == "removed"
    done = "gone" if removed else value.done
    if len(probes) > _MOST_LINES:
        hits, missed = sum(probe.hits for probe in probes), sum(probe.nmissed for probe in probes)
        return f"{len(probes):,} probes are {done}" + (f": {hits:,} hits, {missed:,} missed\n" if removed else "\n")
    return "".join(
        f"{probe.kind} {probe.number} ({probe.given}) is {done}"
        + (f": {probe.hits} hits, {probe.nmissed} missed\n" if removed else "\n")
        for probe in probes
    )


@as_text.register(values.Blacklist)
def _(value: values.Blacklist) -> str:
    """As the kernel's debugfs has it (kprobe_blacklist_seq_show, kernel/kprobes.c)."""
    return "".join(f"{area.start:#018x}-{area.end:#018x}\t{area.name}\n" for area in value)


@as_text.register(values.HitRegisters)
def _(value: values.HitRegisters) -> str:
    return "".join(
        f"{each.at.kind} {each.at.name}, hit {each.at.hit}, stage {each.at.stage}:\n{registers(each.registers)}"
        for each in value
    )


@as_text.register(values.Trace)
def _(value: values.Trace) -> str:
    if not value:
        return "no hit is recorded yet: let the guest run with a probe set\n"
    return "".join(f"{event.line}\n" for event in value)


@as_text.register(values.FollowsHits)
def _(value: values.FollowsHits) -> str:
    return "hits are shown as they come; trace follow off ends it\n" if value.follows else "hits are not shown\n"


@as_text.register(values.SavedHits)
def _(value: values.SavedHits) -> str:
    return f"{value.file}: {value.stages:,} stages of hits, as {value.format}{_lost(value.lost)}\n"


@as_text.register(values.TraceSize)
def _(value: values.TraceSize) -> str:
    return f"{value.size:,} stages of hits are kept, of which there are {value.kept:,}{_lost(value.lost)}\n"


def _lost(stages: int) -> str:
    return f"; {stages:,} before them are lost" if stages else ""


@as_text.register(values.QueryAnswer)
def _(value: values.QueryAnswer) -> str:
    by_column = list(zip(*value.rows, strict=True)) or [()] * len(value.columns)
    columns = [
        Column(printable(name), right=bool(cells) and all(isinstance(cell, int | float | None) for cell in cells))
        for name, cells in zip(value.columns, by_column, strict=True)
    ]
    text = Table(columns, [["NULL" if cell is None else printable(str(cell)) for cell in row] for row in value.rows])
    return text.plain() + ("... and more rows: add LIMIT, or write an aggregate\n" if value.more else "")
