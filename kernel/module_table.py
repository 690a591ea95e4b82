# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc/modules says of each loaded module, read from its struct module (m_show, kernel/module/procfs.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from .kernel import Kernel
    from .value import Value

STATES: Final = ("Live", "Loading", "Unloading")
"""By enum module_state: MODULE_STATE_LIVE, _COMING and _GOING."""
_MOST_USERS: Final = 2000  # of one module
_TAINTS: Final = {0: "P", 1: "F", 10: "C", 12: "O", 13: "E", 15: "K", 16: "X", 17: "T", 18: "N"}
"""The letters of those that modules have (taint_flags, kernel/panic.c)."""


class ModuleStruct(NamedTuple):
    """A module. `address` is that of its struct module.

    `size` counts the bytes of all of its memory, and `base` is the address of its code. `references` counts its users,
    and `users` are the modules among them. `state` is one of `STATES`. `permanent` is a module that cannot be removed,
    as it has no cleanup. `taints` are the letters of how it taints the kernel.
    """

    address: int
    name: str
    size: int
    references: int
    users: tuple[str, ...]
    permanent: bool
    state: str
    base: int
    taints: str


def read_modules(kernel: Kernel, addresses: list[int]) -> list[ModuleStruct]:
    """The modules whose struct modules are at `addresses`. Raises MachineError, saying why."""
    return [_read(kernel, kernel.read(address, "struct module"), address) for address in addresses]


def _read(kernel: Kernel, module: Value, address: int) -> ModuleStruct:
    name = module.name.string_().decode("utf-8", "replace")
    state = int(module.state)
    if state >= len(STATES):
        raise MachineError(f"the guest's list of modules is damaged: {name!r} has the state {state}")
    size, base = _memory(module)
    taints = int(module.taints)
    return ModuleStruct(
        address,
        name,
        size,
        int(module.refcnt.counter) - 1,  # MODULE_REF_BASE
        tuple(_users(module)),
        bool(module.init) and not module.exit,
        STATES[state],
        base,
        "".join(letter for bit, letter in _TAINTS.items() if taints >> bit & 1),
    )


def _memory(module: Value) -> tuple[int, int]:
    """The bytes of all memory, and the address of the code."""
    try:
        memories = list(module.member_("mem"))
    except MachineError:  # before 6.4
        core = module.core_layout
        return int(core.size) + int(module.init_layout.size), int(core.base)
    return sum(int(memory.size) for memory in memories), int(memories[0].base)


def _users(module: Value) -> list[str]:
    users: list[str] = []
    for use in module.source_list.list_("struct module_use", "source_list"):
        if len(users) == _MOST_USERS:
            raise MachineError("the guest's list of modules is damaged: one has no end of users")
        users.append(use.source.name.string_().decode("utf-8", "replace"))
    return users
