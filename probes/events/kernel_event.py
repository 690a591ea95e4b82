# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracepoints and system calls of the guest's kernel, with the filters and triggers that other events have."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Condition
from armprobe.expressions.native import NeedsPython
from armprobe.kernel import Linux
from armprobe.kernel.trace_events import COMMON_FIELDS, TraceEvent, TraceField
from armprobe.machine import Machine, MachineError
from armprobe.machine.native.histogram import Stack
from armprobe.machine.native.program import Number, Operation, Program, Text
from armprobe.probes.errors import ProbeError
from armprobe.probes.guest_view import RECORD
from armprobe.probes.probe import Probe
from armprobe.probes.record import Hit
from armprobe.probes.scope import GuestScope
from armprobe.probes.trace_record import TraceRecord
from armprobe.probes.tracepoint import Tracepoint

from .errors import EventError
from .field_programs import made, operation
from .filter_fields import TASK_COMM_LEN, FilterField, Kind, Value, field_kind, pointed_at

if TYPE_CHECKING:
    from armprobe.probes.registration import Kprobes

    from .control import Controls, EventControl
    from .filter import Filter

_LONGEST: Final = 4096  # MOST_TEXT of the C core
_LONGEST_STRING: Final = 1023  # USTRING_BUF_SIZE of kernel/trace/trace_events_filter.c, without the NUL
_KERNEL: Final = 1 << 55  # of an address that the kernel's own tables translate (Arm ARM, D8.2)
_SIZES: Final = (1, 2, 4, 8)


class KernelEvent:
    """An event of the guest's kernel. Its probe is registered, disabled, when the event is named first."""

    is_return = False

    def __init__(self, event: TraceEvent, kprobes: Kprobes) -> None:
        """Raises ProbeError if the event cannot be probed."""
        self._event = event
        self.group, self.name, self.number = event.system, event.name, event.id
        self.fields: tuple[TraceField, ...] = event.fields
        self.enabled = False
        probe = Tracepoint(event.full_name, disabled=True)
        kprobes.register_tracepoint(probe)
        self.probes = [KernelEventProbe(self, probe, kprobes.machine)]
        self.control: EventControl

    @property
    def path(self) -> str:
        """Its name with its group: "sched/sched_switch"."""
        return f"{self.group}/{self.name}"

    @property
    def format(self) -> str:
        """The text of its format file."""
        from .event import format_text

        return format_text(self.name, self.number, self.fields, self._event.format)


class KernelEventProbe:
    """The probe of an event of the guest's kernel."""

    tasks: Condition | None = None

    def __init__(self, event: KernelEvent, probe: Tracepoint, machine: Machine) -> None:
        self.event, self.probe = event, probe
        self._machine = machine

    @property
    def listing(self) -> str:
        """What commands call it."""
        return self.probe.name

    def values(self, hit: Hit) -> dict[str, Value]:
        """The values of the event's fields at a hit, by name, while the guest is there."""
        record, task = hit.data, hit.task
        assert isinstance(record, TraceRecord)
        values: dict[str, Value] = {
            "comm": b"" if task is None else task.comm.encode("utf-8", "surrogateescape"),
            "cpu": 0,
        }
        for field in (*COMMON_FIELDS, *self.event.fields):
            values[field.name] = _value(record, field)
            if field_kind(field.type) is Kind.PTR_STRING:
                address = int.from_bytes(record.bytes_of(field.name), "little")
                for user in (False, True):
                    values[pointed_at(field.name, user)] = self._string(address, user)
        return values

    def _string(self, address: int, user: bool) -> bytes | None:
        """The string at an address, of a process if `user`; None if the kernel would not read it there."""
        if user is bool(address & _KERNEL):
            return None
        try:
            return self._machine.memory.read_string(address, _LONGEST_STRING)
        except MachineError:
            return None

    def condition(self, chosen: Filter, machine: Machine) -> Condition | None:
        """See `EventProbe`: it takes a program."""
        return None

    def programs(self, machine: Machine, most: int) -> RecordFields:
        """The fields for the C core."""
        return RecordFields(self.event.fields, machine)


def _value(record: TraceRecord, field: TraceField) -> Value:
    data = record.bytes_of(field.name)
    if field.is_text:
        return data.partition(b"\0")[0]
    return tuple(data) if field.is_array else int.from_bytes(data, "little", signed=field.signed)


class RecordFields:
    """The fields of an event, in its record at the address RECORD."""

    def __init__(self, fields: Sequence[TraceField], machine: Machine) -> None:
        self._fields = {field.name: field for field in (*COMMON_FIELDS, *fields)}
        self._scope = GuestScope(machine, None)

    def number(self, field: FilterField) -> Program:
        """See `Fields`."""
        found = self._fields.get(field.name)
        if found is None or found.is_array or found.size not in _SIZES:
            raise NeedsPython(f"{field.name} is no number")
        return made(operation("const64", RECORD + found.offset), operation(f"ref{8 * found.size}"))

    def text(self, field: FilterField) -> Text:
        """See `Fields`."""
        if field.kind is Kind.COMM:
            if self._scope.task is None:
                raise NeedsPython("it reads the task, which is not known")
            task = Operation(Number.TASK), operation("const64", self._scope.task[0]), operation("add")
            return Text(made(*task), TASK_COMM_LEN - 1, TASK_COMM_LEN)
        found = self._fields.get(field.name)
        if found is None or not found.is_text:
            raise NeedsPython(f"it reads {field.name}")
        if not found.dynamic:
            return Text(made(operation("const64", RECORD + found.offset)), found.size - 1, found.size)
        base = RECORD + (found.offset + found.size if found.dynamic == "rel" else 0)
        at = [operation("const64", RECORD + found.offset), operation("ref32"), operation("const16", 0xFFFF)]
        return Text(made(*at, operation("bit_and"), operation("const64", base), operation("add")), _LONGEST)

    def stack(self) -> Stack:
        """See `Fields`."""
        return Stack(0)


class KernelEvents:
    """The events of the guest's kernel that were named so far."""

    def __init__(self, kprobes: Kprobes, controls: Controls) -> None:
        self._kprobes, self._controls = kprobes, controls
        self._known: dict[str, KernelEvent] = {}
        self._by_probe: dict[Probe, KernelEvent] = {}

    @property
    def probes(self) -> Sequence[KernelEventProbe]:
        """Their probes."""
        return [event.probes[0] for event in self._known.values()]

    @property
    def _all(self) -> Mapping[str, TraceEvent]:
        kernel = self._kprobes.machine.kernel
        found = kernel.tracepoints if isinstance(kernel, Linux) else None
        return {} if found is None else found

    @property
    def names(self) -> list[tuple[str, str]]:
        """The groups and names of all; none where the kernel's table is not found."""
        try:
            return [(event.system, event.name) for event in self._all.values()]
        except MachineError:
            return []

    def named(self, group: str, name: str) -> list[tuple[str, str]]:
        """The groups and names of the events of a name, of all groups if `group` is empty."""
        try:
            names = [f"{group}:{name}"] if group else [each for each in self._all if each.endswith(f":{name}")]
            return [(event.system, event.name) for each in names if (event := self._all.get(each)) is not None]
        except MachineError:  # the kernel's table is not found
            return []

    def find(self, group: str, name: str) -> KernelEvent | None:
        """The event of a group and a name; None if there is none. Raises EventError if it cannot be probed."""
        known = self._known.get(f"{group}:{name}")
        if known is None and self.named(group, name):
            try:
                known = KernelEvent(self._all[f"{group}:{name}"], self._kprobes)
            except ProbeError as error:
                raise EventError(errno.EINVAL, error.reason) from error
            known.control = self._controls.add(known)
            self._known[f"{group}:{name}"] = self._by_probe[known.probes[0].probe] = known
        return known

    def of(self, hit: Hit) -> KernelEvent | None:
        """The event whose probe was hit."""
        return self._by_probe.get(hit.probe)
