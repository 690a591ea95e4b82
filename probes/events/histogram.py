# SPDX-License-Identifier: GPL-2.0-or-later
"""Histograms of hist triggers: the table of kernel/trace/tracing_map.c, and what an event's `hist` file shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from armprobe.machine.native.histogram import HistogramTable, Row

from .filter_fields import Values
from .histogram_field import STACKTRACE_DEPTH, U64, HistogramField, Mark
from .histogram_text import HistogramText, SortKey
from .kernel_sort import kernel_sort
from .predicate import signed

_BAR = 20


class Labels(Protocol):
    """Names that a guest's kernel has for numbers."""

    def symbol(self, address: int) -> str:
        """The function, as printk's %ps prints it."""
        ...

    def symbol_offset(self, address: int) -> str:
        """The function with the offset and its size, as %pS prints it."""
        ...

    def syscall(self, number: int) -> str | None:
        """The system call, such as "sys_read"."""
        ...


class _Statistics(NamedTuple):
    total: int
    most: int


class Histogram:
    """What hits have made of `table`, as `text` asks for."""

    def __init__(self, text: HistogramText) -> None:
        self.text = text
        self.table = HistogramTable(1 << text.attributes.bits, sum(key.size for key in text.keys), len(text.values))
        self._parts = [_part_of_key(field) for field in text.keys]

    def update(self, values: Values) -> None:
        """Count a hit (event_hist_trigger())."""
        key = b"".join([part(values) for part in self._parts])
        self.table.add(key, [field.number(values) for field in self.text.values], _task(values))

    def sorted(self) -> list[Row]:
        """The entries in the kernel's order (tracing_map_sort_entries())."""
        entries = sorted(self.table.rows(), key=lambda entry: entry.key)
        primary, *rest = self.text.sort
        compare = self._comparison(primary)
        kernel_sort(entries, compare)
        if rest and entries:
            _sort_secondary(entries, compare, self._comparison(rest[0]))
        return entries

    def lines(self, labels: Labels) -> list[str]:
        """The table and the totals, without the header."""
        entries = self.sorted()
        statistics = [
            _Statistics(
                sum(entry.sums[index] for entry in entries) & U64, max((e.sums[index] for e in entries), default=0)
            )
            for index in range(len(self.text.values))
        ]
        lines = [self._line(entry, statistics, labels) for entry in entries]
        table = self.table
        totals = ["Totals:", f"    Hits: {table.hits}", f"    Entries: {len(entries)}", f"    Dropped: {table.drops}"]
        return [*lines, "", *totals]

    def _comparison(self, key: SortKey) -> Callable[[Row, Row], int]:
        field = self.text.summed[key.field]
        sign = -1 if key.descending else 1
        if key.field < len(self.text.values):
            return lambda a, b: sign * _compare(a.sums[key.field], b.sums[key.field])
        value = partial(_sortable, field)
        return lambda a, b: sign * _compare(value(a.key), value(b.key))

    def _line(self, entry: Row, statistics: list[_Statistics], labels: Labels) -> str:
        keys = ", ".join(_key_text(field, entry, labels) for field in self.text.keys)
        multiline = any(field.marks & Mark.STACKTRACE for field in self.text.keys)
        line = f"{{ {keys}{'' if multiline else ' '}}}" + _value_text("hitcount", Mark(0), entry.sums[0], statistics[0])
        for index, field in enumerate(self.text.values[1:], 1):
            if not field.marks & Mark.EXPR:
                line += " " + _value_text(field.name, field.marks, entry.sums[index], statistics[index])
        return line


def _part_of_key(field: HistogramField) -> Callable[[Values], bytes]:
    """What makes a part of a key, as it is compared (add_to_key())."""
    if field.marks & Mark.STACKTRACE:
        return lambda values: _stack(values).ljust(field.size, b"\0")
    if field.marks & Mark.STRING:
        return lambda values: field.string(values).ljust(field.size, b"\0")
    return lambda values: field.number(values).to_bytes(field.size, "little")


def _stack(values: Values) -> bytes:
    stack = values.get("stacktrace")
    addresses = [each for each in stack if isinstance(each, int)] if isinstance(stack, tuple) else []
    return b"".join(each.to_bytes(8, "little") for each in addresses[:STACKTRACE_DEPTH])


def _part(field: HistogramField, key: bytes) -> bytes:
    return key[field.offset : field.offset + field.size]


def _string(field: HistogramField, key: bytes) -> bytes:
    return _part(field, key).partition(b"\0")[0]


def _number(field: HistogramField, key: bytes) -> int:
    return int.from_bytes(_part(field, key)[:8], "little")


def _sortable(field: HistogramField, key: bytes) -> int | bytes:
    """What a part of a key is sorted by (create_tracing_map_fields())."""
    if field.marks & Mark.STACKTRACE:
        return 0
    number = _number(field, key)
    if field.field is None or field.marks & Mark.CPU:
        return signed(number, 8) if field.signed else number
    if field.field.is_string:
        return _string(field, key)
    size = field.field.size
    return signed(number, size) if field.field.signed else number & ((1 << 8 * size) - 1)


def _compare(first: int | bytes, second: int | bytes) -> int:
    if isinstance(first, bytes):
        assert isinstance(second, bytes)
        return (first > second) - (first < second)
    assert isinstance(second, int)
    return (first > second) - (first < second)


def _sort_secondary(
    entries: list[Row], primary: Callable[[Row, Row], int], secondary: Callable[[Row, Row], int]
) -> None:
    """Sort the runs that are equal by the first key by the second (sort_secondary())."""
    start = 0
    for index in range(1, len(entries) + 1):
        if index == len(entries) or primary(entries[index - 1], entries[index]):
            run = entries[start:index]
            kernel_sort(run, secondary)
            entries[start:index] = run
            start = index


def _key_text(field: HistogramField, entry: Row, labels: Labels) -> str:
    """A part of a key (hist_trigger_print_key())."""
    marks, name = field.marks, field.name
    if marks & Mark.STACKTRACE:
        stack = _part(field, entry.key)
        addresses = (int.from_bytes(stack[at : at + 8], "little") for at in range(0, len(stack), 8))
        frames = "".join(f"{'':9}{labels.symbol_offset(address)}\n" for address in addresses if address)
        return f"stacktrace:\n{frames}"
    number = _number(field, entry.key)
    if marks & Mark.HEX:
        return f"{name}: {number:x}"
    if marks & Mark.SYM:
        return f"{name}: [{number:x}] {labels.symbol(number):<45}"
    if marks & Mark.SYM_OFFSET:
        return f"{name}: [{number:x}] {labels.symbol_offset(number):<55}"
    if marks & Mark.EXECNAME:
        comm = entry.comm.decode("utf-8", "surrogateescape")
        return f"{name}: {comm:<16}[{number:10}]"
    if marks & Mark.SYSCALL:
        return f"{name}: {labels.syscall(number) or 'unknown_syscall':<30}[{number:3}]"
    if marks & Mark.LOG2:
        return f"{name}: ~ 2^{number:<2}"
    if marks & Mark.BUCKET:
        return f"{name}: ~ {number}-{(number + field.buckets - 1) & U64}"
    if marks & Mark.STRING:
        return f"{name}: {_string(field, entry.key).ljust(50).decode('utf-8', 'surrogateescape')}"
    return f"{name}: {number:10}"


def _value_text(name: str, marks: Mark, value: int, statistics: _Statistics) -> str:
    """A sum (hist_trigger_print_val())."""
    if marks & Mark.PERCENT:
        hundredths = _percentage(value, statistics.total)
        if hundredths is None:
            return f" {name} (%):[ERROR]"
        return f" {name} (%): {hundredths // 100:3}.{hundredths % 100:02}"
    if marks & Mark.GRAPH:
        hundredths = _percentage(value, statistics.most)
        bar = "[ERROR]" if hundredths is None else "#" * min(_BAR, hundredths * _BAR // 10000)
        return f" {name}: {bar:>{_BAR}}" if hundredths is None else f" {name}: {bar:<{_BAR}}"
    if marks & Mark.HEX:
        return f" {name}: {value:10x}"
    return f" {name}: {value:10}"


def _percentage(value: int, total: int) -> int | None:
    """Hundredths of a percent, None for a division by zero (__get_percentage())."""
    if total and value < U64 // 10000:
        return value * 10000 // total
    if total // 10000:
        return value // (total // 10000)
    return None if value else 0


def _task(values: Values) -> bytes:
    """The name of the running task (save_comm())."""
    if values.get("common_pid") == 0:
        return b"<idle>"
    comm = values.get("comm")
    return comm if isinstance(comm, bytes) else b""
