# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that show the tables of a Linux guest's kernel, read from its memory. The guest does not run for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from armprobe.kernel import Linux, Tasks, TaskStruct
from armprobe.kernel.crashes import CrashKind

from .declaration import Arg, Arguments, Command, integer
from .errors import CommandError
from .locations import location
from .stack import stack_frames
from .values import (
    Backtrace,
    CrashesSeen,
    KernelLog,
    LogLine,
    ModuleRow,
    ModuleRows,
    MountRow,
    Mounts,
    TaskDetails,
    TaskRow,
    TaskRows,
    ThreadsSeen,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armprobe.session import Session

GROUP = "The guest's kernel"


def known_tasks(session: Session) -> Tasks | None:
    """The tasks of the guest; None if it is not Linux."""
    kernel = session.machine.kernel
    return None if kernel is None else kernel.tasks


def tasks_of(session: Session) -> Tasks:
    """The tasks of the guest. Raises CommandError if they are not known."""
    tasks = known_tasks(session)
    if tasks is None:
        raise CommandError("this guest's tasks are not known: it is not Linux")
    return tasks


def linux_of(session: Session) -> Linux:
    """The kernel of a Linux guest. Raises CommandError if it is another guest."""
    kernel = session.machine.kernel
    if not isinstance(kernel, Linux):
        raise CommandError("this guest has no such table: it is not Linux")
    return kernel


def find_task(session: Session, pid: int) -> tuple[TaskStruct, bool]:
    """The task with that number, 0 for the idle one, and whether it runs. Raises CommandError if there is none."""
    reader = tasks_of(session)
    tasks = [reader.idle, *reader()]
    found = next((task for task in tasks if task.pid == pid), None)
    if found is None:
        raise CommandError(f"the guest has no task {pid}: tasks lists them")
    return found, found is reader.running(tasks)


def complete_task(session: Session, word: str) -> Iterable[str]:
    """Numbers of the tasks."""
    tasks = known_tasks(session)
    return [] if tasks is None else [str(task.pid) for task in tasks()]


def task_backtrace(session: Session, pid: int) -> Backtrace:
    """The stack of a task. Raises CommandError if there is no such task."""
    task, running = find_task(session, pid)
    return _stack(session, task, running)


def _stack(session: Session, task: TaskStruct, running: bool) -> Backtrace:
    unwind = session.kprobes.unwind
    found = unwind.backtrace(None) if running else unwind.blocked(task.context)
    return Backtrace(None, stack_frames(session, found), found.end)


def _row(task: TaskStruct, running: bool) -> TaskRow:
    return TaskRow(task.pid, task.tgid, task.parent, task.state, running, task.comm, task.kthread, task.address)


def _tasks(session: Session, arguments: Arguments) -> TaskRows:
    reader = tasks_of(session)
    tasks = reader()
    running = reader.running(tasks)
    return TaskRows(_row(task, task is running) for task in tasks)


def _task(session: Session, arguments: Arguments) -> TaskDetails:
    task, running = find_task(session, arguments.pid)
    place = None if running else location(session, task.context.pc)
    return TaskDetails(_row(task, running), task.state_name, task.stack, task.mm, place, _stack(session, task, running))


def _dmesg(session: Session, arguments: Arguments) -> KernelLog:
    records = linux_of(session).log()
    return KernelLog(
        LogLine(each.sequence, each.nanoseconds, each.level, each.facility, each.text, tuple(each.lines))
        for each in records
    )


def _mounts(session: Session, arguments: Arguments) -> Mounts:
    kernel = linux_of(session)
    task, _ = find_task(session, arguments.pid)
    return Mounts(MountRow(*mount) for mount in kernel.mounts(task))


def _modules(session: Session, arguments: Arguments) -> ModuleRows:
    return ModuleRows(
        ModuleRow(
            each.name,
            each.size,
            each.references,
            each.users,
            each.permanent,
            each.state,
            each.base,
            each.taints,
            each.address,
        )
        for each in linux_of(session).module_table()
    )


def _threads(session: Session, arguments: Arguments) -> ThreadsSeen:
    target = session.debug_target
    if arguments.what is not None:
        tasks_of(session)
        target.see_tasks(arguments.what == "tasks")
    return ThreadsSeen("tasks" if target.has_threads else "cpu")


def _crashes(session: Session, arguments: Arguments) -> CrashesSeen:
    stops = session.crash_stops
    if not stops.possible:
        raise CommandError("this is for a Linux guest whose symbols are known")
    if arguments.what is not None:
        stops.kinds = _KINDS[arguments.what]
    return CrashesSeen(next(name for name, kinds in _KINDS.items() if kinds == stops.kinds))


_KINDS: Final[dict[Literal["all", "oopses", "none"], tuple[CrashKind, ...]]] = {
    "all": tuple(CrashKind),
    "oopses": (CrashKind.PANIC, CrashKind.OOPS),
    "none": (),
}
PID: Final = Arg("pid", "number of a task; tasks lists them", type=integer, complete=complete_task)

COMMANDS = (
    Command(
        "tasks",
        "List the tasks of a Linux guest: its processes, their threads and the kernel's threads.\n"
        "The letter S is the state, as in /proc/PID/stat: R running or ready, S sleeping, D in uninterruptible sleep,\n"
        "I an idle kernel thread, T stopped, t traced, Z zombie, P parked, X dead.",
        (),
        _tasks,
        group=GROUP,
    ),
    Command(
        "task",
        "Show a task of a Linux guest, and its stack.",
        (PID,),
        _task,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "threads",
        "Show what gdb sees as threads, or choose it: the tasks of a Linux guest, or its CPU as the only thread.\n"
        "With tasks, which is the default for Linux, the number of a thread is that of its task, 4194304 for the idle\n"
        "one. Of a task that does not run, gdb sees the registers that the kernel has kept.",
        (Arg("what", "what the threads are", optional=True, choices=("tasks", "cpu")),),
        _threads,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "crashes",
        "Show or choose at which errors of its kernel a Linux guest stops: all, panics and oopses, or none.\n"
        "A panic, an oops or a BUG, and a warning (WARN) stop it before the kernel goes on with them. The kernel's\n"
        "own message is shown, with the task, the place and, of an access, the register that its address came from.",
        (Arg("what", "which errors stop it (at first: all)", optional=True, choices=tuple(_KINDS)),),
        _crashes,
        group=GROUP,
    ),
    Command(
        "dmesg",
        "Show the log of a Linux guest's kernel, as the command dmesg does in the guest.",
        (),
        _dmesg,
        group=GROUP,
    ),
    Command(
        "modules",
        "List the modules that a Linux guest has loaded, the latest first, in the format of /proc/modules.\n"
        "The columns are name, bytes of memory, number of users, modules that use it, state, address of its code, and\n"
        "taints.",
        (),
        _modules,
        group=GROUP,
    ),
    Command(
        "mounts",
        "List the mounted file systems of a Linux guest, in the format of /proc/mounts.\n"
        "The options that only the driver of a file system knows, such as the size of a tmpfs, are left out.",
        (
            Arg(
                "pid",
                "number of the task whose file systems they are (default: 1)",
                type=integer,
                optional=True,
                complete=complete_task,
                default=1,
            ),
        ),
        _mounts,
        group=GROUP,
    ),
)
