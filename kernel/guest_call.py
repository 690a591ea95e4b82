# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of functions of the guest that serve armprobe itself, not the user, wherever the guest is stopped."""

from __future__ import annotations

from armprobe.machine import Machine
from armprobe.machine.core.pstate import PSTATE_I


def call_uninterrupted(machine: Machine, function: str, *arguments: int) -> int:
    """Call `function` with interrupts masked, as in the handler of an exception; return x0.

    Only PSTATE.I is set: with PSTATE.D, a probe in the function could not be stepped as in eras before v5.10. Raises
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
