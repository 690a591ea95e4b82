# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what a guest's kernel keeps, in the formats of its /proc where that has one."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from armprobe.commands import values

from .layout import Column, Table
from .text import as_text

_NAME_COLUMN: Final = 73  # of /proc/PID/maps: seq_setwidth() and seq_pad() in show_map_vma(), fs/proc/task_mmu.c
_IRQ_WIDTH: Final = 3  # of a number in /proc/interrupts, for a machine with less than 1,000
_SLABINFO: Final = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> "
    "<sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)


@as_text.register(values.FileRows)
def _(value: values.FileRows) -> str:
    if not value:
        return "the task has no open files\n"
    columns = (
        Column("fd", 3, right=True),
        Column("flags", 8, right=True),
        Column("pos", 10, right=True),
        Column("inode", 6, right=True),
        Column("path"),
    )
    rows = [(str(row.fd), f"0{row.flags:o}", str(row.position), str(row.inode), row.path) for row in value]
    return Table(columns, rows).plain()


@as_text.register(values.AreaRows)
def _(value: values.AreaRows) -> str:
    return "".join(_area(row) for row in value) if value else "the task has no memory of its own: it is the kernel's\n"


def _area(row: values.AreaRow) -> str:
    line = (
        f"{row.start:08x}-{row.end:08x} {row.permissions} {row.offset:08x} {row.major:02x}:{row.minor:02x} {row.inode} "
    )
    name = row.name.replace("\n", "\\012")
    return (f"{line:<{_NAME_COLUMN}}{name}" if name else line) + "\n"


@as_text.register(values.SlabRows)
def _(value: values.SlabRows) -> str:
    return _SLABINFO + "".join(
        f"{row.name:<17} {row.active:6} {row.objects:6} {row.size:6} {row.per_slab:4} {row.pages:4}"
        f" : tunables {0:4} {0:4} {0:4} : slabdata {row.slabs:6} {row.slabs:6} {0:6}\n"
        for row in value
    )


@as_text.register(values.InterruptRows)
def _(value: values.InterruptRows) -> str:
    errors = "" if value.errors is None else f"{'Err':>{_IRQ_WIDTH}}: {value.errors:10}\n"
    return f"{'':{_IRQ_WIDTH + 8}}CPU{0:<8}\n" + "".join(_interrupt(row) for row in value) + errors


def _interrupt(row: values.InterruptRow) -> str:
    """The line of show_interrupts() (kernel/irq/proc.c), or of arch_show_interrupts() (arch/arm64/kernel/smp.c)."""
    if row.label != str(row.number):
        return f"{row.label:>{_IRQ_WIDTH}}:{row.count:10}       {row.name}\n"
    chip = row.chip if row.prints_itself else f" {row.chip:>8}"
    hardware = "" if row.hardware is None else str(row.hardware)
    name = f"-{row.name:<8}" if row.name else ""
    actions = f"  {', '.join(row.actions)}" if row.actions else ""
    line = f"{row.number:{_IRQ_WIDTH}}: {row.count:10} {chip} {hardware:>{_IRQ_WIDTH}} {row.trigger:<8}{name}{actions}"
    return line + "\n"


@as_text.register(values.TimerRows)
def _(value: values.TimerRows) -> str:
    parts: list[str] = []
    for _, rows in groupby(value, key=lambda row: row.clock):
        for index, row in enumerate(rows):
            if not index:
                name = f"{row.clock_name}, " if row.clock_name else ""  # later kernels do not keep it
                parts.append(f" clock {row.clock}: {name}offset {row.offset} nsecs\n")
            parts.append(f" #{index}: <{row.address:016x}>, {row.function}, S:{row.state:02x}\n")
            parts.append(f" # expires at {row.soft_expires}-{row.expires} nsecs\n")
    return "".join(parts) or "no timer is pending\n"


@as_text.register(values.WheelTimerRows)
def _(value: values.WheelTimerRows) -> str:
    parts: list[str] = []
    for _, rows in groupby(value, key=lambda row: row.wheel):
        for index, row in enumerate(rows):
            if not index:
                parts.append(f" wheel {row.wheel}: at {row.clock} jiffies\n")
            parts.append(f" #{index}: <{row.address:016x}>, {row.function}, flags:{row.flags:08x}\n")
            parts.append(f" # expires at {row.expires} jiffies [in {row.expires - row.clock} jiffies]\n")
    return "".join(parts) or "no timer is pending\n"


@as_text.register(values.SystemCallRows)
def _(value: values.SystemCallRows) -> str:
    columns = Column("nr", 3, right=True), Column("address"), Column("name")
    return Table(
        columns,
        [(str(row.number), f"{row.address:#018x}", row.name if row.implemented else "-") for row in value],
    ).plain()
