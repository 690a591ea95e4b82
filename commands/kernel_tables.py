# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that show what a Linux guest's kernel keeps, read from its memory. The guest does not run for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declaration import Arg, Arguments, Command
from .kernel import GROUP, PID, find_task, linux_of
from .values import (
    AreaRow,
    AreaRows,
    FileRow,
    FileRows,
    InterruptRow,
    InterruptRows,
    SlabRow,
    SlabRows,
    SystemCallRow,
    SystemCallRows,
    TimerRow,
    TimerRows,
    WheelTimerRow,
    WheelTimerRows,
)

if TYPE_CHECKING:
    from armprobe.session import Session


def _files(session: Session, arguments: Arguments) -> FileRows:
    kernel = linux_of(session)
    task, _ = find_task(session, arguments.pid)
    return FileRows(FileRow(*each) for each in kernel.open_files(task))


def _maps(session: Session, arguments: Arguments) -> AreaRows:
    kernel = linux_of(session)
    task, _ = find_task(session, arguments.pid)
    return AreaRows(AreaRow(*each) for each in kernel.memory_areas(task))


def _slabs(session: Session, arguments: Arguments) -> SlabRows:
    return SlabRows(SlabRow(*each) for each in linux_of(session).slab_caches())


def _irqs(session: Session, arguments: Arguments) -> InterruptRows:
    symbols, kernel = session.machine.symbols, linux_of(session)
    rows = InterruptRows(
        InterruptRow(*each._replace(handlers=tuple(map(symbols.describe, each.handlers))))  # type: ignore[arg-type]
        for each in kernel.interrupts()
    )
    rows.errors = kernel.interrupt_errors()
    return rows


def _timers(session: Session, arguments: Arguments) -> TimerRows | WheelTimerRows:
    symbols, kernel = session.machine.symbols, linux_of(session)
    if arguments.what is not None:
        return WheelTimerRows(
            WheelTimerRow(*each._replace(function=symbols.describe(each.function)))  # type: ignore[arg-type]
            for each in kernel.wheel_timers()
        )
    return TimerRows(
        TimerRow(*each._replace(function=symbols.describe(each.function)))  # type: ignore[arg-type]
        for each in kernel.timers()
    )


def _syscalls(session: Session, arguments: Arguments) -> SystemCallRows:
    return SystemCallRows(SystemCallRow(*each) for each in linux_of(session).system_calls())


COMMANDS = (
    Command(
        "files",
        "List the open files of a task of a Linux guest: descriptor, flags in octal, position and path.\n"
        "They are what the guest's /proc/PID/fd and /proc/PID/fdinfo say.",
        (PID,),
        _files,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "maps",
        "List the areas of the memory of a task of a Linux guest, in the format of /proc/PID/maps.",
        (PID,),
        _maps,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "slabs",
        "List the caches of a Linux guest's slab allocator, in the format of /proc/slabinfo.",
        (),
        _slabs,
        group=GROUP,
    ),
    Command(
        "irqs",
        "List the interrupts of a Linux guest, in the format of /proc/interrupts.\n"
        "Those between processors (IPI) and the errors come last, where the kernel's code shows where it keeps them.",
        (),
        _irqs,
        group=GROUP,
    ),
    Command(
        "timers",
        "List the pending high-resolution timers of a Linux guest, as /proc/timer_list does.\n"
        "The times are those of each timer's clock, in ns: the earliest and the latest at which it expires.\n"
        "timers wheel lists those of the timer wheels, which count jiffies.",
        (Arg("what", "wheel: the timers that count jiffies", optional=True, choices=("wheel",)),),
        _timers,
        group=GROUP,
    ),
    Command(
        "syscalls",
        "List the system calls of a Linux guest: number, address and name of the kernel's function.\n"
        "A number without a name is one that this kernel does not implement.",
        (),
        _syscalls,
        group=GROUP,
    ),
)
