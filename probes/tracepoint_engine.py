# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles hits of probes on the events of the guest's kernel.

The machine looks at the calls of the tracepoint: branches that are off, and which the guest passes. System calls are
seen where the kernel begins to execute them, and where that has ended. Nothing is written to the guest.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.kernel.kernel import Linux
from armprobe.kernel.text import Text
from armprobe.kernel.trace_events import Branch, Syscall, TraceEvent, TraceField
from armprobe.machine import Machine, MachineError, Stop, StopReason
from armprobe.machine.native.places import NEVER, Action
from armprobe.machine.native.tracepoint import TracepointHooks, TracepointPlace
from armprobe.machine.state import Order

from .errors import ProbeError
from .pt_regs import LiveRegs
from .record import Stage
from .recorder import Recorder
from .trace_record import HEADER, TraceRecord
from .tracepoint import Tracepoint

if TYPE_CHECKING:
    from armprobe.kernel.syscall_places import SyscallPlaces
    from armprobe.kernel.trace_code import TraceCode

    from .optimizer import Optimizer

_MOST_TEXT: Final = 256
"""The bytes of strings that C keeps of a record; Python handles the events that have more."""


class _Place(NamedTuple):
    """Where an event happens: the address, what makes the record, and how the C core watches it (None: it cannot)."""

    address: int
    make: Callable[[], bytes | None]
    native: TracepointPlace | None


class _Watched:
    """An event with probes, and the places in the guest at which it happens.

    While C watches them, there is an action of each probe. Otherwise `intercepts` has what Python is called by.
    """

    def __init__(self, event: TraceEvent, fields: tuple[TraceField, ...]) -> None:
        self.event, self.fields = event, fields
        self.probes: list[Tracepoint] = []
        self.places: list[_Place] = []
        self.actions: dict[Tracepoint, Action] = {}
        self.intercepts: list[tuple[int, Callable[[Machine], None]]] = []


class TracepointEngine:
    """The probes on events of one machine's guest."""

    def __init__(self, machine: Machine, text: Text, recorder: Recorder, optimizer: Optimizer) -> None:
        self._machine, self._text, self._recorder, self._optimizer = machine, text, recorder, optimizer
        self._watched: dict[str, _Watched] = {}
        self._due: set[_Watched] = set()
        self._left: set[_Watched] = set()  # events of which C could not make a record
        self._runs = 0
        self._hooks = TracepointHooks(machine.core.native.address)
        optimizer.review_events = self._review_all
        machine.scheduler.before_slice.append(self._before_slice)
        machine.state.on_restored(Order.PROBES, self._restored)

    @cached_property
    def _kernel(self) -> Linux:
        kernel = self._machine.kernel
        if not isinstance(kernel, Linux):
            raise ProbeError(errno.ENOENT, "this guest has no tracepoints: those of a Linux kernel can be probed")
        return kernel

    @cached_property
    def _code(self) -> TraceCode:
        from armprobe.kernel.trace_code import TraceCode

        return TraceCode(self._kernel, self._text)

    @cached_property
    def _syscall_places(self) -> SyscallPlaces:
        """Found once: all symbols are searched, and a kernel has hundreds of events of system calls."""
        from armprobe.kernel.syscall_places import syscall_places

        return syscall_places(self._machine.symbols, self._text)

    @property
    def probes(self) -> list[Tracepoint]:
        """The registered probes."""
        return [probe for watched in self._watched.values() for probe in watched.probes]

    def event(self, name: str) -> TraceEvent:
        """The event of that name. Raises ProbeError (ENOENT)."""
        try:
            assert self._kernel.tracepoints is not None
            return self._kernel.tracepoints.find(name)
        except MachineError as error:
            raise ProbeError(errno.ENOENT, str(error)) from None

    def register(self, probe: Tracepoint) -> None:
        """Look out for the event of `probe`. Raises ProbeError."""
        event = self.event(probe.event_name)
        name = event.full_name
        watched = self._watched.get(name)
        try:
            if watched is None:
                watched = _Watched(event, event.fields)
                self._watch(watched)
                self._watched[name] = watched
        except MachineError as error:
            raise ProbeError(errno.EINVAL, f"{name} cannot be probed: {error}") from None
        watched.probes.append(probe)
        probe.addr = watched.places[0].address
        probe.made = partial(self._made, watched)
        probe.reviewed = partial(self._review, watched)
        self._due.add(watched)
        probe.hits = probe.met = probe.nmissed = 0
        probe.failure = ""

    def unregister(self, probe: Tracepoint) -> None:
        """Undo a `register`."""
        watched = next(each for each in self._watched.values() if probe in each.probes)
        probe.kp.disabled = True
        if probe in watched.actions:
            watched.actions[probe].enabled = False
            self._optimizer.end_event(probe)
        watched.probes.remove(probe)
        if not watched.probes:
            del self._watched[watched.event.full_name]
        self._due.add(watched)

    def _review_all(self) -> None:
        self._due |= set(self._watched.values())

    def _review(self, watched: _Watched) -> None:
        """What is done at an event may have changed."""
        for probe, action in watched.actions.items():
            action.enabled = not probe.disabled
        self._due.add(watched)

    def _before_slice(self) -> None:
        if self._left and self._machine.core.changes != self._runs:
            self._due |= self._left
            self._left.clear()
        self._runs = self._machine.core.changes
        if self._due:
            due, self._due = self._due, set()
            self._begin_all(due)

    def _begin_all(self, due: set[_Watched]) -> None:
        known = list(self._watched.values())  # in the order in which they are called at one address
        for watched in (*(due - {*known}), *(each for each in known if each in due)):
            self._begin(watched)
        touched = {place.address for watched in due for place in watched.places}
        native: dict[int, list[TracepointPlace]] = {address: [] for address in touched}
        for watched in known:
            for place in watched.places:
                if watched.actions and place.address in touched and place.native is not None:
                    native[place.address].append(place.native)
        for address, places in native.items():
            self._hooks.put(address, places)
        self._machine.core.forget(touched)

    def _leave(self, watched: _Watched) -> None:
        """The hit is Python's, and so are the next, until another run begins."""
        self._left.add(watched)
        self._due.add(watched)
        self._machine.core.native.stop_before()

    def _restored(self) -> None:
        for watched in self._watched.values():
            for place in watched.places:
                if place.native is not None:
                    place.native.structure.reached = NEVER

    def _begin(self, watched: _Watched) -> None:
        """Have C or Python look out for an event from now on. The engine executes nothing."""
        for probe in watched.actions.keys() & {*watched.probes}:
            self._optimizer.end_event(probe)
        watched.actions = {}
        for address, function in watched.intercepts:
            self._machine.unintercept(address, function)
        watched.intercepts = []
        if all(probe.disabled for probe in watched.probes):
            return
        natives = [place.native for place in watched.places if place.native is not None]
        in_c = watched not in self._left and len(natives) == len(watched.places)
        if in_c and all(map(self._optimizer.does_event, watched.probes)):
            room = natives[0].structure.most
            watched.actions = {probe: self._optimizer.begin_event(probe, room) for probe in watched.probes}
            actions = list(watched.actions.values())
            for native in natives:
                native.do(actions)
        else:
            for place in watched.places:
                self._look(watched, place)

    def _watch(self, watched: _Watched) -> None:
        event = watched.event
        syscall = event.syscall or event.is_any_syscall
        if syscall is not None:
            places = self._syscall_places
            addresses = places.entries if syscall.enters else places.exits
            make = self._of_syscall(watched, syscall, places.result_in_x0)
            self._add(watched, addresses, make, None, {}, syscall, places.result_in_x0)
            return
        branches = event.branches
        siblings = {branch.code: branch.target for branch in branches}
        for branch in branches:
            self._add(watched, [branch.code], self._of_branch(watched, branch, siblings), branch, siblings, None, False)
        if not branches:
            raise MachineError("this kernel's code has no call of it")

    def _add(
        self,
        watched: _Watched,
        addresses: Iterable[int],
        make: Callable[[], bytes | None],
        branch: Branch | None,
        siblings: dict[int, int],
        syscall: Syscall | None,
        in_x0: bool,
    ) -> None:
        recorder = self._optimizer.places.recorder
        for address in addresses:
            native = None
            with contextlib.suppress(MachineError):  # types that C would need are not known
                structure, stops, targets = self._code.native(watched.event, branch, siblings, syscall, in_x0)
                structure.recorder = ctypes.addressof(recorder)
                structure.framed = self._recorder.kprobes.unwind.is_framed(address)
                structure.most = max((field.offset + field.size for field in watched.fields), default=HEADER.size)
                structure.most = -(-structure.most // 8) * 8 + _MOST_TEXT * any(
                    field.dynamic for field in watched.fields
                )
                native = TracepointPlace(structure, stops, targets, partial(self._leave, watched))
            watched.places.append(_Place(address, make, native))

    def _look(self, watched: _Watched, place: _Place) -> None:
        def arrived(machine: Machine) -> None:
            self._arrived(watched, place.make)

        self._machine.intercept(place.address, arrived)
        watched.intercepts.append((place.address, arrived))

    def _made(self, watched: _Watched, data: bytes) -> TraceRecord:
        return TraceRecord(watched.event, watched.fields, data, self._printed)

    def _of_branch(self, watched: _Watched, branch: Branch, siblings: dict[int, int]) -> Callable[[], bytes | None]:
        return lambda: self._code.record(watched.event, branch, siblings)

    def _of_syscall(self, watched: _Watched, syscall: Syscall, in_x0: bool) -> Callable[[], bytes | None]:
        return lambda: self._code.record_of_syscall(watched.event, syscall, watched.fields, in_x0)

    def _arrived(self, watched: _Watched, make: Callable[[], bytes | None]) -> None:
        active = [probe for probe in watched.probes if not probe.disabled]
        if not active:
            return
        try:
            data = make()
        except MachineError as error:
            for probe in active:
                probe.nmissed += 1
                probe.failure = probe.failure or str(error)
            return
        if data is None:
            return
        core = self._machine.core
        regs, record = LiveRegs(core.load()), self._made(watched, data)
        for probe in active:
            probe.counts.hits += 1
            wanted = self._recorder.event(probe, regs, record)
            if probe.handler is not None and wanted:
                try:
                    probe.handler(probe, record)
                except Exception as error:
                    self._recorder.failures.add(probe, Stage.PRE, error)
        if self._recorder.stop is not None:
            hit, text = self._recorder.take_stop()
            core.request_stop(Stop(StopReason.PROBE, core.load().pc, text, hit))

    def _printed(self, record: TraceRecord) -> str:
        try:
            return self._code.text(record.event, record.data)
        except MachineError:
            return f"{record.event.name}: {' '.join(f'{name}={value!r}' for name, value in record.items())}"
