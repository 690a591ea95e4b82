# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls of a function in the history, found by executing it again. Nothing is written into the guest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .search import from_start

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

    from .timeline import Timeline

_MOST: Final = 100_000  # calls, of some 400 bytes each


@lazy_dataclass
class PastCall:
    """A call of a function. `position` is that of its first instruction, `seconds` the guest time since reset.

    arguments: x0 to x7. caller: the return address. task: the name and number of the task, None if it is not known.
    result: x0 when it returned, at the position `returned`. Both are None if it had not returned at the history's end.
    """

    position: int
    seconds: float
    task: tuple[str, int] | None
    arguments: tuple[int, ...]
    caller: int
    result: int | None = None
    returned: int | None = None


Selects = Callable[["Machine"], object]
"""Called at the first instruction of a call, with the machine there. Says whether the call is wanted."""


class _Calls:
    """Notes the calls of the function at `address` while the guest runs.

    Each return is caught at the return address. That it is the call's, and not one of a recursive call or of another
    task, is known by the stack pointer, which is what it was at the entry (AAPCS64, 6.2.2).
    """

    def __init__(self, machine: Machine, address: int, selects: Selects | None, single: bool) -> None:
        self.found: list[PastCall] = []
        self._machine, self._address, self._selects, self._single = machine, address, selects, single
        self._open: dict[tuple[int, int], int] = {}  # by return address and stack pointer, their indices in `found`
        self._caught: set[int] = set()  # the return addresses

    def __enter__(self) -> _Calls:
        self._machine.core.run_loop.met = []  # of a search before
        self._machine.intercept(self._address, self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        self._machine.unintercept(self._address, self._entered)
        for address in self._caught:
            self._machine.unintercept(address, self._returned)

    @property
    def done(self) -> bool:
        """Whether the one call that is looked for has been found, and has returned."""
        return self._single and bool(self.found) and not self._open

    def _entered(self, machine: Machine) -> None:
        if self._single and self.found:
            return
        if self._selects is not None and not self._selects(machine):
            return
        if len(self.found) == _MOST:
            raise MachineError(f"there are more than {_MOST:,} such calls: choose fewer by a condition")
        context = machine.core.load()
        kernel = machine.kernel
        tasks = None if kernel is None else kernel.tasks
        task = None if tasks is None or context.el == 0 else tasks.current()
        caller, arguments = context.x[30], tuple(context.x[:8])
        self._open[caller, context.sp] = len(self.found)
        self.found.append(PastCall(machine.instructions, machine.clock.seconds, task, arguments, caller))
        if caller not in self._caught:
            self._caught.add(caller)
            machine.intercept(caller, self._returned)

    def _returned(self, machine: Machine) -> None:
        context = machine.core.load()
        index = self._open.pop((context.pc, context.sp), None)
        if index is not None:
            self.found[index] = replace(self.found[index], result=context.x[0], returned=machine.instructions)


def past_calls(
    timeline: Timeline, machine: Machine, address: int, selects: Selects | None, single: bool
) -> list[PastCall]:
    """All calls of the function at `address` in the history, or the first (`single`), in order of position."""
    with timeline.excursion(), _Calls(machine, address, selects, single) as calls:
        for _ in from_start(timeline, timeline.end):
            if calls.done:
                break
    return calls.found
