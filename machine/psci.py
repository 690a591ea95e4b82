# SPDX-License-Identifier: GPL-2.0-or-later
"""Power State Coordination Interface 1.0 by HVC #0 (Arm DEN 0022), for one CPU."""

from __future__ import annotations

import enum
from typing import Final

from armprobe.machine.core.core import Core

from .stop import Stop, StopReason

_SMC64: Final = 1 << 30  # bit of a function's number: the arguments are 64-bit (Arm DEN 0028)
_POWERDOWN: Final = 1 << 16  # bit of CPU_SUSPEND's power_state, in the original format (5.4.2)
_STATE_BITS: Final = 0x0301_FFFF


class Function(enum.IntEnum):
    """The functions that PSCI 1.0 requires (table 6), by SMC32 number, and MIGRATE_INFO_TYPE."""

    VERSION = 0x8400_0000
    CPU_SUSPEND = 0x8400_0001
    CPU_OFF = 0x8400_0002
    CPU_ON = 0x8400_0003
    AFFINITY_INFO = 0x8400_0004
    MIGRATE_INFO_TYPE = 0x8400_0006
    SYSTEM_OFF = 0x8400_0008
    SYSTEM_RESET = 0x8400_0009
    FEATURES = 0x8400_000A


_HAVE_SMC64: Final = {Function.CPU_SUSPEND, Function.CPU_ON, Function.AFFINITY_INFO}
_NUMBERS: Final = {*Function, *(function | _SMC64 for function in _HAVE_SMC64)}
_SUCCESS, _NOT_SUPPORTED, _INVALID_PARAMETERS, _ALREADY_ON = 0, -1, -2, -4
_VERSION_1_0: Final = 1 << 16
_ON: Final = 0
_NO_MIGRATION: Final = 2
_ENDS: Final = {
    Function.CPU_OFF: StopReason.POWER_OFF,  # the only CPU goes off: nothing can turn it on again
    Function.SYSTEM_OFF: StopReason.POWER_OFF,
    Function.SYSTEM_RESET: StopReason.RESET,
}


class Psci:
    """Answers PSCI calls. Power-off and reset stop the machine."""

    def call(self, core: Core) -> bool:
        """Handle an HVC #0 of EL1: the function is in w0, the answer goes to x0."""
        context = core.context
        number = context.x[0] & 0xFFFF_FFFF
        if number not in _NUMBERS:
            answer = _NOT_SUPPORTED
        else:
            wide = bool(number & _SMC64)
            function = Function(number & ~_SMC64)
            if function in _ENDS:
                core.request_stop(Stop(_ENDS[function], context.pc))
                return True
            argument = context.x[1] & ((1 << 64) - 1 if wide else 0xFFFF_FFFF)
            answer = self._answer(core, function, argument)
        context.x[0] = answer & (1 << 64) - 1
        return True

    def _answer(self, core: Core, function: Function, argument: int) -> int:
        match function:
            case Function.VERSION:
                return _VERSION_1_0
            case Function.FEATURES:
                return _SUCCESS if argument in _NUMBERS else _NOT_SUPPORTED
            case Function.MIGRATE_INFO_TYPE:
                return _NO_MIGRATION
            case Function.CPU_ON:  # this CPU's MPIDR affinity is 0
                return _INVALID_PARAMETERS if argument else _ALREADY_ON
            case Function.AFFINITY_INFO:
                return _INVALID_PARAMETERS if argument else _ON
            case Function.CPU_SUSPEND if argument & ~_STATE_BITS or argument & _POWERDOWN:
                return _INVALID_PARAMETERS  # an unknown state: the board has standby only
            case Function.CPU_SUSPEND:
                core.run_loop.wait()
        return _SUCCESS
