# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of all tasks of a Linux guest, read from its memory.

The thread group leaders form a ring through `task_struct.tasks`, in which init_task, the idle task, is the first. The
threads of a group form a ring through `task_struct.thread_node`, with its head in the group's signal_struct
(include/linux/sched/signal.h: for_each_process_thread). list_add_rcu() and list_del_rcu() keep the `next` pointers
whole at every instruction, so these alone are followed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Machine

    from .types import Types

COMM_SIZE: Final = 16
"""Bytes of task_struct.comm: TASK_COMM_LEN."""

_MEMBERS: Final = (
    *("comm", "pid", "tgid", "stack", "tasks", "thread_node", "signal"),
    *("real_parent", "mm", "exit_state", "on_cpu", "flags"),
)
_MOST: Final = 20_000  # tasks; the guest's memory can say anything
_MOST_STRUCT: Final = 64 << 10  # bytes of a struct task_struct
_PID_MAX: Final = 4 << 20  # PID_MAX_LIMIT (include/linux/threads.h)
_WITHIN: Final = 64 << 20  # bytes from the start of the kernel that are searched for init_task
_TRIES: Final = 200
_REPORT: Final = 0x7F  # TASK_REPORT (include/linux/sched.h)
_IDLE: Final = 0x402  # TASK_IDLE
_RTLOCK_WAIT: Final = 0x1000  # TASK_RTLOCK_WAIT, since 5.16
_LETTERS: Final = "RSDTtXZPI"  # of task_state_index() (include/linux/sched.h)
_KTHREAD: Final = 0x0020_0000  # PF_KTHREAD
_CONTEXT: Final = struct.Struct("<13Q")  # struct cpu_context (arch/arm64/include/asm/processor.h)

STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "disk sleep",
    "T": "stopped",
    "t": "tracing stop",
    "X": "dead",
    "Z": "zombie",
    "P": "parked",
    "I": "idle",
}
"""The states as in /proc/PID/status (fs/proc/array.c)."""


class CpuContext(NamedTuple):
    """The registers that the kernel keeps of a task that is not running, in `thread.cpu_context`.

    x19 to x28 are in `x19_to_x28`. `pc` is where cpu_switch_to() returns to.
    """

    x19_to_x28: tuple[int, ...]
    fp: int
    sp: int
    pc: int


class TaskStruct(NamedTuple):
    """A task of the guest. `address` is that of its struct task_struct, `parent` the number of the parent process.

    `state` is the letter that /proc/PID/stat has. `stack` is the lowest address of the kernel stack. `mm` is the
    address of the struct mm_struct, 0 for a kernel thread. `context` has its registers, unless it is `on_cpu`.
    """

    address: int
    pid: int
    tgid: int
    comm: str
    state: str
    parent: int
    stack: int
    mm: int
    kthread: bool
    on_cpu: bool
    context: CpuContext

    @property
    def state_name(self) -> str:
        """The state as in /proc/PID/status: "S (sleeping)"."""
        return f"{self.state} ({STATES[self.state]})"


class TaskList:
    """Reads the list. Raises MachineError if the kernel's types do not say how."""

    def __init__(self, machine: Machine, types: Types) -> None:
        self._machine = machine
        task, thread = types["task_struct"], types["thread_struct"]
        at = {name: task.offset(name) for name in _MEMBERS}
        at["state"] = task.offset("__state" if "__state" in task.members else "state")  # renamed in 5.14
        at["context"] = task.offset("thread") + thread.offset("cpu_context")
        self._thread_head = types["signal_struct"].offset("thread_head")
        self._tasks = at["tasks"]
        self._start = min(at.values())
        self._size = max(at.values()) + _CONTEXT.size - self._start
        if self._size > _MOST_STRUCT:
            raise MachineError("this kernel's type information describes a struct task_struct that cannot be right")
        self._at = {name: offset - self._start for name, offset in at.items()}
        self._member = at

    def find_init_task(self) -> int:
        """The address of init_task, which is in the kernel's data. Raises MachineError if it is not found."""
        machine = self._machine
        named = machine.symbols.in_kernel("init_task")
        if named is not None:
            return named.address
        # Without CONFIG_KALLSYMS_ALL no symbol says it. init_idle() has named it after the CPU.
        start = machine.symbols["_stext"].address
        base = machine.memory.translate(start).physical
        at, ram = base - machine.ram.base, machine.ram
        for _ in range(_TRIES):
            at = ram.pages.find(b"swapper/0\0", at + 1, base - ram.base + _WITHIN)
            if at < 0:
                break
            task = start + at + ram.base - base - self._member["comm"]
            if self._is_init_task(task):
                return task
        raise MachineError("the guest's list of tasks is not found: the kernel has not started its scheduler yet")

    def _is_init_task(self, task: int) -> bool:
        """Whether a task of number 0 is there that is its own parent and in a ring of tasks."""
        try:
            data, member, read = self._read(task), self._member, self._machine.memory.u64
            if task % 8 or self._u32(data, "pid") or self._u64(data, "real_parent") != task:
                return False
            entry = task + member["tasks"]
            return read(read(entry) + 8) == entry or read(read(entry + 8)) == entry
        except MachineError:
            return False

    def one(self, task: int) -> TaskStruct:
        """The task whose task_struct is at `task`. Raises MachineError if there is none."""
        return self._task(task, self._read(task), {})

    def read(self, init_task: int) -> list[TaskStruct]:
        """All tasks but the idle one, by number. Raises MachineError, saying why, for a list that is damaged."""
        tgids: dict[int, int] = {}
        structs = list(self._structs(init_task))
        for address, data in structs:
            tgids[address] = self._u32(data, "tgid")
        tasks = [self._task(address, data, tgids) for address, data in structs if address != init_task]
        return sorted(tasks, key=lambda task: (task.tgid, task.pid))

    def _structs(self, init_task: int) -> Iterator[tuple[int, bytes]]:
        """The task_structs with their addresses."""
        seen: set[int] = set()
        leader = init_task
        while leader not in seen:
            data = self._seen(leader, seen)
            yield leader, data
            # An exiting thread group has left signal_struct behind only when it is out of the ring of tasks.
            head = self._u64(data, "signal") + self._thread_head
            entry = self._pointer(head)
            while leader != init_task and entry != head:
                thread = entry - self._member["thread_node"]
                if thread != leader:
                    if thread in seen:
                        raise MachineError(f"the guest's list of tasks is damaged: it comes to {thread:#x} twice")
                    other = self._seen(thread, seen)
                    yield thread, other
                    entry = self._u64(other, "thread_node")
                else:
                    entry = self._u64(data, "thread_node")
                    if head != entry and entry - self._member["thread_node"] == leader:
                        raise MachineError(f"the guest's list of tasks is damaged: {leader:#x} leads to itself")
            leader = self._u64(data, "tasks") - self._tasks
        if leader != init_task:
            raise MachineError(f"the guest's list of tasks is damaged: it comes to {leader:#x} twice")

    def _seen(self, task: int, seen: set[int]) -> bytes:
        if len(seen) == _MOST:
            raise MachineError(f"the guest has more than {_MOST:,} tasks, or its list of them is damaged")
        seen.add(task)
        return self._read(task)

    def _read(self, task: int) -> bytes:
        if not task >> 48 == 0xFFFF or task % 8:
            raise MachineError(f"the guest's list of tasks is damaged: {task & (1 << 64) - 1:#x} is in it")
        try:
            return self._machine.memory.read(task + self._start, self._size)
        except MachineError as error:
            raise MachineError(f"the guest's list of tasks cannot be read: {error}") from None

    def _pointer(self, address: int) -> int:
        try:
            return self._machine.memory.u64(address)
        except MachineError as error:
            raise MachineError(f"the guest's list of tasks cannot be read: {error}") from None

    def _task(self, address: int, data: bytes, tgids: dict[int, int]) -> TaskStruct:
        pid, comm = self._u32(data, "pid"), data[self._at["comm"] :][:COMM_SIZE].partition(b"\0")[0]
        if pid > _PID_MAX:
            raise MachineError(f"the guest's list of tasks is damaged: the one at {address:#x} has the number {pid}")
        parent = self._u64(data, "real_parent")
        if parent not in tgids:
            try:
                tgids[parent] = self._machine.memory.u32(parent + self._member["tgid"])
            except MachineError:
                tgids[parent] = 0
        context = _CONTEXT.unpack_from(data, self._at["context"])
        return TaskStruct(
            address,
            pid,
            self._u32(data, "tgid"),
            comm.decode("utf-8", "replace"),
            _state(self._u32(data, "state"), self._u32(data, "exit_state")),
            tgids[parent],
            self._u64(data, "stack"),
            self._u64(data, "mm"),
            bool(self._u32(data, "flags") & _KTHREAD),
            bool(self._u32(data, "on_cpu")),
            CpuContext(context[:10], *context[10:]),
        )

    def _u32(self, data: bytes, member: str) -> int:
        at = self._at[member]
        return int.from_bytes(data[at : at + 4], "little")

    def _u64(self, data: bytes, member: str) -> int:
        at = self._at[member]
        return int.from_bytes(data[at : at + 8], "little")


def _state(state: int, exit_state: int) -> str:
    """The letter, as task_state_index() and task_index_to_char() find it (include/linux/sched.h)."""
    reported = (state | exit_state) & _REPORT
    if state & _IDLE == _IDLE:
        reported = _REPORT + 1
    elif state & _RTLOCK_WAIT:
        reported = 2
    return _LETTERS[reported.bit_length()]
