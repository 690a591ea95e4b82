# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the address to which a Linux kernel with KASLR moves itself.

The kernel chooses it from /chosen/kaslr-seed of the device tree, by a rule that differs between versions (arch/arm64:
kernel/kaslr.c up to 5.19, kernel/pi/kaslr_early.c since). A machine runs the same guest the same way each time, so the
start of the boot is run once, in a machine that is then dropped, to see where the kernel goes. The symbols have the
right addresses from the first instruction on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .errors import MachineError
from .loaders import LoadedGuest
from .machine import Machine
from .memory.mmu import PAGE
from .stop import StopReason

_STEP: Final = 200_000  # instructions between two looks at the PC
_LIMIT: Final = 100_000_000  # instructions; Debian's kernels move in the first million


def moved(guest: LoadedGuest, cpu: str) -> LoadedGuest:
    """`guest`, with the addresses at which its kernel runs; with a note if the kernel does not move."""
    kernel = guest.segments[0]
    if kernel.virtual is None:  # without symbols nothing depends on it
        return guest
    slide = _slide(Machine(guest, cpu))
    if not slide:
        note = f"{guest.sources[0]} ignores the seed for KASLR, and runs at the address that it is linked at"
        return replace(guest, notes=(*guest.notes, note))
    segments = (replace(kernel, virtual=kernel.virtual + slide), *guest.segments[1:])
    return replace(guest, segments=segments, symbols=guest.symbols.moved(slide))


def _slide(machine: Machine) -> int:
    """The distance from the link address to the address at which the kernel runs; 0 if it does not move.

    The kernel has moved by the time it prints something.
    """
    spoken: list[bytes] = []
    machine.console.listen(spoken.append)
    while machine.instructions < _LIMIT:
        stop = machine.run(instructions=_STEP)
        if slide := _slide_now(machine):
            return slide
        if spoken or stop.reason is not StopReason.INSTRUCTIONS:
            return 0
    return 0


def _slide_now(machine: Machine) -> int:
    """The slide of the code at the PC; 0 if that is not the kernel's, or is at its link address."""
    kernel, pc = machine.guest.segments[0], machine.registers.pc
    assert kernel.virtual is not None
    if not pc >> 63:  # before the MMU is on, or in the identity map
        return 0
    try:
        physical = machine.memory.translate(pc).physical
    except MachineError:
        return 0
    slide = pc - (kernel.virtual + physical - kernel.address)
    return slide if kernel.address <= physical < kernel.end and slide > 0 and not slide % PAGE else 0
