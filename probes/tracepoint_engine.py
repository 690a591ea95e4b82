# SPDX-License-Identifier: GPL-2.0-or-later
"""Handles hits of probes on the events of the guest's kernel.

The machine looks at the calls of the tracepoint: branches that are off, and which the guest passes. System calls are
seen where the kernel begins to execute them, and where that has ended. Nothing is written to the guest.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from functools import cached_property

from armprobe.kernel.kernel import Linux
from armprobe.kernel.syscall_places import SyscallPlaces, syscall_places
from armprobe.kernel.text import Text
from armprobe.kernel.trace_code import TraceCode
from armprobe.kernel.trace_events import Branch, Syscall, TraceEvent, TraceField
from armprobe.machine import Machine, MachineError, Stop, StopReason

from .errors import ProbeError
from .pt_regs import LiveRegs
from .record import Stage
from .recorder import Recorder
from .trace_record import TraceRecord
from .tracepoint import Tracepoint


class _Watched:
    """An event with probes, and the places in the guest at which it happens."""

    def __init__(self, event: TraceEvent, fields: tuple[TraceField, ...]) -> None:
        self.event, self.fields = event, fields
        self.probes: list[Tracepoint] = []
        self.places: list[tuple[int, Callable[[Machine], None]]] = []


class TracepointEngine:
    """The probes on events of one machine's guest."""

    def __init__(self, machine: Machine, text: Text, recorder: Recorder) -> None:
        self._machine, self._text, self._recorder = machine, text, recorder
        self._watched: dict[str, _Watched] = {}

    @cached_property
    def _kernel(self) -> Linux:
        kernel = self._machine.kernel
        if not isinstance(kernel, Linux):
            raise ProbeError(errno.ENOENT, "this guest has no tracepoints: those of a Linux kernel can be probed")
        return kernel

    @cached_property
    def _code(self) -> TraceCode:
        return TraceCode(self._kernel, self._text)

    @cached_property
    def _syscall_places(self) -> SyscallPlaces:
        """Found once: all symbols are searched, and a kernel has hundreds of events of system calls."""
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
        probe.addr = watched.places[0][0]
        probe.hits = probe.met = probe.nmissed = 0
        probe.failure = ""

    def unregister(self, probe: Tracepoint) -> None:
        """Undo a `register`."""
        watched = next(each for each in self._watched.values() if probe in each.probes)
        watched.probes.remove(probe)
        probe.kp.disabled = True
        if not watched.probes:
            for address, function in watched.places:
                self._machine.unintercept(address, function)
            del self._watched[watched.event.full_name]

    def _watch(self, watched: _Watched) -> None:
        event = watched.event
        syscall = event.syscall or event.is_any_syscall
        if syscall is not None:
            places = self._syscall_places
            addresses = places.entries if syscall.enters else places.exits
            self._look(watched, addresses, self._of_syscall(watched, syscall, places.result_in_x0))
            return
        branches = event.branches
        siblings = {branch.code: branch.target for branch in branches}
        for branch in branches:
            self._look(watched, [branch.code], self._of_branch(watched, branch, siblings))
        if not branches:
            raise MachineError("this kernel's code has no call of it")

    def _look(self, watched: _Watched, places: Iterable[int], make: Callable[[], bytes | None]) -> None:
        for address in places:

            def arrived(machine: Machine) -> None:
                self._arrived(watched, make)

            self._machine.intercept(address, arrived)
            watched.places.append((address, arrived))

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
        regs, printed = LiveRegs(core.load()), self._printed
        record = TraceRecord(watched.event, watched.fields, data, printed)
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
