# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the kernel begins to execute a system call, and where it has ended (arch/arm64/kernel/syscall.c).

Its own tracepoints for system calls are in code that only traced tasks execute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

if TYPE_CHECKING:
    from armprobe.machine import Symbol, Symbols

    from .text import Text

_INVOKE: Final = "invoke_syscall"
_CALLERS: Final = "do_el0_svc", "do_el0_svc_compat", "el0_svc_common"
_NONE: Final = "sys_ni_syscall", "__arm64_sys_ni_syscall"
_BL: Final = 0b100101  # bits 31 to 26
_BLR: Final = 0xD63F_0000
_BLR_MASK: Final = 0xFFFF_FC1F


class SyscallPlaces(NamedTuple):
    """The addresses at which system calls begin, and those at which they have ended.

    If `result_in_x0`, the result is in x0 there, and not yet among the user's registers.
    """

    entries: tuple[int, ...]
    exits: tuple[int, ...]
    result_in_x0: bool


def syscall_places(symbols: Symbols, text: Text) -> SyscallPlaces:
    """The places of a kernel. Raises MachineError if they are not found."""
    functions = [symbol for symbol in symbols.functions() if symbol.name.partition(".")[0] in (_INVOKE, *_CALLERS)]
    invoke = [symbol for symbol in functions if symbol.name.partition(".")[0] == _INVOKE]
    callers = [symbol for symbol in functions if symbol not in invoke]
    if invoke:
        starts = tuple(symbol.address for symbol in invoke)
        exits = tuple(at + 4 for caller in callers for at, word in _words(text, caller) if _called(at, word) in starts)
        found = SyscallPlaces(starts, exits, False)
    else:  # compilers may have put it into its caller
        none = {symbol.address for name in _NONE if (symbol := symbols.get(name)) is not None}
        words = [each for caller in callers for each in _words(text, caller)]
        calls = [at for at, word in words if word & _BLR_MASK == _BLR]
        missing = [at for at, word in words if _called(at, word) in none]
        found = SyscallPlaces((*calls, *missing), tuple(at + 4 for at in calls), True)
    if not found.entries or not found.exits:
        raise MachineError("where this kernel executes system calls is not found")
    return found


def _words(text: Text, function: Symbol) -> list[tuple[int, int]]:
    addresses = range(function.address, function.address + function.size, 4)
    return [(address, text.read_u32(address)) for address in addresses]


def _called(address: int, word: int) -> int | None:
    """The address that a BL calls; None for another instruction."""
    if word >> 26 != _BL:
        return None
    return address + 4 * ((word & 0x3FF_FFFF) - ((word & 0x200_0000) << 1))
