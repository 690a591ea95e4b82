# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds data by the code that refers to it.

Distribution kernels keep only the names of functions (CONFIG_KALLSYMS_ALL is off), so their tables of data have no
symbols. Each table is used by a short function that has one and forms the table's address with ADRP and ADD (Arm ARM,
C6.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from armprobe.machine.symbols import Symbol

if TYPE_CHECKING:
    from armprobe.machine import Machine

_MASK: Final = (1 << 64) - 1
_LONGEST: Final = 1024  # bytes of a function that are searched


def addresses_formed(read_u32: Callable[[int], int], function: Symbol) -> list[int]:
    """The addresses that `function` forms with ADRP and ADD (immediate), each once, in order of the instructions.

    `read_u32` gives the instruction at an address.
    """
    return [address for address, loads in _references(read_u32, function) if not loads]


def formed_by(machine: Machine, name: str) -> list[int]:
    """The addresses that the kernel's function `name` forms; none if it has no such function. Raises MachineError."""
    function = machine.symbols.in_kernel(name)
    return [] if function is None else addresses_formed(machine.memory.u32, function)


def addresses_loaded(read_u32: Callable[[int], int], function: Symbol) -> list[int]:
    """The addresses from which `function` loads 32 or 64 bits after ADRP, as `addresses_formed` gives those of ADD."""
    return [address for address, loads in _references(read_u32, function) if loads]


def _references(read_u32: Callable[[int], int], function: Symbol) -> list[tuple[int, bool]]:
    """The addresses, each with whether it is loaded from."""
    pages: dict[int, int] = {}
    found: list[tuple[int, bool]] = []
    for address in range(function.address, function.address + min(function.size, _LONGEST), 4):
        word = read_u32(address)
        if word & 0x9F00_0000 == 0x9000_0000:  # ADRP
            pages_away = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            pages_away -= pages_away >> 20 << 21
            pages[word & 31] = (address & ~0xFFF) + (pages_away << 12) & _MASK
        elif word & 0xFFC0_0000 == 0x9100_0000 and (word >> 5 & 31) in pages:  # ADD (immediate), 64-bit, not shifted
            reference = pages[word >> 5 & 31] + (word >> 10 & 0xFFF), False
            if reference not in found:
                found.append(reference)
        elif word & 0xBFC0_0000 == 0xB940_0000 and (word >> 5 & 31) in pages:  # LDR (immediate), unsigned offset
            reference = pages[word >> 5 & 31] + (word >> 10 & 0xFFF) * (8 if word >> 30 & 1 else 4), True
            if reference not in found:
                found.append(reference)
    return found
