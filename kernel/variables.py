# SPDX-License-Identifier: GPL-2.0-or-later
"""Global variables of a Linux kernel, without debug information.

BTF describes the per-CPU variables, and all variables only where pahole was told so (--btf_features=global_var). The
other variables of a kernel without CONFIG_KALLSYMS_ALL have no symbols either. VMCOREINFO has the addresses of some,
and the code of short functions those of others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .btf import Btf
from .code_references import addresses_loaded
from .slab_caches import list_head
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
_COUNTS_JIFFIES: Final = "do_timer"  # kernel/time/timekeeping.c: jiffies_64 += ticks, before all else


class Variable(NamedTuple):
    """A global variable: its address, and its type. Where that is None, `why` says what to write instead."""

    address: int
    type: Type | None
    why: str = ""


class Variables:
    """The global variables of one kernel."""

    def __init__(self, kernel: Linux) -> None:
        self._kernel = kernel
        self._found: dict[str, Callable[[], int]] = {
            **{"init_task": self._init_task, "jiffies": self._jiffies, "jiffies_64": self._jiffies},
            **{"init_pid_ns": self._init_pid_ns, "modules": kernel.modules.list_head},
            "slab_caches": lambda: list_head(kernel.machine, kernel.structs()),
        }

    def find(self, name: str) -> Variable | None:
        """The variable `name`; None if none is known. Raises MachineError, saying why, if one cannot be read now."""
        kernel, types = self._kernel, self._kernel.types
        if isinstance(types, Btf) and name in types.per_cpu:
            variable = kernel.per_cpu(name)
            assert variable.address_ is not None
            return Variable(variable.address_, variable.type_)
        address = self._address(name)
        if address is None:
            return None
        kind = types.variable(name)
        if kind is None and name in _TYPES:
            kind = types.type(_TYPES[name])
        return Variable(address, kind, "" if kind else untyped(name))

    @property
    def few(self) -> str:
        """A clause that says that most have no names; empty where they have."""
        if self._kernel.symbols.in_kernel("jiffies") is not None:
            return ""
        types = self._kernel.types
        known = "those of each CPU and a few others" if isinstance(types, Btf) and types.per_cpu else "a few"
        return f" (of this kernel's variables only {known} have names: CONFIG_KALLSYMS_ALL is not set)"

    def _address(self, name: str) -> int | None:
        symbols = self._kernel.symbols
        if (symbol := symbols.in_kernel(name)) is not None:
            return symbol.address if symbol.kind == "object" else None
        if name in self._found:
            return self._found[name]()
        try:
            noted = vmcoreinfo(self._kernel.machine).get(f"SYMBOL({name})", "")
            return int(noted, 16) if noted else None
        except (MachineError, ValueError):
            return None

    def _init_task(self) -> int:
        return self._kernel.tasks.idle.address

    def _init_pid_ns(self) -> int:
        kernel = self._kernel
        return int(kernel.read(self._init_task(), "struct task_struct").nsproxy.pid_ns_for_children)

    def _jiffies(self) -> int:
        machine = self._kernel.machine
        counting = machine.symbols.in_kernel(_COUNTS_JIFFIES)
        loaded = addresses_loaded(machine.memory.u32, counting) if counting is not None else []
        if not loaded:
            raise MachineError(f"the address of jiffies is not found: the code of {_COUNTS_JIFFIES}() does not form it")
        return loaded[0]


def untyped(name: str) -> str:
    """What to write for a variable whose address is known and whose type is not."""
    return f"the type of {name} is not known: write *(u64 *){name}, with its type, or &{name} for its address"
