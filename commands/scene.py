# SPDX-License-Identifier: GPL-2.0-or-later
"""What is seen of the guest from inside a run, by the debugger's conditions and tracepoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from armprobe.machine import Machine, MachineError
from armprobe.stub import TargetError

_EFAULT = 14


class GuestScene:
    """A machine at an instruction (armprobe.stub.Scene). `unpatched` gives back what probes' breakpoints stand on."""

    def __init__(self, machine: Machine, unpatched: Callable[[int, bytes], bytes]) -> None:
        self._machine = machine
        self._unpatched = unpatched
        self.general: Sequence[int] = machine.cpu.frame.x

    def register(self, name: str) -> int:
        """A register by gdb's name."""
        try:
            return self._machine.registers[name]
        except MachineError as error:
            raise TargetError(_EFAULT, str(error)) from None

    def read(self, address: int, length: int) -> bytes:
        """Virtual memory."""
        try:
            data = self._machine.cpu.read_virtual(address, length)
            if data is None:  # the guest itself may not: at EL0, or with PAN
                data = self._machine.memory.read(address, length)
        except MachineError as error:
            raise TargetError(_EFAULT, str(error)) from None
        return self._unpatched(address, data)
