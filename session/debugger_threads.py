# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks of a Linux guest as the threads of a debugger."""

from __future__ import annotations

from collections.abc import Sequence
from errno import ESRCH
from typing import Final

from armprobe.kernel import TaskStruct
from armprobe.machine import Machine, MachineError
from armprobe.stub import TargetError, Thread

_IDLE: Final = 0x40_0000  # PID_MAX_LIMIT: stands for task 0, as a debugger has no thread 0
_BOOTING: Final = Thread(_IDLE, "swapper/0", "running")


class DebuggerThreads:
    """Reads the tasks of one machine. Use it on the owner's thread.

    The number of a thread is that of its task. While the tasks cannot be read, the idle task is the only thread, as it
    is when the kernel starts.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._tasks = None if machine.kernel is None else machine.kernel.tasks
        self._places: dict[int, int] = {}  # the address of each thread's task_struct when the list was last read
        self.possible = self._tasks is not None
        """Whether debuggers see tasks as threads: the guest has some, and they are wanted."""

    def want(self, wanted: bool) -> None:
        """Whether debuggers are to see tasks as threads. Otherwise the CPU is the only thread."""
        self.possible = wanted and self._tasks is not None

    def running(self) -> int:
        """The thread that the CPU executes."""
        assert self._tasks is not None
        try:
            return self._tasks.current_pid() or _IDLE
        except MachineError:
            return _IDLE

    def all(self) -> Sequence[Thread]:
        """All threads, the one that runs among them."""
        assert self._tasks is not None
        running = self.running()
        try:
            tasks = [self._tasks.idle, *self._tasks()]
        except MachineError:
            tasks = []
        self._places = {task.pid or _IDLE: task.address for task in tasks}
        if running not in self._places:
            return [_BOOTING if running == _IDLE else Thread(running, "", "running")]
        return [_thread(task, running) for task in tasks]

    def registers(self, number: int, names: Sequence[str]) -> list[int | None]:
        """Registers of a thread that does not run, None for those that are not kept. Raises TargetError."""
        assert self._tasks is not None
        if number not in self._places:
            self.all()
        try:
            task = self._tasks.one(self._places[number])
        except (KeyError, MachineError):
            raise TargetError(ESRCH, f"task {number} cannot be read any more") from None
        context = task.context
        values = {f"x{19 + n}": value for n, value in enumerate(context.x19_to_x28)}
        values |= {"x29": context.fp, "sp": context.sp, "pc": context.pc}
        return [values.get(name) for name in names]


def _thread(task: TaskStruct, running: int) -> Thread:
    number = task.pid or _IDLE
    state = "R (ready)" if task.state == "R" else task.state_name
    return Thread(number, task.comm, "running" if number == running else state)
