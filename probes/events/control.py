# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of an event's hits: whether it is enabled, its filter, and its triggers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from armprobe.expressions.native import NeedsPython
from armprobe.kernel import Linux
from armprobe.machine import MachineError, Snapshot
from armprobe.machine.native import histogram as native
from armprobe.machine.state import Volume
from armprobe.probes.errors import ProbeError
from armprobe.probes.kretprobe import Kretprobe
from armprobe.probes.probe import Observer, ObservingFunction
from armprobe.probes.record import TICK, Hit, Stage
from armprobe.probes.recording import MOST_MEMORY
from armprobe.probes.symbol_text import symbol_and_size
from armprobe.probes.trace_record import TraceRecord
from armprobe.probes.tracepoint import Tracepoint

from .c_text import c_text, strip
from .errors import EventError
from .filter_fields import Value
from .triggers import EventTriggers, Histograms, HistogramTrigger, TriggerState

if TYPE_CHECKING:
    from armprobe.probes.registration import Kprobes

    from .event import Event, EventProbe
    from .filter import Filter
    from .kernel_event import KernelEvent, KernelEventProbe

STACK = "<stack trace>"
"""The name among a hit's data of the stack that a trigger recorded: addresses of 8 bytes, innermost first."""
_MOST_FRAMES = 64

ControlState = tuple[bool, list[TriggerState]]
"""What hits have changed of an event: whether it is soft-disabled, and its triggers."""


class Controls:
    """What the events of one machine have in common: tracing_on, named histograms, and the snapshot of a trigger.

    `find` gives the event of a group and a name.
    """

    def __init__(self, kprobes: Kprobes, find: Callable[[str, str], Event | KernelEvent | None]) -> None:
        self.kprobes = kprobes
        self.histograms = Histograms()
        self.taken: Snapshot | None = None
        self._find = find
        self._tracing = True
        self._controls: list[EventControl] = []

    def add(self, event: Event | KernelEvent) -> EventControl:
        """The control of a new event."""
        control = EventControl(event, self)
        self._controls.append(control)
        return control

    def remove(self, control: EventControl) -> None:
        """Its event goes."""
        control.triggers.remove_all()
        self._controls.remove(control)

    def clear(self) -> None:
        """Have nothing become of the hits of any event."""
        for control in self._controls:
            control.triggers.remove_all()  # those that enable other events let go of them
        for control in self._controls:
            control.clear()

    @property
    def tracing(self) -> bool:
        """Whether hits of events are recorded (tracing_on)."""
        return self._tracing

    @tracing.setter
    def tracing(self, wanted: bool) -> None:
        if wanted is not self._tracing:
            self._tracing = wanted
            for control in self._controls:
                control.refresh()

    def snapshot(self) -> None:
        """Take a snapshot of the machine once the hit is handled, in place of the last one."""
        machine = self.kprobes.machine
        if self._take not in machine.scheduler.before_slice:
            machine.scheduler.before_slice.append(self._take)
        machine.core.end_slice()

    def _take(self) -> None:
        machine = self.kprobes.machine
        if not machine.core.held:  # by a handler that has called a function
            machine.scheduler.before_slice.remove(self._take)
            self.taken = machine.snapshot()

    def find(self, group: str, name: str) -> EventControl | None:
        """The control of an event."""
        event = self._find(group, name)
        return None if event is None else event.control

    def saved(self) -> tuple[bool, dict[EventControl, ControlState]]:
        """What hits have changed, for `restore`."""
        return self._tracing, {each: each.saved() for each in self._controls}

    def restore(self, saved: tuple[bool, dict[EventControl, ControlState]]) -> None:
        """Go back to what `saved` has. Histograms that are newer are empty then."""
        self._tracing, controls = saved
        for control in self._controls:
            control.restore(controls.get(control))

    def volume(self, saved: tuple[bool, dict[EventControl, ControlState]]) -> Volume:
        """The memory that the histograms in it take."""
        return Volume(sum(len(histogram) for _, triggers in saved[1].values() for *_, histogram in triggers))

    def restored(self) -> None:
        """The machine is in another state: have the probes do what is wanted there."""
        for control in self._controls:
            control.refresh()


class EventControl:
    """What becomes of the hits of one event.

    A trigger of another event that can enable it, and any trigger of its own, keep its probes in the text. It is
    `soft_disabled` while they are there and its hits are not to be recorded (EVENT_FILE_FL_SOFT_DISABLED).
    """

    def __init__(self, event: Event | KernelEvent, controls: Controls) -> None:
        self._event = event
        self._controls = controls
        self._filter: Filter | None = None
        self._holders = 0
        self._soft_disabled = False
        self.filter_file = "none"
        self.triggers = EventTriggers(event.group, event.name, event.fields, controls.histograms, controls)

    @property
    def path(self) -> str:
        """The group and the name of the event."""
        return self._event.path

    @property
    def soft_disabled(self) -> bool:
        """Whether hits are not recorded, although the probes are in the text."""
        return self._soft_disabled

    @soft_disabled.setter
    def soft_disabled(self, wanted: bool) -> None:
        if wanted is not self._soft_disabled:  # as a trigger without a count sets it at each hit
            self._soft_disabled = wanted
            self.refresh()

    @property
    def enable_file(self) -> str:
        """What the file `enable` shows: 1 if hits are recorded, and a * if triggers keep the probes in the text."""
        return f"{self._event.enabled and not self._soft_disabled:d}{'*' if self._holders else ''}"

    def hold(self, held: bool) -> None:
        """A trigger needs the probes, or does so no more (__ftrace_event_enable_disable())."""
        event, before = self._event, self._holders
        self._holders += 1 if held else -1
        if not before and not event.enabled:
            event.enabled = self._soft_disabled = True
        elif not self._holders and self._soft_disabled:
            event.enabled = self._soft_disabled = False
        self.refresh()

    def clear(self) -> None:
        """The event, which has no triggers now, is disabled and has no filter."""
        self._holders = 0
        self._filter, self.filter_file = None, "none"
        self.disable()

    def enable(self) -> None:
        """Record the hits."""
        self._event.enabled, self._soft_disabled = True, False
        self.refresh()

    def disable(self) -> None:
        """Record no hits."""
        self._soft_disabled = self._event.enabled = bool(self._holders)
        self.refresh()

    def filter(self, text: str) -> None:
        """Write the file `filter` (apply_event_filter()). Raises EventError; the event then has no filter."""
        from .filter import Filter, filter_file

        self._filter, self.filter_file = None, "none"
        try:
            if strip(c_text(text)) != "0":
                self._filter = Filter.parse(text, self._event.fields)
                self.filter_file = self._filter.text
        except EventError as error:
            self.filter_file = filter_file(error)
            raise
        finally:
            self.refresh()

    def trigger(self, text: str) -> None:
        """Write the file `trigger`. Raises EventError."""
        had = bool(self.triggers)
        self.triggers.write(text)
        if bool(self.triggers) is not had:
            self.hold(not had)
        else:
            self.refresh()

    def refresh(self) -> None:
        """Have the probes do what is wanted now."""
        counting: dict[HistogramTrigger, list[native.HistogramTrigger]] = {
            each: [] for each in self.triggers.histograms
        }
        for each in self._event.probes:
            probe = each.probe
            if probe is None or probe.gone:
                continue
            watched = bool(self.triggers) or self._soft_disabled or not self._controls.tracing
            fixed = None if watched else self._filter
            code = None if fixed is None else each.condition(fixed, self._controls.kprobes.machine)
            if isinstance(probe, Kretprobe):
                probe.condition_at = Stage.RETURN
            if watched or (fixed is not None and (code is None or each.tasks is not None)):
                probe.condition, probe.observer = each.tasks, self._observer(each, counting)
            else:
                probe.condition, probe.observer = code or each.tasks, None
            if probe.disabled is self._event.enabled:
                (self._controls.kprobes.enable if self._event.enabled else self._controls.kprobes.disable)(probe)
        for trigger, native_ones in counting.items():
            trigger.native = native_ones
            trigger.paused = trigger.paused

    def _observer(
        self, each: EventProbe | KernelEventProbe, counting: dict[HistogramTrigger, list[native.HistogramTrigger]]
    ) -> Observer:
        """What is done at a hit of a probe, by the C core if it can."""
        from .field_programs import made, operation
        from .filter_program import filter_program, histogram_trigger

        observe = partial(self._observe, each)
        if not self.triggers.only_count:
            return observe
        kprobes = self._controls.kprobes
        fields = each.programs(kprobes.machine, MOST_MEMORY // kprobes.kept)
        records = self._controls.tracing and not self._soft_disabled
        try:
            triggers = [histogram_trigger(trigger.histogram, trigger.filter, fields) for trigger in counting]
            if records and self._filter is not None:
                passes = filter_program(self._filter, fields)
            else:
                passes = made(operation("const8", records))
        except NeedsPython:
            return observe
        for trigger, made_ in zip(counting, triggers, strict=True):
            counting[trigger].append(made_)
        return ObservingFunction(observe, passes, triggers)

    def _observe(self, each: EventProbe | KernelEventProbe, hit: Hit) -> Hit | None:
        """Fire the triggers at a hit. Gives the hit, if it is recorded (__event_trigger_test_discard())."""
        values: dict[str, Value] = {**each.values(hit), "common_timestamp": hit.ticks * TICK}
        if self.triggers.need_stack:
            values["stacktrace"] = self._stack(hit)
        before = self._controls.tracing
        late = self.triggers.fire(values)
        # Without a filter, a trigger acts before the hit is recorded, else behind that.
        records = before if self.triggers.conditional else self._controls.tracing
        records = records and not self._soft_disabled and (self._filter is None or self._filter.matches(values))
        for trigger in late:
            if trigger.command == "stacktrace" and self._controls.tracing and trigger.acts():
                stack = values["stacktrace"]
                assert isinstance(stack, tuple)
                packed = b"".join(address.to_bytes(8, "little") for address in stack if isinstance(address, int))
                data = hit.data
                more = data.with_more(STACK, packed) if isinstance(data, TraceRecord) else {**data, STACK: packed}
                hit = hit._replace(data=more)
            trigger.fire(values, self._controls)
        # A condition, which is of the task, has counted the hit already.
        hit.probe.met += records - (hit.probe.condition is not None)
        return hit if records else None

    def _stack(self, hit: Hit) -> tuple[int, ...]:
        """The probed function, if it has not returned, and the return addresses of the kernel.

        At an entry and at a return they are those of the frame records, as the kernel's own unwinder has it. Elsewhere
        the function's frame has to be known.
        """
        kprobes = self._controls.kprobes
        if isinstance(hit.probe, Tracepoint):
            return tuple(kprobes.unwind.records(kprobes.unwind.within(hit.regs.pc), hit.regs.regs[29])[:_MOST_FRAMES])
        if hit.caller is not None:
            return tuple(kprobes.unwind.records([hit.caller], hit.regs.regs[29])[:_MOST_FRAMES])
        found = kprobes.machine.symbols.at(hit.address)
        if found is not None and not found[1]:
            stack = kprobes.unwind.records([kprobes.unwind.x30], hit.regs.regs[29])
            return (hit.address, *stack)[:_MOST_FRAMES]
        try:
            frames = kprobes.backtrace(hit).frames
        except (ProbeError, MachineError):
            return (hit.address,)
        return tuple(frame.pc for frame in frames if not frame.el0)[:_MOST_FRAMES]

    def stack_lines(self, hit: Hit, line: str) -> list[str]:
        """The lines of the stack that a trigger recorded with a hit, whose own is `line` (trace_stack_print())."""
        packed = hit.data.get(STACK)
        if not isinstance(packed, bytes):
            return []
        symbols = self._controls.kprobes.machine.symbols
        addresses = (int.from_bytes(packed[at : at + 8], "little") for at in range(0, len(packed), 8))
        head = line.partition(f" {self._event.name}: ")[0]
        return [
            f"{head} {STACK}",
            *(f" => {symbol_and_size(symbols, address).partition('+')[0]}" for address in addresses),
        ]

    def saved(self) -> ControlState:
        """What hits have changed."""
        return self._soft_disabled, self.triggers.saved()

    def restore(self, saved: ControlState | None) -> None:
        """Go back to what `saved` has."""
        if saved is not None and self._holders:
            self._soft_disabled = saved[0]
        self.triggers.restore([] if saved is None else saved[1])


class GuestLabels:
    """The names that the guest's kernel has for the numbers in histograms."""

    def __init__(self, kprobes: Kprobes) -> None:
        self._machine = kprobes.machine

    def symbol(self, address: int) -> str:
        """%ps."""
        found = symbol_and_size(self._machine.symbols, address)
        name, plus, rest = found.partition("+")
        _, bracket, module = rest.partition(" [")
        return name + (f" [{module}" if plus and bracket else "")

    def symbol_offset(self, address: int) -> str:
        """%pS."""
        return symbol_and_size(self._machine.symbols, address)

    def syscall(self, number: int) -> str | None:
        """Its name in the table of system calls, with the prefix that the kernel's own tables have."""
        return self._system_calls.get(number)

    @cached_property
    def _system_calls(self) -> dict[int, str]:
        kernel = self._machine.kernel
        try:
            found = kernel.system_calls() if isinstance(kernel, Linux) else []
        except MachineError:
            found = []
        return {each.number: f"sys_{each.name}" for each in found if each.implemented}
