# SPDX-License-Identifier: GPL-2.0-or-later
"""Histograms of events, compared with the answers of a 6.1 kernel."""

from __future__ import annotations

import errno
import os
import random
from typing import Any, Final

import pytest

from armprobe.probes.events.c_text import c_text
from armprobe.probes.events.errors import EventError
from armprobe.probes.events.filter import parse_filter
from armprobe.probes.events.filter_fields import Value, filter_fields
from armprobe.probes.events.histogram import Histogram
from armprobe.probes.events.histogram_text import HistogramParser, split_filter
from tests.probes.events.kernel_answers import Field, answers, fields

LINES: Final = 1_000_000 if "ARMPROBE_FUZZ" in os.environ else 20_000
SYMBOLS: Final = {
    0xFFFF8000083A0710: ("vfs_read", 0x2D0),
    0xFFFF8000082DD0C0: ("shmem_file_read_iter", 0x340),
    0xFFFF80000844F610: ("proc_reg_read_iter", 0xE0),
}
FIELDS: Final = filter_fields(
    [
        Field("a", "u64", 8, False),
        Field("b", "s32", 4, True),
        Field("s", "__data_loc char[]", 4, True),
        Field("t", "char[16]", 16, False),
        Field("w", "u32[3]", 12, False),
        Field("nr", "u32", 4, False),
    ]
)


class Labels:
    """The symbols of the recorded kernel."""

    def symbol(self, address: int) -> str:
        return SYMBOLS[address][0]

    def symbol_offset(self, address: int) -> str:
        name, size = SYMBOLS[address]
        return f"{name}+0x0/{size:#x}"

    def syscall(self, number: int) -> str | None:
        return {63: "sys_read", 64: "sys_write"}.get(number)


def hits() -> list[dict[str, Value]]:
    """The reads of the recorded command: wc reads each file twice, the second time to find its end."""
    files = (b"plain", b"one.txt", b"version.txt", b"long_name_of_a_file_that_is_read.txt", b"one.txt", b"version")
    return [
        {
            "__probe_ip": 0xFFFF8000083A0710,
            "count": 0x400 if name == b"version" else 0x1000,
            "name": name,
            "iter": 0xFFFF80000844F610 if name == b"version" else 0xFFFF8000082DD0C0,
            "fl": 0,
            "neg": -5,
            "b": 4 if name == b"version" else 0,
            "comm": b"wc",
            "cpu": 0,
            "common_pid": 200,
        }
        for name in files
        for _ in range(2)
    ]


def parse(body: str) -> HistogramParser:
    return HistogramParser(f"hist:{c_text(body)}", ("kprobes", "ev"), FIELDS)


def histogram(text: str, rows: list[dict[str, Value]]) -> list[str]:
    """The lines of the table that `rows` make."""
    made = Histogram(parse(text).parse(text))
    for row in rows:
        made.update(row)
    return made.lines(Labels())


@pytest.mark.parametrize("case", answers("histograms"), ids=lambda case: repr(case["trigger"]))
def test_the_answers_are_the_kernels(case: dict[str, Any]) -> None:
    body = case["trigger"].removeprefix("hist:").lstrip()
    table = filter_fields(fields(case))
    error, listed, shown = None, [], "\n"
    try:
        text, condition = split_filter(body)
        made = Histogram(HistogramParser(f"hist:{body}", ("kprobes", "ev"), table).parse(text))
        assert condition is not None
        chosen = parse_filter(condition.removeprefix("if "), table)
        listed = [f"{made.text.specification()} {condition} [active]"]
        for hit in hits():
            if chosen.matches(hit):
                made.update(hit)
        header = ["# event histogram", "#", f"# trigger info: {listed[0]}", "#", ""]
        shown = "\n".join([*header, *made.lines(Labels()), ""])
    except EventError as refused:
        error = (errno.errorcode[refused.errno], refused.message, refused.command, refused.column)
    logged = case["error"] or dict.fromkeys(("message", "command", "column"))
    expected = None if case["accepted"] else (case["errno"], logged["message"], logged["command"], logged["column"])
    assert (error, listed) == (expected, case["trigger_file"])
    if "volatile" not in case:  # the addresses of strings
        assert shown.strip() == case["hist"].strip()


# The lines that hist_trigger_print_key() and hist_trigger_print_val() of trace_events_hist.c make of these values.
@pytest.mark.parametrize(
    ("text", "row", "line"),
    [
        ("keys=common_pid.execname", {"common_pid": 7, "comm": b"dd"}, "{ common_pid: dd              [         7] }"),
        ("keys=common_pid.execname", {"common_pid": 0, "comm": b"x"}, "{ common_pid: <idle>          [         0] }"),
        ("keys=nr.syscall", {"nr": 63}, "{ nr: sys_read                      [ 63] }"),
        ("keys=nr.syscall", {"nr": 999}, "{ nr: unknown_syscall               [999] }"),
        ("keys=a.log2", {"a": 0}, "{ a: ~ 2^0  }"),
        ("keys=b", {"b": -1}, "{ b: 18446744073709551615 }"),
        ("keys=a+b", {"a": 1, "b": 2}, "{ a+b:          3 }"),
        ("keys=-(a)", {"a": 1}, "{ -(a): 18446744073709551615 }"),
        ("keys=a/3", {"a": 5}, "{ a/3:          2 }"),  # 1.67, which multiplying and shifting rounds up
        ("keys=cpu", {"cpu": 1}, "{ cpu:          1 }"),
        ("keys=common_timestamp.usecs", {"common_timestamp": 5999}, "{ common_timestamp:          5 }"),
        ("keys=t", {"t": b"0123456789abcdef"}, f"{{ t: {'0123456789abcde':<50} }}"),
    ],
)
def test_a_key_is_printed_as_in_the_kernel(text: str, row: dict[str, Value], line: str) -> None:
    assert histogram(text, [row])[0] == f"{line} hitcount:          1"


def test_values_are_sums_shares_and_bars() -> None:
    rows: list[dict[str, Value]] = [{"a": 1, "b": 100}, {"a": 2, "b": 300}]
    assert histogram("keys=a:vals=b.percent,b.graph:sort=a", rows)[:2] == [
        "{ a:          1 } hitcount:          1  b (%):  25.00  b: ######              ",
        "{ a:          2 } hitcount:          1  b (%):  75.00  b: ####################",
    ]


def test_a_stack_is_a_key() -> None:
    stack = (0xFFFF8000083A0710, 0xFFFF8000082DD0C0)
    assert histogram("keys=stacktrace", [{"stacktrace": stack}] * 2)[:5] == [
        "{ stacktrace:\n         vfs_read+0x0/0x2d0\n         shmem_file_read_iter+0x0/0x340\n} hitcount:          2",
        "",
        "Totals:",
        "    Hits: 2",
        "    Entries: 1",
    ]


def test_a_full_table_drops_hits() -> None:
    lines = histogram("keys=a:size=65", [{"a": number % 130} for number in range(260)])
    assert lines[-4:] == ["Totals:", "    Hits: 256", "    Entries: 128", "    Dropped: 4"]


def test_entries_are_sorted_by_two_keys() -> None:
    rows: list[dict[str, Value]] = [{"a": number % 7, "b": -(number % 3)} for number in range(40)]
    made = Histogram(parse("").parse("keys=a,b:sort=b.descending,a"))
    for row in rows:
        made.update(row)
    keys = [(int.from_bytes(e.key[:8], "little"), int.from_bytes(e.key[8:12], "little")) for e in made.sorted()]
    assert keys == sorted(keys, key=lambda key: (-((key[1] + (1 << 31)) % (1 << 32)), key[0]))


def test_nothing_but_an_event_error_comes_of_any_text() -> None:
    rng = random.Random(15)
    words = [
        "a",
        "b",
        "s",
        "t",
        "w",
        "nr",
        "nofield",
        "hitcount",
        "stacktrace",
        "common_pid",
        "common_timestamp",
        "cpu",
    ]
    words += [".hex", ".sym", ".sym-offset", ".log2", ".execname", ".syscall", ".buckets=10", ".bucket=0", ".percent"]
    words += [",", ":", "=", "+", "-", "*", "/", "(", ")", "$x", "7", "/0", " ", "if", "\n", "\0", "é", "\udcff"]
    parts = ["keys=", "vals=", "sort=", "size=", "name=", "clock=", "x=", "pause", "cont", "clear", "onmatch("]
    row: dict[str, Value] = {"a": 1, "b": -1, "s": None, "t": b"t", "w": (1, 2, 3), "nr": 5, "common_pid": 1, "cpu": 0}
    accepted, refused = 0, set()
    for _ in range(LINES):
        text = "keys=" + "".join(rng.choice(words) for _ in range(rng.randint(1, 3)))
        while rng.random() < 0.5:
            text += f":{rng.choice(parts)}" + "".join(rng.choice(words) for _ in range(rng.randint(0, 3)))
        try:
            made = Histogram(parse(text).parse(split_filter(c_text(text))[0]))
        except EventError as error:
            refused.add(error.errno)
        else:
            made.update(row)
            made.update({**row, "a": 2})
            made.text.specification()
            made.sorted()
            accepted += 1
    assert accepted > LINES // 20
    assert refused == {errno.EINVAL, errno.ENOMEM, errno.EOPNOTSUPP, errno.EDOM}
