# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that a user adds to the board: `machine.devices.add(Device("counter", read=..., write=...))`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from armprobe.machine.board import PAGE, Value
from armprobe.machine.errors import MachineError
from armprobe.machine.input import InputKind

from .timer import FREQUENCY

if TYPE_CHECKING:
    from armprobe.machine.input import InputGate
    from armprobe.machine.memory.bus import Bus

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9,._+-]{0,30}")  # Devicetree Specification 0.4, 2.2.1


class Device:
    """A device written in Python: registers at physical addresses, an interrupt line, and a deadline.

    `read(offset, size)` returns the value of a register and `write(offset, size, value)` sets it. Offsets are in bytes
    from the device's base, sizes are 1, 2, 4 or 8 bytes. Pass them as functions, or override the methods in a subclass.
    Keep state that snapshots must save in `state`, a dict of JSON values.

    `name` names the device's node in the device tree. The node also has `compatible`, by which Linux finds the driver,
    and other `properties`. `size` is in bytes, a multiple of 4 KiB. `base` is a physical address and `interrupt` an
    INTID from 32 to 63; without a base, or with `interrupt=True`, `add` chooses. `expired()` is called at the time set
    by `alarm`. Raises MachineError for values that no board can have.

    The machine calls `read`, `write` and `expired`. A method that other code calls, such as `press` of a button,
    changes `state` in the context `entering`, because that change is input to the machine (`machine.input`).
    """

    def __init__(
        self,
        name: str,
        size: int = PAGE,
        *,
        base: int | None = None,
        interrupt: bool | int = False,
        compatible: str | Sequence[str] = (),
        properties: Mapping[str, Value] | None = None,
        read: Callable[[int, int], int] | None = None,
        write: Callable[[int, int, int], None] | None = None,
        expired: Callable[[], None] | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise MachineError(
                f"a device cannot be called {name!r}: take up to 31 letters, digits and ,._+-, a letter first"
            )
        if size <= 0 or size % PAGE:
            raise MachineError(f"device {name} cannot have {size} bytes of registers: give a multiple of {PAGE}")
        if base is not None and (base < 0 or base % PAGE):
            raise MachineError(f"device {name} cannot be at {base:#x}: give a multiple of {PAGE:#x}")
        self.name, self.size, self.base, self.interrupt = name, size, base, interrupt
        self.compatible = [compatible] if isinstance(compatible, str) else list(compatible)
        self.properties = dict(properties or {})
        self.state = state if state is not None else {}
        try:
            json.dumps(self.state)
        except (TypeError, ValueError) as error:
            raise MachineError(f"the state of device {name} cannot be kept in a snapshot: {error}") from None
        self.deadline: int | None = None  # a count of the generic timer
        self._read, self._write, self._expired = read, write, expired
        # Connected by `add`.
        self.count: Callable[[], int] = lambda: 0
        self.line: Callable[[bool], None] = lambda asserted: None
        self.shorten: Callable[[], None] = lambda: None
        self.bus: Bus | None = None
        self.gate: InputGate | None = None
        self._entering = False

    @property
    def now(self) -> int:
        """Guest time, as the generic timer's count (62.5 MHz)."""
        return self.count()

    def read(self, offset: int, size: int) -> int:
        """The register at `offset`."""
        return self._read(offset, size) if self._read is not None else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the register at `offset`."""
        if self._write is not None:
            self._write(offset, size, value)

    def expired(self) -> None:
        """Called at the time set by `alarm`."""
        if self._expired is not None:
            self._expired()

    @contextlib.contextmanager
    def entering(self) -> Iterator[None]:
        """A context for changes to `state` by a method that the machine does not call. Announces them as input."""
        gate = self.gate
        if gate is None or not gate.listeners or self._entering:
            yield
            return
        before, self._entering = self.kept, True
        try:
            yield
        finally:
            self._entering = False
            if self.kept != before:
                gate.entered(InputKind.DEVICE, self.name, self.kept)

    @property
    def kept(self) -> tuple[str, int | None]:
        """What snapshots save of the device: its state as JSON, and its deadline."""
        return json.dumps(self.state), self.deadline

    def set_interrupt(self, asserted: bool) -> None:
        """Drive the interrupt line, which is active high."""
        self.line(asserted)

    def dma_read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory at physical `address`. Raises MachineError where there is no memory."""
        return self._connected().master_read(address, size)

    def dma_write(self, address: int, data: bytes) -> None:
        """Write memory at physical `address`. Raises MachineError where there is no memory."""
        self._connected().master_write(address, data)
        if self.gate is not None:
            self.gate.entered(InputKind.PHYSICAL, address, bytes(data))

    def _connected(self) -> Bus:
        if self.bus is None:
            raise MachineError(f"device {self.name} is on no board: add it to a machine's devices")
        return self.bus

    def alarm(self, seconds: float) -> None:
        """Have `expired` called after `seconds` of guest time. Replaces an earlier alarm."""
        with self.entering():
            self.deadline = self.now + max(0, int(seconds * FREQUENCY))
        self.shorten()

    def update(self, now: int) -> None:
        """Call `expired` if the alarm's time has come. Called by the machine between slices."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            with contextlib.nullcontext() if self.gate is None else self.gate.own_action():
                self.expired()


class Attached:
    """A device's registers as the machine accesses them."""

    def __init__(self, device: Device, gate: InputGate) -> None:
        self.name = device.name
        self._device, self._gate = device, gate

    def read(self, offset: int, size: int) -> int:
        """The register at `offset`."""
        with self._gate.own_action():
            return self._device.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the register at `offset`."""
        with self._gate.own_action():
            self._device.write(offset, size, value)
