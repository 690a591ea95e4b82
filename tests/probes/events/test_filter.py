# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters of events, compared with the answers of a 6.1 kernel."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import random
import re
from typing import Any, Final

import pytest

from armprobe.probes.events.errors import EventError
from armprobe.probes.events.filter import Filter, filter_file
from armprobe.probes.events.filter_fields import Values
from armprobe.probes.events.pattern import glob_match
from tests.probes.events.kernel_answers import Field, answers, fields

LINES: Final = 1_000_000 if "ARMPROBE_FUZZ" in os.environ else 20_000
FIELDS: Final = [
    Field("s", "s32", 4, True),
    Field("u", "u8", 1, False),
    Field("q", "u64", 8, False),
    Field("name", "__data_loc char[]", 4, True),
    Field("pair", "u32[3]", 12, False),
    Field("task", "char[16]", 16, False),
]


def hits() -> list[dict[str, Any]]:
    """The hits of the recorded workload, which are all that the event without a filter prints."""
    (unfiltered,) = [case for case in answers("filters") if case["filter"] == "flags"]
    pattern = r'dfd=(-?\d+) name="(.*)" flags=(0x\w+) lo=(\d+) arr=\{(\d+),(\d+)\} sym=.*'
    values: list[dict[str, Any]] = []
    for index, line in enumerate(unfiltered["lines"]):
        match = re.fullmatch(pattern, line["arguments"])
        assert match, line
        dfd, name, flags, lo, first, second = match.groups()
        values.append(
            {
                "dfd": int(dfd),
                "name": name.encode(),
                "flags": int(flags, 16),
                "lo": int(lo),
                "arr": (int(first), int(second)),
                "comm": b"cat" if index else b"sh",  # the shell opens /dev/null, then executes cat
                "common_pid": 200,
                "cpu": 0,
                "arguments": line["arguments"],
            }
        )
    return values


@pytest.mark.parametrize("case", answers("filters"), ids=lambda case: repr(case["filter"]))
def test_the_answers_are_the_kernels(case: dict[str, Any]) -> None:
    if case["filter"] == "0":  # removes the filter, see the tests of Events.filter
        return
    error = None
    passed = hits()
    try:
        chosen = Filter.parse(case["filter"], fields(case))
        text = chosen.text
        passed = [hit for hit in passed if chosen.matches(hit)]
    except EventError as refused:
        text = filter_file(refused)
        error = (errno.errorcode[refused.errno], refused.message, refused.command, refused.column)
    expected = case["error"] and (case["errno"], *(case["error"][key] for key in ("message", "command", "column")))
    assert (error, text) == (expected, case["filter_file"])
    assert [hit["arguments"] for hit in passed] == [line["arguments"] for line in case["lines"]]


# Expressions of the kernel's own self-test (kernel/trace/trace_events_filter.c, CONFIG_FTRACE_STARTUP_TEST) with the
# values of a to h for which it expects them true and false.
SELF_TEST: Final = [
    ("a == 1 && b == 1 && c == 1 && d == 1 && e == 1 && f == 1 && g == 1 && h == 1", "11111111", "01111111 11111110"),
    ("a == 1 || b == 1 || c == 1 || d == 1 || e == 1 || f == 1 || g == 1 || h == 1", "00000001 10000000", "00000000"),
    (
        "((((((((a == 1) && (b == 1)) || (c == 1)) && (d == 1)) || (e == 1)) && (f == 1)) || (g == 1)) && (h == 1))",
        "11111111",
        "01010101 10101010",
    ),
    (
        "((((((((a == 1) || (b == 1)) && (c == 1)) || (d == 1)) && (e == 1)) || (f == 1)) && (g == 1)) || (h == 1))",
        "11111111 01010101 10101010",
        "",
    ),
]


@pytest.mark.parametrize(("text", "true", "false"), SELF_TEST)
def test_the_kernels_own_test_passes(text: str, true: str, false: str) -> None:
    chosen = Filter.parse(text, [Field(name, "int", 4, True) for name in "abcdefgh"])
    for expected, rows in ((True, true), (False, false)):
        for row in rows.split():
            assert chosen.matches(dict(zip("abcdefgh", map(int, row), strict=True))) is expected, row


def test_the_operators_bind_as_in_c() -> None:
    """Random expressions of &&, ||, ! and parentheses have the value that Python's operators give them."""
    rng = random.Random(17)
    names = "abcd"
    table = [Field(name, "int", 4, True) for name in names]

    def expression(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(("", "!", "!!")) + f"{rng.choice(names)} == 1"
        inner = f" {rng.choice(('&&', '||'))} ".join(expression(depth - 1) for _ in range(rng.randint(1, 3)))
        return f"{rng.choice(('', '!'))}({inner})"

    for _ in range(2_000):
        text = expression(3)
        chosen = Filter.parse(text, table)
        python = text.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
        for bits in itertools.product((0, 1), repeat=len(names)):
            values = dict(zip(names, bits, strict=True))
            assert chosen.matches(values) is bool(eval(python, {}, values)), (text, values)


def test_a_glob_is_that_of_fnmatch() -> None:
    """glob_match() of lib/glob.c says that it is equivalent to fnmatch() of C without flags."""
    fnmatch = ctypes.CDLL(None).fnmatch
    rng = random.Random(3)
    matches = 0
    for _ in range(20_000):
        pattern = "".join(rng.choice(("a", "b", "c", "*", "?", "[ab]", "[a-c]", "\\*")) for _ in range(6))
        string = "".join(rng.choice("abc*") for _ in range(rng.randint(0, 8)))
        expected = fnmatch(pattern.encode(), string.encode(), 0) == 0
        assert glob_match(pattern.encode(), string.encode()) is expected, (pattern, string)
        matches += expected
    assert matches > 100


# Read in filter_parse_regex() and regex_match_*() of trace_events_filter.c.
@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ('task ~ "kwork*"', {"task": b"kworker/0:1"}, True),
        ('task ~ "*0:1"', {"task": b"kworker/0:1"}, False),  # the end of the 16 bytes is compared, which is NULs
        ('comm ~ "*at"', {"comm": b"cat"}, False),
        ('comm ~ "*a*"', {"comm": b"cat"}, True),
        ('name ~ "!*.txt"', {"name": b"one.txt"}, False),
        ('name ~ "1*"', {"name": b"12"}, False),  # a pattern that begins with a digit is no pattern
        ('name ~ "1*"', {"name": b"1*"}, True),
        ('name ~ "a*c"', {"name": b"abc"}, True),
        ('name ~ "a[!b-d]c"', {"name": b"axc"}, True),
        ('name ~ "a[!b-d]c"', {"name": b"acc"}, False),
        ('name ~ "a[!b]"', {"name": b"a"}, True),  # the NUL is not b
        ("pair == 0", {"pair": (0, 0, 0)}, False),  # 12 bytes cannot be compared
        ("u > 0xffffffffffffff01", {"u": 2}, True),  # the operand is cut to a byte
        ("q & 0x8000000000000000", {"q": 1 << 63}, True),
        ("CPU & 1", {"cpu": 1}, False),
        ("cpu != 1", {"cpu": 0}, True),
    ],
)
def test_a_hit_passes_as_in_the_kernel(text: str, values: Values, expected: bool) -> None:
    assert Filter.parse(text, FIELDS).matches(values) is expected


def test_nothing_but_an_event_error_comes_of_any_text() -> None:
    rng = random.Random(14)
    words = ["s", "u", "q", "name", "pair", "task", "comm", "CPU", "nofield", "==", "!=", "~", "&", "<=", "<", ">", "!"]
    words += ["&&", "||", "(", ")", '"', "'", '"a*"', "'x'", "-1", "0x", "08", "99999999999999999999", " ", "\xa0", "é"]
    words += [".ustring", "\n", "\0", "|", "-", "\udcff"]
    values = {"s": -1, "u": 1, "q": 2, "name": None, "pair": (1, 2, 3), "task": b"a", "comm": b"a", "cpu": 0}
    accepted, refused = 0, set()
    for _ in range(LINES):
        text = "".join(rng.choice(words) for _ in range(rng.randint(0, 12)))
        if rng.random() < 0.5:
            text = f"{rng.choice(words[:9])} {rng.choice(words[9:16])} {rng.choice(words[20:27])}{text[:2]}"
        try:
            chosen = Filter.parse(text, FIELDS)
        except EventError as error:
            refused.add(error.errno)
            filter_file(error)
        else:
            chosen.matches(values)
            accepted += 1
    assert accepted > LINES // 200
    assert refused == {errno.EINVAL, errno.EPERM, errno.ENOENT, errno.ESRCH}


def test_a_filter_has_less_than_a_page() -> None:
    assert Filter.parse("s == 1" + " " * 4089, FIELDS).text == "s == 1"
    with pytest.raises(EventError, match="EINVAL: the filter is longer than 4095 bytes"):
        Filter.parse("s == 1" + " " * 4090, FIELDS)
