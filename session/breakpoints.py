# SPDX-License-Identifier: GPL-2.0-or-later
"""The breakpoints and watchpoints that commands have set in a machine, by number."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from armprobe.expressions import AgentError, Condition
from armprobe.expressions.native import NeedsPython, compile_expression
from armprobe.machine import Machine, Stop, StopReason, WatchHit
from armprobe.machine.core.core import Core
from armprobe.machine.native.program import Program
from armprobe.probes.guest_view import GuestView

Kind = Literal["breakpoint", "write", "read", "access"]
NAMES: Final = {
    "breakpoint": "breakpoint",
    "write": "watchpoint",
    "read": "read watchpoint",
    "access": "access watchpoint",
}
"""The kinds in words, as gdb has them."""


@dataclass
class Breakpoint:
    """One breakpoint, or a watchpoint on `size` bytes. `given` is the place as its user wrote it.

    `temporary`: the first stop removes it. `hits`: how often it has stopped the guest. `undo` removes it from the
    machine; None while it is disabled.
    """

    number: int
    kind: Kind
    given: str
    address: int
    size: int = 4
    temporary: bool = False
    condition: Condition | None = None
    hits: int = 0
    undo: Callable[[], None] | None = None


class Breakpoints(dict[int, Breakpoint]):
    """The breakpoints of one machine. Use it on the owner's thread."""

    def __init__(self, machine: Machine, view: GuestView) -> None:
        super().__init__()
        self._machine, self._view = machine, view

    def add(self, point: Breakpoint) -> None:
        """Insert a breakpoint. Raises MachineError where memory cannot be watched."""
        self.enable(point)
        self[point.number] = point

    def enable(self, point: Breakpoint) -> None:
        """Have it stop the guest from now on. Raises MachineError where memory cannot be watched."""
        if point.undo is not None:
            return
        machine, kind = self._machine, point.kind
        if kind == "breakpoint":
            decide: Callable[[Core], bool] = lambda core: self._holds(point)  # noqa: E731
            machine.conditional_breakpoints.add(point.address, decide, _programs(point.condition))
            point.undo = functools.partial(machine.conditional_breakpoints.remove, point.address, decide)
        else:
            machine.watchpoints.add(kind, point.address, point.size)
            point.undo = functools.partial(machine.watchpoints.remove, kind, point.address, point.size)

    def disable(self, point: Breakpoint) -> None:
        """Keep it, and have it stop the guest no more."""
        if point.undo is not None:
            point.undo()
            point.undo = None

    def delete(self, point: Breakpoint) -> None:
        """Remove it."""
        self.disable(point)
        del self[point.number]

    def _holds(self, point: Breakpoint) -> bool:
        """Whether its condition holds here. One that has no value here stops the guest, as in gdb."""
        try:
            return point.condition is None or point.condition.holds(self._view)
        except AgentError:
            return True

    def settled(self, stop: Stop) -> Stop:
        """`stop` with the numbers of the breakpoints that made it in its text. Counts it for each of them."""
        match stop.reason, stop.detail:
            case StopReason.BREAKPOINT, _ if not stop.text:  # else it was settled before
                self._machine.core.context.load()
                here = [each for each in self.values() if each.kind == "breakpoint" and each.address == stop.address]
                points = [each for each in here if each.undo is not None and self._holds(each)]
            case StopReason.WATCHPOINT, WatchHit() as hit:
                points = [each for each in self.values() if each.undo is not None and _watches(each, hit)]
            case _:
                return stop
        if not points:
            return stop
        for point in points:
            point.hits += 1
            if point.temporary:
                self.delete(point)
        text = ", ".join(self._named(point) for point in points)
        return dataclasses.replace(stop, text=f"{text}: {stop.text or stop.detail}" if stop.detail else text)

    def _named(self, point: Breakpoint) -> str:
        kind = f"temporary {NAMES[point.kind]}" if point.temporary else NAMES[point.kind]
        if point.condition is None:
            return f"{kind} {point.number}"
        try:
            point.condition.holds(self._view)
        except AgentError as error:
            return f"{kind} {point.number}, whose condition {point.condition} has no value here ({error}),"
        return f"{kind} {point.number} (if {point.condition})"


def _programs(condition: Condition | None) -> list[Program] | None:
    """The C core's program for a condition; None if it needs Python, or there is none."""
    if condition is None:
        return None
    try:
        return [compile_expression(condition.expression, condition.registers)]
    except NeedsPython:
        return None


def _watches(point: Breakpoint, hit: WatchHit) -> bool:
    """Whether an access is one that the watchpoint stops at."""
    return (
        point.kind == hit.kind and hit.address < point.address + point.size and point.address < hit.address + hit.size
    )
