# SPDX-License-Identifier: GPL-2.0-or-later
"""Calling a function of the guest's on our own account, wherever the guest is."""

from __future__ import annotations

from armprobe.machine import Machine
from armprobe.machine.core.context import PSTATE_I


def call_uninterrupted(machine: Machine, function: str, *arguments: int) -> int:
    """What the function returns. Interrupts are masked meanwhile, as they are in the handler of an exception.

    Nothing else is: with PSTATE.D set, a probe in the function could not be stepped as eras before v5.10 do. Raises
    MachineError as `Machine.call` does.
    """
    if machine.core.held:
        return machine.call(function, *arguments)
    registers = machine.registers
    before = registers.pstate
    registers.pstate = before | PSTATE_I
    try:
        return machine.call(function, *arguments)
    finally:
        registers.pstate = before
