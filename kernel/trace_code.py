# SPDX-License-Identifier: GPL-2.0-or-later
"""Has the kernel's own code make and print records of its events, beside the guest, which does not change.

At a call of a tracepoint the code behind the branch that is off says what its arguments are. With these the event's own
function fills a record in. Another one prints it. Both are executed by an `Interpreter`: what they store is kept apart.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from unicorn import arm64_const as reg

from armprobe.machine.core.pstate import PSTATE_I
from armprobe.machine.core.sysregs import SYSTEM_REGISTERS
from armprobe.machine.errors import MachineError
from armprobe.machine.native.interpret import ROOM, Interpreter
from armprobe.machine.native.tracepoint import TracepointStructure

from .text import Text
from .trace_events import Branch, Syscall, TraceEvent, TraceField

if TYPE_CHECKING:
    from .kernel import Linux
    from .value import Value

# The parts of the room.
_FILE: Final = ROOM  # a struct trace_event_file, or a struct trace_array, without anything in it
_RETURN: Final = ROOM + 0x3000  # the return address of what is called
_PROBE: Final = ROOM + 0x3100  # the function of the one who traces
_FUNCS: Final = ROOM + 0x3200  # the list of those who trace, as a tracepoint's `funcs` has it
_RECORD: Final = ROOM + 0x4000
_LONGEST_RECORD: Final = 0x4000
_ITERATOR: Final = ROOM + 0x8000
_ITERATOR_SIZE: Final = 0x14000
_FORMAT: Final = ROOM + 0x1D000
_FORMAT_SIZE: Final = 0x2000
_STACK: Final = ROOM + 0x1C000  # of what prints; it grows down

_HEADER: Final = struct.Struct("<HBBi")  # struct trace_entry
_THREAD: Final = 16384  # THREAD_SIZE, with pages of 4 KB (arch/arm64/include/asm/memory.h)
_COMPAT: Final = 1 << 4  # PSTATE.nRW: a task with AArch32
_TPIDR_EL1: Final = reg.UC_ARM64_REG_TPIDR_EL1
_COUNTERS: Final = (3, 3, 14, 0, 1), (3, 3, 14, 0, 2)  # CNTPCT_EL0 and CNTVCT_EL0
_NAMES: Final = {tuple(encoding): name for name, encoding in SYSTEM_REGISTERS.items()}

# enum trace_flag_type (include/linux/trace_events.h)
IRQS_OFF: Final = 0x01
NEED_RESCHED: Final = 0x04
HARDIRQ: Final = 0x08
SOFTIRQ: Final = 0x10
PREEMPT_RESCHED: Final = 0x20
NMI: Final = 0x40
BH_OFF: Final = 0x80
_LONGEST_READ: Final = 167  # SYSCALL_FAULT_ARG_SZ - 1 of kernel/trace/trace_syscalls.c
_USER_DATA: Final = 63  # CONFIG_TRACE_SYSCALL_BUF_SIZE_DEFAULT
_UNPRINTABLE: Final = re.compile(rb"[^ -~\xa0-\xff]")  # by lib/ctype.c
_HASH_POINTERS: Final = "TRACE_ITER_HASH_PTR_BIT"
_TIF_NEED_RESCHED: Final = 1 << 1  # arch/arm64/include/asm/thread_info.h


class TraceCode:
    """Makes records of the events of `kernel`, and their texts."""

    def __init__(self, kernel: Linux, text: Text) -> None:
        self._kernel, self._machine = kernel, kernel.machine
        machine = self._machine
        self._interpreter = Interpreter(machine.core.native.address, self._register, text.read_u32)
        self._types = kernel.types

    def record(self, event: TraceEvent, branch: Branch, siblings: dict[int, int]) -> bytes | None:
        """The record that the call of `event` at `branch` would make now; None if it would make none.

        The guest is at the branch. `siblings` are the targets of the tracepoint's branches, by their addresses: some
        calls are within code that is executed only if the tracepoint is on. Raises MachineError, saying why, if the
        code cannot be executed beside the guest.
        """
        interpreter = self._begin()
        interpreter.put(_FUNCS, struct.pack("<3Q", _PROBE, _FILE, 0) + bytes(24))
        interpreter.store(event.tracepoint + self._funcs, _FUNCS)
        others = [code for code in siblings if code != branch.code]
        interpreter.x[32] = branch.target
        interpreter.stop_at([_PROBE, branch.code + 4, *others])
        while (pc := interpreter.run()) in siblings:
            interpreter.x[32] = siblings[pc]
        if pc == branch.code + 4:
            return None
        return self._recorded(event, interpreter)

    def record_of_syscall(
        self, event: TraceEvent, syscall: Syscall, fields: tuple[TraceField, ...], in_x0: bool
    ) -> bytes | None:
        """The record of a system call that enters or exits now; None if it is another one, or a 32-bit task's.

        `in_x0` is as in `SyscallPlaces`.
        """
        regs = self._user_regs()
        number = int(regs.syscallno)
        if syscall.number >= 0 and (number != syscall.number or int(regs.pstate) & _COMPAT):
            return None
        result = self._machine.core.context.x[0] if in_x0 else int(regs.regs[0])
        if syscall.number < 0:
            interpreter = self._begin()
            interpreter.x[1] = regs.address_ or 0
            interpreter.x[2] = number if syscall.enters else result
            return self._recorded(event, interpreter)
        values = [number]
        if syscall.enters:
            values += [int(regs.orig_x0), *(int(regs.regs[each]) for each in range(1, 6))]
        else:
            values.append(result)
        data = bytearray(max(field.offset + field.size for field in fields))
        data[: _HEADER.size] = self._header(event)
        for field, value in zip((each for each in fields if not each.dynamic), values, strict=False):
            data[field.offset : field.offset + field.size] = (value & (1 << 8 * field.size) - 1).to_bytes(
                field.size, "little"
            )
        if user := event.user_data:
            for field, number in zip((each for each in fields if each.dynamic), user.arguments, strict=False):
                found = self._user_data(values[1 + number], None if user.size is None else values[1 + user.size])
                location = len(data) | len(found) << 16
                data[field.offset : field.offset + field.size] = location.to_bytes(field.size, "little")
                data += found
        return bytes(data)

    def _user_data(self, address: int, size: int | None) -> bytes:
        """A string of the process, or `size` bytes, as sys_fault_user() of kernel/trace/trace_syscalls.c has them.

        Empty if they cannot be read now: the kernel has pages brought in.
        """
        if size is not None:
            return (self._machine.core.read_virtual(address, min(size, _LONGEST_READ)) or b"")[:_USER_DATA]
        try:
            text = self._machine.memory.read_string(address, _LONGEST_READ)
        except MachineError:
            return b""
        text = _UNPRINTABLE.sub(b".", text)
        return text[:_USER_DATA] + (b"...\0" if len(text) > _USER_DATA else b"\0")

    def native(
        self, event: TraceEvent, branch: Branch | None, siblings: dict[int, int], syscall: Syscall | None, in_x0: bool
    ) -> tuple[TracepointStructure, list[int], list[int]]:
        """What the C core needs to do the same, for a call at `branch` or for system calls, and stops with targets."""
        if event.user_data:
            raise MachineError("the C core reads no memory of the process")
        task, regs = self._types["task_struct"], self._types["pt_regs"]
        symbols = self._machine.symbols
        found = TracepointStructure(
            interpreter=self._interpreter.address,
            reserve=symbols["trace_event_buffer_reserve"].address,
            commit=symbols["trace_event_buffer_commit"].address,
            **{"file": _FILE, "returns": _RETURN, "probe": _PROBE, "functions": _FUNCS, "record_at": _RECORD},
            id=event.id,
            preempt_count=task.offset("thread_info.preempt_count"),
            flags=task.offset("thread_info.flags"),
            pid=task.offset("pid"),
            migration=task.offset("migration_disabled") if "migration_disabled" in task.members else 0,
            stack=task.offset("stack"),
            tpidr_el1=_TPIDR_EL1,
            regs=_THREAD - regs.size,
            syscallno=regs.offset("syscallno"),
            user_pstate=regs.offset("pstate"),
            general=regs.offset("regs"),
            orig_x0=regs.offset("orig_x0"),
            in_x0=in_x0,
        )
        stops, targets = [_PROBE], [0]
        if branch is not None:
            found.target, found.list = branch.target, event.tracepoint + self._funcs
            others = {code: target for code, target in siblings.items() if code != branch.code}
            stops, targets = [_PROBE, branch.code + 4, *others], [0, 0, *others.values()]
        if syscall is not None:
            found.number, found.enters = syscall.number, syscall.enters
        fields = None if syscall is None else _values_of_syscall(event.fields, syscall)
        if fields is None:
            found.make = event.recorder
        else:
            found.field_count = len(fields)
            found.offsets[: len(fields)] = [offset for offset, _ in fields]
            found.sizes[: len(fields)] = [min(size, 8) for _, size in fields]
            found.size = max(field.offset + field.size for field in event.fields)
        return found, stops, targets

    def text(self, event: TraceEvent, record: bytes) -> str:
        """What the kernel prints of a record in its trace, with the event's name.

        Raises MachineError if its code cannot be executed here.
        """
        interpreter = self._begin()
        kind = self._types["trace_iterator"]
        offset = kind.offset
        interpreter.put(_FILE, bytes(0x3000))
        interpreter.put(_ITERATOR, bytes(_ITERATOR_SIZE))
        interpreter.put(_RECORD, record)
        tracer = self._types["trace_array"]
        hashed = self._types.enumerator(_HASH_POINTERS)  # which is on at first
        if hashed is not None:
            interpreter.put(_FILE + tracer.offset("trace_flags"), (1 << hashed[1]).to_bytes(4, "little"))
        for name, value, size in (
            ("tr", _FILE, 8),
            ("ent", _RECORD, 8),
            ("ent_size", len(record), 4),
            ("fmt", _FORMAT, 8),
            ("fmt_size", _FORMAT_SIZE, 4),
        ):
            if name in kind.members:
                interpreter.put(_ITERATOR + offset(name), value.to_bytes(size, "little"))
        interpreter.x[0], interpreter.x[1], interpreter.x[2] = _ITERATOR, 0, event.call.event.address_ or 0
        self._call(interpreter, event.printer, _STACK, [])
        sequence = _ITERATOR + offset("seq")
        layout = self._types["trace_seq"]
        buffer = sequence + layout.offset("buffer")
        length = int.from_bytes(interpreter.read(sequence + layout.offset("seq.len"), 8), "little")
        return interpreter.read(buffer, min(length, 8192)).decode("utf-8", "replace").rstrip("\n")

    def _begin(self) -> Interpreter:
        context = self._machine.core.load()
        tpidr_el1 = self._machine.registers["tpidr_el1"]
        self._interpreter.begin(context.x, context.pstate, self._current, tpidr_el1)
        return self._interpreter

    @property
    def _current(self) -> int:
        """The address of the struct task_struct of the task that the CPU executes, in the kernel or at EL0."""
        context = self._machine.core.load()
        return context.system(context.layout.sp_el0) if context.el else self._kernel.tasks.current_struct()

    def _recorded(self, event: TraceEvent, interpreter: Interpreter) -> bytes:
        """The record of an event with its arguments in x1 to x7."""
        symbols = self._machine.symbols
        reserve, commit = (symbols[f"trace_event_buffer_{name}"].address for name in ("reserve", "commit"))
        interpreter.put(_FILE, bytes(256))
        interpreter.x[0] = _FILE
        self._call(interpreter, event.recorder, interpreter.x[31] - 512 & ~15, [reserve])
        if interpreter.x[32] != reserve:
            raise MachineError(f"the code of {event.full_name} makes no record")
        size = interpreter.x[2]
        if size > _LONGEST_RECORD:
            raise MachineError(f"a record of {event.full_name} has {size:,} bytes")
        interpreter.put(_RECORD, self._header(event) + bytes(size - _HEADER.size))
        interpreter.x[0], interpreter.x[32] = _RECORD, interpreter.x[30]
        interpreter.stop_at([commit])
        interpreter.run()
        return interpreter.read(_RECORD, size)

    def _call(self, interpreter: Interpreter, function: int, stack: int, stops: list[int]) -> None:
        interpreter.x[30], interpreter.x[31], interpreter.x[32] = _RETURN, stack, function
        interpreter.stop_at([_RETURN, *stops])
        interpreter.run()

    @property
    def _funcs(self) -> int:
        return self._types["tracepoint"].offset("funcs")

    def _header(self, event: TraceEvent) -> bytes:
        """struct trace_entry, as tracing_gen_ctx_irq_test() and tracing_generic_entry_update() fill it in."""
        layout = self._types["task_struct"]
        task = self._kernel.read(self._current, layout)
        count = int(task.thread_info.preempt_count) & 0xFFFF_FFFF
        thread_flags = int(task.thread_info.flags)
        flags = IRQS_OFF if self._machine.core.context.pstate & PSTATE_I else 0
        flags |= NMI if count & 0xF0_0000 else 0
        flags |= HARDIRQ if count & 0xF_0000 else 0
        flags |= SOFTIRQ if count & 0x100 else 0
        flags |= BH_OFF if count >> 9 & 0x7F else 0
        flags |= NEED_RESCHED if thread_flags & _TIF_NEED_RESCHED else 0
        flags |= PREEMPT_RESCHED if not int(task.thread_info.preempt_count) >> 32 else 0
        migration = int(task.migration_disabled) if "migration_disabled" in layout.members else 0
        depth = min(count & 0xFF, 15) | min(migration, 15) << 4
        return _HEADER.pack(event.id, flags, depth, int(task.pid))

    def _user_regs(self) -> Value:
        """The registers of the user's code that the task has come from (task_pt_regs)."""
        stack = int(self._kernel.read(self._current, self._types["task_struct"]).stack)
        layout = self._types["pt_regs"]
        return self._kernel.read(stack + _THREAD - layout.size, layout)

    def _register(self, which: tuple[int, int, int, int, int]) -> int:
        if which in _COUNTERS:
            return self._machine.clock.now
        if which not in _NAMES:
            raise MachineError("it reads the system register S{}_{}_C{}_C{}_{}".format(*which))
        return self._machine.registers[_NAMES[which]]


def _values_of_syscall(fields: tuple[TraceField, ...], syscall: Syscall) -> list[tuple[int, int]] | None:
    """The offsets and sizes of its number and its arguments, or its result, in the record; None if others are there."""
    found = [(field.offset, field.size) for field in fields]
    if syscall.number >= 0:
        return found[:7] if syscall.enters else found[:2]
    (number, *rest), names = found, [field.name for field in fields]  # raw_syscalls: include/trace/events/syscalls.h
    if names == ["id", "args"] and rest[0][1] == 6 * 8:
        return [number, *((rest[0][0] + 8 * each, 8) for each in range(6))]
    return found if names == ["id", "ret"] else None
