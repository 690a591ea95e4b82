# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's tracepoints and system calls as events: their names, fields and places, from its own tables.

The kernel lists its events in `ftrace_events` (kernel/trace/trace_events.c). A call of a tracepoint is a branch that is
off as long as nobody traces it, and that the table of jump labels has (include/linux/jump_label.h): at `code` there is
a NOP, and what calls the tracepoint's functions is at `target`. The guest's tracefs is not used, and nothing changes in
the guest.
"""

from __future__ import annotations

import fnmatch
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError
from armprobe.machine.similar_names import similar

from .code_references import addresses_formed
from .code_tables import CodeTables
from .text import Text

if TYPE_CHECKING:
    from .kernel import Linux
    from .value import Value

_LISTING: Final = "perf_trace_init", "__trace_early_add_events", "event_trace_add_tracer"
"""Functions that walk the list, and are not freed."""
_WITHIN: Final = 0x40  # bytes from an address that the code forms within which the head of the list is
_FLAG: Final = "TRACE_EVENT_FL_TRACEPOINT"
_LONGEST: Final = 16384  # characters of print_fmt
_SYSCALLS: Final = "syscalls"
_COMMON: Final = (  # trace_define_common_fields() of kernel/trace/trace_events.c
    ("common_type", "unsigned short", 0, 2, False),
    ("common_flags", "unsigned char", 2, 1, False),
    ("common_preempt_count", "unsigned char", 3, 1, False),
    ("common_pid", "int", 4, 4, True),
)
_LOCATED: Final = re.compile(r"__(data|rel)_loc (.*)\[\]$")


class TraceField(NamedTuple):
    """A field of an event: its name, its type in C, and its place in a record of the event, in bytes.

    A `dynamic` one has there where its data is, as __data_loc and __rel_loc of the kernel's formats do.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool

    @property
    def dynamic(self) -> str:
        """ "data" or "rel" for a field whose data is elsewhere in the record; empty for others."""
        found = _LOCATED.match(self.type)
        return found[1] if found else ""

    @property
    def is_text(self) -> bool:
        """Whether it is an array of characters."""
        found = _LOCATED.match(self.type)
        base, array = (found[2], "[") if found else (self.type.partition("[")[0], self.type.partition("[")[1])
        return bool(array) and base.strip() in ("char", "const char")

    @property
    def is_array(self) -> bool:
        """Whether it is no number."""
        return "[" in self.type


COMMON_FIELDS: Final = tuple(TraceField(*each) for each in _COMMON)


class Branch(NamedTuple):
    """A call of a tracepoint: the address of the branch that is off, and the one that it leads to."""

    code: int
    target: int


class Syscall(NamedTuple):
    """The system call that an event is of: its number, and whether it is its entry or its exit."""

    number: int
    enters: bool


class UserData(NamedTuple):
    """The arguments of a system call that lead to memory of the process which is recorded, by their numbers from 0.

    They are strings, or bytes, as many as the argument `size` says.
    """

    arguments: tuple[int, ...]
    size: int | None


class TraceEvent:
    """One event of the kernel: `system` and `name`, as in sched:sched_switch.

    `call` is its struct trace_event_call, `fields` are its own fields in order, `format` the text that formats a
    record, as C of the kernel's format files.
    """

    def __init__(self, events: TraceEvents, call: Value, system: str) -> None:
        self._events, self.call, self.system = events, call, system
        self._tracepoint = events.is_tracepoint(call)
        self.name = _text(call.tp.name if self._tracepoint else call.name)

    @property
    def id(self) -> int:
        """The number of the event's type."""
        return int(self.call.event.type)

    @property
    def full_name(self) -> str:
        """Such as sched:sched_switch."""
        return f"{self.system}:{self.name}"

    @property
    def format(self) -> str:
        """What the kernel prints of a record: a format and its arguments, in C."""
        return self.call.print_fmt.string_(_LONGEST).decode("utf-8", "replace")

    @property
    def fields(self) -> tuple[TraceField, ...]:
        """The fields, without those that all events have (`COMMON_FIELDS`), in order of their place."""
        call = self.call
        head = call.member_("class").fields
        syscall = self._metadata
        if syscall is not None and self._enters(syscall):
            head = syscall.enter_fields
        return tuple(reversed([_field(each) for each in head.list_("struct ftrace_event_field", "link")]))

    @property
    def syscall(self) -> Syscall | None:
        """The system call that it is an event of; None for others."""
        metadata = self._metadata
        return None if metadata is None else Syscall(int(metadata.syscall_nr), self._enters(metadata))

    @property
    def user_data(self) -> UserData | None:
        """What the entry of a system call records of the process's memory, in 7.2; None for other events."""
        metadata = self._metadata
        if metadata is None or not self._enters(metadata) or not hasattr(metadata, "user_mask"):
            return None
        mask, size = int(metadata.user_mask), int(metadata.user_arg_size)
        return (
            UserData(tuple(each for each in range(6) if mask >> each & 1), None if size < 0 else size) if mask else None
        )

    @property
    def is_any_syscall(self) -> Syscall | None:
        """For raw_syscalls:sys_enter and sys_exit, which are of all system calls; the number is -1."""
        if self.system != "raw_syscalls" or self.name not in ("sys_enter", "sys_exit"):
            return None
        return Syscall(-1, self.name == "sys_enter")

    @property
    def branches(self) -> list[Branch]:
        """The tracepoint's calls, in the kernel and in the modules that are loaded now."""
        if not self._tracepoint:
            return []
        key = self.tracepoint + self._events.key_offset
        return [Branch(code, target) for code, target in self._events.jump_labels().get(key, ())]

    @cached_property
    def tracepoint(self) -> int:
        """The address of its struct tracepoint."""
        return int(self.call.tp)

    @property
    def recorder(self) -> int:
        """The address of the function that makes a record of the tracepoint's arguments."""
        return int(self.call.member_("class").probe)

    @property
    def printer(self) -> int:
        """The address of the function that prints a record."""
        return int(self.call.event.funcs.trace)

    @property
    def _metadata(self) -> Value | None:
        if self._tracepoint or self.system != _SYSCALLS:
            return None
        return self.call.data.cast_("struct syscall_metadata *").deref_()

    def _enters(self, metadata: Value) -> bool:
        return int(metadata.enter_event) == self.call.address_

    def __repr__(self) -> str:
        return f"<event {self.full_name}>"


class TraceEvents(Mapping[str, TraceEvent]):
    """The events of a kernel, by names such as "sched:sched_switch". All raise MachineError where there are none."""

    def __init__(self, kernel: Linux) -> None:
        self._kernel, self._machine = kernel, kernel.machine
        self._head: int | None = None
        self._known: tuple[bytes, dict[str, TraceEvent]] = (b"", {})
        self._labels: tuple[tuple[int, ...], dict[int, list[tuple[int, int]]]] | None = None

    @cached_property
    def _text(self) -> Text:
        return Text(self._machine, {})

    @cached_property
    def _tables(self) -> CodeTables:
        return CodeTables(self._machine, self._text)

    def __getitem__(self, name: str) -> TraceEvent:
        return self._events()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._events())

    def __len__(self) -> int:
        return len(self._events())

    def find(self, name: str) -> TraceEvent:
        """The event called `name`. Raises MachineError, saying why, if there is none."""
        events = self._events()
        if name not in events:
            bare = name.rpartition(":")[2]
            close = (
                [each for each in events if each.rpartition(":")[2] == bare]
                or [each for each in events if bare and bare in each]
                or similar(name, events, most=1)
            )
            hint = f"; there is {', '.join(sorted(close)[:3])}" if close else "; tracepoints lists them"
            raise MachineError(f"this kernel has no event {name!r}{hint}")
        return events[name]

    def matching(self, pattern: str = "*") -> list[TraceEvent]:
        """The events whose names match, such as "sched:*" or "sched_*", by name."""
        events = self._events()
        wanted = [
            name
            for name in sorted(events)
            if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.partition(":")[2], pattern)
        ]
        return [events[name] for name in wanted]

    def is_tracepoint(self, call: Value) -> bool:
        """Whether the struct trace_event_call is of a tracepoint."""
        return bool(int(call.flags) & self._flag)

    @cached_property
    def _flag(self) -> int:
        found = self._kernel.types.enumerator(_FLAG)
        if found is None:
            raise MachineError(f"this kernel's type information has no {_FLAG}")
        return found[1]

    @cached_property
    def key_offset(self) -> int:
        """Where the static key is in a struct tracepoint, in bytes."""
        return self._kernel.types["tracepoint"].offset("key")

    def jump_labels(self) -> dict[int, list[tuple[int, int]]]:
        """By the address of a static key, its branches: the address of each, and where it leads to if it is on."""
        modules = tuple(module.address for module in self._kernel.module_table())
        if self._labels is None or self._labels[0] != modules:
            labels = self._tables.jump_labels()
            for address in modules:
                module = self._kernel.read(address, "struct module")
                for entry in range(int(module.num_jump_entries)):
                    code, target, key = self._tables.jump_label(int(module.jump_entries) + 16 * entry)
                    labels.setdefault(key, []).append((code, target))
            self._labels = modules, labels
        return self._labels[1]

    def _events(self) -> dict[str, TraceEvent]:
        head = self._list_head()
        ends = self._machine.memory.read(head, 16)
        if self._known[0] != ends:
            found: dict[str, TraceEvent] = {}
            for call in self._kernel.read(head, "struct list_head").list_("struct trace_event_call", "list"):
                system = _text(call.member_("class").system)
                if self.is_tracepoint(call) or system == _SYSCALLS:
                    event = TraceEvent(self, call, system)
                    found[event.full_name] = event
            self._known = ends, found
        return self._known[1]

    def _list_head(self) -> int:
        """The address of `ftrace_events`, which has no symbol in kernels of distributions."""
        if self._head is None:
            named = self._machine.symbols.get("ftrace_events")
            if named is not None:
                self._head = named.address
                return self._head
            for name in _LISTING:
                function = self._machine.symbols.get(name)
                formed = [] if function is None else addresses_formed(self._text.read_u32, function)
                for address in (near for each in formed for near in range(each, each + _WITHIN, 8)):
                    if self._is_head(address):
                        self._head = address
                        return address
            raise MachineError("the list of events (ftrace_events) is not found in this kernel")
        return self._head

    def _is_head(self, address: int) -> bool:
        """Whether the first and the last entry of a list at `address` are events."""
        memory = self._machine.memory
        try:
            first, last = struct.unpack("<2Q", memory.read(address, 16))
            if first in (0, address) or memory.u64(first + 8) != address or memory.u64(last) != address:
                return False
            for entry in (first, last):
                call = self._kernel.read(entry, "struct trace_event_call")
                if not re.fullmatch(r"[\w-]+", _text(call.member_("class").system)):
                    return False
        except MachineError:
            return False
        return True


def _field(field: Value) -> TraceField:
    type_, counted = _text(field.type), hasattr(field, "len")  # since v6.3: commit b6c7abd1c28a
    if counted and int(field.len) and not type_.startswith("__data_loc"):
        type_ = f"{type_.partition('[')[0]}[{int(field.len)}]"
    return TraceField(_text(field.name), type_, int(field.offset), int(field.size), bool(field.is_signed))


def _text(pointer: Value) -> str:
    return pointer.string_().decode("utf-8", "replace")
