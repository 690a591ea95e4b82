# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of a Linux guest's system calls (sys_call_table, arch/arm64/kernel/sys.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .code_references import addresses_formed
from .structs import explained

if TYPE_CHECKING:
    from armprobe.machine import Machine

_USER: Final = "do_el0_svc"  # passes the table on (arch/arm64/kernel/syscall.c)
_PREFIX: Final = "__arm64_sys_"
_NOT_THERE: Final = "ni_syscall"
_MOST: Final = 2000


class SystemCall(NamedTuple):
    """A system call: its number, its name in the kernel (SYSCALL_DEFINE), and the address of its function.

    `implemented` is whether this kernel has it.
    """

    number: int
    name: str
    implemented: bool
    address: int


def system_calls(machine: Machine) -> list[SystemCall]:
    """The table. Raises MachineError, saying why."""
    with explained("the guest's system calls"):
        symbols = machine.symbols
        named, user = symbols.in_kernel("sys_call_table"), symbols.in_kernel(_USER)
        formed = addresses_formed(machine.memory.u32, user) if named is None and user is not None else []
        for table in [named.address] if named is not None else formed:
            if found := _table(machine, table):
                return found
        raise MachineError(f"the table of them is not found by the code of {_USER}()")


def _table(machine: Machine, table: int) -> list[SystemCall]:
    """Each call is there once, so the table ends before one that occurs again: that of 32-bit programs may follow."""
    found: list[SystemCall] = []
    seen: set[str] = set()
    for number in range(_MOST):
        try:
            address = machine.memory.u64(table + 8 * number)
        except MachineError:
            break
        at = machine.symbols.at(address)
        if at is None or at[1] or not at[0].name.startswith(_PREFIX):
            break
        name = at[0].name.removeprefix(_PREFIX)
        if name in seen and name != _NOT_THERE:
            break
        seen.add(name)
        found.append(SystemCall(number, name, name != _NOT_THERE, address))
    return found
