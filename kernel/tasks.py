# SPDX-License-Identifier: GPL-2.0-or-later
"""The task that a Linux guest executes.

In the kernel SP_EL0 holds `current`, the address of the task's `struct task_struct` (arch/arm64/include/asm/current.h).
The kernel's type information says where in it the task's name and number are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine import MachineError
from armprobe.machine.state import Order

if TYPE_CHECKING:
    from .kernel import Kernel

_COMM_SIZE: Final = 16  # TASK_COMM_LEN
_KNOWN: Final = 10_000  # tasks whose physical addresses are kept


class Task(NamedTuple):
    """A task: its name (`comm`) and number."""

    comm: str
    pid: int


class Tasks:
    """The tasks of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._machine = machine = kernel.machine
        self._offsets: tuple[int, int] | None = None  # of comm and pid
        self._none = False  # whether the kernel's types do not say where those are
        self._known: dict[int, tuple[int, int]] = {}  # by the task's address, the physical ones of comm and pid
        machine.state.on_restored(Order.GUEST, self._known.clear)

    def current(self) -> Task | None:
        """The running task, found by the registers of the shared context; None if it cannot be read."""
        if self._none:
            return None
        context, bus = self._machine.core.context, self._machine.bus
        address = context.system(context.layout.sp_el0)
        try:
            comm, pid = self._known.get(address) or self._find(address)
            name = bus.read(comm, _COMM_SIZE).partition(b"\0")[0]
            return Task(name.decode("utf-8", "replace"), int.from_bytes(bus.read(pid, 4), "little", signed=True))
        except MachineError:
            return None

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
