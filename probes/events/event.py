# SPDX-License-Identifier: GPL-2.0-or-later
"""Events: one or more probes of one name and with the same arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.expressions import Condition
from armprobe.kernel.trace_events import COMMON_FIELDS, TraceField
from armprobe.machine import Machine, Symbols
from armprobe.probes.kprobe import Kprobe
from armprobe.probes.kretprobe import Kretprobe
from armprobe.probes.record import Hit

from .c_text import user_text
from .definition import Definition
from .fetch import FetchArgument
from .field_programs import ProbeFields
from .filter import Filter
from .filter_code import condition
from .recorded import FieldValue, shown_value, value

if TYPE_CHECKING:
    from .control import EventControl

_HEADER: Final = 8  # struct trace_entry


class Field(NamedTuple):
    """A field of an event, as a line of its format file declares it.

    `type` is the text before the name; an array's has its number of elements in brackets, which `elements`
    repeats, and 0 stands for a single value. A string is dynamic: the field itself has only the place of its bytes.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    elements: int = 0
    is_string: bool = False

    @property
    def line(self) -> str:
        """Its line in the format file (f_show in kernel/trace/trace_events.c)."""
        kind, bracket, _ = self.type.partition("[")
        is_array = bracket and not self.type.startswith("__data_loc")
        declared = f"{kind} {self.name}[]" if is_array else f"{self.type} {self.name}"
        return f"\tfield:{declared};\toffset:{self.offset};\tsize:{self.size};\tsigned:{self.signed:d};"


@dataclass(eq=False)
class EventProbe:
    """One probe of an event. `probe` is None while it waits for a module, and `maxactive` as the listing shows it.

    `tasks` selects the tasks whose hits these are, None for all.
    """

    definition: Definition
    event: Event
    symbols: Symbols
    tasks: Condition | None = None
    probe: Kprobe | Kretprobe | None = None

    @property
    def arguments(self) -> Sequence[FetchArgument]:
        """What it records."""
        return self.definition.arguments

    @property
    def listing(self) -> str:
        """Its line in kprobe_events (trace_kprobe_show)."""
        given, active = self.definition, self.definition.maxactive
        if isinstance(self.probe, Kretprobe):
            active = self.probe.maxactive
        kind = f"r{active or ''}" if given.is_return else "p"
        arguments = "".join(f" {each.name}={each.text}" for each in given.arguments)
        return user_text(f"{kind}:{given.group}/{given.event} {given.place}{arguments}")

    def condition(self, chosen: Filter, machine: Machine) -> Condition | None:
        """A filter as a condition of the probe. None if it takes more than that."""
        return condition(chosen, self, machine)

    def programs(self, machine: Machine, most: int) -> ProbeFields:
        """The fields for the C core, of which `most` bytes are recorded."""
        return ProbeFields(self, machine, most)

    def values(self, hit: Hit) -> dict[str, FieldValue]:
        """The values of the event's fields at a hit of this probe, by name.

        They are numbers, bytes of strings, None at a fault, and tuples of those for arrays. `comm` and `cpu`, which all
        events have, are among them.
        """
        task = hit.task
        values: dict[str, FieldValue] = {
            "common_type": self.event.number,
            "common_flags": 0,
            "common_preempt_count": 0,
            "common_pid": 0 if task is None else task.pid,
            "comm": b"" if task is None else task.comm.encode("utf-8", "surrogateescape"),
            "cpu": 0,
        }
        if self.definition.is_return:
            values |= {"__probe_func": hit.address, "__probe_ret_ip": hit.caller}
        else:
            values["__probe_ip"] = hit.address
        return values | {each.name: value(self, each, hit) for each in self.arguments}

    def texts(self, hit: Hit) -> dict[str, str | None]:
        """The arguments at a hit by name: strings as they are, others as the trace has them; None if not readable."""
        values = {each.name: (each, value(self, each, hit)) for each in self.arguments}
        return {
            name: None
            if found is None
            else found.decode("utf-8", "backslashreplace")
            if isinstance(found, bytes)
            else shown_value(self, each, found)
            for name, (each, found) in values.items()
        }

    def text(self, hit: Hit) -> str:
        """The arguments at a hit as the trace has them, each after a space."""
        return "".join(
            f" {user_text(each.name)}={shown_value(self, each, value(self, each, hit))}" for each in self.arguments
        )


class Event:
    """An event: its probes, of which the first declares its fields. `number` is its ID."""

    def __init__(self, group: str, name: str, is_return: bool, number: int) -> None:
        self.group, self.name, self.is_return, self.number = group, name, is_return, number
        self.probes: list[EventProbe] = []
        self.enabled = False
        self.control: EventControl

    @property
    def path(self) -> str:
        """Its name with its group: "kprobes/open"."""
        return f"{self.group}/{self.name}"

    @property
    def arguments(self) -> Sequence[FetchArgument]:
        """Those of its first probe. Those of the others have the same names and types."""
        return self.probes[0].arguments

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its own fields: the addresses, then the arguments."""
        names = ("__probe_func", "__probe_ret_ip") if self.is_return else ("__probe_ip",)
        head = [Field(name, "unsigned long", _HEADER + 8 * at, 8, False) for at, name in enumerate(names)]
        start = _HEADER + 8 * len(names)
        return (
            *head,
            *(
                Field(
                    each.name,
                    each.declaration,
                    start + each.offset,
                    each.size,
                    each.type.signed,
                    each.count,
                    each.type.is_string,
                )
                for each in self.arguments
            ),
        )

    @property
    def print_format(self) -> str:
        """How the format file says that it is printed (__set_print_fmt)."""
        form, values = "(%lx)", [f"REC->{field.name}" for field in self.fields if field.name.startswith("__probe_")]
        if self.is_return:
            form = "(%lx <- %lx)"
        values = values[: 1 + self.is_return]
        for each in self.arguments:
            one = each.type.form
            form += f" {each.name}=" + (f"{{{','.join([one] * each.count)}}}" if each.count else one)
            names = [f"{each.name}[{at}]" for at in range(each.count)] if each.count else [each.name]
            values += [f"__get_str({name})" if each.type.is_string else f"REC->{name}" for name in names]
        return user_text(", ".join([f'"{form}"', *values]))

    @property
    def format(self) -> str:
        """The text of its format file."""
        return format_text(self.name, self.number, self.fields, self.print_format)


def format_text(name: str, number: int, fields: Iterable[Field | TraceField], print_format: str) -> str:
    """The text of a format file."""
    common, own = ("\n".join(Field(*field).line for field in each) for each in (COMMON_FIELDS, fields))
    head = f"name: {name}\nID: {number}\nformat:\n{common}\n\n"
    return f"{head}{user_text(own)}\n\nprint fmt: {print_format}\n"
