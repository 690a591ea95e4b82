# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Linux guest's kernel keeps: of a task, and of slabs, interrupts, timers and system calls."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Hex


@lazy_dataclass
class FileRow:
    """An open file of a task.

    fd: its descriptor. path: as the link in /proc/PID/fd. flags: those of open(2), O_CLOEXEC among them.
    position: where the next read begins, in bytes. inode: the number of its inode. file: the address of its struct
    file.
    """

    fd: int
    path: str
    flags: int
    position: int
    inode: int
    file: Hex


class FileRows(tuple[FileRow, ...]):
    """The open files of a task, by descriptor."""


@lazy_dataclass
class AreaRow:
    """An area of a process's memory, as a line of /proc/PID/maps.

    start, end: its first address and the one behind its last. permissions: such as r-xp. offset: in the file, in bytes.
    major, minor, inode: of the file; 0 without one. name: the file's path, a name in brackets, or empty.
    area: the address of its struct vm_area_struct.
    """

    start: Hex
    end: Hex
    permissions: str
    offset: Hex
    major: int
    minor: int
    inode: int
    name: str
    area: Hex


class AreaRows(tuple[AreaRow, ...]):
    """The areas of a process's memory, by address."""


@lazy_dataclass
class SlabRow:
    """A cache of the slab allocator, as a line of /proc/slabinfo.

    active: the objects in use, of all objects. size: the bytes of one. per_slab: objects in a slab of pages pages.
    slabs: how many there are. address: that of its struct kmem_cache.
    """

    name: str
    active: int
    objects: int
    size: int
    per_slab: int
    pages: int
    slabs: int
    address: Hex


class SlabRows(tuple[SlabRow, ...]):
    """The caches of the slab allocator, the latest first."""


@lazy_dataclass
class InterruptRow:
    """An interrupt, as a line of /proc/interrupts.

    number: Linux's number. label: what the line begins with: the number, or IPI0 of one between processors. count: how
    often it has occurred. chip: the interrupt controller. prints_itself: whether its driver prints that name. hardware:
    the number there; None for one that is in no domain. trigger: Level or Edge. name: of its flow, mostly empty, or
    what one between processors is for. actions: the names under which handlers are registered. handlers: their
    functions. address: that of its struct irq_desc.
    """

    number: int
    label: str
    count: int
    chip: str
    prints_itself: bool
    hardware: int | None
    trigger: str
    name: str
    actions: tuple[str, ...]
    handlers: tuple[str, ...]
    address: Hex


class InterruptRows(tuple[InterruptRow, ...]):
    """The interrupts that have a handler or have occurred, by number, and those between processors.

    `errors` counts the interrupts that nobody wanted; None if that is not known.
    """

    errors: int | None = None


@lazy_dataclass
class TimerRow:
    """A pending high-resolution timer, as in /proc/timer_list.

    clock: the number of its clock base. clock_name: the function that reads its clock. offset: of that clock from the
    monotonic one, in ns. function: the function that is called. state: 1 while it waits. soft_expires, expires: the
    earliest and the latest time, in ns of its clock. address: that of its struct hrtimer.
    """

    clock: int
    clock_name: str
    offset: int
    function: str
    state: int
    soft_expires: int
    expires: int
    address: Hex


class TimerRows(tuple[TimerRow, ...]):
    """The pending high-resolution timers of the CPU, by clock and time."""


@lazy_dataclass
class WheelTimerRow:
    """A pending timer that counts jiffies.

    wheel: the number of its wheel. clock: the jiffies up to which that wheel was looked through. function: the function
    that is called. flags: those of its struct timer_list, in hexadecimal. expires: when it expires, in jiffies.
    address: that of its struct timer_list.
    """

    wheel: int
    clock: int
    function: str
    flags: Hex
    expires: int
    address: Hex


class WheelTimerRows(tuple[WheelTimerRow, ...]):
    """The pending timers of the CPU that count jiffies, by wheel and time."""


@lazy_dataclass
class SystemCallRow:
    """A system call.

    number: as in x8. name: that of its function in the kernel, without __arm64_sys_. implemented: whether this kernel
    has it. address: that of the function.
    """

    number: int
    name: str
    implemented: bool
    address: Hex


class SystemCallRows(tuple[SystemCallRow, ...]):
    """The system calls of the kernel, by number."""
