# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables of a Linux kernel, without debug information.

BTF describes the per-CPU variables, and all variables only where pahole was told so (--btf_features=global_var). The
other variables of a kernel without CONFIG_KALLSYMS_ALL have no symbols either. VMCOREINFO has the addresses of some,
and the code of short functions those of others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .btf import Btf
from .code_references import addresses_loaded, formed_by
from .types import Array
from .version import linux_banner
from .vmcoreinfo import vmcoreinfo

if TYPE_CHECKING:
    from .kernel import Linux
    from .types import Type

# The declarations of those in the kernel's headers that never change.
_TYPES: Final = {
    **{"init_task": "struct task_struct", "init_uts_ns": "struct uts_namespace", "init_mm": "struct mm_struct"},
    **{"jiffies": "unsigned long", "jiffies_64": "unsigned long long", "prb": "struct printk_ringbuffer *"},
    **{"modules": "struct list_head", "slab_caches": "struct list_head", "vmap_area_list": "struct list_head"},
    **{"init_net": "struct net", "init_pid_ns": "struct pid_namespace", "init_user_ns": "struct user_namespace"},
    **{"init_css_set": "struct css_set", "super_blocks": "struct list_head", "saved_command_line": "char *"},
}
_BANNER: Final = "linux_banner"
ENTRY_TASK: Final = "__entry_task"
"""The per-CPU variable whose place code shows that has a symbol."""
PER_CPU_OFFSET: Final = "__per_cpu_offset"
"""The array with what is added, for each CPU, to the place of a per-CPU variable."""
_USES_OFFSETS: Final = "arch_show_interrupts"  # adds up what each CPU has counted
_COUNTS_JIFFIES: Final = "do_timer"  # kernel/time/timekeeping.c: jiffies_64 += ticks, before all else
_SHOWS_COMMAND_LINE: Final = "cmdline_proc_show"  # fs/proc/cmdline.c: seq_puts(m, saved_command_line)


class Variable(NamedTuple):
    """A global variable: its address, and its type. Where that is None, `why` says what to write instead.

    `per_cpu` is whether each CPU has one; the address is that of the CPU's own.
    """

    address: int
    type: Type | None
    why: str = ""
    per_cpu: bool = False


class NamedVariable(NamedTuple):
    """A variable as a debugger wants it: of one that each CPU has, the place is that in the kernel's own image.

    `type` is None where it is not known.
    """

    name: str
    address: int
    type: Type | None


class Variables:
    """The global variables of one kernel."""

    def __init__(self, kernel: Linux) -> None:
        from .slab_caches import list_head

        self._kernel = kernel
        self._noted_at, self._lines = -1, dict[str, str]()
        self._found: dict[str, Callable[[], int]] = {
            "init_task": self._init_task,
            **dict.fromkeys(("jiffies", "jiffies_64"), partial(self._first_loaded, "jiffies", _COUNTS_JIFFIES)),
            "saved_command_line": partial(self._first_loaded, "saved_command_line", _SHOWS_COMMAND_LINE),
            **{"init_pid_ns": self._init_pid_ns, "modules": kernel.modules.list_head},
            "slab_caches": lambda: list_head(kernel.machine, kernel.structs()),
        }

    def find(self, name: str) -> Variable | None:
        """The variable `name`; None if none is known. Raises MachineError, saying why, if one cannot be read now."""
        kernel, types = self._kernel, self._kernel.types
        if isinstance(types, Btf) and name in types.per_cpu:
            variable = kernel.per_cpu(name)
            assert variable.address_ is not None
            return Variable(variable.address_, variable.type_, per_cpu=True)
        if name == _BANNER:
            place, size = linux_banner(kernel.machine)
            return Variable(place, types.type(f"char[{size}]"))
        address = self._address(name)
        if address is None:
            return None
        if per_cpu := self._is_per_cpu(address):
            address = address + kernel.cpu_offset & (1 << 64) - 1
        kind = types.variable(name)
        if kind is None and name in _TYPES:
            kind = types.type(_TYPES[name])
        return Variable(address, kind, "" if kind else untyped(name), per_cpu)

    def _is_per_cpu(self, address: int) -> bool:
        """Whether a symbol's address is among those to which that of a CPU is added."""
        start, end = map(self._kernel.symbols.in_kernel, ("__per_cpu_start", "__per_cpu_end"))
        return start is not None and end is not None and start.address <= address < end.address

    def named(self) -> list[NamedVariable]:
        """Those that are known now, by address. Those that have a symbol are there only if they have a type as well."""
        found: dict[str, NamedVariable] = {}
        with contextlib.suppress(MachineError):
            found |= {each.name: each for each in self._per_cpu()}
        names = [key.removeprefix("SYMBOL(").removesuffix(")") for key in self._noted if key.startswith("SYMBOL(")]
        for name in dict.fromkeys([*_TYPES, _BANNER, *names]):
            with contextlib.suppress(MachineError):
                variable = self.find(name)
                if name not in found and variable is not None:
                    found[name] = NamedVariable(name, variable.address, variable.type)
        return sorted(found.values(), key=lambda each: each.address)

    def _per_cpu(self) -> Iterator[NamedVariable]:
        """The per-CPU variables, and __per_cpu_offset, which says where those of each CPU are."""
        kernel, types = self._kernel, self._kernel.types
        if not isinstance(types, Btf) or ENTRY_TASK not in types.per_cpu:
            return
        start = kernel.tasks.entry_task - types.per_cpu[ENTRY_TASK].offset
        for name, variable in types.per_cpu.items():
            yield NamedVariable(name, start + variable.offset, variable.type)
        long = types.type("unsigned long")
        for address in formed_by(kernel.machine, _USES_OFFSETS):
            with contextlib.suppress(MachineError):
                if kernel.machine.memory.u64(address) == kernel.cpu_offset:
                    yield NamedVariable(PER_CPU_OFFSET, address, Array(lambda: long, None))
                    return

    @property
    def few(self) -> str:
        """A clause that says that most have no names; empty where they have."""
        if self._kernel.symbols.in_kernel("jiffies") is not None:
            return ""
        types = self._kernel.types
        known = "those of each CPU and a few others" if isinstance(types, Btf) and types.per_cpu else "a few"
        why = "CONFIG_KALLSYMS_ALL is not set, and --vmlinux FILE has all"
        return f" (of this kernel's variables only {known} have names: {why})"

    def _address(self, name: str) -> int | None:
        symbols = self._kernel.symbols
        if (symbol := symbols.in_kernel(name)) is not None:
            return symbol.address if symbol.kind == "object" else None
        if name in self._found:
            return self._found[name]()
        try:
            noted = self._noted.get(f"SYMBOL({name})", "")
            return int(noted, 16) if noted else None
        except ValueError:
            return None

    @property
    def _noted(self) -> dict[str, str]:
        """The lines of VMCOREINFO, looked for again when the guest has executed something; empty if there are none."""
        machine = self._kernel.machine
        if self._noted_at != machine.instructions:
            self._noted_at, self._lines = machine.instructions, {}
            with contextlib.suppress(MachineError):
                self._lines = vmcoreinfo(machine)
        return self._lines

    def _init_task(self) -> int:
        return self._kernel.tasks.idle.address

    def _init_pid_ns(self) -> int:
        kernel = self._kernel
        return int(kernel.read(self._init_task(), "struct task_struct").nsproxy.pid_ns_for_children)

    def _first_loaded(self, name: str, function: str) -> int:
        """The address of the variable `name`, from which `function` loads first."""
        machine = self._kernel.machine
        symbol = machine.symbols.in_kernel(function)
        loaded = addresses_loaded(machine.memory.u32, symbol) if symbol is not None else []
        if not loaded:
            raise MachineError(f"the address of {name} is not found: the code of {function}() does not form it")
        return loaded[0]


def untyped(name: str) -> str:
    """What to write for a variable whose address is known and whose type is not."""
    return f"the type of {name} is not known: write *(u64 *){name}, with its type, or &{name} for its address"
