# SPDX-License-Identifier: GPL-2.0-or-later
"""What entered a machine from outside, in order, with the position of each: all that a replay needs.

An event is an input (see `machine/input.py`), or marks the beginning or end of something in which others enter: a
probe's handler, and a call of a guest function. MODE says whether interrupts are taken from here on, which a debugger's
step does not do.
"""

from __future__ import annotations

import enum
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armprobe.machine.devices.device import Device
from armprobe.machine.errors import CallNotReturned, MachineError
from armprobe.machine.input import Input, InputKind

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine


_EVENT: Final = 250  # bytes of an event apart from data, as tracemalloc sees them


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


class EventLog:
    """The events in order.

    `open` are the handlers and calls that have begun and not ended, `handlers` the indices of the beginnings of those
    handlers that are not within others, `size` an estimate of the memory that the events take, in bytes.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.open: list[Marker] = []
        # Handlers in which nothing has entered yet, and the ticks that the guest had idled at the beginning of each.
        self.begun: list[tuple[Callable[..., Any], object, int]] = []  # never another list
        self.handlers: list[int] = []
        self.size = 0
        self._orphans: list[int] = []  # the indices of handlers whose probes are gone
        self._plain: list[int] = []  # the indices of the events outside of handlers
        self._calls: list[int] = []  # and of the beginnings of calls among them

    def append(self, event: Event) -> None:
        """Add an event. The same register written again without a step between the two counts once."""
        if self.begun:
            self._enter_begun(event.position)
        if not self.open and event.kind is InputKind.REGISTER and self.events and event[:4] == self.events[-1][:4]:
            self.size += size_of(event) - size_of(self.events[-1])
            self.events[-1] = event
            return
        if Marker.HANDLER not in self.open:
            (self.handlers if event.kind is Marker.HANDLER else self._plain).append(len(self.events))
            if event.kind is InputKind.CALL:
                self._calls.append(len(self.events))
        self.events.append(event)
        self.size += size_of(event)

    def _enter_begun(self, position: int) -> None:
        """The handlers that have begun are events, as something enters in them."""
        begun = self.begun.copy()
        self.begun.clear()
        for handler, probe, idle in begun:
            self.append(Event(position, position + idle, Marker.HANDLER, handler, probe))
            self.open.append(Marker.HANDLER)

    def append_saved(self, events: Iterable[Event]) -> None:
        """Add events of another log, in which all that has begun has ended."""
        for event in events:
            if event.kind is Marker.CALL_END:
                self.open.pop()
            self.append(event)
            if event.kind is Marker.HANDLER_END:
                self.open.pop()
            elif event.kind is Marker.HANDLER:
                self.open.append(Marker.HANDLER)
            elif event.kind is InputKind.CALL:
                self.open.append(Marker.CALL_END)

    def common(self, other: EventLog) -> int:
        """How many events, from the first on, both logs have: the same objects."""
        both = range(min(len(self.events), len(other.events)))
        return bisect_left(both, True, key=lambda index: self.events[index] is not other.events[index])

    def up_to(self, index: int) -> EventLog:
        """A log of the events before `index`, none of which is within a handler or call that ends later."""
        log = EventLog()
        log.events = self.events[:index]
        log.size = self.size - sum(map(size_of, self.events[index:]))
        for ours, theirs in ((self._plain, log._plain), (self._calls, log._calls), (self.handlers, log.handlers)):
            theirs += ours[: bisect_left(ours, index)]
        return log

    def forget(self, count: int) -> None:
        """Drop the first `count` events. None of the others may be within a handler or call that is among them."""
        self.size -= sum(map(size_of, self.events[:count]))
        del self.events[:count]
        for indices in (self._plain, self._calls, self.handlers):
            indices[:] = [index - count for index in indices[bisect_left(indices, count) :]]

    def next_plain(self, index: int) -> int | None:
        """The index of the next event outside of handlers, `index` included."""
        at = bisect_left(self._plain, index)
        return self._plain[at] if at < len(self._plain) else None

    def find_orphans(self, first: int) -> None:
        """Find the handlers from the index `first` on whose probes cannot be hit any more."""
        later = self.handlers[bisect_left(self.handlers, first) :]
        self._orphans = [index for index in later if not can_be_hit(self.events[index].value)]

    def next_orphan(self, index: int) -> int | None:
        """The index of the next of those, `index` included."""
        at = bisect_left(self._orphans, index)
        return self._orphans[at] if at < len(self._orphans) else None

    def end_of(self, index: int) -> int:
        """The index of the end of the handler or call that begins with the event at `index`."""
        depth = 0
        for at in range(index, len(self.events)):
            kind = self.events[at].kind
            depth += kind in (Marker.HANDLER, InputKind.CALL)
            depth -= kind in (Marker.HANDLER_END, Marker.CALL_END)
            if not depth:
                return at
        return len(self.events) - 1

    def call_around(self, position: int) -> tuple[int, int] | None:
        """The positions of the beginning and end of the call from outside that `position` is within."""
        at = bisect_left(self._calls, position, key=lambda index: self.events[index].position)
        if not at:
            return None
        begin, end = self._calls[at - 1], self.events[self.end_of(self._calls[at - 1])]
        return (self.events[begin].position, end.position) if position < end.position else None


def size_of(event: Event) -> int:
    """About how many bytes of memory an event takes."""
    return _EVENT + (len(event.value) if isinstance(event.value, bytes) else 0)


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
        case InputKind.OWN:
            machine.scratch.enter(event.where, event.value)
        case InputKind.DEVICE:
            if event.where not in machine.devices:
                raise MachineError(f"the history has input of a device {event.where!r}, which is not on the board")
            device = machine.devices[event.where]
            if not isinstance(device, Device):
                raise MachineError(f"the history has input of the device {event.where!r}, which takes none")
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
            if machine.semihosting is None:
                raise MachineError("the history has the answer to a host call, which this guest does not make")
            machine.semihosting.answer(*event.value)
        case _:
            raise MachineError(f"{event.kind.value}: this cannot be replayed")


def set_register(registers: Any, name: str, value: int) -> None:
    """Set a register that a handler gets: x0 to x30, sp, pc or pstate."""
    if name[0] == "x":
        registers.regs[int(name[1:])] = value
    else:
        setattr(registers, name, value)


def can_be_hit(probe: Any) -> bool:
    """Whether the handler of `probe`, or of a kretprobe's instance, may be called. What is no probe is always there."""
    owner = getattr(probe, "rp", probe)
    return bool(getattr(owner, "registered", True)) and not getattr(owner, "disabled", False)
