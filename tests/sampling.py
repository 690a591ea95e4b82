# SPDX-License-Identifier: GPL-2.0-or-later
"""Of tests that take long `make test` takes one in five, by chance, and says the seed (ARMPROBE_SAMPLE).

The mark `sample` is on tests with cases that are much alike, of each of which some are taken. As `sample(of="files")`
it is on files, and as `sample(of="tests")` on single tests, of all of which some are taken. `.ci/run` takes all
(ARMPROBE_ONE_IN=1), and so do `make soak`, `make oracle` and a run of files that are named.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import pytest

from tests.soak import AT_LENGTH  # tests have no import name to go by

_ONE_IN = "ARMPROBE_ONE_IN"
_SEED = "ARMPROBE_SAMPLE"


def configure(config: pytest.Config) -> None:
    """Choose, in the environment, where the workers of a run find it."""
    named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    at_length = AT_LENGTH or os.environ.get("ARMPROBE_ORACLE")
    os.environ.setdefault(_ONE_IN, "1" if named or at_length else "5")
    os.environ.setdefault(_SEED, str(random.randrange(1 << 32)))


def header() -> str:
    """What `configure` has chosen, for the first lines of a run."""
    one_in, seed = os.environ[_ONE_IN], os.environ[_SEED]
    return f"of long tests 1 in {one_in}, all with {_ONE_IN}=1; {_SEED}={seed}"


def left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those that this run does not take. Of each test with cases that are alike at least one is left."""
    one_in, seed = int(os.environ[_ONE_IN]), os.environ[_SEED]
    out: list[pytest.Item] = []
    for of, group, unit in _KINDS:
        gone = set(map(id, out))
        groups: dict[str, dict[str, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
        for item in items:
            if id(item) not in gone and any(mark.kwargs.get("of") == of for mark in item.iter_markers("sample")):
                groups[group(item.nodeid)][unit(item.nodeid)].append(item)
        for name, units in groups.items():
            few = random.Random(f"{seed} {name}").sample(list(units), len(units) - -(-len(units) // one_in))
            out += [item for each in few for item in units[each]]
    return out


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _test(nodeid: str) -> str:
    return nodeid.partition("[")[0]


_KINDS: Final[tuple[tuple[str | None, Callable[[str], str], Callable[[str], str]], ...]] = (
    ("files", lambda _: "files", _file),
    ("tests", lambda _: "tests", str),
    (None, _test, str),
)
"""What the mark has for `of`, among which items some are chosen, and what is chosen, by nodeid."""
