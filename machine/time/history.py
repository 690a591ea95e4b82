# SPDX-License-Identifier: GPL-2.0-or-later
"""What entered a machine from outside, in order, with the position of each: all that a replay needs.

An event is an input (see `machine/input.py`), or marks the beginning or end of something in which others enter: a
probe's handler, and a call of a guest function. MODE says whether interrupts are taken from here on, which a debugger's
step does not do.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from armprobe.machine.devices.device import Device
from armprobe.machine.errors import CallNotReturned, MachineError
from armprobe.machine.input import Input, InputKind

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


class Marker(enum.Enum):
    """The events that are no inputs. The comments give `Event.where` and `Event.value`."""

    HANDLER = "a probe's handler begins"  # the function, the probe or the kretprobe's instance
    HANDLER_END = "it has returned"  # "", its result
    CALL_END = "a guest function called from outside is over"  # "", whether it returned
    MODE = "interrupts are taken from here on, or not"  # "", bool


class Event(NamedTuple):
    """An input or marker. `position` is the count of instructions and `time` the generic timer's when it came."""

    position: int
    time: int
    kind: InputKind | Marker
    where: Any = ""
    value: Any = None

    @classmethod
    def of(cls, entered: Input) -> Event:
        """The event that an announced input is."""
        return cls(entered.position, entered.time, entered.kind, entered.where, entered.value)


def enter_again(machine: Machine, event: Event, call_until: int | None) -> None:
    """Have an input enter once more. `call_until` is the position at which a call is abandoned, None if it returns."""
    match event.kind:
        case InputKind.CONSOLE:
            machine.uart.receive(event.value)
        case InputKind.REGISTER | InputKind.HANDLER:
            machine.registers[event.where] = event.value
        case InputKind.MEMORY:
            machine.memory.write(event.where, event.value)
        case InputKind.PHYSICAL:
            machine.memory.physical.write(event.where, event.value)
        case InputKind.DEVICE:
            device = machine.devices[event.where]
            assert isinstance(device, Device)
            device.state.clear()
            device.state.update(json.loads(event.value[0]))
            device.deadline = event.value[1]
        case InputKind.LINE:
            machine.gic.set_line(event.where, event.value)
        case InputKind.TIME:
            machine.clock.skip_to(event.value)
        case InputKind.CALL:
            limit = None if call_until is None else call_until - machine.instructions
            try:
                machine.calls.call(event.where, event.value, limit)
            except CallNotReturned:
                if limit is None:
                    raise
        case InputKind.ANSWER:
            assert machine.semihosting is not None
            machine.semihosting.answer(*event.value)
        case _:
            raise MachineError(f"{event.kind.value}: this cannot be replayed")
