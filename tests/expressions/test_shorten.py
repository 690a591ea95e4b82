# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that are made shorter. That they give the same is what test_native.py compares, on random programs."""

from __future__ import annotations

import pytest

from armprobe.expressions.bytecode import OPERATIONS
from armprobe.expressions.shorten import shortened
from armprobe.machine.native.program import Number, Operation

_NUMBERS = {name: number for number, (name, _) in OPERATIONS.items()} | {
    name: number for name, number in (("x", Number.GENERAL), ("equals", Number.EQUALS), ("unless", Number.UNLESS))
}


def program(text: str) -> list[Operation]:
    """Operations by name, each with its operand behind a colon, if it has one."""
    each = [word.partition(":") for word in text.split()]
    return [Operation(_NUMBERS[name], int(operand or 0)) for name, _, operand in each]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x:0 const8:1 equal end", "x:0 equals:1 end"),
        ("x:0 const8:0 equal log_not log_not end", "x:0 log_not end"),
        ("x:0 log_not log_not end", "x:0 log_not log_not end"),  # it need not be 0 or 1
        ("x:0 log_not log_not if_goto:5 end x:1 end", "x:0 if_goto:3 end x:1 end"),
        ("x:0 const8:0 equal if_goto:6 const8:1 end x:1 end", "x:0 unless:4 const8:1 end x:1 end"),
        (  # a jump leads to the second of three
            "x:0 log_not x:1 if_goto:5 log_not log_not if_goto:8 x:0 end",
            "x:0 log_not x:1 if_goto:5 log_not unless:7 x:0 end",
        ),
        ("x:0 if_goto:4 x:1 goto:5 x:2 end", "x:0 if_goto:4 x:1 end x:2 end"),
    ],
)
def test_what_is_left(before: str, after: str) -> None:
    assert shortened(program(before)) == program(after)


@pytest.mark.parametrize(
    "kept",
    [
        "x:1 x:0 if_goto:4 const8:1 equal end",  # a jump leads between the two
        "x:0 const8:1 equal if_goto:0 end",  # backwards
    ],
)
def test_what_stays(kept: str) -> None:
    assert shortened(program(kept)) == program(kept)
