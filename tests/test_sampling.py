# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run leaves out of the cases that are much alike."""

from collections import Counter
from typing import cast

import pytest

from tests import sampling  # tests have no import name to go by


class _Item:
    def __init__(self, nodeid: str, *marks: pytest.MarkDecorator) -> None:
        self.nodeid, self.marks = nodeid, [each.mark for each in marks]

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return self.marks


CASES, FILE, TEST = pytest.mark.sample, pytest.mark.sample(of="files"), pytest.mark.sample(of="tests")
ITEMS = [_Item(f"tests/a.py::seven[{case}]", CASES) for case in range(7)]
ITEMS += [_Item(f"tests/a.py::whole[{case}]") for case in range(7)]
ITEMS += [_Item("tests/a.py::alone", CASES), _Item("tests/b.py::seven[0]", CASES)]
ITEMS += [_Item(f"tests/{file}.py::{test}", FILE) for file in "cde" for test in ("one", "other")]
ITEMS += [_Item(f"tests/{file}.py::five[{case}]", CASES, FILE) for file in "cde" for case in range(5)]
ITEMS += [_Item(f"tests/{file}.py::long", TEST) for file in "fghi"]


def kept(monkeypatch: pytest.MonkeyPatch, one_in: int, seed: int) -> list[str]:
    monkeypatch.setenv("ARMPROBE_ONE_IN", str(one_in))
    monkeypatch.setenv("ARMPROBE_SAMPLE", str(seed))
    out = sampling.left_out(cast(list[pytest.Item], ITEMS))
    return [item.nodeid for item in ITEMS if item not in cast(list[_Item], out)]


def test_a_third_is_taken_and_of_each_test_with_cases_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Counter(nodeid.partition("[")[0] for nodeid in kept(monkeypatch, 3, 5))
    (file,) = {name[6] for name in taken if name[6] in "cde"}
    expected = {"seven": 3, "whole": 7, "alone": 1}
    assert {test: taken.pop(f"tests/a.py::{test}") for test in expected} == expected
    assert {test: taken.pop(f"tests/{file}.py::{test}") for test in ("one", "other", "five")} == {
        "one": 1,
        "other": 1,
        "five": 2,
    }
    assert taken.pop("tests/b.py::seven") == 1
    assert sum(taken.values()) == 2, "of the single tests"
    assert kept(monkeypatch, 1, 5) == [item.nodeid for item in ITEMS]


def test_the_seed_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones in each worker; each of them by some seed."""
    assert kept(monkeypatch, 3, 5) == kept(monkeypatch, 3, 5)
    assert {name for seed in range(40) for name in kept(monkeypatch, 3, seed)} == {item.nodeid for item in ITEMS}
