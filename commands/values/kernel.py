# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of a Linux guest's kernel: tasks, its log, modules, mounts."""

from __future__ import annotations

from typing import Literal

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .guest import Backtrace
from .location import Hex, Location


@lazy_dataclass
class TaskRow:
    """A task of the guest.

    pid: its number. tgid: that of its process, the thread group. parent: that of the parent process.
    state: the letter that /proc/PID/stat has. running: whether the CPU executes it. comm: its name.
    kthread: whether it is a kernel thread. address: that of its struct task_struct.
    """

    pid: int
    tgid: int
    parent: int
    state: str
    running: bool
    comm: str
    kthread: bool
    address: Hex


class TaskRows(tuple[TaskRow, ...]):
    """The tasks of the guest, by number."""


@lazy_dataclass
class TaskDetails:
    """A task of the guest.

    state: in words, as in /proc/PID/status. stack: the lowest address of its kernel stack.
    mm: the address of its struct mm_struct, 0 for a kernel thread.
    location: where it goes on when it runs again; None for the one that runs.
    """

    task: TaskRow
    state: str
    stack: Hex
    mm: Hex
    location: Location | None
    backtrace: Backtrace


@lazy_dataclass
class LogLine:
    """A record of the kernel's log.

    nanoseconds: the time since boot. level: 0 (emergency) to 7 (debug). facility: 0 for the kernel's own.
    lines: as the guest's own dmesg prints them.
    """

    sequence: int
    nanoseconds: int
    level: int
    facility: int
    text: str
    lines: tuple[str, ...]


@lazy_dataclass
class MountRow:
    """A mounted file system, as in /proc/mounts.

    options: without those that only the driver of the file system knows.
    """

    device: str
    path: str
    type: str
    options: tuple[str, ...]


class Mounts(tuple[MountRow, ...]):
    """The mounted file systems, in the order of /proc/mounts."""


@lazy_dataclass
class ModuleRow:
    """A loaded module, as in /proc/modules.

    size: the bytes of all of its memory. references: the number of its users. users: the modules among them.
    permanent: whether it cannot be removed. state: Live, Loading or Unloading. base: the address of its code.
    taints: the letters of how it taints the kernel, such as OE. address: that of its struct module.
    """

    name: str
    size: int
    references: int
    users: tuple[str, ...]
    permanent: bool
    state: str
    base: Hex
    taints: str
    address: Hex


class ModuleRows(tuple[ModuleRow, ...]):
    """The loaded modules, the latest first."""


@lazy_dataclass
class TracepointField:
    """A field of an event: its type in C, and its place in a record, in bytes."""

    name: str
    type: str
    offset: int
    size: int
    signed: bool


@lazy_dataclass
class TracepointFormat:
    """An event of the kernel, as in the kernel's format files.

    name: such as sched:sched_switch. id: the number of its type. common: the fields that all events have.
    format: what the kernel prints of a record, in C.
    """

    name: str
    id: int
    common: tuple[TracepointField, ...]
    fields: tuple[TracepointField, ...]
    format: str


class TracepointNames(tuple[str, ...]):
    """The names of events, such as sched:sched_switch."""


@lazy_dataclass
class ThreadsSeen:
    """What debuggers see as threads: the guest's tasks, or its CPU."""

    threads: Literal["tasks", "cpu"]


@lazy_dataclass
class CrashesSeen:
    """The errors of the guest's kernel at which the guest stops by itself. oopses: panics and oopses."""

    crashes: Literal["all", "oopses", "none"]


class KernelLog(tuple[LogLine, ...]):
    """The records of the kernel's log, oldest first."""
