# SPDX-License-Identifier: GPL-2.0-or-later
"""Of tests that take long `make test` takes one in four, by chance, and says the seed (ARMPROBE_SAMPLE).

The mark `sample` is on tests with cases that are much alike, of each of which some are taken. On files it is
`sample(of="file")`, and `sample(of="long")` on single tests, of all of which some are taken. `.ci/run` takes all
(ARMPROBE_ONE_IN=1), and so does a run of files that are named.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict

import pytest

_ONE_IN = "ARMPROBE_ONE_IN"
_SEED = "ARMPROBE_SAMPLE"


def configure(config: pytest.Config) -> None:
    """Choose, in the environment, where the workers of a run find it."""
    named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or os.environ.get("ARMPROBE_ORACLE")
    os.environ.setdefault(_ONE_IN, "1" if named else "4")
    os.environ.setdefault(_SEED, str(random.randrange(1 << 32)))


def header() -> str:
    """What `configure` has chosen, for the first lines of a run."""
    one_in, seed = os.environ[_ONE_IN], os.environ[_SEED]
    return f"of long tests 1 in {one_in}, all with {_ONE_IN}=1; {_SEED}={seed}"


def left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those that this run does not take. Of each test or file with the mark at least one is left."""
    one_in, seed = int(os.environ[_ONE_IN]), os.environ[_SEED]
    cases = defaultdict(list)
    for item in items:
        if mark := item.get_closest_marker("sample"):
            match mark.kwargs.get("of"):
                case "file":
                    name = item.nodeid.partition("::")[0]
                case None:
                    name = item.nodeid.partition("[")[0]
                case together:
                    name = together
            cases[name].append(item)
    return [
        item
        for name, alike in cases.items()
        for item in random.Random(f"{seed} {name}").sample(alike, len(alike) - -(-len(alike) // one_in))
    ]
