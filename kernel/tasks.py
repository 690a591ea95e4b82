# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks of a Linux guest: the one that it executes, and all.

In the kernel SP_EL0 holds `current`, the address of the task's `struct task_struct` (arch/arm64/include/asm/current.h).
The kernel's type information says where in it the task's name and number are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine import MachineError
from armprobe.machine.state import Order

from .code_references import addresses_formed
from .task_list import COMM_SIZE, TaskList, TaskStruct

if TYPE_CHECKING:
    from .kernel import Kernel

_FROM_EL0: Final = "el0t_64_sync", "el0_sync"  # the exception's entry from EL0; the second is its name before v5.14
_KNOWN: Final = 10_000  # tasks whose physical addresses are kept


class Task(NamedTuple):
    """A task: its name (`comm`) and number."""

    comm: str
    pid: int


class Tasks:
    """The tasks of one kernel. Calling it gives them all."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._machine = machine = kernel.machine
        self._offsets: tuple[int, int] | None = None  # of comm and pid
        self._none = False  # whether the kernel's types do not say where those are
        self._known: dict[int, tuple[int, int]] = {}  # by the task's address, the physical ones of comm and pid
        self._init_task: int | None = None
        self._entry_task: int | None = None  # the address of the per-CPU variable, without the CPU's offset
        machine.state.on_restored(Order.GUEST, self._restored)

    def _restored(self) -> None:
        self._known.clear()
        self._init_task = self._entry_task = None

    def __call__(self) -> list[TaskStruct]:
        """All tasks, threads too, by number, as /proc has them: without the idle task, whose number is 0.

        Raises MachineError, saying why, where they cannot be read.
        """
        return self._list.read(self._init())

    @property
    def idle(self) -> TaskStruct:
        """The idle task of the CPU, number 0. Raises MachineError as a call does."""
        return self._list.one(self._init())

    def running(self, tasks: Sequence[TaskStruct]) -> TaskStruct | None:
        """The one of `tasks` that the CPU executes, in the kernel or for it at EL0; None if it is not among them."""
        current = self._machine.registers["sp_el0"]
        named = next((task for task in tasks if task.address == current), None)
        return named or next((task for task in tasks if task.on_cpu), None)  # at EL0, SP_EL0 is the task's own

    def current_struct(self) -> int:
        """The address of the struct task_struct of the task that the CPU executes, in the kernel or at EL0.

        Raises MachineError if it cannot be found.
        """
        current = self._machine.registers["sp_el0"]
        return current if current >> 48 == 0xFFFF else self.interrupted()  # which is the user's stack pointer

    def current_pid(self) -> int:
        """The number of the task that the CPU executes. Raises MachineError if it cannot be found.

        Unlike `current`, also while no hit is handled, and at EL0.
        """
        address = self.current_struct()
        _, pid = self._known.get(address) or self._find(address)
        return int.from_bytes(self._machine.bus.read(pid, 4), "little")

    def one(self, address: int) -> TaskStruct:
        """The task whose struct task_struct is at `address`. Raises MachineError if there is none."""
        return self._list.one(address)

    @cached_property
    def _list(self) -> TaskList:
        return TaskList(self._machine, self._kernel.types)

    def _init(self) -> int:
        if self._init_task is None:
            self._init_task = self._list.find_init_task()
        return self._init_task

    def current(self) -> Task | None:
        """The running task, found by the registers of the shared context; None if it cannot be read."""
        if self._none:
            return None
        context, bus = self._machine.core.context, self._machine.bus
        address = context.system(context.layout.sp_el0)
        try:
            comm, pid = self._known.get(address) or self._find(address)
            name = bus.read(comm, COMM_SIZE).partition(b"\0")[0]
            return Task(name.decode("utf-8", "replace"), int.from_bytes(bus.read(pid, 4), "little", signed=True))
        except MachineError:
            return None

    def interrupted(self) -> int:
        """The address of the running task's `struct task_struct` while the CPU is at EL0.

        SP_EL0 has the user's stack pointer then. The kernel's entry code takes `current` from the per-CPU variable
        `__entry_task` (kernel_entry in arch/arm64/kernel/entry.S), which is the first address it forms. Raises
        MachineError if that cannot be found or read.
        """
        return self._machine.memory.u64(self.entry_task + self._machine.registers["tpidr_el1"] & (1 << 64) - 1)

    @property
    def entry_task(self) -> int:
        """The address of the per-CPU variable `__entry_task` before that of a CPU is added to it.

        Raises MachineError if it cannot be found.
        """
        machine = self._machine
        if self._entry_task is None:
            entry = next((name for name in _FROM_EL0 if name in machine.symbols), None)
            formed = addresses_formed(machine.memory.u32, machine.symbols[entry]) if entry else []
            if not formed:
                raise MachineError(
                    "the running task cannot be found: the kernel's entry code does not name __entry_task"
                )
            self._entry_task = formed[0]
        return self._entry_task

    @property
    def offsets(self) -> tuple[int, int] | None:
        """The offsets of comm and pid in struct task_struct; None if the kernel's types do not say them."""
        if self._offsets is None and not self._none:
            try:
                types = self._kernel.types
                self._offsets = types["task_struct"].offset("comm"), types["task_struct"].offset("pid")
            except MachineError:
                self._none = True
        return self._offsets

    def _find(self, task: int) -> tuple[int, int]:
        offsets = self.offsets
        if offsets is None:
            raise MachineError("the kernel's types do not say where a task's name is")
        if len(self._known) > _KNOWN:
            self._known.clear()
        comm, pid = (self._machine.memory.translate(task + offset).physical for offset in offsets)
        self._known[task] = comm, pid
        return comm, pid
