# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's kernel: what it tells of itself in its own memory, without being asked.

`Machine.kernel` is None for a guest that is no kernel. What a kernel lacks is None or False here, so that users of a
`Kernel` look for the capability that they need rather than for a certain guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from armprobe.machine import Machine, MachineError, Symbols

from .btf import Btf
from .crashes import Crashes
from .kworker import Kworkers
from .memory_values import TypedMemory
from .module_events import ModuleEvents
from .module_file import ModuleFiles
from .modules import LoadedModules
from .page_tables import PageTables
from .structs import Places, Structs
from .task_list import TaskStruct
from .tasks import Tasks
from .trace_events import TraceEvents
from .types import Types
from .value import Value
from .variables import ENTRY_TASK, NamedVariable, Variable, Variables
from .version import Version, linux_version

if TYPE_CHECKING:
    from .hrtimers import Timer
    from .interrupts import Interrupt
    from .log import LogRecord
    from .module_table import ModuleStruct
    from .mounts import Mount, MountTable
    from .slab_caches import SlabCache
    from .system_calls import SystemCall
    from .task_memory import MemoryArea, OpenFile
    from .timer_wheel import WheelTimer

_REFUSING_SLEEP: Final = "__schedule_bug", "dequeue_task_idle"  # kernel/sched/core.c and idle.c
_START: Final = "_stext"  # the kernel's first instruction (arch/arm64/kernel/vmlinux.lds.S)


class Kernel(TypedMemory):
    """A kernel that has the linker symbols of Linux. The demo kernel is one."""

    modules: Mapping[str, Symbols] | None = None
    """The symbols of each module that is loaded now, by its name; None for a kernel that has no modules."""
    module_events: ModuleEvents | None = None
    """Tells when modules come and go; None for a kernel that has no modules."""
    tasks: Tasks | None = None
    """The kernel's tasks; None for a kernel whose tasks are not known."""
    tracepoints: TraceEvents | None = None
    """The kernel's tracepoints and system calls as events, by name; None for a kernel that has none."""
    has_ftrace = False
    """Whether the kernel patches calls to ftrace into the entries of its functions."""
    manages_vectors = False
    """Whether the kernel's own code leaves v0 to v31 to user programs, and loads them when it switches tasks."""
    replaces_page_tables = False
    """Whether the kernel boots with page tables that it replaces later."""

    @property
    def symbols(self) -> Symbols:
        """The kernel's symbols, those of loaded modules among them."""
        return self.machine.symbols

    @property
    def refuses_sleep(self) -> tuple[int, ...]:
        """Addresses of the functions that the kernel calls when code sleeps that must not."""
        return ()

    @property
    def version(self) -> Version | None:
        """The version of Linux, such as (6, 1, 192); None if the kernel does not say or is not Linux."""
        return None

    def kernel_ttbr1(self, ttbr1: int) -> int:
        """The value of TTBR1_EL1 with which the kernel is mapped, while the register has `ttbr1`."""
        return ttbr1

    def log(self) -> list[LogRecord]:
        """The records of the kernel's log, oldest first. Raises MachineError, saying why, where it cannot be read."""
        from .log import read_log

        return read_log(self.machine, self.types)


class Linux(Kernel):
    """A Linux kernel."""

    has_ftrace = True
    manages_vectors = True
    replaces_page_tables = True
    cpu_offset_register = "tpidr_el1"

    modules: LoadedModules
    tasks: Tasks

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._places: Places = {}
        self.modules = self._loaded = LoadedModules(self)
        self._variables = Variables(self)
        self.module_events = ModuleEvents(machine)
        self.module_files = ModuleFiles(self)
        self.tasks = Tasks(self)
        self._page_tables = PageTables(machine)
        self.kworkers = Kworkers(self)
        self.tracepoints = TraceEvents(self)
        self.crashes = Crashes(self)

    def kernel_ttbr1(self, ttbr1: int) -> int:
        """See `Kernel.kernel_ttbr1`. With page table isolation the register has another value at EL0."""
        return self._page_tables.of_kernel(ttbr1)

    def module_table(self) -> list[ModuleStruct]:
        """The loaded modules, as in /proc/modules. Raises MachineError, saying why, where they cannot be read."""
        from .module_table import read_modules

        return read_modules(self, self._loaded.addresses())

    @property
    def refuses_sleep(self) -> tuple[int, ...]:
        """See `Kernel.refuses_sleep`."""
        found = map(self.machine.symbols.in_kernel, _REFUSING_SLEEP)
        return tuple(symbol.address for symbol in found if symbol is not None)

    def mounts(self, task: TaskStruct) -> list[Mount]:
        """The file systems that `task` sees mounted. Raises MachineError, saying why, where they cannot be read."""
        return self._mount_table.of(task.address)

    def per_cpu(self, name: str) -> Value:
        """The per-CPU variable `name` of the CPU, such as `runqueues`.

        Raises MachineError, saying why, if there is none or its place cannot be found.
        """
        types = self.types
        variables = types.per_cpu if isinstance(types, Btf) else {}
        if name not in variables:
            raise MachineError(f"this kernel's type information (BTF) has no per-CPU variable {name}")
        if ENTRY_TASK not in variables:
            raise MachineError("this kernel's per-CPU variables are not found: its BTF has no __entry_task")
        start = self.tasks.entry_task - variables[ENTRY_TASK].offset + self.cpu_offset
        return self.read(start + variables[name].offset, variables[name].type)

    @property
    def cpu_offset(self) -> int:
        """What is added to the address of a per-CPU variable (mycpu_offset, arch/arm64/include/asm/percpu.h)."""
        return self.machine.registers[self.cpu_offset_register]

    def open_files(self, task: TaskStruct) -> list[OpenFile]:
        """The open files of `task`. Raises MachineError, saying why, where they cannot be read, as the next ones do."""
        from .task_memory import open_files

        return open_files(self.structs(), self.symbols, task.address)

    def memory_areas(self, task: TaskStruct) -> list[MemoryArea]:
        """The areas of the memory of `task`, by address; none for a kernel thread."""
        from .task_memory import memory_areas

        return memory_areas(self.structs(), self.symbols, task.address)

    def slab_caches(self) -> list[SlabCache]:
        """The caches of the slab allocator, the latest first."""
        from .slab_caches import slab_caches

        return slab_caches(self.machine, self.structs())

    def interrupts(self) -> list[Interrupt]:
        """The interrupts that have a handler or have occurred, by number, and those between processors."""
        from .interrupts import interrupts

        return interrupts(self.machine, self.structs(), self.cpu_offset)

    def interrupt_errors(self) -> int | None:
        """How many interrupts nobody wanted; None if that is not known."""
        from .interrupts import interrupt_errors

        return interrupt_errors(self.machine, self.structs())

    def timers(self) -> list[Timer]:
        """The pending high-resolution timers of the CPU, by clock and time."""
        from .hrtimers import timers

        bases = self.per_cpu("hrtimer_bases").address_ if self._has_per_cpu else None
        return timers(self.machine, self.structs(), bases, self.cpu_offset)

    def wheel_timers(self) -> list[WheelTimer]:
        """The pending timers of the CPU that count jiffies, by wheel and time."""
        from .timer_wheel import OLD_WHEELS, wheel_timers

        wheels = self.per_cpu("timer_bases") if self._has_per_cpu else None
        count = OLD_WHEELS if wheels is None else len(wheels)
        address = None if wheels is None else wheels.address_
        return wheel_timers(self.machine, self.structs(), address, count, self.cpu_offset)

    @property
    def _has_per_cpu(self) -> bool:
        """Whether the types tell of per-CPU variables, as they do since 5.11."""
        return isinstance(self.types, Btf) and bool(self.types.per_cpu)

    def system_calls(self) -> list[SystemCall]:
        """The system calls by number."""
        from .system_calls import system_calls

        return system_calls(self.machine)

    def _module_types(self, module: str) -> Types | None:
        return self.module_files.types(module) or super()._module_types(module)

    def structs(self) -> Structs:
        """What reads members of structs, for one answer."""
        return Structs(self.machine, self.types, self._places)

    def find_variable(self, name: str) -> Variable | None:
        """See `TypedMemory.find_variable`. Per-CPU variables are those of the CPU."""
        found = self._variables.find(name) if ":" not in name else None
        return found or super().find_variable(name)  # a module's

    def named_variables(self) -> list[NamedVariable]:
        """The variables that are known now, as debuggers want them, by address. Raises MachineError without types."""
        return self._variables.named()

    @property
    def few_variables(self) -> str:
        """See `TypedMemory.few_variables`."""
        try:
            return self._variables.few
        except MachineError:
            return ""

    @cached_property
    def _mount_table(self) -> MountTable:
        from .mounts import MountTable

        return MountTable(self.machine, self.types)

    @property
    def version(self) -> Version | None:
        """The version of Linux, such as (6, 1, 192); None if the kernel does not say."""
        return linux_version(self.machine)


def find_kernel(machine: Machine) -> Kernel | None:
    """The kernel in `machine`, or None if its guest is no kernel."""
    guest = machine.guest
    if guest.is_linux:
        return Linux(machine)
    return Kernel(machine) if guest.symbols.in_kernel(_START) else None
