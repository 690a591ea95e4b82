# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters as programs of the C core, compared with the answers of a 6.1 kernel and with the filters in Python."""

from __future__ import annotations

import random
from typing import Any

import pytest

from armprobe.machine import Machine
from armprobe.machine.native.histogram import Stack
from armprobe.machine.native.program import Match as NativeMatch
from armprobe.machine.native.program import Number, Operation, Outcome, Pattern, Program, Reader, Text, View, values
from armprobe.probes.events.field_programs import made, operation
from armprobe.probes.events.filter import Filter
from armprobe.probes.events.filter_fields import FilterField, Value, Values, number_of, string_of
from armprobe.probes.events.filter_program import filter_program
from armprobe.probes.events.pattern import Match, glob_match
from tests.probes.events.kernel_answers import Field, answers, fields
from tests.probes.events.test_filter import SELF_TEST, hits


class Row:
    """The fields of one hit, as programs: numbers are constants, and strings are in the guest's memory."""

    def __init__(self, machine: Machine, row: Values) -> None:
        self._machine, self._row = machine, row
        self._at = machine.registers.sp - 8192

    def number(self, field: FilterField) -> Program:
        return made(operation("const64", number_of(field, self._row)))

    def text(self, field: FilterField) -> Text:
        stored = string_of(field, self._row)
        at, self._at = self._at, self._at + len(stored) + 1
        self._machine.memory.write(at, stored + b"x")
        return Text(made(operation("const64", at if stored else 0)), len(stored) or 1, len(stored))

    def stack(self) -> Stack:
        raise AssertionError

    def passes(self, chosen: Filter) -> bool:
        """Whether the hit passes, as C has it."""
        return bool(value(self._machine, filter_program(chosen, self)))


def value(machine: Machine, program: Program) -> int:
    """The value of a program that reads memory only."""
    ((outcome, found),) = values(Reader(machine.core.native.address), [program], [View()])
    assert outcome is Outcome.VALUE
    return found


def accepted() -> list[dict[str, Any]]:
    """The kernel's filters that it has not refused."""
    return [case for case in answers("filters") if case["accepted"] and case["filter"] != "0"]


@pytest.mark.parametrize("case", accepted(), ids=lambda case: repr(case["filter"]))
def test_the_hits_that_pass_are_the_kernels(demo: Machine, case: dict[str, Any]) -> None:
    chosen = Filter.parse(case["filter"], fields(case))
    passed = [hit["arguments"] for hit in hits() if Row(demo, hit).passes(chosen)]
    assert passed == [line["arguments"] for line in case["lines"]]


@pytest.mark.parametrize(("text", "true", "false"), SELF_TEST)
def test_the_kernels_own_test_passes(demo: Machine, text: str, true: str, false: str) -> None:
    chosen = Filter.parse(text, [Field(name, "int", 4, True) for name in "abcdefgh"])
    for expected, rows in ((True, true), (False, false)):
        for row in rows.split():
            hit: dict[str, Value] = dict(zip("abcdefgh", map(int, row), strict=True))
            assert Row(demo, hit).passes(chosen) is expected, row


def test_patterns_match_as_in_python(demo: Machine) -> None:
    """Those in Python are compared with lib/glob.c's own table and with fnmatch() of the C library."""
    rng = random.Random(23)
    at = demo.registers.sp - 8192
    for _ in range(3000):
        glob = bytes(rng.choices(b"ab*?[]!-\\c", k=rng.randrange(8)))
        string = bytes(rng.choices(b"abc-]", k=rng.randrange(8)))
        demo.memory.write(at, string + b"\0")
        pattern = Pattern(Text(made(operation("const64", at)), 63), NativeMatch.GLOB, glob)
        program = made(Operation(Number.MATCH, pattern.address), operands=(pattern,))
        assert value(demo, program) == glob_match(glob, string), (glob, string)


def test_each_kind_of_match_is_known() -> None:
    assert [each.name for each in Match] == [each.name for each in NativeMatch]
