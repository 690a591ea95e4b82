# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices on a machine's board: the built-in ones and those that users add."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from armprobe.machine import board
from armprobe.machine.board import Placement
from armprobe.machine.device_tree import with_device
from armprobe.machine.errors import MachineError
from armprobe.machine.field_checks import U32, U63, integer, optional, row, several, text
from armprobe.machine.input import InputKind
from armprobe.machine.state import Order

from .device import Attached, Device
from .gic import LINES

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine
    from armprobe.machine.memory.bus import Device as Registers

MOST: Final = 32
"""The maximum number of devices in a snapshot."""
MOST_STATE: Final = 1 << 16
"""The maximum length of a device's state as JSON, in characters."""

_ADDRESS, _COUNT = integer(U32), optional(integer(U63))

Row = list[Any]


class Devices:
    """The devices by name: `devices["pl031"]`. `kept` holds all state of those with a `Device.state`, for snapshots."""

    STATE: ClassVar = {
        "kept": several(row(text(31), _ADDRESS, _ADDRESS, optional(integer(LINES)), text(MOST_STATE), _COUNT), MOST)
    }

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._placed: dict[str, tuple[Registers, Placement]] = {}
        self._connected: list[Device] = []
        self.timed: list[Device] = []
        self._awaited: dict[str, Row] = {}  # rows of a snapshot whose devices have not been added yet
        machine.state.join("devices", self, Order.DEVICES)

    def __getitem__(self, name: str) -> Registers:
        """The device of that name. Raises KeyError."""
        return self._placed[name][0]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the physical addresses."""
        return iter(sorted(self._placed, key=lambda name: self._placed[name][1].base))

    def __len__(self) -> int:
        return len(self._placed)

    @property
    def awaited(self) -> list[str]:
        """The names of the devices that a snapshot has, and that have not been added yet."""
        return list(self._awaited)

    def placement(self, name: str) -> Placement:
        """Where the device of that name is. Raises KeyError."""
        return self._placed[name][1]

    def place(self, device: Registers, placement: Placement) -> None:
        """Put one of the board's own devices at its place."""
        registers = Attached(device, self._machine.input) if isinstance(device, Device) else device
        self._machine.bus.attach(registers, placement.base, placement.size)
        self._placed[device.name] = device, placement
        if isinstance(device, Device):
            self._connect(device, placement)

    def add(self, device: Device) -> Device:
        """Put a user's device on the board. Returns it, with `base` and `interrupt` set.

        Before the guest has executed an instruction, the device also gets a node in the guest's device tree, if the
        tree has room. A guest that already runs must learn of the device in another way, for example from a module. On
        a machine from a snapshot with a device of this name, the device gets its saved place and state. Raises
        MachineError where there is no room, or the name, the place or the interrupt is taken.
        """
        if device.name in self._placed:
            raise MachineError(f"the board has a device {device.name} already: give this one another name")
        if len(self._placed) >= MOST:
            raise MachineError(f"the board has {MOST} devices, which is all it can have")
        row = self._awaited.get(device.name)
        if row is not None and row[2] != device.size:
            raise MachineError(
                f"the snapshot's device {device.name} has {row[2]:,} bytes of registers, not {device.size:,}: "
                "add the one that it was made with"
            )
        base = self._free_base(device, row)
        intid = row[3] if row else self._free_intid(device)
        placement = Placement(base, device.size, intid, device.name, {**device.properties, **_compatible(device)})
        if not self._machine.instructions and not row:
            self._describe(placement)
        device.base, device.interrupt = base, intid if intid is not None else False
        self.place(device, placement)
        if row:
            del self._awaited[device.name]
            self._restore(device, row)
        self._machine.state.initial("devices")["kept"].append(row or self._row(device))
        return device

    def _connect(self, device: Device, placement: Placement) -> None:
        machine = self._machine

        def set_line(asserted: bool) -> None:
            if placement.intid is None:
                raise MachineError(f"device {device.name} has no interrupt: give it one, interrupt=True")
            machine.gic.set_line(placement.intid, asserted)
            machine.input.entered(InputKind.LINE, placement.intid, asserted)

        def look_up() -> None:
            if (core := machine.clock.running) is not None:
                core.end_slice()

        device.bus, device.gate = machine.bus, machine.input
        device.count, device.line, device.shorten = lambda: machine.clock.now, set_line, look_up
        self.timed.append(device)
        self._connected.append(device)

    def _free_base(self, device: Device, awaited: Row | None) -> int:
        taken = sorted((placement.base, placement.end) for _, placement in self._placed.values())
        taken += [(ram.base, ram.end) for ram in self._machine.bus.rams]
        taken += [(row[1], row[1] + row[2]) for row in self._awaited.values() if row is not awaited]

        def is_free(base: int) -> bool:
            return all(base + device.size <= first or end <= base for first, end in taken)

        wanted = awaited[1] if awaited else device.base
        if wanted is not None:
            if wanted % board.PAGE or wanted + device.size > board.RAM_END_MAX or not is_free(wanted):
                raise MachineError(
                    f"device {device.name} cannot be at {wanted:#x}, where there is something else or no address: "
                    f"leave base out, and it is put at a free place from {board.OTHERS.start:#x} on"
                )
            return wanted
        ends = [end for _, end in taken if end in board.OTHERS]
        for base in sorted({board.OTHERS.start, *ends}):
            if base + device.size <= board.OTHERS.stop and is_free(base):
                return base
        raise MachineError(f"the board has no {device.size:,} free bytes of addresses for device {device.name}")

    def _free_intid(self, device: Device) -> int | None:
        if device.interrupt is False:
            return None
        taken = {placement.intid for _, placement in self._placed.values()}
        taken |= {row[3] for row in self._awaited.values()}
        if device.interrupt is not True:
            if device.interrupt in taken or not 32 <= device.interrupt < board.OTHER_INTIDS.stop:
                raise MachineError(
                    f"device {device.name} cannot have INTID {device.interrupt}: give a free one from 32 to "
                    f"{board.OTHER_INTIDS.stop - 1}, or interrupt=True"
                )
            return device.interrupt
        free = next((intid for intid in board.OTHER_INTIDS if intid not in taken), None)
        if free is None:
            raise MachineError(f"the board has no free interrupt for device {device.name}")
        return free

    def _describe(self, placement: Placement) -> None:
        """Add a node to the guest's device tree, in memory and for `Machine.reset`."""
        guest = self._machine.guest
        if not guest.device_tree:
            return
        tree = with_device(guest.device_tree, placement)
        segments = tuple(
            replace(segment, data=tree, size=len(tree)) if segment.address == guest.x0 else segment
            for segment in guest.segments
        )
        self._machine.guest = replace(guest, segments=segments, device_tree=tree)  # raises if segments overlap
        self._machine.bus.write(guest.x0, tree)

    # For snapshots.

    @property
    def kept(self) -> list[Row]:
        """The name, base, size, INTID, state as JSON and deadline of each device."""
        return [self._row(device) for device in self._connected] + list(self._awaited.values())

    @kept.setter
    def kept(self, rows: list[Row]) -> None:
        connected = {device.name: device for device in self._connected}
        self._awaited = {}
        for kept in rows:
            if (device := connected.get(kept[0])) is not None:
                self._restore(device, kept)
            else:
                self._awaited[kept[0]] = kept

    def _row(self, device: Device) -> Row:
        placement = self._placed[device.name][1]
        return [device.name, placement.base, placement.size, placement.intid, *device.kept]

    def _restore(self, device: Device, row: Row) -> None:
        """Put the state of a snapshot in `device.state`, the same dict. Skips values whose type differs."""
        try:
            found = json.loads(row[4])
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            kept = {
                key: value
                for key, value in found.items()
                if key not in device.state or type(value) is type(device.state[key])
            }
            device.state.clear()
            device.state.update(kept)
        device.deadline = row[5]


def _compatible(device: Device) -> dict[str, list[str]]:
    return {"compatible": device.compatible} if device.compatible else {}
