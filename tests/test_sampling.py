# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run leaves out of the cases that are much alike."""

from collections import Counter
from typing import cast

import pytest

from tests import sampling  # tests have no import name to go by


class _Item:
    def __init__(self, nodeid: str, mark: pytest.Mark | None) -> None:
        self.nodeid, self.mark = nodeid, mark

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.mark


CASES, FILE = pytest.mark.sample.mark, pytest.mark.sample(of="file").mark
LONG = pytest.mark.sample(of="long").mark
ITEMS = [_Item(f"tests/a.py::seven[{case}]", CASES) for case in range(7)]
ITEMS += [_Item(f"tests/a.py::whole[{case}]", None) for case in range(7)]
ITEMS += [_Item("tests/a.py::alone", CASES), _Item("tests/b.py::seven[0]", CASES)]
ITEMS += [_Item(f"tests/c.py::{test}[{case}]", FILE) for test in ("one", "other") for case in range(2)]
ITEMS += [_Item(f"tests/{file}.py::long", LONG) for file in "defg"]


def kept(monkeypatch: pytest.MonkeyPatch, one_in: int, seed: int) -> list[str]:
    monkeypatch.setenv("ARMPROBE_ONE_IN", str(one_in))
    monkeypatch.setenv("ARMPROBE_SAMPLE", str(seed))
    out = sampling.left_out(cast(list[pytest.Item], ITEMS))
    return [item.nodeid for item in ITEMS if item not in cast(list[_Item], out)]


def test_a_third_of_the_cases_is_taken_and_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Counter(nodeid.partition("[")[0] for nodeid in kept(monkeypatch, 3, 5))
    assert sum(taken.pop(f"tests/c.py::{test}", 0) for test in ("one", "other")) == 2
    assert sum(taken.pop(f"tests/{file}.py::long", 0) for file in "defg") == 2
    assert taken == {"tests/a.py::seven": 3, "tests/a.py::whole": 7, "tests/a.py::alone": 1, "tests/b.py::seven": 1}
    assert kept(monkeypatch, 1, 5) == [item.nodeid for item in ITEMS]


def test_the_seed_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones in each worker; each of them by some seed."""
    assert kept(monkeypatch, 3, 5) == kept(monkeypatch, 3, 5)
    assert {name for seed in range(40) for name in kept(monkeypatch, 3, seed)} == {item.nodeid for item in ITEMS}
