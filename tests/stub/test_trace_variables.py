# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of trace state variables, also those that the C core's programs have."""

import gc

import pytest

from armprobe.expressions import AgentError
from armprobe.expressions.native import NeedsPython
from armprobe.stub.trace_variables import TIMESTAMP, TraceVariables


def test_a_program_and_python_have_the_same_variable() -> None:
    variables = TraceVariables()
    shared = variables.native(7)
    assert 7 not in variables
    assert variables[7] == 0
    variables[7] = -1
    assert shared.value == (1 << 64) - 1
    shared.value = 12
    assert 7 in variables
    assert variables[7] == 12


def test_a_program_keeps_its_variable_when_all_are_cleared() -> None:
    variables = TraceVariables()
    shared = variables.native(7)
    variables[7] = variables[8] = 5
    variables.clear()
    assert 7 not in variables
    assert 8 not in variables
    assert shared.value == 0
    shared.value, shared.known = 6, True  # as a program does
    assert variables[7] == 6
    variables[7] = 9
    assert shared.value == 9


def test_there_are_not_too_many() -> None:
    """Those that no program has any more do not count after a clear."""
    variables = TraceVariables()
    for number in range(2, 10_002):
        variables.native(number)
    with pytest.raises(AgentError, match="10000 trace state variables already"):
        variables[1 << 20] = 1
    with pytest.raises(NeedsPython, match="10000 trace state variables already"):
        variables.native(1 << 20)
    variables.clear()
    gc.collect()
    variables[1 << 20] = 1
    assert variables[1 << 20] == 1


def test_the_time_needs_python() -> None:
    with pytest.raises(NeedsPython, match="the guest's time"):
        TraceVariables().native(TIMESTAMP)
